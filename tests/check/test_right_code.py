"""Right layers and functions, written in the many ways of students, books and courses: none may be called wrong."""

from functools import cache, partial
from pathlib import Path

import pytest

from numpylm.check.gradcheck import gradcheck
from numpylm.check.report import Report
from numpylm.check.student import check_found, items_to_check
from numpylm.check.subject.subject import Subject

FILES = sorted(path for path in (Path(__file__).parent / "students").glob("*.py") if path.stem != "my_helper")


@cache
def found(path):
    return {item.name: item for item in items_to_check(path)}


ITEMS = [(path, name) for path in FILES for name in found(path)]
NAMES = [f"{path.stem}-{name}" for path, name in ITEMS]


def check(path, name, seed=0) -> Report:
    return check_found(found(path)[name], seed)


def test_there_are_many():
    assert len(ITEMS) > 100


@pytest.mark.parametrize(("path", "name"), ITEMS[::3], ids=NAMES[::3])
def test_right_code_is_called_right(path, name):
    report = check(path, name)
    assert report.ok, str(report)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "name"), ITEMS, ids=NAMES)
def test_right_code_is_called_right_whatever_the_seed(path, name):
    for seed in range(10):
        report = check(path, name, seed)
        assert report.ok, str(report)


LAYERS = [(path, name) for path, name in ITEMS if found(path)[name].kind != "optimizer"]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "name"), LAYERS, ids=[f"{path.stem}-{name}" for path, name in LAYERS])
def test_gradients_that_are_wrong_by_a_fiftieth_are_found_in_each(path, name, monkeypatch):
    right = Subject.backward
    monkeypatch.setattr(Subject, "backward", lambda self, dout, cache: right(self, 1.02 * dout, cache))
    monkeypatch.setattr("numpylm.check.student.check.gradcheck", partial(gradcheck, diagnose=False))
    report = check(path, name)
    assert not report.ok, str(report)
    assert not report.unchecked, str(report)
