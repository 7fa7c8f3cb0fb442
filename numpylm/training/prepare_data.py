"""Preparing the data of a training run: documents, tokenizer, token arrays, and baseline losses."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpylm.corpora import CORPORA, source_nats
from numpylm.nn.module import Array
from numpylm.system.processor import available_cores
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.cleaning import clean
from numpylm.text.data import (
    check_length,
    document_starts,
    encode_documents,
    fits_documents,
    read_documents,
)
from numpylm.text.line_documents import cut_lines
from numpylm.text.loss_mask import answer_bytes, encode_answers, note_repeated_marks, text_bytes
from numpylm.text.pretokenize import END_OF_TEXT
from numpylm.text.text_files import find_texts, first_paths, is_pipe
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.train_val_split import split_train_val
from numpylm.training import baselines
from numpylm.training.config import TrainConfig

FEWEST_CHARACTERS_FOR_PROCESSES = 30_000_000  # characters; a longer text is tokenized by several processes


def load_documents(config: TrainConfig) -> list[str]:
    """Read (or generate) the texts and clean them. It prints what it did."""
    if config.data:
        found = find_texts(config.data)
        for pipe in filter(is_pipe, found.files):
            name = first_paths([pipe])
            print(f"note        a pipe ({name}) is read once: to resume this run, give the same text again with --data")
        documents = read_documents(found.files)
        source, left_out = f"{first_paths(config.data)}: ", found.reasons()
        if len(found.files) > 1:
            source += f"{found.kinds()}, "
    else:
        documents = CORPORA["stories"].documents(int(config.stories_mb * 1e6))
        source, left_out = "bundled stories: ", []
    documents, report = clean(documents, config.clean)
    for entry in report:
        print(f"cleaning    {entry}")
    size = sum(len(document.encode("utf-8", "surrogatepass")) for document in documents)
    print(f"text        {source}{len(documents):,} documents, {size / 1e6:.2f} MB")
    for line in left_out:
        print(f"left out    {line}")
    return documents


def as_documents(config: TrainConfig, documents: list[str]) -> list[str]:
    """The documents themselves or their lines, depending on the config."""
    return cut_lines(documents) if config.documents == "lines" else documents


def split(config: TrainConfig, documents: list[str]) -> tuple[list[str], list[str]]:
    """Split documents into a training set and a validation set; the same config gives the same split."""
    rng = np.random.default_rng(config.seed)
    return split_train_val(documents, config.val_fraction, rng, int(config.max_val_mb * 1e6))


def make_tokenizer(config: TrainConfig, train_docs: list[str], val_docs: list[str]) -> Tokenizer | CharTokenizer:
    """Train the tokenizer of the config on the training text.

    A character tokenizer gets the characters of the whole text. A character that occurs only in the validation text has
    an id, but the model does not learn it.
    """
    if config.tokenizer == "char":
        special = (END_OF_TEXT,) if len(train_docs) > 1 else ()
        rare = "".join(sorted(set().union(*val_docs) - set().union(*train_docs)))
        if rare:
            print(f"tokenizer   {len(rare)} characters occur in the validation text only, and get ids: {rare[:20]!r}")
        return CharTokenizer.train(train_docs + val_docs, special_tokens=special)
    tokenizer = Tokenizer.train(train_docs, config.vocab_size, progress=True, whole_characters=config.whole_characters)
    if tokenizer.vocab_size < config.vocab_size:
        print(f"tokenizer   only {tokenizer.vocab_size} tokens, not {config.vocab_size}: no more pairs occur twice")
    return tokenizer


@dataclass
class Data:
    """The token arrays of a run, with loss masks and the positions where windows begin."""

    train: Array
    val: Array
    # UTF-8 bytes of the validation text without end-of-text marks, or of its answers if only these count
    val_bytes: int
    starts: Array | None  # where windows begin, if they begin with documents
    val_starts: Array | None
    counted: Array | None  # loss mask: which tokens count (bool); None: all
    val_counted: Array | None
    source_entropy: float | None  # of the validation text, in nats per token, if the source is known

    @classmethod
    def encode(
        cls,
        train_docs: list[str],
        val_docs: list[str],
        tokenizer: Tokenizer | CharTokenizer,
        config: TrainConfig,
        folder: Path,
        processes: bool = False,
    ) -> "Data":
        """Tokenize the documents. Large arrays are stored in temporary files in ``folder``.

        With ``processes``, long texts are tokenized by one process for each core.
        """
        counted = val_counted = None
        mark = config.loss_after
        if mark:
            note_repeated_marks(train_docs, mark)
            train, counted = encode_answers(train_docs, tokenizer, mark)
            val, val_counted = encode_answers(val_docs, tokenizer, mark)
        else:
            many = available_cores() if processes and sum(map(len, train_docs)) > FEWEST_CHARACTERS_FOR_PROCESSES else 1
            train = encode_documents(train_docs, tokenizer, folder, progress=True, processes=many)
            val = encode_documents(val_docs, tokenizer, folder, progress=True)
        for name, tokens in (("training", train), ("validation", val)):
            if len(tokens) < 2:
                raise ValueError(f"the {name} text has only {len(tokens)} tokens")
        aligned = fits_documents(train, config.block_size, tokenizer.end_id)
        starts = document_starts(train, tokenizer.end_id) if aligned else None
        if starts is None:
            check_length(train, config.block_size)
        if starts is not None and counted is not None:
            # Windows without a counted token are useless. seen[i] is the number of counted tokens before token i.
            seen = np.concatenate([[0], np.cumsum(counted)])
            starts = starts[seen[np.minimum(starts + config.block_size + 1, len(train))] > seen[starts + 1]]
        nats = source_nats(val_docs) if tokenizer.end_id is not None and not mark else None
        return cls(
            train,
            val,
            answer_bytes(val_docs, mark) if mark else text_bytes(val_docs, config.documents == "lines"),
            starts,
            document_starts(val, tokenizer.end_id) if aligned else None,
            counted,
            val_counted,
            None if nats is None else nats / (len(val) - 1),
        )

    @property
    def val_count(self) -> int:
        """The number of predicted tokens of the validation text."""
        return len(self.val) - 1 if self.val_counted is None else int(self.val_counted[1:].sum())

    def fingerprint(self) -> str:
        """A hash of all tokens. (In runs of older versions, the last part is missing.)"""
        train, val = (hashlib.sha256(tokens.view(np.uint8).data).hexdigest()[:16] for tokens in (self.train, self.val))
        return f"{train}-{len(self.val)}-{val}"


def reference_losses(data: Data, vocab_size: int) -> dict[str, float]:
    """Losses to compare a run with, by their description."""
    if data.counted is not None:
        return {"guessing, ln V": baselines.uniform_loss(vocab_size)}  # the others do not support a loss mask
    losses = {
        "guessing, ln V": baselines.uniform_loss(vocab_size),
        "unigram model": baselines.unigram_loss(data.train, data.val, vocab_size),
        "bigram model": baselines.bigram_loss(data.train, data.val, vocab_size),
    }
    if data.source_entropy is not None:
        losses["entropy of the source: the lowest possible loss"] = data.source_entropy
    return losses
