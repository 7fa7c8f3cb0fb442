"""``numpylm serve``: it starts, answers, stops on a signal, and says what is wrong in one line."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from numpylm import CharTokenizer
from numpylm.cli.main import main
from numpylm.files.checkpoint import save_checkpoint
from numpylm.inference.generate_text import generate_text
from tests.serving.serving import call, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("letters")
    tokenizer = CharTokenizer("\n abcde")
    save_checkpoint(folder / "best.npz", tiny(tokenizer))
    tokenizer.save(folder)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_a_signal(run, number, capsys, monkeypatch):
    """In this process: instead of waiting, the command asks itself, and then sends itself the signal."""
    seen, rounds = {}, []

    def ask(seconds):
        rounds.append(seconds)
        assert len(rounds) < 100, "the signal never stopped the command"
        if seen:  # beside other threads, Python may run the handler of a signal a moment later
            time.sleep(seconds)
            return
        port = int(re.search(r":(\d+)/v1", capsys.readouterr().out)[1])
        seen["models"] = call(port, "/v1/models").body["data"][0]["id"]
        answer = call(port, "/v1/completions", {"prompt": "ab", "seed": 1, "model": seen["models"]})
        seen["text"] = answer.body["choices"][0]["text"]
        signal.raise_signal(number)

    monkeypatch.setattr("numpylm.cli.serve.sleep", ask)
    before = signal.getsignal(number)
    assert main(["serve", str(run), "--port", "0"]) == 0
    assert signal.getsignal(number) == before
    rng = np.random.default_rng(1)
    tokenizer = CharTokenizer.load(run)
    assert seen["models"] == run.name
    assert seen["text"] == "".join(generate_text(tiny(tokenizer), tokenizer, "ab", 16, own=True, rng=rng))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signals to other processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_of_its_own_stops_while_it_writes(run, number):
    command = [sys.executable, "-m", "numpylm", "serve", str(run), "--port", "0", "--log"]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
    address = re.search(r"API at (\S+);", process.stdout.readline())[1]
    body = json.dumps({"prompt": "ab", "max_tokens": 4096, "n": 4, "stream": True}).encode()
    with urllib.request.urlopen(f"{address}/completions", body, 20) as answer:
        assert answer.readline().startswith(b"data: ")
        process.send_signal(number)
        assert b"the server is stopping" in answer.read()
    began = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == "POST /v1/completions 200\nstopped\n"
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--port", "70000"], 1, "--port must be from 0 to 65535"),
        (["--parallel", "0"], 1, "must be at least 1"),
        (["--max-requests", "0"], 1, "must be at least 1"),
        (["--host", ""], 2, "the value is empty"),
        (["--host", "256.0.0.1"], 1, "cannot listen on 256.0.0.1"),
        (["--host", "\ud800"], 1, "cannot listen on"),
        (["--prot", "1"], 2, "did you mean --port?"),
    ],
)
def test_mistakes_get_one_line_and_an_exit_code(run, capsys, argv, code, message):
    try:
        status = main(["serve", str(run), *argv])
    except SystemExit as stop:
        status = stop.code
    assert status == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_port_that_is_in_use(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}: " in capsys.readouterr().err
