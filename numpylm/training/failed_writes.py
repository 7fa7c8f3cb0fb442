"""Writes that fail during training, for example on a full disk: they are reported, and the run continues."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from numpylm.system.shell import command, shown
from numpylm.training.run_state import Run, TrainingError


@contextmanager
def optional(run: Run, what: str) -> Iterator[None]:
    """Catch all errors inside the ``with``, so that training continues. The first error of each ``what`` is printed."""
    try:
        yield
    except Exception as error:
        if what not in run.failed:
            tqdm.write(f"note: {what} could not be made ({type(error).__name__}: {error}); training continues")
        run.failed.add(what)


def save_or_say(run: Run) -> None:
    """Save. If this fails, print which step is on disk."""
    try:
        save(run)
    except OSError as error:
        tqdm.write(f"{_not_saved(run, error)} Training continues; the next evaluation saves again.")


def save_at_end(run: Run) -> None:
    """Save the last steps if they are not on disk yet. Raises TrainingError if this fails, as they would be lost."""
    try:
        if run.saved != (run.step, run.evaluated):
            save(run)
    except OSError as error:
        resume = command("numpylm", "train", "--resume", run.folder)
        raise TrainingError(f"{_not_saved(run, error)} Make room on the disk, then resume: {resume}") from None
    if run.behind:
        with optional(run, "metrics.jsonl"):
            run.write_metrics()


def _not_saved(run: Run, error: OSError) -> str:
    return f"step {run.step} could not be saved ({error}); {shown(run.folder)} still holds step {run.saved[0]}."


def save(run: Run) -> None:
    """Write best.npz if this step has the best evaluation so far, and last.npz.

    ``run.best`` is always the loss of the best.npz on disk. If best.npz cannot be written, last.npz is not written
    either, so that a resumed run repeats this evaluation.
    """
    before = run.best, run.best_step
    if run.evaluated == run.step and run.val_loss < run.best:
        run.best, run.best_step = run.val_loss, run.step
        try:
            run.save("best.npz")
        except OSError:
            run.best, run.best_step = before
            raise
    run.save("last.npz")
