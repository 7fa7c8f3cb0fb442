"""In-context learning: the sequences, the evaluation, and a tiny run."""

import numpy as np
import pytest

from numpylm.cli.main import main
from numpylm.tasks import TASKS
from numpylm.tasks.in_context import (
    HELD_OUT,
    IN_A_SEQUENCE,
    LABELS,
    SYMBOLS,
    InContext,
    Sequences,
    by_examples,
    draw_sequences,
    frequent_label,
)
from numpylm.training.config import make_config
from numpylm.training.run_state import resume_config
from numpylm.training.train import train

TINY = {
    "task": "in-context",
    "check_gradients": False,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "block_size": 12,
    "batch_size": 4,
    "max_steps": 6,
    "eval_interval": 3,
    "warmup_steps": 1,
}


def test_a_sequence_has_one_label_for_each_of_its_symbols():
    drawn = draw_sequences(np.random.default_rng(0), 20, 30)
    assert drawn.ids.shape == (20, 60)
    for row in drawn.ids:
        pairs = set(zip(row[::2].tolist(), row[1::2].tolist(), strict=True))
        assert len(pairs) == len({symbol for symbol, _ in pairs}) <= IN_A_SEQUENCE
        assert all(symbol < len(SYMBOLS) <= label < len(SYMBOLS + LABELS) for symbol, label in pairs)


def test_a_sequence_begins_with_one_example_of_each_symbol():
    drawn = draw_sequences(np.random.default_rng(0), 50, 20, fewest=2)
    sizes = set()
    for row in drawn.ids[:, ::2]:
        size = len(set(row.tolist()))
        assert len(set(row[:size].tolist())) == size
        sizes.add(size)
    assert sizes == set(range(2, IN_A_SEQUENCE + 1))


def test_seen_counts_the_examples_of_the_same_symbol():
    drawn = draw_sequences(np.random.default_rng(0), 20, 30)
    for row, seen in zip(drawn.ids[:, ::2], drawn.seen, strict=True):
        assert seen.tolist() == [row[:i].tolist().count(symbol) for i, symbol in enumerate(row)]


def test_nothing_but_the_own_examples_tells_a_label():
    """Every symbol has every label equally often, also beside a known other one: 0 examples leave chance."""
    drawn = draw_sequences(np.random.default_rng(0), 4000, 2)
    different = drawn.ids[drawn.seen[:, 1] == 0]
    counts = np.zeros((len(LABELS), len(LABELS)))
    np.add.at(counts, (different[:, 1] - len(SYMBOLS), different[:, 3] - len(SYMBOLS)), 1)
    assert np.abs(counts / len(different) - 1 / 64).max() < 0.01
    usual = np.bincount(drawn.ids[:, 0], minlength=len(SYMBOLS)) / 4000
    assert np.abs(usual - 1 / 16).max() < 0.02


def test_only_labels_count_in_the_loss():
    drawn = Sequences(np.array([[3, 17, 5, 20, 3, 17]]), np.array([[0, 0, 1]]))
    assert drawn.targets().tolist() == [[17, -100, 20, -100, 17]]


def test_accuracy_by_the_number_of_examples():
    hits = np.array([[True, False, True], [False, False, True]])
    seen = np.array([[0, 0, 1], [0, 1, 2]])
    assert by_examples(hits, seen) == {0: 1 / 3, 1: 0.5, 2: 1.0}


def test_the_most_frequent_label_so_far_does_not_see_its_own_pair():
    drawn = Sequences(np.array([[3, 17, 5, 20, 3, 17, 4, 20, 4, 20, 1, 23]]), np.zeros((1, 6), int))
    assert frequent_label(drawn).tolist() == [[16, 17, 17, 17, 17, 20]]


def test_a_run_resumes_to_the_bit_and_ends_with_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("numpylm.tasks.in_context.HELD_OUT", 20)
    whole = train(make_config(TINY, {"out": "whole"}), task=InContext)
    said = capsys.readouterr().out
    assert "chance 12.5%" in said
    assert "induction heads" in said
    part = train(make_config(TINY, {"out": "part"}), task=InContext, stop_at=2)
    assert "chance 12.5%;" not in capsys.readouterr().out.split("Stopped")[1]
    train(resume_config(part, {}), resume=part, task=TASKS["in-context"])
    with np.load(whole / "last.npz") as a, np.load(part / "last.npz") as b:
        names = [name for name in a.files if a[name].dtype.kind == "f"]
        assert names
        for name in names:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    capsys.readouterr()
    command = ["generate", str(part), "--prompt", "a3b0a", "--max-new-tokens", "1", "--temperature", "0"]
    assert main(command) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": ["x.txt"]}, "leave out data"),
        ({"init_from": "gpt2"}, "leave out init_from"),
        ({"block_size": 3}, "at least 4"),
        ({"vocab_size": 300, "loss_after": "x"}, "loss_after is for"),
    ],
)
def test_settings_without_a_use_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_config(TINY, options)


def test_the_held_out_sequences_do_not_depend_on_the_batches():
    """They are drawn from a seed of their own, so a longer run is evaluated on the same ones."""
    tasks = [InContext(make_config(TINY, {"max_steps": steps})) for steps in (6, 60)]
    for task in tasks:
        task.start(None)
        task.encode(None)
    assert tasks[0].fingerprint() == tasks[1].fingerprint()
    assert len(tasks[0].val.ids) == HELD_OUT


def test_a_batch_has_sequences_of_one_length_and_more_of_them_if_they_are_short():
    task = InContext(make_config(TINY, {"block_size": 24}))
    shapes = {task.batch(np.random.default_rng(n)).arrays["ids"].shape for n in range(200)}
    assert {T for _, T in shapes} == {2 * pairs - 1 for pairs in range(4, 13)}
    assert all(count == 4 * min(12 // ((T + 1) // 2), 3) for count, T in shapes)
