"""Novelty: how far the last rows are from the nearest that came before, in training or since.

The past is remembered and goes on growing while the detector runs, the oldest forgotten: what was never seen is strange
the first time, and what stays or comes back is known. With windows of one row that asks for values never measured; of
many, for shapes: the left matrix profile, without its normalisation of level and range (Yeh et al., ICDM 2016; Lu et
al., "Matrix profile XXIV", KDD 2022), with several neighbours the nonconformity of KNN-CAD (Burnaev and Ishimtsev,
arXiv:1608.04585). Together they find spikes and new regimes in streams whose normal no training part has shown whole.

Distances to all earlier windows are carried on from row to row, one new difference in and one old one out, on cells
rounded to 1/`RESOLUTION` of a scale: sums of whole numbers never drift, and are the same wherever batches are cut.
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
        distance, pairs, seen = held["distance"], held["pairs"], int(held["seen"])
        whole = seen >= self.recipe.rows and bool(weight.all())  # the same bits, in half of the time
        raw = np.empty(value.shape)
        block = max(_BLOCK // (self.recipe.lags * self.width), 1)
        for start in range(0, len(value), block):
            rows = slice(start, min(start + block, len(value)))
            far, pairs_each = self._distances(cells, None if whole else weight, rows, seen, distance, pairs)
            raw[rows] = self._nearest(far, pairs_each)
            distance, pairs = far[-1], pairs_each[-1]
        raw[(np.arange(len(value)) + seen < self.warm_up) | ~valid.any(axis=1)] = np.nan
        left = {"cells": cells[len(value) :].astype(np.int32), "weight": weight[len(value) :] > 0.0}
        seen = min(seen + len(value), self.recipe.rows)
        return judged(raw, {**left, "distance": distance, "pairs": pairs, "seen": np.array(seen)})

    def _begin(self) -> State:
        """As if the training part were just over, and a window begun of which no row has come."""
        recipe, shape = self.recipe, (self.recipe.rows + self.recipe.lag_max, self.width)
        cells, weight = np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
        cells[len(cells) - len(self.past) :] = self.past
        weight[len(cells) - len(self.past) :] = self.there
        distance, pairs = np.zeros((self.width, recipe.lags)), np.zeros(recipe.lags)
        return {"cells": cells, "weight": weight, "distance": distance, "pairs": pairs, "seen": np.array(0)}

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
            distance: (k, lags) of the row before.
            pairs: (lags,) of the row before.
        """
        size, first = self.recipe.rows, self.recipe.rows + self.recipe.lag_max + rows.start
        count = rows.stop - rows.start
        came, new = self._differences(cells, weight, first, first + count)
        if size == 1:
            return came, new
        gone, old = self._differences(cells, weight, first - size, first - size + count)
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
        self, cells: NDArray[np.float64], weight: NDArray[np.float64] | None, first: int, stop: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Squared, of rows first to stop and what lies the lags before them (n, k, lags), and of how many cells.

        Where all are valid: of how many a window has, which do not change.
        """
        off = self._earlier(cells, first, stop) - cells[first:stop, :, None]
        off *= off
        if weight is None:
            return off, np.broadcast_to(float(self.recipe.rows * self.width), (stop - first, self.recipe.lags))
        both = self._earlier(weight, first, stop) * weight[first:stop, :, None]
        off *= both
        return off, both.sum(axis=1)

    def _earlier(self, cells: NDArray[np.float64], first: int, stop: int) -> NDArray[np.float64]:
        """Of rows first to stop what lies the lags before them, a view (n, k, lags)."""
        reach = cells[first - self.recipe.lag_max : stop - self.recipe.rows]
        span = self.recipe.lag_max - self.recipe.rows + 1
        return np.lib.stride_tricks.sliding_window_view(reach, span, axis=0)[:, :, :: self.recipe.stride]

    def _nearest(self, distance: NDArray[np.float64], pairs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Contributions of the channels (n, k); NaN where no earlier window can be compared with."""
        wanted, full = self.recipe.neighbours, self.recipe.rows * self.width
        far = distance[:, 0] if self.width == 1 else distance.sum(axis=1)
        if pairs.min() < full:
            far = np.where(pairs >= self.recipe.valid_min * full, far / np.maximum(pairs, 1.0), np.inf)
        if wanted == 1:
            near = far.argmin(axis=1)[:, None]
        else:
            near = np.sort(np.argpartition(far, wanted - 1, axis=1)[:, :wanted], axis=1)
        counts = np.isfinite(np.take_along_axis(far, near, axis=1))
        total = np.zeros((len(far), self.width))
        for place in range(wanted):
            each = np.arange(len(far)), near[:, place]
            share = distance[each[0], :, each[1]] / np.maximum(pairs[each], 1.0)[:, None]
            total += np.where(counts[:, place, None], share, 0.0)
        number = counts.sum(axis=1)[:, None]
        return np.where(number > 0, total / np.maximum(number, 1) / RESOLUTION**2, np.nan)

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(past=self.past.astype(np.int32), there=self.there)
