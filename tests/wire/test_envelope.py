"""The envelope: sized, signed, and opened only then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.wire_examples import CLOUD_KEY, DEVICE, KEY, ring

from trueline_wire.envelope import (
    MESSAGE_SIZE_MAX,
    Envelope,
    Kind,
    open_envelope,
    peek_kind,
    reread_envelope,
    seal_envelope,
)
from trueline_wire.errors import NeverRetry, NotAuthentic
from trueline_wire.keys import SIGNATURE_SIZE

HEADER = {0: DEVICE, 3: 17, 40: "a later version's"}
MESSAGE = seal_envelope(Kind.DATA, HEADER, b"body", KEY)


def resigned(message: bytes) -> bytes:
    """The same bytes under a good signature: what a broken or hostile device of ours could send."""
    return message[:-SIGNATURE_SIZE] + KEY.sign(message[:-SIGNATURE_SIZE])


@given(
    st.dictionaries(st.integers(0, 1000), st.integers(0, 2**63) | st.binary(max_size=9) | st.text(max_size=9)),
    st.binary(),
)
def test_what_is_sealed_opens(header: dict[int, int | bytes | str], body: bytes) -> None:
    """Kind, header (keys this version does not know included) and body come back."""
    message = seal_envelope(Kind.OPEN, header, body, KEY)
    assert open_envelope(message, DEVICE, ring()) == Envelope(Kind.OPEN, header, body)
    assert reread_envelope(message) == Envelope(Kind.OPEN, header, body)
    assert peek_kind(message) is Kind.OPEN


def test_nothing_is_read_before_the_signature_is_good() -> None:
    """A bit flipped anywhere makes the message foreign: NotAuthentic, whatever else may be wrong with it."""
    keys = ring()
    for bit in range(8 * len(MESSAGE)):
        mutant = bytearray(MESSAGE)
        mutant[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotAuthentic):
            open_envelope(bytes(mutant), DEVICE, keys)


def test_every_truncation_is_foreign() -> None:
    """A message cut at any byte is NotAuthentic."""
    for size in range(len(MESSAGE)):
        with pytest.raises(NotAuthentic):
            open_envelope(MESSAGE[:size], DEVICE, ring())


def test_resigned_mutants_are_opened_or_refused() -> None:
    """The same mutants under a good signature open, or are refused with NeverRetry: there is no third way."""
    keys, refused = ring(), 0
    for bit in range(8 * (len(MESSAGE) - SIGNATURE_SIZE)):
        mutant = bytearray(MESSAGE)
        mutant[bit // 8] ^= 1 << bit % 8
        try:
            open_envelope(resigned(bytes(mutant)), DEVICE, keys)
        except NeverRetry:
            refused += 1
    assert refused > 8 * 8


@given(st.binary(max_size=300))
def test_resigned_garbage_is_refused(garbage: bytes) -> None:
    """Any bytes behind the prefix, under a good signature, open or are NeverRetry."""
    for message in (MESSAGE[:10] + garbage, MESSAGE[:8] + len(garbage).to_bytes(2) + garbage):
        try:
            envelope = open_envelope(message + KEY.sign(message), DEVICE, ring())
        except NeverRetry:
            continue
        assert all(type(key) is int for key in envelope.header)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_not_authentic(garbage: bytes) -> None:
    """Bytes that nobody signed are NotAuthentic, with our magic or without."""
    for message in (garbage, MESSAGE[:8] + garbage):
        with pytest.raises(NotAuthentic):
            open_envelope(message, DEVICE, ring())


@pytest.mark.parametrize(
    ("at", "byte", "saying"),
    [
        (2, 2, "version 2"),
        (3, 0, "kind 0"),
        (3, 7, "kind 7"),
        (8, 0xFF, "header of"),
        (9, 200, "header of"),
        (10, 0x80, "follow"),
    ],
    ids=["another version", "kind 0", "kind 7", "header beyond", "header into the signature", "header not a map"],
)
def test_what_this_version_cannot_read_is_refused(at: int, byte: int, saying: str) -> None:
    """Authentic messages of another version, of an unknown kind or with a bad header are NeverRetry."""
    mutant = bytearray(MESSAGE)
    mutant[at] = byte
    with pytest.raises(NeverRetry, match=saying) as caught:
        open_envelope(resigned(bytes(mutant)), DEVICE, ring())
    assert not isinstance(caught.value, NotAuthentic)


@pytest.mark.parametrize("header", [b"\x80", b"\xa1\x20\x00", b"\xa1\x61a\x00", b"\xa2\x00\x00\x00\x01", b"\xf6", b""])
def test_a_header_is_a_map_of_unsigned_integers(header: bytes) -> None:
    """Headers that are no map, or have other keys, or one of them twice, are refused."""
    message = MESSAGE[:8] + len(header).to_bytes(2) + header
    with pytest.raises(NeverRetry):
        open_envelope(message + KEY.sign(message), DEVICE, ring())


def test_sizes_are_bounded() -> None:
    """No message is larger than 64 KiB, neither sent nor taken."""
    room = MESSAGE_SIZE_MAX - len(seal_envelope(Kind.DATA, HEADER, b"", KEY))
    largest = seal_envelope(Kind.DATA, HEADER, bytes(room), KEY)
    assert len(largest) == MESSAGE_SIZE_MAX
    assert open_envelope(largest, DEVICE, ring()).body == bytes(room)
    with pytest.raises(ValueError, match="larger"):
        seal_envelope(Kind.DATA, HEADER, bytes(room + 1), KEY)
    with pytest.raises(NotAuthentic, match="bytes"):
        open_envelope(resigned(largest + bytes(1)), DEVICE, ring())


def test_the_sender_must_be_the_one_named() -> None:
    """A message of the cloud's key is no message of the device, nor the other way round."""
    with pytest.raises(NotAuthentic):
        open_envelope(seal_envelope(Kind.ACK, {}, b"", CLOUD_KEY), DEVICE, ring())
    with pytest.raises(NotAuthentic):
        open_envelope(MESSAGE, "cloud", ring())


@pytest.mark.parametrize(
    ("value", "wanted", "bounds"),
    [
        (None, int, {}),
        ("7", int, {}),
        (True, int, {}),
        (7, bool, {}),
        (7.0, int, {}),
        (-1, int, {}),
        (1 << 62, int, {}),
        (1 << 63, int, {}),
        (4, int, {"at_least": 5}),
        (b"seven b", bytes, {"size": 8}),
        ("text", bytes, {}),
    ],
)
def test_fields_are_checked(value: object, wanted: type, bounds: dict[str, int]) -> None:
    """A field that is missing, of another type or out of bounds is NeverRetry (a boolean is no integer)."""
    with pytest.raises(NeverRetry, match="header field 3"):
        Envelope(Kind.DATA, {} if value is None else {3: value}, b"").take(3, wanted, **bounds)


@pytest.mark.parametrize("message", [b"", b"TL\x01\x02", b"XY\x01\x02" + bytes(90), b"TL\x01\x63" + bytes(90)])
def test_peeking_believes_nothing(message: bytes) -> None:
    """What is too short, foreign or of an unknown kind peeks as None."""
    assert peek_kind(message) is None
