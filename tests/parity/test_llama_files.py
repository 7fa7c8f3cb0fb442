"""Llama, Qwen2, Mistral and Mixtral against transformers: folders in both directions, bfloat16, shards, gradients."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")
transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]' to run the parity tests")
pytest.importorskip("safetensors")

from numpylm import Llama, load_model  # noqa: E402
from numpylm.files.llama_files import transformers_name  # noqa: E402

V = 37
SIZES = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
KINDS = {
    "llama": ("Llama", {}),
    "tied, biases, one key/value head, wide heads": (
        "Llama",
        {
            "head_dim": 6,
            "num_key_value_heads": 1,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "rope_theta": 500.0,
        },
    ),
    "llama 3's scaling": ("Llama", {"rope_scaling": LLAMA3}),
    "linear scaling": ("Llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}),
    "qwen2": ("Qwen2", {}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mixtral": ("Mixtral", {"num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": None}),
}


@pytest.fixture(params=KINDS, ids=str)
def theirs(request):
    family, options = KINDS[request.param]
    config = getattr(transformers, f"{family}Config")(**SIZES | options)
    config._experts_implementation = "eager"  # the other ways have no float64
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCausalLM")(config).double().eval()
    for p in model.parameters():
        p.data.normal_(0, 0.3)
    return model


def batch():
    return np.random.default_rng(0).integers(0, V, (2, 31))


def test_logits_are_the_same_after_reading_and_after_writing(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs", np.float64)
    assert isinstance(ours, Llama)
    ids = batch()
    expected = theirs(torch.tensor(ids)).logits.detach().numpy()
    logits, _ = ours.forward(ids)
    np.testing.assert_allclose(logits, expected, atol=2e-6)  # transformers computes the angles in float32
    ours.save_pretrained(tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", dtype=torch.float64, experts_implementation="eager"
    ).eval()
    np.testing.assert_allclose(back(torch.tensor(ids)).logits.detach().numpy(), expected, atol=1e-12)


def test_gradients_are_those_of_autograd(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path, np.float64)
    ids = batch()
    loss = ours.loss_and_grad(ids[:, :-1], ids[:, 1:])
    logits = theirs(torch.tensor(ids[:, :-1])).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(ids[:, 1:]).flatten())
    expected.backward()
    if ours.config.n_experts:  # this loss has no part for the balance of the experts
        ours.zero_grad()
        logits, cache = ours.forward(ids[:, :-1])
        targets = torch.tensor(ids[:, 1:])
        theirs_at_logits = torch.tensor(logits, requires_grad=True)
        torch.nn.functional.cross_entropy(theirs_at_logits.flatten(0, 1), targets.flatten()).backward()
        ours.backward(theirs_at_logits.grad.numpy(), cache)
    else:
        assert loss == pytest.approx(expected.item(), rel=1e-6)
    own = {transformers_name(name, ours.config): p for name, p in ours.named_parameters()}
    compared = 0
    for name, parameter in theirs.named_parameters():
        if name in own:
            grad = own[name].grad
            turned = grad.ndim == 2 and "embed_tokens" not in name
            other = parameter.grad.numpy()
            np.testing.assert_allclose(grad.T if turned else grad, other, atol=2e-6 * abs(other).max(), err_msg=name)
            compared += 1
    assert compared > 10


def test_bfloat16_in_several_files(tmp_path):
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).to(torch.bfloat16).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="5KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    ids = batch()
    expected = theirs.float()(torch.tensor(ids)).logits.detach().numpy()
    np.testing.assert_allclose(load_model(tmp_path).forward(ids)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"hidden_act": "laplace"}, "hidden_act is 'laplace'"),
        ({"model_type": "mistral", "sliding_window": 8}, "sliding_window is 8"),
        ({"num_key_value_heads": 4}, "n_kv_head must divide"),
        ({"vocab_size": 38}, "misshapen: model.embed_tokens.weight"),
        ({"hidden_size": "24"}, "hidden_size should be a whole number"),
        ({"pretraining_tp": 2}, "pretraining_tp is 2"),
    ],
    ids=str,
)
def test_what_is_not_computed_is_refused_by_name(change, message, tmp_path):
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for name in ("rope_parameters", "rope_scaling"):
        settings.pop(name, None)
    (tmp_path / "config.json").write_text(json.dumps(settings | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Mistral", "Mixtral"])
def test_a_setting_that_is_missing_has_transformers_default(family, tmp_path):
    experts = {"num_local_experts": 3} if family == "Mixtral" else {}
    usual = SIZES | experts | {"num_attention_heads": 8, "num_key_value_heads": 8, "hidden_size": 32}
    config = getattr(transformers, f"{family}Config")(**usual)
    config._experts_implementation = "eager"
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    theirs.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for name in ("rms_norm_eps", "rope_parameters", "rope_theta", "hidden_act", "tie_word_embeddings", "head_dim"):
        settings.pop(name, None)
    if family == "Mistral":
        settings.pop("sliding_window", None)  # 4,096, which is more than this model reads
    if family in ("Mistral", "Mixtral"):
        settings.pop("num_key_value_heads")
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    ids = batch()
    expected = theirs(torch.tensor(ids)).logits.detach().numpy()
    np.testing.assert_allclose(load_model(tmp_path).forward(ids)[0], expected, atol=1e-5)
