"""HttpServer: the paths of OpenAI's API and the chat page, for programs and browsers on this machine"""

import ipaddress
import json
import os
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from numpylm.serving.api_error import ApiError
from numpylm.serving.connection import ClientLeft, Connection, Limits
from numpylm.serving.openai_answers import Answer
from numpylm.serving.openai_fields import read_body
from numpylm.serving.page import PAGE, POLICY
from numpylm.serving.scheduler import Stopped
from numpylm.serving.service import Service
from numpylm.system.json_fields import brief
from numpylm.system.shell import shown

MODELS = "/v1/models"
LONGEST = 500  # characters of a report
CLOSING = 3.0  # seconds in which clients get the end of their answers when the server stops
ALLOWED_HEADERS = "*, Authorization"  # that pages of this machine may send
FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"


class Handler(Connection):
    """Answers the requests of one client with the server's `Service`."""

    def route(self, path: str, body: bytes) -> None:
        """Find the function for a path and a method."""
        service: Service = self.server.service
        routes: dict[str, tuple[str, Callable[[], None]]] = {
            "/": ("GET", self.send_page),
            MODELS: ("GET", lambda: self.send_json(service.models())),
            "/v1/chat/completions": ("POST", lambda: self.generate(service.chat, body)),
            "/v1/completions": ("POST", lambda: self.generate(service.complete, body)),
        }
        if path.startswith(f"{MODELS}/"):
            name = unquote(path.removeprefix(f"{MODELS}/"))
            routes[path] = ("GET", lambda: self.send_json(service.model_object(name)))
        if path not in routes:
            paths = ", ".join(routes)
            raise ApiError(f"there is nothing at {brief(path)}; there are {paths}", status=404, code="unknown_url")
        method, answer = routes[path]
        allowed = ("GET", "HEAD", "OPTIONS") if method == "GET" else (method, "OPTIONS")
        if self.command not in allowed:
            message = f"{brief(path)} understands {method}, not {brief(self.command)}"
            raise ApiError(message, status=405, headers={"Allow": ", ".join(allowed)})
        if self.command == "OPTIONS":
            self.allow(", ".join(allowed))
        else:
            answer()

    def send_page(self) -> None:
        """The chat page."""
        self.send_whole(PAGE.encode(), "text/html; charset=utf-8", headers={"Content-Security-Policy": POLICY})

    def allow(self, methods: str) -> None:
        """Tell a browser what a page of another port of this machine may send."""
        cross = {"Access-Control-Allow-Methods": methods, "Access-Control-Allow-Headers": ALLOWED_HEADERS}
        self.send_whole(b"", "", 204, {"Allow": methods} | (cross if self.origin else {}))

    def generate(self, begin: Callable[[dict[str, Any]], Answer], body: bytes) -> None:
        """Answer with texts of the model, whole or as a stream. If the client leaves, its texts are given up."""
        answer = None
        try:
            answer = begin(read_body(body))
            if answer.stream:
                self.send_stream(answer)
            else:
                self.send_json(answer.whole(self.check_client))
        except (ApiError, OSError):
            raise
        except Exception as error:
            raise self.failure(error) from error
        finally:
            if answer is not None:
                answer.order.cancel()

    def send_stream(self, answer: Answer) -> None:
        """Send the chunks of an answer. An error after the first one is a chunk, too, as in OpenAI's API."""
        events = self.send_events()
        try:
            for chunk in answer.chunks(self.check_client):
                events.send(json.dumps(chunk))
            events.send("[DONE]")
        except OSError:
            raise
        except Exception as error:
            events.send(json.dumps(self.failure(error).body()))
        events.close()

    def failure(self, error: Exception) -> ApiError:
        """What a client is told when its text could not be completed."""
        if isinstance(error, Stopped):
            return ApiError(str(error), status=503)
        if isinstance(error, RecursionError):
            return ApiError("the body is nested too deeply")
        reason = "not enough memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__
        self.server.report(f"{self.path}: {reason}")
        return ApiError(f"the text could not be completed: {reason}", status=500)


class HttpServer(socketserver.ThreadingTCPServer):
    """Serves a model until `close`, with a thread for each connection.

    Parameters
    ----------
    service : Service
    host : str
        The address to listen on. 127.0.0.1 is reached from this machine only.
    port : int
        0: a free one; ``address`` tells which.
    limits : Limits
    log : callable
        It gets a line for each answer.

    Raises
    ------
    OSError
        If the address cannot be used.
    """

    daemon_threads, block_on_close = True, False
    allow_reuse_address = os.name != "nt"  # there it would let two servers share a port
    request_queue_size = 128

    def __init__(
        self,
        service: Service,
        host: str = "127.0.0.1",
        port: int = 8000,
        limits: Limits | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.service, self.limits, self.log = service, limits or Limits(), log
        self.local, self.closing = is_local(host), False
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="server", daemon=True)
        super().__init__((host, port), Handler)

    @property
    def address(self) -> str:
        """Where the server is: ``http://127.0.0.1:8000``."""
        host, port = self.server_address[:2]
        return f"http://[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"http://{host!s}:{port}"

    def start(self) -> None:
        """Accept connections, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop: no new connections, an error for texts that are not complete, and the end of all connections."""
        if self._thread.is_alive():
            self.shutdown()
        self.closing = True
        self.server_close()
        self.service.close()
        self._end_connections(socket.SHUT_RD)  # a thread that waits for a request sees its end
        deadline = time.monotonic() + CLOSING
        while self._open and time.monotonic() < deadline:
            time.sleep(0.01)
        self._end_connections(socket.SHUT_RDWR)

    def connections(self) -> int:
        """The number of connections that are open."""
        return len(self._open)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or end it with status 503 if there are too many."""
        with self._lock:
            full = len(self._open) >= self.limits.connections
            if not full:
                self._open.add(request)
        if not full:
            super().process_request(request, client_address)
            return
        body = json.dumps(ApiError("too many connections: try again later", status=503).body()).encode()
        with suppress(OSError):
            request.settimeout(0)
            request.sendall(FULL + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an unexpected error in one line; the connection ends."""
        error = sys.exc_info()[1]
        if os.environ.get("NUMPYLM_DEBUG"):
            super().handle_error(request, client_address)
        elif not isinstance(error, ClientLeft):
            self.report(f"{type(error).__name__}: {error}")

    def report(self, problem: str) -> None:
        """Tell the person who runs the server what went wrong."""
        print(f"numpylm: error: {shown(problem[:LONGEST])}", file=sys.stderr, flush=True)

    def _end_connections(self, how: int) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(how)


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"
