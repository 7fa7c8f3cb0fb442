"""Fine-tuning steps of the 124M shape of GPT-2, compared with torch: seconds per step and peak memory.

    pip install -e ".[bench]"
    python benchmarks/finetuning.py

Each library runs in its own process, with random weights of the true shapes and batches of 4 x 256 tokens. A step is
forward, backward, clipping and AdamW on the trained parameters: the top two blocks and the final norm, or LoRA adapters
of rank 8 on all linear layers of all blocks. torch runs transformers' model with scaled_dot_product_attention and fused
AdamW; its adapters are those of `LoRA` below.
"""

import json
import math
import statistics
import subprocess
import sys
import time

import numpy as np

B, T, STEPS = 4, 256, 5
BELOW, RANK = 10, 8
VOCAB = 50257
JOBS = ("top 2 blocks", "LoRA on all blocks")


def batches():
    """Random ids, the same for both libraries."""
    rng = np.random.default_rng(0)
    while True:
        window = rng.integers(0, VOCAB, (B, T + 1))
        yield window[:, :-1], window[:, 1:]


def numpylm_steps(job: str):
    """A step as in `numpylm train`, its peak memory in MB, and the number of trained parameters."""
    from numpylm_step import NumpylmStep

    from numpylm import GPT, GPTConfig
    from numpylm.models.lora import add_lora

    gpt = GPT(GPTConfig(VOCAB, 1024, 12, 12, 768), np.random.default_rng(0))
    if job == JOBS[0]:
        gpt.freeze(BELOW)
    else:
        add_lora(gpt, RANK, rng=np.random.default_rng(0))
    step = NumpylmStep(gpt, lr=1e-4)
    return step, step.peak, sum(p.size for p in step.optimizer.parameters)


def torch_steps(job: str):
    """The same in torch."""
    import torch
    import transformers
    from numpylm_step import resident

    transformers.logging.set_verbosity_error()

    class LoRA(torch.nn.Module):
        """A frozen Conv1D (input first, as ours) and its adapter."""

        def __init__(self, layer) -> None:
            super().__init__()
            self.layer = layer
            n_in, n_out = layer.weight.shape
            self.a = torch.nn.Parameter(torch.randn(n_in, RANK) / math.sqrt(n_in))
            self.b = torch.nn.Parameter(torch.zeros(RANK, n_out))

        def forward(self, x):
            return self.layer(x) + 2.0 * (x @ self.a @ self.b)

    config = transformers.GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, attn_implementation="sdpa")
    model = transformers.GPT2LMHeadModel(config).train()
    for parameter in model.parameters():
        parameter.requires_grad = False
    if job == JOBS[0]:
        for part in (*model.transformer.h[BELOW:], model.transformer.ln_f):
            for parameter in part.parameters():
                parameter.requires_grad = True
    else:
        for block in model.transformer.h:
            block.attn.c_attn, block.attn.c_proj = LoRA(block.attn.c_attn), LoRA(block.attn.c_proj)
            block.mlp.c_fc, block.mlp.c_proj = LoRA(block.mlp.c_fc), LoRA(block.mlp.c_proj)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step(ids, targets) -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = model(torch.from_numpy(ids), use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return step, resident, sum(p.numel() for p in trained)


def one(library: str, job: str) -> None:
    """Run one job in this process; print the figures as JSON."""
    step, peak, trained = {"numpylm": numpylm_steps, "torch": torch_steps}[library](job)
    source = batches()
    step(*next(source))
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step(*next(source))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds), "peak": peak() / 1e3, "trained": trained}))


def main() -> None:
    if len(sys.argv) == 3:
        one(*sys.argv[1:])
        return
    print(f"{B} x {T} tokens a step; peak memory of the whole process, and of worker processes\n")
    print("job                  library   s/step  ratio  peak GB  numbers trained")
    for job in JOBS:
        results: dict[str, list[dict]] = {"numpylm": [], "torch": []}
        for _ in range(2):  # in turns
            for library, found in results.items():
                out = subprocess.run(
                    [sys.executable, __file__, library, job], capture_output=True, text=True, check=True
                )
                found.append(json.loads(out.stdout))
        slow = min(result["seconds"] for result in results["torch"])
        for library, found in results.items():
            seconds = min(result["seconds"] for result in found)
            peak = max(result["peak"] for result in found)
            ratio = seconds / slow
            print(f"{job:20} {library:8} {seconds:7.2f} {ratio:6.2f} {peak:8.2f}  {found[0]['trained']:,}", flush=True)


if __name__ == "__main__":
    main()
