"""tokenizer.json, as transformers writes it: read with the same ids, or refused with a reason."""

import copy
import json

import numpy as np
import pytest

from numpylm import Tokenizer
from numpylm.files.tokenizer_export import export_tokenizer
from numpylm.text.encode_in_processes import encode_in_processes
from numpylm.text.pretokenize import GPT2_PATTERN
from numpylm.text.tokenizer_json import GPT2_PATTERN_SPELT_OUT

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


def size(whole):
    """The number of tokens of a tokenizer.json, which is the next free id."""
    return len(whole["model"]["vocab"].keys() | {entry["content"] for entry in whole["added_tokens"]})


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
        (lambda w: w["model"].update(end_of_word_suffix="</w>"), r"model\.end_of_word_suffix = '</w>'"),
        (lambda w: w["model"].update(byte_fallback=True), "BPE of characters, as in Llama 2"),
        (lambda w: w.update(normalizer={"type": "NFKC"}), "its normalizer is .*NFKC"),
        (
            lambda w: w.update(
                normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
            ),
            "its normalizer is .*Lowercase",
        ),
        (lambda w: w["pre_tokenizer"].update(add_prefix_space=True), "add_prefix_space false"),
        (lambda w: w["pre_tokenizer"].update(use_regex=False), "its pre_tokenizer is"),
        (lambda w: w.update(pre_tokenizer={"type": "Whitespace"}), "its pre_tokenizer is .*Whitespace"),
        (lambda w: w.update(pre_tokenizer=None), "its pre_tokenizer is None"),
        (lambda w: w.update(pre_tokenizer=split_by("a", "MergedWithNext")), "its pre_tokenizer is .*MergedWithNext"),
        (lambda w: w.update(pre_tokenizer=split_by("(a")), "is not a regular expression"),
        (lambda w: w["model"]["merges"].insert(1, ["t"]), r"merge 2: expected two tokens, got \['t'\]"),
        (lambda w: w["model"]["merges"].insert(1, [["t"], "h"]), "merge 2: expected two tokens"),
        (
            lambda w: w["model"]["merges"].insert(0, "z zz"),
            "merge 1: merges a token that the vocabulary .* 'zz'",
        ),
        (lambda w: w["model"]["merges"].insert(0, "z q"), "merge 1: makes 'zq', which has no id"),
        (lambda w: w["model"]["vocab"].update({"日": size(w)}), "'日' is neither written in bytes nor an added token"),
        (lambda w: w["added_tokens"][0].update(single_word=True), r"only as a single word \(single_word\)"),
        (lambda w: w["added_tokens"].append({"content": "x"}), "should have content and an id"),
        (lambda w: w["added_tokens"].append({"content": "a", "id": 302}), "'a' has two ids, 64 and 302"),
        (lambda w: w["added_tokens"].append({"content": "<x>", "id": 900}), "each once"),
    ],
)
def test_what_would_give_other_ids_is_refused(load, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(change)
    assert "tokenizer.json" in str(caught.value)


def test_one_file_wins_over_two(load, tok, tmp_path):
    """transformers writes all three for one tokenizer, but only tokenizer.json has the pattern."""
    tok.save(tmp_path)
    assert len(load(digits_apart).encode("12")) == 2
    tok.save(tmp_path)  # our two files, and nothing else that would win over them
    assert Tokenizer.load(tmp_path).pattern == GPT2_PATTERN


def digits_apart(whole):
    """As in SmolLM2."""
    whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [DIGITS, BYTE_LEVEL]}


DIGITS = {"type": "Digits", "individual_digits": True}


def test_an_added_token_that_is_an_ordinary_one_too(load, tok):
    """It is found as a whole, with the same id, and stays the part of merges that it was."""
    the = tok.vocab[b"the"]
    again = load(lambda w: w["added_tokens"].append({"content": "the", "id": the, "special": False}))
    assert again.encode("other") == [*again.encode("o"), the, *again.encode("r")]
    assert again.vocab_size == tok.vocab_size
    assert again.vocab == tok.vocab


def test_tokens_that_need_no_merges(load, tok):
    """As in Llama 3: a chunk that is a token is this token, even if no merge makes it."""

    def change(ignore_merges):
        return lambda w: (w["model"]["vocab"].update({"zzz": size(w)}), w["model"].update(ignore_merges=ignore_merges))

    plain, ignoring = load(change(False)), load(change(True))
    assert ignoring.encode("zzz") == [tok.vocab_size]
    assert len(plain.encode("zzz")) == len(ignoring.encode("zzzz")) - 1 == 3
    assert ignoring.decode([tok.vocab_size]) == plain.decode([tok.vocab_size]) == "zzz"


def test_bytes_without_a_token_are_left_out(load):
    """As in SmolLM2, whose vocabulary lacks bytes that its training text did not have."""

    def change(whole):
        vocab = whole["model"]["vocab"]
        (end,) = (entry for entry in whole["added_tokens"] if entry["content"] == "<|endoftext|>")
        end["id"] = vocab["<|endoftext|>"] = vocab.pop("ñ")  # the byte 0xF1
        (user,) = (entry for entry in whole["added_tokens"] if entry["content"] == "<|user|>")
        user["id"] -= 1

    again = load(change)
    a, b, rest = again.vocab[b"a"], again.vocab[b"b"], again.vocab[b"\x80"]
    assert again.encode("a\U00040000b") == [a, rest, rest, rest, b]

    def with_unknown(whole):
        change(whole)
        whole["model"]["unk_token"] = "<|user|>"

    with pytest.raises(ValueError, match="1 bytes have no token, and become unk_token"):
        load(with_unknown)


def everything(whole):
    """All rules that GPT-2 does not have."""
    digits_apart(whole)
    whole["normalizer"] = {"type": "NFC"}
    whole["model"]["ignore_merges"] = True
    end = size(whole)
    whole["added_tokens"] += [
        {"content": "<think>", "id": end, "special": False, "normalized": True},
        {"content": "<mask>", "id": end + 1, "special": True, "lstrip": True, "rstrip": False, "normalized": False},
    ]
    steps = [{"SpecialToken": {"id": "<|user|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": steps, "pair": [], "special_tokens": {}}
    whole["post_processor"] = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]}


def test_all_rules_survive_saving_and_export(load, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<|user|>", "eos_token": {"content": "<|endoftext|>"}, "chat_template": "{{ x }}"})
    )
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 8]}))
    ours = load(everything)
    think, mask = ours.encode("<think><mask>", allow_special=True)
    user, end = ours.special_tokens["<|user|>"], ours.special_tokens["<|endoftext|>"]
    assert ours.chat == ("{{ x }}", user, True, (end, 7, 8))
    assert list(ours.special_tokens) == ["<|endoftext|>", "<|user|>", "<mask>"]
    text = "cafe\u0301 12 <think> the  <mask> rat<|user|>"
    ids = ours.encode(text, allow_special=True)
    assert ours.decode(ids) == "café 12 <think> the<mask> rat<|user|>"
    assert think in ours.encode(text)
    assert mask not in ours.encode(text)
    ours.save(tmp_path / "saved")
    export_tokenizer(ours, tmp_path / "exported", 100)
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    for name in ("saved", "exported"):
        again = Tokenizer.load(tmp_path / name)
        assert again.parts == ours.parts
        assert again.encode(text, allow_special=True) == ids
    Tokenizer.train(TEXT, 300).save(tmp_path / "saved")  # another one in the same folder
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == ["merges.txt", "vocab.json"]


@pytest.mark.slow
def test_worker_processes_get_all_rules(load, tmp_path):
    ours = load(everything)
    texts = ["the rat <think> 123 cafe\u0301 " * 30] * 3
    found = [ids.tolist() for ids, _ in encode_in_processes(ours, texts, 2, np.uint16)]
    assert found == [ours.encode(text) for text in texts]


CHATS = {
    "a template of another kind": ({"chat_template": 3}, "chat_template should be a text"),
    "templates without a default": (
        {"chat_template": [{"name": "tools", "template": ""}]},
        "that is named default",
    ),
    "an unknown first token": ({"bos_token": "<s>"}, "'<s>', which is not a token of this vocabulary"),
    "a token that is a number": ({"eos_token": 3}, "eos_token should be the text of a token, is 3"),
    "two first tokens": ({"bos_token_id": [1, 2]}, r"bos_token_id should be int, is \[1, 2\]"),
    "an id that is text": ({"eos_token_ids": ["1"]}, "should be whole numbers"),
    "add_bos_token that is text": ({"bos_token": "<|user|>", "add_bos_token": "yes"}, "add_bos_token should be bool"),
}


@pytest.mark.parametrize(("config", "said"), CHATS.values(), ids=CHATS.keys())
def test_a_config_that_cannot_be_right(config, said, load, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=said) as caught:
        load()
    assert "tokenizer_config.json" in str(caught.value)


def test_the_default_of_several_templates_and_a_file_of_its_own(load, tmp_path):
    templates = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}), encoding="utf-8")
    assert load().chat_template == "d"
    (tmp_path / "chat_template.jinja").write_text("{{ file }}", encoding="utf-8")
    assert load().chat_template == "{{ file }}"


def test_two_files_keep_a_chat_template(tok, tmp_path):
    changed = Tokenizer(*tok.parts)
    changed.chat_template = "{{ messages }}"
    changed.save(tmp_path)
    assert Tokenizer.load(tmp_path).chat_template == "{{ messages }}"
    assert Tokenizer.load(tmp_path).parts == changed.parts


def test_added_tokens_of_older_transformers(tok, tmp_path):
    tok.save(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|pad|>": tok.vocab_size}), encoding="utf-8")
    assert Tokenizer.load(tmp_path).encode("<|pad|>", allow_special=True) == [tok.vocab_size]
