"""Whisper's folders: what is written is read again, and what is wrong or not computed is named in one sentence."""

import json

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="a Whisper is read from safetensors")

from numpylm import Whisper, load_model
from numpylm.inference.speech_tokens import SpeechTokens
from tests.tiny_whisper import speech_tokens, tiny_whisper


@pytest.fixture
def folder(tmp_path):
    tiny_whisper().save_pretrained(tmp_path)
    return tmp_path


def change(path, **entries):
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({name: value for name, value in content.items() if value != "drop"}))


def test_there_and_back(tmp_path):
    model = tiny_whisper()
    options = {"suppressed": (1, 2), "suppressed_first": (3,), "forced": ((1, None),), "max_initial_timestamp": 50}
    model.speech_tokens = speech_tokens(model.tokenizer, **options)
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path, np.float64)
    assert isinstance(again, Whisper)
    assert (again.config, again.speech_tokens) == (model.config, model.speech_tokens)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert again.audio_positions.weight.frozen
    assert again.tokenizer.encode("lowest <|en|>", allow_special=True) == model.tokenizer.encode(
        "lowest <|en|>", allow_special=True
    )


def test_a_model_without_tokenizer_has_a_start_and_an_end(tmp_path):
    model = tiny_whisper()
    model.tokenizer = model.speech_tokens = None
    model.save_pretrained(tmp_path)
    start = model.config.start_id
    assert load_model(tmp_path).speech_tokens == SpeechTokens(start, start)


def test_old_folders_have_the_entries_in_config_json_and_the_rest_in_the_vocabulary(folder):
    (folder / "generation_config.json").unlink()
    known = tiny_whisper().speech_tokens
    change(folder / "config.json", forced_decoder_ids=[[1, None], [2, known.tasks["transcribe"]]], suppress_tokens=[5])
    found = load_model(folder).speech_tokens
    assert found.languages == known.languages
    assert (found.no_timestamps_id, found.no_speech_id) == (known.no_timestamps_id, known.no_speech_id)
    assert (found.suppressed, found.forced[0]) == ((5,), (1, None))
    change(folder / "config.json", forced_decoder_ids=[[1, known.no_timestamps_id]])  # a model of English
    assert load_model(folder).speech_tokens.languages == {}


@pytest.mark.parametrize(
    ("file", "entries", "message"),
    [
        ("config.json", {"scale_embedding": True}, "scale_embedding is True, numpylm computes False"),
        ("config.json", {"activation_function": "quick_gelu"}, "activation_function is 'quick_gelu'"),
        ("config.json", {"encoder_ffn_dim": 99}, "encoder_ffn_dim and decoder_ffn_dim should be one whole number"),
        ("config.json", {"d_model": None}, "d_model should be one whole number"),
        ("config.json", {"max_source_positions": 10**9}, "they do not belong together"),
        ("config.json", {"num_mel_bins": 81}, "feature_size is 80, numpylm computes 81"),
        ("preprocessor_config.json", {"hop_length": 100}, "hop_length is 100, numpylm computes 160"),
        ("preprocessor_config.json", {"dither": 0.5}, "dither is 0.5"),
        ("generation_config.json", {"suppress_tokens": "all"}, "suppress_tokens should be a list of ids"),
        ("generation_config.json", {"suppress_tokens": [10**6]}, "1000000 is outside the vocabulary"),
        ("generation_config.json", {"lang_to_id": {"English": 5}}, "tokens such as <|en|>, has 'English'"),
        ("generation_config.json", {"lang_to_id": [1]}, "lang_to_id should be an object"),
        ("generation_config.json", {"eos_token_id": "</s>"}, "should be whole numbers, are '</s>'"),
        ("generation_config.json", {"forced_decoder_ids": [[2, 5]]}, "forced_decoder_ids should be pairs"),
        ("generation_config.json", {"no_timestamps_token_id": 298}, "the times come after it"),
    ],
)
def test_what_is_wrong_or_not_computed_is_named(file, entries, message, folder):
    last = tiny_whisper().config.vocab_size - 1
    change(folder / file, **{name: last if value == 298 else value for name, value in entries.items()})
    with pytest.raises(ValueError, match=r"outside|numpylm|should|tokens|times|together") as error:
        load_model(folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert file in str(error.value) or file == "config.json"


def test_an_empty_token_in_the_vocabulary(folder):
    """OpenAI's vocabulary of many languages has one; no text contains it."""
    whole = json.loads((folder / "tokenizer.json").read_text()) if (folder / "tokenizer.json").exists() else None
    assert whole is not None
    size = len(whole["model"]["vocab"])
    whole["model"]["vocab"][""] = size
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    change(folder / "config.json", vocab_size=size)
    with pytest.raises(ValueError, match=rf"the tokenizer has {size + 1} tokens"):  # it was read, and counted
        load_model(folder)
