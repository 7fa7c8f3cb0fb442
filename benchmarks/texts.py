"""Texts of many kinds and sizes, each with a training part and a test part.

They come from the folder NUMPYLM_SHARED_DATA (default: ../shared/data), from Python's own library and from Vim's
manual. Missing sources are left out. The rules of `numpylm.training.choose_settings` were tuned only on the texts in
`TUNING`, so the texts in `REPORTED` are a fair test.
"""

import gzip
import json
import os
import re
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpylm.text.data import join_documents

SHARED = Path(os.environ.get("NUMPYLM_SHARED_DATA", "../shared/data"))
LIBRARY = Path(sysconfig.get_paths()["stdlib"])
VIM = Path("/usr/share/vim/vim90/doc")


@dataclass(frozen=True)
class Text:
    """A training text and a test text that do not overlap."""

    train: str
    test: str


def running(text: str, size: int) -> Text:
    """The first ``size`` characters for training, and the next fifth as many (4,000 to 100,000) for testing."""
    return Text(text[:size], text[size : size + min(max(size // 5, 4000), 100_000)])


def drawn(items: Iterable[str], size: int, join: Callable[[list[str]], str]) -> Text:
    """Different items in a random order: ``size`` characters to train on, and a fifth (100,000 at most) to test."""
    items = list(dict.fromkeys(items))
    items = [items[i] for i in np.random.default_rng(0).permutation(len(items))]
    ends = np.cumsum([len(item) + 1 for item in items])
    share = min(1.0, ends[-1] / (1.2 * size))
    cut = int(np.searchsorted(ends, share * size))
    stop = int(np.searchsorted(ends, share * size + min(max(size // 5, 4000), 100_000)))
    return Text(join(items[:cut]), join(items[cut : max(stop, cut + 1)]))


def in_lines(items: Iterable[str], size: int) -> Text:
    """One item a line."""
    return drawn(items, size, lambda part: "\n".join(part) + "\n")


def in_documents(items: Iterable[str], size: int) -> Text:
    """Items with end-of-text marks between them."""
    return drawn(items, size, join_documents)


# ------------------------------------------------------------------------------------------ where they come from


def manual() -> str:
    """Python's reference as `help()` prints it: English prose, wrapped."""
    from pydoc_data.topics import topics

    return "\n\n".join(dict.fromkeys(topics.values()))


def plays() -> str:
    return (SHARED / "tinyshakespeare.txt").read_text(encoding="utf-8")


def vim() -> str:
    """Vim's manual: English, wrapped."""
    if not VIM.is_dir():
        raise FileNotFoundError(f"no manual of Vim in {VIM}")
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(VIM.glob("*.txt")))


def poems(*volumes: int) -> list[str]:
    """Tang poems, a couplet a line."""
    files = [SHARED / "tang_poems" / f"poet.tang.{volume}.json" for volume in volumes]
    entries = [entry for file in files for entry in json.loads(file.read_text(encoding="utf-8"))]
    return ["\n".join(entry["paragraphs"]) for entry in entries if entry["paragraphs"]]


def quatrains(*volumes: int) -> list[str]:
    """Tang poems of two couplets, each on one line."""
    return [poem.replace("\n", "") for poem in poems(*volumes) if poem.count("\n") == 1]


def tatoeba(column: int) -> list[str]:
    lines = (SHARED / "tatoeba_en_zh" / "cmn.txt").read_text(encoding="utf-8").strip().split("\n")
    return [line.split("\t")[column] for line in lines]


def captions(language: str) -> list[str]:
    with gzip.open(SHARED / "multi30k" / f"train.{language}.gz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def problems() -> list[str]:
    lines = (SHARED / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["code"].replace("\r\n", "\n").replace("\t", "    ") for line in lines]


def questions() -> list[str]:
    import csv

    with (SHARED / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        return [" ".join(row["text"].split()) for row in csv.DictReader(file)]


def library(tests: bool) -> list[str]:
    """Python's own modules, or their tests."""
    files = sorted(path for path in LIBRARY.rglob("*.py") if "site-packages" not in path.parts)
    chosen = [path for path in files if ("test" in path.parts or "tests" in path.parts) == tests]
    return [path.read_text(encoding="utf-8", errors="ignore") for path in chosen if path.name != "topics.py"]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]{3,}", text.lower())


TUNING: dict[str, Callable[[], Text]] = {
    "prose 10 kB": lambda: running(manual()[30_000:], 10_000),
    "prose 60 kB": lambda: running(manual()[100_000:], 60_000),
    "plays 10 kB": lambda: running(plays()[300_000:], 10_000),
    "plays 60 kB": lambda: running(plays()[200_000:], 60_000),
    "plays 400 kB": lambda: running(plays(), 400_000),
    "words": lambda: in_lines(words(plays()), 200_000),
    "questions 400 kB": lambda: in_lines(questions(), 400_000),
    "quatrains": lambda: in_lines(quatrains(1000, 6000, 12000, 14000, 25000, 34000), 120_000),
    "poems 400 kB": lambda: running("\n\n".join(poems(1000, 12000, 14000)), 130_000),
    "code 60 kB": lambda: in_documents(library(False)[:60], 60_000),
    "code 1 MB": lambda: in_documents(library(False)[60:], 1_000_000),
    "code 10 MB": lambda: in_documents(library(False), 10_000_000),
}

REPORTED: dict[str, Callable[[], Text]] = {
    "prose 10 kB": lambda: running(manual()[300_000:], 10_000),
    "prose 60 kB": lambda: running(manual()[350_000:], 60_000),
    "plays 400 kB": lambda: running(plays()[520_000:], 400_000),
    "names (German words)": lambda: in_lines(words("\n".join(captions("de"))), 200_000),
    "captions 1 MB": lambda: in_lines(captions("en"), 1_000_000),
    "verse (quatrains)": lambda: in_lines(quatrains(40000, 43000), 60_000),
    "Chinese poems 400 kB": lambda: running("\n\n".join(poems(6000, 40000, 43000)), 130_000),
    "Chinese sentences": lambda: in_lines(tatoeba(1), 400_000),
    "code 60 kB": lambda: in_documents(problems(), 60_000),
    "code 1 MB": lambda: in_documents(library(True), 1_000_000),
    "manual 10 MB": lambda: running(vim(), 9_300_000),
}
