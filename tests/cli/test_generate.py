"""``numpylm generate``: one text, several texts, a conversation, and its messages about mistakes."""

import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from numpylm import GPT, CharTokenizer, GPTConfig, Tokenizer
from numpylm.cli.generate import RULE
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_run, save_checkpoint
from numpylm.inference.generate_text import generate_text, generate_texts


def save(folder, tokenizer):
    gpt = GPT(GPTConfig(tokenizer.vocab_size, 12, 1, 2, 8), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape).astype(np.float32)
    save_checkpoint(folder / "best.npz", gpt)
    tokenizer.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save(tmp_path_factory.mktemp("run"), Tokenizer.train("one two three one two three", vocab_size=266))


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A run whose texts never reach an end mark."""
    return save(tmp_path_factory.mktemp("letters"), CharTokenizer("\n abcde"))


@pytest.fixture
def generate(capsys):
    """The command in this process: its output."""

    def call(*argv):
        assert main(["generate", *argv, "--seed", "1"]) == 0
        return capsys.readouterr().out

    return call


def expected(run, prompt, rng, **options):
    gpt, tokenizer, _ = load_run(run)
    return prompt + "".join(generate_text(gpt, tokenizer, prompt, 20, own=True, rng=rng, **options)) + "\n"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.3},
        {"top_k": 3},
        {"top_p": 0.3},
        {"min_p": 0.5},
        {"repetition_penalty": 3.0},
        {"temperature": 0.5, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2},
    ],
)
def test_options_reach_the_model(run, generate, options):
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    out = generate(run, "--prompt", "one t", "--max-new-tokens", "20", *flags)
    assert out == expected(run, "one t", np.random.default_rng(1), **options)
    assert not options or out != expected(run, "one t", np.random.default_rng(1))


def test_a_stop_text_of_several_tokens_ends_the_text_and_is_not_shown(letters, generate):
    whole = generate(letters, "--prompt", "ab", "--max-new-tokens", "20")
    stop = whole[8:12]
    cut = generate(letters, "--prompt", "ab", "--max-new-tokens", "20", "--stop", stop, "--stop", "not there")
    assert cut == whole[: whole.index(stop, 2)] + "\n"


def test_samples_are_printed_one_after_the_other(letters, generate):
    gpt, tokenizer, _ = load_run(letters)
    texts = generate_texts(gpt, tokenizer, "ab", 20, 3, own=True, rng=np.random.default_rng(1))
    out = generate(letters, "--prompt", "ab", "--max-new-tokens", "20", "-n", "3")
    assert out == f"{RULE}\n".join(f"ab{text}\n" for text in texts)


@pytest.mark.parametrize("rest", ["", "\nnot reached\n"])
def test_lines_of_a_pipe_are_prompts_until_an_empty_one_or_the_end(letters, generate, monkeypatch, rest):
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\ncd\n" + rest))
    rng = np.random.default_rng(1)
    first, second = (expected(letters, prompt, rng) for prompt in ("ab", "cd"))
    assert generate(letters, "-i", "--max-new-tokens", "20") == f"{first}{RULE}\n{second}"


def test_bytes_of_a_pipe_are_utf_8(letters, generate, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("é\nab".encode()), encoding="ascii"))
    main(["generate", letters, "-i", "--max-new-tokens", "1"])
    out, err = capsys.readouterr()
    assert "'é' (U+00E9" in err  # the tokenizer does not know it; the next line is written to
    assert out.endswith(f"{RULE}\nab" + out[-2:])


class Typed(io.StringIO):
    """A terminal with typed lines; the line ``^C`` is Ctrl-C."""

    def isatty(self):
        return True

    def readline(self, *args):
        if (line := super().readline(*args)) == "^C\n":
            raise KeyboardInterrupt
        return line


def test_at_a_terminal_the_prompt_is_open_and_ctrl_c_does_not_close_it(letters, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", Typed("^C\nab\n^C\ncd\n\nef\n"))
    assert main(["generate", letters, "-i", "--max-new-tokens", "20", "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    rng = np.random.default_rng(1)
    assert out == "\n" + expected(letters, "ab", rng) + "\n" + expected(letters, "cd", rng)
    assert err.splitlines()[-1] == "> > > > > "  # not in the output, which is no terminal here


def test_ctrl_c_ends_a_text_and_the_next_line_is_a_new_one(letters, monkeypatch, capsys):
    """The interruption comes while the model computes."""
    read, calls = GPT.read, []

    def interrupted(self, ids, past):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return read(self, ids, past)

    monkeypatch.setattr(GPT, "read", interrupted)
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\ncd\n"))
    assert main(["generate", letters, "-i", "--max-new-tokens", "20", "--temperature", "0"]) == 0
    first, second = capsys.readouterr().out.split(f"{RULE}\n")
    assert len(first) == len("ab" + "1234" + "\n")
    monkeypatch.setattr(GPT, "read", read)
    assert second == expected(letters, "cd", None, temperature=0)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals in Python")
def test_a_conversation_at_a_real_terminal(letters):
    import pty

    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "numpylm", "generate", letters, "-i", "--max-new-tokens", "1000000"]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = ""

    def wait_for(condition):
        nonlocal seen
        end = time.monotonic() + 60
        while not condition(seen) and time.monotonic() < end:
            seen += os.read(master, 1024).decode("utf-8", "replace")
        assert condition(seen), seen[-300:]

    wait_for(lambda seen: seen.endswith("> "))
    for prompt in (b"ab\n", b"cd\n"):
        before = len(seen)
        os.write(master, prompt)
        wait_for(lambda seen, before=before: len(seen) > before + 500)
        process.send_signal(2)
        wait_for(lambda seen: seen.endswith("> "))
    os.write(master, b"\x04")  # Ctrl-D
    assert process.wait(30) == 0
    os.close(master)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--min-pp", "0.1"], 2, "unknown option: --min-pp 0.1; did you mean --min-p?"),
        (["--interactive", "--prompt", "ab"], 2, "choose one of them"),
        (["--top-k", "many"], 2, "expected a whole number, got 'many'"),
        (["--temperature", "-1"], 1, "temperature must be"),
        (["--top-p", "0"], 1, "top_p must lie in"),
        (["--min-p", "2"], 1, "min_p must lie in"),
        (["--repetition-penalty", "0"], 1, "repetition_penalty must lie"),
        (["--samples", "0"], 1, "must be at least 1"),
        (["--seed", "-1"], 1, "--seed must be at least 0"),
        (["--stop", ""], 1, "--stop must not be empty"),
        (["--prompt", "xyz"], 1, "the character 'x'"),
    ],
)
def test_mistakes_get_one_line_and_an_exit_code(letters, capsys, argv, code, message):
    try:
        status = main(["generate", letters, *argv])
    except SystemExit as stop:
        status = stop.code
    assert status == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_an_empty_prompt_needs_an_end_token_if_the_model_is_not_ours(letters, capsys, monkeypatch):
    gpt, tokenizer, _ = load_run(letters)
    assert main(["generate", letters, "--max-new-tokens", "3"]) == 0  # ours begins as its samples in training did
    monkeypatch.setattr("numpylm.files.load_model.load_language_model", lambda source: (gpt, tokenizer, False))
    assert main(["generate", "theirs", "--max-new-tokens", "3", "--prompt", "ab"]) == 0
    capsys.readouterr()
    assert main(["generate", "theirs", "--max-new-tokens", "3"]) == 1
    assert "give it a prompt" in capsys.readouterr().err
