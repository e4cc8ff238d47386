"""`trueline-edge consistency`: sensors that stood side by side -> a verdict for each, with its reasons and its charts.

Promises: each sensor is corrected by its calibration first, where one is given, and from raw; it is compared with the
reference, or with the median of the others; the report shows every chart. Refuses to judge two sensors without a
reference.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from trueline_edge.calibration.candidates import Data
from trueline_edge.calibration.checking import apply_to
from trueline_edge.calibration.consistency import Examined, Limits, Metrics, examine
from trueline_edge.calibration.file import Calibration, load_calibration
from trueline_edge.calibration.pairing import average_onto
from trueline_edge.csv_table import Table, TableConfig, read_table
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]

__all__ = ["ConsistencyRequest", "check_consistency"]

_HOUR_S = 3600.0


class ConsistencyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for.

    Attributes:
        table: sensors' readings; columns by sensor, and whatever their calibrations read.
        sensors: columns that are judged.
        limits: what is asked of each.
        calibrations: files, each for one of the columns.
        reference: table with one column; the median of the other sensors where left out.
        interval_s: readings are averaged over so long.
        baseline_share: of the time, at the start, that says what is normal.
        report: the HTML report; none where left out.
    """

    table: TableConfig
    sensors: tuple[str, ...]
    limits: Limits
    calibrations: tuple[Path, ...] = ()
    reference: TableConfig | None = None
    interval_s: float = _HOUR_S
    baseline_share: float = 0.3
    report: Path | None = None


def check_consistency(request: ConsistencyRequest) -> list[Metrics]:
    """Judge each sensor, and write the report.

    Raises:
        ConfigError: a file cannot be read or written, or holds too little.
    """
    table = read_table(request.table)
    names = list(request.table.columns)
    width_ns = int(request.interval_s * 1e9)
    first, last = int(table.time_ns.min()) // width_ns, int(table.time_ns.max()) // width_ns
    start_ns = np.arange(first, last + 1) * width_ns
    mean, _ = average_onto(start_ns, width_ns, *_corrected(table, names, request.calibrations), share_min=0.5)
    reference = None
    if request.reference is not None:
        other = read_table(request.reference)
        reference = average_onto(start_ns, width_ns, other.time_ns, other.value, share_min=0.5)[0][:, 0]
    columns = [names.index(sensor) for sensor in request.sensors]
    try:
        found = examine(
            start_ns / 1e9,
            mean[:, columns],
            request.sensors,
            limits=request.limits,
            reference=reference,
            baseline_share=request.baseline_share,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if request.report is not None:
        _report(request, start_ns / 1e9, found)
    return [each.metrics for each in found]


def _corrected(table: Table, names: list[str], paths: tuple[Path, ...]) -> tuple[NDArray[np.int64], F64]:
    """Times and values, calibrated where there is a calibration; each reads raw columns."""
    value = table.value.copy()
    for path in paths:
        calibration: Calibration = load_calibration(path)
        missing = [name for name in (calibration.channel, *calibration.inputs) if name not in names]
        if missing:
            raise ConfigError(f"{path}: reads {missing[0]!r}, which is no column here: {', '.join(names)}")
        raw = {name: table.value[:, names.index(name)] for name in (calibration.channel, *calibration.inputs)}
        data = Data(table.time_ns / 1e9, raw, raw[calibration.channel], calibration.channel)
        value[:, names.index(calibration.channel)] = apply_to(calibration, data).value
    return table.time_ns, value


def _report(request: ConsistencyRequest, time_s: F64, found: list[Examined]) -> None:
    from trueline_edge.calibration.charts_page import consistency_page  # noqa: PLC0415 - draws, and is slow to load

    against = "the reference" if request.reference is not None else "the median of the other sensors"
    text = consistency_page(time_s, found, html.escape(against), request.interval_s)
    try:
        request.report.write_text(text, encoding="utf-8")  # type: ignore[union-attr] # the caller has looked
    except OSError as error:
        raise ConfigError(f"{request.report}: cannot be written: {error.strerror or error}") from error
