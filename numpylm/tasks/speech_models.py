"""The two architectures of the speech task, CTC and Whisper: their new models, their batches, and their losses."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from numpylm.inference.log_probs import log_softmax_of
from numpylm.inference.recognize import heard_ids, padded_spectrograms
from numpylm.models.configs import WhisperConfig
from numpylm.models.speech_ctc import SpeechCTC, SpeechCTCConfig
from numpylm.models.whisper import Whisper
from numpylm.nn.ctc import ctc_loss
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.text.padding import padded
from numpylm.training.config import TrainConfig

BLANK, START, END = "<|blank|>", "<|startoftranscript|>", "<|endoftext|>"
SPECIAL = {"ctc": (BLANK,), "whisper": (END, START)}
ACTIVATION = "gelu_new"  # its cheaper form, because nothing published depends on it here


def new_model(config: TrainConfig, tokenizer: Any, longest_text: int) -> Any:
    """A new model for sounds of ``config.block_size`` positions of 20 ms, and texts of ``longest_text`` letters."""
    c, special, V = config, tokenizer.special_tokens, tokenizer.vocab_size
    shape = (c.n_layer, c.n_head, c.n_embd, c.n_inner)
    common: dict[str, Any] = {"n_mels": c.n_mels, "dropout": c.dropout, "activation": ACTIVATION}
    if c.model == "ctc":
        ctc = SpeechCTCConfig(V, c.block_size, *shape, blank_id=special[BLANK], **common)
        return SpeechCTC(ctc, c.model_rng(), np.dtype(c.dtype))
    whisper = WhisperConfig(
        V,
        longest_text + 1,  # with the start token
        *shape,
        n_decoder_layer=c.n_decoder_layer,
        audio_positions=c.block_size,
        start_id=special[START],
        **common,
    )
    model = Whisper(whisper, c.model_rng(), np.dtype(c.dtype))
    for conv in (model.conv1, model.conv2):  # as in SpeechCTC; std 0.02 would hide the sound behind the positions
        K, n_in, _ = conv.weight.shape
        conv.weight.data *= (K * n_in) ** -0.5 / conv.weight.data.std()
    return model


def fewest_frames(ids: Sequence[int]) -> int:
    """How many frames of a spectrogram CTC needs for these labels: two for each, and two for a blank between equals."""
    return max(2 * (len(ids) + sum(a == b for a, b in pairwise(ids))), 2)


def arrays_for(kind: str, tokenizer: Any, mels: Sequence[Array], ids: Sequence[list[int]], most: int = 0) -> dict:
    """The arguments of ``loss_and_grad``. The spectrograms are padded to their longest, or to ``most`` frames."""
    mel, lengths = padded_spectrograms(mels, most)
    if kind == "ctc":
        return {"mel": mel, "targets": padded(ids, IGNORE_INDEX)[0], "lengths": lengths}
    start, end = (tokenizer.special_tokens[token] for token in (START, END))
    targets, _ = padded([[*row, end] for row in ids], IGNORE_INDEX)
    return {"mel": mel, "ids": padded([[start, *row] for row in ids], end)[0], "targets": targets}


def scores(model: Any, arrays: dict[str, Array], end_id: int) -> tuple[float, int, list[list[int]]]:
    """-log P of the transcripts in nats, the number of their tokens, and what the model hears, as ids."""
    count = int((arrays["targets"] != IGNORE_INDEX).sum())
    if isinstance(model, SpeechCTC):
        logits, _ = model.forward(arrays["mel"], arrays["lengths"])
        frames, blank = model.frames(arrays["lengths"]), model.config.blank_id
        nats, _ = ctc_loss(logits, arrays["targets"], frames, count=1, blank=blank)
        return nats, count, heard_ids(model, arrays["mel"], arrays["lengths"], end_id)
    logits, _ = model.forward(arrays["mel"], arrays["ids"])
    counted = arrays["targets"] != IGNORE_INDEX
    log_probs, _ = log_softmax_of(logits[counted], arrays["targets"][counted])
    return -float(log_probs.sum()), count, heard_ids(model, arrays["mel"], None, end_id)
