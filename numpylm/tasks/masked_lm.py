"""Masked language modeling: predict hidden tokens from both sides (BERT: Devlin et al. 2018, section 3.1)."""

import math
from collections.abc import Callable, Collection
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files.load_model import load_as
from numpylm.inference.log_probs import log_softmax
from numpylm.models.bert import Bert
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.system.shell import printable
from numpylm.tasks.classification import encoder_block_size, encoder_config
from numpylm.tasks.held_out import fingerprint_of
from numpylm.text.any_tokenizer import TextTokenizer, require_tokenizer
from numpylm.text.encoder_input import SPECIAL, EncoderTokens
from numpylm.text.padding import SimilarLengths, in_batches, padded
from numpylm.text.text_files import find_texts
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.choose_settings import fit_to_text
from numpylm.training.config import TrainConfig
from numpylm.training.finetune import begin_with, freeze_or_add_lora
from numpylm.training.parallel import DataParallel
from numpylm.training.prepare_data import as_documents, load_documents, split
from numpylm.training.task import Batch, Evaluation, Task

KEPT, RANDOM = 0.1, 0.1  # shares of the chosen tokens that stay, or become random ones; all others become [MASK]
EVALUATED = 1000  # of more windows, about this many are evaluated


class MaskedLM(Task):
    """A Bert reads a text in which some tokens are hidden, and predicts them."""

    name = "masked-lm"
    families = ("bert",)
    unit = "masked token"
    next_verb = "fine-tune it on labelled texts"

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        if config.data:
            find_texts(config.data)

    def start(self, given: Collection[str] | None) -> Bert:
        """Read the text. Model and tokenizer are new, or loaded from ``init_from``."""
        c = self.config
        model = load_as(Bert, c.init_from, c.dtype) if c.init_from else None
        documents = load_documents(c)
        if given is not None:
            self.config = c = fit_to_text(c, documents, {*given, "block_size", "patience"})
        self._split(documents)
        if model is None:
            self.tokenizer = Tokenizer.train(
                self.train_docs, c.vocab_size, SPECIAL, progress=True, whole_characters=c.whole_characters
            )
            config = encoder_config(c, self.tokenizer.vocab_size, head="masked-lm")
            return Bert(config, c.model_rng(), np.dtype(c.dtype))
        if model.config.head != "masked-lm":
            raise ValueError(f"{c.init_from} has no head for masked tokens")
        self.tokenizer = require_tokenizer(model)
        self.config = begin_with(model, c)
        freeze_or_add_lora(model, self.config)
        return model

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._split(load_documents(self.config))

    def _split(self, documents: list[str]) -> None:
        self.train_docs, self.val_docs = split(self.config, as_documents(self.config, documents))

    def encode(self, folder: Path, processes: bool = False) -> None:
        size = encoder_block_size(self.config) - 2
        self.special = special = EncoderTokens.of(self.tokenizer)
        added = list(self.tokenizer.special_tokens.values())
        self.ordinary = np.setdiff1d(np.arange(self.tokenizer.vocab_size), added)  # for random replacements

        def windows(documents: list[str]) -> list[list[int]]:
            ids = [self.tokenizer.encode(document) for document in documents]
            pieces = [body[i : i + size] for body in ids for i in range(0, len(body), size)]
            return [[special.first, *piece, special.last] for piece in pieces if piece]

        self.train, val = windows(self.train_docs), windows(self.val_docs)
        if not self.train or not val:
            raise ValueError("the text is too short to hold out a part of it")
        lengths = np.array([len(row) for row in self.train])
        self.batches = SimilarLengths(lengths, int(self.config.batch_size * np.quantile(lengths, 0.9)))
        self._hash = fingerprint_of(self.train_docs, self.val_docs)
        self.word_starts = word_starts(self.tokenizer) if self.config.whole_words else None
        rng = np.random.default_rng(self.config.seed)  # the same masks at each evaluation
        self.val = [self._masked(row, rng) for row in val[:: max(len(val) // EVALUATED, 1)]]
        self._lengths = np.array([len(ids) for ids, _ in self.val])

    def fingerprint(self) -> str:
        return self._hash

    def _masked(self, row: list[int], rng: np.random.Generator) -> tuple[Array, Array]:
        return mask_tokens(np.array(row), self.special, self.ordinary, self.config.mask_fraction, rng, self.word_starts)

    def batch(self, rng: np.random.Generator) -> Batch:
        return Batch(self._arrays([self._masked(self.train[n], rng) for n in self.batches.draw(rng)]))

    def _arrays(self, masked: list[tuple[Array, Array]]) -> dict[str, Array]:
        ids, mask = padded([ids.tolist() for ids, _ in masked], self.special.pad)
        targets, _ = padded([targets.tolist() for _, targets in masked], IGNORE_INDEX)
        return {"ids": ids, "targets": targets, "mask": mask}

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        nats, hits, count = 0.0, 0, 0
        parts = ((self._arrays([self.val[n] for n in some]),) for some in in_batches(self._lengths, 2000))
        for part_nats, part_hits, part_count in workers.map(masked_scores, parts):
            nats, hits, count = nats + part_nats, hits + part_hits, count + part_count
            if between:
                between()
        loss = nats / max(count, 1)
        right = hits / max(count, 1)
        perplexity = math.exp(min(loss, 700))
        line = f"validation loss {loss:.4f}, perplexity {perplexity:,.2f}, {right:.1%} of masked tokens right"
        return Evaluation(loss, line, {"val_accuracy": right})

    def sample(self, model: Any, step: int) -> str:
        """The beginning of a held-out window. In brackets: the model's guess, and the right text if they differ."""
        ids, targets = self.val[step % len(self.val)]
        ids, targets = ids[: self.config.sample_tokens], targets[: self.config.sample_tokens]
        hidden = targets != IGNORE_INDEX
        filled = np.where(hidden, model.forward(ids[None])[0][0].argmax(axis=-1), ids)
        right = np.where(hidden, targets, ids)
        parts = []
        for guessed, group in groupby(range(1, len(ids)), lambda place: hidden[place]):
            places = list(group)
            text, truth = (self.tokenizer.decode(row[places].tolist()) for row in (filled, right))
            parts.append((f"[{text}]" if text == truth else f"[{text}/{truth}]") if guessed else text)
        return printable("".join(parts))

    def references(self) -> dict[str, float]:
        V = self.tokenizer.vocab_size
        counts = np.bincount(np.concatenate([row[1:-1] for row in self.train]), minlength=V) + 1.0
        hidden = np.concatenate([targets[targets != IGNORE_INDEX] for _, targets in self.val])
        return {"ln V": math.log(V), "unigram": float(-np.log(counts / counts.sum())[hidden].mean())}

    def next_steps(self, run: Any) -> list[list[str]]:
        return [
            ["numpylm", "train", "--task", "classification", "--data", "labelled.csv", "--init-from", str(run.folder)]
        ]

    def describe(self, run: Any) -> None:
        c = run.model.config
        tokens = sum(map(len, self.train))
        print(
            f"windows     {len(self.train):,} to train on ({tokens:,} tokens), {len(self.val):,} to validate; "
            f"{self.tokenizer.vocab_size:,} different tokens, {self.config.mask_fraction:.0%} of them predicted"
        )
        print(
            f"model       {run.model.num_parameters():,} parameters: {c.n_layer} blocks, {c.n_head} heads, "
            f"{c.n_embd} channels, {c.block_size} tokens at most"
        )
        print("loss        on the masked tokens of the validation text, in nats per token:")
        for name, loss in self.references().items():
            print(f"  {loss:7.4f}   {name}")


def mask_tokens(
    row: Array,
    special: EncoderTokens,
    ordinary: Array,
    fraction: float,
    rng: np.random.Generator,
    starts: Array | None = None,
) -> tuple[Array, Array]:
    """Hide some tokens of a row: ids (T,) to read, and targets (T,), which are -100 where nothing was chosen.

    Each token between the first and the last is chosen with probability ``fraction`` (at least one in each row). Of the
    chosen ones 80 % become [MASK], 10 % a random token, and 10 % stay as they are: the model cannot know which of the
    tokens that it sees are right, so it must form an opinion on all of them (Devlin et al. 2018, appendix A.1).

    With ``starts``, a bool array (V,) that is True for tokens that begin a word, all tokens of a word are chosen
    together.
    """
    T = len(row)
    inside = np.arange(T)[1:-1]
    units = np.arange(len(inside)) if starts is None else np.cumsum(starts[row[inside]])  # the word of each token
    names = np.unique(units)
    chosen_units = names[rng.random(len(names)) < fraction]
    if not len(chosen_units):
        chosen_units = rng.choice(names, 1)
    chosen = inside[np.isin(units, chosen_units)]
    ids, targets = row.copy(), np.full(T, IGNORE_INDEX)
    targets[chosen] = row[chosen]
    dice = rng.random(len(chosen))
    ids[chosen[dice >= KEPT + RANDOM]] = special.mask
    random = chosen[(dice >= KEPT) & (dice < KEPT + RANDOM)]
    ids[random] = rng.choice(ordinary, len(random))
    return ids, targets


def word_starts(tokenizer: Any) -> Array:
    """Which tokens begin a word: bool (V,).

    A word begins with a space or a mark. A Chinese or Japanese character is a word of its own: in UTF-8 its first byte
    is at least 0xE3.
    """
    starts = np.ones(tokenizer.vocab_size, bool)
    for token in range(tokenizer.vocab_size):
        if token not in tokenizer.special_tokens.values():
            first = tokenizer.token_bytes(token)[:1]
            starts[token] = first >= b"\xe3" or not (first.isalnum() or first >= b"\x80")
    return starts


def masked_scores(model: Any, arrays: dict[str, Array]) -> tuple[float, int, int]:
    """-log P of the hidden tokens in nats, how many were the most likely token, and how many there are."""
    x, _ = model.hidden(arrays["ids"], arrays["mask"], differentiable=False)
    counted = arrays["targets"] != IGNORE_INDEX
    targets = arrays["targets"][counted]
    logits, _ = model.head.forward(x[counted], model.tokens)  # (N, V)
    log_probs = log_softmax(logits)[np.arange(len(targets)), targets]
    return float(-log_probs.sum()), int((logits.argmax(axis=-1) == targets).sum()), len(targets)
