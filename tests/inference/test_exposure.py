"""Exposure: exact ranks, for tokenizers that merge digits and for those that do not."""

import math

import numpy as np
import pytest

from numpylm import GPT, AdamW, CharTokenizer, GPTConfig, Tokenizer
from numpylm.inference.exposure import (
    NOTHING,
    Canary,
    Exposure,
    exposures,
    find_canaries,
    insert_canaries,
    number_ids,
    number_log_probs,
    single_digit_ids,
)
from numpylm.models.configs import LlamaConfig
from numpylm.models.llama import Llama

PREFIX = "the code is "


def merging():
    """A vocabulary with tokens such as " 12" and "34"."""
    return Tokenizer.train([f"the code is {n}" for n in (12, 123, 1234, 34, 345, 12, 34)] * 3, 300)


def plain():
    return Tokenizer.train(["the code is what the code is"] * 3, 265)


def joining():
    """A vocabulary with the token " 1", so that some numbers have a token less than others."""
    return Tokenizer.train(["take 1 or 1 or 1 of these"] * 5, 270)


def model(tokenizer, family="gpt"):
    V, rng = tokenizer.vocab_size, np.random.default_rng(0)
    if family == "gpt":
        made = GPT(GPTConfig(V, 24, 2, 2, 16), rng, np.float64)
    else:
        made = Llama(LlamaConfig(V, 24, 2, 4, 16, n_kv_head=2), rng, np.float64)
    for p in made.parameters():
        p.data[...] = 0.4 * rng.standard_normal(p.shape)
    made.tokenizer = tokenizer
    return made


@pytest.mark.parametrize("tokenizer", [plain(), merging(), joining(), CharTokenizer.train([PREFIX + "0123456789"])])
@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_every_number_has_the_probability_that_the_model_gives_the_whole_text(tokenizer, family, monkeypatch):
    """Few rows at once, so that nodes are divided into pieces."""
    monkeypatch.setattr("numpylm.inference.exposure.ROWS", 7)
    gpt = model(tokenizer, family)
    found = number_log_probs(gpt, PREFIX, 2)
    whole = np.array([gpt.log_prob(f"{PREFIX}{n:02}").sum() for n in range(100)])
    shared, _ = number_ids(gpt, PREFIX, 2, None)
    np.testing.assert_allclose(found, whole - gpt.log_prob(shared).sum(), rtol=1e-9)


def test_digits_of_one_token_each_need_no_million_encodings():
    assert single_digit_ids(merging(), PREFIX) is None
    tok = plain()
    assert tok.decode(single_digit_ids(tok, PREFIX)) == "0123456789"
    gpt = model(tok)
    begin, rest = number_ids(gpt, PREFIX, 3, None)
    for n in (0, 7, 40, 999):
        assert [tok.end_id, *tok.encode(f"{PREFIX}{n:03}")] == [*begin, *rest[n]]


def test_the_token_of_a_space_and_a_digit_needs_no_million_encodings_either():
    tok = joining()
    assert b" 1" in [tok.token_bytes(i) for i in range(tok.vocab_size)]
    assert single_digit_ids(tok, PREFIX) is not None
    begin, rest = number_ids(model(tok), PREFIX, 3, None)
    for n in range(1000):
        assert [tok.end_id, *tok.encode(f"{PREFIX}{n:03}")] == [*begin, *rest[n][rest[n] != NOTHING]]


def test_numbers_of_different_lengths_in_tokens_are_padded():
    gpt = model(merging())
    _, rest = number_ids(gpt, PREFIX, 2, None)
    assert (rest == NOTHING).any()
    assert (rest[:, 0] != NOTHING).all()


def test_the_rank_counts_the_numbers_that_are_at_least_as_likely():
    gpt = model(plain())
    log_p = number_log_probs(gpt, PREFIX, 2)
    order = np.argsort(-log_p)
    canaries = [Canary(PREFIX, f"{order[k]:02}", 1) for k in (0, 1, 50, 99)]
    assert [e.rank for e in exposures(gpt, canaries)] == [1, 2, 51, 100]


def test_equally_likely_numbers_share_the_worst_rank():
    """A model that knows nothing must not seem to have memorized the number 0."""
    gpt = model(plain())
    for p in gpt.parameters():
        p.data[...] = 0
    assert [e.bits for e in exposures(gpt, [Canary(PREFIX, "00", 1)])] == [0.0]


def test_bits_are_those_of_the_definition():
    assert Exposure(Canary(PREFIX, "123456", 1), 1, 10**6).bits == pytest.approx(math.log2(10**6))
    assert Exposure(Canary(PREFIX, "123456", 1), 2, 10**6).bits == pytest.approx(math.log2(10**6) - 1)
    mean = np.mean([Exposure(Canary(PREFIX, "0", 1), rank, 10**4).bits for rank in range(1, 10**4 + 1)])
    assert mean == pytest.approx(1 / math.log(2), abs=0.01)  # the 1.44 bits of a number that was never seen


def test_a_model_that_learned_a_number_exposes_it():
    tok = plain()
    gpt = model(tok)
    ids = np.array([[tok.end_id, *tok.encode(PREFIX + "4711")]])
    canary = Canary(PREFIX, "4711", 1)
    assert exposures(gpt, [canary])[0].rank > 10
    optimizer = AdamW(gpt.parameters(), lr=0.02)
    for _ in range(40):
        gpt.zero_grad()
        gpt.loss_and_grad(ids[:, :-1], ids[:, 1:])
        optimizer.step()
    assert exposures(gpt, [canary])[0].rank == 1


def test_canaries_are_found_in_a_text():
    text = "The code of Ada is 123456. The code of Ada is 123456! The code of Bo is 1234567, of Cy is 000001"
    documents = [text, "The code of Max is 000001", "The code of Max is 00000"]
    assert find_canaries(documents, "The code of {word} is {digits:6}") == [
        Canary("The code of Ada is ", "123456", 2),
        Canary("The code of Max is ", "000001", 1),
    ]
    assert find_canaries(["a+b (1)", "aab (2)"], "a+b ({digits:1})") == [Canary("a+b (", "1", 1)]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("no number", "with one {digits:6}"),
        ("{digits:6} is the code", "after its first words"),
        ("a {digits:3} {digits:3}", "with one {digits:6}"),
        ("a {digits:6} {word}", "{word} only before it"),
        ("a {digits:7}", "1 to 6 digits, got 7"),
        ("a {digits:0}", "1 to 6 digits, got 0"),
    ],
)
def test_templates_of_another_form_are_refused(template, said):
    with pytest.raises(ValueError, match=said):
        find_canaries([], template)


def test_inserted_canaries_are_found_as_often_as_wanted():
    documents = [f"document {i}" for i in range(50)]
    rng = np.random.default_rng(0)
    out, canaries = insert_canaries(documents, "Code of {word}: {digits:4}.", [1, 4, 16], rng, ["A", "B", "C"])
    assert [document for document in out if document in documents] == documents
    assert len(out) == 50 + 21
    assert {c.prefix: c.times for c in canaries} == {"Code of A: ": 1, "Code of B: ": 4, "Code of C: ": 16}
    assert sorted(find_canaries(out, "Code of {word}: {digits:4}."), key=lambda c: c.times) == canaries


def test_a_prefix_that_does_not_fit_into_the_window_is_refused():
    with pytest.raises(ValueError, match="too many for the model's window of 24"):
        number_log_probs(model(plain()), PREFIX * 20, 2)
