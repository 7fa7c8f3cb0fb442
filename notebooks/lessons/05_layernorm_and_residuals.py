# %% [markdown]
# # 05 · Layer norm and residuals
#
# In a stack of forty layers, numbers vanish or explode. Two simple ideas make a deep network trainable: the residual
# connection and layer normalization. The gradient of layer normalization is often wrong, even in published code. In
# this lesson you derive it in three steps.
#
# **You need:** lesson 04. **Time:** about an hour and a half.
# **You will write:** normalization and its gradient, `LayerNorm`, and the residual connection.

# %%
import numpy as np

from numpylm import GPT, MLP, GPTConfig, Module, Parameter
from numpylm.course import check, style, swap

plt = style()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 What goes wrong in a deep network
#
# Send random numbers through 40 layers $x \leftarrow x W$, each $W$ random with standard deviation $s/\sqrt{C}$, and
# look at the size of the numbers after each layer. For $s = 1$ their size stays the same on average. But nothing
# guarantees that $s$ stays 1 during training.

# %%
C, depth = 64, 40
fig, axes = plt.subplots(figsize=(6, 2.8))
for s in (0.8, 1.0, 1.25):
    x = rng.standard_normal((100, C))
    sizes = [x.std()]
    for _ in range(depth):
        x = x @ (s / np.sqrt(C) * rng.standard_normal((C, C)))
        sizes.append(x.std())
    axes.semilogy(sizes, label=f"s = {s}")
axes.set(xlabel="layer", ylabel="standard deviation of x")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# If $s$ is a quarter too large, the numbers are thousands of times too large after 40 layers. If $s$ is a fifth too
# small, they nearly vanish. Gradients pass through the same matrices on the way back, so the same happens to them.
#
# ## 2 Normalize
#
# The remedy is to give each row mean 0 and variance 1 (Ba, Kiros and Hinton 2016, arXiv:1607.06450, equations 3 and 4).
# A row is one position with its C channels, $x_1 \dots x_C$:
#
# $$\mu = \frac1C \sum_i x_i, \qquad \sigma^2 = \frac1C \sum_i (x_i - \mu)^2, \qquad
# \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \varepsilon}}$$
#
# Each row is normalized separately, so positions do not mix. $\varepsilon = 10^{-5}$ is *inside* the root, and it
# prevents 0/0 for a row of equal numbers. The variance divides by $C$. (`np.var` does; `np.std(ddof=1)` and some
# libraries divide by $C - 1$.)
#
# Write $r = 1 / \sqrt{\sigma^2 + \varepsilon}$ for the factor, so that $\hat x = (x - \mu)\, r$. In code it is called
# `rstd`, for "reciprocal standard deviation".

# %% [markdown]
# ### Exercise: `normalize`
#
# The cache is `(xhat, rstd)`. The backward will need nothing else.
#
# @hint A nudge
# `x.mean(axis=-1, keepdims=True)` has shape (..., 1) and broadcasts against x.
# @hint The formula
# $\hat x = (x - \mu)\, r$ with $r = 1/\sqrt{\sigma^2 + \varepsilon}$, $\mu = \text{mean}(x)$, $\sigma^2 = \text{mean}((x - \mu)^2)$, all over the last axis
# @hint Almost code
# ```python
# centred = x - …                                                   # (..., C)
# variance = (centred * centred).mean(axis=-1, keepdims=True)       # (..., 1)
# rstd = 1 / np.sqrt(…)
# ```
# @end


# %% exercise="normalize"
def my_normalize(x, eps=1e-5):
    """Give each row of the last axis mean 0 and variance 1.

    Parameters
    ----------
    x : array (..., C)
    eps : float
        ε, in units of x².

    Returns
    -------
    xhat : array (..., C)
    cache : (xhat (..., C), rstd (..., 1))
    """
    # --- solution
    centred = x - x.mean(axis=-1, keepdims=True)  # (..., C)
    variance = (centred * centred).mean(axis=-1, keepdims=True)  # (..., 1)
    rstd = 1 / np.sqrt(variance + eps)  # (..., 1)
    xhat = centred * rstd  # (..., C)
    return xhat, (xhat, rstd)
    # --- end


# %%
normalize = check("normalize", my_normalize)

# %% [markdown]
# ## 3 The gradient, in three steps
#
# The upstream gradient, which arrives at $\hat x$, is $g$, with $g_i = \partial L / \partial \hat x_i$. Rows do not
# mix, so we look at one row only. Split the forward into three steps, and go back through them, starting with the last.
#
# | step | forward | dependencies |
# | --- | --- | --- |
# | 1 | $c_i = x_i - \mu$ | every $c_i$ depends on $\mu$, and so on every $x_j$ |
# | 2 | $r = (\sigma^2 + \varepsilon)^{-1/2}$, with $\sigma^2 = \frac1C \sum_i c_i^2$ | $r$ depends on every $c_i$ |
# | 3 | $\hat x_i = c_i\, r$ | every $\hat x_i$ depends on $c_i$ and on $r$ |
#
# **Back through step 3.** $\hat x_i$ is a product. So $c_i$ gets $g_i\, r$ directly. And $r$, which is used for every
# $i$, gets a sum: $\partial L/\partial r = \sum_i g_i c_i$.
#
# **Back through step 2.** The derivative of $(\sigma^2 + \varepsilon)^{-1/2}$ is $-\frac12 (\sigma^2 + \varepsilon)^{-3/2} = -\frac12 r^3$,
# and that of $\sigma^2$ with respect to $c_i$ is $\frac{2}{C} c_i$. So along this second path $c_i$ gets
#
# $$\Big(\sum_k g_k c_k\Big) \cdot \big(-\tfrac12 r^3\big) \cdot \tfrac2C c_i = -\, r \cdot (c_i r) \cdot \tfrac1C \sum_k g_k\, (c_k r)
# = -\, r\, \hat x_i\, \text{mean}(g \hat x)$$
#
# ($\text{mean}(\cdot)$ is always the mean over the C channels of the row.) Both paths together give $\;\partial
# L/\partial c_i = r\,\big(g_i - \hat x_i\, \text{mean}(g \hat x)\big)$.
#
# **Back through step 1.** $c_i = x_i - \mu$, and $\mu$ is the mean of all $x_j$. So $x_i$ gets $\partial L / \partial
# c_i$ directly, and through $\mu$ it gets minus the mean of all $\partial L / \partial c_j$. What is the mean of
# $\partial L/\partial c$? Since $\text{mean}(\hat x) = 0$, only the first part remains: $r\, \text{mean}(g)$. The
# result is
#
# $$\boxed{dx = r\,\big(g - \text{mean}(g) - \hat x \cdot \text{mean}(g \hat x)\big)}$$
#
# This is one line of code with three terms: the direct path, the path through the mean, and the path through the
# variance.

# %% [markdown]
# ### Exercise: `normalize_backward`
#
# @hint A nudge
# Both means run over the last axis and keep it: `keepdims=True`.
# @hint The formula
# $dx = r\,\big(g - \text{mean}(g) - \hat x \cdot \text{mean}(g \hat x)\big)$, with $g$ = `dxhat`
# @hint Almost code
# ```python
# xhat, rstd = cache
# mean_g = dxhat.mean(axis=-1, keepdims=True)              # (..., 1)
# mean_gx = (dxhat * xhat).mean(axis=-1, keepdims=True)    # (..., 1)
# return rstd * (…)
# ```
# @end


# %% exercise="normalize_backward"
def my_normalize_backward(dxhat, cache):
    """Gradient of `normalize`.

    Parameters
    ----------
    dxhat : array (..., C)
        dL/dx̂, called g above.
    cache : (xhat (..., C), rstd (..., 1))

    Returns
    -------
    dx : array (..., C)
    """
    # --- solution
    xhat, rstd = cache
    mean_g = dxhat.mean(axis=-1, keepdims=True)  # (..., 1)
    mean_gx = (dxhat * xhat).mean(axis=-1, keepdims=True)  # (..., 1)
    return rstd * (dxhat - mean_g - xhat * mean_gx)
    # --- end


# %%
normalize, normalize_backward = check("normalize_backward", my_normalize, my_normalize_backward)

# %% [markdown]
# ### What the two means do
#
# If you add a constant to a row, $\hat x$ does not change. If you scale a row, $\hat x$ does not change either. So the
# loss does not depend on shifting or scaling, and the gradient must have no component in these two directions. The
# first mean removes the component of $g$ along $(1, 1, \dots, 1)$, and the second removes the component along $\hat x$.
# The next cell shows this. (Because of ε, the second product is not exactly 0.)

# %%
x = 3 + 2 * rng.standard_normal((1, 6))
xhat, cache = normalize(x)
g = rng.standard_normal((1, 6))
dx = normalize_backward(g, cache)
print("x      ", x.round(2), " mean", x.mean().round(2), " std", x.std().round(2))
print("x̂      ", xhat.round(2), f" mean {xhat.mean():.1e}  std {xhat.std():.6f}")
print("g      ", g.round(2))
print("dx     ", dx.round(2))
print(
    f"dx · 1 = {dx.sum():+.1e}     dx · x̂ = {(dx * xhat).sum():+.1e}     (g · 1 was {g.sum():+.2f}, g · x̂ {(g * xhat).sum():+.2f})"
)

# %% [markdown]
# ## 4 Gain and bias: the layer
#
# Mean 0 and variance 1 may not be what the next layer needs. So each channel has two trainable numbers, a gain $\gamma$
# and a bias $\beta$. Initially all gains are 1 and all biases are 0:
#
# $$y_i = \gamma_i \hat x_i + \beta_i$$
#
# Now go back through this line. $\hat x_i$ gets $g_i = dy_i \gamma_i$. And $\gamma_i$ and $\beta_i$ are used for every
# row $n$, so they get sums:
#
# $$d\gamma_i = \sum_n dy_{ni}\, \hat x_{ni}, \qquad d\beta_i = \sum_n dy_{ni}$$
#
# Note the order. **First** multiply by the gain, and then compute the two means, of $g$ and not of $dy$. If you
# multiply by the gain at the end, the gradient is exactly right at the start, when all gains are 1, and wrong from then
# on.

# %% [markdown]
# ### Exercise: `LayerNorm`
#
# @hint A nudge
# The forward calls `normalize(x, self.eps)`, the backward `normalize_backward`. You only have to write the equation
# above, forward and backward.
# @hint The sums
# For any number of axes before the last: `(dy * xhat).reshape(-1, C).sum(axis=0)`.
# @hint Almost code
# ```python
# xhat, rstd = cache
# C = xhat.shape[-1]
# self.weight.grad += …
# if self.bias is not None:
#     self.bias.grad += …
# return normalize_backward(…, cache)
# ```
# @end


# %% exercise="LayerNorm"
class MyLayerNorm(Module):
    """y = γ x̂ + β over the last axis; γ is ``weight`` (C,), β is ``bias`` (C,) or None."""

    def __init__(self, dim, eps=1e-5, bias=True, *, dtype=np.float32):
        self.eps = eps
        self.weight = Parameter(np.ones(dim, dtype))
        self.bias = Parameter(np.zeros(dim, dtype)) if bias else None

    def forward(self, x):
        """x (..., C) -> y (..., C); the cache is (x̂, rstd)."""
        # --- solution
        xhat, cache = normalize(x, self.eps)  # (..., C)
        y = xhat * self.weight.data
        if self.bias is not None:
            y = y + self.bias.data
        return y, cache
        # --- end

    def backward(self, dy, cache):
        """dy (..., C) -> dx (..., C); adds to weight.grad and bias.grad."""
        # --- solution
        xhat, _ = cache
        C = xhat.shape[-1]
        self.weight.grad += (dy * xhat).reshape(-1, C).sum(axis=0)
        if self.bias is not None:
            self.bias.grad += dy.reshape(-1, C).sum(axis=0)
        return normalize_backward(dy * self.weight.data, cache)  # the gain first, then the means
        # --- end


# %%
LayerNorm = check("LayerNorm", MyLayerNorm)

# %% [markdown]
# ## 5 Residual connections
#
# The other idea is to add to $x$ instead of replacing it (He et al. 2015, arXiv:1512.03385):
#
# $$y = x + f(x)$$
#
# Here $f$ is one layer or several. It only has to compute the *change* in $x$. If it outputs 0, nothing is lost.
#
# What does the backward look like? $x$ is used twice, so its gradient is a sum of two terms. One bypasses $f$
# unchanged, and the other goes through $f$.
#
# $$dx = dy + \Big(\frac{\partial f}{\partial x}\Big)^{T} dy$$
#
# The second term is what `f.backward(dy)` returns. The first term gives a direct path from the loss to the very first
# layer, with no weights on it.

# %% [markdown]
# ### Exercise: `Residual`
#
# `layer` is any object with a forward and a backward in our form.
#
# @hint A nudge
# There is one addition in the forward, and one in the backward.
# @hint Beware
# `dy += …` would write into the caller's array. Make a new one.
# @hint Almost code
# ```python
# out, cache = self.layer.forward(x)
# return …, cache
# ```
# @end


# %% exercise="Residual"
class MyResidual(Module):
    """y = x + layer(x)."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        """x -> y, of the same shape; the cache is the layer's cache."""
        # --- solution
        out, cache = self.layer.forward(x)
        return x + out, cache
        # --- end

    def backward(self, dy, cache):
        """dy -> dx."""
        # --- solution
        return dy + self.layer.backward(dy, cache)
        # --- end


# %%
Residual = check("Residual", MyResidual)

# %% [markdown]
# ## 6 What the two ideas do
#
# We compare three stacks of 40 MLPs: a plain stack; a stack with residuals; and a stack with residuals and a layer norm
# before each MLP, as in GPT-2 ("pre-norm", $x + \text{MLP}(\text{LayerNorm}(x))$). We send a random gradient back from
# the end, and measure its size at the input of each layer.


# %%
class PreNorm(Module):
    """layer(norm(x))."""

    def __init__(self, norm, layer):
        self.norm, self.layer = norm, layer

    def forward(self, x):
        """x (..., C) -> (..., C)."""
        normed, norm_cache = self.norm.forward(x)
        out, layer_cache = self.layer.forward(normed)
        return out, (norm_cache, layer_cache)

    def backward(self, dy, cache):
        """dy (..., C) -> (..., C)."""
        norm_cache, layer_cache = cache
        return self.norm.backward(self.layer.backward(dy, layer_cache), norm_cache)


def mlp(std):
    """An MLP whose weights have a given size."""
    layer = MLP(C, dtype=np.float64)
    for p in layer.parameters():
        p.data = std * rng.standard_normal(p.shape) if p.data.ndim == 2 else p.data
    return layer


def gradient_sizes(layers):
    """The norm of the gradient at the input of each layer, starting with the first layer."""
    x, caches = rng.standard_normal((20, C)), []
    for layer in layers:
        x, cache = layer.forward(x)
        caches.append(cache)
    dx, sizes = rng.standard_normal(x.shape), []
    for layer, cache in zip(reversed(layers), reversed(caches), strict=True):
        dx = layer.backward(dx, cache)
        sizes.append(np.linalg.norm(dx))
    return sizes[::-1]


fig, axes = plt.subplots(1, 2, figsize=(9, 2.9))
for ax, std in zip(axes, (0.05, 0.12), strict=True):
    ax.semilogy(gradient_sizes([mlp(std) for _ in range(depth)]), label="plain")
    ax.semilogy(gradient_sizes([Residual(mlp(std)) for _ in range(depth)]), label="residual")
    ax.semilogy(
        gradient_sizes([Residual(PreNorm(LayerNorm(C, dtype=np.float64), mlp(std))) for _ in range(depth)]),
        label="residual, layer norm",
    )
    ax.set(xlabel="layer (the loss is on the right)", title=f"weights of size {std}")
axes[0].set_ylabel("norm of the gradient")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# In the left plot, with small weights, almost no gradient reaches the first layers of the plain stack, so they cannot
# learn. The curves of the two stacks with residuals coincide. In the right plot, with larger weights, the gradient
# grows from layer to layer: by a factor of $10^8$ with residuals alone, but only by a factor of about ten with a norm
# before each layer.
#
# Every block of GPT-2 uses both ideas twice: around attention and around the MLP.

# %%
config = GPTConfig(vocab_size=50, block_size=16, n_layer=2, n_head=2, n_embd=32)
gpt = GPT(config, np.random.default_rng(1))
mine = swap(gpt, LayerNorm=LayerNorm)
ids = rng.integers(0, 50, (4, 17))
print(
    f"{type(mine.ln_f).__name__} in a GPT: loss {mine.loss(ids[:, :-1], ids[:, 1:]):.6f}, with numpylm's {gpt.loss(ids[:, :-1], ids[:, 1:]):.6f}"
)

# %% [markdown]
# ## What you can do now
#
# - split a formula into steps, and go back through them one at a time;
# - derive and write the gradient of layer normalization, and say what its two means do;
# - say why the gain belongs inside the means, and which check would miss this bug;
# - write a residual connection and explain what it does to a deep network.
#
# ## Three questions
#
# @answer A LayerNorm's backward forgets the term with mean(g x̂). Its input gradient is checked with dy = x̂. What happens?
# With g = x̂: mean(g) = 0 and x̂ · mean(x̂ x̂) = x̂ (up to ε), so the true gradient is about 0, and the faulty one is r
# x̂. The check detects this at once. With g = 1 it would detect nothing, because both gradients are 0. A random g
# detects the bug in every case.
# @answer Why may the backward of a residual not be written `dy += self.layer.backward(dy, cache); return dy`?
# It changes an array that belongs to the caller. If that array is used again (by another residual, or a second
# backward), the result is wrong there, far away from this line.
# @answer Batch normalization uses mean and variance over the batch instead of over the channels. Why is that awkward for a language model?
# The sequences in a batch would influence each other, so the results would depend on what else is in the batch. And
# when we generate one sequence at a time, there is no batch to compute means over.
# @end
