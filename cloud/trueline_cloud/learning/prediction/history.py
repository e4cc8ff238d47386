"""Histories to learn a prediction from: what was measured, and what should have been said at each row.

Promises: what is to be predicted is never an input; windows and what they hold are cut by the code that serves
(`trueline_model.prediction`), so a model meets on the device what it met here. A history is a *unit*: an engine, a
machine, a greenhouse, a stretch of time. Units, not rows, are what trains, stops and calibrates. Refuses to know
networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from trueline_model.windows import Windower
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_model.prediction import Prediction
    from trueline_model.series import Series

__all__ = ["History", "Questions", "mean_ahead", "questions", "remaining", "stretches"]

_UNITS_NS: Final = {"h": 3_600_000_000_000, "d": 86_400_000_000_000}
_MEASURED_MIN: Final = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One unit.

    Attributes:
        name: of the unit; histories of one name are one unit.
        series: the inputs.
        target: (n,) what should be predicted at each row; NaN where it is not known.
    """

    name: str
    series: Series
    target: NDArray[np.float64]


class Questions(NamedTuple):
    """Windows of histories, with their answers.

    Attributes:
        value: (m, rows, k), the inputs' units.
        valid: (m, rows, k).
        target: (m,), its unit.
        unit: (m,) number of the unit.
    """

    value: NDArray[np.float64]
    valid: NDArray[np.bool_]
    target: NDArray[np.float64]
    unit: NDArray[np.int64]


def remaining(time_ns: NDArray[np.int64], unit: Literal["rows", "h", "d"]) -> NDArray[np.float64]:
    """What is left at each row (n,) of a unit that failed after its last: in rows, hours or days."""
    if unit == "rows":
        return np.arange(len(time_ns) - 1, -1, -1, dtype=np.float64)
    return np.asarray((time_ns[-1] - time_ns) / _UNITS_NS[unit])


def mean_ahead(
    time_ns: NDArray[np.int64], value: NDArray[np.float64], valid: NDArray[np.bool_], ahead_s: float
) -> NDArray[np.float64]:
    """Mean of a channel (n,) over the time from each row on; NaN where more than a tenth of it was not measured."""
    ahead_ns = round(ahead_s * 1e9)
    total = np.concatenate([[0.0], np.cumsum(np.where(valid, value, 0.0))])
    count = np.concatenate([[0.0], np.cumsum(valid)])
    end = np.searchsorted(time_ns, time_ns + ahead_ns)
    start = np.arange(len(time_ns))
    usual = ahead_ns / float(np.median(np.diff(time_ns))) if len(time_ns) > 1 else np.inf
    whole = count[end] - count[start]
    mean = np.divide(total[end] - total[start], whole, out=np.full(len(time_ns), np.nan), where=whole > 0)
    return np.where(whole >= _MEASURED_MIN * usual, mean, np.nan)


def stretches(history: History, count: int, gap_s: float) -> list[History]:
    """A long history as units: as many stretches of time, with a gap between them that no window or answer spans."""
    time_ns = history.series.time_ns
    ends = np.linspace(time_ns[0], time_ns[-1] + 1, count + 1)
    found = []
    for number in range(count):
        rows = slice(*np.searchsorted(time_ns, [ends[number], ends[number + 1] - gap_s * 1e9 * (number < count - 1)]))
        if rows.stop > rows.start:
            found.append(History(f"{history.name}@{number + 1}", history.series[rows], history.target[rows]))
    return found


def questions(histories: Sequence[History], recipe: Prediction) -> Questions:
    """All windows whose answer is known.

    Raises:
        ConfigError: there is none.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(each.name for each in histories))}
    found: list[Questions] = []
    for each in histories:
        stepped = recipe.steps.push(each.series.time_ns, each.series.value, each.series.valid)
        windows = Windower(recipe.rows).push(stepped.value, stepped.valid)
        target = each.target[stepped.row[windows.last_row]]
        enough = (windows.valid.mean(axis=(1, 2)) >= recipe.valid_min) & windows.valid[:, -1].any(axis=1)
        known = np.isfinite(target) & enough
        unit = np.full(int(known.sum()), names[each.name])
        found.append(Questions(windows.value[known], windows.valid[known], recipe.clipped(target[known]), unit))
    if not sum(len(each.target) for each in found):
        raise ConfigError(
            f"no window of {recipe.rows} steps ends where {recipe.target} is known: record longer, or shorten --rows"
        )
    return Questions(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
