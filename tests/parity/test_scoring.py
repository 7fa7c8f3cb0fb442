"""Log-probabilities, losses and rankings against transformers' GPT-2 with the same weights, in float32."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")
transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]' to run the parity tests")
import torch.nn.functional as F  # noqa: E402

from numpylm import GPT, GPTConfig, Tokenizer  # noqa: E402
from numpylm.cli.main import main  # noqa: E402
from numpylm.training.evaluation import evaluate  # noqa: E402

SHAPES = [(300, 40, 2, 3, 24), (1000, 16, 3, 4, 20), (290, 128, 1, 2, 32)]  # vocab, window, layers, heads, channels


@pytest.fixture(params=SHAPES, ids=str)
def pair(request):
    """Ours and transformers' model, with weights large enough for probabilities to differ clearly."""
    V, T, n_layer, n_head, C = request.param
    rng = np.random.default_rng(0)
    gpt = GPT(GPTConfig(V, T, n_layer, n_head, C), rng)
    for p in gpt.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape, dtype=np.float32)
    config = transformers.GPT2Config(
        vocab_size=V, n_positions=T, n_layer=n_layer, n_head=n_head, n_embd=C, bos_token_id=0, eos_token_id=0
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    state = {f"transformer.{name}": torch.tensor(value) for name, value in gpt.state_dict().items()}
    theirs.load_state_dict(state, strict=False)
    theirs.tie_weights()
    return gpt, theirs


def log_probs(theirs, ids):
    """transformers' log p(id | ids before it), for all ids but the first."""
    with torch.no_grad():
        logits = theirs(torch.tensor(ids[None, :-1])).logits[0]
    return F.log_softmax(logits.double(), -1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].numpy()


def test_log_prob_and_loss_of_a_window(pair):
    gpt, theirs = pair
    ids = np.random.default_rng(1).integers(0, gpt.config.vocab_size, gpt.config.block_size)
    values = gpt.log_prob(ids)
    expected = log_probs(theirs, ids)
    assert np.ptp(expected) > 3
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    loss = theirs(torch.tensor(ids[None]), labels=torch.tensor(ids[None])).loss.item()
    assert -values.mean() == pytest.approx(loss, rel=1e-5)
    score = evaluate(gpt, ids)
    assert score.loss == pytest.approx(loss, rel=1e-5)
    assert score.perplexity == pytest.approx(np.exp(loss), rel=1e-4)


def test_a_text_longer_than_the_window(pair):
    """Windows that overlap, as the perplexities of GPT-2 are measured."""
    gpt, theirs = pair
    T = gpt.config.block_size
    ids = np.random.default_rng(2).integers(0, gpt.config.vocab_size, 3 * T + 5)
    for stride in (T, T // 2, T // 4):
        expected = log_probs(theirs, ids[: T + 1]).tolist()
        while len(expected) < len(ids) - 1:
            begin = len(expected) - (T - stride)
            expected += log_probs(theirs, ids[begin : begin + T + 1])[T - stride :].tolist()
        assert evaluate(gpt, ids, stride=stride).loss == pytest.approx(-np.mean(expected), rel=1e-5)
        if stride == T // 2:
            np.testing.assert_allclose(gpt.log_prob(ids), expected, rtol=1e-5, atol=1e-5)


def test_ranking(pair):
    gpt, theirs = pair
    tok = Tokenizer.train("the sky is blue and the grass is green and the sun is low " * 3, 285)
    answers = [" blue", " green", " low and blue", "!"]
    start, begin = [tok.end_id], 1 + len(tok.encode("the sky is"))
    sums = {a: log_probs(theirs, np.array(start + tok.encode("the sky is" + a)))[begin - 1 :].sum() for a in answers}
    total = np.exp(list(sums.values())).sum()
    ranked = gpt.rank("the sky is", answers, tok)
    assert [r.answer for r in ranked] == sorted(answers, key=sums.__getitem__, reverse=True)
    for r in ranked:
        assert r.log_prob == pytest.approx(sums[r.answer], rel=1e-5, abs=1e-5)
        assert r.probability == pytest.approx(np.exp(sums[r.answer]) / total, rel=1e-4)


def test_the_commands_read_transformers_files(tmp_path, capsys):
    pytest.importorskip("safetensors", reason="pip install -e '.[parity]'")
    text = "the sky is blue and the grass is green and the sun is low " * 3
    tok = Tokenizer.train(text, 285)
    rng = np.random.default_rng(0)
    gpt = GPT(GPTConfig(tok.vocab_size, 12, 2, 3, 24), rng)
    for p in gpt.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape, dtype=np.float32)
    gpt.save_pretrained(tmp_path / "model", tok)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()

    ids = np.array([tok.end_id, *tok.encode(text), tok.end_id])
    values = [log_probs(theirs, ids[i : i + 13]) for i in range(0, len(ids) - 1, 12)]
    assert main(["evaluate", str(tmp_path / "model"), "--data", str(tmp_path / "text.txt")]) == 0
    assert f"loss            {-np.concatenate(values).mean():.4f} nats per token" in capsys.readouterr().out

    assert main(["rank", str(tmp_path / "model"), "--prompt", "the sky is", "--answers", " blue", " low"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ids = np.array([tok.end_id, *tok.encode("the sky is blue")])
    (line,) = [line for line in lines if line.startswith('" blue"')]
    n = len(tok.encode(" blue"))
    assert line.split()[2:4] == [str(n), f"{log_probs(theirs, ids)[-n:].sum():.3f}"]
    assert GPT.from_pretrained(tmp_path / "model").log_prob(text).shape == (len(tok.encode(text)),)
