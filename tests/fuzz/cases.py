"""What is tried: a mutated file and a command that reads it, or a command with random options."""

import argparse
import random
from dataclasses import dataclass
from functools import cache

from numpylm.cli.main import COMMANDS, build_parser
from tests.fuzz import mutations as m

Rng = random.Random

RESUME = ["train", "--resume", "{folder}", "--max-steps", "3"]
FINE_TUNE = ["train", "--init-from", "{folder}", "--data", "text/b.txt", "--max-steps", "1", "--out", "new"]
GENERATE = ["generate", "{folder}", "--max-new-tokens", "2", "--seed", "1", "--prompt", "Once"]
EVALUATE = ["evaluate", "{folder}", "--data", "text/b.txt"]
RANK = ["rank", "{folder}", "--prompt", "Once", "--answers", " there", " was"]
TOKENIZE = ["tokenize", "{folder}", "Once there was é"]
TOKENIZE_ALL = ["tokenize", "{folder}", "<|a|> the cat <|b|>", "--allow-special"]
EXPORT = ["export", "{folder}", "new"]
USES = [GENERATE, GENERATE, EVALUATE, RANK, EXPORT, FINE_TUNE]
TRAIN = ["train", "--config", "config.toml", "--out", "new"]
READS_TEXT = [
    ["evaluate", "runs/bpe", "--data", "{file}"],
    ["evaluate", "runs/char", "--data", "text", "--stride", "3"],
    ["tokenize", "runs/bpe", "--data", "{file}", "--color", "always"],
    ["tokenize", "runs/char", "--data", "{file}", "--ids"],
    [*TRAIN, "--data", "{file}"],
    [*TRAIN, "--data", "text", "--clean", "all"],
    [*TRAIN, "--data", "{file}", "--tokenizer", "char"],
    RESUME[:2] + ["runs/bpe"] + RESUME[3:],
]
ANSWERS = [
    [*TRAIN, "--data", "{file}", "--loss-after", "A:"],
    ["evaluate", "gpt2", "--data", "{file}", "--loss-after", "A:"],
]
COURSE = [["course"], ["course", "gelu"], ["course", "--collect", "new.py"], ["course", "--reset"]]

FILES: list[tuple[list[str], tuple[m.Mutation, ...], list[list[str]], int]] = [  # files, mutations, commands, weight
    (["runs/bpe/best.npz", "runs/char/best.npz", "runs/lora/best.npz"], m.NPZ, USES, 14),
    (["runs/bpe/last.npz", "runs/lora/last.npz"], m.NPZ, [RESUME, RESUME, ["generate", "{file}"]], 10),
    (["runs/bpe/config.json", "runs/lora/config.json"], m.JSON, [RESUME, GENERATE], 6),
    (["runs/bpe/metrics.jsonl", "runs/char/metrics.jsonl"], m.JSON_LINES, [RESUME], 4),
    (["runs/char/.lock"], m.JSON, [RESUME], 1),
    (["runs/char/characters.json"], m.JSON, [TOKENIZE, GENERATE, RESUME, EXPORT], 6),
    (["runs/bpe/vocab.json", "gpt2/vocab.json", "sharded/vocab.json"], m.JSON, [TOKENIZE, GENERATE, EXPORT], 8),
    (["runs/bpe/merges.txt", "gpt2/merges.txt", "sharded/merges.txt"], m.TEXT, [TOKENIZE, GENERATE, EXPORT], 6),
    (["sharded/pattern.txt", "sharded/added_tokens.json"], m.TEXT, [TOKENIZE, GENERATE, EXPORT], 4),
    (["sharded/added_tokens.json"], m.JSON, [TOKENIZE, GENERATE], 2),
    (["one/tokenizer.json", "llama3/tokenizer.json", "llama2/tokenizer.json"], m.JSON, [TOKENIZE, TOKENIZE_ALL], 10),
    (["llama3/tokenizer_config.json"], m.JSON, [TOKENIZE], 2),
    (["small.gguf"], m.ANY, [["tokenize", "{file}", "the <|im_end|> é"]], 3),
    (["gpt2/config.json", "sharded/config.json"], m.JSON, USES, 8),
    (["gpt2/model.safetensors", "sharded/model-1-of-2.safetensors"], m.SAFETENSORS, USES, 10),
    (["sharded/model.safetensors.index.json"], m.JSON, USES, 5),
    (["config.toml"], m.TEXT, [TRAIN, [*TRAIN[:3]]], 6),
    (["text/a.txt", "text/b.txt"], m.TEXT, READS_TEXT, 8),
    (["answers.txt"], m.TEXT, ANSWERS, 3),
    (["course.json"], m.JSON, COURSE, 2),
]
OPTIONS_WEIGHT = 20
ALL = sum(weight for *_, weight in FILES) + OPTIONS_WEIGHT


@dataclass(frozen=True)
class Case:
    """One input: what is written into which file before the command runs; ``stdin`` is what it can read there."""

    argv: list[str]
    file: str = ""
    data: bytes = b""
    stdin: bytes = b""

    def __str__(self) -> str:
        change = f" with {self.file} = {self.data[:300]!r}" if self.file else f" with standard input {self.stdin!r}"
        return f"numpylm {' '.join(map(repr, self.argv))}{change}"


def make(rng: Rng, files: dict[str, bytes]) -> Case:
    """Draw an input."""
    at = rng.randrange(ALL)
    for names, mutations, commands, weight in FILES:
        if at < weight:
            file = rng.choice(names)
            data = mutated(files[file], mutations, rng)
            return Case(filled(rng.choice(commands), file), file, data)
        at -= weight
    return Case(with_options(rng), stdin=rng.choice((b"", b"Once", b"\xff\xfe", b"a\nb\n\nc", b"Once\r\n\r\n", b"\0")))


def mutated(data: bytes, mutations: tuple[m.Mutation, ...], rng: Rng) -> bytes:
    """A file's bytes with one mutation or two."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        try:
            data = rng.choice(mutations)(data, rng)
        except Exception:  # the first mutation made something else of it
            data = m.flipped(data, rng)
    return data


def filled(command: list[str], file: str) -> list[str]:
    """A command for the file and the folder that it lies in."""
    return [part.format(file=file, folder=file.rpartition("/")[0]) for part in command]


# ----------------------------------------------------------------------------------------------- options

WORDS = [
    *m.TEXTS[1:],
    "-",
    "--",
    "-x",
    "--help",
    "nan",
    "1",
    "0",
    "all",
    "gpt2",
    "gp2",
    "nobody/nothing",
    "runs",
    "a b",
]
WORDS += [
    "runs/bpe",
    "runs/char/last.npz",
    "runs/bpe/config.json",
    "text/a.txt",
    "text",
    "layers.py",
    "new",
    "config.toml",
]
WORDS += [
    "gelu",
    "Linear",
    "otter",
    "04",
    "\udcff",
    "x" * 300,
    "~",
    ".",
    "é\u0301",
    "/proc/self/no",
    "a=b",
    "'",
    '"',
    "$x",
]
WHOLE = [
    "-1",
    "0",
    "1",
    "2",
    "3",
    "1" + "0" * 30,
    "-" + "9" * 25,
    "1.5",
    "1e3",
    "nan",
    "",
    "٣",
    "0x10",
    "1_0",
    "x",
    "9" * 5000,
]
REAL = ["-1", "0", "0.5", "1", "nan", "inf", "-inf", "1e308", "1e-320", "1e400", "x", "", "1,5", "١", "0.1"]
FEW = {
    "max_new_tokens",
    "samples",
    "max_steps",
    "block_size",
    "n_layer",
    "n_embd",
    "vocab_size",
    "batch_size",
    "grad_accum",
}
SOURCES = ["runs/bpe", "runs/char", "runs/lora", "gpt2", "sharded"]
TINY = [
    "--n-layer",
    "1",
    "--n-head",
    "2",
    "--n-embd",
    "8",
    "--block-size",
    "8",
    "--batch-size",
    "2",
    "--vocab-size",
    "270",
    "--max-steps",
    "1",
    "--data",
    "text",
]


def with_options(rng: Rng) -> list[str]:
    """A command with arguments and flags of its own parser, and odd values; mostly it could run without the flags."""
    command = rng.choice(list(COMMANDS))
    parser = _parsers()[command]
    argv = [command]
    flags = []
    for action in parser._actions:
        if not action.option_strings:
            odd = rng.random() < 0.15
            source = SOURCES if action.dest in ("source", "run") else ["new", "Once", "gelu"]
            argv += [] if rng.random() < 0.03 else [rng.choice(WORDS if odd else source)]
        elif action.required:
            argv += [action.option_strings[0], rng.choice(WORDS if rng.random() < 0.2 else ["text/b.txt", "text"])]
        elif not isinstance(action, argparse._HelpAction):
            flags.append(action)
    if command == "train" and rng.random() < 0.8:
        argv += [*TINY, "--out", "new"]
    for action in rng.sample(flags, min(len(flags), rng.choice((0, 1, 1, 2, 3, 5)))):
        argv += _option(action, rng)
    if rng.random() < 0.01:
        argv[0] = rng.choice(WORDS)
    if rng.random() < 0.05:
        argv.insert(rng.randrange(len(argv) + 1), rng.choice(WORDS))
    return [word.replace("\0", "") for word in argv]  # no system hands on a NUL


def _option(action: argparse.Action, rng: Rng) -> list[str]:
    """A flag with a value, or with several, or misspelled."""
    flag = rng.choice(action.option_strings)
    if rng.random() < 0.02:
        flag = rng.choice((flag[:-1], flag + "x", flag.upper(), "-" + flag))
    if action.nargs == 0:
        return [flag]
    words = WHOLE if action.type is int else REAL if action.type is float else WORDS
    if action.choices and rng.random() < 0.8:
        words = list(map(str, action.choices))
    values = [rng.choice(words) for _ in range(rng.choice((0, 1, 2, 3)) if action.nargs == "+" else 1)]
    if values and rng.random() < 0.2:
        return [f"{flag}={values[0]}", *values[1:]]
    return [flag, *values]


@cache
def _parsers() -> dict[str, argparse.ArgumentParser]:
    (sub,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(sub.choices)
