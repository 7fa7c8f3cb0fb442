"""Extraction: what is copied is counted exactly, from the first token after the prompt to the first that differs."""

import numpy as np
import pytest

from numpylm import GPT, CharTokenizer, GPTConfig
from numpylm.inference import extraction
from numpylm.inference.extraction import extract

TOK = CharTokenizer.train(["abcdefghx"], special_tokens=("<|endoftext|>",))


@pytest.fixture
def alphabet(monkeypatch):
    """A model that writes the next letter of the alphabet, and after h the end."""

    def generate_batch(gpt, prompts, count, temperature, stop_ids):
        assert temperature == 0
        assert all(prompt[0] == TOK.end_id for prompt in prompts)
        letters = TOK.encode("abcdefgh")
        out = []
        for prompt in prompts:
            rest = letters[letters.index(prompt[-1]) + 1 :][:count]
            out.append(rest if len(rest) == count else [*rest, TOK.end_id])
        return out

    monkeypatch.setattr(extraction, "generate_batch", generate_batch)
    return GPT(GPTConfig(TOK.vocab_size, 16, 1, 1, 4), np.random.default_rng(0))


def test_copies_are_counted_to_the_first_difference(alphabet):
    copies = extract(alphabet, ["abcdefgh", "abcdxfgh", "abxdefgh", "ab"], TOK, 2, 3, 5)
    assert [(c.document, c.tokens, c.prompt, c.text) for c in copies] == [
        (0, 5, "ab", "cdefg"),
        (1, 2, "ab", "cd"),
        (2, 0, "ab", ""),
    ]


def test_a_document_that_ends_is_copied_to_its_end(alphabet):
    assert extract(alphabet, ["efgh", "efg"], TOK, 1, 2, 6) == [
        extraction.Copy(0, 3, "e", "fgh"),
        extraction.Copy(1, 2, "e", "fg"),
    ]


def test_a_real_model_writes_greedily():
    gpt = GPT(GPTConfig(TOK.vocab_size, 16, 1, 2, 8), np.random.default_rng(0))
    written = list(gpt.generate([TOK.end_id, *TOK.encode("ab")], 4, temperature=0))
    document = "ab" + TOK.decode(written)
    if TOK.end_id not in written:
        assert extract(gpt, [document], TOK, 2, 2, 4)[0].tokens == 4


def test_what_does_not_fit_is_refused(alphabet):
    with pytest.raises(ValueError, match="the model reads 16: give fewer"):
        extract(alphabet, ["abcdefgh"], TOK, 10, 2, 10)
    with pytest.raises(ValueError, match="1 <= shortest <= longest"):
        extract(alphabet, ["abcdefgh"], TOK, 2, 3, 2)
