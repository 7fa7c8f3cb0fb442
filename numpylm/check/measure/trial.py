"""Running a layer under chosen conditions: its analytic gradients, and differences of its forward."""

import contextlib
import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.limits import STEPS
from numpylm.check.subject.calls import as_gradient, difference, is_float
from numpylm.check.subject.paths import everything
from numpylm.check.subject.subject import Subject, name_inputs
from numpylm.check.subject.survey import PlainParameter, Survey, Surveyed, constant_rows, padding_ids, without
from numpylm.nn.module import Array, Cache, Parameter

Place = Any  # an index tuple, or an array: a direction of length 1
SAME_MASKS, OTHER_MASKS = 2, 4  # seeds beside the check's own: the dropout masks of all forwards, and other ones


@dataclass(frozen=True)
class Setup:
    """One check: a layer or pair with its inputs, and the seed of everything random."""

    layer_or_pair: Any
    inputs: tuple
    options: dict
    seed: int = 0
    lift: bool = False  # whether float64 replaces float32
    seeded: bool = False  # whether NumPy's global generator must be reset before each forward

    @classmethod
    def make(cls, target: Any, inputs: tuple, options: dict, seed: int) -> "Setup":
        """Make float64 copies of floating-point inputs and options. All others stay as they are.

        For a layer, find by trying which of its arrays are weights.
        """
        arrays = any(isinstance(value, (np.ndarray, list)) for value in inputs)
        if not arrays and isinstance(target, (tuple, list)):  # as in gelu(1.5), where the number is the input
            inputs = tuple(np.array(value) if isinstance(value, float) else value for value in inputs)
        options = {name: as_float64(value) for name, value in options.items()}
        setup = cls(target, tuple(map(as_float64, inputs)), options, seed)
        return setup if isinstance(target, (tuple, list, type, Surveyed)) else setup.surveyed()

    def surveyed(self) -> "Setup":
        """The same setup with the layer's weights found."""

        def run(layer: Any) -> tuple[Subject, Any, Cache]:
            runner = Runner(self.replace(layer_or_pair=layer, seeded=True), Conditions())
            return runner.subject, *runner.run(copy.deepcopy(runner.inputs))

        survey = Survey(run, self.layer_or_pair, sum(map(is_float, self.inputs)))
        layer, slots = self.layer_or_pair, survey.slots()
        if any(value is None for value in everything(layer)):  # self.W may be None until forward knows the width of x
            warm, late = survey.late()
            layer, slots = (warm, slots + late) if late else (layer, slots)
        return self.replace(layer_or_pair=Surveyed(layer, tuple(slots), tuple(survey.notes)))

    def replace(self, **changes: Any) -> "Setup":
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Conditions:
    """The conditions of a trial. By default gradients start at zero and backward follows its own forward."""

    initial: bool = False  # parameters keep their initial values instead of random ones
    dropout: bool = True
    ones: bool = False  # an upstream gradient of ones
    disturb: bool = False  # another forward, on other values, before the backward
    dirty: bool = False  # gradients start at random values, as after an earlier backward


@dataclass
class Target:
    """One array that is differentiated: its live values, and its gradient from backward."""

    name: str
    values: Array
    analytic: Any
    parameter: Parameter | None = None


class Runner:
    """A fresh copy of a subject. Its forward gives the same output each time, even if it draws random numbers."""

    def __init__(self, setup: Setup, conditions: Conditions) -> None:
        self.setup, self.conditions = setup, conditions
        self.subject = Subject(setup.layer_or_pair)
        if setup.lift:
            self.subject.lift()
        self.inputs = [copy.deepcopy(value) for value in setup.inputs]

    def run(self, inputs: list, stream: int = SAME_MASKS) -> tuple[Any, Cache]:
        """Forward, with the same dropout masks each time (others for another ``stream``)."""
        options = self.setup.options
        if "rng" in self.subject.signature.parameters and "rng" not in options and self.conditions.dropout:
            options = options | {"rng": np.random.default_rng([self.setup.seed, stream])}
        if stream == SAME_MASKS:
            self.subject.rewind()
        if not self.setup.seeded:
            return self.subject.forward(*inputs, **options)
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed((self.setup.seed + stream) % 2**32)  # noqa: NPY002
        try:
            return self.subject.forward(*inputs, **options)
        finally:
            np.random.set_state(before)  # noqa: NPY002

    def value(self) -> Array:
        """A copy of the output for the present inputs and parameters. A copy, because a layer may reuse its array."""
        out, _ = self.run([copy.deepcopy(value) for value in self.inputs])
        return np.array(out)


class Trial(Runner):
    """A fresh copy of the subject under some conditions.

    Attributes
    ----------
    subject : Subject
    inputs : list
    out, dout : arrays of the same shape
        The output, and the upstream gradient u; the loss is Σ u · out.
    targets : list of Target
        Inputs first, then parameters.
    constants : dict
        Floating-point inputs that backward does not differentiate, with the reason.
    constant_rows : dict
        ``id`` of a table -> its rows for padding, which are not trained. No difference is taken along them.
    """

    def __init__(self, setup: Setup, conditions: Conditions | None = None) -> None:
        super().__init__(setup, conditions or Conditions())
        self.constants: dict[str, str] = {}
        self.constant_rows: dict[int, list[int]] = {}
        self.shrunk = False  # whether the last difference needed a finer step to stay within the domain
        self.starts: list[Array] = []  # the gradients before the backward
        self.measured: dict[str, tuple[Array, Array | None]] = {}  # what `evidence.measure` found for each target
        self.kinked: dict[int, bool] = {}  # ``id`` of an array -> whether its differences need a finer step
        rng = np.random.default_rng(setup.seed)
        for _, parameter in self.subject.parameters:
            values = random_values(parameter, rng)
            parameter.data = as_float64(parameter.data) if self.conditions.initial else values
            # Drawn always, so that the next values do not depend on the conditions.
            dirty = rng.standard_normal(parameter.shape)
            plain = isinstance(parameter, PlainParameter)  # in this style dW = … is no fault
            self.starts.append(dirty if self.conditions.dirty and not plain else np.zeros(parameter.shape))
        self.backward_once()

    def again(self, setup: Setup | None = None, **conditions: bool) -> "Trial":
        """A new trial of the same subject; of another setup, or with some conditions changed, if they are given."""
        return Trial(setup or self.setup, dataclasses.replace(self.conditions, **conditions))

    def backward_once(self) -> None:
        """Run forward and backward from the beginning, and collect the gradients."""
        rng = np.random.default_rng([self.setup.seed, 1])
        for (_, parameter), start in zip(self.subject.parameters, self.starts, strict=True):
            parameter.grad = np.copy(start)
        self.given = copy.deepcopy(self.inputs)  # the inputs before the forward
        self.weights = [np.copy(parameter.data) for _, parameter in self.subject.parameters]
        out, self.cache = self.run(self.inputs)
        self.out = np.array(out) if isinstance(out, np.ndarray) else out
        self.dout = self.upstream(rng)
        if self.conditions.disturb:
            self.other_forward()
        self.given_dout = copy.deepcopy(self.dout)
        self.targets = self._name_inputs(self.subject.backward(self.dout, self.cache))
        for (name, parameter), start in zip(self.subject.parameters, self.starts, strict=True):
            missing = isinstance(parameter, PlainParameter) and parameter.missing
            added = None if missing else difference(as_gradient(parameter.grad), start)
            self.targets.append(Target(name, parameter.data, added, parameter))
        self._find_constant_rows()

    def _find_constant_rows(self) -> None:
        """Find rows for padding that backward leaves out, or whose gradient it sets to zero."""
        pads = list(padding_ids(self.subject.layer, self.subject.forward_function))
        for target in self.targets if pads else []:
            now = None if target.parameter is None else target.parameter.grad
            rows = constant_rows([target.analytic, now], pads, self.given)
            if rows and np.shape(target.analytic) == target.values.shape:
                target.analytic = np.array(target.analytic)
                target.analytic[rows] = 0
                self.constant_rows[id(target.values)] = rows

    def upstream(self, rng: np.random.Generator) -> Any:
        """The upstream gradient: random, so that no symmetry hides a fault."""
        if self.conditions.ones:
            return np.ones(np.shape(self.out)) if np.ndim(self.out) else 1.0
        return rng.standard_normal(np.shape(self.out)) if np.ndim(self.out) else 0.5 + float(rng.random())

    def other_forward(self) -> None:
        """Run the forward on other values: its traces on the layer must not matter."""
        with contextlib.suppress(ValueError):  # a forward that rejects these values leaves no traces
            self.run([other_values(value) for value in self.given], stream=OTHER_MASKS)

    def gradients(self, dout: Any, old_cache: Cache = None, reuse: bool = False) -> list:
        """Analytic gradients of all targets for another upstream gradient (or on a cache that was used before)."""
        for _, parameter in self.subject.parameters:
            parameter.grad = np.zeros(parameter.shape)
        cache = old_cache if reuse else self.run([copy.deepcopy(value) for value in self.inputs])[1]
        found = [target.analytic for target in self._name_inputs(self.subject.backward(copy.deepcopy(dout), cache))]
        return found + [np.copy(parameter.grad) for _, parameter in self.subject.parameters]

    def _name_inputs(self, returned: list) -> list[Target]:
        """Which of the returned gradients belongs to which floating-point input."""
        grads = self.subject.take_returned(returned)
        loss, names = not np.ndim(self.out), self.subject.input_names
        named, self.constants = name_inputs(self.subject.name, names, self.inputs, grads, loss)
        return [Target(*entry) for entry in named]

    def derivative(self, values: Array, place: Place, h: float = STEPS[0]) -> Array:
        """d out / ds along a coordinate or a direction of ``values``: out's shape, fourth order.

            [8 (out(h) - out(-h)) - (out(2h) - out(-2h))] / 12h

        If it is not finite because the step leaves the domain, a finer step is taken.
        """
        step, self.shrunk = self.step(values, place, h), False
        result = self._difference(values, place, step)
        if np.isfinite(result).all() or not np.isfinite(self.out).all():
            return result
        self.shrunk = True
        for _ in range(12):  # the step leaves the domain, as log's does near 0
            step /= 10
            finer = self._difference(values, place, step)
            if np.isfinite(finer).all():
                last = self._difference(values, place, step / 100)  # well inside
                return last if np.isfinite(last).all() else finer
        return result

    @staticmethod
    def step(values: Array, place: Place, h: float) -> float:
        """The length of a step of relative size ``h``: small beside the array, not too small beside an entry."""
        step = h * scale_of(values)
        return step if isinstance(place, np.ndarray) else max(step, h * abs(float(values[place])))

    def _difference(self, values: Array, place: Place, step: float) -> Array:
        original = values.copy()
        rows = self.constant_rows.get(id(values), [])
        if isinstance(place, np.ndarray):
            place = without(place, rows) if rows else place
        elif rows and place[0] in rows:
            return np.zeros(np.shape(self.out))

        def at(steps: int) -> Array:
            if isinstance(place, np.ndarray):
                values[...] = original + (steps * step) * place
            else:
                values[place] = original[place] + steps * step
            return self.value()

        try:
            with np.errstate(all="ignore"):
                near, far = at(1) - at(-1), at(2) - at(-2)
                return np.asarray((8 * near - far) / (12 * step))
        finally:
            values[...] = original

    def slope(self, values: Array, place: Place, h: float = STEPS[0]) -> float:
        """dL/ds with L = Σ u · out, along a coordinate or direction."""
        return float(np.sum(self.derivative(values, place, h) * self.dout))


def scale_of(values: Array) -> float:
    """The scale of steps: the root mean square of the values, at most 1, and 1 if all values are zero."""
    size = float(np.sqrt(np.mean(values * values))) if values.size else 0.0
    return min(1.0, size) if size > 1e-12 else 1.0


def random_values(parameter: Parameter, rng: np.random.Generator) -> Array:
    """Values of order 1: N(0, 1) for vectors; matrices are scaled so that x @ W is about as large as x."""
    scale = 1.0 if np.ndim(parameter.data) < 2 else parameter.shape[0] ** -0.5
    return np.asarray(scale * rng.standard_normal(parameter.shape))


def other_values(value: Any) -> Any:
    """The same numbers in another order and a little smaller, so that they are valid but different."""
    if is_float(value):
        return 0.9 * np.flip(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return np.flip(value).copy()
    return copy.deepcopy(value)


def as_float64(value: Any) -> Any:
    """Arrays (and lists) of floating-point numbers as float64 copies; everything else as it is."""
    if isinstance(value, (np.ndarray, np.floating, list)) and not isinstance(value, float):
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype.kind == "f" else value
    return value
