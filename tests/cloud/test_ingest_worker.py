"""What the ingest thread promises: order, acknowledgement after commit, poison kept aside."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cloud_kit import START_NS, Machine
from cloud_site import Site, die_in_decode

from trueline_cloud.ingest.intake import Inbound, Intake
from trueline_cloud.ingest.marker import Marker
from trueline_cloud.ingest.trust import enroll
from trueline_cloud.ingest.worker import IngestThread
from trueline_cloud.storage.reader import JournalReader
from trueline_wire.control import AckCode
from trueline_wire.errors import SpoolUnsafe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def site(tmp_path: Path, machine: Machine) -> Iterator[Site]:
    made = Site(tmp_path, machine)
    yield made
    made.close()


def test_acknowledged_after_the_commit(site: Site, machine: Machine) -> None:
    """Nothing is acknowledged before the commit that holds it; then one acknowledgement names the last number."""
    site.take(machine, *machine.opening(), machine.frame(), machine.frame())
    assert site.acks() == []
    site.now_s += 0.05
    site.ingest.run_due()
    assert site.acks() == []
    assert site.ingest.waiting_age_s == pytest.approx(0.05)
    site.now_s += 0.06
    site.ingest.run_due()
    (ack,) = site.acks()
    assert (ack.device, ack.last, ack.code, ack.journal) == ("pump-7", 3, AckCode.OK, site.journal.journal)
    assert (site.lane(machine).rows_stored, site.lane(machine).verdict) == (20, "complete")
    assert site.ingest.waiting_age_s is None


def test_group_is_bounded(site: Site, machine: Machine) -> None:
    """A group is committed when it is large, however young it is."""
    site.take(machine, *machine.opening())
    for _ in range(60):
        site.take(machine, machine.frame())
        site.ingest.run_due()
    assert [ack.last for ack in site.acks()] == [49]


def test_each_request_has_one_answer(site: Site, machine: Machine) -> None:
    """A request is answered once: at once if there is something to say, with the commit if it waits for one."""
    frame = machine.frame()
    site.take(machine, frame, token="too early")  # noqa: S106 - a link's token
    site.take(machine, *machine.opening(), token="opening")  # noqa: S106
    site.take(machine, frame, token="again")  # noqa: S106
    site.take(machine, b"noise", token="noise")  # noqa: S106
    site.ingest.commit()
    site.take(machine, frame, token="double")  # noqa: S106
    answers = [(token, [ack.last for ack in acks]) for _, token, acks in site.answers]
    assert answers == [("too early", [0]), ("opening", [2]), ("again", [2]), ("noise", [2]), ("double", [2])]
    assert site.lane(machine).rows_stored == 10


def test_unknown_device(site: Site) -> None:
    """A device nobody enrolled is counted under its name, up to a bound, and gets no acknowledgement."""
    for number in range(1500):
        stranger = Machine(f"stranger-{number}", seed=99)
        site.take(stranger, b"whatever", token=number)
    assert site.acks() == []
    assert len(site.ingest.unknown) == 1001
    assert site.ingest.unknown["(others)"] == 500


def test_enrolled_while_running(site: Site, tmp_path: Path) -> None:
    """A device enrolled while the service runs is heard within two seconds; one whose file goes is heard no more."""
    new = Machine("new", seed=5)
    enroll(tmp_path / "devices", "new", new.key.public_text)
    site.now_s += 1.1
    site.ingest.run_due()
    site.take(new, *new.opening(), new.frame())
    site.ingest.commit()
    assert [ack.last for ack in site.acks()] == [2]
    (tmp_path / "devices" / "new.pub").unlink()
    site.now_s += 1.1
    site.ingest.run_due()
    site.take(new, new.frame())
    site.ingest.commit()
    assert site.acks() == []


def test_nonsense_is_kept_aside(site: Site, machine: Machine) -> None:
    """An authentic frame nobody can believe goes to quarantine with its reason, and blocks nothing behind it."""
    bent = [
        machine.frame(body=b"\x01\xff\xff"),
        machine.frame(time_first=5),
        machine.frame(machine.readings(flag=np.full((10, 2), 7, np.uint8))),
        machine.frame(machine.readings(u=np.full((10, 2), np.inf, np.float32))),
    ]
    site.take(machine, *machine.opening(), *bent, machine.frame())
    site.ingest.commit()
    assert [ack.last for ack in site.acks()] == [6]
    lane = site.lane(machine)
    assert (lane.rows_stored, lane.rows_quarantined, lane.rows_head) == (10, 40, 50)


def test_absurd_counts(site: Site, machine: Machine) -> None:
    """An authentic frame whose counts overflow every integer is kept aside, and ends nothing."""
    huge = (1 << 63) - 1
    site.take(machine, *machine.opening(), machine.frame())
    site.take(machine, machine.frame(rows=huge), machine.frame(rows_before=huge, rows=huge))
    site.ingest.commit()
    other = Machine("other", seed=8)
    enroll(site.folder / "devices", "other", other.key.public_text)
    site.now_s += 1.1
    site.ingest.run_due()
    site.take(other, *other.opening(), other.frame())
    site.ingest.commit()
    assert site.lane(other).rows_stored == 10
    assert site.lane(machine).rows_stored >= 10


def test_honest_frames_pass(site: Site, machine: Machine) -> None:
    """Unknown u, NaN, infinities, every flag and a clock far ahead are stored as they are; the clock is counted."""
    value = np.array([[np.nan, np.inf], [-np.inf, 1e300], [-0.0, 5e-324]])
    flags = np.array([[1, 2], [3, 4], [9, 1]], np.uint8)
    u = np.array([[np.nan, 0], [np.nan, np.nan], [1, 2]], np.float32)
    odd = machine.readings(3, value=value, flag=flags, u=u, time_ns=START_NS * 2 + np.arange(3))
    site.take(machine, *machine.opening(), machine.frame(odd))
    site.ingest.commit()
    with closing(JournalReader(site.folder)) as reader:
        (found,) = reader.readings("pump-7", "valve", 0, (1 << 63) - 1)
    assert np.array_equal(found.value, value, equal_nan=True)
    assert (found.flag == flags).all()
    assert site.decoder.frames_in_the_future == 1


def test_lost_before_the_spool(site: Site, machine: Machine) -> None:
    """What a device says it lost before its spool is in the ledger, and is no hole in the lane."""
    site.take(machine, *machine.opening(), machine.frame(), machine.status(source_overrun=7))
    site.ingest.commit()
    lane = site.lane(machine)
    assert (lane.lost_before_spool, lane.rows_missing, lane.verdict) == ({"source_overrun": 7}, 0, "complete")


def test_presence(site: Site, machine: Machine) -> None:
    """What enrolled devices say about being there is written down before long; strangers are not."""
    site.ingest.presence("pump-7", online=True)
    site.ingest.presence("stranger", online=True)
    site.now_s += 1.1
    site.ingest.run_due()
    with closing(JournalReader(site.folder)) as reader:
        assert [(device.device, device.online) for device in reader.devices()] == [("pump-7", True)]


def test_greeting(site: Site, machine: Machine) -> None:
    """A device that was online before us is told before long how far we have come: what is committed, and no more."""
    site.ingest.greet("pump-7", site)
    site.ingest.greet("stranger", site)
    site.now_s += 1.1
    site.ingest.run_due()
    assert site.acks() == []
    site.take(machine, *machine.opening(), machine.frame())
    site.ingest.commit()
    site.acks()
    site.take(machine, machine.frame())
    site.ingest.greet("pump-7", site)
    site.ingest._keep_house()
    (ack,) = site.acks()
    assert (ack.epoch, ack.last, ack.code) == (machine.epoch, 2, AckCode.OK)


def test_full_disk_is_weather(site: Site, machine: Machine) -> None:
    """A full disk is answered with busy, and once there is room everything is taken."""
    site.take(machine, *machine.opening())
    site.ingest.commit()
    site.acks()
    value = machine.rng.normal(size=(600, 2))
    frames = [machine.frame(machine.readings(600, value=value)) for _ in range(8)]
    site.journal._db.pragma("max_page_count", site.journal._db.pragma("page_count"))
    site.take(machine, *frames)
    site.ingest.commit()
    (ack,) = site.acks()
    assert (ack.code, ack.last) == (AckCode.BUSY, 1)
    site.journal._db.pragma("max_page_count", 1 << 30)
    site.take(machine, *frames)
    site.ingest.commit()
    assert [(ack.code, ack.last) for ack in site.acks()] == [(AckCode.OK, 9)]
    assert site.lane(machine).rows_stored == 4800


def test_thread_commits_what_came(tmp_path: Path, machine: Machine) -> None:
    """Told to stop, the thread takes what waits, commits it, acknowledges it, and ends."""
    intake, ended = Intake(), []
    site = Site(tmp_path, machine)
    thread = IngestThread(site.ingest, intake, lambda: ended.append(True))
    for message in (*machine.opening(), machine.frame()):
        assert intake.put(Inbound(site, "pump-7", message))
    thread.stop()
    thread.start()
    thread.join(10)
    assert (ended, thread.failure) == ([True], None)
    assert [ack.last for ack in site.acks()] == [2]
    site.close()


def test_thread_ends_with_the_journal(tmp_path: Path, machine: Machine) -> None:
    """When the journal breaks its word the thread ends, and says why."""

    def broken(_group: object) -> None:
        raise SpoolUnsafe("the sync failed")

    site, ended = Site(tmp_path, machine), []
    site.journal.commit = broken  # type: ignore[method-assign] - the disk of this test
    intake = Intake()
    thread = IngestThread(site.ingest, intake, lambda: ended.append(True))
    intake.put(Inbound(site, "pump-7", machine.opening()[1]))
    thread.stop()
    thread.start()
    thread.join(10)
    assert ended == [True]
    assert isinstance(thread.failure, SpoolUnsafe)
    assert site.acks() == []
    site.close()


# ---------------------------------------------------------------- deaths


def test_poison_is_kept_aside(tmp_path: Path, machine: Machine) -> None:
    """A frame that killed the process twice is quarantined undecoded, and the frames behind it are stored."""
    messages = [*machine.opening(), machine.frame(), machine.frame(), machine.frame()]
    assert [die_in_decode(tmp_path, messages, 3) for _ in range(3)] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    site = Site(tmp_path, machine)
    lane = site.lane(machine)
    assert (lane.rows_stored, lane.rows_quarantined, lane.verdict) == (20, 10, "complete")
    site.close()


def test_death_between_receive_and_commit(tmp_path: Path, machine: Machine) -> None:
    """What was not committed when the process was killed is taken when it comes again; what was is there once."""
    messages = [*machine.opening(), machine.frame()]
    site = Site(tmp_path, machine)
    site.take(machine, *messages)
    site.ingest.commit()
    site.close()
    messages += [machine.frame(), machine.frame()]
    assert die_in_decode(tmp_path, messages, 4) == -signal.SIGKILL
    site = Site(tmp_path, machine)
    assert site.lane(machine).rows_stored == 10
    site.take(machine, *messages)
    site.ingest.commit()
    assert [ack.last for ack in site.acks()][-1] == 4
    assert (site.lane(machine).rows_stored, site.lane(machine).frames) == (30, 3)
    site.close()


def test_one_death_is_forgiven(tmp_path: Path, machine: Machine) -> None:
    """A frame in hand at one death, handled well after it, is no suspect at the next."""
    frame = machine.frame()
    for _ in range(3):
        with closing(Marker(tmp_path / "marker")) as marker:
            marker.take(frame)
        with closing(Marker(tmp_path / "marker")) as marker:
            assert not marker.suspected(frame)
            marker.take(frame)
            marker.release(frame)
    for deaths in (1, 2):
        with closing(Marker(tmp_path / "marker")) as marker:
            marker.take(frame)
        with closing(Marker(tmp_path / "marker")) as marker:
            assert marker.suspected(frame) == (deaths == 2)
            assert not marker.suspected(machine.frame())
