"""NASA C-MAPSS FD001: 100 simulated engines run to failure, 100 stopped before it, how long each had left.

Sensors that stand still in training are left out, and what is left is capped at 125 flights, as everybody does (Heimes,
2008). Truth of the test engines comes from `RUL_FD001.txt`. Published figures are quoted, not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_cloud.learning.prediction.history import History, remaining
from trueline_model.prediction import Feature, Prediction
from trueline_model.series import make_series

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["PUBLISHED", "RECIPE", "UNIT", "engines", "nasa_score", "tested"]

CAP: Final = 125.0
_FIRST_SENSOR: Final = 5
_SENSORS: Final = (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21)
"""Those that move."""

RECIPE: Final = Prediction(
    target="life left",
    unit="1",
    rows=30,  # the shortest test engine has 31
    features=tuple(Feature(j) for j in range(len(_SENSORS))),
    origin=0.0,
    span=1.0,
    least=0.0,
    most=CAP,
)
UNIT: Final = "flights"

PUBLISHED: Final = {
    "CNN (Babu et al. 2016)": (18.45, 1286.7),
    "LSTM (Zheng et al. 2017)": (16.14, 338.0),
    "DCNN (Li et al. 2018)": (12.61, 273.7),
}
"""RMSE and NASA score on the 100 test engines, as their papers and later tables quote them."""


def engines(folder: Path) -> list[History]:
    """The training engines, each to its failure."""
    histories = []
    for number, value in enumerate(_read(folder / "train_FD001.txt"), 1):
        series = make_series(value, channels=[f"s{sensor}" for sensor in _SENSORS])
        histories.append(History(f"engine {number}", series, remaining(series.time_ns, "rows")))
    return histories


def tested(folder: Path) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """What was measured of each test engine, (n, k), and the flights it had left after its last row."""
    return _read(folder / "test_FD001.txt"), np.loadtxt(folder / "RUL_FD001.txt")


def nasa_score(said: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Sum over engines of exp(late / 10) - 1 or exp(early / 13) - 1 (Saxena et al., 2008): late costs more."""
    away = said - truth
    return float(np.sum(np.where(away < 0.0, np.exp(-away / 13.0), np.exp(away / 10.0)) - 1.0))


def _read(file: Path) -> list[NDArray[np.float64]]:
    table: NDArray[Any] = np.loadtxt(file)
    columns = [_FIRST_SENSOR - 1 + sensor for sensor in _SENSORS]
    return [table[table[:, 0] == number][:, columns] for number in np.unique(table[:, 0])]
