"""What a link is: it carries signed messages up and acknowledgements down, and promises nothing about either.

Losing, doubling and reordering are allowed; `trueline_wire.delivery` mends them. What is not allowed: keeping a queue
of its own while down, letting a peer's rubbish end the process, or growing without bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from trueline_wire.envelope import MESSAGE_SIZE_MAX

if TYPE_CHECKING:
    import random

    from trueline_wire.delivery import Transmit

__all__ = ["RETRY_MAX_S", "Backoff", "Events", "Link", "fits"]

RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 60.0


class Events(Protocol):
    """What a link tells. May be called from any thread; returns at once."""

    def connected(self, *, window_frames: int, message_max: int) -> None:
        """The link is up: so many messages may be in flight, none larger than so many bytes."""

    def disconnected(self) -> None:
        """The link is down, and what was handed to it may be lost."""

    def confirmed(self) -> None:
        """A message has been handed over, or has failed: it is not on this link any more."""

    def received(self, message: bytes) -> None:
        """A message has come for the device."""


class Link(Protocol):
    """One way to the cloud. `run` is called once at a time; `send` only between `connected` and `disconnected`."""

    @property
    def name(self) -> str:
        """Protocol and address, for people."""
        raise NotImplementedError

    async def run(self, events: Events) -> None:
        """Keep the link up until cancelled, reconnecting by itself; say goodbye when cancelled."""

    def send(self, transmit: Transmit) -> None:
        """Hand a message over without waiting. Dropped where the link is down or the message too large for it."""


class Backoff:
    """Full jitter: a random wait below a bound that doubles from 1 to 60 s (Brooker, "Exponential Backoff And Jitter").

    Args:
        rng: seeded in tests, so that a fleet does not come back at once.
        maximum_s: the last bound.
    """

    def __init__(self, rng: random.Random, maximum_s: float = RETRY_MAX_S) -> None:
        self._rng = rng
        self._maximum_s = maximum_s
        self._failures = 0

    def next_s(self) -> float:
        """How long to wait now."""
        bound = min(self._maximum_s, RETRY_MIN_S * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._rng.uniform(0.0, bound)

    def reset(self) -> None:
        """It worked."""
        self._failures = 0


def fits(message: bytes, message_max: int) -> bool:
    """Whether a message may be handed over."""
    return len(message) <= min(message_max, MESSAGE_SIZE_MAX)
