"""What goes wrong at the demo's pumps, and when: by a schedule anyone can read, so that what is found can be counted.

Promises: every pump has its episodes one after the other, by turns a fault of one sensor and an anomaly of the process,
with time between them in which all is well; the same devices and seconds give the same schedule. Each is plain to see:
the demo shows what an event looks like, and how faint a one can be found is for `benchmarks/detect.py` to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

__all__ = ["Injection", "injections"]

FIRST_S: Final = 4.0
LASTS_S: Final = 3.0
EVERY_S: Final = 45.0
_SHORT: Final = 0.45
"""In a run shorter than a few of `EVERY_S`, the next one comes after this share of it."""
_AFTER_S: Final = 2.0
"""What is left of the run behind the last one, at least: time to be told."""

_FAULTS: Final = (
    ("bias_step", "flow", 8.0),
    ("noise_increase", "pressure", 1.0),
    ("bias_step", "pressure", -2.0),
    ("noise_increase", "flow", 4.0),
)
"""Kind, sensor, and magnitude in the sensor's stated uncertainty. Not among them: what a reading's own flag tells
better (stuck, out of range, missing), which the rooms have."""

_ANOMALIES: Final = (("cavitation", 0.7), ("valve_closing", 0.8))
"""Kind, and magnitude as the scenario means it. No leak: it empties the tank, and no one fills it again. Cavitation
comes first: the flow is right again as soon as it is over, and short runs have little time between two episodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One thing that goes wrong.

    Attributes:
        device: number of the pump.
        kind: as the simulators name it.
        channel: whose sensor is at fault; "" for the process.
        magnitude: in the terms of the kind.
        start_s: after the first reading.
        end_s: after the first reading.
    """

    device: int
    kind: str
    channel: str
    magnitude: float
    start_s: float
    end_s: float


def injections(devices: int, seconds: float) -> list[Injection]:
    """Everything that goes wrong in a run, in order of time; nothing in one too short to see anything end.

    Args:
        devices: how many pumps.
        seconds: how long they measure.
    """
    every_s = min(EVERY_S, _SHORT * seconds)
    apart_s = every_s / devices if every_s == EVERY_S else 0.0
    found: list[Injection] = []
    for device in range(devices):
        faults = islice(cycle(_FAULTS), device, None)
        anomalies = cycle(_ANOMALIES)
        start_s, turn = FIRST_S + device * apart_s, device
        while start_s + LASTS_S + _AFTER_S <= seconds:
            if turn % 2 == 0:
                kind, channel, magnitude = next(faults)
            else:
                (kind, magnitude), channel = next(anomalies), ""
            found.append(
                Injection(
                    device=device,
                    kind=kind,
                    channel=channel,
                    magnitude=magnitude,
                    start_s=start_s,
                    end_s=start_s + LASTS_S,
                )
            )
            start_s, turn = start_s + every_s, turn + 1
    return sorted(found, key=lambda one: (one.start_s, one.device))
