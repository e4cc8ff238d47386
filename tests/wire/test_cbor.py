"""The strict CBOR reader: what it takes, and the long list of what it does not."""

from __future__ import annotations

import math
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_wire.cbor import DEPTH_MAX, read_cbor, write_cbor
from trueline_wire.errors import NeverRetry

SCALARS = (
    st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=20)
    | st.text(max_size=20)
    | st.booleans()
    | st.floats(allow_nan=False)
)
ITEMS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=8)


def shallow(item: Any, depth: int = DEPTH_MAX) -> bool:
    return depth >= 0 and (not isinstance(item, list) or all(shallow(part, depth - 1) for part in item))


@given(st.dictionaries(st.integers(0, 2**64 - 1) | st.text(max_size=5), ITEMS, max_size=5))
def test_what_is_written_is_read(item: dict[Any, Any]) -> None:
    """Maps of integers, strings, booleans, floats and lists come back equal, or are too deep."""
    if all(shallow(part, DEPTH_MAX - 2) for part in item.values()):
        assert read_cbor(write_cbor(item)) == item


@given(st.binary(max_size=60))
def test_any_bytes_are_survived(encoded: bytes) -> None:
    """Whatever is read was understood as a general decoder does; everything else is NeverRetry."""
    try:
        item = read_cbor(encoded)
    except NeverRetry:
        return
    assert repr(item) == repr(cbor2.loads(encoded))


ENTRIES = st.lists(st.tuples(st.integers(0, 30) | SCALARS, SCALARS | st.lists(SCALARS, max_size=2)), max_size=6)


@given(ENTRIES, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2), st.integers(0, 200))
def test_a_map_is_read_as_the_items_it_is_made_of(
    entries: list[tuple[Any, Any]], changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes follow, a map says what a list of the same items says, and is refused where that is."""
    inside = bytearray(b"".join(cbor2.dumps(item, canonical=True) for entry in entries for item in entry)[: 200 - cut])
    for place, byte in changes:
        if place < len(inside):
            inside[place] = byte
    try:
        items = read_cbor(bytes([0x80 + 2 * len(entries)]) + inside)
        keys = [(type(key), key) for key in items[::2]]
        wanted = None if any(kind not in {int, str} for kind, _ in keys) or len(set(keys)) < len(keys) else items
    except NeverRetry:
        wanted = None
    try:
        found = read_cbor(bytes([0xA0 + len(entries)]) + inside)
    except NeverRetry:
        assert wanted is None
    else:
        assert repr(wanted) == repr([item for entry in found.items() for item in entry])


@given(st.dictionaries(st.integers(0, 70) | st.text(max_size=2), SCALARS | st.lists(SCALARS, max_size=2), max_size=6))
def test_what_is_written_is_deterministic(item: dict[Any, Any]) -> None:
    """Whatever a map holds, and in whatever order, the bytes are those of RFC 8949, 4.2.1."""
    assert write_cbor(item) == cbor2.dumps(item, canonical=True)
    assert write_cbor(dict(sorted(item.items(), key=repr))) == cbor2.dumps(item, canonical=True)


def test_every_truncation_is_refused() -> None:
    """An item cut at any byte is refused."""
    encoded = write_cbor({0: "device", 1: [b"bytes", -5, 1 << 40, [True, 0.1]], 2: 1.5})
    assert read_cbor(encoded)
    for size in range(len(encoded)):
        with pytest.raises(NeverRetry):
            read_cbor(encoded[:size])


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x81" * 60_000,
        b"\xa1\x00" * 30_000,
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\xc2\x59\xf0\x00" + b"\xff" * 0xF000,
        b"\xc4\x82\x1a\x7f\xff\xff\xff\x01",
        b"\xd8\x23\x65(a+)+",
        b"\xc1\x00",
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\x7f" * 8,
        b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff",
        b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x9f\x01\xff",
        b"\x5f\x41a\xff",
        b"\xbf\xff",
        b"\xa2\x00\x01\x00\x02",
        b"\xa1\x80\x01",
        b"\xa1\xf5\x01",
        b"\x62\xc3\x28",
        b"\xf6",
        b"\xf7",
        b"\xf8\xff",
        b"\x1c",
        b"\x00\x00",
        b"",
    ],
    ids=[
        *(
            "deep arrays",
            "deep maps",
            "shared reference",
            "bignum",
            "decimal of 2^31 digits",
            "regular expression",
            "date",
        ),
        *("endless array", "endless map", "endless bytes", "endless text", "indefinite array", "indefinite bytes"),
        *("indefinite map", "key twice", "array as key", "boolean as key", "broken UTF-8", "null", "undefined"),
        *("simple value", "reserved length", "bytes left over", "nothing"),
    ],
)
def test_what_a_peer_has_no_use_for_is_refused(encoded: bytes) -> None:
    """Tags, depth, declared lengths beyond the bytes, indefinite lengths, doubled keys and leftovers are refused."""
    with pytest.raises(NeverRetry):
        read_cbor(encoded)


@pytest.mark.parametrize("encoded", [b"\xf9\x3e\x00", b"\xfa\x3f\xc0\x00\x00", b"\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00"])
def test_floats_of_all_sizes_are_read(encoded: bytes) -> None:
    """Halves, singles and doubles are read: the shortest form that is exact travels."""
    assert read_cbor(encoded) == 1.5
    assert math.isnan(read_cbor(b"\xf9\x7e\x00"))


def test_longer_forms_of_a_number_are_read() -> None:
    """A peer need not write the shortest form of an integer."""
    assert read_cbor(b"\x1b\x00\x00\x00\x00\x00\x00\x00\x07") == 7
