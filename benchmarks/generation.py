"""Greedy decoding, compared with transformers and its KV cache, in alternating runs in one process, on all cores.

    pip install -e ".[bench]"
    python benchmarks/generation.py

Both libraries have the same random weights; speed does not depend on them. The script prints tokens per second, the
median ratio of consecutive runs, and the share of the limit: to write one token, every weight must be read once.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import transformers

from numpylm import GPT, GPTConfig
from numpylm.system.processor import available_cores, keep_memory

SHAPES = {
    "4 layers x 128, V 65": GPTConfig(65, 256, 4, 4, 128),
    "4 layers x 128, V 50257": GPTConfig(50257, 256, 4, 4, 128),
    "GPT-2 124M": GPTConfig(50257, 1024, 12, 12, 768),
}
TOKENS = {"GPT-2 124M": 60}
PROMPT = [1, 2, 3]


def torch_model(c: GPTConfig) -> transformers.GPT2LMHeadModel:
    """The same shape in transformers."""
    transformers.logging.set_verbosity_error()
    config = transformers.GPT2Config(
        vocab_size=c.vocab_size,
        n_positions=c.block_size,
        n_embd=c.n_embd,
        n_layer=c.n_layer,
        n_head=c.n_head,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config).eval()


def copy_weights(gpt: GPT, model: transformers.GPT2LMHeadModel) -> None:
    """Copy our weights into the torch model; the names are the same."""
    theirs = dict(model.transformer.named_parameters())
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            theirs[name].copy_(torch.from_numpy(parameter.data))


def ours(gpt: GPT, prompts: list[list[int]], count: int) -> list[list[int]]:
    """New tokens, greedily."""
    if len(prompts) > 1:
        return gpt.generate_batch(prompts, count, temperature=0)
    return [list(gpt.generate(prompts[0], count, temperature=0))]


@torch.inference_mode()
def theirs(model: transformers.GPT2LMHeadModel, prompts: list[list[int]], count: int) -> list[list[int]]:
    """New tokens, greedily, with transformers' own cache."""
    ids = torch.tensor(prompts)
    mask = torch.ones_like(ids)
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0
    )
    return out[:, ids.shape[1] :].tolist()


def bandwidth(size: int = 500_000_000, repeats: int = 7) -> float:
    """Bytes per second at which all cores together read a large array once."""
    parts = np.array_split(np.ones(size // 4, np.float32), available_cores())
    with ThreadPoolExecutor(len(parts)) as pool:

        def once() -> float:
            start = time.perf_counter()
            list(pool.map(lambda part: np.dot(part, part), parts))
            return time.perf_counter() - start

        return size / min(once() for _ in range(repeats))


def rate(function, *args) -> float:
    """Tokens per second, all texts together."""
    start = time.perf_counter()
    new = function(*args)
    return sum(map(len, new)) / (time.perf_counter() - start)


def compare(name: str, batch: int, pairs: int, speed: float) -> str:
    """One line of the table."""
    config = SHAPES[name]
    count = TOKENS.get(name, 200)
    gpt = GPT(config, np.random.default_rng(0))
    model = torch_model(config)
    copy_weights(gpt, model)
    prompts = [[i + token for token in PROMPT] for i in range(batch)]
    same = ours(gpt, prompts, 20) == theirs(model, prompts, 20)  # also warms both up
    figures = [(rate(ours, gpt, prompts, count), rate(theirs, model, prompts, count)) for _ in range(pairs)]
    ratios = [a / b for a, b in figures]
    read = 4 * (gpt.num_parameters() - gpt.wpe.weight.size)  # bytes a step; of wpe one row only
    mine, other = (statistics.median(column) for column in zip(*figures, strict=True))
    return (
        f"{name:24} {batch:5} {mine:9.1f} {other:13.1f} {statistics.median(ratios):7.2f}"
        f"  {min(ratios):.2f}-{max(ratios):.2f} {mine / batch * read / speed:10.0%}   {'yes' if same else 'NO'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7, help="how many runs of each, in turns")
    parser.add_argument("--only", help="a shape: " + ", ".join(SHAPES))
    args = parser.parse_args()
    keep_memory()
    speed = bandwidth()
    print(f"{available_cores()} cores, NumPy {np.__version__}, torch {torch.__version__}, ", end="")
    print(f"transformers {transformers.__version__}; memory is read at {speed / 1e9:.1f} GB/s\n")
    print("tokens per second        batch   numpylm  transformers   ratio  spread     of the limit  same text")
    for name in [args.only] if args.only else SHAPES:
        for batch in (1, 16):
            print(compare(name, batch, args.pairs, speed), flush=True)


if __name__ == "__main__":
    main()
