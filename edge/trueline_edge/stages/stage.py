"""What every stage keeps: Readings in, Readings out, pure but for a state that can be saved.

The laws (checked for every stage by `tests/contracts/test_stages.py`): input arrays are left untouched; same input,
same output; an empty batch is fine; every reading that goes in comes out once, with its own time, after at most `delay`
rows, and `flush()` gives the rest; cutting the stream into batches elsewhere does not change the concatenated result; a
stage restored from `state()` goes on as if nothing had happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Stage", "StageConfig", "Stateless", "channel_mask"]


class Stage(Protocol):
    """One step of a pipeline, made for one schema."""

    delay: int
    """Rows it may hold back."""

    def __call__(self, readings: Readings, /) -> Readings:
        """Judge a batch (and give out what was held back before it)."""
        raise NotImplementedError

    def flush(self) -> Readings:
        """What is still held back; empty for a stage without delay."""
        raise NotImplementedError

    def state(self) -> bytes:
        """All it remembers."""
        raise NotImplementedError

    def restore(self, state: bytes) -> None:
        """Remember what a stage of the same configuration and schema had saved."""


class StageConfig(Protocol):
    """What a person writes under `[[stream.stage]]`; a stage that exists is valid."""

    @property
    def channels(self) -> tuple[str, ...] | None:
        """The channels judged; None for all."""
        raise NotImplementedError

    def stage(self, schema: Schema) -> Stage:
        """The stage for readings of this schema."""
        raise NotImplementedError


class Stateless:
    """A stage that remembers nothing and holds nothing back."""

    delay = 0

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self._schema)

    def state(self) -> bytes:
        """Nothing is remembered."""
        return b""

    def restore(self, state: bytes) -> None:
        """Nothing to remember."""


def channel_mask(schema: Schema, channels: Sequence[str] | None) -> NDArray[np.bool_]:
    """(k,) bool: the channels a stage judges; None means all."""
    return np.array([channels is None or channel.name in channels for channel in schema.channels], np.bool_)
