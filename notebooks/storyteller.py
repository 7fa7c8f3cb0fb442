"""Make data/storyteller from a run folder: ``python notebooks/storyteller.py runs/stories``.

It keeps only the parameters of the best model, as float16 (half the size; the loss on data/stories.txt is the same to
four digits), and the tokenizer.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from numpylm.files.checkpoint import load_checkpoint
from numpylm.system.whole_files import write_atomically

TARGET = Path(__file__).parents[1] / "data" / "storyteller"


def main(run: Path) -> None:
    """Write the three files."""
    checkpoint = load_checkpoint(run / "best.npz", optimizer=False)
    arrays = {f"model/{name}": value.astype(np.float16) for name, value in checkpoint.model.items()}
    with np.load(run / "best.npz") as file:
        meta = file["meta"]
    write_atomically(TARGET / "best.npz", lambda file: np.savez_compressed(file, meta=meta, **arrays))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(run / name, TARGET / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
