"""A virtual device: a real `Sender` on a spool in memory, and the values it sends.

Promises: what it sends is what a real device would send, signed with a key of its own; what it counts, it has appended.
Refuses to know sockets and time: the fleet brings both.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

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

__all__ = ["STREAM", "Frame", "Values", "VirtualDevice", "Walks"]

STREAM: Final = "load"

_STEPS: Final = 100  # to one unit
_PATTERNS: Final = 16


class Frame(NamedTuple):
    """What a device measured and sends at once: columns already compressed."""

    rows: int
    first_ns: int
    """Stamp of the first row, UTC, ns since 1970."""
    last_ns: int
    """Stamp of the last row."""
    body: bytes


class Values(Protocol):
    """What the devices of a group measure.

    Attributes:
        stream: its name on every device.
        channels: of the stream.
    """

    @property
    def stream(self) -> str: ...  # noqa: D102 - in the class docstring
    @property
    def channels(self) -> tuple[Channel, ...]: ...  # noqa: D102 - as above

    def begin(self, start_ns: int) -> None:
        """The first frame's first row is at this time."""

    def maybe_frame(self, device: int, time_ns: int, step_ns: int) -> Frame | None:
        """A frame of a device (its number in the group), or None where it has nothing to report.

        Args:
            device: its number.
            time_ns: of the first row, as a clock that is right would stamp it.
            step_ns: between rows.
        """
        ...


class Walks:
    """The values of a fleet: frames of random walks on a decimal grid, encoded once and shared.

    There are 16 patterns, and each device shows one of them: to measure and compress a thousand devices' values is the
    work of a thousand machines, which this one need not do. Header, numbers, signature and topic are each device's own.

    Args:
        seed: of all values.
        rows: in each frame.
        channels: in each row.
    """

    def __init__(self, *, seed: int, rows: int, channels: int) -> None:
        self.rows: Final = rows
        self.stream: Final = STREAM
        self.channels: Final = tuple(
            Channel(name=f"c{number}", unit="Cel", resolution=1 / _STEPS) for number in range(channels)
        )
        self._schema: Final = Schema(device="any", stream=STREAM, channels=self.channels)
        self._seed: Final = seed
        self._bodies: Final[dict[tuple[int, int], bytes]] = {}

    def begin(self, start_ns: int) -> None:
        """It makes no difference to a random walk."""

    def maybe_frame(self, device: int, time_ns: int, step_ns: int) -> Frame | None:
        """As `Values` says; there always is one."""
        return Frame(self.rows, time_ns, time_ns + step_ns * (self.rows - 1), self.body(device, time_ns, step_ns))

    def body(self, device: int, time_ns: int, step_ns: int) -> bytes:
        """The columns of one frame.

        Args:
            device: its number in the fleet.
            time_ns: of the first row, UTC, ns since 1970.
            step_ns: between rows.
        """
        key = (device % _PATTERNS, time_ns)
        if key not in self._bodies:
            for old in list(self._bodies)[: -3 * _PATTERNS]:
                del self._bodies[old]
            rng = np.random.default_rng([self._seed, *key])
            walk = 20.0 + key[0] + np.cumsum(rng.normal(0.0, 0.05, (self.rows, len(self.channels))), axis=0)
            # The double nearest to each decimal, as a parser would give it.
            value = np.rint(walk * _STEPS) / _STEPS
            times = time_ns + step_ns * np.arange(self.rows, dtype=np.int64)
            readings = Readings.raw(self._schema, times, value, np.float32(0.05))
            self._bodies[key] = encode_columns(readings.passed(np.ones(value.shape, np.bool_)))
        return self._bodies[key]


class VirtualDevice:
    """One of a fleet, with a real sender on a spool in memory.

    Args:
        name: its id.
        number: its number in its group.
        seed: of its key and epochs, together with the name.
        walks: what it measures.
        cloud: trusts the cloud's key.
        limits: of its sender.

    Attributes:
        rows_measured: since it was made.
        latencies_s: from append to acknowledgement, of each frame acknowledged so far.
    """

    def __init__(
        self, name: str, *, number: int, seed: int, walks: Values, cloud: Verifier, limits: SenderLimits | None = None
    ) -> None:
        secret = hashlib.sha256(f"trueline-sim {seed} {name}".encode()).digest()
        self.name: Final = name
        self.key: Final = SigningKey(secret)
        self.sender: Final = Sender(
            MemorySpool(),
            device=name,
            signer=self.key,
            verifier=cloud,
            rng=random.Random(secret),
            limits=limits,
            clean=True,
        )
        self.rows_measured = 0
        self.latencies_s: Final[list[float]] = []
        self._number: Final = number
        self._walks: Final = walks
        self._schema: Final = Schema(device=name, stream=walks.stream, channels=walks.channels).encoded
        self._waiting: Final[deque[tuple[int, float]]] = deque()

    def measure(self, time_ns: int, step_ns: int, now_s: float) -> None:
        """Append one frame, if there is anything to report.

        Args:
            time_ns: of its first row, UTC, ns since 1970.
            step_ns: between its rows.
            now_s: monotonic seconds, for the latency.
        """
        frame = self._walks.maybe_frame(self._number, time_ns, step_ns)
        if frame is None:
            return
        self.sender.append([Outgoing(Lane.DATA, self._schema, *frame)])
        self.rows_measured += frame.rows
        # The n-th frame has number n + 1: an epoch begins with its OPEN.
        self._waiting.append((self.sender.counts.frames_appended + 1, now_s))

    @property
    def backlog(self) -> int:
        """Frames that are not acknowledged."""
        return len(self._waiting)

    def received(self, message: bytes, now_s: float) -> None:
        """A message from the cloud."""
        self.sender.received(message, now_s)
        acknowledged = self.sender.counts.frames_acknowledged
        while self._waiting and self._waiting[0][0] <= acknowledged:
            self.latencies_s.append(now_s - self._waiting.popleft()[1])

    def poll(self, now_s: float) -> list[Transmit]:
        """What to hand to the link now."""
        return self.sender.poll(now_s)
