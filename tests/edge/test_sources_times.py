"""Times in files and messages, whatever their words and zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.sources.times import TimeReader, check_time_format, check_zone

ROME = ZoneInfo("Europe/Rome")


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def read(reader: TimeReader, *texts: str) -> list[int | None]:
    times = reader.read(texts)
    return [None if bad else time for time, bad in zip(times.time_ns.tolist(), times.bad.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("time_format", "text", "expected"),
    [
        ("iso", "2020-02-08 13:30:47", utc("2020-02-08T13:30:47")),
        ("iso", "2020-02-08T13:30:47.123456789", utc("2020-02-08T13:30:47") + 123456789),
        ("iso", "2020-02-08T13:30:47Z", utc("2020-02-08T13:30:47")),
        ("iso", "2020-02-08T13:30:47.5+01:00", utc("2020-02-08T12:30:47") + 500_000_000),
        ("iso", "2020-02-08", utc("2020-02-08T00:00:00")),
        ("iso", "1969-12-31 23:59:59", -(10**9)),
        ("iso", "2020-02-30 00:00:00", None),
        ("iso", "now", None),
        ("iso", "", None),
        ("iso", "9999-12-31 00:00:00", None),
        ("iso", "NaT", None),
        ("s", "1580000000", 1580000000 * 10**9),
        ("s", "1580000000.123456789", 1580000000123456789),
        ("s", "1.58e9", 1580000000 * 10**9),
        ("ms", "-5", -5_000_000),
        ("us", "1580000000000001", 1580000000000001000),
        ("ns", "1580000000000000001", 1580000000000000001),
        ("s", "99999999999999", None),
        ("s", "nan", None),
        ("s", "1_000", None),
        ("s", "x", None),
        ("%d/%m/%Y %H:%M:%S", "18/08/2021 11:45:00", utc("2021-08-18T11:45:00")),
        ("%d/%m/%Y %H:%M:%S", "8/8/2021 1:45:00", utc("2021-08-08T01:45:00")),
        ("%d/%m/%Y %H:%M:%S", "31/02/2021 11:45:00", None),
        ("%d/%m/%Y %H:%M:%S", "18-08-2021 11:45:00", None),
        ("%d/%m/%Y %H:%M:%S", "18/08/2021 24:00:00", None),
        ("%m/%d/%Y %H:%M", "8/1/2019 7:11", utc("2019-08-01T07:11:00")),
        ("%d %b %y %I:%M %p", "05 Mar 21 03:00 PM", utc("2021-03-05T15:00:00")),
        ("%Y-%m-%dT%H:%M:%S%z", "2020-02-08T13:30:47+0100", utc("2020-02-08T12:30:47")),
        ("%H:%M:%S.%f %Y-%m-%d", "01:02:03.25 2020-01-01", utc("2020-01-01T01:02:03") + 250_000_000),
    ],
)
def test_a_text_becomes_a_time(time_format: str, text: str, expected: int | None) -> None:
    """Each format is read to the nanosecond it states; what is no time is said to be none."""
    reader = TimeReader(time_format)
    assert read(reader, text) == [expected]
    beside = utc("2021-08-18T11:45:00")
    good = {"iso": "2021-08-18 11:45:00", "%d/%m/%Y %H:%M:%S": "18/08/2021 11:45:00"}.get(time_format)
    if good:  # the fast way for whole columns and the slow way for odd texts agree
        assert read(reader, good, text, good) == [beside, expected, beside]


FORMATS = ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%Y%m%d%H%M%S", "%m/%d/%Y", "iso"]


@given(
    st.sampled_from(FORMATS),
    st.sampled_from(["UTC", "Europe/Rome", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.lists(st.datetimes(datetime(1975, 1, 1), datetime(2035, 1, 1)), max_size=8),  # noqa: DTZ001 - local times
    st.sampled_from([0, 1]),
)
def test_whole_columns_equal_python_one_by_one(time_format: str, zone: str, moments: list[datetime], fold: int) -> None:
    """Law: reading a column gives what `strptime` and `zoneinfo` give for each text alone."""
    words = "%Y-%m-%dT%H:%M:%S" if time_format == "iso" else time_format
    texts = [moment.strftime(words) for moment in moments]
    back = [datetime.strptime(text, words).replace(tzinfo=ZoneInfo(zone), fold=fold) for text in texts]
    expected = [round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9 for moment in back]
    # Where the clock is put forward, a skipped time is taken as if it had not been (fold 0).
    skipped = [m.replace(fold=0).utcoffset() < m.replace(fold=1).utcoffset() for m in back]  # type: ignore[operator]
    found = read(TimeReader(time_format, zone, "later" if fold else "earlier"), *texts)
    assert [f for f, s in zip(found, skipped, strict=True) if not s] == [
        e for e, s in zip(expected, skipped, strict=True) if not s
    ]


def local_texts(start: str, step: timedelta, count: int) -> tuple[list[str], list[int]]:
    """What a logger with local time writes, and the truth."""
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    moments = [first + n * step for n in range(count)]
    texts = [moment.astimezone(ROME).strftime("%Y-%m-%d %H:%M:%S") for moment in moments]
    return texts, [int(moment.timestamp()) * 10**9 for moment in moments]


@pytest.mark.parametrize("minutes", [1, 10, 15, 30, 60])
@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_the_end_of_summer_time_is_told_by_order(minutes: int, cut: int) -> None:
    """Texts of a logger that runs through the end of summer time become times that run on, wherever batches are cut."""
    texts, truth = local_texts("2021-10-30T22:00:00", timedelta(minutes=minutes), 6 * 60 // minutes)
    reader = TimeReader(zone="Europe/Rome")
    found = [time for at in range(0, len(texts), cut) for time in read(reader, *texts[at : at + cut])]
    assert found == truth
    assert sorted(set(found)) == found


def test_rows_that_share_a_second_are_no_step_back() -> None:
    """Ten rows with the same second in the repeated hour are all of one pass."""
    texts, truth = local_texts("2021-10-30T23:30:00", timedelta(seconds=1), 3 * 3600)
    reader = TimeReader(zone="Europe/Rome")
    found = read(reader, *np.repeat(texts, 2).tolist())
    assert found == np.repeat(truth, 2).tolist()


def test_the_repeated_hour_may_be_told_by_hand() -> None:
    """By hand, it is the same hour whatever the order."""
    text = "2021-10-31 02:30:00"
    assert read(TimeReader(zone="Europe/Rome", fold="earlier"), text, text) == [utc("2021-10-31T00:30:00")] * 2
    assert read(TimeReader(zone="Europe/Rome", fold="later"), text, text) == [utc("2021-10-31T01:30:00")] * 2


def test_two_autumns_in_one_file() -> None:
    """The second pass of one year does not leak into the next."""
    reader = TimeReader(zone="Europe/Rome")
    for year in ("2021-10-30T22:00:00", "2022-10-29T22:00:00"):
        texts, truth = local_texts(year, timedelta(minutes=15), 24)
        assert read(reader, *texts) == truth


def test_the_start_of_summer_time_runs_on() -> None:
    """The hour that is skipped in spring leaves no hole in UTC."""
    texts, truth = local_texts("2022-03-26T23:00:00", timedelta(minutes=15), 24)
    assert read(TimeReader(zone="Europe/Rome"), *texts) == truth


def test_unknown_formats_and_zones_are_refused() -> None:
    """What no text could be read with is a mistake in the configuration."""
    with pytest.raises(ValueError, match="time_format 'ISO'"):
        check_time_format("ISO")
    for zone in ("Europe/Roma", "", "../etc/passwd"):
        with pytest.raises(ValueError, match="zone"):
            check_zone(zone)
    check_time_format("%Y")
    check_zone("Europe/Rome")
