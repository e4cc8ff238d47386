"""Maximum likelihood of the noises of a filter, from what it foretold of a recording.

The likelihood is that of the innovations (Harvey 1989, section 3.4), with the tail of a Student-t, so that a few wild
readings do not set the noise of all. Sensors of one quantity each have their own r, and share what moves it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from trueline_edge.estimation.kernels import Robust, kalman_level, kalman_trend, level_fresh, trend_fresh
from trueline_edge.estimation.structural import DailyNoise
from trueline_edge.stages.fusion.process import Daily

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Fit", "Model", "fit_noise", "log_likelihood"]

Model = Literal["level", "trend", "daily"]
_ROBUST = Robust(dof=30.0, gate=inf)
"""A wild reading moves little, a good one as much as it should; a gate would make the likelihood jump."""
_NAMES = {"level": ("q",), "trend": ("q", "q_trend"), "daily": ("q", "q_trend", "q_daily")}
_FIT_SHARE = 0.7
"""Of the recording, at its beginning, is fitted to; the rest says what it is worth."""
_SKIPPED = 10
"""Readings at the beginning that find the level, and say nothing of its noise."""
_LEARNABLE = 50


class Fit(NamedTuple):
    """What was found.

    Attributes:
        r: (m,) variance of the noise of each sensor.
        moves: q, and as the model has them q_trend and q_daily.
        gain: log likelihood for each reading of the later part, above that of the first guess.
        readings: of the later part.
        nis: mean of innovation squared over its variance there, of the readings inside five standard deviations; 1
            where the noises are right.
    """

    r: Array
    moves: dict[str, float]
    gain: float
    readings: int
    nis: float


class _Outcome(NamedTuple):
    innovation: Array
    nis: Array


def _foretell(model: Model, dt_s: Array, value: Array, r: Array, moves: Array, damping_s: float) -> _Outcome:
    m = value.shape[1]
    if model == "level":
        level = kalman_level(level_fresh(m), dt_s, value, r, moves[0], _ROBUST)
        return _Outcome(level.innovation, level.nis)
    if model == "trend":
        slope = 100.0 * np.cbrt(r) * np.cbrt(moves[1]) ** 2
        trend = kalman_trend(trend_fresh(m, slope), dt_s, value, r, moves[0], moves[1], damping_s, _ROBUST)
        return _Outcome(trend.innovation, trend.nis)
    noise = DailyNoise(float(moves[0]), float(moves[1]), damping_s, float(moves[2]))
    daily = Daily([noise] * m, _ROBUST)(dt_s, value, np.broadcast_to(r, value.shape))
    return _Outcome(daily.innovation, daily.nis)


def log_likelihood(outcome: _Outcome, rows: slice) -> float:
    """Of the readings in these rows, up to a constant."""
    innovation, x = outcome.innovation[rows], outcome.nis[rows]
    known = np.isfinite(innovation) & (x > 0.0)
    log_variance = np.log(innovation[known] ** 2 / x[known])
    tail = (_DOF + 1.0) * np.log1p(_NORMAL * x[known] / _DOF)
    return -0.5 * float((log_variance + tail).sum())


def fit_noise(model: Model, dt_s: Array, value: Array, damping_s: float) -> Fit:
    """Fit the noises to the first part of a recording, and see what they foretell of the rest.

    Args:
        model: how the quantity moves.
        dt_s: (n,) since the row before; NaN in the first.
        value: (n, m) of the sensors; NaN where there is none.
        damping_s: time constant with which slopes die away.

    Raises:
        ValueError: too few readings, or they never change.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - at the desk only

    r, moves = _guess(model, dt_s, value)
    count = int(_FIT_SHARE * len(value))
    early, late = slice(_SKIPPED, count), slice(count, None)
    start = np.log(np.concatenate([r, moves]))
    m = value.shape[1]

    def cost(logs: Array) -> float:
        noise = np.exp(np.clip(logs, start - _REACH, start + _REACH))
        outcome = _foretell(model, dt_s[:count], value[:count], noise[:m], noise[m:], damping_s)
        return -log_likelihood(outcome, early) / count + _LEASH * float(((logs - start) ** 2).sum())

    best = min(
        (
            minimize(cost, start + np.append(np.zeros(m), shift), method="Nelder-Mead", options=_OPTIONS)
            for shift in (np.zeros(len(moves)), np.full(len(moves), -4.0))
        ),
        key=lambda result: float(result.fun),
    )
    found = np.exp(np.clip(best.x, start - _REACH, start + _REACH))
    outcome = _foretell(model, dt_s, value, found[:m], found[m:], damping_s)
    guessed = _foretell(model, dt_s, value, r, moves, damping_s)
    readings = int(np.isfinite(outcome.innovation[late]).sum())
    inside = outcome.nis[late][outcome.nis[late] < _INSIDE]
    gain = (log_likelihood(outcome, late) - log_likelihood(guessed, late)) / max(readings, 1)
    fitted = dict(zip(_NAMES[model], found[m:].tolist(), strict=True))
    return Fit(found[:m], fitted, gain, readings, float(inside.mean()) if len(inside) else np.nan)


_REACH = 30.0
"""Logarithms the search may go from where it began."""
_LEASH = 1e-7
_DOF, _NORMAL = 8.0, 1.2321
"""Degrees of freedom of the tail; and by how much narrower than the Gaussian it fits best it is."""
_INSIDE = 25.0
_OPTIONS = {"maxfev": 600, "xatol": 0.01, "fatol": 1e-6}


def _size(differences: Array) -> float:
    """Variance, robustly; where most do not change at all, of those that do as well."""
    return float(1.4826 * np.median(np.abs(differences))) ** 2 or float(np.mean(differences**2))


def _guess(model: Model, dt_s: Array, value: Array) -> tuple[Array, Array]:
    """Where the search begins: from the scatter of second and first differences, robustly."""
    r = np.empty(value.shape[1])
    steps = []
    typical_s = float(np.nanmedian(dt_s[dt_s > 0.0])) if (dt_s > 0.0).any() else 1.0
    for i, own in enumerate(value.T):
        heard = own[np.isfinite(own)]
        if len(heard) < _LEARNABLE:
            raise ValueError(f"{len(heard)} readings of an input: {_LEARNABLE} are the least to learn from")
        rough = _size(np.diff(heard, 2)) / 6.0
        if not rough > 0.0:
            raise ValueError("the readings of an input never change")
        r[i] = rough
        steps.append(max(_size(np.diff(heard)) - 2.0 * rough, 0.01 * rough))
    q = float(np.median(steps)) / typical_s
    wanted = {"q": q, "q_trend": q / (10.0 * typical_s) ** 2, "q_daily": 1e-3 * q}
    return r, np.array([wanted[name] for name in _NAMES[model]])
