"""Run folders: one process in each, a new one for each run, refused runs leave none, and projects that are moved."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import numpylm.training.run_state
import numpylm.training.train
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint
from numpylm.system.lock import InUse
from numpylm.system.run_files import LOCK
from numpylm.training import language_modeling
from numpylm.training.config import make_config
from numpylm.training.run_folder import created_at_once, folder_to_resume, hold, reserve
from numpylm.training.run_state import TrainingError, resume_config
from numpylm.training.train import train

TINY = {
    "vocab_size": 300,
    "block_size": 16,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "batch_size": 4,
    "max_steps": 4,
    "warmup_steps": 2,
    "eval_interval": 2,
    "sample_tokens": 0,
    "check_gradients": False,
}
FLAGS = ["--no-check-gradients"]
FLAGS += [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items() if key != "check_gradients"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder with a text in it."""
    folder = tmp_path / "one"
    folder.mkdir()
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("aeionrst"), 5)) for _ in range(40)]
    (folder / "a.txt").write_text(" ".join(rng.choice(words, 1000)), encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def tiny(**changes):
    return make_config(TINY, {"data": "a.txt"}, changes)


def resume(folder, **changes):
    return train(resume_config(folder, changes), resume=folder)


def steps(folder):
    return load_checkpoint(folder / "last.npz").meta["step"]


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def said(capsys):
    """The one line of an error; there may be progress bars above it."""
    bars, _, line = capsys.readouterr().err.strip().rpartition("numpylm: error: ")
    assert "\n" not in line
    assert "Traceback" not in bars
    return line


# ------------------------------------------------------------------------------------ one process in each


def test_a_run_that_trains_is_not_touched_by_another(project, capsys):
    run = train(tiny(), stop_at=2)
    before = contents(run)
    with hold(run):
        capsys.readouterr()
        assert main(["train", "--resume", "runs/a", "--max-steps", "9", "--data", "a.txt"]) == 1
        assert f"runs/a is in use by process {os.getpid()} on " in said(capsys)
    assert contents(run) == before


def test_the_lock_is_held_from_beginning_to_end(project, monkeypatch):
    """A second training is tried in the midst of each: before the text is read, and at every evaluation."""
    refused = []

    def tried(function):
        def with_another(*args, **options):
            with pytest.raises(InUse):
                resume(Path("runs/a"))
            refused.append(function.__name__)
            return function(*args, **options)

        return with_another

    monkeypatch.setattr(numpylm.training.train, "evaluate_and_save", tried(numpylm.training.train.evaluate_and_save))
    run = train(tiny(), stop_at=2)
    monkeypatch.setattr(language_modeling, "load_documents", tried(language_modeling.load_documents))
    monkeypatch.setattr(numpylm.training.train, "load_tokenizer", tried(numpylm.training.train.load_tokenizer))
    resume(run)
    assert refused == ["evaluate_and_save"] * 2 + ["load_tokenizer", "load_documents", "evaluate_and_save"]
    assert not (run / LOCK).exists()


@pytest.mark.parametrize("ending", [KeyboardInterrupt, TrainingError])
def test_a_training_that_ends_badly_gives_its_folder_back(project, ending, monkeypatch):
    def fail(*args):
        raise ending

    with monkeypatch.context() as patch:
        patch.setattr(numpylm.training.train, "take_step", fail)
        with pytest.raises(ending):
            train(tiny())
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a"]
    assert not Path("runs/a", LOCK).exists()
    assert steps(resume(Path("runs/a"))) == 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_workers_do_not_keep_the_lock_of_a_killed_training(project):
    command = [sys.executable, "-m", "numpylm", "train", *FLAGS, "--data", "a.txt", "--max-steps=1000000"]
    process = subprocess.Popen([*command, "--eval-interval=100"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = Path("runs/a/metrics.jsonl")
    deadline = time.monotonic() + 60
    while not (metrics.exists() and "train_loss" in metrics.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(InUse, match=f"by process {process.pid} on "):
        resume(Path("runs/a"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    resume(Path("runs/a"), max_steps=steps(Path("runs/a")) + 1)


# --------------------------------------------------------------------------------- a new one for each run


def test_many_at_once_get_a_folder_each(project):
    """Each is slow to make its folder, as with a long text, and all begin at the same moment."""
    barrier, folders, count = threading.Barrier(8), [], 8

    def begin():
        barrier.wait()
        with ExitStack() as held:
            folder = reserve(tiny(), held)
            with created_at_once(folder) as draft:
                (draft / "file").write_text("", encoding="utf-8")
                time.sleep(0.02)
            folders.append(folder.as_posix())

    threads = [threading.Thread(target=begin) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(folders) == ["runs/a", *(f"runs/a-{n}" for n in range(2, count + 1))]
    assert sorted(path.as_posix() for path in Path("runs").iterdir()) == sorted(folders)


@pytest.mark.slow
def test_many_commands_at_once_get_a_folder_each(project):
    command = [sys.executable, "-m", "numpylm", "train", *FLAGS, "--data", "a.txt"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(5)]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 5, outputs
    folders = sorted(Path("runs").iterdir())
    assert [path.name for path in folders] == ["a", "a-2", "a-3", "a-4", "a-5"]
    assert {steps(folder) for folder in folders} == {4}


def test_a_name_is_taken_while_its_text_is_being_read(project, monkeypatch, capsys):
    """Even before its folder exists."""
    make, made = language_modeling.make_tokenizer, []

    def meanwhile(config, *documents):
        if not made:
            made.append("x")
            assert main(["train", *FLAGS, "--data", "a.txt", "--out", "x"]) == 1
            assert f"x is in use by process {os.getpid()} on" in said(capsys)
            made.append(train(tiny()))
        return make(config, *documents)

    monkeypatch.setattr(language_modeling, "make_tokenizer", meanwhile)
    assert train(tiny(out="x")) == Path("x")
    assert made == ["x", Path("runs/a")]
    assert sorted(path.name for path in project.iterdir()) == ["a.txt", "runs", "x"]


def test_what_a_killed_process_left_of_a_name_is_taken_over(project):
    Path("runs/.a.draft").mkdir(parents=True)
    Path("runs/.a.draft/best.npz").write_bytes(b"half")
    Path("runs/.a.lock").write_text('{"pid": 1}', encoding="utf-8")
    assert train(tiny()) == Path("runs/a")
    assert [path.name for path in Path("runs").iterdir()] == ["a"]
    assert steps(Path("runs/a")) == 4


def test_an_empty_folder_may_become_one(project):
    Path("x").mkdir()
    assert steps(train(tiny(out="x"))) == 4


# ------------------------------------------------------------------------------ refused before, and not after


def refuse(capsys, *flags):
    """The error message of a command that must fail before it reads its text."""
    assert main(["train", *FLAGS, "--data", "a.txt", *flags]) == 1
    return said(capsys)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out", "full"], "full exists: choose another --out"),
        (["--out", "a.txt"], "a.txt exists"),
        (["--out", "a.txt/x"], "a.txt is a file: choose another --out"),
        (["--out", "link"], "link is a link, a drive or the working folder"),
        (["--n-head", "3"], "n_head must divide n_embd"),
        (["--n-embd", "0"], "n_embd must be a whole number"),
        (["--dropout", "1"], "dropout must lie in [0, 1)"),
        (["--vocab-size", "256"], "vocab_size must be at least 257"),
        (["--val-fraction", "1"], "val_fraction must lie between 0 and 1, got 1.0"),
        (["--beta1", "1"], "beta1 must lie in [0, 1), got 1.0"),
        (["--clean", "all", "soap"], "unknown cleaning step"),
    ],
)
def test_what_is_cheap_to_check_is_checked_before_the_text_is_read(project, monkeypatch, capsys, flags, message):
    Path("full").mkdir()
    Path("full/file").write_text("", encoding="utf-8")
    Path("empty").mkdir()
    try:
        Path("link").symlink_to("empty", target_is_directory=True)
    except OSError:
        if "link" in flags:
            pytest.skip("this system makes no links")
    before = contents(project)
    monkeypatch.setattr("numpylm.training.prepare_data.read_documents", lambda paths: pytest.fail("the text was read"))
    assert message in refuse(capsys, *flags)
    assert contents(project) == before


@pytest.mark.parametrize("flags", [["--out", "full"], ["--out", "a.txt/x"], ["--data", "no.txt"]])
def test_paths_are_checked_before_gradients(project, monkeypatch, capsys, flags):
    Path("full").mkdir()
    Path("full/file").write_text("", encoding="utf-8")
    monkeypatch.setattr("numpylm.training.train.check_gradients", lambda: pytest.fail("gradients were checked"))
    assert main(["train", "--data", "a.txt", *flags]) == 1
    assert flags[1].partition("/")[0] in said(capsys)


def test_the_working_folder_is_no_place_for_a_run(project, monkeypatch, capsys):
    (project / "empty").mkdir()
    monkeypatch.chdir(project / "empty")
    assert main(["train", *FLAGS, "--out", "."]) == 1
    assert "give --out a name in it, such as run" in said(capsys)


def test_a_model_to_begin_with_is_looked_at_before_the_text_is_read(project, monkeypatch, capsys):
    train(tiny(out="base"))
    monkeypatch.setattr("numpylm.training.prepare_data.read_documents", lambda paths: pytest.fail("the text was read"))
    capsys.readouterr()
    for flags, message in (
        (["--init-from", "./nowhere"], "no folder './nowhere'"),
        (["--init-from", "base", "--freeze-below", "7"], "can be frozen below 0 … 1, got 7"),
        (["--init-from", "base", "--block-size", "17"], "reads 16 tokens at most, got block_size=17"),
    ):
        assert main(["train", "--no-check-gradients", "--data", "a.txt", *flags]) == 1
        assert message in said(capsys)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("", [], "there is no text"),
        ("a", [], "too short"),
        ("few words here", ["--out", "deep/er/x"], "the text has"),
        ("one two " * 50, ["--block-size", "1000", "--out", "x"], "a window needs block_size + 1 = 1001"),
        ("one two " * 50, ["--loss-after", "Answer:"], "document 1 has no 'Answer:'"),
    ],
)
def test_a_text_that_is_refused_leaves_no_folder(project, capsys, text, flags, message):
    Path("a.txt").write_text(text, encoding="utf-8")
    assert message in refuse(capsys, *flags)
    assert [path.name for path in project.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("place", "ending"),
    [
        ("numpylm.training.language_modeling.make_tokenizer", SystemExit),
        ("numpylm.text.data._encoded", KeyboardInterrupt),
        ("numpylm.training.language_modeling.new_model", MemoryError),
        ("numpylm.training.run_state.save_checkpoint", OSError(errno.ENOSPC, "disk full")),
    ],
)
def test_whatever_ends_a_run_before_it_begins_leaves_no_folder(project, monkeypatch, place, ending):
    def fail(*args, **options):
        raise ending

    monkeypatch.setattr(place, fail)
    with pytest.raises((SystemExit, KeyboardInterrupt, MemoryError, OSError)):
        train(tiny())
    assert [path.name for path in project.iterdir()] == ["a.txt"]


# --------------------------------------------------------------------------------- which folder is resumed


def test_a_file_of_a_run_stands_for_its_folder(project):
    run = train(tiny(), stop_at=2)
    assert main(["train", "--resume", str(run / "last.npz")]) == 0
    assert steps(run) == 4
    for path in (run, run / "config.json", run / "metrics.jsonl"):
        assert folder_to_resume(path) == run


def test_the_best_checkpoint_is_not_what_a_run_goes_on_from(project, capsys):
    train(tiny())
    capsys.readouterr()
    assert main(["train", "--resume", "runs/a/best.npz"]) == 1
    line = said(capsys)
    assert "--resume runs/a;" in line
    assert line.endswith("--init-from runs/a/best.npz")


def test_a_folder_of_runs_names_them(project, capsys):
    train(tiny())
    capsys.readouterr()
    assert main(["train", "--resume", "runs"]) == 1
    assert "holds some: give one of runs/a" in said(capsys)


def test_what_is_no_run_is_left_as_it_is(project):
    for folder in (project, project / "nowhere"):
        with pytest.raises(FileNotFoundError, match="not a run folder"):
            train(tiny(), resume=folder)
    assert [path.name for path in project.iterdir()] == ["a.txt"]


def test_settings_that_a_run_has_may_be_repeated(project, capsys):
    """For example, when a command is taken from the shell's history and --resume is added."""
    train(tiny(), stop_at=2)
    assert main(["train", *FLAGS, "--data", "a.txt", "--resume", "runs/a"]) == 0
    capsys.readouterr()
    assert main(["train", *FLAGS, "--n-layer=2", "--resume", "runs/a"]) == 1
    assert "n_layer cannot change" in said(capsys)


# ----------------------------------------------------------------------------------------- moved projects


def saved_data(run):
    return json.loads((run / "config.json").read_text(encoding="utf-8"))["data"]


@pytest.mark.parametrize(("out", "working"), [("", "."), ("", "/"), ("deep/er/x", "..")])
def test_a_moved_project_goes_on(project, monkeypatch, out, working):
    """Twice, and from whatever working folder."""
    run = train(tiny(out=out), stop_at=2)
    assert saved_data(run) == ["../" * len(run.parts) + "a.txt"]
    for n, name in enumerate(["two", "three"], 3):
        monkeypatch.chdir("/")
        project = project.rename(project.with_name(name))
        monkeypatch.chdir(project / working)
        resume(project / run, max_steps=n)
        assert steps(project / run) == n


def test_a_text_outside_the_project_is_found_by_its_full_path(project, monkeypatch):
    Path("lib").mkdir()
    monkeypatch.chdir("lib")
    run = train(tiny(data="../a.txt"), stop_at=2)
    assert saved_data(run) == [str((project / "a.txt").resolve())]
    shutil.move(run, project / "elsewhere")
    assert steps(resume(project / "elsewhere")) == 4


def test_runs_of_older_versions_keep_full_paths(project, monkeypatch, capsys):
    run = train(tiny(), stop_at=2)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["data"] = [str(project / "a.txt")]
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    resume(run, max_steps=3)
    monkeypatch.chdir("/")
    moved = project.rename(project.with_name("two"))
    capsys.readouterr()
    assert main(["train", "--resume", str(moved / run)]) == 1
    line = said(capsys)
    assert f"{moved / run} was trained on {project / 'a.txt'}, which does not exist" in line
    assert "--data" in line
    assert main(["train", "--resume", str(moved / run), "--data", str(moved / "a.txt"), "--max-steps=4"]) == 0
    assert steps(moved / run) == 4


def test_data_may_name_the_same_text_in_another_place(project, capsys):
    run = train(tiny(), stop_at=2)
    Path("texts").mkdir()
    Path("a.txt").rename("texts/b.txt")
    resume(run, data="texts", max_steps=3)
    assert saved_data(run) == ["../../texts"]
    resume(run, max_steps=4)
    assert steps(run) == 4


@pytest.mark.parametrize("place", ["beginning", "end"])
def test_another_text_is_refused_and_nothing_changes(project, capsys, place):
    """The end of a single document is the validation text: it has other tokens, but the same number."""
    run = train(tiny(tokenizer="char"), stop_at=2)
    text = Path("a.txt").read_text(encoding="utf-8")
    Path("b.txt").write_text("tt" + text[2:] if place == "beginning" else text[:-2] + "tt", encoding="utf-8")
    before = contents(run)
    capsys.readouterr()
    assert main(["train", "--resume", "runs/a", "--data", "b.txt", "--max-steps", "9"]) == 1
    assert "not what this run began with: b.txt has changed" in said(capsys)
    assert contents(run) == before


def test_a_checkpoint_of_an_older_version_knows_less_of_its_text(project):
    run = train(tiny(), stop_at=2)
    state = numpylm.training.run_state.resumed_run(resume_config(run, {}), run)
    state.fingerprint = state.fingerprint.rpartition("-")[0]
    state.save("last.npz")
    assert steps(resume(run)) == 4


def test_a_fine_tuned_run_goes_on_without_the_model_that_it_began_with(project):
    base = train(tiny(out="base"))
    fine = {"init_from": "base", "data": "a.txt", "check_gradients": False, "sample_tokens": 0, "max_steps": 4}
    run = train(make_config(fine, {"lora_rank": 2}), stop_at=2)
    shutil.rmtree(base)
    resume(run)
    assert steps(run) == 4


def test_a_damaged_checkpoint_is_said_before_the_text_is_read(project, monkeypatch, capsys):
    run = train(tiny(), stop_at=2)
    (run / "last.npz").write_bytes(b"half")
    monkeypatch.setattr("numpylm.training.prepare_data.read_documents", lambda paths: pytest.fail("the text was read"))
    before = contents(run)
    capsys.readouterr()
    assert main(["train", "--resume", "runs/a"]) == 1
    assert "is damaged" in said(capsys)
    assert contents(run) == before


@pytest.mark.parametrize("block_size", [0, -1, 600])
def test_a_damaged_block_size_is_said_before_the_run_changes(project, capsys, block_size):
    run = train(tiny(), stop_at=2)
    saved = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (run / "config.json").write_text(json.dumps(saved | {"block_size": block_size}), encoding="utf-8")
    before = contents(run)
    capsys.readouterr()
    assert main(["train", "--resume", "runs/a"]) != 0
    assert "block_size" in said(capsys)
    assert contents(run) == before
