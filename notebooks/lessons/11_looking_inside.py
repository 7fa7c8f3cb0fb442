# %% [markdown]
# # 11 · Looking inside
#
# A trained model consists of half a million numbers, and no person chose any of them. In this lesson you look inside
# two models and ask: how does a prediction form, and which part does what? You will use four methods: the logit lens,
# attention maps, ablation, and gradients. For each you will see what it can prove and what it cannot. At the end you
# train a small model in which you can watch an *induction head* emerge.
#
# **You need:** lesson 05 (the residual stream), lesson 06 (attention), lesson 07 (the whole model).
# **Time:** about an hour and a half. **You will write:** four functions.

# %%
import collections
import copy

import numpy as np
from tqdm import tqdm

from numpylm import GPT, AdamW, GPTConfig, clip_grad_norm, cross_entropy, keep_memory, scaled_dot_product_attention
from numpylm.corpora import CORPORA
from numpylm.corpora.story_words import CAST
from numpylm.course import check, heatmap, storyteller, style
from numpylm.inference.trace import trace
from numpylm.nn.attention import causal_mask, split_heads
from numpylm.system.processor import set_blas_threads

keep_memory()  # reuse the memory of large arrays, which is faster
set_blas_threads(1)  # these matrices are small, so a second thread would not help
plt = style()
gpt, tokenizer = storyteller()
L, H, C, V = gpt.config.n_layer, gpt.config.n_head, gpt.config.n_embd, gpt.config.vocab_size
stories = [CORPORA["stories"].text(n) for n in range(6000, 6060)]  # the model was trained on earlier ones only
encoded = [np.array(tokenizer.encode(story))[: gpt.config.block_size] for story in stories]
print(f"L = {L} blocks, H = {H} heads, C = {C} channels, V = {V} tokens; {len(stories)} unseen stories")

# %% [markdown]
# ## 1 Inside a model
#
# `gpt.forward` returns logits. On the way it computes much more. After each block there is a **residual stream**: $C$
# numbers at each position, to which every block so far has added something. And each block computes $H$ maps of
# attention weights. `trace` runs the model once and keeps all of these. (It does not compute anything twice: the
# attention weights are in the cache, because the backward of softmax needs them.)

# %%
ids = encoded[23][:44]  # (T,)
words = [tokenizer.decode([i]).replace("\n", "\\n") for i in ids]
print(tokenizer.decode(ids))

traced = trace(gpt, ids[None])
print("hidden   ", [x.shape for x in traced.hidden], " (B, T, C), before the first block and after each")
print("attention", [p.shape for p in traced.attention], " (B, H, T, T)")
same = np.array_equal(traced.logits, gpt.forward(ids[None])[0])
print("logits   ", traced.logits.shape, " the same as gpt.forward's:", same)

# %% [markdown]
# ## 2 The logit lens: how a prediction forms
#
# The output layer reads the stream after the last block: first the norm `ln_f`, then one dot product with the embedding
# of each token. But the stream has the same shape everywhere, because blocks only *add* to it. So we can apply the
# output layer to an earlier stream: what would the model predict if it had to stop there? This is the **logit lens**
# (nostalgebraist 2020, "interpreting GPT: the logit lens"). For the stream $x$ at any depth:
#
# $$z = \text{ln\_f}(x) \, W_{te}^{\top}$$
#
# $W_{te}$ is the tied embedding, `gpt.wte.weight.data`, of shape (V, C).
#
# ### Exercise: `logit_lens`
#
# @hint A nudge
# Read the last lines of `GPT.forward`. You need the same two steps for each entry of the list.
# @hint Shapes
# (B, T, C) times the transpose of (V, C) is (B, T, V). `ln_f.forward` returns the pair (out, cache).
# @hint Almost code
# ```python
# return [gpt.ln_f.forward(x)[0] @ … for x in hidden]
# ```
# @end


# %% exercise="logit_lens"
def my_logit_lens(gpt, hidden):
    """The logits that the output layer computes from the residual stream at each depth.

    Parameters
    ----------
    gpt : GPT
        With the final norm gpt.ln_f and the tied embedding gpt.wte.
    hidden : list of L + 1 arrays (B, T, C)
        The residual stream before the first block and after each.

    Returns
    -------
    list of L + 1 arrays (B, T, V)
        Logits. The last ones are the model's own.
    """
    # --- solution
    return [gpt.ln_f.forward(x)[0] @ gpt.wte.weight.data.T for x in hidden]
    # --- end


# %%
logit_lens = check("logit_lens", my_logit_lens)

# %%
guesses = [z[0].argmax(axis=-1) for z in logit_lens(gpt, traced.hidden)]  # L + 1 arrays (T,)
print(f"{'reads':>12}   guess after 0 blocks,    1 block,   2 blocks     next token")
for t in range(14, 35):
    row = [tokenizer.decode([guess[t]]).replace("\n", "\\n") for guess in guesses]
    print(f"{words[t]:>12}   {row[0]:>20} {row[1]:>11} {row[2]:>10}     {words[t + 1]}")

# %% [markdown]
# Before the first block, the prediction is always the token itself. There the stream holds only the embedding of the
# token (and of the position). The output layer is tied to the embedding, so the row that matches an embedding best is
# the row of the same token. After one block, most predictions are already right. What does the second block do?
#
# Look at the positions where it changes the prediction. To see more of them, take all unseen stories, and divide the
# tokens that must be predicted into three kinds: the name of the **hero** (the first name in the story), **other
# names**, and the **rest**.

# %%
name_ids = [tokenizer.encode(" " + character.name)[0] for character in CAST]


def kinds(ids):
    """For each token: "hero", "other name" or "rest"."""
    is_name = np.isin(ids, name_ids)
    return np.where(ids == ids[is_name][0], "hero", np.where(is_name, "other name", "rest"))


def surprise(z, y):
    """-log p of the tokens y (...) under the logits z (..., V), in nats."""
    z = z - z.max(axis=-1, keepdims=True)
    return np.log(np.exp(z).sum(axis=-1)) - np.take_along_axis(z, y[..., None], axis=-1)[..., 0]


def mean_by_kind(values):
    """values: one array (T - 1,) a story, for the tokens 1 … T - 1. Mean for each kind of token."""
    all_values, all_kinds = np.concatenate(values), np.concatenate([kinds(ids)[1:] for ids in encoded])
    return {kind: float(all_values[all_kinds == kind].mean()) for kind in ("hero", "other name", "rest")}


depths = [[] for _ in range(L + 1)]
for ids in encoded:
    for found, z in zip(depths, logit_lens(gpt, trace(gpt, ids[None]).hidden), strict=True):
        found.append(surprise(z[0, :-1], ids[1:]))
by_depth = [mean_by_kind(found) for found in depths]

fig, axes = plt.subplots(figsize=(6.5, 2.8))
for i, losses in enumerate(by_depth[1:], start=1):
    axes.bar(np.arange(3) + 0.4 * (i - 1.5), losses.values(), width=0.38, label=f"after block {i}")
axes.set(xlabel="kind of the next token", ylabel="loss (nats per token)", xticks=range(3), xticklabels=losses)
axes.legend()
plt.show()
for i, losses in enumerate(by_depth):
    print(f"after {i} blocks:", "   ".join(f"{kind} {loss:5.2f}" for kind, loss in losses.items()), " nats per token")

# %% [markdown]
# The last line is the loss of the model itself. For the rest of the tokens, the first block almost reaches this loss.
# For the hero's name it does not. After one block, the name has a loss of 2.81 nats, which is worse than guessing among
# the twelve names of the stories ($\ln 12 = 2.48$). After two blocks, the loss is 0.27. So **the second block finds out
# who the story is about**. (Other names cannot be predicted before they are introduced, so their loss stays high.)
#
# The lens shows *where* this happens. Which part of the block does it?
#
# ## 3 Attention maps: what does each head look at?
#
# The next cell draws all eight maps for the beginning of the story. We name a head by its block and its number, both
# counted from 0: head 1.3 is the last head of the second block. Each row shows how much position $t$ (its token is on
# the left) takes from each position (tokens at the bottom). The first position can only look at itself, so its weight
# is 1. The colors follow the square roots of the weights. Otherwise the small ones would hardly be visible beside it.

# %%
n = 24
fig, axes = plt.subplots(2, 4, figsize=(12, 6.8), sharex=True, sharey=True)
for layer in range(L):
    for head in range(H):
        ax = axes[layer, head]
        heatmap(ax, traced.attention[layer][0, head, :n, :n], title=f"head {layer}.{head}", root=True)
        ax.set_xticks(range(n), words[:n], rotation=90, fontsize=8)
        ax.set_yticks(range(n), words[:n], fontsize=8)
fig.supylabel("position that looks", fontsize=9)
fig.supxlabel("position that is looked at", fontsize=9)
plt.show()

# %% [markdown]
# Most heads spread their weights over many positions, so they compute a kind of summary. Some heads are more focused.
# Head 0.2 looks at `mouse` from several positions. And head 1.3 does something surprising. The hero's name may come
# next after `was` and after the period that follows `Tess`, and from both positions this head looks at `m`, the first
# token of *mill*.
#
# One story proves nothing, so we take all sixty. If a head looks at one specific position, its largest weight is close
# to 1. The next cell computes the mean of the largest weight, for positions *before* a hero's name, before another name,
# and before the rest.

# %%
maps = [trace(gpt, ids[None]).attention for ids in encoded]  # for each story L arrays (1, H, T, T)
fig, axes = plt.subplots(1, 3, figsize=(8, 2.2))
largest = {kind: np.zeros((L, H)) for kind in ("hero", "other name", "rest")}
for layer in range(L):
    for head in range(H):
        top = [attention[layer][0, head, :-1].max(axis=-1) for attention in maps]  # (T - 1,) for each story
        for kind, value in mean_by_kind(top).items():
            largest[kind][layer, head] = value
for ax, (kind, matrix) in zip(axes, largest.items(), strict=True):
    image = heatmap(ax, matrix, ["block 0", "block 1"], list("0123"), f"before {kind}", "head", numbers=".2f")
    image.set_clim(0, 1)
plt.show()


# %% [markdown]
# Two heads stand out: 1.3 before the hero's name, and 0.2 before other names. Where do they look? Count the tokens that
# get the largest weight (shown in brackets, after the two tokens before them).

# %%
for layer, head, kind in ((1, 3, "hero"), (0, 2, "other name")):
    counter = collections.Counter()
    for ids, attention in zip(encoded, maps, strict=True):
        for t in np.flatnonzero(kinds(ids)[1:] == kind):  # the next token is such a name
            j = attention[layer][0, head, t].argmax()
            counter[f"{tokenizer.decode(ids[max(j - 2, 0) : j])}[{tokenizer.decode([ids[j]])}]".strip()] += 1
    print(f"head {layer}.{head} before {kind}:", ", ".join(f"{place} {n}" for place, n in counter.most_common(8)))

# %% [markdown]
# Before another name, head 0.2 looks at the animal that was mentioned last: "Otto the [otter]". And before the hero's
# name, head 1.3 looks at the **home**: under the *meadow*, in a hollow *oak*, at the old *mill*. It does not look at
# the name, although the name occurs in the story again and again.
#
# This suggests a hypothesis: *the model recognizes the hero by the hero's home.* This is possible, because in these
# stories each animal has one name and one home. But attention weights alone do not show how the model uses the values.
# So we test the hypothesis.
#
# ## 4 Ablation: remove a head
#
# The first test is **ablation**: remove the head, and see what gets worse. After attention, the outputs of all heads
# are concatenated into one row of $C$ numbers, and the output projection $W_O$ (`c_proj`) is applied to this row. Let
# $o_h$ be the $D = C/H$ numbers of head $h$. Then, head by head:
#
# $$y = \sum_{h=0}^{H-1} o_h \, W_O[hD : (h+1)D] + b$$
#
# Each head is multiplied by its own rows of $W_O$. If these rows are 0, the output of the head has no effect.
#
# ### Exercise: `without_head`
#
# @hint A nudge
# How many rows belong to one head? Which is the first of head $h$, and which the last?
# @hint Beware
# Set rows to 0, not columns: channel $c$ of the merged heads is multiplied by row $c$. And change a copy, not the
# model.
# @hint Almost code
# ```python
# D = len(weight) // n_head
# weight = weight.copy()
# weight[… : …] = 0
# return weight
# ```
# @end


# %% exercise="without_head"
def my_without_head(weight, head, n_head):
    """The output projection of an attention layer, with one head removed.

    Parameters
    ----------
    weight : array (C, C)
        attn.c_proj.weight.data: row c belongs to channel c of the merged heads.
    head : int
        Which head, from 0 on.
    n_head : int
        H, the number of heads.

    Returns
    -------
    array (C, C)
        A copy in which the output of this head has no effect. weight is not changed.
    """
    # --- solution
    D = len(weight) // n_head
    weight = weight.copy()
    weight[head * D : (head + 1) * D] = 0
    return weight
    # --- end


# %%
without_head = check("without_head", my_without_head)


# %%
def ablated(gpt, *heads):
    """A copy of a model with some heads removed, given as (block, head)."""
    gpt = copy.deepcopy(gpt)
    for layer, head in heads:
        weight = gpt.h[layer].attn.c_proj.weight
        weight.data = without_head(weight.data, head, gpt.config.n_head)
    return gpt


def loss_by_kind(gpt):
    """Nats per token, for the three kinds of tokens."""
    return mean_by_kind([surprise(gpt.forward(ids[None])[0][0, :-1], ids[1:]) for ids in encoded])


print("removed          hero   other name   rest     (nats per token)")
for heads in [[], *([(layer, head)] for layer in range(L) for head in range(H))]:
    found = loss_by_kind(ablated(gpt, *heads))
    name = "head {}.{}".format(*heads[0]) if heads else "nothing"
    print(f"{name:12} {found['hero']:8.2f} {found['other name']:12.2f} {found['rest']:6.2f}")

# %% [markdown]
# Without head 1.3, the loss of the hero's name is about that of guessing among twelve names. Other names and the rest
# hardly change. Without head 0.2, the other names get worst. So there are two parts and two abilities, and each part
# matters most for its own ability. This is called a *double dissociation*, and it says much more than a single number
# could. (Without head 0.1, 0.2 or 0.3, the loss of the hero's name also rises, because head 1.3 uses what block 0 has
# computed. When you remove any one of the other three heads of block 1, almost nothing happens.)
#
# The second test changes the *text*. We write about a hero whose animal, home and name do not belong together, and see
# which name the model predicts. There are twelve heroes. Each is paired with the five others that have the same
# pronoun, which gives 60 pairs A, B. All facts are those of A, except one, which is that of B. Which name comes next?


# %%
def opening(kind, home, name, she):
    """The beginning of a story; the hero's name comes next."""
    her = "Her" if she == "she" else "His"
    first = f"Long ago, a quiet {kind} made a home {home}. {her} name was {name}."
    return first + " One night there was a strange noise: Scratch, scratch."


pairs = [(a, b) for a in CAST for b in CAST if a is not b and a.she == b.she]
print(opening("mouse", "in a hollow oak", "Tess", "she"), "…\n")
print("B's fact    the model says A   B   another hero")
for fact in ("kind", "home", "name"):
    votes = collections.Counter()
    for a, b in pairs:
        facts = {"kind": a.kind, "home": a.home, "name": a.name, "she": a.she} | {fact: getattr(b, fact)}
        z = gpt.forward(np.array([tokenizer.encode(opening(**facts))]))[0][0, -1]  # (V,)
        said = CAST[z[name_ids].argmax()].name  # the likeliest of the twelve names
        votes["A" if said == a.name else "B" if said == b.name else "else"] += 1
    print(f"{fact:8} {votes['A']:19} {votes['B']:3} {votes['else']:15}")

# %% [markdown]
# In 52 of 60 cases, the prediction follows the home. It never follows the name: even if the story says "His name was
# Pip", the model continues with the hero who lives in that home. It has learned a table like the one a mail carrier
# knows: which name belongs to which house.
#
# Is this a fault? In the training stories, home and name always agree, so the model never needed to read the name. It
# is right for a reason that you would not have guessed, and it is wrong as soon as this reason no longer holds. Its
# loss on stories, however low, could not have told you this.

# %% [markdown]
# ## 5 Gradients at every depth
#
# The next method is the gradient. It says how a number at the end depends on earlier numbers, and the backward pass
# computes it at every depth anyway. `GPT.backward` does not return these intermediate gradients, so you write the
# backward pass yourself.
#
# ### Exercise: `residual_gradients`
#
# Go from the logits back through the output layer, `ln_f`, and each block, starting with the last block. Keep the
# gradient at each depth. (The backward methods also add to the gradients of the parameters. This does no harm, because
# the next `zero_grad` clears them.)
#
# @hint A nudge
# It is `GPT.backward` without the parts for the embeddings, and with a list.
# @hint The first step
# Forward, the logits are $\text{ln\_f}(x) W_{te}^\top$. So the gradient at the output of the norm is `dlogits @
# gpt.wte.weight.data`: (B, T, V) times (V, C).
# @hint Almost code
# ```python
# hidden_cache, head_cache = cache
# dx = gpt.ln_f.backward(…, hidden_cache.ln_f)
# gradients = [dx]  # after the last block
# for block, block_cache in zip(reversed(gpt.h), reversed(hidden_cache.blocks)):
#     dx = …
#     gradients.append(dx)
# return gradients[::-1]
# ```
# @end


# %% exercise="residual_gradients"
def my_residual_gradients(gpt, dlogits, cache):
    """dL/dx of the residual stream before the first block and after each.

    Parameters
    ----------
    gpt : GPT
    dlogits : array (B, T, V)
        dL/dlogits.
    cache : tuple
        What gpt.forward returned: (hidden_cache, head_cache). The first one has the fields embed, blocks (a list of
        caches) and ln_f.

    Returns
    -------
    list of L + 1 arrays (B, T, C)
        In the order of trace's hidden: the gradient before the first block comes first.
    """
    # --- solution
    hidden_cache, _ = cache
    dx = gpt.ln_f.backward(dlogits @ gpt.wte.weight.data, hidden_cache.ln_f)  # (B, T, C)
    gradients = [dx]
    for block, block_cache in zip(reversed(gpt.h), reversed(hidden_cache.blocks)):
        dx = block.backward(dx, block_cache)
        gradients.append(dx)
    return gradients[::-1]
    # --- end


# %%
residual_gradients = check("residual_gradients", my_residual_gradients)

# %% [markdown]
# First we look at the gradient of the loss for one batch. We plot it at the residual stream, with the stream itself for
# comparison, and at every parameter.

# %%
batch = np.array([ids[:180] for ids in encoded if len(ids) >= 180][:16])  # (B, T + 1)
x, y = batch[:, :-1], batch[:, 1:]
logits, cache = gpt.forward(x)
loss, dlogits = cross_entropy(logits, y)
gpt.zero_grad()
gpt.backward(dlogits, cache)
norms = {name: float(np.linalg.norm(p.grad)) for name, p in gpt.named_parameters()}

streams = trace(gpt, x).hidden
arriving = residual_gradients(gpt, dlogits, cache)
places = ["before block 0", "after block 0", "after block 1"]
fig, axes = plt.subplots(1, 3, figsize=(10, 4.6), width_ratios=(1, 1, 1.6))
axes[0].bar(places, [np.linalg.norm(g) for g in arriving])
axes[0].set(xlabel="place", ylabel="norm of the gradient (nats)", title="gradient at the stream")
axes[1].bar(places, [np.sqrt((h**2).mean()) for h in streams], color="C1")
axes[1].set(xlabel="place", ylabel="root mean square", title="the stream itself")
for ax in axes[:2]:
    ax.tick_params(axis="x", rotation=90)
axes[2].barh(list(norms)[::-1], list(norms.values())[::-1], color="C2")
axes[2].set(xscale="log", xlabel="norm of the gradient (nats)", ylabel="parameter", title="gradient at each parameter")
axes[2].tick_params(axis="y", labelsize=7)
plt.show()

# %% [markdown]
# The gradient passes through block 1 almost unchanged, because of the residual connection of lesson 05. In block 0 it
# grows. The plot of the stream explains why: before block 0, the stream holds only embeddings, and these are small.
# LayerNorm divides by their standard deviation, so its backward also divides by it (the factor $r$ in lesson 05). So a
# small input gives a large gradient. You see the same in the gradients of the parameters, from bottom to top.
#
# Now we look at a single prediction. Set `dlogits` to 1 at one logit of one position, and to 0 elsewhere. Then the
# gradient at the embeddings says how this logit depends on each token of the text. We plot its norm. Such a plot is
# called a **saliency map** (Simonyan et al. 2013, arXiv:1312.6034). The plot below it shows where head 1.3 looks, for
# comparison.

# %%
ids = encoded[23][:44]
t = np.flatnonzero(kinds(ids)[1:] == "hero")[-1]  # what comes next is the hero's name
logits, cache = gpt.forward(ids[None])
dlogits = np.zeros_like(logits)
dlogits[0, t, ids[t + 1]] = 1  # one logit only: its gradient with respect to itself is 1
dx = residual_gradients(gpt, dlogits, cache)[0][0]  # (T, C), at the embeddings

fig, axes = plt.subplots(2, 1, figsize=(9, 4.6), sharex=True)
axes[0].bar(range(t + 1), np.linalg.norm(dx[: t + 1], axis=1))
axes[0].set(ylabel="norm of the gradient", title=f"gradient of the logit of{words[t + 1]} after the last token")
axes[1].bar(range(t + 1), trace(gpt, ids[None]).attention[1][0, 3, t, : t + 1], color="C1")
axes[1].set(xlabel="token", ylabel="weight", title="attention of head 1.3 from the last position")
axes[1].set_xticks(range(t + 1), words[: t + 1], rotation=90, fontsize=8)
plt.show()

# %% [markdown]
# The two methods agree: apart from the last tokens, nothing matters as much as `m`. The name `Tess` itself matters
# little.
#
# For how large a change is a gradient accurate? Move the embedding of `m` (mill) part of the way toward that of `w`
# (wall, where the cat Luna lives). The gradient predicts how much the logit of Tess changes: the sum over channels of
# gradient times step. Compare this with the actual change.

# %%
home = words.index(" m")
way = gpt.wte.weight.data[tokenizer.encode(" w")[0]] - gpt.wte.weight.data[ids[home]]  # (C,)
print("part of the way   predicted change of the logit  actual change")
for part in (0.01, 0.1, 0.3, 1.0):
    x = trace(gpt, ids[None]).hidden[0]  # (1, T, C)
    x[0, home] += part * way
    for block in gpt.h:
        x, _ = block.forward(x)
    real = logit_lens(gpt, [x])[0][0, t, ids[t + 1]] - logits[0, t, ids[t + 1]]
    print(f"{part:15.0%} {part * (way @ dx[home]):31.4f} {real:14.4f}")

# %% [markdown]
# For a small step, the prediction is good. For a step to another word, it is not, because a gradient is the slope at
# one point, and the function is curved. A saliency map answers the question "what if this token were *slightly*
# different?", and this is not quite what we want to know.

# %% [markdown]
# ## 6 A model that copies
#
# The storyteller does not read names. How can a model learn to use something that it has seen only once, earlier in the
# text? Large models do this with **induction heads** (Elhage et al. 2021, "A Mathematical Framework for Transformer
# Circuits"; Olsson et al. 2022, arXiv:2209.11895). An induction head asks: *where did the current token occur before,
# and what came after it?* It looks at that position and copies: after "… A B … A" it predicts B.
#
# We train a small model on a task in which only copying helps. Each row repeats a block of random, different tokens.
# The length of the block, the **period** $p$, differs from row to row, so the model cannot learn to look back by a
# fixed distance. From here on, $V = 16$, $T = 32$ and $C = 64$.

# %%
V, T, C = 16, 32, 64


def copies(rng, B, shortest=8, longest=16):
    """B rows (B, T + 1), each a repeated block of different tokens, and their periods (B,)."""
    period = rng.integers(shortest, longest + 1, B)
    return np.array([np.resize(rng.permutation(V)[:p], T + 1) for p in period]), period


rows, period = copies(np.random.default_rng(2), 4)
for row, p in zip(rows, period):
    print(f"period {p:2}: ", *(f"{i:2}" for i in row[:30]))

# %% [markdown]
# In the first copy, the next token is a surprise of up to $\ln 16 = 2.77$ nats. From position $p$ on, it can be
# predicted: the current token occurred $p$ positions ago, and the token after it comes again. So we plot the loss
# separately for the two parts.
#
# One note on the initial weights. `GPT` draws its weights with a standard deviation of 0.02, which suits much wider
# models. For a matrix with $C$ inputs, a rule of thumb is $1/\sqrt{C}$, here 0.125. So we multiply all matrices by 6.
# (Without this, 400 steps are far too few. Try it.)

# %%
rng = np.random.default_rng(0)
copier = GPT(GPTConfig(V, T, n_layer=2, n_head=4, n_embd=C), rng)
for parameter in copier.parameters():
    if parameter.data.ndim == 2:
        parameter.data *= 6

test, period = copies(np.random.default_rng(99), 200)  # rows to analyze, not to train on
optimizer = AdamW(copier.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0)
parts = ["wte", "wpe", "h.0.attn", "h.0.mlp", "h.1.attn", "h.1.mlp"]
losses, flow, snapshots = [], [], {}
for step in tqdm(range(401), leave=False):
    if step % 20 == 0:
        snapshots[step] = trace(copier, test[:, :-1]).attention
    rows, p = copies(rng, 32)
    x, y = rows[:, :-1], rows[:, 1:]  # (B, T) each
    logits, cache = copier.forward(x)
    copier.zero_grad()
    copier.backward(cross_entropy(logits, y)[1], cache)
    squares = {name: float((q.grad**2).sum()) for name, q in copier.named_parameters()}
    flow.append([sum(n for name, n in squares.items() if name.startswith(part)) ** 0.5 for part in parts])
    known = np.arange(T) >= p[:, None]  # (B, T): the token after these positions can be predicted
    loss = surprise(logits, y)  # (B, T)
    losses.append((loss[~known].mean(), loss[known].mean()))
    clip_grad_norm(optimizer.parameters, 1.0)
    optimizer.step()

fig, axes = plt.subplots(2, 1, figsize=(7.5, 5), sharex=True)
axes[0].plot(np.array(losses), label=["first copy", "later copies"])
axes[0].axhline(np.log(V), color="#808080", linestyle="--", linewidth=1)
axes[0].annotate("ln V", (380, np.log(V)), (380, np.log(V) + 0.08))
axes[0].set(ylabel="loss (nats per token)", ylim=(0, 3.5))
axes[0].legend()
image = axes[1].imshow(np.array(flow).T, aspect="auto", vmax=1)  # (parts, steps)
axes[1].grid(False)
axes[1].set(
    xlabel="step", ylabel="part", yticks=range(len(parts)), yticklabels=parts, title="norm of the gradient (nats)"
)
fig.colorbar(image, ax=axes[1])
plt.show()
print(f"loss of the last step: first copy {losses[-1][0]:.2f}, later copies {losses[-1][1]:.3f} nats per token")

# %% [markdown]
# For a hundred steps, nothing seems to happen. Then, within another hundred steps, the loss of the later copies falls
# from $\ln 16$ to almost zero. Olsson et al. saw such a drop in language models of all sizes, and call it a phase
# change.
#
# The lower plot shows the gradients of each part, step by step. During the plateau, the matrices get almost no
# gradient, because no part is useful alone: a head that copies needs one that finds the position, and a head that finds
# the position needs one that copies. Then the gradient in the attention of block 0 rises sharply, and afterwards all
# gradients are small again. (The loss of the first copy also falls slightly below $\ln 16$. The tokens in a block are
# all different, so a token that has already occurred cannot come next.)

# %% [markdown]
# ## 7 Find the induction heads
#
# What would an induction head look at? Take position $t$ of the second copy, $p \le t < 2p$. Its token occurred before,
# at $t - p$. The token after that one is at $t - p + 1$. So we measure how much of its attention a head gives to that
# position:
#
# $$
# \text{score}_h = \underset{b}{\text{mean}} \; \underset{p \le t < 2p}{\text{mean}} \; A_{b,h}[t, \, t - p + 1],
# \qquad p = \text{period}_b
# $$
#
# $A_{b,h}$ is the map (T, T) of head $h$ for row $b$ of the batch. For a head without any preference, the score would
# be about $1/t$, a few hundredths.
#
# ### Exercise: `induction_score`
#
# @hint A nudge
# Each row has its own period, so go through the rows. For one row, `np.arange(p, 2 * p)` holds the positions that look.
# @hint Indexing
# `weights[:, t, s]` with two arrays `t` and `s` of length $n$ picks $n$ numbers for each head: at `t[0], s[0]`, at `t[1],
# s[1]`, and so on. The result has shape (H, n).
# @hint Almost code
# ```python
# scores = []
# for weights, p in zip(attention, period):  # (H, T, T)
#     t = np.arange(…, …)
#     scores.append(weights[:, t, …].mean(axis=-1))  # (H,)
# return np.mean(scores, axis=0)
# ```
# @end


# %% exercise="induction_score"
def my_induction_score(attention, period):
    """Mean attention from the second copy to the token after the previous occurrence, for each head.

    Parameters
    ----------
    attention : array (B, H, T, T)
        One block's attention weights.
    period : int array (B,)
        Row b repeats itself every period[b] tokens; T is at least twice the longest.

    Returns
    -------
    array (H,)
        Between 0 and 1.
    """
    # --- solution
    scores = []
    for weights, p in zip(attention, period):  # (H, T, T)
        t = np.arange(p, 2 * p)  # the positions of the second copy
        scores.append(weights[:, t, t - p + 1].mean(axis=-1))  # (H,)
    return np.mean(scores, axis=0)
    # --- end


# %%
induction_score = check("induction_score", my_induction_score)

# %%
inside = trace(copier, test[:, :-1])
print("induction score   head 0     1     2     3")
for layer, attention in enumerate(inside.attention):
    print(f"block {layer}          ", *(f"{score:5.2f}" for score in induction_score(attention, period)))

steps = list(snapshots)
fig, axes = plt.subplots(figsize=(7, 2.8))
for layer in range(2):
    scores = np.array([induction_score(maps[layer], period) for maps in snapshots.values()])  # (steps, H)
    axes.plot(steps, scores, color=f"C{layer}", linewidth=1.2, label=[f"heads of block {layer}", *[None] * 3])
axes.plot(np.array(losses)[:, 1] / np.log(V), color="#808080", linestyle="--", label="loss of later copies / ln V")
axes.set(xlabel="step", ylabel="induction score")
axes.legend()
plt.show()

# %% [markdown]
# All four heads of block 1 become induction heads, during the steps in which the loss falls. Their maps show a diagonal
# stripe:

# %%
row = int(np.flatnonzero(period == 12)[0])
fig, axes = plt.subplots(2, 4, figsize=(10, 5.2), sharex=True, sharey=True)
for layer in range(2):
    for head in range(4):
        heatmap(axes[layer, head], inside.attention[layer][row, head], title=f"head {layer}.{head}")
fig.suptitle("attention weights for a row of period 12", fontsize=10)
fig.supylabel("position that looks", fontsize=9)
fig.supxlabel("position that is looked at", fontsize=9)
plt.show()

# %% [markdown]
# From position 12 on, block 1 looks at $t - 11$, the token after the previous occurrence. In the third copy, from
# position 24 on, it often looks at the first copy. Before position 12 there is nothing to find, but a row of weights
# must still sum to 1. There the heads look at the first position or at their own position.
#
# The weights of block 0 are spread over the last few tokens. What is their purpose?
#
# ## 8 How it finds the position
#
# The head must find position $t - p + 1$, which holds some token B. It looks for A, the token *before* B. How can the
# key at B's position contain the information that A came before? A head in an earlier block must provide it: this head
# looks at the previous position, and writes into B's position that the token before it was A. Elhage et al. say that
# the keys of block 1 are *composed* with the heads of block 0.
#
# To test this, we let queries and keys read different streams: the real stream, or a stream without the output of block
# 0's heads.

# %%
attn, ln_1 = copier.h[1].attn, copier.h[1].ln_1
real = inside.hidden[1]  # (B, T, C), what block 1 reads
deaf = trace(ablated(copier, (0, 0), (0, 1), (0, 2), (0, 3)), test[:, :-1]).hidden[1]  # without block 0's heads


def scores_when(queries_read, keys_read):
    """Induction scores (H,) of block 1 if its queries and its keys read different streams."""
    q = np.split(attn.c_attn.forward(ln_1.forward(queries_read)[0])[0], 3, axis=-1)[0]  # (B, T, C)
    k = np.split(attn.c_attn.forward(ln_1.forward(keys_read)[0])[0], 3, axis=-1)[1]
    q, k = split_heads(q, 4), split_heads(k, 4)  # (B, H, T, D)
    _, cache = scaled_dot_product_attention(q, k, k, causal_mask(T, T))
    return induction_score(cache[5], period)


print("block 1 reads                       head 0     1     2     3")
for name, streams in (
    ("the real stream", (real, real)),
    ("with queries that miss block 0", (deaf, real)),
    ("with keys that miss block 0", (real, deaf)),
):
    print(f"{name:35}", *(f"{score:5.2f}" for score in scores_when(*streams)))

# %% [markdown]
# The result confirms this. The queries need only the current token, which is in the stream from the start. The keys
# need the information from block 0. So an induction head is not one head but a circuit of two heads in two blocks, and
# a model with one block cannot have it. (In the models of the papers, the first part is a sharp "previous token head".
# In our model its weights are spread over the last few tokens, with the most weight on the last one.)

# %% [markdown]
# ## 9 Remove the induction heads
#
# Finally, we use ablation: we measure the loss on 200 new rows without one head, without several heads of block 1, and
# without all heads of block 0.

# %%
known = np.arange(T) >= period[:, None]  # (B, T)


def loss_of_copies(gpt):
    """Nats per token: of the first copy, of later ones."""
    loss = surprise(gpt.forward(test[:, :-1])[0], test[:, 1:])
    return float(loss[~known].mean()), float(loss[known].mean())


print("removed                first copy   later copies     (nats per token)")
sets = [[], *([(layer, head)] for layer in range(2) for head in range(4))]
sets += [[(1, h) for h in range(n)] for n in (2, 3, 4)] + [[(0, h) for h in range(4)]]
for heads in sets:
    first, later = loss_of_copies(ablated(copier, *heads))
    name = ", ".join(f"{layer}.{head}" for layer, head in heads) or "nothing"
    print(f"{name:20} {first:12.2f} {later:14.2f}")

# %% [markdown]
# If you remove one induction head, almost nothing happens. If you remove all four, the model can no longer copy: the
# loss of the later copies is above $\ln 16$, worse than guessing, while the loss of the first copy hardly changes. If
# you had tested each head alone, you would have concluded that all four are unimportant. But each can replace the
# others. Large models have such redundancy, too (Wang et al. 2022, arXiv:2211.00593, call them backup heads).
#
# Does the model really look for the token, or has it learned a list of distances? To find out, we test periods that it
# was never trained on:

# %%
print("period   loss of later copies (nats per token; trained on 8 … 16)")
for p in (4, 5, 6, 7, 8, 12, 16):
    rows, _ = copies(np.random.default_rng(p), 200, p, p)
    print(f"{p:6} {surprise(copier.forward(rows[:, :-1])[0], rows[:, 1:])[:, p:].mean():10.2f}")

# %% [markdown]
# It can copy with periods that it has never seen, far better than guessing (2.77), but not as well as with those it was
# trained on. The shorter the period, the worse the result. Why? One possible reason is that block 0 mixes the last few
# tokens, and when copies are short, these few tokens are a large part of a copy. This is only a hypothesis, and you now
# have the methods to test it.

# %% [markdown]
# ## 10 What these methods prove, and what they do not
#
# | method | what it showed here | what it does not prove |
# | --- | --- | --- |
# | logit lens | the hero's name is found in the second block | that the first block has no information about it (note 1) |
# | attention map | head 1.3 looks at the home | that the model uses what the head finds there, or that it is about that token (note 2) |
# | ablation | without head 1.3, the model cannot predict the hero | that a head does nothing if its removal costs nothing (note 3) |
# | gradient | the logit depends most on `m` | anything about large changes |
# | changed text | the home decides, the name does not | anything about texts that were not tested |
#
# 1. The output layer was trained to read the last stream. An earlier stream may hold information in a form that this
#    layer cannot read (Belrose et al. 2023, arXiv:2303.08112).
# 2. After block 0, the stream at `m` holds more than that token, because the heads of block 0 have added information
#    from other positions. And a large weight has no effect if no later layer uses the value (Jain & Wallace 2019,
#    arXiv:1902.10186).
# 3. Other heads can replace it, as the four induction heads show. The opposite error is also possible: the model has
#    never seen a stream without this head, so part of the damage may come from that alone.
#
# No single method is enough. For head 1.3, the convincing argument was a chain of evidence. A plot suggested a
# *hypothesis*. The hypothesis made a *prediction* that could have failed (with B's home, the model names B). And there
# was a *control*, where nothing should happen and nothing did (B's name; other tokens; other heads).

# %% [markdown]
# ## What you can do now
#
# - read a model's prediction at every depth;
# - draw attention maps, and turn what you see into a hypothesis that can be tested;
# - remove a head, and measure the effect on different kinds of tokens;
# - follow a gradient back to any depth, and know for how large a change it is accurate;
# - explain how two heads in two blocks copy from the context.
#
# ## 小结
#
# logit lens 在每一层之后直接套上输出层，看预测是在哪里形成的。注意力图给出假设，但不是证明；证明要靠实验：关掉一个头，
# 看哪些词元的损失变大。梯度能追到任何深度，但它只对小的改变准确。归纳头（induction head）由两个块里的两个头合作：
# 前一个记住“前面是什么”，后一个找到上次出现的地方，并抄下后面的词。
#
# ## Three questions
#
# @answer A head gives 90% of its attention to the first token of every text. Is it important?
# Perhaps not. A row of weights must sum to 1, so a head that finds nothing must still put its attention somewhere. A
# fixed position with a harmless value is a good choice, and the induction heads do this in the first copy. Only an
# ablation can answer the question.
# @answer Why can a model with one block not have an induction head?
# In the first block, the key of a position contains only the token at that position and the position itself. It does
# not contain the token before it, and an induction head looks for exactly that. A head in an earlier block has to write
# this information there.
# @answer You remove a head and the loss does not change. What do you conclude, and what do you try next?
# You can only conclude that *this text* can be predicted without the head, as long as the other heads are there.
# Another head may replace it, or this text may not need its ability. Try removing several heads together, and look at
# the loss of the tokens for which the head should matter.
# @end
