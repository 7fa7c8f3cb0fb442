"""What a check has found: causes, rows, and the table that a student reads."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

from numpylm.check.confidence import CLOSE_SECOND, WORTH_SAYING

WIDTH = 110  # columns of a printed report


@dataclass(frozen=True)
class Cause:
    """One explanation of what is wrong.

    Attributes
    ----------
    kind : str
        One of the keys of `KINDS`, for programs.
    text : str
        One or two sentences for people, with the place and the evidence.
    confidence : float
        How convincing it is, 0 to 100: the most convincing one is said first.
    place : str
        The parameter, input or inner layer that is wrong.
    lines : tuple of int
        The lines of the student's own file to which the fault was narrowed down; empty if no lines were found.
    source : str
        Where it was found, if not at the array itself: "lines" (in the student's code, line by line) or "recovered" (in
        a gradient inside the layer that was computed back from a parameter's gradient).
    inner : bool
        Whether the fault is in an inner layer that failed when it was checked alone.
    detail : str
        What exactly was recognized, for programs: a factor, the name of an array, an order of axes, an exception.
    """

    kind: str
    text: str
    confidence: float = WORTH_SAYING
    place: str = ""
    lines: tuple[int, ...] = ()
    source: str = ""
    inner: bool = False
    detail: str = ""

    def same_lines(self, other: "Cause") -> bool:
        """Whether both causes name the same lines and the same kind of fault, perhaps for two arrays."""
        return bool(self.lines) and (self.lines, self.kind, self.confidence) == (
            other.lines,
            other.kind,
            other.confidence,
        )


Causes = dict[str, list[Cause]]  # what explains each array, by its name

KINDS = {
    "error": "the code stops with an error",
    "shape": "a gradient has the wrong shape",
    "not-finite": "a gradient holds NaN or infinity",
    "never-written": "a gradient is missing",
    "assigned": "= where += is needed",
    "repeated-ids": "a row that is used several times counts once",
    "shared": "a parameter used in two ways gets one of its gradients",
    "state": "a call changes something on the layer that another call needs",
    "random": "the forward is not the same twice",
    "writes-input": "an input is changed in place",
    "writes-upstream": "the upstream gradient is changed in place",
    "writes-cache": "the cache is changed in place",
    "reused-output": "a second forward changes the output of the first",
    "writes-weight": "a weight is changed outside the optimizer",
    "upstream": "the upstream gradient is not used as it should be",
    "sign": "wrong sign",
    "factor": "a constant factor",
    "missing-factor": "a factor that differs from element to element",
    "transposed": "transposed",
    "reshaped": "reshaped where it should be transposed, or the other way round",
    "permuted": "parts in the wrong order",
    "swapped": "the gradient of something else",
    "missing-term": "a term is missing, or there is an extra one",
    "partial": "some contributions are not counted",
    "causal": "the future leaks into the past",
    "mixing": "positions are mixed that the forward keeps apart",
    "diagonal": "dependence between elements is left out",
    "mask": "masked or ignored places get a gradient",
    "counting": "divided by the wrong count of tokens",
    "dropout": "wrong only with dropout",
    "option": "right only at an option's default value",
    "initial-values": "right only at the initial values",
    "slope": "the derivative of an elementwise function is wrong",
    "call-count": "an inner layer's backward runs too seldom or too often",
    "cache-mixup": "an inner layer's backward is given the wrong cache",
    "wiring": "it goes wrong between inner layers",
    "lines": "it goes wrong in certain lines",
    "inner": "an inner layer is wrong",
    "order": "inner layers go back in the wrong order",
    "bias-correction": "Adam's bias correction is wrong",
    "epsilon": "epsilon is in the wrong place",
    "weight-decay": "weight decay is wrong",
    "moments": "Adam's running means are wrong",
    "step": "a parameter is not moved",
    "forward": "the forward is not ours",
    "targets": "the targets are not the next tokens, or all the same",
    "no-targets": "no target counts in the loss",
    "learning-rate": "the learning rate is too high or too low",
    "activations": "activations that are dead, or too large or small",
    "rounding": "float32 rounding, not a fault",
    "kink": "a kink, not a fault",
    "unknown": "no known pattern",
}

CALLERS = ("writes-input", "writes-upstream")  # faults that leave every gradient right


@dataclass
class Row:
    """What was found for one input or parameter: ``max_rel_error`` is the worst over the checked places."""

    name: str
    shape: tuple[int, ...]
    max_rel_error: float
    ok: bool
    hint: str = ""
    causes: list[Cause] = field(default_factory=list)

    def explain(self, causes: list[Cause]) -> None:
        """Keep the causes, most likely first, and put the best two into the hint."""
        self.causes = sorted(causes, key=lambda cause: -cause.confidence)
        if self.causes:
            best = self.causes[0]
            self.hint = best.text
            also = [
                c
                for c in self.causes[1:]
                if c.kind != best.kind and c.confidence >= max(WORTH_SAYING, best.confidence - CLOSE_SECOND)
            ]
            if also:
                self.hint += f" Also possible: {also[0].text}"


@dataclass
class Report:
    """Result of `gradcheck`. ``str(report)`` is a table; ``report.ok`` is True if every row passes."""

    title: str
    rows: list[Row]
    findings: list[Cause] = field(default_factory=list)  # what concerns the layer as a whole
    notes: list[str] = field(default_factory=list)  # worth knowing, but no fault
    seconds: float = 0.0
    unchecked: str = ""  # why the code was not checked

    @property
    def ok(self) -> bool:
        return bool(self.rows) and all(row.ok for row in self.rows) and not self.findings

    @property
    def only_changes(self) -> bool:
        """Whether all gradients are right, and the only fault is that arrays of the caller are changed in place."""
        rows_right = bool(self.rows) and all(row.ok for row in self.rows)
        return rows_right and bool(self.findings) and all(finding.kind in CALLERS for finding in self.findings)

    @property
    def problems(self) -> list[str]:
        """The texts of `findings`."""
        return [finding.text for finding in self.findings]

    @property
    def causes(self) -> list[Cause]:
        """Every explanation that was found, most likely first, each text once."""
        found = [*self.findings, *(cause for row in self.rows for cause in row.causes)]
        unique = {cause.text: cause for cause in sorted(found, key=lambda cause: cause.confidence)}
        return sorted(unique.values(), key=lambda cause: -cause.confidence)

    def row(self, name: str) -> Row:
        """The row of an input or parameter."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r} in this report; there are: {', '.join(row.name for row in self.rows)}")

    def __str__(self) -> str:
        width = max([len(row.name) for row in self.rows] + [4])
        shapes = ["×".join(map(str, row.shape)) or "scalar" for row in self.rows]
        shape_width = max([len(shape) for shape in shapes] + [5])
        lines = [f"{self.title}  ({self.seconds:.2f} s)"]
        if self.rows:
            lines.append(f"  {'name':{width}}  {'shape':{shape_width}}  worst rel. error")
        printed: dict[str, str] = {}
        for row, shape in zip(self.rows, shapes, strict=True):
            verdict = "ok" if row.ok else "WRONG"
            if row.hint in printed:
                verdict += f", see {printed[row.hint]}"
            lines.append(f"  {row.name:{width}}  {shape:{shape_width}}  {row.max_rel_error:16.1e}  {verdict}")
            if row.hint and row.hint not in printed:
                lines += paragraph(row.hint, 6)
                printed[row.hint] = row.name
        for finding in self.findings:
            if finding.text not in printed:
                lines += paragraph(finding.text, 2)
        if self.unchecked:
            lines += paragraph(f"Not checked: {self.unchecked}", 2)
        for note in self.notes:
            lines += paragraph(f"Note: {note}", 2)
        if not self.rows and not self.findings and not self.unchecked:
            lines.append("  nothing to check: no floating-point input (whole numbers count as ids) and no weights")
        return "\n".join(lines)


def paragraph(text: str, indent: int) -> list[str]:
    """Wrap a text. Indented lines (code) stay as they are."""
    lines = []
    for line in text.splitlines():
        if line.startswith(" "):
            lines.append(" " * indent + line)
        else:
            lines += textwrap.wrap(line, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
    return lines


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def listing(items: Any, limit: int = 4) -> str:
    """``a, b and c``, or the first few and how many more."""
    items = [str(item) for item in items]
    if len(items) > limit:
        return ", ".join(items[:limit]) + f" and {len(items) - limit} more"
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
