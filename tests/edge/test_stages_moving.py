"""Moving statistics: what a few plain lines compute, with the uncertainty that Monte Carlo finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.stages import Moving
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="a", unit="bar", sensor="p-1"), Channel(name="b")))
ALL = ("mean", "min", "max", "std", "median")


def readings_of(value: Any, u: float = 0.1, step_s: float = 1.0) -> Readings:
    value = np.asarray(value, float)
    return Readings.raw(SCHEMA, (np.arange(len(value)) * step_s * 1e9).astype(np.int64), value, u)


@settings(max_examples=60)
@given(st.integers(0, 999), st.integers(1, 9), st.booleans())
def test_each_statistic_is_that_of_its_window(seed: int, width: int, seconds: bool) -> None:  # noqa: FBT001 - drawn
    """NumPy over the usable readings of each window, taken one by one, gives the same."""
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(60, 2))
    value[rng.random((60, 2)) < 0.2] = np.nan
    time_s = np.cumsum(rng.integers(1, 4, 60))
    readings = Readings.raw(SCHEMA, time_s * 10**9, value, 0.1)
    bad = (rng.random((60, 2)) < 0.1) & ~np.isnan(value)
    readings = readings.flagged(bad, Flag.FAIL, Reason.SPIKE)
    window = {"window_s": float(width)} if seconds else {"window_rows": width}
    out = Moving(statistics=ALL, **window).stage(SCHEMA)(readings)  # type: ignore[arg-type]
    use = np.isfinite(value) & ~bad
    for row in range(60):
        inside = np.arange(60) <= row
        inside &= (time_s > time_s[row] - width) if seconds else (np.arange(60) > row - width)
        for k in range(2):
            x = value[inside & use[:, k], k]
            wanted = (
                [x.mean(), x.min(), x.max(), x.std(ddof=1) if len(x) > 1 else np.nan, np.median(x)] if len(x) else []
            )
            got = out.value[row, 2 + 5 * k : 7 + 5 * k]
            assert np.allclose(got, wanted or [np.nan] * 5, rtol=1e-12, atol=1e-12, equal_nan=True)
            assert np.array_equal(out.flag[row, 2 + 5 * k : 7 + 5 * k] == Flag.MISSING, np.isnan(got))


def test_new_channels_say_what_they_are() -> None:
    """Names, units and sensors come from the channel."""
    stage = Moving(statistics=("mean", "std"), window_s=60.0, channels=("a",), suffix="_1min").stage(SCHEMA)
    assert [(c.name, c.unit, c.sensor) for c in stage.schema.channels[2:]] == [
        ("a_mean_1min", "bar", "p-1"),
        ("a_std_1min", "bar", "p-1"),
    ]


@pytest.mark.parametrize("systematic", [0.0, 0.3, None])
def test_u_of_mean_and_median_is_what_monte_carlo_finds(systematic: float | None) -> None:
    """Noise averages down; what is common to all readings stays; where nothing is said, nothing averages down."""
    rng = np.random.default_rng(7)
    width, runs, u = 25, 20_000, 0.5
    common = u if systematic is None else systematic
    errors = rng.normal(size=(runs, width)) * np.sqrt(u**2 - common**2) + rng.normal(size=(runs, 1)) * common
    said = {} if systematic is None else {"a": systematic}
    stage = Moving(statistics=("mean", "median"), window_rows=width, channels=("a",), systematic_u=said).stage(SCHEMA)
    out = stage(readings_of(np.zeros((width, 2)), u))
    assert out.u[-1, 2] == pytest.approx(errors.mean(axis=1).std(), rel=0.02)
    assert out.u[-1, 3] == pytest.approx(np.median(errors, axis=1).std(), rel=0.03)


def test_u_of_the_spread_is_what_monte_carlo_finds() -> None:
    """The standard deviation of 25 normal readings is known to one part in sqrt(48) (GUM E.4.3)."""
    rng = np.random.default_rng(8)
    value = rng.normal(size=(25 * 4000, 2)) * 2.0
    out = Moving(statistics=("std",), window_rows=25, channels=("a",)).stage(SCHEMA)(readings_of(value))
    apart = out.value[24::25, 2]
    assert np.median(out.u[24::25, 2]) == pytest.approx(apart.std(), rel=0.05)


def test_suspects_count_with_a_wider_u_and_are_told() -> None:
    """A SUSPECT reading makes its statistics SUSPECT for the same reason, and less certain; a FAIL one is left out."""
    readings = readings_of([[1.0, 0.0], [2.0, 0.0], [300.0, 0.0]]).passed(np.ones((3, 2), np.bool_))
    where = np.zeros((3, 2), np.bool_)
    where[1, 0] = True
    readings = readings.flagged(where, Flag.SUSPECT, Reason.NOISE)
    readings = readings.flagged(np.roll(where, 1, axis=0), Flag.FAIL, Reason.SPIKE)
    out = Moving(statistics=("mean", "max"), window_rows=3, channels=("a",)).stage(SCHEMA)(readings)
    assert out.value[:, 2].tolist() == [1.0, 1.5, 1.5]
    assert out.flag[:, 2].tolist() == [Flag.PASS, Flag.SUSPECT, Flag.SUSPECT]
    assert out.reason[:, 2].tolist() == [0, Reason.NOISE, Reason.NOISE]
    assert out.u[:, 2] == pytest.approx([0.1, 0.2, 0.2])
    assert out.u[:, 3] == pytest.approx([0.1, 0.3, 0.3])


def test_a_clock_that_does_not_go_forward_adds_nothing() -> None:
    """A duplicate or backward row has the statistics of the rows before it."""
    readings = Readings.raw(
        SCHEMA, np.array([10, 20, 20, 5, 6]) * 10**9, [[1.0, 0], [3.0, 0], [9.0, 0], [9.0, 0], [5.0, 0]]
    )
    out = Moving(statistics=("mean",), window_s=100.0, channels=("a",)).stage(SCHEMA)(readings)
    assert out.value[:, 2].tolist() == [1.0, 2.0, 2.0, 2.0, 3.0]


def test_what_does_not_fit_is_named() -> None:
    """Names that are taken and channels that are not there are objected to; impossible windows cannot be made."""
    schema = Moving(statistics=("mean",), window_rows=3).stage(SCHEMA).schema
    found = [
        objection.message
        for objection in Moving(statistics=("mean",), window_rows=5, channels=("a", "c")).objections(schema)
    ]
    assert found == ["stream 's' has no channel 'c'", "stream 's' has a channel 'a_mean' already"]
    for wrong in (
        {"statistics": ()},
        {"window_s": 5.0},
        {"window_rows": 0},
        {"window_rows": 10_001},
        {"count_min": 4},
        {"systematic_u": {"a": -1.0}},
    ):
        with pytest.raises(ValueError, match=r"."):
            Moving(**{"statistics": ("mean",), "window_rows": 3, **wrong})  # type: ignore[arg-type]
