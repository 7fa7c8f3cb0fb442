"""Added tokens in a text: which are found, and how much white space they take in."""

import pytest

from numpylm.text.added_tokens import AddedToken, AddedTokens


def parts(text, *tokens, normalizer="", allow_special=True):
    return list(AddedTokens(tokens, normalizer).split(text, allow_special))


def test_special_tokens_only_if_allowed_and_others_always():
    tokens = AddedToken("<s>", 1), AddedToken("<t>", 2, special=False)
    assert parts("a<s>b<t>", *tokens) == ["a", 1, "b", 2]
    assert parts("a<s>b<t>", *tokens, allow_special=False) == ["a<s>b", 2]


def test_a_special_token_hides_a_shorter_token_inside():
    """As in transformers: it is found first, and then it is left as text."""
    tokens = AddedToken("<<t>>", 1), AddedToken("<t>", 2, special=False)
    assert parts("<<t>><t>", *tokens, allow_special=False) == ["<<t>>", 2]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (False, False, ["a \u3000", 1, "\n b"]),
        (True, False, ["a", 1, "\n b"]),
        (False, True, ["a \u3000", 1, "b"]),
        (True, True, ["a", 1, "b"]),
    ],
)
def test_white_space_around_a_token(left, right, expected):
    assert parts("a \u3000<m>\n b", AddedToken("<m>", 1, lstrip=left, rstrip=right)) == expected


def test_two_tokens_share_the_white_space_between_them():
    token = AddedToken("<m>", 1, lstrip=True, rstrip=True)
    assert parts("  <m>  <m>  ", token) == [1, 1]
    assert parts("\x1c<m>", token) == ["\x1c", 1]  # white space in Python, not in Unicode


def test_the_text_is_normalized_between_the_tokens_and_before_those_that_want_it():
    raw, late = AddedToken("e\u0301", 1), AddedToken("u\u0308", 2, normalized=True)
    assert parts("o\u0308 e\u0301 é ü u\u0308", raw, late, normalizer="NFC") == ["ö ", 1, " é ", 2, " ", 2]
    assert parts("o\u0308 ü", raw, late) == ["o\u0308 ü"]
    assert parts("o\u0308", normalizer="NFC", allow_special=False) == ["ö"]
