"""From recordings to windows that train, validate and calibrate, without one leaking into another.

Promises: parts follow one another in time, and between two parts lie as many unused rows as one window is long, so no
row is in windows of two parts; windows never cross a break between recordings. Refuses to know of networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trueline_model.series import between
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_model.scale import Scale
    from trueline_model.series import Series

__all__ = ["Split", "Windowed", "split", "windowed"]


class Split(NamedTuple):
    """Parts of recordings, in order of time.

    Attributes:
        train: what a network learns from.
        validate: what says when to stop, and which network is best.
        calibrate: what thresholds are made from; no choice of ours has seen it.
    """

    train: list[Series]
    validate: list[Series]
    calibrate: list[Series]


@dataclass(frozen=True, slots=True, eq=False)
class Windowed:
    """Windows, scaled.

    Attributes:
        value: (m, size, k) float32, in scales of each channel; 0 where not valid.
        valid: (m, size, k) bool.
        target: (m,) float32 what a prediction should say of each; None for detectors, whose windows say it themselves.
        weight: (m,) float32 what an error of 1 in the target is worth; None: the same in all.
    """

    value: NDArray[np.float32]
    valid: NDArray[np.bool_]
    target: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, which: NDArray[np.intp] | slice) -> Windowed:
        target, weight = (None if each is None else each[which] for each in (self.target, self.weight))
        return Windowed(self.value[which], self.valid[which], target, weight)


def split(series: Sequence[Series], gap_rows: int, shares: tuple[float, float, float] = (0.7, 0.15, 0.15)) -> Split:
    """Three parts by time.

    Args:
        series: recordings in order of time.
        gap_rows: rows left out between two parts, the length of a window.
        shares: of all rows, for training, validation and calibration.

    Raises:
        ConfigError: a part would be without one window.
    """
    rows = sum(map(len, series))
    ends = np.round(np.cumsum(shares) * rows).astype(int)
    starts = [0, ends[0] + gap_rows, ends[1] + gap_rows]
    parts = [between(series, int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
    for name, part in zip(Split._fields, parts, strict=True):
        if all(len(each) < gap_rows for each in part):
            raise ConfigError(
                f"{rows} rows are too few to {name} on windows of {gap_rows} rows: record longer, or shorten them"
            )
    return Split(*parts)


def windowed(series: Sequence[Series], scale: Scale, size: int, stride: int = 1) -> Windowed:
    """All windows of recordings.

    A window whose newest row has nothing valid teaches nothing and is left out.

    Args:
        series: a recording shorter than a window gives none.
        scale: centre and scale of each channel.
        size: rows a window.
        stride: rows from one window to the next.
    """
    value, valid = [], []
    for each in series:
        if len(each) >= size:
            value.append(_cut(scale(each.value, each.valid).astype(np.float32), size, stride))
            valid.append(_cut(each.valid, size, stride))
    if not value:
        width = len(scale.centre)
        return Windowed(np.empty((0, size, width), np.float32), np.empty((0, size, width), np.bool_))
    values, valids = np.concatenate(value), np.concatenate(valid)
    some = valids[:, -1].any(axis=1)
    return Windowed(values, valids) if some.all() else Windowed(values[some], valids[some])


def _cut(rows: NDArray[Any], size: int, stride: int) -> NDArray[Any]:
    return np.lib.stride_tricks.sliding_window_view(rows, size, axis=0)[::stride].transpose(0, 2, 1)
