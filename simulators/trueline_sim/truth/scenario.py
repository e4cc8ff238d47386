"""What a scenario is: physics that gives the truth at every step, of every device, for every measurand.

Promises: the words every scenario and everybody who uses one agree on. A scenario draws its parameters from `ranges`,
seeded, and gives the same arrays wherever time is cut. Refuses to know of sensors, faults of sensors, clocks and links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Measurand", "Process", "ProcessAnomaly", "Scenario"]


@dataclass(frozen=True, slots=True)
class Measurand:
    """A quantity that is true somewhere.

    Attributes:
        name: unique in the scenario, `air_temperature`.
        unit: UCUM code, `Cel`.
    """

    name: str
    unit: str


@dataclass(frozen=True, slots=True)
class ProcessAnomaly:
    """Something wrong with the process itself: the sensors tell the truth about it.

    Attributes:
        kind: one of the scenario's `anomalies`.
        device: number of the device it happens at.
        start_ns: when it begins, true time, UTC, ns since 1970.
        end_ns: when it is over (not included).
        magnitude: 0 to 1, of the range the scenario gives the kind; 0 is hardly there.
    """

    kind: str
    device: int
    start_ns: int
    end_ns: int
    magnitude: float


class Process(Protocol):
    """A scenario that runs."""

    def advance(self, steps: int) -> NDArray[np.float64]:
        """The truth at the next steps: (steps, devices, measurands), the same arrays whatever the block size.

        Step i is at `start_ns + round(i * interval_s * 1e9)`; the first call begins at step 0.
        """
        ...


class Scenario(Protocol):
    """A kind of place.

    Attributes:
        name: as on the command line.
        sentence: what it is, in one sentence, for `trueline-sim scenarios`.
        measurands: what is true there, in the order of the arrays.
        interval_s: seconds between steps, unless asked for otherwise.
        anomalies: kinds of `ProcessAnomaly` it knows.
        ranges: every drawn parameter, `name_unit` to (low, high): written down, and wide.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - in the class docstring, as all below
    @property
    def sentence(self) -> str: ...  # noqa: D102
    @property
    def measurands(self) -> tuple[Measurand, ...]: ...  # noqa: D102
    @property
    def interval_s(self) -> float: ...  # noqa: D102
    @property
    def anomalies(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]: ...  # noqa: D102

    def start(
        self, *, devices: int, seed: int, start_ns: int, interval_s: float, anomalies: Sequence[ProcessAnomaly] = ()
    ) -> Process:
        """A process of so many devices, each with parameters of its own, from `start_ns` on (UTC, ns since 1970)."""
        ...
