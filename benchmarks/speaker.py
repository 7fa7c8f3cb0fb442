"""How well a published recognizer understands our speaker, beside real recordings and espeak-ng

The recognizer is pocketsphinx with its own American English model. Its grammar allows one of the ten digits. All sounds
have 16 kHz, the same largest amplitude, and 0.2 s of faint noise at both ends. The real recordings are those of the
Free Spoken Digit Dataset (8 kHz, resampled) in the folder NUMPYLM_SHARED_DATA; without it they are left out.

    python benchmarks/speaker.py
"""

import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from numpylm.audio import read_audio, resample, speak, voice
from numpylm.audio.phones import DIGITS
from numpylm.corpora import spoken_numbers
from numpylm.corpora.spoken_numbers import HELD_OUT_VOICES
from numpylm.metrics import wer
from numpylm.system.optional_packages import needed

ZIP = "spoken_digits_4_speakers.zip"
FRESH = range(32, 48)  # held-out voices that were heard once, when the sounds were finished
ESPEAK_VOICES = ("en-us", "en-gb", "en-us+f2", "en-us+f4", "en-us+m3", "en-gb+f3")


class Recognizer:
    """Pocketsphinx that knows the ten digits: one of them, or one after the other."""

    def __init__(self, many: bool = False) -> None:
        sphinx = needed("pocketsphinx", "parity", "Recognizing speech")
        with tempfile.TemporaryDirectory() as folder:
            grammar = Path(folder) / "digits.gram"
            words = f"({' | '.join(DIGITS)}){'+' if many else ''}"
            grammar.write_text(f"#JSGF V1.0;\ngrammar digits;\npublic <digits> = {words};\n")
            config = sphinx.Config(
                hmm=sphinx.get_model_path("en-us/en-us"),
                dict=sphinx.get_model_path("en-us/cmudict-en-us.dict"),
                jsgf=str(grammar),
                # The second pass often finds nothing in a short recording: with it 75 % of 120 real ones were right,
                # without it 82 %.
                bestpath=False,
                loglevel="FATAL",
            )
            self.decoder = sphinx.Decoder(config)

    def words(self, samples: np.ndarray) -> str:
        """What it hears; "" if no sentence of the grammar fits."""
        samples = np.pad(samples * (0.5 / np.abs(samples).max()), 3200)
        samples = samples + np.random.default_rng(0).normal(0, 1e-4, len(samples))
        self.decoder.start_utt()
        self.decoder.process_raw((samples * 32767).astype("<i2").tobytes(), full_utt=True)
        self.decoder.end_utt()
        heard = self.decoder.hyp()
        return heard.hypstr if heard else ""


def our_digits(voices: range, held_out: bool) -> Iterator[tuple[str, str, np.ndarray]]:
    """Who speaks, the word, the sound."""
    for n in voices:
        for word in DIGITS:
            yield (
                f"voice {n}",
                word,
                speak([word], voice(n, held_out), np.random.default_rng([1, n, DIGITS.index(word)])),
            )


def espeak_digits() -> Iterator[tuple[str, str, np.ndarray]]:
    """The digits of espeak-ng in six voices."""
    for name in ESPEAK_VOICES:
        for word in DIGITS:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "word.wav"
                subprocess.run(["espeak-ng", "-v", name, "-w", path, word], check=True)
                yield name, word, read_audio(path)


def real_digits(path: Path, count: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """A random part of the real recordings."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        names = sorted(name for name in archive.namelist() if name.endswith(".wav"))
        for n in np.random.default_rng(0).permutation(len(names))[:count]:
            digit, speaker, _ = Path(names[n]).stem.split("_")
            yield speaker, DIGITS[int(digit)], read_audio(archive.extract(names[n], folder))


def real_numbers(path: Path, texts: list[str]) -> Iterator[np.ndarray]:
    """The same numbers from recordings of single digits, each by one person, with 0.1 s between them."""
    digits: dict[tuple[str, str], list[np.ndarray]] = {}
    for speaker, word, samples in real_digits(path, 400):
        digits.setdefault((speaker, word), []).append(samples * (0.5 / np.abs(samples).max()))
    speakers = sorted({speaker for speaker, _ in digits})
    rng = np.random.default_rng(0)
    for n, text in enumerate(texts):
        takes = [digits[speakers[n % len(speakers)], word] for word in text.split()]
        yield np.concatenate([np.pad(take[int(rng.integers(len(take)))], 800) for take in takes])


def strings(title: str, numbers: Iterator[np.ndarray], texts: list[str], recognizer: Recognizer) -> None:
    """Print the word error rate of numbers of several digits."""
    heard = [recognizer.words(samples) for samples in numbers]
    score = wer([text or "-" for text in heard], texts)
    whole = np.mean([text == right for text, right in zip(heard, texts, strict=True)])
    print(f"{title:<34} {whole:6.1%} of {len(texts)} all right; {score}", flush=True)


def table(title: str, digits: Iterator[tuple[str, str, np.ndarray]], recognizer: Recognizer) -> None:
    """Print the share that was recognized, in all, of each speaker, and the mistakes."""
    right: dict[str, list[bool]] = {}
    mistakes: dict[str, int] = {}
    for speaker, word, samples in digits:
        heard = recognizer.words(samples)
        right.setdefault(speaker, []).append(heard == word)
        if heard != word:
            mistake = f"{word} heard as {heard or 'nothing'}"
            mistakes[mistake] = mistakes.get(mistake, 0) + 1
    every = [ok for each in right.values() for ok in each]
    print(f"{title:<34} {np.mean(every):6.1%} of {len(every)}")
    print("    by speaker:", ", ".join(f"{speaker} {np.mean(each):.0%}" for speaker, each in right.items()))
    common = sorted(mistakes.items(), key=lambda pair: -pair[1])[:5]
    print("    mistakes:  ", ", ".join(f"{name} ({n})" for name, n in common) or "none", flush=True)


def main() -> None:
    recognizer = Recognizer()
    table("our speaker, 16 held-out voices", our_digits(range(HELD_OUT_VOICES), True), recognizer)
    table("our speaker, 16 fresh voices", our_digits(FRESH, True), recognizer)
    narrow = ((who, word, resample(resample(x, 16000, 8000), 8000, 16000)) for who, word, x in our_digits(FRESH, True))
    table("the same through 8 kHz", narrow, recognizer)
    if shutil.which("espeak-ng"):
        table("espeak-ng", espeak_digits(), recognizer)
    path = Path(os.environ.get("NUMPYLM_SHARED_DATA", "../shared/data")) / ZIP
    if path.is_file():
        table("people (8 kHz recordings)", real_digits(path, 400), recognizer)
    print("\nnumbers of 1 to 5 digits")
    recognizer, numbers = Recognizer(many=True), list(spoken_numbers(100, held_out=True))
    texts = [text for _, text in numbers]
    strings("our speaker, 16 held-out voices", (samples for samples, _ in numbers), texts, recognizer)
    if path.is_file():
        strings("people, from single digits", real_numbers(path, texts), texts, recognizer)


if __name__ == "__main__":
    main()
