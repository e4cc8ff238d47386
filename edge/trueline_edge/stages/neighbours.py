"""Neighbour test (QARTOD: multi-variate and neighbour tests): does a sensor agree with those beside it?

Works on channels of one stream, which are sampled together (`join` brings streams onto one clock). Each is judged by
the others alone, by majority: one wild sensor does not speak against the good ones.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.stages.stage import Objection, StageSettings, Stateless, channel_mask, usable
from trueline_wire.readings import Flag, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trueline_wire.readings import Readings, Schema

__all__ = ["Neighbours"]


class Neighbours(StageSettings, frozen=True, kw_only=True, tag="neighbours"):
    """How far a channel may be from the median of the others, in their unit, which must be one and the same.

    With an even number of others, the nearer of the two middle ones counts. So a channel that is within a limit of
    at least half of the others passes it. Two channels that disagree are both SUSPECT: neither is known to be right.

    Attributes:
        suspect: further away a value is SUSPECT.
        fail: further away it FAILs, if there are at least two others.
        neighbours_min: with fewer usable others nothing is said.
        channels: the neighbours; all channels where left out.
    """

    suspect: float = inf
    fail: float = inf
    neighbours_min: int = 1

    def __post_init__(self) -> None:
        if not self.suspect > 0.0:
            raise ValueError(f"suspect {self.suspect} must be above 0")
        if not self.fail > 0.0:
            raise ValueError(f"fail {self.fail} must be above 0")
        if self.suspect == self.fail == inf:
            raise ValueError("suspect or fail is wanted")
        if self.neighbours_min < 1:
            raise ValueError(f"neighbours_min {self.neighbours_min} must be at least 1")

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """As all stages, and too few channels."""
        yield from super().objections(schema)
        chosen = [c for c in schema.channels if self.channels is None or c.name in self.channels]
        if len(chosen) <= self.neighbours_min:
            yield Objection(("channels",), f"{len(chosen)} channels: more than {self.neighbours_min} are wanted")

    @property
    def has_unit(self) -> bool:
        """They are compared with one another."""
        return True

    def stage(self, schema: Schema) -> FlagNeighbours:
        """The stage for readings of this schema."""
        return FlagNeighbours(self, schema)


class FlagNeighbours(Stateless):
    """Compares each usable value with the median of the other usable values of its row."""

    def __init__(self, config: Neighbours, schema: Schema) -> None:
        super().__init__(schema)
        self._config = config
        self._group = np.flatnonzero(channel_mask(schema, config.channels))

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return readings
        config, group = self._config, self._group
        trusted, value = usable(readings), readings.value
        if len(group) < value.shape[1]:
            trusted, value = trusted[:, group], value[:, group]
        if trusted.all():
            apart, others = _apart_of_all(value), np.full((1, 1), len(group) - 1)
        else:
            apart, others = _apart(np.where(trusted, value, inf), trusted)
        judged = trusted & (others >= config.neighbours_min)
        readings = readings.passed(self._widened(judged))
        far = apart > min(config.suspect, config.fail)
        if not far.any():
            return readings
        far &= judged
        wrong = far & (apart > config.fail) & (others > 1)
        readings = readings.flagged(self._widened(far), Flag.SUSPECT, Reason.MULTI_VARIATE)
        return readings.flagged(self._widened(wrong), Flag.FAIL, Reason.MULTI_VARIATE)

    def _widened(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n, k) from a mask (n, g) of the group's channels."""
        if len(self._group) == len(self.schema.channels):
            return mask
        wide = np.zeros((len(mask), len(self.schema.channels)), np.bool_)
        wide[:, self._group] = mask
        return wide


def _apart_of_all(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `_apart`, where all g are trusted: the ranks of the middle ones are the same in each row."""
    others = value.shape[1] - 1
    if not others:
        return np.full(value.shape, inf)
    rank = np.sort(value, axis=1)
    apart = []
    for at in sorted({(others - 1) // 2, others // 2}):
        here, behind = rank[:, at : at + 1], rank[:, at + 1 : at + 2]
        apart.append(np.abs(value - np.where(here < value, here, behind)))
    return np.minimum(apart[0], apart[-1])


def _apart(value: NDArray[np.float64], trusted: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(n, g) how far each value is from the nearer middle one of the others; (n, 1) how many others there are.

    Args:
        value: (n, g), inf where not trusted.
        trusted: (n, g).
    """
    rank = np.sort(value, axis=1)
    others = np.count_nonzero(trusted, axis=1, keepdims=True) - 1
    last = value.shape[1] - 1

    def at(position: NDArray[np.int64]) -> NDArray[np.float64]:
        """The others' value at a rank: all behind the one that is left out move up by one."""
        position = np.clip(position, 0, last)
        here = np.take_along_axis(rank, position, axis=1)
        behind = np.take_along_axis(rank, np.minimum(position + 1, last), axis=1)
        return np.where(here < value, here, behind)

    with np.errstate(invalid="ignore"):  # inf - inf, where nothing is judged
        lower, upper = np.abs(value - at((others - 1) // 2)), np.abs(value - at(others // 2))
    return np.fmin(lower, upper), others
