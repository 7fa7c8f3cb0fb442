"""A random Whisper of transformers, as small as can be, with a vocabulary that has all its special tokens."""

import json

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

LANGUAGES = ("en", "de", "zh")
TEXT = ["the quick brown fox jumps over the lazy dog and the cat sat on the mat with a hat"] * 3


def vocabulary(size=290):
    """Byte-level BPE, trained by the tokenizers package: token -> id, and the merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=size, initial_alphabet=letters))
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def whisper_tokenizer(positions, multilingual=True):
    """A WhisperTokenizer with special tokens and times. The multilingual vocabulary of OpenAI has an empty token."""
    vocab, merges = vocabulary()
    if multilingual:
        vocab[""] = len(vocab)
    names = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe", "startoflm", "startofprev"]
    names = [f"<|{name}|>" for name in (*names, "nospeech", "notimestamps")]
    tokenizer = transformers.WhisperTokenizer(vocab=vocab, merges=merges)
    special = [transformers.AddedToken(name, special=True, normalized=False) for name in names]
    tokenizer.add_tokens(special, special_tokens=True)
    times = [f"<|{i * 0.02:.2f}|>" for i in range(positions + 1)]
    tokenizer.add_tokens([transformers.AddedToken(time, special=False, normalized=False) for time in times])
    return tokenizer


def whisper(shape=(12, 2, 3, 20), folder=None, *, positions=20, context=40, n_mels=80, multilingual=True, seed=0):
    """A model with random weights and its tokenizer; written into a folder if one is given. ``shape``: C, L, H, F."""
    C, n_layer, n_head, inner = shape
    tokenizer = whisper_tokenizer(positions, multilingual)
    id_of = tokenizer.convert_tokens_to_ids
    end, start = id_of("<|endoftext|>"), id_of("<|startoftranscript|>")
    ids = {"decoder_start_token_id": start, "eos_token_id": end, "bos_token_id": end, "pad_token_id": end}
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        max_target_positions=context,
        max_source_positions=positions,
        encoder_layers=n_layer,
        decoder_layers=n_layer + 1,
        encoder_attention_heads=n_head,
        decoder_attention_heads=n_head,
        d_model=C,
        encoder_ffn_dim=inner,
        decoder_ffn_dim=inner,
        num_mel_bins=n_mels,
        begin_suppress_tokens=None,
        **ids,
    )
    torch.manual_seed(seed)
    model = transformers.WhisperForConditionalGeneration(config).double().eval()
    for name, p in model.named_parameters():
        if "encoder.embed_positions" not in name:  # constants
            p.data = 0.4 * torch.randn_like(p)
    languages = {f"<|{code}|>": id_of(f"<|{code}|>") for code in LANGUAGES}
    tasks = {name: id_of(f"<|{name}|>") for name in ("transcribe", "translate")}
    model.generation_config = transformers.GenerationConfig(
        **ids,
        max_length=context,
        no_timestamps_token_id=id_of("<|notimestamps|>"),
        suppress_tokens=[1, 2, 7, start],
        begin_suppress_tokens=[220, end],
        prev_sot_token_id=id_of("<|startofprev|>"),
        max_initial_timestamp_index=5,
        is_multilingual=multilingual,
        **({"lang_to_id": languages, "task_to_id": tasks} if multilingual else {}),
    )
    if folder is not None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformers.WhisperFeatureExtractor(feature_size=n_mels).save_pretrained(folder)
    return model, tokenizer
