"""What else one may do with the same readings, each with its best known configuration.

Every peer but `raw` is given readings calibrated by ordinary least squares on the same pairs (offset alone where the
reference hardly moved, so that none is ruined by a slope nobody could see), and those of its settings that a datasheet
does not name are the best of a grid, chosen for each measurand by the very figure that is compared: nobody could
choose better. Several sensors are averaged first (`inverse-variance mean` is that mean itself, weighted by the scatter
of each sensor beside the reference).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from filterpy.kalman import KalmanFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _accuracy_fleet import Fleet, Measured
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["least_squares", "peers"]

WIDTHS: Final = (2, 3, 5, 9, 17, 33, 65)
HAMPEL_WIDTH: Final = 7
HAMPEL_LIMIT: Final = 3.0
Q_SHARES: Final = tuple(10.0**power for power in range(-6, 5))
"""What the level walks in one step, as a share of the variance of a reading's noise."""
SPREAD_MIN: Final = 3.0
"""Least squares fits a slope where the reference moved more than so many standard deviations of the scatter."""


def least_squares(measured: Measured) -> tuple[Array, Array]:
    """Readings calibrated on the first part, (n, devices, sensors), and the scatter there, (devices, sensors)."""
    steps = len(measured.reference)
    raw, reference = measured.raw[:steps], measured.reference[:, :, None]
    there = np.isfinite(raw)
    count = there.sum(axis=0)
    mean_raw = np.where(there, raw, 0.0).sum(axis=0) / count
    mean_reference = np.where(there, reference, 0.0).sum(axis=0) / count
    away = np.where(there, raw - mean_raw, 0.0)
    along = np.where(there, reference - mean_reference, 0.0)
    spread = (away**2).sum(axis=0)
    slope = (away * along).sum(axis=0) / np.where(spread > 0.0, spread, 1.0)
    offset_only = np.sqrt(((along - away) ** 2).sum(axis=0) / count)
    slope = np.where(np.sqrt(spread / count) > SPREAD_MIN * offset_only, slope, 1.0)
    scatter = np.sqrt(((along - slope * away) ** 2).sum(axis=0) / count)
    return mean_reference + slope * (measured.raw - mean_raw), scatter


def peers(fleet: Fleet, measured: Measured, sensors: tuple[int, ...]) -> Iterator[tuple[str, str, Array]]:
    """Name, setting and estimates (n, devices) of each peer, several settings each.

    Args:
        fleet: which rows came.
        measured: the measurand.
        sensors: numbers of those that may be used.
    """
    came = (fleet.copies > 0)[:, :, None]
    raw = np.where(came, measured.raw[:, :, list(sensors)], np.nan)
    yield "raw", "", held(raw[:, :, 0])
    calibrated, scatter = least_squares(measured)
    mine = np.where(came, calibrated[:, :, list(sensors)], np.nan)
    weight = np.where(np.isfinite(mine), 1.0 / scatter[:, list(sensors)] ** 2, 0.0)
    total = weight.sum(axis=2)
    mean = (np.nan_to_num(mine) * weight).sum(axis=2) / np.where(total > 0.0, total, np.nan)
    if len(sensors) > 1:
        yield "inverse-variance mean", "", held(mean)
    for width in WIDTHS:
        yield "moving average", f"{width}", held(moving_mean(mean, width))
    kept = np.stack([hampel(mine[:, :, s]) for s in range(len(sensors))], axis=2)
    weight = np.where(np.isfinite(kept), weight, 0.0)
    total = weight.sum(axis=2)
    clean = (np.nan_to_num(kept) * weight).sum(axis=2) / np.where(total > 0.0, total, np.nan)
    for width in (1, *WIDTHS):
        yield "Hampel + mean", f"{width}", held(moving_mean(clean, width))
    noise = (measured.model.noise**2 + measured.model.resolution**2 / 12) / len(sensors)
    for share in Q_SHARES:
        yield "fixed-gain Kalman", f"q/r {share:g}", fixed_gain(held(mean), share)
        yield "filterpy", f"q/r {share:g}", with_filterpy(held(mean), noise, share)


def held(values: Array) -> Array:
    """With the last value where there is none; the first where none came before."""
    at = np.where(np.isfinite(values), np.arange(len(values))[:, None], -1)
    np.maximum.accumulate(at, axis=0, out=at)
    first = np.argmax(np.isfinite(values), axis=0)
    return np.asarray(np.take_along_axis(values, np.where(at < 0, first, at), axis=0))


def moving_mean(values: Array, width: int) -> Array:
    """Of the last `width` rows, those that are there."""
    there = np.isfinite(values)
    sums, counts = (np.cumsum(part, axis=0) for part in (np.where(there, values, 0.0), there.astype(np.float64)))
    for part in (sums, counts):
        part[width:] -= part[:-width].copy()
    return np.asarray(sums / np.where(counts > 0.5, counts, np.nan))


def hampel(values: Array) -> Array:
    """Those further from the median of the last rows than three scaled median deviations are taken out."""
    past = np.concatenate([np.full((HAMPEL_WIDTH - 1, values.shape[1]), np.nan), held(values)])
    windows = np.lib.stride_tricks.sliding_window_view(past, HAMPEL_WIDTH, axis=0)
    out = np.empty_like(values)
    for rows in np.array_split(np.arange(len(values)), max(len(values) // 128, 1)):
        window = windows[rows].copy()
        window = np.where(np.isfinite(window), window, window[:, :, -1:])
        median = np.median(window, axis=2)
        deviation = 1.4826 * np.median(np.abs(window - median[:, :, None]), axis=2)
        out[rows] = np.where(np.abs(values[rows] - median) <= HAMPEL_LIMIT * deviation, values[rows], median)
    return np.where(np.isfinite(values), out, np.nan)


def fixed_gain(values: Array, share: float) -> Array:
    """The steady local-level filter: gain from q / r alone (Bar-Shalom, Li and Kirubarajan 2001, eq. 6.5.4-12)."""
    gain = (np.sqrt(share**2 + 4.0 * share) - share) / 2.0
    out = values.copy()
    for step in range(1, len(out)):
        out[step] = gain * values[step] + (1.0 - gain) * out[step - 1]
    return out


def with_filterpy(values: Array, noise: float, share: float) -> Array:
    """Filterpy with level and slope, fixed R and Q. Its gain does not depend on what is measured: all devices share it.

    It is asked for its gain until that stands still; the first device's estimates so far are its own.
    """
    f = np.array([[1.0, 1.0], [0.0, 1.0]])
    one = KalmanFilter(dim_x=2, dim_z=1)
    one.x, one.P, one.F = np.array([[values[0, 0]], [0.0]]), np.eye(2) * noise * 10.0, f
    one.H, one.R = np.array([[1.0, 0.0]]), np.array([[noise]])
    one.Q = share * noise * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    x = np.stack([values[0], np.zeros(values.shape[1])])
    out = np.empty_like(values)
    gain = np.full((2, 1), np.nan)
    for row, estimate in zip(values, out, strict=True):
        if not np.allclose(one.K, gain, rtol=1e-6, atol=0.0):
            gain = one.K.copy()
            one.predict()
            one.update(row[0])
        x = f @ x
        x = x + one.K * (row - x[0])
        estimate[:] = x[0]
    return out
