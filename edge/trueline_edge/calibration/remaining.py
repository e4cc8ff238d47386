"""What a calibration leaves: residuals out of time -> noise, model uncertainty and drift.

An inner fit has fewer pairs than the last one, and the fewer they are, the further away in time is what it is scored
on: so the variance of its own parameters is taken off its residuals first, lest their growth be mistaken for drift. In
less than a month a drift cannot be told from weather. Nobody has seen a calibration last longer than its campaign: so
one is assumed that doubles the lasting variance after as long again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.stats import t as student

from trueline_edge.calibration.candidates import MONTH_D, Data
from trueline_edge.calibration.file import Uncertainty
from trueline_edge.calibration.models import rounded
from trueline_edge.calibration.splits import DAY_S, blocks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]
    Rows = NDArray[np.intp]
    Splits = list[tuple[Rows, Rows]]

__all__ = ["OutOfTime", "out_of_time", "remaining"]

_QUANTILE_95 = 1.959964
_CLIP = 16.0
_RELATIVE_MIN = 0.3
"""Spread of the reference (over its mean) from which errors in proportion can be told from constant ones."""
_FACTOR_RANGE = (0.7, 2.0)


class OutOfTime(NamedTuple):
    """What the calibration says of pairs it was not fitted to, one after the other for each inner split."""

    row: Rows
    """Of the pair."""
    value: F64
    residual: F64
    """Value minus reference."""
    age_d: F64
    """Days from the nearest pair it was fitted to."""
    early: F64
    """Variance of the value, from the parameters of that split's own fit."""


def out_of_time(data: Data, splits: Splits, said: list[F64], early: list[F64]) -> OutOfTime:
    """Put the splits one after the other."""
    rows = np.concatenate([scored for _, scored in splits])
    value = np.concatenate(said)
    ages = []
    for fitted, scored in splits:
        first, last = data.time_s[fitted[0]], data.time_s[fitted[-1]]
        ages.append(np.maximum(first - data.time_s[scored], data.time_s[scored] - last) / DAY_S)
    return OutOfTime(rows, value, value - data.reference[rows], np.concatenate(ages), np.concatenate(early))


def remaining(data: Data, value: F64, parameters: F64, out: OutOfTime) -> tuple[Uncertainty, float]:
    """Parts of the out-of-time residuals, and the factor by which all were wrong at the 95th percentile.

    Args:
        data: all pairs.
        value: (n,) what the calibration says of them, fitted to all.
        parameters: (n,) its variance, from the parameters.
        out: what inner fits said.
    """
    span_d = float(np.ptp(data.time_s)) / DAY_S
    spread = float(np.std(data.reference)) / max(abs(float(np.mean(data.reference))), 1e-300)
    squared = out.residual**2
    ages = out.age_d * (span_d >= MONTH_D)
    parts = np.stack([np.ones(len(squared)), out.value**2 * (spread > _RELATIVE_MIN), ages], axis=1)
    variance = np.full(len(squared), max(float(squared.mean()), 1e-300))
    found = np.zeros(3)
    for _ in range(8):
        clipped = np.minimum(squared, _CLIP * variance) - out.early
        found = nnls(parts / variance[:, None], np.maximum(clipped, 0.0) / variance)[0]
        variance = np.maximum(parts @ found + out.early, 1e-6 * squared.mean() + 1e-300)
    factor = float(np.quantile(np.sqrt(squared / variance), 0.95) / _QUANTILE_95)
    days = max(len(blocks_of(data.time_s)) - 1, 2)
    factor = float(np.clip(factor, *_FACTOR_RANGE)) * float(student.ppf(0.975, days)) / _QUANTILE_95
    constant, relative, drift = (float(np.sqrt(part)) * factor for part in found)
    residual = data.reference - value
    step = np.diff(residual)[np.diff(data.time_s) <= 1.5 * np.median(np.diff(data.time_s))]
    power = float(np.mean(value**2))
    all_of_it = float(np.sqrt(constant**2 + relative**2 * power))
    noise = min(float(np.sqrt(np.mean(step**2) / 2)) if len(step) else constant, all_of_it)
    model = float(np.sqrt(max(constant**2 - noise**2, 0.0)))
    if noise > constant:  # what errors in proportion had of it
        relative = float(np.sqrt(max(relative**2 - (noise**2 - constant**2) / power, 0.0)))
    lasting = np.mean(model**2 + (relative * data.reference) ** 2) + np.median(parameters) * factor**2
    drift = max(drift, float(np.sqrt(lasting / max(span_d, MONTH_D))))
    names = ("noise", "model", "model_relative", "drift")
    return Uncertainty(**dict(zip(names, rounded(np.array([noise, model, relative, drift])), strict=True))), factor
