"""The training loop, with evaluation, checkpoints and early stopping. Read `run_training` first: it has all steps."""

import copy
import math
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from numpylm.check import selfcheck
from numpylm.nn.optim import clip_grad_norm, warmup_cosine
from numpylm.system.processor import default_workers, keep_memory
from numpylm.system.run_files import METRICS
from numpylm.system.shell import command
from numpylm.system.signals import Interrupt, Interrupted, interruptible, stoppable
from numpylm.system.streams import lasting_output
from numpylm.text.any_tokenizer import load_tokenizer
from numpylm.training.config import TrainConfig
from numpylm.training.failed_writes import continue_after_error, save_at_end, save_or_note
from numpylm.training.language_modeling import LanguageModeling
from numpylm.training.parallel import DataParallel
from numpylm.training.report_progress import divergence, draw, measure, report_end, warn_of_overfitting
from numpylm.training.run_folder import check_out, folder_to_resume, hold, reserve
from numpylm.training.run_state import (
    Mean,
    Run,
    TrainingError,
    new_run,
    read_config,
    resumed_run,
    write_resumed,
)
from numpylm.training.task import Task

FEWEST_STEPS_FOR_PROCESSES = 50  # steps; in a shorter run, starting worker processes takes longer than they save
LOG_INTERVAL = 10  # steps between lines of metrics.jsonl with the training loss


def train(
    config: TrainConfig,
    resume: str | Path | None = None,
    stop_at: int | None = None,
    processes: bool = False,
    given: Collection[str] | None = None,
    task: type[Task] = LanguageModeling,
) -> Path:
    """Train a model and return its run folder.

    Parameters
    ----------
    config : TrainConfig
    resume : path, optional
        A run folder to resume, or its ``last.npz``. ``config`` must then be the result of `resume_config`.
    stop_at : int, optional
        Stop after this many steps in total, as Ctrl-C would. The learning-rate schedule still ends at ``max_steps``.
    processes : bool
        Whether processes instead of threads share each batch (see `DataParallel`), and tokenize a long text.
        `numpylm train` uses processes.
    given : collection of str, optional
        Names of the settings to use as they are in ``config``. The others are chosen to fit the text, see
        `numpylm.training.choose_settings`. Default: all settings.
    task : class
        What to train for. ``config.task`` must be its name.

    Raises
    ------
    TrainingError
        If a gradient check fails, or the loss is no longer a number.
    ValueError, OSError
        If settings, data or files cannot be used. `InUse` if another process trains in the run folder.
    KeyboardInterrupt, SystemExit
        After Ctrl-C or another stopping signal, once everything has been saved.
    """
    with lasting_output():
        keep_memory()
        if config.task != task.name:
            raise ValueError(f"the settings are for the task {config.task}, not for {task.name}")
        if resume is None:
            check_out(config)
            task.check_paths(config)
        if config.check_gradients:
            check_gradients(task.families_of(config))
        with stoppable(), ExitStack() as held:
            return run_training(task(config), resume, stop_at, processes, given, held)


def run_training(
    task: Task,
    resume: str | Path | None,
    stop_at: int | None,
    processes: bool,
    given: Collection[str] | None,
    held: ExitStack,
) -> Path:
    """Everything that `train` does after the gradient check. The run is locked until ``held`` is closed."""
    if resume is None:
        run = start_run(task, held, processes, given)
    else:
        run = continue_run(task, folder_to_resume(resume), held, processes)
    with continue_after_error(run, "description of the data"):
        task.describe(run)
    with interruptible() as interrupt:
        training_loop(run, task, interrupt, stop_at, processes)
        if run.finished:
            measure(run, task, interrupt)
        report_end(run, task)
    interrupt.stop()
    return run.folder


# ------------------------------------------------------------------------------------------ preparation


def check_gradients(families: Sequence[str] = ("gpt",)) -> None:
    """Check the gradients of every layer that the models of ``families`` use. Raise TrainingError if one is wrong."""
    start = time.perf_counter()
    reports = list(tqdm(selfcheck.run(families=families), "checking gradients", unit=" layers", leave=False))
    if not all(report.ok for report in reports):
        raise TrainingError(
            f"a gradient check failed, so training would not mean anything:\n{selfcheck.summary(reports)}"
        )
    rows = sum(len(report.rows) for report in reports)
    worst = max(row.max_rel_error for report in reports for row in report.rows)
    print(
        f"gradients   {len(reports)} layers and {rows} arrays checked in {time.perf_counter() - start:.1f} s: "
        f"all correct, largest relative error {worst:.0e}"
    )


def start_run(task: Task, held: ExitStack, processes: bool = False, given: Collection[str] | None = None) -> Run:
    """Start a new run, in a folder that is locked until ``held`` is closed.

    The name of the folder is reserved first, so that an error for a name in use comes at once. The folder is created
    last, so that no folder is left after an error.
    """
    with ExitStack() as reserved:
        folder = reserve(task.config, reserved)
        model = task.start(given)
        task.encode(folder.parent, processes)
        run = new_run(task.config, folder, model, task.tokenizer, task.fingerprint(), task.save)
        held.enter_context(hold(folder))
    return run


def continue_run(task: Task, folder: Path, held: ExitStack, processes: bool = False) -> Run:
    """Resume the run of a folder, which is locked until ``held`` is closed. The data is checked before any write."""
    read_config(folder)  # raises an error before a folder that is not a run gets a lock file
    held.enter_context(hold(folder))
    tokenizer = load_tokenizer(folder)
    run = resumed_run(task.config, folder)
    task.resume(tokenizer, run.model)
    task.encode(folder, processes)
    run.check_data(task.fingerprint())
    write_resumed(run)
    return run


# ------------------------------------------------------------------------------------------- training


def training_loop(run: Run, task: Task, interrupt: Interrupt, stop_at: int | None, processes: bool) -> None:
    """Run the optimizer steps, with evaluations and checkpoints in between."""
    c = run.config
    last = c.max_steps if stop_at is None else min(stop_at, c.max_steps)
    long_enough = last - run.step >= FEWEST_STEPS_FOR_PROCESSES
    count = default_workers() if c.batch_tokens else min(default_workers(), c.batch_size)  # at least a sequence each
    workers = DataParallel(run.model, count, processes=processes and long_enough, on_loss=partial(save_after_loss, run))
    if run.evaluation_due:
        evaluate_and_save(run, task, workers, interrupt)
    start, tokens = time.perf_counter(), 0
    with tqdm(total=c.max_steps, initial=run.step, desc="training", unit=" steps", dynamic_ncols=True) as bar:
        while run.step < last and not interrupt.is_set() and not run.stale:
            step = take_step(run, task, workers)
            if step.tokens:  # a random batch of private training may be empty
                run.since_log.add(step.loss)
                run.since_eval.add(step.loss)
            tokens += step.tokens
            bar.update()
            rate = tokens / (time.perf_counter() - start)
            bar.set_postfix_str(f"loss {run.since_log.value:.4f}, {rate:,.0f} {task.unit}s/s", refresh=False)
            if run.step % LOG_INTERVAL == 0:
                loss, run.since_log = run.since_log.value, Mean()
                with continue_after_error(run, METRICS):
                    run.log({"step": run.step, "train_loss": loss, "lr": step.lr, "grad_norm": step.grad_norm})
            if run.evaluation_due:
                evaluate_and_save(run, task, workers, interrupt)
    save_at_end(run)
    if run.stale and run.step < c.max_steps:
        print(
            f"stopped early: {c.patience} evaluations without a lower validation loss than that of step {run.best_step}"
        )


def save_after_loss(run: Run, line: str) -> None:
    """Save after a worker process was killed, because this process may be killed next; then print a note."""
    if run.saved != (run.step, run.evaluated):
        save_or_note(run)
    resume = command("numpylm", "train", "--resume", run.folder)
    tqdm.write(f"note: {line}. If this process is killed, too: {resume}")


@dataclass(frozen=True)
class Step:
    """Statistics of one optimizer step."""

    loss: float  # mean, in nats per counted token
    tokens: int  # number of counted tokens
    lr: float
    grad_norm: float  # before clipping


def take_step(run: Run, task: Task, workers: DataParallel) -> Step:
    """One optimizer step: compute the gradients, clip them, and update every parameter.

    The run, including its random generators, does not change before the update. So it can be saved at any time.
    """
    c = run.config
    batch_rng, dropout_rng = copy.deepcopy((run.batch_rng, run.dropout_rng))
    run.model.zero_grad()
    loss, count = task.add_gradients(workers, batch_rng, dropout_rng if c.dropout else None)
    norm = clip_grad_norm(run.optimizer.parameters, c.grad_clip or math.inf)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise TrainingError(divergence(run))
    lr = warmup_cosine(run.step, c.warmup_steps, c.max_steps, c.learning_rate, c.min_lr)
    run.optimizer.step(lr)
    run.step += 1
    run.batch_rng, run.dropout_rng = batch_rng, dropout_rng
    return Step(loss, count, lr, norm)


def evaluate_and_save(run: Run, task: Task, workers: DataParallel, interrupt: Interrupt) -> None:
    """Compute the validation loss, print a sample, log, save checkpoints, and draw the loss curve.

    If it is interrupted, the resumed run begins with it.
    """
    c = run.config
    try:
        result = task.evaluate(run.model, workers, interrupt.check)
    except Interrupted:
        return
    train_loss, run.since_eval = run.since_eval.value, Mean()
    run.evaluated, run.val_loss = run.step, result.loss
    trained = "" if math.isnan(train_loss) else f"; training loss {train_loss:.4f}"
    spent = task.spent(run.step)
    also = "".join(f"; {name} {number:.3g}" for name, number in spent.items())
    tqdm.write(f"step {run.step:5}  {result.line}{trained}{also}")
    if run.step and c.sample_tokens and run.step < c.max_steps:
        with continue_after_error(run, "sample"):
            for line in filter(None, task.sample(run.model, run.step).split("\n\n")):
                tqdm.write("            " + line.replace("\n", " "))
    with continue_after_error(run, METRICS):
        run.log({"step": run.step, "val_loss": result.loss} | result.metrics | spent)
    if not task.endless:
        warn_of_overfitting(run, result.loss, train_loss)
    save_or_note(run)
    with continue_after_error(run, "loss.svg"):
        draw(run, task)
