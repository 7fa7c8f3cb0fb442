"""Run the layer again under other conditions, one at a time: the one that makes a gradient right names the fault."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numpylm.check.confidence import (
    AT_INITIAL_VALUES,
    MIRRORED,
    ONLY_DIRECTLY,
    ONLY_FROM_ZERO,
    OTHER_IDS,
    WITH_ONES,
    WITHOUT_DROPOUT,
    WITHOUT_MASK,
    WITHOUT_OPTION,
)
from numpylm.check.limits import CURED_ERROR, RIGHT_ERROR
from numpylm.check.measure.evidence import errors
from numpylm.check.measure.trial import Setup, Target, Trial
from numpylm.check.report import Cause, Causes
from numpylm.check.subject.calls import CheckError
from numpylm.check.subject.subject import Subject


class Laboratory:
    """Experiments on one subject that has some wrong gradients in its plain trial."""

    def __init__(self, trial: Trial, wrong: list[str]) -> None:
        self.trial = trial
        self.wrong = wrong
        self.before = errors(trial, wrong)

    def right(self, setup: Setup | None = None, **conditions: Any) -> dict[str, float]:
        """The errors of the arrays that are right under other conditions. Empty if the layer stops under them."""
        try:
            found = errors(self.trial.again(setup, **conditions), self.wrong)
        except CheckError:
            return {}
        return {name: error for name, error in found.items() if error < RIGHT_ERROR}

    def cured(self, setup: Setup | None = None, **conditions: Any) -> list[str]:
        """Which of the wrong arrays become right under other conditions."""
        found = self.right(setup, **conditions)
        return [name for name, error in found.items() if not error > CURED_ERROR * self.before[name]]

    def causes(self) -> Iterator[tuple[list[str], Cause]]:
        """(names of the arrays that become right, cause) for each experiment that explains something."""
        for experiment in (
            self._initial,
            self._dropout,
            self._ones,
            self._ids,
            self._ignored,
            self._mask,
            self._options,
            self._mirrored,
        ):
            yield from experiment()

    def _initial(self) -> Iterator[tuple[list[str], Cause]]:
        parameters = self.trial.subject.parameters
        if not parameters or self.trial.conditions.initial:
            return
        if any(p.data.size == 1 and not np.any(_initial_values(self.trial, name)) for name, p in parameters):
            return  # behind a gate of 0 all gradients are right, which proves nothing
        cured = self.cured(initial=True)
        if cured:
            equal = [name for name, _ in parameters if np.ptp(_initial_values(self.trial, name)) == 0]
            which = f" ({', '.join(equal[:3])}, all equal at first)" if equal else ""
            text = (
                f"{{what}} is right at the initial values of the parameters and wrong at random ones{which}: "
                "a parameter is missing in a product or a sum of backward, which does not show while it is 1 or 0."
            )
            yield cured, Cause("initial-values", text, AT_INITIAL_VALUES)

    def _dropout(self) -> Iterator[tuple[list[str], Cause]]:
        yield from self._dropout_by_rng()
        name = next((k for k, v in self.trial.setup.options.items() if "drop" in k and v), "")
        if name:
            cured = self.cured(self.trial.setup.replace(options=self.trial.setup.options | {name: 0.0}))
            yield from self._dropout_cause(cured)

    def _dropout_by_rng(self) -> Iterator[tuple[list[str], Cause]]:
        if "rng" in self.trial.subject.signature.parameters:
            without = self.trial.again(dropout=False)
            if not np.array_equal(np.asarray(without.out), np.asarray(self.trial.out)):
                yield from self._dropout_cause(self.cured(dropout=False))

    def _dropout_cause(self, cured: list[str]) -> Iterator[tuple[list[str], Cause]]:
        if cured:
            text = (
                "{what} is right without dropout and wrong with it: the backward must use the same mask (and the "
                "division by 1 - p) as its own forward, and the values after dropout where the forward uses them."
            )
            yield cured, Cause("dropout", text, WITHOUT_DROPOUT)

    def _ones(self) -> Iterator[tuple[list[str], Cause]]:
        cured = self.cured(ones=True)
        if cured:
            text = "{what} is right for an upstream gradient of ones and wrong for a random one: is it used everywhere?"
            yield cured, Cause("upstream", text, WITH_ONES)

    def _changed(self, change: Callable[[np.ndarray], np.ndarray | None]) -> Setup | None:
        """The setup with integer inputs changed, or None if nothing changes."""
        inputs, any_change = [], False
        for value in self.trial.setup.inputs:
            new = change(value) if isinstance(value, np.ndarray) and value.dtype.kind in "iu" else None
            any_change |= new is not None
            inputs.append(value if new is None else new)
        return self.trial.setup.replace(inputs=tuple(inputs)) if any_change else None

    def _ids(self) -> Iterator[tuple[list[str], Cause]]:
        def unique(ids: np.ndarray) -> np.ndarray | None:
            found, first = np.unique(ids, return_index=True)
            if ids.size == len(found) or (ids < 0).any():
                return None
            free = np.setdiff1d(np.arange(max(ids.size, ids.max() + 1)), found)
            # Not sorted: sorted ids would hide another fault.
            new = np.random.default_rng(0).permutation(free)[: ids.size - len(found)]
            repeated = np.ones(ids.size, dtype=bool)
            repeated[first] = False
            changed = ids.flatten()
            changed[repeated] = new  # the first use of each id stays: it may be a special id
            return changed.reshape(ids.shape)

        setup = self._changed(unique)
        cured = self.cured(setup) if setup else []
        if cured:
            text = (
                "{what} is right if no id occurs twice, and wrong if one does: "
                "every use of a row must add to its gradient."
            )
            yield cured, Cause("repeated-ids", text, OTHER_IDS)

    def _ignored(self) -> Iterator[tuple[list[str], Cause]]:
        def counted(ids: np.ndarray) -> np.ndarray | None:
            return np.maximum(ids, 0) if (ids < 0).any() else None

        setup = self._changed(counted)
        cured = self.cured(setup) if setup else []
        if cured:
            text = (
                "{what} is right if every target is counted, and wrong if some are ignored: loss and gradient must be "
                "divided by the number of counted targets, and an ignored one must have gradient 0."
            )
            yield cured, Cause("counting", text, OTHER_IDS)

    def _mask(self) -> Iterator[tuple[list[str], Cause]]:
        def is_mask(value: Any) -> bool:
            return isinstance(value, np.ndarray) and value.dtype == np.bool_ and not value.all()

        setup = self.trial.setup
        inputs = tuple(np.ones_like(v) if is_mask(v) else v for v in setup.inputs)
        options = {k: np.ones_like(v) if is_mask(v) else v for k, v in setup.options.items()}
        if any(map(is_mask, [*setup.inputs, *setup.options.values()])):
            cured = self.cured(setup.replace(inputs=inputs, options=options))
            if cured:
                text = (
                    "{what} is right if nothing is masked, and wrong with the mask: the backward must hide what the "
                    "forward hides, and count (in a sum, a mean) what the forward counts."
                )
                yield cured, Cause("mask", text, WITHOUT_MASK)

    def _options(self) -> Iterator[tuple[list[str], Cause]]:
        setup, takes = self.trial.setup, self.trial.subject.signature.parameters
        for name, value in setup.options.items():
            usual = takes[name].default if name in takes else None
            if isinstance(value, float) and isinstance(usual, (int, float)) and value != usual and "drop" not in name:
                cured = self.cured(setup.replace(options=setup.options | {name: usual}))
                text = (
                    f"{{what}} is right if {name} is {usual:g}, its default, and wrong if it is {value:g}: what the "
                    "forward does with it has no backward, or a wrong one."
                )
                yield cured, Cause("option", text, WITHOUT_OPTION)

    def _mirrored(self) -> Iterator[tuple[list[str], Cause]]:
        """Backward uses an array reversed or not transposed: its gradient is that of a forward with such an array."""
        for target in self.trial.targets:
            for how, mirrored in _mirror_images(target.values):
                others = [name for name in self.wrong if name != target.name]
                names = [name for name in others if self._is_that_of(name, target, mirrored)]
                if names:
                    text = (
                        f"{{what}} is exactly that of a forward in which {target.name} is {how}: backward uses it in "
                        "another orientation than forward."
                    )
                    yield names, Cause("transposed", text, MIRRORED)

    def _is_that_of(self, name: str, other: Target, mirrored: np.ndarray) -> bool:
        """Whether an array's given gradient is the true one if another array has other values."""
        target = next(target for target in self.trial.targets if target.name == name)
        if np.shape(target.analytic) != target.values.shape:
            return False
        rng, original = np.random.default_rng(7), other.values.copy()
        for _ in range(2):
            direction = np.asarray(rng.standard_normal(target.values.shape))
            given = float(np.vdot(target.analytic, direction))
            other.values[...] = mirrored
            try:
                slope = self.trial.slope(target.values, direction)
            except CheckError:
                return False
            finally:
                other.values[...] = original
            if abs(slope - given) > 1e-7 * max(float(np.linalg.norm(target.analytic)), 1e-12):
                return False
        return True


def _mirror_images(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """An array transposed if it is square, and reversed along each axis. Only versions that can differ from it."""
    if values.ndim == 2 and values.shape[0] == values.shape[1]:
        yield "transposed", values.T.copy()
    for axis in range(values.ndim) if values.ndim > 1 else ():
        if values.shape[axis] > 1:
            yield f"reversed along axis {axis}", np.flip(values, axis).copy()


def _initial_values(trial: Trial, name: str) -> np.ndarray:
    return np.asarray(dict(Subject(trial.setup.layer_or_pair).parameters)[name].data)


# --------------------------------------------------------------------------------------- conditions of the check itself


def behavior(trial: Trial, strict: Trial, names: list[str], causes: Causes) -> None:
    """Find gradients that are right if they start at zero and backward directly follows its own forward.

    Only conditions of the failed check itself can be the reason. Without them an error must become much smaller:
    it may have been small before.
    """
    plain_errors, strict_errors = errors(trial, names), errors(strict, names)
    cured = [
        name
        for name in names
        if plain_errors[name] < RIGHT_ERROR and not plain_errors[name] > CURED_ERROR * strict_errors[name]
    ]
    laboratory = Laboratory(trial, cured)
    for condition, cause in (("dirty", _assigned), ("disturb", _state)):
        if not cured or not getattr(strict.conditions, condition):
            continue
        still_right = laboratory.right(dirty=condition == "dirty", disturb=condition == "disturb")
        for name in cured:
            if name not in still_right:
                causes[name].append(cause(trial.subject.name, name))


def _assigned(layer: str, name: str) -> Cause:
    text = (
        f"{layer}: the gradient of {name} is assigned (=) where it must be added (+=): what was there before, from "
        "another use of the parameter or another part of the batch, is lost. Right from zero, wrong otherwise."
    )
    return Cause("assigned", text, ONLY_FROM_ZERO, name)


def _state(layer: str, name: str) -> Cause:
    text = (
        f"{layer}: the gradient of {name} is right if backward follows its forward directly, and wrong if another "
        "forward runs in between: something is kept on the layer (self.…) that belongs in the cache."
    )
    return Cause("state", text, ONLY_DIRECTLY, name)
