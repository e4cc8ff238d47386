"""How well alarms and scores find what is labelled: delays, false alarms, average precision, volume under the surface.

Promises: nothing is point-adjusted. (Point adjustment counts a whole span as found when one of its cells is, by which a
random score beats published detectors: Kim et al., "Towards a Rigorous Evaluation of Time-Series Anomaly Detection",
AAAI 2022.) Refuses to know files, kinds and channels: spans of indices and arrays only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["BUFFER_MAX", "Events", "average_precision", "events", "first_alarm", "spans_of", "vus_pr"]

BUFFER_MAX: Final = 20
"""Widest buffer of `vus_pr` about a span, both sides together, in readings."""

_THRESHOLDS: Final = 250


def spans_of(mask: Mask, starts: Ints) -> tuple[Ints, Ints]:
    """First and one-past-last index of each run of True; no run goes over the start of a series.

    Args:
        mask: (n,) series end to end.
        starts: (s,) index at which each series begins.
    """
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    first, end = edges[::2], edges[1::2]
    # A run over a border is cut there: borders inside runs become both an end and a start.
    inner = starts[(starts > 0) & (starts < len(mask))]
    inner = inner[mask[inner] & mask[inner - 1]]
    return np.sort(np.concatenate([first, inner])), np.sort(np.concatenate([end, inner]))


def first_alarm(alarm: Mask, first: Ints, end: Ints) -> Ints:
    """(m,) index of the first alarm in each span [first, end); -1 where there is none."""
    at = np.append(np.flatnonzero(alarm), len(alarm))
    found = at[np.searchsorted(at, first)]
    return np.where(found < end, found, -1)


class Events(NamedTuple):
    """Alarms, declustered; all (m,).

    Attributes:
        first: index of the first alarm.
        last: index of the last alarm (included).
        touches: some alarm of the event is where `mask` is.
    """

    first: Ints
    last: Ints
    touches: Mask


def events(alarm: Mask, device: NDArray[np.int32], mask: Mask, gap: int) -> Events:
    """Alarms of one device at most `gap` readings apart are one event.

    Args:
        alarm: (n,) devices end to end.
        device: (n,) number of the device.
        mask: (n,) cells where an alarm is due.
        gap: in readings.
    """
    at = np.flatnonzero(alarm)
    if not len(at):
        return Events(at, at, np.zeros(0, np.bool_))
    new = np.ones(len(at), np.bool_)
    new[1:] = (np.diff(at) > gap) | (np.diff(device[at]) != 0)
    begin = np.flatnonzero(new)
    return Events(at[begin], at[np.append(begin[1:], len(at)) - 1], np.logical_or.reduceat(mask[at], begin))


def average_precision(score: Array, label: Mask) -> float:
    """Area under the precision-recall curve by the step rule, equal scores taken together; NaN without positives.

    Sum over thresholds of (recall_i - recall_(i-1)) precision_i (Manning, Raghavan and Schuetze, "Introduction to
    Information Retrieval", 2008, sec. 8.4). A random score, and a constant one, give the share of positives.

    Args:
        score: (n,) higher: more of an anomaly.
        label: (n,).
    """
    positives = int(label.sum())
    if not positives:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last_of_equals = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    found = np.cumsum(label[order])[last_of_equals]
    precision = found / (last_of_equals + 1.0)
    return float(np.sum(np.diff(found, prepend=0) / positives * precision))


def vus_pr(score: Array, label: Mask, starts: Ints, *, counted: Mask | None = None, buffer: int = BUFFER_MAX) -> float:
    """Volume under the precision-recall surface over thresholds and buffer widths; NaN without positives.

    Paparrizos et al., "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection",
    PVLDB 15(11), 2022: labels fall off beside each span as sqrt(1 - d / l) to d = l / 2 (eq. 1), recall counts against
    the mean of hard and soft positives and is multiplied by the share of spans that are touched (existence), the mean
    is taken over l = 0 … `buffer`. As the authors' code does, up to 250 thresholds at even ranks. Unlike it, areas are
    summed by the step rule: their trapezoid begins at precision 1, which gives a constant score one half.

    Args:
        score: (n,) higher: more of an anomaly; series end to end.
        label: (n,).
        starts: (s,) index at which each series begins; buffers do not go over it.
        counted: (n,) cells that count; the others are as if they were not measured.
        buffer: widest l, in readings.
    """
    counted = np.isfinite(score) if counted is None else counted & np.isfinite(score)
    label = label & counted
    first, end = spans_of(label, starts)
    if not len(first):
        return float("nan")
    ranked = -np.sort(-score[counted])
    thresholds = np.unique(ranked[np.linspace(0, len(ranked) - 1, _THRESHOLDS).astype(np.int64)])[::-1]
    # Bin of a cell: the first threshold at which it is an alarm; what does not count never is.
    last = len(thresholds)
    bins = np.where(counted, last - np.searchsorted(thresholds[::-1], score, side="right"), last)
    surface = _Surface(bins, last, label, first, end, starts)
    return float(np.mean([surface.area(width) for width in range(buffer + 1)]))


class _Surface:
    """What all widths share: predictions and hits by threshold, and the best bin of each span."""

    def __init__(self, bins: Ints, last: int, label: Mask, first: Ints, end: Ints, starts: Ints) -> None:
        self._bins, self._last, self._label, self._first, self._end = bins, last, label, first, end
        self._predicted = self._cumulated(bins, None)
        self._hits = self._cumulated(bins[label], None)
        self._positives = int(label.sum())
        borders = np.append(starts, len(bins))
        series = np.searchsorted(borders, first, side="right") - 1
        self._low, self._high = borders[series], borders[series + 1]
        self._best = np.minimum.reduceat(np.append(bins, last), np.stack([first, end], axis=1).ravel())[::2]

    def _cumulated(self, bins: Ints, weights: Array | None) -> Array:
        counts = np.bincount(bins, weights=weights, minlength=self._last + 1)[: self._last]
        return np.cumsum(counts).astype(np.float64)

    def area(self, width: int) -> float:
        """Under the precision-recall curve with labels softened by buffers of this width."""
        reach = width // 2
        cells, weights, owners = self._beside(width, reach)
        unique, place = np.unique(cells, return_inverse=True)
        weight = np.minimum(np.bincount(place, weights=weights, minlength=len(unique)), 1.0)
        near = self._bins[unique]
        mass = self._positives + float(weight[near < self._last].sum())
        hits = self._hits + self._cumulated(near, weight)
        exists = self._existence(reach, cells, owners)
        recall = np.minimum(hits / ((self._positives + mass) / 2.0), 1.0) * exists
        return float(np.sum(np.diff(recall, prepend=0.0) * hits / np.maximum(self._predicted, 1.0)))

    def _beside(self, width: int, reach: int) -> tuple[Ints, Array, Ints]:
        """Cells in buffers, their weights, and the span each belongs to; a cell may come twice."""
        cells, weights, owners = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0, np.int64)]
        spans = np.arange(len(self._first))
        for distance in range(1, reach + 1):
            weight = np.sqrt(1.0 - distance / width)
            for at, fits in (
                (self._first - distance, self._first - distance >= self._low),
                (self._end - 1 + distance, self._end - 1 + distance < self._high),
            ):
                # Cells of another span are full positives already.
                free = spans[fits]
                free = free[~self._label[at[free]]]
                cells.append(at[free])
                weights.append(np.full(len(free), weight))
                owners.append(free)
        return np.concatenate(cells), np.concatenate(weights), np.concatenate(owners)

    def _existence(self, reach: int, cells: Ints, owners: Ints) -> Array:
        """(thresholds,) share of softened spans an alarm touches; spans whose buffers meet are one."""
        best = self._best.copy()
        np.minimum.at(best, owners, self._bins[cells])
        reaches_low = np.maximum(self._first - reach, self._low)
        reaches_high = np.minimum(self._end + reach, self._high)
        new = np.ones(len(best), np.bool_)
        new[1:] = (reaches_low[1:] > reaches_high[:-1]) | (self._low[1:] != self._low[:-1])
        merged = np.minimum.reduceat(best, np.flatnonzero(new))
        return self._cumulated(merged, None) / len(merged)
