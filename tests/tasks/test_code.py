"""Code: only the function counts in the loss, asserts are never read, baselines, the report, and the commands."""

import json

import numpy as np
import pytest

from numpylm.cli.main import main
from numpylm.cli.typed_prompt import docstring_prompt
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.tasks.code import Code, encoded
from numpylm.tasks.code_baselines import NearestDocstring, NGrams
from numpylm.tasks.code_report import judge
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.code_problem import Problem
from numpylm.training.config import make_config
from numpylm.training.train import train

ADD = Problem("Add one", "f", "def f(x):\n    return x + 1", ("assert f(1) == 2",))
DOUBLE = Problem("Double it", "g", "def g(x):\n    return 2 * x", ("assert g(3) == 6",))


def test_only_the_code_and_its_end_are_targets():
    tokenizer = CharTokenizer.train([ADD.prompt + ADD.code], special_tokens=("<|endoftext|>",))
    ((ids, targets),) = encoded(tokenizer, [ADD], 100, "training")
    assert tokenizer.decode(ids[1:].tolist()) == ADD.prompt + ADD.code
    counted = targets[targets != IGNORE_INDEX].tolist()
    assert tokenizer.decode(counted[:-1]) == ADD.code
    assert counted[-1] == tokenizer.end_id == ids[0]
    with pytest.raises(ValueError, match="fits into 5 tokens"):
        encoded(tokenizer, [ADD], 5, "training")


def test_the_nearest_docstring_gives_its_code_under_the_name_asked_for():
    nearest = NearestDocstring([ADD, DOUBLE])
    assert nearest.write(Problem("Please double the number", "h", "")) == "def h(x):\n    return 2 * x"
    method = NearestDocstring([Problem("Look up", "get", "def get(d):\n    return d.get(1)")])
    assert method.write(Problem("look", "h", "")) == "def h(d):\n    return d.get(1)"
    assert nearest.write(Problem("???", "h", "")) == "def h(x):\n    return x + 1"


def test_n_grams_continue_with_the_most_frequent_token():
    model = NGrams([[0, 1, 2, 3, 9], [0, 1, 2, 4, 9], [5, 1, 2, 4, 9]])
    assert model.write([0, 1], 10, end=9) == [2, 3]  # of (0, 1, 2), the first of equals
    assert model.write([7, 2], 10, end=9) == [4]  # nothing is known after (7, 2)
    assert len(model.write([8], 3, end=99)) == 3


def test_figures_are_shares_of_all_and_nothing_runs_unasked(tmp_path, capsys):
    wrong, mark = "def f(x):\n    return x", tmp_path / "ran"
    texts = {"model": [ADD.code, wrong, "def f(x", "1 / 0"]}
    found = judge(texts, [ADD] * 4, run=True)
    assert found == {"model": {"parse": 0.75, "run": 0.5, "passed": 0.25}}
    assert "1  syntax" in capsys.readouterr().out
    assert judge({"model": [f"open({str(mark)!r}, 'w')"]}, [ADD], run=False) == {"model": {"parse": 1.0}}
    assert not mark.exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    entries = [
        {"text": f"{words} {n}", "code": f"def f(x):\n    return x {sign} {n}", "test_list": [f"assert f({n}) == {r}"]}
        for words, sign in (("add", "+"), ("take away", "-"))
        for n in range(9)
        for r in (2 * n if sign == "+" else 0,)
    ]
    (folder / "p.jsonl").write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 64, "max_steps": 40, "learning_rate": 2e-2}
    settings = {"task": "code", "data": str(folder / "p.jsonl"), "out": str(folder / "run"), "check_gradients": False}
    return train(make_config(settings, shape, {"eval_interval": 40, "warmup_steps": 5, "vocab_size": 280}), task=Code)


def test_without_being_asked_the_report_only_parses(run):
    figures = json.loads((run / "scores.json").read_text())
    assert set(figures) == {"model", "nearest docstring", "n-grams"}
    assert all(set(found) == {"parse"} for found in figures.values())


def test_evaluate_runs_the_code_only_with_run(run, capsys):
    file = str(run.parent / "p.jsonl")
    assert main(["evaluate", str(run), "--data", file, "--answers", "4"]) == 0
    assert "–" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--data", file, "--answers", "4", "--run"]) == 0
    found = capsys.readouterr()
    assert "nearest docstring" in found.out
    assert "–" not in found.out
    assert "problems were trained on" in found.err
    assert main(["evaluate", str(run), "--data", file, "--stride", "4"]) != 0
    assert "--stride is for running text" in capsys.readouterr().err


def test_a_docstring_is_typed_alone_or_with_a_name(run, capsys):
    assert main(["generate", str(run), "--prompt", "add 3", "--temperature", "0", "--max-new-tokens", "30"]) == 0
    assert capsys.readouterr().out.startswith("add 3\nsolve\n")
    assert main(["generate", str(run), "--prompt", " "]) != 0
    assert "say with --prompt" in capsys.readouterr().err
    assert docstring_prompt("add 3\nf") == "add 3\nf\n"
    assert docstring_prompt("add 3\nf\ndef f(") == "add 3\nf\ndef f("


def test_the_asserts_are_in_no_row(run):
    task = Code(make_config({"task": "code", "data": str(run.parent / "p.jsonl")}))
    task.start(None)
    task.encode(run)
    assert np.all([b"assert" not in task.tokenizer.decode(ids.tolist()).encode() for ids, _ in task.train_rows])
