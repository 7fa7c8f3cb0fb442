"""Reading texts with labels from CSV, TSV and JSON lines, with the columns named or found."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpylm.system.json_fields import json_objects
from numpylm.system.shell import shown
from numpylm.text.text_input import read_text_file

Labelled = tuple[str, str]  # text, label
TEXT_NAMES = ("text", "sentence", "message", "question", "utterance", "query", "content", "review", "instruction")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")  # also with .gz
LABEL_NAMES = ("label", "category", "intent", "class", "sentiment", "target", "tag")


def read_labelled(paths: Sequence[str], text_column: str = "", label_column: str = "") -> list[Labelled]:
    """The texts and labels of all files. Rows with an empty text or label are left out, and counted in a message.

    Raises
    ------
    ValueError
        If a file has no such columns, a row is broken, or nothing is left.
    """
    found = [row for path in paths for row in _read(Path(path), text_column, label_column)]
    kept = [(text, label) for text, label in found if text and label]
    name = shown(", ".join(paths))
    print(f"text        {name}: {len(kept):,} texts")
    if len(kept) < len(found):
        print(f"left out    {len(found) - len(kept):,} rows with an empty text or label")
    if not kept:
        raise ValueError(f"{name} has no text with a label")
    return kept


def read_texts(path: Path, text_column: str = "") -> list[str]:
    """The texts of a table whose labels do not matter."""
    rows, names = _table(path, (text_column,))
    at = _column(path, names, text_column, TEXT_NAMES, "text")
    if at is None:
        at = _longest(rows, range(len(names)))
        print(f"columns     {shown(path)}: texts in {shown(names[at])}", file=sys.stderr)
    return [_cell(row[at]) for row in rows]


def has_labels(path: Path, known: Sequence[str]) -> bool:
    """Whether a table has a column that is called label or the like, or in which at least half are ``known`` labels."""
    rows, names = _table(path, ())
    shares = [sum(_cell(row[i]) in known for row in rows) / max(len(rows), 1) for i in range(len(names))]
    return max(shares) >= 0.5 or any(name.lower() in LABEL_NAMES for name in names)


def labels_of(examples: Sequence[Labelled]) -> tuple[str, ...]:
    """The labels that occur, in order. Raises ValueError if there is only one."""
    labels = tuple(sorted({label for _, label in examples}))
    if len(labels) < 2:
        raise ValueError(f"all texts have the label {labels[0]!r}: a classifier needs at least two labels")
    return labels


def suffix_of(path: Path) -> str:
    """The ending of a file's name, in lower case and without ``.gz``."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _read(path: Path, text_column: str, label_column: str) -> list[Labelled]:
    rows, names = _table(path, (text_column, label_column))
    text_at = _column(path, names, text_column, TEXT_NAMES, "text")
    label_at = _column(path, names, label_column, LABEL_NAMES, "label")
    if text_at is None or label_at is None:
        text_at, label_at = _by_content(path, rows, names, text_at, label_at)
        print(f"columns     {shown(path)}: texts in {shown(names[text_at])}, labels in {shown(names[label_at])}")
        if _is_header(rows, label_at):
            print(f"left out    the first row of {shown(path)}, whose label occurs nowhere else: {shown(str(rows[0]))}")
            rows = rows[1:]
    if text_at == label_at:
        raise ValueError(f"{shown(path)}: text and label cannot be in the same column ({names[text_at]})")
    return [(_cell(row[text_at]), _cell(row[label_at])) for row in rows]


def _table(path: Path, wanted: Sequence[str]) -> tuple[list[list[Any]], list[str]]:
    """The rows of a table and the names of its columns."""
    text = read_text_file(path)
    if suffix_of(path) in (".jsonl", ".json", ".ndjson"):
        return _json_rows(path, text)
    return _table_rows(path, text, wanted)


def _is_header(rows: Sequence[Sequence[Any]], label_at: int) -> bool:
    """Whether the first row is probably a header: its label occurs nowhere else, and all others occur twice or more."""
    first, *others = Counter(_cell(row[label_at]) for row in rows).items()
    return first[1] == 1 and len(others) > 1 and all(count > 1 for _, count in others)


def _longest(rows: Sequence[Sequence[Any]], columns: Iterable[int]) -> int:
    """The column with the most text."""
    return max(columns, key=lambda i: sum(len(str(row[i])) for row in rows))


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _json_rows(path: Path, text: str) -> tuple[list[list[Any]], list[str]]:
    """The objects of a file with one in each line, or of a JSON array."""
    example = '{"text": …, "label": …}'
    objects = [entry for _, entry in json_objects(text, shown(path), example)]
    if not objects:
        raise ValueError(f"{shown(path)} is empty")
    names = list(dict.fromkeys(name for entry in objects for name in entry))
    return [[entry.get(name, "") for name in names] for entry in objects], names


def _table_rows(path: Path, text: str, wanted: Sequence[str]) -> tuple[list[list[Any]], list[str]]:
    """The rows of a CSV or TSV file, and the names of its columns.

    The first row holds them if one is a ``wanted`` or a usual name. Otherwise, or if numbers are wanted, it is data.
    """
    first = text.split("\n", 1)[0]
    tabs = suffix_of(path) == ".tsv" or ("\t" in first and suffix_of(path) != ".csv")
    lines = io.StringIO(text)
    reader = csv.reader(lines, "excel-tab", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
    try:
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ValueError(f"{shown(path)} is not a table with {'tabs' if tabs else 'commas'} ({error})") from None
    if not rows:
        raise ValueError(f"{shown(path)} is empty")
    names = [name.strip() for name in rows[0]]
    width = len(names)
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            hint = "" if tabs or len(row) < width else ": a text that contains a comma needs quotes around it"
            raise ValueError(f"row {number} of {shown(path)} has {len(row)} columns, the first row has {width}{hint}")
    if any(name.isdigit() for name in wanted):  # columns by number: there is no header
        return rows, [str(n) for n in range(1, width + 1)]
    named = any(name.lower() in (*TEXT_NAMES, *LABEL_NAMES) or name in wanted for name in names)
    return (rows[1:], names) if named else (rows, [f"column {n}" for n in range(1, width + 1)])


def _column(path: Path, names: Sequence[str], wanted: str, known: Sequence[str], what: str) -> int | None:
    if wanted:
        if wanted not in names:
            raise ValueError(f"{shown(path)} has no column {wanted!r} for --{what}-column; it has {', '.join(names)}")
        return list(names).index(wanted)
    return next((i for name in known for i, own in enumerate(names) if own.lower() == name), None)


def _by_content(
    path: Path, rows: Sequence[Sequence[Any]], names: Sequence[str], text_at: int | None, label_at: int | None
) -> tuple[int, int]:
    """Find the columns by what is in them: labels occur often, texts are long."""
    columns = list(range(len(names)))
    if len(columns) < 2:
        hint = (
            "; columns are separated by commas (.csv) or tabs (.tsv)" if any(";" in str(row[0]) for row in rows) else ""
        )
        raise ValueError(f"{shown(path)} has only one column; a text and a label are needed{hint}")
    different = {i: len(Counter(str(row[i]) for row in rows)) for i in columns}
    if text_at is None:
        text_at = _longest(rows, [i for i in columns if i != label_at])
    if label_at is None:
        label_at = min((i for i in columns if i != text_at), key=lambda i: different[i])
    if different[label_at] > max(0.5 * len(rows), 2):
        raise ValueError(
            f"cannot find the labels in {shown(path)} (columns {', '.join(names)}): give --text-column and "
            f"--label-column, as names or as numbers"
        )
    return text_at, label_at
