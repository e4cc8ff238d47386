"""Functions that are fitted whole, beside the average of sums: an offset, polynomials, tables, monotone cubics.

A sensor that is read alone may be bent in ways that a straight line does not follow (thermistors, photodiodes, pH). A
polynomial explodes outside what it has seen and a table does not; which of them is right, the later pairs say. Tables
rise or fall throughout: a sensor that shows one thing for two quantities cannot be calibrated. Robust (Huber); the
covariance is by blocks of a day.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares

from trueline_edge.calibration.models import Model, Offset, Polynomial, Table, rounded, rounded_covariance
from trueline_edge.calibration.splits import blocks_of
from trueline_edge.calibration.table import TableCurve

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trueline_edge.calibration.candidates import Data

    F64 = NDArray[np.float64]

__all__ = ["KINDS", "challengers"]

KINDS = ("offset", "polynomial", "table", "spline")
_DEGREES = (2, 3)
_KNOTS = (4, 6, 9)
_PAIRS_PER_KNOT = 20
_STEP_MIN = 1e-6
"""From knot to knot a table rises by so much of the reference's spread at least: it says one thing for each reading."""
_HUBER = 4.0
_ROUNDS = 10


def challengers(data: Data, kind: str = "auto") -> dict[str, Callable[[Data], Model]]:
    """What to fit, by name: for a sensor that is read alone; the kind that was asked for in any case."""
    found: dict[str, Callable[[Data], Model]] = {"offset": fit_offset}
    knots = [k for k in _KNOTS if len(data.reference) >= k * _PAIRS_PER_KNOT] or [_KNOTS[0]]
    if len(data.raw) == 1 or kind in KINDS:
        found |= {f"polynomial of degree {degree}": partial(fit_polynomial, degree=degree) for degree in _DEGREES}
        found |= {f"table of {k} knots": partial(fit_table, knots=k, smooth=False) for k in knots}
        found |= {f"spline of {k} knots": partial(fit_table, knots=k, smooth=True) for k in knots}
    return found


def fit_offset(data: Data) -> Offset:
    """The difference from the reference, and its uncertainty."""
    difference = data.reference - data.raw[data.channel]
    found, covariance = _robust(np.ones((len(difference), 1)), difference, data.time_s)
    return Offset(offset=rounded(found)[0], u_offset=rounded(np.sqrt(covariance[0]))[0])


def fit_polynomial(data: Data, *, degree: int) -> Polynomial:
    """By least squares in powers of the scaled reading."""
    own = data.raw[data.channel]
    centre, scale = rounded(np.array([own.mean(), max(own.std(), 1e-300)]))
    powers = np.vander((own - centre) / scale, degree + 1, increasing=True)
    found, covariance = _robust(powers, data.reference, data.time_s)
    return Polynomial(
        coefficients=rounded(found), centre=centre, scale=scale, covariance=rounded_covariance(covariance)
    )


def fit_table(data: Data, *, knots: int, smooth: bool) -> Table:
    """Knots at quantiles of the readings; their values by least squares that never turn round.

    Raises:
        ValueError: readings have too few different values.
    """
    own, truth = data.raw[data.channel], data.reference
    places = np.array(sorted(set(rounded(np.quantile(own, np.linspace(0.0, 1.0, knots))))))
    if len(places) < 3:  # noqa: PLR2004 - two are a straight line
        raise ValueError("readings have too few different values for a table")
    line = np.polyfit(own, truth, 1)
    way = 1.0 if line[0] >= 0.0 else -1.0
    least = _STEP_MIN * float(np.ptp(truth))

    def values(parameters: F64) -> F64:
        found: F64 = parameters[0] + way * np.concatenate([[0.0], np.cumsum(parameters[1:])])
        return found

    def residual(parameters: F64) -> F64:
        table = Table(raw=tuple(places.tolist()), value=tuple(values(parameters).tolist()), smooth=smooth)
        said: F64 = TableCurve(table)(own[:, None]).value[:, 0] - truth
        return said

    start = np.concatenate([[np.polyval(line, places[0])], np.maximum(np.diff(places) * abs(line[0]), 2.0 * least)])
    floor = np.concatenate([[-np.inf], np.full(len(places) - 1, least)])
    rough = 1.4826 * float(np.median(np.abs(residual(start)))) + 1e-12 * float(np.ptp(truth))
    to_values = np.tril(np.full((len(places), len(places)), way))
    to_values[:, 0] = 1.0
    hats = _hats(own, places)
    straight = hats @ to_values
    found = least_squares(
        residual,
        start,
        jac=lambda _: straight,  # of the cubic it is near enough to lead to the same place
        bounds=(floor, np.inf),
        loss="huber",
        f_scale=_HUBER * rough,
        x_scale="jac",
        xtol=1e-6,
    )
    covariance = _by_blocks(hats, residual(found.x), data.time_s)
    return Table(
        raw=tuple(places.tolist()),
        value=rounded(values(found.x)),
        covariance=rounded_covariance(covariance),
        smooth=smooth,
    )


def _hats(x: F64, places: F64) -> F64:
    """(n, m) shares of the knots in straight lines between them, beyond the ends too."""
    left = np.clip(np.searchsorted(places, x, side="right") - 1, 0, len(places) - 2)
    share = (x - places[left]) / (places[left + 1] - places[left])
    hats = np.zeros((len(x), len(places)))
    rows = np.arange(len(x))
    hats[rows, left], hats[rows, left + 1] = 1.0 - share, share
    return hats


def _robust(features: F64, y: F64, time_s: F64) -> tuple[F64, F64]:
    """(m,) Huber regression and (m, m) its covariance."""
    weight = np.ones(len(y))
    found = np.zeros(features.shape[1])
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        found = np.asarray(np.linalg.lstsq(features * root[:, None], y * root, rcond=None)[0], np.float64)
        away = np.abs(y - features @ found)
        limit = _HUBER * 1.4826 * float(np.median(away))
        weight = np.minimum(1.0, np.maximum(limit, 1e-300) / np.maximum(away, 1e-300))
    return found, _by_blocks(features, y - features @ found, time_s)


def _by_blocks(jacobian: F64, residual: F64, time_s: F64) -> F64:
    """(m, m) covariance of parameters: residuals of one day are alike, of different days not."""
    information = jacobian.T @ jacobian
    information[np.diag_indices_from(information)] *= 1.0 + 1e-9
    inverse = np.linalg.pinv(information)
    starts = blocks_of(time_s)
    moved = np.add.reduceat(jacobian * residual[:, None], starts, axis=0) @ inverse
    covariance: F64 = moved.T @ moved * (len(starts) / max(len(starts) - 1, 1))
    return covariance
