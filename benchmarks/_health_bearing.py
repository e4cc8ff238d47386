"""The bearing of the simulators' machine: hours left until it has to be changed, from the slow channels of the machine.

Its end is where vibration has doubled (6 dB over what it was, as machines are stopped in practice): where the mean of
four hours of the true RMS first is twice that of the first day. Machines differ in all that is drawn: speed, load,
bearing, resonance, first defect, noise, and how far they have lived when watching begins; the scenario's life is 500 to
2,000 h here (its range goes to 20,000: years of simulation). None of those asked was learnt from.

Of most lives nothing can be seen: half of the bearings have raised their RMS by less than 3 % when the scenario's life
is over, and double it in the tenth or two that follows. What is further away than 200 h is "200 h or more".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_model.prediction import Feature, Prediction
from trueline_sim.truth.machine import SCENARIO
from trueline_sim.truth.place import Place
from trueline_sim.world import World

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CHANNELS", "RECIPE", "UNITS", "Machine", "machines"]

CHANNELS: Final = ("acceleration_rms", "bearing_temperature", "winding_temperature", "load", "speed")
UNITS: Final = ("[g]", "Cel", "Cel", "1", "Hz")
RECIPE: Final = Prediction(
    target="life left",
    unit="h",
    rows=40,  # a week, nearly
    step_s=4 * 3600.0,
    features=(
        Feature(0, "ratio"),
        Feature(1, "change"),
        Feature(2, "change"),
        Feature(3, "change"),
        Feature(4, "ratio"),
    ),
    origin=0.0,
    span=1.0,
    least=0.0,
    most=200.0,
    clip=15.0,  # the last hours are far from all others
)

_LIFE_H: Final = (500.0, 2000.0)
_WATCHED_H: Final = 1.4 * _LIFE_H[1]
_INTERVAL_S: Final = 1200.0
_DAY, _HOURS_4 = 72, 12  # rows
_DOUBLED: Final = 2.0


class Machine(NamedTuple):
    """A machine until its bearing's end.

    Attributes:
        name: of it.
        time_ns: (n,).
        value: (n, k), as measured, each `CHANNELS`.
        left_h: (n,) hours left.
    """

    name: str
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    left_h: NDArray[np.float64]


def machines(seed: int, count: int) -> list[Machine]:
    """Machines of a seed; one that has less than a window left when watching begins is left out."""
    assert isinstance(SCENARIO, Place)  # noqa: S101 - it is one
    scenario = replace(SCENARIO, parameters={**SCENARIO.parameters, "life_h": _LIFE_H})
    steps = round(_WATCHED_H * 3600.0 / _INTERVAL_S)
    world = World(scenario, devices=count, seed=seed, steps=steps, interval_s=_INTERVAL_S, faults=0, anomalies=False)
    which = [[channel.name for channel in world.channels].index(name) for name in CHANNELS]
    blocks = [(block.raw[:, :, which], block.truth[:, :, which[0]]) for block in world]
    value, rms = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    time_ns = world.grid.start_ns + np.arange(steps) * round(_INTERVAL_S * 1e9)
    found = []
    for j in range(count):
        total = np.concatenate([[0.0], np.cumsum(rms[:, j])])
        mean = (total[_HOURS_4:] - total[:-_HOURS_4]) / _HOURS_4
        doubled = np.flatnonzero(mean >= _DOUBLED * rms[:_DAY, j].mean())
        end = int(doubled[0]) + _HOURS_4 if len(doubled) else 0
        if end * _INTERVAL_S > (RECIPE.rows + 1) * RECIPE.step_s:
            left_h = np.arange(end - 1, -1, -1) * (_INTERVAL_S / 3600.0)
            found.append(Machine(f"{seed}/{j}", time_ns[:end], value[:end, j], left_h))
    return found
