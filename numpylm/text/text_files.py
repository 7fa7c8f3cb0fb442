"""Which files count as text: those that the user names, and of a folder those that somebody wrote to be read."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from numpylm.system.find_model import CHECKPOINTS
from numpylm.system.shell import shown
from numpylm.system.whole_files import UTF_16_MARKS
from numpylm.text.text_input import STDIN

SUFFIXES = (".txt", ".md", ".py")  # compared without case
KINDS = ".txt, .md or .py"
SNIFFED = 8192  # bytes at the beginning of a file in which a NUL is looked for, as git and grep do
EXAMPLES = 2  # for each reason
WIDTH = 60  # characters of an example
READ_ALREADY = "read already"
INSTALLED = ("__pycache__", "node_modules", "site-packages", "dist-packages")
INSTALLED_SUFFIXES = (".egg-info", ".dist-info")
ENVIRONMENT = ("pyvenv.cfg", "conda-meta")  # one of them is in each virtual environment
LOCK_FILE = re.compile(r"\..*\.lock|\.lock")
VOCABULARY = ("vocab.json", "merges.txt")  # they are in each folder of a model with a bpe tokenizer


@dataclass
class TextFiles:
    """What some paths stand for.

    Attributes
    ----------
    files : list of Path
        The files to read, in order.
    left_out : list of (Path, str)
        What lies in a folder and is not read, with the reason. A folder stands for all that is in it.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)

    def kinds(self) -> str:
        """How many files of which ending: ``12 files (9 .txt, 3 .py)``."""
        counts = Counter(path.suffix.lower() or "without an ending" for path in self.files)
        parts = ", ".join(f"{n:,} {suffix}" for suffix, n in counts.most_common(4))
        return f"{len(self.files):,} files ({parts}{', …' if len(counts) > 4 else ''})"

    def reasons(self) -> list[str]:
        """A line for each reason: how many were left out for it, and the first of them."""
        groups: dict[str, list[Path]] = {}
        for path, reason in self.left_out:
            groups.setdefault(reason, []).append(path)
        return [f"{reason} ({len(paths):,}): {shortened(paths)}" for reason, paths in groups.items()]


def shortened(paths: Iterable[str | Path]) -> str:
    """The first of some paths; of a long one its end."""
    paths = list(paths)
    names = [shown(path if isinstance(path, str) else path.as_posix()) for path in paths[:EXAMPLES]]
    names = [name if len(name) <= WIDTH else "…" + name[1 - WIDTH :] for name in names]
    return ", ".join(names) + (", …" if len(paths) > EXAMPLES else "")


def find_texts(paths: Iterable[str | Path]) -> TextFiles:
    """The files that files and folders stand for.

    A file, a pipe, or ``-`` for standard input is taken as it is named. A folder stands for all .txt, .md and .py
    files in it and in its folders, in the order of their names on every system. Left out are hidden ones, folders
    of models, virtual environments and installed packages, binary files, what cannot be read, and links to other
    folders; and a file that is there already is not read again.

    Raises
    ------
    FileNotFoundError, ValueError
        If a path is empty or does not exist, or there is no text file in a folder: says what is in it.
    """
    found, seen = TextFiles(), set()
    for name in paths:
        if not str(name):
            raise ValueError("the name of a text is empty: give a file, a folder, or - for standard input")
        path = Path(name)
        inside = TextFiles()
        for entry, reason in _in_folder(path) if path.is_dir() else [(_existing(path), None)]:
            if reason is None and (real := os.path.realpath(entry)) not in seen:
                seen.add(real)
                inside.files.append(entry)
            else:
                inside.left_out.append((entry, reason or READ_ALREADY))
        if not inside.files and all(reason != READ_ALREADY for _, reason in inside.left_out):
            what = "; ".join(inside.reasons()) or "it is empty"
            raise FileNotFoundError(f"no {KINDS} file to read in the folder {path}: {what}")
        found.files += inside.files
        found.left_out += inside.left_out
    return found


def is_pipe(path: str | Path) -> bool:
    """Whether it is standard input, a pipe or a device: something that can be read once only."""
    return str(path) == STDIN or (Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir())


def text_name(path: str | Path) -> str:
    """A short name for a text, from its file or folder: ``book`` for ``texts/book.txt``, ``stdin`` for ``-``."""
    if str(path) in (STDIN, "/dev/stdin"):
        return "stdin"
    return "pipe" if _is_device(path) else Path(path).resolve().stem or "text"


def _is_device(path: str | Path) -> bool:
    """Whether it is a place where systems show open files: /dev/fd/63, which a shell makes of <(...)."""
    return Path(path).as_posix().startswith(("/dev/", "/proc/"))


def _existing(path: Path) -> Path:
    if str(path) == STDIN or path.exists():
        return path
    gone = "; a pipe is read once: give the text again with --data (- is standard input)" if _is_device(path) else ""
    raise FileNotFoundError(f"no such file or folder: {path}{gone}")


def _in_folder(folder: Path) -> list[tuple[Path, str | None]]:
    """The files in a folder and in its folders, with the reason to leave each out, or None."""
    if _holds_model(folder):
        return [(folder, "model or run folder")]
    entries: list[tuple[Path, str | None]] = []
    folders, walked = [folder], set()
    while folders:
        current = folders.pop()
        walked.add(os.path.realpath(current))
        for path, reason in _looked_at(current):
            if LOCK_FILE.fullmatch(path.name):
                continue  # ours, and gone when the run ends
            if reason is None and path.is_dir():
                if os.path.realpath(path) not in walked:  # Windows' junctions lead in circles, as links do
                    folders.append(path)
            else:
                entries.append((path, reason))
    return sorted(entries, key=lambda entry: entry[0].parts)


def _looked_at(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """What lies in a folder, each with the reason to leave it out; only the folder, if it cannot be opened."""
    try:
        inside = list(folder.iterdir())
    except OSError:
        yield folder, "cannot be read"
        return
    for path in inside:
        try:
            yield path, _why_left_out(path)
        except OSError:
            yield path, "cannot be read"


def _why_left_out(path: Path) -> str | None:
    """The reason to leave out something in a folder; None for a text file, and for a folder to look into."""
    if path.name.startswith("."):
        return "hidden"
    if not path.exists():
        return "link that leads nowhere"
    if path.is_dir():
        return _why_folder_left_out(path)
    if path.suffix.lower() not in SUFFIXES:
        return f"not {KINDS}"
    if not path.is_file():
        return "pipe or device"
    with path.open("rb") as file:
        head = file.read(SNIFFED)
    if b"\0" in head and not head.startswith(UTF_16_MARKS):
        return "binary, or UTF-16 without a byte-order mark"
    return None


def _why_folder_left_out(folder: Path) -> str | None:
    if folder.is_symlink():  # it may lead to the whole disk; the user can name it
        return "link to a folder"
    if folder.name in INSTALLED or folder.suffix in INSTALLED_SUFFIXES:
        return "installed packages"
    if any((folder / name).exists() for name in ENVIRONMENT):
        return "virtual environment"
    return "model or run folder" if _holds_model(folder) else None


def _holds_model(folder: Path) -> bool:
    """Whether there are checkpoints or a vocabulary in a folder, as in all that numpylm and transformers write."""
    checkpoint = any((folder / name).is_file() for name in CHECKPOINTS)
    return checkpoint or all((folder / name).is_file() for name in VOCABULARY)
