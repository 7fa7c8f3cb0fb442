"""Sampling and stop strings against transformers: the same distributions, and the same text up to the same place."""

import numpy as np
import pytest

REASON = "pip install -e '.[parity]' to run the parity tests"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from transformers.generation import logits_process as theirs  # noqa: E402

from numpylm import GPT, GPTConfig, Tokenizer  # noqa: E402
from numpylm.cli.main import main  # noqa: E402
from numpylm.files.load_model import load_language_model  # noqa: E402
from numpylm.inference.generate_text import generate_text  # noqa: E402
from numpylm.inference.sampling import next_token_probabilities  # noqa: E402

PROCESSORS = {  # in transformers' order
    "repetition_penalty": theirs.RepetitionPenaltyLogitsProcessor,
    "temperature": theirs.TemperatureLogitsWarper,
    "top_k": theirs.TopKLogitsWarper,
    "top_p": theirs.TopPLogitsWarper,
    "min_p": theirs.MinPLogitsWarper,
}


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.3},
        {"temperature": 0.7},
        {"top_k": 7},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"temperature": 1.8, "top_p": 0.7},
        {"temperature": 0.6, "min_p": 0.2},
        {"repetition_penalty": 0.8, "temperature": 1.2, "top_k": 40, "top_p": 0.9, "min_p": 0.03},
    ],
)
def test_distributions_are_transformers(options):
    rng = np.random.default_rng(0)
    for _ in range(5):
        logits = (3 * rng.standard_normal(200)).astype(np.float32)
        seen = rng.integers(0, 200, 30)
        scores = torch.tensor(logits.astype(np.float64))[None]
        for name, processor in PROCESSORS.items():
            if name in options:
                scores = processor(options[name])(torch.tensor(seen)[None], scores)
        p = next_token_probabilities(logits, previous=seen, **options)
        np.testing.assert_allclose(p, scores.softmax(-1)[0].numpy(), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model that writes letters, hardly ever the same twice, in transformers' files."""
    tokenizer = Tokenizer.train("one two three four five one two three four five, naïve 漢字. " * 3, vocab_size=290)
    gpt = GPT(GPTConfig(tokenizer.vocab_size, 64, 2, 2, 16), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.5 * rng.standard_normal(p.shape).astype(np.float32)
    gpt.ln_f.bias.data[:] = 0  # or the same token would always be the likeliest
    gpt.wpe.weight.data *= 3
    gpt.wte.weight.data[[i for i in range(tokenizer.vocab_size) if not tokenizer.token_bytes(i).isalnum()]] = 0
    folder = tmp_path_factory.mktemp("gpt2")
    gpt.save_pretrained(folder, tokenizer)
    return folder


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_text_with_stop_strings_ends_where_transformers_does(folder, penalty):
    model = transformers.GPT2LMHeadModel.from_pretrained(folder)
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = "one two"
    inputs = their_tokenizer(prompt, return_tensors="pt")
    settings = {"max_new_tokens": 50, "do_sample": False, "repetition_penalty": penalty, "pad_token_id": 0}
    gpt, tokenizer, own = load_language_model(folder)

    def ours(stop=()):
        options = {"temperature": 0, "repetition_penalty": penalty, "own": own, "stop": stop}
        return "".join(generate_text(gpt, tokenizer, prompt, 50, **options))

    def transformers_text(**more):
        ids = model.generate(**inputs, **settings, **more)[0, inputs["input_ids"].shape[1] :]
        return their_tokenizer.decode(ids, skip_special_tokens=True)

    whole = ours()
    assert whole == transformers_text()
    stop = next(piece for i in range(4, 30) if (piece := whole[i : i + 3]).isascii() and piece not in whole[:i])
    cut = transformers_text(stop_strings=[stop, "not there"], tokenizer=their_tokenizer)
    assert stop in cut
    assert ours([stop, "not there"]) == cut[: cut.index(stop)] == whole[: whole.index(stop)]


def test_the_command_reads_transformers_files(folder, capsys):
    argv = ["generate", str(folder), "--prompt", "one two", "--temperature", "0", "--max-new-tokens", "9"]
    gpt, tokenizer, _ = load_language_model(folder)
    new = list(gpt.generate(tokenizer.encode("one two"), 9, temperature=0))
    assert main(argv) == 0
    assert capsys.readouterr().out == "one two" + tokenizer.decode(new) + "\n"
