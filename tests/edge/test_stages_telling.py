"""Events of the stage `detect`: when they are told, with which rows, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import KEY, calibrated, kept, pca_package, rows

from trueline_edge.stages import Detect
from trueline_model.alarm import Alarm
from trueline_model.event import event_of, is_event, latest_events
from trueline_model.package import Package, write_package
from trueline_model.series import make_series
from trueline_model.verdict import fit_judge
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_edge.stages.detecting import Detecting
    from trueline_model.event import Event

K, FAULT, ROWS = 4, 250, 500
SCHEMA = Schema(
    device="d", stream="s", channels=(Channel(name="x"), *(Channel(name=name, resolution=0.01) for name in "abcd"))
)
START_NS = 10**18


def blaming(package: Package) -> Package:
    """The package with a judge of sensors and process."""
    normal = [make_series(rows(500, seed, K)[:-10]) for seed in range(30, 34)]
    return replace(package, verdict=fit_judge(normal, spans=(8,)).arrays())


ALARM = Alarm(events=1.0, per_s=500.0, separation_s=5.0)
PLAIN = calibrated(pca_package(k=K), rate=ALARM)
MODEL = kept(blaming(PLAIN), "blaming")
DETECT = Detect(name="odd", model=MODEL, public_key=KEY.public, event_rows=30)


def recording(kind: str = "bias_step") -> Readings:
    """Channel c of four fails from row 250 on, for sixty rows; x is looked at by nobody."""
    value = rows(ROWS + 10, 77, K)[:-10]
    fault = slice(FAULT, FAULT + 60)
    if kind == "bias_step":
        value[fault, 2] += 4.0
    elif kind == "process":
        value[fault] += 4.0 * np.array([1.0, -1.0, 1.0, -1.0])
    value[100:110, 0] = np.nan
    columns = np.column_stack([np.full(ROWS, 7.0), value])
    readings = Readings.raw(SCHEMA, START_NS + np.arange(ROWS) * 10**9, columns, np.full(columns.shape, 0.1))
    failed = np.zeros(columns.shape, np.bool_)
    failed[120:130, 2] = True
    return readings.flagged(failed, Flag.FAIL, Reason.SPIKE)


def told(stage: Detecting, readings: Readings, cuts: list[int] | None = None) -> list[Readings]:
    """All that is told where the rows are cut so."""
    out: list[Readings] = []
    for start, end in pairwise([0, *sorted(cuts or []), len(readings)]):
        stage(readings[start:end])
        out += stage.take_told()
    return out


def of_the_fault(events: list[Event]) -> list[Event]:
    return [event for event in events if FAULT <= event.begun_us / 1e6 - START_NS / 1e9 < FAULT + 60]


def test_an_event_is_told_with_its_first_row_then_reviewed_then_ended() -> None:
    """Thirty rows up to the beginning come with that very row; thirty more with the review; the last one ends it."""
    readings = recording()
    stage = DETECT.stage(SCHEMA)
    events = of_the_fault([event_of(each) for each in told(stage, readings)])
    assert [event.phase for event in events] == ["begun", "reviewed", "ended"]
    begun, reviewed, ended = events
    assert len(begun.window) == 30
    assert len(reviewed.window) == 60
    assert len(ended.window) == 1
    row = int((begun.begun_us * 1000 - START_NS) // 10**9)
    assert FAULT <= row < FAULT + 3
    # What was told is what the detector read, and what the stage said of it.
    rows_told = slice(row - 29, row + 31)
    np.testing.assert_array_equal(reviewed.window.time_ns, readings.time_ns[rows_told])
    np.testing.assert_array_equal(reviewed.window.value, readings.value[rows_told, 1:])
    np.testing.assert_array_equal(reviewed.window.u, readings.u[rows_told, 1:])
    np.testing.assert_array_equal(reviewed.window.flag, readings.flag[rows_told, 1:])
    out = DETECT.stage(SCHEMA)(readings)
    names = [channel.name for channel in out.schema.channels]
    for what in ("score", "p"):
        np.testing.assert_array_equal(getattr(reviewed, what), out.value[rows_told, names.index(f"odd.{what}")])
    np.testing.assert_allclose(reviewed.share.sum(axis=1), 1.0, atol=0.003)
    assert reviewed.channels == ("a", "b", "c", "d")
    assert reviewed.model == 1
    (whole,) = of_the_fault(latest_events(map(replaced, [reviewed, begun, ended])))
    assert (whole.phase, len(whole.window)) == ("ended", 61)


def replaced(event: Event) -> Readings:
    """As it travels."""
    from trueline_model.event import event_readings  # noqa: PLC0415 - here alone

    return event_readings(event)


@pytest.mark.parametrize(
    ("kind", "what", "channel"), [("bias_step", "sensor fault", "c"), ("process", "process anomaly", None)]
)
def test_the_verdict_of_the_package_is_told(kind: str, what: str, channel: str | None) -> None:
    """One sensor off against three that follow each other is at fault; all four off is the process."""
    events = of_the_fault([event_of(each) for each in told(DETECT.stage(SCHEMA), recording(kind))])
    last = events[-1]
    assert last.what == what
    assert channel in {None, last.channel}
    assert 0.5 <= last.confidence <= 1.0
    assert bool(last.kind) == (what == "sensor fault")


def test_without_a_judge_nobody_is_blamed() -> None:
    """The control: a package without a verdict tells the window and leaves open whose trouble it is."""
    stage = Detect(name="odd", model=kept(PLAIN, "plain"), public_key=KEY.public, event_rows=30).stage(SCHEMA)
    events = of_the_fault([event_of(each) for each in told(stage, recording())])
    assert len(events) == 3
    assert {(event.what, event.channel) for event in events} == {("", "")}


cuts_of = st.lists(st.integers(0, ROWS), max_size=6)


@settings(max_examples=25)
@given(cuts=cuts_of, gap=st.integers(FAULT - 40, FAULT + 70), back=st.integers(0, ROWS - 1))
def test_where_batches_are_cut_changes_nothing_of_what_is_told(cuts: list[int], gap: int, back: int) -> None:
    """The same frames, bit for bit, through a gap and a row without time of its own, and through a restart."""
    readings = recording()
    times = readings.time_ns.copy()
    times[gap:] += 3600 * 10**9
    if back:
        times[back] = times[back - 1]
    readings = replace(readings, time_ns=times)
    whole = told(DETECT.stage(SCHEMA), readings)
    parts: list[Readings] = []
    stage = DETECT.stage(SCHEMA)
    for start, end in pairwise([0, *sorted(cuts), ROWS]):
        parts += told(stage, readings[start:end])
        saved, stage = stage.state(), DETECT.stage(SCHEMA)
        stage.restore(saved)
    assert_same(parts, whole)
    for event in map(event_of, whole):  # no window spans the gap, no row without time is in one
        assert np.ptp(event.window.time_ns) < 3600 * 10**9
        assert (np.diff(event.window.time_ns) > 0).all()


def assert_same(got: list[Readings], wanted: list[Readings]) -> None:
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert one.schema == other.schema
        for name in ("time_ns", "value", "u", "flag", "reason"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_gap_ends_the_wait_for_a_review() -> None:
    """What is known before the gap is told at once; after it the event goes on, and is told when it ends."""
    readings = recording()
    times = readings.time_ns.copy()
    times[FAULT + 10 :] += 3600 * 10**9
    events = of_the_fault([event_of(e) for e in told(DETECT.stage(SCHEMA), replace(readings, time_ns=times))])
    assert [event.phase for event in events] == ["begun", "reviewed", "ended"]
    assert events[1].window.time_ns[-1] == times[FAULT + 9]


def test_where_none_are_wanted_none_are_told_and_nothing_is_kept() -> None:
    """`event_rows` 0, or a model without an alarm."""
    stage = Detect(name="odd", model=MODEL, public_key=KEY.public, event_rows=0).stage(SCHEMA)
    assert not told(stage, recording())
    full = DETECT.stage(SCHEMA)
    full(recording())
    assert len(stage.state()) < len(full.state()) - 1000
    quiet = Detect(name="odd", model=kept(pca_package(k=K), "quiet"), public_key=KEY.public).stage(SCHEMA)
    assert not told(quiet, recording())


def test_names_of_the_events_columns_are_refused_before_anything_runs(tmp_path: Path) -> None:
    """An input that is called like a column of the events, and settings that cannot be."""
    taken = replace(SCHEMA, channels=(*SCHEMA.channels[:4], Channel(name="odd.share.a")))
    config = Detect(name="odd", model=MODEL, public_key=KEY.public, channels=("a", "b", "c", "odd.share.a"))
    (objection,) = config.objections(taken)
    assert "twice" in objection.message
    with pytest.raises(ValueError, match="event_rows"):
        Detect(name="odd", model=tmp_path, public_key=KEY.public, event_rows=-1)


def test_every_frame_told_is_an_event_s() -> None:
    """On "STREAM.NAME", by its schema alone, whatever the recording holds."""
    frames: list[Any] = told(DETECT.stage(SCHEMA), recording(), [17, 255])
    assert frames
    assert all(is_event(frame.schema) and frame.schema.stream == "s.odd" for frame in frames)
    assert write_package(PLAIN, KEY) != write_package(blaming(PLAIN), KEY)
