"""GPT-2's tensors, whichever program wrote them: their names without wrappers, the tied head, the layout.

transformers writes ``transformer.`` before the names. torch.compile, DataParallel and others that wrap a model
write names of their own, in front or in between. transformers keeps a matrix as (in, out), as we do; nanoGPT and
minGPT keep it as torch's ``nn.Linear`` does, (out, in).
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
OLD_BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # the causal mask, which old files carry
MATRIX = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")


def own_names(stored: Mapping[str, StoredTensor], tied: bool) -> dict[str, StoredTensor]:
    """The same tensors by our names: without wrappers, and without the buffers of old files.

    With ``tied``, an output layer alone is the token embedding too: safetensors' ``save_model`` writes an array that
    has two names under one of them.

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
    """What stands before all names of a model, beside the wrappers that are known: ``net.`` in ``net.wpe.weight``."""
    names = {_unwrapped(name) for name in stored}
    found = sorted({name.removesuffix("wpe.weight") for name in names if name.split(".")[-2:] == ["wpe", "weight"]})
    if len(found) > 1:
        path, named = next(iter(stored.values())).path, " and ".join(map(repr, found))
        raise ValueError(
            f"{path} holds {len(found)} models, whose names begin with {named}: save the one you want alone"
        )
    return found[0] if found else ""


def transposed(stored: Mapping[str, StoredTensor], shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """The names of the matrices that a file keeps as (out, in), as torch's ``nn.Linear`` does; all of them or none.

    A square matrix does not tell, but that of queries, keys and values, (C, 3C), does, and it speaks for the others.
    """
    matrices = {name for name in shapes if MATRIX.fullmatch(name)}
    telling = [name for name in matrices & stored.keys() if shapes[name] != shapes[name][::-1]]
    turned = [stored[name].shape == shapes[name][::-1] for name in telling]
    return matrices if turned and all(turned) else set()
