"""How near readings are to the truth, and how honest their uncertainties: sums that add up over pieces.

Promises: every figure is made of sums, so that a recording is scored in pieces of any size; coverage and error are kept
by device as well, because a constant bias makes coverage a matter between devices. Refuses to know files and flags.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import ndtr, ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["LEVELS", "NOMINAL", "Tally", "crps", "quantile", "reliability"]

LEVELS: Final = (0.5, 0.9, 0.95)
"""Nominal coverage of the intervals that are reported."""

NOMINAL: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Nominal coverage of the intervals that are counted, for the calibration plot."""

_SPREAD: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles over devices."""


def quantile(level: float) -> float:
    """Coverage factor k of a central normal interval of that coverage: 1.96 for 0.95."""
    return float(ndtri((1.0 + level) / 2.0))


_FACTORS: Final = np.array([quantile(level) for level in NOMINAL])


def crps(error: Array, u: Array) -> Array:
    """Continuous ranked probability score of a normal forecast; smaller is better, in the unit of the error.

    Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007, eq. 21.

    Args:
        error: (n,) mean of the forecast minus truth, or the other way about: it is even.
        u: (n,) standard deviation of the forecast; zero gives the absolute error.
    """
    z = np.divide(np.abs(error), u, out=np.zeros_like(error), where=u > 0.0)
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    spread = u * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi))
    return np.where(u > 0.0, spread, np.abs(error))


class Tally:
    """Sums over cells that have a value, and what they come to.

    Attributes:
        cells: added so far.
    """

    def __init__(self) -> None:
        self.cells = 0
        self._with_u = 0
        self._sums = dict.fromkeys(("error", "raw2", "out2", "width", "crps", "u2"), 0.0)
        self._inside = np.zeros(len(NOMINAL), np.int64)
        self._devices: list[Array] = []

    def add(self, truth: Array, raw: Array, out: Array, u: Array, device: NDArray[np.int32]) -> None:
        """Add cells; all (n,), in the channel's unit.

        Args:
            truth: what was true.
            raw: what the sensor said.
            out: what came out of the pipeline.
            u: standard uncertainty that came with it; NaN or below zero: none.
            device: number of the device, from 0.
        """
        if not len(truth):
            return
        error, raw_error = out - truth, raw - truth
        known = np.isfinite(u) & (u >= 0.0)
        sums = self._sums
        self.cells += len(truth)
        sums["error"] += float(error.sum())
        sums["raw2"] += float((raw_error * raw_error).sum())
        sums["out2"] += float((error * error).sum())
        self._certainty(error[known], u[known])
        self._by_device(error, raw_error, u, known, device)

    def _certainty(self, error: Array, u: Array) -> None:
        self._with_u += len(u)
        self._sums["width"] += 2.0 * quantile(0.95) * float(u.sum())
        self._sums["u2"] += float((u * u).sum())
        self._sums["crps"] += float(crps(error, u).sum())
        # Each cell is inside all intervals wider than its own: one histogram, summed from the left.
        ratio = np.divide(np.abs(error), u, out=np.where(error == 0.0, 0.0, np.inf), where=u > 0.0)
        first = np.searchsorted(_FACTORS, ratio, side="left")
        self._inside += np.cumsum(np.bincount(first, minlength=len(NOMINAL) + 1)[: len(NOMINAL)])

    def _by_device(self, error: Array, raw_error: Array, u: Array, known: Mask, device: NDArray[np.int32]) -> None:
        size = int(device.max()) + 1

        def by(weights: Array) -> Array:
            return np.asarray(np.bincount(device, weights=weights, minlength=size), np.float64)

        inside = [by((known & (np.abs(error) <= quantile(level) * u)).astype(np.float64)) for level in LEVELS]
        columns = [by(np.ones(len(error))), by(known.astype(np.float64)), *inside]
        columns += [by(error * error), by(raw_error * raw_error), by(error), np.arange(size, dtype=np.float64)]
        table = np.stack(columns, axis=1)
        self._devices.append(table[table[:, 0] > 0])

    def devices(self) -> Array:
        """(devices, 9): cells, cells with u, inside 50, 90, 95 %, sum of squares out, raw, sum of errors, number."""
        if not self._devices:
            return np.zeros((0, len(LEVELS) + 6))
        table = np.concatenate(self._devices)
        number, place = np.unique(table[:, -1], return_inverse=True)
        merged = np.zeros((len(number), table.shape[1]))
        np.add.at(merged, place, table)
        merged[:, -1] = number
        return merged

    def reliability(self) -> list[float]:
        """Observed coverage at each of `NOMINAL`; empty without uncertainties."""
        return [float(count) / self._with_u for count in self._inside] if self._with_u else []

    def result(self) -> dict[str, Any]:
        """The figures, None where there is nothing to tell; see the keys."""
        n, with_u, sums = self.cells, self._with_u, self._sums
        if not n:
            return {"cells": 0}
        rmse_raw, rmse_out = math.sqrt(sums["raw2"] / n), math.sqrt(sums["out2"] / n)
        result: dict[str, Any] = {
            "cells": n,
            "rmse_raw": rmse_raw,
            "rmse_out": rmse_out,
            "gain": rmse_raw / rmse_out if rmse_out > 0.0 else None,
            "bias": sums["error"] / n,
            "share_without_u": 1.0 - with_u / n,
        }
        if with_u:
            observed = dict(zip(NOMINAL, self.reliability(), strict=True))
            result["coverage"] = {f"{100 * level:g}": observed[level] for level in LEVELS}
            result["interval_width_95"] = sums["width"] / with_u
            result["u_rms"] = math.sqrt(sums["u2"] / with_u)
            result["crps"] = sums["crps"] / with_u
        return result | {"devices": self._between()}

    def _between(self) -> dict[str, Any]:
        """How devices differ: quantiles, and the standard error a mean over devices has."""
        table = self.devices()
        table = table[table[:, 1] > 0]
        result: dict[str, Any] = {"count": len(self.devices())}
        if not len(table):
            return result
        result["coverage"] = {}
        for column, level in enumerate(LEVELS):
            share = table[:, 2 + column] / table[:, 1]
            weight = table[:, 1] / table[:, 1].mean()
            mean = float((share * weight).mean())
            # Ratio estimator with devices as clusters (Cochran, "Sampling Techniques", 1977, eq. 6.13).
            scatter = float(((weight * (share - mean)) ** 2).sum()) / max(len(share) - 1, 1)
            result["coverage"][f"{100 * level:g}"] = {
                "quantiles": {f"{100 * q:g}": float(np.quantile(share, q)) for q in _SPREAD},
                "min": float(share.min()),
                "standard_error": math.sqrt(scatter / len(share)),
            }
        rmse = np.sqrt(table[:, 5] / table[:, 0])
        result["rmse_out"] = {f"{100 * q:g}": float(np.quantile(rmse, q)) for q in _SPREAD}
        return result


def reliability(error: Array, u: Array) -> list[float]:
    """Observed coverage at each of `NOMINAL`, of cells at hand: the plain form of what `Tally` adds up."""
    return [float((np.abs(error) <= factor * u).mean()) for factor in _FACTORS]
