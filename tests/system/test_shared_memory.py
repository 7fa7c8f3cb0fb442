"""Memory that processes share is there before it is used, or not at all."""

import errno
import os
import sys

import numpy as np
import pytest

from numpylm import GPT, DataParallel, GPTConfig
from numpylm.system import shared_memory as shared
from numpylm.system.shared_memory import SharedArrays
from numpylm.training.replica import RemoteReplica


def full(size, folder):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs no file")
def test_memory_is_taken_at_once():
    """A page that gets its memory when it is touched ends the process if there is none left (a bus error)."""
    memory = SharedArrays([np.ones((1000, 1000)), np.ones(0), np.ones(3, np.float32)])
    assert [array.sum() for array in memory.arrays()] == [0, 0, 0]
    assert os.fstat(memory.where).st_blocks * 512 >= memory.size >= 8_000_012


@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs no file")
def test_where_there_is_no_memory_for_files_small_ones_are_shared_and_large_ones_are_not(monkeypatch, tmp_path):
    monkeypatch.setattr(shared, "MEMORY", str(tmp_path / "missing"))
    assert SharedArrays([np.ones(3)]).arrays()[0].sum() == 0
    monkeypatch.setattr(shared, "SMALL", 20)
    with pytest.raises(OSError, match=r"shared memory cannot be allocated .*No such file"):
        SharedArrays([np.ones(3)])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs no file")
def test_without_shared_memory_threads_do_the_work(monkeypatch, capsys):
    monkeypatch.setattr(shared, "_zeros", full)
    gpt, ids = GPT(GPTConfig(11, 8, 1, 2, 8)), np.ones((2, 4), int)
    parallel = DataParallel(gpt, 2, processes=True)
    assert not isinstance(parallel.replicas[1], RemoteReplica)
    assert parallel.loss_and_grad(ids, ids) == pytest.approx(gpt.loss(ids, ids))
    said = capsys.readouterr().err
    assert said.startswith("note: threads share each batch, not processes: 1 MB of shared memory cannot be allocated")
    assert said.count("\n") == 1
