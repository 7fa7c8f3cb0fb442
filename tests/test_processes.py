"""Several processes give the ids of one, in order, and their complaints."""

import numpy as np
import pytest

from numpylm import Tokenizer, chunks
from numpylm.data import encode_documents
from numpylm.processes import encode_in_processes

TEXT = "Don't  stop \n\n the  naïve 漢字 🙂 42 cats'  \t tails. " * 40


@pytest.mark.slow
def test_the_same_ids_as_one_process(monkeypatch, tmp_path):
    """Blocks of a few characters, so that documents are cut many times; documents of one character, too."""
    tokenizer = Tokenizer.train(TEXT, 400)
    documents = [TEXT, "x", TEXT[7:] + " ", "   ", TEXT[::-1]]
    monkeypatch.setattr(chunks, "BLOCK", 50)
    whole = encode_documents(documents, tokenizer)
    assert (whole == tokenizer.end_id).sum() == 6
    np.testing.assert_array_equal(encode_documents(documents, tokenizer, processes=2), whole)
    mapped = encode_documents(documents, tokenizer, tmp_path, in_memory=100, processes=2)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, whole)


@pytest.mark.slow
def test_text_that_cannot_be_encoded_is_refused_as_by_one_process():
    tokenizer = Tokenizer.train(TEXT, 300)
    with pytest.raises(ValueError, match="lone surrogate"):
        list(encode_in_processes(tokenizer, ["good", "bad \ud800"], 2))
