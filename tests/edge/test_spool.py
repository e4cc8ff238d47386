"""The spool on SQLite: damage, full disks, failed syncs, two agents on one folder."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import apsw
import pytest

from trueline_edge.spool import opening
from trueline_edge.spool.carve import PAGE_SIZE
from trueline_edge.spool.files import Reserve
from trueline_edge.spool.sqlite import SqliteSpool
from trueline_wire.delivery import SpoolFull, SpoolRow
from trueline_wire.envelope import Lane
from trueline_wire.errors import ConfigError, SpoolUnsafe

EPOCH = b"epoch..."
KIB = 1024


def row(number: int, size: int = 3000) -> SpoolRow:
    own = 0 if number == 1 else 10
    body = random.Random(number).randbytes(size)
    return SpoolRow(Lane.DATA, EPOCH, number, number, own, 10 * (number - 1), body)


def gap(first: int, last: int) -> SpoolRow:
    return SpoolRow(Lane.DATA, EPOCH, first, last, 10 * (last - first + 1), 10 * (last - 1), b"gap")


def filled(folder: Path, frames: int = 60, size: int = 3000) -> list[SpoolRow]:
    """A closed spool of some frames, and what is in it."""
    spool = SqliteSpool(folder)
    rows = [row(number, size) for number in range(1, frames + 1)]
    for one in rows:
        spool.append([one], [b"schema"], b"checkpoint %d" % one.last)
    spool.close(clean=True)
    return rows


def lost_numbers(spool: SqliteSpool, rows: list[SpoolRow]) -> int:
    """How many numbers come out damaged; all others must be what went in."""
    out = spool.rows(Lane.DATA, EPOCH, 0, 10_000)
    assert [r.first for r in out] == [1, *(r.last + 1 for r in out[:-1])]
    assert out[-1].last == rows[-1].last
    assert all(r == rows[r.first - 1] for r in out if r.message is not None)
    assert [r.rows_after for r in out] == [10 * (r.last - 1) for r in out]
    return sum(r.last - r.first + 1 for r in out if r.message is None)


class WeakDisk(apsw.VFS):
    """SQLite's own files, on a disk that fills up or whose syncs fail, when told."""

    def __init__(self, folder: Path) -> None:
        self.size_max: int | None = None
        self.sync_fails = False
        self._folder = folder
        super().__init__("weak", "")

    @property
    def used(self) -> int:
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def xOpen(self, name, flags):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, N802 - apsw names and types it
        disk = self

        class File(apsw.VFSFile):
            def __init__(self) -> None:
                super().__init__("", name, flags)

            def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
                growth = offset + len(data) - super().xFileSize()
                if disk.size_max is not None and growth > 0 and disk.used + growth > disk.size_max:
                    raise apsw.FullError
                super().xWrite(data, offset)

            def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
                if disk.sync_fails:
                    error = apsw.IOError()
                    error.extendedresult = apsw.SQLITE_IOERR_FSYNC
                    raise error
                super().xSync(flags)

        return File()


@pytest.fixture
def disk(tmp_path: Path) -> WeakDisk:
    return WeakDisk(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_every_flipped_bit_is_noticed_and_costs_one_frame_at_most(tmp_path: Path, seed: int) -> None:
    """One bit flipped anywhere in the file: the start succeeds, at most one frame is damaged, none is wrong."""
    rows = filled(tmp_path / "original")
    whole = (tmp_path / "original/spool.db").read_bytes()
    rng = random.Random(seed)
    for turn in range(10):
        place = rng.randrange(len(whole) * 8) if turn % 2 else rng.randrange(len(whole) // PAGE_SIZE) * PAGE_SIZE * 8
        place += 0 if turn % 2 else rng.randrange(100)  # every other one hits the header of a page
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        folder = tmp_path / f"flip-{turn}"
        folder.mkdir()
        (folder / "spool.db").write_bytes(damaged)
        spool = SqliteSpool(folder)
        assert lost_numbers(spool, rows) <= 1, f"seed {seed}, bit {place}"
        assert spool.checkpoint() == b"checkpoint 60"
        spool.close(clean=False)


def test_a_flip_inside_a_message_is_found_every_time(tmp_path: Path) -> None:
    """A bit flipped in a stored message always makes that message None (negative control: unflipped, none is)."""
    rows = filled(tmp_path / "original", frames=12)
    whole = (tmp_path / "original/spool.db").read_bytes()
    rng = random.Random(5)
    for one in rows:
        part = bytearray((one.message or b"")[:200])
        assert bytes(part) in whole
        part[rng.randrange(200)] ^= 1 << rng.randrange(8)
        damaged = whole.replace((one.message or b"")[:200], bytes(part))  # wherever pages have left a copy
        folder = tmp_path / f"flip-{one.first}"
        folder.mkdir()
        (folder / "spool.db").write_bytes(damaged)
        spool = SqliteSpool(folder)
        assert [r.first for r in spool.rows(Lane.DATA, EPOCH, 0, 99) if r.message is None] == [one.first]
        spool.close(clean=False)
    untouched = SqliteSpool(tmp_path / "original")
    assert lost_numbers(untouched, rows) == 0
    untouched.close(clean=False)


@pytest.mark.parametrize("left", [0, 500, PAGE_SIZE, 9 * PAGE_SIZE, 31 * PAGE_SIZE + 7])
def test_a_truncated_file_never_stops_the_start(tmp_path: Path, left: int) -> None:
    """What is left of a truncated database is carried over; the old file is set aside; new frames are taken."""
    filled(tmp_path)
    with (tmp_path / "spool.db").open("r+b") as file:
        file.truncate(left)
    spool = SqliteSpool(tmp_path)
    spool.append([SpoolRow(Lane.DATA, b"epoch-2.", 1, 1, 0, 590, b"open")], [], None)
    assert left == 0 or spool.salvage is not None
    assert left == 0 or (tmp_path / "spool.db.corrupt-1").stat().st_size == left
    spool.close(clean=False)


@pytest.mark.parametrize("rubbish", [b"not a database at all" * 500, bytes(50_000)])
def test_rubbish_is_set_aside(tmp_path: Path, rubbish: bytes) -> None:
    """A file that is no database is set aside, at most two such files are kept, and the agent starts."""
    for turn in range(1, 5):
        (tmp_path / "spool.db").write_bytes(rubbish)
        spool = SqliteSpool(tmp_path)
        assert spool.salvage is not None
        assert spool.salvage.aside.name == f"spool.db.corrupt-{turn}"
        assert spool.rows(Lane.DATA, EPOCH, 0, 10) == []
        spool.close(clean=False)
    assert sorted(p.name for p in tmp_path.glob("*.corrupt-*")) == ["spool.db.corrupt-3", "spool.db.corrupt-4"]


def test_what_lies_in_the_log_is_carved_too(tmp_path: Path) -> None:
    """Frames that are only in the write-ahead log survive, also when SQLite cannot read the database any more."""
    live = SqliteSpool(tmp_path / "live")
    rows = [row(number) for number in range(1, 30)]
    for one in rows:
        live.append([one], [], b"c")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("spool.db", "spool.db-wal"):
        shutil.copy(tmp_path / "live" / name, copy / name)
    live.close(clean=False)
    (copy / "spool.suspect").touch()  # what a failed read leaves behind
    spool = SqliteSpool(copy)
    assert spool.salvage is not None
    assert lost_numbers(spool, rows) == 0
    spool.close(clean=False)


@pytest.mark.parametrize("step", ["carved", "set aside"])
def test_a_kill_in_the_middle_of_a_salvage_loses_nothing(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after the damaged file is set aside, the next start ends where this one would have."""

    class KilledError(BaseException):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    rows = filled(tmp_path)
    (tmp_path / "spool.suspect").touch()
    with monkeypatch.context() as patched:
        patched.setattr(opening, "set_aside" if step == "carved" else "sync_folder", kill)
        if step == "set aside":
            real = Path.rename

            def rename(self: Path, target: Path) -> Path:
                return kill() or self if self.name == "spool.db.new" else real(self, target)

            patched.setattr(Path, "rename", rename)
        with pytest.raises(KilledError):
            SqliteSpool(tmp_path)
    spool = SqliteSpool(tmp_path)
    assert lost_numbers(spool, rows) == 0
    assert spool.checkpoint() == b"checkpoint 60"
    spool.close(clean=False)


def test_a_salvage_on_a_full_disk_keeps_what_is_known_of_the_records(tmp_path: Path, disk: WeakDisk) -> None:
    """Without room for a second copy the start succeeds all the same: epochs and checkpoint stay, records are lost."""
    filled(tmp_path, frames=200)
    (tmp_path / "spool.suspect").touch()
    (tmp_path / "spool.reserve").unlink()
    disk.size_max = disk.used + 400 * KIB
    spool = SqliteSpool(tmp_path, vfs="weak")
    assert spool.salvage is not None
    assert (spool.salvage.records, spool.salvage.records_lost, spool.salvage.rows_lost) == (0, 200, 1990)
    assert spool.checkpoint() == b"checkpoint 200"
    disk.size_max = None
    spool.close(clean=False)


def test_rot_in_both_labels_is_a_hole_of_one_record(tmp_path: Path) -> None:
    """A record that no longer says what it is comes out as damaged, number and count intact, and nothing else does."""
    rows = filled(tmp_path, frames=10)
    spool = SqliteSpool(tmp_path)
    spool._db.execute("UPDATE record SET label=zeroblob(60), label_copy=zeroblob(60) WHERE key & 255 = 4")
    assert lost_numbers(spool, rows) == 1
    assert spool.rows(Lane.DATA, EPOCH, 4, 1) == [SpoolRow(Lane.DATA, EPOCH, 4, 4, 10, 30, None)]
    assert spool.rows(Lane.DATA, EPOCH, 5, 1) == [rows[4]]
    spool.close(clean=False)


def test_a_damaged_row_goes_to_quarantine_when_a_gap_replaces_it(tmp_path: Path) -> None:
    """The bytes of a damaged record are kept aside, at most 64 of them, when a GAP takes its place."""
    filled(tmp_path, frames=80, size=100)
    db = apsw.Connection(str(tmp_path / "spool.db"))
    db.execute("UPDATE record SET body = zeroblob(100)")
    db.close()
    spool = SqliteSpool(tmp_path)
    damaged = spool.rows(Lane.DATA, EPOCH, 0, 100)
    assert [r.message for r in damaged] == [None] * 80
    spool.replace(damaged[1:3], gap(2, 3))
    assert spool.quarantined == 2
    for one in damaged[3:]:
        spool.replace([one], gap(one.first, one.last))
    assert spool.quarantined == 64
    spool.close(clean=False)


def test_space_is_used_again(tmp_path: Path) -> None:
    """Filled to the limit and drained twenty times, the file does not grow."""
    spool = SqliteSpool(tmp_path, size_max_bytes=2048 * KIB)
    number, sizes = 0, []

    def fill() -> None:
        nonlocal number
        while True:
            spool.append([row(n, 20_000) for n in range(number + 1, number + 5)], [], None)
            number += 4

    for _ in range(20):
        with pytest.raises(SpoolFull):
            fill()
        spool.delete(Lane.DATA, EPOCH, number)
        sizes.append((tmp_path / "spool.db").stat().st_size + (tmp_path / "spool.db-wal").stat().st_size)
    assert max(sizes) <= 2048 * KIB + 2048 * KIB  # pages in use, and the log
    assert max(sizes[3:]) <= max(sizes[:3]) + 512 * KIB  # the log is a few pages longer or shorter
    spool.close(clean=False)


def test_a_clean_stop_is_remembered_once(tmp_path: Path) -> None:
    """`was_clean` is true only right after a stop in order."""
    spool = SqliteSpool(tmp_path)
    assert not spool.was_clean
    spool.journal = b"journal1"
    spool.close(clean=True)
    spool = SqliteSpool(tmp_path)
    assert spool.was_clean
    assert spool.journal == b"journal1"
    spool.close(clean=False)
    spool = SqliteSpool(tmp_path)
    assert not spool.was_clean
    spool.close(clean=False)


def test_two_agents_on_one_folder_are_refused(tmp_path: Path) -> None:
    """The second one is told who holds the folder; once that one is gone, it may."""
    first = SqliteSpool(tmp_path)
    with pytest.raises(ConfigError, match=r"in use by another agent \(process \d+\)"):
        SqliteSpool(tmp_path)
    first.close(clean=False)
    SqliteSpool(tmp_path).close(clean=False)


def test_a_full_disk_is_a_full_spool_and_a_gap_still_fits(tmp_path: Path, disk: WeakDisk) -> None:
    """No space: append says SpoolFull and changes nothing, replace succeeds, and after it appends fit again."""
    spool = SqliteSpool(tmp_path, vfs="weak")
    number = 1
    for number in range(1, 101):
        spool.append([row(number)], [], b"before")
    disk.size_max = disk.used

    def fill() -> None:
        nonlocal number
        while number < 10_000:
            spool.append([row(number + 1)], [], b"after")
            number += 1

    with pytest.raises(SpoolFull):
        fill()
    held = spool.rows(Lane.DATA, EPOCH, 0, 10_000)
    assert [r.last for r in held] == list(range(1, number + 1))
    for _ in range(5):
        held = spool.rows(Lane.DATA, EPOCH, 2, 20)
        spool.replace(held, gap(held[0].first, held[-1].last))
        spool.append([row(number + 1)], [], b"after")
        number += 1
    spool.delete(Lane.DATA, EPOCH, number)
    assert spool.rows(Lane.DATA, EPOCH, 0, 10) == []
    disk.size_max = None
    spool.close(clean=True)


def test_after_a_failed_sync_nothing_is_accepted(tmp_path: Path, disk: WeakDisk) -> None:
    """A sync that failed once is never tried again: every call says SpoolUnsafe, the next start is fine."""
    spool = SqliteSpool(tmp_path, vfs="weak")
    spool.append([row(1)], [], None)
    disk.sync_fails = True
    with pytest.raises(SpoolUnsafe):
        spool.append([row(2)], [], None)
    disk.sync_fails = False
    with pytest.raises(SpoolUnsafe):
        spool.append([row(2)], [], None)
    with pytest.raises(SpoolUnsafe):
        spool.rows(Lane.DATA, EPOCH, 0, 1)
    spool.close(clean=True)
    spool = SqliteSpool(tmp_path)
    assert not spool.was_clean
    assert spool.rows(Lane.DATA, EPOCH, 0, 1) == [row(1)]
    spool.close(clean=False)


def test_the_reserve_is_really_allocated(tmp_path: Path) -> None:
    """The reserve holds blocks of the disk, not a hole; taken, it is gone until it is refilled."""
    reserve = Reserve(tmp_path / "reserve", 64 * KIB)
    assert not reserve.take()
    assert reserve.maybe_refill()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 64 * KIB
    assert reserve.take()
    assert not reserve.held
