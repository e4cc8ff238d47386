from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.score.detection import average_precision, events, first_alarm, spans_of, vus_pr

ONE = np.zeros(1, np.int64)


def _textbook_ap(score: np.ndarray, label: np.ndarray) -> float:
    """Every threshold in turn."""
    area = recall_before = 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        alarm = score >= threshold
        precision, recall = label[alarm].mean(), label[alarm].sum() / label.sum()
        area += (recall - recall_before) * precision
        recall_before = recall
    return float(area)


def _runs(positive: np.ndarray) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for at in np.flatnonzero(positive):
        if runs and runs[-1][1] == at - 1:
            runs[-1] = (runs[-1][0], int(at))
        else:
            runs.append((int(at), int(at)))
    return runs


def _softened(label: np.ndarray, width: int) -> np.ndarray:
    soft = label.astype(float)
    for first, last in _runs(label):
        for distance in range(1, width // 2 + 1):
            for at in (first - distance, last + distance):
                if 0 <= at < len(label):
                    soft[at] += np.sqrt(1.0 - distance / width)
    return np.minimum(soft, 1.0)


def _textbook_vus_pr(score: np.ndarray, label: np.ndarray, buffer: int, *, trapezoid: bool = False) -> float:
    """Paparrizos et al. 2022, as it is written: all widths, all thresholds, all cells."""
    ranked = -np.sort(-score)
    thresholds = ranked[np.linspace(0, len(score) - 1, 250).astype(int)]
    areas = []
    for width in range(buffer + 1):
        soft = _softened(label, width)
        half_way = (label.sum() + soft.sum()) / 2.0
        recalls, precisions = [0.0], [1.0]
        for threshold in thresholds:
            alarm = score >= threshold
            hits = float((soft * alarm).sum())
            runs = _runs(soft > 0.0)
            exists = sum(bool(alarm[first : last + 1].any()) for first, last in runs) / len(runs)
            recalls.append(min(hits / half_way, 1.0) * exists)
            precisions.append(hits / alarm.sum())
        heights = [(a + b) / 2 for a, b in zip(precisions[1:], precisions[:-1], strict=True)]
        areas.append(float(np.sum(np.diff(recalls) * (heights if trapezoid else precisions[1:]))))
    return float(np.mean(areas))


def _point_adjusted(score: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What is never done here: a span is as suspicious as its most suspicious cell."""
    adjusted = score.copy()
    for first, last in _runs(label):
        adjusted[first : last + 1] = score[first : last + 1].max()
    return adjusted


def _labels(rng: np.random.Generator, n: int, spans: int, longest: int) -> np.ndarray:
    label = np.zeros(n, np.bool_)
    for _ in range(spans):
        first = rng.integers(0, n)
        label[first : first + rng.integers(1, longest + 1)] = True
    return label


def test_average_precision_by_hand() -> None:
    """Hits at ranks 1, 3 and 4 of five: (1/1 + 2/3 + 3/4) / 3."""
    score, label = np.array([0.9, 0.8, 0.7, 0.6, 0.1]), np.array([True, False, True, True, False])
    assert average_precision(score, label) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


@given(seed=st.integers(0, 200), levels=st.sampled_from([2, 3, 10, 1000]))
def test_average_precision_equals_the_textbook(seed: int, levels: int) -> None:
    """Equal scores are taken together, as many as there may be."""
    rng = np.random.default_rng(seed)
    score, label = rng.integers(0, levels, 120).astype(float), rng.random(120) < 0.2
    label[0] = True
    assert average_precision(score, label) == pytest.approx(_textbook_ap(score, label))


@given(seed=st.integers(0, 60), levels=st.sampled_from([2, 4, 10_000]), buffer=st.integers(0, 9))
def test_volume_equals_the_textbook(seed: int, levels: int, buffer: int) -> None:
    """The fast form is the paper's, with areas by the step rule."""
    rng = np.random.default_rng(seed)
    label = _labels(rng, 160, 4, 12)
    score = rng.integers(0, levels, 160) + rng.integers(0, 2) * levels * label.astype(float)
    assert vus_pr(score, label, ONE, buffer=buffer) == pytest.approx(_textbook_vus_pr(score, label, buffer))


def test_perfect_and_random_scores() -> None:
    """The labels themselves give one for AP and volume without buffer; a random score gives the share of anomalies."""
    rng = np.random.default_rng(7)
    label = _labels(rng, 20_000, 40, 60)
    share = label.mean()
    assert average_precision(label.astype(float), label) == 1.0
    assert vus_pr(label.astype(float), label, ONE, buffer=0) == 1.0
    random = rng.random(20_000)
    assert average_precision(random, label) == pytest.approx(share, rel=0.1)
    assert vus_pr(random, label, ONE, buffer=4) == pytest.approx(share, rel=0.25)


def test_constant_score_is_worth_the_share() -> None:
    """Who says nothing gets the share of anomalies; a trapezoid would give a half (negative control)."""
    label = _labels(np.random.default_rng(8), 2_000, 6, 30)
    constant = np.ones(2_000)
    share = label.mean()
    assert average_precision(constant, label) == pytest.approx(share)
    assert vus_pr(constant, label, ONE, buffer=4) == pytest.approx(share, rel=0.15)
    assert _textbook_vus_pr(constant, label, 4, trapezoid=True) > 0.5


def test_point_adjustment_would_inflate_a_random_score() -> None:
    """Negative control: adjusted by points, a random score looks like a detector; here it never is."""
    rng = np.random.default_rng(9)
    label = _labels(rng, 20_000, 20, 200)
    random = rng.random(20_000)
    honest, inflated = average_precision(random, label), average_precision(_point_adjusted(random, label), label)
    assert honest == pytest.approx(label.mean(), rel=0.1)
    assert inflated > 5 * honest


def test_buffers_do_not_go_over_the_start_of_a_series() -> None:
    """A span at a series' end does not soften the next series' beginning, and spans that meet there stay two."""
    label = np.zeros(40, np.bool_)
    label[15:25] = True
    starts = np.array([0, 20])
    first, end = spans_of(label, starts)
    assert first.tolist() == [15, 20]
    assert end.tolist() == [20, 25]
    score = np.zeros(40)
    score[20:25] = 1.0
    apart = vus_pr(score, label, starts, buffer=0)
    together = vus_pr(score, label, ONE, buffer=0)
    assert apart < together  # one of two spans is found, not one of one


def test_cells_that_do_not_count_are_as_if_not_measured() -> None:
    """Left-out cells change neither measure, whatever their score."""
    rng = np.random.default_rng(10)
    label, score = _labels(rng, 500, 4, 30), rng.random(500)
    counted = rng.random(500) < 0.8
    wild = np.where(counted, score, 99.0)
    plain = vus_pr(score, label, ONE, counted=counted)
    assert vus_pr(wild, label, ONE, counted=counted) == plain
    assert vus_pr(np.where(counted, score, np.nan), label, ONE) == plain


def test_without_positives_there_is_nothing_to_tell() -> None:
    """No anomaly: NaN, not zero."""
    assert np.isnan(average_precision(np.ones(3), np.zeros(3, np.bool_)))
    assert np.isnan(vus_pr(np.ones(3), np.zeros(3, np.bool_), ONE))


def test_alarms_near_each_other_are_one_event() -> None:
    """Declustering by gap and by device; an event is due where any of its alarms is."""
    alarm = np.zeros(60, np.bool_)
    alarm[[3, 5, 14, 29, 30, 31]] = True
    device = np.repeat(np.arange(2, dtype=np.int32), 30)
    due = np.zeros(60, np.bool_)
    due[31] = True
    found = events(alarm, device, due, gap=5)
    assert found.first.tolist() == [3, 14, 29, 30]
    assert found.last.tolist() == [5, 14, 29, 31]
    assert found.touches.tolist() == [False, False, False, True]


def test_first_alarm_is_inside_its_span() -> None:
    """An alarm after a span's end is no detection."""
    alarm = np.zeros(10, np.bool_)
    alarm[[4, 7]] = True
    first, end = np.array([0, 2, 5]), np.array([4, 6, 7])
    assert first_alarm(alarm, first, end).tolist() == [-1, 4, -1]
