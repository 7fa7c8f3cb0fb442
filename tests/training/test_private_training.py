"""Private training from the settings to the run folder, and the audit of a run."""

import json
import shutil

import numpy as np
import pytest

from numpylm import DataParallel
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint, load_run
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.training import private_training
from numpylm.training.config import make_config
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.privacy_accountant import epsilon_spent
from numpylm.training.run_state import resume_config
from numpylm.training.train import train
from tests.tiny_training import SETTINGS, everything

PRIVATE = SETTINGS | {
    "data": "lines.txt",
    "documents": "lines",
    "dp_epsilon": 8.0,
    "block_size": 20,
    "max_steps": 6,
    "eval_interval": 3,
}


@pytest.fixture(autouse=True)
def lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    words = ["one", "two", "three", "aeio", "nrst"]
    texts = [" ".join(rng.choice(words, 1 + i % 4)) + f" {i:03}" for i in range(120)]
    (tmp_path / "lines.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return texts


def private(**changes):
    return make_config(PRIVATE, changes)


def task_of(config, folder):
    task = LanguageModeling(config)
    model = task.start(None)
    task.encode(folder)
    return task, model


def test_a_private_run_reports_its_epsilon_and_spends_no_more(capsys):
    folder = train(private())
    said = capsys.readouterr().out
    assert "privacy     epsilon 8, delta 1e-05 after 6 steps" in said
    assert "one example is one document, cut to 20 tokens: " in said
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    spent = [entry["epsilon"] for entry in entries if "val_loss" in entry]
    assert spent[0] == 0
    assert 0 < spent[1] < spent[2] <= 8
    assert f"epsilon {spent[2]:.3g}\n" in said


@pytest.mark.parametrize("changes", [{}, {"model": "llama", "dropout": 0.0}])
def test_a_stopped_private_run_continues_to_the_bit(changes, capsys):
    whole = train(private(out="whole", **changes))
    parts = train(private(out="parts", **changes), stop_at=4)
    train(resume_config(parts, {}), resume=parts)
    assert everything(parts) == everything(whole)


def test_epsilon_changes_what_is_learned_and_the_seed_the_noise():
    weights = [
        load_checkpoint(train(private(out=f"run{i}", **changes)) / "last.npz").model["h.0.mlp.c_fc.weight"]
        for i, changes in enumerate(({}, {}, {"dp_epsilon": 2.0}))
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).all()


def test_one_example_is_one_document_that_ends_at_its_end(tmp_path):
    task, _ = task_of(private(), tmp_path)
    tokens, end = task.data.train, task.tokenizer.end_id
    begin, stop = task.private.begin, task.private.end
    assert len(begin) == (tokens == end).sum() - 1
    assert all(tokens[i] == end for i in begin)
    for i, j in zip(begin, stop, strict=True):
        assert not (tokens[i + 1 : j] == end).any()  # the end of the document is the last target at most
        assert j - i == 20 or tokens[j] == end


def test_long_documents_are_cut_into_windows_that_share_no_target(tmp_path, lines, capsys):
    (tmp_path / "lines.txt").write_text(" ".join(lines), encoding="utf-8")
    task, _ = task_of(private(documents="file"), tmp_path)
    targets = np.concatenate([np.arange(i, j) + 1 for i, j in zip(task.private.begin, task.private.end, strict=True)])
    np.testing.assert_array_equal(targets, np.arange(1, len(task.data.train)))
    task.private.describe()
    assert "each of their windows is protected, not all of them together" in capsys.readouterr().out


def test_batches_are_drawn_with_the_probability_that_the_accountant_counts(tmp_path, monkeypatch):
    task, model = task_of(private(batch_size=12), tmp_path)
    drawn = []
    monkeypatch.setattr(private_training, "poisson_sample", lambda n, q, rng: drawn.append((n, q)) or np.arange(1))
    task.add_gradients(DataParallel(model, 1), np.random.default_rng(0), None)
    n = len(task.private.begin)
    assert drawn == [(n, 12 / n)]
    sigma, delta = task.private.noise, task.config.dp_delta
    assert task.private.epsilon(4) == epsilon_spent(12 / n, sigma, 4, delta)
    assert 7.9 < epsilon_spent(12 / n, sigma, task.config.max_steps, delta) <= 8


def test_an_empty_batch_is_noise_of_the_promised_size_over_the_expected_batch(tmp_path, monkeypatch):
    task, model = task_of(private(dp_clip=0.5, batch_size=8), tmp_path)
    monkeypatch.setattr(private_training, "poisson_sample", lambda n, q, rng: np.zeros(0, np.intp))
    assert task.add_gradients(DataParallel(model, 2), np.random.default_rng(0), None) == (0.0, 0)
    drawn = np.concatenate([p.grad.ravel() for p in model.parameters()])
    assert drawn.std() == pytest.approx(task.private.noise * 0.5 / 8, rel=0.05)


def test_the_sum_is_divided_by_the_expected_batch_and_not_by_the_drawn_one(tmp_path, monkeypatch):
    """The size of the batch depends on the examples, so it must not be a factor of the result."""
    task, model = task_of(private(dp_clip=1e-3, batch_size=8), tmp_path)
    monkeypatch.setattr(private_training, "add_noise", lambda parameters, std, rng: None)
    monkeypatch.setattr(private_training, "poisson_sample", lambda n, q, rng: np.array([3]))
    loss, count = task.add_gradients(DataParallel(model, 1), np.random.default_rng(0), None)
    norm = np.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
    assert norm == pytest.approx(1e-3 / 8, rel=1e-3)
    assert loss == pytest.approx(np.log(task.tokenizer.vocab_size), rel=0.05)
    assert count == task.private.end[3] - task.private.begin[3]


def test_empty_batches_do_not_spoil_the_training_loss():
    """About every third batch is empty."""
    folder = train(private(batch_size=1, max_steps=30, eval_interval=30))
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(entry["train_loss"] > 2 for entry in entries if "train_loss" in entry)


def test_the_vocabulary_says_nothing_about_the_training_text(tmp_path, lines):
    """What all training documents have would become a token, but the vocabulary comes from the other documents."""
    config = private(vocab_size=300)
    before, _ = task_of(config, tmp_path)
    held_out = before.tokenizer.decode([int(i) for i in before.data.val])
    changed = [line if line in held_out else f"{line[:-4]}qq{line[-2:]}" for line in lines]
    (tmp_path / "lines.txt").write_text("\n".join(changed), encoding="utf-8")
    open_run, _ = task_of(make_config(PRIVATE, {"dp_epsilon": 0.0, "vocab_size": 300}), tmp_path)
    assert any(b"qq" in open_run.tokenizer.token_bytes(i) for i in range(open_run.tokenizer.vocab_size))
    after, _ = task_of(config, tmp_path)
    assert not any(b"qq" in after.tokenizer.token_bytes(i) for i in range(after.tokenizer.vocab_size))


def test_settings_are_not_chosen_from_the_protected_text(capsys):
    train(private(max_steps=3), given=set(PRIVATE))
    assert "chosen" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grad_accum": 2}, "private training has no grad_accum"),
        ({"loss_after": "="}, "loss_after is not for private training"),
        ({"tokenizer": "char"}, "private training has no tokenizer char"),
        ({"dp_delta": 0.0}, "dp_delta must lie between 0 and 1"),
        ({"dp_clip": 0.0}, "dp_clip must be above 0"),
        ({"dp_epsilon": -1.0}, "dp_epsilon must be at least 0"),
        ({"dp_epsilon": 0.0, "dp_clip": 2.0}, "dp_clip is for private training: give dp_epsilon, too"),
        ({"task": "chat", "documents": "file"}, "dp_epsilon is for --task language-model, not for chat"),
    ],
)
def test_settings_that_cannot_be_combined_are_refused_by_name(changes, said):
    with pytest.raises(ValueError, match=said):
        private(**changes)


def test_too_few_examples_and_too_large_deltas_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"batch_size 400; there are 1\d\d training documents"):
        task_of(private(batch_size=400), tmp_path)
    with pytest.raises(ValueError, match=r"dp_delta 0\.1 must be below 1 / 1"):
        task_of(private(dp_delta=0.1), tmp_path)


def test_the_number_of_steps_cannot_change_because_the_noise_depends_on_it():
    folder = train(private(), stop_at=3)
    with pytest.raises(ValueError, match="max_steps cannot change in private training"):
        resume_config(folder, {"max_steps": 12})
    assert resume_config(folder, {"max_steps": 6}).max_steps == 6


def test_padding_is_never_a_target_of_an_example(tmp_path, monkeypatch):
    task, model = task_of(private(), tmp_path)
    seen = []
    workers = DataParallel(model, 1)
    monkeypatch.setattr(workers, "add_gradients", lambda arrays, *rest: seen.append(arrays) or 0.0)
    monkeypatch.setattr(private_training, "poisson_sample", lambda n, q, rng: np.arange(n))
    _, count = task.add_gradients(workers, np.random.default_rng(0), None)
    targets = seen[0]["targets"]
    lengths = task.private.end - task.private.begin
    np.testing.assert_array_equal((targets != IGNORE_INDEX).sum(axis=1), lengths)
    assert count == lengths.sum()


# ---------------------------------------------------------------------------------------------- the audit


@pytest.fixture
def run():
    return train(make_config(PRIVATE, {"dp_epsilon": 0.0, "block_size": 32}))


def test_an_audit_compares_training_and_held_out_documents(run, capsys):
    options = ["--prompt-tokens", "4", "--copied-tokens", "3", "--count", "10", "--canary", "aeio {digits:3}"]
    assert main(["audit", str(run), *options]) == 0
    said = capsys.readouterr().out
    assert "documents   10" in said
    assert "copies of >= 3 tokens" in said
    assert [line.split()[-4:-3] for line in said.splitlines() if line.startswith("aeio ")]
    assert "held out  " in said


def test_an_audit_needs_the_text_of_the_run(run, tmp_path, lines, capsys):
    assert main(["audit", str(run), "--data", "lines.txt"]) == 0
    (tmp_path / "other.txt").write_text("\n".join(lines[1:]), encoding="utf-8")
    capsys.readouterr()
    assert main(["audit", str(run), "--data", "other.txt"]) == 1
    said = capsys.readouterr().err
    assert "this is not the text that " in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--count", "0"], "--count must be at least 1, got 0"),
        (["--prompt-tokens", "100"], "what the model reads, 32 tokens"),
        (["--canary", "nothing"], "with one {digits:6}"),
        (["--canary", "nowhere {digits:6}"], "no document has a sentence of the form"),
    ],
)
def test_an_audit_that_cannot_be_made_says_why(run, options, said, capsys):
    assert main(["audit", str(run), *options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("made", ["nothing", "weights alone", "a published model"])
def test_a_model_without_its_run_is_refused_because_its_text_is_unknown(run, tmp_path, made, capsys):
    source = tmp_path / "other"
    if made != "nothing":
        source.mkdir()
        shutil.copy(run / "best.npz", source / "best.npz")
    if made == "a published model":
        (source / "config.json").write_text('{"model_type": "gpt2", "n_embd": 8}', encoding="utf-8")
    assert main(["audit", str(source), "--data", "lines.txt"]) == 1
    said = capsys.readouterr().err
    assert "other is not a run folder of numpylm; an audit needs one" in said
    assert said.count("\n") == 1


def test_the_best_checkpoint_is_audited_and_any_can_be_named(run):
    from numpylm.training.audit import load_audited

    best, texts = load_audited(run)
    last, same = load_audited(run / "last.npz")
    assert texts == same
    for model, name in ((best, "best.npz"), (last, "last.npz")):
        expected = load_run(run / name)[0].state_dict()
        assert all((value == expected[key]).all() for key, value in model.state_dict().items())
