"""Looking inside a model: the hidden states and attention weights of one forward pass."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.inference.inside.measure import forward
from numpylm.inference.inside.views import view_of
from numpylm.models.checks import check_ids
from numpylm.nn.module import Array


@dataclass(frozen=True)
class Trace:
    """Intermediate results of one forward pass, returned by `trace`.

    Attributes
    ----------
    hidden : list of L + 1 arrays (B, T, C)
        The residual stream before the first block and after each block; of a Transformer, that of the decoder. The last
        one is the input of the final norm, if there is one, and of the output layer.
    attention : list of L arrays (B, H, T, T)
        The attention weights of each block. Row t of a head's matrix has the weight that position t gives to each
        position. It sums to 1. Except in a Bert, it is 0 for all positions after t.
    logits : array (B, T, V), or (B, K) for a classification
        The same numbers as from the model's forward.
    cross_attention : list of L arrays (B, H, T, S)
        Of a Transformer: the weights that each position of the target gives to the positions of the source.
    encoder_hidden, encoder_attention : lists of arrays (B, S, C), (B, H, S, S)
        Of a Transformer: the same as ``hidden`` and ``attention``, for the encoder.
    """

    hidden: list[Array]
    attention: list[Array]
    logits: Array
    cross_attention: tuple[Array, ...] = ()
    encoder_hidden: tuple[Array, ...] = ()
    encoder_attention: tuple[Array, ...] = ()


def trace(model: Any, ids: Array, source: Array | None = None) -> Trace:
    """Run a model without dropout, as ``model.forward(ids)`` does, and keep the intermediate results.

    Parameters
    ----------
    model : GPT, Llama, Bert or Transformer
    ids : int array (B, T), T <= block_size
    source : int array (B, S), optional
        The source of a Transformer, whose ``ids`` are the target after the start token.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        For the same ids as the model's forward, or if there is a source and the model is no Transformer, or vice versa.

    Notes
    -----
    This does not need hooks. The cache of a forward holds everything that its backward needs. The backward of softmax
    needs the output of softmax, so the cache of attention already contains the attention weights.
    """
    view = view_of(model)
    if (source is not None) != (len(view.streams) == 2):
        needed = "needs a source beside the ids" if source is None else "reads ids alone, without a source"
        raise ValueError(f"a {type(model).__name__} {needed}")
    streams = [np.asarray(part) for part in ([ids] if source is None else [source, ids])]
    for part in streams:
        check_ids(model, part)
    found = forward(view, streams)
    maps, hidden = found.attention(view), found.hidden(view)
    if source is None:
        return Trace(hidden, maps["self"], found.logits)
    encoder = tuple(found.hidden(view, 0)), tuple(maps["encoder"])
    return Trace(hidden, maps["self"], found.logits, tuple(maps["cross"]), *encoder)
