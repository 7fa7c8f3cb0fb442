"""chrF: cases that can be computed by hand, and what always holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.metrics import chrf
from numpylm.metrics.chrf import words_of


def test_precision_and_recall_are_averaged_over_lengths():
    # abc and abd: 2 of 3 characters match, 1 of 2 pairs (ab), 0 of 1 triples; they have no longer n-grams.
    result = chrf(["abc"], ["abd"])
    assert result.precision == result.recall == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    assert result.score == pytest.approx(result.precision)


def test_recall_counts_more_than_precision():
    # ab and abc: all of ab is right, but of abc 2 of 3 characters and 1 of 2 pairs are found. ab has no triple.
    P, R = 1, (2 / 3 + 1 / 2) / 2
    assert chrf(["ab"], ["abc"]).score == pytest.approx(100 * 5 * P * R / (4 * P + R))
    assert chrf(["ab"], ["abc"], beta=1).score == pytest.approx(100 * 2 * P * R / (P + R))
    assert chrf(["ab"], ["abc"]).score < chrf(["abc"], ["ab"]).score


def test_white_space_does_not_count_but_case_does():
    assert chrf(["a b\tc"], ["ab c"]).score == pytest.approx(100)
    assert chrf(["ABC"], ["abc"]).score == 0
    assert chrf(["ABC"], ["abc"], lowercase=True).score == pytest.approx(100)


def test_the_best_of_several_references_counts():
    assert chrf(["abcd"], [["xyz", "abcd"]]).score == pytest.approx(100)


def test_word_ngrams_see_where_words_end():
    # Without white space both are abc, so all characters, pairs and triples match, and of the words none.
    assert chrf(["a bc"], ["ab c"], word_order=1).score == pytest.approx(100 * 3 / 4)


def test_one_sign_of_punctuation_is_split_off():
    assert words_of("(hi) 'tis, a ! x..") == ["(hi", ")", "'tis", ",", "a", "!", "x.", "."]
    assert words_of('"so') == ['"', "so"]


def test_counts_are_summed_before_they_are_divided():
    # 1 + 0 of 1 + 3 characters match. Only the second sentence has pairs and triples, and none match.
    assert chrf(["a", "bcd"], ["a", "xyz"]).precision == pytest.approx(100 * (1 / 4 + 0 + 0) / 3)


def test_ngrams_that_a_short_reference_cannot_have_are_not_held_against_a_hypothesis():
    # The pairs and triples of abc are not counted, because its reference is a single character.
    assert chrf(["abc", "de"], ["a", "de"]).precision == pytest.approx(100 * (3 / 5 + 1) / 2)


def test_empty_sentences_score_zero():
    assert chrf([""], [""]).score == chrf([""], ["a"]).score == chrf(["a"], [""]).score == 0


sentences = st.lists(st.text("abc .", max_size=12), min_size=1, max_size=4)


@given(sentences, sentences)
def test_scores_lie_in_0_to_100_and_equal_texts_score_100(a, b):
    n = min(len(a), len(b))
    result = chrf(a[:n], b[:n], word_order=2)
    assert 0 <= result.score <= 100 + 1e-9
    assert min(result.precision, result.recall) - 1e-9 <= result.score <= max(result.precision, result.recall) + 1e-9
    if "".join(a).strip():
        assert chrf(a, a, word_order=2).score == pytest.approx(100)


def test_name_and_signature_say_how_it_was_computed():
    result = chrf(["a"], ["a"], word_order=2, lowercase=True)
    assert (result.name, result.signature) == ("chrF2++", "nrefs:1|case:lc|eff:yes|nc:6|nw:2|space:no")
    assert chrf(["a"], ["a"]).name == "chrF2"


@pytest.mark.parametrize("options", [{"word_order": -1}, {"char_order": 0}, {"beta": 0}, {"word_order": 1.5}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a whole number of at least"):
        chrf(["a"], ["a"], **options)
