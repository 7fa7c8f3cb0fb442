"""Lower-case a text and tokenize it with Moses, as in the published results on Multi30k. It needs sacremoses.

python benchmarks/moses.py de < test.de > test.lc.tok.de
"""

import sys

from sacremoses import MosesPunctNormalizer, MosesTokenizer


def main() -> None:
    language = sys.argv[1]
    normalize, tokenizer = MosesPunctNormalizer(language).normalize, MosesTokenizer(language)
    for line in sys.stdin:
        print(tokenizer.tokenize(normalize(line.strip()), return_str=True, escape=False).lower())


if __name__ == "__main__":
    main()
