"""What is printed to be typed next can be typed, and names of files are shown on one line, whatever is in them."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from numpylm.cli.main import main
from numpylm.system.shell import command, first_words, quoted, shown
from numpylm.training import train
from numpylm.training.run_state import resume_config
from tests import tiny_training as tiny

any_bytes = pytest.mark.skipif(sys.platform != "linux", reason="other systems' names of files are Unicode")

WORDS = [
    "runs/stories",
    "my run",
    "don't",
    'a "b" c',
    "$HOME `id` \\ !x %PATH%",
    "a;b&c|d>e<f*?[g]{h}~#(i)",
    "漢字 é",
    "line\nend\ttab\x1b[31m",
    "bytes \udcff\udcfe",
    "-n",
    "",
    "~",
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this system")
def test_a_shell_reads_the_words_that_were_meant(tmp_path):
    script = tmp_path / "script"
    script.write_bytes(os.fsencode("printf '%s\\0' " + command(*WORDS)))
    done = subprocess.run(["bash", script], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in WORDS]


def test_quotes_are_few_and_mean_the_same_everywhere(monkeypatch):
    assert (
        command("numpylm", "generate", Path("my run"), "--prompt=it's") == 'numpylm generate "my run" "--prompt=it\'s"'
    )
    assert quoted("$x") == "'$x'"
    monkeypatch.setattr("os.name", "nt")
    monkeypatch.delenv("SHELL", raising=False)
    assert quoted(r"runs\a") == r"runs\a"
    assert quoted(r"C:\my runs\50 %") == r'"C:\my runs\50 %"'
    assert quoted('say "x"') == r'"say \"x\""'
    monkeypatch.setenv("SHELL", "/usr/bin/bash")  # Git's
    assert quoted(r"runs\a") == r"'runs\a'"


def test_a_path_is_not_taken_for_an_option():
    assert quoted(Path("-x")) == f".{os.sep}-x".replace("\\", "\\")
    assert quoted("-x") == "-x"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("é 漢 \\", "é 漢 \\"),
        ("a\nb\r", "a\\nb\\r"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\xff"),
        ("\udcc3\udca9", "é"),  # as a locale without é has it
        ("\ud800", "\\ud800"),
    ],
)
def test_names_are_shown_on_one_line(name, text):
    assert shown(name) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Once upon a time there was", "Once upon a"),
        ("x" * 100_000, "x" * 40),
        ("漢" * 500, "漢" * 40),
        ('"Wait!" said Tess. And', "Wait"),
        ("\n\n  one\ntwo", "one"),
        ("--help me", "help me"),
        ("$HOME `rm` \\n", "HOME"),
        ("\x1b[31mred", "[31mred"),
        ("\ufeff\u202eabc", "abc"),
        ("one  two", "one"),
        ("don't stop me now", "don't stop me"),
        ('"$`\n', ""),
        ("", ""),
    ],
)
def test_a_prompt_of_a_few_plain_words_that_stand_in_the_text(text, words):
    assert first_words(text) == words
    assert words in text
    assert all(c not in words for c in '"$`\\!%\n')


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "default_workers", lambda: 1)
    return tmp_path


def suggested(out):
    return [line.strip() for line in out.splitlines() if line.strip().startswith("numpylm ")]


@pytest.mark.parametrize(
    "text",
    ["ab" * 2000, 'a "b" $c `d` \\e\n' * 300, "-x y\n" * 800, "'" + "a'b" * 900, "\x1b[2Jab\x07\tc\r\n" * 400],
    ids=["no spaces", "special", "dashes", "apostrophes", "control"],
)
@pytest.mark.parametrize("tokenizer", ["bpe", "char"])
def test_the_command_after_training_works_as_it_is_printed(in_a_folder, capsys, text, tokenizer):
    (in_a_folder / "t.txt").write_text(text, encoding="utf-8", newline="")
    train.train(tiny.config(data="t.txt", out="my run", tokenizer=tokenizer, vocab_size=257, max_steps=1))
    plain, with_prompt = suggested(capsys.readouterr().out)
    assert len(with_prompt) < 120
    for line in (plain, with_prompt):
        assert main([*shlex.split(line)[1:], "--max-new-tokens", "2"]) == 0


ODD = "d\udcff/n\udcfe"


def printed(capsys):
    """What a command printed, which a stream of UTF-8 must be able to show."""
    captured = capsys.readouterr()
    (captured.out + captured.err).encode("utf-8")
    return captured.out


@any_bytes
def test_names_that_are_not_utf_8(in_a_folder, capsys):
    pytest.importorskip("safetensors")
    text, run = Path("t\udcff.txt"), Path(ODD)
    tiny.write_words(text)
    flags = [f for f in tiny.command(max_steps=4)[4:] if not f.startswith("--data")]
    assert main(["train", "--data", str(text), "--no-check-gradients", *flags]) == 0
    assert Path("runs/t\udcff/loss.svg").read_text(encoding="utf-8").count("t\\xff: loss") == 2
    assert "numpylm generate $'runs/t\\xff'" in printed(capsys)
    assert main(["train", "--data", str(text), "--no-check-gradients", f"--out={run}", *flags]) == 0
    assert main(["train", "--resume", str(run), "--max-steps", "8", "--no-check-gradients"]) == 0
    assert resume_config(run, {}).data == (str(text.resolve()),)
    for argv in (
        ["generate", str(run), "--max-new-tokens", "3"],
        ["evaluate", str(run), "--data", str(text)],
        ["tokenize", str(run), "--data", str(text), "--ids"],
        ["export", str(run), "out\udcff"],
        ["generate", "out\udcff", "--prompt", "one", "--max-new-tokens", "3"],
        ["course", "--collect", "gpt\udcff.py"],
    ):
        assert main(argv) == 0, argv
    printed(capsys)


@any_bytes
@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--data", "NAME", "--no-check-gradients"],
        ["train", "--data=NAME", "--no-check-gradients"],
        ["train", "--resume", "NAME"],
        ["train", "--config", "NAME"],
        ["generate", "NAME"],
        ["evaluate", "NAME", "--data", "NAME"],
        ["tokenize", "NAME", "text"],
        ["gradcheck", "--file", "NAME"],
        ["export", "NAME", "NAME"],
        ["train", "--NAME"],
        ["NAME"],
    ],
)
@pytest.mark.parametrize("name", ["a\nb/c", "\x1b[2Ja", "\udcff", "a\x00b"])
def test_a_complaint_of_any_name_is_one_printable_line(in_a_folder, capsys, argv, name):
    try:
        code = main([word.replace("NAME", name) for word in argv])
    except SystemExit as end:
        code = end.code
    assert code in (1, 2)
    (line,) = [line for line in capsys.readouterr().err.split("\n") if line]
    assert line.isprintable()


@any_bytes
@pytest.mark.slow
@pytest.mark.parametrize("name", ["é", "ü run"])
def test_in_a_locale_without_the_characters_of_a_name(in_a_folder, name):
    env = tiny.environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    tiny.write_words(in_a_folder / "words.txt")
    numpylm = [sys.executable, "-m", "numpylm"]
    for argv in (
        tiny.command(out=name),
        [*numpylm, "train", "--resume", name, "--max-steps", "15", "--no-check-gradients"],
        [*numpylm, "generate", name, "--max-new-tokens", "3"],
        [*numpylm, "evaluate", name, "--data", "words.txt"],
        [*numpylm, "tokenize", name, "one"],
        [*numpylm, "export", name, f"{name} exported"],
        [*numpylm, "course", "--collect", f"{name}.py"],
    ):
        done = subprocess.run(argv, env=env, capture_output=True)
        assert done.returncode == 0, (argv, done.stderr.decode())
        if "train" in argv:
            assert command("numpylm", "generate", name) in done.stdout.decode()
