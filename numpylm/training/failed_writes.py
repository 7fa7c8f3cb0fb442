"""Writes that fail during training, for example on a full disk: they are reported, and the run continues."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from numpylm.system.run_files import METRICS
from numpylm.system.shell import command, shown
from numpylm.training.run_state import Run, TrainingError


@contextmanager
def continue_after_error(run: Run, what: str) -> Iterator[None]:
    """Catch all errors inside the ``with``, so that training continues. The first error of each ``what`` is printed."""
    try:
        yield
    except Exception as error:
        if what not in run.failed:
            tqdm.write(f"note: {what} could not be made ({type(error).__name__}: {error}); training continues")
        run.failed.add(what)


def save_or_note(run: Run) -> None:
    """Save. If this fails, print which step is on disk."""
    try:
        run.save_checkpoints()
    except OSError as error:
        tqdm.write(f"{_not_saved(run, error)} Training continues; the next evaluation saves again.")


def save_at_end(run: Run) -> None:
    """Save the last steps if they are not on disk yet. Raises TrainingError if this fails, as they would be lost."""
    try:
        if run.saved != (run.step, run.evaluated):
            run.save_checkpoints()
    except OSError as error:
        resume = command("numpylm", "train", "--resume", run.folder)
        raise TrainingError(f"{_not_saved(run, error)} Make room on the disk, then resume: {resume}") from None
    if run.behind:
        with continue_after_error(run, METRICS):
            run.write_metrics()


def _not_saved(run: Run, error: OSError) -> str:
    return f"step {run.step} could not be saved ({error}); {shown(run.folder)} still holds step {run.saved[0]}."
