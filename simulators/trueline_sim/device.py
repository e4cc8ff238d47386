"""A virtual device: a real `Sender` on a spool in memory, measuring a few seeded signals.

Promises: what it sends is what a real device would send, signed with a key of its own; what it counts, it has appended.
Refuses to know sockets and time: the fleet brings both.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.memory_spool import MemorySpool
from trueline_wire.columns import encode_columns
from trueline_wire.delivery import Outgoing, Sender, SenderLimits
from trueline_wire.envelope import Lane
from trueline_wire.keys import SigningKey
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from trueline_wire.delivery import Transmit
    from trueline_wire.keys import Verifier

__all__ = ["STREAM", "VirtualDevice"]

STREAM: Final = "load"

_RESOLUTION: Final = 0.01


class VirtualDevice:
    """One of a fleet. Its values are random walks on a decimal grid, with a declared uncertainty.

    Args:
        name: its id.
        seed: of its key, its epochs and its values, together with the name.
        rows: in each frame.
        channels: in its one stream.
        cloud: trusts the cloud's key.
        limits: of its sender.

    Attributes:
        rows_measured: since it was made.
        latencies_s: from append to acknowledgement, of each frame acknowledged so far.
    """

    def __init__(
        self, name: str, *, seed: int, rows: int, channels: int, cloud: Verifier, limits: SenderLimits | None = None
    ) -> None:
        secret = hashlib.sha256(f"trueline-sim {seed} {name}".encode()).digest()
        self.name: Final = name
        self.key: Final = SigningKey(secret)
        rng = random.Random(secret)
        self.sender: Final = Sender(
            MemorySpool(), device=name, signer=self.key, verifier=cloud, rng=rng, limits=limits, clean=True
        )
        self.schema: Final = Schema(
            device=name,
            stream=STREAM,
            channels=tuple(
                Channel(name=f"c{number}", unit="Cel", resolution=_RESOLUTION) for number in range(channels)
            ),
        )
        self.rows_measured = 0
        self.latencies_s: Final[list[float]] = []
        self._rows: Final = rows
        self._values: Final = np.random.default_rng(list(secret[:8]))
        self._level = np.zeros(channels)
        self._waiting: Final[deque[tuple[int, float]]] = deque()

    def measure(self, time_ns: int, step_ns: int, now_s: float) -> None:
        """Append one frame.

        Args:
            time_ns: of its first row, UTC, ns since 1970.
            step_ns: between its rows.
            now_s: monotonic seconds, for the latency.
        """
        steps = self._values.normal(0.0, 0.05, (self._rows, len(self._level)))
        walk = self._level + np.cumsum(steps, axis=0)
        self._level = walk[-1]
        value = np.round(walk / _RESOLUTION) * _RESOLUTION
        times = time_ns + step_ns * np.arange(self._rows, dtype=np.int64)
        readings = Readings.raw(self.schema, times, value, np.float32(0.05)).passed(np.ones(value.shape, np.bool_))
        self.sender.append([self._frame(readings)])
        self.rows_measured += self._rows
        # The n-th frame has number n + 1: an epoch begins with its OPEN.
        self._waiting.append((self.sender.counts.frames_appended + 1, now_s))

    def _frame(self, readings: Readings) -> Outgoing:
        times = readings.time_ns
        body = encode_columns(readings)
        return Outgoing(Lane.DATA, self.schema.encoded, len(readings), int(times[0]), int(times[-1]), body)

    def received(self, message: bytes, now_s: float) -> None:
        """A message from the cloud."""
        self.sender.received(message, now_s)
        acknowledged = self.sender.counts.frames_acknowledged
        while self._waiting and self._waiting[0][0] <= acknowledged:
            self.latencies_s.append(now_s - self._waiting.popleft()[1])

    def poll(self, now_s: float) -> list[Transmit]:
        """What to hand to the link now."""
        return self.sender.poll(now_s)
