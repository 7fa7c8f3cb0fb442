"""Whisper against transformers: states, logits, gradients by autograd, folders in both directions, greedy texts."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")
transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]' to run the parity tests")

from numpylm import Whisper, load_model  # noqa: E402
from numpylm.inference.transcribe import transcribe_windows  # noqa: E402
from tests.parity.tiny_whisper import vocabulary, whisper  # noqa: E402

SHAPES = [(12, 2, 3, 20), (8, 1, 1, 6), (20, 3, 4, 40)]  # channels, blocks, heads, hidden


def batch(theirs, seed=0):
    c, rng = theirs.config, np.random.default_rng(seed)
    mel = rng.standard_normal((3, c.num_mel_bins, 2 * c.max_source_positions))
    return mel, rng.integers(0, c.vocab_size, (3, 7))


def logits_of(theirs, mel, ids):
    dtype = theirs.dtype
    return theirs(input_features=torch.tensor(mel, dtype=dtype), decoder_input_ids=torch.tensor(ids)).logits


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_and_out(shape, tmp_path):
    theirs, _ = whisper(shape, tmp_path / "theirs", n_mels=6)
    ours = load_model(tmp_path / "theirs", np.float64)
    assert isinstance(ours, Whisper)
    assert ours.num_parameters() == theirs.num_parameters()
    mel, ids = batch(theirs)
    states = theirs.model.encoder(torch.tensor(mel)).last_hidden_state
    expected = logits_of(theirs, mel, ids).detach().numpy()
    np.testing.assert_allclose(ours.encode(mel)[0], states.detach().numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(ours.forward(mel, ids)[0], expected, rtol=1e-10, atol=1e-10)
    ours.save_pretrained(tmp_path / "ours")
    again = type(theirs).from_pretrained(tmp_path / "ours", dtype=torch.float64).eval()
    np.testing.assert_allclose(logits_of(again, mel, ids).detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    assert again.generation_config.lang_to_id == theirs.generation_config.lang_to_id
    assert load_model(tmp_path / "ours").speech_tokens == ours.speech_tokens


def test_float32(tmp_path):
    theirs, _ = whisper(SHAPES[2], tmp_path, n_mels=6)
    mel, ids = batch(theirs)
    found = load_model(tmp_path).forward(mel, ids)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, logits_of(theirs.float(), mel, ids).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_every_gradient(tmp_path):
    theirs, _ = whisper(SHAPES[0], tmp_path / "theirs", n_mels=6)
    ours = load_model(tmp_path / "theirs", np.float64)
    mel, ids = batch(theirs)
    targets = np.random.default_rng(1).integers(0, theirs.config.vocab_size, ids.shape)
    targets[0, 2:] = -100
    loss = ours.loss_and_grad(mel, ids, targets)
    reference = torch.nn.functional.cross_entropy(
        logits_of(theirs, mel, ids).flatten(0, 1), torch.tensor(targets).flatten()
    )
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-10)
    with torch.no_grad():  # write the gradients as if they were weights
        for p in theirs.parameters():
            p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
    theirs.save_pretrained(tmp_path / "gradients")
    expected = dict(load_model(tmp_path / "gradients", np.float64).named_parameters())
    for name, p in ours.named_parameters():
        want = expected[name].data
        assert np.abs(p.grad - want).max() <= 1e-7 * max(np.abs(want).max(), 1e-9), name


def test_shards_and_a_model_without_its_head(tmp_path):
    theirs, _ = whisper(SHAPES[0], n_mels=6)
    mel, ids = batch(theirs)
    expected = logits_of(theirs, mel, ids).detach().numpy()
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    theirs.model.save_pretrained(tmp_path / "trunk")
    for folder in ("shards", "trunk"):
        found = load_model(tmp_path / folder, np.float64).forward(mel, ids)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


STRINGS = ["the cat's hat", " 12 foxes!\n\n", "漢字 naïve 🙂", "<|en|> as text", ""]


def test_the_tokenizer_in_one_file_and_in_the_older_files(tmp_path):
    theirs, tokenizer = whisper(folder=tmp_path / "one")
    vocab, merges = vocabulary()
    vocab[""] = len(vocab)
    added = {token.content: i for i, token in tokenizer.added_tokens_decoder.items()}
    old = tmp_path / "old"
    theirs.save_pretrained(old)
    (old / "vocab.json").write_text(json.dumps(vocab))
    (old / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (old / "added_tokens.json").write_text(json.dumps(added))
    (old / "normalizer.json").write_text("{}")
    for folder in ("one", "old"):
        ours = load_model(tmp_path / folder)
        for text in STRINGS[:3]:
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert ours.tokenizer.encode(text) == ids
            assert ours.tokenizer.decode(ids) == text
        assert ours.tokenizer.encode("<|en|><|0.04|>", allow_special=True) == [added["<|en|>"], added["<|0.04|>"]]


def test_a_processor_reads_what_we_write(tmp_path):
    _, tokenizer = whisper(folder=tmp_path / "theirs")
    load_model(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    processor = transformers.WhisperProcessor.from_pretrained(tmp_path / "ours")
    for text in STRINGS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert processor.tokenizer.encode(text, add_special_tokens=False) == ids
    ids = [5, 6, tokenizer.convert_tokens_to_ids("<|0.04|>"), 7, tokenizer.eos_token_id]
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids, skip_special_tokens=True)
    assert processor.feature_extractor.feature_size == 80


# ------------------------------------------------------------------------------------------------- greedy texts


def pair(tmp_path, seed=0, **options):
    theirs, tokenizer = whisper(SHAPES[0], tmp_path, seed=seed, **options)
    return theirs, tokenizer, load_model(tmp_path, np.float64)


def some_mel(frames, seed):
    return np.random.default_rng(seed).standard_normal((80, frames))


def written_by(theirs, tokenizer, mel, **options):
    """transformers' ids for one spectrogram, without the prompt."""
    out = theirs.generate(input_features=torch.tensor(mel)[None], return_segments=True, **options)
    return out["segments"][0] if isinstance(out, dict) else out


def ours_for(ours, mel, **options):
    windows = list(transcribe_windows(ours, mel, skip_silence=False, **options))
    return windows, [segment for window in windows for segment in window.segments]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize(("language", "task"), [("de", "transcribe"), (None, "translate")])
def test_a_window(timestamps, language, task, seed, tmp_path):
    theirs, tokenizer, ours = pair(tmp_path, seed)
    mel = some_mel(40, seed)
    expected = written_by(theirs, tokenizer, mel, language=language, task=task, return_timestamps=timestamps)
    windows, found = ours_for(ours, mel, language=language, task=task, timestamps=timestamps)
    same_segments(found, expected, tokenizer, ours)
    if language is None:
        detected = theirs.detect_language(torch.tensor(mel)[None]).item()
        assert windows[0].language == tokenizer.convert_ids_to_tokens(detected)[2:-2]


@pytest.mark.parametrize("seed", range(6))
def test_a_long_sound_is_read_from_time_to_time(seed, tmp_path):
    theirs, tokenizer, ours = pair(tmp_path, seed)
    mel = some_mel(150, seed)
    options = {"language": "en", "task": "transcribe"}
    expected = written_by(theirs, tokenizer, mel, return_timestamps=True, **options)
    _, found = ours_for(ours, mel, **options)
    same_segments(found, expected, tokenizer, ours)
    assert found[-1].end > 0.8  # it reached the last window


@pytest.mark.parametrize("timestamps", [False, True])
def test_a_model_of_english(timestamps, tmp_path):
    theirs, tokenizer, ours = pair(tmp_path, multilingual=False)
    mel = some_mel(40, 1)
    expected = written_by(theirs, tokenizer, mel, return_timestamps=timestamps)
    windows, found = ours_for(ours, mel, timestamps=timestamps)
    same_segments(found, expected, tokenizer, ours)
    assert windows[0].language is None
    with pytest.raises(ValueError, match="knows one language only"):
        ours_for(ours, mel, language="de")


def test_old_folders_with_forced_tokens(tmp_path):
    theirs, tokenizer, _ = pair(tmp_path)
    id_of = tokenizer.convert_tokens_to_ids
    theirs.generation_config.forced_decoder_ids = [[1, id_of("<|zh|>")], [2, id_of("<|translate|>")]]
    theirs.save_pretrained(tmp_path)
    ours, mel = load_model(tmp_path, np.float64), some_mel(40, 3)
    windows, found = ours_for(ours, mel, timestamps=False)
    expected = written_by(theirs, tokenizer, mel, language="zh", task="translate", return_timestamps=False)
    same_segments(found, expected, tokenizer, ours)
    assert windows[0].language == "zh"


def same_segments(found, expected, tokenizer, ours):
    """The same texts, ids and ends. transformers counts the time that begins the next piece to the last one."""
    zero = ours.speech_tokens.time_zero
    assert len(found) == len(expected)
    for segment, other in zip(found, expected, strict=True):
        ids = other["tokens"].tolist()
        assert segment.ids in (ids, ids[:-1])
        assert len(segment.ids) == len(ids) or (ids[-2] >= zero and ids[-1] >= zero)
        assert segment.end == pytest.approx(float(other["end"]))
        assert segment.text == tokenizer.decode([i for i in ids if i < zero], skip_special_tokens=True)
