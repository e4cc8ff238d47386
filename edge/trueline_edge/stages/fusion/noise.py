"""The file `trueline-edge tune` writes and the stage `fuse` reads: noises fitted to a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trueline_wire.settings import load_toml

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FittedNoise", "NoiseFile", "load_noise"]


class FittedNoise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Noises of one output of a stage `fuse`, by maximum likelihood.

    Attributes:
        name: of the output.
        r: variance of the noise of each of its inputs, unit^2.
        q: variance the quantity's walk gains per second, unit^2/s.
        q_trend: white noise that moves its slope, unit^2/s^3.
        q_daily: variance the size of its daily cycle gains per second, unit^2/s.
        damping_s: time constant with which the slope dies away.
    """

    name: str
    r: tuple[float, ...]
    q: float
    q_trend: float | None = None
    q_daily: float | None = None
    damping_s: float | None = None

    def __post_init__(self) -> None:
        if not all(0.0 < each < float("inf") for each in self.r):
            raise ValueError("r must be numbers above zero")
        if any(not 0.0 <= (each or 0.0) < float("inf") for each in (self.q, self.q_trend, self.q_daily)):
            raise ValueError("q must be a number that is not negative, and so must q_trend and q_daily")


class NoiseFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `trueline-edge tune` has found.

    Attributes:
        model: of the stage it was fitted for.
        recording: the file it was fitted to.
        outputs: the table `[[output]]`.
    """

    model: str
    recording: str
    outputs: tuple[FittedNoise, ...] = msgspec.field(name="output")

    def of(self, name: str) -> FittedNoise | None:
        """The noises of an output; None where there are none."""
        return next((each for each in self.outputs if each.name == name), None)


def load_noise(path: Path) -> NoiseFile:
    """Read a file of noises.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    return load_toml(path, NoiseFile)
