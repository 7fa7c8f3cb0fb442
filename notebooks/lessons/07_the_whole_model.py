# %% [markdown]
# # 07 · The whole model
#
# You have nearly all the parts. In this lesson you put them together to a GPT: embeddings at the beginning, blocks in
# the middle, and the embedding again at the end. Then you check the gradients of the whole model at once, count its
# parameters, and compare it with GPT-2.
#
# **You need:** lessons 04 to 06. **Time:** an hour and a half.
# **You will write:** `Embedding`, `Block`, `GPT`, and a function that counts its parameters.

# %%
import math

import numpy as np

from numpylm import GPT as OurGPT
from numpylm import (
    MLP,
    CausalSelfAttention,
    Dropout,
    GPTConfig,
    LayerNorm,
    Module,
    Parameter,
    cross_entropy,
    cross_entropy_backward,
    gradcheck,
)
from numpylm.course import check, collect, style

plt = style()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 From ids to vectors: the embedding
#
# A token is a number between 0 and V - 1, but the size of this number means nothing: token 17 is not "more" than
# token 16. So each token $v$ has its own vector of C trainable numbers, row $v$ of a table $W$ with shape (V, C). The
# forward looks up rows:
#
# $$y_n = W_{\text{id}_n}$$
#
# This is really a matrix product. Let $E$ be a matrix with one-hot rows and shape (N, V), where $E_{nv} = 1$ if
# $\text{id}_n = v$. Then $y = E\, W$, and by lesson 04 $dW = E^T dy$. Since $E$ is almost all zeros, this simply means:
# **row $v$ of dW is the sum of dy over all positions that hold token $v$.**
#
# $$dW_v = \sum_{n\,:\,\text{id}_n = v} dy_n$$
#
# It is a sum because a row may be used several times. Here is the NumPy trap that you know from lesson 02: if several
# ids are equal, `dW[ids] += dy` adds only the last of their gradients.

# %% [markdown]
# ### Exercise: `Embedding`
#
# @hint A nudge
# `np.add.at(array, index, values)` adds every time.
# @hint The formula
# $dW_v = \sum_{n\,:\,\text{id}_n = v} dy_n$, added to what is in `weight.grad`
# @hint Almost code
# ```python
# ids = cache
# np.add.at(self.weight.grad, ids.reshape(-1), …)
# ```
# It returns nothing: ids cannot be changed a little, so they have no gradient.
# @end


# %% exercise="Embedding"
class MyEmbedding(Module):
    """A table of vectors, weight (V, C); the forward looks up rows."""

    def __init__(self, num_embeddings, embedding_dim, *, std=0.02, rng=None, dtype=np.float32):
        rng = rng or np.random.default_rng()
        self.weight = Parameter((std * rng.standard_normal((num_embeddings, embedding_dim))).astype(dtype))

    def forward(self, ids):
        """ids int (...) -> y (..., C), and the ids as the cache."""
        return self.weight.data[ids], ids

    def backward(self, dy, cache):
        """dy (..., C); adds to weight.grad. Returns nothing: ids have no gradient."""
        # --- solution
        ids = cache
        np.add.at(self.weight.grad, ids.reshape(-1), dy.reshape(ids.size, -1))
        # --- end


# %%
Embedding = check("Embedding", MyEmbedding)

# %% [markdown]
# ## 2 The position embedding
#
# Attention is a weighted average, and an average does not depend on order. Without the mask, if you shuffle the
# positions of the input, the output has the same vectors, shuffled in the same way. So "dog bites man" would mean the
# same as "man bites dog":

# %%
from numpylm.nn.attention import scaled_dot_product_attention  # lesson 06's attention

q, k, v = rng.standard_normal((3, 1, 1, 4, 8))
out, _ = scaled_dot_product_attention(q, k, v)
order = [2, 0, 3, 1]
shuffled, _ = scaled_dot_product_attention(q[:, :, order], k[:, :, order], v[:, :, order])
print("the same vectors, in another order:", np.allclose(shuffled, out[:, :, order]))

# %% [markdown]
# So GPT-2 adds a second vector, which depends only on the position. It comes from a second table, `wpe`, with one row
# for each position:
#
# $$x_t = \text{wte}[\text{id}_t] + \text{wpe}[t]$$
#
# All B sequences of a batch use the same table of positions. So its gradient is again a sum, this time over the batch.

# %% [markdown]
# ## 3 The block
#
# Attention moves information between positions, and the MLP processes it at each position. Each of the two has a norm
# before it and a residual connection around it, as in lesson 05:
#
# $$x \leftarrow x + \text{dropout}(\text{attn}(\text{ln}_1(x)))$$
# $$x \leftarrow x + \text{dropout}(\text{mlp}(\text{ln}_2(x)))$$
#
# The backward starts with the second line. At each line the gradient takes two paths. On the residual path it stays as
# it is. On the other path it goes back through the branch, step by step. At the end, the two are added.
#
# ### Exercise: `Block`
#
# @hint A nudge
# Every forward returns a cache, so there are six caches. `self.drop` is called twice, so it has two of them.
# @hint Forward, the first half
# ```python
# normed, ln_1_cache = self.ln_1.forward(x)
# attended, attn_cache = self.attn.forward(normed, rng)
# attended, drop_1_cache = self.drop.forward(attended, rng)
# x = x + attended
# ```
# @hint Backward, the first half (which is the forward's second)
# ```python
# dmlp_out = self.drop.backward(dx, drop_2_cache)
# dnormed = self.mlp.backward(dmlp_out, mlp_cache)
# dx = dx + self.ln_2.backward(dnormed, ln_2_cache)
# ```
# @end


# %% exercise="Block"
class MyBlock(Module):
    """x = x + dropout(attn(ln_1(x))), then x = x + dropout(mlp(ln_2(x)))."""

    def __init__(self, n_embd, n_head, dropout=0.0, bias=True, *, proj_std=0.02, rng=None, dtype=np.float32):
        rng = rng or np.random.default_rng()
        self.ln_1 = LayerNorm(n_embd, bias=bias, dtype=dtype)
        self.attn = CausalSelfAttention(n_embd, n_head, dropout, bias, proj_std=proj_std, rng=rng, dtype=dtype)
        self.ln_2 = LayerNorm(n_embd, bias=bias, dtype=dtype)
        self.mlp = MLP(n_embd, bias, proj_std=proj_std, rng=rng, dtype=dtype)
        self.drop = Dropout(dropout)

    def forward(self, x, rng=None):
        """x (B, T, C) -> (B, T, C); dropout happens when ``rng`` is given."""
        # --- solution
        normed, ln_1_cache = self.ln_1.forward(x)
        attended, attn_cache = self.attn.forward(normed, rng)
        attended, drop_1_cache = self.drop.forward(attended, rng)
        x = x + attended

        normed, ln_2_cache = self.ln_2.forward(x)
        mlp_out, mlp_cache = self.mlp.forward(normed)
        mlp_out, drop_2_cache = self.drop.forward(mlp_out, rng)
        x = x + mlp_out
        return x, (ln_1_cache, attn_cache, drop_1_cache, ln_2_cache, mlp_cache, drop_2_cache)
        # --- end

    def backward(self, dx, cache):
        """dx (B, T, C) at the output -> dx (B, T, C) at the input."""
        # --- solution
        ln_1_cache, attn_cache, drop_1_cache, ln_2_cache, mlp_cache, drop_2_cache = cache
        dmlp_out = self.drop.backward(dx, drop_2_cache)
        dnormed = self.mlp.backward(dmlp_out, mlp_cache)
        dx = dx + self.ln_2.backward(dnormed, ln_2_cache)  # past the MLP + through it

        dattended = self.drop.backward(dx, drop_1_cache)
        dnormed = self.attn.backward(dattended, attn_cache)
        return dx + self.ln_1.backward(dnormed, ln_1_cache)  # past the attention + through it
        # --- end


# %%
Block = check("Block", MyBlock)

# %% [markdown]
# ## 4 The model
#
# | step | code | shape |
# | --- | --- | --- |
# | look up tokens and positions, add | `wte[ids] + wpe[0 … T-1]` | (B, T, C) |
# | dropout | | (B, T, C) |
# | L blocks | `h[0]`, …, `h[L-1]` | (B, T, C) |
# | the final norm | `ln_f` | (B, T, C) |
# | a logit for each token | `x @ wte.T` | (B, T, V) |
#
# The last step has no weights of its own. The logit of token $v$ is the dot product of $x$ with the *embedding* of $v$,
# so it measures how similar $x$ is to the embedding of $v$. The table is used twice (Press and Wolf 2017,
# arXiv:1608.05859). We say that the output layer is **tied** to the embedding. This saves V·C parameters: a quarter of
# the storyteller's parameters, and a third of those of GPT-2 small. It also sets a trap for the backward pass:
#
# > **The table is used twice, so two gradients add up.** As the output layer it gets $dW = d\text{logits}^T x$ (it is a linear
# > layer with weight $W^T$). As the table, the rows that were looked up get the gradients of the embeddings.
#
# ### Exercise: `GPT`
#
# The forward is given. Read it first. The backward goes through it in reverse.
#
# @hint A nudge
# Go back in this order: the logits, ln_f, the blocks from the last to the first, dropout, and then the two tables.
# @hint The head
# With all positions as rows, `rows` (N, C) and `dlogits` (N, V): the head is `logits = rows @ wte.T`. So `wte.grad += dlogits.T @ rows` and
# `dx = dlogits @ wte`.
# @hint The positions
# `tokens + positions` broadcasts (T, C) over the batch, so the gradient of the positions is `dx.sum(axis=0)`.
# @hint Almost code
# ```python
# wte_cache, wpe_cache, drop_cache, block_caches, ln_f_cache, x = cache
# V, C = self.wte.weight.shape
# dlogits = dlogits.reshape(-1, V)                                 # (N, V)
# self.wte.weight.grad += …
# dx = (dlogits @ self.wte.weight.data).reshape(x.shape)           # (B, T, C)
# dx = self.ln_f.backward(dx, ln_f_cache)
# for block, block_cache in zip(reversed(self.h), reversed(block_caches), strict=True):
#     dx = …
# dx = self.drop.backward(dx, drop_cache)
# self.wpe.backward(…, wpe_cache)
# self.wte.backward(…, wte_cache)
# ```
# @end


# %% exercise="GPT"
class MyGPT(Module):
    """A decoder-only Transformer language model, with the names of GPT-2's parameters."""

    def __init__(self, config, rng=None, dtype=np.float32):
        rng = rng or np.random.default_rng()
        C = config.n_embd
        self.config = config
        self.wte = Embedding(config.vocab_size, C, rng=rng, dtype=dtype)
        self.wpe = Embedding(config.block_size, C, rng=rng, dtype=dtype)
        self.drop = Dropout(config.dropout)
        small = 0.02 / math.sqrt(2 * config.n_layer)
        self.h = [
            Block(C, config.n_head, config.dropout, config.bias, proj_std=small, rng=rng, dtype=dtype)
            for _ in range(config.n_layer)
        ]
        self.ln_f = LayerNorm(C, bias=config.bias, dtype=dtype)

    def forward(self, ids, rng=None):
        """ids int (B, T) -> logits (B, T, V); dropout happens when ``rng`` is given."""
        tokens, wte_cache = self.wte.forward(ids)  # (B, T, C)
        positions, wpe_cache = self.wpe.forward(np.arange(ids.shape[1]))  # (T, C)
        x, drop_cache = self.drop.forward(tokens + positions, rng)  # (B, T, C)
        block_caches = []
        for block in self.h:
            x, block_cache = block.forward(x, rng)  # (B, T, C)
            block_caches.append(block_cache)
        x, ln_f_cache = self.ln_f.forward(x)  # (B, T, C)
        logits = x.reshape(-1, x.shape[-1]) @ self.wte.weight.data.T  # (N, V)
        return logits.reshape(*ids.shape, -1), (wte_cache, wpe_cache, drop_cache, block_caches, ln_f_cache, x)

    def backward(self, dlogits, cache):
        """dlogits (B, T, V); adds to every parameter's gradient. Returns nothing: ids have no gradient."""
        # --- solution
        wte_cache, wpe_cache, drop_cache, block_caches, ln_f_cache, x = cache
        V, C = self.wte.weight.shape
        dlogits = dlogits.reshape(-1, V)  # (N, V)
        self.wte.weight.grad += dlogits.T @ x.reshape(-1, C)  # as the output layer
        dx = (dlogits @ self.wte.weight.data).reshape(x.shape)  # (B, T, C)
        dx = self.ln_f.backward(dx, ln_f_cache)
        for block, block_cache in zip(reversed(self.h), reversed(block_caches), strict=True):
            dx = block.backward(dx, block_cache)
        dx = self.drop.backward(dx, drop_cache)
        self.wpe.backward(dx.sum(axis=0), wpe_cache)  # one row of positions serves the whole batch
        self.wte.backward(dx, wte_cache)  # as the table: adds to what the output layer gave
        # --- end

    def loss_and_grad(self, ids, targets, rng=None, count=None):
        """Mean nats per token; adds its gradient to every parameter's. ``count``: divide by this instead of by B·T, for a batch in parts."""
        logits, cache = self.forward(ids, rng)
        loss, loss_cache = cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        share = 1.0 if count is None else targets.size / count
        dlogits = cross_entropy_backward(share, loss_cache)  # (N, V)
        self.backward(dlogits.reshape(logits.shape), cache)
        return loss * share


# %%
GPT = check("GPT", MyGPT)

# %% [markdown]
# The check tested all parameters at once: the 28 arrays of a small model, with embeddings, two blocks and the head. If
# one line in one of your layers were wrong, it would say which one.

# %% [markdown]
# ## 5 How it starts
#
# An untrained model should not be confident about anything, so its loss should be close to ln V, the loss of uniform
# guessing. This depends on the size of the initial weights. GPT-2 draws them with standard deviation 0.02. The next
# cell tries other values:

# %%
config = GPTConfig(vocab_size=1024, block_size=64, n_layer=4, n_head=4, n_embd=64)
ids = rng.integers(0, 1024, (2, 65))
print(f"ln V = {math.log(1024):.3f}")
print("std of weights   loss at the start   std of the logits")
for std in (0.002, 0.02, 0.2, 1.0):
    gpt = GPT(config, np.random.default_rng(1))
    for p in gpt.parameters():
        if p.data.ndim == 2:
            p.data *= std / 0.02
    logits, _ = gpt.forward(ids[:, :-1])
    loss, _ = cross_entropy(logits, ids[:, 1:])
    print(f"{std:14}   {loss:17.3f}   {logits.std():17.3f}")

# %% [markdown]
# With a standard deviation of 1, the model is very confident about random tokens, and its loss is very high. Training
# would spend its first hundreds of steps undoing this.
#
# There is one more detail in `__init__`. The `c_proj` matrices write into the *residual stream* (the x that every block
# adds to). Their initial values are smaller, by a factor of $1/\sqrt{2L}$. Each block adds two branches to the stream,
# so there are 2L branches in all. The variance of a sum of 2L independent terms is 2L times as large as that of one
# term, and the factor compensates for this (Radford et al. 2019, section 2.3).

# %% [markdown]
# ## 6 Two gradients in one
#
# How large are the two parts of the embedding's gradient? The next cell runs the whole backward, computes the part of
# the output layer separately, and takes the difference.

# %%
gpt = GPT(config, np.random.default_rng(1))
logits, cache = gpt.forward(ids[:, :-1])
loss, loss_cache = cross_entropy(logits, ids[:, 1:])
dlogits = cross_entropy_backward(1.0, loss_cache)
gpt.backward(dlogits, cache)
both = gpt.wte.weight.grad  # (V, C)
head = dlogits.reshape(-1, 1024).T @ cache[-1].reshape(-1, 64)  # the part of the output layer
table = both - head  # the part of the look-ups
seen = np.isin(np.arange(1024), ids[:, :-1])
print(f"{seen.sum()} of 1,024 tokens occur in this batch")
print("                     rows of tokens that occur   of tokens that do not")
for name, part in (("as output layer", head), ("as table", table)):
    print(f"{name:20} {np.linalg.norm(part[seen]):25.4f}   {np.linalg.norm(part[~seen]):21.4f}")

# %% [markdown]
# The part of the output layer reaches every token, because every token was a possible answer, and nearly always a wrong
# one. The part of the table reaches only the tokens in the input. A model that forgets one of the two parts still
# learns, only a little worse. Only a gradient check reveals the bug.

# %% [markdown]
# ## 7 Compare with the library
#
# We give both models the same parameters, and compare the loss and all gradients:

# %%
ours = OurGPT(config, np.random.default_rng(2), np.float64)
mine = GPT(config, np.random.default_rng(3), np.float64)
mine.load_state_dict(ours.state_dict())
for model in (ours, mine):
    model.zero_grad()
losses = [model.loss_and_grad(ids[:, :-1], ids[:, 1:]) for model in (ours, mine)]
largest = max(np.abs(p.grad - q.grad).max() for p, q in zip(ours.parameters(), mine.parameters(), strict=True))
print(
    f"loss: {losses[0]:.12f} and {losses[1]:.12f}; largest difference of {len(mine.parameters())} gradients: {largest:.1e}"
)

# %% [markdown]
# ## 8 Counting
#
# How many trainable numbers does such a model have? Go through its parts, with C channels, L blocks and T = block size.
#
# | part | matrices | biases and gains |
# | --- | --- | --- |
# | wte, wpe | V·C, T·C | |
# | ln_1, ln_2 | | 2C each |
# | c_attn: C → 3C | 3C² | 3C |
# | attention's c_proj: C → C | C² | C |
# | c_fc: C → 4C | 4C² | 4C |
# | the MLP's c_proj: 4C → C | 4C² | C |
# | ln_f | | 2C |
#
# ### Exercise: `count_parameters`
#
# @hint A nudge
# Every block has the four matrices and the two norms. Everything else occurs once. The head is tied, so it adds
# nothing.
# @hint Almost code
# In one block: $12 C^2$ in matrices, $9C$ in biases, $4C$ in norms.
# ```python
# V, T, L, C = vocab_size, block_size, n_layer, n_embd
# return V * C + T * C + L * (…) + …
# ```
# @end


# %% exercise="count_parameters"
def my_count_parameters(vocab_size, block_size, n_layer, n_embd):
    """The number of parameters of a GPT, without building it.

    Parameters
    ----------
    vocab_size, block_size, n_layer, n_embd : int
        V, T, L, C.

    Returns
    -------
    int
    """
    # --- solution
    V, T, L, C = vocab_size, block_size, n_layer, n_embd
    return V * C + T * C + L * (12 * C * C + 13 * C) + 2 * C
    # --- end


# %%
count_parameters = check("count_parameters", my_count_parameters)

# %%
print(f"the model above: {count_parameters(1024, 64, 4, 64):,}, and by adding up its arrays {mine.num_parameters():,}")
print("\nGPT-2           L      C      parameters   of them in matrices of blocks")
for name, L, C in (("small", 12, 768), ("medium", 24, 1024), ("large", 36, 1280), ("XL", 48, 1600)):
    N = count_parameters(50257, 1024, L, C)
    print(f"{name:12} {L:4}   {C:4}   {N:13,}   {12 * C * C * L / N:.0%}")

# %% [markdown]
# These are the published sizes of GPT-2, from 124 million to 1.5 billion parameters. Your code is the same model. Only
# four numbers in the config are larger.
#
# ## 9 What a step costs
#
# **Arithmetic.** A matrix with $n$ numbers takes part in $n$ multiplications and $n$ additions for each token: $2n$ operations forward, and twice that backward (dx and dW).
# So a step costs about $6M$ operations per token, where $M = 12\,C^2 L + V C$ counts the
# parameters in matrices, the head included. (Looking up rows needs no multiplications.) Attention adds $12\, L\, T\, C$
# operations per token, forward and backward.
#
# **Memory.** Training stores four numbers for each parameter: its value, its gradient, and two numbers for Adam (lesson
# 08). At 4 bytes each, that is 16 bytes per parameter. The caches need additional memory, which grows with the batch.

# %%
print("                      parameters   operations a token      memory   one pass over 1 M tokens at 100 GFLOP/s")
for name, V, T, L, C in (
    ("the storyteller", 1024, 256, 2, 128),
    ("GPT-2 small", 50257, 1024, 12, 768),
    ("GPT-2 XL", 50257, 1024, 48, 1600),
):
    N = count_parameters(V, T, L, C)
    M = 12 * C * C * L + V * C
    operations = 6 * M + 12 * L * T * C
    hours = operations * 1e6 / 100e9 / 3600
    print(f"{name:18} {N:13,}   {operations:18,.0f}   {16 * N / 1e6:6,.0f} MB   {hours:10.2f} hours")

# %% [markdown]
# ## 10 Your model, in a file
#
# `collect` writes all of your layers that have passed their checks into one Python module. It imports the missing ones
# from numpylm.

# %%
count = collect("my_gpt.py")
print(f"my_gpt.py: {count} of its parts are your own")

# %% [markdown]
# This is an ordinary file. Open it and read it from top to bottom: it is a whole GPT with every gradient. Then run the
# checker on it from the command line, as you can with any file:
#
#     numpylm gradcheck --file my_gpt.py
#
# In lesson 09 this model learns to tell stories. Here is a first test: can it memorize one batch? If a model cannot do
# that, something is wrong, and longer training will not help.

# %%
from tqdm import tqdm

from numpylm import AdamW

gpt = GPT(GPTConfig(vocab_size=50, block_size=16, n_layer=2, n_head=2, n_embd=32), np.random.default_rng(0))
optimizer = AdamW(gpt.parameters(), lr=3e-3)
batch = rng.integers(0, 50, (4, 17))
losses = []
for _ in tqdm(range(150), leave=False):
    gpt.zero_grad()
    losses.append(gpt.loss_and_grad(batch[:, :-1], batch[:, 1:]))
    optimizer.step()
fig, axes = plt.subplots(figsize=(5, 2.5))
axes.semilogy(losses)
axes.axhline(math.log(50), color="#808080", linestyle="--", linewidth=1)
axes.annotate("ln V", (150, math.log(50)), (152, math.log(50)), va="center", annotation_clip=False)
axes.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, 150))
plt.show()

# %%
print(gradcheck(gpt, batch[:, :-1]))

# %% [markdown]
# ## What you can do now
#
# - build a GPT from its parts, and write the backward of the whole model;
# - say where parameters are used several times, so that their gradients add up: in the embedding and the head, and in
#   the positions over the batch;
# - tell from the first loss whether a model is initialized well;
# - compute the parameters, operations and memory of any GPT before you build it.
#
# ## 小结
#
# GPT 由嵌入、若干个块（注意力和 MLP，各带归一化和残差）、最后的归一化和输出层组成。输出层与词嵌入共用同一个矩阵，
# 所以它的梯度是两处之和；位置向量为整个批次共用，梯度要对批次求和。刚初始化时损失应接近 ln V，否则初始化有问题。参数量、
# 计算量和内存都可以在建模之前算出来。
#
# ## Three questions
#
# @answer The loss at the start is 4.2 with V = 50 and random weights of size 0.02. Is that all right?
# ln 50 = 3.91. A loss slightly above this is normal, because the logits are not exactly equal. But 4.2 is more than you
# would expect from weights of size 0.02. Check the scale of the embedding and the final norm.
# @answer Your model's gradients are all right, layer by layer, but the whole model's gradient check fails in wpe only. Where do you look?
# Look at the code that connects the layers, at the line that passes the gradient to wpe. Perhaps the sum over the batch
# is missing, or it is a mean, or it uses only one sequence.
# @answer GPT-2 small has 124 million parameters, of which 39 million are in wte. How many of the multiplications for one token need wte?
# Looking up rows needs none. The head needs V·C = 39 million multiplications, one dot product for each token of the
# vocabulary. This is a third of the model's arithmetic.
# @end
