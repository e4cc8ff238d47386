"""Summing up: readings to steps of time, steps to longer steps. Arrays only; has never heard of a table.

Promises: summing up in pieces and merging gives what summing up at once gives (sums to rounding, the rest exactly).
Which flags count is written down in `store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_wire.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_wire.readings import Readings

__all__ = ["RECORD", "Records", "group", "merge", "summarise", "summarise_all"]

RECORD: Final = np.dtype(
    [
        ("sum", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("u2", "<f8"),  # sum of squares of the stated standard uncertainties
        ("count", "<u4"),
        ("count_u", "<u4"),  # readings behind u2
        ("flag", "u1"),
    ]
)
"""One channel in one step, as stored: 41 bytes. min = +inf and max = -inf where count is 0."""

Records = np.ndarray[Any, np.dtype[np.void]]
"""(m, k) of `RECORD`: k channels in m steps."""

# The worst wins, as in `trueline_wire.readings.worst_flag` (a test holds the two together). Indexed by flag.
_SEVERITY: Final = np.zeros(256, np.uint8)
_SEVERITY[[Flag.NOT_EVALUATED, Flag.PASS, Flag.SUSPECT, Flag.FAIL, Flag.MISSING]] = range(1, 6)
_FLAG: Final = np.array([0, Flag.NOT_EVALUATED, Flag.PASS, Flag.SUSPECT, Flag.FAIL, Flag.MISSING], np.uint8)


def summarise(readings: Readings, step_ns: int) -> tuple[NDArray[np.int64], Records]:
    """Sum up a batch in steps aligned to multiples of `step_ns` since 1970.

    Returns:
        The (m,) numbers of the steps in which there are readings (time // step_ns), increasing, and (m, k) records.
    """
    if len(readings) == 0:
        return readings.time_ns, np.zeros((0, readings.value.shape[1]), RECORD)
    _, step, records = summarise_all([[readings]], step_ns)
    return step, records


def summarise_all(
    streams: Sequence[Sequence[Readings]], step_ns: int
) -> tuple[NDArray[np.intp], NDArray[np.int64], Records]:
    """Sum up batches of several streams with k channels each, all in one go: small frames cost little beside others.

    Args:
        streams: for each stream its batches; each has at least one row.
        step_ns: length of a step, ns.

    Returns:
        (m,) which of the streams, (m,) the number of the step, increasing within a stream, and (m, k) records.
    """
    batches = [batch for stream in streams for batch in stream]
    lengths = [sum(map(len, stream)) for stream in streams]
    step = _joined([batch.time_ns for batch in batches]) // step_ns
    value, u = _joined([batch.value for batch in batches]), _joined([batch.u for batch in batches])
    flag = _joined([batch.flag for batch in batches])
    stream = np.repeat(np.arange(len(streams)), lengths)
    ahead, same = step[1:] - step[:-1], stream[1:] == stream[:-1]
    if (same & (ahead < 0)).any():
        order = np.lexsort((step, stream))
        step, value, u, flag = step[order], value[order], u[order], flag[order]
        ahead = step[1:] - step[:-1]
    edges = np.concatenate(([0], np.flatnonzero((ahead != 0) | ~same) + 1))
    return stream[edges], step[edges], _reduced(edges, value, u, flag)


def _joined(columns: list[NDArray[Any]]) -> NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _reduced(
    edges: NDArray[np.intp], value: NDArray[np.float64], u: NDArray[np.float32], flag: NDArray[np.uint8]
) -> Records:
    """Records of the rows from each edge up to the next."""
    records = np.empty((len(edges), value.shape[1]), RECORD)
    good = np.isfinite(value)
    low, high = int(flag.min()), int(flag.max())
    if high > Flag.SUSPECT:
        good &= flag <= Flag.SUSPECT
    every = bool(good.all())
    if every:
        records["count"] = np.diff(edges, append=len(value))[:, None]
        records["sum"] = np.add.reduceat(value, edges, axis=0)
        records["min"] = np.minimum.reduceat(value, edges, axis=0)
        records["max"] = np.maximum.reduceat(value, edges, axis=0)
    else:
        records["count"] = np.add.reduceat(good, edges, axis=0, dtype=np.int64)
        records["sum"] = np.add.reduceat(np.where(good, value, 0.0), edges, axis=0)
        records["min"] = np.minimum.reduceat(np.where(good, value, np.inf), edges, axis=0)
        records["max"] = np.maximum.reduceat(np.where(good, value, -np.inf), edges, axis=0)
    stated = np.isfinite(u)
    if not every:
        stated &= good
    if stated.any():
        square = np.where(stated, u, np.float32(0)).astype(np.float64)
        square *= square
        records["u2"] = np.add.reduceat(square, edges, axis=0)
        records["count_u"] = np.add.reduceat(stated, edges, axis=0, dtype=np.int64)
    else:
        records["u2"] = 0.0
        records["count_u"] = 0
    records["flag"] = low if low == high else _FLAG[np.maximum.reduceat(_SEVERITY[flag], edges, axis=0)]
    return records


def group(step: NDArray[np.int64], records: Records) -> tuple[NDArray[np.int64], Records]:
    """Merge records of equal steps.

    Args:
        step: (m,) numbers of steps, not decreasing.
        records: (m, k).

    Returns:
        The distinct steps, increasing, and a record for each.
    """
    edges = np.flatnonzero(np.diff(step, prepend=step[:1] - 1))
    if len(edges) == len(step):
        return step, records
    merged = np.empty((len(edges), records.shape[1]), RECORD)
    for field in ("sum", "u2", "count", "count_u"):
        merged[field] = np.add.reduceat(records[field], edges, axis=0)
    merged["min"] = np.minimum.reduceat(records["min"], edges, axis=0)
    merged["max"] = np.maximum.reduceat(records["max"], edges, axis=0)
    merged["flag"] = _FLAG[np.maximum.reduceat(_SEVERITY[records["flag"]], edges, axis=0)]
    return step[edges], merged


def merge(into: Records, other: Records) -> Records:
    """Records of the same channels and steps, put together. Neither argument is changed."""
    merged = into.copy()
    for field in ("sum", "u2", "count", "count_u"):
        merged[field] += other[field]
    np.minimum(merged["min"], other["min"], out=merged["min"])
    np.maximum(merged["max"], other["max"], out=merged["max"])
    merged["flag"] = _FLAG[np.maximum(_SEVERITY[merged["flag"]], _SEVERITY[other["flag"]])]
    return merged
