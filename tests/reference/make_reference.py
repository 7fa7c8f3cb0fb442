"""Write reference.npz: what PyTorch says of the models in cases.py. Run from the project's root with

    python -m tests.reference.make_reference

after installing the extra [parity]. Last run with torch 2.13.0 (CPU), float64.
"""

from pathlib import Path

import numpy as np
import torch

from tests.parity.torch_gpt import TorchGPT
from tests.reference.cases import BETAS, CLIP, CONFIGS, DECAY, EPS, LR, batches, random_model


def main() -> None:
    arrays = {}
    for name in CONFIGS:
        model = TorchGPT(random_model(name))
        ids, targets = next(batches(name))
        arrays[f"{name}/logits"] = model.forward(ids).detach().numpy()
        model.loss(ids, targets).backward()
        for key, p in model.p.items():
            arrays[f"{name}/grad/{key}"] = p.grad.numpy().copy()
        optimizer = model.adamw(LR, BETAS, EPS, DECAY)
        losses = []
        for ids, targets in batches(name):
            optimizer.zero_grad()
            loss = model.loss(ids, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(model.p.values()), CLIP)
            optimizer.step()
            losses.append(loss.item())
        arrays[f"{name}/losses"] = np.array(losses)
    np.savez_compressed(Path(__file__).with_name("reference.npz"), **arrays)


if __name__ == "__main__":
    main()
