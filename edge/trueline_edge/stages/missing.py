"""Missing value test (QARTOD flag 9): NaN says that nothing was measured; the flag says it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.stages.stage import StageSettings, Stateless, channel_mask
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from trueline_wire.readings import Schema

__all__ = ["Missing"]


class Missing(StageSettings, frozen=True, kw_only=True, tag="missing"):
    """NaN becomes MISSING; an infinite value, which no sensor measures, FAILs.

    Attributes:
        channels: the channels judged; all where left out.
    """

    def stage(self, schema: Schema) -> FlagMissing:
        """The stage for readings of this schema."""
        return FlagMissing(self, schema)


class FlagMissing(Stateless):
    """Flags what is not there, passes what is. What failed before stays as it is."""

    def __init__(self, config: Missing, schema: Schema) -> None:
        super().__init__(schema)
        self._judged = channel_mask(schema, config.channels)

    def __call__(self, readings: Readings, /) -> Readings:
        value, bad = readings.value, readings.flag >= Flag.FAIL
        finite = np.isfinite(value)
        if finite.all() and not bad.any():
            return readings.passed(self._judged & finite)
        fresh = self._judged & ~bad
        absent = (fresh & np.isnan(value)) | (self._judged & (readings.flag == Flag.MISSING))
        return (
            readings.passed(fresh & finite)
            .flagged(fresh & np.isinf(value), Flag.FAIL, Reason.MISSING)
            .flagged(absent, Flag.MISSING, Reason.MISSING)
        )
