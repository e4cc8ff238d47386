"""An ingest without links and threads, its clock in the test's hand; and one in a process that dies on demand."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from cloud_kit import START_NS, Machine

from trueline_cloud.ingest.decode import FrameDecoder
from trueline_cloud.ingest.greeting import Greeter
from trueline_cloud.ingest.intake import Inbound
from trueline_cloud.ingest.marker import Marker
from trueline_cloud.ingest.metrics import Metrics
from trueline_cloud.ingest.trust import Devices, enroll
from trueline_cloud.ingest.worker import CommitSettings, Ingest
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_wire.control import Ack, read_ack
from trueline_wire.delivery import Receiver
from trueline_wire.envelope import open_envelope
from trueline_wire.keys import KeyRing, SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trueline_cloud.storage.store import LaneLedger
    from trueline_wire.frame import Data
    from trueline_wire.readings import Readings

CLOUD_KEY = SigningKey(bytes(range(32)))


class Site:
    """An ingest without links and threads, its clock in the test's hand. It is its own link."""

    def __init__(
        self, folder: Path, *machines: Machine, decode: Callable[[Data, bytes], Readings] | None = None
    ) -> None:
        self.folder = folder
        self.now_s = 0.0
        self.answers: list[tuple[str, Any, list[Ack]]] = []
        self._stack = ExitStack()
        for machine in machines:
            enroll(folder / "devices", machine.name, machine.key.public_text)
        self.decoder = FrameDecoder(lambda: START_NS)
        self.journal = self._stack.enter_context(closing(Journal(folder / "journal.db")))
        self.devices = Devices(folder / "devices")
        self.receiver = Receiver(self.journal, verifier=self.devices, signer=CLOUD_KEY, decode=decode or self.decoder)
        marker = self._stack.enter_context(closing(Marker(folder / "marker")))
        settings = CommitSettings(interval_s=0.1, messages_max=50)
        self.ingest = Ingest(
            self.receiver,
            self.journal,
            self.devices,
            marker,
            Metrics(),
            settings,
            greeter=Greeter(self.journal, CLOUD_KEY),
            clock=lambda: self.now_s,
        )

    def answer(self, device: str, token: Any, acks: list[bytes]) -> None:
        ring = KeyRing()
        ring.trust("cloud", CLOUD_KEY.public)
        self.answers.append((device, token, [read_ack(open_envelope(ack, "cloud", ring)) for ack in acks]))

    def take(self, machine: Machine, *messages: bytes, token: Any = None) -> None:
        for message in messages:
            self.ingest.take(Inbound(self, machine.name, message, token))

    def acks(self) -> list[Ack]:
        """All acknowledgements so far, and forget them."""
        answers, self.answers = self.answers, []
        return [ack for _, _, acks in answers for ack in acks]

    def lane(self, machine: Machine) -> LaneLedger:
        with closing(JournalReader(self.folder)) as reader:
            return reader.ledger(machine.name)[0]

    def close(self) -> None:
        self._stack.close()


def _take_until_death(folder: Path, messages: list[bytes], number: int) -> None:
    """A process whose decoder dies of frame `number`."""

    def deadly(record: Data, schema: bytes) -> Readings:
        if record.number == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return site.decoder(record, schema)

    machine = Machine()
    site = Site(folder, machine, decode=deadly)
    site.take(machine, *messages)
    site.ingest.commit()
    site.close()


def die_in_decode(folder: Path, messages: list[bytes], number: int) -> int:
    """Hand messages to a process that dies of frame `number`; its exit code."""
    process = multiprocessing.get_context("spawn").Process(target=_take_until_death, args=(folder, messages, number))
    process.start()
    process.join(60)
    code = process.exitcode
    process.close()
    assert code is not None
    return code
