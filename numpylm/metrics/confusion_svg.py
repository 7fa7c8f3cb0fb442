"""The confusion matrix as a self-contained SVG file, readable on light and dark pages."""

from collections.abc import Sequence
from html import escape

import numpy as np

from numpylm.metrics.classification import ClassificationReport, columns, short_name
from numpylm.system.shell import shown

WITH_COUNTS = 30  # up to this number of labels, the counts are written into the cells
LONGEST_NAME, LONGEST_TOOLTIP = 40, 200  # characters of a name beside the matrix, and in a tooltip
CHARACTER = 0.62  # the width of an average character, as a share of the size of the font
LEFT, TOP, RIGHT, BOTTOM, GAP = 36, 84, 20, 36, 8  # around the matrix and its labels; and between labels and cells
SAMPLES, SAMPLE = (0.1, 0.25, 0.5, 0.75, 1.0), 46  # of the color scale; the width of one

# Colors on light and on dark pages. "full" is the color of a cell with 100 % of its row, "on_full" that of text on it.
LIGHT = {"page": "#ffffff", "text": "#000000", "line": "#dddddd", "full": "#08306b", "on_full": "#ffffff"}
DARK = {"page": "#111111", "text": "#ffffff", "line": "#333333", "full": "#6baed6", "on_full": "#000000"}
SWITCH = 0.65  # the opacity of a cell from which "on_full" is easier to read than "text", on both kinds of pages


def confusion_svg(title: str, report: ClassificationReport) -> str:
    """Draw a confusion matrix as SVG: a row for each true label, a column for each predicted one.

    The color of a cell shows its share of the row, which is the share of all examples with that true label. Cells of 0
    are empty. With at most 30 labels, the other cells show their count. A tooltip has the count and both names in full.
    """
    K = len(report.labels)
    digits = len(str(report.confusion.max()))
    font, size = (12, max(32, 8 * digits + 8)) if K <= WITH_COUNTS else (10, 14)
    names = [short_name(label, LONGEST_NAME) for label in report.labels]
    margin = CHARACTER * font * max(map(columns, names)) + 2 * GAP
    left, side = LEFT + margin, K * size
    width, height = left + max(side, 400) + RIGHT, TOP + side + margin + BOTTOM
    heading = short_name(title, int((width - LEFT - RIGHT) / (CHARACTER * font)))
    lines = "".join(f"M{left:.1f},{TOP + n * size}h{side}M{left + n * size:.1f},{TOP}v{side}" for n in range(K + 1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{escape(shown(title))}</title>",
        f"<style>text{{font:{font}px sans-serif}}.word{{font-weight:bold}}{css(LIGHT)}"
        f"@media (prefers-color-scheme:dark){{{css(DARK)}}}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        text(LEFT, 28, heading, extra='class="word"'),
        *color_scale(left),
        f'<path class="line" d="{lines}"/>',
        *axes(names, left, margin, size),
        *cells(report, left, size),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def css(colors: dict[str, str]) -> str:
    """The rules for one kind of page."""
    return (
        f".page{{fill:{colors['page']}}}text{{fill:{colors['text']}}}.line{{stroke:{colors['line']}}}"
        f".cell{{fill:{colors['full']}}}.on_full{{fill:{colors['on_full']}}}"
    )


def text(x: float, y: float, content: str, anchor: str = "start", extra: str = "") -> str:
    """Text whose vertical middle is at y."""
    return f'<text x="{x:.1f}" y="{y:.1f}" dy=".35em" text-anchor="{anchor}" {extra}>{escape(content)}</text>'


def cell(x: float, y: float, width: float, height: float, share: float, label: str) -> str:
    """A colored rectangle with a label in its middle, which may be empty."""
    opacity = 0.08 + 0.92 * share  # so that a single example can be seen too
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width}" height="{height}"'
    extra = 'class="on_full"' if opacity >= SWITCH else ""
    words = text(x + width / 2, y + height / 2, label, "middle", extra) if label else ""
    return f'<rect class="cell" {box} fill-opacity="{opacity:.3f}"/>{words}'


def color_scale(left: float) -> list[str]:
    """What the colors mean: a few samples above the matrix."""
    x = left + 120
    samples = [cell(x + SAMPLE * n, 46, SAMPLE, 20, share, f"{share:.0%}") for n, share in enumerate(SAMPLES)]
    return [text(left, 56, "share of the row:"), *samples]


def axes(names: Sequence[str], left: float, margin: float, size: float) -> list[str]:
    """The names of rows and columns, and what rows and columns are."""
    side = len(names) * size
    bottom, middle = TOP + side, TOP + side / 2
    word = 'class="word" '
    parts = [
        text(LEFT / 2, middle, "true", "middle", f'{word}transform="rotate(-90 {LEFT / 2} {middle:.1f})"'),
        text(left + side / 2, bottom + margin + BOTTOM / 3, "predicted", "middle", word),
    ]
    for n, name in enumerate(names):
        center = (n + 0.5) * size
        x, y = left + center, bottom + GAP
        parts.append(text(left - GAP, TOP + center, name, "end"))
        parts.append(text(x, y, name, "end", f'transform="rotate(-90 {x:.1f} {y})"'))
    return parts


def cells(report: ClassificationReport, left: float, size: float) -> list[str]:
    """All cells that are not 0, with tooltips."""
    names, support = [short_name(label, LONGEST_TOOLTIP) for label in report.labels], report.support
    parts = []
    for i, j in np.argwhere(report.confusion).tolist():
        count, share = int(report.confusion[i, j]), report.confusion[i, j] / support[i]
        tooltip = f"true: {names[i]}, predicted: {names[j]}: {count:,} of {support[i]:,} ({share:.1%})"
        label = str(count) if len(names) <= WITH_COUNTS else ""
        box = cell(left + j * size, TOP + i * size, size, size, share, label)
        parts.append(f"<g><title>{escape(tooltip)}</title>{box}</g>")
    return parts
