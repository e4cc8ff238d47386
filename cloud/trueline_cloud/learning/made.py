"""A fitted model ready to be packed, whatever it is: a statistical detector, a network, or both together.

Promises: nothing here loads TensorFlow, so a statistical detector is made where it is not installed; the calibration
part is seen by nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_cloud.learning.dataset import split
from trueline_model.detector import out_of_fold, score_series
from trueline_model.detectors.ensemble import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_cloud.learning.dataset import Split
    from trueline_cloud.learning.fit import Fitted
    from trueline_model.detector import Detector, Recipe
    from trueline_model.series import Series

__all__ = ["GAP_ROWS", "Budget", "Made", "cost", "join", "make_recipe"]

GAP_ROWS: Final = 32
"""Unused rows between two parts, for a detector without a network."""

_TIMED_ROWS: Final = 512
_ROUNDS: Final = 3


class Budget(NamedTuple):
    """What the device gives a model.

    Attributes:
        size_kb: of the network and of all arrays of the detector, 1,024 bytes each.
        latency_us: a row, on the machine that trains; of a network alone, of a bare invoke.
    """

    size_kb: float = 64.0
    latency_us: float = 30.0

    def holds(self, size_bytes: float, latency_us: float) -> bool:
        """Is a model within?"""
        return size_bytes <= self.size_kb * 1024 and latency_us <= self.latency_us


class Made(NamedTuple):
    """A model.

    Attributes:
        name: of its kind, as the command line says it.
        detector: scoring.
        parts: what it was fitted to, and what is kept for calibration.
        network: the one in it that was trained here; None where there is none.
        brought: the file of one that was made elsewhere, or nothing.
    """

    name: str
    detector: Detector
    parts: Split
    network: Fitted | None = None
    brought: bytes = b""

    @property
    def tflite(self) -> bytes:
        """The file of the network in it; nothing where there is none."""
        return self.network.tflite if self.network else self.brought


def make_recipe(series: Sequence[Series], name: str, recipe: Recipe, seed: int = 0) -> Made:
    """Fit a statistical detector: to training and validation part, since it wants nobody to say when to stop.

    Raises:
        ConfigError: too few rows, or the recipe refuses them.
    """
    parts = split(series, GAP_ROWS)
    return Made(name, recipe.fit([*parts.train, *parts.validate], seed), parts)


def join(name: str, fitted: Fitted, beside: Sequence[Recipe], seed: int = 0) -> Made:
    """A network and statistical detectors as one, by their p-values; the network's are of its validation part.

    Raises:
        ConfigError: too few rows, or a recipe refuses them.
    """
    known = [*fitted.parts.train, *fitted.parts.validate]
    members = [
        (recipe.fit(known, seed + number), out_of_fold(recipe, known, seed=seed + number))
        for number, recipe in enumerate(beside)
    ]
    held = np.concatenate([score_series(fitted.detector, each).score for each in fitted.parts.validate])
    return Made(name, together([*members, (fitted.detector, held)]), fitted.parts, fitted)


def cost(detector: Detector, series: Series, network_bytes: int = 0) -> tuple[float, float]:
    """Bytes of a detector, and microseconds a row in batches as a device takes them: the best of three rounds."""
    rows = series[:_TIMED_ROWS]
    elapsed = []
    for _ in range(_ROUNDS):
        begun = time.process_time()  # what others do on this machine is not the model's
        detector.score(rows.value, rows.valid)
        elapsed.append(time.process_time() - begun)
    size = network_bytes + sum(each.nbytes for each in detector.parts().arrays.values())
    return float(size), min(elapsed) / max(len(rows), 1) * 1e6
