"""What a training run prints and draws: the sizes of data and model, samples, warnings, the loss curve, the end."""

import math

import numpy as np
from tqdm import tqdm

from numpylm.inference.generate_text import readable
from numpylm.inference.generation import generate
from numpylm.inference.streaming import printable, stream_text
from numpylm.models.gpt import GPT
from numpylm.system.shell import command, shown
from numpylm.system.whole_files import write_text
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.evaluation import Score
from numpylm.training.loss_curve import Curve, loss_curve
from numpylm.training.prepare_data import Data, reference_losses
from numpylm.training.run_state import Run


def describe(run: Run, data: Data, tokenizer: Tokenizer | CharTokenizer) -> None:
    """Print the sizes of data and model, and the losses of the baselines."""
    V = tokenizer.vocab_size
    per_token = data.val_bytes / data.val_count
    windows = "windows begin " + ("anywhere" if data.starts is None else "with documents")
    print(
        f"tokens      {len(data.train):,} to train on, {len(data.val):,} to validate; {V:,} different ones, "
        f"{per_token:.2f} bytes each{'' if data.counted is None else ' in the answers'}\n            {windows}"
    )
    c = run.model.config
    print(
        f"model       {run.model.num_parameters():,} parameters: {c.n_layer} blocks, {c.n_head} heads, "
        f"{c.n_embd} channels, {c.block_size} tokens of context"
    )
    if run.config.init_from:
        trained = sum(p.size for p in run.model.trainable_parameters())
        print(f"fine-tuning {run.config.init_from}: {trained:,} numbers are trained")
    if data.counted is not None:
        print(
            f"answers     only the {int(data.counted.sum()):,} tokens after {run.config.loss_after!r} count in the loss"
        )
    print("loss        on the validation text, in nats per token (perplexity, bits per byte):")
    for name, loss in reference_losses(data, V).items():
        print(f"  {loss:7.4f}   {name}  ({math.exp(loss):,.2f}, {loss / math.log(2) / per_token:.3f})")


def warn_of_overfitting(run: Run, score: Score, train_loss: float) -> None:
    """Print a warning, once per run, if the validation loss rises while the training loss is far below it."""
    rising = score.loss > run.best + 0.02
    if rising and train_loss < score.loss - 0.05 and not run.warned:
        run.warned = True
        tqdm.write(
            f"  overfitting: validation loss was lowest at step {run.best_step} ({run.best:.4f}); the model now "
            f"memorizes its text. best.npz keeps that step; more text, --dropout 0.2 or a smaller model help"
        )


def divergence(run: Run) -> str:
    """An error message that names the first array that is not finite, and says what to do."""
    named = list(run.model.named_parameters())
    broken = [f"the parameter {name}" for name, p in named if not np.isfinite(p.data).all()]
    broken += [f"the gradient of {name}" for name, p in named if not p.frozen and not np.isfinite(p.grad).all()]
    return (
        f"training diverged at step {run.step + 1}: the loss or gradient is not finite; the first array that is "
        f"not is {broken[0] if broken else 'the loss itself'}. Try a smaller --learning-rate, more "
        f"--warmup-steps, or --grad-clip 1; {shown(run.folder)} still holds step {run.saved[0]}"
    )


def sample(gpt: GPT, tokenizer: Tokenizer | CharTokenizer, count: int, seed: int) -> str:
    """Generate the beginning of a text. The seed determines all random numbers."""
    start = tokenizer.end_id if tokenizer.end_id is not None else 0
    stop = () if tokenizer.end_id is None else (start,)
    ids = generate(gpt, [start], count, rng=np.random.default_rng(seed), stop_ids=stop)
    return printable("".join(stream_text((i for i in ids if i not in stop), readable(tokenizer))))


def draw(run: Run, data: Data, vocab_size: int) -> None:
    """Draw the loss curve as loss.svg."""
    losses = reference_losses(data, vocab_size)
    names = {"guessing, ln V": "ln V", "unigram model": "unigram", "bigram model": "bigram"}
    lines = [(short, losses[name]) for name, short in names.items() if name in losses]
    if data.floor is not None:
        lines.append(("source entropy", data.floor))

    def curve(label: str, key: str) -> Curve:
        entries = [entry for entry in run.metrics if key in entry]
        return label, [entry["step"] for entry in entries], [entry[key] for entry in entries]

    curves = [curve("training", "train_loss"), curve("validation", "val_loss")]
    write_text(run.folder / "loss.svg", loss_curve(f"{shown(run.folder.name)}: loss", curves, lines))


def report_end(run: Run, prompt: str) -> None:
    """Print where the model is, and the command to type next."""
    folder, c = run.folder, run.config
    name = shown(folder)
    if not run.finished:
        print(f"\nStopped at step {run.step} of {c.max_steps}; everything is saved in {name}. To continue:")
        print("    " + command("numpylm", "train", "--resume", folder))
        return
    print(f"\nDone. {name} holds the model (best at step {run.best_step}: {run.best:.4f} nats per token) and loss.svg.")
    print("Next, generate text:")
    print("    " + command("numpylm", "generate", folder))
    if prompt:
        print("    " + command("numpylm", "generate", folder, "--prompt", prompt, "--temperature", "0.8"))
