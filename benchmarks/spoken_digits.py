"""Spoken digits: word error rates of CTC and Whisper, trained from scratch, on strings of one to five digits.

    python benchmarks/spoken_digits.py [--model ctc whisper] [--split takes george jackson lucas nicolas]
    python benchmarks/spoken_digits.py --tune ...     the same on tuning data, which is apart from what is reported
    python benchmarks/spoken_digits.py --baselines    the constant answer, and the nearest template (DTW)

The recordings are spoken_digits_4_speakers.zip in the folder NUMPYLM_SHARED_DATA (default: ../shared/data): 10 digits,
4 speakers, 50 takes each. Recordings of one speaker are joined to strings, with 0 to 100 ms of silence between them,
and written as WAV files with a table of transcripts. `numpylm train --task speech` is run on these, and its model hears
test strings that are made in the same way from other recordings.

Splits
------
takes : new takes of known speakers. Training: takes 10-49 of all speakers. Test: takes 0-4. Tuning: tested on 5-9.
a speaker's name : this speaker is left out. Training: all takes of the three others. Test: all takes of this one.
    Tuning: one of the other three (the next one in the alphabet) is left out, too, and tested instead.

The baseline DTW (dynamic time warping: Sakoe & Chiba 1978) is told where each digit begins and ends, which the models
are not. It compares 12 mel-cepstral coefficients, whose mean over the recording is subtracted, with 4 recordings of
each digit by each training speaker, and takes the nearest.
"""

import argparse
import ast
import os
import re
import resource
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from numpylm import load_model
from numpylm.audio import log_mel, resample, write_wav
from numpylm.audio.mel import RATE
from numpylm.audio.phones import DIGITS
from numpylm.corpora import spoken_numbers
from numpylm.inference.recognize import recognize
from numpylm.metrics import wer
from numpylm.tasks import TASKS
from numpylm.tasks.transcripts import Utterance
from numpylm.training.config import make_config
from numpylm.training.train import train

ZIP = Path(os.environ.get("NUMPYLM_SHARED_DATA", "../shared/data")) / "spoken_digits_4_speakers.zip"
SPEAKERS = ("george", "jackson", "lucas", "nicolas")
TEST_TAKES, TUNING_TAKES, ALL_TAKES = range(5), range(5, 10), range(50)
LONGEST = 5  # digits of a string
GAP = 1600  # samples of the longest silence between two recordings
TEMPLATES = 4  # recordings of each digit by each speaker, for DTW
Recordings = dict[tuple[str, str, int], np.ndarray]  # digit, speaker, take -> samples
Strings = list[tuple[np.ndarray, str]]  # samples, transcript


def recordings() -> Recordings:
    """All recordings at 16 kHz."""
    found = {}
    for place in zipfile.Path(ZIP).iterdir():
        if name := re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", place.name):
            found[name[1], name[2], int(name[3])] = Utterance(place, name[1]).samples()
    return found


def split(every: Recordings, name: str, tune: bool) -> tuple[Recordings, Recordings]:
    """The recordings to train on and to test on."""
    if name == "takes":
        test = TUNING_TAKES if tune else TEST_TAKES
        apart = {*TUNING_TAKES, *TEST_TAKES}
        return chosen(every, SPEAKERS, {*ALL_TAKES} - apart), chosen(every, SPEAKERS, test)
    others = [speaker for speaker in SPEAKERS if speaker != name]
    tested = name
    if tune:
        tested = SPEAKERS[(SPEAKERS.index(name) + 1) % len(SPEAKERS)]
        others.remove(tested)
    return chosen(every, others, ALL_TAKES), chosen(every, [tested], ALL_TAKES)


def chosen(every: Recordings, speakers: Collection[str], takes: Collection[int]) -> Recordings:
    """The recordings of some speakers and takes."""
    return {key: sound for key, sound in every.items() if key[1] in speakers and key[2] in takes}


def joined(parts: Recordings, count: int, rng: np.random.Generator) -> Strings:
    """Random strings, each of one speaker. Every recording is used equally often, as far as possible."""
    speakers = sorted({speaker for _, speaker, _ in parts})
    waiting: dict[str, list] = {speaker: [] for speaker in speakers}
    strings = []
    for n in range(count):
        speaker, sound, digits = speakers[n % len(speakers)], [np.zeros(GAP // 2, np.float32)], []
        for _ in range(rng.integers(1, LONGEST + 1)):
            if not waiting[speaker]:
                own = [key for key in parts if key[1] == speaker]
                waiting[speaker] = [own[i] for i in rng.permutation(len(own))]
            key = waiting[speaker].pop()
            sound += [parts[key], np.zeros(rng.integers(GAP + 1), np.float32)]
            digits.append(key[0])
        strings.append((np.concatenate(sound), "".join(digits)))
    return strings


def write_folder(folder: Path, strings: Strings) -> None:
    """Write strings as a folder that `numpylm train --task speech --data` reads."""
    rows = ["path\tsentence"]
    for n, (sound, text) in enumerate(strings):
        write_wav(folder / f"{n:05}.wav", sound, RATE)
        rows.append(f"{n:05}.wav\t{text}")
    (folder / "transcripts.tsv").write_text("\n".join(rows) + "\n")


def synthetic(count: int) -> Strings:
    """Numbers of the bundled speaker, with the frequencies of the recordings: up to 4 kHz."""
    texts = {word: str(digit) for digit, word in enumerate(DIGITS)}
    return [
        (resample(resample(sound, RATE, RATE // 2), RATE // 2, RATE), "".join(texts[word] for word in text.split()))
        for sound, text in spoken_numbers(count)
    ]


def measure(strings: Strings, test: Strings, settings: dict, made: int, words: bool) -> tuple[float, float]:
    """Train on strings and made ones: the WER on the test strings, and the processor seconds of the whole training."""
    before = processor_seconds()
    strings = strings + synthetic(made)
    if words:
        strings = [(sound, spelled(text)) for sound, text in strings]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "strings"
        folder.mkdir()
        write_folder(folder, strings)
        config = make_config(
            {"task": "speech", "data": str(folder), "out": str(Path(name) / "run"), "check_gradients": False} | settings
        )
        with redirect_stdout(sys.stderr):
            run = train(config, task=TASKS["speech"])
        seconds = processor_seconds() - before
        model = load_model(run)
        heard = recognize(model, [sound for sound, _ in test], beam=1)
    right = [text for _, text in test]
    rate = wer(heard, list(map(spelled, right))).rate if words else word_errors(heard, right)
    return rate, seconds


def spelled(text: str) -> str:
    """Digits as words: "31" is "three one"."""
    return " ".join(DIGITS[int(digit)] for digit in text)


def word_errors(heard: list[str], right: list[str]) -> float:
    """The word error rate of strings of digits, each digit a word."""
    return wer([" ".join(text.replace(" ", "")) for text in heard], [" ".join(text) for text in right]).rate


def processor_seconds() -> float:
    """Processor time of this process and of its workers so far."""
    return sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


# ------------------------------------------------------------------------------------------------ baselines


def constant(strings: Strings, test: Strings) -> float:
    """The WER of the one answer that is best on the training strings, among their 100 most frequent texts."""
    texts = [text for _, text in strings]
    frequent = [text for text, _ in Counter(texts).most_common(100)]
    best = min(frequent, key=lambda answer: word_errors([answer] * len(texts), texts))
    return word_errors([best] * len(test), [text for _, text in test])


def nearest_template(train_parts: Recordings, test_parts: Recordings) -> float:
    """The share of wrong digits, which is the WER of strings with known boundaries."""
    kept = {key: sound for key, sound in train_parts.items() if key[2] % (50 // TEMPLATES) == 11}
    labels = np.array([digit for digit, _, _ in kept])
    templates = [cepstrum(sound) for sound in kept.values()]
    wrong = 0
    for (digit, _, _), sound in test_parts.items():
        wrong += labels[distances(cepstrum(sound), templates).argmin()] != digit
    return wrong / len(test_parts)


def cepstrum(sound: np.ndarray) -> np.ndarray:
    """Mel-cepstral coefficients 1 to 12 of each frame, without their mean: array (T, 12)."""
    mel = log_mel(sound).T  # (T, 80)
    waves = np.cos(np.pi * np.arange(1, 13)[:, None] * (np.arange(80) + 0.5) / 80)  # the discrete cosine transform
    out = mel @ waves.T
    return out - out.mean(axis=0)


def distances(x: np.ndarray, templates: Sequence[np.ndarray]) -> np.ndarray:
    """The DTW distance of x (T, 12) to each template, divided by the sum of both lengths.

    D[i, j] = d[i, j] + min(D[i-1, j], D[i, j-1], D[i-1, j-1]), for all templates at once.
    """
    lengths = np.array([len(t) for t in templates])
    padded = np.zeros((len(templates), lengths.max(), x.shape[1]))
    for row, t in zip(padded, templates, strict=True):
        row[: len(t)] = t
    d = np.sqrt(np.maximum(((x[:, None, None] - padded) ** 2).sum(axis=-1), 0))  # (T, N, S)
    D = np.cumsum(d[0], axis=-1)  # (N, S)
    for now in d[1:]:
        before, D = D, np.empty_like(D)
        D[:, 0] = before[:, 0] + now[:, 0]
        for j in range(1, D.shape[1]):
            D[:, j] = now[:, j] + np.minimum(np.minimum(before[:, j], before[:, j - 1]), D[:, j - 1])
    return D[np.arange(len(templates)), lengths - 1] / (len(x) + lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["ctc", "whisper"])
    parser.add_argument("--split", nargs="+", default=["takes", *SPEAKERS], choices=["takes", *SPEAKERS])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--strings", type=int, default=2000, help="training strings")
    parser.add_argument("--made", type=int, default=0, help="more training strings, of the bundled speaker")
    parser.add_argument("--words", action="store_true", help="transcripts are words: three one, not 31")
    parser.add_argument("--test", type=int, default=400, help="test strings")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of the training")
    args = parser.parse_args()
    if not ZIP.exists():
        raise SystemExit(f"{ZIP} does not exist: set NUMPYLM_SHARED_DATA to the folder with the recordings")
    more = {name: ast.literal_eval(value) for name, value in (pair.split("=") for pair in args.set)}
    every = recordings()
    for name in args.split:
        train_parts, test_parts = split(every, name, args.tune)
        strings = joined(train_parts, args.strings, np.random.default_rng(1))
        test = joined(test_parts, args.test, np.random.default_rng(2))
        if args.baselines:
            print(f"{name:8} constant answer    WER {constant(strings, test):6.1%}", flush=True)
            print(f"{name:8} nearest template   WER {nearest_template(train_parts, test_parts):6.1%}", flush=True)
            continue
        for model in args.model:
            rate, seconds = measure(
                strings, test, {"model": model, "max_steps": args.steps} | more, args.made, args.words
            )
            print(f"{name:8} {model:8} WER {rate:6.1%}   {seconds / 60:5.1f} processor minutes", flush=True)


if __name__ == "__main__":
    main()
