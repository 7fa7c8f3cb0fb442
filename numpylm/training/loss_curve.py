"""The loss curve as a self-contained SVG file, readable on light and dark pages."""

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 64, 150, 24, 52
COLORS = ("#e0762f", "#3b82c4", "#4a9d5b", "#b45ba8")

Curve = tuple[str, Sequence[float], Sequence[float]]


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Axis ticks in [low, high]. Their distance is 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def loss_curve(title: str, curves: Sequence[Curve], lines: Sequence[tuple[str, float]]) -> str:
    """Draw losses over steps as SVG.

    Parameters
    ----------
    title : str
    curves : sequence of (label, steps, nats per token)
    lines : sequence of (label, nats per token)
        Dashed horizontal lines: baselines and the entropy of the source.
    """
    points = [(x, y) for _, xs, ys in curves for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    x_max = max([x for x, _ in points], default=1) or 1
    y_max = max([y for _, y in points] + [y for _, y in lines], default=1.0) * 1.05 or 1.0

    def px(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * x / x_max

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_max

    def text(x: float, y: float, content: str, anchor: str = "start", extra: str = "") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(content)}</text>'

    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        "<style>text{font:12px sans-serif;fill:#777}.grid{stroke:#888;stroke-opacity:.25}"
        ".curve{fill:none;stroke-width:2;stroke-linejoin:round}.line{stroke:#888;stroke-dasharray:5 4}</style>",
        text(LEFT, TOP - 8, title),
    ]
    for y in ticks(0, y_max):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{py(y):.1f}" y2="{py(y):.1f}"/>')
        parts.append(text(LEFT - 8, py(y) + 4, f"{y:g}", "end"))
    for x in ticks(0, x_max):
        parts.append(text(px(x), bottom + 18, f"{x:g}", "middle"))
    parts.append(text((LEFT + right) / 2, HEIGHT - 12, "optimizer steps", "middle"))
    middle = (TOP + bottom) / 2
    parts.append(text(16, middle, "loss (nats per token)", "middle", f'transform="rotate(-90 16 {middle:.0f})"'))
    for label, y in lines:
        parts.append(f'<line class="line" x1="{LEFT}" x2="{right}" y1="{py(y):.1f}" y2="{py(y):.1f}"/>')
        parts.append(text(right + 8, py(y) + 4, f"{label} {y:.3f}"))
    for i, (label, xs, ys) in enumerate(curves):
        color = COLORS[i % len(COLORS)]
        path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in zip(xs, ys, strict=True) if math.isfinite(y))
        parts.append(f'<polyline class="curve" stroke="{color}" points="{path}"/>')
        x, y = right - 100, TOP + 32 + 18 * i
        parts.append(f'<line x1="{x}" x2="{x + 20}" y1="{y - 4}" y2="{y - 4}" stroke="{color}" stroke-width="2"/>')
        parts.append(text(x + 26, y, label))
    return "\n".join(parts + ["</svg>"]) + "\n"
