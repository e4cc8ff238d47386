"""What tests of sources share: a clock that jumps where it is told to wait, and a way to drain a source."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from trueline_edge.sources import Batch, Clock
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from trueline_edge.sources import ChannelConfig, Source

START_NS = 1_600_000_000_000_000_000


class VirtualTime:
    """Sleeping takes no time and moves the clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    @property
    def clock(self) -> Clock:
        return Clock(wall_ns=lambda: START_NS + int(self.now_s * 1e9), monotonic_s=lambda: self.now_s, sleep=self.sleep)


def schema_of(channels: list[ChannelConfig]) -> Schema:
    return Schema(device="d", stream="s", channels=tuple(Channel(name=channel.name) for channel in channels))


async def drain(source: Source, batches_max: int | None = None) -> list[Batch]:
    """All batches, or the first ones."""
    taken: list[Batch] = []
    async with aclosing(source.batches()) as batches:
        if batches_max == 0:
            return taken
        async for batch in batches:
            taken.append(batch)
            if len(taken) == batches_max:
                break
    return taken


def joined(batches: list[Batch], schema: Schema) -> Readings:
    return Readings.concatenate([Readings.empty(schema), *[batch.readings for batch in batches]])


def lost(batches: list[Batch]) -> dict[str, int]:
    total: dict[str, int] = {}
    for batch in batches:
        for reason, count in batch.lost.items():
            total[reason] = total.get(reason, 0) + count
    return total
