"""Faults in what reads sound: the convolution along time, and Whisper."""

from typing import Any

from numpylm.check.mutants import World
from numpylm.zoo.fault import Fault
from numpylm.zoo.faulty_layers import B, C, Case, H, Rng, T, V

OUT, K = 7, 3  # output channels and kernel size of a convolution


def _conv(stride: int = 2, padding: int = 1, length: int = 9) -> Any:
    def build(world: World, rng: Rng) -> Case:
        return world.Conv1d(H + 1, OUT, K, stride, padding), (rng.standard_normal((B, length, H + 1)),), {}

    return build


def _whisper(**options: Any) -> Any:
    def build(world: World, rng: Rng) -> Case:
        config = world.WhisperConfig(V, T + 2, 1, H, C, 20, n_mels=4, audio_positions=T, activation="silu", **options)
        return world.Whisper(config), (rng.standard_normal((B, 4, 2 * T - 1)), rng.integers(0, V, (B, T + 1))), {}

    return build


FOLD = "dpadded[:, k : k + end : self.stride] += dwindows[:, :, k]  # (B, T', in)"
CUT = "return dpadded[:, self.padding : padded.shape[1] - self.padding]"
CONV_WEIGHT = "self.weight.grad += (self._windows(padded).T @ dy_rows).reshape(K, n_in, n_out)"

SPEECH_FAULTS = (
    Fault(
        "corncrake",
        "conv-forgets-the-stride",
        "conv",
        "Conv1d",
        "end = self.stride * (dy.shape[1] - 1) + 1  # place 0 of the last window, plus one\n...\n" + FOLD,
        "end = dy.shape[1]\n...\ndpadded[:, k : k + end] += dwindows[:, :, k]",
        "The gradients of the windows are added one position apart, and not a stride apart.",
        "With a stride of 1 it is right, and the shapes always fit.",
        "mixing",
        "x",
        _conv(),
    ),
    Fault(
        "nightjar",
        "conv-overlaps-overwrite",
        "conv",
        "Conv1d",
        FOLD,
        "dpadded[:, k : k + end : self.stride] = dwindows[:, :, k]",
        "Windows overlap, and a position that is in several of them gets the gradient of the last one only.",
        "It is right where windows do not overlap: with a stride of at least the kernel size.",
        "assigned",
        "x",
        _conv(1),
    ),
    Fault(
        "redshank",
        "conv-keeps-the-padding",
        "conv",
        "Conv1d",
        CUT,
        "return dpadded",
        "The gradient of the padding is returned, too.",
        "Without padding it is right.",
        "shape",
        "x",
        _conv(),
    ),
    Fault(
        "lyrebird",
        "conv-cuts-the-padding-at-the-end",
        "conv",
        "Conv1d",
        CUT,
        "return dpadded[:, : padded.shape[1] - 2 * self.padding]",
        "The padding is cut off at the end twice, and not at both ends: each gradient belongs to its neighbor.",
        "The shape is right, and the gradients of neighbors are alike in a smooth signal.",
        "mixing",
        "x",
        _conv(),
    ),
    Fault(
        "whimbrel",
        "conv-flips-the-kernel",
        "conv",
        "Conv1d",
        FOLD,
        "dpadded[:, k : k + end : self.stride] += dwindows[:, :, K - 1 - k]",
        "The kernel is flipped in the backward and not in the forward.",
        "It is right for symmetric kernels. A convolution in mathematics does flip its kernel.",
        "transposed",
        "x",
        _conv(1),
    ),
    Fault(
        "turnstone",
        "conv-weight-mixes-axes",
        "conv",
        "Conv1d",
        CONV_WEIGHT,
        "self.weight.grad += (self._windows(padded).T @ dy_rows).reshape(n_in, K, n_out).swapaxes(0, 1)",
        "The rows of the gradient are read as (in, K), and they are (K, in).",
        "Every number is right, and the shape, too. Only the places are wrong.",
        "reshaped",
        "weight",
        _conv(),
    ),
    Fault(
        "sanderling",
        "conv-bias-mean-over-time",
        "conv",
        "Conv1d",
        "self.bias.grad += dy_rows.sum(axis=0)",
        "self.bias.grad += dy.mean(axis=1).sum(axis=0)",
        "The bias is added at each position, so its gradient is a sum over time, not a mean.",
        "The direction is right; with Adam even the step is.",
        "factor",
        "bias",
        _conv(),
    ),
    Fault(
        "woodcock",
        "whisper-positions-of-one-text",
        "whisper",
        "Whisper",
        "self.positions.backward(dx.sum(axis=0), positions_cache)  # added to each row of the batch",
        "self.positions.backward(dx[0], positions_cache)",
        "The positions are added to all texts of a batch, and get the gradient of the first one.",
        "With a batch of one it is right.",
        "partial",
        "positions",
        _whisper(),
    ),
    Fault(
        "cicada",
        "whisper-ear-without-the-second-gelu",
        "whisper",
        "Whisper",
        "dx = self.conv2.backward(gelu_backward(dx, cache.gelu2), cache.conv2)  # (B, F, C)",
        "dx = self.conv2.backward(dx, cache.conv2)",
        "The gradient passes conv2 as if no GELU followed it.",
        "Everything behind the ear is right, and the gradient of the ear points roughly in the right direction.",
        "lines",
        "conv2",
        _whisper(),
    ),
    Fault(
        "nightingale",
        "whisper-hears-one-block",
        "whisper",
        "Whisper",
        "dmemory = dmemory + block_dmemory",
        "dmemory = block_dmemory",
        "All blocks of the decoder read the memory; the encoder gets the gradient of the lowest one only.",
        "With one decoder block it is right.",
        "missing-term",
        "encoder_norm",
        _whisper(n_decoder_layer=2),
    ),
    Fault(
        "cricket",
        "whisper-reshapes-the-spectrogram",
        "whisper",
        "Whisper",
        "return dframes.swapaxes(1, 2)",
        "return dframes.reshape(len(dframes), dframes.shape[2], dframes.shape[1])",
        "Bands and frames are not swapped back: the numbers are only given another shape.",
        "Training does not use this gradient, and the shape is right.",
        "reshaped",
        "mel",
        _whisper(),
    ),
)
