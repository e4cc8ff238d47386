"""What is to be corrected, and the small things its evaluators share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_edge.calibration.models import Linear, Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import ArrayLike, NDArray

    from trueline_edge.calibration.file import Calibration

    F64 = NDArray[np.float64]
    F32 = NDArray[np.float32]

__all__ = ["TINY", "Curve", "Task", "ranges_of", "rows_for", "tile32", "tile64", "to_ns"]

TINY: Final = np.float32(1e-3)
"""Just outside: doubtful, and hardly wider."""

_TILE_VALUES: Final = 8192


@dataclass(frozen=True)
class Task:
    """One channel to correct.

    Attributes:
        calibration: how.
        column: of the raw channel.
        inputs: column of every other input, by name.
        resolution: of the raw channel, in its unit; 0 where unknown.
    """

    calibration: Calibration
    column: int
    inputs: dict[str, int]
    resolution: float = 0.0

    @property
    def linear(self) -> Linear:
        """Its model as a sum of terms; only where it is no table."""
        model = self.calibration.model
        if isinstance(model, Table):
            raise TypeError("a table is no sum of terms")
        return model.linear(self.calibration.channel)


class Curve(NamedTuple):
    """Functions evaluated at a batch, kg channels of them."""

    value: F64
    """(n, kg)"""
    slope: F32
    """(n, kg) derivative by the own raw value."""
    variance: F32
    """(n, kg) of the parameters, and of inputs that had to be guessed."""
    inputs: F32 | None = None
    """(n, kg) variance from the known `u` of other inputs; None where there are none."""
    outside: F32 | None = None
    """(n, kg) distance of other inputs from their ranges, in half widths; None where all are inside."""


def ranges_of(calibrations: Sequence[Calibration], names: Sequence[str]) -> tuple[F64, F64]:
    """(kg,) smallest and largest raw value of a named channel of each; infinite where none is stated."""
    nothing = (-np.inf, np.inf)
    found = [calibration.range.get(name, nothing) for calibration, name in zip(calibrations, names, strict=True)]
    return np.array([low for low, _ in found]), np.array([high for _, high in found])


def to_ns(moment: datetime) -> int:
    """UTC nanoseconds since 1970, to the second."""
    return int(moment.timestamp()) * 1_000_000_000


def rows_for(members: int) -> int:
    """Rows that are evaluated at once: so many that a column of parameters repeated for each stays in the cache."""
    return max(64, _TILE_VALUES // members)


def tile64(numbers: ArrayLike) -> F64:
    """(rows, kg) parameters (kg,), repeated for each row: NumPy is five times faster on arrays of one shape."""
    row = np.asarray(numbers, np.float64)
    return np.repeat(row[None, :], rows_for(len(row)), axis=0)


def tile32(numbers: ArrayLike) -> F32:
    """As `tile64`, for uncertainties."""
    return tile64(numbers).astype(np.float32)
