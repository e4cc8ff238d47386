"""CoAP on aiocoap: each message is one block-wise POST, and its answer carries the acknowledgements.

Promises: at most four requests in flight; a request that fails is over, and the sender decides what is sent again.
Three failures in a row, or a network that says no, mean that the link is down; it is probed with a GET until something
answers.

The answer's payload is a list of acknowledgements, each behind its length in two bytes, big-endian. Block-wise
transfers to one resource from one endpoint must not overlap (RFC 7959, section 2.5), so each request in flight has a
socket of its own.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING, Any, Final

import aiocoap
from aiocoap.error import Error as CoapError
from aiocoap.error import NetworkError

from trueline_edge.publish.link import RETRY_MAX_S, Backoff, fits
from trueline_wire.envelope import MESSAGE_SIZE_MAX
from trueline_wire.topics import coap_path

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from trueline_edge.publish.config import CoapLinkConfig
    from trueline_edge.publish.link import Events
    from trueline_wire.delivery import Transmit

__all__ = ["CoapLink", "split_answer"]

_LOG: Final = logging.getLogger(__name__)

_PARALLEL: Final = 4
_WINDOW_FRAMES: Final = 16
_QUEUE_MAX: Final = 64
_FAILURES_MAX: Final = 3
_REQUEST_TIMEOUT_S: Final = 60.0
_PROBE_TIMEOUT_S: Final = 10.0
_REFUSED_PAUSE_S: Final = 1.0
_LENGTH: Final = struct.Struct(">H")


class _Tuning(aiocoap.TransportTuning):  # type: ignore[misc]  # aiocoap is not typed
    """As RFC 7252 has it, but twice as quick to send again: a block is small, and a frame has many."""

    ACK_TIMEOUT = 1.0


class _Down(Exception):  # noqa: N818 - says what is the case
    """The peer does not answer; the message says how."""


class CoapLink:
    """A link to the cloud's CoAP port.

    Args:
        config: see `CoapLinkConfig`.
        device: the device's id.
        rng: gives the jitter.
        retry_max_s: the longest wait before the cloud is tried again.
    """

    def __init__(
        self, config: CoapLinkConfig, device: str, *, rng: random.Random, retry_max_s: float = RETRY_MAX_S
    ) -> None:
        host = f"[{config.host}]" if ":" in config.host else config.host
        self._base = f"coap://{host}:{config.port}"
        self._uri = f"{self._base}/{'/'.join(coap_path(device))}"
        self._backoff = Backoff(rng, retry_max_s)
        self._queue: asyncio.Queue[Transmit] = asyncio.Queue(_QUEUE_MAX)
        self._failures = 0
        self._events: Events | None = None

    @property
    def name(self) -> str:
        """Protocol and address."""
        return self._base

    def send(self, transmit: Transmit) -> None:
        """See `Link.send`. Call it in the loop that runs the link."""
        if self._events is None:
            return
        if self._queue.full() or not fits(transmit.message, MESSAGE_SIZE_MAX):
            self._events.confirmed()
        else:
            self._queue.put_nowait(transmit)

    async def run(self, events: Events) -> None:
        """See `Link.run`."""
        while True:
            contexts: list[Any] = []
            try:
                for _ in range(_PARALLEL):  # UDP alone: the other transports cost 5 MB
                    context = await aiocoap.Context.create_client_context(transports=["udp6"])
                    contexts.append(context)
                await self._session(contexts, events)
            except (_Down, CoapError, TimeoutError, OSError) as error:
                _LOG.warning("link lost", extra={"link": self.name, "reason": str(error) or repr(error)})
            finally:
                for context in contexts:
                    await context.shutdown()
            await asyncio.sleep(self._backoff.next_s())

    async def _session(self, contexts: list[Any], events: Events) -> None:
        """Probe, then carry until the link is down."""
        probe = aiocoap.Message(code=aiocoap.GET, uri=self._uri, transport_tuning=_Tuning())
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            await contexts[0].request(probe).response
        self._failures = 0
        self._queue = asyncio.Queue(_QUEUE_MAX)
        self._events = events
        events.connected(window_frames=_WINDOW_FRAMES, message_max=MESSAGE_SIZE_MAX)
        workers = [asyncio.create_task(self._carry_forever(context, events)) for context in contexts]
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._events = None
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            events.disconnected()

    async def _carry_forever(self, context: Any, events: Events) -> None:
        while True:
            transmit = await self._queue.get()
            try:
                answer = await self._post(context, transmit.message)
            except NetworkError as error:
                raise _Down(f"{error!r}") from error
            except (CoapError, TimeoutError) as error:
                self._failures += 1
                if self._failures >= _FAILURES_MAX:
                    raise _Down(f"{self._failures} requests failed, the last: {error!r}") from error
                continue
            finally:
                events.confirmed()
            self._failures = 0
            self._backoff.reset()
            if answer.code.is_successful():
                for message in split_answer(answer.payload):
                    events.received(message)
            else:  # it answers, so the link is up; the sender sends again when its timer says so
                await asyncio.sleep(_REFUSED_PAUSE_S)

    async def _post(self, context: Any, message: bytes) -> Any:
        request = aiocoap.Message(code=aiocoap.POST, uri=self._uri, payload=message, transport_tuning=_Tuning())
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):  # not wait_for: in Python 3.11 it can swallow a cancellation
            return await context.request(request).response


def split_answer(payload: bytes) -> Iterator[bytes]:
    """The messages in an answer; what does not follow the format ends it."""
    at = 0
    while at + _LENGTH.size <= len(payload):
        (size,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        if size > len(payload) - at:
            return
        yield payload[at : at + size]
        at += size
