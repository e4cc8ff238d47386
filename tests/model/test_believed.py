"""A chart knows how often it cries before anybody could count it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from msgspec import structs

from trueline_model.alarm import Alarm, fit_alarm
from trueline_model.believed import Imagines, believe
from trueline_model.conformal import calibrate
from trueline_model.detector import score_series
from trueline_model.detectors import Chart, Deviation
from trueline_model.series import Series, make_series

INTERVAL_S = 1.0
ALARM = Alarm(events=1, per_s=2000, separation_s=5.0, adapt=0.0)
LATE = 20_000


def running(rows: int, seed: int) -> Series:
    """Four noisy sensors, two of which share half of their noise."""
    value = np.random.default_rng(seed).normal(size=(rows, 4))
    value[:, 1] = (value[:, 0] + value[:, 1]) / np.sqrt(2.0)
    return make_series(value, interval_s=INTERVAL_S)


def came(power: Literal[1, 2], seed: int) -> tuple[float, float]:
    """Events as a multiple of those asked for: believed of 300 rows, and extrapolated from what was counted in them."""
    whole = running(300 + LATE, seed)
    detector = Chart(power=power, memory_rows=0).fit([whole[:300]])
    early, late = (score_series(detector, part).score for part in (whole[:300], whole[300:]))
    believed = believe(detector, ALARM, INTERVAL_S)
    made = calibrate(early)
    counted = fit_alarm(structs.replace(ALARM, extrapolate=100.0), [(whole.time_ns[:300], made.surprise(early))])
    events = [
        alarming(whole.time_ns[300:], calibration.surprise(late)).begins.sum() / (LATE / 2000.0)
        for calibration, alarming in (believed, (made, counted))
    ]
    return float(events[0]), float(events[1])


@pytest.mark.parametrize("power", [1, 2])
def test_a_believed_rate_comes(power: Literal[1, 2]) -> None:
    """From 300 rows, one event in 2000 is believed, and comes to within a factor of two in the median of recordings.

    Negative control: the same rate extrapolated from counting in those rows is farther off.
    """
    believed, counted = np.transpose([came(power, seed) for seed in range(9)])
    assert 0.5 < np.median(believed) < 2.0
    miss = [np.mean(np.abs(np.log(found + 0.05))) for found in (believed, counted)]
    assert miss[0] < 0.8 * miss[1]


def test_rarer_than_imagined_goes_on_by_the_tail() -> None:
    """A rate no imagined recording could show still gives a threshold, higher the rarer, and the recipe as asked."""
    detector = Chart().fit([running(300, 1)])
    hour, year = (believe(detector, Alarm(per_s=per_s), INTERVAL_S) for per_s in (3600.0, 3.15e7))
    assert year.alarming.threshold > hour.alarming.threshold + 2.0
    assert year.alarming.recipe == Alarm(per_s=3.15e7)


def test_only_who_has_a_model_imagines() -> None:
    """A chart imagines; a deviation does not."""
    assert isinstance(Chart().fit([running(300, 1)]), Imagines)
    assert not isinstance(Deviation().fit([running(300, 1)]), Imagines)
