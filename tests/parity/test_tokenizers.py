"""The same ids as tiktoken and as Rust's tokenizers, from the same files; and the same merges as the latter."""

import json
from pathlib import Path

import numpy as np
import pytest

tiktoken = pytest.importorskip("tiktoken", reason="pip install -e '.[parity]' to run the parity tests")
tokenizers = pytest.importorskip("tokenizers", reason="pip install -e '.[parity]' to run the parity tests")

from numpylm import Tokenizer  # noqa: E402
from numpylm.corpora import CORPORA  # noqa: E402
from numpylm.text.pretokenize import END_OF_TEXT, GPT2_PATTERN  # noqa: E402
from numpylm.text.tokenizer_files import BYTE_OF_LETTER  # noqa: E402

ENGLISH = "\n\n".join(CORPORA["stories"].documents(200_000))
CHINESE = "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。寒來暑往，秋收冬藏。閏餘成歲，律呂調陽。" * 30
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parents[2].glob("numpylm/**/*.py")))
EMOJI = "🙂👩‍👩‍👧‍👦🏳️‍🌈 🇨🇭 e\u0301 ½ ² Ⅷ ٣٤٥ नमस्ते ไทย " * 20
CONTROL = "".join(map(chr, range(0xA0))) * 3 + "\u200b\u2028\ufeff\r\n \t\n   x\n\n\n"


def random_unicode(seed: int) -> str:
    points = np.random.default_rng(seed).integers(0, 0x110000, 4000)
    return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)


TEXTS = {
    "english": ENGLISH,
    "chinese": CHINESE,
    "code": CODE,
    "emoji": EMOJI,
    "control": CONTROL,
    "random": random_unicode(0),
    "more random": random_unicode(1),
    "spaces": " a  b   c\t\td \n e\n\n f   ",
    "one long word": "abcab" * 3000,
    "special as text": f"a{END_OF_TEXT}b",
}


@pytest.fixture(scope="module", params=[0, 3], ids=["plain", "whole characters"])
def folder(tmp_path_factory, request):
    path = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train([ENGLISH, CHINESE, CODE, EMOJI], 3000, whole_characters=request.param).save(path)
    return path


@pytest.fixture(scope="module")
def three(folder):
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    special = {END_OF_TEXT: vocab.pop(END_OF_TEXT)}
    ranks = {bytes(BYTE_OF_LETTER[letter] for letter in token): i for token, i in vocab.items()}
    tik = tiktoken.Encoding("ours", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special)
    rust = tokenizers.ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return Tokenizer.load(folder), tik, rust


@pytest.mark.parametrize("name", TEXTS)
def test_same_ids(three, name):
    ours, tik, rust = three
    ids = ours.encode(TEXTS[name])
    assert ids == tik.encode_ordinary(TEXTS[name])
    assert ids == rust.encode(TEXTS[name]).ids
    assert ours.decode(ids) == TEXTS[name]


def test_same_ids_with_special_tokens(three):
    ours, tik, _ = three
    text = f"a{END_OF_TEXT}b {END_OF_TEXT}"
    assert ours.encode(text, allow_special=True) == tik.encode(text, allowed_special="all")


def test_training_learns_the_same_merges_as_tokenizers():
    text = ENGLISH + CODE + EMOJI
    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    rust.train_from_iterator(
        [text],
        tokenizers.trainers.BpeTrainer(
            vocab_size=2000, min_frequency=2, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
        ),
    )
    theirs = [tuple(pair) for pair in json.loads(rust.to_str())["model"]["merges"]]
    ours = Tokenizer.train(text, 2000, special_tokens=())
    letters = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}
    assert [tuple("".join(letters[b] for b in part) for part in pair) for pair in ours.merges] == theirs


# As in larger models: Unicode's own case folding, at most three digits, and other rules for line ends.
OTHER_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


@pytest.mark.parametrize(
    ("pattern", "behavior", "invert"),
    [
        (None, "", False),
        (OTHER_PATTERN, "isolated", False),
        (OTHER_PATTERN, "removed", True),
        (r"\p{L}+", "isolated", False),
    ],
)
def test_tokenizer_json_of_tokenizers(tmp_path, pattern, behavior, invert):
    """Trained and saved by Rust's tokenizers, loaded by us: the same ids."""
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = ByteLevel(add_prefix_space=False)
    if pattern:
        split = Split(tokenizers.Regex(pattern), behavior, invert)
        rust.pre_tokenizer = Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    rust.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=ByteLevel.alphabet(), special_tokens=[END_OF_TEXT], show_progress=False
    )
    rust.train_from_iterator([ENGLISH[:100_000], CHINESE, CODE, EMOJI], trainer)
    rust.add_special_tokens(["<|user|>"])
    rust.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    assert ours.vocab_size == rust.get_vocab_size()
    for name, text in TEXTS.items():
        text += f"<|user|> x{END_OF_TEXT}\n"
        assert ours.encode(text, allow_special=True) == rust.encode(text).ids, name
