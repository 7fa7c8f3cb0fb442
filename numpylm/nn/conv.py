"""Conv1d: a convolution along time, which sees a few neighboring positions at once, as at the entrance of Whisper."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from numpylm.nn.module import Array, Cache, Module, Parameter, check_last_axis, normal


class Conv1d(Module):
    """Convolution along the time axis: the same small linear layer on every window of K neighboring positions.

        y_t = b + Σ_k x̄_{s t + k} W_k        k = 0 … K - 1,    x̄ is x with p zero vectors added at both ends

    As in ``torch.nn.Conv1d``, the kernel is not flipped, so mathematicians call this a cross-correlation.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
        K, the positions that one output sees.
    stride : int
        s, the step from one window to the next. With 2, the output is half as long.
    padding : int
        p, the zero vectors before the first and after the last position. With s = 1 and p = (K - 1) / 2, the output is
        as long as the input.
    bias : bool
        Whether to add b.
    std, rng, dtype
        As in `Linear`.

    Attributes
    ----------
    weight : Parameter (kernel_size, in_channels, out_channels)
        ``torch.nn.Conv1d`` and published files store (out, in, kernel): ours is ``theirs.T``, all axes reversed.
    bias : Parameter (out_channels,) or None

    Notes
    -----
    Put the K vectors of each window next to each other, in a row of K · in numbers, and stack the K matrices W_k in the
    same order. Then y = windows W + b: the convolution is `Linear` on the windows, and `Linear` derives

        dwindows = dy Wᵀ,    dW = windowsᵀ dy,    db = column sums of dy.

    The windows overlap: x̄_i stands in window t at place k whenever i = s t + k. So its gradient is a sum over windows:

        dx̄_i = Σ_{(t, k) : s t + k = i} dwindows_{t, k}.

    For a fixed k, each t has another i, so K additions of whole arrays do it. dx is dx̄ without the padding, whose
    zeros are constants.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        *,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if kernel_size < 1 or stride < 1 or padding < 0:
            raise ValueError(
                f"Conv1d needs kernel_size >= 1, stride >= 1 and padding >= 0, got {kernel_size}, {stride}, {padding}"
            )
        rng = rng or np.random.default_rng()
        self.stride = stride
        self.padding = padding
        self.weight = normal(rng, (kernel_size, in_channels, out_channels), std, dtype)
        self.bias = Parameter(np.zeros(out_channels, dtype)) if bias else None

    def output_length(self, length: Array | int) -> Array | int:
        """T', the number of windows in T positions; also for an array of lengths, such as those of a padded batch."""
        return (length + 2 * self.padding - self.weight.shape[0]) // self.stride + 1

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (B, T, in) -> y (B, T', out); for T' see `output_length`."""
        K, n_in, n_out = self.weight.shape
        check_last_axis(self, x, n_in)
        if x.ndim != 3 or x.shape[1] + 2 * self.padding < K:
            raise ValueError(
                f"Conv1d expects inputs of shape (B, T, {n_in}) with at least {K} positions, got {x.shape} with "
                f"{self.padding} added at both ends"
            )
        B, T, _ = x.shape
        padded = x
        if self.padding:
            padded = np.zeros((B, T + 2 * self.padding, n_in), x.dtype)  # x̄
            padded[:, self.padding : self.padding + T] = x
        y = self._windows(padded) @ self.weight.data.reshape(K * n_in, n_out)  # (B T', out)
        if self.bias is not None:
            y += self.bias.data
        return y.reshape(B, -1, n_out), padded

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, T', out) -> dx (B, T, in); adds to weight.grad and bias.grad."""
        padded = cache
        K, n_in, n_out = self.weight.shape
        dy_rows = dy.reshape(-1, n_out)  # (B T', out)
        if not self.weight.frozen:
            self.weight.grad += (self._windows(padded).T @ dy_rows).reshape(K, n_in, n_out)
        if self.bias is not None and not self.bias.frozen:
            self.bias.grad += dy_rows.sum(axis=0)
        dwindows = dy_rows @ self.weight.data.reshape(K * n_in, n_out).T  # (B T', K in)
        dwindows = dwindows.reshape(*dy.shape[:2], K, n_in)  # (B, T', K, in)
        dpadded = np.zeros_like(padded)
        end = self.stride * (dy.shape[1] - 1) + 1  # place 0 of the last window, plus one
        for k in range(K):
            dpadded[:, k : k + end : self.stride] += dwindows[:, :, k]  # (B, T', in)
        return dpadded[:, self.padding : padded.shape[1] - self.padding]

    def _windows(self, padded: Array) -> Array:
        """One row for each window: (B, T + 2p, in) -> (B T', K in). Windows overlap, so this is a copy."""
        K, n_in, _ = self.weight.shape
        views = sliding_window_view(padded, K, axis=1)[:, :: self.stride]  # (B, T', in, K), no copy
        return views.swapaxes(2, 3).reshape(-1, K * n_in)  # (B T', K in)
