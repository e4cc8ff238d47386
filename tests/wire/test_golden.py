"""Frozen bytes: what version 1 wrote is read for ever, and what it writes has not changed.

To add a case for a new version, run this file with TRUELINE_WRITE_GOLDEN=1: it writes files that are missing and never
touches one that exists.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.wire_examples import CLOUD_KEY, DEVICE, EPOCH, KEY, ring, same_bits

from trueline_wire.columns import decode_columns, encode_columns
from trueline_wire.control import Ack, AckCode, SchemaMessage, Status, read_ack, read_schema, read_status
from trueline_wire.envelope import Kind, Lane, open_envelope
from trueline_wire.frame import Ancestor, Data, Gap, Open, Record, read_record, seal_record
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema, Thinning

GOLDEN = Path(__file__).parent / "golden" / "v1"
PARENT = Ancestor(b"parent..", 12, 0, 1200, released=True)

SCHEMA = Schema(
    device=DEVICE,
    stream="valve",
    channels=(
        Channel(name="Pressure", unit="bar", resolution=0.001, sensor="p-17", calibration="2026-03"),
        Channel(name="Temperature", unit="Cel", resolution=0.0625),
        Channel(name="Flow", unit="L/min"),
    ),
)
INSIGNIFICANT = replace(SCHEMA, thinning=Thinning(between="linear", bounds=(0.01, 0.25, np.inf)))


def readings() -> Readings:
    """Ninety rows with a gap in time, a dictionary, a NaN, a -0.0 and a column off any grid."""
    rows = np.arange(90)
    time_ns = 1_581_168_647_000_000_000 + 1_000_000_000 * (rows + 5 * (rows > 40))
    value = np.stack([np.array([0.382638, -0.273216, 0.054711])[rows * rows % 7 % 3], 20 + rows % 11 / 16, rows / 3], 1)
    value[7, 1], value[9, 1] = np.nan, -0.0
    flag = np.full(value.shape, Flag.PASS, np.uint8)
    reason = np.zeros(value.shape, np.uint32)
    flag[7, 1], reason[7, 1] = Flag.MISSING, Reason.MISSING
    flag[50:60, 0], reason[50:60, 0] = Flag.SUSPECT, Reason.FLAT_LINE
    u = np.broadcast_to(np.array([0.002, 0.25, np.nan], np.float32), value.shape)
    return Readings(SCHEMA, time_ns, value, u, flag, reason)


def data(body: bytes) -> Data:
    times = readings().time_ns
    span = int(times[0]), int(times[-1])
    return Data(DEVICE, Lane.DATA, EPOCH, 2, 1200, 90, SCHEMA.hash, 90, *span, body)


RECORDS: dict[str, Record] = {
    "open": Open(DEVICE, Lane.DATA, EPOCH, 1200, (PARENT,), clean=True),
    "gap": Gap(
        DEVICE, Lane.EVENT, EPOCH, 3, 9, 1200, 1890, "dropped", 1_581_168_647_000_000_000, 1_581_168_999_000_000_000
    ),
}
THINNED = Data(DEVICE, Lane.DATA, EPOCH, 3, 1290, 900, SCHEMA.hash, 90, -5, 5, b"body")
STATUS = Status(
    DEVICE, Lane.DATA, (PARENT, Ancestor(EPOCH, 9, 1200, 1890)), {"spool_full": 7}, 1_581_168_650_000_000_000
)
ACK = Ack(DEVICE, Lane.DATA, EPOCH, b"journal.", 9, AckCode.NEED_SCHEMA, SCHEMA.hash, 32)


def messages() -> dict[str, bytes]:
    """Every message whose bytes we alone decide."""
    return {
        **{name: seal_record(record, KEY) for name, record in RECORDS.items()},
        "data_thinned": seal_record(THINNED, KEY),
        "status": STATUS.seal(KEY),
        "schema": SchemaMessage(DEVICE, SCHEMA.encoded).seal(KEY),
        "schema_insignificant": SchemaMessage(DEVICE, INSIGNIFICANT.encoded).seal(KEY),
        "ack": ACK.seal(CLOUD_KEY),
    }


def frozen(name: str, fresh: bytes) -> bytes:
    path = GOLDEN / f"{name}.hex"
    if os.environ.get("TRUELINE_WRITE_GOLDEN") and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = fresh.hex()
        path.write_text("".join(text[at : at + 64] + "\n" for at in range(0, len(text), 64)))
    return bytes.fromhex(path.read_text())


@pytest.mark.parametrize("name", sorted(messages()))
def test_messages_are_written_as_ever(name: str) -> None:
    """The same message under the same key is the same bytes as when version 1 was frozen."""
    assert messages()[name] == frozen(name, messages()[name])


def test_frozen_columns_are_read_as_ever() -> None:
    """Frozen columns give the readings they were made of (another pcodec may write other bytes, and read these)."""
    body = frozen("columns", encode_columns(readings()))
    for encoded in (body, encode_columns(readings())):
        got, sent = decode_columns(encoded, SCHEMA, 90), readings()
        assert np.array_equal(got.time_ns, sent.time_ns)
        assert same_bits(got.value, sent.value)
        assert np.array_equal(got.flag, sent.flag)
        assert np.array_equal(got.reason, sent.reason)
        assert np.allclose(got.u, sent.u, rtol=0.005, atol=0, equal_nan=True)


def test_a_frozen_frame_is_read_as_ever() -> None:
    """A whole frame opens, names its schema and gives its record; signing the record again gives the same bytes."""
    body = frozen("columns", b"")
    message = frozen("data", seal_record(data(body), KEY))
    record = read_record(open_envelope(message, DEVICE, ring()))
    assert record == data(body)
    assert seal_record(record, KEY) == message


def test_frozen_messages_are_read_as_ever() -> None:
    """Each frozen message gives the record it was made of."""
    keys = ring()
    for name, record in [*RECORDS.items(), ("data_thinned", THINNED)]:
        assert read_record(open_envelope(frozen(name, b""), DEVICE, keys)) == record
    assert read_status(open_envelope(frozen("status", b""), DEVICE, keys)) == STATUS
    assert read_ack(open_envelope(frozen("ack", b""), "cloud", keys)) == ACK
    schema = read_schema(open_envelope(frozen("schema", b""), DEVICE, keys))
    assert schema.hash == SCHEMA.hash
    assert Schema.decode(schema.encoded) == SCHEMA
    schema = read_schema(open_envelope(frozen("schema_insignificant", b""), DEVICE, keys))
    assert Schema.decode(schema.encoded) == INSIGNIFICANT


def test_the_hash_of_a_schema_never_changes() -> None:
    """Frames name their schema by a hash: the bytes under it are fixed."""
    assert SCHEMA.hash.hex() == "44250d3b4d05a49d"


def test_kinds_are_never_renumbered() -> None:
    """The kinds keep their numbers."""
    assert [kind.name for kind in sorted(Kind)] == ["OPEN", "DATA", "GAP", "STATUS", "SCHEMA", "ACK"]
    assert [int(kind) for kind in sorted(Kind)] == [1, 2, 3, 4, 5, 6]
