"""What filters are told and what they answer: plain tuples of arrays.

All arrays are time-major, C-contiguous float64: n rows, k channels, m sensors. NaN means: not measured, or not known.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "GAUSSIAN",
    "LEARNING",
    "ROBUST",
    "BankConfig",
    "BankOut",
    "FuseOut",
    "HampelOut",
    "KalmanOut",
    "LinearOut",
    "Robust",
    "TrendOut",
]


class Robust(NamedTuple):
    """How far a filter trusts a value that surprises it.

    Attributes:
        dof: degrees of freedom of the Student-t noise: the tail weighs (dof + 1) / (dof + NIS); inf is Gaussian.
        gate: a value further than so many standard deviations of its innovation moves nothing; inf takes every value.
        step_samples: so many gated values in a row that agree with one another are a step: the level follows.
    """

    dof: float = 6.0
    gate: float = 5.0
    step_samples: int = 3


ROBUST = Robust()
"""What filters do where nothing else is said."""

GAUSSIAN = Robust(dof=inf, gate=inf)
"""The Kalman filter as Kalman wrote it."""


class KalmanOut(NamedTuple):
    """What a filter of k channels says row by row.

    Attributes:
        mean: (n, k) the level, given all rows up to this one.
        var: (n, k) its variance; inf before the first value.
        innovation: (n, k) value minus predicted value; NaN where nothing was learnt or nothing had been predicted.
        nis: (n, k) normalised innovation squared: about 1 on average where the model holds.
        state: to go on from.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    innovation: NDArray[np.float64]
    nis: NDArray[np.float64]
    state: NDArray[np.float64]


class TrendOut(NamedTuple):
    """As `KalmanOut`, with the slope [unit/s] and its variance, (n, k) each."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    innovation: NDArray[np.float64]
    nis: NDArray[np.float64]
    slope: NDArray[np.float64]
    slope_var: NDArray[np.float64]
    state: NDArray[np.float64]


class BankOut(NamedTuple):
    """As `KalmanOut`, with the variances learnt: `r` of a value [unit^2], `q` of the walk [unit^2/s], (n, k) each."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    innovation: NDArray[np.float64]
    nis: NDArray[np.float64]
    r: NDArray[np.float64]
    q: NDArray[np.float64]
    state: NDArray[np.float64]


class FuseOut(NamedTuple):
    """As `KalmanOut` for k measurands, with `weight` (n, k, m): the share of each sensor in the row's value.

    The weights of a row add up to one, or to zero where no sensor counted; `innovation` and `nis` are those of the
    combined value.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    innovation: NDArray[np.float64]
    nis: NDArray[np.float64]
    weight: NDArray[np.float64]
    state: NDArray[np.float64]


class LinearOut(NamedTuple):
    """What an n-state filter says row by row.

    Attributes:
        mean: (n, s) the states.
        cov: (n, s, s) their covariance.
        innovation: (n, m) of each sensor, taken one after the other.
        nis: (n, m) each innovation, squared and divided by its variance.
        state: to go on from.
    """

    mean: NDArray[np.float64]
    cov: NDArray[np.float64]
    innovation: NDArray[np.float64]
    nis: NDArray[np.float64]
    state: NDArray[np.float64]


class HampelOut(NamedTuple):
    """What the window says about each value.

    Attributes:
        median: (n, k) of the window the value is judged by, which does not hold the value itself; NaN where the
            window is too short to judge.
        mad: (n, k) median absolute deviation from it, not scaled.
        verdict: (n, k) 0 cannot be judged, 1 good, 2 rejected, 3 rejected, and far away.
        state: to go on from.
    """

    median: NDArray[np.float64]
    mad: NDArray[np.float64]
    verdict: NDArray[np.uint8]
    state: NDArray[np.float64]

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """(n, k) bool."""
        return self.verdict > 1


class BankConfig(NamedTuple):
    """A bank of local-level filters over a grid of (R, Q); the grid finds and follows the scale by itself.

    Attributes:
        forgetting: share of the weights that is handed out anew with each value: models may become true again.
        gate: as in `Robust`, against what the whole bank predicted.
        step_samples: as in `Robust`.
    """

    forgetting: float = 0.001
    gate: float = 6.0
    step_samples: int = 3


LEARNING = BankConfig()
"""What the bank does where nothing else is said."""
