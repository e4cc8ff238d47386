"""Trouble put into windows of normal running, and where: what a network that marks learns from.

Kinds a sensor shows (a step, a drift, noise, a value that stays, spikes) go into one channel, kinds a process shows
(another time's course, a course slower or stronger than usual, a shift) into about half of them (synthetic anomalies as
in C. Carmona et al., "Neural contextual anomaly detection", 2022). Where they begin and end is drawn, also beyond the
window; sizes from a fifth of a scale to twenty, evenly by ratio: what is too small to see teaches where to stop, and
what ends at the limit of the scaling, that so far out nothing is normal.

Promises: seeded; windows given are left untouched; what did not move is not marked. Refuses to be `inject`, by which
detectors are ranked: the two share no code, yet some of their kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_model.detectors.network import CLIP

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

__all__ = ["trouble"]

_TROUBLED: Final = 0.5
_SIZES: Final = (0.2, 20.0)
_MOVED: Final = 0.05
_SPIKES: Final = 0.2


def trouble(value: NDArray[np.float32], random: Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Windows, half of them with trouble, and which cells hold it.

    Args:
        value: (m, rows, k) in scales.
        random: draws kinds, places and sizes.

    Returns:
        (m, rows, k) and (m, rows, k).
    """
    m, rows, k = value.shape
    at = np.arange(rows)[None, :, None]
    length = np.exp(random.uniform(0.0, np.log(8.0 * rows), (m, 1, 1)))
    begin = random.uniform(-length, rows, (m, 1, 1))
    inside = (at >= begin) & (at < begin + length)
    since = np.clip((at - begin) / length, 0.0, 1.0)
    low, high = np.log(_SIZES)
    size = np.exp(random.uniform(low, high, (m, 1, 1))) * random.choice((-1.0, 1.0), (m, 1, 1))
    first = value[np.arange(m), np.clip(np.ceil(begin[:, 0, 0]), 0, rows - 1).astype(int)][:, None]
    level = value.mean(axis=1, keepdims=True)
    one = np.arange(k) == random.integers(k, size=(m, 1, 1))
    some = one | (random.random((m, 1, k)) < 0.5)  # noqa: PLR2004 - every other channel
    alone = (
        value + size,
        value + size * since,
        value + np.abs(size) * random.normal(size=value.shape),
        np.broadcast_to(first, value.shape),
        value + size * (random.random(value.shape) < _SPIKES),
    )
    together = (
        value[random.permutation(m)],
        level + (value - level) * np.exp(np.clip(size, -2.0, 2.0)),
        value + size * random.uniform(-1.0, 1.0, (m, 1, k)),
    )
    kind = random.integers(len(alone) + len(together), size=(m, 1, 1))
    where = inside & np.where(kind < len(alone), one, some) & (random.random((m, 1, 1)) < _TROUBLED)
    troubled = np.where(where, np.clip(np.choose(kind, alone + together), -CLIP, CLIP), value).astype(np.float32)
    return troubled, np.abs(troubled - value) > _MOVED
