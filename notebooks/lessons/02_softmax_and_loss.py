# %% [markdown]
# # 02 · Softmax and loss: the first language model
#
# In this lesson you build the simplest language model, measure how good it is, and derive the gradient of its loss.
# Every backward pass in this course starts with this gradient.
#
# **You need:** lesson 01 (what a token is), what a derivative is, and that the logarithm of a product is a sum.
# **Time:** about an hour. **You will write:** five functions.

# %%
import math

import numpy as np

from numpylm import CharTokenizer
from numpylm.course import check, heatmap, stories, style

plt = style()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 What a language model is
#
# A language model answers one question: **which token comes next?** Its answer is not one token, but a probability for
# each of the $V$ tokens of its vocabulary. We write $P(y \mid x)$ for the probability of the next token $y$, given the
# text so far, $x$.
#
# Our first model looks back only one token. It is called a *bigram* model, because it knows about pairs of tokens. In
# this lesson a token is a character, so that the vocabulary is small enough to look at, and $x$ is just the previous
# token.

# %%
text = "".join(stories(200_000))
tokenizer = CharTokenizer.train(text)
V = tokenizer.vocab_size
ids = np.array(tokenizer.encode(text))
train, validation = ids[:180_000], ids[180_000:]

print(repr(text[:90]))
print("tokens:", train[:12], "...")
print(f"V = {V} different characters, {len(train):,} tokens to learn from, {len(validation):,} to test on")

# %% [markdown]
# ## 2 P(y|x), by counting
#
# Go through the text and count how often $y$ follows $x$. Put the count into row $x$, column $y$ of a table. A row
# divided by its sum is a probability distribution. It says how likely each $y$ is after this $x$:
#
# $$P(y \mid x) = \frac{1 + \text{count}(x, y)}{\sum_{y'} \left(1 + \text{count}(x, y')\right)}$$
#
# The 1 gives every pair a positive probability, even a pair that never occurred. You will see below why a probability
# of exactly 0 would be a disaster.
#
# NumPy has a trap here. With arrays `a` and `b`, `counts[a, b] += 1` adds 1 only once to each *different* entry,
# however often that entry occurs in the arrays. `np.add.at(counts, (a, b), 1)` adds every time. This is also the most
# frequent bug in embeddings, and you will meet it again.

# %% [markdown]
# ### Exercise: `bigram_probabilities`
#
# `ids` holds the tokens one after the other, so the pairs are `ids[0], ids[1]`, then `ids[1], ids[2]`, and so on.
#
# @hint A nudge
# The first tokens of all pairs are `ids[:-1]`, and the second tokens are `ids[1:]`. Both have the same length, and they
# are shifted by one.
# @hint The formula
# $P(y \mid x) = (1 + \text{count}(x, y)) \,/\, \sum_{y'} (1 + \text{count}(x, y'))$
# @hint Almost code
# ```python
# counts = np.ones((vocab_size, vocab_size))
# np.add.at(counts, (…before…, …after…), 1)
# return counts / counts.sum(axis=…, keepdims=True)
# ```
# @end


# %% exercise="bigram_probabilities"
def my_bigram_probabilities(ids, vocab_size):
    """P(y|x) from counts of pairs.

    Parameters
    ----------
    ids : int array (N,)
        A text, as tokens.
    vocab_size : int
        V.

    Returns
    -------
    array (V, V)
        Row x is the distribution of the token after x. Each row sums to 1.
    """
    # --- solution
    counts = np.ones((vocab_size, vocab_size))  # (V, V)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    return counts / counts.sum(axis=1, keepdims=True)
    # --- end


# %%
bigram_probabilities = check("bigram_probabilities", my_bigram_probabilities)

# %% [markdown]
# Here is the table for the most frequent characters. Each row is one distribution. What follows an `h`? What follows a
# period?

# %%
P = bigram_probabilities(train, V)  # (V, V)
frequent = np.argsort(-np.bincount(train, minlength=V))[:24]
names = [repr(tokenizer.decode([i]))[1:-1].replace(" ", "␣") for i in frequent]  # ␣ is a space
fig, axes = plt.subplots(figsize=(6, 5.2))
image = heatmap(
    axes, P[np.ix_(frequent, frequent)], names, names, xlabel="next character y", ylabel="character x", title="P(y | x)"
)
fig.colorbar(image, label="probability")
plt.show()

# %% [markdown]
# A model that knows probabilities can write: draw a token from row $x$, go to that token's row, and draw again. The
# result is nonsense, but look at the *lengths* of the words, at `, "` and at the endings. The model has learned all
# this from pairs alone.


# %%
def write(P, length=200):
    """Draw one token after another."""
    token = tokenizer.encode("T")[0]
    out = [token]
    for _ in range(length):
        token = rng.choice(V, p=P[token])
        out.append(token)
    return tokenizer.decode(out)


print(write(P))

# %% [markdown]
# ## 3 How good is it? Surprise
#
# Show the model a text that it has never seen. At each position, let $p$ be the probability that the model gave to the
# actual next token. If $p$ is 1, the model was certain and right. If $p$ is small, the model is surprised. We measure
# surprise by
#
# $$-\log p.$$
#
# Why do we use the logarithm? The probability of a whole text is the *product* of its tokens' probabilities, and that
# is too small for a computer to represent. The logarithm turns the product into a *sum*. And a token that was certain
# ($p = 1$) has a surprise of 0.

# %%
p = np.linspace(0.001, 1, 500)
fig, axes = plt.subplots(figsize=(5.5, 2.8))
axes.plot(p, -np.log(p))
for value in (0.5, 0.1, 1 / V):
    axes.plot(value, -math.log(value), "o", color="#e8871e")
    axes.annotate(
        f"p = {value:.2g}: {-math.log(value):.2f} nats", (value, -math.log(value)), (value + 0.04, -math.log(value))
    )
axes.set(xlabel="probability that the model gave to the actual token", ylabel="surprise (nats)")
plt.show()

# %% [markdown]
# With the natural logarithm, surprise is measured in **nats**. With $\log_2$ it would be in bits; 1 bit = ln 2 = 0.693 nats.
# And here is the disaster: for $p = 0$ the surprise is infinite. A single token with probability 0 makes the loss of
# the whole text infinite. That is why we add 1 to the counts.
#
# The mean over all tokens of a text is the **cross-entropy**, in nats per token. It is *the* loss of language models:
#
# $$L = -\frac{1}{N} \sum_{n=1}^{N} \log p_{n, y_n}$$
#
# Here $n$ counts positions, $y_n$ is the actual token at position $n$, and $p_{n, y_n}$ is the probability that the
# model gave to it.


# %%
def table_loss(P, ids):
    """Mean nats per token of a bigram table."""
    return float(-np.log(P[ids[:-1], ids[1:]]).mean())


uniform = math.log(V)  # every token equally likely: -log(1/V) = log V
unigram_p = (np.bincount(train, minlength=V) + 1) / (len(train) + V)
unigram = float(-np.log(unigram_p[validation[1:]]).mean())
bigram = table_loss(P, validation)
print(f"guessing, ln V   {uniform:.3f} nats per token")
print(f"unigram          {unigram:.3f}   knows how frequent each character is")
print(f"bigram           {bigram:.3f}   knows the previous character")

# %% [markdown]
# Remember **ln V**. A model that knows nothing gives each token the probability $1/V$, and its loss is exactly ln V. A
# new, untrained GPT has nearly this loss. If a training run does not start near ln V, something is already wrong.

# %% [markdown]
# ## 4 From counts to logits: softmax
#
# Counting works for one token of context. For two tokens the table would have $V^2$ rows, and for ten tokens $V^{10}$,
# more than any text could fill. So a neural network *computes* the row instead. But the outputs of a network can be any
# numbers, negative or large, and not probabilities. These raw outputs are called **logits**, $z$. **Softmax** turns
# them into a distribution:
#
# $$p_j = \frac{e^{z_j}}{\sum_k e^{z_k}}$$
#
# The exponential makes every entry positive, and the division makes the sum 1. A larger logit gives a larger
# probability. Adding the same number $c$ to all logits changes nothing, because $e^{z_j + c} = e^c e^{z_j}$, and $e^c$
# cancels. This is useful, because the exponential overflows easily:

# %%
with np.errstate(over="ignore"):
    print("exp of 88 and 89 in float32:", np.exp(np.float32([88, 89])))

# %% [markdown]
# Above 88, the exponential overflows in float32. Adding a constant changes nothing, so we first subtract the largest
# logit of each row. Then the largest exponent is 0, and nothing can overflow.

# %% [markdown]
# ### Exercise: `softmax`
#
# Write softmax over the *last* axis, for an array of any shape. The check tries logits of 1,000.
#
# @hint A nudge
# Each row has its own maximum and its own sum. `axis=-1` computes them along the last axis.
# @hint The formula
# $p_j = e^{z_j - m} / \sum_k e^{z_k - m}$ with $m = \max_k z_k$.
# @hint Almost code
# `keepdims=True` keeps the axis with length 1, so that the result broadcasts against `z`:
# ```python
# e = np.exp(z - z.max(axis=-1, keepdims=True))  # (..., V)
# return e / …
# ```
# @end


# %% exercise="softmax"
def my_softmax(z):
    """Softmax over the last axis.

    Parameters
    ----------
    z : array (..., V)
        Logits.

    Returns
    -------
    p : array (..., V)
        Probabilities: positive, each row sums to 1.
    """
    # --- solution
    e = np.exp(z - z.max(axis=-1, keepdims=True))  # (..., V)
    return e / e.sum(axis=-1, keepdims=True)
    # --- end


# %%
softmax = check("softmax", my_softmax)

# %%
z = np.array([2.0, 1.0, 0.0, -2.0])
print("logits        ", z)
print("probabilities ", softmax(z).round(3), " sum", softmax(z).sum())
print("all + 1000    ", softmax(z + 1000).round(3))

# %% [markdown]
# ## 5 The loss of logits
#
# Now we combine softmax and -log in one function, from logits to loss. It also returns what its gradient will need, the
# **cache**. Every function with a backward has this form. (The softmax above has no backward yet; from lesson 03 on, it
# returns a cache, too.)
#
# ```python
# out, cache = f(x)              # forward
# dx = f_backward(dout, cache)   # backward
# ```
#
# ### Exercise: `cross_entropy`
#
# `z` holds one row of logits for each position, and `y` holds the right token for each position.
#
# @hint A nudge
# First compute the softmax. Then pick one number from each row: from row $n$, the number in column $y_n$.
# @hint The trick
# `p[np.arange(N), y]` picks `p[0, y[0]], p[1, y[1]], …`: one number for each row. (`p[:, y]` is something else: all rows, and
# N columns.)
# @hint Almost code
# ```python
# p = softmax(z)                      # (N, V)
# p_right = p[np.arange(len(y)), y]   # (N,)
# loss = …                            # one number
# return loss, (p, y)
# ```
# @end


# %% exercise="cross_entropy"
def my_cross_entropy(z, y):
    """Mean of -log p[n, y[n]] over all positions n, in nats.

    Parameters
    ----------
    z : array (N, V)
        Logits.
    y : int array (N,)
        The right tokens.

    Returns
    -------
    loss : float
    cache : (p, y)
        The probabilities (N, V) and the targets, for the backward.
    """
    # --- solution
    p = softmax(z)  # (N, V)
    loss = float(-np.log(p[np.arange(len(y)), y]).mean())
    return loss, (p, y)
    # --- end


# %%
cross_entropy = check("cross_entropy", my_cross_entropy)

# %% [markdown]
# Here is a first sanity check, which works for every model that you will ever train: equal logits must give a loss of
# ln V.
#
# (If p underflows to 0, its -log is infinite. Libraries therefore compute $\log \sum_k e^{z_k} - z_y$ directly, the formula of the next
# section.)

# %%
loss, _ = cross_entropy(np.zeros((10, V)), np.arange(10))
print(f"loss of equal logits: {loss:.4f}, ln V: {math.log(V):.4f}")

# %% [markdown]
# ## 6 The gradient: p - y
#
# To improve the model, we change each logit a little in the direction that lowers the loss. How much does the loss
# change when logit $z_j$ changes? Take one position, and let $y$ be its right token. First, write the loss without the
# fraction:
#
# $$L = -\log \frac{e^{z_y}}{\sum_k e^{z_k}} = \log \sum_k e^{z_k} - z_y$$
#
# Now differentiate with respect to one logit $z_j$, one term at a time.
#
# - **First term.** By the chain rule, $\dfrac{\partial}{\partial z_j} \log \sum_k e^{z_k} = \dfrac{1}{\sum_k e^{z_k}} \cdot e^{z_j}$.
#   That is $p_j$, the softmax itself.
# - **Second term.** $\dfrac{\partial z_y}{\partial z_j}$ is 1 if $j = y$ and 0 otherwise. Write $[j = y]$ for that.
#
# $$\boxed{\frac{\partial L}{\partial z_j} = p_j - [j = y]}$$
#
# Write $y$ as a row of zeros with a single 1 at the right token. This is called a **one-hot** vector. Then the gradient
# is $p - y$: the model's prediction minus the right answer. (In code, `y` holds only the *ids* of the right tokens, so
# you cannot write `p - y` literally.) For a mean over $N$ positions, each row is divided by $N$. (This is equation 8 of
# Bridle 1990, the paper that gave softmax its name. Every framework uses it.)

# %%
z = np.array([[2.0, 1.0, 0.0, -1.0, 0.5]])
y = np.array([2])
p = softmax(z)[0]
onehot = np.eye(5)[y[0]]
fig, axes = plt.subplots(1, 3, figsize=(8, 2.3), sharey=True)
for ax, values, title in zip(
    axes, (p, onehot, p - onehot), ("p: predicted", "y: right", "p - y: the gradient"), strict=True
):
    ax.bar(range(5), values, color=["#3b82f6" if v >= 0 else "#e15759" for v in values])
    ax.axhline(0, color="#808080", linewidth=0.8)
    ax.set(title=title, xlabel="token j", xticks=range(5))
axes[0].set_ylabel("probability, or nats per logit")
plt.show()

# %% [markdown]
# Training moves *against* the gradient. So the logit of the right token rises (its bar is negative), and all other
# logits fall. A logit falls more if its token wrongly got more probability. The bars add up to 0: training moves
# probability from one token to another, and the total stays the same.

# %% [markdown]
# ### Exercise: `cross_entropy_backward`
#
# `dloss` is the upstream gradient. It says how much the final result changes when this loss changes. If the loss *is*
# the final result, `dloss` is 1. Multiply by it anyway: the chain rule requires it, and the check uses another number.
#
# @hint A nudge
# Start from a copy of `p`. (Why a copy? `p` is in the cache, and it must stay unchanged in case the backward runs
# twice.)
# @hint The formula
# $\texttt{dz}[n, j] = \texttt{dloss} \cdot (p_{nj} - [j = y_n]) / N$
# @hint Almost code
# ```python
# p, y = cache
# dz = p.copy()
# dz[np.arange(len(y)), y] -= …
# return …
# ```
# @end


# %% exercise="cross_entropy_backward"
def my_cross_entropy_backward(dloss, cache):
    """Gradient of `cross_entropy` with respect to the logits.

    Parameters
    ----------
    dloss : float
        The upstream gradient.
    cache : (p, y)
        Probabilities (N, V) and targets (N,), from the forward.

    Returns
    -------
    dz : array (N, V)
    """
    # --- solution
    p, y = cache
    dz = p.copy()  # (N, V)
    dz[np.arange(len(y)), y] -= 1
    return dloss * dz / len(y)
    # --- end


# %%
cross_entropy, cross_entropy_backward = check("cross_entropy_backward", my_cross_entropy, my_cross_entropy_backward)

# %% [markdown]
# How does the check know? It changes every logit a little, runs *your* forward again, and measures how much the loss
# changes. So your own forward proves that your backward is right. In the next lesson you will write such a check
# yourself.

# %% [markdown]
# ## 7 The bigram model, trained
#
# Now we *train* the same model as in section 2. Its parameters are a table $W$ of logits, with one row $x$ for each
# previous token. We do not count anything. We only follow the gradient, for 1,000 steps. $W$ starts at 0, so at first
# every probability is $1/V$.

# %%
from tqdm import tqdm

W = np.zeros((V, V))
x, y = train[:-1], train[1:]
losses = []
for step in tqdm(range(1000), leave=False):
    batch = rng.integers(0, len(x), 2000)
    loss, cache = cross_entropy(W[x[batch]], y[batch])  # look up the rows, then the loss
    dz = cross_entropy_backward(1.0, cache)  # (2000, V)
    dW = np.zeros_like(W)
    np.add.at(dW, x[batch], dz)  # a row that was used several times gets several gradients
    W -= 30 * dW  # against the gradient; 30 is the learning rate
    losses.append(loss)

learned = table_loss(softmax(W), validation)
fig, axes = plt.subplots()
axes.plot(losses, label="training loss, one batch", linewidth=1)
for value, name in ((uniform, "ln V"), (unigram, "unigram"), (bigram, "bigram by counting")):
    axes.axhline(value, color="#808080", linestyle="--", linewidth=1)
    axes.annotate(name, (1000, value), (1005, value), va="center", annotation_clip=False)
axes.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, 1000))
axes.legend(loc=(0.3, 0.75))
plt.show()
print(f"validation loss: learned {learned:.3f}, counted {bigram:.3f} nats per token")

# %% [markdown]
# Gradient descent finds what counting finds. The loss starts at ln V. The model first learns how frequent each
# character is, and then which characters follow which. Counting works only for a model like this one. Gradients work
# for any model, and the rest of the course builds better ones.

# %% [markdown]
# ## 8 Two other names for the same number
#
# **Perplexity** is $e^{L}$ for a loss $L$ in nats. A model with perplexity 10 is as uncertain as if it had to choose
# among 10 equally likely tokens. Uniform guessing has perplexity $V$.
#
# **Bits per byte** makes the losses of models with *different tokenizers* comparable. Longer tokens are harder to
# predict, but there are fewer of them. So take the loss of the whole text (nats per token times the number of tokens),
# convert it to bits, and divide by the number of bytes in the text, which does not depend on the tokenizer. (In this
# lesson almost every character is one byte, so the text has about as many tokens as bytes. From lesson 09 on, this is
# no longer true.)
#
# $$\text{bits per byte} = \frac{L \cdot \text{tokens}}{\ln 2 \cdot \text{bytes}}$$

# %% [markdown]
# ### Exercise: `scores`
#
# @hint A nudge
# One bit is ln 2 = 0.693 nats, so the same amount is a *larger* number in bits than in nats.
# @hint The formula
# perplexity $= e^L$; bits per byte $= L \cdot \text{tokens} / (\ln 2 \cdot \text{bytes})$
# @hint Almost code
# ```python
# return math.exp(…), … / math.log(2) / n_bytes
# ```
# @end


# %% exercise="scores"
def my_scores(nats_per_token, tokens, n_bytes):
    """Perplexity and bits per byte of a loss.

    Parameters
    ----------
    nats_per_token : float
    tokens, n_bytes : int
        The length of the text, in tokens and in bytes.

    Returns
    -------
    (float, float)
        Perplexity, bits per byte.
    """
    # --- solution
    return math.exp(nats_per_token), nats_per_token * tokens / math.log(2) / n_bytes
    # --- end


# %%
scores = check("scores", my_scores)

# %%
n_bytes = len(tokenizer.decode(validation.tolist()).encode("utf-8"))
print("                 nats per token   perplexity   bits per byte")
for name, loss in (("guessing", uniform), ("unigram", unigram), ("bigram", bigram), ("learned bigram", learned)):
    perplexity, bits = scores(loss, len(validation), n_bytes)
    print(f"{name:15}  {loss:14.3f}  {perplexity:11.2f}  {bits:14.3f}")

# %% [markdown]
# ## What you can do now
#
# - say what a language model computes, and sample from one;
# - turn logits into probabilities without overflow;
# - measure a model in nats per token, perplexity and bits per byte, and know what ln V means;
# - derive p - y, and write it.
#
# ## 小结
#
# softmax 把任意实数（logits）变成概率；先减去每行的最大值，就不会溢出。交叉熵是正确词元概率的负对数的平均值，单位是奈特（nat）。
# 瞎猜的损失是 ln V；困惑度是损失的指数；不同分词器之间要比较每字节的比特数。softmax 与交叉熵合在一起，梯度只有 p - y：
# 预测减去答案。
#
# ## Three questions
#
# @answer A model's loss at the start is 9.2 with V = 1,024. What do you conclude?
# ln 1,024 = 6.93. The model is *worse* than uniform guessing. Its initial logits are too large, so it is confident and
# wrong. Check the scale of the initial weights.
# @answer Why do the entries of p - y sum to 0, and what would it mean if they did not?
# p sums to 1, and so does the one-hot y. Adding a constant to all logits does not change the loss, so the gradient has
# no component in that direction. A sum other than 0 would mean that the loss changes with that constant, which is
# impossible.
# @answer Two models have losses of 2.0 and 1.2 nats per token. Can the first be better?
# Yes, if its tokens are longer. At 4 bytes per token, the first model needs 2.0 / 0.693 / 4 = 0.72 bits per byte. At 1
# byte per token, the second needs 1.73.
# @end
