"""Framing: rows in order, frames in bounds, and marks that fit the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.checkpoint import Checkpoint, Mark
from trueline_edge.framing import Cut, Framer, encode_frames
from trueline_wire.columns import decode_columns
from trueline_wire.envelope import MESSAGE_SIZE_MAX, Lane
from trueline_wire.readings import Channel, Readings, Schema

SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="a"),))


def rows(first: int, count: int, schema: Schema = SCHEMA) -> Readings:
    numbers = np.arange(first, first + count)
    values = np.repeat(numbers.astype(np.float64)[:, None], len(schema.channels), axis=1)
    return Readings.raw(schema, numbers * 1_000_000_000, values)


@given(sizes=st.lists(st.integers(0, 20), max_size=60), rows_max=st.integers(1, 40))
def test_cuts_keep_order_bounds_and_place(sizes: list[int], rows_max: int) -> None:
    """Wherever batches end: rows come out in order, `offset` names the batch behind the last row, counts add up."""
    framer = Framer(rows_max, 10.0)
    cuts: list[Cut] = []
    total = 0
    ends = {}
    for number, size in enumerate(sizes):
        total += size
        ends[b"%d" % number] = total
        cuts += framer.add(
            rows(total - size, size),
            0.0,
            offset=b"%d" % number,
            stages=b"",
            sampled=size,
            lost={"x": 1} if size else {},
        )
    cuts.append(framer.cut())
    seen = 0
    for cut in cuts:
        for batch in cut.readings:
            assert batch.value[:, 0].tolist() == list(range(seen, seen + len(batch)))
            seen += len(batch)
        if cut.rows:
            assert ends[cut.offset] == seen
        assert cut.rows <= max(rows_max, max(sizes, default=0))
    assert seen == total
    assert sum(cut.sampled for cut in cuts) == total + sum(size > 0 for size in sizes)
    assert sum(cut.lost.get("x", 0) for cut in cuts) == sum(size > 0 for size in sizes)


def test_a_cut_is_due_when_the_oldest_row_has_waited() -> None:
    """The wait begins with the first row after a cut, and ends with the next cut."""
    framer = Framer(100, 10.0)
    assert framer.due_s is None
    framer.add(rows(0, 1), 5.0, offset=b"", stages=b"", sampled=1, lost={})
    framer.add(rows(1, 1), 9.0, offset=b"", stages=b"", sampled=1, lost={})
    assert framer.due_s == 15.0
    framer.cut()
    assert framer.due_s is None


@pytest.mark.parametrize(("count", "rows_max", "frames"), [(1, 10, 1), (10, 10, 1), (11, 10, 2), (95, 10, 10)])
def test_frames_are_of_nearly_equal_size(count: int, rows_max: int, frames: int) -> None:
    """Rows are shared out evenly over as few frames as `rows_max` allows, and come back bit for bit."""
    out, lost = encode_frames([rows(0, count)], Lane.DATA, rows_max=rows_max, message_max=MESSAGE_SIZE_MAX)
    assert (len(out), lost) == (frames, 0)
    assert max(f.rows for f in out) - min(f.rows for f in out) <= 1
    back = Readings.concatenate([decode_columns(f.body, SCHEMA, f.rows) for f in out])
    assert back.value[:, 0].tolist() == list(range(count))
    assert [out[0].time_first, out[-1].time_last] == [0, (count - 1) * 1_000_000_000]


def test_what_does_not_fit_into_a_message_is_split() -> None:
    """Rows that compress badly are split until each frame fits; a single row that never fits is counted as lost."""
    rng = np.random.default_rng(1)
    wide = Schema(device="d", stream="s", channels=tuple(Channel(name=f"c{n}") for n in range(400)))
    noise = Readings.raw(wide, np.arange(100), rng.standard_normal((100, 400)))
    out, lost = encode_frames([noise], Lane.EVENT, rows_max=100, message_max=MESSAGE_SIZE_MAX)
    assert lost == 0
    assert len(out) > 4
    assert max(len(f.body) for f in out) <= MESSAGE_SIZE_MAX - 512
    back = Readings.concatenate([decode_columns(f.body, wide, f.rows) for f in out])
    assert np.array_equal(back.value, noise.value)
    out, lost = encode_frames([noise[:3]], Lane.EVENT, rows_max=100, message_max=1500)
    assert (out, lost) == ([], 3)


def test_a_checkpoint_comes_back_equal() -> None:
    """What is saved is what is found; nothing saved is a fresh start."""
    saved = Checkpoint({"s": Mark(b"offset", b"stages", 10, 9)}, {"overrun": 1}, 1, 2, 3, 4, 5)
    assert Checkpoint.decode(saved.encode()) == saved
    assert Checkpoint.decode(None) == Checkpoint()
    assert (saved.sampled, saved.spooled) == (10, 9)
