"""What an agent can say of itself, at one moment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the agent can say of itself. Rows of `sampled`, `spooled`, `lost`, `dropped` over the life of its state.

    At a cut, sampled = spooled + all lost + insignificant + what the stages hold back.
    """

    rows_sampled: int
    rows_spooled: int
    rows_lost: dict[str, int]
    rows_insignificant: int
    rows_dropped: int
    rows_corrupt: int
    rows_acknowledged: int
    frames_appended: int
    frames_sent: int
    frames_acknowledged: int
    bytes_appended: int
    values_appended: int
    timeouts: int
    alarms: dict[str, int]
    spool_bytes: int
    spool_limit_bytes: int
    link_up: bool
    last_ack_age_s: float
    drained: bool
