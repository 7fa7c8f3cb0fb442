"""Tiny random models of every family in float64, with tokenizers, for tests of what happens inside them."""

import numpy as np

from numpylm import (
    GPT,
    Bert,
    BertConfig,
    CharTokenizer,
    GPTConfig,
    Llama,
    LlamaConfig,
    Tokenizer,
    Transformer,
    TransformerConfig,
)
from numpylm.text.encoder_input import SPECIAL

WORDS = "a cat sat on the mat, a dog ran to the sea"
LETTERS = CharTokenizer("abcdefgh ")
PIECES = Tokenizer.train(WORDS, 264, special_tokens=SPECIAL)
PAIRS = Tokenizer.train(WORDS, 264)
SIZE = {"block_size": 24, "n_layer": 2, "n_head": 2, "n_embd": 8}


def of(kind, dtype=np.float64, **options):
    """A model by the name of its kind; see `KINDS`."""
    rng = np.random.default_rng(0)
    cls, config, tokenizer, more = KINDS[kind]
    model = cls(config(tokenizer.vocab_size, **{**SIZE, **more, **options}), rng, dtype)
    for parameter in model.parameters():  # not the initial values: gains of 1 and biases of 0 hide mistakes
        parameter.data += (0.2 * rng.standard_normal(parameter.shape)).astype(dtype)
    model.tokenizer = tokenizer
    return model


LABELS = {"head": "classification", "n_labels": 3}
KINDS = {
    "gpt": (GPT, GPTConfig, LETTERS, {"n_layer": 3}),
    "llama": (Llama, LlamaConfig, LETTERS, {"n_head": 4, "n_embd": 16, "n_kv_head": 2}),
    "untied llama": (Llama, LlamaConfig, LETTERS, {"tie_embeddings": False}),
    "experts": (Llama, LlamaConfig, LETTERS, {"n_experts": 4, "experts_per_token": 2}),
    "masked words": (Bert, BertConfig, PIECES, {}),
    "classes, first": (Bert, BertConfig, PIECES, LABELS | {"pooling": "first"}),
    "classes, mean": (Bert, BertConfig, PIECES, LABELS | {"pooling": "mean"}),
    "post-norm": (Transformer, TransformerConfig, PAIRS, {"norm_first": False}),
    "pre-norm": (Transformer, TransformerConfig, PAIRS, {"norm_first": True, "n_decoder_layer": 1}),
    "own source table": (Transformer, TransformerConfig, PAIRS, {"share_embeddings": False, "logits_bias": True}),
}
