"""tokenizer.json, as transformers writes it: read with the same ids, or refused with a reason."""

import copy
import json

import pytest

from numpylm import Tokenizer
from numpylm.text.pretokenize import GPT2_PATTERN
from numpylm.text.tokenizer_files import GPT2_PATTERN_SPELT_OUT

TEXT = "the cat sat on the mat, the cat ate the rat. Émile a vu l'été; we'll don't 12 123\n\n  x = x + 1\n" * 3
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def split_by(pattern, behavior="Isolated", invert=False):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}
    return {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL | {"use_regex": False}]}


@pytest.fixture(scope="module")
def tok():
    return Tokenizer.train(TEXT, 300, ("<|endoftext|>", "<|user|>"))


@pytest.fixture(scope="module")
def whole(tok, tmp_path_factory):
    """What transformers would write for the same tokenizer; one special token is not in the model's vocabulary."""
    folder = tmp_path_factory.mktemp("two")
    tok.save(folder)
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    added = [{"id": i, "content": token, "special": True, "lstrip": False} for token, i in tok.special_tokens.items()]
    del vocab["<|user|>"]
    model = {"type": "BPE", "dropout": None, "vocab": vocab, "merges": [line.split(" ") for line in lines]}
    return {"added_tokens": added, "normalizer": None, "pre_tokenizer": BYTE_LEVEL, "model": model}


@pytest.fixture
def load(whole, tmp_path):
    """Load a tokenizer.json in which ``change`` has changed something."""

    def load(change=lambda whole: None):
        changed = copy.deepcopy(whole)
        change(changed)
        (tmp_path / "tokenizer.json").write_text(json.dumps(changed), encoding="utf-8")
        return Tokenizer.load(tmp_path)

    return load


def old_form(whole):
    """As in GPT-2's own tokenizer.json."""
    whole["model"]["merges"] = [" ".join(pair) for pair in whole["model"]["merges"]]
    del whole["model"]["type"], whole["pre_tokenizer"]["use_regex"]


def in_a_sequence(whole):
    whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [BYTE_LEVEL]}


@pytest.mark.parametrize("change", [lambda whole: None, old_form, in_a_sequence])
def test_the_same_tokenizer(load, tok, change):
    again = load(change)
    assert (again.vocab, again.merges, again.special_tokens) == (tok.vocab, tok.merges, tok.special_tokens)
    assert again.pattern == GPT2_PATTERN
    text = "the rat <|user|>ate<|endoftext|> 漢"
    assert again.encode(text, allow_special=True) == tok.encode(text, allow_special=True)


def test_its_own_pattern_is_taken_and_kept(load, tmp_path):
    digits = r"\d|[^\d]+"  # every digit a chunk of its own

    def change(whole):
        whole["pre_tokenizer"] = split_by(digits)

    again = load(change)
    again.save(tmp_path / "saved")
    for each in (again, Tokenizer.load(tmp_path / "saved")):
        assert len(each.encode("123")) == 3
        assert each.decode(each.encode("the 123 漢")) == "the 123 漢"


def test_gpt2s_pattern_as_its_authors_wrote_it(load):
    assert load(lambda whole: whole.update(pre_tokenizer=split_by(GPT2_PATTERN_SPELT_OUT))).pattern == GPT2_PATTERN


def test_what_lies_between_the_matches(load):
    """ "Isolated" keeps it; "Removed" with invert keeps the matches and drops it."""
    text = "the,, rat"
    isolated = load(lambda whole: whole.update(pre_tokenizer=split_by(r"\p{L}+")))
    assert isolated.decode(isolated.encode(text)) == text
    removed = load(lambda whole: whole.update(pre_tokenizer=split_by(r"\p{L}+", "Removed", True)))
    assert removed.decode(removed.encode(text)) == "therat"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("model"), "has no model"),
        (lambda w: w["model"].update(type="WordPiece"), "holds a WordPiece tokenizer"),
        (lambda w: w["model"].update(vocab=["a"]), "vocab .token -> id. and a list of merges"),
        (lambda w: w["model"].update(dropout=0.1), r"model\.dropout = 0\.1"),
        (lambda w: w["model"].update(ignore_merges=True), r"model\.ignore_merges = True"),
        (lambda w: w.update(normalizer={"type": "NFC"}), "normalizer = .*NFC"),
        (lambda w: w["pre_tokenizer"].update(add_prefix_space=True), "add_prefix_space false"),
        (lambda w: w["pre_tokenizer"].update(use_regex=False), "its pre_tokenizer is"),
        (lambda w: w.update(pre_tokenizer={"type": "Whitespace"}), "its pre_tokenizer is .*Whitespace"),
        (lambda w: w.update(pre_tokenizer=None), "its pre_tokenizer is None"),
        (lambda w: w.update(pre_tokenizer=split_by("a", "MergedWithNext")), "its pre_tokenizer is .*MergedWithNext"),
        (lambda w: w.update(pre_tokenizer=split_by("(a")), "is not a regular expression"),
        (lambda w: w["model"]["merges"].insert(1, ["t"]), r"merge 2: expected two tokens, got \['t'\]"),
        (lambda w: w["model"]["merges"].insert(1, [["t"], "h"]), "merge 2: expected two tokens"),
        (lambda w: w["model"]["merges"].insert(0, "th e"), "merge 1: merges a token that is not made before, 'th'"),
        (lambda w: w["added_tokens"][0].update(lstrip=True), r"the text around it \(lstrip\)"),
        (lambda w: w["added_tokens"].append({"content": "x"}), "should have content and an id"),
        (
            lambda w: w["added_tokens"].append({"content": "a", "id": w["model"]["vocab"]["a"]}),
            "'a' is both an added token",
        ),
        (lambda w: w["added_tokens"].append({"content": "<x>", "id": 900}), "each once"),
    ],
)
def test_what_would_give_other_ids_is_refused(load, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(change)
    assert "tokenizer.json" in str(caught.value)


def test_two_files_win_over_one(load, tok, tmp_path):
    """transformers writes all three for one tokenizer; a damaged tokenizer.json must not matter then."""
    tok.save(tmp_path)
    assert load(lambda whole: whole.clear()).merges == tok.merges


def test_added_tokens_of_older_transformers(tok, tmp_path):
    tok.save(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|pad|>": tok.vocab_size}), encoding="utf-8")
    assert Tokenizer.load(tmp_path).encode("<|pad|>", allow_special=True) == [tok.vocab_size]
