"""Whether a sensor or the process is in trouble, and why an alarm came."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trueline_model.series import make_series
from trueline_model.verdict import EVIDENCE, Judge, Verdict, Weights, fit_judge
from trueline_model.why import why
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 30


def running(seed: int, rows: int) -> NDArray[np.float64]:
    """Two quantities that wander, each seen by two sensors, and one that nothing else follows."""
    rng = np.random.default_rng(seed)
    slow = np.cumsum(rng.normal(0.0, 0.05, (rows, 3)), axis=0)
    return slow[:, [0, 0, 1, 1, 2]] + rng.normal(0.0, 0.2, (rows, 5))


@cache
def judge() -> Judge:
    return fit_judge([make_series(running(1, 4000)), make_series(running(2, 2000))], spans=(8, ROWS))


def event(seed: int, change: str, channels: list[int]) -> Verdict:
    """The verdict on rows the last 30 of which are changed in some channels."""
    before = judge().rows
    value = running(seed, before + ROWS)
    rng = np.random.default_rng(seed + 1)
    now = value[before:, channels]
    value[before:, channels] = {
        "bias_step": now + 4.0,
        "drift": now + np.linspace(0.0, 8.0, ROWS)[:, None],
        "noise_increase": now + rng.normal(0.0, 3.0, now.shape),
        "stuck": np.broadcast_to(now[:1], now.shape),
        "spike": now + 12.0 * (np.arange(ROWS) == 20)[:, None],
        "nan_run": np.full(now.shape, np.nan),
    }[change]
    return judge().verdict(value, np.isfinite(value), before)


@pytest.mark.parametrize("change", ["bias_step", "drift", "noise_increase", "stuck", "spike", "nan_run"])
def test_one_sensor_against_its_redundancy(change: str) -> None:
    """What one sensor does alone is its fault, and is named: nine times of ten at least."""
    said = [event(seed, change, [seed % 4]) for seed in range(5000, 5030)]
    assert sum(v.what == "sensor fault" and v.channel == seed % 4 for seed, v in enumerate(said, 5000)) >= 27
    assert sum(v.kind == change for v in said) >= 24


@pytest.mark.parametrize("change", ["bias_step", "drift", "noise_increase"])
def test_several_move_together(change: str) -> None:
    """What both sensors of a quantity show, or all channels, is the process: nine times of ten at least."""
    said = [event(seed, change, [0, 1] if seed % 2 else [0, 1, 2, 3]) for seed in range(5000, 5030)]
    assert sum(v.what == "process anomaly" for v in said) >= 27
    assert all(v.kind == "" for v in said if v.what == "process anomaly")


def test_what_moves_alone_and_slowly_is_a_guess() -> None:
    """Without redundancy a smooth move may be either's; the same against a twin that stands still is the sensor's."""
    alone = [event(seed, "drift", [4]) for seed in range(5000, 5030)]
    watched = [event(seed, "drift", [0]) for seed in range(5000, 5030)]
    assert sum(v.channel == 4 for v in alone) >= 27
    assert np.mean([v.confidence for v in alone]) < 0.8
    assert sum(v.what == "sensor fault" for v in watched) >= 24 > sum(v.what == "sensor fault" for v in alone)


def test_two_channels_that_change_places() -> None:
    """Two channels move, and no process does that: each goes on with the other's values."""
    value = running(5000, judge().rows + ROWS)
    value[:, 2:4] += 30.0
    value[judge().rows :, [1, 3]] = value[judge().rows :, [3, 1]]
    said = judge().verdict(value, np.isfinite(value), judge().rows)
    assert (said.what, said.kind, said.channel in {1, 3}) == ("sensor fault", "swapped_channels", True)


def test_slow_drift_since_training_does_not_matter() -> None:
    """The window before is the reference: a process elsewhere than in training changes no verdict."""
    before = judge().rows
    value = running(5000, before + ROWS)
    value[before:, 0] += 4.0
    here = judge().verdict(value, np.isfinite(value), before)
    there = judge().verdict(value + 500.0, np.isfinite(value), before)
    assert here.what == there.what == "sensor fault"
    np.testing.assert_allclose(here.share, there.share, atol=1e-6)


def test_evidence_decides_not_the_shape_of_the_code() -> None:
    """Negative control: with weights that say nothing, faults of one sensor are told no better than by a coin."""
    blind = Weights(-1.0, (0.0,) * len(EVIDENCE))
    value = running(5000, judge().rows + ROWS)
    value[judge().rows :, 0] += 4.0
    assert judge().verdict(value, np.isfinite(value), judge().rows).what == "sensor fault"
    assert judge().verdict(value, np.isfinite(value), judge().rows, blind).what == "process anomaly"


def test_a_judge_goes_into_a_package_and_out() -> None:
    """Arrays make the judge again; a short recording and rows of another shape are refused."""
    arrays = judge().arrays()
    again = Judge.from_arrays(arrays)
    before = judge().rows
    value = running(5001, before + ROWS)
    value[before:, 2] += 4.0
    here, there = (each.verdict(value, np.isfinite(value), before) for each in (judge(), again))
    assert here[:3] == there[:3]
    assert here.confidence == pytest.approx(there.confidence, abs=1e-3)
    np.testing.assert_allclose(here.share, there.share, atol=1e-3)
    with pytest.raises(ConfigError, match="300 rows"):
        fit_judge([make_series(running(1, 299))], spans=(8, ROWS))
    assert [span.rows for span in fit_judge([make_series(running(1, 1199))]).spans] == [8, ROWS]
    with pytest.raises(ConfigError, match="precision"):
        Judge.from_arrays({k: v for k, v in arrays.items() if k != "span1.precision"})
    with pytest.raises(ConfigError, match="followed"):
        Judge.from_arrays({k: v for k, v in arrays.items() if not k.startswith("span")})
    with pytest.raises(ValueError, match=r"\(n, 5\)"):
        judge().verdict(value[:, :4], np.isfinite(value[:, :4]), before)
    with pytest.raises(ValueError, match="are wanted"):
        judge().verdict(value, np.isfinite(value), 3)


@given(st.integers(0, 30), st.sampled_from([0.0, 1e9, float("nan")]))
def test_cells_that_are_not_valid_say_nothing(seed: int, hidden: float) -> None:
    """What a cell holds that is not valid changes no verdict."""
    rng = np.random.default_rng(seed)
    value = running(seed, judge().rows + ROWS)
    valid = rng.random(value.shape) > 0.2
    value[judge().rows :, seed % 5] += 5.0
    here = judge().verdict(value, valid, judge().rows)
    there = judge().verdict(np.where(valid, value, hidden), valid, judge().rows)
    assert here[:4] == there[:4]


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.integers(0, 9).map(float)))
def test_shares_sum_to_one(contribution: NDArray[np.float64]) -> None:
    """Channels and rows share the whole score, the greatest first; nothing said is no share."""
    said = why(contribution, ("a", "b", "c"))
    whole = 1.0 if contribution.any() else 0.0
    assert sum(said.share) == pytest.approx(whole)
    assert said.row_share.sum() == pytest.approx(whole)
    assert list(said.share) == sorted(said.share, reverse=True)
    assert said.row_share[said.row] == said.row_share.max()
