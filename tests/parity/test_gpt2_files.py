"""GPT-2's files against transformers: the same numbers from its files, and from ours in it."""

import warnings

import numpy as np
import pytest

REASON = "pip install -e '.[parity]' to run the parity tests"
torch = pytest.importorskip("torch", reason=REASON)
transformers = pytest.importorskip("transformers", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from safetensors.torch import load_file, save_file, save_model  # noqa: E402

from numpylm import GPT, GPTConfig, Tokenizer  # noqa: E402
from numpylm.files.gpt2_config import write_gpt2_config  # noqa: E402
from numpylm.text.pretokenize import END_OF_TEXT  # noqa: E402
from tests.parity.nano_gpt import NanoGPT  # noqa: E402

SHAPES = {  # vocab, positions, layers, heads, channels, more
    "small": (61, 23, 2, 3, 12, {}),
    "exact gelu": (97, 16, 3, 2, 20, {"activation_function": "gelu", "layer_norm_epsilon": 1e-3}),
    "one head, long": (40, 70, 1, 1, 8, {"activation_function": "gelu_pytorch_tanh", "n_inner": 32}),
    "deep": (211, 48, 6, 4, 48, {}),
}


def random_weights(model, seed=0):
    """Large weights: at their usual 0.02 all logits of a random model are nearly equal.

    Positions weigh more than tokens, or the model would say the same token again and again.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "wpe" in name:
                noise *= 4
            elif "wte" in name:
                noise *= p.shape[1] ** 0.5 / noise.norm(dim=1, keepdim=True)  # no token is likely everywhere
            elif p.ndim == 2:
                noise *= 2 / p.shape[0] ** 0.5
            else:
                noise = 0.3 * noise + (".ln_" in name and name.endswith("weight"))
            p.copy_(noise)
    return model.eval()


def their_model(shape, **more):
    V, positions, n_layer, n_head, C, settings = SHAPES[shape]
    config = transformers.GPT2Config(
        vocab_size=V,
        n_positions=positions,
        n_layer=n_layer,
        n_head=n_head,
        n_embd=C,
        bos_token_id=None,
        eos_token_id=None,
        **settings,
        **more,
    )
    return random_weights(transformers.GPT2LMHeadModel(config))


def random_ids(model, B=2, T=None, seed=0):
    config = model.config
    return np.random.default_rng(seed).integers(0, config.vocab_size, (B, T or config.n_positions))


def their_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()


def assert_same_logits(gpt, model, ids):
    ours, theirs = gpt.forward(ids)[0], their_logits(model, ids)
    assert theirs.std() > 0.5  # there is something to compare
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() < 1e-5


def loaded_and_said(folder, caplog):
    """What transformers loads, and what it reports; what it logs is in ``caplog``, a warning is an error."""
    transformers.utils.logging.enable_propagation()
    try:
        with warnings.catch_warnings(), caplog.at_level("WARNING"):
            warnings.simplefilter("error")
            return transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    finally:
        transformers.utils.logging.disable_propagation()


@pytest.fixture
def saved(tmp_path):
    """Their small model, and the folder it is saved in."""
    model = their_model("small")
    model.save_pretrained(tmp_path / "theirs")
    return model, tmp_path / "theirs"


@pytest.mark.parametrize("shape", SHAPES)
def test_their_files_give_the_same_logits_and_greedy_tokens_over_a_full_window(shape, tmp_path):
    model = their_model(shape)
    model.save_pretrained(tmp_path)
    gpt = GPT.from_pretrained(tmp_path)
    for T in (model.config.n_positions, 5, 1):
        assert_same_logits(gpt, model, random_ids(model, 3, T))
    prompt = random_ids(model, 1, 3, seed=1)
    new = model.config.n_positions - 3
    theirs = model.generate(
        torch.tensor(prompt), max_new_tokens=new, do_sample=False, attention_mask=torch.ones(1, 3, dtype=torch.long)
    )
    ours = list(gpt.generate(prompt[0], new, temperature=0))
    assert len(ours) == new
    assert len(set(ours)) > new / 4  # no tape that loops
    assert ours == theirs[0, 3:].tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_our_files_load_in_transformers_without_a_word(approximate, bias, dtype, tmp_path, caplog):
    rng = np.random.default_rng(0)
    config = GPTConfig(61, 23, 2, 3, 12, 0.2, bias, layer_norm_eps=1e-4, gelu_approximate=approximate)
    gpt = GPT(config, rng, dtype)
    for p in gpt.parameters():
        p.data[...] += 0.5 * rng.standard_normal(p.shape)
    gpt.save_pretrained(tmp_path / "ours")
    model, info = loaded_and_said(tmp_path / "ours", caplog)
    assert not caplog.records
    assert not any(info.values()), info
    assert type(model) is transformers.GPT2LMHeadModel
    assert str(model.dtype) == f"torch.{dtype}"
    assert model.config.attn_pdrop == model.config.resid_pdrop == model.config.embd_pdrop == 0.2
    assert model.config.layer_norm_epsilon == 1e-4
    ids = random_ids(model, T=19)
    assert_same_logits(gpt, model.eval(), ids)
    model.save_pretrained(tmp_path / "theirs")  # and back
    again = GPT.from_pretrained(tmp_path / "theirs", dtype)
    np.testing.assert_array_equal(again.forward(ids)[0], GPT.from_pretrained(tmp_path / "ours", dtype).forward(ids)[0])
    assert again.config.gelu_approximate == approximate


def test_a_tensor_too_few_would_be_seen(saved, caplog):
    """That the test above looks where transformers complains."""
    _, folder = saved
    state = load_file(folder / "model.safetensors")
    del state["transformer.ln_f.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    _, info = loaded_and_said(folder, caplog)
    assert caplog.records
    assert info["missing_keys"]


def test_a_model_in_several_files(tmp_path):
    model = their_model("deep")
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 3
    gpt = GPT.from_pretrained(tmp_path)
    assert_same_logits(gpt, model, random_ids(model))
    gpt.save_pretrained(tmp_path)  # one file now; the parts are gone, and transformers reads the new ones
    assert sorted(path.name for path in tmp_path.glob("model*")) == ["model.safetensors"]
    assert_same_logits(gpt, transformers.GPT2LMHeadModel.from_pretrained(tmp_path), random_ids(model))


def test_names_without_prefix(saved, tmp_path):
    """As GPT2Model writes them, and the files of GPT-2 itself."""
    model, _ = saved
    model.transformer.save_pretrained(tmp_path / "bare")
    assert "wte.weight" in load_file(tmp_path / "bare" / "model.safetensors")
    assert_same_logits(GPT.from_pretrained(tmp_path / "bare"), model, random_ids(model))


WRAPPED = {
    "not at all": lambda model: model,
    "by compile": torch.compile,  # nothing is compiled before its first forward
    "by DataParallel": torch.nn.DataParallel,
    "by both": lambda model: torch.nn.DataParallel(torch.compile(model)),
    "by a module": lambda model: torch.nn.ModuleDict({"model": model}),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
def test_a_tied_model_that_safetensors_saves(wrap, saved):
    """It writes the array that has two names as lm_head.weight; transformers reads the first of these files, too."""
    model, folder = saved
    save_model(wrap(model), str(folder / "model.safetensors"), metadata={"format": "pt"})
    assert not any("wte" in name for name in load_file(folder / "model.safetensors"))
    if wrap is WRAPPED["not at all"]:
        assert_same_logits(
            GPT.from_pretrained(folder), transformers.AutoModelForCausalLM.from_pretrained(folder), [[1]]
        )
    assert_same_logits(GPT.from_pretrained(folder), model, random_ids(model))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_model_made_of_nn_linear(compiled, bias, tmp_path):
    """nanoGPT's and minGPT's form: (out, in), a mask among the tensors, perhaps no biases."""
    torch.manual_seed(0)
    config = GPTConfig(61, 23, 2, 3, 12, bias=bias)
    model = NanoGPT(config)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.5 * torch.randn(p.shape)
    save_model(torch.compile(model) if compiled else model, str(tmp_path / "model.safetensors"))
    write_gpt2_config(tmp_path / "config.json", config, "float32", None)
    gpt = GPT.from_pretrained(tmp_path)
    assert gpt.config.bias is bias
    ids = np.random.default_rng(0).integers(0, 61, (2, 23))
    with torch.no_grad():
        theirs = model(torch.tensor(ids)).numpy()
    assert np.abs(gpt.forward(ids)[0] - theirs).max() / np.abs(theirs).max() < 1e-5


def test_old_buffers_and_a_head_that_is_written_out(saved):
    model, folder = saved
    state = load_file(folder / "model.safetensors")
    for layer in range(model.config.n_layer):
        mask = torch.ones(23, 23, dtype=torch.uint8).tril()[None, None]
        state[f"transformer.h.{layer}.attn.bias"] = mask
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    state["lm_head.weight"] = state["transformer.wte.weight"].clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert_same_logits(GPT.from_pretrained(folder), model, random_ids(model))


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_other_kinds_of_numbers_become_ours_exactly(saved, kind, monkeypatch):
    monkeypatch.setattr("numpylm.files.safetensors_files.PIECE", 200)  # several pieces for each array
    model, folder = saved
    model.to(getattr(torch, kind)).save_pretrained(folder)
    for dtype in (torch.float32, torch.float64):
        gpt = GPT.from_pretrained(folder, str(dtype).removeprefix("torch."))
        for name, p in model.transformer.named_parameters():
            np.testing.assert_array_equal(gpt.state_dict()[name], p.detach().to(dtype).numpy(), name)


TEXTS = [
    "Hello world, it's 1984!\n\n  Naïve 漢字 🙂 e\u0301",
    " a  b   c\t\td \n e\n\n f   ",
    f"before{END_OF_TEXT}after {END_OF_TEXT}",
    "it's they'll 'S ½ ² Ⅷ ٣٤٥ \u200b\u2028 नमस्ते",
    "",
]
TRAINED_ON = "the cat sat on the mat, it's 1984 and they'll sit. naïve 漢字 🙂\n\n def f(x): return x\n" * 20


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"special_tokens": (END_OF_TEXT, "<|user|>")},
        {"special_tokens": ()},
        {"special_tokens": ("<|user|>",)},
        {"pattern": r"\p{L}+|\p{N}{1,3}|[^\s\p{L}\p{N}]+|\s+"},
    ],
    ids=["GPT-2's", "two special tokens", "no special token", "no end", "other pattern"],
)
def test_autotokenizer_reads_our_tokenizer(options, tmp_path):
    tokenizer = Tokenizer.train(TRAINED_ON, 300, **options)
    gpt = GPT(GPTConfig(tokenizer.vocab_size + 3, 16, 1, 1, 4))
    (tmp_path / "characters.json").write_text("{}")  # of another model, that was here before
    (tmp_path / "added_tokens.json").write_text('{"<|old|>": 300}')
    gpt.save_pretrained(tmp_path, tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.model_max_length == 16
    assert len(theirs) == tokenizer.vocab_size
    assert theirs.eos_token_id == tokenizer.end_id
    ours = GPT.from_pretrained(tmp_path).tokenizer
    assert ours.pattern == tokenizer.pattern
    for text in TEXTS:
        ids = tokenizer.encode(text, allow_special=True)
        assert theirs(text)["input_ids"] == ids
        assert ours.encode(text, allow_special=True) == ids
        assert theirs.decode(ids) == tokenizer.decode(ids)
        ordinary = [i for i in ids if i not in tokenizer.special_tokens.values()]
        assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ordinary)
    (tmp_path / "vocab.json").unlink()  # what other programs read is complete without it
    assert Tokenizer.load(tmp_path).encode(TEXTS[2], allow_special=True) == tokenizer.encode(
        TEXTS[2], allow_special=True
    )
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert config.eos_token_id == config.bos_token_id == tokenizer.end_id


def test_their_tokenizer_comes_with_their_model(saved, tmp_path):
    model, folder = saved
    Tokenizer.train(TRAINED_ON, 300).save(tmp_path / "tokenizer")
    theirs = transformers.GPT2Tokenizer.from_pretrained(tmp_path / "tokenizer")
    theirs.save_pretrained(folder)
    model.resize_token_embeddings(320)  # a padded vocabulary
    model.save_pretrained(folder)
    gpt = GPT.from_pretrained(folder)
    assert gpt.config.vocab_size == 320
    for text in TEXTS:
        assert gpt.tokenizer.encode(text, allow_special=True) == theirs(text)["input_ids"]


def test_hugging_faces_cache_is_found_without_a_network(saved, tmp_path, monkeypatch):
    """As it is after any program has fetched the model; nothing of the network is touched here."""
    constants = pytest.importorskip("huggingface_hub", reason=REASON).constants
    model, folder = saved
    cached = tmp_path / "cache" / "models--somebody--gpt2-tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots").mkdir()
    folder.rename(cached / "snapshots" / ("0" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_same_logits(GPT.from_pretrained("somebody/gpt2-tiny"), model, random_ids(model))
    with pytest.raises(FileNotFoundError, match=r"huggingface\.co/somebody/other/tree/main"):
        GPT.from_pretrained("somebody/other")
