"""What one does with a trained GPT: let it write, ask it how likely a text is, bring it in and hand it on.

These are methods of `numpylm.GPT`, kept apart from its layers. Each is a door: the work is done in another room.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.inference import generation
from numpylm.nn.module import Array

if TYPE_CHECKING:
    from numpylm.inference.scoring import Ranked
    from numpylm.models.gpt import GPT


def generate(
    self: "GPT",
    ids: Iterable[int],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    rng: np.random.Generator | None = None,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield up to ``max_new_tokens`` ids that continue ``ids``, one at a time.

    See `numpylm.inference.sampling.next_token_probabilities` for what the options do, and
    `numpylm.inference.generation.generate` for what happens when the window is full.
    """
    return generation.generate(
        self,
        ids,
        max_new_tokens,
        self.config.block_size,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        rng=rng,
        stop_ids=stop_ids,
    )


def generate_batch(
    self: "GPT", prompts: Sequence[Sequence[int]], max_new_tokens: int, **options: Any
) -> list[list[int]]:
    """Continue several prompts at once: as `generate` for each, in little more time than one.

    The options are those of `generate`. A token costs a look at every weight, and a batch shares that look.
    Prompts of different lengths are filled up at their left. Text i draws from ``rng.spawn(len(prompts))[i]``.
    """
    return generation.generate_batch(self, prompts, max_new_tokens, self.config.block_size, **options)


def log_prob(self: "GPT", text: str | Sequence[int] | Array, tokenizer: Any = None) -> Array:
    """Log-probability of each token of a text or of ids, given all before it, in nats: see `numpylm.inference.scoring`."""
    from numpylm.inference import scoring

    return scoring.log_prob(self, text, tokenizer)


def rank(
    self: "GPT", prompt: str, answers: Sequence[str], tokenizer: Any = None, per_token: bool = False
) -> list["Ranked"]:
    """Answers to a prompt, the likeliest first, with P(answer | prompt): see `numpylm.inference.scoring.rank`."""
    from numpylm.inference import scoring

    return scoring.rank(self, prompt, answers, tokenizer, per_token)


def from_pretrained(cls, name_or_folder: str | Path, dtype: DTypeLike = np.float32) -> "GPT":
    """A trained model: GPT-2 from transformers' files, or one that ``numpylm train`` made.

    Parameters
    ----------
    name_or_folder : str or path
        A folder with ``config.json`` and ``model.safetensors`` (or several such files and their index); a name
        such as ``gpt2``, which is fetched from huggingface.co; or a run folder (its best checkpoint, else its
        last) or one checkpoint of ours, whose LoRA adapters are merged into the weights. The tokenizer's files,
        if they are there as well, become ``gpt.tokenizer``. Names with the prefixes of wrappers (torch.compile,
        DataParallel), a tied head that is written without the embedding, and matrices that are (out, in), as in
        nanoGPT's and minGPT's models, are read as well.
    dtype : dtype
        Of the model: float32 or float64, whatever the files have.

    Returns
    -------
    GPT
        In evaluation it computes what transformers does. Its ``config.dropout``, one rate for all, is the files'
        resid_pdrop.

    Raises
    ------
    FileNotFoundError
        If files are missing; says which, and where to get them.
    ValueError
        If they are damaged or of another model; says what does not fit, all of it at once.
    ModuleNotFoundError
        Without the extra ``[gpt2]``, which transformers' files need.
    """
    from numpylm.files.pretrained import load_pretrained

    return load_pretrained(name_or_folder, dtype)


def save_pretrained(self: "GPT", folder: str | Path, tokenizer: Any = None) -> None:
    """Write ``config.json`` and ``model.safetensors``, which transformers loads as GPT2LMHeadModel.

    With a tokenizer (the one given, else ``gpt.tokenizer``) its files too, for AutoTokenizer; of a CharTokenizer
    only its own file, which transformers cannot read. Without one, the end-of-text id is left open. A model
    without biases is written with biases of zero, and has them when it is loaded again.

    Each file appears as a whole, so it is safe to save into the folder that the model came from.

    Raises
    ------
    ValueError
        If the tokenizer has more tokens than the model, or the folder is a run's.
    """
    from numpylm.files.pretrained import save_pretrained

    save_pretrained(self, folder, tokenizer)
