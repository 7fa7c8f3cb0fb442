"""The fixture ``write``: a student's file with some code."""

import textwrap
from pathlib import Path

import pytest

HEAD = "import numpy as np\nfrom numpylm import Parameter\n\n"


@pytest.fixture
def write(tmp_path):
    """A function that writes code below the imports of `HEAD`, and returns the file's path."""

    def write_file(code: str, name: str = "my_layers.py") -> Path:
        path = tmp_path / name
        path.write_text(HEAD + textwrap.dedent(code), encoding="utf-8")
        return path

    return write_file
