"""Detectors are compared on known trouble, in the training part alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from detector_cases import normal
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_model.detectors import Chart, Cusum, Deviation, Ensemble, Patches, Pca
from trueline_model.injection import KINDS, inject
from trueline_model.selection import (
    SHORT_ROWS,
    STANDING,
    Candidate,
    average_precision,
    best,
    candidates,
    rank,
    standing_name,
)
from trueline_model.series import make_series
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_model.detectors.deviation import DeviationDetector
    from trueline_model.series import Series


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_only_marked_rows_change(seed: int) -> None:
    """What is put in is marked, about a fifth of the rows, and nothing else changes; the same seed puts in the same."""
    series = normal(1)
    changed, held = inject(series, seed)
    again, _ = inject(series, seed)
    np.testing.assert_array_equal(changed.value, again.value)
    np.testing.assert_array_equal(changed.value[held == 0], series.value[held == 0])
    assert 0.1 < (held > 0).mean() < 0.4
    assert 0 <= held.min() <= held.max() <= len(KINDS)


def test_a_process_moves_channels_together_and_a_sensor_moves_one() -> None:
    """In a step of the process the channels that go together move together; a sensor's trouble is in one channel."""
    series = normal(1, 4000)
    changed, held = inject(series, 3)
    moved = np.abs(changed.value - series.value) > 0.0
    together = moved[held == KINDS.index("step together") + 1]
    assert (together[:, 0] == together[:, 1]).all()
    assert together[:, 0].any()
    sensor = [KINDS.index(kind) + 1 for kind in ("spike", "step", "drift", "noise")]
    assert moved[np.isin(held, sensor)].sum(axis=1).max() == 1
    kinds = {kind for seed in range(6) for kind in inject(series, seed)[1].tolist()}
    assert kinds == set(range(len(KINDS) + 1))


def test_one_channel_stands_on_what_came_before() -> None:
    """With one channel the standing ensemble asks of values and windows, and learns on; with more it does not."""
    one, many = candidates(1)[STANDING], candidates(3)[STANDING]
    assert isinstance(one, Ensemble)
    assert isinstance(many, Ensemble)
    assert one.learns
    assert not many.learns
    quiet = one.fit([make_series(np.random.default_rng(1).normal(size=600))])
    assert sum(array.nbytes for array in quiet.parts().arrays.values()) < 64 * 1024


def test_the_better_detector_ranks_first() -> None:
    """Trouble that breaks a strong correlation is best seen by what knows it; one configuration for all recordings."""
    recordings = [[normal(seed, 1200)] for seed in (1, 2, 3)]
    ranked = rank(
        {"blind": Cusum(ceiling=1e-3), "z": Deviation(), "pca": Pca(statistic="both")}, recordings, seeds=(0, 1)
    )
    assert [each.name for each in ranked] == ["pca", "z", "blind"]
    assert all(0.0 <= each.precision <= 1.0 and each.spread >= 0.0 for each in ranked)


def test_what_comes_after_a_cut_is_not_fitted_to() -> None:
    """Other rows behind the last cut change nothing of what is fitted: only the past is learnt from."""
    seen: list[float] = []

    class Spy(Deviation, frozen=True, kw_only=True, tag="spy"):
        def fit(self, series: Sequence[Series], seed: int = 0) -> DeviationDetector:
            seen.append(max(each.value[:, 0].max() for each in series))
            return super().fit(series, seed)

    ramp = make_series(np.arange(1000.0)[:, None])
    rank({"spy": Spy()}, [[ramp]], seeds=(0,))
    assert seen == [399.0, 699.0]


def test_the_standing_ensemble_yields_only_to_what_is_clearly_better() -> None:
    """Half again as much, and in three of four trials; a little more is no evidence."""

    def ranked(*pairs: tuple[str, list[float]]) -> list[Candidate]:
        made = [Candidate(name, float(np.mean(trials)), 0.0, np.array([trials])) for name, trials in pairs]
        return sorted(made, key=lambda each: -each.precision)

    standing = (STANDING, [0.4, 0.4, 0.4, 0.4])
    assert best(ranked(standing, ("little", [0.5] * 4))).name == STANDING
    assert best(ranked(standing, ("clearly", [0.7] * 4))).name == "clearly"
    assert best(ranked(standing, ("once", [1.0, 1.0, 0.35, 0.35]))).name == STANDING
    assert best(ranked(("only", [0.1]))).name == "only"


def test_what_cannot_be_fitted_is_left_out() -> None:
    """A candidate that refuses the recordings is not ranked; where all refuse, the last reason is told."""
    short = [[make_series(np.arange(12.0)[:, None])]]
    ranked = rank({"z": Deviation(), "patches": Patches(rows=30)}, short, seeds=(0,))
    assert [each.name for each in ranked] == ["z"]
    with pytest.raises(ConfigError, match="patches: "):
        rank({"patches": Patches(rows=30)}, short, seeds=(0,))


@pytest.mark.parametrize("width", [1, 8, 38])
def test_the_standing_ensemble_is_small(width: int) -> None:
    """Whatever the number of channels, it fits the default budget of 64 KB."""
    series = make_series(np.random.default_rng(1).normal(size=(3000, width)))
    detector = candidates(width)[STANDING].fit([series])
    assert sum(each.nbytes for each in detector.parts().arrays.values()) <= 64 * 1024


def test_precision_of_chance() -> None:
    """A score that knows nothing has the share of positive rows as its average precision."""
    rng = np.random.default_rng(1)
    label = rng.random(20_000) < 0.1
    assert abs(average_precision(label, rng.random(20_000)) - 0.1) < 0.01


def test_little_training_of_several_channels_stands_by_the_chart() -> None:
    """Of few rows the standing choice is the detector that knows how little it knows; of many, or of one channel, not.

    It is among the candidates, so it can be taken.
    """
    assert isinstance(candidates(8)[standing_name(SHORT_ROWS - 1, 8)], Chart)
    assert standing_name(SHORT_ROWS, 8) == standing_name(SHORT_ROWS - 1, 1) == STANDING
