"""The search for the place of a mistake: what it finds, and that it always ends."""

import linecache

import numpy as np
import pytest

from numpylm.course.exercise import Exercise
from numpylm.course.judge import judge, outputs
from numpylm.course.one_change import find


def written(code, file="<one_change_test>", **names):
    """A function as if it were written in a cell."""
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file
    space = {"np": np, "__name__": "__main__", **names}
    exec(compile(code, file, "exec"), space)
    return space["mine"]


def right(x, y):
    return 2 * x.sum(axis=0) - y


CASE = np.arange(15.0).reshape(5, 3), np.array([1.0, 5.0, 2.0])


def works(mine):
    with np.errstate(all="ignore"):
        return np.shape(mine(*CASE)) == (3,) and np.allclose(mine(*CASE), right(*CASE))


@pytest.mark.parametrize(
    ("line", "at", "kind"),
    [
        ("return 2 * x.sum(axis=0) + y", "2 * x.sum(axis=0) + y", "sign"),
        ("return 2 * x.sum(axis=1) - y", "x.sum(axis=1)", "axis"),
        ("return 2 * x.mean(axis=0) - y", "x.mean", "function"),
        ("return 3 * x.sum(axis=0) - y", "3 * x.sum(axis=0)", "number"),
        ("return y - 2 * x.sum(axis=0)", "y - 2 * x.sum(axis=0)", "the order"),
        ("return 2 * x.sum(axis=0)", "2 * x.sum(axis=0)", "term"),
        ("2 * x.sum(axis=0) - y", "", "return"),
    ],
)
def test_the_place_of_one_mistake_is_found(line, at, kind):
    place = find([written(f'def mine(x, y):\n    """A docstring."""\n    {line}\n')], works)
    assert place is not None
    assert (place.line, place.code, place.at) == (3, line, at)
    assert kind in place.kind


def test_two_mistakes_have_no_place():
    assert find([written("def mine(x, y):\n    return 3 * x.sum(axis=1) + y\n")], works, 1.0) is None


def test_a_changed_loop_that_never_ends_is_left():
    """`i += 0` is among the changes; without a limit the check would hang."""
    loop = "def mine(x, y):\n    i = 0\n    while i < 3:\n        i += 1\n    return 2 * x.sum(axis=0) + y * (i - 2)\n"
    place = find([written(loop)], works, 30.0)
    assert place is not None


def test_what_changed_code_prints_is_not_shown(capsys):
    find([written("def mine(x, y):\n    print('mine')\n    return 3 * x.sum(axis=1) + y\n")], works, 0.5)
    assert capsys.readouterr() == ("", "")


def test_changed_code_gives_no_warnings(recwarn):
    """`is not` becomes a comparison with a number in one change: Python warns of that when it compiles."""
    line = "return 3 * x.sum(axis=1) + y if y is not None else x / 0"
    find([written(f"def mine(x, y):\n    {line}\n")], works, 2.0)
    assert not recwarn.list


def test_our_own_code_is_never_blamed():
    code = "def mine(x, y):\n    return 2 * x.sum(axis=0) + y\n"
    assert find([written(code, __name__="numpylm.nn.functional")], works) is None


def exercise(search=True):
    return Exercise("", "", outputs(right, lambda rng: iter([CASE])), (right,), search=search)


def test_the_place_is_added_to_a_verdict_that_names_none():
    mine = written("def mine(x, y):\n    return 2 * x.sum(axis=0) + y\n")
    assert "One change would make it right: look at line 2" in judge(exercise(), mine).text
    assert "One change" not in judge(exercise(search=False), mine).text


@pytest.mark.parametrize(("ours", "theirs"), [(np.array([True]), np.array([1.0])), (np.array([1]), np.array([1.0]))])
def test_a_mask_or_ids_as_fractions_are_not_right(ours, theirs):
    test = outputs(lambda: ours, lambda rng: iter([()]))
    assert test(lambda: ours).problems == []
    assert "float64" in test(lambda: theirs).problems[0]
