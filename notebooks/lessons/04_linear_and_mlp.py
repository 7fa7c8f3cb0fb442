# %% [markdown]
# # 04 · Linear layers and the MLP
#
# Four fifths or more of a Transformer's arithmetic happens in one kind of layer, the linear layer, which is a matrix
# product. In this lesson you derive its gradient in two ways, and you write the layer. Then you use it to build the
# MLP, one of the two parts of a Transformer block.
#
# **You need:** lessons 02 and 03, the chain rule, and what a matrix product is.
# **Time:** about an hour and a half. **You will write:** the gradients of a linear layer, `Linear`, GELU, the MLP, and dropout.

# %%
import math

import numpy as np
from tqdm import tqdm

from numpylm import GPT, AdamW, GPTConfig, Module, Parameter, gradcheck, relu, relu_backward
from numpylm.course import check, heatmap, style, swap

plt = style()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 What a linear layer does
#
# A linear layer turns a list of numbers into another list. Each output is a weighted sum of all inputs, plus a
# constant:
#
# $$y_j = \sum_i x_i W_{ij} + b_j$$
#
# $x$ has $C$ numbers (*channels*), and $y$ has $K$. $W$ has $C$ rows and $K$ columns, and $b$ has $K$ entries. A text
# has many positions, and all of them use the same $W$ and $b$. Put each position into one row of a matrix $x$ with $N$
# rows. Then the whole layer is one matrix product:
#
# $$y = x W + b \qquad (N, C) \cdot (C, K) \to (N, K)$$
#
# $b$ is added to every row.

# %%
N, C, K = 5, 4, 3
x = rng.standard_normal((N, C))
W = rng.standard_normal((C, K))
b = rng.standard_normal(K)
y = x @ W + b  # (N, C) @ (C, K) + (K,) -> (N, K)

fig, axes = plt.subplots(1, 4, figsize=(8, 2.6), width_ratios=[C, K, K, K])
parts = ((x, "x  (N, C)"), (W, "W  (C, K)"), (np.tile(b, (N, 1)), "b, on every row"), (y, "y  (N, K)"))
for ax, (matrix, title) in zip(axes, parts, strict=True):
    heatmap(ax, matrix, title=title, numbers=".1f", limit=3)
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## 2 Backward: what is given and what we want
#
# Somewhere after this layer, the model computes a loss $L$, which is one number. The later layers give us **dy**: for
# each number in $y$, it says how much $L$ changes when that number changes. It has the shape of $y$.
#
# $$\texttt{dy}_{nj} = \frac{\partial L}{\partial y_{nj}}$$
#
# We want the same for the inputs of this layer. **dx**, with the shape of $x$, is passed back to the previous layer.
# **dW** and **db**, with the shapes of $W$ and $b$, are used to train $W$ and $b$.

# %% [markdown]
# ## 3 The first way: by shapes
#
# We know three arrays: `dy` (N, K), `x` (N, C), `W` (C, K). The gradient with respect to one factor of a product
# contains the *other* factor. So dW is a product of `dy` and `x`, and dx is a product of `dy` and `W`. How can we
# multiply them so that the shape is right? In each case there is one way.
#
# | we want | shape | from | the product that fits |
# | --- | --- | --- | --- |
# | dW | (C, K) | x (N, C), dy (N, K) | $x^T dy$: (C, N) · (N, K) |
# | dx | (N, C) | dy (N, K), W (C, K) | $dy\, W^T$: (N, K) · (K, C) |
# | db | (K,) | dy (N, K) | sum over the N rows |
#
# Many people find the gradients of matrix products in this way. But it is not a proof. If $C = K$, more than one
# product fits, and a forgotten transpose raises no error. So we also derive the gradients index by index.
#
# ## 4 The second way: by indices
#
# Write down one number of the output, and look where each input occurs in it:
#
# $$y_{nj} = \sum_i x_{ni} W_{ij} + b_j$$
#
# $W_{ij}$ occurs in $y_{nj}$ for every row $n$, multiplied by $x_{ni}$. The chain rule adds up all paths from $W_{ij}$
# to the loss:
#
# $$\frac{\partial L}{\partial W_{ij}} = \sum_n \frac{\partial L}{\partial y_{nj}} \frac{\partial y_{nj}}{\partial W_{ij}}
# = \sum_n \texttt{dy}_{nj}\, x_{ni} = \sum_n (x^T)_{in}\, \texttt{dy}_{nj} = (x^T \texttt{dy})_{ij}$$
#
# $x_{ni}$ occurs in $y_{nj}$ for every column $j$, multiplied by $W_{ij}$:
#
# $$\frac{\partial L}{\partial x_{ni}} = \sum_j \texttt{dy}_{nj}\, W_{ij} = \sum_j \texttt{dy}_{nj}\, (W^T)_{ji} = (\texttt{dy}\, W^T)_{ni}$$
#
# $b_j$ occurs in $y_{nj}$ for every row $n$, multiplied by 1:
#
# $$\frac{\partial L}{\partial b_j} = \sum_n \texttt{dy}_{nj}$$
#
# All three results follow from one rule, which you will use in every lesson: **if a value is used several times in the
# forward, its gradient is a sum in the backward.**

# %% [markdown]
# ### Exercise: `linear_gradients`
#
# @hint A nudge
# Write three lines, one for each gradient. All three are in the table above.
# @hint The formula
# $dx = dy\, W^T$, $dW = x^T dy$, $db_j = \sum_n dy_{nj}$
# @hint Almost code
# ```python
# dx = dy @ …
# dW = … @ dy
# db = dy.sum(axis=…)
# ```
# @end


# %% exercise="linear_gradients"
def my_linear_gradients(dy, x, W):
    """Gradients of y = x W + b.

    Parameters
    ----------
    dy : array (N, K)
        dL/dy, the upstream gradient.
    x : array (N, C)
    W : array (C, K)

    Returns
    -------
    dx (N, C), dW (C, K), db (K,)
    """
    # --- solution
    dx = dy @ W.T  # (N, K) @ (K, C)
    dW = x.T @ dy  # (C, N) @ (N, K)
    db = dy.sum(axis=0)  # (K,)
    return dx, dW, db
    # --- end


# %%
linear_gradients = check("linear_gradients", my_linear_gradients)

# %% [markdown]
# ## 5 The layer
#
# Every layer in this course, and in numpylm, has the same form:
#
# - an object owns its **parameters**. A `Parameter` has `.data` (the values, an array), `.grad` (the gradient, zero at first) and
#   `.shape`. The base class `Module` finds the parameters among an object's attributes;
# - `out, cache = layer.forward(x)`. The cache holds what the backward will need. Nothing is stored on the layer, so you
#   can call forward twice before you call backward;
# - `dx = layer.backward(dout, cache)` returns the gradient of the input and **adds** to each `.grad`. It adds because a
#   parameter may be used more than once.
#
# The input has the shape (B, T, C): a batch of B sequences with T positions. A linear layer treats every position in
# the same way, so it can treat all B·T positions as rows. `x.reshape(-1, C)` turns (B, T, C) into (B·T, C). Here `-1`
# tells NumPy to compute this length itself.

# %% [markdown]
# ### Exercise: `Linear`
#
# The forward is given. Write the backward, for inputs of any shape (..., in).
#
# @hint A nudge
# First reshape `dy` and `x` into rows. At the end, reshape dx to the shape of x.
# @hint The formula
# With rows: $dW = x^T dy$, $db = \sum_n dy_n$, $dx = dy\, W^T$. Add dW and db to `.grad` with `+=`.
# @hint Almost code
# ```python
# x = cache
# n_in, n_out = self.weight.shape
# rows = dy.reshape(-1, n_out)                         # (N, out)
# self.weight.grad += x.reshape(-1, n_in).T @ rows     # (in, out)
# if self.bias is not None:
#     self.bias.grad += …
# return (… @ …).reshape(x.shape)
# ```
# @end


# %% exercise="Linear"
class MyLinear(Module):
    """y = x W + b on the last axis.

    weight (in, out) starts as normal random numbers with standard deviation ``std``, bias (out,) at zero.
    """

    def __init__(self, in_features, out_features, bias=True, *, std=0.02, rng=None, dtype=np.float32):
        rng = rng or np.random.default_rng()
        self.weight = Parameter((std * rng.standard_normal((in_features, out_features))).astype(dtype))
        self.bias = Parameter(np.zeros(out_features, dtype)) if bias else None

    def forward(self, x):
        """x (..., in) -> y (..., out), and x as the cache."""
        n_in, n_out = self.weight.shape
        y = x.reshape(-1, n_in) @ self.weight.data  # (N, out)
        if self.bias is not None:
            y = y + self.bias.data
        return y.reshape(*x.shape[:-1], n_out), x

    def backward(self, dy, cache):
        """dy (..., out) -> dx (..., in); adds to weight.grad and bias.grad."""
        # --- solution
        x = cache
        n_in, n_out = self.weight.shape
        rows = dy.reshape(-1, n_out)  # (N, out)
        self.weight.grad += x.reshape(-1, n_in).T @ rows  # (in, N) @ (N, out)
        if self.bias is not None:
            self.bias.grad += rows.sum(axis=0)
        return (rows @ self.weight.data.T).reshape(x.shape)
        # --- end


# %%
Linear = check("Linear", MyLinear)

# %% [markdown]
# What happens if you write `=` instead of `+=`, or if you forget the transpose? Try it: change a line, run the two
# cells again, read what the check says, and change the line back. It is worth knowing what these errors look like.

# %% [markdown]
# ## 6 Why linear is not enough
#
# Two linear layers in a row are one linear layer: $(x W_1) W_2 = x (W_1 W_2)$. A hundred linear layers can do no more
# than one (biases do not change this). In the next cell, one linear layer and a stack of two try to learn a curve.


# %%
def fit(layers, inputs, targets, steps=1500, lr=0.01):
    """Train a chain of layers on mean squared error; layers is a list of objects or (forward, backward) pairs."""
    objects = [layer for layer in layers if not isinstance(layer, tuple)]
    # AdamW moves each parameter against its gradient; lesson 08 explains how
    optimizer = AdamW([p for layer in objects for p in layer.parameters()], lr=lr, weight_decay=0)
    for _ in tqdm(range(steps), leave=False):
        out, caches = inputs, []
        for layer in layers:
            out, cache = layer[0](out) if isinstance(layer, tuple) else layer.forward(out)
            caches.append(cache)
        dout = 2 * (out - targets) / len(targets)  # the gradient of mean((out - targets)²)
        for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
            dout = layer[1](dout, cache) if isinstance(layer, tuple) else layer.backward(dout, cache)
        optimizer.step()
        for p in optimizer.parameters:
            p.grad.fill(0)
    return out


inputs = np.linspace(-3, 3, 200)[:, None]  # (200, 1)
targets = np.sin(2 * inputs) + 0.3 * inputs


def linear(n_in, n_out):
    return Linear(n_in, n_out, std=1 / math.sqrt(n_in), rng=rng, dtype=np.float64)


one = fit([linear(1, 1)], inputs, targets)
two = fit([linear(1, 32), linear(32, 1)], inputs, targets)
fig, axes = plt.subplots(figsize=(6, 2.8))
axes.plot(inputs, targets, label="target", color="#808080", linewidth=4, alpha=0.4)
axes.plot(inputs, one, label="one linear layer")
axes.plot(inputs, two, label="two linear layers", linestyle="--")
axes.set(xlabel="input", ylabel="output")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# We need a nonlinear function between the two layers. The simplest is ReLU, $\max(x, 0)$. GPT-2 uses the smoother
# **GELU** (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2):
#
# $$\text{gelu}(x) = x \cdot \tfrac12 \left(1 + \tanh u\right), \qquad u = \sqrt{2/\pi}\,\left(x + 0.044715\, x^3\right)$$
#
# The factor $\tfrac12(1 + \tanh u)$ is near 0 for very negative $x$ and near 1 for large $x$. It works like a soft
# switch. (It approximates the cumulative distribution function of the normal distribution, which explains the
# constants.)
#
# Now its derivative. GELU is the product of $x$ and the switch $g = \tfrac12 (1 + \tanh u)$, so by the product rule its
# derivative is $g + x\, g'$. Since $\tanh' = 1 - \tanh^2$, the chain rule gives
#
# $$g' = \tfrac12 \left(1 - \tanh^2 u\right) u', \qquad u' = \sqrt{2/\pi}\,\left(1 + 3 \cdot 0.044715\, x^2\right)$$

# %% [markdown]
# ### Exercise: `gelu`
#
# Write a pair of functions. There are no parameters. GELU is elementwise, so the backward is an elementwise product:
# `dx = dout * slope`.
#
# @hint A nudge
# The backward needs $x$ and $\tanh u$. Put both into the cache, so that the tanh is computed only once.
# @hint Faster
# `x**3` is slow in NumPy (a general power); `x * x * x` is not.
# @hint Almost code
# ```python
# t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
# return …, (x, t)
# ```
# and backward
# ```python
# x, t = cache
# du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
# return dout * (0.5 * (1 + t) + …)
# ```
# @end


# %% exercise="gelu"
def my_gelu(x):
    """GELU in GPT-2's tanh form: x · ½ (1 + tanh u), u = √(2/π) (x + 0.044715 x³).

    Parameters
    ----------
    x : array, any shape

    Returns
    -------
    out : array, x's shape
    cache
    """
    # --- solution
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    return 0.5 * x * (1 + t), (x, t)
    # --- end


def my_gelu_backward(dout, cache):
    """dout (x's shape) -> dx = dout · (g + x g')."""
    # --- solution
    x, t = cache
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return dout * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du)
    # --- end


# %%
gelu, gelu_backward = check("gelu", my_gelu, my_gelu_backward)

# %%
x = np.linspace(-4, 4, 400)
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8))
for name, forward, backward in (("ReLU", relu, relu_backward), ("GELU", gelu, gelu_backward)):
    out, cache = forward(x)
    axes[0].plot(x, out, label=name)
    axes[1].plot(x, backward(np.ones_like(x), cache), label=name)
axes[0].set(xlabel="x", ylabel="output")
axes[1].set(xlabel="x", ylabel="slope")
axes[0].legend()
plt.show()

# %% [markdown]
# The slope of GELU is nonzero almost everywhere. (It is slightly negative to the left of -0.75.) The slope of ReLU is 0
# for all negative inputs, so a unit whose input is always negative never learns again. Now we fit the curve again, with
# a GELU between the two layers:

# %%
bent = fit([linear(1, 32), (gelu, gelu_backward), linear(32, 1)], inputs, targets)
fig, axes = plt.subplots(figsize=(6, 2.8))
axes.plot(inputs, targets, label="target", color="#808080", linewidth=4, alpha=0.4)
axes.plot(inputs, two, label="two linear layers", linestyle="--", color="#e8871e")
axes.plot(inputs, bent, label="with a GELU in between", color="#22a559")
axes.set(xlabel="input", ylabel="output")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## 7 The MLP
#
# Two linear layers with a GELU between them are the **MLP** ("multi-layer perceptron", or feed-forward network) of a
# Transformer block (Vaswani et al. 2017, arXiv:1706.03762, equation 2, with GELU for ReLU):
#
# $$y = \text{gelu}(x W_1 + b_1)\, W_2 + b_2$$
#
# The hidden layer has 4C numbers. The MLP works on each position separately, so no information moves between positions.
# (That is the task of attention, in lesson 06.) The names `c_fc` and `c_proj` come from GPT-2.
#
# The backward of a chain of layers goes through the chain in reverse: the last step comes first, and each step uses
# **its own cache**.

# %% [markdown]
# ### Exercise: `MLP`
#
# @hint A nudge
# The forward goes c_fc, gelu, c_proj. The backward goes c_proj, gelu, c_fc.
# @hint The formula
# $y = \text{gelu}(x W_1 + b_1) W_2 + b_2$. With $h = x W_1 + b_1$ and $a = \text{gelu}(h)$, back from $dy$: $da$ by c_proj's
# backward, $dh = da \cdot \text{gelu}'(h)$, $dx$ by c_fc's backward.
# @hint Almost code
# ```python
# c_fc_cache, gelu_cache, c_proj_cache = cache
# dactive = self.c_proj.backward(dy, c_proj_cache)   # (..., 4C)
# dhidden = …
# return …
# ```
# @end


# %% exercise="MLP"
class MyMLP(Module):
    """y = gelu(x W₁ + b₁) W₂ + b₂, on each position separately."""

    def __init__(self, n_embd, bias=True, *, proj_std=0.02, rng=None, dtype=np.float32):
        self.c_fc = Linear(n_embd, 4 * n_embd, bias, rng=rng, dtype=dtype)
        self.c_proj = Linear(4 * n_embd, n_embd, bias, std=proj_std, rng=rng, dtype=dtype)

    def forward(self, x):
        """x (..., C) -> y (..., C)."""
        # --- solution
        hidden, c_fc_cache = self.c_fc.forward(x)  # (..., 4C)
        active, gelu_cache = gelu(hidden)  # (..., 4C)
        y, c_proj_cache = self.c_proj.forward(active)  # (..., C)
        return y, (c_fc_cache, gelu_cache, c_proj_cache)
        # --- end

    def backward(self, dy, cache):
        """dy (..., C) -> dx (..., C); the layers inside add to their own gradients."""
        # --- solution
        c_fc_cache, gelu_cache, c_proj_cache = cache
        dactive = self.c_proj.backward(dy, c_proj_cache)  # (..., 4C)
        dhidden = gelu_backward(dactive, gelu_cache)  # (..., 4C)
        return self.c_fc.backward(dhidden, c_fc_cache)  # (..., C)
        # --- end


# %%
MLP = check("MLP", MyMLP)

# %% [markdown]
# ## 8 Dropout
#
# A large model can memorize a small text. One remedy is **dropout**: during training, set each number to 0 with
# probability $p$, with a new random choice in every call, so that no part can rely on another (Srivastava et al. 2014).
# The numbers that are kept are divided by $1 - p$. Then the mean stays the same, and nothing needs to be corrected when
# dropout is off:
#
# $$y = \frac{x \cdot m}{1 - p}, \qquad m = 1 \text{ with probability } 1 - p, \text{ else } 0$$
#
# For a given mask $m$, this is a multiplication by constants, so $dx = dy \cdot m / (1 - p)$, **with the same mask**.
# The backward gets the mask from the cache. If a layer stores the mask on itself, its gradient is wrong when the layer
# is called twice. If the backward draws a new mask, its gradient is always wrong. And a check with $p = 0$ detects
# neither of these bugs.
#
# There is no "training mode" in numpylm: dropout happens if, and only if, the forward gets a random generator.

# %% [markdown]
# ### Exercise: `Dropout`
#
# @hint A nudge
# `rng.random(x.shape)` gives uniform random numbers in [0, 1). What share of them is at least p?
# @hint The formula
# $y = x \cdot m / (1 - p)$ and $dx = dy \cdot m / (1 - p)$, with the same $m$: 1 where a number is kept, 0 where it is dropped.
# @hint Almost code
# ```python
# if rng is None or self.p == 0:
#     return x, None
# mask = (rng.random(x.shape) >= self.p) / (1 - self.p)
# return …, mask
# ```
# and backward: what if the cache is None?
# @end


# %% exercise="Dropout"
class MyDropout(Module):
    """y = x · m / (1 - p) if the forward gets an rng; otherwise y = x."""

    def __init__(self, p):
        self.p = p

    def forward(self, x, rng=None):
        """x (any shape) -> y (same shape); the cache is the mask with its scale, or None."""
        # --- solution
        if rng is None or self.p == 0:
            return x, None
        mask = ((rng.random(x.shape) >= self.p) / (1 - self.p)).astype(x.dtype)
        return x * mask, mask
        # --- end

    def backward(self, dy, cache):
        """dy -> dx, through the mask of the same call."""
        # --- solution
        return dy if cache is None else dy * cache
        # --- end


# %%
Dropout = check("Dropout", MyDropout)

# %% [markdown]
# ## 9 Your layers in a GPT
#
# `swap` replaces the layers of a model by yours: the parameters stay the same, and the code is different. (Lesson 07
# builds the model itself.) If your layers are right, the loss is the same to the last digits, and training works as
# before.

# %%
config = GPTConfig(vocab_size=50, block_size=16, n_layer=2, n_head=2, n_embd=32)
gpt = GPT(config, np.random.default_rng(1))
mine = swap(gpt, Linear=Linear, MLP=MLP, Dropout=Dropout)
ids = rng.integers(0, 50, (4, 17))
print(
    "layers:", sorted({type(layer).__name__ for block in mine.h for layer in (block.mlp, block.mlp.c_fc, block.drop)})
)
print(f"loss with numpylm's layers  {gpt.loss(ids[:, :-1], ids[:, 1:]):.6f}")
print(f"loss with these layers      {mine.loss(ids[:, :-1], ids[:, 1:]):.6f}")

optimizer = AdamW(mine.parameters(), lr=3e-3)
for step in range(61):
    mine.zero_grad()
    loss = mine.loss_and_grad(ids[:, :-1], ids[:, 1:])
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step:3}  loss {loss:.3f}")

# %% [markdown]
# Finally, we run the check that the library runs on its own layers before each training run:

# %%
print(gradcheck(mine.h[0].mlp, rng.standard_normal((2, 5, 32))))

# %% [markdown]
# ## What you can do now
#
# - find the gradient of a matrix product from the shapes, and prove it with indices;
# - write a layer: parameters on the object, cache on the call, gradients added;
# - write the backward of a chain of layers, each with its own cache;
# - say why a nonlinearity is needed, and what dropout does to forward and backward.
#
# ## 小结
#
# 矩阵乘法 Y = XW 的梯度是 dX = dY Wᵀ、dW = Xᵀ dY；形状能帮你找到它，下标能证明它。参数放在对象上，中间结果放在 cache 里，
# 梯度用 += 累加，因为同一个参数可能被用多次。没有非线性，再多层也只是一个矩阵。dropout 的 backward 必须使用 forward 时的同一个掩码。
#
# ## Three questions
#
# @answer A linear layer with C = K = 64 has the backward `dx = dy @ W`. Which tests does it pass?
# It passes all tests of shapes, and all tests with a symmetric W. But it is wrong: dx = dy Wᵀ. Test with C ≠ K, and it
# cannot even run.
# @answer Why is `self.weight.grad = …` wrong even if every check with a single call passes?
# A parameter may be used more than once before the optimizer step: a layer may be called twice, weights may be tied, or
# the gradients of several batches may be added up. With `=`, the last use would overwrite the others.
# @answer How many multiplications does the MLP need for one position, and how many does its backward need?
# The forward needs C·4C + 4C·C = 8C². The backward needs twice as many: for each of the two matrices, one product for
# dx and one for dW.
# @end
