"""The stage behind the configuration `fuse`: cells of the inputs in, channels with flags that say what happened out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from trueline_edge.estimation.sequences import AGES_MAX, ages, beside, paces, pick
from trueline_edge.stages.fusion.build import make_combiners
from trueline_edge.stages.fusion.cells import Cells, Combined
from trueline_edge.stages.fusion.lag import Lag, Steps
from trueline_edge.stages.stage import pack_arrays, unpack_arrays
from trueline_wire.readings import Channel, Flag, Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.stages.fuse import Fuse, FuseOutput
    from trueline_wire.readings import Schema

__all__ = ["Fusing"]

SUSPECT_WIDENS = 3.0
"""A SUSPECT value counts with so many times its standard uncertainty."""
TIMEOUT_ROWS = 10
"""Rows without good input after which an output is MISSING, where no time is configured."""
_PASS, _NOT_EVALUATED, _SUSPECT, _FAIL = (  # an enum is slow to ask
    int(flag) for flag in (Flag.PASS, Flag.NOT_EVALUATED, Flag.SUSPECT, Flag.FAIL)
)


class Fusing:
    """Adds the outputs of one `fuse` to every row.

    Args:
        config: what to add.
        schema: of the readings that come.

    Raises:
        ConfigError: the file with the noises cannot be used.
    """

    def __init__(self, config: Fuse, schema: Schema) -> None:
        outputs = config.all_outputs()
        names = [channel.name for channel in schema.channels]
        self._k, self._m = len(outputs), max(len(output.inputs) for output in outputs)
        self._counts = [len(output.inputs) for output in outputs]
        self._inputs = np.zeros((self._k, self._m), np.intp)
        self._absent = np.ones((self._k, self._m), np.bool_)
        for o, output in enumerate(outputs):
            self._inputs[o, : len(output.inputs)] = [names.index(name) for name in output.inputs]
            self._absent[o, : len(output.inputs)] = False
        firsts = self._inputs[:, 0]
        self._plain = self._m == 1 and bool((np.diff(firsts) == 1).all())  # neighbours, each by itself
        self._span, self._all = slice(int(firsts[0]), int(firsts[-1]) + 1), np.ones(self._k, np.bool_)
        self._details, self._first = config.details, len(names)
        added = _channels(schema, outputs, details=config.details)
        self.schema = replace(schema, channels=(*schema.channels, *added))
        self._combiners = make_combiners(config, schema)
        timeout = config.timeout_s
        self._timeout_ns = None if timeout is None else round(timeout * 1e9)
        self._gate = config.gate_used
        self._clock = np.zeros(2, np.int64)  # was there a row; its time
        self._age = np.full((2, self._k), AGES_MAX)  # rows, and ns, since the last good input
        self.delay = config.lag_rows
        at = slice(self._first, self._first + self._k)
        self._lag = Lag(self.schema, at, config.lag_rows) if config.lag_rows else None

    def __call__(self, readings: Readings, /) -> Readings:
        """Add the outputs to some rows."""
        if not len(readings):
            return Readings.empty(self.schema)
        dt_ns, dt_s, least_ns = self._elapsed(readings.time_ns)
        cells, suspect = self._cells(readings, dt_s)
        combined = self._combine(cells)
        stale = self._stale(combined, dt_ns)
        fused = self._assemble(readings, combined, stale, suspect)
        if least_ns < 0:
            fused = self._doubt_time(fused, combined, dt_ns < 0)
        if self._lag is None or combined.walk is None:
            return fused
        var, q = combined.walk
        refused = np.zeros(var.shape, np.bool_) if combined.refused is None else combined.refused
        step = (combined.nis > self._gate**2) & ~refused
        gained = q * np.where(dt_s > 0.0, dt_s, 0.0)[:, None]
        return self._lag(fused, Steps(combined.value, var, gained, (~step).astype(np.float64)))

    def _elapsed(self, time_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
        """Nanoseconds and seconds since the row before, NaN seconds in the very first; and the least nanoseconds."""
        known, last = self._clock.tolist()
        dt_ns, least_ns, _ = paces(last if known else int(time_ns[0]), time_ns)
        dt_s = dt_ns / 1e9
        if not known:
            dt_s[0] = np.nan
        self._clock = np.array([1, time_ns[-1]])
        return dt_ns, dt_s, least_ns

    def _cells(self, readings: Readings, dt_s: NDArray[np.float64]) -> tuple[Cells, NDArray[np.bool_] | None]:
        """What carries information, and which of it is SUSPECT."""
        flag = self._of_inputs(readings.flag)
        var = np.square(self._of_inputs(readings.u), dtype=np.float64)
        if self._plain:
            value = pick(readings.value[:, self._span], flag[:, :, 0], _FAIL, self._all)[:, :, None]
            if _SUSPECT not in flag.tobytes():
                return Cells(dt_s, value, var, None), None
            suspect = flag == _SUSPECT
            return Cells(dt_s, value, var, np.where(suspect, SUSPECT_WIDENS**2, 1.0)), suspect
        value = self._of_inputs(readings.value)
        suspect = widening = None
        if (worst := flag.max()) > _NOT_EVALUATED:
            if worst >= _FAIL:
                value[flag >= _FAIL] = np.nan
            if (suspect := flag == _SUSPECT).any():
                widening = np.where(suspect, SUSPECT_WIDENS**2, 1.0)
            else:
                suspect = None
        if self._m > 1 and self._absent.any():
            value[:, self._absent] = np.nan
        if (infinite := np.isinf(value)).any():
            value[infinite] = np.nan
        return Cells(dt_s, value, var, widening), suspect

    def _of_inputs(self, column: NDArray[Any]) -> NDArray[Any]:
        """(n, k, m) of the (n, channels) of a batch."""
        if self._plain:
            return column[:, self._span, None]
        return column[:, self._inputs]

    def _combine(self, cells: Cells) -> Combined:
        """Each output by its combiner."""
        if len(self._combiners) == 1:
            return self._combiners[0].combiner(cells)
        n = len(cells.dt_s)
        whole = _Whole(n, self._k, self._m)
        for which, combiner in self._combiners:
            if len(which) > 1 or self._counts[which[0]] == 1:
                part = cells.outputs(which, 1)
            else:
                part = cells.outputs(which, self._counts[which[0]])
            whole.put(which, combiner(part))
        return whole.combined

    def _stale(self, combined: Combined, dt_ns: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """(n, k) bool: has good input been missing for too long? None: nowhere."""
        self._age, stale = ages(self._age, combined.weight, dt_ns, TIMEOUT_ROWS, self._timeout_ns)
        return stale

    def _assemble(
        self,
        readings: Readings,
        combined: Combined,
        stale: NDArray[np.bool_] | None,
        suspect: NDArray[np.bool_] | None,
    ) -> Readings:
        """The rows with the outputs behind their own channels."""
        first, k = self._first, self._k
        columns = (readings.value, readings.u, readings.flag, readings.reason)
        value, u, flag, reason, missing = beside(
            columns, combined.value, combined.var, _PASS, len(self.schema.channels)
        )
        out = slice(first, first + k)
        self._judge(readings, combined, suspect, flag[:, out], reason[:, out])
        if missing or stale is not None:
            gone = np.isnan(combined.value)
            reason[:, out][gone] = Reason.MISSING
            if stale is not None:
                reason[:, out][stale] = Reason.MISSING | Reason.STALE
                gone |= stale
            value[:, out][gone], u[:, out][gone], flag[:, out][gone] = np.nan, np.nan, Flag.MISSING
        if self._details:
            weights = combined.weight[:, ~self._absent]
            details = np.concatenate([combined.innovation, combined.nis, weights], axis=1)
            value[:, first + k :], u[:, first + k :] = details, np.nan
            flag[:, first + k :] = np.where(np.isnan(details), np.uint8(Flag.MISSING), np.uint8(Flag.PASS))
        return Readings.trusted(self.schema, readings.time_ns, value, u, flag, reason)

    def _doubt_time(self, fused: Readings, combined: Combined, back: NDArray[np.bool_]) -> Readings:
        """A prediction for a row from before what is known is one for another time than the row's own: SUSPECT."""
        out = np.zeros(fused.flag.shape, np.bool_)
        out[:, self._first : self._first + self._k] = back[:, None] & ~(combined.weight > 0.0).any(axis=2)
        return fused.flagged(out & np.isfinite(fused.value), Flag.SUSPECT, Reason.TIMING)

    def _judge(
        self,
        readings: Readings,
        combined: Combined,
        suspect: NDArray[np.bool_] | None,
        flag: NDArray[np.uint8],
        reason: NDArray[np.uint32],
    ) -> None:
        """Judge the outputs that are there, in their (n, k) flags and reasons, which are PASS without one."""
        for where, because in ((combined.disputed, Reason.CONSISTENCY), (combined.refused, Reason.INNOVATION)):
            if where is not None and len((cells := np.divmod(np.flatnonzero(where), self._k))[0]):
                flag[cells] = _SUSPECT
                reason[cells] |= np.uint32(because)
        if combined.outvoted is not None:
            reason[combined.outvoted.any(axis=2)] |= np.uint32(Reason.CONSISTENCY)
        if suspect is not None and self._plain:
            row, column = np.divmod(np.flatnonzero(suspect), self._k)
            counted = combined.weight[row, column, 0] > 0.0
            cells = row[counted], column[counted]
            flag[cells] = _SUSPECT
            reason[cells] |= readings.reason[:, self._span][cells]
        elif suspect is not None:
            rows = np.unique(np.flatnonzero(suspect) // suspect[0].size)
            counted, suspect = combined.weight[rows] > 0.0, suspect[rows]
            all_suspect = counted.any(axis=2) & ~(counted & ~suspect).any(axis=2)
            why = np.where(counted & suspect, self._of_inputs(readings.reason[rows]), np.uint32(0))
            flag[rows] = np.where(all_suspect, np.uint8(Flag.SUSPECT), flag[rows])
            reason[rows] |= np.where(all_suspect, np.bitwise_or.reduce(why, axis=2), np.uint32(0))

    def flush(self) -> Readings:
        """What the smoother holds back."""
        return Readings.empty(self.schema) if self._lag is None else self._lag.flush()

    def state(self) -> bytes:
        """Clock, ages, the combiners, and the rows held back."""
        combiners = [each.combiner.state() for each in self._combiners]
        lag = b"" if self._lag is None else self._lag.state()
        return msgspec.msgpack.encode(_State(pack_arrays(self._clock, self._age), combiners, lag))

    def restore(self, state: bytes) -> None:
        """Remember them."""
        saved = msgspec.msgpack.decode(state, type=_State)
        if len(saved.combiners) != len(self._combiners) or bool(saved.lag) != (self._lag is not None):
            raise ValueError("a state of another way of fusing")
        self._clock, self._age = unpack_arrays(saved.clock, self._clock, self._age)
        for each, remembered in zip(self._combiners, saved.combiners, strict=True):
            each.combiner.restore(remembered)
        if self._lag is not None:
            self._lag.restore(saved.lag)


class _State(msgspec.Struct, frozen=True, array_like=True):
    clock: bytes
    combiners: list[bytes]
    lag: bytes


class _Whole:
    """What several combiners say, put together."""

    def __init__(self, n: int, k: int, m: int) -> None:
        value, var, innovation, nis, own = np.full((5, n, k), np.nan)
        disputed, refused = np.zeros((2, n, k), np.bool_)
        outvoted, walk = np.zeros((n, k, m), np.bool_), (own, np.zeros((n, k)))
        self.combined = Combined(value, var, innovation, nis, np.zeros((n, k, m)), disputed, refused, outvoted, walk)

    def put(self, which: NDArray[np.intp], part: Combined) -> None:
        """Take the columns of one combiner."""
        whole = self.combined
        for name in ("value", "var", "innovation", "nis", "disputed", "refused"):
            if (columns := getattr(part, name)) is not None:
                getattr(whole, name)[:, which] = columns
        whole.weight[:, which, : part.weight.shape[2]] = part.weight
        if part.outvoted is not None and whole.outvoted is not None:
            whole.outvoted[:, which, : part.outvoted.shape[2]] = part.outvoted
        if part.walk is not None and whole.walk is not None:
            whole.walk[0][:, which], whole.walk[1][:, which] = part.walk


def _channels(schema: Schema, outputs: tuple[FuseOutput, ...], *, details: bool) -> list[Channel]:
    """What the outputs are called: all of them, then their innovations, NIS and weights."""
    units = {channel.name: channel.unit for channel in schema.channels}
    named = [(output.name, units[output.inputs[0]]) for output in outputs]
    added = [Channel(name=name, unit=unit) for name, unit in named]
    if details:
        added += [Channel(name=f"{name}.innovation", unit=unit) for name, unit in named]
        added += [Channel(name=f"{name}.nis") for name, _ in named]
        added += [Channel(name=f"{o.name}.weight.{name}") for o in outputs for name in o.inputs]
    return added
