"""Readings and schemas: checked where they are made, read-only, and never mended in silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.wire_examples import batches, printed, schema

from trueline_wire.cbor import read_cbor, write_cbor
from trueline_wire.errors import NeverRetry
from trueline_wire.readings import CHANNELS_MAX, Channel, Flag, Readings, Reason, Schema, Thinning, worst_flag

TEXTS = st.text(max_size=20)
CHANNELS = st.builds(Channel, name=TEXTS, unit=TEXTS, resolution=st.floats(0, 1e300), sensor=TEXTS, calibration=TEXTS)


@given(
    TEXTS,
    TEXTS,
    st.lists(CHANNELS, min_size=1, max_size=6, unique_by=lambda c: c.name),
    st.booleans(),
    st.none() | st.tuples(st.sampled_from(["previous", "linear"]), st.floats(0)),
)
def test_any_schema_comes_back(
    device: str,
    stream: str,
    channels: list[Channel],
    rounded: bool,  # noqa: FBT001 - hypothesis draws it
    thinned: tuple[Any, float] | None,
) -> None:
    """A schema is read back equal, with the same hash."""
    thinning = thinned and Thinning(between=thinned[0], bounds=(thinned[1],) * len(channels))
    sent = Schema(device=device, stream=stream, channels=tuple(channels), rounded=rounded, thinning=thinning)
    got = Schema.decode(sent.encoded)
    assert got == sent
    assert got.hash == sent.hash


def test_a_schema_of_a_later_version_keeps_its_hash() -> None:
    """Fields this version does not know are ignored, and stay under the hash."""
    document = read_cbor(schema(2).encoded)
    document[9] = "later"
    document[2][0].append("later")
    encoded = write_cbor(document)
    got = Schema.decode(encoded)
    assert got == schema(2)
    assert got.encoded == encoded
    assert got.hash != schema(2).hash


@given(st.binary(max_size=80))
def test_foreign_bytes_are_no_schema(encoded: bytes) -> None:
    """Any bytes are NeverRetry."""
    with pytest.raises(NeverRetry):
        Schema.decode(encoded)


ROW = ["Pressure", "bar", 0.5, "p-17", "2026-03"]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {0: "d", 1: "s", 2: [], 3: False},
        {0: "d", 1: "s", 2: [ROW, ROW], 3: False},
        {0: "d", 1: "s", 2: [ROW[:4]], 3: False},
        {0: "d", 1: "s", 2: [ROW], 3: False, 4: ["linear", []]},
        {0: "d", 1: "s", 2: [ROW], 3: False, 4: ["cubic", [0.5]]},
        {0: "d", 1: "s", 2: [ROW], 3: False, 4: ["linear", [1]]},
        {0: "d", 1: "s", 2: [ROW], 3: False, 4: ["linear", [-0.5]]},
        {0: "d", 1: "s", 2: [ROW], 3: False, 4: ["linear", [float("nan")]]},
        {0: "d", 1: "s", 2: [ROW], 3: 0},
        {0: 5, 1: "s", 2: [ROW], 3: False},
        {0: "d", 1: "s", 2: {0: ROW}, 3: False},
        {0: "d", 1: "s", 2: [[1, *ROW[1:]]], 3: False},
        {0: "d", 1: "s", 2: [[*ROW[:2], "0.5", *ROW[3:]]], 3: False},
        {0: "d", 1: "s", 2: [[*ROW[:2], float("nan"), *ROW[3:]]], 3: False},
        {0: "d", 1: "s", 2: [[*ROW[:2], -1.0, *ROW[3:]]], 3: False},
        {0: "d", 1: "s" * 257, 2: [ROW], 3: False},
        {0: "d", 1: "s", 2: [[f"c{i}", "1", 0.0, "", ""] for i in range(CHANNELS_MAX + 1)], 3: False},
    ],
    ids=[
        *("a list", "nothing in it", "no channels", "one name twice", "a field short", "thinned without a bound"),
        *(
            "filled in otherwise",
            "a bound is a whole number",
            "a bound below zero",
            "a bound is NaN",
            "rounded is a number",
        ),
        *("device is a number", "channels are a map", "name is a number", "resolution is a text", "resolution is NaN"),
        *("resolution below zero", "text too long", "too many channels"),
    ],
)
def test_impossible_schemas_are_refused(document: Any) -> None:
    """A schema that cannot be is NeverRetry."""
    assert Schema.decode(write_cbor({0: "d", 1: "s", 2: [ROW], 3: False}))
    with pytest.raises(NeverRetry):
        Schema.decode(write_cbor(document))


def test_a_schema_that_exists_is_valid() -> None:
    """No channels, a name twice, a text too long, too large for a message: ValueError where it is made or encoded."""
    channel = Channel(name="c")
    for channels in ((), (channel, channel), (Channel(name="c" * 257),), (Channel(name="c", resolution=-1.0),)):
        with pytest.raises(ValueError, match=r"stream|channel"):
            Schema(device="d", stream="s", channels=channels)
    large = Schema(device="d", stream="s", channels=tuple(Channel(name=f"{i:0200}") for i in range(300)))
    with pytest.raises(ValueError, match="fit"):
        _ = large.encoded


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("time_ns", np.zeros(3)),
        ("time_ns", np.zeros((3, 1), np.int64)),
        ("value", np.zeros((3, 4), np.float32)),
        ("value", np.zeros((3, 3))),
        ("u", np.zeros((3, 4))),
        ("flag", np.ones((3, 4), np.int64)),
        ("reason", np.zeros((2, 4), np.uint32)),
    ],
)
def test_shapes_and_types_are_checked(name: str, column: np.ndarray) -> None:
    """A column of another type or shape is refused by name."""
    with pytest.raises(ValueError, match=f"^{name} "):
        replace(printed(3), **{name: column})


def test_columns_are_read_only() -> None:
    """A batch's columns cannot be written; the arrays it was made of still can."""
    value = np.zeros((3, 1))
    readings = Readings.raw(schema(1), np.arange(3), value)
    for name in ("time_ns", "value", "u", "flag", "reason"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(readings, name)[0] = 0
    value[0] = 5
    assert readings.value[0, 0] == 0


@given(batches(), st.data())
def test_cut_and_joined_is_the_same(readings: Readings, data: st.DataObject) -> None:
    """Slices put end to end are the batch they were cut from."""
    at = data.draw(st.integers(0, len(readings)))
    joined = Readings.concatenate([readings[:at], readings[at:]])
    for name in ("time_ns", "value", "u", "flag", "reason"):
        assert np.array_equal(getattr(joined, name), getattr(readings, name), equal_nan=name in {"value", "u"})


def test_batches_of_two_schemas_are_not_joined() -> None:
    """Nothing, and batches of different schemas, cannot be concatenated."""
    with pytest.raises(ValueError, match="nothing"):
        Readings.concatenate([])
    with pytest.raises(ValueError, match="different"):
        Readings.concatenate([Readings.empty(schema(1)), Readings.empty(schema(2))])


def test_the_worst_flag_wins() -> None:
    """Flagging adds reasons, and lowers a flag to a worse one, never to a better one."""
    readings = printed(2, 1)
    where = np.array([[True], [False]])
    failed = readings.flagged(where, Flag.FAIL, Reason.SPIKE)
    milder = failed.flagged(where, Flag.SUSPECT, Reason.FLAT_LINE)
    assert milder.flag[:, 0].tolist() == [Flag.FAIL, Flag.PASS]
    assert milder.reason[:, 0].tolist() == [Reason.SPIKE | Reason.FLAT_LINE, 0]
    assert readings.flag[:, 0].tolist() == [Flag.PASS, Flag.PASS]
    assert failed.passed(where) is failed
    order = [Flag.NOT_EVALUATED, Flag.PASS, Flag.SUSPECT, Flag.FAIL, Flag.MISSING]
    for i, flag in enumerate(order):
        assert worst_flag(np.array([order[: i + 1]], np.uint8), axis=1) == [flag]


def test_flags_and_reasons_are_never_renumbered() -> None:
    """Their numbers travel."""
    assert {flag.name: int(flag) for flag in Flag} == {
        "PASS": 1,
        "NOT_EVALUATED": 2,
        "SUSPECT": 3,
        "FAIL": 4,
        "MISSING": 9,
    }
    assert [reason.name for reason in Reason][:4] == ["GROSS_RANGE", "MISSING", "FLAT_LINE", "SPIKE"]
    assert [int(reason) for reason in Reason] == [1 << bit for bit in range(len(Reason))]
