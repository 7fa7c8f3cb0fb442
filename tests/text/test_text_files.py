"""Which files of a folder are read, which are left out, and that both are said."""

import os
import sys
from pathlib import Path

import pytest

from numpylm import CharTokenizer, Tokenizer
from numpylm.cli.main import main
from numpylm.text.data import read_documents
from numpylm.text.text_files import find_texts, is_pipe, text_name

FLAGS = "--block-size 8 --n-layer 1 --n-head 1 --n-embd 8 --max-steps 2 --eval-interval 2 --no-check-gradients"
TRAIN = ["train", "--vocab-size", "260", "--batch-size", "2", "--sample-tokens", "0", *FLAGS.split()]
TEXT = "one two three four five six seven\n" * 40


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def books(tmp_path):
    return tmp_path / "books"


def write(path, text="some text"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("links need a right of their own on Windows")


def names(found, folder):
    return [path.relative_to(folder).as_posix() for path in found.files]


def test_endings_are_compared_without_case_and_names_by_code_point(books):
    for name in ["b.md", "PG100.TXT", "a/z.Py", "a.txt", "ä.txt", "Z.txt", "no.csv"]:
        write(books / name)
    assert names(find_texts([books]), books) == ["PG100.TXT", "Z.txt", "a/z.Py", "a.txt", "b.md", "ä.txt"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (".git/notes.txt", "hidden"),
        (".ipynb_checkpoints/a.txt", "hidden"),
        ("._a.txt", "hidden"),
        (".draft.x7/merges.txt", "hidden"),
        ("env/pyvenv.cfg", "virtual environment"),
        ("conda/conda-meta/history", "virtual environment"),
        ("lib/site-packages/x/a.py", "installed packages"),
        ("node_modules/x/README.md", "installed packages"),
        ("my.egg-info/SOURCES.txt", "installed packages"),
        ("runs/a/last.npz", "model or run folder"),
        ("runs/a/best.npz", "model or run folder"),
        ("cover.png", "not .txt, .md or .py"),
    ],
)
def test_what_nobody_wrote_to_be_read_is_left_out(books, path, reason):
    write(books / "a.txt")
    write(books / path)
    write((books / path).parent / "b.png", "")  # a folder stands for all in it, and is named once
    found = find_texts([books])
    assert names(found, books) == ["a.txt"]
    assert reason in [r for _, r in found.left_out]
    for folder in {(books / path).parent} - {books}:  # a text beside it is left out, too
        write(folder / "c.txt")
        assert names(find_texts([books]), books) == ["a.txt"]


@pytest.mark.parametrize("tokenizer", [Tokenizer.train("aa", 257), CharTokenizer("ab")])
def test_a_folder_with_a_tokenizer_gives_no_text(books, tokenizer):
    write(books / "a.txt")
    tokenizer.save(books / "exported")
    assert names(find_texts([books]), books) == ["a.txt"]


@pytest.mark.parametrize("data", [b"a\0b", "text".encode("utf-16-le"), "text".encode("utf-16-be"), b"\x89PNG\0"])
def test_binary_files_are_left_out_of_a_folder_and_refused_by_name(books, data):
    write(books / "a.txt")
    bad = write(books / "b.txt", data)
    found = find_texts([books])
    assert names(found, books) == ["a.txt"]
    assert found.left_out == [(bad, "binary, or UTF-16 without a byte-order mark")]
    with pytest.raises(ValueError, match=r"b\.txt is not a text file: byte \d is NUL"):
        read_documents([bad])


def test_utf_16_with_its_mark_is_text(books):
    write(books / "a.txt", "été\r\n漢字".encode("utf-16"))
    write(books / "b.txt", b"\xfe\xff" + "été\r\n漢字".encode("utf-16-be"))
    assert read_documents([books]) == ["été\n漢字"] * 2


def test_a_file_that_is_named_is_always_taken(books):
    files = [write(books / name) for name in (".hidden.txt", "data.csv", "noending", "runs/a/merges.txt")]
    write(books / "runs/a/last.npz")
    assert find_texts(files).files == files


def test_a_file_is_read_once_however_often_it_is_given(books):
    a, b = write(books / "a.txt"), write(books / "deep" / "b.txt")
    found = find_texts([b, books, a, books])
    assert found.files == [b, a]
    assert {reason for _, reason in found.left_out} == {"read already"}


def test_links(books, tmp_path):
    write(tmp_path / "far" / "away.txt")
    write(books / "a.txt")
    link(books / "again.txt", books / "a.txt")
    link(books / "gone.txt", books / "nothing.txt")
    link(books / "circle.txt", books / "circle.txt")
    link(books / "up", books.parent)
    link(books / "here.txt", tmp_path / "far" / "away.txt")
    found = find_texts([books])
    assert names(found, books) == ["a.txt", "here.txt"]
    assert {path.name: reason for path, reason in found.left_out} == {
        "again.txt": "read already",
        "gone.txt": "link that leads nowhere",
        "circle.txt": "link that leads nowhere",
        "up": "link to a folder",
    }
    assert names(find_texts([books / "up" / "far"]), tmp_path / "books" / "up") == ["far/away.txt"]


@pytest.mark.parametrize("method", ["open", "iterdir", "exists"])
def test_what_cannot_be_read_is_left_out(books, monkeypatch, method):
    """As for any user except the administrator, who may also run the tests."""
    write(books / "a.txt")
    write(books / "secret.txt")
    write(books / "secret" / "b.txt")
    allowed = getattr(Path, method)

    def refuse(self, *args):
        if self.stem == "secret":
            raise PermissionError(13, "Permission denied")
        return allowed(self, *args)

    monkeypatch.setattr(Path, method, refuse)
    found = find_texts([books])
    assert "cannot be read" in {reason for _, reason in found.left_out}
    assert books / "a.txt" in found.files
    assert len(found.files) + len(found.left_out) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes among its files")
def test_a_pipe_in_a_folder_is_not_waited_for(books):
    write(books / "a.txt")
    os.mkfifo(books / "b.txt")
    found = find_texts([books])
    assert names(found, books) == ["a.txt"]
    assert found.left_out == [(books / "b.txt", "pipe or device")]
    assert is_pipe(books / "b.txt")
    assert not is_pipe(books / "a.txt")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these systems have no names that are not Unicode")
def test_names_that_are_not_utf_8(books):
    write(books / "a.txt")
    (books / os.fsdecode(b"b\xe9.txt")).write_bytes(b"text")
    assert len(find_texts([books]).files) == 2


def test_what_is_said_stays_short(books):
    for i in range(60):
        write(books / f"{i}.txt")
        write(books / f"{i}.{'long' * 40}.png")
        write(books / f".{i}.txt")
    found = find_texts([books])
    assert found.kinds() == "60 files (60 .txt)"
    assert [line.partition(":")[0] for line in found.reasons()] == ["hidden (60)", "not .txt, .md or .py (60)"]
    assert all(len(line) < 200 for line in found.reasons())
    assert all(line.count(".png") + line.count(".txt") < 5 for line in found.reasons())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, r"no \.txt, \.md or \.py file to read in the folder .*books: it is empty"),
        (".a.txt", r"books: hidden \(1\): .*/\.a\.txt$"),
        ("a.rst", r"not \.txt, \.md or \.py \(1\): .*a\.rst$"),
        ("last.npz", r"model or run folder \(1\): .*books$"),
    ],
)
def test_a_folder_without_text_says_what_is_in_it(books, name, message):
    books.mkdir()
    if name:
        write(books / name)
    with pytest.raises(FileNotFoundError, match=message):
        find_texts([books])


def test_a_name_that_is_empty_is_not_the_working_folder(tmp_path):
    write(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="empty"):
        find_texts([""])


def test_runs_are_named_after_their_text(tmp_path):
    assert [text_name(path) for path in ("books/a.txt", ".", "-", "/dev/stdin", "/dev/fd/63", "/")] == [
        "a",
        tmp_path.name,
        "stdin",
        "stdin",
        "pipe",
        "text",
    ]


def test_a_run_beside_its_text_is_resumed_with_the_same_text(tmp_path, capsys):
    """An earlier version read its own merges.txt as text, and reported that the text had changed."""
    write(tmp_path / "a.txt", TEXT)
    write(tmp_path / ".venv" / "b.txt", TEXT)
    assert main([*TRAIN, "--data", ".", "--out", "runs/here"]) == 0
    assert "left out    hidden (1): .venv\n" in capsys.readouterr().out
    assert main(["train", "--resume", "runs/here", "--max-steps", "4"]) == 0
    assert "runs/here" in capsys.readouterr().out.partition("left out    model or run folder (1): ")[2].split("\n")[0]


def test_evaluate_says_what_it_reads(tmp_path, books, capsys):
    write(tmp_path / "a.txt", TEXT)
    assert main([*TRAIN, "--data", "a.txt"]) == 0
    for name in ("a.txt", "b.MD", "c.csv"):
        write(books / name, TEXT)
    capsys.readouterr()
    assert main(["evaluate", "runs/a", "--data", "books"]) == 0
    out = capsys.readouterr().out
    assert "left out        not .txt, .md or .py (1): books/c.csv\n" in out
    assert "text            2 files (1 .txt, 1 .md), 2 documents" in out


def test_many_files_make_a_short_line(tmp_path, capsys):
    files = [str(write(tmp_path / f"{i}.txt", TEXT)) for i in range(50)]
    assert main([*TRAIN, "--data", *files]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("text "))
    assert "50 files (50 .txt), 50 documents" in line
    assert len(line) < 220


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_odd_names_are_shown_on_one_line(books):
    write(books / "a.txt")
    write(books / "line\nend\x1b.png")
    assert find_texts([books]).reasons()[0].endswith(r"line\nend\x1b.png")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no such device")
def test_a_device_that_never_ends_is_refused(tmp_path):
    (tmp_path / "link.txt").symlink_to("/dev/zero")
    for name in ("/dev/urandom", tmp_path / "link.txt"):
        with pytest.raises(ValueError, match="never ends"):
            find_texts([name])
    assert find_texts(["/dev/null"]).files
