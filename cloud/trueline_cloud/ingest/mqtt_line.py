"""A connection to a broker: bytes out from any thread, bytes in by one.

In large pieces: a system call costs as much as reading a message. Promises: neither `send` nor `offer` blocks, and what
was offered waits in bounded memory. Refuses to know packets.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Final

__all__ = ["Line"]

_CONNECT_S: Final = 5.0
_CHUNK: Final = 256 * 1024
_WAITING_MAX: Final = 8 * 1024 * 1024


class Line:
    """See the module. Connects when it is made.

    Args:
        host: of the broker.
        port: of the broker.
        tls: None: in the clear.

    Raises:
        OSError: it cannot be reached, or is not who it should be.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        plain = socket.create_connection((host, port), _CONNECT_S)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket: Final = plain if tls is None else tls.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own word
        self._woken, self._bell = socket.socketpair()
        self._woken.setblocking(False)  # noqa: FBT003 - the socket's own word
        self._bell.setblocking(False)  # noqa: FBT003 - the socket's own word
        self._lock: Final = threading.Lock()
        self._waiting = bytearray()
        self._rung = False

    def offer(self, data: bytes) -> bool:
        """Write before long what may be lost. From any thread. False: too much waits, and it was dropped."""
        if len(self._waiting) + len(data) > _WAITING_MAX:
            return False
        self.send(data)
        return True

    def send(self, data: bytes) -> None:
        """Write before long. From any thread."""
        with self._lock:
            self._waiting += data
            if not self._rung:
                self._rung = True
                self._ring()

    def wake(self) -> None:
        """End an `exchange` that waits. From any thread."""
        with self._lock:
            self._rung = True
            self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # closed, or so many rings that one more makes no difference
            self._bell.send(b"\0")

    def exchange(self, timeout_s: float, *, reading: bool = True) -> bytes:
        """Write what waits; what came, or b"" where nothing did in time, somebody rang, or `reading` is False.

        Raises:
            OSError: the connection is over.
        """
        self._write()
        if not (reading and isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
            poll = select.poll()
            poll.register(self._woken, select.POLLIN)
            wanted = (select.POLLIN if reading else 0) | (select.POLLOUT if self._waiting else 0)
            if wanted:
                poll.register(self._socket, wanted)
            ready = dict(poll.poll(timeout_s * 1e3))
            if self._woken.fileno() in ready:
                with self._lock:
                    self._woken.recv(64)
                    self._rung = False
            self._write()
            if not (reading and ready.get(self._socket.fileno(), 0) & ~select.POLLOUT):
                return b""
        try:
            chunk = self._socket.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        if not chunk:
            raise ConnectionResetError("closed by the broker")
        return chunk

    def _write(self) -> None:
        with self._lock:
            if not self._waiting:
                return
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                del self._waiting[: self._socket.send(self._waiting)]

    def close(self) -> None:
        """Write what can be written at once, and hang up."""
        with contextlib.suppress(OSError):
            self._write()
        for one in (self._socket, self._woken, self._bell):
            one.close()
