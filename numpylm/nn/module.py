"""Parameter and Module: the base classes of all layers, with named parameters and state_dict as in torch.nn.

A layer in numpylm is an object that owns parameters and has two methods::

    out, cache = layer.forward(x)       # the layer itself is not changed
    dx = layer.backward(dout, cache)    # returns dL/dx, adds dL/dparameter to each .grad

Everything that the backward needs from a forward call is in ``cache``. So a layer can be called twice before its
backward runs, it can be checked alone, and its caches can be thrown away for inference.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

Array = np.ndarray
Cache = Any  # what a forward passes to its own backward; opaque to all other code


class Parameter:
    """A trainable array and its accumulated gradient.

    Parameters
    ----------
    data : array
        The values. Training updates them in place.

    Attributes
    ----------
    data : array
    grad : array
        dL/ddata, with the same shape and dtype; zero at first. Every backward *adds* to it. A weight that is used
        twice (a tied embedding, a layer called twice) gets two gradients, and the chain rule sums them.
        Its memory is allocated at the first access, so a model that only generates text needs none.
    frozen : bool
        If True, no backward adds to its gradient, and `Module.trainable_parameters` leaves it out.
    """

    def __init__(self, data: Array) -> None:
        self.data = data
        self.frozen = False
        self._grad: Array | None = None

    @property
    def grad(self) -> Array:
        if self._grad is None:
            self._grad = np.zeros(self.data.shape, self.data.dtype)
        return self._grad

    @grad.setter
    def grad(self, value: Array) -> None:  # Python runs this for ``p.grad += g``, too
        self._grad = value

    def zero_grad(self) -> None:
        """Set the gradient to zero."""
        if self._grad is not None:
            self._grad.fill(0)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


def named_parameters(obj: object, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
    """Walk an object's attributes and yield ``(name, parameter)``, each parameter once.

    A name is the path of attributes that leads to the parameter, with list positions as numbers:
    ``h.0.attn.c_attn.weight``. If two paths lead to a parameter, it has the name of the first path.

    The walk enters lists, tuples, and all objects with a forward and a backward. So a layer that a student writes does
    not need a base class.
    """
    seen: set[int] = set()

    def walk(value: object, path: str) -> Iterator[tuple[str, Parameter]]:
        if id(value) in seen:
            return
        if isinstance(value, Parameter):
            seen.add(id(value))
            yield path, value
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield from walk(item, f"{path}.{index}")
        elif isinstance(value, Module) or (hasattr(value, "forward") and hasattr(value, "backward")):
            seen.add(id(value))
            for key, item in getattr(value, "__dict__", {}).items():
                yield from walk(item, f"{path}.{key}" if path else key)

    yield from walk(obj, prefix)


class Module:
    """Base class of all layers and models. Parameters are found by walking the attributes; nothing is registered."""

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield ``(name, parameter)`` in the order of the attributes, each parameter once."""
        return named_parameters(self)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """Yield ``(name, module)`` for this module and all modules inside it, also those in lists."""
        yield prefix, self
        for name, value in vars(self).items():
            for key, item in enumerate(value) if isinstance(value, list) else (("", value),):
                if isinstance(item, Module):
                    yield from item.named_modules(f"{prefix}.{name}.{key}".strip("."))

    def parameters(self) -> list[Parameter]:
        """All parameters, each once, even if several paths lead to it."""
        return [parameter for _, parameter in self.named_parameters()]

    def trainable_parameters(self) -> list[Parameter]:
        """The parameters that are not frozen. Give these to the optimizer."""
        return [parameter for parameter in self.parameters() if not parameter.frozen]

    def num_parameters(self) -> int:
        """The total number of values in all parameters, frozen ones included."""
        return sum(parameter.size for parameter in self.parameters())

    def zero_grad(self) -> None:
        """Set every gradient to zero. Call it once a step, before the first backward."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert all parameters to ``dtype`` in place, and return the module. Gradients begin at zero again."""
        for parameter in self.parameters():
            parameter.data = np.asarray(parameter.data, dtype)
            parameter._grad = None  # in the old dtype
        return self

    def state_dict(self) -> dict[str, Array]:
        """Name -> values. As in torch, these are the parameters' own arrays: copy them if training continues."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array], assign: bool = False) -> None:
        """Copy values into the parameters, converted to their dtype.

        With ``assign``, the given arrays become the parameters' own arrays. They are copied only to convert the dtype.
        Use it for arrays that no other code uses.

        Raises
        ------
        ValueError
            If a name is missing or unexpected, or a shape or dtype does not fit. The message lists all such names, and
            no value is loaded.
        """
        own = dict(self.named_parameters())
        problems = [f"missing: {name} {own[name].shape}" for name in own if name not in state]
        problems += [f"unexpected: {name} {np.shape(state[name])}" for name in state if name not in own]
        for name in own.keys() & state.keys():
            value = np.asarray(state[name])
            if value.shape != own[name].shape:
                problems.append(f"misshapen: {name} should be {own[name].shape}, is {value.shape}")
            elif value.dtype.kind != "f":
                problems.append(f"not floating point: {name} is {value.dtype}")
        if problems:
            raise ValueError(
                f"these values do not fit {type(self).__name__} ({len(problems)} problems):\n  "
                + "\n  ".join(sorted(problems))
            )
        for name, parameter in own.items():
            if assign:
                parameter.data = np.asarray(state[name], parameter.dtype)
            else:
                parameter.data[...] = state[name]


class SkipInit(np.random.Generator):
    """Pass it as ``rng`` to build a model without initial weights, because they will be loaded from a file.

    Drawing the 124 million initial weights of GPT-2 takes two seconds, and for each matrix three times its memory. It
    is like ``torch.nn.utils.skip_init``.
    """

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, dtype: DTypeLike) -> Parameter:
    """A parameter drawn from N(0, std²). It is drawn in float64, so one seed gives the same model in any dtype."""
    if isinstance(rng, SkipInit):
        return Parameter(np.empty(shape, dtype))
    return Parameter((std * rng.standard_normal(shape)).astype(dtype))


def check_last_axis(layer: object, x: Array, expected: int) -> None:
    """Raise a ValueError if the last axis of ``x`` does not have the ``expected`` size."""
    if x.shape[-1:] != (expected,):
        raise ValueError(
            f"{type(layer).__name__} expects inputs of shape (..., {expected}), got {np.shape(x)}: "
            f"the last axis must hold the {expected} features"
        )
