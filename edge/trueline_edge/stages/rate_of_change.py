"""Rate of change test (QARTOD test 7): does the value move faster than the process and the sensor can?"""

from __future__ import annotations

from math import inf, nan
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.stages.stage import StageSettings, channel_mask, pack_arrays, unpack_arrays, usable
from trueline_wire.readings import Flag, Readings, Reason

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

    def stage(self, schema: Schema) -> FlagRateOfChange:
        """The stage for readings of this schema."""
        return FlagRateOfChange(self, schema)


_STEP_MAX = 1000
_ELAPSED_MAX_NS = 366 * 86_400 * 10**9  # a clock that jumps again and again must not run over 64 bits
_PASS, _SUSPECT, _FAIL = 1, 2, 3
_CONFIRMED = 2  # so many that agree are believed at the start


class _Past(NamedTuple):
    """What is remembered of each channel.

    `last_ns` (2,): the time of the last row, and whether there was one. Of the value believed and of the value that
    waits to be believed, (k,) each: the value, how long ago it was at the last row (`age_ns`), and for the latter how
    many in a row agree. No value is NaN.
    """

    last_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    age_ns: NDArray[np.int64]
    waiting: NDArray[np.float64]
    waiting_age_ns: NDArray[np.int64]
    agreeing: NDArray[np.int64]


class FlagRateOfChange:
    """Compares each value with the last that was believed. A row whose clock does not go on is not judged.

    Nothing is believed of the first value until the next agrees with it: the first may be the outlier.
    """

    delay = 0

    def __init__(self, config: RateOfChange, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        k = len(schema.channels)
        self._judged = channel_mask(schema, config.channels)
        self._step = np.array([channel.resolution for channel in schema.channels]) * (1.0 + 1e-9)
        self._coarse = bool(self._step.any())
        none, zero = np.full(k, nan), np.zeros(k, np.int64)
        self._past = _Past(np.zeros(2, np.int64), none, zero, none, zero, zero)

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return readings
        onward, clock_ns = _elapsed(self._past.last_ns, readings.time_ns)
        trusted = usable(readings)
        trusted &= self._judged
        if not onward.all():
            trusted &= onward[:, None]
        past = _Past(*[array.copy() for array in self._past])  # type: ignore[arg-type]  # each is of its own type
        whole = trusted.all() and not (past.agreeing.any() or np.isnan(past.value).any())
        if whole and (suspect := self._plain(readings.value, clock_ns, past)) is not None:
            judged = readings.passed(trusted)
            judged = judged.flagged(suspect, Flag.SUSPECT, Reason.RATE_OF_CHANGE) if suspect.any() else judged
        else:
            verdict = np.zeros(trusted.shape, np.int8)
            for k in np.flatnonzero(trusted.any(axis=0)).tolist():
                self._column(k, readings.value[:, k], clock_ns, np.flatnonzero(trusted[:, k]), verdict, past)
            judged = (
                readings.passed(verdict >= _PASS)
                .flagged(verdict == _SUSPECT, Flag.SUSPECT, Reason.RATE_OF_CHANGE)
                .flagged(verdict == _FAIL, Flag.FAIL, Reason.RATE_OF_CHANGE)
            )
        past.age_ns[:] += clock_ns[-1]
        past.waiting_age_ns[:] += clock_ns[-1]
        past.last_ns[:] = readings.time_ns[-1], 1
        self._past = past
        return judged

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The values the next ones are compared with."""
        return pack_arrays(*self._past)

    def restore(self, state: bytes) -> None:
        """Go on with the values of another life."""
        self._past = _Past(*unpack_arrays(state, *self._past))

    def _plain(self, value: NDArray[np.float64], clock_ns: NDArray[np.int64], past: _Past) -> NDArray[np.bool_] | None:
        """Judge all channels at once: (n, k) which values are suspect. None where one fails, or waits: nothing is done.

        Each value is then compared with the one before it: the same as `_column`, faster.
        """
        config = self._config
        change = np.empty_like(value)
        np.subtract(value[1:], value[:-1], out=change[1:])
        np.subtract(value[0], past.value, out=change[0])
        np.abs(change, out=change)
        if self._coarse:
            change -= self._step
        elapsed_s = np.empty((len(value), 1))
        np.multiply(clock_ns[1:] - clock_ns[:-1], 1e-9, out=elapsed_s[1:, 0])
        first_s = (clock_ns[0] + past.age_ns) * 1e-9
        if config.fail_per_s < inf:
            elapsed_s[0] = np.inf
            if (change[0] > config.fail_per_s * first_s).any() or (change > config.fail_per_s * elapsed_s).any():
                return None
        suspect = np.zeros(value.shape, np.bool_)
        if config.suspect_per_s < inf:
            elapsed_s[0] = 0.0
            np.greater(change, config.suspect_per_s * elapsed_s, out=suspect)
            suspect[0] = change[0] > config.suspect_per_s * first_s
        past.value[:] = value[-1]
        past.age_ns[:] = -clock_ns[-1]
        return suspect

    def _column(
        self,
        k: int,
        value: NDArray[np.float64],
        clock_ns: NDArray[np.int64],
        rows: NDArray[np.int64],
        verdict: NDArray[np.int8],
        past: _Past,
    ) -> None:
        """Judge one channel: value by value where one fails, in one go from there to the next that may."""
        x, at_ns = value[rows], clock_ns[rows]
        verdicts = np.zeros(len(rows), np.int8)
        change, elapsed_s = np.abs(np.diff(x)) - self._step[k], np.diff(at_ns) * 1e-9
        verdicts[1:] = np.where(change > self._config.suspect_per_s * elapsed_s, _SUSPECT, _PASS)
        leaps = np.flatnonzero(change > self._config.fail_per_s * elapsed_s) + 1
        row = 0
        while row < len(rows):
            verdicts[row] = self._one(k, float(x[row]), int(at_ns[row]), past)
            row += 1
            if past.agreeing[k] == 0 and row < len(rows):  # each is compared with the one before it, up to a leap
                following = int(np.searchsorted(leaps, row))
                until = int(leaps[following]) if following < len(leaps) else len(rows)
                if until > row:
                    past.value[k], past.age_ns[k] = x[until - 1], -at_ns[until - 1]
                row = until
        verdict[rows, k] = verdicts

    def _one(self, k: int, x: float, at_ns: int, past: _Past) -> int:
        """Judge one value, and remember it."""
        config, step = self._config, float(self._step[k])
        believed, waits = not np.isnan(past.value[k]), past.agreeing[k] > 0
        change, elapsed_s = abs(x - float(past.value[k])) - step, (at_ns + int(past.age_ns[k])) * 1e-9
        if not believed or change > config.fail_per_s * elapsed_s:
            change, elapsed_s = abs(x - float(past.waiting[k])) - step, (at_ns + int(past.waiting_age_ns[k])) * 1e-9
            past.agreeing[k] = past.agreeing[k] + 1 if waits and change <= config.fail_per_s * elapsed_s else 1
            past.waiting[k], past.waiting_age_ns[k] = x, -at_ns
            if past.agreeing[k] < (config.step_samples if believed else _CONFIRMED):
                return _FAIL if believed else 0
        past.value[k], past.age_ns[k], past.agreeing[k] = x, -at_ns, 0
        return _SUSPECT if change > config.suspect_per_s * elapsed_s else _PASS


def _elapsed(last_ns: NDArray[np.int64], time_ns: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(n,) does the clock go on at this row; (n,) a clock that never steps back, from 0 at the last row before."""
    steps = np.empty_like(time_ns)
    steps[0] = time_ns[0] - last_ns[0] if last_ns[1] else 0
    np.subtract(time_ns[1:], time_ns[:-1], out=steps[1:])
    onward = steps > 0
    if not last_ns[1]:
        onward[0] = True
    return onward, np.minimum(np.maximum(steps, 0), _ELAPSED_MAX_NS).cumsum()
