"""``numpylm evaluate`` on conversations: what is printed, and what is refused."""

import json
import math

import numpy as np
import pytest

from numpylm import load_model
from numpylm.cli.main import main
from numpylm.tasks.chat import Chat
from numpylm.text.chat_template import chat_tokens
from numpylm.text.conversation import read_conversations
from numpylm.training.config import make_config
from numpylm.training.train import train
from tests.tasks.test_runs import TINY, WORDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run of two steps, its training file, and another file of conversations."""
    folder = tmp_path_factory.mktemp("chats")
    for name, count in (("train", 40), ("new", 5)):
        talks = [[*WORDS[n % 6], *WORDS[n % 5]] for n in range(count)]
        lines = [
            {"messages": [{"role": ("user", "assistant")[k % 2], "content": f"{n} {t}"} for k, t in enumerate(talk)]}
            for n, talk in enumerate(talks, 100 * (name == "new"))
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    data = [str(folder / "train.jsonl")]
    options = {"task": "chat", "data": data, "out": str(folder / "run"), "max_steps": 2, "block_size": 64}
    train(make_config(TINY | options), task=Chat)
    return folder


def run(folder, *options):
    return main(["evaluate", str(folder / "run"), "--data", *options])


def test_the_loss_is_that_of_the_assistants_tokens_and_the_answers_stand_beside_retrieval(folder, capsys):
    assert run(folder, str(folder / "new.jsonl")) == 0
    out = capsys.readouterr().out
    model, nats, count = load_model(folder / "run"), 0.0, 0
    for talk in read_conversations([str(folder / "new.jsonl")]):
        ids, counted = chat_tokens(model.tokenizer, talk)
        nats -= model.log_prob(ids)[np.array(counted[1:])].sum()
        count += sum(counted)
    lines = {line[:15].strip(): line[16:] for line in out.splitlines()}
    assert lines["chats"].startswith(f"5, with 10 answers: {count} tokens")
    assert float(lines["loss"].split()[0]) == pytest.approx(nats / count, abs=1e-4)
    assert float(lines["perplexity"]) == pytest.approx(math.exp(nats / count), rel=1e-3)
    assert lines["answers"].startswith("to the first 10 turns")
    assert [line.split() for line in out.splitlines()][-3] == ["model", "retrieval"]


def test_answers_can_be_left_out_or_fewer(folder, capsys):
    assert run(folder, str(folder / "new.jsonl"), "--answers", "0") == 0
    assert "answers   " not in capsys.readouterr().out
    assert run(folder, str(folder / "new.jsonl"), "--answers", "3") == 0
    assert "the first 3 turns" in capsys.readouterr().out


def test_conversations_of_the_training_are_reported(folder, capsys):
    assert run(folder, str(folder / "train.jsonl"), "--answers", "1") == 0
    err = capsys.readouterr().err
    assert "of these 40 conversations were trained on" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stride", "8"], "--stride is for running text"),
        (["--loss-after", "x"], "--loss-after is for running text"),
        (["--answers", "-1"], "--answers must be at least 0"),
        (["--block-size", "2"], "use a larger block_size"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(folder, options, message, capsys):
    assert run(folder, str(folder / "new.jsonl"), *options) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(err) == 1
    assert message in err[0]


def test_without_the_training_file_the_model_stands_alone(folder, capsys):
    moved = (folder / "train.jsonl").rename(folder / "gone.jsonl")
    try:
        assert run(folder, str(folder / "new.jsonl")) == 0
    finally:
        moved.rename(folder / "train.jsonl")
    found = capsys.readouterr()
    assert "there is no retrieval beside the model" in found.err
    assert "retrieval" not in found.out


def test_running_text_is_still_running_text(folder, capsys):
    (folder / "plain.txt").write_text("red rot blue blau\n" * 9, encoding="utf-8")
    assert run(folder, str(folder / "plain.txt")) == 0
    assert "predicted tokens" in capsys.readouterr().out
