"""Corpora that numpylm can make itself, with the exact probability of every text in them."""

from numpylm.corpora import stories
from numpylm.corpora.known_entropy import Corpus

CORPORA = {"stories": Corpus(stories.tell, seed=2024)}

__all__ = ["CORPORA", "Corpus"]
