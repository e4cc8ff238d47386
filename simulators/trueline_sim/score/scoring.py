"""Score readings against a recording: channel by channel, some devices at a time.

Three sets of cells are told apart:

    all     every cell that came, faults and all
    good    those flagged 1 (pass); where nobody evaluated a channel, 2 (not evaluated) counts as good, and it is said
    clean   those no label touches: there, and only there, a sensor gets the coverage it deserves

Promises: memory grows with `CELLS_AT_ONCE`, not with the recording, but for 7 bytes a value where scores or flags are
to be ranked. Faults of sensors and anomalies of the process are scored apart: when one is asked for, cells of the other
are left out. Refuses to know what a pipeline does.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_sim.score import detection
from trueline_sim.score.metrics import NOMINAL, Tally
from trueline_wire.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trueline_sim.score.join import Base, Recording, Spans
    from trueline_sim.score.readings import Cells, ReadingsFiles

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["CELLS_AT_ONCE", "GAP", "SUBSETS", "ChannelScore", "Score", "score"]

CELLS_AT_ONCE: Final = 4_000_000
"""Rows in one piece, about; of values, where each has a row of its own."""

GAP: Final = 10
"""Alarms of one channel at most so many readings apart are one; so long after a fault an alarm is still due to it."""

SUBSETS: Final = ("all", "good", "clean")
_BINS: Final = 120
_CHUNK: Final = 1 << 16
_WORST: Final = 5
_DAY_S: Final = 86_400.0
_NS: Final = 1e9
_BAD: Final = np.zeros(256, np.bool_)
_BAD[[Flag.SUSPECT, Flag.FAIL, Flag.MISSING]] = True
_SEVERITY: Final = np.zeros(256, np.float32)
_SEVERITY[[Flag.SUSPECT, Flag.FAIL, Flag.MISSING]] = (1.0, 2.0, 3.0)


@dataclass(slots=True)
class _Kind:
    """Labels of one kind: how many, with rows, alarmed already before they began, found, and after how long."""

    labels: int = 0
    with_rows: int = 0
    already: int = 0
    delays_s: list[float] = field(default_factory=list)
    delays_readings: list[int] = field(default_factory=list)

    def add(self, other: _Kind) -> None:
        self.labels += other.labels
        self.with_rows += other.with_rows
        self.already += other.already
        self.delays_s += other.delays_s
        self.delays_readings += other.delays_readings

    def result(self) -> dict[str, Any]:
        found = len(self.delays_s)
        middle = {
            "delay_s_median": float(np.median(self.delays_s)) if found else None,
            "delay_s_p90": float(np.quantile(self.delays_s, 0.9)) if found else None,
            "delay_readings_median": float(np.median(self.delays_readings)) if found else None,
        }
        share = found / self.with_rows if self.with_rows else None
        counts = {"labels": self.labels, "with_rows": self.with_rows, "already_alarmed": self.already}
        return {**counts, "detected": found, "share_detected": share, **middle}


@dataclass(slots=True)
class _Ranked:
    """What ranking needs, piece by piece."""

    score: list[NDArray[np.float32]] = field(default_factory=list)
    sensor: list[Mask] = field(default_factory=list)
    process: list[Mask] = field(default_factory=list)
    other: list[Mask] = field(default_factory=list)
    starts: list[NDArray[np.int64]] = field(default_factory=list)
    cells: int = 0

    def result(self) -> dict[str, Any]:
        empty = {"share": None, "ap": None, "vus_pr": None}
        if not self.score:
            return {"sensor_faults": empty, "process_anomalies": empty}
        value = np.concatenate(self.score).astype(np.float64)
        starts = np.concatenate(self.starts)
        sensor, process = np.concatenate(self.sensor), np.concatenate(self.process)
        other = np.concatenate(self.other)
        known = np.isfinite(value)
        return {
            "sensor_faults": _rank(value, sensor, known & ~(other & ~sensor) & (sensor | ~process), starts),
            "process_anomalies": _rank(value, process, known & ~sensor & ~other, starts),
        }


def _rank(value: Array, label: Mask, counted: Mask, starts: NDArray[np.int64]) -> dict[str, Any]:
    label = label & counted
    if not label.any():
        return {"share": 0.0 if counted.any() else None, "ap": None, "vus_pr": None}
    return {
        "share": float(label.sum() / counted.sum()),
        "ap": detection.average_precision(value[counted], label[counted]),
        "vus_pr": detection.vus_pr(value, label, starts, counted=counted),
    }


class ChannelScore:
    """Everything about one channel, added up over pieces.

    Args:
        entry: the manifest's.
        bins: edges of the time bins, (b + 1,) ns.
        names: of the devices.
    """

    def __init__(self, entry: dict[str, Any], bins: NDArray[np.int64], names: list[str]) -> None:
        self.entry, self.bins, self._names = entry, bins, names
        self.tallies = {subset: Tally() for subset in SUBSETS}
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self.ranked = _Ranked()
        self.over_time = {subset: np.zeros((len(bins) - 1, 3)) for subset in ("good", "clean")}
        self.worst: list[dict[str, Any]] = []
        self.judged = False
        self.scored_by = "nothing"

    def add_cells(self, base: Base, values: tuple[Array, Array], cells: Cells, marks: _Marks) -> None:
        """Errors, uncertainties and worst cases; cells aligned with the base."""
        truth, raw = values
        measured = np.isfinite(cells.value) & np.isfinite(truth)
        both = measured & np.isfinite(raw)
        good = (cells.flag == Flag.PASS) | (~np.bool_(self.judged) & (cells.flag == Flag.NOT_EVALUATED))
        u = np.where(np.isnan(cells.u), self.entry["u_declared"], cells.u) if marks.u_of_manifest else cells.u
        subsets = {"all": both, "good": both & good, "clean": both & ~marks.any}
        for start in range(0, len(base), _CHUNK):  # what stays in the processor's cache is counted faster
            for subset, chosen in subsets.items():
                at = start + np.flatnonzero(chosen[start : start + _CHUNK])
                self.tallies[subset].add(truth[at], raw[at], cells.value[at], u[at], base.device[at])
        which = np.clip(np.searchsorted(self.bins, base.time_true_ns, side="right") - 1, 0, len(self.bins) - 2)
        error = cells.value - truth
        for subset, sums in self.over_time.items():
            rows = subsets[subset]
            for column, weights in enumerate((None, error[rows] ** 2, np.nan_to_num(u[rows]) ** 2)):
                sums[:, column] += np.bincount(which[rows], weights=weights, minlength=len(self.bins) - 1)
        rows = subsets["good"]
        self._worst(base, np.flatnonzero(rows), error[rows], u[rows], cells.value[rows], marks)

    def _worst(self, base: Base, rows: NDArray[np.int64], error: Array, u: Array, value: Array, marks: _Marks) -> None:
        """The worst cell of each of the worst devices, by error in units of u where there is one."""
        if not len(rows):
            return
        size = np.abs(error) / np.where((u > 0.0) & np.isfinite(u), u, 1.0)
        device = base.device[rows]
        begin = np.flatnonzero(np.diff(device, prepend=-1))
        peak = np.maximum.reduceat(size, begin)
        for number in np.argsort(-peak, kind="stable")[:_WORST]:
            end = begin[number + 1] if number + 1 < len(begin) else len(rows)
            at = int(begin[number] + np.argmax(size[begin[number] : end]))
            self.worst.append(
                {
                    "device": self._names[int(device[at])],
                    "time_true_ns": int(base.time_true_ns[rows[at]]),
                    "value": float(value[at]),
                    "truth": float(value[at] - error[at]),
                    "u": float(u[at]),
                    "errors_in_u": float(size[at]),
                    "label": marks.label_at(int(rows[at])),
                }
            )
        self.worst = sorted(self.worst, key=lambda case: -case["errors_in_u"])[:_WORST]

    def add_alarms(self, base: Base, cells: Cells, came: Mask, marks: _Marks, interval_s: float) -> Mask:
        """Delays, false alarms and what is ranked; returns the alarms, (n,)."""
        alarm = came & _BAD[cells.flag]
        counts = self.counts
        free = came & ~marks.any
        counts["clean"] += int(free.sum())
        counts["clean_excluded"] += int((free & alarm).sum())
        quiet = came & marks.process & ~marks.sensor & ~marks.rows
        counts["process_cells"] += int(quiet.sum())
        counts["process_excluded"] += int((quiet & alarm).sum())
        faulty = came & marks.sensor
        counts["faulty"] += int(faulty.sum())
        counts["faulty_passed"] += int((faulty & ~alarm & np.isfinite(cells.value)).sum())
        counts["alarms"] += int(alarm.sum())
        _detect(self.kinds, alarm, marks.spans_value, base)
        found = detection.events(alarm, base.device, marks.due_sensor, GAP)
        process = detection.events(alarm, base.device, marks.due_process, GAP)
        counts["events"] += len(found.first)
        counts["events_false"] += int((~found.touches & ~process.touches).sum())
        counts["events_on_process"] += int((~found.touches & process.touches).sum())
        counts["free_ms"] += round(free.sum() * interval_s * 1000)
        if self.scored_by != "nothing":
            rank = cells.score if self.scored_by == "score" else _SEVERITY[cells.flag]
            ranked = self.ranked
            ranked.score.append(np.where(came, rank, np.nan).astype(np.float32))
            ranked.sensor.append(marks.sensor)
            ranked.process.append(marks.process)
            ranked.other.append(marks.rows)
            ranked.starts.append(base.starts + ranked.cells)
            ranked.cells += len(base)
        return alarm

    def result(self) -> dict[str, Any]:
        """The figures of this channel."""
        counts, days = self.counts, self.counts["free_ms"] / 1000.0 / _DAY_S
        return {
            **{key: self.entry[key] for key in ("unit", "sensor", "resolution", "u_declared")},
            "evaluated": self.judged,
            **{subset: tally.result() for subset, tally in self.tallies.items()},
            "reliability": {subset: self.tallies[subset].reliability() for subset in SUBSETS},
            "delivery": {
                "rows_reported": counts["reported"],
                "came": counts["came"],
                "lost": counts["reported"] - counts["came"],
                "duplicates": counts["duplicates"],
                "strangers": counts["strangers"],
                "missing_values": counts["missing_values"],
            },
            "clean_cells": counts["clean"],
            "excluded": {
                "share_wrongly_excluded": _share(counts["clean_excluded"], counts["clean"]),
                "share_of_process_excluded": _share(counts["process_excluded"], counts["process_cells"]),
                "share_of_faulty_passed": _share(counts["faulty_passed"], counts["faulty"]),
            },
            "alarms": {
                "cells": counts["alarms"],
                "events": counts["events"],
                "false": counts["events_false"],
                "on_process": counts["events_on_process"],
                "device_days": days,
                "false_a_day": counts["events_false"] / days if days else None,
            },
            "faults": {kind: self.kinds[kind].result() for kind in sorted(self.kinds)},
            "ranked": {"by": self.scored_by, **self.ranked.result()},
            "worst": self.worst,
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class _Marks:
    """Which cells of a channel the labels touch; all (n,)."""

    sensor: Mask
    rows: Mask
    process: Mask
    any: Mask
    due_sensor: Mask
    due_process: Mask
    spans_value: Spans
    spans: Spans
    u_of_manifest: bool

    def label_at(self, cell: int) -> str:
        """Kinds of the labels at a cell."""
        here = (self.spans.first <= cell) & (cell < self.spans.end)
        return ", ".join(sorted({str(kind) for kind in self.spans.kind[here]}))


def _marks(spans: Spans, channel: str, cells: int, *, u_of_manifest: bool) -> _Marks:
    mine = spans.where((spans.channel == channel) | (spans.channel == ""))
    value = mine.where((mine.channel == channel) & ~mine.is_process)
    rows = mine.where((mine.channel == "") & ~mine.is_process)
    process = mine.where(mine.is_process)
    return _Marks(
        sensor=value.mask(cells),
        rows=rows.mask(cells),
        process=process.mask(cells),
        any=mine.mask(cells),
        due_sensor=value.mask(cells, GAP) | rows.mask(cells, GAP),
        due_process=process.mask(cells, GAP),
        spans_value=value,
        spans=mine,
        u_of_manifest=u_of_manifest,
    )


def _detect(kinds: defaultdict[str, _Kind], alarm: Mask, spans: Spans, base: Base) -> None:
    at = detection.first_alarm(alarm, spans.first, spans.end)
    for number, kind in enumerate(spans.kind):
        entry = kinds[str(kind)]
        entry.labels += 1
        entry.with_rows += int(spans.first[number] < spans.end[number])
        before = int(spans.first[number]) - 1
        same = before >= 0 and base.device[before] == spans.device[number]
        entry.already += int(same and bool(alarm[before]))
        if at[number] >= 0:
            entry.delays_s.append(float(base.time_true_ns[at[number]] - spans.start_ns[number]) / _NS)
            entry.delays_readings.append(int(at[number] - spans.first[number]))


class Score:
    """A scored recording.

    Attributes:
        channels: by name.
        absent: channels of the recording that no reading came of.
        rows_expected: devices times steps.
        rows_reported: rows the recording has, each once; the others were lost before they were reported.
        rows_repeated: rows the recording has twice or more.
        row_faults: labels that touch whole rows, found if any channel raises an alarm.
        anomalies: labels of the process, likewise.
        notes: what a reader has to know.
    """

    def __init__(self, recording: Recording, readings: ReadingsFiles) -> None:
        self.recording, self.readings = recording, readings
        manifest = recording.manifest
        end_ns = manifest["start_ns"] + round(manifest["interval_s"] * _NS * manifest["steps"])
        bins = np.unique(np.linspace(manifest["start_ns"], end_ns, min(_BINS, manifest["steps"]) + 1).astype(np.int64))
        names = list(recording.devices)
        self.channels = {
            name: ChannelScore(entry, bins, names)
            for name, entry in recording.channels.items()
            if name in readings.channels
        }
        self.absent = sorted(set(recording.channels) - set(self.channels))
        self.rows_expected = manifest["devices"] * manifest["steps"]
        self.rows_reported = self.rows_repeated = 0
        self.row_faults: defaultdict[str, _Kind] = defaultdict(_Kind)
        self.anomalies: defaultdict[str, _Kind] = defaultdict(_Kind)
        for name, channel in self.channels.items():
            channel.judged = readings.judged(name)
            channel.scored_by = "score" if readings.has_score(name) else "flag" if channel.judged else "nothing"

    @property
    def notes(self) -> list[str]:
        """What a reader has to know."""
        plain = [name for name, channel in self.channels.items() if not channel.judged]
        told = []
        if plain:
            told.append(f"Nobody evaluated {', '.join(plain)}: flag 2 (not evaluated) counts as good.")
        if any(self.readings.needs_u(name) for name in self.channels):
            told.append("The readings bring no uncertainty: the one the manifest declares (datasheet) is taken.")
        if self.absent:
            told.append(f"No reading came of {', '.join(self.absent)}.")
        if strange := sorted(self.readings.channels - set(self.recording.channels)):
            told.append(f"The recording knows no {', '.join(strange)}: not scored.")
        return told

    def add(self, low: int, high: int, progress: Callable[[str], None]) -> None:
        """Score devices low … high - 1."""
        recording, interval_s = self.recording, self.recording.manifest["interval_s"]
        base = recording.base(low, high)
        if not len(base):
            return
        self.rows_reported += len(base)
        self.rows_repeated += base.repeated
        self.readings.select(low, high)
        spans = recording.spans(base, low, high)
        alarms = np.zeros(len(base), np.bool_)
        last: tuple[Any, Any, Any] = (None, None, None)
        for name, channel in self.channels.items():
            progress(f"devices {low} to {high - 1} of {len(recording.devices)}, {name}")
            cells = self.readings.cells(name)
            if cells is None:
                continue
            # Channels that stand in the same rows are looked for once.
            found = last[2]
            if cells.device is not last[0] or cells.time_ns is not last[1]:
                found = base.find(cells.device, cells.time_ns)
            last = (cells.device, cells.time_ns, found)
            came = found.reading >= 0
            channel.counts["reported"] += len(base)
            channel.counts["came"] += int(came.sum())
            channel.counts["duplicates"] += found.duplicates
            channel.counts["strangers"] += found.strangers
            placed = _placed(cells, found.reading, came)
            channel.counts["missing_values"] += int((came & np.isnan(placed.value)).sum())
            marks = _marks(spans, name, len(base), u_of_manifest=self.readings.needs_u(name))
            channel.add_cells(base, recording.values(base, name), placed, marks)
            alarms |= channel.add_alarms(base, placed, came, marks, interval_s)
        whole = spans.where((spans.channel == "") & ~spans.is_process)
        _detect(self.row_faults, alarms, whole, base)
        _detect(self.anomalies, alarms, spans.where(spans.is_process), base)

    def result(self) -> dict[str, Any]:
        """Everything, for JSON."""
        readings, manifest = self.readings, self.recording.manifest
        return {
            "scenario": manifest["scenario"],
            "seed": manifest["seed"],
            "devices": manifest["devices"],
            "steps": manifest["steps"],
            "interval_s": manifest["interval_s"],
            "versions": manifest["versions"],
            "notes": self.notes,
            "rows": {
                "expected": self.rows_expected,
                "reported": self.rows_reported,
                "lost_before_report": self.rows_expected - self.rows_reported,
                "repeated_by_recording": self.rows_repeated,
            },
            "bytes": {"of": "file", "bytes": readings.bytes, "values": readings.values}
            | {"a_reading": readings.bytes / readings.values if readings.values else None},
            "nominal": list(NOMINAL),
            "channels": {name: channel.result() for name, channel in self.channels.items()},
            "channels_absent": self.absent,
            "sensor_faults": self._sensor_faults(),
            "row_faults": {kind: self.row_faults[kind].result() for kind in sorted(self.row_faults)},
            "process_anomalies": {kind: self.anomalies[kind].result() for kind in sorted(self.anomalies)},
        }

    def _sensor_faults(self) -> dict[str, Any]:
        """Kinds, over all channels."""
        kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        for channel in self.channels.values():
            for kind, entry in channel.kinds.items():
                kinds[kind].add(entry)
        return {kind: kinds[kind].result() for kind in sorted(kinds)}


def _placed(cells: Cells, reading: NDArray[np.int64], came: Mask) -> Cells:
    """Cells in the order of the base; what did not come is NaN, flag 9."""
    if len(reading) == len(cells.value) and bool((reading == np.arange(len(reading))).all()):
        return cells
    columns: list[Any] = []
    arrays: list[Any] = list(cells)
    for column, missing in zip(arrays, (-1, 0, np.nan, np.nan, int(Flag.MISSING), np.nan), strict=True):
        if not len(column):
            columns.append(np.full(len(reading), missing, column.dtype))
            continue
        placed = column[reading]  # -1 takes the last: overwritten below
        placed[~came] = missing
        columns.append(placed)
    return type(cells)(*columns)


def score(
    recording: Recording,
    readings: ReadingsFiles,
    *,
    cells_at_once: int = CELLS_AT_ONCE,
    progress: Callable[[str], None] = lambda _: None,
) -> Score:
    """Score readings against a recording.

    Args:
        recording: what was true.
        readings: what came out.
        cells_at_once: see `CELLS_AT_ONCE`.
        progress: told what is being worked on.
    """
    scored = Score(recording, readings)
    width = len(recording.channels) if "long" in readings.shapes else 1
    for low, high in recording.parts(max(cells_at_once // width, 1)):
        scored.add(low, high, progress)
    return scored
