"""Classification: learn the label of a text, with Bert from scratch or from a pretrained model."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.corpora import MESSAGES
from numpylm.files.load_model import load_as
from numpylm.inference.classify import EVALUATED_TOKENS, classify, label_log_probs
from numpylm.metrics import ClassificationReport
from numpylm.models.bert import Bert, BertConfig, with_head
from numpylm.tasks.held_out import fingerprint_of, hold_out
from numpylm.tasks.labelled import Labelled, labels_of, read_labelled
from numpylm.tasks.naive_bayes import NaiveBayes
from numpylm.tasks.pairs import check_files
from numpylm.text.any_tokenizer import TextTokenizer, require_tokenizer
from numpylm.text.encoder_input import SPECIAL, EncoderTokens, encoder_input
from numpylm.text.padding import SimilarLengths, in_batches, padded
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.config import TrainConfig
from numpylm.training.finetune import begin_with, freeze_or_add_lora
from numpylm.training.parallel import DataParallel
from numpylm.training.task import Batch, Evaluation, Task

BUNDLED_MESSAGES = 8000
HELD_OUT = 2000  # at most this many texts are held out
EPOCHS, FINE_TUNING_EPOCHS = 12, 4  # of a user's own texts, if max_steps is not given
FEWEST_STEPS, MOST_STEPS = 200, 3000


class Classification(Task):
    """A Bert with a classification head reads a text and gives the probability of each label."""

    name = "classification"
    families = ("bert",)
    unit = "text"
    next_verb = "classify texts"

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        check_files(list(config.data))

    # ---------------------------------------------------------------------------------------------- data

    def start(self, given: Collection[str] | None) -> Bert:
        """Read the texts. The trunk is new, or that of ``init_from``; the head is always new."""
        c = self.config
        trunk = load_as(Bert, c.init_from, c.dtype) if c.init_from else None
        self._read()
        if given is not None and c.data:
            self.config = c = self._fitted(given)
        if trunk is None:
            texts = [text for text, _ in self.train]
            self.tokenizer = Tokenizer.train(texts, c.vocab_size, SPECIAL, progress=True)
            trunk = Bert(encoder_config(c, self.tokenizer.vocab_size, head="none"), c.model_rng(), np.dtype(c.dtype))
        else:
            self.tokenizer = require_tokenizer(trunk)
            self.config = c = begin_with(trunk, c)
        rng = np.random.default_rng(np.random.SeedSequence(c.seed).spawn(4)[3])
        model = with_head(trunk, "classification", rng, n_labels=len(self.labels), pooling=c.pooling)
        model.labels = self.labels
        freeze_or_add_lora(model, c)
        return model

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._read()

    def _read(self) -> None:
        c = self.config
        if c.data:
            examples = read_labelled(c.data, c.text_column, c.label_column)
        else:
            examples = MESSAGES.messages(BUNDLED_MESSAGES)
            print(f"text        bundled customer messages: {len(examples):,} texts")
        rng = np.random.default_rng(c.seed)
        self.labels = labels_of(examples)
        train, val = hold_out(examples, c.val_fraction, rng, lambda example: example[0], HELD_OUT)
        seen = {label for _, label in train}  # a label with a few texts may be held out whole: then it is trained on
        self.train = train + [example for example in val if example[1] not in seen]
        self.val = [example for example in val if example[1] in seen]
        if not self.val:
            raise ValueError("no text can be held out, because each label has only one: more texts are needed")

    def _fitted(self, given: Collection[str]) -> TrainConfig:
        """The config with a number of steps that suits the user's texts. It prints what it chose."""
        c = self.config
        if "max_steps" in given:
            return c
        epochs = FINE_TUNING_EPOCHS if c.init_from else EPOCHS
        steps = round(min(max(epochs * len(self.train) / c.batch_size, FEWEST_STEPS), MOST_STEPS))
        print(f"chosen      max_steps {steps}: {steps * c.batch_size / len(self.train):.1f} times through the texts")
        interval = c.eval_interval if "eval_interval" in given else max(steps // 6, 1)
        return replace(c, max_steps=steps, eval_interval=interval, warmup_steps=min(c.warmup_steps, steps // 5))

    def encode(self, folder: Path, processes: bool = False) -> None:
        size, numbers = encoder_block_size(self.config), {label: n for n, label in enumerate(self.labels)}
        self.train_ids, cut = encoder_input(self.tokenizer, [text for text, _ in self.train], size)
        self.val_ids, _ = encoder_input(self.tokenizer, [text for text, _ in self.val], size)
        if cut:
            print(f"cut         {cut:,} texts to {size} tokens (--block-size)")
        self.train_labels = np.array([numbers[label] for _, label in self.train])
        self.val_labels = np.array([numbers[label] for _, label in self.val])
        lengths = np.array([len(ids) for ids in self.train_ids])
        tokens = self.config.batch_tokens or int(self.config.batch_size * np.quantile(lengths, 0.9))
        self.batches = SimilarLengths(lengths, tokens)

    def fingerprint(self) -> str:
        return fingerprint_of(*zip(*self.train, strict=True), *zip(*self.val, strict=True))

    # ------------------------------------------------------------------------------------------- training

    def batch(self, rng: np.random.Generator) -> Batch:
        numbers = self.batches.draw(rng)
        ids, mask = padded([self.train_ids[n] for n in numbers], EncoderTokens.of(self.tokenizer).pad)
        arrays = {"ids": ids, "targets": self.train_labels[numbers], "mask": mask}
        return Batch(arrays, {"label_smoothing": self.config.label_smoothing})

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        log_probs = np.empty((len(self.val_ids), len(self.labels)))
        lengths = np.array([len(ids) for ids in self.val_ids])
        numbers = list(in_batches(lengths, EVALUATED_TOKENS))
        pad = EncoderTokens.of(self.tokenizer).pad
        parts = (padded([self.val_ids[n] for n in some], pad) for some in numbers)
        for some, found in zip(numbers, workers.map(label_log_probs, parts), strict=True):
            log_probs[some] = found
            if between:
                between()
        loss = float(-log_probs[np.arange(len(log_probs)), self.val_labels].mean())
        predicted = [self.labels[n] for n in log_probs.argmax(axis=1)]
        report = ClassificationReport.of([label for _, label in self.val], predicted, list(self.labels))
        metrics = {"val_accuracy": report.accuracy, "val_macro_f1": report.macro.f1}
        line = f"validation loss {loss:.4f}, accuracy {report.accuracy:.1%}, macro F1 {report.macro.f1:.3f}"
        return Evaluation(loss, line, metrics)

    # -------------------------------------------------------------------------------------------- reports

    def sample(self, model: Any, step: int) -> str:
        text, label = self.val[step % len(self.val)]
        best = classify(model, [text], self.tokenizer)[0][0]
        return f"{text!r}  ->  {best[0]} {best[1]:.0%} (right: {label})"

    def references(self) -> dict[str, float]:
        counts = np.bincount(self.train_labels, minlength=len(self.labels)) + 1.0
        prior = float(-np.log(counts / counts.sum())[self.val_labels].mean())
        return {"label frequencies": prior}

    def next_steps(self, run: Any) -> list[list[str]]:
        return [["numpylm", "classify", str(run.folder), min((text for text, _ in self.val), key=len)]]

    def describe(self, run: Any) -> None:
        c = run.model.config
        tokens = sum(map(len, self.train_ids))
        print(
            f"texts       {len(self.train):,} to train on ({tokens:,} tokens), {len(self.val):,} held out; "
            f"{len(self.labels)} labels"
        )
        print(
            f"model       {run.model.num_parameters():,} parameters: {c.n_layer} blocks, {c.n_head} heads, "
            f"{c.n_embd} channels, {c.pooling} pooling"
        )
        print("baselines   accuracy on the held-out texts:")
        for name, accuracy in self.baselines().items():
            print(f"  {accuracy:7.1%}   {name}")

    def baselines(self) -> dict[str, float]:
        """Accuracy of the baselines on the held-out texts, and the best possible one if it is known."""
        majority = Counter(label for _, label in self.train).most_common(1)[0][0]
        bayes = NaiveBayes(self.train)
        found = {
            f"the most frequent label ({majority})": accuracy([majority] * len(self.val), self.val),
            "naive Bayes on words": accuracy([bayes.predict(text) for text, _ in self.val], self.val),
        }
        if not self.config.data:
            best = np.mean([max(MESSAGES.posterior(text).values()) for text, _ in self.val])
            found["the best possible, by design of the messages"] = float(best)
        return found


def accuracy(predicted: Sequence[str], examples: Sequence[Labelled]) -> float:
    """The share of examples whose label was predicted."""
    return sum(p == label for p, (_, label) in zip(predicted, examples, strict=True)) / len(examples)


def encoder_block_size(config: TrainConfig) -> int:
    """The longest text in tokens. Raises ValueError if nothing fits between the special tokens."""
    if config.block_size < 3:
        raise ValueError(f"block_size must be at least 3, for [CLS], a token and [SEP], got {config.block_size}")
    return config.block_size


def encoder_config(config: TrainConfig, vocab_size: int, head: str) -> BertConfig:
    """The shape of a new encoder."""
    return BertConfig(
        vocab_size,
        encoder_block_size(config),
        config.n_layer,
        config.n_head,
        config.n_embd,
        config.n_inner,
        dropout=config.dropout,
        head=head,
        token_types=1,
    )
