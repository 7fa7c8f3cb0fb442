"""The same text gives the same tokens, whether it is trained on, typed, or comes through a file or a pipe."""

import io
import json
import os
import threading

import numpy as np
import pytest

from numpylm import GPT, CharTokenizer, GPTConfig
from numpylm.cli.generate import RULE
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_run, save_checkpoint
from numpylm.text.data import read_documents
from numpylm.text.text_input import typed_text, unescaped

TEXT = "Ünd\nso\tweiter, é."
AS_BYTES = {
    "UTF-8": TEXT.encode(),
    "Windows' line ends": TEXT.replace("\n", "\r\n").encode(),
    "line ends of old Macs": TEXT.replace("\n", "\r").encode(),
    "byte-order mark": TEXT.encode("utf-8-sig"),
    "UTF-16": TEXT.replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + TEXT.encode("utf-16-be"),
}
NO_TEXT = {
    b"ab \xe9": "is not UTF-8 text: byte 0xe9 at offset 3 (line 1). Save it as UTF-8",
    b"a\0b\0": "is not a text file: byte 1 is NUL",
    "ab".encode("utf-32"): "is not a text file: byte 2 is NUL",
    b"\xff\xfea": "is not UTF-16 text",
}
FLAGS = "--block-size 8 --n-layer 1 --n-head 1 --n-embd 8 --max-steps 2 --eval-interval 2 --no-check-gradients"
TRAIN = ["train", "--vocab-size", "260", "--batch-size", "2", "--sample-tokens", "0", *FLAGS.split()]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model of characters whose texts never end by themselves."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = CharTokenizer("".join(sorted({*TEXT, *"\n \\n abcdé"})))
    gpt = GPT(GPTConfig(tokenizer.vocab_size, 64, 1, 2, 8), np.random.default_rng(0))
    save_checkpoint(folder / "best.npz", gpt)
    tokenizer.save(folder)
    return str(folder)


@pytest.fixture
def stdin(monkeypatch):
    """Make standard input a pipe with these bytes, which Python decodes as Windows does."""

    def give(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="cp1252", newline="\n"))

    return give


@pytest.fixture
def generated(run, capsys):
    """What is generated for a prompt, and what is said on stderr."""

    def call(*argv, code=0):
        assert main(["generate", run, "--max-new-tokens", "4", "--seed", "1", *argv]) == code
        return capsys.readouterr()

    return call


@pytest.mark.parametrize("data", AS_BYTES.values(), ids=AS_BYTES)
def test_a_text_has_the_same_tokens_whichever_way_it_comes(run, data, stdin, capsys, generated, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    ids = load_run(run)[1].encode(TEXT)
    assert read_documents([path]) == [TEXT]
    ways = [["--data", str(path)], []]
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")):  # arguments have no zero bytes
        ways.append([os.fsdecode(data)] if os.name == "posix" else [data.decode()])
    for way in ways:
        stdin(data)
        assert main(["tokenize", run, *way, "--ids"]) == 0
        assert [int(i) for i in capsys.readouterr().out.split()] == ids
    stdin(data)
    assert generated("--prompt", "-").out.startswith(TEXT)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_line_end_of_a_file_is_not_part_of_a_prompt(generated, stdin, end):
    stdin(f"ab{end}".encode())
    assert generated("--prompt", "-") == generated("--prompt", "ab")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_a_conversation_end_alike_and_an_empty_one_ends_it(stdin, generated, end):
    stdin(end.join(["\ufeffab é", "cd", "", "not reached"]).encode())
    first, second = generated("-i").out.split(f"{RULE}\n")
    assert first.startswith("ab é")
    assert second.startswith("cd")
    assert "\ufffd" not in first + second


@pytest.mark.parametrize("data", NO_TEXT, ids=str)
def test_what_is_no_text_gets_one_line(run, data, stdin, capsys, generated):
    stdin(data)
    assert main(["tokenize", run]) == 1
    assert capsys.readouterr().err.startswith(f"numpylm: error: standard input {NO_TEXT[data]}")
    stdin(data)
    err = generated("--prompt", "-", code=1).err
    assert err.startswith(f"numpylm: error: standard input {NO_TEXT[data]}")
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="arguments are bytes on POSIX only")
def test_arguments_that_are_not_utf_8_get_one_line(run, capsys, generated):
    bad = os.fsdecode(b"ab \xe9")
    assert "--prompt is not UTF-8 text: byte 0xe9 at offset 3" in generated("--prompt", bad, code=1).err
    assert "--stop is not UTF-8 text" in generated("--stop", bad, code=1).err
    assert main(["rank", run, "--answers", "a", bad]) == 1
    assert "--answers is not UTF-8 text" in capsys.readouterr().err


def test_a_bad_line_costs_its_message_only(stdin, generated):
    stdin(b"ab\nc\xe9\ncd\n")
    out, err = generated("-i")
    assert "this line is not UTF-8 text: byte 0xe9 at offset 1" in err
    assert out.split(f"{RULE}\n")[-1].startswith("cd")


def test_a_stop_text_may_be_a_line_end(generated):
    whole = generated("--prompt", "ab", "--max-new-tokens", "500").out
    assert whole.removesuffix("\n").count("\n") > 1
    assert generated("--prompt", "ab", "--max-new-tokens", "500", "--stop", r"\n").out == whole.split("\n")[0] + "\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(r"\n\n", "\n\n"), (r"a\tb", "a\tb"), (r"\\n", r"\n"), (r"\end{x}", r"\end{x}"), ("\\", "\\"), (r"\\\n", "\\\n")],
)
def test_escapes(typed, meant):
    assert unescaped(typed) == meant


def test_a_backslash_and_an_n_in_a_prompt_stay_and_are_noticed(run, generated, capsys):
    out, err = generated("--prompt", r"a\nb")
    assert out.startswith(r"a\nb")
    assert r"note: \n in --prompt is a backslash and an n" in err
    assert main(["rank", run, "--prompt", r"a\n", "--answers", "a", "b"]) == 0
    assert "note" in capsys.readouterr().err
    assert generated("--prompt", "a\nb").err == ""


def test_composed_and_decomposed_letters_are_two_texts():
    assert typed_text("é", "it") != typed_text("e\u0301", "it")


def test_answers_may_stand_behind_a_line_end(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(f"how many?\n\n{n} of them" for n in range(90)))
    assert main([*TRAIN, "--data", "a.txt", "--loss-after", r"?\n\n"]) == 0
    assert json.loads((tmp_path / "runs" / "a" / "config.json").read_text())["loss_after"] == "?\n\n"
    assert main(["evaluate", "runs/a", "--data", "a.txt", "--loss-after", r"?\n\n"]) == 0


# ----------------------------------------------------------------------------------------------- pipes

WORDS = "one two three four five six seven\n" * 40


def test_training_on_standard_input(stdin, capsys):
    stdin(WORDS.encode())
    assert main([*TRAIN, "--data", "-"]) == 0
    assert "note        a pipe (-) is read once: to resume this run" in capsys.readouterr().out
    stdin(WORDS.encode())
    assert main(["train", "--resume", "runs/stdin", "--max-steps", "4"]) == 0
    stdin(WORDS.encode())
    assert main(["evaluate", "runs/stdin", "--data", "-"]) == 0
    stdin(b"")
    assert main(["train", "--resume", "runs/stdin", "--max-steps", "6"]) == 1
    assert capsys.readouterr().err.endswith("numpylm: error: there is no text in -\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes among its files")
def test_training_on_a_named_pipe(tmp_path):
    os.mkfifo("words")
    writer = threading.Thread(target=(tmp_path / "words").write_text, args=(WORDS,))
    writer.start()
    assert main([*TRAIN, "--data", "words"]) == 0
    writer.join()
    assert (tmp_path / "runs" / "words" / "last.npz").exists()


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="this system does not show open files in /dev/fd")  # noqa: PTH112
def test_training_on_what_a_shell_makes_of_a_command(capsys):
    """``--data <(cat a.txt)``"""
    reading, writing = os.pipe()
    os.write(writing, WORDS.encode())
    os.close(writing)
    path = f"/dev/fd/{reading}"
    assert main([*TRAIN, "--data", path]) == 0
    os.close(reading)
    capsys.readouterr()
    assert main(["train", "--resume", "runs/pipe", "--max-steps", "4"]) == 1
    assert f"runs/pipe was trained on {path}, which does not exist" in capsys.readouterr().err
