"""Grids: decimal steps on which printed and digitised values lie exactly, and a logarithmic one of 1 % for `u`.

Promises: `decimals_of` only names a grid on which the values lie bit for bit; a `u` comes back within 0.5 %. Refuses to
know how the integers travel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DECIMALS_MAX", "POWERS", "decimals_of", "shared_look", "u_from_codes", "u_to_codes"]

DECIMALS_MAX: Final = 22
"""Powers of ten are exact in float64 up to this one."""

POWERS: Final = np.array([float(f"1e{decimals}") for decimals in range(DECIMALS_MAX + 1)], np.float64)
_SEARCHED: Final = 16
_EXACT_MAX: Final = 2.0**53
_SAMPLE: Final = 16

_NAN, _ZERO, _INFINITE, _ONE = 0, 1, 2, 12_000
_CODE_MIN: Final = 3
_LOG_STEP: Final = float(np.log(1.01))


def _off_grid(values: NDArray[np.float64], powers: NDArray[np.float64] | np.float64) -> NDArray[np.bool_]:
    """Where rint(v 10^d) / 10^d is not v, or the integer is too large to be exact."""
    scaled = np.rint(values * powers)
    off: NDArray[np.bool_] = (scaled / powers != values) | (np.abs(scaled) >= _EXACT_MAX)
    return off


def decimals_of(values: NDArray[np.float64], patches_max: int) -> tuple[int, NDArray[np.intp]] | None:
    """The fewest decimals with which all values can be written, or nearly all.

    Args:
        values: (n,) float64, finite, no -0.0.
        patches_max: how many may lie off the grid, where no grid holds them all.

    Returns:
        decimals d, and which values are not an integer / 10^d exactly; None where there is no such grid.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        # A look at a few values leaves out the grids that are far too coarse, or that would need too large integers.
        sample = values[:: max(1, len(values) // _SAMPLE), np.newaxis]
        hopeful = _off_grid(sample, POWERS[:_SEARCHED]).sum(axis=0) <= len(sample) >> 2
        fewest: tuple[int, NDArray[np.intp]] | None = None
        for decimals in np.flatnonzero(hopeful).tolist():
            off = np.flatnonzero(_off_grid(values, POWERS[decimals]))
            if not len(off):
                return decimals, off
            if len(off) <= patches_max and (fewest is None or len(off) < len(fewest[1])):
                fewest = decimals, off
    return fewest


def shared_look(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]]:
    """A first look at all columns at once, which is enough for most.

    Args:
        values: (k, n) float64, anything.

    Returns:
        decimals (k,) of each column by a few of its values; the integers rint(v 10^d) (k, n); and whether the whole
        column is on that grid (k,). A -0.0 counts as 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sample = values[:, :: max(1, values.shape[1] // (2 * _SAMPLE)), np.newaxis]
        decimals = _off_grid(sample, POWERS[:_SEARCHED]).any(axis=1).argmin(axis=1)
        powers = POWERS[decimals][:, np.newaxis]
        scaled = np.rint(values * powers)
        fits = ((scaled / powers == values) & (np.abs(scaled) < _EXACT_MAX)).all(axis=1)
    return decimals, scaled, fits


def u_to_codes(u: NDArray[np.float32]) -> NDArray[np.int64]:
    """Each `u` on the logarithmic grid: 12000 + round(ln u / ln 1.01); 0 is NaN, 1 is zero, 2 is infinite.

    Args:
        u: any shape, float32.

    Raises:
        ValueError: a negative u.
    """
    if (u < 0).any():
        raise ValueError("a standard uncertainty below zero")
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.rint(np.log(u.astype(np.float64)) / _LOG_STEP)
    codes = np.where(np.isfinite(steps), steps + _ONE, _NAN).astype(np.int64)
    codes[u == 0] = _ZERO
    codes[np.isposinf(u)] = _INFINITE
    return codes


def _table() -> NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore"):
        steps = np.exp((np.arange(1 << 15) - _ONE) * _LOG_STEP)
    table: NDArray[np.float32] = np.minimum(steps, np.finfo(np.float32).max).astype(np.float32)
    table[[_NAN, _ZERO, _INFINITE]] = np.nan, 0.0, np.inf
    return table


_U: Final = _table()
U_CODES: Final = len(_U)
"""Codes are below this."""


def u_from_codes(codes: NDArray[np.int64] | list[int] | int) -> Any:
    """The `u` each code (0 to 32767) stands for, within 0.5 % of what was encoded."""
    return _U[codes]
