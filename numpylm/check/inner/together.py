"""One fault spoils several gradients: what is said of them together, so that it is said once, where it is nearest."""

from dataclasses import replace

from numpylm.check.inner.wiring import Causes
from numpylm.check.measure.trial import Trial
from numpylm.check.report import Cause, listing

CLEAR = 82  # a place with a formula


def together(causes: Causes, trial: Trial) -> None:
    """Let the narrowest finding stand for those that only follow from it."""
    _said_once(causes)
    _in_common(causes)
    _follows(causes, trial)


def _best(found: list[Cause]) -> Cause | None:
    return max(found, key=lambda cause: cause.weight, default=None)


def _placed(causes: Causes) -> dict[str, Cause]:
    """The gradients of which no more is known than the lines in which they go wrong."""
    best = {name: _best(found) for name, found in causes.items()}
    return {name: cause for name, cause in best.items() if cause and cause.lines and cause.kind == "wiring"}


def _said_once(causes: Causes) -> None:
    """The same lines, and no more to say of them: the second row refers to the first."""
    first: dict[tuple[int, ...], Cause] = {}
    for name, cause in _placed(causes).items():
        same = first.setdefault(cause.lines, cause)
        if same is not cause:
            causes[name] = [replace(same, place=name)]


def _in_common(causes: Causes) -> None:
    """If one fault spoils them all, it stands in a line that all of them need."""
    placed = _placed(causes)
    sets = {cause.lines for cause in placed.values()}
    common = set.intersection(*map(set, sets)) if len(sets) > 1 else set()
    if not common or len(common) >= min(map(len, sets)):
        return
    lines, them = ("lines", "them") if len(common) > 1 else ("line", "it")
    said = f" Look at {lines} {listing(sorted(common), 8)} first: {listing(placed, 8)} have {them} in common."
    for name, cause in placed.items():
        causes[name] = [replace(c, text=c.text + said) if c is cause else c for c in causes[name]]


def _follows(causes: Causes, trial: Trial) -> None:
    """An input's gradient is made of everything behind it: a clear fault in a parameter explains it best."""
    inputs = trial.subject.input_names
    behind = [cause for name, found in causes.items() if name not in inputs and (cause := _best(found))]
    for name in [name for name in inputs if causes.get(name) is not None]:
        own = _best(causes[name])
        nearer = [cause for cause in behind if _clear(cause) or _narrower(cause, own)]
        if nearer and (own is None or (own.weight < 90 and own.text not in {cause.text for cause in nearer})):
            nearest = min(nearer, key=lambda cause: (not _clear(cause), len(cause.lines)))
            text = (
                f"{trial.subject.name}: the gradient of {name} is wrong as well. It is made of everything behind it, "
                f"so mend {nearest.place} first and look again."
            )
            causes[name] = [Cause(nearest.kind, text, 60, name)]


def _clear(cause: Cause) -> bool:
    return "Recovered" in cause.text or (" goes wrong in " in cause.text and cause.weight > CLEAR)


def _narrower(cause: Cause, own: Cause | None) -> bool:
    """Whether one names fewer lines than an input's own, which names many, or nothing at all."""
    vague = own is None or (own.kind == "wiring" and len(own.lines) > 2)
    return vague and bool(cause.lines) and (own is None or len(cause.lines) < len(own.lines))
