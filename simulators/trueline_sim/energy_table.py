"""The table of `trueline-sim fleet … --radio`: days of battery for policies of sampling and sending.

Promises: the bytes of a frame are measured, not guessed: a virtual device seals frames of the scenario as it would send
them. Refuses to know physics of radios: `energy` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.device import VirtualDevice
from trueline_sim.energy import Policy, cost_of_day
from trueline_sim.fleet_values import WorldValues
from trueline_sim.sensors.catalogue import CATALOGUE
from trueline_wire.keys import KeyRing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_sim.energy import Radio
    from trueline_sim.truth.scenario import Scenario

__all__ = ["frame_bytes", "policies", "table"]

_INTERVALS_S: Final = (1.0, 10.0, 60.0, 600.0)
_ROWS: Final = (1, 10, 60)
_FRAMES: Final = 4
_DEVICES: Final = 8
_NS: Final = 1_000_000_000
_START_NS: Final = 1_767_225_600 * _NS


def policies(asked: Policy) -> list[Policy]:
    """What was asked for, then a grid of others."""
    grid = [Policy(interval_s=interval_s, rows=rows) for interval_s in _INTERVALS_S for rows in _ROWS]
    return [asked, *(policy for policy in grid if policy != asked)]


def frame_bytes(scenario: Scenario, policy: Policy, *, seed: int) -> int:
    """Mean size of a sealed frame without faults, bytes: header, columns and signature; without the link's own."""
    values = WorldValues(
        scenario,
        devices=_DEVICES,
        rows=policy.rows,
        interval_s=policy.interval_s,
        frames=_FRAMES,
        seed=seed,
        faults=0.0,
        anomalies=False,
    )
    values.begin(_START_NS)
    step_ns, sizes = round(policy.interval_s * _NS), []
    devices = [
        VirtualDevice(f"{scenario.name}-{number:05d}", number=number, seed=seed, walks=values, cloud=KeyRing())
        for number in range(_DEVICES)
    ]
    for frame in range(_FRAMES):
        for device in devices:
            device.measure(_START_NS + frame * policy.rows * step_ns, step_ns, 0.0)
    for device in devices:
        device.sender.connected(0.0)
        records = [message for channel, message in device.poll(0.0) if channel == "data"]
        sizes += [len(message) for message in records[1:]]  # the first opens the epoch
    return round(float(np.mean(sizes)))


def sample_energy_J(scenario: Scenario) -> float:  # noqa: N802 - the unit
    """Energy of one row by the datasheets of the usual sensors; one part that measures twice counts once."""
    values = WorldValues(scenario, devices=1, rows=2, interval_s=1.0, frames=1, seed=1, faults=0.0, anomalies=False)
    parts: dict[str, float] = {}
    for channel in values.channels:
        part = channel.sensor.partition("/")[0]
        parts[part] = max(parts.get(part, 0.0), CATALOGUE[channel.sensor].energy_J)
    return sum(parts.values())


def table(scenario: Scenario, radio: Radio, asked: Policy, *, battery_mah: float, seed: int) -> Iterator[str]:
    """Lines to print."""
    sample_j = sample_energy_J(scenario)
    yield f"{scenario.name} over {radio.name}, {battery_mah:g} mAh (80 % usable), {sample_j * 1e3:.3g} mJ a row"
    yield f"  {radio.source}"
    yield "   a row each   rows a frame   bytes a frame   bytes a row   airtime a day   days of battery"
    for number, policy in enumerate(policies(asked)):
        size = frame_bytes(scenario, policy, seed=seed)
        cost = cost_of_day(radio, policy, message_bytes=size, sample_J=sample_j, battery_mah=battery_mah)
        days = f"{cost.days:17,.1f}" if cost.allowed else "        too often"
        yield (
            f"{'>' if not number else ' '} {policy.interval_s:9g} s {policy.rows:14d} {size:15,d}"
            f" {size / policy.rows:13.1f} {cost.airtime_s:13.1f} s {days}"
        )
