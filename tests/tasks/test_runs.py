"""Whole runs of each task, tiny: they learn, resume to the bit, and the commands use what they made."""

import json

import numpy as np
import pytest

from numpylm import Bert, Transformer, load_model
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint
from numpylm.tasks import TASKS
from numpylm.training.config import TASKS as NAMES
from numpylm.training.config import make_config
from numpylm.training.run_state import resume_config
from numpylm.training.train import train

WORDS = [("red", "rot"), ("blue", "blau"), ("green", "grün"), ("cat", "Katze"), ("dog", "Hund"), ("house", "Haus")]
TINY = {
    "check_gradients": False,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "block_size": 24,
    "vocab_size": 280,
    "max_steps": 12,
    "eval_interval": 4,
    "warmup_steps": 2,
    "dropout": 0.1,
}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Word pairs, labelled texts and plain text, made of the same words."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [[WORDS[i] for i in rng.integers(0, 6, rng.integers(1, 5))] for _ in range(120)]
    pairs = [(" ".join(a for a, _ in row), " ".join(b for _, b in row)) for row in rows]
    files = {
        "translation": "".join(f"{a}\t{b}\n" for a, b in pairs),
        "classification": "text\tlabel\n" + "".join(f"{a}\t{a.split()[0]}\n" for a, _ in pairs),
        "masked-lm": "\n".join(a for a, _ in pairs),
    }
    for name, text in files.items():
        (tmp_path / f"{name}.tsv").write_text(text, encoding="utf-8")
    return tmp_path


def test_exporting_each_kind(data, capsys):
    pytest.importorskip("safetensors")
    for task, more in {
        "translation": {"norm_first": False},
        "classification": {"pooling": "first"},
        "masked-lm": {},
    }.items():
        folder = train(config(task, data, out=f"run-{task}", max_steps=2, **more), task=TASKS[task])
        capsys.readouterr()
        assert main(["export", str(folder), f"out-{task}"]) == 0
        assert "AutoModelFor" in capsys.readouterr().out
        again = load_model(data / f"out-{task}")
        for name, p in load_model(folder).named_parameters():
            np.testing.assert_array_equal(dict(again.named_parameters())[name].data, p.data)
        assert again.tokenizer.vocab_size == again.config.vocab_size


def config(task, data, **options):
    batch = {"translation": {"batch_tokens": 120}, "classification": {"batch_size": 8}, "masked-lm": {"batch_size": 8}}
    return make_config(TINY | {"task": task, "data": [str(data / f"{task}.tsv")]} | batch[task] | options)


def everything(folder):
    checkpoints = [load_checkpoint(folder / name) for name in ("last.npz", "best.npz")]
    arrays = [{**c.model, **c.optimizer} for c in checkpoints]
    meta = [{key: value for key, value in c.meta.items() if key != "lora"} for c in checkpoints]
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return arrays, meta, [json.loads(line) for line in lines.splitlines()]


def same(a, b):
    for x, y in zip(a[0], b[0], strict=True):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], y[name], err_msg=name)
    assert a[1:] == b[1:]


def test_every_task_has_a_class():
    assert set(TASKS) == set(NAMES)


@pytest.mark.parametrize("task", ["translation", "classification", "masked-lm"])
@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(7, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_resumes_to_the_bit(task, stop, data):
    whole = train(config(task, data, out="whole"), task=TASKS[task])
    part = train(config(task, data, out="part"), task=TASKS[task], stop_at=stop)
    train(resume_config(part, {}), resume=part, task=TASKS[task])
    same(everything(whole), everything(part))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"lora_rank": 2}, {"freeze_below": 1}, {"recompute": True, "grad_accum": 2}], ids=str
)
@pytest.mark.parametrize("task", ["translation", "classification", "masked-lm"])
def test_a_fine_tuned_run_resumes_to_the_bit(task, options, data):
    first = train(
        config("masked-lm" if task == "classification" else task, data, out="first"),
        task=TASKS["masked-lm" if task == "classification" else task],
    )
    options = options | {"init_from": str(first)}
    whole = train(config(task, data, out="whole", **options), task=TASKS[task])
    part = train(config(task, data, out="part", **options), task=TASKS[task], stop_at=5)
    train(resume_config(part, {}), resume=part, task=TASKS[task])
    same(everything(whole), everything(part))


@pytest.mark.parametrize("task", ["translation", "classification", "masked-lm"])
def test_a_run_on_changed_data_is_refused(task, data, capsys):
    part = train(config(task, data, out="part"), task=TASKS[task], stop_at=2)
    path = data / f"{task}.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("cat", "cow"), encoding="utf-8")
    assert main(["train", "--resume", str(part)]) == 1
    assert "the training text is not what this run began with" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_give_the_same_model_as_threads(data, monkeypatch):
    monkeypatch.setattr("numpylm.training.train.FEWEST_STEPS_FOR_PROCESSES", 1)
    monkeypatch.setattr("numpylm.training.train.default_workers", lambda: 2)
    threads = train(config("translation", data, out="threads"), task=TASKS["translation"])
    processes = train(config("translation", data, out="processes"), task=TASKS["translation"], processes=True)
    same(everything(threads), everything(processes))


@pytest.mark.slow
def test_a_translator_learns_its_dictionary(data, capsys):
    folder = train(
        config(
            "translation",
            data,
            out="run",
            max_steps=400,
            eval_interval=400,
            learning_rate=1e-2,
            dropout=0.0,
            norm_first=True,
        ),
        task=TASKS["translation"],
    )
    capsys.readouterr()
    assert main(["translate", str(folder), "red cat"]) == 0
    assert capsys.readouterr().out == "rot Katze\n"


def test_translating_files_lines_and_nothing(data, capsys, monkeypatch):
    folder = train(config("translation", data, out="run", max_steps=4), task=TASKS["translation"])
    model = load_model(folder)
    assert isinstance(model, Transformer)
    (data / "lines.txt").write_text("red cat\n\nblue\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["translate", str(folder), "lines.txt"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 4
    assert lines[1] == ""
    assert lines[0] == model.translate(["red cat"])[0]
    assert main(["translate", str(folder), "lines.txt", "--reference", "lines.txt"]) == 0
    assert "BLEU " in capsys.readouterr().err
    assert main(["translate", str(folder), "--beam", "1", "red cat"]) == 0  # a text after the options
    assert capsys.readouterr().out.strip() == model.translate(["red cat"], beam=1)[0].strip()
    assert main(["translate", str(folder), "red " * 50]) == 1
    assert "line 1 has" in capsys.readouterr().err
    assert main(["translate", str(folder), "red " * 200]) == 1  # longer than a file's name may be
    assert "line 1 has" in capsys.readouterr().err
    assert main(["generate", str(folder)]) == 1
    assert "holds a Transformer, not a GPT" in capsys.readouterr().err
    for mistake, message in (
        (["no_such_file.txt"], "no such file: no_such_file.txt"),
        (["red\tcat"], "line 1 has a tab"),
        (["red", "--beam", "2", "--temperature", "1"], "give one of them"),
        (["lines.txt", "--reference", "none.txt"], "no such file: none.txt"),
    ):
        assert main(["translate", str(folder), *mistake]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_alone_or_in_a_batch_a_text_has_the_same_translation(data):
    folder = train(config("translation", data, out="run", max_steps=30, dtype="float64"), task=TASKS["translation"])
    model = load_model(folder, np.float64)
    texts = ["red", "blue cat green", "dog dog dog dog", "", "house red"]
    together = model.translate(texts)
    assert together == [model.translate([text])[0] for text in texts]
    assert together[3] == ""
    sampled = model.translate(texts, rng=np.random.default_rng(0), temperature=0.8)
    assert sampled == model.translate(texts, rng=np.random.default_rng(0), temperature=0.8)
    with pytest.raises(ValueError, match="needs an rng"):
        model.translate(texts, temperature=0.8)


def test_classifying_texts_and_files_with_labels(data, capsys):
    folder = train(
        config("classification", data, out="run", max_steps=150, learning_rate=1e-2), task=TASKS["classification"]
    )
    model = load_model(folder)
    assert isinstance(model, Bert)
    assert set(model.labels) == {word for word, _ in WORDS}
    capsys.readouterr()
    assert main(["classify", str(folder), "red cat"]) == 0
    first = capsys.readouterr().out.split("\n")[0].split()
    assert first[1] == model.classify(["red cat"])[0][0][0]
    assert main(["classify", str(folder), "classification.tsv", "--svg", "confusion.svg"]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    assert (data / "confusion.svg").read_text(encoding="utf-8").startswith("<svg")
    (data / "texts.csv").write_text("id,text\n1,red cat\n2,blue dog\n", encoding="utf-8")
    assert main(["classify", str(folder), "texts.csv"]) == 0  # without labels: one for each row
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["red cat", "blue dog"]
    assert main(["classify", str(folder), "no_such_file.csv"]) == 1
    assert "no such file: no_such_file.csv" in capsys.readouterr().err
    assert main(["translate", str(folder), "red"]) == 1
    assert "holds a Bert, and a Transformer is needed here" in capsys.readouterr().err


def test_a_classifier_begins_with_a_pretrained_trunk(data, capsys):
    pretrained = train(config("masked-lm", data, out="masked", max_steps=8), task=TASKS["masked-lm"])
    trunk = load_model(pretrained)
    options = {
        "init_from": str(pretrained),
        "out": "labels",
        "max_steps": 1,
        "learning_rate": 1e-9,
        "min_lr": 0.0,
        "weight_decay": 0.0,
    }
    folder = train(config("classification", data, **options), task=TASKS["classification"])
    ids = np.array([[3, 5, 8]])
    np.testing.assert_allclose(load_model(folder).hidden(ids)[0], trunk.hidden(ids)[0], atol=1e-5)
    options |= {"lora_rank": 2, "out": "adapters", "learning_rate": 1e-2, "max_steps": 6}
    adapted = train(config("classification", data, **options), task=TASKS["classification"])
    names = {name.split(".")[-1] for name in load_checkpoint(adapted / "last.npz").optimizer}
    assert load_checkpoint(adapted / "last.npz").meta["lora"]["rank"] == 2
    assert names
    assert main(["classify", str(adapted), "red"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "translaton"], "task must be language-model or masked-lm or translation or classification"),
        (["--task", "translation", "--source", "a.en"], "give both"),
        (["--task", "translation", "--data", "missing.tsv"], "no such file: missing.tsv"),
        (
            ["--task", "classification", "--data", "translation.tsv", "--norm-first"],
            "norm_first is for --task translation",
        ),
        (["--task", "translation", "--mask-fraction", "0.5"], "mask_fraction is for --task masked-lm"),
        (["--pooling", "first"], "pooling is for --task classification"),
        (["--task", "masked-lm", "--data", "masked-lm.tsv", "--mask-fraction", "1"], "mask_fraction must lie between"),
        (["--task", "translation", "--data", "translation.tsv", "--block-size", "1"], "pair has at most 1 tokens"),
        (["--task", "classification", "--diagnose"], "look at language models"),
    ],
)
def test_wrong_options_are_explained(options, message, data, capsys):
    assert main(["train", "--no-check-gradients", *options]) == 1
    assert message in capsys.readouterr().err
