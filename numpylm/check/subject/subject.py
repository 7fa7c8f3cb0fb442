"""The subject of a check: layers and pairs of functions in any known style, behind one interface.

The styles are: a layer of ours; a pair of functions; a pair as in cs231n (``dx, dw, db = f_backward(dout, cache)``);
a class as in torch.autograd.Function (``forward(ctx, x)``, ``backward(ctx, dout)``); a layer that keeps its cache on
itself (``out = forward(x)``, ``dx = backward(dout)``).
"""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.check.report import plural
from numpylm.check.subject.calls import (
    LOW,
    RANDOM,
    CheckError,
    Context,
    FinalError,
    Muted,
    as_gradient,
    call,
    in_float64,
    is_float,
    kind_of,
    positional,
    state_of,
)
from numpylm.check.subject.paths import copied, float_arrays, same_name, set_at, walk
from numpylm.check.subject.survey import PlainParameter, Surveyed, bind, constant_name, mask_values, own_slots
from numpylm.nn.module import Array, Cache, Parameter

TARGETS = ("y", "t", "truth", "expected", "desired", "gt")  # of a loss
# What a learning rate may be called, by an optimizer or by a backward that changes the weights itself.
LEARNING_RATES = ("lr", "learning_rate", "learningrate", "rate", "step_size", "stepsize", "eta", "lr0", "base_lr")


class Subject:
    """One copy of a layer or pair, ready to be run.

    Attributes
    ----------
    name : str
    layer : object or None
        The copy, if the subject is an object.
    parameters : list of (name, Parameter)
    keeps_cache : bool
        The layer keeps its cache on itself: ``backward(dout)``, or ``backward()`` of a loss.
    rate : str
        The name of backward's learning rate, or "". A backward with a learning rate changes the weights itself.
    muted : Muted
        Where its prints go.
    """

    def __init__(self, target: Any) -> None:
        self.name = ""
        self.layer: Any = None
        self.forward_function: Callable
        self._functions: tuple[Callable, ...]  # as the student wrote them
        self._backward: Callable
        self.parameters: list[tuple[str, Parameter]] = []
        self.muted = Muted()
        self.float64_spaces: list[dict[str, Any]] = []  # in them float32 means float64 while the subject runs
        if isinstance(target, (tuple, list)):
            self._use_pair(target)
        elif isinstance(target, type):
            self._use_context_class(target)
        else:
            self._use_layer(target)
        self.signature = inspect.signature(self.forward_function)
        takes = positional(self._backward)
        self.rate = next((name for name in takes if name.lower() in LEARNING_RATES), "")
        self.takes = [name for name in takes if name != self.rate]
        self.keeps_cache = self.layer is not None and len(self.takes) < 2
        if self.layer is None and len(self.takes) < 2:
            got = ", ".join(self.takes)
            self._backward = self._refused(f"{self.name}: backward must take (dout, cache), it takes ({got})")
        self.generators = [(g, state_of(g)) for _, g in walk(self.layer) if isinstance(g, RANDOM)]

    @property
    def plain(self) -> bool:
        """Whether some weights are plain arrays, not `Parameter`."""
        return any(isinstance(parameter, PlainParameter) for _, parameter in self.parameters)

    def lift(self) -> None:
        """From now on compute in float64 where the code says float32, if possible."""
        own = [getattr(function, "__globals__", {}) for function in self._functions]
        self.float64_spaces = [vars(np), *own, getattr(self.layer, "__dict__", {})]
        for array, paths in list(float_arrays(self.layer).values()):
            for path in paths if array.dtype.type in LOW else ():
                set_at(self.layer, path, array.astype(np.float64))

    @staticmethod
    def _refused(text: str) -> Callable:
        """A backward that raises when it is called, so that the error appears in the report."""

        def backward(*_: Any) -> None:
            raise FinalError(text)

        return backward

    def _use_pair(self, target: Any) -> None:
        if len(target) != 2 or not all(callable(part) for part in target):
            raise TypeError(
                "gradcheck expects a layer, a pair (forward, backward) of functions, or a class with "
                f"forward(ctx, …) and backward(ctx, …); got a {type(target).__name__} of {len(target)}"
            )
        self.forward_function, self._backward = self._functions = target
        function = getattr(self.forward_function, "func", self.forward_function)  # of a functools.partial
        name = getattr(function, "__name__", "function")
        self.name = name.replace("_forward", "").removesuffix("_fwd") or name

    def _use_layer(self, target: Any) -> None:
        layer = target.layer if isinstance(target, Surveyed) else target
        missing = [name for name in ("forward", "backward") if not callable(getattr(layer, name, None))]
        if missing:
            raise TypeError(
                f"gradcheck needs forward and backward; {type(layer).__name__} has no {' and no '.join(missing)}"
            )
        self.layer = copied(layer)
        self.name = type(layer).__name__
        self.forward_function, self._backward = self._functions = self.layer.forward, self.layer.backward
        slots = target.slots if isinstance(target, Surveyed) else tuple(own_slots(layer))
        self.parameters = [(name, p) for name, p in bind(self.layer, slots) if not getattr(p, "frozen", False)]

    def _use_context_class(self, target: type) -> None:
        static = all(
            isinstance(inspect.getattr_static(target, name, None), staticmethod) for name in ("forward", "backward")
        )
        if not static:
            raise TypeError(
                f"gradcheck got the class {target.__name__} itself: pass an object, {target.__name__}(…); only a "
                "class with static forward(ctx, …) and backward(ctx, …) is checked as a class"
            )
        self.name = target.__name__

        def forward(*inputs: Any, **options: Any) -> tuple[Any, Cache]:
            context = Context()
            return target.forward(context, *inputs, **options), context  # type: ignore[attr-defined]

        def backward(dout: Any, context: Cache) -> Any:
            return target.backward(context, dout)  # type: ignore[attr-defined]

        signature = inspect.signature(target.forward)  # type: ignore[attr-defined]
        forward.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        self.forward_function, self._backward = forward, backward
        self._functions = target.forward, target.backward  # type: ignore[attr-defined]

    def forward(self, *inputs: Any, **options: Any) -> tuple[Any, Cache]:
        """(out, cache) in every style. Several outputs become one long vector."""
        result = self._call("forward", self.forward_function, *inputs, **options)
        if self.keeps_cache:
            return self._checked(getattr(self.layer, "output", None) if result is None else result), None
        if isinstance(result, tuple) and len(result) == len(self.takes) > 2:
            if not self._several_outputs():
                return self._checked(result[0]), result[1:]  # y, x, w = f(x, w), and f_backward(dy, x, w)
            outs = [np.asarray(self._checked(out)) for out in result[:-1]]
            return np.concatenate([out.reshape(-1) for out in outs]), ([out.shape for out in outs], result[-1])
        if not (isinstance(result, tuple) and len(result) == 2):
            hint = ": is a return missing?" if result is None else ""
            raise FinalError(f"{self.name}: forward must return the pair (out, cache), got {kind_of(result)}{hint}")
        return self._checked(result[0]), result[1]

    def _several_outputs(self) -> bool:
        """Whether backward takes several upstream gradients, as ``lstm_step_backward(dnext_h, dnext_c, cache)``."""
        return all(name.lower().startswith(("d", "grad", "g_")) for name in self.takes[:-1])

    def _checked(self, out: Any) -> Any:
        """The output. Raises unless it is one array or number."""
        if not isinstance(out, (np.ndarray, float, int, np.number)):
            raise FinalError(
                f"{self.name}: the first thing that forward returns must be one array (or number), got {kind_of(out)}"
                + (": is a return missing?" if out is None else "")
            )
        if np.iscomplexobj(out) or np.asarray(out).dtype.kind not in "fiub":
            kind = "complex numbers" if np.iscomplexobj(out) else f"an array of {np.asarray(out).dtype}"
            raise CheckError(f"{self.name}: forward gives {kind}; only real numbers can be checked")
        return np.asarray(out) if self.keeps_cache else out

    def backward(self, dout: Any, cache: Cache) -> list:
        """The gradients that backward returns for the inputs, as a list."""
        arguments: tuple = (dout, cache)[: len(self.takes)] if self.keeps_cache else (dout, cache)
        if not self.keeps_cache and len(self.takes) > 2:
            arguments = (*self._split(dout, cache[0]), cache[1]) if self._several_outputs() else (dout, *cache)
        options = {self.rate: 1.0} if self.rate else {}
        stepped = [p for _, p in self.parameters if isinstance(p, PlainParameter) and p.slot.source == "stepped"]
        before = [(parameter.data, parameter.data.copy()) for parameter in stepped]
        grads = self._call("backward", self._backward, *arguments, **options)
        for parameter, (array, values) in zip(stepped, before, strict=True):
            # The step is -1 · gradient at a learning rate of 1.
            parameter.held = parameter.grad + (values - parameter.data)
            array[...] = values
            parameter.data = array
        if grads is None and self.keeps_cache:
            grads = getattr(self.layer, "dinputs", None)
        found = as_list(grads, self.input_names)
        return found if self.takes or not self.keeps_cache else [self._scaled(grad, dout) for grad in found]

    def _scaled(self, grad: Any, dout: Any) -> Any:
        """The gradient of a loss whose ``backward()`` takes no upstream gradient."""
        if np.ndim(dout):
            raise CheckError(
                f"{self.name}: backward takes no upstream gradient, which only a loss (one number) can do; its "
                f"forward gives an array of shape {np.shape(dout)}: write backward(self, dout)"
            )
        return None if grad is None else np.asarray(grad) * dout

    @staticmethod
    def _split(dout: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
        """The upstream gradients of several outputs, cut from one long vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(dout, ends[:-1]), shapes, strict=True)]

    def take_returned(self, grads: list) -> list:
        """Store the returned gradients of weights on the weights, and return the other gradients."""
        taken = set()
        for _, parameter in self.parameters:
            if isinstance(parameter, PlainParameter) and parameter.slot.source == "returned":
                slot = parameter.slot
                taken.add(slot.position)
                found = grads[slot.position] if slot.position < len(grads) else None
                found = found.get(slot.key) if isinstance(found, dict) else found
                parameter.held = found if found is None else np.asarray(found)
        return [grad for i, grad in enumerate(grads) if i not in taken]

    def rewind(self) -> None:
        """Reset the layer's own random generators to their first state."""
        for generator, state in self.generators:
            if isinstance(generator, np.random.Generator):
                generator.bit_generator.state = state
            else:
                generator.set_state(state)

    def _call(self, what: str, function: Callable, *args: Any, **options: Any) -> Any:
        with in_float64(self.float64_spaces) if self.float64_spaces else contextlib.nullcontext():
            return call(f"{self.name}.{what}", function, *args, muted=self.muted, **options)

    @property
    def input_names(self) -> list[str]:
        """The forward's own names for its positional arguments."""
        return [
            name
            for name, parameter in self.signature.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]


def as_list(grads: Any, names: list[str]) -> list:
    """The returned gradients as a list. A dict is read by the names of the inputs, and the rest of it comes last."""
    if isinstance(grads, dict):
        rest = dict(grads)
        found = [next((rest.pop(key) for key in list(rest) if same_name(key, name)), None) for name in names]
        while found and found[-1] is None:
            found.pop()
        return [*found, rest] if rest else found
    if grads is None:
        return []
    if isinstance(grads, list) and grads and isinstance(grads[0], (list, float)):
        return [grads]  # one gradient, as nested lists of numbers
    return list(grads) if isinstance(grads, (tuple, list)) else [grads]


def name_inputs(
    layer: str, names: list[str], inputs: list, grads: list, loss: bool
) -> tuple[list[tuple[str, Array, Any]], dict[str, str]]:
    """(name, values, gradient) of each differentiated input, and the constant inputs with the reason.

    ``loss`` says that the output is one number. Then ``y`` is a target.

    Raises
    ------
    CheckError
        If there are more gradients than inputs.
    """
    floats = [i for i, value in enumerate(inputs) if is_float(value)]
    if len(grads) == len(inputs) != len(floats):
        grads = [grads[i] for i in floats]  # backward also returned something for ids or masks
    while len(grads) > len(floats) and grads[-1] is None:
        grads = grads[:-1]  # as in torch: one for each argument, None for options
    if len(grads) > len(floats):
        raise CheckError(_surplus(layer, grads, len(floats)))
    names = names + [f"input {i}" for i in range(len(names), len(inputs))]
    targets, constants = [], {}
    for k, i in enumerate(floats):
        why = _undifferentiated(names[i], inputs[i], grads, k, loss)
        if why:
            constants[names[i]] = why
        else:
            targets.append((names[i], inputs[i], as_gradient(grads[k]) if k < len(grads) else None))
    return targets, constants


def _surplus(layer: str, grads: list, n_floats: int) -> str:
    """The sentence for more gradients than there are inputs."""
    inputs = plural(n_floats, "floating-point input") if n_floats else "no floating-point input"
    extra = f" One of them is {kind_of(grads[-1])}." if not isinstance(grads[-1], np.ndarray) else ""
    return (
        f"{layer}: backward returned {plural(len(grads), 'gradient')}, forward has {inputs}. Return one for each, in "
        f"the order of the forward's arguments.{extra}"
    )


def _undifferentiated(name: str, values: Array, grads: list, k: int, loss: bool) -> str:
    """Why an input without a gradient is a constant, or "" if it is none.

    A gradient of None marks a constant. If gradients are missing at the end, backward may have forgotten them. So an
    input counts as a constant only by its name (a mask, a table of cosines) or by its numbers (one-hot targets, an
    additive mask of 0 and -1e9).
    """
    if k == 0 or all(grad is None for grad in grads):
        return ""
    if k < len(grads):
        return "Backward returns None there, which says that it is a constant" if grads[k] is None else ""
    named = constant_name(name) or (loss and name.lower() in TARGETS)
    if named:
        return "Backward returns nothing there, and the name is that of a constant"
    return "Backward returns nothing there, and its numbers are those of a mask" if mask_values(values) else ""
