"""Finding text files: files that the user names, and all .txt, .md and .py files in a folder."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from numpylm.system.run_files import CHECKPOINTS, LOCK
from numpylm.system.shell import shown
from numpylm.system.whole_files import UTF_16_MARKS
from numpylm.text.text_input import STDIN

SUFFIXES = (".txt", ".md", ".py")  # compared without case
SUFFIXES_IN_WORDS = ".txt, .md or .py"
SNIFFED = 8192  # bytes at the beginning of a file that are searched for NUL to detect binary files, as git and grep do
EXAMPLES = 2  # paths that are shown for each reason
WIDTH = 60  # characters of a path that are shown
READ_ALREADY = "read already"
INSTALLED = ("__pycache__", "node_modules", "site-packages", "dist-packages")
INSTALLED_SUFFIXES = (".egg-info", ".dist-info")
ENVIRONMENT = ("pyvenv.cfg", "conda-meta")  # each virtual environment contains one of these
ENDLESS = ("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
LOCK_FILE = re.compile(rf"(\..*)?{re.escape(LOCK)}")  # of a run folder, or of a name that is reserved for one
VOCABULARY = ("vocab.json", "merges.txt")  # each folder of a model with a BPE tokenizer contains these


@dataclass
class TextFiles:
    """The result of `find_texts`.

    Attributes
    ----------
    files : list of Path
        The files to read, in order.
    left_out : list of (Path, str)
        Files and folders that are not read, with the reason. A folder includes everything in it.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)

    def kinds(self) -> str:
        """The number of files by file extension: ``12 files (9 .txt, 3 .py)``."""
        counts = Counter(path.suffix.lower() or "without an ending" for path in self.files)
        parts = ", ".join(f"{n:,} {suffix}" for suffix, n in counts.most_common(4))
        return f"{len(self.files):,} files ({parts}{', …' if len(counts) > 4 else ''})"

    def reasons(self) -> list[str]:
        """A line for each reason: how many paths were left out for it, and the first of them."""
        groups: dict[str, list[Path]] = {}
        for path, reason in self.left_out:
            groups.setdefault(reason, []).append(path)
        return [f"{reason} ({len(paths):,}): {first_paths(paths)}" for reason, paths in groups.items()]


def first_paths(paths: Iterable[str | Path]) -> str:
    """The first few paths as text. Only the end of a long path is shown."""
    paths = list(paths)
    names = [shown(path if isinstance(path, str) else path.as_posix()) for path in paths[:EXAMPLES]]
    names = [name if len(name) <= WIDTH else "…" + name[1 - WIDTH :] for name in names]
    return ", ".join(names) + (", …" if len(paths) > EXAMPLES else "")


def find_texts(paths: Iterable[str | Path]) -> TextFiles:
    """Find the text files in the given files and folders.

    A file, a pipe, or ``-`` (standard input) is always read. In a folder, all .txt, .md and .py files are read,
    including those in subfolders, sorted by name on every system. Some are left out: hidden files and folders, folders
    of models, virtual environments and installed packages, binary and unreadable files, and links to other folders. No
    file is read twice.

    Raises
    ------
    FileNotFoundError, ValueError
        If a path is empty or does not exist, or a folder has no text file. The message says what the folder contains.
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
            raise FileNotFoundError(f"no {SUFFIXES_IN_WORDS} file to read in the folder {path}: {what}")
        found.files += inside.files
        found.left_out += inside.left_out
    return found


def is_pipe(path: str | Path) -> bool:
    """Whether a path is standard input, a pipe or a device, which can be read only once."""
    return str(path) == STDIN or (Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir())


def text_name(path: str | Path) -> str:
    """A short name for a text from its path: ``book`` for ``texts/book.txt``, ``stdin`` for ``-``."""
    if str(path) in (STDIN, "/dev/stdin"):
        return "stdin"
    return "pipe" if _is_device(path) else Path(path).resolve().stem or "text"


def _is_device(path: str | Path) -> bool:
    """Whether a path is an open file such as /dev/fd/63, into which a shell turns <(...)."""
    return Path(path).as_posix().startswith(("/dev/", "/proc/"))


def _existing(path: Path) -> Path:
    if os.path.realpath(path) in ENDLESS:
        raise ValueError(f"{path} never ends, so it cannot be read as a text")
    if str(path) == STDIN or path.exists():
        return path
    gone = "; a pipe is read once: give the text again with --data (- is standard input)" if _is_device(path) else ""
    raise FileNotFoundError(f"no such file or folder: {path}{gone}")


def _in_folder(folder: Path) -> list[tuple[Path, str | None]]:
    """The files in a folder and its subfolders, each with the reason to leave it out, or None."""
    if _holds_model(folder):
        return [(folder, "model or run folder")]
    entries: list[tuple[Path, str | None]] = []
    folders, walked = [folder], set()
    while folders:
        current = folders.pop()
        walked.add(os.path.realpath(current))
        for path, reason in _looked_at(current):
            if LOCK_FILE.fullmatch(path.name):
                continue  # our own lock file, which is removed when the run ends
            if reason is None and path.is_dir():
                if os.path.realpath(path) not in walked:  # junctions on Windows can form cycles, as links can
                    folders.append(path)
            else:
                entries.append((path, reason))
    return sorted(entries, key=lambda entry: entry[0].parts)


def _looked_at(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The entries of a folder, each with the reason to leave it out. If it cannot be opened, only the folder itself."""
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
    """The reason to leave out an entry of a folder; None for a text file or a folder that should be searched."""
    if path.name.startswith("."):
        return "hidden"
    if not path.exists():
        return "link that leads nowhere"
    if path.is_dir():
        return _why_folder_left_out(path)
    if path.suffix.lower() not in SUFFIXES:
        return f"not {SUFFIXES_IN_WORDS}"
    if not path.is_file():
        return "pipe or device"
    with path.open("rb") as file:
        head = file.read(SNIFFED)
    if b"\0" in head and not head.startswith(UTF_16_MARKS):
        return "binary, or UTF-16 without a byte-order mark"
    return None


def _why_folder_left_out(folder: Path) -> str | None:
    if folder.is_symlink():  # it may point to the whole disk; the user can name the folder to read it
        return "link to a folder"
    if folder.name in INSTALLED or folder.suffix in INSTALLED_SUFFIXES:
        return "installed packages"
    if any((folder / name).exists() for name in ENVIRONMENT):
        return "virtual environment"
    return "model or run folder" if _holds_model(folder) else None


def _holds_model(folder: Path) -> bool:
    """Whether a folder contains checkpoints or a vocabulary, as the models of numpylm and transformers do."""
    checkpoint = any((folder / name).is_file() for name in CHECKPOINTS)
    return checkpoint or all((folder / name).is_file() for name in VOCABULARY)
