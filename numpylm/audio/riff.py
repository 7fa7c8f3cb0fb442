"""Reading the header of a WAV file: the chunks of RIFF, how samples are stored, and where they begin and end"""

import os
import struct
from typing import BinaryIO, NamedTuple

PCM, FLOAT, EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
# Format tags of other codings, as registered in Microsoft's mmreg.h. They are named in the message that refuses them.
CODECS = {
    0x0002: "Microsoft ADPCM",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG audio",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
    0xF1AC: "FLAC",
}
GUID_END = bytes.fromhex("000000001000800000aa00389b71")  # of every subformat that is a format tag
BITS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}
RATES = (1000, 1_000_000)  # lowest and highest rate of a sound
UNKNOWN_SIZE = 0x7FFF0000  # from here on: sox, writing to a pipe, gives 0x7FFFF000 in whole frames, others 2³² - 1
OTHER_FORMS = {b"RF64": "an RF64 file (WAV beyond 4 GB)", b"RIFX": "a big-endian WAV file", b"BW64": "a BW64 file"}
CONVERT = "convert it, for example with: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav"


class WavFormat(NamedTuple):
    """How the samples of a WAV file are stored."""

    floating: bool  # IEEE floats, or else integers
    channels: int
    rate: int  # frames a second; a frame has one sample of each channel
    bits: int  # of a sample
    start: int  # byte of the file with which the samples begin
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        return self.channels * self.bits // 8


def read_header(file: BinaryIO, name: object, allow_truncated: bool = False) -> WavFormat:
    """Find the chunks "fmt " and "data" of a WAV file.

    A RIFF file is a list of chunks: four letters, the size as 32 bits, the contents, and a zero byte if the size is
    odd. Chunks that we do not need, such as LIST with the title of a song, are skipped.

    A program that writes to a pipe does not know how much will follow. It leaves 0 or a very large size in the header.
    The samples then end where the file ends.

    Parameters
    ----------
    file : seekable binary file
    name : object
        What error messages call the file.
    allow_truncated : bool
        Accept a file that ends before the size in its header, as an interrupted copy does.

    Raises
    ------
    ValueError
        If the file is no WAV file, ends too early, has no samples, or has samples that we do not read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(12)
    check_start(start, name)
    layout: tuple[int, int, int, int] | None = None
    while True:
        at = file.tell()
        head = file.read(8)
        if len(head) < 8:
            missing = '"data"' if layout else '"fmt "'
            raise ValueError(f"{name} is a WAV file without the chunk {missing}: it ends after {size:,} bytes")
        chunk, length = head[:4], struct.unpack("<I", head[4:])[0]
        if chunk == b"data":
            if layout is None:
                raise ValueError(f'{name} is damaged: the chunk "fmt " must come before the chunk "data"')
            riff_size = struct.unpack("<I", start[4:8])[0]
            length = data_length(length, size - at - 8, riff_size == size - 8, allow_truncated, name)
            return with_frames(layout, at + 8, length, name)
        if at + 8 + length > size:
            raise ValueError(f"{name} is cut off: it ends in the middle of the chunk {chunk!r}, after {size:,} bytes")
        if chunk == b"fmt ":
            layout = read_format(file.read(length), name)
        file.seek(at + 8 + length)
        if length % 2 and file.read(1) not in (b"", b"\0"):
            file.seek(-1, os.SEEK_CUR)  # some programs forget the zero byte


def check_start(start: bytes, name: object) -> None:
    """Refuse a file that does not begin as a WAV file."""
    if not start:
        raise ValueError(f"{name} is empty; expected a WAV file")
    if start[:4] in OTHER_FORMS:
        raise ValueError(f"{name} is {OTHER_FORMS[start[:4]]}, which is not read here; {CONVERT}")
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise ValueError(f"{name} is not a WAV file: it must begin with RIFF....WAVE, but it begins with {start!r}")


def read_format(chunk: bytes, name: object) -> tuple[int, int, int, int]:
    """Format tag, channels, rate and bits from the contents of the chunk "fmt ".

    WAVE_FORMAT_EXTENSIBLE stores the tag later, as the first two bytes of a GUID.
    """
    if len(chunk) < 16:
        raise ValueError(f'{name} is damaged: its chunk "fmt " has {len(chunk)} bytes instead of 16 or more')
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == EXTENSIBLE:
        if len(chunk) < 40:
            raise ValueError(f'{name} is damaged: its extensible chunk "fmt " has {len(chunk)} bytes instead of 40')
        guid = chunk[24:40]
        tag = struct.unpack("<H", guid[:2])[0]
        if guid[2:] != GUID_END:
            raise ValueError(f"{name} has samples of the unknown kind {guid.hex()}; {CONVERT}")
    if tag not in BITS:
        codec = CODECS.get(tag, "an unknown coding")
        raise ValueError(f"{name} has samples in {codec} (format 0x{tag:04x}); PCM and float are read; {CONVERT}")
    if bits not in BITS[tag]:
        kind = "float" if tag == FLOAT else "PCM"
        raise ValueError(f"{name} has {kind} samples of {bits} bits; {kind} of {BITS[tag]} bits is read; {CONVERT}")
    if not channels or align != channels * bits // 8:
        raise ValueError(
            f"{name} is damaged: {channels} channels of {bits} bits at {rate} Hz in frames of {align} bytes do not fit"
        )
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(
            f"{name} is damaged: it cannot have {rate} Hz; sound has {RATES[0]} to {RATES[1]} samples a second"
        )
    return tag, channels, rate, bits


def data_length(length: int, rest: int, closed: bool, allow_truncated: bool, name: object) -> int:
    """Bytes of samples. ``rest`` is what the file still has; ``closed`` says that its size in the header is right."""
    if (length == 0 and not closed) or (length >= UNKNOWN_SIZE and length > rest):
        return rest
    if length > rest and not allow_truncated:
        raise ValueError(
            f"{name} is cut off: it should have {length:,} bytes of samples, but only {rest:,} are there. Copy it "
            f"again; numpylm transcribe --allow-truncated, and allow_truncated=True in Python, take what is there"
        )
    return min(length, rest)


def with_frames(layout: tuple[int, int, int, int], start: int, length: int, name: object) -> WavFormat:
    """The format with the number of whole frames in ``length`` bytes."""
    tag, channels, rate, bits = layout
    frames = length // (channels * bits // 8)
    if not frames:
        raise ValueError(f"{name} is a WAV file without a single sample")
    return WavFormat(tag == FLOAT, channels, rate, bits, start, frames)
