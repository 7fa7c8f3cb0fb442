"""Sentence templates: slots for words that a teller picks from tables, and alternatives in brackets.

A slot is written in one of these ways:

    {thing:tools}           pick a word from the table "tools", remember it as "thing", and write it
    {thing.plural:tools}    the same, but write its plural: any attribute of the word
    {thing}  {thing.plural} write a word that was picked before

"[a|b] c" stands for the two texts "a c" and "b c". Brackets may be nested.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpylm.corpora.known_entropy import Teller

SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?(?::(\w+))?\}")
BRACKETS = re.compile(r"\[([^\[\]]*)\]")  # an innermost pair
MARKS = re.compile(SLOT.pattern + r"|[\[\]|]")

Tables = Mapping[str, Sequence[Any]]
Words = dict[str, Any]


def beginning(template: str) -> str:
    """The text before the first slot."""
    return template.partition("{")[0]


def tell_slots(t: Teller, template: str, tables: Tables, words: Words, style: Callable[[str], str] = str) -> None:
    """Write a template from its first slot on.

    The picked words are added to ``words``. No word is picked twice. A word is written together with the text up to the
    next slot, so a table may have both "cat" and "cattle": "cat " is not the beginning of "cattle ".
    """
    slots = list(SLOT.finditer(template))
    ends = [slot.start() for slot in slots[1:]] + [len(template)]
    for slot, end in zip(slots, ends, strict=False):
        _tell_slot(t, slot, template[slot.end() : end], tables, words, style)


def _tell_slot(
    t: Teller, slot: re.Match[str], after: str, tables: Tables, words: Words, style: Callable[[str], str]
) -> None:
    name, form, table = slot.groups()

    def phrase(word: Any) -> str:
        return style(fill(_written(word, form or "en") + after, words))

    if table is None:
        t.say(phrase(words[name]))
    else:
        words[name] = t.choose([word for word in tables[table] if word not in words.values()], phrase)


def fill(template: str, words: Words, form: str = "en") -> str:
    """Fill slots with words that were picked before; ``form`` is the attribute written where a slot names none."""
    while slot := SLOT.search(template):
        name, own_form, _ = slot.groups()
        template = template[: slot.start()] + _written(words[name], own_form or form) + template[slot.end() :]
    return template


def _written(word: Any, form: str) -> str:
    return word if isinstance(word, str) else getattr(word, form)


def expand(text: str) -> list[str]:
    """All different texts that a text with alternatives stands for."""
    brackets = BRACKETS.search(text)
    if brackets is None:
        return [text]
    before, after = text[: brackets.start()], text[brackets.end() :]
    texts = [done for option in brackets[1].split("|") for done in expand(before + option + after)]
    return list(dict.fromkeys(texts))


def pattern(template: str, slots: Callable[[str], str]) -> str:
    """A regular expression for all texts of a template; ``slots`` gives the expression for a slot by its name."""
    found, end = "", 0
    for mark in MARKS.finditer(template):
        found += re.escape(template[end : mark.start()])
        name, bracket = mark[1], mark[0]
        found += slots(name) if name else {"[": "(?:", "]": ")", "|": "|"}[bracket]
        end = mark.end()
    return found + re.escape(template[end:])
