"""How far a stretch of rows may go on before somebody who sees only its ends would be wrong by more than a bound.

Promises: of the rows behind an anchor, `previous_holds` finds those that lie within the bound of the anchor, and
`linear_holds` those to which a straight line from the anchor passes all rows between within the bound. Arrays only;
refuses to know about flags, batches and who is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Corridor", "linear_holds", "previous_holds"]


class Corridor(NamedTuple):
    """Slopes of the lines from the anchor that pass all rows so far within the bound, in units per second."""

    lowest: NDArray[np.float64]
    """(k,)"""
    highest: NDArray[np.float64]
    """(k,)"""

    @classmethod
    def open(cls, channels: int) -> Corridor:
        """At the anchor: any line will do."""
        return cls(np.full(channels, -np.inf), np.full(channels, np.inf))


def previous_holds(rise: NDArray[np.float64], bound: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n, k) true where a value is as good as the anchor's (Miskowicz 2006, send-on-delta).

    Args:
        rise: (n, k) values less the anchor's.
        bound: (k,) in the same unit.
    """
    holds: NDArray[np.bool_] = np.abs(rise) <= bound
    return holds


def linear_holds(
    rise: NDArray[np.float64], elapsed_s: NDArray[np.float64], bound: NDArray[np.float64], before: Corridor
) -> tuple[NDArray[np.bool_], Corridor]:
    """(n, k) true where a line from the anchor to this row passes every row between within the bound.

    Bristol's swinging door (US patent 4,669,097) lets a stretch end where the doors are still open, though the line to
    its last row may leave them, and errs by up to twice the bound. Here a row is taken only if its own slope lies
    between the doors, so that the bound is kept (O'Rourke 1981, fitting lines between data ranges, with both ends
    measured values).

    Args:
        rise: (n, k) values less the anchor's.
        elapsed_s: (n,) time since the anchor, above 0.
        bound: (k,) in the same unit.
        before: the corridor of the rows before the first.

    Returns:
        Which rows hold (read them up to the first that does not), and the corridor behind all of them.
    """
    elapsed = elapsed_s[:, None]
    highest = np.minimum.accumulate(np.vstack([before.highest, (rise + bound) / elapsed]))
    lowest = np.maximum.accumulate(np.vstack([before.lowest, (rise - bound) / elapsed]))
    slope = rise / elapsed
    holds: NDArray[np.bool_] = (lowest[:-1] <= slope) & (slope <= highest[:-1])
    return holds, Corridor(lowest[-1], highest[-1])
