"""Sensor fault or process anomaly? On simulated scenarios, with sensors in pairs, seeds and magnitudes never tuned on.

A judge is fitted to a clean run of each device. Then faults of sensors (drawn as the simulators draw them) and
anomalies of the process (a kind, a length and a magnitude drawn) come; each is judged where it is strangest soon after
it is first stranger than nearly all of normal running (`VISIBLE_DECADES`) in its first `LOOK_ROWS` rows; those that
never are count as not seen. Labels that overlap another are left out: nobody knows which of the two was seen.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_model.conformal import calibrate
from trueline_model.series import make_series
from trueline_model.verdict import fit_judge
from trueline_sim.truth import SCENARIOS
from trueline_sim.truth.scenario import ProcessAnomaly
from trueline_sim.world import START_NS, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_sim.truth.scenario import Scenario

STEPS, TRAIN, DEVICES = 12_000, 5_000, 3
LOOK_ROWS = 400
VISIBLE_DECADES = 4.0
SENSOR, PROCESS = "sensor fault", "process anomaly"


class Label(NamedTuple):
    """One trouble, in rows of the test part."""

    what: str
    kind: str
    channel: int
    start: int
    stop: int


def confusion(seed: int, redundancy: int) -> Counter[tuple[str, str]]:
    """(what it was, what was said) of all troubles of all scenarios; "not seen" where nothing was strange."""
    said: Counter[tuple[str, str]] = Counter()
    for scenario in SCENARIOS.values():
        clean = World(
            scenario, devices=DEVICES, seed=seed, steps=STEPS, redundancy=redundancy, faults=0, anomalies=False
        )
        dirty = World(
            scenario,
            devices=DEVICES,
            seed=seed,
            steps=STEPS,
            redundancy=redundancy,
            faults=20.0,
            anomalies=_anomalies(scenario, seed),
        )
        before = np.concatenate([block.raw for block in clean])
        after = np.concatenate([block.raw for block in dirty])
        for device in range(DEVICES):
            said.update(_judged(before[:TRAIN, device], after[TRAIN:, device], list(_labels(dirty, device))))
    return said


def _anomalies(scenario: Scenario, seed: int) -> list[ProcessAnomaly]:
    rng = np.random.default_rng(seed)
    out = []
    for device in range(DEVICES):
        for start in range(TRAIN + 200, STEPS - 1300, 1300):
            first = start + int(rng.integers(0, 300))
            stop = first + int(rng.integers(150, 700))
            times = [START_NS + round(row * scenario.interval_s * 1e9) for row in (first, stop)]
            kind = str(rng.choice(scenario.anomalies))
            out.append(ProcessAnomaly(kind, device, times[0], times[1], float(rng.random())))
    return out


def _labels(world: World, device: int) -> Iterator[Label]:
    def row(time_ns: int) -> int:
        return round((time_ns - world.grid.start_ns) / 1e9 / world.grid.interval_s) - TRAIN

    for fault in world.faults:
        if fault.device == device and fault.channel >= 0:
            yield Label(SENSOR, fault.kind, fault.channel, row(fault.start_ns), row(fault.end_ns))
    for anomaly in world.anomalies:
        if anomaly.device == device:
            yield Label(PROCESS, anomaly.kind, -1, row(anomaly.start_ns), row(anomaly.end_ns))


def _judged(clean: np.ndarray, dirty: np.ndarray, labels: list[Label]) -> Iterator[tuple[str, str]]:
    judge = fit_judge([make_series(clean)])
    normal = judge.strangeness(make_series(clean))
    series = make_series(dirty)
    surprise = calibrate(normal).surprise(judge.strangeness(series))
    for label in labels:
        stop = min(label.stop, label.start + LOOK_ROWS, len(dirty))
        if label.start < 2 * judge.rows or stop <= label.start:
            continue
        if any(o is not label and o.start < stop and o.stop > label.start - 2 * judge.rows for o in labels):
            continue
        seen = np.flatnonzero(surprise[label.start : stop] > VISIBLE_DECADES)
        if not len(seen):
            yield label.what, "not seen"
            continue
        first = label.start + int(seen[0])
        end = first + int(np.argmax(surprise[first : min(first + judge.rows // 2, stop)])) + 1
        rows = slice(end - 2 * judge.rows, end)
        yield label.what, judge.verdict(series.value[rows], series.valid[rows]).what


def balanced_accuracy(said: Counter[tuple[str, str]]) -> float:
    """Mean over the two of the share rightly told, of those seen."""
    shares = []
    for what, other in ((SENSOR, PROCESS), (PROCESS, SENSOR)):
        right, wrong = said[what, what], said[what, other]
        shares.append(right / max(right + wrong, 1))
    return float(np.mean(shares))
