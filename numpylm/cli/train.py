"""``numpylm train``: train a model on text, resume a run, or diagnose or profile a training step."""

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from numpylm.cli.parser import not_empty

EPILOG = """The defaults are made for the bundled data. With --data, settings that are neither options nor in the TOML
file are chosen to fit the data (for translation, classification and speech, the number of steps). Each choice is
printed with its reason, and is saved in the run's config.json."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of TrainConfig, and some that are not settings of the run."""
    from numpylm.training.config import SETTING_TYPES, TrainConfig

    parser.epilog = EPILOG
    parser.add_argument("--config", type=Path, help="TOML file with any of the settings below; options override it")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="resume the run in this folder; with --data if its text was moved"
    )
    parser.add_argument(
        "--diagnose", action="store_true", help="do not train: run some steps on one batch, and report what looks wrong"
    )
    parser.add_argument("--profile", action="store_true", help="do not train: time a few steps, layer by layer")
    for setting in fields(TrainConfig):
        kind, default = SETTING_TYPES[setting.name], setting.default
        name = "--" + setting.name.replace("_", "-")
        text = setting.metadata["help"]
        if kind is not tuple and default != "":
            text += f" (default: {default}{other_defaults(setting.name)})"
        options: dict[str, Any] = {"dest": setting.name, "default": None, "help": text}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif kind is tuple:
            options |= {"nargs": "+", "type": not_empty, "metavar": setting.name.upper()}
        else:
            options |= {"type": not_empty if kind is str else kind, "metavar": setting.name.upper()}
        parser.add_argument(name, **options)
        if "_" in setting.name:  # the TOML file's name is understood, too
            parser.add_argument("--" + setting.name, **options | {"help": argparse.SUPPRESS})


def other_defaults(name: str) -> str:
    """The part of a help text about other defaults: those of other tasks, and for fine-tuning."""
    from numpylm.training.config import FINE_TUNING, LORA, TASK_DEFAULTS

    others = [f"{task} {own[name]}" for task, own in TASK_DEFAULTS.items() if name in own]
    if name in FINE_TUNING:
        lora = "" if LORA[name] == FINE_TUNING[name] else f", with lora_rank {LORA[name]}"
        others.append(f"with init_from {FINE_TUNING[name]}{lora}")
    return "".join(f"; {other}" for other in others)


def run(args: argparse.Namespace) -> int:
    """numpylm train"""
    from numpylm.tasks import TASKS
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
            raise ValueError("--diagnose checks a new run; it cannot be combined with --resume")
        print("preparing the data, then 40 steps on one batch …", flush=True)
        diagnosis = diagnose_run(make_config(file, flags), partial(print, flush=True), wanted)
        print(diagnosis)
        return 0 if diagnosis.ok else 1
    if args.profile:
        if args.resume:
            raise ValueError("--profile times a new run; it cannot be combined with --resume")
        workers, profile = profile_run(make_config(file, flags), wanted)
        print(profile)
        print(
            f"\nDuring training, {workers} such workers share a batch, each on its own core; the optimizer step runs "
            f"once.\nRows without FLOPs are elementwise operations: memory limits their speed."
        )
        return 0
    if args.resume:
        config = resume_config(args.resume, file | flags)
        train(config, resume=args.resume, processes=True, task=TASKS[config.task])
    else:
        config = make_config(file, flags)
        train(config, processes=True, given=wanted, task=TASKS[config.task])
    return 0
