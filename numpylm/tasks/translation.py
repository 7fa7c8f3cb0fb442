"""Translation: learn P(target | source) from pairs of sentences, with the Transformer of 2017."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.corpora import PARALLEL
from numpylm.files.load_model import load_as
from numpylm.inference.log_probs import log_softmax
from numpylm.inference.translate import source_ids, target_ids, translate
from numpylm.metrics import bleu
from numpylm.models.transformer import Transformer, TransformerConfig
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.tasks.held_out import fingerprint_of, hold_out
from numpylm.tasks.pairs import Pair, check_files, read_pairs
from numpylm.tasks.translation_baselines import Dictionary, Nearest
from numpylm.text.any_tokenizer import TextTokenizer, require_tokenizer
from numpylm.text.padding import SimilarLengths, in_batches, padded
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.config import TrainConfig
from numpylm.training.finetune import begin_with, freeze_or_add_lora
from numpylm.training.parallel import DataParallel
from numpylm.training.task import Batch, Evaluation, Task

BUNDLED_PAIRS = 24_000
HELD_OUT = 1000  # at most this many pairs are held out
TRANSLATED = 100  # held-out sentences that are translated at each evaluation
EPOCHS = 12  # of a user's own pairs, if max_steps is not given
LONGEST_RUN = 4000  # steps


class Translation(Task):
    """Sequence to sequence: the encoder reads the source, the decoder learns to write the target token by token."""

    name = "translation"
    families = ("encoder-decoder",)
    next_verb = "translate"

    @classmethod
    def check_paths(cls, config: TrainConfig) -> None:
        check_files([*config.data, *filter(None, (config.source, config.target))])

    # ---------------------------------------------------------------------------------------------- data

    def start(self, given: Collection[str] | None) -> Transformer:
        """Read the pairs. Model and tokenizer are new, or loaded from ``init_from``."""
        c = self.config
        model = load_as(Transformer, c.init_from, c.dtype) if c.init_from else None
        self._read()
        if model is not None:
            self.tokenizer, self.start_id = require_tokenizer(model), model.config.start_id
            self.config = begin_with(model, c)
            freeze_or_add_lora(model, self.config)
            return model
        texts = [text for pair in self.train for text in pair]
        self.tokenizer = Tokenizer.train(
            texts, c.vocab_size, progress=True, whole_characters=c.whole_characters or _many_characters(texts)
        )
        if given is not None and self._own_data():
            self._fit(given)
        self.start_id = self.tokenizer.end_id
        return Transformer(self._shape(), self.config.model_rng(), np.dtype(c.dtype))

    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        self.tokenizer, self.start_id = tokenizer, model.config.start_id
        self._read()

    def _own_data(self) -> bool:
        return bool(self.config.data or self.config.source)

    def _read(self) -> None:
        c = self.config
        if self._own_data():
            pairs = read_pairs(c)
        else:
            pairs = PARALLEL.pairs(BUNDLED_PAIRS)
            print(f"text        bundled parallel stories, English and Chinese: {len(pairs):,} pairs of sentences")
        rng = np.random.default_rng(c.seed)
        self.train, self.val = hold_out(pairs, c.val_fraction, rng, lambda pair: pair[0], HELD_OUT)

    def _fit(self, given: Collection[str]) -> None:
        """Choose the number of steps for the user's pairs, and print it."""
        c = self.config
        if "max_steps" in given or not c.batch_tokens:
            return
        sample = self.train[:: max(len(self.train) // 500, 1)]
        lengths = [max(len(self.tokenizer.encode(a)), len(self.tokenizer.encode(b))) + 1 for a, b in sample]
        epoch = sum(lengths) / len(lengths) * len(self.train) / c.batch_tokens
        steps = int(min(max(EPOCHS * epoch, 200), LONGEST_RUN))
        self.config = replace(c, max_steps=steps, warmup_steps=min(c.warmup_steps, steps // 5))
        print(f"chosen      max_steps {steps}: {steps / epoch:.1f} times through the pairs")

    def _shape(self) -> TransformerConfig:
        c = self.config
        return TransformerConfig(
            vocab_size=self.tokenizer.vocab_size,
            block_size=c.block_size,
            n_layer=c.n_layer,
            n_head=c.n_head,
            n_embd=c.n_embd,
            n_inner=c.n_inner,
            n_decoder_layer=c.n_decoder_layer,
            dropout=c.dropout,
            norm_first=c.norm_first,
            start_id=self.start_id,
            position_layout="halves",  # so that the model can be exported as Marian
        )

    def encode(self, folder: Path, processes: bool = False) -> None:
        longest = self.config.block_size
        self.train, self.train_ids = self._encoded(self.train, longest, "training")
        self.val, self.val_ids = self._encoded(self.val, longest, "validation")
        lengths = np.array([max(len(source), len(target)) for source, target in self.train_ids])
        self.batches = SimilarLengths(lengths, self.config.batch_tokens or self.config.batch_size * longest)

    def _encoded(self, pairs: Sequence[Pair], longest: int, what: str) -> tuple[list[Pair], list[tuple]]:
        tok = self.tokenizer
        found = [(pair, (source_ids(tok, pair[0]), target_ids(tok, pair[1]))) for pair in pairs]
        kept = [(pair, ids) for pair, ids in found if max(map(len, ids)) <= longest]
        if len(kept) < len(found):
            print(f"left out    {len(found) - len(kept):,} {what} pairs of more than {longest} tokens (--block-size)")
        if not kept:
            raise ValueError(f"no {what} pair has at most {longest} tokens: use a larger block_size")
        return [pair for pair, _ in kept], [ids for _, ids in kept]

    def fingerprint(self) -> str:
        return fingerprint_of(*zip(*self.train, strict=True), *zip(*self.val, strict=True))

    # ------------------------------------------------------------------------------------------- training

    def batch(self, rng: np.random.Generator) -> Batch:
        rows = [self.train_ids[n] for n in self.batches.draw(rng)]
        return Batch(pair_arrays(rows, self.start_id), {"label_smoothing": self.config.label_smoothing})

    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        start = model.config.start_id
        lengths = np.array([max(len(source), len(target)) for source, target in self.val_ids])
        parts = ((pair_arrays([self.val_ids[n] for n in numbers], start),) for numbers in in_batches(lengths, 2000))
        nats, hits, count = 0.0, 0, 0
        for part_nats, part_hits, part_count in workers.map(pair_scores, parts):
            nats, hits, count = nats + part_nats, hits + part_hits, count + part_count
            if between:
                between()
        loss = nats / count
        metrics = {"val_accuracy": hits / count}
        line = f"validation loss {loss:.4f}"
        if self._floor() is not None:
            metrics["above_source"] = loss - self._floor()
            line += f" ({loss - self._floor():.4f} above the lowest possible)"
        line += f", perplexity {math.exp(min(loss, 700)):,.2f}"
        if self.config.sample_tokens:
            line += self._translated(model, metrics)
        return Evaluation(loss, line, metrics)

    def _translated(self, model: Any, metrics: dict[str, float]) -> str:
        """Translate some held-out sentences greedily, add their scores to ``metrics``, and put them into words."""
        pairs = self.val[:TRANSLATED]
        made = translate(model, [source for source, _ in pairs], self.tokenizer, beam=1)
        score = bleu(made, [[target] for _, target in pairs], tokenize=bleu_tokenizer(pairs)).score
        metrics["val_bleu"] = score
        line = f", BLEU {score:.1f} of {len(pairs)} translations"
        if not self._own_data():
            right = sum(
                math.isfinite(PARALLEL.nats(source, text)) for (source, _), text in zip(pairs, made, strict=True)
            )
            metrics["val_possible"] = right / len(pairs)
            line += f", {right / len(pairs):.0%} of them possible"
        return line

    def _floor(self) -> Any:
        """The entropy of the bundled source on the held-out pairs, in nats per token; None for other data."""
        if self._own_data():
            return None
        nats = sum(PARALLEL.nats(source, target) for source, target in self.val)
        return nats / sum(len(target) for _, target in self.val_ids)

    # -------------------------------------------------------------------------------------------- reports

    def sample(self, model: Any, step: int) -> str:
        source, target = self.val[step % len(self.val)]
        made = translate(model, [source], self.tokenizer, beam=1)[0]
        return f"{source}  ->  {made}  (reference: {target})"

    def references(self) -> dict[str, float]:
        lines = {"ln V": math.log(self.tokenizer.vocab_size), "unigram": self._unigram()}
        return lines | ({} if self._floor() is None else {"lowest possible": self._floor()})

    def _unigram(self) -> float:
        V = self.tokenizer.vocab_size
        counts = np.bincount(np.concatenate([target for _, target in self.train_ids]), minlength=V) + 1.0
        val = np.concatenate([target for _, target in self.val_ids])
        return float(-np.log(counts / counts.sum())[val].mean())

    def next_steps(self, run: Any) -> list[list[str]]:
        source = min((source for source, _ in self.val), key=lambda text: (abs(len(text) - 40), text))
        return [["numpylm", "translate", str(run.folder), source]]

    def describe(self, run: Any) -> None:
        tokens = [sum(len(ids[side]) for ids in self.train_ids) for side in (0, 1)]
        print(
            f"pairs       {len(self.train):,} to train on ({tokens[0]:,} source and {tokens[1]:,} target tokens), "
            f"{len(self.val):,} held out; {self.tokenizer.vocab_size:,} different tokens"
        )
        c = run.model.config
        kind = "pre-norm" if c.norm_first else "post-norm"
        print(
            f"model       {run.model.num_parameters():,} parameters: {c.n_layer} + {len(run.model.decoder)} {kind} "
            f"blocks, {c.n_head} heads, {c.n_embd} channels, {c.block_size} tokens at most"
        )
        print("loss        on the held-out targets, in nats per token:")
        for name, loss in self.references().items():
            print(f"  {loss:7.4f}   {name}")
        print(f"baselines   BLEU of {len(self.val[:TRANSLATED])} held-out translations:")
        for name, score in self.baselines().items():
            print(f"  {score:7.1f}   {name}")

    def baselines(self) -> dict[str, float]:
        """BLEU of the baselines on the held-out sentences that are translated during training."""
        pairs = self.val[:TRANSLATED]
        ways: dict[str, Callable[[str], str]] = {
            "copying the source": str,
            "word for word, with a dictionary from the training pairs": Dictionary(self.train).translate,
            "the nearest training sentence": Nearest(self.train).translate,
        }
        score = partial(bleu, references=[[target] for _, target in pairs], tokenize=bleu_tokenizer(pairs))
        return {name: score([way(source) for source, _ in pairs]).score for name, way in ways.items()}


def pair_arrays(rows: Sequence[tuple[list[int], list[int]]], start_id: int) -> dict[str, Array]:
    """The arguments of `Transformer.loss_and_grad`: source and mask, decoder input, and targets padded with -100."""
    source, source_mask = padded([source for source, _ in rows])
    ids, _ = padded([[start_id, *target[:-1]] for _, target in rows], start_id)
    targets, _ = padded([target for _, target in rows], IGNORE_INDEX)
    return {"source": source, "ids": ids, "targets": targets, "source_mask": source_mask}


def pair_scores(model: Any, arrays: dict[str, Array]) -> tuple[float, int, int]:
    """-log P(targets | sources) in nats, how many targets were the most likely token, and how many there are."""
    logits, _ = model.forward(arrays["source"], arrays["ids"], arrays["source_mask"])
    counted = arrays["targets"] != IGNORE_INDEX
    targets, logits = arrays["targets"][counted], logits[counted]
    log_probs = log_softmax(logits)[np.arange(len(targets)), targets]
    return float(-log_probs.sum()), int((logits.argmax(axis=-1) == targets).sum()), len(targets)


def _many_characters(texts: Sequence[str]) -> int:
    """3 for Chinese and Japanese: characters that occur at least this often become tokens. 0 for other scripts."""
    sample = "".join(texts[:1000])
    return 3 if sum(ord(character) > 0x2E80 for character in sample) > 0.1 * len(sample) else 0


def bleu_tokenizer(pairs: Sequence[Pair]) -> str:
    """sacrebleu's tokenizer for the language of the targets: "zh" for Chinese, else "13a"."""
    sample = "".join(target for _, target in pairs[:200])
    return "zh" if sum("\u4e00" <= c <= "\u9fff" for c in sample) > 0.2 * len(sample) else "13a"
