from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import Room

from trueline_sim.block import Grid
from trueline_sim.faults.draw import RANGES, draw_anomalies, draw_faults
from trueline_sim.faults.fault import ALL_CHANNELS, ROW_KINDS, VALUE_KINDS

GRID = Grid(1_700_000_000_000_000_000, 10.0, 20_000)


def test_every_kind_has_a_sentence_and_a_range() -> None:
    """Label file, ranges and effects speak of the same kinds."""
    assert set(RANGES) == set(VALUE_KINDS) | set(ROW_KINDS)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), channels=st.integers(1, 4), rate=st.floats(0.1, 60.0))
def test_faults_are_drawn_from_what_is_written_down(seed: int, channels: int, rate: float) -> None:
    """Kinds, durations, magnitudes and places are within their ranges, whatever the seed."""
    for fault in draw_faults(channels=channels, devices=5, grid=GRID, seed=seed, per_10000_rows=rate):
        limits = RANGES[fault.kind]
        assert (fault.channel == ALL_CHANNELS) == (fault.kind in ROW_KINDS)
        assert fault.channel < channels
        assert GRID.start_ns <= fault.start_ns < fault.end_ns <= GRID.time_ns(GRID.steps)
        assert fault.end_ns - fault.start_ns <= round(limits.steps[1]) * 10_000_000_000
        if fault.kind != "swapped_channels":
            size = abs(fault.magnitude) / (10.0 if limits.of_interval else 1.0)
            assert limits.magnitude[0] * 0.999 <= size <= limits.magnitude[1] * 1.001


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_channel_has_one_fault_at_a_time(seed: int) -> None:
    """Faults of one channel, and of one device's rows, neither overlap nor touch."""
    faults = draw_faults(channels=3, devices=4, grid=GRID, seed=seed, per_10000_rows=50.0)
    for place in {(fault.device, fault.channel) for fault in faults}:
        here = [fault for fault in faults if (fault.device, fault.channel) == place]
        assert all(one.end_ns < other.start_ns for one, other in pairwise(here))


def test_the_rate_is_the_one_asked_for_and_all_kinds_come() -> None:
    """About so many faults for each 10,000 rows, less those that found no place."""
    faults = draw_faults(channels=4, devices=200, grid=GRID, seed=1, per_10000_rows=5.0)
    assert len(faults) == pytest.approx(200 * 2 * 5.0, rel=0.15)
    assert set(Counter(fault.kind for fault in faults)) == set(RANGES)
    assert draw_faults(channels=4, devices=200, grid=GRID, seed=1, per_10000_rows=0.0) == []


def test_seeds_differ_and_repeat() -> None:
    """The same seed draws the same schedule, another one another."""
    drawn = [draw_faults(channels=2, devices=3, grid=GRID, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_anomalies_are_the_processs_own() -> None:
    """Kinds are the scenario's, magnitudes 0 to 1, none is among the faults, and none overlap on a device."""
    anomalies = draw_anomalies(Room(), devices=300, grid=GRID, seed=1)
    assert 100 < len(anomalies) < 200
    assert {anomaly.kind for anomaly in anomalies} == {"window"}
    assert not {anomaly.kind for anomaly in anomalies} & set(RANGES)
    assert all(0.0 <= anomaly.magnitude <= 1.0 for anomaly in anomalies)
    for device in range(300):
        here = [anomaly for anomaly in anomalies if anomaly.device == device]
        assert all(one.end_ns < other.start_ns for one, other in pairwise(here))
    assert draw_anomalies(Room(anomalies=()), devices=300, grid=GRID, seed=1) == []
