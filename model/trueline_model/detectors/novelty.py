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

_EXACT: Final = 2.0**53
"""Whole numbers up to here are exact in float64."""


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
        distance, pairs = held["distance"].copy(), held["pairs"].copy()
        seen, before = int(held["seen"]), len(held["cells"])
        there = None if seen >= self.recipe.rows and weight.all() else weight  # the same bits, in half of the time
        raw = np.full(value.shape, np.nan)
        for i in range(len(value)):
            self._add(cells, there, before + i, distance, pairs)
            if seen + i >= self.recipe.rows:
                self._add(cells, there, before + i - self.recipe.rows, distance, pairs, -1.0)
            if seen + i >= self.warm_up and valid[i].any():
                raw[i] = self._nearest(distance, pairs)
        left = {"cells": cells[len(value) :].copy(), "weight": weight[len(value) :].copy()}
        seen = min(seen + len(value), self.recipe.rows)
        return judged(raw, {**left, "distance": distance, "pairs": pairs, "seen": np.array(seen)})

    def _begin(self) -> State:
        """As if the training part were just over, and a window begun of which no row has come."""
        recipe, shape = self.recipe, (self.recipe.rows + self.recipe.lag_max, self.width)
        cells, weight = np.zeros(shape), np.zeros(shape)
        cells[len(cells) - len(self.past) :] = self.past
        weight[len(cells) - len(self.past) :] = self.there
        distance, pairs = np.zeros((recipe.lags, self.width)), np.zeros(recipe.lags)
        return {"cells": cells, "weight": weight, "distance": distance, "pairs": pairs, "seen": np.array(0)}

    def _add(
        self,
        cells: NDArray[np.float64],
        weight: NDArray[np.float64] | None,
        row: int,
        distance: NDArray[np.float64],
        pairs: NDArray[np.float64],
        sign: float = 1.0,
    ) -> None:
        """One row's squared differences from those that lie the lags before it, the longest lag first.

        Args:
            cells: (n, k).
            weight: (n, k) 1 where a cell is valid, else 0; None where all are, and one row comes for one that goes.
            row: of `cells`.
            distance: (lags, k), added to.
            pairs: (lags,) cells they are of, added to.
            sign: -1 takes away.
        """
        earlier = slice(row - self.recipe.lag_max, row - self.recipe.rows + 1, self.recipe.stride)
        off = cells[earlier] - cells[row]
        off *= off
        if weight is not None:
            both = weight[earlier] * weight[row]
            pairs += sign * both.sum(axis=1)
            off *= both
        if sign > 0.0:
            distance += off
        else:
            distance -= off

    def _nearest(self, distance: NDArray[np.float64], pairs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Contributions of the channels (k,); NaN where no earlier window can be compared with."""
        wanted, least = self.recipe.neighbours, self.recipe.valid_min * self.recipe.rows * self.width
        far = distance[:, 0] if self.width == 1 else distance.sum(axis=1)
        far = far / np.maximum(pairs, 1.0)
        if pairs.min() < least:
            far[pairs < least] = np.inf
        near = far.argmin(axis=0, keepdims=True) if wanted == 1 else np.sort(np.argpartition(far, wanted - 1)[:wanted])
        near = near[np.isfinite(far[near])]
        if not len(near):
            return np.full(self.width, np.nan)
        return np.asarray((distance[near] / pairs[near, None]).mean(axis=0) / RESOLUTION**2)

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(past=self.past.astype(np.int32), there=self.there)
