"""Recordings to learn from: a folder of CSV or Parquet files, or a stream out of the store.

Promises: what may train is said in one place, here:

    flag               trains
    1 PASS             yes
    2 NOT_EVALUATED    yes
    3 SUSPECT          no: what looks wrong must not become normal
    4 FAIL             no
    9 MISSING          no
    NaN, infinite      no

What does not train is marked not valid, never filled in. A row labelled as anomalous does not train either, and a
column of labels is never a channel. Files come in order of their first row. Refuses to know what is learnt from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_model.series import Series
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Flag, Readings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["LABELS", "Recording", "read_folder", "read_readings"]

LABELS: Final = ("anomaly", "is_anomaly", "label", "changepoint", "outlier", "event")
"""Columns that are never channels, whatever else is asked for."""

_TIMES: Final = ("time_ns", "time", "timestamp", "datetime", "date")
_BESIDE: Final = (".u", ".flag", ".reason")
_CLEAN: Final = (Flag.PASS, Flag.NOT_EVALUATED)
_INTERVALS_A_BREAK: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Rows of one file or one stream, without a break that matters.

    Attributes:
        name: where it came from.
        series: what trains is valid in it.
        units: UCUM, by channel.
        anomalous: (n,) bool, what the labels say; None where there are none.
    """

    name: str
    series: Series
    units: tuple[str, ...]
    anomalous: NDArray[np.bool_] | None = None


def read_folder(
    place: Path, *, channels: Sequence[str] | None = None, labels: str | None = None, interval_s: float = 1.0
) -> list[Recording]:
    """The recordings of a file, or of all `.csv` and `.parquet` files below a folder.

    A column of times is called time_ns, time, timestamp, datetime or date; without one, rows are `interval_s` apart.
    Columns CHANNEL.u, CHANNEL.flag and CHANNEL.reason are read as `trueline-cloud export` writes them, and so is the
    unit that a Parquet column carries; one that carries none, and every column of a CSV file, is in "1".

    Args:
        place: a file or a folder.
        channels: columns to learn from; left out: every column of numbers that is no time and no label.
        labels: column that is not 0 where a row is anomalous.
        interval_s: of rows, in files without times.

    Raises:
        ConfigError: no file, one that cannot be read, or files whose channels differ.
    """
    files = [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.suffix in {".csv", ".parquet"})
    if not files:
        raise ConfigError(f"{place}: no .csv or .parquet file is there")
    found = [
        part
        for file in files
        for part in _parts(
            str(file.relative_to(place)) if file != place else file.name, file, channels, labels, interval_s
        )
    ]
    for each in found:
        if each.series.channels != found[0].series.channels:
            raise ConfigError(
                f"{place}: {each.name} has the channels {', '.join(each.series.channels)}, {found[0].name} has "
                f"{', '.join(found[0].series.channels)}: name those all files have with --channels"
            )
    return sorted(found, key=lambda each: int(each.series.time_ns[0]))


def read_readings(name: str, batches: Iterable[Readings], channels: Sequence[str] | None = None) -> list[Recording]:
    """The recordings in batches of one stream, as the store gives them.

    Args:
        name: of the stream.
        batches: in order of their first times, of one schema.
        channels: those to learn from; left out: all.

    Raises:
        ConfigError: there is nothing, or a channel is not there.
    """
    whole = list(batches)
    if not whole:
        raise ConfigError(f"{name}: no reading is stored in that time")
    if any(batch.schema.channels != whole[0].schema.channels for batch in whole):
        raise ConfigError(f"{name}: its channels changed in that time; name a shorter one with --from and --to")
    readings = Readings.concatenate(whole)
    have = [channel.name for channel in readings.schema.channels]
    wanted = _wanted(name, have, channels)
    at = [have.index(each) for each in wanted]
    valid = np.isin(readings.flag[:, at], _CLEAN)
    units = tuple(readings.schema.channels[j].unit for j in at)
    return _unbroken(name, readings.time_ns, readings.value[:, at], valid, wanted, units, None)


def _parts(
    name: str, file: Path, channels: Sequence[str] | None, labels: str | None, interval_s: float
) -> list[Recording]:
    table = _read(file)
    columns = table.column_names
    if labels is not None and labels not in columns:
        raise ConfigError(f"{file}: no column is called {labels!r}; it has: {', '.join(columns)}")
    time = next((column for column in columns if column.lower() in _TIMES), None)
    aside = {time, labels, *(c for c in columns if c.lower() in LABELS or c.endswith(_BESIDE))}
    have = [c for c in columns if c not in aside and _is_number(table.schema.field(c).type)]
    wanted = _wanted(str(file), have, channels)
    value = np.column_stack([_numbers(table, c) for c in wanted])
    valid = np.isfinite(value)
    for j, column in enumerate(wanted):
        if f"{column}.flag" in columns:
            valid[:, j] &= np.isin(_numbers(table, f"{column}.flag"), _CLEAN)
    times = np.arange(len(value)) * round(interval_s * 1e9) if time is None else _times(file, table, time)
    anomalous = None if labels is None else _numbers(table, labels) > 0
    if anomalous is not None:
        valid &= ~anomalous[:, None]
    return _unbroken(name, times, value, valid, wanted, tuple(_unit(table.schema.field(c)) for c in wanted), anomalous)


def _wanted(place: str, have: Sequence[str], channels: Sequence[str] | None) -> tuple[str, ...]:
    for channel in channels or ():
        if channel not in have:
            raise ConfigError(f"{place}: no channel is called {channel!r}; there are: {', '.join(have) or 'none'}")
    if not have:
        raise ConfigError(f"{place}: no column holds numbers")
    return tuple(channels or have)


def _unbroken(
    name: str,
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    valid: NDArray[np.bool_],
    channels: tuple[str, ...],
    units: tuple[str, ...],
    anomalous: NDArray[np.bool_] | None,
) -> list[Recording]:
    """In order of time, cut where ten rows or more are not there."""
    order = np.argsort(time_ns, kind="stable")
    time_ns, value, valid = time_ns[order], value[order], valid[order] & np.isfinite(value[order])
    anomalous = None if anomalous is None else anomalous[order]
    steps = np.diff(time_ns)
    usual = np.median(steps) if len(steps) else 0
    cuts = (
        [0, *(np.flatnonzero(steps > _INTERVALS_A_BREAK * usual) + 1).tolist(), len(time_ns)]
        if usual
        else [0, len(time_ns)]
    )
    return [
        Recording(
            name if len(cuts) == 2 else f"{name}#{number}",  # noqa: PLR2004 - one part
            Series(time_ns[a:b], value[a:b], valid[a:b], channels),
            units,
            None if anomalous is None else anomalous[a:b],
        )
        for number, (a, b) in enumerate(pairwise(cuts), 1)
        if b > a
    ]


def _read(file: Path) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - a training from arrays does without
    from pyarrow import csv, parquet  # noqa: PLC0415

    try:
        if file.suffix == ".parquet":
            return parquet.read_table(file)
        with file.open("rb") as stream:
            head = stream.readline()
        delimiter = max(b",;\t", key=head.count)
        return csv.read_csv(file, parse_options=csv.ParseOptions(delimiter=chr(delimiter)))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _unit(column: pa.Field) -> str:
    """UCUM, as `trueline-cloud export` writes it beside a Parquet column."""
    unit: bytes = (column.metadata or {}).get(b"unit", b"1")
    return unit.decode()


def _is_number(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _numbers(table: pa.Table, column: str) -> NDArray[np.float64]:
    return np.asarray(table[column].to_numpy(zero_copy_only=False), np.float64)


def _times(file: Path, table: pa.Table, column: str) -> NDArray[np.int64]:
    import pyarrow as pa  # noqa: PLC0415

    cells = table[column]
    if pa.types.is_integer(cells.type):
        return np.asarray(cells.to_numpy(), np.int64)
    try:
        return np.asarray(cells.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"{file}: column {column!r} holds no times: {error}") from error
