"""Synthetic corpora: texts that numpylm generates, each with a probability that is known exactly."""

import math
from collections.abc import Sequence

from numpylm.corpora import customer_messages, parallel_stories, stories
from numpylm.corpora.known_entropy import Corpus, LabelledCorpus, ParallelCorpus

CORPORA = {"stories": Corpus(stories.tell, seed=2024)}
PARALLEL = ParallelCorpus(parallel_stories.tell, seed=2025)
MESSAGES = LabelledCorpus(customer_messages.SOURCES, seed=2026)

__all__ = ["CORPORA", "MESSAGES", "PARALLEL", "Corpus", "LabelledCorpus", "ParallelCorpus"]


def source_nats(documents: Sequence[str]) -> float | None:
    """-log of the probability of all documents under the generator that made them, in nats; None if it is unknown."""
    for corpus in CORPORA.values():
        total = 0.0
        for document in documents:
            total += corpus.nats(document)
            if math.isinf(total):
                break
        else:
            return total
    return None
