"""The cloud's packets of MQTT: read from any bytes in any pieces, and written as a client of the trade reads them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_cloud.ingest import mqtt_packets as packets

if TYPE_CHECKING:
    from collections.abc import Callable

TOPIC = b"tl/1/7/pump-7/data"


def framed(first: int, body: bytes) -> bytes:
    """A packet with the length written out here, by the letter of section 2.1.4."""
    length, out = len(body), b""
    while True:
        length, digit = divmod(length, 128)
        out += bytes([digit | (128 if length else 0)])
        if not length:
            return bytes([first]) + out + body


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 400)),
    st.data(),
)
def test_packets_are_cut_alike_in_whatever_pieces_they_come(
    sent: list[tuple[int, bytes]], sizes: list[int], data: st.DataObject
) -> None:
    """However a stream is torn, the same packets come out, each once, as soon as they are whole."""
    stream = b"".join(framed(first, body) for first, body in sent)
    cutter, found, at = packets.Cutter(), [], 0
    while at < len(stream):
        size = sizes.pop() if sizes else data.draw(st.integers(1, 400))
        found += cutter.cut(stream[at : at + size])
        at += size
    assert found == sent


@pytest.mark.parametrize("piece", [1000, 65_536, 1 << 30])
def test_a_packet_that_is_too_large_is_cut_off(piece: int) -> None:
    """Of a packet larger than any message, memory holds no more than the bound, and what follows it is read."""
    huge = framed(0x30, bytes(3 * packets.PACKET_MAX))
    stream, cutter, found = huge + packets.PINGREQ, packets.Cutter(), []
    for at in range(0, len(stream), piece):
        found += cutter.cut(stream[at : at + piece])
        assert len(cutter._buffer) <= packets.PACKET_MAX + 5
    assert [(first, len(body)) for first, body in found] == [(0x30, packets.PACKET_MAX), (0xC0, 0)]


def test_a_length_that_cannot_be_is_refused() -> None:
    """Five bytes of length are no length; four that are not whole yet are waited for."""
    assert packets.Cutter().cut(b"\x30\xff\xff\xff") == []
    with pytest.raises(packets.BrokenBroker):
        packets.Cutter().cut(b"\x30\xff\xff\xff\xff\x01")


@given(st.binary(max_size=60), st.integers(0, 255), st.booleans())
def test_any_bytes_are_survived(body: bytes, first: int, five: bool) -> None:  # noqa: FBT001 - of hypothesis
    """Whatever a broker sends is read, or the broker is called broken: nothing else happens."""
    readers: list[Callable[[], object]] = [
        lambda: packets.read_publish(first, body, five=five),
        lambda: packets.read_connack(body, five=five),
        lambda: packets.read_suback(body, five=five),
        lambda: packets.Cutter().cut(body),
    ]
    for reader in readers:
        try:
            reader()
        except packets.BrokenBroker:
            continue


@given(
    st.binary(min_size=1, max_size=40), st.binary(max_size=100), st.integers(0, 0xFFFF), st.booleans(), st.booleans()
)
def test_a_publish_is_read(topic: bytes, payload: bytes, number: int, five: bool, retained: bool) -> None:  # noqa: FBT001
    """Topic, payload, number and the mark of a retained message come out of both versions as they went in."""
    body = struct.pack(">H", len(topic)) + topic + (struct.pack(">H", number) if number else b"")
    body += (b"\x05\x02\x00\x00\x00\x3c" if five else b"") + payload  # five: it expires in 60 s
    first = 0x30 | (2 if number else 0) | retained
    assert packets.read_publish(first, body, five=five) == (topic, payload, number, retained)


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (0x34, b"\x00\x01t\x00\x01"),
        (0x32, b"\x00\x01t\x00\x00"),
        (0x30, b"\x00\x00"),
        (0x30, b"\x00\x05t"),
        (0x32, b"\x00\x01t\x00"),
    ],
    ids=["QoS 2", "number 0", "no topic", "half a topic", "half a number"],
)
def test_a_publish_nobody_asked_for_is_refused(first: int, body: bytes) -> None:
    """QoS 2 was not subscribed to, and a message without a topic or a number is none."""
    with pytest.raises(packets.BrokenBroker):
        packets.read_publish(first, body, five=False)


def test_what_a_broker_answers_is_read() -> None:
    """Refusals, the keep-alive a broker wants instead of ours, and refused subscriptions."""
    assert packets.read_connack(b"\x00\x00", five=False) == (0, None)
    assert packets.read_connack(b"\x00\x05", five=False).refusal == 5
    wishes = b"\x21\x00\x14" + b"\x12\x00\x02id" + b"\x26\x00\x01a\x00\x01b" + b"\x13\x00\x3c"
    assert packets.read_connack(b"\x00\x00" + bytes([len(wishes)]) + wishes, five=True) == (0, 60)
    assert packets.read_connack(b"\x00\x87\x00", five=True).refusal == 0x87
    assert packets.read_suback(b"\x00\x01\x00\x01\x87\x01", five=True) == [0x87]
    assert packets.read_suback(b"\x00\x01\x01\x80", five=False) == [0x80]
    for broken in (b"", b"\x00\x00", b"\x00\x00\x01\xff", b"\x00\x00\x02\x13\x00"):
        with pytest.raises(packets.BrokenBroker):
            packets.read_connack(broken, five=True)


def test_what_is_written_is_by_the_letter() -> None:
    """CONNECT with name and password, SUBSCRIBE, PUBLISH and PUBACK as the standard draws them."""
    said = packets.connect("me", five=True, keepalive_s=30, in_flight=200, size_max=70_000, username="u", password="pw")  # noqa: S106 - no secret
    assert said == framed(
        0x10,
        b"\x00\x04MQTT\x05\xc2\x00\x1e\x08\x27\x00\x01\x11\x70\x21\x00\xc8" + b"\x00\x02me\x00\x01u\x00\x02pw",
    )
    plain = packets.connect("me", five=False, keepalive_s=30, in_flight=1, size_max=1, username="", password=None)
    assert plain == framed(0x10, b"\x00\x04MQTT\x04\x02\x00\x1e\x00\x02me")
    assert packets.subscribe(["a", "b/+"], five=True) == framed(0x82, b"\x00\x01\x00\x00\x01a\x01\x00\x03b/+\x01")
    assert packets.subscribe(["a"], five=False) == framed(0x82, b"\x00\x01\x00\x01a\x01")
    assert packets.publish(TOPIC, b"x" * 300, five=True) == framed(0x30, b"\x00\x12" + TOPIC + b"\x00" + b"x" * 300)
    assert packets.publish(TOPIC, b"x", five=False) == framed(0x30, b"\x00\x12" + TOPIC + b"x")
    assert packets.pubacks([1, 0x1234]) == b"\x40\x02\x00\x01\x40\x02\x12\x34"
