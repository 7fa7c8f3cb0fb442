"""The tokenizers of BLEU, which split a sentence into words: "13a", "zh", "char" and "none", as in sacrebleu.

BLEU counts words, so a score depends on how words are separated from punctuation. Two scores can be compared only if
they were computed with the same tokenizer (Post 2018, arXiv:1804.08771). So these functions follow the reference to the
last detail, even where it could be improved.
"""

import re
from collections.abc import Callable

# The rules of NIST's script mteval-v13a.pl, which are applied one after another. A match takes the character beside the
# sign too, so that of two signs in a row the second is not always separated.
SEPARATE = [
    (re.compile(r"([!-&(-+:-@[-`{-~/])"), r" \1 "),  # ASCII punctuation except ' , - .
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # a period or comma, unless it follows a digit
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),  # a period or comma, unless a digit follows it: 1,000.50 stays whole
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),  # a hyphen after a digit
]
ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}  # in this order: &amp;lt; becomes <

# Each of these is a word of its own: Chinese characters and punctuation, full-width forms, radicals, strokes, symbols.
# sacrebleu means U+20000-2A6D6 (rare characters), but its comparison of strings finds U+2001-2A6D instead, in which are
# the quotation marks “ ” ‘ ’, the dash — and the ellipsis …
CHINESE = re.compile(
    "([\u2001-\u2a6d\u2e80-\u2eff\u2f00-\u2fdf\u2ff0-\u2fff\u3000-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef"
    "\u3200-\u33ff\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f"
    "\uff00-\uffef])"
)


def separated(text: str) -> list[str]:
    """The words of a text after the rules of mteval-v13a."""
    for pattern, replacement in SEPARATE:
        text = pattern.sub(replacement, text)
    return text.split()


def tokenize_13a(sentence: str) -> list[str]:
    """Words and punctuation, for languages that put spaces between words.

    Examples
    --------
    >>> tokenize_13a("It costs $1,000.50, doesn't it?")
    ['It', 'costs', '$', '1,000.50', ',', "doesn't", 'it', '?']
    """
    text = sentence.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in ENTITIES.items():
        text = text.replace(entity, character)
    return separated(f" {text} ")


def tokenize_zh(sentence: str) -> list[str]:
    """Chinese characters one by one, and other words as in `tokenize_13a`.

    HTML entities are not replaced, and a period after a digit at the very end is not separated.

    Examples
    --------
    >>> tokenize_zh("我有iPhone 6，你呢？")
    ['我', '有', 'iPhone', '6', '，', '你', '呢', '？']
    """
    return separated(CHINESE.sub(r" \1 ", sentence.strip()))


def tokenize_char(sentence: str) -> list[str]:
    """All characters except white space."""
    return [character for character in sentence if not character.isspace()]


def tokenize_none(sentence: str) -> list[str]:
    """What white space separates: for text that is already tokenized."""
    return sentence.split()


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "13a": tokenize_13a,
    "zh": tokenize_zh,
    "char": tokenize_char,
    "none": tokenize_none,
}
