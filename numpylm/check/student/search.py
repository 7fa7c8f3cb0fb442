"""Finds inputs for a student's forward: guesses are tried until one runs and gives gradients of the right shapes."""

import copy
import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from numpylm.check.measure.trial import Setup, Trial
from numpylm.check.student import fit, guess, handed
from numpylm.check.student.find import Found
from numpylm.check.subject.calls import CheckError, FinalError, UncheckedError
from numpylm.check.subject.subject import Subject

ACCEPTED = 100  # after this number of accepted guesses, the best one is taken
OF_INPUTS = (ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, UnboundLocalError)
GOOD, MISFIT, NOTHING, STOPS, NOT_FINITE = range(5)  # ranks of guessed inputs


@dataclass
class Tried:
    """Inputs that a forward accepts, and how good they are: the lower the rank, the better."""

    inputs: tuple
    notes: list[str]
    rank: int = GOOD
    misfit: str = ""  # index of the gradient with a wrong number of axes
    gradients: dict[str, tuple[int, ...]] | None = None  # the shapes of the gradients with a wrong shape
    error: CheckError | None = None  # the error of a backward that stops

    @property
    def badness(self) -> tuple[int, bool]:
        return self.rank, bool(self.gradients)


def search(item: Found, subject: Any, rng: np.random.Generator) -> tuple[tuple, list[str]]:
    """The guessed inputs of `best_of`, and notes about them."""
    best = best_of(item, subject, rng)
    return best.inputs, best.notes


def best_of(item: Found, subject: Any, rng: np.random.Generator) -> Tried:
    """The first guessed inputs under which everything runs and the gradients have as many axes as their arrays.

    The axes count because of code such as cs231n's layernorm: it sums over axis 0, which is right for two axes only. If
    no guess is right, the best one is taken, and the report says what is wrong.

    Raises
    ------
    CheckError
        If nothing runs; an `UncheckedError` if that may be because the guesses were wrong.
    """
    failed: tuple[CheckError, tuple] | None = None
    best: Tried | None = None
    accepted = 0
    for inputs in guess.inputs(*_signature(item, subject), rng, subject):
        try:
            tried = _fitted(subject, _try(subject, inputs))
        except FinalError:
            raise
        except CheckError as error:
            failed = failed or (error, inputs)
            continue
        forgives = best is not None and best.misfit and max(map(np.ndim, tried.inputs), default=0) < 2  # needs no sum
        if best is None or (tried.rank < best.rank and not forgives):
            if best is not None and best.misfit:
                tried.notes.append(f"the inputs had {shapes(tried.inputs)}; with {shapes(best.inputs)}, {best.misfit}.")
            best = tried
        accepted += 1
        if tried.rank == GOOD or accepted == ACCEPTED:
            break
    if best is None:
        raise unfed(_advice(item, failed), failed and failed[0])
    if best.error is not None and _may_be_our_fault(item, subject, best.error):
        raise unfed(_advice(item, (best.error, best.inputs)), best.error)
    return best


def _may_be_our_fault(item: Found, subject: Any, error: CheckError) -> bool:
    """Whether a backward may stop because an input, or an argument of the layer, was guessed wrong."""
    by_argument = item.kind == "layer" and item.example is None and handed.stops_on_a_guess(item.target, error)
    return by_argument or guess.unnamed(*_signature(item, subject))


def others(item: Found, subject: Any, inputs: tuple, rng: np.random.Generator) -> Iterator[tuple]:
    """Other inputs that fit as well and have the same first array, if the names of the rest are unknown."""
    signature = _signature(item, subject)
    if not guess.unnamed(*signature):
        return
    for guessed in itertools.islice(guess.inputs(*signature, rng, subject), ACCEPTED):
        if np.shape(guessed[0]) != np.shape(inputs[0]):
            continue
        try:
            tried = _fitted(subject, _try(subject, guessed))
        except CheckError:
            continue
        if tried.badness == (GOOD, False) and shapes(tried.inputs) != shapes(inputs):
            yield tried.inputs


def _signature(item: Found, subject: Any) -> tuple[inspect.Signature, bool]:
    """The signature of a forward, and whether its first argument is a ctx."""
    context = item.kind == "context"
    return inspect.signature(item.target.forward if context else Subject(subject).forward_function), context


def shapes(inputs: tuple) -> str:
    """The shapes of the arrays among some inputs, as ``shape (2, 5, 12), (12,)``."""
    return "shape " + ", ".join(str(np.shape(value)) for value in inputs if isinstance(value, np.ndarray))


def _try(subject: Any, inputs: tuple) -> Tried:
    """Rate some inputs, or the same in another domain. Raises CheckError if the forward stops at them."""
    out, inputs, domain = _forward_in_domain(subject, inputs)
    if out.dtype.kind != "f":
        raise CheckError(f"the forward gives an array of {out.dtype}, not of floating-point numbers")
    why = [f"forward gives NaN for normally distributed inputs, so it was checked with {domain}."] if domain else []
    tried = Tried(inputs, why)
    if not np.isfinite(out).all():
        tried.rank = NOT_FINITE
        return tried
    try:
        trial = Trial(Setup.make(subject, inputs, {}, 0))
    except CheckError as error:
        tried.rank, tried.error = STOPS, error
        return tried
    most = max(map(np.ndim, inputs), default=0)
    given = [target for target in trial.targets if isinstance(target.analytic, np.ndarray)]
    tried.gradients = {t.name: t.analytic.shape for t in given if t.analytic.shape != t.values.shape}
    misfits = [target for target in given if target.analytic.ndim != target.values.ndim]
    summed_well = any(t.analytic.ndim == t.values.ndim < most for t in given)
    if misfits and not summed_well:  # with more axes one sum may be right and the others wrong
        tried.rank, worst = MISFIT, misfits[-1]
        tried.misfit = (
            f"the gradient of {worst.name}, {worst.values.shape}, would have shape {np.shape(worst.analytic)}"
        )
    if not trial.targets:
        tried.rank = NOTHING
    return tried


def _fitted(subject: Any, tried: Tried) -> Tried:
    """The same guess, or a better one whose arrays have the sizes that the code uses."""
    for change in (fit.reshaped, fit.trimmed):
        if tried.badness == (GOOD, False) or tried.rank == NOT_FINITE:
            break
        inputs = change(subject, tried.inputs, tried.gradients or {})
        if shapes(inputs) != shapes(tried.inputs):
            try:
                other = _try(subject, inputs)
            except CheckError:
                continue
            tried = min(tried, other, key=lambda one: one.badness)
    return tried


def _forward_in_domain(subject: Any, inputs: tuple) -> tuple[np.ndarray, tuple, str]:
    """The output for some inputs. If it holds NaN, for inputs in the domain of a logarithm or a root."""
    first = np.asarray(Subject(subject).forward(*copy.deepcopy(inputs))[0])
    if first.dtype.kind == "f" and not np.isfinite(first).all():
        for other, domain in guess.in_domain(inputs):
            out = np.asarray(Subject(subject).forward(*copy.deepcopy(other))[0])
            if np.isfinite(out).all():
                return out, other, domain
    return first, inputs, ""


def unfed(text: str, error: CheckError | None) -> CheckError:
    """The error for code without working inputs. It counts against the code only if no other inputs could help."""
    cause = error and error.__cause__
    lost = cause is not None and not isinstance(cause, OF_INPUTS)
    if isinstance(cause, AttributeError):  # np.sofmax, self.wieght
        lost = isinstance(cause.obj, ModuleType) or hasattr(cause.obj, "forward")
    return CheckError(text) if lost else UncheckedError(text)


def _advice(item: Found, failed: tuple[CheckError, tuple] | None) -> str:
    """Why no inputs were found, starting with the student's own error, and how to give inputs."""
    given = "the object and its inputs" if item.kind == "layer" else "the inputs"
    example = f"add a function {item.name}_example(rng) to the file that returns {given} as a tuple."
    if failed is None or not failed[1]:
        return (
            f"{item.name}: forward takes no positional argument, so there is nothing to feed it. To check it, {example}"
        )
    error, inputs = failed
    return (
        f"{error}\nThat was with inputs of {shapes(inputs)}, guessed from their names; no other guess did better. "
        f"To say which to use, {example}"
    )
