"""The style of the lessons' plots: sharp, and readable on light and dark pages."""

from typing import Any

import numpy as np

from numpylm.nn.module import Array
from numpylm.system.processor import keep_memory, set_blas_threads

GREY = "#808080"  # halfway between white and black
COLORS = ("#3b82f6", "#e8871e", "#22a559", "#e15759", "#a16ae8", "#17a2b8")


def style() -> Any:
    """Set a lesson up and return ``matplotlib.pyplot``.

    Plots have a transparent background, gray text and lines, colors of medium brightness, and twice the resolution. The
    matrices of the lessons are small, so memory is reused (`keep_memory`), and one thread multiplies them; several
    threads would be slower.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is missing; the message names the extra that installs it.
    """
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        raise ModuleNotFoundError('the lessons draw with matplotlib: pip install -e ".[notebooks]"') from None
    keep_memory()
    set_blas_threads(1)
    plt.rcParams.update(
        {
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "figure.figsize": (7, 3.2),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "text.color": GREY,
            "axes.labelcolor": GREY,
            "axes.edgecolor": GREY,
            "axes.titlesize": "medium",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            # Two shades of gray that look the same. If all tick labels were lighter than the middle, or all darker,
            # Jupyter would draw a background behind the plot: a black box on a light page, or a white box on a dark
            # one.
            "xtick.color": "#7f7f7f",
            "ytick.color": "#818181",
            "grid.color": GREY,
            "grid.alpha": 0.25,
            "axes.grid": True,
            "legend.frameon": False,
            "legend.labelcolor": GREY,
            "lines.linewidth": 1.8,
            "font.size": 10,
        }
    )
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")
    except ModuleNotFoundError:
        pass  # not in a notebook
    return plt


def heatmap(
    axes: Any,
    matrix: Array,
    rows: Any = None,
    columns: Any = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    numbers: str = "",
    limit: float | None = None,
    root: bool = False,
) -> Any:
    """Draw a matrix as colored squares, with a name for each row and column.

    Parameters
    ----------
    axes : matplotlib axes
    matrix : array (rows, columns)
    rows, columns : sequence of str, optional
    title, xlabel, ylabel : str
    numbers : str, optional
        A format such as ``".2f"``; each square shows its number.
    limit : float, optional
        Colors go from -limit (red) through white to limit (blue). Without it, they go from the smallest to the largest
        value.
    root : bool
        Colors follow the square roots of the values, so that small weights stay visible beside one large weight.

    Returns
    -------
    The image, for a color bar.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    scale: dict[str, Any] = {"cmap": "viridis"} if limit is None else {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
    if root:
        from matplotlib.colors import PowerNorm

        scale["norm"] = PowerNorm(0.5)
    image = axes.imshow(matrix, aspect="auto" if max(matrix.shape) > 40 else "equal", **scale)
    axes.grid(False)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if columns is not None:
        axes.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 2 else 0)
    if rows is not None:
        axes.set_yticks(range(len(rows)), rows)
    if numbers:
        for (i, j), value in np.ndenumerate(matrix):
            dark = image.cmap(image.norm(value))[:3]
            ink = "black" if 0.3 * dark[0] + 0.6 * dark[1] + 0.1 * dark[2] > 0.5 else "white"
            axes.text(j, i, format(value, numbers), ha="center", va="center", color=ink, fontsize=8)
    return image


def query_key_value_picture(words: Any, query: Array, keys: Array, values: Array) -> Any:
    """A diagram of attention for one query: it meets each key, and the values are averaged by how well they fit.

    Parameters
    ----------
    words : sequence of str
        A word for each position; the query belongs to the last.
    query : array (D,)
    keys, values : array (S, D)

    Returns
    -------
    The figure.
    """
    plt = style()
    blue, orange, green = COLORS[:3]
    scores = keys @ query / np.sqrt(len(query))  # (S,)
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    fig, axes = plt.subplots(figsize=(7, 3.4))
    axes.set(xlim=(-0.6, len(words) + 0.3), ylim=(-0.3, 4.6))
    axes.axis("off")

    def label(x: float, y: float, text: str, color: str) -> None:
        box = {"boxstyle": "round,pad=0.35", "facecolor": color, "alpha": 0.25, "edgecolor": color}
        axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=box)

    last = len(words) - 1
    for x, (word, key, value, weight) in enumerate(zip(words, keys, values, weights, strict=True)):
        axes.text(x, 0, word, ha="center", va="center", fontsize=10, weight="bold")
        label(x, 1, f"value {value.round(1)}", green)
        label(x, 2, f"key {key.round(1)}", orange)
        axes.plot([x, last], [2.3, 3.6], color=blue, linewidth=0.5 + 6 * weight, alpha=0.6, solid_capstyle="round")
        axes.text(x + 0.28 * (last - x) + 0.1, 2.3 + 0.36, f"{weight:.2f}", fontsize=9, color=blue, ha="left")
    label(last, 4, f'query of "{words[-1]}" {query.round(1)}', blue)
    axes.text(
        last + 0.55, 3.1, "blue: the weights,\nsoftmax of query · key / √D", fontsize=8, style="italic", ha="center"
    )
    return fig


def map_of_gpt(n_layer: int = 2) -> Any:
    """A diagram of a GPT: its parts from the ids on the left to the loss on the right, with the shapes in between.

    Returns
    -------
    The figure.
    """
    plt = style()
    from matplotlib.patches import Circle, FancyBboxPatch

    fig, axes = plt.subplots(figsize=(10, 3.3))
    axes.set(xlim=(0, 100), ylim=(0, 32))
    axes.axis("off")

    def box(x: float, y: float, width: float, height: float, text: str, color: str) -> None:
        style = "round,pad=0,rounding_size=0.8"
        axes.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor=color, alpha=0.25, edgecolor=color))
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)

    def arrow(x: float, to: float, y: float, shape: str) -> None:
        axes.annotate("", (to, y), (x, y), arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 1.3})
        axes.text((x + to) / 2, y + 1.2, shape, ha="center", fontsize=8, style="italic")

    blue, orange, green, red = COLORS[:4]
    y = 15
    box(0, 11, 9, 8, "token ids", GREY)
    arrow(9, 16.5, y, "(B, T)")
    box(16.5, 9, 11, 12, "embedding\n+ position\n(V, C), (T, C)", blue)
    arrow(27.5, 34, y, "(B, T, C)")
    box(34, 6, 39.5, 22, "", GREY)
    axes.text(53.7, 29, f"block, {n_layer} times (L = {n_layer})", ha="center", fontsize=9)
    box(36.5, 11, 5.2, 8, "layer\nnorm", orange)
    box(43, 9, 10.5, 12, "attention:\nH heads with\nD channels\n(B, H, T, D)", green)
    box(58.2, 11, 5.2, 8, "layer\nnorm", orange)
    box(64.7, 9, 5.6, 12, "MLP:\nC → 4C\n→ C", blue)
    for start, end in ((34, 36.5), (41.7, 43), (53.5, 54.2), (55.8, 58.2), (63.4, 64.7), (70.3, 71), (72.6, 73.5)):
        axes.plot([start, end], [y, y], color=GREY, linewidth=1.3)
    for start, end, label in ((35.2, 55, "past the attention"), (57, 71.8, "past the MLP")):  # the residual paths
        axes.plot([start, start, end, end], [y, 24, 24, y + 0.8], color=GREY, linewidth=1.1)
        axes.text((start + end) / 2, 24.8, label, ha="center", fontsize=8, style="italic")
        axes.add_patch(Circle((end, y), 0.8, facecolor="none", edgecolor=GREY, linewidth=1.1))
        axes.plot([end - 0.45, end + 0.45], [y, y], color=GREY, linewidth=1.1)
        axes.plot([end, end], [y - 0.45, y + 0.45], color=GREY, linewidth=1.1)
    arrow(73.5, 79.7, y, "(B, T, C)")
    box(79.7, 9, 8.6, 12, "layer norm,\nembedding\ntransposed", blue)
    arrow(88.3, 94.5, y, "(B, T, V)")
    box(94.5, 11, 5.5, 8, "loss", red)
    axes.annotate("", (4, 3), (97, 3), arrowprops={"arrowstyle": "->", "color": red, "linewidth": 1.3})
    axes.text(
        50,
        -1.5,
        "backward: the gradient goes all the way back, and you write every step of it",
        ha="center",
        fontsize=9,
    )
    return fig
