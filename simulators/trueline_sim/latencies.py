"""Very many durations in little memory: a histogram whose bins are 2 % wide.

Promises: quantiles to within a bin, the largest exactly; memory does not grow with the count.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Latencies"]

_SHORTEST_S: Final = 1e-5
_WIDTH: Final = math.log(1.02)
_BINS: Final = 1000
"""The longest: an hour."""


class Latencies:
    """Durations in seconds, counted."""

    def __init__(self) -> None:
        self._bins: Final = np.zeros(_BINS, np.int64)
        self.max_s = math.nan
        """The longest so far; NaN before the first."""

    def add(self, durations_s: Iterable[float]) -> None:
        """Count some more."""
        for duration_s in durations_s:
            which = int(math.log(max(duration_s, _SHORTEST_S) / _SHORTEST_S) / _WIDTH)
            self._bins[min(which, _BINS - 1)] += 1
            self.max_s = duration_s if math.isnan(self.max_s) else max(self.max_s, duration_s)

    def quantile_s(self, share: float) -> float:
        """What `share` of them are at most, to within 2 %; NaN where there are none."""
        total = int(self._bins.sum())
        if not total:
            return math.nan
        which = int(np.searchsorted(np.cumsum(self._bins), share * total))
        return float(min(_SHORTEST_S * math.exp((which + 1) * _WIDTH), self.max_s))
