"""What the journal on SQLite promises beyond the port of stores."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
import pytest
from cloud_kit import Machine

from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_cloud.storage.rollups import merge, summarise
from trueline_cloud.storage.store import MINUTE_NS
from trueline_wire.errors import ConfigError, SpoolUnsafe
from trueline_wire.readings import Flag, worst_flag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class UnsafeDisk(apsw.VFS):
    """A disk whose syncs fail from when it is told to. The name says `default`, so SQLite uses it for everything."""

    def __init__(self) -> None:
        self.fails = False
        self.before = apsw.vfs_names()[0]
        super().__init__("unsafe", self.before)

    def xOpen(self, name: Any, flags: list[int]) -> UnsafeFile:  # noqa: N802 - SQLite's name
        return UnsafeFile(self, name, flags)


class UnsafeFile(apsw.VFSFile):
    def __init__(self, disk: UnsafeDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.before, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self._disk.fails:
            raise apsw.IOError("the sync failed")
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[UnsafeDisk]:
    made = UnsafeDisk()
    apsw.set_default_vfs("unsafe")
    yield made
    apsw.set_default_vfs(made.before)
    made.unregister()


def test_failed_sync(disk: UnsafeDisk, tmp_path: Path) -> None:
    """After a failed sync nothing was committed and nothing ever will be by this writer; the next start goes on."""
    machine = Machine()
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.commit(machine.group(machine.readings()))
        disk.fails = True
        for _ in range(2):
            with pytest.raises(SpoolUnsafe):
                journal.commit(Machine("other").group(machine.readings()))
            disk.fails = False
    with closing(Journal(tmp_path / "journal.db")) as journal, closing(JournalReader(tmp_path)) as reader:
        assert [lane.device for lane in reader.ledger()] == ["pump-7"]
        journal.commit(machine.group(machine.readings(), base=1))
        assert reader.ledger()[0].rows_stored == 20


def test_rows_are_keyed_by_incarnation(tmp_path: Path) -> None:
    """Every start is another random incarnation, and no id is given twice in one, also after old frames are gone."""
    machine, path = Machine(), tmp_path / "journal.db"
    for version in range(2):
        with closing(Journal(path)) as journal:
            journal.commit(machine.group(machine.readings(), base=version))
            assert journal.expire(1 << 62) == 1
            assert journal.expire(1 << 62) == 0
    with closing(Journal(path)) as journal:
        journal.commit(machine.group(machine.readings(), base=2))
    keys = "SELECT i.incarnation, f.id FROM frames f JOIN incarnations i ON i.id = incarnation_id"
    ((incarnation, frame),) = apsw.Connection(str(path)).execute(keys)
    assert (incarnation, frame) == (journal.incarnation, 3)


def test_retention(tmp_path: Path) -> None:
    """Frames received before a time go, oldest first and a few at a time; what is counted and drawn of them stays."""
    clock, machine = [1000], Machine()
    with closing(Journal(tmp_path / "journal.db", now_ns=lambda: clock[0])) as journal:
        for version in range(5):
            journal.commit(machine.group(machine.readings(60), base=version))
            clock[0] += 100
        assert [journal.expire(1250, frames=2) for _ in range(3)] == [2, 1, 0]
        with closing(JournalReader(tmp_path)) as reader:
            assert len(list(reader.readings("pump-7", "valve", 0, 1 << 62))) == 2
            (lane,) = reader.ledger()
            assert (lane.rows_stored, lane.frames, lane.verdict) == (300, 5, "complete")
            assert reader.expired("pump-7", "data") == (3, 180)
            assert reader.rollup("pump-7", "valve", 0, 1 << 62, MINUTE_NS).count.sum(axis=0).tolist() == [300, 300]


def test_flipped_bit(tmp_path: Path) -> None:
    """A flipped bit in a stored frame is found and named; the frames around it are still read."""
    machine, path = Machine(), tmp_path / "journal.db"
    with closing(Journal(path)) as journal:
        journal.commit(machine.group(*(machine.readings() for _ in range(3))))
    database = apsw.Connection(str(path))
    ((message,),) = database.execute("SELECT message FROM frames WHERE number = 3")
    rotten = message[:-70] + bytes([message[-70] ^ 4]) + message[-69:]
    database.execute("UPDATE frames SET message = ? WHERE number = 3", (rotten,))
    database.close()
    found: list[str] = []
    with closing(JournalReader(tmp_path, found.append)) as reader:
        assert sum(map(len, reader.readings("pump-7", "valve", 0, 1 << 62))) == 20
    assert len(found) == 1
    assert "no longer what was stored" in found[0]


def test_foreign_files(tmp_path: Path) -> None:
    """A file that is no journal, and a journal of a later version, are refused with a word and left as they are."""
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="is not a journal"):
        Journal(foreign)
    with pytest.raises(ConfigError, match="there is no journal here"):
        JournalReader(tmp_path)
    Journal(tmp_path / "journal.db").close()
    apsw.Connection(str(tmp_path / "journal.db")).pragma("user_version", 99)
    for opening in (Journal, JournalReader):
        with pytest.raises(ConfigError, match="format 99"):
            opening(tmp_path / "journal.db")


def test_log_is_checkpointed(tmp_path: Path) -> None:
    """The write-ahead log does not grow without end."""
    machine = Machine(channels=8)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        for version in range(40):
            value = machine.rng.normal(size=(600, 8))
            journal.commit(machine.group(*(machine.readings(600, value=value) for _ in range(4)), base=version))
        assert (tmp_path / "journal.db-wal").stat().st_size < 64 << 20


def test_worst_flag_is_the_wires() -> None:
    """Rollups rank flags as the wire does."""
    machine = Machine(channels=1)
    for one in Flag:
        for two in Flag:
            flags = np.array([[one], [two]], np.uint8)
            parts = [summarise(machine.readings(1, flag=flag[None]), MINUTE_NS)[1] for flag in flags]
            together = summarise(machine.readings(2, flag=flags, start_ns=0), MINUTE_NS)[1]
            assert merge(*parts)["flag"] == together["flag"] == worst_flag(flags, 0)
