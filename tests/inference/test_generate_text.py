"""A model and a tokenizer write text: prompts, ends, several at once."""

from types import SimpleNamespace

import numpy as np
import pytest

from numpylm import GPT, CharTokenizer, GPTConfig, Tokenizer
from numpylm.inference.generate_text import generate_text, generate_texts, prompt_ids
from numpylm.inference.generation import generate

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train("one two three one two three 漢字 ", vocab_size=270)


class Parrot:
    """Says what it was told, one text for each row, whatever it reads."""

    def __init__(self, tokenizer, *texts):
        self.texts = [tokenizer.encode(text, allow_special=True) for text in texts]
        self.vocab_size = tokenizer.vocab_size + 3  # more rows than tokens
        self.config = SimpleNamespace(block_size=99)
        self.reads = 0

    def new_past(self, batch_size, padding=None):
        return None

    def read(self, ids, past):
        logits = np.zeros((len(ids), self.vocab_size))
        for row, text in zip(logits, self.texts, strict=True):
            row[text[min(self.reads, len(text) - 1)]] = 50
        self.reads += 1
        return logits

    def generate(self, ids, max_new_tokens, **options):
        return generate(self, ids, max_new_tokens, self.config.block_size, **options)


def write(parrot, tokenizer, n=50, **options):
    return "".join(generate_text(parrot, tokenizer, "x", n, **options))


def test_a_text_ends_at_the_end_token_at_a_stop_string_or_at_its_length(tokenizer):
    said = f"one two three 漢字 one{END}two"
    assert write(Parrot(tokenizer, said), tokenizer) == "one two three 漢字 one"
    assert write(Parrot(tokenizer, said), tokenizer, stop=["hree 漢"]) == "one two t"
    parrot = Parrot(tokenizer, said)
    assert write(parrot, tokenizer, stop=["字 o", "two t", "zzz"]) == "one "
    assert parrot.reads == 3  # one, two, three
    assert write(Parrot(tokenizer, said), tokenizer, n=1, stop=["one t"]) == "one"  # held back, and not lost
    assert write(Parrot(tokenizer, said), tokenizer, stop=[f"one{END}"]) == "one two three 漢字 one"  # not text


def test_a_stop_string_in_the_prompt_ends_nothing(tokenizer):
    parrot = Parrot(tokenizer, f"wo three{END}")
    assert "".join(generate_text(parrot, tokenizer, "one t", 50, stop=["one", "two"])) == "wo three"


def test_a_token_beyond_the_tokenizers_vocabulary_is_shown_as_unknown(tokenizer):
    parrot = Parrot(tokenizer, "one")
    parrot.texts = [[*tokenizer.encode("one"), tokenizer.vocab_size + 1]]
    assert write(parrot, tokenizer, n=2) == "one\ufffd"


def test_several_texts_end_each_where_it_should(tokenizer):
    said = [f"one two{END}one", "one one three", "two two 漢字 one", f"three. two{END}"]
    parrot = Parrot(tokenizer, *said)
    texts = generate_texts(parrot, tokenizer, "x", 50, 4, stop=["e th", "字", ". t"])
    assert texts == ["one two", "one on", "two two 漢", "three"]
    assert parrot.reads == 10  # and not 50: with the last byte of 字 all of them have ended
    assert generate_texts(Parrot(tokenizer, *said), tokenizer, "x", 2, 4)[0] == "one two"


@pytest.fixture(scope="module")
def gpt(tokenizer):
    gpt = GPT(GPTConfig(tokenizer.vocab_size, 12, 1, 2, 8), np.random.default_rng(0), np.float64)
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape)
    gpt.wte.weight.data[tokenizer.end_id] = gpt.wte.weight.data.mean(axis=0)  # not always the first to come
    return gpt


def test_samples_are_those_of_generate_batch_and_of_single_texts(gpt, tokenizer):
    options = {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.2}
    ids = [tokenizer.end_id, *tokenizer.encode("one")]
    batch = gpt.generate_batch([ids] * 3, 30, rng=np.random.default_rng(5), stop_ids={tokenizer.end_id}, **options)
    texts = generate_texts(gpt, tokenizer, "one", 30, 3, own=True, rng=np.random.default_rng(5), **options)
    assert texts == [tokenizer.decode(i for i in new if i != tokenizer.end_id) for new in batch]
    rngs = np.random.default_rng(5).spawn(3)
    alone = [generate_text(gpt, tokenizer, "one", 30, own=True, rng=rng, **options) for rng in rngs]
    assert texts == ["".join(pieces) for pieces in alone]
    assert len(set(texts)) == 3


def test_prompts_of_our_runs_begin_a_document_and_gpt2s_are_taken_as_they_are(tokenizer):
    end, one = tokenizer.end_id, tokenizer.encode("one")
    assert prompt_ids(tokenizer, "one", own=True) == [end, *one]
    assert prompt_ids(tokenizer, "one", own=False) == one
    assert prompt_ids(tokenizer, "", own=True) == prompt_ids(tokenizer, "", own=False) == [end]
    assert end not in prompt_ids(tokenizer, END, own=False)  # what a user types is text


def test_a_prompt_where_there_is_no_end_token():
    letters = CharTokenizer("\nabc")
    assert prompt_ids(letters, "ab", own=True) == prompt_ids(letters, "ab", own=False) == [1, 2]
    assert prompt_ids(letters, "", own=True) == [0]
    with pytest.raises(ValueError, match="no end-of-text token to begin a new text with: give it a prompt"):
        prompt_ids(letters, "", own=False)


@pytest.mark.parametrize(
    ("options", "message"), [({"stop": [""]}, "must not be empty"), ({"min_p": 2}, "min_p must lie in")]
)
def test_impossible_options_are_refused_at_once(gpt, tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        generate_text(gpt, tokenizer, "one", 5, **options)
    with pytest.raises(ValueError, match=message):
        generate_texts(gpt, tokenizer, "one", 5, 2, **options)
