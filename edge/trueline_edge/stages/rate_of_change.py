"""Rate of change test (QARTOD test 7): does the value move faster than the process and the sensor can?"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.estimation.sequences import Leaps, leaps, leaps_fresh, paces
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
    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["RateOfChange"]


class RateOfChange(StageSettings, frozen=True, kw_only=True, tag="rate_of_change"):
    """Limits on |change| / elapsed time, in the channel's unit per second. A step of the resolution is never too fast.

    Attributes:
        suspect_per_s: above it a value is SUSPECT. It is what the next one is compared with all the same.
        fail_per_s: above it a value FAILs. The next is compared with the last that did not, so that the way back from
            an outlier is not held against a good value.
        step_samples: where so many in a row fail, yet follow one another within the limit, the last of them passes
            and is believed: a genuine step is flagged for `step_samples` - 1 values.
        channels: the channels judged; all where left out.
    """

    suspect_per_s: float = inf
    fail_per_s: float = inf
    step_samples: int = 3

    def __post_init__(self) -> None:
        if not self.suspect_per_s > 0.0:
            raise ValueError(f"suspect_per_s {self.suspect_per_s} must be above 0")
        if not self.fail_per_s > 0.0:
            raise ValueError(f"fail_per_s {self.fail_per_s} must be above 0")
        if self.suspect_per_s == self.fail_per_s == inf:
            raise ValueError("suspect_per_s or fail_per_s is wanted")
        if not _CONFIRMED <= self.step_samples <= _STEP_MAX:
            raise ValueError(f"step_samples {self.step_samples} must be between {_CONFIRMED} and {_STEP_MAX}")

    @property
    def has_unit(self) -> bool:
        """Limits are in it, per second."""
        return True

    def stage(self, schema: Schema) -> FlagRateOfChange:
        """The stage for readings of this schema."""
        return FlagRateOfChange(self, schema)


_STEP_MAX = 1000
_ELAPSED_MAX_NS = 366 * 86_400 * 10**9  # a clock that jumps again and again must not run over 64 bits
_CONFIRMED = 2  # so many that agree are believed at the start


class _Past(NamedTuple):
    """`last_ns` (2,): the time of the last row, and whether there was one; and the values compared with."""

    last_ns: NDArray[np.int64]
    leaps: Leaps


class FlagRateOfChange:
    """Compares each value with the last that was believed. A row whose clock does not go on is not judged.

    Nothing is believed of the first value until the next agrees with it: the first may be the outlier.
    """

    delay = 0

    def __init__(self, config: RateOfChange, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        self._judged = channel_mask(schema, config.channels)
        self._step = np.array([channel.resolution for channel in schema.channels]) * (1.0 + 1e-9)
        self._past = _Past(np.zeros(2, np.int64), leaps_fresh(len(schema.channels)))

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return readings
        onward, clock_ns = _elapsed(self._past.last_ns, readings.time_ns)
        value, config = measured(readings, self._judged), self._config
        if onward is not None:
            value = np.where(onward[:, None], value, np.nan)
        limits = (config.suspect_per_s, config.fail_per_s, config.step_samples)
        verdict, past = leaps(self._past.leaps, value, clock_ns, self._step, *limits)
        self._past = _Past(np.array([readings.time_ns[-1], 1]), past)
        return apply_verdict(readings, verdict, Reason.RATE_OF_CHANGE)

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The values the next ones are compared with."""
        return pack_arrays(self._past.last_ns, *self._past.leaps)

    def restore(self, state: bytes) -> None:
        """Go on with the values of another life."""
        last_ns, *past = unpack_arrays(state, self._past.last_ns, *self._past.leaps)
        self._past = _Past(last_ns, Leaps(*past))


def _elapsed(
    last_ns: NDArray[np.int64], time_ns: NDArray[np.int64]
) -> tuple[NDArray[np.bool_] | None, NDArray[np.int64]]:
    """(n,) does the clock go on at a row (None: at all); (n,) a clock that never steps back, 0 at the last before."""
    then, known = last_ns.tolist()
    steps, least, most = paces(then if known else int(time_ns[0]), time_ns)
    if least > 0 and most <= _ELAPSED_MAX_NS:
        return None, time_ns - then
    onward = steps > 0
    if not known:
        onward[0] = True
    return onward, np.minimum(np.maximum(steps, 0), _ELAPSED_MAX_NS).cumsum()
