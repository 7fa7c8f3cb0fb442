"""Answers: the same text as numpylm generate writes, whole and as a stream, and errors of requests and of the model."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from numpylm.inference.generate_text import generate_text, generate_texts
from tests.serving.serving import (
    CHAT,
    COMPLETIONS,
    MODELS,
    chunks,
    letters,
    message,
    serving,
    tiny,
    words,
)


@pytest.fixture(scope="module")
def served():
    with serving() as running:
        yield running


def alone(served, prompt, seed, length, **options):
    """The text that numpylm generate would write."""
    model, tokenizer = served.service.model, served.service.tokenizer
    rng = np.random.default_rng(seed)
    return "".join(generate_text(model, tokenizer, prompt, length, own=True, rng=rng, **options))


def contents(answer):
    return [choice["message"]["content"] for choice in answer.body["choices"]]


def test_a_chat_answer_is_the_text_with_this_seed(served):
    answer = served.ask(CHAT, message("ab cd", seed=3, max_tokens=9, temperature=0.8))
    assert answer.status == 200
    text = alone(served, "ab cd", 3, 9, temperature=0.8)
    (choice,) = answer.body["choices"]
    assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert choice["finish_reason"] == "length"
    assert answer.body["object"] == "chat.completion"
    assert answer.body["usage"] == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


def test_several_texts_are_those_of_generate_samples(served):
    answer = served.ask(CHAT, message("ab", seed=3, max_tokens=9, n=3))
    model, tokenizer, rng = served.service.model, served.service.tokenizer, np.random.default_rng(3)
    assert contents(answer) == generate_texts(model, tokenizer, "ab", 9, 3, own=True, rng=rng)
    assert [choice["index"] for choice in answer.body["choices"]] == [0, 1, 2]
    assert answer.body["usage"] == {"prompt_tokens": 2, "completion_tokens": 27, "total_tokens": 29}


def test_completions_of_one_prompt_and_of_several(served):
    answer = served.ask(COMPLETIONS, {"prompt": "ab", "seed": 5})
    assert answer.body["object"] == "text_completion"
    assert answer.body["choices"][0]["text"] == alone(served, "ab", 5, 16)
    several = served.ask(COMPLETIONS, {"prompt": ["ab", "cde"], "n": 2, "seed": 5, "max_tokens": 4})
    rngs = np.random.default_rng(5).spawn(4)
    expected = [alone(served, p, rng, 4) for p, rng in zip(["ab", "ab", "cde", "cde"], rngs, strict=True)]
    assert [choice["text"] for choice in several.body["choices"]] == expected
    assert several.body["usage"]["prompt_tokens"] == 5


def test_a_stream_has_the_same_text_and_ends_as_openais(served):
    body = message("ab", seed=3, max_tokens=9, n=2)
    whole = served.ask(CHAT, body)
    answer = served.ask(CHAT, body | {"stream": True, "stream_options": {"include_usage": True}})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    *parts, last = chunks(answer.body)
    assert last["choices"] == []
    assert last["usage"] == whole.body["usage"]
    assert all(part["usage"] is None and part["object"] == "chat.completion.chunk" for part in parts)
    assert len({part["id"] for part in [*parts, last]}) == 1
    for index in (0, 1):
        own = [part["choices"][0] for part in parts if part["choices"][0]["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"].get("content", "") for choice in own) == contents(whole)[index]
        assert [choice["finish_reason"] for choice in own] == [None] * (len(own) - 1) + ["length"]


def test_a_stream_of_completions(served):
    body = {"prompt": "ab", "seed": 5, "stream": True}
    parts = chunks(served.ask(COMPLETIONS, body).body)
    assert "".join(part["choices"][0]["text"] for part in parts) == alone(served, "ab", 5, 16)
    assert all("usage" not in part and part["object"] == "text_completion" for part in parts)


def test_stop_strings_end_an_answer_and_are_not_part_of_it(served):
    whole = alone(served, "ab", 3, 20)
    stop = whole[8:10]
    answer = served.ask(CHAT, message("ab", seed=3, max_tokens=20, stop=stop))
    assert contents(answer) == [whole[: whole.index(stop)]]
    assert answer.body["choices"][0]["finish_reason"] == "stop"
    assert answer.body["usage"]["completion_tokens"] == whole.index(stop) + 2


def test_no_piece_of_a_stream_has_half_a_character():
    class Speaks:
        """Says 漢字 and ends."""

        def __init__(self, tokenizer):
            self.said = [*tokenizer.encode("漢字"), tokenizer.end_id]
            self.size, self.config = tokenizer.vocab_size, SimpleNamespace(block_size=64)

        def forward(self, ids):
            logits = np.zeros((1, ids.shape[1], self.size))
            logits[0, -1, self.said[min(ids.shape[1] - 1, len(self.said) - 1)]] = 50
            return logits, None

    tokenizer = words()
    with serving(Speaks(tokenizer), tokenizer) as served:
        parts = chunks(served.ask(COMPLETIONS, {"prompt": "", "stream": True, "temperature": 0}).body)
        texts = [part["choices"][0]["text"] for part in parts]
        assert "".join(texts) == "漢字"
        assert "\ufffd" not in "".join(texts)
        assert parts[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_chat_ends_at_the_models_window_and_a_longer_conversation_is_refused(served):
    answer = served.ask(CHAT, message("a" * 60, seed=1))
    assert answer.body["usage"]["completion_tokens"] == 4
    assert served.ask(CHAT, message("a" * 60, seed=1, max_tokens=100)).body["usage"]["completion_tokens"] == 4
    long = served.ask(CHAT, message("a" * 64))
    assert (long.status, long.body["error"]["code"]) == (400, "context_length_exceeded")
    over = served.ask(COMPLETIONS, {"prompt": "ab", "max_tokens": 100, "seed": 1})
    assert over.body["choices"][0]["text"] == alone(served, "ab", 1, 100)  # the window moves, as in numpylm generate


def test_a_prompt_that_is_far_too_long_is_refused_before_it_is_encoded(served, monkeypatch):
    def encode(*_, **__):
        raise AssertionError("it was encoded")

    monkeypatch.setattr(type(served.service.tokenizer), "encode", encode)
    for path, body in ((CHAT, message("a" * 4000)), (COMPLETIONS, {"prompt": "a" * 4000})):
        answer = served.ask(path, body)
        assert (answer.status, answer.body["error"]["code"]) == (400, "context_length_exceeded")


def test_what_cannot_be_encoded_is_refused(served):
    answer = served.ask(CHAT, message("xyz"))
    assert answer.status == 400
    assert "the character 'x'" in answer.body["error"]["message"]


def test_the_models(served):
    (model,) = served.ask(MODELS).body["data"]
    assert (model["id"], model["object"]) == ("tiny", "model")
    assert served.ask(f"{MODELS}/tiny").body == model
    assert served.ask(f"{MODELS}/t%69ny").body == model
    assert served.ask(f"{MODELS}/other").body["error"]["code"] == "model_not_found"
    assert served.ask(CHAT, message("ab", model="other")).status == 404


def test_an_error_of_the_model_is_an_error_of_the_request(served, capsys):
    gpt = tiny(letters())
    gpt.wte.weight.data[:] = np.nan
    with serving(gpt) as broken:
        answer = broken.ask(CHAT, message("ab"))
        assert (answer.status, answer.body["error"]["type"]) == (500, "server_error")
        assert "not finite" in answer.body["error"]["message"]
        body = broken.ask(CHAT, message("ab", stream=True)).body.decode()
        assert "not finite" in json.loads(body.strip().split("\n\n")[-1].removeprefix("data: "))["error"]["message"]
    err = capsys.readouterr().err
    assert err.count("numpylm: error") == 2
    assert "Traceback" not in err
