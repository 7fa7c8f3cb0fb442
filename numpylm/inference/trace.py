"""Looking inside a GPT: what one forward pass makes on its way from ids to logits."""

from dataclasses import dataclass

from numpylm.models.gpt import GPT
from numpylm.nn.fast_attention import attention_weights
from numpylm.nn.module import Array


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
    x, _ = gpt.embed(ids)  # (B, T, C)
    hidden, attention = [x], []
    for block in gpt.h:
        x, block_cache = block.forward(x)  # (B, T, C)
        hidden.append(x)
        attention.append(attention_weights(block_cache.attn.attention))  # (B, H, T, T)
    x, _ = gpt.ln_f.forward(x)  # (B, T, C)
    return Trace(hidden, attention, gpt.head(x)[0])
