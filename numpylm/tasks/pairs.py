"""Reading pairs of sentences for translation: one file with two columns, or two files with aligned lines."""

from pathlib import Path

from numpylm.system.shell import printable, shown
from numpylm.text.text_input import read_text_file
from numpylm.training.config import TrainConfig

Pair = tuple[str, str]  # source sentence, target sentence
HEADER = {"source", "src", "target", "tgt", "translation", "sentence", "text", "english", "german", "french", "spanish"}
HEADER |= {"chinese", "en", "de", "fr", "es", "zh", "it", "pt", "nl", "ja", "ru", "sentence1", "sentence2"}


def read_pairs(config: TrainConfig) -> list[Pair]:
    """The pairs of a config's files. It prints what it read and what it left out.

    Raises
    ------
    ValueError
        If a line has only one column, the two files have different numbers of lines, or nothing is left.
    """
    if config.source:
        pairs, name = aligned(Path(config.source), Path(config.target)), f"{config.source} and {config.target}"
    else:
        pairs = [pair for path in config.data for pair in columns(Path(path))]
        name = ", ".join(config.data)
    kept = list(dict.fromkeys((a, b) for a, b in pairs if a and b))
    print(f"text        {shown(name)}: {len(kept):,} pairs of sentences")
    if kept:
        print(f"first       {printable(kept[0][0])}  ->  {printable(kept[0][1])}")
    if empty := sum(not (a and b) for a, b in pairs):
        print(f"left out    {empty:,} pairs with an empty side")
    if twice := len(pairs) - empty - len(kept):
        print(f"left out    {twice:,} pairs that occur twice")
    if len(kept) < 2:
        raise ValueError(f"{shown(name)} has {len(kept)} pairs of sentences; training needs at least 2")
    return kept


def columns(path: Path) -> list[Pair]:
    """The first two columns of a file with tabs between columns."""
    pairs = []
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            pairs.append(("", ""))
            continue
        parts = line.split("\t")
        if len(parts) < 2:
            raise ValueError(
                f"line {number} of {shown(path)} has no tab: each line should be a source sentence, a tab, and its "
                f"translation (for two aligned files, use --source and --target)"
            )
        pairs.append((parts[0].strip(), parts[1].strip()))
    if pairs and {cell.lower() for cell in pairs[0]} <= HEADER:
        print(f"left out    the first line of {shown(path)}, which names the columns: {', '.join(pairs.pop(0))}")
    return pairs


def aligned(source: Path, target: Path) -> list[Pair]:
    """The lines of two files, side by side."""
    sources, targets = lines_of(source), lines_of(target)
    if len(sources) != len(targets):
        raise ValueError(
            f"{shown(source)} has {len(sources):,} lines, {shown(target)} {len(targets):,}: line n of one must be the "
            f"translation of line n of the other"
        )
    return [(a.strip(), b.strip()) for a, b in zip(sources, targets, strict=True)]


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, which may be compressed with gzip (``.gz``)."""
    return split_lines(read_text_file(path))


def split_lines(text: str) -> list[str]:
    """The lines of a text. (Not splitlines: a sentence may contain other separators, such as U+2028.)"""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def check_files(paths: list[str]) -> None:
    """Raise FileNotFoundError for a path that is no file."""
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no such file: {shown(path)}")
