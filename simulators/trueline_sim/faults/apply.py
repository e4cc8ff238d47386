"""Break what sensors say and what clocks stamp, where the labels say so and nowhere else.

Promises: cells and rows without a label come out as they went in; the result does not depend on where time is cut. What
a fault needs of its first reading, and its random numbers, are kept while it lasts and no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_sim.faults.fault import ALL_CHANNELS
from trueline_sim.faults.values import EFFECTS, RANDOM, Touched
from trueline_sim.randomness import stream
from trueline_sim.sensors.bank import quantise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_sim.block import WorldChannel
    from trueline_sim.faults.fault import Fault

__all__ = ["Injector", "Reported"]

_NS: Final = 1_000_000_000
_KEPT: Final = frozenset({"stuck", "nan_run", "swapped_channels"})
"""Kinds whose values are readings already, and are not rounded again."""


class Reported(NamedTuple):
    """Which rows of a block come, how, and stamped with what; all (n, devices): see `Block`."""

    time_ns: NDArray[np.int64]
    copies: NDArray[np.uint8]
    late: NDArray[np.bool_]


@dataclass(slots=True)
class _Active:
    """What lasts as long as its fault."""

    anchor: float | None
    rng: np.random.Generator | None


class Injector:
    """Applies faults to the blocks of a world, in order.

    Args:
        faults: in any order.
        channels: of every device.
        seed: of the world.
    """

    def __init__(self, faults: Sequence[Fault], channels: Sequence[WorldChannel], *, seed: int) -> None:
        self._channels = channels
        self._seed = seed
        self._waiting = sorted(enumerate(faults), key=lambda item: item[1].start_ns, reverse=True)
        self._running: dict[int, tuple[Fault, _Active]] = {}

    def apply(self, first_step: int, time_true_ns: NDArray[np.int64], raw: NDArray[np.float64]) -> Reported:
        """Break the next block.

        Args:
            first_step: number of its first step since the world began; even, as two neighbours may change places.
            time_true_ns: (n,) true times, going on from the last block's.
            raw: (n, devices, channels) what the sensors said; overwritten.
        """
        shape = raw.shape[:2]
        reported = Reported(
            np.repeat(time_true_ns[:, None], shape[1], axis=1), np.ones(shape, np.uint8), np.zeros(shape, np.bool_)
        )
        if first_step % 2:
            raise ValueError(f"a block cannot begin at step {first_step}: neighbours that change places would be cut")
        if not len(time_true_ns):
            return reported
        self._begin(int(time_true_ns[-1]))
        touched = []
        for fault, active in self._running.values():
            rows = slice(*np.searchsorted(time_true_ns, (fault.start_ns, fault.end_ns)))
            if rows.start == rows.stop:
                continue
            if fault.channel == ALL_CHANNELS:
                self._report(fault, active, rows, time_true_ns, reported)
            else:
                touched.append((fault, active, rows, self._partner(fault, raw, rows)))
        for fault, active, rows, partner in touched:
            self._break(fault, active, rows, partner, time_true_ns, raw)
        last_ns = int(time_true_ns[-1])
        self._running = {key: item for key, item in self._running.items() if item[0].end_ns > last_ns}
        return reported

    def _begin(self, last_ns: int) -> None:
        while self._waiting and self._waiting[-1][1].start_ns <= last_ns:
            number, fault = self._waiting.pop()
            draws = fault.kind in RANDOM or fault.kind == "jitter"
            rng = stream(self._seed, "fault", str(number)) if draws else None
            self._running[number] = fault, _Active(None, rng)

    @staticmethod
    def _partner(fault: Fault, raw: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
        """The other channel's readings before anything is broken: two swapped channels swap at once."""
        other = int(fault.magnitude) if fault.kind == "swapped_channels" else fault.channel
        return raw[rows, fault.device, other].copy()

    def _break(
        self,
        fault: Fault,
        active: _Active,
        rows: slice,
        partner: NDArray[np.float64],
        time_true_ns: NDArray[np.int64],
        raw: NDArray[np.float64],
    ) -> None:
        channel = self._channels[fault.channel]
        value = raw[rows, fault.device, fault.channel].copy()
        if active.anchor is None:
            active.anchor = float(value[0])
        broken = EFFECTS[fault.kind](
            Touched(
                value=value,
                partner=partner,
                anchor=active.anchor,
                progress=(time_true_ns[rows] - fault.start_ns) / (fault.end_ns - fault.start_ns),
                normal=active.rng.standard_normal((len(value), 2)) if active.rng else np.empty((0, 2)),
                size=fault.magnitude * channel.u,
                magnitude=fault.magnitude,
                unit=channel.unit,
            )
        )
        if fault.kind not in _KEPT:
            quantise(broken, channel.resolution)
        raw[rows, fault.device, fault.channel] = broken

    @staticmethod
    def _report(
        fault: Fault, active: _Active, rows: slice, time_true_ns: NDArray[np.int64], reported: Reported
    ) -> None:
        device = fault.device
        since_ns = time_true_ns[rows] - fault.start_ns
        stamps = reported.time_ns[rows, device]
        match fault.kind:
            case "drop_out":
                reported.copies[rows, device] = 0
            case "duplicate":
                copies = reported.copies[rows, device]
                copies[copies > 0] += np.uint8(fault.magnitude)
            case "reorder":
                # Even steps whose follower the fault touches too; blocks begin at even steps.
                reported.late[rows.start + rows.start % 2 : rows.stop - 1 : 2, device] = True
            case "clock_step":
                stamps += round(fault.magnitude * _NS)
            case "clock_skew":
                stamps += np.rint(since_ns * (fault.magnitude * 1e-6)).astype(np.int64)
            case "jitter":
                noise = active.rng.standard_normal(len(stamps)) if active.rng else np.zeros(len(stamps))
                stamps += np.rint(noise * (fault.magnitude * _NS)).astype(np.int64)
            case "boot_1970":
                stamps[:] = since_ns + round(fault.magnitude * _NS)
            case _:
                raise ValueError(f"{fault.kind!r} is no kind of fault of rows")
