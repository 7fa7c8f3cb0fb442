"""The official client of OpenAI's API talks to our server: answers, streams, lists of models, and errors."""

import numpy as np
import pytest

openai = pytest.importorskip("openai")

from numpylm.inference.generate_text import generate_text  # noqa: E402
from tests.serving.serving import Slow, letters, serving, tiny, until  # noqa: E402


@pytest.fixture(scope="module")
def served():
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"{served.server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def alone(served, prompt, seed, length, **options):
    model, tokenizer = served.service.model, served.service.tokenizer
    rng = np.random.default_rng(seed)
    return "".join(generate_text(model, tokenizer, prompt, length, own=True, rng=rng, **options))


TALK = [{"role": "system", "content": "ab"}, {"role": "user", "content": [{"type": "text", "text": "cd"}]}]


def test_chat(served, client):
    answer = client.chat.completions.create(
        model="tiny", messages=TALK, seed=3, max_completion_tokens=9, temperature=0.7, top_p=0.9, user="me"
    )
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == alone(served, "ab cd", 3, 9, temperature=0.7, top_p=0.9)
    assert choice.finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 9, 14)


def test_a_stream_of_two_answers(client):
    options = {"model": "tiny", "messages": TALK, "seed": 3, "max_tokens": 9, "n": 2}
    whole = client.chat.completions.create(**options)
    texts, usage = ["", ""], None
    for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **options):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert usage == whole.usage


def test_the_clients_own_collector_of_streams(client):
    options = {"model": "tiny", "messages": TALK, "seed": 3, "stop": "e"}  # it refuses texts of finish_reason "length"
    with client.chat.completions.stream(**options) as stream:
        collected = stream.get_final_completion()
    whole = client.chat.completions.create(**options)
    assert collected.choices[0].message.content == whole.choices[0].message.content
    assert collected.choices[0].finish_reason == "stop"


def test_completions(served, client):
    answer = client.completions.create(model="tiny", prompt="ab", seed=5, stop=["e"], max_tokens=30)
    assert answer.choices[0].text == alone(served, "ab", 5, 30, stop=["e"])
    assert answer.choices[0].finish_reason == "stop"
    parts = client.completions.create(model="tiny", prompt=["ab", "c"], seed=5, max_tokens=3, stream=True)
    assert {part.choices[0].index for part in parts} == {0, 1}


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "numpylm"


def test_errors_are_the_clients_exceptions(client):
    def create(**options):
        return client.chat.completions.create(**{"model": "tiny", "messages": TALK} | options)

    with pytest.raises(openai.NotFoundError) as caught:
        create(model="gpt-4o")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="tiny", input="a")
    for field, value in [("temperature", 3), ("n", 9), ("logprobs", True), ("tools", [{"type": "function"}])]:
        with pytest.raises(openai.BadRequestError) as caught:
            create(**{field: value})
        assert caught.value.param == field
        assert field in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        create(messages=[{"role": "user", "content": "a" * 100}])
    assert caught.value.code == "context_length_exceeded"


def test_a_busy_server_and_one_that_stops():
    with serving(Slow(tiny(letters(), 4096)), places=1, most=1) as served:
        client = openai.OpenAI(base_url=f"{served.server.address}/v1", api_key="none", max_retries=0)
        stream = client.chat.completions.create(model="tiny", messages=TALK, stream=True)
        next(iter(stream))
        until(lambda: served.service.scheduler.load() == (1, 0))
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="tiny", messages=TALK)
        stream.close()
        until(lambda: served.service.scheduler.load() == (0, 0))
        stream = client.chat.completions.create(model="tiny", messages=TALK, stream=True)
        next(iter(stream))
        served.server.close()
        with pytest.raises(openai.APIError, match="the server is stopping"):
            list(stream)
        client.close()
