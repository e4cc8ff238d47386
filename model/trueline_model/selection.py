"""Which detector to take, decided on the training part alone.

Each candidate is fitted to all before a cut in time, and scored on what follows, into which known trouble was put
(`injection`), at several cuts. What it is worth is its average precision there, over recordings, cuts and seeds; one
configuration is taken for all recordings together. No label of a test part is seen here; there is no way to give one.

How much that says was measured where there are labels: the ranks correlate by 0.2 to 0.6, on NAB below 0, much as
others found (Ma et al., "The need for unsupervised outlier model selection", SIGKDD Explor. 25 (2023): internal
measures choose hardly better than chance, agreement of several detectors does better). So the choice is not the first
of a list, but one standing ensemble of three plain questions that are hard to beat (Sarfraz et al., "Position: Quo
vadis, unsupervised time series anomaly detection?", ICML 2024): how far from the centre, how far along the correlations
of normal running, how far from any window of it. Another is taken where it finds clearly more: half again as much, and
more in three of four trials.

Of several channels in fewer than `SHORT_ROWS` rows the standing choice is the chart in which channels must agree: the
one detector that knows how little it knows of a channel that wanders, and whose alarms need no count (`believed`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_model.detector import score_series
from trueline_model.detectors import Chart, Cusum, Deviation, Ensemble, Forest, Innovation, Novelty, Patches, Pca
from trueline_model.injection import inject
from trueline_model.series import between
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Recipe
    from trueline_model.series import Series

__all__ = [
    "SHORT_ROWS",
    "STANDING",
    "Candidate",
    "average_precision",
    "best",
    "candidates",
    "rank",
    "standing",
    "standing_name",
]

STANDING: Final = "ensemble"
"""Name of the ensemble taken where nothing speaks clearly for another."""

SHORT_ROWS: Final = 1000
"""Of training: with fewer, neither a rare alarm can be counted nor a choice be tried."""

_SHORT: Final = "chart-agreed"
_CUTS: Final = ((0.4, 0.7), (0.7, 1.0))
"""Of the rows: fitted to all before the first, scored from there to the second (Bergmeir and Benitez, Information
Sciences 191 (2012): the order of time is kept)."""

_ROWS_MAX: Final = 8000
_CLEARLY: Final = 1.5
_MOSTLY: Final = 0.75
_BANK_BYTES: Final = 32 * 1024
_BANK_MIN: Final = 20
_BANK_MAX: Final = 500
_PATCH_ROWS: Final = 10
_WINDOWS: Final = Novelty(rows=30, stride=3, scaling="standard")


class Candidate(NamedTuple):
    """A candidate and what it reached.

    Attributes:
        name: as given.
        precision: mean average precision over recordings and seeds.
        spread: standard deviation over seeds of the mean over recordings.
        trials: (seeds, recordings times cuts) average precision of each.
    """

    name: str
    precision: float
    spread: float
    trials: NDArray[np.float64]


def standing(width: int) -> tuple[Deviation | Novelty | Patches | Pca, ...]:
    """Members of the standing ensemble.

    With one channel nothing is correlated, and its level and shape change for reasons nobody can confirm. There the
    questions are whether such a value, and such a window, ever came before, in training or since.
    """
    if width == 1:
        return Novelty(rows=1, scaling="standard"), _WINDOWS
    return _square(), Pca(statistic="t2", mean_rows=5, clip=10.0, scaling="standard"), _patches(width)


def standing_name(rows: int, width: int) -> str:
    """What is taken of so many rows of so many channels where nothing speaks clearly for another."""
    return _SHORT if rows < SHORT_ROWS and width > 1 else STANDING


def candidates(width: int) -> dict[str, Recipe]:
    """The recipes there are for `width` channels, by the names the command line knows."""
    members = standing(width)
    many: dict[str, Recipe] = {
        "pca": Pca(variance_kept=0.99, mean_rows=5, clip=10.0, scaling="standard"),
        "pca-t2": members[1],
        "pca-both": Pca(statistic="both", mean_rows=5, clip=10.0, scaling="standard"),
        "innovation-joint": Innovation(smoothing=0.02, joint=True, mean_rows=5, scaling="standard"),
    }
    one = Ensemble(members=members, combine="highest", memory_rows=_WINDOWS.memory_rows)
    return {
        STANDING: Ensemble(members=members) if width > 1 else one,
        "deviation": _square(),
        **(many if width > 1 else {"novelty": _WINDOWS}),  # whose cost grows with memory times channels
        "innovation": Innovation(mean_rows=5, scaling="standard"),
        "innovation-holt": Innovation(trend=0.1, mean_rows=5, scaling="standard"),
        "chart": Chart(),
        _SHORT: Chart(power=1),
        "cusum": Cusum(scaling="standard"),
        "page-hinkley": Cusum(against="mean", scaling="standard"),
        "patches": _patches(width),
        "forest": Forest(trees=30, mean_rows=5, scaling="standard"),
    }


def _square() -> Deviation:
    return Deviation(power=2, mean_rows=5, clip=10.0, scaling="standard")


def _patches(width: int) -> Patches:
    bank = max(min(_BANK_MAX, _BANK_BYTES // (_PATCH_ROWS * width)), _BANK_MIN)
    return Patches(rows=_PATCH_ROWS, bank=bank, scaling="standard")


def rank(
    recipes: Mapping[str, Recipe], recordings: Sequence[Sequence[Series]], seeds: Sequence[int] = (0, 1, 2, 3)
) -> list[Candidate]:
    """All candidates that could be fitted, the best first.

    Args:
        recipes: by name.
        recordings: for each thing watched, its recordings of normal running; each thing gets a detector of its own. Of
            each the last 8,000 rows are taken.
        seeds: of what is put in; fits have the first.

    Raises:
        ConfigError: no candidate can be fitted to these recordings.
    """
    folds = [fold for own in recordings for fold in _folds(own)]
    trouble = [
        [[inject(each, seed * 1009 + number) for number, each in enumerate(late)] for _, late in folds]
        for seed in seeds
    ]
    found, refused = [], ""
    for name, recipe in recipes.items():
        trials = np.zeros((len(seeds), len(folds)))
        try:
            for i, (early, _) in enumerate(folds):
                detector = recipe.fit(early, seeds[0])
                for j in range(len(seeds)):
                    scores = [score_series(detector, series).score for series, _ in trouble[j][i]]
                    labels = [held > 0 for _, held in trouble[j][i]]
                    trials[j, i] = np.nan_to_num(average_precision(np.concatenate(labels), np.concatenate(scores)))
        except ConfigError as error:
            refused = f"{name}: {error}"
            continue
        by_seed = trials.mean(axis=1)
        found.append(Candidate(name, float(by_seed.mean()), float(by_seed.std()), trials))
    if not found:
        raise ConfigError(f"no detector can be fitted to these recordings: {refused}")
    return sorted(found, key=lambda each: -each.precision)


def best(ranked: Sequence[Candidate], standing: str = STANDING) -> Candidate:
    """The standing one of those ranked, or one that is clearly better than it; the first where it is not among them."""
    held = next((each for each in ranked if each.name == standing), None)
    if held is None:
        return ranked[0]
    first = ranked[0]
    clearly = first.precision > _CLEARLY * held.precision and np.mean(first.trials > held.trials) >= _MOSTLY
    return first if clearly else held


def average_precision(label: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Area under precision over recall, without interpolation; equal scores taken together, NaN as the lowest."""
    if not label.any():
        return float("nan")
    filled = np.where(np.isfinite(score), score, -np.inf)
    order = np.argsort(-filled, kind="stable")
    last = np.append(np.flatnonzero(filled[order][1:] != filled[order][:-1]), len(score) - 1)  # of each run of ties
    hits = np.cumsum(label[order])[last]
    return float(np.sum(np.diff(hits / label.sum(), prepend=0.0) * hits / (last + 1.0)))


def _folds(own: Sequence[Series]) -> list[tuple[list[Series], list[Series]]]:
    """What is fitted to and what is scored, at each cut in the last rows of recordings in order of time."""
    every = sum(map(len, own))
    rows = min(every, _ROWS_MAX)
    first = every - rows
    return [
        (
            between(own, first, first + round(cut * rows)),
            between(own, first + round(cut * rows), first + round(end * rows)),
        )
        for cut, end in _CUTS
    ]
