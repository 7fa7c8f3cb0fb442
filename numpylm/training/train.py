"""The training loop, with evaluation, checkpoints and early stopping. Read `run_training` first: it has all steps."""

import copy
import math
import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from numpylm.check import selfcheck
from numpylm.models.gpt import GPT
from numpylm.nn.optim import clip_grad_norm, warmup_cosine
from numpylm.system.processor import default_workers, keep_memory
from numpylm.system.shell import command, first_words
from numpylm.system.signals import Interrupt, Interrupted, interruptible, stoppable
from numpylm.system.streams import lasting_output
from numpylm.text.any_tokenizer import load_tokenizer
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.data import random_batch
from numpylm.text.text_files import find_texts
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.choose_settings import fit_to_text
from numpylm.training.config import TrainConfig
from numpylm.training.evaluation import evaluate
from numpylm.training.failed_writes import continue_after_error, save_at_end, save_or_note
from numpylm.training.finetune import load_pretrained_model
from numpylm.training.parallel import DataParallel
from numpylm.training.prepare_data import Data, as_documents, load_documents, make_tokenizer, split
from numpylm.training.report_progress import describe, divergence, draw, report_end, sample, warn_of_overfitting
from numpylm.training.run_folder import check_out, folder_to_resume, hold, reserve
from numpylm.training.run_state import (
    Mean,
    Run,
    TrainingError,
    new_model,
    new_run,
    read_config,
    resumed_run,
    write_resumed,
)

WORTH_PROCESSES = 50  # steps; in a shorter run, starting worker processes takes longer than they save
LOG_INTERVAL = 10  # steps between lines of metrics.jsonl with the training loss

Prepared = tuple[Run, Data, Tokenizer | CharTokenizer, list[str]]  # the list holds the validation documents


def train(
    config: TrainConfig,
    resume: str | Path | None = None,
    stop_at: int | None = None,
    processes: bool = False,
    given: Collection[str] | None = None,
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
        if resume is None:
            check_paths(config)
        if config.check_gradients:
            check_gradients()
        with stoppable(), ExitStack() as held:
            return run_training(config, resume, stop_at, processes, given, held)


def run_training(
    config: TrainConfig,
    resume: str | Path | None,
    stop_at: int | None,
    processes: bool,
    given: Collection[str] | None,
    held: ExitStack,
) -> Path:
    """Everything that `train` does after the gradient check. The run is locked until ``held`` is closed."""
    if resume is None:
        run, data, tokenizer, val_docs = start_run(config, held, processes, given)
    else:
        run, data, tokenizer, val_docs = continue_run(config, folder_to_resume(resume), held, processes)
    with continue_after_error(run, "description of the data"):
        describe(run, data, tokenizer)
    with interruptible() as interrupt:
        training_loop(run, data, tokenizer, interrupt, stop_at, processes)
        report_end(run, first_words(val_docs[0]))
    interrupt.stop()
    return run.folder


# ------------------------------------------------------------------------------------------ preparation


def check_paths(config: TrainConfig) -> None:
    """Raise an error before any work if the run folder cannot be created, or if there is no text."""
    check_out(config)
    if config.data:
        find_texts(config.data)


def check_gradients() -> None:
    """Check the gradients of every layer. Raise TrainingError if one is wrong."""
    start = time.perf_counter()
    reports = list(tqdm(selfcheck.run(), "checking gradients", unit=" layers", leave=False))
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


def start_run(
    config: TrainConfig, held: ExitStack, processes: bool = False, given: Collection[str] | None = None
) -> Prepared:
    """Start a new run, in a folder that is locked until ``held`` is closed.

    The name of the folder is reserved first, so that an error for a name in use comes at once. The folder is created
    last, so that no folder is left after an error.
    """
    with ExitStack() as reserved:
        folder = reserve(config, reserved)
        config, gpt, tokenizer, train_docs, val_docs = prepare_run(config, given)
        data = Data.encode(train_docs, val_docs, tokenizer, config, folder.parent, processes)
        run = new_run(config, folder, gpt, tokenizer, data)
        held.enter_context(hold(folder))
    return run, data, tokenizer, val_docs


def continue_run(config: TrainConfig, folder: Path, held: ExitStack, processes: bool = False) -> Prepared:
    """Resume the run of a folder, which is locked until ``held`` is closed. The text is checked before any write."""
    read_config(folder)  # raises an error before a folder that is not a run gets a lock file
    held.enter_context(hold(folder))
    tokenizer = load_tokenizer(folder)
    run = resumed_run(config, folder)
    train_docs, val_docs = split(config, as_documents(config, load_documents(config)))
    data = Data.encode(train_docs, val_docs, tokenizer, config, folder, processes)
    run.check_data(data)
    write_resumed(run)
    return run, data, tokenizer, val_docs


def prepare_run(
    config: TrainConfig, given: Collection[str] | None = None
) -> tuple[TrainConfig, GPT, Tokenizer | CharTokenizer, list[str], list[str]]:
    """Prepare a run: the config with the model's shape, the model, its tokenizer, training and validation documents.

    Model and tokenizer are new, or loaded from ``init_from``, which is done before the text is read. For ``given`` see
    `train`.
    """
    pretrained = load_pretrained_model(config) if config.init_from else None
    documents = load_documents(config)
    if given is not None:
        config = fit_to_text(config, documents, given)
    train_docs, val_docs = split(config, as_documents(config, documents))
    if pretrained:
        return *pretrained, train_docs, val_docs
    tokenizer = make_tokenizer(config, train_docs, val_docs)
    return config, new_model(config, tokenizer.vocab_size), tokenizer, train_docs, val_docs


# ------------------------------------------------------------------------------------------- training


def training_loop(
    run: Run,
    data: Data,
    tokenizer: Tokenizer | CharTokenizer,
    interrupt: Interrupt,
    stop_at: int | None,
    processes: bool,
) -> None:
    """Run the optimizer steps, with evaluations and checkpoints in between."""
    c = run.config
    last = c.max_steps if stop_at is None else min(stop_at, c.max_steps)
    long_enough = last - run.step >= WORTH_PROCESSES
    count = min(default_workers(), c.batch_size)  # a worker needs at least one sequence
    workers = DataParallel(run.model, count, processes=processes and long_enough, on_loss=partial(save_after_loss, run))
    if run.evaluation_due:
        evaluate_and_save(run, data, tokenizer, workers, interrupt)
    start, tokens = time.perf_counter(), 0
    with tqdm(total=c.max_steps, initial=run.step, desc="training", unit=" steps", dynamic_ncols=True) as bar:
        while run.step < last and not interrupt.is_set() and not run.stale:
            step = take_step(run, data, workers)
            run.since_log.add(step.loss)
            run.since_eval.add(step.loss)
            tokens += step.tokens
            bar.update()
            rate = tokens / (time.perf_counter() - start)
            bar.set_postfix_str(f"loss {run.since_log.value:.4f}, {rate:,.0f} tokens/s", refresh=False)
            if run.step % LOG_INTERVAL == 0:
                loss, run.since_log = run.since_log.value, Mean()
                with continue_after_error(run, "metrics.jsonl"):
                    run.log({"step": run.step, "train_loss": loss, "lr": step.lr, "grad_norm": step.grad_norm})
            if run.evaluation_due:
                evaluate_and_save(run, data, tokenizer, workers, interrupt)
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


def take_step(run: Run, data: Data, workers: DataParallel) -> Step:
    """One optimizer step: accumulate the gradients of ``grad_accum`` batches, clip, and update every parameter.

    The run, including its random generators, does not change before the update. So it can be saved at any time.
    """
    c = run.config
    batch_rng, dropout_rng = copy.deepcopy((run.batch_rng, run.dropout_rng))
    run.model.zero_grad()
    batches = [
        random_batch(data.train, c.batch_size, c.block_size, batch_rng, data.starts, data.counted)
        for _ in range(c.grad_accum)
    ]
    count = sum(int((targets >= 0).sum()) for _, targets in batches)
    masks_rng = dropout_rng if c.dropout else None
    loss = sum(workers.loss_and_grad(ids, targets, masks_rng, count) for ids, targets in batches)
    norm = clip_grad_norm(run.optimizer.parameters, c.grad_clip or math.inf)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise TrainingError(divergence(run))
    lr = warmup_cosine(run.step, c.warmup_steps, c.max_steps, c.learning_rate, c.min_lr)
    run.optimizer.step(lr)
    run.step += 1
    run.batch_rng, run.dropout_rng = batch_rng, dropout_rng
    return Step(loss, count, lr, norm)


def evaluate_and_save(
    run: Run, data: Data, tokenizer: Tokenizer | CharTokenizer, workers: DataParallel, interrupt: Interrupt
) -> None:
    """Compute the validation loss, print a sample, log, save checkpoints, and draw the loss curve.

    If it is interrupted, the resumed run begins with it.
    """
    c = run.config
    try:
        score = evaluate(
            run.model,
            data.val,
            starts=data.val_starts,
            block_size=c.block_size,
            counted=data.val_counted,
            progress=True,
            workers=workers,
            between=interrupt.check,
        )
    except Interrupted:
        return
    train_loss, run.since_eval = run.since_eval.value, Mean()
    run.evaluated, run.val_loss = run.step, score.loss
    bits = score.bits_per_byte(data.val_bytes)
    above = "" if data.floor is None else f" ({score.loss - data.floor:.4f} above the source)"
    trained = "" if math.isnan(train_loss) else f"; training loss {train_loss:.4f}"
    tqdm.write(
        f"step {run.step:5}  validation loss {score.loss:.4f}{above}, perplexity {score.perplexity:,.2f}, "
        f"{bits:.3f} bits per byte{trained}"
    )
    if run.step and c.sample_tokens and run.step < c.max_steps:
        with continue_after_error(run, "sample"):
            tqdm.write("            " + sample(run.model, tokenizer, c.sample_tokens, run.step).replace("\n", " "))
    with continue_after_error(run, "metrics.jsonl"):
        run.log(
            {"step": run.step, "val_loss": score.loss, "val_bits_per_byte": bits, "val_accuracy": score.accuracy}
            | ({} if data.floor is None else {"above_source": score.loss - data.floor})
        )
    warn_of_overfitting(run, score, train_loss)
    save_or_note(run)
    with continue_after_error(run, "loss.svg"):
        draw(run, data, tokenizer.vocab_size)
