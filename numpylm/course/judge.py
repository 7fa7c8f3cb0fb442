"""The tests of the exercises: compare outputs, check gradients, compare a layer with ours."""

import copy
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from numpylm.check.confidence import PATTERN
from numpylm.check.gradcheck import gradcheck
from numpylm.check.measure.evidence import Evidence, Words
from numpylm.check.numbers.detect import detect
from numpylm.check.report import Report, plural
from numpylm.check.student import Found, compare, same_as_ours
from numpylm.check.subject.calls import describe
from numpylm.course import one_change
from numpylm.course.exercise import Exercise, Result, Test, Verdict

Rng = np.random.Generator
Cases = Callable[[Rng], Iterable[tuple]]
OUTPUT = Words(
    what="the output",
    truth="the right one",
    truth_minus="Right minus yours",
    minus_truth="yours minus right",
    maker="your function",
    cosine="cosine with the right one",
    reshaped="with the right one reshaped",
)
ABOUT_OUTPUTS = {"sign", "factor", "transposed", "reshaped", "permuted", "swapped"}
TOLERANCE = 1e-8  # how much an output may differ from ours, relative to its largest number


def judge(exercise: Exercise, *theirs: Any) -> Verdict:
    """Run an exercise's test on what a student wrote. Never raises: an error becomes part of the verdict.

    NotImplementedError means that the exercise is not written yet; its message, if there is one, says what is missing.
    """
    try:
        with np.errstate(all="ignore"):  # NaN and infinity are reported in words
            result = exercise.test(*theirs)
    except NotImplementedError as error:
        return Verdict("unwritten", str(error) or "not written yet")
    except Exception as error:
        return Verdict("wrong", _with_place(exercise, theirs, in_words(error)))
    if result.problems:
        return Verdict("wrong", _with_place(exercise, theirs, "\n".join(result.problems)))
    return Verdict("right", result.remark)


# Phrases that say that something is wrong, but not where in the code. Then a search for the place is worth its time.
UNCLEAR = re.compile(
    r"numbers are wrong; at|expected .+, got |the output differs|differ from ours|NaN or infinity|takes no known path"
    r"|times the right one|rejects the right pair|not that of the loss|wrong order: what is at|Error: |became \d"
    r"|cosine with the truth|goes wrong in|multiple of|not proportional|derivative is wrong|wrong sign"
    r"|same number everywhere|has a norm of|All else is right",
    re.IGNORECASE,
)
GRADIENTS = "worst rel. error"  # the head of a gradient report


def _with_place(exercise: Exercise, theirs: tuple, text: str) -> str:
    """What is wrong, and the place of one change that would make it right, if the text names none and there is one."""
    about_gradients = GRADIENTS in text or "backward stopped" in text
    if not exercise.search or not UNCLEAR.search(" ".join(text.split())):
        return text

    def works(*changed: Any) -> bool:
        with hurry("all" if about_gradients else "outputs"), np.errstate(all="ignore"):
            try:
                return not exercise.test(*changed).problems
            except NotImplementedError:
                return True  # right so far; the backward is not written yet

    place = one_change.find(theirs, works)
    return f"{text}\n{place}" if place else text


_hurry: ContextVar[str] = ContextVar("_hurry", default="")
WRONG = Result(["wrong"])


def hurried() -> str:
    """Whether a test need not say what is wrong: "outputs" if outputs alone are tested, "all", or "" for no hurry."""
    return _hurry.get()


@contextmanager
def hurry(what: str) -> Iterator[None]:
    """Run tests without reports, as `one_change` needs it."""
    token = _hurry.set(what)
    try:
        yield
    finally:
        _hurry.reset(token)


def in_words(error: Exception) -> str:
    """An exception with the student's own line of code, and without the meaningless file names of notebook cells."""
    return without_cell_files(describe(error))


def without_cell_files(text: str) -> str:
    """A text with "your cell" in place of the file names that Jupyter gives to the cells of a notebook."""
    return re.sub(r"\S*ipykernel_\d+[/\\]\d+\.py", "your cell", text)


def both(*tests: Test) -> Test:
    """Run several tests in turn; the first one that finds a problem reports it."""

    def test(*theirs: Any) -> Result:
        remark = ""
        for part in tests:
            result = part(*theirs)
            if result.problems:
                return result
            remark = result.remark or remark
        return Result([], remark)

    return test


# --------------------------------------------------------------------------------------------- outputs


def outputs(ours: Callable, cases: Cases, slips: Mapping[str, Callable] | None = None, *, cached: bool = False) -> Test:
    """A test that a function returns what ours returns.

    Parameters
    ----------
    ours : callable
    cases : callable
        ``cases(rng)`` gives the tuples of arguments to try, the plainest first.
    slips : mapping of sentence -> callable
        Typical wrong functions. If the student's output equals the output of one of them, the sentence says what is
        wrong.
    cached : bool
        The function is a forward that returns ``(out, cache)``. Only ``out`` is compared, and ours returns only
        ``out``.
    """

    def test(*theirs: Any) -> Result:
        function = theirs[0]
        name = getattr(function, "__name__", "it")
        before: list[tuple[tuple, Any]] = []
        for args in cases(np.random.default_rng(0)):
            given = copy.deepcopy(args)
            got = function(*given)
            if changed := [i for i, (a, b) in enumerate(zip(args, given, strict=True)) if not equal(a, b)]:
                return Result([f"{name} changes its argument {_names(function, args)[changed[0]]}: make a new one."])
            if cached and not (isinstance(got, tuple) and len(got) == 2):
                return Result([f"{name} must return the pair (out, cache); it returns {_say(got)}."])
            got = got[0] if cached else got
            want = ours(*copy.deepcopy(args))
            if hurried():
                if not _same_kind(got, want) or not equal(got, want):
                    return WRONG
                continue
            problem = differ(got, want, args, function)
            if problem:
                told = {} if equal(got, want) else slips or {}  # where only the type is wrong, every slip may fit
                for sentence, slip in told.items():
                    if all(_same_slip(slip, *case) for case in [*before, (args, got)]):
                        return Result([f"{name}: {sentence}"])
                return Result([f"{name}{_called(args)}: {problem}"])
            before.append((args, got))
        return Result([], f"{plural(len(before), 'case')} as expected")

    return test


def _same_slip(slip: Callable, args: tuple, got: Any) -> bool:
    try:
        with np.errstate(all="ignore"):
            return equal(slip(*copy.deepcopy(args)), got)
    except Exception:
        return False


def equal(a: Any, b: Any) -> bool:
    """The same value, up to rounding; NaN equals NaN."""
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (np.ndarray, float, int, np.number)) and isinstance(b, (np.ndarray, float, int, np.number)):
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape:
            return False
        size = float(np.abs(y[np.isfinite(y)]).max(initial=0)) if y.dtype.kind in "fiu" else 0
        return bool(np.allclose(x, y, rtol=0, atol=TOLERANCE * max(size, 1e-30), equal_nan=True))
    if hasattr(a, "__dict__") and not callable(a) and type(a) is type(b):
        return True  # objects (layers, models) are not compared
    return bool(np.all(a == b)) if type(a) is type(b) or isinstance(a, str) else a is b


def differ(got: Any, want: Any, args: tuple, function: Callable) -> str:
    """What is wrong with an output, in words; "" if it is right."""
    if got is None:
        return "it returns None. Is the return missing?"
    if isinstance(want, tuple) or (isinstance(want, list) and any(isinstance(part, np.ndarray) for part in want)):
        if not isinstance(got, (tuple, list)) or len(got) != len(want):
            return f"expected {len(want)} values, got {_say(got)}"
        for i, (g, w) in enumerate(zip(got, want, strict=True)):
            if problem := differ(g, w, args, function):
                return f"output {i + 1} of {len(want)}: {problem}"
        return ""
    if isinstance(want, (np.ndarray, float, np.floating)):
        return _differ_in_numbers(got, want, args, function)
    if equal(got, want):
        return ""
    kinds = "" if _kind(got) == _kind(want) else f": {_kind(want)} is needed, this is {_kind(got)}"
    return f"expected {_say(want)}, got {_say(got)}{kinds}"


def _kind(value: Any) -> str:
    """The type of a value in words, with that of its first entry if it is a list."""
    if isinstance(value, (bool, np.bool_)):
        return "True or False"
    if isinstance(value, (int, np.integer)):
        return "a whole number"
    if isinstance(value, (float, np.floating)):
        return "a number with a fraction"
    if isinstance(value, np.ndarray):
        return "an array"
    inside = f" of {type(value[0]).__name__}" if isinstance(value, list) and value else ""
    if isinstance(value, dict) and value:
        inside = f" with keys of {type(next(iter(value))).__name__}"
    return f"a {type(value).__name__}{inside}"


def _differ_in_numbers(got: Any, want: Any, args: tuple, function: Callable) -> str:
    if isinstance(got, tuple) and len(got) == 2 and isinstance(got[0], np.ndarray):
        return "expected one object, got a pair. A forward returns (out, cache): use out alone"
    if isinstance(want, np.ndarray) and isinstance(got, (list, tuple)):
        return f"expected an array, got a {type(got).__name__}: np.array(…) makes one"
    try:
        x = np.asarray(got)
    except ValueError:
        return f"expected an array of shape {np.shape(want)}, got {_say(got)}"
    y = np.asarray(want)
    if x.dtype.kind not in "fiub":
        return f"expected numbers, got {_say(got)}"
    if isinstance(want, np.ndarray) and x.shape == y.shape and (wrong := _wrong_numbers(x, y)):
        return wrong
    if x.shape != y.shape:
        return f"wrong shape: expected {y.shape or 'one number'}, got {x.shape or 'one number'}{_why(x.shape, y.shape)}"
    if x.dtype.kind == y.dtype.kind == "b":  # True and False are compared as 1 and 0
        x, y = x.astype(float), y.astype(float)
    bad = ~np.isfinite(x) & np.isfinite(y)
    if bad.any():
        where = f" at {[int(i) for i in np.argwhere(bad)[0]]}" if x.ndim else ""
        return f"gives NaN or infinity{where}. An overflow in exp, a division by zero, or log(0)?"
    if equal(x, y):
        return ""
    return _pattern(x, y, args, function) or _worst(x, y)


def _same_kind(got: Any, want: Any) -> bool:
    """Whether a value has the type that ours has, as far as `differ` looks at it."""
    if isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)) and len(got) == len(want):
        return all(map(_same_kind, got, want))
    return not isinstance(want, np.ndarray) or (isinstance(got, np.ndarray) and not _wrong_numbers(got, want))


def _wrong_numbers(x: np.ndarray, y: np.ndarray) -> str:
    """Fractions where ids or a mask are needed: they look the same, but cannot be used as such."""
    if y.dtype.kind == "b" and x.dtype.kind != "b":
        return f"expected an array of True and False (bool), got one of {x.dtype}: a mask is no factor"
    if y.dtype.kind in "iu" and x.dtype.kind not in "iu":
        return f"expected an array of whole numbers, got one of {x.dtype}: ids must be int, as they are used as indices"
    return ""


def _why(got: tuple, wanted: tuple) -> str:
    """What may have led to a wrong shape."""
    if sorted(got) == sorted(wanted):
        return ": transposed?"
    if got == wanted[:-1] and wanted[-1] == 1:
        return ": keepdims=True in a sum, mean or maximum keeps the last axis with length 1"
    if len(got) == len(wanted) and all(a in (1, b) for a, b in zip(got, wanted, strict=True)):
        return ": is there a sum where each entry counts for itself, or is a factor missing that has all entries?"
    return ""


def _pattern(x: np.ndarray, y: np.ndarray, args: tuple, function: Callable) -> str:
    """Apply the gradient checker's patterns to an output instead of a gradient."""
    sizes = {
        f"the length of axis {axis} of {name}": float(length)
        for name, arg in zip(_names(function, args), args, strict=False)
        if isinstance(arg, np.ndarray)
        for axis, length in enumerate(arg.shape)
    }
    if y.ndim == 0:
        ratio = float(x) / float(y) if float(y) else 0.0
        found = [name for name, size in sizes.items() if size > 1 and abs(abs(ratio) - size) < 1e-6 * size]
        found += [f"1 / {name}" for name, size in sizes.items() if size > 1 and abs(abs(ratio) * size - 1) < 1e-6]
        if abs(ratio + 1) < 1e-6:
            return f"expected {float(y):.6g}, got {float(x):.6g}: the sign is wrong."
        return f"expected {float(y):.6g}, got {float(x):.6g}" + (
            f", which is {ratio:.6g} times as much: {found[0]}?" if found else ""
        )
    e = Evidence("", "", x.astype(np.float64), y.astype(np.float64), sizes=sizes, heads=(2, 3, 4), words=OUTPUT)
    causes = [cause for cause in detect(e) if cause.kind in ABOUT_OUTPUTS]  # the others are about gradients
    best = max(causes, key=lambda cause: cause.confidence, default=None)
    return best.text if best is not None and best.confidence > PATTERN else ""


def _worst(x: np.ndarray, y: np.ndarray) -> str:
    gap = np.abs(x - y)
    gap = np.where(np.isfinite(gap), gap, np.where(np.isnan(x) == np.isnan(y), 0, np.inf))
    place = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), y.shape))
    share = float((gap > TOLERANCE * max(float(np.abs(y).max()), 1e-30)).mean())
    return f"{share:.0%} of the numbers are wrong; at {list(place)} expected {y[place]:.6g}, got {x[place]:.6g}."


def _names(function: Callable, args: tuple) -> list[str]:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"number {i}" for i in range(len(names), len(args)))]


def _called(args: tuple) -> str:
    return "(" + ", ".join(_say(arg, 40) for arg in args) + ")"


def _say(value: Any, limit: int = 90) -> str:
    """A short description of a value."""
    if isinstance(value, np.ndarray):
        if value.size <= 6 and value.ndim <= 1:
            return np.array2string(value, precision=4, separator=", ")
        return f"array of shape {value.shape}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.6g}"
    text = repr(value)
    if len(text) <= limit:
        return text
    return f"a {type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else f"a {type(value).__name__}"


# ------------------------------------------------------------------------------------------- gradients


def gradients(
    cases: Callable[[Rng], tuple] | None = None,
    make: Callable[..., Any] = lambda *them: them,
    slips: Mapping[str, Callable] | None = None,
    **options: Any,
) -> Test:
    """A test that a backward is the derivative of its forward.

    Parameters
    ----------
    cases : callable, optional
        ``cases(rng)`` gives the inputs.
    make : callable
        Turns what the student wrote into an argument for `gradcheck`. By default it is a pair of functions.
    slips : mapping of sentence -> callable, optional
        Typical wrong backwards of a pair, as ``slip(dout, *inputs)``. If the student's gradient equals one of them, the
        result is the sentence and not the checker's report.
    **options
        Keyword arguments of the forward.
    """

    def test(*theirs: Any) -> Result:
        inputs = cases(np.random.default_rng(0)) if cases else ()
        if hurried() == "outputs":
            return Result()
        if hurried() and not _is_derivative(make(*theirs), inputs, options):
            return WRONG
        if slips and (sentence := _slipped(theirs, inputs, slips)):
            return Result([f"{theirs[-1].__name__}: {sentence}"])
        report = gradcheck(make(*theirs), *inputs, **options)
        report.title = getattr(theirs[0], "__name__", report.title)
        return from_report(report)

    return test


def _is_derivative(pair: Any, inputs: tuple, options: dict) -> bool:
    """Whether the gradient of the first input is right, by differences; True for a layer, which is checked in full."""
    if not isinstance(pair, tuple) or not inputs or inputs[0].dtype.kind != "f":
        return True
    forward, backward = pair
    out, cache = forward(*copy.deepcopy(inputs), **options)
    dout = np.random.default_rng(1).standard_normal(np.shape(out)) if np.ndim(out) else 0.7
    got = backward(copy.deepcopy(dout), cache)
    dx = got[0] if isinstance(got, (tuple, list)) else got
    step = np.random.default_rng(2).standard_normal(inputs[0].shape)

    def loss(t: float) -> float:
        moved = (inputs[0] + t * step, *copy.deepcopy(inputs[1:]))
        return float(np.sum(dout * forward(*moved, **options)[0]))

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    return bool(abs(float((dx * step).sum()) - slope) < 1e-5 * max(abs(slope), 1))


def _slipped(pair: tuple, inputs: tuple, slips: Mapping[str, Callable]) -> str:
    """The sentence of the slip with the same gradient as a pair; "" if there is none, or the pair raises an error."""
    try:
        out, cache = pair[0](*copy.deepcopy(inputs))
        dout = np.random.default_rng(1).standard_normal(np.shape(out)) if np.ndim(out) else 0.7
        got = pair[1](copy.deepcopy(dout), cache)
    except Exception:
        return ""  # the checker reports it better
    return next((sentence for sentence, slip in slips.items() if _same_slip(slip, (dout, *inputs), got)), "")


def held_against(name: str) -> Test:
    """A test of a layer or a pair: the forward equals ours, and the backward is the derivative of the forward."""

    def test(*theirs: Any) -> Result:
        kind = "layer" if inspect.isclass(theirs[0]) else "pair"
        target = theirs[0] if kind == "layer" else theirs
        if hurried():
            forward, gradient = same_as_ours(Found(theirs[0].__name__, kind, target), name)
            return Result() if forward and (gradient or hurried() == "outputs") else WRONG
        return from_report(compare(Found(theirs[0].__name__, kind, target), name, rows_too=False))

    return test


def drops(make: Callable[[Any], Any], shape: tuple[int, ...]) -> Test:
    """A test that a layer passes its rng to the dropout inside it, so that the output changes."""

    def test(cls: Any) -> Result:
        layer = make(cls)
        x = np.random.default_rng(0).standard_normal(shape)
        without, _ = layer.forward(x)
        out, _ = layer.forward(x, np.random.default_rng(1))
        if np.array_equal(out, without):
            return Result([f"{cls.__name__}: its forward was given an rng, but nothing is dropped. Is rng passed on?"])
        return Result()

    return test


MANY_ROWS = 6  # longer reports leave out the rows that are right
WRONG_ROWS = 5  # at most this many wrong rows are shown, those with the clearest causes


def from_report(report: Report) -> Result:
    """Turn a gradient check's report into a result; raises NotImplementedError for an unwritten exercise."""
    forward = next((row for row in report.rows if row.name == "forward"), None)
    if forward is not None and not forward.ok and forward.hint:
        return Result([f"{forward.hint}\nFix the forward first; then the gradients are checked."])
    if any(cause.kind == "error" and cause.detail == NotImplementedError.__name__ for cause in report.causes):
        raise NotImplementedError("the forward is right so far; the backward is not written yet" if forward else "")
    if report.ok:
        worst = max(row.max_rel_error for row in report.rows)
        return Result([], f"{plural(len(report.rows), 'array')} checked, worst relative error {worst:.0e}")
    right = [row for row in report.rows if row.ok]
    if len(report.rows) > MANY_ROWS and right:
        report.rows = [row for row in report.rows if not row.ok]
        report.notes.append(f"{plural(len(right), 'other row')} {'is' if len(right) == 1 else 'are'} right.")
    wrong = sorted(
        (row for row in report.rows if not row.ok), key=lambda row: -max((c.confidence for c in row.causes), default=0)
    )
    if left_out := wrong[WRONG_ROWS:]:
        report.rows = [row for row in report.rows if row not in left_out]
        report.notes.append(f"{plural(len(left_out), 'more row')} {'is' if len(left_out) == 1 else 'are'} wrong.")
    return Result([without_cell_files(str(report))])
