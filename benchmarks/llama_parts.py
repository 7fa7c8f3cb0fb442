"""From GPT to Llama, one part at a time: the same stories, steps and size, each new part switched on alone.

python benchmarks/llama_parts.py [--steps 1400] [--seeds 2] [PART ...]

Layers are objects with the same forward and backward, so a part of a GPT is exchanged by an assignment. Where a part
makes the model smaller, a wider MLP makes up for it.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numpylm import AdamW, Llama, LlamaConfig, clip_grad_norm, warmup_cosine
from numpylm.nn.blocks import MLP
from numpylm.nn.gated_mlp import GatedMLP
from numpylm.nn.grouped_query_attention import GroupedQueryAttention
from numpylm.nn.layers import RMSNorm
from numpylm.nn.positions import Rotary
from numpylm.training.config import make_config
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.parallel import DataParallel

C, H, L = 128, 4, 2  # the shape of `numpylm train`
SMALL = 0.02 / (2 * L) ** 0.5  # standard deviation of projections into the residual stream


def rms_norm(gpt: Any, rng: np.random.Generator) -> None:
    """RMSNorm instead of LayerNorm."""
    for block in gpt.h:
        block.ln_1, block.ln_2 = RMSNorm(C), RMSNorm(C)
    gpt.ln_f = RMSNorm(C)


def attention(n_kv_head: int, turning: bool) -> Callable[[Any, np.random.Generator], None]:
    """Grouped queries, rotary positions, or both."""

    def exchange(gpt: Any, rng: np.random.Generator) -> None:
        for block in gpt.h:
            rotary = Rotary(C // H)
            if not turning:
                rotary.frequencies[:] = 0  # all angles are 0: no position
            block.attn = GroupedQueryAttention(
                C, H, n_kv_head, rotary, bias=True, out_bias=True, proj_std=SMALL, rng=rng
            )
            if n_kv_head < H:  # as many weights as before
                saved = 2 * (C * C - C * C * n_kv_head // H)
                block.mlp = MLP(C, n_inner=4 * C + saved // (2 * C), proj_std=SMALL, rng=rng)
        if turning:
            gpt.wpe.weight.data[:] = 0
            gpt.wpe.weight.frozen = True
            for block in gpt.h:  # as many weights as before
                block.mlp = MLP(C, n_inner=4 * C + gpt.wpe.weight.size // (2 * C * L), proj_std=SMALL, rng=rng)

    return exchange


def gated_mlp(gpt: Any, rng: np.random.Generator) -> None:
    """SwiGLU instead of an MLP with GELU."""
    for block in gpt.h:
        block.mlp = GatedMLP(C, 8 * C // 3, bias=True, proj_std=SMALL, rng=rng)


PARTS: dict[str, Any] = {
    "GPT": lambda gpt, rng: None,
    "RMSNorm alone": rms_norm,
    "rotary positions alone": attention(H, True),
    "gated MLP (SwiGLU) alone": gated_mlp,
    "grouped queries alone, 2 key/value heads": attention(2, False),
    "Llama: all of them": {"n_kv_head": 2, "n_inner": 430},
    "Llama with 4 key/value heads": {"n_kv_head": 4, "n_inner": 388},
    "Llama, 4 experts of which 2 work": {
        "n_kv_head": 2,
        "n_inner": 107,
        "n_experts": 4,
        "router_aux_loss_coef": 0.01,
    },
}


def model_of(task: Any, part: Any, rng: np.random.Generator) -> Any:
    """A new model with this part exchanged."""
    if isinstance(part, dict):
        return Llama(LlamaConfig(task.tokenizer.vocab_size, task.config.block_size, L, H, C, **part), rng)
    gpt = task.start(None)
    part(gpt, rng)
    return gpt


def train(name: str, steps: int, seed: int) -> None:
    """Train one of the models, and print its size, time and validation loss."""
    config = make_config({"max_steps": steps, "warmup_steps": 50, "seed": 1337 + seed})
    task, rng = LanguageModeling(config), np.random.default_rng(seed)
    task.start(None)
    model = model_of(task, PARTS[name], rng)
    with tempfile.TemporaryDirectory() as folder:
        task.encode(Path(folder))
        optimizer = AdamW(
            model.trainable_parameters(),
            config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        start = time.perf_counter()
        for step in range(steps):
            model.zero_grad()
            batch = task.batch(rng).arrays
            model.loss_and_grad(**batch)
            clip_grad_norm(model.trainable_parameters(), config.grad_clip)
            optimizer.step(warmup_cosine(step, config.warmup_steps, steps, config.learning_rate, config.min_lr))
        seconds = time.perf_counter() - start
        score = task.evaluate(model, DataParallel(model, 1))
        size = sum(p.size for p in model.trainable_parameters())
        above = score.metrics["above_source"]
        del task.data
    print(f"| {name} | {seed} | {size:,} | {seconds:.0f} | {score.loss:.4f} | {above:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="names or beginnings of names")
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    print("| model | seed | trained parameters | seconds | validation loss | above the source |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in PARTS:
        for seed in range(args.seeds) if name.startswith(tuple(args.parts)) else ():
            train(name, args.steps, seed)


if __name__ == "__main__":
    main()
