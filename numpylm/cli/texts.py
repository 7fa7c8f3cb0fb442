"""The texts of a command: words of the command line, the lines of a file, or standard input."""

import re
from collections.abc import Sequence
from pathlib import Path

from numpylm.system.shell import shown

FILE_NAME = re.compile(r"\S*\.(txt|csv|tsv|jsonl|ndjson|json|md|gz|en|de|zh|fr|es|src|tgt)|\S*[/\\]\S*", re.IGNORECASE)


def file_of(words: Sequence[str]) -> Path | None:
    """The file that a command's words name, or None if they are a text or mean standard input.

    Raises
    ------
    FileNotFoundError
        If the only word looks like the name of a file, and there is none.
    """
    from numpylm.text.text_input import STDIN, is_file

    if len(words) != 1 or words[0] == STDIN:
        return None
    if is_file(words[0]):
        return Path(words[0])
    if FILE_NAME.fullmatch(words[0]):
        raise FileNotFoundError(f"no such file: {shown(words[0])} (if this is the text itself, send it by a pipe)")
    return None


def lines_from(words: Sequence[str]) -> list[str]:
    """The lines of the file that the words name, or the words as one text, or the lines of standard input."""
    from numpylm.tasks.pairs import lines_of, split_lines
    from numpylm.text.text_input import STDIN, read_stdin, typed_text

    words = [typed_text(word, "the text") for word in words]
    if file := file_of(words):
        return lines_of(file)
    if words and list(words) != [STDIN]:
        return [" ".join(words)]
    return split_lines(read_stdin())
