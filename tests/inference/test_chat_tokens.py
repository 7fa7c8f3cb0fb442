"""Tokens that begin and end a text, where a vocabulary has several: which are put first, and where generation stops."""

import numpy as np

from numpylm import Llama, LlamaConfig
from numpylm.files.llama_files import settings_for_transformers
from numpylm.inference.generate_text import generate_text, prompt_ids
from numpylm.inference.scoring import text_ids
from numpylm.text.any_tokenizer import begin_ids, end_ids
from numpylm.text.data import encode_documents
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.tokenizer_config import Chat

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>")


def tokenizer(begin=None, ends=()):
    plain = Tokenizer.train("a b c d e f g h " * 9, 300, MARKS)
    special = plain.special_tokens
    chat = Chat(bos_id=special.get(begin), add_bos=begin is not None, eos_ids=tuple(special[end] for end in ends))
    return Tokenizer(plain.vocab, plain.merges, special, chat=chat)


def assistant():
    return tokenizer(ends=("<|im_end|>", "<|endoftext|>"))


def test_each_end_token_ends_a_text():
    tok = assistant()
    assert end_ids(tok) == {tok.special_tokens["<|im_end|>"], tok.special_tokens["<|endoftext|>"]}
    model = Llama(LlamaConfig(tok.vocab_size, 16, 1, 2, 8), np.random.default_rng(0))
    table = model.embed_tokens.weight.data
    for mark in ("<|im_end|>", "<|endoftext|>", "b"):
        table[:] = 0
        table[tok.encode("a")] = 1
        table[tok.encode(mark, allow_special=True)] = 2  # the most likely token after a
        text = "".join(generate_text(model, tok, "a", 5, temperature=0))
        assert text == ("bbbbb" if mark == "b" else "")


def test_marks_in_a_prompt_are_special_only_if_allowed():
    tok = assistant()
    start = tok.special_tokens["<|im_start|>"]
    assert start in prompt_ids(tok, "<|im_start|>a", False, allow_special=True)
    assert start not in prompt_ids(tok, "<|im_start|>a", False)


def test_a_token_that_begins_a_text_is_put_first_and_only_once():
    tok = tokenizer("<s>", ["<|im_end|>"])
    begin = tok.special_tokens["<s>"]
    assert begin_ids(tok) == [begin]
    assert prompt_ids(tok, "a", False)[0] == begin
    assert prompt_ids(tok, "<s>a", False, allow_special=True).count(begin) == 1
    assert text_ids(None, "a", tok)[0] == begin
    assert encode_documents(["a"], tok)[0] == begin


def test_without_such_a_token_the_end_of_the_text_before_begins_the_next():
    tok = assistant()
    assert begin_ids(tok) == [tok.special_tokens["<|endoftext|>"]]
    assert prompt_ids(tok, "a", False) == tok.encode("a")  # a published model gets the prompt alone
    assert prompt_ids(tok, "a", True)[0] == tok.special_tokens["<|endoftext|>"]


def test_the_end_tokens_are_in_the_exported_settings():
    tok = assistant()
    settings = settings_for_transformers(LlamaConfig(tok.vocab_size, 16, 1, 2, 8), "float32", tok)
    assert settings["eos_token_id"] == [tok.special_tokens["<|im_end|>"], tok.special_tokens["<|endoftext|>"]]
