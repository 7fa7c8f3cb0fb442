"""An argparse parser with one-line errors that suggest the right option, command or number."""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from numpylm.system.shell import shown

DASHES = "-‐‑–—−"  # word processors and phones replace the first by the others
REPEATED = 3  # number of unknown words that a message shows
BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")
FACTORS = {"k": 1e3, "m": 1e6, "%": 1e-2}
LARGEST = 1e15  # larger numbers are not guessed, because a float has 15 exact digits


class Parser(argparse.ArgumentParser):
    """An argument parser whose error messages suggest what a word, option or number was probably meant to be."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.words: list[str] = []  # the part of the command line that this parser handles
        for kind, convert in ((int, whole_number), (float, number), (Path, path)):
            self.register("type", kind, convert)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but it stores the words. argparse also calls it for the parsers of subcommands."""
        self.words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but unknown words are compared with the options of the subcommand."""
        parsed, rest = self.parse_known_args(args, namespace)
        if getattr(parsed, "text", None) == [] and not any(word.startswith("-") for word in rest):
            parsed.text, rest = rest, []  # a text may also stand after the options
        if rest:
            parser = getattr(parsed, "parser", self)
            parser.error(parser._unknown(rest))
        return parsed

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """As in argparse, but ``--prompt=--`` has the value ``--``. (argparse treats it as the end of the options.)"""
        if arg_strings == ["--"] and action.option_strings:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return [value] if action.nargs == "+" else value
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Print a one-line message and exit with code 2."""
        if match := re.match(r"argument ([^:]+): (.*)", message, re.DOTALL):
            message = self._explained(match[1].split("/")[0].replace("_", "-"), match[2])
        elif message.startswith("the following arguments are required"):
            message += self._greedy()
        message = re.sub(r"(\S{60})\S{100,}", r"\1…", shown(message))
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def _explained(self, name: str, complaint: str) -> str:
        """Improve argparse's message about the value of one argument."""
        if complaint.startswith("ignored explicit argument"):
            return self._takes_no_value(name)
        if name == "COMMAND" and (choice := re.match(r"invalid choice: '(.*)' \(choose from (.*)\)", complaint)):
            return f"unknown command {choice[1]!r}{_nearest(choice[1], re.findall(r'[a-z]+', choice[2]))}"
        after = self.words[self.words.index(name) + 1 :] if name in self.words else []
        mistaken = [word for word in after[:1] if not self._option(word.split("=")[0])]
        if complaint.startswith(("expected one", "expected at least")) and mistaken:
            complaint += f"; a value that begins with - needs a =, as in {name}={mistaken[0]}"
        return f"{name}: {complaint}"

    def _unknown(self, rest: list[str]) -> str:
        """The message about unknown words and options."""
        words = " ".join(word or "''" for word in rest[:REPEATED]) + (" …" if len(rest) > REPEATED else "")
        if dashed := [word for word in rest if word.startswith(tuple(DASHES)) and word.strip(DASHES)]:
            flags = [flag for flag in self._option_string_actions if flag.startswith("--") and "_" not in flag]
            return f"unknown option: {words}{_nearest_flag(dashed[0], flags)}"
        word = rest[0]
        for before, here in zip(self.words, self.words[1:], strict=False):
            option = self._option(before)
            if here == word and word.lower() in BOOLEANS and option and option.nargs == 0:
                return self._takes_no_value(before)
        if self._option("--data") and _exists(word):
            return f"unexpected {words}; if it is the text, write --data before it"
        return f"unexpected {words}; words without an option come first, and a value with spaces needs quotes around it"

    def _takes_no_value(self, flag: str) -> str:
        option = self._option(flag.replace("_", "-"))
        ways = option.option_strings if option else [flag]
        return f"{flag} takes no value: type {' or '.join(ways)}" + (", or leave it out" if len(ways) == 1 else "")

    def _greedy(self) -> str:
        """A hint if an option with several values has probably taken a required argument."""
        options = [word for word in self.words if (option := self._option(word)) and option.nargs == "+"]
        return f"; {options[0]} takes all words that follow: write it last" if options else ""

    def _option(self, word: str) -> argparse.Action | None:
        return self._option_string_actions.get(word)


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except OSError:  # such as a name that is too long
        return False


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known := list(known), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"


def _nearest_flag(word: str, flags: list[str]) -> str:
    """A suggestion for a mistyped flag: ``--learning-rate`` for ``—learning_rate=1`` and for ``--lr``."""
    word = "--" + word.split("=")[0].strip(DASHES).replace("_", "-").lower()
    initials = [flag for flag in flags if "".join(part[0] for part in flag[2:].split("-")) == word[2:]]
    near = difflib.get_close_matches(word, flags, 1, 0.5)
    meant = [word] if word in flags else initials or near
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


# ----------------------------------------------------------------------------------------------- values


def whole_number(text: str) -> int:
    """Convert to int, or raise an error that says how to write the number: 1000 for 1e3, 1k, 1,000 and 1000.0."""
    try:
        return int(text)
    except ValueError:
        raise _no_number(text, "a whole number") from None


def number(text: str) -> float:
    """Convert to float, or raise an error that says how to write the number: 0.01 for 0,01 and 1%."""
    try:
        return float(text)
    except ValueError:
        raise _no_number(text, "a number") from None


def _no_number(text: str, kind: str) -> argparse.ArgumentTypeError:
    meant = _number_meant(text)
    fits = meant is not None and (kind == "a number" or meant.is_integer())
    hint = f": write {meant:.15g}" if fits else ""
    return argparse.ArgumentTypeError(f"expected {kind}, got {text!r}{hint}")


def _number_meant(text: str) -> float | None:
    """The number that was meant by 1k, 10%, 1,024, 0,01 or ``1e-3,``; None for other texts."""
    match = re.fullmatch(r"([-+]?[\d.,_ ]*\d(?:e[-+]?\d{1,2})?)[.,; ]*([km%]?)", text.strip(), re.IGNORECASE)
    if not match:
        return None
    digits = re.sub("[_ ]", "", match[1])
    digits = digits.replace(",", "" if re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+", digits) else ".")
    try:
        meant = float(digits) * FACTORS.get(match[2].lower(), 1)
    except ValueError:
        return None
    return meant if abs(meant) < LARGEST else None


def path(text: str) -> Path:
    """Convert to a path. An empty one is refused, because it would mean the working folder."""
    return Path(not_empty(text))


def not_empty(text: str) -> str:
    """Return the text, or raise an error if it is empty."""
    if not text:
        raise argparse.ArgumentTypeError("the value is empty; is a variable of the shell not set?")
    return text
