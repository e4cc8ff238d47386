"""A recording's truth, laid out by device and step, and where readings belong in it.

Promises: a cell of the truth is scored at most once: a second reading with the same device, channel and stamp is a
duplicate, and a reading whose stamp no row of the recording has is a stranger; both are counted. Refuses to look at
values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from trueline_sim.record import LABELS, MANIFEST, READINGS, TRUTH, TRUTH_PREFIX, VALUE_PREFIX
from trueline_sim.score.columns import Columns
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Base", "Found", "Labels", "Recording", "Spans"]

_NS = 1_000_000_000


class Spans(NamedTuple):
    """Labels of some devices; all (m,).

    Attributes:
        kind: of the fault or anomaly.
        channel: "" for all.
        is_process: an anomaly of the process, not a fault.
        device: number of the device.
        start_ns: true time of its first effect.
        first: index of its first row in the base; `end` where all its rows are missing.
        end: one past its last row.
    """

    kind: NDArray[np.str_]
    channel: NDArray[np.str_]
    is_process: NDArray[np.bool_]
    device: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    first: NDArray[np.int64]
    end: NDArray[np.int64]

    def where(self, which: NDArray[np.bool_]) -> Spans:
        """Some of them."""
        parts: list[Any] = [column[which] for column in self]
        return Spans(*parts)

    def mask(self, cells: int, after: int = 0) -> NDArray[np.bool_]:
        """(cells,) True inside a span and so many readings after it."""
        steps = np.zeros(cells + 1, np.int64)
        np.add.at(steps, self.first, 1)
        np.add.at(steps, np.minimum(self.end + after, cells), -1)
        return np.asarray(np.cumsum(steps[:-1]) > 0)


@dataclass(frozen=True, slots=True)
class Base:
    """The rows of some devices, each once, in order of device and step.

    Attributes:
        device: (n,) number of the device.
        step: (n,) number of the step.
        time_true_ns: (n,).
        time_ns: (n,) as stamped.
        starts: (d,) index of the first row of each device that has one.
        repeated: rows the recording has twice or more.
        rows: which rows of the files these devices have; None: all.
        take: (n,) which of those.
    """

    device: NDArray[np.int32]
    step: NDArray[np.int64]
    time_true_ns: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    starts: NDArray[np.int64]
    repeated: int
    rows: NDArray[np.bool_] | None
    take: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.step)

    def find(self, device: NDArray[np.int32], time_ns: NDArray[np.int64]) -> Found:
        """Where readings belong.

        Args:
            device: (m,) number of the device.
            time_ns: (m,) as stamped.
        """
        times = np.unique(self.time_ns)
        width = len(times) + 1
        keys = self.device.astype(np.int64) * width + np.searchsorted(times, self.time_ns)
        order = np.argsort(keys, kind="stable")
        rank = np.searchsorted(times, time_ns)
        rank[rank == len(times)] = 0
        wanted = device.astype(np.int64) * width + rank
        place = np.searchsorted(keys[order], wanted)
        place[place == len(keys)] = 0
        known = (times[rank] == time_ns) & (keys[order][place] == wanted)
        rows = order[place[known]]
        from_reading = np.flatnonzero(known)
        reading = np.full(len(self), -1, np.int64)
        reading[rows[::-1]] = from_reading[::-1]  # the first one stays
        found = int((reading >= 0).sum())
        return Found(reading, duplicates=len(rows) - found, strangers=len(time_ns) - len(rows))


class Found(NamedTuple):
    """Which reading belongs to each row of a base.

    Attributes:
        reading: (n,) index of the reading; -1: none came.
        duplicates: readings beyond the first of a row.
        strangers: readings that belong nowhere.
    """

    reading: NDArray[np.int64]
    duplicates: int
    strangers: int


@dataclass(frozen=True, slots=True)
class Labels:
    """The label file; all (m,): see `Spans`."""

    device: NDArray[np.int32]
    channel: NDArray[np.str_]
    kind: NDArray[np.str_]
    is_process: NDArray[np.bool_]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]


class Recording:
    """A folder `trueline-sim record` wrote.

    Args:
        path: the folder, or a file in it.

    Raises:
        ConfigError: something is missing.

    Attributes:
        folder: where it is.
        manifest: what it says about itself.
        devices: name to number.
        channels: name to what the manifest says about it.
        truth: the truth file.
        raw: the readings file.
        labels: all of them.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path if path.is_dir() else path.parent
        try:
            self.manifest: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text())
            labels = pq.read_table(self.folder / LABELS)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.folder}: not a recording (of trueline-sim record): {error}") from error
        self.truth, self.raw = Columns(self.folder / TRUTH), Columns(self.folder / READINGS)
        if self.truth.rows != self.raw.rows:
            raise ConfigError(f"{self.folder}: {self.truth.rows} rows of truth, {self.raw.rows} of readings: not one")
        names = self.truth.values("device")
        named = labels.column("device").to_pylist()
        self.devices = {name: number for number, name in enumerate(sorted({*names, *named}))}
        self.channels: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in self.manifest["channels"]}
        self.labels = Labels(
            np.array([self.devices[name] for name in named], np.int32),
            np.array(labels.column("channel").to_pylist(), np.str_),
            np.array(labels.column("kind").to_pylist(), np.str_),
            labels.column("is_process").to_numpy(zero_copy_only=False).astype(np.bool_),
            labels.column("start_ns").to_numpy().astype(np.int64),
            labels.column("end_ns").to_numpy().astype(np.int64),
        )

    def parts(self, rows_max: int) -> Iterator[tuple[int, int]]:
        """Ranges of devices (low, high) with about so many rows each, at least one device."""
        at_once = max(int(rows_max * len(self.devices) / max(self.truth.rows, 1)), 1)
        for low in range(0, len(self.devices), at_once):
            yield low, min(low + at_once, len(self.devices))

    def base(self, low: int, high: int) -> Base:
        """The rows of devices low … high - 1."""
        codes = self.truth.codes("device", self.devices)
        rows: NDArray[np.bool_] | None = (codes >= low) & (codes < high)
        if rows is not None and rows.all():
            rows = None
        device = codes if rows is None else codes[rows]
        step = self.truth.numbers("row", np.int64, rows)
        order = np.lexsort((step, device))
        first = np.ones(len(order), np.bool_)
        first[1:] = (np.diff(device[order]) != 0) | (np.diff(step[order]) != 0)
        take = order[first]
        device, step = device[take], step[take]
        return Base(
            device=device,
            step=step,
            time_true_ns=self.truth.numbers("time_true_ns", np.int64, rows)[take],
            time_ns=self.truth.numbers("time_ns", np.int64, rows)[take],
            starts=np.flatnonzero(np.diff(device, prepend=-1)),
            repeated=len(order) - len(take),
            rows=rows,
            take=take,
        )

    def values(self, base: Base, channel: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Truth and raw of a channel, (n,) each, as the base has its rows."""
        truth = self.truth.numbers(TRUTH_PREFIX + channel, np.float64, base.rows)[base.take]
        return truth, self.raw.numbers(VALUE_PREFIX + channel, np.float64, base.rows)[base.take]

    def spans(self, base: Base, low: int, high: int) -> Spans:
        """The labels of devices low … high - 1, as indices into the base."""
        labels = self.labels
        mine = (labels.device >= low) & (labels.device < high)
        device = labels.device[mine]
        width = self.manifest["steps"] + 2
        keys = base.device.astype(np.int64) * width + base.step
        ends = [
            np.searchsorted(keys, device.astype(np.int64) * width + self._step(times[mine]))
            for times in (labels.start_ns, labels.end_ns)
        ]
        columns: list[Any] = [labels.kind, labels.channel, labels.is_process, labels.device, labels.start_ns]
        return Spans(*(column[mine] for column in columns), *(end.astype(np.int64) for end in ends))

    def _step(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first step at or after a true time."""
        interval_ns = self.manifest["interval_s"] * _NS
        steps = np.ceil((time_ns - self.manifest["start_ns"] - 1) / interval_ns).astype(np.int64)
        return np.asarray(np.clip(steps, 0, self.manifest["steps"]))
