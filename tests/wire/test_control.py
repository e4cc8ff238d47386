"""STATUS, SCHEMA and ACK: what is sealed is read back equal, and every field is checked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.wire_examples import CLOUD_KEY, DEVICE, EPOCH, KEY, ring, schema

from trueline_wire.control import Ack, AckCode, SchemaMessage, Status, read_ack, read_schema, read_status
from trueline_wire.envelope import COUNT_END, Envelope, Kind, Lane, open_envelope
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import Ancestor

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = st.integers(0, COUNT_END - 1)
IDS = st.binary(min_size=8, max_size=8)
STATUS = Status(DEVICE, Lane.EVENT, (Ancestor(EPOCH, 9, 1200, 1890),), {"spool_full": 7}, 10**18)
ACK = Ack(DEVICE, Lane.DATA, EPOCH, b"journal.", 9, lost=3)


@given(st.sampled_from(Lane), IDS, IDS, COUNTS, st.sampled_from(AckCode), st.just(b"") | IDS, COUNTS, COUNTS)
def test_any_ack_comes_back(
    lane: Lane, epoch: bytes, journal: bytes, last: int, code: AckCode, need: bytes, credit: int, lost: int
) -> None:
    """An ACK is read back equal."""
    ack = Ack(DEVICE, lane, epoch, journal, last, code, need, credit, lost)
    assert read_ack(open_envelope(ack.seal(CLOUD_KEY), "cloud", ring())) == ack


@given(
    st.lists(st.tuples(IDS, st.integers(1, 99)), max_size=5), st.dictionaries(st.text(max_size=64), COUNTS, max_size=5)
)
def test_any_status_comes_back(epochs: list[tuple[bytes, int]], lost: dict[str, int]) -> None:
    """A STATUS is read back equal."""
    status = Status(DEVICE, Lane.DATA, tuple(Ancestor(i, end, 0, end) for i, end in epochs), lost, -5)
    assert read_status(open_envelope(status.seal(KEY), DEVICE, ring())) == status


def test_a_schema_message_carries_the_bytes_its_hash_covers() -> None:
    """A SCHEMA is read back equal, and its hash is that of the schema."""
    sent = SchemaMessage(DEVICE, schema(3).encoded)
    got = read_schema(open_envelope(sent.seal(KEY), DEVICE, ring()))
    assert got == sent
    assert got.hash == schema(3).hash == hashlib.sha256(schema(3).encoded).digest()[:8]


READERS: dict[Kind, tuple[Callable[[Envelope], Any], dict[int, Any]]] = {
    Kind.STATUS: (read_status, open_envelope(STATUS.seal(KEY), DEVICE, ring()).header),
    Kind.SCHEMA: (read_schema, open_envelope(SchemaMessage(DEVICE, b"").seal(KEY), DEVICE, ring()).header),
    Kind.ACK: (read_ack, open_envelope(ACK.seal(CLOUD_KEY), "cloud", ring()).header),
}
WRONG: tuple[Any, ...] = (
    None,
    "x",
    b"x",
    -1,
    True,
    1.5,
    [],
    [[]],
    {1: 1},
    {"a": -1},
    {"a" * 65: 1},
    1 << 62,
    1 << 64,
    [[EPOCH, 1, 2, 1, False]],
)


@pytest.mark.parametrize("kind", READERS)
def test_any_field_is_checked(kind: Kind) -> None:
    """Each field missing, or replaced by anything else, gives a message within bounds or NeverRetry."""
    read, header = READERS[kind]
    read(Envelope(kind, header, b""))
    refused = 0
    for key in header:
        for wrong in WRONG:
            changed = {k: v for k, v in header.items() if k != key} | ({} if wrong is None else {key: wrong})
            try:
                read(Envelope(kind, changed, b""))
            except NeverRetry:
                refused += 1
    assert refused >= len(header) * len(WRONG) // 2


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wanted", READERS)
def test_another_kind_is_refused(kind: Kind, wanted: Kind) -> None:
    """The header of one kind under the number of another is NeverRetry."""
    read, header = READERS[wanted]
    if kind is not wanted:
        with pytest.raises(NeverRetry, match="was expected"):
            read(Envelope(kind, header, b""))


@given(
    st.dictionaries(st.integers(0, 41), st.integers() | st.text() | st.binary() | st.lists(st.integers()), max_size=12),
    st.sampled_from(list(READERS)),
)
def test_any_header_is_read_or_refused(header: dict[int, Any], kind: Kind) -> None:
    """A header of anything, signed, is a message or NeverRetry."""
    try:
        READERS[kind][0](Envelope(kind, header, b""))
    except NeverRetry:
        return


def test_losses_are_bounded() -> None:
    """More than 32 reasons are refused; and a code of a later version is."""
    header = READERS[Kind.STATUS][1]
    lost_key = next(key for key, value in header.items() if value == STATUS.lost)
    with pytest.raises(NeverRetry, match="32"):
        read_status(Envelope(Kind.STATUS, header | {lost_key: {str(i): 1 for i in range(33)}}, b""))
    ack = READERS[Kind.ACK][1]
    code_key = 37
    assert ack[code_key] == AckCode.OK
    with pytest.raises(NeverRetry, match="code 5"):
        read_ack(Envelope(Kind.ACK, ack | {code_key: 5}, b""))
