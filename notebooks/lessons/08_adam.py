# %% [markdown]
# # 08 · Adam: how far to step
#
# A gradient says in which direction the loss rises. How far to go against it is another question, and the answer decides
# whether a Transformer learns at all. In this lesson you go from the plainest answer to AdamW, which trains nearly every
# language model, first on a surface that you can see, then on a small GPT.
#
# **You need:** lesson 02 (loss and gradient); `GPT` from lesson 07 is used as it is.
# **Time:** about an hour and a half. **You will write:** four functions and a class.

# %%
import math

import numpy as np
from tqdm import tqdm

from numpylm import GPT, GPTConfig, Parameter, Tokenizer
from numpylm.course import check, stories, style
from numpylm.training.parallel import set_blas_threads

plt = style()
_ = set_blas_threads(1)  # the matrices here are small: one thread is faster than several that wait for each other

# %% [markdown]
# ## 1 A long, narrow valley
#
# The loss of a model depends on all of its parameters, half a million or more. Nobody can look at that. So begin with
# two, $\theta_1$ and $\theta_2$, and a loss that is as simple as a valley can be:
#
# $$f(\theta) = \tfrac12 \left( h_1 \theta_1^2 + h_2 \theta_2^2 \right), \qquad
#   \frac{\partial f}{\partial \theta_i} = h_i\, \theta_i$$
#
# The numbers $h_1 = 0.5$ and $h_2 = 50$ say how strongly the ground curves along each axis. Along $\theta_1$ it is
# nearly flat; along $\theta_2$ the walls are a hundred times steeper. The lowest point is at $(0, 0)$. Real losses look
# like this wherever one looks closely: steep across some directions, flat along others.

# %%
h = np.array([0.5, 50.0])  # (2,)
start = np.array([-4.0, 1.2])  # (2,)


def height(theta):
    """f; theta (..., 2) -> (...)."""
    return 0.5 * (h * theta**2).sum(axis=-1)


def gradient(theta):
    """theta (2,) -> (2,)."""
    return h * theta


print("gradient at the start:", gradient(start))

# %% [markdown]
# The gradient at the start is $(-2, 60)$: thirty times more of it points at the opposite wall than along the valley.
# That is the whole difficulty.
#
# **Gradient descent** takes a step against the gradient $g$, and the **learning rate** $\text{lr}$ says how long it is:
#
# $$\theta \leftarrow \theta - \text{lr} \cdot g$$
#
# With a gradient that comes from a random batch and not from all of the text, the same rule is called *stochastic*
# gradient descent, **SGD**. You used it in lesson 02.

# %% [markdown]
# ### Exercise: `sgd_step`
#
# One line. Return a new array; the old parameters stay as they are, since the cell below wants to draw all of them.
#
# @hint A nudge
# The gradient points uphill. You want to go down.
# @hint Almost code
# ```python
# return theta … lr * grad
# ```
# @end


# %% exercise="sgd_step"
def my_sgd_step(theta, grad, lr):
    """One step of gradient descent.

    Parameters
    ----------
    theta : array
        Parameters, any shape. Not changed.
    grad : array, theta's shape
        The gradient there.
    lr : float
        Learning rate.

    Returns
    -------
    array, theta's shape
        The new parameters.
    """
    # --- solution
    return theta - lr * grad
    # --- end


# %%
sgd_step = check("sgd_step", my_sgd_step)

# %%
x1, x2 = np.meshgrid(np.linspace(-5, 5, 200), np.linspace(-2, 2, 200))
grid = np.stack([x1, x2], axis=-1)  # (200, 200, 2)


def draw(axes, path, title):
    """Lines of equal height, and a path over them."""
    axes.contour(x1, x2, height(grid), levels=np.geomspace(0.1, 100, 10), colors="#808080", alpha=0.5, linewidths=0.7)
    axes.plot(*np.array(path).T, ".-", linewidth=1)
    axes.plot(0, 0, "x", color="#e15759")
    axes.set(title=title, xlabel="θ₁", xlim=(-5, 5), ylim=(-2, 2))
    axes.grid(False)


fig, axes = plt.subplots(1, 3, figsize=(10, 2.8), sharey=True)
for ax, lr in zip(axes, (0.005, 0.036, 0.0405)):
    path = [start]
    for _ in range(60):
        path.append(sgd_step(path[-1], gradient(path[-1]), lr))
    draw(ax, path, f"lr = {lr}: height {height(path[-1]):.2f} after 60 steps")
axes[0].set_ylabel("θ₂")
plt.show()

# %% [markdown]
# The cross is the goal. On the left, the rate is too small. In the middle, the path jumps from wall to wall, and yet
# hardly moves along the valley. On the right, with a rate only a little larger, every jump is longer than the one
# before.
#
# Why can the rate not be larger? Put the gradient into the rule. Each axis goes its own way:
#
# $$\theta_i \leftarrow \theta_i - \text{lr}\, h_i \theta_i = (1 - \text{lr}\, h_i)\, \theta_i$$
#
# In every step $\theta_i$ is multiplied by the same factor. It shrinks only if that factor lies between -1 and 1, that
# is, if $\text{lr} < 2 / h_i$. The *steepest* axis sets the limit, and the flattest one has to live with it:

# %%
for lr in (0.005, 0.036, 0.0405):
    factors = 1 - lr * h
    print(f"lr = {lr:<6}  factors a step {factors.round(3)}   after 60 steps {(factors**60).round(3)}")
print("limit: 2 / 50 =", 2 / h[1])

# %% [markdown]
# At 0.036 the flat axis keeps 98 % of its distance in each step. With one learning rate for all directions, a valley
# that is a hundred times steeper across than along costs hundreds of steps.
#
# ## 2 Momentum: remember the steps before
#
# Look at the middle picture. The jumps across change their sign every time; the small steps along all have the same
# sign. So add up the gradients: what alternates cancels, what agrees grows. The sum must forget, or the path could
# never turn:
#
# $$v \leftarrow \mu\, v + g, \qquad \theta \leftarrow \theta - \text{lr} \cdot v$$
#
# $v$ is called the velocity, and $\mu$ (mu, between 0 and 1) says how much of it survives a step. If the gradient stays
# the same, $v$ grows towards $g + \mu g + \mu^2 g + \dots = g / (1 - \mu)$: with $\mu = 0.9$ ten times as far. (Polyak
# 1964; for neural networks Sutskever et al. 2013.)

# %% [markdown]
# ### Exercise: `momentum_step`
#
# Return both, the new parameters and the new velocity. Change neither argument.
#
# @hint A nudge
# First the velocity, then the parameters, and these move along the *new* velocity.
# @hint Almost code
# ```python
# v = mu * v + …
# return theta - …, v
# ```
# @end


# %% exercise="momentum_step"
def my_momentum_step(theta, v, grad, lr, mu):
    """One step of gradient descent with momentum.

    Parameters
    ----------
    theta, v, grad : arrays of one shape
        Parameters, velocity, gradient. Not changed.
    lr, mu : float
        Learning rate, and the share of the velocity that survives.

    Returns
    -------
    theta, v : arrays of that shape
        The new parameters and the new velocity.
    """
    # --- solution
    v = mu * v + grad
    return theta - lr * v, v
    # --- end


# %%
momentum_step = check("momentum_step", my_momentum_step)

# %%
theta, v = start, np.zeros(2)
momentum_path = [theta]
for _ in range(60):
    theta, v = momentum_step(theta, v, gradient(theta), lr=0.02, mu=0.8)
    momentum_path.append(theta)

fig, axes = plt.subplots(figsize=(5, 2.8))
draw(axes, momentum_path, f"momentum: height {height(theta):.4f} after 60 steps")
axes.set_ylabel("θ₂")
plt.show()

# %% [markdown]
# The same valley, as many steps, and it arrives. But the two axes still share one learning rate.
#
# ## 3 How different are the slopes in a real model?
#
# Take a small GPT, fresh, and measure the gradient of every single number in it on 20 batches. What is its usual size?
# The *root mean square*, $\sqrt{\text{mean}(g^2)}$, does not care about signs.

# %%
documents = stories(400_000)
tokenizer = Tokenizer.train(documents, vocab_size=512)
tokens = np.array(tokenizer.encode("".join(documents)))
V, T, B = tokenizer.vocab_size, 32, 16
config = GPTConfig(vocab_size=V, block_size=T, n_layer=2, n_head=2, n_embd=48)


def draw_batch(rng):
    """B random windows of the text: ids (B, T) and, shifted by one, targets (B, T)."""
    begin = rng.integers(0, len(tokens) - T, B)
    window = tokens[begin[:, None] + np.arange(T + 1)]  # (B, T + 1)
    return window[:, :-1], window[:, 1:]


gpt = GPT(config, np.random.default_rng(0))
rng = np.random.default_rng(1)
squares = [np.zeros(p.shape) for p in gpt.parameters()]
for _ in range(20):
    gpt.zero_grad()
    gpt.loss_and_grad(*draw_batch(rng))
    for p, square in zip(gpt.parameters(), squares):
        square += p.grad**2 / 20
size = {name: np.sqrt(square).ravel() for (name, _), square in zip(gpt.named_parameters(), squares)}
print(f"{gpt.num_parameters():,} parameters, loss {gpt.loss(*draw_batch(rng)):.2f}, ln V = {math.log(V):.2f}")

# %%
groups = {
    "embeddings of tokens and positions": [n for n in size if n.startswith(("wte", "wpe"))],
    "weights of attention and MLP": [n for n in size if n.startswith("h.") and "ln" not in n and "weight" in n],
    "gains and biases": [n for n in size if "ln" in n or "bias" in n],
}
fig, axes = plt.subplots(figsize=(7, 3))
for label, names in groups.items():
    values = np.concatenate([size[n] for n in names])
    axes.hist(np.log10(values[values > 1e-9]), bins=60, range=(-6, -1), alpha=0.6, label=label, density=True)
axes.set_xticks(range(-6, 0), [f"$10^{{{k}}}$" for k in range(-6, 0)])
axes.set(xlabel="usual size of one parameter's gradient (root mean square over 20 batches)", ylabel="share", yticks=[])
axes.legend()
plt.show()
values = np.concatenate(list(size.values()))
low, high = np.quantile(values, [0.01, 0.99])
print(f"98 % of them lie between {low:.1e} and {high:.1e}: a factor of {high / low:,.0f}")

by_frequency = np.argsort(-np.bincount(tokens, minlength=V))
embedding, c_attn = size["wte.weight"].reshape(V, -1), size["h.0.attn.c_attn.weight"].reshape(48, 3, 48)
for name, values in (
    ("weights of the MLP, block 0", size["h.0.mlp.c_fc.weight"]),
    ("weights that make Q and K, block 0", c_attn[:, :2]),
    ("embedding of the most frequent token", embedding[by_frequency[0]]),
    ("embedding of a rare token", embedding[by_frequency[480]]),
):
    print(f"  {name:38} median {np.median(values):.1e}")

# %% [markdown]
# No single learning rate suits all of these. The weights that make queries and keys get nearly nothing at first,
# because a fresh model attends everywhere alike, whatever they are. A rare token's embedding gets far less than a
# frequent one's. So give **each number its own step size**: divide its gradient by the size that its gradient usually
# has.
#
# ## 4 Adam
#
# Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) keeps two running means for each parameter, both starting at 0. In
# step $t = 1, 2, 3, \dots$, with gradient $g$:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g \qquad\qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2$$
#
# $m$ is the mean gradient, a momentum. $v$ is the mean *square* of the gradient (no longer the velocity of section 2), so
# $\sqrt{v}$ is its usual size. $\beta_1 = 0.9$ remembers about the last 10 steps, $\beta_2 = 0.95$ about the last 20. All of
# it is done number by number, the square, the root and the division too: $m$ and $v$ are arrays of $\theta$'s shape. Were it not
# for two details, the step would be
#
# $$\theta \leftarrow \theta - \text{lr} \cdot \frac{m}{\sqrt{v}}$$
#
# If all gradients of one parameter are multiplied by 1,000, $m$ and $\sqrt{v}$ both become 1,000 times as large, and the step
# stays as it is. Steep and flat directions are treated alike. And the unit of lr is now clear: if the gradient is steady,
# $m / \sqrt{v}$ is $\pm 1$, so **lr is, roughly, the farthest a parameter moves in one step**.
#
# **First detail: bias correction.** Both means start at 0, and that pulls them down at first. Feed them a gradient that
# is always 1: the mean should be 1 at once.

# %%
steps = np.arange(1, 101)
fig, axes = plt.subplots(1, 2, figsize=(9, 2.9))
for beta in (0.9, 0.95, 0.999):
    mean, means = 0.0, []
    for _ in steps:
        mean = beta * mean + (1 - beta) * 1.0
        means.append(mean)
    assert np.allclose(means, 1 - beta**steps)
    axes[0].plot(steps, means, label=f"β = {beta}")
axes[0].set(xlabel="step t", ylabel="running mean", title="means of a gradient that is always 1")
axes[0].legend()
for beta2 in (0.95, 0.999):
    axes[1].plot(steps, (1 - 0.9**steps) / np.sqrt(1 - beta2**steps), label=f"β₁ = 0.9, β₂ = {beta2}")
axes[1].axhline(1, color="#808080", linestyle="--", linewidth=1)
axes[1].set(xlabel="step t", ylabel="length of the step (lr)", title="m / √v without the correction")
axes[1].legend()
plt.show()

# %% [markdown]
# After $t$ steps the mean of a constant 1 is not 1 but $1 - \beta^t$ (the `assert` proves it for these). The picture on
# the right shows what that does to the step. With $\beta_2 = 0.999$, which the paper suggests, $v$ wakes up far more
# slowly than $m$, and the first steps are several times too long, at the very time when the model is most fragile. With
# $\beta_2 = 0.95$, common for language models, they are too short at first. The mend is to divide by what is missing
# (section 3 of the paper):
#
# $$\hat m = \frac{m}{1 - \beta_1^t} \qquad\qquad \hat v = \frac{v}{1 - \beta_2^t}$$
#
# Here $\beta^t$ is a power: $\beta$ times itself, $t$ times. It fades, and so does the correction.
#
# **Second detail: ε.** A parameter that had no gradient yet has $\hat v = 0$. A small $\varepsilon = 10^{-8}$ keeps the
# division finite. It stands *outside* the root:
#
# $$\theta \leftarrow \theta - \text{lr} \cdot \frac{\hat m}{\sqrt{\hat v} + \varepsilon}$$
#
# ## 5 Weight decay: the W in AdamW
#
# Large weights make a model sure of itself on little evidence. **Weight decay** pulls each weight towards 0, a little in
# every step, so that only those stay large that the gradient keeps large. There are two ways to write it, with a strength
# $\lambda$ (lambda):
#
# | | how | name |
# | --- | --- | --- |
# | into the gradient | $g \leftarrow g + \lambda \theta$, then Adam as above | L2 |
# | beside the gradient | $\theta \leftarrow \theta - \text{lr}\, \lambda\, \theta$, and Adam with the pure $g$ | decoupled |
#
# In plain SGD both are the same. In Adam they are not: what is in the gradient is divided by $\sqrt{\hat v}$. Then a
# weight with large gradients hardly decays, and one with small gradients decays fast, which nobody asked for.
# Loshchilov & Hutter (2019, arXiv:1711.05101, algorithm 2) took the decay out of the gradient, and that is AdamW. In
# section 6 you will see both. (Their decay is scaled by the schedule of section 8 alone. To multiply it by all of lr,
# as here, is what PyTorch does, and what most people mean today.)
#
# The decay is computed from the weights *before* the step, so it comes first. One line for both does the same,
# $\theta \leftarrow \theta - \text{lr} \left( \hat m / (\sqrt{\hat v} + \varepsilon) + \lambda \theta \right)$, since it reads only the old
# $\theta$.
#
# **What should not decay?** Weight decay is for matrices. A norm's gain $\gamma$ starts at 1 and scales what passes; pulling it
# to 0 would switch the layer off bit by bit. A bias shifts a result and makes nothing steep. So decay only what has two or
# more axes; gains and biases are vectors.

# %% [markdown]
# ### Exercise: `AdamW`
#
# `__init__` is given: it makes a list of zeros `m` and a list `v`, one array for each parameter. You write `step`. A
# parameter `p` has its values in `p.data` and its gradient in `p.grad`. Change `p.data`, `m` and `v` **in place**
# (`*=`, `+=`, `-=`): `m = …` only gives a new array the old name, and the one in the list stays 0.
#
# The check runs your optimizer for a few steps on random gradients and compares its path with the right one. If it
# differs, the path is compared with that of each mistake that is often made, to tell you which line it is.
#
# @hint A nudge
# Once a step: count `self.t`. Then for each parameter, five things in this order: `m`, `v`, the corrected `m_hat` and
# `v_hat`, decay (if `p.data.ndim >= 2`), and the step.
# @hint The formulas
# $m \leftarrow \beta_1 m + (1 - \beta_1) g$, $v \leftarrow \beta_2 v + (1 - \beta_2) g^2$, $\hat m = m / (1 -
# \beta_1^t)$, $\hat v = v / (1 - \beta_2^t)$, $\theta \leftarrow \theta - \text{lr}\, \lambda\, \theta$, $\theta
# \leftarrow \theta - \text{lr}\, \hat m / (\sqrt{\hat v} + \varepsilon)$
# @hint Almost code
# ```python
# lr = self.lr if lr is None else lr
# self.t += 1
# beta1, beta2 = self.betas
# for p, m, v in zip(self.parameters, self.m, self.v):
#     m *= beta1
#     m += …
#     v *= …
#     v += …
#     m_hat = m / (1 - beta1**self.t)
#     v_hat = …
#     if p.data.ndim >= 2:
#         p.data -= …
#     p.data -= lr * … / (np.sqrt(…) + self.eps)
# ```
# @end


# %% exercise="AdamW"
class MyAdamW:
    """Adam with decoupled weight decay.

    Parameters
    ----------
    parameters : list of Parameter
        Each has ``data`` and ``grad``, arrays of one shape.
    lr : float
    betas : (float, float)
        β₁ and β₂: how slowly m and v forget.
    eps : float
        ε.
    weight_decay : float
        λ; only for parameters with two or more axes.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
        self.parameters = list(parameters)
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.t = 0  # steps taken
        self.m = [np.zeros_like(p.data) for p in self.parameters]
        self.v = [np.zeros_like(p.data) for p in self.parameters]

    def step(self, lr=None):
        """Move every parameter once, in place, against its gradient. The gradients stay as they are.

        ``lr`` is the learning rate of this step; ``self.lr`` if it is None.
        """
        # --- solution
        lr = self.lr if lr is None else lr
        self.t += 1
        beta1, beta2 = self.betas
        for p, m, v in zip(self.parameters, self.m, self.v):
            m *= beta1
            m += (1 - beta1) * p.grad
            v *= beta2
            v += (1 - beta2) * p.grad**2
            m_hat = m / (1 - beta1**self.t)
            v_hat = v / (1 - beta2**self.t)
            if p.data.ndim >= 2:
                p.data -= lr * self.weight_decay * p.data
            p.data -= lr * m_hat / (np.sqrt(v_hat) + self.eps)
        # --- end


# %%
AdamW = check("AdamW", MyAdamW)

# %% [markdown]
# ## 6 What it does, and what it does not
#
# Back to the valley: all three, 60 steps each. In the second row the same valley is turned by 45 degrees.


# %%
def three_paths(start, gradient):
    """SGD, momentum and Adam from the same place."""
    sgd, momentum, theta, v = [start], [start], start, np.zeros(2)
    p = Parameter(start.copy())
    optimizer, adam = AdamW([p], lr=0.3), [start]
    for _ in range(60):
        sgd.append(sgd_step(sgd[-1], gradient(sgd[-1]), 0.036))
        theta, v = momentum_step(theta, v, gradient(theta), 0.02, 0.8)
        momentum.append(theta)
        p.grad[...] = gradient(p.data)
        optimizer.step()
        adam.append(p.data.copy())
    return {"SGD": sgd, "momentum": momentum, "Adam": adam}


turn = np.array([[1, -1], [1, 1]]) / math.sqrt(2)  # (2, 2), turns a vector by 45 degrees
straight = three_paths(start, gradient)
turned = three_paths(turn @ start, lambda theta: turn @ gradient(turn.T @ theta))

fig, axes = plt.subplots(2, 3, figsize=(10, 5.2), sharey="row")
for ax, (name, path) in zip(axes[0], straight.items()):
    draw(ax, path, f"{name}: height {height(path[-1]):.2g}")
for ax, (name, path) in zip(axes[1], turned.items()):
    ax.contour(x1, x2 * 2, height(np.stack([x1, x2 * 2], -1) @ turn), levels=np.geomspace(0.1, 100, 10), colors="#808080",
               alpha=0.5, linewidths=0.7)  # fmt: skip
    ax.plot(*np.array(path).T, ".-", linewidth=1)
    ax.plot(0, 0, "x", color="#e15759")
    ax.set(title=f"{name}, turned: height {height(np.array(path[-1]) @ turn):.2g}", xlabel="θ₁")
    ax.grid(False)
axes[0, 0].set_ylabel("θ₂")
axes[1, 0].set_ylabel("θ₂")
plt.show()

# %% [markdown]
# In the first row, Adam does not notice that the valley is narrow. Its first steps are equally long in both directions, so it
# walks diagonally. On the floor it does not stop: $m$ still holds the old direction and carries it across. On the other side
# $\theta_2$'s gradient has changed its sign, the path turns, and it comes to the goal in an arc. Then it overshoots and circles,
# since it moves by about lr whatever the slope: momentum, whose steps shrink with the gradient, ends lower. Section 8 mends that.
#
# The second row is the honest part. SGD and momentum do not care how the valley is turned (compare their heights). Adam
# does: its step sizes belong to the *coordinates*, and here both coordinates are equally steep. It helps where
# different parameters have different slopes, as in section 3, and not against every narrow valley.
#
# Now the decay. Four weights of value 1, with gradients that only alternate, $+s, -s, +s, \dots$: there is nothing to
# learn, and a weight should do nothing but decay. Two have small gradients ($s = 0.1$), two large ones ($s = 10$).

# %%
fig, axes = plt.subplots(figsize=(9, 3))
for decoupled in (True, False):
    for s in (0.1, 10):
        w = Parameter(np.ones((1, 1)))
        optimizer = AdamW([w], lr=0.01, weight_decay=0.1 if decoupled else 0.0)
        values = []
        for step in range(1000):
            w.grad[...] = s * (-1) ** step + (0 if decoupled else 0.1 * w.data)  # L2 adds λθ to the gradient
            optimizer.step()
            values.append(w.data.item())
        name = "decoupled (AdamW)" if decoupled else "in the gradient (L2)"
        axes.plot(values, "-" if s < 1 else "--", label=f"{name}, gradients ± {s}")
axes.set(xlabel="step", ylabel="weight", ylim=(-0.1, 1.1))
axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# Decoupled, both weights fall along the same curve, $(1 - \text{lr}\, \lambda)^t$, but for a ripple: the dashed one lies on the
# other. With L2, the one with small
# gradients is gone in the first third, and the one with large gradients has hardly moved.
#
# ## 7 On a model
#
# The small GPT of section 3 again, 120 steps with each optimizer. A comparison is worth something only if each may
# choose its learning rate, so each tries three.


# %%
class Momentum:
    """`momentum_step` for all parameters of a model; with mu = 0 it is SGD."""

    def __init__(self, parameters, mu):
        self.parameters, self.mu = list(parameters), mu
        self.v = [np.zeros_like(p.data) for p in self.parameters]

    def step(self, lr):
        for i, p in enumerate(self.parameters):
            p.data[...], self.v[i] = momentum_step(p.data, self.v[i], p.grad, lr, self.mu)


def train(make_optimizer, rate, steps=120):
    """Losses of a run from the same first weights on the same batches; rate(step) is the learning rate."""
    gpt, rng = GPT(config, np.random.default_rng(0)), np.random.default_rng(1)
    optimizer = make_optimizer(gpt.parameters())
    losses = []
    for step in range(steps):
        gpt.zero_grad()
        losses.append(gpt.loss_and_grad(*draw_batch(rng)))
        optimizer.step(rate(step))
    return np.array(losses)


optimizers = {
    "SGD": (lambda parameters: Momentum(parameters, 0.0), (0.1, 0.3, 1.0)),
    "momentum, μ = 0.9": (lambda parameters: Momentum(parameters, 0.9), (0.03, 0.1, 0.3)),
    "AdamW": (AdamW, (0.001, 0.003, 0.01)),
}
results = {}
for name, (make_optimizer, rates) in tqdm(optimizers.items(), leave=False):
    for lr in rates:
        results[name, lr] = train(make_optimizer, lambda step: lr)
for (name, lr), losses in results.items():
    print(f"{name:18} lr = {lr:<5}  mean loss of the last 20 steps: {losses[-20:].mean():.2f}")

# %%
frequency = np.bincount(tokens, minlength=V) / len(tokens)
unigram = -(frequency * np.log(np.maximum(frequency, 1e-9))).sum()  # what the frequencies of the tokens alone give

fig, axes = plt.subplots()
for name, (_, rates) in optimizers.items():
    best = min(rates, key=lambda lr: results[name, lr][-20:].mean())
    axes.plot(results[name, best], linewidth=1.2, label=f"{name}, lr = {best}")
for value, label in ((math.log(V), "ln V"), (unigram, "unigram")):
    axes.axhline(value, color="#808080", linestyle="--", linewidth=1)
    axes.annotate(label, (120, value), (121, value), va="center", annotation_clip=False)
axes.set(xlabel="step", ylabel="training loss (nats per token)", xlim=(0, 120))
axes.legend()
plt.show()

# %% [markdown]
# All three start at ln V. SGD gets down to about what the frequencies of the tokens alone give, and stays there.
# Momentum goes on. AdamW is ahead of both after the first 30 steps. This is why hardly anybody trains a Transformer
# with SGD.
#
# Look at the table once more: AdamW's largest rate, 0.01, is far worse than 0.003. The next section
# shows what goes wrong at such rates, and mends it at 0.006.

# %% [markdown]
# ## 8 Warm-up, and going down at the end
#
# In its first steps Adam knows each gradient's usual size from a handful of samples. In step 1, $\hat m = g$ and $\hat
# v = g^2$, so $\hat m / \sqrt{\hat v} = \pm 1$: *every* parameter moves by the full lr, even if its gradient is pure
# noise. The rate that is best later can wreck a model now. So start with a small rate and raise it in a straight line:
# **warm-up**.
#
# At the end, the opposite. With a constant rate, parameters keep jumping about the lowest point, as in the valley.
# Lower the rate and they settle. The usual shape is half a wave of a **cosine** (Loshchilov & Hutter 2017,
# arXiv:1608.03983, equation 5). Let step $s$ count from 0, let $w$ be the steps of warm-up and $n$ those of the whole
# run:
#
# $$\text{lr}(s) = \begin{cases}
# \text{lr}_\text{max} \cdot \dfrac{s + 1}{w + 1} & s < w \\[2ex]
# \text{lr}_\text{min} + \dfrac{1 + \cos(\pi q)}{2} \, (\text{lr}_\text{max} - \text{lr}_\text{min}),
#   \quad q = \dfrac{s - w}{n - w} & w \le s < n \\[2ex]
# \text{lr}_\text{min} & s \ge n
# \end{cases}$$
#
# The +1 is there so that step 0 moves at all. $q$ runs from 0 to 1 over the rest of the run, and $(1 + \cos \pi q)/2$
# from 1 down to 0.

# %% [markdown]
# ### Exercise: `warmup_cosine`
#
# @hint A nudge
# Three cases, two `if` with a `return` each, and the rest.
# @hint Almost code
# ```python
# if step < warmup_steps:
#     return max_lr * (step + 1) / …
# if step >= max_steps:
#     return …
# progress = (step - …) / (max_steps - …)
# return min_lr + 0.5 * (1 + math.cos(…)) * …
# ```
# @end


# %% exercise="warmup_cosine"
def my_warmup_cosine(step, warmup_steps, max_steps, max_lr, min_lr):
    """The learning rate of a step.

    Parameters
    ----------
    step : int
        s, counted from 0.
    warmup_steps, max_steps : int
        w and n.
    max_lr, min_lr : float
        The highest rate, reached at step w, and the last one.

    Returns
    -------
    float
    """
    # --- solution
    if step < warmup_steps:
        return max_lr * (step + 1) / (warmup_steps + 1)
    if step >= max_steps:
        return min_lr
    progress = (step - warmup_steps) / (max_steps - warmup_steps)
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (max_lr - min_lr)
    # --- end


# %%
warmup_cosine = check("warmup_cosine", my_warmup_cosine)

# %% [markdown]
# First the end of a run. In the valley, replace the gradient by a noisy one, as that of a batch is. With a constant
# rate the path never settles; the cosine takes it far lower.

# %%
fig, axes = plt.subplots(figsize=(6.5, 2.8))
for name, low in (("constant", 0.3), ("cosine", 0.0)):
    p, noise = Parameter(start.copy()), np.random.default_rng(0)
    optimizer, heights = AdamW([p]), []
    for step in range(300):
        p.grad[...] = gradient(p.data) + noise.standard_normal(2) * (0.5, 5)
        optimizer.step(warmup_cosine(step, 0, 300, 0.3, low))
        heights.append(height(p.data))
    axes.semilogy(np.convolve(heights, np.ones(20) / 20, "valid"), label=name)
axes.set(xlabel="step", ylabel="height f, mean of 20 steps")
axes.legend()
plt.show()

# %% [markdown]
# Now the beginning, on the small GPT: two runs at a rate of 0.006, twice the best one above; one of them warms up for
# 30 steps.

# %%
schedules = {
    "no warm-up": lambda step: 0.006,
    "30 steps of warm-up": lambda step: warmup_cosine(step, 30, 150, 0.006, 0.006),
}
fig, axes = plt.subplots()
for name, rate in tqdm(schedules.items(), leave=False):
    losses = train(AdamW, rate, 150)
    axes.plot(losses, linewidth=1.2, label=f"{name}: {losses[-20:].mean():.2f} at the end")
axes.axhline(unigram, color="#808080", linestyle="--", linewidth=1)
axes.annotate("unigram", (150, unigram), (151, unigram), va="center", annotation_clip=False)
axes.set(xlabel="step", ylabel="training loss (nats per token)", xlim=(0, 150))
axes.legend()
plt.show()

# %% [markdown]
# Without warm-up the loss falls *faster* in the first steps, and then sticks to the frequencies of the tokens for some 90
# steps: the big first steps have pushed the model into a place where attention is hard to find. Thirty careful steps cost little
# and are paid back many times.
#
# The peak in the warm-up run, at step 26, is no odd batch: the other run finds the same batch easy. It is attention waking up. Its
# gradients, nearly nothing at first (section 3), grow all at once; $v$ still remembers the small ones, so one step is much too
# long, and the next takes it back. (How much warm-up a model needs depends on where its norms stand: Xiong et al. 2020, arXiv:2002.04745.)

# %% [markdown]
# ## 9 Clipping: one bad batch
#
# Sooner or later there is a batch that fits to nothing: a broken file, a page of dashes. Its gradient is many times as
# large as usual. **Clipping** puts a limit on it. Take all gradients of the model as one long vector and its length,
# the norm:
#
# $$\lVert g \rVert = \sqrt{\sum_\text{all numbers} g_i^2}, \qquad
#   \text{if } \lVert g \rVert > c: \quad g \leftarrow g \cdot \frac{c}{\lVert g \rVert}$$
#
# One factor for all of them, so the direction of the step stays as it is; only its length is cut to $c$ (Pascanu et al.
# 2013, arXiv:1211.5063, algorithm 1). The norm before clipping is worth watching, so the function returns it.

# %% [markdown]
# ### Exercise: `clip_grad_norm`
#
# @hint A nudge
# The norm is *one* number over all arrays: add the squares of all of them, then take one root.
# @hint Beware
# If the norm is below the limit, nothing happens. And `p.grad *= …` changes the gradient where it lives; `g = p.grad * …`
# changes nothing.
# @hint Almost code
# ```python
# norm = math.sqrt(sum(float((p.grad**2).sum()) for p in parameters))
# if …:
#     for p in parameters:
#         p.grad *= …
# return norm
# ```
# @end


# %% exercise="clip_grad_norm"
def my_clip_grad_norm(parameters, max_norm):
    """Scale all gradients together so that their common norm is at most max_norm.

    Parameters
    ----------
    parameters : list of Parameter
        Their ``grad`` are changed in place.
    max_norm : float
        c.

    Returns
    -------
    float
        The norm before clipping.
    """
    # --- solution
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in parameters))
    if norm > max_norm:
        for p in parameters:
            p.grad *= max_norm / norm
    return norm
    # --- end


# %%
clip_grad_norm = check("clip_grad_norm", my_clip_grad_norm)

# %% [markdown]
# Train on the same batches with and without clipping to norm 3, each time once as usual and once with a broken batch in step
# 80: the same token over and over. How much does that one batch cost? (The limit should stand above the usual norms, or ordinary
# batches are cut as well. Here they are about 1.)


# %%
def train_with(bad, max_norm, steps=120):
    """Losses and gradient norms; the batch of step 80 is broken if ``bad``."""
    gpt, rng = GPT(config, np.random.default_rng(0)), np.random.default_rng(1)
    optimizer = AdamW(gpt.parameters())
    losses, norms = [], []
    for step in range(steps):
        x, y = draw_batch(rng)
        if bad and step == 80:
            x, y = np.full_like(x, 7), np.full_like(y, 7)
        gpt.zero_grad()
        losses.append(gpt.loss_and_grad(x, y))
        norms.append(clip_grad_norm(optimizer.parameters, max_norm))
        optimizer.step(0.003 * min(1, (step + 1) / 20))
    return np.array(losses), np.array(norms)


fig, axes = plt.subplots(1, 2, figsize=(10, 3))
for name, max_norm in tqdm((("not clipped", math.inf), ("clipped to norm 3", 3.0)), leave=False):
    usual, _ = train_with(False, max_norm)
    losses, norms = train_with(True, max_norm)
    axes[0].semilogy(norms, linewidth=1.2, label=name)
    axes[1].plot(np.arange(81, 120), (losses - usual)[81:], label=name)
axes[0].set(xlabel="step", ylabel="norm before clipping", title="the gradient")
axes[1].axhline(0, color="#808080", linewidth=0.8)
axes[1].set(xlabel="step", ylabel="nats per token", title="loss, minus that of the run without the bad batch")
axes[1].legend()
plt.show()
others = np.delete(norms, 80)
print(
    f"norm of the bad batch {norms[80]:.1f}; median of the others {np.median(others):.1f}, above 3: {(others > 3).sum()}"
)

# %% [markdown]
# The bad batch does its harm in two ways. Through $m$ it pushes in a wrong direction for the next ten steps or so. And through
# $v$ it shrinks all steps after it. A gradient 30 times as large as usual adds $0.05 \cdot 30^2 = 45$ times its usual value to
# $v$, so that steps shrink to about a seventh, and $\beta_2 = 0.95$ needs some 75 steps to forget that ($0.95^{75} \cdot 45
# \approx 1$). At the end of the picture, 38 steps later, the loss is still 0.12 higher. Clipped, it costs about a quarter of that.
#
# The one ordinary batch above 3 is the first peak, at step 25. It is attention waking up again, as in section 8, and no fault of the
# batch: at half the rate it shows in the gradient only, and not in the loss.

# %% [markdown]
# ## 10 What it costs
#
# Adam keeps $m$ and $v$ for every parameter: two of the four numbers that lesson 07 counted in its section 9. SGD needs neither.
# A model of 7 billion parameters takes 16 bytes for each, 112 GB, before a single activation; half of that is Adam's.
#
# ## What you can do now
#
# - say why one learning rate does not fit all directions, and what momentum and Adam do about it;
# - write AdamW, and say what each of its lines is for;
# - choose a schedule, and know what a missing warm-up looks like;
# - clip a gradient, and read its norm.
#
# ## Three questions
#
# @answer All gradients are accidentally multiplied by 100. What changes with SGD, and what with Adam?
# With SGD every step is 100 times as long, as if the learning rate were. With Adam nothing changes, but for ε: $\hat m$
# and $\sqrt{\hat v}$ grow alike. (Clipping hides the accident from both, if the norm was above the limit all the time.)
# @answer What does Adam's very first step look like?
# $\hat m = g$ and $\hat v = g^2$, so every parameter moves by lr against the sign of its gradient, whatever its size.
# That is why warm-up matters.
# @answer Why must the norm for clipping be taken over all parameters together, and not for each array?
# With a factor for each array, large gradients would be cut and small ones not, and the step would point somewhere
# else. One factor for all keeps its direction.
# @end
