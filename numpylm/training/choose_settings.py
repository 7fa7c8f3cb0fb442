"""Settings that fit a text: what `numpylm train --data my.txt` takes for those that the user did not give.

The defaults of `TrainConfig` were made for four megabytes of stories. A text of 60 kB is learnt by heart in 200 of
their 1,400 steps; one of a few thousand Chinese characters cannot even be written in 1,024 tokens. Each function below
is one rule: it looks at the text and says which value it takes, and why. The numbers were found by training on texts of
10 kB to 10 MB (English, Chinese, code, lists) and confirmed on others: see benchmarks/defaults.py.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import regex

from numpylm.text.line_documents import MANY, NAMES, cut_lines, kind_of_lines
from numpylm.text.tokenizer import character_merges
from numpylm.training.config import TrainConfig

MORE_THAN_A_FEW = 3  # occurrences from which on a character is a token
FIRST_TOKENS = 257  # 256 bytes and end-of-text
_OWN_TOKEN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")  # scripts whose characters hardly merge


class Choice(NamedTuple):
    """A setting, the value that fits the text, and why."""

    setting: str
    value: Any
    reason: str


class Size(NamedTuple):
    """What fits a text of so many tokens at the most."""

    tokens: float
    vocab_size: int
    n_embd: int
    dropout: float
    block_size: int


# A small text is learnt by heart at once: few channels, much dropout, and short windows, which show more places of it
# in a batch. A large one is not seen often enough for that, and can fill a larger vocabulary; there, too, windows
# shorter than the default's 256 pay: attention costs less in them and leaves time for more steps.
SIZES = (
    Size(8_000, 512, 64, 0.3, 64),
    Size(50_000, 1024, 128, 0.1, 64),
    Size(220_000, 1024, 128, 0.1, 128),
    Size(1_000_000, 1024, 128, 0.05, 128),
    Size(math.inf, 2048, 128, 0.0, 128),
)
TOKENS_A_STEP = 2048  # as the defaults have: 8 windows of 256
STEPS_PER_ROOT = 3.5  # of the number of tokens
FEWEST_STEPS = 200
LONGEST_RUN = 2200  # steps of such windows with the vocabulary of 2,048: 1.4 times the time of the default's 1,400
EVALUATED_MB = 0.3  # more text would take more time and say hardly more


@dataclass(frozen=True)
class Facts:
    """What the rules look at."""

    characters: int
    tokens: int  # about: a Chinese or Japanese character is one, of other scripts a token holds three
    documents: int
    usual: int  # tokens that 90 in 100 documents have at the most
    longest: int  # tokens that 98 in 100 have at the most
    kind: str | None  # of lines, where each is a document
    merges: int  # that make tokens of all characters that occur more than a few times

    @property
    def size(self) -> Size:
        """The row of `SIZES` that these tokens fall into."""
        return next(size for size in SIZES if self.tokens <= size.tokens)

    @classmethod
    def of(cls, documents: Sequence[str], kind: str | None, tokenizer: str) -> "Facts":
        """Count in all documents."""
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
    """The config with all settings but the given ones chosen to fit the documents; says each choice in a line.

    Where no text is given (the bundled stories), or a model to begin with, the config stays as it is.
    """
    if not config.data or config.init_from:
        return config
    config, choices = choose(config, documents, given)
    for choice in choices:
        print(f"chosen      {choice.setting} {choice.value}: {choice.reason}")
    return config


def choose(config: TrainConfig, documents: Sequence[str], given: Collection[str]) -> tuple[TrainConfig, list[Choice]]:
    """The config that fits the documents, and what of it is neither given nor a default.

    Parameters
    ----------
    config : TrainConfig
    documents : sequence of str
        As they were read; where the config says lines, or lines are chosen, they are not cut yet.
    given : collection of str
        Names of settings that stay as they are; the rules take them into account.
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


# A rule gets the config as those before it left it.


def document_rule(config: TrainConfig, kind: str | None) -> Iterator[Choice]:
    """Each line of a list is a document."""
    if kind and not config.loss_after:
        yield Choice("documents", "lines", f"the lines are {kind}, each for itself (else: --documents file)")


def vocabulary(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """All characters that occur more than a few times, then as many merges as the text can teach."""
    if config.tokenizer == "char":
        return
    if facts.merges:
        yield Choice("whole_characters", MORE_THAN_A_FEW, "characters that occur so often become tokens, first of all")
    if facts.kind == NAMES:
        yield Choice("vocab_size", FIRST_TOKENS + facts.merges, "names are learnt letter by letter")
    elif FIRST_TOKENS + facts.merges > facts.size.vocab_size:
        size = FIRST_TOKENS + facts.merges
        yield Choice("vocab_size", size, f"256 bytes, end-of-text, and {facts.merges} merges for these characters")
    else:
        yield Choice("vocab_size", facts.size.vocab_size, f"as many as about {facts.tokens:,} tokens can teach")


def windows(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Windows that hold nearly every document, if documents are many and short; else windows that are short."""
    default = TrainConfig.block_size
    if facts.documents >= MANY and facts.usual < 1.2 * default:  # the estimate may be so much too high
        size = min(16 * -(-(facts.longest + 1) // 16), default)  # one more for end-of-text
        yield Choice("block_size", size, f"holds nearly every one of {facts.documents:,} documents")
    else:
        yield Choice("block_size", facts.size.block_size, "short, so that a batch shows many places of the text")


def batches(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """As many windows as make the tokens of a default step."""
    if config.block_size <= TOKENS_A_STEP:
        yield Choice(
            "batch_size", TOKENS_A_STEP // config.block_size, f"such windows are {TOKENS_A_STEP:,} tokens a step"
        )


def model(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """A small text is learnt by heart, unless the model is small and forgetful."""
    reason = f"about {facts.tokens:,} tokens would be learnt by heart"
    if facts.size.n_embd % config.n_head == 0:
        yield Choice("n_embd", facts.size.n_embd, reason)
    yield Choice("dropout", facts.size.dropout, reason)


def steps(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Steps grow with the root of the text, as long as they take less than twice the time of the default's."""
    cost = (180 + config.block_size) / (180 + 128) * max(1.0, config.vocab_size / 2048) ** 0.5  # as measured, about
    longest = round(LONGEST_RUN / cost, -1)
    wanted = round(STEPS_PER_ROOT * math.sqrt(facts.tokens), -1)
    yield Choice("max_steps", int(min(max(wanted, FEWEST_STEPS), longest)), f"enough for about {facts.tokens:,} tokens")


def evaluations(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Often enough to find the best moment of a run that overfits."""
    yield Choice("eval_interval", max(config.max_steps // 160 * 10, 10), "16 evaluations, to find the best moment")
    if config.val_fraction * facts.characters > EVALUATED_MB * 1e6:
        yield Choice("max_val_mb", EVALUATED_MB, "so that evaluations take little time")


def patience(config: TrainConfig, facts: Facts) -> Iterator[Choice]:
    """Training ends when nothing has come of a quarter of all steps."""
    evaluations = max(2, config.max_steps // 4 // config.eval_interval)
    yield Choice("patience", evaluations, "training ends when a quarter of all steps has brought no improvement")


RULES: tuple[Callable[[TrainConfig, Facts], Iterator[Choice]], ...] = (
    vocabulary,
    windows,
    batches,
    model,
    steps,
    evaluations,
    patience,
)
