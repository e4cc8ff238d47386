"""Draw what goes wrong: faults of sensors and devices, and anomalies of the process, from ranges that are written down.

Promises: seeded; a channel has one fault at a time, and a device one fault of its rows at a time, so that a label says
all there is to say about a cell's sensor. Refuses to know what the pipeline can detect: the ranges are wide on purpose,
from a whisper to a shout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trueline_sim.faults.fault import ALL_CHANNELS, ROW_KINDS, Fault
from trueline_sim.randomness import stream
from trueline_sim.truth.scenario import ProcessAnomaly

if TYPE_CHECKING:
    import numpy as np

    from trueline_sim.block import Grid
    from trueline_sim.truth.scenario import Scenario

__all__ = ["ANOMALIES_PER_DEVICE", "ANOMALY_SHARE", "RANGES", "KindRange", "draw_anomalies", "draw_faults"]

ANOMALIES_PER_DEVICE: Final = 0.5
"""Anomalies of the process drawn for each device and run, on average."""
ANOMALY_SHARE: Final = (0.03, 0.3)
"""How much of the run an anomaly lasts, log-uniform."""
ANOMALY_STEPS_MIN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRange:
    """What a kind of fault is drawn from.

    Attributes:
        weight: how often, beside the other kinds.
        steps: shortest and longest duration in readings, log-uniform.
        magnitude: smallest and largest, log-uniform, in the terms of the kind; (0, 0): it has none.
        signed: the magnitude is as often negative.
        of_interval: the magnitude is a multiple of the interval between readings.
        whole: the magnitude is a whole number.
    """

    weight: float
    steps: tuple[float, float]
    magnitude: tuple[float, float] = (0.0, 0.0)
    signed: bool = False
    of_interval: bool = False
    whole: bool = False


RANGES: Final[dict[str, KindRange]] = {
    "stuck": KindRange(weight=1.0, steps=(10, 1000)),
    "spike": KindRange(weight=4.0, steps=(1, 1), magnitude=(5, 100), signed=True),
    "burst": KindRange(weight=1.0, steps=(5, 60), magnitude=(3, 50)),
    "bias_step": KindRange(weight=1.0, steps=(30, 2000), magnitude=(2, 40), signed=True),
    "drift": KindRange(weight=1.0, steps=(200, 5000), magnitude=(3, 40), signed=True),
    "gain_change": KindRange(weight=0.5, steps=(50, 2000), magnitude=(0.2, 4)),
    "noise_increase": KindRange(weight=1.0, steps=(30, 2000), magnitude=(1, 20)),
    "saturation": KindRange(weight=0.5, steps=(30, 1000), magnitude=(0.5, 10)),
    "nan_run": KindRange(weight=1.0, steps=(1, 300)),
    "unit_flip": KindRange(weight=0.5, steps=(10, 1000)),
    "swapped_channels": KindRange(weight=0.3, steps=(10, 1000)),
    "drop_out": KindRange(weight=1.0, steps=(1, 1000)),
    "duplicate": KindRange(weight=0.5, steps=(1, 100), magnitude=(1, 3), whole=True),
    "reorder": KindRange(weight=0.5, steps=(4, 100), magnitude=(1, 1)),
    "clock_step": KindRange(weight=0.5, steps=(10, 1000), magnitude=(0.3, 300), signed=True, of_interval=True),
    "clock_skew": KindRange(weight=0.5, steps=(200, 5000), magnitude=(20, 2000), signed=True),
    "jitter": KindRange(weight=0.5, steps=(50, 2000), magnitude=(0.01, 0.4), of_interval=True),
    "boot_1970": KindRange(weight=0.3, steps=(5, 300), magnitude=(0.5, 60)),
}
"""What faults are drawn from. Durations are in readings, so that a slow and a fast scenario are broken alike."""


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low if low >= high else math.exp(rng.uniform(math.log(low), math.log(high)))


def draw_faults(*, channels: int, devices: int, grid: Grid, seed: int, per_10000_rows: float = 10.0) -> list[Fault]:
    """A schedule of faults, in order of their start.

    Args:
        channels: of each device.
        devices: how many.
        grid: the run.
        seed: of the world.
        per_10000_rows: faults for each 10,000 rows of a device, on average (every 10 s: 8,640 rows a day).
    """
    rng = stream(seed, "faults", "schedule")
    kinds = [kind for kind in RANGES if channels > 1 or kind != "swapped_channels"]
    weights = [RANGES[kind].weight for kind in kinds]
    counts = rng.poisson(per_10000_rows * grid.steps / 10_000, devices)
    drawn = []
    for device in range(devices):
        busy: dict[int, list[tuple[int, int]]] = {}
        for kind in rng.choice(kinds, counts[device], p=[weight / sum(weights) for weight in weights]):
            drawn += _place(str(kind), device, channels, grid, rng, busy)
    return sorted(drawn, key=lambda fault: (fault.start_ns, fault.device, fault.channel))


def _place(
    kind: str, device: int, channels: int, grid: Grid, rng: np.random.Generator, busy: dict[int, list[tuple[int, int]]]
) -> list[Fault]:
    """A fault at a free place, or none where something else is the matter already."""
    drawn_from = RANGES[kind]
    length = round(_log_uniform(rng, *drawn_from.steps))
    first = int(rng.integers(0, grid.steps))
    magnitude = _log_uniform(rng, *drawn_from.magnitude)
    magnitude *= -1.0 if drawn_from.signed and rng.random() < 0.5 else 1.0  # noqa: PLR2004 - one in two
    if drawn_from.of_interval:
        magnitude *= grid.interval_s
    if drawn_from.whole:
        magnitude = float(round(magnitude))
    touched = [int(channel) for channel in rng.permutation(channels)[: 2 if kind == "swapped_channels" else 1]]
    places = [ALL_CHANNELS] if kind in ROW_KINDS else touched
    last = min(first + length, grid.steps)
    if any(first <= end and start <= last for place in places for start, end in busy.get(place, ())):
        return []
    for place in places:
        busy.setdefault(place, []).append((first, last))
    start_ns, end_ns = grid.time_ns(first), grid.time_ns(last)
    if kind == "swapped_channels":
        pairs = zip(touched, reversed(touched), strict=True)
        return [Fault(kind, device, channel, start_ns, end_ns, float(other)) for channel, other in pairs]
    return [Fault(kind, device, places[0], start_ns, end_ns, magnitude)]


def draw_anomalies(scenario: Scenario, *, devices: int, grid: Grid, seed: int) -> list[ProcessAnomaly]:
    """What goes wrong with the process itself, in order of its start; it acts in the truth.

    Args:
        scenario: knows the kinds.
        devices: how many.
        grid: the run.
        seed: of the world.
    """
    if not scenario.anomalies or grid.steps < ANOMALY_STEPS_MIN:
        return []
    rng = stream(seed, "anomalies", "schedule")
    drawn = []
    for device, count in enumerate(rng.poisson(ANOMALIES_PER_DEVICE, devices)):
        free_from = 0
        for _ in range(count):
            length = max(round(_log_uniform(rng, *ANOMALY_SHARE) * grid.steps), 1)
            first = int(rng.integers(free_from, grid.steps)) if free_from < grid.steps else grid.steps
            kind = str(rng.choice(scenario.anomalies))
            magnitude = float(rng.random())
            last = min(first + length, grid.steps)
            if first < last:
                drawn.append(ProcessAnomaly(kind, device, grid.time_ns(first), grid.time_ns(last), magnitude))
            free_from = last + 1
    return sorted(drawn, key=lambda anomaly: (anomaly.start_ns, anomaly.device))
