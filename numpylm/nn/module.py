"""Parameter and Module: what a layer owns, by what name, and nothing else.

A layer in numpylm is an object that owns parameters and has two methods::

    out, cache = layer.forward(x)       # the layer itself is not changed
    dx = layer.backward(dout, cache)    # returns dL/dx, adds dL/dparameter to each .grad

Everything that one call must remember for its gradient travels in ``cache``. So a layer can be called twice
before it is differentiated, checked alone, or run without keeping anything.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

Array = np.ndarray
Cache = Any  # whatever forward wants to hand to backward; opaque to everybody else


class Parameter:
    """A trainable array and the sum of the gradients that reached it.

    Parameters
    ----------
    data : array
        The values; trained in place.

    Attributes
    ----------
    data : array
    grad : array
        dL/ddata, same shape and dtype, zero at first. Every backward *adds* to it: a weight that is used
        twice (a tied embedding, a layer called twice) has two gradients, and the chain rule sums them.
        Its memory is taken when it is first asked for: a model that only writes text needs none.
    frozen : bool
        Whether training leaves it as it is; see `Module.trainable_parameters`.
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
    def grad(self, value: Array) -> None:  # ``p.grad += g`` ends by assigning
        self._grad = value

    def zero_grad(self) -> None:
        """Set the gradient to zero; one that was never asked for is zero already."""
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
    ``h.0.attn.c_attn.weight``. A parameter that can be reached by two paths has the first path's name.

    Lists, tuples, and all objects with a forward and a backward are walked through, so layers that students write
    need no base class.
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
    """Base class of everything that owns parameters. Attributes give the names; nothing is registered."""

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield ``(name, parameter)`` in the order of the attributes, each parameter once."""
        return named_parameters(self)

    def parameters(self) -> list[Parameter]:
        """All parameters, each once, however many paths lead to it."""
        return [parameter for _, parameter in self.named_parameters()]

    def trainable_parameters(self) -> list[Parameter]:
        """Those that are not frozen: what an optimizer should be given."""
        return [parameter for parameter in self.parameters() if not parameter.frozen]

    def num_parameters(self) -> int:
        """How many numbers the parameters hold, frozen ones included."""
        return sum(parameter.size for parameter in self.parameters())

    def zero_grad(self) -> None:
        """Set every gradient to zero; call it once a step, before the first backward."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, Array]:
        """Name -> values. These are the live arrays, as in torch: copy them if training goes on."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array], assign: bool = False) -> None:
        """Copy values into the parameters, converted to their dtype.

        With ``assign`` the given arrays become the parameters' own, without a copy where their dtype is right:
        for arrays that nobody else uses.

        Raises
        ------
        ValueError
            If a name is missing or unexpected, or a shape or kind of number does not fit. The message lists
            every such name at once, and then nothing has been loaded.
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
    """Given as ``rng``, it leaves initial weights unset: for a model whose weights are about to be loaded.

    Drawing the 124 million numbers of GPT-2 takes two seconds, and each matrix three times its memory on the way.
    """

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, dtype: DTypeLike) -> Parameter:
    """A parameter drawn from N(0, std²). Drawn in float64, so one seed gives the same model in any dtype."""
    if isinstance(rng, SkipInit):
        return Parameter(np.empty(shape, dtype))
    return Parameter((std * rng.standard_normal(shape)).astype(dtype))


def check_last_axis(layer: object, x: Array, expected: int) -> None:
    """Raise one clear ValueError if the features of ``x`` are not what the layer was built for."""
    if x.shape[-1:] != (expected,):
        raise ValueError(
            f"{type(layer).__name__} expects inputs of shape (..., {expected}), got {np.shape(x)}: "
            f"the last axis must hold the {expected} features"
        )
