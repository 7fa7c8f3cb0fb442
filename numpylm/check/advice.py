"""What to try when a student's code stops with an error: a sentence for each message of NumPy that puzzles many."""

import ast
import re

SAY_LOST_AXIS = (
    "One of the two arrays lacks the last axis of the other. A sum, mean or maximum along an axis removes it; "
    "keepdims=True keeps it with length 1, so that the two fit."
)
SAY_ONE_HOT = (
    "y holds ids, one for each row, and p holds a row of probabilities. In the formula p - y, y stands for the one-hot "
    "rows: subtract 1 at the place of the right id, and nothing elsewhere."
)
SAY_TRANSPOSED = (
    "In a @ b, the last axis of a must be as long as the last but one of b. Is one of them transposed? "
    "x.swapaxes(-1, -2) exchanges the last two axes."
)
SAY_PARAMETER = (
    "A Parameter is not an array; it holds one. Write self.weight.data for its numbers, self.weight.grad for its "
    "gradient."
)
SAY_PAIR = "This is a pair. A forward returns (out, cache): take it apart with out, cache = …"
SAY_UNPACKED = (
    "The names on the left are not as many as the values on the right. Does the cache hold what forward put into it?"
)
SAY_SENTENCES = (
    (r"'Parameter'|type Parameter|does not have enough dimensions \(has 0", SAY_PARAMETER),
    (r"mismatch in its core dimension|shapes .* not aligned", SAY_TRANSPOSED),
    (r"'tuple' object (?:has no attribute|cannot be interpreted)|'tuple' and|and 'tuple'", SAY_PAIR),
    (r"values to unpack", SAY_UNPACKED),
)


def advice(message: str, code: str) -> str:
    """What to try after an error; "" for a message that needs no help.

    Parameters
    ----------
    message : str
        That of the exception.
    code : str
        The student's line in which it was raised.
    """
    if shapes := re.search(r"broadcast together with shapes (\([\d,]*\)) (\([\d,]*\))", message):
        a, b = map(ast.literal_eval, shapes.groups())
        if b not in (a[:-1], (1, *a[:-1])) and a not in (b[:-1], (1, *b[:-1])):
            return ""
        return SAY_ONE_HOT if re.search(r"- *(y|ids|labels|targets?)\b", code) else SAY_LOST_AXIS
    return next((sentence for pattern, sentence in SAY_SENTENCES if re.search(pattern, message)), "")
