"""Connection: the HTTP of one client: whom the server answers, in how much time, and in JSON or as a stream of events.

The standard library parses the first line and the headers. This file adds what a server needs to which programs of any
kind talk: a client that sends too slowly, too much, or something else than HTTP gets an error in JSON, and never holds
its thread for long.
"""

import io
import json
import re
import socket
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from numpylm._version import __version__
from numpylm.serving.api_error import ApiError
from numpylm.serving.limits import ClientLeft, DeadlineReader, Limits
from numpylm.system.json_fields import brief

LINE = 1 << 16  # bytes of the first line
DRAIN, DRAIN_SECONDS = 1 << 24, 2.0  # what is still read of a refused request, so that its sender sees the answer
HERE = r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?"  # this machine, as a Host header names it
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Connection(BaseHTTPRequestHandler):
    """The requests of one client, one after the other. A subclass answers them in `route`.

    The server has ``limits``, ``local`` (whether it listens on this machine only), ``closing``, and ``log``.
    """

    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"numpylm/{__version__}", ""
    disable_nagle_algorithm = True
    server: Any
    rfile: Any

    def route(self, path: str, body: bytes) -> None:
        """Answer a request, or raise ApiError."""
        raise NotImplementedError

    def setup(self) -> None:
        super().setup()
        self.limits: Limits = self.server.limits
        self.arriving = DeadlineReader(self.connection)
        self.rfile.close()
        self.rfile = io.BufferedReader(self.arriving)
        self.begin_request()

    def begin_request(self) -> None:
        """Forget the request before."""
        self.command = self.path = self.requestline = ""
        self.request_version = "HTTP/1.1"
        self.origin: str | None = None  # of a page that may read the answer
        self.unread = False  # whether a part of the request may still be on its way

    def handle_one_request(self) -> None:
        """Read a request and answer it. An exception of the network ends the connection."""
        self.close_connection = True
        try:
            self.begin_request()
            self.arriving.within(self.limits.idle)
            if not self.rfile.peek(1):
                return
            self.unread = True
            self.arriving.within(self.limits.arrive)
            self._answer_one()
        except OSError:  # also TimeoutError, of a client that is idle or does not accept its answer
            self.close_connection = True

    def _answer_one(self) -> None:
        """Read a request and answer it, with an error if it is wrong."""
        try:
            try:
                if not self._read_head():
                    return
                body = self._read_body()
            except TimeoutError:
                raise ApiError(f"the request took more than {self.limits.arrive:g} s to arrive", status=408) from None
            self.unread = False
            self.route(self.path.partition("?")[0], body)
        except ApiError as error:
            self.refuse(error)

    def _read_head(self) -> bool:
        """Read and check the first line and the headers. False: they were so wrong that `send_error` was called."""
        self.raw_requestline = self.rfile.readline(LINE + 1)
        if len(self.raw_requestline) > LINE:
            raise ApiError("the first line of the request is too long", status=414)
        if not self.parse_request():
            return False
        if self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
            raise ApiError("only HTTP/1.0 and HTTP/1.1 are spoken here", status=400)
        if self.headers.defects or self.headers.get_payload():
            raise ApiError("a header of the request is malformed")
        if not self.path.startswith("/"):
            raise ApiError(f"the path should begin with /, is {brief(self.path)}")
        self._check_sender()
        return True

    def _check_sender(self) -> None:
        """Refuse requests that a page of another site sends through the user's browser.

        Such a page may send requests to any address, which the header Origin tells. Or its own name is suddenly given
        the address of this machine (DNS rebinding), which the header Host tells.
        """
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or (not hosts and self.request_version == "HTTP/1.1"):
            raise ApiError("the request should have one header Host")
        if self.server.local and hosts and not re.fullmatch(HERE, hosts[0], re.ASCII | re.IGNORECASE):
            raise ApiError(f"this server answers to localhost only, not to {brief(hosts[0])}", status=403)
        origin = self.headers.get("Origin")
        if origin is None:
            return
        own = bool(hosts) and origin in (f"http://{hosts[0]}", f"https://{hosts[0]}")
        if not own and not re.fullmatch(f"https?://{HERE}", origin, re.ASCII | re.IGNORECASE):
            raise ApiError(f"pages of {brief(origin)} may not use this server", status=403)
        self.origin = origin

    def _read_body(self) -> bytes:
        """The body; empty if none is announced and none is needed. Raises ApiError."""
        if self.headers.get("Transfer-Encoding") is not None:
            raise ApiError("the header Content-Length is needed; chunked bodies are not read", status=411)
        lengths = self.headers.get_all("Content-Length", [])
        if not lengths:
            if self.command == "POST":
                raise ApiError("the header Content-Length is needed", status=411)
            return b""
        if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
            raise ApiError(f"Content-Length should be one whole number, is {brief(', '.join(lengths))}")
        if int(lengths[0]) > self.limits.body:
            raise ApiError(f"the body has {lengths[0]} bytes; at most {self.limits.body} are read", status=413)
        if self.headers.get("Expect", "").lower() == "100-continue" and self.request_version == "HTTP/1.1":
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body: bytes = self.rfile.read(int(lengths[0]))
        if len(body) < int(lengths[0]):
            raise ClientLeft
        return body

    def handle_expect_100(self) -> bool:
        """Nothing yet: ``100 Continue`` is sent by `_read_body`, if the body is not too large."""
        return True

    # ------------------------------------------------------------------------------------------- answers

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library calls for a first line or headers that it cannot parse."""
        self.refuse(ApiError(message or HTTPStatus(code).phrase, status=code))

    def refuse(self, error: ApiError) -> None:
        """Answer with an error. The connection ends if the request was not read to its end."""
        if self.unread:
            self.close_connection = True
        self.send_json(error.body(), error.status, error.headers)

    def send_json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        body = json.dumps(content).encode("ascii")
        self.send_whole(body, "application/json", status, headers)

    def send_whole(self, body: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with a body of a known length."""
        length = {} if status == HTTPStatus.NO_CONTENT else {"Content-Type": kind, "Content-Length": str(len(body))}
        head = self._head(status, length | (headers or {}))
        self._write(head if self.command == "HEAD" else head + body)

    def send_events(self) -> "EventStream":
        """Begin an answer that is a stream of events."""
        chunked = self.request_version == "HTTP/1.1"
        self.close_connection = self.close_connection or not chunked
        kind = {"Content-Type": "text/event-stream; charset=utf-8"}
        self._write(self._head(200, kind | ({"Transfer-Encoding": "chunked"} if chunked else {})))
        return EventStream(self, chunked)

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        """The first line and the headers of an answer."""
        self.server.log(f"{self.command or '?'} {self.path} {int(status)}")
        origin = {} if self.origin is None else {"Access-Control-Allow-Origin": self.origin}
        connection = {"Connection": "close" if self.close_connection else "keep-alive"}
        fixed = {"Server": self.server_version, "Date": self.date_time_string(), "Vary": "Origin", **HEADERS}
        lines = [f"{name}: {value}" for name, value in (fixed | origin | connection | headers).items()]
        return "\r\n".join([f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}", *lines, "", ""]).encode("latin-1")

    def _write(self, data: bytes) -> None:
        self.connection.settimeout(self.limits.write)
        self.connection.sendall(data)

    def check_client(self) -> None:
        """Raise ClientLeft if the client has closed its connection. (When the server stops, it closes them itself.)"""
        if self.server.closing:
            return
        self.connection.settimeout(0)
        with suppress(BlockingIOError):
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise ClientLeft

    def finish(self) -> None:
        """End the connection. What is still arriving is read for a while: if it were not, the system would tell the
        client that the connection is broken, and the client might lose the answer."""
        with suppress(OSError):
            if self.unread:
                self.connection.shutdown(socket.SHUT_WR)
                self.arriving.within(DRAIN_SECONDS)
                size = 0
                while size < DRAIN and (got := self.arriving.readinto(bytearray(1 << 16))):
                    size += got
        super().finish()


class EventStream:
    """An answer that is sent in pieces, as server-sent events (HTML standard, section 9.2)."""

    def __init__(self, connection: Connection, chunked: bool) -> None:
        self._connection, self._chunked = connection, chunked

    def send(self, data: str) -> None:
        """Send one event. ``data`` has no line end."""
        self._send(f"data: {data}\n\n".encode())

    def close(self) -> None:
        """End the answer, but not the connection."""
        if self._chunked:
            self._connection._write(b"0\r\n\r\n")

    def _send(self, block: bytes) -> None:
        self._connection._write(b"%x\r\n%s\r\n" % (len(block), block) if self._chunked else block)
