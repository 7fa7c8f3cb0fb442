# %% [markdown]
# # 12 · Bug hunt
#
# This lesson has ten layers with one bug each. They are bugs that people really write. Models with these bugs still
# train, and a loss curve hardly ever reveals them. You find each bug, say how it hides, and fix it.
#
# **You need:** lessons 02 to 07 (every layer of a GPT and its backward), and lesson 03 above all (where wrong gradients
# hide). **Time:** two hours. **You will write:** ten lines, if you find the right places.

# %%
import copy
import math
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

import numpylm
from numpylm import AdamW, CharTokenizer, clip_grad_norm, gelu, gelu_backward
from numpylm.course import check, heatmap, stories, style
from numpylm.system.processor import set_blas_threads
from numpylm.zoo import World, get

plt = style()
rng = np.random.default_rng(0)
_ = set_blas_threads(1)  # the models here are so small that one thread is fastest

# %% [markdown]
# The faulty layers are numpylm's layers with one change each, so they need the same imports:

# %%
from numpylm import (
    GPT,
    Block,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
    softmax,
    softmax_backward,
)
from numpylm.models.gpt import HiddenCache
from numpylm.models.stack import full_cache, run_block
from numpylm.nn.attention import AttentionCache, Past, merge_heads, split_heads
from numpylm.nn.blocks import BlockCache
from numpylm.nn.functional import IGNORE_INDEX, cross_entropy_backward, dropout, dropout_backward
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.module import Array, Cache, check_last_axis
from numpylm.nn.packing import checked_segments

# %% [markdown]
# ## 1 Eleven runs
#
# numpylm has a *zoo* of faulty layers. Each has one small bug, and is named after an animal. `World(get("otter"))` is
# numpylm with the otter's bug, and `World()` is numpylm without a bug. The next cell trains eleven small GPTs on the
# same batches, from the same initial weights. One of them is right, and ten have a bug. The training is ordinary: it
# uses dropout, padded texts of different lengths, and batches that are computed in two parts, whose gradients are
# added.

# %%
animals = ("otter", "gecko", "shrew", "kiwi", "kea", "ocelot", "serval", "tamarin", "kudu", "takin")
text = "".join(stories(300_000))
tokenizer = CharTokenizer.train(text)
ids = np.array(tokenizer.encode(text))
train, validation = ids[:270_000], ids[270_000:]
V, T = tokenizer.vocab_size, 32


def batch(data, B, draw):
    """B pieces of text of up to T characters, and their targets; the target is -100 after the end of a piece."""
    start = draw.integers(0, len(data) - T - 1, B)
    window = data[start[:, None] + np.arange(T + 1)]  # (B, T + 1)
    x, y = window[:, :-1], window[:, 1:].copy()
    length = draw.integers(T // 2, T + 1, B)
    y[np.arange(T) >= length[:, None]] = -100
    return x, y


def fit(world, steps=150):
    """Training losses of a small GPT of that world, and its loss on validation text, in nats per character."""
    draw = np.random.default_rng(1)
    gpt = world.GPT(world.GPTConfig(V, T, n_layer=2, n_head=2, n_embd=32, dropout=0.1), np.random.default_rng(2))
    optimizer = AdamW(gpt.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        gpt.zero_grad()
        parts = [gpt.loss_and_grad(*batch(train, 8, draw), draw) for _ in range(2)]
        clip_grad_norm(gpt.parameters(), 1.0)
        optimizer.step()
        losses.append(np.mean(parts))
    return losses, gpt.loss(*batch(validation, 400, np.random.default_rng(3)))


runs = {"right": fit(World())}
for animal in tqdm(animals, leave=False):
    runs[animal] = fit(World(get(animal)))

fig, axes = plt.subplots(figsize=(7, 3.6))
for losses, _ in runs.values():
    axes.plot(np.convolve(losses, np.ones(10) / 10, "valid"), color="#3b82f6", linewidth=0.8)
axes.set(xlabel="step", ylabel="training loss (nats per character)", title="eleven runs, each a mean over 10 steps")
plt.show()

# %% [markdown]
# All eleven models learn. One curve is too high, and another rises at the end. In these two cases, you might start to
# look for a reason (the learning rate? the seed?). If you saw only one of the other nine curves, you would suspect
# nothing. But eight of the nine have a bug. Section 13 says which ones. First we look for the bugs where we can find
# them: in the layers, and not in the curves.

# %% [markdown]
# ## 2 How to hunt
#
# **First, use a check that can fail.** Lesson 03 has the list: random parameters, dropout on, a random upstream
# gradient, repeated ids and padding, and gradients that do not start at zero. Also use sizes that are all different,
# such as 2, 5, 3, 4, 12 and 11 for B, T, H, D, C and V. `numpylm.gradcheck` does most of this for you. You choose the
# sizes and the inputs.
#
# **Second, read the evidence.** The way in which a gradient is wrong tells you something about the bug. Ask three
# questions:
#
# - What is the *cosine* of the given gradient with the true one,
#   $\frac{\langle \text{given},\, \text{true} \rangle}{|\text{given}| \, |\text{true}|}$?
#   It is 1 if the direction is right, even if the length is wrong.
# - What is the *factor*, given / true? Is it the same everywhere?
# - *Which* rows are right?
#
# Five animals that are not among the ten show typical results. Here, `true` comes from the right layer. If you have no
# right layer to compare with, use numerical differences.


# %%
def gradients(world, kind, x):
    """Gradients of a layer of that world, for the same weights and the same upstream gradient in every world."""
    sizes = {"Linear": (12, 11), "Embedding": (11, 12), "LayerNorm": (12,)}
    layer = getattr(world, kind)(*sizes[kind], dtype=np.float64)
    for p in layer.parameters():
        p.data = np.random.default_rng(1).standard_normal(p.shape)
    out, cache = layer.forward(x)
    dx = layer.backward(np.random.default_rng(2).standard_normal(out.shape), cache)
    return {"x": dx} | {name: p.grad for name, p in layer.named_parameters()}


x = rng.standard_normal((2, 5, 12))
ids = np.array([[3, 0, 3, 7, 1], [9, 3, 5, 0, 6]])
cases = (
    ("marten", "Linear", "bias", x),
    ("dingo", "Linear", "bias", x),
    ("lemur", "Linear", "weight", x),
    ("weka", "LayerNorm", "x", x),
    ("numbat", "Embedding", "weight", ids),
)
print("                         cosine   given / true        rows that are right")
for animal, kind, array, value in cases:
    given = gradients(World(get(animal)), kind, value)[array]
    true = gradients(World(), kind, value)[array]
    cosine = np.vdot(given, true) / (np.linalg.norm(given) * np.linalg.norm(true))
    factor = given[true != 0] / true[true != 0]
    rows = np.isclose(given, true).reshape(-1, true.shape[-1]).all(axis=1)
    print(f"{animal:7} {kind:9} {array:6} {cosine:7.3f} {factor.min():8.2f} to {factor.max():6.2f}", end="")
    print(f" {rows.sum():8} of {len(rows)}")

# %% [markdown]
# | what you see | the usual reason |
# | --- | --- |
# | cosine 1, the same factor everywhere (marten: 0.1) | an extra or a missing count or root. Find out which: here 10 is B · T |
# | cosine -1 | a sign |
# | cosine from 0.3 to 0.99, every row wrong (dingo, weka) | a missing term, or a part of a sum |
# | cosine near 0 (lemur) | the right numbers in the wrong places: `reshape` for a transpose, a wrong order |
# | some rows are right (numbat) | find out what the other rows have in common |
# | right at first, wrong with dropout, other weights, or a second call | it depends on what you changed |
#
# A plot helps when only some rows are right. Here is the embedding of the numbat, with the ids from above.

# %%
given, true = (
    gradients(World(get("numbat")), "Embedding", ids)["weight"],
    gradients(World(), "Embedding", ids)["weight"],
)
fig, axes = plt.subplots(1, 3, figsize=(8.5, 3.3), sharey=True)
for ax, values, title in zip(axes, (true, given, given - true), ("true", "given", "given - true"), strict=True):
    image = heatmap(ax, values, title=title, xlabel="channel", limit=4)
    ax.set_xticks(range(0, 12, 2))
axes[0].set_ylabel("row of the table (token id)")
fig.colorbar(image, ax=axes, label="gradient of weight")
plt.show()
values, counts = np.unique(ids, return_counts=True)
print("ids that occur more than once:", values[counts > 1])

# %% [markdown]
# **Third, bisect.** A model consists of layers. Check each layer alone. If one of them fails, look inside it. If *all*
# of them pass but the whole fails, the bug is in the code that connects them, in the backward of the whole: the order,
# the caches, a residual connection, or an operation that is not a layer. Here is a block with a bug somewhere inside.

# %%
block = World(get("howler")).Block(12, 3)
parts = {
    "block": block,
    "ln_1": block.ln_1,
    "attn": block.attn,
    "ln_2": block.ln_2,
    "mlp": block.mlp,
    "mlp.c_fc": block.mlp.c_fc,
    "gelu": (gelu, gelu_backward),
    "mlp.c_proj": block.mlp.c_proj,
}
for name, part in parts.items():
    report = numpylm.gradcheck(part, rng.standard_normal((2, 5, 48 if name == "mlp.c_proj" else 12)), diagnose=False)
    print(f"{name:12} {'ok' if report.ok else 'WRONG'}")

# %% [markdown]
# The block is wrong. Of its four layers, only the MLP is wrong. Both linear layers of the MLP are right, and so is
# GELU. So the bug must be in the few lines of `MLP.backward` that call them. And it is: `MLP.backward` never calls
# `gelu_backward` (`numpylm gradcheck --zoo howler` shows the code). We found it in three steps, without reading two
# hundred lines.
#
# **Fourth, change one line, and check again.** Never change two lines at once.
#
# ### The rules
#
# Each of the next ten exercise cells has a layer with exactly one bug, in one line. (The kea's bug is in a pair of
# lines that belong together.) Each layer is a subclass of the right layer, such as `class MyLinear(Linear)`. It shows
# only `forward` and `backward`. The rest is inherited, and right. Fix the cell, and run the check below it. The check
# says whether you changed anything, and if you did, what is still wrong. Before you open an answer, say in one sentence
# *what* is wrong and *which check would miss it*.
#
# Some names in the cells may be new to you. None of them is a bug, and neither are the checks of shapes and types
# (`raise ValueError`, `check_last_axis`, `_check_ids`).
#
# | name | what it is |
# | --- | --- |
# | `Array`, `Cache` | type names, for the reader only |
# | `past`, `Past`, `KVCache` | keys and values of earlier calls, for generation (lesson 10); during training, `past` is None |
# | `segments`, `checked_segments` | which text each token belongs to, if several short texts share a row; here None |
# | `attend`, `attend_backward` | the formula in each head: `scaled_dot_product_attention` and its backward |
# | `…Cache` | a tuple with named fields: what a forward keeps for its backward |
# | `dropout`, `dropout_backward` | the functions that the layer `Dropout` uses; the cache is the mask |
# | `self.embed(…)`, `self.head(…)` | in the GPT: the embeddings before the blocks, and the output layer; inherited, and right |
# | `run_block`, `full_cache` | a block's forward, and its cache (with `recompute`, blocks run again to save memory; off here) |
# | `frozen` | True for a parameter that is not trained; here no parameter is frozen |
# | `IGNORE_INDEX` | -100, the target of positions that are not counted |
# | `count=` | the number of targets in the mean, if it is not the number of counted targets here (for a batch in parts) |
# | `label_smoothing=` | a share of the target's probability that is given to all tokens; switched off here |
# | `np.vecdot(a, b)` | the sum of `a * b` over the last axis |
# | `np.einsum("nc,nc->c", a, b)` | the sum of `a * b` over the first axis |
# | `np.r_[True, a]` | `a` with `True` in front |
# | `np.flatnonzero(a)` | the indices where `a` is not 0 or False |
# | `np.add.reduceat(a, starts, axis=0)` | one sum for each run of rows: from each start to the next |
#
# Add your own cells for experiments. Here are inputs for them:

# %%
x = rng.standard_normal((2, 5, 12))  # (B, T, C)
ids = np.array([[3, 0, 3, 7, 1], [9, 3, 5, 0, 6]])  # (B, T)
logits = rng.standard_normal((2, 5, 11))  # (B, T, V)
targets = np.array([[0, 3, 7, -100, -100], [3, 5, 0, 6, 2]])  # (B, T)
q = rng.standard_normal((2, 3, 5, 4))  # (B, H, T, D)
k, v = rng.standard_normal((2, 2, 3, 7, 4))  # (B, H, S, D) each

# %% [markdown]
# After you have run the cell of an exercise, you can call the checker on it like this:
#
# ```python
# print(numpylm.gradcheck((my_softmax, my_softmax_backward), logits))
# print(numpylm.gradcheck(MyLinear(12, 11), x))
# print(numpylm.gradcheck((my_cross_entropy, cross_entropy_backward), logits, targets))
# print(numpylm.gradcheck(MyEmbedding(11, 12), ids))
# print(numpylm.gradcheck(MyLayerNorm(12), x))
# print(numpylm.gradcheck(MyDropout(0.3), x))
# print(numpylm.gradcheck((my_scaled_dot_product_attention, my_scaled_dot_product_attention_backward), q, k, v, dropout_p=0.3))
# heads = partial(my_multi_head, n_head=3), partial(my_multi_head_backward, n_head=3)
# print(numpylm.gradcheck(heads, x, x, x))
# print(numpylm.gradcheck(MyBlock(12, 3, 0.3), x))
# print(numpylm.gradcheck(MyGPT(numpylm.GPTConfig(11, 5, n_layer=2, n_head=3, n_embd=12)), ids))
# ```
#
# You can also read the checker's report for an animal in a terminal: `numpylm gradcheck --zoo otter --check`. But it is
# more fun without.

# %% [markdown]
# ## 3 The otter: a softmax
#
# A student wrote softmax and its backward from memory. The shapes are right, there is no NaN, and the model that uses
# it trains. Its loss ends a little above that of a friend's model. But the friend has a newer computer and other data,
# so the student does not suspect the softmax.
#
# @hint Where to look
# Every output of a softmax depends on every input of its row: if you raise one logit, all other probabilities fall. So
# `dx[j]` must depend on every `dp[i]` of its row. Does it?
# @hint What the checker says (shortened)
# "the gradient of x treats every place along axis 2 on its own, but in the forward they influence each other (as in
# softmax, where every output depends on every input of its row): the terms off the diagonal are missing."
# @hint The line
# It is the last line. With the Jacobian $\partial p_i / \partial x_j = p_i ([i = j] - p_j)$, dx has two terms. Only the
# first is there.
# @end

# %% zoo="otter" exercise="hunt_otter"

# %%
softmax, softmax_backward = check("hunt_otter", my_softmax, my_softmax_backward)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The second term of softmax's Jacobian is missing: - p_i p_j. The right code is `p * (dp - (dp * p).sum(axis=axis,
# keepdims=True))`.
#
# The shape is right, and often the sign of large entries, too. But the rows of a right gradient sum to 0, because
# raising all logits of a row changes nothing. These rows do not, so this sum alone would have been a good test.
# @end

# %% [markdown]
# ## 4 The gecko: a linear layer
#
# A batch of 32 does not fit into the memory of a laptop. So it is computed in four parts of 8, whose gradients are
# added. Up to rounding, this must give the same result as the whole batch. It does not: the model is worse than the one
# trained on the large machine. Yet the gradient of each part alone is right to ten digits.
#
# @hint Where to look
# What is different between the first part of a batch and the second?
# @hint What the checker says (shortened)
# "the gradient of weight is assigned (=) where it must be added (+=): what was there before, from another use of the
# parameter or another part of the batch, is lost."
# @hint The line
# `self.weight.grad = …`
# @end

# %% zoo="gecko" exercise="hunt_gecko"

# %%
Linear = check("hunt_gecko", MyLinear)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The gradient is assigned, not added. The right code is `+=`.
#
# It is right as long as the layer is used once and gradients are cleared before each step. Most checks work like this,
# and small models are trained like this. The gradient of the bias, in the next line, is added correctly, which makes
# this line look right, too.
# @end

# %% [markdown]
# ## 5 The shrew: a loss
#
# Texts have different lengths, so they are padded. The target of the padding is -100, which means that it is not
# counted. The reported loss is right to the last digit, with and without padding. The gradient passes a check on a
# batch of long texts. But the more short texts there are, the worse the model gets. Toward the end of its window it
# predicts the same token nearly everywhere.
#
# Here the forward also computes the gradient, because it already has all the values that it needs. The backward (the
# right one, not shown) only multiplies it by `dloss`.
#
# @hint Where to look
# The loss counts only some positions. Which positions does the gradient count?
# @hint What the checker says (shortened)
# "the gradient of logits is not zero at places where targets is -100 (2 places): the forward ignores them, so no gradient
# may come from there."
# @hint The line
# `weight = …` gives each position its share of the mean. What is the share of a position that is not counted?
# @end

# %% zoo="shrew" exercise="hunt_shrew"

# %%
cross_entropy = check("hunt_shrew", my_cross_entropy)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# Ignored positions get a gradient (toward token 0). The right code is `weight = (counted / max(n,
# 1)).astype(logits.dtype)`, which is 0 where `counted` is False.
#
# Without padding there are no ignored positions. And the loss cannot show the bug, because another line leaves these
# positions out of the loss. Why token 0? `y = np.where(counted, y, 0)` replaces -100 by 0, so that it can be used as an
# index. This does no harm as long as the weight of the position is 0.
# @end

# %% [markdown]
# ## 6 The kiwi: an embedding
#
# `np.add.at` was slow, so a programmer replaced it: sort the ids, so that equal ids are next to each other, and then
# sum each run with `np.add.reduceat`. This is four times as fast. The test compared the sum of the whole gradient with
# the old sum. They were equal to the last digit.
#
# @hint Where to look
# Take the ids [2, 0, 1], and follow the three gradients on paper. Into which row does the first one go?
# @hint What the checker says (shortened)
# "the gradient of weight mixes up places: what comes from output [0, 0] is put where the gradient from [1, 0]
# belongs (8 of 10 places are mixed up). Was one of two arrays sorted or shuffled, and the other not?"
# @hint The line
# The last one: `starts` says where the runs begin in the *sorted* order. In which order is `dy`?
# @end

# %% zoo="kiwi" exercise="hunt_kiwi"

# %%
Embedding = check("hunt_kiwi", MyEmbedding)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The ids were sorted, but their gradients were not, so each token gets the gradient of another. The right code is
# `np.add.reduceat(dy[order], starts, axis=0)`.
#
# The sum over all rows is right. No gradient is lost; it only goes to the wrong row. If a test can compare element by
# element, it should never compare sums. And the model still learns, because the table is also the output layer, and
# that part of the gradient is right.
# @end

# %% [markdown]
# ## 7 The kea: a layer norm
#
# The layer was checked on the day it was written, with an error of 1e-9. Weeks later, the author loads a trained model
# and checks the layer again, out of curiosity. The same code fails, although nothing was edited in between.
#
# @hint Where to look
# The code is the same, so the *weights* must make the difference. What is special about the first ones?
# @hint What the checker says (shortened)
# "the gradient of x is right at the initial values of the parameters and wrong at random ones (weight, bias, all equal at
# first): a parameter is missing in a product or a sum of backward, which does not show while it is 1 or 0."
# @hint The lines
# `g` is the gradient that arrives at $\hat{x}$, and $y = \gamma \cdot \hat{x} + \beta$. So $g = dy \cdot \gamma$. Where
# is the gain here, and where does it belong?
# @end

# %% zoo="kea" exercise="hunt_kea"

# %%
LayerNorm = check("hunt_kea", MyLayerNorm)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The gain is multiplied in after the two means instead of before them. The right code is `g = dy * self.weight.data`,
# with no `weight` in the last line.
#
# At the initial gain of 1, this makes no difference. A factor that differs from channel to channel cannot be pulled out
# of a mean over channels: $\text{mean}(dy \cdot \gamma) \neq \gamma \cdot \text{mean}(dy)$, unless all gains are equal.
# @end

# %% [markdown]
# ## 8 The ocelot: dropout
#
# The layer passes a gradient check with p = 0.3 and the same mask in every call. A model that uses one dropout layer
# once trains correctly. In the block, the same object is called twice (once after attention and once after the MLP),
# and there the gradients are wrong.
#
# @hint Where to look
# A layer of numpylm stores its parameters, and nothing from a call. Is this true here?
# @hint What the checker says (shortened)
# "the gradient of x is right if backward follows its forward directly, and wrong if another forward runs in between:
# something is kept on the layer (self.…) that belongs in the cache."
# @hint The line
# `backward` does not use its `cache`.
# @end

# %% zoo="ocelot" exercise="hunt_ocelot"

# %%
Dropout = check("hunt_ocelot", MyDropout)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The mask is stored on the layer, so a layer that is used twice keeps only the second mask. The right code is
# `dropout_backward(dy, cache)`. (Then `self.mask` in forward is not needed any more.)
#
# If the layer is used once, it is right. A check that runs forward, backward, forward, backward never finds the bug. So
# the checker runs *another* forward between a forward and its backward.
# @end

# %% [markdown]
# ## 9 The serval: attention
#
# The gradients of queries and keys are exact. The gradient of the values is also exact, in every test that the author
# wrote: with and without a mask, with as many keys as queries, and with more keys than queries. The tests had to be
# fast and repeatable, so they use no dropout.
#
# @hint Where to look
# $O = P V$, so $dV = P^\top dO$. With dropout, which $P$ is multiplied by $V$?
# @hint What the checker says (shortened)
# "the gradient of v is right without dropout and wrong with it: the backward must use the same mask (and the
# division by 1 - p) as its own forward, and the values after dropout where the forward uses them."
# @hint The line
# `dv = …`: what is `softmax_cache[0]`, and what is `weights`?
# @end

# %% zoo="serval" exercise="hunt_serval"

# %%
scaled_dot_product_attention, scaled_dot_product_attention_backward = check(
    "hunt_serval", my_scaled_dot_product_attention, my_scaled_dot_product_attention_backward
)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The gradient of the values uses the weights from before dropout. The right code is `dv = weights.swapaxes(-1, -2) @
# dout`.
#
# A check with p = 0 passes. And with p > 0 the error averages out, because the mean of `weights` is `p`. Such a
# gradient points roughly in the right direction, so training is hardly affected (section 13).
# @end

# %% [markdown]
# ## 10 The tamarin: attention in several heads
#
# Self-attention calls these two functions between its two linear layers, `c_attn` and `c_proj`. With one head, it passes
# every check. With three heads, the shapes are right, all matrices have the right size, and the loss falls. The scaled
# dot-product attention was checked alone, and it is right. So are both linear layers.
#
# @hint Where to look
# All parts pass, so the bug is in the code that connects them. In the forward, `split_heads` makes the heads and
# `merge_heads` merges them again. What does the backward use?
# @hint What the checker says (shortened)
# "the gradient of the output of c_attn, in each third of its last axis, with its last axis split into 3 heads of 4 has the
# right numbers in the wrong places: laid out as (B, H, T, D) they were reshaped to (B, T, H, D), where they must be
# transposed (swapaxes). reshape never moves a number in memory."
# @hint The line
# `return …`: `part` has the shape (B, H, T, D), and `reshape` makes (B, T, C) of it.
# @end

# %% zoo="tamarin" exercise="hunt_tamarin"

# %%
multi_head, multi_head_backward = check("hunt_tamarin", my_multi_head, my_multi_head_backward)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# (B, H, T, D) is reshaped to (B, T, C) without swapping heads and time back. The right code is `return
# merge_heads(dq), merge_heads(dk), merge_heads(dv)`.
#
# All shapes are right. B · H · T · D numbers fit into (B, T, C) in any order, and NumPy does not complain. With H = 1,
# or with T = 1, the two orders are the same. (In the forward, the same mistake is worse. The backward can be consistent
# with it, so that the gradients are right, but positions then see the future.)
# @end

# %% [markdown]
# ## 11 The kudu: a block
#
# Without dropout, the block passes. Dropout alone passes, even with another forward in between. With dropout in the
# block, the check fails: the gradients of the attention's weights are wrong, and those of the MLP's weights are right.
# The author reads the backward five times and finds nothing.
#
# @hint Where to look
# The gradients of the MLP are right, so everything up to there is right. Look at the next line, and at every name in
# it.
# @hint What the checker says (shortened)
# "Block.backward gives drop.backward the cache of another call of drop.forward, whose backward had run already: each
# backward needs the cache of its own forward."
# @hint The line
# `dattended = …`: which of the two dropout calls comes after the attention?
# @end

# %% zoo="kudu" exercise="hunt_kudu"

# %%
Block = check("hunt_kudu", MyBlock)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# Both dropouts go back through the mask of the second one. The right code is `self.drop.backward(dx, drop_1_cache)`.
#
# Without dropout there are no masks. Two caches of the same shape and type can be swapped without any error message.
# Name each cache after the call that made it, and unpack all caches in one line, as in this code. Even then, this
# mistake can happen.
# @end

# %% [markdown]
# ## 12 The takin: the whole model
#
# Every layer passes, and so does every block. A GPT with one block passes, too. With two or more blocks, the check
# fails. But the model trains, and it writes words.
#
# @hint Where to look
# What does a GPT with two blocks do that one with a single block does not?
# @hint What the checker says (shortened)
# "forward runs h.0 and then h.1, and so does backward. It must take them in the opposite order, h.1 first: the chain rule
# starts at the loss."
# @hint The line
# `for block, block_cache in …`
# @end

# %% zoo="takin" exercise="hunt_takin"

# %%
GPT = check("hunt_takin", MyGPT)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The backward visits the blocks in the order of the forward. The right code is `zip(reversed(self.h),
# reversed(block_caches), strict=True)`.
#
# With one block, nothing is wrong, and each block gets its own cache. Because of the residual connections, each block
# passes most of the gradient on unchanged. So even in the wrong order, every block gets a useful gradient.
# @end

# %% [markdown]
# ## 13 What each bug costs
#
# Here are the eleven runs from section 1, with their names.

# %%
order = sorted(runs, key=lambda name: runs[name][1])
cost = [runs[name][1] - runs["right"][1] for name in order]
fig, axes = plt.subplots(figsize=(7, 3.4))
axes.barh(order, cost)
for row, name in enumerate(order):
    axes.text(max(cost[row], 0), row, f" {cost[row]:.3f}", va="center")
axes.invert_yaxis()
axes.grid(False, axis="y")
axes.set(xlabel="validation loss above that of the right model (nats per character)")
plt.show()
print(f"validation loss of the right model after 150 steps: {runs['right'][1]:.3f} nats per character")

# %% [markdown]
# The curve that rises at the end is the takin's, and the curve that is too high is the shrew's. The other bugs cost
# less than 0.1 nats. Kea and serval cost almost nothing. (The longer the training, the more the kea costs, because its
# gain moves further away from 1.) A different learning rate or a smaller model can also cost a tenth of a nat. You
# would have trusted these curves, and looked for the missing tenth in the wrong place. That is why this course checks
# gradients.

# %% [markdown]
# ## 14 The other animals
#
# The zoo has 183 animals, including faulty optimizers and faulty gradient clipping. You can visit it from the terminal:
#
# ```
# numpylm gradcheck --zoo                  the list of all animals
# numpylm gradcheck --zoo civet            its code: where is the bug?
# numpylm gradcheck --zoo civet --check    what the checker says
# numpylm gradcheck --zoo civet --solve    the answer
# ```
#
# It also works from a notebook:

# %%
from numpylm.cli.main import main

for option in ("--check", "--solve"):
    main(["gradcheck", "--zoo", "civet", option])
    print()

# %% [markdown]
# Go through all of them, a few each day. When you can name the bug before the checker does, you can debug any code that
# computes a gradient.

# %% [markdown]
# ## What you can do now
#
# - write a check that fails for the right reason;
# - interpret a wrong gradient: its cosine, its factor, and which rows are right;
# - find a bug in a large model by bisection;
# - say which tests would miss a given bug.
#
# ## 小结
#
# 好的检查要为正确的理由而失败。错误的梯度会留下线索：与正确梯度的夹角、倍数、哪几行是对的。大模型里用二分法定位：
# 先查整体，再查一半。每种测试都有查不出的错误：初值全为 1 的增益、方阵、相同的序列长度。知道测试会漏掉什么，与测试本身同样重要。
#
# ## Three questions
#
# @answer The gradient of one bias is 0.25 times the true one, with cosine 1.000. B = 4, T = 6. What do you look for?
# Look for a factor of 1/B: a mean over the batch where there should be a sum, or a division by the batch size that was
# already done elsewhere. To confirm it, change B to 5, and see whether the factor becomes 0.2. If all sizes are
# different, the factor tells you which size it comes from.
# @answer Every layer of a model passes its check, and the whole fails. Where is the bug?
# It is in the code that connects the layers, that is, in the backward of the model or of a part that contains layers.
# Look for the order of the calls, a swapped or shared cache, a residual that is dropped or added twice, a missing
# function between two layers, or a weight used in two places. Or the bug is in a layer that passes only under the
# conditions of its own check, for example when it is used once, without dropout.
# @answer You changed a line and the check passes. Why does the check of this lesson also look at the forward?
# A gradient check only tests whether the backward matches the forward. You can also make them match by changing the
# forward. Then the gradient is right, but the layer computes something else.
# @end
