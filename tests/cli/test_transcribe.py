"""numpylm transcribe: lines and subtitles, several files, standard input, and one clear line for bad input."""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="a Whisper is read from safetensors")

from numpylm.audio import write_wav
from numpylm.cli.main import main
from tests.tiny_whisper import tiny_whisper


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    tiny_whisper(dtype=np.float32).save_pretrained(folder)
    return str(folder)


def noise(seconds, rate=16000, seed=0, level=0.1):
    return level * np.random.default_rng(seed).standard_normal(int(rate * seconds))


@pytest.fixture
def talk(tmp_path):
    write_wav(tmp_path / "talk.wav", noise(1.2))
    return str(tmp_path / "talk.wav")


def ran(capsys, *argv, code=0):
    assert main(["transcribe", *argv]) == code
    return capsys.readouterr()


def test_the_folder_keeps_the_special_tokens(model):
    from numpylm import load_model

    assert load_model(model).speech_tokens == tiny_whisper().speech_tokens


def test_lines_and_subtitles_have_the_same_texts(model, talk, capsys):
    options = (model, talk, "--language", "en", "--temperature", "0")
    lines = ran(capsys, *options).out.splitlines()
    subtitles = ran(capsys, *options, "--srt").out
    entries = [entry.split("\n") for entry in subtitles.strip().split("\n\n")]
    assert lines
    assert [entry[0] for entry in entries] == [str(n + 1) for n in range(len(entries))]
    assert all(entry[1][:2] == "00" and " --> " in entry[1] for entry in entries)
    assert [line for entry in entries for line in entry[2:]] == lines


def test_several_recordings_get_headings_or_files(model, talk, tmp_path, capsys):
    other = str(tmp_path / "other.wav")
    write_wav(other, noise(0.5, 44100, seed=1), 44100)
    out = ran(capsys, model, talk, other, "--temperature", "0").out
    assert out.startswith(f"{talk}:\n")
    assert f"\n{other}:\n" in out
    assert ran(capsys, model, talk, other, "--srt", "--temperature", "0").out == ""
    assert (tmp_path / "talk.srt").read_text().startswith("1\n00:00:00,")
    assert (tmp_path / "other.srt").exists()
    assert "talk.srt exists already" in ran(capsys, model, talk, other, "--srt", code=1).err


def test_standard_input(model, talk, capsys, monkeypatch):
    expected = ran(capsys, model, talk, "--temperature", "0").out
    for names in ((), ("-",)):
        data = Path(talk).read_bytes()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert ran(capsys, model, *names, "--temperature", "0").out == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "standard input is empty" in ran(capsys, model, code=1).err


def test_silence_and_clipping_are_said(model, tmp_path, capsys):
    quiet, loud = str(tmp_path / "quiet.wav"), str(tmp_path / "loud.wav")
    write_wav(quiet, np.zeros(16000))
    write_wav(loud, noise(0.4, level=1.0))
    found = ran(capsys, model, quiet)
    assert (found.out, "nothing is said" in found.err) == ("", True)
    assert "is clipped: 3" in ran(capsys, model, loud, "--temperature", "0").err


def floats(*samples):
    data = struct.pack(f"<{len(samples)}f", *samples)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16000, 64000, 4, 32)
    return (
        struct.pack("<4sI4s", b"RIFF", 12 + len(form) + len(data), b"WAVE")
        + form
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )


BAD = {
    "empty": (b"", "is empty; expected a WAV file"),
    "text": (b"hello, this is text", "is not a WAV file"),
    "cut off": (floats(*[0.1] * 900)[:-400], "is cut off: it should have 3,600 bytes of samples"),
    "no samples": (floats(), "without a single sample"),
    "NaN": (floats(*[float("nan")] * 900), "NaN, infinite or"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_recordings_get_one_line(name, model, tmp_path, capsys):
    data, message = BAD[name]
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    error = ran(capsys, model, str(path), code=1).err
    assert message in error
    assert error.count("\n") == 1
    assert "--allow-truncated" in error if name == "cut off" else True


def test_a_bad_recording_does_not_stop_the_others(model, talk, tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"")
    found = ran(capsys, model, str(tmp_path / "bad.wav"), talk, "--temperature", "0", code=1)
    assert "bad.wav is empty" in found.err
    assert len(found.out.split(f"{talk}:\n")[1]) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--language", "xx"), "no language 'xx'; it has de, en, zh"),
        (("--temperature", "-1"), "--temperature must be at least 0"),
    ],
)
def test_wrong_options_get_one_line(options, message, model, talk, capsys):
    error = ran(capsys, model, talk, *options, code=1).err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_file_and_another_kind_of_model(model, talk, tmp_path, capsys):
    assert "nothing.wav" in ran(capsys, model, str(tmp_path / "nothing.wav"), code=1).err
    from numpylm import GPT, GPTConfig

    GPT(GPTConfig(7, 4, 1, 1, 4)).save_pretrained(tmp_path / "gpt")
    assert "holds a GPT, and a Whisper is needed" in ran(capsys, str(tmp_path / "gpt"), talk, code=1).err
