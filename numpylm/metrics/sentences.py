"""The input of BLEU, chrF, WER and CER: hypotheses (what a system wrote), each with its references (what is right)."""

from collections.abc import Sequence

from numpylm.system.json_fields import brief

Pair = tuple[str, list[str]]


def with_references(hypotheses: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[Pair]:
    """Each hypothesis with the list of its references.

    Parameters
    ----------
    hypotheses : sequence of N str
    references : sequence of N str, or of N sequences of str
        ``references[i]`` belongs to ``hypotheses[i]``.

    Raises
    ------
    ValueError
        If there is no sentence, the numbers differ, a hypothesis has no reference, or a sentence is not a str.
    """
    for name, sentences in (("hypotheses", hypotheses), ("references", references)):
        if isinstance(sentences, str):
            raise ValueError(f"{name} must be a list of sentences, got one text: {brief(sentences)}; write [text]")
    if len(hypotheses) != len(references):
        raise ValueError(
            f"each hypothesis needs its references: got {len(hypotheses):,} hypotheses, but references for "
            f"{len(references):,}; references[i] must be the reference of hypotheses[i], or the list of its references"
        )
    if len(hypotheses) == 0:
        raise ValueError("there are no sentences to compare: give at least one hypothesis and its reference")
    pairs = [(h, [r] if isinstance(r, str) else list(r)) for h, r in zip(hypotheses, references, strict=True)]
    for number, (hypothesis, its_references) in enumerate(pairs):
        if not its_references:
            raise ValueError(f"hypothesis {number} has no reference: give at least one, which may be empty ('')")
        for sentence in (hypothesis, *its_references):
            if not isinstance(sentence, str):
                raise ValueError(f"sentence {number} must be a str, got {brief(sentence)}; join its words by spaces")
    return pairs


def reference_count(pairs: Sequence[Pair]) -> str:
    """The number of references of each hypothesis as sacrebleu's signatures write it; "var" if the numbers differ."""
    counts = {len(its_references) for _, its_references in pairs}
    return str(counts.pop()) if len(counts) == 1 else "var"
