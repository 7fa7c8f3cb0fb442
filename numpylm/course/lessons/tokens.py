"""Exercises of lesson 01: byte-pair encoding, from counting pairs to decoding."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, outputs

Pair = tuple[int, int]


def count_pairs(ids: Sequence[int]) -> dict[Pair, int]:
    """How often each pair of adjacent ids occurs; pairs may overlap."""
    return dict(Counter(itertools.pairwise(ids)))


def merge(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Replace a pair of adjacent ids by one new id, leftmost first, without overlaps."""
    out, i = [], 0
    while i < len(ids):
        found = tuple(ids[i : i + 2]) == pair
        out.append(new_id if found else ids[i])
        i += 2 if found else 1
    return out


def bpe_encode(ids: Sequence[int], merges: Sequence[Pair]) -> list[int]:
    """Apply merges in the order in which they were learned; the one at index n makes the id 256 + n."""
    out = list(ids)
    for n, pair in enumerate(merges):
        out = merge(out, pair, 256 + n)
    return out


def bpe_decode(ids: Sequence[int], vocab: Mapping[int, bytes]) -> str:
    """The text of tokens: join the bytes, then decode; invalid bytes become U+FFFD."""
    return b"".join(vocab[i] for i in ids).decode("utf-8", errors="replace")


# --------------------------------------------------------------------------------------------- count_pairs


def _lists(rng: Rng) -> Iterator[tuple]:
    yield ([1, 2, 3, 1, 2, 4],)
    yield ([5, 5, 5],)
    yield ([7],)
    yield ([],)
    yield (rng.integers(0, 4, 50).tolist(),)


def _apart(ids: list[int]) -> dict[Pair, int]:
    """Count pairs without overlaps, as merging does."""
    return {pair: merge(ids, pair, -1).count(-1) for pair in itertools.pairwise(ids)}


def _takes_tuples(count: Callable) -> Result:
    """Explain the error for a list as the key of a dict."""
    try:
        count([1, 2, 3])
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        name = getattr(count, "__name__", "it")
        return Result([f"{name}: a list cannot be the key of a dict. Make each pair a tuple: (ids[i], ids[i + 1])."])
    return Result()


# --------------------------------------------------------------------------------------------------- merge


def _merges(rng: Rng) -> Iterator[tuple]:
    yield [1, 2, 3, 1, 2], (1, 2), 9
    yield [1, 2, 3], (1, 2), 9
    yield [5, 5, 5], (5, 5), 9
    yield [5, 5, 5, 5], (5, 5), 9
    yield [1, 1, 2], (1, 2), 9
    yield [2, 1, 2, 1], (1, 2), 9
    yield [3, 1], (1, 2), 9
    yield [11, 2, 1, 23], (1, 2), 9
    yield [1, 21], (1, 2), 9
    yield [], (1, 2), 9
    yield rng.integers(0, 3, 60).tolist(), (1, 2), 9
    yield rng.integers(0, 2, 60).tolist(), (1, 1), 9


def _walk(
    step_at_pair: int = 2, step_at_left: int = 1, keep_others: bool = True, either: bool = False, end: int = 0
) -> Callable:
    """`merge` with one thing changed."""

    def slip(ids: list[int], pair: Pair, new_id: int) -> list[int]:
        out: list[int] = []
        i = 0
        while i < len(ids) - end:
            here = tuple(ids[i : i + 2])
            if here == pair or (either and here == pair[::-1]):
                out.append(new_id)
                i += step_at_pair
                continue
            step = step_at_left if ids[i] == pair[0] else 1
            out += ids[i : i + step] if keep_others else []
            i += step
        return out

    return slip


def _from_the_right(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    return merge(ids[::-1], pair[::-1], new_id)[::-1]


def _first_only(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    at = list(itertools.pairwise(ids)).index(pair)
    return ids[:at] + [new_id] + ids[at + 2 :]


def _as_text(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new_id))
    return [int(part) for part in text.split()]


# ---------------------------------------------------------------------------------------------- bpe_encode


def _encodings(rng: Rng) -> Iterator[tuple]:
    yield [97, 98, 99], [(97, 98)]
    yield [97, 98, 99, 100], [(97, 98), (99, 100), (256, 257)]
    yield [97, 98, 99], [(97, 98), (98, 99)]
    yield [97, 98, 99, 100], [(98, 99), (97, 98), (256, 100)]
    yield [97, 97, 97, 98, 97, 97], [(97, 97), (97, 98), (256, 257)]
    yield [97, 98], []
    ids = rng.integers(97, 101, 80).tolist()
    merges: list[Pair] = []
    learning = list(ids)
    for new_id in range(256, 268):
        counts = count_pairs(learning)
        merges.append(max(counts, key=lambda pair: counts[pair]))
        learning = merge(learning, merges[-1], new_id)
    yield rng.integers(97, 101, 60).tolist(), merges


def _encoded(first: int = 256, backwards: bool = False, forget: bool = False) -> Callable:
    """`bpe_encode` with one thing changed."""

    def slip(ids: list[int], merges: list[Pair]) -> list[int]:
        out = ids
        order = list(enumerate(merges))
        for n, pair in order[::-1] if backwards else order:
            out = merge(ids if forget else out, pair, first + n)
        return out

    return slip


def _backwards_until_done(ids: list[int], merges: list[Pair]) -> list[int]:
    before: list[int] = []
    while before != ids:
        before, ids = ids, _encoded(backwards=True)(ids, merges)
    return ids


def _first_merge_only(ids: list[int], merges: list[Pair]) -> list[int]:
    return merge(ids, merges[0], 256)


def _longest_first(ids: list[int], merges: list[Pair]) -> list[int]:
    parts: dict[int, tuple[int, ...]] = {i: (i,) for i in range(256)}
    for n, (left, right) in enumerate(merges):
        parts[256 + n] = parts[left] + parts[right]
    id_of = {part: i for i, part in parts.items()}
    out, i = [], 0
    while i < len(ids):
        size = next(n for n in range(len(ids) - i, 0, -1) if tuple(ids[i : i + n]) in id_of)
        out.append(id_of[tuple(ids[i : i + size])])
        i += size
    return out


# ---------------------------------------------------------------------------------------------- bpe_decode

_VOCAB = {i: bytes([i]) for i in range(256)} | {256: b"fo", 257: b"fox", 258: b" \xe7", 259: b"\x8b\x90"}


def _decodings(rng: Rng) -> Iterator[tuple]:
    yield [257], _VOCAB
    yield [65, 32, 256, 120], _VOCAB
    yield list("é狐🦊".encode()), _VOCAB
    yield [257, 258, 259, 33], _VOCAB
    yield [257, *"🦊".encode()[:3]], _VOCAB
    yield [0x90, 257, 0xC3], _VOCAB
    yield [], _VOCAB


def _joins_before_decoding(decode: Callable) -> Result:
    """Explain decoding errors: an incomplete character in a token, or at the end."""
    name = getattr(decode, "__name__", "it")
    fox = "狐".encode()
    try:
        decode(list(fox), dict(_VOCAB))
    except UnicodeDecodeError:
        return Result(
            [
                f"{name}: decodes each token separately, but a token may be a part of a character: 狐 is the three bytes  "
                f'{fox.hex(" ")}. Join the bytes of all tokens first, b"".join(…), then decode once.'
            ]
        )
    try:
        decode(list(fox[:2]), dict(_VOCAB))
    except UnicodeDecodeError:
        return Result(
            [
                f"{name}: right for whole characters, but raises an error where a text ends in the middle of one. "
                'Say errors="replace", so that the rest can still be read.'
            ]
        )
    return Result()


LESSON = Lesson(
    "01_tokens",
    "Tokens: from text to numbers",
    (
        Exercise(
            "count_pairs",
            "how often each pair of neighbors occurs",
            both(
                _takes_tuples,
                outputs(
                    count_pairs,
                    _lists,
                    {
                        "in [5, 5, 5] the pair (5, 5) occurs twice, at 0 and at 1: count overlapping pairs as well.": _apart,
                        "each pair is counted once, however often it occurs. Add 1 to what is there: "
                        "counts.get(pair, 0) + 1.": lambda ids: dict.fromkeys(itertools.pairwise(ids), 1),
                        "every second pair is left out. Pairs overlap: each id is the right one of a pair and the left one "
                        "of the next.": lambda ids: dict(Counter(zip(ids[::2], ids[1::2], strict=False))),
                        "(1, 2) and (2, 1) are counted as the same pair. The order matters: which one is on the left?": lambda ids: (
                            dict(Counter(tuple(sorted(pair)) for pair in itertools.pairwise(ids)))
                        ),
                        "left and right are exchanged.": lambda ids: dict(
                            Counter(pair[::-1] for pair in itertools.pairwise(ids))
                        ),
                        "the last pair is missing. T ids have T - 1 pairs.": lambda ids: count_pairs(ids[:-1]),
                        "the last id is paired with the first one. A text is not a ring: T ids have T - 1 pairs.": lambda ids: (
                            dict(Counter(zip(ids, ids[1:] + ids[:1], strict=True)))
                        ),
                        "only the first pair is counted. Is the return inside the loop?": lambda ids: {
                            (ids[0], ids[1]): 1
                        },
                        "these are counts of single ids, not of pairs.": lambda ids: dict(Counter(ids)),
                    },
                ),
            ),
            (count_pairs,),
        ),
        Exercise(
            "merge",
            "replace a pair by one new token",
            outputs(
                merge,
                _merges,
                {
                    "the right one of each pair stays after its new id. After a pair, advance by two.": _walk(1),
                    "the right one of each pair stays after its new id, and the last id is lost. A for loop advances by "
                    "one each time: use while, up to the end, and after a pair advance by two.": _walk(1, end=1),
                    "the last id is lost where it is not part of a pair: the loop ends one too early.": _walk(end=1),
                    "what is not part of a pair is lost: copy it.": _walk(keep_others=False),
                    "only the first occurrence is merged; continue to the end.": _first_only,
                    "only the first step is made. Is the return inside the loop?": lambda ids, pair, new_id: merge(
                        ids[:2], pair, new_id
                    )[:1],
                    "nothing is replaced. Is a list compared with a tuple? They are never equal: "
                    "tuple(ids[i : i + 2]).": lambda ids, pair, new_id: list(ids),
                    "as text, the pair is also found inside longer numbers: 1 2 occurs in 11 2 and in 1 23. Compare ids, "
                    "not their digits.": _as_text,
                    "(1, 2) was asked for, and (2, 1) is merged as well.": _walk(either=True),
                    "pairs are taken from the right. Leftmost first: [5, 5, 5] gives [9, 5].": _from_the_right,
                    "[1, 1, 2] with the pair (1, 2): when a left one is not followed by the right one, advance by one and "
                    "not by two, or a pair that begins there is missed.": _walk(step_at_left=2),
                },
            ),
            (merge,),
        ),
        Exercise(
            "bpe_encode",
            "apply learned merges in their order",
            outputs(
                bpe_encode,
                _encodings,
                {
                    "this takes the longest token that fits, from the left. BPE applies the merges in the order in which "
                    "they were learned, wherever their pair occurs.": _longest_first,
                    "the merge that was learned last is applied first. The order must be that of "
                    "learning.": _backwards_until_done,
                    "the merge at index n makes the id 256 + n; here the new ids begin at 0, where the bytes "
                    "are.": _encoded(0),
                    "the merge at index n makes the id 256 + n; here they begin at 257.": _encoded(257),
                    "every merge starts from the bytes again. Each must work on what the one before it "
                    "returned.": _encoded(forget=True),
                    "nothing is merged. merge returns a new list and leaves the old one as it is: "
                    "ids = merge(ids, …).": lambda ids, merges: ids,
                    "only the first merge is applied. Is the return inside the loop?": _first_merge_only,
                    "the merges are applied in reverse order. Later merges are made of earlier ones: first one "
                    "first.": _encoded(backwards=True),
                },
            ),
            (bpe_encode,),
        ),
        Exercise(
            "bpe_decode",
            "join the bytes, then decode",
            both(
                _joins_before_decoding,
                outputs(
                    bpe_decode,
                    _decodings,
                    {
                        "each token is decoded separately, but a token may be a part of a character. Join the bytes of "
                        'all tokens first, b"".join(…), then decode once.': lambda ids, vocab: "".join(
                            vocab[i].decode("utf-8", errors="replace") for i in ids
                        ),
                        'errors="ignore" drops invalid bytes silently, so that a reader cannot see that something is missing. '
                        'Say errors="replace".': lambda ids, vocab: b"".join(vocab[i] for i in ids).decode(
                            "utf-8", errors="ignore"
                        ),
                        "each byte has become one character (that is Latin-1). UTF-8 has up to four bytes per "
                        "character.": lambda ids, vocab: b"".join(vocab[i] for i in ids).decode("latin-1"),
                        "this is the joined bytes. Decode them, to get a string.": lambda ids, vocab: b"".join(
                            vocab[i] for i in ids
                        ),
                        "there is something between the tokens. Spaces are part of the tokens already: join with "
                        'nothing, b"".': lambda ids, vocab: b" ".join(vocab[i] for i in ids).decode(
                            "utf-8", errors="replace"
                        ),
                    },
                ),
            ),
            (bpe_decode,),
        ),
    ),
)
