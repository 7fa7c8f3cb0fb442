"""Transcription: the rules of times, cutting at times, silence, languages and tasks, and subtitles."""

from itertools import pairwise

import numpy as np
import pytest

from numpylm.inference.speech_tokens import SpeechTokens, forbid
from numpylm.inference.subtitles import srt_entry, srt_time
from numpylm.inference.transcribe import Segment, cut_at_times, spectrogram, transcribe_windows
from tests.tiny_whisper import speech_tokens, tiny_whisper

# A vocabulary of 10: words 0-3, end 4, start 5, no times 6, and the times 7, 8, 9.
TOKENS = SpeechTokens(start_id=5, end_id=4, no_timestamps_id=6, max_initial_timestamp=1)
WORD, END = {0, 1, 2, 3}, {4}


def allowed(written, scores=None, tokens=TOKENS, timestamps=True):
    scores = np.zeros(10) if scores is None else np.array(scores, float)
    forbid(scores, written, tokens, timestamps)
    return set(np.flatnonzero(scores > -np.inf).tolist())


def test_a_text_begins_with_a_time_that_is_not_too_late():
    assert allowed([]) == {7, 8}


def test_after_the_first_time_comes_a_word():
    likely_words = [9.0] * 4 + [0.0] * 6
    assert allowed([7], likely_words) == WORD | END | {5}


def test_times_come_in_pairs_and_do_not_decrease():
    likely_words = [9.0] * 4 + [0.0] * 6
    assert allowed([7, 1, 8]) == {8, 9}  # together they are more probable than the end
    assert allowed([7, 1, 8], [0, 0, 0, 0, 9, 0, 0, 0, 0, 0]) == END | {5, 8, 9}
    assert allowed([7, 1, 8, 8], likely_words) == WORD | END | {5}
    assert allowed([7, 1], likely_words) == WORD | END | {5, 8, 9}  # a piece takes time: 7 cannot end it


def test_times_that_are_together_more_probable_than_any_word_win():
    scores = [1.0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.5]
    assert allowed([7, 1], scores) == {8, 9}  # 2 exp(0.5) > exp(1)
    assert 0 in allowed([7, 1], [1.5, *scores[1:]])


def test_suppressed_tokens():
    tokens = SpeechTokens(5, 4, 6, suppressed=(1,), suppressed_first=(2, 4))
    assert allowed([], tokens=tokens, timestamps=False) == {0, 3, 5, 6, 7, 8, 9}
    assert allowed([0], tokens=tokens, timestamps=False) == {0, 2, 3, 4, 5, 6, 7, 8, 9}


@pytest.mark.parametrize(
    ("ids", "pieces", "step"),
    [
        ([7, 0, 8, 8, 1, 9], [[7, 0, 8], [8, 1, 9]], 100),  # nothing after the last time: the window is done
        ([7, 0, 8, 8, 1], [[7, 0, 8]], 2),  # the window ends inside a piece: go back to its beginning
        ([7, 0, 9, 9], [[7, 0, 9]], 4),
        ([7, 0, 1], [[7, 0, 1]], 100),
        ([7, 7], [[7]], 100),  # no progress: never the same window again
        ([], [], 100),
    ],
)
def test_a_window_is_cut_where_a_whole_piece_ends(ids, pieces, step):
    assert cut_at_times(ids, 100, 7) == (pieces, step)


def test_the_prompt():
    model = tiny_whisper()
    tokens, names = model.speech_tokens, model.tokenizer.text_of
    ids = tokens.prompt(tokens.language_id("de"), tokens.task_id("translate"), timestamps=False)
    assert "".join(names[i] for i in ids) == "<|startoftranscript|><|de|><|translate|><|notimestamps|>"
    ids = tokens.prompt(tokens.language_id("zh"), tokens.task_id(None), timestamps=True)
    assert "".join(names[i] for i in ids) == "<|startoftranscript|><|zh|><|transcribe|>"


def test_forced_tokens_count_where_nothing_is_said():
    tokens = SpeechTokens(5, 4, languages={"en": 0, "de": 1}, tasks={"transcribe": 2, "translate": 3})
    old = SpeechTokens(**vars(tokens) | {"forced": ((1, 1), (2, 3))})
    assert (old.language_id(None), old.task_id(None)) == (1, 3)
    assert (old.language_id("en"), old.task_id("transcribe")) == (0, 2)
    detected = SpeechTokens(**vars(tokens) | {"forced": ((1, None), (2, 2))})
    assert (detected.language_id(None), detected.task_id(None)) == (None, 2)
    assert SpeechTokens(5, 4, 6, forced=((1, 6),)).prompt(None, None, timestamps=True) == [5]


def sound(seconds, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(int(16000 * seconds))


def test_windows_cover_a_long_sound_in_order():
    model = tiny_whisper()
    mel, frames = spectrogram(model, sound(2.5))
    windows = list(transcribe_windows(model, mel, frames, language="en"))
    assert frames == 250
    assert windows[0].start == 0
    assert windows[-1].end >= 2.5
    assert all(a.end == b.start and a.start < a.end for a, b in pairwise(windows))
    assert {window.language for window in windows} == {"en"}
    assert len(windows) > 6  # windows of 0.4 s, some shorter


def test_without_times_windows_are_all_of_one_length():
    model = tiny_whisper()
    mel, frames = spectrogram(model, sound(1.0))
    windows = list(transcribe_windows(model, mel, frames, timestamps=False, max_new_tokens=1))
    assert [round(window.end, 6) for window in windows] == [0.4, 0.8, 1.0]
    assert all(len(segment.ids) <= 1 for window in windows for segment in window.segments)


def test_silence_is_skipped_and_not_heard():
    model = tiny_whisper()
    samples = np.concatenate([np.zeros(16000), sound(0.4), np.zeros(16000)])
    mel, frames = spectrogram(model, samples)
    segments = [segment for window in transcribe_windows(model, mel, frames) for segment in window.segments]
    assert segments
    assert min(segment.start for segment in segments) >= 0.8
    assert max(segment.end for segment in segments) < 2
    assert not model.transcribe(np.zeros(16000))
    assert model.transcribe(np.zeros(16000), skip_silence=False)


def test_a_window_without_speech_has_no_text():
    model = tiny_whisper()
    quiet = model.speech_tokens.no_speech_id
    model.speech_tokens = speech_tokens(model.tokenizer, suppressed=(quiet,))
    memory, _ = model.encode(spectrogram(model, sound(0.4))[0][None, :, :40])
    state, _ = model.decode(np.array([[model.config.start_id]]), memory)
    model.tokens.weight.data[quiet] = 50 * state[0, 0]  # after the start token it is nearly certain
    assert not model.transcribe(sound(0.4))
    assert model.transcribe(sound(0.4), skip_silence=False)


def test_higher_temperatures_are_tried_while_a_text_is_improbable():
    model = tiny_whisper()
    greedy = model.transcribe(sound(0.4), language="en", task="transcribe", skip_silence=False)
    others = [
        model.transcribe(
            sound(0.4), language="en", skip_silence=False, temperatures=(0.0, 1.0), rng=np.random.default_rng(seed)
        )
        for seed in (0, 0, 1)
    ]
    assert others[0] == others[1]
    assert any(other != greedy for other in others)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "xx"}, "no language 'xx'; it has de, en, zh"),
        ({"task": "sing"}, "task must be transcribe or translate"),
        ({"temperatures": ()}, "temperatures must be"),
        ({"temperatures": (-1.0,)}, "temperatures must be"),
    ],
)
def test_wrong_options_get_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_whisper().transcribe(sound(0.4), **options)


def test_sounds_that_are_none_get_one_sentence():
    model = tiny_whisper()
    for samples, message in ((np.zeros(0), "at least one sample"), (np.full(500, np.nan), "NaN")):
        with pytest.raises(ValueError, match=message):
            model.transcribe(samples)
    model.speech_tokens = None
    with pytest.raises(ValueError, match="no special tokens"):
        model.transcribe(sound(0.4))


def test_subtitles():
    assert srt_time(3723.5) == "01:02:03,500"
    assert srt_time(59.9996) == "00:01:00,000"
    entry = srt_entry(2, Segment(1.0, 2.25, " Hello\n\nthere. ", []))
    assert entry == "2\n00:00:01,000 --> 00:00:02,250\nHello\nthere.\n\n"
