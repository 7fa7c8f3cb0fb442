"""Pictures of sound: well-formed, with axes and units, and showing the loud where it is loud."""

import base64
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

from numpylm.audio import log_mel, sound_svg
from numpylm.audio.sound_svg import COLORS, DARK, LIGHT, colored, png

SVG = "{http://www.w3.org/2000/svg}"
TONE = (np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000) * np.repeat([0, 0.4], 8000)).astype(np.float32)


def pixels(file):
    """The pixels of a PNG file of ours, with its checksums verified."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, {}
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        name, data = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        assert struct.unpack(">I", file[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + data)
        found[name], at = data, at + 12 + length
    W, H = struct.unpack(">II", found[b"IHDR"][:8])
    return np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(H, 1 + 3 * W)[:, 1:].reshape(H, W, 3)


def test_the_picture_has_axes_with_units_and_a_title():
    root = ET.fromstring(sound_svg("a <tone> & silence", TONE))
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert {"a <tone> & silence", "amplitude", "frequency (Hz, mel scale)", "0.5", "-0.5", "8000", "0"} <= set(words)
    assert any(word.startswith("time (s)") for word in words)
    assert root.find(f"{SVG}title").text == "a <tone> & silence"


def test_the_picture_has_a_size_of_its_own():
    """Without one, a picture in a table of a Markdown page is 0 pixels wide, and elsewhere it fills the page."""
    root = ET.fromstring(sound_svg("tone", TONE))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"


def test_loud_bands_are_bright_and_low_frequencies_are_at_the_bottom():
    root = ET.fromstring(sound_svg("tone", TONE))
    image = pixels(base64.b64decode(root.find(f"{SVG}image").get("href").partition(",")[2]))
    assert image.shape == (80, 100, 3)
    brightness = image.sum(axis=2)
    assert brightness[:, 10].max() < 200 < brightness[:, 75].max()
    row = int(brightness[:, 75].argmax())
    assert 79 - row == log_mel(TONE)[:, 75].argmax()


def test_the_waveform_is_drawn_to_its_scale():
    root = ET.fromstring(sound_svg("tone", TONE))
    path = next(e for e in root.iter(f"{SVG}path") if e.get("class") == "wave").get("d")
    columns = [tuple(map(float, part.replace("V", ",").split(","))) for part in path.split("M")[1:]]
    heights = [low - high for _, low, high in columns]
    assert heights[0] == pytest.approx(0.5, abs=0.11)
    assert heights[-1] == pytest.approx(90 * 0.4 / 0.5, abs=1)  # 0.4 of 0.5, both ways


def test_masked_features_can_be_drawn_and_silence_too():
    assert sound_svg("masked", TONE, features=np.zeros((80, 100))).count("<image") == 1
    ET.fromstring(sound_svg("silence", np.zeros(400)))


def test_any_length_has_a_few_labels():
    for seconds in (0.02, 0.5, 40):
        root = ET.fromstring(sound_svg("noise", np.ones(int(16000 * seconds), np.float32) * 2.5))
        assert 5 < len(list(root.iter(f"{SVG}text"))) < 40


def test_colors_rise_in_brightness_and_both_pages_have_the_same_parts():
    assert (np.diff(COLORS @ [0.2126, 0.7152, 0.0722]) > 0).all()
    assert LIGHT.keys() == DARK.keys()
    ends = colored(np.array([[0.0, 1.0]]))
    np.testing.assert_array_equal(ends[0], COLORS[[0, -1]])


def test_a_png_file_holds_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(pixels(png(image)), image)
