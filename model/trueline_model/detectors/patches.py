"""Nearest normal patches: how far the last rows are from the nearest windows of normal running.

A patch is the last `rows` rows, in scales. A bank of them is kept, half drawn at random (where normal running mostly
is), half farthest-first (its edges: Gonzalez, Theor. Comput. Sci. 38 (1985)), in int8: steps of a 127th of the greatest
deviation, which `clip` bounds, are finer than the noise they stand for. The score is the mean squared distance of
a cell to that of the nearest `neighbours` (Ramaswamy, Rastogi and Shim, SIGMOD 2000), which falls to channels by parts.
What a network does in an embedding it learns, this does on the rows themselves, and it costs no training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trueline_model.arrays import array
from trueline_model.detectors.bank import spread_out
from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training
from trueline_model.rows import row_sum, running_mean
from trueline_model.windows import Windower
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Parts, Scored, State
    from trueline_model.series import Series

__all__ = ["Patches", "PatchesDetector"]

_DRAWN_MAX = 20_000
_BLOCK = 256
_STEPS = 127


class Patches(DetectorSettings, frozen=True, kw_only=True, tag="patches"):
    """Settings of the bank.

    Attributes:
        rows: of a patch.
        bank: patches kept, at most.
        neighbours: nearest of them that count.
        level: whether the level of a patch counts, or only its shape (each channel less its mean over the patch).
        valid_min: share of a patch's cells that must be valid.
        mean_rows: the score is the mean of that many rows.
    """

    rows: int = 8
    bank: int = 500
    neighbours: int = 3
    level: bool = True
    valid_min: float = 0.5
    mean_rows: int = 1
    clip: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.rows, self.bank, self.neighbours, self.mean_rows) < 1:
            raise ValueError("rows, bank, neighbours and mean_rows must be at least 1")
        if self.neighbours > self.bank:
            raise ValueError(f"neighbours {self.neighbours} must be at most bank {self.bank}")
        if not 0.0 < self.valid_min <= 1.0:
            raise ValueError(f"valid_min {self.valid_min} must be above 0 and at most 1")

    def fit(self, series: Sequence[Series], seed: int = 0) -> PatchesDetector:
        """The bank of the training part, of windows without a missing cell."""
        scale, _, _ = training(self, series, self.rows + self.neighbours)
        found = []
        for each in series:
            cut = Windower(self.rows).push(scale(each.value, each.valid), each.valid)
            found.append(cut.value[cut.valid.all(axis=(1, 2))])
        windows = np.concatenate(found)
        if len(windows) < self.neighbours:
            raise ConfigError(
                f"{len(windows)} windows of {self.rows} rows without a missing cell: "
                f"at least {self.neighbours} are wanted: give more rows, or a smaller window"
            )
        rng = np.random.default_rng(seed)
        if len(windows) > _DRAWN_MAX:
            windows = windows[np.sort(rng.choice(len(windows), _DRAWN_MAX, replace=False))]
        flat = self.shape(windows).reshape(len(windows), -1)
        chosen = windows[spread_out(flat, self.bank, rng)]
        step = float(np.abs(chosen).max()) / _STEPS or 1.0
        return PatchesDetector(self, scale, np.rint(chosen / step).astype(np.int8), step)

    def shape(self, windows: NDArray[np.float64]) -> NDArray[np.float64]:
        """What of windows (m, rows, k) counts."""
        return windows if self.level else windows - windows.mean(axis=1, keepdims=True)

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> PatchesDetector:
        """As `Recipe`."""
        scale = self.scale(arrays)
        k = len(scale.centre)
        bank = array(arrays, "bank", 3, (None, self.rows, k))
        if len(bank) < self.neighbours:
            raise ConfigError(f"the array bank holds {len(bank)} patches, wanted {self.neighbours}")
        if np.any((np.abs(bank) > _STEPS) | (bank != np.rint(bank))):
            raise ConfigError(f"the array bank holds a number that is no step from -{_STEPS} to {_STEPS}")
        return PatchesDetector(self, scale, bank.astype(np.int8), float(array(arrays, "step", 0)))


@dataclass(frozen=True, slots=True, eq=False)
class PatchesDetector(ScaledDetector[Patches]):
    """A bank of normal patches (b, rows, k) in steps of `step` scales."""

    bank: NDArray[np.int8]
    step: float

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return max(self.recipe.rows, self.recipe.mean_rows) - 1

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        cut = Windower(self.recipe.rows).push(self.scale(value, valid), valid, state)
        raw = np.full(value.shape, np.nan)
        enough = (cut.valid.mean(axis=(1, 2)) >= self.recipe.valid_min) & cut.valid[:, -1].any(axis=1)
        raw[cut.last_row[enough]] = self._nearest(cut.value[enough], cut.valid[enough])
        mean, kept = running_mean(raw, self.recipe.mean_rows, state)
        return judged(mean, {**cut.state, **kept})

    def _nearest(self, window: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Contributions of the channels, (m, k).

        A matrix product finds candidates, twice as many as count; their distances are then worked out one by one, in
        one order, so that the answer for a window does not depend on which windows come with it.
        """
        bank = self.recipe.shape(self.bank.astype(np.float64) * self.step)
        flat = bank.reshape(len(bank), -1).T
        square = flat**2
        candidates = min(2 * self.recipe.neighbours, len(bank))
        out = np.empty((len(window), self.width))
        for start in range(0, len(window), _BLOCK):
            there = valid[start : start + _BLOCK].astype(float)
            patch = self.recipe.shape(window[start : start + _BLOCK]) * there
            weight = there.reshape(len(there), -1)
            far_off = square.sum(axis=0) if there.all() else weight @ square
            rough = far_off - 2.0 * (patch.reshape(len(patch), -1) @ flat)
            near = np.argpartition(rough, candidates - 1, axis=1)[:, :candidates]
            near.sort(axis=1)
            off = np.zeros((len(patch), candidates, self.width))
            for row in range(self.recipe.rows):
                off += ((bank[near, row] - patch[:, None, row]) * there[:, None, row]) ** 2
            far = row_sum(off.reshape(-1, self.width)).reshape(off.shape[:2])
            order = np.argsort(far, axis=1, kind="stable")[:, : self.recipe.neighbours]
            parts = np.zeros((len(patch), self.width))
            for place in range(self.recipe.neighbours):
                parts += off[np.arange(len(patch)), order[:, place]]
            out[start : start + _BLOCK] = (
                parts / (self.recipe.neighbours * np.maximum(weight.sum(axis=1), 1.0))[:, None]
            )
        return out

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(bank=self.bank, step=np.array(self.step))
