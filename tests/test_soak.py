"""A part of the soak test: each disturbance once, at a random moment. The full test is ``python -m tests.soak``."""

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("the soak sends POSIX signals", allow_module_level=True)

from tests import soak


@pytest.mark.slow
def test_a_disturbed_run_ends_with_the_bits_of_an_undisturbed_one():
    counts = soak.soak(len(soak.DISTURBANCES), seed=1)
    assert sum(counts.values()) == len(soak.DISTURBANCES)
    assert any(name in soak.SIGNALS and moment == "in the run" for name, moment in counts)
