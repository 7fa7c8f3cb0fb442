"""Which arrays on a layer are weights, which are constants, and where backward puts the gradients: found by trying.

Students keep weights in many ways: as `Parameter`, as ``W`` with ``dW`` beside it, in dicts and lists, in a class of
their own, in layers inside layers. Backward may also return the gradients or change the weights itself. An array that
the output depends on is a weight, unless its name says that it is a constant. A weight without a gradient is a fault.
Rows of a table that stand for padding are constants, too, as in torch.nn.Embedding.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.check.subject.calls import CheckError
from numpylm.check.subject.paths import (
    AttributePath,
    copied,
    float_arrays,
    get_at,
    gradient_paths,
    path_name,
    same_name,
    set_at,
    walk,
)
from numpylm.nn.module import Array, Parameter

CONSTANT = re.compile(
    r"(^|_)(tril|triu|causal|pe|cos|sin|freqs?|inv_?freq|running|moving|buffers?|targets?|labels?|y_?true|lengths?|"
    r"pos_?enc|sinusoids?|rope|angles?|alibi|const|constants?|noise)($|_|\d)|mask|one_?hot|positional_?enc",
    re.IGNORECASE,
)


def constant_name(name: str) -> bool:
    """Whether an array has the name of a constant: a mask, a table of cosines, targets, running means."""
    return bool(CONSTANT.search(name.split(".")[-1]))


def mask_values(values: Array) -> bool:
    """Whether an array holds zeros and one other number, ±1 or a very negative one: one-hot rows, a mask."""
    distinct = np.unique(values)
    if len(distinct) != 2 or 0 not in distinct:
        return False
    other = float(distinct[distinct != 0][0])
    return abs(other) == 1 or other <= -1e3


def constant_values(values: Array) -> bool:
    """Whether an array has the values of a constant: a mask, or sines and cosines of multiples of 0, 1, 2 …"""
    if values.ndim > 2 and values.shape[0] == 1:
        return constant_values(values[0])  # a mask (1, 1, T, T) for batches and heads
    if values.ndim < 2 or values.shape[0] < 2:
        return False
    if mask_values(values):
        # An identity matrix may be an initial W.
        return not (values.shape[0] == values.shape[-1] and np.array_equal(values, np.eye(len(values))))
    return bool(np.ptp(values) and np.isin(values[0], (0, 1)).all() and np.abs(values).max() <= 1)


def only_in_steps(values: Array, forward: Callable[[Array], Array]) -> bool:
    """Whether an output depends on an array only in steps, as on a mask that is compared with a number.

    Then a change of some entries gives the same output as twice that change. For a weight it gives another one. Only
    half of the entries are changed each time, because a mask without any 0 or 1 may give NaN everywhere.
    """
    rng = np.random.default_rng(2)
    for sign in (1, -1, 1, -1):
        half = sign * (rng.random(values.shape) < 0.5) * (0.5 + rng.random(values.shape)) * 1e-2
        try:
            near, far = forward(values + half), forward(values + 2 * half)
        except CheckError:
            return False
        if not np.isfinite(near).any() or not np.array_equal(near, far, equal_nan=True):
            return False
    return True


@dataclass(frozen=True)
class Slot:
    """A weight of a layer: all paths to it, and where its gradient comes from.

    ``source`` is "own" (a `Parameter` of ours), "beside" (at one of ``gradients``), "returned" (as number ``position``
    of what backward returns, or under the dict key ``key`` there), "stepped" (backward takes the step itself) or
    "missing".
    """

    name: str
    paths: tuple[AttributePath, ...]
    source: str = "own"
    gradients: tuple[AttributePath, ...] = ()
    position: int = 0
    key: Any = None


@dataclass(frozen=True)
class Surveyed:
    """A layer whose weights are known."""

    layer: Any
    slots: tuple[Slot, ...]
    notes: tuple[str, ...] = ()


class PlainParameter(Parameter):
    """A weight that is a plain array, behind the interface of `Parameter`. ``root``, a copy of the layer, holds it."""

    def __init__(self, root: Any, slot: Slot) -> None:
        self.root, self.slot = root, slot
        self.held: Any = None  # a gradient that backward returned

    @property
    def data(self) -> Array:
        return np.asarray(get_at(self.root, self.slot.paths[0]))

    @data.setter
    def data(self, value: Array) -> None:
        for path in self.slot.paths:
            set_at(self.root, path, value)

    def _place(self) -> AttributePath | None:
        return first_gradient(self.root, self.slot.gradients)

    @property
    def grad(self) -> Array:
        place = self._place() if self.slot.source == "beside" else None
        found = self.held if place is None else get_at(self.root, place)
        return np.zeros_like(self.data) if found is None else np.asarray(found)

    @grad.setter
    def grad(self, value: Array) -> None:
        if self.slot.source == "beside":
            place = self._place()
            if place is not None:
                set_at(self.root, place, value)
        else:
            self.held = None if self.slot.source == "missing" else value

    @property
    def accumulates(self) -> bool:
        """Whether its gradient is kept, so that backward could add a second one."""
        return self.slot.source == "beside" and not self.missing

    @property
    def missing(self) -> bool:
        """Whether backward left no gradient at all."""
        if self.slot.source == "beside":
            return self._place() is None
        return self.held is None


def first_gradient(root: Any, places: tuple[AttributePath, ...]) -> AttributePath | None:
    """The first of these places that holds a gradient."""
    for place in places:
        found = get_at(root, place)
        if found is not None and not isinstance(found, dict) and not callable(found):
            return place
    return None


def bind(root: Any, slots: tuple[Slot, ...]) -> list[tuple[str, Parameter]]:
    """The parameters of a copy of a layer."""
    return [
        (slot.name, get_at(root, slot.paths[0]) if slot.source == "own" else PlainParameter(root, slot))
        for slot in slots
    ]


def own_slots(layer: Any) -> list[Slot]:
    """All `Parameter` objects on a layer, wherever they are."""
    return [Slot(".".join(map(str, path)), (path,)) for path, value in walk(layer) if isinstance(value, Parameter)]


@dataclass
class Survey:
    """Trial runs on fresh copies of a layer. ``run`` makes a copy of a layer and calls its forward.

    Every run starts from the same random state, so that a difference between two of them has one cause.
    """

    run: Any  # (prepared copy) -> (subject, out, cache)
    layer: Any
    n_floats: int  # how many of the inputs are differentiated
    notes: list[str] = field(default_factory=list)

    def slots(self) -> list[Slot]:
        """All weights, in the order in which the layer holds them."""
        order = {path: i for i, (path, _) in enumerate(walk(self.layer))}
        found = own_slots(self.layer)
        paths = [tuple(paths) for _, paths in float_arrays(self.layer).values()]
        if paths:
            found += self._plain(paths)
        return sorted(found, key=lambda slot: order[slot.paths[0]])

    def late(self) -> tuple[Any, list[Slot]]:
        """The layer after a forward and a backward, and the weights with gradients that these calls created."""
        before = {path for path, _ in walk(self.layer)}
        warm = Survey(self.run, self._backward()[0].layer, self.n_floats)
        out, found = warm._out(warm.layer), []
        for _, paths in float_arrays(warm.layer).values():
            places = warm._beside(warm.layer, tuple(paths)) if paths[0] not in before else ()
            if places and warm._used(tuple(paths), out):
                found.append(Slot(path_name(paths[0]), tuple(paths), "beside", places))
        return warm.layer, found

    def _plain(self, candidates: list[tuple[AttributePath, ...]]) -> Iterator[Slot]:
        out = self._out(self.layer)
        repeatable = np.array_equal(out, self._out(self.layer), equal_nan=True)
        used = {paths: self._used(paths, out) for paths in candidates}
        candidates = [paths for paths in candidates if used[paths] is not None]  # forward writes the others itself
        subject, grads, stepped = self._backward()
        beside = {paths: self._beside(subject.layer, paths) for paths in candidates}
        leftover = [p for p in candidates if not beside[p] and used[p] and repeatable]
        returned = dict(self._returned(grads, leftover))
        for paths in candidates:
            name = path_name(paths[0])
            if beside[paths]:
                yield Slot(name, paths, "beside", beside[paths])
            elif paths in returned:
                yield Slot(name, paths, "returned", (), *returned[paths])
            elif paths in leftover:
                yield from self._without(name, paths, paths[0] in stepped)

    def _without(self, name: str, paths: tuple[AttributePath, ...], stepped: bool) -> Iterator[Slot]:
        """An array that the output depends on and that gets no gradient."""
        array = get_at(self.layer, paths[0])
        if stepped:
            yield Slot(name, paths, "stepped")
        elif constant_name(name) or constant_values(array) or self._marked(name, paths[0]):
            self.notes.append(f"{name} was taken for a constant: the output depends on it, and it gets no gradient.")
        elif array.ndim and only_in_steps(array, lambda values: self._out_with(paths, values)):
            self.notes.append(
                f"{name} was taken for a constant: it gets no gradient, and the output depends on it only in steps, as "
                "on a mask that is compared with 0. So its derivative is zero."
            )
        elif array.ndim:
            yield Slot(name, paths, "missing")

    def _marked(self, name: str, path: AttributePath) -> bool:
        """Whether the layer, or the inner layer that holds the array, lists it in ``constants`` or ``buffers``."""
        holder = get_at(self.layer, path[:-1])
        places = ((self.layer, name), (holder, path[-1]))
        return any(own in getattr(thing, kind, ()) for thing, own in places for kind in ("constants", "buffers"))

    def _out(self, layer: Any) -> Array:
        return np.array(self.run(layer)[1], dtype=np.float64)

    def _out_with(self, paths: tuple[AttributePath, ...], values: Array) -> Array:
        """The output with other values of one array."""
        layer = copied(self.layer)
        for path in paths:
            set_at(layer, path, values.copy())
        return self._out(layer)

    def _used(self, paths: tuple[AttributePath, ...], out: Array) -> bool | None:
        """Whether the output depends on an array; None if the forward writes it."""
        layer = copied(self.layer)
        value = get_at(layer, paths[0])
        nudge = np.random.default_rng(0).standard_normal(value.shape)
        changed = value * (1 + 1e-2 * nudge) + 1e-2 * nudge
        for path in paths:
            set_at(layer, path, changed)
        try:
            subject, other, _ = self.run(layer)
        except CheckError:
            return False
        if not np.array_equal(get_at(subject.layer, paths[0]), changed, equal_nan=True):
            return None
        return not np.array_equal(np.asarray(other, dtype=np.float64), out, equal_nan=True)

    def _backward(self) -> tuple[Any, list, set[AttributePath]]:
        """A copy after one backward, the returned gradients, and the arrays that it changed with a learning rate."""
        subject, out, cache = self.run(self.layer)
        before = {path: np.copy(value) for path, value in walk(subject.layer) if isinstance(value, np.ndarray)}
        dout = np.random.default_rng(1).standard_normal(np.shape(out)) if np.ndim(out) else 1.0
        grads = subject.backward(dout, cache)
        stepped = {path for path, value in before.items() if not np.array_equal(get_at(subject.layer, path), value)}
        return subject, grads, stepped if subject.rate else set()

    @staticmethod
    def _beside(layer: Any, paths: tuple[AttributePath, ...]) -> tuple[AttributePath, ...]:
        """The possible places of an array's gradient, if one of them holds a gradient after a backward."""
        everywhere = tuple(place for path in paths for place in gradient_paths(path) if place not in paths)
        return () if first_gradient(layer, everywhere) is None else everywhere

    def _returned(self, grads: list, leftover: list[tuple[AttributePath, ...]]) -> Iterator[tuple]:
        """Which returned gradient belongs to which array, for gradients beyond those of the inputs."""
        rest = list(leftover)
        surplus = list(enumerate(grads))[self.n_floats :]
        for position, grad in surplus:
            if isinstance(grad, dict):
                for key in grad:
                    paths = next((p for p in rest if same_name(key, path_name(p[0]))), None)
                    if paths is not None:
                        rest.remove(paths)
                        yield paths, (position, key)
            elif grad is not None and rest:
                fits = [p for p in rest if np.shape(get_at(self.layer, p[0])) == np.shape(grad)]
                paths = (fits or rest)[0]
                rest.remove(paths)
                yield paths, (position, None)


# ----------------------------------------------------------------------------------------------------- rows for padding


def padding_ids(layer: Any, forward: Callable[..., Any], holders: tuple = ()) -> Iterator[int]:
    """Whole numbers with a name of padding: defaults of the forward, or attributes of the layer or its inner layers.

    ``holders`` are the layers around it, which an inner layer may refer to.
    """
    named = dict(getattr(layer, "__dict__", {}))
    named |= {name: argument.default for name, argument in inspect.signature(forward).parameters.items()}
    around = (layer, *holders)
    for name, value in named.items():
        inside = callable(getattr(value, "forward", None)) and not isinstance(value, type)
        if isinstance(value, int) and not isinstance(value, bool) and "pad" in name.lower():
            yield value
        elif inside and not any(value is holder for holder in around):
            yield from padding_ids(value, value.forward, around)


def constant_rows(gradients: list[Any], pads: list[int], inputs: list[Any]) -> list[int]:
    """Padding ids that occur in the inputs and whose row is exactly zero in a gradient that has other rows."""
    ids = [value for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "iu"]
    used = {pad for pad in pads if any((value == pad).any() for value in ids)}
    tables = [g for g in gradients if isinstance(g, np.ndarray) and g.ndim > 1 and np.any(g)]
    return [pad for pad in sorted(used) if any(0 <= pad < len(table) and not np.any(table[pad]) for table in tables)]


def without(place: Array, rows: list[int]) -> Array:
    """A direction that does not change some rows."""
    kept = place.copy()
    kept[rows] = 0
    return kept
