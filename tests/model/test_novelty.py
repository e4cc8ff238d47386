"""What was never seen is novel once; what stays, or comes back, is known."""

from __future__ import annotations

import numpy as np
import pytest
from detector_cases import normal

from trueline_model.detector import score_series
from trueline_model.detectors import Ensemble, Novelty
from trueline_model.detectors.novelty import RESOLUTION
from trueline_model.series import make_series
from trueline_wire.errors import ConfigError


def daily(rows: int, seed: int = 0) -> np.ndarray:
    """A cycle of 50 rows with noise."""
    return np.sin(np.arange(rows) * 2.0 * np.pi / 50.0) + np.random.default_rng(seed).normal(0.0, 0.05, rows)


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("stride", [1, 4])
def test_the_distance_is_the_textbook_one(neighbours: int, stride: int) -> None:
    """The score is the mean squared distance of a cell to the nearest windows that ended in memory."""
    train, test = normal(1), normal(2)
    recipe = Novelty(rows=6, memory_rows=150, stride=stride, neighbours=neighbours)
    detector = recipe.fit([train])
    scored = score_series(detector, test)
    cells = np.concatenate([np.rint(detector.scale(each.value, each.valid) * RESOLUTION) for each in (train, test)])
    for row in (10, 60, 199):
        now = cells[len(train) + row - 5 : len(train) + row + 1]
        ends = len(train) + row - np.arange(6, 156, stride)
        far = np.sort([np.mean((cells[end - 5 : end + 1] - now) ** 2) for end in ends])[:neighbours]
        assert scored.score[row] == pytest.approx(far.mean() / RESOLUTION**2, rel=1e-12)


def test_a_memory_that_fills_is_the_textbook_one() -> None:
    """While the memory is not full, windows count that were measured whole, wherever batches are cut."""
    train, test = normal(1, 40), normal(2)
    detector = Novelty(rows=6, memory_rows=300).fit([train])
    scored = score_series(detector, test, batch=33)
    cells = np.concatenate([np.rint(detector.scale(each.value, each.valid) * RESOLUTION) for each in (train, test)])
    for row in (10, 33, 60, 199):
        end = len(train) + row
        now = cells[end - 5 : end + 1]
        far = min(np.mean((cells[e - 5 : e + 1] - now) ** 2) for e in range(5, end - 5))
        assert scored.score[row] == pytest.approx(far / RESOLUTION**2, rel=1e-12)


def test_a_new_regime_is_strange_and_then_known() -> None:
    """A level never measured scores highest as it comes, and little once it has been there for a window."""
    value = daily(1000)
    value[800:] += 5.0
    score = score_series(
        Novelty(rows=1, memory_rows=600).fit([make_series(value[:500])]), make_series(value[500:])
    ).score
    assert 300 <= int(score.argmax()) < 305
    assert score[400:].max() < 0.01 * score[300]


def test_a_shape_is_novel_although_each_value_is_known() -> None:
    """A cycle that stands still at a usual value is found by windows, and not by single rows."""
    value = daily(1000)
    value[810:850] = 0.0
    train, test = make_series(value[:500]), make_series(value[500:])
    windows = score_series(Novelty(rows=20, memory_rows=600).fit([train]), test).score
    rows = score_series(Novelty(rows=1, memory_rows=600).fit([train]), test).score
    assert windows[310:350].max() > 3.0 * np.nanmax(windows[:310])
    assert rows[310:350].max() <= rows[:310].max()


def test_neighbours_say_how_often_a_thing_must_have_been_seen() -> None:
    """With one neighbour a spike that comes a second time is known, with three it is not."""
    value = daily(1000)
    value[[700, 800]] += 8.0
    train, test = make_series(value[:500]), make_series(value[500:])
    once, thrice = (score_series(Novelty(rows=1, neighbours=n).fit([train]), test).score for n in (1, 3))
    assert once[300] < 0.05 * once[200]
    assert thrice[300] > 0.5 * thrice[200]


def test_members_with_a_memory_bear_drift() -> None:
    """When noise triples for good, an ensemble with a memory calms down, and one that was calibrated once does not."""
    rng = np.random.default_rng(5)
    value = rng.normal(0.0, 1.0, (4500, 2))
    value[2000:] *= 3.0
    members = (Novelty(rows=1, memory_rows=500), Novelty(rows=8, memory_rows=500, stride=2))
    share = {}
    for memory_rows in (0, 1000):
        recipe = Ensemble(members=members, combine="highest", memory_rows=memory_rows)
        score = score_series(recipe.fit([make_series(value[:1500])]), make_series(value[1500:])).score
        share[memory_rows] = float((score[2000:] >= 2.0).mean())
    assert share[1000] < 0.04
    assert share[0] > 2.0 * share[1000]


def test_sums_that_would_not_be_exact_are_refused() -> None:
    """Windows so long and so wide that sums of squares leave whole numbers behind say what to do."""
    with pytest.raises(ConfigError, match="lower clip"):
        Novelty(rows=30, clip=1e6).fit([normal(1)])
    with pytest.raises(ConfigError, match="rows of training data"):
        Novelty(rows=30).fit([normal(1)[:20]])
    with pytest.raises(ValueError, match="windows remembered"):
        Novelty(memory_rows=10, stride=5, neighbours=3)
