"""Gross range test (QARTOD test 4): is the value one the sensor, and this place, can give at all?"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.sequences import limits
from trueline_edge.stages.stage import StageSettings, Stateless, apply_verdict, channel_mask
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from trueline_wire.readings import Schema

__all__ = ["GrossRange"]

_FAIL = int(Flag.FAIL)


class GrossRange(StageSettings, frozen=True, kw_only=True, tag="gross_range"):
    """Limits in the channel's unit, all inclusive. Leave out a limit that does not exist.

    Attributes:
        minimum: below it a value FAILs (what the sensor can show).
        maximum: above it a value FAILs.
        suspect_minimum: below it a value is SUSPECT (what is plausible here).
        suspect_maximum: above it a value is SUSPECT.
        channels: the channels judged; all where left out.
    """

    minimum: float = -inf
    maximum: float = inf
    suspect_minimum: float = -inf
    suspect_maximum: float = inf

    def __post_init__(self) -> None:
        if not self.minimum < self.maximum:
            raise ValueError(f"minimum {self.minimum} must be below maximum {self.maximum}")
        if not self.suspect_minimum < self.suspect_maximum:
            raise ValueError(
                f"suspect_minimum {self.suspect_minimum} must be below suspect_maximum {self.suspect_maximum}"
            )

    @property
    def has_unit(self) -> bool:
        """Limits are in it."""
        return True

    def stage(self, schema: Schema) -> FlagGrossRange:
        """The stage for readings of this schema."""
        return FlagGrossRange(self, schema)


class FlagGrossRange(Stateless):
    """FAILs what is out of range, suspects what is implausible, passes the rest. NaN is not judged."""

    def __init__(self, config: GrossRange, schema: Schema) -> None:
        super().__init__(schema)
        self._config = config
        self._judged = channel_mask(schema, config.channels)
        self._all = bool(self._judged.all())

    def __call__(self, readings: Readings, /) -> Readings:
        limits_, value = self._config, readings.value
        if not self._all:
            value = np.where(self._judged, value, np.nan)
        outer, inner = (limits_.minimum, limits_.maximum), (limits_.suspect_minimum, limits_.suspect_maximum)
        verdict = limits(value, readings.flag, _FAIL, outer, inner)
        return apply_verdict(readings, verdict, Reason.GROSS_RANGE)
