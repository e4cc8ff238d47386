"""The door of `undo_play`; and the play operator itself, for where the quantity is known.

Promises: state goes in, a new state comes out; where rows were cut into calls changes no bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from trueline_edge.estimation.kernels import IMPLEMENTATION
from trueline_edge.estimation.textbook import play as textbook

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = ["PlayOut", "play_between", "play_fresh", "undo_play"]


def _choose() -> Any:
    if IMPLEMENTATION == "textbook":
        return textbook
    from trueline_edge.estimation import hot  # noqa: PLC0415 - it may not have been compiled

    return hot


_hot: Final = _choose()
_TABLE: Final = textbook.transitions()


class PlayOut(NamedTuple):
    """How far the quantity is from what the sensor shows, (n, k) each.

    Attributes:
        offset: mean of the quantity less the reading, without noise.
        var: its variance.
    """

    offset: Array
    var: Array


def play_fresh(channels: int) -> Array:
    """State of `undo_play` before the first reading."""
    return textbook.fresh(channels)


def undo_play(
    state: Array, dt_s: Array, value: Array, half_width: ArrayLike, noise_var: ArrayLike, wander_var: ArrayLike = 0.0
) -> tuple[PlayOut, Array]:
    """Where the quantity is, within the play of k sensors; see `textbook.play`.

    Args:
        state: from `play_fresh` or the call before.
        dt_s: (n,) s, as in `kernels`.
        value: (n, k) readings, rid of all other errors; NaN where there is none.
        half_width: (k,) of the play, in the unit of `value`.
        noise_var: (k,) or (n, k) variance of a reading's noise.
        wander_var: (k,) variance by which the sensor's own error walks from reading to reading.
    """
    n, k = value.shape
    half, wander = (
        np.ascontiguousarray(np.broadcast_to(np.asarray(given, np.float64), (k,))) for given in (half_width, wander_var)
    )
    noise = np.broadcast_to(np.asarray(noise_var, np.float64), (n, k))
    out = PlayOut(np.empty((n, k)), np.empty((n, k)))
    state = np.array(state, np.float64, order="C")
    _hot.undo_play(state, _TABLE, np.asarray(dt_s, np.float64), value, half, noise, wander, *out)
    return out, state


def play_between(quantity: Array, half_width: float) -> tuple[Array, Array]:
    """What a sensor with play shows of a known quantity: between which two, as nobody knows where it lay at first.

    The play operator keeps order: so it is run from both ends. From where they meet, both are what it shows.

    Args:
        quantity: (n, k) in order of time; NaN where nothing is known of it: then it is taken to rest.
        half_width: of the play.

    Returns:
        (n, k) lowest and highest; NaN before the first quantity that is known.
    """
    low, high = np.empty_like(quantity), np.empty_like(quantity)
    start = np.full(quantity.shape[1], np.nan)
    ends = [start.copy(), start.copy()]
    for i, row in enumerate(quantity):
        known = np.isfinite(row)
        for sign, end, shown in ((-1.0, ends[0], low), (1.0, ends[1], high)):
            last = np.where(np.isnan(end), row + sign * half_width, end)
            end[known] = np.clip(last, row - half_width, row + half_width)[known]
            shown[i] = end
    return low, high
