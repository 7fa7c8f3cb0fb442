"""Packages that only some jobs need: imported when the job begins, and asked for by the name of their extra."""

from importlib import import_module
from typing import Any


def needed(module: str, extra: str, job: str) -> Any:
    """The module, or a ModuleNotFoundError that says how to install it and what for."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        package = module.partition(".")[0]
        raise ModuleNotFoundError(f'{job} needs the package {package}: pip install -e ".[{extra}]"') from None
