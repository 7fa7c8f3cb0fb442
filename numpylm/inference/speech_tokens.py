"""SpeechTokens: the special tokens of a Whisper (languages, tasks, times), and which tokens it must not write."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from numpylm.nn.module import Array

STEP = 0.02  # seconds from one timestamp token to the next
TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class SpeechTokens:
    """The ids of a vocabulary's special tokens, and the rules of its texts. The names are those of the paper, figure 1.

    Attributes
    ----------
    start_id, end_id : int
        <|startoftranscript|> and <|endoftext|>.
    no_timestamps_id : int or None
        <|notimestamps|>. The ids after it are the times <|0.00|>, <|0.02|>, … None: the model writes no times.
    languages : dict of str -> int
        Code of a language, such as "en" -> id. Empty: the model knows one language, and has no token for it.
    tasks : dict of str -> int
        "transcribe" and "translate" -> id.
    no_speech_id : int or None
        Its probability at the start is that of a window without speech.
    previous_id : int or None
        <|startofprev|>, which begins a text that comes before.
    suppressed, suppressed_first : tuple of int
        Tokens that a text never contains, and that it does not begin with.
    forced : tuple of (int, int or None)
        Position and id of tokens with which texts begin, as old files have them. None: the language is detected.
    max_initial_timestamp : int or None
        The first time is at most so many steps of 0.02 s.
    """

    start_id: int
    end_id: int
    no_timestamps_id: int | None = None
    languages: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    no_speech_id: int | None = None
    previous_id: int | None = None
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    forced: tuple[tuple[int, int | None], ...] = ()
    max_initial_timestamp: int | None = None

    @property
    def time_zero(self) -> int | None:
        """The id of <|0.00|>."""
        return None if self.no_timestamps_id is None else self.no_timestamps_id + 1

    def language_id(self, language: str | None) -> int | None:
        """The id of a language; None if it must be detected, or if the model knows only one.

        Raises ValueError for a language that the model does not know.
        """
        if not self.languages:
            if language:
                raise ValueError(f"this model knows one language only, so it cannot be told {language!r}")
            return None
        if language is None:
            forced = dict(self.forced).get(1)
            return forced if forced in self.languages.values() else None
        if language not in self.languages:
            known = ", ".join(sorted(self.languages))
            raise ValueError(f"this model has no language {language!r}; it has {known:.600}")
        return self.languages[language]

    def task_id(self, task: str | None) -> int | None:
        """The id of a task, or None if the model has only one."""
        if task not in (None, *TASKS):
            raise ValueError(f"task must be {' or '.join(TASKS)}, got {task!r}")
        if not self.tasks:
            if task == "translate":
                raise ValueError("this model cannot translate: its vocabulary has no token for that task")
            return None
        forced = [i for _, i in self.forced if i in self.tasks.values()]
        chosen = forced[0] if task is None and forced else self.tasks.get(task or "transcribe")
        if chosen is None:
            raise ValueError(f"this model cannot {task or 'transcribe'}: its vocabulary has no token for that task")
        return chosen

    def prompt(self, language: int | None, task: int | None, timestamps: bool) -> list[int]:
        """The ids with which a text begins, such as <|startoftranscript|><|en|><|transcribe|><|notimestamps|>."""
        if self.languages or self.tasks:
            ids = [self.start_id, *(i for i in (language, task) if i is not None)]
        else:
            ids = [self.start_id, *(i for _, i in self.forced if i not in (None, self.no_timestamps_id))]
        return ids if timestamps or self.no_timestamps_id is None else [*ids, self.no_timestamps_id]

    def language_of(self, logits: Array) -> int | None:
        """The id of the most probable language, from the logits (V,) after the start token."""
        ids = list(self.languages.values())
        return ids[int(np.argmax(logits[ids]))] if ids else None


def forbid(scores: Array, written: list[int], tokens: SpeechTokens, timestamps: bool) -> None:
    """Set the logits of tokens that cannot come next to -inf, in place.

    Parameters
    ----------
    scores : array (V,)
        The logits after the tokens of the prompt and those that are ``written``.
    written : list of int
        Without the prompt.
    tokens : SpeechTokens
    timestamps : bool
        Whether the text has times; see `forbid_by_time`.
    """
    if not written:
        scores[list(tokens.suppressed_first)] = -np.inf
    scores[list(tokens.suppressed)] = -np.inf
    if timestamps:
        forbid_by_time(scores, written, tokens)


def forbid_by_time(scores: Array, written: list[int], tokens: SpeechTokens) -> None:
    """The rules of a text with times: <|0.00|> Hello.<|1.20|><|1.20|> How are you?<|2.40|> (section 2.3 of the paper).

    1. A text begins with a time.
    2. Times come in pairs: one that ends a piece and one that begins the next. Only the end of the text may stand in
       place of the second.
    3. Times do not decrease, and a piece takes time.
    4. If all times together are more probable than every other token, the next token is a time. The probability of
       the boundary is spread over many times, so each of them alone may have less than a word.
    """
    zero = tokens.time_zero
    assert zero is not None
    scores[tokens.no_timestamps_id] = -np.inf
    times = [i for i in written if i >= zero]
    if times:
        closes = written[-1] >= zero and not (len(written) < 2 or written[-2] >= zero)
        if closes:
            scores[: tokens.end_id] = -np.inf
        elif written[-1] >= zero:
            scores[zero:] = -np.inf
        scores[zero : times[-1] + (0 if closes else 1)] = -np.inf
    if not written:
        scores[:zero] = -np.inf
        if tokens.max_initial_timestamp is not None:
            scores[zero + tokens.max_initial_timestamp + 1 :] = -np.inf
    top = scores.max()
    if top > -np.inf and _log_sum_exp(scores[zero:]) > scores[:zero].max():
        scores[:zero] = -np.inf


def _log_sum_exp(x: Array) -> float:
    top = float(x.max(initial=-np.inf))
    return top if top == -math.inf else top + math.log(np.exp(x - top, dtype=np.float64).sum())
