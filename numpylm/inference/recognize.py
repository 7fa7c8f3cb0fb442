"""Recognizing short sounds, many at once, with a SpeechCTC or a Whisper that numpylm trained; long ones are cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.audio.mel import HOP, N_FFT, log_mel
from numpylm.inference.beam_search import beam_search
from numpylm.inference.ctc_decoding import greedy_ctc, prefix_beam_search
from numpylm.models.speech_ctc import SpeechCTC
from numpylm.nn.module import Array
from numpylm.system.processor import on_all_cores
from numpylm.text.any_tokenizer import require_tokenizer
from numpylm.text.padding import in_batches

BATCH_FRAMES = 8000  # of the spectrograms that are read at once, padding included
QUIET_PART = 0.5  # a long sound is cut at the quietest place in the last half of what the model can read
SILENCE = 2.0  # the smallest value of `log_mel` is so far below the largest
QUIET_FRAMES = 10  # over how many frames the loudness is averaged: 0.1 s


def recognize(model: Any, sounds: Sequence[Array], tokenizer: Any = None, *, beam: int = 1) -> list[str]:
    """The text of each sound. A method of `numpylm.SpeechCTC` and `numpylm.Whisper`.

    Parameters
    ----------
    model : SpeechCTC, or Whisper
    sounds : sequence of float arrays (N,)
        16 kHz, in [-1, 1]. A sound that is longer than the model can read is cut where it is quiet, and its parts are
        recognized alone.
    tokenizer : optional
        Default: ``model.tokenizer``.
    beam : int
        1: greedy; more: beam search, over prefixes for CTC.

    Raises
    ------
    ValueError
        If the samples are no sound (see `log_mel`) or beam is below 1.
    """
    tokenizer = require_tokenizer(model) if tokenizer is None else tokenizer
    c = model.config
    longest = 2 * (c.block_size if isinstance(model, SpeechCTC) else c.audio_positions)  # frames of 10 ms
    cut = [cut_where_quiet(sound, longest) for sound in sounds]
    mels = [_spectrogram(piece, model) for pieces in cut for piece in pieces]
    texts = iter(read_spectrograms(model, mels, tokenizer, beam))
    return [" ".join(filter(None, (next(texts) for _ in pieces))) for pieces in cut]


def read_spectrograms(model: Any, mels: Sequence[Array], tokenizer: Any, beam: int = 1) -> list[str]:
    """The text of each log-mel spectrogram (M, T)."""
    if beam < 1:
        raise ValueError(f"beam must be at least 1, got {beam}")
    found = [""] * len(mels)

    def read(numbers: Array) -> None:
        mel, lengths = padded_spectrograms([mels[n] for n in numbers])
        for n, ids in zip(numbers, heard_ids(model, mel, lengths, tokenizer.end_id, beam), strict=True):
            found[n] = " ".join(tokenizer.decode(ids).split())

    on_all_cores(read, list(in_batches(np.array([mel.shape[1] for mel in mels]), BATCH_FRAMES)))
    return found


def heard_ids(model: Any, mel: Array, lengths: Array | None, end_id: int | None, beam: int = 1) -> list[list[int]]:
    """What a model hears in spectrograms (B, M, T), as ids without the end token."""
    if not isinstance(model, SpeechCTC):
        longest = model.config.block_size
        start = model.config.start_id
        best = beam_search(model, model.new_past(mel, longest), start, int(end_id or 0), longest - 1, beam)
        return [hypothesis.ids[: -1 if hypothesis.ids[-1] == end_id else None] for hypothesis in best]
    logits, _ = model.forward(mel, lengths)  # (B, T, V)
    frames = model.frames(np.full(len(mel), mel.shape[2]) if lengths is None else lengths)
    if beam == 1:
        return [decoded.ids for decoded in greedy_ctc(logits, frames, model.config.blank_id)]
    rows = (row[:n] for row, n in zip(logits, frames, strict=True))
    return [prefix_beam_search(row, beam, model.config.blank_id)[0].ids for row in rows]


def padded_spectrograms(mels: Sequence[Array], most: int = 0) -> tuple[Array, Array]:
    """Spectrograms (M, T) as one array (B, M, T), T at least ``most``, with silence at the end; and their lengths."""
    lengths = np.array([mel.shape[1] for mel in mels])
    out = np.empty((len(mels), len(mels[0]), max(lengths.max(), most)), np.float32)
    for row, mel in zip(out, mels, strict=True):
        row[:, : mel.shape[1]] = mel
        row[:, mel.shape[1] :] = mel.max() - SILENCE
    return out, lengths


def cut_where_quiet(samples: Array, longest: int) -> list[Array]:
    """A sound in pieces of at most ``longest`` frames of 10 ms, cut where 0.1 s of it has the least power."""
    pieces = []
    while len(samples) // HOP > longest:
        frames = samples[: longest * HOP].reshape(longest, HOP)
        power = np.convolve(np.square(frames, dtype=np.float64).sum(axis=1), np.ones(QUIET_FRAMES), "same")
        first = int(QUIET_PART * longest)
        end = (first + int(power[first:].argmin()) + 1) * HOP
        pieces.append(samples[:end])
        samples = samples[end:]
    return [*pieces, samples]


def _spectrogram(samples: Array, model: Any) -> Array:
    """`log_mel`. What is shorter than a frame is filled with silence: the end of a cut sound may be so short."""
    if len(samples) <= N_FFT:
        samples = np.pad(samples, (0, N_FFT + 1 - len(samples)))
    return log_mel(samples, model.config.n_mels)
