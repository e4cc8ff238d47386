"""Fusion: what comes out of several sensors, or of one, and how certain it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.config import AgentConfig
from trueline_edge.stages.fuse import Fuse, FuseOutput
from trueline_edge.stages.fusion.fusing import TIMEOUT_ROWS, Fusing
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema
from trueline_wire.settings import SettingsError, parse_toml

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SECOND = 10**9


def schema_of(sensors: int, unit: str = "Cel") -> Schema:
    channels = tuple(Channel(name=f"t{i}", unit=unit) for i in range(sensors))
    return Schema(device="d", stream="s", channels=channels)


def readings_of(value: Any, u: Any = 0.5, step_s: int = 10) -> Readings:
    value = np.asarray(value, np.float64)
    value = value[:, None] if value.ndim == 1 else value
    time_ns = 10**18 + np.arange(len(value)) * step_s * SECOND
    return Readings.raw(schema_of(value.shape[1]), time_ns, value, u)


def fused(config: Fuse, readings: Readings) -> Readings:
    stage = config.stage(readings.schema)
    return Readings.concatenate([stage(readings), stage.flush()])


def column(readings: Readings, name: str) -> tuple[Array, Array, NDArray[np.uint8], NDArray[np.uint32]]:
    at = [channel.name for channel in readings.schema.channels].index(name)
    return readings.value[:, at], readings.u[:, at].astype(float), readings.flag[:, at], readings.reason[:, at]


def walk(rng: np.random.Generator, n: int = 600, step: float = 0.02) -> Array:
    return 20.0 + np.cumsum(rng.normal(0.0, step, n))


THREE = Fuse(name="t", inputs=("t0", "t1", "t2"), independent=True)
GIVEN = Fuse(name="t", inputs=("t0",), noise="given", r=0.01, q=4e-5, systematic_u=0.0)


def test_the_outputs_stand_behind_the_inputs_with_innovation_nis_and_weights() -> None:
    """NAME, NAME.innovation, NAME.nis and NAME.weight.INPUT are added, in the unit of the inputs."""
    out = fused(THREE, readings_of(np.full((3, 3), 20.0)))
    assert [(c.name, c.unit) for c in out.schema.channels[3:]] == [
        ("t", "Cel"),
        ("t.innovation", "Cel"),
        ("t.nis", "1"),
        *((f"t.weight.t{i}", "1") for i in range(3)),
    ]
    assert np.allclose(out.value[1:, 6:9].sum(axis=1), 1.0)


def test_details_can_be_left_out() -> None:
    """With details = false only the fused channel is added."""
    out = fused(Fuse(inputs=("t0", "t1"), each=True, details=False), readings_of(np.full((3, 2), 20.0)))
    assert [c.name for c in out.schema.channels[2:]] == ["t0.fused", "t1.fused"]


def test_given_noise_is_the_kalman_filter_of_filterpy() -> None:
    """With given noise and no surprise, level and variance are those of filterpy's filter of the same model."""
    rng = np.random.default_rng(1)
    value = walk(rng, step=0.002) + rng.uniform(-0.07, 0.07, 600)  # nothing so far out that the robust update stirs
    value[100:108] = np.nan
    out, u, *_ = column(fused(GIVEN, readings_of(value)), "t")
    nis = column(fused(GIVEN, readings_of(value)), "t.nis")[0]
    assert np.nanmax(nis) < 1.0
    oracle = KalmanFilter(dim_x=1, dim_z=1)
    oracle.x, oracle.P = np.array([[value[0]]]), np.array([[0.01]])
    oracle.F = oracle.H = np.eye(1)
    oracle.Q, oracle.R = np.array([[4e-5 * 10]]), np.array([[0.01]])
    for row, z in enumerate(value[1:], 1):
        oracle.predict()
        oracle.update(None if np.isnan(z) else z)
        assert out[row] == pytest.approx(oracle.x[0, 0], rel=1e-12)
        assert u[row] == pytest.approx(np.sqrt(oracle.P[0, 0]), rel=1e-6)


def test_noise_averages_down_and_the_systematic_part_never_does() -> None:
    """u^2 = P + systematic^2: a hundred readings make the noise small, and leave what they all share."""
    readings = readings_of(np.full(200, 20.0), u=0.5)
    _, u, *_ = column(fused(Fuse(name="t", inputs=("t0",), noise="given", r=0.01, q=0.0), readings), "t")
    assert u[0] == pytest.approx(0.5, rel=1e-3)
    assert u[-1] == pytest.approx(np.sqrt(0.5**2 - 0.01 + 0.01 / 200), rel=1e-3)
    assert u.min() > 0.48


@pytest.mark.parametrize("config", [GIVEN, Fuse(name="t", inputs=("t0",), r=0.01), Fuse(name="t", inputs=("t0",))])
def test_one_spike_moves_nothing_and_a_step_is_followed(config: Fuse) -> None:
    """A spike is passed over, SUSPECT in its row alone; a step is followed within a few readings."""
    rng = np.random.default_rng(2)
    truth = np.where(np.arange(400) < 300, 20.0, 28.0)
    value = truth + rng.normal(0.0, 0.1, 400)
    value[200] += 9.0
    out, _, flag, reason = column(fused(config, readings_of(value)), "t")
    assert abs(out[200:210] - 20.0).max() < 0.15
    assert flag[200] == Flag.SUSPECT
    assert reason[200] == Reason.INNOVATION
    assert (flag[201:300] == Flag.PASS).all()
    assert abs(out[304:] - 28.0).max() < 0.3


def test_the_first_sample_may_be_the_outlier() -> None:
    """A wrong first value does not poison the filter (lesson 1)."""
    rng = np.random.default_rng(3)
    value = 20.0 + rng.normal(0.0, 0.1, 100)
    value[0] = 95.0
    for config in (GIVEN, Fuse(name="t", inputs=("t0",), r=0.01), Fuse(name="t", inputs=("t0",))):
        out, *_ = column(fused(config, readings_of(value)), "t")
        assert abs(out[12:] - 20.0).max() < 0.4


def test_steps_that_keep_coming_are_followed_at_once() -> None:
    """Where surprises turned out to be steps, the next one is believed in its own row."""
    rng = np.random.default_rng(4)
    truth = np.repeat(rng.uniform(-50, 50, 20), 30)
    value = truth + rng.normal(0.0, 0.1, 600)
    out, *_ = column(fused(Fuse(name="t", inputs=("t0",), r=0.01), readings_of(value)), "t")
    late = abs(out - truth)[150::30]
    assert np.median(late) < 0.3
    hesitant, *_ = column(fused(GIVEN, readings_of(value)), "t")
    assert np.median(abs(hesitant - truth)[150::30]) > 5.0, "negative control: a plain gate is late each time"


def test_a_dead_sensor_turns_missing_within_its_timeout_and_comes_back() -> None:
    """After timeout_s without good input the value is NaN and MISSING, never the last mean (lesson 4)."""
    value = np.full(100, 20.0) + np.random.default_rng(5).normal(0.0, 0.1, 100)
    value[40:80] = np.nan
    out, u, flag, reason = column(fused(Fuse(name="t", inputs=("t0",), timeout_s=50.0), readings_of(value)), "t")
    assert (flag[40:45] == Flag.PASS).all()
    assert (np.diff(u[39:45]) > 0.0).all()
    assert (flag[45:80] == Flag.MISSING).all()
    assert np.isnan(out[45:80]).all()
    assert (reason[45:80] & Reason.STALE > 0).all()
    assert (flag[80:] == Flag.PASS).all()


def test_without_a_timeout_ten_rows_are_enough() -> None:
    """Where no time is configured, ten rows without good input make an output MISSING."""
    value = np.concatenate([np.full(20, 20.0), np.full(30, np.nan)])
    _, _, flag, _ = column(fused(GIVEN, readings_of(value)), "t")
    assert np.flatnonzero(flag == Flag.MISSING)[0] == 20 + TIMEOUT_ROWS


def test_fail_is_not_there_and_suspect_counts_with_three_times_its_u() -> None:
    """FAIL cells carry no information; a SUSPECT one has a ninth of the weight."""
    readings = readings_of(np.tile([20.0, 21.0], (50, 1)), u=1.0)
    mean = Fuse(name="t", inputs=("t0", "t1"), model="weighted_mean")
    fail = np.zeros((50, 2), np.bool_)
    fail[:, 1] = True
    assert np.allclose(column(fused(mean, readings.flagged(fail, Flag.FAIL, Reason.SPIKE)), "t")[0], 20.0)
    out, _, flag, _ = column(fused(mean, readings.flagged(fail, Flag.SUSPECT, Reason.SPIKE)), "t")
    assert np.allclose(out, 20.1)
    assert (flag == Flag.PASS).all()
    both = fused(mean, readings.flagged(fail | True, Flag.SUSPECT, Reason.SPIKE))
    assert (column(both, "t")[2] == Flag.SUSPECT).all()
    assert (column(both, "t")[3] & Reason.SPIKE > 0).all()


@pytest.mark.parametrize("model", ["weighted_mean", "level", "trend"])
def test_one_wrong_source_with_a_small_declared_error_does_not_win(model: Any) -> None:
    """A sensor far off that declares a tiny u is outvoted by two honest ones (lesson 7)."""
    rng = np.random.default_rng(6)
    truth = walk(rng)
    value = truth[:, None] + rng.normal(0.0, [0.1, 0.1, 0.001], (600, 3)) + np.array([0.1, -0.1, 8.0])
    config = Fuse(name="t", inputs=("t0", "t1", "t2"), independent=True, model=model)
    out = fused(config, readings_of(value, u=[0.2, 0.2, 0.01]))
    assert abs(column(out, "t")[0] - truth)[20:].max() < 0.5
    assert column(out, "t.weight.t2")[0].max() == 0.0
    assert (column(out, "t")[3][20:] & Reason.CONSISTENCY > 0).all()
    alone = np.average(value, axis=1, weights=1 / np.array([0.2, 0.2, 0.01]) ** 2)
    assert abs(alone - truth).min() > 7.0, "negative control: the plain inverse-variance mean follows it"


def test_two_sensors_that_contradict_each_other_are_suspect_and_u_holds_both() -> None:
    """Without a majority nobody is believed more: the middle, half the distance as u, SUSPECT with CONSISTENCY."""
    rng = np.random.default_rng(7)
    value = 20.0 + rng.normal(0.0, 0.1, (200, 2)) + np.array([0.0, 6.0])
    for config in (Fuse(name="t", inputs=("t0", "t1")), Fuse(name="t", inputs=("t0", "t1"), model="weighted_mean")):
        out, u, flag, reason = column(fused(config, readings_of(value, u=0.2)), "t")
        assert abs(out[20:] - 23.0).max() < 0.7
        assert (u[20:] > 2.5).all()
        assert (flag[20:] == Flag.SUSPECT).all()
        assert (reason[20:] & Reason.CONSISTENCY > 0).all()


def test_a_sensor_that_steps_loses_its_say_and_gets_it_back() -> None:
    """Fail-over and back: while one of three is off by 3 the fused value stays; afterwards all count again."""
    rng = np.random.default_rng(8)
    truth = walk(rng, 1200)
    value = truth[:, None] + rng.normal(0.0, [0.1, 0.1, 0.3], (1200, 3)) + np.array([0.3, -0.4, 0.1])
    value[500:700, 1] += 3.0
    out = fused(THREE, readings_of(value, u=np.sqrt(0.25 + np.array([0.01, 0.01, 0.09]))))
    error = column(out, "t")[0] - truth
    assert abs(error[480:720] - np.median(error[300:500])).max() < 0.35
    assert (column(out, "t.weight.t1")[0][500:700] > 0).mean() < 0.05
    assert column(out, "t.weight.t1")[0][-100:].mean() > 0.3


def test_a_sensor_that_falls_silent_leaves_no_step_behind() -> None:
    """Offsets between sensors are learnt: when one of two is gone, the fused value goes on where it was."""
    rng = np.random.default_rng(9)
    truth = walk(rng, 1000, step=0.005)
    value = truth[:, None] + rng.normal(0.0, 0.05, (1000, 2)) + np.array([0.5, -0.5])
    value[600:, 1] = np.nan
    out = fused(Fuse(name="t", inputs=("t0", "t1"), independent=True), readings_of(value, u=0.6))
    error = column(out, "t")[0] - truth
    assert abs(error[605:650].mean() - error[550:600].mean()) < 0.05
    assert abs(value[600:, 0] - truth[600:]).mean() > 0.4, "negative control: the sensor alone is half a degree off"


def test_independent_systematic_errors_average_and_common_ones_do_not() -> None:
    """Three sensors of systematic u 0.3: 0.3/sqrt(3) where independent, 0.3 where not, and common_u on top."""
    rng = np.random.default_rng(10)
    value = 20.0 + rng.normal(0.0, 0.01, (400, 3)) + np.array([0.1, -0.1, 0.05])
    for independent, common_u, expected in ((True, 0.0, 0.3 / 3**0.5), (False, 0.0, 0.3), (True, 0.4, 0.436)):
        config = Fuse(
            name="t", inputs=("t0", "t1", "t2"), systematic_u=0.3, common_u=common_u, independent=independent, r=1e-4
        )
        assert column(fused(config, readings_of(value)), "t")[1][-1] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("noise", [{}, {"systematic_u": 0.4}, {"noise": "given", "q": 4e-5, "systematic_u": 0.4}])
def test_intervals_hold_what_they_promise(noise: dict[str, Any]) -> None:
    """Over 200 devices of three sensors with drawn biases, 95 % intervals hold 92 to 98 % of the truth."""
    inside = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = walk(rng, 300)
        value = truth[:, None] + rng.normal(0.0, 0.1, (300, 3)) + rng.normal(0.0, 0.4, 3)
        config = Fuse(name="t", inputs=("t0", "t1", "t2"), independent=True, **noise)
        out, u, flag, _ = column(fused(config, readings_of(value, u=np.sqrt(0.17))), "t")
        if flag[-1] == Flag.PASS:
            inside.append(abs(out[-1] - truth[-1]) < 1.96 * u[-1])
    assert 0.92 <= np.mean(inside) <= 0.98
    assert len(inside) > 195


def test_sensors_at_different_rates_and_with_gaps_are_fused() -> None:
    """A fast noisy and a slow good sensor are better together than each alone."""
    rng = np.random.default_rng(11)
    truth = walk(rng, 2000, step=0.03)
    value = truth[:, None] + rng.normal(0.0, [0.3, 0.05], (2000, 2))
    value[np.arange(2000) % 15 != 0, 1] = np.nan
    readings = readings_of(value, u=[0.3, 0.05])

    def rmse(**changes: Any) -> float:
        config = Fuse(**({"name": "t", "independent": True, "systematic_u": 0.01} | changes))
        return float(np.sqrt(np.mean((column(fused(config, readings), "t")[0] - truth)[100:] ** 2)))

    both = rmse(inputs=("t0", "t1"))
    assert both < 1.1 * rmse(inputs=("t0", "t1"), noise="given", q=9e-5, r=(0.09, 0.0025))
    assert both < 0.95 * min(rmse(inputs=("t0",)), rmse(inputs=("t1",), timeout_s=1e4))


def test_a_smoother_waits_and_knows_better() -> None:
    """With lag_rows the rows come later, and are nearer to the truth, with a smaller u."""
    rng = np.random.default_rng(12)
    truth = walk(rng, 1000)
    readings = readings_of(truth + rng.normal(0.0, 0.1, 1000), u=0.1)
    plain = Fuse(name="t", inputs=("t0",), noise="given", r=0.01, q=4e-5, systematic_u=0.0)
    late = Fuse(name="t", inputs=("t0",), noise="given", r=0.01, q=4e-5, systematic_u=0.0, lag_rows=15)
    stage = late.stage(readings.schema)
    assert stage.delay == 15
    assert len(stage(readings)) == 985
    (now, u_now, *_), (smooth, u_smooth, *_) = column(fused(plain, readings), "t"), column(fused(late, readings), "t")
    assert np.std(smooth - truth) < 0.85 * np.std(now - truth)
    assert u_smooth[500] < 0.85 * u_now[500]
    assert np.std((smooth - truth) / u_smooth) == pytest.approx(1.0, abs=0.15)


def test_a_daily_cycle_is_predicted_through_a_gap() -> None:
    """After two days the daily model goes on through a gap of hours where a level can only stand still."""
    rng = np.random.default_rng(13)
    t_s = np.arange(0, 4 * 86_400, 600)
    truth = 20.0 + 5.0 * np.sin(2 * np.pi * t_s / 86_400)
    value = truth + rng.normal(0.0, 0.1, len(t_s))
    gap = (t_s > 3.2 * 86_400) & (t_s < 3.5 * 86_400)
    value[gap] = np.nan
    readings = readings_of(value, u=0.1, step_s=600)
    common: dict[str, Any] = {"noise": "given", "r": 0.01, "timeout_s": 86_400.0, "name": "t", "inputs": ("t0",)}
    daily, u, *_ = column(fused(Fuse(model="daily", q=1e-8, q_trend=0.0, q_daily=1e-9, **common), readings), "t")
    level, *_ = column(fused(Fuse(model="level", q=1e-4, **common), readings), "t")
    assert abs(daily - truth)[gap].max() < 0.5
    assert abs(level - truth)[gap].max() > 3.0
    assert (abs(daily - truth)[gap] < 4 * u[gap]).all()
    learnt, *_ = column(fused(Fuse(model="daily", name="t", inputs=("t0",), timeout_s=86_400.0), readings), "t")
    assert abs(learnt - truth)[gap].max() < abs(level - truth)[gap].max()


def test_a_prediction_is_doubtful_where_the_rows_time_went_back() -> None:
    """A late row gets the prediction, SUSPECT and TIMING; a duplicate, whose time it is for, does not."""
    readings = readings_of(np.arange(6.0)[:, None])
    times = readings.time_ns.copy()
    times[3], times[5] = times[1], times[4]
    readings = Readings.raw(readings.schema, times, readings.value, 0.5)
    out = fused(Fuse(name="f", inputs=("t0",)), readings)
    _, _, flag, reason = column(out, "f")
    assert flag.tolist() == [Flag.PASS] * 3 + [Flag.SUSPECT] + [Flag.PASS] * 2
    assert reason[3] == Reason.TIMING
    mean = fused(Fuse(model="weighted_mean", name="f", inputs=("t0",)), readings)
    assert set(column(mean, "f")[2].tolist()) == {Flag.PASS}  # it predicts nothing: the value is the row's own


def test_rows_whose_time_does_not_move_on_teach_nothing() -> None:
    """A duplicate and a step back in time pass through; the filter goes on from the next row."""
    value = np.full(30, 20.0)
    value[[10, 11]] = 500.0
    readings = readings_of(value)
    time_ns = readings.time_ns.copy()
    time_ns[10], time_ns[11] = time_ns[9], time_ns[5]
    readings = Readings.raw(readings.schema, time_ns, value[:, None], 0.5)
    out, *_ = column(fused(GIVEN, readings), "t")
    assert np.allclose(out, 20.0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["level", "trend", "weighted_mean", "vote"]),
    st.floats(0.01, 100.0),
    st.floats(-1000.0, 1000.0),
)
def test_law_the_unit_does_not_matter(seed: int, model: Any, scale: float, offset: float) -> None:
    """Readings in another unit give the same fused value and u in that unit."""
    rng = np.random.default_rng(seed)
    value = walk(rng, 80)[:, None] + rng.normal(0.0, 0.1, (80, 3))
    config = Fuse(name="t", inputs=("t0", "t1", "t2"), independent=True, model=model)
    one, u_one, flag_one, _ = column(fused(config, readings_of(value, u=0.3)), "t")
    two, u_two, flag_two, _ = column(fused(config, readings_of(value * scale + offset, u=0.3 * scale)), "t")
    assert np.array_equal(flag_one, flag_two)
    assert np.allclose(one * scale + offset, two, rtol=1e-6, atol=1e-6 * scale)
    assert np.allclose(u_one * scale, u_two, rtol=1e-3)


def test_many_outputs_in_one_stage() -> None:
    """Tables of outputs: groups and single channels side by side give what each gives alone."""
    rng = np.random.default_rng(14)
    readings = readings_of(walk(rng, 200)[:, None] + rng.normal(0.0, 0.1, (200, 3)))
    outputs = (FuseOutput(name="f", inputs=("t0", "t2")), FuseOutput(name="g", inputs=("t1",)))
    together = fused(Fuse(outputs=outputs), readings)
    for output in outputs:
        alone = fused(Fuse(name=output.name, inputs=output.inputs), readings)
        assert np.array_equal(column(together, output.name)[0], column(alone, output.name)[0], equal_nan=True)
        assert np.array_equal(column(together, output.name)[1], column(alone, output.name)[1], equal_nan=True)


TOML = """
device = "d"
state = "state"
[cloud]
public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[[link]]
protocol = "mqtt"
host = "localhost"
[[stream]]
name = "s"
[stream.source]
type = "replay"
path = "x.csv"
[[stream.channel]]
name = "t1"
unit = "Cel"
[[stream.channel]]
name = "h"
unit = "%"
[[stream.stage]]
type = "fuse"
"""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('name = "t"\ninputs = ["t1", "h"]', "inputs in %, Cel"),
        ('name = "t"\ninputs = ["t2"]', "no channel 't2'"),
        ('name = "h"\ninputs = ["t1"]', "has a channel 'h' already"),
        ('name = "t"\ninputs = ["t1"]\nnoise = "given"', "q: missing"),
        ('name = "t"\ninputs = ["t1"]\nnoise = "given"\nfile = "n.toml"', "n.toml: cannot be read"),
        ('inputs = ["t1"]', "name of the one output is wanted"),
        ('name = "t"\ninputs = ["t1"]\nr = -1.0', "above zero"),
        ('name = "t"\ninputs = ["t1"]\nlag_rows = 5\nmodel = "trend"', "is for model 'level'"),
        ('name = "t"\ninputs = ["t1"]\nmodle = "level"', "did you mean 'model'"),
    ],
)
def test_mistakes_are_named(lines: str, said: str, tmp_path: Path) -> None:
    """`check` says what is wrong with a stage fuse, and what to do."""
    with pytest.raises(SettingsError, match=re.escape(said)):
        parse_toml(TOML + lines, tmp_path / "a.toml", AgentConfig)


def test_a_stage_that_exists_is_made_by_its_configuration() -> None:
    """`Fuse.stage` gives a stage whose schema holds what it adds."""
    stage = THREE.stage(schema_of(3))
    assert isinstance(stage, Fusing)
    assert stage.schema.channels[3].name == "t"
