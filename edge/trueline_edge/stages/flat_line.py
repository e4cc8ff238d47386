"""Flat line test (QARTOD test 8): does the value repeat itself for longer than the process and the sensor allow?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.sequences import repeats, repeats_fresh, repeats_in_order, repeats_of
from trueline_edge.stages.stage import (
    StageSettings,
    apply_verdict,
    channel_mask,
    measured,
    pack_arrays,
    unpack_arrays,
)
from trueline_wire.readings import Readings, Reason

if TYPE_CHECKING:
    from trueline_wire.readings import Schema

__all__ = ["FlatLine"]

_REPEATS_MAX = 10_000  # the state saved with each frame holds so many values a channel


class FlatLine(StageSettings, frozen=True, kw_only=True, tag="flat_line"):
    """A value within `tolerance` of each of so many values before it is flat.

    Attributes:
        suspect_repeats: so many repeats make a value SUSPECT (QARTOD: 3).
        fail_repeats: so many make it FAIL (QARTOD: 5).
        tolerance: in the channel's unit; where left out, half the channel's resolution: the sensor shows the same step.
        channels: the channels judged; all where left out.
    """

    suspect_repeats: int = 3
    fail_repeats: int = 5
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.suspect_repeats <= self.fail_repeats <= _REPEATS_MAX:
            raise ValueError(
                f"suspect_repeats {self.suspect_repeats} and fail_repeats {self.fail_repeats} must be at least 1, "
                f"in this order, and at most {_REPEATS_MAX}"
            )
        if self.tolerance is not None and not 0.0 <= self.tolerance < float("inf"):
            raise ValueError(f"tolerance {self.tolerance} must be a number that is not negative")

    @property
    def has_unit(self) -> bool:
        """`tolerance` is in it; 0 is 0 in all."""
        return bool(self.tolerance)

    def stage(self, schema: Schema) -> FlagFlatLine:
        """The stage for readings of this schema."""
        return FlagFlatLine(self, schema)


class FlagFlatLine:
    """Compares each value with those before it. An unusable value neither repeats nor breaks a flat line.

    Until `suspect_repeats` values have been seen, nothing can be said, and a value stays NOT_EVALUATED.
    """

    delay = 0

    def __init__(self, config: FlatLine, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        self._judged = channel_mask(schema, config.channels)
        tolerance = [c.resolution / 2 if config.tolerance is None else config.tolerance for c in schema.channels]
        self._tolerance = np.array(tolerance)
        self._past = repeats_fresh(config.fail_repeats, len(schema.channels))

    def __call__(self, readings: Readings, /) -> Readings:
        value = measured(readings, self._judged)
        verdict = repeats(self._past, value, self._tolerance, self._config.suspect_repeats)
        return apply_verdict(readings, verdict, Reason.FLAT_LINE)

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """(fail_repeats, k) the last usable values of each channel, oldest first; NaN where there are fewer."""
        return pack_arrays(repeats_in_order(self._past))

    def restore(self, state: bytes) -> None:
        """Go on with the values of another life."""
        self._past = repeats_of(*unpack_arrays(state, self._past.values.T))
