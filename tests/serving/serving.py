"""A tiny random GPT behind a server, and a client that sees every byte."""

import contextlib
import http.client
import json
import socket
import time
from types import SimpleNamespace

import numpy as np

from numpylm import GPT, CharTokenizer, GPTConfig, Tokenizer
from numpylm.serving.http_server import HttpServer
from numpylm.serving.limits import Limits
from numpylm.serving.service import Service
from numpylm.text.any_tokenizer import end_ids

CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
QUICK = Limits(body=5000, arrive=0.5, idle=5.0, write=0.5, connections=32)


def joined(tokenizer, messages):
    """A chat template: the contents, with spaces between them."""
    return tokenizer.encode(" ".join(message.content for message in messages))


FORM = SimpleNamespace(chat_ids=joined, chat_end_ids=end_ids)


def tiny(tokenizer, block_size=64):
    gpt = GPT(GPTConfig(tokenizer.vocab_size, block_size, 1, 2, 8), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape).astype(np.float32)
    return gpt


def letters():
    """A tokenizer whose texts end only at their length."""
    return CharTokenizer("\n abcde")


def words():
    return Tokenizer.train("one two three one two three 漢字 ", vocab_size=270)


class Slow:
    """A GPT that waits before each token, until it is told not to."""

    def __init__(self, gpt, seconds=0.01):
        self.gpt, self.config, self.seconds, self.h = gpt, gpt.config, seconds, gpt.h
        self.new_past, self.forward = gpt.new_past, gpt.forward

    def read(self, ids, past):
        time.sleep(self.seconds)
        return self.gpt.read(ids, past)


@contextlib.contextmanager
def serving(model=None, tokenizer=None, limits=QUICK, host="127.0.0.1", **options):
    """A running server with ``service``, ``server``, ``port``, and functions that talk to it."""
    tokenizer = tokenizer or letters()
    service = Service(model or tiny(tokenizer), tokenizer, "tiny", own=True, form=FORM, **options)
    server = HttpServer(service, host, 0, limits=limits)
    server.start()
    port = server.server_address[1]

    def ask(path, body=None, method=None, headers=()):
        return call(port, path, body, method, headers)

    try:
        yield SimpleNamespace(service=service, server=server, port=port, ask=ask, raw=lambda data: raw(port, data))
    finally:
        server.close()
        assert server.connections() == 0
        assert not service.scheduler._worker.is_alive()


def call(port, path, body=None, method=None, headers=()):
    """A request; its status, headers and body, as JSON if it is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
    with contextlib.closing(connection):
        connection.request(method or ("GET" if body is None else "POST"), path, data, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
        if answer.headers.get("Content-Type") == "application/json" and content:
            content = json.loads(content)
        return SimpleNamespace(status=answer.status, headers=answer.headers, body=content)


def raw(port, data, seconds=20):
    """Everything that the server sends for some bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(data)
        return read_all(connection)


def read_all(connection):
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            received += part
    return received


def chunks(body):
    """The objects of a stream, which must end as streams end."""
    blocks = body.decode("utf-8").split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def message(text, **fields):
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **fields}


def until(condition, seconds=10):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
