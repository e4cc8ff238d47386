from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_model.event import (
    KINDS,
    PHASES,
    WHATS,
    Event,
    event_of,
    event_readings,
    event_schema,
    is_event,
    latest_events,
)
from trueline_sim.faults.fault import VALUE_KINDS
from trueline_wire.columns import decode_columns, encode_columns
from trueline_wire.errors import NeverRetry
from trueline_wire.readings import Channel, Readings, Reason, Schema

INPUTS = Schema(
    device="pump-7",
    stream="valve.a",
    channels=(Channel(name="flow", unit="L/min", resolution=0.1), Channel(name="t", unit="Cel", sensor="s1")),
)
BEGUN_US = 1_700_000_000_123_456


def event(rows: int = 6, seed: int = 1, **other: object) -> Event:
    """Of the detector "odd.one", on two channels."""
    rng = np.random.default_rng(seed)
    value = np.round(rng.normal(20.0, 1.0, (rows, 2)), 1)
    value[0, 1] = np.nan
    score = rng.random(rows)
    share = rng.random((rows, 1))
    window = Readings(
        INPUTS,
        BEGUN_US * 1000 + np.arange(rows, dtype=np.int64) * 10**9,
        value,
        np.full(value.shape, 0.05, np.float32),
        np.array([[1, 9], *[[1, 3]] * (rows - 1)], np.uint8)[:rows],
        np.full(value.shape, Reason.SPIKE, np.uint32),
    )
    said = {"what": "sensor fault", "channel": "t", "kind": "stuck", "confidence": 0.83, "model": 3, **other}
    return Event(
        detector="odd.one",
        begun_us=BEGUN_US,
        phase="begun",
        window=window,
        score=score,
        p=score / 2,
        share=np.concatenate([share, 1 - share], axis=1),
        **said,  # type: ignore[arg-type]  # made of parts
    )


def assert_same(got: Event, wanted: Event) -> None:
    """Equal, bit for bit."""
    for name in ("detector", "begun_us", "phase", "what", "channel", "kind", "model", "name"):
        assert getattr(got, name) == getattr(wanted, name), name
    assert got.window.schema == wanted.window.schema
    for name in ("time_ns", "value", "u", "flag", "reason"):
        np.testing.assert_array_equal(getattr(got.window, name), getattr(wanted.window, name), name)
    for name in ("score", "p", "share", "confidence"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), name)


@given(
    rows=st.integers(1, 20),
    phase=st.sampled_from(PHASES),
    what=st.sampled_from(WHATS),
    kind=st.sampled_from(KINDS),
    confidence=st.floats(0.5, 1.0),
)
def test_what_is_told_is_read_back(rows: int, phase: str, what: str, kind: str, confidence: float) -> None:
    """Window, scores and verdict come back bit for bit, through a frame's columns (u on its grid of 1 %)."""
    said = {"what": what, "kind": kind, "confidence": confidence}
    nothing = {"what": "", "channel": "", "kind": "", "confidence": float("nan")}
    wanted = replace(event(rows, **(said if what else nothing)), phase=phase)  # type: ignore[arg-type]
    told = event_readings(wanted)
    assert_same(event_of(told), wanted)
    arrived = decode_columns(encode_columns(told), told.schema, len(told))
    np.testing.assert_allclose(arrived.u[:, :2], told.u[:, :2], rtol=0.006)
    assert_same(event_of(replace(arrived, u=told.u)), wanted)


def test_an_event_s_stream_says_whose_it_is() -> None:
    """The stream is STREAM.NAME, also where both names hold dots, and its columns stand where they are documented."""
    told = event_readings(event())
    assert told.schema.stream == "valve.a.odd.one"
    assert is_event(told.schema)
    assert not is_event(INPUTS)
    assert event_of(told).name == ("pump-7", "valve.a", "odd.one", BEGUN_US)
    names = [channel.name for channel in told.schema.channels]
    assert names[2:6] == ["odd.one.share.flow", "odd.one.share.t", "odd.one.score", "odd.one.p"]
    assert names[6:8] == ["odd.one.event.begun", "odd.one.event.phase"]
    with pytest.raises(NeverRetry, match="none of events"):
        event_of(Readings.empty(INPUTS))


@given(order=st.permutations(range(6)), at=st.integers(0, 6))
def test_any_part_of_a_frame_in_any_order_tells_the_event(order: list[int], at: int) -> None:
    """Frames split, merged or read in another order make the same events: all rows once, and the last word."""
    late = replace(event(6), phase="ended", what="process anomaly", channel="flow", kind="")
    early = replace(event(), window=late.window[:4], score=late.score[:4], p=late.p[:4], share=late.share[:4])
    other = replace(event(3, seed=2), begun_us=BEGUN_US + 5)
    told, news = event_readings(early), event_readings(late)
    parts = [told[:2], told[2:], news[:at], news[at:], event_readings(other), Readings.concatenate([told, news])]
    found = latest_events([parts[place] for place in order])
    assert [one.begun_us for one in found] == [BEGUN_US, BEGUN_US + 5]
    assert_same(found[0], late)


def test_the_codes_on_the_wire_stay() -> None:
    """Numbers of phases, verdicts and kinds are part of the wire: lists only grow, and hold every kind simulated."""
    assert PHASES == ("begun", "reviewed", "ended")
    assert WHATS == ("", "sensor fault", "process anomaly")
    assert KINDS[:7] == ("", "nan_run", "stuck", "spike", "noise_increase", "drift", "bias_step")
    assert set(KINDS[1:]) == set(VALUE_KINDS)


def test_rows_that_tell_no_event_are_refused() -> None:
    """Two events in one batch, a code nobody knows, a verdict on no channel: each is refused, none is guessed."""
    told = event_readings(event())
    two = Readings.concatenate([told, event_readings(replace(event(), begun_us=5))])
    with pytest.raises(NeverRetry, match="do not tell one event"):
        event_of(two)
    for column, number in ((7, 17.0), (8, np.nan), (9, 2.0), (10, 0.5)):
        value = told.value.copy()
        value[:, column] = number
        with pytest.raises(NeverRetry, match="a whole number below"):
            event_of(replace(told, value=value))
    with pytest.raises(ValueError, match="after 1970"):
        event_readings(replace(event(), begun_us=1 << 60))


def test_a_name_that_is_taken_is_refused() -> None:
    """An input called like a column of the event cannot be told from it."""
    taken = replace(INPUTS, channels=(*INPUTS.channels, Channel(name="odd.score")))
    with pytest.raises(ValueError, match="twice"):
        event_schema(taken, "odd")
