"""Synthetic corpora: texts that numpylm generates, each with a probability that is known exactly."""

import math
from collections.abc import Sequence

from numpylm.corpora import customer_messages, parallel_stories, stories, verses
from numpylm.corpora.customer_service import CustomerService
from numpylm.corpora.known_entropy import Corpus, LabelledCorpus, ParallelCorpus
from numpylm.corpora.spoken_numbers import spoken_numbers

VERSES = Corpus(verses.tell, seed=2028)
CORPORA = {"stories": Corpus(stories.tell, seed=2024), "verses": VERSES}
PARALLEL = ParallelCorpus(parallel_stories.tell, seed=2025)
MESSAGES = LabelledCorpus(customer_messages.SOURCES, seed=2026)
SERVICE = CustomerService(seed=2027)

__all__ = [
    "CORPORA",
    "MESSAGES",
    "PARALLEL",
    "SERVICE",
    "VERSES",
    "Corpus",
    "CustomerService",
    "LabelledCorpus",
    "ParallelCorpus",
    "spoken_numbers",
]


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
