"""Whole trainings whose result is known. Minutes long, so marked slow."""

import json

import numpy as np
import pytest

from numpylm.corpora import source_nats
from numpylm.files.checkpoint import load_run
from numpylm.inference.streaming import stream_text
from numpylm.training.config import make_config, read_config_file
from numpylm.training.train import train


@pytest.mark.slow
def test_the_main_job_comes_within_a_tenth_of_a_nat_of_the_source(tmp_path):
    folder = train(make_config({"out": str(tmp_path / "stories"), "check_gradients": False}))
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert 0 < last["above_source"] <= 0.10
    gpt, tokenizer, _ = load_run(folder)
    end = tokenizer.end_id
    ids = gpt.generate([end], 300, rng=np.random.default_rng(1), stop_ids={end}, temperature=0.5)
    story = "".join(stream_text((i for i in ids if i != end), tokenizer.token_bytes))
    assert len(story) > 200
    assert source_nats([story]) is None or source_nats([story]) > 10


@pytest.mark.slow
def test_nanogpts_cpu_recipe_reaches_its_loss(tmp_path, shared_data, request):
    path = shared_data / "tinyshakespeare.txt"
    recipe = read_config_file(request.config.rootpath / "benchmarks" / "nanogpt_cpu.toml")
    folder = train(make_config(recipe, {"data": str(path), "out": str(tmp_path / "run"), "check_gradients": False}))
    last = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert load_run(folder)[0].config.vocab_size == 65
    assert last["val_loss"] <= 1.89
