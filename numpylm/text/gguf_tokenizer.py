"""The tokenizer in the header of a ``.gguf`` file: byte-level BPE with a known pattern, or BPE as in Llama 2

llama.cpp gives the rules of a byte-level BPE only by a name (``tokenizer.ggml.pre``), so this file knows the rules of
some names. The table is from llama.cpp's src/llama-vocab.cpp, the normalization from the models' own tokenizer.json.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpylm.system.gguf_header import read_gguf_header
from numpylm.system.json_fields import brief, typed
from numpylm.text.added_tokens import AddedToken
from numpylm.text.llama_tokenizer import LlamaTokenizer
from numpylm.text.pretokenize import END_OF_TEXT, GPT2_PATTERN, Pattern
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.tokenizer_config import Chat, naming
from numpylm.text.tokenizer_files import Rules, assemble, check_vocabulary_ids

# Llama 3's pattern and Qwen2's differ in the number of digits of a chunk.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN, QWEN2_PATTERN = WORDS + r"\p{N}{1,3}" + SIGNS, WORDS + r"\p{N}" + SIGNS
DIGITS_ALONE = (r"\p{N}|\P{N}+", GPT2_PATTERN)
# Mistral's tekken splits words where a capital letter follows a small one.
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN_PATTERN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class _Kind(NamedTuple):
    """The rules of a name in ``tokenizer.ggml.pre``."""

    pattern: Pattern
    rules: Rules = Rules()
    add_bos: bool = False


KINDS = {
    **dict.fromkeys(("gpt-2", "phi-2"), _Kind(GPT2_PATTERN)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell"), _Kind(DIGITS_ALONE)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _Kind(LLAMA3_PATTERN, Rules(ignore_merges=True), True)),
    "qwen2": _Kind(QWEN2_PATTERN, Rules("NFC")),
    "deepseek-r1-qwen": _Kind(QWEN2_PATTERN),
    "tekken": _Kind(TEKKEN_PATTERN, Rules(ignore_merges=True), True),
}
UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6  # values of token_type; others are ordinary
# Control tokens that end a text or a message, whatever the header says; llama.cpp has the same list.
ENDS = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|eom_id|>", END_OF_TEXT)


def read_gguf_tokenizer(path: Path) -> Tokenizer | LlamaTokenizer:
    """Read the tokenizer in a GGUF file.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it is damaged, or its tokenizer is of a kind that numpylm does not have.
    """
    return gguf_tokenizer(read_gguf_header(path).metadata, path)


def gguf_tokenizer(metadata: dict[str, Any], path: Path) -> Tokenizer | LlamaTokenizer:
    """The tokenizer that the header of a GGUF file describes; see `read_gguf_tokenizer`."""
    prefix = "tokenizer.ggml."
    found = {name.removeprefix(prefix): value for name, value in metadata.items() if name.startswith(prefix)}
    template = metadata.get("tokenizer.chat_template", "")
    with naming(path):
        if not isinstance(template, str):
            raise ValueError(f"tokenizer.chat_template should be a text, is {brief(template)}")
        if "model" not in found:
            raise ValueError("the header has no tokenizer (tokenizer.ggml.model)")
        kind = found["model"]
        if kind not in ("gpt2", "llama"):
            raise ValueError(f"its tokenizer is {brief(kind)} (tokenizer.ggml.model); numpylm reads gpt2 and llama")
        for name in ("remove_extra_whitespaces", "precompiled_charsmap", "add_eos_token"):
            if name in found and found[name] is not False:
                raise ValueError(f"its tokenizer has {name}, {brief(found[name])}, which numpylm does not support")
        ids, added = _tokens(found)
    return (_byte_level if kind == "gpt2" else _llama)(found, ids, added, template, path)


def _tokens(found: dict[str, Any]) -> tuple[dict[str, int], list[AddedToken]]:
    """The ids of all tokens, and the added tokens."""
    tokens = _texts(found, "tokens")
    ids = {token: i for i, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if ids[token] != i)
        raise ValueError(f"the token {brief(twice)} has two ids")
    types = found.get("token_type", np.ones(len(tokens), np.int32))
    if not isinstance(types, np.ndarray) or types.shape != (len(tokens),):
        raise ValueError("token_type should have a number for each token")
    added = [
        AddedToken(tokens[i], i, special=bool(types[i] != USER_DEFINED))
        for i in np.flatnonzero(np.isin(types, (UNKNOWN, CONTROL, USER_DEFINED))).tolist()
    ]
    return ids, added


def _texts(found: dict[str, Any], name: str) -> list[str]:
    texts = typed(found, name, list)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} should be texts")
    return list(texts)


def _byte_level(
    found: dict[str, Any], ids: dict[str, int], added: list[AddedToken], template: str, path: Path
) -> Tokenizer:
    with naming(path):
        name = found.get("pre")
        if not isinstance(name, str) or name not in KINDS:
            raise ValueError(
                f"its byte-level BPE has the rules {brief(name)} (tokenizer.ggml.pre); numpylm knows {', '.join(KINDS)}"
            )
        kind = KINDS[name]
        if found.get("add_space_prefix"):
            raise ValueError("its byte-level BPE puts a space before the text; numpylm does not support that")
        merges = ((n, merge.split(" ")) for n, merge in enumerate(_texts(found, "merges"), 1))
        chat = _chat(found, ids, added, template, kind.add_bos)
    parts = assemble(ids, merges, added, kind.pattern, kind.rules, path)
    return Tokenizer(*parts._replace(chat=chat))


def _llama(
    found: dict[str, Any], ids: dict[str, int], added: list[AddedToken], template: str, path: Path
) -> LlamaTokenizer:
    check_vocabulary_ids(ids, path)
    with naming(path):
        scores = found.get("scores")
        if not isinstance(scores, np.ndarray) or scores.shape != (len(ids),) or not np.isfinite(scores).all():
            raise ValueError("scores should have a number for each token")
        others = {token.text for token in added}
        types = found.get("token_type", np.ones(len(ids), np.int32))
        ordinary = {token: i for token, i in ids.items() if token not in others and types[i] != BYTE}
        prefix = typed({"add_space_prefix": True} | found, "add_space_prefix", bool)
        chat = _chat(found, ids, added, template, True)
        return LlamaTokenizer(ids, merges_by_score(ordinary, scores), added, prefix, chat)


def merges_by_score(tokens: dict[str, int], scores: np.ndarray) -> list[tuple[str, str]]:
    """The merges of a SentencePiece vocabulary: all pairs that make a token, the highest score first.

    Raises
    ------
    ValueError
        If two tokens that can be made have the same score, because then the order of their merges is not known.
    """
    pairs: dict[str, list[tuple[str, str]]] = {}
    for token in tokens:
        cuts = ((token[:n], token[n:]) for n in range(1, len(token)))
        if found := [(left, right) for left, right in cuts if left in tokens and right in tokens]:
            pairs[token] = found
    ordered = sorted(pairs, key=lambda token: -float(scores[tokens[token]]))
    for one, other in pairwise(ordered):
        if scores[tokens[one]] == scores[tokens[other]]:
            raise ValueError(
                f"the tokens {brief(one)} and {brief(other)} have the same score; numpylm does not support that"
            )
    return [pair for token in ordered for pair in pairs[token]]


def _chat(
    found: dict[str, Any], ids: dict[str, int], added: Sequence[AddedToken], template: str, add_bos: bool
) -> Chat:
    """Which tokens begin and end a text."""
    special = {token.text: token.id for token in added if token.special}
    numbers = {}
    for name in ("bos", "eos", "eot", "eom"):
        key = f"{name}_token_id"
        if key in found:
            numbers[name] = typed(found, key, int)
            if not 0 <= numbers[name] < len(ids):
                raise ValueError(f"{key} is {numbers[name]}, outside this vocabulary of {len(ids)}")
    bos = numbers.pop("bos", None)
    ends = [*numbers.values(), *(special[text] for text in ENDS if text in special)]
    add_bos = typed({"add_bos_token": add_bos} | found, "add_bos_token", bool) and bos is not None
    return Chat(template, bos, add_bos, tuple(dict.fromkeys(ends)))
