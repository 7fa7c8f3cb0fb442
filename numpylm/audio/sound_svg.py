"""Pictures of sound as self-contained SVG files: the waveform above its log-mel spectrogram, on light and dark pages"""

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape

import numpy as np

from numpylm.audio.mel import HOP, RATE, hz_to_mel, log_mel
from numpylm.audio.wav import check_samples
from numpylm.system.shell import printable

LEFT, RIGHT, TOP = 64, 20, 52
WAVE, MEL, GAP, BOTTOM = 90, 180, 22, 44  # heights of the two pictures, between them, and below
POINTS = 700  # columns of the waveform, each from its lowest to its highest sample
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)
LIGHT = {"page": "#ffffff", "text": "#000000", "line": "#888888", "wave": "#08306b"}
DARK = {"page": "#111111", "text": "#ffffff", "line": "#888888", "wave": "#6baed6"}
# Colors from silence to the loudest band. Their brightness rises evenly, so that they can be read without color.
COLORS = np.array([[8, 8, 32], [62, 20, 110], [150, 40, 110], [225, 90, 60], [252, 175, 60], [252, 252, 190]])


def sound_svg(title: str, samples: np.ndarray, n_mels: int = 80, features: np.ndarray | None = None) -> str:
    """Draw a sound: amplitude over time, and below it the log-mel spectrogram over the same time.

    Parameters
    ----------
    title : str
    samples : float array of shape (N,), 16 kHz
    n_mels : int
    features : float array of shape (M, T), optional
        The spectrogram to draw, if it is not that of the samples: for instance with masks of SpecAugment.

    Returns
    -------
    str
        The SVG file. Both pictures have axes with units; the mel axis is labelled in Hz.
    """
    samples = check_samples(samples)
    mel = log_mel(samples, n_mels) if features is None else features
    seconds = len(samples) / RATE
    width = float(np.clip(250 * seconds, 320, 900))
    total, wave_bottom = LEFT + width + RIGHT, TOP + WAVE
    top, bottom = wave_bottom + GAP, wave_bottom + GAP + MEL
    image = base64.b64encode(png(colored(mel))).decode("ascii")
    height = bottom + BOTTOM
    box = f'x="{LEFT}" y="{top}" width="{width * mel.shape[1] * HOP / len(samples):.1f}" height="{MEL}"'
    parts = [
        # without a size of its own, a picture fills the page, or has no width at all in a table
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total:.0f}" height="{height}" '
        f'viewBox="0 0 {total:.0f} {height}" role="img">',
        f"<title>{escape(printable(title))}</title>",
        f"<style>text{{font:12px sans-serif}}.word{{font-weight:bold}}{css(LIGHT)}"
        f"@media (prefers-color-scheme:dark){{{css(DARK)}}}</style>",
        '<rect class="page" width="100%" height="100%"/>',
        text(LEFT, 22, title, extra='class="word"'),
        *waveform(samples, width),
        f'<image {box} preserveAspectRatio="none" href="data:image/png;base64,{image}"/>',
        *frequency_axis(top, n_mels),
        *time_axis(seconds, width, bottom),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def css(colors: dict[str, str]) -> str:
    """The rules for one kind of page."""
    return (
        f".page{{fill:{colors['page']}}}text{{fill:{colors['text']}}}.line{{stroke:{colors['line']};fill:none}}"
        f".wave{{stroke:{colors['wave']};fill:none}}"
    )


def text(x: float, y: float, content: str, anchor: str = "start", extra: str = "") -> str:
    """Text whose vertical middle is at y."""
    return f'<text x="{x:.1f}" y="{y:.1f}" dy=".35em" text-anchor="{anchor}" {extra}>{escape(content)}</text>'


def waveform(samples: np.ndarray, width: float) -> list[str]:
    """The waveform: for each column a line from the lowest to the highest sample in it, and the axis of amplitudes."""
    largest = float(np.abs(samples).max())
    limit = next(value for value in (0.001, 0.01, 0.1, 0.2, 0.5, 1.0, max(1.0, largest)) if value >= largest)
    columns = np.array_split(samples, min(POINTS, len(samples)))
    step, middle, scale = width / len(columns), TOP + WAVE / 2, WAVE / 2 / limit
    path = ""
    for n, column in enumerate(columns):
        low, high = middle - scale * column.min() + 0.5, middle - scale * column.max()
        path += f"M{LEFT + (n + 0.5) * step:.1f},{low:.1f}V{high:.1f}"
    parts = [f'<path class="wave" stroke-width="{max(1.0, step):.2f}" d="{path}"/>']
    parts.append(f'<rect class="line" x="{LEFT}" y="{TOP}" width="{width:.1f}" height="{WAVE}"/>')
    for value, y in ((limit, TOP), (0.0, middle), (-limit, TOP + WAVE)):
        parts.append(text(LEFT - 8, y, f"{value:g}", "end"))
    return [*parts, upright(middle, "amplitude")]


def frequency_axis(top: float, n_mels: int) -> list[str]:
    """Labels in Hz. Band i is centered at (i + 1) / (n_mels + 1) of the mel scale."""
    parts = []
    for hz in TICKS_HZ:
        band = hz_to_mel(hz) / hz_to_mel(RATE / 2) * (n_mels + 1) - 0.5  # in bands, from the lower edge of the picture
        y = top + MEL * (1 - min(float(band), n_mels) / n_mels)
        parts.append(f'<path class="line" d="M{LEFT - 4},{y:.1f}h4"/>')
        parts.append(text(LEFT - 8, y, str(hz), "end"))
    return [*parts, upright(top + MEL / 2, "frequency (Hz, mel scale)")]


def time_axis(seconds: float, width: float, bottom: float) -> list[str]:
    """Labels in seconds; the distance of two is 1, 2 or 5 times a power of ten."""
    steps = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5)]
    step = next((step for step in steps if step * width / seconds >= 45), seconds)
    parts = []
    for n in range(int(seconds / step) + 1):
        x = LEFT + width * n * step / seconds
        parts.append(f'<path class="line" d="M{x:.1f},{bottom}v4"/>')
        parts.append(text(x, bottom + 13, f"{n * step:g}", "middle"))
    return [*parts, text(LEFT + width / 2, bottom + 31, f"time (s); a column every {HOP * 1000 // RATE} ms", "middle")]


def upright(y: float, content: str) -> str:
    """The name of a vertical axis."""
    return text(14, y, content, "middle", f'transform="rotate(-90 14 {y:.1f})"')


def colored(features: np.ndarray) -> np.ndarray:
    """Values (M, T) to colors (M, T, 3) from the lowest to the highest value; low bands at the bottom."""
    low, high = float(features.min()), float(features.max())
    share = (features[::-1] - low) / ((high - low) or 1) * (len(COLORS) - 1)
    place = np.minimum(share.astype(int), len(COLORS) - 2)
    between = (share - place)[..., None]
    return (COLORS[place] * (1 - between) + COLORS[place + 1] * between).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels (H, W, 3) uint8: header, one compressed block of rows, end; each with its checksum."""
    H, W, _ = pixels.shape
    rows = np.concatenate([np.zeros((H, 1), np.uint8), pixels.reshape(H, 3 * W)], axis=1)  # filter 0 before each row

    def chunk(name: bytes, contents: bytes) -> bytes:
        return struct.pack(">I", len(contents)) + name + contents + struct.pack(">I", zlib.crc32(name + contents))

    header = struct.pack(">IIBBBBB", W, H, 8, 2, 0, 0, 0)
    parts: Sequence[bytes] = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")
