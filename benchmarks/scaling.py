"""How the cost of a training step grows with tokens, context, width, depth and vocabulary: measured, fitted, drawn.

    pip install -e ".[bench]"
    python benchmarks/scaling.py              about eight minutes; needs 20 GB of memory for the largest models
    python benchmarks/scaling.py --quick      the smaller half, one minute

Starting from one model, the script changes one size at a time. Theory: 6 N + 6 L C T FLOPs per token (three times the
forward count of Kaplan et al. 2020, arXiv:2001.08361, equation 2.2; a causal attention map counts half) at the speed of
one large matrix product. N is the number of weights in matrices (12 L C² + V C). The measurements are fitted by a sum
of non-negative terms, and the unit cost of each term shows what the theory leaves out. Writes scaling.svg next to this
file.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
HEAD = 64  # channels of an attention head, in all models here


@dataclass(frozen=True)
class Point:
    """One model and batch. Heads have `HEAD` channels each."""

    V: int = 512
    T: int = 256
    L: int = 4
    C: int = 256
    B: int = 8

    @property
    def tokens(self) -> int:
        return self.B * self.T

    @property
    def parameters(self) -> int:
        """The number of weights in matrices, without the position table and vectors."""
        return 12 * self.L * self.C**2 + self.V * self.C

    @property
    def flops(self) -> float:
        """FLOPs of a step according to the theory."""
        return self.tokens * (6.0 * self.parameters + 6.0 * self.L * self.C * self.T)

    def terms(self) -> dict[str, float]:
        """The terms of the fit of a step's time: the amount of each kind of work."""
        return {
            "FLOP of products with weights": 6.0 * self.parameters * self.tokens,
            "FLOP of attention": 6.0 * self.L * self.C * self.T * self.tokens,
            "activation (tokens L C)": float(self.tokens * self.L * self.C),
            "logit (tokens V)": float(self.tokens * self.V),
            "parameter": float(self.parameters),
            "block": float(self.L),
            "step": 1.0,
        }

    def memory_terms(self) -> dict[str, float]:
        """The terms of the fit of its memory."""
        return {
            "parameter": float(self.parameters + self.T * self.C),
            "activation (tokens L C)": float(self.tokens * self.L * self.C),
            "attention weight (tokens L H T)": float(self.tokens * self.L * self.C // HEAD * self.T),
            "logit (tokens V)": float(self.tokens * self.V),
            "step": 1.0,
        }


def series(quick: bool) -> dict[str, tuple[str, list[Point]]]:
    """For each size that changes: the field of `Point` on the axis, and the points."""
    end = 1 if quick else 0  # how much is left out at the large end, in steps
    tokens = [2**k for k in range(9 - 2 * end)]  # B: 256 … 65,536 tokens
    context = [2**k for k in range(5, 14 - 2 * end)]  # T, always 8,192 tokens
    width = [2**k for k in range(6, 13 - 3 * end)]
    depth = [2**k for k in range(8 - 2 * end)]
    vocabulary = [2**k for k in range(6, 18 - 3 * end)]
    return {
        "tokens in a batch": ("tokens", [Point(B=B) for B in tokens]),
        "context T, 8,192 tokens": ("T", [Point(T=T, B=8192 // T) for T in context]),
        "width C": ("C", [Point(C=C) for C in width]),
        "depth L": ("L", [Point(L=L) for L in depth]),
        "vocabulary V": ("V", [Point(V=V) for V in vocabulary]),
    }


GPT2 = {  # the family of 2019, with batches that 24 GB hold
    "GPT-2 124M": Point(50257, 1024, 12, 768, 2),
    "GPT-2 355M": Point(50257, 1024, 24, 1024, 1),
    "GPT-2 774M": Point(50257, 512, 36, 1280, 1),
}


def measure(point: Point, budget: float = 1.5) -> tuple[float, float]:
    """(seconds a step, peak megabytes), in this process; as many steps as fit into ``budget`` seconds, at least one."""
    from numpylm_step import NumpylmStep, resident

    from numpylm import GPT, GPTConfig
    from numpylm.nn.module import SkipInit

    before = resident()
    rng = np.random.default_rng(0)
    gpt = GPT(GPTConfig(point.V, point.T, point.L, max(1, point.C // HEAD), point.C), SkipInit())
    for p in gpt.parameters():
        if p.data.ndim > 1:  # drawn in float32 and in place: a large model's weights twice would not fit
            rng.standard_normal(p.shape, np.float32, p.data)
            p.data *= 0.02
    step = NumpylmStep(gpt)
    window = rng.integers(0, point.V, (point.B, point.T + 1))
    ids, targets = np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
    times: list[float] = []
    while len(times) < 2 or (sum(times) < budget and len(times) < 20):
        start = time.perf_counter()
        step(ids, targets)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), (step.peak() if point.B > 1 else resident()) - before


def measured(point: Point) -> tuple[float, float] | None:
    """`measure` in a separate process; None if there was not enough memory."""
    command = [sys.executable, __file__, "--one", json.dumps(asdict(point))]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode == -9 or any(word in out.stderr for word in ("MemoryError", "exit code -9")):
        return None
    if out.returncode:
        raise RuntimeError(out.stderr)
    return tuple(json.loads(out.stdout))


def fit(terms: list[dict[str, float]], values: list[float]) -> dict[str, float]:
    """The unit cost of each term, by non-negative least squares of the relative error."""
    names = list(terms[0])
    table = np.array([[term[name] / value for name in names] for term, value in zip(terms, values, strict=True)])
    scale = table.max(axis=0)
    kept = list(range(len(names)))
    while True:  # a term whose best cost is negative is left out, the most negative first
        costs = np.linalg.lstsq(table[:, kept] / scale[kept], np.ones(len(table)), rcond=None)[0]
        if costs.min() >= 0:
            return {names[i]: float(cost / scale[i]) for i, cost in zip(kept, costs, strict=True)}
        del kept[int(costs.argmin())]


def predicted(costs: dict[str, float], terms: dict[str, float]) -> float:
    return sum(cost * terms[name] for name, cost in costs.items())


def power(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The exponent of y = a x^k through the larger half of the points."""
    half = len(xs) // 2
    return float(np.polyfit(np.log(xs[half:]), np.log(ys[half:]), 1)[0])


def growth(axis: str, points: list[tuple[Point, float, float]]) -> str:
    """The exponents with which time and memory grow for large sizes."""
    xs = [getattr(p, axis) for p, _, _ in points]
    measured, theory, memory = zip(*[(seconds, p.flops, mb) for p, seconds, mb in points], strict=True)
    time, ideal, space = power(xs, measured), power(xs, theory), power(xs, memory)
    return f"(larger half: time grows with its power {time:.2f}, in theory {ideal:.2f}; memory with {space:.2f})"


def report(runs: dict[str, tuple[str, list[tuple[Point, float, float]]]], peak: float) -> dict[str, float]:
    """Print the tables; returns the fitted costs of time."""
    flat = [run for _, points in runs.values() for run in points]
    costs = fit([p.terms() for p, _, _ in flat], [seconds for _, seconds, _ in flat])
    memory = fit([p.memory_terms() for p, _, _ in flat], [mb for _, _, mb in flat])
    heads = ("", "ms/step", "theory", "share", "fit", "error", "MB", "fit", "tokens/s")
    print("{:26} {:>9} {:>9} {:>6} {:>9} {:>6} {:>7} {:>7} {:>9}".format(*heads))
    for name, (axis, points) in runs.items():
        print(name, growth(axis, points) if axis else "")
        for p, seconds, mb in points:
            theory, guess = p.flops / peak, predicted(costs, p.terms())
            size = f"{getattr(p, axis):,}" if axis else f"{p.parameters / 1e6:.0f}M, {p.B} x {p.T}"
            print(
                f"  {size:24} {seconds * 1e3:9.1f} {theory * 1e3:9.1f} {theory / seconds:6.0%} {guess * 1e3:9.1f} "
                f"{guess / seconds - 1:+6.0%} {mb:7,.0f} {predicted(memory, p.memory_terms()):7,.0f} "
                f"{p.tokens / seconds:9,.0f}"
            )
    print("\na step's time is the sum of, by least squares:")
    for name, cost in costs.items():
        rate = f"{1 / cost / 1e9:,.0f} GFLOP/s" if "FLOP" in name else f"{cost * 1e9:,.1f} ns each"
        print(f"  {name:34} {rate}")
    print("its memory:")
    for name, cost in memory.items():
        print(f"  {name:34} " + (f"{cost:,.0f} MB" if name == "step" else f"{cost * 1e6:,.1f} bytes each"))
    return costs


def draw(runs: dict[str, tuple[str, list[tuple[Point, float, float]]]], costs: dict[str, float], peak: float) -> None:
    """scaling.svg: a panel for each size; measured, fitted, and theory."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "numpylm", "svg.fonttype": "none", "font.size": 9}
    figure, panels = pyplot.subplots(2, 3, figsize=(11, 6.5), layout="constrained")
    for panel, (name, (axis, points)) in zip(panels.flat, runs.items(), strict=True):
        xs = [getattr(p, axis) if axis else p.parameters / 1e6 for p, _, _ in points]
        unit = [1 if axis else p.tokens for p, _, _ in points]  # a family's batches differ, so there it is a token
        lines = {
            "measured": ("o", "#e0762f", [seconds for _, seconds, _ in points]),
            "fitted": ("-", "#3b82c4", [predicted(costs, p.terms()) for p, _, _ in points]),
            "theory": ("--", "#888888", [p.flops / peak for p, _, _ in points]),
        }
        for label, (style, color, seconds) in lines.items():
            ys = [y / n for y, n in zip(seconds, unit, strict=True)]
            panel.loglog(xs, ys, style, color=color, label=label)
        panel.set_xlabel(name if axis else "million parameters of GPT-2's family")
        panel.set_ylabel("seconds a step" if axis else "seconds a token")
        panel.grid(alpha=0.3)
        if not axis:
            panel.set_xticks(xs, [f"{x:.0f}" for x in xs])
            panel.minorticks_off()
    panels.flat[0].legend()
    figure.savefig(HERE / "scaling.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only small sizes; nothing is drawn")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(Point(**json.loads(args.one)))))
        return
    from numpylm.system.processor import available_cores
    from numpylm.training.profiling import matmul_peak

    peak = matmul_peak()
    print(f"{available_cores()} cores, NumPy {np.__version__}")
    print("from V=512 T=256 L=4 C=256 B=8, heads of 64 channels, one size at a time:\n")
    wanted = series(args.quick) | ({} if args.quick else {"GPT-2's family": ("", list(GPT2.values()))})
    runs: dict[str, tuple[str, list[tuple[Point, float, float]]]] = {}
    known: dict[Point, tuple[float, float] | None] = {}
    for name, (axis, points) in wanted.items():
        for point in points:
            if point not in known:
                known[point] = measured(point)
                if known[point] is None:
                    print(f"left out, not enough memory: {point}")
        runs[name] = axis, [(p, *known[p]) for p in points if known[p]]
    peak = max(peak, matmul_peak())  # once more: it is the best that counts
    print(f"products of matrices run at {peak / 1e9:.0f} GFLOP/s")
    costs = report(runs, peak)
    if not args.quick:
        draw(runs, costs, peak)


if __name__ == "__main__":
    main()
