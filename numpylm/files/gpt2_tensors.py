"""Converting GPT-2 tensors of different programs: prefixes of names, the tied output layer, transposed matrices.

transformers puts ``transformer.`` before the names. torch.compile, DataParallel and other wrappers add their own parts
at the beginning or in the middle. transformers stores a matrix as (in, out), as we do. nanoGPT and minGPT store it as
(out, in), as torch's ``nn.Linear`` does.
"""

import re
from collections.abc import Mapping

from numpylm.files.safetensors_files import StoredTensor

PREFIX = "transformer."
HEAD, TABLE = "lm_head.weight", "wte.weight"
WRAPPERS = {
    "transformer",  # transformers, nanoGPT, minGPT
    "model",  # Lightning, and many training scripts
    "_orig_mod",  # torch.compile
    "module",  # DataParallel, DistributedDataParallel
    "_forward_module",  # Lightning's Fabric
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
}
OLD_BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # old files contain the causal mask
MATRIX = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")


def own_names(stored: Mapping[str, StoredTensor], tied: bool) -> dict[str, StoredTensor]:
    """The same tensors by our names: without the parts that wrappers add, and without the buffers of old files.

    With ``tied``, an output layer without an embedding is used as the embedding. safetensors' ``save_model`` writes an
    array with two names under only one of them.

    Raises
    ------
    ValueError
        If a file holds more than one model.
    """
    renamed: dict[str, StoredTensor] = {}
    before = _prefix(stored)
    for theirs, tensor in stored.items():
        name = _unwrapped(theirs).removeprefix(before)
        if OLD_BUFFER.fullmatch(name):
            continue
        if name in renamed:
            raise ValueError(f"{tensor.path} has {name} twice, as {renamed[name].name} and as {theirs}")
        renamed[name] = tensor
    if tied and HEAD in renamed and TABLE not in renamed:
        renamed[TABLE] = renamed.pop(HEAD)
    return renamed


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _prefix(stored: Mapping[str, StoredTensor]) -> str:
    """The prefix of all names of a model, apart from the known wrappers: ``net.`` in ``net.wpe.weight``."""
    names = {_unwrapped(name) for name in stored}
    found = sorted({name.removesuffix("wpe.weight") for name in names if name.split(".")[-2:] == ["wpe", "weight"]})
    if len(found) > 1:
        path, named = next(iter(stored.values())).path, " and ".join(map(repr, found))
        raise ValueError(
            f"{path} holds {len(found)} models, whose names begin with {named}: save only the one that you want"
        )
    return found[0] if found else ""


def transposed(stored: Mapping[str, StoredTensor], shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """The names of the matrices that a file stores as (out, in), as torch's ``nn.Linear`` does: all of them or none.

    The shape of a square matrix does not show this. That of c_attn, (C, 3C), does, and the others have the same layout.
    """
    matrices = {name for name in shapes if MATRIX.fullmatch(name)}
    telling = [name for name in matrices & stored.keys() if shapes[name] != shapes[name][::-1]]
    turned = [stored[name].shape == shapes[name][::-1] for name in telling]
    return matrices if turned and all(turned) else set()
