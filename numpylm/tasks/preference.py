"""Preference tuning with DPO: from pairs of answers, a model that can chat learns which one is preferred."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.corpora import SERVICE
from numpylm.corpora.service_preference import MEASURES, ServicePair, is_right, service_pairs
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.models.pair_loss import pair_loss_and_grad
from numpylm.nn.module import Array
from numpylm.system.shell import shown
from numpylm.tasks.chat import ANSWERED, LONGEST_ANSWER, Chat, until_last_answer
from numpylm.tasks.chat_answers import write_answers
from numpylm.tasks.held_out import fingerprint_of, hold_out
from numpylm.tasks.preference_files import read_reference, write_reference
from numpylm.tasks.preference_rows import batch_log_probs, pair_arrays, pair_log_probs, pair_rows
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.chat_template import NO_CHAT, can_chat
from numpylm.text.conversation import as_conversation
from numpylm.text.padding import SimilarLengths
from numpylm.text.preference_pairs import Preference, read_preferences, whole
from numpylm.training.config import TrainConfig
from numpylm.training.finetune import load_pretrained_model
from numpylm.training.parallel import DataParallel
from numpylm.training.task import Batch, Evaluation

BUNDLED_PAIRS = 2200  # conversations from which the bundled pairs are taken
HELD_OUT = 200  # at most this many pairs are held out


@dataclass(frozen=True)
class Pairs(Batch):
    """A batch in which a pair is what counts, not a token."""

    @property
    def count(self) -> int:
        return len(self.arrays["targets"])


class PreferenceTuning(Chat):
    """A GPT or a Llama that can chat learns to give preferred answers (Rafailov et al. 2023, arXiv:2305.18290).

    The reference model is the one that training begins with. It is needed only for the log-probabilities of the
    answers, which do not change: they are computed once, before training, and kept in the run folder. So only one
    model is in memory, and a resumed run needs no other.
    """

    name = "preference"
    unit = "pair"
    begun_with: GPT | Llama | None  # None in a resumed run
    reference: tuple[Array, Array]  # log π_ref (N, 2) of the training and of the held-out pairs

    @classmethod
    def families_of(cls, config: TrainConfig) -> tuple[str, ...]:
        return (*super().families_of(config), "preference")

    # ---------------------------------------------------------------------------------------------- data

    def start(self, given: Collection[str] | None) -> GPT | Llama:
        """Read the pairs, and load the model and its tokenizer from ``init_from``."""
        self._read()
        self.config, model, self.tokenizer = load_pretrained_model(self.config)
        if not can_chat(self.tokenizer):
            raise ValueError(f"--init-from {shown(self.config.init_from)}: {NO_CHAT}")
        self.begun_with = model
        return model

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer, self.begun_with = tokenizer, None
        self._read()

    def _read(self) -> None:
        c = self.config
        self.histories: dict[Preference, ServicePair] = {}  # where the bundled pairs come from
        if c.data:
            pairs, name = read_preferences(c.data), ", ".join(map(shown, c.data))
        else:
            bundled = service_pairs(SERVICE, c.preference, BUNDLED_PAIRS, c.seed)
            self.histories = {Preference(as_conversation(p.history), p.chosen, p.rejected): p for p in bundled}
            pairs, name = list(self.histories), f"bundled customer service, {c.preference}"
        different = [pair for pair in pairs if pair.chosen != pair.rejected]
        print(f"text        {name}: {len(different):,} pairs of answers")
        if equal := len(pairs) - len(different):
            print(f"left out    {equal:,} pairs whose answers are equal")
        rng = np.random.default_rng(c.seed)
        self.train_pairs, self.val_pairs = hold_out(different, c.val_fraction, rng, lambda p: p.prompt, HELD_OUT)

    def encode(self, folder: Path, processes: bool = False) -> None:
        longest = self.config.block_size
        self.train_ids = pair_rows(self.tokenizer, self.train_pairs, longest, "training")
        self.val_ids = pair_rows(self.tokenizer, self.val_pairs, longest, "validation")
        self.val = [whole(row.prompt, self.val_pairs[row.number].chosen) for row in self.val_ids]
        lengths = np.array([row.length for row in self.train_ids])
        self.batches = SimilarLengths(lengths, int(self.config.batch_size * np.quantile(lengths, 0.9)))
        if self.begun_with is None:
            self.reference = read_reference(folder, len(self.train_ids), len(self.val_ids))
        else:
            print("reference   log-probabilities of all answers before training …", flush=True)
            run = _run_here(self.begun_with)
            self.reference = pair_log_probs(self.train_ids, run), pair_log_probs(self.val_ids, run)

    def save(self, folder: Path) -> None:
        write_reference(folder, *self.reference)

    def fingerprint(self) -> str:
        return fingerprint_of(list(map(repr, self.train_pairs)), list(map(repr, self.val_pairs)))

    # ------------------------------------------------------------------------------------------- training

    def batch(self, rng: np.random.Generator) -> Batch:
        numbers = self.batches.draw(rng)
        arrays = pair_arrays([self.train_ids[n] for n in numbers]) | {"reference": self.reference[0][numbers]}
        return Pairs(arrays, {"beta": self.config.dpo_beta}, pair_loss_and_grad)

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        policy = pair_log_probs(self.val_ids, lambda batches: workers.map(batch_log_probs, batches), between)
        metrics = self._rewards(policy - self.reference[1])
        line = (
            f"validation loss {metrics['val_loss']:.4f}, {metrics['val_accuracy']:.1%} of pairs in the right order, "
            f"reward margin {metrics['val_margin']:.3f}, log p per token {metrics['val_chosen']:+.3f} chosen, "
            f"{metrics['val_rejected']:+.3f} rejected"
        )
        if self.config.sample_tokens:
            own = self._own_answers(workers, between)
            metrics |= own
            names = {"val_wins": "wins", "val_right": "right", "val_ended": "end"}
            shares = [f"{own[key]:.1%} {name}" for key, name in names.items() if key in own]
            line += f"; own answers: {', '.join(shares)}, {own['val_words']:.1f} words"
        return Evaluation(metrics.pop("val_loss"), line, metrics)

    def _rewards(self, ratios: Array) -> dict[str, float]:
        """What the log-ratios log π - log π_ref (N, 2) of the held-out answers say: loss, margin, order and drift."""
        margins = self.config.dpo_beta * (ratios[:, 0] - ratios[:, 1])  # (N,)
        counts = np.array([row.counts for row in self.val_ids])  # (N, 2)
        chosen, rejected = ratios.sum(axis=0) / counts.sum(axis=0)
        return {
            "val_loss": float(np.logaddexp(0, -margins).mean()),
            "val_accuracy": float(np.mean((margins > 0) + 0.5 * (margins == 0))),
            "val_margin": float(margins.mean()),
            "val_chosen": float(chosen),
            "val_rejected": float(rejected),
            "val_drift": float(-ratios.sum() / counts.sum()),
        }

    def _own_answers(self, workers: DataParallel, between: Callable[[], object] | None) -> dict[str, float]:
        """What the model's own answers to held-out prompts are like; for the bundled pairs also whether they win."""
        count = len(self.val) if self.histories else min(ANSWERED, len(self.val))
        histories = [until_last_answer(conversation) for conversation in self.val[:count]]
        answers = write_answers(workers, self.tokenizer, histories, LONGEST_ANSWER, between)
        texts = [answer.text for answer in answers]
        found = {
            "val_ended": sum(answer.ended for answer in answers) / count,
            "val_words": sum(len(text.split()) for text in texts) / count,
        }
        if self.histories:
            pairs = [self.histories[self.val_pairs[row.number]] for row in self.val_ids[:count]]
            measure = MEASURES[self.config.preference]
            found["val_wins"] = win_rate(measure, texts, [pair.usual for pair in pairs])
            right = [is_right(SERVICE, pair.history, text) for pair, text in zip(pairs, texts, strict=True)]
            found["val_right"] = sum(right) / count
        return found

    # -------------------------------------------------------------------------------------------- reports

    def measure(self, model: Any, between: Callable[[], object] | None = None) -> dict[str, dict[str, float]]:
        return {}  # the evaluations measure the answers

    def references(self) -> dict[str, float]:
        return {"ln 2": math.log(2)}

    def describe(self, run: Any) -> None:
        words = [
            sum(len(text.split()) for text in texts) / len(self.train_pairs)
            for texts in zip(*((pair.chosen, pair.rejected) for pair in self.train_pairs), strict=True)
        ]
        print(
            f"pairs       {len(self.train_ids):,} to train on, {len(self.val_ids):,} held out; a chosen answer has "
            f"{words[0]:.1f} words, a rejected one {words[1]:.1f}"
        )
        self.describe_model(run)
        print(f"loss        DPO with beta {run.config.dpo_beta:g}, in nats per pair; before training:")
        print(f"  {math.log(2):7.4f}   ln 2, as policy and reference are equal")


def _run_here(model: Any) -> Callable[[Iterable[tuple[Array, Array]]], Iterable[Array]]:
    return lambda batches: starmap(lambda ids, targets: batch_log_probs(model, ids, targets), batches)


def win_rate(measure: Callable[[str], int], own: Sequence[str], others: Sequence[str]) -> float:
    """The share of answers that are preferred to another one by a measure. Equal measures count half."""
    pairs = [(measure(a), measure(b)) for a, b in zip(own, others, strict=True)]
    return sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
