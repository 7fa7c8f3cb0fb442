"""Before a run: the first batch of it, diagnosed or timed. Nothing is written."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from numpylm.config import TrainConfig
from numpylm.data import random_batch
from numpylm.diagnose import Diagnosis, diagnose
from numpylm.gpt import GPT
from numpylm.interrupts import stoppable
from numpylm.module import Array
from numpylm.optim import AdamW
from numpylm.parallel import DataParallel, keep_memory
from numpylm.prepare import Data, load_documents, split
from numpylm.profiling import Profile, profile
from numpylm.train import begin


def first_batch(config: TrainConfig) -> tuple[TrainConfig, GPT, Array, Array]:
    """The config with the model's shape, the model, and ids and targets (B, T) of a first step."""
    train_docs, val_docs = split(config, load_documents(config))
    config, gpt, tokenizer = begin(config, train_docs)
    with stoppable(), tempfile.TemporaryDirectory() as folder:
        data = Data.encode(train_docs, val_docs, tokenizer, config, Path(folder), processes=True)
        rng = np.random.default_rng(config.seed)
        ids, targets = random_batch(data.train, config.batch_size, config.block_size, rng, data.starts, data.counted)
        del data  # Windows cannot remove files that are mapped
    return config, gpt, ids, targets


def diagnose_run(config: TrainConfig, progress: Callable[[str], None] | None = None) -> Diagnosis:
    """What `numpylm.diagnose` says about the first batch of a run that is not begun."""
    config, gpt, ids, targets = first_batch(config)
    return diagnose(
        gpt,
        ids,
        targets,
        lr=config.learning_rate,
        rng=np.random.default_rng(config.seed) if config.dropout else None,
        optimizer=partial(AdamW, betas=(config.beta1, config.beta2), weight_decay=config.weight_decay),
        fresh=not config.init_from,
        progress=progress,
    )


def profile_run(config: TrainConfig) -> tuple[int, Profile]:
    """How many workers share a batch of this run, and what one of them spends its time on, on one core."""
    keep_memory()
    config, gpt, ids, targets = first_batch(config)
    workers = min(len(DataParallel(gpt).replicas), len(ids))
    rows = -(-len(ids) // workers)
    return workers, profile(gpt, ids[:rows], targets[:rows], config.learning_rate)
