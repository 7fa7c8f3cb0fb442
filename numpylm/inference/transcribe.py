"""Transcribing sound with a Whisper: windows of 30 seconds, languages, times, and what is no speech."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from numpylm.audio.mel import HOP, RATE, log_mel
from numpylm.audio.wav import check_samples
from numpylm.inference.log_probs import log_softmax
from numpylm.inference.sampling import sample_token
from numpylm.inference.speech_tokens import STEP, SpeechTokens, forbid
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import require_tokenizer

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # tried in turn until a text is good enough (section 4.5 of the paper)
COMPRESSION = 2.4  # a text that zlib shortens by more than this factor repeats itself,
LOG_PROB = -1.0  # one with a smaller mean log P of its tokens is a bad guess,
NO_SPEECH = 0.6  # and no text at all if, besides, the probability of no speech is above this
# A log-mel value of 1 stands for a factor of 10⁴ in power (40 dB), and digital silence has -1.5.
QUIET = 1.5  # a window is silent if its loudest value is so far below the loudest of the recording,
SILENT = -1.25  # or below this


class Segment(NamedTuple):
    """A piece of a transcript: its times in seconds, its text, and its tokens, times included."""

    start: float
    end: float
    text: str
    ids: list[int]


class Window(NamedTuple):
    """What was heard in one window."""

    start: float  # seconds
    end: float  # where the next window begins
    language: str | None  # "en"; None if the model knows one language only
    segments: list[Segment]  # none if nobody speaks


class Heard(NamedTuple):
    """One attempt at a window: its tokens, the mean of their log P, and the probability that nobody speaks."""

    ids: list[int]
    log_prob: float
    no_speech: float


def transcribe(model: Any, samples: Array, **options: Any) -> list[Segment]:
    """The transcript of a sound. A method of `numpylm.Whisper`; for the options see `transcribe_windows`.

    Parameters
    ----------
    model : Whisper
    samples : float array (N,)
        16 kHz, in [-1, 1]; see `numpylm.audio.read_audio`.

    Returns
    -------
    list of Segment

    Examples
    --------
    >>> model = Whisper.from_pretrained("openai/whisper-tiny")                      # doctest: +SKIP
    >>> "".join(s.text for s in model.transcribe(read_audio("speech.wav")))         # doctest: +SKIP
    """
    mel, frames = spectrogram(model, samples)
    return [segment for window in transcribe_windows(model, mel, frames, **options) for segment in window.segments]


def spectrogram(model: Any, samples: Array) -> tuple[Array, int]:
    """The log-mel spectrogram (M, F) of a whole sound and of a window of silence after it, and the sound's frames."""
    silence = 2 * model.config.audio_positions * HOP  # so that the last window is a whole one
    samples = check_samples(samples)
    return log_mel(np.pad(samples, (0, silence)), model.config.n_mels), -(-len(samples) // HOP)


def transcribe_windows(
    model: Any,
    mel: Array,
    frames: int | None = None,
    tokenizer: Any = None,
    *,
    language: str | None = None,
    task: str | None = None,
    timestamps: bool | None = None,
    max_new_tokens: int | None = None,
    temperatures: Sequence[float] = (0.0,),
    skip_silence: bool = True,
    rng: np.random.Generator | None = None,
) -> Iterator[Window]:
    """Transcribe a spectrogram window by window. Nothing of it is in memory but the spectrogram.

    Parameters
    ----------
    model : Whisper
    mel : array (M, F)
        See `spectrogram`. Where a window goes beyond its end, it is filled with zeros.
    frames : int, optional
        How many of its frames are sound. Default: all.
    tokenizer : optional
        Default: ``model.tokenizer``.
    language : str, optional
        A code such as "en". Default: the most probable one in the first window that is not silent.
    task : {"transcribe", "translate"}, optional
        To translate means into English. Default: what the files of the model say, or "transcribe".
    timestamps : bool, optional
        Whether the model writes times. Then a window ends where the last whole piece of its text ends, and so no word
        is cut in two. Without times, windows are cut every 30 seconds. Default: with times if the sound is longer
        than a window and the model has times.
    max_new_tokens : int, optional
        Of a window. Default: as many as the model can read.
    temperatures : sequence of float
        0 is greedy. With several, each is tried in turn until the text neither repeats itself nor is improbable.
    skip_silence : bool
        Whether windows that are silent, or that have no speech according to the model, have no text.
    rng : numpy.random.Generator, optional
        For temperatures above 0. Default: seed 0.

    Yields
    ------
    Window

    Raises
    ------
    ValueError
        If the model has no such language or task, no tokenizer, or no special tokens.
    """
    tokenizer = require_tokenizer(model) if tokenizer is None else tokenizer
    tokens: SpeechTokens | None = model.speech_tokens
    if tokens is None:
        raise ValueError("this model has no special tokens of speech: load it from a folder with its tokenizer")
    if not temperatures or min(temperatures) < 0:
        raise ValueError(f"temperatures must be one number or more, each at least 0, got {temperatures}")
    frames = mel.shape[1] if frames is None else frames
    length = 2 * model.config.audio_positions  # frames of a window
    timed = frames > length if timestamps is None else timestamps
    if timestamps and tokens.time_zero is None:
        raise ValueError("this model writes no times: its vocabulary has no <|notimestamps|>")
    timed = timed and tokens.time_zero is not None
    language_id, task_id = tokens.language_id(language), tokens.task_id(task)
    rng = rng or np.random.default_rng(0)
    loudest, seek = float(mel[:, :frames].max()), 0
    while seek < frames:
        size = min(length, frames - seek)
        window = mel[:, seek : seek + length]  # (M, ≤ length)
        segments: list[Segment] = []
        step = size
        if not (skip_silence and window[:, :size].max() <= max(loudest - QUIET, SILENT)):
            listener = Listener(model, tokens, np.pad(window, ((0, 0), (0, length - window.shape[1]))), max_new_tokens)
            language_id = listener.language_id if language_id is None else language_id
            prompt = tokens.prompt(language_id, task_id, timed)
            heard = listener.best(prompt, timed, temperatures, tokenizer, rng)
            if not (skip_silence and heard.no_speech > NO_SPEECH and heard.log_prob < LOG_PROB):
                pieces, step = cut_at_times(heard.ids, size, tokens.time_zero)
                segments = [_segment(piece, seek, size, tokenizer, tokens) for piece in pieces]
        spoken = next((code for code, i in tokens.languages.items() if i == language_id), None)
        yield Window(seek * HOP / RATE, (seek + step) * HOP / RATE, spoken, segments)
        seek += step


class Listener:
    """Hears one window, and writes it once or several times.

    Attributes
    ----------
    language_id : int or None
        The most probable language.
    no_speech : float
        The probability that nobody speaks.
    """

    def __init__(self, model: Any, tokens: SpeechTokens, window: Array, max_new_tokens: int | None) -> None:
        self.model, self.tokens, self.limit = model, tokens, max_new_tokens
        self.past = model.new_past(window[None])
        logits = model.read(np.array([[tokens.start_id]]), self.past)[0]  # (V,)
        self.language_id = tokens.language_of(logits)
        quiet = tokens.no_speech_id
        self.first_scores = logits
        self.no_speech = 0.0 if quiet is None else float(np.exp(log_softmax(logits)[quiet]))

    def best(
        self, prompt: list[int], timed: bool, temperatures: Sequence[float], tokenizer: Any, rng: np.random.Generator
    ) -> Heard:
        """The first text that is good enough, or the last."""
        for temperature in temperatures:
            heard = self.write(prompt, timed, temperature, rng)
            silent = heard.no_speech > NO_SPEECH and heard.log_prob < LOG_PROB
            text = plain_text(heard.ids, tokenizer, self.tokens).encode()
            repeats = len(text) > COMPRESSION * len(zlib.compress(text))
            if silent or not (repeats or heard.log_prob < LOG_PROB):
                break
        return heard

    def write(self, prompt: list[int], timed: bool, temperature: float, rng: np.random.Generator) -> Heard:
        """Write the text after a prompt, greedily or sampled."""
        for written in self.past.written:
            written.crop(1)  # the start token was read
        room = self.model.config.block_size - len(prompt)
        ids: list[int] = []
        total, new = 0.0, prompt[1:]
        while len(ids) < min(room, room if self.limit is None else self.limit):
            scores = self.model.read(np.array([new]), self.past)[0] if new else self.first_scores.copy()  # (V,)
            forbid(scores, ids, self.tokens, timed)
            token = sample_token(scores, [], rng, temperature=temperature)
            total += float(log_softmax(scores)[token])
            new = [token]
            if token == self.tokens.end_id:
                return Heard(ids, total / (len(ids) + 1), self.no_speech)
            ids.append(token)
        return Heard(ids, total / max(len(ids), 1), self.no_speech)


def cut_at_times(ids: list[int], size: int, zero: int | None) -> tuple[list[list[int]], int]:
    """The pieces of a window's text, and by how many frames to move on.

    The text of a whole piece ends with a time. If the window ends in the middle of a piece, what is written after the
    last pair of times is thrown away, and the next window begins at that time. These are the rules of section 4.5 of
    the paper, as transformers' ``generate`` has them.

    Parameters
    ----------
    ids : list of int
    size : int
        Frames of sound in the window.
    zero : int or None
        The id of <|0.00|>. None: the model writes no times.
    """
    time = [zero is not None and i >= zero for i in ids]
    cuts = [n for n in range(1, len(ids)) if time[n - 1] and time[n]]
    if zero is None or not cuts:
        return ([ids] if ids else []), size
    step = 2 * (ids[cuts[-1] - 1] - zero) or size  # two times of 0 would not move on
    if time[-2:] == [False, True]:  # nobody speaks after the last time
        cuts.append(len(ids))
        step = size
    return [ids[a:b] for a, b in zip([0, *cuts], cuts, strict=False)], step


def _segment(ids: list[int], seek: int, size: int, tokenizer: Any, tokens: SpeechTokens) -> Segment:
    """A piece of a text with the times in it, or those of the window."""
    start, window = seek * HOP / RATE, size * HOP / RATE
    zero = tokens.time_zero
    times = [] if zero is None else [(i - zero) * STEP for i in ids if i >= zero]
    first = times[0] if times and ids[0] >= (zero or 0) else 0.0
    last = times[-1] if times and times[-1] > 0 else window
    return Segment(start + first, start + last, plain_text(ids, tokenizer, tokens), ids)


def plain_text(ids: list[int], tokenizer: Any, tokens: SpeechTokens) -> str:
    """The text of ids, without special tokens and times."""
    special = {*tokenizer.special_tokens.values(), tokens.start_id, tokens.end_id}
    zero = tokens.time_zero
    return tokenizer.decode([i for i in ids if i not in special and (zero is None or i < zero)])
