"""Readings out of the store, into a file: CSV or Parquet, one row a time, four columns a channel.

    time_ns, <channel>, <channel>.u, <channel>.flag, <channel>.reason, ...

Promises: values come out bit for bit (CSV writes the shortest decimal that reads back equal; a NaN is an empty field),
rows in order of time, a row that was stored twice appears twice and is counted. The file appears under its name when it
is whole. Refuses to know SQL.
"""

from __future__ import annotations

import csv
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import numpy as np

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_wire.readings import Readings, Schema

__all__ = ["ExportSummary", "export"]

_COLUMNS: Final = ("", ".u", ".flag", ".reason")
_ROWS_AT_ONCE: Final = 50_000


class ExportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What went into the file.

    Attributes:
        device: its id.
        stream: its name.
        file: where it is.
        rows: rows written.
        values: rows times channels.
        duplicates: rows beyond the first of each set of rows that are equal in every column.
        frames: stored frames they came from.
        time_first_ns: time of the first row, ns since 1970; None if there is none.
        time_last_ns: time of the last row.
    """

    device: str
    stream: str
    file: str
    rows: int
    values: int
    duplicates: int
    frames: int
    time_first_ns: int | None
    time_last_ns: int | None


class _Writer(Protocol):
    def write(self, columns: dict[str, NDArray[Any]]) -> None: ...

    def close(self) -> None: ...


def export(
    batches: Iterable[Readings],
    schema: Schema,
    out: Path,
    progress: Callable[[int], None] = lambda _rows: None,
) -> ExportSummary:
    """Write batches, which come in order of their first time, to a file; its name's ending says which kind.

    Raises:
        ConfigError: the ending is neither .csv nor .parquet, or the file cannot be written.
    """
    temporary = out.with_name(out.name + ".part")
    names = ["time_ns", *(channel.name + column for channel in schema.channels for column in _COLUMNS)]
    rows = duplicates = frames = 0
    first: int | None = None
    last: int | None = None
    try:
        with closing(_open(out, temporary, names, schema)) as writer:
            for columns, count in _in_order(batches, names, schema):
                frames += count
                times = columns["time_ns"]
                duplicates += _repeated(columns)
                rows += len(times)
                first = int(times[0]) if first is None else first
                last = int(times[-1])
                writer.write(columns)
                progress(rows)
        temporary.replace(out)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return ExportSummary(
        device=schema.device,
        stream=schema.stream,
        file=str(out),
        rows=rows,
        values=rows * len(schema.channels),
        duplicates=duplicates,
        frames=frames,
        time_first_ns=first,
        time_last_ns=last,
    )


def _in_order(
    batches: Iterable[Readings], names: list[str], schema: Schema
) -> Iterator[tuple[dict[str, NDArray[Any]], int]]:
    """Chunks sorted by time, and the batches that came into each. Batches overlap in time only with near ones.

    Batches come by first time, so whatever is older than the newest batch's first time is complete.
    """
    held: list[dict[str, NDArray[Any]]] = []
    held_rows = frames = 0
    for batch in batches:
        floor = int(batch.time_ns.min())
        if held_rows >= _ROWS_AT_ONCE:
            ready, rest = _split(_joined(held, names), floor)
            held, held_rows = [rest], len(rest["time_ns"])
            if len(ready["time_ns"]):
                yield ready, frames
                frames = 0
        held.append(_columns(batch, schema))
        held_rows += len(batch)
        frames += 1
    if held_rows:
        yield _joined(held, names), frames


def _columns(batch: Readings, schema: Schema) -> dict[str, NDArray[Any]]:
    """A batch under the newest schema's channels, by name; what it did not have is missing."""
    columns: dict[str, NDArray[Any]] = {"time_ns": batch.time_ns}
    here = {channel.name: position for position, channel in enumerate(batch.schema.channels)}
    rows = len(batch)
    for channel in schema.channels:
        name, at = channel.name, here.get(channel.name)
        columns[name] = np.full(rows, np.nan) if at is None else batch.value[:, at]
        columns[name + ".u"] = np.full(rows, np.nan, np.float32) if at is None else batch.u[:, at]
        columns[name + ".flag"] = np.full(rows, 9, np.uint8) if at is None else batch.flag[:, at]
        columns[name + ".reason"] = np.zeros(rows, np.uint32) if at is None else batch.reason[:, at]
    return columns


def _joined(held: list[dict[str, NDArray[Any]]], names: list[str]) -> dict[str, NDArray[Any]]:
    joined = {name: np.concatenate([columns[name] for columns in held]) for name in names}
    times = joined["time_ns"]
    if len(times) > 1 and (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        joined = {name: column[order] for name, column in joined.items()}
    return joined


def _split(columns: dict[str, NDArray[Any]], floor: int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    cut = int(np.searchsorted(columns["time_ns"], floor))
    return {n: c[:cut] for n, c in columns.items()}, {n: c[cut:] for n, c in columns.items()}


def _repeated(columns: dict[str, NDArray[Any]]) -> int:
    """Rows beyond the first of each set of rows that are equal in every column, bit for bit."""
    times = columns["time_ns"]
    same = times[1:] == times[:-1]
    if not same.any():
        return 0
    involved = np.append(same, False) | np.append(False, same)
    rows = np.rec.fromarrays([column[involved] for column in columns.values()])
    size, packed = rows.dtype.itemsize, rows.tobytes()
    return len(rows) - len({packed[at : at + size] for at in range(0, len(packed), size)})


def _open(out: Path, temporary: Path, names: list[str], schema: Schema) -> _Writer:
    if out.suffix == ".csv":
        return _CsvWriter(temporary, names)
    if out.suffix == ".parquet":
        return _ParquetWriter(temporary, schema)
    raise ConfigError(f"{out}: the ending says what is written: .csv or .parquet")


class _CsvWriter:
    def __init__(self, path: Path, names: list[str]) -> None:
        self._file = path.open("w", newline="")
        self._csv = csv.writer(self._file)
        self._csv.writerow(names)

    def write(self, columns: dict[str, NDArray[Any]]) -> None:
        self._csv.writerows(zip(*(_texts(column) for column in columns.values()), strict=True))

    def close(self) -> None:
        self._file.close()


def _texts(column: NDArray[Any]) -> list[Any]:
    if column.dtype.kind != "f":
        return column.tolist()  # type: ignore[no-any-return]
    # float32 is written as itself, not as the double it is close to.
    items = column.tolist() if column.dtype == np.float64 else [str(item) for item in column]
    return [None if missing else item for item, missing in zip(items, np.isnan(column).tolist(), strict=True)]


class _ParquetWriter:
    def __init__(self, path: Path, schema: Schema) -> None:
        import pyarrow as pa  # noqa: PLC0415 - slow to import, and CSV does not need it
        from pyarrow import parquet  # noqa: PLC0415

        self._pa = pa
        fields = [pa.field("time_ns", pa.int64(), metadata={"unit": "ns since 1970, UTC"})]
        for channel in schema.channels:
            unit = {"unit": channel.unit}
            fields += [pa.field(channel.name, pa.float64(), metadata=unit)]
            fields += [pa.field(channel.name + ".u", pa.float32(), metadata=unit)]
            fields += [pa.field(channel.name + ".flag", pa.uint8()), pa.field(channel.name + ".reason", pa.uint32())]
        self._schema = pa.schema(fields, metadata={"device": schema.device, "stream": schema.stream})
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, columns: dict[str, NDArray[Any]]) -> None:
        self._writer.write_table(self._pa.table([self._pa.array(c) for c in columns.values()], schema=self._schema))

    def close(self) -> None:
        self._writer.close()
