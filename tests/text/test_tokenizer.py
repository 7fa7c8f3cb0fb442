"""Byte-level BPE: what it learns, that encoding loses nothing, and that bad input is explained."""

import itertools
import json
import re
from unittest import mock

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from numpylm import CharTokenizer, Tokenizer
from numpylm.text.any_tokenizer import load_tokenizer
from numpylm.text.bpe import LONG_WORD, apply_merges, learn_merges, merge_by_heap, merge_by_scanning
from numpylm.text.pretokenize import ASCII_PATTERN, BLOCK, GPT2_PATTERN, blocks, chunk_finder
from numpylm.text.tokenizer_files import byte_letters

TEXT = "the cat sat on the mat, the cat ate the rat. Émile a vu l'été; 漢字 漢字 🙂🙂\n\n  x = x + 1\n" * 3
TRICKY = [
    "",
    " ",
    "\n",
    "a  b",
    "\r\n\t",
    "\x00\x1f\x7f",
    "don't I'll",
    "漢字かな",
    "🙂👩‍👩‍👧",
    "é" * 50,
    "e\u0301",
    "<|endoftext|>",
]


@pytest.fixture(scope="module")
def tok():
    return Tokenizer.train(TEXT, 320)


def merge_slowly(word, ranks):
    """The definition: look at all pairs, merge the leftmost of lowest rank, start over."""
    ids = list(word)
    while pairs := [(ranks[p][0], i) for i, p in enumerate(itertools.pairwise(ids)) if p in ranks]:
        _, i = min(pairs)
        ids[i : i + 2] = [ranks[ids[i], ids[i + 1]][1]]
    return ids


def learn_slowly(words, next_id, count):
    """The definition: count all pairs again for each merge; the smaller pair wins a tie."""
    words = {tuple(word): n for word, n in words.items()}
    merges = []
    for new in range(next_id, next_id + count):
        pairs = {}
        for word, n in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] = pairs.get(pair, 0) + n
        best = min(pairs, key=lambda p: (-pairs[p], p), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        merged = {}
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i : i + 2] == best:
                    out.append(new)
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + n
        words = merged
    return merges


small_words = st.dictionaries(
    st.lists(st.integers(0, 3), min_size=1, max_size=9).map(tuple), st.integers(1, 5), min_size=1, max_size=8
)


@settings(deadline=None)
@given(small_words)
def test_incremental_learning_gives_what_counting_anew_gives(words):
    assert learn_merges(words, 4, 12) == learn_slowly(words, 4, 12)


@settings(deadline=None)
@given(small_words, st.lists(st.integers(0, 3), max_size=40))
def test_applying_merges_gives_what_the_definition_gives(words, word):
    merges = learn_merges(words, 4, 12)
    expected = merge_slowly(word, {pair: (rank, 4 + rank) for rank, pair in enumerate(merges)})
    ranks, made = {pair: rank for rank, pair in enumerate(merges)}, list(range(4, 16))
    for merge in (merge_by_scanning, merge_by_heap, apply_merges):
        assert merge(list(word), ranks, made) == expected


def test_words_of_any_length_are_merged_alike():
    rng = np.random.default_rng(0)
    merges = learn_merges({tuple(rng.integers(0, 4, 200).tolist()): 1}, 4, 60)
    ranks, made = {pair: rank for rank, pair in enumerate(merges)}, list(range(4, 64))
    for length in (*range(6), LONG_WORD - 1, LONG_WORD, LONG_WORD + 1, 500):
        word = rng.integers(0, 4, length).tolist()
        assert apply_merges(word, ranks, made) == merge_slowly(word, {p: (r, 4 + r) for p, r in ranks.items()})


# Where ASCII ends, where GPT-2's white space and re's differ (U+001C to U+001F, U+0085), apostrophes, and numbers of
# other kinds: what the two ways of splitting could see differently.
EDGES = "'sdmtlverST019 \t\n\x0b\x0c\r\x1c\x1f\x7f\x85\xa0_-é²½Ⅷ\u2003\u3000中"


@settings(deadline=None)
@given(st.text(st.sampled_from(EDGES) | st.characters(codec="utf-8"), max_size=60), st.integers(1, 9))
def test_chunks_are_those_of_gpt2s_pattern_however_a_text_is_cut_into_pieces(text, size):
    expected = regex.findall(GPT2_PATTERN, text)
    assert list(chunk_finder(GPT2_PATTERN)(text)) == expected
    with mock.patch("numpylm.text.pretokenize.PIECE", size):
        assert list(chunk_finder(GPT2_PATTERN)(text)) == expected


def test_the_ascii_pattern_is_gpt2s_on_all_of_ascii():
    rng = np.random.default_rng(0)
    for _ in range(20):
        text = "".join(map(chr, rng.integers(0, 128, 5000)))
        assert re.findall(ASCII_PATTERN, text) == regex.findall(GPT2_PATTERN, text)


@settings(deadline=None)
@given(st.text())
def test_any_text_survives(text):
    tok = Tokenizer.train(TEXT, 300)
    assert tok.decode(tok.encode(text)) == text
    assert tok.decode(tok.encode(text, allow_special=True)) == text


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_texts_survive(tok, text):
    assert tok.decode(tok.encode(text)) == text


def test_a_worked_example():
    tok = Tokenizer.train("low lower lowest low low", vocab_size=260)
    assert [tok.decode([i]) for i in tok.encode("lowest")] == ["low", "e", "s", "t"]
    assert tok.merges == [(b"l", b"o"), (b"lo", b"w"), (b" ", b"low")]


def test_training_does_not_depend_on_the_order_of_documents():
    documents = TEXT.split("\n")
    forward, backward = Tokenizer.train(documents, 300), Tokenizer.train(documents[::-1], 300)
    assert forward.merges == backward.merges


def test_special_tokens_are_only_recognized_when_allowed(tok):
    text = "cat<|endoftext|>mat"
    assert tok.end_id not in tok.encode(text)
    ids = tok.encode(text, allow_special=True)
    assert ids == [*tok.encode("cat"), tok.end_id, *tok.encode("mat")]
    assert tok.decode(ids) == tok.decode(tok.encode(text)) == text


def test_the_longer_of_two_special_tokens_wins():
    tok = Tokenizer.train("aa aa", 260, special_tokens=("<a>", "<a><b>"))
    assert tok.encode("<a><b><a>", allow_special=True) == [tok.special_tokens["<a><b>"], tok.special_tokens["<a>"]]


def test_special_tokens_in_the_text_are_not_learned_from():
    tok = Tokenizer.train("ab<|endoftext|>" * 50, 300)
    assert all(b"<" not in token and b"end" not in token for token in tok.vocab if len(token) > 1)


def test_save_and_load(tok, tmp_path):
    tok.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]
    again = load_tokenizer(tmp_path)
    assert isinstance(again, Tokenizer)
    assert (again.vocab, again.merges, again.special_tokens) == (tok.vocab, tok.merges, tok.special_tokens)
    for text in TRICKY:
        assert again.encode(text) == tok.encode(text)


def test_another_pattern_is_saved_too(tmp_path):
    tok = Tokenizer.train("ab ab ab", 260, pattern=r"\S+|\s+")
    tok.save(tmp_path)
    assert Tokenizer.load(tmp_path).pattern == r"\S+|\s+"
    Tokenizer.train("ab ab ab", 260).save(tmp_path)
    assert Tokenizer.load(tmp_path).pattern == GPT2_PATTERN


def test_ids_of_bytes_are_gpt2s():
    tok = Tokenizer.train("ab", 257)
    assert (tok.vocab[b"!"], tok.vocab[b"a"], tok.vocab[b" "], tok.vocab[b"\n"]) == (0, 64, 220, 198)
    assert byte_letters()[0x20] == "Ġ"


def test_lone_surrogates_get_a_clear_error(tok):
    with pytest.raises(ValueError, match=r"lone surrogate, U\+D83D, at position 6"):
        tok.encode("smile \ud83d")
    with pytest.raises(ValueError, match="lone surrogate"):
        Tokenizer.train("a\udc00", 300)


@pytest.mark.parametrize("token", [-1, 320, 10**9])
def test_ids_outside_the_vocabulary_are_named(tok, token):
    with pytest.raises(ValueError, match=f"id {token} is outside"):
        tok.decode([token])


def test_half_a_character_decodes_to_a_replacement(tok):
    assert tok.decode([tok.vocab[b"\xf0"]]) == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        tok.decode([tok.vocab[b"\xf0"]], errors="strict")


@pytest.mark.parametrize("size", [0, 256])
def test_too_small_a_vocabulary_is_refused(size):
    with pytest.raises(ValueError, match="at least 257"):
        Tokenizer.train("text", size)


@pytest.mark.parametrize("text", ["", [], ["", ""]])
def test_empty_text_is_refused(text):
    with pytest.raises(ValueError, match="empty text"):
        Tokenizer.train(text, 300)


def test_a_short_text_gives_fewer_tokens():
    assert Tokenizer.train("ab ab", 1000).vocab_size == 256 + 1 + 1  # "ab" occurs twice, " ab" once


def test_long_words_and_many_chunks_are_quick(tok):
    text = "ab" * 100_000 + "漢" * 50_000
    assert tok.decode(tok.encode(text)) == text


@pytest.mark.slow
def test_blocks_of_a_long_text_are_cut_where_chunks_begin():
    text = ("word  two\n\n three\t\n" * (BLOCK // 8))[: 3 * BLOCK]
    parts = list(blocks(text, GPT2_PATTERN))
    assert len(parts) > 1
    assert "".join(parts) == text
    import regex

    whole = regex.findall(GPT2_PATTERN, text)
    assert [chunk for block in parts for chunk in regex.findall(GPT2_PATTERN, block)] == whole


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "{", "not valid JSON"),
        ("vocab.json", "[1]", "object of token -> id"),
        ("vocab.json", '{"a": 0, "b": 2}', "each once"),
        ("merges.txt", "#version: 0.2\na b c\n", "line 2: expected two tokens"),
        ("merges.txt", "z q\n", "no id for 1 tokens"),
        ("merges.txt", "z zz\n", "line 1: merges a token that is not made before, 'zz'"),
        ("pattern.txt", "(a", "is not a regular expression"),
        ("pattern.txt", "(a)|.", r"has groups \(...\): write them"),
        ("added_tokens.json", '{"": 303}', "must not be empty"),
        ("merges.txt", b"\xff", "not UTF-8"),
    ],
)
def test_broken_files_are_explained(tok, tmp_path, name, content, message):
    tok.save(tmp_path)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vocab\.json is missing"):
        load_tokenizer(tmp_path)


def test_a_merge_of_what_is_not_made_yet_is_refused(tok, tmp_path):
    tok.save(tmp_path)
    lines = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()
    deep = next(i for i, line in enumerate(lines[1:], 1) if len(line.split(" ")[0]) > 1)
    lines[1], lines[deep] = lines[deep], lines[1]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: merges a token that is not made before"):
        Tokenizer.load(tmp_path)


def test_character_tokenizer(tmp_path):
    tok = CharTokenizer.train("hello wörld", special_tokens=("<|endoftext|>",))
    assert tok.vocab_size == len(set("hello wörld")) + 1
    assert tok.decode(tok.encode("wörld")) == "wörld"
    assert tok.encode("h<|endoftext|>", allow_special=True)[-1] == tok.end_id
    tok.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, CharTokenizer)
    assert again.encode("hello") == tok.encode("hello")
    with pytest.raises(ValueError, match=r"'Z' \(U\+005A, first at position 2\)"):
        tok.encode("heZ")
    with pytest.raises(ValueError, match="outside"):
        tok.decode([99])


def test_character_tokenizer_keeps_the_commonest():
    assert CharTokenizer.train("aaabbc", 2).characters == "ab"


def test_files_are_readable_json(tok, tmp_path):
    tok.save(tmp_path)
    vocab = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert vocab["Ġthe"] == tok.encode(" the")[0]
