"""Synthetic corpora: texts that numpylm generates, each with a probability that is known exactly."""

from numpylm.corpora import customer_messages, parallel_stories, stories
from numpylm.corpora.known_entropy import Corpus, LabelledCorpus, ParallelCorpus

CORPORA = {"stories": Corpus(stories.tell, seed=2024)}
PARALLEL = ParallelCorpus(parallel_stories.tell, seed=2025)
MESSAGES = LabelledCorpus(customer_messages.SOURCES, seed=2026)

__all__ = ["CORPORA", "MESSAGES", "PARALLEL", "Corpus", "LabelledCorpus", "ParallelCorpus"]
