"""The noise of a value is known, how the quantity moves is not: a bank of walks and trends, and of what surprises.

Each model is a level, most of them with a slope, moved by noise of its own size; they are weighed by what they
foretell (Magill 1965), and a little of the weights is shared out anew with each value, so that a calm quantity may
become a lively one. A value beyond the gate of the whole bank opens a second branch, in which it is believed, beside
the one in which it is a spike. The values behind it decide between the two. How often surprises turned out to be steps
is learnt: once most do, the next one is followed at once.
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

LEVELS, TRENDS = 13, 9
MODELS = LEVELS + TRENDS
HEAD = 8
"""Stage (0 nothing, 1 a first value, 2 running), r and interval the models are scaled by, steps and spikes seen, rows
since the branch was opened (0: there is none), log odds of the branch, spare."""
PARTS = 6
"""Of a branch: weight, level, slope, and the covariance of the two, for each model."""

_LEVEL = np.concatenate([10.0 ** (np.arange(LEVELS) - 6.0), np.zeros(TRENDS)])
"""What a level's walk gains in one interval, in variances of a value."""
_SLOPE = np.concatenate([np.zeros(LEVELS), 10.0 ** (np.arange(TRENDS) - 7.0)])
"""What white noise on the slope makes of the slope's variance in one interval, in variances of a value an interval."""
SHARED = 0.002
"""Of the weights, with each value."""
DOF = 6.0
"""Of the Student-t noise of a value: the density falls with the power (DOF + 1) / 2 of the tail, here the root of 7."""
FAR = 1e30
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
            self.main = self.main._replace(p22=np.where(_SLOPE > 0.0, self.r0 / (dt * dt), 0.0))
        if self.stage == _Stage.RUNNING:
            self.main = _predicted(self.main, dt, self.r0, self.dt0, damping_s)
            if self.opened:
                self.other = _predicted(self.other, dt, self.r0, self.dt0, damping_s)

    def begin(self, z: float, s: float) -> None:
        """Take the first value."""
        none = np.zeros(MODELS)
        self.main = _Branch(np.full(MODELS, 1.0 / MODELS), np.full(MODELS, z), none, np.full(MODELS, s), none, none)
        self.stage, self.r0 = _Stage.FIRST, s

    def learn(self, z: float, s: float, gate: float, step_samples: int) -> tuple[float, float]:
        """Take a value; its innovation and NIS."""
        e, x = _surprise(self.main, z, s)
        if self.opened:
            e, x = self._decide(z, s, e, x, gate, step_samples)
        if not self.opened:
            updated, _ = _updated(self.main, z, s)
            if x <= gate * gate:
                self.main = updated
            else:
                self.other, self.opened = updated, 1.0
                self.odds = log((self.steps + STEP_PRIOR) / (self.spikes + SPIKE_PRIOR))
        return e, x

    def _decide(self, z: float, s: float, e: float, x: float, gate: float, step_samples: int) -> tuple[float, float]:
        """Was the surprise a spike, a step, or is it too early to say?"""
        believed, told = _updated(self.other, z, s)
        doubted, untold = _updated(self.main, z, s)
        self.odds += told - untold
        self.opened += 1.0
        if self.odds <= 0.0:
            self.opened, self.spikes, self.steps = 0.0, MEMORY * self.spikes + 1.0, MEMORY * self.steps
        elif self.opened >= step_samples:
            self.main, self.opened = self.other, 0.0
            self.steps, self.spikes = MEMORY * self.steps + 1.0, MEMORY * self.spikes
            return _surprise(self.main, z, s)
        else:
            self.other = believed
            self.main = doubted if x <= gate * gate else self.main
        return e, x

    def says(self) -> tuple[float, float, float]:
        """Level, its variance, and what its walk gains per second."""
        if self.stage == _Stage.FRESH:
            return nan, inf, nan
        if self.stage == _Stage.FIRST:
            return float(self.main.m[0]), float(self.main.p11[0]), nan
        out = self.other if self.opened and self.chance > _EVEN else self.main
        mean, spread = _foretold(out)
        if self.opened:
            apart = _foretold(self.main)[0] - _foretold(self.other)[0]
            spread += min(self.chance, 1.0 - self.chance) * apart * apart
        return mean, spread, float(out.w @ _LEVEL) * self.r0 / self.dt0


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
    return _Branch(
        w,
        m + reach * b,
        keep * b,
        p11 + reach * (2.0 * p12 + reach * p22) + level + slope * dt * dt / 3.0,
        keep * (p12 + reach * p22) + slope * dt / 2.0,
        keep * keep * p22 + slope,
    )


_SHORT = 1e-6


def _updated(branch: _Branch, z: float, s: float) -> tuple[_Branch, float]:
    """The branch after a value, and the log density the whole bank gave to it, up to a constant."""
    w, m, b, p11, p12, p22 = branch
    e = z - m
    total = p11 + s
    x = e * e / total
    tail = 1.0 + np.minimum(x / DOF, FAR)
    weighed = ((1.0 - SHARED) * w + SHARED / MODELS) / np.sqrt(total * tail**7)
    sum_ = float(weighed.sum())
    softer = s * np.maximum(1.0, tail / (1.0 + 1.0 / DOF))
    spread = p11 + softer
    left = p11 * softer / spread
    cross = p12 * softer / spread
    updated = _Branch(
        weighed / sum_,
        m + p11 / spread * e,
        b + p12 / spread * e,
        left,
        cross,
        np.maximum(p22 - p12 * p12 / spread, cross * cross / left),
    )
    return updated, log(sum_)
