"""The door of `credit`: what is said of values that were each filtered by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.estimation.kernels import implementation, spread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = ["Credit", "credit"]

_STEP_SHARE = 0.25
"""A step that is followed takes the mean almost all the way; a value that is refused takes it nowhere."""


class Credit(NamedTuple):
    """What is said.

    Attributes:
        total: (n, k) variance of the filter, and the systematic part beside it.
        weight: (n, k) 1 where a value counted, else 0.
        refused: (n, k) bool: beyond the gate, and the mean stayed where it was; None: none was.
        last: (k,) systematic variance of the last value.
    """

    total: Array
    weight: Array
    refused: NDArray[np.bool_] | None
    last: Array


def credit(
    value: Array,
    stated: Array,
    r: ArrayLike,
    widening: ArrayLike,
    dt_s: Array,
    filtered: tuple[Array, Array, Array, Array],
    gate: float,
    declared: Array,
    common: Array,
    last: Array,
) -> Credit:
    """Say it, in one pass.

    Args:
        value: (n, k), NaN where there was none.
        stated: (n, k) the variance stated with each value; NaN where unknown.
        r: broadcast to (n, k): the part of it that is noise from row to row (NaN: not known yet, none); what is left
            is systematic.
        widening: broadcast to (n, k): of the stated variance of a value that stands alone.
        dt_s: (n,) s, as in `kernels`.
        filtered: mean, variance, innovation and NIS, (n, k) each.
        gate: in standard deviations.
        declared: (k,) systematic variance where it is declared; NaN: what `r` leaves of `stated`.
        common: (k,) variance added to that.
        last: (k,) systematic variance of the last value before: it stays until the next.
    """
    n, k = value.shape
    total, weight, refused, last = np.empty((n, k)), np.empty((n, k)), np.empty((n, k), np.uint8), last.copy()
    given = (value, stated, spread(r, n, k), spread(widening, n, k), dt_s, *filtered, gate, _STEP_SHARE)
    some = implementation().credit(*given, declared, common, last, total, weight, refused)
    return Credit(total, weight, refused.view(np.bool_) if some else None, last)
