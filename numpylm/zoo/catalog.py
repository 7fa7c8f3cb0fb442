"""The catalog of the zoo: find an animal, show its code and its answer, and run the checker on it."""

import difflib

import numpy as np

from numpylm.check.gradcheck import gradcheck
from numpylm.check.mutants import World, difference, without_docstrings
from numpylm.check.report import KINDS, Report
from numpylm.zoo.fault import Fault
from numpylm.zoo.faulty_ctc import CTC_FAULTS
from numpylm.zoo.faulty_encoder_decoder import ENCODER_DECODER_FAULTS
from numpylm.zoo.faulty_layers import FUNCTION_FAULTS, LAYER_FAULTS
from numpylm.zoo.faulty_llama import LLAMA_FAULTS
from numpylm.zoo.faulty_models import MODEL_FAULTS
from numpylm.zoo.faulty_optimizers import OPTIMIZER_FAULTS
from numpylm.zoo.faulty_preference import PREFERENCE_FAULTS
from numpylm.zoo.faulty_speech import SPEECH_FAULTS


def animals() -> list[Fault]:
    """All faults, from the operations to the optimizer."""
    models = (*MODEL_FAULTS, *LLAMA_FAULTS, *ENCODER_DECODER_FAULTS, *SPEECH_FAULTS, *CTC_FAULTS, *PREFERENCE_FAULTS)
    return [*FUNCTION_FAULTS, *LAYER_FAULTS, *models, *OPTIMIZER_FAULTS]


def get(name: str) -> Fault:
    """The fault with the name of a fault or an animal, in upper or lower case; a ValueError suggests the nearest name."""
    names = {fault.name.lower(): fault for fault in animals()} | {fault.animal.lower(): fault for fault in animals()}
    if name.lower() not in names:
        near = difflib.get_close_matches(name.lower(), names, 1, 0.4)
        raise ValueError(f"no animal {name!r} in the zoo" + (f"; did you mean {near[0]}?" if near else ""))
    return names[name.lower()]


def check(fault: Fault, seed: int = 0) -> Report:
    """The checker's report on a fault."""
    rng = np.random.default_rng(seed)
    subject, inputs, options = fault.build(World(fault), rng)
    if fault.module == "optim":
        return subject(*inputs, **options)
    return gradcheck(subject, *inputs, rng=rng, **options)


def index() -> str:
    """The list of all animals by the function or class that they change, without the answers."""
    lines = [f"{len(animals())} faulty layers. Each is a right layer with one small change. Find the change."]
    place = ""
    for fault in animals():
        if fault.owner != place:
            place = fault.owner
            lines.append(f"\n{place}")
            lines.append("")
        lines[-1] += f"  {fault.animal}"
    lines.append(
        "\n  numpylm gradcheck --zoo ANIMAL           the faulty code: where is the bug?"
        "\n  numpylm gradcheck --zoo ANIMAL --check   what the checker says"
        "\n  numpylm gradcheck --zoo ANIMAL --solve   the answer"
    )
    return "\n".join(lines)


def riddle(fault: Fault) -> str:
    """The faulty code, without docstrings, which would give too much help."""
    code = World(fault).source(fault.owner)
    partner = fault.owner.removesuffix("_backward")
    if partner != fault.owner:
        code = World(fault).source(partner) + "\n\n" + code
    return (
        f"The {fault.animal}: there is one bug in this code. Where is it?\n\n{without_docstrings(code)}\n"
        f"numpylm gradcheck --zoo {fault.animal} --check   what the checker says\n"
        f"numpylm gradcheck --zoo {fault.animal} --solve   the answer"
    )


def answer(fault: Fault) -> str:
    """The change, what is wrong with it, and how it hides."""
    changed = difference(World().source(fault.owner), World(fault).source(fault.owner))
    return (
        f"The {fault.animal} is {fault.name}, in {fault.owner} of "
        f"{fault.module}.py\n\n{changed}\n\n{fault.wrong}\nHow it hides: {fault.hides}"
    )


def names_place(fault: Fault, report: Report) -> bool:
    """Whether a failing row or a cause in the report names the place of the fault."""
    said = [cause.place for cause in report.causes] + [row.name for row in report.rows if not row.ok]
    return any(fault.place in place for place in said)


def cell(text: str) -> str:
    """A text as one cell of a Markdown table: an unescaped ``|`` would begin another cell."""
    return text.replace("\n", " ").replace("|", "\\|")


def table() -> str:
    """All faults with the first message of the checker, as a Markdown table."""
    detected = placed = explained = 0
    rows = []
    for fault in animals():
        report = check(fault)
        first = report.causes[0] if report.causes else None
        right = first is not None and first.kind == fault.kind
        detected += not report.ok
        placed += names_place(fault, report)
        explained += right
        said = first.text if first else "nothing"
        mark = "" if right else f" (expected: {KINDS[fault.kind]})"
        cells = (f"{fault.animal}: `{fault.name}`", fault.wrong, fault.hides, said + mark)
        rows.append(f"| {' | '.join(map(cell, cells))} |")
    count = len(rows)
    head = (
        "# The zoo of faulty layers\n\nMade by `numpylm gradcheck --zoo --table`. Each animal is one small change "
        "to our own code. "
        "The last column is the first message of the checker.\n\n"
        f"**{count} faults: {detected} detected, {placed} placed (the layer and the parameter or input named), "
        f"{explained} with the right cause first ({explained / count:.0%}).**\n\n"
        "| fault | what is wrong | how it hides | what the checker says first |\n| --- | --- | --- | --- |\n"
    )
    return head + "\n".join(rows)
