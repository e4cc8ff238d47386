"""What every spool promises, whatever keeps it: the port `trueline_wire.delivery.Spool`."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trueline_edge.spool.sqlite import SqliteSpool
from trueline_sim.memory_spool import MemorySpool
from trueline_wire.delivery import Spool, SpoolFull, SpoolRow
from trueline_wire.envelope import Lane

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1024
EPOCHS = [bytes([letter]) * 8 for letter in b"abcdefgh"]


class Shelf(Protocol):
    """How a test gets at one implementation."""

    durable: bool

    def open(self, size_max_bytes: int = 64 << 20) -> Spool:
        """A spool on what is there."""
        ...

    def reopen(self, spool: Spool) -> Spool:
        """The spool after a restart of its process; itself where it does not survive one."""
        ...

    def close(self) -> None:
        """Throw everything away."""


class SqliteShelf:
    durable = True

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spool-"))
        self._open: SqliteSpool | None = None
        self._size = 0

    def open(self, size_max_bytes: int = 64 << 20) -> SqliteSpool:
        self._size = size_max_bytes
        self._open = SqliteSpool(self.folder, size_max_bytes=size_max_bytes)
        return self._open

    def reopen(self, spool: Spool) -> SqliteSpool:
        assert isinstance(spool, SqliteSpool)
        spool.close(clean=False)
        return self.open(self._size)

    def close(self) -> None:
        if self._open is not None:
            self._open.close(clean=False)
        shutil.rmtree(self.folder)


class MemoryShelf:
    durable = False

    def open(self, size_max_bytes: int = 64 << 20) -> MemorySpool:
        return MemorySpool(size_max_bytes)

    def reopen(self, spool: Spool) -> Spool:
        return spool

    def close(self) -> None:
        pass


SHELVES = [SqliteShelf, MemoryShelf]


@pytest.fixture(params=SHELVES, ids=["sqlite", "memory"])
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    made: Shelf = request.param()
    yield made
    made.close()


def row(number: int, *, rows: int = 10, size: int = 100, epoch: bytes = EPOCHS[0], lane: Lane = Lane.DATA) -> SpoolRow:
    """Row `number` of an epoch that starts at 0 rows, number 1 being an OPEN without rows."""
    own = 0 if number == 1 else rows
    return SpoolRow(lane, epoch, number, number, own, rows * (number - 1), random.Random(number).randbytes(size))


def gap(first: int, last: int, *, rows: int = 10, epoch: bytes = EPOCHS[0]) -> SpoolRow:
    count = sum(0 if number == 1 else rows for number in range(first, last + 1))
    return SpoolRow(Lane.DATA, epoch, first, last, count, rows * (last - 1), b"gap")


# ---------------------------------------------------------------- examples


def test_gives_back_what_was_appended_in_order(shelf: Shelf) -> None:
    """Rows come back byte for byte, in order, from any number on, as many as asked for, also after a restart."""
    spool = shelf.open()
    rows = [row(number) for number in range(1, 8)]
    spool.append(rows[:3], [], None)
    spool.append(rows[3:], [], None)
    spool = shelf.reopen(spool)
    assert spool.rows(Lane.DATA, EPOCHS[0], 0, 100) == rows
    assert spool.rows(Lane.DATA, EPOCHS[0], 4, 2) == rows[3:5]
    assert spool.rows(Lane.EVENT, EPOCHS[0], 0, 100) == []
    assert spool.rows(Lane.DATA, EPOCHS[1], 0, 100) == []


def test_epochs_keep_their_ends(shelf: Shelf) -> None:
    """An epoch is known by its id, end, and lifetime rows at start and end, and released once drained and closed."""
    spool = shelf.open()
    spool.append([row(1), row(2)], [], None)
    spool.delete(Lane.DATA, EPOCHS[0], 2)
    assert [(e.epoch, e.end, e.rows_start, e.rows_end, e.released) for e in spool.epochs(Lane.DATA)] == [
        (EPOCHS[0], 2, 0, 10, False)
    ]
    spool.append([SpoolRow(Lane.DATA, EPOCHS[1], 1, 1, 0, 10, b"open")], [], None)
    spool.delete(Lane.DATA, EPOCHS[0], 2)
    spool = shelf.reopen(spool)
    assert [(e.epoch, e.end, e.rows_start, e.rows_end, e.released) for e in spool.epochs(Lane.DATA)] == [
        (EPOCHS[0], 2, 0, 10, True),
        (EPOCHS[1], 1, 10, 10, False),
    ]


def test_forgets_only_released_epochs_beyond_the_newest(shelf: Shelf) -> None:
    """However many epochs were opened, the unreleased and at least the newest 60 released ones are known."""
    spool = shelf.open()
    spool.append([SpoolRow(Lane.DATA, b"first...", 1, 1, 0, 0, b"open")], [], None)
    for number in range(100):
        epoch = b"%08d" % number
        spool.append([SpoolRow(Lane.DATA, epoch, 1, 1, 0, 0, b"open")], [], None)
        spool.delete(Lane.DATA, epoch, 1)
    spool = shelf.reopen(spool)
    known = [epoch.epoch for epoch in spool.epochs(Lane.DATA)]
    assert known[0] == b"first..."
    assert known[-60:] == [b"%08d" % number for number in range(40, 100)]


def test_checkpoint_and_schemas_survive(shelf: Shelf) -> None:
    """The newest checkpoint and every schema are found again; None as checkpoint leaves the last one."""
    spool = shelf.open()
    assert spool.checkpoint() is None
    spool.append([row(1)], [b"schema one"], b"first")
    spool.append([row(2)], [b"schema two", b"schema one"], None)
    spool = shelf.reopen(spool)
    assert spool.checkpoint() == b"first"
    assert spool.schema(hashlib.sha256(b"schema one").digest()[:8]) == b"schema one"
    assert spool.schema(hashlib.sha256(b"schema two").digest()[:8]) == b"schema two"
    assert spool.schema(bytes(8)) is None


def test_replace_puts_one_record_in_the_place_of_neighbours(shelf: Shelf) -> None:
    """A GAP takes the place of the rows it stands for, wherever they are, and may be cut at its front."""
    spool = shelf.open()
    rows = [row(number) for number in range(1, 8)]
    spool.append(rows, [], None)
    spool.replace(rows[1:4], gap(2, 4))
    assert spool.rows(Lane.DATA, EPOCHS[0], 0, 100) == [rows[0], gap(2, 4), *rows[4:]]
    assert spool.rows(Lane.DATA, EPOCHS[0], 3, 1) == [gap(2, 4)]
    spool.delete(Lane.DATA, EPOCHS[0], 3)
    trimmed = SpoolRow(Lane.DATA, EPOCHS[0], 4, 4, 30, 30, b"trimmed")
    spool.replace([gap(2, 4)], trimmed)
    spool = shelf.reopen(spool)
    assert spool.rows(Lane.DATA, EPOCHS[0], 0, 100) == [trimmed, *rows[4:]]


def test_a_gap_can_be_put_where_nothing_is_held_any_more(shelf: Shelf) -> None:
    """A restored cloud asks for what is gone: the GAP that says so goes in below the floor."""
    spool = shelf.open()
    spool.append([row(number) for number in range(1, 6)], [], None)
    spool.delete(Lane.DATA, EPOCHS[0], 4)
    spool.replace([], gap(3, 4))
    spool = shelf.reopen(spool)
    assert spool.rows(Lane.DATA, EPOCHS[0], 0, 100) == [gap(3, 4), row(5)]
    spool.delete(Lane.DATA, EPOCHS[0], 5)
    spool.replace([], gap(2, 5))
    spool = shelf.reopen(spool)
    assert spool.rows(Lane.DATA, EPOCHS[0], 0, 100) == [gap(2, 5)]


def test_a_full_spool_says_so_and_is_as_it_was(shelf: Shelf) -> None:
    """Over the limit an append raises SpoolFull and leaves rows, epochs and checkpoint untouched."""
    spool = shelf.open(256 * KIB)
    number = 1

    def fill() -> None:
        nonlocal number
        while True:
            spool.append([row(number, size=8 * KIB)], [], b"%d" % number)
            number += 1

    with pytest.raises(SpoolFull):
        fill()
    assert 20 < number <= 33
    held = spool.rows(Lane.DATA, EPOCHS[0], 0, 100)
    spool = shelf.reopen(spool)
    assert [r.last for r in held] == list(range(1, number))
    assert spool.rows(Lane.DATA, EPOCHS[0], 0, 100) == held
    assert spool.checkpoint() == b"%d" % (number - 1)
    assert spool.epochs(Lane.DATA)[0].end == number - 1
    spool.replace(held[:8], gap(1, 8))
    spool.append([row(number, size=8 * KIB)], [], None)


# ---------------------------------------------------------------- the law


class Model(RuleBasedStateMachine):
    """A spool beside a list per lane and epoch; restarts anywhere change nothing."""

    shelf_type: type[SqliteShelf | MemoryShelf]

    @initialize()
    def begin(self) -> None:
        self.shelf = self.shelf_type()
        self.spool: Spool = self.shelf.open()
        self.held: dict[tuple[Lane, bytes], list[SpoolRow]] = {}
        self.head: dict[tuple[Lane, bytes], tuple[int, int]] = {}
        self.counted = dict.fromkeys(Lane, 0)
        self.last_checkpoint: bytes | None = None
        self.opened = 0

    def teardown(self) -> None:
        if hasattr(self, "shelf"):
            self.shelf.close()

    def newest(self, lane: Lane) -> tuple[Lane, bytes] | None:
        return next((key for key in reversed(self.head) if key[0] is lane), None)

    @rule(
        lane=st.sampled_from(Lane),
        fresh=st.booleans(),
        sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=4),
        checkpoint=st.none() | st.binary(max_size=20),
    )
    def append(self, lane: Lane, *, fresh: bool, sizes: list[int], checkpoint: bytes | None) -> None:
        key = self.newest(lane)
        if key is None or fresh:
            self.opened += 1
            key = (lane, b"%08d" % self.opened)
            self.head[key] = (0, self.counted[lane])
            self.held[key] = []
        rows = []
        for size in sizes:
            number = self.head[key][0] + 1
            own = 0 if number == 1 else size % 7
            self.counted[lane] += own
            body = random.Random(size).randbytes(size)
            rows.append(SpoolRow(lane, key[1], number, number, own, self.counted[lane], body))
            self.head[key] = (number, self.counted[lane])
        self.spool.append(rows, [], checkpoint)
        self.held[key] += rows
        self.last_checkpoint = checkpoint if checkpoint is not None else self.last_checkpoint

    @precondition(lambda self: self.head)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.head)))
        last = data.draw(st.integers(0, self.head[key][0]))
        self.spool.delete(*key, last)
        self.held[key] = [r for r in self.held[key] if r.last > last]

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([key for key, rows in self.held.items() if rows]))
        start = data.draw(st.integers(0, len(self.held[key]) - 1))
        stop = data.draw(st.integers(start + 1, len(self.held[key])))
        gone = self.held[key][start:stop]
        by = SpoolRow(
            *key, gone[0].first, gone[-1].last, sum(r.rows for r in gone), gone[-1].rows_after, b"gap %d" % start
        )
        self.spool.replace(gone, by)
        self.held[key][start:stop] = [by]

    @rule()
    def restart(self) -> None:
        self.spool = self.shelf.reopen(self.spool)

    @invariant()
    def holds_the_same(self) -> None:
        if not hasattr(self, "spool"):
            return
        for key, rows in self.held.items():
            assert self.spool.rows(*key, 0, 1000) == rows
        for lane in Lane:
            ends = [(e.epoch, e.end, e.rows_end) for e in self.spool.epochs(lane)]
            assert ends == [(key[1], *head) for key, head in self.head.items() if key[0] is lane]
            for epoch in self.spool.epochs(lane)[:-1]:
                assert epoch.released == (not self.held[lane, epoch.epoch])
        assert self.spool.checkpoint() == self.last_checkpoint


@pytest.mark.parametrize("shelf_type", SHELVES, ids=["sqlite", "memory"])
def test_equals_a_list_through_restarts(shelf_type: type[SqliteShelf | MemoryShelf]) -> None:
    """Whatever is appended, deleted, replaced and restarted in whatever order: the spool holds what a list holds."""
    machine = type("Machine", (Model,), {"shelf_type": shelf_type}).TestCase  # type: ignore[attr-defined]
    machine.settings = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
