"""Sensor fault or process anomaly? On simulated scenarios, magnitudes and seeds that no rule or weight has seen.

A detector and a judge are fitted to a clean run of each device. Then trouble comes, one at a time: faults of sensors,
drawn as the simulators draw them, and anomalies of the process. Whatever raises an alarm at the stated rate is judged,
when it begins and when it is reviewed; what would have raised one at that time with nothing wrong (the same world
without trouble tells) is a false alarm, and nobody's trouble. Trouble that raises no alarm counts as not seen.

Weights are learnt (`learnt`) from other seeds, and for each scenario from the other five alone.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trueline_model.alarm import Alarm, events_of, fit_alarm
from trueline_model.conformal import calibrate
from trueline_model.detector import out_of_fold, score_series
from trueline_model.detectors import Innovation
from trueline_model.series import make_series
from trueline_model.verdict import EVIDENCE, FAR, SIGNS, Weights, fit_judge
from trueline_sim.faults.draw import RANGES
from trueline_sim.faults.fault import VALUE_KINDS, Fault
from trueline_sim.truth import SCENARIOS
from trueline_sim.truth.scenario import ProcessAnomaly
from trueline_sim.world import START_NS, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from trueline_model.verdict import Judge, Verdict
    from trueline_sim.truth.scenario import Scenario

TRAIN, SLOT, SLOTS, DEVICES = 10_000, 900, 12, 3
LASTS = 450
RATE_ROWS = 4000.0
"""Rows in which one false alarm may come: the rarest that the training part supports."""
DETECTOR = Innovation(smoothing=0.02, joint=True, mean_rows=5, scaling="standard")
SENSOR, PROCESS = "sensor fault", "process anomaly"
LEARNT_FROM = (22, 23, 25, 26)
_NEAR = 10


class Trouble(NamedTuple):
    """One trouble, in rows of the test part."""

    what: str
    kind: str
    channel: int
    start: int
    stop: int


class Told(NamedTuple):
    """What was known and said of a trouble that raised an alarm; of one that did not, `known` is None."""

    scenario: str
    trouble: Trouble
    known: NDArray[np.float64] | None = None
    sure: str = ""
    judge: Judge | None = None
    rows: NDArray[np.float64] | None = None
    begun: int = 0


def told(seed: int, redundancy: int) -> Iterator[Told]:
    """All troubles of all scenarios."""
    for name, scenario in SCENARIOS.items():
        asked = {"devices": DEVICES, "seed": seed, "redundancy": redundancy}
        clean = World(scenario, steps=TRAIN + SLOT * SLOTS, faults=0, anomalies=False, **asked)
        faults, anomalies, troubles = _plan(scenario, len(clean.channels), seed)
        dirty = World(scenario, steps=TRAIN + SLOT * SLOTS, faults=faults, anomalies=anomalies, **asked)
        quiet, loud = (np.concatenate([block.raw for block in world]) for world in (clean, dirty))
        for device in range(DEVICES):
            yield from _told(name, quiet[:, device], loud[:, device], troubles[device], scenario.interval_s)


def _told(
    name: str, quiet: NDArray[np.float64], loud: NDArray[np.float64], troubles: list[Trouble], interval_s: float
) -> Iterator[Told]:
    normal = make_series(quiet[:TRAIN], interval_s=interval_s)
    scores = out_of_fold(DETECTOR, [normal])
    made, detector = calibrate(scores), DETECTOR.fit([normal])
    # No adaptation: here trouble comes far more often than the rate, and would teach the threshold.
    alarm = Alarm(events=1.0, per_s=RATE_ROWS * interval_s, separation_s=10.0 * interval_s, adapt=0.0)
    alarming = fit_alarm(alarm, [(normal.time_ns, made.surprise(scores))])
    raised = []
    for rows in (quiet, loud):
        series = make_series(rows[TRAIN:], interval_s=interval_s)
        raised.append(events_of(alarming(series.time_ns, made.surprise(score_series(detector, series).score))))
    anyway, events = raised
    judge = fit_judge([normal])
    for trouble in troubles:
        found = [
            event
            for event in events
            if trouble.start <= event.start < trouble.stop + 5
            and not any(each.start - _NEAR <= event.start <= each.stop for each in anyway)
        ]
        if not found:
            yield Told(name, trouble)
            continue
        begun = judge.rows
        first = TRAIN + found[0].start - begun
        rows = loud[first : first + begun + min(found[0].stop - found[0].start, judge.rows)]
        known = judge.evidence(rows, np.isfinite(rows), begun)
        sure = SENSOR if known.gone or known.swapped else PROCESS if known.others >= FAR else ""
        yield Told(name, trouble, known.weighed, sure, judge, rows, begun)


def _plan(
    scenario: Scenario, channels: int, seed: int
) -> tuple[list[Fault], list[ProcessAnomaly], list[list[Trouble]]]:
    """One trouble in each slot of each device, with time before and after; half of them faults of sensors."""
    rng = np.random.default_rng(seed)
    weights = np.array([RANGES[kind].weight for kind in VALUE_KINDS])
    faults: list[Fault] = []
    anomalies: list[ProcessAnomaly] = []
    troubles: list[list[Trouble]] = [[] for _ in range(DEVICES)]
    for device, slot in np.ndindex(DEVICES, SLOTS):
        first = SLOT * slot + int(rng.integers(250, 350))
        if rng.random() < 0.5:
            kind, rows = str(rng.choice(scenario.anomalies)), min(int(rng.integers(150, 700)), LASTS)
            begin, end = _time(scenario, first), _time(scenario, first + rows)
            anomalies.append(ProcessAnomaly(kind, device, begin, end, float(rng.random())))
            troubles[device].append(Trouble(PROCESS, kind, -1, first, first + rows))
            continue
        kind = str(rng.choice(list(VALUE_KINDS), p=weights / weights.sum()))
        drawn = RANGES[kind]
        full = round(_log_uniform(rng, *drawn.steps))
        rows = min(full, LASTS)
        size = _log_uniform(rng, *drawn.magnitude) * (-1.0 if drawn.signed and rng.random() < 0.5 else 1.0)
        size *= rows / full if kind == "drift" else 1.0  # as steep as drawn
        own = [int(each) for each in rng.permutation(channels)[: 2 if kind == "swapped_channels" else 1]]
        begin, end = _time(scenario, first), _time(scenario, first + rows)
        for channel, other in zip(own, reversed(own), strict=True):
            magnitude = float(other) if kind == "swapped_channels" else size
            faults.append(Fault(kind, device, channel, begin, end, magnitude))
        troubles[device].append(Trouble(SENSOR, kind, own[0], first, first + rows))
    return faults, anomalies, troubles


def _time(scenario: Scenario, row: int) -> int:
    return START_NS + round((TRAIN + row) * scenario.interval_s * 1e9)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low if low >= high else float(np.exp(rng.uniform(np.log(low), np.log(high))))


def learnt(each: Sequence[Told], ridge: float = 0.003) -> Weights:
    """Logistic regression with signs that are known beforehand, both classes of equal weight.

    What is sure is left out, and so are swapped channels, which are two sensors at fault and have a rule of their own.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - wanted where weights are learnt

    seen = [one for one in each if one.known is not None]
    truth = np.array([one.trouble.what == SENSOR for one in seen])
    used = np.array([not one.sure and one.trouble.kind != "swapped_channels" for one in seen])
    share = np.where(truth, 0.5 / truth.mean(), 0.5 / (~truth).mean())[used] / len(truth)
    known, target = np.array([one.known for one in seen])[used], truth[used].astype(float)
    mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-9
    z = (known - mean) / spread

    def cost(guess: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = guess[0] + z @ guess[1:]
        miss = share * (1.0 / (1.0 + np.exp(-logit)) - target)
        loss = np.sum(share * (np.logaddexp(0.0, logit) - target * logit)) + 0.5 * ridge * np.sum(guess[1:] ** 2)
        return float(loss), np.concatenate([[miss.sum()], z.T @ miss + ridge * guess[1:]])

    bounds = [(None, None), *((0.0, None) if sign > 0 else (None, 0.0) for sign in SIGNS)]
    guess = minimize(cost, np.zeros(len(EVIDENCE) + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    weights = guess[1:] / spread
    return Weights(float(guess[0] - mean @ weights), tuple(float(one) for one in weights))


def learnt_without(scenario: str, each: Sequence[Told]) -> Weights:
    """Weights that never saw a scenario; of all six where "" is given."""
    return learnt([one for one in each if one.scenario != scenario])


def judged(one: Told, weights: Weights, *, at_once: bool = False) -> Verdict | None:
    """The verdict on a trouble, reviewed or when its alarm begins; None where none was raised."""
    if one.judge is None or one.rows is None:
        return None
    rows = one.rows[: one.begun + 1] if at_once else one.rows
    return one.judge.verdict(rows, np.isfinite(rows), one.begun, weights)


def confusion(
    seeds: Sequence[int], redundancy: int, weights: dict[str, Weights]
) -> dict[str, Counter[tuple[str, str]]]:
    """(what it was, what was said): whose trouble, reviewed and at once; kinds, channel, and right by confidence."""
    out: dict[str, Counter[tuple[str, str]]] = {"reviewed": Counter(), "at once": Counter(), "kinds": Counter()}
    for seed in seeds:
        for one in told(seed, redundancy):
            trouble = one.trouble
            said = judged(one, weights[one.scenario])
            if said is None:
                out["reviewed"][trouble.what, "not seen"] += 1
                continue
            out["reviewed"][trouble.what, said.what] += 1
            early = judged(one, weights[one.scenario], at_once=True)
            out["at once"][trouble.what, early.what if early else ""] += 1
            if trouble.what == said.what == SENSOR:
                out["kinds"][trouble.kind, said.kind] += 1
                out.setdefault("channel", Counter())["right", str(trouble.channel == said.channel)] += 1
            bin_ = "above 0.9" if said.confidence > 0.9 else "0.7 to 0.9" if said.confidence > 0.7 else "below 0.7"
            out.setdefault("confidence", Counter())[bin_, str(trouble.what == said.what)] += 1
    return out


def verdicts(seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """With two sensors on each quantity and with one: balanced accuracy, and all that was counted."""
    known = [one for seed in LEARNT_FROM for redundancy in (1, 2) for one in told(seed, redundancy)]
    weights = {name: learnt_without(name, known) for name in SCENARIOS}
    out: dict[str, dict[str, Any]] = {}
    for redundancy in (2, 1):
        found = confusion(seeds, redundancy, weights)
        counts = {
            f"{name}: {was} said {said}": number
            for name, each in found.items()
            for (was, said), number in sorted(each.items())
        }
        figures = {
            "balanced_accuracy": balanced_accuracy(found["reviewed"]),
            "balanced_accuracy_at_once": balanced_accuracy(found["at once"]),
        }
        out[f"{redundancy} sensor(s) a quantity"] = {**figures, **counts}
    return out


def balanced_accuracy(said: Counter[tuple[str, str]]) -> float:
    """Mean over the two of the share rightly told, of those that raised an alarm."""
    shares = []
    for what, other in ((SENSOR, PROCESS), (PROCESS, SENSOR)):
        right, wrong = said[what, what], said[what, other]
        shares.append(right / max(right + wrong, 1))
    return float(np.mean(shares))
