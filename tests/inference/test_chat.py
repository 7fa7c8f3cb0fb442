"""ChatSession: the answers are those without a cache, full windows, interruptions, saving and loading."""

import json
import types

import numpy as np
import pytest

from numpylm import GPT, GPTConfig, Llama, LlamaConfig
from numpylm.inference.chat import ChatSession
from numpylm.inference.generation import generate
from numpylm.nn.kv_cache import KVCache
from numpylm.text.chat_template import chat_end_ids, chat_ids, train_chat_tokenizer
from numpylm.text.conversation import Message, read_conversations
from numpylm.text.tokenizer import Tokenizer

TOKENIZER = train_chat_tokenizer(["hello how are you today? I am fine, thank you. " * 9], 300)
TURNS = ["hello", "how are you today?", "thank you"]


def a_model(kind, block_size=400, dtype=np.float64):
    rng = np.random.default_rng(0)
    sizes = (TOKENIZER.vocab_size, block_size, 2, 2, 16)
    model = GPT(GPTConfig(*sizes), rng, dtype) if kind == "gpt" else Llama(LlamaConfig(*sizes), rng, dtype)
    for p in model.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape)
    return model


@pytest.mark.parametrize("kind", ["gpt", "llama"])
@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1.0, "top_k": 20, "repetition_penalty": 1.1}])
def test_each_answer_is_the_one_without_a_cache(kind, sampling):
    model = a_model(kind)
    session = ChatSession(model, TOKENIZER, "be kind")
    messages = [Message("system", "be kind")]
    stop = chat_end_ids(TOKENIZER)
    plain = types.SimpleNamespace(forward=model.forward, config=model.config)  # has no read, so no cache
    for n, text in enumerate(TURNS):
        messages.append(Message("user", text))
        ids = generate(
            plain, chat_ids(TOKENIZER, messages), 20, rng=np.random.default_rng(n), stop_ids=stop, **sampling
        )
        expected = TOKENIZER.decode(i for i in ids if i not in stop)
        assert "".join(session.answer(text, 20, np.random.default_rng(n), **sampling)) == expected
        messages.append(Message("assistant", expected))
        assert session.messages == tuple(messages)
    assert session.stats.reused > session.stats.read / 2
    assert session.stats.dropped == 0


def test_only_new_tokens_are_read(monkeypatch):
    model, lengths = a_model("gpt"), []
    read = model.read
    monkeypatch.setattr(model, "read", lambda ids, past: lengths.append(ids.shape[1]) or read(ids, past))
    session = ChatSession(model, TOKENIZER)
    first = "".join(session.answer("hello " * 20, 5, temperature=0))
    assert lengths[1:] == [1] * (len(lengths) - 1)
    lengths.clear()
    "".join(session.answer("you", 5, temperature=0))
    new = len(chat_ids(TOKENIZER, [Message("user", "you")])) + 1  # and the end of turn of the answer before
    assert lengths[0] <= new + len(TOKENIZER.encode(first)) + 1
    assert lengths[0] < 20


def test_a_model_without_a_cache_gives_the_same():
    model = a_model("gpt")
    plain = types.SimpleNamespace(forward=model.forward, config=model.config)
    sessions = [ChatSession(m, TOKENIZER) for m in (model, plain)]
    for text in TURNS:
        one, other = ("".join(session.answer(text, 8, temperature=0)) for session in sessions)
        assert one == other


def test_a_full_window_drops_the_oldest_turns_and_keeps_the_system_message():
    model = a_model("llama", 64)
    session = ChatSession(model, TOKENIZER, "be")
    for n in range(6):
        said = "".join(session.answer(f"hello {n} you", 16, np.random.default_rng(n), temperature=2.0))
        kept = [Message("system", "be"), *session._seen[1:]]
        assert session.stats.used <= 64
        assert session._seen == tuple(kept)
        assert session.messages[-2:] == session._seen[-2:]
        assert said == session.messages[-1].content
    assert session.stats.dropped > 0
    assert len(session.messages) == 13  # all that was said is kept for saving
    assert session.stats.dropped == (len(session.messages) - len(session._seen)) / 2


def test_turns_are_dropped_in_the_middle_of_an_answer():
    """With greedy decoding, the answer after the drop is what the shorter conversation gives."""
    model = a_model("gpt", 48)
    session = ChatSession(model, TOKENIZER)
    session._stop = set()  # no answer ends by itself
    "".join(session.answer("hello", 10, temperature=0))
    before = session.messages
    said = "".join(session.answer("you", 40, temperature=0))
    assert session.stats.dropped == 1
    prompt, question = (
        chat_ids(TOKENIZER, [*before, Message("user", "you")]),
        chat_ids(TOKENIZER, [Message("user", "you")]),
    )
    ids = []
    while len(ids) < 40 and len(question) + len(ids) <= 48:
        start = prompt if len(prompt) + len(ids) <= 48 else question
        prompt = start
        ids.append(int(model.forward(np.array([start + ids]))[0][0, -1].argmax()))
    assert said == TOKENIZER.decode(ids)
    assert session.full == (len(ids) < 40)


def test_a_message_that_is_too_long_is_refused_at_once():
    session = ChatSession(a_model("gpt", 32), TOKENIZER, "be")
    with pytest.raises(
        ValueError, match=r"this message has \d+ tokens with its marks and the system message.* 31 at most"
    ):
        session.answer("how " * 50)
    for text, options, message in (
        ("  ", {}, "empty"),
        ("a", {"temperature": -1}, "temperature"),
        ("a", {"max_new_tokens": 0}, "max_new_tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            session.answer(text, **options)
    assert session.messages == (Message("system", "be"),)
    with pytest.raises(ValueError, match="no form of a chat"):
        ChatSession(a_model("gpt"), Tokenizer.train("abab", 258))


@pytest.mark.parametrize("how", ["close", "interrupt"])
def test_an_interrupted_answer_is_kept_as_far_as_it_goes(how, monkeypatch):
    model = a_model("llama")
    session = ChatSession(model, TOKENIZER)
    session._stop = set()
    pieces = session.answer("hello", 30, temperature=0)
    first = next(pieces) + next(pieces) + next(pieces)
    assert first.strip()
    if how == "close":
        pieces.close()
    else:
        attention = model.layers[1].self_attn
        real = attention.forward

        def stop(*args, **options):
            real(*args, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(attention, "forward", stop)
        with pytest.raises(KeyboardInterrupt):
            next(pieces)
        monkeypatch.setattr(attention, "forward", real)
    assert session.messages == (Message("user", "hello"), Message("assistant", first))
    session._stop = chat_end_ids(TOKENIZER)
    fresh = ChatSession(model, TOKENIZER)
    fresh._begin_with(session.messages)
    assert "".join(session.answer("you", 10, temperature=0)) == "".join(fresh.answer("you", 10, temperature=0))


def test_a_turn_without_an_answer_is_not_kept():
    session = ChatSession(a_model("gpt"), TOKENIZER)
    session._stop = set(range(TOKENIZER.vocab_size))
    assert list(session.answer("hello")) == []
    assert session.messages == ()
    assert session.stats.tokens == 0


def test_saving_loading_and_resetting(tmp_path):
    model = a_model("gpt")
    session = ChatSession(model, TOKENIZER, "be kind")
    with pytest.raises(ValueError, match="nothing was said"):
        session.save(tmp_path / "chat.json")
    for text in TURNS[:2]:
        "".join(session.answer(text, 8, np.random.default_rng(1), temperature=1.5))
    session.save(tmp_path / "chat.json")
    assert read_conversations([str(tmp_path / "chat.json")]) == [session.messages]
    other = ChatSession(model, TOKENIZER, "another")
    other.load(tmp_path / "chat.json")
    assert other.messages == session.messages
    one, two = ("".join(s.answer("thank you", 8, temperature=0)) for s in (session, other))
    assert one == two
    session.reset()
    assert session.messages == (Message("system", "be kind"),)
    fresh = ChatSession(model, TOKENIZER, "be kind")
    assert "".join(session.answer("hello", 8, temperature=0)) == "".join(fresh.answer("hello", 8, temperature=0))
    half = {"messages": [m._asdict() for m in other.messages[:4]]}
    for text, message in (
        (json.dumps(half) + "\n" + json.dumps(half), "ends with a message of the user|2 conversations"),
        (json.dumps(half), "ends with a message of the user"),
        ("{", "not a JSON object"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            other.load(tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError):
        other.load(tmp_path / "none.json")


def test_cropping_a_cache():
    cache = KVCache((1, 1, 8, 2), np.float64)
    k = np.arange(10.0).reshape(1, 1, 5, 2)
    cache.append(k, k)
    cache.crop(2)
    assert cache.length == 2
    kept, _ = cache.append(k[:, :, 4:], k[:, :, 4:])
    np.testing.assert_array_equal(kept[0, 0], k[0, 0, [0, 1, 4]])
    for length in (4, -1):
        with pytest.raises(ValueError, match="cannot be cropped"):
            cache.crop(length)
