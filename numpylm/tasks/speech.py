"""Speech recognition: learn the transcripts of sounds with CTC or Whisper. Spectrograms are computed once."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from numpylm.audio.mel import log_mel
from numpylm.audio.mel_augmentation import MelAugmentation
from numpylm.corpora.spoken_numbers import spoken_numbers
from numpylm.inference.recognize import read_spectrograms
from numpylm.metrics import cer, wer
from numpylm.nn.module import Array
from numpylm.tasks.held_out import fingerprint_of, hold_out
from numpylm.tasks.speech_models import SPECIAL, arrays_for, fewest_frames, new_model, scores
from numpylm.tasks.transcripts import Utterance, check_sources, read_transcripts
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.padding import SimilarLengths, in_batches
from numpylm.training.config import TrainConfig
from numpylm.training.parallel import DataParallel
from numpylm.training.task import Batch, Evaluation, Task

BUNDLED, BUNDLED_HELD_OUT = 2000, 200  # spoken numbers; the held-out ones are said by other voices
HELD_OUT = 500  # at most this many sounds are held out
EPOCHS = 30  # of a user's own sounds, if max_steps is not given
FEWEST_STEPS, MOST_STEPS = 300, 4000
EVALUATED_FRAMES = 8000  # of the spectrograms that are evaluated at once, padding included
FRAMES_A_SECOND = 100  # of a spectrogram
WHOLE_WINDOWS = 0.2  # share of Whisper's batches that are padded to the longest sound that the model can read
AUGMENTATION = MelAugmentation()


class Made(NamedTuple):
    """A sound that was made here, with the interface of `Utterance`."""

    name: str
    text: str
    sound: Array

    def samples(self) -> Array:
        """The sound at 16 kHz."""
        return self.sound


class Heard(NamedTuple):
    """Sounds of one side of the split: their spectrograms, and their transcripts as ids and as texts."""

    mels: list[Array]  # (M, T) each, float16 to need half the memory
    ids: list[list[int]]
    texts: list[str]


class Speech(Task):
    """A model hears a sound and writes its transcript, letter by letter.

    With CTC it gives a letter or a blank for each 20 ms. Whisper's decoder writes the text while it looks at the whole
    sound.
    """

    name = "speech"
    unit = "letter"
    next_verb = "transcribe a sound"

    @classmethod
    def families_of(cls, config: TrainConfig) -> tuple[str, ...]:
        return ("ctc",) if config.model == "ctc" else ("speech", "encoder-decoder")

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        check_sources(config.data)

    # ---------------------------------------------------------------------------------------------- data

    def start(self, given: Collection[str] | None) -> Any:
        """Read and hear the sounds. The model is new; it reads sounds up to the length of the longest, and slower."""
        train, val = self._read()
        for sound in (*train, *val):
            if marks := [mark for mark in SPECIAL[self.config.model] if mark in sound.text]:
                raise ValueError(f"{sound.name}: the transcript has {marks[0]}, which means something to the model")
        texts = [sound.text for sound in (*train, *val)]
        self.tokenizer = CharTokenizer.train(texts, special_tokens=SPECIAL[self.config.model])
        self._hear(train, val)
        longest = max(mel.shape[1] for mel in (*self.train.mels, *self.val.mels)) * np.exp(AUGMENTATION.speed)
        self.config = c = replace(self.config, block_size=min(self.config.block_size, int(longest) // 2 + 1))
        if given is not None and c.data:
            self.config = c = self._fitted(given)
        return new_model(c, self.tokenizer, max(map(len, texts)))

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self._hear(*self._read())

    def _read(self) -> tuple[Sequence[Utterance | Made], Sequence[Utterance | Made]]:
        """The sounds to train on and the held-out ones."""
        c = self.config
        if c.data:
            rng = np.random.default_rng(c.seed)
            return hold_out(read_transcripts(c.data), c.val_fraction, rng, lambda sound: sound.name, HELD_OUT)
        print(f"sound       bundled spoken numbers: {BUNDLED:,} in 64 voices, and {BUNDLED_HELD_OUT:,} in 16 others")
        made = tqdm(spoken_numbers(BUNDLED), "speaking", BUNDLED, unit=" numbers", leave=False)
        train = [Made(f"number {n}", text, sound) for n, (sound, text) in enumerate(made)]
        others = spoken_numbers(BUNDLED_HELD_OUT, held_out=True)
        return train, [Made(f"held-out number {n}", text, sound) for n, (sound, text) in enumerate(others)]

    def _hear(self, train: Sequence[Utterance | Made], val: Sequence[Utterance | Made]) -> None:
        """Compute the spectrograms."""
        self.train, self.val = self._heard(train, "training"), self._heard(val, "held-out")

    def _heard(self, sounds: Sequence[Utterance | Made], what: str) -> Heard:
        """The spectrograms, without the sounds that the model cannot read or that are too short for their texts."""
        most, heard, left_out = 2 * self.config.block_size, Heard([], [], []), Counter[str]()
        for sound in tqdm(sounds, "hearing", unit=" sounds", leave=False):
            mel = self._mel(sound)
            ids = self.tokenizer.encode(sound.text)
            if mel.shape[1] > most:
                left_out[f"of more than {most / FRAMES_A_SECOND:g} s (--block-size, in steps of 20 ms)"] += 1
            elif fewest_frames(ids) > mel.shape[1]:
                left_out["that are too short for their transcripts"] += 1
            else:
                heard.mels.append(mel)
                heard.ids.append(ids)
                heard.texts.append(sound.text)
        for reason, count in left_out.items():
            print(f"left out    {count:,} {what} sounds {reason}")
        if not heard.mels:
            raise ValueError(f"no {what} sound is left: see the reasons above")
        return heard

    def _mel(self, sound: Utterance | Made) -> Array:
        """The spectrogram of a sound: float16 (M, T)."""
        samples = sound.samples()
        try:
            return log_mel(samples, self.config.n_mels).astype(np.float16)
        except ValueError as error:
            raise ValueError(f"{sound.name}: {error}") from None

    def _fitted(self, given: Collection[str]) -> TrainConfig:
        """The config with a number of steps that suits the user's sounds. It prints what it chose."""
        c = self.config
        if "max_steps" in given or not c.batch_tokens:
            return c
        epoch = sum(mel.shape[1] for mel in self.train.mels) / 2 / c.batch_tokens
        steps = round(min(max(EPOCHS * epoch, FEWEST_STEPS), MOST_STEPS))
        print(f"chosen      max_steps {steps}: {steps / epoch:.1f} times through the sounds")
        return replace(c, max_steps=steps, warmup_steps=min(c.warmup_steps, steps // 5))

    def encode(self, folder: Path, processes: bool = False) -> None:
        positions = np.array([-(-mel.shape[1] // 2) for mel in self.train.mels])
        tokens = self.config.batch_tokens or self.config.batch_size * int(positions.max())
        self.batches = SimilarLengths(positions, tokens)

    def fingerprint(self) -> str:
        return fingerprint_of(self.train.texts, self.val.texts)

    # ------------------------------------------------------------------------------------------- training

    def batch(self, rng: np.random.Generator) -> Batch:
        c, numbers = self.config, self.batches.draw(rng)
        mels, ids = [self.train.mels[n] for n in numbers], [self.train.ids[n] for n in numbers]
        most = 2 * c.block_size
        if c.augment:
            mels = [AUGMENTATION(m, rng, fewest_frames(text), most) for m, text in zip(mels, ids, strict=True)]
        whole = c.model == "whisper" and rng.random() < WHOLE_WINDOWS
        options = {"label_smoothing": c.label_smoothing} if c.model == "whisper" else {}
        return Batch(arrays_for(c.model, self.tokenizer, mels, ids, most if whole else 0), options)

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        mels, ids, texts = self.val
        found, nats, count = [""] * len(mels), 0.0, 0
        batches = list(in_batches(np.array([mel.shape[1] for mel in mels]), EVALUATED_FRAMES))
        end = self.tokenizer.end_id
        parts = ((self._arrays([mels[n] for n in some], [ids[n] for n in some]), end) for some in batches)
        for some, part in zip(batches, workers.map(scores, parts), strict=True):
            nats, count = nats + part[0], count + part[1]
            for n, row in zip(some, part[2], strict=True):
                found[n] = " ".join(self.tokenizer.decode(row).split())
            if between:
                between()
        loss, words, letters = nats / max(count, 1), wer(found, texts).rate, cer(found, texts).rate
        line = f"validation loss {loss:.4f}, WER {words:.1%}, CER {letters:.1%}"
        return Evaluation(loss, line, {"val_wer": words, "val_cer": letters})

    def _arrays(self, mels: Sequence[Array], ids: Sequence[list[int]]) -> dict[str, Array]:
        return arrays_for(self.config.model, self.tokenizer, mels, ids)

    # -------------------------------------------------------------------------------------------- reports

    def sample(self, model: Any, step: int) -> str:
        n = step % len(self.val.mels)
        found = read_spectrograms(model, [self.val.mels[n]], self.tokenizer)[0]
        return f"{found!r}  (right: {self.val.texts[n]!r})"

    def references(self) -> dict[str, float]:
        """The loss of a model that does not hear, and knows how frequent each letter is."""
        counts = np.bincount(np.concatenate(self.train.ids), minlength=self.tokenizer.vocab_size) + 1.0
        val = np.concatenate(self.val.ids).astype(int)
        return {"letter frequencies": float(-np.log(counts / counts.sum())[val].mean())}

    def next_steps(self, run: Any) -> list[list[str]]:
        return [["numpylm", "transcribe", str(run.folder), "sound.wav"]]

    def describe(self, run: Any) -> None:
        c, minutes = run.model.config, sum(mel.shape[1] for mel in self.train.mels) / FRAMES_A_SECOND / 60
        print(
            f"sounds      {len(self.train.mels):,} to train on ({minutes:.1f} minutes), {len(self.val.mels):,} held "
            f"out; {len(self.tokenizer.characters)} different letters"
        )
        print(
            f"model       {run.model.num_parameters():,} parameters: {len(run.model.blocks)} blocks, {c.n_head} heads, "
            f"{c.n_embd} channels; sounds of at most {2 * self.config.block_size / FRAMES_A_SECOND:.1f} s"
        )
        text, _ = Counter(self.train.texts).most_common(1)[0]
        print("baseline    WER of the held-out sounds:")
        print(f"  {wer([text] * len(self.val.texts), self.val.texts).rate:7.1%}   always {text!r}")
