"""The two algorithms of byte-pair encoding (BPE): learning merges, and applying them.

Both work on token ids and pairs of ids. `numpylm.text.tokenizer` adds bytes, text and files. (Gage 1994; Sennrich,
Haddow & Birch 2016, arXiv:1508.07909, algorithm 1.)
"""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from tqdm import tqdm

Pair = tuple[int, int]

CACHED_CHUNKS = 1 << 18  # number of distinct chunks that an encoder remembers: about 50 MB at most
LONGEST_CACHED_CHUNK = 64  # characters; longer chunks hardly ever occur again
LONG_WORD = 64  # tokens; for longer words a heap is at least as fast as scanning
NEVER = 1 << 60  # the rank of a pair that is not merged


def learn_merges(words: Mapping[tuple[int, ...], int], next_id: int, count: int, progress: bool = False) -> list[Pair]:
    """Learn up to ``count`` merges: repeatedly replace the most frequent pair of adjacent tokens by a new token.

    Parameters
    ----------
    words : mapping of tuple of ids -> int
        Each distinct word (chunk of text) and how often it occurs. Pairs never cross words.
    next_id : int
        Id of the first new token; the i-th merge makes token ``next_id + i``.
    count : int
        Fewer are learned if no pair occurs at least twice. A merge of a pair that occurs once would only memorize it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    merges : list of (left, right)
        Among equally frequent pairs, the one with the smaller ids is merged first. So the result does not depend on
        the order of the text.

    Notes
    -----
    Counting all pairs again for each merge would read the whole text ``count`` times. Instead we keep the counts, and
    for each pair the words that contain it. A merge then updates only those words, and the counts of the pairs that it
    creates and removes there. A heap gives the most frequent pair. If a count has *fallen*, its entry is corrected when
    it reaches the top; if a count rises, a new entry is pushed. So the top entry is always correct when it is used.
    """
    symbols = [list(word) for word in words]
    frequency = list(words.values())
    pair_count: dict[Pair, int] = defaultdict(int)
    where: dict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(symbols):
        for pair in itertools.pairwise(word):
            pair_count[pair] += frequency[index]
            where[pair].add(index)
    heap = [(-n, pair) for pair, n in pair_count.items()]
    heapq.heapify(heap)

    merges: list[Pair] = []
    with tqdm(total=count, desc="learning merges", unit=" merges", disable=not progress, leave=False) as bar:
        while heap and len(merges) < count:
            negative, pair = heapq.heappop(heap)
            n = pair_count[pair]
            if n != -negative:
                if n >= 2:
                    heapq.heappush(heap, (-n, pair))
                continue
            if n < 2:
                break
            new = next_id + len(merges)
            merges.append(pair)
            bar.update()
            changed: set[Pair] = set()
            for index in where.pop(pair):
                made = _merge_word(symbols[index], pair, new, frequency[index], pair_count)
                for fresh in made:
                    where[fresh].add(index)
                changed |= made
            del pair_count[pair]
            for fresh in changed:
                heapq.heappush(heap, (-pair_count[fresh], fresh))
    return merges


def character_merges(counts: Mapping[str, int], at_least: int, id_of_byte: Sequence[int] = range(256)) -> list[Pair]:
    """The merges that make a token of each multi-byte character that occurs at least ``at_least`` times in the chunks.

    They are the merges that `learn_merges` finds if each character is a word.
    """
    characters: Counter[str] = Counter()
    for chunk, n in counts.items():
        if not chunk.isascii():
            for character in chunk:
                characters[character] += n
    words = {
        tuple(id_of_byte[byte] for byte in character.encode("utf-8")): n
        for character, n in characters.items()
        if n >= max(at_least, 2) and not character.isascii()
    }
    return learn_merges(words, 256, 4 * len(words))  # a character has at most four bytes


def _merge_word(word: list[int], pair: Pair, new: int, frequency: int, pair_count: dict[Pair, int]) -> set[Pair]:
    """Replace ``pair`` by ``new`` in one word, in place, and update ``pair_count``; return the new pairs."""
    left, right = pair
    made: set[Pair] = set()
    i = 0
    while True:
        try:
            i = word.index(left, i, -1)  # list.index searches at C speed
        except ValueError:
            return made
        if word[i + 1] != right:
            i += 1
            continue
        if i > 0:
            before = word[i - 1]
            pair_count[before, left] -= frequency
            pair_count[before, new] += frequency
            made.add((before, new))
        if i + 2 < len(word):
            after = word[i + 2]
            pair_count[right, after] -= frequency
            pair_count[new, after] += frequency
            made.add((new, after))
        word[i : i + 2] = [new]
        i += 1


def apply_merges(word: Iterable[int], ranks: Mapping[Pair, int], made: Sequence[int]) -> list[int]:
    """Tokenize one word: merge the pair that was learned first, from left to right, until no pair is left.

    Parameters
    ----------
    word : iterable of int
        Ids of its bytes.
    ranks : mapping of (left, right) -> rank
        The order in which the merges were learned.
    made : sequence of int
        The id of the token that the merge of each rank makes.
    """
    ids = list(word)
    return merge_by_scanning(ids, ranks, made) if len(ids) <= LONG_WORD else merge_by_heap(ids, ranks, made)


def merge_by_scanning(ids: list[int], ranks: Mapping[Pair, int], made: Sequence[int]) -> list[int]:
    """Scan all pairs after each merge: O(n²), but 1.5 times as fast as a heap on words of usual length."""
    found = [*map(ranks.get, itertools.pairwise(ids), itertools.repeat(NEVER)), NEVER]  # rank of the pair at i, i + 1
    while (best := min(found)) < NEVER:
        i = found.index(best)
        ids[i : i + 2] = [made[best]]
        del found[i]
        if i + 1 < len(ids):
            found[i] = ranks.get((ids[i], ids[i + 1]), NEVER)
        if i > 0:
            found[i - 1] = ranks.get((ids[i - 1], ids[i]), NEVER)
    return ids


def merge_by_heap(ids: list[int], ranks: Mapping[Pair, int], made: Sequence[int]) -> list[int]:
    """Keep the pairs in a heap of (rank, position), and the tokens in a doubly linked list: O(n log n).

    A line of 100,000 letters without a space is one word. Scanning it after each merge would take minutes.
    """
    end = len(ids)
    following = list(range(1, end + 1))
    previous = list(range(-1, end - 1))
    heap = [(ranks[pair], i) for i, pair in enumerate(itertools.pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        j = following[i]
        if j == end or ranks.get((ids[i], ids[j])) != rank:
            continue  # an earlier merge has changed one of the two tokens
        ids[i], ids[j] = made[rank], -1
        k = following[i] = following[j]
        if k < end:
            previous[k] = i
            if (rank := ranks.get((ids[i], ids[k]), NEVER)) < NEVER:
                heapq.heappush(heap, (rank, i))
        if (h := previous[i]) >= 0 and (rank := ranks.get((ids[h], ids[i]), NEVER)) < NEVER:
            heapq.heappush(heap, (rank, h))
    return [i for i in ids if i >= 0]


class ChunkCache(dict):
    """A dict of chunk of text -> ids. A missing chunk is tokenized and stored.

    Parameters
    ----------
    first_ids : callable
        Chunk -> the ids that it begins with, such as those of its bytes.
    ranks, made
        The merges; see `apply_merges`.
    """

    def __init__(
        self, first_ids: Callable[[str], Iterable[int]], ranks: Mapping[Pair, int], made: Sequence[int]
    ) -> None:
        self.first_ids, self.ranks, self.made = first_ids, ranks, made

    def __missing__(self, chunk: str) -> list[int]:
        ids = apply_merges(self.first_ids(chunk), self.ranks, self.made)
        if len(self) >= CACHED_CHUNKS:
            self.clear()
        if len(chunk) <= LONGEST_CACHED_CHUNK:
            self[chunk] = ids
        return ids
