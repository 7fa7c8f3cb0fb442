"""Pieces: together the text of generate_text, one for each token, and why the text ended."""

from types import SimpleNamespace

import numpy as np
import pytest

from numpylm.inference.generate_text import generate_text
from numpylm.inference.generation import generate
from numpylm.serving.text_pieces import text_pieces
from tests.serving.serving import tiny, words


@pytest.fixture(scope="module")
def tokenizer():
    return words()


@pytest.fixture(scope="module")
def gpt(tokenizer):
    gpt = tiny(tokenizer, 24)
    gpt.wte.weight.data[tokenizer.end_id] *= 2  # not always the last to come
    return gpt


@pytest.mark.slow
def test_the_pieces_are_those_of_generate_text_for_many_seeds_and_stop_strings(gpt, tokenizer):
    ends = set()
    for seed in range(60):
        stop = [[], ["e"], ["\ufffd"], ["ne", "th", " "]][seed % 4]
        ids = tokenizer.encode("one two")
        options = {"stop": stop, "temperature": 0.9}
        pieces = list(text_pieces(gpt, tokenizer, ids, 12, rng=np.random.default_rng(seed), **options))
        text = "".join(generate_text(gpt, tokenizer, "one two", 12, rng=np.random.default_rng(seed), **options))
        assert "".join(piece.text for piece in pieces) == text
        assert [piece.finish for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        tokens = list(
            generate(gpt, ids, 12, rng=np.random.default_rng(seed), temperature=0.9, stop_ids={tokenizer.end_id})
        )
        whole = tokenizer.decode(i for i in tokens if i != tokenizer.end_id)
        stopped = text != whole or tokens[-1] == tokenizer.end_id
        assert pieces[-1].finish == ("stop" if stopped else "length")
        assert len(pieces) == len(tokens) or (stop and len(pieces) < len(tokens))
        ends.add((pieces[-1].finish, len(pieces) == 12, bool(stop)))
    assert len(ends) >= 4  # texts that ended in all these ways were among them


def test_half_a_character_at_the_end_can_complete_a_stop_string(gpt, tokenizer):
    size = tokenizer.vocab_size
    one_byte = SimpleNamespace(vocab_size=size, end_id=None, token_bytes=lambda token: b"\xe6")
    (piece,) = text_pieces(gpt, one_byte, [1], 1, stop=["\ufffd"])
    assert piece == ("", "stop")
    (piece,) = text_pieces(gpt, one_byte, [1], 1)
    assert piece == ("\ufffd", "length")
