"""`trueline-edge replay`: the stages of a configuration over a recorded file, so that they are tuned at a desk.

Promises: the same source and the same stages as on the device; one line out for each value in, in the order of the
file; the result appears under its name only when it is complete. Refuses to need a device, a link or a state folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import numpy as np

from trueline_edge.pipeline import Pipeline
from trueline_edge.sources import JoinConfig, ReplayConfig, SimulatedConfig
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trueline_edge.config import AgentConfig, StreamConfig
    from trueline_edge.sources import SourceConfig

__all__ = ["COLUMNS", "Summary", "choose_stream", "replay_file"]

COLUMNS: Final = ("time_ns", "stream", "channel", "value", "u", "flag", "reason")
"""One line for each value: UTC nanoseconds, names, the value and its standard uncertainty, QARTOD flag, reason bits."""

_ROWS_MAX: Final = 4096
_PROGRESS_S: Final = 1.0


class Summary(msgspec.Struct, kw_only=True):
    """What a replay found.

    Attributes:
        stream: whose stages ran.
        out: the file written.
        rows: rows that came out of the stages.
        insignificant: rows that a stage left out.
        values: values written.
        lost: rows that could not be read, by reason.
        flags: values by channel and flag ("pass", "suspect", ...).
        reasons: values by channel and reason ("gross_range", ...); a value may have several.
    """

    stream: str
    out: str
    rows: int = 0
    insignificant: int = 0
    values: int = 0
    lost: dict[str, int] = msgspec.field(default_factory=dict)
    flags: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)

    def add(self, readings: Readings) -> None:
        """Count some readings."""
        self.rows += len(readings)
        self.values += readings.value.size
        for k, channel in enumerate(readings.schema.channels):
            flags = self.flags.setdefault(channel.name, {})
            for flag, count in zip(*np.unique(readings.flag[:, k], return_counts=True), strict=True):
                name = Flag(flag).name.lower()
                flags[name] = flags.get(name, 0) + int(count)
            reasons = self.reasons.setdefault(channel.name, {})
            for reason in Reason:
                if count := int(np.count_nonzero(readings.reason[:, k] & np.uint32(reason))):
                    name = (reason.name or "").lower()
                    reasons[name] = reasons.get(name, 0) + count


def choose_stream(config: AgentConfig, name: str | None) -> StreamConfig:
    """The stream to replay: the one named, else the only one, else the only one that replays a file.

    Raises:
        ConfigError: there is none, or more than one.
    """
    named = [stream for stream in config.streams if stream.name == name]
    replays = [stream for stream in config.streams if isinstance(stream.source, ReplayConfig)]
    for choice in (named,) if name is not None else (config.streams, replays):
        if len(choice) == 1:
            return choice[0]
    names = ", ".join(stream.name for stream in config.streams)
    wanted = f"there is no stream {name!r}" if name else "more than one stream: name one with --stream"
    raise ConfigError(f"{wanted}; streams here: {names}")


def _at_desk(stream: StreamConfig, path: Path | None) -> SourceConfig:
    """The source of a stream, as fast as it can be read; or a file in its place."""
    source = stream.source
    match source:
        case JoinConfig() if path is not None:
            raise ConfigError(f"stream {stream.name!r} joins {len(source.inputs)} inputs: leave the file out")
        case _ if path is not None:
            replay = source if isinstance(source, ReplayConfig) else ReplayConfig(path=path)
            return msgspec.structs.replace(replay, path=path, paths=(), speed="flat_out")
        case ReplayConfig():
            return msgspec.structs.replace(source, speed="flat_out")
        case JoinConfig() if all(_ends(each.source) for each in source.inputs):
            return source.flat_out()
        case SimulatedConfig() if _ends(source):
            return msgspec.structs.replace(source, flat_out=True)
    raise ConfigError(f"stream {stream.name!r} has a source that does not end: name a recorded file")


def _ends(source: SourceConfig) -> bool:
    return isinstance(source, ReplayConfig) or (isinstance(source, SimulatedConfig) and source.rows is not None)


def replay_file(config: AgentConfig, stream: StreamConfig, path: Path | None, out: Path) -> Summary:
    """Run the stages of a stream over a CSV file, or over what its source gives.

    Args:
        config: for the device's name.
        stream: whose channels and stages; where its source is a replay, whose columns and time format too.
        path: the CSV file; None for the stream's own source, which has to end.
        out: Parquet where the name ends so, CSV otherwise.

    Raises:
        ConfigError: a file cannot be read or written, or has other columns than the configuration says.
    """
    schema = stream.schema(config.device)
    opened = _at_desk(stream, path).open(schema, stream.channels, rows_max=_ROWS_MAX)
    pipeline = Pipeline(stream.stages, schema)
    summary = Summary(stream=stream.name, out=str(out))

    async def run(writer: _Writer) -> None:
        lost: Counter[str] = Counter()
        progress = _Progress(path or out)
        async for batch in opened.batches():
            lost.update(batch.lost)
            judged = pipeline(batch.readings)
            summary.add(judged)
            writer.write(judged)
            progress.show(summary.rows)
        for rest in pipeline.flush():
            summary.add(rest)
            writer.write(rest)
        summary.lost, summary.insignificant = dict(lost), pipeline.insignificant

    with _complete_or_absent(out) as part, _writer(part, parquet=out.suffix == ".parquet") as writer:
        asyncio.run(run(writer))
    return summary


class _Writer(Protocol):
    def write(self, readings: Readings) -> None: ...


@contextlib.contextmanager
def _complete_or_absent(out: Path) -> Iterator[Path]:
    """A name to write under; the file takes its own name once it is complete."""
    part = out.with_name(out.name + ".part")
    try:
        yield part
        part.replace(out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _writer(path: Path, *, parquet: bool) -> Iterator[_Writer]:
    if parquet:
        writer = _ParquetWriter(path)
        try:
            yield writer
        finally:
            writer.close()
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            yield _CsvWriter(file)


class _CsvWriter:
    """Numbers as short as they can be and still be the same when read back; nothing for NaN."""

    def __init__(self, file: Any) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)

    def write(self, readings: Readings) -> None:
        names = [channel.name for channel in readings.schema.channels]
        stream = readings.schema.stream
        columns = (readings.value, readings.u, readings.flag, readings.reason)
        for time_ns, value, u, flag, reason in zip(
            readings.time_ns.tolist(),
            readings.value.tolist(),
            readings.u,
            *(c.tolist() for c in columns[2:]),
            strict=True,
        ):
            for k, name in enumerate(names):
                self._rows.writerow((time_ns, stream, name, _text(value[k]), _text(u[k]), flag[k], reason[k]))


def _text(number: float | np.float32) -> str:
    return "" if number != number else str(number)  # noqa: PLR0124 - NaN alone differs


class _ParquetWriter:
    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - the agent never loads it: it is large
            import pyarrow.parquet as pq  # noqa: PLC0415 - as above
        except ImportError as error:
            raise ConfigError('Parquet needs pyarrow: pip install "trueline[edge]", or write to a .csv') from error
        names = pa.dictionary(pa.int32(), pa.string())
        types = (pa.int64(), names, names, pa.float64(), pa.float32(), pa.uint8(), pa.uint32())
        self._pa = pa
        self._schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, readings: Readings) -> None:
        pa, (n, k) = self._pa, readings.value.shape
        if not n:
            return
        channels = pa.array([channel.name for channel in readings.schema.channels])
        which = pa.array(np.tile(np.arange(k, dtype=np.int32), n))
        stream = pa.array([readings.schema.stream])
        columns = [
            pa.array(np.repeat(readings.time_ns, k)),
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(n * k, np.int32)), stream),
            pa.DictionaryArray.from_arrays(which, channels),
            *(pa.array(column.ravel()) for column in (readings.value, readings.u, readings.flag, readings.reason)),
        ]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._file.close()


class _Progress:
    """A line on stderr that counts up, where a person is watching."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next_s = time.monotonic() + _PROGRESS_S

    def show(self, rows: int) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _PROGRESS_S
            print(f"{self._path}: {rows:,} rows", file=sys.stderr, flush=True)  # noqa: T201 - progress for a person
