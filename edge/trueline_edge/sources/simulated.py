"""Readings out of seeded mathematics: each sample a function of its number, so that a restart repeats nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from trueline_edge.sources.source import SYSTEM_CLOCK, ChannelConfig, Clock, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_wire.readings import Schema

__all__ = ["SimulatedConfig"]

_RATE_MAX_HZ = 10_000.0


class SimulatedConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="simulated"
):
    """Every channel shows its `signal` (a sine where it names none).

    Attributes:
        rate_hz: rows a second, up to 10 kHz.
        seed: equal seeds give equal values.
        rows: end after so many; endless where left out.
        start_ns: time of row 0, UTC nanoseconds; where left out, the moment of the first start.
        flat_out: do not wait: rows come as fast as they are taken.
    """

    rate_hz: float = 1.0
    seed: int = 0
    rows: int | None = None
    start_ns: int | None = None
    flat_out: bool = False

    channel_keys: ClassVar = ("signal",)

    def open(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock = SYSTEM_CLOCK
    ) -> Source:
        """The source for a stream. Batches have at most `rows_max` rows."""
        raise NotImplementedError
