"""One lane of a sender: where it stands, what is in flight, and how patient it is. Arithmetic only.

Promises: the window, the retransmission timer (RFC 6298) and the back-off of a held lane. Refuses to know the spool,
and what a number stands for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import random

    from trueline_wire.envelope import Lane
    from trueline_wire.frame import Ancestor

__all__ = ["InFlight", "LaneWindow", "SenderLimits"]

_WINDOW_START: Final = 8
_ROUND_TRIP_MIN_S: Final = 0.01  # a clock may measure none at all, and twice nothing is no patience
_UNLIMITED: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderLimits:
    """How much may be in flight, and how patient the sender is.

    Attributes:
        window_frames: records of the data lane in flight, at most (MQTT: the Receive Maximum less 4; the event lane
            has 4 beside it).
        window_bytes: their bytes, at most.
        timeout_min_s: retransmission timer (RFC 6298), lower bound.
        timeout_max_s: upper bound.
        status_interval_s: how often STATUS is repeated.
    """

    window_frames: int = 32
    window_bytes: int = 512 * 1024
    timeout_min_s: float = 2.0
    timeout_max_s: float = 300.0
    status_interval_s: float = 60.0


class InFlight(NamedTuple):
    """A record sent and not yet acknowledged; `again`: not for the first time, so not to be measured (Karn)."""

    first: int
    last: int
    size: int
    sent_s: float
    again: bool


@dataclass(slots=True)
class LaneWindow:
    """Where a lane stands. Times are monotonic seconds, as given.

    Attributes:
        lane: which.
        epochs: as the spool has them, oldest first.
        limits: see `SenderLimits`.
        live: the epoch opened since the start; all others are closed.
        floor: lowest number of the sending epoch that is still held.
        next: number to be sent next in it.
        sent_max: highest number of it ever sent.
        credit: what the cloud grants, in records.
        deadline_s: when the timer ends; None while nothing is in flight.
        held_until_s: when to probe next; None while not held.
    """

    lane: Lane
    epochs: list[Ancestor]
    limits: SenderLimits
    live: bytes | None = None
    floor: int = 1
    next: int = 1
    sent_max: int = 0
    in_flight: deque[InFlight] = field(default_factory=deque)
    size: float = _WINDOW_START
    credit: int = _UNLIMITED
    deadline_s: float | None = None
    rewound_s: float = float("-inf")
    rewinds: int = 0  # since the last progress
    asked_s: dict[bytes, float] = field(default_factory=dict)  # when a schema was last asked for, and sent
    held_until_s: float | None = None
    hold_s: float = 0.0
    srtt_s: float | None = None
    rttvar_s: float = 0.0
    timeout_s: float = 0.0
    backed_off: bool = False  # timed out since the last measurement: the link has become slower than it was

    def __post_init__(self) -> None:
        self.timeout_s = self.limits.timeout_min_s

    @property
    def sending(self) -> Ancestor | None:
        """The oldest unreleased epoch: nothing else is sent."""
        return next((epoch for epoch in self.epochs if not epoch.released), None)

    @property
    def drained(self) -> bool:
        """All that was ever appended is acknowledged."""
        sending = self.sending
        return sending is None or (sending is self.epochs[-1] and self.floor > sending.end)

    def stand_at(self, floor: int) -> None:
        """Begin an epoch at its floor."""
        self.in_flight.clear()
        self.deadline_s = None
        self.sent_max = 0
        self.floor = self.next = floor

    def room(self, frames_max: int) -> int:
        """How many more records may be sent."""
        return min(int(self.size), frames_max, self.credit) - len(self.in_flight)

    def fits(self, size: int) -> bool:
        """Whether a record of so many bytes may join those in flight (one always may)."""
        return not self.in_flight or sum(item.size for item in self.in_flight) + size <= self.limits.window_bytes

    def sent(self, first: int, last: int, size: int, now_s: float) -> None:
        """A record goes out."""
        self.in_flight.append(InFlight(first, last, size, now_s, again=last <= self.sent_max))
        self.next, self.sent_max = last + 1, max(self.sent_max, last)
        if self.deadline_s is None:  # a link that never confirms is not waited for without end
            self.deadline_s = now_s + max(self.limits.timeout_max_s, self.timeout_s)

    def confirmed(self, now_s: float) -> None:
        """The link has handed something over: from now on an acknowledgement may be expected."""
        if self.in_flight:
            start = now_s + self.timeout_s
            self.deadline_s = start if self.deadline_s is None else min(self.deadline_s, start)

    def acknowledged(self, last: int, now_s: float) -> None:
        """All up to `last` has arrived: the floor rises, the window opens by one for each record."""
        self.floor = last + 1
        self.next = max(self.next, self.floor)
        self.rewinds = 0
        while self.in_flight and self.in_flight[0].last <= last:
            item = self.in_flight.popleft()
            self.size = min(self.size + 1, float(self.limits.window_frames))
            if not item.again:
                self._measure(now_s - item.sent_s)
        self.deadline_s = now_s + self.timeout_s if self.in_flight else None

    def rewind(self, to: int) -> None:
        """Send again from a number; what was in flight from there counts as lost."""
        self.next = to
        while self.in_flight and self.in_flight[-1].last >= to:
            self.in_flight.pop()
        if not self.in_flight:
            self.deadline_s = None

    def may_rewind(self, now_s: float) -> bool:
        """At most once a round trip, and only when the oldest record in flight has had one.

        Each rewind that brought nothing doubles the wait: on a link slower than it was when it was measured, what is
        sent again would only queue behind itself.
        """
        return bool(self.in_flight) and now_s - max(self.rewound_s, self.in_flight[0].sent_s) >= self._patience_s()

    def may_send_schema(self, schema: bytes, now_s: float) -> bool:
        """At once when it is first asked for, then as seldom as a rewind."""
        asked_s = self.asked_s.get(schema)
        if asked_s is not None and now_s - asked_s < self._patience_s():
            return False
        self.asked_s[schema] = now_s
        return True

    def _patience_s(self) -> float:
        round_trip = self.timeout_s if self.backed_off or self.srtt_s is None else max(self.srtt_s, _ROUND_TRIP_MIN_S)
        return min(round_trip * 2.0 ** min(self.rewinds, 16), self.limits.timeout_max_s)

    def rewind_to_floor(self, now_s: float) -> None:
        """An acknowledgement brought no progress: send again from the floor, half as much at once."""
        self.rewound_s = now_s
        self.rewinds += 1
        self.size = max(1.0, self.size / 2)
        self.rewind(self.floor)

    def timed_out(self, rng: random.Random) -> None:
        """Nothing came back in time: start over at the floor, one record at a time, twice as patient."""
        self.rewind(self.floor)
        self.size = 1
        self.rewinds = 0  # from here on the timer itself backs off
        self.asked_s.clear()
        self.backed_off = True
        self.timeout_s = self._bounded(2 * self.timeout_s * rng.uniform(0.9, 1.1))

    def hold(self, now_s: float, rng: random.Random) -> None:
        """Send nothing but a probe, each time after twice the wait."""
        self.hold_s = self._bounded(2 * self.hold_s)
        self.held_until_s = now_s + self.hold_s * rng.uniform(0.9, 1.1)
        self.rewind(self.floor)

    def release(self) -> None:
        """Hold no longer."""
        self.held_until_s, self.hold_s = None, 0.0

    def _measure(self, rtt_s: float) -> None:
        """RFC 6298, section 2."""
        self.backed_off = False
        if self.srtt_s is None:
            self.srtt_s, self.rttvar_s = rtt_s, rtt_s / 2
        else:
            self.rttvar_s += (abs(self.srtt_s - rtt_s) - self.rttvar_s) / 4
            self.srtt_s += (rtt_s - self.srtt_s) / 8
        self.timeout_s = self._bounded(self.srtt_s + 4 * self.rttvar_s)

    def _bounded(self, wait_s: float) -> float:
        return min(max(wait_s, self.limits.timeout_min_s), self.limits.timeout_max_s)
