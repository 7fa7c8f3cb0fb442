"""Write a bundled corpus to standard output or a file: ``python -m numpylm.corpora stories --size 1000000``."""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from numpylm.corpora import CORPORA
from numpylm.system.streams import standard_streams
from numpylm.system.whole_files import write_text
from numpylm.text.data import join_documents


def main() -> None:
    """Generate the texts and write them with their end-of-text marks, in the format that numpylm train --data reads."""
    parser = argparse.ArgumentParser(prog="python -m numpylm.corpora", description=__doc__)
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("--size", type=int, default=1_000_000, help="bytes of text (default: 1000000)")
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    args = parser.parse_args()
    text = join_documents(CORPORA[args.corpus].documents(args.size))
    if args.out:
        write_text(args.out, text)
    else:
        with standard_streams(), suppress(BrokenPipeError):
            sys.stdout.buffer.write(text.encode("utf-8"))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
