"""docs/sampling.md says what the code does."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_shows_what_the_options_do_today():
    spec = importlib.util.spec_from_file_location("make_sampling", DOCS / "make_sampling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (DOCS / "sampling.md").read_text(encoding="utf-8")
    assert module.page() == written, "make it again: python docs/make_sampling.py > docs/sampling.md"
