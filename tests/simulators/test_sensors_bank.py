from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_sim.randomness import stream
from trueline_sim.sensors.bank import Flicker, SensorBank, bow, quantise
from trueline_sim.sensors.catalogue import CATALOGUE
from trueline_sim.sensors.model import SensorModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDEAL = SensorModel(part="ideal", quantity="x", unit="1", source="test", range_low=-100, range_high=100)
ALL_EFFECTS = replace(
    IDEAL, resolution=0.01, noise_density=0.1, flicker=0.1, bias_max=0.5, gain_error_max=0.02, nonlinearity=0.3,
    temperature_coefficient=0.01, humidity_coefficient=0.01, hysteresis=0.2, response_s=30.0, self_heating=0.1,
    drift_walk=0.5, ageing=10.0, interval_min_s=1.0,
)  # fmt: skip


def bank(model: SensorModel, *, devices: int = 5, seed: int = 1, interval_s: float = 10.0) -> SensorBank:
    return SensorBank(model, devices=devices, seed=seed, name="x", interval_s=interval_s)


def wandering(steps: int, devices: int = 5) -> NDArray[np.float64]:
    return np.cumsum(stream(9, "truth").standard_normal((steps, devices)), axis=0)


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 60), max_size=8).map(sorted), seed=st.integers(0, 2**32))
def test_readings_do_not_depend_on_where_time_is_cut(cuts: list[int], seed: int) -> None:
    """All effects on, any cuts: the readings are the same, bit for bit."""
    truth, warm, damp = wandering(60), 20 + wandering(60), 50 + wandering(60)
    whole = bank(ALL_EFFECTS, seed=seed).observe(truth, warm, damp)
    pieces = bank(ALL_EFFECTS, seed=seed)
    slices = [slice(low, high) for low, high in zip([0, *cuts], [*cuts, 60], strict=True)]
    cut = np.concatenate([pieces.observe(truth[s], warm[s], damp[s]) for s in slices])
    np.testing.assert_array_equal(whole, cut)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_part_reads_the_same_wherever_time_is_cut(name: str) -> None:
    """Every part of the catalogue, read at once or in two pieces."""
    model = CATALOGUE[name]
    truth = np.clip(sum(model.span) / 2 + wandering(40), *model.span)
    two = bank(model)
    np.testing.assert_array_equal(
        bank(model).observe(truth), np.concatenate([two.observe(truth[:13]), two.observe(truth[13:])])
    )


def test_another_seed_or_channel_is_another_individual() -> None:
    """Seeds and channel names give sensors of their own, and the truth is left as it was."""
    truth = wandering(20)
    before = truth.copy()
    read = bank(ALL_EFFECTS).observe(truth)
    assert not np.array_equal(read, bank(ALL_EFFECTS, seed=2).observe(truth))
    other = SensorBank(ALL_EFFECTS, devices=5, seed=1, name="x_2", interval_s=10.0)
    assert not np.array_equal(read, other.observe(truth))
    np.testing.assert_array_equal(truth, before)


def test_a_sensor_without_flaws_shows_the_truth() -> None:
    """Figures of zero mean that the effect is not there."""
    truth = wandering(30)
    np.testing.assert_array_equal(bank(IDEAL).observe(truth), truth)


def test_an_effect_at_a_time() -> None:
    """Bias, gain, bow, surroundings, ageing and self-heating act as their definitions say."""
    truth = np.full((3, 5), 50.0)
    cases = {
        "bias_max": lambda b: b.individuals.bias,
        "gain_error_max": lambda b: b.individuals.gain_error * 50.0,
        "nonlinearity": lambda b: b.individuals.nonlinearity * bow(np.array(0.5)),
        "temperature_coefficient": lambda b: b.individuals.temperature_coefficient * 10.0,
        "humidity_coefficient": lambda b: b.individuals.humidity_coefficient * -20.0,
        "self_heating": lambda b: b.individuals.self_heating,
        "ageing": lambda b: b.individuals.ageing * np.arange(3)[:, None] * (10.0 / 31_557_600.0),
        "hysteresis": lambda b: b.individuals.play,
    }
    for field, expected in cases.items():
        sensor = bank(replace(IDEAL, **{field: 0.5}))
        read = sensor.observe(truth, np.full((3, 5), 35.0), np.full((3, 5), 30.0))
        np.testing.assert_allclose(read - truth, np.broadcast_to(expected(sensor), (3, 5)), atol=1e-12)
        assert np.abs(read - truth).max() > 0.0


def test_lag_follows_a_step_as_a_first_order_system() -> None:
    """After one time constant 63 % of a step is there; the first reading has no memory."""
    truth = np.zeros((20, 5))
    truth[5:] = 1.0
    read = bank(replace(IDEAL, response_s=50.0)).observe(truth)
    np.testing.assert_allclose(read[:5], 0.0, atol=1e-12)
    np.testing.assert_allclose(read[5 + 4], 1 - math.exp(-1), rtol=1e-9)


def test_play_follows_the_textbook() -> None:
    """The output stays within the half-width of the input, and moves only when it has to."""
    truth = wandering(200)
    sensor = bank(replace(IDEAL, hysteresis=1.5))
    read = sensor.observe(truth)
    last = truth[0] + sensor.individuals.play
    for now, expected in zip(truth, read, strict=True):
        last = np.clip(last, now - 1.5, now + 1.5)
        np.testing.assert_array_equal(last, expected)


def test_noise_has_its_standard_deviation_and_no_memory() -> None:
    """White noise: density times the root of the bandwidth."""
    read = bank(replace(IDEAL, noise_density=0.2, bandwidth_hz=25.0), devices=50).observe(np.zeros((4000, 50)))
    assert read.std() == pytest.approx(1.0, rel=0.01)
    assert abs(np.mean(read[1:] * read[:-1])) < 0.01


def test_flicker_is_one_over_f_and_starts_as_if_it_had_always_run() -> None:
    """Standard deviation 1 from the first step on; power falls about as 1/f over two and a half decades."""
    devices, steps = 400, 4096
    noise = Flicker(devices, stream(3, "flicker"))(np.empty((steps, devices)))
    assert noise[:8].std() == pytest.approx(1.0, rel=0.05)
    assert noise[-8:].std() == pytest.approx(1.0, rel=0.05)
    power = np.mean(np.abs(np.fft.rfft(noise, axis=0)) ** 2, axis=1)
    frequency = np.fft.rfftfreq(steps)
    used = (frequency > 1 / 2000) & (frequency < 0.15)
    slope = np.polyfit(np.log(frequency[used]), np.log(power[used]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.15)


def test_a_walk_grows_as_the_root_of_time() -> None:
    """After a day its standard deviation is drift_walk."""
    read = bank(replace(IDEAL, drift_walk=0.5), devices=2000, interval_s=864.0).observe(np.zeros((100, 2000)))
    assert read[-1].std() == pytest.approx(0.5, rel=0.05)
    assert read[24].std() == pytest.approx(0.25, rel=0.05)


@given(cut=st.integers(0, 20))
def test_a_part_asked_too_soon_repeats_itself(cut: int) -> None:
    """Asked every 10 s, a part that measures every 35 s says the same four times, wherever time is cut."""
    slow = replace(IDEAL, interval_min_s=35.0, noise_density=1.0)
    truth = wandering(20)
    expected = bank(replace(slow, interval_min_s=0.0)).observe(truth)[np.arange(20) // 4 * 4]
    two = bank(slow)
    np.testing.assert_array_equal(np.concatenate([two.observe(truth[:cut]), two.observe(truth[cut:])]), expected)


def test_readings_end_where_the_range_ends() -> None:
    """Saturation: nothing below or above the range."""
    read = bank(ALL_EFFECTS).observe(np.array([[-500.0] * 5, [500.0] * 5, [500.0] * 5, [500.0] * 5]))
    assert read.min() == -100.0
    assert read.max() <= 100.0
    slow = bank(IDEAL).observe(np.array([[500.0] * 5]))
    assert (slow == 100.0).all()


@given(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=20), st.sampled_from([0.1, 0.01, 0.0625, 0.001]))
def test_rounded_values_are_those_a_person_would_write(whole: list[int], step: float) -> None:
    """A value on a decimal grid is the float its decimal text stands for."""
    values = np.array(whole) * step + 0.3 * step
    quantise(values, step)
    text = [float(f"{number * step:.4f}") for number in whole]
    assert values.tolist() == text


def test_steps_that_do_not_divide_a_unit_are_rounded_to_as_well() -> None:
    """A resolution of 0.3 or 5 gives multiples of it; 0 leaves the value."""
    values = np.array([0.44, 0.46, 7.6])
    quantise(values, 0.3)
    np.testing.assert_allclose(values, [0.3, 0.6, 7.5])
    values = np.array([7.4, 7.6])
    quantise(values, 5.0)
    assert values.tolist() == [5.0, 10.0]
    values = np.array([0.123])
    quantise(values, 0.0)
    assert values.tolist() == [0.123]
