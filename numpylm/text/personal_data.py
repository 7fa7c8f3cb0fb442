"""Masking personal data: e-mail addresses, phone numbers, card numbers and bank accounts become marks such as <EMAIL>.

Regular expressions find candidates. Card numbers and bank accounts have check digits, so most other numbers of their
form are left alone. Phone numbers have none. A number counts as one if it is written as phone numbers are written (with
a + or a 0 in front, or in groups), or if a word such as "call" stands before it. Names and postal addresses are not
found: they need more than a form.
"""

from collections import Counter

import regex

FEWEST_PHONE_DIGITS, MOST_PHONE_DIGITS = 7, 15  # ITU-T E.164: at most 15 digits with the country code
KINDS = {"EMAIL": "e-mail", "IBAN": "IBAN", "CARD": "card", "PHONE": "phone"}

_EMAIL = regex.compile(
    r"(?<![\w.%+-])[\p{L}\p{N}_%+-]+(?:\.[\p{L}\p{N}_%+-]+)*+"  # the part before @ has no dot at its ends
    r"@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,}(?![\w@])"
)
_IBAN = regex.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_CARD = regex.compile(r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
_NOT_INSIDE, _NOT_BEFORE = r"(?<![\w.,:/+#-]|[$€£¥] ?)", r"(?![\w%]|[-.,:/]\d| ?[$€£¥])"
_GAP = r"[ .\-/\u00a0\u2011]?"
_PHONE = regex.compile(
    _NOT_INSIDE
    + "(?:"
    + "|".join(
        (
            rf"(?:\+|00)[1-9]\d{{0,2}}(?:{_GAP}\(0?\d*\))?(?:{_GAP}\d{{1,12}}){{2,6}}",  # +49 (0)30 123456, 0044 20 ...
            rf"(?:1{_GAP})?\([2-9]\d\d\) ?\d{{3}}[-. ]\d{{4}}",  # (555) 123-4567
            r"(?:1[-. ])?[2-9]\d\d([-. ])[2-9]\d\d\1\d{4}",  # 555-123-4567, with the same sign twice
            r"\(0\d{1,5}\)[ -]?\d{3,4}(?:[ -]?\d{2,4}){0,3}",  # (020) 7946 0958
            r"0\d{1,4}[ /-]\d{3,9}(?:[ -]\d{2,6}){0,3}",  # 030 123456, 020 7946 0958, 0171/1234567
            r"0\d(?:([ .])\d\d)(?:\2\d\d){3}",  # 01 23 45 67 89
            r"1[3-9]\d(?:[ -]?\d{4}){2}",  # 138 0013 8000, a mobile phone in China
            r"0\d{9,10}",  # 07911123456
        )
    )
    + ")"
    + _NOT_BEFORE
)
_BETWEEN = regex.compile("[ -]")
_AFTER_A_WORD = regex.compile(
    r"(?i)(?:\b(?:tel|telephone|phone|mobile|cell|fax|whatsapp|telefon|handy|call|text|dial|ring)|电话|手机)"
    r"(?: (?:me|us|him|her|them|no|number|is|at|on)|号码?|是|[.:：]| nr\.?)* ?"
    r"(?P<number>\+?\d(?:[ .\-/()]{0,2}\d){6,14})(?![\w%]|[-.,:/]\d)"
)


def mask_personal_data(text: str) -> tuple[str, Counter[str]]:
    """Replace personal data by ``<EMAIL>``, ``<IBAN>``, ``<CARD>`` and ``<PHONE>``.

    Returns
    -------
    text : str
    counts : Counter
        How many of each kind were masked, by the names ``"EMAIL"`` … of the marks.
    """
    counts: Counter[str] = Counter()

    def mask(kind: str, match: "regex.Match[str]", group: str | int = 0) -> str:
        begin, end = match.start(group) - match.start(), match.end(group) - match.start()
        end = begin + valid_beginning(kind, match[0][begin:end])
        if begin == end:
            return match[0]
        counts[kind] += 1
        return f"{match[0][:begin]}<{kind}>{match[0][end:]}"

    # Accounts and cards before phones: parts of their numbers look like phone numbers.
    for kind, pattern in (("EMAIL", _EMAIL), ("IBAN", _IBAN), ("CARD", _CARD), ("PHONE", _PHONE)):
        text = pattern.sub(lambda match, kind=kind: mask(kind, match), text)
    text = _AFTER_A_WORD.sub(lambda match: mask("PHONE", match, "number"), text)
    return text, counts


def valid_beginning(kind: str, found: str) -> int:
    """The length of the longest beginning of a candidate that passes its check, cut only at spaces and hyphens; or 0.

    The candidate can be too long: an account may have a code behind it, and a card number its date.
    """
    ends = [len(found), *(gap.start() for gap in reversed(list(_BETWEEN.finditer(found))))]
    return next((end for end in ends[: None if kind in ("IBAN", "CARD") else 1] if CHECKS[kind](found[:end])), 0)


def is_card_number(number: str) -> bool:
    """Whether the digits pass Luhn's check, and begin with a digit that is in use for cards (2 to 6).

    From the right, every second digit is doubled, and digits above 9 lose 9. The sum is a multiple of 10 (ISO/IEC
    7812-1, annex B). One mistyped digit breaks it, and of ten random numbers nine do not pass.
    """
    digits = [int(character) for character in number if character.isdecimal()]
    total = sum(digits[-1::-2]) + sum(2 * d - 9 * (d > 4) for d in digits[-2::-2])
    return 13 <= len(digits) <= 19 and digits[0] in (2, 3, 4, 5, 6) and total % 10 == 0 and len(set(digits)) > 1


def is_iban(number: str) -> bool:
    """Whether a bank account passes the check of ISO 13616: with the first four characters at the end and letters as
    10 … 35, the number is 1 modulo 97."""
    compact = number.replace(" ", "")
    return 15 <= len(compact) <= 34 and int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def is_phone_number(number: str) -> bool:
    """Whether it has as many digits as a phone number."""
    return FEWEST_PHONE_DIGITS <= sum(map(str.isdecimal, number)) <= MOST_PHONE_DIGITS


CHECKS = {"EMAIL": lambda number: True, "IBAN": is_iban, "CARD": is_card_number, "PHONE": is_phone_number}
