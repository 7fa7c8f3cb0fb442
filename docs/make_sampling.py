"""Make docs/sampling.md, with the numbers of one real model: ``python docs/make_sampling.py > docs/sampling.md``."""

import sys
from pathlib import Path

import numpy as np

from numpylm.files.checkpoint import load_model
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

Made by `python docs/make_sampling.py > docs/sampling.md`; a test holds this page against the code.

The model in `data/storyteller` reads

> {prompt}

(after the end-of-text token, with which its documents begin) and gives each of its {size:,} tokens a probability of
being the next. In per cent, as it is and with one option at a time (`·` is exactly 0: the token cannot come; the space
belongs to the token):

{table}

- **temperature** divides all logits: below 1 the likely become likelier, above 1 the unlikely do (here the tail of
  {others} tokens grows from {tail:.1%} to {hot:.1%}). **0** takes the likeliest and leaves nothing to chance (greedy).
- **top-k** keeps the k likeliest, whether the model is sure or not.
- **top-p** keeps the fewest likeliest tokens that together reach p: here {in_top_p}, which have {top_p_mass:.1%}.
- **min-p** keeps what is at least p times as likely as the likeliest: here {in_min_p}, at least {floor:.1%} each.
- **repetition penalty** r divides a positive logit by r and multiplies a negative one, for every token that was there
  before, in the prompt too.{seen}
  How hard it hits depends on how large the logits happen to be, so small steps are wise.

What is kept is scaled up to 100% again.

## Order

If several are given, they act in this order: repetition penalty, temperature, top-k, top-p, min-p. So top-p and min-p
look at the distribution that temperature has made: a high temperature lets more tokens in. Top-k keeps the same ones
at any temperature above 0.

## When to use which

- Begin with none of them: temperature 1 is the distribution that the model was trained to give, and the texts are as
  varied as what it read.
- Nonsense now and then? Cut off the tail: `--top-p 0.9` or `--min-p 0.05`; one of the two is enough. Both keep many
  tokens where the model is unsure and few where it is certain; top-k cannot tell the difference.
- Too wild altogether, or one good answer is wanted: `--temperature 0.7`. To get the same text each time: `--temperature
  0`, or a `--seed`.
- It goes round in circles? Raise the temperature first; then `--repetition-penalty 1.1`. It falls on all words that
  come back for good reasons, too: names, "the", the full stop. 1.3 is a lot, as the table shows.

`numpylm generate --help` lists the flags; in Python they are arguments of `gpt.generate`. The options are defined in
[generation.py](../numpylm/inference/generation.py), and lesson 10 builds them one by one.

## Beyond the window

A model reads `block_size` tokens at most. Of a longer prompt it reads the end. When a text outgrows the window, its
newest half is kept, moves to the window's beginning and is read again; so from then on each token is written with at
least half a window before it.
"""


def main() -> None:
    """Print the page."""
    sys.stdout.reconfigure(encoding="utf-8")
    print(page(), end="")


def page() -> str:
    """The page as it should be."""
    gpt, tokenizer, own = load_model(MODEL)
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
    """A line for each token and one for all others; a column for each option."""
    lines = [["next token", *p], ["---", *("---:" for _ in p)]]
    lines += [[name, *(percent(column[i]) for column in p.values())] for i, name in names.items()]
    rest = [column.sum() - column[list(names)].sum() for column in p.values()]
    lines.append(["all others", *map(percent, rest)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(p: float) -> str:
    """With one digit after the point; exactly 0 as a dot."""
    return "·" if p < 1e-12 else f"{100 * p:.1f}"


def seen_before(names: dict[int, str], ids: list[int], logits: Array, p: dict[str, Array]) -> str:
    """What the repetition penalty does to the tokens of the table that were in the prompt."""
    sentences = [
        f" {name} was: its logit {logits[i]:.2f} becomes {logits[i] / 1.3:.2f}, and its "
        f"probability falls by a factor of {p['as it is'][i] / p['repetition penalty 1.3'][i]:.0f}."
        for i, name in names.items()
        if i in ids
    ]
    return "".join(sentences)


if __name__ == "__main__":
    main()
