"""The gradient checks that numpylm runs on itself: every operation, layer, block and model.

The cases come in families: the layers that all models share, and then those of GPT, of the encoder-decoder, or of BERT.

No two axes have the same size, so a transposed gradient never passes by chance. Ids repeat, some targets are ignored,
some keys are masked, one query may attend to nothing, and dropout is on wherever a layer has it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from numpylm.check.gradcheck import gradcheck
from numpylm.check.report import Report
from numpylm.models.bert import Bert, BertConfig
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.models.lora import LoRALinear
from numpylm.models.transformer import Transformer, TransformerConfig
from numpylm.nn import functional as F
from numpylm.nn.attention import (
    CausalSelfAttention,
    causal_mask,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from numpylm.nn.blocks import MLP, Block
from numpylm.nn.encoder_decoder import DecoderBlock, EncoderBlock
from numpylm.nn.heads import ClassificationHead, MaskedLMHead
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numpylm.nn.module import Array, Cache, Module
from numpylm.nn.self_and_cross_attention import CrossAttention, SelfAttention, padding_mask

Case = tuple[str, Any, tuple, dict]  # title, layer or pair of functions, inputs, options

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

    def real(self, length: int) -> Array:
        """Which tokens of a padded batch are real: bool (B, length). The first row has padding, if it can have any."""
        lengths = self.rng.integers(1, length + 1, self.sizes.B)
        lengths[0] = max(1, length - 2)
        return np.arange(length) < lengths[:, None]


# ------------------------------------------------------------------------------- several things as one layer


class ModelLoss(Module):
    """A model and its cross-entropy as one layer: the model's inputs and the targets in, loss out."""

    def __init__(self, model: Any, label_smoothing: float = 0.0) -> None:
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, *inputs: Array, rng: np.random.Generator | None = None, **masks: Array) -> tuple[float, Cache]:
        """The model's inputs, and targets int (B, T) -> mean nats per counted token."""
        *model_inputs, targets = inputs
        logits, model_cache = self.model.forward(*model_inputs, rng=rng, **masks)
        loss, loss_cache = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        return loss, (model_cache, loss_cache)

    def backward(self, dloss: float, cache: Cache) -> None:
        """Adds to every parameter's gradient; there is nothing to return."""
        model_cache, loss_cache = cache
        self.model.backward(F.cross_entropy_backward(dloss, loss_cache), model_cache)


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


# ------------------------------------------------------------------------------------------------- cases


def shared_cases(i: Inputs) -> Iterator[Case]:
    """Operations and layers that all models use."""
    B, T, S, H, D, V = i.sizes
    C, x = H * D, i.x
    attention = (scaled_dot_product_attention, scaled_dot_product_attention_backward)
    yield "softmax", (F.softmax, F.softmax_backward), (x(B, T, V),), {}
    yield "softmax over axis 1", (F.softmax, F.softmax_backward), (x(B, T, V),), {"axis": 1}
    yield "relu", (F.relu, F.relu_backward), (x(T, C),), {}
    yield "gelu, tanh form", (F.gelu, F.gelu_backward), (2 * x(T, C),), {}
    yield "gelu, exact form", (F.gelu, F.gelu_backward), (2 * x(T, C),), {"approximate": "none"}
    yield "cross-entropy", (F.cross_entropy, F.cross_entropy_backward), (x(B, T, V), i.targets), {}
    yield "Linear", Linear(C, V), (x(B, T, C),), {}
    yield "Linear without bias", Linear(C, V, bias=False), (x(B, T, C),), {}
    yield "Linear with LoRA", LoRALinear(Linear(C, V, std=1), 2, rng=i.rng), (x(B, T, C),), {}
    yield "Embedding", Embedding(V, C), (i.ids,), {}
    yield "LayerNorm", LayerNorm(C), (x(B, T, C),), {}
    yield "Dropout", Dropout(0.3), (x(B, T, C),), {}
    yield "attention", attention, (x(B, H, T, D), x(B, H, S, D), x(B, H, S, D)), {}
    yield (
        "attention, mask and dropout",
        attention,
        (x(B, H, T, D), x(B, H, S, D), x(B, H, S, D)),
        {"mask": i.mask, "dropout_p": 0.3},
    )


def gpt_cases(i: Inputs) -> Iterator[Case]:
    """The layers of a GPT, and the whole model."""
    B, T, S, H, D, V = i.sizes
    C, x = H * D, i.x
    yield "CausalSelfAttention", CausalSelfAttention(C, H, 0.2), (x(B, T, C),), {}
    yield "MLP", MLP(C), (x(B, T, C),), {}
    yield "Block", Block(C, H, 0.2), (x(B, T, C),), {}
    yield "GPT", GPT(GPTConfig(V, S, 2, H, C, dropout=0.2)), (i.ids,), {}
    yield "GPT with its loss", ModelLoss(GPT(GPTConfig(V, S, 2, H, C))), (i.ids, i.targets), {}


def encoder_decoder_cases(i: Inputs) -> Iterator[Case]:
    """The layers of an encoder-decoder Transformer, in post-norm and in pre-norm, and the whole model."""
    B, T, S, H, D, V = i.sizes
    C, x = H * D, i.x
    smoothed = (F.cross_entropy, F.cross_entropy_backward)
    yield "silu", (F.silu, F.silu_backward), (2 * x(T, C),), {}
    yield "cross-entropy, label smoothing", smoothed, (x(B, T, V), i.targets), {"label_smoothing": 0.1}
    yield _self_attention(i)
    keys = {"mask": padding_mask(i.real(S))}
    yield "CrossAttention", CrossAttention(C, H, 0.2), (x(B, T, C), x(B, S, C)), keys
    for name, norm_first in (("post-norm", False), ("pre-norm", True)):
        encoder, decoder = (kind(C, H, norm_first=norm_first, dropout=0.2) for kind in (EncoderBlock, DecoderBlock))
        yield f"EncoderBlock, {name}", encoder, (x(B, T, C),), {"mask": padding_mask(i.real(T))}
        masks = {"mask": causal_mask(T, T), "memory_mask": padding_mask(i.real(S))}
        yield f"DecoderBlock, {name}", decoder, (x(B, T, C), x(B, S, C)), masks
    C += H * (D % 2)  # sinusoidal positions need an even number of channels
    source, padding = i.rng.integers(0, V, (B, S)), {"source_mask": i.real(S)}
    longest = max(S, 2)  # a single position's vector would look like a weight without a gradient
    config = TransformerConfig(V, longest, 1, H, C, dropout=0.2, norm_first=True, activation="silu", logits_bias=True)
    model = ModelLoss(Transformer(config), label_smoothing=0.1)
    yield "Transformer with its loss", model, (source, i.ids, i.targets), padding


def bert_cases(i: Inputs) -> Iterator[Case]:
    """The layers of BERT, both its heads, and the whole model with each of them."""
    B, T, S, H, D, V = i.sizes
    C, x = H * D, i.x
    padding = {"mask": i.real(T)}
    yield "tanh", (F.tanh, F.tanh_backward), (x(T, C),), {}
    yield _self_attention(i)
    block = EncoderBlock(C, H, dropout=0.2, activation="gelu", attention_dropout=0.2)
    yield "EncoderBlock, gelu", block, (x(B, T, C),), {"mask": padding_mask(padding["mask"])}
    yield "MaskedLMHead", tied(MaskedLMHead, C, V, Embedding(V, C)), (x(B, T, C),), {}
    for pooling in ("first", "mean"):
        yield f"ClassificationHead, {pooling}", ClassificationHead(C, 3, pooling, 0.2), (x(B, T, C),), padding
    types = {"token_types": i.rng.integers(0, 2, (B, T))}
    masked = Bert(BertConfig(V, S, 1, H, C, dropout=0.2))
    labels = Bert(BertConfig(V, S, 1, H, C, dropout=0.2, head="classification", n_labels=3))
    yield "Bert, masked tokens", masked, (i.ids,), padding | types
    targets = i.targets.copy()
    targets[-1, -1] = 0  # one at least is counted
    yield "Bert, masked tokens with its loss", TrainingLoss(masked), (i.ids, targets), padding | types
    yield "Bert, classification", labels, (i.ids,), padding | types


def _self_attention(i: Inputs) -> Case:
    B, T, _, H, D, _ = i.sizes
    keys = {"mask": padding_mask(i.real(T))}
    return "SelfAttention, padding", SelfAttention(H * D, H, 0.2), (i.x(B, T, H * D),), keys


FAMILIES: dict[str, Callable[[Inputs], Iterator[Case]]] = {
    "gpt": gpt_cases,
    "encoder-decoder": encoder_decoder_cases,
    "bert": bert_cases,
}


def cases(rng: np.random.Generator, sizes: Sizes | None = None, families: Iterable[str] = ("gpt",)) -> Iterator[Case]:
    """Yield (title, layer or pair, inputs, options) for everything in these families of models that has a gradient.

    What several families share comes once. ``FAMILIES`` has the names of all of them.
    """
    if unknown := [name for name in families if name not in FAMILIES]:
        raise ValueError(f"{unknown[0]} is no family of models: choose from {', '.join(FAMILIES)}")
    inputs, titles = Inputs(rng, sizes or Sizes()), set()
    for found in (shared_cases, *(FAMILIES[name] for name in families)):
        for case in found(inputs):
            if case[0] not in titles:
                titles.add(case[0])
                yield case


def run(
    rng: np.random.Generator | None = None, sizes: Sizes | None = None, families: Iterable[str] = ("gpt",)
) -> Iterator[Report]:
    """Check every case of `cases` and yield its report, titled."""
    rng = rng or np.random.default_rng(0)
    for title, layer, inputs, options in cases(rng, sizes, families):
        report = gradcheck(layer, *inputs, rng=rng, **options)
        report.title = title
        yield report


def summary(reports: list[Report]) -> str:
    """One line a layer: how many arrays were checked and the worst error, then every row that fails."""
    width = max(len(report.title) for report in reports)
    lines = [f"{'layer':{width}}  arrays  worst rel. error"]
    for report in reports:
        worst = max(row.max_rel_error for row in report.rows)
        verdict = "ok" if report.ok else "WRONG"
        lines.append(f"{report.title:{width}}  {len(report.rows):6}  {worst:16.1e}  {verdict}")
    failing = [report for report in reports if not report.ok]
    return "\n".join(lines + [f"\n{report}" for report in failing])
