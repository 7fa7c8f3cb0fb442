# %% [markdown]
# # 00 · Start here
#
# A language model is about to tell you a story. It runs on your computer, in Python, with NumPy and nothing else behind it. By the end of this course you will
# have written such a model yourself: every step forward, and every gradient, each of them proven.
#
# **You need:** Python, some calculus (derivatives, the chain rule), some linear algebra (what a matrix product is). No deep learning.
# **Time for this lesson:** twenty minutes. **You will write:** one line.
#
# Click into the cell below and press Shift + Enter. Then go on like that, cell by cell.

# %%
import numpy as np

from numpylm.course import check, map_of_gpt, storyteller, style
from numpylm.inference.generation import stream_text

plt = style()
gpt, tokenizer = storyteller()
rng = np.random.default_rng(3)
tokens = gpt.generate([tokenizer.end_id], 240, temperature=0.6, rng=rng, stop_ids=(tokenizer.end_id,))
for piece in stream_text((t for t in tokens if t != tokenizer.end_id), tokenizer.token_bytes):
    print(piece, end="", flush=True)

# %% [markdown]
# Another number in `default_rng(3)` gives another story. (`temperature` says how daring the choice of words is; lesson 10.) The model has learnt from 4 MB of little stories in two minutes. It has 560,640 *parameters*: numbers that
# were random at first and were then changed, a little at a time, until the model was good at one single thing.
#
# ## 1 The one thing: what comes next?
#
# A text is cut into **tokens**, pieces of a few letters. The model reads the tokens so far and gives each possible next token a probability. That is all. To write,
# one token is drawn at random with these probabilities, appended, and the model is asked again.

# %%
text = "There was once a"
ids = np.array([[tokenizer.end_id, *tokenizer.encode(text)]])  # (1, T)
print([tokenizer.decode([i]) for i in ids[0, 1:]])

logits, _ = gpt.forward(ids)  # (1, T, V): a number for each possible next token, at each position
p = np.exp(logits[0, -1]) / np.exp(logits[0, -1]).sum()  # the last position, as probabilities
likely = np.argsort(-p)[:12]
fig, axes = plt.subplots(figsize=(5, 3))
axes.barh([repr(tokenizer.decode([i])) for i in likely[::-1]], p[likely[::-1]])
axes.set(xlabel="probability", ylabel="next token")
plt.show()

# %% [markdown]
# ## 2 The map
#
# Here is the whole model in one picture. You need not understand it yet; each box is a lesson. Come back to it.

# %%
map_of_gpt(n_layer=gpt.config.n_layer)
plt.show()

# %% [markdown]
# The letters are sizes, and they mean the same in every lesson:
#
# | letter | what it counts | in this model |
# | --- | --- | --- |
# | **B** | batch: texts that are worked on together | 1 just now |
# | **T** | time: positions in a text | at most 256 |
# | **C** | channels: numbers that describe one position | 128 |
# | **H** | heads: attentions side by side | 4 |
# | **D** | channels of one head, C / H | 32 |
# | **V** | vocabulary: different tokens | 1,024 |
# | **L** | layers: blocks, one after the other | 2 |
#
# (Two of them do double duty, and the place tells which: L is also the loss, V also attention's values. N is not in the table:
# it is whatever is counted just then. S, from lesson 06 on, counts keys; mostly S = T.)
#
# Behind each line of code that changes a shape stands the new one, like this: `# (B, T, C)`. Most mistakes are mistakes in shapes; read them.

# %%
x, _ = gpt.wte.forward(ids)  # the position is left out here; the model adds it
print("ids                ", ids.shape, "       (B, T)")
print("after the embedding", x.shape, "  (B, T, C)")
x, _ = gpt.h[0].forward(x)
print("after a block      ", x.shape, "  (B, T, C)")
print("logits             ", logits.shape, " (B, T, V)")

# %% [markdown]
# ## 3 What you will learn to write: backward
#
# *Forward* computes the output. How does a model get better? For each of its parameters one must know: if this number grew a little, would the result be better or worse, and by
# how much? This is a derivative, and all of them together are the **gradient**. To compute it, one goes through the model from the end to the beginning, step by step. That is
# *backward*, and it is what this course is about.
#
# In every lesson, a step is a pair of functions:
#
# ```python
# out, cache = f(x)               # forward: also keeps what backward will need
# dx = f_backward(dout, cache)    # backward: from the gradient of out to that of x
# ```
#
# `dout` has the shape of `out`. For each number of `out` it says how much the final result changes when that number changes. `dx` says the same of `x`, and has its shape. The
# chain rule makes one from the other.

# %% [markdown]
# ### Exercise: `square_backward`
#
# Your first one. Forward squares each number, $\text{out}_i = x_i^2$. Its slope is $2 x_i$, so by the chain rule $dx_i = \text{dout}_i \cdot 2 x_i$.
#
# In an exercise you replace the line `raise NotImplementedError`. Run the cell, then the one below it, which checks your work. First run both **without** writing anything, to see
# what happens. If you are stuck, click on the hints; each one says more than the one before.
#
# @hint A nudge
# The cache is what the forward put there: look at its `return`.
# @hint Almost code
# ```python
# x = cache
# return dout * …
# ```
# @end


# %%
def my_square(x):
    """x², number by number."""
    return x * x, x


# %% exercise="square_backward"
def my_square_backward(dout, cache):
    """Gradient of `my_square`.

    Parameters
    ----------
    dout : array
        The gradient of the output, of any shape.
    cache : array, same shape
        x, from the forward.

    Returns
    -------
    dx : array, same shape
    """
    # --- solution
    x = cache
    return dout * 2 * x
    # --- end


# %%
square_backward = check("square_backward", my_square_backward)

# %% [markdown]
# Four things can happen.
#
# - **○ not written yet.** Nothing breaks. `check` returns numpylm's own function, and the rest of the lesson works with that. You can skip any exercise.
# - **✗ not right yet.** The check says what is wrong, as far as it can find out. See an example below.
# - **✓ right.** From here on the lesson works with *yours*.
# - **A red error under your own cell**, such as SyntaxError. Mend that first: until the cell runs, the check below sees what
#   was there before.
#
# ## 4 How does it know?
#
# It computes each derivative a second time, without any formula: change one number a tiny bit, run the forward again, and look at how much the output has changed. If your backward says
# something else, it is wrong. And then it looks at *how* it is wrong. Here is a wrong answer, on purpose (it does not undo your right one):


# %%
def forgets_the_upstream_gradient(dout, cache):
    """2x alone."""
    return 2 * cache


_ = check("square_backward", forgets_the_upstream_gradient)

# %% [markdown]
# In lesson 03 you will build such a check yourself. Outside the notebooks it works on any code of yours:
#
#     numpylm gradcheck --file my_layers.py
#
# ## 5 The way
#
# | lesson | what you will be able to do |
# | --- | --- |
# | 01 tokens | cut any text into tokens, and learn the cuts from data |
# | 02 softmax and loss | build a first language model, measure it, derive p - y |
# | 03 checking gradients | prove that a gradient is right |
# | 04 linear and MLP | write the layer that does most of the work |
# | 05 layer norm and residuals | keep a deep network alive |
# | 06 attention | let positions look at each other |
# | 07 the whole model | put it all together: your own GPT |
# | 08 Adam | turn gradients into learning |
# | 09 training | train your GPT until it tells a story |
# | 10 generation | choose the next token well, and fast |
# | 11 looking inside | see what a model does, and test what you see |
# | 12 bug hunt | find ten bugs that real programs had |
# | 13 your own text | do it all with a text of yours |
#
# `numpylm course` in a terminal shows which exercises you have solved, and what comes next. The solutions lie in `notebooks/solutions`. They are best read after an attempt: an hour
# with a wrong gradient teaches more than ten right ones.
#
# ## What you can do now
#
# - say what a language model computes, and watch one do it;
# - read the letters B, T, C, H, D, V, L;
# - write a backward, have it checked, and read what the check says.
#
# ## Three questions
#
# @answer The logits above have shape (1, T, V). Why T rows, if only the last one was used?
# The model predicts the next token at every position at once. For writing only the last is needed; for training all are, since there each
# position's next token is known.
# @answer What is the shape of dx, if x is (B, T, C)?
# (B, T, C). A gradient always has the shape of what it is the gradient of: one derivative for each number.
# @answer Why does backward need a cache?
# The slope of x² depends on x. In general, a step's gradient depends on what was there when the forward ran.
# @end
