# %% [markdown]
# # 21 · Privacy: what a model remembers, and how to limit it
#
# A language model can learn parts of its training text by heart. If the text has a secret, the model may tell it to
# anybody who asks. In this lesson you put secrets into a text, train a model on it, and measure how well it knows
# them. Then you train a second model in such a way that no single message matters much. This is called **differentially
# private** training. It has a price, and you measure that, too.
#
# **You need:** lessons 02, 08 and 09. **Time:** about an hour and a half.
# **You will write:** the exposure of a secret, the sum of clipped gradients, the noise, and a small privacy accountant.

# %%
import numpy as np
from tqdm import tqdm

from numpylm import GPT, AdamW, GPTConfig, Tokenizer, clip_grad_norm, warmup_cosine
from numpylm.corpora import MESSAGES
from numpylm.course import check, style
from numpylm.inference.exposure import Canary, insert_canaries, number_log_probs
from numpylm.training.privacy_accountant import epsilon_spent, noise_for

plt = style()
rng = np.random.default_rng(1)

# %% [markdown]
# ## 1 Secrets in a text
#
# The text has 1,500 short messages to a shop. We add sentences with random numbers of four digits. Such a sentence is
# called a **canary**. Three canaries occur once, three occur 4 times, and three occur 16 times. Three more numbers are
# in no text: the model cannot know them, so we can compare with them.

# %%
texts = [text for text, _ in MESSAGES.messages(2500)]
other, messages = texts[:1000], texts[1000:]
FORM, NAMES = (
    "The access code of {word} is {digits:4}.",
    ["Ada", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gina", "Hugo", "Iris"],
)
documents, canaries = insert_canaries(messages, FORM, [16] * 3 + [4] * 3 + [1] * 3, rng, NAMES)
canaries += [
    Canary(f"The access code of {name} is ", f"{rng.integers(10**4):04}", 0) for name in ("Max", "Nina", "Pia")
]
print(f"{len(documents):,} documents. Three of them:")
for document in [*messages[:2], canaries[0].prefix + canaries[0].secret + "."]:
    print("   ", document)

# %% [markdown]
# The vocabulary is learned from 600 other messages, and 400 more are the validation text. So nothing but the weights
# can come from the canaries. Each document is one example, and the end token stands before and after it.

# %%
tokenizer = Tokenizer.train("\n".join(other[:600]), 384)
END, V, T = tokenizer.end_id, tokenizer.vocab_size, 48


def rows_of(some):
    """Each text as ids between end tokens, at most T + 1 of them."""
    return [np.array([END, *tokenizer.encode(text), END][: T + 1]) for text in some]


def batch_of(some):
    """Ids and targets (B, length) of some rows. Shorter rows are filled up, which is not counted."""
    longest = max(map(len, some)) - 1
    ids, targets = np.full((len(some), longest), END), np.full((len(some), longest), -100)
    for i, row in enumerate(some):
        ids[i, : len(row) - 1], targets[i, : len(row) - 1] = row[:-1], row[1:]
    return ids, targets


rows, held_out = rows_of(documents), rows_of(other[600:])
counts = np.bincount(np.concatenate([row[1:] for row in rows]), minlength=V) + 1.0
unigram = -np.log(counts / counts.sum())[np.concatenate([row[1:] for row in held_out])].mean()


def new_gpt():
    """A small GPT with the same initial weights each time."""
    return GPT(GPTConfig(V, T, 2, 2, 64), np.random.default_rng(0))


# %% [markdown]
# Now train a model as usual, and ask it for Ada's code. **This takes about twenty seconds.**

# %%
STEPS = 600
usual, draw = new_gpt(), np.random.default_rng(1)
optimizer = AdamW(usual.parameters(), lr=6e-3)
for step in tqdm(range(STEPS), leave=False):
    usual.zero_grad()
    usual.loss_and_grad(*batch_of([rows[i] for i in draw.integers(len(rows), size=32)]))
    clip_grad_norm(usual.parameters(), 1.0)
    optimizer.step(warmup_cosine(step, 20, STEPS, 6e-3, 3e-4))
print(f"validation loss {usual.loss(*batch_of(held_out)):.2f} nats per token; unigram model {unigram:.2f}")
prompt = [END, *tokenizer.encode(canaries[0].prefix.rstrip())]
written = [i for i in usual.generate(prompt, 8, temperature=0, stop_ids=[END]) if i != END]
print(f"the model:  {canaries[0].prefix.rstrip()}{tokenizer.decode(written)}")
print(f"the truth:  {canaries[0].prefix}{canaries[0].secret}.")

# %% [markdown]
# ## 2 Exposure: how well does it know a secret?
#
# One question to the model is a coarse test. It may find the right number likely, and another one even likelier. A finer
# measure is the **exposure** (Carlini et al. 2019, arXiv:1802.08232, definition 5). We compute the log-probability of all
# 10,000 numbers after the same words, and look up the rank of the true one:
#
# $$\text{exposure} = \log_2 N - \log_2 \text{rank}$$
#
# $N$ is the number of numbers. The rank is 1 if the true number is the likeliest. Then the exposure is
# $\log_2 10{,}000 = 13.3$ bits: the model gives the whole number away. Each bit less means that twice as many numbers
# are at least as likely.
#
# ### Exercise: `exposure`
#
# The rank is the number of numbers that are *at least as likely* as the true one, itself included.
#
# @hint A nudge
# Compare all log-probabilities with one of them, and count.
# @hint An example
# The log-probabilities are `[-1, -3, -2, -2]`, and the secret has the index 2. Three numbers are at least as likely: the
# indices 0, 2 and 3. So the rank is 3, and the exposure is $\log_2 4 - \log_2 3 = 0.415$ bits.
# @hint Almost code
# ```python
# rank = (log_p >= …).sum()
# return np.log2(…) - np.log2(rank)
# ```
# @end


# %% exercise="exposure"
def my_exposure(log_p, secret):
    """The exposure of a secret.

    Parameters
    ----------
    log_p : array (N,)
        The log-probability of each number.
    secret : int
        The true number: its index in ``log_p``.

    Returns
    -------
    float
        Bits, from 0 to log2(N).
    """
    # --- solution
    rank = (log_p >= log_p[secret]).sum()
    return float(np.log2(len(log_p)) - np.log2(rank))
    # --- end


# %%
exposure = check("exposure", my_exposure)


# %%
def exposure_after(model, prefix, secret):
    """The exposure of a number after some words."""
    return exposure(number_log_probs(model, prefix, 4, tokenizer), int(secret))


def mean_exposures(model):
    """The mean exposure of what occurs 16 times, 4 times, once and never; and of the first kind after other names."""
    bits = [(c.times, exposure_after(model, c.prefix, c.secret)) for c in canaries]
    means = [np.mean([b for times, b in bits if times == wanted]) for wanted in (16, 4, 1, 0)]
    swapped = [exposure_after(model, other.prefix, c.secret) for c in canaries[:3] for other in canaries[9:]]
    return [*means, np.mean(swapped)]


for what, bits in zip(
    ("16 times", "4 times", "once", "never", "16 times, other names"), mean_exposures(usual), strict=True
):
    print(f"{what:21}  {bits:4.1f} bits")

# %% [markdown]
# What occurs 16 times is known by heart. This is why repeated documents should be removed before a training.
#
# Two lines show what chance gives. The numbers that occur *never* have random ranks. A random rank has an exposure of 1.4
# bits on average, and one in eight has more than 3 bits. So three canaries of a kind are few, and only large differences
# count. And some numbers are likelier than others whoever has them, because the model finds their digits likely.
# So the last line takes the same three secrets after names that are in no text. **A secret is known if its exposure is
# much higher after its own name.**
#
# ## 3 Clip the gradient of each example
#
# How can we train so that no single message matters much? The weights change by gradients alone. So we must limit how
# far one example can move the gradient. A gradient is a sum over the examples of a batch. We compute the gradient $g_i$
# of each example alone, and if it is longer than $C$, we scale it down to the length $C$. Only then do we add:
#
# $$\text{sum} = \sum_i g_i \min\left(1, \frac{C}{\lVert g_i \rVert}\right)$$
#
# Whatever an example says, with it or without it the sum differs by at most $C$.
#
# ### Exercise: `clipped_sum`
#
# Each row of `gradients` is the gradient of one example, with the numbers of all parameters in one row. Short gradients
# stay as they are.
#
# @hint A nudge
# You need the norm of each row: an array (B,). Then a factor for each row, at most 1.
# @hint Beware of zero
# A gradient can be zero, and `clip / norms` divides by its norm. `clip / np.maximum(norms, clip)` never divides by zero,
# and it is at most 1.
# @hint Almost code
# ```python
# norms = np.sqrt((gradients**2).sum(axis=…))
# factors = clip / np.maximum(…)
# return factors @ gradients
# ```
# @end


# %% exercise="clipped_sum"
def my_clipped_sum(gradients, clip):
    """Clip the gradient of each example to the norm ``clip``, and add them.

    Parameters
    ----------
    gradients : array (B, D)
    clip : float
        C > 0.

    Returns
    -------
    array (D,)
    """
    # --- solution
    norms = np.sqrt((gradients**2).sum(axis=1))  # (B,)
    factors = clip / np.maximum(norms, clip)  # (B,), at most 1
    return factors @ gradients
    # --- end


# %%
clipped_sum = check("clipped_sum", my_clipped_sum)


# %% [markdown]
# Lesson 08 clipped, too, but the gradient of the whole batch. Would that not be enough? Try both on real gradients of
# 64 messages, and add one example that is 1,000 times as long as the others.


# %%
def example_gradients(model, some):
    """The gradient of each example, (B, D)."""
    out = np.empty((len(some), model.num_parameters()), np.float32)
    for i, row in enumerate(some):
        model.zero_grad()
        model.loss_and_grad(row[None, :-1], row[None, 1:])
        out[i] = np.concatenate([p.grad.ravel() for p in model.parameters()])
    return out


def clipped_after(gradients, clip):
    """Clip the sum instead of each gradient."""
    total = gradients.sum(axis=0)
    return total * min(1, clip / np.linalg.norm(total))


gradients = example_gradients(new_gpt(), rows[:64])
loud = 1000 * gradients[:1] * np.random.default_rng(2).choice([-1, 1], gradients.shape[1])
for name, method in (("clipped after the sum", clipped_after), ("each one clipped", clipped_sum)):
    without, with_it = method(gradients, 1.0), method(np.concatenate([gradients, loud]), 1.0)
    length, moved = np.linalg.norm(without), np.linalg.norm(with_it - without)
    print(f"{name:21}  length of the sum {length:5.1f}, moved by one example {moved:.2f}: {moved / length:4.0%}")

# %% [markdown]
# If we clip after the sum, one loud example turns the whole sum into its own direction. It moves the sum by more than the
# sum's own length. Noise that hides this movement hides everything. If we clip each one first, an example moves the sum by
# at most $C$, and the sum of many examples that agree is many times as long. Noise can hide the one and leave the other.
#
# ## 4 Noise hides a single pull
#
# Now add noise to the sum: to each of its numbers a random one from a Gaussian with mean 0 and standard deviation
# $\sigma C$. The factor $\sigma$ says how large the noise is beside the largest pull of one example. Then divide by the
# size of a batch.
#
# Which size? Each example is in the batch with probability $q$, each on its own. So the true size is random, and it
# says something about who is in it. We divide by the **expected** size, $B = q\,n$ for $n$ examples:
#
# $$\bar g = \frac{1}{B}\left(\text{sum} + \sigma C z\right), \qquad z \sim N(0, I)$$
#
# (Abadi et al. 2016, arXiv:1607.00133, algorithm 1.)
#
# ### Exercise: `private_mean`
#
# @hint A nudge
# `rng.standard_normal(shape)` draws numbers with standard deviation 1. Each number of the sum needs its own.
# @hint Almost code
# ```python
# z = rng.standard_normal(total.shape)
# return (total + …) / …
# ```
# @end


# %% exercise="private_mean"
def my_private_mean(total, clip, noise, expected, rng):
    """Add noise to the sum of clipped gradients, and divide by the expected size of the batch.

    Parameters
    ----------
    total : array (D,)
    clip : float
        C, the largest norm of the gradient of one example.
    noise : float
        σ: the standard deviation of the noise is σ C.
    expected : float
        B, the expected size of the batch.
    rng : numpy.random.Generator

    Returns
    -------
    array (D,)
    """
    # --- solution
    z = rng.standard_normal(total.shape)
    return (total + noise * clip * z) / expected
    # --- end


# %%
private_mean = check("private_mean", my_private_mean)

# %% [markdown]
# ## 5 What the noise promises
#
# Imagine two texts that differ in one example, and the models that a training makes of them. Training is
# **$(\varepsilon, \delta)$-differentially private** if for any set $S$ of models
#
# $$P(\text{model in } S \mid \text{one text}) \le e^\varepsilon\, P(\text{model in } S \mid \text{the other text}) + \delta$$
#
# So nobody who looks at the model can be sure whether your message was in the text. A small $\varepsilon$ is a strong
# promise: $e^{0.1} = 1.1$, $e^1 = 2.7$, $e^8 = 3{,}000$.
#
# What is $\varepsilon$ for a given $\sigma$? One step with noise moves a Gaussian by at most $C$, and its standard
# deviation is $\sigma C$. How different are the two Gaussians? We measure it with the **Rényi divergence** of an order
# $\alpha > 1$. For Gaussians it has a simple form, and for several steps it is added (Mironov 2017, arXiv:1702.07476,
# propositions 1, 3 and 7):
#
# $$R_\alpha = \text{steps} \cdot \frac{\alpha}{2 \sigma^2}, \qquad
# \varepsilon = \min_\alpha \left[ R_\alpha + \frac{\log(1 / \delta)}{\alpha - 1} \right]$$
#
# The formula on the right is true for each $\alpha$. So we take the $\alpha$ that gives the smallest $\varepsilon$.
#
# ### Exercise: `gaussian_epsilon`
#
# This sum of what all steps cost is called a **privacy accountant**. Write it.
#
# @hint A nudge
# `orders` is an array. Compute the bracket for all of them at once, and take the smallest.
# @hint Almost code
# ```python
# divergence = steps * orders / …
# return (divergence + np.log(1 / delta) / …).min()
# ```
# @end


# %% exercise="gaussian_epsilon"
def my_gaussian_epsilon(noise, steps, delta, orders):
    """ε of some steps with Gaussian noise, if every example is in every step.

    Parameters
    ----------
    noise : float
        σ.
    steps : int
    delta : float
    orders : array (A,)
        The orders α to try, all above 1.

    Returns
    -------
    float
    """
    # --- solution
    divergence = steps * orders / (2 * noise**2)  # (A,)
    return float((divergence + np.log(1 / delta) / (orders - 1)).min())
    # --- end


# %%
gaussian_epsilon = check("gaussian_epsilon", my_gaussian_epsilon)

# %% [markdown]
# Now look at what $\sigma$ does. In our training, an example is in a step with the small probability $q$ only. Then the
# step says less about it, and $\varepsilon$ is smaller. The formula for that case is longer; numpylm's `epsilon_spent`
# computes it (Mironov et al. 2019, arXiv:1908.10530).

# %%
PRIVATE_STEPS, B, DELTA = 70, 80, 1e-5
orders, sigmas, q = (
    np.concatenate([np.arange(1.1, 11, 0.1), np.arange(11, 200)]),
    np.geomspace(0.5, 50, 25),
    B / len(rows),
)
every = [gaussian_epsilon(sigma, PRIVATE_STEPS, DELTA, orders) for sigma in sigmas]
sampled = [epsilon_spent(q, sigma, PRIVATE_STEPS, DELTA) for sigma in sigmas]
figure, axes = plt.subplots()
axes.loglog(sigmas, every, label="every example in every step")
axes.loglog(sigmas, sampled, label=f"each with probability {q:.3f}")
axes.axhline(8, color="#808080", linestyle="--", linewidth=1)
axes.set(xlabel="σ", ylabel="ε", title=f"{PRIVATE_STEPS} steps, δ = {DELTA:g}; the dashed line is ε = 8")
axes.legend()
plt.show()
sigma = noise_for(8, DELTA, q, PRIVATE_STEPS)
print(f"ε = 8 needs σ = {sigma:.2f}; without random batches, this σ gives ε = ", end="")
print(f"{gaussian_epsilon(sigma, PRIVATE_STEPS, DELTA, orders):.0f}")

# %% [markdown]
# Random batches are worth a lot. But they must really be random, as the accountant assumes. A fixed order of the
# examples would not give this $\varepsilon$.
#
# ## 6 Train privately
#
# The next cell trains the same model twice with private steps: once with the noise for $\varepsilon = 8$, and once
# almost without noise ($\varepsilon = 10^6$). The second one shows what the clipping and the smaller number of examples do
# by themselves. **This takes about twenty seconds.**


# %%
def train_privately(epsilon, seed=3, clip=1.0, lr=1e-2):
    """A model that was trained with clipped gradients and noise."""
    model, rng = new_gpt(), np.random.default_rng(seed)
    sigma, optimizer = noise_for(epsilon, DELTA, q, PRIVATE_STEPS), AdamW(model.parameters(), lr=lr)
    ends = np.cumsum([p.size for p in model.parameters()])[:-1]
    for step in tqdm(range(PRIVATE_STEPS), leave=False):
        chosen = np.flatnonzero(rng.random(len(rows)) < q)  # each example on its own
        total = clipped_sum(example_gradients(model, [rows[i] for i in chosen]), clip)
        mean = private_mean(total, clip, sigma, B, rng)
        for p, part in zip(model.parameters(), np.split(mean, ends), strict=True):
            p.grad = part.reshape(p.shape).astype(np.float32)
        optimizer.step(warmup_cosine(step, 10, PRIVATE_STEPS, lr, lr / 10))
    return model


models = {"usual": usual, "ε = 10⁶": train_privately(1e6), "ε = 8": train_privately(8)}
print("                 loss   mean exposure, in bits, of what occurs")
print("                        16 times   4 times      once     never   16 times, other names")
for name, model in models.items():
    loss = model.loss(*batch_of(held_out))
    print(f"{name:15}  {loss:.2f} " + "".join(f"{bits:10.1f}" for bits in mean_exposures(model)))
print(f"{'unigram model':15}  {unigram:.2f}")

# %% [markdown]
# Compare the first column with the last one. With $\varepsilon = 8$, a secret that occurs 16 times is not likelier after its
# own name than after another name. The model does not know it.
#
# Read the line in the middle, too. Clipping and fewer examples already keep the model from learning much by heart. But
# without noise that is no promise: it holds for these canaries and not for every text. And the price is plain. The
# private model is better than the unigram model and much worse than the usual one. With more messages the price falls: the
# batches can be larger, and a larger batch has a longer sum and the same noise.
#
# The promise is for *one example*. A secret in 16 messages is protected 16 times less: $\varepsilon = 8$ for one message
# is $\varepsilon = 128$ for all of them, which promises nothing. That the model does not know it anyway is what we have
# *measured*, and not what was promised. So remove repeats first.
#
# ## 7 The real thing
#
# - `numpylm train --documents lines --dp-epsilon 8 --batch-size 256` trains like this. It keeps one gradient in memory at
#   a time, and not one for each example.
# - `numpylm audit RUN` measures what a model of yours has memorized.
# - `--clean personal` masks e-mail addresses, phone and card numbers before the training. `docs/privacy.md` explains all.
#
# ## What you can do now
#
# - measure how well a model knows a secret, and compare with chance;
# - say why each gradient is clipped before the sum, and why the noise has the size $\sigma C$;
# - compute $\varepsilon$ for a given noise, and say what it promises and what it does not.
#
# ## 小结
#
# 语言模型会记住训练文本。把带随机数字的句子（金丝雀）放进文本，再看真实数字在所有数字中的排名，就得到暴露度：log₂N − log₂(排名)。
# 差分隐私训练分三步：先把每个样本的梯度单独裁剪到长度 C（先裁剪，再求和），再加上标准差为 σC 的噪声，最后除以批的期望大小。
# 隐私会计把每一步的代价加起来，得到 ε。ε 越小，承诺越强，损失也越高。承诺只对一个样本有效，所以要先去掉重复的文本。
#
# ## Three questions
#
# @answer The embedding of a GPT is also its output layer. Why must its two gradients be added before the norm is taken?
# They are the gradient of one parameter. If each were clipped to C alone, an example could move the embedding by more
# than C, and the noise would be too small for it.
# @answer Somebody trains ten times with ε = 8 and publishes the best model. Is this model private with ε = 8?
# No. The choice was made with all ten, so all ten have spent. Ten times ε = 8 is at most ε = 80; a good accountant finds
# less, but more than 8.
# @answer The usual model knows a number that occurs 16 times. Would fewer training steps have been enough?
# They help: it would know it less well. But nobody could say how much less for *any* text. The noise gives a bound that
# holds for every example, and for every attack that anybody may invent.
# @end
