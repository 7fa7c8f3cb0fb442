"""GPT-2's tokenizer files, ``vocab.json`` and ``merges.txt``; and checks that vocabulary and merges fit together

These files write each byte of a token as one visible character. For example, " the" is written as Ġthe.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import regex

from numpylm.system.json_fields import brief
from numpylm.system.whole_files import read_json, read_text
from numpylm.text.added_tokens import AddedToken
from numpylm.text.pretokenize import GPT2_PATTERN, Pattern
from numpylm.text.tokenizer_config import SILENT, Chat, read_chat


def byte_letters() -> dict[int, str]:
    """The table with which GPT-2's files write each byte as one visible character.

    The 188 bytes that are visible in Latin-1 are written as that character. The others, in order, are written as the
    characters from U+0100 on, so a space (0x20) is written Ġ. Bytes get the ids 0 … 255 in the order of these
    characters.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in visible}
    hidden = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


LETTER_OF_BYTE = byte_letters()
BYTE_OF_LETTER = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}


def letters(token: bytes) -> str:
    """A token as it is written in these files."""
    return "".join(map(LETTER_OF_BYTE.__getitem__, token))


def token_of_letters(written: str) -> bytes | None:
    """The token that is written like this, or None if a character stands for no byte."""
    try:
        return bytes(map(BYTE_OF_LETTER.__getitem__, written))
    except KeyError:
        return None


def written_vocab(vocab: dict[bytes, int], special_tokens: dict[str, int]) -> dict[str, int]:
    """The content of vocab.json: all tokens in the order of their ids."""
    ids = {letters(token): i for token, i in vocab.items()} | special_tokens
    return dict(sorted(ids.items(), key=lambda item: item[1]))


class Rules(NamedTuple):
    """How a tokenizer turns text into ids in another way than GPT-2's, apart from its pattern.

    Attributes
    ----------
    normalizer : str
        ``NFC`` if the text is normalized first, as in Qwen2, or "".
    ignore_merges : bool
        Whether a chunk that is a token becomes this token, even if merges would make others of it, as in Llama 3.
    added : tuple of AddedToken
        The added tokens that are not plain special tokens.
    """

    normalizer: str = ""
    ignore_merges: bool = False
    added: tuple[AddedToken, ...] = ()


PLAIN = Rules()


class TokenizerParts(NamedTuple):
    """The arguments of `numpylm.Tokenizer`."""

    vocab: dict[bytes, int]
    merges: list[tuple[bytes, bytes]]
    special_tokens: dict[str, int]
    pattern: Pattern
    rules: Rules = PLAIN
    chat: Chat = SILENT


def read_two_files(directory: Path) -> TokenizerParts:
    """Read GPT-2's two files, ``added_tokens.json`` (older transformers) and ``pattern.txt`` (ours) if they exist.

    A token that is neither a byte nor made by a merge is a special token. An empty one in vocab.json, which Whisper of
    many languages has, is a token that no text contains.

    Raises
    ------
    ValueError
        If the content of a file is invalid. The message says which file and where.
    """
    vocab_file, merges_file, custom = (directory / name for name in ("vocab.json", "merges.txt", "pattern.txt"))
    ids = _read_ids(vocab_file)
    empty = ids.pop("", None)
    if (added := directory / "added_tokens.json").is_file():
        ids |= _read_ids(added)
    lines = enumerate(read_text(merges_file).split("\n"), 1)
    pairs = ((n, line.split(" ")) for n, line in lines if line and not (n == 1 and line.startswith("#version")))
    pattern = checked_pattern(read_text(custom), custom) if custom.is_file() else GPT2_PATTERN
    check_vocabulary_ids(ids, vocab_file, empty)
    made = {letter: bytes([byte]) for byte, letter in LETTER_OF_BYTE.items()}
    merges = read_merges(pairs, made, merges_file, "line", grows=True)
    if absent := [written for written in made if written not in ids]:
        raise ValueError(
            f"{vocab_file} has no id for {len(absent)} tokens that the merges in {merges_file.name} or single bytes "
            f"need, first {absent[0]!r}: do vocabulary and merges come from the same tokenizer?"
        )
    vocab = {token: ids[written] for written, token in made.items()} | ({} if empty is None else {b"": empty})
    special = {token: i for token, i in ids.items() if token not in made}
    return TokenizerParts(vocab, merges, special, pattern, PLAIN, read_chat(directory, special))


def _read_ids(path: Path) -> dict[str, int]:
    ids = read_json(path)
    if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()):
        raise ValueError(f"{path} should be one JSON object of token -> id")
    return ids


def check_vocabulary_ids(ids: dict[str, int], path: Path, empty: int | None = None) -> None:
    """Raise ValueError if the ids are not 0 … n - 1, or a token is empty. ``empty`` is one more id."""
    every = sorted([*ids.values(), *([] if empty is None else [empty])])
    if every != list(range(len(every))):
        raise ValueError(f"{path}: ids should be 0 … {len(every) - 1}, each once")
    if "" in ids:
        raise ValueError(f"{path}: a token must not be empty")


def read_merges(
    pairs: Iterable[tuple[int, Any]], tokens: dict[str, bytes], path: Path, unit: str, grows: bool = False
) -> list[tuple[bytes, bytes]]:
    """The merges of a file.

    Parameters
    ----------
    pairs : iterable of (number, [left, right])
        As written in the file. ``unit`` says what the numbers count, for messages.
    tokens : dict of str -> bytes
        The tokens that can be merged, as they are written, and their bytes.
    grows : bool
        Whether each merge adds its token to ``tokens``. If not, it must be there already.
    """
    merges = []
    for number, pair in pairs:
        if not isinstance(pair, list) or [*map(type, pair)] != [str, str]:
            raise ValueError(f"{path}, {unit} {number}: expected two tokens, got {brief(pair)}")
        left, right = pair
        if left not in tokens or right not in tokens:
            which = "that is not made before" if grows else "that the vocabulary does not have"
            raise ValueError(
                f"{path}, {unit} {number}: merges a token {which}, {brief(right if left in tokens else left)}"
            )
        merges.append((tokens[left], tokens[right]))
        if grows:
            tokens[left + right] = tokens[left] + tokens[right]
        elif left + right not in tokens:
            raise ValueError(f"{path}, {unit} {number}: makes {brief(left + right)}, which has no id in the vocabulary")
    return merges


def assemble(
    ids: dict[str, int],
    pairs: Iterable[tuple[int, Any]],
    added: Sequence[AddedToken],
    pattern: Pattern,
    rules: Rules,
    path: Path,
    empty: int | None = None,
) -> TokenizerParts:
    """Build a vocabulary in which the file says itself which tokens are added, as tokenizer.json and GGUF do.

    Parameters
    ----------
    ids : dict of str -> int
        All tokens, as they are written. A token that is not added must be written in letters of bytes.
    pairs : iterable of (number, [left, right])
    added : sequence of AddedToken
    pattern, rules
        See `TokenizerParts`.
    path : Path
        For messages.
    empty : int, optional
        The id of the empty token, which is not among ``ids``.
    """
    check_vocabulary_ids(ids, path, empty)
    texts = {token.text for token in added}
    tokens = {}
    for written in ids:
        token = token_of_letters(written)
        if token is not None:
            tokens[written] = token
        elif written not in texts:
            raise ValueError(f"{path}: the token {brief(written)} is neither written in bytes nor an added token")
    merges = read_merges(pairs, tokens, path, "merge")
    made = {left + right for left, right in merges}
    vocab = {t: ids[w] for w, t in tokens.items() if w not in texts or len(t) == 1 or t in made}
    vocab |= {} if empty is None else {b"": empty}
    plain = [token for token in added if token == AddedToken(token.text, token.id)]
    special = {token.text: token.id for token in added if token.special}
    return TokenizerParts(
        vocab, merges, special, pattern, rules._replace(added=tuple(token for token in added if token not in plain))
    )


def checked_pattern(pattern: str, path: Path) -> str:
    """The pattern itself. Raises ValueError if it is not a regular expression that the package regex reads alike."""
    try:
        groups = regex.compile(pattern).groups
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{path}: the pattern {brief(pattern)} is not a regular expression: {error}") from None
    if groups:
        raise ValueError(f"{path}: the pattern {brief(pattern)} has groups (...): write them as (?:...)")
    return pattern
