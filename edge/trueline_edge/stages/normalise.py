"""Values as pure numbers, by figures that are given: a model or a person compares channels of different units.

The figures are fixed, so that the same value is the same number today and in a year; take them from a recording.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from trueline_edge.stages.convert import Rescale
from trueline_edge.stages.stage import unknown_channels
from trueline_edge.stages.units import Conversion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_wire.readings import Schema
    from trueline_wire.settings import Objection

__all__ = ["Normalise"]


class Normalise(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="normalise"
):
    """A channel stands in one of the two tables; its unit becomes "1". `u` and resolution scale with it.

    Attributes:
        ranges: by channel: [lowest, highest], in its unit, become 0 and 1.
        scores: by channel: [mean, standard deviation], in its unit, become 0 and a step of 1.
    """

    kind: ClassVar[Literal["mender"]] = "mender"

    ranges: dict[str, tuple[float, float]] = {}
    scores: dict[str, tuple[float, float]] = {}

    def __post_init__(self) -> None:
        if not self.ranges and not self.scores:
            raise ValueError("ranges or scores must name a channel")
        for name, (lowest, highest) in self.ranges.items():
            if not -inf < lowest < highest < inf:
                raise ValueError(f"ranges of {name!r}: {lowest} must be below {highest}")
            if name in self.scores:
                raise ValueError(f"scores names {name!r}, which ranges names too")
        for name, (mean, deviation) in self.scores.items():
            if not (-inf < mean < inf and 0.0 < deviation < inf):
                raise ValueError(f"scores of {name!r}: a mean and a deviation above 0 are wanted")

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels that are not there."""
        yield from unknown_channels(schema, tuple(self.ranges), "ranges")
        yield from unknown_channels(schema, tuple(self.scores), "scores")

    def stage(self, schema: Schema) -> Rescale:
        """The stage for readings of this schema."""
        figures = {name: (low, high - low) for name, (low, high) in self.ranges.items()} | self.scores
        conversions = {name: Conversion(1.0 / step, -zero / step) for name, (zero, step) in figures.items()}
        return Rescale(schema, conversions, dict.fromkeys(conversions, "1"))
