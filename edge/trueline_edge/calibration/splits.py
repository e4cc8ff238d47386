"""Inner splits in time, and what they say of two calibrations held against each other.

Pairs drawn at random have neighbours on both sides and flatter every model: what is scored lies wholly before or wholly
after what was fitted. Errors of one day are alike: days are counted, not pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.candidates import Data

    F64 = NDArray[np.float64]
    Rows = NDArray[np.intp]
    Splits = list[tuple[Rows, Rows]]

__all__ = ["DAY_S", "blocks_of", "splits_of", "standard_errors"]

DAY_S = 86_400.0
_SHARES = (0.3, 0.5, 0.7)
_DAYS_MIN = 6


def splits_of(n: int) -> Splits:
    """Inner splits in time: (fitted, scored) rows, forwards and backwards."""
    rows = np.arange(n)
    cuts = [int(share * n) for share in _SHARES]
    return [(rows[:cut], rows[cut:]) for cut in cuts] + [(rows[n - cut :], rows[: n - cut]) for cut in reversed(cuts)]


def blocks_of(time_s: F64) -> Rows:
    """Where each day begins, of times that rise; eighths of them where there are few days."""
    days = np.flatnonzero(np.diff(np.floor(time_s / DAY_S), prepend=-1.0))
    return days if len(days) >= _DAYS_MIN else np.arange(8) * len(time_s) // 8


def standard_errors(data: Data, splits: Splits, one: list[F64], other: list[F64], *, shared: bool) -> float:
    """By how many of them `one` errs less than `other` out of time, in the mean difference of squared errors.

    Args:
        data: all pairs.
        splits: inner ones.
        one: what it says of the scored pairs of each split.
        other: as well.
        shared: days that are scored with one fit share its luck, and splits share days: the variance of the mean is
            that of independent days, and the ratio of scored to fitted pairs on top (Nadeau and Bengio, "Inference for
            the generalization error", Machine Learning 52, 2003, eq. 10); on the safe side, for the ratio stays.
    """
    truth = [data.reference[scored] for _, scored in splits]
    gain = np.concatenate([(b - y) ** 2 - (a - y) ** 2 for y, a, b in zip(truth, one, other, strict=True)])
    starts = blocks_of(data.time_s)
    block = np.searchsorted(starts, np.concatenate([scored for _, scored in splits]), side="right") - 1
    each = np.bincount(block, gain, len(starts))
    beside = float(np.mean([len(scored) / len(fitted) for fitted, scored in splits])) if shared else 0.0
    spread = float(each.std(ddof=1) * np.sqrt(1.0 / len(each) + beside))
    return float(each.mean()) / spread if spread > 0.0 else 0.0
