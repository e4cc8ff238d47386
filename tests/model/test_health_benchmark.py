"""The benchmark of predictions asks what it says it asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from types import ModuleType

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def greenhouse(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _health_greenhouse as script  # noqa: PLC0415 - a benchmark is a script, not a package

    return script


@pytest.fixture
def bearing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _health_bearing as script  # noqa: PLC0415 - as above

    return script


@pytest.fixture
def cmapss(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(_FOLDER))
    import _health_cmapss as script  # noqa: PLC0415 - as above

    return script


def test_what_a_greenhouse_needs_is_what_its_crop_takes(
    greenhouse: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The need of one day is what was taken before the next; over time, water given is water taken, or drains."""
    monkeypatch.setattr(greenhouse, "_DAYS", 13)
    for house in greenhouse.houses([7]):
        rows = np.flatnonzero(np.isfinite(house.need))
        day = 144
        assert len(rows) == 4 * 12
        np.testing.assert_allclose(house.before[rows[4:]], house.need[rows[4:] - day])
        assert (house.need[rows] > 0.0).all()
        told = greenhouse.metered(house)
        assert np.isnan(told[: 10 * day]).all()
        given_mm = house.value[:, -1].sum() / 6.0
        assert told[-1] == pytest.approx(house.value[-10 * day :, -1].sum() / 60.0, abs=0.1)
        assert given_mm >= 0.0


def test_a_bearing_is_watched_until_its_vibration_has_doubled(
    bearing: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours left fall to nothing, where the RMS is twice what it was."""
    monkeypatch.setattr(bearing, "_LIFE_H", (300.0, 400.0))
    monkeypatch.setattr(bearing, "_WATCHED_H", 560.0)
    found = bearing.machines(3, 4)
    assert found
    for machine in found:
        assert machine.left_h[-1] == 0.0
        assert np.diff(machine.left_h) == pytest.approx(-1.0 / 3.0)
        rms = machine.value[:, 0]
        assert rms[-12:].mean() / rms[:72].mean() == pytest.approx(2.0, abs=0.1)
        assert rms[:-24].max() < 2.1 * rms[:72].mean()


def test_the_score_counts_late_more_than_early(cmapss: ModuleType) -> None:
    """Nothing for the truth; exp(1) - 1 for thirteen flights early or ten late."""
    truth = np.array([50.0, 50.0, 50.0])
    assert cmapss.nasa_score(truth, truth) == 0.0
    assert cmapss.nasa_score(np.array([37.0, 50.0, 50.0]), truth) == pytest.approx(np.e - 1.0)
    assert cmapss.nasa_score(np.array([60.0, 50.0, 50.0]), truth) == pytest.approx(np.e - 1.0)
