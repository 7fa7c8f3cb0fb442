# %% [markdown]
# # 20 · Writing and code: P(y given x), and how to measure it
#
# A language model knows P(y), how probable a text is. Most of what we want from it is P(y | x): a poem y on a theme x, or a
# function y that does what its docstring x says. The model stays the same. x is written before y, and only y counts in the
# loss. What changes is the measuring. For a poem, *many* texts are good. For code, a program can say which ones are
# right, if we let it run, and if the test is fair.
#
# **You need:** lessons 02 and 09; 18 helps. **Time:** about an hour.
# **You will write:** Bayes' rule for themes, a split that keeps combinations apart, and pass@k.

# %%
import re
from collections import Counter

import numpy as np
from tqdm import tqdm

from numpylm import AdamW, Llama, LlamaConfig, clip_grad_norm, keep_memory, warmup_cosine
from numpylm.corpora import VERSES, functions
from numpylm.corpora.function_words import KINDS, Filter
from numpylm.course import check, style
from numpylm.system.untrusted_code import OUTCOMES, run_untrusted
from numpylm.tasks.code_baselines import NearestDocstring
from numpylm.text.code_problem import Problem, parses

plt = style()
keep_memory()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 A poem on a theme
#
# The bundled generator of verses writes a theme and four lines that rhyme abab:

# %%
poems = [VERSES.text(n).split("\n", 1) for n in range(4000)]  # (theme, poem)
train_poems, val_poems = poems[:3800], poems[3800:]
print(*poems[0], sep="\n")

# %% [markdown]
# To keep the training short, our tokens are whole words, spaces and marks. `Words` numbers them. A row is x, y and an end,
# and the targets of x are -100, as in lesson 18.


# %%
class Words:
    """Words, spaces and marks as ids. 0 is the end of a text."""

    def __init__(self, texts):
        self.words = ["", *sorted({piece for text in texts for piece in self.pieces(text)})]
        self.ids = {piece: n for n, piece in enumerate(self.words)}

    @staticmethod
    def pieces(text):
        return re.findall(r"\w+|\n *| |[^\w\s]", text)

    def encode(self, text):
        return [self.ids[piece] for piece in self.pieces(text)]

    def decode(self, ids):
        return "".join(self.words[i] for i in ids)


def batch_of(words, pairs):
    """Pairs (x, y) as ids and targets (B, T)."""
    rows = [([0, *words.encode(x + "\n")], [*words.encode(y), 0]) for x, y in pairs]
    longest = max(len(x) + len(y) for x, y in rows) - 1
    ids, targets = np.zeros((len(rows), longest), int), np.full((len(rows), longest), -100)
    for i, (x, y) in enumerate(rows):
        whole = [*x, *y]
        ids[i, : len(whole) - 1] = whole[:-1]
        targets[i, len(x) - 1 : len(whole) - 1] = y
    return ids, targets


def fit(words, pairs, steps, lr=5e-3):
    """A small Llama that has learned P(y | x) from pairs."""
    model = Llama(LlamaConfig(len(words.words), 160, n_layer=2, n_head=4, n_embd=64), rng=np.random.default_rng(1))
    optimizer, draw = AdamW(model.parameters(), lr=lr), np.random.default_rng(2)
    for step in tqdm(range(steps), leave=False):
        ids, targets = batch_of(words, [pairs[n] for n in draw.integers(len(pairs), size=16)])
        model.zero_grad()
        model.loss_and_grad(ids, targets)
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step(warmup_cosine(step, 20, steps, lr, lr / 50))
    return model


def write(words, model, x, temperature=0.0, draws=None):
    """What the model writes for x."""
    ids = list(model.generate([0, *words.encode(x + "\n")], 80, temperature=temperature, rng=draws, stop_ids=[0]))
    return words.decode(ids)


# %% [markdown]
# **The next cell takes about ten seconds.**

# %%
words = Words("\n".join(pair) for pair in poems)
poet = fit(words, train_poems, 350)
for theme in ("the sea", "war"):
    print(f"{theme} →\n{write(words, poet, theme, 0.7, np.random.default_rng(3))}\n")

# %% [markdown]
# ## 2 Which theme does a poem fit?
#
# The model gives log P(y | x) for a poem y and any theme x. It is the sum of the log-probabilities of the counted targets.
# We can turn it around with Bayes' rule: with a prior P(x), how probable is each theme *given the poem*?
#
# $$P(x \mid y) = \frac{P(y \mid x)\, P(x)}{\sum_{x'} P(y \mid x')\, P(x')}$$
#
# ### Exercise: `posterior`
#
# The inputs are log P(y | x) and P(x) for each of K themes. A poem of 30 words has a log-probability of about -60, a novel one of
# -500,000. So the result must be right even where P(y | x) itself is 0 in a computer.
#
# @hint A nudge
# Add the logarithms, then take a softmax. Lesson 02 made it safe by subtracting the maximum.
# @hint Almost code
# ```python
# log_joint = log_p + np.log(prior)
# joint = np.exp(log_joint - …)
# return joint / …
# ```
# @end


# %% exercise="posterior"
def my_posterior(log_p, prior):
    """P(x | y) of K themes.

    Parameters
    ----------
    log_p : array (K,)
        log P(y | x) of each theme, in nats.
    prior : array (K,)
        P(x), above 0.

    Returns
    -------
    array (K,)
    """
    # --- solution
    log_joint = log_p + np.log(prior)  # (K,)
    joint = np.exp(log_joint - log_joint.max())
    return joint / joint.sum()
    # --- end


# %%
posterior = check("posterior", my_posterior)


# %%
def log_probs(words, model, pairs):
    """log P(y | x) of each pair, in nats."""
    ids, targets = batch_of(words, pairs)
    logits = model.forward(ids)[0].astype(np.float64)  # (B, T, V)
    logits -= logits.max(axis=-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    counted = targets != -100
    return (np.take_along_axis(log_p, np.where(counted, targets, 0)[..., None], -1)[..., 0] * counted).sum(axis=1)


themes = sorted({theme for theme, _ in poems})
prior = np.full(len(themes), 1 / len(themes))
hits, costs = [], []
for theme, poem in val_poems[:50]:
    found = log_probs(words, poet, [(other, poem) for other in themes])
    hits.append(themes[int(posterior(found, prior).argmax())] == theme)
    costs.append(found[themes.index(theme)] - np.delete(found, themes.index(theme)).mean())
print(f"the right one of {len(themes)} themes is the most probable for {np.mean(hits):.0%} of held-out poems")
print(f"another theme costs {np.mean(costs):.1f} nats a poem")

# %% [markdown]
# So the model does not ignore the theme. That is worth a test. A model that writes nice poems on *anything* has the same
# loss whatever theme stands before them. `numpylm rank --prompts` does this for your own runs, and on Tang poems a
# shuffled title costs a tenth of a nat for each character.
#
# ## 3 Functions, and a fair test
#
# Now x is a docstring, and y a function. The generator puts an *operation* and a *filter* together:

# %%
FIXED = {"n": 5, "k": 3, "s": 4, "c": "e"}  # in "numbers greater than {n}" and so on, so that nothing must be copied


def fixed(some):
    """A filter with its number or letter filled in."""
    return Filter(some.name, some.words.format(**FIXED), some.condition.format(**FIXED))


everything = [
    (kind, operation, fixed(some)) for kind in KINDS for operation in kind.operations for some in kind.filters
]


def make_problem(kind, operation, some, draws):
    """A problem in which the function is called solve."""
    p = functions.problem(kind, operation, some, draws)
    asserts = tuple(line.replace(f"assert {p.name}(", "assert solve(") for line in p.asserts)
    return Problem(p.text, "solve", p.code.replace(f"def {p.name}(", "def solve("), asserts)


made = []  # ((operation, filter), problem)
for n in rng.integers(len(everything), size=4000):
    kind, operation, some = everything[n]
    made.append(((f"{operation.name} of {kind.argument}", some.name), make_problem(kind, operation, some, rng)))
pair, problem = made[0]
print(f"{pair}\n{problem.text}\n\n{problem.code}\n\n{problem.asserts[0]}")

# %% [markdown]
# If we hold out problems at random, then nearly every held-out function also stands in training, with other words or another
# number. A model that copies would look clever. The fair question is: can it combine two parts that it has never seen
# together? So we hold out *pairs*.
#
# ### Exercise: `split_pairs`
#
# Split problems by their pair. A training problem may share its operation with a held-out pair, or its filter. It must not
# share both.
#
# @hint A nudge
# What decides is whether the pair as a whole is in `held`.
# @end


# %% exercise="split_pairs"
def my_split_pairs(pairs, held):
    """Which problems are for training, and which are held out.

    Parameters
    ----------
    pairs : list of (str, str)
        Operation and filter of each problem.
    held : set of (str, str)
        The pairs that are held out.

    Returns
    -------
    train, test : list of int
        Positions in ``pairs``, in ascending order.
    """
    # --- solution
    train = [n for n, pair in enumerate(pairs) if pair not in held]
    return train, [n for n, pair in enumerate(pairs) if pair in held]
    # --- end


# %%
split_pairs = check("split_pairs", my_split_pairs)

# %%
names = [pair for pair, _ in made]
all_pairs = sorted(set(names))
held = {all_pairs[n] for n in rng.permutation(len(all_pairs))[:40]}
train, test = ([made[n][1] for n in part] for part in split_pairs(names, held))
test = test[:60]
print(f"{len(train):,} problems to train on; {len(held)} of {len(all_pairs)} pairs are held out")

# %% [markdown]
# x is the docstring. **The asserts are not in it.** A model that reads them could write a
# function that returns the expected numbers. **The next cell takes about half a minute.**

# %%
code_words = Words(text for problem in train + test for text in (problem.text + "\n", problem.code))
coder = fit(code_words, [(problem.text, problem.code) for problem in train], 900)
print(test[0].text, write(code_words, coder, test[0].text), sep="\n\n")

# %% [markdown]
# ## 4 Does it run, and is it right?
#
# Code from a model must not run in *this* process. It may loop forever, fill the memory, or remove a file, by mere chance.
# `run_untrusted` starts a child process with limits and refuses files, network and processes:

# %%
for code in (
    "while True: pass",
    "open('notes.txt', 'w')",
    "x = [0] * 10**10",
    "print('la' * 10**6)",
    "def f(x) return x",
    "def f(x):\n    return x + 2",
    "def f(x):\n    return x + 1",
):
    outcome = run_untrusted(code, ["assert f(1) == 2"])
    print(f"{code!r:32} {outcome.name:10} {OUTCOMES[outcome.name]}")

# %% [markdown]
# These limits are for accidents. Code by someone who *wants* to break out needs a container or a virtual machine.
#
# Now the model. Beside it stands the code of the nearest docstring of the training problems.

# %%
nearest = NearestDocstring(train)
writers = {
    "model": lambda problem: write(code_words, coder, problem.text),
    "nearest docstring": nearest.write,
}
found = {}
for who, writer in writers.items():
    texts = [writer(problem) for problem in test]
    names = [run_untrusted(text, p.asserts).name for text, p in zip(texts, test, strict=True)]
    found[who] = list(zip(names, test, texts, strict=True))
    outcomes = Counter(names)
    ran = outcomes["passed"] + outcomes["wrong"]
    shares = (sum(map(parses, texts)) / 60, ran / 60, outcomes["passed"] / 60)
    print(f"{who:18} parse {shares[0]:4.0%}, run {shares[1]:4.0%}, pass {shares[2]:4.0%}")
for name, problem, text in found["model"]:
    if name != "passed":
        print(f"\n{name}: {problem.text}\n{text}")
        break

# %% [markdown]
# The nearest functions run, and hardly any is right: the tested pair is in no training function. Most of the model's own are
# right. It puts the two parts together. The numbers also show how it fails. It writes token by token, and where it passes
# from one part to the other it has never seen this neighborhood. Look at the function above that did not pass.
#
# ## 5 pass@k
#
# Often we let a model write several functions and keep one that passes. pass@k is the probability that at least one
# of k samples passes. Drawing k samples again and again is a noisy way to measure it. Chen et al. (2021, arXiv:2107.03374,
# equation 1) draw n ≥ k samples once, of which c pass, and average over all choices of k among the n:
#
# $$\text{pass@}k = 1 - \binom{n - c}{k} \Big/ \binom{n}{k}$$
#
# The fraction is the share of choices in which *none* passes.
#
# ### Exercise: `pass_at_k`
#
# `math.comb` gives the binomial coefficients, and 0 if there are fewer than k to choose from.
#
# @hint A nudge
# If n - c < k, every choice contains one that passes. The formula says so by itself.
# @hint Beware
# $1 - (1 - c/n)^k$ is something else: it draws the same sample more than once, and is too low.
# @end


# %% exercise="pass_at_k"
def my_pass_at_k(n, c, k):
    """The chance that at least one of k samples passes, from n samples of which c passed; 1 <= k <= n."""
    # --- solution
    from math import comb

    return 1 - comb(n - c, k) / comb(n, k)
    # --- end


# %%
pass_at_k = check("pass_at_k", my_pass_at_k)

# %%
draws, N = np.random.default_rng(5), 5
passed = []  # how many of N samples pass, for each problem
for problem in test[:12]:
    texts = [write(code_words, coder, problem.text, 1.0, draws) for _ in range(N)]
    passed.append(sum(run_untrusted(text, problem.asserts).name == "passed" for text in texts))
for k in (1, 2, 5):
    print(f"pass@{k} at temperature 1: {np.mean([pass_at_k(N, c, k) for c in passed]):.0%}")

# %% [markdown]
# ## 6 The real thing
#
# - `numpylm train --task poems` and `--task code` do this with your own poems, and with problems in the form of MBPP.
#   `docs/poems.md` and `docs/code.md` have the figures, also those of real data, where a small model fails.
# - `numpylm generate runs/verses --prompt "the sea"` writes on a theme.
#
# ## What you can do now
#
# - train a model on P(y | x), and test that it does not ignore x;
# - turn P(y | x) around with Bayes' rule;
# - hold out combinations, so that copying does not help;
# - run code of a model with limits, and report parse, run, pass and pass@k beside a baseline.
#
# ## 小结
#
# 写诗和写程序都是条件概率 P(y | x)：x 写在前面，损失只算 y。打乱题目，看损失是否变大，就知道模型有没有读题。用贝叶斯公式可以反过来问：
# 这首诗最像哪个题目？对数要先减去最大值，再取指数。测程序要公平：按“操作 × 条件”的组合留出测试题，否则抄训练题也能得高分；断言不能出现在
# 提示里。模型写的程序只能在有限制的子进程里运行。pass@k 用 n 个样本一次算出，不要反复抽。
#
# ## Three questions
#
# @answer The loss of your poet hardly changes when you shuffle the themes. What does that say?
# It does not use the theme: P(y | x) is nearly P(y). Perhaps the themes say little about the poems, or training was too
# short to learn what they say.
# @answer All functions of a model run without an error, and none passes. Is that possible?
# Yes. That a program runs says little: `return 0` always runs. The nearest docstring nearly always runs, too.
# @answer Why must the split be by pairs and not by docstrings?
# One function has several docstrings. With another wording of the same function in training, the test asks only for
# a memory of it.
# @end
