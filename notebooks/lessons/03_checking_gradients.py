# %% [markdown]
# # 03 · Checking gradients
#
# In this lesson you write the tool by which every gradient of this course is proven. Then you find out how exact it can be,
# and in which places a wrong gradient gets past it.
#
# **You need:** lesson 02 (softmax, cross-entropy, and the pair `out, cache`), and Taylor's series (the
# polynomial that has the derivatives of $f$ at one place).
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
# ## 1 Three runs, and one right gradient
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
# All three fall. There is no error message and no NaN. Run B is the right one. C has the bug of lesson 02, where a token
# that occurs several times in a batch is counted once, and A has the same bug and a learning rate that somebody turned up
# until the curve looked good.
#
# This is what bugs in gradients are like. A wrong gradient often still points roughly downhill, so training works, only
# worse, and one looks for the reason everywhere else: in the learning rate, the data, the size. You cannot see from a loss
# curve that a gradient is right. You have to check it.

# %% [markdown]
# ## 2 The slope from two values
#
# The derivative says by how much $f(x)$ changes when $x$ changes a little. So change $x$ a little, by $h$, and look. There
# are two ways to do that:
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
# A step ten times smaller makes the forward difference ten times better, and the central one a *hundred* times. Taylor's
# series says why:
#
# $$f(x+h) = f(x) + h f'(x) + \tfrac{h^2}{2} f''(x) + \tfrac{h^3}{6} f'''(x) + \dots$$
# $$f(x-h) = f(x) - h f'(x) + \tfrac{h^2}{2} f''(x) - \tfrac{h^3}{6} f'''(x) + \dots$$
#
# - **Forward:** subtract $f(x)$ from the first line, divide by $h$. What is left beside $f'$ is $\frac{h}{2} f''$: an error
#   of size $h$.
# - **Central:** subtract the second line from the first, divide by $2h$. Everything with an even power of $h$ is the same
#   in both lines and cancels. What is left is $\frac{h^2}{6} f'''$: an error of size $h^2$.
#
# So two values, one on either side, are far better than one and $f(x)$ itself. We use the central difference.

# %% [markdown]
# ## 3 How small should h be?
#
# As small as possible, says the table. It is wrong: a computer rounds. Here is the error of the central difference for 300
# steps $h$ from $10^{-12}$ to 1, once with numbers of 64 bits (`float64`, Python's own) and once with 32 (`float32`, in
# which models are trained).

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
# Read it from right to left.
#
# - **On the right: truncation.** The part of Taylor's series that we left out, $\frac{h^2}{6} |f'''|$. On these axes it is
#   a straight line: ten times smaller $h$, hundred times smaller error.
# - **On the left: rounding.** A computer keeps about 7 digits in float32 and 16 in float64. Write $\varepsilon$ for the
#   distance from 1 to the next number that it can hold: $1.2 \cdot 10^{-7}$ and $2.2 \cdot 10^{-16}$. Each value of $f$ is
#   off by up to $\frac{1}{2} \varepsilon |f|$. For tiny $h$ the two values agree in almost all digits, these cancel, and
#   what remains is mostly rounding error, which is then divided by the tiny $2h$. Together with the rounding of $x \pm h$,
#   about $\varepsilon |f| / h$. It *grows* as $h$ shrinks.
# - **In the middle: the best step.** The sum $E(h) = \frac{h^2}{6}|f'''| + \frac{\varepsilon |f|}{h}$ is smallest where its
#   derivative is 0:
#
# $$\frac{h}{3} |f'''| = \frac{\varepsilon |f|}{h^2} \quad\Longrightarrow\quad h = \sqrt[3]{3 \varepsilon |f| / |f'''|}$$
#
# So the best step is about the cube root of $\varepsilon$, and the error there about $\varepsilon^{2/3}$: two thirds of the
# digits survive.

# %%
for dtype in (np.float32, np.float64):
    eps = np.finfo(dtype).eps
    h = np.cbrt(3 * eps)
    print(f"{dtype.__name__}: best step {h:.0e}, relative error {h**2 / 6 + eps / h:.0e}", end="; ")
    print(f"for f = 7 and f' = 0.001: {eps * 7 / h / 0.001:.0e}")

# %% [markdown]
# The last column is what happens in practice: a loss of 7 nats, and a weight that hardly matters. The rounding error
# belongs to the *loss*, so it is 7,000 times as large in relation to this derivative. In float32 the check would be
# worthless. Hence two rules: **check in float64, with $h = 10^{-5}$**, even if the model is trained in float32.

# %% [markdown]
# ## 4 All derivatives of an array
#
# A gradient has one number for each element of $x$. Move one element, leave all the others where they are, take the central
# difference, put the element back, go to the next. `np.ndindex(x.shape)` goes through all indices of an array of any shape.

# %% [markdown]
# ### Exercise: `numerical_gradient`
#
# `f` takes an array and returns one number. The caller must find `x` as it was. The check also tries arrays of integers.
#
# @hint A nudge
# The loop is `for i in np.ndindex(x.shape): …`, and in it `x[i]` is one number, whatever the shape.
# @hint The trap
# If `x` holds integers, `x[i] = 3 + 1e-5` stores 3. And `np.zeros_like(x)` is an array of integers as well. Begin with a
# copy in float64: then the caller's array is safe, too.
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
# Now prove what you derived in lesson 02. The gradient of the cross-entropy is $(p - y)/N$: what the model said, minus what
# was right.

# %%
z, y = rng.standard_normal((3, 5)), np.array([1, 4, 0])
n = numerical_gradient(lambda z: cross_entropy(z, y)[0], z)  # (3, 5)
p, _ = softmax(z)
a = (p - np.eye(5)[y]) / 3  # (3, 5)
print("differences\n", n.round(4))
print("(p - y) / N\n", a.round(4))
print(f"largest difference {np.abs(a - n).max():.0e}")

# %% [markdown]
# ## 5 Equal, in relation to what?
#
# Rounding never gives exactly the same number, so we need a tolerance. Say, 0.0001? Here is a mean squared error, near the
# end of its training, and a gradient in which the factor 2 was forgotten.

# %%
target = rng.standard_normal((40, 50))
guess = target + 0.01 * rng.standard_normal((40, 50))
n = numerical_gradient(lambda guess: ((guess - target) ** 2).mean(), guess)  # (40, 50)
a = (guess - target) / guess.size  # the 2 is missing
print(f"largest difference of the wrong gradient       {np.abs(a - n).max():.0e}")
print(f"largest difference of a gradient of only zeros {np.abs(0 - n).max():.0e}")

# %% [markdown]
# Both "pass" at 0.0001. Because the loss is a mean over 2,000 numbers, its gradient is tiny, and so is every error. Whether
# $10^{-5}$ is much depends on what it is compared with. So divide:
#
# $$\text{relative error of one element} = \frac{|a - n|}{\max(|a|, |n|)}$$
#
# Here $a$ is the analytic gradient, what your backward computed, and $n$ the numerical one. Of all elements take the worst:
# with a mean, one wrong element among a thousand would not be noticed.
#
# One thing is left to mend. If the true derivative is 0, then $a = 0$ and $n$ is a rounding error such as $10^{-12}$, and
# the relative error is 1. So divide by at least a *floor*: $10^{-4}$ of the largest number in the two arrays. And where all
# numbers are 0, by $10^{-250}$, so that 0/0 cannot happen.

# %% [markdown]
# ### Exercise: `relative_error`
#
# The first line is there already: arrays of different shapes are infinitely wrong. (Otherwise broadcasting would compare
# them without complaint.)
#
# @hint A nudge
# `np.maximum(u, v)` takes the larger one element by element. `u.max()` is the largest of a whole array.
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
    """How far apart two gradients are, in relation to their size; the worst element counts.

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
# Which number is small enough? In float64, with $h = 10^{-5}$, as a rule of thumb:
#
# | relative error | what it means |
# | --- | --- |
# | below $10^{-6}$ | right |
# | $10^{-6}$ to $10^{-3}$ | look closer: float32 somewhere, a kink (section 8), very small gradients, or a small bug |
# | above $10^{-3}$ | wrong |

# %% [markdown]
# ## 6 Checking a backward
#
# A loss is one number. But a layer's output is an array, and its backward does not compute "the" derivative of it. It gets
# `dout`, the gradient of the loss with respect to its output, and returns `dx`, that with respect to its input. How to
# check that without a loss?
#
# Make one up. Take random numbers $u$ of the output's shape, and let
#
# $$L(x) = \sum_i u_i \, f(x)_i$$
#
# be the loss. Then $\partial L / \partial f(x)_i = u_i$: the upstream gradient *is* $u$. So give `dout = u` to the
# backward, and compare what it returns with the numerical gradient of $L$, which is one number and needs the forward alone.

# %% [markdown]
# ### Exercise: `gradcheck`
#
# Return the relative error. The check puts right and faulty pairs through your function: it must pass the first and fail
# the second.
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
# Twenty lines of code, and from now on nobody has to believe a derivation. Softmax's backward $\,dx = p \cdot (dp - \sum
# dp \cdot p)$ is derived in lesson 06; you can check it today. Beside it, a version in which the sum was forgotten.


# %%
def verdict(error):
    """A relative error and what it means."""
    return f"{error:.1e}  {'passes' if error < 1e-6 else 'FAILS'}"


x = rng.standard_normal((3, 5))
print("cross-entropy    ", verdict(gradcheck(lambda z: cross_entropy(z, y), cross_entropy_backward, x)))
print("softmax          ", verdict(gradcheck(softmax, softmax_backward, x)))
print("without the sum  ", verdict(gradcheck(softmax, lambda dp, cache: cache[0] * dp, x)))

# %% [markdown]
# ## 7 A faster check: one random direction
#
# For an array with a million elements, `numerical_gradient` runs the forward two million times. There is a check that runs
# it twice, whatever the size.
#
# Do not move one element, but all of them together, along a random direction $v$: $x + hv$ and $x - hv$. Write $J$ for all
# the partial derivatives, $J_{ij} = \partial f(x)_i / \partial x_j$. Moving along $v$ changes the output by $(Jv)_i =
# \sum_j J_{ij} v_j$, and the loss by $\langle u, Jv \rangle = \sum_i u_i (Jv)_i$. The backward computes $(J^\top u)_j =
# \sum_i u_i J_{ij}$: that is `dx`. Both are the same double sum, added up in another order:
#
# $$\langle u, Jv \rangle = \sum_i \sum_j u_i J_{ij} v_j = \langle J^\top u, v \rangle$$
#
# Left: two forwards. Right: one backward. One number on either side.


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
# Even one wrong element among 300,000 can show. But the direction only says *that* something is wrong, while the check element
# by element says where. So `numpylm.gradcheck` takes all elements of small arrays, and of large ones a random direction and
# twelve random elements.

# %% [markdown]
# ## 8 Kinks
#
# Taylor's series supposes that the function is smooth. ReLU, $\max(x, 0)$, has a kink at 0: slope 0 on the left, slope 1 on
# the right. If $x - h$ and $x + h$ lie on different sides, the difference mixes the two slopes, and a right backward looks
# wrong.

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
# from 0 to 1 is allowed, and everybody takes 0. `numpylm.gradcheck` does all this by itself, and says so:

# %%
report = numpylm.gradcheck((relu, relu_backward), np.array([-1.0, 2.0, 0.0]))
print(report)

# %% [markdown]
# ## 9 Where wrong gradients hide
#
# You now have a check that sees an error of a millionth. It can still be wrong about a layer. A check looks at *one* input,
# *one* set of weights, *one* upstream gradient, and there are choices for which a wrong backward happens to be right. They
# are not exotic: most of them are the choices that one makes without thinking, because they are the simplest.
#
# Nine of them follow. Each has a small layer with a bug, a check that passes it, and a check that does not. Read the code
# first and find the bug.
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
# The backward forgets the gain. At 1 nobody notices; after the first training step it is wrong. A bias that starts at 0
# hides bugs in the same way. **Close it:** give every parameter random values before checking.
#
# ### Dropout that is switched off
#
# Dropout sets each number to 0 with probability $p$ and divides the others by $1 - p$ (lesson 04). In tests one likes to
# switch it off, because it is random.


# %%
def dropout(x, p):
    mask = (np.random.default_rng(7).random(x.shape) >= p) / (1 - p)  # the same mask in every call
    return x * mask, mask


def dropout_backward(dout, cache):
    return dout


for p in (0.0, 0.5):
    print(f"p = {p}:", verdict(gradcheck(lambda x: dropout(x, p), dropout_backward, x)))

# %% [markdown]
# **Close it:** check with $p > 0$, and draw the mask from a generator with the same seed in every call, so that the forward
# is a fixed function.
#
# ### An upstream gradient of ones
#
# To make one number out of an array, most people take its sum. Then the upstream gradient is 1 everywhere. The row of a
# softmax always sums to 1, whatever its input: the derivative of that sum is zero.


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
# All three are zero, up to rounding. Any backward that returns zero would pass. The same for a LayerNorm at its initial
# gain, whose output always has the mean 0, and for every backward that forgets to multiply by `dout`. **Close it:** a
# random upstream gradient, as in your `gradcheck`.
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
# The sum over C channels is divided by T. With square inputs even an axis that is mistaken or a transposed matrix raises no
# error, and everything that is counted along the wrong axis comes out right. **Close it:** sizes that are all different, so
# that no two axes can be taken for each other.
#
# ### A batch of one
#
# The gradient of a bias is the sum over all places where it was added. The bias has C elements, the input (B, T, C).


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
# Only the first sequence of the batch counts. A sum over one element is also the same as its mean and its maximum, so a
# batch of one hides those mistakes, too. **Close it:** B > 1. The same holds for one head and for one block.
#
# ### Inputs without repeats
#
# The bug of section 1. `ids` picks rows of a table; a row that is picked several times has several gradients.


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
# **Close it:** inputs in which ids repeat. In general: let the test input contain what real text contains, such as repeats,
# padding, and targets that are not counted.
#
# ### An absolute tolerance
#
# You saw it in section 5: gradients of means are small. Here a layer's gradient is wrong by 30 percent.


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
# `np.allclose` has an absolute tolerance even if you give none (`atol=1e-8`). **Close it:** relative errors.
#
# ### Parameters that nobody looks at
#
# A layer with two parameters: $y = x W + b$. Its backward returns three gradients. Somebody checks the first two, for these
# are the difficult ones.


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
# `b` gets no gradient and never learns. In a large model the list of parameters is where this happens: a layer that was
# left off the list is neither checked nor trained, and the others learn to do without it. **Close it:** collect the
# parameters by a program (`named_parameters` of numpylm walks through all attributes), and be suspicious of a gradient that
# is zero everywhere.
#
# ### `=` instead of `+=`
#
# In numpylm a layer is an object. Each of its weights is a `Parameter`, which has the values in `.data` and the gradient in
# `.grad`. The backward returns `dx` and writes the weights' gradients into `.grad`. The base class `Module` finds the
# parameters among the attributes.


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
# A batch that is too large for the memory is computed in parts, and the gradient of the whole is the sum of theirs.
# Assigning keeps that of the last part. The same happens to a weight that is used in two places, as a GPT's embedding is
# (lesson 07): it has two gradients, and the chain rule adds them. **Close it:** let the gradients start at random values
# and not at zero, and look at what backward *added*.

# %% [markdown]
# ## 10 The list
#
# | hiding place | what it hides | how to close it | in the zoo |
# | --- | --- | --- | --- |
# | initial values | a forgotten gain, terms with a bias | random parameters | tui |
# | dropout off, $p = 0$ | another mask, no mask, no $1/(1-p)$ | $p > 0$, the same mask in each call | bittern, crake, rail |
# | upstream gradient of ones | `dout` unused; anything for softmax | random `dout` | ibex |
# | equal sizes, T = C | wrong axis, wrong count, transposes | no two sizes alike | okapi, tapir (they raise no error) |
# | a batch of one | sums over the batch forgotten | B > 1; two heads, two blocks | dingo, impala, marmoset, serow |
# | no repeated ids, no padding | lost repeats, gradients of padding | inputs like real ones | numbat, finch |
# | absolute tolerance | everything, if gradients are small | relative error, with a floor | hare |
# | parameters left off the list | what never learns | find them by a program | puffin |
# | `=` instead of `+=` | lost gradients of weights used twice | gradients start at random values | bilby, gazelle |
#
# The last column names animals of numpylm's *zoo*: real layers with one bug each. You will hunt ten of them in lesson 12.

# %% [markdown]
# ## 11 The checker of this course
#
# `numpylm.gradcheck` is your `gradcheck` with all these doors closed. It takes a pair of functions or a layer, draws random
# parameters and upstream gradients, keeps dropout's mask, finds all parameters, starts from gradients that are not zero. It
# uses a difference of four values instead of two, whose error is of size $h^4$. And when a gradient is wrong, it
# compares it with the true one and says in words what is different. Here it looks at the layer from just above:

# %%
print(numpylm.gradcheck(Scale(5), rng.standard_normal((3, 5))))

# %% [markdown]
# A line for each array: name, shape, worst relative error, verdict; below it, the most likely cause. Now some of the other
# faulty functions of this lesson, and three animals:

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
# From the next lesson on, this is what looks at every backward that you write. It costs a second, and you will never again
# have to wonder whether it is the gradient.

# %% [markdown]
# ## What you can do now
#
# - compute a gradient without deriving anything, and know how exact it is;
# - choose the step, and say why the error curve is a V;
# - check a backward with a random upstream gradient, element by element or along one direction;
# - name nine places where a wrong gradient passes a check, and close them.
#
# ## Three questions
#
# @answer Your check gives 3e-4 for a layer. You make h ten times smaller and get 3e-6. Is the layer right?
# Probably. The error fell by 100 = 10², which is what truncation does: the backward agrees with the limit. A wrong gradient
# keeps its error whatever h is. Go on to smaller h to be sure, until the error stops falling: it should get below 1e-6.
# @answer Why does the check differentiate sum(dout * f(x)), and not sum(f(x))?
# A sum is the special case of an upstream gradient of ones. It does not see whether backward multiplies by dout, and for
# layers whose output has a constant sum (softmax, LayerNorm at its initial gain) its gradient is zero, so that any backward
# that gives zero passes.
# @answer A backward passes with B = 4, T = 8, C = 8, random weights, random dout and dropout. What would you still change?
# T = C = 8: an axis that was mistaken shows nothing. Make the sizes different. And start from gradients that are not zero,
# to see an = where += belongs; repeat ids and ignore some targets, if there are any.
# @end
