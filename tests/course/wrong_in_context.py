"""Wrong answers to lesson 19: changes to the solution, and what the check must say about each."""

WRONG = {
    "map_sequences": [
        ("2 * chosen.shape[1]), int)", "2 * chosen.shape[1]))", "whole numbers"),
        ("ids[:, 1::2] = np.take_along_axis(labels, chosen, axis=1)", "ids[:, 1::2] = chosen", "map_sequences"),
        ("ids[:, ::2] = np.take_along_axis(symbols, chosen, axis=1)", "ids[:, ::2] = chosen", "chosen itself"),
        ("np.take_along_axis(symbols, chosen, axis=1)", "symbols[0][chosen]", "map_sequences"),
        (
            "ids[:, 1::2] = np.take_along_axis(labels, chosen, axis=1)",
            "ids[:, 1::2] = ids[:, ::2]\n    ids[:, ::2] = np.take_along_axis(labels, chosen, axis=1)",
            "swapped",
        ),
    ],
    "accuracy_by_examples": [
        ("k=-1", "k=0", "the symbol itself is counted"),
        ("(same * np.tri(symbols.shape[1], k=-1))", "same", "in the whole row"),
        ("hits[seen == n].mean()", "hits[seen == n].sum()", "divide by the number"),
        ("range(9)", "range(8)", "the last entry is missing"),
        ("(same * np.tri(symbols.shape[1], k=-1))", "(same * np.tri(symbols.shape[1], k=-1).T)", "after the symbol"),
    ],
    "follower_attention": [
        ("earlier + 1", "earlier", "the earlier occurrences themselves"),
        ("earlier + 1", "earlier[-1:] + 1", "only the latest"),
        (".sum(axis=-1))", ".mean(axis=-1))", "divide its attention"),
        ("range(0, len(row), 2)", "range(len(row))", "labels look, too"),
        ("weights[:, t, earlier + 1]", "weights[:, earlier + 1, t]", "queries and keys are swapped"),
        ("if len(earlier):", "if True:", "there is nothing to look at"),
        ("np.mean(scores, axis=0)", "np.mean(scores)", "the heads are averaged"),
    ],
}
