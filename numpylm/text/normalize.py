"""Unicode normalization as in the Rust package ``tokenizers``, which transformers uses: that of Unicode 9"""

import re
import unicodedata
from typing import Literal


def characters(code_points: str) -> str:
    """Code points and ranges in hexadecimal, "41-5A 5F", as the inside of a regular expression's ``[...]``."""
    return "".join("-".join(f"\\U{int(end, 16):08x}" for end in one.split("-")) for one in code_points.split())


# The characters that came after Unicode 9 and that normalization decomposes, composes or sorts lie in these ranges.
AFTER_UNICODE_9 = characters(
    "5C8-5C9 7FD 897-8D3 9FE C3C D3B-D3C EBA 1715 1ABF-1AF0 1DF6-1DFA A82C 105C9-105E4 10D24-10F85 11070 1133B "
    "11383-113D0 1145E 11839-11A99 11D42-1612F 16D68-16FF1 1D127-1D128 1D250-1D281 1E08F-1E6F5"
)

replace_known = re.compile(f"[^{AFTER_UNICODE_9}]+").sub


def normalized(form: Literal["NFC", "NFD"], text: str) -> str:
    """A text in a normal form (Unicode Standard Annex 15). Characters that came after Unicode 9 stay as they are."""
    return replace_known(lambda known: unicodedata.normalize(form, known[0]), text)
