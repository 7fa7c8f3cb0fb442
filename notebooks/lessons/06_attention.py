# %% [markdown]
# # 06 · Attention
#
# So far, every layer works on each position separately. Attention lets positions look at each other. It is the only
# place in a Transformer where information moves along the text. You build it up from a simple average, and you derive
# the gradient of every step.
#
# **You need:** lessons 04 and 05. **Time:** two and a half hours.
# **You will write:** a causal average, softmax's Jacobian and gradient, attention and its gradient, the splitting into
# heads, and the layer `CausalSelfAttention`.

# %%
import math

import numpy as np

from numpylm import Dropout, Linear, Module
from numpylm.course import check, heatmap, query_key_value_picture, storyteller, style, swap
from numpylm.nn.attention import causal_mask

plt = style()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 A plain average
#
# *"Tess the hare went to the river, and there **she** …"* To predict what follows, the position of "she" needs
# information about "Tess" and "hare". So each position should gather information from the positions before it. The
# simplest way is to take the average of all positions so far, including the position itself:
#
# $$y_t = \frac{1}{t+1} \sum_{s=0}^{t} x_s$$
#
# The average does not include later positions. A language model learns to predict the next token at *every* position at
# once, and a position that could look ahead would simply copy the answer. A model in which no position sees a later one
# is called **causal**.
#
# Such an average is a matrix product. Let $A$ be a matrix of weights with shape (T, T), where row $t$ says how much
# position $t$ takes from each position $s$. Then $\;y = A x$, (T, T) · (T, C).

# %% [markdown]
# ### Exercise: `causal_average_weights`
#
# @hint A nudge
# `np.tri(T)` has ones on and below the diagonal.
# @hint The formula
# $A_{ts} = 1/(t+1)$ for $s \le t$, else 0
# @hint Almost code
# ```python
# weights = np.tri(T)
# return weights / weights.sum(axis=…, keepdims=True)
# ```
# @end


# %% exercise="causal_average_weights"
def my_causal_average_weights(T):
    """Weights that average the positions 0 … t for each t.

    Parameters
    ----------
    T : int

    Returns
    -------
    array (T, T)
        Row t holds the weights of position t: 1/(t+1) up to column t, 0 after it.
    """
    # --- solution
    weights = np.tri(T)  # (T, T)
    return weights / weights.sum(axis=1, keepdims=True)
    # --- end


# %%
causal_average_weights = check("causal_average_weights", my_causal_average_weights)

# %%
fig, axes = plt.subplots(figsize=(3.2, 3))
heatmap(
    axes,
    causal_average_weights(6),
    title="A",
    numbers=".2f",
    xlabel="position s, looked at",
    ylabel="position t, looking",
)
plt.show()

# %% [markdown]
# ## 2 Weights that depend on the content
#
# A plain average gives "the" as much weight as "Tess". Better weights depend on the tokens at the positions. Let each
# position compute three vectors from its $x$, each with a linear layer:
#
# - a **query** $q_t$: what am I looking for?
# - a **key** $k_s$: what do I have to offer?
# - a **value** $v_s$: what information do I give, if I am chosen?
#
# The next cell draws this for three positions, with two numbers in each vector. "she" has the query (2, 0). It looks for
# names, and names have a large first number in their key.

# %%
words = ["Tess", "river", "she"]
keys = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # (3, 2)
values = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])  # (3, 2)
query = np.array([2.0, 0.0])  # (2,): the query of "she"
query_key_value_picture(words, query, keys, values)
plt.show()

# %% [markdown]
# How well does the key of $s$ match the query of $t$? We use the dot product $q_t \cdot k_s$, which is large if both
# vectors point in the same direction. These numbers are called **scores**. Softmax turns the scores of one query into
# weights that are positive and sum to 1. The rest is as before: a weighted average, now of the values. Here are the
# numbers of the picture. (The scores are divided by $\sqrt 2$, because the vectors have 2 entries. Section 3 says why.)

# %%
scores = keys @ query  # (3,)
weights = np.exp(scores / math.sqrt(2))
weights /= weights.sum()
print("word    score   weight   value")
for word, score, weight, value in zip(words, scores, weights, values, strict=True):
    print(f"{word:6} {score:6.1f} {weight:8.2f}   {value}")
print('"she" gathers', (weights @ values).round(2))

# %% [markdown]
# "she" takes most of its information from "Tess". For all queries and all keys together, the scores are one matrix
# product, $Q K^T$, with a row for each query and a column for each key. So the whole operation fits into one line:
#
# $$\text{Attention}(Q, K, V) = \underbrace{\text{softmax}\!\left(\frac{Q K^T}{\sqrt D}\right)}_{P} V$$
#
# (Vaswani et al. 2017, arXiv:1706.03762, equation 1.) $D$ is the number of entries in one query. Why do we divide by
# $\sqrt D$?
#
# ## 3 Why √D
#
# A dot product is a sum of $D$ products. If the entries of $q$ and $k$ are independent, with mean 0 and variance 1, each
# product has mean 0 and variance 1. The variances of independent numbers add up, so the sum has variance $D$. Measure it:

# %%
print("   D   variance of q·k   largest of 10 weights, unscaled   scaled")
for D in (1, 4, 16, 64, 256):
    q, k = rng.standard_normal((2, 1000, D))
    keys = rng.standard_normal((10, D))

    def largest_weight(scores):
        """Mean over queries of the largest softmax weight."""
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True)).max(axis=1).mean()

    variance = (q * k).sum(axis=1).var()
    scores = q @ keys.T  # (1000, 10)
    print(f"{D:4}   {variance:15.1f}   {largest_weight(scores):31.2f}   {largest_weight(scores / math.sqrt(D)):6.2f}")

# %% [markdown]
# With D = 64, the unscaled scores are so far apart that one key takes nearly all the weight. Such a softmax has almost
# no gradient, as you will see in the next section. Division by $\sqrt D$ divides the variance by $D$, so it is 1 for every
# $D$.

# %% [markdown]
# ## 4 The gradient of softmax
#
# In lesson 02 we derived the gradient of softmax only together with the cross-entropy, where it was $p - y$. Here we
# need the gradient of softmax alone. Take one row, $p_i = e^{z_i} / E$ with $E = \sum_k e^{z_k}$. Every $p_i$ depends on
# every $z_j$, because $E$ contains them all. So there is a derivative for each pair $(i, j)$. The matrix of all these
# derivatives, $J_{ij} = \partial p_i / \partial z_j$, is called the **Jacobian**.
#
# ### Exercise: `softmax_jacobian`
#
# Find $\partial p_i / \partial z_j$ on paper, with the quotient rule. There are two cases: $i = j$, where the numerator
# depends on $z_j$ as well, and $i \ne j$, where it does not. Write both with $p_i$ and $p_j$ alone.
#
# @hint A nudge
# The quotient rule: $(u/E)' = (u' E - u E')/E^2$, with $u = e^{z_i}$. The derivative of $E$ with respect to $z_j$ is $e^{z_j}$.
# @hint The two cases
# If $i = j$: $\;\dfrac{e^{z_i} E - e^{z_i} e^{z_i}}{E^2} = p_i - p_i^2$.$\quad$ If $i \ne j$: $\;\dfrac{0 - e^{z_i} e^{z_j}}{E^2} = -\, p_i p_j$.
# @hint Almost code
# `np.diag(p)` is a matrix with p on its diagonal, `np.outer(p, p)` has the products $p_i p_j$.
# @end


# %% exercise="softmax_jacobian"
def my_softmax_jacobian(p):
    """All derivatives of softmax at once.

    Parameters
    ----------
    p : array (S,)
        The probabilities, softmax(z).

    Returns
    -------
    array (S, S)
        Row i, column j: ∂p_i/∂z_j.
    """
    # --- solution
    return np.diag(p) - np.outer(p, p)  # p_i ([i = j] - p_j)
    # --- end


# %%
softmax_jacobian = check("softmax_jacobian", my_softmax_jacobian)

# %%
z = np.array([2.0, 1.0, 0.0, -1.0])
p = np.exp(z) / np.exp(z).sum()
jacobian = softmax_jacobian(p)
fig, axes = plt.subplots(1, 2, figsize=(6.5, 2.6))
axes[0].bar(range(4), p)
axes[0].set(xlabel="i", ylabel="p", xticks=range(4))
heatmap(
    axes[1],
    jacobian,
    numbers=".2f",
    limit=0.3,
    xlabel="j: this logit rises",
    ylabel="i: this p changes",
    title="Jacobian",
)
plt.show()
print("each row sums to 0:", jacobian.sum(axis=1).round(15))

# %% [markdown]
# If one logit rises, its own probability rises and all others fall. Every row sums to 0, because adding a constant to
# all logits changes nothing.
#
# ### Exercise: `softmax_backward`
#
# The upstream gradient is $dp$, and $z_j$ is used in every $p_i$. So $z_j$ gets a sum:
#
# $$dz_j = \sum_i dp_i\, \frac{\partial p_i}{\partial z_j}$$
#
# You could build the Jacobian and multiply. But for attention over 1,000 positions it would have a million entries for
# every single query. Insert your formula into the sum, and **simplify on paper** until no matrix remains. Write $[i =
# j]$ for a number that is 1 if $i = j$ and 0 otherwise. Then both cases are one formula, $p_i \left([i = j] - p_j\right)$.
#
# The forward is given, and its cache is p. (It is your softmax from lesson 02, with one addition: for a row in which
# every entry is -inf, it returns zeros.)
#
# @hint A nudge
# $\sum_i dp_i\, p_i\, [i = j]$ has only one term that is not 0. In the other part, $p_j$ does not depend on $i$: take it
# out of the sum.
# @hint On paper
# $dz_j = \sum_i dp_i\, p_i \left([i = j] - p_j\right) = p_j\, dp_j - p_j \sum_i dp_i\, p_i$. The sum is one number for
# each row.
# @hint Almost code
# ```python
# p = cache
# return p * (dp - (…).sum(axis=-1, keepdims=True))
# ```
# @hint The short form
# $dz = p \cdot \big(dp - \sum_i dp_i\, p_i\big)$
# @end


# %% exercise="softmax_backward"
def my_softmax(z):
    """Softmax over the last axis: z (..., S) -> p (..., S), and p as the cache."""
    lowest = np.finfo(z.dtype).min  # so that the maximum of a row of -inf is finite
    e = np.exp(z - z.max(axis=-1, keepdims=True, initial=lowest))
    p = e / np.maximum(e.sum(axis=-1, keepdims=True), np.finfo(z.dtype).tiny)
    return p, p


def my_softmax_backward(dp, cache):
    """dp (..., S) -> dz (..., S)."""
    # --- solution
    p = cache
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    # --- end


# %%
softmax, softmax_backward = check("softmax_backward", my_softmax, my_softmax_backward)

# %% [markdown]
# The result has $p$ as a factor. If one $p_j$ is nearly 1 and the others are nearly 0, then $dz$ is nearly 0 everywhere:
# for $j$ the bracket vanishes, and for the others $p$ does. That is why a model with unscaled scores would hardly learn.
#
# ## 5 Attention, forward
#
# Shapes: a batch of B sequences, each with H *heads* (section 7; for now, think of several attention operations in
# parallel), T positions, and D numbers for each query. So q, k and v have shape (B, H, T, D). NumPy's `@` multiplies
# matrices along the last two axes and loops over the others, so `q @ k.swapaxes(-1, -2)` is (B, H, T, D) · (B, H, D, T)
# → (B, H, T, T): a score for every query and every key. (The code writes S for the number of keys, to tell the two axes
# apart. Here S = T; in lesson 15 the keys come from another sequence.)
#
# **The mask.** `mask` is True where a query may look. Where it is False, set the score to $-\infty$ *before* the
# softmax: $e^{-\infty} = 0$, so the weight is exactly 0 and the others still sum to 1. `causal_mask(T, T)` returns the
# causal mask, with a row for each query and a column for each key.
#
# **Dropout** can drop attention weights during training. It is applied after the softmax:
# `Dropout(dropout_p).forward(p, rng)`, lesson 04. Without an rng it does nothing.
#
# ### Exercise: `attention`
#
# You decide what the cache holds. The backward will need q, k, v, the scale, the weights after dropout, and the caches
# of the softmax and the dropout.
#
# @hint A nudge
# There are five steps: scores, mask, softmax, dropout, and the product with v.
# @hint The mask
# `scores + np.where(mask, 0, -np.inf)` keeps the scores where the mask is True, and makes them -inf where it is False.
# @hint Almost code
# ```python
# scale = 1 / math.sqrt(q.shape[-1])
# scores = …                                                      # (B, H, T, S)
# if mask is not None:
#     scores = scores + np.where(mask, 0, -np.inf).astype(scores.dtype)
# p, softmax_cache = softmax(scores)                              # (B, H, T, S)
# weights, dropout_cache = Dropout(dropout_p).forward(p, rng)     # nothing happens if rng is None
# return …, (q, k, v, scale, softmax_cache, weights, dropout_p, dropout_cache)
# ```
# @end


# %% exercise="attention"
def my_attention(q, k, v, mask=None, dropout_p=0.0, rng=None):
    """softmax(Q Kᵀ / √D) V.

    Parameters
    ----------
    q : array (B, H, T, D)
    k, v : array (B, H, S, D)
        In self-attention S = T.
    mask : bool array, broadcast to (B, H, T, S), optional
        True where a query may look.
    dropout_p : float
    rng : numpy.random.Generator, optional
        Without it there is no dropout.

    Returns
    -------
    out : array (B, H, T, D)
    cache
    """
    # --- solution
    scale = 1 / math.sqrt(q.shape[-1])
    scores = (q @ k.swapaxes(-1, -2)) * scale  # (B, H, T, S)
    if mask is not None:
        scores = scores + np.where(mask, 0, -np.inf).astype(scores.dtype)
    p, softmax_cache = softmax(scores)  # (B, H, T, S)
    weights, dropout_cache = Dropout(dropout_p).forward(p, rng)
    return weights @ v, (q, k, v, scale, softmax_cache, weights, dropout_p, dropout_cache)
    # --- end


# %%
attention = check("attention", my_attention)

# %% [markdown]
# ## 6 Attention, backward
#
# Apart from the mask, the forward has four steps: the scores $Z = Q K^T / \sqrt D$, the softmax $P$, the dropout, and the
# product $O = P V$. You have the backward of the softmax, and that of dropout is in lesson 04. The two matrix products
# remain. You could look their gradients up in lesson 04. But the safe way is to prove them with indices, and you can do
# this for any formula. It takes three lines:
#
# 1. Write one entry of the result: $\;O_{td} = \sum_s P_{ts} V_{sd}$.
# 2. Ask which entries of the result use the number that you look at. $P_{ts}$ is used in $O_{td}$ for every $d$, with
#    factor $V_{sd}$.
# 3. Sum what they send back: $\;dP_{ts} = \sum_d dO_{td}\, V_{sd}$. Now read the sum as a matrix product: $\;dP = dO\,
#    V^T$, because $V_{sd}$ is the entry $(d, s)$ of $V^T$.
#
# Check the shapes: (T, D) · (D, S) → (T, S). They fit, but shapes alone prove nothing. With T = S = D every wrong order
# fits as well.
#
# ### Exercise: `weighted_sum_backward`
#
# Prove in the same way what $V_{sd}$ gets. Then write both.
#
# @hint A nudge
# $V_{sd}$ is used in $O_{td}$ for every $t$.
# @hint On paper
# $dV_{sd} = \sum_t dO_{td}\, P_{ts} = \sum_t (P^T)_{st}\, dO_{td}$
# @hint Transposing
# `x.swapaxes(-1, -2)` swaps the last two axes and leaves batch and heads where they are. (`x.T` would reverse all four.)
# @hint Almost code
# ```python
# dp = dout @ …               # (B, H, T, S)
# dv = … @ dout               # (B, H, S, D)
# ```
# @end


# %% exercise="weighted_sum_backward"
def my_weighted_sum_backward(dout, p, v):
    """Go back through O = P V.

    Parameters
    ----------
    dout : array (B, H, T, D)
        dL/dO.
    p : array (B, H, T, S)
    v : array (B, H, S, D)

    Returns
    -------
    dp (B, H, T, S), dv (B, H, S, D)
    """
    # --- solution
    dp = dout @ v.swapaxes(-1, -2)  # (B, H, T, D) @ (B, H, D, S)
    dv = p.swapaxes(-1, -2) @ dout  # (B, H, S, T) @ (B, H, T, D)
    return dp, dv
    # --- end


# %%
weighted_sum_backward = check("weighted_sum_backward", my_weighted_sum_backward)

# %% [markdown]
# ### Exercise: `scores_backward`
#
# Now the first step, $Z_{ts} = \frac{1}{\sqrt D} \sum_d Q_{td} K_{sd}$. Which entries of $Z$ use $Q_{td}$, and which use
# $K_{sd}$? Write the two sums, and read each as a matrix product.
#
# @hint A nudge
# $Q_{td}$ is used in row $t$ of $Z$, for every key $s$. $K_{sd}$ is used in column $s$ of $Z$, for every query $t$.
# @hint On paper
# $dQ_{td} = \frac{1}{\sqrt D} \sum_s dZ_{ts}\, K_{sd}\quad$ and $\quad dK_{sd} = \frac{1}{\sqrt D} \sum_t dZ_{ts}\, Q_{td} =
# \frac{1}{\sqrt D} \sum_t (dZ^T)_{st}\, Q_{td}$
# @hint Almost code
# ```python
# dq = (dscores @ …) * scale
# dk = (… @ q) * scale
# ```
# @end


# %% exercise="scores_backward"
def my_scores_backward(dscores, q, k, scale):
    """Go back through scores = scale · Q Kᵀ.

    Parameters
    ----------
    dscores : array (B, H, T, S)
    q : array (B, H, T, D)
    k : array (B, H, S, D)
    scale : float
        1/√D.

    Returns
    -------
    dq (B, H, T, D), dk (B, H, S, D)
    """
    # --- solution
    dq = (dscores @ k) * scale  # (B, H, T, S) @ (B, H, S, D)
    dk = (dscores.swapaxes(-1, -2) @ q) * scale  # (B, H, S, T) @ (B, H, T, D)
    return dq, dk
    # --- end


# %%
scores_backward = check("scores_backward", my_scores_backward)

# %% [markdown]
# ### Exercise: `attention_backward`
#
# Put the steps together, in reverse order. Published code has had unnoticed bugs in the first two of these points. The
# third is a line that you do *not* need to write.
#
# 1. $dK$ needs $dZ$ *transposed*, as you have proved. A `reshape` would give the right shape, but with the numbers in
#    the wrong places.
# 2. $dV$ needs the $P$ that was actually multiplied by $V$: the weights *after* dropout.
# 3. The mask needs no line of its own: where the mask is False, $P$ is 0, so $dZ$ is 0.
#
# The check takes your forward from above and this backward as a pair. It also uses a mask and dropout.
#
# @hint A nudge
# Start at the end of the forward: `weights @ v`.
# @hint Almost code
# ```python
# q, k, v, scale, softmax_cache, weights, dropout_p, dropout_cache = cache
# dweights, dv = weighted_sum_backward(…)
# dp = Dropout(dropout_p).backward(dweights, dropout_cache)
# dscores = softmax_backward(…)
# dq, dk = …
# return dq, dk, dv
# ```
# @end


# %% exercise="attention_backward"
def my_attention_backward(dout, cache):
    """Gradient of `attention`.

    Parameters
    ----------
    dout : array (B, H, T, D)
    cache
        From the forward.

    Returns
    -------
    dq (B, H, T, D), dk (B, H, S, D), dv (B, H, S, D)
    """
    # --- solution
    q, k, v, scale, softmax_cache, weights, dropout_p, dropout_cache = cache
    dweights, dv = weighted_sum_backward(dout, weights, v)  # (B, H, T, S), (B, H, S, D)
    dp = Dropout(dropout_p).backward(dweights, dropout_cache)
    dscores = softmax_backward(dp, softmax_cache)  # (B, H, T, S)
    dq, dk = scores_backward(dscores, q, k, scale)
    return dq, dk, dv
    # --- end


# %%
attention, attention_backward = check("attention_backward", my_attention, my_attention_backward)

# %% [markdown]
# ## 7 Heads
#
# One softmax is good at pointing at one position. But a position may need several pieces of information, such as the
# hero's name *and* the last verb. So the C channels are divided into H **heads** of $D = C/H$ channels, and each head
# computes its own attention, with its own weights. The scores cost no more: for each query and key there are H dot
# products of length D instead of one of length C.
#
# Channels 0 … D-1 belong to head 0, the next D channels to head 1, and so on. We go from (B, T, C) to (B, H, T, D) in
# two steps. First, split the channels: (B, T, H, D). This is a `reshape` that moves no number. Then swap positions and
# heads, so that the last two axes hold the (T, D) matrix of each head.
#
# Why can we not reshape to (B, H, T, D) directly? Because `reshape` keeps the numbers in the same order in memory, and
# only divides them in a different way:

# %%
x = np.array([[[1, 2, 3, 4], [11, 12, 13, 14], [21, 22, 23, 24]]])  # (1, 3, 4): T = 3 positions, C = 4 channels
print(
    "right: head 0 has the first two channels of every position\n", x.reshape(1, 3, 2, 2).swapaxes(1, 2)[0, 0].tolist()
)
print("wrong: head 0 has all channels of the first one and a half positions\n", x.reshape(1, 2, 3, 2)[0, 0].tolist())

# %% [markdown]
# Both results pass every test of shapes.
#
# ### Exercise: `heads`
#
# Write two functions, each the inverse of the other.
#
# @hint A nudge
# Merging undoes the two steps in the opposite order: first swap back, then reshape.
# @hint The formula
# (B, T, C) → (B, T, H, D) → (B, H, T, D), and back: (B, H, T, D) → (B, T, H, D) → (B, T, C)
# @hint Almost code
# ```python
# B, T, C = x.shape
# return x.reshape(B, T, n_head, …).swapaxes(…, …)
# ```
# and
# ```python
# B, H, T, D = x.shape
# return x.swapaxes(…, …).reshape(B, T, …)
# ```
# @end


# %% exercise="heads"
def my_split_heads(x, n_head):
    """(B, T, C) -> (B, H, T, D): channel c belongs to head c // D."""
    # --- solution
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).swapaxes(1, 2)  # (B, T, H, D) -> (B, H, T, D)
    # --- end


def my_merge_heads(x):
    """(B, H, T, D) -> (B, T, C), the inverse of split_heads."""
    # --- solution
    B, H, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * D)  # (B, T, H, D) -> (B, T, C)
    # --- end


# %%
split_heads, merge_heads = check("heads", my_split_heads, my_merge_heads)

# %% [markdown]
# Both functions only move numbers. Their backward moves the gradients back. So the backward of `split_heads` is
# `merge_heads`, and the backward of `merge_heads` is `split_heads`.
#
# ## 8 The layer
#
# Now we put the parts together, as in GPT-2. One linear layer, `c_attn`, computes queries, keys and values at once, C →
# 3C (the first C columns are Q, the next C are K, the last C are V). Then we split them into heads, compute attention
# with the causal mask, and merge the heads. A second linear layer, `c_proj`, combines the outputs of the heads.
#
# ### Exercise: `CausalSelfAttention`
#
# @hint A nudge, forward
# `np.split(qkv, 3, axis=-1)` cuts (B, T, 3C) into three arrays (B, T, C).
# @hint A nudge, backward
# Go through the forward in reverse: c_proj; split (the backward of merge); attention; merge (the backward of split) for
# each of dq, dk and dv; concatenate the three; c_attn.
# @hint Almost code, forward
# ```python
# T = x.shape[1]
# qkv, c_attn_cache = self.c_attn.forward(x)                        # (B, T, 3C)
# q, k, v = (split_heads(part, self.n_head) for part in np.split(qkv, 3, axis=-1))
# out, attention_cache = attention(q, k, v, causal_mask(T, T), self.dropout, rng)
# y, c_proj_cache = …
# return y, (c_attn_cache, attention_cache, c_proj_cache)
# ```
# @hint Almost code, backward
# ```python
# c_attn_cache, attention_cache, c_proj_cache = cache
# dout = split_heads(…, self.n_head)                                # (B, H, T, D)
# dq, dk, dv = attention_backward(dout, attention_cache)
# dqkv = np.concatenate([merge_heads(part) for part in (dq, dk, dv)], axis=-1)
# return …
# ```
# @end


# %% exercise="CausalSelfAttention"
class MyCausalSelfAttention(Module):
    """Multi-head self-attention in which no position sees a later one."""

    def __init__(self, n_embd, n_head, dropout=0.0, bias=True, *, proj_std=0.02, rng=None, dtype=np.float32):
        self.n_head = n_head
        self.dropout = dropout
        self.c_attn = Linear(n_embd, 3 * n_embd, bias, rng=rng, dtype=dtype)
        self.c_proj = Linear(n_embd, n_embd, bias, std=proj_std, rng=rng, dtype=dtype)

    def forward(self, x, rng=None):
        """x (B, T, C) -> (B, T, C); attention weights are dropped out if ``rng`` is given."""
        # --- solution
        T = x.shape[1]
        qkv, c_attn_cache = self.c_attn.forward(x)  # (B, T, 3C)
        q, k, v = (split_heads(part, self.n_head) for part in np.split(qkv, 3, axis=-1))  # (B, H, T, D) each
        out, attention_cache = attention(q, k, v, causal_mask(T, T), self.dropout, rng)  # (B, H, T, D)
        y, c_proj_cache = self.c_proj.forward(merge_heads(out))  # (B, T, C)
        return y, (c_attn_cache, attention_cache, c_proj_cache)
        # --- end

    def backward(self, dy, cache):
        """dy (B, T, C) -> dx (B, T, C)."""
        # --- solution
        c_attn_cache, attention_cache, c_proj_cache = cache
        dout = split_heads(self.c_proj.backward(dy, c_proj_cache), self.n_head)  # (B, H, T, D)
        dq, dk, dv = attention_backward(dout, attention_cache)
        dqkv = np.concatenate([merge_heads(part) for part in (dq, dk, dv)], axis=-1)  # (B, T, 3C)
        return self.c_attn.backward(dqkv, c_attn_cache)
        # --- end


# %%
CausalSelfAttention = check("CausalSelfAttention", MyCausalSelfAttention)

# %% [markdown]
# Is the layer causal? Change the last position, and see which outputs change.

# %%
layer = CausalSelfAttention(12, 3, rng=rng, dtype=np.float64)
x = rng.standard_normal((1, 5, 12))
changed = x.copy()
changed[0, 4] += 1
difference = np.abs(layer.forward(x)[0] - layer.forward(changed)[0]).max(axis=-1)
print("change of the output at positions 0 … 4:", difference[0])

# %% [markdown]
# Only the last output has changed. So no earlier position has seen the change.
#
# ## 9 Look at the attention weights
#
# Put your layer into the storyteller, and look at the weights $P$ of its second block while the model reads a sentence.
# Each row is a position, and its colors show where that position looks. We name a head by its block and its number,
# both counted from 0, as lesson 11 does: head 1.3 is the last of the four heads in the second block.

# %%
gpt, tokenizer = storyteller()
mine = swap(gpt, CausalSelfAttention=CausalSelfAttention)
sentence = "Long ago, a little mouse made a home by the old mill. Her name was Tess. Tess"
ids = np.array([[tokenizer.end_id, *tokenizer.encode(sentence)]])
names = ["<|end|>"] + [tokenizer.decode([i]).replace(" ", "␣") for i in ids[0, 1:]]

tokens, _ = mine.wte.forward(ids)
positions, _ = mine.wpe.forward(np.arange(ids.shape[1]))
x, _ = mine.h[0].forward(tokens + positions)
normed, _ = mine.h[1].ln_1.forward(x)  # GPT-2's names; lesson 07 puts the parts together
qkv, _ = mine.h[1].attn.c_attn.forward(normed)
H = gpt.config.n_head
q, k, _ = (split_heads(part, H) for part in np.split(qkv, 3, axis=-1))
T = len(names)
scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + np.where(causal_mask(T, T), 0, -np.inf)
P = softmax(scores.astype(np.float64))[0][0]  # (H, T, T)

fig, axes = plt.subplots(1, 2, figsize=(10, 5.2))
for ax, head in zip(axes, (0, 3), strict=True):
    image = heatmap(ax, P[head], names, names, title=f"head 1.{head}", xlabel="looked at")
    ax.tick_params(labelsize=7)
axes[0].set_ylabel("looking")
fig.colorbar(image, label="weight", shrink=0.6)
plt.show()

# %% [markdown]
# Head 1.0 spreads its weight over many positions; head 1.3 often points at one. Look at the row of "was", where the model
# must predict the hero's name. There, head 1.3 looks at "␣m", the beginning of "mill". In these stories each animal lives
# in its own place, so the place determines the name, and this head has learned to look at the place. No rule told it to
# do so: it learned this from gradients like the one you have just written. Lesson 11 looks at such pictures more
# closely, and discusses what they do not prove.
#
# The model also writes with your attention layer in it:

# %%
out = list(mine.generate(ids[0], 40, temperature=0.7, rng=np.random.default_rng(2)))
print(sentence + tokenizer.decode(out))

# %% [markdown]
# ## What you can do now
#
# - explain queries, keys, values, the scale, the mask and the heads, and say what would go wrong without each of them;
# - derive the gradient of softmax from its Jacobian;
# - prove the gradient of a matrix product with indices;
# - write attention and its gradient, and name the usual mistakes.
#
# ## 小结
#
# 注意力是加权平均：查询（query）与每个键（key）做点积，除以 √D，经 softmax 成为权重，再对值（value）求平均。因果掩码让每个位置看不到后面的词。
# softmax 的梯度是 dz = p·(dp - Σ dp p)；dK 要用 dZ 的转置；dV 要用 dropout 之后的权重。多头就是把 C 个通道分成 H 份，
# 各做各的注意力。reshape 从不移动内存里的数，所以分头要先 reshape 再交换两个轴。
#
# ## Three questions
#
# @answer The gradient of a key's bias (the middle third of c_attn.bias) is always zero. Why?
# The bias adds the same vector b to all keys. So all scores of query t rise by the same amount, q_t · b, and softmax
# ignores a constant. Therefore the loss does not depend on this bias.
# @answer How do time and memory of attention grow with the length T of the text?
# The scores have shape (T, T) for each head, so both time and memory grow with T². The linear layers grow only with T.
# For short texts the linear layers cost more, and for long texts attention costs more.
# @answer A model is trained without the causal mask by mistake. Its training loss falls far below the entropy of the text. What does it write?
# It writes nonsense. The model has learned to copy the next token from the position after the current one. When it
# writes, there is no such position. A loss that is lower than possible is the sign of a leak.
# @end
