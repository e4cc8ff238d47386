"""The spike test: what is a spike, what is a step, and what the window holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trueline_edge.stages import Spike
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

NAN = float("nan")
MODES = pytest.mark.parametrize("mode", ["causal", "centred"])


def judge(config: Spike, values: Any, resolution: float = 0.0) -> Readings:
    schema = Schema(device="d", stream="s", channels=(Channel(name="a", resolution=resolution),))
    column = np.array(values, float).reshape(-1, 1)
    stage = config.stage(schema)
    first = stage(Readings.raw(schema, 10**18 + np.arange(len(column)) * 10**9, column))
    return Readings.concatenate([first, stage.flush()])


def spikes(config: Spike, values: Any, resolution: float = 0.0) -> list[int]:
    judged = judge(config, values, resolution)
    found: list[int] = np.flatnonzero(judged.reason[:, 0] & Reason.SPIKE).tolist()
    return found


def noise(n: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(size=n)


def wiggle(n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """As restless as noise, but never beyond 1: no value of it is far from any seven others."""
    values: np.ndarray[Any, np.dtype[np.float64]] = np.sin(2.4 * np.arange(n))
    return values


@MODES
def test_a_spike_is_flagged_and_its_neighbours_are_not(mode: Any) -> None:
    """One wild value in noise: it alone, and FAIL, for it is very far away."""
    values = noise(200)
    values[100] = 60.0
    judged = judge(Spike(mode=mode), values)
    assert np.flatnonzero(judged.flag[:, 0] == Flag.FAIL).tolist() == [100]


@MODES
def test_hardly_any_good_value_is_a_spike(mode: Any) -> None:
    """Of white noise at most 0.5 % is flagged by the limits that are there where none are given."""
    assert len(spikes(Spike(mode=mode), noise(20_000))) <= 100


@MODES
def test_the_first_value_may_be_the_outlier(mode: Any) -> None:
    """It is in the first windows, and poisons none: no good value behind it is flagged."""
    values = wiggle(50)
    values[0] = 1000.0
    assert set(spikes(Spike(mode=mode), values)) <= {0}


def test_an_outlier_never_enters_the_window_it_is_judged_by() -> None:
    """Spikes again and again, never `step_samples` in a row, are all flagged: none made the next look good."""
    values = wiggle(300)
    at = [30 + 5 * n + (n % 2) for n in range(50)]
    values[at] = 55.0
    values[[n + 1 for n in at[::2]]] = 56.0  # pairs too
    wild = sorted({*at, *[n + 1 for n in at[::2]]})
    assert spikes(Spike(), values) == wild


def test_negative_control_a_window_that_takes_outliers_in_is_blind() -> None:
    """Five of eight values being wild, a window that holds them finds hardly one; ours finds them all, and no other."""
    values = wiggle(300)
    wild = [n for n in range(40, 300) if n % 8 < 5]
    values[wild] += 55.0
    windows = np.lib.stride_tricks.sliding_window_view(values, 7)[:-1]
    median = np.median(windows, axis=1)
    mad = np.median(np.abs(windows - median[:, None]), axis=1)
    naive = set((np.flatnonzero(np.abs(values[7:] - median) > 8 * 1.4826 * mad) + 7).tolist())
    assert len(naive & set(wild[8:])) < len(wild) / 10
    assert spikes(Spike(width=7, step_samples=6), values) == wild


@pytest.mark.parametrize("samples", [2, 3, 6])
def test_a_genuine_step_passes_after_step_samples(samples: int) -> None:
    """Causal: the step is flagged for `step_samples` values, then it is the new normal."""
    values = wiggle(200)
    values[100:] += 80.0
    assert spikes(Spike(step_samples=samples), values) == list(range(100, 100 + samples))


def test_a_genuine_step_is_no_spike_to_the_centred_window() -> None:
    """Centred: half of the window has taken the step, so no value of it is flagged."""
    values = wiggle(200)
    values[100:] += 80.0
    assert spikes(Spike(mode="centred"), values) == []


def test_a_quiet_signal_on_a_coarse_grid_has_no_spikes() -> None:
    """A step or two of the resolution is no spike, though the median absolute deviation is 0; three steps are."""
    values = [5.0] * 10 + [5.1, 5.0, 5.2, 5.0, 5.3, 5.0]
    assert spikes(Spike(), values, resolution=0.1) == [14]
    assert spikes(Spike(floor=0.0), values, resolution=0.1) == [10, 12, 14]


def test_the_centred_mode_holds_rows_back_and_gives_them_all() -> None:
    """After `delay` rows each row comes, judged; the flush gives the last ones."""
    schema = Schema(device="d", stream="s", channels=(Channel(name="a"),))
    stage = Spike(mode="centred", width=7).stage(schema)
    assert stage.delay == 3
    sizes = [len(stage(Readings.raw(schema, [n], [[float(n)]]))) for n in range(6)]
    assert sizes == [0, 0, 0, 1, 1, 1]
    assert stage.flush().time_ns.tolist() == [3, 4, 5]


def test_missing_and_failed_values_are_neither_judged_nor_learnt_from() -> None:
    """A hole is no zero, and what failed before is not in the window."""
    values = [1.0, 1.1, 0.9, NAN, 1.0, float("inf"), 1.1, 0.9, 1.0, 1.05]
    judged = judge(Spike(width=4), values)
    assert judged.flag[:, 0].tolist() == [2, 2, 2, 2, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 3}, "width 3"),
        ({"suspect_deviations": 0.0}, "suspect_deviations 0.0"),
        ({"suspect_deviations": 9.0, "fail_deviations": 8.0}, "fail_deviations 8.0"),
        ({"floor": -1.0}, "floor -1.0"),
        ({"step_samples": 1}, "step_samples 1"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, float], message: str) -> None:
    """A configuration that exists is valid."""
    with pytest.raises(ValueError, match=message):
        Spike(**wrong)  # type: ignore[arg-type]


def test_a_state_with_a_window_too_large_is_refused() -> None:
    """Counts in a state are checked before a compiled loop believes them."""
    schema = Schema(device="d", stream="s", channels=(Channel(name="a"),))
    stage = Spike().stage(schema)
    state = bytearray(stage.state())
    count = state.index(bytes(8))
    state[count : count + 8] = np.array([1e9]).tobytes()
    with pytest.raises(ValueError, match="windows larger"):
        stage.restore(bytes(state))
