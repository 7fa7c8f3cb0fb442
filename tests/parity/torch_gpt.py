"""GPT in PyTorch, written from the paper's equations with autograd, to hold our hand-written gradients against."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from numpylm import GPT


class TorchGPT:
    """Takes its parameters from one of our models and keeps their names and dtype."""

    def __init__(self, gpt: GPT) -> None:
        self.config = gpt.config
        self.p = {name: torch.tensor(np.array(value), requires_grad=True) for name, value in gpt.state_dict().items()}

    def linear(self, x, name):
        y = x @ self.p[f"{name}.weight"]
        return y + self.p[f"{name}.bias"] if f"{name}.bias" in self.p else y

    def norm(self, x, name):
        c = self.config
        return F.layer_norm(x, (c.n_embd,), self.p[f"{name}.weight"], self.p.get(f"{name}.bias"), c.layer_norm_eps)

    def forward(self, ids):
        c = self.config
        ids = torch.as_tensor(ids)
        B, T = ids.shape
        x = self.p["wte.weight"][ids] + self.p["wpe.weight"][:T]
        for i in range(c.n_layer):
            q, k, v = self.linear(self.norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").split(c.n_embd, dim=-1)
            q, k, v = (t.view(B, T, c.n_head, -1).transpose(1, 2) for t in (q, k, v))
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf)
            out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, c.n_embd)
            x = x + self.linear(out, f"h.{i}.attn.c_proj")
            hidden = self.linear(self.norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
            x = x + self.linear(F.gelu(hidden, approximate=c.gelu_approximate), f"h.{i}.mlp.c_proj")
        return self.norm(x, "ln_f") @ self.p["wte.weight"].T

    def loss(self, ids, targets):
        logits = self.forward(ids)
        return F.cross_entropy(logits.flatten(0, 1), torch.as_tensor(targets).flatten(), ignore_index=-100)

    def adamw(self, lr, betas, eps, weight_decay):
        """torch.optim.AdamW with decay on matrices only."""
        matrices = [p for p in self.p.values() if p.ndim >= 2]
        vectors = [p for p in self.p.values() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps)
