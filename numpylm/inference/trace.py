"""Looking inside a GPT: what one forward pass makes on its way from ids to logits."""

from dataclasses import dataclass

import numpy as np

from numpylm.models.gpt import GPT
from numpylm.nn.module import Array, Cache


@dataclass(frozen=True)
class Trace:
    """One forward pass, opened. Made by `trace`.

    Attributes
    ----------
    hidden : list of L + 1 arrays (B, T, C)
        The residual stream before the first block and after each; the last one is what ``ln_f`` reads.
    attention : list of L arrays (B, H, T, T)
        The attention weights of each block. Row t of a head's map says how much position t takes from each
        position: it sums to 1, and is 0 for all positions after t.
    logits : array (B, T, V)
        The same numbers as from `GPT.forward`.
    """

    hidden: list[Array]
    attention: list[Array]
    logits: Array


def trace(gpt: GPT, ids: Array) -> Trace:
    """Run a GPT without dropout, as ``gpt.forward(ids)`` does, and keep what it makes on the way.

    Parameters
    ----------
    gpt : GPT
    ids : int array (B, T), T <= block_size

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        For the same ids as `GPT.forward`.

    Notes
    -----
    No layer has to be changed for this. A forward returns in its cache what its backward will need; softmax's
    backward needs softmax's output, so the attention weights are there already.
    """
    ids = np.asarray(ids)
    gpt._check_ids(ids)
    tokens, _ = gpt.wte.forward(ids)  # (B, T, C)
    positions, _ = gpt.wpe.forward(np.arange(ids.shape[1]))  # (T, C)
    hidden, attention = [tokens + positions], []
    for block in gpt.h:
        x, (_, attn_cache, *_) = block.forward(hidden[-1])  # (B, T, C)
        _, attention_cache, _ = attn_cache
        hidden.append(x)
        attention.append(_whole_map(attention_cache))  # (B, H, T, T)
    x, _ = gpt.ln_f.forward(hidden[-1])  # (B, T, C)
    logits = (x.reshape(-1, gpt.config.n_embd) @ gpt.wte.weight.data.T).reshape(*ids.shape, -1)  # (B, T, V)
    return Trace(hidden, attention, logits)


def _whole_map(attention_cache: Cache) -> Array:
    """The weights that multiplied V, (B, H, T, T), from the blocks of rows in which attention computed them."""
    blocks = [block_cache[5] for block_cache in attention_cache]  # (B, H, rows, keys up to the last of them)
    B, H, _, T = blocks[-1].shape
    weights = np.zeros((B, H, T, T), blocks[0].dtype)
    end = 0
    for block in blocks:
        start, end = end, block.shape[-1]
        weights[:, :, start:end, :end] = block
    return weights
