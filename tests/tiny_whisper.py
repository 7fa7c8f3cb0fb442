"""A random Whisper with a byte-level BPE that has its special tokens, without any other package."""

import numpy as np

from numpylm import Tokenizer, Whisper, WhisperConfig
from numpylm.inference.speech_tokens import SpeechTokens

LANGUAGES = ("en", "de", "zh")
NAMES = ("endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe", "nospeech", "notimestamps")


def speech_tokenizer(positions=20):
    """258 bytes and merges, the special tokens, and the times of a window."""
    special = [f"<|{name}|>" for name in NAMES] + [f"<|{0.02 * i:.2f}|>" for i in range(positions + 1)]
    return Tokenizer.train("low lower lowest low low", 258 + len(special), tuple(special))


def speech_tokens(tokenizer, **options):
    id_of = {name: tokenizer.special_tokens[f"<|{name}|>"] for name in NAMES}
    return SpeechTokens(
        start_id=id_of["startoftranscript"],
        end_id=id_of["endoftext"],
        no_timestamps_id=id_of["notimestamps"],
        languages={code: id_of[code] for code in LANGUAGES},
        tasks={task: id_of[task] for task in ("transcribe", "translate")},
        no_speech_id=id_of["nospeech"],
        **options,
    )


def tiny_whisper(seed=0, positions=20, std=0.4, dtype=np.float64, **options):
    rng, tokenizer = np.random.default_rng(seed), speech_tokenizer(positions)
    sizes = {"n_mels": 80, "audio_positions": positions, "start_id": tokenizer.special_tokens["<|startoftranscript|>"]}
    model = Whisper(WhisperConfig(tokenizer.vocab_size, 30, 1, 2, 8, 12, 2, **sizes | options), rng, dtype)
    for p in model.trainable_parameters():
        p.data[:] = std * rng.standard_normal(p.shape)
    model.tokenizer, model.speech_tokens = tokenizer, speech_tokens(tokenizer)
    return model
