"""The door of `panel`: several sensors of one quantity, whom to believe, and what they differ by all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.estimation.kernels import implementation
from trueline_edge.estimation.textbook.panels import LAW, SENSORS_MAX, SPANS, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["PanelOut", "panel", "panel_fresh"]


class PanelOut(NamedTuple):
    """What the sensors of a quantity say together.

    Attributes:
        value: (n,) NaN where nobody counted.
        r: (n,) variance of its noise.
        systematic: (n,) variance of what lasts in it.
        share: (n, m) of each sensor; a row adds up to one, or to zero where nobody counted.
        disputed: (n,) bool: they contradict one another without a majority.
        outvoted: (n, m) bool: the others spoke against it.
        refused: (n,) bool: something came, and nobody was believed.
        state: to go on from.
    """

    value: Array
    r: Array
    systematic: Array
    share: Array
    disputed: NDArray[np.bool_]
    outvoted: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    state: Array


def panel_fresh(sensors: int) -> Array:
    """State of `panel` before the first row."""
    state = np.zeros(size(sensors))
    state[4 * sensors : 5 * sensors] = 1.0  # as noisy as they should be
    return state


def panel(
    state: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    systematic: Array,
    nearly: Array,
    jumped: NDArray[np.bool_],
    gate: float,
    *,
    independent: bool,
) -> PanelOut:
    """Take rows.

    Args:
        state: from `panel_fresh` or the call before.
        dt_s: (n,) s, as in `kernels`: a row whose time did not move on teaches nothing.
        value: (n, m) NaN where a sensor was not heard; up to 16 sensors.
        r: (n, m) variance of the noise of each; positive where there is a value.
        systematic: (n, m) variance of what lasts in each sensor's error; zero: nothing is stated of it.
        nearly: (n,) variance of what all err by alike, as far as they do: it may be between them too.
        jumped: (n, m) bool: the sensor by itself would not have believed this value.
        gate: in standard deviations: further from the majority does not count.
        independent: what lasts in their errors is; else the mean is as uncertain as they are.
    """
    n, m = value.shape
    if len(state) != size(m) or m > SENSORS_MAX:
        raise ValueError(f"a state of {len(state)} numbers for {m} sensors")
    out = state[5 * m : 6 * m]
    if not ((out >= 0.0) & (out <= len(SPANS))).all():
        raise ValueError("a state of sensors that were outvoted by no test there is")
    state, said = state.copy(), np.empty((n, 5))
    share, outvoted = np.empty((n, m)), np.empty((n, m), np.uint8)
    law = np.array([gate, *LAW])
    given = (np.ascontiguousarray(each, np.float64) for each in (dt_s, value, r, systematic, nearly))
    marks = np.ascontiguousarray(jumped).view(np.uint8)
    implementation().panel(state, law, *given, marks, independent, said, share, outvoted)
    disputed, refused = said[:, 3] > 0.0, said[:, 4] > 0.0
    return PanelOut(said[:, 0], said[:, 1], said[:, 2], share, disputed, outvoted.view(np.bool_), refused, state)
