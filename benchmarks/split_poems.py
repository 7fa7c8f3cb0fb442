"""Split the Tang quatrains of chinese-poetry into training and test poems, by a hash of each title.

Quatrains whose title has a SHA-1 with first byte 1 modulo 10 go to test.tsv. No title and no line of a test poem stands
in the training files. There are three: quatrains.tsv; poems.tsv with all regular poems; and pieces.tsv with these poems
cut into pieces of four lines.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import regex

from numpylm.text.poem import Poem, read_poems

HAN = regex.compile(r"\p{Han}+")
LENGTHS = (5, 7)  # characters of a line of regular verse


def regular(poem: Poem) -> bool:
    """Whether all lines have five characters, or all have seven."""
    return len(set(map(len, poem.lines))) == 1 and len(poem.lines[0]) in LENGTHS and all(map(HAN.fullmatch, poem.lines))


def split(poems: Sequence[Poem]) -> dict[str, list[Poem]]:
    """The poems of each file."""
    poems = [poem for poem in poems if regular(poem)]
    held = {poem.theme for poem in poems if hashlib.sha1(poem.theme.encode()).digest()[0] % 10 == 1}
    quatrains = list({poem.lines: poem for poem in poems if len(poem.lines) == 4}.values())
    test = [poem for poem in quatrains if poem.theme in held]
    seen = {line for poem in test for line in poem.lines}
    kept = [poem for poem in poems if poem.theme not in held and not seen & set(poem.lines)]
    pieces = [Poem(poem.theme, poem.lines[n : n + 4]) for poem in kept for n in range(0, len(poem.lines) - 3, 4)]
    return {
        "pieces": list({piece.lines: piece for piece in pieces}.values()),
        "poems": list({poem.lines: poem for poem in kept}.values()),
        "quatrains": list({poem.lines: poem for poem in kept if len(poem.lines) == 4}.values()),
        "test": test,
    }


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, poems in split(read_poems(list(map(str, sorted(source.glob("*.json")))))).items():
        lines = [f"{poem.theme}\t{' / '.join(poem.lines)}\n" for poem in poems]
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
        print(f"{folder / name}.tsv: {len(poems):,} poems")


if __name__ == "__main__":
    main()
