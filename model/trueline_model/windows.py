"""Windows over rows, cut the same wherever batches are cut.

Promises: window j of a recording is rows [j * stride, j * stride + size), whatever the batches; `Windower.push` gives
each window once, as soon as its last row is there. Refuses to know what a window is for, and mends nothing: a cell
that is not valid comes out as it came in, and False in the mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.detector import State

__all__ = ["Windower", "Windows", "overlapping"]


class Windows(NamedTuple):
    """Windows of a batch.

    Attributes:
        value: (m, size, k) view; not valid cells hold what came in.
        valid: (m, size, k) view.
        last_row: (m,) row of the batch a window ended at.
        state: goes into the next push.
    """

    value: NDArray[np.float64]
    valid: NDArray[np.bool_]
    last_row: NDArray[np.int64]
    state: State


@dataclass(frozen=True, slots=True)
class Windower:
    """How windows are cut.

    Attributes:
        size: rows a window, at least 1.
        stride: rows from one window's start to the next one's, at least 1.
    """

    size: int
    stride: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 1:
            raise ValueError(f"size {self.size} and stride {self.stride} must be at least 1")

    def push(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Windows:
        """The windows that end in this batch.

        Args:
            value: (n, k) rows that follow those of the batch `state` came from.
            valid: (n, k).
            state: None at a start.
        """
        kept = len(state["value"]) if state is not None else 0
        seen = int(state["seen"]) if state is not None else 0
        rows = np.concatenate([state["value"], value]) if state is not None else np.array(value)
        good = np.concatenate([state["valid"], valid]) if state is not None else np.array(valid)
        first = -(seen - kept) % self.stride  # the first row here where a window may start
        starts = np.arange(first, len(rows) - self.size + 1, self.stride)
        whole = starts[starts + self.size > kept]
        keep = min(self.size - 1, len(rows))
        left = {
            "value": rows[len(rows) - keep :].copy(),
            "valid": good[len(rows) - keep :].copy(),
            "seen": np.array(seen + len(value)),
        }
        return Windows(_cut(rows, whole, self.size), _cut(good, whole, self.size), whole + self.size - 1 - kept, left)


def _cut(rows: NDArray[Any], starts: NDArray[np.int64], size: int) -> NDArray[Any]:
    if not len(starts):
        return np.empty((0, size, rows.shape[1]), rows.dtype)
    step = int(starts[1] - starts[0]) if len(starts) > 1 else 1
    return overlapping(rows, size)[starts[0] : starts[-1] + 1 : step]


def overlapping(rows: NDArray[Any], size: int) -> NDArray[Any]:
    """All windows of `size` of rows (n, k), at least as many: a view, (n - size + 1, size, k), not to be written."""
    (n, k), (step, cell) = rows.shape, rows.strides
    # What sliding_window_view gives, in a fifth of its time: each row that comes alone asks for it.
    return as_strided(rows, (n - size + 1, size, k), (step, step, cell), writeable=False)
