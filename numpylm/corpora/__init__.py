"""Synthetic corpora: texts that numpylm generates, each with a probability that is known exactly."""

from numpylm.corpora import stories
from numpylm.corpora.known_entropy import Corpus

CORPORA = {"stories": Corpus(stories.tell, seed=2024)}

__all__ = ["CORPORA", "Corpus"]
