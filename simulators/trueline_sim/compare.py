"""`trueline-sim compare`: which part, how many of it and how often read, meets a wanted standard uncertainty.

Each choice looks at the same truth: n sensors of a part beside each other in each device, read every interval over a
window; the simple mean of all readings of the window stands for the mean of the truth over it. The error is measured;
beside it stands what the datasheet alone lets one state:

    u^2 = (constant errors)^2 / n + (slow errors)^2 / n + (white noise and resolution)^2 / (n m),    m readings a window

because averaging over time leaves what is the same in all readings of one sensor, and individuals are independent.

Promises: the same seed, the same table, in bounded memory. The lag of a slow sensor behind a restless truth, which no
datasheet knows, is in the measured error. Refuses to know filters: this is what the part gives by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.sensors.bank import SensorBank
from trueline_sim.world import START_NS, _surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_sim.sensors.model import SensorModel
    from trueline_sim.truth.scenario import Scenario

    Array = NDArray[np.float64]

__all__ = ["Choice", "Wish", "compare", "stated_u", "verdict"]

_PARALLEL: Final = (1, 2, 3, 5, 8)
_READINGS: Final = (1, 4, 16)
"""Readings a window that are tried, as far as the part and the scenario allow."""
_CELLS: Final = 1 << 18
"""Cells of the truth at once, about."""
_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3600.0
_AVERAGED: Final = frozenset({"noise_density", "resolution"})
_CONFIDENT: Final = 0.95
_ONE_SIDED: Final = 1.645
"""Normal quantile of 0.95."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for.

    Attributes:
        measurand: of the scenario.
        u: wanted standard uncertainty of a window's mean, in the measurand's unit; None: just a table.
        window_s: a value is wanted every so often.
        hours: how long is simulated.
        devices: how many places, each with individuals of its own.
        seed: of everything.
    """

    measurand: str
    u: float | None
    window_s: float
    hours: float
    devices: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A part, so many of it, so often.

    Attributes:
        sensor: name in the catalogue.
        parallel: sensors beside each other.
        interval_s: between readings.
        rmse: measured, over all places and windows, in the measurand's unit.
        rmse_upper: what it is below with 95 % confidence, going by how places differ.
        worst_place: RMSE that 95 % of the places stay below.
        stated_u: what the datasheet alone lets one state.
        price_eur: of all sensors, about.
        energy_J_day: of all readings of a day.
    """

    sensor: str
    parallel: int
    interval_s: float
    rmse: float
    rmse_upper: float
    worst_place: float
    stated_u: float
    price_eur: float
    energy_J_day: float  # noqa: N815 - the unit keeps its capital


def stated_u(model: SensorModel, parallel: int, readings: int, interval_s: float, run_s: float) -> float:
    """Standard uncertainty of the mean of `parallel` sensors' `readings`, from the datasheet; see the module."""
    budget = model.budget(interval_s, run_s=run_s)
    square = sum(line.u**2 / (parallel * (readings if line.name in _AVERAGED else 1)) for line in budget)
    return math.sqrt(square)


def compare(scenario: Scenario, models: Sequence[SensorModel], wish: Wish) -> list[Choice]:
    """Try every part, number and rate.

    Args:
        scenario: gives the truth.
        models: in the measurand's unit.
        wish: what is asked for.

    Returns:
        In order of part, number and rate.

    Raises:
        ValueError: the scenario has no such measurand, or the window is shorter than its interval.
    """
    names = [measurand.name for measurand in scenario.measurands]
    if wish.measurand not in names:
        raise ValueError(f"{scenario.name} has no {wish.measurand}; it has {', '.join(names)}")
    fine_s = wish.window_s / max(_READINGS)
    process = scenario.start(devices=wish.devices, seed=wish.seed, start_ns=START_NS, interval_s=fine_s)
    tried = [
        _Rate(model, readings, wish)
        for model in models
        for readings in _READINGS
        if readings == 1 or wish.window_s / readings >= model.interval_min_s
    ]
    left = max(round(wish.hours * _HOUR_S / wish.window_s), 1)
    at_once = max(_CELLS // (max(_READINGS) * wish.devices), 1)
    while left:
        windows = min(at_once, left)
        left -= windows
        measurands = process.advance(windows * max(_READINGS))
        truth, around = measurands[:, :, names.index(wish.measurand)], _around(scenario, measurands)
        wanted = truth.reshape(-1, max(_READINGS), wish.devices).mean(axis=1)
        for rate in tried:
            rate.look(truth, around, wanted)
    choices = [choice for rate in tried for choice in rate.choices()]
    return sorted(choices, key=lambda choice: (choice.sensor, choice.parallel, -choice.interval_s))


class _Rate:
    """One part at one rate, every number of it: n sensors are the first n individuals of each place."""

    def __init__(self, model: SensorModel, readings: int, wish: Wish) -> None:
        self._model, self._readings, self._wish = model, readings, wish
        self._interval_s = wish.window_s / readings
        self._banks = [
            SensorBank(
                model, devices=wish.devices, seed=wish.seed, name=f"{model.name} {number}", interval_s=self._interval_s
            )
            for number in range(1, max(_PARALLEL) + 1)
        ]
        self._squares = {parallel: np.zeros(wish.devices) for parallel in _PARALLEL}
        self._windows = 0

    def look(self, truth: Array, around: Sequence[Array | None], wanted: Array) -> None:
        """The next windows.

        Args:
            truth: (windows * most readings, devices).
            around: temperature and humidity, alike.
            wanted: (windows, devices) what a window's mean should be.
        """
        every = max(_READINGS) // self._readings
        seen = slice(every // 2, None, every)  # readings in the middle of the time they stand for
        at = np.ascontiguousarray(truth[seen])
        air = [None if array is None else np.ascontiguousarray(array[seen]) for array in around]
        total = np.zeros_like(wanted)
        self._windows += len(wanted)
        for parallel, bank in enumerate(self._banks, 1):
            total += bank.observe(at, *air).reshape(-1, self._readings, self._wish.devices).mean(axis=1)
            if parallel in self._squares:
                self._squares[parallel] += ((total / parallel - wanted) ** 2).sum(axis=0)

    def choices(self) -> list[Choice]:
        """What came of it."""
        return [self._choice(parallel, squares / self._windows) for parallel, squares in self._squares.items()]

    def _choice(self, parallel: int, places: Array) -> Choice:
        model, run_s = self._model, self._wish.hours * _HOUR_S
        error = float(places.std(ddof=1)) / math.sqrt(len(places)) if len(places) > 1 else math.inf
        return Choice(
            sensor=model.name,
            parallel=parallel,
            interval_s=self._interval_s,
            rmse=math.sqrt(places.mean()),
            rmse_upper=math.sqrt(places.mean() + _ONE_SIDED * error),
            worst_place=float(np.quantile(np.sqrt(places), _CONFIDENT)),
            stated_u=stated_u(model, parallel, self._readings, self._interval_s, run_s),
            price_eur=parallel * model.price_eur,
            energy_J_day=parallel * model.energy_J * _DAY_S / self._interval_s,
        )


def _around(scenario: Scenario, measurands: Array) -> list[Array | None]:
    """Temperature and humidity around the sensors, where the scenario has them: as a world gives them."""
    return [None if at is None else measurands[:, :, at] for at in _surroundings(scenario)]


def verdict(choices: Sequence[Choice], wish: Wish, unit: str) -> tuple[Choice | None, str]:
    """The cheapest choice that does, then the one that takes least energy; and in a sentence."""
    if wish.u is None:
        best = min(choices, key=lambda choice: choice.rmse)
        return best, f"No uncertainty was asked for (--wanted-u); the best here: {_in_words(best, unit)}."
    meeting = [choice for choice in choices if choice.rmse_upper <= wish.u]
    if not meeting:
        best = min(choices, key=lambda choice: choice.rmse)
        return (
            None,
            f"None of these meets {wish.u:g} {unit} with 95 % confidence; the nearest: {_in_words(best, unit)}.",
        )
    best = min(meeting, key=lambda choice: (choice.price_eur, choice.energy_J_day))
    stated = "its datasheet alone would state" if best.stated_u <= wish.u else "but its datasheet alone states only"
    told = f"{_in_words(best, unit)} meets {wish.u:g} {unit}: about {best.price_eur:g} EUR a place, "
    told += f"{best.energy_J_day:.3g} J a day; {stated} {best.stated_u:.3g} {unit}."
    sure = [choice for choice in meeting if choice.stated_u <= wish.u]
    if best.stated_u > wish.u and sure:
        safe = min(sure, key=lambda choice: (choice.price_eur, choice.energy_J_day))
        told += f" Who wants the datasheet to say so too: {_in_words(safe, unit)}, about {safe.price_eur:g} EUR."
    return best, told


def _in_words(choice: Choice, unit: str) -> str:
    each = f"{choice.parallel} x {choice.sensor} every {choice.interval_s:g} s"
    return f"{each} (RMSE {choice.rmse:.3g} {unit}, {choice.worst_place:.3g} in 95 % of places)"
