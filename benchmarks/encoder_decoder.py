"""A training step of Transformer and Bert, compared with torch's own modules, and beam search with transformers.

    pip install -e ".[bench]"
    python benchmarks/encoder_decoder.py

The runs alternate. The script prints milliseconds, and the median ratio of consecutive runs (above 1 means that numpylm
is faster). The torch models are made of torch.nn.TransformerEncoderLayer and TransformerDecoderLayer, with the same
sizes, tied embeddings, dropout and loss.
"""

import argparse
import math
import statistics
import time

import numpy as np
import torch
import transformers
from torch import nn

from numpylm import AdamW, Bert, BertConfig, DataParallel, Transformer, TransformerConfig, clip_grad_norm, sinusoidal
from numpylm.inference.beam_search import beam_search
from numpylm.system.processor import available_cores, keep_memory, on_all_cores

V = 4000
DROPOUT = 0.1


class OurStep:
    """Forward, backward, clipping and AdamW, as in ``numpylm train``."""

    def __init__(self, model) -> None:
        self.model, self.workers = model, DataParallel(model, processes=True)
        self.optimizer = AdamW(model.parameters(), 1e-3)
        self.rng = np.random.default_rng(0)

    def __call__(self, arrays) -> float:
        self.model.zero_grad()
        loss = self.workers.add_gradients(arrays, self.rng)
        clip_grad_norm(self.optimizer.parameters, 1.0)
        self.optimizer.step()
        return loss


class TorchTransformer(nn.Module):
    """3 + 3 post-norm blocks, with the same embeddings and output layer as ours."""

    def __init__(self, c: TransformerConfig) -> None:
        super().__init__()
        self.shared = nn.Embedding(c.vocab_size, c.n_embd)
        self.register_buffer("positions", torch.tensor(sinusoidal(c.block_size, c.n_embd)))
        shape = {"dropout": DROPOUT, "batch_first": True}
        encoder = nn.TransformerEncoderLayer(c.n_embd, c.n_head, 4 * c.n_embd, **shape)
        decoder = nn.TransformerDecoderLayer(c.n_embd, c.n_head, 4 * c.n_embd, **shape)
        self.encoder = nn.TransformerEncoder(encoder, c.n_layer, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, c.n_layer)
        self.drop, self.scale = nn.Dropout(DROPOUT), math.sqrt(c.n_embd)

    def embed(self, ids):
        return self.drop(self.shared(ids) * self.scale + self.positions[: ids.shape[1]])

    def loss(self, source, ids, targets, source_mask):
        padding, T = ~source_mask, ids.shape[1]
        memory = self.encoder(self.embed(source), src_key_padding_mask=padding)
        later = torch.ones(T, T, dtype=torch.bool).triu(1)
        x = self.decoder(self.embed(ids), memory, tgt_mask=later, memory_key_padding_mask=padding, tgt_is_causal=True)
        logits = x @ self.shared.weight.T
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class TorchBert(nn.Module):
    """4 post-norm blocks and the masked-LM head, which runs on the masked positions only, as ours does."""

    def __init__(self, c: BertConfig) -> None:
        super().__init__()
        C = c.n_embd
        self.tokens, self.positions = nn.Embedding(c.vocab_size, C), nn.Embedding(c.block_size, C)
        self.norm, self.drop = nn.LayerNorm(C), nn.Dropout(DROPOUT)
        layer = nn.TransformerEncoderLayer(C, c.n_head, 4 * C, DROPOUT, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, c.n_layer, enable_nested_tensor=False)
        self.dense, self.head_norm = nn.Linear(C, C), nn.LayerNorm(C)
        self.bias = nn.Parameter(torch.zeros(c.vocab_size))

    def loss(self, ids, targets, mask):
        x = self.drop(self.norm(self.tokens(ids) + self.positions.weight[: ids.shape[1]]))
        x = self.encoder(x, src_key_padding_mask=~mask)
        counted = targets != -100
        x = self.head_norm(nn.functional.gelu(self.dense(x[counted])))
        return nn.functional.cross_entropy(x @ self.tokens.weight.T + self.bias, targets[counted])


class TorchStep:
    """The same step in torch."""

    def __init__(self, model) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def __call__(self, arrays) -> float:
        self.optimizer.zero_grad()
        loss = self.model.loss(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()


def pairs(rng) -> dict[str, np.ndarray]:
    """A batch of 2,500 tokens a side: 100 sentences of 17 to 25 tokens."""
    lengths = rng.integers(17, 26, (100, 1))
    real = np.arange(25) < lengths
    targets = np.where(real, rng.integers(0, V, (100, 25)), -100)
    return {
        "source": rng.integers(0, V, (100, 25)),
        "ids": rng.integers(0, V, (100, 25)),
        "targets": targets,
        "source_mask": real,
    }


def masked(rng) -> dict[str, np.ndarray]:
    """16 texts of 100 to 128 tokens, of which 15 % are masked."""
    real = np.arange(128) < rng.integers(100, 129, (16, 1))
    ids = rng.integers(0, V, (16, 128))
    return {"ids": ids, "targets": np.where((rng.random(ids.shape) < 0.15) & real, ids, -100), "mask": real}


def milliseconds(step, arrays, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step(arrays)
    return (time.perf_counter() - start) / count * 1e3


def compare(name: str, runs: dict, arrays, repeats: int) -> None:
    """One line of the table: both steps in turns."""
    times: dict[str, list[float]] = {key: [] for key in runs}
    for step in runs.values():
        milliseconds(step, arrays, 3)
    count = max(2, round(800 / milliseconds(runs["numpylm"], arrays, 2)))
    for _ in range(repeats):
        for key, step in runs.items():
            times[key].append(milliseconds(step, arrays, count))
    print_line(name, times["numpylm"], times["torch"])


def print_line(name: str, ours: list[float], theirs: list[float]) -> None:
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{name:44} {mine:9.1f} {other:9.1f} {statistics.median(ratios):6.2f} {spread:>10}", flush=True)


def beams(repeats: int) -> None:
    """Beam 5 over 100 sentences, with the same weights in transformers' MarianMTModel."""
    transformers.logging.set_verbosity_error()
    config = transformers.MarianConfig(
        vocab_size=V,
        d_model=128,
        encoder_layers=3,
        decoder_layers=3,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        max_position_embeddings=128,
        pad_token_id=V - 1,
        eos_token_id=0,
        decoder_start_token_id=V - 1,
        forced_eos_token_id=None,
        scale_embedding=True,
    )
    import tempfile

    theirs = transformers.MarianMTModel(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = Transformer.from_pretrained(folder)
    rng = np.random.default_rng(0)
    source, mask = rng.integers(1, V - 1, (100, 20)), np.arange(20) < rng.integers(8, 21, (100, 1))

    def part(rows: np.ndarray) -> None:
        past = ours.new_past(source[rows], mask[rows], 30)
        beam_search(ours, past, V - 1, 0, 30, 5, 1.0, (V - 1,), at_least_greedy=False)

    def numpylm() -> None:  # as `translate` does
        on_all_cores(part, np.array_split(np.arange(100), available_cores()))

    @torch.inference_mode()
    def transformer() -> None:
        theirs.generate(
            torch.from_numpy(source),
            attention_mask=torch.from_numpy(mask).long(),
            num_beams=5,
            max_new_tokens=30,
            bad_words_ids=[[V - 1]],
        )

    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(repeats + 1):
        for key, run in (("ours", numpylm), ("theirs", transformer)):
            start = time.perf_counter()
            run()
            times[key].append((time.perf_counter() - start) * 1e3)
    print_line("beam 5, 100 sentences, 30 tokens (3+3 x 128)", times["ours"][1:], times["theirs"][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    keep_memory()
    rng = np.random.default_rng(0)
    print(f"{available_cores()} cores, NumPy {np.__version__}, torch {torch.__version__}", end="")
    print(f", transformers {transformers.__version__}\n")
    print(f"{'milliseconds':44} {'numpylm':>9} {'torch':>9} {'ratio':>6} {'spread':>10}")
    t = TransformerConfig(V, 128, 3, 4, 128, dropout=DROPOUT)
    runs = {"numpylm": OurStep(Transformer(t)), "torch": TorchStep(TorchTransformer(t))}
    compare("step, Transformer 3+3 x 128, 2,500 tokens", runs, pairs(rng), args.repeats)
    b = BertConfig(V, 128, 4, 4, 256, dropout=DROPOUT, token_types=1)
    runs = {"numpylm": OurStep(Bert(b)), "torch": TorchStep(TorchBert(b))}
    compare("step, Bert 4 x 256, 16 x 128 tokens", runs, masked(rng), args.repeats)
    beams(args.repeats)


if __name__ == "__main__":
    main()
