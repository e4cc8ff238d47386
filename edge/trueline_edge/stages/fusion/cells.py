"""What the ways of fusing take and give: n rows of k outputs, each from up to m inputs. NaN is: no information."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cells", "Combined", "Combiner", "carried", "moved_nothing", "shared_variance", "systematic_variance"]


class Cells(NamedTuple):
    """What the inputs say.

    Attributes:
        dt_s: (n,) since the row before; NaN in the very first row, not above zero in rows that teach nothing.
        value: (n, k, m) NaN where an input carries no information, or an output has no such input.
        var: (n, k, m) square of the standard uncertainty stated with each value; NaN where unknown.
        widening: (n, k, m) factor of the noise variance: 1, more where the value is SUSPECT; None: 1 everywhere.
    """

    dt_s: NDArray[np.float64]
    value: NDArray[np.float64]
    var: NDArray[np.float64]
    widening: NDArray[np.float64] | None

    def outputs(self, which: NDArray[np.intp], inputs: int) -> Cells:
        """The cells of some outputs, that have so many inputs."""
        part = np.ix_(np.arange(len(self.dt_s)), which, np.arange(inputs))
        widening = None if self.widening is None else self.widening[part]
        return Cells(self.dt_s, self.value[part], self.var[part], widening)


class Combined(NamedTuple):
    """What the outputs say.

    Attributes:
        value: (n, k) NaN before anything is known.
        var: (n, k) variance, systematic part and all.
        innovation: (n, k) NaN where nothing new came in, or nothing was predicted.
        nis: (n, k) innovation squared over its variance.
        weight: (n, k, m) share of each input in what was new.
        disputed: (n, k) bool: the inputs contradict one another, and there is no majority to believe.
        refused: (n, k) bool: what came in was too surprising and moved nothing.
        outvoted: (n, k, m) bool: the inputs a majority spoke against; None: none anywhere.
        walk: (n, k) twice: the filter's own variance, and what it gains per second; None: there is no filter.
    """

    value: NDArray[np.float64]
    var: NDArray[np.float64]
    innovation: NDArray[np.float64]
    nis: NDArray[np.float64]
    weight: NDArray[np.float64]
    disputed: NDArray[np.bool_] | None
    refused: NDArray[np.bool_] | None
    outvoted: NDArray[np.bool_] | None
    walk: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None


class Combiner(Protocol):
    """One way of fusing, with its memory. Cutting the rows elsewhere changes nothing."""

    def __call__(self, cells: Cells, /) -> Combined:
        """Combine some rows."""
        raise NotImplementedError

    def state(self) -> bytes:
        """All it remembers."""
        raise NotImplementedError

    def restore(self, state: bytes) -> None:
        """Remember it; ValueError where it is not the state of such a one."""


def systematic_variance(
    declared: NDArray[np.float64], var: NDArray[np.float64], r: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The part of each value's variance that no averaging takes away.

    Args:
        declared: (..., m) standard uncertainty as configured; NaN where nothing was.
        var: (..., m) variance stated with the value; NaN where unknown.
        r: (..., m) variance of its noise from row to row.

    Returns:
        (..., m) the declared one squared; else what the noise leaves unexplained of the stated variance; else zero.
    """
    rest = var - r
    np.fmax(rest, 0.0, out=rest)
    unknown = np.isnan(declared)
    return rest if unknown.all() else np.where(unknown, rest, declared * declared)


def shared_variance(stated: NDArray[np.float64], own_u: NDArray[np.float64], common_u: float) -> NDArray[np.float64]:
    """The variance that the inputs of an output have in common, row by row.

    Args:
        stated: (n, m) of each input; NaN where it is not there.
        own_u: (m,) standard uncertainty that is each input's own; NaN: `common_u` is all they share.
        common_u: what they share at least.

    Returns:
        (n,) what the input in the middle states beyond its own: one of them may err, or lack what the others share.
    """
    least = np.full(len(stated), common_u**2)
    if np.isnan(own_u).all():
        return least
    beyond = np.sort(stated - own_u**2, axis=1)  # NaN goes last
    middle = np.maximum(np.isfinite(beyond).sum(axis=1) - 1, 0) // 2
    shared: NDArray[np.float64] = np.fmax(np.take_along_axis(beyond, middle[:, None], axis=1)[:, 0], least)
    return shared


def carried(now: NDArray[np.float64], before: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each column with its gaps (NaN) filled by what was there last; `before` is what was last in earlier rows.

    Returns:
        (n, ...) the filled columns; what is last now.
    """
    gaps = np.isnan(now)
    if not len(now):
        return now, before
    if not gaps.any():
        return now, now[-1].copy()
    rows = np.arange(len(now)).reshape(-1, *[1] * (now.ndim - 1))
    last = np.maximum.accumulate(np.where(gaps, -1, rows), axis=0)
    filled = np.where(last < 0, before, np.take_along_axis(now, np.maximum(last, 0), axis=0))
    return filled, filled[-1].copy()


def moved_nothing(
    value: NDArray[np.float64],
    mean: NDArray[np.float64],
    innovation: NDArray[np.float64],
    nis: NDArray[np.float64],
    gate: float,
) -> NDArray[np.bool_] | None:
    """Which values were beyond the gate and left the mean where it was; None where none were."""
    beyond = nis > gate * gate
    cells = np.nonzero(beyond)
    if not len(cells[0]):
        return None
    surprise = innovation[cells]
    beyond[cells] = np.abs(mean[cells] - (value[cells] - surprise)) < _STEP_SHARE * np.abs(surprise)
    return beyond


_STEP_SHARE = 0.25
"""A step that is followed takes the mean almost all the way; a value that is refused takes it nowhere."""
