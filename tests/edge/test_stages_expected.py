"""Climatology and neighbours: what the calendar and the sensors beside it expect of a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.stages import Band, Climatology, Neighbours
from trueline_wire.readings import Channel, Readings, Reason, Schema

NAN = float("nan")
EARLIEST, LATEST = datetime(2000, 1, 1), datetime(2050, 1, 1)  # noqa: DTZ001 - hypothesis wants them naive
ONE = Schema(device="d", stream="s", channels=(Channel(name="a"),))


def at(moments: list[datetime], values: list[float]) -> Readings:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    time_ns = [(moment - epoch) // timedelta(microseconds=1) * 1000 for moment in moments]
    return Readings.raw(ONE, time_ns, np.array(values).reshape(-1, 1))


def climate(config: Climatology, moments: list[datetime], values: list[float]) -> list[int]:
    found: list[int] = config.stage(ONE)(at(moments, values)).flag[:, 0].tolist()
    return found


def test_bands_hold_in_their_months_and_hours() -> None:
    """Summer days, winter nights over midnight, and moments nothing is said of."""
    config = Climatology(
        bands=(
            Band(months=(6, 7, 8), hours=(6, 20), minimum=10, maximum=35, fail_minimum=0, fail_maximum=45),
            Band(months=(12, 1, 2), hours=(22, 5), maximum=10),
        )
    )
    july, january = datetime(2021, 7, 1, 12, tzinfo=UTC), datetime(2021, 1, 1, 3, tzinfo=UTC)
    assert climate(config, [july] * 6, [20, 35, 36, 46, 5, -1]) == [1, 1, 3, 4, 3, 4]
    assert climate(config, [january, january.replace(hour=5), january.replace(hour=22)], [11, 11, 11]) == [3, 2, 3]
    assert climate(config, [july.replace(hour=20), july.replace(month=9)], [99, 99]) == [2, 2]


def test_the_later_band_holds_where_two_cover_a_moment() -> None:
    """A general band first, exceptions behind it."""
    config = Climatology(bands=(Band(maximum=30), Band(months=(7,), maximum=40)))
    days = [datetime(2021, month, 1, tzinfo=UTC) for month in (6, 7, 8)]
    assert climate(config, days, [35, 35, 35]) == [3, 1, 3]


@given(st.datetimes(EARLIEST, LATEST), st.sampled_from(["UTC", "Europe/Rome", "Asia/Kathmandu", "Australia/Lord_Howe"]))
def test_month_and_hour_are_those_of_the_zone(moment: datetime, zone: str) -> None:
    """Law: against the calendar of the standard library, through changes to and from summer time."""
    moment = moment.replace(tzinfo=UTC)
    local = moment.astimezone(ZoneInfo(zone))
    here = Band(months=(local.month,), hours=(local.hour, (local.hour + 1) % 24), maximum=1)
    assert climate(Climatology(bands=(here,), zone=zone), [moment], [5.0]) == [3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Band(months=()), "months"),
        (lambda: Band(months=(13,)), "months"),
        (lambda: Band(hours=(5, 5)), "hours"),
        (lambda: Band(hours=(0, 25)), "hours"),
        (lambda: Band(minimum=2, maximum=1), "minimum 2"),
        (lambda: Band(fail_minimum=2, fail_maximum=1), "fail_minimum 2"),
        (lambda: Climatology(bands=()), "band"),
        (lambda: Climatology(bands=(Band(),), zone="Mars/Olympus"), "zone 'Mars/Olympus'"),
        (Neighbours, "suspect or fail"),
        (lambda: Neighbours(suspect=-1), "suspect -1"),
        (lambda: Neighbours(fail=0), "fail 0"),
        (lambda: Neighbours(suspect=1, neighbours_min=0), "neighbours_min 0"),
    ],
)
def test_nonsense_is_refused(make: Any, message: str) -> None:
    """A configuration that exists is valid."""
    with pytest.raises(ValueError, match=message):
        make()


def beside(config: Neighbours, *rows: list[float]) -> list[list[int]]:
    schema = Schema(device="d", stream="s", channels=tuple(Channel(name=f"c{k}") for k in range(len(rows[0]))))
    judged = config.stage(schema)(Readings.raw(schema, np.arange(len(rows)), np.array(rows)))
    assert set(judged.reason[judged.flag > 2].tolist()) <= {Reason.MULTI_VARIATE}
    found: list[list[int]] = judged.flag.tolist()
    return found


def test_one_wild_sensor_does_not_speak_against_the_others() -> None:
    """Of three, the one that disagrees is flagged, and it alone."""
    config = Neighbours(suspect=1.0, fail=5.0)
    assert beside(config, [20.0, 20.5, 90.0], [20.0, 22.0, 20.5], [20, 20, 20]) == [[1, 1, 4], [1, 3, 1], [1, 1, 1]]


def test_two_that_disagree_are_both_suspect() -> None:
    """Neither is known to be right, so neither fails."""
    assert beside(Neighbours(suspect=1.0, fail=5.0), [20.0, 90.0]) == [[3, 3]]


def test_missing_neighbours_say_nothing() -> None:
    """Too few usable others: not evaluated; the rest is judged by those that are there."""
    config = Neighbours(suspect=1.0, neighbours_min=2)
    assert beside(config, [20.0, NAN, 90.0, NAN], [20.0, NAN, 20.5, 90.0]) == [[2, 2, 2, 2], [1, 2, 1, 3]]


def test_negative_control_the_mean_of_the_others_blames_the_good() -> None:
    """Against the mean of the others, one wild sensor of three makes all three look wrong."""
    row = np.array([20.0, 20.5, 90.0])
    others = (row.sum() - row) / 2
    assert (abs(row - others) > 5.0).all()
    assert beside(Neighbours(suspect=5.0), row.tolist()) == [[1, 1, 3]]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.4, 1.0, 2.0, 9.0, NAN]), min_size=4, max_size=4), max_size=20))
def test_a_value_near_at_least_half_of_the_others_passes(rows: list[list[float]]) -> None:
    """Law: against the vote of the others, counted one by one."""
    if not rows:
        return
    found = beside(Neighbours(suspect=0.5), *rows)
    for (row, flags), k in product(zip(rows, found, strict=True), range(4)):
        others = [v for j, v in enumerate(row) if j != k and not np.isnan(v)]
        if np.isnan(row[k]) or not others:
            assert flags[k] == 2
        else:
            near = sum(abs(row[k] - other) <= 0.5 for other in others)
            sides = sum(other >= row[k] - 0.5 for other in others), sum(other <= row[k] + 0.5 for other in others)
            middle = min(sides) * 2 >= len(others)
            if near * 2 >= len(others):
                assert flags[k] == 1
            if not middle:
                assert flags[k] == 3


def test_neighbours_of_several_units_are_objected_to() -> None:
    """Degrees are not compared with per cents."""
    schema = Schema(device="d", stream="s", channels=(Channel(name="t", unit="Cel"), Channel(name="h", unit="%")))
    objections = list(Neighbours(suspect=1.0).objections(schema))
    assert [o.message for o in objections] == ["its limits are numbers of one unit, but here are %, Cel"]
    assert [o.message for o in Neighbours(suspect=1.0, channels=("t",)).objections(schema)] == [
        "1 channels: more than 1 are wanted"
    ]
