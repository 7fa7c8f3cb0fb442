"""The speech task: tiny runs of both architectures on tones, resuming, the command that hears, and what is left out."""

import numpy as np
import pytest

from numpylm import load_model
from numpylm.audio import write_wav
from numpylm.audio.mel import RATE
from numpylm.cli.main import main
from numpylm.inference.recognize import cut_where_quiet, recognize
from numpylm.models.speech_ctc import SpeechCTC
from numpylm.models.whisper import Whisper
from numpylm.tasks.speech import Speech
from numpylm.tasks.speech_models import fewest_frames
from numpylm.training.config import make_config
from numpylm.training.run_state import resume_config
from numpylm.training.train import train
from tests.tiny_training import everything

TONES = {"a": 400, "b": 900, "c": 2000}  # Hz
TINY = {
    "task": "speech",
    "data": "sounds",
    "check_gradients": False,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "batch_tokens": 100,
    "max_steps": 6,
    "eval_interval": 3,
    "val_fraction": 0.2,
}


def say(text, rng):
    """A tone of 0.1 s for each letter, and short silences."""
    parts = []
    for letter in text:
        t = np.arange(RATE // 10) / RATE
        parts += [0.3 * np.sin(2 * np.pi * TONES[letter] * t), np.zeros(rng.integers(400, 1600))]
    return np.concatenate([*parts, np.zeros(800)]).astype(np.float32)


def write_sounds(folder, count=30):
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for n in range(count):
        text = "".join(rng.choice(list(TONES), rng.integers(1, 4)))
        write_wav(folder / f"{n}.wav", say(text, rng))
        rows.append(f"{n}.wav\t{text}\n")
    (folder / "texts.tsv").write_text("".join(rows))


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sounds(tmp_path / "sounds")
    return tmp_path / "sounds"


@pytest.mark.parametrize(("model", "kind"), [("ctc", SpeechCTC), ("whisper", Whisper)])
def test_a_run_resumes_to_the_bit_and_its_model_hears(sounds, model, kind, capsys):
    config = make_config(TINY, {"model": model, "out": "whole"})
    whole = train(config, task=Speech)
    part = train(make_config(TINY, {"model": model, "out": "part"}), task=Speech, stop_at=3)
    train(resume_config(part, {}), resume=part, task=Speech)
    assert everything(whole)["last.npz"] == everything(part)["last.npz"]
    assert {k: v for k, v in everything(whole).items() if "model" in k} == {
        k: v for k, v in everything(part).items() if "model" in k
    }
    loaded = load_model(whole)
    assert isinstance(loaded, kind)
    heard = recognize(loaded, [say("ab", np.random.default_rng(5)), say("c" * 30, np.random.default_rng(6))])
    assert [set(text) <= {*TONES, " "} for text in heard] == [True, True]
    assert heard == loaded.recognize([say("ab", np.random.default_rng(5)), say("c" * 30, np.random.default_rng(6))])
    assert main(["transcribe", "whole", "sounds/0.wav", "--beam", "2"]) == 0
    if kind is SpeechCTC:
        assert main(["export", "whole", "exported"]) == 1
    assert main(["transcribe", "whole", "sounds/0.wav", "--srt"]) == 1
    assert "--srt is for published Whisper models, not for runs such as whole" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("model", "steps"), [("ctc", 250), ("whisper", 400)])
def test_tones_are_learned(sounds, model, steps):
    """Fails if sounds and transcripts are mixed up in batches, or lengths are wrong."""
    more = {"model": model, "max_steps": steps, "eval_interval": steps, "batch_tokens": 400, "n_embd": 32}
    run = train(make_config(TINY, more | {"out": "run", "augment": False, "learning_rate": 5e-3}), task=Speech)
    rng = np.random.default_rng(9)
    texts = ["a", "bc", "cab", "bb"]
    assert recognize(load_model(run), [say(text, rng) for text in texts]) == texts


def test_what_cannot_be_aligned_or_read_is_left_out(sounds, capsys):
    (sounds / "texts.tsv").write_text((sounds / "texts.tsv").read_text().replace("0.wav\t", f"0.wav\t{'a' * 90}", 1))
    write_wav(sounds / "long.wav", np.full(20 * RATE, 0.1, np.float32))
    with (sounds / "texts.tsv").open("a") as file:
        file.write("long.wav\tabc\n")
    task = Speech(make_config(TINY, {"model": "ctc", "block_size": 200, "val_fraction": 0.05}))
    model = task.start(None)
    out = capsys.readouterr().out
    assert "1 training sounds that are too short for their transcripts" in out
    assert "1 held-out sounds of more than 4 s (--block-size" in out
    assert model.config.block_size < 60  # it fits the longest sound that is left
    assert len(task.train.mels) + len(task.val.mels) == 30 - 1


def test_fewest_frames_counts_the_blank_between_equal_letters():
    assert [fewest_frames(ids) for ids in ([], [1], [1, 2], [1, 1], [1, 1, 1])] == [2, 2, 4, 6, 10]


def test_long_sounds_are_cut_where_they_are_quiet():
    rng = np.random.default_rng(0)
    loud, quiet = rng.standard_normal(RATE).astype(np.float32), np.zeros(RATE // 4, np.float32)
    sound = np.concatenate([loud, quiet, loud, quiet, loud])
    pieces = cut_where_quiet(sound, 150)
    np.testing.assert_array_equal(np.concatenate(pieces), sound)
    assert len(pieces) == 3
    assert all(RATE <= len(piece) <= 150 * 160 for piece in pieces)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "gpt"}, "model must be ctc or whisper for --task speech"),
        ({"task": "language-model", "model": "ctc"}, "model must be gpt or llama for --task language-model"),
        ({"task": "language-model", "augment": False}, "augment is for --task speech"),
    ],
)
def test_settings_of_other_tasks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_config({"task": "speech"}, changes)
