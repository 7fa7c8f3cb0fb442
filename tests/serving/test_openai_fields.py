"""The fields of requests: types, ranges, and what is refused by name."""

import json

import pytest

from numpylm.serving.api_error import ApiError
from numpylm.serving.openai_fields import check_model, read_body, read_messages, read_options, read_prompts


def refused(read, body):
    with pytest.raises(ApiError) as caught:
        read(body)
    return caught.value


def test_the_defaults():
    options = read_options({"temperature": None, "stop": None, "n": None, "seed": None, "metadata": {"a": 1}})
    assert (options.max_tokens, options.n, options.stop, options.seed, options.stream) == (None, 1, (), None, False)
    assert options.sampling["temperature"] == options.sampling["top_p"] == 1.0


def test_every_field_is_read():
    body = {"temperature": 0, "top_p": 0.5, "max_completion_tokens": 7, "n": 4, "stop": ["a", "b"], "seed": -3}
    body |= {"stream": True, "stream_options": {"include_usage": True}, "top_k": 5, "min_p": 0.1, "user": "me"}
    options = read_options(body)
    assert (options.max_tokens, options.n, options.stop, options.seed) == (7, 4, ("a", "b"), -3)
    assert options.stream
    assert options.include_usage
    assert options.sampling == {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.0,
    }
    assert read_options({"stop": "ab"}).stop == ("ab",)
    assert read_options({"max_tokens": 3}).max_tokens == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "1"),
        ("temperature", True),
        ("temperature", 2.1),
        ("temperature", -1),
        ("temperature", 1e-9),
        ("temperature", 10**400),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_k", 0),
        ("n", 0),
        ("n", 5),
        ("n", 1.0),
        ("max_tokens", 0),
        ("max_tokens", "many"),
        ("max_completion_tokens", -1),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a"] * 5),
        ("stop", [1]),
        ("stop", "a" * 501),
        ("stop", "\ud800"),
        ("seed", 1.5),
        ("seed", 1 << 63),
        ("stream", "yes"),
        ("stream", 1),
        ("stream_options", {"include_usage": True}),  # without stream
        ("user", 3),
        ("logprobs", True),
        ("logprobs", 0),  # in completions: the probability of the chosen token
        ("top_logprobs", 2),
        ("presence_penalty", 0.1),
        ("frequency_penalty", "0"),
        ("logit_bias", {"5": 1}),
        ("tools", [{}]),
        ("response_format", {"type": "json_object"}),
        ("echo", True),
        ("best_of", 2),
        ("suffix", "x"),
    ],
)
def test_wrong_values_are_refused_with_the_name_of_the_field(field, value):
    error = refused(read_options, {field: value})
    assert (error.status, error.param) == (400, field)
    assert field in error.message
    assert error.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", False),
        ("presence_penalty", 0),
        ("frequency_penalty", 0.0),
        ("logit_bias", {}),
        ("tools", []),
        ("tool_choice", "none"),
        ("response_format", {"type": "text"}),
        ("best_of", 1),
        ("echo", False),
    ],
)
def test_values_that_ask_for_nothing_are_accepted(field, value):
    assert read_options({field: value}) == read_options({})


def test_two_names_for_one_limit_are_refused():
    assert "mean the same" in refused(read_options, {"max_tokens": 3, "max_completion_tokens": 3}).message


def test_messages():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    talk = [{"role": "developer", "content": "s"}, {"role": "user", "content": parts, "name": "x"}]
    talk.append({"role": "assistant", "content": "c", "tool_calls": None})
    assert read_messages({"messages": talk}) == [("system", "s"), ("user", "ab"), ("assistant", "c")]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hello", "messages"),
        (["hello"], "messages[0]"),
        ([{"role": "user", "content": "a"}, {"role": "tool", "content": "a"}], "messages[1].role"),
        ([{"content": "a"}], "messages[0].role"),
        ([{"role": ["user"], "content": "a"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages[0].content"),
        ([{"role": "user", "content": "\udfff"}], "messages[0].content"),
        ([{"role": "assistant", "content": "a", "tool_calls": [{}]}], "messages[0].tool_calls"),
    ],
)
def test_wrong_messages_are_refused_with_their_place(messages, param):
    assert refused(read_messages, {"messages": messages}).param == param


def test_prompts():
    assert read_prompts({"prompt": "a"}) == ["a"]
    assert read_prompts({"prompt": ["a", ""]}) == ["a", ""]
    for wrong in (None, [], 5, [[1, 2]], ["a", 1], ["a"] * 17, {"a": 1}, "\ud800"):
        assert refused(read_prompts, {"prompt": wrong}).param == "prompt"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"a"',
        b"\xff{}",
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"temperature": NaN}',
        b'{"temperature": -Infinity}',
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_bodies_that_are_no_object_of_json_are_refused(data):
    error = refused(read_body, data)
    assert error.status == 400
    assert len(error.message) < 300


def test_the_name_of_the_model():
    check_model({}, "tiny")
    check_model({"model": "tiny"}, "tiny")
    error = refused(lambda body: check_model(body, "tiny"), {"model": "gpt-4"})
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert refused(lambda body: check_model(body, "tiny"), {"model": 4}).status == 400
    json.dumps(error.body())
