"""Alarms where normal running is too short to count them: by the detector's own model of what is normal.

Limits of a control chart have always been set so in its first days, with estimated parameters and their uncertainty
(Jensen, Jones-Farmer, Champ and Woodall, J. Quality Technology 38 (2006)). Promises: events of a long recording the
detector imagines come at the rate asked. Refuses to promise that the process keeps to that model: the rate is believed,
not counted, and `fit_alarm` is the better word as soon as there is enough to count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np

from trueline_model.alarm import Alarm, Alarming, fit_alarm
from trueline_model.conformal import Calibration, calibrate

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Believed", "Imagines", "believe"]

_ROWS = (20_000, 100_000)
_EVENTS = 10.0


@runtime_checkable
class Imagines(Protocol):
    """A detector that knows how its scores are distributed in normal running."""

    def imagined(self, rows: int, seed: int = 0) -> NDArray[np.float64]:
        """Scores (rows,) of normal running, as its model has it."""
        raise NotImplementedError


class Believed(NamedTuple):
    """What makes p-values of scores, and alarms of p-values."""

    calibration: Calibration
    alarming: Alarming


def believe(detector: Imagines, alarm: Alarm, interval_s: float, seed: int = 0) -> Believed:
    """P-values and the threshold for a rate, from what the detector holds for normal.

    Args:
        detector: one that imagines.
        alarm: what is asked; where even an imagined recording would be too long, the tail goes on.
        interval_s: between rows, above 0.
        seed: of what is imagined.
    """
    rows = int(np.clip(_EVENTS / (alarm.rate_hz * interval_s), *_ROWS))
    score = detector.imagined(rows, seed)
    made = calibrate(score)
    time_ns = np.round(np.arange(rows) * interval_s * 1e9).astype(np.int64)
    needed = 1.0 + _EVENTS / (alarm.rate_hz * interval_s * rows)
    fitted = fit_alarm(msgspec.structs.replace(alarm, extrapolate=needed), [(time_ns, made.surprise(score))])
    return Believed(made, Alarming(alarm, fitted.threshold, fitted.step_s))
