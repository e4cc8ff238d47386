"""One stream on its way to the spool: a source, its stages and its framer.

Promises: goes on behind the last row that was made durable, with the stages as they were there; a model that
replaces another takes over between two batches.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from trueline_edge.framing import Cut, Framer
from trueline_edge.pipeline import Pipeline
from trueline_wire.envelope import Lane
from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from trueline_edge.checkpoint import Mark
    from trueline_edge.config import AgentConfig, StreamConfig
    from trueline_edge.sources import Batch, Source
    from trueline_wire.readings import Schema

__all__ = ["Stream"]

_LOG: Final = logging.getLogger(__name__)
_RENEWAL_S: Final = 5.0
"""Between two looks whether a stage's model was replaced."""
_LANES: Final = {"data": Lane.DATA, "event": Lane.EVENT}


class Stream:
    """A source, its stages and its framer.

    Args:
        config: of the stream.
        agent: the whole configuration.
        mark: where the stream stood when the last rows were spooled.

    Attributes:
        schema: of the readings that leave the last stage.

    Raises:
        ConfigError: the source's input is not the one it was, or a stage's file cannot be used.
    """

    def __init__(self, config: StreamConfig, agent: AgentConfig, mark: Mark) -> None:
        self.name: Final = config.name
        self.lane: Final = _LANES[config.lane]
        measured = config.schema(agent.device)
        self.source: Final[Source] = config.source.open(measured, config.channels, rows_max=agent.frame.rows_max)
        self.pipeline: Final = _pipeline(config, measured, mark.stages)
        self.schema: Final = self.pipeline.schema
        self.framer: Final = Framer(agent.frame.rows_max, agent.frame.interval_s)
        self.offset = mark.offset
        self._left_out = 0
        if mark.offset:
            self.source.resume(mark.offset)

    def take(self, batch: Batch) -> list[Cut]:
        """Send a batch through the stages; the cuts that became due."""
        readings = self.pipeline(batch.readings)
        self.offset = batch.offset
        return self._add(readings, len(batch.readings), batch.lost)

    def finish(self) -> list[Cut]:
        """What stages and framer still hold."""
        held = [*self.pipeline.flush(), Readings.empty(self.schema)]  # the stages may have left out all they held
        cuts = [cut for readings in held for cut in self._add(readings, 0, {})]
        last = self.framer.cut()
        return [*cuts, last] if last.rows or last.sampled or last.insignificant else cuts

    def _add(self, readings: Readings, sampled: int, lost: Any) -> list[Cut]:
        left_out = self.pipeline.insignificant - self._left_out
        self._left_out += left_out
        return self.framer.add(
            readings,
            time.monotonic(),
            offset=self.offset,
            stages=self.pipeline.state(),
            sampled=sampled,
            lost=lost,
            insignificant=left_out,
            events=self.pipeline.take_told(),
        )

    async def renew_forever(self) -> None:
        """Follow what its stages read while it runs: models that are replaced. The work is done aside."""
        while True:
            await asyncio.sleep(_RENEWAL_S)
            for stage in self.pipeline.renewables:
                if (prepare := stage.maybe_renewal()) is not None:
                    (await asyncio.to_thread(prepare))()


def _pipeline(config: StreamConfig, schema: Schema, saved: bytes) -> Pipeline:
    """The stages, as they were saved; fresh where there is nothing to go on with."""
    pipeline = Pipeline(config.stages, schema)
    if saved:
        try:
            if pipeline.restore(saved):
                return pipeline
            _LOG.warning("the stages were changed: they start fresh", extra={"stream": config.name})
        except ValueError as error:
            _LOG.warning(
                "the stages cannot read what they had saved: they start fresh",
                extra={"stream": config.name, "reason": str(error)},
            )
            return Pipeline(config.stages, schema)
    return pipeline
