# %% [markdown]
# # 03 · Checking gradients
#
# In this lesson you write the tool that proves every gradient in this course. Then you find out how accurate it can be,
# and under which conditions it misses a wrong gradient.
#
# **You need:** lesson 02 (softmax, cross-entropy, and the pair `out, cache`), and the Taylor series (the power series
# built from the derivatives of $f$ at one point).
# **Time:** an hour and a half. **You will write:** three functions.

# %%
import textwrap

import numpy as np

import numpylm
from numpylm import (
    CharTokenizer,
    cross_entropy,
    cross_entropy_backward,
    relu,
    relu_backward,
    softmax,
    softmax_backward,
    zoo,
)
from numpylm.course import check, stories, style

plt = style()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 Three runs and one right gradient
#
# Here the bigram model of lesson 02 is trained three times. The forward is the same in all of them. In two of the three the
# gradient has a bug. (`cross_entropy` and `softmax` are numpylm's own in this lesson. Both return the pair `out, cache`,
# and the cache of numpylm's cross-entropy is already the gradient, $(p - y)/N$.)

# %%
text = "".join(stories(200_000))
tokenizer = CharTokenizer.train(text)
V = tokenizer.vocab_size
ids = np.array(tokenizer.encode(text))
train, validation = ids[:180_000], ids[180_000:]


def add_all(dW, ids, dz):
    np.add.at(dW, ids, dz)


def add_once(dW, ids, dz):
    dW[ids] += dz


def fit(add, learning_rate, steps=300):
    """Losses of a bigram model in training, and its loss on the validation text."""
    draw = np.random.default_rng(1)
    W, losses = np.zeros((V, V)), []
    for _ in range(steps):
        at = draw.integers(0, len(train) - 1, 2000)
        loss, cache = cross_entropy(W[train[at]], train[at + 1])
        dz = cross_entropy_backward(1.0, cache)
        dW = np.zeros_like(W)
        add(dW, train[at], dz)
        W -= learning_rate * dW
        losses.append(loss)
    return losses, cross_entropy(W[validation[:-1]], validation[1:])[0]


runs = {"A": fit(add_once, 1000), "B": fit(add_all, 30), "C": fit(add_once, 30)}
fig, axes = plt.subplots()
for name, (losses, final) in runs.items():
    axes.plot(losses, label=f"run {name}: {final:.2f} on the validation text", linewidth=1)
axes.set(xlabel="step", ylabel="training loss (nats per token)")
axes.legend()
plt.show()

# %% [markdown]
# All three curves fall. There is no error message and no NaN. Run B is right. Run C has the bug of lesson 02: a token
# that occurs several times in a batch is counted only once. Run A has the same bug, and a learning rate that was raised
# until the curve looked good.
#
# Bugs in gradients are often like this. A wrong gradient usually still points roughly downhill, so training works, only
# not as well. Then people look for the reason everywhere else: in the learning rate, in the data, in the size of the
# model. A loss curve cannot show that a gradient is right. You have to check the gradient itself.

# %% [markdown]
# ## 2 The slope from two values
#
# The derivative says how much $f(x)$ changes when $x$ changes a little. So we change $x$ by a small step $h$ and
# measure the change. There are two ways to do this:
#
# $$\text{forward difference: } \frac{f(x+h) - f(x)}{h} \qquad\qquad \text{central difference: } \frac{f(x+h) - f(x-h)}{2h}$$
#
# Try both on a function whose derivative is known: $f(x) = e^x$ has $f'(x) = e^x$.

# %%
f, x = np.exp, 1.0
print("     h   error of forward   error of central")
for h in (0.1, 0.01, 0.001):
    forward = (f(x + h) - f(x)) / h
    central = (f(x + h) - f(x - h)) / (2 * h)
    print(f"{h:6}   {abs(forward - f(x)):16.1e}   {abs(central - f(x)):16.1e}")

# %% [markdown]
# With a step that is ten times smaller, the forward difference becomes ten times more accurate, and the central
# difference a *hundred* times. The Taylor series shows why:
#
# $$f(x+h) = f(x) + h f'(x) + \tfrac{h^2}{2} f''(x) + \tfrac{h^3}{6} f'''(x) + \dots$$
# $$f(x-h) = f(x) - h f'(x) + \tfrac{h^2}{2} f''(x) - \tfrac{h^3}{6} f'''(x) + \dots$$
#
# - **Forward:** subtract $f(x)$ from the first line, divide by $h$. Besides $f'$, the largest term that remains is
#   $\frac{h}{2} f''$: an error proportional to $h$.
# - **Central:** subtract the second line from the first, divide by $2h$. The terms with even powers of $h$ are the same
#   in both lines, so they cancel. What remains is $\frac{h^2}{6} f'''$: an error proportional to $h^2$.
#
# So two values, one on each side of $x$, are far better than one value and $f(x)$ itself. We use the central
# difference.

# %% [markdown]
# ## 3 How small should h be?
#
# The table suggests that $h$ should be as small as possible. This is not true, because a computer rounds. The next plot
# shows the error of the central difference for 300 steps $h$ from $10^{-12}$ to 1, once with 64-bit numbers (`float64`,
# the type of Python's own floats) and once with 32-bit numbers (`float32`, the type used to train models).

# %%
steps = np.logspace(-12, 0, 300)
fig, axes = plt.subplots(figsize=(7, 3.8))
for dtype in (np.float32, np.float64):
    x, eps = dtype(1), np.finfo(dtype).eps  # eps: from 1 to the next number
    h = steps[steps > eps].astype(dtype)
    slope = (np.exp(x + h) - np.exp(x - h)) / (2 * h)
    error = np.abs(slope.astype(np.float64) - np.e) / np.e
    points = axes.plot(h, np.maximum(error, 1e-13), ".", markersize=3)
    axes.plot(h, h.astype(float) ** 2 / 6 + eps / h, color=points[0].get_color(), linewidth=1, label=dtype.__name__)
axes.set(xscale="log", yscale="log", xlabel="step h", ylabel="error / true derivative", ylim=(1e-13, 10))
axes.legend(title="line: h²/6 + ε/h")
plt.show()

# %% [markdown]
# Read the plot from right to left.
#
# - **On the right: truncation.** The error is the first term of the Taylor series that we left out, $\frac{h^2}{6}
#   |f'''|$. On logarithmic axes it is a straight line: if $h$ is ten times smaller, the error is a hundred times
#   smaller.
# - **On the left: rounding.** A computer keeps about 7 digits in float32 and 16 in float64. Write $\varepsilon$ for the
#   distance from 1 to the next number that it can represent: $1.2 \cdot 10^{-7}$ in float32 and $2.2 \cdot 10^{-16}$ in
#   float64. Each value of $f$ has an error of up to $\frac{1}{2} \varepsilon |f|$. For tiny $h$ the two values agree in
#   almost all digits. These digits cancel, and what remains is mostly rounding error, which is then divided by the tiny
#   $2h$. Together with the rounding of $x \pm h$, this gives an error of about $\varepsilon |f| / h$. It *grows* as $h$
#   shrinks.
# - **In the middle: the best step.** The sum $E(h) = \frac{h^2}{6}|f'''| + \frac{\varepsilon |f|}{h}$ is smallest where its
#   derivative is 0:
#
# $$\frac{h}{3} |f'''| = \frac{\varepsilon |f|}{h^2} \quad\Longrightarrow\quad h = \sqrt[3]{3 \varepsilon |f| / |f'''|}$$
#
# So the best step is about the cube root of $\varepsilon$. The error there is about $\varepsilon^{2/3}$, which means
# that two thirds of the digits are correct.

# %%
for dtype in (np.float32, np.float64):
    eps = np.finfo(dtype).eps
    h = np.cbrt(3 * eps)
    print(f"{dtype.__name__}: best step {h:.0e}, relative error {h**2 / 6 + eps / h:.0e}", end="; ")
    print(f"for f = 7 and f' = 0.001: {eps * 7 / h / 0.001:.0e}")

# %% [markdown]
# The last number on each line is closer to practice: a loss of 7 nats, and a weight that has little effect on it. The
# rounding error is proportional to the *loss*, so relative to this small derivative it is 7,000 times as large. In
# float32 the check would be useless. This gives two rules: **check in float64, and use $h = 10^{-5}$**, even if the
# model is trained in float32.

# %% [markdown]
# ## 4 All derivatives of an array
#
# A gradient has one number for each element of $x$. So move one element and leave all others unchanged. Compute the
# central difference, restore the element, and go on to the next. `np.ndindex(x.shape)` loops over all indices of an
# array of any shape.

# %% [markdown]
# ### Exercise: `numerical_gradient`
#
# `f` takes an array and returns one number. Your function must not change the caller's `x`. The check also tries arrays
# of integers.
#
# @hint A nudge
# The loop is `for i in np.ndindex(x.shape): …`, and in it `x[i]` is one number, whatever the shape.
# @hint The trap
# If `x` holds integers, `x[i] = 3 + 1e-5` stores 3. And `np.zeros_like(x)` is an array of integers as well. Start with
# a copy in float64. Then the caller's array also stays unchanged.
# @hint Almost code
# ```python
# x = np.array(x, dtype=np.float64)
# gradient = np.zeros(x.shape)
# for i in np.ndindex(x.shape):
#     value = x[i]
#     x[i] = value + h
#     up = f(x)
#     …
#     x[i] = value  # put it back
#     gradient[i] = …
# return gradient
# ```
# @end


# %% exercise="numerical_gradient"
def my_numerical_gradient(f, x, h=1e-5):
    """The gradient of f at x, by central differences.

    Parameters
    ----------
    f : function
        Takes an array of x's shape and returns one number.
    x : array (any shape)
        Floating point or integers. Not changed.
    h : float
        The step.

    Returns
    -------
    array, x's shape, float64
        df/dx[i] for each index i.
    """
    # --- solution
    x = np.array(x, dtype=np.float64)  # a copy of its own, in float64
    gradient = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + h
        up = f(x)
        x[i] = value - h
        down = f(x)
        x[i] = value
        gradient[i] = (up - down) / (2 * h)
    return gradient
    # --- end


# %%
numerical_gradient = check("numerical_gradient", my_numerical_gradient)

# %% [markdown]
# Now prove what you derived in lesson 02: the gradient of the cross-entropy is $(p - y)/N$, the prediction minus the
# right answer.

# %%
z, y = rng.standard_normal((3, 5)), np.array([1, 4, 0])
n = numerical_gradient(lambda z: cross_entropy(z, y)[0], z)  # (3, 5)
p, _ = softmax(z)
a = (p - np.eye(5)[y]) / 3  # (3, 5)
print("differences\n", n.round(4))
print("(p - y) / N\n", a.round(4))
print(f"largest difference {np.abs(a - n).max():.0e}")

# %% [markdown]
# ## 5 How close is close enough?
#
# Because of rounding, the two gradients are never exactly equal, so we need a tolerance. Would 0.0001 do? The example
# is a mean squared error near the end of training, with a gradient in which the factor 2 was forgotten.

# %%
target = rng.standard_normal((40, 50))
guess = target + 0.01 * rng.standard_normal((40, 50))
n = numerical_gradient(lambda guess: ((guess - target) ** 2).mean(), guess)  # (40, 50)
a = (guess - target) / guess.size  # the 2 is missing
print(f"largest difference of the wrong gradient       {np.abs(a - n).max():.0e}")
print(f"largest difference of a gradient of only zeros {np.abs(0 - n).max():.0e}")

# %% [markdown]
# Both wrong gradients "pass" at 0.0001. The loss is a mean over 2,000 numbers, so its gradient is tiny, and every error
# is tiny, too. Whether $10^{-5}$ is a large error depends on the size of the gradient. So we divide by this size:
#
# $$\text{relative error of one element} = \frac{|a - n|}{\max(|a|, |n|)}$$
#
# Here $a$ is the analytic gradient, which your backward computes, and $n$ is the numerical gradient. We take the worst
# element of all. A mean would hide one wrong element among a thousand.
#
# One problem remains. If the true derivative is 0, then $a = 0$ and $n$ is a rounding error such as $10^{-12}$, so the
# relative error is 1. Therefore we never divide by less than a *floor*: $10^{-4}$ times the largest absolute value in
# the two arrays. If all numbers are 0, the floor is $10^{-250}$, so that 0/0 cannot happen.

# %% [markdown]
# ### Exercise: `relative_error`
#
# The first lines are given: if the shapes differ, the error is infinite. (Otherwise broadcasting would compare the
# arrays without any error message.)
#
# @hint A nudge
# `np.maximum(u, v)` takes the larger value element by element. `u.max()` is the largest value of a whole array.
# @hint The formula
# $\displaystyle \max_i \frac{|a_i - n_i|}{\max(|a_i|, |n_i|, \text{floor})}$ with floor $= \max(10^{-4} \cdot \max_j
# \max(|a_j|, |n_j|),\ 10^{-250})$
# @hint Almost code
# ```python
# size = np.maximum(np.abs(a), np.abs(n))  # of each element
# floor = max(1e-4 * …, 1e-250)            # one number
# return float((… / np.maximum(size, floor)).max())
# ```
# @end


# %% exercise="relative_error"
def my_relative_error(a, n):
    """The difference of two gradients relative to their size; the worst element counts.

    Parameters
    ----------
    a, n : arrays (same shape)
        Analytic and numerical gradient.

    Returns
    -------
    float
        0 where they are equal; infinity if their shapes differ.
    """
    if np.shape(a) != np.shape(n):
        return np.inf
    # --- solution
    size = np.maximum(np.abs(a), np.abs(n))
    floor = max(1e-4 * size.max(), 1e-250)
    return float((np.abs(a - n) / np.maximum(size, floor)).max())
    # --- end


# %%
relative_error = check("relative_error", my_relative_error)

# %%
right = 2 * (guess - target) / guess.size
print(f"right gradient         {relative_error(right, n):.0e}")
print(f"2 forgotten            {relative_error(a, n):.2f}")
print(f"only zeros             {relative_error(0 * n, n):.2f}")

# %% [markdown]
# Which relative error is small enough? Here is a rule of thumb for float64 and $h = 10^{-5}$:
#
# | relative error | what it means |
# | --- | --- |
# | below $10^{-6}$ | right |
# | $10^{-6}$ to $10^{-3}$ | look closer: float32 somewhere, a kink (section 8), very small gradients, or a small bug |
# | above $10^{-3}$ | wrong |

# %% [markdown]
# ## 6 Checking a backward
#
# A loss is one number. But the output of a layer is an array, so its backward does not compute a single derivative. It
# receives `dout`, the gradient of the loss with respect to the layer's output, and it returns `dx`, the gradient with
# respect to the layer's input. How can we check this without a loss?
#
# We make up a loss. Take random numbers $u$ with the shape of the output, and let
#
# $$L(x) = \sum_i u_i \, f(x)_i$$
#
# be the loss. Then $\partial L / \partial f(x)_i = u_i$: the upstream gradient *is* $u$. So pass `dout = u` to the
# backward, and compare its result with the numerical gradient of $L$. This works because $L$ is one number, and
# computing it needs only the forward.

# %% [markdown]
# ### Exercise: `gradcheck`
#
# Return the relative error. The check runs your function on right pairs and on faulty pairs. The right pairs must pass,
# and the faulty pairs must fail.
#
# @hint A nudge
# Five lines: run the forward, draw `dout`, run the backward, differentiate $L$ numerically, compare. Both sides must use
# the same `dout`.
# @hint The formula
# The loss as a function of `x`: `lambda x: np.sum(dout * f(x)[0])`. The `[0]` is there because `f` returns the pair
# `(out, cache)`.
# @hint Almost code
# ```python
# out, cache = f(x)
# dout = rng.standard_normal(np.shape(out))
# dx = …
# n = numerical_gradient(…, x)
# return relative_error(…)
# ```
# @end


# %% exercise="gradcheck"
def my_gradcheck(f, f_backward, x, rng=None):
    """Relative error of a backward, against differences of its forward.

    Parameters
    ----------
    f : function
        ``out, cache = f(x)``; out is an array of any shape, or a number.
    f_backward : function
        ``dx = f_backward(dout, cache)``.
    x : array, float64
    rng : numpy.random.Generator, optional
        Draws dout, the upstream gradient.

    Returns
    -------
    float
        The worst relative error: below 1e-6 for a right backward.
    """
    rng = rng or np.random.default_rng(0)
    # --- solution
    out, cache = f(x)
    dout = rng.standard_normal(np.shape(out))
    dx = f_backward(dout, cache)
    n = numerical_gradient(lambda x: np.sum(dout * f(x)[0]), x)
    return relative_error(dx, n)
    # --- end


# %%
gradcheck = check("gradcheck", my_gradcheck)

# %% [markdown]
# This takes twenty lines of code, and from now on you do not have to trust a derivation. You can check it. For example,
# lesson 06 derives the backward of softmax, $\,dx = p \cdot (dp - \sum dp \cdot p)$, but you can check it today. The
# last line below checks a version in which the sum was forgotten.


# %%
def verdict(error):
    """A relative error, and whether it passes."""
    return f"{error:.1e}  {'passes' if error < 1e-6 else 'FAILS'}"


x = rng.standard_normal((3, 5))
print("cross-entropy    ", verdict(gradcheck(lambda z: cross_entropy(z, y), cross_entropy_backward, x)))
print("softmax          ", verdict(gradcheck(softmax, softmax_backward, x)))
print("without the sum  ", verdict(gradcheck(softmax, lambda dp, cache: cache[0] * dp, x)))

# %% [markdown]
# ## 7 A faster check: one random direction
#
# For an array with a million elements, `numerical_gradient` runs the forward two million times. Another check runs it
# only twice, for an array of any size.
#
# Instead of moving one element, move all of them together, along a random direction $v$: $x + hv$ and $x - hv$. Write
# $J$ for all the partial derivatives, $J_{ij} = \partial f(x)_i / \partial x_j$. Moving along $v$ changes the output by
# $(Jv)_i = \sum_j J_{ij} v_j$, and the loss by $\langle u, Jv \rangle = \sum_i u_i (Jv)_i$. The backward computes
# $(J^\top u)_j = \sum_i u_i J_{ij}$: that is `dx`. Both expressions are the same double sum, only in a different order:
#
# $$\langle u, Jv \rangle = \sum_i \sum_j u_i J_{ij} v_j = \langle J^\top u, v \rangle$$
#
# The left side needs two forwards, and the right side needs one backward. Each side is one number.


# %%
def direction_check(f, f_backward, x, rng, h=1e-5):
    """Relative error of a backward along one random direction."""
    out, cache = f(x)
    u = rng.standard_normal(np.shape(out))
    v = rng.standard_normal(x.shape)
    left = np.sum(u * (f(x + h * v)[0] - f(x - h * v)[0])) / (2 * h)  # <u, J v>
    right = np.sum(f_backward(u, cache) * v)  # <Jᵀ u, v>
    return abs(left - right) / max(abs(left), abs(right))


large = rng.standard_normal((300, 1000))
small = large[:30, :20]
one_by_one = gradcheck(softmax, softmax_backward, small)
along = direction_check(softmax, softmax_backward, large, rng)
print("elements  forwards")
print(f"{small.size:8,}  {2 * small.size:8,}  one by one       ", verdict(one_by_one))
print(f"{large.size:8,}  {2:8,}  along a direction", verdict(along))


def one_wrong(dp, cache):
    dx = softmax_backward(dp, cache)
    dx[7, 70] *= 1.5
    return dx


print("\none element of 300,000 wrong by half:  ", verdict(direction_check(softmax, one_wrong, large, rng)))

# %% [markdown]
# Even one wrong element among 300,000 can show up. But this check only says *that* something is wrong. The
# element-by-element check also says where. So `numpylm.gradcheck` checks all elements of small arrays. For large arrays
# it checks a random direction and twelve random elements.

# %% [markdown]
# ## 8 Kinks
#
# The Taylor series assumes that the function is smooth. ReLU, $\max(x, 0)$, has a kink at 0: slope 0 on the left, slope
# 1 on the right. If $x - h$ and $x + h$ lie on different sides, the difference mixes the two slopes, and a right
# backward looks wrong.

# %%
h = 0.1
x = np.linspace(-0.3, 0.3, 301)
fig, axes = plt.subplots(figsize=(6, 2.6))
axes.plot(x, relu_backward(np.ones(301), x), label="backward")
axes.plot(x, (relu(x + h)[0] - relu(x - h)[0]) / (2 * h), "--", label="central difference, h = 0.1")
axes.set(xlabel="x", ylabel="slope of ReLU")
axes.legend()
plt.show()

for nearest in (0.5, 3e-6, 0.0):
    x = np.array([-1.0, 2.0, nearest])
    print(f"smallest |x| = {nearest:5}:", verdict(gradcheck(relu, relu_backward, x)))

# %% [markdown]
# The band of wrong values is $2h$ wide, so with $h = 10^{-5}$ random inputs rarely fall into it. If one does ($x = 3 \cdot
# 10^{-6}$ here), check again with a smaller $h$, or with other inputs. Exactly at 0 there is no right answer: any slope
# from 0 to 1 is allowed, and by convention the slope is 0. `numpylm.gradcheck` handles kinks automatically, and reports
# them:

# %%
report = numpylm.gradcheck((relu, relu_backward), np.array([-1.0, 2.0, 0.0]))
print(report)

# %% [markdown]
# ## 9 Where wrong gradients hide
#
# You now have a check that detects a relative error of one millionth. But it can still miss a bug. A check looks at
# *one* input, *one* set of weights and *one* upstream gradient. For some choices of these, a wrong backward gives the
# right result. Such choices are not rare: most of them are the simplest choices, the ones that people make without
# thinking.
#
# Here are nine such choices. Each example has a small layer with a bug, a check that misses the bug, and a check that
# finds it. Read the code first, and find the bug yourself.
#
# ### Initial values
#
# A gain multiplies each channel. It starts at 1, so that the layer changes nothing at first (LayerNorm, lesson 05, has
# one).


# %%
def scale(x, gain):
    return x * gain, gain


def scale_backward(dout, cache):
    return dout


x = rng.standard_normal((3, 5))
for said, gain in (("gain 1, as it starts", np.ones(5)), ("random gain", rng.standard_normal(5))):
    print(f"{said:20}", verdict(gradcheck(lambda x: scale(x, gain), scale_backward, x)))

# %% [markdown]
# The backward forgets the gain. While the gain is 1, this makes no difference. After the first training step the
# gradient is wrong. A bias that starts at 0 hides bugs in the same way. **The remedy:** give every parameter random
# values before the check.
#
# ### Dropout that is switched off
#
# Dropout sets each number to 0 with probability $p$ and divides the others by $1 - p$ (lesson 04). In tests it is
# tempting to switch dropout off, because it is random.


# %%
def dropout(x, p):
    mask = (np.random.default_rng(7).random(x.shape) >= p) / (1 - p)  # the same mask in every call
    return x * mask, mask


def dropout_backward(dout, cache):
    return dout


for p in (0.0, 0.5):
    print(f"p = {p}:", verdict(gradcheck(lambda x: dropout(x, p), dropout_backward, x)))

# %% [markdown]
# **The remedy:** check with $p > 0$, and draw the mask from a generator with the same seed in every call, so that the
# forward is a fixed function.
#
# ### An upstream gradient of ones
#
# To turn an array into one number, most people take its sum. Then the upstream gradient is 1 everywhere. But each row
# of a softmax always sums to 1, for every input, so the derivative of this sum is zero.


# %%
def softmax_backward_by_mean(dp, cache):
    p, _ = cache
    return p * (dp - dp.mean(axis=-1, keepdims=True))


p, cache = softmax(x)
ones = np.ones_like(x)
n = numerical_gradient(lambda x: np.sum(softmax(x)[0]), x)
print("largest element for an upstream gradient of ones:")
print(f"  differences {np.abs(n).max():.0e}")
print(f"  right       {np.abs(softmax_backward(ones, cache)).max():.0e}")
print(f"  wrong       {np.abs(softmax_backward_by_mean(ones, cache)).max():.0e}")
print("for a random one:")
print("  right      ", verdict(gradcheck(softmax, softmax_backward, x)))
print("  wrong      ", verdict(gradcheck(softmax, softmax_backward_by_mean, x)))

# %% [markdown]
# With ones, all three gradients are zero, up to rounding, and any backward that returns zero would pass. The same
# happens with a LayerNorm at its initial gain, because its output always has mean 0. And an upstream gradient of ones
# also hides a backward that forgets to multiply by `dout`. **The remedy:** use a random upstream gradient, as in your
# `gradcheck`.
#
# ### Sizes that are equal
#
# This layer subtracts from each row its own mean. Its input has T rows (positions) of C channels.


# %%
def centre(x):
    return x - x.mean(axis=1, keepdims=True), None


def centre_backward(dout, cache):
    return dout - dout.sum(axis=1, keepdims=True) / len(dout)


for T, C in ((4, 4), (3, 5)):
    print(f"T = {T}, C = {C}:", verdict(gradcheck(centre, centre_backward, rng.standard_normal((T, C)))))

# %% [markdown]
# The sum over C channels is divided by T. With square inputs, even a wrong axis or a transposed matrix raises no error,
# and a count along the wrong axis gives the right number. **The remedy:** use sizes that are all different, so that no
# axis can be mistaken for another.
#
# ### A batch of one
#
# A bias is added at many positions, and its gradient is the sum over all of them. The bias has C elements, and the
# input has shape (B, T, C).


# %%
def add_bias(x, bias):
    return x + bias, None


def add_bias_backward(dout, cache):
    return dout[0].sum(axis=0)


bias = rng.standard_normal(5)
for B in (1, 2):
    x = rng.standard_normal((B, 3, 5))
    print(f"B = {B}:", verdict(gradcheck(lambda bias: add_bias(x, bias), add_bias_backward, bias)))

# %% [markdown]
# This backward uses only the first sequence of the batch. A sum over one element also equals its mean and its maximum,
# so a batch of one hides those mistakes, too. **The remedy:** use B > 1. In the same way, use more than one head and
# more than one block.
#
# ### Inputs without repeats
#
# This is the bug of section 1. `ids` picks rows of a table. A row that is picked several times receives several
# gradients.


# %%
def rows_backward(dout, cache):
    ids, shape = cache
    dW = np.zeros(shape)
    dW[ids] += dout
    return dW


W = rng.standard_normal((6, 4))
for ids in (np.array([3, 0, 5, 2]), np.array([3, 0, 3, 3])):
    print(f"ids {ids}:", verdict(gradcheck(lambda W: (W[ids], (ids, W.shape)), rows_backward, W)))

# %% [markdown]
# **The remedy:** use inputs in which ids repeat. In general, the test input should contain what real text contains,
# such as repeated ids, padding, and targets that are not counted.
#
# ### An absolute tolerance
#
# As you saw in section 5, gradients of means are small. In this example the gradient of a layer is wrong by 30 percent.


# %%
def mean_of_squares(x):
    return (x * x).mean(), x


def mean_of_squares_backward(dout, cache):
    x = cache
    return dout * 1.4 * x / x.size


x = 0.01 * rng.standard_normal((30, 20))
a = mean_of_squares_backward(1.0, x)
n = numerical_gradient(lambda x: mean_of_squares(x)[0], x)
print("np.allclose with an absolute tolerance of 1e-4:", np.allclose(a, n, atol=1e-4))
print("relative error:", verdict(gradcheck(mean_of_squares, mean_of_squares_backward, x)))

# %% [markdown]
# `np.allclose` has an absolute tolerance even if you do not set one (`atol=1e-8`). **The remedy:** use relative errors.
#
# ### Parameters that are not checked
#
# A layer with two parameters: $y = x W + b$. Its backward returns three gradients. Suppose that only the first two are
# checked, because they are the difficult ones.


# %%
def linear(x, W, b):
    return x @ W + b, (x, W, b)


def linear_backward(dout, cache):
    x, W, b = cache
    return dout @ W.T, x.T @ dout, np.zeros_like(b)


x, W, b = rng.standard_normal((3, 5)), rng.standard_normal((5, 4)), rng.standard_normal(4)
views = (
    ("x", lambda x: linear(x, W, b), x),
    ("W", lambda W: linear(x, W, b), W),
    ("b", lambda b: linear(x, W, b), b),
)
for k, (name, f, value) in enumerate(views):
    print(f"{name}:", verdict(gradcheck(f, lambda dout, cache: linear_backward(dout, cache)[k], value)))

# %% [markdown]
# `b` gets no gradient and never learns. In a large model this happens when the list of parameters is incomplete: a
# layer that is missing from the list is neither checked nor trained, and the other layers learn to do without it. **The
# remedy:** let a program collect the parameters (`named_parameters` in numpylm walks through all attributes), and be
# suspicious of a gradient that is zero everywhere.
#
# ### `=` instead of `+=`
#
# In numpylm a layer is an object. Each of its weights is a `Parameter`, with its values in `.data` and its gradient in
# `.grad`. The backward returns `dx`, and adds the gradients of the weights to `.grad`. The base class `Module` finds
# the parameters among the attributes.


# %%
from numpylm import Module, Parameter


class Scale(Module):
    def __init__(self, dim):
        self.gain = Parameter(np.ones(dim))

    def forward(self, x):
        return x * self.gain.data, x

    def backward(self, dout, cache):
        x = cache
        self.gain.grad = (dout * x).sum(axis=0)  # (C,)
        return dout * self.gain.data


layer = Scale(5)
x, dout = rng.standard_normal((2, 4, 5))
n = numerical_gradient(lambda gain: np.sum(dout * (x * gain)), layer.gain.data)
for parts in (1, 2):
    layer.zero_grad()
    for x_part, dout_part in zip(np.split(x, parts), np.split(dout, parts), strict=True):
        out, cache = layer.forward(x_part)
        layer.backward(dout_part, cache)
    print(f"batch in {parts} part{'s' * (parts > 1)}:", verdict(relative_error(layer.gain.grad, n)))

# %% [markdown]
# A batch that does not fit into memory is computed in parts, and its gradient is the sum of the gradients of the parts.
# With `=`, only the gradient of the last part remains. The same happens to a weight that is used in two places, such as
# the embedding of a GPT (lesson 07): it has two gradients, and the chain rule adds them. **The remedy:** start from
# gradients that are random and not zero, and look at what backward *added*.

# %% [markdown]
# ## 10 The list
#
# | choice | what it hides | remedy | in the zoo |
# | --- | --- | --- | --- |
# | initial values | a forgotten gain, wrong terms with a bias | random parameters | tui |
# | dropout off, $p = 0$ | a different mask, no mask, no $1/(1-p)$ | $p > 0$, the same mask in each call | bittern, crake, rail |
# | upstream gradient of ones | `dout` unused; anything for softmax | random `dout` | ibex |
# | equal sizes, T = C | wrong axis, wrong count, transposes | sizes that are all different | okapi, tapir (they raise no error) |
# | a batch of one | sums over the batch forgotten | B > 1; two heads, two blocks | dingo, impala, marmoset, serow |
# | no repeated ids, no padding | lost repeats, gradients of padding | inputs like real ones | numbat, finch |
# | absolute tolerance | everything, if gradients are small | relative error, with a floor | hare |
# | parameters missing from the list | parameters that never learn | collect them by a program | puffin |
# | `=` instead of `+=` | lost gradients of weights used twice | gradients start at random values | bilby, gazelle |
#
# The last column names animals in numpylm's *zoo*: real layers with one bug each. You will hunt for ten of these bugs
# in lesson 12.

# %% [markdown]
# ## 11 The checker of this course
#
# `numpylm.gradcheck` is your `gradcheck` with all nine remedies built in. It takes a pair of functions or a layer. It
# draws random parameters and upstream gradients, keeps the dropout mask fixed, finds all parameters, and starts from
# gradients that are not zero. It uses a difference of four values instead of two, with an error proportional to $h^4$.
# And when a gradient is wrong, it compares it with the true gradient and says in words what is different. Here it
# checks the layer `Scale` from above:

# %%
print(numpylm.gradcheck(Scale(5), rng.standard_normal((3, 5))))

# %% [markdown]
# The report has one line for each array: its name, its shape, its worst relative error and the verdict. Below that it
# gives the most likely cause. Now we check some of the other faulty functions of this lesson, and three animals:

# %%
x = rng.standard_normal((3, 5))
reports = {
    "softmax by mean": numpylm.gradcheck((softmax, softmax_backward_by_mean), x),
    "centre": numpylm.gradcheck((centre, centre_backward), x),
    "mean of squares": numpylm.gradcheck((mean_of_squares, mean_of_squares_backward), x),
    "tui": zoo.check(zoo.get("tui")),
    "numbat": zoo.check(zoo.get("numbat")),
    "dingo": zoo.check(zoo.get("dingo")),
}
for name, report in reports.items():
    print(textwrap.fill(f"{name}: {report.causes[0].text}", 98, subsequent_indent="    "))

# %% [markdown]
# From the next lesson on, this checker looks at every backward that you write. It takes a second, and afterwards you
# know whether the gradient is the problem.

# %% [markdown]
# ## What you can do now
#
# - compute a gradient without deriving anything, and know how accurate it is;
# - choose the step, and say why the error curve is a V;
# - check a backward with a random upstream gradient, element by element or along one direction;
# - name nine conditions under which a wrong gradient passes a check, and avoid them.
#
# ## 小结
#
# 不会推导也能算梯度：把一个数稍微改动，看损失变化多少。中心差分的误差来自两头：步长太大有截断误差，太小有舍入误差，
# 所以误差曲线呈 V 形。检查 backward 时要用随机的上游梯度，逐个元素比较，并使用 float64。全为 1 的梯度、零初始化的参数、
# 太小的形状，都会放过错误。
#
# ## Three questions
#
# @answer Your check gives 3e-4 for a layer. You make h ten times smaller and get 3e-6. Is the layer right?
# Probably. The error fell by a factor of 100 = 10², as a truncation error does, so the difference converges to the
# backward's result. The error of a wrong gradient stays about the same for every h. To be sure, make h still smaller
# until the error stops falling. It should get below 1e-6.
# @answer Why does the check differentiate sum(dout * f(x)), and not sum(f(x))?
# The sum is the special case of an upstream gradient of ones. It cannot tell whether backward multiplies by dout. And
# if the output of a layer has a constant sum (softmax, or LayerNorm at its initial gain), the gradient of the sum is
# zero, so any backward that returns zero passes.
# @answer A backward passes with B = 4, T = 8, C = 8, random weights, random dout and dropout. What would you still change?
# T and C are both 8, so a wrong axis would not be noticed. Make the sizes different. Also start from gradients that are
# not zero, to detect an = in place of +=. If there are ids, repeat some of them. If there are targets, ignore some of
# them.
# @end
