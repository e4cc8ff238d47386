"""Series: rows of channels sampled together, with what was not measured marked, as a model sees them.

Promises: shapes are checked where a series is made; a cell that is not valid has no say in anything made from it.
Refuses to know of devices, flags, files: who makes a series decides which flags mean valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Series", "between", "make_series"]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One recording without a break that matters, in time order.

    Attributes:
        time_ns: (n,) int64, UTC, nanoseconds since 1970, never backward.
        value: (n, k) float64, in the channels' units.
        valid: (n, k) bool; where False, the value means nothing.
        channels: k names, unique.
    """

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    valid: NDArray[np.bool_]
    channels: tuple[str, ...]

    def __post_init__(self) -> None:
        rows, width = len(self.time_ns), len(self.channels)
        if self.value.shape != (rows, width) or self.valid.shape != (rows, width):
            raise ValueError(
                f"{rows} times and {width} channels want value and valid of shape ({rows}, {width}), "
                f"not {self.value.shape} and {self.valid.shape}"
            )
        if len(set(self.channels)) != width:
            raise ValueError(f"a channel name comes twice in {', '.join(self.channels)}")
        if rows and np.any(np.diff(self.time_ns) < 0):
            raise ValueError("time steps backward: sort the rows, or leave out what the timing test flagged")
        if not np.all(np.isfinite(self.value[self.valid])):
            raise ValueError("a cell is marked valid and holds no finite number: mark it not valid")

    def __len__(self) -> int:
        return len(self.time_ns)

    def __getitem__(self, rows: slice) -> Series:
        """The rows of a slice, as views."""
        return Series(self.time_ns[rows], self.value[rows], self.valid[rows], self.channels)


def make_series(
    value: ArrayLike,
    *,
    time_ns: ArrayLike | None = None,
    valid: ArrayLike | None = None,
    channels: Sequence[str] | None = None,
    interval_s: float = 1.0,
) -> Series:
    """A series from what there is.

    Args:
        value: (n, k) or (n,), in the channels' units; NaN and infinity are not valid.
        time_ns: (n,); left out: every `interval_s` from 1970.
        valid: (n, k); left out: wherever the value is finite.
        channels: k names; left out: c0, c1, ...
        interval_s: of the rows, where no times are given.

    Raises:
        ValueError: the shapes do not fit one another.
    """
    cells = np.asarray(value, np.float64)
    cells = cells[:, None] if cells.ndim == 1 else cells
    finite = np.isfinite(cells)
    times = np.arange(len(cells)) * round(interval_s * 1e9) if time_ns is None else np.asarray(time_ns)
    return Series(
        times.astype(np.int64),
        cells,
        finite if valid is None else np.asarray(valid, bool) & finite,
        tuple(channels) if channels is not None else tuple(f"c{i}" for i in range(cells.shape[1])),
    )


def between(series: Sequence[Series], start: int, end: int) -> list[Series]:
    """Rows start <= i < end of recordings laid end to end, kept apart."""
    found, passed = [], 0
    for each in series:
        a, b = max(start - passed, 0), min(end - passed, len(each))
        if b > a:
            found.append(each[a:b])
        passed += len(each)
    return found
