"""Subtitles in the format SubRip (``.srt``): a number, two times and a text for each segment."""

from numpylm.inference.transcribe import Segment


def srt_time(seconds: float) -> str:
    """Hours, minutes, seconds and milliseconds: 3723.5 -> 01:02:03,500."""
    rest, milliseconds = divmod(round(1000 * seconds), 1000)
    minutes, seconds = divmod(rest, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d},{milliseconds:03d}"


def srt_entry(number: int, segment: Segment) -> str:
    """The entry of one segment; entries are numbered from 1, and end with an empty line."""
    text = segment.text.strip().replace("\n\n", "\n")  # an empty line would end the entry
    return f"{number}\n{srt_time(segment.start)} --> {srt_time(max(segment.end, segment.start + 0.02))}\n{text}\n\n"
