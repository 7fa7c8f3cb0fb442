# %% [markdown]
# # 00 · Start here
#
# In the cell below, a language model tells you a story. It runs on your computer, in Python, and it uses nothing but
# NumPy. By the end of this course you will have written such a model yourself: every step of the forward pass and every
# gradient. You will also have proved that each gradient is right.
#
# **You need:** Python, some calculus (derivatives, the chain rule), and some linear algebra (the matrix product). You
# need no deep learning.
# **Time for this lesson:** twenty minutes. **You will write:** one line.
#
# Click into the cell below and press Shift + Enter. Then go through the notebook in the same way, cell by cell.

# %%
import numpy as np

from numpylm.course import check, map_of_gpt, storyteller, style
from numpylm.inference.streaming import stream_text

plt = style()
gpt, tokenizer = storyteller()
rng = np.random.default_rng(3)
tokens = gpt.generate([tokenizer.end_id], 240, temperature=0.6, rng=rng, stop_ids=(tokenizer.end_id,))
for piece in stream_text((t for t in tokens if t != tokenizer.end_id), tokenizer.token_bytes):
    print(piece, end="", flush=True)

# %% [markdown]
# Change the number in `default_rng(3)` to get another story. (`temperature` sets how random the choice of words is; see
# lesson 10.) The model was trained for two minutes on 4 MB of short stories. It has 560,640 *parameters*. These are
# numbers that start out random. Training changes them a little at a time, until the model is good at a single task.
#
# ## 1 The task: what comes next?
#
# A text is cut into **tokens**, pieces of a few letters. The model reads the tokens so far and gives each possible next
# token a probability. That is all it does. To write a text, we draw one token at random with these probabilities,
# append it, and run the model again.

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
# Here is the whole model in one picture. You do not need to understand it yet. Each box is the subject of a lesson, and
# you can come back to this picture at any time.

# %%
map_of_gpt(n_layer=gpt.config.n_layer)
plt.show()

# %% [markdown]
# The letters are sizes, and they mean the same in every lesson:
#
# | letter | what it counts | in this model |
# | --- | --- | --- |
# | **B** | batch: texts that are processed together | 1 here |
# | **T** | time: positions in a text | at most 256 |
# | **C** | channels: numbers that describe one position | 128 |
# | **H** | heads: attention operations that run in parallel | 4 |
# | **D** | channels of one head, C / H | 32 |
# | **V** | vocabulary: different tokens | 1,024 |
# | **L** | layers: blocks, one after the other | 2 |
#
# (Two letters have a second meaning, which the context makes clear: L is also the loss, and V is also the matrix of
# values in attention. N is not in the table, because it counts different things in different places; each lesson says
# which. From lesson 06 on, S counts keys. Usually S = T.)
#
# When a line of code changes a shape, a comment gives the new shape, like this: `# (B, T, C)`. Most mistakes are
# mistakes in shapes, so read these comments.

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
# The *forward* pass computes the output. How does a model get better? For each parameter we must know: if this number
# grew a little, would the result be better or worse, and by how much? The answer is a derivative. All the derivatives
# together are the **gradient**. To compute it, we go through the model from the end to the beginning, step by step.
# This is the *backward* pass, and it is the subject of this course.
#
# In every lesson, a step is a pair of functions:
#
# ```python
# out, cache = f(x)               # forward: also keeps what backward will need
# dx = f_backward(dout, cache)    # backward: from the gradient of out to that of x
# ```
#
# `dout` has the shape of `out`. For each number in `out` it says how much the final result changes when that number
# changes. `dx` says the same about `x`, and has the shape of `x`. The chain rule computes `dx` from `dout`.

# %% [markdown]
# ### Exercise: `square_backward`
#
# This is your first exercise. The forward squares each number, $\text{out}_i = x_i^2$. Its slope is $2 x_i$, so by the
# chain rule $dx_i = \text{dout}_i \cdot 2 x_i$.
#
# In an exercise, you replace the line `raise NotImplementedError` by your own code. Run the cell, then run the cell
# below it, which checks your work. The first time, run both **without** writing anything, to see what happens. If you
# are stuck, click on the hints. Each hint says more than the one before.
#
# @hint A nudge
# The cache is the second value that the forward returns: look at its `return`.
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
# - **○ not written yet.** Nothing breaks. `check` returns numpylm's own function, and the rest of the lesson uses it.
#   So you can skip any exercise.
# - **✗ not right yet.** The check says what is wrong, as far as it can tell. There is an example below.
# - **✓ right.** From here on, the lesson uses *your* function.
# - **A red error under your own cell**, such as a SyntaxError. Fix it first: until the cell runs, the check sees your
#   previous version.
#
# ## 4 How does it know?
#
# The check computes each derivative a second time, without any formula. It changes one number by a tiny amount, runs
# the forward again, and measures how much the output changed. If your backward gives a different result, it is wrong.
# Then the check looks at *how* it is wrong. Here is an answer that is wrong on purpose (it does not undo your right
# one):


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
# ## 5 The course
#
# | lesson | what you will be able to do |
# | --- | --- |
# | 01 tokens | cut any text into tokens, and learn the cuts from data |
# | 02 softmax and loss | build a first language model, measure it, derive p - y |
# | 03 checking gradients | prove that a gradient is right |
# | 04 linear and MLP | write the layer that does most of the work |
# | 05 layer norm and residuals | make a deep network trainable |
# | 06 attention | let positions look at each other |
# | 07 the whole model | put it all together: your own GPT |
# | 08 Adam | turn gradients into learning |
# | 09 training | train your GPT until it tells a story |
# | 10 generation | choose the next token well, and fast |
# | 11 looking inside | see what a model does, and test what you see |
# | 12 bug hunt | find ten bugs of the kind that real programs have |
# | 13 your own text | do it all with a text of yours |
# | 14 Llama | write the four layers in which today's models differ from GPT-2 |
# | 15 translation | build the Transformer of 2017, and measure its translations |
# | 16 BERT | train a model that reads in both directions, and use it for another task |
# | 17 speech | turn sound into text |
# | 18 chat | make an assistant from a language model |
# | 19 in context | measure what a model learns from its prompt |
# | 20 writing and code | write poems and programs on demand, and test them fairly |
# | 21 privacy | measure what a model remembers, and limit it |
#
# `numpylm course` in a terminal shows which exercises you have solved, and what comes next. The solutions are in
# `notebooks/solutions`. Read a solution only after you have tried the exercise yourself: you learn more from an hour
# with one wrong gradient than from reading ten right ones.
#
# ## What you can do now
#
# - say what a language model computes, and watch one do it;
# - read the letters B, T, C, H, D, V, L;
# - write a backward, check it, and read the result of the check.
#
# ## 小结
#
# 语言模型读一串词元（token），给出下一个词元的概率分布；写文章就是一次次从这个分布里取样。本课介绍了全书通用的字母：
# B 是批次，T 是时间（位置），C 是通道，H 是头数，D = C/H，V 是词表大小，L 是层数。每一层都写成同一种形式：`out, cache = forward(x)` 和 `dx = backward(dout, cache)`。
# 你写了第一个 backward，并学会了看懂检查的结果。
#
# ## Three questions
#
# @answer The logits above have shape (1, T, V). Why are there T rows, if we used only the last one?
# The model predicts the next token at every position at once. To write, we need only the last prediction. To train, we
# need all of them, because in a training text the next token is known at every position.
# @answer What is the shape of dx, if x is (B, T, C)?
# (B, T, C). The gradient with respect to an array always has the shape of that array: one derivative for each number.
# @answer Why does backward need a cache?
# The slope of x² depends on x. In general, the gradient of a step depends on the values that the forward used.
# @end
