"""``numpylm transcribe``: speech to text, window by window, as lines or as subtitles."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from numpylm.cli.parser import not_empty
from numpylm.system.shell import shown

CLIPPED = 0.001  # share of samples at full scale from which a recording is said to be too loud
FULL_SCALE = 0.999
MOST_BEAM = 1000  # candidates; with more, seconds of sound take minutes, and nothing better is found


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, the recordings, and how to write."""
    parser.add_argument(
        "source",
        metavar="MODEL",
        type=not_empty,
        help="folder or name of a Whisper, such as openai/whisper-tiny, or a run of numpylm train --task speech",
    )
    parser.add_argument(
        "recordings", nargs="*", metavar="RECORDING", help="WAV files (others with numpylm[speech]); default: stdin"
    )
    parser.add_argument("--language", help="code of the language, such as en (default: detected)")
    parser.add_argument("--task", choices=("transcribe", "translate"), help="translate: into English")
    parser.add_argument("--srt", action="store_true", help="subtitles with times; of several recordings, NAME.srt each")
    parser.add_argument(
        "--temperature", type=float, help="0: greedy only (default: 0, then higher ones while a text looks wrong)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of sampling (default: 0)")
    parser.add_argument("--beam", type=int, default=1, help="a run: candidates of beam search (default: 1, greedy)")
    parser.add_argument("--keep-silence", action="store_true", help="also write what is heard where nobody speaks")
    parser.add_argument("--allow-truncated", action="store_true", help="accept a recording that is cut off")


def run(args: argparse.Namespace) -> int:
    """numpylm transcribe"""
    from numpylm.files.find_model import is_run
    from numpylm.files.load_model import load_as
    from numpylm.models.whisper import Whisper
    from numpylm.system.processor import keep_memory
    from numpylm.text.any_tokenizer import require_tokenizer

    if args.temperature is not None and args.temperature < 0:
        raise ValueError("--temperature must be at least 0")
    if args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    recordings = args.recordings or ["-"]
    several = len(recordings) > 1
    if args.srt and several:
        check_new(recordings)
    keep_memory()
    if is_run(args.source):
        transcribe_one = with_run(args)
    else:
        if args.beam != 1:
            raise ValueError("--beam is for runs of numpylm train; a published Whisper writes greedily")
        model = load_as(Whisper, args.source)
        require_tokenizer(model)
        model.speech_tokens.language_id(args.language)  # an unknown one is refused before anything is read
        model.speech_tokens.task_id(args.task)
        transcribe_one = partial(transcribe_file, model, args=args, several=several)
    failed = 0
    for name in recordings:
        try:
            if several and not args.srt:
                print(f"{shown(name)}:", flush=True)
            transcribe_one(name)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            if not several:
                raise
            print(f"numpylm: error: {error}", file=sys.stderr)
            failed = 1
    return failed


def with_run(args: argparse.Namespace) -> Callable[[str], None]:
    """A function that prints the transcript of a recording, by a model that ``numpylm train --task speech`` made.

    Such a model knows one language and no times.
    """
    from numpylm.files.checkpoint import load_run
    from numpylm.files.gpt2_files import COMMANDS_OF
    from numpylm.inference.recognize import recognize

    for name in ("language", "task", "temperature", "srt", "keep_silence"):
        if getattr(args, name) not in (None, False):
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} is for published Whisper models, not for runs such as {shown(args.source)}")
    if not 1 <= args.beam <= MOST_BEAM:
        raise ValueError(f"--beam must be 1 to {MOST_BEAM}, got {args.beam}")
    model, tokenizer, _ = load_run(args.source)
    kind = type(model).__name__
    if COMMANDS_OF[kind] != "transcribe":
        raise ValueError(f"{shown(args.source)} holds a {kind}, which does not hear: use numpylm {COMMANDS_OF[kind]}")

    def transcribe_one(name: str) -> None:
        samples = samples_of(name, args.allow_truncated)
        text = recognize(model, [samples], tokenizer, beam=args.beam)[0]
        print(text if text else f"numpylm: nothing is said in {shown(said(name))}", file=None if text else sys.stderr)

    return transcribe_one


def transcribe_file(model: Any, name: str, *, args: argparse.Namespace, several: bool) -> None:
    """Print the transcript of a recording while it is written, or write its subtitles beside it."""
    from tqdm import tqdm

    from numpylm.audio.mel import RATE
    from numpylm.inference.subtitles import srt_entry
    from numpylm.system.whole_files import write_text

    samples = samples_of(name, args.allow_truncated)
    seconds = len(samples) / RATE
    windows = windows_of(model, samples, args)
    del samples  # an hour of it is 230 MB
    entries: list[str] = []
    with tqdm(total=round(seconds, 1), desc=shown(Path(name).name), unit=" s", leave=False, disable=None) as bar:
        for window in windows:
            for segment in window.segments:
                if not segment.text.strip():
                    continue
                entries.append(srt_entry(len(entries) + 1, segment) if args.srt else segment.text.strip())
                if not (args.srt and several):
                    tqdm.write(entries[-1], file=sys.stdout, end="" if args.srt else "\n")
                    sys.stdout.flush()
            bar.update(round(min(window.end, seconds) - bar.n, 1))
    if not entries:
        print(f"numpylm: nothing is said in {shown(said(name))}", file=sys.stderr)
    if args.srt and several:
        write_text(subtitles_of(name), "".join(entries))
        print(f"numpylm: wrote {shown(subtitles_of(name))}", file=sys.stderr)


def windows_of(model: Any, samples: Any, args: argparse.Namespace) -> Iterator[Any]:
    """What the model hears, window by window."""
    import numpy as np

    from numpylm.inference.transcribe import TEMPERATURES, spectrogram, transcribe_windows

    mel, frames = spectrogram(model, samples)
    return transcribe_windows(
        model,
        mel,
        frames,
        language=args.language,
        task=args.task,
        timestamps=True if args.srt and model.speech_tokens.time_zero is not None else None,
        temperatures=TEMPERATURES if args.temperature is None else (args.temperature,),
        skip_silence=not args.keep_silence,
        rng=np.random.default_rng(args.seed),
    )


def samples_of(name: str, allow_truncated: bool) -> Any:
    """The samples of a recording, or of standard input for ``-``; says so if it was recorded too loud."""
    import numpy as np

    from numpylm.audio.read_audio import read_audio

    with recording(name) as path:
        try:
            samples = read_audio(path, allow_truncated=allow_truncated)
        except ValueError as error:
            text = str(error).replace(str(path), shown(said(name)))
            raise ValueError(text.replace("allow_truncated=True", "--allow-truncated")) from None
    share = float(np.mean(np.abs(samples) >= FULL_SCALE))
    if share > CLIPPED:
        print(f"numpylm: {shown(said(name))} is clipped: {share:.1%} of it is at full scale", file=sys.stderr)
    return samples


@contextmanager
def recording(name: str) -> Iterator[Path]:
    """The path of a recording. Standard input is copied into a file, because the end of a WAV file may be needed."""
    if name != "-":
        yield Path(name)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def said(name: str) -> str:
    """What messages call a recording."""
    return "standard input" if name == "-" else name


def subtitles_of(name: str) -> Path:
    """The file of a recording's subtitles."""
    return Path(name).with_suffix(".srt")


def check_new(names: list[str]) -> None:
    """Raise ValueError if subtitles would overwrite a file, or one another."""
    if "-" in names:
        raise ValueError("standard input has no name for its subtitles: transcribe it alone")
    files = [subtitles_of(name) for name in names]
    if twice := [file for n, file in enumerate(files) if file in files[:n]]:
        raise ValueError(f"two recordings would have the same subtitles, {shown(twice[0])}")
    if found := [file for file in files if file.exists()]:
        raise ValueError(f"{shown(found[0])} exists already: delete it, or transcribe one recording at a time")
