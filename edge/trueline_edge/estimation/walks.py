"""The door of `bank_walk`: how a quantity moves is learnt where the noise of its values is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_edge.estimation.kernels import IMPLEMENTATION
from trueline_edge.estimation.outcomes import KalmanOut
from trueline_edge.estimation.textbook import walk as textbook

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = ["bank_walk", "walk_fresh"]


def _choose() -> Any:
    if IMPLEMENTATION == "textbook":
        return textbook
    from trueline_edge.estimation import hot  # noqa: PLC0415 - it may not have been compiled

    return hot


_hot: Final = _choose()


def walk_fresh(channels: int) -> Array:
    """State of `bank_walk` before the first value."""
    return np.zeros((channels, textbook.HEAD + 2 * textbook.PARTS * textbook.MODELS))


def bank_walk(
    state: Array,
    dt_s: Array,
    value: Array,
    r: ArrayLike,
    damping_s: float = 21_600.0,
    gate: float = 5.0,
    step_samples: int = 3,
) -> tuple[KalmanOut, Array]:
    """As `kalman_level`, with q learnt, and a slope where the quantity has one.

    Args:
        state: from `walk_fresh` or the call before.
        dt_s: (n,) s, as in `kernels`.
        value: (n, k).
        r: variance of each value, broadcast to (n, k): known, and not learnt.
        damping_s: time constant with which slopes die away.
        gate: in standard deviations of the innovation; a value further out is a spike or a step, which is for the
            values behind it to say. Once most surprises turned out to be steps, they are followed at once.
        step_samples: so many values that speak for a step make it one; 1: values hold no spikes, a surprise is a step.

    Returns:
        The outcome; and (n, k) what the level's walk gains per second, by what was learnt.
    """
    n, k = value.shape
    mean, var, innovation, nis, q = np.empty((5, n, k))
    state = np.array(state, np.float64, order="C")
    noise = np.broadcast_to(np.asarray(r, np.float64), (n, k))
    _hot.bank_walk(state, dt_s, value, noise, damping_s, gate, step_samples, mean, var, innovation, nis, q)
    return KalmanOut(mean, var, innovation, nis, state), q
