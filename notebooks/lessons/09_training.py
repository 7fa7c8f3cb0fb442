# %% [markdown]
# # 09 · Training: your own model tells a story
#
# In this lesson everything that you have written comes together: you train the GPT that you built from your own layers.
# Before training, you work out what a good loss is. Then you choose the learning rate, watch the loss curve, and read
# what your model writes. After that, you see what happens when there is too little text, and how the loss falls as a
# model grows.
#
# **You need:** lessons 07 (the model) and 08 (the optimizer). For exercises that you have not solved, numpylm's own
# code is used.
# **Time:** about an hour, of which the computer needs a few minutes. **You will write:** four functions.

# %%
import importlib
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from numpylm import GPTConfig, Tokenizer, cross_entropy, cross_entropy_backward, diagnose, gradcheck, keep_memory
from numpylm.corpora import source_nats
from numpylm.course import check, collect, stories, style
from numpylm.inference.generation import generate
from numpylm.system.processor import available_cores, set_blas_threads
from numpylm.text.data import document_starts, encode_documents, sequential_batches
from numpylm.training import baselines
from numpylm.training.replica import replica_in_this_process

mine = collect("my_gpt.py")  # everything that you have solved, written into one module
my_gpt = importlib.import_module("my_gpt")  # as "import my_gpt"
AdamW, clip_grad_norm, warmup_cosine = my_gpt.AdamW, my_gpt.clip_grad_norm, my_gpt.warmup_cosine
print(f"my_gpt.py: {mine} parts of it are yours")

plt = style()
keep_memory()  # reuse the memory of large arrays in every step
_ = set_blas_threads(1)  # section 6 divides the work among the cores, so NumPy should not start threads of its own

# %% [markdown]
# `collect` wrote the file `my_gpt.py` next to this notebook. It contains your layers, under the names that the library
# uses, and the library's own code for the layers that you have not written. Open it and have a look. (If you solve more
# exercises later, restart the kernel and run this notebook again.)
#
# ## 1 Check the whole model again
#
# A wrong gradient rarely causes an error message. The model still trains, only not as well. So before any long run, we
# check the whole model at once. The check computes every gradient numerically through *all* layers.

# %%
small = my_gpt.GPT(GPTConfig(vocab_size=11, block_size=7, n_layer=2, n_head=3, n_embd=12), np.random.default_rng(0))
report = gradcheck(small, np.random.default_rng(1).integers(0, 11, (2, 5)))
worst = max(row.max_rel_error for row in report.rows)
print(f"{len(report.rows)} arrays, worst relative error {worst:.0e}: {'right' if report.ok else 'WRONG'}")
if not report.ok:
    print(report)

# %% [markdown]
# ## 2 The text
#
# We use 2.4 million bytes of the course's stories. We hold out some of the stories as the **validation text**. The
# model never trains on it, so the loss on it shows what the model has *learned*, and not what it has memorized. Hold
# out whole stories, and not single sentences: if the model has seen the beginning of a story, its end is too easy to
# predict.

# %%
documents = stories(2_400_000)
validation_documents, train_documents = documents[:96], documents[96:]
tokenizer = Tokenizer.train(train_documents, vocab_size=1024)
V, END = tokenizer.vocab_size, tokenizer.end_id
train = encode_documents(train_documents, tokenizer).astype(int)  # <end> story <end> story <end> ...
validation = encode_documents(validation_documents, tokenizer).astype(int)

lengths = np.diff(document_starts(train, END))
print(f"V = {V}; {len(train):,} tokens to train on, {len(validation):,} to validate")
print(
    f"{len(train_documents):,} stories; {lengths.mean():.0f} tokens in the mean, 95 % have up to {np.quantile(lengths, 0.95):.0f}"
)
print("\n" + train_documents[0])

# %% [markdown]
# A training example is a **window** of $T$ tokens, $x$, and the same window one token later, $y$: at each position $t$,
# the model reads $x_0 \dots x_t$ and must predict $y_t = x_{t+1}$. So one window of 256 tokens gives 256 examples. A
# batch consists of $B$ such windows from random positions.
#
# Where may a window begin? Usually it may begin anywhere. But our stories are short, and a model that starts in the
# middle of a story cannot know the hero's name. So the function takes an optional list of allowed starts. Here these
# are the positions of the end marks before each story.

# %% [markdown]
# ### Exercise: `get_batch`
#
# @hint A nudge
# A window needs $T + 1$ tokens, because the last input has a target, too. So where is the last position at which a
# window may begin?
# @hint All windows at once
# If `begin` holds $B$ starts, `begin[:, None] + np.arange(block_size + 1)` is an array of indices, with one row for
# each window. Indexing `tokens` with it gives an array of tokens.
# @hint Almost code
# ```python
# if starts is None:
#     starts = np.arange(len(tokens) - …)
# begin = rng.choice(starts, …)
# window = tokens[begin[:, None] + np.arange(block_size + 1)]  # (B, T + 1)
# return window[:, …], window[:, …]
# ```
# @end


# %% exercise="get_batch"
def my_get_batch(tokens, batch_size, block_size, rng, starts=None):
    """Random windows of a text and their targets.

    Parameters
    ----------
    tokens : int array (N,)
        The text.
    batch_size, block_size : int
        B and T.
    rng : numpy.random.Generator
        All randomness comes from here.
    starts : int array, optional
        Where windows may begin; each start is followed by at least T + 1 tokens. If None, windows may begin anywhere
        that leaves T + 1 tokens.

    Returns
    -------
    x, y : int arrays (B, T)
        Windows, and the same windows one token later.
    """
    # --- solution
    if starts is None:
        starts = np.arange(len(tokens) - block_size)
    begin = rng.choice(starts, batch_size)  # (B,)
    window = tokens[begin[:, None] + np.arange(block_size + 1)]  # (B, T + 1)
    return window[:, :-1], window[:, 1:]
    # --- end


# %%
get_batch = check("get_batch", my_get_batch)

# %%
T, B = 256, 8


def usable(starts, tokens):
    """Those starts that leave T + 1 tokens."""
    return starts[starts + T < len(tokens)]


starts = usable(document_starts(train, END), train)
x, y = get_batch(train, B, T, np.random.default_rng(0), starts)
print("x", x.shape, " y", y.shape)
for t in range(5):
    print(
        f"  reads {tokenizer.decode(x[0, : t + 1].tolist())!r:36} should predict {tokenizer.decode([int(y[0, t])])!r}"
    )

# %% [markdown]
# ## 3 What is a good loss?
#
# A loss of 1.9 means nothing by itself. We need something to compare it with. Three kinds of numbers are known before
# training:
#
# - **ln V**: the loss of uniform guessing. The loss of an untrained model must be near it.
# - **unigram, bigram**: the losses of models that know only the frequencies of tokens, and of pairs of tokens (lesson
#   02). A model below the bigram line uses more context than one token.
# - **the entropy of the source**: the lowest possible loss, the floor. For most texts it is unknown. For our stories we
#   can compute it.
#
# A program writes the stories. Again and again, it chooses among a few equally likely phrases: which animal the story
# is about, what it lost, who helps. Each of $n$ phrases has probability $1/n$, so a choice costs $\ln n$ nats.
# Everything between the choices is certain, and costs nothing. So we know the probability of each story exactly:

# %%
story = validation_documents[0]
nats, count = source_nats([story]), len(tokenizer.encode(story)) + 1  # its end mark is predicted, too
print(f"-log P of one story: {nats:.1f} nats in {count} tokens, {nats / count:.3f} nats per token")

floor = source_nats(validation_documents) / (len(validation) - 1)
lines = {
    "ln V": baselines.uniform_loss(V),
    "unigram": baselines.unigram_loss(train, validation, V),
    "bigram": baselines.bigram_loss(train, validation, V),
    "floor": floor,
}
print()
for name, value in lines.items():
    print(f"{name:8}  {value:.4f} nats per token   perplexity {math.exp(value):8.2f}")

# %% [markdown]
# On average, no model can do better than the floor. Even the source itself, which knows all the rules, cannot predict
# its own random choices. (Any other model $Q$ has a larger loss. The difference is the Kullback-Leibler divergence
# between the source and $Q$, which is never negative: Gibbs' inequality.) If the loss of a model falls below the floor
# on a long text, either the model has seen the text, or there is a bug.

# %% [markdown]
# ### Exercise: `validation_loss`
#
# Compute the mean loss over *all* tokens of the validation text, which comes in several batches. Stories have different
# lengths, so windows are padded at the end. The padding has the target -100, which means **not counted**. So the
# batches have different numbers of counted tokens, and the mean of their means is not the mean over all tokens.
#
# `cross_entropy(logits, y)` comes from the library. It takes logits (B, T, V) and targets (B, T), and returns `(loss,
# cache)`, where `loss` is the mean over the *counted* targets of this batch.
#
# @hint A nudge
# Add up nats and tokens over all batches, and divide once, at the end.
# @hint How many count
# `y >= 0` is an array of True and False, and its `.sum()` is the number of True entries. A batch with the mean `loss`
# over $n$ tokens contributes `loss * n` nats.
# @hint Almost code
# ```python
# nats, count = 0.0, 0
# for x, y in batches:
#     logits, _ = gpt.forward(x)
#     loss, _ = cross_entropy(logits, y)
#     n = …
#     nats += …
#     count += n
# return …
# ```
# @end


# %% exercise="validation_loss"
def my_validation_loss(gpt, batches):
    """Mean loss over all counted tokens of several batches. Changes nothing: no gradients, no steps.

    Parameters
    ----------
    gpt : GPT
        ``logits, cache = gpt.forward(x)``, x (B, T) -> logits (B, T, V).
    batches : list of (x, y)
        int arrays (B, T), which may differ in size; a target below 0 is not counted.

    Returns
    -------
    float
        Nats per counted token.
    """
    # --- solution
    nats, count = 0.0, 0
    for x, y in batches:
        logits, _ = gpt.forward(x)  # (B, T, V)
        loss, _ = cross_entropy(logits, y)  # mean over the counted ones
        n = (y >= 0).sum()
        nats += loss * n
        count += n
    return nats / count
    # --- end


# %%
validation_loss = check("validation_loss", my_validation_loss)

# %%
validation_batches = list(sequential_batches(validation, B, T, document_starts(validation, END)))
config = GPTConfig(vocab_size=V, block_size=T, n_layer=2, n_head=2, n_embd=128)
gpt = my_gpt.GPT(config, np.random.default_rng(0))
print(f"{sum(p.size for p in gpt.parameters()):,} parameters, untrained:")
print(f"validation loss {validation_loss(gpt, validation_batches):.4f}, ln V = {math.log(V):.4f}")

# %% [markdown]
# ## 4 One step
#
# A training step does the following, in this order: **zero** the gradients (because backward *adds* to them),
# **forward**, **loss**, **backward**, **clip**, **step**.

# %% [markdown]
# ### Exercise: `training_step`
#
# @hint A nudge
# Write six lines, one for each word in bold, and the `return`.
# @hint The pieces
# `loss, loss_cache = cross_entropy(logits, y)`, and then `cross_entropy_backward(1.0, loss_cache)` is the gradient of
# the logits: the gradient of the loss with respect to itself is 1. The model has a cache of its own.
# @hint Almost code
# ```python
# gpt.…
# logits, cache = gpt.forward(…)
# loss, loss_cache = cross_entropy(…)
# gpt.backward(cross_entropy_backward(1.0, …), …)
# clip_grad_norm(…, 1.0)
# optimizer.step(…)
# return loss
# ```
# @end


# %% exercise="training_step"
def my_training_step(gpt, optimizer, x, y, lr):
    """One step of training, with the gradient clipped to norm 1.

    Parameters
    ----------
    gpt : GPT
        Has zero_grad(), forward(x) -> (logits, cache), backward(dlogits, cache).
    optimizer : AdamW
        Has parameters and step(lr).
    x, y : int arrays (B, T)
    lr : float

    Returns
    -------
    float
        The loss of this batch before the step, in nats per token.
    """
    # --- solution
    gpt.zero_grad()
    logits, cache = gpt.forward(x)  # (B, T, V)
    loss, loss_cache = cross_entropy(logits, y)
    gpt.backward(cross_entropy_backward(1.0, loss_cache), cache)
    clip_grad_norm(optimizer.parameters, 1.0)
    optimizer.step(lr)
    return loss
    # --- end


# %%
training_step = check("training_step", my_training_step)

# %% [markdown]
# ## 5 The first batch
#
# A model can memorize a batch if it sees the batch again and again. If it cannot, do not start a long run. `diagnose`
# makes this test on a copy of the model. It also checks other things: does the loss start near ln V? Does the model see
# the future? Does a gradient reach every part? How far do the weights move in a step?

# %%
x, y = get_batch(train, 4, 64, np.random.default_rng(0), starts)
print(diagnose(gpt, x, y, lr=0.003))

# %% [markdown]
# Read the columns. All parts have a gradient. `update/weight` is the change of the weights in one step, relative to
# their size. Between 0.001 and 0.01 is healthy. Here, at the beginning of training, it may be a little more.
#
# Now the same test with a common mistake, targets that are not shifted:

# %%
print(diagnose(gpt, x, x, lr=0.003).findings[0].text)

# %% [markdown]
# ## 6 Which learning rate?
#
# The learning rate is the most important setting. If it is too low, the model is not finished at the end of the run. If
# it is too high, the model never settles. There is no formula for the right rate, so we try several: short runs of a
# *small* model, with rates that differ by a factor of about 3.
#
# First, a note on speed. Two cores can share a batch. Each core takes half of the rows, uses the same weights, and
# computes its own gradients. At the end, the gradients are added. This is correct because the gradient of a sum is the
# sum of the gradients. Thousands of machines share batches in the same way. This is called *data parallelism*. The
# layers do not have to know about it:


# %%
class Workers:
    """A model and its copies, one for each core. They share the weights; each has a part of the batch, and its own gradients."""

    def __init__(self, gpt):
        self.gpts = [gpt, *(replica_in_this_process(gpt) for _ in range(available_cores() - 1))]
        self.pool = ThreadPoolExecutor(len(self.gpts))

    def zero_grad(self):
        for gpt in self.gpts:
            gpt.zero_grad()

    def forward(self, x):
        parts = np.array_split(x, min(len(self.gpts), len(x)))  # along the batch
        results = list(self.pool.map(lambda gpt, part: gpt.forward(part), self.gpts, parts))
        return np.concatenate([logits for logits, _ in results]), [cache for _, cache in results]

    def backward(self, dlogits, caches):
        parts = np.array_split(dlogits, len(caches))
        list(self.pool.map(lambda gpt, part, cache: gpt.backward(part, cache), self.gpts, parts, caches))
        for copy in self.gpts[1:]:
            for p, q in zip(self.gpts[0].parameters(), copy.parameters()):
                p.grad += q.grad


# %% [markdown]
# `training_step` and `validation_loss` can use `Workers` like a model. The next cell defines a short run, and runs it
# with seven learning rates. **This takes about 15 seconds on two cores.**


# %%
def short_run(n_embd, tokens, steps, max_lr):
    """Train a small GPT. Returns its number of parameters, its training losses, and {step: validation loss}."""
    config = GPTConfig(vocab_size=V, block_size=T, n_layer=2, n_head=max(1, n_embd // 64), n_embd=n_embd)
    gpt, rng = my_gpt.GPT(config, np.random.default_rng(0)), np.random.default_rng(1)
    workers, optimizer = Workers(gpt), AdamW(gpt.parameters())
    starts = usable(document_starts(tokens, END), tokens)
    losses, validated = [], {}
    for step in tqdm(range(steps), leave=False):
        lr = warmup_cosine(step, steps // 10, steps, max_lr, max_lr / 20)
        losses.append(training_step(workers, optimizer, *get_batch(tokens, B, T, rng, starts), lr))
        if (step + 1) % (steps // 5) == 0:
            validated[step + 1] = validation_loss(workers, validation_batches[::2])
    return sum(p.size for p in gpt.parameters()), losses, validated


rates = np.array([0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3])
runs = [short_run(32, train, 80, lr) for lr in rates]

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3.4))
for lr, (_, losses, _) in zip(rates, runs):
    if lr in (0.0003, 0.01, 0.3):
        axes[0].plot(losses, linewidth=1.2, label=f"lr = {lr:g}")
axes[0].set(xlabel="step", ylabel="training loss (nats per token)", title="three of the curves")
axes[0].legend()
ends = np.array([validated[80] for _, _, validated in runs])
axes[1].semilogx(rates, ends, "o-")
axes[1].set(xlabel="highest learning rate", ylabel="validation loss after 80 steps", title="all of them")
for ax in axes:
    ax.axhline(lines["unigram"], color="#808080", linestyle="--", linewidth=1)
axes[1].annotate("unigram", (rates[0], lines["unigram"] + 0.05), color="#808080")
plt.show()
for lr, end in zip(rates, ends):
    print(f"lr = {lr:<7g} {end:.3f}")

# %% [markdown]
# The curve on the right has the shape of a U, and its x-axis is logarithmic: a factor of 3 matters, but 20 % does not.
# Learn to recognize the three kinds of curves on the left:
#
# - **too low**: it falls smoothly, but far too slowly;
# - **good**: it falls steeply, and then levels off;
# - **too high**: it jumps at the start, and then stays flat on the unigram line. The large steps have moved the model
#   to a region where it only knows how frequent each token is.
#
# Larger models need somewhat smaller rates. The model below is four times as wide, and 0.008 is a good rate for it.
#
# ## 7 The run
#
# 450 steps, each with 8 pieces of 256 tokens. **This takes about 40 seconds.** The bar shows how far it is.

# %%
STEPS = 450


def write(gpt, length, prompt=(), seed=0, temperature=1.0):
    """A text from the model, until its end mark."""
    rng = np.random.default_rng(seed)
    ids = generate(gpt, [END, *prompt], length, T, temperature=temperature, rng=rng, stop_ids=[END])
    return tokenizer.decode([*prompt, *(i for i in ids if i != END)])


gpt = my_gpt.GPT(config, np.random.default_rng(0))
workers, optimizer = Workers(gpt), AdamW(gpt.parameters())
rng = np.random.default_rng(1)
losses, validated, samples = [], {}, {}
for step in tqdm(range(STEPS + 1), leave=False):
    if step % 50 == 0 or step == 20:
        validated[step] = validation_loss(workers, validation_batches)
    if step in (0, 20, 50, 100, 200, STEPS):
        samples[step] = write(gpt, 40)
    if step < STEPS:
        lr = warmup_cosine(step, 40, STEPS, 0.008, 0.0003)
        losses.append(training_step(workers, optimizer, *get_batch(train, B, T, rng, starts), lr))

# %%
fig, axes = plt.subplots(figsize=(8, 3.8))
axes.plot(losses, linewidth=0.8, alpha=0.7, label="training, one batch")
axes.plot(*zip(*validated.items()), "o-", label="validation")
for name, value in lines.items():
    axes.axhline(value, color="#808080", linestyle="--", linewidth=1)
    axes.annotate(name, (STEPS, value), (STEPS + 5, value), va="center", annotation_clip=False)
axes.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, STEPS), ylim=(0, None))
axes.legend()
plt.show()
print(f"validation loss {validated[STEPS]:.4f}, floor {floor:.4f}: {validated[STEPS] - floor:.4f} nats above it")

# %% [markdown]
# This is a good curve. It starts at ln V and falls immediately. It crosses the unigram line in the first twenty steps,
# and the bigram line before step 100. From then on, the model uses more context than one token. Then the curve falls
# more and more slowly toward the floor. Training and validation loss stay together: nearly every story is new to the
# model, so it cannot memorize any of them.
#
# What does the model write at different steps of its training?

# %%
for step, text in samples.items():
    print(f"step {step:3}  {validated[step]:.2f} nats   {text.replace(chr(10), ' ')[:130]!r}")

# %% [markdown]
# At first it writes noise. Then come frequent tokens in random order, then words and phrases, then sentences, and only
# at the end a hero who keeps the same name. Each of these steps needs more context than the one before, and lowers the
# loss by fewer nats. The last few tenths of a nat make the story coherent.
#
# Here is a whole story, from the first word to the last. **Your own model tells it:**

# %%
print(write(gpt, 300, seed=3, temperature=0.8))

# %% [markdown]
# This is a new story. It probably contains a mistake: a name that changes, or a lost object that suddenly becomes
# another one. `numpylm train` trains three times as long, and gets closer to the floor. Change `seed`, or begin a story
# yourself with `prompt=tokenizer.encode("Once upon a time, a")`.

# %% [markdown]
# ## 8 Too little text
#
# We train the same model, 64 channels wide, for 250 steps: on 20 stories, on 60, on 180, and on all of them. **This takes
# about 40 seconds.**

# %%
sizes = (20, 60, 180, len(train_documents))
texts = [encode_documents(train_documents[:n], tokenizer).astype(int) for n in sizes]
data_runs = [short_run(64, tokens, 250, 0.01) for tokens in texts]

fig, axes = plt.subplots(1, len(sizes), figsize=(11, 3), sharey=True)
for ax, n, (_, losses, validated_small) in zip(axes, sizes, data_runs):
    ax.plot(losses, linewidth=0.8, alpha=0.7, label="training")
    ax.plot(*zip(*validated_small.items()), "o-", label="validation")
    ax.axhline(floor, color="#808080", linestyle="--", linewidth=1)
    ax.set(xlabel="step", title=f"{n:,} stories")
axes[0].set_ylabel("loss (nats per token)")
axes[0].legend()
plt.show()
for n, tokens, (_, losses, validated_small) in zip(sizes, texts, data_runs):
    print(
        f"{n:5} stories, {len(tokens):7,} tokens, each seen {250 * B / n:5.1f} times: training {np.mean(losses[-20:]):.2f}, "
        f"validation {validated_small[250]:.2f}"
    )

# %% [markdown]
# With 20 stories the training loss falls far *below the floor*. The model has not become better; it has memorized these
# twenty stories. On any other story its loss ends near ln V, no better than guessing, because the model is confident
# and wrong. This is **overfitting**. You recognize it by the gap between the two curves, and by a validation loss that
# rises. The remedies are more text, stopping at the lowest point of the validation curve, dropout, and a smaller model.
#
# The opposite is **underfitting**. There is no gap, but both losses are high. The model is too small, or it was not
# trained long enough. Most runs in section 6 are examples of this.

# %% [markdown]
# ## 9 How the loss falls with size
#
# Now we train models of four widths for 250 steps on all of the text. (The model with 64 channels is the last run of
# section 8.) **This takes about half a minute.**

# %%
runs_by_width = {64: data_runs[-1]} | {n_embd: short_run(n_embd, train, 250, 0.01) for n_embd in (16, 32, 128)}
widths = np.array(sorted(runs_by_width))
parameters = np.array([runs_by_width[width][0] for width in widths])
ends = np.array([runs_by_width[width][2][250] for width in widths])
for width, n, end in zip(widths, parameters, ends):
    print(f"{width:4} channels  {n:8,} parameters  validation loss {end:.3f}, above the floor {end - floor:.3f}")

# %% [markdown]
# Do these losses follow a law? Many such curves have the form of a **power law**, once we subtract the part of the loss
# that cannot be learned:
#
# $$\text{loss} \approx \text{floor} + a\, n^{-b}$$
#
# Here $n$ is the number of parameters, and $a$ and $b$ are two constants that we want to find. Take logarithms:
#
# $$\log(\text{loss} - \text{floor}) \approx \log a - b \log n$$
#
# This is a straight line in $\log n$, with slope $-b$. So we use logarithmic axes and fit a line by **least squares**:
# we look for the line with the smallest sum of squared vertical distances.

# %% [markdown]
# ### Exercise: `fit_power_law`
#
# `np.polyfit(u, v, 1)` returns the slope and the intercept (the value at $u = 0$) of the line that fits the points $(u,
# v)$ best.
#
# @hint A nudge
# What is $u$ and what is $v$? Both are logarithms.
# @hint Back again
# The intercept is $\log a$, and the slope is $-b$.
# @hint Almost code
# ```python
# slope, intercept = np.polyfit(np.log(n), np.log(…), 1)
# return np.exp(…), …
# ```
# @end


# %% exercise="fit_power_law"
def my_fit_power_law(n, loss, floor=0.0):
    """Fit loss ≈ floor + a n^-b.

    Parameters
    ----------
    n, loss : arrays (K,)
        Sizes, and the losses measured there; every loss is above the floor.
    floor : float
        Given, not fitted.

    Returns
    -------
    (a, b) : (float, float)
    """
    # --- solution
    slope, intercept = np.polyfit(np.log(n), np.log(loss - floor), 1)
    return np.exp(intercept), -slope
    # --- end


# %%
fit_power_law = check("fit_power_law", my_fit_power_law)

# %% [markdown]
# A law should predict, and not only describe what we have measured. So we fit it to the *three smaller* models, and use
# it to predict the loss of the largest, which has three times as many parameters as any of them.

# %%
a, b = fit_power_law(parameters[:3], ends[:3], floor)
predicted = floor + a * parameters[3] ** -b
print(f"loss = floor + {a:.0f} · n^-{b:.2f}")
print(f"the largest model: predicted {predicted:.3f}, measured {ends[3]:.3f} nats per token")

tokens_seen = np.array([len(tokens) for tokens in texts])
best = np.array([min(validated_small.values()) for _, _, validated_small in data_runs])
a_text, b_text = fit_power_law(tokens_seen[:3], best[:3], floor)

fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
for ax, n, loss, law in ((axes[0], parameters, ends, (a, b)), (axes[1], tokens_seen, best, (a_text, b_text))):
    line = np.geomspace(n[0] / 1.5, n[3] * 1.5)
    ax.loglog(n[:3], loss[:3] - floor, "o", label="fitted")
    ax.loglog(n[3:], loss[3:] - floor, "o", label="not fitted")
    ax.loglog(line, law[0] * line ** -law[1], "--", color="#808080", label=f"b = {law[1]:.2f}")
    ax.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    ax.minorticks_off()
    ax.legend()
axes[0].set(xlabel="parameters", ylabel="validation loss above the floor (nats)", title="250 steps, all of the text")
axes[1].set(xlabel="tokens of text", title="64 channels, 250 steps, lowest point of each run")
plt.show()

# %% [markdown]
# **What the left plot shows.** Within these sizes, each doubling of the parameters multiplies the loss above the
# floor by about the same factor, $2^{-b}$. So small, cheap models tell us roughly which loss a larger model will reach.
# Here the line missed it by less than a tenth of a nat. Large models are planned in this way (Kaplan et al. 2020,
# arXiv:2001.08361, equation 1.1).
#
# **What the right plot shows.** With little text, the loss falls with the amount of text, by a law of the same form.
# The last point is far above the line, because there the amount of text no longer limits the model. The model is too
# small and the run is too short. A power law holds only as long as nothing *else* is the limit. So both sizes belong in
# one formula. Hoffmann et al. (2022, arXiv:2203.15556) fitted
#
# $$\text{loss} \approx E + \frac{A}{N^\alpha} + \frac{B}{D^\beta}$$
#
# with $N$ parameters, $D$ tokens (not the head size here), four fitted numbers $A$, $B$, $\alpha$, $\beta$, and a floor
# $E$. For real text the floor is unknown, so it must be fitted, too. They found $\alpha$ and $\beta$ to be nearly
# equal, and concluded that a model and its text should grow together: twice the parameters, twice the tokens.
#
# **What they do not say.** The exponent is not a constant of nature. Ours is far larger than that of Kaplan et al.,
# 0.076 for parameters: our models are tiny, our stories have few rules to find, and the runs are short. With another
# text, another tokenizer, another number of steps or another learning rate, $b$ would be different. (All widths use the
# same rate here; the largest model would need a smaller one.) Four points and a straight line say little about models
# that are a hundred times larger. And a lower loss does not say whether the texts are useful.
#
# How much computation did these runs need? Each parameter takes part in about 6 operations per token: 2 in the forward
# and 4 in the backward.

# %%
for name, n, steps in (("a short run, 16 channels", parameters[0], 250), ("your model", parameters[3], STEPS)):
    print(f"{name:25} {6 * n * steps * B * T:.1e} operations")
print(f"{'GPT-3':25} 3.1e+23 operations (Brown et al. 2020, table D.1)")

# %% [markdown]
# ## What you can do now
#
# - say before training what a good loss is, and when not to trust a loss;
# - find a learning rate with a few short runs, and read a loss curve;
# - distinguish overfitting from underfitting, and name the remedies;
# - fit a scaling law, make a prediction with it, and know its limits.
#
# And you now have your own language model, with every gradient written by hand. (The loss function comes from the
# library. Yours from lesson 02 does the same, but the library's version also leaves out the padding.)
#
# ## 小结
#
# 训练之前先想好：什么样的损失算好？瞎猜是 ln V，语料的熵是下限，一元和二元模型是参照。先让模型背下一个批次，再用几次短跑选学习率，
# 然后才正式训练。文章太少时，训练损失会低于下限，验证损失反而上升，这叫过拟合。损失随模型大小近似服从幂律，可以外推，
# 但要知道它的界限。
#
# ## Three questions
#
# @answer Your validation loss is lower than the entropy of the source. What has happened?
# On a long text that the model has not seen, this is impossible, except for a tiny amount by chance. Look for
# validation stories in the training text, for targets that are not shifted, for a mask that lets positions see the
# future, or for a mean over the wrong number of tokens.
# @answer One model has training loss 0.3 and validation loss 2.8. Another has 2.8 for both. What do you do?
# The first model overfits: use more text, stop earlier, use dropout, or make the model smaller. The second model
# underfits: train longer, look for a better learning rate, or use a larger model.
# @answer You want to compare runs of different lengths. Why must the cosine schedule of each run end where the run
# ends? A run that is cut off in the middle of its schedule still has a high learning rate, so its parameters have not
# settled, and its loss is higher than that of a run that was planned to be so short. So the comparison makes short runs
# look worse than they are. (Hoffmann et al. name this as one reason why their conclusion differs from that of Kaplan et
# al.)
# @end
