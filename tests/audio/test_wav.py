"""WAV files: every kind of sample is read, odd headers are understood, and bad files get one clear error."""

import io
import struct
import wave

import numpy as np
import pytest

from numpylm.audio import read_wav, write_wav
from numpylm.audio.riff import read_header
from numpylm.audio.wav import wav_blocks
from tests.audio.wav_bytes import chunk, encode, fmt, riff, wav

RNG = np.random.default_rng(1)
SAMPLES = RNG.uniform(-0.99, 0.99, 501)
STEP = {8: 2 / 128, 16: 2 / 2**15, 24: 2 / 2**23, 32: 1e-7, 64: 1e-7}
KINDS = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)]


def saved(tmp_path, data):
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("tag", "bits"), KINDS)
def test_every_kind_of_sample_is_read(tmp_path, tag, bits, extensible):
    samples, rate = read_wav(saved(tmp_path, wav(SAMPLES, tag, bits, 22050, extensible)))
    assert (rate, samples.dtype, samples.shape) == (22050, np.float32, (501,))
    np.testing.assert_allclose(samples, SAMPLES, atol=STEP[bits])


@pytest.mark.parametrize(("tag", "bits"), KINDS)
def test_the_channels_are_averaged(tmp_path, tag, bits):
    stereo = np.stack([SAMPLES, -SAMPLES / 2], axis=1)
    samples, _ = read_wav(saved(tmp_path, wav(stereo, tag, bits)))
    np.testing.assert_allclose(samples, SAMPLES / 4, atol=STEP[bits])


def test_full_scale_and_zero_are_exact(tmp_path):
    for bits, extremes in [(16, [-(2**15), 0, 2**15 - 1]), (24, [-(2**23), 0, 2**23 - 1]), (32, [-(2**31), 0])]:
        data = b"".join(n.to_bytes(bits // 8, "little", signed=True) for n in extremes)
        samples, _ = read_wav(saved(tmp_path, riff(fmt(1, 1, 8000, bits), chunk(b"data", data))))
        np.testing.assert_array_equal(samples, np.float32(np.array(extremes) / 2 ** (bits - 1)))
    samples, _ = read_wav(saved(tmp_path, riff(fmt(1, 1, 8000, 8), chunk(b"data", bytes([0, 128, 255])))))
    np.testing.assert_array_equal(samples, np.float32([-1, 0, 127 / 128]))


def test_chunks_of_odd_size_before_the_samples_are_skipped(tmp_path):
    data = encode(SAMPLES, 1, 16)
    layout = fmt(1, 1, 8000, 16)
    file = riff(chunk(b"LIST", b"INFOINAM\3\0\0\0abc"), layout, chunk(b"junk", b"x"), chunk(b"data", data))
    np.testing.assert_allclose(read_wav(saved(tmp_path, file))[0], SAMPLES, atol=STEP[16])


def test_chunks_after_the_samples_are_no_sound(tmp_path):
    file = riff(fmt(1, 1, 8000, 8), chunk(b"data", bytes(7)), chunk(b"LIST", bytes(100)))
    assert len(read_wav(saved(tmp_path, file))[0]) == 7


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFEFFFF + 0xF000, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_a_stream_of_unknown_size_is_read_to_its_end(tmp_path, size):
    file = riff(fmt(1, 1, 8000, 16), chunk(b"data", encode(SAMPLES, 1, 16), size), size=size)
    np.testing.assert_allclose(read_wav(saved(tmp_path, file))[0], SAMPLES, atol=STEP[16])


def test_a_chunk_of_odd_length_without_its_zero_byte(tmp_path):
    odd = b"LIST" + struct.pack("<I", 3) + b"abc"
    file = riff(fmt(1, 1, 8000, 16), odd, chunk(b"data", encode(SAMPLES, 1, 16)))
    assert len(read_wav(saved(tmp_path, file))[0]) == len(SAMPLES)


def test_half_a_frame_at_the_end_is_left_out(tmp_path):
    file = riff(fmt(1, 2, 8000, 16), chunk(b"data", bytes(4 * 10 + 3)))
    assert len(read_wav(saved(tmp_path, file))[0]) == 10


def test_a_cut_off_file_is_refused_unless_that_is_allowed(tmp_path):
    path = saved(tmp_path, wav(SAMPLES)[:-200])
    with pytest.raises(ValueError, match=r"cut off: it should have 1,002 bytes of samples, but only 802 are there"):
        read_wav(path)
    np.testing.assert_allclose(read_wav(path, allow_truncated=True)[0], SAMPLES[:401], atol=STEP[16])


def test_samples_are_the_same_block_by_block(tmp_path):
    path = saved(tmp_path, wav(np.stack([SAMPLES, SAMPLES], axis=1), bits=24))
    with path.open("rb") as file:
        blocks = list(wav_blocks(file, read_header(file, path), path, frames=100))
    assert [len(block) for block in blocks] == [100] * 5 + [1]
    np.testing.assert_array_equal(np.concatenate(blocks), read_wav(path)[0])


GOOD = fmt(1, 1, 16000, 16)
DATA = chunk(b"data", bytes(8))
EXTENSIBLE = fmt(1, 1, 16000, 16, extensible=True)
BAD = {
    "empty": (b"", "is empty"),
    "text": (b"Once upon a time, there was", "not a WAV file.*begins with b'Once upon"),
    "other RIFF": (riff(GOOD, DATA).replace(b"WAVE", b"AVI "), "not a WAV file"),
    "RF64": (riff(GOOD, DATA).replace(b"RIFF", b"RF64"), "RF64.*ffmpeg"),
    "big-endian": (riff(GOOD, DATA).replace(b"RIFF", b"RIFX"), "big-endian"),
    "only a start": (riff(), 'without the chunk "fmt "'),
    "no samples": (riff(GOOD), 'without the chunk "data"'),
    "zero length": (riff(GOOD, chunk(b"data", b"")), "without a single sample"),
    "zero length, then a list": (riff(GOOD, chunk(b"data", b""), chunk(b"LIST", b"abcd")), "without a single sample"),
    "samples first": (riff(DATA, GOOD), "must come before"),
    "short fmt": (riff(chunk(b"fmt ", bytes(10)), DATA), "10 bytes instead of 16"),
    "short extensible": (riff(chunk(b"fmt ", EXTENSIBLE[8:30]), DATA), "22 bytes instead of 40"),
    "foreign GUID": (riff(EXTENSIBLE[:-1] + b"\xff", DATA), "unknown kind"),
    "cut in a list": (riff(GOOD, chunk(b"LIST", b"abcd", 1000)), "cut off.*LIST"),
    "ADPCM": (riff(fmt(2, 1, 16000, 4), DATA), r"Microsoft ADPCM \(format 0x0002\).*ffmpeg"),
    "mu-law": (riff(fmt(7, 1, 8000, 8), DATA), "mu-law"),
    "foreign": (riff(fmt(0x1234, 1, 8000, 8), DATA), "unknown coding.*0x1234"),
    "12 bits": (riff(fmt(1, 1, 16000, 12), DATA), "PCM samples of 12 bits"),
    "half floats": (riff(fmt(3, 1, 16000, 16), DATA), "float samples of 16 bits"),
    "no channels": (riff(fmt(1, 0, 16000, 16), DATA), "0 channels"),
    "no rate": (riff(fmt(1, 1, 0, 16), DATA), "cannot have 0 Hz"),
    "a wild rate": (riff(fmt(1, 1, 0x7FFFFFFF, 16), DATA), "cannot have 2147483647 Hz"),
    "NaN": (wav(np.array([0.0, np.nan]), 3, 32), "NaN, infinite or"),
    "too large for 32 bits": (wav(np.array([0.0, 1e300]), 3, 64), "NaN, infinite or"),
    "infinite": (wav(np.array([0.0, np.inf]), 3, 64), "NaN, infinite or"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_clear_error(tmp_path, name):
    data, message = BAD[name]
    with pytest.raises(ValueError, match=f"sound.wav.*{message}"):
        read_wav(saved(tmp_path, data))


def test_a_header_cut_anywhere_is_an_error_of_ours():
    whole = riff(EXTENSIBLE, chunk(b"LIST", b"abc"), chunk(b"data", encode(SAMPLES[:20], 1, 16)))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"sound\.wav"):
            read_header(io.BytesIO(whole[:length]), "sound.wav")


def test_a_damaged_header_is_read_or_refused_but_never_a_traceback():
    whole = riff(EXTENSIBLE, chunk(b"LIST", b"abc"), chunk(b"data", encode(SAMPLES[:20], 1, 16)))
    rng, read, messages = np.random.default_rng(0), 0, []
    for _ in range(1000):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole) - 40, size=3):
            damaged[place] = rng.integers(256)
        file = io.BytesIO(bytes(damaged))
        try:
            form = read_header(file, "sound.wav")
            read += sum(len(block) for block in wav_blocks(file, form, "sound.wav")) == form.frames
        except ValueError as error:
            messages.append(str(error))
    assert 10 < read < 900
    assert all(message.startswith("sound.wav") and "\n" not in message for message in messages)


def test_more_than_4_gb_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="at most 4 GB"):
        write_wav(tmp_path / "out.wav", np.broadcast_to(np.float32(0), 2**31))


def test_what_is_written_is_read_by_python_and_by_us(tmp_path):
    path = tmp_path / "folder" / "out.wav"
    write_wav(path, np.append(SAMPLES, [1.5, -1.5]).astype(np.float32), 22050)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (1, 2, 22050, 503)
    samples, rate = read_wav(path)
    assert rate == 22050
    np.testing.assert_allclose(samples[:-2], SAMPLES, atol=0.51 / 2**15)
    np.testing.assert_array_equal(samples[-2:], np.float32([32767 / 32768, -1]))  # clipped, not wrapped around
    assert struct.unpack("<I", path.read_bytes()[4:8])[0] == path.stat().st_size - 8


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0), "at least one sample"),
        (np.zeros((2, 5)), "one channel"),
        (np.array([0, np.nan]), "NaN"),
        (np.zeros(5, np.int16), "int16.*divide"),
    ],
)
def test_what_is_no_sound_is_not_written(tmp_path, samples, message):
    with pytest.raises(ValueError, match=message):
        write_wav(tmp_path / "out.wav", samples)
    assert not list(tmp_path.iterdir())
