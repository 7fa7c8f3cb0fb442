"""``numpylm look``: a page for each family, and one clear line for each mistake."""

import json
import os
import re

import pytest

from numpylm.cli.main import main
from numpylm.files.checkpoint import save_checkpoint
from tests.inference.inside_models import of

FAMILIES = {"gpt": "a bad cab", "llama": "a bad cab", "masked words": "a [MASK]", "post-norm": "a cat"}


def saved(folder, kind):
    model = of(kind, "float32")
    save_checkpoint(folder / "best.npz", model)
    model.tokenizer.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("run"), "gpt")


def content(path):
    return json.loads(path.read_text(encoding="utf-8").partition('id="data">')[2].partition("</script>")[0])


def error(capsys, *argv):
    assert main(["look", *map(str, argv)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_page_is_written_for_each_family(kind, tmp_path, capsys):
    out = tmp_path / "new folder" / "page.html"
    assert main(["look", saved(tmp_path, kind), "--prompt", FAMILIES[kind], "--out", str(out)]) == 0
    assert re.fullmatch(r"wrote .*page\.html \(\d+ kB\): open it in a browser\n", capsys.readouterr().out)
    assert content(out)["family"].lower() in ("gpt", "llama", "bert", "transformer")


def test_options_reach_the_page(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["look", run, "--prompt", "abc", "--new-tokens", "3"]) == 0
    found = content(tmp_path / "look.html")
    assert (len(found["steps"]), len(found["streams"][0]["ids"]) - found["given"]) == (3, 3)
    model = saved(tmp_path, "pre-norm")
    assert main(["look", model, "--prompt", "a cat", "--target", "the sea"]) == 0
    assert content(tmp_path / "look.html")["byModel"] is False


def test_mistakes_are_said_in_one_line_and_leave_no_file(run, tmp_path, capsys):
    out = tmp_path / "x.html"
    assert "the prompt is empty" in error(capsys, run, "--prompt", " ", "--out", out)
    assert "the model reads 24 at most" in error(capsys, run, "--prompt", "a" * 40, "--out", out)
    assert "--target is for a model that translates" in error(
        capsys, run, "--prompt", "a", "--target", "b", "--out", out
    )
    assert "nothing/here" in error(capsys, "nothing/here", "--prompt", "a", "--out", out)
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_said(run, tmp_path, capsys):
    assert "is a folder: name a file" in error(capsys, run, "--prompt", "a", "--out", tmp_path)
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "page.html"
    assert f"{tmp_path / 'file'} is a file, not a folder" in error(capsys, run, "--prompt", "a", "--out", out)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_said_before_the_work(run, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert "you may not write in" in error(capsys, run, "--prompt", "a", "--out", tmp_path / "new" / "page.html")
    tmp_path.chmod(0o700)
