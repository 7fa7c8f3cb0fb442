"""What the lessons are made with: check, progress, collect, swap, and the command."""

import importlib.util
import json
import sys

import numpy as np
import pytest

import numpylm
from numpylm import GPT, GPTConfig, LayerNorm, Linear
from numpylm.cli import main
from numpylm.course import check, collect, progress, swap
from numpylm.course.judge import differ, equal
from numpylm.course.source import source_of

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


def test_source_of_a_class_that_was_made_in_a_cell():
    """As IPython makes them: compiled under a name whose lines are in linecache only."""
    import linecache

    code = "import numpy as np\n\n\nclass Mine:\n    def forward(self, x):\n        return x, None\n"
    linecache.cache["<cell 1>"] = (len(code), None, code.splitlines(True), "<cell 1>")
    space = {"__name__": "__main__"}
    exec(compile(code, "<cell 1>", "exec"), space)
    assert source_of(space["Mine"]) == "class Mine:\n    def forward(self, x):\n        return x, None"


def _cell(code, space, name):
    import linecache

    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    exec(compile(code, name, "exec"), space)


def test_source_of_brings_helpers_constants_and_earlier_exercises():
    """What stood in other cells is written along, in an order in which it can run."""
    space = {"__name__": "cells"}
    _cell("import numpy as np\nimport itertools\nfrom numpylm import relu\nHALF = 0.5\n", space, "<a>")
    _cell("def helper(x):\n    return HALF * x\n\n\ndef my_normalize(x):\n    return helper(x)\n", space, "<b>")
    space["normalize"] = space["my_normalize"]
    _cell("class MyLayer:\n    def forward(self, x):\n        return relu(normalize(x))[0]\n", space, "<c>")
    text = source_of(space["MyLayer"])
    alone = {}
    exec(text, alone)
    assert alone["MyLayer"]().forward(np.array([-2.0, 2.0])).tolist() == [0.0, 1.0]
    assert "normalize = my_normalize" in text
    assert "from numpylm.functional import relu" in text


VARIANTS = {
    "a default argument": ("HALF = 0.5", "def my_gelu(x, c=HALF):\n    return c * x, x\n"),
    "a tuple": ("PAIR = (1, 2)", "def my_gelu(x):\n    return PAIR[0] * x, x\n"),
    "an array": ("A = np.ones(3)", "def my_gelu(x):\n    return A * x, x\n"),
    "a lambda": ("half = lambda x: x / 2", "def my_gelu(x):\n    return half(x), x\n"),
    "something made of a function": ("erf = np.vectorize(math.erf)", "def my_gelu(x):\n    return erf(x), x\n"),
    "a partial": ("import functools\nadd = functools.partial(max, 1)", "def my_gelu(x):\n    return add(x), x\n"),
    "an own base class": (
        "class Base:\n    def twice(self):\n        return 2",
        "class my_gelu(Base):\n    def f(self):\n        pass\n",
    ),
}


@pytest.mark.parametrize("first", VARIANTS.values(), ids=VARIANTS.keys())
def test_whatever_stands_in_another_cell_goes_along(first, tmp_path, capsys):
    outside, code = first
    space = {"__name__": "cells"}
    _cell("import math\nimport numpy as np\n", space, "/cells/1")
    _cell(outside, space, "/cells/2")
    _cell(code, space, "/cells/3")
    _cell("def my_gelu_backward(dout, cache):\n    return dout\n", space, "/cells/4")
    source = source_of(space["my_gelu"], space["my_gelu_backward"])
    progress.record("gelu", source, ("my_gelu", "my_gelu_backward"))
    assert collect(tmp_path / "mine.py") == 1, capsys.readouterr().out
    module = _module(tmp_path / "mine.py")
    assert module.gelu is module.my_gelu


def test_what_cannot_stand_alone_is_replaced_by_ours_and_said(tmp_path, capsys):
    names = ("my_gelu", "my_gelu_backward")
    code = "def my_gelu(x):\n    return LOST * x, x\n\n\ndef my_gelu_backward(dout, cache):\n    return dout\n"
    progress.record("gelu", code, names)
    assert collect(tmp_path / "mine.py") == 0
    assert "it uses LOST" in capsys.readouterr().out
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


def test_collect_takes_mine_and_fills_up_with_ours(tmp_path):
    source = "class MyLinear(Module):\n    pass"
    entry = {"day": "2026-01-01", "source": source, "names": ["MyLinear"]}
    progress.progress_file().write_text(json.dumps({"Linear": entry}), encoding="utf-8")
    assert collect(tmp_path / "my_gpt.py") == 1
    module = _module(tmp_path / "my_gpt.py")
    assert module.Linear is module.MyLinear
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
        ((1.0,), (1.0, 2.0), "expected 2 things"),
        (np.arange(6.0).reshape(2, 3) * 3, np.arange(6.0).reshape(2, 3), "3 times"),
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
