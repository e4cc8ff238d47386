"""How far channels move from one window to the next, and how rare such moves are while nothing is wrong.

A move has two parts for each channel: of its mean, and of the logarithm of its noise (mean squared difference of
neighbouring rows). Their covariance says what one channel should have done given the others. How rare a departure is
is counted, not computed: quantiles of departures in blocks of time the covariance was not taken from (cross-conformal:
Vovk, 2015), so that few rows and many channels make no certainty. Beyond the rarest counted, decades go on evenly.

Promises: the window before is the reference, so slow drift since training does not matter. Refuses to know whose
trouble a move is: `verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_model.arrays import array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Moves", "decades", "fit_moves", "gap_rows", "held", "moves"]

_RARE: Final = (0.5, 0.1, 0.01, 0.001)
_FOLDS: Final = 4
_NOISE_FLOOR: Final = 0.05  # of the training noise variance, so that silence is no infinite change
_CLIP: Final = 6.0
_SHRINK: Final = (0.05, 0.5)


def held(value: Array, valid: NDArray[np.bool_]) -> Array:
    """Each cell that is not valid holds the last valid one of its channel, else the first: no move, no noise."""
    row = np.where(valid, np.arange(len(value))[:, None], -1)
    row = np.maximum.accumulate(row, axis=0)
    row = np.where(row < 0, valid.argmax(axis=0), row)
    return np.where(valid.any(axis=0), np.take_along_axis(np.where(valid, value, 0.0), row, axis=0), 0.0)


def gap_rows(rows: int) -> int:
    """Rows between the two windows: an alarm comes some rows after what it is about."""
    return max(4, rows // 6)


def moves(value: Array, rows: int, noise: Array) -> Array:
    """Moves of mean and of log noise, (n - 2 rows - gap + 1, 2 k); the i-th to the window from row i + rows + gap."""
    zero, apart = np.zeros((1, value.shape[1])), rows + gap_rows(rows)
    level = np.cumsum(np.concatenate([zero, value - value[:1]]), axis=0)
    rough = np.cumsum(np.concatenate([zero, zero, np.diff(value, axis=0) ** 2]), axis=0)
    mean = (level[rows:] - level[:-rows]) / rows
    loud = np.log(np.maximum(rough[rows:] - rough[:-rows], 0.0) / rows + _NOISE_FLOOR * noise)
    return np.concatenate([mean[apart:] - mean[:-apart], loud[apart:] - loud[:-apart]], axis=1)


def decades(size: Array, seldom: Array) -> Array:
    """-log10 of how often normal running has a departure of at least this size.

    Args:
        size: (...) departures.
        seldom: (4, ...) sizes exceeded in the shares `_RARE` of normal running.
    """
    out, low = np.zeros(np.shape(size)), np.zeros(np.shape(seldom)[1:])
    steps = np.diff(-np.log10(_RARE), prepend=0.0)
    size = np.abs(size)
    for step, high in zip(steps, seldom, strict=True):
        wide = np.maximum(high - low, 1e-9 + 0.02 * high)
        out = out + step * np.clip((size - low) / wide, 0.0, 1.0)
        low = low + wide
    last = np.maximum(seldom[-1] - seldom[-2], 0.1 * seldom[-1])
    return np.asarray(out + np.maximum(size - low, 0.0) / np.maximum(last, 1e-9))


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """Normal moves between windows of one length.

    Attributes:
        rows: of each of the two windows.
        centre: (2 k,) medians.
        scale: (2 k,) robust deviations.
        precision: (2 k, 2 k) inverse covariance of scaled moves.
        alone: (4, 2 k) seldom sizes of each part.
        given: (4, 2 k) of each part given all others.
        left: (4, 2 k) of each part given all others but those of a channel, the one it misses most.
        rest: (k, 4) of Mahalanobis' D squared without each channel.
        followed: (k,) share of a channel's variance of mean that the others foretell, in time they were not fitted to.
    """

    rows: int
    centre: Array
    scale: Array
    precision: Array
    alone: Array
    given: Array
    left: Array
    rest: Array
    followed: Array

    def scaled(self, found: Array) -> Array:
        """Moves (n, 2 k) in scales."""
        return np.asarray((found - self.centre) / self.scale)

    def strange(self, z: Array) -> Array:
        """Decades of each part of scaled moves (n, 2 k), alone or given all others, whichever is more."""
        given = z @ self.precision / np.sqrt(np.diag(self.precision))
        return np.maximum(decades(z, self.alone), decades(given, self.given))

    def without(self, z: Array, channel: int) -> tuple[Array, float]:
        """Decades of each part (2 k,) of a scaled move (2 k,) and of all together, where a channel is taken out."""
        part, whole = _without(z[None, :], self.precision, channel)
        return decades(part[0], self.left), float(decades(whole[0], self.rest[channel]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What to keep of it in a package: seven digits, and half of what is symmetric."""
        names = ("centre", "scale", "alone", "given", "left", "rest", "followed")
        kept = {name: getattr(self, name).astype(np.float32) for name in names}
        half = self.precision[np.triu_indices(len(self.precision))].astype(np.float32)
        return {"rows": np.array(float(self.rows)), "precision": half, **kept}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Moves:
        """The moves whose `arrays()` these are.

        Raises:
            ConfigError: one is missing, or of another shape.
        """
        followed = array(arrays, "followed", 1)
        k, four = len(followed), len(_RARE)
        half = np.zeros((2 * k, 2 * k))
        half[np.triu_indices(2 * k)] = array(arrays, "precision", 1, (k * (2 * k + 1),))
        return cls(
            int(array(arrays, "rows", 0)),
            array(arrays, "centre", 1, (2 * k,)),
            array(arrays, "scale", 1, (2 * k,)),
            half + half.T - np.diag(np.diag(half)),
            array(arrays, "alone", 2, (four, 2 * k)),
            array(arrays, "given", 2, (four, 2 * k)),
            array(arrays, "left", 2, (four, 2 * k)),
            array(arrays, "rest", 2, (k, four)),
            followed,
        )


def fit_moves(recordings: Sequence[Array], rows: int, noise: Array) -> Moves:
    """Normal moves.

    Args:
        recordings: (n, k) each, long enough for two windows.
        rows: of a window.
        noise: (k,) mean squared difference of neighbouring rows.
    """
    found = np.concatenate([moves(each, rows, noise) for each in recordings])
    k = found.shape[1] // 2
    alone, given, foretold = [], [], []
    left: list[Array] = []
    rest: list[list[Array]] = [[] for _ in range(k)]
    for fold in range(_FOLDS):
        start, stop = len(found) * fold // _FOLDS, len(found) * (fold + 1) // _FOLDS
        # Windows that share rows with the block are left out, where anything is left then.
        away = np.concatenate([found[: max(start - 2 * rows, 0)], found[stop + 2 * rows :]])
        centre, scale, precision = _normal(away if len(away) > 2 * rows else found, rows)
        z = (found[start : stop : max(rows // 8, 1)] - centre) / scale
        alone.append(z)
        given.append(z @ precision / np.sqrt(np.diag(precision)))
        foretold.append(_foretold(z, precision))
        seldom = []
        for j in range(k):
            part, whole = _without(z, precision, j)
            seldom.append(_seldom([part]))
            rest[j].append(whole)
        left.append(np.max(seldom, axis=0))
    error, size = np.sum(foretold, axis=0)
    return Moves(
        rows,
        *_normal(found, rows),
        _seldom(alone),
        _seldom(given),
        np.mean(left, axis=0),
        np.stack([_seldom(each) for each in rest]),
        np.clip(1.0 - error / np.maximum(size, 1e-9), 0.0, 1.0),
    )


def _seldom(parts: Sequence[Array]) -> Array:
    return np.asarray(np.quantile(np.abs(np.concatenate(parts)), 1.0 - np.array(_RARE), axis=0))


def _normal(found: Array, rows: int) -> tuple[Array, Array, Array]:
    """Centre, scale and precision. Windows overlap, so a covariance of few of them is drawn to none."""
    centre = np.median(found, axis=0)
    # A robust deviation, but not below a fifth of the plain one: moves with rare large ones have wide tails.
    scale = np.quantile(np.abs(found - centre), 0.9, axis=0) / 1.645
    scale = np.maximum(np.maximum(scale, 0.2 * found.std(axis=0)), 1e-9)
    z = np.clip((found - centre) / scale, -_CLIP, _CLIP)
    shrink = float(np.clip(z.shape[1] * rows / len(z), *_SHRINK))
    covariance = (1.0 - shrink) * z.T @ z / len(z) + shrink * np.eye(z.shape[1])
    return centre, scale, np.linalg.inv(covariance)


def _foretold(z: Array, precision: Array) -> tuple[Array, Array]:
    """Squared errors of each channel's mean as the others' means foretell it, and its squares, (k,) each."""
    k = z.shape[1] // 2
    means = np.clip(z[:, :k], -_CLIP, _CLIP)
    inner = np.linalg.inv(np.linalg.inv(precision)[:k, :k])
    error = means @ inner / np.diag(inner)
    return np.sum(error**2, axis=0), np.sum(means**2, axis=0)


def _without(z: Array, precision: Array, channel: int) -> tuple[Array, Array]:
    """What is left of scaled moves (n, 2 k) where a channel is taken out: parts given all others, and D squared.

    The precision without a channel is a Schur complement: of rank two less, so nothing need be inverted but (2, 2).
    """
    own = [channel, len(precision) // 2 + channel]
    pulled = z @ precision
    across = np.linalg.solve(precision[np.ix_(own, own)], precision[own])
    part = pulled - pulled[:, own] @ across
    spread = np.diag(precision) - np.sum(precision[own] * across, axis=0)
    spread[own] = 1.0
    whole = np.sum(z * part, axis=1)
    part[:, own] = 0.0
    return part / np.sqrt(np.maximum(spread, 1e-9)), np.maximum(whole, 0.0)
