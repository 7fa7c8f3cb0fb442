# %% [markdown]
# # 18 · Chat: from a completer to an assistant
#
# A language model continues texts. An assistant answers. Between the two lie three steps, and each is small: examples of
# questions with answers, a loss on the answers alone, and then pairs of answers of which people prefer one. In this
# lesson you take the storyteller, which only continues stories, and make an assistant of it that tells what it is asked
# for. You also write LoRA, with which large models are fine-tuned on small machines.
#
# **You need:** lessons 02, 04 and 09. **Time:** about an hour and a half.
# **You will write:** the targets of an answer, `LoRALinear`, and the loss of DPO with its gradient.

# %%
import re
import textwrap

import numpy as np
from tqdm import tqdm

from numpylm import AdamW, Linear, Parameter, clip_grad_norm, warmup_cosine
from numpylm.course import check, stories, storyteller, style
from numpylm.nn.preference import answer_log_prob, answer_log_prob_backward

plt = style()
rng = np.random.default_rng(0)
gpt, tokenizer = storyteller()
END, T = tokenizer.end_id, gpt.config.block_size

# %% [markdown]
# ## 1 A completer does not answer
#
# Ask the storyteller something, and it continues in its own way:


# %%
def answer(model, question, length=90):
    """What the model writes after a question, and whether it ends by itself."""
    ids = [END, *tokenizer.encode(f"User: {question}\nAssistant:")]
    written = list(model.generate(ids, length, temperature=0, stop_ids=[END]))
    return tokenizer.decode([i for i in written if i != END]).strip(), written[-1:] == [END]


text, ended = answer(gpt, "Tell me about Pip the otter.")
print(textwrap.fill(text, 100))
print("it ended by itself" if ended else "it did not end by itself")

# %% [markdown]
# It has never seen a question. So we make examples: each has an instruction and an answer. The answers are the first
# sentences of bundled stories. In those, each animal has a fixed name: the otter is always Otto. We give every animal a
# random name instead. So the model cannot know the answer by heart. It has to *read the question*. (The next cell finds
# animals and names with a regular expression. You need not understand its details.)

# %%
FIRST = re.compile(
    r"^[^.]*?\b(?P<a>\w+) (?:whose name was|called|named) (?P<n>\w+)|"
    r"^Long ago, a \w+ (?P<a2>\w+) made a home [^.]*\. (?:Her|His) name was (?P<n2>\w+)\."
)


def sentences(text):
    """A text cut into sentences."""
    return re.split(r'(?<=[.!?"])\s', text)


found = []  # (animal, name, the first three sentences)
for story in stories(1_500_000):
    if match := FIRST.match(story):
        beginning = " ".join(sentences(story)[:3])
        if len(beginning) < 260:
            found.append((match["a"] or match["a2"], match["n"] or match["n2"], beginning))
names = sorted({name for _, name, _ in found})
examples = []  # (question, answer, name, animal)
for place in rng.permutation(len(found)):
    animal, old, text = found[place]
    name = str(rng.choice(names))
    examples.append((f"Tell me about {name} the {animal}.", re.sub(rf"\b{old}\b", name, text), name, animal))
held_out, train = examples[:40], examples[40:]
print(f"{len(train):,} examples to train on, {len(held_out)} held out; the first:")
print(train[0][0], "→")
print(textwrap.fill(train[0][1], 100))

# %% [markdown]
# ## 2 The loss counts the answers alone
#
# The model reads question and answer as one text. But it must not learn to *ask*. So the targets of the question are
# -100, which the loss does not count. The end token after the answer is counted: this is how the model learns to stop.
#
# ### Exercise: `answer_targets`
#
# The text is the question's ids, then the answer's ids, then the end token. The model reads all but the last id. At each
# position, the target is the next id, if that belongs to the answer or is the end.
#
# @hint A nudge
# Write a small example: question `[5, 6, 7]`, answer `[8, 9]`, end 0. The model reads `[5, 6, 7, 8, 9]`. After 7, it must
# write 8. So the targets are `[-100, -100, 8, 9, 0]`.
# @hint Almost code
# ```python
# ids = [*question, *answer, end]
# targets = [-100] * (len(question) - 1) + …
# return np.array(ids[:-1]), np.array(targets)
# ```
# @end


# %% exercise="answer_targets"
def my_answer_targets(question, answer, end):
    """What the model reads, and what it must write.

    Parameters
    ----------
    question, answer : list of int
        Neither is empty.
    end : int
        The id that ends an answer.

    Returns
    -------
    ids : int array (T,)
    targets : int array (T,)
        The next id where it belongs to the answer, -100 elsewhere. T = len(question) + len(answer).
    """
    # --- solution
    ids = [*question, *answer, end]
    targets = [-100] * (len(question) - 1) + [*answer, end]
    return np.array(ids[:-1]), np.array(targets)
    # --- end


# %%
answer_targets = check("answer_targets", my_answer_targets)


# %%
def row(question, text):
    """Ids and targets of one example."""
    return answer_targets([END, *tokenizer.encode(f"User: {question}\nAssistant:")], tokenizer.encode(" " + text), END)


def batch_of(rows):
    """Rows of different lengths as arrays (B, T). What fills them up is not counted, and stands after everything else."""
    longest = max(len(ids) for ids, _ in rows)
    ids, targets = np.full((len(rows), longest), END), np.full((len(rows), longest), -100)
    for i, (x, y) in enumerate(rows):
        ids[i, : len(x)], targets[i, : len(y)] = x, y
    return ids, targets


# %% [markdown]
# ## 3 LoRA: a small change of a large matrix
#
# We could train all weights. For a model of billions this needs a lot of memory: a gradient and Adam's two running means
# for each weight. **LoRA** (Hu et al. 2021, arXiv:2106.09685) leaves the weights $W$ (in, out) alone and learns only a change
# of them, $A B$, a product of two thin matrices. With a small rank $r$, $A$ is (in, r) and $B$ is (r, out):
#
# $$y = x W + b + s\,(x A)\,B$$
#
# For in = out = 4096 and r = 8, these are 65,536 numbers instead of 16.8 million. The scale $s$ is a constant. $B$ begins
# with zeros, so at first nothing changes. $A$ begins with random numbers. If both were zero, neither would ever get a
# gradient: you will see why in your backward.
#
# ### Exercise: `LoRALinear`
#
# Write forward and backward. $W$ and $b$ are frozen, so they get no gradient, but $x$ does. Split the new branch into $u =
# x A$ and $s\, u B$, and go back through it step by step.
#
# @hint A nudge
# The new branch is two linear layers without bias, one after the other, and you know their gradients from lesson 04. And
# $x$ is used twice.
# @hint On paper
# $dB = s\, u^T dy$, $\;du = s\, dy\, B^T$, $\;dA = x^T du$, $\;dx = dy\, W^T + du\, A^T$
# @hint Shapes
# For the products, turn all axes but the last into rows: `x.reshape(-1, x.shape[-1])`.
# @hint Almost code
# ```python
# x, u = cache
# x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
# self.lora_B.grad += …
# du = …
# self.lora_A.grad += …
# return (dy_rows @ self.weight.data.T + …).reshape(x.shape)
# ```
# @end


# %% exercise="LoRALinear"
class MyLoRALinear(Linear):
    """A frozen Linear (weight, bias) and a trained change of it: y = x W + b + s (x A) B."""

    def __init__(self, linear, rank, scale=2.0, *, rng=None):
        rng = rng or np.random.default_rng()
        n_in, n_out = linear.weight.shape
        self.weight, self.bias, self.scale = linear.weight, linear.bias, scale
        for parameter in linear.parameters():
            parameter.frozen = True
        dtype = linear.weight.dtype
        self.lora_A = Parameter((rng.standard_normal((n_in, rank)) / np.sqrt(n_in)).astype(dtype))
        self.lora_B = Parameter(np.zeros((rank, n_out), dtype))

    def forward(self, x):
        """x (..., in) -> y (..., out)."""
        # --- solution
        u = x.reshape(-1, x.shape[-1]) @ self.lora_A.data  # (N, r)
        y = x @ self.weight.data + (self.scale * u @ self.lora_B.data).reshape(*x.shape[:-1], -1)
        if self.bias is not None:
            y = y + self.bias.data
        return y, (x, u)
        # --- end

    def backward(self, dy, cache):
        """dy (..., out) -> dx (..., in); adds to lora_A.grad and lora_B.grad."""
        # --- solution
        x, u = cache
        x_rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        self.lora_B.grad += self.scale * u.T @ dy_rows  # (r, out)
        du = self.scale * dy_rows @ self.lora_B.data.T  # (N, r)
        self.lora_A.grad += x_rows.T @ du  # (in, r)
        return (dy_rows @ self.weight.data.T + du @ self.lora_A.data.T).reshape(x.shape)
        # --- end


# %%
LoRALinear = check("LoRALinear", MyLoRALinear)

# %% [markdown]
# ## 4 Instruction tuning
#
# Put your LoRA beside every linear layer of the blocks, freeze all the rest, and train. **This takes about twenty seconds.**

# %%
for parameter in gpt.parameters():
    parameter.frozen = True
for block in gpt.h:
    for part, linear_names in ((block.attn, ("c_attn", "c_proj")), (block.mlp, ("c_fc", "c_proj"))):
        for name in linear_names:
            setattr(part, name, LoRALinear(getattr(part, name), 8, rng=rng))
trained = [p for p in gpt.parameters() if not p.frozen]
print(f"{sum(p.size for p in trained):,} of {gpt.num_parameters():,} numbers are trained")


def judge(model):
    """Shares of held-out questions: the right name and animal, and an end. And the mean number of words."""
    right, ended, words = [], [], []
    for question, _, name, animal in held_out:
        text, stopped = answer(model, question)
        right.append(name in text and animal in text)
        ended.append(stopped)
        words.append(len(text.split()))
    return f"right name and animal {np.mean(right):4.0%}, ends {np.mean(ended):4.0%}, {np.mean(words):4.1f} words"


print("before:", judge(gpt))
rows = [row(question, text) for question, text, _, _ in train]
optimizer, STEPS = AdamW(trained, lr=5e-3), 200
for step in tqdm(range(STEPS), leave=False):
    ids, targets = batch_of([rows[i] for i in rng.integers(len(rows), size=16)])
    gpt.zero_grad()
    gpt.loss_and_grad(ids, targets)
    clip_grad_norm(trained, 1.0)
    optimizer.step(warmup_cosine(step, 20, STEPS, 5e-3, 1e-4))
print("after: ", judge(gpt))
print(textwrap.fill(answer(gpt, "Tell me about Pip the otter.")[0], 100))

# %% [markdown]
# It answers, with the name that you ask for, and stops. The stories were in the model before. What it has learned from
# these examples is what a question is.
#
# ## 5 Preferences
#
# Now suppose that people like short answers. We could write short examples and train again. But often it is easier to say
# which of two answers is *better* than to write a good one. DPO (Rafailov et al. 2023, arXiv:2305.18290) learns from such
# pairs. Let $\pi(y)$ be the probability that the model gives to a whole answer $y$, after its question, and $\pi_\text{ref}$ that
# of a copy of the model from before this training, which is called the **reference**. For the chosen answer $y_w$ ("win")
# and the rejected one $y_l$ ("lose"), look at how much more likely each has become:
#
# $$h = \beta \left[ \log \frac{\pi(y_w)}{\pi_\text{ref}(y_w)} - \log \frac{\pi(y_l)}{\pi_\text{ref}(y_l)} \right], \qquad L = -\log \sigma(h)$$
#
# (equation 7.) Here $\sigma(h) = 1/(1 + e^{-h})$, the logistic function, and $\beta$ is a constant. At the start both models
# are equal, $h = 0$, and $L = \log 2$. The loss falls when $h$ grows: when the chosen answer gains more than the rejected
# one. With a large $\beta$, a small move away from the reference is enough for a low loss.
#
# ### Exercise: `dpo_loss`
#
# The inputs are the log-probabilities of whole answers, for P pairs. The loss is the mean over the pairs. Derive the
# gradients with respect to $\log \pi(y_w)$ and $\log \pi(y_l)$. What is the derivative of $-\log \sigma(h)$? You need
# $\sigma' = \sigma\,(1 - \sigma)$, which lesson 14 derives, and $1 - \sigma(h) = \sigma(-h)$.
#
# @hint A nudge
# $\frac{d}{dh} \big(-\log \sigma(h)\big) = -\frac{\sigma'(h)}{\sigma(h)} = -\sigma(-h)$. And $h$ depends on $\log \pi(y_w)$ with the factor $\beta$, on $\log \pi(y_l)$ with $-\beta$. The mean gives a factor $1/P$.
# @hint Beware
# `np.exp(-h)` overflows for a large negative h. $-\log \sigma(h) = \log(1 + e^{-h})$ is `np.logaddexp(0, -h)`, and $\sigma(-h) = e^{-\log(1 + e^{h})}$.
# @hint Almost code
# ```python
# h = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
# loss = np.logaddexp(0, -h).mean()
# dh = -np.exp(-np.logaddexp(0, h)) / len(h)
# return loss, …, …
# ```
# @end


# %% exercise="dpo_loss"
def my_dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    """The mean loss of P pairs, and its gradients.

    Parameters
    ----------
    chosen, rejected : array (P,)
        log π of the answers.
    ref_chosen, ref_rejected : array (P,)
        log π_ref of the same answers; constants.
    beta : float

    Returns
    -------
    loss : float
        Nats per pair.
    dchosen, drejected : array (P,)
    """
    # --- solution
    h = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))  # (P,)
    loss = float(np.logaddexp(0, -h).mean())
    dh = -np.exp(-np.logaddexp(0, h)) / len(h)
    return loss, beta * dh, -beta * dh
    # --- end


# %%
dpo_loss = check("dpo_loss", my_dpo_loss)

# %% [markdown]
# Read the gradient. The chosen answer is made more likely, and the rejected one less, by the same amount. The factor
# $\sigma(-h)$ is near 1 for a pair that is still in the wrong order, and near 0 for one that is far apart already.
#
# Our pairs: the chosen answer is the first sentence (or two, if the name stands in the second), and the rejected one is the
# whole. **The next cell takes about ten seconds.** It trains twice from the same weights: 30 steps with $\beta = 0.5$,
# and 60 steps with $\beta = 0.1$.


# %%
def first_sentences(text):
    """The sentences up to the one with the name."""
    return " ".join(sentences(text)[: 2 if text.startswith("Long ago") else 1])


def arrays(some):
    """Pairs as ids and targets, (2 P, T): the chosen answers first."""
    return batch_of([row(q, first_sentences(t)) for q, t, _, _ in some] + [row(q, t) for q, t, _, _ in some])


def log_probs(some):
    """The log-probabilities of all answers, and what the backward needs."""
    ids, targets = arrays(some)
    logits, model_cache = gpt.forward(ids)
    sums, sums_cache = answer_log_prob(logits, targets)  # (2 P,)
    return sums, (model_cache, sums_cache)


pairs = train[:300]
reference = np.concatenate([log_probs(pairs[i : i + 30])[0].reshape(2, -1) for i in range(0, 300, 30)], axis=1)
before = [p.data.copy() for p in trained]
print("before:             ", judge(gpt))
for beta, steps, lr in ((0.5, 30, 2e-4), (0.1, 60, 3e-4)):
    for p, value in zip(trained, before, strict=True):
        p.data = value.copy()
    optimizer, draw = AdamW(trained, lr=lr), np.random.default_rng(1)
    for step in range(steps):
        chosen = draw.choice(len(pairs), 8, replace=False)
        sums, (model_cache, sums_cache) = log_probs([pairs[i] for i in chosen])
        loss, dchosen, drejected = dpo_loss(sums[:8], sums[8:], reference[0, chosen], reference[1, chosen], beta)
        gpt.zero_grad()
        gpt.backward(answer_log_prob_backward(np.concatenate([dchosen, drejected]), sums_cache), model_cache)
        clip_grad_norm(trained, 1.0)
        optimizer.step(warmup_cosine(step, 10, steps, lr, lr / 10))
    print(f"β = {beta}, {steps} steps:  ", judge(gpt), f"  (loss {loss:.3f})")
    text, _ = answer(gpt, "Tell me about Pip the otter.")
    print(textwrap.indent(textwrap.fill(text, 96), "    "))

# %% [markdown]
# The first run does what we wanted: on average the answers are much shorter, and they are still right. (Not every single
# one is shorter: look at the otter's.) The second run ends with about the same low loss, so it has the order of nearly all
# pairs right. But its answers are *useless*: they stop before the name. Nothing in the loss says what a good answer is. It
# only compares. So a model can lower the loss by making both answers unlikely, the rejected one more, and it drifts away
# from what it could do. A larger $\beta$ and fewer steps keep it near the reference. And you should always look at the
# answers, and never at the loss alone.
#
# ## 6 The real thing
#
# - `numpylm train --task chat` does this with conversations of several turns, on bundled ones or on yours, with LoRA if you
#   like. `--task preference` is DPO. `docs/chat.md` explains both.
# - `numpylm chat SmolLM2-135M-Instruct.Q4_1.gguf` talks with a published assistant that was made in these steps, and
#   `numpylm serve` gives it a page in your browser.
#
# ## What you can do now
#
# - make an assistant from a completer, and say what it learns from the examples;
# - count the loss on answers alone, with their end;
# - derive and write LoRA and DPO;
# - say how preference tuning goes wrong, and how to notice it.
#
# ## 小结
#
# 语言模型只会接着写；助手会回答。第一步是用问答的例子训练，损失只计算回答（包括结束标记，否则它不会停）。LoRA 冻结原来的矩阵，
# 只学一个低秩的改变 (xA)B。DPO 从“两个回答哪个更好”中学习，梯度的系数是 σ(-h)：次序还错的一对才算得多。损失很低不等于回答很好：
# 离参考模型太远，它会忘掉原来会的东西。所以要看回答，不能只看损失。
#
# ## Three questions
#
# @answer The end token is left out of the targets. What happens?
# The model never learns to stop. It goes on after the answer, and often asks itself the next question.
# @answer LoRA with rank 8 trains a few percent of the numbers. Why does the step not take a few percent of the time?
# The forward is as large as before, and the gradient still has to pass through all layers to reach the lowest LoRA. Only
# the products that give dW are saved, about a third of the work. What is small is the memory of gradients and of Adam.
# @answer Why does DPO need the reference model?
# Without it, the loss would push the chosen answer up and the rejected one down without measure. The quotient says how far
# the model has already moved from where it began. Once a pair has moved far enough, its gradient vanishes.
# @end
