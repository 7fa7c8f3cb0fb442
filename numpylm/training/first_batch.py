"""`numpylm train --diagnose` and `--profile`: check or time the first batch of a run without creating a run folder."""

import tempfile
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.models.gpt import GPT
from numpylm.nn.module import Array
from numpylm.nn.optim import AdamW
from numpylm.system.processor import keep_memory
from numpylm.system.signals import stoppable
from numpylm.training.config import TrainConfig
from numpylm.training.diagnose import diagnose
from numpylm.training.diagnosis_report import Diagnosis
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.parallel import DataParallel
from numpylm.training.profiling import Profile, profile


def first_batch(config: TrainConfig, given: Collection[str] | None) -> tuple[TrainConfig, Any, Array, Array]:
    """The config with the model's shape, the model, and the ids and targets (B, T) of the first step."""
    if config.task != LanguageModeling.name:
        raise ValueError(
            f"--diagnose and --profile look at language models; for {config.task}, use numpylm gradcheck --all"
        )
    task = LanguageModeling(config)
    gpt = task.start(given)
    with stoppable(), tempfile.TemporaryDirectory() as folder:
        task.encode(Path(folder), processes=True)
        arrays = task.batch(np.random.default_rng(config.seed)).arrays
        del task.data  # Windows cannot remove memory-mapped files
    return task.config, gpt, arrays["ids"], arrays["targets"]


def diagnose_run(
    config: TrainConfig, progress: Callable[[str], None] | None = None, given: Collection[str] | None = None
) -> Diagnosis:
    """Run `numpylm.diagnose` on the first batch of a new run; ``given`` as in `train`."""
    config, gpt, ids, targets = first_batch(config, given)
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


def profile_run(config: TrainConfig, given: Collection[str] | None = None) -> tuple[int, Profile]:
    """The number of workers that share a batch of this run, and the profile of one of them on one core."""
    keep_memory()
    if config.model != "gpt":
        raise ValueError(f"--profile knows the layers of a GPT, not those of a {config.model}")
    config, gpt, ids, targets = first_batch(config, given)
    if not isinstance(gpt, GPT):
        raise ValueError(f"--profile knows the layers of a GPT; this is a {type(gpt).__name__}")
    workers = min(len(DataParallel(gpt).replicas), len(ids))
    rows = -(-len(ids) // workers)
    return workers, profile(gpt, ids[:rows], targets[:rows], config.learning_rate)
