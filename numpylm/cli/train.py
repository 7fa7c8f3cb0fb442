"""``numpylm train``: train a model on text, or go on with a run."""

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from numpylm.cli.parser import given

EPILOG = """The defaults are those of the bundled stories. With --data, settings that neither flags nor TOML file give
are chosen to fit the text: each choice is printed with its reason, and stands in the run's config.json."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of TrainConfig, and those that are not settings of the run."""
    from numpylm.training.config import KINDS, TrainConfig

    parser.epilog = EPILOG
    parser.add_argument("--config", type=Path, help="TOML file with any of the settings below; flags win over it")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run folder; with --data if its text was moved"
    )
    parser.add_argument(
        "--diagnose", action="store_true", help="do not train: take some steps on one batch, and say what looks wrong"
    )
    parser.add_argument("--profile", action="store_true", help="do not train: time a few steps, layer by layer")
    for setting in fields(TrainConfig):
        kind, default = KINDS[setting.name], setting.default
        names = ["--" + setting.name.replace("_", "-")]
        if "_" in setting.name:
            names.append("--" + setting.name)
        text = setting.metadata["help"]
        if kind is not tuple and default != "":
            text += f" (default: {default}{other_defaults(setting.name)})"
        options: dict[str, Any] = {"dest": setting.name, "default": None, "help": text}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif kind is tuple:
            options |= {"nargs": "+", "type": given, "metavar": setting.name.upper()}
        else:
            options |= {"type": given if kind is str else kind, "metavar": setting.name.upper()}
        parser.add_argument(*names, **options)


def other_defaults(name: str) -> str:
    """What is said of a setting whose default is another one when fine-tuning."""
    from numpylm.training.config import FINE_TUNING, LORA

    if name not in FINE_TUNING:
        return ""
    lora = "" if LORA[name] == FINE_TUNING[name] else f", with lora_rank {LORA[name]}"
    return f"; with init_from {FINE_TUNING[name]}{lora}"


def run(args: argparse.Namespace) -> int:
    """numpylm train"""
    from numpylm.text.text_input import typed_text, unescaped
    from numpylm.training.config import TrainConfig, make_config, read_config_file, refuse_shape
    from numpylm.training.first_batch import diagnose_run, profile_run
    from numpylm.training.run_state import resume_config
    from numpylm.training.train import train

    flags = {f.name: getattr(args, f.name) for f in fields(TrainConfig) if getattr(args, f.name) is not None}
    if "loss_after" in flags:
        flags["loss_after"] = unescaped(typed_text(flags["loss_after"], "--loss-after"))
    file = read_config_file(args.config) if args.config else {}
    wanted = set(file | flags)  # the other settings are chosen to fit the text
    if not args.resume:
        refuse_shape(file | flags)
    if args.diagnose:
        if args.resume:
            raise ValueError("--diagnose looks at a new run; it does not go with --resume")
        print("preparing the data, then 40 steps on one batch …", flush=True)
        diagnosis = diagnose_run(make_config(file, flags), partial(print, flush=True), wanted)
        print(diagnosis)
        return 0 if diagnosis.ok else 1
    if args.profile:
        if args.resume:
            raise ValueError("--profile times a new run; it does not go with --resume")
        workers, profile = profile_run(make_config(file, flags), wanted)
        print(profile)
        print(
            f"\nWhile training, {workers} such workers share a batch, each on a core of its own; the optimizer's part "
            f"comes once.\nRows without FLOPs work on each number by itself: their pace is that of memory."
        )
        return 0
    if args.resume:
        train(resume_config(args.resume, file | flags), resume=args.resume, processes=True)
    else:
        train(make_config(file, flags), processes=True, given=wanted)
    return 0
