"""Several processes give the ids of one, in order, and their complaints."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from numpylm import Tokenizer
from numpylm.system import worker
from numpylm.text import encode_in_processes as processes
from numpylm.text import pretokenize as chunks
from numpylm.text.data import encode_documents
from numpylm.text.encode_in_processes import encode_in_processes

TEXT = "Don't  stop \n\n the  naïve 漢字 🙂 42 cats'  \t tails. " * 40


@pytest.mark.slow
def test_the_same_ids_as_one_process(monkeypatch, tmp_path):
    """Blocks of a few characters, so that documents are cut many times; documents of one character, too."""
    tokenizer = Tokenizer.train(TEXT, 400)
    documents = [TEXT, "x", TEXT[7:] + " ", "   ", TEXT[::-1]]
    monkeypatch.setattr(chunks, "BLOCK", 50)
    whole = encode_documents(documents, tokenizer)
    assert (whole == tokenizer.end_id).sum() == 6
    np.testing.assert_array_equal(encode_documents(documents, tokenizer, processes=2), whole)
    mapped = encode_documents(documents, tokenizer, tmp_path, in_memory=100, processes=2)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, whole)


@pytest.mark.slow
def test_text_that_cannot_be_encoded_is_refused_as_by_one_process():
    tokenizer = Tokenizer.train(TEXT, 300)
    with pytest.raises(ValueError, match="lone surrogate"):
        list(encode_in_processes(tokenizer, ["good", "bad \ud800"], 2))


def dies_at_cats(text):
    if "cats" in text:
        os._exit(9)
    return _encode_there(text)


_encode_there = processes._encode_there


@pytest.mark.slow
def test_a_process_that_dies_changes_no_id(monkeypatch, capsys):
    monkeypatch.setattr(chunks, "BLOCK", 50)
    monkeypatch.setattr(processes, "_encode_there", dies_at_cats)
    tokenizer = Tokenizer.train(TEXT, 300)
    whole = encode_documents([TEXT, "x"], tokenizer)
    np.testing.assert_array_equal(encode_documents([TEXT, "x"], tokenizer, processes=2), whole)
    said = {line for line in capsys.readouterr().err.splitlines() if line.startswith("note")}
    assert said == {"note: a worker process ended with exit code 9; a thread continues in its place"}


def test_where_no_process_can_start_this_one_tokenizes(monkeypatch, capsys):
    tokenizer = Tokenizer.train(TEXT, 300)
    monkeypatch.setattr(worker, "_serving", True)
    whole = encode_documents([TEXT, "x"], tokenizer)
    np.testing.assert_array_equal(encode_documents([TEXT, "x"], tokenizer, processes=2), whole)
    assert (
        capsys.readouterr().err == "note: one process tokenizes: a worker process cannot start other worker processes\n"
    )


ENDLESS = """
import itertools, sys
from numpylm.cli import main as cli
from numpylm.text import encode_in_processes as processes
from numpylm.training import prepare_data

def endless(documents, pattern):
    block = documents[0] * 100
    yield block, False
    print("begun", flush=True)
    yield from itertools.repeat((block, False))

prepare_data.FEWEST_CHARACTERS_FOR_PROCESSES, processes._with_ends = 0, endless
sys.exit(cli.main(["train", "--data", sys.argv[1], "--vocab-size", "300", "--no-check-gradients"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to a process there")
def test_ctrl_c_while_processes_tokenize_is_one_line(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 10, encoding="utf-8")
    command = [sys.executable, "-c", ENDLESS, str(path)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **streams) as process:
        while "begun" not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "numpylm: interrupted"
    assert "Traceback" not in errors
    assert "a worker" not in errors
