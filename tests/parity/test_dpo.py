"""DPO against torch's autograd, and against trl, with the gradient of every parameter of a GPT and of a Llama."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")
import torch.nn.functional as F  # noqa: E402

from numpylm import load_model  # noqa: E402
from numpylm.files.llama_files import transformers_name  # noqa: E402
from numpylm.models.pair_loss import pair_loss_and_grad  # noqa: E402
from numpylm.nn.preference import (  # noqa: E402
    answer_log_prob,
    answer_log_prob_backward,
    dpo_loss,
    dpo_loss_backward,
)
from tests.parity.test_torch import model_and_batch  # noqa: E402
from tests.parity.torch_gpt import TorchGPT  # noqa: E402

V, P, T, BETA = 13, 3, 7, 0.3
TOKENS = np.random.default_rng(3).integers(0, V, (P, 2, T + 1))  # of prompts and answers
SIZES = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
}


def pairs():
    """Ids and targets (P, 2, T) with answers of different lengths, and the reference's log-probabilities."""
    ids, targets = TOKENS[..., :-1], TOKENS[..., 1:].copy()
    targets[..., :2] = -100  # prompts
    for n in range(P):
        targets[n, 0, T - n :] = -100  # padding
        targets[n, 1, 4:] = -100
    return ids, targets, np.random.default_rng(4).normal(-9, 2, (P, 2))


def torch_sums(logits, targets):
    """Summed log-probabilities of the counted targets: (P, 2)."""
    y = torch.tensor(targets).reshape(2 * P, T)
    log_p = logits.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    return (log_p * (y != -100)).sum(-1).reshape(P, 2)


def torch_loss(sums, reference):
    """Equation 7 of the paper."""
    reference = torch.tensor(reference)
    h = BETA * (sums[:, 0] - reference[:, 0]) - BETA * (sums[:, 1] - reference[:, 1])
    return -F.logsigmoid(h).mean()


@pytest.mark.parametrize("scale", [0.5, 30, 3e4])
def test_loss_and_gradients_of_the_formula(scale):
    policy, reference = scale * np.random.default_rng(0).standard_normal((2, 2, 9))
    ours, cache = dpo_loss(*policy, *reference, BETA)
    given = torch.tensor(policy, requires_grad=True)
    theirs = torch_loss(given.T, reference.T)
    theirs.backward()
    assert ours == pytest.approx(theirs.item(), rel=1e-12)
    np.testing.assert_allclose(np.stack(dpo_loss_backward(1.0, cache)), given.grad.numpy(), rtol=1e-10, atol=1e-300)


def test_log_probabilities_of_answers_and_their_gradient():
    _, targets, _ = pairs()
    rng = np.random.default_rng(0)
    logits, ds = 4 * rng.standard_normal((2 * P, T, V)), rng.standard_normal(2 * P)
    sums, cache = answer_log_prob(logits, targets.reshape(2 * P, T))
    given = torch.tensor(logits, requires_grad=True)
    theirs = torch_sums(given, targets)
    (theirs.reshape(-1) * torch.tensor(ds)).sum().backward()
    np.testing.assert_allclose(sums, theirs.detach().numpy().reshape(-1), rtol=1e-12)
    np.testing.assert_allclose(answer_log_prob_backward(ds, cache), given.grad.numpy(), atol=1e-12)


def test_every_gradient_of_a_gpt():
    gpt, _, _ = model_and_batch((V, 9, 2, 3, 12, 1, 1))
    ids, targets, reference = pairs()
    loss = pair_loss_and_grad(gpt, ids=ids, targets=targets, reference=reference, beta=BETA)
    twin = TorchGPT(gpt)
    theirs = torch_loss(torch_sums(twin.forward(ids.reshape(2 * P, T)), targets), reference)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-12)
    for name, p in gpt.named_parameters():
        expected = twin.p[name].grad.numpy()
        assert np.abs(p.grad - expected).max() < 1e-9 * max(np.abs(expected).max(), 1e-3), name


def llama(folder):
    """A Llama of transformers in float64, and the same model of ours."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("safetensors")
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).double()
    theirs.save_pretrained(folder)
    return theirs, load_model(folder).astype(np.float64)


def same_gradients(theirs, ours, tolerance):
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        other = gradients[transformers_name(name, ours.config)]
        other = other.T if "proj" in name or "lm_head" in name else other
        assert np.abs(p.grad - other).max() < tolerance * np.abs(other).max(), name


def test_every_gradient_of_a_llama(tmp_path):
    theirs, ours = llama(tmp_path)
    ids, targets, reference = pairs()
    loss = pair_loss_and_grad(ours, ids=ids, targets=targets, reference=reference, beta=BETA)
    expected = torch_loss(torch_sums(theirs(torch.tensor(ids.reshape(2 * P, T))).logits, targets), reference)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    same_gradients(theirs, ours, 1e-6)  # transformers computes norms and angles in float32


@pytest.mark.slow
def test_loss_rewards_and_gradients_of_trl(tmp_path):
    """trl's trainer computes the loss and the metrics of one batch; its tokenizer and its data are not used."""
    trl = pytest.importorskip("trl", reason="pip install trl to compare with it")
    import pyarrow
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    policy, ours = llama(tmp_path / "policy")
    torch.manual_seed(1)
    reference = type(policy)(policy.config).double()
    ids, targets, _ = pairs()
    flat = targets.reshape(2 * P, T)
    sums = torch_sums(reference(torch.tensor(ids.reshape(2 * P, T))).logits, targets).detach().numpy()
    loss = pair_loss_and_grad(ours, ids=ids, targets=targets, reference=sums, beta=BETA)

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(V)}, "w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w1")
    table = InMemoryTable(pyarrow.Table.from_pylist([{"prompt": "w3", "chosen": "w5", "rejected": "w6"}]))
    trainer_class = type("Trainer", (trl.DPOTrainer,), {"_prepare_dataset": lambda self, dataset, *_, **__: dataset})
    options = {"use_cpu": True, "report_to": [], "bf16": False, "gradient_checkpointing": False}
    trainer = trainer_class(
        policy,
        reference,
        args=trl.DPOConfig(output_dir=str(tmp_path / "out"), beta=BETA, **options),
        train_dataset=Dataset(table, fingerprint="x"),
        processing_class=tokenizer,
    )
    order = [*range(0, 2 * P, 2), *range(1, 2 * P, 2)]  # first all chosen rows, then all rejected ones
    rows = TOKENS.reshape(2 * P, T + 1)[order]
    mask = np.concatenate([np.zeros((2 * P, 1), int), flat[order] != -100], axis=1)
    inputs = {"input_ids": rows, "attention_mask": np.ones_like(rows), "completion_mask": mask}
    theirs = trainer._compute_loss(trainer.model, {k: torch.tensor(v) for k, v in inputs.items()}, False)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-5)
    same_gradients(policy, ours, 1e-4)  # trl computes the log-probabilities in float32
