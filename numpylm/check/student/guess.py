"""Guesses what to build a layer with, and what inputs to give it, from the names of its arguments.

No two sizes are equal, so nothing fits by chance. If a guess fails, the next one is tried. A student can also give the
inputs: a function ``NAME_example(rng)`` in the file returns them (for a class: an object, then its inputs).
"""

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from numpylm.check.student.special import special_ids, with_ids

B, T, S, C, H, D, V, OUT, HIDDEN = 2, 5, 6, 12, 3, 4, 11, 9, 8  # B·S <= C and HIDDEN < C: see check.inner.recovered
FEW = 300  # up to this number, all guesses are tried
ATTEMPTS = 2000  # of more guesses, the most likely ones are tried
Rng = np.random.Generator

SIZES: dict[int | float, tuple[str, ...]] = {
    C: (
        "dim", "d_model", "n_embd", "embd", "embed_dim", "emb_dim", "embedding_dim", "n_embed", "d", "c", "size", "features",
        "num_features", "n_features", "normalized_shape", "channels", "in_features", "n_in", "in_dim", "input_dim", "d_in",
        "fan_in", "input_size", "in_size", "width", "in_channels", "num_channels", "n_channels",
    ),
    OUT: ("out_channels", "out_features", "n_out", "out_dim", "output_dim", "d_out", "fan_out", "output_size", "out_size", "classes"),
    HIDDEN: ("hidden", "d_ff", "n_hidden", "hidden_dim", "hidden_size", "d_hidden", "ff_dim", "inner_dim"),
    H: ("n_head", "n_heads", "num_heads", "heads", "h", "nhead", "groups", "num_groups", "n_groups", "kernel_size", "kernel", "filter_size"),
    V: ("vocab_size", "num_embeddings", "v", "n_vocab", "vocab", "num_classes", "n_classes"),
    S: ("block_size", "max_len", "t", "context", "seq_len", "context_length", "max_seq_len", "n_positions"),
    2: ("n_layer", "n_layers", "num_layers", "layers", "depth", "pool", "pool_size", "pool_height", "pool_width"),
    1: ("stride", "pad", "padding", "dilation", "padding_idx", "pad_idx", "pad_id", "pad_token_id"),
    0.3: ("p", "dropout", "rate", "p_drop", "drop", "dropout_p", "dropout_rate", "drop_prob", "attn_dropout", "resid_dropout"),
    1e-5: ("eps", "epsilon"),
}  # fmt: skip
NUMBERS = {name: value for value, names in SIZES.items() for name in names}


class Config(SimpleNamespace):
    """A configuration with every known name, as attributes and as a dict."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)


def arguments(function: Callable, rng: Rng, unknown: tuple = (), **sizes: int | float) -> dict[str, Any]:
    """Keyword arguments for a constructor: all required ones, and dropout if it has an argument for it.

    Unknown names get the numbers in ``unknown`` that no other argument has, in order, then C.
    ``sizes`` replace the usual sizes for every name with the same meaning: ``hidden=48`` also sets d_ff.
    """
    other = {NUMBERS[name]: value for name, value in sizes.items()}
    numbers = {name: other.get(value, value) for name, value in NUMBERS.items()}
    parameters = {
        name: p
        for name, p in inspect.signature(function).parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    named = [numbers.get(name.lower().lstrip("_")) for name in parameters]
    left = [value for value in unknown if value not in named]
    given: dict[str, Any] = {}
    for name, parameter in parameters.items():
        known = name.lower().lstrip("_")
        required = parameter.default is parameter.empty
        if known in ("rng", "generator"):
            given[name] = np.random.default_rng(int(rng.integers(2**31)))
        elif known in numbers and (required or _switched_on(known, parameter.default)):
            given[name] = numbers[known]
        elif not required:
            continue
        elif known in ("config", "cfg", "conf", "args", "hparams"):
            given[name] = Config(**numbers, bias=True)
        elif known == "bias":
            given[name] = True
        elif known == "dtype":
            given[name] = np.float64
        else:
            given[name] = left.pop(0) if left else C
    return given


def _switched_on(name: str, default: Any) -> bool:
    """Whether an argument is off by default and should be on in a check: dropout, padding."""
    return "drop" in name or (name == "p" and default in (0, 0.0)) or ("pad" in name and default is None)


def _floats(*shapes: tuple[int, ...]) -> Callable[[Rng], list[Any]]:
    return lambda rng: [np.asarray(rng.standard_normal(shape)) for shape in shapes]


def _positive(*shapes: tuple[int, ...]) -> Callable[[Rng], list[Any]]:
    return lambda rng: [np.abs(values) + 0.5 for values in _floats(*shapes)(rng)]


def _ids(*shapes: tuple[int, ...]) -> Callable[[Rng], list[Any]]:
    return lambda rng: [with_ids(rng.integers(0, V, shape), [0, V - 1]) for shape in shapes]


def _ids_or_floats(rng: Rng) -> list[Any]:
    return [*_ids((B, T), (6,))(rng), *_floats((B, T, V), (6, V))(rng)]


def _masks(rng: Rng) -> list[Any]:
    causal = np.tri(T, dtype=bool)
    padding = rng.random((B, 1, T, S)) < 0.7
    padding[..., 0] = True
    return [causal, padding, padding[:, 0, 0, :T]]


def _constant(*values: Any) -> Callable[[Rng], list[Any]]:
    return lambda rng: list(values)


ANYTHING = _floats((B, T, C), (6, C), (B, H, T, D), (T, C), (C,), (B, T, V), (B, T), (B, C, T, D))
LAST = _floats((C, T), ())  # samples in columns, and a number
GUESSES_BY_NAME: list[tuple[tuple[str, ...], Callable[[Rng], list[Any]]]] = [
    (("ids", "idx", "tokens", "token_ids", "indices", "index", "input_ids"), _ids((B, T), (6,))),
    (("targets", "target", "labels", "label", "y", "y_true"), _ids_or_floats),
    (("logits", "scores", "y_pred"), _floats((B, T, V), (6, V))),
    (("q", "query", "queries"), _floats((B, H, T, D), (B, T, C), (T, C))),
    (("k", "v", "key", "value", "keys", "values"), _floats((B, H, S, D), (B, H, T, D), (B, S, C), (B, T, C), (T, C))),
    (("memory", "context", "enc_out", "encoder_out", "enc", "kv"), _floats((B, S, C))),
    (("w", "weight", "weights", "wq", "wk", "wv", "wo", "w1", "kernel"), _floats((C, OUT), (C, C), (C,), (OUT, C), (V, C), (4, H, 3, 3), (H, 3, 3), (4, T, 3), (C, 1))),
    (("wx", "w_x", "wxh", "w_xh"), _floats((C, HIDDEN), (C, 4 * HIDDEN), (C, 3 * HIDDEN))),
    (("wh", "w_h", "whh", "w_hh"), _floats((HIDDEN, HIDDEN), (HIDDEN, 4 * HIDDEN), (HIDDEN, 3 * HIDDEN))),
    (("h", "c", "h0", "c0", "prev_h", "prev_c", "h_prev", "c_prev"), _floats((6, HIDDEN), (B, HIDDEN))),
    (("w2",), _floats((OUT, C), (OUT, V))),
    (("b", "bias", "b1"), _floats((OUT,), (C,), (HIDDEN,), (4 * HIDDEN,), (4,), (H,), (3 * HIDDEN,), (OUT, 1), ())),
    (("b2",), _floats((C,), (V,))),
    (("gamma", "beta", "gain", "scale", "shift", "g"), _floats((C,), (1, H, 1, 1))),
    (("running_mean", "running_var", "moving_mean", "moving_var"), _positive((C,), (H,))),
    (("table", "emb", "embedding", "embeddings", "wte", "vectors"), _floats((V, C))),
    (("pos", "pos_emb", "pos_embedding", "pos_table", "wpe", "pe"), _floats((S, C))),
    (("mask", "attn_mask", "key_padding_mask"), _masks),
    (("n_head", "n_heads", "num_heads", "heads", "groups", "num_groups", "n_groups", "G"), _constant(H)),
    (("stride", "pad", "padding"), _constant(1)),
    (("pool_size", "pool", "pool_height", "pool_width", "kernel_size"), _constant(2)),
    (("training", "train", "is_training"), _constant(True)),
    (("mode",), _constant("train")),
    (("momentum",), _constant(0.9)),
    (("p", "dropout", "dropout_p", "rate", "drop", "p_drop"), _constant(0.3)),
    (("eps", "epsilon"), _constant(1e-5)),
    (("axis", "dim"), _constant(-1)),
    (("ln_param", "gn_param", "param", "params", "config"), _constant({})),
    (("dropout_param",), _constant({"mode": "train", "p": 0.7, "seed": 1})),
    (("bn_param",), _constant({"mode": "train"})),
    (("conv_param",), _constant({"stride": 1, "pad": 1})),
    (("pool_param",), _constant({"pool_height": 2, "pool_width": 2, "stride": 2})),
]  # fmt: skip


def in_domain(inputs: tuple) -> Iterator[tuple[tuple, str]]:
    """The same inputs in other domains: as positive numbers, then as numbers between 0 and 1."""

    def changed(change: Callable) -> tuple:
        return tuple(change(v) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v for v in inputs)

    yield changed(lambda v: np.abs(v) + 0.5), "positive inputs"
    yield changed(lambda v: 0.1 + 0.8 / (1 + np.exp(-v))), "inputs between 0 and 1"


def _with_special(guesses: list[Any], holder: Any, name: str) -> Iterator[Any]:
    """The guesses. Guessed ids come twice, first with the first, the last and all special ids of the code among them."""
    for value in guesses:
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            yield with_ids(value.copy(), [*special_ids(holder, name, V), 0, V - 1])
        yield value


def inputs(signature: inspect.Signature, skip_first: bool, rng: Rng, holder: Any = None) -> Iterator[tuple]:
    """Input tuples to try, most likely first. Ids include the special ones of ``holder``, the owner of the forward."""
    names = _required(signature, skip_first)
    choices = [list(_with_special((_maker(name) or _anything)(rng), holder, name)) for name in names]
    if math.prod(map(len, choices)) <= FEW:
        yield from itertools.product(*choices)
    else:
        yield from itertools.islice(combinations(choices), ATTEMPTS)


def combinations(choices: list[list[Any]]) -> Iterator[tuple]:
    """One value of each list, those at the beginning of the lists first."""
    for places in _likeliest([len(choice) for choice in choices]):
        yield tuple(choice[place] for choice, place in zip(choices, places, strict=True))


def anything(name: str, rng: Rng) -> list[Any]:
    """Values that an argument with this name may have, most likely first; those of a matrix if the name is unknown."""
    make = _maker(name) or _maker("w")
    return make(rng) if make else []


def unnamed(signature: inspect.Signature, skip_first: bool) -> bool:
    """Whether some argument after the first has an unknown name."""
    return any(_maker(name) is None for name in _required(signature, skip_first)[1:])


def _required(signature: inspect.Signature, skip_first: bool) -> list[str]:
    """The names of the arguments that get inputs."""
    names = []
    for name, parameter in list(signature.parameters.items())[1 if skip_first else 0 :]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY):
            continue
        if parameter.default is not parameter.empty and name.lower() not in ("targets", "labels", "b", "bias"):
            break
        names.append(name)
    return names


def _maker(name: str) -> Callable[[Rng], list[Any]] | None:
    return next((make for key in (name, name.lower()) for names, make in GUESSES_BY_NAME if key in names), None)


def _anything(rng: Rng) -> list[Any]:
    return [*ANYTHING(rng), *_ids((B, T), (6,))(rng), *LAST(rng)]


def _likeliest(lengths: list[int]) -> Iterator[tuple[int, ...]]:
    """Tuples of indices into lists of these lengths, smallest sums first."""

    def with_sum(lengths: list[int], total: int) -> Iterator[tuple[int, ...]]:
        if not lengths:
            yield from [()] if total == 0 else []
            return
        for first in range(min(lengths[0] - 1, total) + 1):
            yield from ((first, *rest) for rest in with_sum(lengths[1:], total - first))

    for total in range(sum(lengths) - len(lengths) + 1):
        yield from with_sum(lengths, total)
