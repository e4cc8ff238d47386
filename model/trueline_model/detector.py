"""What every detector keeps: rows in, one score a row out, and which channel it came from.

A *recipe* is what a person chooses (a frozen struct of settings); `fit` makes a detector of it from recordings of
normal running; a detector is that recipe and arrays, so it goes into a package (`parts`) and comes out of one
(`detectors.detector_from`) the same. Laws, checked for every detector by `tests/model/test_detectors.py`:

* `score` leaves its input untouched, and says the same for the same input and state;
* where a recording is cut into batches changes no score by one bit: the state that comes out goes into the next call;
* a cell that is not valid changes nothing, whatever it holds; a row with nothing valid scores NaN;
* the score is NaN while warming up (`warm_up` rows after a start), else finite, at least 0, larger is stranger;
* contributions are at least 0 and their row sum is the score (0 where the score is NaN).

A state is arrays under names, of a size that does not grow with the recording; None starts anew (after a long gap,
or a restart without memory). Refuses to know what a score means: probabilities come from `conformal` and `tail`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.series import Series

__all__ = ["Detector", "Parts", "Recipe", "Scored", "State", "out_of_fold", "score_series"]

State = dict[str, "NDArray[Any]"]
"""What a detector remembers between batches."""


class Scored(NamedTuple):
    """What a detector says of a batch.

    Attributes:
        score: (n,) float64, at least 0, larger is stranger; NaN where nothing can be said.
        contribution: (n, k) float64, how much of the score came from each channel.
        state: goes into the next call.
    """

    score: NDArray[np.float64]
    contribution: NDArray[np.float64]
    state: State


class Parts(NamedTuple):
    """A detector as a package holds it.

    Attributes:
        kind: which detector, a key of `trueline_model.detectors.DETECTORS`.
        settings: its recipe, plain values only (numbers, strings, lists, mappings).
        arrays: what was fitted, by name.
    """

    kind: str
    settings: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


class Detector(Protocol):
    """A recipe fitted to normal running."""

    @property
    def width(self) -> int:
        """Channels a row has (k)."""
        raise NotImplementedError

    @property
    def warm_up(self) -> int:
        """Rows at a start that score NaN although all is valid."""
        raise NotImplementedError

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """Scores of a batch that follows the one `state` came from.

        Args:
            value: (n, k), the channels' units, in the order fitted.
            valid: (n, k), False where the cell means nothing.
            state: of the batch before; None at a start.
        """
        raise NotImplementedError

    def parts(self) -> Parts:
        """What to keep of it."""
        raise NotImplementedError


class Recipe(Protocol):
    """Settings of a detector; one that exists is valid."""

    def fit(self, series: Sequence[Series], seed: int = 0) -> Detector:
        """The detector for recordings of normal running, all of the same channels.

        Args:
            series: none follows another without a break.
            seed: of whatever is drawn at random; same seed, same detector.

        Raises:
            ConfigError: the recordings cannot carry this recipe (too short, a channel without one valid value).
        """
        raise NotImplementedError

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> Detector:
        """The detector of this recipe whose `parts` held these arrays.

        Raises:
            ConfigError: an array is missing, or has another shape than the recipe wants.
        """
        raise NotImplementedError


def score_series(detector: Detector, series: Series, *, batch: int | None = None) -> Scored:
    """A whole recording, from a start.

    Args:
        detector: left as it is.
        series: of the channels it was fitted to.
        batch: rows a call; all at once where left out. It changes no score.
    """
    rows = len(series)
    step = max(rows, 1) if batch is None else batch
    state: State | None = None
    scores: list[NDArray[np.float64]] = []
    contributions: list[NDArray[np.float64]] = []
    for start in range(0, max(rows, 1), step):
        scored = detector.score(series.value[start : start + step], series.valid[start : start + step], state)
        scores.append(scored.score)
        contributions.append(scored.contribution)
        state = scored.state
    return Scored(np.concatenate(scores), np.concatenate(contributions), state or {})


def out_of_fold(recipe: Recipe, series: Sequence[Series], folds: int = 3, seed: int = 0) -> NDArray[np.float64]:
    """Scores of all rows, each by a detector that has not seen its block of time (cross-conformal: Vovk, 2015).

    What a detector says of rows it was fitted to is too good, the more so the fewer there were: p-values and thresholds
    want scores like these, or rows set aside.

    Args:
        recipe: fitted `folds` times.
        series: recordings of normal running.
        folds: blocks of time each recording is cut into, two at least.
        seed: as `Recipe.fit`.

    Raises:
        ConfigError: too short for that.
    """
    found: list[list[NDArray[np.float64]]] = [[] for _ in series]
    for fold in range(folds):
        rest, left_out = [], []
        for each in series:
            start, stop = len(each) * fold // folds, len(each) * (fold + 1) // folds
            rest += [part for part in (each[:start], each[stop:]) if len(part)]
            left_out.append(each[start:stop])
        detector = recipe.fit(rest, seed)
        for scores, part in zip(found, left_out, strict=True):
            scores.append(score_series(detector, part).score)
    return np.concatenate([score for scores in found for score in scores])
