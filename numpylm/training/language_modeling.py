"""The task of a language model: predict the next token of a text."""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.inference.generate_text import readable
from numpylm.inference.generation import generate
from numpylm.inference.streaming import stream_text
from numpylm.models.configs import LlamaConfig
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.system.shell import first_words, printable
from numpylm.text.any_tokenizer import TextTokenizer, begin_ids, end_ids, gguf_file
from numpylm.text.data import random_batch
from numpylm.text.text_files import find_texts
from numpylm.training.choose_settings import fit_to_text
from numpylm.training.config import LANGUAGE_MODELS, TrainConfig
from numpylm.training.evaluation import evaluate
from numpylm.training.finetune import load_pretrained_model
from numpylm.training.parallel import DataParallel
from numpylm.training.prepare_data import Data, as_documents, load_documents, make_tokenizer, reference_losses, split
from numpylm.training.private_training import PrivateTraining
from numpylm.training.task import Batch, Evaluation, Task

SHORT_NAMES = {"guessing, ln V": "ln V", "unigram model": "unigram", "bigram model": "bigram"}


class LanguageModeling(Task):
    """Next-token prediction with a GPT or a Llama, on documents that are split into training and validation text."""

    name = "language-model"
    private: PrivateTraining | None = None  # set by `encode`, with dp_epsilon

    @classmethod
    def families_of(cls, config: TrainConfig) -> tuple[str, ...]:
        return LANGUAGE_MODELS if config.init_from else (config.model,)  # its files say later which one it is

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        if config.data:
            find_texts(config.data)
        check_model_file(config)

    def start(self, given: Collection[str] | None) -> GPT | Llama:
        """Read the text. The model and its tokenizer are new, or loaded from ``init_from`` before the text is read."""
        pretrained = load_pretrained_model(self.config) if self.config.init_from else None
        documents = load_documents(self.config)
        if given is not None and not self.config.dp_epsilon:  # chosen settings would say something about the text
            self.config = fit_to_text(self.config, documents, given)
        self._split(documents)
        if pretrained:
            self.config, model, self.tokenizer = pretrained
            return model
        # Each merge of a vocabulary says something about the text. So private training takes it from the other text.
        vocabulary_docs = self.val_docs if self.config.dp_epsilon else self.train_docs
        self.tokenizer = make_tokenizer(self.config, vocabulary_docs, self.val_docs)
        return new_model(self.config, self.tokenizer.vocab_size)

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._split(load_documents(self.config))

    def _split(self, documents: list[str]) -> None:
        self.train_docs, self.val_docs = split(self.config, as_documents(self.config, documents))

    def encode(self, folder: Path, processes: bool = False) -> None:
        self.data = Data.encode(self.train_docs, self.val_docs, self.tokenizer, self.config, folder, processes)
        if self.config.dp_epsilon:
            self.private = PrivateTraining(self.config, self.data)
        self.prompt = first_words(self.val_docs[0])
        del self.train_docs, self.val_docs  # the tokens are enough, and a long text takes memory

    def fingerprint(self) -> str:
        return self.data.fingerprint()

    def batch(self, rng: np.random.Generator) -> Batch:
        c, data = self.config, self.data
        ids, targets = random_batch(data.train, c.batch_size, c.block_size, rng, data.starts, data.counted)
        options = {"label_smoothing": c.label_smoothing} if c.label_smoothing else {}
        return Batch({"ids": ids, "targets": targets}, options)

    def add_gradients(
        self, workers: DataParallel, rng: np.random.Generator, masks_rng: np.random.Generator | None
    ) -> tuple[float, int]:
        if self.private:
            return self.private.add_gradients(workers, rng, masks_rng)
        return super().add_gradients(workers, rng, masks_rng)

    def spent(self, step: int) -> dict[str, float]:
        return {"epsilon": self.private.epsilon(step)} if self.private else {}

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        data = self.data
        score = evaluate(
            model,
            data.val,
            starts=data.val_starts,
            block_size=self.config.block_size,
            counted=data.val_counted,
            progress=True,
            workers=workers,
            between=between,
        )
        bits = score.bits_per_byte(data.val_bytes)
        metrics = {"val_bits_per_byte": bits, "val_accuracy": score.accuracy}
        above = ""
        if data.source_entropy is not None:
            above = f" ({score.loss - data.source_entropy:.4f} above the source)"
            metrics["above_source"] = score.loss - data.source_entropy
        line = f"validation loss {score.loss:.4f}{above}, perplexity {score.perplexity:,.2f}, {bits:.3f} bits per byte"
        return Evaluation(score.loss, line, metrics)

    def sample(self, model: Any, step: int) -> str:
        """The beginning of a text. The step determines all random numbers."""
        tok = self.tokenizer
        start, stop = begin_ids(tok) or [0], end_ids(tok)
        ids = generate(model, start, self.config.sample_tokens, rng=np.random.default_rng(step), stop_ids=stop)
        return printable("".join(stream_text((i for i in ids if i not in stop), readable(tok))))

    def references(self) -> dict[str, float]:
        losses = reference_losses(self.data, self.tokenizer.vocab_size)
        lines = {short: losses[name] for name, short in SHORT_NAMES.items() if name in losses}
        return lines | ({} if self.data.source_entropy is None else {"source entropy": self.data.source_entropy})

    def next_steps(self, run: Any) -> list[list[str]]:
        generate = ["numpylm", "generate", str(run.folder)]
        return [generate, [*generate, "--prompt", self.prompt, "--temperature", "0.8"]] if self.prompt else [generate]

    def describe(self, run: Any) -> None:
        data, V = self.data, self.tokenizer.vocab_size
        per_token = data.val_bytes / data.val_count
        windows = "windows begin " + ("anywhere" if data.starts is None else "with documents")
        print(
            f"tokens      {len(data.train):,} to train on, {len(data.val):,} to validate; {V:,} different ones, "
            f"{per_token:.2f} bytes each{'' if data.counted is None else ' in the answers'}\n            {windows}"
        )
        self.describe_model(run)
        if self.private:
            self.private.describe()
        if data.counted is not None:
            print(
                f"answers     only the {int(data.counted.sum()):,} tokens after {run.config.loss_after!r} count in the "
                f"loss"
            )
        print("loss        on the validation text, in nats per token (perplexity, bits per byte):")
        for name, loss in reference_losses(data, V).items():
            print(f"  {loss:7.4f}   {name}  ({math.exp(loss):,.2f}, {loss / math.log(2) / per_token:.3f})")

    def describe_model(self, run: Any) -> None:
        """Print the size of the model, and how much of it is trained."""
        c = run.model.config
        print(
            f"model       {run.model.num_parameters():,} parameters: {c.n_layer} blocks, {c.n_head} heads, "
            f"{c.n_embd} channels, {c.block_size} tokens of context"
        )
        if run.config.init_from:
            trained = sum(p.size for p in run.model.trainable_parameters())
            print(f"fine-tuning {run.config.init_from}: {trained:,} numbers are trained")


def check_model_file(config: TrainConfig) -> None:
    """Raise FileNotFoundError if ``init_from`` is a .gguf file that does not exist."""
    file = gguf_file(config.init_from) if config.init_from else None
    if file and not file.is_file():
        raise FileNotFoundError(f"no such file: {config.init_from}")


def new_model(config: TrainConfig, vocab_size: int) -> GPT | Llama:
    """The model of a config with initial weights."""
    shape, rng, dtype = config.shape(vocab_size), config.model_rng(), np.dtype(config.dtype)
    return Llama(shape, rng, dtype) if isinstance(shape, LlamaConfig) else GPT(shape, rng, dtype)
