"""Undoing the play of sensors behind the rest of their calibration: what the stage sees of `estimation.play`.

    x = y + E(d)    u^2 = u_y^2 + Var(d)    d: where the quantity x lies within the play, y: the reading, calibrated

Sensors of one kind on one quantity hang at the same end of their play: of d no mean gets rid. Promises: cells that may
not be used teach nothing, and are corrected like the others. Refuses to know files and flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from trueline_edge.estimation.kernels import elapsed_s
from trueline_edge.estimation.play import play_fresh, undo_play

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_edge.calibration.cut import Uncut
    from trueline_edge.calibration.task import Task

    F64 = NDArray[np.float64]
    F32 = NDArray[np.float32]

__all__ = ["PlayInverter"]

_QUICK: Final = 0.3
_SLOW: Final = 0.05
"""Of the variance of 1/f noise over some thousand readings: what comes and goes from reading to reading, and what its
walk gains with each (its octaves hold the same variance each: Keshner, "1/f noise", Proc. IEEE 70(3), 1982)."""


class PlayInverter:
    """The plays of some channels of a stream.

    Args:
        tasks: of the channels; each calibration has a play.
        resolutions: of their corrected values.
    """

    def __init__(self, tasks: Sequence[Task], resolutions: Sequence[float]) -> None:
        calibrations = [task.calibration for task in tasks]
        parts = np.array([(c.u.noise, c.u.model, step) for c, step in zip(calibrations, resolutions, strict=True)])
        noise, slow, step = np.square(parts).T
        self._columns = np.array([task.column for task in tasks])
        self._half = np.array([c.play.half_width for c in calibrations if c.play is not None])
        self._noise, self._wander = noise + step / 12.0 + _QUICK * slow, _SLOW * slow
        self._last_ns: int | None = None
        self._state = play_fresh(len(tasks))

    def __call__(
        self, time_ns: NDArray[np.int64], value: F64, u: F32, usable: NDArray[np.bool_], uncut: Uncut | None = None
    ) -> tuple[F64, F32]:
        """Values (n, k) of the quantities instead of what the sensors show, and their standard uncertainties.

        Args:
            time_ns: (n,) UTC.
            value: (n, k) what the sensors show, calibrated.
            u: (n, k) standard uncertainty of it.
            usable: (n, k) false where a cell teaches nothing.
            uncut: where something was cut off; None: nowhere.
        """
        at = self._columns
        shown = np.where(usable[:, at], value[:, at], np.nan)
        dt_s, self._last_ns = elapsed_s(self._last_ns, time_ns)
        noise = self._noise if uncut is None else self._noise + uncut.var[:, at]
        d, self._state = undo_play(self._state, dt_s, shown, self._half, noise, self._wander)
        value, u = value.copy(), u.copy()
        value[:, at] += d.offset
        var = np.square(u[:, at]) + d.var
        if uncut is not None:  # the quantity lies between what is seen of it and its limit
            seen, limit = uncut.end[:, at] + d.offset, uncut.limit[:, at]
            cut = np.isfinite(seen)
            ahead = np.where((limit - seen) * (limit - uncut.value[:, at]) > 0.0, limit - seen, 0.0)
            value[:, at] = np.where(cut, seen + ahead / 2.0, value[:, at])
            var = np.where(cut, var - uncut.var[:, at] - 0.75 * d.var + ahead**2 / 12.0, var)
        u[:, at] = np.sqrt(var)
        return value, u

    def state(self) -> bytes:
        """The time of the last row, and each play."""
        return msgspec.msgpack.encode((self._last_ns, self._state.tobytes()))

    def restore(self, state: bytes) -> None:
        """Remember them."""
        last_ns, plays = msgspec.msgpack.decode(state, type=tuple[int | None, bytes])
        if len(plays) != self._state.nbytes:
            raise ValueError(f"a state of {len(plays)} bytes of plays, not {self._state.nbytes}")
        self._last_ns, self._state = last_ns, np.frombuffer(plays, np.float64).reshape(self._state.shape).copy()
