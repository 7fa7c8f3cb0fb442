"""Write a bundled corpus to standard output, a file or a folder: ``python -m numpylm.corpora stories --size 10000``."""

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path

from numpylm.audio.wav import write_wav
from numpylm.corpora import CORPORA, SERVICE, spoken_numbers
from numpylm.corpora.service_rules import Conversation
from numpylm.system.streams import standard_streams
from numpylm.system.whole_files import write_text
from numpylm.text.data import join_documents


def json_line(conversation: Conversation) -> str:
    """A conversation in the format of the chat files of other libraries."""
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in conversation]}) + "\n"


def write_numbers(folder: Path, count: int, held_out: bool) -> None:
    """Write spoken numbers as WAV files, and their words in ``words.tsv``: a line with file and words for each."""
    lines = []
    for n, (samples, text) in enumerate(spoken_numbers(count, held_out=held_out)):
        name = f"{n:05}.wav"
        write_wav(folder / name, samples)
        lines.append(f"{name}\t{text}\n")
    write_text(folder / "words.tsv", "".join(lines))


def main() -> None:
    """Generate a corpus and write it: stories with their end-of-text marks, conversations as JSON lines, or sound."""
    parser = argparse.ArgumentParser(prog="python -m numpylm.corpora", description=__doc__)
    parser.add_argument("corpus", choices=(*CORPORA, "service", "numbers"))
    parser.add_argument("--size", type=int, default=1_000_000, help="bytes of stories (default: 1000000)")
    parser.add_argument("--count", type=int, default=1_000, help="how many conversations or numbers (default: 1000)")
    parser.add_argument("--held-out", action="store_true", help="service: other names; numbers: other voices")
    parser.add_argument("--out", type=Path, help="file to write (default: standard output); numbers: folder")
    args = parser.parse_args()
    if args.corpus == "numbers":
        if not args.out:
            parser.error("numbers are sound: give a folder for the WAV files with --out")
        write_numbers(args.out, args.count, args.held_out)
        return
    if args.corpus == "service":
        text = "".join(json_line(talk) for talk in SERVICE.conversations(args.count, held_out=args.held_out))
    else:
        text = join_documents(CORPORA[args.corpus].documents(args.size))
    if args.out:
        write_text(args.out, text)
    else:
        with standard_streams(), suppress(BrokenPipeError):
            sys.stdout.buffer.write(text.encode("utf-8"))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
