"""Packing texts into rows: nothing is lost or doubled, little room is left, and all texts are drawn equally often."""

import numpy as np
import pytest

from numpylm.text.packed_rows import PackedBatches, equally_full, pack, packed_rows, shared_out

LENGTHS = np.random.default_rng(0).integers(5, 41, 400)


def sums(rows, lengths=LENGTHS):
    return [int(lengths[row].sum()) for row in rows]


def test_every_text_is_in_one_row_and_hardly_any_room_is_left():
    rows = pack(LENGTHS, 64)
    assert sorted(n for row in rows for n in row) == list(range(400))
    assert max(sums(rows)) <= 64
    assert len(rows) <= 1.02 * LENGTHS.sum() / 64 + 1


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([3, 7, 5, 5], [[1, 0], [2, 3]]),
        ([10, 10], [[0], [1]]),
        ([6, 5, 4], [[0, 2], [1]]),  # 4 fits into both rows: it fills the first
        ([1], [[0]]),
    ],
)
def test_the_fullest_row_with_room(lengths, rows):
    assert pack(np.array(lengths), 10) == rows


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="a text of 11 tokens does not fit into a row of 10"):
        pack(np.array([3, 11]), 10)


def test_batches_draw_all_texts_equally_often_and_follow_the_seed():
    batches = PackedBatches(LENGTHS, 64, 1300, seed=1)
    assert batches.rows_in_batch == 20
    assert 0 <= batches.padding < 0.03
    counts = np.zeros(400)
    rng = np.random.default_rng(2)
    for _ in range(600):
        rows = batches.draw(rng)
        assert max(sums(rows)) <= 64
        texts = [n for row in rows for n in row]
        assert len(set(texts)) == len(texts)
        counts[texts] += 1
    for some in (LENGTHS < 20, LENGTHS > 30):  # short ones, long ones
        assert counts[some].mean() == pytest.approx(counts.mean(), rel=0.02)
    again = PackedBatches(LENGTHS, 64, 1300, seed=1)
    assert again.draw(np.random.default_rng(7)) == batches.draw(np.random.default_rng(7))
    assert PackedBatches(LENGTHS, 64, 1300, seed=3).rows != batches.rows


def test_fewer_texts_than_a_batch():
    batches = PackedBatches(np.array([3, 4, 2]), 10, 1000)
    assert batches.draw(np.random.default_rng(0)) == batches.rows
    assert batches.padding == 0


def test_workers_get_equally_many_rows():
    batches = PackedBatches(LENGTHS, 64, 640, workers=4)
    for seed in range(20):
        rows = batches.draw(np.random.default_rng(seed))
        assert len(rows) == 12  # 10 full ones
        assert max(sums(rows)) <= 64
    full = [[0, 1], [2]]
    lengths = np.array([5, 5, 10])
    assert shared_out(full, lengths, 10, 2) == full
    assert shared_out(full, lengths, 10, 3) == [[2], [0], [1]]
    assert shared_out(full, lengths, 10, 8) == full  # three texts cannot fill 8 rows


def test_equally_full_rows():
    rows, width = equally_full(np.array([5, 4, 3, 3, 3]), 2)
    assert rows == [[0, 3], [1, 2, 4]]
    assert width == 10


def test_ids_and_segments_of_rows():
    ids, segments = packed_rows([[np.array([5, 6]), np.array([7])], [np.array([8])]], -100)
    assert ids.tolist() == [[5, 6, 7], [8, -100, -100]]
    assert segments.tolist() == [[1, 1, 2], [1, 0, 0]]
