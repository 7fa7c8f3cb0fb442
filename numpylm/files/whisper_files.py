"""Whisper in transformers' format: settings, weights, tokenizer, special tokens of speech, loading and saving."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.audio.mel import HOP, N_FFT, RATE
from numpylm.files.bert_files import ACTIVATION_NAMES
from numpylm.files.checkpoint import check_size
from numpylm.files.gpt2_files import check_tokenizer, tokenizer_in
from numpylm.files.speech_token_files import read_speech_tokens, speech_settings
from numpylm.files.tokenizer_export import export_tokenizer
from numpylm.files.transformers_folder import (
    Names,
    check_target,
    own_tensors,
    read_settings,
    read_weights,
    refuse_others,
    renamed,
    write_folder,
)
from numpylm.inference.speech_tokens import SpeechTokens
from numpylm.models.lora import has_lora, merged
from numpylm.models.whisper import Whisper, WhisperConfig
from numpylm.nn.module import SkipInit
from numpylm.system.whole_files import write_text
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.tokenizer_config import CONFIG, GENERATION, naming, read_object

NAMES: Names = (
    ("encoder", "model.encoder.layers"),
    ("decoder", "model.decoder.layers"),
    ("encoder_norm", "model.encoder.layer_norm"),
    ("decoder_norm", "model.decoder.layer_norm"),
    ("conv1", "model.encoder.conv1"),
    ("conv2", "model.encoder.conv2"),
    ("audio_positions", "model.encoder.embed_positions"),
    ("tokens", "model.decoder.embed_tokens"),
    ("positions", "model.decoder.embed_positions"),
    ("mlp.c_fc", "fc1"),
    ("mlp.c_proj", "fc2"),
)
COMPUTED: dict[str, tuple[Any, ...]] = {
    "activation_function": tuple(ACTIVATION_NAMES),
    "activation_dropout": (0.0,),
    "encoder_layerdrop": (0.0,),
    "decoder_layerdrop": (0.0,),
    "scale_embedding": (False,),
    "tie_word_embeddings": (True,),
    "apply_spec_augment": (False,),
    "use_weighted_layer_sum": (False,),
}
PREPROCESSOR = "preprocessor_config.json"
SOUND: dict[str, tuple[Any, ...]] = {
    "sampling_rate": (RATE,),
    "hop_length": (HOP,),
    "n_fft": (N_FFT,),
    "padding_value": (0.0,),
    "dither": (0.0,),
    "do_normalize": (False,),
}


def load_whisper(folder: Path, dtype: DTypeLike = np.float32) -> Whisper:
    """Load a Whisper, its tokenizer and its special tokens from a folder in transformers' format.

    Raises
    ------
    FileNotFoundError, ValueError
        If files are missing, damaged, or of a model that `Whisper` cannot compute. The message lists all problems.
    """
    settings, stored = read_settings(folder), own_tensors(folder)
    refuse_others(settings, COMPUTED, folder / "config.json")
    config = _config(settings, folder)
    if (folder / PREPROCESSOR).is_file():
        expected = SOUND | {"feature_size": (config.n_mels,)}
        refuse_others(read_object(folder / PREPROCESSOR), expected, folder / PREPROCESSOR)
    with naming(folder):
        check_size(config, sum(math.prod(tensor.shape) for tensor in stored.values()))
    model = Whisper(config, SkipInit(), dtype)
    prefix = "" if "encoder.conv1.weight" in stored else "model."  # transformers' WhisperModel has none
    copies = {"proj_out.weight": "tokens.weight"}
    read_weights(model, stored, lambda name: prefix + renamed(name, NAMES)[6:], folder, "", copies)
    model.tokenizer = tokenizer_in(folder)
    special = {} if model.tokenizer is None else model.tokenizer.special_tokens
    model.speech_tokens = read_speech_tokens(folder, settings, config.vocab_size, special)
    return model


def save_whisper(model: Whisper, folder: str | Path, tokenizer: TextTokenizer | None = None) -> None:
    """Write a folder that transformers' WhisperForConditionalGeneration and WhisperProcessor load.

    Raises
    ------
    ValueError
        If the tokenizer has more tokens than the model, or the folder is a run's.
    """
    folder = Path(folder)
    tokenizer = model.tokenizer if tokenizer is None else tokenizer
    check_target(folder)
    check_tokenizer(model, tokenizer)
    c = model.config
    end_id = None if tokenizer is None else tokenizer.end_id
    tokens = model.speech_tokens or SpeechTokens(c.start_id, c.start_id if end_id is None else end_id)
    model = merged(model) if has_lora(model) else model
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        export_tokenizer(tokenizer, folder, c.block_size)
        _name_tokenizer(folder)
    write_text(folder / PREPROCESSOR, json.dumps(_preprocessor(c), indent=2) + "\n")
    settings = _settings(model, tokens)
    write_folder(folder, model, lambda name: renamed(name, NAMES), settings)
    generation = speech_settings(tokens, c.block_size, settings["pad_token_id"])
    write_text(folder / GENERATION, json.dumps(generation, indent=2) + "\n")


def _name_tokenizer(folder: Path) -> None:
    """Make transformers' WhisperProcessor accept the tokenizer."""
    if (folder / CONFIG).is_file():
        config = read_object(folder / CONFIG) | {"tokenizer_class": "WhisperTokenizer"}
        write_text(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _config(settings: Mapping[str, Any], folder: Path) -> WhisperConfig:
    def whole(*names: str) -> int:
        values = {name: settings.get(name) for name in names}
        first = values[names[0]]
        if not isinstance(first, int) or any(value not in (first, None) for value in values.values()):
            raise ValueError(f"{' and '.join(names)} should be one whole number, are {values}")
        return first

    with naming(folder / "config.json"):
        return WhisperConfig(
            vocab_size=whole("vocab_size"),
            block_size=whole("max_target_positions"),
            n_layer=whole("encoder_layers"),
            n_decoder_layer=whole("decoder_layers"),
            n_head=whole("encoder_attention_heads", "decoder_attention_heads"),
            n_embd=whole("d_model"),
            n_inner=whole("encoder_ffn_dim", "decoder_ffn_dim"),
            n_mels=whole("num_mel_bins"),
            audio_positions=whole("max_source_positions"),
            start_id=whole("decoder_start_token_id"),
            dropout=settings.get("dropout", 0.0),
            attention_dropout=settings.get("attention_dropout", 0.0),
            activation=ACTIVATION_NAMES[settings.get("activation_function", "gelu")],
        )


def _settings(model: Whisper, tokens: SpeechTokens) -> dict[str, Any]:
    c = model.config
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": c.vocab_size,
        "max_target_positions": c.block_size,
        "max_source_positions": c.audio_positions,
        "num_mel_bins": c.n_mels,
        "d_model": c.n_embd,
        "encoder_layers": c.n_layer,
        "decoder_layers": len(model.decoder),
        "encoder_attention_heads": c.n_head,
        "decoder_attention_heads": c.n_head,
        "encoder_ffn_dim": c.n_inner or 4 * c.n_embd,
        "decoder_ffn_dim": c.n_inner or 4 * c.n_embd,
        "dropout": c.dropout,
        "attention_dropout": c.attention_dropout,
        "activation_dropout": 0.0,
        "activation_function": c.activation,
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "decoder_start_token_id": tokens.start_id,
        "bos_token_id": tokens.end_id,
        "eos_token_id": tokens.end_id,
        "pad_token_id": tokens.end_id,
        "torch_dtype": str(model.tokens.weight.dtype),
    }


def _preprocessor(config: WhisperConfig) -> dict[str, Any]:
    """What transformers' WhisperFeatureExtractor must know to compute our spectrogram."""
    frames = 2 * config.audio_positions
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": config.n_mels,
        "sampling_rate": RATE,
        "hop_length": HOP,
        "n_fft": N_FFT,
        "chunk_length": max(frames * HOP // RATE, 1),
        "n_samples": frames * HOP,
        "nb_max_frames": frames,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
