"""One device and one cloud on a desk: messages are carried by hand, for examples that can be read."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from delivery_body import GOOD, QuickKeys, body_of, decode, schemas_of
from delivery_fakes import CrashySpool, CrashyStore
from delivery_judge import Judge

from trueline_wire.control import Ack, AckCode, Status, read_status
from trueline_wire.delivery import Outgoing, Receiver, Sender, SenderLimits
from trueline_wire.envelope import Kind, Lane, open_envelope, peek_kind
from trueline_wire.frame import Data, Gap, Open

if TYPE_CHECKING:
    from trueline_wire.delivery import EpochState, Reply
    from trueline_wire.frame import Record

DEVICE = "pump-7"
JOURNAL = b"journal1"


class Desk:
    """A sender and a receiver, not connected by anything but the methods below. Time is `now`, in seconds."""

    def __init__(self) -> None:
        self.keys = QuickKeys()
        self.judge = Judge(self.keys)
        self.spool = CrashySpool(DEVICE, self.judge)
        self.store = CrashyStore(self.judge, JOURNAL)
        self.now = 100.0
        self.rows = 0
        self.starts = 0
        self.sender = self.start()
        self.receiver = self.serve()

    def start(self, **settings: Any) -> Sender:
        """A new process of the agent, connected."""
        self.starts += 1
        self.sender = Sender(
            self.spool,
            device=DEVICE,
            signer=self.keys.signer(DEVICE),
            verifier=self.keys,
            rng=random.Random(self.starts),
            limits=SenderLimits(),
            **settings,
        )
        self.sender.connected(self.now)
        return self.sender

    def serve(self, **settings: Any) -> Receiver[tuple[int, ...]]:
        """A new process of the cloud."""
        signer = self.keys.signer("cloud")
        self.receiver = Receiver(self.store, verifier=self.keys, signer=signer, decode=decode, **settings)
        return self.receiver

    def append(self, *counts: int, lane: Lane = Lane.DATA, mark: bytes = GOOD, schema: int = 0) -> None:
        """One batch for each count, of so many rows."""
        batches = []
        for count in counts:
            ids = range(self.rows, self.rows + count)
            self.rows += count
            batches.append(Outgoing(lane, schemas_of(DEVICE)[schema], count, 5, 9, body_of(ids, mark)))
        self.sender.append(batches, checkpoint=b"%d" % self.rows)

    def poll(self) -> list[bytes]:
        """What the sender hands to the link, STATUS left out."""
        messages = [transmit.message for transmit in self.sender.poll(self.now)]
        return [message for message in messages if peek_kind(message) is not Kind.STATUS]

    def statuses(self) -> list[Status]:
        """What the sender hands to the link, STATUS alone."""
        messages = [transmit.message for transmit in self.sender.poll(self.now)]
        envelopes = [open_envelope(message, DEVICE, self.keys) for message in messages]
        return [read_status(envelope) for envelope in envelopes if envelope.kind is Kind.STATUS]

    def say(self, message: bytes) -> str:
        """A record in a few words: `OPEN 1`, `DATA 2`, `GAP 3..5 dropped`."""
        if peek_kind(message) is Kind.SCHEMA:
            return "SCHEMA"
        record: Record = self.judge.read(DEVICE, message)
        match record:
            case Open():
                return "OPEN 1"
            case Data():
                return f"DATA {record.number}"
            case Gap():
                return f"GAP {record.first}..{record.last} {record.reason}"

    def sent(self) -> list[str]:
        """`poll` in words."""
        return [self.say(message) for message in self.poll()]

    def acknowledge(
        self,
        last: int,
        *,
        epoch: int = -1,
        lane: Lane = Lane.DATA,
        code: AckCode = AckCode.OK,
        need: bytes = b"",
        journal: bytes = JOURNAL,
        credit: int = 64,
    ) -> None:
        """An acknowledgement reaches the sender, whatever the receiver would have said."""
        name = self.spool.epochs(lane)[epoch].epoch
        ack = Ack(DEVICE, lane, name, journal, last, code, need, credit)
        self.judge.ever_last[name] = max(self.judge.ever_last[name], last)
        self.judge.ever_aside[name].update(range(1, last + 1))
        self.judge.causes.update(((DEVICE, "stale ack"), (DEVICE, "cloud restored")))
        self.sender.received(ack.seal(self.keys.signer("cloud")), self.now)

    def arrive(self, *messages: bytes) -> list[Reply]:
        """Messages reach the receiver."""
        return [reply for message in messages for reply in self.receiver.received(DEVICE, message)]

    def commit(self) -> list[Ack]:
        """The receiver commits; what it says then reaches the sender."""
        replies = self.receiver.commit()
        for reply in replies:
            self.sender.received(reply.message, self.now)
        return [reply.ack for reply in replies]

    def settle(self) -> None:
        """Carry messages to and fro until there are none."""
        for _ in range(500):
            messages = [transmit.message for transmit in self.sender.poll(self.now)]
            for reply in self.arrive(*messages):
                self.sender.received(reply.message, self.now)
            if not (messages or self.commit()):
                return
            self.now += 0.1
        raise AssertionError("messages without end")

    def epochs(self, lane: Lane = Lane.DATA) -> tuple[EpochState, ...]:
        """What the store knows of a lane."""
        return self.store.lane(DEVICE, lane).epochs

    def stored(self, lane: Lane = Lane.DATA) -> list[int]:
        """Ids of the rows in the store, in the order they came in."""
        return [row for _, rows in self.store.frames[DEVICE, lane] for row in rows]
