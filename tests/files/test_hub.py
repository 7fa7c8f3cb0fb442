"""Names and folders: what is downloaded, what is not, and the messages without a network."""

import sys
from types import SimpleNamespace

import pytest

from numpylm import GPT
from numpylm.files.checkpoint import load_run
from numpylm.files.hub import MODEL_FILES, model_folder
from numpylm.files.load_model import load_language_model


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """The requests to a fake hub that returns a folder."""
    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path / "cache")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    return asked


@pytest.mark.parametrize("name", ["gpt2", "openai-community/gpt2", "a_b/c.d-2"])
def test_a_name_is_fetched(name, fetched, tmp_path):
    assert model_folder(name) == tmp_path / "cache"
    assert fetched == [(name, list(MODEL_FILES))]
    assert not any(pattern.endswith((".bin", "*")) for pattern in MODEL_FILES)


def test_an_existing_folder_is_used_as_it_is(fetched, tmp_path):
    (tmp_path / "gpt2").mkdir()
    assert model_folder("gpt2").samefile(tmp_path / "gpt2")
    assert model_folder(tmp_path).samefile(tmp_path)
    assert not fetched


@pytest.mark.parametrize(
    "path", ["runs/nothing", "./gpt2", "../gpt2", "~/gpt2", "a/b/c", "/tmp/none", "gpt2/", "a\\b", "", "x.safetensors"]
)
def test_what_looks_like_a_path_is_never_fetched(path, fetched, tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match="no folder"):
        model_folder(path)
    assert not fetched


def test_a_file_is_no_folder(tmp_path, fetched):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="give the folder it is in"):
        model_folder("model.safetensors")


class Strange(Exception):
    """An error class without a common base class, as in HTTP libraries."""


@pytest.mark.parametrize("error", [Strange("no route\nto host"), OSError(), ValueError("bad name"), RuntimeError("x")])
def test_whatever_the_hub_raises_becomes_one_error_with_what_to_do(error, monkeypatch):
    def snapshot_download(*args, **options):
        raise error

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    with pytest.raises(FileNotFoundError) as caught:
        model_folder("gpt2")
    text = str(caught.value)
    assert "https://huggingface.co/gpt2/tree/main" in text
    assert all(name in text for name in ("config.json", "model.safetensors", "vocab.json", "merges.txt"))
    assert type(error).__name__ in text
    assert "\n" not in text


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import of it fails
    with pytest.raises(FileNotFoundError, match=r'pip install -e "\.\[gpt2\]".*huggingface.co/gpt2/tree/main'):
        model_folder("gpt2")


@pytest.fixture
def runs(tmp_path):
    """Two runs, and a folder that is not a run."""
    for name in ("stories", "letters", "storage"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("stories", "letters"):
        (tmp_path / "runs" / name / "last.npz").touch()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("runs/storys", "; did you mean runs/stories?"),
        ("runs/Stories2/", "; did you mean runs/stories?"),
        ("storys", "; did you mean runs/stories?"),
        ("run/letters", "; did you mean runs/letters?"),
        ("runs/stories/lst.npz", "; did you mean runs/stories/last.npz?"),
        ("gpt-2", "; did you mean gpt2?"),
        ("openai/gpt2-medum", "; did you mean gpt2-medium?"),
        ("gpt2", None),
        ("openai-community/gpt2-xl", None),
        ("qqqqq", None),
    ],
)
def test_a_name_that_leads_nowhere_may_have_been_mistyped(given, meant, runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for load in (load_language_model, GPT.from_pretrained):
        with pytest.raises(FileNotFoundError) as caught:
            load(given)
        if meant is None:
            assert "did you mean" not in str(caught.value)
        else:
            assert meant in str(caught.value)
            assert "storage" not in str(caught.value)


def test_a_folder_of_runs_names_them(runs):
    for load in (load_language_model, load_run, GPT.from_pretrained):
        with pytest.raises(FileNotFoundError, match=r"holds some: give one of runs/letters, runs/stories$"):
            load("runs")
