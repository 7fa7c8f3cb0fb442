"""The two algorithms of byte-pair encoding: learning merges, and applying them.

Both work on tokens as ids and pairs of ids, and know nothing of bytes, text or files; `numpylm.text.tokenizer`
adds those. (Gage 1994; Sennrich, Haddow & Birch 2016, arXiv:1508.07909, algorithm 1.)
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tqdm import tqdm

Pair = tuple[int, int]

LONG_WORD = 64  # tokens; from here on a heap is as fast as scanning
NEVER = 1 << 60  # the rank of a pair that is not merged


def learn_merges(words: Mapping[tuple[int, ...], int], next_id: int, count: int, progress: bool = False) -> list[Pair]:
    """Learn up to ``count`` merges: the most frequent neighbours become one token, again and again.

    Parameters
    ----------
    words : mapping of tuple of ids -> int
        Each distinct word (chunk of text) and how often it occurs. Pairs never cross words.
    next_id : int
        Id of the first new token; the i-th merge makes token ``next_id + i``.
    count : int
        Fewer are learnt if no pair is left that occurs twice: a merge seen once would only memorise.
    progress : bool
        Show a bar.

    Returns
    -------
    merges : list of (left, right)
        Of pairs that are equally frequent, the one with the smaller ids is merged first, so the result does
        not depend on the order of the text.

    Notes
    -----
    Counting every pair anew for each merge would read the whole text ``count`` times. Instead the counts are
    kept, with the words that each pair occurs in, and a merge updates only those words and the pairs that it
    makes and breaks there. A heap gives the most frequent pair; its entries are corrected when they come up,
    for a count that has *fallen* since, and pushed anew when a count rises, so the top is always true.
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


def _merge_word(word: list[int], pair: Pair, new: int, frequency: int, pair_count: dict[Pair, int]) -> set[Pair]:
    """Replace ``pair`` by ``new`` in one word, in place, and keep ``pair_count`` true; return the new pairs."""
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
    """Tokenize one word: merge the pair that was learnt first, leftmost first, until none is left.

    Parameters
    ----------
    word : iterable of int
        Ids of its bytes.
    ranks : mapping of (left, right) -> rank
        In which order the merges were learnt.
    made : sequence of int
        The id that the merge of each rank makes.
    """
    ids = list(word)
    return merge_by_scanning(ids, ranks, made) if len(ids) <= LONG_WORD else merge_by_heap(ids, ranks, made)


def merge_by_scanning(ids: list[int], ranks: Mapping[Pair, int], made: Sequence[int]) -> list[int]:
    """Look for the best pair anew after each merge: O(n²), and on words of usual length 1.5 times as fast as a heap."""
    found = [*map(ranks.get, itertools.pairwise(ids), itertools.repeat(NEVER)), NEVER]  # of the pair that begins at i
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

    A line of 100,000 letters without a space is one word, and scanning it after each merge would take minutes.
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
            continue  # one of the two has been merged into something else since
        ids[i], ids[j] = made[rank], -1
        k = following[i] = following[j]
        if k < end:
            previous[k] = i
            if (rank := ranks.get((ids[i], ids[k]), NEVER)) < NEVER:
                heapq.heappush(heap, (rank, i))
        if (h := previous[i]) >= 0 and (rank := ranks.get((ids[h], ids[i]), NEVER)) < NEVER:
            heapq.heappush(heap, (rank, h))
    return [i for i in ids if i >= 0]
