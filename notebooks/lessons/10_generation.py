# %% [markdown]
# # 10 · Generation: from logits to text
#
# A language model does not write text. It computes probabilities, and another part of the program chooses the next
# token. In this lesson you write that part: temperature, top-k, top-p and the sampling itself. Then you make generation
# fast with a KV cache, and you prove that the fast version computes the same numbers.
#
# **You need:** lesson 02 (softmax, surprise in nats), lesson 06 (queries, keys, values), lesson 07 (the parts of a GPT).
# **Time:** about an hour and a half. **You will write:** five functions.

# %%
import collections
import textwrap
import time

import numpy as np

from numpylm import keep_memory, scaled_dot_product_attention
from numpylm.course import check, stories, storyteller, style
from numpylm.nn.attention import merge_heads, split_heads
from numpylm.system.processor import set_blas_threads

keep_memory()  # reuse the memory of large arrays; otherwise the times below include the allocation of memory
set_blas_threads(1)  # these matrices are small, so a second thread would not help
plt = style()
gpt, tokenizer = storyteller()
L, H, C, V = gpt.config.n_layer, gpt.config.n_head, gpt.config.n_embd, gpt.config.vocab_size
print(f"L = {L} blocks, H = {H} heads, C = {C} channels, V = {V} tokens, {gpt.config.block_size} positions")

# %% [markdown]
# ## 1 One real distribution
#
# Give the model the beginning of a story. It returns logits for every position. The logits of the last position are
# about the next token. Softmax turns them into a distribution.

# %%
prompt = "Once upon a time, a"
ids = np.array([tokenizer.encode(prompt)])  # (1, T)
logits = gpt.forward(ids)[0][0, -1]  # (V,), for the token after the prompt
p = np.exp(logits - logits.max())
p /= p.sum()  # (V,)

counts = collections.Counter()
for story in stories(1_000_000):
    if story.startswith(prompt):
        counts[tokenizer.encode(story[len(prompt) :][:20])[0]] += 1
frequency = np.array([counts[i] for i in range(V)]) / counts.total()  # (V,)

top = np.argsort(-p)[:16]  # the most likely tokens; every plot below shows these
names = [repr(tokenizer.decode([i])) for i in top]
fig, axes = plt.subplots(figsize=(7.5, 2.8))
axes.bar(names, p[top], label="the model")
axes.plot(names, frequency[top], "o", color="#e8871e", label=f"{counts.total()} stories with this beginning")
axes.tick_params(axis="x", rotation=60)
axes.set(xlabel="next token", ylabel="probability", title=f"{prompt} …")
axes.legend()
plt.show()

# %% [markdown]
# At this point, the program that writes the stories chooses one of ten words, all equally likely. (`h` begins *hungry*,
# `sh` begins *shy*; the dots differ only by chance.) The model knows which ten words are possible, but its
# probabilities are not quite right. It also gives a little probability to each of the tokens that never occur here: the
# **tail**.
#
# How uncertain is the model? We measure this by the surprise that it expects on average, the **entropy**, in nats:
#
# $$H(p) = -\sum_j p_j \log p_j$$
#
# $e^{H}$ is the number of equally likely tokens that would be as hard to predict. A token with $p_j = 0$ adds nothing.
# (H(p) is the entropy. H alone still counts heads. From section 3 on, T in a formula is the temperature. In a shape
# such as (T, V), it still counts positions.)


# %%
def entropy(p):
    """In nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


print(f"entropy {entropy(p):.2f} nats: as uncertain as {np.exp(entropy(p)):.1f} equally likely tokens")
ten = p[top[:10]].sum()
print(f"the ten words have {ten:.3f} of the probability, the other {V - 10:,} tokens {1 - ten:.3f} together")

# %% [markdown]
# ## 2 Always the most likely token?
#
# The simplest way to choose is to take the most likely token each time. This is called **greedy** decoding. It has two
# problems. The first is that one prompt always gives the same story.
#
# The second problem is easiest to see in the bigram model of lesson 02, which sees only the previous token. Its greedy
# choice is a fixed map from token to token. There are only $V$ tokens, so after at most $V$ steps some token occurs for
# the second time, and from then on everything repeats.

# %%
train = np.array(tokenizer.encode("\n".join(stories(150_000))))
pairs = np.zeros((V, V))
np.add.at(pairs, (train[:-1], train[1:]), 1)  # how often y follows x
token = tokenizer.encode(" Tess")[0]
out = [token]
for _ in range(40):
    token = int(pairs[token].argmax())
    out.append(token)
print(tokenizer.decode(out))

# %% [markdown]
# A GPT looks back further, so its loops are longer and rarer. But large models fall into loops, too: Holtzman et al.
# (2020, arXiv:1904.09751) show that GPT-2 repeats itself endlessly when it must produce the most likely text. People do
# not write the most likely token each time, either. So we draw the next token at random, with the probabilities that
# the model gives.

# %% [markdown]
# ## 3 Temperature
#
# Divide all logits by a number $T > 0$, the **temperature**, before softmax:
#
# $$p_j = \frac{e^{z_j / T}}{\sum_k e^{z_k / T}}$$
#
# $T = 1$ leaves the distribution as it is. A small $T$ makes differences between logits larger: the likeliest token
# gains, and in the limit $T \to 0$ it has everything. A large $T$ makes them smaller, and in the limit all tokens are
# equally likely. The name comes from physics, where the same formula gives the probability of a state with energy
# $-z_j$ at temperature $T$.
#
# ### Exercise: `temperature_probabilities`
#
# Temperature 0 means the limit: all probability goes to the largest logit (to the first one, if several are equal).
#
# @hint A nudge
# There are two cases. For $T = 0$ you must not divide. Every other case is a softmax of `logits / temperature`.
# @hint Beware
# Small temperatures make large numbers: logits of 50 at $T = 0.05$ are 1,000, and $e^{1000}$ is infinite. Subtract the
# maximum *after* the division.
# @hint Almost code
# ```python
# if temperature == 0:
#     p = np.zeros(len(logits))
#     p[…] = 1
#     return p
# z = logits / temperature
# e = np.exp(…)
# return …
# ```
# @end


# %% exercise="temperature_probabilities"
def my_temperature_probabilities(logits, temperature):
    """Softmax of logits / temperature.

    Parameters
    ----------
    logits : array (V,)
    temperature : float >= 0
        0: all probability on the (first) largest logit.

    Returns
    -------
    p : array (V,)
        Sums to 1.
    """
    # --- solution
    if temperature == 0:
        p = np.zeros(len(logits))
        p[np.argmax(logits)] = 1
        return p
    z = logits / temperature
    e = np.exp(z - z.max())
    return e / e.sum()
    # --- end


# %%
temperature_probabilities = check("temperature_probabilities", my_temperature_probabilities)


# %%
def bars(axes, q, title):
    """The distribution before (outlined) and after (filled) for the same 16 tokens; the title says how many tokens are left."""
    axes.bar(names, q[top])
    axes.bar(names, p[top], fill=False, edgecolor="#808080")
    axes.tick_params(axis="x", rotation=90, labelsize=8)
    axes.set(xlabel="next token", title=f"{title}\nentropy {entropy(q):.2f} nats, {np.count_nonzero(q)} left")


fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
for ax, T in zip(axes, (0.3, 1.0, 3.0), strict=True):
    bars(ax, temperature_probabilities(logits, T), f"T = {T}")
axes[0].set_ylabel("probability")
plt.show()

# %% [markdown]
# The order of the tokens never changes, only the distances between their probabilities. In the last plot, the ten words
# have lost most of their probability. It has moved to the tail: each of the thousand tokens in the tail has very
# little, but together they have a lot.
#
# So the entropy rises with temperature. We can say exactly how fast. Let $\bar z = \sum_j p_j z_j$ be the mean logit.
# Then
#
# $$\frac{dH}{dT} = \frac{1}{T^3} \sum_j p_j (z_j - \bar z)^2$$
#
# A variance cannot be negative, so the entropy never falls. (To derive it, put $\log p_j = z_j/T - \log \sum_k e^{z_k/T}$
# into $H$ and differentiate.) The line below the plot compares the formula with a numerical derivative.

# %%
T_axis = np.linspace(0.02, 5, 200)
H_axis = [entropy(temperature_probabilities(logits, T)) for T in T_axis]
tail = [temperature_probabilities(logits, T)[np.argsort(-p)[10:]].sum() for T in T_axis]
fig, axes = plt.subplots(1, 2, figsize=(8, 2.8))
axes[0].plot(T_axis, H_axis)
axes[0].axhline(np.log(V), color="#808080", linestyle="--", linewidth=1)
axes[0].annotate("ln V", (0.1, np.log(V)), (0.1, np.log(V) - 0.6))
axes[0].set(xlabel="temperature", ylabel="entropy (nats)")
axes[1].plot(T_axis, tail)
axes[1].set(xlabel="temperature", ylabel="probability of the tail")
plt.show()

q = temperature_probabilities(logits.astype(np.float64), 1.5)
z = logits.astype(np.float64)
slope = (entropy(temperature_probabilities(z, 1.501)) - entropy(temperature_probabilities(z, 1.499))) / 0.002
print(f"dH/dT at T = 1.5: formula {(q * (z - q @ z) ** 2).sum() / 1.5**3:.5f}, difference {slope:.5f} nats")

# %% [markdown]
# ## 4 Top-k: keep the k most likely tokens
#
# Temperature cannot distinguish a good word from the tail: it changes both. **Top-k** (Fan et al. 2018,
# arXiv:1805.04833, section 5) cuts off the tail. Keep the $k$ most likely tokens, set all others to 0, and divide by
# the sum of the rest, so that the probabilities again sum to 1.
#
# ### Exercise: `top_k`
#
# `top_k` takes a distribution and returns one of the same length, in which each token keeps its index. So you can apply
# it after temperature, and apply top-p after it.
#
# @hint A nudge
# `np.argsort(-p)` gives the ids of all tokens, most likely first.
# @hint Equal probabilities
# Exactly $k$ tokens stay. If several are as likely as the $k$-th, keep those with the smaller ids: `np.argsort(-p,
# kind="stable")` keeps equal ones in their original order. (Comparing with the $k$-th largest, `p >= …`, would
# keep all of them.)
# @hint Almost code
# ```python
# kept = np.argsort(-p, kind="stable")[…]
# q = np.zeros_like(p)
# q[kept] = …
# return q
# ```
# @end


# %% exercise="top_k"
def my_top_k(p, k):
    """Keep the k most likely tokens.

    Parameters
    ----------
    p : array (V,)
        Probabilities.
    k : int >= 1
        If several tokens are equally likely, those with smaller ids are kept.

    Returns
    -------
    q : array (V,)
        0 for all but k tokens; sums to 1. p is not changed.
    """
    # --- solution
    kept = np.argsort(-p, kind="stable")[:k]
    q = np.zeros_like(p)
    q[kept] = p[kept] / p[kept].sum()
    return q
    # --- end


# %%
top_k = check("top_k", my_top_k)

# %% [markdown]
# How many tokens should we keep? Here the answer was ten. But the right number is different at each position. The next
# cell takes a story that the model was not trained on. At each position it counts how many of the most likely tokens
# are needed for nine tenths of the probability.

# %%
from numpylm.corpora import CORPORA

unseen = CORPORA["stories"].text(6000)  # training used fewer than 6,000 stories
story = np.array(tokenizer.encode(unseen))[:100]  # (T,)
z = gpt.forward(story[None])[0][0]  # (T, V)
P = np.exp(z - z.max(axis=-1, keepdims=True))
P /= P.sum(axis=-1, keepdims=True)  # (T, V)
likeliest_first = -np.sort(-P, axis=-1)  # (T, V)
needed = (np.cumsum(likeliest_first, axis=-1) < 0.9).sum(axis=-1) + 1  # (T,)
fig, axes = plt.subplots(figsize=(7.5, 2.6))
axes.bar(range(len(story)), needed, width=0.8)
axes.set(xlabel="position in the story (tokens)", ylabel="tokens needed for 0.9")
plt.show()
print(textwrap.fill(tokenizer.decode(story), 100))
print(f"\none token is enough at {np.mean(needed == 1):.0%} of the positions; the most needed is {needed.max()}")

# %% [markdown]
# No single $k$ suits all positions. At most positions one token is right, and $k = 10$ lets nine wrong tokens in. Where
# ten words are equally good, $k = 3$ throws seven of them away.

# %% [markdown]
# ## 5 Top-p: keep as many as it takes
#
# **Top-p**, or nucleus sampling (Holtzman et al. 2020, equations 2 and 3), keeps a share of the probability, and not a
# fixed number of tokens. Sort the tokens, most likely first. Keep the *smallest* set whose probabilities sum to at
# least `mass`. Set the others to 0, and divide by the sum.
#
# ### Exercise: `top_p`
#
# The token with which the sum reaches `mass` belongs to the set. So at least one token is kept, however small `mass`
# is.
#
# @hint A nudge
# A token is needed if the tokens *before* it, all of which are more likely, do not reach `mass` by themselves.
# @hint The formula
# Sort the tokens, most likely first: $\text{before}_i = \sum_{j < i} p_j$, which is 0 for the first. Keep token $i$ if
# $\text{before}_i < \text{mass}$. `np.cumsum` gives sums that include $p_i$ itself, so subtract $p_i$ again.
# @hint Almost code
# ```python
# order = np.argsort(-p, kind="stable")
# before = np.cumsum(p[order]) - …
# kept = order[before < …]
# ```
# The rest is as in `top_k`.
# @end


# %% exercise="top_p"
def my_top_p(p, mass):
    """Keep the smallest set of most likely tokens whose probabilities sum to at least `mass`.

    Parameters
    ----------
    p : array (V,)
        Probabilities.
    mass : float in (0, 1]

    Returns
    -------
    q : array (V,)
        0 outside the set; sums to 1. p is not changed.
    """
    # --- solution
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]  # (V,), the probability of all more likely tokens
    kept = order[before < mass]
    q = np.zeros_like(p)
    q[kept] = p[kept] / p[kept].sum()
    return q
    # --- end


# %%
top_p = check("top_p", my_top_p)

# %%
fig, axes = plt.subplots(1, 4, figsize=(10, 3.2), sharey=True)
bars(axes[0], top_k(p, 5), "top-k, k = 5")
bars(axes[1], top_p(p, 0.9), "top-p, 0.9")
hot = temperature_probabilities(logits, 1.5)
bars(axes[2], top_p(hot, 0.9), "T = 1.5, top-p 0.9")
bars(axes[3], temperature_probabilities(logits, 0.3), "T = 0.3")
axes[0].set_ylabel("probability")
plt.show()

# %% [markdown]
# | | what it does | the order of tokens | the tail | advantage | drawback |
# | --- | --- | --- | --- | --- | --- |
# | $T = 0$, greedy | the most likely token gets 1 | | gone | reproducible | loops, no variety |
# | $0 < T < 1$ | sharpens | stays | smaller | fewer mistakes | good words become rare, too |
# | $T > 1$ | flattens | stays | larger | more variety | nonsense |
# | top-k | keeps $k$ tokens | stays | gone | fast | the right $k$ is different at each position |
# | top-p | keeps a share of the probability | stays | gone | adapts to the position | keeps many tokens of a flat distribution |
#
# They are applied one after the other: temperature, then top-k, then top-p. `numpylm generate` does the same. (It has
# two more options; `docs/sampling.md` shows all of them on one distribution.) If you have written all three functions,
# together they give the same result as the library:

# %%
from numpylm.inference.sampling import next_token_probabilities

ours = next_token_probabilities(logits, temperature=1.3, top_k=50, top_p=0.9)
yours = top_p(top_k(temperature_probabilities(logits, 1.3), 50), 0.9)
print(f"largest difference {np.abs(ours - yours).max():.0e}")

# %% [markdown]
# ## 6 Sampling
#
# A computer's random generator gives a number $u$, anywhere in $[0, 1)$ with equal chance. How do we turn it into a
# token? Place the tokens side by side on a line from 0 to 1, each as wide as its probability. Token $j$ then ends at
# the cumulative sum $F_j = p_0 + \dots + p_j$. We choose the token whose interval contains $u$: the first one with
# $F_j > u$.

# %%
example = np.array([0.4, 0.1, 0.0, 0.3, 0.2])
F = np.cumsum(example)
fig, axes = plt.subplots(figsize=(6, 2.6))
axes.step(range(-1, 5), np.r_[0, F], where="post")
for u, j in ((0.25, 0), (0.6, 3)):
    axes.annotate("", (j, 0), (j, u), arrowprops={"arrowstyle": "->", "color": "#e8871e"})
    axes.plot([-1, j], [u, u], color="#e8871e", linewidth=1.2)
    axes.annotate(f"u = {u}", (-0.95, u + 0.03), color="#e8871e")
axes.set(xlabel="token j", ylabel="cumulative sum F", xticks=range(5), xlim=(-1, 4.4), ylim=(0, 1.05))
plt.show()

# %% [markdown]
# ### Exercise: `sample`
#
# Two things can go wrong. A token with $p_j = 0$ must never be drawn, not even for $u = 0$. And because of rounding,
# the last cumulative sum may be 0.9999999, so that a $u$ close to 1 finds no token.
#
# @hint A nudge
# Divide the cumulative sums by the last one. Then the last is exactly 1 and $u$ is always below it.
# @hint A NumPy function
# `np.searchsorted(F, u, side="right")` returns the number of entries in the sorted array `F` that are at most $u$. This
# is the index of the first entry that is larger.
# @hint Almost code
# ```python
# F = np.cumsum(p)
# return int(np.searchsorted(F / …, u, side=…))
# ```
# @end


# %% exercise="sample"
def my_sample(p, u):
    """Turn a random number into a token.

    Parameters
    ----------
    p : array (V,)
        Probabilities; their sum may be 1 up to rounding only.
    u : float in [0, 1)

    Returns
    -------
    int
        The first token whose cumulative sum is larger than u. Never a token with probability 0.
    """
    # --- solution
    F = np.cumsum(p)
    return int(np.searchsorted(F / F[-1], u, side="right"))
    # --- end


# %%
sample = check("sample", my_sample)

# %% [markdown]
# Does your function draw tokens in the right proportions? NumPy also has a function for this, `rng.choice(V, p=p)`.
# With the same random numbers it gives the same tokens, because it uses the same method.

# %%
rng = np.random.default_rng(0)
drawn = np.bincount([sample(example, rng.random()) for _ in range(10_000)], minlength=5) / 10_000
print("probabilities", example, " share of 10,000 draws", drawn.round(3))
a, b = np.random.default_rng(1), np.random.default_rng(1)
p64 = p.astype(np.float64) / p.sum(dtype=np.float64)
print("the same 1,000 tokens as rng.choice:", all(sample(p64, a.random()) == b.choice(V, p=p64) for _ in range(1000)))

# %% [markdown]
# ## 7 Side by side
#
# Now we generate text. The loop is the same for every way of choosing: compute the logits of the last position, choose
# a token, append it, and repeat.


# %%
def write_slowly(prompt, n, choose):
    """Continue a prompt by n tokens; `choose(logits)` picks one."""
    ids = tokenizer.encode(prompt)
    for _ in range(n):
        logits = gpt.forward(np.array([ids]))[0][0, -1]  # (V,): everything is computed again for each token
        ids.append(choose(logits))
    return tokenizer.decode(ids)


def chooser(temperature=1.0, k=V, mass=1.0, seed=0):
    """A way of choosing, with random numbers of its own."""
    rng = np.random.default_rng(seed)
    return lambda z: sample(top_p(top_k(temperature_probabilities(z, temperature), k), mass), rng.random())


settings = {
    "greedy": {"temperature": 0},
    "T = 0.5": {"temperature": 0.5},
    "T = 1": {},
    "T = 1, top-p 0.9": {"mass": 0.9},
    "T = 2": {"temperature": 2},
    "T = 2, top-k 10": {"temperature": 2, "k": 10},
}
for name, options in settings.items():
    text = " ".join(write_slowly(prompt, 36, chooser(**options)).split())
    print(textwrap.fill(f"{name}: {text}", 100, subsequent_indent="    "))

# %% [markdown]
# ## 8 The KV cache
#
# Look at `write_slowly` again. For every new token it runs the whole model over the whole text, although only the end
# of the text has changed. Is all of this computation necessary?
#
# Attention is causal: position $t$ sees only positions $0 \dots t$. So a later token cannot change anything that was
# computed at an earlier position. To test this, change the last token, and compare the keys of the last block.


# %%
def keys(ids):
    """The keys of the last block, (T, C)."""
    x = gpt.wte.weight.data[ids] + gpt.wpe.weight.data[: len(ids)]  # (T, C)
    x = x[None]
    for block in gpt.h[:-1]:
        x, _ = block.forward(x)
    last = gpt.h[-1]
    qkv, _ = last.attn.c_attn.forward(last.ln_1.forward(x)[0])  # (1, T, 3C)
    return np.split(qkv, 3, axis=-1)[1][0]


other = story.copy()
other[-1] = tokenizer.encode(" Luna")[0]
change = np.abs(keys(story) - keys(other)).max(axis=1)  # (T,)
print(f"change of the keys: {change[:-1].max():.1e} at all earlier positions, {change[-1]:.2f} at the last one")

# %% [markdown]
# The keys and values of earlier positions never change, so we can store them. A new position only has to compute its
# own query, key and value. Then it attends to all stored keys and to its own. Earlier queries are no longer needed.
# Since we store only keys and values, this is called a **KV cache**.
#
# How much does it save? We count multiplications in the forward pass, as in lesson 07. At one position, the matrices of
# a block cost $12 C^2$ ($3C^2$ for Q, K, V, $C^2$ for the projection, $8C^2$ for the MLP), and the output layer $VC$
# once. One query that looks at $t$ keys costs $tC$ for the scores and $tC$ for the sum of values. For the token after a
# text of $t$ tokens:
#
# | | matrices | attention |
# | --- | --- | --- |
# | without a cache | $t \, (12 C^2 L + VC)$ | $2 t^2 C L$ |
# | with a cache | $12 C^2 L + VC$ | $2 t C L$ |
#
# With a cache, each entry is smaller by a factor of $t$. Over a whole text of $n$ tokens, the matrices are applied
# about $n^2/2$ times without a cache, and $n$ times with it.

# %%
t = np.arange(1, gpt.config.block_size + 1)
matrices = 12 * C**2 * L + V * C
without, with_cache = t * matrices + 2 * t**2 * C * L, matrices + 2 * t * C * L
for n in (16, 64, 256):
    a, b = without[:n].sum(), with_cache[:n].sum()
    print(
        f"{n:4} tokens: {a / 1e6:9,.0f} million multiplications without, {b / 1e6:6,.1f} with a cache ({a / b:.0f} times)"
    )

# %% [markdown]
# ### Exercise: `attend_one`
#
# One new position goes through an attention layer. `attn` is a `CausalSelfAttention` of numpylm: `attn.c_attn` is
# the `Linear` that makes Q, K and V side by side, `attn.c_proj` the output projection, `attn.n_head` is H. `past` holds
# the keys and values of all earlier positions. At the first position it is `None`.
#
# `split_heads(x, n_head)` turns (B, T, C) into (B, H, T, D), `merge_heads` turns it back, and
# `scaled_dot_product_attention(q, k, v)` returns `(out, cache)`. You can read the library's version: given a `past`,
# `CausalSelfAttention.forward` does the same, in memory that is allocated once for the whole window.
#
# @hint A nudge
# You need no mask. The only query belongs to the last position, and the last position may look at everything.
# @hint Shapes
# The new `q`, `k`, `v` have shape (B, H, 1, D), the past ones (B, H, t, D). Time is axis 2, so append with
# `np.concatenate([old, new], axis=2)`.
# @hint Almost code
# ```python
# qkv, _ = attn.c_attn.forward(x_t)  # (B, 1, 3C)
# q, k, v = (split_heads(part, attn.n_head) for part in np.split(qkv, 3, axis=-1))
# if past is not None:
#     k = np.concatenate([past[0], …], axis=…)
#     v = …
# out, _ = scaled_dot_product_attention(…)  # (B, H, 1, D)
# y_t, _ = attn.c_proj.forward(…)
# return y_t, (k, v)
# ```
# @end


# %% exercise="attend_one"
def my_attend_one(attn, x_t, past):
    """Self-attention for one new position, with the keys and values of earlier positions.

    Parameters
    ----------
    attn : CausalSelfAttention
        With c_attn (C -> 3C), c_proj (C -> C) and n_head.
    x_t : array (B, 1, C)
        The new position's input.
    past : (k, v) or None
        Keys and values of the t earlier positions, each (B, H, t, D); None if there are none.

    Returns
    -------
    y_t : array (B, 1, C)
        What attn.forward gives at this position.
    past : (k, v)
        With the new position appended at the end of the time axis, each (B, H, t + 1, D).
    """
    # --- solution
    qkv, _ = attn.c_attn.forward(x_t)  # (B, 1, 3C)
    q, k, v = (split_heads(part, attn.n_head) for part in np.split(qkv, 3, axis=-1))  # (B, H, 1, D) each
    if past is not None:
        k = np.concatenate([past[0], k], axis=2)  # (B, H, t + 1, D)
        v = np.concatenate([past[1], v], axis=2)
    out, _ = scaled_dot_product_attention(q, k, v)  # (B, H, 1, D)
    y_t, _ = attn.c_proj.forward(merge_heads(out))  # (B, 1, C)
    return y_t, (k, v)
    # --- end


# %%
attend_one = check("attend_one", my_attend_one)

# %% [markdown]
# The rest of the model works on each position separately, so it needs no cache. The next cell puts everything together.
# Compare it with `GPT.forward` and `Block.forward` from lesson 07: the lines are the same, but for one position.


# %%
def step(gpt, ids_t, t, pasts):
    """Logits after one more token: ids_t (B,) is at position t; pasts holds one (k, v) or None for each block."""
    x = gpt.wte.weight.data[ids_t][:, None] + gpt.wpe.weight.data[t]  # (B, 1, C)
    new_pasts = []
    for block, past in zip(gpt.h, pasts, strict=True):
        attended, past = attend_one(block.attn, block.ln_1.forward(x)[0], past)
        x = x + attended
        x = x + block.mlp.forward(block.ln_2.forward(x)[0])[0]
        new_pasts.append(past)
    x, _ = gpt.ln_f.forward(x)
    return x[:, 0] @ gpt.wte.weight.data.T, new_pasts  # (B, V)


# %% [markdown]
# **The proof.** Run a story of 200 tokens through the whole model at once, then token by token, and compare the logits at
# every position. In float32 the differences should only be rounding. To be sure that there is no real error, repeat the
# comparison in float64: there a real error stays the same, but rounding shrinks by a factor of about $10^9$.

# %%
import copy


def largest_differences(gpt, ids):
    """Over the vocabulary, at each position (T,)."""
    at_once = gpt.forward(ids[None])[0][0]  # (T, V)
    pasts, found = [None] * L, []
    for t, token in enumerate(ids):
        z, pasts = step(gpt, np.array([token]), t, pasts)  # (1, V)
        found.append(np.abs(z[0] - at_once[t]).max())
    return np.array(found)


whole = np.array(tokenizer.encode(unseen))[:200]
gpt64 = copy.deepcopy(gpt)
for parameter in gpt64.parameters():
    parameter.data = parameter.data.astype(np.float64)

fig, axes = plt.subplots(figsize=(7, 2.6))
for model, name in ((gpt, "float32"), (gpt64, "float64")):
    differences = largest_differences(model, whole)
    axes.semilogy(np.maximum(differences, 1e-17), label=name)
    print(f"{name}: largest difference at any of {len(whole)} positions {differences.max():.0e}")
print(f"for comparison, the logits themselves go up to {np.abs(gpt.forward(whole[None])[0]).max():.0f}")
axes.set(xlabel="position (tokens)", ylabel="largest difference", title="logits with a cache minus logits without")
axes.legend()
plt.show()

# %% [markdown]
# **The time.** How long does the next token take, after a text of $t$ tokens?


# %%
def best_of(n, function):
    """Seconds of the fastest of n calls; other programs may have slowed down the others."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


lengths = [1, 16, 32, 64, 96, 128, 160, 192]
uncached = [best_of(5, lambda: gpt.forward(whole[None, :n])) for n in lengths]
cached, pasts = [], [None] * L
for t, token in enumerate(whole[: max(lengths)]):
    now = np.array([token])
    if t + 1 in lengths:
        cached.append(best_of(5, lambda: step(gpt, now, t, pasts)))
    _, pasts = step(gpt, now, t, pasts)

fig, axes = plt.subplots(1, 2, figsize=(8.5, 2.8))
for times, name in ((uncached, "without a cache"), (cached, "with a cache")):
    axes[0].plot(lengths, 1000 * np.array(times), "o-", label=name, markersize=4)
    axes[1].plot(lengths, 1 / np.array(times), "o-", label=name, markersize=4)
axes[0].set(xlabel="tokens so far", ylabel="time for one more (ms)")
axes[1].set(xlabel="tokens so far", ylabel="speed (tokens/s)", yscale="log")
axes[0].legend()
plt.show()
print(f"after {lengths[-1]} tokens: {1 / uncached[-1]:,.0f} tokens/s without, {1 / cached[-1]:,.0f} with a cache")

# %% [markdown]
# Without a cache, the time grows with the length of the text. With a cache, it hardly grows. The gain is smaller than
# the count of multiplications suggests. With one position, the matrices are multiplied by a single row: each weight is
# loaded from memory and used only once, and Python's own overhead also takes time. Large models have the same problem:
# generation is limited by memory bandwidth, not by arithmetic (Shazeer 2019, arXiv:1911.02150). A batch of several
# texts helps, because it uses each weight several times. The next section does this.
#
# The cache needs memory: two arrays of $C$ numbers for each block and position. The next cell computes its size for one
# text, with 4 bytes per number for this model and 2 bytes for large models:

# %%
for name, layers, channels, positions, size in (
    ("this model", L, C, gpt.config.block_size, 4),
    ("GPT-2", 12, 768, 1024, 2),
    ("GPT-2 XL", 48, 1600, 1024, 2),
    ("GPT-3", 96, 12288, 2048, 2),
):
    total = 2 * layers * channels * positions * size
    print(f"{name:11} 2 × {layers:2} × {channels:6,} × {positions:5,} × {size} bytes = {total / 2**20:7,.1f} MiB")

# %% [markdown]
# ## 9 What each setting gains and loses
#
# Generation is now fast, so we can measure the effect of the settings. The stories come from a program, and this
# program can also *read*: it finds the first character at which a text differs from every story that the program can
# write. At this point the text contains a mistake, such as a hero whose name changes, or a sentence that does not fit.
#
# For each setting, we generate 48 stories with 110 new tokens each, as one batch. Then we compute two numbers:
#
# - **faithful**: the mean number of characters before the first mistake;
# - **varied**: the share of *different* sequences among all sequences of five words. If the 48 stories are equal, the
#   share is low.
#
# The bars show the uncertainty of each mean (one standard error). The star shows 48 stories by the program itself.

# %%
from tqdm import tqdm

from numpylm.corpora.known_entropy import ForeignText, Reader


def write_many(n, choose, B=48):
    """B continuations of the prompt by n tokens, as texts."""
    ids = np.tile(tokenizer.encode(prompt), (B, 1))  # (B, T)
    pasts, t = [None] * L, 0
    while t < ids.shape[1]:
        z, pasts = step(gpt, ids[:, t], t, pasts)  # (B, V)
        t += 1
        if t == ids.shape[1] and n > 0:  # the prompt has been read: from here on, choose
            ids = np.c_[ids, [choose(row) for row in z]]
            n -= 1
    return [tokenizer.decode(row) for row in ids]


def faithful(text):
    """The number of characters before the first one that the story program could not have written."""
    reader = Reader(text)
    try:
        CORPORA["stories"].tell(reader)
    except ForeignText as end:
        return end.args[0]  # from here on, no story continues in this way
    return reader.position


def varied(texts, n=5):
    """The share of different sequences among all sequences of n words."""
    runs = [tuple(words[i : i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs)


groups = {
    "temperature": [{"temperature": T} for T in (0, 0.6, 1, 1.3)],
    "top-k": [{"k": k} for k in (3, 10)],
    "top-p": [{"mass": mass} for mass in (0.5, 0.8, 0.9)],
}
told = (CORPORA["stories"].text(n) for n in range(6000, 9000))
told = [tokenizer.decode(tokenizer.encode(text)[:116]) for text in told if text.startswith(prompt)][:48]
results = [("the story program", "", told)]
for name, options in tqdm([(name, o) for name, group in groups.items() for o in group], leave=False):
    results.append((name, next(iter(options.values())), write_many(110, chooser(**options))))

fig, axes = plt.subplots(figsize=(7, 4))
looks = {  # color and marker, place of the number
    "temperature": ("C0o", (7, -3), "left"),
    "top-k": ("C1s", (-7, -3), "right"),
    "top-p": ("C2^", (-7, -3), "right"),
    "the story program": ("C3*", (0, 0), "left"),
}
print("                       varied   faithful (characters)")
for name, value, texts in results:
    lengths = [faithful(text) for text in texts]
    x, y, error = varied(texts), np.mean(lengths), np.std(lengths) / np.sqrt(len(lengths))
    look, place, side = looks[name]
    new = name not in axes.get_legend_handles_labels()[1]
    axes.errorbar(x, y, error, fmt=look, markersize=6, label=name if new else None)
    axes.annotate(value, (x, y), place, textcoords="offset points", ha=side, fontsize=8)
    print(f"{name:17} {value:4}   {x:.2f}   {y:4.0f} ± {error:.0f}")
axes.set(xlabel="varied (share of different sequences of five words)", ylabel="faithful (characters before a mistake)")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# The distance from the star shows the cost of a setting. Temperature alone only trades one quality for the other. A low
# temperature is more faithful but less varied: greedy decoding writes one story 48 times. A high temperature is more
# varied, but its mistakes come early. Top-p 0.9 is as varied as $T = 1$, but its mistakes come later: it removes the
# tail and leaves the good words nearly unchanged. Top-k 10 hardly differs from $T = 1$, for the reason that you saw in
# section 4: where only one token is right, it lets nine others in.
#
# These numbers are not a general law. Our model knows its stories almost perfectly, so it needs little help. And we can
# measure "faithful" only because we have the program that writes the stories.
#
# ## 10 The edge of the window
#
# The table of positions, `wpe`, has 256 rows. What happens at position 256? There is no row for it. The window would
# have to *slide*: drop the oldest token, and move all others one position to the left. But a token that moves gets
# another position vector. So its input changes, and so do its key and value in every block. The whole cache belongs to
# the old positions.

# %%
x = gpt.wte.weight.data[whole]  # (T, C)
first = gpt.h[0]


def first_keys(positions):
    """Keys of the first block if the story is at these positions, (T, C)."""
    normed, _ = first.ln_1.forward(x + gpt.wpe.weight.data[positions])
    return first.attn.c_attn.forward(normed)[0][:, C : 2 * C]


here, moved = first_keys(np.arange(1, 201)), first_keys(np.arange(200))
print(
    f"moving one position to the left changes the keys by {np.linalg.norm(here - moved) / np.linalg.norm(here):.0%} of their length"
)

# %% [markdown]
# So a sliding window needs the whole forward for each token, even with a cache. Therefore `numpylm generate` does not
# slide. When all 256 positions are used, it keeps the newest half of the text, moves it to the positions from 0 on, and
# reads it again. Then the cache grows for another 128 tokens. This is fast, but the model forgets the older half.
#
# There is a worse problem. In training, every window began with the beginning of a story. The model has never seen a
# text that starts at position 0 in the middle of a sentence. To measure the effect, we take unseen stories, cut off the
# text before position 50 or 100, and compute the loss on the tokens from 150 on. First, the rest keeps its positions,
# so that only *information* is lost. Then the rest moves to the left, as it must when a window slides or is halved.


# %%
def loss_from_150(ids, cut, moved):
    """Nats per token from position 150 on, if the model reads ids[cut:] only."""
    positions = np.arange(cut, len(ids)) - (cut if moved else 0)
    x = (gpt.wte.weight.data[ids[cut:]] + gpt.wpe.weight.data[positions])[None]  # (1, T - cut, C)
    for block in gpt.h:
        x, _ = block.forward(x)
    z = gpt.ln_f.forward(x)[0][0] @ gpt.wte.weight.data.T  # (T - cut, V)
    z = z[149 - cut : -1]  # the predictions for positions 150, 151, …
    z = z - z.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(z)), ids[150:]].mean()


encoded = [np.array(tokenizer.encode(CORPORA["stories"].text(n)))[:256] for n in range(6000, 6040)]
encoded = [ids for ids in encoded if len(ids) > 180]
print(f"loss of {len(encoded)} unseen stories, in nats per token (ln V = {np.log(V):.2f})")
print("cut off     rest keeps its positions   rest moves to the left")
for cut in (0, 50, 100):
    kept, moved = (np.mean([loss_from_150(ids, cut, m) for ids in encoded]) for m in (False, True))
    print(f"{cut:3} tokens  {kept:26.2f}  {moved:23.2f}")

# %% [markdown]
# In the first row nothing is cut off, and both columns are the same. In the other rows, the left column shows the cost
# of forgetting: the model no longer knows who the story is about. The right column adds the cost of the unfamiliar
# positions, which is far larger.
#
# This is a weakness of *learned* position embeddings. Other models rotate queries and keys by an angle that depends on
# the position, so that a score depends only on the *distance* between two tokens (rotary embedding, Su et al. 2021,
# arXiv:2104.09864), or subtract from each score an amount that grows with the distance (ALiBi, Press et al. 2022,
# arXiv:2108.12409). For these models it does not matter where a text begins, and cached keys stay valid when the window
# slides.

# %% [markdown]
# ## What you can do now
#
# - choose the next token in four ways, and say how each changes the distribution;
# - draw from any distribution with one random number;
# - write a KV cache, prove that it is right, and say how many multiplications it saves and how much memory it needs;
# - say what happens at the edge of the window.
#
# ## 小结
#
# 模型只给出概率，选哪个词是程序的事。温度使分布变尖或变平，top-k 和 top-p 去掉不大可能的词。一个均匀随机数加上累积概率，
# 就能从任何分布取样。KV 缓存保存已读词元的键和值，每步只算新的一个，结果完全相同，代价是内存。窗口满了，最早的词元就要离开。
#
# ## Three questions
#
# @answer Does the order matter: first temperature, then top-p, or first top-p, then temperature?
# Yes. A high temperature flattens the distribution, so more tokens are needed to reach the mass, and part of the tail
# is kept. If you cut first, you keep the same tokens as at $T = 1$, and the temperature then makes them more equal.
# Top-k is different: temperature never changes the order of the tokens, so the same $k$ tokens are kept in both orders.
# @answer With the cache, logits are right at position 0 and wrong from position 1 on. Where do you look?
# Position 0 has no past, so only the use of the past can be wrong. Check the axis along which keys and values are
# appended. Check that `past` is passed on. And check that the position vector of the step is `wpe[t]`, and not always
# `wpe[0]`.
# @answer Why are queries not cached?
# The query of position $t$ is used only once, to find out what position $t$ takes from the others. Later positions use
# their own queries. From position $t$ they need only its key (does it match my query?) and its value (what information
# does it give?).
# @end
