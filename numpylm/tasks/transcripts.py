"""Reading sounds with transcripts from a folder or a zip file: tables, JSON lines, LibriSpeech, or a .txt file each."""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpylm.audio.mel import RATE
from numpylm.audio.read_audio import resampled_blocks
from numpylm.nn.module import Array
from numpylm.system.json_fields import json_objects
from numpylm.system.shell import shown
from numpylm.text.text_input import outside_text

SOUNDS = (".wav", ".wave", ".flac", ".mp3", ".ogg", ".opus")
FOUND_TABLES = (".tsv", ".csv", ".jsonl", ".ndjson")  # what a table in a folder is called
NOT_VALID = ("invalidated.tsv", "other.tsv", "reported.tsv")  # of Common Voice's folders
TABLES = (*FOUND_TABLES, ".json")  # a .json file may be many other things, so it must be named
PATH_NAMES = ("path", "audio_filepath", "file_name", "filename", "file", "audio", "wav")
TEXT_NAMES = ("sentence", "text", "transcript", "transcription", "normalized_text")
FORMS = (
    "a table (.tsv, .csv) with the columns path and sentence, JSON lines with audio_filepath and text, LibriSpeech's "
    "*.trans.txt, or a .txt file beside each sound"
)


class Utterance(NamedTuple):
    """A sound with what is said in it."""

    place: Any  # Path, or zipfile.Path, which has the same methods
    text: str

    @property
    def name(self) -> str:
        """The file of the sound."""
        return str(self.place)

    def samples(self) -> Array:
        """The sound at 16 kHz: float32 (N,)."""
        with whole(self.place):
            return np.concatenate(list(resampled_blocks(self.place, RATE, allow_truncated=False)))


@contextmanager
def whole(place: Any) -> Iterator[None]:
    """Turn what `zipfile` raises for a damaged or an encrypted member into a ValueError with its name."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{shown(place)} cannot be read from its zip file ({error}): unpack it") from None


class NoColumn(ValueError):
    """A table has a header, and none of the names that a column with sounds or transcripts has."""


class Line(NamedTuple):
    """What a table says about one sound."""

    where: str  # the place in words, for messages
    path: str
    text: str


def read_transcripts(paths: Sequence[str]) -> list[Utterance]:
    """The sounds and transcripts of folders, zip files and tables.

    A table in a folder counts before the other forms. White space in transcripts becomes single spaces. Sounds with an
    empty transcript are left out, and counted in a message.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ValueError
        With the file and the line, if a line is broken, its sound is missing, or a sound has two transcripts. Also if
        there is no transcript at all.
    """
    found = [utterance for path in paths for utterance in _read(Path(path))]
    kept = [u for u in found if u.text]
    name = shown(", ".join(paths))
    print(f"sound       {name}: {len(kept):,} sounds with transcripts")
    if len(kept) < len(found):
        print(f"left out    {len(found) - len(kept):,} sounds with an empty transcript")
    if len(kept) < 2:
        raise ValueError(f"{name} has {len(kept)} sounds with transcripts; training needs at least 2")
    return kept


def check_sources(paths: Sequence[str]) -> None:
    """Raise an error for a path that is neither a folder, nor a zip file, nor a table."""
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {shown(path)}")
        if not (path.is_dir() or path.suffix.lower() in TABLES or zipfile.is_zipfile(path)):
            raise ValueError(f"{shown(path)} is no folder, zip file or table of sounds: give {FORMS}")


def _read(path: Path) -> list[Utterance]:
    """The utterances of one folder, zip file or table."""
    table = path.suffix.lower() in TABLES
    root: Any = path.parent if table else path if path.is_dir() else _zip_root(path)
    files = {name: place for name, place in _walk(root) if not _of_macos(name)}
    sounds = {name: place for name, place in files.items() if name.lower().endswith(SOUNDS)}
    if table:
        return _paired(list(_table(files[path.name])), sounds, path)
    tables = [name for name in files if Path(name).suffix.lower() in FOUND_TABLES]
    if rejected := [name for name in tables if Path(name).name in NOT_VALID]:
        tables = [name for name in tables if name not in rejected]
        print(f"left out    {', '.join(rejected)}: sounds that people did not confirm; name a table to use it")
    if tables:
        return _paired(_tables([files[name] for name in tables]), sounds, path)
    if books := [name for name in files if name.endswith(".trans.txt")]:
        return _paired([line for name in books for line in _librispeech(name, files[name])], sounds, path)
    txt = {name[:-4]: place for name, place in files.items() if name.lower().endswith(".txt")}
    texts = {name: _text(txt[name[: name.rindex(".")]]) for name in sounds if name[: name.rindex(".")] in txt}
    if not texts:
        raise ValueError(f"{shown(path)} has {len(sounds):,} sounds and no transcripts: it needs {FORMS}")
    return [Utterance(sounds[name], _clean(text)) for name, text in texts.items()]


def _zip_root(path: Path) -> zipfile.Path:
    try:
        return zipfile.Path(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{shown(path)} is not a complete zip file ({error})") from None


def _of_macos(name: str) -> bool:
    """Whether it is one of the files that macOS adds to archives and foreign disks."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")


def _walk(root: Any, before: str = "", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """All files below a folder, in order, with their names from there: such as ``clips/a.wav``.

    A link to a folder ``above`` is left out: it would go round in a circle.
    """
    above = (*above, root.resolve() if isinstance(root, Path) else root)
    for place in sorted(root.iterdir(), key=lambda place: str(place.name)):
        if place.is_dir():
            if not (isinstance(place, Path) and place.resolve() in above):
                yield from _walk(place, f"{before}{place.name}/", above)
        else:
            yield before + place.name, place


def _text(place: Any) -> str:
    with whole(place):
        return outside_text(place.read_bytes(), shown(place))


def _clean(text: str) -> str:
    return " ".join(text.split())


# -------------------------------------------------------------------------------------- forms of transcripts


def _librispeech(name: str, place: Any) -> Iterator[Line]:
    """Lines of an id, a space and a text. The sound has the name of the id, and is in the same folder."""
    for number, line in enumerate(_text(place).split("\n"), 1):
        if line.strip():
            key, _, text = line.strip().partition(" ")
            yield Line(f"line {number} of {shown(place)}", str(Path(name).with_name(key)), text)


def _tables(places: Sequence[Any]) -> list[Line]:
    """The lines of the tables in a folder. Tables of other things, such as of durations, are left out with a note."""
    lines: list[Line] = []
    others: list[NoColumn] = []
    for place in places:
        try:
            lines += list(_table(place))
        except NoColumn as error:
            others.append(error)
    if others and not lines:
        raise others[0]
    for other in others:
        print(f"left out    a table: {other}")
    return lines


def _table(place: Any) -> Iterator[Line]:
    """The lines of a table of any kind."""
    text = _text(place)
    if place.name.lower().endswith((".tsv", ".csv")):
        yield from _columns(place, text)
        return
    for number, entry in json_objects(text, shown(place), '{"audio_filepath": …, "text": …}'):
        where = f"line {number} of {shown(place)}"
        path, spoken = (next((entry[n] for n in names if n in entry), None) for names in (PATH_NAMES, TEXT_NAMES))
        if not isinstance(path, str) or not isinstance(spoken, str):
            raise ValueError(f"{where} needs texts under audio_filepath and text; it has {', '.join(entry)}")
        yield Line(where, path, spoken)


def _columns(place: Any, text: str) -> Iterator[Line]:
    """The lines of a table with tabs or commas. Without a header, path and text are the first two columns."""
    if place.name.lower().endswith(".tsv"):
        reader: Any = csv.reader(io.StringIO(text), "excel-tab", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(io.StringIO(text), strict=True)  # strict: a quote that nothing closes is an error
    path_at, text_at, width = 0, 1, 0
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            where = f"line {reader.line_num} of {shown(place)}"
            if not width:
                width, names = len(row), [cell.strip().lower() for cell in row]
                if not row[0].lower().endswith(SOUNDS):
                    path_at, text_at = (_column(where, names, known) for known in (PATH_NAMES, TEXT_NAMES))
                    continue
            if len(row) != width or width < 2:
                hint = ": a text with a comma needs quotes around it" if len(row) > width > 1 else ""
                raise ValueError(f"{where} has {len(row)} columns, and {max(width, 2)} are expected{hint}")
            if "\n" in row[path_at].strip() + row[text_at].strip():
                raise ValueError(f"{where}: a line ends inside of quotes; is there a quote too many?")
            yield Line(where, row[path_at].strip(), row[text_at])
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} of {shown(place)} is broken ({error})") from None


def _column(where: str, names: Sequence[str], known: Sequence[str]) -> int:
    for name in known:
        if name in names:
            return list(names).index(name)
    raise NoColumn(f"{where} names no column {' or '.join(known[:3])}; it has {', '.join(names)}")


# ----------------------------------------------------------------------------------------- sounds of the lines


def _paired(lines: Sequence[Line], sounds: dict[str, Any], source: Path) -> list[Utterance]:
    """The sound of each line. It may be named from the table's folder or from ``clips/``, and without its ending."""
    by_end: dict[str, list[str]] = {}  # the names of sounds, by each of their ends: clips/a.wav, a.wav, clips/a, a
    for name in sounds:
        parts = name.split("/")
        for i in range(len(parts)):
            end = "/".join(parts[i:])
            by_end.setdefault(end, []).append(name)
            by_end.setdefault(end[: end.rindex(".")], []).append(name)
    texts: dict[str, str] = {}
    for line in lines:
        wanted = line.path.replace("\\", "/").removeprefix("./")
        name = wanted if wanted in sounds else _only(by_end, wanted, line, source)
        text = _clean(line.text)
        if texts.setdefault(name, text) != text:
            raise ValueError(f"{line.where} gives {name!r} another transcript than a line before: keep one of them")
    return [Utterance(sounds[name], text) for name, text in texts.items()]


def _only(by_end: dict[str, list[str]], wanted: str, line: Line, source: Path) -> str:
    """The one sound whose name ends with ``wanted``, or else with the last part of it."""
    near = by_end.get(wanted) or by_end.get(wanted.rpartition("/")[2], [])
    if len(near) == 1:
        return near[0]
    if near:
        raise ValueError(f"{line.where}: {line.path!r} could be {near[0]!r} or {near[1]!r}: write the whole path")
    raise ValueError(f"{line.where}: there is no sound {line.path!r} in {shown(source)}")
