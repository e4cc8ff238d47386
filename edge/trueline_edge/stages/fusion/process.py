"""How a quantity moves, and how noisy it is seen: the filters behind `fuse`, given their noise or learning it.

A filter takes one value of each of k quantities a row, with its variance; what it answers is the same for all of them,
so that one sensor and the mean of several go the same way.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import numpy as np

from trueline_edge.estimation.kernels import (
    BankConfig,
    Robust,
    bank_fresh,
    bank_level,
    kalman_level,
    kalman_linear,
    kalman_trend,
    level_fresh,
    linear_fresh,
    trend_fresh,
)
from trueline_edge.estimation.mixture import log_density, mix
from trueline_edge.estimation.structural import (
    STATES,
    DailyNoise,
    daily_matrices,
    daily_observation,
    daily_prior,
)
from trueline_edge.estimation.walks import bank_walk, walk_fresh
from trueline_edge.stages.stage import pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "Daily",
    "Filter",
    "Filtered",
    "GivenLevel",
    "GivenTrend",
    "LearntDay",
    "LearntLevel",
    "LearntMove",
    "LearntTrend",
    "gate_of",
]


class Filtered(NamedTuple):
    """What a filter says, (n, k) each.

    Attributes:
        mean: the level, given all rows so far; NaN before the first value.
        var: its variance, noise and process alone.
        innovation: value minus prediction; NaN where nothing was learnt.
        nis: innovation squared over its variance.
        r: variance of a value's noise, as the filter has it, for a value of relative variance 1.
        q: variance a second adds, as the filter has it; of the level, whatever else moves. (1, k) where it is given.
    """

    mean: Array
    var: Array
    innovation: Array
    nis: Array
    r: Array
    q: Array


class Filter(Protocol):
    """One model of k quantities, with its memory."""

    gate: float

    def __call__(self, dt_s: Array, value: Array, r: Array, /) -> Filtered:
        """Filter rows: `value` (n, k), and `r` (n, k) its variance (of one that learns: relative to the others)."""
        raise NotImplementedError

    def state(self) -> bytes:
        """All it remembers."""
        raise NotImplementedError

    def restore(self, state: bytes) -> None:
        """Remember it; ValueError where it is not the state of such a one."""


def gate_of(robust: Robust) -> BankConfig:
    """The bank's settings with the gate and the patience of the others."""
    return BankConfig(gate=robust.gate, step_samples=robust.step_samples)


class _Remembering:
    """A filter whose memory is one array."""

    gate: float
    _state: Array

    def state(self) -> bytes:
        """All it remembers."""
        return pack_arrays(self._state)

    def restore(self, state: bytes) -> None:
        """Remember it."""
        (self._state,) = unpack_arrays(state, self._state)


class GivenLevel(_Remembering):
    """Local level with q (k,) given, unit^2/s."""

    def __init__(self, q: Array, robust: Robust) -> None:
        self._q, self._robust, self.gate = q, robust, robust.gate
        self._state = level_fresh(len(q))

    def __call__(self, dt_s: Array, value: Array, r: Array) -> Filtered:
        """Filter rows."""
        out = kalman_level(self._state, dt_s, value, r, self._q, self._robust)
        self._state = out.state
        return Filtered(out.mean, out.var, out.innovation, out.nis, r, self._q[None, :])


class LearntLevel(_Remembering):
    """Local level whose noises are learnt by the bank of filters.

    Args:
        floor: (k,) variance below which no noise is believed: resolution^2 / 12.
        config: how it learns.
    """

    def __init__(self, floor: Array, config: BankConfig) -> None:
        self._floor, self._config, self.gate = floor, config, config.gate
        self._state = bank_fresh(len(floor))

    def __call__(self, dt_s: Array, value: Array, r: Array) -> Filtered:
        """Filter rows."""
        out = bank_level(self._state, dt_s, value, self._config, r, self._floor)
        self._state = out.state
        return Filtered(out.mean, out.var, out.innovation, out.nis, out.r, out.q)


class LearntMove(_Remembering):
    """A level with or without a slope: how it moves is learnt, the noise of its values is known."""

    def __init__(self, count: int, damping_s: float, robust: Robust) -> None:
        self._damping_s, self._robust, self.gate = damping_s, robust, robust.gate
        self._state = walk_fresh(count)

    def __call__(self, dt_s: Array, value: Array, r: Array) -> Filtered:
        """Filter rows."""
        robust = self._robust
        out, q = bank_walk(self._state, dt_s, value, r, self._damping_s, robust.gate, robust.step_samples)
        self._state = out.state
        return Filtered(out.mean, out.var, out.innovation, out.nis, r, q)


class LearntTrend:
    """A level with a slope, of which nothing is known: the level's bank learns the noise, `LearntMove` the rest."""

    def __init__(self, floor: Array, damping_s: float, robust: Robust) -> None:
        self._bank, self._move = LearntLevel(floor, gate_of(robust)), LearntMove(len(floor), damping_s, robust)
        self.gate = robust.gate

    def __call__(self, dt_s: Array, value: Array, r: Array) -> Filtered:
        """Filter rows."""
        bank = self._bank(dt_s, value, r)
        out = self._move(dt_s, value, bank.r * r)
        begun = np.isfinite(out.mean)
        mean, var = np.where(begun, out.mean, bank.mean), np.where(begun, out.var, bank.var)
        return Filtered(mean, var, out.innovation, out.nis, bank.r, out.q)

    def state(self) -> bytes:
        """Of both."""
        return msgspec.msgpack.encode([self._bank.state(), self._move.state()])

    def restore(self, state: bytes) -> None:
        """Remember it."""
        bank, move = msgspec.msgpack.decode(state, type=tuple[bytes, bytes])
        self._bank.restore(bank)
        self._move.restore(move)


class GivenTrend(_Remembering):
    """Level with a slope that may die away; all noises given, (k,) each, or one for all.

    At first the slope is as unknown as the noises let a slope be after a few readings: its variance is a hundred times
    r^(1/3) q_trend^(2/3), the one scale they make.
    """

    def __init__(self, q: Array, q_trend: Array, damping_s: float, r_typical: Array, robust: Robust) -> None:
        self._q, self._q_trend, self._damping_s = q, q_trend, damping_s
        self._robust, self.gate = robust, robust.gate
        self._state = trend_fresh(len(q), 100.0 * np.cbrt(r_typical) * np.cbrt(q_trend) ** 2)

    def __call__(self, dt_s: Array, value: Array, r: Array) -> Filtered:
        """Filter rows."""
        out = kalman_trend(self._state, dt_s, value, r, self._q, self._q_trend, self._damping_s, self._robust)
        self._state = out.state
        return Filtered(out.mean, out.var, out.innovation, out.nis, r, np.broadcast_to(self._q, value.shape))


class Daily(_Remembering):
    """Damped trend with a daily cycle, of k quantities; noises given for each."""

    def __init__(self, noise: list[DailyNoise], robust: Robust) -> None:
        self._noise, self._robust, self.gate = noise, robust, robust.gate
        self._q = np.array([each.level for each in noise])
        fresh = linear_fresh(np.full(STATES, np.nan), np.zeros((STATES, STATES)))
        self._state = np.stack([fresh] * len(noise))

    def __call__(self, dt_s: Array, value: Array, r: Array) -> Filtered:
        """Filter rows."""
        n, k = value.shape
        mean, var, innovation, nis = np.full((4, n, k), np.nan)
        var[:] = inf
        out = Filtered(mean, var, innovation, nis, r, np.broadcast_to(self._q, (n, k)))
        state = self._state.copy()
        for column, noise in enumerate(self._noise):
            self._one(dt_s, value, r, column, noise, state, out)
        self._state = state
        return out

    def _one(
        self, dt_s: Array, value: Array, r: Array, column: int, noise: DailyNoise, state: Array, out: Filtered
    ) -> None:
        start = 0
        if np.isnan(state[column, 0, 0]):
            usable = np.isfinite(value[:, column]) & np.isfinite(r[:, column]) & (r[:, column] > 0) & ~(dt_s <= 0.0)
            if not usable.any():
                return
            first = int(np.argmax(usable))
            mean, cov = daily_prior(float(value[first, column]), float(r[first, column]), noise)
            state[column] = linear_fresh(mean, cov)
            out.mean[first, column], out.var[first, column] = value[first, column], r[first, column]
            start = first + 1
        rows = np.s_[start:, column : column + 1]
        h = daily_observation()
        f, q = daily_matrices(dt_s[start:], noise)
        if not len(f):
            return
        seen = kalman_linear(
            state[column], f, q, h, np.ascontiguousarray(value[rows]), r[rows], self._robust, ~(dt_s[start:] <= 0.0)
        )
        state[column] = seen.state
        # Sums of elements: a product of matrices may round by how many rows it has.
        out.mean[start:, column] = (seen.mean * h[0]).sum(axis=1)
        out.var[start:, column] = (seen.cov * np.outer(h[0], h[0])).sum(axis=(1, 2))
        out.innovation[rows], out.nis[rows] = seen.innovation, seen.nis


class LearntDay:
    """A daily cycle whose noises are learnt: filters over a grid of process noise, and the level's bank.

    The bank learns the noise of a value, and runs alone for the first rows. From its scale and the interval between
    rows then comes the grid of filters; all are weighed by what they foretell, the bank as one of them. So a model of
    more shape than the quantity has does no harm.

    Args:
        floor: (k,) variance below which no noise is believed.
        damping_s: time constant of the slope.
        robust: how the filters meet surprise.
        known: the noise of a value is, and is not learnt.
    """

    def __init__(self, floor: Array, damping_s: float, robust: Robust, *, known: bool) -> None:
        self._bank: Filter = LearntLevel(floor, gate_of(robust))
        if known:
            self._bank = LearntMove(len(floor), damping_s, robust)
        self._known = known
        self._damping_s, self._robust, self.gate = damping_s, robust, robust.gate
        k = len(floor)
        self._scale = np.zeros((k, 4))  # learnt rows so far, seconds they took, scale of r and of dt once set
        self._noises = _NOISES_KNOWN if known else _NOISES
        self._count = len(self._noises) * len(_WALKS)
        self._weights = np.zeros((k, self._count + 1))
        self._filters: list[Filter | None] = [None] * k

    def __call__(self, dt_s: Array, value: Array, r: Array) -> Filtered:
        """Filter rows."""
        base = self._bank(dt_s, value, r)
        out = base._replace(mean=base.mean.copy(), var=base.var.copy())
        for k in range(value.shape[1]):
            start = self._begin(k, dt_s, value[:, k], base.r[:, k])
            grid = self._filters[k]
            if grid is not None and start < len(dt_s):
                self._shape(k, grid, start, dt_s, value, r, base, out)
        return out

    def _begin(self, k: int, dt_s: Array, value: Array, r: Array) -> int:
        """The row at which the grid begins; its filters are made when that row has come."""
        if self._filters[k] is not None:
            return 0
        learnt = np.isfinite(value) & (dt_s > 0.0)
        count = self._scale[k, 0] + np.cumsum(learnt)
        due = np.flatnonzero(learnt & (count >= _WARM_UP) & (r > 0.0))
        rows = int(due[0]) + 1 if len(due) else len(value)
        for dt in dt_s[:rows][dt_s[:rows] > 0.0].tolist():  # one by one: a sum over a block depends on its cuts
            self._scale[k, 1] += dt
        self._scale[k, 0] += learnt[:rows].sum()
        if not len(due):
            return rows
        self._scale[k, 2:] = r[rows - 1], self._scale[k, 1] / max(self._scale[k, 0], 1.0)
        self._filters[k] = self._grid(*self._scale[k, 2:].tolist())
        return rows

    def _grid(self, r: float, dt: float) -> Filter:
        """As many quantities as the grid has models: the same value, other process noise."""
        walks = (r / dt * 10.0**_WALKS).tolist() * len(self._noises)
        return Daily([DailyNoise(q, q / _HOUR_S**2, self._damping_s, q * 1e-2) for q in walks], self._robust)

    def _shape(
        self, k: int, grid: Filter, start: int, dt_s: Array, value: Array, r: Array, base: Filtered, out: Filtered
    ) -> None:
        rows = slice(start, None)
        noise = r[rows, k : k + 1] if self._known else base.r[rows, k : k + 1] * r[rows, k : k + 1]
        columns = (len(noise), self._count)
        of = grid(
            dt_s[rows],
            np.ascontiguousarray(np.broadcast_to(value[rows, k : k + 1], columns)),
            noise * np.repeat(self._noises, len(_WALKS)),
        )
        both = [np.concatenate([getattr(base, name)[rows, k : k + 1], getattr(of, name)], axis=1) for name in _COMPARED]
        innovation, nis, mean, var = (each[:, None, :] for each in both)
        gained = log_density(innovation, nis)
        gained[(gained == 0.0).any(axis=2)] = 0.0
        ready = np.isfinite(both[2]) & np.isfinite(both[3])
        mean, var = np.where(ready, both[2], base.mean[rows, k : k + 1]), np.where(ready, both[3], 1e12)
        mixed = mix(self._weights[k : k + 1], gained, mean[:, None, :], var[:, None, :])
        self._weights[k] = mixed.state[0]
        known = ready.all(axis=1)
        out.mean[rows, k] = np.where(known, mixed.mean[:, 0], out.mean[rows, k])
        out.var[rows, k] = np.where(known, mixed.var[:, 0], out.var[rows, k])

    def state(self) -> bytes:
        """All it remembers."""
        grids = [each.state() if each is not None else b"" for each in self._filters]
        return msgspec.msgpack.encode([self._bank.state(), pack_arrays(self._scale, self._weights), grids])

    def restore(self, state: bytes) -> None:
        """Remember it."""
        bank, scale, grids = msgspec.msgpack.decode(state, type=tuple[bytes, bytes, list[bytes]])
        self._bank.restore(bank)
        self._scale, self._weights = unpack_arrays(scale, self._scale, self._weights)
        if len(grids) != len(self._filters):
            raise ValueError(f"a state of {len(grids)} quantities for {len(self._filters)}")
        for k, saved in enumerate(grids):
            self._filters[k] = None
            if saved:
                grid = self._grid(*self._scale[k, 2:].tolist())
                grid.restore(saved)
                self._filters[k] = grid


_WALKS = np.linspace(-8.0, 0.0, 5)
"""Process noise of an interval, as powers of ten of the noise of a value."""
_NOISES = np.array([0.25, 1.0, 4.0, 16.0])
"""The level's bank takes the day for noise, or for a walk: its r is a beginning."""
_NOISES_KNOWN = np.ones(1)
_WARM_UP = 32
_HOUR_S = 3600.0
_COMPARED = ("innovation", "nis", "mean", "var")
