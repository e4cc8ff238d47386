"""The CoAP link of the cloud: POST /tl/1/<device>, block-wise (RFC 7959); the answer carries the acknowledgements.

    request payload    one message
    2.04 Changed       acknowledgements, each behind its length as two bytes, big-endian; maybe none
    2.31, 4.08, 4.13   block-wise: go on; a block is missing, start again; larger than a message may be
    4.04, 4.05         not a device's path; not a POST
    5.03               too many requests, or no commit in time: the same request later

Promises: an acknowledgement of something accepted leaves after its commit; the bytes of unfinished transfers are
bounded in number and size. Refuses to know what a message says; frames are signed, so anybody may knock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import aiocoap
import msgspec
from aiocoap import resource
from aiocoap.numbers import codes

from trueline_cloud.ingest.intake import Inbound, Intake
from trueline_wire.envelope import MESSAGE_SIZE_MAX
from trueline_wire.errors import ConfigError
from trueline_wire.topics import DEVICE_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CoapLink", "CoapSettings"]

_log = logging.getLogger(__name__)

_ANSWER_S: Final = 5.0
_REQUESTS_MAX: Final = 512
_TRANSFERS_MAX: Final = 256
_ANSWER_SIZE_MAX: Final = 1024
_RECENT_MAX: Final = (
    2048  # answers of 3 KB each, kept for datagrams that come twice: RFC 7252 says 247 s, without a bound
)
_PORT_MAX: Final = 65_535


class CoapSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where we listen.

    Attributes:
        host: address; anything but loopback may be reached by anybody, who then finds that frames must be signed.
        port: 5683 is CoAP's own; 0 is any free port.
    """

    host: str = "127.0.0.1"
    port: int = 5683

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT_MAX:
            raise ValueError(f"port {self.port}: 0 to {_PORT_MAX} are wanted")


class CoapLink(resource.Resource, resource.PathCapable):  # type: ignore[misc] # aiocoap is not typed
    """A server for all devices' paths.

    Args:
        settings: see `CoapSettings`.
        intake: where messages go.

    Attributes:
        port: where it listens, once started.
        refused: requests answered with 5.03.
    """

    def __init__(self, settings: CoapSettings, intake: Intake) -> None:
        super().__init__()
        self.port = settings.port
        self.refused = 0
        self._settings = settings
        self._intake = intake
        self._requests = 0
        self._transfers: OrderedDict[tuple[Any, str], bytearray] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: aiocoap.Context | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be bound.
        """
        self._loop = asyncio.get_running_loop()
        self.port = _probe(self._settings)
        site = resource.Site()
        site.add_resource(("tl", "1"), self)
        try:
            self._context = await aiocoap.Context.create_server_context(
                site, bind=(self._settings.host, self.port), transports=["udp6"]
            )
        except OSError as error:
            raise _cannot_bind(self._settings, error) from error
        for interface in self._context.request_interfaces:
            interface.token_interface._recent_messages = _Recent()  # noqa: SLF001 - aiocoap bounds it by time alone

    async def stop(self) -> None:
        """Listen no more."""
        if self._context is not None:
            await self._context.shutdown()

    def answer(self, device: str, token: Any, acks: list[bytes]) -> None:  # noqa: ARG002 - the token says it
        """Answer a request. Called from the ingest thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has the request
                self._loop.call_soon_threadsafe(_resolve, token, acks)

    # ------------------------------------------------------------ aiocoap's side

    async def needs_blockwise_assembly(self, request: aiocoap.Message) -> bool:  # noqa: ARG002 - aiocoap asks with it
        """Blocks are put together here, where their number and size are bounded."""
        return False

    async def render(self, request: aiocoap.Message) -> aiocoap.Message:
        """One request."""
        path: Sequence[str] = request.opt.uri_path
        if len(path) != 1 or not DEVICE_ID.fullmatch(path[0]):
            return aiocoap.Message(code=codes.NOT_FOUND)
        if request.code != codes.POST:
            return aiocoap.Message(code=codes.METHOD_NOT_ALLOWED)
        block = request.opt.block1
        message = request.payload if block is None else self._assemble(request, path[0])
        if isinstance(message, aiocoap.Message):
            return message
        if len(message) > MESSAGE_SIZE_MAX:
            return aiocoap.Message(code=codes.REQUEST_ENTITY_TOO_LARGE)
        response = await self._hand_over(path[0], bytes(message))
        if block is not None:
            response.opt.block1 = block
        return response

    def _assemble(self, request: aiocoap.Message, device: str) -> bytes | aiocoap.Message:
        """The whole payload with the last block; until then the answer to this one."""
        block = request.opt.block1
        key = (request.remote, device)
        if block.block_number == 0:
            self._transfers.pop(key, None)
            while len(self._transfers) >= _TRANSFERS_MAX:
                self._transfers.popitem(last=False)  # the one that has waited longest starts again
            self._transfers[key] = bytearray()
        parts = self._transfers.get(key)
        if parts is None or len(parts) != block.start:
            return aiocoap.Message(code=codes.REQUEST_ENTITY_INCOMPLETE)
        if len(parts) + len(request.payload) > MESSAGE_SIZE_MAX:
            del self._transfers[key]
            return aiocoap.Message(code=codes.REQUEST_ENTITY_TOO_LARGE)
        parts += request.payload
        if block.more:
            self._transfers.move_to_end(key)
            return aiocoap.Message(code=codes.CONTINUE, block1=block)
        del self._transfers[key]
        return bytes(parts)

    async def _hand_over(self, device: str, message: bytes) -> aiocoap.Message:
        token: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        if self._requests >= _REQUESTS_MAX or not self._intake.put(Inbound(self, device, message, token)):
            return self._later()
        self._requests += 1
        try:
            acks = await asyncio.wait_for(token, _ANSWER_S)
        except TimeoutError:
            return self._later()
        finally:
            self._requests -= 1
        payload = b""
        for ack in acks:
            if len(payload) + 2 + len(ack) <= _ANSWER_SIZE_MAX:
                payload += len(ack).to_bytes(2, "big") + ack
        return aiocoap.Message(code=codes.CHANGED, payload=payload)

    def _later(self) -> aiocoap.Message:
        self.refused += 1
        return aiocoap.Message(code=codes.SERVICE_UNAVAILABLE, max_age=1)


class _Recent(OrderedDict[Any, Any]):
    """aiocoap's memory of datagrams, bounded: what is forgotten and comes again is a frame with a known number."""

    def __setitem__(self, key: Any, answer: Any) -> None:
        super().__setitem__(key, answer)
        while len(self) > _RECENT_MAX:
            self.popitem(last=False)

    def pop(self, key: Any, default: Any = None) -> Any:
        """Forget one, if it is still known: aiocoap's timer comes for each."""
        return super().pop(key, default)


def _resolve(token: asyncio.Future[list[bytes]], acks: list[bytes]) -> None:
    if not token.done():
        token.set_result(acks)


def _probe(settings: CoapSettings) -> int:
    """The port to listen on, which nobody else listens on (aiocoap would share it without a word)."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise _cannot_bind(settings, error) from error
        return int(probe.getsockname()[1])


def _cannot_bind(settings: CoapSettings, error: OSError) -> ConfigError:
    return ConfigError(f"[coap] {settings.host}:{settings.port} cannot be listened on: {error.strerror or error}")
