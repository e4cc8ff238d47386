"""NAB's own scoring rules, on the series there are.

Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", ICMLA 2015, and the scorer published with
the data (standard profile): in each labelled window the earliest detection counts, by a sigmoid of its place; each
detection outside costs 0.11 times a sigmoid of its distance behind the last window; a window without detection costs 1.
The score of all series together is put between doing nothing (0) and perfect (100). NAB searches the one threshold for
all series with the labels: that score is a bound on what could have been chosen, so the untuned one stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Windows = Sequence[tuple[int, int]]

FALSE_POSITIVE = 0.11
FAR = 3.0


def _sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(position > FAR, -1.0, 2.0 / (1.0 + np.exp(np.minimum(5.0 * position, 700.0))) - 1.0)


def row_values(rows: int, windows: Windows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What a detection at each row is worth, (rows,), and the window it is in, (rows,), -1 for none.

    Args:
        rows: of the part judged.
        windows: first row, and the row after the last; rows below 0 lie in the probationary part.
    """
    index = np.arange(rows)
    window = np.full(rows, -1)
    worth = np.full(rows, -FALSE_POSITIVE)
    for number, (start, stop) in enumerate(windows):
        inside = (index >= start) & (index < stop)
        window[inside] = number
        width = float(stop - start)
        worth[inside] = _sigmoid(-(stop - index[inside]) / width) / _sigmoid(np.array(-1.0))
        behind = index >= stop
        worth[behind] = FALSE_POSITIVE * _sigmoid((index[behind] - (stop - 1)) / max(width - 1.0, 1.0))
    return worth, window


def nab_score(series: Sequence[tuple[NDArray[np.float64], Windows]], threshold: float) -> float:
    """The score of all series at one threshold.

    Args:
        series: score of each row behind the probationary part, and NAB's windows.
        threshold: a row detects where its score is at or above it.
    """
    return float(_scores(series, np.array([threshold]))[0])


def best_nab_score(series: Sequence[tuple[NDArray[np.float64], Windows]]) -> tuple[float, float]:
    """The best score over thresholds, searched with the labels, and its threshold."""
    every = np.concatenate([score for score, _ in series])
    levels = np.unique(every[np.isfinite(every)])
    levels = levels[np.unique(np.linspace(0, len(levels) - 1, min(len(levels), 4000)).astype(int))]
    scores = _scores(series, levels)
    return float(scores.max()), float(levels[scores.argmax()])


def _scores(
    series: Sequence[tuple[NDArray[np.float64], Windows]], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    total, count = np.zeros(len(thresholds)), 0
    for score, windows in series:
        worth, window = row_values(len(score), windows)
        said = np.where(np.isfinite(score), score, -np.inf)
        outside = window < 0
        order = np.argsort(-said[outside], kind="stable")
        cost = np.concatenate([[0.0], np.cumsum(worth[outside][order])])
        total += cost[np.searchsorted(-said[outside][order], -thresholds, side="right")]
        for number in range(len(windows)):
            inside = np.flatnonzero(window == number)
            if not len(inside):  # wholly in the probationary part: NAB does not judge it
                continue
            count += 1
            first = np.maximum.accumulate(said[inside])  # rises: the first row at or above each threshold
            place = np.searchsorted(first, thresholds, side="left")
            total += np.where(place < len(inside), worth[inside][np.minimum(place, len(inside) - 1)], -1.0)
    return 100.0 * (total + count) / (2.0 * max(count, 1))
