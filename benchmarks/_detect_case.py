"""What `detect.py` knows of a labelled set: its recordings, what is asked of it, and what only it is judged by.

Promises: a set says which of its recordings were looked at while detectors were made (`development`); the others are
held back, and are printed apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_model.detector import Detector, Recipe
    from trueline_model.series import Series

MEAN_Z = "mean |z|"
PCA1 = "PCA residual"
PCA10 = "PCA residual, mean of 10"


@dataclass(frozen=True)
class Case:
    """One thing watched.

    Attributes:
        name: of the recording.
        train: normal running.
        test: what follows.
        label: (n,) of the test rows.
        windows: of NAB, as rows of the test part.
    """

    name: str
    train: Series
    test: Series
    label: NDArray[np.bool_]
    windows: tuple[tuple[int, int], ...] = ()


class ScoredCase(NamedTuple):
    """A case as a fitted detector sees it.

    Attributes:
        case: see there.
        detector: fitted to its training part.
        late: (n,) scores of the test rows, which follow the training part.
        microseconds: a row.
    """

    case: Case
    detector: Detector
    late: NDArray[np.float64]
    microseconds: float


@dataclass(frozen=True)
class LabelledSet:
    """A set of recordings with labels.

    Attributes:
        folder: under `--data`.
        read: its cases, from the folder and a seed.
        development: was the recording of this name looked at while detectors were made?
        misses: what was asked of `auto` and not reached, from all figures of the set.
        figures: what only this set is judged by, from the recipe, the cases scored by it and a seed; {} for nothing.
        rules: rows of the table that are no detectors: scores of a case's test rows from the case and a seed.
        has_vus: is VUS-PR given?
    """

    folder: str
    read: Callable[[Path, int], list[Case]]
    development: Callable[[str], bool]
    misses: Callable[[dict[str, Any]], Iterator[str]]
    figures: Callable[[Recipe, Sequence[ScoredCase], int], dict[str, float]] = field(
        default=lambda _recipe, _scored, _seed: {}
    )
    rules: Mapping[str, Callable[[Case, int], NDArray[np.float64]]] = field(default_factory=dict)
    has_vus: bool = True


def mean_of(found: dict[str, Any], detector: str, key: str) -> float:
    """Of a figure over seeds."""
    return float(np.mean(found[detector][key]))
