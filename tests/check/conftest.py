"""The fixture ``write``, a student's file with some code; and ``reports``, what the checker says about a file."""

import textwrap
from pathlib import Path

import pytest

from numpylm.check.student import check_file

HEAD = "import numpy as np\nfrom numpylm import Parameter\n\n"


def reports(path):
    """The reports on a file, by their titles."""
    return {report.title: report for report in check_file(path)}


@pytest.fixture
def write(tmp_path):
    """A function that writes code below the imports of `HEAD`, and returns the file's path."""

    def write_file(code: str, name: str = "my_layers.py") -> Path:
        path = tmp_path / name
        path.write_text(HEAD + textwrap.dedent(code), encoding="utf-8")
        return path

    return write_file
