"""P-values that follow drift: how rare a score is among the last ones, counted on the device while it runs.

Promises: p = (1 + how many of the remembered are at least as high) / (n + 1), as in `conformal`; a score is judged
before it is remembered, and then takes the place of the oldest. The memory begins as what calibration saw, so nothing
has to be waited for. While scores are exchangeable P(p <= a) <= a holds as before, and p-values of successive rows are
independent (Vovk, Nouretdinov and Gammerman, "Testing exchangeability on-line", ICML 2003); once something changes,
that is strange until it has been there for a share of the memory, and normal afterwards. (Ahmad, Lavin, Purdy and Agha,
Neurocomputing 262 (2017), take a Gaussian of past scores to that end, the anomaly likelihood; ranks need no shape.)
Beyond the highest scores remembered a Pareto tail goes on, fitted anew whenever a tenth of the memory is new.

It cannot forgive a score that grows for ever: each is the highest so far. Where batches are cut changes no bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_model.conformal import beyond_counting
from trueline_model.tail import Tail, fit_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.conformal import Calibration
    from trueline_model.detector import State

__all__ = ["MEMORY_MIN", "Recalibrated", "Recalibration"]

MEMORY_MIN: Final = 100
"""Scores to remember, at least: with fewer nothing is rare."""

_BLOCK: Final = 200
"""Scores counted at once, against the memory and one another."""

_REFITS: Final = 10
"""Times the tail is fitted anew while the whole memory is."""


class Recalibrated(NamedTuple):
    """What is said of a batch of scores.

    Attributes:
        p: (n,) at least 1 / (memory + 1); NaN where the score is.
        surprise: (n,) -log10 p, with the tail where the memory ends; NaN where the score is.
        state: goes into the next call.
    """

    p: NDArray[np.float64]
    surprise: NDArray[np.float64]
    state: State


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """A calibration that moves on.

    Attributes:
        calibration: what normal scores looked like at the beginning.
        rows: scores remembered, `MEMORY_MIN` at least. The longer, the rarer what can be counted; the shorter, the
            sooner a change is normal. Two of the longest cycles of what is watched are a good length.
    """

    calibration: Calibration
    rows: int

    def __post_init__(self) -> None:
        if self.rows < MEMORY_MIN:
            raise ValueError(f"rows {self.rows} must be at least {MEMORY_MIN}")

    def __call__(self, score: NDArray[np.float64], state: State | None = None) -> Recalibrated:
        """What scores mean that follow those `state` came from.

        Args:
            score: (n,); NaN says nothing, and is not remembered.
            state: None at a start.
        """
        held = state or self._begin()
        ring, seen, tail = held["ring"].copy(), int(held["seen"]), _tail_of(held["tail"])
        said = np.flatnonzero(np.isfinite(score))
        p, surprise = np.full(len(score), np.nan), np.full(len(score), np.nan)
        period = self.rows // _REFITS
        done = 0
        while done < len(said):
            some = said[done : done + min(_BLOCK, period - seen % period)]
            at_least, size = _ranks(ring, seen, score[some])
            p[some] = (1.0 + at_least) / (size + 1.0)
            surprise[some] = beyond_counting(p[some], score[some], size, tail)
            ring[(seen + np.arange(len(some))) % self.rows] = score[some]
            done, seen = done + len(some), seen + len(some)
            if seen % period == 0:
                tail = fit_tail(ring[: min(seen, self.rows)])
        return Recalibrated(p, surprise, {"ring": ring, "seen": np.array(seen), "tail": _kept(tail)})

    def _begin(self) -> State:
        """Scores that stand for those of calibration, none lower than its place among them, in an order of no meaning.

        Forgotten in their order they would leave the low ones first.
        """
        made = self.calibration
        count = min(made.rows, self.rows)
        beyond = (np.arange(count) + 0.5) * made.rows / count
        level = made.level[np.searchsorted(-made.beyond, -beyond, side="right")]
        ring = np.zeros(self.rows)
        ring[:count] = np.random.default_rng(0).permutation(level)
        return {"ring": ring, "seen": np.array(count), "tail": _kept(made.tail)}


def _ranks(
    ring: NDArray[np.float64], seen: int, score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many of how many are at least as high as each score (n,), each remembered in turn; n is at most the ring."""
    turn = seen + np.arange(len(score))
    size = np.minimum(turn, len(ring))
    gone = np.where(turn < len(ring), -np.inf, ring[turn % len(ring)])
    ordered = np.sort(ring[: size[0]])
    at_least = size[0] - ordered.searchsorted(score)
    before = np.tri(len(score), k=-1, dtype=np.bool_)
    came = (score[None, :] >= score[:, None]) & before
    went = (gone[None, :] >= score[:, None]) & before
    return at_least + came.sum(axis=1) - went.sum(axis=1).astype(np.float64), size.astype(np.float64)


def _kept(tail: Tail | None) -> NDArray[np.float64]:
    return np.array(tail if tail is not None else (0.0,) * 4)


def _tail_of(kept: NDArray[np.float64]) -> Tail | None:
    return Tail(*kept.tolist()) if kept[3] > 0.0 else None
