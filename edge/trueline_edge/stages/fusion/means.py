"""Fusing row by row, without a model of the process: the weighted mean, and voting with fail-over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.voting import agreeing, consistent_mean, hysteresis
from trueline_edge.stages.fusion.cells import Cells, Combined, shared_variance
from trueline_edge.stages.stage import pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Vote", "WeightedMean"]


class WeightedMean:
    """Inverse-variance mean of the largest consistent subset (GUM; Cox 2002, 2007) of each row.

    The stated uncertainties are the weights. Of inputs that state none, each counts as the least certain of those that
    do; where none does, all count alike, and their scatter is the uncertainty.

    Args:
        common_u: (k,) the part of the stated uncertainties all inputs of an output share, which no mean takes away.
        probability: rows of consistent values that pass the test.
        own_u: (k, m) what of it is an input's own, noise and all, so that the rest is shared; NaN: `common_u` is.
    """

    def __init__(
        self, common_u: NDArray[np.float64], probability: float, own_u: NDArray[np.float64] | None = None
    ) -> None:
        self._common_u, self._own_u = common_u, np.full((len(common_u), 1), np.nan) if own_u is None else own_u
        self._probability = probability

    def __call__(self, cells: Cells) -> Combined:
        """Combine some rows."""
        n, k, m = cells.value.shape
        var = _stated(cells)
        told = np.asarray(np.isfinite(self._own_u).any(axis=1))
        shared = [shared_variance(var[:, o], self._own_u[o], self._common_u[o]) for o in range(k)]
        common = np.stack(shared, axis=1)
        # What inputs are found to share, they share nearly: it is no reason to think one of them wrong.
        var = np.where(told[:, None], var, np.maximum(var - common[:, :, None], _OWN_SHARE_MIN * var))
        parts = [consistent_mean(cells.value[:, o], var[:, o], self._probability) for o in range(k)]
        common *= np.where(told, 1.0 - np.stack([(part.weight**2).sum(axis=1) for part in parts], axis=1), 1.0)
        weight = np.stack([part.weight for part in parts], axis=1) if k else np.zeros((n, k, m))
        mean = np.stack([part.mean for part in parts], axis=1)
        nothing = np.full((n, k), np.nan)
        return Combined(
            value=mean,
            var=np.stack([part.var for part in parts], axis=1) + common,
            innovation=nothing,
            nis=nothing,
            weight=weight,
            disputed=np.stack([part.disputed for part in parts], axis=1),
            refused=None,
            outvoted=np.isfinite(cells.value) & (weight == 0.0),
        )

    def state(self) -> bytes:
        """Each row stands for itself."""
        return b""

    def restore(self, state: bytes) -> None:
        """Nothing to remember."""
        if state:
            raise ValueError("a state for a mean, which has none")


def _stated(cells: Cells) -> NDArray[np.float64]:
    """(n, k, m) the variance of each value; of those that state none, see `WeightedMean`."""
    var = cells.var if cells.widening is None else cells.var * cells.widening
    unknown = np.isfinite(cells.value) & np.isnan(var)
    if not unknown.any():
        return var
    largest = np.fmax.reduce(var, axis=2, keepdims=True)
    centre = np.nanmean(np.where(np.isfinite(cells.value), cells.value, 0.0), axis=2, keepdims=True)
    scatter = np.where(np.isfinite(cells.value), cells.value - centre, 0.0)
    count = np.isfinite(cells.value).sum(axis=2, keepdims=True)
    apart = (scatter**2).sum(axis=2, keepdims=True) / np.maximum(count - 1, 1)
    return np.where(unknown, np.where(np.isnan(largest), apart, largest), var)


_OWN_SHARE_MIN = 0.01
"""Of a stated variance at least so much is an input's own, however large a common part is declared."""


class Vote:
    """One sensor speaks for all: the first in order that is healthy, while the majority agrees with it.

    A sensor that disagrees with the majority is passed over at once, and is out of order after `fail_after` bad rows
    (missing ones among them); it is back in its place after `recover_after` good ones. Two sensors that contradict one
    another have no majority: the first goes on, disputed, with half their distance in its uncertainty.

    Args:
        shape: outputs k and inputs m of each, which stand in order of preference.
        common_u: (k,) standard uncertainty that all inputs of an output share.
        gate: in standard deviations of the difference.
        fail_after: bad rows.
        recover_after: good rows.
    """

    def __init__(
        self, shape: tuple[int, int], common_u: NDArray[np.float64], gate: float, fail_after: int, recover_after: int
    ) -> None:
        self._common_var, self._gate = common_u**2, gate
        self._fail_after, self._recover_after = fail_after, recover_after
        self._health = np.zeros((shape[0] * shape[1], 2), np.int64)
        self._health[:, 0] = 1

    def __call__(self, cells: Cells) -> Combined:
        """Vote in some rows."""
        n, k, m = cells.value.shape
        value = cells.value
        there = np.isfinite(value)
        var = cells.var if cells.widening is None else cells.var * cells.widening
        tolerance = np.where(np.isnan(var), 0.0, var)
        good = np.stack([agreeing(value[:, o], tolerance[:, o], self._gate) for o in range(k)], axis=1)
        count = there.sum(axis=2)
        disputed = (count > 1) & (2 * good.sum(axis=2) <= count)
        good = np.where(disputed[:, :, None], there, good)
        healthy, self._health = hysteresis(good.reshape(n, k * m), self._health, self._fail_after, self._recover_after)
        best = good & healthy.reshape(n, k, m)
        chosen = np.where(best.any(axis=2, keepdims=True), best, np.where(good.any(axis=2, keepdims=True), good, there))
        who = chosen.argmax(axis=2)[:, :, None]
        some: NDArray[np.bool_] = count > 0
        spoken = np.where(some, np.take_along_axis(value, who, axis=2)[:, :, 0], np.nan)
        apart = np.where(there, np.abs(value - spoken[:, :, None]), 0.0).max(axis=2, initial=0.0)
        extra = np.where(disputed, (apart / 2.0) ** 2, 0.0)
        weight = (np.arange(m) == who) & some[:, :, None]
        nothing = np.full((n, k), np.nan)
        return Combined(
            value=spoken,
            var=np.where(some, np.take_along_axis(var, who, axis=2)[:, :, 0] + extra + self._common_var, np.nan),
            innovation=nothing,
            nis=nothing,
            weight=weight.astype(np.float64),
            disputed=disputed,
            refused=None,
            outvoted=there & ~good,
        )

    def state(self) -> bytes:
        """The health of each input."""
        return pack_arrays(self._health)

    def restore(self, state: bytes) -> None:
        """Remember it."""
        (self._health,) = unpack_arrays(state, self._health)
