"""Tokenizers in the headers of GGUF files: byte-level BPE with a known pattern, and BPE as in Llama 2."""

import numpy as np
import pytest

from numpylm import Tokenizer
from numpylm.cli.main import main
from numpylm.text.any_tokenizer import load_tokenizer
from numpylm.text.gguf_tokenizer import KINDS, merges_by_score
from numpylm.text.llama_tokenizer import LlamaTokenizer
from tests.small_gguf import gguf_bytes, small_llama

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = ["<unk>", "<s>", "</s>", *BYTES, "▁", "a", "b", "aa", "▁a", "ab", "▁ab", "▁▁"]
SCORES = [0.0] * 259 + [-9.0, -10, -11, -1, -2, -3, -4, -5]


def header(**changes):
    """The header of a tokenizer as in Llama 2, or with ``of="gpt2"`` byte-level BPE. None drops an entry."""
    if changes.pop("of", "llama") == "gpt2":
        metadata = small_llama()[0]
    else:
        metadata = {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": PIECES,
            "tokenizer.ggml.scores": np.array(SCORES, np.float32),
            "tokenizer.ggml.token_type": np.array([2, 3, 3, *[6] * 256, *[1] * 8], np.int32),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }
    metadata |= {f"tokenizer.{name}": value for name, value in changes.items()}
    return {name: value for name, value in metadata.items() if value is not None}


@pytest.fixture
def load(tmp_path):
    def load(**changes):
        metadata = header(**{name.replace("__", "."): value for name, value in changes.items()})
        (tmp_path / "a.gguf").write_bytes(gguf_bytes(metadata))
        return load_tokenizer(tmp_path / "a.gguf")

    return load


def test_byte_level(load, tmp_path):
    tok = load(of="gpt2")
    assert isinstance(tok, Tokenizer)
    assert [tok.token_bytes(i) for i in tok.encode("the 12")] == [b"the", b" ", b"1", b"2"]  # as in SmolLM2
    assert tok.encode("the<|im_end|>", allow_special=True) == [257, 259]
    assert len(tok.encode("<|im_end|>")) == 10
    assert tok.chat == ("{{ messages }}", 258, False, (259,))
    tok.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").parts == tok.parts


def test_the_name_of_the_rules_decides(load):
    ids = {pre: load(of="gpt2", ggml__pre=pre).encode("12 e\u0301THE\n\n!") for pre in KINDS}
    assert ids["gpt-2"] == ids["smollm"]  # no merge of this vocabulary has a digit
    assert len(ids["qwen2"]) == len(ids["deepseek-r1-qwen"]) - 1  # é is one character after normalization
    assert load(of="gpt2", ggml__pre="llama-bpe").add_bos
    assert not load(of="gpt2", ggml__pre="llama-bpe", ggml__add_bos_token=False).add_bos


def test_tokens_of_the_user_are_found_in_every_text(load):
    types = np.array([1] * 258 + [4, 3], np.int32)
    tok = load(of="gpt2", ggml__token_type=types)
    assert tok.encode("<|im_start|>") == [258]
    assert list(tok.special_tokens) == ["<|im_end|>"]


def test_all_tokens_that_end_a_message(load):
    tok = load(of="gpt2", ggml__eos_token_id=258, ggml__eot_token_id=5)
    assert tok.eos_ids == (258, 5, 259)  # the last because of its text
    assert tok.end_id == 258


def test_ordinary_tokens_may_begin_and_end_a_text(load, tmp_path):
    """As in a file without types of tokens."""
    tok = load(of="gpt2", ggml__token_type=None, ggml__add_bos_token=True)
    assert tok.special_tokens == {}
    tok.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.chat == tok.chat == ("{{ messages }}", 258, True, (259,))


def test_the_pairs_of_a_vocabulary_with_scores():
    tokens = {token: i for i, token in enumerate(["a", "b", "ab", "ba", "aba"])}
    scores = np.array([0, 0, -2, -1, -3], np.float32)
    assert merges_by_score(tokens, scores) == [("b", "a"), ("a", "b"), ("a", "ba"), ("ab", "a")]
    with pytest.raises(ValueError, match="'ab' and 'ba' have the same score"):
        merges_by_score(tokens, np.zeros(5, np.float32))


def test_bpe_as_in_llama_2(load, tmp_path):
    tok = load()
    assert isinstance(tok, LlamaTokenizer)

    def pieces(text, special=False):
        return [PIECES[i] for i in tok.encode(text, special)]

    assert pieces("ab a") == ["▁ab", "▁a"]
    assert pieces("aaa") == ["▁", "aa", "a"]  # the highest score first, from the left
    assert pieces("\na") == ["▁", "<0x0A>", "a"]
    assert pieces("é") == ["▁", "<0xC3>", "<0xA9>"]
    assert pieces("   ") == ["▁▁", "▁▁"]
    assert pieces("a</s>b", special=True) == ["▁a", "</s>", "▁", "b"]
    assert "</s>" not in pieces("a</s>b")
    assert pieces("") == []
    for text in ("ab a", " a", "é\n🙂", "  ", "x" * 99):
        assert tok.decode(tok.encode(text)) == text
    assert tok.decode([260, 3 + 0xC3]) == "a\ufffd"
    assert (tok.vocab_size, tok.end_id, tok.chat) == (267, 2, ("", 1, True, (2,)))
    tok.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    for text in ("ab a", "aaa", "aaaaaaa", "\na", "é </s>"):
        assert again.encode(text, allow_special=True) == tok.encode(text, allow_special=True)


def test_no_space_before_the_text(load, tmp_path):
    tok = load(ggml__add_space_prefix=False)
    assert [PIECES[i] for i in tok.encode("a a")] == ["a", "▁a"]
    assert tok.decode(tok.encode(" a")) == " a"
    tok.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").prefix is False


def test_a_piece_over_two_words(load):
    """Then merges cross words, and the text is not divided."""
    pieces, scores = [*PIECES, "b▁", "ab▁"], [*SCORES, -0.5, -0.4]
    types = np.array([2, 3, 3, *[6] * 256, *[1] * 10], np.int32)
    tok = load(ggml__tokens=pieces, ggml__scores=np.array(scores, np.float32), ggml__token_type=types)
    assert [pieces[i] for i in tok.encode("ab ab")] == ["▁", "ab▁", "ab"]


REFUSED = {
    "another kind": ({"ggml.model": "bert"}, r"its tokenizer is 'bert' \(tokenizer.ggml.model\)"),
    "no tokenizer": ({"ggml.model": None}, "the header has no tokenizer"),
    "no rules": ({"of": "gpt2", "ggml.pre": None}, r"the rules None \(tokenizer.ggml.pre\); numpylm knows gpt-2"),
    "unknown rules": ({"of": "gpt2", "ggml.pre": "default"}, "the rules 'default'"),
    "rules that are a number": ({"of": "gpt2", "ggml.pre": 3}, "the rules 3"),
    "a space before bytes": ({"of": "gpt2", "ggml.add_space_prefix": True}, "puts a space before the text"),
    "no tokens": ({"ggml.tokens": None}, "tokens is missing"),
    "tokens that are numbers": ({"ggml.tokens": np.zeros(3, np.int32)}, "tokens should be list"),
    "a token twice": ({"ggml.tokens": [*PIECES[:-1], "a"]}, "the token 'a' has two ids"),
    "an empty token": ({"ggml.tokens": [*PIECES[:-1], ""]}, "a token must not be empty"),
    "too few types": ({"ggml.token_type": np.ones(3, np.int32)}, "token_type should have a number for each token"),
    "no scores": ({"ggml.scores": None}, "scores should have a number for each token"),
    "a score of nan": ({"ggml.scores": np.full(267, np.nan, np.float32)}, "scores should have a number"),
    "no token for a byte": ({"ggml.tokens": ["x" if p == "<0x0A>" else p for p in PIECES]}, "1 bytes, first <0x0A>"),
    "spaces are removed": ({"ggml.remove_extra_whitespaces": True}, "remove_extra_whitespaces, True, which numpylm"),
    "an end after each text": ({"ggml.add_eos_token": True}, "add_eos_token, True"),
    "normalization": ({"ggml.precompiled_charsmap": np.zeros(4, np.uint8)}, "precompiled_charsmap, array"),
    "an id outside": ({"ggml.eos_token_id": 267}, "eos_token_id is 267, outside this vocabulary of 267"),
    "an id that is text": ({"ggml.bos_token_id": "1"}, "bos_token_id should be int, is '1'"),
    "a template that is a number": ({"chat_template": 3}, "tokenizer.chat_template should be a text, is 3"),
    "a token that is no bytes": (
        {"of": "gpt2", "ggml.tokens": [*header(of="gpt2")["tokenizer.ggml.tokens"][:256], "th", "日", "xx", "yy"]},
        "'日' is neither written in bytes",
    ),
    "merges of something else": ({"of": "gpt2", "ggml.merges": ["q z"]}, "merge 1: makes 'qz', which has no id"),
    "half a merge": ({"of": "gpt2", "ggml.merges": ["q"]}, "merge 1: expected two tokens"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(changes, said, load, tmp_path):
    with pytest.raises(ValueError, match=said) as caught:
        load(**changes)
    assert str(caught.value).startswith(str(tmp_path / "a.gguf"))


def test_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes(*small_llama()))
    assert main(["tokenize", str(path), "the 1", "--ids"]) == 0
    assert capsys.readouterr().out == "257 220 16\n"
    path.write_bytes(b"GGUF")
    assert main(["tokenize", "--model", str(path), "the"]) == 1
    assert "a.gguf is damaged or not a GGUF file: its header does not end" in capsys.readouterr().err
    assert main(["tokenize", str(tmp_path / "b.gguf"), "the"]) == 1
    assert "there is no file" in capsys.readouterr().err
