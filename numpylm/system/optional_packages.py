"""Importing optional packages, with an error message that says which extra of numpylm to install."""

from importlib import import_module
from typing import Any


def needed(module: str, extra: str, job: str) -> Any:
    """Import a module, or raise a ModuleNotFoundError that says which job needs it and how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        package = module.partition(".")[0]
        raise ModuleNotFoundError(f'{job} needs the package {package}: pip install -e ".[{extra}]"') from None
