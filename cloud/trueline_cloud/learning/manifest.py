"""What a manifest says of the recordings a model was made from."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_model.package import Input, Trained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_model.series import Series

__all__ = ["inputs_of", "interval_s_of", "trained_on"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def inputs_of(series: Sequence[Series], units: Sequence[str]) -> tuple[Input, ...]:
    """Names, units, and the range of what is valid."""
    value = np.concatenate([np.where(each.valid, each.value, np.nan) for each in series])
    low, high = np.nanmin(value, axis=0), np.nanmax(value, axis=0)
    return tuple(
        Input(name=name, unit=unit, minimum=float(a), maximum=float(b))
        for name, unit, a, b in zip(series[0].channels, units, low, high, strict=True)
    )


def interval_s_of(series: Sequence[Series]) -> float:
    """Median seconds between rows."""
    steps = np.concatenate([np.diff(each.time_ns) for each in series])
    return float(np.median(steps[steps > 0])) / 1e9


def trained_on(series: Sequence[Series], source: str) -> Trained:
    """Of which rows, and what they hash to; `source` says in words where they came from."""
    seen = hashlib.sha256()
    for each in series:
        for column in (each.time_ns, np.where(each.valid, each.value, 0.0), each.valid):
            seen.update(np.ascontiguousarray(column).tobytes())
    begin, end = (
        _EPOCH + timedelta(microseconds=int(t) // 1000) for t in (series[0].time_ns[0], series[-1].time_ns[-1])
    )
    return Trained(begin=begin, end=end, rows=sum(map(len, series)), source=source, sha256=seen.hexdigest())
