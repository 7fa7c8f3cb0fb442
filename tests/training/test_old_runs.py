"""Runs and checkpoints that the version before 27 November 2026 wrote still load, and go on.

``tests/fixtures/old_run`` was made by commit 1aedd62: ``numpylm train --data text.txt --tokenizer bpe --vocab-size 280
--n-layer 1 --n-head 2 --n-embd 8 --block-size 8 --batch-size 2 --dropout 0.1 --max-steps 10 --eval-interval 5``.
Its last.npz is finished.npz, and ``stopped`` is the folder of the same run after five steps.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from numpylm import GPT
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint

OLD = Path(__file__).parents[1] / "fixtures" / "old_run"


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A copy of the old run, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD / "stopped", "stopped")
    return "stopped"


def test_an_old_run_goes_on_to_the_numbers_of_its_own_version(stopped, capsys):
    text = str(OLD / "text.txt")
    assert main(["train", "--resume", stopped]) == 1
    assert "give the same text with --data" in capsys.readouterr().err  # its path is of another computer
    assert main(["train", "--resume", stopped, "--data", text, "--no-check-gradients"]) == 0
    found, expected = load_checkpoint(Path(stopped) / "last.npz"), load_checkpoint(OLD / "finished.npz")
    assert found.meta["step"] == expected.meta["step"] == 10
    for name, value in expected.model.items():
        np.testing.assert_allclose(found.model[name], value, rtol=0, atol=1e-6, err_msg=name)


def test_an_old_run_writes_and_is_scored(stopped, capsys):
    assert len(list(GPT.from_pretrained(stopped).generate([0], 3))) == 3
    assert main(["evaluate", stopped, "--data", str(OLD / "text.txt")]) == 0
    assert "bits per byte" in capsys.readouterr().out
