"""A recorded CSV file as one table, for the commands that work at a desk: read as the `replay` source reads it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from trueline_edge.sources import ChannelConfig, ReplayConfig
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Table", "TableConfig", "parse_columns", "parse_options", "read_table"]

_ROWS_MAX = 4096
_NUMBERS = {"skip_lines"}


class TableConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which file, which columns, and how it is written.

    Attributes:
        path: CSV.
        columns: of the table, by name: the column in the file.
        options: of the `replay` source, such as time_column, time_format, zone, separator, skip_lines, missing.
    """

    path: Path
    columns: dict[str, str]
    options: dict[str, Any] = {}


class Table(NamedTuple):
    """A file that was read, in its order."""

    time_ns: NDArray[np.int64]
    """(n,) UTC."""
    value: NDArray[np.float64]
    """(n, k) NaN where nothing was measured."""


def parse_columns(texts: Sequence[str]) -> dict[str, str]:
    """Columns from "name=column in the file", or "name" where both are the same.

    Raises:
        ConfigError: a name stands twice.
    """
    columns: dict[str, str] = {}
    for text in texts:
        name, _, column = text.partition("=")
        if name in columns:
            raise ConfigError(f"{name!r} names two columns")
        columns[name] = column or name
    return columns


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options from "key=value"; several values of one key make a list.

    Raises:
        ConfigError: one has no "=".
    """
    options: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"{text!r}: write key=value, such as time_format=%d/%m/%Y")
        if key in {"missing", "time_column"}:
            options.setdefault(key, []).append(value)
        else:
            options[key] = (
                int(value) if key in _NUMBERS and value.isdigit() else value == "true" if key == "header" else value
            )
    return options


def read_table(config: TableConfig) -> Table:
    """Read all of it.

    Raises:
        ConfigError: it cannot be read so, or has no row.
    """
    options = {"path": str(config.path), "speed": "flat_out"} | config.options
    try:
        replay = msgspec.convert(options, ReplayConfig, dec_hook=lambda type_, value: type_(value))
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{config.path}: {error}") from error
    channels = [ChannelConfig(name=name, column=column) for name, column in config.columns.items()]
    schema = Schema(device="desk", stream="table", channels=tuple(Channel(name=c.name) for c in channels))
    source = replay.open(schema, channels, rows_max=_ROWS_MAX)

    async def read() -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        return [(batch.readings.time_ns, batch.readings.value) async for batch in source.batches()]

    batches = asyncio.run(read())
    if not sum(len(times) for times, _ in batches):
        raise ConfigError(f"{config.path}: no row could be read")
    return Table(np.concatenate([t for t, _ in batches]), np.concatenate([v for _, v in batches]))
