# %% [markdown]
# # 05 · Layer norm and residuals
#
# In a stack of forty layers, numbers vanish or explode. Two simple ideas make a deep network trainable: the residual
# connection and layer normalization. The gradient of layer normalization is often wrong, even in published code. In
# this lesson you derive it in three steps.
#
# **You need:** lesson 04. **Time:** about two hours.
# **You will write:** normalization, its gradient in three steps and then in one line, `LayerNorm`, and the residual
# connection.

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
# ## 3 The gradient, step by step
#
# You will now derive the gradient of `normalize` yourself. Split the forward into three small steps, give each result a
# name, and go back through them one at a time, starting with the last. Rows do not mix, so look at one row only.
#
# | step | forward | what it depends on |
# | --- | --- | --- |
# | 1 | $c_i = x_i - \mu$, with $\mu = \frac1C \sum_j x_j$ | on $x_i$, and through $\mu$ on every $x_j$ |
# | 2 | $r = (v + \varepsilon)^{-1/2}$, with $v = \frac1C \sum_i c_i^2$ | on every $c_i$ |
# | 3 | $\hat x_i = c_i\, r$ | on $c_i$ and on $r$ |
#
# Here are the three steps for one row, in numbers.

# %%
x = np.array([1.0, 2.0, 3.0, 6.0])
c = x - x.mean()
r = 1 / np.sqrt((c * c).mean() + 1e-5)
print("x ", x, "  mean", x.mean())
print("c ", c, "  mean of squares", (c * c).mean())
print("r ", r.round(4))
print("x̂ ", (c * r).round(4))

# %% [markdown]
# The rule for going back is always the same: **a number that is used in several places gets the sum of what each place
# sends back.** What a place sends back is its own upstream gradient times the derivative of its output with respect to
# the number.
#
# ### Exercise: `scale_backward`
#
# Go back through step 3, $\hat x_i = c_i\, r$. The upstream gradient is $g$, with $g_i = \partial L / \partial \hat
# x_i$. Find what $c_i$ gets from this step, and what $r$ gets. First ask: how many of the $\hat x_i$ use $c_1$? How many
# use $r$?
#
# @hint A nudge
# $c_i$ is used once, in $\hat x_i$. And $r$ is used in every $\hat x_i$ of the row, so it gets a sum over the row.
# @hint The derivatives
# $\partial \hat x_i / \partial c_i = r\;$ and $\;\partial \hat x_i / \partial r = c_i$
# @hint Almost code
# ```python
# dc = …                                        # (..., C)
# dr = (…).sum(axis=-1, keepdims=True)          # (..., 1): one number for each row
# return dc, dr
# ```
# @end


# %% exercise="scale_backward"
def my_scale_backward(g, c, r):
    """Go back through x̂ = c r.

    Parameters
    ----------
    g : array (..., C)
        dL/dx̂.
    c : array (..., C)
    r : array (..., 1)

    Returns
    -------
    dc : array (..., C)
        What c gets from this step.
    dr : array (..., 1)
    """
    # --- solution
    dc = g * r  # (..., C)
    dr = (g * c).sum(axis=-1, keepdims=True)  # (..., 1)
    return dc, dr
    # --- end


# %%
scale_backward = check("scale_backward", my_scale_backward)

# %% [markdown]
# ### Exercise: `rstd_backward`
#
# Go back through step 2, $r = (v + \varepsilon)^{-1/2}$ with $v = \frac1C \sum_i c_i^2$. You know $\partial L /
# \partial r$. What does $c_i$ get along this path? There are two derivatives to multiply: that of $r$ with respect to
# $v$, and that of $v$ with respect to $c_i$. Write the first with $r$ instead of $v$ and $\varepsilon$: then the
# function does not need them.
#
# @hint A nudge
# The power rule: the derivative of $u^{-1/2}$ is $-\frac12 u^{-3/2}$. And only one term of the sum in $v$ contains $c_i$.
# @hint The derivatives
# $\dfrac{\partial r}{\partial v} = -\frac12 (v + \varepsilon)^{-3/2} = -\frac12 r^3\;$ and $\;\dfrac{\partial v}{\partial c_i} = \dfrac2C\, c_i$
# @hint Almost code
# ```python
# C = c.shape[-1]
# dv = dr * …          # (..., 1)
# return dv * …        # (..., C)
# ```
# @end


# %% exercise="rstd_backward"
def my_rstd_backward(dr, c, r):
    """Go back through r = 1 / √(mean(c²) + ε).

    Parameters
    ----------
    dr : array (..., 1)
        dL/dr.
    c : array (..., C)
    r : array (..., 1)

    Returns
    -------
    dc : array (..., C)
        What c gets from this step.
    """
    # --- solution
    C = c.shape[-1]
    dv = dr * -0.5 * r**3  # (..., 1)
    return dv * (2 / C) * c
    # --- end


# %%
rstd_backward = check("rstd_backward", my_rstd_backward)

# %% [markdown]
# ### Exercise: `center_backward`
#
# Go back through step 1, $c_i = x_i - \mu$. You know every $\partial L / \partial c_i$, in the array `dc`. The number
# $x_j$ is used directly, in $c_j$. It is also used in $\mu$, and $\mu$ is used in every $c_i$. So first find
# $\partial L / \partial \mu$, and then what $x_j$ gets from $\mu$.
#
# @hint A nudge
# $\mu$ enters every $c_i$ with a minus sign, so $\partial L / \partial \mu = -\sum_i \partial L / \partial c_i$.
# @hint The derivatives
# $\partial c_i / \partial \mu = -1\;$ and $\;\partial \mu / \partial x_j = \frac1C$
# @hint Almost code
# ```python
# dmu = -(…).sum(axis=-1, keepdims=True)        # (..., 1)
# return dc + … / dc.shape[-1]
# ```
# A sum divided by C is a mean, so this can also be written in one line.
# @end


# %% exercise="center_backward"
def my_center_backward(dc):
    """Go back through c = x - mean(x).

    Parameters
    ----------
    dc : array (..., C)
        dL/dc.

    Returns
    -------
    dx : array (..., C)
    """
    # --- solution
    return dc - dc.mean(axis=-1, keepdims=True)
    # --- end


# %%
center_backward = check("center_backward", my_center_backward)

# %% [markdown]
# ### Exercise: `normalize_backward`
#
# Now put the three steps together, in reverse order. The cache holds $\hat x$ and $r$ but not $c$. You can compute it:
# $c = \hat x / r$. In step 3, $c$ is used twice: in the product, and in $r$. So it gets a sum of two terms.
#
# When the check passes, take a sheet of paper, and **simplify**. Insert the three steps into each other, and write
# everything with $g$, $\hat x$ and $r$. Write $\text{mean}(\cdot)$ for the mean over the $C$ channels of the row. One of
# the means is zero: which one? In the end, one line with three terms remains. Write it here in place of your first
# answer; the check accepts both. (Nobody computes the three steps in practice: the short form is faster and loses fewer
# digits.)
#
# @hint A nudge
# ```python
# xhat, r = cache
# c = xhat / r
# dc, dr = scale_backward(dxhat, c, r)
# dc = dc + …                              # through r
# return …
# ```
# @hint On paper: the two paths to c
# Step 2 gives $\;\frac{\partial L}{\partial r} \cdot \big(-\frac12 r^3\big) \cdot \frac2C c_i\;$ with $\;\frac{\partial
# L}{\partial r} = \sum_k g_k c_k$. Multiply the numbers, and give one $r$ to $c_i$, one to $c_k$: $\;-r\, (c_i r) \cdot
# \frac1C \sum_k g_k (c_k r) = -r\, \hat x_i\, \text{mean}(g \hat x)$. With step 3: $\;dc_i = r \big(g_i - \hat x_i\,
# \text{mean}(g \hat x)\big)$.
# @hint On paper: the mean of dc
# Step 1 subtracts the mean of $dc$ over the row. Since $\text{mean}(\hat x) = 0$, only the first part remains: $\;
# \text{mean}(dc) = r\, \text{mean}(g)$.
# @hint The short form
# $dx = r\,\big(g - \text{mean}(g) - \hat x \cdot \text{mean}(g \hat x)\big)$
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
    return rstd * (dxhat - mean_g - xhat * mean_gx)  # step 3, step 1 (the mean), step 2 (the variance)
    # --- end


# %%
normalize, normalize_backward = check("normalize_backward", my_normalize, my_normalize_backward)

# %% [markdown]
# ### What the two means do
#
# The short form is one line with three terms: $g$ itself, the term that comes from the mean $\mu$, and the term that
# comes from the variance $v$. You can also see without any derivation that it must have the last two. If you add a
# constant to a row, $\hat x$ does not change. This moves the row along $(1, 1, \dots, 1)$. If you stretch the row around
# its mean, $\hat x$ does not change either. This moves the row along $x - \mu$, which is the direction of $\hat x$. So the
# loss does not depend on a move in these two directions, and the gradient must have no component in them. The first mean
# removes the component of $g$ along $(1, 1, \dots, 1)$, and the second removes the component along $\hat x$. The next cell
# shows this: both dot products with $dx$ are 0, and those with $g$ are not. (Because of ε, the second is not exactly 0.)

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
# Go back through this line on paper. Write $n$ for the row. What does $\hat x_{ni}$ get from $y_{ni}$? How many rows use
# $\gamma_i$ and $\beta_i$?
#
# Note the order. `normalize_backward` expects the gradient of $\hat x$, which was called $g$, and not that of $y$. So the
# gain comes **first**, and then the two means. If you multiply by the gain at the end, the gradient is exactly right at
# the start, when all gains are 1, and wrong from then on.

# %% [markdown]
# ### Exercise: `LayerNorm`
#
# @hint A nudge
# The forward calls `normalize(x, self.eps)`, the backward `normalize_backward`. You only have to write the equation
# above, forward and backward. All rows use the same $\gamma_i$ and $\beta_i$, so each of them gets a sum over the rows.
# @hint On paper
# $g_{ni} = dy_{ni}\, \gamma_i, \quad d\gamma_i = \sum_n dy_{ni}\, \hat x_{ni}, \quad d\beta_i = \sum_n dy_{ni}$
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
# What does the backward look like? Ask where $x$ is used, and what each place sends back.

# %% [markdown]
# ### Exercise: `Residual`
#
# `layer` is any object with a forward and a backward in our form: it plays the part of $f$.
#
# @hint A nudge
# $x$ is used twice, directly and in $f$, so its gradient is a sum of two terms. What $f$ sends back is what
# `layer.backward` returns.
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
# So the gradient of $x$ is $dy$, plus what comes back through $f$. The first term gives a direct path from the loss to
# the very first layer, with no weights on it.
#
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
# grows on its way back: by a factor of $10^8$ with residuals alone, but only by a factor of about ten with a norm
# before each layer. Why are residuals alone even worse than the plain stack here? Each of these MLPs makes a gradient
# about 1.3 times as large. The residual adds the direct path, with the factor 1. With random weights, the two parts are
# nearly at a right angle, so their sum is $\sqrt{1^2 + 1.3^2} \approx 1.6$ times as large as what came in. After 40 layers
# that is a factor of $1.6^{40}$, about $10^8$. So the two ideas belong together: the residual gives the gradient a direct
# path, and the norm keeps what the MLP adds small beside it.
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
# ## 小结
#
# 推导复杂的梯度，就把公式拆成小步，给中间量起名字，再从后往前逐步求。一个数用在几处，它的梯度就是几处之和。层归一化的梯度是 dx = r (g - mean(g) - x̂·mean(g x̂))：
# 两个均值去掉了平移和缩放这两个方向。增益 γ 要先乘进 g，再求均值。残差连接给梯度一条直达的路；归一化让数值保持同样的大小。
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
