"""Code: learn P(function | docstring) from docstrings with their Python functions; what parses, runs and passes."""

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.corpora import functions
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.system.shell import printable
from numpylm.tasks.chat import row_arrays, score_rows
from numpylm.tasks.chat_answers import continue_prompts
from numpylm.tasks.code_report import encode_problem, judge, write_code
from numpylm.tasks.held_out import fingerprint_of, hold_out
from numpylm.tasks.pairs import check_files
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.code_problem import Problem, read_problems
from numpylm.text.padding import SimilarLengths
from numpylm.training.choose_settings import fit_to_text
from numpylm.training.config import TrainConfig
from numpylm.training.finetune import load_pretrained_model
from numpylm.training.language_modeling import LanguageModeling, check_model_file, new_model
from numpylm.training.parallel import DataParallel
from numpylm.training.prepare_data import make_tokenizer
from numpylm.training.task import Batch, Evaluation

BUNDLED_PROBLEMS = 20_000
JUDGED = 300  # bundled problems of held-out combinations for which the report writes code
HELD_OUT = 500  # at most this many problems are held out
KEPT = ("documents", "block_size", "batch_size", "patience", "max_val_mb")  # not chosen by rules for running text


class Code(LanguageModeling):
    """A GPT or a Llama reads a docstring and a name and writes the function, from scratch or from another model."""

    name = "code"
    next_verb = "write a function"

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        check_files(list(config.data))
        check_model_file(config)

    # ---------------------------------------------------------------------------------------------- data

    def start(self, given: Collection[str] | None) -> GPT | Llama:
        """Read the problems. The model and its tokenizer are new, or loaded from ``init_from``."""
        pretrained = load_pretrained_model(self.config) if self.config.init_from else None
        self._read()
        if pretrained:
            self.config, model, self.tokenizer = pretrained
            if self.tokenizer.end_id is None:
                raise ValueError("--init-from: its tokenizer has no end-of-text token, which must end the function")
            return model
        texts = list(map(_as_text, self.train))
        if given is not None:
            self.config = fit_to_text(self.config, texts, {*given, *KEPT})
        self.tokenizer = make_tokenizer(self.config, texts, list(map(_as_text, self.val)))
        return new_model(self.config, self.tokenizer.vocab_size)

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._read()

    def _read(self) -> None:
        self.train, self.val = split_problems(self.config)
        if not self.config.data:
            print(f"text        bundled functions: {len(self.train) + len(self.val):,} problems")

    def encode(self, folder: Path, processes: bool = False) -> None:
        longest = self.config.block_size
        self.train_rows = encoded(self.tokenizer, self.train, longest, "training")
        self.val_rows = encoded(self.tokenizer, self.val, longest, "held-out")
        lengths = np.array([len(ids) for ids, _ in self.train_rows])
        tokens = self.config.batch_tokens or int(self.config.batch_size * np.quantile(lengths, 0.9))
        self.batches = SimilarLengths(lengths, tokens)

    def fingerprint(self) -> str:
        return fingerprint_of(list(map(_as_text, self.train)), list(map(_as_text, self.val)))

    # ------------------------------------------------------------------------------------------- training

    def batch(self, rng: np.random.Generator) -> Batch:
        options = {"label_smoothing": self.config.label_smoothing} if self.config.label_smoothing else {}
        return Batch(row_arrays([self.train_rows[n] for n in self.batches.draw(rng)]), options)

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        score = score_rows(workers, self.val_rows, between)
        line = f"validation loss {score.loss:.4f}, perplexity {score.perplexity:,.2f}, {score.accuracy:.1%} of tokens"
        return Evaluation(score.loss, line, {"val_accuracy": score.accuracy})

    # -------------------------------------------------------------------------------------------- reports

    def sample(self, model: Any, step: int) -> str:
        """A held-out docstring and the model's function."""
        problem = self.val[step % len(self.val)]
        prompt = encode_problem(self.tokenizer, problem)[0]
        stop = {self.tokenizer.end_id}
        (answer,) = continue_prompts(DataParallel(model, 1), self.tokenizer, [prompt], self.config.sample_tokens, stop)
        return printable(problem.text) + "\n" + "\n".join(map(printable, answer.text.split("\n")))

    def references(self) -> dict[str, float]:
        return {"ln V": math.log(self.tokenizer.vocab_size)}

    def measure(self, model: Any, between: Callable[[], object] | None = None) -> dict[str, dict[str, float]]:
        """How much of the code for held-out problems parses, runs and passes, of the model and of the baselines.

        The bundled ones have an operation and a filter that no training problem has together.
        """
        problems = self.val if self.config.data else functions.problems(JUDGED, held_out=True)
        texts = write_code(DataParallel(model), self.tokenizer, problems, self.train, between)
        what = "" if self.config.data else ", of pairs of an operation and a filter that training never shows"
        print(f"\nheld-out    code for held-out docstrings{what}:")
        return judge(texts, problems, self.config.run_code)

    def next_steps(self, run: Any) -> list[list[str]]:
        return [["numpylm", "generate", str(run.folder), "--prompt", self.val[0].text, "--temperature", "0"]]

    def describe(self, run: Any) -> None:
        counted = sum(int((targets != IGNORE_INDEX).sum()) for _, targets in self.train_rows)
        print(
            f"problems    {len(self.train_rows):,} to train on ({counted:,} tokens of code), "
            f"{len(self.val_rows):,} held out; {self.tokenizer.vocab_size:,} different tokens"
        )
        self.describe_model(run)


def split_problems(config: TrainConfig) -> tuple[list[Problem], list[Problem]]:
    """The problems of a run: those to train on, and those held out. No held-out docstring stands in training."""
    problems = read_problems(config.data) if config.data else functions.problems(BUNDLED_PROBLEMS, config.seed)
    return hold_out(problems, config.val_fraction, np.random.default_rng(config.seed), lambda p: p.text, HELD_OUT)


def encoded(tokenizer: Any, problems: Sequence[Problem], longest: int, what: str) -> list[tuple[Array, Array]]:
    """Ids (T,) and targets (T,) of the problems with T at most ``longest``. Only the code counts in the loss."""
    rows = []
    for problem in problems:
        prompt, code = encode_problem(tokenizer, problem)
        ids = np.array(prompt + code)
        if len(ids) <= longest + 1:
            rows.append((ids[:-1], np.where(np.arange(1, len(ids)) < len(prompt), IGNORE_INDEX, ids[1:])))
    if left_out := len(problems) - len(rows):
        print(f"left out    {left_out:,} {what} problems with more than {longest} tokens (--block-size)")
    if not rows:
        raise ValueError(f"no {what} problem fits into {longest} tokens: give a larger --block-size")
    return rows


def _as_text(problem: Problem) -> str:
    return problem.prompt + problem.code
