"""Looking inside a GPT: the hidden states and attention weights of one forward pass."""

from dataclasses import dataclass

from numpylm.models.gpt import GPT
from numpylm.nn.fast_attention import attention_weights
from numpylm.nn.module import Array


@dataclass(frozen=True)
class Trace:
    """Intermediate results of one forward pass, returned by `trace`.

    Attributes
    ----------
    hidden : list of L + 1 arrays (B, T, C)
        The residual stream before the first block and after each block. The last one is the input of ``ln_f``.
    attention : list of L arrays (B, H, T, T)
        The attention weights of each block. Row t of a head's matrix has the weight that position t gives to each
        position. It sums to 1, and is 0 for all positions after t.
    logits : array (B, T, V)
        The same numbers as from `GPT.forward`.
    """

    hidden: list[Array]
    attention: list[Array]
    logits: Array


def trace(gpt: GPT, ids: Array) -> Trace:
    """Run a GPT without dropout, as ``gpt.forward(ids)`` does, and keep the intermediate results.

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
    This does not need hooks. The cache of a forward holds everything that its backward needs. The backward of softmax
    needs the output of softmax, so the cache of attention already contains the attention weights.
    """
    x, _ = gpt.embed(ids)  # (B, T, C)
    hidden, attention = [x], []
    for block in gpt.h:
        x, block_cache = block.forward(x)  # (B, T, C)
        hidden.append(x)
        attention.append(attention_weights(block_cache.attn.attention))  # (B, H, T, T)
    x, _ = gpt.ln_f.forward(x)  # (B, T, C)
    return Trace(hidden, attention, gpt.head(x)[0])
