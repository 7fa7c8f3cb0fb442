"""``numpylm chat``: one question, a conversation by a pipe, its commands, and its messages about mistakes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from numpylm import GPT, GPTConfig, Tokenizer
from numpylm.cli.chat import speaker
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_run, save_checkpoint
from numpylm.inference.chat import ChatSession
from numpylm.text.chat_template import train_chat_tokenizer


def save(folder, tokenizer, block_size=128):
    gpt = GPT(GPTConfig(tokenizer.vocab_size, block_size, 1, 2, 8), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape).astype(np.float32)
    save_checkpoint(folder / "best.npz", gpt)
    tokenizer.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    tokenizer = train_chat_tokenizer(["one two three one two three"], 266)
    return save(tmp_path_factory.mktemp("run"), tokenizer)


@pytest.fixture
def chat(capsys, monkeypatch):
    """The command in this process: its output and its notes."""

    def call(*argv, lines=None, code=0):
        if lines is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("".join(f"{x}\n" for x in lines).encode())))
        assert main(["chat", *argv, "--seed", "1", "--max-new-tokens", "12"]) == code
        return capsys.readouterr()

    return call


def expected(run, turns, system="", **sampling):
    gpt, tokenizer, _ = load_run(run)[0], load_run(run)[0].tokenizer, None
    session, rng = ChatSession(gpt, tokenizer, system), np.random.default_rng(1)
    return "".join("".join(session.answer(text, 12, rng, **sampling)) + "\n" for text in turns)


def test_one_question(run, chat, monkeypatch):
    assert chat(run, "--prompt", "one", "--temperature", "0").out == expected(run, ["one"], temperature=0, top_p=0.9)
    assert chat(run, "--prompt", "one").out == expected(run, ["one"])
    assert chat(run, "--prompt", "one", "--system", "two", "--top-k", "5").out == expected(
        run, ["one"], "two", temperature=0.7, top_p=0.9, top_k=5
    )
    assert chat(run, "--prompt", "-", lines=["one"]).out == expected(run, ["one"])


def test_each_line_of_a_pipe_is_a_turn(run, chat):
    assert chat(run, lines=["one", "", "two", "three"]).out == expected(run, ["one", "two", "three"])


def test_the_commands(run, chat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = chat(run, lines=["one", "/save my talk.json", "/reset", "/stats", "two", "/help"])
    assert "2 messages are in my talk.json" in found.err
    assert "/load FILE" in found.err
    assert "tokens written" in found.err
    saved = json.loads((tmp_path / "my talk.json").read_text(encoding="utf-8"))["messages"]
    assert [m["role"] for m in saved] == ["user", "assistant"]
    assert saved[1]["content"] + "\n" == expected(run, ["one"])
    again = chat(run, "--temperature", "0", lines=["/load my talk.json", "two"])
    gpt = load_run(run)[0]
    session = ChatSession(gpt, gpt.tokenizer)
    session.load("my talk.json")
    assert again.out == "".join(session.answer("two", 12, temperature=0)) + "\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/quit", "there is no command /quit; /help lists them"),
        ("/save", "/save needs the name of a file"),
        ("/save -", "/save needs the name of a file"),
        ("/save x.json", "nothing was said yet"),
        ("/load none.json", "none.json: No such file"),
        ("/load .", "directory"),
        ("one " * 200, "this message has"),
    ],
)
def test_a_mistake_is_explained_and_the_chat_goes_on(line, message, run, chat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = chat(run, lines=[line, "one"])
    assert message in found.err
    assert found.err.count("\n") == 1
    assert found.out == expected(run, ["one"])


def test_a_full_window_is_reported(chat, tmp_path):
    run = save(tmp_path, train_chat_tokenizer(["one two three one two three"], 266), 40)
    assert "the model no longer sees the" in chat(run, lines=["one", "two", "three", "one"]).err


def test_a_full_window_is_reported_for_an_answer_that_ctrl_c_ends_too(capsys):
    class Session:
        stats, messages, full = SimpleNamespace(dropped=0), [], False

        def answer(self, *_, **__):
            self.stats.dropped += 2
            yield "o"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        speaker(Session(), 5, None, {})("one")
    assert "the model no longer sees the 2 oldest turns" in capsys.readouterr().err


def test_a_conversation_is_saved_at_home_and_not_under_a_name_that_promises_compression(
    chat, run, tmp_path, monkeypatch
):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    found = chat(run, lines=["one", "/save ~/talk.json", "/save talk.json.gz"])
    assert (tmp_path / "talk.json").exists()
    assert "would not be compressed" in found.err


def test_a_model_without_the_form_of_a_chat_is_refused(chat, tmp_path):
    run = save(tmp_path, Tokenizer.train("one two three one two three", 266))
    err = chat(run, "--prompt", "one", code=1).err
    assert "no form of a chat" in err
    assert "--task chat" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "-1"], "temperature must be"),
        (["--seed", "-2"], "--seed must be at least 0"),
        (["--prompt", ""], "empty"),
    ],
)
def test_wrong_options_are_explained(options, message, run, capsys):
    assert main(["chat", run, "--prompt", "one", *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_an_answer_and_not_the_program(tmp_path):
    tokenizer = train_chat_tokenizer(["one two three one two three"], 266)
    run = save(tmp_path, tokenizer, 60_000)
    command = [sys.executable, "-m", "numpylm", "chat", run, "--max-new-tokens", "50000", "--temperature", "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"one\n")
    process.stdin.flush()
    assert process.stdout.read(1)  # the answer has begun
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(f"/save {tmp_path / 'talk.json'}\n".encode(), timeout=60)
    assert process.returncode == 0, err
    assert b"2 messages are in" in err
    assert out
