# %% [markdown]
# # 10 · Generation: from logits to text
#
# A language model does not write. It gives probabilities, and somebody has to choose. In this lesson you write the
# choosing: temperature, top-k, top-p and the draw itself. Then you make writing fast with the KV cache, and prove that
# the fast way gives the same numbers.
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
from numpylm.training.parallel import set_blas_threads

keep_memory()  # large arrays reuse memory; without this the times below measure the system's memory, too
set_blas_threads(1)  # these matrices are small: a second thread would only wait for the first
plt = style()
gpt, tokenizer = storyteller()
L, H, C, V = gpt.config.n_layer, gpt.config.n_head, gpt.config.n_embd, gpt.config.vocab_size
print(f"L = {L} blocks, H = {H} heads, C = {C} channels, V = {V} tokens, {gpt.config.block_size} positions")

# %% [markdown]
# ## 1 One real distribution
#
# Give the model the beginning of a story. It returns logits for every position; the last position's are about the token
# that comes next. Softmax makes a distribution of them.

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

top = np.argsort(-p)[:16]  # the likeliest tokens; every picture below shows these
names = [repr(tokenizer.decode([i])) for i in top]
fig, axes = plt.subplots(figsize=(7.5, 2.8))
axes.bar(names, p[top], label="the model")
axes.plot(names, frequency[top], "o", color="#e8871e", label=f"{counts.total()} stories that begin so")
axes.tick_params(axis="x", rotation=60)
axes.set(xlabel="next token", ylabel="probability", title=f"{prompt} …")
axes.legend()
plt.show()

# %% [markdown]
# The program that tells the stories chooses here among ten words with equal chance (`h` begins *hungry*, `sh` begins
# *shy*; the dots differ by luck only). The model knows which ten, but not quite how often. And it gives a little to each
# of the tokens that never come: the **tail**.
#
# How undecided is the model? That is the mean surprise that it expects, the **entropy**, in nats:
#
# $$H(p) = -\sum_j p_j \log p_j$$
#
# $e^{H}$ is the number of equally likely tokens that would be as hard to guess. A token with $p_j = 0$ adds nothing.
# (H(p) is the entropy; H alone still counts heads. And from section 3 on, T in a formula is the temperature; in a shape, (T, V),
# it counts positions.)


# %%
def entropy(p):
    """In nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


print(f"entropy {entropy(p):.2f} nats: as undecided as among {np.exp(entropy(p)):.1f} equally likely tokens")
ten = p[top[:10]].sum()
print(f"the ten words have {ten:.3f} of the probability, the other {V - 10:,} tokens {1 - ten:.3f} together")

# %% [markdown]
# ## 2 Always the likeliest?
#
# The plainest way to choose is to take the likeliest token each time. It is called **greedy** decoding. It has two
# faults, and the first is plain: one prompt, one story, for ever. Somebody who asks twice gets the same answer.
#
# The second is best seen in the bigram model of lesson 02, which knows only the token before. Its greedy choice is a
# fixed map from token to token. There are $V$ tokens, so after $V$ steps at the latest one must come for the second time,
# and from there on everything repeats.

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
# A GPT looks back further, so its loops are longer and rarer, but large models fall into them too: Holtzman et al. (2020,
# arXiv:1904.09751) show that GPT-2 repeats itself for ever where it is asked for the likeliest text. People do not write
# the likeliest token each time. So draw: let chance choose, in the proportions that the model gives.

# %% [markdown]
# ## 3 Temperature
#
# Divide all logits by a number $T > 0$, the **temperature**, before softmax:
#
# $$p_j = \frac{e^{z_j / T}}{\sum_k e^{z_k / T}}$$
#
# $T = 1$ leaves the distribution as it is. A small $T$ makes differences between logits larger: the likeliest token
# gains, and in the limit $T \to 0$ it has everything. A large $T$ makes them smaller, and in the limit all tokens are
# equally likely. The name is from physics, where the same formula says how likely a state of energy $-z_j$ is at
# temperature $T$.
#
# ### Exercise: `temperature_probabilities`
#
# Temperature 0 means the limit: all probability on the largest logit (the first one, if several are equal).
#
# @hint A nudge
# Two cases. $T = 0$ must not be divided by; everything else is a softmax of `logits / temperature`.
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
    """The distribution before (outlined) and after (filled) for the same 16 tokens; how many tokens of V are left."""
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
# The order of the tokens never changes, only how far they are apart. Look at the last picture: the ten words have lost
# most of their probability. Where did it go? To the tail: a thousand tokens, each with very little, have very much
# together.
#
# So the entropy rises with temperature. By how much can be said exactly. With $\bar z = \sum_j p_j z_j$, the mean logit,
#
# $$\frac{dH}{dT} = \frac{1}{T^3} \sum_j p_j (z_j - \bar z)^2$$
#
# A variance cannot be negative, so the entropy never falls. (To derive it, put $\log p_j = z_j/T - \log \sum_k e^{z_k/T}$
# into $H$ and differentiate.) The line below the picture compares the formula with a difference of two entropies.

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
# ## 4 Top-k: keep the k likeliest
#
# Temperature cannot tell a good word from the tail: it changes both. **Top-k** (Fan et al. 2018, arXiv:1805.04833,
# section 5) cuts the tail off. Keep the $k$ likeliest tokens, give all others 0, and divide by what is left, so that the
# sum is 1 again.
#
# ### Exercise: `top_k`
#
# `top_k` gets a distribution and returns one, of the same length and with each token at its place. So it can be put
# behind temperature, and top-p behind it.
#
# @hint A nudge
# `np.argsort(-p)` gives the ids of all tokens, likeliest first.
# @hint Equal probabilities
# Exactly $k$ tokens stay. If several are as likely as the $k$-th, keep those with the smaller ids: `np.argsort(-p,
# kind="stable")` leaves equal ones in the order in which they stand. (Comparing with the $k$-th largest, `p >= …`, would
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
    """Keep the k likeliest tokens.

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
# How many tokens are worth keeping? Here it was ten. But that differs from position to position. Below, a story that the
# model has not been trained on, and at each position the number of tokens that have nine tenths of the probability
# together.

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
# No single $k$ fits. At most positions one token is right and $k = 10$ lets nine wrong ones in. Where ten words are
# equally good, $k = 3$ throws seven of them away.

# %% [markdown]
# ## 5 Top-p: keep as many as it takes
#
# **Top-p**, or nucleus sampling (Holtzman et al. 2020, equations 2 and 3), asks for a share of the probability and not
# for a number of tokens. Sort the tokens, likeliest first. Keep the *smallest* set whose probabilities sum to at least
# `mass`. Give the others 0 and divide by the sum.
#
# ### Exercise: `top_p`
#
# The token that crosses the line belongs to the set: without it the sum does not reach `mass`. So at least one token
# stays, however small `mass` is.
#
# @hint A nudge
# A token is needed as long as those *before* it, all likelier, have not reached `mass` by themselves.
# @hint The formula
# Sorted, likeliest first: $\text{before}_i = \sum_{j < i} p_j$, which is 0 for the first. Keep token $i$ if
# $\text{before}_i < \text{mass}$. `np.cumsum` gives sums that include $p_i$ itself, so take it off again.
# @hint Almost code
# ```python
# order = np.argsort(-p, kind="stable")
# before = np.cumsum(p[order]) - …
# kept = order[before < …]
# ```
# and then as in `top_k`.
# @end


# %% exercise="top_p"
def my_top_p(p, mass):
    """Keep the smallest set of likeliest tokens whose probabilities sum to at least `mass`.

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
    before = np.cumsum(p[order]) - p[order]  # (V,), the probability of everything likelier
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
# | | what it does | the order of tokens | the tail | for it | against it |
# | --- | --- | --- | --- | --- | --- |
# | $T = 0$, greedy | the likeliest gets 1 | | gone | the same answer each time | loops, no variety |
# | $0 < T < 1$ | sharpens | stays | smaller | fewer slips | good words become rare, too |
# | $T > 1$ | flattens | stays | larger | more variety | nonsense |
# | top-k | $k$ tokens stay | stays | gone | quick to do | the right $k$ is different at each position |
# | top-p | a share of the probability stays | stays | gone | adapts to the position | a flat distribution keeps many |
#
# They are used one after the other: temperature, then top-k, then top-p. That is what `numpylm generate` does. (It has two
# more options: `docs/sampling.md` shows all of them on one distribution.) If you have written all three, this is the same
# function:

# %%
from numpylm.inference.generation import next_token_probabilities

ours = next_token_probabilities(logits, temperature=1.3, top_k=50, top_p=0.9)
yours = top_p(top_k(temperature_probabilities(logits, 1.3), 50), 0.9)
print(f"largest difference {np.abs(ours - yours).max():.0e}")

# %% [markdown]
# ## 6 The draw
#
# A computer's random generator gives a number $u$, anywhere in $[0, 1)$ with equal chance. How does one get a token from
# it? Lay the tokens side by side on a line from 0 to 1, each as wide as its probability. Token $j$ then ends at the
# cumulative sum $F_j = p_0 + \dots + p_j$. Where $u$ falls is the token: the first one with $F_j > u$.

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
# Two things can go wrong. A token with $p_j = 0$ must never come, not even for $u = 0$. And rounding may leave the last
# cumulative sum at 0.9999999, so that a $u$ close to 1 finds no token at all.
#
# @hint A nudge
# Divide the cumulative sums by the last one. Then the last is exactly 1 and $u$ is always below it.
# @hint The function for it
# `np.searchsorted(F, u, side="right")` says how many entries of the sorted array `F` are at most $u$. That is the index
# of the first one that is larger.
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
        The first token whose cumulative sum is larger than u. Never one of probability 0.
    """
    # --- solution
    F = np.cumsum(p)
    return int(np.searchsorted(F / F[-1], u, side="right"))
    # --- end


# %%
sample = check("sample", my_sample)

# %% [markdown]
# Does it draw in the right proportions? And NumPy has a function for this, `rng.choice(V, p=p)`. With the same random
# numbers it gives the same tokens, since it works in the same way.

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
# Now write. The loop is the same for every way of choosing: logits of the last position, choose, append, again.


# %%
def write_slowly(prompt, n, choose):
    """Continue a prompt by n tokens; `choose(logits)` picks one."""
    ids = tokenizer.encode(prompt)
    for _ in range(n):
        logits = gpt.forward(np.array([ids]))[0][0, -1]  # (V,): everything is computed anew for each token
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
# Look at `write_slowly` again. For every new token it runs the whole model over the whole text, although nothing in the
# text has changed but its end. Is all of that needed?
#
# Attention is causal: position $t$ sees positions $0 \dots t$ and none after it. So what comes later cannot change
# anything that was computed at an earlier position. Test it: change the last token and compare the keys of the last
# block.


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
# Keys and values of earlier positions never change, so they can be kept. A new position needs only its own query, key and
# value; it attends to all kept keys and its own. The earlier queries are not needed any more: they have had their answer.
# Hence the name, **KV cache**.
#
# How much does it save? Count multiplications in the forward pass (as in lesson 07). At one position, the matrices of a
# block cost $12 C^2$ ($3C^2$ for Q, K, V, $C^2$ for the projection, $8C^2$ for the MLP), and the output layer $VC$ once.
# One query that looks at $t$ keys costs $tC$ for the scores and $tC$ for the sum of values. For the token after a text of
# $t$ tokens:
#
# | | matrices | attention |
# | --- | --- | --- |
# | without a cache | $t \, (12 C^2 L + VC)$ | $2 t^2 C L$ |
# | with a cache | $12 C^2 L + VC$ | $2 t C L$ |
#
# Each entry is $t$ times smaller. Summed over a text of $n$ tokens, the matrices cost about $n^2/2$ times their price
# without a cache, and $n$ times with it.

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
# One new position goes through a layer of attention. `attn` is one of numpylm's `CausalSelfAttention`: `attn.c_attn` is
# the `Linear` that makes Q, K and V side by side, `attn.c_proj` the output projection, `attn.n_head` is H. `past` holds
# the keys and values of all positions before, or is `None` at the first one.
#
# `split_heads(x, n_head)` turns (B, T, C) into (B, H, T, D), `merge_heads` turns it back, and
# `scaled_dot_product_attention(q, k, v)` returns `(out, cache)`. Read `attention.py` if you like: given a `past`,
# `CausalSelfAttention.forward` does the same, in memory that is taken once for the whole window.
#
# @hint A nudge
# Which mask? None. The one query is the last position, and the last position may look at everything that there is.
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
    """Self-attention for one new position, with the keys and values of earlier ones.

    Parameters
    ----------
    attn : CausalSelfAttention
        With c_attn (C -> 3C), c_proj (C -> C) and n_head.
    x_t : array (B, 1, C)
        The new position's input.
    past : (k, v) or None
        Keys and values of the t positions before, each (B, H, t, D); None if there are none.

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
# The rest of the model works on each position by itself, so it needs no cache. Here it is put together. Compare with
# `GPT.forward` and `Block.forward` of lesson 07: the same lines, for one position.


# %%
def step(gpt, ids_t, t, pasts):
    """Logits after one more token: ids_t (B,) stands at position t; pasts holds one (k, v) or None a block."""
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
# every position. In float32 the differences should be rounding. How can one know that they are nothing worse? Do it in
# float64: an error stays, rounding shrinks by a factor of about $10^9$.

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
# **The time.** How long does one more token take, after a text of $t$ tokens?


# %%
def best_of(n, function):
    """Seconds of the fastest of n calls; the others were disturbed by something."""
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
# Without a cache the time grows with the text, with one it hardly does. The gain is smaller than the count of
# multiplications promises. With one position the matrices are multiplied by a single row: each weight is fetched from
# memory, used once and dropped, and Python's own overhead is there too. Large models have the same trouble: writing is
# limited by memory, not by arithmetic (Shazeer 2019, arXiv:1911.02150). A batch of several texts at once is the cure,
# because it uses each weight several times. You will see that in the next section.
#
# The cache is paid for with memory: two arrays of $C$ numbers for each block and position. For one text, with 4 bytes a
# number here and 2 bytes in large models:

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
# ## 9 What you win, and what you lose
#
# Now writing is cheap, so measure what the settings are worth. The stories come from a program, and the program can
# *read*: it can tell up to which character a text is one that it might have told itself. What comes after that is a slip:
# a hero who changes names, a sentence that does not fit.
#
# For each setting: 48 stories with 110 new tokens each, written together as one batch. Two numbers:
#
# - **faithful**: the mean number of characters before the first slip;
# - **varied**: of all runs of five words, the share of *different* ones. 48 equal stories have a low share.
#
# The bars show the uncertainty of each mean (one standard error). 48 stories by the program itself are the star.

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
        if t == ids.shape[1] and n > 0:  # the prompt is read: from here on choose
            ids = np.c_[ids, [choose(row) for row in z]]
            n -= 1
    return [tokenizer.decode(row) for row in ids]


def faithful(text):
    """How many characters the story program might have written."""
    reader = Reader(text)
    try:
        CORPORA["stories"].tell(reader)
    except ForeignText as end:
        return end.args[0]  # here it would have gone on differently
    return reader.position


def varied(texts, n=5):
    """The share of different ones among all runs of n words."""
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
looks = {  # colour and marker, place of the number
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
axes.set(xlabel="varied (share of different runs of five words)", ylabel="faithful (characters before a slip)")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# The distance from the star is what a setting costs. Temperature alone can only trade. Colder is more faithful but says
# the same again and again; greedy tells one story 48 times. Hotter is more varied and slips early. Top-p 0.9 is as varied
# as $T = 1$, but slips later: it takes the tail away and leaves the good words nearly as they are. Top-k 10 hardly
# differs from $T = 1$, for the reason seen in section 4: where one token is right, it lets nine others in.
#
# Do not take these numbers for a law. Our model knows its stories almost perfectly, so it needs little help. And
# "faithful" can be measured here only because we have the program that tells the stories.
#
# ## 10 The edge of the window
#
# The table of positions, `wpe`, has 256 rows. What happens at position 256? There is no row for it. The text would have
# to *slide*: drop the oldest token and move all others one place to the left. But a token that moves gets another
# position vector, so its input changes, and with it its key and value in every block. The whole cache belongs to the old
# places.

# %%
x = gpt.wte.weight.data[whole]  # (T, C)
first = gpt.h[0]


def first_keys(positions):
    """Keys of the first block, if the story stood at these positions, (T, C)."""
    normed, _ = first.ln_1.forward(x + gpt.wpe.weight.data[positions])
    return first.attn.c_attn.forward(normed)[0][:, C : 2 * C]


here, moved = first_keys(np.arange(1, 201)), first_keys(np.arange(200))
print(
    f"one place to the left changes the keys by {np.linalg.norm(here - moved) / np.linalg.norm(here):.0%} of their length"
)

# %% [markdown]
# So a sliding window needs the whole forward again for each token, cache or not. `numpylm generate` therefore does not
# slide: when all 256 places are taken, it keeps the newest half of the text, moves it to the places from 0 on and reads it
# again, and then the cache grows for another 128 tokens. That is fast, but forgetful.
#
# Neither is the worst of it. Our model has read windows that begin with the beginning of a story. Position 0 in the
# middle of a sentence is something it has never met. Take unseen stories, and ask for the loss on the tokens from 150 on,
# when the text before position 50, or 100, is cut off. Once the rest keeps its places, so that only the *knowledge* is
# lost; once it moves to the left, as it must in a window that slides or is halved.


# %%
def loss_from_150(ids, cut, moved):
    """Nats per token from position 150 on, if the model reads ids[cut:] only."""
    positions = np.arange(cut, len(ids)) - (cut if moved else 0)
    x = (gpt.wte.weight.data[ids[cut:]] + gpt.wpe.weight.data[positions])[None]  # (1, T - cut, C)
    for block in gpt.h:
        x, _ = block.forward(x)
    z = gpt.ln_f.forward(x)[0][0] @ gpt.wte.weight.data.T  # (T - cut, V)
    z = z[149 - cut : -1]  # these say what comes at 150, 151, …
    z = z - z.max(axis=-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(z)), ids[150:]].mean()


encoded = [np.array(tokenizer.encode(CORPORA["stories"].text(n)))[:256] for n in range(6000, 6040)]
encoded = [ids for ids in encoded if len(ids) > 180]
print(f"loss of {len(encoded)} unseen stories, in nats per token (ln V = {np.log(V):.2f})")
print("cut off        rest keeps its places   rest moves to the left")
for cut in (0, 50, 100):
    kept, moved = (np.mean([loss_from_150(ids, cut, m) for ids in encoded]) for m in (False, True))
    print(f"{cut:3} tokens  {kept:26.2f}  {moved:23.2f}")

# %% [markdown]
# In the first row nothing is cut off, and both columns are the same. Below, the left column shows what forgetting costs:
# the model no longer knows who the story is about. The right column shows what the strange places cost on top of it, and
# that is far more.
#
# This is a weakness of *learned* positions. Other models turn queries and keys by an angle that depends on the position,
# so that a score depends on the *distance* of two tokens only (rotary embedding, Su et al. 2021, arXiv:2104.09864), or
# subtract from each score an amount that grows with the distance (ALiBi, Press et al. 2022, arXiv:2108.12409). For them
# it does not matter where a text begins, and cached keys can stay when the window slides.

# %% [markdown]
# ## What you can do now
#
# - choose the next token in four ways, and say what each does to the distribution;
# - draw from any distribution with one random number;
# - write a KV cache, prove it right, and say what it saves in multiplications and costs in memory;
# - say what happens at the edge of the window.
#
# ## Three questions
#
# @answer Does the order matter: first temperature, then top-p, or first top-p, then temperature?
# Yes. A high temperature flattens the distribution, so more tokens are needed to reach the mass, and the tail comes in
# before it is cut. If you cut first, the same tokens stay as at $T = 1$ and are then made more equal. Top-k is different:
# temperature never changes the order of the tokens, so the same $k$ stay either way.
# @answer With the cache, logits are right at position 0 and wrong from position 1 on. Where do you look?
# Position 0 has no past, so everything but the use of the past is right. Look at the axis along which keys and values are
# appended, at whether `past` is handed on, and at whether the position vector of the step is `wpe[t]` and not always
# `wpe[0]`.
# @answer Why are queries not cached?
# The query of position $t$ is used once, to find out what position $t$ takes from the others. Later positions ask with
# their own queries and need from position $t$ only its key (is it what I look for?) and its value (what it has to give).
# @end
