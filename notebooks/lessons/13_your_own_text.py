# %% [markdown]
# # 13 · Your own text
#
# In this lesson you train a model on a text of your choice, the way you would do it for real: look at the text, clean it,
# split it, measure what is easy, train, and judge the result. You will also see what a text of 10 kB, 200 kB and 1 MB can
# teach a model, and what it cannot.
#
# **You need:** lessons 01 (tokens), 02 (loss) and 09 (training).
# **Time:** about an hour and a half, and as long as you like with your own text. **You will write:** two functions.

# %%
import ast
import html
import os
import textwrap
import time
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from IPython.display import HTML
from tqdm import tqdm

from numpylm import GPT, AdamW, GPTConfig, Tokenizer, clip_grad_norm, diagnose, keep_memory, warmup_cosine
from numpylm.course import check, stories, style
from numpylm.text.cleaning import clean
from numpylm.text.data import encode_documents, random_batch, read_documents
from numpylm.training.baselines import bigram_loss, uniform_loss, unigram_loss
from numpylm.training.evaluation import evaluate

keep_memory()  # large arrays keep their memory from step to step, which saves time
plt = style()


def wrapped(text, width=95):
    """A text with its long lines broken, for reading."""
    return "\n".join(textwrap.fill(line, width, subsequent_indent="    ") for line in text.splitlines())


# %% [markdown]
# ## 1 The text
#
# Put the path of a text file between the quotes, or of a folder of them, and run the notebook again. Any language, any kind
# of text: letters, recipes, code, songs. It should be UTF-8. If one file holds many documents, put a line `<|endoftext|>`
# between them.
#
# With `None`, the bundled stories are used. They are on every machine that has this course, they may be used freely, and
# they are so simple that a small model learns something from them within seconds.

# %%
MY_TEXT = None  # or "path/to/my.txt", or "path/to/a/folder"

documents = read_documents([MY_TEXT]) if MY_TEXT else stories(1_200_000)

# %% [markdown]
# The stories come from a program, and are cleaner and simpler than what you will bring. So keep a text at hand that people
# have written, for comparison: Python's own documentation, which is part of every Python. A document is a chapter of its
# language reference, or the docstring of a function or class of its standard library.


# %%
def python_documentation():
    """Chapters of Python's reference, and the docstrings of its library."""
    found = list(topics.values())
    for file in tqdm(sorted(Path(os.__file__).parent.glob("*.py")), leave=False):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                found.append(ast.get_docstring(node) or "")
    return found


real = [text for text in python_documentation() if text]

print("                       documents  different      MB   median length")
for name, texts in (("your text", documents), ("Python's documentation", real)):
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    median = int(np.median([len(text) for text in texts]))
    print(f"{name:22} {len(texts):10,} {len(set(texts)):10,}  {megabytes:6.2f} {median:8,} characters")
print("\nthe documents that occur most often:")
for text, count in Counter(real).most_common(4):
    print(f"   {count} times  {text[:60]!r}")

# %% [markdown]
# ## 2 Look, then clean
#
# Ten minutes of reading save hours of training. Read documents *at random*, not the first ones. Look for what does not
# belong there: menus and page numbers, broken characters, the same notice a hundred times, another language. A model learns
# all of it, as well as it can.

# %%
rng = np.random.default_rng(0)
for i in rng.choice(len(documents), min(3, len(documents)), replace=False):
    print(wrapped(f"{documents[i][:160]!r} …"))

# %% [markdown]
# Some cleaning is the same for every text, and numpylm has five steps for it: one spelling for each accented letter
# (Unicode can write é as one character or as e and an accent: two different token sequences for the same word), no control
# characters, shorter runs of blanks, no repeated lines, no repeated documents. Each says what it did:

# %%
documents, report = clean(documents, ["all"])
real_clean, real_report = clean(real, ["all"])
print("                                           your text   Python's documentation")
for ours, theirs in zip(report, real_report):
    print(f"{ours.step:20} {ours.unit:25} {ours.count:6,} {theirs.count:24,}")

# %% [markdown]
# Do not clean away what you want the model to write. In Python code or in verse, blanks and repeated lines mean something:
# then name only the steps that fit, `clean(documents, ["unicode", "control"])`.

# %% [markdown]
# ## 3 Split, without a leak
#
# You want to know how good the model is on text that it has *not* seen. So a part of the text is held out, the validation
# text. If something of it gets into the training text, you measure memory instead. That is a **leak**, and the loss looks
# better than it is. Three ways in which it happens:
#
# - **Windows.** A model trains on windows of the text. Whoever draws windows first and then holds out some of them, has
#   windows on both sides that overlap.
# - **Copies.** The same document occurs twice, and one copy lands on each side.
# - **Neighbours.** Half a document on each side: names and topic are known already.
#
# So: split *first*, by whole documents, and keep all copies of a document on the same side. Which documents? Drawn at
# random, since files are often sorted, by date or by author, and the last tenth is not like the rest.

# %% [markdown]
# ### Exercise: `split_documents_train_val`
#
# Draw the share `fraction` of the *different* documents for validation (at least one). Every document, with all its copies,
# goes to one side.
#
# @hint A nudge
# First make a list of the different documents. Choose among those. Then go through `documents` and ask of each whether it
# was chosen.
# @hint Two tools
# `list(dict.fromkeys(documents))` are the different ones in their order. (A `set` would do, but its order changes from one
# start of Python to the next, and so would your split.) `rng.permutation(n)` are the numbers 0 … n - 1 in random order.
# @hint Almost code
# ```python
# distinct = list(dict.fromkeys(documents))
# n = max(1, round(fraction * …))
# chosen = {distinct[i] for i in rng.permutation(len(distinct))[:n]}
# return [d for d in documents if …], [d for d in documents if …]
# ```
# @end


# %% exercise="split_documents_train_val"
def my_split_documents_train_val(documents, fraction, rng):
    """Divide documents into training and validation texts that share no document.

    Parameters
    ----------
    documents : list of str
        Some may be equal; at least two are different. Not changed.
    fraction : float in (0, 1)
        The share of the different documents that validate, at least one.
    rng : numpy.random.Generator
        Decides which ones.

    Returns
    -------
    (list of str, list of str)
        Training, validation. Together they hold every document as often as it was given.
    """
    # --- solution
    distinct = list(dict.fromkeys(documents))
    n = max(1, round(fraction * len(distinct)))
    chosen = {distinct[i] for i in rng.permutation(len(distinct))[:n]}
    return [d for d in documents if d not in chosen], [d for d in documents if d in chosen]
    # --- end


# %%
split_documents_train_val = check("split_documents_train_val", my_split_documents_train_val)

# %% [markdown]
# How large is a leak? Take Python's documentation as it was before cleaning, split it in three ways, and ask how much of
# the validation text stands word for word in the training text: cut it into pieces of 50 characters and look each one up.


# %%
def leaked(train, validation, length=50, pieces=1000):
    """Share of the validation text, in pieces of some characters, that stands in the training text as well."""
    known = "\n".join(train)
    cut = [text[i : i + length] for text in validation for i in range(0, len(text) - length + 1, length)]
    cut = [cut[i] for i in np.random.default_rng(0).permutation(len(cut))[:pieces]]
    return sum(piece in known for piece in cut) / len(cut)


joined = "\n".join(real)
# whoever draws windows first, and then holds out a tenth of them:
windows = [joined[i : i + 500] for i in rng.integers(0, len(joined) - 500, 10_000)]
order = rng.permutation(len(real))
tenth = len(real) // 10
splits = {
    "random windows": (windows[1000:], windows[:1000]),
    "documents, copies or not": ([real[i] for i in order[tenth:]], [real[i] for i in order[:tenth]]),
    "split_documents_train_val": split_documents_train_val(real, 0.1, rng),
    "the same, cleaned before": split_documents_train_val(real_clean, 0.1, rng),
}
for name, (train, validation) in splits.items():
    copies = len(set(train) & set(validation))
    print(f"{name:27} {leaked(train, validation):6.1%} of the text leaked, {copies:3} copies on both sides")

# %% [markdown]
# With random windows nearly everything leaks; a model that knows its text by heart would look brilliant. Copies of whole
# documents are gone with your split. What is left, about a fifth, are passages that stand in two documents which are *not*
# equal: Python's reference has short chapters that are parts of longer ones. No split by documents can see that, so look.
# Where you find much of it, drop one of the two, or make what belongs together one document: all mails of a thread, all
# versions of a letter.
#
# Now your text. If it is a single document, there is nothing to draw from: then its beginning trains and its end validates.
# Otherwise shuffle first, so that every stretch of it is a fair sample of the whole.

# %%
documents = [documents[i] for i in np.random.default_rng(0).permutation(len(documents))]
if len(set(documents)) == 1:
    cut = int(0.9 * len(documents[0]))
    train_documents, validation_documents = [documents[0][:cut]], [documents[0][cut:]]
else:
    train_documents, validation_documents = split_documents_train_val(documents, 0.1, np.random.default_rng(0))
print(f"{len(train_documents):,} documents train, {len(validation_documents):,} validate")

# %% [markdown]
# ## 4 Tokens, and what is easy
#
# The tokenizer is learnt from the training text alone. (It would be a small leak, but it is as easy to do it right.) Then
# three numbers to compare everything with, as in lesson 02: guessing, knowing how frequent each token is, and knowing the
# token before.

# %%
tokenizer = Tokenizer.train(train_documents, vocab_size=1024)
V = tokenizer.vocab_size
tokens = encode_documents(train_documents, tokenizer)
held_out = encode_documents(validation_documents, tokenizer)[:8000]  # enough to measure with, and quick
bytes_per_token = sum(len(d.encode()) for d in train_documents) / len(tokens)
print(f"V = {V:,}; {len(tokens):,} tokens to train on, {bytes_per_token:.2f} bytes each\n")
print("                nats per token   bits per byte")
for name, loss in (
    ("guessing, ln V", uniform_loss(V)),
    ("unigram", unigram_loss(tokens, held_out, V)),
    ("bigram", bigram_loss(tokens, held_out, V)),
):
    print(f"{name:14}  {loss:14.3f}  {loss / np.log(2) / bytes_per_token:14.3f}")

# %% [markdown]
# ## 5 Before training: does it make sense?
#
# The model is small, so that this notebook is quick: one block, 64 channels, 64 tokens of context.
#
# The gradients were checked in earlier lessons. What can still be wrong is how the parts are put together: targets that are
# not shifted, a learning rate ten times too high, weights that start too large. `diagnose` takes forty steps on one batch,
# on a copy of the model, and looks for such things. A healthy model can learn one batch by heart.

# %%
B, T = 8, 64
config = GPTConfig(V, T, n_layer=1, n_head=4, n_embd=64)
learning_rate = 1e-2

ids, targets = random_batch(tokens, B, T, np.random.default_rng(0))
print("the model reads ", ids[0, :6], repr(tokenizer.decode(ids[0, :6])))
print("it shall predict", targets[0, :6], repr(tokenizer.decode(targets[0, :6])), "\n")
print(diagnose(GPT(config, np.random.default_rng(0)), ids, targets, lr=learning_rate))

# %% [markdown]
# Read it from the top. The loss starts at ln V, as it should. The batch was learnt by heart. No part is without a gradient,
# and in each step the matrices change by one or two per cent of their size: quick, as one can afford with so small a model;
# 0.1 % is usual. (The final norm `ln_f` has no matrix, hence `nan`.) What would it say if the targets were not shifted, or
# if the learning rate were a hundred times as large?

# %%
for name, wrong_targets, rate in (("not shifted", ids, learning_rate), ("learning rate 1", targets, 1.0)):
    found = diagnose(GPT(config, np.random.default_rng(0)), ids, wrong_targets, lr=rate, steps=20).findings
    print(wrapped(f"{name}: {found[0].text}"))

# %% [markdown]
# The first of these mistakes is easy to miss: the loss falls fast, to nearly zero, and the model only copies.

# %% [markdown]
# ## 6 Train, with three amounts of text
#
# The same model, tokenizer, number of steps and validation text, but only the first 10 kB, 200 kB or 1 MB of the training
# text (or all of it, if there is less). What do you expect?

# %%
STEPS, WARMUP, EVERY = 500, 100, 50


def train_model(tokens, held_out, label):
    """Train a fresh model. Returns it, its curve (steps, training loss, validation loss), seconds of training."""
    gpt = GPT(config, np.random.default_rng(0))
    optimizer = AdamW(gpt.parameters())
    rng = np.random.default_rng(1)
    curve, recent, seconds = [], [], 0.0
    for step in tqdm(range(STEPS + 1), label, leave=False):
        if step % EVERY == 0:
            curve.append((step, np.mean(recent) if recent else np.nan, evaluate(gpt, held_out, B).loss))
            recent = []
        start = time.perf_counter()
        gpt.zero_grad()
        recent.append(gpt.loss_and_grad(*random_batch(tokens, B, T, rng)))
        clip_grad_norm(optimizer.parameters, 1.0)
        optimizer.step(warmup_cosine(step, WARMUP, STEPS, learning_rate, learning_rate / 20))
        seconds += time.perf_counter() - start
    return gpt, np.array(curve).T, seconds


def first(documents, size):
    """Documents from the first on, together `size` bytes; the last one is cut."""
    out = []
    for document in documents:
        data = document.encode()
        out.append(data[:size].decode(errors="ignore"))  # a character that is cut in half is left out
        size -= len(data)
        if size <= 0:
            break
    return out


def size_name(n):
    """10 kB, 1 MB."""
    return f"{n / 1e6:.0f} MB" if n >= 1e6 else f"{n / 1e3:.0f} kB"


total = sum(len(document.encode()) for document in train_documents)
sizes = sorted({min(size, total) for size in (10_000, 200_000, 1_000_000)})
parts = {size: encode_documents(first(train_documents, size), tokenizer) for size in sizes}
runs = {size: train_model(parts[size], held_out, size_name(size)) for size in sizes}

# %%
fig, axes = plt.subplots(1, len(sizes), figsize=(9, 3.2), sharey=True, squeeze=False)
for ax, size in zip(axes[0], sizes):
    gpt, (steps, train_loss, val_loss), seconds = runs[size]
    ax.plot(steps, val_loss, label="validation")
    ax.plot(steps, train_loss, "--", label="training")
    ax.axhline(bigram_loss(parts[size], held_out, V), color="#808080", linestyle=":", label="bigram")
    ax.set(title=f"{size_name(size)} of text", xlabel="step", ylim=0)
axes[0, 0].set_ylabel("loss (nats per token)")
axes[0, -1].legend()
plt.show()

read = (STEPS + 1) * B * T
print("text     tokens   read so often   best step   validation: best    last   training: last")
for size, (gpt, (steps, train_loss, val_loss), seconds) in runs.items():
    n = len(parts[size])
    print(
        f"{size_name(size):7} {n:7,}  {read / n:10.1f} times {steps[val_loss.argmin()]:9.0f} "
        f"{val_loss.min():18.3f} {val_loss[-1]:7.3f} {train_loss[-1]:16.3f}"
    )

# %% [markdown]
# (The training loss is the mean over the steps since the last point, so it lags behind while it falls fast.)
#
# With 10 kB, the training loss falls to almost nothing while the validation loss turns and *rises*: the model has read its
# text dozens of times and learns it by heart. It never reaches the bigram baseline, which is nothing but counting, and it
# ends worse than guessing. This is **overfitting**, and the picture is how you recognise it. If you must train on so
# little, keep the model of the best step (`numpylm train` does, in `best.npz`), make the model smaller, or use dropout.
#
# With 200 kB, the training loss has just passed below the validation loss, which still falls: after a few hundred steps
# more they part. With 1 MB they stay together, because everything that the model reads is new to it. There, more steps
# help, and then a larger model.
#
# So the distance between the two curves says what to do: **wide: more text. Narrow: more steps or a larger model.**

# %% [markdown]
# ## 7 Let them write
#
# One sample of each model, with the same random numbers and after the same beginning, which comes from the validation text.
# Read the first one with suspicion.


# %%
def sample(gpt, length=80):
    """How a model goes on from the beginning of the validation text."""
    prompt = held_out[:8].tolist()  # the first token is <|endoftext|>: a document begins
    new = gpt.generate(prompt, length, temperature=0.8, rng=np.random.default_rng(0))
    return tokenizer.decode([*prompt[1:], *new])


def longest_copy(text, source):
    """The longest stretch of a text that stands word for word in another one."""
    best = ""
    for i in range(len(text)):
        while i + len(best) < len(text) and text[i : i + len(best) + 1] in source:
            best = text[i : i + len(best) + 1]
    return best


for size, (gpt, curve, seconds) in runs.items():
    text = sample(gpt)
    copy = longest_copy(text, "\n".join(first(train_documents, size)))
    print(f"--- {size_name(size)}; longest stretch copied from its text: {len(copy)} of {len(text)} characters")
    print(wrapped(text))

# %% [markdown]
# By its sample alone you might choose the model of 10 kB, and it is by far the worst of the three: nearly half of what it
# writes is one single stretch, recited word for word. Samples tell you *what* a model has learnt. How good it is, the
# validation loss tells.

# %% [markdown]
# ## 8 Where is the model surprised?
#
# The loss is a mean over thousands of tokens. Look at single ones: how surprised was the model at *this* token?
#
# $$s_n = -\log p_{n, y_n} = \log \sum_j e^{z_{nj}} - z_{n, y_n}$$
#
# Here $z_n$ are the logits at position $n$ and $y_n$ is the token that really came. The form on the right needs no
# probability. That matters: in float32 a very unlikely token may get $p = 0$, and $-\log 0$ is infinite, while the logits
# still know how unlikely it was.
#
# ### Exercise: `token_surprise`
#
# One number for each position; no mean. The check tries logits of 1,000.
#
# @hint A nudge
# It is `cross_entropy` of lesson 02 without the mean, and without dividing: take the logarithm of the sum, and subtract the
# right logit.
# @hint Overflow
# Subtract each row's largest logit first. It cancels: it is added in $\log \sum_j e^{z_j}$ and in $z_y$ alike.
# @hint Almost code
# ```python
# z = z - z.max(axis=-1, keepdims=True)       # (N, V)
# log_sum = np.log(np.exp(z).sum(axis=…))     # (N,)
# return log_sum - z[np.arange(len(y)), …]
# ```
# @end


# %% exercise="token_surprise"
def my_token_surprise(z, y):
    """Surprise at each token, in nats.

    Parameters
    ----------
    z : array (N, V)
        Logits.
    y : int array (N,)
        The tokens that came.

    Returns
    -------
    array (N,)
        -log p[n, y[n]], finite also where p is too small for the computer.
    """
    # --- solution
    z = z - z.max(axis=-1, keepdims=True)  # (N, V)
    log_sum = np.log(np.exp(z).sum(axis=-1))  # (N,)
    return log_sum - z[np.arange(len(y)), y]
    # --- end


# %%
token_surprise = check("token_surprise", my_token_surprise)

# %% [markdown]
# The beginning of a validation text, read by the model with the most text. The redder a token, the more surprised the model
# was. Nothing is coloured that it expected.

# %%
gpt = runs[sizes[-1]][0]
row = np.asarray(held_out[: T + 1], dtype=int)
logits, _ = gpt.forward(row[None, :-1])  # (1, T, V)
surprise = token_surprise(logits[0], row[1:])  # (T,)


def coloured(ids, surprise):
    """Tokens with a background: from none at 0 nats to strong at ln V."""
    spans = []
    for i, s in zip(ids, surprise):
        strength = min(s / np.log(V), 1)
        text = html.escape(tokenizer.decode([i])).replace("\n", "↵<br>")
        spans.append(f'<span style="background: rgba(225, 87, 89, {strength:.2f})" title="{s:.2f} nats">{text}</span>')
    return f'<div style="font-family: monospace; white-space: pre-wrap; line-height: 1.6">{"".join(spans)}</div>'


display(HTML(coloured(row[1:], surprise)))
print(f"mean of these {T} tokens: {surprise.mean():.2f} nats; the most surprising ones:")
for n in np.argsort(-surprise)[:8]:
    before = tokenizer.decode(row[max(0, n - 5) : n + 1])
    expected = tokenizer.decode([logits[0, n].argmax()])
    print(f"   {surprise[n]:5.2f} nats  {before!r:34} came {tokenizer.decode([row[n + 1]])!r:12} expected {expected!r}")

# %% [markdown]
# This picture may teach you more than any number. Where something new is decided (a name, an animal, the next event),
# surprise is high, and no model could know. Where the text only follows from what came before (the rest of a word, the
# second part of a fixed phrase, the name of who was introduced a line ago), surprise should be low. Where it is high
# *there*, the model still has something to learn. And where a text holds an error, it lights up as well: this is how one
# finds misprints and broken characters in a corpus.

# %% [markdown]
# ## 9 The same with a text that people have written
#
# Does this work as well on a real text? The same model and the same steps, on 1 MB of Python's documentation:

# %%
shuffled = [real_clean[i] for i in np.random.default_rng(0).permutation(len(real_clean))]  # chapters among docstrings
real_train, real_validation = split_documents_train_val(shuffled, 0.1, np.random.default_rng(0))
real_train = first(real_train, 1_000_000)
real_tokenizer = Tokenizer.train(real_train, vocab_size=V)
real_tokens = encode_documents(real_train, real_tokenizer)
real_held_out = encode_documents(real_validation, real_tokenizer)[:8000]
_, real_curve, _ = train_model(real_tokens, real_held_out, "Python's documentation")

print("in bits per byte           guessing   unigram    bigram   this model")
for name, train_tokens, val_tokens, texts, curve in (
    ("your text", parts[sizes[-1]], held_out, first(train_documents, sizes[-1]), runs[sizes[-1]][1]),
    ("Python's documentation", real_tokens, real_held_out, real_train, real_curve),
):
    bits = len(train_tokens) / sum(len(d.encode()) for d in texts) / np.log(2)  # from nats per token to bits per byte
    losses = (uniform_loss(V), unigram_loss(train_tokens, val_tokens, V), bigram_loss(train_tokens, val_tokens, V))
    print(f"{name:25}", *(f"{bits * loss:9.3f}" for loss in losses), f"{bits * curve[2].min():12.3f}")

# %% [markdown]
# On the stories, these few steps are enough to leave the bigram model far behind. On the documentation they are not: the
# model is still well above it. (And a fifth of its validation text has leaked, as you saw; the truth is a little worse.)
# Nothing is broken. A real text has thousands of words, most of them rare, and a few hundred steps are only a beginning.
# Expect the
# same of yours: **here you see that everything is right; a real run takes minutes, hours or days**. The next section says
# which.

# %% [markdown]
# ## 10 What to expect from 10 kB, 1 MB, 100 MB
#
# Three rules of thumb, from which an estimate follows:
#
# - Training costs about $6 N$ floating-point operations per token for a model of $N$ parameters (2 forward, 4 backward).
# - Reading a text more than about 4 times brings less and less (Muennighoff et al. 2023, arXiv:2305.16264).
# - For a given amount of computing, a model should read about 20 tokens per parameter (Hoffmann et al. 2022,
#   arXiv:2203.15556).
#
# So a text of $n$ tokens is worth reading $4n$ tokens of, with $N = 4n / 20$ parameters, at a cost of $6 N \cdot 4 n$. How
# fast this machine computes has been measured by the runs above.

# %%
seconds = sum(run[2] for run in runs.values())
speed = 6 * gpt.num_parameters() * read * len(runs) / seconds
print(f"measured speed: {speed / 1e9:.1f} billion operations per second\n")


def duration(seconds):
    """Seconds in a unit that can be grasped."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 2 else "at once"


print("text                    tokens    parameters   tokens read   operations        time")
for size, run in runs.items():
    cost = 6 * gpt.num_parameters() * read
    print(
        f"{size_name(size):8} measured {len(parts[size]):12,} {gpt.num_parameters():13,} {read:13,} {cost:12.1e}"
        f"{duration(run[2]):>14}"
    )
for size in (10_000, 1_000_000, 100_000_000):
    n = size / bytes_per_token
    cost = 6 * (4 * n / 20) * (4 * n)
    print(
        f"{size_name(size):8} estimate {n:12,.0f} {4 * n / 20:13,.0f} {4 * n:13,.0f} {cost:12.1e}"
        f"{duration(cost / speed):>14}"
    )

# %% [markdown]
# A hundred times the text is worth a hundred times the parameters, and so ten thousand times the work. The estimates assume
# the measured speed. A larger model makes larger products of matrices, which use the processor better, so the last line is
# rather too slow than too fast.
#
# At the small end, the rule breaks down. For 10 kB it asks for a model that is smaller than its own table of tokens. In
# practice one takes a larger model than the rule says, and stops when the validation loss rises, as in section 6.
#
# | text | what to expect | what for |
# | --- | --- | --- |
# | 10 kB, a long letter | the text by heart, or hardly more than how frequent words are | seeing that everything runs |
# | 1 MB, a novel | words, names, punctuation, the form of the text; sentences that do not hang together | learning, play |
# | 100 MB, a bookcase | mostly correct sentences, short passages with a thread; hardly any facts | a model that writes |
#
# The first line was measured above. The second describes ordinary prose: for 1.1 MB of Shakespeare's plays, as single
# characters, numpylm reaches 1.77 nats per character, or 2.56 bits per byte, with 4 blocks of 128 channels (see the README;
# the stories are far easier). The third is an estimate, helped by Eldan & Li 2023 (TinyStories, arXiv:2305.07759): models
# of a few million parameters learn to tell coherent stories, if the text is large and its language is a small child's. For
# the scale: GPT-2's largest model, 1.5 billion parameters and 40 GB of text, gets 0.93 bits per byte on an excerpt of
# Wikipedia (Radford et al. 2019, table 3, enwik8).

# %% [markdown]
# ## 11 The same from the command line
#
# For a real run, leave the notebook. The command cleans, splits by documents, compares with the baselines, keeps the best
# model, can be interrupted and resumed, and shares each batch among the cores.
#
# ```text
# numpylm train --data my.txt --clean all --diagnose     first: does it make sense?
# numpylm train --data my.txt --clean all                then train; makes the folder runs/my
# numpylm train --resume runs/my                         go on after Ctrl-C
# numpylm generate runs/my --prompt "It was" --temperature 0.8
# numpylm evaluate runs/my --data other.txt              loss, perplexity, bits per byte, accuracy
# numpylm tokenize runs/my "some text"                   what the model sees
# ```
#
# Settings that matter, with a starting point for each size of text (`numpylm train --help` explains them all):
#
# ```text
# 100 kB   --n-layer 2 --n-embd 64  --vocab-size 512  --dropout 0.2  --max-steps 600
#   1 MB   --n-layer 4 --n-embd 128 --vocab-size 1024 --dropout 0.1  --max-steps 3000
#  10 MB   --n-layer 6 --n-embd 192 --vocab-size 4096 --max-steps 20000
# ```
#
# These are beginnings to vary, not results. Change one thing at a time, and compare validation losses; between different
# tokenizers compare bits per byte.
#
# ## 12 Where to go on
#
# - **Put your own layers in.** `numpylm course --collect` writes `my_gpt.py`, with everything that you have written. `from
#   my_gpt import GPT` in this notebook, and the model that learns your text is yours to the last gradient.
# - **Free texts:** Project Gutenberg (books whose copyright has ended), Wikipedia's dumps, your own mail and notes. Before
#   you publish a model, think of what it may recite: section 7 showed that models remember. Other people's texts belong to
#   them, and private things do not belong into a model that others use.
# - **Larger models** need a graphics card and a framework. You know now what PyTorch's `loss.backward()` does, line by
#   line: the words of this course (`Linear`, `LayerNorm`, `state_dict`, B, T, C) are the words used there.
# - **Read on:** the papers named in the lessons, and `numpylm`'s own source, in the order that the README gives.

# %% [markdown]
# ## What you can do now
#
# - prepare a text so that the validation loss can be believed;
# - tell overfitting from too little training, and know what to change;
# - see where a model is surprised, token by token;
# - estimate what a text is worth, and what it costs to learn it.
#
# ## Three questions
#
# @answer Your validation loss is far below your training loss from the first steps on. What do you suspect?
# First a leak, or a validation text that is much easier than the rest: a single document, one kind only, many repetitions.
# Look at where it was cut. Dropout makes the training loss higher too, but not by far. And the training loss is a mean over
# the steps before, when the model was still worse; that explains a little as long as the loss falls fast.
# @answer You have 50 kB and want the best model for it. What do you do?
# Look for more text of the same kind first: that helps most. Then: a small vocabulary, a small model, dropout, and the
# model of the best step. Or begin with a model that was trained on a larger text of a similar kind and go on training it on
# yours with a small learning rate.
# @answer Two models of one text: 2.1 nats per token with V = 4,096, and 1.6 with V = 512. Which is better?
# That cannot be said yet: their tokens differ in length. Divide each loss by ln 2 and by the bytes per token of its
# tokenizer, and compare bits per byte. With 4.0 and 2.5 bytes per token, for example, they are 0.76 and 0.92: then the
# first is better.
# @end
