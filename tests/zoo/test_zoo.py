"""The zoo tests the checker: it detects every animal, names the place, and gives the right cause first."""

import re
from pathlib import Path

import numpy as np
import pytest

from numpylm import zoo
from numpylm.check import selfcheck
from numpylm.check.mutants import World
from numpylm.check.report import KINDS
from numpylm.check.selfcheck_inputs import Sizes
from numpylm.cli.main import main
from numpylm.zoo import catalog

ANIMALS = zoo.animals()
DOCS = Path(__file__).parents[2] / "docs" / "zoo.md"


IN_THE_FAST_SUITE = (
    "Linear",
    "LayerNorm",
    "Embedding",
    "cross_entropy",
    "softmax_backward",
    "scaled_dot_product_attention_backward",
    "multi_head_backward",
    "_gelu_tanh_backward",
    "RMSNorm",
    "Conv1d",
    "AdamW",
)  # the first fault of each; all others are slow


def some_fast():
    """The animals as parameters."""
    fast = [next(f for f in ANIMALS if f.owner == owner) for owner in IN_THE_FAST_SUITE]
    return [pytest.param(f, marks=() if f in fast else pytest.mark.slow, id=f.name) for f in ANIMALS]


@pytest.mark.parametrize("fault", some_fast())
def test_every_fault_is_found_placed_and_explained(fault):
    report = zoo.check(fault)
    assert not report.ok, f"missed: {fault.wrong}"
    assert catalog.names_place(fault, report), str(report)
    assert report.causes[0].kind == fault.kind, str(report)
    assert any(not row.ok and row.hint for row in report.rows) or report.findings


def test_the_zoo_is_large_and_covers_the_whole_model():
    owners = {fault.owner.removesuffix("_backward") for fault in ANIMALS}
    assert len(ANIMALS) >= 40
    assert {"softmax", "relu", "gelu", "cross_entropy", "Linear", "Embedding", "LayerNorm", "Dropout"} <= owners
    assert {"CausalSelfAttention", "MLP", "Block", "GPT", "AdamW", "clip_grad_norm"} <= owners
    assert {"multi_head", "SelfAttention", "CrossAttention", "EncoderBlock", "DecoderBlock", "Transformer"} <= owners
    assert {"MaskedLMHead", "ClassificationHead", "Bert", "silu", "tanh"} <= owners
    assert {"RMSNorm", "Rotary", "GatedMLP", "GroupedQueryAttention", "MixtureOfExperts"} <= owners
    assert {"grouped_attention", "LlamaBlock", "Llama", "dpo_loss", "answer_log_prob", "Conv1d", "Whisper"} <= owners
    assert len({f.name for f in ANIMALS} | {f.animal for f in ANIMALS}) == 2 * len(ANIMALS)
    assert {f.kind for f in ANIMALS} <= set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])  # all animals, and the seeds 2 and 3, take minutes
def test_faults_are_found_with_other_numbers_too(seed):
    """With another seed, every second animal is detected and placed, and at least 85 % are explained."""
    reports = [(fault, zoo.check(fault, seed)) for fault in ANIMALS[::2]]
    assert all(not report.ok for _, report in reports)
    assert all(catalog.names_place(fault, report) for fault, report in reports)
    right = sum(report.causes[0].kind == fault.kind for fault, report in reports)
    assert right >= 0.85 * len(reports)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, 25))
def test_no_false_alarm_over_200_seeds_and_sizes(first):
    """Every right layer passes, whatever the seed and however small the sizes."""
    for seed in range(first, first + 25):
        rng = np.random.default_rng(seed)
        sizes = Sizes.random(rng)
        families = selfcheck.FAMILIES if seed < 20 else ("gpt",)  # the large models take four times as long
        for report in selfcheck.run(rng, sizes, families):
            assert report.ok, f"seed {seed}, {sizes}\n{report}"


def test_an_unchanged_world_is_right():
    """Building a faulty module adds no other fault."""
    rng = np.random.default_rng(0)
    fault = next(f for f in ANIMALS if f.name == "block-drops-the-residual")
    subject, inputs, options = fault.build(World(), rng)
    assert zoo.catalog.gradcheck(subject, *inputs, **options).ok


@pytest.mark.slow
def test_a_fault_deep_inside_is_traced_through_the_layers():
    """The Linear of an MLP of a block of a GPT: the report names the whole path."""
    fault = zoo.get("linear-bias-mean")
    world = World(fault)
    gpt = world.GPT(world.GPTConfig(11, 7, 2, 3, 12))
    report = catalog.gradcheck(gpt, np.random.default_rng(0).integers(0, 11, (2, 5)))
    assert not report.ok
    assert report.causes[0].kind == "factor"
    assert "bias" in report.causes[0].place
    assert "h." in report.causes[0].place


def test_the_table_in_the_docs_is_that_of_this_zoo():
    text = DOCS.read_text(encoding="utf-8")
    names = re.findall(r"^\| \w+: `([\w-]+)` \|", text, re.MULTILINE)
    assert names == [fault.name for fault in ANIMALS], "make it again: numpylm gradcheck --zoo --table > docs/zoo.md"
    count = len(ANIMALS)
    assert f"{count} faults: {count} detected, {count} placed" in text


def test_a_bar_in_a_text_does_not_begin_a_cell_of_the_table(monkeypatch):
    """The texts of this fault contain |x|."""
    fault = zoo.get("gelu-without-the-product-rule")
    monkeypatch.setattr(catalog, "animals", lambda: [fault])
    row = catalog.table().splitlines()[-1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 5, row


def test_the_game(capsys):
    assert main(["gradcheck", "--zoo"]) == 0
    listed = capsys.readouterr().out
    assert all(fault.animal in listed for fault in ANIMALS)
    assert not any(fault.name in listed for fault in ANIMALS)  # the names would give the bugs away
    animal = zoo.get("layernorm-gain-outside").animal
    assert main(["gradcheck", "--zoo", animal]) == 0
    riddle = capsys.readouterr().out
    assert "self.weight.data * rstd" in riddle
    assert "layernorm-gain-outside" not in riddle
    assert "Notes" not in riddle  # the derivation would give it away
    assert main(["gradcheck", "--zoo", animal, "--check"]) == 0
    assert "WRONG" in capsys.readouterr().out
    assert main(["gradcheck", "--zoo", animal, "--solve"]) == 0
    answer = capsys.readouterr().out
    assert "-        g = dy * self.weight.data" in answer
    assert "+        g = dy" in answer


@pytest.mark.slow
@pytest.mark.parametrize("fault", ANIMALS, ids=lambda fault: fault.name)
def test_every_riddle_shows_its_bug_and_every_answer_its_change(fault):
    changed = World(fault).source(fault.owner)
    assert changed != World().source(fault.owner)
    assert fault.name not in catalog.riddle(fault)
    assert "\n+" in catalog.answer(fault)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--zoo", "unicorn"], "no animal"),
        (["--zoo", "layernorm-gain-outsid"], "did you mean layernorm-gain-outside?"),
        (["--check"], "--zoo NAME"),
        (["--only", "X"], "belong to --file"),
        (["--zoo", "otter", "--file", "x.py"], "choose one"),
        (["--seed", "-1"], "--seed must be 0 or more"),
        (["--all", "--zoo"], "--all checks numpylm's own layers"),
    ],
)
def test_wrong_calls_get_one_line(argv, said, capsys):
    assert main(["gradcheck", *argv]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
