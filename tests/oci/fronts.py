"""Servers that stand before a registry in tests: they pass connections on."""

from __future__ import annotations

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Self

__all__ = ["Front"]


class Front(ABC):
    """Takes connections on a port of loopback; what `serve` does with one is the subclass's."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        self._start(self._accept)
        try:
            yield self
        finally:
            for end in (self._listener, *self._ends):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            for thread in self._threads:
                thread.join(10)
            for end in (self._listener, *self._ends):
                end.close()

    @abstractmethod
    def serve(self, client: socket.socket) -> None:
        """Answer a client, or `connect` it."""

    def wrap(self, client: socket.socket) -> socket.socket:
        """Return the connection to talk through."""
        return client

    def connect(self, client: socket.socket, first: bytes = b"") -> None:
        """Pass everything on to the target and back, `first` before the rest."""
        back = socket.create_connection(("127.0.0.1", self._target))
        self._ends.append(back)
        back.sendall(first)
        self._start(self._copy, client, back)
        self._start(self._copy, back, client)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self.wrap(self._listener.accept()[0])
                self._ends.append(client)
                self.serve(client)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
