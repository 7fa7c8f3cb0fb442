"""Limits of what a connection may take, and a reader of a socket that keeps a limit of time."""

import io
import socket
import time
from dataclasses import dataclass
from typing import Any


class ClientLeft(ConnectionError):
    """The client has closed its connection."""


@dataclass(frozen=True)
class Limits:
    """What a connection may take.

    Parameters
    ----------
    body : int
        Bytes of the body of a request.
    arrive : float
        Seconds from the first byte of a request to its last.
    idle : float
        Seconds between two requests on one connection.
    write : float
        Seconds that a client may take to accept a part of an answer.
    connections : int
        Connections at a time.
    """

    body: int = 1 << 20
    arrive: float = 30.0
    idle: float = 60.0
    write: float = 30.0
    connections: int = 128


class DeadlineReader(io.RawIOBase):
    """The bytes of a socket. Reading raises TimeoutError at a deadline, however often single bytes arrive before."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.deadline = connection, 0.0

    def within(self, seconds: float) -> None:
        """Set the deadline."""
        self.deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)
