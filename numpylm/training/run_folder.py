"""Run folders: reserving a name for a new run, creating the folder at once, finding the folder to resume."""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from numpylm.files.find_model import RUNS
from numpylm.system.lock import InUse, locked
from numpylm.system.run_files import LAST, LOCK
from numpylm.system.shell import quoted, shown
from numpylm.system.whole_files import rename, sync_folder
from numpylm.text.text_files import is_pipe, text_name
from numpylm.training.config import TrainConfig

BUNDLED = {  # names of runs on the bundled corpora
    "language-model": "stories",
    "masked-lm": "masked-stories",
    "translation": "translation",
    "classification": "messages",
    "chat": "service",
    "poems": "verses",
    "code": "functions",
}


# ---------------------------------------------------------------------------------------- a new folder


def check_out(config: TrainConfig) -> None:
    """Raise the errors of `reserve` that can be known before any work: ``out`` is in use, or cannot be created."""
    if config.out:
        folder = Path(config.out)
        _check_place(folder)
        if not _is_free(folder):
            raise _in_use(folder)


def reserve(config: TrainConfig, held: ExitStack) -> Path:
    """Reserve the name of a new run folder: ``out``, or the first free one of runs/NAME, runs/NAME-2, ...

    No other process gets that name until ``held`` is closed.

    Raises
    ------
    FileExistsError, InUse
        If ``out`` exists and is not empty, or another process is creating it.
    ValueError, OSError
        If the folder cannot be created.
    """
    for folder in _candidates(config):
        if not _is_free(folder):
            continue
        _check_place(folder)
        missing = [parent for parent in folder.parents if not parent.exists()]
        held.callback(_remove_if_empty, missing)
        try:
            held.enter_context(locked(folder.with_name(f".{folder.name}{LOCK}"), shown(folder)))
        except InUse:
            if config.out:
                raise
            continue
        except OSError as error:
            raise OSError(f"{shown(folder)} cannot be created ({error.strerror}): choose another --out") from error
        if _is_free(folder):
            return folder
        held.close()  # another process has just created it
    raise _in_use(Path(config.out))


def _in_use(folder: Path) -> FileExistsError:
    name = quoted(folder)
    return FileExistsError(f"{name} exists: choose another --out, or go on with --resume {name}")


def _candidates(config: TrainConfig) -> Iterator[Path]:
    if config.out:
        yield Path(config.out)
        return
    first = config.data[0] if config.data else config.source
    base = RUNS / (text_name(first) if first else BUNDLED[config.task])
    names = itertools.chain([base.name], (f"{base.name}-{n}" for n in itertools.count(2)))
    yield from (base.with_name(name) for name in names if not os.path.lexists(base.with_name(name)))


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _check_place(folder: Path) -> None:
    """Raise ValueError if the folder cannot be created, or if it exists and cannot be replaced although it is empty."""
    if files := [parent for parent in folder.parents if parent.is_file()]:
        raise ValueError(f"{shown(folder)} cannot be created, {shown(files[0])} is a file: choose another --out")
    if folder.is_symlink() or os.path.ismount(folder) or (folder.exists() and folder.samefile(Path.cwd())):
        raise ValueError(
            f"{shown(folder)} is a link, a drive or the working folder, which a new run folder cannot replace: give "
            f"--out a name in it, such as {quoted(folder / 'run')}"
        )


def _remove_if_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def created_at_once(folder: Path) -> Iterator[Path]:
    """Create a folder atomically with its content: in ``with created_at_once(folder) as draft:``, fill ``draft``.

    At the end, ``draft`` is renamed to ``folder``; after an error it is deleted. ``folder`` must be reserved with
    `reserve`.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    if draft.exists():
        shutil.rmtree(draft)  # left by a process that was killed
    draft.mkdir()
    try:
        yield draft
        if folder.exists():
            folder.rmdir()  # it is empty; Windows cannot rename a folder to an existing one
        rename(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(folder.parent)


# ------------------------------------------------------------------------------------ a folder that is there


def hold(folder: Path) -> AbstractContextManager[None]:
    """Lock a run folder while a process trains in it; see `locked`."""
    return locked(folder / LOCK, shown(folder))


def folder_to_resume(path: str | Path) -> Path:
    """The run folder for a path, which is the folder itself or a file in it, such as ``last.npz``.

    Raises
    ------
    ValueError
        For ``best.npz``, because a run is resumed from its last checkpoint.
    """
    path = Path(path)
    folder = path.parent
    if not (path.is_file() and (folder / "config.json").is_file()):
        return path
    if path.suffix == ".npz" and path.name != LAST:
        raise ValueError(
            f"a run is resumed from its last checkpoint, not from {shown(path)}: use --resume {quoted(folder)}; to "
            f"begin a new run with that model, use --init-from {quoted(path)}"
        )
    return folder


def written_path(path: str, folder: Path) -> str:
    """The form in which config.json stores a path.

    It is relative to the run folder if both are in the working folder. Then the working folder, with the text and the
    run, can be moved as a whole. Otherwise it is absolute.
    """
    if is_pipe(path):
        return path
    target, start, project = Path(path).resolve(), folder.resolve(), Path.cwd().resolve()
    if target.is_relative_to(project) and start.is_relative_to(project):
        return Path(os.path.relpath(target, start)).as_posix()
    return str(target)


def read_path(written: str, folder: Path) -> str:
    """The absolute path that `written_path` wrote into the config.json of ``folder``."""
    return written if is_pipe(written) else os.path.normpath(folder.resolve() / written)
