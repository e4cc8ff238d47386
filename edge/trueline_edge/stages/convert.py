"""Other units for the same quantity: value, `u`, resolution and the unit in the schema change together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec
import numpy as np

from trueline_edge.stages.stage import Objection, Stateless, unknown_channels
from trueline_edge.stages.units import UnitError, conversion, read_unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from trueline_edge.stages.units import Conversion
    from trueline_wire.readings import Readings, Schema

__all__ = ["Convert", "Rescale"]


class Convert(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="convert"):
    """From the unit a channel declares to another.

    Attributes:
        to: by channel, the unit wanted: a UCUM code ("[degF]", "kPa", "m/s") or a plain name ("degF", "psi").
    """

    kind: ClassVar[Literal["mender"]] = "mender"

    to: dict[str, str]

    def __post_init__(self) -> None:
        if not self.to:
            raise ValueError("to must name a channel")
        for unit in self.to.values():
            try:
                read_unit(unit)
            except UnitError as error:
                raise ValueError(f"to {error}") from error

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels that are not there, or whose unit does not convert."""
        yield from unknown_channels(schema, tuple(self.to), "to")
        for channel in schema.channels:
            if channel.name in self.to:
                try:
                    conversion(channel.unit, self.to[channel.name])
                except UnitError as error:
                    yield Objection(("to", channel.name), f"channel {channel.name!r}: {error}")

    def stage(self, schema: Schema) -> Rescale:
        """The stage for readings of this schema."""
        units = {channel.name: channel.unit for channel in schema.channels}
        return Rescale(schema, {name: conversion(units[name], unit) for name, unit in self.to.items()}, self.to)


class Rescale(Stateless):
    """value -> factor * value + offset, u -> |factor| u, for some channels; the others stay as they are, bit for bit.

    Args:
        schema: of what comes in.
        conversions: by channel.
        units: by channel, what its new unit is.
    """

    def __init__(self, schema: Schema, conversions: Mapping[str, Conversion], units: Mapping[str, str]) -> None:
        changed = []
        for channel in schema.channels:
            if channel.name in conversions:
                resolution = channel.resolution * abs(conversions[channel.name].factor)
                channel = replace(channel, unit=units[channel.name], resolution=resolution)  # noqa: PLW2901 - as above
            changed.append(channel)
        super().__init__(replace(schema, channels=tuple(changed)))
        self._columns = np.array([k for k, c in enumerate(schema.channels) if c.name in conversions], np.intp)
        each = [conversions[schema.channels[k].name] for k in self._columns]
        self._factor: NDArray[np.float64] = np.array([conversion.factor for conversion in each])
        self._offset: NDArray[np.float64] = np.array([conversion.offset for conversion in each])

    def __call__(self, readings: Readings, /) -> Readings:
        """The readings in their new units."""
        k = self._columns
        value, u = readings.value.copy(), readings.u.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # what cannot be held becomes infinite, which is judged FAIL
            value[:, k] = value[:, k] * self._factor + self._offset
            u[:, k] = u[:, k] * np.abs(self._factor)
        return replace(readings, schema=self.schema, value=value, u=u)
