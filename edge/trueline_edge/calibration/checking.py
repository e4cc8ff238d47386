"""A calibration held against pairs it has never seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.calibration.correct import Corrector
from trueline_edge.calibration.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.candidates import Data
    from trueline_edge.calibration.file import Calibration

    F64 = NDArray[np.float64]

__all__ = ["Applied", "Score", "apply_to", "coverage_at", "score_of"]

_QUANTILE_50 = 0.674490
_QUANTILE_95 = 1.959964


class Applied(NamedTuple):
    """(n,) each."""

    value: F64
    u: F64
    doubtful: NDArray[np.bool_]


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How good corrected readings are.

    Attributes:
        pairs: counted.
        rmse: root mean square error, in the unit of the measurand.
        bias: mean error.
        correlation: with the reference.
        coverage_95: share of pairs whose 95 % interval holds the reference.
        coverage_50: as well, for 50 %.
        u_median: median standard uncertainty.
        doubtful: share of pairs out of range, beyond the validity, or with an input missing.
    """

    pairs: int
    rmse: float
    bias: float
    correlation: float
    coverage_95: float
    coverage_50: float
    u_median: float
    doubtful: float


def apply_to(calibration: Calibration, data: Data) -> Applied:
    """Correct the raw readings of pairs."""
    names = list(data.raw)
    value = np.stack([data.raw[name] for name in names], axis=1)
    inputs = {name: names.index(name) for name in calibration.inputs}
    column = names.index(calibration.channel)
    corrected = Corrector([Task(calibration, column, inputs)])(
        (data.time_s * 1e9).astype(np.int64),
        value,
        np.full(value.shape, np.nan, np.float32),
        np.isfinite(value),
    )
    doubtful = corrected.doubtful
    none = np.zeros(len(value), np.bool_)
    return Applied(
        corrected.value[:, column],
        corrected.u[:, column].astype(np.float64),
        none if doubtful is None else doubtful[:, column],
    )


def score_of(applied: Applied, reference: F64) -> Score:
    """Score corrected readings."""
    error = applied.value - reference
    return Score(
        pairs=len(error),
        rmse=float(np.sqrt(np.mean(error**2))),
        bias=float(error.mean()),
        correlation=float(np.corrcoef(applied.value, reference)[0, 1]),
        coverage_95=float(np.mean(np.abs(error) <= _QUANTILE_95 * applied.u)),
        coverage_50=float(np.mean(np.abs(error) <= _QUANTILE_50 * applied.u)),
        u_median=float(np.median(applied.u)),
        doubtful=float(applied.doubtful.mean()),
    )


def coverage_at(applied: Applied, reference: F64, factors: F64) -> F64:
    """(m,) share of pairs within k times u, for each coverage factor k."""
    ratio = np.abs(applied.value - reference) / applied.u
    return np.array([np.mean(ratio <= factor) for factor in factors])
