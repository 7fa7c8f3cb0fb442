"""Wrong answers to lesson 01: changes to the solution, and what the check must say about each."""

WRONG = {
    "count_pairs": [
        ("counts.get(pair, 0) + 1", "1", "each pair is counted once"),
        ("range(len(ids) - 1)", "range(0, len(ids) - 1, 2)", "every second pair is left out"),
        ("pair = ids[i], ids[i + 1]", "pair = tuple(sorted(ids[i : i + 2]))", "The order matters"),
        ("ids[i], ids[i + 1]", "ids[i + 1], ids[i]", "left and right are exchanged"),
        ("range(len(ids) - 1)", "range(len(ids) - 2)", "the last pair is missing"),
        ("range(len(ids) - 1)", "range(len(ids))", "list index out of range"),
        ("range(len(ids) - 1)", "range(-1, len(ids) - 1)", "the last id is paired with the first"),
        ("pair = ids[i], ids[i + 1]", "pair = ids[i]", "expected"),
        ("pair = ids[i], ids[i + 1]", "pair = ids[i : i + 2]", "Make each pair a tuple"),
        (
            "    return counts",
            "    return {p: ids.count(p[0]) // 2 if p[0] == p[1] else n for p, n in counts.items()}",
            "count overlapping pairs",
        ),
        ("    return counts", "    counts", "Is the return missing?"),
        ("    return counts", "        return counts", "Is the return inside the loop?"),
    ],
    "merge": [
        ("i += 2", "i += 1", "advance by two"),
        ("out.append(ids[i])", "pass", "what is not part of a pair is lost"),
        ("while i < len(ids):", "while i < len(ids) - 1:", "the last id is lost"),
        ("== pair:", "in (pair, pair[::-1]):", "is merged as well"),
        (
            "out.append(ids[i])\n            i += 1",
            "step = 2 if ids[i] == pair[0] else 1\n            out += ids[i : i + step]\n            i += step",
            "advance by one and not by two",
        ),
        (
            "    return out",
            "    out, i = [], len(ids)\n    while i > 0:\n        if tuple(ids[max(i - 2, 0) : i]) == pair:\n"
            "            out.insert(0, new_id)\n            i -= 2\n"
            "        else:\n            out.insert(0, ids[i - 1])\n            i -= 1\n    return out",
            "Leftmost first",
        ),
        (
            "            out.append(new_id)\n            i += 2",
            "            return out + [new_id] + ids[i + 2 :]",
            "only the first occurrence is merged",
        ),
        (
            "    out, i = [], 0",
            "    for i in range(len(ids)):\n        ids[i], ids[i + 1]\n    out, i = [], 0",
            "list index out of range",
        ),
        ("tuple(ids[i : i + 2])", "ids[i : i + 2]", "Is a list compared with a tuple?"),
        ("    return out", "        return out", "Is the return inside the loop?"),
        (
            "    return out",
            "    out = []\n    for i in range(len(ids) - 1):\n        if (ids[i], ids[i + 1]) == pair:\n"
            "            out.append(new_id)\n            i += 2\n        else:\n            out.append(ids[i])\n"
            "    return out",
            "and the last id is lost. A for loop advances by one",
        ),
        (
            "    return out",
            '    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new_id))\n'
            "    return [int(part) for part in text.split()]",
            "also found inside longer numbers",
        ),
        (
            "    return out",
            "    ids[:] = out\n    return ids",
            "changes its argument ids",
        ),
    ],
    "bpe_encode": [
        ("256 + n", "n", "the new ids begin at 0"),
        ("256 + n", "257 + n", "here they begin at 257"),
        (
            "ids = merge(ids, pair, 256 + n)",
            "out = merge(ids, pair, 256 + n)\n    ids = out",
            "starts from the bytes again",
        ),
        ("    return ids", "        return ids", "Is the return inside the loop?"),
        ("ids = merge", "merge", "merge returns a new list"),
        ("enumerate(merges)", "reversed(list(enumerate(merges)))", "first one first"),
        (
            "    for n, pair in enumerate(merges):\n        ids = merge(ids, pair, 256 + n)\n",
            "    before = None\n    while before != ids:\n        before = ids\n"
            "        for n, pair in reversed(list(enumerate(merges))):\n            ids = merge(ids, pair, 256 + n)\n",
            "The order must be that of learning",
        ),
        (
            "    for n, pair in enumerate(merges):\n        ids = merge(ids, pair, 256 + n)\n    return ids",
            "    parts = {i: (i,) for i in range(256)}\n    for n, (a, b) in enumerate(merges):\n"
            "        parts[256 + n] = parts[a] + parts[b]\n    out, i = [], 0\n    while i < len(ids):\n"
            "        fits = [k for k, p in parts.items() if tuple(ids[i : i + len(p)]) == p]\n"
            "        out.append(max(fits, key=lambda k: len(parts[k])))\n        i += len(parts[out[-1]])\n"
            "    return out",
            "takes the longest token that fits",
        ),
    ],
    "bpe_decode": [
        (
            'joined = b"".join(vocab[i] for i in ids)\n    return joined.decode("utf-8", errors="replace")',
            'return "".join(vocab[i].decode("utf-8") for i in ids)',
            "decodes each token separately",
        ),
        (
            'joined = b"".join(vocab[i] for i in ids)\n    return joined.decode("utf-8", errors="replace")',
            'return "".join(vocab[i].decode("utf-8", errors="replace") for i in ids)',
            "each token is decoded separately",
        ),
        (', errors="replace"', "", "in the middle of one"),
        ('errors="replace"', 'errors="ignore"', "drops invalid bytes"),
        ('"utf-8", errors="replace"', '"latin-1"', "each byte has become one character"),
        ('joined.decode("utf-8", errors="replace")', "joined", "this is the joined bytes"),
        ('b"".join', 'b" ".join', "Spaces are part of the tokens already"),
    ],
}
