"""The compiled twin of `linear.py` and `correct.py`: the same numbers laid out for one loop over rows and channels.

A batch of few rows costs what its calls to NumPy cost, and there are sixty of them for two conditions. Refuses what the
loop has no room for, and tables; NumPy does those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_edge.calibration.models import Table
from trueline_edge.calibration.task import ranges_of, to_ns
from trueline_edge.estimation import kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.task import Task
    from trueline_edge.calibration.terms import Factor

    F64 = NDArray[np.float64]

__all__ = ["EVER", "FLOOR", "compiled", "root_of"]

EVER: Final = 1 << 62
FLOOR: Final = 1e-12
"""Functions of positive numbers see at least this, or a tenth of the range's lower end."""
_FUNCTIONS: Final = {"": 0, "log": 1, "sqrt": 2, "inverse": 3}
_ROOM = 64, 64, 16, 256
"""For terms, different factors, other inputs, and factors in all terms together."""


def compiled(members: list[Task]) -> Any | None:
    """A function that corrects kg channels whose functions have the same terms; None where there is none.

    Args:
        members: the channels.
    """
    kernel = getattr(kernels.implementation(), "SumsOfTerms", None)
    if kernel is None or any(isinstance(task.calibration.model, Table) for task in members):
        return None
    pattern, own = members[0], members[0].calibration.channel
    terms = pattern.linear.terms
    factors = sorted({factor for term in terms for factor in term})
    inputs = [name for name in pattern.linear.inputs if name != own]
    sizes = len(terms), len(factors), len(inputs), sum(map(len, terms))
    if any(size > most for size, most in zip(sizes, _ROOM, strict=True)):
        return None
    place = {factor: position for position, factor in enumerate(factors)}
    columns = [pattern.inputs[name] for name in inputs]
    at = {own: 0} | {name: 1 + position for position, name in enumerate(inputs)}
    lengths = np.cumsum([0, *(len(term) for term in terms)])
    whole = [
        np.array(numbers, np.int64)
        for numbers in (
            [task.column for task in members],
            columns,
            [at[factor.name] for factor in factors],
            [_FUNCTIONS[factor.function] for factor in factors],
            lengths,
            [place[factor] for term in terms for factor in term],
        )
    ]
    scaling = np.array([[_scaled(task, factor, own, pattern) for task in members] for factor in factors])
    linears = [task.linear for task in members]
    coefficients = np.ascontiguousarray(np.array([linear.coefficients for linear in linears]).T)
    roots = np.ascontiguousarray(np.array([root_of(linear.covariance).T for linear in linears]))
    return kernel(
        *whole,
        scaling.reshape(len(factors), len(members), 3),
        coefficients,
        roots,
        _limits(members, columns),
        _parts(members),
        _dates(members),
    )


def _scaled(task: Task, factor: Factor, own: str, pattern: Task) -> tuple[float, float, float]:
    """Centre, scale and floor of the factor of `task` at the place of a factor of `pattern`."""
    name = task.calibration.channel if factor.name == own else _name_at(task, pattern.inputs[factor.name])
    centre, scale = task.linear.scaling[factor._replace(name=name)]
    low = task.calibration.range.get(name, (-np.inf, np.inf))[0]
    return centre, scale, low / 10 if np.isfinite(low) and low > 0 else FLOOR


def _name_at(task: Task, column: int) -> str:
    return next(name for name, place in task.inputs.items() if place == column)


def _limits(members: list[Task], columns: list[int]) -> F64:
    """(inputs, kg, 2) middle and half-width of the range of each input."""
    found = np.zeros((len(columns), len(members), 2))
    calibrations = [task.calibration for task in members]
    for position, column in enumerate(columns):
        low, high = ranges_of(calibrations, [_name_at(task, column) for task in members])
        found[position] = np.stack([(low + high) / 2, (high - low) / 2], axis=1)
    return found


def _parts(members: list[Task]) -> F64:
    """(kg, 7) middle of the own range, two over its width; then variances: noise, step, model, relative, drift."""
    calibrations = [task.calibration for task in members]
    low, high = ranges_of(calibrations, [calibration.channel for calibration in calibrations])
    middle = np.zeros(len(members))
    np.add(low / 2, high / 2, out=middle, where=np.isfinite(high - low))
    steps = [task.resolution / np.sqrt(12) for task in members]
    u = [c.u for c in calibrations]
    others = [[p.noise for p in u], steps, [p.model for p in u], [p.model_relative for p in u], [p.drift for p in u]]
    return np.stack([middle, 2 / (high - low), *np.square(others)], axis=1)


def _dates(members: list[Task]) -> NDArray[np.int64]:
    """(kg, 3) of the comparison, first and last of the validity, ns."""
    calibrations = [task.calibration for task in members]
    return np.array(
        [
            (
                to_ns(c.date),
                -EVER if c.valid_from is None else to_ns(c.valid_from),
                EVER if c.valid_until is None else to_ns(c.valid_until),
            )
            for c in calibrations
        ],
        np.int64,
    )


def root_of(covariance: F64) -> F64:
    """Lower triangular A with A A' = C, also where C has no full rank."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    spread = vectors * np.sqrt(np.maximum(values, 0.0))
    root = np.asarray(np.linalg.qr(spread.T, mode="r")).T.copy()
    root[np.abs(root) < 1e-12 * np.abs(root).max(initial=0.0)] = 0.0
    return root
