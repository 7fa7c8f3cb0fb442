"""What a model memorizes without and with private training: exposure of canaries, copies, and the loss.

    python benchmarks/privacy.py                # everything, in runs/privacy (ten minutes of processor time)
    python benchmarks/privacy.py --speed        # only the time of a private step

The text is 10,000 short messages to a shop (`numpylm.corpora`), and twelve sentences such as "The access code of Ada is
482913.": four occur once, four 4 times and four 16 times. The same model is trained three times: as usual, with epsilon
8, and with the private steps almost without noise (epsilon 10⁶). The last one shows what the noise does, and not the
clipping or the smaller number of examples. Three kinds of numbers show what is no memory: numbers that are in no text,
the secret numbers after names that are in no text, and the secret numbers with their digits shuffled.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from numpylm import GPT, GPTConfig
from numpylm.corpora import MESSAGES
from numpylm.inference.exposure import Canary, exposures, find_canaries, insert_canaries
from numpylm.system.processor import keep_memory
from numpylm.training.config import make_config
from numpylm.training.prepare_data import split
from numpylm.training.private_gradients import clipped_loss_and_grad

FOLDER = Path("runs/privacy")  # with --secrets N: runs/privacyN
TEMPLATE = "The access code of {word} is {digits:6}."
NAMES = ["Ada", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kim", "Leo"]
UNSEEN = ["Max", "Nina", "Otto", "Pia"]
TIMES = [1] * 4 + [4] * 4 + [16] * 4
MODEL = "--documents lines --vocab-size 512 --block-size 64 --n-embd 64 --max-val-mb 0.1 --no-check-gradients"
USUAL = "--batch-size 32 --max-steps 2000 --eval-interval 500 --dropout 0 --patience 0"
PRIVATE = "--batch-size 256 --max-steps 200 --eval-interval 50 --learning-rate 5e-3 --min-lr 5e-4"
RUNS = {
    "usual": USUAL,
    "epsilon 8": f"{PRIVATE} --dp-epsilon 8",
    "epsilon 1e6": f"{PRIVATE} --dp-epsilon 1e6",
}


def write_text(folder: Path, secrets: int) -> tuple[list[Canary], int]:
    """Write the messages with canaries, unless they are there; return the canaries, and a seed that holds none out."""
    path = folder / "messages.txt"
    if not path.exists():
        messages = [text for text, _ in MESSAGES.messages(10_000)]
        documents, _ = insert_canaries(messages, TEMPLATE, TIMES, np.random.default_rng(secrets), NAMES)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(documents) + "\n", encoding="utf-8")
    documents = path.read_text(encoding="utf-8").splitlines()
    canaries = find_canaries(documents, TEMPLATE)
    for seed in range(100):
        config = make_config({"documents": "lines", "max_val_mb": 0.1, "seed": seed})
        if not any("access code" in document for document in split(config, documents)[1]):
            return canaries, seed
    raise RuntimeError("no seed keeps the canaries in the training text")


def trained(folder: Path, options: str, seed: int) -> float:
    """Train a model, unless its run is there; return the processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not folder.exists():
        words = ["--data", str(folder.parent / "messages.txt"), "--out", str(folder), "--seed", str(seed)]
        with (folder.parent / f"{folder.name}.log").open("w") as log:
            subprocess.run(
                [sys.executable, "-m", "numpylm", "train", *words, *MODEL.split(), *options.split()],
                stdout=log,
                stderr=subprocess.DEVNULL,
                check=True,
            )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(name: str, folder: Path, seconds: float, canaries: list[Canary]) -> None:
    """Print the losses of a run, and the exposures of all canaries."""
    log = (folder.parent / f"{folder.name}.log").read_text(encoding="utf-8")
    unigram = re.search(r"([\d.]+)   unigram model  \(.*, ([\d.]+)\)", log)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    best = min((entry for entry in metrics if "val_loss" in entry), key=lambda entry: entry["val_loss"])
    baseline = f"unigram model: {unigram[1]}, {unigram[2]}" if unigram else "no unigram model"
    print(
        f"\n{name}: validation loss {best['val_loss']:.3f} nats per token, {best['val_bits_per_byte']:.3f} bits per "
        f"byte ({baseline}); {seconds:.0f} CPU seconds"
    )
    gpt = GPT.from_pretrained(str(folder))
    rng = np.random.default_rng(9)
    others = [f"The access code of {word} is " for word in UNSEEN]
    unseen = [Canary(prefix, f"{rng.integers(10**6):06}", 0) for prefix in others]
    found = {"": exposures(gpt, canaries + unseen)}
    found["after other names"] = exposures(gpt, [replace(c, prefix=prefix) for c in canaries for prefix in others])
    orders = [replace(c, secret=shuffled(c.secret, rng)) for c in canaries for _ in range(20)]
    found["with their digits shuffled"] = exposures(gpt, orders)
    for times in (16, 4, 1, 0):
        bits = {what: [e.bits for e in some if e.canary.times == times] for what, some in found.items()}
        own = bits.pop("")
        compared = "".join(f"; {what} {np.mean(b):.1f}" for what, b in bits.items() if b)
        print(
            f"  {times:2} times: {np.mean(own):5.1f} bits on average of {', '.join(f'{b:.1f}' for b in own)}{compared}",
            flush=True,
        )


def shuffled(number: str, rng: np.random.Generator) -> str:
    """Another number with the same digits."""
    digits = list(number)
    while "".join(digits) == number:
        rng.shuffle(digits)
    return "".join(digits)


def measure_speed() -> None:
    """Print the CPU time of forward and backward of a batch, as usual and with clipped gradients of single examples."""
    for V, C, B, T in ((512, 64, 64, 24), (1024, 128, 64, 24), (1024, 128, 8, 256)):
        gpt = GPT(GPTConfig(V, 256, 2, 4, C), np.random.default_rng(0))
        ids = np.random.default_rng(1).integers(0, V, (B, T))
        least = []
        for step in (lambda: gpt.loss_and_grad(ids, ids), lambda: clipped_loss_and_grad(gpt, ids, ids, 1.0)):  # noqa: B023
            times = []
            for _ in range(6):
                start = time.process_time()
                step()
                times.append(time.process_time() - start)
            least.append(min(times) * 1000)
        print(
            f"{gpt.num_parameters():9,} parameters, {B:3} examples of {T:3} tokens: {least[0]:6.1f} ms as usual, "
            f"{least[1]:6.1f} ms private, {least[1] / least[0]:.2f} times"
        )


def main() -> None:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="only measure the time of a private step")
    parser.add_argument("--secrets", type=int, default=0, help="seed of the secret numbers (default: 0)")
    parser.add_argument("--only", choices=RUNS, help="only this run")
    args = parser.parse_args()
    if args.speed:
        measure_speed()
        return
    keep_memory()
    parent = FOLDER.with_name(FOLDER.name + (str(args.secrets) if args.secrets else ""))
    canaries, seed = write_text(parent, args.secrets)
    for name, options in RUNS.items():
        if args.only in (None, name):
            folder = parent / name.replace(" ", "_")
            seconds = trained(folder, options, seed)
            report(name, folder, seconds, canaries)


if __name__ == "__main__":
    main()
