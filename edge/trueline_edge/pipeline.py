"""The engine: stages in the order of the configuration, and their state as one.

Promises: `pipeline(readings)` is what the stages make of the batch, one after the other; `schema` is what comes out
behind the last; `state` and `restore` carry all of them over a restart. A state saved under another configuration is
not taken: the pipeline starts fresh, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trueline_edge.stages import Renewable, Teller, Thinner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_edge.stages import Stage, StageConfig
    from trueline_wire.readings import Readings, Schema

__all__ = ["Pipeline"]


class _State(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: bytes
    stages: list[bytes]


class Pipeline:
    """The stages of one stream, each made for the schema the one before gives out.

    Args:
        configs: in order.
        schema: of the readings that will come.

    Raises:
        ConfigError: a file a stage names cannot be used.
    """

    def __init__(self, configs: Sequence[StageConfig], schema: Schema) -> None:
        self._stages: list[Stage] = []
        fingerprint = schema.hash
        for config in configs:
            self._stages.append(config.stage(schema))
            if (out := self._stages[-1].schema) is not schema:
                fingerprint += out.hash
            schema = out
        self._fingerprint = fingerprint + msgspec.json.encode(list(configs), enc_hook=str)
        self.schema: Final = schema
        self.renewables: Final = [stage for stage in self._stages if isinstance(stage, Renewable)]
        self._thinners = [stage for stage in self._stages if isinstance(stage, Thinner)]
        self._tellers = [stage for stage in self._stages if isinstance(stage, Teller)]

    def __call__(self, readings: Readings) -> Readings:
        """Send a batch through all stages."""
        for stage in self._stages:
            readings = stage(readings)
        return readings

    @property
    def insignificant(self) -> int:
        """Rows its stages have left out, as not worth sending, since it was made."""
        return sum(stage.insignificant for stage in self._thinners)

    def take_told(self) -> list[Readings]:
        """What its stages have to tell beside their channels, since it was last asked: one frame of events each."""
        return [told for stage in self._tellers for told in stage.take_told()]

    def flush(self) -> list[Readings]:
        """What the stages still hold back, at the end of a stream, in order; empty batches left out."""
        rest: list[Readings] = []
        for position, stage in enumerate(self._stages):
            held = stage.flush()
            for later in self._stages[position + 1 :]:
                held = later(held)
            rest.append(held)
        return [readings for readings in rest if len(readings)]

    def state(self) -> bytes:
        """All the stages remember."""
        return msgspec.msgpack.encode(_State(self._fingerprint, [stage.state() for stage in self._stages]))

    def restore(self, state: bytes) -> bool:
        """Remember it. False where it was saved under another configuration, and nothing was restored.

        Raises:
            ValueError: the bytes are no state; make a new pipeline, as some stages may have taken theirs.
        """
        saved = msgspec.msgpack.decode(state, type=_State)
        if saved.fingerprint != self._fingerprint:
            return False
        for stage, remembered in zip(self._stages, saved.stages, strict=True):
            stage.restore(remembered)
        return True
