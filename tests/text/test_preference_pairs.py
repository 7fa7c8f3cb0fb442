"""Pairs of answers from JSON lines: the forms of trl's datasets, and one message with its line for each mistake."""

import json

import pytest

from numpylm.text.conversation import Message
from numpylm.text.preference_pairs import Preference, read_preferences

S, U, A = (lambda text, role=role: {"role": role, "content": text} for role in ("system", "user", "assistant"))
PAIR = Preference((Message("user", "hi"),), "hello", "what")


@pytest.fixture
def read(tmp_path):
    def call(*lines):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / "p.jsonl").write_text(text, encoding="utf-8")
        return read_preferences([str(tmp_path / "p.jsonl")])

    return call


@pytest.mark.parametrize(
    "entry",
    [
        {"prompt": "hi", "chosen": "hello", "rejected": "what", "score_chosen": 3},
        {"prompt": [U("hi")], "chosen": [A("hello")], "rejected": [A("what")]},
        {"prompt": [U("hi")], "chosen": "hello", "rejected": "what"},
        {"chosen": [U("hi"), A("hello")], "rejected": [U("hi"), A("what")]},
        {"prompt": "hi", "chosen": [U("hi"), A("hello")], "rejected": [U("hi"), A("what")], "tools": None},
    ],
    ids=["standard", "conversational", "mixed", "implicit prompt", "prompt twice"],
)
def test_all_forms_mean_the_same(read, entry):
    assert read(entry) == [PAIR]


def test_long_prompts_and_equal_answers(read):
    talk = [S("be kind"), U("hi"), A("yes?"), U("bye")]
    for entry in (
        {"prompt": talk, "chosen": "a", "rejected": "a"},
        {"chosen": [*talk, A("a")], "rejected": [*talk, A("a")]},  # the answer is not part of the prompt
    ):
        (pair,) = read(entry)
        assert [message.content for message in pair.prompt] == ["be kind", "hi", "yes?", "bye"]
        assert (pair.chosen, pair.rejected) == ("a", "a")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{broken", "is not a JSON object"),
        ({"prompt": "a", "chosen": "b"}, "rejected is missing"),
        ({"chosen": "b", "rejected": "c"}, "prompt is missing"),
        ({"prompt": "a", "chosen": "b", "rejected": 3}, "rejected should be a text or a list of messages, is 3"),
        ({"prompt": [{"role": "user"}], "chosen": "b", "rejected": "c"}, "prompt should be a list of objects"),
        ({"prompt": "a", "chosen": " ", "rejected": "c"}, "content of message 2 is empty"),
        ({"prompt": [U("a"), A("b")], "chosen": "c", "rejected": "d"}, "it is the user's turn"),
        ({"prompt": "a", "chosen": [A("b"), U("c"), A("d")], "rejected": "e"}, "chosen should be one message"),
        ({"prompt": "a", "chosen": [U("x"), A("b")], "rejected": "e"}, "chosen should be one message"),
        ({"chosen": [U("a"), A("b")], "rejected": [U("x"), A("c")]}, "chosen should be one message"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "tools": [{}]}, "tools are not supported"),
        ({"prompt": [U("a")], "chosen": [{"role": "tool", "content": "b"}], "rejected": "c"}, "is 'tool'"),
        ({"prompt": [U(["a"])], "chosen": [A("b")], "rejected": [A("c")]}, "should be a text"),
    ],
    ids=str,
)
def test_a_mistake_is_named_with_its_line(read, entry, message):
    with pytest.raises(ValueError, match=r"line 2 of .*p\.jsonl") as error:
        read({"prompt": "hi", "chosen": "hello", "rejected": "what"}, entry)
    assert message in str(error.value)


def test_an_empty_file(read):
    with pytest.raises(ValueError, match="has no pair"):
        read("")
