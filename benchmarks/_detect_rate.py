"""Is the false alarm rate that was configured the one that comes?

Recordings without an anomaly are cut in three in time. The first part fits the detector, the second its p-values and
its threshold, the third is held back and counted. The rate is set so that `EXPECTED` events are expected in the third.
Negative control: the same with a fixed threshold.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from _detect_smd import read as smd
from _detect_wsn import read as wsn

from trueline_model.alarm import Alarm, fit_alarm
from trueline_model.conformal import calibrate
from trueline_model.detector import score_series
from trueline_model.series import Series, make_series
from trueline_sim.truth import SCENARIOS
from trueline_sim.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_model.detector import Recipe

EXPECTED = 15.0
FIRST, SECOND = 0.3, 0.6


class Kept(NamedTuple):
    """What came of it."""

    name: str
    expected: float
    adaptive: int
    fixed: int


def quiet_recordings(data: Path) -> list[tuple[str, Series]]:
    """Recordings without an anomaly: real ones of three sets, and simulated ones with memory, heavy tails and drift."""
    found = [(f"smd {case.name}, training part", case.train) for case in smd(data / "smd", 0)]
    for case in wsn(data / "wsn_single-hop", 0):
        if not case.label.any():
            both = np.concatenate([case.train.value, case.test.value])
            found.append((f"wsn {case.name}", make_series(both, interval_s=5.0, channels=case.train.channels)))
    with (data / "skab" / "anomaly-free" / "anomaly-free.csv").open() as text:
        rows = list(csv.reader(text, delimiter=";"))
    time_ns = np.array([row[0] for row in rows[1:]], "datetime64[ns]").astype(np.int64)
    value = np.array([[float(cell) for cell in row[1:9]] for row in rows[1:]])
    found.append(("skab anomaly-free", make_series(value, time_ns=time_ns, channels=rows[0][1:9])))
    return found + [simulated(seed) for seed in (5001, 5002, 5003)] + [place(name) for name in SCENARIOS]


def simulated(seed: int) -> tuple[str, Series]:
    """Six channels on two slow processes, with heavy-tailed noise; in the third the noise grows by half."""
    rng = np.random.default_rng(seed)
    rows = 20_000
    slow = np.cumsum(rng.normal(0.0, 0.02, (rows, 2)), axis=0)
    noise = rng.standard_t(4, (rows, 6)) * (1.0 + 0.5 * np.arange(rows)[:, None] / rows * (seed % 3 == 0))
    return f"simulated {seed}", make_series(slow @ rng.normal(size=(2, 6)) + noise, interval_s=1.0)


def place(name: str, seed: int = 5001) -> tuple[str, Series]:
    """A device of one of the simulators' scenarios, with nothing wrong: days, loads and doors, and all that drifts."""
    scenario = SCENARIOS[name]
    world = World(scenario, devices=1, seed=seed, steps=20_000, faults=0, anomalies=False)
    value = np.concatenate([block.raw[:, 0] for block in world])
    return f"simulated {name}", make_series(value, interval_s=scenario.interval_s)


def rate_kept(recipe: Recipe, series: Series, name: str) -> Kept:
    """Events in the held-back part, with the threshold adapting and fixed."""
    one, two = round(len(series) * FIRST), round(len(series) * SECOND)
    detector = recipe.fit([series[:one]])
    score = score_series(detector, series).score
    middle = (one + two) // 2
    surprise = calibrate(score[one:middle]).surprise(score)
    held_back_s = float(series.time_ns[-1] - series.time_ns[two]) / 1e9
    alarm = Alarm(events=EXPECTED, per_s=held_back_s, separation_s=10.0 * _step_s(series))
    alarming = fit_alarm(alarm, [(series.time_ns[one:two], surprise[one:two])])
    # The threshold learns on the second part too: its state goes on from there.
    early = alarming(series.time_ns[one:two], surprise[one:two])
    adaptive = alarming(series.time_ns[two:], surprise[two:], early.state)
    still = msgspec.structs.replace(alarm, adapt=0.0)
    fixed = type(alarming)(still, alarming.threshold, alarming.step_s)(series.time_ns[two:], surprise[two:])
    return Kept(name, EXPECTED, int(adaptive.begins.sum()), int(fixed.begins.sum()))


def _step_s(series: Series) -> float:
    return float(np.median(np.diff(series.time_ns))) / 1e9
