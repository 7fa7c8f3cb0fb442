"""Poems: learn P(poem | theme) from themes and poems, with a GPT that reads and writes characters."""

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.corpora import VERSES
from numpylm.corpora.verses import THEME_NATS
from numpylm.inference.scoring import score
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.system.shell import printable, shown
from numpylm.tasks.count_embeddings import LARGEST, OVERSAMPLED, count_embeddings
from numpylm.tasks.held_out import fingerprint_of
from numpylm.tasks.pairs import check_files
from numpylm.tasks.poem_baselines import CharacterModels
from numpylm.tasks.poem_report import TEMPERATURE, TrainingPoems, report_on, write_poems
from numpylm.tasks.poem_rows import PoemRow, RareCharacters, poem_nats, poem_row, row_arrays, train_tokenizer
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.padding import SimilarLengths
from numpylm.text.poem import Poem, even_ends, poem_of, read_poems
from numpylm.training.choose_settings import fit_to_text
from numpylm.training.config import TrainConfig
from numpylm.training.finetune import load_pretrained_model
from numpylm.training.language_modeling import LanguageModeling, check_model_file, new_model
from numpylm.training.parallel import DataParallel
from numpylm.training.task import Batch, Evaluation

BUNDLED_POEMS = 8000
HELD_OUT = 500  # at most this many poems are held out
EMBEDDING_STD = 0.05  # of embeddings from counts
RHYMES_COUNT = 16  # as many pairs of neighbors, because a poem has few rhymes among many neighbors
RHYME_PRACTICE = 0.2  # share of the batches in which only words that rhyme count
LEAST = 2  # a character of a user's poems that occurs less often has no token
KEPT = ("documents", "block_size", "batch_size", "max_val_mb", "tokenizer")  # not chosen by rules for running text


class Poems(LanguageModeling):
    """A GPT or a Llama reads a theme and writes a poem, from scratch or from a model of this task."""

    name = "poems"
    next_verb = "write a poem"

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        check_files(list(config.data))
        check_model_file(config)

    # ---------------------------------------------------------------------------------------------- data

    def start(self, given: Collection[str] | None) -> GPT | Llama:
        """Read the poems. The model and its tokenizer are new, or loaded from ``init_from``."""
        pretrained = load_pretrained_model(self.config) if self.config.init_from else None
        if pretrained and getattr(pretrained[2], "unknown_id", None) is None:
            raise ValueError(
                f"--init-from {shown(self.config.init_from)}: its tokenizer has no token for unknown characters; give "
                f"a run of --task poems, or leave out --init-from to train a model from scratch"
            )
        self._read()
        if pretrained:
            self.config, model, self.tokenizer = pretrained
            return model
        if given is not None:
            texts = [f"{poem.theme}\n{poem.text}" for poem in self.train]
            self.config = fit_to_text(self.config, texts, {*given, *KEPT})
        self.tokenizer = train_tokenizer(self.train, LEAST if self.config.data else 1)
        model = new_model(self.config, self.tokenizer.vocab_size)
        self._begin_with_counts(model)
        return model

    def _begin_with_counts(self, model: GPT | Llama) -> None:
        """Give a new model embeddings from counts, if there are more characters than channels (in Chinese).

        Characters that rhyme count as neighbors, too: so rhymes are near each other before the first step.
        """
        table = embedding_table(model)
        V, C = table.shape
        if C + OVERSAMPLED <= V <= LARGEST:
            print(f"embeddings  begin with the neighbors of each of {V:,} characters in the training poems")
            texts = [poem_row(self.tokenizer, poem).ids for poem in self.train]
            ends = [np.array(self.tokenizer.encode("".join(pair))) for pair in rhyme_pairs(self.train)]
            table[:] = count_embeddings([*texts, *RHYMES_COUNT * ends], V, C, EMBEDDING_STD, self.config.model_rng())

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._read()

    def _read(self) -> None:
        c = self.config
        if c.data:
            poems = read_poems(c.data)
        else:
            poems = bundled_poems(BUNDLED_POEMS)
            print(f"text        bundled verses: {len(poems):,} poems")
        self.train, self.val = split_poems(poems, c.val_fraction, c.seed)

    def encode(self, folder: Path, processes: bool = False) -> None:
        longest = self.config.block_size
        self.train_rows, self.train = encoded(self.tokenizer, self.train, longest, "training")
        self.val_rows, self.val = encoded(self.tokenizer, self.val, longest, "held-out")
        self.rare = RareCharacters.of(self.tokenizer, self.train, self.val)
        lengths = np.array([len(row.ids) for row in self.train_rows])
        tokens = self.config.batch_tokens or int(self.config.batch_size * np.quantile(lengths, 0.9))
        self.batches = SimilarLengths(lengths, tokens)

    def fingerprint(self) -> str:
        return fingerprint_of(*([f"{poem.theme}\n{poem.text}" for poem in some] for some in (self.train, self.val)))

    # ------------------------------------------------------------------------------------------- training

    def batch(self, rng: np.random.Generator) -> Batch:
        options = {"label_smoothing": self.config.label_smoothing} if self.config.label_smoothing else {}
        rows = [self.train_rows[n] for n in self.batches.draw(rng)]
        rhymes = any((row.rhymes != IGNORE_INDEX).any() for row in rows)
        practice = rhymes and rng.random() < RHYME_PRACTICE
        return Batch(row_arrays(rows, practice), options)

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        found = poem_nats(
            model, self.tokenizer, self.val_rows, self.rare, lambda pairs: workers.map(score, pairs), between
        )
        loss = found.loss / found.targets
        line = f"validation loss {loss:.4f}, {found.per_character:.4f} nats a character of the poem"
        return Evaluation(loss, line, {"val_nats_per_character": found.per_character})

    # -------------------------------------------------------------------------------------------- reports

    def sample(self, model: Any, step: int) -> str:
        """A poem for a held-out theme."""
        theme, rng = self.val[step % len(self.val)].theme, np.random.default_rng(step)
        longest = self.config.sample_tokens
        lines = write_poems(model, self.tokenizer, [theme], longest, rng, temperature=TEMPERATURE)[0]
        return printable(f"{theme}  ->  {' / '.join(lines)}")

    def references(self) -> dict[str, float]:
        return {"ln V": math.log(self.tokenizer.vocab_size)}

    def next_steps(self, run: Any) -> list[list[str]]:
        theme, lines = min(self.val, key=lambda poem: len(poem.theme))
        others = [poem.theme for poem in self.val if poem.theme != theme][:2]
        rank = ["numpylm", "rank", str(run.folder), "--prompts", theme, *dict.fromkeys(others)]
        generate = ["numpylm", "generate", str(run.folder), "--prompt", theme, "--temperature", str(TEMPERATURE)]
        return [generate, [*rank, "--answers", " / ".join(lines)]]

    def describe(self, run: Any) -> None:
        characters = sum(len(line) for poem in self.train for line in poem.lines)
        print(
            f"poems       {len(self.train):,} to train on ({characters:,} characters), {len(self.val):,} held out; "
            f"{self.tokenizer.vocab_size:,} different tokens"
        )
        if self.rare.count:
            print(
                f"rare        {self.rare.count:,} characters without a token share {self.rare.share:.2%} of the "
                f"probability equally, also in the baselines"
            )
        self.describe_model(run)
        print("baselines   nats a character of the held-out poems, line ends not counted:")
        unigram, bigram = CharacterModels(self.tokenizer, self.train, self.rare.count).nats(self.val)
        print(f"  {unigram:7.4f}   single characters\n  {bigram:7.4f}   pairs of characters, Kneser-Ney")
        if not self.config.data:
            print(f"  {verse_entropy(self.val):7.4f}   entropy of the source, with line ends: the lowest possible")

    def measure(self, model: Any, between: Callable[[], object] | None = None) -> dict[str, dict[str, float]]:
        """What the best model does with the held-out poems, and how good its own are."""
        judge = TrainingPoems(self.train)
        report = report_on(model, self.tokenizer, judge, self.val, self.rare, self.config.seed, between=between)
        print(f"\n{report}")
        return report.figures()


def embedding_table(model: GPT | Llama) -> Array:
    """The token embeddings (V, C) of a model, which are also the weights of a tied head."""
    return (model.wte if isinstance(model, GPT) else model.embed_tokens).weight.data


def rhyme_pairs(poems: Sequence[Poem]) -> list[tuple[str, str]]:
    """The pairs of characters at neighboring even line ends."""
    ends = (even_ends(poem.lines) for poem in poems)
    return [pair for some in ends for pair in pairwise(some) if all(len(end) == 1 for end in pair)]


def bundled_poems(count: int) -> list[Poem]:
    """The bundled verses, each once."""
    texts = dict.fromkeys(VERSES.text(n) for n in range(count))
    return [poem_of(theme, lines) for theme, *lines in (text.split("\n") for text in texts)]


def verse_entropy(poems: Sequence[Poem]) -> float:
    """-log P(poem | theme) of bundled verses, in nats a character."""
    nats = sum(VERSES.nats(f"{poem.theme}\n{poem.text}") - THEME_NATS for poem in poems)
    return nats / sum(len(line) for poem in poems for line in poem.lines)


def split_poems(poems: Sequence[Poem], fraction: float, seed: int) -> tuple[list[Poem], list[Poem]]:
    """Training and held-out poems, without a copy of a held-out poem in training.

    If most poems have a title of their own, no held-out title stands in training, either. If poems share few themes,
    each theme is on both sides. A hash decides, so a second training on a part of the poems holds out the same ones.
    """
    titled = 2 * len({poem.theme for poem in poems}) > len(poems)
    keys = {poem: poem.theme if titled else poem.text for poem in poems}
    draws = {key: _draw(f"{seed} {key}") for key in keys.values()}
    order = sorted(draws, key=lambda key: draws[key])
    held = set(order[: min(max(sum(draw < fraction for draw in draws.values()), 1), HELD_OUT)])
    val = sorted((poem for poem in poems if keys[poem] in held), key=lambda poem: draws[keys[poem]])
    copies = {poem.lines for poem in val}
    train = [poem for poem in poems if keys[poem] not in held and poem.lines not in copies]
    if not train:
        raise ValueError("all poems or all titles are equal: training needs at least two different ones")
    return train, val


def _draw(text: str) -> float:
    """A number in [0, 1) that looks random and depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def encoded(tokenizer: Any, poems: Sequence[Poem], longest: int, what: str) -> tuple[list[PoemRow], list[Poem]]:
    """The rows of the poems that fit into ``longest`` tokens, and these poems. It prints how many do not fit."""
    rows = [(poem_row(tokenizer, poem), poem) for poem in poems]
    kept = [(row, poem) for row, poem in rows if len(row.ids) <= longest]
    if len(kept) < len(rows):
        print(f"left out    {len(rows) - len(kept):,} {what} poems with more than {longest} tokens (--block-size)")
    if not kept:
        raise ValueError(f"no {what} poem fits into {longest} tokens: give a larger --block-size")
    return [row for row, _ in kept], [poem for _, poem in kept]
