"""One process at a time, whatever happens to it, on every kind of drive."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest

from numpylm.system import lock
from numpylm.system.lock import InUse, locked


def start(*lines):
    """A process that holds the lock while it does this. (It runs the file alone: importing numpylm takes longer.)"""
    begin = ["from pathlib import Path", f"exec(Path({lock.__file__!r}).read_text(encoding='utf-8'))"]
    script = [*begin, 'with locked(Path("lock"), "run"):', *(f"    {line}" for line in lines)]
    return subprocess.Popen([sys.executable, "-c", "\n".join(script)], stdout=subprocess.PIPE, text=True)


def hold():
    process = start("print('held', flush=True)", "time.sleep(60)")
    assert process.stdout.readline() == "held\n"
    return process


def failing(code):
    """A system call for locks that fails."""

    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lock"


@pytest.fixture
def quick(monkeypatch):
    """Signs of life come, and are waited for, in hundredths of seconds."""
    monkeypatch.setattr(lock, "BEAT", 0.01)
    monkeypatch.setattr(lock, "WATCH", 0.2)
    monkeypatch.setattr(lock, "SETTLE", 0.01)


def take(path):
    with locked(path, "run"):
        assert path.exists()
    assert not path.exists()


def refused(path):
    with pytest.raises(InUse) as caught, locked(path, "run"):
        pass
    return str(caught.value)


@pytest.fixture
def without_locks(monkeypatch):
    monkeypatch.setattr(lock, "_lock", failing(errno.ENOLCK))


def leave(path, **owner):
    """The lock file of a process that was killed."""
    left = {"pid": os.getpid(), "host": platform.node(), "since": "2026-01-01 00:00:00"} | owner
    path.write_text(json.dumps(left), encoding="utf-8")


def test_the_second_process_is_told_who_is_first_and_a_killed_one_holds_nothing(path):
    process = hold()
    said = refused(path)
    assert f"is in use by process {process.pid} on {platform.node()}, since 20" in said
    assert "\n" not in said
    process.kill()
    process.wait()
    assert path.exists()
    take(path)


def test_one_process_has_it_once(path):
    """Two threads, or a notebook that calls train in train: a lock that belongs to a process would let both in."""
    with locked(path, "run"):
        assert f"process {os.getpid()}" in refused(path)
    take(path)


@pytest.mark.slow
@pytest.mark.parametrize("drive", ["with locks", "without locks"])
def test_never_two_at_once(path, drive, monkeypatch, quick):
    """The file is made and removed hundreds of times, and some thread has often opened the old one."""
    if drive == "without locks":
        monkeypatch.setattr(lock, "_lock", failing(errno.ENOLCK))
    inside, most = [], []

    def try_often():
        for _ in range(100):
            try:
                with locked(path, "run"):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0)
                    inside.pop()
            except InUse:
                time.sleep(0)

    threads = [threading.Thread(target=try_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert most
    take(path)


@pytest.mark.parametrize("drive", ["with locks", "without locks"])
def test_a_file_that_is_removed_while_we_open_it_is_not_the_lock(path, drive, monkeypatch, quick):
    """Its holder ends at that moment and a third process makes a new file, so both would hold a lock."""

    def lock_the_old_file(descriptor):
        monkeypatch.setattr(lock, "_lock", before if drive == "with locks" else failing(errno.ENOLCK))
        path.unlink()
        lock._lock(descriptor)

    before = lock._lock
    monkeypatch.setattr(lock, "_lock", lock_the_old_file)
    take(path)


def test_without_locks_whose_file_was_taken_for_a_dead_one_has_nothing(path, without_locks, monkeypatch):
    """Two processes found the file of a dead process; ours made a new one first, and the other one removed it."""
    other = {"pid": os.getppid(), "host": platform.node(), "since": "2026-01-01 00:00:00"}

    def pause(seconds):
        path.unlink()
        leave(path, **other)

    monkeypatch.setattr(lock.time, "sleep", pause)
    assert f"process {os.getppid()} on" in refused(path)
    assert json.loads(path.read_text(encoding="utf-8")) == other


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_made_by_fork_does_not_keep_the_lock_of_a_dead_parent(path):
    process = start("if os.fork() == 0: print(os.getpid(), flush=True)", "time.sleep(60)")
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    take(path)
    os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_made_by_fork_does_not_give_the_lock_up(path):
    process = start("child = os.fork()", "if child: os.wait(); print('held', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "held\n"
    assert f"process {process.pid} on" in refused(path)
    process.kill()
    process.wait()


# ------------------------------------------------------------------------- drives with no locks, or poor ones


def test_without_locks_a_process_of_this_computer_is_known_by_its_number(path, monkeypatch, quick):
    process = hold()
    for code in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        monkeypatch.setattr(lock, "_lock", failing(code))
        said = refused(path)
        assert f"process {process.pid} on" in said
        assert f"if that is not numpylm, delete {path}" in said
    process.kill()
    process.wait()
    take(path)


def test_without_locks_our_own_number_is_not_always_us(path, without_locks, quick):
    """In a container every program may be process 1."""
    with locked(path, "run"):
        assert f"process {os.getpid()}" in refused(path)
    leave(path)
    take(path)


@pytest.mark.parametrize("drive", ["without locks", "with locks that other computers do not see"])
def test_another_computer_is_known_by_its_signs_of_life(path, drive, monkeypatch, quick, capsys):
    if drive == "without locks":
        monkeypatch.setattr(lock, "_lock", failing(errno.ENOLCK))
    leave(path, host="node7", pid=12)
    ended = threading.Event()
    holder = threading.Thread(target=lock._touch, args=(ended, path, path))
    holder.start()
    assert "is in use by process 12 on node7, since 2026-01-01 00:00:00" in refused(path)
    ended.set()
    holder.join()
    take(path)
    assert "to see whether another computer still uses" in capsys.readouterr().out


def test_a_holder_gives_signs_of_life(path, quick):
    with locked(path, "run"):
        assert lock._is_touched(path)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\x00", b"[" * 4000, b'{"pid": "1", "host": 2, "since": 3}'])
@pytest.mark.parametrize("drive", ["with locks", "without locks"])
def test_a_lock_file_that_says_nothing(path, text, drive, monkeypatch, quick):
    path.write_bytes(text)
    if drive == "without locks":
        monkeypatch.setattr(lock, "_lock", failing(errno.ENOLCK))
    take(path)
    path.write_bytes(text)
    monkeypatch.setattr(lock, "_lock", failing(errno.EAGAIN))
    assert "is in use by another process" in refused(path)


def test_a_full_disk_leaves_no_lock(path, monkeypatch):
    def write(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space left"), locked(path, "run"):
            pass
    assert not path.exists()
    take(path)
