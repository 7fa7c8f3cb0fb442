"""How good written code is: how much parses, runs, and passes asserts that the model never saw; and baselines"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from numpylm.system.untrusted_code import OUTCOMES, RAN, Limits, Outcome, run_all
from numpylm.tasks.chat_answers import continue_prompts
from numpylm.tasks.code_baselines import NearestDocstring, NGrams
from numpylm.text.code_problem import Problem, parses
from numpylm.training.parallel import DataParallel

NGRAM_PROBLEMS = 5000  # training problems from which the n-gram model is made
Texts = dict[str, list[str]]  # the code for each problem, by who wrote it


@dataclass(frozen=True)
class CodeFigures:
    """Shares of some programs, each between 0 and 1. Without a run, only ``parse`` is known."""

    parse: float
    run: float | None = None  # no call ends with an error
    passed: float | None = None  # all asserts hold


def encode_problem(tokenizer: Any, problem: Problem) -> tuple[list[int], list[int]]:
    """The tokens of the prompt, after the end of the text before, and of the code with its end."""
    end = [tokenizer.end_id]
    return end + tokenizer.encode(problem.prompt), tokenizer.encode(problem.code) + end


def write_code(
    workers: DataParallel,
    tokenizer: Any,
    problems: Sequence[Problem],
    train: Sequence[Problem],
    between: Callable[[], object] | None = None,
) -> Texts:
    """The code of the model and, if there are training problems, of the baselines. The model sees no assert."""
    prompts = [encode_problem(tokenizer, problem)[0] for problem in problems]
    longest = min(
        2 * max(len(encode_problem(tokenizer, problem)[1]) for problem in problems),
        max(workers.model.config.block_size - max(map(len, prompts)), workers.model.config.block_size // 2),
    )
    answers = continue_prompts(workers, tokenizer, prompts, longest, {tokenizer.end_id}, between)
    texts = {"model": [answer.text for answer in answers]}
    if train:
        nearest = NearestDocstring(train)
        ngrams = NGrams([*chain(*encode_problem(tokenizer, problem))] for problem in train[:NGRAM_PROBLEMS])
        texts["nearest docstring"] = [nearest.write(problem) for problem in problems]
        rows = (ngrams.write(prompt, longest, tokenizer.end_id) for prompt in prompts)
        texts["n-grams"] = [tokenizer.decode(row) for row in rows]
    return texts


def run_code(texts: Sequence[str], problems: Sequence[Problem], limits: Limits | None = None) -> list[Outcome]:
    """The outcome of the code for each problem, in child processes: see `numpylm.system.untrusted_code`."""
    return run_all([(text, problem.asserts) for text, problem in zip(texts, problems, strict=True)], limits)


def figures_of(texts: Sequence[str], outcomes: Sequence[Outcome] | None) -> CodeFigures:
    """The shares that parse, run and pass."""
    parse = sum(map(parses, texts)) / len(texts)
    if outcomes is None:
        return CodeFigures(parse)
    names = Counter(outcome.name for outcome in outcomes)
    return CodeFigures(parse, sum(names[name] for name in RAN) / len(texts), names["passed"] / len(texts))


def judge(
    texts: Texts, problems: Sequence[Problem], run: bool, limits: Limits | None = None
) -> dict[str, dict[str, float]]:
    """Print a table of all writers, and return its figures. Nothing is executed unless ``run`` says so."""
    outcomes = {who: run_code(some, problems, limits) if run else None for who, some in texts.items()}
    figures = {who: figures_of(some, outcomes[who]) for who, some in texts.items()}
    print(f"{len(problems):,} problems" + ("" if run else "; nothing of the code was run, see docs/code.md"))
    print(f"  {'':18}" + "".join(f"{name:>8}" for name in ("parse", "run", "pass")))
    for who, found in figures.items():
        shares = (found.parse, found.run, found.passed)
        print(f"  {who:18}" + "".join(f"{'–' if share is None else f'{share:.1%}':>8}" for share in shares))
    if run and (bare := sum(not problem.asserts for problem in problems)):
        print(f"  note: {bare:,} problems have no asserts; their code passes if it runs")
    if ended := outcomes["model"]:
        counts = Counter(outcome.name for outcome in ended)
        print(
            "\n".join(f"  {counts[name]:6,}  {name}: {meaning}" for name, meaning in OUTCOMES.items() if counts[name])
        )
    return {
        who: {name: share for name, share in asdict(found).items() if share is not None}
        for who, found in figures.items()
    }
