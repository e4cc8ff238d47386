"""The hand-over from links to the ingest thread: bounded in messages and bytes.

Promises: `put` waits while it is full, so that a link's own flow control (TCP, or a CoAP 5.03) reaches the devices;
nothing is dropped here. Refuses to know what a message is.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Inbound", "Intake", "Link"]


class Link(Protocol):
    """Where a message came from, and where its answer goes."""

    def answer(self, device: str, token: Any, acks: list[bytes]) -> None:
        """Acknowledgements for a device (maybe none). Called from the ingest thread; must not block."""
        ...


class Inbound(NamedTuple):
    """A message as a link handed it over.

    Attributes:
        link: who gets the answer.
        device: whom the topic or the path names.
        message: the bytes.
        token: the link's own; answers carry it back. A message without one is answered together with others.
    """

    link: Link
    device: str
    message: bytes
    token: Any = None


class Intake:
    """A bounded queue, many to one.

    Args:
        messages_max: messages that wait, at most.
        bytes_max: their bytes, at most.
    """

    def __init__(self, messages_max: int = 4096, bytes_max: int = 32 * 1024 * 1024) -> None:
        self._max = messages_max, bytes_max
        self._waiting: deque[Inbound] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self._not_full = threading.Condition(self._lock)
        self._not_empty = threading.Condition(self._lock)
        self._rung = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes_waiting(self) -> int:
        """Bytes of the messages that wait."""
        return self._bytes

    def put(self, inbound: Inbound, timeout_s: float = 0.0) -> bool:
        """Hand a message over, waiting for room up to `timeout_s`; False if there was none."""
        with self._lock:
            if self._full() and not (timeout_s > 0 and self._not_full.wait_for(lambda: not self._full(), timeout_s)):
                return False
            self._waiting.append(inbound)
            self._bytes += len(inbound.message)
            if len(self._waiting) == 1:
                self._not_empty.notify()
            return True

    def put_all(self, batch: Sequence[Inbound], timeout_s: float = 0.0) -> int:
        """Hand over as many of these as there is room for, in order, waiting for the first; returns how many."""
        with self._lock:
            if self._full() and not (timeout_s > 0 and self._not_full.wait_for(lambda: not self._full(), timeout_s)):
                return 0
            was_empty, taken = not self._waiting, 0
            for inbound in batch:
                if self._full():
                    break
                self._waiting.append(inbound)
                self._bytes += len(inbound.message)
                taken += 1
            if was_empty and taken:
                self._not_empty.notify()
            return taken

    def take(self, timeout_s: float) -> list[Inbound]:
        """All that waits; waits itself up to `timeout_s` for the first, or until `ring`."""
        with self._lock:
            if not self._waiting and not self._rung and timeout_s > 0:
                self._not_empty.wait(timeout_s)
            self._rung = False
            taken = list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            if taken:
                self._not_full.notify_all()
            return taken

    def ring(self) -> None:
        """Wake whoever waits in `take`."""
        with self._lock:
            self._rung = True
            self._not_empty.notify()

    def _full(self) -> bool:
        messages_max, bytes_max = self._max
        return len(self._waiting) >= messages_max or self._bytes >= bytes_max
