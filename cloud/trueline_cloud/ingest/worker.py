"""The one thread that receives, commits and answers.

Promises: messages are taken in the order links handed them over; an acknowledgement of something accepted leaves after
the commit that holds it, never before; what ends this thread ends the process. A message that killed the process twice
is kept aside undecoded. Refuses to know links, frames and tables: it drives a receiver, and a journal beside it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trueline_cloud.crash_points import reach
from trueline_wire.delivery import StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_cloud.ingest.greeting import Greeter
    from trueline_cloud.ingest.intake import Inbound, Intake, Link
    from trueline_cloud.ingest.marker import Marker
    from trueline_cloud.ingest.metrics import Metrics
    from trueline_cloud.ingest.trust import Devices
    from trueline_cloud.storage.journal import Journal
    from trueline_wire.delivery import Receiver, Reply
    from trueline_wire.readings import Readings

__all__ = ["CommitSettings", "Ingest", "IngestThread"]

_HOUSEKEEPING_S: Final = 1.0
_GREETINGS_MAX: Final = 100
_UNKNOWN_MAX: Final = 1000
_OTHERS: Final = "(others)"
_DAY_NS: Final = 24 * 3600 * 1_000_000_000
_POISON: Final = "the process died twice with this frame in hand"


class CommitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the open group is committed: whichever comes first.

    Attributes:
        interval_s: so long after its first record.
        messages_max: so many messages.
        bytes_max: so many bytes of them.
        retention_days: frames received so long ago are deleted; 0 keeps all.
    """

    interval_s: float = 0.1
    messages_max: int = 2000
    bytes_max: int = 16 * 1024 * 1024
    retention_days: float = 0.0


class Ingest:
    """Receives, commits and answers. Not thread-safe; `IngestThread` runs it.

    Args:
        receiver: accepts messages.
        journal: what the receiver commits to.
        devices: whose keys are known.
        marker: remembers what was in hand at a death.
        metrics: told what happens.
        settings: when to commit.
        greeter: what to say to devices that were online before us; None says nothing.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        receiver: Receiver[Readings],
        journal: Journal,
        devices: Devices,
        marker: Marker,
        metrics: Metrics,
        settings: CommitSettings,
        *,
        greeter: Greeter | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.unknown: dict[str, int] = {}
        self._receiver = receiver
        self._journal = journal
        self._devices = devices
        self._marker = marker
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._now_ns = now_ns
        self._waiting: dict[tuple[Link, str, Any], None] = {}
        self._messages = self._bytes = 0
        self._opened_s: float | None = None
        self._committed_s: float | None = None
        self._kept_house_s = clock()
        self._presence: dict[str, bool] = {}
        self._presence_lock = threading.Lock()
        self._greeter = greeter
        self._to_greet: dict[str, Link] = {}

    def take(self, inbound: Inbound) -> None:
        """Take one message. Its answer goes out at once, or with the commit."""
        link, device, message, token = inbound
        if device not in self._devices:
            name = device if device in self.unknown or len(self.unknown) < _UNKNOWN_MAX else _OTHERS
            self.unknown[name] = self.unknown.get(name, 0) + 1
            link.answer(device, token, [])
            return
        reach("after_receive")
        if self._marker.suspected(message):
            replies = self._receiver.poison(device, message, _POISON)
        else:
            self._marker.take(message)
            replies = self._receiver.received(device, message)
            self._marker.release(message)
        reach("after_decode")
        if replies or not self._receiver.open_frames:
            link.answer(device, token, [reply.message for reply in replies])
            if token is not None:
                return  # a request has one answer
        if self._receiver.open_frames:
            self._waiting[link, device, token] = None
            self._messages += 1
            self._bytes += len(message)
            if self._opened_s is None:
                self._opened_s = self._clock()

    @property
    def waiting_age_s(self) -> float | None:
        """How long the oldest record of the open group has waited, s; None where nothing is open."""
        opened_s = self._opened_s
        return None if opened_s is None else self._clock() - opened_s

    @property
    def last_commit_age_s(self) -> float | None:
        """Since the last commit, s; None before the first."""
        return None if self._committed_s is None else self._clock() - self._committed_s

    def due_in(self) -> float:
        """Seconds until the open group is to be committed, or house is to be kept; 0 if that is now."""
        now = self._clock()
        if self._messages >= self._settings.messages_max or self._bytes >= self._settings.bytes_max:
            return 0.0
        due = self._kept_house_s + _HOUSEKEEPING_S
        if self._opened_s is not None:
            due = min(due, self._opened_s + self._settings.interval_s)
        return max(0.0, due - now)

    def run_due(self) -> None:
        """Commit if the group is old or large enough, keep house now and then."""
        now = self._clock()
        settings = self._settings
        old = self._opened_s is not None and now >= self._opened_s + settings.interval_s
        if old or self._messages >= settings.messages_max or self._bytes >= settings.bytes_max:
            self.commit()
        if now >= self._kept_house_s + _HOUSEKEEPING_S:
            self._kept_house_s = now
            self._keep_house()

    def commit(self) -> None:
        """Commit the open group and send its acknowledgements.

        Raises:
            SpoolUnsafe: a sync failed; end the process.
        """
        reach("before_commit")
        began = self._clock()
        replies = self._receiver.commit()
        waiting, self._waiting = self._waiting, {}
        size = self._bytes
        self._messages = self._bytes = 0
        self._opened_s = None
        self._committed_s = self._clock()
        self._metrics.committed(self._committed_s - began, size)
        self._answer(waiting, replies)
        reach("after_ack")

    def presence(self, device: str, *, online: bool) -> None:
        """A device says it is there, or its broker says it is gone. From any thread; written down before long."""
        if device in self._devices:
            with self._presence_lock:
                self._presence[device] = online

    def greet(self, device: str, link: Link) -> None:
        """A device was online before us: say before long how far we have come. From any thread."""
        if device in self._devices:
            with self._presence_lock:
                self._to_greet[device] = link

    def _answer(self, waiting: dict[tuple[Link, str, Any], None], replies: list[Reply]) -> None:
        by_device: dict[str, list[bytes]] = {}
        for reply in replies:
            by_device.setdefault(reply.device, []).append(reply.message)
        for link, device, token in waiting:
            link.answer(device, token, by_device.get(device, []))

    def _keep_house(self) -> None:
        self._devices.refresh()
        with self._presence_lock:
            presence, self._presence = self._presence, {}
            greetings = [self._to_greet.popitem() for _ in range(min(len(self._to_greet), _GREETINGS_MAX))]
        if self._greeter is not None:
            for device, link in greetings:
                link.answer(device, None, self._greeter.acks(device))
        try:
            if presence:
                self._journal.presence(presence)
            if self._settings.retention_days > 0:
                before_ns = self._now_ns() - int(self._settings.retention_days * _DAY_NS)
                while self._journal.expire(before_ns) and self._opened_s is None and self._clock() < self._patience():
                    pass
        except StoreFull:
            return  # the next commit says so to the devices; what is due here is due again
        self._metrics.quarantine(*self._journal.quarantine_size())

    def _patience(self) -> float:
        return self._kept_house_s + _HOUSEKEEPING_S / 2


class IngestThread(threading.Thread):
    """Runs an `Ingest` on what an `Intake` holds, until told to stop or something ends it.

    Args:
        ingest: what to run.
        intake: where messages come from.
        ended: called when the thread ends, for whatever reason; `failure` says which.
    """

    def __init__(self, ingest: Ingest, intake: Intake, ended: Callable[[], None]) -> None:
        super().__init__(name="ingest", daemon=True)
        self.failure: BaseException | None = None
        self._ingest = ingest
        self._intake = intake
        self._ended = ended
        self._stopping = False

    def stop(self) -> None:
        """Take what waits, commit, end."""
        self._stopping = True
        self._intake.ring()

    def run(self) -> None:
        """Until `stop`, or until something goes wrong that only a restart mends."""
        try:
            while not self._stopping:
                self._work(self._intake.take(self._ingest.due_in()))
            self._work(self._intake.take(0.0))
            self._ingest.commit()
        except BaseException as error:  # noqa: BLE001 - kept, and raised again by whoever waits for this thread
            self.failure = error
        finally:
            self._ended()

    def _work(self, batch: list[Inbound]) -> None:
        for inbound in batch:
            self._ingest.take(inbound)
            self._ingest.run_due()
        self._ingest.run_due()
