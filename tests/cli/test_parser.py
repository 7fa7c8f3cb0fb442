"""Messages of the command line about misspelled options and values: one line that says what to type."""

import pytest

from numpylm.cli.main import build_parser, main
from numpylm.cli.parser import not_empty, number, path, whole_number


def said(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        main(list(argv))
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert len(err) < 300
    return err.partition("error: ")[2].rpartition(" (see numpylm")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bias=False", "--bias takes no value: type --bias or --no-bias"),
        ("--bias False --seed 1", "--bias takes no value: type --bias or --no-bias"),
        ("--check_gradients no", "--check_gradients takes no value: type --check-gradients or --no-check-gradients"),
        ("--no-check-gradients=true", "takes no value: type --check-gradients or --no-check-gradients"),
        ("--diagnose=1", "--diagnose takes no value: type --diagnose, or leave it out"),
        ("--no_bias", "unknown option: --no_bias; did you mean --no-bias?"),
        ("--Vocab_Sise=3", "did you mean --vocab-size?"),
        ("—data a.txt", "unknown option: —data a.txt; did you mean --data?"),
        ("-data a.txt", "did you mean --data?"),
        ("--lr 3", "did you mean --lora-rank or --learning-rate?"),
        ("--steps 3", "did you mean --max-steps?"),
        ("--qqqqqq", "unknown option: --qqqqqq"),
        ("--vocab-size 1k", "--vocab-size: expected a whole number, got '1k': write 1000"),
        ("--max_steps=100.0", "--max-steps: expected a whole number, got '100.0': write 100"),
        ("--learning-rate 1e-3,", "--learning-rate: expected a number, got '1e-3,': write 0.001"),
        ("--vocab-size " + "9" * 5000, "--vocab-size: expected a whole number, got '9999"),
        ("--seed --bias", "--seed: expected one argument"),
        ("--out -x", "--out: expected one argument; a value that begins with - needs a =, as in --out=-x"),
        ("--out my run", "unexpected run; words without an option come first, and a value with spaces needs quotes"),
        ("a b c d e f", "unexpected a b c …;"),
    ],
)
def test_train(capsys, words, message):
    assert message in said(capsys, "train", *words.split())


@pytest.mark.parametrize("option", ["--data", "--out", "--config", "--resume", "--init-from", "--clean"])
def test_an_empty_value_is_no_value(capsys, option):
    assert said(capsys, "train", option, "") == f"{option}: the value is empty; is a variable of the shell not set?"
    assert "the value is empty" in said(capsys, "train", f"{option}=")


@pytest.mark.parametrize("command", ["generate", "evaluate", "rank", "export"])
def test_an_empty_source_is_no_source(capsys, command):
    assert said(capsys, command, "", "folder").lower().startswith("source: the value is empty")


@pytest.mark.parametrize("word", ["", " ", "x" * 5000, "a\nb"])
def test_words_that_can_be_no_file(capsys, word):
    assert said(capsys, "train", word).startswith("unexpected ")


def test_a_text_without_its_option(capsys, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("text")
    assert said(capsys, "train", str(file)).endswith("; if it is the text, write --data before it")


def test_a_model_behind_an_option_that_takes_all_words(capsys):
    for command, option in (("evaluate", "--data"), ("rank", "--answers")):
        message = said(capsys, command, option, "a", "b", "runs/a")
        assert message.endswith(f"SOURCE; {option} takes all words that follow: write it last")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trian", "unknown command 'trian'; did you mean train?"),
        ("tokenise", "unknown command 'tokenise'; did you mean tokenize?"),
        ("a.txt", "unknown command 'a.txt'; there are: train, generate, gradcheck"),
    ],
)
def test_unknown_commands(capsys, word, message):
    assert said(capsys, word, "--x").startswith(message)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e3", 1000),
        ("10k", 10_000),
        ("2M", 2_000_000),
        ("1,024", 1024),
        ("1,000,000", 1_000_000),
        ("1 000", 1000),
        ("-5.0", -5),
        ("8.", 8),
        ("0,5k", 500),
    ],
)
def test_whole_numbers_are_spelled_out(text, meant):
    with pytest.raises(Exception, match=rf": write {meant}$"):
        whole_number(text)


@pytest.mark.parametrize("text", ["1.5", "1,5", "two", "", "1k2", "0x10", "1e99k", "--", "1.2.3", "∞", "5%"])
def test_what_is_no_whole_number_is_not_guessed(text):
    with pytest.raises(Exception, match=r"expected a whole number, got '[^:]*$"):
        whole_number(text)


@pytest.mark.parametrize(("text", "meant"), [("0,125", 0.125), ("35%", 0.35), ("1e-3,", 0.001), ("1,000", 1000)])
def test_numbers_are_spelled_out(text, meant):
    with pytest.raises(Exception, match=rf": write {meant}$"):
        number(text)


def test_right_values_are_themselves():
    assert (whole_number("-12"), whole_number("1_000"), number("1e-3"), str(path("a")), not_empty("a")) == (
        -12,
        1000,
        0.001,
        "a",
        "a",
    )


def test_two_dashes_are_a_value_behind_an_equals_sign():
    """argparse treats them as the end of the options, so the option got an empty list."""
    args = build_parser().parse_args(["rank", "runs/a", "--prompt=--", "--answers=--"])
    assert (args.prompt, args.answers) == ("--", ["--"])
