"""Pairs and labelled texts from files: columns are found, and each fault has one clear message."""

import gzip

import numpy as np
import pytest

from numpylm.tasks.held_out import hold_out
from numpylm.tasks.labelled import labels_of, read_labelled
from numpylm.tasks.pairs import read_pairs
from numpylm.training.config import make_config


def pairs_of(path, *more, **options):
    return read_pairs(make_config({"task": "translation", "data": [str(path), *map(str, more)]} | options))


def test_tabs_and_more_columns_and_empty_lines(tmp_path, capsys):
    path = tmp_path / "pairs.tsv"
    path.write_text("a b\tc d\tCC-BY #1\n\n x \t y\n\tz\na b\tc d\tCC-BY #2\n", encoding="utf-8")
    assert pairs_of(path) == [("a b", "c d"), ("x", "y")]
    out = capsys.readouterr().out
    assert "2 pairs with an empty side" in out
    assert "1 pairs that occur twice" in out


def aligned(tmp_path, source, target, ending=""):
    files = []
    for name, text in (("s.en", source), ("t.de", target)):
        path = tmp_path / (name + ending)
        path.write_bytes(gzip.compress(text.encode()) if ending else text.encode())
        files.append(str(path))
    return read_pairs(make_config({"task": "translation", "source": files[0], "target": files[1]}))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_aligned_files(tmp_path, ending):
    assert aligned(tmp_path, "one\r\ntwo\r\n", "eins\nzwei", ending) == [("one", "eins"), ("two", "zwei")]


def test_files_of_different_length(tmp_path):
    with pytest.raises(ValueError, match=r"s\.en has 2 lines, .*t\.de 3: line n of one must be the translation"):
        aligned(tmp_path, "a\nb\n", "a\nb\nc\n")


def test_a_line_without_a_tab(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("a\tb\nc d\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2 of .*pairs\.tsv has no tab.*--source and --target"):
        pairs_of(path)


def test_a_damaged_gzip_file(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a\nb\n" * 1000)[:30])
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"a\nb\n"))
    config = make_config({"task": "translation", "source": str(tmp_path / "a.gz"), "target": str(tmp_path / "b.gz")})
    with pytest.raises(ValueError, match=r"a\.gz is not a complete gzip file"):
        read_pairs(config)


def test_nothing_is_left(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("a\tb\n\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has 1 pairs of sentences; training needs at least 2"):
        pairs_of(path)


EXAMPLES = [("where, is it?", "order"), ('say "hi"', "talk"), ("x", "order")]
FILES = {
    "named.csv": 'text,category\n"where, is it?",order\n"say ""hi""",talk\nx,order\n',
    "other.csv": 'id,label,sentence\n1,order,"where, is it?"\n2,talk,"say ""hi"""\n3,order,x\n',
    "no_header.tsv": 'where, is it?\torder\nsay "hi"\ttalk\nx\torder\n',
    "tabs.txt": 'where, is it?\torder\nsay "hi"\ttalk\nx\torder\n',
    "lines.jsonl": """{"intent": "order", "text": "where, is it?"}

{"text": "say \\"hi\\"", "intent": "talk"}
{"text": "x", "intent": "order"}
""",
}


@pytest.mark.parametrize("name", FILES)
def test_texts_and_labels_are_found(tmp_path, name):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    assert read_labelled([str(tmp_path / name)]) == EXAMPLES


def test_columns_that_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("label,text,x,y\n1,2,hello,a\n3,4,bye,b\n", encoding="utf-8")
    assert read_labelled([str(path)], "x", "y") == [("hello", "a"), ("bye", "b")]
    with pytest.raises(ValueError, match="has no column 'z' for --text-column; it has label, text, x, y"):
        read_labelled([str(path)], "z")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "text,label\na,b\nc\n", r"row 3 of .* has 1 columns, the first row has 2"),
        ("a.csv", "a\nb\n", "has only one column"),
        ("a.csv", "text,label\n,x\na,\n", "has no text with a label"),
        ("a.csv", "", "is empty"),
        ("a.csv", "a,1\nb,2\nc,3\nd,4\n", "cannot find the labels"),
        ("a.jsonl", '{"text": "a", "label": "b"}\n[1]\n', "line 2 of .* is not a JSON object"),
    ],
)
def test_broken_files_are_explained(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_labelled([str(tmp_path / name)])


def test_one_label_only():
    with pytest.raises(ValueError, match="all texts have the label 'a'"):
        labels_of([("x", "a"), ("y", "a")])


def test_equal_texts_are_never_on_both_sides():
    examples = [(f"text {n % 30}", n) for n in range(200)]
    train, val = hold_out(examples, 0.2, np.random.default_rng(0), lambda example: example[0], 100)
    assert {text for text, _ in train}.isdisjoint(text for text, _ in val)
    assert len(train) + len(val) == 200
    assert len({text for text, _ in val}) == 6


def test_a_first_line_that_names_the_columns_is_no_pair(tmp_path, capsys):
    path = tmp_path / "pairs.tsv"
    path.write_text("Source\ttarget\na\tb\nen\tto\n", encoding="utf-8")
    assert pairs_of(path) == [("a", "b"), ("en", "to")]
    assert "names the columns: Source, target" in capsys.readouterr().out


def test_a_header_without_known_names_is_found_by_its_label(tmp_path, capsys):
    rows = ["foo,bar", "a b c,x", "d e f,y", "g h i,x", "j k l,y", "m n o,x", "p q r,y"]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    assert read_labelled([str(path)])[0] == ("a b c", "x")
    assert "left out    the first row" in capsys.readouterr().out
    path.write_text("\n".join([*rows, "m n o,bar"]), encoding="utf-8")
    assert read_labelled([str(path)])[0] == ("foo", "bar")


def test_semicolons_and_a_comma_inside_a_text_are_explained(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("text;label\na;x\nb;y\n", encoding="utf-8")
    with pytest.raises(ValueError, match="separated by commas"):
        read_labelled([str(path)])
    path.write_text("text,label\na,b,x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="needs quotes around it"):
        read_labelled([str(path)])
