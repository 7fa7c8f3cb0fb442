"""A lock file that one process at a time can hold; the lock is released when that process ends, even if it is killed.

The operating system holds the lock: ``flock`` on Linux and macOS, which also works on network drives, and a locked
byte on Windows. The text of the file names the process that holds it. Some drives have no locks, and some have locks
that other computers do not see. On those drives the text decides. If the holder is on this computer, we check whether
its process still runs. If it is on another computer, we check whether the file's time changes: a holder updates it
every `BEAT` seconds.
"""

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

BEAT = 10.0  # seconds between two updates of a lock file's time
WATCH = 25.0  # seconds without an update after which a holder on another computer counts as dead
SETTLE = 1.0  # seconds in which another process may still remove our file: see _stays
FAR = 2**30  # offset of the byte that we lock on Windows: a locked byte cannot be read, so it must be after the text

_held: dict[int, dict[str, Any]] = {}  # the locks of this process: descriptor -> what it wrote into the file


class InUse(OSError):
    """Another process holds the lock; the message names it."""


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Create and hold the lock file ``path`` until the end of the ``with``, then remove it.

    Parameters
    ----------
    path : Path
    what : str
        What it protects, for messages.

    Raises
    ------
    InUse
        If another process, or another thread of this one, holds it.
    OSError
        If the file cannot be created.
    """
    descriptor = _take(path, what)
    ended = threading.Event()
    beat = threading.Thread(target=_touch, args=(ended, descriptor, path), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        _release(descriptor, path)


def _take(path: Path, what: str) -> int:
    """Open and lock the file, write this process's name into it, and return its descriptor."""
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor, made = _open(path)
        except FileNotFoundError:
            continue  # its holder removed it, or the folder that contains it
        got = _system_lock(descriptor)
        owner = {} if made else _read_owner(descriptor)
        if got is False or (not made and _lives(owner, got, path, what)):
            os.close(descriptor)
            raise InUse(_in_use(what, path, owner, got))
        if not _is_at(descriptor, path):
            os.close(descriptor)  # its holder removed it after we had opened it
        elif got is None and not made:
            os.close(descriptor)
            path.unlink(missing_ok=True)  # a dead process left it; in the next iteration we create our own
        else:
            _write_owner(descriptor, path)
            if got or _stays(descriptor, path):
                return descriptor
            _release(descriptor, path)
    raise OSError(f"{path} cannot be locked: it disappears as soon as it is created")


def _open(path: Path) -> tuple[int, bool]:
    """A descriptor of the file, and whether we created it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(path, os.O_RDWR), False


def _release(descriptor: int, path: Path) -> None:
    """Remove the file and close it."""
    if descriptor not in _held:
        return  # this process is a fork of the holder: see _forget
    if sys.platform != "win32" and _is_at(descriptor, path):
        with suppress(OSError):
            path.unlink()
    # After the unlink, because without system locks `_runs` relies on _held. Before the close, because after it another
    # file may get the same descriptor.
    del _held[descriptor]
    os.close(descriptor)
    if sys.platform == "win32":  # Windows does not remove open files: ours is closed now, but the next holder's is open
        with suppress(OSError):
            path.unlink()


def _forget() -> None:
    """Close the descriptors in a forked child. It inherits them, and would hold the locks after its parent ends."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


# ------------------------------------------------------------------------------------ the system's lock


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _system_lock(descriptor: int) -> bool | None:
    """Whether we have the lock now; None if the drive has no locks (ENOLCK, EOPNOTSUPP, ENOSYS, ...)."""
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):  # Windows raises PermissionError
        return False
    except OSError:
        return None
    return True


# --------------------------------------------------------------------------------------- who holds it


def _write_owner(descriptor: int, path: Path) -> None:
    since = datetime.now().astimezone().isoformat(" ", "microseconds")
    _held[descriptor] = owner = {"pid": os.getpid(), "host": platform.node(), "since": since}
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(owner).encode("utf-8"))
    except OSError:  # such as a full disk
        _release(descriptor, path)
        raise


def _read_owner(descriptor: int) -> dict[str, Any]:
    """What the holder wrote into the file; empty if it cannot be read, or has not been written yet."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 4096))
    except (OSError, ValueError, RecursionError):
        return {}
    kinds = {"pid": int, "host": str, "since": str}
    return owner if isinstance(owner, dict) and all(type(owner.get(k)) is kind for k, kind in kinds.items()) else {}


def _in_use(what: str, path: Path, owner: dict[str, Any], got: bool | None) -> str:
    who = f"process {owner['pid']} on {owner['host']}, since {owner['since'][:19]}" if owner else "another process"
    doubt = "" if got is False else f"; if that is not numpylm, delete {path}"
    return f"{what} is in use by {who}: wait until it ends, or stop it{doubt}"


def _lives(owner: dict[str, Any], got: bool | None, path: Path, what: str) -> bool:
    """Whether the owner still holds the file, although we ``got`` the system's lock, or there are no locks (None)."""
    here = owner.get("host") == platform.node()
    if got and (here or not owner):
        return False  # between processes of one computer the system's lock is reliable
    if here and sys.platform != "win32":  # on Windows, os.kill would end the process instead of only asking
        return _runs(owner)
    print(f"waiting     {WATCH:.0f} s, to see whether another computer still uses {what}", flush=True)
    return _is_touched(path)


def _runs(owner: dict[str, Any]) -> bool:
    """Whether the process runs on this computer."""
    if owner["pid"] == os.getpid():
        return owner in _held.values()  # in containers, different programs may get the same process id
    try:
        os.kill(owner["pid"], 0)  # signal 0 only asks whether the process exists
    except PermissionError:
        return True  # the process exists and belongs to another user
    except (OSError, OverflowError):
        return False
    return True


# ---------------------------------------------------------------------------------------- signs of life


def _touch(ended: threading.Event, descriptor: int, path: Path) -> None:
    """Update the file's time until ``ended`` is set."""
    target = descriptor if os.utime in os.supports_fd else path
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(target)


def _is_touched(path: Path) -> bool:
    """Watch whether the file's time changes. This works even if the clocks of the two computers differ."""
    before = _modified(path)
    for _ in range(20):
        time.sleep(WATCH / 20)
        if _modified(path) != before:
            return path.exists()
    return False


def _modified(path: Path) -> int | None:
    """The file's time in ns, None if the file does not exist. Opening it makes a network drive ask its server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def _stays(descriptor: int, path: Path) -> bool:
    """Whether our file is still there after a moment.

    Without system locks, two processes may find the file of a dead process at the same time. Each removes it and
    creates its own, so the slower process may remove the file of the faster one. The faster one notices it here.
    """
    time.sleep(SETTLE)
    return _is_at(descriptor, path)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
