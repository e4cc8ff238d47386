"""What the hand-over and the folder of keys promise."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from trueline_cloud.ingest.intake import Inbound, Intake
from trueline_cloud.ingest.trust import Devices, enroll
from trueline_wire.errors import ConfigError, NotAuthentic
from trueline_wire.keys import SigningKey

if TYPE_CHECKING:
    from pathlib import Path


class Silent:
    def answer(self, device: str, token: Any, acks: list[bytes]) -> None:
        """Nobody asks."""


def inbound(size: int = 1) -> Inbound:
    return Inbound(Silent(), "pump-7", bytes(size))


def test_bounded_in_messages_and_bytes() -> None:
    """The hand-over takes no more than its bounds, in messages or in bytes, and says so."""
    intake = Intake(messages_max=3)
    assert [intake.put(inbound()) for _ in range(4)] == [True, True, True, False]
    intake = Intake(bytes_max=100)
    assert [intake.put(inbound(60)) for _ in range(3)] == [True, True, False]
    assert (len(intake), intake.bytes_waiting) == (2, 120)


def test_waits_for_room() -> None:
    """Who hands over waits until there is room, and nothing is dropped or reordered."""
    intake, sizes = Intake(messages_max=2), list(range(1, 21))
    giver = threading.Thread(target=lambda: [intake.put(inbound(size), 10) for size in sizes])
    giver.start()
    taken: list[int] = []
    while len(taken) < len(sizes):
        taken += [len(item.message) for item in intake.take(1.0)]
    giver.join()
    assert taken == sizes


def test_ring_wakes() -> None:
    """Who waits for messages is woken by a ring, also one that came before the wait."""
    intake = Intake()
    intake.ring()
    assert intake.take(60.0) == []


def test_keys_follow_the_folder(tmp_path: Path) -> None:
    """Keys are those that stand in the folder: added, rotated, revoked."""
    old, new, message = SigningKey(bytes(32)), SigningKey(bytes([1] * 32)), b"message"
    devices = Devices(tmp_path)

    def trusts(key: SigningKey) -> bool:
        devices.refresh()
        try:
            devices.verify("pump-7", key.key_id, key.sign(message), message)
        except NotAuthentic:
            return False
        return True

    assert not trusts(old)
    assert enroll(tmp_path, "pump-7", old.public_text)
    assert trusts(old)
    assert not enroll(tmp_path, "pump-7", old.public_text)
    assert enroll(tmp_path, "pump-7", new.public_text)
    assert trusts(old)
    assert trusts(new)
    assert "pump-7" in devices
    (tmp_path / "pump-7.pub").write_text(f"{new.public_text} # since March\n")
    assert not trusts(old)
    assert trusts(new)
    (tmp_path / "pump-7.pub").unlink()
    assert not trusts(new)
    assert "pump-7" not in devices


def test_slip_of_the_pen(tmp_path: Path) -> None:
    """A file that cannot be read keeps the keys it had, and is complained about."""
    key, complaints = SigningKey(bytes(32)), list[str]()
    enroll(tmp_path, "pump-7", key.public_text)
    devices = Devices(tmp_path, complaints.append)
    (tmp_path / "pump-7.pub").write_text("not a key")
    (tmp_path / "no device.pub").write_text("not a key")
    devices.refresh()
    devices.verify("pump-7", key.key_id, key.sign(b""), b"")
    assert len(complaints) == 1


@pytest.mark.parametrize(("device", "key"), [("../pump", SigningKey(bytes(32)).public_text), ("pump-7", "short")])
def test_refuses_to_enroll(tmp_path: Path, device: str, key: str) -> None:
    """A name that cannot be a device, and a text that cannot be a key, are refused and nothing is written."""
    with pytest.raises(ConfigError):
        enroll(tmp_path, device, key)
    assert list(tmp_path.iterdir()) == []


def test_a_large_folder_is_not_looked_at_all_the_time(tmp_path: Path) -> None:
    """While nothing comes or goes, a folder that takes long to look at is left alone; a new file is seen at once."""
    key, now = SigningKey(bytes(32)), [0.0]

    def slow_clock() -> float:
        now[0] += 0.1  # a look takes so long
        return now[0]

    def write(name: str) -> None:
        (tmp_path / f"{name}.pub").write_text(key.public_text + "\n")
        os.utime(tmp_path, ns=(0, len(list(tmp_path.iterdir())) * 10**9))  # long ago, and each time another time

    write("pump-1")
    devices = Devices(tmp_path, clock=slow_clock)
    (tmp_path / "pump-1.pub").write_text("changed in place, which the folder does not show")
    looks: list[int] = []
    real, devices._look = devices._look, lambda: looks.append(1) or real()  # type: ignore[method-assign,func-returns-value]
    for _ in range(10):
        devices.refresh()
    assert not looks
    write("pump-2")
    devices.refresh()
    assert "pump-2" in devices
    now[0] += 6.0
    devices.refresh()
    assert len(looks) == 2
