"""The task of a language model: predict the next token of a text."""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.inference.generate_text import readable
from numpylm.inference.generation import generate
from numpylm.inference.streaming import printable, stream_text
from numpylm.models.gpt import GPT
from numpylm.system.shell import first_words
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.data import random_batch
from numpylm.text.text_files import find_texts
from numpylm.training.choose_settings import fit_to_text
from numpylm.training.config import TrainConfig
from numpylm.training.evaluation import evaluate
from numpylm.training.finetune import load_pretrained_model
from numpylm.training.parallel import DataParallel
from numpylm.training.prepare_data import Data, as_documents, load_documents, make_tokenizer, reference_losses, split
from numpylm.training.task import Batch, Evaluation, Task

SHORT_NAMES = {"guessing, ln V": "ln V", "unigram model": "unigram", "bigram model": "bigram"}


class LanguageModeling(Task):
    """Next-token prediction with a GPT, on documents that are split into training and validation text."""

    name = "language-model"

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        if config.data:
            find_texts(config.data)

    def start(self, given: Collection[str] | None) -> GPT:
        """Read the text. The model and its tokenizer are new, or loaded from ``init_from`` before the text is read."""
        pretrained = load_pretrained_model(self.config) if self.config.init_from else None
        documents = load_documents(self.config)
        if given is not None:
            self.config = fit_to_text(self.config, documents, given)
        self._split(documents)
        if pretrained:
            self.config, gpt, self.tokenizer = pretrained
            return gpt
        self.tokenizer = make_tokenizer(self.config, self.train_docs, self.val_docs)
        return new_gpt(self.config, self.tokenizer.vocab_size)

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._split(load_documents(self.config))

    def _split(self, documents: list[str]) -> None:
        self.train_docs, self.val_docs = split(self.config, as_documents(self.config, documents))

    def encode(self, folder: Path, processes: bool = False) -> None:
        self.data = Data.encode(self.train_docs, self.val_docs, self.tokenizer, self.config, folder, processes)
        self.prompt = first_words(self.val_docs[0])
        del self.train_docs, self.val_docs  # the tokens are enough, and a long text takes memory

    def fingerprint(self) -> str:
        return self.data.fingerprint()

    def batch(self, rng: np.random.Generator) -> Batch:
        c, data = self.config, self.data
        ids, targets = random_batch(data.train, c.batch_size, c.block_size, rng, data.starts, data.counted)
        options = {"label_smoothing": c.label_smoothing} if c.label_smoothing else {}
        return Batch({"ids": ids, "targets": targets}, options)

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
        start = tok.end_id if tok.end_id is not None else 0
        stop = () if tok.end_id is None else (start,)
        ids = generate(model, [start], self.config.sample_tokens, rng=np.random.default_rng(step), stop_ids=stop)
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
        c = run.model.config
        print(
            f"model       {run.model.num_parameters():,} parameters: {c.n_layer} blocks, {c.n_head} heads, "
            f"{c.n_embd} channels, {c.block_size} tokens of context"
        )
        if run.config.init_from:
            trained = sum(p.size for p in run.model.trainable_parameters())
            print(f"fine-tuning {run.config.init_from}: {trained:,} numbers are trained")
        if data.counted is not None:
            print(
                f"answers     only the {int(data.counted.sum()):,} tokens after {run.config.loss_after!r} count in the "
                f"loss"
            )
        print("loss        on the validation text, in nats per token (perplexity, bits per byte):")
        for name, loss in reference_losses(data, V).items():
            print(f"  {loss:7.4f}   {name}  ({math.exp(loss):,.2f}, {loss / math.log(2) / per_token:.3f})")


def new_gpt(config: TrainConfig, vocab_size: int) -> GPT:
    """The model of a config with initial weights."""
    return GPT(config.shape(vocab_size), config.model_rng(), np.dtype(config.dtype))
