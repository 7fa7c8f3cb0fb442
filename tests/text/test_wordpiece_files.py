"""BERT's tokenizer files: what is read from them, and that broken ones and those of other kinds are explained."""

import json

import pytest

from numpylm.text.bert_words import BertWords
from numpylm.text.wordpiece import WordPiece
from numpylm.text.wordpiece_files import SPECIAL

TOKENS = [*SPECIAL.values(), "the", "cat", "##s", "."]
VOCAB = "\n".join(TOKENS)


def write(folder, vocab=VOCAB, **config):
    data = vocab if isinstance(vocab, bytes) else vocab.encode("utf-8")
    (folder / "vocab.txt").write_bytes(data)
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def tokenizer_json(**changes):
    """What transformers writes for BERT, with some parts changed: ``model__vocab=…`` changes vocab in model."""
    cls, sep, a, b = (
        {"SpecialToken": {"id": "[CLS]"}},
        {"SpecialToken": {"id": "[SEP]"}},
        *({"Sequence": {"id": c}} for c in "AB"),
    )
    typed = [
        {kind: {**item, "type_id": n} for kind, item in step.items()}
        for step, n in ((cls, 0), (a, 0), (sep, 0), (b, 1), (sep, 1))
    ]
    whole = {
        "added_tokens": [{"id": i, "content": token, "special": True} for i, token in enumerate(SPECIAL.values())],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": False,
            "strip_accents": None,
            "lowercase": False,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "pair": typed},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: i for i, token in enumerate(TOKENS)},
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = whole[parents[0]] if parents else whole
        part[last] = value
    return json.dumps(whole)


def test_save_and_load(tmp_path):
    words = BertWords(False, True, False)
    WordPiece(TOKENS, words, {"sep_token": "."}, ["[SEP]"]).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer_config.json", "vocab.txt"]
    again = WordPiece.load(tmp_path)
    assert (again.tokens, again.words, again.special["sep_token"], again.more_special) == (
        TOKENS,
        words,
        ".",
        ["[SEP]"],
    )


def test_without_tokenizer_config_a_model_is_uncased(tmp_path):
    write(tmp_path)
    assert WordPiece.load(tmp_path).words == BertWords(True, None, True)


def test_line_ends_of_windows_and_spaces_after_tokens_are_not_part_of_them(tmp_path):
    write(tmp_path, b"\xef\xbb\xbf" + "\r\n".join(f"{token} " for token in TOKENS).encode() + b"\r\n")
    assert WordPiece.load(tmp_path).tokens == TOKENS


def test_line_separators_of_unicode_do_not_end_a_line_of_vocab_txt(tmp_path):
    write(tmp_path, "\n".join([*TOKENS, "\u2028", "z\x85z", "last"]))
    assert WordPiece.load(tmp_path).tokens.index("last") == len(TOKENS) + 2


def test_special_tokens_may_be_written_as_objects(tmp_path):
    write(tmp_path, sep_token={"__type": "AddedToken", "content": ".", "lstrip": False}, mask_token=None)
    assert WordPiece.load(tmp_path).sep_id == TOKENS.index(".")


def test_tokenizer_json_is_read_if_there_is_no_vocab_txt(tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    assert (WordPiece.load(tmp_path).tokens, WordPiece.load(tmp_path).words) == (TOKENS, BertWords(False, None, False))
    write(tmp_path, "\n".join([*TOKENS, "more"]))
    assert WordPiece.load(tmp_path).vocab_size == len(TOKENS) + 1


def test_saving_deletes_a_tokenizer_json_which_transformers_would_prefer(tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    WordPiece.load(tmp_path).save(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    assert WordPiece.load(tmp_path).words == BertWords(False, None, False)


@pytest.mark.parametrize(
    ("vocab", "config", "message"),
    [
        ("", {}, "vocab.txt is empty"),
        ("\n\n", {}, "vocab.txt is empty"),
        ("[PAD]\n\nthe", {}, "vocab.txt, line 2 is empty"),
        (b"[PAD]\n\xff\xfe", {}, "vocab.txt is not UTF-8 text: byte 0xff at offset 6"),
        ("\n".join([*TOKENS, "cat"]), {}, f"'cat' occurs twice, with the ids 6 and {len(TOKENS)}"),
        (VOCAB.replace("[SEP]", "[END]"), {}, r"the sep_token '\[SEP\]' is missing"),
        (VOCAB, {"mask_token": "<mask>"}, "the mask_token '<mask>' is missing"),
        (VOCAB, {"mask_token": 5}, "tokenizer_config.json: mask_token should be the text of a token, is 5"),
        (VOCAB, {"do_lower_case": "no"}, "tokenizer_config.json: do_lower_case should be bool, is 'no'"),
        (
            "\n".join(TOKENS),
            {"tokenizer_class": "MPNetTokenizer"},
            "tokenizer_class is 'MPNetTokenizer'; numpylm reads",
        ),
        (VOCAB, {"do_basic_tokenize": False}, "do_basic_tokenize and never_split"),
        (VOCAB, {"added_tokens_decoder": {"999": {"content": "<x>"}}}, "added token .* with id 999 is not"),
        (VOCAB, {"added_tokens_decoder": ["<x>"]}, "added_tokens_decoder should be an object"),
    ],
)
def test_broken_files_are_explained(tmp_path, vocab, config, message):
    write(tmp_path, vocab, **config)
    with pytest.raises(ValueError, match=message):
        WordPiece.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__type": "BPE"}, "its model is 'BPE'; .* with WordPiece"),
        ({"normalizer__type": "NFC"}, "its normalizer is 'NFC'; .* with BertNormalizer"),
        ({"normalizer": None}, "its normalizer is None"),
        ({"pre_tokenizer__type": "Whitespace"}, "its pre_tokenizer is 'Whitespace'"),
        ({"normalizer__clean_text": False}, "normalizer.clean_text is False; numpylm reads only True"),
        ({"normalizer__lowercase": 1}, "lowercase should be bool, is 1"),
        ({"model__continuing_subword_prefix": "@@"}, "continuing_subword_prefix is '@@'; numpylm reads only '##'"),
        ({"model__max_input_chars_per_word": 50}, "max_input_chars_per_word is 50; numpylm reads only 100"),
        ({"model__unk_token": "<unk>"}, r"unk_token is '<unk>'; numpylm reads only '\[UNK\]'"),
        ({"model__vocab": {"a": 1}}, "the ids in vocab should be 0 … 0"),
        ({"model__vocab": {"[UNK]": 0, "\ud800": 1}}, "lone surrogate"),
        ({"post_processor": {"type": "RobertaProcessing"}}, "its post_processor does not join texts"),
        ({"post_processor__pair": []}, "its post_processor does not join texts"),
        (
            {"added_tokens": [{"id": 5, "content": "the", "special": False}]},
            "added token .* with id 5 is not a special",
        ),
        ({"added_tokens": {"the": 5}}, "added_tokens should be a list"),
    ],
)
def test_a_tokenizer_json_with_other_rules_is_refused(tmp_path, changes, message):
    (tmp_path / "tokenizer.json").write_text(tokenizer_json(**changes), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{message}"):
        WordPiece.load(tmp_path)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no vocab\.txt and no tokenizer\.json"):
        WordPiece.load(tmp_path)


def test_a_token_with_a_line_end_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="has a line end"):
        WordPiece([*TOKENS, "a\nb"]).save(tmp_path)
    assert not list(tmp_path.iterdir())
