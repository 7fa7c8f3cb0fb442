"""What a training writes on its way. A full disk or a picture that fails does not end it: the steps are worth more."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from numpylm.system.shell import command, shown
from numpylm.training.run_state import Run, TrainingError


@contextmanager
def optional(run: Run, what: str) -> Iterator[None]:
    """Training goes on after any error inside; the first one of each ``what`` is printed."""
    try:
        yield
    except Exception as error:
        if what not in run.failed:
            tqdm.write(f"note: {what} could not be made ({type(error).__name__}: {error}); training goes on")
        run.failed.add(what)


def save_or_say(run: Run) -> None:
    """Save; if that fails, say which step is on disk."""
    try:
        save(run)
    except OSError as error:
        tqdm.write(f"{_not_saved(run, error)} Training goes on; the next evaluation saves again.")


def save_at_end(run: Run) -> None:
    """Save what is not on disk yet. Raises TrainingError if that fails: steps will be lost."""
    try:
        if run.saved != (run.step, run.evaluated):
            save(run)
    except OSError as error:
        resume = command("numpylm", "train", "--resume", run.folder)
        raise TrainingError(f"{_not_saved(run, error)} Make room, then go on from there: {resume}") from None
    if run.behind:
        with optional(run, "metrics.jsonl"):
            run.write_metrics()


def _not_saved(run: Run, error: OSError) -> str:
    return f"step {run.step} could not be saved ({error}); {shown(run.folder)} still holds step {run.saved[0]}."


def save(run: Run) -> None:
    """Write best.npz, if the evaluation of this step was the best one, and last.npz.

    ``run.best`` is always the loss of the best.npz on disk: where that cannot be written, last.npz is left as it was,
    so that a resumed run comes to this evaluation again.
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
