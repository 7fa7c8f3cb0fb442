"""How good poems are: their form and rhymes, copied lines, what another theme costs, and people's poems beside them"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import regex

from numpylm.inference.generation import stream_batch
from numpylm.tasks.poem_rows import RareCharacters, poem_nats, poem_row, theme_ids
from numpylm.text.poem import Poem, even_ends

WRITTEN = 100  # poems that the report writes
TEMPERATURE = 0.7  # at which it writes them
COMMON = 0.01  # a form is right if it has at least this share of the training poems
HAN = regex.compile(r"\p{Han}")

Form = tuple[int, ...]


def form_of(lines: Sequence[str]) -> Form:
    """The lengths of the lines in characters for a Chinese poem; for other poems, only the number of lines."""
    han = sum(len(HAN.findall(line)) for line in lines)
    return tuple(map(len, lines)) if 2 * han > sum(map(len, lines)) else (len(lines),)


@dataclass(frozen=True)
class Verse:
    """Shares of some poems, each between 0 and 1."""

    form: float  # number and lengths of lines as in training poems
    rhyme: float  # the ends of all even lines are rhyme pairs that were seen in training
    copied: float  # lines that stand in a training poem


class TrainingPoems:
    """What the training poems say about form and rhyme, to judge other poems.

    Parameters
    ----------
    poems : iterable of Poem
    """

    def __init__(self, poems: Iterable[Poem]) -> None:
        poems = list(poems)
        counts = Counter(form_of(poem.lines) for poem in poems)
        self.forms = {form for form, count in counts.items() if count >= COMMON * len(poems)}
        self.lines = {line for poem in poems for line in poem.lines}
        self.rhymes = {frozenset(pair) for poem in poems for pair in combinations(even_ends(poem.lines), 2)}

    def rhymes_in(self, lines: Sequence[str]) -> bool:
        """Whether the ends of all even lines rhyme with each other. A word does not rhyme with itself."""
        pairs = [frozenset(pair) for pair in combinations(even_ends(lines), 2)]
        return bool(pairs) and all(len(pair) == 2 and pair in self.rhymes for pair in pairs)

    def judge(self, poems: Sequence[Sequence[str]]) -> Verse:
        """The shares of some poems, each given as its lines."""
        lines = [line for poem in poems for line in poem]
        return Verse(
            float(np.mean([form_of(poem) in self.forms for poem in poems])),
            float(np.mean([self.rhymes_in(poem) for poem in poems])),
            float(np.mean([line in self.lines for line in lines])) if lines else 0.0,
        )

    def chance(self, poems: Sequence[Poem]) -> float:
        """How often line 2 of one poem and line 4 of the next one rhyme: the share that needs no skill."""
        four = [poem.lines for poem in poems if len(poem.lines) >= 4]
        mixed = [(a[0], a[1], b[2], b[3]) for a, b in zip(four, four[1:] + four[:1], strict=True)]
        return float(np.mean([self.rhymes_in(lines) for lines in mixed])) if mixed else 0.0


def write_poems(
    model: Any, tokenizer: Any, themes: Sequence[str], longest: int, rng: np.random.Generator, **options: Any
) -> list[tuple[str, ...]]:
    """A poem for each theme, as its lines. ``longest`` is the largest number of tokens of a poem."""
    prompts = [theme_ids(tokenizer, theme) for theme in themes]
    texts: list[list[int]] = [[] for _ in prompts]
    for tokens in stream_batch(model, prompts, longest, rng=rng, stop_ids={tokenizer.end_id}, **options):
        for text, token in zip(texts, tokens, strict=True):
            if token not in (None, tokenizer.end_id):
                text.append(token)
    return [tuple(tokenizer.decode(text).split("\n")) for text in texts]


def with_other_themes(poems: Sequence[Poem], rng: np.random.Generator) -> list[Poem]:
    """The poems with each other's themes. No poem keeps its own, unless one theme has more than half of the poems.

    The poems of a theme stand together, the themes in random order. Each poem gets the theme of the one that stands as
    many places after it as the most frequent theme has poems, so it is another theme.
    """
    counts = Counter(poem.theme for poem in poems)
    place = dict(zip(counts, rng.permutation(len(counts)).tolist(), strict=True))
    ordered = sorted(poems, key=lambda poem: place[poem.theme])
    shift = max(counts.values())
    other = [poem.theme for poem in ordered[shift:] + ordered[:shift]]
    return [Poem(theme, poem.lines) for theme, poem in zip(other, ordered, strict=True)]


@dataclass(frozen=True)
class PoemReport:
    """The result of `report_on`."""

    nats: float  # a character of the held-out poems, their line ends not counted
    with_form: float  # and with what line ends and ends cost
    other_theme: float  # what each character costs more under another poem's theme
    model: Verse
    people: Verse
    chance: float  # share of rhymes among lines of different poems
    written: list[Poem]

    def figures(self) -> dict[str, dict[str, float]]:
        """The numbers by whose poems they are about."""
        costs = {"nats_per_character": self.nats, "with_line_ends": self.with_form, "other_theme": self.other_theme}
        return {
            "model": costs | asdict(self.model),
            "held-out poems": asdict(self.people),
            "lines of different poems": {"rhyme": self.chance},
        }

    def __str__(self) -> str:
        rows = [("form as in training poems", self.model.form, self.people.form)]
        rows += [("even lines rhyme", self.model.rhyme, self.people.rhyme)]
        rows += [("lines copied whole", self.model.copied, self.people.copied)]
        table = [f"  {name:26}  {a:6.1%}  {b:15.1%}" for name, a, b in rows]
        table[1] += f"  (lines of different poems: {self.chance:.0%})"
        return "\n".join(
            [
                f"held-out    {self.nats:.4f} nats a character ({self.with_form:.4f} with line ends); with another "
                f"poem's theme {self.other_theme:+.4f}",
                f"  {'poems at temperature ' + str(TEMPERATURE):26}  {'model':>6}  {'held-out poems':>15}",
                *table,
            ]
        )


def report_on(
    model: Any,
    tokenizer: Any,
    judge: TrainingPoems,
    val: Sequence[Poem],
    rare: RareCharacters,
    seed: int = 0,
    written: int = WRITTEN,
    between: Callable[[], object] | None = None,
) -> PoemReport:
    """Score the held-out poems, write poems for their themes, and judge them."""
    rng = np.random.default_rng(seed)
    own = poem_nats(model, tokenizer, [poem_row(tokenizer, poem) for poem in val], rare, between=between)
    mixed = [poem_row(tokenizer, poem) for poem in with_other_themes(val, rng)]
    fits = [row for row in mixed if len(row.ids) <= model.config.block_size]
    other = poem_nats(model, tokenizer, fits, rare, between=between)
    longest = 2 * max(len(poem.text) for poem in val)
    themes = [poem.theme for poem in val[:written]]
    poems = write_poems(model, tokenizer, themes, longest, rng, temperature=TEMPERATURE)
    return PoemReport(
        own.per_character,
        own.with_form,
        other.with_form - own.with_form,
        judge.judge(poems),
        judge.judge([poem.lines for poem in val]),
        judge.chance(val),
        [Poem(theme, lines) for theme, lines in zip(themes, poems, strict=True)],
    )
