"""Prompts of runs of ``--task poems`` and ``code``: a typed theme or docstring becomes what the model has read"""

from pathlib import Path


def writes_poems(source: str | Path) -> bool:
    """Whether a model is a run of ``--task poems``."""
    return _task(source) == "poems"


def writes_code(source: str | Path) -> bool:
    """Whether a model is a run of ``--task code``."""
    return _task(source) == "code"


def _task(source: str | Path) -> object:
    from numpylm.training.run_state import saved_setting

    return saved_setting(source, "task")


def prompt_for(source: str | Path, prompt: str) -> str:
    """What the model reads for a typed prompt."""
    if writes_poems(source):
        return theme_prompt(prompt)
    return docstring_prompt(prompt) if writes_code(source) else prompt


def theme_prompt(prompt: str) -> str:
    """The prompt of a poem: the theme and a line end. After a line end, a prompt can go on with lines of the poem."""
    if not prompt.strip():
        raise ValueError("this run writes poems: give a theme with --prompt")
    return prompt if "\n" in prompt else prompt + "\n"


def docstring_prompt(prompt: str) -> str:
    """The prompt of a function: the docstring, its name, each with a line end. Without a name it is called solve.

    After the second line end, a prompt can go on with the beginning of the code.
    """
    from numpylm.text.code_problem import UNNAMED

    if not prompt.strip():
        raise ValueError("this run writes functions: say with --prompt what one should do")
    text, end, rest = prompt.partition("\n")
    return f"{text}\n{rest if end else UNNAMED}" + ("" if "\n" in rest else "\n")


def poem_text(text: str) -> str:
    """A poem as the model has read it, from a text with its lines divided by " / ", by "|" or by line ends."""
    from numpylm.text.poem import lines_of_text

    if not (lines := lines_of_text(text)):
        raise ValueError("a poem is empty: it needs at least one line")
    return "\n".join(lines)
