"""The content of a page that looks inside a model: everything is computed here, and packed as JSON and base64."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.inference.inside.measure import Pass, ablations, forward, gradient_times_input, logit_lens
from numpylm.inference.inside.texts import TOP, Choice, Text, encoder_text, language_text, likeliest, translation_text
from numpylm.inference.inside.views import LanguageView, TranslationView, View, batch_of, view_of
from numpylm.inference.log_probs import log_softmax
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import require_tokenizer
from numpylm.text.token_view import visible

LARGEST = 2_000_000  # bytes of a page
FRAME = 60_000  # bytes of a page without its numbers, at most
LONGEST = 256  # tokens in a stream: more cannot be looked at, and each needs a backward pass of its own
LENS = 5  # tokens that the logit lens shows for a layer
KINDS = {"self": "Self-attention", "encoder": "Encoder self-attention", "cross": "Cross-attention"}


def look_inside(
    model: Any,
    prompt: str,
    *,
    target: str | None = None,
    new_tokens: int | None = None,
    tokenizer: Any = None,
    own: bool = True,
    allow_special: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Everything that a page shows of a model that reads a text.

    Parameters
    ----------
    model : GPT, Llama, Bert or Transformer
    prompt : str
        The text; the source text of a Transformer. For a Bert that predicts tokens, [MASK] is a hidden token.
    target : str, optional
        The translation to look at, for a Transformer. Default: the one that it writes.
    new_tokens : int, optional
        Tokens that the model writes. Default: 12 for a language model (fewer if there is no room), as many as it wants
        for a Transformer.
    tokenizer : optional
        Default: ``model.tokenizer``.
    own, allow_special
        As in `prompt_ids`: whether numpylm trained the model, and whether marks in the prompt are special tokens.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        It can be written as JSON. Attention weights are whole numbers of 1/65535, so their error is below 1e-5. All
        other numbers are float32.

    Raises
    ------
    ValueError
        If the prompt is empty, or longer than the model reads or a page of `LARGEST` bytes holds.
    """
    if not prompt:
        raise ValueError("the prompt is empty: give a text to look at")
    if new_tokens is not None and new_tokens < 0:
        raise ValueError(f"--new-tokens must be at least 0, got {new_tokens}")
    tokenizer, view = tokenizer or require_tokenizer(model), view_of(model)
    if target is not None and not isinstance(view, TranslationView):
        raise ValueError(f"--target is for a model that translates; this is a {type(model).__name__}")
    if isinstance(view, LanguageView):
        text = language_text(
            view, tokenizer, prompt, new_tokens, lambda lengths: fits(view, lengths), own, allow_special
        )
    elif isinstance(view, TranslationView):
        text = translation_text(view, tokenizer, prompt, target, new_tokens)
    else:
        text = encoder_text(view, tokenizer, prompt)
    check_size(view, [len(ids) for ids in text.ids])
    return packed(view, tokenizer, text, progress)


# ------------------------------------------------------------------------------------------------ the size


def size_of(view: View, lengths: Sequence[int]) -> int:
    """The bytes of a page with streams of these lengths, to a few percent."""
    outputs = 1 if view.per_text else lengths[-1]
    layers = sum(step.stream == len(view.streams) - 1 and bool(step.kinds) for step in view.steps) + 1
    numbers = layers * outputs * (LENS * 8 + 8) + outputs * (sum(lengths) * 4 + TOP * 8)
    for step in view.steps:
        for kind in step.kinds:
            queries, keys = (lengths[stream] for stream in view.kinds[kind])
            pairs = queries * (queries + 1) // 2 if kind in view.causal else queries * keys
            numbers += step.n_head(kind) * (2 * pairs + 4 * outputs)
    return FRAME + numbers * 4 // 3 + layers * outputs * LENS * 8  # the last term: the texts of the lens's tokens


def fits(view: View, lengths: Sequence[int]) -> bool:
    """Whether a page with streams of these lengths is small enough."""
    return max(lengths) <= LONGEST and size_of(view, lengths) <= LARGEST


def check_size(view: View, lengths: Sequence[int]) -> None:
    """Raise ValueError if the page would be too large."""
    if fits(view, lengths):
        return
    share = next((n / 100 for n in range(99, 0, -1) if fits(view, [max(1, T * n // 100) for T in lengths])), 0.01)
    heads = sum(step.n_head(kind) for step in view.steps for kind in step.kinds)
    most = " and ".join(str(max(1, int(T * share))) for T in lengths)
    raise ValueError(
        f"the text has {' and '.join(map(str, lengths))} tokens, new ones included: too many for one page. Of this "
        f"model, with {heads} heads, about {most} fit into {LARGEST / 1e6:.0f} MB (and {LONGEST} at most). Shorten the "
        f"prompt, or lower --new-tokens"
    )


# --------------------------------------------------------------------------------------------- the numbers


def packed(view: View, tokenizer: Any, text: Text, progress: bool = False) -> dict[str, Any]:
    """Compute everything, and pack it."""
    found = forward(view, [batch_of(ids) for ids in text.ids])
    log_p = log_softmax(found.logits.astype(np.float64)).reshape(len(text.targets), -1)  # (O, V)
    if not np.isfinite(log_p).all():
        raise ValueError("the model's logits are not finite: has its training diverged?")
    known = np.array(text.targets)
    targets = np.where(known < 0, log_p.argmax(axis=-1), known)  # (O,)
    top = likeliest(log_p)  # (O, TOP)
    lens = logit_lens(view, found, targets, LENS)
    choices = text.choices
    if choices is None:
        choices = [Choice(o, int(targets[o]), top[o], log_p[o, top[o]]) for o in _written(text)]
    shown = [top, targets, lens.ids, *(choice.ids for choice in choices)]
    return {
        "family": type(view.model).__name__,
        "facts": facts(view),
        "perText": view.per_text,
        "masked": not view.per_text and not view.causal,
        "streams": [{"name": name, "ids": ids} for name, ids in zip(view.streams, text.ids, strict=True)],
        "given": text.given,
        "byModel": text.by_model,
        "names": names(view, tokenizer, text, shown),
        "kinds": attention(view, found, ablations(view, found, targets, progress)),
        "targets": targets.tolist(),
        "known": [i >= 0 for i in text.targets],
        "entropy": f32(-(np.exp(log_p) * log_p).sum(axis=-1)),
        "top": {"count": top.shape[-1], "ids": i32(top), "p": f32(np.exp(np.take_along_axis(log_p, top, axis=-1)))},
        "lens": {
            "count": lens.ids.shape[-1],
            "layers": len(lens.ids),
            "ids": i32(lens.ids),
            "p": f32(np.exp(lens.log_p)),
            "targetP": f32(np.exp(lens.target_log_p)),
            "targetRank": i32(lens.target_rank),
        },
        "surprise": f32(-log_p[np.arange(len(targets)), targets]),
        "gradient": [f32(values) for values in gradient_times_input(view, text.ids, targets)],
        "steps": [
            {"output": c.output, "chosen": c.chosen, "ids": c.ids.tolist(), "p": f32(np.exp(c.log_p))} for c in choices
        ],
    }


def _written(text: Text) -> range:
    """The outputs whose tokens the model has written: those from the last given token on."""
    return range(text.given - 1, len(text.targets) - (text.targets[-1] < 0))


def attention(view: View, found: Pass, effects: dict[str, Array]) -> list[dict[str, Any]]:
    """The weights of all kinds of attention, and the effect of each head."""
    parts = []
    for kind, maps in found.attention(view).items():
        weights = np.stack([layer[0] for layer in maps])  # (L, H, T, S)
        L, H, T, _ = weights.shape
        causal = kind in view.causal
        kept = weights[:, :, *np.tril_indices(T)] if causal else weights  # row by row, up to the diagonal
        queries, keys = view.kinds[kind]
        shape = {"layers": L, "heads": H, "queries": queries, "keys": keys, "causal": causal}
        values = {"weights": pack(np.rint(kept * 65535).astype("<u2")), "effect": f32(effects[kind])}
        parts.append({"name": kind, "label": KINDS[kind], **shape, **values})
    return parts


def names(view: View, tokenizer: Any, text: Text, shown: Sequence[Any]) -> dict[str, Any]:
    """The texts of all tokens that the page shows, by their ids, and the labels of a classification."""
    parts = [*text.ids, *([] if view.per_text else shown)]  # a classification predicts labels, not tokens
    used = np.unique(np.concatenate([np.asarray(part).reshape(-1) for part in parts]))
    labels = (
        list(view.model.labels) or [f"LABEL_{n}" for n in range(view.model.config.n_labels)] if view.per_text else []
    )
    return {"tokens": {str(i): token_text(tokenizer, i) for i in used.tolist()}, "labels": labels}


def token_text(tokenizer: Any, token: int) -> str:
    """A token on one line, with all characters visible: a space is ·, a line end ⏎."""
    if token >= tokenizer.vocab_size:
        return "\N{REPLACEMENT CHARACTER}"
    special = {i: name for name, i in tokenizer.special_tokens.items()}
    return special.get(token) or visible(tokenizer.token_bytes(token)).replace("\n", "")


def facts(view: View) -> list[tuple[str, str]]:
    """What a reader should know about the model: its shape in a few words."""
    c = view.model.config
    stacks = [
        sum(step.stream == stream and bool(step.kinds) for step in view.steps) for stream in range(len(view.streams))
    ]
    return [
        ("Blocks", " + ".join(map(str, stacks))),
        ("Heads in a block", f"{c.n_head}"),
        ("Channels", f"{c.n_embd:,}"),
        ("Vocabulary", f"{c.vocab_size:,} tokens"),
        ("Parameters", f"{view.model.num_parameters():,}"),
    ]


def f32(values: Array) -> str:
    """Numbers as float32 in base64."""
    return pack(np.asarray(values).astype("<f4"))


def i32(values: Array) -> str:
    """Whole numbers as int32 in base64."""
    return pack(np.asarray(values).astype("<i4"))


def pack(values: Array) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
