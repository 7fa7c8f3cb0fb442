"""Reading, cleaning, splitting, batching: nothing lost, nothing leaked, nothing counted twice."""

import numpy as np
import pytest

from numpylm import Tokenizer
from numpylm.text.any_tokenizer import token_dtype
from numpylm.text.cleaning import clean
from numpylm.text.data import (
    document_starts,
    encode_documents,
    fits_documents,
    join_documents,
    random_batch,
    read_documents,
    sequential_batches,
    split_documents,
)
from numpylm.text.train_val_split import split_train_val
from numpylm.training.baselines import bigram_loss, unigram_loss


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def test_reading_a_file_several_and_a_folder(tmp_path):
    a = write(tmp_path / "a.txt", "one\r\ntwo")
    b = write(tmp_path / "deep" / "b.md", "\ufeffthree<|endoftext|>\nfour\n<|endoftext|>\n")
    write(tmp_path / "picture.png", b"\xff")
    assert read_documents([a]) == ["one\ntwo"]
    assert read_documents([b, a]) == ["three", "four", "one\ntwo"]
    assert read_documents([tmp_path]) == ["one\ntwo", "three", "four"]


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "no such file"),
        (b"ok\n\xe9t\xe9", ValueError, r"not UTF-8 text: byte 0xe9 at offset 3 \(line 2\)"),
        ("  \n ", ValueError, "no text"),
        ("<|endoftext|>", ValueError, "no text"),
    ],
)
def test_unreadable_files_are_explained(tmp_path, content, error, message):
    path = tmp_path / "a.txt"
    if content is not None:
        write(path, content)
    with pytest.raises(error, match=message):
        read_documents([path])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \.txt"):
        read_documents([tmp_path])


def test_joined_documents_split_again():
    documents = ["one", "two\nlines", "three"]
    assert split_documents(join_documents(documents)) == documents


@pytest.mark.parametrize(
    ("step", "before", "after", "count"),
    [
        ("unicode", ["e\u0301", "é"], ["é", "é"], 1),
        ("control", ["a\x00b\x07\tc\nd\ufeff"], ["ab\tc\nd"], 3),
        ("whitespace", ["a   b  \n\n\n\n    c d\n"], ["a b\n\n    c d"], 3),
        ("repeated_lines", ["x\n---\n---\n---\n\n\ny"], ["x\n---\n\n\ny"], 2),
        ("repeated_documents", ["a b", "c", "a  b "], ["a b", "c"], 1),
    ],
)
def test_each_cleaning_step_does_and_counts_what_it_says(step, before, after, count):
    documents, report = clean(before, [step])
    assert documents == after
    assert (report[0].step, report[0].count) == (step, count)


def test_cleaning_all_in_order_and_dropping_what_is_empty():
    documents, report = clean(["\x00", "text"], ["all"])
    assert documents == ["text"]
    assert [entry.step for entry in report][-1] == "empty"
    assert report[-1].count == 1


def test_indentation_of_code_survives_cleaning():
    code = "def f(x):\n    if x:\n        return  1"
    assert clean([code], ["all"])[0] == ["def f(x):\n    if x:\n        return 1"]


def test_unknown_cleaning_steps_are_named():
    with pytest.raises(ValueError, match="unknown cleaning step 'spelling'"):
        clean(["a"], ["spelling"])


def test_split_keeps_equal_documents_together():
    documents = [f"document {i % 20}" for i in range(100)]
    for seed in range(20):
        train, val = split_train_val(documents, 0.2, np.random.default_rng(seed))
        assert train
        assert val
        assert not set(train) & set(val)
        assert sorted(train + val) == sorted(documents)
        assert 0.1 < len(val) / 100 < 0.3


def test_split_of_one_text_is_at_its_end():
    train, val = split_train_val(["0123456789" * 10], 0.1, np.random.default_rng(0))
    assert (train, val) == (["0123456789" * 9], ["0123456789"])


def test_validation_text_has_an_upper_limit():
    train, val = split_train_val(["0123456789" * 10], 0.5, np.random.default_rng(0), max_val=20)
    assert (len(train[0]), len(val[0])) == (80, 20)
    documents = [f"{i:010}" for i in range(100)]
    assert len(split_train_val(documents, 0.5, np.random.default_rng(0), max_val=70)[1]) == 7


@pytest.mark.parametrize("documents", [["ab", "cd"], ["ab", "cd" * 100], ["a"] * 5 + ["b"]])
def test_both_sides_of_a_small_split_have_something(documents):
    for seed in range(10):
        train, val = split_train_val(documents, 0.1, np.random.default_rng(seed))
        assert train
        assert val


def test_books_and_a_note_give_a_validation_text_of_the_wanted_size():
    note, *books = "ab", "0123456789" * 300, "9876543210" * 200
    for seed in range(10):
        train, val = split_train_val([note, *books], 0.1, np.random.default_rng(seed))
        assert sum(map(len, val)) >= 500
        assert sum(map(len, train + val)) == 5002
        if note in val:
            assert (train[0], val[1]) == (books[0][:-498], books[0][-498:])


def test_a_text_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="too short"):
        split_train_val(["a"], 0.1, np.random.default_rng(0))


@pytest.fixture(scope="module")
def tok():
    return Tokenizer.train("some words and some more words " * 4, 280)


def test_tokens_have_an_end_mark_around_each_document(tok):
    tokens = encode_documents(["some", "more words"], tok)
    end = tok.end_id
    assert tokens.tolist() == [end, *tok.encode("some"), end, *tok.encode("more words"), end]
    assert tokens.dtype == np.uint16


def test_every_id_of_a_vocabulary_fits_the_dtype_of_its_tokens():
    for size in (2**16, 2**16 + 1):
        assert np.iinfo(token_dtype(size)).max >= size - 1
    assert token_dtype(2**16) == np.uint16


def test_many_tokens_go_to_a_mapped_file(tok, tmp_path):
    documents = [f"some words {i}" for i in range(300)]
    inside = encode_documents(documents, tok, tmp_path)
    outside = encode_documents(documents, tok, tmp_path, in_memory=1000)
    assert isinstance(outside, np.memmap)
    assert not isinstance(inside, np.memmap)
    np.testing.assert_array_equal(inside, outside)


def test_a_mapped_file_is_written_once_and_leaves_nothing(tok, tmp_path):
    """A second training run in the same folder rewrote train.bin, and the first one died of a bus error."""
    first = encode_documents(["some words"] * 300, tok, tmp_path, in_memory=1000)
    before = first.copy()
    second = encode_documents(["other words here"] * 300, tok, tmp_path, in_memory=1000)
    assert isinstance(second, np.memmap)
    np.testing.assert_array_equal(first, before)
    with pytest.raises(ValueError, match="lone surrogate"):
        encode_documents(["some words"] * 300 + ["\ud800"], tok, tmp_path, in_memory=1000)
    del first, second
    assert list(tmp_path.iterdir()) == []


def test_random_batches_are_shifted_by_one_and_repeatable():
    tokens = np.arange(100, dtype=np.uint16)
    ids, targets = random_batch(tokens, 4, 10, np.random.default_rng(0))
    assert ids.shape == targets.shape == (4, 10)
    np.testing.assert_array_equal(targets, ids + 1)
    again, _ = random_batch(tokens, 4, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(ids, again)


def test_random_batches_reach_the_first_and_the_last_token():
    tokens = np.arange(13)
    rng = np.random.default_rng(0)
    seen = [random_batch(tokens, 8, 10, rng) for _ in range(30)]
    assert min(ids.min() for ids, _ in seen) == 0
    assert max(targets.max() for _, targets in seen) == 12


def test_too_few_tokens_for_a_window_are_explained():
    with pytest.raises(ValueError, match="has 10 tokens, a window needs block_size \\+ 1 = 11"):
        random_batch(np.arange(10), 1, 10, np.random.default_rng(0))


END = 0
LENGTHS = [3, 9, 1, 5, 30, 2, 7]
DOCS = np.concatenate([[END]] + [[*range(100 * i + 1, 100 * i + n + 1), END] for i, n in enumerate(LENGTHS)])


@pytest.mark.parametrize("block_size", [1, 2, 7, 10, 11, 64, 500])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_sequential_batches_count_every_token_once(block_size, batch_size, aligned):
    starts = document_starts(DOCS, END) if aligned else None
    counted = []
    for ids, targets in sequential_batches(DOCS, batch_size, block_size, starts):
        assert ids.shape == targets.shape
        assert ids.shape[1] <= block_size
        for row, wanted in zip(ids, targets, strict=True):
            keep = wanted >= 0
            np.testing.assert_array_equal(wanted[keep][:-1], row[keep][1:])
            counted += wanted[keep].tolist()
    assert counted == DOCS[1:].tolist()


@pytest.mark.parametrize(("block_size", "stride"), [(1, 1), (7, 1), (7, 3), (12, 6), (64, 10)])
@pytest.mark.parametrize("aligned", [True, False])
def test_windows_that_overlap_count_every_token_once_with_context(block_size, stride, aligned):
    starts = document_starts(DOCS, END) if aligned else None
    counted = []
    for ids, targets in sequential_batches(DOCS, 2, block_size, starts, stride=stride):
        for row, wanted in zip(ids, targets, strict=True):
            places = np.flatnonzero(wanted >= 0)
            first = len(counted) + 1  # where the first counted target stands in all tokens
            np.testing.assert_array_equal(row[: places[0] + 1], DOCS[first - places[0] - 1 : first])
            inside = aligned and row[0] == END  # a document's beginning: nothing before it is wanted
            assert inside or first <= block_size or places[0] + 1 > block_size - stride
            assert not aligned or END not in row[1 : places[0] + 1]  # of other documents nothing is read again
            counted += wanted[places].tolist()
    assert counted == DOCS[1:].tolist()


def test_aligned_windows_show_documents_from_their_beginning():
    starts = document_starts(DOCS, END)
    for ids, targets in sequential_batches(DOCS, 1, 12, starts):
        for place in np.flatnonzero(targets[0] % 100 > 1):  # a token inside a document
            before = ids[0, : place + 1]
            document = targets[0, place] // 100
            fits = LENGTHS[document] + 1 <= 12
            assert not fits or END in before[-(targets[0, place] % 100) :]


def test_random_windows_begin_with_documents_if_told_to():
    starts = document_starts(DOCS, END)
    ids, targets = random_batch(DOCS, 50, 12, np.random.default_rng(0), starts)
    assert (ids[:, 0] == END).all()
    last = targets[ids[:, 1] == 601][0]  # the last document is shorter than the window
    assert last[:8].tolist() == [601, 602, 603, 604, 605, 606, 607, END]
    assert (last[8:] == -100).all()


def test_windows_begin_with_documents_where_they_fit():
    assert fits_documents(DOCS, 31, END)
    assert not fits_documents(DOCS, 10, END)
    assert not fits_documents(DOCS, 31, None)
    assert not fits_documents(np.array([END, 1, 2, END]), 31, END)


def test_baselines_of_a_text_that_alternates():
    tokens = np.array([0, 1] * 500)
    assert unigram_loss(tokens, tokens, 2) == pytest.approx(np.log(2), rel=1e-3)
    assert bigram_loss(tokens, tokens, 2) == pytest.approx(0, abs=2e-3)


def test_baselines_are_finite_for_tokens_never_seen():
    train, val = np.array([0, 1, 0, 1]), np.array([2, 3, 2])
    assert np.isfinite([unigram_loss(train, val, 4), bigram_loss(train, val, 4)]).all()


def test_bigram_probabilities_sum_to_one():
    train = np.array([0, 1, 2, 1, 0, 0, 2])
    for u in range(4):
        total = sum(np.exp(-bigram_loss(train, np.array([u, v]), 4)) for v in range(4))
        assert total == pytest.approx(1)
