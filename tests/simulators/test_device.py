from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trueline_sim.device import VirtualDevice, Walks
from trueline_wire.columns import decode_columns
from trueline_wire.delivery import Group, LaneState, Receiver
from trueline_wire.keys import KeyRing, SigningKey
from trueline_wire.readings import Flag, Readings, Schema

if TYPE_CHECKING:
    from trueline_wire.envelope import Lane
    from trueline_wire.frame import Data

_CLOUD = SigningKey(bytes(32))
_STEP_NS = 100_000_000


class DictStore:
    """A journal that is a dictionary."""

    journal = b"journal1"

    def __init__(self) -> None:
        self.lanes: dict[tuple[str, Lane], LaneState] = {}
        self.schemas: list[tuple[str, bytes]] = []
        self.readings: list[Readings] = []

    def lane(self, device: str, lane: Lane) -> LaneState:
        return self.lanes.get((device, lane), LaneState())

    def schema(self, device: str, schema_hash: bytes) -> bytes | None:
        return next((s for d, s in self.schemas if d == device and Schema.decode(s).hash == schema_hash), None)

    def commit(self, group: Group[Readings]) -> None:
        self.lanes |= {key: state for key, (_, state) in group.lanes.items()}
        self.schemas += group.schemas
        self.readings += [frame.decoded for frame in group.frames]


def _decode(record: Data, schema: bytes) -> Readings:
    return decode_columns(record.body, Schema.decode(schema), record.stored)


def _carry(devices: list[VirtualDevice], store: DictStore, *, rounds: int = 50) -> None:
    """A perfect link: every message goes over at once, acknowledgements come back after a commit."""
    keys = KeyRing()
    for device in devices:
        keys.trust(device.name, device.key.public)
    receiver = Receiver(store, verifier=keys, signer=_CLOUD, decode=_decode)
    by_name = {device.name: device for device in devices}
    for device in devices:
        device.sender.connected(0.0)
    for turn in range(rounds):
        replies = [
            reply
            for device in devices
            for _, message in device.poll(float(turn))
            for reply in receiver.received(device.name, message)
        ]
        for reply in [*replies, *receiver.commit()]:
            by_name[reply.device].received(reply.message, float(turn))


def _device(name: str, seed: int = 1) -> VirtualDevice:
    ring = KeyRing()
    ring.trust("cloud", _CLOUD.public)
    return VirtualDevice(name, number=0, seed=seed, walks=Walks(seed=seed, rows=10, channels=4), cloud=ring)


@pytest.mark.parametrize("frames", [1, 40])
def test_everything_measured_arrives_once_in_order(frames: int) -> None:
    """What virtual devices measure is stored once, in order, with its uncertainty, and they know it."""
    devices, store = [_device("sim-1"), _device("sim-2")], DictStore()
    for device in devices:
        for number in range(frames):
            device.measure(number * 10 * _STEP_NS, _STEP_NS, 0.0)
    _carry(devices, store)
    for device in devices:
        mine = Readings.concatenate([r for r in store.readings if r.schema.device == device.name])
        assert (mine.time_ns == np.arange(10 * frames) * _STEP_NS).all()
        assert (mine.flag == Flag.PASS).all()
        assert np.allclose(mine.u, 0.05, rtol=0.01)  # u travels on a grid of 1 %
        assert device.sender.drained
        assert device.rows_measured == 10 * frames
        assert len(device.latencies_s) == frames


def test_an_unknown_device_drains_nothing() -> None:
    """Without its key enrolled, a virtual device's frames are not stored, and it knows that they are not."""
    device, store = _device("sim-1"), DictStore()
    device.measure(0, _STEP_NS, 0.0)
    stranger = _device("sim-1", seed=2)
    receiver = Receiver(store, verifier=_ring(stranger), signer=_CLOUD, decode=_decode)
    device.sender.connected(0.0)
    for _, message in device.poll(0.0):
        assert receiver.received("sim-1", message) == []
    assert receiver.commit() == []
    assert receiver.counts.not_authentic > 0
    assert not device.sender.drained


def _ring(device: VirtualDevice) -> KeyRing:
    ring = KeyRing()
    ring.trust(device.name, device.key.public)
    return ring


def test_the_seed_decides_keys_and_values() -> None:
    """Equal seeds make equal devices; another seed another key."""
    one, two, other = _device("sim-1"), _device("sim-1"), _device("sim-1", seed=2)
    assert one.key.public == two.key.public != other.key.public
    for device in (one, two):
        device.measure(0, _STEP_NS, 0.0)
        device.sender.connected(0.0)
    assert one.poll(0.0)[-1].message == two.poll(0.0)[-1].message
