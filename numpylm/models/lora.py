"""LoRA: fine-tune a frozen weight matrix by training a low-rank change of it (Hu et al. 2021, arXiv:2106.09685).

The trained weights of a model do not change. Next to each of them, two thin matrices learn what must be added to it
for the new task. They hold about a hundredth of the numbers, so the gradients and Adam's state are a hundredth as
large, too. After training, their product is added to the weights, and the model is an ordinary one again.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.nn.layers import Linear
from numpylm.nn.mixture_of_experts import MixtureOfExperts
from numpylm.nn.module import Array, Cache, Module, Parameter, normal


class LoRALinear(Linear):
    """A frozen linear layer plus a trained change of rank r: y = x W + b + s (x A) B (Hu et al. 2021, equation 3).

    Parameters
    ----------
    linear : Linear
        Its weight and bias are used without a copy, and frozen.
    rank : int
        r, the width between A and B. The change s A B of W has at most this rank.
    alpha : float, optional
        s = alpha / rank (default: alpha = 2 rank). The division keeps the size of the change the same for any rank.
    rng : numpy.random.Generator, optional

    Attributes
    ----------
    weight : Parameter (in, out)
    bias : Parameter (out,) or None
    lora_A : Parameter (in, r)
        Drawn from N(0, 1/in).
    lora_B : Parameter (r, out)
        Initialized to zeros, so training begins with exactly the model that was loaded.

    Notes
    -----
    With u = x A, the new branch is s u B: two linear layers in sequence.

        dB = s uᵀ dy
        du = s dy Bᵀ
        dA = xᵀ du
        dx = dy Wᵀ + du Aᵀ        (through the frozen layer, and through the new branch)

    W gets no gradient. This saves one of the three large matrix products of a linear layer's step, and the memory for
    W's gradient and its two running means.
    """

    def __init__(
        self, linear: Linear, rank: int, alpha: float | None = None, *, rng: np.random.Generator | None = None
    ) -> None:
        n_in, n_out = linear.weight.shape
        if not 1 <= rank <= min(n_in, n_out):
            raise ValueError(f"rank must lie between 1 and {min(n_in, n_out)} for a {n_in}×{n_out} matrix, got {rank}")
        rng = rng or np.random.default_rng()
        self.weight, self.bias = linear.weight, linear.bias
        for parameter in linear.parameters():
            parameter.frozen = True
        dtype = linear.weight.dtype
        self.scale = (2.0 * rank if alpha is None else alpha) / rank
        self.lora_A = normal(rng, (n_in, rank), 1 / math.sqrt(n_in), dtype)
        self.lora_B = Parameter(np.zeros((rank, n_out), dtype))

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., in) -> y (..., out)."""
        y, linear_cache = super().forward(x)  # (..., out), the frozen layer's output
        u = x.reshape(-1, x.shape[-1]) @ self.lora_A.data  # (N, r)
        y += (self.scale * u @ self.lora_B.data).reshape(y.shape)
        return y, (linear_cache, x, u)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., out) -> dx (..., in); adds to lora_A.grad and lora_B.grad."""
        linear_cache, x, u = cache
        dx = super().backward(dy, linear_cache)  # (..., in); W and b are frozen and get nothing
        x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (N, in), (N, out)
        if not self.lora_B.frozen:
            self.lora_B.grad += self.scale * (u.T @ dy_rows)  # (r, out)
        du = self.scale * (dy_rows @ self.lora_B.data.T)  # (N, r)
        if not self.lora_A.frozen:
            self.lora_A.grad += x_rows.T @ du  # (in, r)
        dx += (du @ self.lora_A.data.T).reshape(x.shape)
        return dx

    def merged_weight(self) -> Array:
        """W + s A B, a new array (in, out)."""
        change = self.lora_A.data @ self.lora_B.data  # (in, out)
        change *= self.scale
        change += self.weight.data
        return change


def add_lora(
    model: Any,
    rank: int,
    alpha: float | None = None,
    below: int = 0,
    targets: Sequence[str] | None = None,
    rng: np.random.Generator | None = None,
) -> None:
    """Add adapters to the linear layers of the blocks from number ``below`` on, and freeze everything else, in place.

    Parameters
    ----------
    model : GPT, Llama, Bert or Transformer
        Afterwards ``model.trainable_parameters()`` are the adapters. Give these to the optimizer.
    rank, alpha
        As in `LoRALinear`.
    below : int
        Blocks with a smaller number get no adapter, and backward does not compute their gradients.
    targets : sequence of str, optional
        Which layers of a block to adapt, such as ``["attn.c_attn"]``. Default: all, as named by `linear_layers`. The
        paper adapts attention only; all layers together learn more.

    Raises
    ------
    ValueError
        If the model has adapters already, a target is unknown, or nothing would be trained.
    """
    if has_lora(model):
        raise ValueError("this model has LoRA adapters already: merge them first (merge_lora)")
    known = list(dict.fromkeys(name for block in model.blocks for name in linear_layers(block)))
    targets = known if targets is None else targets
    if unknown := [target for target in targets if target not in known]:
        raise ValueError(f"unknown target {unknown[0]!r}; a block has {', '.join(known)}")
    if not (targets and 0 <= below < len(model.blocks)):
        raise ValueError(f"nothing would be trained: {len(model.blocks)} blocks, adapters from {below} on, {targets=}")
    for parameter in model.parameters():
        parameter.frozen = True
    for block in model.blocks[below:]:
        for name, layer in linear_layers(block).items():
            if name in targets:
                _replace(block, name, LoRALinear(layer, rank, alpha, rng=rng))


def linear_layers(block: Module) -> dict[str, Linear]:
    """The linear layers of a block by their names, such as ``attn.c_attn`` or ``mlp.experts.0.up_proj``.

    The router of a `MixtureOfExperts` is left out: it is only as wide as the number of experts.
    """
    modules = dict(block.named_modules())
    routers = [id(module.gate) for module in modules.values() if isinstance(module, MixtureOfExperts)]
    return {n: m for n, m in modules.items() if isinstance(m, Linear) and id(m) not in routers}


def _adapters(model: Any) -> list[tuple[int, str, LoRALinear]]:
    """All adapters of a model: number of the block, name of the layer, layer."""
    return [
        (number, name, layer)
        for number, block in enumerate(model.blocks)
        for name, layer in linear_layers(block).items()
        if isinstance(layer, LoRALinear)
    ]


def has_lora(model: Any) -> bool:
    """Whether any layer of this model has an adapter."""
    return bool(_adapters(model))


def lora_settings(model: Any) -> dict[str, Any] | None:
    """The arguments with which `add_lora` makes the same adapters (except for their values); None if there are none."""
    if not has_lora(model):
        return None
    found = _adapters(model)
    below, _, layer = found[0]
    rank = layer.lora_A.shape[1]
    targets = list(dict.fromkeys(name for _, name, _ in found))
    return {"rank": rank, "alpha": layer.scale * rank, "below": below, "targets": targets}


def merge_lora(model: Any) -> None:
    """Merge every adapter into its weight, in place. The model is ordinary again, with the same output up to rounding.

    Afterwards all parameters are trainable.
    """
    for number, name, layer in _adapters(model):
        layer.weight.data = layer.merged_weight()
        _replace(model.blocks[number], name, _plain(layer))
    for parameter in model.parameters():
        parameter.frozen = False


def merged(model: Any) -> Any:
    """A copy of the model with merged adapters, for export. Weights without an adapter are shared with ``model``."""
    shared: dict[int, Any] = {id(p): Parameter(p.data) for p in model.parameters()}
    shared[id(model.tokenizer)] = model.tokenizer
    plain = copy.deepcopy(model, shared)
    merge_lora(plain)
    return plain


def _replace(block: Module, name: str, layer: Linear) -> None:
    *path, attribute = name.split(".")
    owner: Any = block
    for part in path:
        owner = owner[int(part)] if part.isdigit() else getattr(owner, part)
    setattr(owner, attribute, layer)


def _plain(layer: LoRALinear) -> Linear:
    linear = Linear.__new__(Linear)
    linear.weight, linear.bias = layer.weight, layer.bias
    return linear
