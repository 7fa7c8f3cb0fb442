# %% [markdown]
# # 12 · Bug hunt
#
# Ten layers, each with one bug. All ten are bugs that people really write, models with them train, and you would hardly
# ever see it from a loss curve. You find them, say how they hide, and mend them.
#
# **You need:** lessons 02 to 07 (every layer of a GPT and its backward), and lesson 03 above all (where wrong gradients
# hide). **Time:** two hours. **You will write:** ten lines, if you find the right ones.

# %%
import copy
import math
from typing import Any

import numpy as np
from tqdm import tqdm

import numpylm
from numpylm import AdamW, CharTokenizer, clip_grad_norm, gelu, gelu_backward
from numpylm.course import check, heatmap, stories, style
from numpylm.training.parallel import set_blas_threads
from numpylm.zoo import World, get

plt = style()
rng = np.random.default_rng(0)
_ = set_blas_threads(1)  # the models here are so small that one thread is fastest

# %% [markdown]
# The layers with bugs are ours with one thing changed, so they need what ours need:

# %%
from numpylm import (
    GPT,
    Block,
    CausalSelfAttention,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
    softmax,
    softmax_backward,
)
from numpylm.models.gpt import BlockInput, HiddenCache
from numpylm.nn.attention import AttentionCache, SelfAttentionCache, causal_mask, merge_heads, split_heads
from numpylm.nn.blocks import BlockCache
from numpylm.nn.fast_attention import KVCache
from numpylm.nn.functional import IGNORE_INDEX, cross_entropy_backward, dropout, dropout_backward
from numpylm.nn.module import Array, Cache, check_last_axis

# %% [markdown]
# ## 1 Eleven runs
#
# numpylm keeps a *zoo* of faulty layers, each with one small bug and named after an animal. `World(get("otter"))` is
# numpylm with the otter's bug in it, `World()` is numpylm as it is. Here are eleven small GPTs, trained on the same batches
# from the same initial weights: one is right, ten have a bug. The training is an ordinary one: dropout, texts of different
# lengths that are filled up with padding, and each batch computed in two parts whose gradients add up.

# %%
animals = ("otter", "gecko", "shrew", "kiwi", "kea", "ocelot", "serval", "tamarin", "kudu", "takin")
text = "".join(stories(300_000))
tokenizer = CharTokenizer.train(text)
ids = np.array(tokenizer.encode(text))
train, validation = ids[:270_000], ids[270_000:]
V, T = tokenizer.vocab_size, 32


def batch(data, B, draw):
    """B pieces of text of up to T characters, and their targets; -100 where a piece has ended."""
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
# All eleven learn. One curve is too high, another turns up at its end; there somebody might begin to look for a reason (the
# learning rate? the seed?). Whoever has only one of the other nine would suspect nothing. Eight of them have a bug. Which
# ones, section 13 tells. First find the bugs where they can be found: not in the curves, but in the layers.

# %% [markdown]
# ## 2 How to hunt
#
# **First, a check that can fail.** Lesson 03 has the list: random parameters, dropout on, a random upstream gradient,
# repeats and padding, gradients that are not zero at first. And sizes that are all different, such as 2, 5, 3, 4, 12 and 11
# for B, T, H, D, C and V. `numpylm.gradcheck` sees to most of it; the sizes and the inputs are yours.
#
# **Second, read the evidence.** A wrong gradient is not just wrong, it is wrong in a certain way. Ask three questions:
#
# - What is the *cosine* of the given gradient with the true one,
#   $\frac{\langle \text{given},\, \text{true} \rangle}{|\text{given}| \, |\text{true}|}$?
#   It is 1 if the direction is right, whatever the length.
# - What is the *factor*, given / true? The same everywhere?
# - *Which* rows are right?
#
# Five animals that are not among the ten show what to expect. `true` comes from our own layer here. When you have no right
# one to compare with, it comes from differences.


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
# | what one sees | what it usually is |
# | --- | --- |
# | cosine 1, the same factor everywhere (marten: 0.1) | a count or a root too much or too little. Ask which: 10 is B · T |
# | cosine -1 | a sign |
# | cosine from 0.3 to 0.99, every row wrong (dingo, weka) | a term is missing, or a part of the sum |
# | cosine near 0 (lemur) | the right numbers in the wrong places: `reshape` for a transpose, a wrong order |
# | some rows are right (numbat) | what do the others have in common? |
# | right at first, wrong with dropout, other weights, a second call | what is it that was changed? |
#
# A picture helps with the last but one. The numbat's embedding got the ids above.

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
# **Third, bisect.** A model is made of layers. Check each alone: if one of them fails, go into that one. If *all* pass and
# the whole does not, then the bug is in what connects them, in the backward of the whole: the order, the caches, a
# residual, something that is not a layer. Here is a block with a bug somewhere inside.

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
# The block is wrong. Of its four layers only the MLP is. Both of the MLP's linear layers are right, and so is GELU. So it
# must be in the few lines of `MLP.backward` that call them, and there it is: it never calls `gelu_backward`
# (`numpylm gradcheck --zoo howler` shows it). Three steps instead of two hundred lines.
#
# **Fourth, change one line, and check again.** Not two.
#
# ### The rules
#
# Each of the next ten cells holds a layer with exactly one bug, in one line. (The kea's is a pair of lines that belong
# together.) Layers are children of ours, `class MyLinear(Linear)`, and show only `forward` and `backward`; the rest is
# inherited and right. Mend the cell, and run the check below it. It tells you whether you changed anything, and if you did,
# what is still wrong. Before you open an answer, say in a sentence *what* is wrong and *which check would not see it*.
#
# Some things in the cells may be new to you. None of them is a bug, and neither are the checks of shapes and types (`raise
# ValueError`, `check_last_axis`, `_check_ids`).
#
# | name | what it is |
# | --- | --- |
# | `Array`, `Cache` | names of types, for the reader only |
# | `past`, `KVCache` | keys and values of earlier calls, for writing text (lesson 10); while training it is None |
# | `attend`, `attend_backward` | in the attention layer: `scaled_dot_product_attention` and its backward |
# | `…Cache` | a tuple whose parts have names: what a forward leaves for its backward |
# | `dropout`, `dropout_backward` | the operation behind the layer `Dropout`; its cache is the mask |
# | `self.embed(…)`, `self.head(…)` | in the GPT: what comes before the blocks, and the output layer; inherited, and right |
# | `recompute`, `BlockInput` | a way to save memory, off here: blocks are computed again in the backward |
# | `frozen` | whether training leaves a parameter as it is; here none is |
# | `IGNORE_INDEX` | -100, the target that means: do not count |
# | `count=` | how many targets the mean is over, if not those that are counted here (a batch in parts) |
# | `np.vecdot(a, b)` | the sum of `a * b` over the last axis |
# | `np.einsum("nc,nc->c", a, b)` | the sum of `a * b` over the first axis |
# | `np.r_[True, a]` | `a` with `True` in front |
# | `np.flatnonzero(a)` | the places where `a` is not 0 or False |
# | `np.add.reduceat(a, starts, axis=0)` | one sum for each run of rows: from each start to the next |
#
# Use cells of your own for experiments. Here are inputs for them:

# %%
x = rng.standard_normal((2, 5, 12))  # (B, T, C)
ids = np.array([[3, 0, 3, 7, 1], [9, 3, 5, 0, 6]])  # (B, T)
logits = rng.standard_normal((2, 5, 11))  # (B, T, V)
targets = np.array([[0, 3, 7, -100, -100], [3, 5, 0, 6, 2]])  # (B, T)
q = rng.standard_normal((2, 3, 5, 4))  # (B, H, T, D)
k, v = rng.standard_normal((2, 2, 3, 7, 4))  # (B, H, S, D) each

# %% [markdown]
# And this is how the check is called on each kind of thing, once its cell has run:
#
# ```python
# print(numpylm.gradcheck((my_softmax, my_softmax_backward), logits))
# print(numpylm.gradcheck(MyLinear(12, 11), x))
# print(numpylm.gradcheck((my_cross_entropy, cross_entropy_backward), logits, targets))
# print(numpylm.gradcheck(MyEmbedding(11, 12), ids))
# print(numpylm.gradcheck(MyLayerNorm(12), x))
# print(numpylm.gradcheck(MyDropout(0.3), x))
# print(numpylm.gradcheck((my_scaled_dot_product_attention, my_scaled_dot_product_attention_backward), q, k, v, dropout_p=0.3))
# print(numpylm.gradcheck(MyCausalSelfAttention(12, 3), x))
# print(numpylm.gradcheck(MyBlock(12, 3, 0.3), x))
# print(numpylm.gradcheck(MyGPT(numpylm.GPTConfig(11, 5, n_layer=2, n_head=3, n_embd=12)), ids))
# ```
#
# Or read the checker's words for an animal in a terminal: `numpylm gradcheck --zoo otter --check`. It is more fun without.

# %% [markdown]
# ## 3 The otter: a softmax
#
# Somebody wrote softmax and its backward from memory. The shapes are right, there is no NaN, and the model that uses it
# trains. It ends a little above a friend's, but the friend has a newer computer and other data, and nobody thinks of the
# softmax.
#
# @hint Where to look
# Every output of a softmax depends on every input of its row: raise one logit, and all other probabilities fall. So `dx[j]`
# must depend on every `dp[i]` of its row. Does it?
# @hint What the checker says (shortened)
# "the gradient of x treats every place along axis 2 on its own, but in the forward they influence each other (as in
# softmax, where every output depends on every input of its row): the terms off the diagonal are missing."
# @hint The line
# The last one. With the Jacobian $\partial p_i / \partial x_j = p_i ([i = j] - p_j)$, dx has two terms. Only the first is
# there.
# @end

# %% zoo="otter" exercise="hunt_otter"

# %%
softmax, softmax_backward = check("hunt_otter", my_softmax, my_softmax_backward)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The second half of softmax's Jacobian is missing: - p_i p_j. Right is `p * (dp - (dp * p).sum(axis=axis, keepdims=True))`.
#
# The shape is right, and the sign of large entries often too. But the rows of a right gradient sum to 0 (raising all logits
# of a row changes nothing), and these do not. That alone would have been a test.
# @end

# %% [markdown]
# ## 4 The gecko: a linear layer
#
# A batch of 32 does not fit into the memory of a laptop. So it is computed in four parts of 8, whose gradients add up; this
# must give the same as the whole, up to rounding. It does not: the model is worse than the one from the large machine. Yet
# each part's gradient, looked at alone, is right to ten digits.
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
# The gradient is assigned, not added. Right is `+=`.
#
# It is right as long as the layer is used once and gradients are cleared before each step. That is how almost everybody
# checks and how small models train. The bias beside it is added as it should be, which makes the line look right.
# @end

# %% [markdown]
# ## 5 The shrew: a loss
#
# Texts have different lengths, so they are filled up with padding, and the target there is -100: do not count. The reported
# loss is right to the last digit, with and without padding. The gradient passes a check on a batch of long texts. But the
# more short texts there are, the worse the model gets, and towards the end of its window it expects the same token nearly
# everywhere.
#
# Here the forward makes the gradient as well, while it has all that it takes; the backward (ours, not shown) only multiplies
# it by `dloss`.
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
# Ignored positions get a gradient (towards token 0). Right is `weight = (counted / max(n, 1)).astype(logits.dtype)`: 0
# where `counted` is False.
#
# Without padding there are none. And the loss cannot show it, because there the positions that are not counted are left out
# by another line. Why token 0? `y = np.where(counted, y, 0)` puts a harmless 0 in the place of -100, so that it can be used
# as an index; harmless only as long as its weight is 0.
# @end

# %% [markdown]
# ## 6 The kiwi: an embedding
#
# `np.add.at` was slow, so somebody replaced it: sort the ids, so that equal ones stand next to each other, then sum each
# run with `np.add.reduceat`. Four times as fast. The test compared the sum of the whole gradient with the old one: equal to
# the last digit.
#
# @hint Where to look
# Take ids [2, 0, 1] and follow the three gradients with a pencil. Into which row does the first one go?
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
# The ids were sorted, their gradients were not: tokens get each other's. Right is `np.add.reduceat(dy[order], starts,
# axis=0)`.
#
# The sum over all rows is right. Nothing is lost, it only arrives at the wrong address. A test should never compare sums of
# what it can compare element by element. And the model still learns, since the table is also the output layer, whose half
# of the gradient is right.
# @end

# %% [markdown]
# ## 7 The kea: a layer norm
#
# The layer was checked on the day it was written: error 1e-9, done. Weeks later somebody loads a trained model and checks
# it again, out of curiosity. The same code fails. Nothing was edited in between.
#
# @hint Where to look
# The code is the same, so the *weights* must make the difference. What is special about the first ones?
# @hint What the checker says (shortened)
# "the gradient of x is right at the initial values of the parameters and wrong at random ones (weight, bias, all equal at
# first): a parameter is missing in a product or a sum of backward, which does not show while it is 1 or 0."
# @hint The lines
# `g` is the gradient that arrives at $\hat{x}$, and $y = \gamma \cdot \hat{x} + \beta$. So $g = dy \cdot \gamma$: where is
# the gain here, and where does it belong?
# @end

# %% zoo="kea" exercise="hunt_kea"

# %%
LayerNorm = check("hunt_kea", MyLayerNorm)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The gain is multiplied in after the two means instead of before. Right is `g = dy * self.weight.data`, and no `weight` in
# the last line.
#
# At the initial gain of 1 it makes no difference. A factor that differs from channel to channel cannot be pulled out of a
# mean over channels: $\text{mean}(dy \cdot \gamma) \neq \gamma \cdot \text{mean}(dy)$, unless all gains are equal.
# @end

# %% [markdown]
# ## 8 The ocelot: dropout
#
# It passes a gradient check with p = 0.3 and the same mask in every call. A model with one dropout layer in one place
# trains as it should. In the block, where the same object is called twice (once after attention, once after the MLP), the
# gradients are wrong.
#
# @hint Where to look
# A layer of numpylm keeps its parameters, and nothing of a call. Is that so here?
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
# The mask is kept on the layer; a layer used twice has one mask left. Right is `dropout_backward(dy, cache)`. (`self.mask`
# in forward is then of no use, and can go.)
#
# Used once, it is right. A check that runs forward, backward, forward, backward never notices. So the checker runs
# *another* forward between the two.
# @end

# %% [markdown]
# ## 9 The serval: attention
#
# The gradients of queries and keys are exact. That of the values is exact, too, in every test that the author wrote: with
# and without a mask, with as many keys as queries and with more of them. Tests should be quick and repeatable, so there is
# no dropout in them.
#
# @hint Where to look
# $O = P V$, so $dV = P^\top dO$. With dropout, which $P$ was multiplied by $V$?
# @hint What the checker says (shortened)
# "the gradient of v is right without dropout and wrong with it: the backward must use the same mask (and the
# division by 1 - p) as its own forward, and the values after dropout where the forward uses them."
# @hint The line
# `dv = …`: what is `softmax_cache[0]`, and what is `dropped`?
# @end

# %% zoo="serval" exercise="hunt_serval"

# %%
scaled_dot_product_attention, scaled_dot_product_attention_backward = check(
    "hunt_serval", my_scaled_dot_product_attention, my_scaled_dot_product_attention_backward
)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# The values' gradient uses the weights from before dropout. Right is `dv = dropped.swapaxes(-1, -2) @ dout`.
#
# A check with p = 0 passes. And with p > 0 the error averages out: `dropped` is `p` in the mean. Such a gradient points
# roughly the right way, and training hardly suffers (section 13).
# @end

# %% [markdown]
# ## 10 The tamarin: self-attention
#
# With one head it passes every check. With three heads the shapes are right, all matrices are of the right size, the loss
# falls. The scaled dot product alone was checked, and is right. So are both linear layers.
#
# @hint Where to look
# All parts pass, so it is in what connects them. In the forward, heads are made by `split_heads` and undone by
# `merge_heads`. Write the same list for the backward.
# @hint What the checker says (shortened)
# "the gradient of the output of c_attn, in each third of its last axis, with its last axis split into 3 heads of 4 has the
# right numbers in the wrong places: laid out as (B, H, T, D) they were reshaped to (B, T, H, D), where they must be
# transposed (swapaxes). reshape never moves a number in memory."
# @hint The line
# `dqkv = …`: `part` has the shape (B, H, T, D), and `dy.shape` is (B, T, C).
# @end

# %% zoo="tamarin" exercise="hunt_tamarin"

# %%
CausalSelfAttention = check("hunt_tamarin", MyCausalSelfAttention)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# (B, H, T, D) is reshaped to (B, T, C) without swapping heads and time back. Right is `merge_heads(part)`.
#
# All shapes are right. B · H · T · D numbers fit into (B, T, C), whatever their order, and NumPy does not ask. With H = 1,
# or with T = 1, the two orders are the same. (In the forward the same mistake is worse: it is consistent, so the gradients
# are right, but positions see each other's future.)
# @end

# %% [markdown]
# ## 11 The kudu: a block
#
# Without dropout the block passes. Dropout alone passes, also with another forward in between. With dropout in the block,
# the check fails: attention's weights are wrong, the MLP's are right. The author reads the backward five times and sees
# nothing.
#
# @hint Where to look
# The MLP's gradients are right, so everything up to there is. Then look at what comes next, and at every name in that line.
# @hint What the checker says (shortened)
# "Block.backward gives drop.backward the cache of another call of drop.forward, whose backward had run already: each
# backward needs the cache of its own forward."
# @hint The line
# `dattended = …`: which of the two dropouts stands behind the attention?
# @end

# %% zoo="kudu" exercise="hunt_kudu"

# %%
Block = check("hunt_kudu", MyBlock)

# %% [markdown]
# @answer What is wrong, and how does it hide?
# Both dropouts go back through the mask of the second. Right is `self.drop.backward(dx, drop_1_cache)`.
#
# Without dropout there are no masks. Two caches of the same shape and kind can be exchanged without any error: name them
# after the call that made them, and unpack them in one line, as here. Even so it happens.
# @end

# %% [markdown]
# ## 12 The takin: the whole model
#
# Every layer passes, and so does every block. A GPT with one block passes. With two blocks or more it fails, but it trains,
# and it writes words.
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
# The backward visits the blocks in the forward's order. Right is `zip(reversed(self.h), reversed(block_caches),
# strict=True)`.
#
# With one block nothing is wrong; each block gets its own cache. Because of the residuals each block passes most of the
# gradient on unchanged, so that even the wrong order brings something useful to everybody.
# @end

# %% [markdown]
# ## 13 What each bug costs
#
# Here are the eleven runs of the beginning, with their names.

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
# The takin's curve was the one that turned up, the shrew's the one that was too high. The others cost less than 0.1, kea
# and serval next to nothing (yet: the longer the training, the further the kea's gain moves away from 1). A tenth of a nat
# is also what another learning rate or a smaller model costs. You would have believed these curves, and looked for the
# missing tenth in the wrong place. That is why this course checks gradients.

# %% [markdown]
# ## 14 The other animals
#
# The zoo has 93 of them, among them optimizers and gradient clipping. It lives in your terminal:
#
# ```
# numpylm gradcheck --zoo                  who lives there
# numpylm gradcheck --zoo civet            its code: where is the bug?
# numpylm gradcheck --zoo civet --check    what the checker says
# numpylm gradcheck --zoo civet --solve    the answer
# ```
#
# The same from a notebook:

# %%
from numpylm.cli.main import main

for option in ("--check", "--solve"):
    main(["gradcheck", "--zoo", "civet", option])
    print()

# %% [markdown]
# Go through them all, a few a day. When you can name the bug before the checker does, you can debug anything that has a
# gradient.

# %% [markdown]
# ## What you can do now
#
# - make a check that fails for the right reason;
# - read a wrong gradient: cosine, factor, which rows are right;
# - find a bug in a large model by bisecting it;
# - say of a bug which test would never see it.
#
# ## Three questions
#
# @answer The gradient of one bias is 0.25 times the true one, with cosine 1.000. B = 4, T = 6. What do you look for?
# A factor of 1/B: a mean over the batch where a sum belongs, or a division by the batch's size that was already done
# elsewhere. Then change B to 5 and look whether the factor becomes 0.2. Sizes that differ tell you which one it is.
# @answer Every layer of a model passes its check, and the whole fails. Where is the bug?
# In what connects them, that is, in the backward of the whole or of something that contains layers: the order of the calls,
# an exchanged or shared cache, a residual that is dropped or added twice, a function between two layers that is not gone
# through, a weight used in two places. Or in a layer that passes only under the conditions of its own check: used once,
# without dropout.
# @answer You changed a line and the check passes. Why does the check of this lesson also look at the forward?
# A gradient check only asks whether backward belongs to forward. One can also make them fit by changing the forward to what
# the backward says: then the gradient is right, and the layer computes something else.
# @end
