"""Records: what is sealed is read back equal, and every field is checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.wire_examples import DEVICE, EPOCH, KEY, ring

from trueline_wire.envelope import COUNT_END, Envelope, Kind, Lane, open_envelope, seal_envelope
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import (
    EPOCHS_REPORTED_MAX,
    GAP_REASONS,
    ROWS_MAX,
    Ancestor,
    Data,
    Gap,
    Open,
    Record,
    read_record,
    seal_record,
)

PARENT = Ancestor(b"parent..", 12, 0, 1200, released=True)
OPEN = Open(DEVICE, Lane.DATA, EPOCH, 1200, (PARENT,), clean=True)
DATA = Data(DEVICE, Lane.DATA, EPOCH, 2, 1200, 90, b"schema..", 90, 10**18, 10**18 + 89, b"body")
GAP = Gap(DEVICE, Lane.EVENT, EPOCH, 3, 9, 1200, 1890, "dropped", 10**18, 10**18 + 5)

COUNTS = st.integers(0, COUNT_END // 4)
TIMES = st.integers(-(2**63), 2**63 - 1)
LANES = st.sampled_from(Lane)
IDS = st.binary(min_size=8, max_size=8)


@st.composite
def ancestors(draw: st.DrawFn) -> Ancestor:
    start, own = draw(COUNTS), draw(COUNTS)
    return Ancestor(draw(IDS), draw(COUNTS) + 1, start, start + own, released=draw(st.booleans()))


@st.composite
def records(draw: st.DrawFn) -> Record:
    lane, epoch = draw(LANES), draw(IDS)
    times = sorted((draw(TIMES), draw(TIMES)))
    match draw(st.sampled_from([Open, Data, Gap])):
        case kind if kind is Open:
            chain = tuple(draw(st.lists(ancestors(), max_size=5)))
            return Open(DEVICE, lane, epoch, draw(COUNTS), chain, clean=draw(st.booleans()))
        case kind if kind is Data:
            stored, number = draw(st.integers(1, ROWS_MAX)), draw(COUNTS) + 2
            rows = stored + draw(st.just(0) | COUNTS)
            body = draw(st.binary(max_size=50))
            return Data(DEVICE, lane, epoch, number, draw(COUNTS), rows, draw(IDS), stored, times[0], times[1], body)
        case _:
            first, start = draw(COUNTS) + 1, draw(COUNTS)
            numbers = first, first + draw(COUNTS), start, start + draw(COUNTS)
            return Gap(DEVICE, lane, epoch, *numbers, draw(st.sampled_from(GAP_REASONS)), times[0], times[1])


@given(records())
def test_any_record_comes_back(record: Record) -> None:
    """What is sealed is read back equal, its counts included."""
    got = read_record(open_envelope(seal_record(record, KEY), DEVICE, ring()))
    assert got == record
    assert (got.first, got.last, got.rows_after) == (record.first, record.last, record.rows_after)


def header_of(record: Record) -> tuple[Kind, dict[int, Any]]:
    envelope = open_envelope(seal_record(record, KEY), DEVICE, ring())
    return envelope.kind, envelope.header


WRONG: tuple[Any, ...] = (
    None,
    "x",
    b"x",
    -1,
    True,
    1.5,
    [],
    {},
    1 << 62,
    1 << 63,
    (1 << 64) - 1,
    [[]],
    b"12345678",
    "é" * 99,
)


@pytest.mark.parametrize("record", [OPEN, DATA, GAP], ids=["open", "data", "gap"])
def test_any_field_of_any_kind_is_checked(record: Record) -> None:
    """Each header field missing, or replaced by anything else, gives a record within bounds or NeverRetry."""
    kind, header = header_of(record)
    refused = 0
    for key in header:
        for wrong in WRONG:
            changed = {k: v for k, v in header.items() if k != key} | ({} if wrong is None else {key: wrong})
            try:
                got = read_record(Envelope(kind, changed, b""))
            except NeverRetry:
                refused += 1
                continue
            assert 0 < got.first <= got.last < COUNT_END
            assert 0 <= got.rows_after < COUNT_END
            if not isinstance(got, Open):
                assert -(1 << 63) <= got.time_first <= got.time_last < 1 << 63
    assert refused > len(header) * len(WRONG) // 2


@given(
    st.dictionaries(
        st.integers(0, 20),
        st.integers() | st.text() | st.booleans() | st.binary() | st.lists(st.integers()),
        max_size=20,
    ),
    st.sampled_from(Kind),
)
def test_any_header_is_read_or_refused(header: dict[int, Any], kind: Kind) -> None:
    """A header of anything, signed, is a record or NeverRetry."""
    try:
        read_record(Envelope(kind, header, b""))
    except NeverRetry:
        return


@pytest.mark.parametrize(
    ("record", "key", "value"),
    [
        (OPEN, 10, [[b"short", 1, 0, 0, False]]),
        (OPEN, 10, [[b"parent..", 0, 0, 0, False]]),
        (OPEN, 10, [[b"parent..", 1, 5, 4, False]]),
        (OPEN, 10, [[b"parent..", True, 0, 0, False]]),
        (OPEN, 10, [[b"parent..", 1, 0, COUNT_END, False]]),
        (OPEN, 10, [[b"parent..", 1, 0, 0, False]] * (EPOCHS_REPORTED_MAX + 1)),
        (DATA, 3, 1),
        (DATA, 5, 0),
        (DATA, 5, ROWS_MAX + 1),
        (DATA, 7, 91),
        (DATA, 7, 0),
        (DATA, 4, COUNT_END - 90),
        (DATA, 9, (1 << 63) - 10**18),
        (DATA, 1, 2),
        (GAP, 15, 2),
        (GAP, 13, 1199),
        (GAP, 14, len(GAP_REASONS)),
    ],
    ids=[
        *("short id", "no end", "rows backwards", "a boolean", "rows beyond", "too many epochs", "number 1 is OPEN's"),
        *("no rows", "too many rows", "stored more than counted", "nothing stored", "count beyond", "time beyond"),
        *("no such lane", "gap backwards", "gap's rows backwards", "no such reason"),
    ],
)
def test_impossible_fields_are_refused(record: Record, key: int, value: object) -> None:
    """What cannot be is NeverRetry, by name of the field or with the figures."""
    kind, header = header_of(record)
    assert read_record(Envelope(kind, header, b"")) == replace(record, **({"body": b""} if kind is Kind.DATA else {}))
    with pytest.raises(NeverRetry):
        read_record(Envelope(kind, header | {key: value}, b""))


@pytest.mark.parametrize("kind", [Kind.STATUS, Kind.SCHEMA, Kind.ACK])
def test_other_kinds_are_no_records(kind: Kind) -> None:
    """STATUS, SCHEMA and ACK are no records of a lane."""
    with pytest.raises(NeverRetry, match=kind.name):
        read_record(Envelope(kind, header_of(DATA)[1], b""))


def test_later_fields_are_ignored() -> None:
    """Header keys this version does not know change nothing."""
    kind, header = header_of(DATA)
    message = seal_envelope(kind, header | {31: [1, 2], 99: "later"}, DATA.body, KEY)
    assert read_record(open_envelope(message, DEVICE, ring())) == DATA
