"""A network as a detector: window in, numbers out, and how far they are from what was measured is the score.

The network itself is a callable that comes in as an argument (the agent's LiteRT adapter, a Keras model while training,
a function in a test), so training and serving share everything else: scaling, windows, masks, reduction. A network sees
float32 in scales of the training part; a cell that is not valid is 0 there (the centre) and takes no part in the score;
a window with fewer than `valid_min` of its cells valid scores NaN.

What comes out, and what is made of it (`Network.output`):

* "reconstruction", "forecast": the mean square by which it is off;
* "marks": log-odds that a cell is anomalous; the mean of -log P(it is not), so sure marks add up;
* "embedding": the distance to the nearest of a bank of normal windows (`bank`);
* "score": itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trueline_model.detector import Parts, Scored
from trueline_model.detectors.bank import Bank, read_bank
from trueline_model.detectors.settings import DetectorSettings, ScaledDetector
from trueline_model.rows import row_sum
from trueline_model.windows import Windower, overlapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_model.detector import State

__all__ = ["CLIP", "Model", "Network", "NetworkDetector"]

CLIP = 10.0
"""Scales a network sees, where nobody says otherwise: int8 has no room for more."""

_BLOCK = 128
"""Windows judged in one go: what is made of them stays in the processor's cache."""

Model = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]
"""(m, rows, k) in scales -> (m, rows, k) reconstructed or log-odds, or (m, k) the last row forecast,
or (m, e) embedded, or (m,) scores.

A window's answer must not depend on which windows come with it. Where a model has `prepared`, it is given windows of
what that makes of rows."""


class Network(DetectorSettings, frozen=True, kw_only=True, tag="network"):
    """How windows go into a network, and how what comes out becomes a score.

    Attributes:
        rows: of a window the network sees.
        stride: rows from one window to the next; rows between keep the score of the window before.
        output: "reconstruction" of the window, "forecast" of the row after it, "marks" on its cells, an "embedding" of
            it, or a "score" of its own.
        judged: which rows of a reconstruction or of marks count: the whole "window", or its "last" row.
        embedded: numbers of an embedding; 0 where it is none.
        neighbours: windows of the bank that count, the nearest.
        valid_min: share of a window's cells that must be valid.
    """

    rows: int
    stride: int = 1
    output: Literal["reconstruction", "forecast", "marks", "embedding", "score"] = "reconstruction"
    judged: Literal["window", "last"] = "window"
    embedded: int = 0
    neighbours: int = 3
    valid_min: float = 0.5
    clip: float = CLIP

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.rows, self.stride, self.neighbours) < 1:
            raise ValueError(
                f"rows {self.rows}, stride {self.stride} and neighbours {self.neighbours} must be at least 1"
            )
        if (self.output == "embedding") != (self.embedded > 0):
            raise ValueError(f"embedded {self.embedded}: numbers of an embedding, and 0 for any other output")
        if not 0.0 < self.valid_min <= 1.0:
            raise ValueError(f"valid_min {self.valid_min} must be above 0 and at most 1")

    @property
    def windower(self) -> Windower:
        """Windows it wants: a forecast is compared with the row after what the network sees."""
        return Windower(self.rows + (self.output == "forecast"), self.stride)

    def detector(self, arrays: Mapping[str, NDArray[Any]], model: Model) -> NetworkDetector:
        """The detector of this recipe around a network.

        Raises:
            ConfigError: centre, scale or, for an embedding, the bank is missing, or they differ in shape.
        """
        scale = self.scale(arrays)
        return NetworkDetector(self, scale, model, self.bank(arrays, len(scale.centre)))

    def bank(self, arrays: Mapping[str, NDArray[Any]], channels: int) -> Bank | None:
        """The bank among the arrays; None where the network needs none."""
        return read_bank(arrays, self.embedded, channels, self.neighbours) if self.output == "embedding" else None

    def answer(self, channels: int) -> tuple[int, ...]:
        """Shape of what the network says of a window."""
        shapes = {"forecast": (channels,), "embedding": (self.embedded,), "score": ()}
        return shapes.get(self.output, (self.rows, channels))


@dataclass(frozen=True, slots=True, eq=False)
class NetworkDetector(ScaledDetector[Network]):
    """A network with its scaling, and its bank where it embeds."""

    model: Model
    bank: Bank | None = None

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return self.recipe.windower.size - 1

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        z = self.scale(value, valid)
        windows = self.recipe.windower.push(z, valid, state)
        held = np.zeros((1, self.width)) if state is None else state["held"]
        said = np.zeros(1, bool) if state is None else state["said"]
        found, speaks = self._judge(windows.value, windows.valid)
        # Row i keeps what the last window that ended at or before it said; window 0 here is the one held.
        which = np.searchsorted(windows.last_row, np.arange(len(value)), side="right")
        every, says = np.concatenate([held, found]), np.concatenate([said, speaks])
        contribution = np.where(says[which, None] & valid.any(axis=1, keepdims=True), every[which], 0.0)
        score = np.where(says[which] & valid.any(axis=1), row_sum(contribution), np.nan)
        return Scored(score, contribution, {**windows.state, "held": every[-1:].copy(), "said": says[-1:].copy()})

    def _judge(
        self, window: NDArray[np.float64], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Contributions of the channels to each window, (m, k), and which windows can be judged, (m,)."""
        found, speaks = np.zeros((len(window), self.width)), np.zeros(len(window), np.bool_)
        small = self._once(window, lambda rows: rows.astype(np.float32))
        prepared = getattr(self.model, "prepared", None)
        given = small[:, : self.recipe.rows] if prepared is None else self._once(small[:, : self.recipe.rows], prepared)
        for start in range(0, len(window), _BLOCK):
            part = slice(start, start + _BLOCK)
            found[part], speaks[part] = self._judge_block(given[part], small[part], valid[part])
        return found, speaks

    def _once(self, window: NDArray[Any], work: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """Windows of what is made of each row for itself: where they overlap, each row is made once."""
        if self.recipe.stride > 1 or not len(window):
            return work(window)
        rows = work(np.concatenate([window[0], window[1:, -1]]))
        return overlapping(rows, window.shape[1])

    def _judge_block(
        self, given: NDArray[Any], window: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """As `_judge`, of at least one window and at most `_BLOCK`; `given` is what the network sees of them."""
        output, whole = self.recipe.output, bool(valid.all())
        enough = np.full(len(window), fill_value=True) if whole else valid.mean(axis=(1, 2)) >= self.recipe.valid_min
        answer = self.model(np.ascontiguousarray(given))
        if output == "score":
            count = valid.sum(axis=1)
            share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
            return np.asarray(answer, np.float64)[:, None] * share, enough
        if self.bank is not None:
            return self.bank.contributions(answer, window, valid, self.recipe.neighbours), enough
        last = output == "forecast" or self.recipe.judged == "last"
        target, there = (window[:, -1:], valid[:, -1:]) if last else (window, valid)
        if output == "forecast":
            answer = answer[:, None]
        elif last:
            answer = answer[:, -1:]
        if output == "marks":
            surprise = np.logaddexp(0.0, answer, dtype=np.float64, order="C")  # -log of 1 - P
            surprise[~there] = 0.0
            return np.einsum("mrk->mk", surprise) / np.maximum(there.sum(axis=(1, 2)), 1)[:, None], enough
        off = np.subtract(answer, target, order="C")
        if whole:
            return _squares(off) / (off.shape[1] * self.width), enough
        off[~there] = 0.0
        count = there.sum(axis=(1, 2))
        return _squares(off) / np.maximum(count, 1)[:, None], enough & (count > 0)

    def parts(self) -> Parts:
        """As `Detector`; the network travels beside it."""
        return self.kept(**(self.bank.arrays() if self.bank is not None else {}))


def _squares(off: NDArray[np.float32]) -> NDArray[np.float64]:
    """(m, rows, k): the sums over the rows of the squares, (m, k)."""
    total: NDArray[np.float32] = np.einsum("mrk,mrk->mk", off, off)
    return total.astype(np.float64)
