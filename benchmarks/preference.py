"""Preference tuning: own answers before and after it, on prompts that neither training nor its evaluations have seen.

python benchmarks/preference.py BEFORE AFTER [--preference politeness]
python benchmarks/preference.py --chosen FILE    # write the bundled chosen answers, to train on them alone

BEFORE is the model that `numpylm train --task preference --init-from BEFORE --out AFTER` began with.
"""

import argparse
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpylm import load_model
from numpylm.corpora import SERVICE
from numpylm.corpora.service_preference import MEASURES, ServicePair, is_right, service_pairs
from numpylm.inference.generation import generate_batch
from numpylm.inference.scoring import score
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.tasks.preference import BUNDLED_PAIRS, win_rate
from numpylm.text.chat_template import chat_end_ids, chat_ids
from numpylm.text.conversation import as_conversation
from numpylm.training.config import TrainConfig

FIRST = 2_000_000  # the number of the first conversation; training takes its pairs from number 1,000,000 on
COUNT = 300  # conversations
LONGEST = 60  # tokens of an answer
AT_ONCE = 50


def answers(model: Any, prompts: Sequence[list[int]], temperature: float) -> list[list[int]]:
    """The ids of the model's answers, with their ends."""
    stop, rng = chat_end_ids(model.tokenizer), np.random.default_rng(0)
    found = []
    for i in range(0, len(prompts), AT_ONCE):
        some = prompts[i : i + AT_ONCE]
        found += generate_batch(model, some, LONGEST, rng=rng, stop_ids=stop, temperature=temperature)
    return found


def log_p(model: Any, prompt: list[int], answer: list[int]) -> float:
    """log P(answer | prompt) in nats."""
    ids = np.array(prompt + answer)
    targets = np.where(np.arange(1, len(ids)) < len(prompt), IGNORE_INDEX, ids[1:])
    return float(score(model, ids[None, :-1], targets[None])[0].sum())


def kl(model: Any, reference: Any, prompts: Sequence[list[int]]) -> tuple[float, float]:
    """KL(model‖reference) of whole answers, in nats per answer and per token: a mean over sampled answers."""
    sampled = answers(model, prompts, temperature=1)
    ratios = [log_p(model, p, a) - log_p(reference, p, a) for p, a in zip(prompts, sampled, strict=True)]
    return float(np.mean(ratios)), sum(ratios) / sum(map(len, sampled))


def texts(model: Any, found: Sequence[list[int]]) -> list[str]:
    """Answers as texts, without their ends."""
    stop = chat_end_ids(model.tokenizer)
    return [model.tokenizer.decode([i for i in ids if i not in stop]).strip() for ids in found]


def row(name: str, model: Any, reference: Any, pairs: Sequence[ServicePair], preference: str) -> str:
    """A row of the table for docs/results.md."""
    prompts = [chat_ids(model.tokenizer, as_conversation(pair.history)) for pair in pairs]
    own = texts(model, answers(model, prompts, temperature=0))
    right = np.array([is_right(SERVICE, pair.history, text) for pair, text in zip(pairs, own, strict=True)])
    kinds = np.mean([SERVICE.kind_of_answer(t) == SERVICE.kind(p.history) for p, t in zip(pairs, own, strict=True)])
    wins = win_rate(MEASURES[preference], own, [pair.usual for pair in pairs])
    words = np.mean([len(text.split()) for text in own])
    whole, token = kl(model, reference, prompts)
    return (
        f"| {name} | {wins:.1%} | {np.mean([MEASURES[preference](text) for text in own]):.2f} | {kinds:.1%} | "
        f"{right.mean():.1%} | {words:.1f} | {whole:.2f} | {token:.3f} |"
    )


def write_chosen(path: Path, preference: str) -> None:
    """The conversations of the bundled pairs that end with the chosen answers, for ``--task chat --data``."""
    lines = []
    for pair in service_pairs(SERVICE, preference, BUNDLED_PAIRS, TrainConfig.seed):
        turns = (*pair.history, ("assistant", pair.chosen))
        lines.append(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Print the table for a model before and after preference tuning."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="the model before, and models after")
    parser.add_argument("--chosen", help="write the conversations with chosen answers to this file, and end")
    parser.add_argument("--preference", choices=sorted(MEASURES), default="politeness")
    args = parser.parse_args()
    if args.chosen:
        write_chosen(Path(args.chosen), args.preference)
        return
    pairs = service_pairs(SERVICE, args.preference, COUNT, seed=0, first=FIRST)
    top = win_rate(MEASURES[args.preference], [p.chosen for p in pairs], [p.usual for p in pairs])
    print(f"{len(pairs)} prompts; chosen answers win {top:.1%} against the service's own")
    print(f"| model | wins | {args.preference} | right kind | and slots | words | KL per answer | KL per token |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    before = load_model(args.models[0])
    for name in args.models:
        print(row(name, load_model(name), before, pairs, args.preference), flush=True)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s of processor time")


if __name__ == "__main__":
    main()
