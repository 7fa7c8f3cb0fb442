# %% [markdown]
# # 17 · Speech: from sound to text
#
# A sound is a long row of numbers. A text is a short row of letters. Nobody has written down which numbers belong to which
# letter. In this lesson you turn a sound into a picture that a Transformer can read, you write the convolution at its
# entrance, and you write **CTC**, a loss that adds up all ways in which a text can lie in a sound. Then you train a
# recognizer on your own machine, and it understands voices that it has never heard.
#
# **You need:** lessons 02, 04 and 06; for sections 7 and 8 also 15 and 16. **Time:** about three hours. Sections 1 to 3
# (the sound) and 4 to 6 (CTC) do not depend on each other, so you can take a break between them.
# **You will write:** the mel filters and their logarithm, `Conv1d`, and the loss of CTC with its gradient.

# %%
import itertools

import numpy as np
from IPython.display import SVG, Audio, display
from tqdm import tqdm

from numpylm import AdamW, Module, Whisper, WhisperConfig, clip_grad_norm, softmax, softmax_backward, warmup_cosine
from numpylm.audio import speak, voice
from numpylm.audio.mel import RATE, hz_to_mel, log_mel, mel_to_hz
from numpylm.audio.sound_svg import sound_svg
from numpylm.corpora import spoken_numbers
from numpylm.course import check, style, swap
from numpylm.inference.beam_search import beam_search
from numpylm.metrics import wer
from numpylm.models.speech_ctc import SpeechCTC, SpeechCTCConfig
from numpylm.nn.module import normal

plt = style()
rng = np.random.default_rng(0)

# %% [markdown]
# ## 1 A sound is a row of numbers
#
# A microphone measures the pressure of the air, 16,000 times a second. Our sounds come from a bundled speaker, a program
# of a few pages (`docs/speech.md` explains it). It says digits in many voices.

# %%
samples = speak(["three", "one", "four"], voice(7))
print(f"{len(samples):,} samples, {len(samples) / RATE:.2f} seconds; the first: {samples[2000:2006].round(3)}")
display(Audio(samples, rate=RATE))
display(SVG(sound_svg("three one four", samples)))

# %% [markdown]
# The upper half of the picture shows the samples. The same word in another voice has quite other samples. Even a small
# shift changes each of them. But the lower half stays almost the same: it shows how loud each *frequency* is, over time.
# The bright bands are the resonances of the mouth. They move when the mouth moves, and this is what we hear as a vowel.
#
# We make the lower half in three steps: the power of each frequency, a few bands, and the logarithm. The first is the
# **Fourier transform** of short pieces. We cut out a **frame** of 400 samples (25 ms) every 160 samples (10 ms), and
# `np.fft.rfft` gives 201 complex numbers for each. Their squared sizes are the power at 0, 40, 80, …, 8000 Hz. The factor
# $\sin^2$ fades each frame in and out, because a sharp edge has energy at all frequencies.


# %%
def power_spectrum(samples):
    """The power of 201 frequencies in each frame: samples (N,) -> (201, T)."""
    padded = np.pad(samples.astype(np.float64), 200, mode="reflect")  # so that frame t is centered on sample 160 t
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160]  # (T, 400)
    spectrum = np.fft.rfft(frames * np.sin(np.pi * np.arange(400) / 400) ** 2)  # (T, 201), complex
    return (np.abs(spectrum) ** 2).T[:, : len(samples) // 160]


power = power_spectrum(samples)
print("power:", power.shape)

# %% [markdown]
# ## 2 From 201 frequencies to 40 bands
#
# The ear hears the step from 200 to 300 Hz as large, and the step from 5000 to 5100 Hz hardly at all. The **mel scale**
# measures frequencies as the ear does. We collect the 201 powers into a few bands that are equally wide in mel: narrow for
# low frequencies, wide for high ones. Each band is a triangle. With M bands there are M + 2 corners $c_0 \dots c_{M+1}$:
# filter $i$ rises from $c_i$ to $c_{i+1}$, and falls to $c_{i+2}$:
#
# $$\text{rise} = \frac{f - c_i}{c_{i+1} - c_i}, \qquad \text{fall} = \frac{c_{i+2} - f}{c_{i+2} - c_{i+1}}, \qquad w_i(f) = \frac{2}{c_{i+2} - c_i}\,\max\big(0, \min(\text{rise}, \text{fall})\big)$$
#
# The height $2 / (c_{i+2} - c_i)$ gives all triangles the same area.
#
# ### Exercise: `mel_filters`
#
# @hint A nudge
# Make three columns with M rows, `left`, `middle` and `right`. With `bins` of shape (F,), all formulas broadcast to (M, F).
# @hint Almost code
# ```python
# left, middle, right = corners[:-2, None], corners[1:-1, None], …
# rise = (bins - left) / (middle - left)
# ```
# @end


# %% exercise="mel_filters"
def my_mel_filters(corners, bins):
    """Triangles, a row for each band.

    Parameters
    ----------
    corners : array (M + 2,)
        In Hz, increasing.
    bins : array (F,)
        The frequencies of the spectrum, in Hz.

    Returns
    -------
    array (M, F)
    """
    # --- solution
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]  # (M, 1)
    rise = (bins - left) / (middle - left)  # (M, F)
    fall = (right - bins) / (right - middle)
    return np.maximum(0, np.minimum(rise, fall)) * 2 / (right - left)
    # --- end


# %%
mel_filters = check("mel_filters", my_mel_filters)

# %%
M = 40
corners, bins = mel_to_hz(np.linspace(0, hz_to_mel(RATE / 2), M + 2)), np.linspace(0, RATE / 2, 201)
filters = mel_filters(corners, bins)
fig, axes = plt.subplots(figsize=(7, 2.2))
axes.plot(bins, filters[::3].T)
axes.set(xlabel="Hz", ylabel="weight", title="every third of the 40 filters")
plt.show()

# %% [markdown]
# The filters are narrow and high on the left, wide and low on the right. (The low ones should have equal heights. They do
# not, because we have a frequency only every 40 Hz, and it may miss the tip of a triangle.)
#
# The last step is the **logarithm**. We hear loudness in ratios: ten times the power sounds like one step, at every level.
# The logarithm also turns a product into a sum. Speech is such a product: the voice times what the mouth lets pass.
#
# 1. The bands are `filters @ power`. Values below $10^{-10}$ become $10^{-10}$. Take $\log_{10}$.
# 2. Let the limit be the largest logarithm of the sound minus 8 (that is 80 dB). Everything below the limit becomes the
#    limit. We cannot hear such quiet parts beside the loud ones.
# 3. $(x + 4) / 4$ brings the numbers $x$ to about $[-1, 1]$, a good size for a network.
#
# ### Exercise: `log_bands`
#
# @hint A nudge
# Both limits are `np.maximum`. The second one needs the largest of all logarithms, `log.max()`.
# @hint Almost code
# ```python
# log = np.log10(np.maximum(filters @ power, 1e-10))
# log = np.maximum(log, …)
# ```
# @end


# %% exercise="log_bands"
def my_log_bands(power, filters):
    """The logarithms of the bands, with limits, near [-1, 1].

    Parameters
    ----------
    power : array (F, T)
    filters : array (M, F)

    Returns
    -------
    array (M, T)
    """
    # --- solution
    log = np.log10(np.maximum(filters @ power, 1e-10))  # (M, T)
    log = np.maximum(log, log.max() - 8)
    return (log + 4) / 4
    # --- end


# %%
log_bands = check("log_bands", my_log_bands)

# %%
mel = log_bands(power, filters)  # (M, T)
print(
    "shape", mel.shape, " largest difference from numpylm's log_mel:", np.abs(mel - log_mel(samples, M)).max().round(6)
)

# %% [markdown]
# This is the **log-mel spectrogram**, and it is what Whisper reads, too (with 80 bands). A second of sound has become 100
# columns of 40 numbers. The Transformer treats a column as it treats the vector of a token.
#
# ## 3 A convolution is a linear layer on windows
#
# One column shows 10 ms. A movement of the mouth needs several columns. So the first layer looks at a **window** of $K = 3$
# neighboring columns at once. It does so at every place, with the same weights. This is a convolution. The **stride** $s$
# says how far it moves from one window to the next. With $s = 2$ its output is half as long.
#
# Take it apart. First all windows, $u_{t,k} = x_{s t + k}$ for $k = 0 \dots K - 1$. There are $T' = \lfloor (T - K) / s \rfloor + 1$
# of them for $T$ positions. Each $x_t$ is a column of the spectrogram with $C = 40$ numbers, so $x$ is (T, C). Then a linear
# layer on each window. Let us do the windows first, and their gradient.
#
# ### Exercise: `windows`
#
# In the backward, $du$ is known, and $dx$ is wanted. In how many windows does a position appear?
#
# @hint A nudge
# For a fixed $k$, the entries $u_{t,k}$ are $x_k, x_{k+s}, x_{k+2s}, \dots$: a slice of x. In the backward, the slice gets
# the gradient `du[:, :, k]`. A position can be in several slices, so it gets a sum.
# @hint Almost code
# ```python
# count = (x.shape[1] - K) // stride + 1
# end = stride * (count - 1) + 1                        # the place of the last window, plus one
# u = np.stack([x[:, k : k + end : stride] for k in range(K)], axis=2)
# ```
# and in the backward `dx[:, k : k + end : stride] += …` for each k.
# @end


# %% exercise="windows"
def my_windows(x, K, stride):
    """All windows of K positions.

    Parameters
    ----------
    x : array (B, T, C)
    K, stride : int

    Returns
    -------
    u : array (B, T', K, C)
        u[:, t, k] = x[:, stride * t + k].
    cache
    """
    # --- solution
    count = (x.shape[1] - K) // stride + 1
    end = stride * (count - 1) + 1
    u = np.stack([x[:, k : k + end : stride] for k in range(K)], axis=2)
    return u, (x.shape, end, stride)
    # --- end


def my_windows_backward(du, cache):
    """du (B, T', K, C) -> dx (B, T, C)."""
    # --- solution
    shape, end, stride = cache
    dx = np.zeros(shape, du.dtype)
    for k in range(du.shape[2]):
        dx[:, k : k + end : stride] += du[:, :, k]
    return dx
    # --- end


# %%
windows, windows_backward = check("windows", my_windows, my_windows_backward)

# %% [markdown]
# Now the layer. $p$ zeros are added at each end of $x$. This is the **padding**, and the longer input is called $\bar x$. With
# $K = 3$, $p = 1$ and stride 1, the output has as many positions as $x$. With $u$ the windows of $\bar x$ as rows of $K C$
# numbers, and $W$ as a matrix ($K C$, out),
#
# $$y = u\,W + b$$
#
# ### Exercise: `Conv1d`
#
# You know the gradients of $W$, $b$ and $u$ from lesson 04. From $du$ you get $d\bar x$ by the exercise above, and $dx$ is
# what remains of it without the padding, whose zeros are constants.
#
# @hint A nudge
# `u.reshape(-1, K * n_in)` turns all windows into rows, and `self.weight.data.reshape(-1, n_out)` is the matrix.
# @hint On paper
# $dW = u^T dy, \quad db = \sum_{\text{rows}} dy, \quad du = dy\, W^T$
# @hint Almost code, backward
# ```python
# u, cut, T = cache
# rows, dy_rows = u.reshape(-1, K * n_in), dy.reshape(-1, n_out)
# self.weight.grad += (rows.T @ dy_rows).reshape(K, n_in, n_out)
# self.bias.grad += …
# du = (dy_rows @ …).reshape(u.shape)
# return windows_backward(du, cut)[:, self.padding : self.padding + T]
# ```
# @hint The closed form
# $dx_i = \sum_{(t, k)\,:\; s t + k = i + p} dy_t\, W_k^T$, where $W_k$ (in, out) is the part of $W$ for place $k$ of the window. A
# position gets a part from every window that holds it, each with its own matrix.
# @end


# %% exercise="Conv1d"
class MyConv1d(Module):
    """The same linear layer on every window of K neighboring positions."""

    def __init__(self, n_in, n_out, kernel_size, stride=1, padding=0, *, rng=None, dtype=np.float32):
        rng = rng or np.random.default_rng()
        self.stride, self.padding = stride, padding
        self.weight = normal(rng, (kernel_size, n_in, n_out), (kernel_size * n_in) ** -0.5, dtype)
        self.bias = normal(rng, (n_out,), 0.0, dtype)

    def forward(self, x):
        """x (B, T, in) -> y (B, T', out)."""
        K, n_in, n_out = self.weight.shape
        # --- solution
        padded = np.pad(x, ((0, 0), (self.padding, self.padding), (0, 0)))
        u, cut = windows(padded, K, self.stride)  # (B, T', K, in)
        y = u.reshape(-1, K * n_in) @ self.weight.data.reshape(-1, n_out) + self.bias.data
        return y.reshape(*u.shape[:2], n_out), (u, cut, x.shape[1])
        # --- end

    def backward(self, dy, cache):
        """dy (B, T', out) -> dx (B, T, in); adds to weight.grad and bias.grad."""
        K, n_in, n_out = self.weight.shape
        # --- solution
        u, cut, T = cache
        rows, dy_rows = u.reshape(-1, K * n_in), dy.reshape(-1, n_out)
        self.weight.grad += (rows.T @ dy_rows).reshape(K, n_in, n_out)
        self.bias.grad += dy_rows.sum(axis=0)
        du = (dy_rows @ self.weight.data.reshape(-1, n_out).T).reshape(u.shape)
        return windows_backward(du, cut)[:, self.padding : self.padding + T]
        # --- end

    def output_length(self, T):
        """How many windows T positions have."""
        return (T + 2 * self.padding - self.weight.shape[0]) // self.stride + 1


# %%
Conv1d = check("Conv1d", MyConv1d)

# %% [markdown]
# ## 4 A text without an alignment
#
# After two convolutions, the second with stride 2, a second of sound has 50 positions. The blocks of a Transformer encoder
# read them (lesson 16), and at each position a linear layer gives logits for the letters. But which letter is the right
# one at position 23? Our data say only "three one four".
#
# **CTC** (Graves et al. 2006) lets the model write one letter or a **blank** `-` at *every* position. Such a row is called a
# **path**. A path becomes a text in two steps: merge neighbors that are equal, then remove the blanks.
#
#     --thh-r-e--e-   →  merge  →  -th-r-e-e-  →  remove  →  three
#
# The blank has two tasks. It stands where nothing new is said, and it keeps the two letters of *ee* apart.
#
# ### Exercise: `collapse`
#
# @hint A nudge
# Keep an id if it differs from the one before, and if it is no blank.
# @hint Almost code
# `[k for n, k in enumerate(path) if k != blank and (n == 0 or …)]`
# @end


# %% exercise="collapse"
def my_collapse(path, blank=0):
    """The text of a path.

    Parameters
    ----------
    path : list of int
        One id for each position.
    blank : int

    Returns
    -------
    list of int
    """
    # --- solution
    return [k for n, k in enumerate(path) if k != blank and (n == 0 or k != path[n - 1])]
    # --- end


# %%
collapse = check("collapse", my_collapse)

# %% [markdown]
# Many paths have the same text. From here on, a **frame** is one position after the convolutions, so it has 20 ms. Let
# $y_t(k)$ be the probability of letter $k$ in frame $t$: the softmax of the logits. The model gives each path a
# probability, the product of $y_t(k)$ over its letters, one for each frame. The probability of a *text* is the sum over
# all of its paths. Let us list them. Here are 5 frames, a blank and two letters:

# %%
names = "-ab"
y, _ = softmax(np.random.default_rng(3).standard_normal((5, 3)))  # (T, V)
found = {}
for path in itertools.product(range(3), repeat=5):
    found.setdefault("".join(names[k] for k in collapse(list(path))), []).append(path)
for text in ("ab", "a", "aab", ""):
    p = sum(np.prod(y[np.arange(5), path]) for path in found[text])
    shown = ", ".join("".join(names[k] for k in path) for path in found[text][:4])
    print(f"{text!r:7} {len(found[text]):3} paths ({shown}, …)   p = {p:.5f}")
print(
    "all texts together:", sum(np.prod(y[np.arange(5), path]) for paths in found.values() for path in paths).round(10)
)

# %% [markdown]
# Each path belongs to exactly one text, so all texts together have probability 1. The loss is $-\ln p$ of the right text. But
# with 50 frames, 16 letters and the blank there are $17^{50}$ paths, so we cannot list them.
#
# ## 5 Adding up without listing
#
# Write the text with a blank before, between and after its letters: `ab` becomes `-a-b-`. For $S$ letters these are $S' =
# 2S + 1$ **places**. We number them $s = 0 \dots 2S$. ($s$ is no longer the stride.) A path for the text walks through them
# from left to right. In each frame it can
#
# - stay at its place,
# - move to the next place,
# - skip a blank: move by two, if the place is a letter, and not the same letter as two places before.
#
# Why not also skip a blank between two equal letters? Then merging would make one letter of them.
#
# Cut the paths off after frame $t$. Let $\alpha_t(s)$ be the probability of all such beginnings that stand at place $s$,
# together. Let $y_t(s)$ be the probability of the letter (or blank) at place $s$, and let skip(s) be 1 if a path may reach
# place $s$ by the third move, and 0 if not. Left of place 0, $\alpha$ is 0.
#
# ### Exercise: `ctc_step`
#
# One frame, forward and backward. All arrays have shape (S',). skip is a constant.
#
# First write $\alpha_t(s)$ with numbers of the frame before. At which places could the beginnings stand there? Call the sum
# of what arrives $a_t(s)$. Which factor comes from frame $t$ itself? Then ask where $\alpha_{t-1}(s)$ is used.
#
# @hint The forward
# $a_t(s) = \alpha_{t-1}(s) + \alpha_{t-1}(s-1) + \text{skip}(s)\,\alpha_{t-1}(s-2)\;$ and $\;\alpha_t(s) = y_t(s)\, a_t(s)$
# @hint The backward
# $\alpha(s)$ is used three times: at the places $s$, $s + 1$ and $s + 2$. So its gradient is a sum of three parts. What goes
# one place to the right in the forward comes one place to the left in the backward.
# @hint On paper
# $da = y\, d\alpha_t$, $\;dy = a\, d\alpha_t$, $\;d\alpha_{t-1}(s) = da(s) + da(s+1) + \text{skip}(s+2)\, da(s+2)$
# @hint Almost code
# ```python
# arrive = alpha.copy()
# arrive[1:] += alpha[:-1]
# arrive[2:] += …
# ```
# and in the backward
# ```python
# darrive = dnew * y
# dalpha = darrive.copy()
# dalpha[:-1] += darrive[1:]
# dalpha[:-2] += …
# ```
# @end


# %% exercise="ctc_step"
def my_ctc_step(alpha, y, skip):
    """From one frame to the next.

    Parameters
    ----------
    alpha : array (S',)
        The paths at each place, in the frame before.
    y : array (S',)
        The probability of the letter at each place, in this frame.
    skip : array (S',)
        1.0 where a path may come from two places before, otherwise 0.0.

    Returns
    -------
    new : array (S',)
    cache
    """
    # --- solution
    arrive = alpha.copy()
    arrive[1:] += alpha[:-1]
    arrive[2:] += skip[2:] * alpha[:-2]
    return y * arrive, (y, skip, arrive)
    # --- end


def my_ctc_step_backward(dnew, cache):
    """dnew (S',) -> dalpha (S',), dy (S',)."""
    # --- solution
    y, skip, arrive = cache
    darrive = dnew * y
    dalpha = darrive.copy()
    dalpha[:-1] += darrive[1:]
    dalpha[:-2] += skip[2:] * darrive[2:]
    return dalpha, dnew * arrive
    # --- end


# %%
ctc_step, ctc_step_backward = check("ctc_step", my_ctc_step, my_ctc_step_backward)

# %% [markdown]
# In a list of paths, the same products would be computed again and again. Now each is computed once: $T \cdot S'$ numbers
# instead of $17^T$ paths.
#
# Now all frames. A path begins at place 0 (a blank) or 1 (the first letter), so $\alpha_0$ is $y_0$ at these two places, and 0
# elsewhere. It ends at the last letter or the last blank, so $p = \alpha_{T-1}(S'-1) + \alpha_{T-1}(S'-2)$.
#
# ### Exercise: `ctc_alphas`
#
# The first input is $y$ for all V letters, (T, V). Pick the columns of the places first: `y[:, places]`.
#
# @hint Almost code
# ```python
# emitted = y[:, places]                                # (T, S')
# alpha = np.zeros(emitted.shape)
# alpha[0, :2] = …
# for t in range(1, len(y)):
#     alpha[t], _ = ctc_step(…)
# return alpha, …
# ```
# @end


# %% exercise="ctc_alphas"
def my_ctc_alphas(y, places, skip):
    """All frames, and the probability of the text.

    Parameters
    ----------
    y : array (T, V)
        Probabilities of blank and letters in each frame.
    places : int array (S',)
        The ids of the text with blanks around them.
    skip : array (S',)

    Returns
    -------
    alpha : array (T, S')
    p : float
    """
    # --- solution
    emitted = y[:, places]  # (T, S')
    alpha = np.zeros(emitted.shape)
    alpha[0, :2] = emitted[0, :2]
    for t in range(1, len(y)):
        alpha[t], _ = ctc_step(alpha[t - 1], emitted[t], skip)
    return alpha, float(alpha[-1, -1] + alpha[-1, -2])
    # --- end


# %%
ctc_alphas = check("ctc_alphas", my_ctc_alphas)


# %%
def places_of(labels):
    """The labels with blanks (0) around them, and where a path may skip a blank."""
    places = np.zeros(2 * len(labels) + 1, int)
    places[1::2] = labels
    skip = np.zeros(len(places))
    skip[3::2] = np.asarray(labels[1:]) != np.asarray(labels[:-1])
    return places, skip


for text in ("ab", "a", "aab"):
    print(f"{text!r:6} p = {ctc_alphas(y, *places_of([names.index(c) for c in text]))[1]:.5f}")

# %% [markdown]
# The same numbers as from the list.
#
# ## 6 The gradient
#
# The loss of one sound is $L = -\ln p$, with $y = \text{softmax}(z)$ in each frame. You have all parts: the softmax, the
# choice of columns, the steps, and the sum at the end. So the gradient is a walk back through them.
#
# ### Exercise: `ctc_loss`
#
# The forward is `ctc_alphas` once more, but it starts from the logits, and it keeps what the backward needs. `places_of`
# above gives you places and skip.
#
# For the backward, go back step by step. What does $-\ln p$ send to $\alpha_{T-1}$? Each `ctc_step_backward` then gives
# $d\alpha$ of the frame before, and $dy_t$ at the places. A letter can stand at several places (every second one is the
# blank), so add them up: `np.add.at` (lesson 02). And the first frame has no step: what does $dy_0$ get? The last part is
# `softmax_backward(dy, softmax_cache)`, which you wrote in lesson 06.
#
# @hint A nudge
# In the forward, keep the cache of every step. In the backward, go from the last frame to the first.
# @hint On paper
# $p$ is the sum of the last two entries of $\alpha_{T-1}$, so $d\alpha_{T-1}$ is $-1/p$ at these two, and 0 elsewhere. In the
# first frame, $\alpha_0(s) = y_0(s)$ at the places 0 and 1. So $dy_0$ is $d\alpha_0$ at these two.
# @hint Almost code, backward
# ```python
# dalpha = np.zeros(len(places))
# dalpha[-2:] = -dloss / p
# dy = np.zeros_like(y)                                 # (T, V)
# for t in range(len(y) - 1, 0, -1):
#     dalpha, dplaces = ctc_step_backward(dalpha, caches[t - 1])
#     np.add.at(dy[t], places, dplaces)
# np.add.at(dy[0], …, …)
# return softmax_backward(…)
# ```
# @hint The closed form
# The product $-\alpha_t(s)\, d\alpha_t(s) = \gamma_t(s)$ is the probability that the path is at place $s$ in frame $t$,
# given the text. These sum to 1 in each frame. The backward of softmax is $dz = y\,(dy - \sum_k y_k\, dy_k)$, and this sum is -1. So
# $dz_t(k) = y_t(k) - \sum_{s:\, \text{place } s \text{ is } k} \gamma_t(s)$: what the model says, minus what the paths of the
# right text say. It is the gradient of lesson 02 again, probability minus target, with soft targets that CTC has found by
# itself.
# @end


# %% exercise="ctc_loss"
def my_ctc_loss(logits, labels):
    """-ln p(labels) for one sound.

    Parameters
    ----------
    logits : array (T, V)
        Column 0 is the blank.
    labels : int array (S,)

    Returns
    -------
    loss : float
    cache
    """
    # --- solution
    places, skip = np.zeros(2 * len(labels) + 1, int), np.zeros(2 * len(labels) + 1)
    places[1::2] = labels
    skip[3::2] = labels[1:] != labels[:-1]
    y, softmax_cache = softmax(logits)  # (T, V)
    alpha = np.zeros(len(places))
    alpha[:2] = y[0, places[:2]]
    caches = []
    for t in range(1, len(y)):
        alpha, cache = ctc_step(alpha, y[t, places], skip)
        caches.append(cache)
    p = alpha[-1] + alpha[-2]
    return float(-np.log(p)), (softmax_cache, y, places, p, caches)
    # --- end


def my_ctc_loss_backward(dloss, cache):
    """dloss (a number) -> dlogits (T, V)."""
    # --- solution
    softmax_cache, y, places, p, caches = cache
    dalpha = np.zeros(len(places))
    dalpha[-2:] = -dloss / p
    dy = np.zeros_like(y)  # (T, V)
    for t in range(len(y) - 1, 0, -1):
        dalpha, dplaces = ctc_step_backward(dalpha, caches[t - 1])
        np.add.at(dy[t], places, dplaces)
    np.add.at(dy[0], places[:2], dalpha[:2])
    return softmax_backward(dy, softmax_cache)
    # --- end


# %%
ctc_loss, ctc_loss_backward = check("ctc_loss", my_ctc_loss, my_ctc_loss_backward)

# %% [markdown]
# If you simplify the whole walk on paper (the last hint above shows it), one line remains: $dz_t(k) = y_t(k) - \gamma_t(k)$.
# Here $\gamma_t(k)$ is the probability of letter $k$ in frame $t$, if we know that the text is right. So $\gamma$ plays the
# part of the target, and it is a *soft* one: it can be between 0 and 1.
#
# Look at the soft targets. A sound of 40 frames, a model that knows nothing, and the text `abba`: the first picture shows
# $\gamma$ at the start (bright is 1). After some steps of gradient descent *on the logits alone*, without any model, the
# paths have agreed.

# %%
labels, z = np.array([1, 2, 2, 1]), 0.1 * rng.standard_normal((40, 3))
fig, all_axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
for axes, steps in zip(all_axes, (0, 10, 300), strict=True):
    for _ in range(steps):
        z -= ctc_loss_backward(1.0, ctc_loss(z, labels)[1])
    loss, cache = ctc_loss(z, labels)
    gamma = softmax(z)[0] - ctc_loss_backward(1.0, cache)  # Σ γ for each letter, (T, V)
    axes.imshow(gamma.T, aspect="auto", vmin=0, vmax=1)
    axes.set_yticks(range(3), names)
    axes.grid(False)
    axes.set(xlabel="frame", title=f"{steps} more steps: loss {loss:.3f}")
plt.show()
print("the best path:", "".join(names[k] for k in z.argmax(axis=1)))

# %% [markdown]
# Nobody told it where the letters are. After ten steps the blank has most of the frames at both ends, because it can stand
# almost everywhere. Then one arrangement wins.
#
# `numpylm.nn.ctc.ctc_loss` computes the same for a batch, with logarithms: for a long sound, $p$ is smaller than the
# smallest number that a computer can hold.
#
# ## 7 Train a recognizer
#
# `SpeechCTC` puts it together: two convolutions (yours), positions, two encoder blocks, and a linear layer. It learns 800
# spoken numbers in 64 voices, letter by letter. We test it on 100 numbers in 16 **other** voices. The next cell takes about ten
# seconds.

# %%
train, held_out = list(spoken_numbers(800)), list(spoken_numbers(100, held_out=True))
characters = sorted({c for _, text in train for c in text})
V = len(characters) + 1  # with the blank
print(f"V = {V}: blank and {''.join(characters)!r}; the first text: {train[0][1]!r}")


def features(sounds):
    """Spectrograms (M, T) and texts as ids, the shortest sound first."""
    sounds = sorted(sounds, key=lambda pair: len(pair[0]))
    return [log_mel(sound, M) for sound, _ in sounds], [[1 + characters.index(c) for c in text] for _, text in sounds]


def padded(mels, ids, fill=-100):
    """Arrays (B, M, T), (B, S), and the lengths of the sounds."""
    lengths = np.array([mel.shape[1] for mel in mels])
    x, targets = np.full((len(mels), M, lengths.max()), -1.0, np.float32), np.full((len(ids), max(map(len, ids))), fill)
    for n, (mel, row) in enumerate(zip(mels, ids, strict=True)):
        x[n, :, : mel.shape[1]], targets[n, : len(row)] = mel, row
    return x, targets, lengths


train_mels, train_ids = features(train)
test_mels, test_ids = features(held_out)


def as_text(ids):
    """Ids as letters."""
    return "".join(characters[k - 1] for k in ids if k > 0)


test_texts = [as_text(row) for row in test_ids]

# %% [markdown]
# Reading a text from the logits is now easy: take the best letter of each frame, and collapse. This is **greedy decoding**.
# We count errors in words: the **word error rate** is the number of words to change, insert or remove, divided by the number
# of words that were said. **The next cell trains for about twenty seconds.**


# %%
def hear(model, mels):
    """Greedy decoding, one sound at a time."""
    return [as_text(collapse(model.forward(mel[None])[0][0].argmax(axis=-1).tolist())) for mel in mels]


def train_on(model, step_on, steps, lr, report):
    """AdamW on batches of 8 sounds of similar length; ``report(model)`` every 100 steps."""
    optimizer, draw, curve = AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98)), np.random.default_rng(1), []
    for step in tqdm(range(steps), leave=False):
        first = draw.integers(len(train_mels) - 8)
        model.zero_grad()
        step_on(model, train_mels[first : first + 8], train_ids[first : first + 8])
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step(warmup_cosine(step, 50, steps, lr, lr / 50))
        if step % 100 == 99:
            curve.append(report(model))
    return curve


def ctc_report(model):
    """What it hears in one sound, and the word error rate."""
    heard = hear(model, test_mels)
    return heard[70], wer(heard, test_texts).rate


config = SpeechCTCConfig(V, 150, n_layer=2, n_head=4, n_embd=64, n_mels=M, activation="gelu_new")
model = swap(SpeechCTC(config, np.random.default_rng(0)), Conv1d=Conv1d)
ctc_curve = train_on(model, lambda m, mels, ids: m.loss_and_grad(*padded(mels, ids)), 1000, 3e-3, ctc_report)
print(f"said:       {test_texts[70]}")
for n, (text, rate) in enumerate(ctc_curve):
    print(f"step {100 * n + 100:4}   {text:32} word error rate of all: {rate:.0%}")

# %% [markdown]
# It understands voices that it has never heard. Look at how it learned: first blanks and a few letters, then words with
# mistakes. Nobody has told it how a letter sounds, or when it is said. Now look at the probabilities in each frame:

# %%
sound, text = held_out[2]
logits = model.forward(log_mel(sound, M)[None])[0][0]  # (T', V)
p, _ = softmax(logits)
fig, (above, below) = plt.subplots(2, 1, figsize=(8, 4.4), sharex=True)
above.imshow(log_mel(sound, M), aspect="auto", origin="lower", extent=(0, len(sound) / RATE, 0, M))
above.set(ylabel="mel band", title=f"said: {text}; heard: {hear(model, [log_mel(sound, M)])[0]}")
above.grid(False)
seconds = np.arange(len(p)) * 0.02
below.plot(seconds, p[:, 0], color="#808080", linewidth=0.8, label="blank")
for k in range(1, V):
    if characters[k - 1] != " " and p[:, k].max() > 0.3:
        below.plot(seconds, p[:, k])
for frame in np.flatnonzero(np.diff(p.argmax(axis=1), prepend=0)):
    if (k := p[frame].argmax()) > 0:
        below.text(seconds[frame], 1.04, characters[k - 1].replace(" ", "␣"), ha="center")
below.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.15))
below.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# The output of CTC is a row of **spikes**, with blanks (gray) between them. The letter of each spike stands above it. (␣ is
# the space between two words.) A letter has a few frames, often not where it is spoken, but where the model is sure. The
# spikes say *what* was said, and only roughly *when*.
#
# The best path need not be the best text. With two frames, and 0.6 for the blank and 0.4 for `a` in both, the best path is
# `--` (0.36). But the text `a` has the paths `aa`, `a-` and `-a`, together 0.64. After training, one path has nearly
# all of the probability, and the difference is small. `prefix_beam_search` in `numpylm.inference` adds the paths up.
#
# ## 8 Whisper's way
#
# CTC has one weakness. Given the sound, the letters of two frames are **independent**: frame 30 does not know what frame 20
# has written. So it writes *sevene* or *eigt* where it is not sure. **Whisper** (Radford et al. 2022) has the same ear and
# the same encoder. Then a decoder writes the text letter by letter, and at each letter it looks at the sound by cross-attention, as
# the translator of lesson 15 looks at the source sentence. It needs no blank and no sum over paths: the loss is the
# cross-entropy of each next letter. Let us train it for as many steps as CTC. **This takes about forty seconds.**

# %%
END, START = 0, len(characters) + 1  # the decoder's texts begin with START, and end with END


def whisper_step(model, mels, ids):
    """One batch: the decoder reads START and the text, and must write the text and END."""
    x, targets, _ = padded(mels, [[*row, END] for row in ids])
    reads = padded(mels, [[START, *row] for row in ids], END)[1]
    return model.loss_and_grad(x, reads, targets)


def whisper_hears(model, mel):
    """Greedy writing: the best next letter, until END."""
    ids = beam_search(model, model.new_past(mel[None], 31), START, END, 30, 1)[0].ids
    return as_text(k for k in ids if k != START)


def whisper_report(model):
    """What it hears in one sound, and the word error rate of every third sound."""
    heard = [whisper_hears(model, mel) for mel in test_mels[::3]]
    return whisper_hears(model, test_mels[70]), wer(heard, test_texts[::3]).rate


options = {"n_layer": 2, "n_head": 4, "n_embd": 64, "n_mels": M, "activation": "gelu_new"}
whisper = Whisper(WhisperConfig(V + 1, 40, audio_positions=150, start_id=START, **options), np.random.default_rng(0))
whisper = swap(whisper, Conv1d=Conv1d)
whisper_curve = train_on(whisper, whisper_step, 1000, 2e-3, whisper_report)
print(f"said:       {test_texts[70]}")
for n, (text, rate) in enumerate(whisper_curve):
    print(f"step {100 * n + 100:4}   {text:32} word error rate: {rate:.0%}")

# %%
fig, axes = plt.subplots(figsize=(6, 2.8))
for name, curve in (("CTC", ctc_curve), ("Whisper's way", whisper_curve)):
    axes.plot(100 * np.arange(1, len(curve) + 1), [rate for _, rate in curve], label=name)
axes.set(xlabel="step", ylabel="word error rate", ylim=(0, None))
axes.legend()
plt.show()
print(f"CTC: {model.num_parameters():,} parameters, Whisper's way: {whisper.num_parameters():,}")

# %% [markdown]
# Compare the first lines of the two tables. CTC begins with blanks and single letters, and misspells for a long time.
# Whisper's decoder begins with *words*: it learns how words are spelled before it can hear which ones were said, and it
# invents numbers. A large Whisper does the same in noise: it writes fluent sentences that nobody said. The plot shows that
# here, with few sounds, CTC learns faster, with less than half of the parameters. At the end both are close.
#
# ## 9 The real thing
#
# - `numpylm train --task speech` trains both models with more sounds, longer, and with changed copies of them (other speeds,
#   voices, noise), so that they understand people, too: `docs/results.md` has the figures. `--data` takes your recordings.
# - `numpylm transcribe` writes down a file or what a microphone hears, with these models or with a published Whisper.
# - `docs/speech.md` tells the rest.
#
# ## What you can do now
#
# - read a log-mel spectrogram, and compute it;
# - write a convolution and its gradient as windows and a linear layer;
# - add up all alignments of a text with a sound, and differentiate through the sum;
# - say in what CTC and Whisper differ, and which mistakes each makes.
#
# ## 小结
#
# 声音是一长串数字，文字是一短串字母，没有人标出哪一段对应哪个字母。先用傅里叶变换、梅尔滤波器和对数把声音变成图像；卷积就是对每个窗口用同一个线性层，
# 窗口重叠，所以梯度要相加。CTC 让每一帧写一个字母或空白，合并重复、去掉空白就得到文本。文本的概率是所有路径之和，用递推 α 求和，不必一一列出。
# 损失对 logits 的梯度是 y - γ：模型的概率减去正确路径的概率，与第 2 课的 p - y 一样。Whisper 用解码器逐字写出文本，靠交叉注意力看声音；
# 它会编造通顺的话，CTC 则会拼错字。
#
# ## Three questions
#
# @answer Why does CTC need the blank? Merging alone would also make a short text from a long path.
# Without the blank, *three* could never be written: the two letters *e* would always be merged. And in silence, the model
# would have to go on with the last letter.
# @answer A sound has 4 frames after the convolutions. Can CTC write `three` for it?
# No. The text has 5 letters and needs a blank between the two *e*, so at least 6 frames. No path exists, p = 0, and the loss
# is infinite. `numpylm train` leaves such sounds out and says so.
# @answer Why is the gradient of `windows` a sum, and that of the choice of columns `y[:, places]` as well?
# In both, one number is used several times: a position is in several windows, and the blank's probability stands at
# several places. What is used several times gets the sum of the gradients of all its uses. This was so in lesson 02 with
# the rows of W, and in lesson 07 with the rows of the embedding.
# @end
