"""What health.py predicts: units to learn from, units never seen, and their truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import _health_bearing as bearing
import _health_cmapss as cmapss
import _health_greenhouse as greenhouse
import numpy as np

from trueline_cloud.learning.prediction.history import History
from trueline_model.series import make_series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_model.prediction import Prediction

__all__ = ["SETS", "Case", "Tested"]


class Tested(NamedTuple):
    """A unit never seen.

    Attributes:
        time_ns: (n,).
        value: (n, k), as measured.
        truth: (n,) of the target; NaN where nothing is asked.
    """

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    truth: NDArray[np.float64]


class Case(NamedTuple):
    """A set.

    Attributes:
        recipe: what is predicted from what.
        unit: of it, in words.
        units: UCUM, of the channels.
        histories: to learn from.
        tested: to be asked.
        peers: what others say of the tested units: (n,) each, by name.
    """

    recipe: Prediction
    unit: str
    units: tuple[str, ...]
    histories: list[History]
    tested: list[Tested]
    peers: Mapping[str, list[NDArray[np.float64]]]


def _cmapss(data: Path) -> Case:
    histories = cmapss.engines(data / "cmapss_fd001")
    values, left = cmapss.tested(data / "cmapss_fd001")
    tested = []
    for value, last in zip(values, left, strict=True):
        truth = np.full(len(value), np.nan)
        truth[-1] = last  # asked once, when the engine is taken away
        tested.append(Tested(np.arange(len(value)) * 10**9, value, truth))
    return Case(cmapss.RECIPE, "flights", ("1",) * len(cmapss.RECIPE.features), histories, tested, {})


def _greenhouse(_data: Path) -> Case:
    learnt, asked = greenhouse.houses(range(300, 324)), greenhouse.houses(range(5000, 5016))
    histories = [
        History(each.name, make_series(each.value, time_ns=each.time_ns, channels=greenhouse.CHANNELS), each.need)
        for each in learnt
    ]
    tested = [Tested(each.time_ns, each.value, each.need) for each in asked]
    peers = {
        "what the meter counted, mean of 10 days": [greenhouse.metered(each) for each in asked],
        "the day before, which nobody can know": [each.before for each in asked],
    }
    return Case(greenhouse.RECIPE, "mm", greenhouse.UNITS, histories, tested, peers)


def _bearing(_data: Path) -> Case:
    histories = [
        History(each.name, make_series(each.value, time_ns=each.time_ns, channels=bearing.CHANNELS), each.left_h)
        for each in bearing.machines(200, 60)
    ]
    tested = [Tested(each.time_ns, each.value, each.left_h) for each in bearing.machines(5000, 60)]
    return Case(bearing.RECIPE, "h", bearing.UNITS, histories, tested, {})


SETS: Final[dict[str, Callable[[Path], Case]]] = {"cmapss": _cmapss, "bearing": _bearing, "greenhouse": _greenhouse}
"""By name; given the folder of data."""
