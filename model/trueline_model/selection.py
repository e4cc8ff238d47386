"""Which detector to take, decided on the training part alone.

Each candidate is fitted to the beginning of each recording and scored on its end, into which known trouble was put
(`injection`). The one with the highest mean average precision over recordings and seeds is taken, for all recordings
together: one configuration for all. No label of a test part is seen here, nor is there a way to give one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_model.detector import score_series
from trueline_model.injection import inject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Recipe
    from trueline_model.series import Series

__all__ = ["Candidate", "average_precision", "rank"]

_FITTED_SHARE = 0.7


class Candidate(NamedTuple):
    """A candidate and what it reached.

    Attributes:
        name: as given.
        precision: mean average precision over recordings and seeds.
        spread: standard deviation over seeds of the mean over recordings.
    """

    name: str
    precision: float
    spread: float


def rank(
    recipes: Mapping[str, Recipe], recordings: Sequence[Sequence[Series]], seeds: Sequence[int] = (0, 1, 2)
) -> list[Candidate]:
    """All candidates, the best first.

    Args:
        recipes: by name.
        recordings: for each thing watched, its recordings of normal running; each thing gets a detector of its own.
        seeds: of what is put in and of the fits.

    Raises:
        ConfigError: a candidate cannot be fitted to these recordings.
    """
    early = [[each[: round(len(each) * _FITTED_SHARE)] for each in own] for own in recordings]
    trouble = [
        [
            [
                (inject(each[round(len(each) * _FITTED_SHARE) :], seed * 1009 + number))
                for number, each in enumerate(own)
            ]
            for own in recordings
        ]
        for seed in seeds
    ]
    found = []
    for name, recipe in recipes.items():
        precision = np.zeros((len(seeds), len(recordings)))
        for i, own in enumerate(early):
            detector = recipe.fit(own, seeds[0])
            for j in range(len(seeds)):
                scores = [score_series(detector, series).score for series, _ in trouble[j][i]]
                labels = [label for _, label in trouble[j][i]]
                precision[j, i] = average_precision(np.concatenate(labels), np.concatenate(scores))
        by_seed = precision.mean(axis=1)
        found.append(Candidate(name, float(by_seed.mean()), float(by_seed.std())))
    return sorted(found, key=lambda each: -each.precision)


def average_precision(label: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Area under precision over recall, without interpolation; equal scores taken together, NaN as the lowest."""
    if not label.any():
        return float("nan")
    filled = np.where(np.isfinite(score), score, -np.inf)
    order = np.argsort(-filled, kind="stable")
    last = np.append(np.flatnonzero(filled[order][1:] != filled[order][:-1]), len(score) - 1)  # of each run of ties
    hits = np.cumsum(label[order])[last]
    return float(np.sum(np.diff(hits / label.sum(), prepend=0.0) * hits / (last + 1.0)))
