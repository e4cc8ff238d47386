"""A sensor's datasheet as a file, and the calibration it informs.

    offset = 0.5            # half-width of the error at `pivot`, in the unit of the channel
    pivot = 0.0             # where an error of the slope makes none
    gain = 0.03             # half-width of the relative error of the slope
    noise = 0.1             # standard deviation of a single reading, resolution and all
    slow = 0.02             # of what changes too slowly to be averaged (1/f noise)
    range = [-40.0, 80.0]   # of readings for which all of this holds

    [conditions.temperature]
    effect = 0.01           # half-width, for one unit of it
    nominal = 25.0
    range = [-20.0, 60.0]

Promises: what was found contradicts no tolerance grossly, or it is said. Refuses to know where the pairs came from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.calibration.informed import Informed, Tolerance, fit_informed
from trueline_edge.calibration.models import Affine, Model, MultiInput, rounded, rounded_covariance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_edge.calibration.candidates import Data

    F64 = NDArray[np.float64]

__all__ = ["Datasheet", "Effect", "Known", "model_of"]

_FAR = 3.0
"""Times what the datasheet allows: beyond, the sensor is broken, or the unit or the column is another."""


class Effect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a condition does to a sensor.

    Attributes:
        effect: half-width of it, for one unit of the condition.
        nominal: the condition the datasheet speaks of.
        range: of the condition for which it holds; what the pairs have seen where left out.
    """

    effect: float
    nominal: float = 0.0
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _check("effect", self.effect)
        _check_range(self.range)


class Datasheet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tolerances, in the unit of the channel; zero means: it cannot be, and of `offset` and `noise`: not stated.

    Attributes:
        offset: half-width of the error at `pivot`, in nominal conditions.
        pivot: value at which an error of the slope makes none.
        gain: half-width of the relative error of the slope, nonlinearity and all; below 1.
        noise: standard deviation of a single reading, resolution and all.
        slow: standard deviation of what changes too slowly to be averaged.
        range: of readings for which all of this holds; what the pairs have seen where left out.
        conditions: what disturbs it, by the name of the channel.
    """

    offset: float = 0.0
    pivot: float = 0.0
    gain: float = 0.0
    noise: float = 0.0
    slow: float = 0.0
    range: tuple[float, float] | None = None
    conditions: dict[str, Effect] = {}

    def __post_init__(self) -> None:
        for key in ("offset", "gain", "noise", "slow"):
            _check(key, getattr(self, key))
        _check_range(self.range)
        if not self.gain < 1.0:
            raise ValueError(f"gain {self.gain} must be below 1: 0.03 is three percent")
        if not self.offset and not self.gain:
            raise ValueError("offset and gain are both zero: state at least one of them")


class Known(NamedTuple):
    """What is known before the first pair.

    Attributes:
        sheet: of the sensor.
        readings: averaged for each pair.
        reference_u: standard uncertainty of the reference that averaging does not take away.
        reference_noise: its standard deviation from pair to pair.
    """

    sheet: Datasheet
    readings: float = 1.0
    reference_u: float = 0.0
    reference_noise: float = 0.0

    def fit(self, data: Data) -> Informed:
        """One sensor.

        Raises:
            ValueError: fewer than eight pairs.
        """
        names = self.names(data)
        effects = [self.sheet.conditions[name] for name in names]
        tolerance = Tolerance(
            offset=self.sheet.offset,
            pivot=self.sheet.pivot,
            gain=self.sheet.gain,
            conditions=tuple(each.effect for each in effects),
            nominal=tuple(each.nominal for each in effects),
            noise=self.sheet.noise / math.sqrt(max(self.readings, 1.0)),
            slow=self.sheet.slow,
        )
        around = [data.raw[name] for name in names]
        conditions = np.stack(around, axis=1)[:, None] if names else np.zeros((len(data.reference), 1, 0))
        return fit_informed(
            data.raw[data.channel][:, None],
            data.reference[:, None],
            conditions,
            tolerance,
            reference_u=self.reference_u,
            reference_noise=self.reference_noise,
        )

    def model(self, data: Data) -> Model:
        """As a file has it."""
        return model_of(self.fit(data), 0, data.channel, self.names(data))

    def names(self, data: Data) -> tuple[str, ...]:
        """Conditions that the datasheet speaks of and the pairs have."""
        return tuple(name for name in data.conditions if name in self.sheet.conditions)

    def ranges(self, data: Data) -> dict[str, tuple[float, float]]:
        """Of readings for which the datasheet vouches."""
        stated = {name: self.sheet.conditions[name].range for name in self.names(data)} | {
            data.channel: self.sheet.range
        }
        return {name: limits for name, limits in stated.items() if limits is not None}

    def contradiction(self, data: Data) -> str | None:
        """The mean difference from the reference, where no tolerance explains it."""
        sheet, n = self.sheet, len(data.reference)
        if not sheet.offset:
            return None
        middle = float(data.reference.mean())
        allowed = sheet.offset + sheet.gain * abs(middle - sheet.pivot) + 2.0 * self.reference_u
        for name in self.names(data):
            each = sheet.conditions[name]
            allowed += each.effect * abs(float(data.raw[name].mean()) - each.nominal)
        allowed += 2.0 * math.hypot(sheet.noise, self.reference_noise) / math.sqrt(n) + 2.0 * sheet.slow
        found = float(np.median(data.raw[data.channel] - data.reference))
        if abs(found) <= _FAR * allowed:
            return None
        return (
            f"readings are {found:.3g} away from the reference, and the datasheet allows {allowed:.3g}: "
            "another unit, another column, or a broken sensor"
        )

    def steady(self, data: Data) -> bool:
        """Does the quantity hardly move, by what the datasheet calls noise? Then pairs cannot be asked.

        A constant errs less than the right line where all that moves is noise, and any line that is bent towards it.
        """
        own = self.sheet.noise / math.sqrt(max(self.readings, 1.0))
        noise = math.sqrt(own**2 + self.sheet.slow**2 + self.reference_noise**2)
        return float(np.std(data.reference)) < _MOVES * noise


_MOVES = 5.0
"""Standard deviations of the noise: by then the best bent line errs less than the right one by under two percent."""


def model_of(found: Informed, sensor: int, channel: str, names: Sequence[str]) -> Model:
    """What was found about a sensor, as a calibration file has it.

    Args:
        found: of all sensors.
        sensor: which.
        channel: its name.
        names: of the conditions, in their order.
    """
    covariance = rounded_covariance(found.covariance[sensor])
    offset, gain, centre = rounded(np.array([found.offset[sensor], found.gain[sensor], found.centre[sensor]]))
    if not names:
        return Affine(offset=offset, gain=gain, centre=centre, covariance=covariance)
    centres = dict(zip((channel, *names), (centre, *rounded(found.centres[sensor])), strict=True))
    return MultiInput(
        terms=("1", channel, *names),
        coefficients=(offset, gain, *rounded(found.conditions[sensor])),
        factors={name: (middle, 1.0) for name, middle in centres.items()},
        covariance=covariance,
    )


def _check(key: str, number: float) -> None:
    if not 0.0 <= number < math.inf:
        raise ValueError(f"{key} {number} must be a number that is not negative")


def _check_range(limits: tuple[float, float] | None) -> None:
    if limits is not None and not -math.inf < limits[0] < limits[1] < math.inf:
        raise ValueError(f"range {list(limits)}: the first must be below the second, and both finite")
