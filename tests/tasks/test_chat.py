"""Training for chats: what counts in the loss, what is cut, whole runs, and models that cannot be begun with."""

import json

import numpy as np
import pytest

from numpylm import GPT, GPTConfig, load_model
from numpylm.cli.main import main
from numpylm.corpora import SERVICE
from numpylm.inference.chat import ChatSession
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.tasks import chat
from numpylm.tasks.chat import Chat, encoded, row_arrays, until_last_answer
from numpylm.tasks.chat_figures import service_conversations
from numpylm.text.any_tokenizer import load_tokenizer
from numpylm.text.chat_template import CHAT_TOKENS, chat_tokens, train_chat_tokenizer
from numpylm.text.conversation import Message, as_conversation
from numpylm.training.config import make_config
from numpylm.training.run_state import resume_config
from numpylm.training.train import train
from tests.tasks.test_runs import TINY, WORDS, everything, same

TOKENIZER = train_chat_tokenizer(["red rot blue blau green grün cat Katze"], 280)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with 60 conversations: two turns of words and their translations, some with a system message."""
    monkeypatch.chdir(tmp_path)
    write_conversations(tmp_path, 60)
    return tmp_path


def write_conversations(folder, count):
    rng = np.random.default_rng(0)
    lines = []
    for n in range(count):
        turns = [WORDS[i] for i in rng.integers(0, len(WORDS), 2)]
        messages = [{"role": "system", "content": "de"}] if n % 3 == 0 else []
        for word, other in turns:
            messages += [{"role": "user", "content": f"{n} {word}"}, {"role": "assistant", "content": other}]
        lines.append(json.dumps({"messages": messages}))
    (folder / "talks.jsonl").write_text("\n".join(lines), encoding="utf-8")


def config(**options):
    small = TINY | {"task": "chat", "data": ["talks.jsonl"], "block_size": 64, "batch_size": 6}
    return make_config(small | options)


def test_only_what_the_assistant_says_counts():
    talk = as_conversation(
        [("system", "cat"), ("user", "red"), ("assistant", "rot"), ("user", "blue"), ("assistant", "blau")]
    )
    ((ids, targets),), _ = encoded(TOKENIZER, [talk], 100, "training")
    counted = targets != IGNORE_INDEX
    assert TOKENIZER.decode(targets[counted]) == "rot<|end|>blau<|end|>"
    np.testing.assert_array_equal(ids[1:][counted[:-1]], targets[:-1][counted[:-1]])  # each is the next token
    text = TOKENIZER.decode(ids[: np.flatnonzero(counted)[0] + 1])
    assert text == "<|system|>cat<|end|><|user|>red<|end|><|assistant|>"


def test_what_the_user_says_after_the_last_answer_takes_no_room():
    talk = as_conversation([("user", "red"), ("assistant", "rot"), ("user", "green cat " * 20)])
    ((ids, _),), (kept,) = encoded(TOKENIZER, [talk], 20, "training")
    assert TOKENIZER.decode(ids) == "<|user|>red<|end|><|assistant|>rot"
    assert [message.content for message in kept] == ["red", "rot"]


def test_padding_counts_nothing_and_changes_no_row():
    talks = [as_conversation([("user", "red " * n), ("assistant", "rot")]) for n in (1, 5, 2)]
    rows, _ = encoded(TOKENIZER, talks, 100, "training")
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 100, 1, 2, 16), np.random.default_rng(0), np.float64)
    alone = [model.loss(ids[None], targets[None]) for ids, targets in rows]
    counts = [(targets != IGNORE_INDEX).sum() for _, targets in rows]
    together = model.loss(**row_arrays(rows))
    np.testing.assert_allclose(together, np.average(alone, weights=counts), rtol=1e-6)


@pytest.mark.parametrize("pack", [True, False])
def test_a_batch_gives_every_conversation_the_loss_that_it_has_alone(pack, data):
    task = Chat(config(pack=pack, val_fraction=0.2))
    model = task.start(None)
    task.encode(data)
    arrays = task.batch(np.random.default_rng(0)).arrays
    assert ("segments" in arrays) == pack
    alone = {ids.tobytes(): (ids, targets) for ids, targets in task.train_rows}
    segments = arrays.get("segments", np.ones_like(arrays["ids"]))
    texts = []
    for row, (ids, numbers) in enumerate(zip(arrays["ids"], segments, strict=True)):
        for n in range(1, numbers.max() + 1):
            here = np.flatnonzero(numbers == n)
            if not pack:
                here = here[: arrays["ids"].shape[1] - (arrays["targets"][row][::-1] != IGNORE_INDEX).argmax()]
            texts.append(alone[ids[here].tobytes()])
            np.testing.assert_array_equal(arrays["targets"][row, here], texts[-1][1])
    counts = [(targets != IGNORE_INDEX).sum() for _, targets in texts]
    losses = [model.loss(ids[None], targets[None]) for ids, targets in texts]
    np.testing.assert_allclose(model.loss(**arrays), np.average(losses, weights=counts), rtol=1e-5)
    assert pack == (len(texts) > 1.5 * len(arrays["ids"]))


def test_long_conversations_keep_the_system_message_and_the_newest_turns(capsys):
    turns = [(role, f"{word} {n}") for n, (word, _) in enumerate(WORDS) for role in ("user", "assistant")]
    long = as_conversation([("system", "cat"), *turns])
    hopeless = as_conversation([("user", "red " * 50), ("assistant", "rot")])
    short = as_conversation([("user", "red"), ("assistant", "rot")])
    rows, kept = encoded(TOKENIZER, [long, hopeless, short], 32, "training")
    assert kept[0][0] == Message("system", "cat")
    assert kept[0][1:] == long[-len(kept[0]) + 1 :]
    assert 2 < len(kept[0]) < len(long)
    assert kept[1:] == [short]
    assert max(len(ids) for ids, _ in rows) <= 32
    out = capsys.readouterr().out
    assert "1 training conversations to their newest turns" in out
    assert "left out    1 training" in out
    with pytest.raises(ValueError, match="use a larger block_size"):
        encoded(TOKENIZER, [hopeless], 32, "training")


def test_the_question_before_the_last_answer():
    talk = as_conversation([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")])
    assert until_last_answer(talk) == talk[:3]


@pytest.mark.parametrize(
    ("stop", "pack"),
    [pytest.param(1, True, marks=pytest.mark.slow), (4, True), pytest.param(7, False, marks=pytest.mark.slow)],
)
def test_a_run_that_was_stopped_resumes_to_the_bit(stop, pack, data, capsys):
    whole = train(config(out="whole", pack=pack), task=Chat)
    assert ("conversations a row" in capsys.readouterr().out) == pack
    part = train(config(out="part", pack=pack), task=Chat, stop_at=stop)
    train(resume_config(part, {}), resume=part, task=Chat)
    same(everything(whole), everything(part))


def test_a_run_on_changed_data_is_refused(data, capsys):
    part = train(config(out="part"), task=Chat, stop_at=2)
    path = data / "talks.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("Katze", "Kater"), encoding="utf-8")
    assert main(["train", "--resume", str(part)]) == 1
    assert "the training text is not what this run began with" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt", "llama"])
def test_an_assistant_learns_its_dictionary(model, data, capsys):
    """With packed rows, and so many conversations that none of five seeds fails: with 60, some end at 0.6."""
    write_conversations(data, 240)
    options = {"model": model, "max_steps": 500, "eval_interval": 250, "dropout": 0.0, "learning_rate": 1e-2}
    folder = train(config(out="run", n_embd=32, n_layer=2, **options), task=Chat)
    out = capsys.readouterr().out
    assert "numpylm chat run" in out
    last = [e for e in everything(folder)[2] if "val_loss" in e][-1]
    assert last["val_loss"] < 0.5
    assert last["val_ended"] == 1
    model = load_model(folder)
    right = 0
    for word, other in WORDS:
        session = ChatSession(model, model.tokenizer)
        right += "".join(session.answer(f"7 {word}", temperature=0)) == other
    assert right >= 5
    assert main(["chat", str(folder), "--prompt", "3 cat", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.strip()


def test_fine_tuning_a_chat_run_and_its_adapters(data, capsys):
    first = train(config(out="first", max_steps=2, model="gpt"), task=Chat)  # not the default of chats
    options = {"lora_rank": 2, "max_steps": 2, "vocab_size": TINY["vocab_size"]}
    tuned = train(config(out="tuned", init_from=str(first), **options), task=Chat)
    assert "numbers are trained" in capsys.readouterr().out
    assert load_model(tuned).tokenizer.special_tokens.keys() == set(CHAT_TOKENS)
    assert main(["chat", str(tuned), "--prompt", "red", "--max-new-tokens", "3"]) == 0


def test_bundled_customers_are_judged_at_the_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chat, "BUNDLED_CONVERSATIONS", 40)
    monkeypatch.setattr(chat, "DICTATIONS", 5)
    monkeypatch.setattr(chat, "service_conversations", lambda: service_conversations(turns=6))
    folder = train(config(data=[], out=str(tmp_path / "run"), block_size=700, max_steps=4, sample_tokens=0), task=Chat)
    out = capsys.readouterr().out
    assert "to 6 turns of new customers" in out
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert set(scores) == {"model", "retrieval"}
    assert scores["model"]["kind"] == 0  # after four steps
    assert scores["retrieval"]["ended"] == 1
    last = [entry for entry in everything(folder)[2] if "val_loss" in entry][-1]
    assert 0 < last["above_source"] < last["val_loss"]
    nats = -sum(load_model(folder).log_prob(ids)[np.array(counted[1:])].sum() for ids, counted in judged(folder))
    floor = sum(map(SERVICE.nats, service_conversations(turns=6)))
    assert scores["model"]["above_source"] == pytest.approx((nats - floor) / 6, rel=1e-4)


def judged(folder):
    """Ids of the judged conversations, and which are the assistant's."""
    return [chat_tokens(load_tokenizer(folder), talk) for talk in service_conversations(turns=6)]


def test_what_cannot_be_begun_with_is_said_in_one_line(data, capsys):
    (data / "text.txt").write_text("red rot blue blau\n" * 40, encoding="utf-8")
    plain = train(make_config(TINY | {"data": ["text.txt"], "out": "plain", "max_steps": 1}))
    capsys.readouterr()
    begin = ["train", "--no-check-gradients", "--task", "chat"]
    for options, message in (
        (["--data", "talks.jsonl", "--init-from", str(plain)], "no form of a chat"),
        (["--data", "none.jsonl"], "no such file: none.jsonl"),
        (["--data", "talks.jsonl", "--init-from", "none.gguf"], "no such file: none.gguf"),
        (["--data", "text.txt"], "line 1 of text.txt is not a JSON object"),
        (["--data", "talks.jsonl", "--block-size", "4"], "use a larger block_size"),
        (["--data", "talks.jsonl", "--tokenizer", "char"], "tokenizer is for --task language-model"),
        (["--data", "talks.jsonl", "--model", "gpt", "--n-kv-head", "1"], "n_kv_head is for --model llama"),
    ):
        assert main([*begin, *options]) == 1
        err = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert len(err) == 1, options
        assert message in err[0]


def test_the_command_trains_and_chooses_settings(data, capsys):
    flags = ["--n-layer", "1", "--n-embd", "16", "--n-head", "2", "--max-steps", "2", "--block-size", "64"]
    assert main(["train", "--no-check-gradients", "--task", "chat", "--data", "talks.jsonl", *flags]) == 0
    found = capsys.readouterr()
    assert "chosen      vocab_size" in found.out
    assert "answers end by themselves" in found.out + found.err
    assert "unigram" in found.out
    assert (data / "runs" / "talks").is_dir()
