"""In-context learning: each sequence has a fresh random map of symbols to labels, which only its examples tell."""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpylm.inference.heads import induction_scores, strongest, without_heads
from numpylm.inference.scoring import score
from numpylm.models.configs import GPTConfig
from numpylm.models.gpt import GPT
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.tasks.held_out import fingerprint_of
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.training.config import TrainConfig
from numpylm.training.parallel import DataParallel
from numpylm.training.task import Batch, Evaluation, Task

SYMBOLS = "abcdefghijklmnop"
LABELS = "01234567"
IN_A_SEQUENCE, FEWEST = 3, 2  # different symbols of one sequence, at most and (in training) at least
SHORTEST = 4  # pairs of the shortest sequences in training
HELD_OUT = 500  # sequences
AT_ONCE = 50  # sequences of an evaluation that are read together
MOST = 8  # examples in the table
INDUCTION = 0.3  # a head with this score or a higher one is called an induction head


class Sequences(NamedTuple):
    """Sequences of P pairs "symbol label", such as "a3k0a3": T = 2P.

    Attributes
    ----------
    ids : int array (N, T)
        Symbols at even positions, labels at odd ones.
    seen : int array (N, P)
        How many examples of its own symbol precede each pair.
    """

    ids: Array
    seen: Array

    def targets(self) -> Array:
        """The next token after each of ``ids[:, :-1]`` where it is a label, otherwise -100: int (N, T - 1)."""
        targets = self.ids[:, 1:].copy()
        targets[:, 1::2] = IGNORE_INDEX  # the next symbol is random, so there is nothing to learn
        return targets


def draw_sequences(rng: np.random.Generator, count: int, pairs: int, fewest: int = IN_A_SEQUENCE) -> Sequences:
    """Random sequences. Each has its own symbols (``fewest`` to 3), and a map that gives each of them a random label.

    It begins with one example of each symbol. Then pairs are drawn at random.

    Labels are drawn independently of each other. So the label of a symbol that has not been seen yet is uniform, and
    the best accuracy there is 1 / (number of labels), whatever else has been seen.
    """
    symbols = rng.permuted(np.tile(np.arange(len(SYMBOLS)), (count, 1)), axis=1)[:, :IN_A_SEQUENCE]
    labels = rng.integers(0, len(LABELS), (count, IN_A_SEQUENCE))  # the map: symbol k of the sequence -> labels[:, k]
    counts = rng.integers(fewest, IN_A_SEQUENCE + 1, (count, 1))
    places = np.arange(pairs)
    chosen = np.where(places < counts, places, rng.integers(0, counts, (count, pairs)))
    ids = np.empty((count, 2 * pairs), np.int64)
    ids[:, ::2] = np.take_along_axis(symbols, chosen, axis=1)
    ids[:, 1::2] = len(SYMBOLS) + np.take_along_axis(labels, chosen, axis=1)
    same = chosen[:, :, None] == chosen[:, None, :]  # (N, P, P)
    return Sequences(ids, (same & np.tri(pairs, k=-1, dtype=bool)).sum(axis=-1))


class InContext(Task):
    """A GPT reads examples of a map that it has never seen, and says the labels of symbols."""

    name = "in-context"
    unit = "label"
    next_verb = "give it a map"
    endless = True

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        """There is no data: the sequences are drawn."""

    def start(self, given: Collection[str] | None) -> GPT:
        """A new model and the tokenizer of the symbols and labels.

        GPT-2's initial weights have a standard deviation of 0.02, which suits wide models. For C inputs, a rule of
        thumb is 1 / √C. With it, this narrow model learns to copy in fewer steps (lesson 11).
        """
        c = self.config
        self.tokenizer = CharTokenizer(SYMBOLS + LABELS)
        model = GPT(
            GPTConfig(self.tokenizer.vocab_size, c.block_size, c.n_layer, c.n_head, c.n_embd, c.dropout, c.bias),
            c.model_rng(),
            np.dtype(c.dtype),
        )
        for p in model.parameters():
            if p.data.ndim == 2:
                p.data *= c.n_embd**-0.5 / 0.02
        return model

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, folder: Path, processes: bool = False) -> None:
        seeds = np.random.SeedSequence(self.config.seed).spawn(4)  # the first three belong to model and batches
        self.val = draw_sequences(np.random.default_rng(seeds[3]), HELD_OUT, self._pairs())

    def _pairs(self) -> int:
        return self.config.block_size // 2

    def fingerprint(self) -> str:
        return fingerprint_of([self.tokenizer.decode(row) for row in self.val.ids.tolist()])

    def batch(self, rng: np.random.Generator) -> Batch:
        """Sequences of one random length, from 4 pairs to the longest; more of them if they are short.

        In a short sequence with two symbols, even uniform attention puts much weight on the right label. So training
        begins to find it there.
        """
        most = self._pairs()
        pairs = round(most * (min(SHORTEST, most) / most) ** rng.random())
        count = self.config.batch_size * min(most // pairs, 3)
        drawn = draw_sequences(rng, count, pairs, FEWEST)
        return Batch({"ids": drawn.ids[:, :-1], "targets": drawn.targets()})

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        ids, targets = self.val.ids[:, :-1], self.val.targets()
        parts = ((ids[i : i + AT_ONCE], targets[i : i + AT_ONCE]) for i in range(0, len(ids), AT_ONCE))
        log_p, hits = [], []
        for part_log_p, part_hits in workers.map(score, parts):
            log_p.append(part_log_p)
            hits.append(part_hits)
            if between:
                between()
        loss = -float(np.concatenate(log_p).mean())
        found = by_examples(np.concatenate(hits).reshape(self.val.seen.shape), self.val.seen)
        shown = ", ".join(f"{found[n]:.1%} after {n}" for n in (0, 1, 8) if n in found)
        metrics = {f"val_accuracy_{n}": value for n, value in found.items()}
        return Evaluation(loss, f"validation loss {loss:.4f}, accuracy {shown} examples", metrics)

    # -------------------------------------------------------------------------------------------- reports

    def references(self) -> dict[str, float]:
        unknown = float((self.val.seen == 0).mean())
        return {"ln 8, chance": math.log(len(LABELS)), "best possible": unknown * math.log(len(LABELS))}

    def describe(self, run: Any) -> None:
        c = run.model.config
        print(
            f"sequences   {self._pairs()} pairs of a symbol and a label; {IN_A_SEQUENCE} of {len(SYMBOLS)} symbols, "
            f"{len(LABELS)} labels, a new map in each; {HELD_OUT} to validate"
        )
        print(
            f"model       {run.model.num_parameters():,} parameters: {c.n_layer} blocks, {c.n_head} head(s) each, "
            f"{c.n_embd} channels, {c.block_size} tokens of context"
        )
        print("loss        on the labels, in nats per label:")
        for name, loss in self.references().items():
            print(f"  {loss:7.4f}   {name}")

    def sample(self, model: Any, step: int) -> str:
        """The first pairs of a sequence; after a slash, what the model says if it is another label."""
        row = self.val.ids[step % len(self.val.ids)][: 2 * (self.config.sample_tokens // 2)]
        said = model.forward(row[None, :-1])[0][0, ::2].argmax(axis=-1)  # (P,), after each symbol
        texts = self.tokenizer.decode(row.tolist()), self.tokenizer.decode(said.tolist())
        pairs = zip(texts[0][::2], texts[0][1::2], texts[1], strict=True)
        return " ".join(f"{a}{b}" if b == c else f"{a}{b}/{c}" for a, b, c in pairs)

    def summary(self, model: Any) -> str:
        """Accuracy by the number of examples, with the induction heads and without them."""
        scores = induction_scores(model, self.val.ids[:AT_ONCE], queries=np.arange(2 * self._pairs()) % 2 == 0)
        heads = strongest(scores, INDUCTION)
        usual = by_examples(frequent_label(self.val) == self.val.ids[:, 1::2], self.val.seen)
        columns = {"accuracy": accuracy(model, self.val), "of the most frequent label so far": usual}
        if heads:
            columns["without induction heads"] = accuracy(without_heads(model, heads), self.val)
        lines = [f"chance {1 / len(LABELS):.1%}; examples of the symbol before it, {', '.join(columns)}:"]
        for n in columns["accuracy"]:
            lines.append(f"  {n}" + "".join(f"{found[n]:10.1%}" for found in columns.values()))
        names = ", ".join(f"{layer}.{head} ({scores[layer, head]:.2f})" for layer, head in heads)
        return "\n".join([*lines, f"induction heads (block.head, score): {names or 'none'}"])

    def next_steps(self, run: Any) -> list[list[str]]:
        prompt = "a3k0c7" * 2 + "k"
        return [
            ["numpylm", "generate", str(run.folder), "--prompt", prompt, "--max-new-tokens", "1", "--temperature", "0"]
        ]


def by_examples(hits: Array, seen: Array) -> dict[int, float]:
    """The share of hits (N, P) for each number of examples of the same symbol, from 0 to 8."""
    return {n: float(hits[seen == n].mean()) for n in range(MOST + 1) if (seen == n).any()}


def frequent_label(sequences: Sequences) -> Array:
    """The label that occurred most often before each pair, whatever its symbol: int (N, P). A model without the map."""
    labels = sequences.ids[:, 1::2]
    known = labels[:, :, None] == np.arange(len(SYMBOLS), len(SYMBOLS) + len(LABELS))  # (N, P, labels)
    return len(SYMBOLS) + (np.cumsum(known, axis=1) - known).argmax(axis=-1)


def accuracy(model: GPT, sequences: Sequences) -> dict[int, float]:
    """The accuracy of a model by the number of examples of the same symbol."""
    _, hits = score(model, sequences.ids[:, :-1], sequences.targets())
    return by_examples(hits.reshape(sequences.seen.shape), sequences.seen)
