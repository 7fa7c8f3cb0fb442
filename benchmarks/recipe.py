"""nanoGPT's CPU recipe from beginning to end, with evaluations, compared with torch eager.

    pip install -e ".[bench]"
    python benchmarks/recipe.py [tinyshakespeare.txt]

The two runs use separate processes, one after the other: `numpylm train` with nanogpt_cpu.toml (including its gradient
check, checkpoints and samples), and a loop in torch with the same settings, split, batches and evaluations (every 250
steps, over the whole validation text). Without a path, the script looks for the text in the folder NUMPYLM_SHARED_DATA.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from numpylm import CharTokenizer, GPTConfig, warmup_cosine
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.text.data import random_batch, sequential_batches
from numpylm.training.config import make_config, read_config_file
from numpylm.training.prepare_data import load_documents, split

RECIPE = Path(__file__).with_name("nanogpt_cpu.toml")


def torch_recipe(text: str) -> None:
    """The recipe in torch; prints the validation losses."""
    import torch
    from torch_gpt import TorchStep

    config = make_config(read_config_file(RECIPE), {"data": text})
    documents = load_documents(config)
    train, val = ("".join(part) for part in split(config, documents))
    tokenizer = CharTokenizer.train(train + val)
    train, val = (np.array(tokenizer.encode(part)) for part in (train, val))
    shape = GPTConfig(
        tokenizer.vocab_size, config.block_size, config.n_layer, config.n_head, config.n_embd, bias=config.bias
    )
    step, rng = TorchStep(shape), np.random.default_rng(config.seed)

    def evaluate() -> float:
        nats = count = 0
        with torch.no_grad():
            for ids, targets in sequential_batches(val, 1024 // config.block_size, config.block_size):
                n = int((targets != IGNORE_INDEX).sum())
                nats += n * float(step.model(torch.from_numpy(ids), torch.from_numpy(targets)))
                count += n
        return nats / count

    losses = [evaluate()]
    for i in range(config.max_steps):
        lr = warmup_cosine(i, config.warmup_steps, config.max_steps, config.learning_rate, config.min_lr)
        step(*random_batch(train, config.batch_size, config.block_size, rng), lr)
        if (i + 1) % config.eval_interval == 0:
            losses.append(evaluate())
    print(json.dumps(losses))


def numpylm_recipe(text: str) -> list[float]:
    """The recipe's validation losses, as `numpylm train` logs them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "numpylm", "train", "--config", str(RECIPE), "--data", text, "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry["val_loss"] for entry in map(json.loads, lines) if "val_loss" in entry]


def main() -> int:
    if sys.argv[1:2] == ["--torch"]:
        torch_recipe(sys.argv[2])
        return 0
    folder = Path(os.environ.get("NUMPYLM_SHARED_DATA", "../shared/data"))
    text = Path(sys.argv[1]) if sys.argv[1:] else folder / "tinyshakespeare.txt"
    if not text.is_file():
        print(f"{text} is not there: python benchmarks/recipe.py PATH_OF_TINYSHAKESPEARE", file=sys.stderr)
        return 2
    start = time.perf_counter()
    mine = numpylm_recipe(str(text))
    middle = time.perf_counter()
    out = subprocess.run([sys.executable, __file__, "--torch", str(text)], check=True, capture_output=True, text=True)
    seconds, other = middle - start, time.perf_counter() - middle
    print(f"numpylm  {seconds:6.1f} s, validation loss {mine[-1]:.4f}, lowest {min(mine):.4f}")
    losses = json.loads(out.stdout.splitlines()[-1])
    print(f"torch    {other:6.1f} s, validation loss {losses[-1]:.4f}, lowest {min(losses):.4f}")
    print(f"numpylm takes {seconds / other:.2f} of torch's time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
