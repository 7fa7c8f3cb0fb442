"""What a run trains on: texts, a tokenizer, arrays of tokens, and the losses that they make possible."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpylm import baselines
from numpylm.answers import answer_bytes, encode_answers, say_repeated
from numpylm.char_tokenizer import CharTokenizer
from numpylm.chunks import END_OF_TEXT
from numpylm.cleaning import clean
from numpylm.config import TrainConfig
from numpylm.corpora import CORPORA
from numpylm.data import document_starts, encode_documents, fits_documents, read_documents, split_train_val
from numpylm.evaluation import source_nats
from numpylm.module import Array
from numpylm.parallel import available_cores
from numpylm.shell import shown
from numpylm.tokenizer import Tokenizer

MANY = 30_000_000  # characters above which several processes tokenize


def load_documents(config: TrainConfig) -> list[str]:
    """Read (or make) the texts and clean them, saying what was done."""
    if config.data:
        documents = read_documents(config.data)
        source = ", ".join(map(shown, config.data))
    else:
        documents = CORPORA["stories"].documents(int(config.stories_mb * 1e6))
        source = "bundled stories"
    documents, report = clean(documents, config.clean)
    for entry in report:
        print(f"cleaning    {entry}")
    size = sum(len(document.encode("utf-8", "surrogatepass")) for document in documents)
    print(f"text        {source}: {len(documents):,} documents, {size / 1e6:.2f} MB")
    return documents


def split(config: TrainConfig, documents: list[str]) -> tuple[list[str], list[str]]:
    """Divide documents into training and validation, the same way for the same config."""
    rng = np.random.default_rng(config.seed)
    return split_train_val(documents, config.val_fraction, rng, int(config.max_val_mb * 1e6))


def make_tokenizer(config: TrainConfig, documents: list[str]) -> Tokenizer | CharTokenizer:
    """Train the kind of tokenizer that the config asks for."""
    if config.tokenizer == "char":
        special = (END_OF_TEXT,) if len(documents) > 1 else ()
        return CharTokenizer.train(documents, special_tokens=special)
    tokenizer = Tokenizer.train(documents, config.vocab_size, progress=True)
    if tokenizer.vocab_size < config.vocab_size:
        print(f"tokenizer   only {tokenizer.vocab_size} tokens, not {config.vocab_size}: no more pairs occur twice")
    return tokenizer


@dataclass
class Data:
    """Tokens to train and to validate on."""

    train: Array
    val: Array
    val_bytes: int  # of UTF-8, without end marks; of the answers alone, if only they count
    starts: Array | None  # where windows begin, if with documents
    val_starts: Array | None
    counted: Array | None  # which tokens are learnt (bool); None: all
    val_counted: Array | None
    floor: float | None  # nats per token of the source itself on the validation text, if the source is known

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
        """Turn documents into tokens; large arrays go to files in the run folder.

        With ``processes``, one for each core tokenizes long texts.
        """
        counted = val_counted = None
        mark = config.loss_after
        try:
            if mark:
                say_repeated(train_docs, mark)
                train, counted = encode_answers(train_docs, tokenizer, mark)
                val, val_counted = encode_answers(val_docs, tokenizer, mark)
            else:
                many = available_cores() if processes and sum(map(len, train_docs)) > MANY else 1
                train = encode_documents(train_docs, tokenizer, folder / "train.bin", progress=True, processes=many)
                val = encode_documents(val_docs, tokenizer, folder / "val.bin", progress=True)
        except ValueError as error:
            if isinstance(tokenizer, CharTokenizer):
                raise ValueError(f"validation text: {error}; use more text, or --tokenizer bpe") from None
            raise
        for name, tokens in (("training", train), ("validation", val)):
            if len(tokens) < 2:
                raise ValueError(f"the {name} text has only {len(tokens)} tokens")
        aligned = fits_documents(train, config.block_size, tokenizer.end_id)
        starts = document_starts(train, tokenizer.end_id) if aligned else None
        if starts is not None and counted is not None:
            seen = np.concatenate([[0], np.cumsum(counted)])  # how many count before each token
            starts = starts[seen[np.minimum(starts + config.block_size + 1, len(train))] > seen[starts + 1]]
        nats = source_nats(val_docs) if tokenizer.end_id is not None and not mark else None
        return cls(
            train,
            val,
            answer_bytes(val_docs, mark) if mark else sum(len(document.encode("utf-8")) for document in val_docs),
            starts,
            document_starts(val, tokenizer.end_id) if aligned else None,
            counted,
            val_counted,
            None if nats is None else nats / (len(val) - 1),
        )

    @property
    def val_count(self) -> int:
        """How many tokens of the validation text are predicted."""
        return len(self.val) - 1 if self.val_counted is None else int(self.val_counted[1:].sum())

    def fingerprint(self) -> str:
        """Changes when the tokens do."""
        return hashlib.sha256(self.train.view(np.uint8).data).hexdigest()[:16] + f"-{len(self.val)}"


def reference_losses(data: Data, vocab_size: int) -> dict[str, float]:
    """The losses that a learner needs to judge a run, by what they mean."""
    if data.counted is not None:
        return {"guessing, ln V": baselines.uniform_loss(vocab_size)}  # the others know nothing of answers
    losses = {
        "guessing, ln V": baselines.uniform_loss(vocab_size),
        "unigram model": baselines.unigram_loss(data.train, data.val, vocab_size),
        "bigram model": baselines.bigram_loss(data.train, data.val, vocab_size),
    }
    if data.floor is not None:
        losses["entropy of the source: nobody can do better"] = data.floor
    return losses
