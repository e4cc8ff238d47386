"""The noise of a value is known, how the quantity moves is not: a bank of walks, trends and flutters, and of steps.

Each model is a level, moved by noise of its own size. Some have a slope (trends). Some only stay near a level that
walks, and are elsewhere near it with each value (flutters: turbulence, vibration, mains): such a quantity looks like a
noisier sensor, and only because the noise is known can be told from one. All are weighed by what they foretell
(Magill 1965), by the density of a Student-t of the variance they state, so that the weights are honest about variances
and one odd value does not decide; a little of the weights is shared out anew with each value, so that a calm quantity
may become a lively one.

A value beyond the gate of the whole bank is a spike or a step. It opens a second branch, in which the level jumped
there and all that was learnt of how it moves is kept (a step says nothing about that). The values behind it decide
between the two. Excursions of a single value count as spikes, longer ones as steps: faults are rare enough not to come
in a row. Once most surprises turned out to be steps, the next one is followed at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import exp, inf, isinf, isnan, log, nan
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["HEAD", "MODELS", "PARTS", "bank_walk"]

LEVELS, TRENDS, FLUTTERS = 13, 9, 12
MODELS = LEVELS + TRENDS + FLUTTERS
HEAD = 8
"""Stage (0 nothing, 1 a first value, 2 running), r and interval the models are scaled by, steps and spikes seen, rows
since the branch was opened (0: there is none), log odds of the branch, spare."""
PARTS = 6
"""Of a branch: weight, level, second state (of a trend its slope, of a flutter the level it stays near), and the
covariance of the two, for each model."""

_TREND, _FLUTTER = (
    np.isin(np.arange(MODELS), part) for part in np.split(np.arange(MODELS), (LEVELS, LEVELS + TRENDS))[1:]
)
_JITTER = np.concatenate([np.zeros(LEVELS + TRENDS), np.repeat([0.3, 1.0, 3.0, 10.0, 1e2, 1e4], 2)])
"""Of a flutter, about its level, in variances of a value."""
_LEVEL = np.concatenate(
    [10.0 ** (np.arange(LEVELS) - 6.0), np.zeros(TRENDS), (1.0 + _JITTER[_FLUTTER]) * np.tile([1e-4, 1e-2], 6)]
)
"""What a level's walk gains in one interval, in variances of a value."""
_SLOPE = np.concatenate([np.zeros(LEVELS), 10.0 ** (np.arange(TRENDS) - 7.0), np.zeros(FLUTTERS)])
"""What white noise on the slope makes of the slope's variance in one interval, in variances of a value an interval."""
SHARED = 0.002
"""Of the weights, with each value."""
DOF = 12.0
"""Of the Student-t: the density falls with the power (DOF + 1) / 2 of the tail, here the root of 13."""
FAR = 1e15
STEP_PRIOR, SPIKE_PRIOR, MEMORY = 0.3, 1.0, 0.98
"""As if so many surprises had been steps, and spikes; what of the count is left at the next surprise."""


class _Branch(NamedTuple):
    """One history: weight, level, slope and covariance of each model."""

    w: Array
    m: Array
    b: Array
    p11: Array
    p12: Array
    p22: Array


class _Stage(IntEnum):
    """How far a channel has come: nothing seen, a first value, the interval known as well."""

    FRESH = 0
    FIRST = 1
    RUNNING = 2


@dataclass(slots=True)
class _Channel:
    """One quantity: the head of its state, and its two branches."""

    stage: float
    r0: float
    dt0: float
    steps: float
    spikes: float
    opened: float
    odds: float
    main: _Branch
    other: _Branch

    @property
    def chance(self) -> float:
        """That a surprise is a step."""
        return (self.steps + STEP_PRIOR) / (self.steps + self.spikes + STEP_PRIOR + SPIKE_PRIOR)

    def advance(self, dt: float, damping_s: float) -> None:
        """Let time pass."""
        if self.stage == _Stage.FIRST:
            self.stage, self.dt0 = _Stage.RUNNING, dt
            self.main = self.main._replace(p22=np.where(_TREND, self.r0 / (dt * dt), self.main.p22))
        if self.stage == _Stage.RUNNING:
            self.main = _predicted(self.main, dt, self.r0, self.dt0, damping_s)
            if self.opened:
                self.other = _predicted(self.other, dt, self.r0, self.dt0, damping_s)

    def begin(self, z: float, s: float) -> None:
        """Take the first value."""
        none = np.zeros(MODELS)
        self.stage, self.r0 = _Stage.FIRST, s
        self.main = _jumped(_Branch(np.full(MODELS, 1.0 / MODELS), none, none, none, none, none), z, s, s)

    def learn(self, z: float, s: float, gate: float, step_samples: int) -> tuple[float, float]:
        """Take a value; its innovation and NIS."""
        e, x = _surprise(self.main, z, s)
        if self.opened:
            return self._decide(z, s, e, x, gate, step_samples)
        if x <= gate * gate:
            self.main, _ = _updated(self.main, z, s)
        elif step_samples <= 1:
            self.main = _jumped(self.main, z, s, self.r0)
        else:
            self.opened = 1.0
            self._doubt(self.main, z, s)
        return e, x

    def _doubt(self, branch: _Branch, z: float, s: float) -> None:
        """A spike, or a step of this branch to `z`?"""
        self.other = _jumped(branch, z, s, self.r0)
        self.odds = log((self.steps + STEP_PRIOR) / (self.spikes + SPIKE_PRIOR))

    def _decide(self, z: float, s: float, e: float, x: float, gate: float, step_samples: int) -> tuple[float, float]:
        """Was the surprise a spike, a step, or is it too early to say?"""
        off, far = _surprise(self.other, z, s)
        home, follows = x <= gate * gate, far <= gate * gate
        believed, told = _updated(self.other, z, s)
        doubted, untold = _updated(self.main, z, s)
        self.odds += told - untold
        self.opened += 1.0
        if home and self.odds <= 0.0:
            self.main = doubted
            self._learn(_OUT_AND_HOME if self.opened > _OUT_AND_HOME else 0.0)
            return e, x
        if follows or home:
            if follows and self.odds > 0.0 and self.opened >= step_samples:
                self.main = believed
                self._learn(1.0)
                return off, far
            self.other = believed
            self.main = doubted if home else self.main
            return e, x
        if self.opened >= step_samples:  # lost: it is neither here nor there
            self.main = _jumped(self.other, z, s, self.r0)
            self._learn(1.0)
            return off, far
        self._doubt(self.other, z, s)
        return e, x

    def _learn(self, steps: float) -> None:
        """The surprise turned out to be so many steps, or a spike."""
        self.opened = 0.0
        self.steps = MEMORY * self.steps + steps
        self.spikes = MEMORY * self.spikes + (0.0 if steps else 1.0)

    def says(self) -> tuple[float, float, float]:
        """Level, its variance, and what it gains per second. A surprise that is not believed widens it."""
        if self.stage == _Stage.FRESH:
            return nan, inf, nan
        if self.stage == _Stage.FIRST:
            return float(self.main.m[0]), float(self.main.p11[0]), nan
        out = self.other if self.opened and self.chance > _EVEN else self.main
        mean, spread = _foretold(out)
        if self.opened and out is self.main:
            spread += self.chance * (mean - _foretold(self.other)[0]) ** 2
        return mean, spread, float(out.w @ (_LEVEL + _JITTER)) * self.r0 / self.dt0


def bank_walk(
    state: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    damping_s: float,
    gate: float,
    step_samples: int,
    mean: Array,
    var: Array,
    innovation: Array,
    nis: Array,
    q: Array,
) -> None:
    """State (k, HEAD + 2 PARTS MODELS): head, the branch that is believed, and the branch of the surprise."""
    for k in range(value.shape[1]):
        main, other = (_Branch(*part) for part in state[k, HEAD:].reshape(2, PARTS, MODELS).copy())
        stage, r0, dt0, steps, spikes, opened, odds, _ = state[k, :HEAD].tolist()
        channel = _Channel(stage, r0, dt0, steps, spikes, opened, odds, main, other)
        for i, (dt, z, s) in enumerate(zip(dt_s.tolist(), value[:, k].tolist(), r[:, k].tolist(), strict=True)):
            e = x = nan
            if dt > 0.0:
                channel.advance(dt, damping_s)
            if s > 0.0 and not isinf(s) and not isinf(z) and not isnan(z) and not dt <= 0.0:
                if channel.stage == _Stage.FRESH:
                    channel.begin(z, s)
                elif channel.stage == _Stage.RUNNING:
                    e, x = channel.learn(z, s, gate, step_samples)
            mean[i, k], var[i, k], q[i, k] = channel.says()
            innovation[i, k], nis[i, k] = e, x
        head = (channel.stage, channel.r0, channel.dt0, channel.steps, channel.spikes, channel.opened, channel.odds)
        state[k, : HEAD - 1] = head
        state[k, HEAD:] = np.concatenate([*channel.main, *channel.other])


_EVEN = 0.5
_OUT_AND_HOME = 2.0


def _surprise(branch: _Branch, z: float, s: float) -> tuple[float, float]:
    mean, spread = _foretold(branch)
    return z - mean, (z - mean) * (z - mean) / (spread + s)


def _foretold(branch: _Branch) -> tuple[float, float]:
    """Mean and variance of the level."""
    mean = float(branch.w @ branch.m)
    return mean, float(branch.w @ (branch.p11 + (branch.m - mean) ** 2))


def _predicted(branch: _Branch, dt: float, r0: float, dt0: float, damping_s: float) -> _Branch:
    keep = exp(-dt / damping_s)
    reach = damping_s * (1.0 - keep) if dt > _SHORT * damping_s else dt
    level, slope = _LEVEL * (r0 * dt / dt0), _SLOPE * (r0 * dt / dt0**3)
    w, m, b, p11, p12, p22 = branch
    wide = p22 + level
    return _Branch(
        w,
        np.where(_FLUTTER, b, m + reach * b),
        np.where(_FLUTTER, b, keep * b),
        np.where(
            _FLUTTER, wide + _JITTER * r0, p11 + reach * (2.0 * p12 + reach * p22) + level + slope * dt * dt / 3.0
        ),
        np.where(_FLUTTER, wide, keep * (p12 + reach * p22) + slope * dt / 2.0),
        np.where(_FLUTTER, wide, keep * keep * p22 + slope),
    )


_SHORT = 1e-6


def _updated(branch: _Branch, z: float, s: float) -> tuple[_Branch, float]:
    """The branch after a value, and the log density the whole bank gave to it, up to a constant."""
    w, m, b, p11, p12, p22 = branch
    e = z - m
    total = p11 + s
    tail = 1.0 + np.minimum(e * e / total / (DOF - 2.0), FAR)
    weighed = ((1.0 - SHARED) * w + SHARED / MODELS) / np.sqrt(total * tail**13)
    sum_ = float(weighed.sum())
    left = p11 * s / total
    cross = p12 * s / total
    updated = _Branch(
        weighed / sum_,
        m + p11 / total * e,
        b + p12 / total * e,
        left,
        cross,
        np.maximum(p22 - p12 * p12 / total, cross * cross / left),
    )
    return updated, log(sum_)


def _jumped(branch: _Branch, z: float, s: float, r0: float) -> _Branch:
    """The branch after a step to `z`: how it moves, and how fast, is as it was."""
    at, own = np.full(MODELS, z), np.full(MODELS, s)
    return _Branch(
        branch.w,
        at,
        np.where(_FLUTTER, z, branch.b),
        own,
        np.where(_FLUTTER, own, 0.0),
        np.where(_FLUTTER, s + _JITTER * r0, branch.p22),
    )
