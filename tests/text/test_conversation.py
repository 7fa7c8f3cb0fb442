"""Conversations from JSON lines: both forms, and one message with file and line for each mistake."""

import gzip
import json

import pytest

from numpylm.text.conversation import Message, as_conversation, read_conversations, without_oldest_turn

S, U, A = (lambda text, role=role: {"role": role, "content": text} for role in ("system", "user", "assistant"))


@pytest.fixture
def read(tmp_path):
    """Read lines, each given as an object or as text."""

    def call(*lines, name="c.jsonl"):
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return read_conversations([str(tmp_path / name)])

    return call


def test_messages_and_instructions(read):
    turns = {"messages": [S("be kind"), U("hi"), A("hello"), U("bye"), A(" good\nbye ")], "source": "x"}
    first, second, third = read(
        turns, "", {"instruction": "add", "input": "1 2", "output": "3"}, {"instruction": "go", "output": "ok", "id": 1}
    )
    assert first == tuple(Message(m["role"], m["content"]) for m in turns["messages"])
    assert second == (Message("user", "add\n\n1 2"), Message("assistant", "3"))
    assert third == (Message("user", "go"), Message("assistant", "ok"))


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.json"])
def test_lines_arrays_and_compressed_files(read, name):
    entries = [{"messages": [U(text), A("yes")]} for text in ("a", "b], [", "ü")]
    expected = [(Message("user", e["messages"][0]["content"]), Message("assistant", "yes")) for e in entries]
    assert read(*entries, name=name) == expected
    assert read(json.dumps(entries), name=name) == expected
    assert read(json.dumps(entries, indent=2), name=name) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{broken", "is not a JSON object"),
        ("3", "is not a JSON object"),
        ({"text": "a"}, "neither messages nor instruction"),
        ({"messages": "a"}, "list of objects with role and content"),
        ({"messages": [{"role": "user"}]}, "list of objects with role and content"),
        ({"messages": [U("a"), U("b"), A("c")]}, "message 2 is the user's, but it is the assistant's turn"),
        ({"messages": [A("a")]}, "message 1 is the assistant's, but it is the user's turn"),
        ({"messages": [U("a"), A("b"), S("c")]}, "message 3 is the system's"),
        ({"messages": [S("a"), S("b")]}, "message 2 is the system's"),
        ({"messages": [U("a"), {"role": "bot", "content": "b"}]}, "unknown role 'bot'"),
        ({"messages": [U("a"), {"role": ["x"], "content": "b"}]}, "unknown role"),
        ({"messages": [U("a"), A(" \n")]}, "content of message 2 is empty"),
        ({"messages": [U("a"), A(["b"])]}, "content of message 2 should be a text"),
        ({"messages": [U("a"), A("\ud800")]}, "lone surrogate"),
        ({"messages": [U("a")]}, "the assistant says nothing"),
        ({"messages": []}, "the assistant says nothing"),
        ({"instruction": "a", "output": ""}, "content of message 2 is empty"),
        ({"instruction": "", "output": "b"}, "content of message 1 is empty"),
        ({"instruction": 3, "output": "b"}, "instruction and input should be texts"),
        ({"instruction": "a"}, "neither messages nor"),
    ],
    ids=str,
)
def test_each_mistake_names_file_and_line(read, entry, message):
    good = {"instruction": "a", "output": "b"}
    with pytest.raises(ValueError, match=r"line 3 of .*c\.jsonl") as error:
        read(good, "", entry)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_entry_of_an_array_is_named_by_its_line(read):
    good = json.dumps({"instruction": "[", "output": "b"}, indent=1)  # four lines
    with pytest.raises(ValueError, match=r"line 6 of .*c\.json: neither messages nor"):
        read(f"[\n{good},\n{{}}]", name="c.json")
    with pytest.raises(ValueError, match="not a JSON array"):
        read("[{},", name="c.json")
    with pytest.raises(ValueError, match="has no conversation"):
        read("[]", name="c.json")


def test_the_oldest_turn_goes_and_the_system_message_stays():
    messages = as_conversation([("system", "s"), ("user", "1"), ("assistant", "2"), ("user", "3")])
    assert without_oldest_turn(messages) == as_conversation([("system", "s"), ("user", "3")])
    assert without_oldest_turn(messages[1:]) == as_conversation([("user", "3")])
    assert without_oldest_turn(messages[:3]) is None
    assert without_oldest_turn(messages[:1]) is None
    assert without_oldest_turn(()) is None
