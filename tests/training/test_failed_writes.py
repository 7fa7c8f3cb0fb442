"""A full disk, a failing plot, or output that is not read: training continues, and nothing that was saved is lost."""

import errno
import json
import subprocess
import sys

import pytest

from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint
from numpylm.training import language_modeling, report_progress, run_state, train
from numpylm.training.run_state import TrainingError, resume_config
from tests import tiny_training as tiny


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "default_workers", lambda: 1)
    tiny.write_words(tmp_path / "words.txt")


@pytest.fixture
def undisturbed():
    return tiny.everything(train.train(tiny.config(out="undisturbed")))


@pytest.fixture
def full_disk(monkeypatch):
    """A function that says which checkpoints find no room: by their names and steps."""
    save = run_state.save_checkpoint

    def fill(*full):
        def no_room(path, gpt, optimizer, meta):
            if (path.name, meta["step"]) in full:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            save(path, gpt, optimizer, meta)

        monkeypatch.setattr(run_state, "save_checkpoint", no_room)

    return fill


def test_a_checkpoint_without_room_is_said_and_the_next_one_is_written(full_disk, undisturbed, capsys):
    full_disk(("last.npz", 4))
    folder = train.train(tiny.config())
    out = capsys.readouterr().out
    assert out.count("No space left on device") == 1
    assert "step 4 could not be saved" in out
    assert "still holds step 0. Training continues" in out
    assert tiny.everything(folder) == undisturbed


def test_without_room_for_the_best_one_its_evaluation_is_left_to_be_done_again(full_disk, undisturbed):
    full_disk(("best.npz", 8))
    with pytest.raises(TrainingError, match=r"step 8 could not be saved .* still holds step 4"):
        train.train(tiny.config(out="full"), stop_at=8)
    full_disk()
    folder = train.train(resume_config("full", {}), resume="full")
    assert tiny.everything(folder) == undisturbed


def test_a_last_save_that_fails_is_one_line_and_exit_code_1(full_disk, undisturbed, capsys):
    full_disk(("best.npz", 12), ("best.npz", 13), ("last.npz", 13))
    assert main([*tiny.command()[3:], "--out=my run"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("numpylm: error: step 13 could not be saved ([Errno 28] No space left on device")
    assert error.endswith(
        'my run still holds step 8. Make room on the disk, then resume: numpylm train --resume "my run"'
    )
    full_disk()
    train.train(resume_config("my run", {}), resume="my run")
    assert tiny.everything(tiny.Path("my run")) == undisturbed


def test_a_resumed_evaluation_that_cannot_be_saved_is_not_called_done(full_disk, monkeypatch):
    with monkeypatch.context() as patch:  # stopped before its evaluation
        patch.setattr(train, "evaluate_and_save", lambda *given: None)
        folder = train.train(tiny.config(max_steps=4))
    full_disk(("best.npz", 4))
    with pytest.raises(TrainingError, match="step 4 could not be saved"):
        train.train(resume_config(folder, {}), resume=folder)


def test_without_room_for_the_first_checkpoint_there_is_no_run(full_disk, tmp_path, capsys):
    full_disk(("last.npz", 0))
    assert main(tiny.command()[3:]) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_metrics_without_room_are_written_later(monkeypatch, undisturbed, capsys):
    """A folder stands where metrics.jsonl should, from step 4 to step 8."""
    evaluate, place = language_modeling.evaluate, tiny.Path("runs/words/metrics.jsonl")
    calls = []

    def evaluated(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            place.rename("half.jsonl")
            place.mkdir()
        if len(calls) == 3:
            place.rmdir()
        return evaluate(*args, **options)

    monkeypatch.setattr(language_modeling, "evaluate", evaluated)
    folder = train.train(tiny.config())
    assert capsys.readouterr().out.count("note: metrics.jsonl could not be made") == 1
    assert tiny.everything(folder) == undisturbed


def test_half_a_line_of_metrics_hides_no_other(undisturbed):
    folder = train.train(tiny.config(), stop_at=9)
    path = folder / "metrics.jsonl"
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([first, '{"step": 3, "val', *lines]), encoding="utf-8")
    train.train(resume_config(folder, {}), resume=folder)
    assert tiny.everything(folder) == undisturbed


@pytest.mark.parametrize(
    ("module", "name", "what"),
    [
        (report_progress, "loss_curve", "loss.svg"),
        (language_modeling, "stream_text", "sample"),
        (language_modeling, "reference_losses", "description of the data"),
    ],
)
def test_what_only_shows_something_may_fail(monkeypatch, capsys, undisturbed, module, name, what):
    def broken(*args, **options):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(module, name, broken)
    folder = train.train(tiny.config())
    assert capsys.readouterr().out.count(f"note: {what} could not be made") == 1
    assert tiny.everything(folder) == undisturbed


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EINVAL, "Invalid argument"),
        BlockingIOError(errno.EAGAIN, "would block"),
        UnicodeEncodeError("ascii", "…", 0, 1, "ordinal not in range(128)"),
        ValueError("I/O operation on closed file"),
    ],
)
def test_a_training_needs_no_output(monkeypatch, undisturbed, error):
    def fail(*args):
        raise error

    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "write", fail)
        monkeypatch.setattr(stream, "flush", fail)
    assert tiny.everything(train.train(tiny.config())) == undisturbed


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limits for files")
@pytest.mark.parametrize(("steps", "code"), [((0, 4), 0), ((8, 99), 1)])
def test_files_that_may_not_grow(tmp_path, steps, code):
    """The system itself refuses to write, between two steps."""
    first, last = steps
    program = f"""
import resource, sys
from numpylm.training import train
from numpylm.cli.main import main

def limited(run, *given, take_step=train.take_step):
    if run.step in ({first}, {last}):
        resource.setrlimit(resource.RLIMIT_FSIZE, (90 if run.step == {first} else -1, -1))
    return take_step(run, *given)

train.take_step = limited
sys.exit(main(sys.argv[1:]))
"""
    command = [sys.executable, "-c", program, *tiny.command(out="limited")[3:]]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=tiny.environment())
    assert done.returncode == code, done.stderr
    assert "File too large" in done.stdout
    assert "Traceback" not in done.stderr
    assert load_checkpoint(tmp_path / "limited" / "last.npz").meta["step"] == (8 if code else 13)
    lines = (tmp_path / "limited" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 3
    assert code or [json.loads(line)["step"] for line in lines] == [0, 4, 8, 10, 12, 13]
