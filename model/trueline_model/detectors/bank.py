"""A bank of embedded windows of normal running, and how far a window is from the nearest of them.

After J. Park and S. Kang, "PaAno: Patch-based representation learning for time-series anomaly detection", 2026, but for
the distance: theirs is that of directions (cosine), ours is the mean square over the numbers of an embedding, to the
nearest few. How large a number is says how far a process is from where it was, and a direction forgets that. An
embedding knows no channels; so with each window of the bank its level and spread in every channel are kept, and the
score falls to channels by how far theirs are from those of the nearest window. That is where to look first, not what
the network looked at.

Promises: an answer depends on its own window alone, bit for bit. Numbers are rounded to whole ones, 4096 to the unit,
so that a matrix product sums them exactly, in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_model.arrays import array
from trueline_model.rows import row_sum
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Bank", "make_bank", "profile", "read_bank", "spread_out"]

_UNIT: Final = 2.0**12
_LARGEST: Final = 2.0**22
"""Sums of squares of some hundred such numbers are still exact in float64."""

_STEPS: Final = 12.0
"""Levels and spreads are kept in twelfths of a scale, up to ten and a half scales: a byte each."""


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Normal windows.

    Attributes:
        embedding: (b, e) float32, as the network gave them.
        profile: (b, 2 k) int8, level and spread of each channel, in twelfths of a scale.
        whole: (b, e) float64, whole numbers.
    """

    embedding: NDArray[np.float32]
    profile: NDArray[np.int8]
    whole: NDArray[np.float64]

    @property
    def width(self) -> int:
        """Numbers of an embedding (e)."""
        return int(self.embedding.shape[1])

    def contributions(
        self, answer: NDArray[np.float32], window: NDArray[np.floating[Any]], valid: NDArray[np.bool_], neighbours: int
    ) -> NDArray[np.float64]:
        """Scores of windows by channel.

        Args:
            answer: (m, e), the windows embedded.
            window: (m, rows, k), in scales.
            valid: (m, rows, k).
            neighbours: how many of the nearest count; at most b.

        Returns:
            (m, k), whose row sums are the mean distances.
        """
        asked = _whole(answer)
        square = row_sum(asked**2)[:, None] + row_sum(self.whole**2) - 2.0 * (asked @ self.whole.T)  # exact
        closest = np.sort(np.partition(square, neighbours - 1, axis=1)[:, :neighbours], axis=1)
        distance = row_sum(closest) / (neighbours * self.width * _UNIT**2)
        off = profile(window, valid) - self.profile[square.argmin(axis=1)]
        k = window.shape[2]
        blame = np.where(valid.any(axis=1), off[:, :k] ** 2 + off[:, k:] ** 2 + 1e-9, 0.0)
        return blame * (distance / np.maximum(row_sum(blame), 1e-300))[:, None]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a package holds of it."""
        return {"bank": self.embedding, "bank_profile": self.profile}


def make_bank(embedding: NDArray[np.float32], window: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> Bank:
    """The bank of windows (b, rows, k), in scales, and what a network made of them (b, e)."""
    return _bank(embedding, np.clip(np.rint(profile(window, valid)), -127, 127).astype(np.int8))


def read_bank(arrays: Mapping[str, NDArray[Any]], width: int, channels: int, neighbours: int) -> Bank:
    """The bank among the arrays of a package.

    Raises:
        ConfigError: an array is missing or of another shape, or there are fewer windows than neighbours.
    """
    embedding = array(arrays, "bank", 2, (None, width))
    kept = array(arrays, "bank_profile", 2, (len(embedding), 2 * channels))
    if len(embedding) < neighbours:
        raise ConfigError(f"the array bank holds {len(embedding)} windows, wanted {neighbours}")
    return _bank(embedding.astype(np.float32), np.clip(kept, -127, 127).astype(np.int8))


def profile(window: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Level and standard deviation of the channels of windows (m, rows, k): (m, 2 k), in twelfths of a scale."""
    count = np.maximum(valid.sum(axis=1), 1)
    cells = np.where(valid, window, 0.0).astype(np.float64, order="C")
    level = np.einsum("mrk->mk", cells) / count
    square = np.einsum("mrk,mrk->mk", cells, cells) / count
    return _STEPS * np.concatenate([level, np.sqrt(np.maximum(square - level**2, 0.0))], axis=1)


def spread_out(rows: NDArray[np.floating[Any]], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of `count` rows of (n, d), in order: half drawn at random, half farthest-first (Gonzalez, 1985)."""
    if len(rows) <= count:
        return np.arange(len(rows))
    chosen = list(rng.choice(len(rows), max(count // 2, 1), replace=False))
    norm = np.einsum("ij,ij->i", rows, rows)
    near = np.full(len(rows), np.inf)
    for one in chosen:
        near = np.minimum(near, norm + norm[one] - 2.0 * (rows @ rows[one]))
    while len(chosen) < count:
        chosen.append(int(near.argmax()))
        near = np.minimum(near, norm + norm[chosen[-1]] - 2.0 * (rows @ rows[chosen[-1]]))
    return np.sort(np.array(chosen))


def _bank(embedding: NDArray[np.float32], kept: NDArray[np.int8]) -> Bank:
    return Bank(embedding, kept, _whole(embedding))


def _whole(embedding: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.clip(np.rint(embedding.astype(np.float64) * _UNIT), -_LARGEST, _LARGEST)
