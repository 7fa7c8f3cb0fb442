"""The tools of the lessons: check, progress, collect, swap, and the command."""

import importlib.util
import linecache
import sys

import numpy as np
import pytest

import numpylm
from numpylm import GPT, GPTConfig, LayerNorm, Linear
from numpylm.check.student import check_file
from numpylm.cli.main import main
from numpylm.course import check, collect, progress, swap
from numpylm.course.judge import differ, equal
from numpylm.course.student_source import source_of

CONFIG = GPTConfig(vocab_size=11, block_size=7, n_layer=2, n_head=3, n_embd=12)


@pytest.fixture(autouse=True)
def _own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "course.json"))


def square_backward(dout, cache):
    return dout * 2 * cache


def no_slope(dout, cache):
    return dout


def blank(dout, cache):
    raise NotImplementedError


def broken(dout, cache):
    return dout * undefined_name  # noqa: F821


def test_check_returns_mine_if_it_is_right_and_remembers_it(capsys):
    assert check("square_backward", square_backward) is square_backward
    assert "✓ square_backward: right" in capsys.readouterr().out
    solved = progress.load()["square_backward"]
    assert solved.names == ("square_backward",)
    assert "return dout * 2 * cache" in solved.source


@pytest.mark.parametrize(
    ("wrong", "said"), [(no_slope, "✗ square_backward"), (blank, "○ square_backward"), (broken, "undefined_name")]
)
def test_check_goes_on_with_ours_otherwise(wrong, said, capsys):
    ours = check("square_backward", wrong)
    assert ours is not wrong
    np.testing.assert_allclose(ours(np.ones(2), np.array([1.0, 2.0])), [2, 4])
    assert said in capsys.readouterr().out
    assert progress.load() == {}


def test_a_wrong_answer_does_not_undo_a_right_one(capsys):
    check("square_backward", square_backward)
    check("square_backward", no_slope)
    assert "square_backward" in progress.load()


def test_an_unknown_exercise_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'square_backward'"):
        check("square_backwards", square_backward)
    with pytest.raises(ValueError, match="expects 2 things, got 1"):
        check("gelu", square_backward)


def test_a_damaged_progress_file_does_not_stop_a_lesson(capsys):
    progress.progress_file().write_text("{", encoding="utf-8")
    assert check("square_backward", square_backward) is square_backward
    assert "progress was not saved" in capsys.readouterr().out
    assert progress.progress_file().read_text(encoding="utf-8") == "{"  # nothing is overwritten


def _run_cells(*codes, folder="/cells"):
    """Run code as IPython runs cells, compiled under names whose lines are in linecache only; (names, last cell)."""
    space, file = {"__name__": "cells"}, ""
    for number, code in enumerate(["import math\nimport numpy as np\n", *codes]):
        file = f"{folder}/{number}.py"
        linecache.cache[file] = (len(code), None, code.splitlines(True), file)
        exec(compile(code, file, "exec"), space)
    return space, file


@pytest.fixture(autouse=True)
def _no_cells_of_another_test():
    yield
    for name in [name for name in linecache.cache if name.startswith("/cells/")]:
        del linecache.cache[name]


def _collected(tmp_path, *codes):
    """The module that `collect` makes of a gelu written in notebook cells."""
    space, file = _run_cells(*codes)
    source, names = source_of((space["my_gelu"], space["my_gelu_backward"]), space, file)
    progress.record("gelu", source, names)
    assert collect(tmp_path / "mine.py") == 1
    module = _module(tmp_path / "mine.py")
    assert module.gelu is module.my_gelu
    return module


GELU = """
def my_gelu(x):
    t = np.tanh(math.sqrt(2 / math.pi) * (x + CUBIC * x * x * x))
    return HALF * x * (1 + t), (x, t)


def my_gelu_backward(dout, cache):
    x, t = cache
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return dout * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)
"""


def _gelu(half="0.5", cubic="0.044715"):
    return GELU.replace("HALF", half).replace("CUBIC", cubic)


def test_source_of_a_class_that_was_made_in_a_cell():
    space, file = _run_cells("class Mine:\n    def forward(self, x):\n        return x, None\n")
    text, names = source_of((space["Mine"],), space, file)
    assert text == "class Mine:\n    def forward(self, x):\n        return x, None"
    assert names == ("Mine",)


def test_source_of_brings_helpers_constants_and_earlier_exercises():
    """Code from other cells is copied into the module, in an order in which it can run."""
    space, file = _run_cells(
        "import itertools\nfrom numpylm import relu\nHALF = 0.5\n",
        "def helper(x):\n    return HALF * x\n\n\ndef my_normalize(x):\n    return helper(x)\n",
        "normalize = my_normalize",
        "class MyLayer:\n    def forward(self, x):\n        return relu(normalize(x))[0]\n",
    )
    text, _ = source_of((space["MyLayer"],), space, file)
    alone = {}
    exec(text, alone)
    assert alone["MyLayer"]().forward(np.array([-2.0, 2.0])).tolist() == [0.0, 1.0]
    assert "normalize = my_normalize" in text
    assert "from numpylm.nn.functional import relu" in text


# What a gelu needs from other cells: those cells, and what stands for ½ or for 0.044715 in it.
ELSEWHERE = {
    "a constant": (["A = 0.5"], "A"),
    "a tuple": (["PAIR = (0.5, 2)"], "PAIR[0]"),
    "names of a tuple": (["A, B = 0.5, 2"], "A"),
    "an annotated constant": (["A: float = 0.5"], "A"),
    "an array": (["A = np.full(1, 0.5)"], "A"),
    "a lambda": (["half = lambda x: x / 2"], "half(1)"),
    "something made of a function": (["root = np.vectorize(math.sqrt)"], "root(0.25)"),
    "a partial": (["import functools\npart = functools.partial(min, 0.5)"], "part(2)"),
    "a class and its base": (["class Base:\n    a = 0.5", "class Mine(Base):\n    pass"], "Mine.a"),
    "a class that is made of itself": (["class Mine:\n    a = 0", "class Mine(Mine):\n    a = 0.5"], "Mine.a"),
    "an attribute given later": (["class Mine:\n    pass", "Mine.a = 0.5"], "Mine.a"),
    "an entry given later": (["table = {}\nrng = np.random.default_rng(0)", 'table["a"] = 0.5'], 'table["a"]'),
    "a value given in several cells": (["A = 3", "A = 0.25", "A = A * 2"], "A"),
    "an array given in several cells": (["A = np.ones(1)", "A = A / 4", "A *= 2"], "A"),
    "a value of a loop": (["for A in (0.1, 0.5):\n    pass"], "A"),
    "a closure": (["def make(a):\n    def inner():\n        return a\n    return inner", "f = make(0.5)"], "f()"),
    "a function that calls itself": (["def f(n):\n    return 0.5 if n == 0 else f(n - 1)"], "f(3)"),
    "functions that call each other": (["def f(n):\n    return g(n)\n\ndef g(n):\n    return n or f(0.5)"], "f(0)"),
    "a comprehension": (["A = 0.25"], "sum(A for _ in range(2))"),
    "a default argument": (["A = 0.5", "def f(a=A):\n    return a"], "f()"),
    "an annotation": (["Number = float", "def f(a: Number) -> Number:\n    return a"], "f(0.5)"),
    "a decorator": (
        ["def half(f):\n    def inner():\n        return f() / 2\n    return inner", "@half\ndef f():\n    return 1"],
        "f()",
    ),
    "a cached function": (["from functools import cache", "@cache\ndef f():\n    return 0.5"], "f()"),
    "a class body": (["A = 0.5", "class Mine:\n    b = A\n    A = b"], "Mine.A"),
    "a module under another name": (["import math as m"], "m.sqrt(0.25)"),
    "a module in a package": (["import os.path"], "(0.5 if os.path.join else 0)"),
    "a function under another name": (["from math import sqrt as root"], "root(0.25)"),
    "a constant of a module": (["from math import pi as p"], "(0.5 * p / p)"),
    "all of a module": (["from math import *"], "sqrt(0.25)"),
    "an import that may fail": (
        ["try:\n    import no_such_thing as m\nexcept ImportError:\n    import math as m"],
        "m.sqrt(0.25)",
    ),
    "a cell with a magic": (["get_ipython = lambda: None", "if 0:\n    x = 1", "A = 0.5"], "A"),
}


@pytest.mark.parametrize(("before", "half"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_what_a_function_needs_from_other_cells_goes_along(before, half, tmp_path, capsys):
    _collected(tmp_path, *before, _gelu(half))
    assert "not as a part" not in capsys.readouterr().out


SHADOWS = {
    "an argument": "def f(x, K=2):\n    return K\n",
    "a local": "def f(x):\n    K = x\n    return K\n",
    "a variable of a comprehension": "def f(x):\n    return [K for K in x]\n",
    "a local of the function around": "def f(x):\n    K = x\n    def g():\n        return K\n    return g()\n",
    "an attribute": "def f(x):\n    return x.K\n",
    "a keyword": "def f(x):\n    return dict(K=x)\n",
    "an attribute of a class": "class f:\n    K = 1\n    L = K\n",
    "an exception": "def f(x):\n    try:\n        return x\n    except ValueError as K:\n        return None\n",
}


@pytest.mark.parametrize("code", SHADOWS.values(), ids=SHADOWS.keys())
def test_a_global_of_a_local_s_name_stays_where_it_is(code):
    """The lesson's own ``N, C, K = 5, 4, 3`` and ``x = …`` were written into my_gpt.py."""
    space, file = _run_cells("K = 3", code)
    assert source_of((space["f"],), space, file)[0] == code.strip()


def test_what_a_cell_with_a_magic_defines_goes_along():
    """IPython passes the code below ``%%time`` to the magic as one string, not compiled under a cell's name."""
    space, file = _run_cells("def get_ipython():\n    pass\n")
    below = "A = 0.5\n\ndef f(x):\n    return A * x\n"
    magic = f"get_ipython().run_cell_magic('time', '', {below!r})"
    linecache.cache["/cells/9.py"] = (len(magic), None, [magic], "/cells/9.py")
    exec(compile(below, "<timed exec>", "exec"), space)
    assert source_of((space["f"],), space, file)[0] == "A = 0.5\n\n\ndef f(x):\n    return A * x"


def test_a_function_of_the_student_s_own_file_is_taken_with_its_helpers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_own_helpers.py").write_text("def half(x):\n    return 0.5 * x\n", encoding="utf-8")
    text = "import math\n\nimport numpy as np\nfrom my_own_helpers import half as h\n" + _gelu("h(1)")
    (tmp_path / "my_own_layers.py").write_text(text, encoding="utf-8")
    module = _collected(tmp_path, "from my_own_layers import my_gelu, my_gelu_backward")
    assert module.my_gelu.__module__ == module.half.__module__ == module.__name__


def test_helpers_of_one_name_in_two_lessons_do_not_disturb_each_other(tmp_path, capsys):
    """Each lesson has its own kernel, so students have no reason to choose another name."""
    _collected(tmp_path, "def helper(x):\n    return 0.5 * x\n", _gelu("helper(1)"))
    code = """
def helper(x, p):
    return x if p == 0 else x / (1 - p)


class MyDropout(Module):
    def __init__(self, p):
        self.p = p

    def forward(self, x, rng=None):
        if rng is None:
            return x, None
        mask = helper((rng.random(x.shape) >= self.p).astype(x.dtype), self.p)
        return x * mask, mask

    def backward(self, dy, cache):
        return dy if cache is None else dy * cache
"""
    space, file = _run_cells("from numpylm import Module", code, folder="/cells/two")
    progress.record("Dropout", *source_of((space["MyDropout"],), space, file))
    assert collect(tmp_path / "mine.py") == 2, capsys.readouterr().out
    assert [report.ok for report in check_file(tmp_path / "mine.py")] == [True, True]


def test_a_class_that_is_made_of_ours_is_taken(tmp_path, capsys):
    """The module's own ``Linear`` is the student's, so ours has to be imported before it."""
    code = "class MyLinear(Linear):\n    def forward(self, x):\n        return super().forward(x)\n"
    space, file = _run_cells("from numpylm import Linear", code)
    progress.record("Linear", *source_of((space["MyLinear"],), space, file))
    assert collect(tmp_path / "mine.py") == 1, capsys.readouterr().out
    module = _module(tmp_path / "mine.py")
    assert module.Linear is module.MyLinear
    assert issubclass(module.Linear, Linear)


def test_what_was_checked_again_is_still_there():
    """The second time, ``Linear`` is already the student's own, and known; its source must not get lost."""
    code = "class Linear(Base):\n    pass\n"
    space, file = _run_cells("from numpylm.course import check", "from numpylm import Linear as Base", code)
    for _ in range(2):
        exec(compile('Linear = check("Linear", Linear)', file, "exec"), space)
        assert "class Linear(Base)" in progress.load()["Linear"].source


def test_what_cannot_stand_alone_is_replaced_by_ours_and_said(tmp_path, capsys):
    progress.record("gelu", _gelu(half="LOST"), ("my_gelu", "my_gelu_backward"))
    assert collect(tmp_path / "mine.py") == 0
    assert "gelu has passed, but not as a part of the module: it uses LOST." in capsys.readouterr().out
    assert _module(tmp_path / "mine.py").gelu is numpylm.gelu


def _module(path):
    spec = importlib.util.spec_from_file_location("my_gpt_under_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_collect_without_anything_solved_gives_ours(tmp_path):
    assert collect(tmp_path / "my_gpt.py") == 0
    module = _module(tmp_path / "my_gpt.py")
    assert module.GPT is GPT
    assert module.attention is numpylm.scaled_dot_product_attention


WRONG = {
    "nothing was found": ("", "NameError"),
    "not right without what other cells did": (_gelu(half="0.4"), "it is not right there: my_gelu"),
    "an end": ("raise SystemExit(1)\n" + _gelu(), "SystemExit: 1"),
    "a module that is not there": ("import no_such_module\n" + _gelu(), "No module named 'no_such_module'"),
}


@pytest.mark.parametrize(("source", "reason"), WRONG.values(), ids=WRONG.keys())
def test_the_reason_is_said_of_whatever_is_not_taken(source, reason, tmp_path, capsys):
    progress.record("gelu", source, ("my_gelu", "my_gelu_backward"))
    assert collect(tmp_path / "mine.py") == 0
    said = capsys.readouterr().out
    assert reason in said
    assert said.count("\n") == 1
    assert _module(tmp_path / "mine.py").gelu is numpylm.gelu


def test_a_function_without_a_name_is_named_as_the_reason(tmp_path, capsys):
    assert check("gelu", lambda x: numpylm.gelu(x), numpylm.gelu_backward)
    assert collect(tmp_path / "mine.py") == 0
    assert "what was checked had no name" in capsys.readouterr().out


def test_what_a_part_prints_is_not_printed_by_collect(tmp_path, capsys):
    progress.record("gelu", "print('hello')\n" + _gelu(), ("my_gelu", "my_gelu_backward"))
    assert collect(tmp_path / "mine.py") == 1
    assert capsys.readouterr().out == ""


def test_another_file_of_that_name_is_kept(tmp_path, capsys):
    path = tmp_path / "my_gpt.py"
    path.write_text("my own work\n", encoding="utf-8")
    for kept in ("my_gpt.py.1", "my_gpt.py.2"):
        collect(path)
        assert f"is kept in {tmp_path / kept}" in capsys.readouterr().out
        assert (tmp_path / kept).read_text(encoding="utf-8") == "my own work\n"
        collect(path)  # the same once more: nothing is lost, and nothing is kept
        assert capsys.readouterr().out == ""
        path.write_text("my own work\n", encoding="utf-8")


def test_collect_takes_mine_and_fills_up_with_ours(tmp_path):
    module = _collected(tmp_path, _gelu())
    assert module.LayerNorm is LayerNorm


def test_swap_changes_classes_and_shares_parameters():
    class Mine(LayerNorm):
        pass

    gpt = GPT(CONFIG, np.random.default_rng(0))
    other = swap(gpt, LayerNorm=Mine)
    assert {type(layer) for block in other.h for layer in (block.ln_1, block.ln_2)} == {Mine}
    assert type(gpt.ln_f) is LayerNorm  # the model itself is left alone
    assert type(other.h[0].mlp.c_fc) is Linear
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in gpt.named_parameters()]
    assert all(p is q for p, q in zip(gpt.parameters(), other.parameters(), strict=True))
    ids = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(other.forward(ids)[0], gpt.forward(ids)[0])


def test_the_command(capsys, tmp_path):
    assert main(["course"]) == 0
    assert "Next: square_backward" in capsys.readouterr().out
    check("square_backward", square_backward)
    assert main(["course"]) == 0
    assert "✓ square_backward" in capsys.readouterr().out
    assert main(["course", "00"]) == 0
    assert "the slope of x²" in capsys.readouterr().out
    assert main(["course", "square_backward"]) == 0
    assert "return dout * 2 * cache" in capsys.readouterr().out
    assert main(["course", "--collect", str(tmp_path / "mine.py")]) == 0
    assert (tmp_path / "mine.py").exists()
    assert main(["course", "--collect", str(tmp_path)]) == 1
    assert "give the name of a Python file" in capsys.readouterr().err
    assert main(["course", "nothing"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["course", "--reset"]) == 0
    assert progress.load() == {}


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (None, 1.0, "returns None"),
        (np.zeros(3), np.zeros((3, 1)), "wrong shape"),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), "NaN or infinity"),
        (2.5, 1.0, "expected 1, got 2.5"),
        (-1.5, 1.5, "the sign is wrong"),
        ([1, 2], [1, 3], "expected [1, 3], got [1, 2]"),
        ("text", 1.0, "expected numbers"),
        ((1.0,), (1.0, 2.0), "expected 2 values"),
        (np.arange(6.0).reshape(2, 3) * 3, np.arange(6.0).reshape(2, 3), "the output is 3 times the right one"),
        (np.arange(6.0), np.arange(6.0), ""),
    ],
)
def test_what_is_said_of_an_output(got, want, said):
    text = differ(got, want, (), lambda: None)
    assert said in text
    assert bool(text) == bool(said)


def test_equal_compares_what_lessons_return():
    assert equal({(1, 2): 3}, {(1, 2): 3})
    assert not equal({(1, 2): 3}, {(1, 2): 4})
    assert equal((np.ones(2), [1]), (np.ones(2), [1]))
    assert not equal(np.ones(2), np.ones((2, 1)))
    assert not equal([1], [2])
