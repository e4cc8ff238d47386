"""Thousands of virtual devices in one process, multiplexed over a few MQTT connections or with one each.

Real devices have a connection each; here many share one unless asked otherwise, because the machine under test is the
cloud and not the broker's accept queue. Each device still has its own key, its own epochs, its own sender and its own
topics. A random outage of one device on a shared connection is the device's alone: it sends nothing, hears nothing, and
goes on measuring into its spool.

Promises: a device measures on its own beat, staggered over the interval, so frames come evenly; the report counts what
the devices themselves know. Refuses to know the cloud but by its acknowledgements.
"""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from trueline_sim.device import VirtualDevice, Walks
from trueline_sim.latencies import Latencies
from trueline_sim.mqtt_line import MqttLine
from trueline_sim.outages import BadWeather, draw_outages
from trueline_wire.delivery import SenderLimits
from trueline_wire.topics import ack_topic, device_of, presence_topic, up_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trueline_sim.device import Values
    from trueline_sim.outages import Outage
    from trueline_wire.keys import Verifier

__all__ = ["OWN_CONNECTIONS_MAX", "Fleet", "FleetReport", "FleetSettings", "Group", "enroll"]

OWN_CONNECTIONS_MAX: Final = 500

_CONNECT_S: Final = 15.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Devices of one kind.

    Attributes:
        name: of a scenario; "" for random walks. Ids of devices begin with it ("sim" for random walks).
        devices: how many.
    """

    name: str = ""
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """What a fleet does.

    Attributes:
        devices: how many, where there are no groups.
        groups: kinds of devices; none: random walks.
        rate_hz: frames a second of each.
        rows: in each frame.
        channels: in each row of a random walk.
        seconds: how long it measures.
        connections: MQTT connections they share; 0: one each.
        drain_s: how long to wait for the last acknowledgements.
        ramp_s: devices are switched on one after the other within this time.
        distinct: devices of a group that measure something of their own; the others show what one of these does.
        faults: of sensors and clocks, for each 10,000 rows of a device.
        anomalies: whether something may be wrong with the process too.
        outages_per_hour: of each device, on average, at random.
        outage_s: the shortest and the longest of these.
        seed: of keys, epochs, values and outages.

    Raises:
        ValueError: more connections of their own than this is made for.
    """

    devices: int = 1000
    groups: tuple[Group, ...] = ()
    rate_hz: float = 1.0
    rows: int = 10
    channels: int = 4
    seconds: float = 60.0
    connections: int = 4
    drain_s: float = 60.0
    ramp_s: float = 0.0
    distinct: int = 1000
    faults: float = 10.0
    anomalies: bool = True
    outages_per_hour: float = 0.0
    outage_s: tuple[float, float] = (5.0, 60.0)
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.connections and self.count > OWN_CONNECTIONS_MAX:
            raise ValueError(f"{self.count} devices with a connection each: at most {OWN_CONNECTIONS_MAX}; share some")

    @property
    def kinds(self) -> tuple[Group, ...]:
        """The groups, also where none were named."""
        return self.groups or (Group(devices=self.devices),)

    @property
    def count(self) -> int:
        """Devices of all groups."""
        return sum(group.devices for group in self.kinds)

    @property
    def frames(self) -> int:
        """Of each device, at most."""
        return max(round(self.seconds * self.rate_hz), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """What the devices of a fleet know at the end. Rows are readings rows; latencies are append to acknowledgement.

    `rows_absent` were lost before the device could report them (a fault of the device, as planned), less those it
    reported twice. `backlog_max_frames` is the most that waited in one spool. `unheard` are messages from the cloud
    that came while a device was in an outage of its own.
    """

    devices: int
    groups: dict[str, int]
    distinct: int
    connections: int
    carried: str
    frames: int
    rows: int
    rows_absent: int
    values: int
    bytes_sent: int
    frames_acknowledged: int
    frames_resent: int
    timeouts: int
    drained: bool
    measuring_s: float
    draining_s: float
    late_max_s: float
    outages: int
    outage_device_s: float
    connections_lost: int
    unheard: int
    backlog_max_frames: int
    ack_latency_p50_s: float
    ack_latency_p95_s: float
    ack_latency_max_s: float
    cpu_s: float
    rss_peak_bytes: int
    alarms: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def enroll(devices: list[VirtualDevice], cloud_state: Path) -> None:
    """Write the devices' public keys where the cloud looks for them (`devices/<id>.pub`, base64, one a line)."""
    folder = cloud_state / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    for device in devices:
        (folder / f"{device.name}.pub").write_text(device.key.public_text + "\n")


class _Member:
    """A device in its fleet: its place, and whether it can talk."""

    __slots__ = ("alarm_clock", "channels", "device", "index", "line", "on", "outages")

    def __init__(self, device: VirtualDevice, index: int, channels: int) -> None:
        self.device: Final = device
        self.index: Final = index
        self.channels: Final = channels
        self.line: MqttLine
        self.on = False
        """Switched on."""
        self.outages = 0
        """Of its own, now."""
        self.alarm_clock: asyncio.TimerHandle | None = None

    @property
    def linked(self) -> bool:
        """Whether it can talk."""
        return self.on and not self.outages and self.line.up


class Fleet:
    """See the module.

    Args:
        settings: what it does.
        cloud: trusts the cloud's key under the name "cloud".
        weather: on the way to the broker; None: none.
    """

    def __init__(self, settings: FleetSettings, *, cloud: Verifier, weather: BadWeather | None = None) -> None:
        self.settings: Final = settings
        self._weather: Final = weather
        self._values: Final = [_values(settings, number, group) for number, group in enumerate(settings.kinds)]
        limits = SenderLimits(window_frames=8, timeout_min_s=5.0)
        # Groups are mixed evenly over beats and connections: by how far each device is in its own.
        places = sorted(
            ((number + 0.5) / group.devices, which, number)
            for which, group in enumerate(settings.kinds)
            for number in range(group.devices)
        )
        self._members: Final = [
            _Member(self._device(which, number, cloud, limits), index, len(self._values[which].channels))
            for index, (_, which, number) in enumerate(places)
        ]
        self.devices: Final = [member.device for member in self._members]
        self._by_name: Final = {member.device.name: member for member in self._members}
        self._on_line: Final[dict[MqttLine, list[_Member]]] = {}
        self._unconfirmed: Final[dict[tuple[MqttLine, int], _Member]] = {}
        self._latencies: Final = Latencies()
        self._late_max_s = 0.0
        self._measuring = len(self._members)
        self._outages: list[list[Outage]] = []
        self._rows_expected = self._bytes_sent = self._unheard = self._backlog_max = self._lines_lost = 0

    def _device(self, which: int, number: int, cloud: Verifier, limits: SenderLimits) -> VirtualDevice:
        name = f"{self.settings.kinds[which].name or 'sim'}-{number:05d}"
        values, seed = self._values[which], self.settings.seed
        return VirtualDevice(name, number=number, seed=seed, walks=values, cloud=cloud, limits=limits)

    async def run(self, host: str, port: int) -> FleetReport:
        """Measure for the seconds set, wait until all is acknowledged (or `drain_s` is over), and report.

        Raises:
            TimeoutError: the broker cannot be reached.
        """
        loop, settings, cpu_start = asyncio.get_running_loop(), self.settings, time.process_time()
        if self._weather is not None:
            host, port = "127.0.0.1", await self._weather.open(host, port)
        for line in [self._line(index, host, port) for index in range(settings.connections or settings.count)]:
            line.open()
        if not await _until(lambda: all(line.up for line in self._on_line), _CONNECT_S):
            raise TimeoutError(f"no broker answers at {host}:{port}")
        start_s = loop.time()
        self._schedule(start_s)
        if self._weather is not None:
            self._weather.begin()
        await asyncio.sleep(settings.seconds)
        await _until(lambda: not self._measuring, settings.drain_s)
        measured_s = loop.time()
        await _until(lambda: all(device.sender.drained for device in self.devices), settings.drain_s)
        draining_s = loop.time() - measured_s
        await self._say_goodbye()
        return self._report(measured_s - start_s, draining_s, time.process_time() - cpu_start)

    async def _say_goodbye(self) -> None:
        for member in self._members:
            member.line.publish(presence_topic(member.device.name), b"offline", retain=True)
            if member.alarm_clock is not None:
                member.alarm_clock.cancel()
        for line in self._on_line:
            await line.close()
        if self._weather is not None:
            await self._weather.close()

    def _line(self, index: int, host: str, port: int) -> MqttLine:
        mine = self._members[index :: self.settings.connections or self.settings.count]
        name = f"trueline-sim-{self.settings.seed}-{index}"
        line = MqttLine(name, host, port, topics=[ack_topic(member.device.name) for member in mine], user=self)
        self._on_line[line] = mine
        for member in mine:
            member.line = line
        return line

    def _schedule(self, start_s: float) -> None:
        """When each device is switched on, measures, and is in an outage of its own."""
        loop, settings, interval_s = asyncio.get_running_loop(), self.settings, 1.0 / self.settings.rate_hz
        # What is sent at a beat was measured in the interval before it.
        start_ns = time.time_ns() - round(interval_s * 1e9)
        for values in self._values:
            values.begin(start_ns)
        if settings.outages_per_hour:
            self._outages = draw_outages(
                devices=settings.count,
                run_s=settings.seconds,
                per_device_hour=settings.outages_per_hour,
                seconds=settings.outage_s,
                seed=settings.seed,
            )
        for member in self._members:
            share = member.index / len(self._members)
            on_s, first_s = settings.ramp_s * share, interval_s * share
            first = max(int(-(-(on_s - first_s) // interval_s)), 0)
            loop.call_at(start_s + on_s, self._switch_on, member)
            if first >= settings.frames:
                self._measuring -= 1
                continue
            due_s = start_s + first_s + first * interval_s
            loop.call_at(due_s, self._beat, member, due_s, start_ns + round(first * interval_s * 1e9), first)
            for outage in self._outages[member.index] if self._outages else ():
                loop.call_at(start_s + outage.start_s, self._cut_off, member)
                loop.call_at(start_s + outage.end_s, self._reconnect, member)

    # ------------------------------------------------------------ what happens to a device

    def _beat(self, member: _Member, due_s: float, time_ns: int, frame: int) -> None:
        loop, interval_s = asyncio.get_running_loop(), 1.0 / self.settings.rate_hz
        self._late_max_s = max(self._late_max_s, loop.time() - due_s)
        interval_ns = round(interval_s * 1e9)
        member.device.measure(time_ns, interval_ns // self.settings.rows, loop.time())
        self._rows_expected += self.settings.rows
        self._backlog_max = max(self._backlog_max, member.device.backlog)
        if frame + 1 < self.settings.frames:
            due_s += interval_s
            loop.call_at(due_s, self._beat, member, due_s, time_ns + interval_ns, frame + 1)
        else:
            self._measuring -= 1
        self._pump(member)

    def _switch_on(self, member: _Member) -> None:
        member.on = True
        self._greet(member)

    def _greet(self, member: _Member) -> None:
        if member.linked:
            member.line.publish(presence_topic(member.device.name), b"online", retain=True)
            member.device.sender.connected(asyncio.get_running_loop().time())
            self._pump(member)

    def _cut_off(self, member: _Member) -> None:
        """An outage of its own. A broker would tell the last will of a connection of its own: so do we."""
        if member.linked:
            member.line.publish(presence_topic(member.device.name), b"offline", retain=True)
            member.device.sender.disconnected()
        member.outages += 1

    def _reconnect(self, member: _Member) -> None:
        member.outages -= 1
        self._greet(member)

    def _pump(self, member: _Member) -> None:
        if not member.linked:
            return
        device, line = member.device, member.line
        for channel, message in device.poll(asyncio.get_running_loop().time()):
            self._bytes_sent += len(message)
            self._unconfirmed[line, line.publish(up_topic(device.name, channel), message)] = member
        self._set_alarm_clock(member)

    def _set_alarm_clock(self, member: _Member) -> None:
        loop, wake_s, clock = asyncio.get_running_loop(), member.device.sender.wake_at(), member.alarm_clock
        if wake_s is None or (clock is not None and not clock.cancelled() and loop.time() < clock.when() <= wake_s):
            return  # it rings early enough, and will then be set anew
        if clock is not None:
            clock.cancel()
        member.alarm_clock = loop.call_at(max(wake_s, loop.time() + 0.01), self._pump, member)

    # ------------------------------------------------------------ what happens on a line

    def line_up(self, line: MqttLine) -> None:
        """The devices of a line are connected: they say so, and send from their floor."""
        for member in self._on_line[line]:
            self._greet(member)

    def line_down(self, line: MqttLine) -> None:
        """The devices of a line are cut off."""
        self._lines_lost += 1
        for member in self._on_line[line]:
            member.device.sender.disconnected()
        for entry in [entry for entry in self._unconfirmed if entry[0] is line]:
            del self._unconfirmed[entry]

    def line_message(self, topic: str, payload: bytes) -> None:
        """An acknowledgement."""
        member = self._by_name[device_of(topic)[0]]
        if not member.linked:
            self._unheard += 1
            return
        device = member.device
        device.received(payload, asyncio.get_running_loop().time())
        self._latencies.add(device.latencies_s)
        device.latencies_s.clear()
        self._pump(member)

    def line_confirmed(self, mid: int, line: MqttLine) -> None:
        """The broker took a message: the device's timer may start."""
        if (member := self._unconfirmed.pop((line, mid), None)) and member.linked:
            member.device.sender.confirmed(asyncio.get_running_loop().time())
            self._set_alarm_clock(member)

    # ------------------------------------------------------------ the end

    def _report(self, measuring_s: float, draining_s: float, cpu_s: float) -> FleetReport:
        settings, counts = self.settings, [device.sender.counts for device in self.devices]
        alarms: dict[str, int] = {}
        for count in counts:
            for name, times in count.alarms.items():
                alarms[name] = alarms.get(name, 0) + times
        rows = sum(device.rows_measured for device in self.devices)
        opens = sum(count.frames_acknowledged > 0 for count in counts)
        acknowledged = sum(count.frames_acknowledged for count in counts)
        lines = len(self._on_line)
        return FleetReport(
            devices=len(self.devices),
            groups={group.name or "random walks": group.devices for group in settings.kinds},
            distinct=sum(min(group.devices, settings.distinct) if group.name else 0 for group in settings.kinds),
            connections=lines,
            carried=f"multiplexed over {lines} connections" if settings.connections else "a connection each",
            frames=sum(count.frames_appended for count in counts),
            rows=rows,
            rows_absent=self._rows_expected - rows,
            values=sum(member.device.rows_measured * member.channels for member in self._members),
            bytes_sent=self._bytes_sent,
            frames_acknowledged=acknowledged - opens,
            frames_resent=sum(count.frames_sent for count in counts) - acknowledged,
            timeouts=sum(count.timeouts for count in counts),
            drained=all(device.sender.drained for device in self.devices),
            measuring_s=round(measuring_s, 3),
            draining_s=round(draining_s, 3),
            late_max_s=round(self._late_max_s, 3),
            outages=sum(map(len, self._outages)),
            outage_device_s=round(sum(outage.seconds for mine in self._outages for outage in mine), 1),
            connections_lost=self._lines_lost,
            unheard=self._unheard,
            backlog_max_frames=self._backlog_max,
            ack_latency_p50_s=round(self._latencies.quantile_s(0.5), 4),
            ack_latency_p95_s=round(self._latencies.quantile_s(0.95), 4),
            ack_latency_max_s=round(self._latencies.max_s, 4),
            cpu_s=round(cpu_s, 2),
            rss_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            alarms=alarms,
        )


def _values(settings: FleetSettings, number: int, group: Group) -> Values:
    if not group.name:
        return Walks(seed=settings.seed, rows=settings.rows, channels=settings.channels)
    from trueline_sim.fleet_values import WorldValues  # noqa: PLC0415 - scipy takes a second, and walks do without
    from trueline_sim.truth import SCENARIOS  # noqa: PLC0415 - as above

    return WorldValues(
        SCENARIOS[group.name],
        devices=min(group.devices, settings.distinct),
        rows=settings.rows,
        interval_s=(round(1e9 / settings.rate_hz) // settings.rows) / 1e9,
        frames=settings.frames,
        seed=settings.seed + number,
        faults=settings.faults,
        anomalies=settings.anomalies,
    )


async def _until(true: Callable[[], bool], timeout_s: float) -> bool:
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while not true():
        if asyncio.get_running_loop().time() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True
