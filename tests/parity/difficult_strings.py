"""Difficult strings for comparing tokenizers: mixtures of alphabets, marks, spaces, control characters and phrases."""

import random

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabc",
    "0123456789.,-+½²Ⅷ٣४",
    "éàüñçøåÅÉÖșțğŁđþÆœßẞÿǅǆΐ",
    "eaouEAOU\u0301\u0300\u0308\u0327\u0323\u0345\u034f\u20dd\u0360",  # combining marks, in any order
    "İıIiŞĞ",  # Turkish
    "ΑΣΟΔΥΣΣασςόώΐάς ",  # Greek, with final sigmas
    "ﬁﬂﬃﬀﬅﬆĳŉǆ㎏㏑№℡Ωﬓﷺ",  # ligatures
    "天地玄黃宇宙洪荒日月㐀㚇\U00020000\U0002a6d6\U0002b740\U0002b820\U0002f800豈更",
    "かなカナガガプﾊﾟー々〇、。「」",
    "한국어각각ㄱㅏ",
    "ภาษาไทยน้ำกี่",
    "العربيةُمَرْحَبًاﷲ٠١٢",
    "नमस्तेक़क्षিোதமிழ்",
    "שָׁלוֹםשׁיִ",
    "👩\u200d👧🏽🏳️\u200d🌈🇨🇭🙂©™",
    "\x00\x01\x08\x0b\x0c\x1b\x1c\x1f\x7f\x85\x9f\xad\u200b\u200e\u2060\ufeff\ufffd\ufffc\ue000\U000e0041",
    " \t\n\r\xa0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "¡§«»·¿—–‘’“”…‼⁇′\u037e\u0387\u1fef､｡，！？",
    "\u08d4\u08e3\u1734\u1715\u302e\u302f\U0001d165\U0001e8d0\U00011938\U00010f46\U0001e130\U00016ff0\u166d\u2e43\u05c8",
    "ꟋꟌᲉ\U00010d50\U00016ea0\U00010400\U000118a0\u0378\U0001fffe\U0003ffff",
]
PHRASES = [
    *("[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "[sep]", "[ SEP ]", "[SEP", "</s>", "<unk>", "<pad>"),
    *(">>fr<<", ">>xx<<", ">>", "<<", "##ing", "##", "▁", "....", "?!?!", "---", "don't", "we've been", "U.S.A."),
    *("https://example.org/a_b?c=d&e=%20#f", "me@example.com", "1,234.56", "iPhone", "naïve café", "straße STRASSE"),
    *("ὈΔΥΣΣΕΎΣ", "Antidisestablishmentarianism", "x" * 100, "y" * 101, "the", "The cat", " ", "  ", "\r\n"),
]


def difficult_strings(count: int, seed: int = 0) -> list[str]:
    """Strings of one to twelve parts. A part is a few characters of one alphabet, a phrase, or any characters."""
    rng = random.Random(seed)

    def part() -> str:
        kind = rng.random()
        if kind < 0.25:
            return rng.choice(PHRASES)
        if kind < 0.3:
            return "".join(chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))) for _ in range(4))
        return "".join(rng.choices(rng.choice(ALPHABETS), k=rng.randint(1, 8)))

    def whole() -> str:
        return rng.choice(("", "", " ")).join(part() for _ in range(rng.randint(1, 12)))

    return [whole() for _ in range(count)]
