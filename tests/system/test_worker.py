"""A worker process starts from any script, finds what it should import, and ends with the process that it serves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from numpylm.system.worker import Worker, WorkerError

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and open files as POSIX has them")

PROCESSES = """
import sys
import numpy as np
from numpylm import GPT, DataParallel, GPTConfig

gpt, ids = GPT(GPTConfig(11, 8, 1, 2, 8)), np.ones((2, 4), int)
parallel = DataParallel(gpt, 2, processes=True)
parallel.loss_and_grad(ids, ids)
print(type(parallel.replicas[1]).__name__)
"""


def run(code, *flags, how="-c", **options):
    """Run code in a Python of its own, and return what it printed."""
    command = [sys.executable, *flags, how] + ([code] if how == "-c" else [])
    given = code if how == "-" else None
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["script", "-"])
def test_no_guard_is_needed(kind, tmp_path):
    """The main module is not run a second time: not a script without `if __name__ == "__main__"`, not stdin."""
    script = tmp_path / "script.py"
    script.write_text(PROCESSES, encoding="utf-8")
    assert run(PROCESSES, how=str(script) if kind == "script" else kind) == (["RemoteReplica"], "")


@pytest.mark.slow
def test_layers_that_a_script_defines_are_shared_by_threads_and_a_line_says_so():
    own = PROCESSES.replace("gpt, ids = GPT(", "class Own(GPT):\n    pass\n\ngpt, ids = Own(")
    said, errors = run(own)
    assert said == ["Own"]
    assert errors.count("\n") == 1
    assert (
        "threads share each batch, not processes: "
        "worker processes cannot import classes that a script or notebook defines" in errors
    )


def shadows(folder):
    """Files with the names of all modules of the standard library, and of some others; none can be imported."""
    for name in [*sys.stdlib_module_names, "numpy", "tqdm", "regex", "numpylm"]:
        (folder / f"{name}.py").write_text("raise SystemExit(f'{__name__} of the working folder')", encoding="utf-8")


@pytest.mark.slow
def test_a_worker_does_not_look_into_the_working_folder(tmp_path):
    """As for the numpylm command, which does not look there either (-P)."""
    shadows(tmp_path)
    root = Path(__file__).parents[2]
    assert run(f"import sys; sys.path.append({str(root)!r})" + PROCESSES, "-P", cwd=tmp_path) == (["RemoteReplica"], "")


@pytest.mark.slow
def test_own_modules_are_found_in_the_working_folder_and_the_standard_library_before_them(tmp_path):
    """As in a notebook, which looks into the working folder first, but imported the standard library before."""
    root = Path(__file__).parents[2]
    (tmp_path / "own.py").write_text("from numpylm import GPT\n\nclass Own(GPT):\n    pass\n", encoding="utf-8")
    for name in ("struct", "socket", "signal", "select", "pickle", "random", "types", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadow')", encoding="utf-8")
    before, _, after = PROCESSES.partition("gpt, ids = GPT(")
    code = f"import sys; sys.path.append({str(root)!r})" + before + "sys.path.insert(0, '')\nimport own\n"
    assert run(code + "gpt, ids = own.Own(" + after, "-P", cwd=tmp_path) == (["RemoteReplica"], "")


@pytest.mark.slow
@POSIX
def test_where_all_streams_are_closed_pipes_and_memory_do_not_take_their_place(tmp_path):
    code = PROCESSES.replace("print(", f"open({str(tmp_path / 'said')!r}, 'w').write(")
    subprocess.run(["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code], check=True, timeout=60)
    assert (tmp_path / "said").read_text(encoding="utf-8") in ("RemoteReplica", "GPT")


@pytest.fixture(scope="module")
def worker():
    return Worker(len, ((),))


def echo(value):
    print("a layer that prints")
    return value


@pytest.mark.slow
def test_what_a_function_prints_is_no_answer(worker, capfd):
    assert worker.run(echo, 7) == 7
    assert worker.run(input_or_nothing) == "nothing"


def input_or_nothing():
    try:
        return input()
    except EOFError:
        return "nothing"


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM"])
def test_signals_to_all_processes_of_a_job_do_not_end_workers(worker, name):
    assert worker.run(os.getpid) == worker.process.pid
    os.kill(worker.process.pid, getattr(signal, name))
    assert worker.run(os.getpid) == worker.process.pid
    assert os.getpgid(worker.process.pid) != os.getpgid(0)  # nor does the terminal's Ctrl-C reach it


def gone(pid):
    """Whether a process ends within some seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split(")")[1][1] == "Z":
                return True  # ended; who adopted it has not asked for it yet
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@POSIX
def test_workers_end_when_their_process_is_killed():
    """One process that waits, and one that works."""
    code = (
        "import os, signal, threading, time\nfrom numpylm.system.worker import Worker\n"
        "idle, busy = Worker(len, ((),)), Worker(len, ((),))\n"
        "print(idle.run(os.getpid), busy.run(os.getpid), flush=True)\n"
        "threading.Thread(target=busy.run, args=(time.sleep, 1)).start()\ntime.sleep(0.2)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert parent.returncode == -signal.SIGKILL
    assert all(gone(int(pid)) for pid in parent.stdout.split())
    assert parent.stderr == ""


def test_a_worker_that_cannot_begin_or_start_is_one_clear_error(monkeypatch):
    with pytest.raises(WorkerError, match=r"could not begin \(ValueError: invalid literal"):
        Worker(int, ("x",)).run(len, ())
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(WorkerError, match="could not start"):
        Worker(len, ((),))


@pytest.mark.slow
def test_large_questions_and_answers_pass(worker):
    assert worker.run(bytes.upper, b"a" * 10**6) == b"A" * 10**6
    with pytest.raises(WorkerError, match="exit code 3"):
        Worker(os._exit, (3,)).run(bytes.upper, b"a" * 10**6)  # to a process that does not read any more
