# %% [markdown]
# # 15 · Translation: the Transformer of 2017
#
# "Attention Is All You Need" was not about chat. It was about translation, and its Transformer has two halves. The
# **encoder** reads the whole source sentence, in both directions. The **decoder** writes the translation token by token,
# and at every token it may look at what the encoder has read. One layer connects the two: **cross-attention**. You write
# it, you train a small translator in twenty seconds, and you *see* how it reads. Then you write the two things that
# translators need besides a model: beam search, and a measure of how good a translation is.
#
# **You need:** lessons 02 and 06. **Time:** about an hour and a half.
# **You will write:** a padding mask, `CrossAttention`, the loss with label smoothing, beam search, and BLEU.

# %%
import math
from collections import Counter

import numpy as np
from tqdm import tqdm

from numpylm import AdamW, Linear, Module, Transformer, TransformerConfig, keep_memory, softmax, warmup_cosine
from numpylm.course import check, heatmap, style, swap
from numpylm.nn.attention import (
    merge_heads,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
    split_heads,
)
from numpylm.nn.self_and_cross_attention import CrossAttention as OurCrossAttention

plt = style()
keep_memory()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 A small language to translate
#
# We translate English dates into Chinese dates. This is small, but it has what makes translation hard. The order of the
# words changes: year, month, day, and the day of the week last. Some words become numbers, and others are copied. The day
# of the week is drawn at random, so the model cannot compute it from the date: it has to read it. We work with
# characters, so that you can see everything.

# %%
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def date_pair(rng):
    """A random English date and its Chinese translation."""
    month, day, year = rng.integers(1, 13), rng.integers(1, 29), rng.integers(1900, 2100)
    weekday = rng.integers(7)
    english = f"{DAYS[weekday]}, {MONTHS[month - 1]} {day}, {year}"
    return english, f"{year}年{month}月{day}日星期{'一二三四五六日'[weekday]}"


pairs = [date_pair(rng) for _ in range(6000)]
train, held_out = pairs[200:], [pair for pair in pairs[:200] if pair not in set(pairs[200:])]
for english, chinese in train[:3]:
    print(f"{english:28} {chinese}")

characters = sorted({c for pair in pairs for text in pair for c in text})
PAD, START, END = 0, 1, 2
number_of = {c: i + 3 for i, c in enumerate(characters)}
V = len(characters) + 3
print(f"V = {V}; {len(train):,} pairs to train on, {len(held_out)} held out")

# %% [markdown]
# ## 2 Sentences of different lengths
#
# The sentences of a batch have different lengths, so the short ones are filled up with padding. No position may look at
# padding. So attention gets a mask that is True for real tokens. Its shape must broadcast against the scores
# (B, H, T, S): one entry for each sentence and each *key*, the same for all heads and all queries.
#
# ### Exercise: `padding_mask`
#
# @hint A nudge
# `np.arange(S)` has the positions 0 … S-1. A position is real if it is smaller than the length of its sentence.
# @hint Almost code
# `np.arange(S) < lengths[:, None]` has shape (B, S). Two axes of length 1 are missing in the middle: `[:, None, None, :]`.
# @end


# %% exercise="padding_mask"
def my_padding_mask(lengths, S):
    """True for real tokens.

    Parameters
    ----------
    lengths : int array (B,)
        The number of real tokens in each sentence; they come first.
    S : int
        The length of the batch.

    Returns
    -------
    bool array (B, 1, 1, S)
    """
    # --- solution
    real = np.arange(S) < lengths[:, None]  # (B, S)
    return real[:, None, None, :]
    # --- end


# %%
padding_mask = check("padding_mask", my_padding_mask)

# %% [markdown]
# The next cell makes the arrays of a batch. In training, the decoder reads START and the right translation, without its
# last token (`so_far`). At each position it must predict the next token (`following`), and at the last one END.


# %%
def batch_of(some_pairs):
    """Arrays for the model: source (B, S), its real tokens (B, S), target so far (B, T), next tokens (B, T)."""
    sources = [[number_of[c] for c in english] + [END] for english, _ in some_pairs]
    targets = [[number_of[c] for c in chinese] + [END] for _, chinese in some_pairs]
    S, T = max(map(len, sources)), max(map(len, targets))
    source = np.array([ids + [PAD] * (S - len(ids)) for ids in sources])
    following = np.array([ids + [-100] * (T - len(ids)) for ids in targets])  # -100: not counted in the loss
    so_far = np.concatenate([np.full((len(targets), 1), START), np.maximum(following[:, :-1], 0)], axis=1)
    real = padding_mask(np.array([len(ids) for ids in sources]), S)[:, 0, 0]  # (B, S)
    return source, real, so_far, following


source, real, so_far, following = batch_of(train[:3])
print("source, first sentence:", source[0])
print("real tokens:           ", real.sum(axis=1))

# %% [markdown]
# The first two sentences are one token shorter than the third. So each ends with END (2) and one token of padding (0).
#
# ## 3 Cross-attention
#
# In self-attention, queries, keys and values come from the same sequence. In cross-attention, the **queries** come from
# the decoder, $x$ with shape (B, T, C). The **keys and values** come from the encoder's output, which is called the
# memory, $m$ with shape (B, S, C). So the scores are (B, H, T, S): how much does target position $t$ look at source
# position $s$? There is no causal mask, because the whole source is known. There is only the mask for padding. The four
# matrices are (C, C), and each layer has a bias, too:
#
# $$Q = x W_q, \qquad K = m W_k, \qquad V = m W_v, \qquad y = \text{merge}\big(\text{Attention}(Q, K, V)\big) W_o$$
#
# ### Exercise: `CrossAttention`
#
# The backward returns *two* gradients, for $x$ and for $m$. Ask again where the memory is used.
#
# @hint A nudge
# The memory is used twice, for the keys and for the values. So it gets a sum.
# @hint Almost code, forward
# ```python
# q, q_cache = self.q_proj.forward(x)                   # (B, T, C)
# k, k_cache = self.k_proj.forward(memory)              # (B, S, C)
# v, v_cache = …
# heads = [split_heads(part, self.n_head) for part in (q, k, v)]
# out, attention_cache = scaled_dot_product_attention(*heads, mask)
# y, out_cache = self.out_proj.forward(merge_heads(out))
# ```
# @hint Almost code, backward
# ```python
# dout = split_heads(self.out_proj.backward(dy, out_cache), self.n_head)
# dq, dk, dv = scaled_dot_product_attention_backward(dout, attention_cache)
# dmemory = self.k_proj.backward(merge_heads(dk), k_cache) + …
# return self.q_proj.backward(…), dmemory
# ```
# @end


# %% exercise="CrossAttention"
class MyCrossAttention(Module):
    """Multi-head attention from one sequence to another."""

    def __init__(self, n_embd, n_head, *, rng=None, dtype=np.float32):
        self.n_head = n_head
        self.q_proj = Linear(n_embd, n_embd, rng=rng, dtype=dtype)
        self.k_proj = Linear(n_embd, n_embd, rng=rng, dtype=dtype)
        self.v_proj = Linear(n_embd, n_embd, rng=rng, dtype=dtype)
        self.out_proj = Linear(n_embd, n_embd, rng=rng, dtype=dtype)

    def forward(self, x, memory, mask=None, rng=None):
        """x (B, T, C), memory (B, S, C) -> y (B, T, C)."""
        # --- solution
        q, q_cache = self.q_proj.forward(x)  # (B, T, C)
        k, k_cache = self.k_proj.forward(memory)  # (B, S, C)
        v, v_cache = self.v_proj.forward(memory)  # (B, S, C)
        heads = [split_heads(part, self.n_head) for part in (q, k, v)]
        out, attention_cache = scaled_dot_product_attention(*heads, mask)  # (B, H, T, D)
        y, out_cache = self.out_proj.forward(merge_heads(out))  # (B, T, C)
        return y, (q_cache, k_cache, v_cache, attention_cache, out_cache)
        # --- end

    def backward(self, dy, cache):
        """dy (B, T, C) -> dx (B, T, C), dmemory (B, S, C)."""
        # --- solution
        q_cache, k_cache, v_cache, attention_cache, out_cache = cache
        dout = split_heads(self.out_proj.backward(dy, out_cache), self.n_head)  # (B, H, T, D)
        dq, dk, dv = scaled_dot_product_attention_backward(dout, attention_cache)
        dmemory = self.k_proj.backward(merge_heads(dk), k_cache) + self.v_proj.backward(merge_heads(dv), v_cache)
        return self.q_proj.backward(merge_heads(dq), q_cache), dmemory
        # --- end


# %%
CrossAttention = check("CrossAttention", MyCrossAttention)

# %% [markdown]
# All blocks of the decoder read the same memory. So in the whole model the memory gets another sum, over the blocks, and
# that sum is the upstream gradient of the encoder.
#
# ## 4 Label smoothing
#
# The paper does not train with one-hot targets. It takes the share $\epsilon$ of the probability from the right token $y$
# and spreads it evenly over all $V$ tokens, so the target is $q_i = (1 - \epsilon)\,[i = y] + \epsilon / V$. ($[i = y]$ is 1
# for the right token and 0 for all others.) The loss is still a cross-entropy, $L = -\sum_i q_i \log p_i$, with $p =
# \text{softmax}(z)$. The model then does not have to make the right logit infinitely large, and translations become
# better, though the loss becomes higher. (Our small translator below does not need it. `numpylm train --task translation`
# has it as `--label-smoothing`.)
#
# ### Exercise: `smoothed_cross_entropy`
#
# For one position. In lesson 02 the gradient of the loss with respect to the logits was $p$ minus the one-hot target. Did
# that proof use that the target is one-hot, or only that it sums to 1?
#
# @hint A nudge
# $L = -\sum_i q_i z_i + \log \sum_k e^{z_k}$, because the $q_i$ sum to 1. Now take the derivative with respect to $z_j$.
# @hint Beware
# For a very small $p_i$, `np.log(p)` can be the logarithm of 0. Compute $\log p$ from the logits, as in lesson 02.
# @hint Almost code
# ```python
# q = np.full(len(z), epsilon / len(z))
# q[y] += 1 - epsilon
# shifted = z - z.max()
# log_p = shifted - np.log(np.exp(shifted).sum())
# ```
# @hint The short form
# $dz = p - q$
# @end


# %% exercise="smoothed_cross_entropy"
def my_smoothed_cross_entropy(z, y, epsilon=0.1):
    """-Σ q log softmax(z), in nats, with q = (1 - ε) onehot(y) + ε/V.

    Parameters
    ----------
    z : array (V,)
        Logits of one position.
    y : int
        The right token.
    epsilon : float

    Returns
    -------
    loss : float
    dz : array (V,)
        Its gradient.
    """
    # --- solution
    q = np.full(len(z), epsilon / len(z))
    q[y] += 1 - epsilon
    shifted = z - z.max()
    log_p = shifted - np.log(np.exp(shifted).sum())
    return float(-(q * log_p).sum()), np.exp(log_p) - q
    # --- end


# %%
smoothed_cross_entropy = check("smoothed_cross_entropy", my_smoothed_cross_entropy)

# %% [markdown]
# ## 5 Train a translator
#
# The model is a `Transformer` with two blocks on each side, and your cross-attention is in its decoder. The next cell
# trains it. **It takes about twenty seconds.**


# %%
class TrainedCrossAttention(OurCrossAttention):
    """numpylm's class, which generation needs, with your forward and backward."""

    forward = CrossAttention.forward
    backward = CrossAttention.backward


config = TransformerConfig(
    vocab_size=V,
    block_size=40,
    n_layer=2,
    n_head=4,
    n_embd=64,
    n_inner=128,
    dropout=0.0,
    start_id=START,
    norm_first=True,
)
model = swap(Transformer(config, np.random.default_rng(0)), CrossAttention=TrainedCrossAttention)
optimizer = AdamW(model.parameters(), lr=4e-3)
STEPS, losses = 400, []
for step in tqdm(range(STEPS), leave=False):
    chosen = [train[i] for i in rng.integers(len(train), size=48)]
    source, real, so_far, following = batch_of(chosen)
    model.zero_grad()
    losses.append(model.loss_and_grad(source, so_far, following, source_mask=real))
    optimizer.step(warmup_cosine(step, 50, STEPS, 4e-3, 4e-4))

source, real, so_far, following = batch_of(held_out)
print(f"held-out loss {model.loss(source, so_far, following, real):.4f} nats per character")
fig, axes = plt.subplots(figsize=(6, 2.6))
axes.semilogy(losses, linewidth=0.9)
axes.set(xlabel="step", ylabel="training loss, nats per character")
plt.show()

# %% [markdown]
# The axis of the loss is logarithmic: it falls by a factor of more than a thousand. On dates that the model has not seen,
# the loss is low as well. So it has learned to translate, and not the dates by heart.
#
# ## 6 Where does it look?
#
# The weights of the cross-attention show which characters of the source the decoder reads while it writes each
# character. A small class computes them once more and keeps them. We take the mean over the heads of the last block.


# %%
class Watched(TrainedCrossAttention):
    """Keeps the attention weights of each call."""

    def forward(self, x, memory, mask=None, rng=None):
        """x (B, T, C), memory (B, S, C) -> y (B, T, C); there is no padding here."""
        q = split_heads(self.q_proj.forward(x)[0], self.n_head)  # (B, H, T, D)
        k = split_heads(self.k_proj.forward(memory)[0], self.n_head)  # (B, H, S, D)
        maps.append(softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]))[0])  # (B, H, T, S)
        return super().forward(x, memory, mask, rng)


spoken = dict(
    zip(
        "年月日星期一二三四五六", ["nián", "yuè", "rì", "xīng", "qī", "yī", "èr", "sān", "sì", "wǔ", "liù"], strict=True
    )
)
maps = []
english, chinese = held_out[0]
source, real, so_far, following = batch_of([(english, chinese)])
swap(model, TrainedCrossAttention=Watched).forward(source, so_far)
fig, axes = plt.subplots(figsize=(7, 4.6))
columns = [*english.replace(" ", "␣"), "end"]
rows = [spoken.get(c, c) for c in chinese] + ["end"]  # in Latin letters: not every font has Chinese ones
heatmap(axes, maps[-1][0].mean(axis=0), rows, columns, xlabel="source", ylabel="written next", root=True)
plt.show()

# %% [markdown]
# Read it row by row. (The Chinese characters are spelled in Latin letters. The color shows the square root of the weight,
# so that small weights can be seen.) For the digits of the day and the last digits of the year, the model looks at these
# digits. For the month it looks at the month's name, and for the day of the week at letters of "Tuesday" that tell it
# from the other days. Characters such as *nián*, year, stand in every date, and after a first 2 the year always goes on
# with 0. The model needs no source for these, and its weights are spread. Nobody told it which word belongs to which. This
# is what translators call an *alignment*, and before 2014 it needed a model of its own.
#
# ## 7 Beam search
#
# How do we get the best translation? At each step we could take the most probable token. But a good beginning may lead
# to a bad end. **Beam search** keeps the $K$ best beginnings instead of one; together they are called the beam. A step
# extends all of them by all tokens, and goes through the results from the most probable down. A text that ends with the
# end token is finished, and takes no place in the beam. The others go into the next beam, until it has $K$.
#
# A longer text has more factors below 1, and so a smaller probability $P$. So finished texts are compared by $\log P /
# \text{length}^\alpha$. With $\alpha = 0$ the length does not count, and a larger $\alpha$ favors longer texts.
#
# ### Exercise: `beam_search`
#
# `next_log_probs(ids)` returns the log-probabilities (V,) of the next token after the list `ids`. Here the search ends
# when `K` texts are finished. A text of `longest` tokens counts as finished, too.
#
# @hint A nudge
# A beam is a list of pairs (ids, log P). One step makes all continuations of all pairs, and sorts them by log P. The first
# beam has one pair: the empty list, with log P = 0.
# @hint Almost code
# ```python
# beam, finished = [([], 0.0)], []
# while beam and len(finished) < K:
#     continuations = [(ids + [i], log_p + lp) for ids, log_p in beam for i, lp in enumerate(next_log_probs(ids))]
#     continuations.sort(key=lambda pair: -pair[1])
#     beam = []
#     for ids, log_p in continuations:
#         …
# return max(finished, key=…)[0]
# ```
# @end


# %% exercise="beam_search"
def my_beam_search(next_log_probs, end, K=4, alpha=1.0, longest=30):
    """The best text that a beam of K finds.

    Parameters
    ----------
    next_log_probs : callable
        list of int -> array (V,)
    end : int
        The token that ends a text.
    K : int
    alpha : float
        The exponent of the length, in tokens with the end token.
    longest : int

    Returns
    -------
    list of int
        With its end token, if it has one.
    """
    # --- solution
    beam, finished = [([], 0.0)], []
    while beam and len(finished) < K:
        continuations = [(ids + [i], log_p + lp) for ids, log_p in beam for i, lp in enumerate(next_log_probs(ids))]
        continuations.sort(key=lambda pair: -pair[1])
        beam = []
        for ids, log_p in continuations:
            if ids[-1] == end or len(ids) == longest:
                finished.append((ids, log_p / len(ids) ** alpha))
            else:
                beam.append((ids, log_p))
            if len(beam) == K or len(finished) == K:
                break
    return max(finished, key=lambda pair: pair[1])[0]
    # --- end


# %%
beam_search = check("beam_search", my_beam_search)


# %%
def translate(english, K=1):
    """The Chinese date for an English one."""
    source, real, _, _ = batch_of([(english, "")])
    memory, _ = model.encode(source, real)

    def next_log_probs(ids):
        logits = model.head(model.decode(np.array([[START, *ids]]), memory, real)[0])[0][0, -1]
        shifted = logits - logits.max()
        return shifted - np.log(np.exp(shifted).sum())

    ids = beam_search(next_log_probs, END, K, longest=20)
    return "".join(characters[i - 3] for i in ids if i > END)


for english, chinese in held_out[:4]:
    print(
        f"{english:28} {translate(english, 3):16} {'right' if translate(english, 3) == chinese else 'expected ' + chinese}"
    )

# %% [markdown]
# ## 8 BLEU: how good is a translation?
#
# A sentence has many good translations, so "equal or not" is too strict. **BLEU** (Papineni et al. 2002) counts which
# share of the n-grams of the translation occur in the reference, for n = 1 to 4. Two traps were known from the start:
#
# - "the the the" would have all its words in "the cat". So an n-gram counts at most as often as in the reference. This is
#   called **clipping**.
# - A translation of one safe word would have a perfect share. So short translations get a **brevity penalty**. With $c$
#   words in all translations and $r$ in all references, it is 1 for $c \ge r$ and $e^{1 - r/c}$ otherwise.
#
# Counts are summed over all sentences first. With $p_n$ the share of right n-grams, $\;\text{BLEU} = 100 \cdot \text{BP}
# \cdot (p_1 p_2 p_3 p_4)^{1/4}$.
#
# ### Exercise: `bleu`
#
# @hint A nudge
# `Counter(a) & Counter(b)` keeps the smaller count of each entry. That is the clipping.
# @hint The n-grams
# `[tuple(words[i : i + n]) for i in range(len(words) - n + 1)]`
# @hint Almost code
# ```python
# matches, totals = np.zeros(4), np.zeros(4)
# for words, reference in zip(candidates, references):
#     for n in range(1, 5):
#         found = Counter(…)
#         allowed = Counter(…)
#         matches[n - 1] += (found & allowed).total()
#         totals[n - 1] += found.total()
# ```
# @end


# %% exercise="bleu"
def my_bleu(candidates, references):
    """BLEU of a system, from 0 to 100; 0 if no 4-gram is right.

    Parameters
    ----------
    candidates, references : list of lists of words
        One reference for each translation.
    """
    # --- solution
    matches, totals = np.zeros(4), np.zeros(4)
    for words, reference in zip(candidates, references, strict=True):
        for n in range(1, 5):
            found = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
            allowed = Counter(tuple(reference[i : i + n]) for i in range(len(reference) - n + 1))
            matches[n - 1] += (found & allowed).total()
            totals[n - 1] += found.total()
    if not matches.all():
        return 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    brevity = 1.0 if c >= r else math.exp(1 - r / c)
    return float(100 * brevity * np.exp(np.log(matches / totals).mean()))
    # --- end


# %%
bleu = check("bleu", my_bleu)

# %%
some = held_out[:40]
greedy = [translate(english) for english, _ in some]
print(f"greedy: BLEU of characters {bleu([list(t) for t in greedy], [list(c) for _, c in some]):.1f}, ", end="")
print(f"{sum(t == c for t, (_, c) in zip(greedy, some, strict=True))} of {len(some)} dates exactly right")
copied = [list(english) for english, _ in some]
print(f"copying the source: BLEU {bleu(copied, [list(c) for _, c in some]):.1f}")

# %% [markdown]
# The model is nearly perfect. Copying the source is a baseline, and does not get 0, because the digits of year and day
# stand in both languages. Always compare a BLEU with such a baseline.
#
# For real sentences, `numpylm train --task translation` does the same with a tokenizer, on bundled English and Chinese
# sentences or on your own files. On the 29,000 pairs of Multi30k, English to German, half an hour on a laptop gives a BLEU
# of 38; `docs/results.md` has the figures. Published Marian models run too: `docs/translation_and_bert.md`.
#
# ## What you can do now
#
# - explain encoder, decoder and cross-attention, and write the gradient of the layer that connects them;
# - mask padding, and smooth labels;
# - write beam search, and say what its length penalty is for;
# - compute BLEU, and say what clipping and the brevity penalty prevent.
#
# ## 小结
#
# 2017 年的 Transformer 有两半：编码器双向地读原文，解码器逐个写出译文，交叉注意力把两者连起来，查询来自解码器，键和值来自编码器。
# 编码器的输出用了两次（键和值），所以梯度是两项之和。标签平滑的梯度仍是 p - q。束搜索保留 K 个最好的开头，按长度修正后的概率比较。
# BLEU 统计 n 元组的命中率：截断防止重复，长度惩罚防止过短。
#
# ## Three questions
#
# @answer Why does the decoder's self-attention need a causal mask, and its cross-attention none?
# In training, the decoder sees the whole right translation at once. Without the mask it could copy the next token. The
# source is given completely before the first token is written, so looking anywhere in it is no leak.
# @answer The padding mask is forgotten in the cross-attention. The training loss still falls. What goes wrong?
# Each sentence then gets a share of its memory from padding. How much depends on the longest sentence in the batch. So
# the same sentence gets different translations, depending on its company in the batch.
# @answer A wider beam finds translations with a higher probability. Why can BLEU fall?
# The most probable text is not always the best. Models often give short or empty texts too much probability, and a
# narrow beam never finds those. The length penalty corrects a part of this.
# @end
