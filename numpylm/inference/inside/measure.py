"""What happens inside a model: a traced forward pass, the logit lens, gradient times input, and heads switched off."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from numpylm.inference.inside.steps import State
from numpylm.inference.inside.views import View, all_frozen, batch_of
from numpylm.inference.log_probs import log_softmax
from numpylm.nn.module import Array, Cache

AT_ONCE = 512  # tokens in a batch of copies; it affects only speed and memory (SmolLM2: 1 GB for its caches)


@dataclass(frozen=True)
class Pass:
    """One forward pass.

    Attributes
    ----------
    states : list of State
        The input of the first step, and the output of each step.
    caches : list
        Of each step.
    embed_cache
    logits : array (B, T, V), or (B, K) for a classification
    """

    states: list[State]
    caches: list[Cache]
    embed_cache: Cache
    logits: Array

    def attention(self, view: View) -> dict[str, list[Array]]:
        """For each kind of attention, the weights (B, H, T, S) of each layer."""
        found: dict[str, list[Array]] = {kind: [] for kind in view.kinds}
        for step, cache in zip(view.steps, self.caches, strict=True):
            for kind, weights in step.attention(cache).items():
                found[kind].append(weights)
        return found

    def hidden(self, view: View, stream: int = -1) -> list[Array]:
        """The hidden states (B, T, C) of a stream: the embeddings, and after each block that changes it."""
        stream %= len(view.streams)
        own = [x for step, x in zip(view.steps, self.states[1:], strict=True) if step.stream == stream and step.kinds]
        return [self.states[0][stream], *(x[stream] for x in own)]


def forward(view: View, ids: Sequence[Array]) -> Pass:
    """Run a model on ids (B, T) of each stream, without dropout, and keep everything."""
    state, embed_cache = view.embed(ids)
    states, caches = [state], []
    for step in view.steps:
        state, cache = step.forward(state)
        states.append(state)
        caches.append(cache)
    return Pass(states, caches, embed_cache, view.readout(state[-1])[0])


class Lens(NamedTuple):
    """The logit lens; see `logit_lens`. N layers: the embeddings and L blocks. O outputs."""

    ids: Array  # int (N, O, k), the most probable first
    log_p: Array  # float64 (N, O, k)
    target_log_p: Array  # float64 (N, O)
    target_rank: Array  # int (N, O), 1 for the most probable


def logit_lens(view: View, found: Pass, targets: Array, k: int = 5) -> Lens:
    """What the output layer would predict after each layer (nostalgebraist 2020, "interpreting GPT: the logit lens").

        log P_n(· | position) = log softmax(readout(x_n))        x_n: the hidden state after layer n

    Parameters
    ----------
    targets : int array (O,)
        The token of each output whose probability and rank are wanted. O is T, or 1 for a classification.
    """
    parts = []
    for x in found.hidden(view):
        log_p = log_softmax(view.readout(x)[0].astype(np.float64)).reshape(len(targets), -1)  # (O, V)
        ids = np.argsort(-log_p, axis=-1, kind="stable")[:, :k]
        own = np.take_along_axis(log_p, targets[:, None], axis=-1)  # (O, 1)
        parts.append((ids, np.take_along_axis(log_p, ids, axis=-1), own[:, 0], (log_p > own).sum(axis=-1) + 1))
    return Lens(*(np.stack(part) for part in zip(*parts, strict=True)))


def gradient_times_input(view: View, ids: Sequence[Sequence[int]], targets: Array) -> list[Array]:
    """How much each input token speaks for the target: the gradient of its logit, times the token's embedding.

        a_t = Σ_c e_tc ∂z/∂e_tc         e_t: the row of the token embedding at position t,    z: the target's logit

    (Shrikumar et al. 2016, arXiv:1605.01713, section 2.) To first order, a_t is what the logit would lose if e_t were
    scaled down to zero. It is exact only where the model is linear.

    Returns
    -------
    list of arrays (O, T)
        One array for each stream. Row o belongs to the target of output o.

    Notes
    -----
    Output o needs its own backward pass. So the text is copied O times, and copy o has the gradient 1 at the logit of
    target o. All parameters are frozen meanwhile, so their gradients stay as they are.
    """
    O = len(targets)
    found = [np.zeros((O, len(part))) for part in ids]
    length = sum(map(len, ids))
    with all_frozen(view.model):
        for start in range(0, O, max(1, AT_ONCE // length)):
            rows = np.arange(start, min(O, start + max(1, AT_ONCE // length)))
            parts = [np.asarray(part) for part in ids]
            if view.causal and not view.per_text:
                parts[-1] = parts[-1][: rows[-1] + 1]  # the tokens after the last output change nothing
            for total, values in zip(found, _attributions(view, parts, rows, targets[rows]), strict=True):
                total[rows, : values.shape[1]] = values
    return found


def _attributions(view: View, ids: list[Array], rows: Array, targets: Array) -> list[Array]:
    """`gradient_times_input` of some outputs (R,): for each stream (R, T)."""
    batch = [batch_of(part, len(rows)) for part in ids]
    found, copies = forward(view, batch), np.arange(len(rows))
    last = found.states[-1][-1]  # (R, T, C)
    logits, cache = view.readout(last if view.per_text else last[copies, rows])  # (R, V)
    dlogits = np.zeros_like(logits)
    dlogits[copies, targets] = 1
    dx = view.readout_backward(dlogits, cache)
    if not view.per_text:  # (R, C), at one position of each copy
        at_position, dx = dx, np.zeros_like(last)
        dx[copies, rows] = at_position
    dstate: State = (*(np.zeros_like(x) for x in found.states[-1][:-1]), dx)
    for step, step_cache in zip(reversed(view.steps), reversed(found.caches), strict=True):
        dstate = step.backward(dstate, step_cache)
    drows = view.embed_backward(dstate, found.embed_cache)
    tables = [table.weight.data for table in view.tables()]
    return [(table[part] * d).sum(axis=-1) for table, part, d in zip(tables, batch, drows, strict=True)]


def ablations(view: View, found: Pass, targets: Array, progress: bool = False) -> dict[str, Array]:
    """What changes if a head is switched off: its output is zero at all positions, everything else stays.

        Δ_lho = -log P(target o | head h of layer l is off) + log P(target o)        in nats

    A positive number means that the head helps this prediction.

    Returns
    -------
    dict
        For each kind of attention, an array (L, H, O).

    Notes
    -----
    The H heads of a layer are switched off in H copies of the text at once. A layer's copies start at its own input,
    because nothing below it changes.
    """
    base = _surprise(view, found.states[-1][-1], targets)[0]  # (O,)
    rows: dict[str, list[Array]] = {kind: [] for kind in view.kinds}
    for number, step in enumerate(tqdm(view.steps, "switching off heads", disable=not progress, leave=False)):
        for kind in step.kinds:
            state = tuple(np.repeat(x, step.n_head(kind), axis=0) for x in found.states[number])  # (H, T, C)
            state, _ = step.forward(state, step.muted(kind))
            for later in view.steps[number + 1 :]:
                state, _ = later.forward(state)
            rows[kind].append(_surprise(view, state[-1], targets) - base)  # (H, O)
    return {kind: np.stack(values) for kind, values in rows.items()}


def _surprise(view: View, x: Array, targets: Array) -> Array:
    """-log P(target) in nats (B, O) for the last hidden states x (B, T, C); one text at a time, as V may be large."""
    found = np.empty((len(x), len(targets)))
    for b in range(len(x)):
        log_p = log_softmax(view.readout(x[b : b + 1])[0].astype(np.float64)).reshape(len(targets), -1)  # (O, V)
        found[b] = -log_p[np.arange(len(targets)), targets]
    return found
