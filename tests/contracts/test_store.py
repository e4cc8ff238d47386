"""What every store promises, whatever keeps it: the port `trueline_wire.delivery.Store`, and `storage.store.Reader`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
from cloud_kit import SECOND_NS, START_NS, Machine
from hypothesis import given
from hypothesis import strategies as st

from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_cloud.storage.store import MINUTE_NS, NeverHeardOfError
from trueline_wire.delivery import Conflict, Group, LaneState, Quarantined, Store, StoreFull
from trueline_wire.envelope import Lane
from trueline_wire.readings import Channel, Flag, Readings, Schema, worst_flag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_cloud.storage.store import LaneLedger, Reader


class Shelf(Protocol):
    """How a test gets at one implementation."""

    def open(self, *, quarantine_records_max: int = 100, quarantine_bytes_max: int = 1 << 20) -> Store[Readings]:
        """A store on what is there; one more each time."""
        ...

    def reader(self) -> Reader:
        """A reader of it."""
        ...

    def fill(self, store: Store[Readings]) -> None:
        """No room is left on its disk."""
        ...

    def make_room(self, store: Store[Readings]) -> None:
        """There is room again."""
        ...

    def close(self) -> None:
        """Throw everything away."""


class JournalShelf:
    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="store-")))

    def open(self, *, quarantine_records_max: int = 100, quarantine_bytes_max: int = 1 << 20) -> Journal:
        return self._stack.enter_context(
            closing(
                Journal(
                    self._folder / "journal.db",
                    quarantine_records_max=quarantine_records_max,
                    quarantine_bytes_max=quarantine_bytes_max,
                )
            )
        )

    def reader(self) -> JournalReader:
        return self._stack.enter_context(closing(JournalReader(self._folder)))

    def fill(self, store: Store[Readings]) -> None:
        assert isinstance(store, Journal)
        store._db.pragma("max_page_count", store._db.pragma("page_count"))

    def make_room(self, store: Store[Readings]) -> None:
        assert isinstance(store, Journal)
        store._db.pragma("max_page_count", 1 << 30)

    def close(self) -> None:
        self._stack.close()


SHELVES = [JournalShelf]


@pytest.fixture(params=SHELVES)
def shelf(request: pytest.FixtureRequest) -> Iterator[Shelf]:
    made: Shelf = request.param()
    yield made
    made.close()


def stored(reader: Reader, device: str = "pump-7") -> list[Readings]:
    return list(reader.readings(device, "valve", -(1 << 63), (1 << 63) - 1))


def lane(reader: Reader, device: str = "pump-7") -> LaneLedger:
    (found,) = reader.ledger(device)
    return found


def equal(left: Readings, right: Readings) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=name in {"value", "u"})
        for name in ("time_ns", "value", "flag", "reason")
    ) and np.allclose(left.u, right.u, rtol=0.01, equal_nan=True)


# ---------------------------------------------------------------- the port


def test_unknown_lane(shelf: Shelf) -> None:
    """A lane nobody has written is empty, and a schema nobody has sent is None."""
    store = shelf.open()
    assert store.lane("pump-7", Lane.DATA) == LaneState()
    assert store.schema("pump-7", bytes(8)) is None


def test_commit_is_read_back(shelf: Shelf) -> None:
    """What was committed is read back: lane state, schema, and every reading."""
    machine, store = Machine(), shelf.open()
    batches = [machine.readings(10), machine.readings(7, start_ns=START_NS + 100 * SECOND_NS)]
    group = machine.group(*batches)
    store.commit(group)
    assert store.lane("pump-7", Lane.DATA) == group.lanes["pump-7", Lane.DATA][1]
    assert store.schema("pump-7", machine.schema.hash) == machine.schema.encoded
    reader = shelf.reader()
    assert all(equal(*pair) for pair in zip(stored(reader), batches, strict=True))
    assert [schema.stream for schema in reader.streams("pump-7")] == ["valve"]
    assert (lane(reader).rows_stored, lane(reader).values, lane(reader).verdict) == (17, 34, "complete")


def test_restart(shelf: Shelf) -> None:
    """After a restart the journal's id and all that was committed are the same."""
    machine, store = Machine(), shelf.open()
    store.commit(machine.group(machine.readings()))
    again = shelf.open()
    assert (again.journal, again.lane("pump-7", Lane.DATA)) == (store.journal, store.lane("pump-7", Lane.DATA))
    again.commit(machine.group(machine.readings(), base=1))
    assert len(stored(shelf.reader())) == 2


def test_swap_needs_the_version(shelf: Shelf) -> None:
    """A group built on a version that is gone is refused, and nothing of it is stored."""
    machine, store = Machine(), shelf.open()
    store.commit(machine.group(machine.readings()))
    for base in (0, 2):
        with pytest.raises(Conflict):
            store.commit(machine.group(machine.readings(), base=base))
    assert lane(shelf.reader()).rows_stored == 10
    assert store.lane("pump-7", Lane.DATA).version == 1


def test_two_writers_of_one_lane(shelf: Shelf) -> None:
    """Of two writers that build on the same version one commits, whichever comes first."""
    one, two = shelf.open(), shelf.open()
    left, right = Machine(), Machine()
    one.commit(left.group(left.readings()))
    with pytest.raises(Conflict):
        two.commit(right.group(right.readings()))
    two.commit(left.group(left.readings(), base=two.lane("pump-7", Lane.DATA).version))
    with pytest.raises(Conflict):
        one.commit(left.group(left.readings(), base=1))
    assert lane(shelf.reader()).rows_stored == 20


def test_all_or_nothing(shelf: Shelf) -> None:
    """One lane that conflicts keeps the whole group out, whatever the group holds of others."""
    good, bad, store = Machine("good"), Machine("bad", seed=2), shelf.open()
    group = good.group(good.readings())
    group.gaps.append((good.gap(1, 5), 5))
    group.quarantine.append(Quarantined("good", Lane.DATA, good.epoch, 9, 3, "bent", b"bytes"))
    group.lanes |= bad.group(bad.readings(), base=4).lanes
    with pytest.raises(Conflict):
        store.commit(group)
    assert store.schema("good", good.schema.hash) is None
    assert shelf.reader().ledger() == []
    del group.lanes["bad", Lane.DATA]
    store.commit(group)
    assert (lane(shelf.reader(), "good").rows_stored, lane(shelf.reader(), "good").rows_missing) == (10, 5)


def test_full_disk(shelf: Shelf) -> None:
    """On a full disk nothing of a group is stored; once there is room the same group is."""
    machine, store = Machine(channels=8), shelf.open()
    store.commit(machine.group(machine.readings()))
    rng = np.random.default_rng(5)
    group = machine.group(*(machine.readings(600, value=rng.normal(size=(600, 8))) for _ in range(4)), base=1)
    shelf.fill(store)
    with pytest.raises(StoreFull):
        store.commit(group)
    assert (store.lane("pump-7", Lane.DATA).version, lane(shelf.reader()).rows_stored) == (1, 10)
    shelf.make_room(store)
    store.commit(group)
    assert (store.lane("pump-7", Lane.DATA).version, lane(shelf.reader()).rows_stored) == (2, 2410)


def test_gaps_and_quarantine_are_counted(shelf: Shelf) -> None:
    """Stored, thinned, quarantined and missing rows add up to what the lane has spoken of, with the reasons."""
    machine, store = Machine(), shelf.open()
    group = machine.group(machine.readings(10))
    group.gaps += [(machine.gap(3, 30), 30), (machine.gap(1, 4, "corrupt"), 4), (machine.gap(1, 0, "forgotten"), 0)]
    machine.number += 1
    machine.rows += 6
    group.quarantine.append(Quarantined("pump-7", Lane.DATA, machine.epoch, machine.number, 6, "bent", b"bytes"))
    group.lanes["pump-7", Lane.DATA] = 0, machine.state(1)
    store.commit(group)
    found = lane(shelf.reader())
    assert (found.rows_stored, found.rows_missing, found.rows_quarantined, found.rows_head) == (10, 34, 6, 50)
    assert found.missing_by_reason == {"dropped": 30, "corrupt": 4}
    assert found.verdict == "missing"


def test_counts_nobody_can_mean(shelf: Shelf) -> None:
    """An authentic device that claims absurd numbers and times breaks neither the commit nor anybody's ledger."""
    honest, liar, store = Machine("honest", seed=2), Machine("liar"), shelf.open()
    store.commit(honest.group(honest.readings()))
    huge = (1 << 63) - 1
    for version in range(3):
        group = liar.group(base=version)
        gap = replace(liar.gap(1, 0), rows_after=huge, time_first=huge, time_last=2 * huge)
        group.gaps.append((gap, huge))
        group.quarantine.append(Quarantined("liar", Lane.DATA, liar.epoch, 900 + version, huge, "bent", b"bytes"))
        epochs = [replace(liar.state(1).epochs[0], epoch=bytes([n] * 8), rows_head=huge) for n in range(version + 2)]
        group.lanes["liar", Lane.DATA] = version, LaneState(version=version + 1, epochs=tuple(epochs))
        store.commit(group)
    reader = shelf.reader()
    assert [found.verdict for found in reader.ledger()] == ["complete", "missing"]
    assert all(
        isinstance(count, int) for count in (lane(reader, "liar").rows_missing, lane(reader, "liar").rows_pending)
    )


def test_thinned_pending_orphaned(shelf: Shelf) -> None:
    """Thinned rows are no hole; rows spoken of are pending; an orphaned epoch's tail is named as such."""
    machine, store = Machine(), shelf.open()
    group = machine.group(machine.readings(10))
    record, message, batch = group.frames[0]
    group.frames[0] = type(group.frames[0])(replace(record, rows=25), message, batch)
    epoch = replace(machine.state(1).epochs[0], rows=25, rows_head=25)
    group.lanes["pump-7", Lane.DATA] = 0, LaneState(version=1, epochs=(epoch,))
    store.commit(group)
    found = lane(shelf.reader())
    assert (found.rows_stored, found.rows_thinned, found.rows_head, found.verdict) == (10, 15, 25, "complete")

    def verdict_of(version: int, state: LaneState) -> LaneLedger:
        store.commit(Group(lanes={("pump-7", Lane.DATA): (version, replace(state, version=version + 1))}))
        return lane(shelf.reader())

    ahead = replace(epoch, head=9, rows_head=60)
    found = verdict_of(1, LaneState(epochs=(ahead,)))
    assert (found.rows_pending, found.rows_head, found.verdict) == (35, 60, "pending")
    child = replace(epoch, epoch=b"12345678", parent=epoch.epoch)
    found = verdict_of(2, LaneState(epochs=(replace(ahead, orphaned=True), child), alarms={"restored_or_cloned": 1}))
    assert (found.rows_orphaned, found.rows_pending, found.verdict) == (35, 0, "orphaned")
    assert found.alarms == {"restored_or_cloned": 1}


def test_quarantine_is_capped(shelf: Shelf) -> None:
    """However much is kept aside, its place is bounded, and the count of it stays right."""
    machine, store = Machine(), shelf.open(quarantine_records_max=5, quarantine_bytes_max=250)
    for version in range(4):
        group = machine.group(base=version)
        items = [(version * 3 + n, b"x" * 100) for n in range(3)]
        group.quarantine += [Quarantined("pump-7", Lane.DATA, machine.epoch, n, 2, "bent", x) for n, x in items]
        store.commit(group)
    assert isinstance(store, Journal)
    assert store.quarantine_size() == (5, 200)
    assert lane(shelf.reader()).rows_quarantined == 24


# ---------------------------------------------------------------- what is read


def test_nobody(shelf: Shelf) -> None:
    """What the store has never heard of is said so, not an empty answer."""
    machine, store = Machine(), shelf.open()
    store.commit(machine.group(machine.readings()))
    reader = shelf.reader()
    for ask in (
        lambda: reader.streams("nobody"),
        lambda: reader.ledger("nobody"),
        lambda: reader.readings("pump-7", "nothing", 0, 1),
        lambda: reader.rollup("pump-7", "nothing", 0, 1, MINUTE_NS),
    ):
        with pytest.raises(NeverHeardOfError):
            ask()
    with pytest.raises(ValueError, match="positive"):
        reader.rollup("pump-7", "valve", 0, 1, 0)


def test_range_is_cut(shelf: Shelf) -> None:
    """A range gives the readings from its start up to, and without, its end, also where frames overlap in time."""
    machine, store = Machine(), shelf.open()
    late = machine.readings(
        100, start_ns=START_NS - 500 * SECOND_NS, time_ns=START_NS + 10 * SECOND_NS * np.arange(100)
    )
    store.commit(machine.group(late, machine.readings(10, start_ns=START_NS + 200 * SECOND_NS)))
    start, end = START_NS + 203 * SECOND_NS, START_NS + 220 * SECOND_NS
    found = np.concatenate([b.time_ns for b in shelf.reader().readings("pump-7", "valve", start, end)])
    seconds = sorted(((found - START_NS) // SECOND_NS).tolist())
    assert seconds == [203, 204, 205, 206, 207, 208, 209, 210]


def test_devices_and_presence(shelf: Shelf) -> None:
    """Every device is listed with what is known of it; who has said nothing about being there is neither on nor off."""
    machine, store = Machine(), shelf.open()
    store.commit(machine.group(machine.readings()))
    assert isinstance(store, Journal)
    store.presence({"pump-8": True})
    one, two = shelf.reader().devices()
    assert (one.device, one.online, one.streams, one.verdict) == ("pump-7", None, ["valve"], "complete")
    assert (two.device, two.online, two.streams, two.last_heard_ns) == ("pump-8", True, [], 0)


FLAGS = [Flag.PASS, Flag.NOT_EVALUATED, Flag.SUSPECT, Flag.FAIL, Flag.MISSING]


@st.composite
def batches(draw: st.DrawFn) -> list[Readings]:
    """A few frames of one stream over a few minutes, out of order, with every flag, NaN and unknown u."""
    machine = Machine(channels=draw(st.integers(1, 3)))
    made = []
    for _ in range(draw(st.integers(1, 5))):
        rows = draw(st.integers(1, 40))
        shape = rows, len(machine.schema.channels)
        rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
        made.append(
            machine.readings(
                rows,
                time_ns=START_NS + rng.integers(0, 400 * SECOND_NS, rows),
                value=np.where(rng.random(shape) < 0.1, np.nan, np.round(rng.normal(0, 10, shape), 1)),
                u=np.where(rng.random(shape) < 0.3, np.nan, rng.random(shape)).astype(np.float32),
                flag=rng.choice(np.array(FLAGS[: draw(st.integers(1, 5))], np.uint8), shape),
            )
        )
    return made


@given(made=batches(), together=st.booleans(), minutes=st.sampled_from([0.25, 1, 2, 5]))
def test_rollups_are_a_recount(made: list[Readings], together: bool, minutes: float) -> None:  # noqa: FBT001 - hypothesis
    """However frames are cut and grouped, rollups are what counting all readings again gives."""
    machine, step_ns = Machine(channels=len(made[0].schema.channels)), round(minutes * MINUTE_NS)
    for kind in SHELVES:
        shelf = kind()
        store = shelf.open()
        groups = [made] if together else [[batch] for batch in made]
        for version, group in enumerate(groups):
            store.commit(machine.group(*group, base=version))
        found = shelf.reader().rollup("pump-7", "valve", START_NS - step_ns, START_NS + 500 * SECOND_NS, step_ns)
        whole = Readings.concatenate(made)
        steps = whole.time_ns // step_ns
        assert found.time_ns.tolist() == (np.unique(steps) * step_ns).tolist()
        for at, step in enumerate(np.unique(steps)):
            _recount(whole, steps == step, found, at)
        shelf.close()


def _recount(whole: Readings, rows: np.ndarray[tuple[int], np.dtype[np.bool_]], found: object, at: int) -> None:
    """The textbook: one step, channel by channel, reading by reading."""
    for channel in range(len(whole.schema.channels)):
        value, u, flag = whole.value[rows, channel], whole.u[rows, channel], whole.flag[rows, channel]
        good = (flag <= 3) & np.isfinite(value)
        stated = u[good & ~np.isnan(u)].astype(float)
        told = {
            name: getattr(found, name)[at, channel] for name in ("count", "mean", "minimum", "maximum", "u", "flag")
        }
        assert told["count"] == good.sum()
        assert told["flag"] == worst_flag(flag, 0)
        if good.any():
            assert told["mean"] == pytest.approx(value[good].mean(), abs=1e-9)
            assert (told["minimum"], told["maximum"]) == (value[good].min(), value[good].max())
        else:
            assert np.isnan([told["mean"], told["minimum"], told["maximum"]]).all()
        if len(stated):
            assert told["u"] == pytest.approx(np.sqrt(np.mean(stated**2)), rel=0.01)
        else:
            assert np.isnan(told["u"])


def test_rollups_under_a_new_schema(shelf: Shelf) -> None:
    """When a stream gets new channels, older readings appear under the channels of the same name."""
    machine, store = Machine(channels=2), shelf.open()
    store.commit(machine.group(machine.readings(30)))
    machine.schema = Schema(device="pump-7", stream="valve", channels=tuple(Channel(name=n) for n in ("new", "c1")))
    store.commit(machine.group(machine.readings(20), base=1))
    reader = shelf.reader()
    for step_ns in (MINUTE_NS * 60, 600 * SECOND_NS + 1):
        found = reader.rollup("pump-7", "valve", START_NS, START_NS + 100 * SECOND_NS, step_ns)
        assert found.schema == machine.schema
        assert found.count.sum(axis=0).tolist() == [20, 50]
