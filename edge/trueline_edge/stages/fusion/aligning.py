"""The stage behind the configuration `self_calibrate`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.estimation.kernels import LEARNING
from trueline_edge.estimation.selfcal import (
    BIAS,
    PARAMETERS,
    Slow,
    common_bias_variance,
    design,
    learn_slow,
    wander,
)
from trueline_edge.estimation.voting import agreeing
from trueline_edge.stages.fusion.process import LearntLevel
from trueline_edge.stages.stage import pack_arrays, unpack_arrays
from trueline_wire.readings import Channel, Flag, Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.stages.self_calibrate import SelfCalibrate
    from trueline_wire.readings import Schema

    Array = NDArray[np.float64]

__all__ = ["WINDOW", "Aligning"]

WINDOW = 32
"""Rows after which the states are learnt anew."""
GATE = 6.0
"""Standard deviations beyond which a sensor contradicts the others."""
_WALK_DAYS = 30.0
_DAY_S = 86_400.0
_GAP_DAYS_MAX = 1.0
"""A gap counts as a day at most: a clock that was set is not a year of drift."""
_MOVED, _SHARPER = 0.5, 0.8
"""A new version when a correction has moved by so many of its u, or its u is so much smaller than it was."""
_CALM, _SETTLING = 4.0, 0.25
"""Noise beyond so many times what is typical of a sensor does not widen its gate; how fast the typical is learnt."""
_KNOWN_SHARE = 0.5
"""The common part counts as seen while its variance is below this share of what it was at first."""


class _Applied(NamedTuple):
    """The version in use: its number, its parameters (m, 3), their u (m,), and when its first row was, ns."""

    number: Array
    parameters: Array
    u: Array
    time_ns: NDArray[np.int64]


class Aligning:
    """Learns window by window, and applies what it has learnt as versions.

    Args:
        config: whose sensors.
        schema: of the readings that come.

    Raises:
        ConfigError: the file of versions cannot be used.
    """

    delay = 0

    def __init__(self, config: SelfCalibrate, schema: Schema) -> None:
        names = [channel.name for channel in schema.channels]
        self._config, self._m = config, len(config.inputs)
        self._columns = np.array([names.index(name) for name in config.inputs])
        self._reference = None if config.reference is None else names.index(config.reference)
        self._pivot = config.pivot
        m, s = self._m, (self._m + 1) * PARAMETERS
        inputs = [schema.channels[column] for column in self._columns]
        floor = np.array([channel.resolution**2 / 12.0 for channel in inputs])
        self._watch = LearntLevel(floor, LEARNING)
        self._slow = Slow(np.zeros(s), np.full((s, s), np.nan))
        self._prior, self._typical = np.full(m, np.nan), np.full(m, np.inf)
        self._applied = _Applied(np.zeros(1), np.zeros((m, PARAMETERS)), np.full(m, np.inf), np.zeros(1, np.int64))
        self._window = np.full((WINDOW, 3 * m + 3), np.nan)  # values, reference, noise, its u^2, days, u^2 stated
        self._clock = np.zeros(4)  # rows in the window, days since the beginning, days at the last window, any row?
        self._last_ns = np.zeros(1, np.int64)
        if (version := config.begin()) is not None:
            parameters = np.array([version.parameters[name] for name in config.inputs])
            spread = np.array([version.u[name] for name in config.inputs])
            self._applied = _Applied(np.array([float(version.number)]), parameters, spread[:, 0], np.zeros(1, np.int64))
            self._clock[1:3] = version.days
            self._begin(spread**2, np.zeros(1), parameters)
        self.schema = replace(schema, channels=(*schema.channels, *_channels(config, inputs)))

    def __call__(self, readings: Readings, /) -> Readings:
        """Align some rows, and learn from them."""
        if not len(readings):
            return Readings.empty(self.schema)
        dt_s, days = self._time(readings.time_ns)
        usable, value, var = self._cells(readings)
        usable[dt_s <= 0.0] = False
        own = self._watch(dt_s, np.where(usable, value, np.nan)[:, : self._m], np.ones((len(dt_s), self._m)))
        noise = np.where(own.r > 0.0, own.r, var[:, : self._m]) + self._config.spread_u**2
        parts = []
        start = 0
        while start < len(days):
            stop = min(len(days), start + WINDOW - int(self._clock[0]))
            rows = slice(start, stop)
            parts.append(self._rows(readings[rows], value[rows], usable[rows], noise[rows], var[rows], days[rows]))
            start = stop
        return Readings.concatenate(parts)

    def _time(self, time_ns: NDArray[np.int64]) -> tuple[Array, Array]:
        """(n,) seconds since the row before, NaN in the very first; (n,) days since the beginning."""
        fresh = not self._clock[3]
        dt_s = np.diff(time_ns, prepend=time_ns[0] if fresh else self._last_ns[0]) / 1e9
        moved = np.clip(dt_s / _DAY_S, 0.0, _GAP_DAYS_MAX)
        days = np.cumsum(np.concatenate([self._clock[1:2], moved]))[1:]
        if fresh:
            dt_s[0] = np.nan
        self._clock[1], self._clock[3] = days[-1], 1.0
        self._last_ns = time_ns[-1:].copy()
        return dt_s, days

    def _cells(self, readings: Readings) -> tuple[NDArray[np.bool_], Array, Array]:
        """Of inputs and reference, (n, m + 1) each: what carries information, values, variances stated."""
        columns = self._columns if self._reference is None else np.append(self._columns, self._reference)
        value = np.full((len(readings), self._m + 1), np.nan)
        var, usable = value.copy(), np.zeros(value.shape, np.bool_)
        given = np.s_[:, : len(columns)]
        value[given] = readings.value[:, columns]
        var[given] = np.square(readings.u[:, columns], dtype=np.float64)
        gone = np.isinf(value)
        gone[given] |= readings.flag[:, columns] >= Flag.FAIL
        value[gone] = np.nan
        var[np.isnan(value)] = np.nan
        usable[given] = np.isfinite(value[given]) & (readings.flag[:, columns] < Flag.SUSPECT)
        return usable, value, var

    def _rows(
        self, readings: Readings, value: Array, usable: NDArray[np.bool_], noise: Array, var: Array, days: Array
    ) -> Readings:
        """Rows of one window: corrected by the version in use; then perhaps there is a new one."""
        m, applied = self._m, self._applied
        if applied.number[0] and not applied.time_ns[0]:
            self._applied = applied = applied._replace(time_ns=readings.time_ns[:1].copy())
        bias = self._corrections(value[:, :m], days)
        corrected = value[:, :m] - bias
        spread = self._spread(value[:, :m], days, noise, var[:, :m])
        known = not np.isnan(self._slow.cov[0, 0])
        heard = np.where(usable[:, :m], corrected, np.nan)
        agree = agreeing(heard, np.minimum(noise, _CALM * self._typical) + self._apart(known=known), GATE)
        contradicted = usable[:, :m] & ~agree
        taken = np.where(usable[:, :m] & ~contradicted, value[:, :m], np.nan)
        judged = self._assemble(readings, corrected, np.sqrt(spread), bias, contradicted)
        if not self._config.freeze:
            self._keep(taken, np.where(usable[:, m], value[:, m], np.nan), noise, var, days)
        return judged

    def _corrections(self, value: Array, days: Array) -> Array:
        """(n, m) what the version in use takes off."""
        bias, drift, gain = self._applied.parameters.T
        shift = bias + drift * days[:, None]
        taken: Array = shift + gain / (1.0 + gain) * (value - shift - self._pivot)
        return taken

    def _spread(self, value: Array, days: Array, noise: Array, var: Array) -> Array:
        """(n, m) variance of the corrected values: noise, states, and what these have moved since the version."""
        if np.isnan(self._slow.cov[0, 0]):
            return var
        total = np.where(np.isnan(value), np.nan, noise)
        bias = self._corrections(value, days)
        for i in range(self._m):
            part = slice(i * PARAMETERS, (i + 1) * PARAMETERS)
            seen = np.stack([np.ones(len(days)), days, value[:, i] - bias[:, i] - self._pivot], axis=1)
            # Sums of elements: a product of matrices may round by how many rows it has.
            moved = (seen * (self._slow.mean[part] - self._applied.parameters[i])).sum(axis=1)
            own = ((seen[:, :, None] * self._slow.cov[part, part]).sum(axis=1) * seen).sum(axis=1)
            walked = self._walk()[i] * np.maximum(days - self._clock[2], 0.0)
            total[:, i] += own + moved**2 + walked
        return total

    def _apart(self, *, known: bool) -> Array:
        """(m,) variance by which corrected sensors may still differ."""
        if not known:
            return np.full(self._m, np.inf)
        biases = self._slow.cov[BIAS, BIAS][: self._m, : self._m]
        common = 1.0 / float(np.linalg.inv(biases).sum())
        apart: Array = np.maximum(np.diag(biases) - common, 0.0)
        return apart

    def _walk(self) -> Array:
        """(m,) variance each bias gains in a day."""
        given = self._config.walk_u_per_day
        if given is not None:
            return np.full(self._m, given**2)
        walk: Array = self._prior / _WALK_DAYS
        return walk

    def _keep(self, value: Array, reference: Array, noise: Array, var: Array, days: Array) -> None:
        """Put rows into the window; learn from it when it is full."""
        at, n = int(self._clock[0]), len(days)
        kept = (value, reference[:, None], noise, var[:, self._m :], days[:, None], var[:, : self._m])
        self._window[at : at + n] = np.concatenate(kept, axis=1)
        self._clock[0] += n
        if self._clock[0] == WINDOW:
            self._clock[0] = 0.0
            self._learn(self._window.copy())

    def _begin(self, prior: Array, reference_var: Array, mean: Array | None = None) -> None:
        """States before anything is learnt: `prior` (m, 3) variances; and of the reference's bias."""
        self._prior = prior[:, 0].copy()
        spread = np.append(prior.ravel(), [reference_var[0], 0.0, 0.0])
        start = np.zeros(len(spread))
        if mean is not None:
            start[: mean.size] = mean.ravel()
        self._slow = Slow(start, np.diag(spread))

    def _learn(self, window: Array) -> None:
        m = self._m
        value, noise, days = window[:, : m + 1], window[:, m + 1 : 2 * m + 2], window[:, 2 * m + 2]
        heard = np.isfinite(value[:, m])
        self._settle(value, noise)
        if np.isnan(self._slow.cov[0, 0]):
            config = self._config
            self._prior = self._guess(value[:, :m], noise[:, :m], window[:, 2 * m + 3 :])
            if not (self._prior > 0.0).all():
                return
            prior = np.stack([self._prior, np.full(m, config.drift_u_per_day**2), np.full(m, config.gain_u**2)], axis=1)
            self._begin(prior, np.zeros(1))
        slow = wander(self._slow, np.append(self._walk() * max(days[-1] - self._clock[2], 0.0), 0.0))
        self._clock[2] = days[-1]
        if heard.any() and not slow.cov[m * PARAMETERS, m * PARAMETERS] > 0.0:
            cov = slow.cov.copy()
            cov[m * PARAMETERS, m * PARAMETERS] = float(np.nan_to_num(np.median(noise[heard, m])))
            slow = slow._replace(cov=cov)
        noise[:, m] = np.where(noise[:, m] > 0.0, noise[:, m], _EXACT)
        usable = np.isfinite(value) & np.isfinite(noise)
        value = np.where(usable, value, np.nan)
        bias = self._corrections(value[:, :m], days)
        corrected = np.concatenate([value[:, :m] - bias, value[:, m:]], axis=1)
        count = np.maximum(usable.sum(axis=1), 1)
        quantity = np.where(usable, corrected, 0.0).sum(axis=1) / count
        matrix = design(quantity, days, m + 1, self._pivot)
        self._slow = learn_slow(slow, matrix, value, np.where(usable, noise, 1.0))
        self._release(days[-1], quantity[-1])

    def _guess(self, value: Array, noise: Array, var: Array) -> Array:
        """(m,) variance each bias may have, from what values state beyond their noise; NaN where they state none."""
        prior, places = np.full(self._m, np.nan), self._config.spread_u**2
        for i in range(self._m):
            heard = np.isfinite(value[:, i]) & np.isfinite(var[:, i])
            if self._config.bias_u is not None:
                prior[i] = self._config.bias_u**2
            elif heard.any():
                prior[i] = np.median(np.maximum(var[heard, i] + places - noise[heard, i], 0.0))
        return prior

    def _settle(self, value: Array, noise: Array) -> None:
        """What noise each sensor has when it is believed; one that jumps is not to widen its own gate."""
        for i in range(self._m):
            if len(own := noise[np.isfinite(value[:, i]), i]):
                now = float(np.median(own))
                before = now if np.isinf(self._typical[i]) else self._typical[i]
                self._typical[i] = before + _SETTLING * (min(now, _CALM * before) - before)

    def _release(self, days: float, quantity: float) -> None:
        """A new version, where the states say something that the one in use does not."""
        m, applied = self._m, self._applied
        seen = np.array([1.0, days, quantity - self._pivot])
        parameters = self._slow.mean[: m * PARAMETERS].reshape(m, PARAMETERS)
        cov = [self._slow.cov[i : i + PARAMETERS, i : i + PARAMETERS] for i in range(0, m * PARAMETERS, PARAMETERS)]
        u = np.sqrt(np.array([seen @ each @ seen for each in cov]))
        moved = np.abs((parameters - applied.parameters) @ seen)
        sharper = (u < _SHARPER * applied.u) & (np.isfinite(applied.u) | (moved > 0.0))
        if ((moved > _MOVED * u) | sharper).any():
            number = applied.number + 1.0
            self._applied = _Applied(number, parameters.copy(), u, np.zeros(1, np.int64))

    def _assemble(
        self,
        readings: Readings,
        corrected: Array,
        u: Array,
        bias: Array,
        contradicted: NDArray[np.bool_],
    ) -> Readings:
        n = len(readings)
        flag, reason = readings.flag[:, self._columns].copy(), readings.reason[:, self._columns].copy()
        flag[flag == Flag.NOT_EVALUATED] = Flag.PASS
        flag[np.isnan(u) & (flag == Flag.PASS)] = Flag.SUSPECT
        gone = ~np.isfinite(corrected)
        flag[gone], reason[gone] = Flag.MISSING, Reason.MISSING
        flag[contradicted & (flag == Flag.PASS)] = Flag.SUSPECT
        reason[contradicted] |= np.uint32(Reason.CONSISTENCY)
        if not self._anchored():
            reason |= np.uint32(Reason.UNOBSERVABLE)
        extra = [np.broadcast_to(self._applied.number, (n, 1))]
        extra += [bias] if self._config.details else []
        more = np.concatenate(extra, axis=1)
        flags = np.where(np.isnan(more), np.uint8(Flag.MISSING), np.uint8(Flag.PASS))
        return Readings(
            self.schema,
            readings.time_ns,
            np.concatenate([readings.value, corrected, more], axis=1),
            np.concatenate([readings.u, u.astype(np.float32), np.full(more.shape, np.nan, np.float32)], axis=1),
            np.concatenate([readings.flag, flag, flags], axis=1),
            np.concatenate([readings.reason, reason, np.zeros(more.shape, np.uint32)], axis=1),
        )

    def _anchored(self) -> bool:
        """Has a reference shown, and recently enough, what the sensors have in common?"""
        if np.isnan(self._slow.cov[0, 0]):
            return False
        now = common_bias_variance(self._slow.cov[: self._m * PARAMETERS, : self._m * PARAMETERS])
        return bool(now < _KNOWN_SHARE / (1.0 / self._prior).sum())

    @property
    def version(self) -> tuple[int, Array, Array, int]:
        """Number, parameters (m, 3), their standard uncertainties (m, 3), and time of its first row, ns (0: none)."""
        variance = np.diag(self._slow.cov)[: self._m * PARAMETERS].reshape(self._m, PARAMETERS)
        return int(self._applied.number[0]), self._applied.parameters, np.sqrt(variance), int(self._applied.time_ns[0])

    @property
    def days(self) -> float:
        """Since the beginning."""
        return float(self._clock[1])

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def _memory(self) -> tuple[NDArray[np.float64] | NDArray[np.int64], ...]:
        return (*self._slow, self._prior, self._typical, *self._applied, self._window, self._clock, self._last_ns)

    def state(self) -> bytes:
        """States, version, and the window begun."""
        return msgspec.msgpack.encode([self._watch.state(), pack_arrays(*self._memory())])

    def restore(self, state: bytes) -> None:
        """Remember them."""
        watch, arrays = msgspec.msgpack.decode(state, type=tuple[bytes, bytes])
        unpacked = unpack_arrays(arrays, *self._memory())
        if not 0 <= unpacked[9][0] < WINDOW:
            raise ValueError("a state in the middle of no window")
        self._watch.restore(watch)
        self._slow, (self._prior, self._typical) = Slow(*unpacked[:2]), unpacked[2:4]
        self._applied = _Applied(*unpacked[4:8])
        self._window, self._clock, self._last_ns = unpacked[8:]


_EXACT = 1e-12
"""Variance of a reference that states no `u`."""


def _channels(config: SelfCalibrate, inputs: list[Channel]) -> list[Channel]:
    added = [Channel(name=f"{each.name}.calibrated", unit=each.unit, sensor=each.sensor) for each in inputs]
    added.append(Channel(name=f"{config.name}.version"))
    if config.details:
        added += [Channel(name=f"{each.name}.bias", unit=each.unit) for each in inputs]
    return added
