"""Corrected readings with their standard uncertainty, for a batch of rows: the part that runs on the device.

Promises: NumPy alone, or its compiled twin where there is one; channels whose functions have the same terms are
evaluated together, so that eight cost little more than one; every operation is element by element, so where a batch is
cut changes no bit. The standard uncertainty is the GUM's law of propagation (JCGM 100:2008, 5.1.2) over noise,
resolution, inputs, parameters, model and drift:

    u^2 = max(noise^2, (dy/dx u_x)^2) + (dy/dx resolution)^2 / 12 + f' C f + model^2 + (relative y)^2 + drift^2 days

widened, outside the range and beyond the validity, by 1 + 2 d, where d is the distance from the range in half widths
of it, or the time beyond the validity as a part of the validity. Days count in steps of 1/64. Refuses to know files,
schemas and flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_edge.calibration.compiled import EVER, compiled
from trueline_edge.calibration.linear import LinearCurves
from trueline_edge.calibration.models import Table
from trueline_edge.calibration.table import TableCurve
from trueline_edge.calibration.task import TINY, ranges_of, rows_for, tile32, tile64, to_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_edge.calibration.task import Curve, Task

    F64 = NDArray[np.float64]
    F32 = NDArray[np.float32]
    I64 = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Corrected", "Corrector", "Unlagged"]

_STEP_NS: Final = 86_400_000_000_000 // 64
_STEP_D: Final = np.float32(1 / 64)
_WIDEN_MAX: Final = np.float32(1000.0)


class Unlagged(NamedTuple):
    """Raw readings whose lag has been undone, (n, k) each; as they came in columns without lag."""

    value: F64
    u: F32
    u_lag: F32
    """Standard uncertainty of `value` from that of the time constant; 0 in columns without lag."""


class Corrected(NamedTuple):
    """What came out."""

    value: F64
    """(n, k); columns without a task as they came."""
    u: F32
    """(n, k) standard uncertainty."""
    doubtful: Mask | None
    """(n, k) outside a range, beyond a validity, or an input missing; None where there is none."""


class Corrector:
    """Corrects some channels of a stream, and leaves the others.

    Args:
        tasks: one for each channel to correct; no column twice.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        groups: dict[object, list[Task]] = {}
        for position, task in enumerate(tasks):
            key = position if isinstance(task.calibration.model, Table) else _structure(task)
            groups.setdefault(key, []).append(task)
        fast = [compiled(members) for members in groups.values()]
        self._compiled = [sums for sums in fast if sums is not None]
        self._groups = [_Group(members) for members, sums in zip(groups.values(), fast, strict=True) if sums is None]

    def __call__(self, time_ns: I64, value: F64, u: F32, usable: Mask, unlagged: Unlagged | None = None) -> Corrected:
        """Correct a batch.

        Args:
            time_ns: (n,) UTC.
            value: (n, k) raw.
            u: (n, k) of `value`; NaN where unknown.
            usable: (n, k) false where a cell must not be used as an input of another.
            unlagged: what is to be corrected, where it is not `value` itself.
        """
        if not self._groups:
            return self._by_compiled(time_ns, value, u, usable, unlagged)
        with np.errstate(all="ignore"):
            if not self._compiled and len(self._groups) == 1 and self._groups[0].is_all(value.shape[1], len(value)):
                return self._groups[0](time_ns, value, u, usable, unlagged)
            corrected, spread, doubtful = self._by_compiled(time_ns, value, u, usable, unlagged)
            for group in self._groups:
                for start in range(0, len(value), group.rows):
                    rows = slice(start, start + group.rows)
                    past = unlagged and Unlagged(unlagged.value[rows], unlagged.u[rows], unlagged.u_lag[rows])
                    part = group(time_ns[rows], value[rows], u[rows], usable[rows], past)
                    corrected[rows, group.columns] = part.value
                    spread[rows, group.columns] = part.u
                    if part.doubtful is not None:
                        doubtful = np.zeros(value.shape, np.bool_) if doubtful is None else doubtful
                        doubtful[rows, group.columns] = part.doubtful
            return Corrected(corrected, spread, doubtful)

    def _by_compiled(self, time_ns: I64, value: F64, u: F32, usable: Mask, unlagged: Unlagged | None) -> Corrected:
        """As many channels as are compiled; the others as they came."""
        corrected, spread = value.copy(), u.copy()
        if not self._compiled:
            return Corrected(corrected, spread, None)
        own, own_u, u_lag = (value, u, _NO_LAG) if unlagged is None else unlagged
        doubtful = np.zeros(value.shape, np.bool_)
        found = 0
        for sums in self._compiled:
            found |= sums(
                time_ns, own, own_u, value, u, usable.view(np.uint8), u_lag, corrected, spread, doubtful.view(np.uint8)
            )
        return Corrected(corrected, spread, doubtful if found else None)


_NO_LAG: Final = np.empty((0, 0), np.float32)


def _structure(task: Task) -> object:
    """What two tasks must share to be evaluated together: terms, with -1 for the own channel."""
    terms = task.linear.terms
    return tuple(tuple((factor.function, task.inputs.get(factor.name, -1)) for factor in term) for term in terms)


def _columns(columns: list[int]) -> slice | NDArray[np.intp]:
    """A slice where it can be one: five times faster to take and to put back."""
    first = columns[0]
    if columns == list(range(first, first + len(columns))):
        return slice(first, first + len(columns))
    return np.array(columns, np.intp)


class _Group:
    """Channels whose functions have the same terms; at most `rows` rows at once."""

    def __init__(self, members: list[Task]) -> None:
        calibrations = [task.calibration for task in members]
        first = calibrations[0]
        self.columns = _columns([task.column for task in members])
        self.rows = rows_for(len(members))
        self._leading = self.columns == slice(0, len(members))
        self._members = len(members)
        self._curve = TableCurve(first.model) if isinstance(first.model, Table) else LinearCurves(members)
        low, high = ranges_of(calibrations, [calibration.channel for calibration in calibrations])
        middle = np.zeros(len(members))
        np.add(low / 2, high / 2, out=middle, where=np.isfinite(high - low))
        self._middle = tile64(middle)
        self._per_half = tile32(2 / (high - low))
        parts = [calibration.u for calibration in calibrations]
        self._noise_2 = tile32(np.square([part.noise for part in parts]))
        self._step_2 = tile32(np.square([task.resolution for task in members]) / 12)
        self._drift_2 = tile32(np.square([part.drift for part in parts]))
        self._relative_2 = tile32(np.square([part.model_relative for part in parts]))
        self._drifts, self._relates = bool(self._drift_2.any()), bool(self._relative_2.any())
        self._base = tile32(np.square([part.model for part in parts]))
        constant = self._curve.constant_slope()
        self._steps = constant is None and bool(self._step_2.any())
        if constant is not None:
            self._base += np.square(constant) * self._step_2
        self._aged: tuple[int, F32] = (-1, self._base)
        self._date_ns = np.array([to_ns(calibration.date) for calibration in calibrations])
        self._one_date = bool((self._date_ns == self._date_ns[0]).all())
        self._from_ns = np.array([-EVER if c.valid_from is None else to_ns(c.valid_from) for c in calibrations])
        self._until_ns = np.array([EVER if c.valid_until is None else to_ns(c.valid_until) for c in calibrations])
        self._first_ns, self._last_ns = int(self._from_ns.max()), int(self._until_ns.min())

    def is_all(self, channels: int, rows: int) -> bool:
        """Are these the channels 0, 1, ... of a batch with so many, and not too many rows for one go?"""
        return rows <= self.rows and self._members == channels and self._leading

    def __call__(self, time_ns: I64, value: F64, u: F32, usable: Mask, unlagged: Unlagged | None) -> Corrected:
        own, own_u = (value, u) if unlagged is None else (unlagged.value, unlagged.u)
        if not self.is_all(value.shape[1], len(value)):
            own, own_u = np.ascontiguousarray(own[:, self.columns]), np.ascontiguousarray(own_u[:, self.columns])
        n = len(own)
        curve = self._curve(own, value, u, usable)
        spread = self._variance(curve, own_u, time_ns)
        if unlagged is not None:
            spread += np.square(curve.slope * unlagged.u_lag[:, self.columns])
        np.sqrt(spread, out=spread)
        finite = np.isfinite(curve.value)
        if not finite.all():
            spread[~finite] = np.nan
        distance = (own - self._middle[:n]).astype(np.float32)
        distance *= self._per_half[:n]
        np.abs(distance, out=distance)
        out = distance > 1
        untimely = n > 0 and bool(time_ns.min() < self._first_ns or time_ns.max() > self._last_ns)
        if curve.outside is None and not untimely and not out.any():
            return Corrected(curve.value, spread, None)
        total = np.where(out & np.isfinite(distance), distance - 1, np.float32(0))
        if curve.outside is not None:
            total += curve.outside
        if untimely:
            self._add_untimely(time_ns[:, None], total)
        spread *= np.minimum(1 + 2 * total, _WIDEN_MAX)
        return Corrected(curve.value, spread, total > 0)

    def _variance(self, curve: Curve, own_u: F32, time_ns: I64) -> F32:
        """(n, kg) the square of u, but for the lag and what is outside."""
        n = len(own_u)
        spread: F32 = curve.slope * own_u
        spread *= spread
        if curve.inputs is not None:
            unknown = np.isnan(spread)
            spread += curve.inputs
            if unknown.any():
                spread[unknown] = curve.inputs[unknown]
        np.fmax(spread, self._noise_2[:n], out=spread)
        spread += curve.variance
        spread += self._base_at(time_ns)
        if self._steps:
            spread += np.square(curve.slope) * self._step_2[:n]
        if self._relates:
            spread += self._relative_2[:n] * np.square(curve.value.astype(np.float32))
        return spread

    def _base_at(self, time_ns: I64) -> F32:
        """(n, kg) variance that depends on the time alone: model, resolution, drift since the date."""
        n = len(time_ns)
        if not self._drifts:
            return self._base[:n]
        steps = np.abs(time_ns - self._date_ns[0]) // _STEP_NS
        if self._one_date and n and (step := int(steps[0])) == int(steps[-1]) and (steps == step).all():
            if self._aged[0] != step:
                self._aged = (step, self._base + self._drift_2 * (np.float32(step) * _STEP_D))
            return self._aged[1][:n]
        if self._one_date:
            width = len(self._date_ns)
            days = np.repeat(steps.astype(np.float32) * _STEP_D, width).reshape(n, width)
        else:
            days = (np.abs(time_ns[:, None] - self._date_ns) // _STEP_NS).astype(np.float32) * _STEP_D
        days *= self._drift_2[:n]
        days += self._base[:n]
        return days

    def _add_untimely(self, time_ns: I64, total: F32) -> None:
        """Add the distance from the validity, in place: (n, 1) times, (n, kg) distances."""
        late = time_ns > self._until_ns
        span = np.maximum(self._until_ns - self._date_ns, _STEP_NS).astype(np.float64)
        total += np.where(late, (time_ns - self._until_ns) / span, 0.0).astype(np.float32)
        untimely = late | (time_ns < self._from_ns)
        np.maximum(total, np.where(untimely, TINY, np.float32(0)), out=total)
