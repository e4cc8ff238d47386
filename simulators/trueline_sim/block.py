"""Some steps of a world: what was true, what the sensors said, which rows the devices report, and with which stamps.

Promises: shapes, names and units that recording, fleet, score and plots agree on.
Refuses to know how any of it came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Block", "Grid", "Rows", "WorldChannel", "device_name"]


_NS: Final = 1_000_000_000
_WHOLE_NS: Final = 1e-3


def device_name(number: int) -> str:
    """What device `number` (from 0) is called: "d0000"."""
    return f"d{number:04d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldChannel:
    """A channel of every device of a world.

    Attributes:
        name: the measurand's; redundant sensors after the first add "_2", "_3" …
        measurand: its number in the scenario.
        unit: UCUM code.
        sensor: name in the catalogue, "SHT31/temperature".
        resolution: smallest step of a reading, in `unit`; 0.0 where there is none.
        u: standard uncertainty the datasheet lets one state, in `unit`.
    """

    name: str
    measurand: int
    unit: str
    sensor: str
    resolution: float
    u: float


@dataclass(frozen=True, slots=True)
class Grid:
    """The steps of a run.

    Attributes:
        start_ns: of step 0, UTC, ns since 1970.
        interval_s: between steps.
        steps: how many.
    """

    start_ns: int
    interval_s: float
    steps: int

    def times_ns(self, first: int, count: int) -> NDArray[np.int64]:
        """(count,) when steps are, to the nearest ns."""
        interval_ns = self.interval_s * _NS
        steps = np.arange(first, first + count)
        if abs(interval_ns - round(interval_ns)) < _WHOLE_NS:
            return self.start_ns + steps * round(interval_ns)
        times: NDArray[np.int64] = self.start_ns + np.rint(steps * interval_ns).astype(np.int64)
        return times

    def time_ns(self, step: int) -> int:
        """When a step is."""
        return int(self.times_ns(step, 1)[0])


class Rows(NamedTuple):
    """The rows of one device in a block, in the order it reports them; a row twice is a duplicate.

    Attributes:
        step: (m,) int64, number of the step each row was sampled at, since the world began.
        time_ns: (m,) int64, as stamped by the device's clock.
        value: (m, channels) float64, NaN where nothing was measured.
    """

    step: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """n steps of a world of some devices with k channels each.

    Attributes:
        first_step: number of the first step since the world began.
        time_true_ns: (n,) int64, UTC, ns since 1970.
        time_ns: (n, devices) int64, as stamped by each device's clock.
        truth: (n, devices, k) float64, in each channel's unit.
        raw: (n, devices, k) float64, what the sensors said, faults included; NaN where nothing was measured.
        copies: (n, devices) uint8, how often the row is reported: 0 lost, 1 as it should be, 2 and more duplicates.
        late: (n, devices) bool, the row is reported after the one that follows it.
        channels: k of them.
    """

    first_step: int
    time_true_ns: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    truth: NDArray[np.float64]
    raw: NDArray[np.float64]
    copies: NDArray[np.uint8]
    late: NDArray[np.bool_]
    channels: tuple[WorldChannel, ...]

    def __len__(self) -> int:
        return len(self.time_true_ns)

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n, devices): the row is reported at least once."""
        return self.copies > 0

    @property
    def u_declared(self) -> NDArray[np.float64]:
        """(k,) standard uncertainty each channel's datasheet lets one state."""
        return np.array([channel.u for channel in self.channels])

    def order(self, device: int) -> NDArray[np.intp]:
        """(m,) indices into the block's steps of a device's rows, in the order it reports them."""
        indices = np.arange(len(self))
        if self.late[:, device].any():
            # A late row comes right after its follower: 2i becomes 2i + 3 > 2 (i + 1).
            indices = np.argsort(2 * indices + 3 * self.late[:, device], kind="stable")
        return np.repeat(indices, self.copies[indices, device])

    def rows(self, device: int) -> Rows:
        """What a device reports in this block."""
        order = self.order(device)
        return Rows(self.first_step + order, self.time_ns[order, device], self.raw[order, device])
