"""The agent: every room of the device, put together in the order the data takes, run as one group of tasks.

Promises: rows and the place they came from are committed together, so a kill neither skips nor repeats one. A stop in
order (SIGTERM) goes from the sensors forwards: sources end, stages are flushed, what waits is spooled, the link says
goodbye. A spool that broke its word ends the process with exit code 70; systemd starts it again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import signal
import sys
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trueline_edge.checkpoint import Checkpoint, Mark, Part
from trueline_edge.courier import Courier, Inbox
from trueline_edge.figures import Figures
from trueline_edge.framing import Cut, encode_frames
from trueline_edge.logs import log_as_json
from trueline_edge.notify import Notifier
from trueline_edge.publish import make_link
from trueline_edge.spool.sqlite import SqliteSpool
from trueline_edge.stream import Stream
from trueline_wire.columns import VALUES_MAX
from trueline_wire.delivery import INSIGNIFICANT, Sender
from trueline_wire.envelope import Lane
from trueline_wire.errors import SpoolUnsafe
from trueline_wire.keys import KeyRing, SigningKey

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from trueline_edge.config import AgentConfig
    from trueline_edge.publish.link import Link
    from trueline_edge.sources import Batch

__all__ = ["EXIT_UNSAFE", "Agent", "run_agent"]

_LOG: Final = logging.getLogger(__name__)

EXIT_UNSAFE: Final = 70
"""Exit code when durable storage broke its word."""

_HEALTH_S: Final = 5.0


class Agent:
    """One device's agent. Made in the loop that runs it, once.

    Args:
        config: see `AgentConfig`.
        until_drained: end when all finite sources are exhausted and everything is acknowledged.
        notifier: the service manager.
        rng: epoch ids and jitter.
        link: instead of those of the configuration.

    Raises:
        ConfigError: the state folder cannot be used, or a source's input is not the one it was.
        SpoolUnsafe: no spool can be kept there.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        until_drained: bool = False,
        notifier: Notifier | None = None,
        rng: random.Random | None = None,
        link: Link | None = None,
    ) -> None:
        self._config = config
        self._until_drained = until_drained
        self._notifier = notifier or Notifier()
        self._stop = asyncio.Event()
        self._inbox = Inbox(asyncio.get_running_loop())
        rng = rng or random.SystemRandom()
        ring = KeyRing()
        ring.trust("cloud", config.cloud.public_key)
        signer = SigningKey.load_or_create(config.state / "device.key")
        # In the order the data takes: sources, stages, framers, sender, spool, link; the spool first, as it remembers.
        self._spool = SqliteSpool(config.state, size_max_bytes=config.spool.size_max_bytes)
        try:
            self._checkpoint = Checkpoint.decode(self._spool.checkpoint())
            marks = self._checkpoint.marks
            self._streams = [Stream(stream, config, marks.get(stream.name, Mark())) for stream in config.streams]
            sender = Sender(
                self._spool,
                device=config.device,
                signer=signer,
                verifier=ring,
                rng=rng,
                clean=self._spool.was_clean,
                journal=self._spool.journal,
                lost=self._checkpoint.lost,
            )
            self._courier = Courier(sender, self._spool)
            self._link = link or make_link(config.links, config.device, rng=rng)
        except BaseException:
            self._spool.close(clean=self._spool.was_clean)
            raise
        self._dropped_before = self._checkpoint.dropped
        self._corrupt_before = self._checkpoint.corrupt
        self._tell_salvage()

    def _tell_salvage(self) -> None:
        salvage = self._spool.salvage
        if salvage is not None:
            _LOG.error(
                "the spool was damaged; what could be read of it was kept",
                extra={
                    "reason": salvage.reason,
                    "aside": salvage.aside.name,
                    "records_kept": salvage.records,
                    "records_lost": salvage.records_lost,
                    "rows_lost": salvage.rows_lost,
                },
            )

    # ------------------------------------------------------------ life

    def stop(self) -> None:
        """End in order."""
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped, or drained where that was asked for; then bring everything to safety.

        Raises:
            ConfigError: a source cannot be read as the configuration says.
            SpoolUnsafe: durable storage broke its word.
        """
        inbox = self._inbox
        clean = False
        try:
            async with asyncio.TaskGroup() as group:
                # From the broker backwards.
                services = [
                    group.create_task(self._link.run(inbox), name="link"),
                    group.create_task(self._courier.deliver_forever(inbox, self._link), name="courier"),
                    group.create_task(self._feed_watchdog_forever(), name="watchdog"),
                    *(group.create_task(service, name="metrics") for service in self._metrics_service()),
                    *(
                        group.create_task(s.renew_forever(), name="models")
                        for s in self._streams
                        if s.pipeline.renewables
                    ),
                ]
                streams = [group.create_task(self._run_stream(stream), name=stream.name) for stream in self._streams]
                self._notifier.ready()
                _LOG.info("running", extra={"device": self._config.device, "streams": len(streams)})
                await self._until_done(streams)
                self._notifier.stopping()
                # From the sensors forwards.
                self._stop.set()
                await asyncio.gather(*streams)
                await self._courier.do(lambda: self._append(None, Cut()))
                for service in services:
                    service.cancel()
            clean = True
        except BaseExceptionGroup as errors:
            raise _one_of(errors) from errors
        finally:
            self._courier.close()
            self._spool.close(clean=clean)

    async def _until_done(self, streams: list[asyncio.Task[None]]) -> None:
        """Return when stopped, or drained where that was asked for."""
        stopped = asyncio.create_task(self._stop.wait())
        try:
            if self._until_drained:
                exhausted = asyncio.create_task(asyncio.wait(streams))
                await asyncio.wait({exhausted, stopped}, return_when=asyncio.FIRST_COMPLETED)
                exhausted.cancel()
                while not stopped.done() and not self._courier.drained:
                    await asyncio.wait([stopped], timeout=0.02)
            else:
                await stopped
        finally:
            stopped.cancel()

    def _metrics_service(self) -> list[Coroutine[Any, Any, None]]:
        metrics = self._config.metrics
        if metrics is None:
            return []
        from trueline_edge.metrics import serve_forever  # noqa: PLC0415 - not paid for where it is not configured

        return [serve_forever(metrics.host, metrics.port, self.figures)]

    async def _feed_watchdog_forever(self) -> None:
        """Say that we live, but only after the spool's thread has answered."""
        interval_s = min(_HEALTH_S, (self._notifier.watchdog_s or 2 * _HEALTH_S) / 2)
        while True:
            await self._courier.do(self._settle)
            self._notifier.alive()
            await asyncio.sleep(interval_s)

    def _settle(self) -> None:
        """Make losses durable that no rows have come to carry."""
        if self._courier.sender.owes_append:
            self._append(None, Cut())

    # ------------------------------------------------------------ the way of the data

    async def _run_stream(self, stream: Stream) -> None:
        """Source -> stages -> frames -> spool. The spool's pace is the pace of a finite source."""
        stopped = asyncio.create_task(self._stop.wait())
        async with aclosing(stream.source.batches()) as batches:
            following = asyncio.create_task(_next(batches))
            try:
                while not stopped.done():
                    due_s = stream.framer.due_s
                    timeout = None if due_s is None else max(due_s - time.monotonic(), 0.0)
                    await asyncio.wait({following, stopped}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                    if following.done():
                        cuts = stream.take(following.result())
                        following = asyncio.create_task(_next(batches))
                    elif due_s is not None and time.monotonic() >= due_s:
                        cuts = [stream.framer.cut()]
                    else:
                        continue
                    await self._spool_cuts(stream, cuts)
            except _Exhausted:
                _LOG.info("the source is exhausted", extra={"stream": stream.name})
            finally:
                stopped.cancel()
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        await self._spool_cuts(stream, stream.finish())
        await self._courier.do(self._courier.sender.tell_losses)

    async def _spool_cuts(self, stream: Stream, cuts: list[Cut]) -> None:
        for cut in cuts:
            await self._courier.do(lambda cut=cut: self._append(stream, cut))  # type: ignore[misc]
        if cuts:
            self._inbox.wake()

    def _append(self, stream: Stream | None, cut: Cut) -> None:
        """Make a cut durable, with the checkpoint behind it. Runs in the courier's thread."""
        checkpoint, sender = self._checkpoint, self._courier.sender
        parts: list[Part] = []
        if stream is not None:
            parts, too_large = self._parts(stream, cut)
            if too_large:
                cut.lost["frame_too_large"] = cut.lost.get("frame_too_large", 0) + too_large
            if cut.insignificant:
                cut.lost[INSIGNIFICANT] = cut.insignificant
            mark = checkpoint.marks.setdefault(stream.name, Mark())
            mark.offset, mark.stages = cut.offset, cut.stages
            mark.sampled += cut.sampled
            for readings in cut.events:
                checkpoint.marks.setdefault(readings.schema.stream, Mark()).sampled += len(readings)
            checkpoint.count(parts)
        checkpoint.lost = _sum(sender.lost, cut.lost)
        checkpoint.dropped = self._dropped_before + sender.counts.rows_dropped
        checkpoint.corrupt = self._corrupt_before + sender.counts.rows_corrupt
        lost_before = sender.counts.rows_lost
        sender.append([frame for part in parts for frame in part.frames], checkpoint.encode(), cut.lost)
        if sender.counts.rows_lost > lost_before:  # not even a gap made room
            checkpoint.count(parts, times=-1)
        self._courier.drained = sender.drained

    def _parts(self, stream: Stream, cut: Cut) -> tuple[list[Part], int]:
        """The frames of a cut by stream, those of events behind their rows; and the rows that fit into none."""
        message_max, too_large = self._inbox.message_max, 0
        parts: list[Part] = []
        for lane, batches in ((stream.lane, cut.readings), *((Lane.EVENT, [told]) for told in cut.events)):
            if batches:
                schema = batches[0].schema
                rows_max = min(self._config.frame.rows_max, VALUES_MAX // len(schema.channels))
                frames, lost = encode_frames(batches, lane, rows_max=rows_max, message_max=message_max)
                parts.append(Part(schema.stream, len(schema.channels), frames))
                too_large += lost
        return parts, too_large

    # ------------------------------------------------------------ figures

    def figures(self) -> Figures:
        """Where the agent stands."""
        checkpoint, sender = self._checkpoint, self._courier.sender
        counts = sender.counts
        last_ack_s = self._courier.last_ack_s
        return Figures(
            rows_sampled=checkpoint.sampled,
            rows_spooled=checkpoint.spooled,
            rows_lost={reason: count for reason, count in sender.lost.items() if reason != INSIGNIFICANT},
            rows_insignificant=sender.lost.get(INSIGNIFICANT, 0),
            rows_dropped=self._dropped_before + counts.rows_dropped,
            rows_corrupt=self._corrupt_before + counts.rows_corrupt,
            rows_acknowledged=self._courier.rows_acknowledged,
            frames_appended=checkpoint.frames,
            frames_sent=counts.frames_sent,
            frames_acknowledged=counts.frames_acknowledged,
            bytes_appended=checkpoint.body_bytes,
            values_appended=checkpoint.values,
            timeouts=counts.timeouts,
            alarms=dict(counts.alarms),
            spool_bytes=self._courier.spool_bytes,
            spool_limit_bytes=self._spool.size_max_bytes,
            link_up=self._inbox.is_up,
            last_ack_age_s=math.nan if last_ack_s is None else time.monotonic() - last_ack_s,
            drained=self._courier.drained,
        )

    def summary(self) -> dict[str, Any]:
        """What `run --json` prints at the end."""
        f = self.figures()
        return {
            "device": self._config.device,
            "rows_sampled": f.rows_sampled,
            "rows_spooled": f.rows_spooled,
            "rows_lost": f.rows_lost,
            "rows_insignificant": f.rows_insignificant,
            "rows_dropped": f.rows_dropped,
            "frames_appended": f.frames_appended,
            "frames_acknowledged": f.frames_acknowledged,
            "bytes_appended": f.bytes_appended,
            "values_appended": f.values_appended,
            "drained": f.drained,
        }


class _Exhausted(Exception):  # noqa: N818 - says what is the case
    """The source has no more: what StopAsyncIteration cannot say, as it cannot leave a task."""


async def _next(batches: Any) -> Batch:
    try:
        batch: Batch = await anext(batches)
    except StopAsyncIteration:
        raise _Exhausted from None
    return batch


def _sum(lost: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {reason: lost.get(reason, 0) + more.get(reason, 0) for reason in {**lost, **more}}


def _one_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a group of groups; SpoolUnsafe before any other."""
    unsafe = group.subgroup(SpoolUnsafe)
    found: BaseException = unsafe or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def run_agent(config: AgentConfig, *, until_drained: bool = False, as_json: bool = False) -> int:
    """Run an agent in this process until SIGTERM, SIGINT, or until it has drained.

    Returns:
        0 after an end in order, 70 where durable storage broke its word.

    Raises:
        ConfigError: see `Agent`.
    """
    log_as_json()
    try:
        agent = asyncio.run(_run(config, until_drained=until_drained))
    except SpoolUnsafe as error:
        _LOG.critical("durable storage broke its word: no more is accepted", extra={"reason": str(error)})
        return EXIT_UNSAFE
    if as_json:
        sys.stdout.write(msgspec.json.encode(agent.summary()).decode() + "\n")
        sys.stdout.flush()
    return 0


async def _run(config: AgentConfig, *, until_drained: bool) -> Agent:
    agent = Agent(config, until_drained=until_drained)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()
    return agent
