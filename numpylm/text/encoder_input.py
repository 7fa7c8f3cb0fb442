"""The special tokens of encoders such as BERT, and the form of their input: [CLS] text [SEP]."""

from collections.abc import Sequence
from typing import Any, NamedTuple

SPECIAL = ("[CLS]", "[SEP]", "[PAD]", "[MASK]")  # of tokenizers that are trained here; BERT has the same names
ROBERTA = ("<s>", "</s>", "<pad>", "<mask>")


class EncoderTokens(NamedTuple):
    """The ids of the special tokens."""

    first: int
    last: int
    pad: int
    mask: int

    @classmethod
    def of(cls, tokenizer: Any) -> "EncoderTokens":
        """The special tokens of a tokenizer. Raises ValueError if it has not all of them."""
        for names in (SPECIAL, ROBERTA):
            if all(name in tokenizer.special_tokens for name in names):
                return cls(*(tokenizer.special_tokens[name] for name in names))
        raise ValueError(
            f"this tokenizer is not an encoder's: it needs the special tokens {', '.join(SPECIAL)} "
            f"(or {', '.join(ROBERTA)}), it has {', '.join(tokenizer.special_tokens) or 'none'}"
        )


def encoder_input(tokenizer: Any, texts: Sequence[str], block_size: int) -> tuple[list[list[int]], int]:
    """The ids of each text between its special tokens, and how many texts were cut to ``block_size`` tokens."""
    special = EncoderTokens.of(tokenizer)
    bodies = [tokenizer.encode(text) for text in texts]
    rows = [[special.first, *body[: block_size - 2], special.last] for body in bodies]
    return rows, sum(len(body) > block_size - 2 for body in bodies)
