"""Classifying texts with a Bert that has a classification head."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.inference.log_probs import log_softmax
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import require_tokenizer
from numpylm.text.encoder_input import EncoderTokens, encoder_input
from numpylm.text.padding import in_batches, padded

EVALUATED_TOKENS = 4000  # of the texts that are read at once, padding included; it affects only speed and memory


def label_log_probs(model: Any, ids: Array, mask: Array) -> Array:
    """log P(label | text) (B, K), in float64."""
    return log_softmax(model.forward(ids, mask)[0])


def classify(model: Any, texts: Sequence[str], tokenizer: Any = None) -> list[list[tuple[str, float]]]:
    """For each text, all labels with their probabilities, the most probable first. A method of `numpylm.Bert`.

    Texts longer than the model's block_size are cut.
    """
    if isinstance(texts, str):
        raise ValueError("classify expects several texts: put one text into a list")
    if model.config.head != "classification":
        raise ValueError(
            "this model has no classification head: give it one with numpylm train --task classification "
            "--data labelled.csv --init-from and the folder of this model"
        )
    tokenizer = require_tokenizer(model) if tokenizer is None else tokenizer
    rows, _ = encoder_input(tokenizer, texts, model.config.block_size)
    labels = model.labels or tuple(f"LABEL_{n}" for n in range(model.config.n_labels))
    found: list[list[tuple[str, float]]] = [[] for _ in texts]
    for numbers in in_batches(np.array([len(row) for row in rows]), EVALUATED_TOKENS):
        ids, mask = padded([rows[n] for n in numbers], EncoderTokens.of(tokenizer).pad)
        for n, probabilities in zip(numbers, np.exp(label_log_probs(model, ids, mask)), strict=True):
            order = np.argsort(-probabilities, kind="stable")
            found[n] = [(labels[i], float(probabilities[i])) for i in order]
    return found
