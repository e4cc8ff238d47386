"""Thousands of virtual devices in one process, multiplexed over a few MQTT connections.

Real devices have a connection each; here many share one, because the machine under test is the cloud and not the
broker's accept queue. Each device still has its own key, its own epochs, its own sender and its own topics.

Promises: a device measures on its own beat, staggered over the interval, so frames come evenly; the report counts what
the devices themselves know. Refuses to know the cloud but by its acknowledgements.
"""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_sim.device import VirtualDevice, Walks
from trueline_sim.mqtt_line import MqttLine
from trueline_wire.delivery import SenderLimits
from trueline_wire.topics import ack_topic, device_of, presence_topic, up_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trueline_wire.keys import Verifier

__all__ = ["Fleet", "FleetReport", "FleetSettings", "enroll"]

_CONNECT_S: Final = 15.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """What a fleet does.

    Attributes:
        devices: how many.
        rate_hz: frames a second of each.
        rows: in each frame.
        channels: in each row.
        seconds: how long it measures.
        connections: MQTT connections they share.
        drain_s: how long to wait for the last acknowledgements.
        seed: of keys, epochs and values.
    """

    devices: int = 1000
    rate_hz: float = 1.0
    rows: int = 10
    channels: int = 4
    seconds: float = 60.0
    connections: int = 4
    drain_s: float = 60.0
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """What the devices of a fleet know at the end. Rows are readings rows; latencies are append to acknowledgement."""

    devices: int
    connections: int
    frames: int
    rows: int
    values: int
    frames_acknowledged: int
    frames_resent: int
    timeouts: int
    drained: bool
    measuring_s: float
    draining_s: float
    late_max_s: float
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


class Fleet:
    """See the module.

    Args:
        settings: what it does.
        cloud: trusts the cloud's key under the name "cloud".
        prefix: of the devices' ids.
    """

    def __init__(self, settings: FleetSettings, *, cloud: Verifier, prefix: str = "sim") -> None:
        self.settings: Final = settings
        limits = SenderLimits(window_frames=8, timeout_min_s=5.0)
        walks = Walks(seed=settings.seed, rows=settings.rows, channels=settings.channels)
        self.devices: Final = [
            VirtualDevice(
                f"{prefix}-{number:05d}",
                number=number,
                seed=settings.seed,
                walks=walks,
                cloud=cloud,
                limits=limits,
            )
            for number in range(settings.devices)
        ]
        self._by_name: Final = {device.name: device for device in self.devices}
        self._line_of: Final[dict[str, MqttLine]] = {}
        self._unconfirmed: Final[dict[tuple[MqttLine, int], VirtualDevice]] = {}
        self._alarm_clocks: Final[dict[str, asyncio.TimerHandle]] = {}
        self._late_max_s = 0.0

    async def run(self, host: str, port: int) -> FleetReport:
        """Measure for the seconds set, wait until all is acknowledged (or `drain_s` is over), and report.

        Raises:
            TimeoutError: the broker cannot be reached.
        """
        loop, settings, cpu_start = asyncio.get_running_loop(), self.settings, time.process_time()
        lines = [self._line(index, host, port) for index in range(settings.connections)]
        for line in lines:
            line.open()
        if not await _until(lambda: all(line.up for line in lines), _CONNECT_S):
            raise TimeoutError(f"no broker answers at {host}:{port}")
        start_s, frames = loop.time(), round(settings.seconds * settings.rate_hz)
        self._schedule(start_s, frames)
        await asyncio.sleep(settings.seconds)
        wanted = len(self.devices) * frames * settings.rows
        await _until(lambda: sum(d.rows_measured for d in self.devices) >= wanted, settings.drain_s)
        measured_s = loop.time()
        await _until(lambda: all(d.sender.drained for d in self.devices), settings.drain_s)
        draining_s = loop.time() - measured_s
        for device in self.devices:
            self._line_of[device.name].publish(presence_topic(device.name), b"offline", retain=True)
        for clock in self._alarm_clocks.values():
            clock.cancel()
        for line in lines:
            await line.close()
        return self._report(measured_s - start_s, draining_s, time.process_time() - cpu_start)

    def _schedule(self, start_s: float, frames: int) -> None:
        loop, start_ns, interval_s = asyncio.get_running_loop(), time.time_ns(), 1.0 / self.settings.rate_hz
        for index, device in enumerate(self.devices):
            due_s = start_s + interval_s * index / len(self.devices)
            loop.call_at(due_s, self._beat, device, due_s, start_ns, frames)

    def _line(self, index: int, host: str, port: int) -> MqttLine:
        mine = self.devices[index :: self.settings.connections]
        name = f"trueline-sim-{self.settings.seed}-{index}"
        line = MqttLine(name, host, port, topics=[ack_topic(device.name) for device in mine], user=self)
        self._line_of.update({device.name: line for device in mine})
        return line

    def _beat(self, device: VirtualDevice, due_s: float, time_ns: int, left: int) -> None:
        loop, interval_s = asyncio.get_running_loop(), 1.0 / self.settings.rate_hz
        self._late_max_s = max(self._late_max_s, loop.time() - due_s)
        interval_ns = round(interval_s * 1e9)
        device.measure(time_ns, interval_ns // self.settings.rows, loop.time())
        if left > 1:
            loop.call_at(due_s + interval_s, self._beat, device, due_s + interval_s, time_ns + interval_ns, left - 1)
        self._pump(device)

    def _pump(self, device: VirtualDevice) -> None:
        loop, line = asyncio.get_running_loop(), self._line_of[device.name]
        for channel, message in device.poll(loop.time()):
            self._unconfirmed[line, line.publish(up_topic(device.name, channel), message)] = device
        self._set_alarm_clock(device, loop)

    def _set_alarm_clock(self, device: VirtualDevice, loop: asyncio.AbstractEventLoop) -> None:
        wake_s, clock = device.sender.wake_at(), self._alarm_clocks.get(device.name)
        if wake_s is None or (clock is not None and not clock.cancelled() and loop.time() < clock.when() <= wake_s):
            return  # it rings early enough, and will then be set anew
        if clock is not None:
            clock.cancel()
        self._alarm_clocks[device.name] = loop.call_at(max(wake_s, loop.time() + 0.01), self._pump, device)

    def line_up(self, line: MqttLine) -> None:
        """The devices of a line are connected: they say so, and send from their floor."""
        now_s = asyncio.get_running_loop().time()
        for device in self._devices_of(line):
            line.publish(presence_topic(device.name), b"online", retain=True)
            device.sender.connected(now_s)
            self._pump(device)

    def line_down(self, line: MqttLine) -> None:
        """The devices of a line are cut off."""
        for device in self._devices_of(line):
            device.sender.disconnected()
        for entry in [entry for entry in self._unconfirmed if entry[0] is line]:
            del self._unconfirmed[entry]

    def line_message(self, topic: str, payload: bytes) -> None:
        """An acknowledgement."""
        device = self._by_name[device_of(topic)[0]]
        device.received(payload, asyncio.get_running_loop().time())
        self._pump(device)

    def line_confirmed(self, mid: int, line: MqttLine) -> None:
        """The broker took a message: the device's timer may start."""
        if device := self._unconfirmed.pop((line, mid), None):
            device.sender.confirmed(asyncio.get_running_loop().time())
            self._set_alarm_clock(device, asyncio.get_running_loop())

    def _devices_of(self, line: MqttLine) -> list[VirtualDevice]:
        return [device for device in self.devices if self._line_of[device.name] is line]

    def _report(self, measuring_s: float, draining_s: float, cpu_s: float) -> FleetReport:
        counts = [device.sender.counts for device in self.devices]
        latencies = np.array([latency for device in self.devices for latency in device.latencies_s] or [np.nan])
        p50, p95, worst = np.quantile(latencies, [0.5, 0.95, 1.0])
        alarms: dict[str, int] = {}
        for count in counts:
            for name, times in count.alarms.items():
                alarms[name] = alarms.get(name, 0) + times
        rows = sum(device.rows_measured for device in self.devices)
        opens = len(self.devices)
        acknowledged = sum(count.frames_acknowledged for count in counts)
        return FleetReport(
            devices=len(self.devices),
            connections=self.settings.connections,
            frames=sum(count.frames_appended for count in counts),
            rows=rows,
            values=rows * self.settings.channels,
            frames_acknowledged=acknowledged - opens if acknowledged else 0,
            frames_resent=sum(count.frames_sent for count in counts) - acknowledged,
            timeouts=sum(count.timeouts for count in counts),
            drained=all(device.sender.drained for device in self.devices),
            measuring_s=round(measuring_s, 3),
            draining_s=round(draining_s, 3),
            late_max_s=round(self._late_max_s, 3),
            ack_latency_p50_s=round(float(p50), 4),
            ack_latency_p95_s=round(float(p95), 4),
            ack_latency_max_s=round(float(worst), 4),
            cpu_s=round(cpu_s, 2),
            rss_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            alarms=alarms,
        )


async def _until(true: Callable[[], bool], timeout_s: float) -> bool:
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while not true():
        if asyncio.get_running_loop().time() > deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True
