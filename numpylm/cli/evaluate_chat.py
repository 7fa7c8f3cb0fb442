"""``numpylm evaluate`` on conversations: loss of what the assistant says, and its own answers beside retrieval."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpylm.training.evaluation import Score

DEFAULT_ANSWERS = 500
FOR_TEXT = ("documents", "batch_size", "loss_after", "stride")  # options of running text


def is_chat(data: list[str], tokenizer: Any) -> bool:
    """Whether all files are JSON, and the model has the form of a chat."""
    from numpylm.text.chat_template import can_chat

    endings = [Path(name.removesuffix(".gz")).suffix for name in data]
    return can_chat(tokenizer) and all(ending in (".json", ".jsonl") for ending in endings)


def refuse_text_options(args: argparse.Namespace, content: str) -> None:
    """Raise ValueError for an option of running text, if the data has other content."""
    if given := [name for name in FOR_TEXT if getattr(args, name)]:
        raise ValueError(f"--{given[0].replace('_', '-')} is for running text; {args.data[0]} holds {content}")


def evaluate_chat(args: argparse.Namespace, model: Any, tokenizer: Any) -> int:
    """Print the model's loss on the assistant's turns; and of its own answers, how they agree with the right ones."""
    from numpylm.tasks.chat import encoded, score_rows
    from numpylm.tasks.chat_answers import turns_of, write_answers
    from numpylm.tasks.chat_figures import by_retrieval, general_figures, table
    from numpylm.text.conversation import read_conversations
    from numpylm.training.parallel import DataParallel

    refuse_text_options(args, "conversations")
    most = DEFAULT_ANSWERS if args.answers is None else args.answers
    if most < 0:
        raise ValueError(f"--answers must be at least 0, got {most}")
    conversations = read_conversations(args.data)
    block_size = min(args.block_size or model.config.block_size, model.config.block_size)
    workers = DataParallel(model)
    rows, kept = encoded(tokenizer, conversations, block_size, "judged")
    score = score_rows(workers, rows)
    turns = turns_of(kept)
    n_bytes = sum(len(turn.answer.encode()) for turn in turns)
    print(f"chats           {len(kept):,}, with {len(turns):,} answers: {score.count:,} tokens, {n_bytes:,} bytes")
    print_score(score, n_bytes)
    turns = turns[:most]
    if not turns:
        return 0
    longest = 2 * max(len(tokenizer.encode(turn.answer)) for turn in turns)
    answers = write_answers(workers, tokenizer, [history for history, _ in turns], longest)
    columns = {"model": general_figures(turns, answers)}
    if training := training_conversations(args.source, conversations):
        columns["retrieval"] = general_figures(turns, by_retrieval(training, turns))
    print(f"answers         to the first {len(turns):,} turns, at most {longest} tokens each:")
    print("\n".join(f"  {line}" for line in table(columns)))
    return 0


def print_score(score: "Score", n_bytes: int) -> None:
    """Print a model's score on a text of so many bytes."""
    print(f"loss            {score.loss:.4f} nats per token")
    print(f"perplexity      {score.perplexity:,.3f}")
    print(f"bits per byte   {score.bits_per_byte(n_bytes):.4f}")
    print(f"accuracy        {score.accuracy:.1%} of next tokens")


def training_conversations(source: str, judged: list[Any]) -> list[Any]:
    """The conversations that a run was trained on, without those held out; none, with a note, if they are not known."""
    from numpylm.tasks.chat import split_conversations
    from numpylm.training.run_state import resume_config, saved_setting

    if saved_setting(source, "task") != "chat":
        print("note: retrieval needs the training conversations, and this is not a run of --task chat", file=sys.stderr)
        return []
    folder = Path(source).parent if Path(source).is_file() else Path(source)
    try:
        training, _ = split_conversations(resume_config(folder, {}))
    except (OSError, ValueError) as error:
        print(f"note: there is no retrieval beside the model: {error}", file=sys.stderr)
        return []
    if seen := len(set(judged) & set(training)):
        print(f"note: {seen:,} of these {len(judged):,} conversations were trained on", file=sys.stderr)
    return training
