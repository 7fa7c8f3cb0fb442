"""HTTP: paths, methods, heads that are wrong, sizes, connections that are used again, and whom the server answers."""

import http.client
import json
import socket

import pytest

from numpylm.serving.http_server import is_local
from tests.serving.serving import (
    CHAT,
    COMPLETIONS,
    MODELS,
    chunks,
    message,
    read_all,
    serving,
)


@pytest.fixture(scope="module")
def served():
    with serving() as running:
        yield running


def test_unknown_paths_and_methods(served):
    missing = served.ask("/v1/embeddings", {})
    assert (missing.status, missing.body["error"]["code"]) == (404, "unknown_url")
    assert CHAT in missing.body["error"]["message"]
    wrong = served.ask(CHAT)
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST, OPTIONS")
    assert served.ask(MODELS, b"", "DELETE").status == 405
    assert served.ask("/", b"x").status == 405
    head = served.ask("/", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /v1/completions HTTP/1.1\r\nHost: localhost", 411),
        ("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked", 411),
        ("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5001", 413),
        ("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999", 400),
        ("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1", 400),
        ("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: ٣", 400),
        ("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        ("GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nno header", 400),
        ("GET http://localhost/ HTTP/1.1\r\nHost: localhost", 400),
        ("GET / HTTP/2.0\r\nHost: localhost", 505),
        ("GET / HTTP/0.8\r\nHost: localhost", 400),
        ("GET /", 400),
        ("\x16\x03\x01 TLS", 400),
        (f"GET /{'a' * 70_000} HTTP/1.1", 414),
        (f"GET / HTTP/1.1\r\nHost: localhost\r\nA: {'a' * 70_000}", 431),
        ("GET / HTTP/1.1\r\nHost: localhost" + "\r\nA: a" * 200, 431),
        ("GET / HTTP/1.1\r\nHost: evil.example", 403),
        ("GET / HTTP/1.1\r\nHost: localhost.evil.example", 403),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80", 403),
        ("GET / HTTP/1.1\r\nHost: 192.168.0.1", 403),
        ("GET / HTTP/1.1\r\nHost: LOCALHOST:1", 200),
        ("GET / HTTP/1.1\r\nHost: [::1]:8000", 200),
        ("GET / HTTP/1.0", 200),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example", 403),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: null", 403),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost.evil.example", 403),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000", 200),
    ],
)
def test_heads_of_requests(served, head, status):
    answer = served.raw(f"{head}\r\nConnection: close\r\n\r\n".encode())
    first, _, rest = answer.partition(b"\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    if status >= 400:
        assert set(json.loads(rest.partition(b"\r\n\r\n")[2])["error"]) == {"message", "type", "param", "code"}


def test_the_body_of_a_refused_request_is_read_so_that_its_sender_sees_why(served):
    assert served.ask(CHAT, b"a" * 2_000_000).status == 413
    answer = served.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_client_that_asks_first_may_send_its_body(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        body = json.dumps({"prompt": "ab", "max_tokens": 1}).encode()
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\n"
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_one_connection_serves_many_requests_also_after_errors(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    statuses, sockets = [], set()
    stream = json.dumps({"prompt": "ab", "stream": True})
    for path, body in [(MODELS, None), ("/nothing", "abc"), (CHAT, "{"), (COMPLETIONS, stream), ("/", None)] * 3:
        connection.request("POST" if body else "GET", path, body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
        sockets.add(connection.sock.getsockname())
    connection.close()
    assert statuses == [200, 404, 400, 200, 200] * 3
    assert len(sockets) == 1


def test_requests_in_a_row_without_waiting_are_answered_in_order(served):
    one = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = served.raw(one * 3 + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.index(b"HTTP/1.1 404") > answer.rindex(b"HTTP/1.1 200 OK")


def test_an_old_client_gets_a_stream_that_ends_with_the_connection(served):
    body = json.dumps({"prompt": "ab", "stream": True, "max_tokens": 2}).encode()
    answer = served.raw(b"POST /v1/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert len(chunks(content)) == 3


def test_pages_of_this_machine_may_use_the_server_and_others_may_not(served):
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    allowed = served.ask(CHAT, method="OPTIONS", headers=asked)
    assert allowed.status == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    answer = served.ask(CHAT, message("ab", max_tokens=1), headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    refused = served.ask(CHAT, message("ab", max_tokens=1), headers={"Origin": "https://evil.example"})
    assert refused.status == 403
    assert "Access-Control-Allow-Origin" not in refused.headers


def test_on_other_addresses_every_host_is_answered_and_foreign_pages_are_not():
    with serving(host="0.0.0.0") as served:
        assert not served.server.local
        head = b"GET / HTTP/1.1\r\nConnection: close\r\nHost: box.lan:8000\r\n"
        assert served.raw(head + b"\r\n").startswith(b"HTTP/1.1 200")
        assert served.raw(head + b"Origin: http://box.lan:8000\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert served.raw(head + b"Origin: http://evil.example\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert [is_local(h) for h in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "::", "box.lan")] == [True] * 3 + [
        False
    ] * 3
