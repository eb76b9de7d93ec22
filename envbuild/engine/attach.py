"""The output of a container as it comes, over the engine's attach call."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

from envbuild.engine.client import Engine

__all__ = ["AttachStream"]

_STDOUT: Final = 1


class AttachStream:
    """A `LogStream` of a container's stdout and stderr; made before the container starts.

    The SDK's own stream leaves its connection half open, so its socket is read directly.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        wanted = {"stdout": 1, "stderr": 1, "stream": 1}
        self._socket: Any = engine.client.api.attach_socket(container, params=wanted)

    def __iter__(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        from docker.utils import socket as frames

        reader: Any = frames
        for stream, data in reader.frames_iter(self._socket, tty=False):
            yield (data, None) if stream == _STDOUT else (None, data)

    def stop(self) -> None:
        """End an iteration that waits in another thread."""
        plain = getattr(self._socket, "_sock", self._socket)
        with contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; nobody iterates any more."""
        with contextlib.suppress(OSError):
            # The response holds the socket; an ssh channel has none.
            getattr(self._socket, "_response", self._socket).close()
