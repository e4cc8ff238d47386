"""The timing test: which times it doubts, and that it goes on afterwards."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.stages import Timing
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="a"), Channel(name="b")))
START_S = 1_600_000_000
HOUR_S, DAY_S = 3600, 86_400


def judge(config: Timing, times_s: list[float]) -> Readings:
    time_ns = [round((START_S + t) * 1e9) for t in times_s]
    return config.stage(SCHEMA)(Readings.raw(SCHEMA, time_ns, np.zeros((len(time_ns), 2))))


def flags(config: Timing, *times_s: float) -> list[int]:
    judged = judge(config, list(times_s))
    assert np.array_equal(judged.flag[:, 0], judged.flag[:, 1])
    found: list[int] = judged.flag[:, 0].tolist()
    return found


def test_a_regular_clock_passes() -> None:
    """Of the first row nothing can be said; each later one passes."""
    assert flags(Timing(interval_s=10.0, jitter_s=1.0), 0, 10, 20.9, 30) == [2, 1, 1, 1]


def test_a_duplicate_time_fails_wherever_its_first_stood() -> None:
    """The time of the row before, or of the newest row, a second time is a duplicate."""
    assert flags(Timing(), 0, 10, 10, 20, 5, 20, 30) == [2, 1, 4, 1, 3, 4, 1]
    judged = judge(Timing(), [0, 10, 10])
    assert judged.reason[2].tolist() == [Reason.TIMING, Reason.TIMING]


def test_a_backward_clock_is_flagged_until_time_is_new_again() -> None:
    """Each row that is older than the newest is late; the first that is newer passes."""
    assert flags(Timing(), 0, 900, 1800, 300, 600, 1500, 2700) == [2, 1, 1, 3, 3, 3, 1]


def test_a_clock_set_far_back_starts_time_anew() -> None:
    """A stray row from the future does not make all that follow late for ever: one row fails, then they pass."""
    judged = judge(Timing(late_max_s=HOUR_S), [0, 10, 40 * DAY_S, 20, 30, 40])
    assert judged.flag[:, 0].tolist() == [2, 1, 1, 4, 1, 1]
    assert judged.reason[3, 0] & Reason.CLOCK
    assert flags(Timing(interval_s=10.0, late_max_s=HOUR_S), 0, 10, 40 * DAY_S, 20, 30) == [2, 1, 3, 4, 1]


def test_a_clock_that_was_not_set_fails_and_is_forgotten() -> None:
    """From 1970 to now: rows before `earliest` fail, and the first row after is no gap."""
    boot = [-START_S + t for t in (5, 15, 25)]
    judged = judge(Timing(interval_s=10.0), [*boot, 0, 10])
    assert judged.flag[:, 0].tolist() == [4, 4, 4, 2, 1]
    assert set(judged.reason[:3, 0].tolist()) == {Reason.CLOCK}
    naive = Timing(earliest=datetime(2020, 9, 13, 12, 26, 50))  # noqa: DTZ001 - UTC where no offset is given
    assert flags(naive, 0, 10, 20) == [4, 2, 1]


def test_a_gap_is_flagged_on_the_row_behind_it() -> None:
    """More than 1.5 intervals since the newest, or more than `gap_s`, is a gap."""
    assert flags(Timing(interval_s=10.0), 0, 10, 26, 36) == [2, 1, 3, 1]
    assert flags(Timing(gap_s=60.0), 0, 10, 69, 130) == [2, 1, 1, 3]
    assert judge(Timing(gap_s=60.0), [0, 61]).reason[1].tolist() == [Reason.GAP] * 2


def test_jitter_beyond_the_limit_is_suspect() -> None:
    """A row too soon or too late, and after no gap, is uneven."""
    config = Timing(interval_s=10.0, jitter_s=2.0)
    assert flags(config, 0, 10, 17.9, 28, 40.1) == [2, 1, 3, 1, 3]
    assert judge(config, [0, 7]).reason[1, 0] == Reason.TIMING


def test_only_the_named_channels_are_marked() -> None:
    """What is said of a row is said of the channels asked for."""
    judged = judge(Timing(channels=("b",)), [0, 0])
    assert judged.flag.tolist() == [[2, 2], [2, 4]]


def test_negative_control_without_late_rows_in_mind_a_duplicate_is_missed() -> None:
    """Comparing each row with the one before it alone does not see the duplicate behind a late row."""
    times = np.array([0, 10, 20, 5, 20])
    assert (np.diff(times) == 0).sum() == 0
    assert flags(Timing(), *times)[-1] == Flag.FAIL


@given(st.lists(st.integers(-5, 50), max_size=40), st.integers(10, 100))
def test_what_passes_is_newer_than_all_before_it(times_s: list[int], late_max_s: int) -> None:
    """Law: rows that are not failed for their clock, taken in order, pass only where they are newer than the newest."""
    found = flags(Timing(late_max_s=late_max_s), *times_s)
    newest: int | None = None
    for (before, now), flag in zip(pairwise([None, *times_s]), found, strict=True):
        if newest is None:
            assert flag == Flag.NOT_EVALUATED
            newest = now
            continue
        assert now is not None
        if now > newest:
            assert flag == Flag.PASS
        elif now in {newest, before} or now < newest - late_max_s:
            assert flag == Flag.FAIL
        else:
            assert flag == Flag.SUSPECT
        newest = now if now < newest - late_max_s else max(now, newest)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"interval_s": 0.0}, "interval_s 0.0"),
        ({"gap_s": -1.0}, "gap_s -1.0"),
        ({"late_max_s": float("nan")}, "late_max_s nan"),
        ({"jitter_s": 1.0}, "jitter_s wants"),
        ({"interval_s": 1.0, "jitter_s": -1.0}, "jitter_s -1.0"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, float], message: str) -> None:
    """A configuration that exists is valid."""
    with pytest.raises(ValueError, match=message):
        Timing(**wrong)  # type: ignore[arg-type]
