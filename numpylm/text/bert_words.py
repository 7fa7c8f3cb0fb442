"""BertWords: how BERT cleans a text and splits it into words, before each word is cut into pieces of the vocabulary."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import regex

from numpylm.text.normalize import characters, normalized

BLOCK = 1 << 20  # characters that are split at a time, so that long texts need little memory


# Control characters (categories Cc, Cf and Co; tab and line ends are white space), and U+FFFD.
DROPPED = characters(
    "0-8 B-C E-1F 7F-9F AD 600-605 61C 6DD 70F 180E 200B-200F 202A-202E 2060-2064 2066-206F E000-F8FF FEFF FFF9-FFFB "
    "FFFD 110BD 1BCA0-1BCA3 1D173-1D17A E0001 E0020-E007F F0000-FFFFD 100000-10FFFD"
)
WHITE = characters("9-A D 20 A0 1680 2000-200A 2028-2029 202F 205F 3000")
CHINESE = characters("3400-4DBF 4E00-9FFF F900-FAFF 20000-2A6DF 2A700-2B81F 2B920-2CEAF 2F800-2FA1F")
ASCII_PUNCTUATION = characters("21-2F 3A-40 5B-60 7B-7E")  # BERT counts $+<=>^`|~, which are symbols in Unicode

# All marks (Mn) and punctuation (P*) that came after Unicode 8 lie in these ranges, and no older ones do.
AFTER_UNICODE_8 = characters(
    "5C8-5C9 61D 7FD 897-8E1 9FD-9FE A76 AFA-AFF B53-B55 C04-C3C C77 C84 D00 D3B-D3C D81 EBA ECE 180F-1886 1ABF-1AF0 "
    "1B4E-1B4F 1B7D-1B7F 1DF6-1DFB 2E43-2E63 A82C A8C5 A8FF A9BD 10D24-10F89 11070-11074 110C2 111C9 111CF 1123E-11241 "
    "1133B 113BB-1145E 11660-1166C 116B9 1182F-11FFF 12FF1-1612F 16D6D-16F4F 16FE2-16FE4 1CF00-1D128 1D25B-1D25C "
    "1E000-1E6F5 1E944-1E95F"
)
# Four old characters have another category today than in Unicode 8: U+166D, U+111C9, U+1734 and U+1171E.
PUNCTUATION = rf"[[[\p{{P}}{ASCII_PUNCTUATION}]--[{AFTER_UNICODE_8}]]\u166D\U000111C9]"
ACCENTS = rf"[[\p{{Mn}}--[{AFTER_UNICODE_8}]]\u1734\U0001171E]+"

drop = re.compile(f"[{DROPPED}]+").sub
replace_white = re.compile(f"[{WHITE}]").sub
replace_chinese = re.compile(f"[{CHINESE}]").sub
drop_accents = regex.compile(f"(?V1){ACCENTS}").sub
find_words = regex.compile(f"(?V1){PUNCTUATION}|[^ {PUNCTUATION}]+").findall
find_white = re.compile("[ \t\n\r]").search

# Rust lower-cases these capitals of Unicode 16 and 17, too. And each Σ becomes σ; Python writes ς at the end of a word.
LOWER_FIRST = (
    str.maketrans(
        "Σ\u1c89\ua7cb\ua7cc\ua7ce\ua7d2\ua7d4\ua7da\ua7dc", "σ\u1c8a\u0264\ua7cd\ua7cf\ua7d3\ua7d5\ua7db\u019b"
    )
    | {capital: capital + 0x20 for capital in range(0x10D50, 0x10D66)}
    | {capital: capital + 0x1B for capital in range(0x16EA0, 0x16EB9)}
)


class BertWords(NamedTuple):
    """BERT's rules for words (Devlin et al. 2018, arXiv:1810.04805), with the names of ``tokenizer_config.json``.

    They are what the Rust package ``tokenizers`` 0.23 does, which transformers uses, for every character and with any
    version of Python. BERT's authors wrote Python, so there are differences, all in rare characters:

    - Accents and punctuation are those of Unicode 8 (2015), and NFD is that of Unicode 9. A later mark is kept, and a
      later punctuation character is a letter. Lower case is that of Unicode 17.
    - Private-use characters are dropped, and unassigned ones are kept.
    - U+2B820 to U+2B91F are not Chinese.

    Attributes
    ----------
    do_lower_case : bool
    strip_accents : bool, optional
        Decompose characters (NFD), and drop non-spacing marks (category Mn). None means: if ``do_lower_case``.
    tokenize_chinese_chars : bool
        Each Chinese character is a word. Kana and Hangul are treated like other letters.
    """

    do_lower_case: bool = True
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool = True

    def normalize(self, text: str) -> str:
        """The text without control characters and accents, in lower case, with spaces around Chinese characters.

        Examples
        --------
        >>> BertWords().normalize("Ünïcode\\t漢字")
        'unicode  漢  字 '
        """
        text = replace_white(" ", drop("", text))
        if self.tokenize_chinese_chars:
            text = replace_chinese(r" \g<0> ", text)
        if self.do_lower_case if self.strip_accents is None else self.strip_accents:
            text = drop_accents("", normalized("NFD", text))
        return text.translate(LOWER_FIRST).lower() if self.do_lower_case else text

    def split(self, text: str) -> list[str]:
        """The words of a text, normalized. Each punctuation character is a word.

        Examples
        --------
        >>> BertWords().split("Don't stop!")
        ['don', "'", 't', 'stop', '!']
        """
        return find_words(self.normalize(text))

    def chunks(self, text: str) -> Iterator[list[str]]:
        """Cut a long text into chunks that can be split one by one: their words, in order, are those of the text.

        A chunk is an ASCII punctuation character, a Chinese character, or what stands between these and white space.
        They come in lists, one for about each million characters.
        """
        alone = ASCII_PUNCTUATION + (CHINESE if self.tokenize_chinese_chars else "")
        find = re.compile(f"[{alone}]|[^{alone}{WHITE}]+").findall
        start = 0
        while len(text) - start > BLOCK and (white := find_white(text, start + BLOCK)):
            yield find(text, start, white.start())
            start = white.end()
        yield find(text, start)


# The English contractions and punctuation before which transformers' decode drops a space, in its order.
SPACES_TO_DROP = [
    *((f" {sign}", sign) for sign in ".?!,"),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
]


def drop_spaces(text: str) -> str:
    """Drop the spaces before . ? ! and , and in English contractions, as transformers' clean_up_tokenization does."""
    for spaced, joined in SPACES_TO_DROP:
        text = text.replace(spaced, joined)
    return text
