"""Code that needs no network: the function of the training problem with the nearest docstring, and n-grams"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from numpylm.tasks.translation_baselines import Nearest
from numpylm.text.code_problem import Problem

ORDER = 4  # tokens before the next one that the n-gram model looks at


class NearestDocstring:
    """The code of the training problem whose docstring is most similar, by TF-IDF, under the name that is asked for."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems
        self.nearest = Nearest([(problem.text, str(number)) for number, problem in enumerate(problems)])

    def write(self, problem: Problem) -> str:
        """The code; of the first problem if no word of the docstring is known."""
        found = self.problems[int(self.nearest.translate(problem.text) or 0)]
        return re.sub(rf"(?<![.\w]){re.escape(found.name)}\b", lambda _: problem.name, found.code)


class NGrams:
    """The most frequent next token after the last ``ORDER`` tokens, or after fewer if these were never seen.

    Parameters
    ----------
    rows : iterable of sequence of int
        The tokens of prompts and codes, each with its end.
    """

    def __init__(self, rows: Iterable[Sequence[int]]) -> None:
        counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for row in rows:
            for n in range(1, len(row)):
                for length in range(min(ORDER, n) + 1):
                    counts[tuple(row[n - length : n])][row[n]] += 1
        self.best = {before: found.most_common(1)[0][0] for before, found in counts.items()}

    def write(self, prompt: Sequence[int], longest: int, end: int) -> list[int]:
        """The tokens that follow a prompt, until ``end``."""
        row = list(prompt)
        for _ in range(longest):
            parts = (tuple(row[len(row) - n :]) for n in range(min(ORDER, len(row)), -1, -1))
            token = next(self.best[part] for part in parts if part in self.best)
            if token == end:
                break
            row.append(token)
        return row[len(prompt) :]
