"""Alarms at the false alarm rate that was configured, counted as events.

Promises: an alarm is an event with a beginning and an end, not a row. It begins when the surprise (-log10 p) has been
at or above the threshold for `minimum_s`, ends when it has been `release` decades below for `separation_s`, and what
comes within that time belongs to it. The threshold is the one at which normal running, scored by the same rules, had
as many events a time as configured. Where the calibration is too short for that rate, `fit_alarm` refuses and says
which rate it supports.

Drift: while running, the threshold goes up by `adapt` decades with each event and comes down evenly, `adapt` decades in
the time in which one event is expected. So over a time T the number of events is rate * T, give or take the way the
threshold went over `adapt`, whatever the scores do (online quantile tracking: Gibbs and Candès, NeurIPS 2021;
Angelopoulos, Candès and Tibshirani, NeurIPS 2023). It stays within `reach` decades of where calibration put it, which
bounds what an attacker, or a week of real trouble, can do to it. True alarms count as events: a process that really
fails more often than the configured rate is told at that rate, the worst first.

What stays: while an event lasts the threshold comes up, so that what stays becomes normal; what it came up then it
comes down again afterwards, beside the even fall, so that no event is lost of the rate. An event that has lasted as
long as one is expected in ends, and begins anew with the next row if it must: an alarm that stands is told again (re-
alarm of ANSI/ISA-18.2), not once for ever.

Refuses to know clocks: only the times of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from trueline_model.arrays import array
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import State

__all__ = ["Alarm", "Alarmed", "Alarming", "Event", "events_of", "fit_alarm"]

_SUPPORT_MIN = 2.0
"""Events the configured rate must give over the calibration: fewer are no ground for a threshold."""

_COUNT_MIN = 10
"""Events below which the count is noise: the threshold is set where there are so many, and extrapolated."""

_RISE = 10.0
"""While an event lasts the threshold comes up so much faster than it falls."""

_STATE = 7

_LOOK = 16
"""Rows gone through one by one before it is tried again whether many can be at once."""

_GRID = 0.05
"""Decades between thresholds tried."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to raise an alarm.

    Attributes:
        events: false alarms that may come
        per_s: in this many seconds (604,800 for a week).
        minimum_s: how long the surprise must stay at or above the threshold.
        separation_s: how long it must stay away before the event ends; nearer ones are one event.
        release: hysteresis: an event goes on down to this many decades below the threshold.
        adapt: decades the threshold goes up with each event; 0 leaves it where calibration put it.
        reach: decades it may go from there, either way.
        extrapolate: how many times rarer than calibration supports the rate may be: believed of the tail, not counted.
    """

    events: float = 1.0
    per_s: float = 604_800.0
    minimum_s: float = 0.0
    separation_s: float = 60.0
    release: float = 0.5
    adapt: float = 0.5
    reach: float = 5.0
    extrapolate: float = 1.0

    def __post_init__(self) -> None:
        if not self.events > 0.0 or not self.per_s > 0.0:
            raise ValueError(f"events {self.events} and per_s {self.per_s} must be above 0")
        for name in ("minimum_s", "separation_s", "release", "adapt", "reach"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"{name} {getattr(self, name)} must not be negative")
        if not self.extrapolate >= 1.0:
            raise ValueError(f"extrapolate {self.extrapolate} must be at least 1, which is no extrapolation")

    @property
    def rate_hz(self) -> float:
        """Events a second."""
        return self.events / self.per_s


class Alarmed(NamedTuple):
    """What a batch raised.

    Attributes:
        alarm: (n,) bool, rows within an event.
        begins: (n,) bool, rows an event begins at.
        threshold: (n,) decades, as it was at each row.
        state: goes into the next call.
    """

    alarm: NDArray[np.bool_]
    begins: NDArray[np.bool_]
    threshold: NDArray[np.float64]
    state: State


class Event(NamedTuple):
    """One event, as rows: the first in alarm, and the row after the last."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, eq=False)
class Alarming:
    """An alarm with its threshold.

    Attributes:
        recipe: what was asked.
        threshold: decades of surprise, from calibration.
        step_s: longest time between rows that counts as watched: over a gap nobody watched, none is expected.
    """

    recipe: Alarm
    threshold: float
    step_s: float

    def __call__(
        self, time_ns: NDArray[np.int64], surprise: NDArray[np.float64], state: State | None = None
    ) -> Alarmed:
        """Alarms of a batch that follows the one `state` came from.

        Args:
            time_ns: (n,), never backward.
            surprise: (n,) decades (`Calibration.surprise`); NaN says nothing, neither way.
            state: None at a start.
        """
        rows = len(time_ns)
        begins = np.zeros(rows, bool)
        if not rows:
            return Alarmed(begins, begins, np.zeros(0), state or {})
        origin = int(state["origin"]) if state else int(time_ns[0])
        watch = _Watch(self.recipe, self.threshold, self.step_s)
        if state:
            watch.restore(state["watch"])
        said = np.flatnonzero(~np.isnan(surprise))
        seconds, decades = (time_ns[said] - origin) / 1e9, surprise[said]
        inside, level = np.full(len(said) + 1, watch.inside), np.full(len(said) + 1, watch.level)
        starts, done = np.zeros(len(said), bool), 0
        while done < len(said):
            if len(said) - done >= _LOOK:
                quiet = watch.quiet(seconds[done:], decades[done:])
                inside[done + 1 : done + 1 + len(quiet)], level[done + 1 : done + 1 + len(quiet)] = False, quiet
                done += len(quiet)
            for row in range(done, min(done + _LOOK, len(said))):
                starts[row] = watch.row(float(seconds[row]), float(decades[row]))
                inside[row + 1], level[row + 1] = watch.inside, watch.level
                done += 1
        last = np.cumsum(~np.isnan(surprise))  # a row that says nothing leaves all as it was
        alarm, threshold = inside[last], level[last]
        begins[said] = starts
        return Alarmed(alarm, begins, threshold, {"watch": watch.state(), "origin": np.array(origin)})

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What to keep of it in a package, beside the recipe."""
        return {"threshold": np.array(self.threshold), "step_s": np.array(self.step_s)}

    @classmethod
    def from_arrays(cls, recipe: Alarm, arrays: Mapping[str, NDArray[Any]]) -> Alarming:
        """The alarm whose `arrays()` these are.

        Raises:
            ConfigError: one is missing, or of another shape.
        """
        return cls(recipe, float(array(arrays, "threshold", 0)), float(array(arrays, "step_s", 0)))


class _Watch:
    """The rules, row by row. Times in seconds from the first row; NaN where there is none."""

    def __init__(self, recipe: Alarm, threshold: float, step_s: float) -> None:
        self._recipe, self._step_s = recipe, step_s
        self._least, self._most = threshold - recipe.reach, threshold + recipe.reach
        self._fall = recipe.adapt * recipe.rate_hz
        self._lasting_s = 1.0 / recipe.rate_hz
        self.level, self.inside, self.lasted = threshold, False, False
        self._last = self._above = self._quiet = self._begun = nan
        self._owed = 0.0  # decades it came up within events and has not come down since

    def state(self) -> NDArray[np.float64]:
        return np.array([self.level, self.inside, self._last, self._above, self._quiet, self._begun, self._owed])

    def restore(self, state: NDArray[np.float64]) -> None:
        # One that was saved before these two were: an event that goes on begins, for them, with the next row.
        state = np.append(state, [nan, 0.0][len(state) - _STATE :]) if len(state) < _STATE else state
        self.level, inside, self._last, self._above, self._quiet, self._begun, self._owed = state.tolist()
        self.inside = bool(inside)

    def quiet(self, seconds: NDArray[np.float64], decades: NDArray[np.float64]) -> NDArray[np.float64]:
        """Takes the rows up to the first at which anything but the even fall can happen, as `row` would, bit for bit.

        Args:
            seconds: (n,) of the rows that follow.
            decades: (n,), none NaN.

        Returns:
            (m,) the threshold at each row taken.
        """
        if self.inside or isnan(self._last):
            return np.empty(0)
        falls = self._fall * np.minimum(np.diff(seconds, prepend=self._last), self._step_s)
        owed = np.maximum(np.subtract.accumulate(np.concatenate([[self._owed], falls])), 0.0)
        down = np.column_stack([falls, np.minimum(falls, owed[:-1])]).ravel()
        level = np.maximum(np.subtract.accumulate(np.concatenate([[self.level], down]))[2::2], self._least)
        loud = decades >= level
        level = level[: int(loud.argmax()) if loud.any() else len(level)]
        if len(level):
            self.level, self._last, self._above = float(level[-1]), float(seconds[len(level) - 1]), nan
            self._owed = float(owed[len(level)])
        return level

    def row(self, now: float, decades: float) -> bool:
        """Takes one row, and says whether an event begins with it."""
        if not isnan(self._last):
            self._move(self._fall * min(now - self._last, self._step_s))
        self._last = now
        if self.inside:
            if decades >= self.level - self._recipe.release:
                self._quiet = nan
            elif isnan(self._quiet):
                self._quiet = now
            self._begun = now if isnan(self._begun) else self._begun
            self.lasted |= now - self._above >= self._lasting_s
            if now - self._quiet >= self._recipe.separation_s or now - self._begun >= self._lasting_s:
                self.inside, self._above = False, nan
            return False
        if decades < self.level:
            self._above = nan
            return False
        if isnan(self._above):
            self._above = now
        if now - self._above < self._recipe.minimum_s:
            return False
        self.inside, self._quiet, self._begun = True, nan, now
        self.level = min(self._most, self.level + self._recipe.adapt)
        return True

    def _move(self, fall: float) -> None:
        """The threshold over a time in which it falls so much: up within an event, else down, and what it owes."""
        if self.inside:
            up = min(_RISE * fall, self._most - self.level)
            self.level, self._owed = self.level + up, self._owed + up
        else:
            back = min(fall, self._owed)
            self.level, self._owed = max(self._least, self.level - fall - back), self._owed - back


def events_of(alarmed: Alarmed) -> list[Event]:
    """The events of a recording scored from its start."""
    starts = np.flatnonzero(alarmed.begins)
    edges = np.flatnonzero(np.diff(np.append(alarmed.alarm, False).astype(np.int8)) == -1) + 1
    stops = np.minimum(edges[np.searchsorted(edges, starts, side="right")], np.append(starts[1:], len(alarmed.alarm)))
    return [Event(int(a), int(b)) for a, b in zip(starts, stops, strict=True)]


def fit_alarm(recipe: Alarm, recordings: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> Alarming:
    """The threshold at which normal running has the events that were asked for.

    Args:
        recipe: what is asked.
        recordings: (time_ns (n,), surprise (n,)) of normal running that neither the detector was fitted to nor,
            best, the calibration was made of.

    Raises:
        ConfigError: the recordings are too short for the rate asked; the message says which rate they support.
    """
    steps = np.concatenate([np.diff(time_ns)[np.diff(time_ns) > 0] for time_ns, _ in recordings]) / 1e9
    if not len(steps):
        raise ConfigError("the recordings of normal running hold no time: give at least two rows each")
    step_s = 10.0 * float(np.median(steps))
    watched_s = float(np.minimum(steps, step_s).sum())
    wanted = recipe.rate_hz * watched_s
    supported = wanted * recipe.extrapolate
    if supported < _SUPPORT_MIN * (1.0 - 1e-9):  # asked for exactly that, the last bit is no reason to refuse
        raise ConfigError(
            f"{recipe.events:g} false alarms in {recipe.per_s:g} s cannot be promised from {watched_s:.0f} s of normal "
            f"running, in which only {wanted:.2g} would come: give {_SUPPORT_MIN / recipe.rate_hz:.0f} s, or ask for "
            f"{_SUPPORT_MIN / watched_s * recipe.per_s:.2g} in {recipe.per_s:g} s, or set extrapolate "
            f"{np.ceil(_SUPPORT_MIN / wanted):.0f} and have the rate believed, not counted"
        )
    said = [(time_ns[np.isfinite(decades)], decades[np.isfinite(decades)]) for time_ns, decades in recordings]
    threshold, counted = _threshold_of(recipe, said, max(wanted, float(_COUNT_MIN)), step_s)
    # A decade of surprise is a tenth of the rows by its definition: so the rate goes on where counting ends.
    return Alarming(recipe, threshold + max(float(np.log10(counted / wanted)), 0.0), step_s)


def _threshold_of(
    recipe: Alarm, recordings: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]], target: float, step_s: float
) -> tuple[float, float]:
    """The lowest threshold, searched from above, with at most `target` events, and how many it has.

    Between grid points by the logarithm. Where so many never come, because events of short recordings run into one
    another as the threshold falls: the highest threshold with the most there are.
    """
    fixed = msgspec.structs.replace(recipe, adapt=0.0)
    threshold = max(float(decades.max(initial=0.0)) for _, decades in recordings) + _GRID
    before, most, highest = 0, 0, threshold
    while threshold > 0.0:
        lower = threshold - _GRID
        alarming = Alarming(fixed, lower, step_s)
        events = sum(_count(alarming, time_ns, decades) for time_ns, decades in recordings)
        if events > target:
            share = np.log(max(target, 1.0) / max(before, 0.5)) / np.log(events / max(before, 0.5))
            return threshold - _GRID * float(np.clip(share, 0.0, 1.0)), target
        if events > most:
            most, highest = events, lower
        threshold, before = lower, events
    return max(highest, _GRID), float(max(most, 1))


def _count(alarming: Alarming, time_ns: NDArray[np.int64], decades: NDArray[np.float64]) -> int:
    """Events of a recording at a fixed threshold, from the first and last row of each run between bounds.

    Where an event may have lasted so long that it is told again, all rows are gone through.
    """
    side = (decades >= alarming.threshold).astype(np.int8) + (decades >= alarming.threshold - alarming.recipe.release)
    changes = np.diff(side) != 0
    edge = np.concatenate([[True], changes]) | np.concatenate([changes, [True]]) if len(side) else side.astype(bool)
    for rows in (edge, slice(None)):
        watch = _Watch(alarming.recipe, alarming.threshold, alarming.step_s)
        seconds = (time_ns[rows] - time_ns[0]) / 1e9 if len(time_ns) else np.zeros(0)
        events = sum(map(watch.row, seconds.tolist(), decades[rows].tolist()))
        if not watch.lasted:
            break
    return events
