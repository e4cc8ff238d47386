"""Alarms of a detector on what follows a short training part, at the lowest rate that part supports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trueline_model.alarm import Alarm, fit_alarm
from trueline_model.conformal import calibrate
from trueline_model.detector import out_of_fold

if TYPE_CHECKING:
    from _detect_case import Case
    from numpy.typing import NDArray

    from trueline_model.alarm import Alarmed
    from trueline_model.detector import Recipe

TRAINING_EVENTS = 2.0
SEPARATION_ROWS = 50


def watched(recipe: Recipe, case: Case, late: NDArray[np.float64], seed: int) -> tuple[Alarmed, NDArray[np.float64]]:
    """Alarms on the test part at the lowest rate the training part supports, and how far above the threshold rows are.

    An event speaks once, and again only where it gets stranger; all other rows are at minus infinity.
    """
    early = out_of_fold(recipe, [case.train], seed=seed)
    made = calibrate(early)
    steps_s = np.diff(case.train.time_ns) / 1e9
    training_s = float(np.minimum(steps_s, 10.0 * np.median(steps_s)).sum())  # a gap is no time of watching
    alarm = Alarm(events=TRAINING_EVENTS, per_s=training_s, separation_s=SEPARATION_ROWS * training_s / len(case.train))
    alarming = fit_alarm(alarm, [(case.train.time_ns, made.surprise(early))])
    surprise = made.surprise(late)
    alarmed = alarming(case.test.time_ns, surprise)
    margin = surprise - np.concatenate([[alarming.threshold], alarmed.threshold[:-1]])
    onset, highest = np.full(len(late), -np.inf), -np.inf
    for i in np.flatnonzero(alarmed.alarm & np.isfinite(margin)):
        if alarmed.begins[i] or margin[i] > highest:
            onset[i] = highest = margin[i]
    return alarmed, onset
