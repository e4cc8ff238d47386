"""Detectors are compared on known trouble, in the training part alone."""

from __future__ import annotations

import numpy as np
from detector_cases import normal
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_model.detectors import Cusum, Deviation, Pca
from trueline_model.injection import inject
from trueline_model.selection import average_precision, rank


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_only_labelled_rows_change(seed: int) -> None:
    """What is put in is labelled, and nothing else changes; the same seed puts in the same."""
    series = normal(1)
    changed, label = inject(series, seed)
    again, _ = inject(series, seed)
    np.testing.assert_array_equal(changed.value, again.value)
    np.testing.assert_array_equal(changed.value[~label], series.value[~label])
    assert 0.0 < label.mean() < 0.6


def test_the_better_detector_ranks_first() -> None:
    """Trouble that breaks a strong correlation is best seen by what knows it; one configuration for all recordings."""
    recordings = [[normal(seed, 1200)] for seed in (1, 2, 3)]
    ranked = rank(
        {"blind": Cusum(ceiling=1e-3), "z": Deviation(), "pca": Pca(statistic="both")}, recordings, seeds=(0, 1)
    )
    assert [each.name for each in ranked] == ["pca", "z", "blind"]
    assert all(0.0 <= each.precision <= 1.0 and each.spread >= 0.0 for each in ranked)


def test_precision_of_chance() -> None:
    """A score that knows nothing has the share of positive rows as its average precision."""
    rng = np.random.default_rng(1)
    label = rng.random(20_000) < 0.1
    assert abs(average_precision(label, rng.random(20_000)) - 0.1) < 0.01
