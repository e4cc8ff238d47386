"""Why an alarm came: which channels and which rows made the score.

Promises: shares of what the detector itself said (`Scored.contribution`), no second opinion: they sum to 1, and the
first is what to look at first. Refuses to know the cause: that one channel made the score does not say it is at fault
(`verdict`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Why", "why"]


class Why(NamedTuple):
    """What made an event.

    Attributes:
        channels: names, those that contributed most first; those that contributed nothing are left out.
        share: of each, summing to 1.
        row: of the event, the one that contributed most.
        row_share: of each row of the event, (m,), summing to 1.
    """

    channels: tuple[str, ...]
    share: tuple[float, ...]
    row: int
    row_share: NDArray[np.float64]


def why(contribution: NDArray[np.float64], channels: Sequence[str]) -> Why:
    """Why an event came.

    Args:
        contribution: (m, k) of the event's rows, at least 0.
        channels: k names.

    Raises:
        ValueError: there is no row, or as many names as channels are not given.
    """
    if not len(contribution) or contribution.shape[1] != len(channels):
        raise ValueError(f"contributions {contribution.shape} want a row at least, and {len(channels)} columns")
    by_channel, by_row = contribution.sum(axis=0), contribution.sum(axis=1)
    whole = float(by_channel.sum())
    if whole <= 0.0:
        return Why((), (), 0, np.zeros(len(contribution)))
    order = [int(j) for j in np.argsort(-by_channel, kind="stable") if by_channel[j] > 0.0]
    names, shares = tuple(channels[j] for j in order), tuple(float(by_channel[j]) / whole for j in order)
    return Why(names, shares, int(by_row.argmax()), by_row / whole)
