"""Every scenario keeps the same promises."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_sim.truth import SCENARIOS
from trueline_sim.truth.scenario import ProcessAnomaly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_sim.truth.scenario import Scenario

START_NS = 1_655_776_800_000_000_000  # 21 June 2022, 02:00 UTC
NS_PER_S = 1_000_000_000
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)


def run(
    scenario: Scenario,
    steps: int,
    *,
    devices: int = 3,
    seed: int = 5,
    interval_s: float | None = None,
    anomalies: Sequence[ProcessAnomaly] = (),
) -> NDArray[np.float64]:
    """The first steps in one go."""
    process = scenario.start(
        devices=devices,
        seed=seed,
        start_ns=START_NS,
        interval_s=interval_s or scenario.interval_s,
        anomalies=anomalies,
    )
    return process.advance(steps)


@every_scenario
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, 600), max_size=5), factor=st.sampled_from([0.01, 0.3, 1.0, 1.7, 6.0]))
def test_cutting_time_elsewhere_changes_no_bit(scenario: Scenario, cuts: list[int], factor: float) -> None:
    """The arrays are equal, not close, wherever time is cut and however finely it is sampled."""
    interval_s = scenario.interval_s * factor
    process = scenario.start(devices=3, seed=5, start_ns=START_NS, interval_s=interval_s)
    edges = [0, *sorted(cuts), 600]
    parts = [process.advance(last - first) for first, last in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), run(scenario, 600, interval_s=interval_s))


@every_scenario
def test_cuts_do_not_matter_across_blocks_of_many_devices(scenario: Scenario) -> None:
    """With so many devices that a block is short, the arrays are still equal."""
    process = scenario.start(devices=3000, seed=5, start_ns=START_NS, interval_s=scenario.interval_s)
    whole = run(scenario, 25, devices=3000)
    parts = [process.advance(n) for n in (1, 9, 2, 13)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@every_scenario
def test_seeds_and_devices_differ(scenario: Scenario) -> None:
    """Another seed makes another world, and no two devices of one are alike; the same seed is the same world."""
    one, again, other = run(scenario, 400), run(scenario, 400), run(scenario, 400, seed=6)
    np.testing.assert_array_equal(one, again)
    for channel, measurand in enumerate(scenario.measurands):
        if measurand.name in {"light", "door_open"}:
            continue  # the night is as dark everywhere, and doors may all be shut
        assert not np.array_equal(one[..., channel], other[..., channel]), measurand.name
        assert not np.array_equal(one[:, 0, channel], one[:, 1, channel]), measurand.name


@every_scenario
def test_truth_is_finite_and_within_what_is_possible(scenario: Scenario) -> None:
    """Over days and many devices nothing is NaN, no share leaves 0 to 100 %, no place is too cold or too hot."""
    interval_s = max(scenario.interval_s, 120.0) if scenario.name != "motion" else scenario.interval_s
    truth = run(scenario, 1500, devices=25, interval_s=interval_s)
    assert truth.shape == (1500, 25, len(scenario.measurands))
    assert np.isfinite(truth).all()
    bounds = {
        "%": (0, 100),
        "Cel": (-40, 160),
        "[ppb]": (0, 20_000),
        "ug/m3": (0, 2000),
        "A": (0, 200),
        "V": (100, 300),
    }
    for channel, measurand in enumerate(scenario.measurands):
        low, high = bounds.get(measurand.unit, (-1e6, 1e6))
        assert truth[..., channel].min() >= low, measurand.name
        assert truth[..., channel].max() <= high, measurand.name


@every_scenario
def test_ranges_are_written_down_and_wide(scenario: Scenario) -> None:
    """Every drawn parameter has bounds, every anomaly has its own, and the upper bound is above the lower."""
    assert all(low < high for low, high in scenario.ranges.values())
    assert {f"anomaly_{kind}" for kind in scenario.anomalies} <= set(scenario.ranges)
    assert len(scenario.ranges) >= 12
    assert scenario.sentence.endswith(".")


@every_scenario
def test_what_a_scenario_does_not_know_is_refused(scenario: Scenario) -> None:
    """An unknown anomaly, a device that is not there, and an interval of nothing are refused."""
    wrong = ProcessAnomaly("rust", 0, START_NS, START_NS + 1, 0.5)
    beyond = ProcessAnomaly(scenario.anomalies[0], 3, START_NS, START_NS + 1, 0.5)
    for anomaly in (wrong, beyond):
        with pytest.raises(ValueError, match="devices know"):
            run(scenario, 1, anomalies=[anomaly])
    with pytest.raises(ValueError, match="must be positive"):
        run(scenario, 1, interval_s=-1.0)
    with pytest.raises(ValueError, match="at least one"):
        run(scenario, 1, devices=0)


# What each anomaly moves, and which way; the hours it lasts.
MOVES = {
    ("greenhouse", "irrigation_stuck"): ("soil_moisture", +1, 6.0),
    ("greenhouse", "irrigation_blocked"): ("soil_moisture", -1, 72.0),
    ("greenhouse", "door_left_open"): ("air_temperature", -1, 12.0),
    ("greenhouse", "heater_off"): ("air_temperature", -1, 12.0),
    ("machine", "bearing_wear"): ("acceleration_rms", +1, 0.5),
    ("machine", "imbalance"): ("acceleration_rms", +1, 0.5),
    ("water_loop", "leak"): ("tank_level", -1, 0.2),
    ("water_loop", "cavitation"): ("vibration_1", +1, 0.2),
    ("water_loop", "valve_closing"): ("flow", -1, 0.2),
    ("cold_chain", "door_left_open"): ("air_temperature", +1, 3.0),
    ("cold_chain", "compressor_failure"): ("goods_temperature", +1, 8.0),
    ("cold_chain", "refrigerant_loss"): ("goods_temperature", +1, 48.0),
    ("air_quality", "traffic_jam"): ("no2", +1, 3.0),
    ("air_quality", "smoke"): ("pm2_5", +1, 3.0),
    ("motion", "stuck"): ("speed", -1, 0.02),
    ("motion", "loose_mount"): ("acceleration", 0, 0.02),
}


def test_every_anomaly_is_told_what_it_moves() -> None:
    """The table below covers every scenario's every anomaly."""
    assert set(MOVES) == {(name, kind) for name, scenario in SCENARIOS.items() for kind in scenario.anomalies}


@pytest.mark.parametrize(("name", "kind"), MOVES, ids=lambda word: word)
def test_an_anomaly_moves_its_channel_and_nothing_before_its_start(name: str, kind: str) -> None:
    """No bit changes before the start nor at any other device; afterwards the right channel goes the right way."""
    scenario = SCENARIOS[name]
    channel, sign, hours = MOVES[name, kind]
    start_ns = START_NS if kind != "heater_off" else START_NS + 208 * 86_400 * NS_PER_S  # a January night
    interval_s = scenario.interval_s
    quiet, during = 137, int(hours * 3600 / interval_s)
    begin_ns = start_ns + int((quiet - 0.5) * interval_s * NS_PER_S)
    anomalies = [
        ProcessAnomaly(kind, device, begin_ns, begin_ns + int(hours * 3600 * NS_PER_S), 1.0) for device in range(5)
    ]

    def go(what: Sequence[ProcessAnomaly]) -> NDArray[np.float64]:
        process = scenario.start(devices=6, seed=8, start_ns=start_ns, interval_s=interval_s, anomalies=what)
        return process.advance(quiet + during)

    sound, broken = go(()), go(anomalies)
    np.testing.assert_array_equal(broken[:quiet], sound[:quiet])
    np.testing.assert_array_equal(broken[:, 5], sound[:, 5])
    index = [measurand.name for measurand in scenario.measurands].index(channel)
    moved = (broken - sound)[quiet + during // 2 :, :5, index]
    if sign:
        assert np.mean(sign * moved.mean(axis=0) >= 0) >= 0.8
        assert np.mean(sign * moved.mean(axis=0) > 1e-3 * sound[..., index].std()) >= 0.6
    else:
        assert broken[quiet:, :5, index].std() > 1.5 * sound[quiet:, :5, index].std()


@pytest.mark.parametrize("name", ["water_loop", "cold_chain", "air_quality"])
def test_an_anomaly_of_no_magnitude_is_slight(name: str) -> None:
    """Magnitude 0 is the low end of the kind's range, which moves less than magnitude 1."""
    scenario = SCENARIOS[name]
    end_ns = START_NS + int(500 * scenario.interval_s * NS_PER_S)
    sound = run(scenario, 500)
    for kind in scenario.anomalies:
        slight, strong = (
            np.abs(run(scenario, 500, anomalies=[ProcessAnomaly(kind, 1, START_NS, end_ns, size)]) - sound).sum()
            for size in (0.0, 1.0)
        )
        assert 0 < slight < strong, kind
