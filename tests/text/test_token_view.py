"""Tokens to be looked at: everything is visible, neighbors differ, and colors come only where they are wanted."""

import html
import io
import itertools
import re

import pytest

from numpylm import CharTokenizer, Tokenizer, show_tokens
from numpylm.cli.main import main
from numpylm.text.token_view import RESET, SPECIAL, shared_characters, visible, wants_color

TEXT = "the cat sat on the mat\n\n\tthe rat 漢 \x1b[2J<b>&"
STYLE = r"\x1b\[[\d;]+m"


@pytest.fixture(scope="module")
def tok():
    return Tokenizer.train("the cat sat on the mat, the rat. 字字 " * 5, 290)


@pytest.fixture
def folder(tok, tmp_path):
    tok.save(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (b" the", "·the"),
        (b"\n\n", "⏎\n⏎\n"),
        (b"\ta", "→a"),
        (b"\r", "\\r"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b" \xf0\x9f", "·\\xf0\\x9f"),
        ("\u00a0\u200d".encode(), "\\xa0\\u200d"),
        ("é漢🙂".encode(), "é漢🙂"),
    ],
)
def test_nothing_is_invisible(token, shown):
    assert visible(token) == shown


def test_parts_of_characters_say_whose_they_are():
    han, smile = "漢".encode(), "🙂".encode()
    tokens = [b"a", han[:1], han[1:] + smile[:1], smile[1:3], smile[3:], b"\n"]
    assert shared_characters(tokens) == ["", "漢", "漢🙂", "🙂", "🙂", ""]


def test_colors_are_a_layer_on_the_text(tok):
    view = show_tokens(tok, TEXT)
    assert re.sub(STYLE, "", view.ansi()) == "".join(map(visible, view.tokens))
    assert b"".join(view.tokens).decode() == TEXT


def test_neighbors_differ_and_no_line_ends_in_color(tok):
    view = show_tokens(tok, "the cat sat on the mat, 漢")
    backgrounds = [style for style in re.findall(STYLE, view.ansi()) if style != RESET]
    assert len(backgrounds) == len(view.tokens)
    assert all(a != b for a, b in itertools.pairwise(backgrounds))
    assert all(line == "" or line.endswith(RESET) for line in show_tokens(tok, TEXT).ansi().split("\n"))


def test_special_tokens_look_special(tok):
    text = "the<|endoftext|>"
    assert SPECIAL not in show_tokens(tok, text).ansi()
    assert f"{SPECIAL}<|endoftext|>{RESET}" in show_tokens(tok, text, allow_special=True).ansi()


def test_the_table(tok):
    lines = str(show_tokens(tok, " the漢")).splitlines()
    assert lines[0].split() == [str(tok.encode(" the")[0]), "'", "the'"]
    assert lines[1].split(maxsplit=1)[1] == r"b'\xe6'  part of '漢'"


def test_html_shows_the_text_and_is_not_steered_by_it(tok):
    drawn = show_tokens(tok, TEXT)._repr_html_()
    assert "<b>" not in drawn
    assert html.unescape(re.sub("<[^>]*>", "", drawn)) == "".join(map(visible, show_tokens(tok, TEXT).tokens))


def test_characters_can_be_looked_at_too():
    assert show_tokens(CharTokenizer.train("漢字"), "字漢").ids == [0, 1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("choice", "stream", "environ", "wanted"),
    [
        ("auto", Terminal(), {"TERM": "xterm"}, True),
        ("auto", Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),  # empty does not count, says no-color.org
        ("auto", Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        ("auto", Terminal(), {"TERM": "dumb"}, False),
        ("auto", io.StringIO(), {"TERM": "xterm"}, False),
        ("always", io.StringIO(), {"NO_COLOR": "1"}, True),  # a flag is nearer than the environment
        ("never", Terminal(), {"TERM": "xterm"}, False),
    ],
)
def test_when_there_is_color(choice, stream, environ, wanted):
    assert wants_color(choice, stream, environ) is wanted


def test_the_command(tok, folder, capsys):
    assert main(["tokenize", folder, "the 漢"]) == 0
    plain = capsys.readouterr().out
    assert "\x1b" not in plain
    assert plain == f"{show_tokens(tok, 'the 漢')}\n5 tokens, 5 characters, 7 bytes, 1.40 bytes per token\n"
    assert main(["tokenize", "--model", folder, "the 漢"]) == 0
    assert capsys.readouterr().out == plain
    assert main(["tokenize", "the 漢", "--model", folder, "--color", "always"]) == 0
    assert capsys.readouterr().out == show_tokens(tok, "the 漢").ansi() + "\n\n" + plain


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which tokenizer"),
        (["--model", "x", "two", "texts"], "'texts' is a second one"),
        (["x", "text", "--data", "file"], "choose one"),
    ],
)
def test_wrong_calls_are_explained(words, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(["tokenize", *words])
    assert left.value.code == 2
    assert message in capsys.readouterr().err
