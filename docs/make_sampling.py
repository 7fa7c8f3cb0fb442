"""Make docs/sampling.md, with the numbers of one real model: ``python docs/make_sampling.py > docs/sampling.md``."""

import sys
from pathlib import Path

import numpy as np

from numpylm.files.load_model import load_language_model
from numpylm.inference.generate_text import prompt_ids
from numpylm.inference.sampling import next_token_probabilities
from numpylm.nn.module import Array

MODEL = Path(__file__).parents[1] / "data" / "storyteller"
PROMPT = "Once upon a time, a clever squirrel called Poppy lived in a hollow oak."
SHOWN = 8  # tokens with a line of their own

COLUMNS = {
    "as it is": {},
    "temperature 0.7": {"temperature": 0.7},
    "temperature 1.5": {"temperature": 1.5},
    "temperature 0": {"temperature": 0},
    "top-k 3": {"top_k": 3},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.1": {"min_p": 0.1},
    "repetition penalty 1.3": {"repetition_penalty": 1.3},
}

PAGE = """# What the options of sampling do

Made by `python docs/make_sampling.py > docs/sampling.md`. A test compares this page with the code.

The model in `data/storyteller` reads

> {prompt}

after the end-of-text token, with which its documents begin. It gives each of its {size:,} tokens a probability of
being the next token. The table shows these probabilities in percent, without any option and with one option at a
time. A `·` is exactly 0, so the token cannot be drawn. The space belongs to the token.

{table}

- **temperature** divides all logits. Below 1, likely tokens become more likely. Above 1, unlikely tokens do (here the
  probability of the tail of {others} tokens grows from {tail:.1%} to {hot:.1%}). **0** always takes the most likely
  token (greedy decoding).
- **top-k** keeps the k most likely tokens, whether the model is certain or not.
- **top-p** keeps the smallest number of most likely tokens whose probabilities reach p: here {in_top_p}, with
  {top_p_mass:.1%}.
- **min-p** keeps the tokens that are at least p times as likely as the most likely one: here {in_min_p}, with at least
  {floor:.1%} each.
- **repetition penalty** r divides a positive logit by r, and multiplies a negative logit by r, for every token that has
  already occurred, including the prompt.
 {seen}
  The effect depends on the size of the logits, so use small values.

The probabilities of the tokens that are kept are scaled to 100% again.

## Order

If you give several options, they are applied in this order: repetition penalty, temperature, top-k, top-p, min-p. So
top-p and min-p use the distribution after temperature, and a high temperature lets more tokens in. Top-k keeps the same
tokens at every temperature above 0.

## When to use which

- Start without any option. Temperature 1 is the distribution that the model was trained to give, so the texts are as
  varied as the training text.
- If the model sometimes writes nonsense, cut off the tail with `--top-p 0.9` or `--min-p 0.05`. One of the two is
  enough. Both keep many tokens where the model is uncertain and few where it is certain. Top-k does not adapt in this
  way.
- If the text is too random, or if you want one good answer, use `--temperature 0.7`. To get the same text each time,
  use `--temperature 0` or a `--seed`.
- If the model repeats itself, first raise the temperature, and then try `--repetition-penalty 1.1`. The penalty also
  affects words that are repeated for good reasons: names, "the", the period. 1.3 is a strong penalty, as the table
  shows.

`numpylm generate --help` lists the flags; in Python they are arguments of `gpt.generate`. The options are defined in
[generation.py](../numpylm/inference/generation.py), and lesson 10 builds them one by one.

## Beyond the window

A model reads at most `block_size` tokens. If a prompt is longer, it reads the end of it. When a text becomes longer
than the window, the newest half is kept, moved to the beginning of the window, and read again. So from then on, each
token is written with at least half a window of context.
"""


def main() -> None:
    """Print the page."""
    sys.stdout.reconfigure(encoding="utf-8")
    print(page(), end="")


def page() -> str:
    """The text of the page."""
    gpt, tokenizer, own = load_language_model(MODEL)
    ids = prompt_ids(tokenizer, PROMPT, own)
    logits = gpt.read(np.array([ids]), gpt.new_past())[0]  # (V,)
    p = {name: next_token_probabilities(logits, previous=ids, **options) for name, options in COLUMNS.items()}
    plain = p["as it is"]
    top = np.argsort(-plain, kind="stable")[:SHOWN]
    names = {int(i): f"`{tokenizer.decode([i])!r}`" for i in top}
    return PAGE.format(
        prompt=PROMPT,
        size=len(plain),
        table=table(names, p),
        others=f"{len(plain) - SHOWN:,}",
        tail=1 - plain[top].sum(),
        hot=1 - p["temperature 1.5"][top].sum(),
        in_top_p=np.count_nonzero(p["top-p 0.9"]),
        top_p_mass=plain[p["top-p 0.9"] > 0].sum(),
        in_min_p=np.count_nonzero(p["min-p 0.1"]),
        floor=0.1 * plain.max(),
        seen=seen_before(names, ids, logits, p),
    )


def table(names: dict[int, str], p: dict[str, Array]) -> str:
    """The table: a row for each token and one for all others, and a column for each option."""
    lines = [["next token", *p], ["---", *("---:" for _ in p)]]
    lines += [[name, *(percent(column[i]) for column in p.values())] for i, name in names.items()]
    rest = [column.sum() - column[list(names)].sum() for column in p.values()]
    lines.append(["all others", *map(percent, rest)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(p: float) -> str:
    """A percentage with one decimal; exactly 0 as a dot."""
    return "·" if p < 1e-12 else f"{100 * p:.1f}"


def seen_before(names: dict[int, str], ids: list[int], logits: Array, p: dict[str, Array]) -> str:
    """The effect of the repetition penalty on the tokens in the table that were in the prompt."""
    sentences = [
        f" {name} has: its logit {logits[i]:.2f} becomes {logits[i] / 1.3:.2f}, and its "
        f"probability falls by a factor of {p['as it is'][i] / p['repetition penalty 1.3'][i]:.0f}."
        for i, name in names.items()
        if i in ids
    ]
    return "".join(sentences)


if __name__ == "__main__":
    main()
