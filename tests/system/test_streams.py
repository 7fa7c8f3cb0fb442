"""Closed streams, readers that leave, a full disk behind the output: of every command, in processes of their own."""

import os
import subprocess
import sys

import numpy as np
import pytest

from numpylm import GPT, GPTConfig, Tokenizer
from numpylm.files.checkpoint import load_checkpoint, save_checkpoint
from tests import tiny_training as tiny

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows' shell closes no descriptors")
NUMPYLM = [sys.executable, "-m", "numpylm"]
CLOSED = ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text and a model, which are only read."""
    folder = tmp_path_factory.mktemp("streams")
    tiny.write_words(folder / "words.txt")
    (folder / "run").mkdir()
    tokenizer = Tokenizer.train("one two three one two three", vocab_size=266)
    tokenizer.save(folder / "run")
    save_checkpoint(folder / "run" / "best.npz", GPT(GPTConfig(266, 12, 1, 2, 8), np.random.default_rng(0)))
    return folder


def in_shell(folder, command, streams):
    """Run a command in a shell, with redirections behind it; its exit code, and the output that is left."""
    shell = ["sh", "-c", f'exec "$@" {streams}', "sh", *command]
    done = subprocess.run(shell, cwd=folder, env=tiny.environment(), capture_output=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def without_reader(folder, command, *names):
    """Run a command whose streams of these names are pipes that nobody reads; its exit code and stderr."""
    read, write = os.pipe()
    os.close(read)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | dict.fromkeys(names, write)
    process = subprocess.Popen(command, cwd=folder, env=tiny.environment(), **streams)
    os.close(write)
    _, errors = process.communicate(timeout=120)
    return process.returncode, (errors or b"").decode()


def steps(folder):
    return load_checkpoint(folder / "last.npz").meta["step"]


@pytest.mark.parametrize("names", [["stdout", "stderr"], pytest.param(["stdout"], marks=pytest.mark.slow)])
def test_a_training_goes_on_without_its_reader(folder, tmp_path, names):
    """As behind ``numpylm train | head -n 1``."""
    code, errors = without_reader(folder, tiny.command(out=str(tmp_path / "run")), *names)
    assert (code, steps(tmp_path / "run")) == (0, 13)
    assert "Error" not in errors


@posix
@pytest.mark.slow
@pytest.mark.parametrize("streams", CLOSED)
def test_a_training_with_closed_streams(folder, tmp_path, streams):
    """Worker processes share its steps, and inherit what it has of streams."""
    command = tiny.command(out=str(tmp_path / "run"), max_steps=60, eval_interval=30)
    code, out, errors = in_shell(folder, command, streams)
    assert (code, steps(tmp_path / "run")) == (0, 60)
    assert ("Done." in out) == (streams in ("<&-", "2>&-"))
    assert "Error" not in errors
    assert "checking" not in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")


@posix
@pytest.mark.slow
def test_a_training_whose_output_has_no_room(folder, tmp_path):
    code, _, errors = in_shell(folder, tiny.command(out=str(tmp_path / "run")), ">/dev/full")
    assert (code, steps(tmp_path / "run")) == (0, 13)
    assert "No space" not in errors


COMMANDS = {
    "generate": ["generate", "run", "--max-new-tokens", "5", "--prompt", "one"],
    "from stdin": ["generate", "run", "--max-new-tokens", "5", "--prompt", "-"],
    "interactive": ["generate", "run", "--max-new-tokens", "5", "--interactive"],
    "samples": ["generate", "run", "--max-new-tokens", "5", "-n", "2"],
    "tokenize": ["tokenize", "run", "one two"],
    "tokenize stdin": ["tokenize", "run"],
    "evaluate": ["evaluate", "run", "--data", "words.txt"],
    "rank": ["rank", "run", "--prompt", "one", "--answers", " two", " three"],
    "gradcheck": ["gradcheck"],
    "zoo": ["gradcheck", "--zoo"],
    "course": ["course"],
    "help": ["--help"],
    "diagnose": ["train", "--diagnose", "--data", "words.txt", "--n-embd", "8", "--block-size", "8"],
}
ALL = [pytest.param(name, marks=() if name == "tokenize stdin" else pytest.mark.slow) for name in COMMANDS]


@pytest.mark.slow
@posix
@pytest.mark.parametrize("name", ALL)
def test_a_command_with_closed_streams(folder, name):
    assert in_shell(folder, NUMPYLM + COMMANDS[name], CLOSED[-1])[0] == 0


@posix
@pytest.mark.slow
@pytest.mark.parametrize("name", ["from stdin", "tokenize"])
@pytest.mark.parametrize("streams", CLOSED[:-1])
def test_a_command_with_some_closed_streams(folder, name, streams):
    code, out, errors = in_shell(folder, NUMPYLM + COMMANDS[name], streams)
    assert (code, errors) == (0, "")
    assert bool(out) == (streams in ("<&-", "2>&-"))


@pytest.mark.parametrize("name", ALL)
def test_a_command_without_a_reader_ends_quietly(folder, name):
    code, errors = without_reader(folder, NUMPYLM + COMMANDS[name], "stdout")
    assert code == 0
    assert "Error" not in errors
    assert "ignored" not in errors


@posix
@pytest.mark.parametrize("name", ["tokenize", *(pytest.param(n, marks=pytest.mark.slow) for n in ("generate", "zoo"))])
def test_output_without_room_is_one_line(folder, name):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    code, _, errors = in_shell(folder, NUMPYLM + COMMANDS[name], ">/dev/full")
    assert code == 1
    assert errors == "numpylm: error: [Errno 28] No space left on device\n"


@pytest.mark.slow
@posix
@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", ">&- 2>&-"])
def test_no_file_gets_the_descriptor_of_a_closed_stream(folder, tmp_path, streams):
    """Output that a library prints to descriptor 1 or 2 would be written into it."""
    program = """
import os, sys
from numpylm.system.streams import standard_streams
with standard_streams():
    file = open(sys.argv[1], "wb")
    os.write(1, b"lost"), os.write(2, b"lost")
    assert file.fileno() > 2
    assert all(os.get_inheritable(descriptor) for descriptor in range(3))
    file.write(b"kept")
"""
    path = tmp_path / "data"
    assert in_shell(folder, [sys.executable, "-c", program, str(path)], streams)[0] == 0
    assert path.read_bytes() == b"kept"


@pytest.mark.slow
def test_the_bundled_stories_may_be_read_in_part(folder):
    code, errors = without_reader(folder, [sys.executable, "-m", "numpylm.corpora", "stories"], "stdout")
    assert (code, errors) == (0, "")
