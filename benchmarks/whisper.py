"""Whisper in the shape of whisper-tiny, compared with transformers: encoding, greedy decoding, and a training step.

    pip install -e ".[bench]"
    python benchmarks/whisper.py
    OPENBLAS_NUM_THREADS=1 python benchmarks/whisper.py --processor-time      on a busy machine, one thread each

The weights are random, the same in both. The runs alternate. The script prints milliseconds, and the median ratio of
consecutive runs (above 1 means that numpylm is faster). torch's Conv1d is compared alone, too.
"""

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
import transformers
from encoder_decoder import print_line

from numpylm import AdamW, Conv1d, Whisper, clip_grad_norm
from numpylm.system.processor import available_cores, keep_memory

TOKENS = 100  # that are written for a window, and that a training text has
START, END = 50258, 50257


def models() -> tuple[Whisper, "transformers.WhisperForConditionalGeneration"]:
    """The shape of openai/whisper-tiny."""
    ids = {"decoder_start_token_id": START, "eos_token_id": END, "bos_token_id": END, "pad_token_id": END}
    config = transformers.WhisperConfig(begin_suppress_tokens=None, **ids)
    theirs = transformers.WhisperForConditionalGeneration(config)
    theirs.generation_config = transformers.GenerationConfig(**ids)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        return Whisper.from_pretrained(folder), theirs


def compare(name: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int, clock: Callable) -> None:
    """One line of the table: both in turns."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(repeats + 1):
        for key, run in (("ours", ours), ("theirs", theirs)):
            start = clock()
            run()
            times[key].append((clock() - start) * 1e3)
    print_line(name, times["ours"][1:], times["theirs"][1:])


def convolution(n_in: int, n_out: int, stride: int) -> tuple[Callable, Callable]:
    """Forward and backward of one layer of the ear, on 30 seconds."""
    ours = Conv1d(n_in, n_out, 3, stride, 1)
    theirs = torch.nn.Conv1d(n_in, n_out, 3, stride, 1)
    x = np.random.default_rng(0).standard_normal((1, 3000, n_in), np.float32)
    dy = np.ones((1, 3000 // stride, n_out), np.float32)
    their_x = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)
    their_dy = torch.ones(1, n_out, 3000 // stride)
    return lambda: ours.backward(dy, ours.forward(x)[1]), lambda: theirs(their_x).backward(their_dy)


def steps(ours: Whisper, theirs: "transformers.WhisperForConditionalGeneration") -> tuple[Callable, Callable]:
    """A training step: forward, backward, clipping and AdamW, on 30 seconds and 100 tokens."""
    rng = np.random.default_rng(0)
    mel = rng.standard_normal((1, 80, 3000), np.float32)
    ids, targets = rng.integers(0, END, (2, 1, TOKENS))
    optimizer = AdamW(ours.trainable_parameters(), 1e-5)
    their_optimizer = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], 1e-5)

    def our_step() -> None:
        ours.zero_grad()
        ours.loss_and_grad(mel, ids, targets)
        clip_grad_norm(optimizer.parameters, 1.0)
        optimizer.step()

    def their_step() -> None:
        their_optimizer.zero_grad()
        theirs(torch.tensor(mel), decoder_input_ids=torch.tensor(ids), labels=torch.tensor(targets)).loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        their_optimizer.step()

    return our_step, their_step


def decoders(ours: Whisper, theirs: "transformers.WhisperForConditionalGeneration") -> tuple[Callable, Callable]:
    """Encode 30 seconds, and write 100 tokens greedily."""
    mel = np.random.default_rng(0).standard_normal((1, 80, 3000), np.float32)

    def our_text() -> list[int]:
        past, token, text = ours.new_past(mel), START, []
        for _ in range(TOKENS):
            scores = ours.read(np.array([[token]]), past)[0]
            scores[END] = -np.inf
            token = int(scores.argmax())
            text.append(token)
        return text

    @torch.inference_mode()
    def their_text() -> list[int]:
        options = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS, "do_sample": False}
        return theirs.generate(torch.tensor(mel), decoder_input_ids=torch.tensor([[START]]), **options)[0].tolist()

    same = [a == b for a, b in zip(our_text(), their_text()[-TOKENS:], strict=True)]
    print(f"{sum(same)} of {TOKENS} tokens are the same")
    return our_text, their_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="count processor time, with one thread of torch")
    args = parser.parse_args()
    keep_memory()
    transformers.logging.set_verbosity_error()
    clock = time.process_time if args.processor_time else time.perf_counter
    if args.processor_time:
        torch.set_num_threads(1)
    cores = 1 if args.processor_time else available_cores()
    print(f"{cores} cores, NumPy {np.__version__}, torch {torch.__version__}, transformers {transformers.__version__}")
    ours, theirs = models()
    mel = np.random.default_rng(0).standard_normal((1, 80, 3000), np.float32)
    texts = decoders(ours, theirs)
    print(f"\n{'milliseconds':44} {'numpylm':>9} {'torch':>9} {'ratio':>6} {'spread':>10}")
    for shape in ((80, 384, 1), (384, 384, 2)):
        compare("Conv1d {} -> {}, stride {}".format(*shape), *convolution(*shape), args.repeats, clock)
    with torch.inference_mode():
        encode = (lambda: ours.encode(mel, keep=False), lambda: theirs.model.encoder(torch.tensor(mel)))
        compare("encode 30 s", *encode, args.repeats, clock)
    compare(f"encode 30 s, write {TOKENS} tokens", *texts, args.repeats, clock)
    compare(f"training step, 30 s, {TOKENS} tokens", *steps(ours, theirs.train()), args.repeats, clock)


if __name__ == "__main__":
    main()
