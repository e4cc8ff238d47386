"""Agreement with ioos_qc, the reference implementation of QARTOD, on random and on real data.

Differences by intent, each shown below: (1) NaN is MISSING whatever other tests say of the row, where ioos_qc lets
UNKNOWN, and any other flag, win over MISSING; (2) infinity is no measurement and FAILs always, where ioos_qc calls it
missing unless a range test says FAIL; (3) before there is anything to compare a value with it is NOT_EVALUATED, where
ioos_qc says GOOD; (4) rate of change compares with the
last usable value, not with the row before, and a value that FAILed is not what the next is compared with; (5) elapsed
times are not cut to whole seconds; (6) flat line and attenuated signal count usable values, not time; the flat line's
tolerance is inclusive and is measured from the value judged; (7) spike is Hampel's identifier, which does not blame the
neighbours of a spike; (8) a gap is SUSPECT, not FAIL: the reading behind it is as good as any; (9) of rows that
share a time the first is kept and the later FAIL, where ioos_qc suspects all of them.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.pipeline import Pipeline
from trueline_edge.stages import (
    Attenuated,
    Band,
    Climatology,
    FlatLine,
    GrossRange,
    Missing,
    RateOfChange,
    Spike,
    Timing,
)
from trueline_wire.readings import Channel, Readings, Schema, worst_flag

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

argo = pytest.importorskip("ioos_qc.argo")
qartod = pytest.importorskip("ioos_qc.qartod")

SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="a"),))
START_NS = 1_600_000_000 * 10**9
NAN = float("nan")


def ours(configs: Any, value: NDArray[np.float64], time_ns: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
    time_ns = START_NS + np.arange(len(value)) * 10**9 if time_ns is None else time_ns
    pipeline = Pipeline(configs if isinstance(configs, list) else [configs], SCHEMA)
    out = [pipeline(Readings.raw(SCHEMA, time_ns, value.reshape(-1, 1))), *pipeline.flush()]
    flag: NDArray[np.uint8] = Readings.concatenate(out).flag[:, 0]
    return flag


def moments(n: int, step_s: int = 1) -> NDArray[Any]:
    return (START_NS + np.arange(n) * step_s * 10**9).view("datetime64[ns]")


def theirs(flags: Any) -> NDArray[np.uint8]:
    return np.ma.getdata(flags).astype(np.uint8)


def wandering(seed: int, n: int = 600, holes: float = 0.02) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    value = np.round(rng.normal(size=n).cumsum() * 0.5)
    value[rng.random(n) < 0.02] += 30.0
    value[rng.random(n) < holes] = NAN
    return value


def real(data_folder: Path) -> NDArray[np.float64]:
    """One channel of a greenhouse, dirty as it is; 15 minutes apart."""
    path = data_folder / "greenhouse_verona" / "Greenhouse_1" / "Temp_4ch_2.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return np.array([float(row[5] or NAN) for row in list(csv.reader(file))[1:]])


SEEDS = pytest.mark.parametrize("seed", range(5))


@SEEDS
def test_gross_range_agrees(seed: int) -> None:
    """Flags are equal cell by cell, missing ones too."""
    value = wandering(seed)
    config = [Missing(), GrossRange(minimum=-8, maximum=9, suspect_minimum=-4, suspect_maximum=6)]
    assert np.array_equal(ours(config, value), theirs(qartod.gross_range_test(value, (-8, 9), (-4, 6))))


def test_gross_range_agrees_on_a_real_channel(data_folder: Path) -> None:
    """The greenhouse's channel with values up to 28,264 Cel."""
    value = real(data_folder)
    config = [Missing(), GrossRange(minimum=-20, maximum=60, suspect_minimum=-5, suspect_maximum=45)]
    found = ours(config, value)
    assert np.array_equal(found, theirs(qartod.gross_range_test(value, (-20, 60), (-5, 45))))
    assert (found == 4).sum() > 500


def test_infinity_differs_by_intent_where_there_are_no_limits() -> None:
    """It fails the range in both; where a test has no limits for it, it fails with us and is missing with ioos_qc."""
    value = np.array([1.0, 2.0, np.inf, 2.0])
    assert ours([Missing(), GrossRange(maximum=9)], value).tolist() == [1, 1, 4, 1]
    assert theirs(qartod.gross_range_test(value, (0, 9))).tolist() == [1, 1, 4, 1]
    assert ours([Missing(), RateOfChange(suspect_per_s=9)], value).tolist() == [1, 1, 4, 1]
    assert theirs(qartod.rate_of_change_test(value, moments(4), 9))[2] == 9


@SEEDS
def test_rate_of_change_agrees(seed: int) -> None:
    """A suspect limit on data without holes: equal but for the first value, of which nothing can be said."""
    value = wandering(seed, holes=0.0)
    expected = theirs(qartod.rate_of_change_test(value, moments(600, 7), threshold=0.2))
    found = ours(RateOfChange(suspect_per_s=0.2), value, START_NS + np.arange(600) * 7 * 10**9)
    assert (found[0], expected[0]) == (2, 1)
    assert np.array_equal(found[1:], expected[1:])


def test_rate_of_change_agrees_on_a_real_channel(data_folder: Path) -> None:
    """The greenhouse's, on a regular clock."""
    value = real(data_folder)
    expected = theirs(qartod.rate_of_change_test(value, moments(len(value), 900), threshold=0.01))
    found = ours(RateOfChange(suspect_per_s=0.01), value, START_NS + np.arange(len(value)) * 900 * 10**9)
    assert np.array_equal(found[1:], expected[1:])
    assert (found == 3).sum() > 40


def test_rate_of_change_differs_by_intent_behind_an_outlier_and_a_hole() -> None:
    """The way back is not blamed, and a hole does not hide a leap."""
    outlier, hole = np.array([0, 0, 50.0, 0, 0]), np.array([0, 0, NAN, 50.0, 50.0])
    config = RateOfChange(suspect_per_s=1.0, fail_per_s=2.0)
    their = [theirs(qartod.rate_of_change_test(v, moments(5), 1.0, 2.0)).tolist() for v in (outlier, hole)]
    assert ours(config, outlier).tolist() == [2, 1, 4, 1, 1]
    assert their[0] == [1, 1, 4, 4, 1]
    assert ours(config, hole).tolist() == [2, 1, 2, 4, 4]
    assert their[1] == [1, 1, 9, 1, 1]


@SEEDS
def test_flat_line_agrees(seed: int) -> None:
    """On whole numbers, where a tolerance of less than one step means equal, once there are values enough."""
    value = np.random.default_rng(seed).integers(0, 2, 600).astype(float)
    expected = theirs(qartod.flat_line_test(value, moments(600), 3, 5, 0.5))
    found = ours(FlatLine(tolerance=0.4), value)
    assert found[:3].tolist() == [2, 2, 2]
    assert np.array_equal(found[3:], expected[3:])
    assert {1, 3, 4} == set(found[3:].tolist())


@SEEDS
@pytest.mark.parametrize("measure", ["std", "range"])
def test_attenuated_signal_agrees(seed: int, measure: Any) -> None:
    """A window of seconds on a regular clock is a window of values."""
    value = np.random.default_rng(seed).normal(size=600) * np.repeat([1.0, 0.4, 0.1], 200)
    limits = {"std": (0.5, 0.2), "range": (2.0, 0.6)}[measure]
    expected = theirs(
        qartod.attenuated_signal_test(value, moments(600), *limits, test_period=30, min_obs=30, check_type=measure)
    )
    found = ours(Attenuated(suspect=limits[0], fail=limits[1], window=30, measure=measure), value)
    assert np.array_equal(found, expected)
    assert {1, 2, 3, 4} == set(found.tolist())


def test_attenuated_signal_agrees_on_a_real_channel(data_folder: Path) -> None:
    """The greenhouse's: a day of 96 values."""
    value = real(data_folder)
    expected = theirs(
        qartod.attenuated_signal_test(value, moments(len(value), 900), 3.0, 1.5, test_period=86_400, min_obs=96)
    )
    assert np.array_equal(ours(Attenuated(suspect=3.0, fail=1.5, window=96), value), expected)


@SEEDS
def test_climatology_agrees(seed: int) -> None:
    """Months and hours, later bands over earlier ones, and moments that none covers."""
    rng = np.random.default_rng(seed)
    value = rng.normal(20, 10, 600)
    time_ns = START_NS + rng.integers(0, 400 * 86_400, 600) * 10**9
    config = qartod.ClimatologyConfig()
    config.add(tspan=(6, 8), vspan=(15, 30), fspan=(5, 40), period="month")
    config.add(tspan=(0, 5), vspan=(10, 20), fspan=(0, 35), period="hour")
    expected = theirs(qartod.climatology_test(config, value, time_ns.view("datetime64[ns]"), np.full(600, NAN)))
    summer = Band(months=(6, 7, 8), minimum=15, maximum=30, fail_minimum=5, fail_maximum=40)
    night = Band(hours=(0, 6), minimum=10, maximum=20, fail_minimum=0, fail_maximum=35)
    found = ours(Climatology(bands=(summer, night)), value, time_ns)
    assert np.array_equal(found, expected)
    assert {1, 2, 3, 4} == set(found.tolist())


@SEEDS
def test_gaps_agree(seed: int) -> None:
    """The same rows stand behind a gap; ours are SUSPECT, theirs FAIL, and of the first nothing is said."""
    steps = np.random.default_rng(seed).integers(1, 4 * 3600, 300)
    time_ns = START_NS + steps.cumsum() * 10**9
    expected = theirs(qartod.time_gap_test(time_ns.view("datetime64[ns]"), fail_span=2))
    found = ours(Timing(gap_s=7200.0), np.zeros(300), time_ns)
    assert np.array_equal(found[1:] == 3, expected[1:] == 4)


@SEEDS
def test_duplicate_times_agree(seed: int) -> None:
    """Each time that ioos_qc finds more than once fails from the second time on, in data in order."""
    time_ns = START_NS + np.sort(np.random.default_rng(seed).integers(0, 300, 300)) * 10**9
    expected = theirs(argo.duplicate_timestamp_test(time_ns.view("datetime64[ns]"))) == 3
    first = np.concatenate([[True], np.diff(time_ns) > 0])
    assert np.array_equal(ours(Timing(), np.zeros(300), time_ns) == 4, expected & ~first)


@SEEDS
def test_both_find_the_spikes(seed: int) -> None:
    """What stands out by far is flagged by both; ioos_qc flags its neighbours too, we nobody else."""
    value = np.sin(2.4 * np.arange(600))
    wild = 20 + np.arange(20) * 25 + np.random.default_rng(seed).integers(0, 5, 20)
    value[wild] += 100.0
    expected = np.flatnonzero(theirs(qartod.spike_test(value, suspect_threshold=20, fail_threshold=40)) > 2)
    for mode in ("causal", "centred"):
        found = np.flatnonzero(ours(Spike(mode=mode), value) > 2)
        assert found.tolist() == wild.tolist()
    assert expected.tolist() == sorted({*wild.tolist(), *(wild - 1).tolist(), *(wild + 1).tolist()})


@given(st.lists(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=3, max_size=3), min_size=1, max_size=30))
def test_flags_aggregate_by_the_published_rule(rows: list[list[int]]) -> None:
    """Law: not evaluated < pass < suspect < fail, the worst wins, as `qartod_compare` has it."""
    flags = np.array(rows, np.uint8)
    expected = theirs(qartod.qartod_compare(list(flags.T)))
    assert np.array_equal(worst_flag(flags, axis=1), expected)


def test_missing_aggregates_by_intent_as_the_worst() -> None:
    """A cell without a value: all of ioos_qc's tests say MISSING of it, and so do we, even beside UNKNOWN or FAIL."""
    missing = np.array([[9, 9, 9], [9, 2, 9], [9, 4, 9]], np.uint8)
    assert worst_flag(missing, axis=1).tolist() == [9, 9, 9]
    assert theirs(qartod.qartod_compare(list(missing.T))).tolist() == [9, 2, 4]


def test_a_whole_chain_aggregates_as_the_reference_does(data_folder: Path) -> None:
    """Range and climatology over the real channel: one flag a cell, equal to ioos_qc's aggregate."""
    value = real(data_folder)
    value[::97] = NAN
    n = len(value)
    always = [{"tspan": (0, 23), "vspan": (-50, 100), "period": "hour"}]
    results = [
        qartod.gross_range_test(value, (-500, 30_000), (-20, 60)),
        qartod.climatology_test(always, value, moments(n, 900), np.full(n, NAN)),
    ]
    expected = theirs(qartod.qartod_compare([theirs(result) for result in results]))
    stages = [
        Missing(),
        GrossRange(minimum=-500, maximum=30_000, suspect_minimum=-20, suspect_maximum=60),
        Climatology(bands=(Band(minimum=-50, maximum=100),)),
    ]
    found, there = ours(stages, value, START_NS + np.arange(n) * 900 * 10**9), ~np.isnan(value)
    assert np.array_equal(found[there], expected[there])
    assert set(found[there].tolist()) == {1, 3}
    assert set(found[~there].tolist()) == {9}  # by intent: ioos_qc's climatology calls some of them GOOD
