"""The parts of the bundled functions: which items count, and what is done with them, in words and in Python"""

from typing import NamedTuple


class Filter(NamedTuple):
    """Which items count."""

    name: str
    words: str  # "even numbers"; {n} and {c} are a number and a letter, drawn for each function
    condition: str  # the same in Python


class Operation(NamedTuple):
    """What is done with the items that count: ways to say it, and the body of the function.

    {f} are the words of the filter, {if} is its condition, {x} an item and {xs} the argument.
    """

    name: str
    words: tuple[str, ...]
    body: str


class Kind(NamedTuple):
    """A kind of argument: its name and an item's name, what it is called, and its filters and operations."""

    argument: str
    item: str
    words: tuple[str, ...]
    filters: tuple[Filter, ...]
    operations: tuple[Operation, ...]


NAMES = "answer compute convert evaluate find get helper process result run_it solve task transform work"
OPENINGS = (
    "Return {op} {of}.",
    "Find {op} {of}.",
    "Given {a}, return {op}.",
    "Write a function that returns {op} {of}.",
)

SHARED = (  # for each kind
    Operation(
        "count",
        ("the number of {f}", "how many {f} there are", "the count of {f}"),
        "return sum(1 for {x} in {xs} if {if})",
    ),
    Operation("any", ("whether there are any {f}", "True if there are {f}"), "return any({if} for {x} in {xs})"),
    Operation(
        "all",
        ("whether there are only {f}", "True if there is nothing but {f}"),
        "return all({if} for {x} in {xs})",
    ),
    Operation(
        "first",
        ("the first of the {f} or None", "the first of all {f}, None if there is none"),
        "return next(({x} for {x} in {xs} if {if}), None)",
    ),
    Operation(
        "last",
        ("the last of the {f} or None", "the last of all {f}, None if there is none"),
        "last = None\nfor {x} in {xs}:\n    if {if}:\n        last = {x}\nreturn last",
    ),
    Operation(
        "positions",
        ("the positions of the {f}", "a list of the indices of all {f}"),
        "return [i for i, {x} in enumerate({xs}) if {if}]",
    ),
)
LISTED = (  # for lists of numbers and of words
    Operation("list", ("a list of the {f}", "all {f}", "only the {f}"), "return [{x} for {x} in {xs} if {if}]"),
    Operation(
        "remove",
        ("everything except the {f}", "the list without the {f}"),
        "return [{x} for {x} in {xs} if not ({if})]",
    ),
    Operation("sorted", ("the {f} in ascending order", "the sorted {f}"), "return sorted({x} for {x} in {xs} if {if})"),
    Operation(
        "descending",
        ("the {f} in descending order", "the {f} sorted from last to first"),
        "return sorted(({x} for {x} in {xs} if {if}), reverse=True)",
    ),
    Operation(
        "distinct",
        ("each of the {f} once", "the {f} without repetitions"),
        "return list(dict.fromkeys({x} for {x} in {xs} if {if}))",
    ),
    Operation(
        "counts",
        ("a dictionary with the count of each of the {f}", "how often each of the {f} occurs"),
        "counts = {{}}\nfor {x} in {xs}:\n    if {if}:\n        counts[{x}] = counts.get({x}, 0) + 1\nreturn counts",
    ),
)
NUMBERS = Kind(
    "numbers",
    "x",
    ("a list of numbers", "some numbers", "a list"),
    (
        Filter("even", "even numbers", "x % 2 == 0"),
        Filter("odd", "odd numbers", "x % 2 == 1"),
        Filter("positive", "positive numbers", "x > 0"),
        Filter("negative", "negative numbers", "x < 0"),
        Filter("greater", "numbers greater than {n}", "x > {n}"),
        Filter("less", "numbers less than {n}", "x < {n}"),
        Filter("at least", "numbers of at least {n}", "x >= {n}"),
        Filter("divisible", "numbers divisible by {k}", "x % {k} == 0"),
        Filter("not divisible", "numbers not divisible by {k}", "x % {k} != 0"),
        Filter("other", "numbers other than {n}", "x != {n}"),
    ),
    (
        *SHARED,
        *LISTED,
        Operation("sum", ("the sum of the {f}", "the total of all {f}"), "return sum({x} for {x} in {xs} if {if})"),
        Operation(
            "largest",
            ("the largest of the {f} or None", "the maximum of the {f}, None if there is none"),
            "return max(({x} for {x} in {xs} if {if}), default=None)",
        ),
        Operation(
            "smallest",
            ("the smallest of the {f} or None", "the minimum of the {f}, None if there is none"),
            "return min(({x} for {x} in {xs} if {if}), default=None)",
        ),
        Operation(
            "squares",
            ("the squares of the {f}", "a list of the squared {f}"),
            "return [{x} * {x} for {x} in {xs} if {if}]",
        ),
        Operation(
            "sum of squares",
            ("the sum of the squares of the {f}", "the total of the squared {f}"),
            "return sum({x} * {x} for {x} in {xs} if {if})",
        ),
        Operation("doubles", ("twice each of the {f}", "the doubled {f}"), "return [2 * {x} for {x} in {xs} if {if}]"),
        Operation(
            "product",
            ("the product of the {f}", "all {f} multiplied together"),
            "product = 1\nfor {x} in {xs}:\n    if {if}:\n        product *= {x}\nreturn product",
        ),
        Operation(
            "mean",
            ("the mean of the {f} or None", "the average of the {f}, None if there is none"),
            "kept = [{x} for {x} in {xs} if {if}]\nreturn sum(kept) / len(kept) if kept else None",
        ),
        Operation(
            "zero",
            ("the list with 0 in place of the {f}", "the list with all {f} set to 0"),
            "return [0 if {if} else {x} for {x} in {xs}]",
        ),
    ),
)
WORDS = Kind(
    "words",
    "w",
    ("a list of words", "some words", "a list"),
    (
        Filter("longer", "words longer than {s} letters", "len(w) > {s}"),
        Filter("shorter", "words shorter than {s} letters", "len(w) < {s}"),
        Filter("length", "words of exactly {s} letters", "len(w) == {s}"),
        Filter("starts", "words that start with {c}", "w.startswith('{c}')"),
        Filter("ends", "words that end with {c}", "w.endswith('{c}')"),
        Filter("contains", "words that contain {c}", "'{c}' in w"),
        Filter("lacks", "words without the letter {c}", "'{c}' not in w"),
        Filter("capital", "capitalized words", "w[:1].isupper()"),
        Filter("palindrome", "palindromes", "w == w[::-1]"),
    ),
    (
        *SHARED,
        *LISTED,
        Operation(
            "lengths", ("the lengths of the {f}", "how long the {f} are"), "return [len({x}) for {x} in {xs} if {if}]"
        ),
        Operation(
            "total length",
            ("the total length of the {f}", "the sum of the lengths of the {f}"),
            "return sum(len({x}) for {x} in {xs} if {if})",
        ),
        Operation(
            "upper",
            ("the {f} in upper case", "a list of the {f} in capital letters"),
            "return [{x}.upper() for {x} in {xs} if {if}]",
        ),
        Operation(
            "reversed",
            ("the {f} spelled backwards", "each of the {f} reversed"),
            "return [{x}[::-1] for {x} in {xs} if {if}]",
        ),
        Operation(
            "longest",
            ("the longest of the {f} or None", "the longest of all {f}, None if there is none"),
            "return max(({x} for {x} in {xs} if {if}), key=len, default=None)",
        ),
        Operation(
            "joined",
            ("the {f} joined with spaces", "a text of the {f}, with spaces between them"),
            "return ' '.join({x} for {x} in {xs} if {if})",
        ),
        Operation(
            "initials",
            ("the first letters of the {f}", "the initials of the {f}"),
            "return [{x}[0] for {x} in {xs} if {if}]",
        ),
    ),
)
TEXT = Kind(
    "text",
    "c",
    ("a text", "a string"),
    (
        Filter("vowels", "vowels", "c in 'aeiou'"),
        Filter("digits", "digits", "c.isdigit()"),
        Filter("letters", "letters", "c.isalpha()"),
        Filter("upper", "capital letters", "c.isupper()"),
        Filter("lower", "small letters", "c.islower()"),
        Filter("spaces", "spaces", "c == ' '"),
        Filter("other", "characters other than {c}", "c != '{c}'"),
        Filter("after", "characters after {c} in the alphabet", "c > '{c}'"),
    ),
    (
        *SHARED,
        Operation("keep", ("a text of the {f}", "only the {f}"), "return ''.join({x} for {x} in {xs} if {if})"),
        Operation(
            "remove",
            ("the text without the {f}", "everything except the {f}"),
            "return ''.join({x} for {x} in {xs} if not ({if}))",
        ),
        Operation(
            "stars",
            ("the text with a star in place of the {f}", "the text with all {f} replaced by stars"),
            "return ''.join('*' if {if} else {x} for {x} in {xs})",
        ),
        Operation(
            "doubled",
            ("the text with the {f} doubled", "the text with all {f} written twice"),
            "return ''.join(2 * {x} if {if} else {x} for {x} in {xs})",
        ),
        Operation(
            "upper",
            ("the {f} in upper case", "a text of the {f}, all in upper case"),
            "return ''.join({x}.upper() for {x} in {xs} if {if})",
        ),
        Operation(
            "backwards",
            ("the {f} from the last to the first", "the {f} in reversed order"),
            "return ''.join({x} for {x} in reversed({xs}) if {if})",
        ),
        Operation(
            "share",
            ("the share of {f}", "how large the share of {f} is"),
            "return sum(1 for {x} in {xs} if {if}) / len({xs})",
        ),
        LISTED[-1],
    ),
)
KINDS = (NUMBERS, WORDS, TEXT)
SOME_WORDS = (
    "Anna apple Bob bread car Civic dark Emma eye fish Ghost green house ice Ivan jump kayak lamp level Mango "
    "noon ocean Otto paper queen radar river Sun stone table tiger Under violin water Xylophone yard zebra Zoo a "
    "at it on"
)
