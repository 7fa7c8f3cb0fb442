"""What a training run of any task prints and draws: warnings, the loss curve, the end."""

import json
from contextlib import suppress

import numpy as np
from tqdm import tqdm

from numpylm.files.checkpoint import load_run
from numpylm.system.run_files import SCORES
from numpylm.system.shell import command, shown
from numpylm.system.signals import Interrupt, Interrupted
from numpylm.system.whole_files import write_text
from numpylm.training.failed_writes import continue_after_error
from numpylm.training.loss_curve import Curve, loss_curve
from numpylm.training.run_state import Run
from numpylm.training.task import Task


def warn_of_overfitting(run: Run, val_loss: float, train_loss: float) -> None:
    """Print a warning, once per run, if the validation loss rises while the training loss is far below it."""
    rising = val_loss > run.best_loss + 0.02
    if rising and train_loss < val_loss - 0.05 and not run.warned:
        run.warned = True
        tqdm.write(
            f"  overfitting: validation loss was lowest at step {run.best_step} ({run.best_loss:.4f}); the model now "
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


def draw(run: Run, task: Task) -> None:
    """Draw the loss curve as loss.svg."""

    def curve(label: str, key: str) -> Curve:
        entries = [entry for entry in run.metrics if key in entry]
        return label, [entry["step"] for entry in entries], [entry[key] for entry in entries]

    curves = [curve("training", "train_loss"), curve("validation", "val_loss")]
    write_text(
        run.folder / "loss.svg", loss_curve(f"{shown(run.folder.name)}: loss", curves, list(task.references().items()))
    )


def measure(run: Run, task: Task, interrupt: Interrupt) -> None:
    """Let the task measure its figures on the best checkpoint, and store them in the run.

    After a signal it is left out. Then ``numpylm train --resume`` of the finished run does it.
    """
    with continue_after_error(run, SCORES), suppress(Interrupted):
        interrupt.check()
        model = run.model if run.best_step == run.step else load_run(run.folder)[0]
        if scores := task.measure(model, interrupt.check):
            write_text(run.folder / SCORES, json.dumps(scores, indent=2) + "\n")


def report_end(run: Run, task: Task) -> None:
    """Print where the model is, and the commands to type next."""
    folder, c = run.folder, run.config
    name = shown(folder)
    if not run.finished:
        print(f"\nStopped at step {run.step} of {c.max_steps}; everything is saved in {name}. To continue:")
        print("    " + command("numpylm", "train", "--resume", folder))
        return
    best = f"best at step {run.best_step}: {run.best_loss:.4f} nats per {task.unit}"
    print(f"\nDone. {name} holds the model ({best}) and loss.svg.")
    if run.best_step == 0:
        print("No step was better than the untrained model: the text may be too short, or the learning rate wrong.")
    if found := task.summary(run.model):
        print(found)
    print(f"Next, {task.next_verb}:")
    for words in task.next_steps(run):
        print("    " + command(*words))
