"""WordPiece: how words are found and cut into pieces, which special tokens there are, and what decoding gives."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.bert_words import BertWords
from numpylm.text.wordpiece import WordPiece, longest_pieces
from numpylm.text.wordpiece_files import SPECIAL

PIECES = [
    "the",
    "cat",
    "un",
    "##aff",
    "##able",
    "##a",
    "##s",
    "don",
    "t",
    "'",
    ".",
    ",",
    "!",
    "[",
    "]",
    "sep",
    "漢",
    "字",
]
PIECES += ["e", "##e", "i", "##l", "a", "b", "ab", "##b", "σ", "ς", "\u0301", "##\u0301", "s", "ss", "x", "##x"]
TOKENS = [*SPECIAL.values(), *PIECES]
# Where rules meet: letters with accents, marks, Chinese, white space and control characters of all kinds, punctuation.
EDGES = (
    "aAbéÉ\u0301\u0327İΣς漢豈\U00020000か한 \t\n\r\xa0\u2028\u3000\x00\x0b\x0c\x1c\x85\u200d\ufffd\ue000!$.'-—\u037e。ﬁ"
)

some_text = st.text(st.sampled_from(EDGES) | st.characters(codec="utf-8"), max_size=40)
all_words = st.builds(BertWords, st.booleans(), st.sampled_from([None, True, False]), st.booleans())


@pytest.fixture(scope="module")
def wordpiece() -> TextTokenizer:
    return WordPiece(TOKENS)


def pieces(tokenizer, text, **options):
    return [tokenizer.tokens[i] for i in tokenizer.encode(text, **options)]


# ------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  Hello\tWorld\n", ["hello", "world"]),
        ("don't stop...", ["don", "'", "t", "stop", ".", ".", "."]),
        ("a$b^c`d|e~f", ["a", "$", "b", "^", "c", "`", "d", "|", "e", "~", "f"]),  # symbols, for Unicode
        ("Ünïcode e\u0301", ["unicode", "e"]),
        ("漢字かな", ["漢", "字", "かな"]),
        ("豈", ["豈"]),  # a compatibility ideograph, of which NFD makes another one
        ("a\x00b\x0bc\x85d\u200de\ufffdf\ue000g", ["abcdefg"]),  # form feeds and U+0085 are dropped, too
        ("a\u00a0b\u2028c\u3000d", ["a", "b", "c", "d"]),
        ("ΟΔΟΣ İI ẞ", ["οδοσ", "ii", "ß"]),
        ("한", ["\u1112\u1161\u11ab"]),  # NFD takes syllables apart
        ("\u037e\u1fef", [";", "`"]),  # become punctuation in NFD
        ("", []),
        (" \u0301 ", []),
    ],
)
def test_words_of_an_uncased_model(text, words):
    assert BertWords().split(text) == words


def test_each_setting_changes_only_its_rule():
    text = "É漢b İ"
    assert BertWords(do_lower_case=False).split(text) == ["É", "漢", "b", "İ"]
    assert BertWords(do_lower_case=False, strip_accents=True).split(text) == ["E", "漢", "b", "I"]
    assert BertWords(strip_accents=False).split(text) == ["é", "漢", "b", "i\u0307"]
    assert BertWords(tokenize_chinese_chars=False).split(text) == ["e漢b", "i"]


@settings(deadline=None)
@given(some_text, all_words, st.integers(1, 9))
def test_words_of_the_chunks_are_the_words_of_the_text(text, words, size):
    with mock.patch("numpylm.text.bert_words.BLOCK", size):
        chunks = [chunk for block in words.chunks(text) for chunk in block]
    assert [word for chunk in chunks for word in words.split(chunk)] == words.split(text)


@settings(deadline=None)
@given(some_text, all_words)
def test_spaces_around_a_text_and_a_second_pass_change_no_word(text, words):
    found = words.split(text)
    assert words.split(f"\n {text}\t") == found
    if words.do_lower_case and words.strip_accents is not False:
        assert words.split(" ".join(found)) == found


# ------------------------------------------------------------------------------------------------ pieces


def cut_slowly(word, vocab):
    """The definition: of all pieces with which the rest begins, take the longest."""
    ids, rest, prefix = [], word, ""
    while rest:
        fitting = [token for token in vocab if token.startswith(prefix) and rest.startswith(token.removeprefix(prefix))]
        fitting = [token for token in fitting if len(token) > len(prefix)]
        if not fitting:
            return None
        best = max(fitting, key=len)
        ids.append(vocab[best])
        rest, prefix = rest[len(best) - len(prefix) :], "##"
    return ids


@given(
    st.lists(st.text("ab", min_size=1, max_size=4).flatmap(lambda t: st.sampled_from([t, f"##{t}"])), unique=True),
    st.text("ab", max_size=12),
)
def test_pieces_are_those_of_the_definition(tokens, word):
    vocab = {token: i for i, token in enumerate(tokens)}
    assert longest_pieces(word, vocab, max(map(len, tokens), default=0)) == cut_slowly(word, vocab)


def test_the_longest_piece_wins_and_a_word_with_an_unknown_rest_is_one_unknown_token(wordpiece):
    assert pieces(wordpiece, "The unaffable cats") == ["the", "un", "##aff", "##able", "cat", "##s"]
    assert pieces(wordpiece, "unaffablez cat") == ["[UNK]", "cat"]


def test_words_of_more_than_100_characters_are_unknown(wordpiece):
    assert pieces(wordpiece, "x" * 100) == ["x", *["##x"] * 99]
    assert pieces(wordpiece, "x" * 101) == ["[UNK]"]
    assert pieces(wordpiece, "x" * 100 + "\u0301" * 9) == ["x", *["##x"] * 99]  # accents do not count


def test_special_tokens_are_only_recognized_when_allowed(wordpiece):
    assert pieces(wordpiece, "the[SEP]cat") == ["the", "[", "sep", "]", "cat"]
    assert pieces(wordpiece, "the[SEP]cat [sep]", allow_special=True) == ["the", "[SEP]", "cat", "[", "sep", "]"]


def test_pairs_begin_with_cls_and_each_text_ends_with_sep(wordpiece):
    cls, sep = wordpiece.cls_id, wordpiece.sep_id
    the, cat = wordpiece.encode("the cat")
    assert wordpiece.encode_pair("the cat") == ([cls, the, cat, sep], [0, 0, 0, 0])
    assert wordpiece.encode_pair("the", "cat cat") == ([cls, the, sep, cat, cat, sep], [0, 0, 0, 1, 1, 1])
    assert wordpiece.encode_pair("", "") == ([cls, sep, sep], [0, 0, 1])
    assert "[SEP]" not in [wordpiece.tokens[i] for i in wordpiece.encode("[SEP]")]


def test_ids_of_special_tokens_are_those_of_their_names():
    special = {"cls_token": "<s>", "sep_token": "</s>"}
    tokenizer = WordPiece(["a", "</s>", "[MASK]", "<s>", "[UNK]", "[PAD]", "[Q]"], BertWords(), special, ["[Q]"])
    ids = (tokenizer.cls_id, tokenizer.sep_id, tokenizer.end_id, tokenizer.mask_id, tokenizer.unk_id, tokenizer.pad_id)
    assert ids == (3, 1, 1, 2, 4, 5)
    assert tokenizer.encode("a[Q]", allow_special=True) == [0, 6]
    assert tokenizer.encode_pair("a")[0] == [3, 0, 1]


def test_decoding_joins_pieces_and_drops_spaces_before_punctuation(wordpiece):
    text = "the cats, unaffable, don't."
    ids = wordpiece.encode(text)
    assert wordpiece.decode(ids) == text
    framed = [wordpiece.cls_id, *ids, wordpiece.sep_id]
    assert wordpiece.decode(framed) == text
    assert wordpiece.decode(framed, skip_special=False) == f"[CLS] {text} [SEP]"
    assert wordpiece.decode(np.array(ids)) == text
    assert wordpiece.decode([]) == ""


def test_bytes_of_tokens_put_together_are_the_text(wordpiece):
    ids = wordpiece.encode("the unaffable 漢")
    assert b"".join(map(wordpiece.token_bytes, ids)).decode("utf-8") == " the unaffable 漢"


@pytest.mark.parametrize("token", [-1, len(TOKENS), 10**9])
def test_ids_outside_the_vocabulary_are_named(wordpiece, token):
    with pytest.raises(ValueError, match=f"id {token} is outside"):
        wordpiece.decode([token])


def test_lone_surrogates_get_a_clear_error(wordpiece):
    with pytest.raises(ValueError, match=r"lone surrogate, U\+D83D, at position 8"):
        wordpiece.encode("the cat \ud83d")


def test_a_small_cache_gives_the_same_ids(wordpiece):
    text = "the cat ab unaffable é 漢字! " * 3
    with mock.patch("numpylm.text.wordpiece.CACHED_CHUNKS", 2):
        assert WordPiece(TOKENS).encode(text) == wordpiece.encode(text) == wordpiece.encode(text)


def test_wrong_special_tokens_are_refused():
    with pytest.raises(ValueError, match="'bos_token' is not a special token of BERT"):
        WordPiece(TOKENS, special={"bos_token": "the"})
    with pytest.raises(ValueError, match="'<x>' is not in the vocabulary"):
        WordPiece(TOKENS, more_special=["<x>"])
