"""What poems cost without a network: single characters, and pairs of characters with Kneser-Ney smoothing"""

import math
from collections import Counter
from collections.abc import Sequence

from numpylm.text.char_tokenizer import UNKNOWN, CharTokenizer
from numpylm.text.poem import Poem

LINE_START = ""  # what stands before the first character of a line


class CharacterModels:
    """Unigram and bigram models of the characters in the lines of poems; line ends are given, not predicted.

    The bigram model is interpolated Kneser-Ney (Ney, Essen and Kneser 1994; Chen and Goodman 1999, eq. 25):

        p(c | b) = max(n(b, c) - D, 0) / n(b) + D n1+(b, ·) / n(b) · q(c),     q(c) ∝ n1+(·, c)

    where n1+(·, c) is the number of different characters before c, n1+(b, ·) after b, and D = n1 / (n1 + 2 n2) with the
    numbers n1 and n2 of pairs that occur once and twice. One count is added to each n1+(·, c), so that q > 0. All rare
    characters share one entry, whose probability is divided by their number.

    Parameters
    ----------
    tokenizer : CharTokenizer
        It says which characters are rare.
    poems : sequence of Poem
        The training poems.
    rare : int
        The number of different rare characters.
    """

    def __init__(self, tokenizer: CharTokenizer, poems: Sequence[Poem], rare: int) -> None:
        self.known, self.rare = set(tokenizer.characters) - {"\n"}, rare
        pairs = [pair for poem in poems for line in poem.lines for pair in self._pairs(line)]
        self.V = len(self.known) + 1
        self.count, self.total = Counter(c for _, c in pairs), len(pairs)
        self.pairs, self.before = Counter(pairs), Counter(b for b, _ in pairs)
        self.after = Counter(b for b, _ in self.pairs)  # n1+(b, ·)
        self.distinct = Counter(c for _, c in self.pairs)  # n1+(·, c)
        once, twice = (sum(n == k for n in self.pairs.values()) for k in (1, 2))
        self.D = once / (once + 2 * twice) if once else 0.5

    def _pairs(self, line: str) -> list[tuple[str, str]]:
        named = [c if c in self.known else UNKNOWN for c in line]
        return list(zip([LINE_START, *named], named, strict=False))

    def unigram(self, c: str) -> float:
        """p(c), with one added to each count."""
        return (self.count[c] + 1) / (self.total + self.V)

    def bigram(self, b: str, c: str) -> float:
        """p(c | b)."""
        q = (self.distinct[c] + 1) / (len(self.pairs) + self.V)
        n = self.before[b]
        return max(self.pairs[b, c] - self.D, 0) / n + self.D * self.after[b] / n * q if n else q

    def nats(self, poems: Sequence[Poem]) -> tuple[float, float]:
        """Nats a character of some poems: of the unigram and of the bigram model."""
        pairs = [pair for poem in poems for line in poem.lines for pair in self._pairs(line)]
        spread = sum(math.log(max(self.rare, 1)) for _, c in pairs if c == UNKNOWN)
        single = spread - sum(math.log(self.unigram(c)) for _, c in pairs)
        double = spread - sum(math.log(self.bigram(b, c)) for b, c in pairs)
        return single / len(pairs), double / len(pairs)
