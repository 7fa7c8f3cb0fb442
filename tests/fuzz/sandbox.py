"""Small real files of every kind that numpylm reads, and a look at what a command did to them."""

import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from numpylm import GPT, GPTConfig, Tokenizer
from numpylm.system.run_files import LOCK
from numpylm.text.added_tokens import AddedToken
from numpylm.text.gguf_tokenizer import LLAMA3_PATTERN
from numpylm.text.llama_tokenizer import LlamaTokenizer
from numpylm.text.tokenizer_config import Chat
from numpylm.text.tokenizer_files import Rules
from numpylm.training.config import TrainConfig
from numpylm.training.train import train
from tests.small_gguf import gguf_bytes, small_llama

STORY = (
    "Once there was a small boat. It sailed to the sea, and the sea was cold.\n\nThe end came at 7 o'clock — naïve.\n"
)
TINY = TrainConfig(
    n_layer=1,
    n_head=2,
    n_embd=8,
    block_size=8,
    batch_size=2,
    vocab_size=270,
    max_steps=2,
    warmup_steps=1,
    sample_tokens=2,
    check_gradients=False,
)
LAYER = """import numpy as np


def square_forward(x):
    return x * x, x


def square_backward(dout, x):
    return 2 * dout * x
"""
SOLVED = {
    "gelu": {"day": "2026-01-01", "source": "def my_gelu(x):\n    return x, x\n", "names": ["my_gelu", "my_gelu"]}
}


def build(folder: Path) -> None:
    """Make all files in an empty folder; changes the working folder to it."""
    os.chdir(folder)
    Path("text").mkdir()
    for name, times in (("a.txt", 12), ("b.txt", 3)):
        Path("text", name).write_text(STORY * times, encoding="utf-8")
    Path("answers.txt").write_text("Q: two? A: 2<|endoftext|>Q: one? A: 1<|endoftext|>" * 8, encoding="utf-8")
    tiny = replace(TINY, data=("text/a.txt",))
    train(replace(tiny, out="runs/bpe"))
    train(replace(tiny, out="runs/char", tokenizer="char", bias=False))
    train(replace(tiny, out="runs/lora", init_from="runs/bpe", lora_rank=1))
    gpt = GPT(GPTConfig(272, 8, 1, 2, 8), np.random.default_rng(0))
    gpt.save_pretrained("gpt2", Tokenizer.load("runs/bpe"))
    _in_two_files(Path("gpt2"), Path("sharded"))
    Path("one").mkdir()
    shutil.copy("gpt2/tokenizer.json", "one")
    _newer_tokenizers()
    lines = [f"{key} = {_toml(value)}" for key, value in vars(tiny).items()]
    Path("config.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    owner = {"pid": 1, "host": "elsewhere", "since": "2026-01-01 00:00:00.000000+00:00"}
    Path("runs/char", LOCK).write_text(json.dumps(owner), encoding="utf-8")
    Path("layers.py").write_text(LAYER, encoding="utf-8")
    Path("course.json").write_text(json.dumps(SOLVED), encoding="utf-8")


def _newer_tokenizers() -> None:
    """Those of Llama 3 and Llama 2, and a GGUF file."""
    parts = Tokenizer.load("runs/bpe").parts
    added = (AddedToken("<|a|>", 270, False, True, normalized=True), AddedToken("<|b|>", 271))
    special = parts.special_tokens | {"<|b|>": 271}
    patterns = (r"\p{N}|\P{N}+", LLAMA3_PATTERN)
    chat = Chat("{{ messages }}", 271, True, (271,))
    Tokenizer(parts.vocab, parts.merges, special, patterns, Rules("NFC", True, added[:1]), chat).save("llama3")
    pieces = ["<|a|>", "<|b|>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "th", "▁th"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    specials = [AddedToken("<|a|>", 0), AddedToken("<|b|>", 1)]
    LlamaTokenizer(vocab, [("t", "h"), ("▁", "th")], specials, chat=Chat("", 0, True, (1,))).save("llama2")
    Path("small.gguf").write_bytes(gguf_bytes(*small_llama()))


def _in_two_files(source: Path, folder: Path) -> None:
    """The same model as transformers writes it in several files; with the tokenizer's older files."""
    from safetensors.numpy import load_file, save_file

    folder.mkdir()
    tensors = load_file(source / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-1-of-2.safetensors": names[:5], "model-2-of-2.safetensors": names[5:]}
    for part, inside in parts.items():
        save_file({name: tensors[name] for name in inside}, folder / part, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: part for part, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    for name in ("config.json", "vocab.json", "merges.txt"):
        shutil.copy(source / name, folder)
    (folder / "added_tokens.json").write_text('{"<|more|>": 270}', encoding="utf-8")
    (folder / "pattern.txt").write_text(r"\p{L}+|\p{N}|[^\p{L}\p{N}]+", encoding="utf-8")


def _toml(value: object) -> str:
    return json.dumps(value if not isinstance(value, tuple) else list(value))


@dataclass
class Sandbox:
    """The working folder, in which everything is put back after each command.

    Attributes
    ----------
    files : dict of bytes
        What each file holds, by its path.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    stamps: dict[str, tuple] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stamps = _stamps()
        self.files = {name: Path(name).read_bytes() for name in self.stamps}

    def put(self, name: str, data: bytes) -> None:
        """Write other content into a file, until `restore`."""
        Path(name).write_bytes(data)
        self.stamps[name] = _stamp(Path(name).stat())

    def changes(self) -> tuple[list[str], list[str], list[str]]:
        """The names of files that are changed, gone and new since the last `put` or `restore`."""
        now = _stamps()
        changed = [name for name in now.keys() & self.stamps.keys() if now[name] != self.stamps[name]]
        return sorted(changed), sorted(self.stamps.keys() - now.keys()), sorted(now.keys() - self.stamps.keys())

    def restore(self, touched: set[str]) -> None:
        """Put every file back; ``touched`` are those that were `put`."""
        changed, gone, new = self.changes()
        for name in new:
            Path(name).unlink()
        for name in {*changed, *gone, *touched}:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(self.files[name])
        for folder, folders, files in os.walk(".", topdown=False):
            if not (folders or files) and folder != ".":
                Path(folder).rmdir()
        self.stamps = _stamps()


def _stamp(stat: os.stat_result) -> tuple:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _stamps() -> dict[str, tuple]:
    """When each file below the working folder was written, its length, and which file it is."""
    found = {}
    for folder, _, files in os.walk("."):
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118, this runs for every input
            found[path[2:].replace(os.sep, "/")] = _stamp(os.lstat(path))
    return found
