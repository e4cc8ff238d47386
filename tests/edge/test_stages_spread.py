"""Attenuated signal and noise: the spread of the last values, and the windows both look through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.stages import Attenuated, Noise
from trueline_edge.stages.windows import sliding_std, sliding_sum
from trueline_wire.readings import Channel, Readings, Reason, Schema

NAN = float("nan")


def judge(config: Attenuated | Noise, values: Any, resolution: float = 0.0) -> Readings:
    schema = Schema(device="d", stream="s", channels=(Channel(name="a", resolution=resolution),))
    column = np.array(values, float).reshape(-1, 1)
    return config.stage(schema)(Readings.raw(schema, 10**18 + np.arange(len(column)) * 10**9, column))


def flags(config: Attenuated | Noise, values: Any, resolution: float = 0.0) -> list[int]:
    found: list[int] = judge(config, values, resolution).flag[:, 0].tolist()
    return found


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 60))
def test_sliding_windows_equal_the_textbook(values: list[float], width: int) -> None:
    """Law: sum and standard deviation of each window are those of its values."""
    width = min(width, len(values))
    array = np.array(values)
    windows = np.lib.stride_tricks.sliding_window_view(array, width)
    assert np.allclose(sliding_sum(array, width), windows.sum(axis=1), rtol=1e-9, atol=1e-6)
    assert np.allclose(sliding_std(array, width), windows.std(axis=1), rtol=1e-7, atol=1e-7)


def test_a_small_spread_on_a_high_level_is_not_lost_in_rounding() -> None:
    """The deviation of noise of 1e-3 on a level of 1e6 is right to 1e-6: sums of squares would have lost it."""
    values = 1e6 + np.random.default_rng(1).normal(scale=1e-3, size=1000)
    found = sliding_std(values, 60)
    windows = np.lib.stride_tricks.sliding_window_view(values - 1e6, 60)
    assert np.allclose(found, windows.std(axis=1), rtol=1e-6)
    naive = np.sqrt(np.abs(sliding_sum(values**2, 60) / 60 - (sliding_sum(values, 60) / 60) ** 2))
    assert not np.allclose(naive, windows.std(axis=1), rtol=1e-1)


@pytest.mark.parametrize("measure", ["std", "range"])
def test_a_signal_that_fades_is_suspect_then_fails(measure: Any) -> None:
    """A swing that shrinks to a tenth, then to a hundredth, while it still moves."""
    swing = np.where(np.arange(60) % 2, 1.0, -1.0)
    scale = {"std": 1.0, "range": 2.0}[measure]
    config = Attenuated(suspect=0.5 * scale, fail=0.05 * scale, window=10, measure=measure)
    found = flags(config, np.concatenate([swing, 0.1 * swing, 0.01 * swing]))
    assert found[:9] == [2] * 9
    assert set(found[9:60]) == {1}
    assert set(found[69:120]) == {3}
    assert set(found[129:]) == {4}


def test_the_quick_look_says_what_the_whole_window_says() -> None:
    """A lower bound of the deviation may stand for it only where nothing is near the limit."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=3000) * np.repeat([3.0, 1.0, 0.3], 1000)
    config = Attenuated(suspect=0.9, fail=0.35, window=30)
    std = np.lib.stride_tricks.sliding_window_view(values, 30).std(axis=1)
    expected = np.where(std < 0.35, 4, np.where(std < 0.9, 3, 1)).tolist()
    assert flags(config, values) == [2] * 29 + expected


def test_missing_values_do_not_count() -> None:
    """The window is made of values, not of rows."""
    assert flags(Attenuated(suspect=1.0, window=3), [0, NAN, 9, NAN, 0, 0, 0]) == [2, 2, 2, 2, 1, 1, 3]


def test_noise_has_no_regard_to_level_and_slope() -> None:
    """A steep ramp with little noise passes; the same noise tripled does not."""
    rng = np.random.default_rng(5)
    ramp, small = np.arange(400) * 10.0, rng.normal(size=400) * 0.1
    assert set(flags(Noise(suspect=0.2), ramp + small)[61:]) == {1}
    judged = judge(Noise(suspect=0.2), ramp + 3 * small)
    assert set(judged.flag[61:, 0].tolist()) == {3}
    assert set(judged.reason[61:, 0].tolist()) == {Reason.NOISE}


def test_noise_is_a_standard_deviation_in_the_unit() -> None:
    """White noise of 2 units fails a limit of 1.7 and passes one of 2.3, over a long window."""
    values = 2.0 * np.random.default_rng(6).normal(size=4000)
    assert set(flags(Noise(fail=1.7, window=1000), values)[1002:]) == {4}
    assert set(flags(Noise(fail=2.3, window=1000), values)[1002:]) == {1}


def test_noise_against_what_it_was_at_first() -> None:
    """Learnt from the first values, once: noise of more than three times as much is suspect, of ten fails."""
    rng = np.random.default_rng(7)
    values = rng.normal(size=2000) * np.repeat([1.0, 1.0, 6.0, 40.0], 500)
    found = flags(Noise(suspect_times=3.0, fail_times=10.0, learn_samples=300), values)
    assert set(found[:301]) == {2}
    assert set(found[302:1000]) == {1}
    assert set(found[1062:1500]) == {3}
    assert set(found[1562:]) == {4}


def test_a_channel_quieter_than_its_resolution_has_the_noise_of_rounding() -> None:
    """All values alike at first: later steps of the resolution are not infinitely many times more."""
    values = [5.0] * 100 + [5.0, 5.1] * 100
    config = Noise(suspect_times=10.0, learn_samples=50, window=20)
    assert set(flags(config, values, resolution=0.1)[60:]) == {1}
    assert set(flags(config, values)[115:]) == {3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attenuated(suspect=0.0), "suspect 0.0"),
        (lambda: Attenuated(suspect=1.0, fail=2.0), "fail 2.0"),
        (lambda: Attenuated(suspect=1.0, window=1), "window 1"),
        (Noise, "one of suspect"),
        (lambda: Noise(suspect=-1.0), "suspect -1.0"),
        (lambda: Noise(suspect=1.0, window=2), "window 2"),
        (lambda: Noise(suspect_times=2.0, learn_samples=1), "learn_samples 1"),
    ],
)
def test_nonsense_is_refused(make: Any, message: str) -> None:
    """A configuration that exists is valid."""
    with pytest.raises(ValueError, match=message):
        make()
