"""What a store answers: the read side of the journal, as pages, exports and ledgers see it.

Promises: every type here is plain data and means the same whatever store answers (the journal today, the lake behind
it later). Refuses to know SQL, HTTP and terminals. The write side is the port `trueline_wire.delivery.Store`.

What each flag means at this sink (the one-minute rollups, and whatever is drawn from them):

    flag               count   mean, minimum, maximum, u   worst flag
    1 PASS             yes     yes                         yes
    2 NOT_EVALUATED    yes     yes                         yes
    3 SUSPECT          yes     yes                         yes
    4 FAIL             no      no                          yes
    9 MISSING          no      no                          yes
    NaN, any flag      no      no                          yes

So `count` is how many readings stand behind the mean, and a minute of nothing but failures has count 0, mean NaN and
flag 4 or 9. An infinite value is treated like NaN. Frames themselves are stored whole: nothing here mends a reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from trueline_wire.readings import Readings, Schema

__all__ = [
    "MINUTE_NS",
    "VERDICTS",
    "DeviceInfo",
    "LaneLedger",
    "NeverHeardOfError",
    "Reader",
    "Rollup",
    "worst_verdict",
]

MINUTE_NS: Final = 60_000_000_000
"""Length of a stored rollup step, ns."""

VERDICTS: Final = ("complete", "pending", "orphaned", "missing")
"""What a ledger can say of a lane, best first.

complete: every row the device has spoken of is stored (thinned and quarantined rows are counted, and are no hole);
pending: some have not come yet; orphaned: an epoch was forked off (a card restored or cloned) and its tail will not
come; missing: rows are gone, and `missing_by_reason` says why.
"""


class LaneLedger(msgspec.Struct, frozen=True, kw_only=True):
    """One lane of one device, as of last heard. All counts are rows (one sampling of a stream) unless named otherwise.

    `rows_stored + rows_thinned + rows_quarantined + rows_missing + rows_pending == rows_head` for a lane that was
    never forked; rows of an orphaned tail are counted in `rows_orphaned`, outside of that sum.

    Attributes:
        device: its id.
        lane: "data" or "event".
        verdict: one of `VERDICTS`.
        as_of_ns: when the lane was last heard of, the cloud's clock, ns since 1970.
        rows_head: rows the lane has spoken of over its whole life.
        rows_stored: rows in stored frames.
        rows_thinned: rows left out of stored frames by a full spool, within its error bound.
        rows_quarantined: rows in frames that could not be understood, kept aside.
        rows_missing: rows that will not come.
        rows_pending: rows that were spoken of and have not come yet.
        rows_orphaned: rows in the tails of epochs that a later one forked off.
        missing_by_reason: `rows_missing`, split.
        lost_before_spool: rows the agent lost before it could promise anything, by reason, as it reports.
        alarms: "fork", "restored_or_cloned", how often each.
        frames: stored frames, number of.
        epochs: epochs seen, number of.
        bytes: stored messages, signature and header included, bytes.
        values: rows times channels of what is stored.
    """

    device: str
    lane: str
    verdict: str
    as_of_ns: int
    rows_head: int
    rows_stored: int
    rows_thinned: int
    rows_quarantined: int
    rows_missing: int
    rows_pending: int
    rows_orphaned: int
    missing_by_reason: dict[str, int]
    lost_before_spool: dict[str, int]
    alarms: dict[str, int]
    frames: int
    epochs: int
    bytes: int
    values: int


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A device, in one line.

    Attributes:
        device: its id.
        last_heard_ns: when its last frame or status was committed, the cloud's clock, ns since 1970; 0 for never.
        online: what its presence says; None where nothing is known (a device on CoAP has no presence).
        streams: names of the streams it has sent.
        verdict: the worst of its lanes' (see `VERDICTS`).
    """

    device: str
    last_heard_ns: int
    online: bool | None
    streams: list[str]
    verdict: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Rollup:
    """The k channels of a stream over m steps; steps in which nothing was sampled are left out.

    Attributes:
        time_ns: (m,) int64. Start of each step, UTC, ns since 1970, increasing.
        count: (m, k) int64. Readings behind `mean` (the table above says which count).
        mean: (m, k) float64, the channel's unit; NaN where count is 0.
        minimum: (m, k) float64, the channel's unit; NaN where count is 0.
        maximum: (m, k) float64, the channel's unit; NaN where count is 0.
        u: (m, k) float32. Standard uncertainty of a single reading in the step, root mean square over those that
            state one; NaN where none does.
        flag: (m, k) uint8. Worst flag in the step.
        schema: the stream's newest schema; older frames are matched to its channels by name.
    """

    time_ns: NDArray[np.int64]
    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    u: NDArray[np.float32]
    flag: NDArray[np.uint8]
    schema: Schema


class NeverHeardOfError(KeyError):
    """No such device, or no such stream: ask for another one."""


class Reader(Protocol):
    """A read-only view of a store, on its own connection: safe beside the writer, for one thread at a time.

    Raises (methods that name a device or a stream):
        NeverHeardOfError: the store has never heard of it.
    """

    def devices(self) -> list[DeviceInfo]:
        """All devices the store has heard of, by name."""
        ...

    def streams(self, device: str) -> list[Schema]:
        """The newest schema of each stream of a device, by name."""
        ...

    def span(self, device: str, stream: str) -> tuple[int, int] | None:
        """Time of a stream's first and last stored reading, ns since 1970; None where it has none. Cheap."""
        ...

    def ledger(self, device: str | None = None) -> list[LaneLedger]:
        """The lanes of one device, or of all, by device and lane."""
        ...

    def readings(self, device: str, stream: str, start_ns: int, end_ns: int) -> Iterator[Readings]:
        """Stored readings with start_ns <= time < end_ns, frame by frame in order of the frames' first time."""
        ...

    def rollup(self, device: str, stream: str, start_ns: int, end_ns: int, step_ns: int) -> Rollup:
        """Readings with start_ns <= time < end_ns, summed up in steps aligned to multiples of `step_ns` since 1970.

        A step of whole minutes is answered from the stored one-minute rollups (the range is then widened to whole
        minutes); anything else is computed from the frames.

        Raises:
            ValueError: the step is not positive.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def worst_verdict(verdicts: list[str]) -> str:
    """The worst of some verdicts; "complete" for none."""
    return max(verdicts, key=VERDICTS.index, default="complete")
