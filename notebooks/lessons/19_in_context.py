# %% [markdown]
# # 19 · Learning in context
#
# In 2020, GPT-3 surprised its makers. Show it a few examples of a task in its prompt, and it continues with the task,
# also if it was never trained on it (Brown et al. 2020, arXiv:2005.14165). No weight changes. This is called **few-shot**
# or **in-context learning**. In this lesson you build the smallest model that can do it, measure what each further
# example is worth, find the heads that do the work, and switch them off.
#
# **You need:** lessons 07, 09 and 11. **Time:** about an hour. **You will write:** the sequences, the accuracy by the
# number of examples, and a score that finds induction heads.

# %%
import numpy as np
from tqdm import tqdm

from numpylm import GPT, AdamW, GPTConfig, clip_grad_norm, keep_memory, warmup_cosine
from numpylm.course import check, heatmap, style
from numpylm.inference.heads import without_heads
from numpylm.inference.trace import trace
from numpylm.system.processor import set_blas_threads

keep_memory()
set_blas_threads(1)  # these matrices are small
plt = style()

# %% [markdown]
# ## 1 A task that cannot be in the weights
#
# How can you be sure that a model learns from its prompt, and has not seen the task in training? Make a task that is new
# in each sequence. Our sequences are examples of a **map** from symbols to labels:
#
# $$\texttt{a3 k0 a3 c7 k0 c7 a3 …}$$
#
# In this sequence, `a` has the label 3. In the next sequence, `a` may have another one. Each sequence has 3 of 16 symbols,
# and each of them gets one of 8 labels, at random. It begins with one example of each symbol. Before the first example of
# `a`, nobody can know its label: the best accuracy is 1/8, which is **chance**. After one example, it could be 100 %.
#
# ### Exercise: `map_sequences`
#
# @hint A nudge
# Row b of `chosen` says which of the row's K symbols comes at each place. The same numbers choose the label.
# @hint Indexing
# `np.take_along_axis(symbols, chosen, axis=1)` has the entries `symbols[b, chosen[b, i]]`, with shape (B, P).
# @hint Almost code
# ```python
# ids = np.empty((len(chosen), 2 * chosen.shape[1]), int)
# ids[:, ::2] = …   # even positions
# ids[:, 1::2] = …  # odd positions
# return ids
# ```
# @end


# %% exercise="map_sequences"
def my_map_sequences(symbols, labels, chosen):
    """Rows of pairs "symbol label".

    Parameters
    ----------
    symbols : int array (B, K)
        The K symbols of each row.
    labels : int array (B, K)
        The map of row b gives symbols[b, k] the label labels[b, k].
    chosen : int array (B, P)
        Pair i of row b is the one with number k = chosen[b, i].

    Returns
    -------
    int array (B, 2P)
        Symbol, label, symbol, label, …
    """
    # --- solution
    ids = np.empty((len(chosen), 2 * chosen.shape[1]), int)
    ids[:, ::2] = np.take_along_axis(symbols, chosen, axis=1)
    ids[:, 1::2] = np.take_along_axis(labels, chosen, axis=1)
    return ids
    # --- end


# %%
map_sequences = check("map_sequences", my_map_sequences)

# %%
SYMBOLS, LABELS, K, P = 16, 8, 3, 24  # ids 0 … 15 are symbols, 16 … 23 are labels
NAMES = "abcdefghijklmnop01234567"


def draw(rng, B, P=P, fewest=K, ordered=True):
    """B random sequences (B, 2P) with ``fewest`` to K symbols; if ordered, with an example of each at the beginning."""
    symbols = rng.permuted(np.tile(np.arange(SYMBOLS), (B, 1)), axis=1)[:, :K]
    labels = SYMBOLS + rng.integers(0, LABELS, (B, K))
    counts = rng.integers(fewest, K + 1, (B, 1))
    chosen = rng.integers(0, counts, (B, P))
    if ordered:
        chosen = np.where(np.arange(P) < counts, np.arange(P), chosen)
    return map_sequences(symbols, labels, chosen)


def as_text(row):
    """One row of ids to a text with a space between pairs."""
    return " ".join(NAMES[a] + NAMES[b] for a, b in zip(row[::2], row[1::2], strict=True))


test = draw(np.random.default_rng(99), 400)
for row in test[:4]:
    print(as_text(row[:24]), "…")

# %% [markdown]
# ## 2 What is an example worth?
#
# The measure of this lesson is the accuracy **by the number of examples**: of all places where the symbol has occurred
# exactly n times before in its row, how many labels are predicted correctly? For n = 0 it must be chance. If it is higher,
# something is wrong with the task. If it is higher for n = 1, the model has learned from one example.
#
# ### Exercise: `accuracy_by_examples`
#
# @hint A nudge
# First count: `seen[b, i]` is how often `symbols[b, i]` occurs in `symbols[b, :i]`. Then take the mean of the hits where
# `seen == n`.
# @hint Counting without a loop
# `same = symbols[:, :, None] == symbols[:, None, :]` compares all pairs of places (B, P, P). Keep those where the second
# place comes before the first: multiply by `np.tri(P, k=-1)`. Then sum over the last axis.
# @hint Almost code
# ```python
# seen = (same * np.tri(P, k=-1)).sum(axis=-1)
# return np.array([hits[…].mean() for n in range(9)])
# ```
# @end


# %% exercise="accuracy_by_examples"
def my_accuracy_by_examples(hits, symbols):
    """The share of right labels for symbols with 0, 1, … 8 examples before them.

    Parameters
    ----------
    hits : bool array (B, P)
        Whether the label of each pair was predicted correctly.
    symbols : int array (B, P)
        The symbol of each pair.

    Returns
    -------
    float array (9,)
    """
    # --- solution
    same = symbols[:, :, None] == symbols[:, None, :]  # (B, P, P)
    seen = (same * np.tri(symbols.shape[1], k=-1)).sum(axis=-1)  # (B, P)
    return np.array([hits[seen == n].mean() for n in range(9)])
    # --- end


# %%
accuracy_by_examples = check("accuracy_by_examples", my_accuracy_by_examples)


# %%
def accuracy(gpt, rows=test):
    """The accuracy of a model on rows, by the number of examples: (9,)."""
    said = gpt.forward(rows[:, :-1])[0][:, ::2].argmax(axis=-1)  # (B, P): after each symbol
    return accuracy_by_examples(said == rows[:, 1::2], rows[:, ::2])


# %% [markdown]
# ## 3 Train it
#
# An ordinary GPT with two blocks and the ordinary loop. Each block has only one head, so that we shall see what it does. Only
# labels count in the loss: the next symbol is random, so there is nothing to learn about it. As in lesson 11, the initial
# weights of this narrow model are multiplied by 6.
#
# One thing helps a lot. In a long sequence the right label is one of many tokens, and an untrained head, which looks
# everywhere a little, gets hardly any signal from it. So each batch has sequences of another length, from 4 pairs to 24,
# with 2 or 3 symbols. In the short ones the right label is easy to find. **This takes about half a minute.**

# %%
gpt = GPT(GPTConfig(SYMBOLS + LABELS, 2 * P, n_layer=2, n_head=1, n_embd=64), np.random.default_rng(0))
for parameter in gpt.parameters():
    if parameter.data.ndim == 2:
        parameter.data *= 6
STEPS = 1500
optimizer, rng = AdamW(gpt.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.1), np.random.default_rng(1)
losses, curve = [], []
for step in tqdm(range(STEPS), leave=False):
    if step % 50 == 0:
        curve.append(accuracy(gpt, test[:200]))
    pairs = round(P * (4 / P) ** rng.random())
    rows = draw(rng, 32 * min(P // pairs, 3), pairs, fewest=2)
    ids, targets = rows[:, :-1], rows[:, 1:].copy()
    targets[:, 1::2] = -100  # the targets that are symbols
    gpt.zero_grad()
    losses.append(gpt.loss_and_grad(ids, targets))
    clip_grad_norm(gpt.parameters(), 1.0)
    optimizer.step(warmup_cosine(step, 50, STEPS, 4e-3, 4e-4))

fig, axes = plt.subplots(1, 2, figsize=(9, 3))
axes[0].plot(np.convolve(losses, np.ones(25) / 25, mode="valid"))
axes[0].axhline(np.log(LABELS), color="gray", linewidth=0.8, linestyle=":")
axes[0].set(xlabel="step", ylabel="loss (nats per label, mean of 25 steps)")
for n in (0, 1, 2, 4, 8):
    axes[1].plot(np.arange(len(curve)) * 50, [found[n] for found in curve], label=f"{n} examples")
axes[1].axhline(1 / LABELS, color="gray", linewidth=0.8, linestyle=":")
axes[1].set(xlabel="step", ylabel="accuracy", ylim=(0, 1.02))
axes[1].legend()
plt.show()
with_all = accuracy(gpt)
print("examples ", *(f"{n:6}" for n in range(9)))
print("accuracy ", *(f"{value:6.1%}" for value in with_all))

# %% [markdown]
# The dotted lines are chance. Without an example the model stays there, and this is all that anybody could do. With one
# example it is right: it has learned **to learn a map**. In large language models such a rise comes at the moment when
# induction heads form (Olsson et al. 2022, arXiv:2209.11895).
#
# ## 4 Find the heads
#
# After the second `a`, which token says the answer? The one that followed the first `a`. So we look for heads with attention
# from a symbol to the tokens *after* its earlier occurrences. There may be several earlier ones, and a head may divide its
# attention among them:
#
# $$\text{score}_h = \underset{t}{\text{mean}} \sum_{\substack{s < t \\ \text{id}_s = \text{id}_t}} A_h[t, s + 1]$$
#
# The mean is over all rows and all positions t of symbols that occurred before.
#
# ### Exercise: `follower_attention`
#
# @hint A nudge
# Go through the rows, and in each row through the even positions. `np.flatnonzero(row[:t] == row[t])` has the earlier
# occurrences.
# @hint Shapes
# `weights[:, t, earlier + 1]` has shape (H, number of earlier occurrences). Sum over the last axis.
# @hint Almost code
# ```python
# scores = []
# for weights, row in zip(attention, ids):  # (H, T, T), (T,)
#     for t in range(0, len(row), 2):
#         earlier = np.flatnonzero(row[:t] == row[t])
#         if len(earlier):
#             scores.append(…)
# return np.mean(scores, axis=0)
# ```
# @end


# %% exercise="follower_attention"
def my_follower_attention(attention, ids):
    """How much each head looks from a symbol at the tokens after its earlier occurrences.

    Parameters
    ----------
    attention : array (B, H, T, T)
        One block's attention weights.
    ids : int array (B, T)
        Symbols at even positions, labels at odd ones.

    Returns
    -------
    array (H,)
        Between 0 and 1: a mean over the symbols that occurred before.
    """
    # --- solution
    scores = []
    for weights, row in zip(attention, ids, strict=True):  # (H, T, T), (T,)
        for t in range(0, len(row), 2):
            earlier = np.flatnonzero(row[:t] == row[t])
            if len(earlier):
                scores.append(weights[:, t, earlier + 1].sum(axis=-1))  # (H,)
    return np.mean(scores, axis=0)
    # --- end


# %%
follower_attention = check("follower_attention", my_follower_attention)

# %%
inside = trace(gpt, test[:50, :-1])
scores = np.array([follower_attention(attention, test[:50, :-1]) for attention in inside.attention])  # (L, H)
print("score of head 0.0 and of head 1.0:", *(f"{score:5.2f}" for score in scores[:, 0]))

n, text = 24, [NAMES[i] for i in test[0, :24]]
fig, axes = plt.subplots(1, 2, figsize=(10, 4.6))
for layer, ax in enumerate(axes):
    attention = inside.attention[layer][0, 0, :n, :n]  # (n, n)
    heatmap(ax, attention, text, text, f"head {layer}.0", xlabel="looks at", ylabel="symbol")
plt.show()

# %% [markdown]
# Head 1.0 is the induction head. In this sequence it looks from `p` at the label of the first `p`, and from `m` at the label
# of the first `m`. From the third symbol it looks at several later labels.
#
# How does it know where to look? In lesson 11, labels would have to look at the position before them. Head 0.0 does
# something else. From a symbol it looks at the first three *symbols*. So it can find out whether this symbol is the first,
# the second or the third one, and head 1.0 only has to go to the label at that place. This is a hypothesis from one map. It
# makes a prediction: the model cannot use an example that comes later than the third pair. Section 6 tests it.
#
# ## 5 Switch it off
#
# `without_heads` makes a copy in which the rows of some heads in the output projection are 0 (your `without_head` of lesson
# 11). If the induction head does the work, the accuracy must fall to chance without it. The second row is a baseline that
# reads the labels but not the symbols: it says the label that has occurred most often so far.

# %%
labels_so_far = np.cumsum(np.eye(LABELS)[test[:, 1::2] - SYMBOLS], axis=1)  # (B, P, LABELS)
most = SYMBOLS + np.concatenate([np.zeros((len(test), 1), int), labels_so_far[:, :-1].argmax(axis=-1)], axis=1)
results = {
    "both heads": with_all,
    "the most frequent label": accuracy_by_examples(most == test[:, 1::2], test[:, ::2]),
    "without the induction head": accuracy(without_heads(gpt, [(1, 0)])),
    "without the head of block 0": accuracy(without_heads(gpt, [(0, 0)])),
}
print(f"{'examples':30}", *(f"{n:6}" for n in range(9)))
for name, found in results.items():
    print(f"{name:30}", *(f"{value:6.1%}" for value in found))

fig, axes = plt.subplots(figsize=(7, 3))
for name, found in results.items():
    axes.plot(found, "o-", label=name)
axes.axhline(1 / LABELS, color="gray", linewidth=0.8, linestyle=":")
axes.set(xlabel="examples of the symbol before it", ylabel="accuracy", ylim=(0, 1.02))
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# Without the induction head, the accuracy is within two points of chance, however many examples there are. That is less than
# a baseline reaches that only counts labels. Without the head of block 0 it is about 31 %. The model still knows which three
# labels occur, but no longer which of them belongs to which symbol: it guesses one of three.
#
# ## 6 What has it learned?
#
# In training, a map never changes within a row, and the first examples come at the beginning. What does the model do if this
# is not so? First, let examples contradict each other: `a` has one label at the beginning, and then another one three times.

# %%
rng, votes = np.random.default_rng(5), {"the first label": 0, "the label of the three later ones": 0, "another": 0}
for _ in range(500):
    a, b, c = rng.choice(SYMBOLS, 3, replace=False)
    first, later, x, y = SYMBOLS + rng.choice(LABELS, 4, replace=False)
    row = np.array([a, first, b, x, c, y, a, later, b, x, a, later, c, y, a, later, a])
    said = int(gpt.forward(row[None])[0][0, -1].argmax())
    votes[{int(first): "the first label", int(later): "the label of the three later ones"}.get(said, "another")] += 1
print({name: f"{count / 500:.0%}" for name, count in votes.items()})

# %% [markdown]
# Then, let first examples come late. Here all pairs are drawn at random, so the first example of a symbol may be anywhere.

# %%
late = draw(np.random.default_rng(6), 2000, ordered=False)
hits = gpt.forward(late[:, :-1])[0][:, ::2].argmax(axis=-1) == late[:, 1::2]  # (B, P)
same = late[:, None, ::2] == late[:, ::2, None]  # (B, P, P): is pair j of the same symbol as pair i?
first = same.argmax(axis=-1)  # (B, P): the number of the first pair with this symbol
known = first < np.arange(P)
print("number of the first pair  ", *(f"{n + 1:6}" for n in range(8)))
print("accuracy after it         ", *(f"{hits[known & (first == n)].mean():6.1%}" for n in range(8)))

# %% [markdown]
# The prediction is right. If the first example of a symbol is among the first three pairs, the model knows its label. If it
# comes later, the model is at chance, although the same example stands there again and again. The three contradicting
# examples of `a` came later, so they could not change anything either.
#
# So the model has learned to learn, but only what its training needed. In training, the first three pairs were always
# enough. A head that works at every position would be of no more use there, and it is harder to learn. We tried random pairs
# from the beginning, with 4 symbols and 4 heads: the model mastered one position after the other, and was at 84 % after 2,000
# steps.
#
# This model knows one kind of task: look up what was shown. Large models have seen so many kinds of text that they also find
# the task itself in the examples, such as "write the word in capital letters". `docs/in_context.md` has such figures: for a
# small model on unseen tasks, and for SmolLM2 with 135 million parameters. There you also find a Transformer that does
# linear regression in its context: with few points better than least squares, with many worse.
#
# `numpylm train --task in-context` is this lesson in one command.
#
# ## What you can do now
#
# - test whether a model learns from its prompt, with a task that cannot be in its weights;
# - measure what each further example is worth, beside chance;
# - find induction heads with a score, and show with an ablation that they do the work;
# - find out where such an ability ends, with sequences that differ from those of the training.
#
# ## 小结
#
# 上下文学习：不改变任何权重，模型只看提示里的几个例子，就能做新的任务。为了证明它不是背下来的，我们让每个序列都有一张新的随机对照表：
# 没有例子时，正确率只能是八分之一；看过一个例子以后，正确率是百分之百。归纳头会看向同一个符号以前出现时后面的标签；
# 关掉它，正确率就退回到瞎猜的水平。但是模型只学会了训练所需要的：例子出现得太晚，它就用不上。
#
# ## Three questions
#
# @answer Why are the labels of a row drawn independently, and not as a permutation in which all are different?
# If all labels of a row were different, the labels of other symbols would say which ones are left. Then a model could be
# better than 1/8 without any example of the symbol, and "chance at 0" would no longer be a clean test.
# @answer The accuracy after one example is 100 %. Has the model learned a map into its weights?
# No. The weights are the same for all rows, and each row has another map. What depends on the row are the activations: the
# keys and values of its examples. After the row they are gone.
# @answer A model has seen "capital of X" questions in training and answers them better with 8 examples. Is that learning?
# It may be something else: the examples can show *which* known task is meant (Min et al. 2022, arXiv:2202.12837, found that
# even wrong labels help). A task with random labels, as in this lesson, tells the two apart.
# @end
