"""Clients: many at a time, those that leave, those that are slow, too many of them, and a server that stops."""

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from numpylm.inference.generate_text import generate_text
from numpylm.serving.limits import Limits
from tests.serving.serving import (
    CHAT,
    MODELS,
    Slow,
    chunks,
    letters,
    message,
    read_all,
    serving,
    tiny,
    until,
    words,
)


def answers(count, clients=8):
    """What clients get for different requests at the same time, whole or as a stream, and what each gives alone."""
    tokenizer = words()
    with serving(tiny(tokenizer), tokenizer, places=3) as served:

        def one(seed):
            options = {"temperature": [0, 0.7, 1.0][seed % 3], "top_p": [1.0, 0.8][seed % 2]}
            prompt = ["one", "two three", "漢字 one"][seed % 3]
            stop = [[], ["ne"], ["\ufffd"]][seed % 3]
            body = message(prompt, seed=seed, max_tokens=5 + seed % 20, stop=stop, **options)
            if seed % 2:
                parts = chunks(served.ask(CHAT, body | {"stream": True}).body)
                got = "".join(part["choices"][0]["delta"].get("content", "") for part in parts)
            else:
                (choice,) = served.ask(CHAT, body).body["choices"]
                got = choice["message"]["content"]
            return got, (prompt, 5 + seed % 20, stop, np.random.default_rng(seed), options)

        with ThreadPoolExecutor(clients) as pool:
            results = list(pool.map(one, range(count)))
        model = served.service.model
        for got, (prompt, length, stop, rng, options) in results:
            yield got, "".join(generate_text(model, tokenizer, prompt, length, stop=stop, rng=rng, **options))


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_requests_of_eight_clients_get_the_texts_that_they_get_alone(count):
    pairs = list(answers(count))
    assert len(pairs) == count
    assert all(got == alone for got, alone in pairs)
    assert len({got for got, _ in pairs}) > count / 2


@pytest.fixture
def slow():
    """A server whose model takes its time, with one place."""
    model = Slow(tiny(letters(), 4096))
    with serving(model, places=1, most=2) as served:
        served.model = model
        yield served
        model.seconds = 0


def leaving(served, body, room=1 << 16):
    """A client that has sent a request and does not read the answer; its system accepts about ``room`` bytes."""
    data = json.dumps(body).encode()
    connection = socket.socket()
    connection.settimeout(20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.connect(("127.0.0.1", served.port))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(slow, stream):
    load = slow.service.scheduler.load
    running = leaving(slow, message("ab", stream=stream))
    until(lambda: load() == (1, 0))
    waiting = leaving(slow, message("ab", stream=stream))
    until(lambda: load() == (1, 1))
    full = slow.ask(CHAT, message("ab"))
    assert (full.status, full.body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert full.headers["Retry-After"]
    waiting.close()
    until(lambda: load() == (1, 0))
    running.close()
    until(lambda: load() == (0, 0))
    assert slow.ask(CHAT, message("ab", max_tokens=1)).status == 200


READER = f"""
import json, sys, urllib.request
address, body = sys.argv[1] + {CHAT!r}, json.dumps({message("ab", stream=True)}).encode()
for line in urllib.request.urlopen(address, body, 60): pass
"""


@pytest.mark.slow
def test_a_client_whose_process_is_killed_frees_its_place(slow):
    slow.model.seconds = 0.02
    reader = subprocess.Popen([sys.executable, "-c", READER, slow.server.address])
    until(lambda: slow.service.scheduler.load() == (1, 0), 60)
    reader.kill()
    until(lambda: slow.service.scheduler.load() == (0, 0))
    reader.wait(10)


@pytest.mark.slow
def test_a_client_that_does_not_accept_its_stream_is_given_up(slow):
    slow.model.seconds = 0
    slow.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # connections inherit it
    client = leaving(slow, message("ab", stream=True), room=1024)
    until(lambda: slow.service.scheduler.load() == (1, 0))
    until(lambda: slow.server.connections() == 0, 20)
    until(lambda: slow.service.scheduler.load() == (0, 0))
    assert b"[DONE]" not in read_all(client)
    client.close()


@pytest.mark.slow
def test_clients_that_send_too_slowly_get_408_or_are_closed():
    limits = Limits(arrive=0.1, idle=0.1, connections=8)
    with serving(limits=limits) as served:
        start = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        assert served.raw(start).startswith(b"HTTP/1.1 408")
        assert served.raw(start + b"Content-Length: 50\r\n\r\n{").startswith(b"HTTP/1.1 408")
        assert served.raw(b"") == b""  # nothing was asked
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
            began = time.monotonic()
            for byte in start:  # each byte comes early enough, all of them do not
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
                if time.monotonic() - began > 0.2:
                    break
            assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_too_many_connections_are_turned_away_and_later_ones_are_not():
    with serving(limits=Limits(connections=3)) as served:
        held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(3)]
        until(lambda: served.server.connections() == 3)
        assert served.raw(b"").startswith(b"HTTP/1.1 503")
        for connection in held:
            connection.close()
        until(lambda: served.server.connections() == 0)
        assert served.ask(MODELS).status == 200


def test_clients_get_an_error_when_the_server_stops():
    model = Slow(tiny(letters(), 4096))
    with serving(model) as served, ThreadPoolExecutor(2) as clients:
        whole = clients.submit(served.ask, CHAT, message("ab"))
        stream = clients.submit(served.ask, CHAT, message("ab", stream=True))
        idle = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        until(lambda: served.service.scheduler.load() == (2, 0) and served.server.connections() == 3)
        served.server.close()
        assert whole.result(20).status == 503
        assert b"the server is stopping" in stream.result(20).body
        assert idle.recv(1) == b""
        idle.close()
