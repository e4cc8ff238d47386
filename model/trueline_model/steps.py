"""Rows into steps of time: the mean of what was measured in each hour, say, the same wherever batches are cut.

Promises: step number b holds the rows with b * size <= time < (b + 1) * size; each is given once, when the first row of
a later one comes; steps without a row are given as well, with nothing valid in them. A mean is of valid cells alone.
Refuses to fill in anything, and to know what the steps are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.detector import State

__all__ = ["Stepped", "Steps"]

_NONE: Final = np.iinfo(np.int64).min


class Stepped(NamedTuple):
    """Steps that were completed in a batch.

    Attributes:
        value: (m, k) float64, means; 0 where not valid.
        valid: (m, k) bool.
        end_ns: (m,) int64, when each step was over; of a row by itself its time.
        row: (m,) the row of the batch at which each was known to be complete.
        state: goes into the next push.
    """

    value: NDArray[np.float64]
    valid: NDArray[np.bool_]
    end_ns: NDArray[np.int64]
    row: NDArray[np.int64]
    state: State


@dataclass(frozen=True, slots=True)
class Steps:
    """How rows become steps.

    Attributes:
        size_ns: of a step; 0: each row is one.
        empty_max: so many steps without a row are given at most, one after the other.
    """

    size_ns: int
    empty_max: int

    def push(
        self,
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        valid: NDArray[np.bool_],
        state: State | None = None,
    ) -> Stepped:
        """The steps that end in this batch.

        Args:
            time_ns: (n,), rising, behind the batch `state` came from.
            value: (n, k).
            valid: (n, k).
            state: None at a start.
        """
        if not self.size_ns:
            return Stepped(np.where(valid, value, 0.0), valid.copy(), time_ns.copy(), np.arange(len(value)), {})
        k = value.shape[1]
        now = _NONE if state is None else int(state["number"])
        total, count = (np.zeros(k), np.zeros(k)) if state is None else (state["total"], state["count"])
        number = time_ns // self.size_ns
        starts = np.flatnonzero(np.diff(number, prepend=now) != 0) if len(number) else np.empty(0, np.int64)
        means, ends, rows = [], [], []
        for start, stop in pairwise([0, *starts[starts > 0].tolist(), len(number)]) if len(number) else ():
            if number[start] != now:
                if now != _NONE:
                    empty = min(int(number[start]) - now - 1, self.empty_max)
                    means += [_mean(total, count), *[np.full(k, np.nan)] * empty]
                    ends += [now + 1, *range(int(number[start]) - empty + 1, int(number[start]) + 1)]
                    rows += [start] * (1 + empty)
                now, total, count = int(number[start]), np.zeros(k), np.zeros(k)
            total, count = _added(total, value[start:stop], valid[start:stop]), count + valid[start:stop].sum(axis=0)
        mean = np.array(means).reshape(-1, k)
        good = np.isfinite(mean)
        left = {"number": np.array(now), "total": total, "count": count}
        ended = np.array(ends, np.int64) * self.size_ns
        return Stepped(np.where(good, mean, 0.0), good, ended, np.array(rows, np.int64), left)


def _added(total: NDArray[np.float64], value: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The sums with some rows more, in their order: the same bits however many come at once."""
    return np.asarray(np.cumsum(np.vstack([total, np.where(valid, value, 0.0)]), axis=0)[-1])


def _mean(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
