"""The train/validation split: documents that the model learns from, and documents that measure it."""

from collections import Counter

import numpy as np

FAR_TOO_SHORT = 0.1  # of the wanted validation text


def split_train_val(
    documents: list[str], val_fraction: float, rng: np.random.Generator, max_val: int | None = None
) -> tuple[list[str], list[str]]:
    """Split documents into a training set and a validation set that have no document in common.

    Whole documents are drawn at random until the validation set has ``val_fraction`` of all characters, but at most
    ``max_val`` characters, so that evaluation is fast even for a long text. Equal documents stay together; otherwise
    the model would be tested on documents that it has memorized. A single document is cut in two: its beginning is for
    training, its end for validation. The longest document is also cut if the drawn ones are far too short, as in a
    folder with two books and a note.

    Raises
    ------
    ValueError
        If either side would be empty.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, got {val_fraction}")
    times = Counter(documents)
    distinct = list(times)
    if len(distinct) == 1:
        text = documents[0]
        return _cut(text, max(int(len(text) * (1 - val_fraction)), len(text) - (max_val or len(text))))
    wanted = val_fraction * sum(map(len, documents))
    wanted = min(wanted, max_val or wanted)
    val: set[str] = set()
    size = 0.0
    for i in rng.permutation(len(distinct)):
        length = len(distinct[i]) * times[distinct[i]]
        if val and (size + length / 2 > wanted or len(val) == len(distinct) - 1):
            break
        val.add(distinct[i])
        size += length
    train = [document for document in documents if document not in val]
    held_out = [document for document in documents if document in val]
    longest = max(train, key=len)
    if size < FAR_TOO_SHORT * wanted and times[longest] == 1 and len(longest) > 2 * wanted:
        beginning, end = _cut(longest, len(longest) - int(wanted - size))
        return [*beginning, *(document for document in train if document != longest)], held_out + end
    return train, held_out


def _cut(text: str, at: int) -> tuple[list[str], list[str]]:
    if not (text[:at].strip() and text[at:].strip()):
        raise ValueError(f"a text of {len(text)} characters is too short to be divided for validation")
    return [text[:at]], [text[at:]]
