"""Readings as they come out of a pipeline, whatever wrote them.

Three shapes are known by their columns; `device` may stand in any of them, and `score` beside each value:

    recording   device, row, time_ns, value:NAME [u:NAME] [flag:NAME] [score:NAME]     trueline-sim record
    long        time_ns, stream, channel, value, u, flag, reason [score]               trueline-edge replay
    wide        time_ns, NAME, NAME.u, NAME.flag, NAME.reason [NAME.score]             trueline-cloud export

Promises: values as they are in the file; what a shape does not have is told, not made up: u NaN, flag 2 (not
evaluated), score NaN. Refuses to know the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from trueline_sim.score.columns import Columns
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Cells", "ReadingsFiles", "open_readings"]

_JUDGED: Final = (int(Flag.PASS), int(Flag.SUSPECT), int(Flag.FAIL))


class Cells(NamedTuple):
    """One channel of some devices; all (m,), in the order of the file.

    Attributes:
        device: number of the device.
        time_ns: as stamped.
        value: NaN where nothing was measured.
        u: standard uncertainty, NaN where none came.
        flag: QARTOD.
        score: NaN where none came.
    """

    device: NDArray[np.int32]
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    u: NDArray[np.float64]
    flag: NDArray[np.uint8]
    score: NDArray[np.float64]


class _File(Protocol):
    columns: Columns
    channels: list[str]
    has_score: bool

    def select(self, low: int, high: int) -> None: ...

    def cells(self, channel: str) -> Cells: ...

    def judged(self, channel: str) -> bool: ...

    def needs_u(self, channel: str) -> bool: ...


class ReadingsFiles:
    """All files of readings together.

    Attributes:
        bytes: of the files.
        values: in the files: rows times channels, missing ones too.
        shapes: which kinds there are.
    """

    def __init__(self, files: Sequence[_File], shapes: Sequence[str]) -> None:
        self._files = files
        self.shapes = sorted(set(shapes))
        self.bytes = sum(file.columns.bytes for file in files)
        self.values = sum(_values(file) for file in files)
        self._judged: dict[str, bool] = {}

    @property
    def channels(self) -> set[str]:
        """All that occur."""
        return {channel for file in self._files for channel in file.channels}

    def has_score(self, channel: str) -> bool:
        """Whether a score comes with it."""
        return any(file.has_score for file in self._files if channel in file.channels)

    def needs_u(self, channel: str) -> bool:
        """Whether a recording's own readings bring no uncertainty: those of the manifest are meant."""
        return any(file.needs_u(channel) for file in self._files if channel in file.channels)

    def judged(self, channel: str) -> bool:
        """Whether anybody evaluated this channel: some cell is flagged 1, 3 or 4."""
        if channel not in self._judged:
            self._judged[channel] = any(file.judged(channel) for file in self._files if channel in file.channels)
        return self._judged[channel]

    def select(self, low: int, high: int) -> None:
        """From now on, devices low … high - 1 only."""
        for file in self._files:
            file.select(low, high)

    def cells(self, channel: str) -> Cells | None:
        """A channel of the devices selected, files end to end; None: no file has it."""
        parts = [file.cells(channel) for file in self._files if channel in file.channels]
        if len(parts) <= 1:
            return parts[0] if parts else None
        return Cells(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def open_readings(paths: Sequence[Path], devices: Mapping[str, int], device: str | None = None) -> ReadingsFiles:
    """Look at the files' columns.

    Args:
        paths: Parquet or CSV.
        devices: name to number.
        device: of files that name none.

    Raises:
        ConfigError: a file is not there or has another shape, or it is not known whose it is.
    """
    files: list[_File] = []
    shapes = []
    for path in paths:
        columns = Columns(path)
        if {"time_ns", "channel", "value"} <= set(columns.names):
            files.append(_Long(columns, devices, device))
            shapes.append("long")
        elif "time_ns" in columns.names:
            files.append(_Wide(columns, devices, device))
            shapes.append("recording" if any(name.startswith("value:") for name in columns.names) else "wide")
        else:
            raise ConfigError(f"{path}: no column time_ns among {', '.join(columns.names[:8])}")
        if not files[-1].channels:
            raise ConfigError(f"{path}: no channel among {', '.join(columns.names[:8])}")
    return ReadingsFiles(files, shapes)


def _values(file: _File) -> int:
    return file.columns.rows * (len(file.channels) if isinstance(file, _Wide) else 1)


def _owners(columns: Columns, devices: Mapping[str, int], device: str | None) -> NDArray[np.int32]:
    """(rows,) number of the device of each row."""
    for name in ("device", "stream"):
        if name in columns.names:
            codes = columns.codes(name, devices)
            if name == "device" or (codes >= 0).any():
                return codes
    only = device or columns.metadata.get("device") or (next(iter(devices)) if len(devices) == 1 else None)
    if only is None or only not in devices:
        raise ConfigError(f"{columns.path}: whose readings are these? Name the device with --device (it is {only!r})")
    return np.full(columns.rows, devices[only], np.int32)


class _Wide:
    """A row a time, some columns a channel."""

    def __init__(self, columns: Columns, devices: Mapping[str, int], device: str | None) -> None:
        self.columns = columns
        recording = [name.removeprefix("value:") for name in columns.names if name.startswith("value:")]
        self._forms = (
            {"value": "value:{}", "u": "u:{}", "flag": "flag:{}", "score": "score:{}"}
            if recording
            else {"value": "{}", "u": "{}.u", "flag": "{}.flag", "score": "{}.score"}
        )
        plain = [name.removesuffix(".flag") for name in columns.names if name.endswith(".flag")]
        self.channels = recording or [name for name in plain if name in columns.names]
        self.has_score = any(self._name("score", channel) in columns.names for channel in self.channels)
        self._devices, self._device = devices, device
        self._rows: NDArray[np.bool_] | None = None
        self._owner, self._time = np.zeros(0, np.int32), np.zeros(0, np.int64)

    def _name(self, what: str, channel: str) -> str:
        return self._forms[what].format(channel)

    def judged(self, channel: str) -> bool:
        name = self._name("flag", channel)
        return name in self.columns.names and self.columns.holds(name, _JUDGED)

    def needs_u(self, channel: str) -> bool:
        return self._forms["u"] == "u:{}" and self._name("u", channel) not in self.columns.names

    def select(self, low: int, high: int) -> None:
        owner = _owners(self.columns, self._devices, self._device)
        rows = (owner >= low) & (owner < high)
        self._rows = None if rows.all() else rows
        self._owner = owner if self._rows is None else owner[rows]
        self._time = self.columns.numbers("time_ns", np.int64, self._rows)

    def cells(self, channel: str) -> Cells:
        return Cells(
            self._owner,
            self._time,
            self._column("value", channel, np.float64, np.nan),
            self._column("u", channel, np.float64, np.nan),
            self._column("flag", channel, np.uint8, int(Flag.NOT_EVALUATED)),
            self._column("score", channel, np.float64, np.nan),
        )

    def _column(self, what: str, channel: str, dtype: type[np.generic], missing: float) -> NDArray[Any]:
        name = self._name(what, channel)
        if name not in self.columns.names:
            return np.full(len(self._time), missing, dtype)
        return self.columns.numbers(name, dtype, self._rows)


class _Long:
    """A row a value."""

    def __init__(self, columns: Columns, devices: Mapping[str, int], device: str | None) -> None:
        self.columns = columns
        self.channels = columns.values("channel")
        self.has_score = "score" in columns.names
        self._devices, self._device = devices, device
        self._code = {name: number for number, name in enumerate(self.channels)}
        self._all: Cells | None = None
        self._bounds = np.zeros(len(self.channels) + 1, np.int64)

    def judged(self, channel: str) -> bool:  # noqa: ARG002 - the flags of a file are looked at together
        return "flag" in self.columns.names and self.columns.holds("flag", _JUDGED)

    def needs_u(self, channel: str) -> bool:  # noqa: ARG002 - a file like this always says what it knows
        return False

    def select(self, low: int, high: int) -> None:
        owner = _owners(self.columns, self._devices, self._device)
        rows = (owner >= low) & (owner < high)
        code = self.columns.codes("channel", self._code)[rows]
        order = np.argsort(code, kind="stable")
        self._bounds = np.searchsorted(code[order], np.arange(len(self.channels) + 1))
        missing: dict[str, tuple[type[np.generic], float]] = {
            "u": (np.float64, np.nan),
            "flag": (np.uint8, int(Flag.NOT_EVALUATED)),
            "score": (np.float64, np.nan),
        }
        optional = [
            self.columns.numbers(name, dtype, rows)[order]
            if name in self.columns.names
            else np.full(len(order), fill, dtype)
            for name, (dtype, fill) in missing.items()
        ]
        self._all = Cells(
            owner[rows][order],
            self.columns.numbers("time_ns", np.int64, rows)[order],
            self.columns.numbers("value", np.float64, rows)[order],
            *optional,
        )

    def cells(self, channel: str) -> Cells:
        if self._all is None:
            raise RuntimeError("select devices first")
        number = self._code[channel]
        part = slice(self._bounds[number], self._bounds[number + 1])
        columns: list[Any] = [column[part] for column in self._all]
        return Cells(*columns)
