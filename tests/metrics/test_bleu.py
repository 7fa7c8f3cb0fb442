"""BLEU: the examples of its paper and others that can be computed by hand, its tokenizers, and what always holds."""

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylm.metrics import bleu
from numpylm.metrics.bleu import brevity_penalty, closest_length, matches
from numpylm.metrics.bleu_tokenizers import TOKENIZERS, tokenize_13a, tokenize_char, tokenize_zh
from numpylm.metrics.ngrams import ngrams

# Examples 2 and 1 of Papineni et al. 2002, without periods and capitals.
THE = ["the"] * 7
MATS = ["the cat is on the mat", "there is a cat on the mat"]

CANDIDATES = [
    "it is a guide to action which ensures that the military always obeys the commands of the party",
    "it is to insure the troops forever hearing the activity guidebook that party direct",
]
GUIDES = [
    "it is a guide to action that ensures that the military will forever heed party commands",
    "it is the guiding principle which guarantees the military forces always being under the command of the party",
    "it is the practical guide for the army always to heed the directions of the party",
]


def split(texts):
    return [text.split() for text in texts]


def test_ngrams_of_a_short_text_are_none():
    assert ngrams(["a", "b", "a"], 2) == {("a", "b"): 1, ("b", "a"): 1}
    assert not ngrams("abc", 4)


def test_a_word_matches_at_most_as_often_as_in_one_reference():
    assert matches(THE, split(MATS), 1) == (2, 7)
    assert matches(THE, split(MATS[1:]), 1) == (1, 7)
    assert matches(THE, split(MATS), 2) == (0, 6)


def test_the_papers_precisions_of_unigrams_and_bigrams():
    assert [matches(words, split(GUIDES), 1) for words in split(CANDIDATES)] == [(17, 18), (8, 14)]
    assert [matches(words, split(GUIDES), 2) for words in split(CANDIDATES)] == [(10, 17), (1, 13)]


def test_a_score_by_hand():
    # 7 tokens with the period, and "a" is wrong. So 6 of 7 words are right, and all n-grams without "a": 4 of 6 pairs,
    # 2 of 5 triples (the cat sat, cat sat on), and 1 of 4 (the cat sat on).
    result = bleu(["The cat sat on a mat."], ["The cat sat on the mat."])
    assert result.precisions == pytest.approx((600 / 7, 400 / 6, 200 / 5, 100 / 4))
    assert result.score == pytest.approx(100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** (1 / 4))
    assert (result.brevity_penalty, result.hypothesis_length, result.reference_length) == (1, 7, 7)


def test_counts_are_summed_before_they_are_divided():
    result = bleu(["a b c d", "x"], ["a b c d", "y"])
    assert result.precisions == pytest.approx((80, 100, 100, 100))  # 4 of 5 words; the mean would be 50
    assert result.score == pytest.approx(100 * 0.8**0.25)


def test_short_texts_are_penalized_and_long_ones_are_not():
    assert brevity_penalty(9, 12) == math.exp(1 - 12 / 9)
    assert brevity_penalty(12, 12) == brevity_penalty(13, 12) == 1
    assert brevity_penalty(0, 12) == 0
    assert bleu(["a b c d"], ["a b c d e f"]).score == pytest.approx(100 * math.exp(1 - 6 / 4))


def test_the_closest_reference_counts_and_of_two_the_shorter():
    assert closest_length(10, [7, 12, 30]) == 12
    assert closest_length(10, [12, 8]) == 8


def test_precisions_of_zero_are_halved_from_one_to_the_next():
    # a b c d against a c b d: all 4 words match, but no longer n-gram: 1/(2 · 3), 1/(4 · 2), 1/(8 · 1).
    result = bleu(["a b c d"], ["a c b d"])
    assert result.precisions == pytest.approx((100, 100 / 6, 100 / 8, 100 / 8))
    assert bleu(["a b c d"], ["a c b d"], smooth="none").score == 0


def test_no_right_word_and_texts_below_four_words_score_zero():
    assert bleu(["a b c d"], ["e f g h"]).precisions == (0, 0, 0, 0)
    assert bleu(["a b c"], ["a b c"]).score == 0  # it has no 4-grams
    assert bleu([""], [""]).score == bleu([""], ["a"]).score == bleu(["a"], [""]).score == 0


def test_13a_separates_punctuation_but_not_inside_numbers():
    assert tokenize_13a('He said: "1,000.50 (5%)!"') == [
        "He",
        "said",
        ":",
        '"',
        "1,000.50",
        "(",
        "5",
        "%",
        ")",
        "!",
        '"',
    ]
    assert tokenize_13a("in 1999, 5. don't well-known 1990-95") == (
        ["in", "1999", ",", "5", ".", "don't", "well-known", "1990", "-", "95"]
    )
    assert tokenize_13a("a &amp;lt; b &quot;x&quot; <skipped>y") == ["a", "<", "b", '"', "x", '"', "y"]
    assert tokenize_13a("to-\nday\nnow") == ["today", "now"]


def test_chinese_characters_are_single_words_and_latin_ones_are_not():
    assert tokenize_zh("我喜欢New York 2.5，“好”…") == [*"我喜欢", "New", "York", "2.5", *"，“好”…"]
    assert tokenize_zh("第 5.") == ["第", "5."]  # unlike 13a: [..., "5", "."]
    assert tokenize_13a("Nr. 5.") == ["Nr", ".", "5", "."]
    assert tokenize_char("a b\u3000我.") == ["a", "b", "我", "."]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=st.text(st.sampled_from(string.printable + "我，é&"), max_size=40))
def test_no_tokenizer_makes_a_token_with_white_space_in_it(name, text):
    for token in TOKENIZERS[name](text):
        assert token.split() == [token]


texts = st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), min_size=1, max_size=5)


@given(texts)
def test_a_perfect_translation_scores_100_if_it_has_four_words(sentences):
    longest = max(len(sentence.split()) for sentence in sentences)
    assert bleu(sentences, sentences).score == pytest.approx(100 if longest >= 4 else 0)


@given(texts, texts)
def test_a_score_lies_in_0_to_100(hypotheses, references):
    n = min(len(hypotheses), len(references))
    assert 0 <= bleu(hypotheses[:n], references[:n]).score <= 100 + 1e-9


@given(texts, st.integers(1, 4))
def test_one_more_reference_never_takes_matches_away(sentences, n):
    candidate, *references = split([*sentences, "a b c d"])
    counts = [matches(candidate, references[:k], n)[0] for k in range(1, len(references) + 1)]
    assert counts == sorted(counts)


def test_the_signature_names_every_option():
    assert bleu(["a"], ["a"]).signature == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp"
    result = bleu(["a", "b"], [["a"], ["b", "c"]], tokenize="zh", lowercase=True, smooth="none")
    assert result.signature == "nrefs:var|case:lc|eff:no|tok:zh|smooth:none"


def test_case_is_ignored_only_on_request():
    assert bleu(["A B C D"], ["a b c d"]).score == 0
    assert bleu(["A B C D"], ["a b c d"], lowercase=True).score == pytest.approx(100)


@pytest.mark.parametrize(
    ("hypotheses", "references", "options", "message"),
    [
        ("a b", ["a b"], {}, r"hypotheses must be a list of sentences, got one text: 'a b'"),
        (["a b"], "a b", {}, "references must be a list"),
        (["a", "b"], [["a", "b"]], {}, r"got 2 hypotheses, but references for 1"),
        ([], [], {}, "no sentences"),
        (["a"], [[]], {}, "hypothesis 0 has no reference"),
        (["a", "b"], ["a", ["b", None]], {}, "sentence 1 must be a str, got None"),
        (["a"], ["a"], {"tokenize": "intl"}, "tokenize must be one of 13a, zh, char, none, got 'intl'"),
        (["a"], ["a"], {"smooth": "floor"}, "smooth must be exp or none"),
    ],
)
def test_bad_input_is_explained(hypotheses, references, options, message):
    with pytest.raises(ValueError, match=message):
        bleu(hypotheses, references, **options)
