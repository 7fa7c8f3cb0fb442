"""How the lessons' pictures look: sharp, and readable on a light page as on a dark one."""

from typing import Any

import numpy as np

from numpylm.module import Array

GREY = "#808080"  # the same distance from white and from black
COLOURS = ("#3b82f6", "#e8871e", "#22a559", "#e15759", "#a16ae8", "#17a2b8")


def style() -> Any:
    """Set matplotlib up for a lesson and return ``matplotlib.pyplot``.

    Transparent background, grey text and lines, colours of middle brightness, twice the resolution.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is missing: names the extra that brings it.
    """
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        raise ModuleNotFoundError('the lessons draw with matplotlib: pip install -e ".[notebooks]"') from None
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
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "xtick.color": GREY,
            "ytick.color": GREY,
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
) -> Any:
    """Draw a matrix as coloured squares, with a name for each row and column.

    Parameters
    ----------
    axes : matplotlib axes
    matrix : array (rows, columns)
    rows, columns : sequence of str, optional
    title, xlabel, ylabel : str
    numbers : str, optional
        A format such as ``".2f"``: each square shows its number.
    limit : float, optional
        Colours run from -limit (red) over white to limit (blue); without it from the smallest to the largest.

    Returns
    -------
    The image, for a colour bar.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    scale: dict[str, Any] = {"cmap": "viridis"} if limit is None else {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
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
