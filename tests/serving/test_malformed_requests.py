"""Malformed requests: each is answered or its connection is closed, and nothing is printed."""

import json
import random
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from numpylm.serving.limits import Limits
from tests.serving.serving import (
    CHAT,
    COMPLETIONS,
    MODELS,
    message,
    read_all,
    serving,
    until,
)


def mutated(rng):
    """A request with something wrong, or several things; now and then a right one."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "ab"}], "max_tokens": 2, "prompt": "ab"}
    odd = [None, True, 0, -1, 1.5, 1e308, 10**30, "", "x", "\ud800", [], {}, [[]], ["a", 1], {"a": {}}, "ab" * 3000]
    fields = [
        *body,
        "temperature",
        "top_p",
        "n",
        "stop",
        "seed",
        "stream",
        "stream_options",
        "logprobs",
        "user",
        "tools",
    ]
    for _ in range(rng.randrange(3)):
        body[rng.choice(fields)] = rng.choice(odd)
    data = bytearray(json.dumps(body).encode())
    for _ in range(rng.choice([0, 0, 1, 5])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path = rng.choice([CHAT, CHAT, COMPLETIONS, MODELS, "/", "//", "/%00", "/v1/models/%ff", "*", "/é", "x"])
    method = rng.choice(["POST"] * 6 + ["GET", "HEAD", "OPTIONS", "BREW", "", "post"])
    length = rng.choice([len(data)] * 6 + [0, len(data) // 2, "x", "1e3", -5, 10**9, "", "5, 5"])
    version = rng.choice(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/9", "HTTP/²", ""])
    host = rng.choice(["localhost"] * 6 + ["", "evil.example", "\x00", "localhost\r\nOrigin: null"])
    more = rng.choice([""] * 5 + ["a\r\n", ": b\r\n", " folded\r\n", "Transfer-Encoding: chunked\r\n", "A: é\r\n"])
    head = f"{method} {path} {version}\r\nHost: {host}\r\nContent-Length: {length}\r\n{more}\r\n".encode()
    data = bytearray(head + data)
    for _ in range(rng.choice([0, 0, 0, 1, 4])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.choice([len(data)] * 4 + [rng.randrange(len(data) + 1)])])


def survive(count, served):
    """Send malformed requests from eight clients, and count the answers by their status; b"" if it was closed."""

    def one(seed):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
            connection.sendall(mutated(random.Random(seed)))
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)[:12]

    with ThreadPoolExecutor(8) as clients:
        starts = list(clients.map(one, range(count)))
    assert all(start == b"" or start.startswith(b"HTTP/1.1 ") for start in starts)
    return Counter(start[9:12] for start in starts)


def check_survival(count, capsys):
    with serving(limits=Limits(arrive=2.0)) as served:
        seen = survive(count, served)
        until(lambda: served.service.scheduler.load() == (0, 0))
        until(lambda: served.server.connections() == 0)
        assert served.ask(CHAT, message("ab", seed=1, max_tokens=5)).status == 200
    assert sum(seen.values()) == count
    assert {b"200", b"400", b"403", b"404", b"405", b"411", b"413"} <= set(seen)
    assert b"500" not in seen
    assert capsys.readouterr().err == ""
    assert threading.active_count() < 20


@pytest.mark.slow
def test_malformed_requests_are_answered_or_closed(capsys):
    check_survival(300, capsys)


@pytest.mark.slow
def test_ten_thousand_malformed_requests(capsys):
    check_survival(10_000, capsys)
