"""``numpylm evaluate`` on code: loss; and how many written functions parse and, with --run, run and pass asserts"""

import argparse
import sys
from pathlib import Path
from typing import Any

from numpylm.cli.evaluate_chat import refuse_text_options

DEFAULT_PROBLEMS = 500


def evaluate_code(args: argparse.Namespace, model: Any, tokenizer: Any) -> int:
    """Print the model's loss on the functions, and how good its own functions are beside the baselines'."""
    from numpylm.tasks.chat import score_rows
    from numpylm.tasks.code import encoded
    from numpylm.tasks.code_report import judge, write_code
    from numpylm.text.code_problem import read_problems
    from numpylm.training.parallel import DataParallel

    refuse_text_options(args, "problems")
    most = DEFAULT_PROBLEMS if args.answers is None else args.answers
    if most < 1:
        raise ValueError(f"--answers must be at least 1 for a run of --task code, got {most}")
    problems = read_problems(args.data)
    block_size = min(args.block_size or model.config.block_size, model.config.block_size)
    workers = DataParallel(model)
    score = score_rows(workers, encoded(tokenizer, problems, block_size, "judged"))
    print(f"loss            {score.loss:.4f} nats per token of code, {score.accuracy:.1%} of next tokens")
    problems = problems[:most]
    texts = write_code(workers, tokenizer, problems, training_problems(args.source, problems))
    judge(texts, problems, args.run_code)
    return 0


def training_problems(source: str, judged: list[Any]) -> list[Any]:
    """The problems that a run was trained on; none, with a note, if they cannot be read."""
    from numpylm.tasks.code import split_problems
    from numpylm.training.run_state import resume_config

    folder = Path(source).parent if Path(source).is_file() else Path(source)
    try:
        training, _ = split_problems(resume_config(folder, {}))
    except (OSError, ValueError) as error:
        print(f"note: there are no baselines beside the model: {error}", file=sys.stderr)
        return []
    if seen := len({problem.text for problem in judged} & {problem.text for problem in training}):
        print(f"note: {seen:,} of these {len(judged):,} problems were trained on", file=sys.stderr)
    return training
