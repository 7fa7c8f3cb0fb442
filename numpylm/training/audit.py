"""Auditing a run: what its model has memorized of its training documents, compared with the documents it never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files.checkpoint import load_run
from numpylm.files.find_model import did_you_mean, refuse_folder_of_runs
from numpylm.inference.exposure import Exposure, exposures, find_canaries
from numpylm.inference.extraction import Copy, extract
from numpylm.system.shell import shown
from numpylm.system.whole_files import read_json
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.prepare_data import Data, as_documents, load_documents, split
from numpylm.training.run_state import resume_config

LONGEST_COPY = 100  # tokens; longer copies are not followed
MOST_CANARIES = 50  # of a template; a text may have thousands of sentences of its form


@dataclass(frozen=True)
class Texts:
    """The documents of a run: those that it was trained on, and those that were held out."""

    train: list[str]
    held_out: list[str]


@dataclass(frozen=True)
class Extracted:
    """The result of prompting the model with the beginnings of some documents.

    Attributes
    ----------
    copies : list of Copy
        One for each prompted document.
    at_least : int
        The number of tokens that counts as a copy.
    """

    copies: list[Copy]
    at_least: int

    @property
    def count(self) -> int:
        """The number of documents of which at least so many tokens were copied."""
        return sum(copy.tokens >= self.at_least for copy in self.copies)

    @property
    def mean(self) -> float:
        """The mean number of copied tokens."""
        return float(np.mean([copy.tokens for copy in self.copies])) if self.copies else 0.0


def load_audited(source: str | Path, data: Sequence[str] = ()) -> tuple[Any, Texts]:
    """Load the model of a run, and its text, divided into training and held-out documents as its training did.

    Parameters
    ----------
    source : path
        A run folder (its best checkpoint is audited), or one of the checkpoints in it.
    data : sequence of str
        Where the text is now. Default: where it was.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is not the run of a language model, or the text is not that of the run: its tokens have another hash.
    """
    path = Path(source)
    folder = path.parent if path.is_file() else path
    check_run_folder(folder)
    config = resume_config(folder, {"data": tuple(data)} if data else {})
    if config.task != LanguageModeling.name:
        raise ValueError(f"{shown(folder)} was trained for {config.task}; only language models can be audited")
    model, _, checkpoint = load_run(path)
    train, held_out = split(config, as_documents(config, load_documents(config)))
    found = Data.encode(train, held_out, model.tokenizer, config, folder).fingerprint()
    known = checkpoint.meta.get("fingerprint")
    if not known or not f"{found}-".startswith(f"{known}-"):
        raise ValueError(
            f"this is not the text that {shown(folder)} was trained on, so it is unknown which documents its model has "
            f"seen: give the same text with --data"
        )
    return model, Texts(train, held_out)


def check_run_folder(folder: Path) -> None:
    """Raise FileNotFoundError if a folder is not that of a training run, such as a published model."""
    file = folder / "config.json"
    saved = read_json(file) if file.is_file() else None
    if not isinstance(saved, dict) or "model_type" in saved:
        refuse_folder_of_runs(folder)
        near = "" if folder.exists() else did_you_mean(folder)
        raise FileNotFoundError(
            f"{shown(folder)} is not a run folder of numpylm{near}; an audit needs one, because the settings in it say "
            f"which documents the model was trained on and which were held out"
        )


def sample_extraction(
    model: Any, documents: Sequence[str], count: int, prompt_tokens: int, at_least: int, rng: np.random.Generator
) -> Extracted:
    """`extract` of ``count`` random documents among those with at least ``prompt_tokens + at_least`` tokens."""
    if prompt_tokens + at_least > model.config.block_size:
        raise ValueError(
            f"a prompt of {prompt_tokens} tokens and a copy of {at_least} do not fit into what the model reads, "
            f"{model.config.block_size} tokens: give fewer"
        )
    chosen: list[str] = []
    for i in rng.permutation(len(documents)):
        if len(chosen) == count:
            break
        if len(model.tokenizer.encode(documents[i])) >= prompt_tokens + at_least:
            chosen.append(documents[i])
    longest = min(max(LONGEST_COPY, at_least), model.config.block_size - prompt_tokens)
    return Extracted(extract(model, chosen, model.tokenizer, prompt_tokens, at_least, longest), at_least)


def canary_exposures(model: Any, texts: Texts, template: str) -> tuple[list[Exposure], list[Exposure]]:
    """The exposures of canaries of a form: of those in the training documents, and of those that only held-out ones
    have."""
    seen = find_canaries(texts.train, template)
    known = {(canary.prefix, canary.secret) for canary in seen}
    unseen = [c for c in find_canaries(texts.held_out, template) if (c.prefix, c.secret) not in known]
    if not seen + unseen:
        raise ValueError(f"no document has a sentence of the form {template!r}")
    seen, unseen = seen[:MOST_CANARIES], unseen[:MOST_CANARIES]
    measured = exposures(model, seen + unseen)
    return measured[: len(seen)], measured[len(seen) :]
