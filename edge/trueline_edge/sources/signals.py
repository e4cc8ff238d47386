"""What a simulated channel shows: the configuration of a few signals.

Their mathematics is in `simulated.py`; here is only what a person writes. All values are in the channel's unit.
"""

from __future__ import annotations

import msgspec

__all__ = ["Noise", "RandomWalk", "Signal", "Sine", "Square"]


class Sine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="sine"):
    """mean + amplitude sin(2 pi t / period_s).

    Attributes:
        mean: the middle of the signal.
        amplitude: its highest value less its mean.
        period_s: of one cycle.
        noise: standard deviation of white Gaussian noise on top.
    """

    mean: float = 0.0
    amplitude: float = 1.0
    period_s: float = 60.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        _check_period(self.period_s)
        _check_noise(self.noise)


class Square(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="square"):
    """mean + amplitude in the first half of each period, mean - amplitude in the second.

    Attributes:
        mean: the middle of the signal.
        amplitude: its highest value less its mean.
        period_s: of one cycle.
        noise: standard deviation of white Gaussian noise on top.
    """

    mean: float = 0.0
    amplitude: float = 1.0
    period_s: float = 60.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        _check_period(self.period_s)
        _check_noise(self.noise)


class RandomWalk(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="random_walk"
):
    """A walk of Gaussian steps that is back at its mean every 4096 samples.

    Attributes:
        mean: where it begins and comes back to.
        step: standard deviation of one step, from sample to sample.
        noise: standard deviation of white Gaussian noise on top.
    """

    mean: float = 0.0
    step: float = 0.1
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.step < 0.0:
            raise ValueError(f"step {self.step} must not be negative: it is a standard deviation")
        _check_noise(self.noise)


class Noise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="noise"):
    """White Gaussian noise.

    Attributes:
        mean: its mean.
        noise: its standard deviation.
    """

    mean: float = 0.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        _check_noise(self.noise)


Signal = Sine | Square | RandomWalk | Noise


def _check_period(period_s: float) -> None:
    if not period_s > 0.0:
        raise ValueError(f"period_s {period_s} must be above 0")


def _check_noise(noise: float) -> None:
    if noise < 0.0:
        raise ValueError(f"noise {noise} must not be negative: it is a standard deviation")
