"""The server under load, with figures: many requests at once, malformed ones, and clients that are killed.

    python -m tests.serving.load

The models are tiny, so the figures are about the server, not about a model. What must hold is tested, too, in
test_clients.py and test_malformed_requests.py.
"""

import subprocess
import sys
import time

from numpylm.serving.limits import Limits
from tests.serving.serving import CHAT, Slow, letters, message, serving, tiny, until
from tests.serving.test_clients import READER, answers
from tests.serving.test_malformed_requests import survive

REQUESTS, MALFORMED, KILLED = 200, 10_000, 20


def at_once() -> None:
    """Requests of eight clients, compared with the text of `generate_text` for the same seed."""
    start = time.perf_counter()
    pairs = list(answers(REQUESTS))
    seconds = time.perf_counter() - start
    same = sum(got == alone for got, alone in pairs)
    print(f"{len(pairs)} of {REQUESTS} requests answered, {same} as alone, {seconds:.1f} s with the texts alone")


def malformed() -> None:
    """Malformed requests of eight clients, and a right one after them."""
    start = time.perf_counter()
    with serving(limits=Limits(arrive=2.0)) as served:
        seen = survive(MALFORMED, served)
        seconds = time.perf_counter() - start
        after = served.ask(CHAT, message("ab", seed=1, max_tokens=5)).status
    counts = ", ".join(f"{status.decode() or 'closed'}: {count:,}" for status, count in sorted(seen.items()))
    print(f"{sum(seen.values()):,} malformed requests in {seconds:.1f} s ({counts}); then a right one: {after}")


def killed() -> None:
    """Processes that read a stream are killed; how long each keeps the only place."""
    model, waits = Slow(tiny(letters(), 4096), 0.02), []
    with serving(model, places=1, most=1) as served:
        for _ in range(KILLED):
            reader = subprocess.Popen([sys.executable, "-c", READER, served.server.address])
            until(lambda: served.service.scheduler.load() == (1, 0), 60)
            reader.kill()
            start = time.perf_counter()
            until(lambda: served.service.scheduler.load() == (0, 0))
            waits.append(time.perf_counter() - start)
            reader.wait(10)
        model.seconds = 0
    print(f"{KILLED} clients killed while they read, {len(waits)} places free again, after {max(waits):.2f} s at most")


if __name__ == "__main__":
    at_once()
    malformed()
    killed()
