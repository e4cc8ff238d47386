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
from trueline_model.verdict import Judge, Verdict, fit_judge
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
    return fit_judge([make_series(running(1, 4000)), make_series(running(2, 2000))], ROWS)


def event(seed: int, change: str, channels: list[int]) -> Verdict:
    """The verdict on 60 rows, the last 30 of which are changed in some channels."""
    value = running(seed, 2 * ROWS)
    rng = np.random.default_rng(seed + 1)
    now = value[ROWS:, channels]
    value[ROWS:, channels] = {
        "bias_step": now + 4.0,
        "drift": now + np.linspace(0.0, 8.0, ROWS)[:, None],
        "noise_increase": now + rng.normal(0.0, 3.0, now.shape),
        "stuck": np.broadcast_to(now[:1], now.shape),
        "spike": now + 12.0 * (np.arange(ROWS) == 20)[:, None],
        "nan_run": np.full(now.shape, np.nan),
    }[change]
    return judge().verdict(value, np.isfinite(value))


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


def test_without_redundancy_the_confidence_is_a_guess() -> None:
    """A channel that nothing else follows is the likeliest culprit when it moves alone, and nobody can be sure."""
    alone, watched = event(5000, "bias_step", [4]), event(5000, "bias_step", [0])
    assert alone.channel == 4
    assert alone.confidence < 0.65
    assert watched.confidence > 0.7


def test_slow_drift_since_training_does_not_matter() -> None:
    """The window before is the reference: a process elsewhere than in training changes no verdict."""
    value = running(5000, 2 * ROWS)
    value[ROWS:, 0] += 4.0
    here = judge().verdict(value, np.isfinite(value))
    there = judge().verdict(value + 500.0, np.isfinite(value))
    assert here.what == there.what == "sensor fault"
    np.testing.assert_allclose(here.share, there.share, atol=1e-6)


def test_a_judge_goes_into_a_package_and_out() -> None:
    """Arrays make the judge again; a short recording and a window of another shape are refused."""
    again = Judge.from_arrays(judge().arrays())
    value = running(5001, 2 * ROWS)
    assert again.verdict(value, np.isfinite(value)).channel == judge().verdict(value, np.isfinite(value)).channel
    with pytest.raises(ConfigError, match="300 rows"):
        fit_judge([make_series(running(1, 299))], ROWS)
    with pytest.raises(ConfigError, match="precision"):
        Judge.from_arrays({k: v for k, v in judge().arrays().items() if k != "precision"})
    with pytest.raises(ValueError, match=r"\(60, 5\)"):
        judge().verdict(value[:-1], np.isfinite(value[:-1]))


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=st.integers(0, 9).map(float)))
def test_shares_sum_to_one(contribution: NDArray[np.float64]) -> None:
    """Channels and rows share the whole score, the greatest first; nothing said is no share."""
    said = why(contribution, ("a", "b", "c"))
    whole = 1.0 if contribution.any() else 0.0
    assert sum(said.share) == pytest.approx(whole)
    assert said.row_share.sum() == pytest.approx(whole)
    assert list(said.share) == sorted(said.share, reverse=True)
    assert said.row_share[said.row] == said.row_share.max()
