"""Code that a model wrote: each way to misbehave ends as the outcome that is named for it."""

import time

import pytest

from numpylm.system.untrusted_code import Limits, run_all, run_untrusted

SHORT = Limits(seconds=1, memory=200 * 2**20, output=2000)
DOUBLE = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("code", "outcome", "detail"),
    [
        (DOUBLE, "passed", ""),
        (DOUBLE.replace("2 *", "3 *"), "wrong", "assert double(2) == 4"),
        ("def double(x) return x", "syntax", ""),
        ("eval('1 +')", "error", "SyntaxError"),
        ("def other(x):\n    return x", "error", "NameError"),
        ("import heapq, math\nfrom collections import Counter\n" + DOUBLE, "passed", ""),
        ("import numpy\n" + DOUBLE, "error", "ModuleNotFoundError"),
        ("import sys\nsys.exit(0)", "exit", ""),
        ("raise SystemExit", "exit", ""),
        ("import os\nos._exit(0)", "crash", ""),
        ("print('x' * 5000)", "output", "2,000"),
        ("import os\nos.write(1, b'x' * 5000)", "output", "2,000"),
        ('import os\nos.write(1, b\'["passed", ""]\')\nos._exit(0)', "crash", ""),
        ("def double(x):\n    return double(x)", "error", "RecursionError"),
        ("input()", "error", ""),
        ("open('/etc/passwd')", "forbidden", "open"),
        ("open('new', 'w')", "forbidden", "open"),
        ("try:\n    open('new', 'w')\nexcept Exception:\n    pass\n" + DOUBLE, "forbidden", "open"),
        ("import os\nos.remove('x')", "forbidden", "os.remove"),
        ("import os\nos.system('true')", "forbidden", "os.system"),
        ("import os\nos.fork()", "forbidden", "os.fork"),
        ("import os\nos.listdir('/')", "forbidden", "os.listdir"),
        ("import socket", "forbidden", "import socket"),
        ("import _socket\n_socket.socket()", "error", "ModuleNotFoundError"),
        ("import subprocess", "forbidden", "import subprocess"),
        ("import ctypes", "forbidden", "import ctypes"),
    ],
)
def test_each_program_ends_as_its_outcome(code, outcome, detail):
    found = run_untrusted(code, ["assert double(2) == 4", "assert double(0) == 0"], SHORT)
    assert (found.name, detail in found.detail) == (outcome, True), found


@pytest.mark.parametrize(
    "code", ["while True:\n    pass", pytest.param("import time\ntime.sleep(60)", marks=pytest.mark.slow)]
)
def test_what_does_not_end_is_killed(code):
    begin = time.monotonic()
    assert run_untrusted(code, (), SHORT).name == "time"
    assert time.monotonic() - begin < 20  # not 60


def test_memory_is_limited():
    pytest.importorskip("resource")
    assert run_untrusted("x = [0] * 10**9", (), SHORT).name == "memory"


def test_nothing_of_the_environment_is_seen(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "x")
    assert run_untrusted("import os\nassert 'SECRET_KEY' not in os.environ", (), SHORT).name == "passed"


def test_many_programs_keep_their_order():
    programs = [(f"x = {n}", [f"assert x == {n % 2}"]) for n in range(4)]
    assert [outcome.name for outcome in run_all(programs, SHORT)] == ["passed", "passed", "wrong", "wrong"]
