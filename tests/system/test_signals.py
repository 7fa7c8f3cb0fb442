"""Ctrl-C, SIGTERM and SIGHUP at any moment: everything is saved, and the run goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time

import pytest

from numpylm.cli.main import main
from numpylm.files import gpt2_files
from numpylm.files.checkpoint import load_checkpoint
from numpylm.system import whole_files as files
from numpylm.system.signals import STOPPING, interruptible, stoppable
from numpylm.training import evaluation, run_state, train
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.run_state import resume_config
from tests import tiny_training as tiny

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals to other processes")
CODES = {number: 128 + number for number in STOPPING}


@posix
def test_interrupts_terminals_and_batch_systems_are_heard():
    names = {"SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"}
    assert names == {signal.Signals(number).name for number in CODES}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write_words(tmp_path / "words.txt")


@pytest.fixture(autouse=True)
def as_a_process_begins():
    """Earlier tests may have left other handlers."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signal_at(monkeypatch, place, name, call, number):
    """Let a function raise a signal at one of its calls."""
    calls, function = [], getattr(place, name)

    def wrapped(*args, **options):
        calls.append(1)
        if len(calls) == call:
            signal.raise_signal(number)
        return function(*args, **options)

    monkeypatch.setattr(place, name, wrapped)


def exit_code():
    """The way in which a training run of `tiny.config` ends, as the command sees it."""
    try:
        train.train(tiny.config())
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        return end.code
    return 0


@pytest.fixture(scope="module")
def undisturbed():
    """What a run has at its end that was never stopped; filled by the first test that needs it."""
    return {}


@pytest.mark.parametrize(
    ("place", "name", "call", "step"),
    [
        (train, "take_step", 3, 3),
        (train, "take_step", 8, 8),  # before an evaluation
        (evaluation, "score", 1, 0),  # the first evaluation
        (evaluation, "score", 6, 8),  # in the middle of the third one
        (LanguageModeling, "sample", 1, 4),
        (train, "draw", 2, 4),
        (run_state, "save_checkpoint", 5, 4),  # the checkpoint of step 4; the first one is written before training
        (train, "take_step", 13, 13),  # the last step, whose evaluation is left
    ],
)
@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=() if n == signal.SIGTERM else pytest.mark.slow) for n in CODES]
)
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_bit(
    monkeypatch, tmp_path, undisturbed, place, name, call, step, number
):
    monkeypatch.setattr(evaluation, "windows_at_once", lambda T: 8)  # several batches in an evaluation
    monkeypatch.setattr(train, "default_workers", lambda: 1)
    if not undisturbed:
        undisturbed.update(tiny.everything(train.train(tiny.config(out="whole"))))
    with monkeypatch.context() as patch:
        signal_at(patch, place, name, call, number)
        assert exit_code() == CODES[number]
    stopped = tmp_path / "runs" / "words"
    assert load_checkpoint(stopped / "last.npz").meta["step"] == step
    train.train(resume_config(stopped, {}), resume=stopped)
    assert tiny.everything(stopped) == undisturbed


def test_a_stop_is_said_with_the_command_that_goes_on(monkeypatch, capsys):
    signal_at(monkeypatch, train, "take_step", 3, signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        main([*tiny.command()[3:], "--out=my run"])
    assert end.value.code == 143
    out = capsys.readouterr().out
    assert "Stopped at step 3 of 13; everything is saved in my run." in out
    assert out.endswith('numpylm train --resume "my run"\n')


@pytest.mark.parametrize("number", CODES)
def test_stopped_while_the_data_is_prepared_a_new_run_leaves_nothing(monkeypatch, tmp_path, number):
    signal_at(monkeypatch, LanguageModeling, "encode", 1, number)
    assert exit_code() == CODES[number]
    assert [p for p in tmp_path.rglob("*") if p.name not in ("runs", "words.txt")] == []


def test_a_file_or_folder_for_a_moment_does_not_stay(monkeypatch, tmp_path):
    pytest.importorskip("safetensors")
    folder = train.train(tiny.config())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "exported"))
    (tmp_path / "exported").mkdir()
    signal_at(monkeypatch, LanguageModeling, "encode", 1, signal.SIGTERM)
    signal_at(monkeypatch, gpt2_files, "transformers_tensors", 1, signal.SIGTERM)
    signal_at(monkeypatch, files.os, "fsync", 1, signal.SIGTERM)
    for argv in (["train", "--diagnose", "--data=words.txt"], *2 * [["export", str(folder), "exported"]]):
        with pytest.raises(SystemExit):
            main(argv)
        assert list((tmp_path / "exported").iterdir()) == []


def test_a_second_ctrl_c_stops_at_once_and_a_second_sighup_does_not():
    with interruptible() as interrupt:
        for number in (signal.SIGTERM, *STOPPING[2:], signal.SIGTERM):
            signal.raise_signal(number)
        assert interrupt.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("inside", [interruptible, stoppable])
def test_a_signal_that_is_ignored_stays_ignored(inside):
    """As SIGHUP is under nohup, and SIGINT in a script's background."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    with inside():
        for number in STOPPING:
            signal.raise_signal(number)
    assert all(signal.getsignal(number) == signal.SIG_IGN for number in STOPPING)


@posix
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(n, marks=pytest.mark.slow) for n in CODES if n != signal.SIGTERM)]
)
def test_workers_outlive_a_signal_to_all_processes(tmp_path, number):
    """So a batch system, and a terminal that is closed, send it."""
    command = tiny.command(max_steps=1000000, eval_interval=1000000, out="stopped")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", start_new_session=True
    )
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and "train_loss" in metrics.read_text(encoding="utf-8")):
        time.sleep(0.02)
    for _ in range(1 if number == signal.SIGINT else 2):
        os.killpg(process.pid, number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == CODES[number], out
    assert "numpylm train --resume stopped" in out
    assert "worker" not in out
    assert "resource_tracker" not in out
    assert load_checkpoint(tmp_path / "stopped" / "last.npz").meta["step"] > 0
