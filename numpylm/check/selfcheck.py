"""The gradient checks that numpylm runs on itself: every operation, layer, block and model.

The cases come in families: the layers that all models share, and then those of GPT, of Llama, of the
encoder-decoder, of BERT, or of a model of speech.

No two axes have the same size, so a transposed gradient never passes by chance. Ids repeat, some targets are ignored,
some keys are masked, one query may attend to nothing, and dropout is on wherever a layer has it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from numpylm.check.gradcheck import gradcheck
from numpylm.check.report import Report
from numpylm.check.selfcheck_inputs import BalanceLoss, Inputs, ModelLoss, PairLoss, Sizes, TrainingLoss, tied
from numpylm.models.bert import Bert, BertConfig
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.models.llama import Llama, LlamaConfig
from numpylm.models.lora import LoRALinear
from numpylm.models.speech_ctc import SpeechCTC, SpeechCTCConfig
from numpylm.models.transformer import Transformer, TransformerConfig
from numpylm.models.whisper import Whisper, WhisperConfig
from numpylm.nn import functional as F
from numpylm.nn.attention import (
    CausalSelfAttention,
    causal_mask,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from numpylm.nn.blocks import MLP, Block
from numpylm.nn.conv import Conv1d
from numpylm.nn.ctc import ctc_loss, ctc_loss_backward
from numpylm.nn.encoder_decoder import DecoderBlock, EncoderBlock
from numpylm.nn.gated_mlp import GatedMLP
from numpylm.nn.grouped_query_attention import GroupedQueryAttention
from numpylm.nn.heads import ClassificationHead, MaskedLMHead
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, Linear, RMSNorm
from numpylm.nn.llama_block import LlamaBlock
from numpylm.nn.mixture_of_experts import MixtureOfExperts
from numpylm.nn.positions import LAYOUTS, Rotary
from numpylm.nn.preference import answer_log_prob, answer_log_prob_backward, dpo_loss, dpo_loss_backward
from numpylm.nn.self_and_cross_attention import CrossAttention, SelfAttention, padding_mask

Case = tuple[str, Any, tuple, dict]  # title, layer or pair of functions, inputs, options

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
    packed = {"segments": i.segments()}
    yield "CausalSelfAttention, packed rows", CausalSelfAttention(C, H, 0.2), (x(B, T, C),), packed
    yield "GPT, packed rows, with its loss", ModelLoss(GPT(GPTConfig(V, S, 1, H, C))), (i.ids, i.targets), packed


def llama_cases(i: Inputs) -> Iterator[Case]:
    """The layers of a Llama, with and without experts, and the whole model."""
    B, T, S, H, D, V = i.sizes
    D += D % 2  # rotary positions turn pairs of channels
    C, inner, x = H * D, 2 * H * D - 3, i.x
    yield "silu", (F.silu, F.silu_backward), (2 * x(T, C),), {}
    yield "RMSNorm", RMSNorm(C), (x(B, T, C),), {}
    for layout in LAYOUTS:
        yield f"Rotary, {layout}", Rotary(D, layout=layout), (x(B, H, T, D), np.arange(T)), {}
    yield "Rotary, padded rows", Rotary(D), (x(B, H, T, D), i.rng.integers(0, 9, (B, T))), {}
    for activation in ("silu", "gelu"):
        yield f"GatedMLP, {activation}", GatedMLP(C, inner, activation, bias=activation == "gelu"), (x(B, T, C),), {}
    attention = GroupedQueryAttention(C, 2 * H, H, head_dim=D, dropout=0.2)
    yield "GroupedQueryAttention", attention, (x(B, T, C),), {}
    one = GroupedQueryAttention(C, H, 1, bias=True, out_bias=True)
    yield "GroupedQueryAttention, one key head", one, (x(B, T, C),), {}
    for k in (1, 2):
        yield f"MixtureOfExperts, {k} of 3", MixtureOfExperts(C, inner, 3, k), (x(B, T, C),), {}
    balance = BalanceLoss(MixtureOfExperts(C, inner, 4), lambda _, cache: cache.balance)
    yield "MixtureOfExperts, load-balancing loss", balance, (x(B, T, C),), {}
    yield "LlamaBlock", LlamaBlock(attention, GatedMLP(C, inner), C, 0.2), (x(B, T, C),), {}
    experts = LlamaBlock(attention, MixtureOfExperts(C, inner, 3), C, 0.2)
    yield "LlamaBlock with experts", experts, (x(B, T, C),), {}
    config = LlamaConfig(V, S, 2, 2 * H, C, H, D, inner, attention_bias=True)
    yield "Llama with its loss", ModelLoss(Llama(config)), (i.ids, i.targets), {}
    options: dict[str, Any] = {"tie_embeddings": False, "n_experts": 3, "router_aux_loss_coef": 0.1, "dropout": 0.2}
    config = LlamaConfig(V, S, 1, 2 * H, C, H, D, inner, **options)
    yield "Llama with experts and its loss", ModelLoss(Llama(config)), (i.ids, i.targets), {}
    packed = {"segments": i.segments()}
    yield "GroupedQueryAttention, packed rows", GroupedQueryAttention(C, 2 * H, H, head_dim=D), (x(B, T, C),), packed
    config = LlamaConfig(V, S, 1, 2 * H, C, H, D, inner)
    yield "Llama, packed rows, with its loss", ModelLoss(Llama(config)), (i.ids, i.targets), packed


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


def ctc_cases(i: Inputs) -> Iterator[Case]:
    """The loss of CTC, with a repeated label, an empty row and frames that are padding; and SpeechCTC."""
    B, T, S, H, D, V = i.sizes
    targets = np.full((B, 3), F.IGNORE_INDEX)
    targets[0] = 1
    targets[1:2, :2] = 1, 2
    enough = 5  # frames for three equal labels and the blanks between them
    lengths = enough + i.real(S).sum(axis=1)
    frames = 2 * T + 1
    C = H * (D + D % 2)
    config = SpeechCTCConfig(V, T + 1, 1, H, C, n_mels=D, dropout=0.2, activation="silu")
    heard = np.minimum(i.real(frames).sum(axis=1), frames)
    block = EncoderBlock(C, H, dropout=0.2, norm_first=True, activation="silu")
    yield "EncoderBlock, pre-norm", block, (i.x(B, T, C),), {"mask": padding_mask(i.real(T))}
    yield "SpeechCTC", SpeechCTC(config), (i.x(B, D, frames),), {"lengths": heard}
    yield "CTC loss", (ctc_loss, ctc_loss_backward), (i.x(B, enough + S, V), targets), {"lengths": lengths}


def speech_cases(i: Inputs) -> Iterator[Case]:
    """What a model that reads sound adds to an encoder-decoder."""
    B, T, S, H, D, V = i.sizes
    x = i.x
    yield "Conv1d", Conv1d(D, V, 2), (x(B, T + 1, D),), {}
    for stride, padding in ((1, 1), (2, 1), (3, 2)):
        yield f"Conv1d, stride {stride}, padding {padding}", Conv1d(D, V, 3, stride, padding), (x(B, T + 1, D),), {}
    C = H * (D + D % 2)  # sinusoidal positions need an even number of channels
    whisper = Whisper(WhisperConfig(V, S, 1, H, C, 2 * C - 1, n_mels=3, audio_positions=T, dropout=0.2))
    yield "Whisper with its loss", ModelLoss(whisper), (x(B, 3, 2 * T - 1), i.ids, i.targets), {}


def preference_cases(i: Inputs) -> Iterator[Case]:
    """The loss on pairs of answers, and whole models with it."""
    B, T, S, H, D, V = i.sizes
    C, D = H * D, D + D % 2
    reference = {"reference_chosen": i.x(B), "reference_rejected": i.x(B), "beta": 0.3}
    yield "DPO loss", (dpo_loss, dpo_loss_backward), (3 * i.x(B), 3 * i.x(B)), reference
    yield "answer's log p", (answer_log_prob, answer_log_prob_backward), (i.x(B, T, V), i.targets), {}
    ids, targets = (np.stack([a, i.rng.permuted(a, axis=1)], axis=1) for a in (i.ids, i.targets))  # (B, 2, T)
    sums = {"reference": 3 * i.x(B, 2)}
    yield "GPT with DPO's loss", PairLoss(GPT(GPTConfig(V, S, 2, H, C)), 0.3), (ids, targets), sums
    config = LlamaConfig(V, S, 1, 2 * H, H * D, H, D, 2 * H * D - 3)
    yield "Llama with DPO's loss", PairLoss(Llama(config), 0.3), (ids, targets), sums


def _self_attention(i: Inputs) -> Case:
    B, T, _, H, D, _ = i.sizes
    keys = {"mask": padding_mask(i.real(T))}
    return "SelfAttention, padding", SelfAttention(H * D, H, 0.2), (i.x(B, T, H * D),), keys


FAMILIES: dict[str, Callable[[Inputs], Iterator[Case]]] = {
    "gpt": gpt_cases,
    "llama": llama_cases,
    "encoder-decoder": encoder_decoder_cases,
    "bert": bert_cases,
    "ctc": ctc_cases,
    "speech": speech_cases,
    "preference": preference_cases,
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
