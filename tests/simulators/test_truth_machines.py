"""Bearings, pumps and vehicles against formulas and geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.truth import SCENARIOS
from trueline_sim.truth.blocks import Grid
from trueline_sim.truth.draws import Levels, Spells, Wander, relax
from trueline_sim.truth.machine import bearing_orders
from trueline_sim.truth.motion import RANGES
from trueline_sim.truth.scenario import ProcessAnomaly
from trueline_sim.truth.water_loop import WATT_PER_BAR_L_MIN, loop_flow_l_min, pump_head_bar, pump_power_w

if TYPE_CHECKING:
    from numpy.typing import NDArray

START_NS = 1_655_769_600_000_000_000


def column(name: str, measurand: str) -> int:
    """Where a measurand stands."""
    return [each.name for each in SCENARIOS[name].measurands].index(measurand)


def test_bearing_frequencies_are_those_published_for_skf_6205() -> None:
    """Case Western's figures for its drive-end bearing: BPFO 3.5848, BPFI 5.4152, FTF 0.39828, twice BSF 4.7135."""
    orders = bearing_orders(np.array([9.0]), np.array([0.3126 / 1.537]), np.array([0.0]))
    found = [float(order[0]) for order in (orders.outer, orders.inner, orders.cage, 2 * orders.ball)]
    np.testing.assert_allclose(found, [3.5848, 5.4152, 0.39828, 4.7135], atol=0.002)
    assert found[0] + found[1] == pytest.approx(9.0)  # a law: the balls' passes of both races


def test_a_worn_bearing_shows_its_frequency_in_the_envelope() -> None:
    """At 10 kHz the strikes of wear stand in the envelope's spectrum at a fault frequency; of a sound one, none."""
    scenario, interval_s, devices = SCENARIOS["machine"], 1e-4, 12
    worn = [ProcessAnomaly("bearing_wear", d, START_NS - 10**12, START_NS + 10**11, 1.0) for d in range(devices)]

    def peaks(anomalies: list[ProcessAnomaly]) -> float:
        process = scenario.start(devices=devices, seed=2, start_ns=START_NS, interval_s=interval_s, anomalies=anomalies)
        wave = process.advance(20_000)[..., 0]
        envelope = np.abs(np.diff(wave, axis=0)) ** 2
        power = (
            np.abs(np.fft.rfft((envelope - envelope.mean(axis=0)) * np.hanning(len(envelope))[:, None], axis=0)) ** 2
        )
        speed = process.advance(1)[0, :, 5]
        found = []
        for d in range(devices):
            orders = process.orders  # type: ignore[attr-defined]
            for order in (orders.outer[d], orders.inner[d], 2 * orders.ball[d]):
                at = round(order * speed[d] * 2.0)
                found.append(power[at - 3 : at + 4, d].max() / np.median(power[20:2000, d]))
        return float(np.median(np.sort(np.reshape(found, (devices, 3)), axis=1)[:, -1]))

    assert peaks(worn) > 5 * peaks([])


def test_the_waveform_has_the_rms_that_the_slow_channel_tells() -> None:
    """Over two seconds at 10 kHz, the waveform's own root mean square is the slow channel's, within some per cent."""
    process = SCENARIOS["machine"].start(devices=30, seed=2, start_ns=START_NS, interval_s=1e-4)
    truth = process.advance(20_000)
    wave = np.sqrt((truth[..., 0] ** 2).mean(axis=0))
    told = truth[..., 1].mean(axis=0)
    assert np.median(np.abs(wave / told - 1)) < 0.02
    assert np.abs(wave / told - 1).max() < 0.08


def test_the_shaft_stands_in_the_spectrum_at_its_own_speed() -> None:
    """The strongest line below 1.5 times the nominal speed is the shaft's."""
    process = SCENARIOS["machine"].start(devices=10, seed=3, start_ns=START_NS, interval_s=2e-3)
    truth = process.advance(4000)
    power = np.abs(np.fft.rfft(truth[..., 0] * np.hanning(4000)[:, None], axis=0)) ** 2
    speed = truth[..., 5].mean(axis=0)
    line = [power[8 : int(1.5 * s * 8), d].argmax() / 8 + 1 for d, s in enumerate(speed)]
    assert np.mean(np.abs(np.array(line) - speed) < 0.5) >= 0.8


@given(
    speed=st.floats(0.3, 1.5),
    shutoff=st.floats(0.3, 4),
    droop=st.floats(1e-6, 1e-3),
    resistance=st.floats(1e-6, 1e-2),
)
def test_a_pump_obeys_the_laws_of_affinity(speed: float, shutoff: float, droop: float, resistance: float) -> None:
    """In one loop, flow goes with speed, head with its square, power with its cube; the pump's head is the loop's."""
    one, n = np.ones(1), np.array([speed])
    given_ = shutoff * one, droop * one
    flow_1, flow_n = (loop_flow_l_min(s, *given_, resistance * one) for s in (one, n))
    head_1, head_n = (pump_head_bar(q, s, *given_) for q, s in ((flow_1, one), (flow_n, n)))
    power_1, power_n = (
        pump_power_w(q, h, s, 90 * one, 0.6 * one) for q, h, s in ((flow_1, head_1, one), (flow_n, head_n, n))
    )
    np.testing.assert_allclose(flow_n, flow_1 * speed, rtol=1e-9)
    np.testing.assert_allclose(head_n, head_1 * speed**2, rtol=1e-6)
    np.testing.assert_allclose(power_n, power_1 * speed**3, rtol=1e-6)
    np.testing.assert_allclose(head_1, resistance * flow_1**2, rtol=1e-6)
    assert power_1 > WATT_PER_BAR_L_MIN * flow_1 * head_1


def test_a_leak_empties_the_tank_by_what_it_loses() -> None:
    """Water is conserved: the level falls by what flow goes missing, until the tank is empty."""
    scenario, steps = SCENARIOS["water_loop"], 300
    leak = [ProcessAnomaly("leak", 0, START_NS, START_NS + 10**13, 0.0)]
    sound, leaking = (
        scenario.start(devices=1, seed=6, start_ns=START_NS, interval_s=10.0, anomalies=what).advance(steps)[:, 0]
        for what in ((), leak)
    )
    flow, level = column("water_loop", "flow"), column("water_loop", "tank_level")
    process = scenario.start(devices=1, seed=6, start_ns=START_NS, interval_s=10.0)
    litres = float(process.p["water_l"][0])  # type: ignore[attr-defined]
    missing_l = np.cumsum(sound[:, flow] - leaking[:, flow]) * 10.0 / 60.0
    lost_l = (leaking[0, level] - leaking[:, level]) / 100.0 * litres
    wet = leaking[:, level] > 10.0
    np.testing.assert_allclose(lost_l[wet][1:], (missing_l - missing_l[0])[wet][1:], rtol=0.1, atol=0.3)
    assert leaking[:, level].min() >= 5.0


def test_a_vehicle_moves_as_fast_as_it_says_and_its_ranges_are_geometry() -> None:
    """Distance over time is speed; squares of ranges differ from squares of positions by the anchors' height alone."""
    truth = SCENARIOS["motion"].start(devices=15, seed=2, start_ns=START_NS, interval_s=0.1).advance(3000)
    x, y, speed = (truth[..., column("motion", name)] for name in ("x", "y", "speed"))
    went = np.hypot(np.diff(x, axis=0), np.diff(y, axis=0)) / 0.1
    np.testing.assert_allclose(went, 0.5 * (speed[1:] + speed[:-1]), atol=0.02)
    assert (speed >= 0).all()
    ranges = truth[..., column("motion", "range_1") :]
    for k in range(1, 4):
        # differences of squared ranges are linear in x and y: fit them, and nothing is left over
        for d in range(15):
            left = ranges[:, d, 0] ** 2 - ranges[:, d, k] ** 2
            base = np.stack([x[:, d], y[:, d], np.ones(len(x))], axis=1)
            assert np.abs(left - base @ np.linalg.lstsq(base, left, rcond=None)[0]).max() < 1e-6
    assert np.abs(x).max() < RANGES["hall_x_m"][1]


@given(interval_s=st.floats(1e-4, 5000), step_s=st.floats(0.05, 600))
def test_nodes_and_samples_are_whole_multiples(interval_s: float, step_s: float) -> None:
    """Physics is never coarser than asked for, and samples fall on nodes or divide the way between them evenly."""
    grid = Grid(interval_s, step_s)
    assert grid.samples == 1 or grid.nodes == 1
    assert grid.step_s <= step_s * (1 + 1e-6)
    assert grid.step_s * grid.nodes == pytest.approx(interval_s * grid.samples)


def test_a_lag_is_the_textbook_recursion() -> None:
    """Every way of computing it agrees with three lines of Python, and the state carries over."""
    rng = np.random.default_rng(1)
    for weight, devices in ((0.2, 4), (0.2, 2000), (np.array([0.1, 0.2, 0.5, 1.0]), 4)):
        target = rng.normal(size=(50, devices))
        state, wanted = np.ones(devices), []
        for row in target:
            state = state + weight * (row - state)
            wanted.append(state)
        carried = np.ones(devices)
        found = np.concatenate([relax(target[:20], carried, weight), relax(target[20:], carried, weight)])
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def _ac(values: NDArray[np.float64], lag: int) -> float:
    return float((values[lag:] * values[:-lag]).mean() / values.var())


def test_what_wanders_has_the_memory_it_was_given() -> None:
    """Mean 0, variance 1, and a correlation of exp(-lag / memory); smoothing takes roughness, not variance."""
    for smooth_s in (0.0, 20.0):
        wander = Wander(1, "test", devices=200, step_s=2.0, memory_s=100.0, smooth_s=smooth_s)
        values = wander.advance(3000)
        assert abs(values.mean()) < 0.05
        assert values.std() == pytest.approx(1.0, abs=0.05)
        if not smooth_s:
            assert _ac(values, 50) == pytest.approx(np.exp(-1), abs=0.03)
            rough = np.diff(values, axis=0).std()
        else:
            assert np.diff(values, axis=0).std() < 0.6 * rough


def test_levels_hold_and_spells_last_as_long_as_told() -> None:
    """Levels are uniform and hold their mean time; the share of time inside spells is rate times duration."""
    levels = Levels(1, "test", devices=100, step_s=1.0, hold_s=np.full(100, 50.0)).advance(5000)
    assert levels.mean() == pytest.approx(0.5, abs=0.02)
    assert (np.diff(levels, axis=0) != 0).mean() == pytest.approx(1 / 50, rel=0.05)
    spells = Spells(1, "test", devices=400, step_s=1.0, duration_s=np.full(400, 20.0))
    share = spells.advance(5000, np.full((1, 400), 1 / 1000.0))
    assert share.mean() == pytest.approx(0.02, rel=0.1)
    assert share.min() >= 0
    assert share.max() <= 1
