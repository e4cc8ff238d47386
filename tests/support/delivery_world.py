"""One small world of devices, a broker and a cloud, in memory and in virtual time.

It does what `delivery_actions` asks for, hands every write and every message past the `Judge`, and comes to rest when
the faults stop.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from delivery_body import GOOD, KILLER, POISON, QuickKeys, body_of, decode, schemas_of
from delivery_fakes import CrashySpool, CrashyStore, Fuse, Killed
from delivery_judge import Judge, demand

from trueline_wire.control import AckCode, read_ack
from trueline_wire.delivery import Outgoing, Receiver, Sender, SenderLimits
from trueline_wire.envelope import Kind, Lane, open_envelope, peek_kind
from trueline_wire.errors import SpoolUnsafe
from trueline_wire.frame import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trueline_wire.delivery import Reply, Transmit
    from trueline_wire.frame import Data

ResultT = TypeVar("ResultT")

RECORDS: Final = (Kind.OPEN, Kind.DATA, Kind.GAP)
LINK_MAX: Final = 200
ARCHIVE_MAX: Final = 100
CARDS_MAX: Final = 4
DRAIN_MAX_S: Final = 3600.0


class Parts(NamedTuple):
    """What a world is made of; a mutant exchanges one."""

    sender: type[Sender] = Sender
    receiver: type[Receiver[Any]] = Receiver
    store: type[CrashyStore] = CrashyStore


@dataclass(eq=False)
class Agent:
    """A process on a card, and its connection."""

    device: str
    spool: CrashySpool
    sender: Sender
    connected: bool = False
    session: int = 0
    up: deque[tuple[int, bytes]] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    event_first: bool = False
    event_held: bool = False


class World:
    """See the module.

    Args:
        seed: decides the setting (how many devices, windows, what a port does where its contract leaves it open) and
            the randomness of the senders; the steps come from outside.
        parts: the code under test.
    """

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        setting = random.Random(f"setting {seed}")
        self.seed, self.parts = seed, parts or Parts()
        self.now = 1000.0
        self.keys = QuickKeys()
        self.judge = Judge(self.keys)
        self.store = self.parts.store(self.judge)
        self.limits = SenderLimits(
            window_frames=setting.choice((5, 8, 32)), window_bytes=setting.choice((2000, 1 << 19))
        )
        self.eager = setting.random() < 0.5
        self.commit_every = setting.choice((1, 3, 1000))
        self.batch = setting.choice((1, 4, 1000))
        self.devices = [f"d{index}" for index in range(setting.choice((1, 1, 2)))]
        self.owners = {device: {0} for device in self.devices}
        self.lives = 0
        self.row_ids = 0
        self.sent = Counter[Kind]()
        self.drains: list[tuple[float, int, int]] = []
        """For each quiet end: seconds it took, records sent, records that waited."""
        self.deaths = Counter[tuple[bytes, int]]()
        self.archive_up: deque[tuple[str, bytes]] = deque(maxlen=ARCHIVE_MAX)
        self.archive_down: deque[tuple[str, bytes]] = deque(maxlen=ARCHIVE_MAX)
        self.cards: dict[str, list[Any]] = {device: [] for device in self.devices}
        self.journals: list[Any] = []
        self.consumers = [self._consumer(index) for index in range(2)]
        self.agents = [
            self._agent(device, CrashySpool(device, self.judge, eager=self.eager)) for device in self.devices
        ]

    # ------------------------------------------------ processes

    def _agent(self, device: str, spool: CrashySpool) -> Agent:
        return Agent(device, spool, self._sender(device, spool, None))

    def _sender(self, device: str, spool: CrashySpool, journal: bytes | None) -> Sender:
        self.lives += 1
        return self.parts.sender(
            spool,
            device=device,
            signer=self.keys.signer(device),
            verifier=self.keys,
            rng=random.Random(f"{self.seed} life {self.lives}"),
            limits=self.limits,
            clean=self.lives % 2 == 0,
            journal=journal,
        )

    def _consumer(self, index: int) -> Receiver[Any]:
        return self.parts.receiver(
            self.store,
            verifier=self.keys,
            signer=self.keys.signer("cloud"),
            decode=self._decode,
            owns=lambda device: index in self.owners[device],
        )

    def _decode(self, record: Data, schema: bytes) -> tuple[int, ...]:
        if record.body[:1] == KILLER:
            self.deaths[record.epoch, record.number] += 1
            raise Killed
        return decode(record, schema)

    def _restart(self, agent: Agent) -> None:
        agent.spool.fuse = Fuse()
        self._disconnect(agent)
        agent.sender = self._sender(agent.device, agent.spool, agent.sender.journal)
        agent.event_first = agent.event_held = False

    def _ask(self, agent: Agent, call: Callable[[], ResultT]) -> ResultT | None:
        """Call into an agent's process; if that ends it, the next one starts on the same card."""
        try:
            return call()
        except (Killed, SpoolUnsafe):
            self._restart(agent)
            return None

    def _ask_cloud(self, index: int, call: Callable[[], list[Reply]]) -> None:
        try:
            replies = call()
        except (Killed, SpoolUnsafe):
            self.store.fuse = Fuse()
            self.consumers[index] = self._consumer(index)
            return
        for reply in replies:
            self.judge.acknowledged(reply, self.store.lane(reply.ack.device, reply.ack.lane), self.store.journal)
            self.archive_down.append((reply.device, reply.message))
            for agent in self.agents:
                if agent.device == reply.device and agent.connected and len(agent.down) < LINK_MAX:
                    agent.down.append(reply.message)

    # ------------------------------------------------ what an agent does

    def append(self, agent: Agent, pick: int) -> None:
        """Readings come in."""
        choose = random.Random(pick)
        lane = Lane.EVENT if choose.random() < 0.25 else Lane.DATA
        schemas = schemas_of(agent.device)
        batches, ids = [], []
        for _ in range(choose.choice((1, 1, 2, 3))):
            rows = range(self.row_ids, self.row_ids + choose.choice((1, 2, 4)))
            self.row_ids += len(rows)
            mark = choose.choices((GOOD, POISON, KILLER), (50, 1, 1))[0]
            batches.append(Outgoing(lane, choose.choice(schemas), len(rows), 5, 9, body_of(rows, mark)))
            ids += rows
        empty = not any(row.lane is Lane.EVENT for row in agent.spool.all_rows())
        lost_before = agent.sender.counts.rows_lost
        checkpoint = b"%d" % self.row_ids
        returned = self._ask(agent, lambda: agent.sender.append(batches, checkpoint) or True)
        there = self.judge.known_ids.intersection(ids)
        if returned:
            lost = agent.sender.counts.rows_lost - lost_before
            demand(len(there) + lost == len(ids), "I1", f"append returned, {len(there)} rows are there and {lost} lost")
            if lane is Lane.EVENT and agent.connected and empty and there and not agent.event_held:
                agent.event_first = True
        else:
            demand(len(there) in (0, len(ids)), "I1", "an append was cut in half")
            demand(bool(there) == (agent.spool.checkpoint() == checkpoint), "I1", "rows without their checkpoint")

    def poll(self, agent: Agent) -> bool:
        """Hand to the link what the sender wants to send; whether there was anything."""
        transmits: Sequence[Transmit] = self._ask(agent, lambda: agent.sender.poll(self.now)) or []
        channels = []
        for channel, message in transmits:
            kind = peek_kind(message)
            assert kind is not None
            self.sent[kind] += 1
            demand((channel == "control") == (kind not in RECORDS), "I10", f"{kind.name} on channel {channel}")
            if kind in RECORDS:
                channels.append(channel)
                self._is_in_turn(agent, channel, message)
            agent.up.append((agent.session, message))
            self.archive_up.append((agent.device, message))
        if channels:
            demand(channels == sorted(channels, key="event data".index), "I10", "data is sent before events")
            expected = agent.event_first and not self._waits_for_room(agent)
            demand(not expected or channels[0] == "event", "I10", "an event waits behind data")
            agent.event_first = False
        while len(agent.up) > LINK_MAX:
            agent.up.popleft()
        return bool(transmits)

    def _waits_for_room(self, agent: Agent) -> bool:
        """An event behind a rotten row waits for the GAP in its place, and that for room on the disk: not for data."""
        spool = agent.spool
        return spool.is_full and any(row.lane is Lane.EVENT and row.message is None for row in spool.all_rows())

    def _is_in_turn(self, agent: Agent, channel: str, message: bytes) -> None:
        record = self.judge.read(agent.device, message)
        demand(channel == record.lane.name.lower(), "I10", f"{record.lane.name} on channel {channel}")
        for known in agent.spool.epochs(record.lane):
            if agent.spool.rows(record.lane, known.epoch, 1, 1):
                demand(known.epoch == record.epoch, "I8", "an epoch is sent before the one before it is drained")
                return

    def _connect(self, agent: Agent) -> None:
        if not agent.connected:
            agent.connected = True
            self._ask(agent, lambda: agent.sender.connected(self.now))

    def _disconnect(self, agent: Agent) -> None:
        agent.session += 1
        agent.connected = agent.event_first = False
        agent.down.clear()

    def _drop_connection(self, agent: Agent) -> None:
        if agent.connected:
            self._disconnect(agent)
            self._ask(agent, agent.sender.disconnected)

    # ------------------------------------------------ what the link does

    def _confirm(self, agent: Agent, session: int) -> None:
        if agent.connected and session == agent.session:
            self._ask(agent, lambda: agent.sender.confirmed(self.now))

    def deliver_up(self, agent: Agent, at: int = 0, *, keep: bool = False) -> None:
        """One message arrives at the cloud."""
        if agent.up:
            at %= len(agent.up)
            session, message = agent.up[at]
            if not keep:
                del agent.up[at]
                self._confirm(agent, session)
            self.arrive(agent.device, message)

    def arrive(self, device: str, message: bytes) -> None:
        """A message reaches every consumer that listens to this device."""
        self.judge.arrived(device, message)
        for index in sorted(self.owners[device]):
            consumer = self.consumers[index]
            if self.deaths and peek_kind(message) is Kind.DATA:
                record = read_record(open_envelope(message, device, self.keys))
                if self.deaths[record.epoch, record.first] >= 2:
                    self._ask_cloud(index, lambda consumer=consumer: consumer.poison(device, message, "killed twice"))
                    continue
            self._ask_cloud(index, lambda consumer=consumer: consumer.received(device, message))

    def deliver_down(self, agent: Agent, at: int = 0, *, keep: bool = False) -> None:
        """One acknowledgement arrives at a device."""
        if agent.down:
            at %= len(agent.down)
            message = agent.down[at]
            if not keep:
                del agent.down[at]
            self._hear(agent, message)

    def _hear(self, agent: Agent, message: bytes) -> None:
        ack = read_ack(open_envelope(message, "cloud", self.keys))
        if ack.lane is Lane.EVENT and (ack.code is not AckCode.OK or not ack.credit):
            agent.event_held, agent.event_first = True, False
        self._ask(agent, lambda: agent.sender.received(message, self.now))

    # ------------------------------------------------ the end

    def quiesce(self) -> None:
        """Faults stop. Everything drains, idle devices are heard, and the judge settles.

        Again after the cloud of the idle devices was restored, and again after each device had something new to say.
        """
        self.store.is_full = False
        for consumer in self.consumers:
            consumer.credit = 64
        self.store.fuse = Fuse()
        for device in self.devices:
            self.owners[device] = {min(self.owners[device], default=0)}
        for agent in self.agents:
            agent.spool.fuse = Fuse()
            agent.spool.capacity = 1 << 30
            agent.spool.is_full = False
            self._connect(agent)
        self._drain()
        self.judge.settle(self.store, [agent.spool for agent in self.agents], spoken=False)
        if self.journals:
            self.restore_cloud(0)
            self._drain()
            self.judge.settle(self.store, [agent.spool for agent in self.agents], spoken=False)
        for agent in self.agents:
            for lane in Lane:
                self.row_ids += 1
                schema = schemas_of(agent.device)[0]
                agent.sender.append([Outgoing(lane, schema, 1, 5, 9, body_of([self.row_ids]))])
        self._drain()
        self.judge.settle(self.store, [agent.spool for agent in self.agents], spoken=True)

    def _drain(self) -> None:
        start, sent = self.now, sum(self.sent[kind] for kind in RECORDS)
        waiting = sum(1 for agent in self.agents for _ in agent.spool.all_rows())
        epochs = sum(len(agent.spool.epochs(lane)) for agent in self.agents for lane in Lane)
        used, messages_max = 0, 100 + 5 * waiting + 5 * epochs
        while not self._is_quiet(start):
            moved = [self.poll(agent) for agent in self.agents]
            for agent in self.agents:
                for count in range(min(len(agent.up), self.batch)):
                    self.deliver_up(agent)
                    if count % self.commit_every == self.commit_every - 1:
                        self._commit()
            moved.append(self._commit())
            for agent in self.agents:
                while agent.down:
                    moved.append(True)
                    self.deliver_down(agent)
            self._pass_time(busy=any(moved) or any(agent.up for agent in self.agents))
            used = sum(self.sent[kind] for kind in RECORDS) - sent
            demand(used <= messages_max, "I6", f"{used} records sent to drain {waiting} in {epochs} epochs")
            demand(
                self.now - start < DRAIN_MAX_S, "I6", f"not drained after {self.now - start:.0f} s, {waiting} waited"
            )
        self.drains.append((self.now - start, used, waiting))

    def restore_cloud(self, pick: int) -> None:
        """The journal is an older copy of itself; the consumers have to start anew."""
        self.store.restore(self.journals[pick % len(self.journals)])
        self.consumers = [self._consumer(index) for index in range(2)]

    def _commit(self) -> bool:
        is_open = [consumer.open_frames > 0 for consumer in self.consumers]
        for index in range(len(self.consumers)):
            self._ask_cloud(index, lambda index=index: self.consumers[index].commit())
        return any(is_open)

    def _pass_time(self, *, busy: bool) -> None:
        wakes = [wake for agent in self.agents if (wake := agent.sender.wake_at()) is not None]
        self.now = self.now + 0.05 if busy else max(self.now + 0.05, min(wakes, default=self.now + 30.0))

    def _is_quiet(self, start: float) -> bool:
        return self.now > start + 2 * self.limits.status_interval_s + 10 and not any(
            agent.up or agent.down or not agent.sender.drained for agent in self.agents
        )
