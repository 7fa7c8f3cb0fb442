"""Chat: from a completer to an assistant. The loss counts what the assistant says, in whole conversations."""

import math
from collections.abc import Callable, Collection, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.corpora import SERVICE
from numpylm.inference.scoring import score
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.system.processor import default_workers
from numpylm.system.shell import printable, shown
from numpylm.tasks.chat_answers import write_answers
from numpylm.tasks.chat_figures import service_conversations, service_report
from numpylm.tasks.held_out import fingerprint_of, hold_out
from numpylm.tasks.pairs import check_files
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.chat_template import NO_CHAT, can_chat, chat_tokens, train_chat_tokenizer
from numpylm.text.conversation import (
    ASSISTANT,
    USER,
    Conversation,
    as_conversation,
    read_conversations,
    without_oldest_turn,
)
from numpylm.text.packed_rows import PackedBatches, packed_rows
from numpylm.text.padding import SimilarLengths, in_batches, padded
from numpylm.training.choose_settings import fit_to_text
from numpylm.training.config import TrainConfig
from numpylm.training.evaluation import Score
from numpylm.training.finetune import load_pretrained_model
from numpylm.training.language_modeling import LanguageModeling, check_model_file, new_model
from numpylm.training.parallel import DataParallel
from numpylm.training.task import Batch, Evaluation

BUNDLED_CONVERSATIONS = 20_000
DICTATIONS = 12_000  # exercises in copying, among the bundled conversations; about a fifth of the tokens
HELD_OUT = 500  # at most this many conversations are held out
ANSWERED = 50  # held-out conversations whose last answer is written at each evaluation
LONGEST_ANSWER = 60  # tokens of such an answer
EVALUATED_TOKENS = 2000  # in a batch of the evaluation
KEPT = ("documents", "block_size", "batch_size", "patience", "max_val_mb")  # not chosen by rules for running text


class Chat(LanguageModeling):
    """A GPT or a Llama learns to answer, from scratch or from a model that has the form of a chat."""

    name = "chat"
    next_verb = "talk with it"
    packing: PackedBatches | None = None  # set by `encode`, if several conversations share a row

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        check_files(list(config.data))
        check_model_file(config)

    # ---------------------------------------------------------------------------------------------- data

    def start(self, given: Collection[str] | None) -> GPT | Llama:
        """Read the conversations. The model and its tokenizer are new, or loaded from ``init_from``."""
        pretrained = load_pretrained_model(self.config) if self.config.init_from else None
        if pretrained and not can_chat(pretrained[2]):
            raise ValueError(
                f"--init-from {shown(self.config.init_from)}: {NO_CHAT}; or leave out --init-from, to train one from "
                f"scratch"
            )
        self._read()
        if pretrained:
            self.config, model, self.tokenizer = pretrained
            return model
        texts = [message.content for conversation in self.train for message in conversation]
        if given is not None:
            self.config = fit_to_text(self.config, list(map(_as_text, self.train)), {*given, *KEPT})
        c = self.config
        self.tokenizer = train_chat_tokenizer(texts, c.vocab_size, c.whole_characters)
        return new_model(c, self.tokenizer.vocab_size)

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._read()

    def _read(self) -> None:
        self.train, self.val = split_conversations(self.config)
        name = ", ".join(map(shown, self.config.data)) or "bundled customer service"
        print(f"text        {name}: {len(self.train) + len(self.val):,} conversations")
        if not self.config.data:
            self.train += [as_conversation(pairs) for pairs in SERVICE.dictations(DICTATIONS, self.config.seed)]
            print(f"exercises   {DICTATIONS:,} dictations, from which copying is learned")

    def encode(self, folder: Path, processes: bool = False) -> None:
        longest = self.config.block_size
        self.train_rows, self.train = encoded(self.tokenizer, self.train, longest, "training")
        self.val_rows, self.val = encoded(self.tokenizer, self.val, longest, "validation")
        lengths = np.array([len(ids) for ids, _ in self.train_rows])
        tokens = self.config.batch_tokens or int(self.config.batch_size * np.quantile(lengths, 0.9))
        self.batches = SimilarLengths(lengths, tokens)
        if self.config.pack:
            self.packing = PackedBatches(lengths, longest, tokens, self.config.seed, default_workers())

    def fingerprint(self) -> str:
        return fingerprint_of(list(map(_as_text, self.train)), list(map(_as_text, self.val)))

    # ------------------------------------------------------------------------------------------- training

    def batch(self, rng: np.random.Generator) -> Batch:
        options = {"label_smoothing": self.config.label_smoothing} if self.config.label_smoothing else {}
        if self.packing:
            rows = [[self.train_rows[n] for n in row] for row in self.packing.draw(rng)]
            return Batch(packed_arrays(rows), options)
        return Batch(row_arrays([self.train_rows[n] for n in self.batches.draw(rng)]), options)

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        score = score_rows(workers, self.val_rows, between)
        metrics = {"val_accuracy": score.accuracy}
        line = f"validation loss {score.loss:.4f}"
        if self.floor is not None:
            metrics["above_source"] = score.loss - self.floor
            line += f" ({score.loss - self.floor:.4f} above the source's entropy)"
        line += f", perplexity {score.perplexity:,.2f}"
        if self.config.sample_tokens:
            histories = [until_last_answer(conversation) for conversation in self.val[:ANSWERED]]
            answers = write_answers(workers, self.tokenizer, histories, LONGEST_ANSWER, between)
            ended = sum(answer.ended for answer in answers) / len(answers)
            metrics["val_ended"] = ended
            line += f", {ended:.0%} of {len(answers)} answers end by themselves"
        return Evaluation(score.loss, line, metrics)

    @cached_property
    def floor(self) -> float | None:
        """The entropy of the bundled source on the held-out answers, in nats per token; None for other data."""
        if self.config.data:
            return None
        nats = sum(SERVICE.nats(conversation) for conversation in self.val)
        tokens = sum(int((targets != IGNORE_INDEX).sum()) for _, targets in self.val_rows)
        return nats / tokens if math.isfinite(nats) else None  # infinite if one was cut

    # -------------------------------------------------------------------------------------------- reports

    def sample(self, model: Any, step: int) -> str:
        """A held-out question and the model's answer."""
        history = until_last_answer(self.val[step % len(self.val)])
        one = DataParallel(model, 1)
        (answer,) = write_answers(one, self.tokenizer, [history], self.config.sample_tokens)
        ended = "" if answer.ended else " …"
        return printable(f"{history[-1].content}  ->  {answer.text}{ended}").replace("\n", " ")

    def references(self) -> dict[str, float]:
        V = self.tokenizer.vocab_size
        train, val = (
            np.concatenate([targets[targets != IGNORE_INDEX] for _, targets in rows])
            for rows in (self.train_rows, self.val_rows)
        )
        counts = np.bincount(train, minlength=V) + 1.0
        lines = {"ln V": math.log(V), "unigram": float(-np.log(counts / counts.sum())[val].mean())}
        return lines | ({} if self.floor is None else {"entropy of the source": self.floor})

    def measure(self, model: Any, between: Callable[[], object] | None = None) -> dict[str, dict[str, float]]:
        """How well a model, and retrieval, answer the turns of bundled customers whose words never occur in training.

        Nothing for other data: there is ``numpylm evaluate``.
        """
        if self.config.data:
            return {}
        conversations, workers = service_conversations(), DataParallel(model)
        rows, _ = encoded(self.tokenizer, conversations, self.config.block_size, "judged")
        score = score_rows(workers, rows, between)
        answer = partial(write_answers, workers, self.tokenizer, longest=LONGEST_ANSWER, between=between)
        return service_report(conversations, answer, score.loss * score.count, self.train)

    def next_steps(self, run: Any) -> list[list[str]]:
        return [["numpylm", "chat", str(run.folder)]]

    def describe(self, run: Any) -> None:
        rows = self.train_rows
        tokens = sum(len(ids) for ids, _ in rows)
        counted = sum(int((targets != IGNORE_INDEX).sum()) for _, targets in rows)
        print(
            f"chats       {len(rows):,} to train on ({tokens:,} tokens, {counted:,} of them the assistant's), "
            f"{len(self.val_rows):,} held out; {self.tokenizer.vocab_size:,} different tokens"
        )
        if self.packing:
            a_row, padding = len(rows) / len(self.packing.rows), self.packing.padding
            print(f"packed      {a_row:.1f} conversations a row, {padding:.1%} padding (--no-pack: one a row)")
        self.describe_model(run)
        print("loss        on what the assistant says in held-out chats, in nats per token:")
        for name, loss in self.references().items():
            print(f"  {loss:7.4f}   {name}")


def split_conversations(config: TrainConfig) -> tuple[list[Conversation], list[Conversation]]:
    """The conversations of a run: those to train on, and those held out."""
    conversations = read_conversations(config.data) if config.data else bundled_conversations(config.seed)
    rng = np.random.default_rng(config.seed)
    return hold_out(conversations, config.val_fraction, rng, _questions, HELD_OUT)


def score_rows(
    workers: DataParallel, rows: Sequence[tuple[Array, Array]], between: Callable[[], object] | None = None
) -> Score:
    """A model's score on the counted targets of rows."""
    lengths = np.array([len(ids) for ids, _ in rows])
    arrays = (row_arrays([rows[n] for n in some]) for some in in_batches(lengths, EVALUATED_TOKENS))
    nats, hits, count = 0.0, 0, 0
    for log_p, hit in workers.map(score, ((a["ids"], a["targets"]) for a in arrays)):
        nats, hits, count = nats - float(log_p.sum()), hits + int(hit.sum()), count + len(log_p)
        if between:
            between()
    return Score(nats / count, hits / count, count)


def bundled_conversations(seed: int) -> list[Conversation]:
    """The bundled conversations with a shop and a bank."""
    return [as_conversation(pairs) for pairs in SERVICE.conversations(BUNDLED_CONVERSATIONS, seed)]


def encoded(
    tokenizer: Any, conversations: Sequence[Conversation], block_size: int, what: str
) -> tuple[list[tuple[Array, Array]], list[Conversation]]:
    """Ids (T,) and targets (T,) of each conversation, with T at most ``block_size``; and the conversations themselves.

    A target is the next token, or -100 if the assistant does not write it. Of a conversation that is too long, the
    system message and the newest turns are kept. It is left out if not even one turn fits.
    """
    rows, kept, cut = [], [], 0
    for conversation in map(with_last_answer, conversations):
        ids, counted = chat_tokens(tokenizer, conversation)
        shorter: Conversation | None = conversation
        while shorter and len(ids) > block_size + 1 and (shorter := without_oldest_turn(shorter)):
            ids, counted = chat_tokens(tokenizer, shorter)
        if shorter and any(counted):
            tokens = np.array(ids)
            rows.append((tokens[:-1], np.where(counted[1:], tokens[1:], IGNORE_INDEX)))
            kept.append(shorter)
            cut += len(shorter) < len(conversation)
    if cut:
        print(f"cut         {cut:,} {what} conversations to their newest turns: {block_size} tokens (--block-size)")
    if left_out := len(conversations) - len(kept):
        print(f"left out    {left_out:,} {what} conversations whose newest turn has more than {block_size} tokens")
    if not kept:
        raise ValueError(f"no {what} conversation has a turn of at most {block_size} tokens: use a larger block_size")
    return rows, kept


def row_arrays(rows: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
    """Ids and targets (B, T) of some conversations, each in a row of its own, padded at the right."""
    ids, _ = padded([ids for ids, _ in rows])
    targets, _ = padded([targets for _, targets in rows], IGNORE_INDEX)
    return {"ids": ids, "targets": targets}


def packed_arrays(rows: Sequence[Sequence[tuple[Array, Array]]]) -> dict[str, Array]:
    """Ids, targets and segments (B, T) of conversations that share rows; see `numpylm.nn.packing`."""
    ids, segments = packed_rows([[ids for ids, _ in row] for row in rows])
    targets, _ = packed_rows([[targets for _, targets in row] for row in rows], IGNORE_INDEX)
    return {"ids": ids, "targets": targets, "segments": segments}


def until_last_answer(conversation: Conversation) -> Conversation:
    """The messages before the last answer."""
    last = max(n for n, message in enumerate(conversation) if message.role == ASSISTANT)
    return conversation[:last]


def with_last_answer(conversation: Conversation) -> Conversation:
    """The messages up to the last answer. What the user says after it is in no loss."""
    last = max((n for n, message in enumerate(conversation) if message.role == ASSISTANT), default=-1)
    return conversation[: last + 1]


def _questions(conversation: Conversation) -> tuple[str, ...]:
    """What the user says. Conversations with equal questions are held out together."""
    return tuple(message.content for message in conversation if message.role == USER)


def _as_text(conversation: Conversation) -> str:
    """A conversation as one text that no other conversation has."""
    return "\n".join(f"{message.role}: {message.content!r}" for message in conversation)
