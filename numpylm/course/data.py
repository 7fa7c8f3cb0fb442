"""The bundled model and the stories that the lessons use."""

from pathlib import Path
from typing import Any

from numpylm.corpora import CORPORA
from numpylm.files.checkpoint import load_run
from numpylm.models.gpt import GPT
from numpylm.system.run_files import BEST


def storyteller() -> tuple[GPT, Any]:
    """The model that comes with the course, and its tokenizer: a GPT with half a million parameters.

    ``numpylm train`` makes such a model in two minutes; see ``data/README.md``.

    Raises
    ------
    FileNotFoundError
        If the folder ``data/storyteller`` is neither in the repository nor in a parent of the current folder.
    """
    places = [Path(__file__).parents[2], Path.cwd(), *Path.cwd().parents]
    for place in places:
        folder = place / "data" / "storyteller"
        if (folder / BEST).is_file():
            gpt, tokenizer, _ = load_run(folder)
            return gpt, tokenizer
    raise FileNotFoundError(
        "data/storyteller was not found: run the notebooks from a clone of the repository (git clone, then "
        'pip install -e ".[notebooks]")'
    )


def stories(size: int) -> list[str]:
    """The first stories of the bundled corpus, with ``size`` bytes in total or slightly more."""
    return CORPORA["stories"].documents(size)
