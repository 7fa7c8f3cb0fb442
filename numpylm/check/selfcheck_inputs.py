"""What numpylm's own gradient checks are run on: random inputs of all sizes, and layers made of several things."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numpylm.models.pair_loss import pair_loss, pair_loss_backward
from numpylm.nn import functional as F
from numpylm.nn.layers import Embedding
from numpylm.nn.module import Array, Cache, Module

# ------------------------------------------------------------------------------------------------ inputs


class Sizes(NamedTuple):
    """Batch, queries, keys (and longest sequence), heads, channels a head, vocabulary."""

    B: int = 2
    T: int = 5
    S: int = 7
    H: int = 3
    D: int = 4
    V: int = 11

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Sizes":
        """Other sizes, down to a batch of one, one head and a single position."""
        B, T, H, D = (int(n) for n in rng.integers((1, 1, 1, 1), (4, 8, 4, 6)))
        return cls(B, T, T + int(rng.integers(0, 4)), H, max(D, 3 if H == 1 else 2), int(rng.integers(3, 16)))


class Inputs:
    """Random inputs of the given sizes.

    Attributes
    ----------
    ids : int array (B, T)
        Some repeat within a row and across rows.
    targets : int array (B, T)
        Two of them are ignored.
    mask : bool array (B, 1, T, S)
        As for padding: another one for each sequence. One query may attend to nothing.
    """

    def __init__(self, rng: np.random.Generator, sizes: Sizes) -> None:
        B, T, S, _, _, V = sizes
        self.rng, self.sizes = rng, sizes
        self.ids = rng.integers(0, V, (B, T))
        self.ids[:, 1:3] = self.ids[0, 0]
        self.targets = rng.integers(0, V, (B, T))
        self.targets[0, :2] = F.IGNORE_INDEX
        self.mask = rng.random((B, 1, T, S)) < 0.6
        self.mask[0, 0, T // 2] = False

    def x(self, *shape: int) -> Array:
        """Normal random numbers."""
        return self.rng.standard_normal(shape)

    def segments(self) -> Array:
        """Which text of its row each token of `ids` belongs to: int (B, T). The first row has padding if it can."""
        B, T, *_ = self.sizes
        segments = 1 + np.cumsum(self.rng.random((B, T)) < 0.4, axis=1)
        segments[0, max(1, T - 1) :] = 0
        return segments

    def real(self, length: int) -> Array:
        """Which tokens of a padded batch are real: bool (B, length). The first row has padding, if it can have any."""
        lengths = self.rng.integers(1, length + 1, self.sizes.B)
        lengths[0] = max(1, length - 2)
        return np.arange(length) < lengths[:, None]


# ------------------------------------------------------------------------------- several things as one layer


class ModelLoss(Module):
    """A model and its cross-entropy as one layer: the model's inputs and the targets in, loss out.

    If the model's config has a router_aux_loss_coef, the load-balancing loss is part of the loss.
    """

    def __init__(self, model: Any, label_smoothing: float = 0.0) -> None:
        self.model = model
        self.label_smoothing = label_smoothing
        self.coefficient = getattr(getattr(model, "config", None), "router_aux_loss_coef", 0.0)

    def forward(self, *inputs: Array, rng: np.random.Generator | None = None, **masks: Array) -> tuple[float, Cache]:
        """The model's inputs, and targets int (B, T) -> mean nats per counted token."""
        *model_inputs, targets = inputs
        logits, model_cache = self.model.forward(*model_inputs, rng=rng, **masks)
        loss, loss_cache = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if self.coefficient:
            loss += self.coefficient * self.model.balance(model_cache[0])
        return loss, (model_cache, loss_cache)

    def backward(self, dloss: float, cache: Cache) -> Any:
        """Adds to every parameter's gradient; returns that of a sound. Ids have none."""
        model_cache, loss_cache = cache
        more = {"dbalance": dloss * self.coefficient} if self.coefficient else {}
        return self.model.backward(F.cross_entropy_backward(dloss, loss_cache), model_cache, **more)


class PairLoss(Module):
    """A model and its loss on pairs of answers (`numpylm.models.pair_loss`) as one layer."""

    def __init__(self, model: Any, beta: float) -> None:
        self.model = model
        self.beta = beta

    def forward(self, ids: Array, targets: Array, *, reference: Array) -> tuple[float, Cache]:
        """Ids and targets (P, 2, T), and the reference's log-probabilities (P, 2) -> nats per pair."""
        return pair_loss(self.model, ids, targets, reference, self.beta)

    def backward(self, dloss: float, cache: Cache) -> None:
        """Adds to every parameter's gradient; there is nothing to return."""
        pair_loss_backward(self.model, dloss, cache)


class BalanceLoss(Module):
    """The load-balancing loss of a `MixtureOfExperts` as one layer, or of a block or a model that has experts.

    ``balance_of(layer, cache)`` reads the loss.
    """

    def __init__(self, layer: Any, balance_of: Callable[[Any, Cache], float]) -> None:
        self.layer = layer
        self.balance_of = balance_of

    def forward(self, *inputs: Array) -> tuple[float, Cache]:
        """The layer's inputs in, the loss out."""
        out, cache = self.layer.forward(*inputs)
        return self.balance_of(self.layer, cache), (np.zeros_like(out), cache)

    def backward(self, dloss: float, cache: Cache) -> Array | None:
        """The gradient of the loss alone: that of the layer's output is zero."""
        nothing, layer_cache = cache
        return self.layer.backward(nothing, layer_cache, dbalance=dloss)


class TrainingLoss(Module):
    """A model's own `loss` and `loss_and_grad` as one layer: inputs and targets in, loss out. Without dropout."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def forward(self, *inputs: Array, **masks: Array) -> tuple[float, Cache]:
        """The mean nats per counted target."""
        return self.model.loss(*inputs, **masks), (inputs, masks)

    def backward(self, dloss: float, cache: Cache) -> None:
        """Adds to every parameter's gradient. `loss_and_grad` can only add a whole gradient, so that is scaled."""
        inputs, masks = cache
        before = [p.grad.copy() for p in self.model.parameters()]
        self.model.zero_grad()
        self.model.loss_and_grad(*inputs, **masks)
        for p, start in zip(self.model.parameters(), before, strict=True):
            p.grad = start + dloss * p.grad


class HoldsEmbedding:
    """Before `MaskedLMHead` among the bases of a class: the layer holds the embedding that it shares."""

    embedding: Embedding

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., C) -> logits (..., V)."""
        return super().forward(x, self.embedding)  # type: ignore[misc]

    def backward(self, dlogits: Array, cache: Cache) -> Array:
        """dlogits (..., V) -> dx (..., C)."""
        return super().backward(dlogits, cache, self.embedding)  # type: ignore[misc]


def tied(head: type, C: int, V: int, embedding: Embedding) -> Any:
    """A `MaskedLMHead` (or a faulty one) that holds its embedding, so that it can be checked alone."""
    layer = type(head.__name__, (HoldsEmbedding, head), {})(C, V)
    layer.embedding = embedding
    return layer
