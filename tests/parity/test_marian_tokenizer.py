"""The same ids and texts as transformers' MarianTokenizer, with small SentencePiece models that are trained here."""

import io
import json
import random
import sys

import pytest

REASON = "pip install -e '.[parity]' to run the parity tests"
sentencepiece = pytest.importorskip("sentencepiece", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)

from numpylm.corpora import CORPORA  # noqa: E402
from numpylm.text.marian_tokenizer import MarianTokenizer  # noqa: E402
from tests.parity.difficult_strings import difficult_strings  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
STRINGS = [text for text in difficult_strings(1500, seed=2) if "\0" not in text]
STRINGS += [
    f">>{code}<<{space}{text}" for code in ("fr", "de", "xx", "") for space in ("", " ") for text in STRINGS[:60]
]


def spm(texts, **options):
    """A SentencePiece model, and its pieces."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=written, minloglevel=2, num_threads=1, **options
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return written.getvalue(), [model.id_to_piece(i) for i in range(model.vocab_size())]


@pytest.fixture(scope="module")
def languages():
    """Models of English stories and of difficult strings. The second one writes rare characters as bytes."""
    stories = "\n".join(CORPORA["stories"].documents(60_000)).split("\n")
    english = spm(stories, vocab_size=300, model_type="bpe")
    others = spm(difficult_strings(600, seed=3), vocab_size=1200, byte_fallback=True, character_coverage=0.98)
    return english, others


def vocabulary(*pieces):
    """Marian's order: </s> and <unk>, then pieces in an order of its own, and <pad> last. A tenth is missing."""
    rng = random.Random(0)
    found = sorted({piece for model in pieces for piece in model} - {"</s>", "<unk>", "<s>", "<pad>"})
    rng.shuffle(found)
    tokens = ["</s>", "<unk>", ">>fr<<", ">>de<<", *found[len(found) // 10 :], "<pad>"]
    return {token: i for i, token in enumerate(tokens)}


@pytest.fixture(scope="module", params=["one vocabulary", "two vocabularies", "the other way round"])
def folder(request, languages, tmp_path_factory):
    path = tmp_path_factory.mktemp("marian")
    source, target = languages if request.param != "the other way round" else languages[::-1]
    separate = request.param == "two vocabularies"
    config = {
        "source_lang": "en",
        "target_lang": "fr",
        "tokenizer_class": "MarianTokenizer",
        "separate_vocabs": separate,
    }
    vocabs = {"vocab.json": vocabulary(source[1], *([] if separate else [target[1]]))}
    if separate:
        vocabs["target_vocab.json"] = same_length(vocabulary(target[1]), len(vocabs["vocab.json"]))
    for name, content in {**vocabs, "tokenizer_config.json": config}.items():
        (path / name).write_text(json.dumps(content), encoding="utf-8")
    for name, (model, _) in zip(("source.spm", "target.spm"), (source, target), strict=True):
        (path / name).write_bytes(model)
    return path


def same_length(vocab, length):
    """The vocabulary with as many tokens as the other one, so that <pad>, the last, has the same id in both."""
    tokens = list(vocab)[: length - 1]
    tokens += [f"more {n}" for n in range(length - 1 - len(tokens))]
    return {token: i for i, token in enumerate([*(token for token in tokens if token != "<pad>"), "<pad>"])}


@pytest.fixture(scope="module")
def both(folder):
    return MarianTokenizer.load(folder), transformers.MarianTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("allow_special", [False, True])
def test_ids_are_those_of_transformers(both, allow_special):
    ours, theirs = both
    different = set()
    for text in STRINGS:
        source = theirs(text, split_special_tokens=not allow_special).input_ids
        target = theirs(text_target=text, split_special_tokens=not allow_special).input_ids
        assert ours.encode_source(text, allow_special) == source, ascii(text)
        assert ours.encode(text, allow_special) == source[:-1]
        assert ours.encode_target(text, allow_special) == target, ascii(text)
        different.update(source, target)
    assert len(different) > 200  # not all pieces are <unk>


@pytest.mark.parametrize("skip", [False, True])
def test_texts_of_ids_are_those_of_transformers(both, skip):
    ours, theirs = both
    rng = random.Random(0)
    some = [rng.choices((rng.randrange(4), ours.pad_id, rng.randrange(ours.vocab_size)), k=9) for _ in range(500)]
    some += [rng.choices(range(ours.vocab_size), k=9) for _ in range(500)]
    for ids in [*some, *map(ours.encode_target, STRINGS)]:
        assert ours.decode(ids, skip_special=skip) == theirs.decode(ids, skip_special_tokens=skip), ids


def test_texts_are_cleaned_if_the_settings_ask_for_it(folder, tmp_path):
    ours = MarianTokenizer.load(folder)
    ours.config["clean_up_tokenization_spaces"] = True
    ours.save(tmp_path)
    ours, theirs = MarianTokenizer.load(tmp_path), transformers.MarianTokenizer.from_pretrained(tmp_path)
    for text in ("it 's , said we .", "did n't he ?", "a ' b"):
        ids = ours.encode_target(text)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_saved_files_give_the_same_ids(both, folder, tmp_path):
    ours, _ = both
    ours.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}
    for name in ("source.spm", "target.spm"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    again, theirs = MarianTokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in STRINGS[:200]:
        assert (
            again.encode_source(text) == ours.encode_source(text) == theirs(text, split_special_tokens=True).input_ids
        )
        assert again.encode_target(text) == ours.encode_target(text)


def test_bytes_of_tokens_put_together_are_the_text(both):
    ours, _ = both
    for text in ("once upon a time", "the naïve 🙂 cat"):
        ids = [i for i in ours.encode_target(text)[:-1] if i != ours.unk_id]
        assert b"".join(map(ours.token_bytes, ids)).decode("utf-8", "replace").strip() == ours.decode(ids)


def test_special_tokens_have_the_target_vocabularys_own_ids_in_target_texts(folder, tmp_path):
    """transformers uses the source's ids for them here, although they may belong to words of the target language."""
    first = MarianTokenizer.load(folder)
    if first.target_vocab is first.vocab:
        pytest.skip("one vocabulary")
    first.save(tmp_path)
    pieces = ["<pad>", *(piece for piece in first.target_vocab if piece != "<pad>")]
    (tmp_path / "target_vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), "utf-8")
    ours = MarianTokenizer.load(tmp_path)
    text = "The cat, don't</s>"
    ids = ours.encode_target(text, allow_special=True)
    assert ids == [i + 1 for i in first.encode_target(text, allow_special=True)]
    assert ours.encode_source("") == [0] != ours.encode_target("")
    assert ours.decode([0, *ids]) == first.decode(first.encode_target(text, allow_special=True)) != ""


# ------------------------------------------------------------------------------------------------ errors


@pytest.fixture
def copy(folder, tmp_path):
    MarianTokenizer.load(folder).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "[]", "vocab.json should be one JSON object"),
        ("vocab.json", '{"</s>": 0, "<unk>": 1}', "vocab.json has no <pad>"),
        ("vocab.json", '{"</s>": 0, "<unk>": 0, "<pad>": 1}', "the ids in vocab.json should be 0 … 2, each once"),
        ("source.spm", "text", "source.spm is not a SentencePiece model"),
        ("target.spm", "", "target.spm is not a SentencePiece model"),
        ("tokenizer_config.json", '{"tokenizer_class": "T5Tokenizer"}', "is 'T5Tokenizer', not MarianTokenizer"),
        ("tokenizer_config.json", '{"sp_model_kwargs": {"enable_sampling": true}}', "sp_model_kwargs"),
        ("tokenizer_config.json", '{"eos_token": "<end>"}', "vocab.json has no <end>"),
        ("tokenizer_config.json", '{"separate_vocabs": 1}', "separate_vocabs should be bool"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"9": {"content": "<x>"}}}',
            "the added token .* with id 9",
        ),
    ],
)
def test_broken_files_are_explained(copy, name, content, message):
    (copy / "target_vocab.json").write_text('{"</s>": 0, "<unk>": 1, "<pad>": 2}', encoding="utf-8")
    (copy / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as error:
        MarianTokenizer.load(copy)
    assert str(copy) in str(error.value)


@pytest.mark.parametrize("name", ["vocab.json", "source.spm", "target.spm"])
def test_missing_files_are_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        MarianTokenizer.load(copy)


def test_a_missing_package_is_named_with_its_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ModuleNotFoundError, match=r"a Marian tokenizer needs the package sentencepiece.*\[hub\]"):
        MarianTokenizer.load(folder)


def test_bad_ids_and_half_characters_get_a_clear_error(both):
    ours, _ = both
    with pytest.raises(ValueError, match="id -1 is outside"):
        ours.decode([-1])
    with pytest.raises(ValueError, match=r"lone surrogate, U\+D800, at position 2"):
        ours.encode("a \ud800")
