"""What is drawn: parameters of devices, and the random processes that drive them.

Promises: everything is drawn from a stream named by its purpose, time first, so that cutting time elsewhere changes
nothing. Refuses to know what the numbers mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

from trueline_sim.randomness import stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Draws", "Levels", "Spells", "Wander", "draw_parameters", "relax"]

DECADE = 10.0
WIDE = 16
"""Devices for each step from which on a line of Python for each row is faster than a filter down each column."""


def draw_parameters(
    ranges: Mapping[str, tuple[float, float]], *, devices: int, seed: int, scenario: str
) -> dict[str, Array]:
    """One value of every parameter for every device, (devices,) each.

    Uniform between the bounds; uniform in the logarithm where they are positive and ten times apart or more.
    """
    drawn = {}
    for name, (low, high) in ranges.items():
        uniform = stream(seed, scenario, "parameters", name).random(devices)
        wide = low > 0 and high / low >= DECADE
        drawn[name] = low * (high / low) ** uniform if wide else low + (high - low) * uniform
    return drawn


def relax(target: Array, state: Array, weight: Array | float) -> Array:
    """First-order lag, y[k] = y[k-1] + weight * (target[k] - y[k-1]).

    Args:
        target: (n, devices).
        state: (devices,) y before the first; left as y of the last.
        weight: 1 - exp(-step / time constant), for each device or for all.

    Returns:
        (n, devices).
    """
    weights = np.broadcast_to(np.asarray(weight, np.float64), state.shape)
    return _recur(weights * target, state, 1.0 - weights)


def _recur(values: Array, state: Array, keep: Array) -> Array:
    """y[k] = values[k] + keep * y[k-1], in place; `state` is y before the first and then y of the last."""
    steps, devices = values.shape
    if np.ptp(keep) == 0 and devices < WIDE * steps:  # few columns: one compiled loop down each
        values, _ = lfilter([1.0], [1.0, -keep[0]], values, axis=0, zi=(keep * state)[np.newaxis])
    else:  # many: one line of Python for each row
        last, carried = state, np.empty_like(state)
        for k in range(steps):
            np.multiply(keep, last, out=carried)
            values[k] += carried
            last = values[k]
    state[:] = values[-1]
    return values


class Wander:
    """Stationary noise of mean 0 and variance 1 that forgets within `memory_s`: an Ornstein-Uhlenbeck process, sampled.

    Exact at any step: y[k] = a y[k-1] + sqrt(1 - a^2) e[k], a = exp(-step / memory) (Gillespie, Phys. Rev. E 54, 2084,
    1996). `smooth_s` takes the roughness below that time out of it, at little loss of variance. What is slow
    beside the step is drawn every so many steps only, with straight lines between.
    """

    def __init__(
        self, seed: int, *purpose: str, devices: int, step_s: float, memory_s: float, smooth_s: float = 0.0
    ) -> None:
        self._random = stream(seed, *purpose)
        self._devices = devices
        self._every = max(1, int(max(memory_s / 40.0, smooth_s / 3.0) / step_s))
        step_s *= self._every
        self._keep = float(np.exp(-step_s / memory_s))
        self._state = self._random.standard_normal(devices)
        self._smoothed = self._state * np.sqrt(memory_s / (memory_s + smooth_s))
        self._weight = float(-np.expm1(-step_s / smooth_s)) if smooth_s else 1.0
        self._scale = float(np.sqrt((memory_s + smooth_s) / memory_s))
        self._rest = np.empty((0, devices))
        self._last = self._draw(1) if self._every > 1 else self._rest

    def advance(self, steps: int) -> Array:
        """The next values, (steps, devices)."""
        if self._every == 1:
            return self._draw(steps)
        missing = -(-(steps - len(self._rest)) // self._every)
        if missing > 0:
            marks = np.concatenate((self._last, self._draw(missing)))
            self._last = marks[-1:]
            way = (np.arange(self._every) / self._every)[:, np.newaxis]
            lines = marks[:-1, np.newaxis] + way * np.diff(marks, axis=0)[:, np.newaxis]
            self._rest = np.concatenate((self._rest, lines.reshape(-1, self._devices)))
        out, self._rest = self._rest[:steps], self._rest[steps:]
        return out

    def _draw(self, steps: int) -> Array:
        shocks = self._random.standard_normal((steps, self._devices))
        shocks *= np.sqrt(1.0 - self._keep**2)
        out = _recur(shocks, self._state, np.full(self._devices, self._keep))
        if self._weight < 1.0:
            out = relax(out, self._smoothed, self._weight) * self._scale
        return out


class Levels:
    """Steps: a level uniform in 0..1 that holds for a time exponentially distributed about `hold_s` (devices,)."""

    def __init__(self, seed: int, *purpose: str, devices: int, step_s: float, hold_s: Array) -> None:
        self._random = stream(seed, *purpose)
        self._chance = -np.expm1(-step_s / np.broadcast_to(hold_s, (devices,)))
        self._level = self._random.random(devices)

    def advance(self, steps: int) -> Array:
        """The next levels, (steps, devices)."""
        uniform = self._random.random((steps, len(self._chance)))
        jumps = uniform < self._chance
        latest = np.where(jumps, np.arange(1, steps + 1)[:, np.newaxis], 0)
        np.maximum.accumulate(latest, axis=0, out=latest)
        known = np.concatenate((self._level[np.newaxis], uniform / self._chance))  # given a jump, uniform again
        out = np.take_along_axis(known, latest, axis=0)
        self._level = out[-1].copy()
        return out


class Spells:
    """Something that begins at random and lasts a while: a door that opens, a lorry that passes.

    Args:
        duration_s: (devices,) mean of a lasting time, exponentially distributed.
    """

    def __init__(self, seed: int, *purpose: str, devices: int, step_s: float, duration_s: Array) -> None:
        self._random = stream(seed, *purpose)
        self._step_s = step_s
        self._duration_s = np.broadcast_to(duration_s, (devices,))
        self._until = np.full(devices, -np.inf)
        self._now = 0

    def advance(self, steps: int, rate_hz: Array) -> Array:
        """Share of each step that is inside a spell, 0..1, (steps, devices).

        Args:
            steps: how many.
            rate_hz: (steps or 1, devices) how often one begins; at most one a step.
        """
        time = (self._now + np.arange(steps)[:, np.newaxis]) * self._step_s
        self._now += steps
        uniform = self._random.random((steps, len(self._duration_s)))
        chance = np.clip(rate_hz * self._step_s, 1e-12, 1.0)
        begins = uniform < chance
        until = np.full(uniform.shape, -np.inf)
        rows, columns = np.nonzero(begins)
        given = uniform[rows, columns] / np.broadcast_to(chance, uniform.shape)[rows, columns]  # uniform again
        until[rows, columns] = time[rows, 0] - self._duration_s[columns] * np.log1p(-given)
        until[0] = np.maximum(until[0], self._until)
        np.maximum.accumulate(until, axis=0, out=until)
        self._until = until[-1].copy()
        return np.asarray(np.clip((until - time) / self._step_s, 0.0, 1.0))


@dataclass(frozen=True)
class Draws:
    """All that one run of one scenario draws: each process from the stream of its own name.

    Attributes:
        seed: of the world.
        scenario: its name: another one draws other values.
        devices: how many.
        step_s: between the steps of the processes.
    """

    seed: int
    scenario: str
    devices: int
    step_s: float

    def stream(self, *what: str) -> np.random.Generator:
        """Random numbers for this purpose alone."""
        return stream(self.seed, self.scenario, *what)

    def parameters(self, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Array]:
        """As `draw_parameters`."""
        return draw_parameters(ranges, devices=self.devices, seed=self.seed, scenario=self.scenario)

    def wander(self, *what: str, memory_s: float, smooth_s: float = 0.0) -> Wander:
        """A `Wander` for this purpose."""
        where = (self.scenario, *what)
        return Wander(self.seed, *where, devices=self.devices, step_s=self.step_s, memory_s=memory_s, smooth_s=smooth_s)

    def levels(self, *what: str, hold_s: Array) -> Levels:
        """`Levels` for this purpose."""
        return Levels(self.seed, self.scenario, *what, devices=self.devices, step_s=self.step_s, hold_s=hold_s)

    def spells(self, *what: str, duration_s: Array) -> Spells:
        """`Spells` for this purpose."""
        return Spells(self.seed, self.scenario, *what, devices=self.devices, step_s=self.step_s, duration_s=duration_s)
