"""The service: everything is built here, in the order data flows, and stopped in the same order.

    links -> intake -> ingest thread: receiver -> journal -> acknowledgements, live -> pages and API

Promises: ready means that frames are taken and pages are served; SIGTERM commits the open group before the process
ends; whatever ends the ingest thread ends the process. Refuses to do any of the work itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from trueline_cloud.api.app import create_app
from trueline_cloud.config import CloudSettings, HttpSettings, read_token
from trueline_cloud.ingest.coap import CoapLink
from trueline_cloud.ingest.decode import FrameDecoder
from trueline_cloud.ingest.greeting import Greeter
from trueline_cloud.ingest.intake import Intake
from trueline_cloud.ingest.marker import Marker
from trueline_cloud.ingest.metrics import Metrics
from trueline_cloud.ingest.mqtt import MqttLink
from trueline_cloud.ingest.trust import DEVICES, Devices
from trueline_cloud.ingest.worker import Ingest, IngestThread
from trueline_cloud.live import Live
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_cloud.storage.tables import JOURNAL_NAME
from trueline_wire.delivery import Receiver
from trueline_wire.errors import ConfigError
from trueline_wire.keys import SigningKey
from trueline_wire.topics import shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trueline_wire.delivery import Group
    from trueline_wire.readings import Readings

__all__ = ["KEY_NAME", "Service", "serve_forever"]

_log = logging.getLogger(__name__)

KEY_NAME: Final = "cloud.key"
_SWITCH_INTERVAL_S: Final = 0.0005
"""How long the ingest thread keeps the interpreter from pages that wait for it, s (Python's default is 0.005)."""

_GARBAGE: Final = (20_000, 20, 20)
"""When to look for cycles of garbage: seldom, for frames leave none, and ten thousand lanes take a while to look at."""

_STOP_S: Final = 20


class Service:
    """The parts of a service, connected. `run` brings them to life.

    Args:
        settings: see `CloudSettings`.

    Raises:
        ConfigError: something named in the settings cannot be used.
        SpoolUnsafe: the journal cannot be opened.
    """

    def __init__(self, settings: CloudSettings) -> None:
        state = settings.state
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"state folder {state}: {error.strerror}") from error
        token = read_token(settings.http)
        signer = SigningKey.load_or_create(state / KEY_NAME)
        self._settings = settings
        self._live = Live()
        self._metrics = Metrics()
        self._intake = Intake()
        self._devices = Devices(state / DEVICES, _log.error)
        self._journal = Journal(
            state / JOURNAL_NAME,
            quarantine_records_max=settings.journal.quarantine_records_max,
            quarantine_bytes_max=settings.journal.quarantine_bytes_max,
            committed=self._show,
        )
        self._decoder = FrameDecoder()
        receiver = Receiver(
            self._journal,
            verifier=self._devices,
            signer=signer,
            decode=self._decoder,
            owns=_owner(settings),
        )
        self._ingest = Ingest(
            receiver,
            self._journal,
            self._devices,
            Marker(state / "ingest.marker"),
            self._metrics,
            settings.journal.commit,
            greeter=Greeter(self._journal, signer),
        )
        self._ended = asyncio.Event()
        self._thread = IngestThread(self._ingest, self._intake, self._wake)
        self._mqtt = None if settings.mqtt is None else MqttLink(settings.mqtt, self._intake, self._note_presence)
        self._coap = None if settings.coap is None else CoapLink(settings.coap, self._intake)
        self._app = create_app(
            open_reader=lambda: JournalReader(state, _log.error),
            live=self._live,
            token=token,
            metrics=self._metrics.text,
            health=self._health,
        )
        self._metrics.counts = receiver.counts
        self._measure()

    async def run(self, ready: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT, or until the ingest thread ends.

        Args:
            ready: told, once, where to find what is served.

        Raises:
            ConfigError: an address cannot be bound.
            SpoolUnsafe: a sync failed.
        """
        loop = self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        listener = _listen(self._settings.http)
        server = _Server(
            uvicorn.Config(
                self._app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, server_header=False
            )
        )
        self._thread.start()
        serving = asyncio.create_task(server.serve([listener]))
        try:
            if self._coap is not None:
                await self._coap.start()
            if self._mqtt is not None:
                self._mqtt.start()
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has a flag and no event
                await asyncio.sleep(0.005)
            ready(self._places(listener))
            ended = asyncio.create_task(self._ended.wait())
            await asyncio.wait((serving, ended), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
        finally:
            await self._stop(server, serving)
        if self._thread.failure is not None:
            raise self._thread.failure

    async def _stop(self, server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
        """From the links backwards: nothing new comes in, what came is committed and answered, then pages end."""
        if self._mqtt is not None:
            self._mqtt.pause()
        self._thread.stop()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, _STOP_S)
        if self._mqtt is not None:
            await asyncio.to_thread(self._mqtt.stop)
        if self._coap is not None:
            await self._coap.stop()
        self._live.close()
        server.should_exit = True
        await serving
        if not self._thread.is_alive():
            self._journal.close()

    def _places(self, listener: socket.socket) -> str:
        host, port = listener.getsockname()[:2]
        places = f"ready http=http://{f'[{host}]' if ':' in host else host}:{port}"
        if self._coap is not None and self._settings.coap is not None:
            places += f" coap={self._settings.coap.host}:{self._coap.port}"
        return places

    def _note_presence(self, device: str, online: bool, before_us: bool) -> None:  # noqa: FBT001 - as the link tells it
        self._ingest.presence(device, online=online)
        if online and before_us and self._mqtt is not None:
            self._ingest.greet(device, self._mqtt)

    def _wake(self) -> None:
        """The ingest thread has ended."""
        with contextlib.suppress(RuntimeError):  # the loop ended before it
            self._loop.call_soon_threadsafe(self._ended.set)

    def _show(self, group: Group[Readings]) -> None:
        """A group was committed: those who watch see it."""
        for frame in group.frames:
            self._live.publish(frame.record.device, frame.decoded)
        shown = {frame.record.device for frame in group.frames}
        for device, _ in group.lanes:
            if device not in shown:
                self._live.touch(device)

    def _health(self) -> dict[str, Any]:
        return {
            "ingest_alive": self._thread.is_alive(),
            "last_commit_age_s": self._ingest.last_commit_age_s,
            "waiting_age_s": self._ingest.waiting_age_s,
            "broker_connected": None if self._mqtt is None else self._mqtt.connected,
            "messages_waiting": len(self._intake),
            "devices_enrolled": len(self._devices),
        }

    def _measure(self) -> None:
        gauges, labelled = self._metrics.gauges, self._metrics.labelled
        gauges["trueline_intake_messages", "Messages that wait for the ingest thread."] = lambda: len(self._intake)
        gauges["trueline_intake_bytes", "Their bytes."] = lambda: self._intake.bytes_waiting
        gauges["trueline_devices_enrolled", "Devices with a key."] = lambda: len(self._devices)
        gauges["trueline_listeners", "Pages that listen to live readings."] = lambda: len(self._live)
        gauges["trueline_frames_in_the_future", "Stored frames a day ahead of our clock, so far."] = lambda: (
            self._decoder.frames_in_the_future
        )
        labelled["trueline_unknown_device_messages", "Messages of devices that are not enrolled.", "device"] = lambda: (
            self._ingest.unknown
        )
        if (mqtt := self._mqtt) is not None:
            gauges["trueline_mqtt_connected", "1 while subscribed at the broker."] = lambda: mqtt.connected
            gauges["trueline_mqtt_connects", "Connections to the broker so far."] = lambda: mqtt.connects
            gauges["trueline_mqtt_strays", "Messages on topics that are none of ours, so far."] = lambda: mqtt.strays
            gauges["trueline_mqtt_dropped", "Messages that found no room in time, so far."] = lambda: mqtt.dropped
        if (coap := self._coap) is not None:
            gauges["trueline_coap_refused", "Requests answered with 5.03, so far."] = lambda: coap.refused


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the service has the say."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them where they are."""
        yield


def serve_forever(settings: CloudSettings, ready: Callable[[str], None]) -> None:
    """Build a service and run it until it is told to stop.

    Raises:
        ConfigError: something named in the settings cannot be used.
        SpoolUnsafe: the journal broke its word.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.set_threshold(*_GARBAGE)

    async def main() -> None:
        service = Service(settings)
        gc.collect()
        gc.freeze()  # what is there now stays, and need not be looked at again
        await service.run(ready)

    asyncio.run(main())


def _owner(settings: CloudSettings) -> Callable[[str], bool]:
    if settings.mqtt is None:
        return lambda _device: True
    owned, known = settings.mqtt.owned, dict[str, bool]()

    def owns(device: str) -> bool:
        if device not in known:
            known[device] = shard_of(device) in owned  # only enrolled devices are asked for: bounded
        return known[device]

    return owns


def _listen(http: HttpSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((http.host, http.port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"[http] {http.host}:{http.port} cannot be listened on: {error.strerror or error}") from error
    return listener
