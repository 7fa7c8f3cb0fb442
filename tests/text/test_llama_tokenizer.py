"""LlamaTokenizer in tokenizer.json: read as transformers writes it, or refused with a reason."""

import copy
import json

import pytest

from numpylm import Tokenizer
from numpylm.files.tokenizer_export import export_tokenizer
from numpylm.text.added_tokens import AddedToken
from numpylm.text.any_tokenizer import load_tokenizer
from numpylm.text.llama_tokenizer import LlamaTokenizer
from numpylm.text.loss_mask import encode_answers
from numpylm.text.tokenizer_config import Chat

PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "aa", "▁a", "aaa"]
VOCAB = {piece: i for i, piece in enumerate(PIECES)}
MERGES = [("▁", "a"), ("a", "a"), ("aa", "a"), ("a", "aa")]
ADDED = [AddedToken(piece, i) for i, piece in enumerate(PIECES[:3])]


@pytest.fixture
def saved(tmp_path):
    LlamaTokenizer(VOCAB, MERGES, ADDED, chat=Chat("{{ x }}", 1, True, (2, 0))).save(tmp_path)
    return tmp_path


@pytest.fixture
def load(saved):
    """Load a tokenizer.json in which ``change`` has changed something."""
    whole = json.loads((saved / "tokenizer.json").read_text(encoding="utf-8"))

    def load(change=lambda whole: None):
        changed = copy.deepcopy(whole)
        change(changed)
        (saved / "tokenizer.json").write_text(json.dumps(changed), encoding="utf-8")
        return load_tokenizer(saved)

    return load


def test_saved_and_loaded(load, saved):
    tok = load()
    assert (tok.vocab, tok.merges, tok.added_tokens) == (VOCAB, MERGES, ADDED)
    assert tok.chat == Chat("{{ x }}", 1, True, (2, 0))
    assert tok.token_bytes(tok.encode("\n")[-1]) == b"\n"
    export_tokenizer(tok, saved / "exported", 100)
    assert load_tokenizer(saved / "exported").chat == tok.chat
    with pytest.raises(ValueError, match="token id 264 is outside this vocabulary of 264"):
        tok.decode([264])
    with pytest.raises(ValueError, match="lone surrogate"):
        tok.encode("a\ud800")


def test_another_tokenizer_in_the_same_folder(load, saved):
    Tokenizer.train("ab ab ab", 258).save(saved)
    assert isinstance(load_tokenizer(saved), Tokenizer)
    LlamaTokenizer(VOCAB, MERGES, ADDED).save(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.update(normalizer=None), "its normalizer is None; numpylm knows Prepend and Replace"),
        (lambda w: w["normalizer"]["normalizers"].append({"type": "NFKC"}), "its normalizer is .*NFKC"),
        (lambda w: w.update(pre_tokenizer={"type": "Metaspace"}), "its pre_tokenizer is .*Metaspace"),
        (lambda w: w.update(decoder=None), "its decoder is None"),
        (lambda w: w["decoder"]["decoders"].pop(), "its decoder is .*Fuse"),
        (lambda w: w["model"].update(ignore_merges=True), "ignore_merges true"),
        (lambda w: w["model"].update(dropout=0.5), r"model\.dropout = 0\.5"),
        (lambda w: w["added_tokens"][0].update(normalized=True), "'<unk>' is found after normalization"),
        (lambda w: w["model"]["vocab"].pop("<0x41>") and w["model"]["vocab"].update(x=68), "1 bytes, first <0x41>"),
        (lambda w: w["model"]["merges"].append(["a", "▁"]), "the merge of 'a' and '▁': 'a▁' has no id"),
        (lambda w: w["model"]["merges"].append(["a"]), r"merge 5: expected two tokens, got \['a'\]"),
        (lambda w: w["model"]["vocab"].update(x=900), "each once"),
    ],
)
def test_what_is_refused(change, said, load):
    with pytest.raises(ValueError, match=said) as caught:
        load(change)
    assert "tokenizer.json" in str(caught.value)


def test_without_a_space_before_the_text(load):
    def change(whole):
        del whole["normalizer"]["normalizers"][0], whole["decoder"]["decoders"][-1]

    assert [PIECES[i] for i in load(change).encode("a a")] == ["a", "▁a"]


def test_an_answer_has_the_ids_that_it_has_in_its_document(load):
    tok = load()
    tokens, counted = encode_answers(["a?a"], tok, "?")  # alone, the answer a would begin with a space
    assert tokens.tolist() == [1, *tok.encode("a?a"), 2]
    assert counted.tolist() == [False] * (1 + len(tok.encode("a?"))) + [True, True]
