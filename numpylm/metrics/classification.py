"""Classification: accuracy, precision, recall and F1 of each label, their averages, and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self
from unicodedata import east_asian_width

import numpy as np

from numpylm.nn.module import Array
from numpylm.system.shell import shown

Label = str | int

NUMBERS = 11  # width of a column of numbers in the table
LONGEST_NAME = 100 - 4 * NUMBERS  # of a label in the table


class Average(NamedTuple):
    """Precision, recall and F1, averaged over labels."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """How well predicted labels agree with true ones. ``print(report)`` shows a table.

    Make one with `ClassificationReport.of`.

    Attributes
    ----------
    labels : tuple of K str or int
        The order of all arrays (K,).
    confusion : int64 array (K, K)
        confusion[i, j] counts the examples of label i (row: true) that were predicted as label j (column).
    """

    labels: tuple[Label, ...]
    confusion: Array

    @classmethod
    def of(cls, true: Sequence[Label], predicted: Sequence[Label], labels: Sequence[Label] | None = None) -> Self:
        """Compare true and predicted labels.

        Parameters
        ----------
        true, predicted : sequences of N str or int
        labels : sequence of K str or int, optional
            All labels, in the order of the report. Some may not occur. Default: those that occur, sorted.

        Raises
        ------
        ValueError
            If there are no examples, the lengths differ, str and int are mixed, or a label is not in ``labels`` or is
            in it twice.

        Examples
        --------
        >>> report = ClassificationReport.of(["cat", "cat", "dog"], ["cat", "dog", "dog"])
        >>> report.confusion
        array([[1, 1],
               [0, 1]])
        >>> report.recall
        array([0.5, 1. ])
        """
        true, predicted = as_list(true), as_list(predicted)
        check_examples(true, predicted)
        order = tuple(sorted_labels({*true, *predicted}) if labels is None else as_list(labels))
        index = {label: i for i, label in enumerate(order)}
        if len(index) < len(order):
            raise ValueError("a label is twice in labels: give each once")
        if unknown := {*true, *predicted} - index.keys():
            raise ValueError(
                f"the label {next(iter(unknown))!r} occurs, but is not in labels: give all, or labels=None"
            )
        K = len(order)
        cells = [index[t] * K + index[p] for t, p in zip(true, predicted, strict=True)]
        return cls(order, np.bincount(cells, minlength=K * K).reshape(K, K))

    # ------------------------------------------------------------------------------------- each label

    @property
    def support(self) -> Array:
        """Examples of each true label (K,)."""
        return self.confusion.sum(axis=1)

    @property
    def precision(self) -> Array:
        """The share of the predictions of each label that are right (K,). 0 if it was never predicted."""
        return ratio(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> Array:
        """The share of the examples of each label that were found (K,). 0 if it has no examples."""
        return ratio(self.confusion.diagonal(), self.support)

    @property
    def f1(self) -> Array:
        """2 P R / (P + R), the harmonic mean of precision and recall (K,). 0 if both are 0."""
        P, R = self.precision, self.recall
        return ratio(2 * P * R, P + R)

    # ------------------------------------------------------------------------------------- all labels

    @property
    def examples(self) -> int:
        """N, the number of examples."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of the examples whose label is right."""
        return float(self.confusion.trace() / self.examples)

    @property
    def macro(self) -> Average:
        """The mean over labels. Each label counts the same, however rare it is."""
        return Average(float(self.precision.mean()), float(self.recall.mean()), float(self.f1.mean()))

    @property
    def weighted(self) -> Average:
        """The mean over labels, weighted by their support. So its recall is the accuracy."""
        w = self.support / self.examples
        return Average(float(self.precision @ w), float(self.recall @ w), float(self.f1 @ w))

    @property
    def micro(self) -> Average:
        """Precision and recall of all decisions together. Each example has one label, so all three are the accuracy."""
        return Average(self.accuracy, self.accuracy, self.accuracy)

    def most_confused(self, n: int = 10) -> list[tuple[Label, Label, int]]:
        """The n most frequent mistakes: (true, predicted, count). Of equal counts, the order of labels decides."""
        wrong = self.confusion * (1 - np.eye(len(self.labels), dtype=np.int64))
        rows, columns = np.nonzero(wrong)
        counts = wrong[rows, columns]
        order = np.argsort(-counts, kind="stable")[:n]
        return [(self.labels[rows[k]], self.labels[columns[k]], int(counts[k])) for k in order]

    def __str__(self) -> str:
        names = [short_name(label, LONGEST_NAME) for label in self.labels]
        rows = list(zip(names, self.precision, self.recall, self.f1, self.support, strict=True))
        averages = {"macro average": self.macro, "micro average": self.micro, "weighted average": self.weighted}
        total = [(name, *average, self.examples) for name, average in averages.items()]
        width = max(columns(name) for name, *_ in rows + total)
        head = "".join(f"{title:>{NUMBERS}}" for title in ("precision", "recall", "F1", "support"))

        def line(name: str, P: float, R: float, f1: float, support: int) -> str:
            numbers = "".join(f"{x:>{NUMBERS}.3f}" for x in (P, R, f1)) + f"{support:>{NUMBERS},}"
            return name + " " * (width - columns(name)) + numbers

        lines = [" " * width + head, *(line(*row) for row in rows), "", *(line(*row) for row in total)]
        return "\n".join([*lines, f"{'accuracy':<{width}}{self.accuracy:>{NUMBERS}.3f}"])


def as_list(labels: Sequence[Label]) -> list[Label]:
    """Labels as Python's own str and int, also from a NumPy array."""
    return labels.tolist() if isinstance(labels, np.ndarray) else list(labels)


def check_examples(true: Sequence[Label], predicted: Sequence[Label]) -> None:
    """Raise ValueError unless each true label has a predicted one."""
    if len(true) != len(predicted):
        raise ValueError(
            f"each example needs both labels: got {len(true):,} true and {len(predicted):,} predicted ones"
        )
    if not true:
        raise ValueError("there are no examples to compare: give at least one true and one predicted label")


def sorted_labels(labels: set[Label]) -> list[Label]:
    """Labels in order; raises ValueError if str and int are mixed."""
    try:
        return sorted(labels)
    except TypeError:
        kinds = " and ".join(sorted({type(label).__name__ for label in labels}))
        raise ValueError(f"all labels must be str, or all int, got {kinds}: convert them, or give labels") from None


def ratio(part: Array, whole: Array) -> Array:
    """part / whole as float64, and 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)


def columns(name: str) -> int:
    """The width of a name in a terminal: Chinese, Japanese and Korean characters are two columns wide."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in name)


def short_name(label: Label, longest: int) -> str:
    """A label on one line. A long one loses its middle, because names often begin or end alike."""
    name = shown(str(label))
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[: longest - 1 - half]}…{name[-half:]}"
