"""Isolation forest: rows that few random cuts set apart are strange (Liu, Ting and Zhou, ICDM 2008).

Trees are complete and flat: node i has children 2 i + 1 and 2 i + 2, so rows walk all trees with array look-ups alone.
At a node whose channel is not there a row follows the larger side, and learns nothing. A channel is credited at each of
its cuts with the halvings of the sample it saved beyond the one a fair cut saves; the score is shared out by credit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trueline_model.arrays import array
from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training
from trueline_model.rows import row_sum, running_mean
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Parts, Scored, State
    from trueline_model.series import Series

__all__ = ["Forest", "ForestDetector"]

_EULER = 0.5772156649015329
_BLOCK = 256


class Forest(DetectorSettings, frozen=True, kw_only=True, tag="forest"):
    """Settings of the forest.

    Attributes:
        trees: how many.
        sample: rows each tree is grown on.
        mean_rows: the score is the mean of that many rows.
    """

    trees: int = 100
    sample: int = 256
    mean_rows: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trees < 1 or self.sample < 2 or self.mean_rows < 1:  # noqa: PLR2004 - two rows can be set apart
            raise ValueError(f"trees {self.trees} and mean_rows {self.mean_rows} want 1, sample {self.sample} wants 2")

    @property
    def depth(self) -> int:
        """Cuts of a row at most: what an average row wants to be alone."""
        return int(np.ceil(np.log2(self.sample)))

    def fit(self, series: Sequence[Series], seed: int = 0) -> ForestDetector:
        """Trees on random rows of the training part; a cell that is not valid counts as its channel's centre."""
        scale, z, _ = training(self, series)
        rng = np.random.default_rng(seed)
        nodes = 2 ** (self.depth + 1) - 1
        channel = np.zeros((self.trees, nodes))
        cut = np.zeros((self.trees, nodes))
        size = np.zeros((self.trees, nodes))
        for tree in range(self.trees):
            rows = z[rng.choice(len(z), min(self.sample, len(z)), replace=False)]
            _grow(rows, 0, 2**self.depth - 1, (channel[tree], cut[tree], size[tree]), rng)
        return ForestDetector(self, scale, channel.astype(np.int64), cut, size)

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> ForestDetector:
        """As `Recipe`."""
        scale = self.scale(arrays)
        shape = (self.trees, 2 ** (self.depth + 1) - 1)
        channel = array(arrays, "channel", 2, shape)
        if np.any((channel < -1) | (channel >= len(scale.centre)) | (channel != np.rint(channel))):
            raise ConfigError("the array channel names a channel that is not there: make the package again")
        size = array(arrays, "size", 2, shape)
        return ForestDetector(self, scale, channel.astype(np.int64), array(arrays, "cut", 2, shape), size)


def _grow(
    rows: NDArray[np.float64],
    node: int,
    inner: int,
    tree: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    rng: np.random.Generator,
) -> None:
    """Cuts rows (m, k) at a node; -1 as channel: a leaf."""
    channel, cut, size = tree
    size[node] = len(rows)
    low, high = rows.min(axis=0), rows.max(axis=0)
    moving = np.flatnonzero(high > low)
    if node >= inner or len(rows) < 2 or not len(moving):  # noqa: PLR2004 - one row is alone
        channel[node] = -1
        return
    chosen = int(rng.choice(moving))
    at = float(rng.uniform(low[chosen], high[chosen]))
    channel[node], cut[node] = chosen, at
    right = rows[:, chosen] > at
    if right.all() or not right.any():  # the draw hit an end of the range: no cut
        channel[node] = -1
        return
    _grow(rows[~right], 2 * node + 1, inner, tree, rng)
    _grow(rows[right], 2 * node + 2, inner, tree, rng)


def _usual_depth(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean cuts until a row of so many is alone (equation 1 of the paper)."""
    safe = np.maximum(size, 2.0)
    return np.where(size > 1.0, 2.0 * (np.log(safe - 1.0 + 1e-300) + _EULER) - 2.0 * (safe - 1.0) / safe, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class ForestDetector(ScaledDetector[Forest]):
    """Trees: (t, nodes) channel of each cut (-1: leaf), its place in scales, and training rows at the node."""

    channel: NDArray[np.int64]
    cut: NDArray[np.float64]
    size: NDArray[np.float64]

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return self.recipe.mean_rows - 1

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        z = self.scale(value, valid)
        raw = np.full(value.shape, np.nan)
        for start in range(0, len(value), _BLOCK):
            rows = slice(start, start + _BLOCK)
            raw[rows] = self._walk(z[rows], valid[rows])
        mean, left_over = running_mean(raw, self.recipe.mean_rows, state)
        return judged(mean, left_over)

    def _walk(self, z: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Contributions of rows (m, k), NaN where nothing is valid."""
        row, tree = np.arange(len(z))[:, None], np.arange(len(self.channel))
        node = np.zeros((len(z), len(tree)), np.int64)
        depth = np.zeros(node.shape)
        credit = np.zeros(z.shape)
        last = self.size.shape[1] - 1
        for _ in range(self.recipe.depth):
            by = self.channel[tree, node]
            inner, left = by >= 0, np.minimum(2 * node + 1, last - 1)
            known = valid[row, by]
            larger = self.size[tree, left + 1] > self.size[tree, left]
            child = np.where(inner, left + np.where(known, z[row, by] > self.cut[tree, node], larger), node)
            saved = np.log2(np.maximum(self.size[tree, node], 1.0) / np.maximum(self.size[tree, child], 1.0)) - 1.0
            saved = np.where(inner & known, np.maximum(saved, 0.0), 0.0)
            for channel in range(self.width):
                credit[:, channel] += row_sum(np.where(by == channel, saved, 0.0))
            depth += inner
            node = child
        usual = max(float(_usual_depth(np.array(self.size[0, 0]))), 1e-9)
        score = 2.0 ** (-row_sum(depth + _usual_depth(self.size[tree, node])) / (len(tree) * usual))
        credit = np.where(valid, credit + 1e-9, 0.0)
        whole = row_sum(credit)
        out = np.full(z.shape, np.nan)
        np.divide(credit * score[:, None], whole[:, None], out=out, where=whole[:, None] > 0.0)
        return out

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(channel=self.channel, cut=self.cut, size=self.size)
