# %% [markdown]
# # 13 · Your own text
#
# In this lesson you train a model on a text of your choice, with all the steps of a real project: look at the text,
# clean it, split it, compute baselines, train, and evaluate the result. You will also see what a model can learn from a
# text of 10 kB, 200 kB and 1 MB, and what it cannot.
#
# **You need:** lessons 01 (tokens), 02 (loss) and 09 (training).
# **Time:** about an hour and a half, plus as much time as you like with your own text. **You will write:** two
# functions.

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

keep_memory()  # reuse the memory of large arrays in every step, which saves time
plt = style()


def wrapped(text, width=95):
    """A text with its long lines wrapped."""
    return "\n".join(textwrap.fill(line, width, subsequent_indent="    ") for line in text.splitlines())


# %% [markdown]
# ## 1 The text
#
# Replace `None` by the path of a text file, or of a folder of text files, and run the notebook again. You can use any
# language and any kind of text: letters, recipes, code, songs. The encoding should be UTF-8. If one file holds many
# documents, put a line `<|endoftext|>` between them.
#
# With `None`, the notebook uses the bundled stories. They come with this course, you may use them freely, and they are
# so simple that a small model learns something from them within seconds.

# %%
MY_TEXT = None  # or "path/to/my.txt", or "path/to/a/folder"

documents = read_documents([MY_TEXT]) if MY_TEXT else stories(1_200_000)

# %% [markdown]
# The stories come from a program, and they are cleaner and simpler than your text will be. So for comparison we also
# use a text that people wrote: Python's own documentation, which is part of every Python installation. Each document is
# a chapter of the language reference, or the docstring of a function or class in the standard library.


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
# Ten minutes of reading can save hours of training. Read *random* documents, and not just the first ones. Look for
# things that do not belong in the text: menus and page numbers, broken characters, the same notice a hundred times,
# another language. A model tries to learn all of it.

# %%
rng = np.random.default_rng(0)
for i in rng.choice(len(documents), min(3, len(documents)), replace=False):
    print(wrapped(f"{documents[i][:160]!r} …"))

# %% [markdown]
# Some cleaning is useful for every text, and numpylm has five steps for it. It uses one spelling for each accented
# letter (Unicode can write é as one character, or as e and an accent, which gives two different token sequences for the
# same word). It removes control characters, shortens runs of blanks, and removes repeated lines and repeated documents.
# Each step reports what it did:

# %%
documents, report = clean(documents, ["all"])
real_clean, real_report = clean(real, ["all"])
print("                                           your text   Python's documentation")
for ours, theirs in zip(report, real_report):
    print(f"{ours.step:20} {ours.unit:25} {ours.count:6,} {theirs.count:24,}")

# %% [markdown]
# Do not remove anything that you want the model to write. In Python code or in verse, blanks and repeated lines have a
# meaning. For such texts, name only the steps that are suitable: `clean(documents, ["unicode", "control"])`.

# %% [markdown]
# ## 3 Split without a leak
#
# You want to know how good the model is on text that it has *not* seen. So we hold out a part of the text, the
# validation text. If some of it gets into the training text, you measure memorization instead. This is called a
# **leak**, and it makes the loss look better than it is. It can happen in three ways:
#
# - **Windows.** A model trains on windows of the text. If you draw windows first and then hold out some of them,
#   windows on both sides overlap.
# - **Copies.** A document occurs twice, and there is one copy on each side.
# - **Divided documents.** Half of a document is on each side, so the model already knows its names and its topic.
#
# So split *first*, by whole documents, and keep all copies of a document on the same side. Choose the documents at
# random, because files are often sorted by date or by author, and then the last tenth is not like the rest.

# %% [markdown]
# ### Exercise: `split_documents_train_val`
#
# Draw the share `fraction` of the *different* documents for validation (at least one document). Each document goes to
# one side, with all of its copies.
#
# @hint A nudge
# First make a list of the different documents, and choose among them. Then go through `documents`, and test for each
# whether it was chosen.
# @hint Two tools
# `list(dict.fromkeys(documents))` gives the different documents in their original order. (A `set` would work, too, but
# its order changes from one start of Python to the next, and so would your split.) `rng.permutation(n)` gives the
# numbers 0 … n - 1 in random order.
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
        The share of the different documents that is used for validation, at least one.
    rng : numpy.random.Generator
        Chooses the documents.

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
# How large is a leak? Take Python's documentation as it was before cleaning, and split it in three ways. Then measure
# how much of the validation text is also in the training text, word for word: cut it into pieces of 50 characters, and
# search for each piece.


# %%
def leaked(train, validation, length=50, pieces=1000):
    """The share of pieces of the validation text that also occur in the training text."""
    known = "\n".join(train)
    cut = [text[i : i + length] for text in validation for i in range(0, len(text) - length + 1, length)]
    cut = [cut[i] for i in np.random.default_rng(0).permutation(len(cut))[:pieces]]
    return sum(piece in known for piece in cut) / len(cut)


joined = "\n".join(real)
# the wrong way: draw windows first, and then hold out a tenth of them
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
# With random windows, nearly everything leaks, so a model that has memorized its text would look excellent. With your
# split, there are no copies of whole documents on both sides. About a fifth still leaks. These are passages that occur
# in two documents that are *not* equal: Python's reference has short chapters that are parts of longer ones. A split by
# documents cannot detect this, so look for such passages yourself. If there are many, remove one of the two documents,
# or merge what belongs together into one document: all mails of a thread, or all versions of a letter.
#
# Now we split your text. If it is a single document, its beginning is used for training and its end for validation.
# Otherwise we shuffle the documents first, so that every part is a fair sample of the whole.

# %%
documents = [documents[i] for i in np.random.default_rng(0).permutation(len(documents))]
if len(set(documents)) == 1:
    cut = int(0.9 * len(documents[0]))
    train_documents, validation_documents = [documents[0][:cut]], [documents[0][cut:]]
else:
    train_documents, validation_documents = split_documents_train_val(documents, 0.1, np.random.default_rng(0))
print(f"{len(train_documents):,} documents train, {len(validation_documents):,} validate")

# %% [markdown]
# ## 4 Tokens and baselines
#
# We train the tokenizer on the training text alone. (Using all of the text would be a small leak, and avoiding it takes
# no extra work.) Then we compute three baselines, as in lesson 02: uniform guessing, a model that knows how frequent
# each token is, and a model that knows the previous token.

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
# ## 5 Before training: check the setup
#
# The model is small, so that this notebook is fast: one block, 64 channels, and 64 tokens of context.
#
# The gradients were checked in earlier lessons. But the parts can still be combined in a wrong way: targets that are
# not shifted, a learning rate that is ten times too high, or initial weights that are too large. `diagnose` takes forty
# steps on one batch, on a copy of the model, and looks for such problems. A healthy model can memorize one batch.

# %%
B, T = 8, 64
config = GPTConfig(V, T, n_layer=1, n_head=4, n_embd=64)
learning_rate = 1e-2

ids, targets = random_batch(tokens, B, T, np.random.default_rng(0))
print("the model reads ", ids[0, :6], repr(tokenizer.decode(ids[0, :6])))
print("it must predict ", targets[0, :6], repr(tokenizer.decode(targets[0, :6])), "\n")
print(diagnose(GPT(config, np.random.default_rng(0)), ids, targets, lr=learning_rate))

# %% [markdown]
# Read the report from the top. The loss starts at ln V, as it should. The model memorized the batch. Every part has a
# gradient, and in each step the matrices change by one or two percent of their size. This is fast, which is possible
# with such a small model; 0.1 % is usual. (The final norm `ln_f` has no matrix, so a dash stands there.) What would the
# report say if the targets were not shifted, or if the learning rate were a hundred times as large?

# %%
for name, wrong_targets, rate in (("not shifted", ids, learning_rate), ("learning rate 1", targets, 1.0)):
    found = diagnose(GPT(config, np.random.default_rng(0)), ids, wrong_targets, lr=rate, steps=20).findings
    print(wrapped(f"{name}: {found[0].text}"))

# %% [markdown]
# The first of these mistakes is easy to miss: the loss falls fast, to nearly zero, but the model only copies its input.

# %% [markdown]
# ## 6 Train with three amounts of text
#
# We train the same model three times, with the same tokenizer, number of steps and validation text, but only on the
# first 10 kB, 200 kB or 1 MB of the training text (or on all of it, if there is less). What do you expect?

# %%
STEPS, WARMUP, EVERY = 500, 100, 50


def train_model(tokens, held_out, label):
    """Train a new model. Returns the model, its curve (steps, training loss, validation loss), and the seconds of training."""
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
    """The first `size` bytes of the documents; the last document is cut."""
    out = []
    for document in documents:
        data = document.encode()
        out.append(data[:size].decode(errors="ignore"))  # an incomplete character at the end is left out
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
print("text     tokens   times read      best step   validation: best    last   training: last")
for size, (gpt, (steps, train_loss, val_loss), seconds) in runs.items():
    n = len(parts[size])
    print(
        f"{size_name(size):7} {n:7,}  {read / n:10.1f} times {steps[val_loss.argmin()]:9.0f} "
        f"{val_loss.min():18.3f} {val_loss[-1]:7.3f} {train_loss[-1]:16.3f}"
    )

# %% [markdown]
# (The training loss is the mean over the steps since the last point, so it lags behind while it falls fast.)
#
# With 10 kB, the training loss falls to almost zero while the validation loss turns and *rises*: the model has read its
# text dozens of times, and memorizes it. It never reaches the bigram baseline, which only counts pairs, and it ends
# worse than uniform guessing. This is **overfitting**, and the plot shows how to recognize it. If you must train on so
# little text, keep the model of the best step (`numpylm train` does this, in `best.npz`), make the model smaller, or
# use dropout.
#
# With 200 kB, the training loss has just fallen below the validation loss, which is still falling. After a few hundred
# more steps, the two curves would separate. With 1 MB they stay together, because everything that the model reads is
# new to it. In this case more steps help, and after that a larger model.
#
# So the gap between the two curves says what to do. **If the gap is wide, use more text. If it is narrow, use more
# steps or a larger model.**

# %% [markdown]
# ## 7 Let them write
#
# Each model writes one sample, with the same random numbers and the same beginning, which comes from the validation
# text. Read the first sample critically.


# %%
def sample(gpt, length=80):
    """How a model continues the beginning of the validation text."""
    prompt = held_out[:8].tolist()  # the first token is <|endoftext|>: a document begins
    new = gpt.generate(prompt, length, temperature=0.8, rng=np.random.default_rng(0))
    return tokenizer.decode([*prompt[1:], *new])


def longest_copy(text, source):
    """The longest part of a text that also occurs in the source, character by character."""
    best = ""
    for i in range(len(text)):
        while i + len(best) < len(text) and text[i : i + len(best) + 1] in source:
            best = text[i : i + len(best) + 1]
    return best


for size, (gpt, curve, seconds) in runs.items():
    text = sample(gpt)
    copy = longest_copy(text, "\n".join(first(train_documents, size)))
    print(f"--- {size_name(size)}; longest part copied from its text: {len(copy)} of {len(text)} characters")
    print(wrapped(text))

# %% [markdown]
# From the samples alone, you might choose the model trained on 10 kB. But it is by far the worst of the three: nearly
# half of its sample is one single passage, copied word for word. Samples show *what* a model has learned. The
# validation loss shows how good it is.

# %% [markdown]
# ## 8 Where is the model surprised?
#
# The loss is a mean over thousands of tokens. Now we look at single tokens: how surprised was the model by *this*
# token?
#
# $$s_n = -\log p_{n, y_n} = \log \sum_j e^{z_{nj}} - z_{n, y_n}$$
#
# Here $z_n$ are the logits at position $n$, and $y_n$ is the actual next token. The expression on the right does not
# need the probability itself. This is important: in float32 a very unlikely token may get $p = 0$, and $-\log 0$ is
# infinite, while the logits still show how unlikely it was.
#
# ### Exercise: `token_surprise`
#
# Return one number for each position, without a mean. The check tries logits of 1,000.
#
# @hint A nudge
# It is `cross_entropy` from lesson 02 without the mean, and without a division: take the logarithm of the sum, and
# subtract the right logit.
# @hint Overflow
# Subtract each row's largest logit first. It cancels, because it changes $\log \sum_j e^{z_j}$ and $z_y$ by the same
# amount.
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
        The actual next tokens.

    Returns
    -------
    array (N,)
        -log p[n, y[n]], finite even where p underflows to 0.
    """
    # --- solution
    z = z - z.max(axis=-1, keepdims=True)  # (N, V)
    log_sum = np.log(np.exp(z).sum(axis=-1))  # (N,)
    return log_sum - z[np.arange(len(y)), y]
    # --- end


# %%
token_surprise = check("token_surprise", my_token_surprise)

# %% [markdown]
# The next cell shows the beginning of a validation text, as seen by the model that was trained on the most text. The
# redder a token is, the more it surprised the model. Tokens that the model expected have no color.

# %%
gpt = runs[sizes[-1]][0]
row = np.asarray(held_out[: T + 1], dtype=int)
logits, _ = gpt.forward(row[None, :-1])  # (1, T, V)
surprise = token_surprise(logits[0], row[1:])  # (T,)


def coloured(ids, surprise):
    """Tokens with a background color: none at 0 nats, full strength at ln V."""
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
# This picture may teach you more than any single number. Where the text decides something new (a name, an animal, the
# next event), the surprise is high, and no model could predict it. Where the text follows from what came before (the
# rest of a word, the second part of a fixed phrase, the name of a character from the line before), the surprise should
# be low. If it is high *there*, the model still has something to learn. Errors in a text also get a high surprise, so
# this is a way to find typos and broken characters in a corpus.

# %% [markdown]
# ## 9 A text written by people
#
# Does this work as well on a real text? We train the same model, for the same number of steps, on 1 MB of Python's
# documentation:

# %%
shuffled = [
    real_clean[i] for i in np.random.default_rng(0).permutation(len(real_clean))
]  # mixes chapters and docstrings
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
# On the stories, these few steps are enough to get far below the loss of the bigram model. On the documentation they
# are not: the model is still well above it. (And a fifth of this validation text has leaked, as you saw, so the real
# result is slightly worse.) Nothing is wrong. A real text has thousands of words, most of them rare, and a few hundred
# steps are only a beginning. Expect the same for your own text: **this notebook shows that everything works, but a real
# run takes minutes, hours or days**. The next section estimates how long.

# %% [markdown]
# ## 10 What to expect from 10 kB, 1 MB, 100 MB
#
# Three rules of thumb, from which an estimate follows:
#
# - Training costs about $6 N$ floating-point operations per token for a model of $N$ parameters (2 forward, 4 backward).
# - Reading a text more than about 4 times helps less and less (Muennighoff et al. 2023, arXiv:2305.16264).
# - For a given amount of computation, a model should read about 20 tokens per parameter (Hoffmann et al. 2022,
#   arXiv:2203.15556).
#
# So with a text of $n$ tokens, a model should read $4n$ tokens. It should have $N = 4n / 20$ parameters, and its
# training costs $6 N \cdot 4 n$ operations. The runs above have measured how fast this machine computes.

# %%
seconds = sum(run[2] for run in runs.values())
speed = 6 * gpt.num_parameters() * read * len(runs) / seconds
print(f"measured speed: {speed / 1e9:.1f} billion operations per second\n")


def duration(seconds):
    """A duration in a readable unit."""
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
# With a hundred times as much text, the model should have a hundred times as many parameters, so training takes ten
# thousand times as much work. The estimates assume the measured speed. A larger model has larger matrix products, which
# use the processor better, so the estimate in the last line is probably too long.
#
# For small texts, the rule breaks down. For 10 kB it asks for a model that is smaller than its own table of tokens. In
# practice, you take a larger model than the rule says, and stop when the validation loss rises, as in section 6.
#
# | text | what to expect | good for |
# | --- | --- | --- |
# | 10 kB, a long letter | the model memorizes the text, or learns little more than the frequencies of words | testing that everything works |
# | 1 MB, a novel | words, names, punctuation, the form of the text; sentences that do not fit together | learning, experiments |
# | 100 MB, a bookcase | mostly correct sentences, short coherent passages; hardly any facts | a model that writes |
#
# The first line was measured above. The second describes ordinary prose: for 1.1 MB of Shakespeare's plays, as single
# characters, numpylm reaches 1.77 nats per character, or 2.56 bits per byte, with 4 blocks of 128 channels (see
# `benchmarks/README.md`; the stories are far easier). The third is an estimate, helped by Eldan & Li 2023 (TinyStories,
# arXiv:2305.07759): models of a few million parameters learn to tell coherent stories, if the text is large and uses
# the language of a small child. For comparison: the largest GPT-2, with 1.5 billion parameters and 40 GB of text,
# reaches 0.93 bits per byte on an excerpt of Wikipedia (Radford et al. 2019, table 3, enwik8).

# %% [markdown]
# ## 11 The same from the command line
#
# For a real run, use the command line. The command cleans the text, splits it by documents, compares the loss with the
# baselines, and keeps the best model. You can interrupt and resume it, and it shares each batch among the cores.
#
# ```text
# numpylm train --data my.txt --clean all --diagnose     first, check the setup
# numpylm train --data my.txt --clean all                then train; makes the folder runs/my
# numpylm train --resume runs/my                         continue after Ctrl-C
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
# These are starting points, and not the best settings. Change one setting at a time, and compare validation losses. If
# the tokenizers differ, compare bits per byte.
#
# ## 12 Where to go from here
#
# - **Use your own layers.** `numpylm course --collect` writes `my_gpt.py`, with everything that you have written. Write
#   `from my_gpt import GPT` in this notebook, and you train your own model, with your own gradients, on your text.
# - **Free texts:** Project Gutenberg (books whose copyright has ended), Wikipedia's dumps, your own mail and notes.
#   Before you publish a model, think about what it may reproduce: section 7 showed that models memorize text. Other
#   people's texts belong to them, and private text does not belong in a model that others use.
# - **Larger models** need a graphics card and a framework. You now know what PyTorch's `loss.backward()` does, line by
#   line, and PyTorch uses the same names as this course (`Linear`, `LayerNorm`, `state_dict`, B, T, C).
# - **Read more:** the papers named in the lessons, and the source of `numpylm`, in the order that the README gives.

# %% [markdown]
# ## What you can do now
#
# - prepare a text so that you can trust the validation loss;
# - distinguish overfitting from too little training, and know what to change;
# - see which tokens surprise a model;
# - estimate how large a model suits a text, and how long its training takes.
#
# ## 小结
#
# 要相信验证损失，就要整篇地划分文章，重复的文章放在同一边，并随机抽取。训练损失低而验证损失高是过拟合；两者都高是还没学够。
# 看每个词元的惊讶程度（-log p），就知道模型会什么、不会什么。分词器不同的模型，用每字节的比特数比较。文章的大小决定模型该多大、
# 要练多久。
#
# ## Three questions
#
# @answer Your validation loss is far below your training loss from the first steps on. What do you suspect?
# First suspect a leak, or a validation text that is much easier than the rest: a single document, documents of one kind
# only, or many repetitions. Look at how the text was split. Dropout also makes the training loss higher, but only
# slightly. And the training loss is a mean over earlier steps, in which the model was still worse. While the loss falls
# fast, this explains a part of the difference.
# @answer You have 50 kB and want the best model for it. What do you do?
# First look for more text of the same kind, because this helps most. Then use a small vocabulary, a small model and
# dropout, and keep the model of the best step. Or start with a model that was trained on a larger text of a similar
# kind, and continue its training on your text with a small learning rate.
# @answer Two models of the same text have 2.1 nats per token with V = 4,096, and 1.6 with V = 512. Which is better?
# You cannot say yet, because their tokens differ in length. Divide each loss by ln 2 and by the bytes per token of its
# tokenizer, and compare bits per byte. With 4.0 and 2.5 bytes per token, for example, they are 0.76 and 0.92: then the
# first is better.
# @end
