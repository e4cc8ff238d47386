"""What a simulated channel shows: the configuration of a few signals.

Their mathematics is in `simulated.py`; here is only what a person writes.
"""

from __future__ import annotations

import msgspec

__all__ = ["Noise", "RandomWalk", "Signal", "Sine", "Square"]


class _Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all signals share.

    Attributes:
        mean: the middle of the signal, in the channel's unit.
        noise: standard deviation of white Gaussian noise on top, in the channel's unit.
    """

    mean: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.noise < 0.0:
            raise ValueError(f"noise {self.noise} must not be negative: it is a standard deviation")


class Sine(_Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sine"):
    """mean + amplitude sin(2 pi t / period_s), t from 1970."""

    amplitude: float = 1.0
    period_s: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.period_s > 0.0:
            raise ValueError(f"period_s {self.period_s} must be above 0")


class Square(_Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="square"):
    """mean + amplitude in the first half of each period, mean - amplitude in the second."""

    amplitude: float = 1.0
    period_s: float = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.period_s > 0.0:
            raise ValueError(f"period_s {self.period_s} must be above 0")


class RandomWalk(_Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="random_walk"):
    """Gaussian steps of standard deviation `step` a sample; the walk is back at `mean` every 4096 samples."""

    step: float = 0.1


class Noise(_Signal, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="noise"):
    """White Gaussian noise around `mean`; set `noise`, its standard deviation."""

    noise: float = 1.0


Signal = Sine | Square | RandomWalk | Noise
