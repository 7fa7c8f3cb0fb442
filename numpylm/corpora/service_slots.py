"""Slots of the customer-service conversations: order numbers, names, amounts, ... drawn for training or held out.

A held-out value never occurs in a training draw. Numbers are held out if the sum of their digits is a multiple of 5,
days of a month, too. Names of people, cities and streets are made of two parts, as Ashford is; such a word
is held out if the codes of its letters have such a sum. So digits and parts occur at all places in both, but a model
cannot know a held-out word: it has to read it. A product is two words, which are held out together.
"""

from collections.abc import Sequence

import numpy as np

Parts = tuple[Sequence[str], Sequence[str]]  # the beginnings of words, and their ends

_FIRST = """
    Al Ber Car Dor Ed El Em Gwen Har Her Is Jul Lor Mar Mel Nor Os Ray Rob Ros Sol Ver Wil Win
    + win bert mund fred ric ard lyn anna ella ina etta isa ona inda aline dora
"""
_PLACES = """
    Ash Brad Clif Dun Fair Glen Hart Hazel Ken King Lang Mid Mill North Oak Pem Red Rock Shel Stan Stock Sut Thorn Wal
    Water West Whit Wood
"""
_LAST = _PLACES + "+ ford ton well ley wick worth man son ham low er ster"
_CITIES = _PLACES + "+ ville port burg mouth haven dale bury stead minster sea pool view"
_STREETS = _PLACES + "+ brook hill gate crest land side bridge mere moor lake park stone"
_PRODUCTS = """
    brass canvas ceramic copper cotton garden glass heavy kitchen leather light linen long marble metal modern narrow
    paper plain plastic round simple slim small steel striped travel white wide wooden wool
    + backpack bag basket bench blanket bottle bowl box cabinet candle chair clock curtain desk frame jacket jar jug
    kettle ladder lamp mirror mug pan pillow plate rug scarf shelf tent towel tray vase
"""


def _parts(text: str) -> Parts:
    first, second = text.split("+")
    return first.split(), second.split()


FIRST_NAMES, LAST_NAMES, CITIES, STREETS, PRODUCTS = map(_parts, (_FIRST, _LAST, _CITIES, _STREETS, _PRODUCTS))
CODES = ("SAVE", "SPRING", "SUMMER", "FALL", "WINTER", "HOLIDAY")
STREET_KINDS = ("Street", "Road", "Avenue", "Drive", "Lane")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NAME = r"[A-Z][a-z]+ [A-Z][a-z]+"
_CITY = r"[A-Z][a-z]+(?: [A-Z][a-z]+)?"
_DATE = rf"(?:{'|'.join(MONTHS)}) \d\d?(?:st|nd|rd|th)?"
_AMOUNT = r"\$\d[\d,]*(?:\.\d\d)?"

PATTERNS = {  # regular expressions; a customer may write any value, not only those that we draw
    "order": r"#?\d{6}",
    "card": r"\d{4}",
    "phone": r"\d{3}-\d{3}-\d{4}",
    "amount": _AMOUNT,
    "limit": _AMOUNT,  # what a card may spend in a day
    "gift": _AMOUNT,  # what a gift card is worth
    "date": _DATE,
    "day": _DATE,  # in the future; "date" is in the past
    "name": _NAME,
    "street": rf"\d+ [A-Z][a-z]+ (?:{'|'.join(STREET_KINDS)})",
    "city": _CITY,  # where a store is
    "place": _CITY,  # where something is sent
    "trip": _CITY,  # where a customer travels
    "product": r"[a-z]+(?: [a-z]+)?",
    "code": r"[A-Z]+\d+",
}


def draw(slot: str, rng: np.random.Generator, held_out: bool = False) -> str:
    """A random value of a slot, as a customer writes it."""
    match slot:
        case "name":
            return f"{_joined(FIRST_NAMES, rng, held_out)} {_joined(LAST_NAMES, rng, held_out)}"
        case "city" | "place" | "trip":
            return _joined(CITIES, rng, held_out)
        case "product":
            return _joined(PRODUCTS, rng, held_out, " ")
        case "code":
            return f"{CODES[int(rng.integers(len(CODES)))]}{_number(1000, 10_000, rng, held_out)}"
        case "order":
            return ("#" if rng.random() < 0.5 else "") + str(_number(100_000, 1_000_000, rng, held_out))
        case "card":
            return f"{_number(0, 10_000, rng, held_out):04d}"
        case "phone":
            digits = f"{_number(200_555_0100, 1_000_555_0100, rng, held_out)}"
            return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"
        case "amount":
            number = _number(500, 50_000, rng, held_out)
            return f"${number // 100}.{number % 100:02d}"
        case "gift":
            return f"${_number(10, 300, rng, held_out)}"
        case "limit":
            return f"${_number(5, 100, rng, held_out) * 100:,}"
        case "date" | "day":
            return _date(rng, held_out)
        case "street":
            kind = STREET_KINDS[int(rng.integers(len(STREET_KINDS)))]
            return f"{_number(10, 3_000, rng, held_out)} {_joined(STREETS, rng, held_out)} {kind}"
    raise ValueError(f"unknown slot: {slot!r}. The slots are {', '.join(PATTERNS)}.")


def _joined(parts: Parts, rng: np.random.Generator, held_out: bool, between: str = "") -> str:
    """A word of two parts on the right side of the rule."""
    while True:
        word = between.join(part[int(rng.integers(len(part)))] for part in parts)
        if is_held_out_word(word) == held_out:
            return word


def _number(low: int, high: int, rng: np.random.Generator, held_out: bool) -> int:
    """A number from low to high - 1 on the right side of the rule."""
    while True:
        number = int(rng.integers(low, high))
        if is_held_out(number) == held_out:
            return number


def is_held_out(number: int) -> bool:
    return sum(map(int, str(number))) % 5 == 0


def is_held_out_word(word: str) -> bool:
    return sum(map(ord, word)) % 5 == 0


def _date(rng: np.random.Generator, held_out: bool) -> str:
    month, day = int(rng.integers(12)), _number(1, 29, rng, held_out)
    ordinal = {1: "st", 2: "nd", 3: "rd"}.get(day if day < 20 else day % 10, "th")
    return f"{MONTHS[month]} {day}{ordinal if rng.random() < 0.5 else ''}"
