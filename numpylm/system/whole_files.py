"""Writing files atomically, so that a crash, a full disk or a power cut leaves no half-written file; reading text."""

import codecs
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TRIES = 100 if sys.platform == "win32" else 1  # attempts to rename a file
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file atomically: in ``with replacing(path) as temporary:``, write to ``temporary``.

    ``temporary`` is a file in the same folder. At the end it is flushed to the disk (fsync) and renamed to ``path``.
    POSIX and Windows rename in one step, so a reader sees either the old file or the new one. After an error it is
    deleted. Close it inside the ``with``, because Windows cannot rename an open file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if os.name == "posix":  # mkstemp gives 0600; the file should have the permissions of the user's umask
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
        rename(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # the error of a full disk does not name the file
        raise
    sync_folder(path.parent)


def remove_half_written(folder: Path) -> None:
    """Delete the temporary files of a process that was killed inside `replacing`.

    No other process may be writing to the folder.
    """
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: ``write`` is called with the open temporary file of `replacing`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        write(file)


def rename(source: Path, target: Path) -> None:
    """Rename a file, and replace the target if it exists.

    Windows refuses while another process (such as a virus scanner) has one of the files open. So on Windows this tries
    for ten seconds.
    """
    for _ in range(TRIES - 1):
        try:
            source.replace(target)
            return
        except PermissionError:
            time.sleep(0.1)
    source.replace(target)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut (POSIX only; Windows has no such call)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, with ``\\n`` line ends on every system."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def read_text(path: Path) -> str:
    """Read a text file: see `decode_text`."""
    return decode_text(Path(path).read_bytes(), path)


def decode_text(data: bytes, name: object) -> str:
    """Decode UTF-8 bytes, or UTF-16 bytes that begin with a byte-order mark, as some Windows programs write them.

    Line ends become ``\\n``, and the byte-order mark is dropped.

    Raises
    ------
    ValueError
        If the bytes are neither. The message gives ``name``, the position and what to do.
    """
    encoding = "UTF-16" if data.startswith(UTF_16_MARKS) else "UTF-8"
    try:
        text = data.decode("utf-16" if encoding == "UTF-16" else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name} is not {encoding} text: byte 0x{data[error.start]:02x} at offset {error.start} (line {line}). "
            f"Save it as UTF-8 and try again"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> object:
    """Read a JSON file. Raises ValueError with the file's name if it is not valid JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:  # JSONDecodeError, or a number with thousands of digits
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is not valid JSON: its lists are nested too deeply") from None
