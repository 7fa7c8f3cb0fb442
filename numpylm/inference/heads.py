"""Induction heads: find the heads that look at what followed an earlier occurrence of a token, and switch heads off."""

import copy
from collections.abc import Iterable

import numpy as np

from numpylm.inference.trace import trace
from numpylm.models.gpt import GPT
from numpylm.nn.module import Array

Head = tuple[int, int]  # the number of the block and of the head in it, both from 0


def induction_scores(gpt: GPT, ids: Array, queries: Array | None = None) -> Array:
    """How much each head looks at the tokens that followed earlier occurrences of the current token.

        score_h = mean over t of Σ_{s < t, ids_s = ids_t} A_h[t, s + 1]

    A_h are the attention weights. The mean is over the positions t whose token occurred before. In "A B … A", an
    induction head at the second A looks at B (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits";
    Olsson et al. 2022, arXiv:2209.11895).

    Parameters
    ----------
    gpt : GPT
    ids : int array (B, T)
    queries : bool array (B, T), optional
        Where t may be. Default: everywhere.

    Returns
    -------
    float array (L, H), between 0 and 1

    Raises
    ------
    ValueError
        If no token of the queries occurred before, or for the same ids as `GPT.forward`.
    """
    ids = np.asarray(ids)
    attention = trace(gpt, ids).attention  # L arrays (B, H, T, T)
    T = ids.shape[1]
    same = ids[:, :, None] == ids[:, None, :]  # (B, T, T)
    followers = np.zeros(same.shape, bool)
    followers[:, :, 1:] = (same & np.tri(T, k=-1, dtype=bool))[:, :, :-1]  # s + 1 for each s
    counted = followers.any(axis=-1) & (True if queries is None else np.asarray(queries))  # (B, T)
    if not counted.any():
        raise ValueError("no token occurs twice, so there is nothing that an induction head could look for")
    weights = [(maps * followers[:, None]).sum(axis=-1) for maps in attention]  # (B, H, T) each
    return np.stack([w.transpose(0, 2, 1)[counted].mean(axis=0, dtype=float) for w in weights])


def without_heads(gpt: GPT, heads: Iterable[Head]) -> GPT:
    """A copy of a GPT in which some heads have no effect. The model itself is not changed.

    The heads' outputs o_h (D = C / H numbers each) are merged, and the output projection W (C, C) reads them:
    y = Σ_h o_h W[hD : (h + 1)D] + b. In the copy, the rows of the given heads are 0.

    Raises
    ------
    ValueError
        If the model has no such head.
    """
    c = gpt.config
    heads, gpt = list(heads), copy.deepcopy(gpt)
    D = c.n_embd // c.n_head
    for layer, head in heads:
        if not (0 <= layer < c.n_layer and 0 <= head < c.n_head):
            raise ValueError(
                f"there is no head {layer}.{head}: the model has {c.n_layer} blocks with {c.n_head} heads, both "
                f"counted from 0"
            )
        gpt.h[layer].attn.c_proj.weight.data[head * D : (head + 1) * D] = 0
    return gpt


def strongest(scores: Array, least: float) -> list[Head]:
    """The heads with a score (L, H) of at least ``least``, the strongest first."""
    order = np.argsort(-scores, axis=None, kind="stable")
    found = [divmod(int(i), scores.shape[1]) for i in order]
    return [head for head in found if scores[head] >= least]
