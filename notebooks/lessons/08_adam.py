# %% [markdown]
# # 08 · Adam: how far to step
#
# A gradient says in which direction the loss rises. It does not say how far to step in the opposite direction, and this
# decides whether a Transformer learns at all. In this lesson you go from the simplest rule to AdamW, which trains
# nearly every language model. You try each rule first on a surface that you can plot, and then on a small GPT.
#
# **You need:** lesson 02 (loss and gradient); `GPT` from lesson 07 is used as it is.
# **Time:** about an hour and a half. **You will write:** four functions and a class.

# %%
import math

import numpy as np
from tqdm import tqdm

from numpylm import GPT, GPTConfig, Parameter, Tokenizer
from numpylm.course import check, stories, style
from numpylm.system.processor import set_blas_threads

plt = style()
_ = set_blas_threads(1)  # the matrices here are small, so one thread is faster than several

# %% [markdown]
# ## 1 A long, narrow valley
#
# The loss of a model depends on all of its parameters, half a million or more. We cannot plot that. So we begin with
# two parameters, $\theta_1$ and $\theta_2$, and a loss with the shape of a simple valley:
#
# $$f(\theta) = \tfrac12 \left( h_1 \theta_1^2 + h_2 \theta_2^2 \right), \qquad
#   \frac{\partial f}{\partial \theta_i} = h_i\, \theta_i$$
#
# The numbers $h_1 = 0.5$ and $h_2 = 50$ are the curvatures along the two axes. Along $\theta_1$ the valley is nearly
# flat. Along $\theta_2$ its walls are a hundred times steeper. The lowest point is at $(0, 0)$. Near any point, a real
# loss looks similar: steep in some directions and flat in others.

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
# The gradient at the start is $(-2, 60)$. Its component across the valley is thirty times as large as its component
# along the valley. This is the main difficulty.
#
# **Gradient descent** takes a step against the gradient $g$. The **learning rate** $\text{lr}$ sets the length of the
# step:
#
# $$\theta \leftarrow \theta - \text{lr} \cdot g$$
#
# If the gradient comes from a random batch and not from the whole text, the same rule is called *stochastic* gradient
# descent, **SGD**. You used it in lesson 02.

# %% [markdown]
# ### Exercise: `sgd_step`
#
# Write one line. Return a new array, and do not change the old parameters, because the cell below plots all of them.
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
# The cross marks the lowest point. On the left, the learning rate is too small. In the middle, the path jumps from wall
# to wall, and still hardly moves along the valley. On the right, with a rate that is only a little larger, every jump
# is longer than the one before.
#
# Why can the rate not be larger? Insert the gradient into the rule. Each axis evolves independently:
#
# $$\theta_i \leftarrow \theta_i - \text{lr}\, h_i \theta_i = (1 - \text{lr}\, h_i)\, \theta_i$$
#
# In every step, $\theta_i$ is multiplied by the same factor. It shrinks only if this factor is between -1 and 1, that
# is, if $\text{lr} < 2 / h_i$. The *steepest* axis sets the limit on the rate, and the flattest axis must use the same
# rate:

# %%
for lr in (0.005, 0.036, 0.0405):
    factors = 1 - lr * h
    print(f"lr = {lr:<6}  factors a step {factors.round(3)}   after 60 steps {(factors**60).round(3)}")
print("limit: 2 / 50 =", 2 / h[1])

# %% [markdown]
# With lr = 0.036, the flat axis keeps 98 % of its distance in each step. With a single learning rate for all
# directions, a valley that is a hundred times steeper across than along takes hundreds of steps.
#
# ## 2 Momentum: remember earlier steps
#
# Look at the plot in the middle. The jumps across the valley change their sign in every step, while the small steps
# along the valley all have the same sign. So we add up the gradients: components that alternate cancel, and components
# that agree grow. The sum must forget old gradients, or the path could never turn:
#
# $$v \leftarrow \mu\, v + g, \qquad \theta \leftarrow \theta - \text{lr} \cdot v$$
#
# $v$ is called the velocity, and $\mu$ (mu, between 0 and 1) says how much of it remains after one step. If the
# gradient stays the same, $v$ grows toward $g + \mu g + \mu^2 g + \dots = g / (1 - \mu)$: with $\mu = 0.9$, steps
# become ten times as long. (Polyak 1964; for neural networks Sutskever et al. 2013.)

# %% [markdown]
# ### Exercise: `momentum_step`
#
# Return both the new parameters and the new velocity. Do not change the arguments.
#
# @hint A nudge
# First compute the new velocity. Then move the parameters along the *new* velocity.
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
        Learning rate, and the share of the velocity that remains.

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
# In the same valley, with the same number of steps, this path reaches the lowest point. But the two axes still share
# one learning rate.
#
# ## 3 How different are the gradients in a real model?
#
# Take a small, untrained GPT, and measure the gradient of every parameter on 20 batches. What is its typical size? We
# use the *root mean square*, $\sqrt{\text{mean}(g^2)}$, which ignores the signs.

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
axes.set(
    xlabel="typical size of one parameter's gradient (root mean square over 20 batches)", ylabel="share", yticks=[]
)
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
# No single learning rate suits all of these. At first the weights that compute queries and keys get almost no gradient,
# because an untrained model attends to all positions equally, whatever these weights are. The embedding of a rare token
# gets a far smaller gradient than that of a frequent token. So we give **each parameter its own step size**: we divide
# its gradient by the typical size of its gradient.
#
# ## 4 Adam
#
# Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) keeps two running means for each parameter. Both start at 0. In
# step $t = 1, 2, 3, \dots$, with gradient $g$:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g \qquad\qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2$$
#
# $m$ is the mean of the gradient, a kind of momentum. $v$ is the mean of the *squared* gradient (and no longer the
# velocity of section 2), so $\sqrt{v}$ is the typical size of the gradient. With $\beta_1 = 0.9$, $m$ averages over
# about the last 10 steps. With $\beta_2 = 0.95$, $v$ averages over about the last 20. All operations are elementwise,
# including the square, the root and the division: $m$ and $v$ are arrays with the shape of $\theta$. Except for two
# details, the step is
#
# $$\theta \leftarrow \theta - \text{lr} \cdot \frac{m}{\sqrt{v}}$$
#
# If all gradients of one parameter are multiplied by 1,000, both $m$ and $\sqrt{v}$ become 1,000 times as large, and
# the step does not change. So Adam treats steep and flat directions in the same way. The unit of lr is now clear, too:
# if the gradient is steady, $m / \sqrt{v}$ is $\pm 1$, so **lr is, roughly, the farthest a parameter moves in one
# step**.
#
# **First detail: bias correction.** Both means start at 0, so at first they are too small. To see this, take a gradient
# that is always 1. Its mean should be 1 from the first step on.

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
# After $t$ steps, the running mean of a constant 1 is not 1 but $1 - \beta^t$ (the `assert` checks this). The plot on
# the right shows the effect on the step. With $\beta_2 = 0.999$, the value that the paper suggests, $v$ grows far more
# slowly than $m$. So the first steps are several times too long, just when the model is most sensitive. With $\beta_2 =
# 0.95$, which is common for language models, they are too short at first. The remedy is to divide by $1 - \beta^t$
# (section 3 of the paper):
#
# $$\hat m = \frac{m}{1 - \beta_1^t} \qquad\qquad \hat v = \frac{v}{1 - \beta_2^t}$$
#
# Here $\beta^t$ is $\beta$ to the power $t$. It approaches 0, so the correction approaches 1.
#
# **Second detail: ε.** A parameter that has not received a gradient yet has $\hat v = 0$. A small $\varepsilon =
# 10^{-8}$ keeps the division finite. It is *outside* the root:
#
# $$\theta \leftarrow \theta - \text{lr} \cdot \frac{\hat m}{\sqrt{\hat v} + \varepsilon}$$
#
# ## 5 Weight decay: the W in AdamW
#
# Large weights make a model overconfident. **Weight decay** pulls each weight toward 0, a little in every step, so that
# a weight stays large only if the gradient keeps it large. There are two ways to write it, with a strength $\lambda$
# (lambda):
#
# | | how | name |
# | --- | --- | --- |
# | in the gradient | $g \leftarrow g + \lambda \theta$, then Adam as above | L2 |
# | separate from the gradient | $\theta \leftarrow \theta - \text{lr}\, \lambda\, \theta$, and Adam with the unchanged $g$ | decoupled |
#
# In plain SGD the two are the same. In Adam they are not, because Adam divides everything in the gradient by
# $\sqrt{\hat v}$. With L2, a weight with large gradients hardly decays, and a weight with small gradients decays fast.
# This is not what we want. Loshchilov & Hutter (2019, arXiv:1711.05101, algorithm 2) took the decay out of the
# gradient. The result is AdamW. In section 6 you will see both. (In their paper, the decay is multiplied only by the
# schedule of section 8. PyTorch multiplies it by the whole lr, as we do here, and this is what most people mean today.)
#
# The decay is computed from the weights *before* the step, so it comes first. A single line for both gives the same
# result, $\theta \leftarrow \theta - \text{lr} \left( \hat m / (\sqrt{\hat v} + \varepsilon) + \lambda \theta \right)$,
# because it uses only the old $\theta$.
#
# **What should not decay?** Weight decay is for matrices. The gain $\gamma$ of a norm starts at 1 and scales the
# layer's output. Pulling it to 0 would slowly switch the layer off. A bias only shifts a result and does not make a
# function steeper. So only parameters with two or more axes decay. Gains and biases are vectors.

# %% [markdown]
# ### Exercise: `AdamW`
#
# `__init__` is given: it makes a list of zeros `m` and a list `v`, one array for each parameter. You write `step`. A
# parameter `p` has its values in `p.data` and its gradient in `p.grad`. Change `p.data`, `m` and `v` **in place**
# (`*=`, `+=`, `-=`): `m = …` only binds the name to a new array, and the array in the list stays 0.
#
# The check runs your optimizer for a few steps on random gradients, and compares its path with the right one. If the
# two differ, it compares your path with the paths of the usual mistakes, so that it can tell you which line is wrong.
#
# @hint A nudge
# Increase `self.t` once per step. Then, for each parameter, compute in this order: `m`, `v`, the corrected `m_hat` and
# `v_hat`, the decay (if `p.data.ndim >= 2`), and the step.
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
        Each has ``data`` and ``grad``, arrays of the same shape.
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
        """Move every parameter once, in place, against its gradient. The gradients do not change.

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
# Back to the valley. The first row shows all three methods, with 60 steps each. In the second row, the same valley is
# rotated by 45 degrees.


# %%
def three_paths(start, gradient):
    """SGD, momentum and Adam from the same starting point."""
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


turn = np.array([[1, -1], [1, 1]]) / math.sqrt(2)  # (2, 2), rotates a vector by 45 degrees
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
# In the first row, the narrow shape of the valley has no effect on Adam. Its first steps are equally long in both
# directions, so it moves diagonally. It does not stop at the valley floor, because $m$ still holds the old direction
# and carries it across. On the other side the gradient of $\theta_2$ changes its sign. The path turns, and it reaches
# the lowest point in an arc. Then it overshoots and circles, because its steps have a length of about lr, whatever the
# slope is. The steps of momentum shrink with the gradient, so momentum ends lower. Section 8 solves this problem for
# Adam.
#
# The second row shows the limits of Adam. For SGD and momentum, the rotation makes no difference (compare their
# heights). For Adam it does, because its step sizes belong to the *coordinates*, and after the rotation both
# coordinates are equally steep. So Adam helps when different parameters have gradients of different sizes, as in
# section 3. It does not help in every narrow valley.
#
# Now the decay. We take four weights with the value 1, and gradients that only alternate, $+s, -s, +s, \dots$. There is
# nothing to learn, so each weight should only decay. Two of the weights have small gradients ($s = 0.1$), and two have
# large ones ($s = 10$).

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
# With decoupled decay, both weights follow the same curve, $(1 - \text{lr}\, \lambda)^t$, except for a ripple. (The
# dashed line covers the solid one.) With L2, the weight with small gradients reaches 0 in the first third of the run,
# and the weight with large gradients hardly moves.
#
# ## 7 On a model
#
# Now train the small GPT of section 3 for 120 steps with each optimizer. For a fair comparison, each optimizer needs a
# good learning rate, so each tries three.


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
unigram = -(
    frequency * np.log(np.maximum(frequency, 1e-9))
).sum()  # the loss of a model that knows only token frequencies

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
# All three losses start at ln V. With SGD, the loss falls to about the level that the frequencies of the tokens alone
# give, and stays there. With momentum it falls further. After the first 30 steps, AdamW is ahead of both. This is why
# almost no one trains a Transformer with SGD.
#
# Look at the table again. The largest rate of AdamW, 0.01, is far worse than 0.003. The next section shows what goes
# wrong at such rates, and solves the problem for a rate of 0.006.

# %% [markdown]
# ## 8 Warm-up and cosine decay
#
# In its first steps, Adam estimates the typical size of each gradient from only a few samples. In step 1, $\hat m = g$
# and $\hat v = g^2$, so $\hat m / \sqrt{\hat v} = \pm 1$: *every* parameter moves by the full lr, even if its gradient
# is pure noise. A rate that is best later can ruin the model at the start. So we start with a small rate and increase
# it linearly. This is called **warm-up**.
#
# At the end of training we do the opposite. With a constant rate, the parameters keep jumping around the lowest point,
# as in the valley. With a lower rate, they settle. The usual shape is half a period of a **cosine** (Loshchilov &
# Hutter 2017, arXiv:1608.03983, equation 5). Let the step $s$ count from 0, let $w$ be the number of warm-up steps, and
# let $n$ be the number of steps in the whole run:
#
# $$\text{lr}(s) = \begin{cases}
# \text{lr}_\text{max} \cdot \dfrac{s + 1}{w + 1} & s < w \\[2ex]
# \text{lr}_\text{min} + \dfrac{1 + \cos(\pi q)}{2} \, (\text{lr}_\text{max} - \text{lr}_\text{min}),
#   \quad q = \dfrac{s - w}{n - w} & w \le s < n \\[2ex]
# \text{lr}_\text{min} & s \ge n
# \end{cases}$$
#
# Because of the +1, the rate of step 0 is not zero. After the warm-up, $q$ goes from 0 to 1, and $(1 + \cos \pi q)/2$
# goes from 1 to 0.

# %% [markdown]
# ### Exercise: `warmup_cosine`
#
# @hint A nudge
# There are three cases. Write two `if` statements with a `return` each, and handle the last case after them.
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
# First we look at the end of a run. In the valley, we add noise to the gradient, because the gradient of a batch is
# noisy. With a constant rate, the path never settles. With the cosine, it gets far lower.

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
# Now we look at the beginning of a run, on the small GPT. Both runs use a rate of 0.006, twice the best rate from
# above. One of them warms up for 30 steps.

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
# Without warm-up, the loss falls *faster* in the first steps. Then it stays at the unigram level for about 90 steps:
# the large first steps have moved the parameters to a region where attention is hard to learn. Thirty careful steps
# cost little, and they save many more.
#
# The peak in the warm-up run, at step 26, does not come from an unusual batch: the other run has no problem with the
# same batch. It marks the moment when attention begins to learn. The gradients of attention, almost zero at first
# (section 3), suddenly grow. $v$ still holds the small values, so one step is much too long, and the next step corrects
# it. (How much warm-up a model needs depends on the position of its norms: Xiong et al. 2020, arXiv:2002.04745.)

# %% [markdown]
# ## 9 Clipping: one bad batch
#
# Sooner or later there is a batch that is unlike all others: a broken file, or a page of dashes. Its gradient is many
# times as large as usual. **Clipping** limits the size of the gradient. Treat all gradients of the model as one long
# vector, and compute its length, the norm:
#
# $$\lVert g \rVert = \sqrt{\sum_\text{all numbers} g_i^2}, \qquad
#   \text{if } \lVert g \rVert > c: \quad g \leftarrow g \cdot \frac{c}{\lVert g \rVert}$$
#
# All gradients are multiplied by the same factor, so the direction of the step does not change. Only its length is
# reduced to $c$ (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1). The norm before clipping is worth watching, so the
# function returns it.

# %% [markdown]
# ### Exercise: `clip_grad_norm`
#
# @hint A nudge
# The norm is *one* number over all arrays: add the squares of all of them, then take one root.
# @hint Beware
# If the norm is below the limit, do nothing. And note that `p.grad *= …` changes the gradient in place, while `g =
# p.grad * …` only makes a new array.
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
# Train on the same batches, with and without clipping to norm 3. Do each of these runs twice: once as usual, and once
# with a broken batch in step 80, in which every token is the same. How much harm does this one batch do? (The limit
# should be above the usual norms, or ordinary batches are clipped, too. Here the usual norms are about 1.)


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
# The bad batch does harm in two ways. Through $m$, it pushes the parameters in a wrong direction for about the next ten
# steps. And through $v$, it makes all later steps shorter. A gradient 30 times as large as usual adds $0.05 \cdot 30^2
# = 45$ times its usual value to $v$, so steps shrink to about a seventh, and with $\beta_2 = 0.95$ it takes about 75
# steps to forget this ($0.95^{75} \cdot 45 \approx 1$). At the end of the plot, 38 steps later, the loss is still 0.12
# higher. With clipping, the increase is about a quarter of that.
#
# One ordinary batch has a norm above 3, at the first peak, in step 25. As in section 8, this is the moment when
# attention begins to learn, and the batch is not to blame. Here the rate is only half as large, so the peak shows only
# in the gradient, and not in the loss.

# %% [markdown]
# ## 10 What it costs
#
# Adam stores $m$ and $v$ for every parameter. These are two of the four numbers that section 9 of lesson 07 counted.
# SGD needs neither. A model with 7 billion parameters needs 16 bytes for each of them, 112 GB in all, even without
# activations. Half of this is for Adam.
#
# ## What you can do now
#
# - say why one learning rate does not suit all directions, and what momentum and Adam do about it;
# - write AdamW, and say what each of its lines is for;
# - choose a schedule, and recognize a missing warm-up;
# - clip a gradient, and interpret its norm.
#
# ## 小结
#
# 不同方向的坡度差别很大，一个学习率不能适合所有方向。动量对梯度取滑动平均；Adam 再除以梯度平方平均值的根，使每个参数的步子大小相近。
# 偏差修正用于开头几步。AdamW 的权重衰减不经过这个除法。学习率先升（预热）后降（余弦）；梯度裁剪按总的范数缩放，不改变方向。
#
# ## Three questions
#
# @answer All gradients are accidentally multiplied by 100. What changes with SGD, and what with Adam?
# With SGD, every step is 100 times as long, as if the learning rate were 100 times as large. With Adam, nothing changes
# (except for the effect of ε), because $\hat m$ and $\sqrt{\hat v}$ grow by the same factor. (If the norm was always
# above the limit, clipping hides the accident with both optimizers.)
# @answer What does Adam's very first step look like?
# $\hat m = g$ and $\hat v = g^2$, so every parameter moves by lr against the sign of its gradient, however small the
# gradient is. That is why warm-up matters.
# @answer Why must the norm for clipping be taken over all parameters together, and not for each array?
# With a separate factor for each array, large gradients would be reduced and small ones would not, so the step would
# have another direction. One common factor keeps the direction.
# @end
