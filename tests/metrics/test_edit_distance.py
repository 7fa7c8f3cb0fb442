"""Edit distance against its definition, and error rates that can be counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.metrics import ErrorRate, cer, edit_distance, wer
from numpylm.metrics.edit_distance import edit_matrix, edits


def by_definition(a, b):
    """The recursion, without a table."""
    if not a or not b:
        return len(a) + len(b)
    replace = by_definition(a[:-1], b[:-1]) + (a[-1] != b[-1])
    return min(replace, by_definition(a[:-1], b) + 1, by_definition(a, b[:-1]) + 1)


short, long = st.text("abc", max_size=5), st.text("abcd", max_size=30)


@given(short, short)
def test_the_distance_is_that_of_the_definition(a, b):
    assert edit_distance(a, b) == by_definition(a, b)


@given(long, long, long)
def test_it_is_a_metric(a, b, c):
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_a_matrix_by_hand():
    # The reference ab (rows) and the hypothesis b (columns).
    assert edit_matrix("b", "ab").tolist() == [[0, 1], [1, 1], [2, 1]]


@given(long, long)
def test_the_edits_turn_the_reference_into_the_hypothesis_in_the_fewest_steps(hypothesis, reference):
    kinds, right, heard = edits(hypothesis, reference), iter(reference), iter(hypothesis)
    for kind in kinds:
        old = None if kind == "insertion" else next(right)
        new = None if kind == "deletion" else next(heard)
        assert (kind == "hit") == (old == new)
    assert [*right, *heard] == []
    assert len(kinds) - kinds.count("hit") == edit_distance(hypothesis, reference)


def test_items_may_be_of_any_kind():
    assert edit_distance([1, (2, 3), "x"], [1, "x"]) == 1


def test_each_kind_of_error_is_counted():
    # One word too many (well), one replaced (cat), and one missing (the second "the").
    result = wer(["well the dog sat on mat"], ["the cat sat on the mat"])
    assert result == ErrorRate(hits=4, substitutions=1, deletions=1, insertions=1)
    assert (result.errors, result.reference_length, result.rate) == (3, 6, 3 / 6)


def test_errors_are_summed_before_the_division():
    assert wer(["a b c d", "x"], ["a b c d", "y"]).rate == 1 / 5


def test_spaces_are_characters_but_do_not_make_words():
    assert wer(["  a   b "], ["a b"]).errors == 0
    assert cer([" ab "], ["a b"]) == ErrorRate(hits=2, substitutions=0, deletions=1, insertions=0)
    assert cer(["a  b"], ["a b"]).insertions == 1


def test_a_single_tab_is_part_of_a_word_and_two_are_not():
    assert wer(["a\tb"], ["a b"]).errors == 2
    assert wer(["a\t\tb"], ["a b"]).errors == 0


def test_a_rate_may_exceed_one():
    assert wer(["a b c"], ["x"]).rate == 3


def test_without_reference_words_the_rate_is_the_number_of_insertions():
    assert wer([""], [""]).rate == 0
    assert wer(["a b"], [" "]).rate == 2
    assert wer(["a b", "c"], ["", "c"]).rate == 2  # one reference word: 2 errors / 1


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ("a b", "a b", "must be a list of sentences"),
        (["a"], ["a", "b"], "got 1 hypotheses, but references for 2"),
        (["a"], [["a", "b"]], "needs one reference for each hypothesis, got 2"),
    ],
)
@pytest.mark.parametrize("metric", [wer, cer])
def test_bad_input_is_explained(metric, hypotheses, references, message):
    with pytest.raises(ValueError, match=message):
        metric(hypotheses, references)
