"""``numpylm serve``: a local server with OpenAI's API and a chat page, for a trained model."""

import argparse
import sys
from pathlib import Path
from time import sleep
from typing import Any

from numpylm.cli.parser import not_empty

EPILOG = """Programs that know OpenAI's API need the address that ends in /v1, and any key. Browsers get a chat page.
Only this machine reaches 127.0.0.1. There are no keys and no encryption: with another --host, everybody who reaches
the address can use the model. docs/serve.md has examples."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, where to listen, and how much to do at a time."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=not_empty,
        help="run folder or checkpoint of numpylm; folder with transformers' files; .gguf file; or a name such as gpt2",
    )
    parser.add_argument("--host", type=not_empty, default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: any free port, which is printed")
    parser.add_argument(
        "--name", type=not_empty, help="the model's name in the API (default: that of its file or folder)"
    )
    parser.add_argument("--parallel", type=int, default=4, help="texts that are written in turn (default: 4)")
    parser.add_argument(
        "--max-requests", type=int, default=32, help="texts that are written or wait; more are refused (default: 32)"
    )
    parser.add_argument("--log", action="store_true", help="print a line for each answer")


def run(args: argparse.Namespace) -> int:
    """numpylm serve"""
    from numpylm.serving.service import Service
    from numpylm.system.signals import interruptible

    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port must be from 0 to 65535, got {args.port}")
    if args.parallel < 1 or args.max_requests < 1:
        raise ValueError("--parallel and --max-requests must be at least 1")
    service = Service(*loaded(args), places=args.parallel, most=args.max_requests)
    server = listening(service, args)
    with interruptible() as interrupt:
        try:
            server.start()
            announce(server)
            while not interrupt.is_set():
                sleep(0.1)
        finally:
            server.close()
    print("stopped", file=sys.stderr)
    return 0


def loaded(args: argparse.Namespace) -> tuple[Any, Any, str, bool]:
    """The model, its tokenizer, its name, and whether numpylm trained it."""
    from numpylm.files.load_model import load_language_model
    from numpylm.system.processor import keep_memory

    keep_memory()
    model, tokenizer, own = load_language_model(args.source)
    path = Path(args.source).absolute()
    name = path.parent.name if path.suffix == ".npz" else path.stem if path.suffix.lower() == ".gguf" else path.name
    return model, tokenizer, args.name or name or "model", own


def listening(service: Any, args: argparse.Namespace) -> Any:
    """The server, bound to its address."""
    from numpylm.serving.http_server import HttpServer

    log = (lambda line: print(line, file=sys.stderr, flush=True)) if args.log else (lambda line: None)
    try:
        return HttpServer(service, args.host, args.port, log=log)
    except (OSError, TypeError) as error:  # TypeError: a name that cannot be encoded, as socket.bind says it
        service.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"cannot listen on {args.host}, port {args.port}: {reason}; try another --port") from None


def announce(server: Any) -> None:
    """Print where the server is."""
    from numpylm.system.shell import shown

    print(
        f"{shown(server.service.name)}: chat at {server.address}/, API at {server.address}/v1; Ctrl-C stops", flush=True
    )
    if not server.local:
        print("note: everybody who reaches this address can use the model", file=sys.stderr)
