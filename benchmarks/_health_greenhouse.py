"""The greenhouse: how much water the crop will take in the next day, from weather, soil moisture and a water meter.

Truth is the simulator's own book of evapotranspiration: millimetres, which are litres on a square metre. The meter is
the simulator's book of irrigation, read to 2 % (class 2 of ISO 4064), and to 0.1 mm. Greenhouses differ in all that is
drawn: crop, soil, roots, cover, heating, watering, climate; each run begins on a day of its own between April and
August. None of those asked was learnt from. No forecast of the weather is read: tomorrow's clouds are not known.

Beside it stand what a gardener has without a model, the mean of what the meter counted in the ten days before, and what
nobody has: the same as the day before, by the simulator's book.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_model.prediction import Feature, Prediction
from trueline_sim.truth.greenhouse import SCENARIO, Greenhouses
from trueline_sim.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from trueline_sim.truth.blocks import Run

__all__ = ["CHANNELS", "RECIPE", "UNITS", "House", "houses", "metered"]

CHANNELS: Final = (*(measurand.name for measurand in SCENARIO.measurands), "irrigation")
UNITS: Final = (*(measurand.unit for measurand in SCENARIO.measurands), "mm/h")
RECIPE: Final = Prediction(
    target="water the crop will take in the next day",
    unit="mm",
    rows=50,  # ten days
    step_s=86_400.0 / 5,
    features=(  # what was measured in parts of what is usual here; all else only taught the houses learnt from
        Feature(CHANNELS.index("light"), "share"),
        Feature(CHANNELS.index("irrigation"), "share"),
        Feature(CHANNELS.index("soil_moisture"), "change"),
    ),
    origin=0.0,
    span=1.0,
    least=0.0,
    per=CHANNELS.index("irrigation"),
)

_INTERVAL_S: Final = 600.0
_DAYS: Final = 28
_DEVICES: Final = 5
_DAY_NS: Final = 86_400_000_000_000
_FIRST_NS: Final = 1_775_001_600_000_000_000  # 2026-04-01
_SEASON_DAYS: Final = 150
_ASKED_S: Final = 6 * 3600.0
_METER_U: Final = 0.01
_METER_STEP_MM: Final = 0.1


class House(NamedTuple):
    """A greenhouse over three weeks.

    Attributes:
        name: of it.
        time_ns: (n,).
        value: (n, k), as measured, each `CHANNELS`.
        need: (n,) millimetres the crop takes in the day from each row on; NaN in the last day, and but for every
            sixth hour.
        before: (n,) and what it took in the day before.
    """

    name: str
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    need: NDArray[np.float64]
    before: NDArray[np.float64]


def houses(seeds: Iterable[int]) -> list[House]:
    """Five greenhouses of each seed."""
    return [house for seed in seeds for house in _world(seed)]


def metered(house: House) -> NDArray[np.float64]:
    """(n,) millimetres a day that the meter counted in the ten days before each row; NaN in the first ten days."""
    total = np.cumsum(house.value[:, -1]) * (_INTERVAL_S / 3600.0)
    rows = round(10 * 86_400.0 / _INTERVAL_S)
    return np.concatenate([np.full(rows, np.nan), (total[rows:] - total[:-rows]) / 10.0])


def _world(seed: int) -> list[House]:
    running: list[Greenhouses] = []

    def kept(run: Run) -> Greenhouses:
        running.append(Greenhouses(run))
        running[0].books = []
        return running[0]

    start_ns = _FIRST_NS + int(np.random.default_rng(seed).integers(_SEASON_DAYS)) * _DAY_NS
    steps = round(_DAYS * 86_400.0 / _INTERVAL_S)
    world = World(
        replace(SCENARIO, process=kept),
        devices=_DEVICES,
        seed=seed,
        steps=steps,
        start_ns=start_ns,
        interval_s=_INTERVAL_S,
        faults=0,
        anomalies=False,
    )
    value = np.concatenate([block.raw for block in world])
    books, grid = running[0].books or [], running[0].grid
    time_ns = start_ns + np.arange(steps) * round(_INTERVAL_S * 1e9)
    now = np.arange(steps) * grid.nodes + 1  # nodes until each row
    day = round(86_400.0 / grid.step_s)
    taken = _total_mm([flux.evapotranspiration_mm_h for flux in books], grid.step_s)
    given = _total_mm([flux.irrigation_mm_h for flux in books], grid.step_s)
    later, earlier = np.minimum(now + day, steps * grid.nodes), np.maximum(now - day, 0)
    asked = (np.arange(steps) % round(_ASKED_S / _INTERVAL_S) == 0) & (now + day <= steps * grid.nodes)
    need = np.where(asked[:, None], taken[later] - taken[now], np.nan)
    gain = 1.0 + _METER_U * np.random.default_rng((seed, 1)).normal(size=_DEVICES)
    counted = np.floor(given[now] * gain / _METER_STEP_MM) * _METER_STEP_MM
    meter = np.diff(counted, axis=0, prepend=0.0) * (3600.0 / _INTERVAL_S)
    before = taken[now] - taken[earlier]
    return [
        House(f"{seed}/{j}", time_ns, np.column_stack([value[:, j], meter[:, j]]), need[:, j], before[:, j])
        for j in range(_DEVICES)
    ]


def _total_mm(flows_mm_h: list[NDArray[np.float64]], step_s: float) -> NDArray[np.float64]:
    """(nodes + 1, devices) until each node."""
    return np.concatenate([np.zeros((1, _DEVICES)), np.cumsum(np.array(flows_mm_h), axis=0) * (step_s / 3600.0)])
