"""What a score is worth against labels: AP, best F1, VUS-PR, event recall at a rate of false alarms, delay.

Nothing here adjusts points: a row counts as found when its own score is above the threshold. A row without a score
(NaN) counts as least strange.

Sources: VUS-PR after Paparrizos et al., "Volume Under the Surface", PVLDB 15 (2022), as the public package `vus` 0.0.6
and TSB-AD compute it (mean over buffer lengths 0 to `buffer_max` of the range-based average precision at 250
thresholds); a test holds ours against numbers of that package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.bool_]

BUFFER_MAX = 100
THRESHOLDS = 250


def filled(score: Array) -> Array:
    """Scores without NaN: what says nothing is least strange."""
    said = np.isfinite(score)
    return np.where(said, score, score[said].min() - 1.0 if said.any() else 0.0)


def average_precision(label: Labels, score: Array) -> float:
    """Area under precision over recall, without interpolation, ties taken together; NaN without a positive row."""
    if not label.any():
        return float("nan")
    precision, recall = _curve(label, score)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def best_f1(label: Labels, score: Array) -> float:
    """Largest F1 of a threshold chosen with the labels, no point adjustment."""
    precision, recall = _curve(label, score)
    return float(np.max(2.0 * precision * recall / np.maximum(precision + recall, 1e-12)))


def _curve(label: Labels, score: Array) -> tuple[Array, Array]:
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # of each run of equal scores
    found = np.cumsum(label[order])[last]
    return found / (last + 1.0), found / max(int(label.sum()), 1)


def events(label: Labels) -> list[tuple[int, int]]:
    """Runs of positive rows: first row, and the row after the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], label, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def vus_pr(label: Labels, score: Array, buffer_max: int = BUFFER_MAX) -> float:
    """Volume under the range-based precision-recall surface; NaN without a positive row."""
    if not label.any():
        return float("nan")
    rising = np.sort(score)
    rank = np.linspace(0, len(score) - 1, THRESHOLDS).astype(int)
    threshold = rising[::-1][rank]
    flagged = len(score) - np.searchsorted(rising, threshold, side="left")
    order = np.argsort(-score, kind="stable")
    inside = np.cumsum(label[order])[flagged - 1]
    runs = events(label)
    volumes = [
        _range_precision(label, score, order, runs, buffer, threshold, flagged, inside)
        for buffer in range(buffer_max + 1)
    ]
    return float(np.mean(volumes))


def _range_precision(
    label: Labels,
    score: Array,
    order: NDArray[np.int64],
    runs: list[tuple[int, int]],
    buffer: int,
    threshold: Array,
    flagged: NDArray[np.int64],
    inside: NDArray[np.int64],
) -> float:
    """Average precision with labels that fade over half a buffer on either side of each run."""
    half, rows = buffer // 2, len(label)
    soft = label.astype(float)
    merged: list[list[int]] = []
    for start, stop in runs:
        after = np.arange(stop, min(stop + half, rows))
        soft[after] += np.sqrt(1.0 - (after - stop + 1) / max(buffer, 1))
        before = np.arange(max(start - half, 0), start)
        soft[before] += np.sqrt(1.0 - (start - before) / max(buffer, 1))
        low, high = max(start - half, 0), min(stop + half, rows)
        if merged and merged[-1][1] > low:
            merged[-1][1] = high
        else:
            merged.append([low, high])
    found = np.cumsum(np.minimum(soft, 1.0)[order])[flagged - 1]
    peaks = np.array([score[low:high].max() for low, high in merged])
    existence = (peaks[None, :] >= threshold[:, None]).mean(axis=1)
    positive = label.sum()
    recall = np.minimum(found / ((positive + positive + found - inside) / 2.0), 1.0) * existence
    return float(np.sum(np.diff(recall, prepend=0.0) * found / flagged))


class EventResult(NamedTuple):
    """Events found, of how many; median delay in rows of those found; alarms outside of events."""

    found: int
    events: int
    delay_rows: float
    false_alarms: int


def event_result(label: Labels, alarm: Labels, separation: int = 1) -> EventResult:
    """What alarms find. Alarms outside of events count as one where less than `separation` rows lie between them."""
    runs = events(label)
    firsts = [np.flatnonzero(alarm[start:stop]) for start, stop in runs]
    delays = [float(first[0]) for first in firsts if len(first)]
    false = np.flatnonzero(alarm & ~label)
    return EventResult(
        len(delays),
        len(runs),
        float(np.median(delays)) if delays else float("nan"),
        int(np.sum(np.diff(false, prepend=-(10**9)) > separation)),
    )


def at_false_alarms(label: Labels, score: Array, allowed: float, separation: int = 1) -> EventResult:
    """Event recall where the threshold is as low as `allowed` false alarms permit: it is chosen with the labels."""
    levels = np.unique(score)
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if event_result(label, score >= levels[middle], separation).false_alarms <= allowed:
            high = middle
        else:
            low = middle + 1
    return event_result(label, score >= levels[low], separation)
