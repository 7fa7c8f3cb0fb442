"""Exercises of lesson 17: the log-mel spectrogram, a convolution along time, and those of CTC."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.audio.mel import mel_to_hz
from numpylm.check.gradcheck import gradcheck
from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, from_report, gradients, outputs
from numpylm.course.lessons.ctc import CTC_EXERCISES
from numpylm.nn.conv import Conv1d
from numpylm.nn.module import Array, Cache

N_IN, N_OUT, K = 3, 5, 3


# ------------------------------------------------------------------------------------------------ what the lesson uses


def mel_filters(corners: Array, bins: Array) -> Array:
    """Triangles (M, F) on the frequencies ``bins``: filter i rises from corner i to i + 1 and falls to i + 2."""
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]  # (M, 1)
    rise, fall = (bins - left) / (middle - left), (right - bins) / (right - middle)  # (M, F)
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (right - left)


def log_bands(power: Array, filters: Array) -> Array:
    """power (F, T), filters (M, F) -> (M, T): log10 of the bands, at most 8 below the largest, (x + 4) / 4."""
    log = np.log10(np.maximum(filters @ power, 1e-10))
    return (np.maximum(log, log.max() - 8) + 4) / 4


def windows(x: Array, K: int, stride: int) -> tuple[Array, Cache]:
    """x (B, T, C) -> u (B, T', K, C), u[:, t, k] = x[:, stride t + k]."""
    count = (x.shape[1] - K) // stride + 1
    places = stride * np.arange(count)[:, None] + np.arange(K)  # (T', K)
    return x[:, places], (x.shape, places)


def windows_backward(du: Array, cache: Cache) -> Array:
    """Each position gets the sum over the windows that it is in: du (B, T', K, C) -> dx (B, T, C)."""
    shape, places = cache
    dx = np.zeros(shape, du.dtype)
    for k in range(du.shape[2]):
        dx[:, places[:, k]] += du[:, :, k]
    return dx


# ------------------------------------------------------------------------------------------------------------ tests


def _corners(rng: Rng) -> Any:
    yield np.array([0.0, 2.0, 5.0, 9.0]), np.arange(10.0)
    yield np.array([0.0, 1.0, 3.0, 8.0, 9.0]), np.arange(0, 10, 0.5)
    yield mel_to_hz(np.linspace(0, 45, 12)), np.linspace(0, 8000, 201)


def _triangles(c: Array, f: Array, change: Callable[..., Array]) -> Array:
    left, middle, right = c[:-2, None], c[1:-1, None], c[2:, None]
    return change((f - left) / (middle - left), (right - f) / (right - middle), right - left)


def _powers(rng: Rng) -> Any:
    filters = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    yield np.array([[1.0, 10.0], [1.0, 10.0], [100.0, 1000.0]]), filters
    yield np.array([[1.0, 1e-9], [1.0, 1e-9], [1e12, 1.0]]), filters  # more than 80 dB between
    yield np.zeros((3, 2)), filters  # silence
    yield 10 ** rng.normal(0, 3, (201, 5)), rng.random((4, 201))


def _log(power: Array, filters: Array) -> Array:
    return np.log10(np.maximum(filters @ power, 1e-10))


def _limited(log: Array, limit: Any) -> Array:
    return (np.maximum(log, limit) + 4) / 4


def _sequences(rng: Rng) -> Any:
    yield np.arange(10.0).reshape(1, 5, 2), 3, 1
    yield rng.standard_normal((2, 7, N_IN)), 3, 2
    yield rng.standard_normal((2, 8, N_IN)), 2, 3


def _gradient_of_windows(*pair: Any) -> Result:
    """The backward, for windows that overlap, and for positions that no window holds."""
    forward, backward = pair
    for length, kernel, stride in ((7, 3, 1), (8, 3, 2), (9, 2, 4)):

        def inputs(rng: Rng, length: int = length) -> tuple:
            return (rng.standard_normal((2, length, N_IN)),)

        def cut(x: Array, kernel: int = kernel, stride: int = stride) -> tuple[Array, Cache]:
            return forward(x, kernel, stride)

        cut.__name__ = forward.__name__

        def slip(du: Array, x: Array, kernel: int = kernel, stride: int = stride) -> Array:
            places = windows(x, kernel, stride)[1][1]
            dx = np.zeros(x.shape)
            for k in range(kernel):
                dx[:, places[:, k]] = du[:, :, k]
            return dx

        slips = {"windows overlap, so a position is in several of them. Add what comes from each: use +=, not =.": slip}
        result = gradients(inputs, slips=slips if stride < kernel else None)(cut, backward)
        if result.problems:
            return result
    return Result([], "three sizes, gradients checked")


def _convolves(cls: Any) -> Result:
    """The forward of the student's layer with random weights."""
    for stride, padding in ((1, 0), (1, 1), (2, 1)):
        ours = _random(Conv1d, stride, padding)
        theirs = _random(cls, stride, padding)
        b = ours.bias.data
        flipped = _random(Conv1d, stride, padding)
        flipped.weight.data = flipped.weight.data[::-1]
        unpadded = _random(Conv1d, stride, 0)
        test = outputs(
            lambda x, ours=ours: ours.forward(x)[0],
            lambda rng: iter([(rng.standard_normal((2, 7, N_IN)),)]),
            {
                "the bias is missing.": lambda x, ours=ours, b=b: ours.forward(x)[0] - b,
                "the kernel is flipped: W_k belongs to the k-th position of a window, in order.": (
                    lambda x, flipped=flipped: flipped.forward(x)[0]
                ),
                "the zeros before the first and after the last position are missing (padding).": (
                    lambda x, unpadded=unpadded: unpadded.forward(x)[0]
                ),
            },
            cached=True,
        )

        def forward(x: Array, layer: Any = theirs) -> Any:
            return layer.forward(x)

        forward.__name__ = f"{cls.__name__}.forward"
        result = test(forward)
        if result.problems:
            return Result([f"(stride {stride}, padding {padding}) {result.problems[0]}"])
        length = theirs.output_length(7)
        if length != ours.output_length(7):
            return Result(
                [
                    f"{cls.__name__}.output_length(7) with kernel {K}, stride {stride} and padding {padding}: expected "
                    f"{ours.output_length(7)}, got {length}. Padding makes T longer on both sides; the last window "
                    "begins at the latest K places before the end."
                ]
            )
    return Result()


def _unpadded(cls: Any) -> Result:
    """The backward without padding: a slice that ends at -padding would be empty."""
    return from_report(gradcheck(_random(cls, 2, 0), np.random.default_rng(0).standard_normal((2, 7, N_IN))))


def _random(cls: Any, stride: int = 2, padding: int = 1) -> Any:
    """A layer of a class with the same random numbers for every class."""
    layer, rng = cls(N_IN, N_OUT, K, stride, padding, dtype=np.float64), np.random.default_rng(3)
    for p in (layer.weight, layer.bias):
        p.data = rng.standard_normal(p.shape)
    return layer


LESSON = Lesson(
    "17_speech",
    "Speech: from sound to text",
    (
        Exercise(
            "mel_filters",
            "triangles that collect frequencies into bands",
            outputs(
                mel_filters,
                _corners,
                {
                    "the height is missing: multiply by 2 / (right - left).": lambda c, f: _triangles(
                        c, f, lambda rise, fall, width: np.maximum(0, np.minimum(rise, fall))
                    ),
                    "the height is 2 / (right - left): a triangle with this height has the area 1.": lambda c, f: (
                        mel_filters(c, f) / 2
                    ),
                    "the height belongs to the whole width of the triangle: 2 / (right - left).": lambda c, f: (
                        mel_filters(c, f) * (c[2:] - c[:-2])[:, None] / (c[2:] - c[1:-1])[:, None]
                    ),
                    "fall has the wrong sign: it is positive to the left of `right`, (right - bins) / (right - middle).": (
                        lambda c, f: _triangles(
                            c, f, lambda rise, fall, width: np.maximum(0, np.minimum(rise, -fall)) * 2 / width
                        )
                    ),
                    "outside its triangle a filter is 0. There one of the two lines is negative: take max(0, …).": (
                        lambda c, f: _triangles(c, f, lambda rise, fall, width: np.minimum(rise, fall) * 2 / width)
                    ),
                    "a triangle is the smaller one of the two lines: np.minimum(rise, fall).": lambda c, f: _triangles(
                        c, f, lambda rise, fall, width: np.maximum(0, np.maximum(rise, fall)) * 2 / width
                    ),
                    "the filters are transposed: there is a row for each band.": lambda c, f: mel_filters(c, f).T,
                },
            ),
            (mel_filters,),
        ),
        Exercise(
            "log_bands",
            "powers to the logarithms of bands",
            outputs(
                log_bands,
                _powers,
                {
                    "the logarithm is missing.": lambda p, f: _limited(f @ p, (f @ p).max() - 8),
                    "the logarithm has base e. Take np.log10.": lambda p, f: _limited(
                        np.log(np.maximum(f @ p, 1e-10)), np.log(np.maximum(f @ p, 1e-10)).max() - 8
                    ),
                    "the limit is missing: no value may be more than 8 below the largest one.": lambda p, f: _limited(
                        _log(p, f), -np.inf
                    ),
                    "the limit is 8 below the largest value of the whole sound, not of each frame.": lambda p, f: (
                        _limited(_log(p, f), _log(p, f).max(axis=0) - 8)
                    ),
                    "the limit is 8 below the largest value of the whole sound, not of each band.": lambda p, f: (
                        _limited(_log(p, f), _log(p, f).max(axis=1, keepdims=True) - 8)
                    ),
                    "the last step is missing: (x + 4) / 4.": lambda p, f: np.maximum(_log(p, f), _log(p, f).max() - 8),
                },
            ),
            (log_bands,),
        ),
        Exercise(
            "windows",
            "cutting a sequence into overlapping windows, and back",
            both(
                outputs(
                    lambda x, K, stride: windows(x, K, stride)[0],
                    _sequences,
                    {
                        "the last window is missing: there are (T - K) // stride + 1 of them.": lambda x, K, stride: (
                            windows(x, K, stride)[0][:, :-1]
                        ),
                        "the stride is not used: window t begins at position stride · t.": lambda x, K, stride: windows(
                            x, K, 1
                        )[0][:, : (x.shape[1] - K) // stride + 1],
                        "the windows must not be stacked in another order: u[:, t, k] is position stride · t + k.": (
                            lambda x, K, stride: windows(x, K, stride)[0][:, :, ::-1]
                        ),
                    },
                    cached=True,
                ),
                _gradient_of_windows,
            ),
            (windows, windows_backward),
        ),
        Exercise(
            "Conv1d",
            "one small linear layer on every window",
            both(
                _convolves,
                _unpadded,
                gradients(lambda rng: (rng.standard_normal((2, 7, N_IN)),), lambda cls: _random(cls)),
            ),
            (Conv1d,),
        ),
        *CTC_EXERCISES,
    ),
)
