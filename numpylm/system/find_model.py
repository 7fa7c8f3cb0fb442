"""Where models are: which folders hold a run of ours, and what a path that leads nowhere may have meant."""

import difflib
from pathlib import Path

from numpylm.system.shell import quoted, shown

RUNS = Path("runs")  # where numpylm train puts its folders
CHECKPOINTS = ("best.npz", "last.npz")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")  # on huggingface.co, and in our form


def is_run(source: str | Path) -> bool:
    """Whether it is a run folder of numpylm, or (by its name) one of the checkpoints in it."""
    path = Path(source)
    return path.suffix == ".npz" or (bool(str(source)) and any((path / name).exists() for name in CHECKPOINTS))


def complain_of_many(folder: Path) -> None:
    """Raise a FileNotFoundError that names them if a folder, itself no model, holds folders of runs."""
    if is_run(folder) or (folder / "config.json").exists():
        return
    if runs := [quoted(path.as_posix()) for path in _models_in(folder) if path.is_dir() and is_run(path)]:
        raise FileNotFoundError(f"{shown(folder)} is not a run folder, but holds some: give one of {', '.join(runs)}")


def complain_of_pickles(folder: Path) -> None:
    """Raise a FileNotFoundError if a folder has a model in torch's own form, and none that we read."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:  # whoever reads it says it better
        return
    pickled = [name for name in names if name.endswith(PICKLED)]
    if pickled and not any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
        raise FileNotFoundError(
            f"{folder} has {pickled[0]} but no model.safetensors. A {Path(pickled[0]).suffix} is pickled, and "
            f"unpickling can run anything, so numpylm never does it. Fetch model.safetensors from where the model is "
            f"from; or, if you trust it, load it with torch and convert it: safetensors.torch.save_model(model, "
            f'"model.safetensors"), or transformers\' GPT2LMHeadModel.from_pretrained("{folder.as_posix()}")'
            f'.save_pretrained("{folder.as_posix()}")'
        )


def did_you_mean(missing: str | Path, names: bool = False) -> str:
    """``; did you mean runs/stories?``, or nothing if nothing is near.

    Parameters
    ----------
    missing : str or path
        Looked for among the run folders in ``runs`` and the models beside it.
    names : bool
        Whether it may be one of `NAMES`, too.
    """
    path = Path(missing)
    found = [p.as_posix() for place in {RUNS, path.parent} for p in _models_in(place)]
    if names and path.name not in NAMES:  # one that is right was not mistyped
        found += NAMES
    by_name: dict[str, set[str]] = {}
    for text in found:
        by_name.setdefault(Path(text).name.lower(), set()).add(text)
    near = difflib.get_close_matches(path.name.lower(), by_name, 1)
    return f"; did you mean {' or '.join(map(quoted, sorted(by_name[near[0]])))}?" if near else ""


def _models_in(folder: Path) -> list[Path]:
    """Everything in a folder that could be given as a model."""
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        return [path for path in inside if is_run(path) or (path / "config.json").is_file()]
    except OSError:  # there is no such folder, or it is not ours to read
        return []
