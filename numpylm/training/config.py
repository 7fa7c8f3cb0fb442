"""TrainConfig: all settings of a training run, from defaults, a TOML file and command-line options."""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.models.configs import GPTConfig, LlamaConfig
from numpylm.system.json_fields import brief
from numpylm.system.whole_files import read_text
from numpylm.text.cleaning import CLEANING, step_names
from numpylm.text.tokenizer import count_merges


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


TASKS = (
    "language-model",
    "masked-lm",
    "translation",
    "classification",
    "chat",
    "preference",
    "speech",
    "poems",
    "code",
    "in-context",
)
LANGUAGE_MODELS = ("gpt", "llama")
SPEECH_MODELS = ("ctc", "whisper")
ALLOWED = {
    "task": TASKS,
    "model": (*LANGUAGE_MODELS, *SPEECH_MODELS),
    "documents": ("file", "lines"),
    "tokenizer": ("bpe", "char"),
    "dtype": ("float32", "float64"),
    "pooling": ("first", "mean"),
    "preference": ("politeness", "brevity"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `numpylm.training.train.train`. Each is also a command-line option and a TOML key.

    The defaults train on the bundled stories in about two minutes on two cores. `numpylm.training.choose_settings`
    chooses other values for a user's own text.
    """

    task: str = _setting("language-model", f"what to train for: {', '.join(TASKS)}")
    data: tuple[str, ...] = _setting(
        (), "text files or folders, - for standard input; speech: folders, zip files, tables; none: bundled data"
    )
    source: str = _setting("", "translation: file with a source sentence in each line (.gz too), instead of data")
    target: str = _setting("", "translation: file with their translations, line by line (.gz too)")
    text_column: str = _setting("", "classification: name or number of the column with the texts; default: found")
    label_column: str = _setting("", "classification: name or number of the column with the labels; default: found")
    out: str = _setting("", "run folder to create; default: runs/NAME, numbered if that exists")
    documents: str = _setting("file", "what is one document: file (<|endoftext|> can divide it into several) or lines")
    clean: tuple[str, ...] = _setting((), f"cleaning steps: {', '.join(CLEANING)}, or all (except personal)")
    val_fraction: float = _setting(0.1, "share of the text held out for validation")
    max_val_mb: float = _setting(1.0, "language-model, masked-lm: largest validation text, in millions of characters")
    stories_mb: float = _setting(4.0, "megabytes of stories to generate, if no data is given")

    init_from: str = _setting(
        "",
        "begin with this model: a run folder, a folder with transformers' files, a .gguf file, or a name such as gpt2",
    )
    freeze_below: int = _setting(0, "with init_from: freeze the embeddings and this many of the lowest blocks")
    lora_rank: int = _setting(0, "with init_from: train LoRA adapters of this rank instead of the weights; 0: none")
    lora_alpha: float = _setting(0.0, "alpha of LoRA; adapters are scaled by alpha / rank; 0: twice the rank")
    loss_after: str = _setting(
        "", r"count only the text after this mark in the loss: answers, not prompts (as an option, \n means a line end)"
    )

    label_smoothing: float = _setting(0.0, "share of each target that is spread over all tokens or labels")
    mask_fraction: float = _setting(0.15, "masked-lm: share of the tokens to predict")
    n_mels: int = _setting(80, "speech: mel bands of the spectrogram")
    augment: bool = _setting(True, "speech: train on changed copies: other speeds, voices, microphones and noise")
    whole_words: bool = _setting(False, "masked-lm: mask whole words instead of single tokens")
    pooling: str = _setting("mean", "classification: one vector per text from its first token or from the mean")

    run_code: bool = _setting(
        False, "code: after training, run what the model wrote on asserts, in child processes with limits"
    )
    dpo_beta: float = _setting(0.1, "preference: beta of DPO; a larger one keeps the model nearer to init_from's")
    preference: str = _setting(
        "politeness", "preference, without data: what the bundled pairs prefer, politeness or brevity"
    )

    tokenizer: str = _setting("bpe", "bpe (byte-level) or char (one token per character)")
    vocab_size: int = _setting(1024, "size of a bpe vocabulary, in tokens")
    whole_characters: int = _setting(0, "bpe: characters that occur at least this often become tokens; 0: off")

    block_size: int = _setting(256, "context length, in tokens")
    n_layer: int = _setting(2, "number of Transformer blocks")
    n_head: int = _setting(4, "number of attention heads in each block; must divide n_embd")
    n_embd: int = _setting(128, "number of channels")
    model: str = _setting(
        "gpt",
        f"language-model, chat, poems, code: {' or '.join(LANGUAGE_MODELS)}; speech: {' or '.join(SPEECH_MODELS)}",
    )
    n_kv_head: int = _setting(0, "llama: number of key/value heads, which must divide n_head; 0: n_head")
    n_inner: int = _setting(0, "hidden channels of each MLP, except in gpt; 0: 4 times n_embd, in llama 8/3 times")
    n_decoder_layer: int = _setting(0, "translation, whisper: number of decoder blocks; 0: as many as n_layer")
    dropout: float = _setting(0.0, "dropout probability during training")
    norm_first: bool = _setting(False, "translation: pre-norm blocks instead of the post-norm blocks of the 2017 paper")
    bias: bool = _setting(True, "gpt: biases in linear layers and norms")
    dtype: str = _setting("float32", "float32 or float64")

    pack: bool = _setting(True, "chat: several conversations in a row, without attention from one to another")
    recompute: bool = _setting(
        False, "activation checkpointing (run blocks again in the backward): a third more time, much less memory"
    )
    batch_size: int = _setting(8, "sequences in a batch")
    batch_tokens: int = _setting(
        0, "tokens in a batch, padding included, instead of batch_size; the texts have similar lengths; 0: off"
    )
    grad_accum: int = _setting(1, "gradient accumulation: batches per optimizer step")
    max_steps: int = _setting(1400, "optimizer steps")
    learning_rate: float = _setting(6e-3, "highest learning rate")
    min_lr: float = _setting(2e-4, "learning rate at the end of the cosine decay")
    warmup_steps: int = _setting(50, "steps of linear warmup to the highest learning rate")
    weight_decay: float = _setting(0.1, "AdamW: weight decay of matrices")
    beta1: float = _setting(0.9, "AdamW: decay rate of the mean gradient")
    beta2: float = _setting(0.95, "AdamW: decay rate of the mean squared gradient")
    grad_clip: float = _setting(1.0, "largest norm of the gradient; 0: no clipping")

    dp_epsilon: float = _setting(0.0, "language-model: private training that spends at most this epsilon; 0: off")
    dp_delta: float = _setting(1e-5, "private training: delta, which must be below 1 / examples")
    dp_clip: float = _setting(1.0, "private training: largest norm of the gradient of one example")

    eval_interval: int = _setting(200, "steps between evaluations and checkpoints")
    patience: int = _setting(0, "early stopping: evaluations without a lower validation loss; 0: never stop early")
    sample_tokens: int = _setting(40, "tokens of the sample shown at each evaluation; 0: none")
    seed: int = _setting(1337, "seed of all random numbers")
    check_gradients: bool = _setting(True, "check every layer's gradient before training")

    def __post_init__(self) -> None:
        positive = ("stories_mb", "max_val_mb", "n_mels", "block_size", "batch_size", "grad_accum", "max_steps")
        for name in (*positive, "eval_interval"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in (
            "learning_rate",
            "min_lr",
            "warmup_steps",
            "weight_decay",
            "grad_clip",
            "sample_tokens",
            "seed",
            "patience",
            "freeze_below",
            "lora_rank",
            "lora_alpha",
            "whole_characters",
            "batch_tokens",
            "n_inner",
            "n_kv_head",
            "n_decoder_layer",
            "dp_epsilon",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for setting in fields(self):
            if isinstance(getattr(self, setting.name), float) and not math.isfinite(getattr(self, setting.name)):
                raise ValueError(f"{setting.name} must be a finite number, got {getattr(self, setting.name)}")
        if self.lora_alpha and not self.lora_rank:
            raise ValueError("lora_alpha scales LoRA adapters: it needs a lora_rank above 0")
        if (self.freeze_below or self.lora_rank) and not self.init_from:
            raise ValueError("freeze_below and lora_rank are for fine-tuning: say with init_from what to begin with")
        if self.min_lr > self.learning_rate:
            raise ValueError(f"min_lr ({self.min_lr}) must not be above learning_rate ({self.learning_rate})")
        for name, allowed in ALLOWED.items():
            if getattr(self, name) not in allowed:
                near = difflib.get_close_matches(getattr(self, name), allowed, 1, 0.5)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"{name} must be {' or '.join(allowed)}, got {getattr(self, name)!r}{hint}")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction must lie between 0 and 1, got {self.val_fraction}")
        if not 0 < self.mask_fraction < 1:
            raise ValueError(f"mask_fraction must lie between 0 and 1, got {self.mask_fraction}")
        if bool(self.source) != bool(self.target):
            raise ValueError("--source and --target are two aligned files: give both, or one file of pairs with --data")
        if self.source and self.data:
            raise ValueError("give either --source and --target, or --data")
        self._check_task()
        self._check_privacy()
        for name in ("beta1", "beta2", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        step_names(self.clean)
        if not self.init_from:
            self._check_model()

    def _check_task(self) -> None:
        """Refuse settings that the task does not use, so that a mistake is noticed."""
        defaults = {setting.name: setting.default for setting in fields(self)}
        for name, tasks in ONLY_FOR.items():
            if self.task not in tasks and getattr(self, name) != defaults[name]:
                raise ValueError(f"{name} is for --task {' or '.join(tasks)}, not for {self.task}")
        if self.model not in (models := SPEECH_MODELS if self.task == "speech" else LANGUAGE_MODELS):
            raise ValueError(f"model must be {' or '.join(models)} for --task {self.task}, got {self.model!r}")
        for name in ("n_kv_head", "n_inner") if self.task in ONLY_FOR["n_kv_head"] and self.model == "gpt" else ():
            if getattr(self, name) and not self.init_from:
                raise ValueError(f"{name} is for --model llama, not for gpt")
        if self.task == "preference":
            self._check_preference()
        if self.task == "poems" and self.tokenizer != "char" and not self.init_from:
            raise ValueError(f"poems are read and written by characters: tokenizer must be char, got {self.tokenizer}")
        if self.task == "in-context":
            self._check_in_context()
        if self.model == "llama" and not (self.bias or self.init_from):
            raise ValueError("a llama has no biases: leave out --no-bias")

    def _check_preference(self) -> None:
        if not self.init_from:
            raise ValueError(
                "--task preference changes how a model answers: say with --init-from which one, such as a run of "
                "--task chat"
            )
        if not self.dpo_beta > 0:
            raise ValueError(f"dpo_beta must be above 0, got {self.dpo_beta}")
        if self.data and self.preference != TrainConfig.preference:
            raise ValueError("preference chooses among the bundled pairs; with data, the pairs say what is preferred")

    def _check_in_context(self) -> None:
        for name in ("data", "init_from", "clean"):
            if getattr(self, name):
                raise ValueError(
                    f"--task in-context draws its sequences and starts from random weights: leave out {name}"
                )
        if self.block_size < 4:
            raise ValueError(f"block_size must be at least 4, for two pairs, got {self.block_size}")

    def _check_privacy(self) -> None:
        """Refuse settings that private training cannot have, and its settings without it."""
        if not self.dp_epsilon:
            for name in ("dp_delta", "dp_clip"):
                if getattr(self, name) != getattr(TrainConfig, name):
                    raise ValueError(f"{name} is for private training: give dp_epsilon, too")
            return
        if not 0 < self.dp_delta < 1:
            raise ValueError(f"dp_delta must lie between 0 and 1, got {self.dp_delta}")
        if self.dp_clip <= 0:
            raise ValueError(f"dp_clip must be above 0, got {self.dp_clip}")
        if self.grad_accum > 1:
            raise ValueError("private training has no grad_accum: its memory does not grow with batch_size; raise that")
        if self.loss_after:
            raise ValueError("loss_after is not for private training: it has no loss masks")
        if self.tokenizer == "char" and not self.init_from:
            raise ValueError("private training has no tokenizer char: its alphabet would come from the protected text")

    def model_rng(self) -> np.random.Generator:
        """The random generator of the initial weights."""
        return np.random.default_rng(np.random.SeedSequence(self.seed).spawn(1)[0])

    def _check_model(self) -> None:
        self.shape(self.vocab_size)
        if self.tokenizer == "bpe":
            count_merges(self.vocab_size)

    def shape(self, vocab_size: int) -> GPTConfig | LlamaConfig:
        """The config of a new language model. Raises ValueError if the settings are invalid."""
        sizes = (vocab_size, self.block_size, self.n_layer, self.n_head, self.n_embd)
        if self.model == "llama":
            return LlamaConfig(*sizes, n_kv_head=self.n_kv_head, n_inner=self.n_inner, dropout=self.dropout)
        return GPTConfig(*sizes, self.dropout, self.bias)


ONLY_FOR = {
    "source": ("translation",),
    "target": ("translation",),
    "norm_first": ("translation",),
    "n_decoder_layer": ("translation", "speech"),
    "model": ("language-model", "chat", "preference", "speech", "poems", "code"),
    "n_mels": ("speech",),
    "augment": ("speech",),
    "n_kv_head": ("language-model", "chat", "preference", "poems", "code"),
    "text_column": ("classification",),
    "label_column": ("classification",),
    "pooling": ("classification",),
    "whole_words": ("masked-lm",),
    "mask_fraction": ("masked-lm",),
    "loss_after": ("language-model",),
    "tokenizer": ("language-model", "poems", "code"),
    "bias": ("language-model", "chat", "preference", "poems", "code", "in-context"),
    "dp_epsilon": ("language-model",),
    "dpo_beta": ("preference",),
    "preference": ("preference",),
    "pack": ("chat",),
    "run_code": ("code",),
    "documents": ("language-model", "masked-lm"),
    "clean": ("language-model", "masked-lm"),
    "stories_mb": ("language-model", "masked-lm"),
    "batch_tokens": ("translation", "classification", "chat", "speech", "poems", "code"),
    "label_smoothing": ("language-model", "translation", "classification", "chat", "speech", "poems", "code"),
}
LARGEST = 10**15  # larger than any sensible setting
SETTING_TYPES: dict[str, type] = {f.name: type(f.default) for f in fields(TrainConfig)}


# The defaults for fine-tuning. It starts near its goal, so it takes few and small steps, and stops early.
FINE_TUNING: dict[str, Any] = {
    "max_steps": 200,
    "batch_size": 4,
    "learning_rate": 1e-4,
    "min_lr": 1e-5,
    "warmup_steps": 10,
    "weight_decay": 0.01,
    "eval_interval": 20,
    "patience": 3,
    "max_val_mb": 0.03,
}
FROM_MODEL = (
    "model",
    "n_layer",
    "n_head",
    "n_kv_head",
    "n_embd",
    "n_inner",
    "bias",
    "vocab_size",
    "tokenizer",
)  # set by the model of init_from
LORA = FINE_TUNING | {"learning_rate": 5e-4, "min_lr": 5e-5}


# The defaults of the other tasks, made for their bundled corpora.
TASK_DEFAULTS: dict[str, dict[str, Any]] = {
    "translation": {
        "block_size": 128,
        "n_layer": 2,
        "norm_first": True,  # it learns much faster than the paper's post-norm; see docs/results.md
        "batch_tokens": 1500,
        "max_steps": 1200,
        "learning_rate": 5e-3,
        "min_lr": 5e-5,
        "warmup_steps": 100,
        "weight_decay": 0.01,
        "beta2": 0.98,
        "vocab_size": 2048,
        "sample_tokens": 60,
    },
    "masked-lm": {
        "block_size": 128,
        "batch_size": 16,
        "max_steps": 1800,
        "learning_rate": 3e-3,
        "warmup_steps": 100,
        "sample_tokens": 40,
    },
    "classification": {
        "block_size": 128,
        "batch_size": 32,
        "max_steps": 2400,
        "eval_interval": 300,
        "learning_rate": 2e-3,
        "min_lr": 2e-5,
        "warmup_steps": 50,
        "dropout": 0.1,
        "label_smoothing": 0.1,
        "sample_tokens": 3,
    },
    "chat": {
        "model": "llama",  # with rotary positions it learns much earlier to copy; see docs/results.md
        "vocab_size": 1536,  # names and numbers become two to four tokens each
        "batch_size": 30,
        "max_steps": 1200,
        "learning_rate": 3e-3,
        "min_lr": 3e-5,
        "warmup_steps": 50,
        "eval_interval": 500,
        "sample_tokens": 60,
    },
    "speech": {
        "model": "ctc",
        "block_size": 1500,
        "n_mels": 40,  # fewer than Whisper's, so that they show formants and not the pitch of the speaker
        "n_layer": 3,
        "n_embd": 96,
        "batch_tokens": 1200,
        "max_steps": 2000,
        "learning_rate": 1.5e-3,
        "min_lr": 1.5e-5,
        "warmup_steps": 100,
        "weight_decay": 0.01,
        "beta2": 0.98,
        "dropout": 0.05,
        "eval_interval": 500,
        "sample_tokens": 40,
    },
    "code": {
        "model": "llama",
        "block_size": 128,
        "vocab_size": 512,
        "batch_size": 16,
        "max_steps": 3500,
        "learning_rate": 3e-3,
        "min_lr": 3e-5,
        "warmup_steps": 50,
        "eval_interval": 500,
        "sample_tokens": 100,
    },
    "poems": {
        "model": "llama",  # with rotary positions it learns the form of poems; see docs/results.md
        "tokenizer": "char",
        "batch_size": 16,
        "max_steps": 800,
        "learning_rate": 4e-3,
        "min_lr": 4e-5,
        "warmup_steps": 50,
        "eval_interval": 200,
        "sample_tokens": 160,
    },
    "in-context": {
        "block_size": 48,
        "batch_size": 32,
        "n_head": 1,
        "n_embd": 64,
        "max_steps": 1500,
        "learning_rate": 4e-3,
        "min_lr": 4e-4,
    },
}
FINE_TUNING_OF: dict[str, dict[str, Any]] = {
    "classification": {
        "batch_size": 32,
        "max_steps": 600,
        "eval_interval": 100,
        "patience": 0,
        "dropout": 0.1,
        "learning_rate": 2e-4,
    },
    "translation": {"batch_size": 16, "max_steps": 600, "eval_interval": 100},
    "chat": {"eval_interval": 50},
    "poems": {"batch_size": 32},
    "preference": {  # a few small steps: after them, more wins cost right answers (docs/results.md)
        "batch_size": 16,
        "max_steps": 60,
        "learning_rate": 5e-5,
        "min_lr": 5e-6,
        "eval_interval": 20,
        "sample_tokens": 60,
    },
}
LORA_OF: dict[str, dict[str, Any]] = {"preference": {"learning_rate": 3e-4, "min_lr": 3e-5}}


def make_config(*layers: Mapping[str, Any]) -> TrainConfig:
    """Make a config from several mappings. Later ones override earlier ones, and all override the defaults.

    A task has defaults of its own (`TASK_DEFAULTS`). With ``init_from``, the defaults are those of `FINE_TUNING`; with
    ``lora_rank``, those of `LORA`.

    Raises
    ------
    ValueError
        For an unknown key (the message suggests the most similar one) or a value of a wrong type.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values |= {check_key(key): _convert(key, value) for key, value in layer.items()}
    defaults = TASK_DEFAULTS.get(values.get("task", ""), {})
    if values.get("init_from"):
        shapeless = {name: value for name, value in defaults.items() if name not in FROM_MODEL}
        defaults = (
            shapeless
            | (LORA if values.get("lora_rank") else FINE_TUNING)
            | FINE_TUNING_OF.get(values.get("task", ""), {})
            | (LORA_OF.get(values.get("task", ""), {}) if values.get("lora_rank") else {})
        )
    if "max_steps" in values and "warmup_steps" not in values:  # a short run needs a short warm-up
        usual = defaults.get("warmup_steps", TrainConfig.warmup_steps)
        defaults = defaults | {"warmup_steps": min(usual, values["max_steps"] // 5)}
    return TrainConfig(**defaults | values)


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Read settings from a TOML file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such config file: {path}")
    try:
        return tomllib.loads(read_text(Path(path)))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None


def refuse_shape(values: Mapping[str, Any]) -> None:
    """With ``init_from``, refuse settings of the model's shape and the tokenizer, because the model determines them."""
    if values.get("init_from") and (given := [name for name in values if name in FROM_MODEL]):
        raise ValueError(f"{given[0]} cannot be set: {values['init_from']} brings its own; leave it out")


def check_key(key: str) -> str:
    """Return ``key`` if it is a setting. Otherwise raise a ValueError that suggests the most similar one."""
    if key in SETTING_TYPES:
        return key
    near = difflib.get_close_matches(key, SETTING_TYPES, 1, 0.5)
    raise ValueError(
        f"unknown setting {key!r}"
        + (f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(SETTING_TYPES)}")
    )


def _convert(key: str, value: Any) -> Any:
    kind = SETTING_TYPES[key]
    if kind is tuple:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, (list, tuple)) and all(isinstance(item, str) for item in items):
            return tuple(items)
    elif type(value) in (int, float) and LARGEST <= abs(value) < math.inf:
        raise ValueError(f"{key} must be below {LARGEST:.0e}, got {brief(value)}")
    elif kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif kind is not float and type(value) is kind:
        return value
    expected = "a string or a list of strings" if kind is tuple else f"a value of type {kind.__name__}"
    raise ValueError(f"{key} must be {expected}, got {brief(value)}")
