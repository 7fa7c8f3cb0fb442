"""Finding models on disk: which folders are run folders, and suggestions for a path that does not exist."""

import difflib
from pathlib import Path

from numpylm.system.run_files import CHECKPOINTS
from numpylm.system.shell import quoted, shown

RUNS = Path("runs")  # where numpylm train puts its folders
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# models on huggingface.co that numpylm can read
HUB_MODELS = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2")


def is_run(source: str | Path) -> bool:
    """Whether it is a run folder of numpylm, or (by its name) one of the checkpoints in it."""
    path = Path(source)
    return path.suffix == ".npz" or (bool(str(source)) and any((path / name).exists() for name in CHECKPOINTS))


def refuse_folder_of_runs(folder: Path) -> None:
    """Raise a FileNotFoundError if a folder is not a model but contains run folders; the message names them."""
    if is_run(folder) or (folder / "config.json").exists():
        return
    if runs := [quoted(path.as_posix()) for path in _models_in(folder) if path.is_dir() and is_run(path)]:
        raise FileNotFoundError(f"{shown(folder)} is not a run folder, but holds some: give one of {', '.join(runs)}")


def refuse_pickles(folder: Path) -> None:
    """Raise a FileNotFoundError if a folder has only a pickled model of torch, which we do not read."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:  # the code that reads the folder gives a better message
        return
    pickled = [name for name in names if name.endswith(PICKLED)]
    if pickled and not any(name.endswith((".safetensors", ".safetensors.index.json")) for name in names):
        raise FileNotFoundError(
            f"{folder} has {pickled[0]} but no model.safetensors. A {Path(pickled[0]).suffix} file is pickled, and "
            f"unpickling can run any code, so numpylm does not read it. Download model.safetensors from the model's "
            f"source; or, if you trust it, load it with torch and convert it: safetensors.torch.save_model(model, "
            f'"model.safetensors"), or transformers\' GPT2LMHeadModel.from_pretrained("{folder.as_posix()}")'
            f'.save_pretrained("{folder.as_posix()}")'
        )


def did_you_mean(missing: str | Path, names: bool = False) -> str:
    """A suggestion such as ``; did you mean runs/stories?``, or an empty string if no name is similar.

    Parameters
    ----------
    missing : str or path
        It is compared with the run folders in ``runs`` and the models in its own parent folder.
    names : bool
        Whether to compare it with `HUB_MODELS`, too.
    """
    path = Path(missing)
    found = [p.as_posix() for place in {RUNS, path.parent} for p in _models_in(place)]
    if names and path.name not in HUB_MODELS:  # a correct name needs no suggestion
        found += HUB_MODELS
    by_name: dict[str, set[str]] = {}
    for text in found:
        by_name.setdefault(Path(text).name.lower(), set()).add(text)
    near = difflib.get_close_matches(path.name.lower(), by_name, 1)
    return f"; did you mean {' or '.join(map(quoted, sorted(by_name[near[0]])))}?" if near else ""


def _models_in(folder: Path) -> list[Path]:
    """The run folders, checkpoints and model folders in a folder."""
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        return [path for path in inside if is_run(path) or (path / "config.json").is_file()]
    except OSError:  # the folder does not exist, or we may not read it
        return []
