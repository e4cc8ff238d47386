"""Novelty: how far the last rows are from the nearest that came before, in training or since.

The past is remembered and goes on growing while the detector runs, the oldest forgotten: what was never seen is strange
the first time, and what stays or comes back is known. With windows of one row that asks for values never measured; of
many, for shapes: the left matrix profile, without its normalisation of level and range (Yeh et al., ICDM 2016; Lu et
al., "Matrix profile XXIV", KDD 2022), with several neighbours the nonconformity of KNN-CAD (Burnaev and Ishimtsev,
arXiv:1608.04585). Together they find spikes and new regimes in streams whose normal no training part has shown whole.

Within a batch distances to all earlier windows are carried on from row to row, one new difference in and one old one
out, on cells rounded to 1/`RESOLUTION` of a scale: sums of whole numbers are the same in whatever order they are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_model.arrays import array
from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Parts, Scored, State
    from trueline_model.series import Series

__all__ = ["RESOLUTION", "Novelty", "NoveltyDetector"]

RESOLUTION: Final = 256.0
"""Steps a scale is cut into: finer differences are none."""

_EXACT: Final = 2.0**51
"""Whole numbers up to here are exact in float64, and so different that their quotients are."""

_BLOCK: Final = 65_536
"""Distances worked out at once: what the cache holds."""


class Novelty(DetectorSettings, frozen=True, kw_only=True, tag="novelty"):
    """Settings of the memory.

    Attributes:
        rows: of a window.
        memory_rows: how far back windows are compared with; two of the longest cycles there are is a good length.
        stride: rows from one earlier window to the next.
        neighbours: nearest of them that count: how often a thing must have been seen to be known.
        valid_min: share of a window's cells that must be valid in it and in the other; a window that has just begun
            at a start is compared over the rows it has.
    """

    rows: int = 30
    memory_rows: int = 4000
    stride: int = 1
    neighbours: int = 1
    valid_min: float = 0.5
    clip: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.rows, self.memory_rows, self.stride, self.neighbours) < 1:
            raise ValueError("rows, memory_rows, stride and neighbours must be at least 1")
        if self.neighbours > self.lags:
            raise ValueError(f"neighbours {self.neighbours} must be at most the {self.lags} windows remembered")
        if not 0.0 < self.valid_min <= 1.0:
            raise ValueError(f"valid_min {self.valid_min} must be above 0 and at most 1")

    @property
    def learns(self) -> bool:
        """It goes on with what it scores: rows it was fitted to must not be given again."""
        return True

    @property
    def lags(self) -> int:
        """Earlier windows a window is compared with."""
        return -(-self.memory_rows // self.stride)

    @property
    def lag_max(self) -> int:
        """Rows back to the earliest; the latest is `rows` back, so that no window is compared with a part of itself."""
        return self.rows + self.stride * (self.lags - 1)

    def fit(self, series: Sequence[Series], seed: int = 0) -> NoveltyDetector:  # noqa: ARG002 - nothing is drawn
        """What is remembered of the training part: its last rows."""
        scale, z, valid = training(self, series, self.rows + self.stride * (self.neighbours - 1))
        if z.shape[1] * self.rows * (2.0 * self.clip * RESOLUTION) ** 2 > _EXACT:
            raise ConfigError(
                f"windows of {self.rows} rows by {z.shape[1]} channels up to clip {self.clip:g} have sums that are not "
                "exact: take fewer rows, or a lower clip"
            )
        kept = slice(-(self.rows + self.lag_max), None)
        return NoveltyDetector(self, scale, np.rint(z[kept] * RESOLUTION), valid[kept])

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> NoveltyDetector:
        """As `Recipe`."""
        scale = self.scale(arrays)
        past = array(arrays, "past", 2, (None, len(scale.centre)))
        there = array(arrays, "there", 2, past.shape) > 0.0
        return NoveltyDetector(self, scale, past, there)


@dataclass(frozen=True, slots=True, eq=False)
class NoveltyDetector(ScaledDetector[Novelty]):
    """The last rows of training (h, k), in steps of a scale, 0 where not valid; and which cells were."""

    past: NDArray[np.float64]
    there: NDArray[np.bool_]

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return math.ceil(self.recipe.valid_min * self.recipe.rows) - 1

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`: the mean squared distance of a cell, in scales, to that of the nearest."""
        held = state or self._begin()
        cells = np.concatenate([held["cells"], np.rint(self.scale(value, valid) * RESOLUTION)])
        weight = np.concatenate([held["weight"], valid.astype(np.float64)])
        seen, before, size = int(held["seen"]), len(held["cells"]), self.recipe.rows
        whole = bool(weight.all())  # the same bits, in half of the time
        # The end of the first window ever measured; and how many of the lags, the longest first, lie before it.
        first = before - int(held["known"]) + size - 1
        reaching = -((before + np.arange(len(value)) - first - self.recipe.lag_max) // self.recipe.stride)
        reaching = np.clip(reaching, 0, self.recipe.lags)
        skipped = min(int(reaching.min(initial=self.recipe.lags)), self.recipe.lags - 1)
        lags = self.recipe.lags - skipped
        raw = np.empty(value.shape)
        start, block = 0, max(_BLOCK // (lags * self.width), 1)
        off, count = self._differences(cells, None if whole and seen >= size else weight, before - size, size, lags)
        late = slice(max(size - seen, 0), None)  # rows of the window that came before
        near, paired = off[late].sum(axis=0), count[late].sum(axis=0)
        while start < len(value):
            stop = min(start + block, len(value)) if seen + start >= size else min(size - seen, len(value))
            masked = None if whole and seen + start >= size else weight
            each, pairs_each = self._distances(cells, masked, slice(start, stop), seen, near, paired)
            raw[start:stop] = self._nearest(each, pairs_each, reaching[start:stop] - skipped)
            near, paired, start = each[-1], pairs_each[-1], stop
        raw[(np.arange(len(value)) + seen < self.warm_up) | ~valid.any(axis=1)] = np.nan
        left = {"cells": cells[len(value) :].astype(np.int32), "weight": weight[len(value) :] > 0.0}
        known, seen = min(int(held["known"]) + len(value), before), min(seen + len(value), size)
        return judged(raw, {**left, "known": np.array(known), "seen": np.array(seen)})

    def _begin(self) -> State:
        """As if the training part were just over, and a window begun of which no row has come."""
        shape = self.recipe.rows + self.recipe.lag_max, self.width
        cells, weight = np.zeros(shape, np.int32), np.ones(shape, np.bool_)
        cells[len(cells) - len(self.past) :] = self.past
        weight[len(cells) - len(self.past) :] = self.there
        return {"cells": cells, "weight": weight, "known": np.array(len(self.past)), "seen": np.array(0)}

    def _distances(
        self,
        cells: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        rows: slice,
        seen: int,
        distance: NDArray[np.float64],
        pairs: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Squared distances to earlier windows (n, k, lags), the longest lag first, and cells they are of (n, lags).

        Args:
            cells: (m, k), those before the batch and of it.
            weight: (m, k) 1 where a cell is valid, else 0; None where all are.
            rows: of the batch.
            seen: rows since the start, before the batch.
            distance: (k, lags) of the row before, of the last of all lags.
            pairs: (lags,) of the row before.
        """
        size, first = self.recipe.rows, self.recipe.rows + self.recipe.lag_max + rows.start
        count = rows.stop - rows.start
        came, new = self._differences(cells, weight, first, count, len(pairs))
        if size == 1:
            return came, new
        gone, old = self._differences(cells, weight, first - size, count, len(pairs))
        early = max(min(size - seen - rows.start, count), 0)
        gone[:early] = 0.0  # they were no rows of this window
        came -= gone
        came[0] += distance
        if weight is not None:
            old[:early] = 0.0
            new -= old
            new[0] += pairs
            np.cumsum(new, axis=0, out=new)
        return np.cumsum(came, axis=0, out=came), new

    def _differences(
        self, cells: NDArray[np.float64], weight: NDArray[np.float64] | None, first: int, count: int, lags: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Squared, of `count` rows and what lies the last lags before them (n, k, lags), and of how many cells.

        Where all are valid: of how many a window has, which do not change.
        """
        rows = slice(first, first + count)
        off = self._earlier(cells, rows, lags) - cells[rows, :, None]
        off *= off
        if weight is None:
            return off, np.broadcast_to(float(self.recipe.rows * self.width), (count, lags))
        both = self._earlier(weight, rows, lags) * weight[rows, :, None]
        off *= both
        return off, both[:, 0] if self.width == 1 else both.sum(axis=1)

    def _earlier(self, cells: NDArray[np.float64], rows: slice, lags: int) -> NDArray[np.float64]:
        """What lies the last lags before rows, a view (n, k, lags)."""
        span = self.recipe.stride * (lags - 1)
        reach = cells[rows.start - self.recipe.rows - span : rows.stop - self.recipe.rows]
        return np.lib.stride_tricks.sliding_window_view(reach, span + 1, axis=0)[:, :, :: self.recipe.stride]

    def _nearest(
        self, distance: NDArray[np.float64], pairs: NDArray[np.float64], reaching: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Contributions of the channels (n, k), NaN where no earlier window can be compared with.

        The first lags of each row, (n,), reach windows that nobody measured.
        """
        wanted, full = self.recipe.neighbours, self.recipe.rows * self.width
        far = distance[:, 0] if self.width == 1 else distance.sum(axis=1)
        if pairs.min() < full:
            enough = pairs >= self.recipe.valid_min * full
            far = np.divide(far, pairs, out=np.full(far.shape, np.inf), where=enough)
        elif wanted > 1 or reaching.any():
            far = far.copy()
        most = int(reaching.max())
        far[:, :most][np.arange(most) < reaching[:, None]] = np.inf
        every = np.arange(len(far))
        total, number = np.zeros((len(far), self.width)), np.zeros((len(far), 1))
        for _ in range(wanted):
            near = far.argmin(axis=1)
            counts = np.isfinite(far[every, near])[:, None]
            share = distance[every, :, near] / np.maximum(pairs[every, near], 1.0)[:, None]
            total += np.where(counts, share, 0.0)
            number += counts
            if wanted > 1:
                far[every, near] = np.inf
        return np.where(number > 0.0, total / np.maximum(number, 1.0) / RESOLUTION**2, np.nan)

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(past=self.past.astype(np.int32), there=self.there)
