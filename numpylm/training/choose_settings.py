"""Choosing hyperparameters that fit a text, for settings that the user of `numpylm train --data` did not give.

The defaults of `TrainConfig` are made for four megabytes of stories. A model memorizes a text of 60 kB in 200 of their
1,400 steps, and a text with a few thousand Chinese characters needs more than 1,024 tokens. Each function below is one
rule: from the size and the kind of the text it chooses a value, and gives a reason. The numbers were found by training
on texts of 10 kB to 10 MB (English, Chinese, code, lists) and confirmed on others: see benchmarks/defaults.py.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import regex

from numpylm.text.line_documents import FEWEST_LINES, NAMES, cut_lines, kind_of_lines
from numpylm.text.tokenizer import character_merges
from numpylm.training.config import TrainConfig

MORE_THAN_A_FEW = 3  # a character that occurs at least this often becomes a token
FIRST_TOKENS = 257  # 256 bytes and end-of-text
_OWN_TOKEN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")  # scripts in which BPE merges few characters


class Choice(NamedTuple):
    """A setting, the value that fits the text, and why."""

    setting: str
    value: Any
    reason: str


class Size(NamedTuple):
    """Settings for a text of at most ``tokens`` tokens."""

    tokens: float
    vocab_size: int
    n_embd: int
    dropout: float
    block_size: int


# A model memorizes a small text quickly. So a small text gets few channels, much dropout, and short windows, so that a
# batch covers more parts of the text. A large text is not seen often enough to be memorized, and has enough data for a
# larger vocabulary. Windows shorter than the default of 256 help there, too: attention is cheaper, which leaves time
# for more steps.
SIZES = (
    Size(8_000, 512, 64, 0.3, 64),
    Size(50_000, 1024, 128, 0.1, 64),
    Size(220_000, 1024, 128, 0.1, 128),
    Size(1_000_000, 1024, 128, 0.05, 128),
    Size(math.inf, 2048, 128, 0.0, 128),
)
TOKENS_A_STEP = 2048  # as in the defaults: 8 windows of 256
STEPS_PER_ROOT = 3.5  # steps = this number times the square root of the number of tokens
FEWEST_STEPS = 200
SHORTEST_RUN = 10  # steps, if the user's windows are so long that even a few steps take long
# Steps with windows of 128 and a vocabulary of 2,048; 1.4 times as long as the default's 1,400 steps.
LONGEST_RUN = 2200
EVALUATED_MB = 0.3  # a longer validation text takes more time and is hardly more accurate


@dataclass(frozen=True)
class Facts:
    """Statistics of a text, from which the rules choose settings."""

    characters: int
    tokens: int  # estimate: one token per Chinese or Japanese character, one per three characters of other scripts
    documents: int
    usual: int  # 90th percentile of the documents' lengths, in tokens
    longest: int  # 98th percentile of the documents' lengths, in tokens
    kind: str | None  # the kind of lines, if each line is a document
    merges: int  # number of merges that make a token of each character that occurs more than a few times

    @property
    def size(self) -> Size:
        """The first row of `SIZES` with enough tokens for this text."""
        return next(size for size in SIZES if self.tokens <= size.tokens)

    @classmethod
    def of(cls, documents: Sequence[str], kind: str | None, tokenizer: str) -> "Facts":
        """Compute the statistics of all documents."""
        per_token = 1 if tokenizer == "char" or kind == NAMES else 3
        lengths = sorted(_tokens(document, per_token) for document in documents)
        counts = Counter(character for document in documents if not document.isascii() for character in document)
        return cls(
            sum(map(len, documents)),
            sum(lengths),
            len(documents),
            lengths[int(0.90 * (len(lengths) - 1))],
            lengths[int(0.98 * (len(lengths) - 1))],
            kind,
            len(character_merges(counts, MORE_THAN_A_FEW)),
        )


def _tokens(text: str, per_token: int) -> int:
    alone = 0 if text.isascii() else len(_OWN_TOKEN.findall(text))
    return alone + -(-(len(text) - alone) // per_token)


def fit_to_text(config: TrainConfig, documents: Sequence[str], given: Collection[str]) -> TrainConfig:
    """Choose all settings except the ``given`` ones to fit the documents, and print each choice with its reason.

    The config is not changed for the bundled stories, or if training begins with a given model.
    """
    if not config.data or config.init_from:
        return config
    config, choices = choose_settings(config, documents, given)
    for choice in choices:
        print(f"chosen      {choice.setting} {choice.value}: {choice.reason}")
    return config


def choose_settings(
    config: TrainConfig, documents: Sequence[str], given: Collection[str]
) -> tuple[TrainConfig, list[Choice]]:
    """The config that fits the documents, and the list of choices that differ from the defaults.

    Parameters
    ----------
    config : TrainConfig
    documents : sequence of str
        The documents as they were read. They are not yet split into lines, even if each line is a document.
    given : collection of str
        Names of settings that are not changed. The rules take their values into account.
    """
    choices: list[Choice] = []

    def follow(rule: Iterator[Choice]) -> None:
        nonlocal config
        for choice in rule:
            if choice.setting not in given and choice.value != getattr(config, choice.setting):
                config = replace(config, **{choice.setting: choice.value})
                choices.append(choice)

    kind = kind_of_lines(documents)
    follow(document_rule(config, kind))
    in_lines = config.documents == "lines"
    facts = Facts.of(cut_lines(documents) if in_lines else documents, kind if in_lines else None, config.tokenizer)
    for rule in RULES:
        follow(rule(config, facts))
    return config, choices


# Each rule gets the config with the choices of the rules before it.


def document_rule(config: TrainConfig, kind: str | None) -> Iterator[Choice]:
    """Each line of a list is a document."""
    if kind and not config.loss_after:
        yield Choice("documents", "lines", f"the lines are {kind}, each its own document (if not: --documents file)")


def vocabulary(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """A token for each character that occurs more than a few times, then as many merges as the text has data for."""
    if config.tokenizer == "char":
        return
    if facts.merges:
        yield Choice("whole_characters", MORE_THAN_A_FEW, "characters that occur at least this often become tokens")
    if facts.kind == NAMES:
        yield Choice("vocab_size", FIRST_TOKENS + facts.merges, "short entries are learned character by character")
    elif FIRST_TOKENS + facts.merges > facts.size.vocab_size:
        size = FIRST_TOKENS + facts.merges
        yield Choice("vocab_size", size, f"256 bytes, end-of-text, and {facts.merges} merges for these characters")
    else:
        yield Choice("vocab_size", facts.size.vocab_size, f"fits a text of about {facts.tokens:,} tokens")


def windows(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Windows that hold nearly every document, if there are many short documents; otherwise short windows."""
    default = TrainConfig.block_size
    if facts.documents >= FEWEST_LINES and facts.usual < 1.2 * default:  # 1.2, because the estimate may be too high
        size = min(16 * -(-(facts.longest + 1) // 16), default)  # + 1 for the end-of-text token
        yield Choice("block_size", size, f"holds nearly all of the {facts.documents:,} documents")
    else:
        yield Choice("block_size", facts.size.block_size, "short, so that a batch covers many parts of the text")


def batches(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """As many windows as give the tokens of a default step."""
    if config.block_size <= TOKENS_A_STEP:
        yield Choice(
            "batch_size",
            TOKENS_A_STEP // config.block_size,
            f"windows of {config.block_size} tokens, so {TOKENS_A_STEP:,} tokens a step",
        )


def model(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """A smaller model and more dropout for a small text, so that it is not memorized."""
    reason = f"a larger model without dropout would memorize about {facts.tokens:,} tokens"
    if facts.size.n_embd % config.n_head == 0:
        yield Choice("n_embd", facts.size.n_embd, reason)
    yield Choice("dropout", facts.size.dropout, reason)


def steps(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Steps grow with the square root of the number of tokens, but take less than twice the time of the default's."""
    cost = (180 + config.block_size) / (180 + 128) * max(1.0, config.vocab_size / 2048) ** 0.5  # fitted to measurements
    longest = round(LONGEST_RUN / cost, -1)
    wanted = round(STEPS_PER_ROOT * math.sqrt(facts.tokens), -1)
    number = int(max(min(max(wanted, FEWEST_STEPS), longest), SHORTEST_RUN))
    yield Choice("max_steps", number, f"enough for about {facts.tokens:,} tokens")


def evaluations(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Evaluate often enough to find the best step of a run that overfits."""
    interval = max(config.max_steps // 160 * 10, 10)
    yield Choice("eval_interval", interval, f"{-(-config.max_steps // interval)} evaluations, to find the best step")
    if config.val_fraction * facts.characters > EVALUATED_MB * 1e6:
        yield Choice("max_val_mb", EVALUATED_MB, "so that evaluations take little time")


def patience(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Early stopping: training ends after a quarter of all steps without improvement, or after two evaluations."""
    evaluations = max(2, config.max_steps // 4 // config.eval_interval)
    yield Choice("patience", evaluations, f"training ends after {evaluations} evaluations without improvement")


RULES: tuple[Callable[[TrainConfig, Facts], Iterator[Choice]], ...] = (
    vocabulary,
    windows,
    batches,
    model,
    steps,
    evaluations,
    patience,
)
