"""Self-calibration: what sensors of one quantity can learn from one another, and what they cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trueline_edge.stages.self_calibrate import SelfCalibrate
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MINUTE = 60 * 10**9
SCHEMA = Schema(
    device="d", stream="s", channels=tuple(Channel(name=name, unit="Cel") for name in ("t0", "t1", "t2", "ref"))
)
THREE = SelfCalibrate(name="sc", inputs=("t0", "t1", "t2"), details=True)
WITH_REFERENCE = SelfCalibrate(name="sc", inputs=("t0", "t1", "t2"), reference="ref")


def world(seed: int, n: int = 2000, bias: tuple[float, ...] = (0.5, -0.3, 0.1)) -> tuple[Array, Array]:
    """Truth and three sensors of it."""
    rng = np.random.default_rng(seed)
    truth = 20.0 + 5.0 * np.sin(np.arange(n) / 200) + np.cumsum(rng.normal(0.0, 0.02, n))
    return truth, truth[:, None] + np.array(bias) + rng.normal(0.0, 0.1, (n, 3))


def readings_of(value: Array, reference: Array | None = None, u: Any = 0.5, u_reference: float = 0.03) -> Readings:
    reference = np.full(len(value), np.nan) if reference is None else reference
    table = np.concatenate([value, reference[:, None]], axis=1)
    spread = np.append(np.broadcast_to(u, (3,)), u_reference)
    return Readings.raw(SCHEMA, 10**18 + np.arange(len(value)) * MINUTE, table, spread)


def column(readings: Readings, name: str) -> tuple[Array, Array, NDArray[np.uint8], NDArray[np.uint32]]:
    at = [channel.name for channel in readings.schema.channels].index(name)
    return readings.value[:, at], readings.u[:, at].astype(float), readings.flag[:, at], readings.reason[:, at]


def aligned(out: Readings) -> Array:
    return np.stack([column(out, f"t{i}.calibrated")[0] for i in range(3)], axis=1)


def test_redundant_sensors_are_aligned_and_raw_stays_raw() -> None:
    """Sensors come out without their differences; the raw channels, and what was taken off, stand beside them."""
    truth, value = world(1)
    readings = readings_of(value)
    out = THREE.stage(SCHEMA)(readings)
    apart = (aligned(out) - truth[:, None])[500:].mean(axis=0)
    assert np.ptp(apart) < 0.06
    assert np.ptp((value - truth[:, None])[500:].mean(axis=0)) > 0.7, "negative control: raw, they differ"
    assert np.array_equal(out.value[:, :4], readings.value, equal_nan=True)
    taken = np.stack([column(out, f"t{i}.bias")[0] for i in range(3)], axis=1)
    assert np.allclose(aligned(out) + taken, value)


def test_the_common_part_stays_in_u_and_is_named() -> None:
    """Without a reference every value says UNOBSERVABLE, and u keeps the part all sensors share."""
    _, value = world(2)
    _, u, flag, reason = column(THREE.stage(SCHEMA)(readings_of(value)), "t0.calibrated")
    assert (reason & Reason.UNOBSERVABLE > 0).all()
    assert (flag == Flag.PASS).all()
    assert u[-1] == pytest.approx(np.sqrt(0.01 + (0.25 - 0.01) / 3), rel=0.1)


def test_common_drift_is_invisible_and_the_interval_grows_instead() -> None:
    """Where all drift alike, the values do follow the drift: only u can say so, and does, as biases may walk."""
    truth, value = world(3, n=3000)
    config = SelfCalibrate(name="sc", inputs=("t0", "t1", "t2"), walk_u_per_day=0.5)
    out = config.stage(SCHEMA)(readings_of(value + np.linspace(0.0, 0.8, 3000)[:, None]))
    got, u, _, reason = column(out, "t0.calibrated")
    assert (got - truth)[-100:].mean() > 0.5
    assert u[-1] > 1.3 * u[500]
    assert (reason & Reason.UNOBSERVABLE > 0).all()


def test_a_reference_anchors_and_its_uncertainty_is_what_remains() -> None:
    """After a hundred rows beside a reference the absolute error is gone, and so is UNOBSERVABLE."""
    truth, value = world(4)
    reference = np.full(2000, np.nan)
    reference[1000:1100] = truth[1000:1100] + np.random.default_rng(0).normal(0.0, 0.01, 100)
    out = WITH_REFERENCE.stage(SCHEMA)(readings_of(value, reference))
    got, u, _, reason = column(out, "t1.calibrated")
    assert abs((got - truth)[1200:].mean()) < 0.05
    assert u[1200] < 0.16
    assert u[900] > 0.25
    assert (reason[:1000] & Reason.UNOBSERVABLE > 0).all()
    assert (reason[1200:1500] & Reason.UNOBSERVABLE == 0).all()


def test_the_anchor_wears_off() -> None:
    """As biases walk on after the reference has left, the common part is unknown again, and said to be."""
    truth, value = world(5, n=6000)
    reference = np.full(6000, np.nan)
    reference[200:300] = truth[200:300]
    config = SelfCalibrate(name="sc", inputs=("t0", "t1", "t2"), reference="ref", walk_u_per_day=0.3)
    _, u, _, reason = column(config.stage(SCHEMA)(readings_of(value, reference)), "t0.calibrated")
    assert reason[400] & Reason.UNOBSERVABLE == 0
    assert reason[-1] & Reason.UNOBSERVABLE > 0
    assert u[-1] > 2.0 * u[400]


def test_gain_and_drift_are_learnt_beside_a_reference() -> None:
    """A gain error of 5 % and a drift of 0.2 a day are found where the quantity and time give them a chance."""
    truth, value = world(6, n=4000, bias=(0.0, 0.0, 0.0))
    days = np.arange(4000) / 1440
    value = value + 0.05 * truth[:, None] * [1, 0, 0] + 0.2 * days[:, None] * [0, 1, 0]
    config = SelfCalibrate(
        name="sc", inputs=("t0", "t1", "t2"), reference="ref", gain_u=0.05, drift_u_per_day=0.2, bias_u=0.3
    )
    reference = truth + np.random.default_rng(1).normal(0.0, 0.01, 4000)
    stage: Any = config.stage(SCHEMA)
    out = stage(readings_of(value, reference))
    _, parameters, u, _ = stage.version
    assert parameters[0, 2] == pytest.approx(0.05, abs=max(0.01, 3 * u[0, 2]))
    assert parameters[1, 1] == pytest.approx(0.2, abs=max(0.05, 3 * u[1, 1]))
    assert abs(aligned(out) - truth[:, None])[3000:].mean(axis=0).max() < 0.15


def test_gain_is_not_touched_where_the_quantity_stands_still() -> None:
    """What the data cannot tell keeps the variance it began with: nothing is invented."""
    rng = np.random.default_rng(7)
    value = 20.0 + rng.normal(0.0, 0.1, (1000, 3)) + np.array([0.5, -0.5, 0.0])
    config = SelfCalibrate(name="sc", inputs=("t0", "t1", "t2"), gain_u=0.05, pivot=20.0, bias_u=0.5)
    stage: Any = config.stage(SCHEMA)
    stage(readings_of(value))
    _, parameters, u, _ = stage.version
    assert abs(parameters[:, 2]).max() < 0.02
    assert (u[:, 2] > 0.045).all()
    assert (u[:, 0] < 0.35).all()


def test_a_sensor_that_breaks_is_contradicted_and_teaches_nothing() -> None:
    """While one of three is off by 4 it is SUSPECT with CONSISTENCY, and the others' corrections stay."""
    truth, value = world(8)
    value[1000:1300, 1] += 4.0
    out = THREE.stage(SCHEMA)(readings_of(value))
    _, _, flag, reason = column(out, "t1.calibrated")
    assert (flag[1000:1300] == Flag.SUSPECT).mean() > 0.99
    assert (reason[1000:1300] & Reason.CONSISTENCY > 0).mean() > 0.99
    assert (flag[1300:] == Flag.PASS).mean() > 0.99
    assert np.ptp((aligned(out) - truth[:, None])[1400:].mean(axis=0)) < 0.06


def test_versions_count_up_and_stay_until_there_is_something_to_say() -> None:
    """Version 0 is raw; a version holds until the states have moved; raw returns by subtracting nothing."""
    _, value = world(9)
    number, *_ = column(THREE.stage(SCHEMA)(readings_of(value)), "sc.version")
    assert number[0] == 0.0
    assert (np.diff(number) >= 0.0).all()
    assert 1.0 <= number[-1] <= 4.0


def test_a_version_can_be_brought_back_and_frozen(tmp_path: Path) -> None:
    """With file, version and freeze the parameters of a version are applied as they were, and nothing is learnt."""
    _, value = world(10)
    path = tmp_path / "versions.toml"
    path.write_text(
        "[[version]]\nnumber = 7\ndays = 0.0\n"
        "[version.parameters]\nt0 = [0.5, 0.0, 0.0]\nt1 = [-0.3, 0.0, 0.0]\nt2 = [0.1, 0.0, 0.01]\n"
        "[version.u]\nt0 = [0.2, 0.0, 0.0]\nt1 = [0.2, 0.0, 0.0]\nt2 = [0.2, 0.0, 0.0]\n"
    )
    config = SelfCalibrate(name="sc", inputs=("t0", "t1", "t2"), file=path, version=7, freeze=True)
    assert not list(config.objections(SCHEMA))
    out = config.stage(SCHEMA)(readings_of(value))
    assert (column(out, "sc.version")[0] == 7.0).all()
    assert np.allclose(aligned(out)[:, :2], value[:, :2] - [0.5, -0.3])
    assert np.allclose(aligned(out)[:, 2] * 1.01 + 0.1, value[:, 2])
    with pytest.raises(ConfigError, match="no version 8"):
        SelfCalibrate(name="sc", inputs=("t0",), reference="ref", file=path, version=8).stage(SCHEMA)
    assert list(SelfCalibrate(name="sc", inputs=("t0", "ref"), file=path, version=7).objections(SCHEMA))


def test_nothing_observable_is_refused() -> None:
    """One sensor without a reference cannot be configured; sensors of unknown u are not touched, and SUSPECT."""
    with pytest.raises(ValueError, match="one sensor without a reference"):
        SelfCalibrate(name="sc", inputs=("t0",))
    _, value = world(11, n=200)
    out = THREE.stage(SCHEMA)(readings_of(value, u=np.nan))
    assert np.array_equal(aligned(out), value)
    assert (column(out, "t0.calibrated")[2] == Flag.SUSPECT).all()
    assert (column(out, "sc.version")[0] == 0.0).all()


def test_neighbours_keep_what_places_may_differ_by() -> None:
    """Sensors at different places: spread_u stays in the u of each."""
    _, value = world(12)
    redundant = column(THREE.stage(SCHEMA)(readings_of(value)), "t0.calibrated")[1][-1]
    neighbours = SelfCalibrate(name="sc", inputs=("t0", "t1", "t2"), spread_u=0.4).stage(SCHEMA)(readings_of(value))
    assert column(neighbours, "t0.calibrated")[1][-1] ** 2 >= redundant**2 + 0.9 * 0.4**2


def test_intervals_hold_what_they_promise() -> None:
    """Over 150 drawn devices, 95 % intervals of an aligned sensor hold 91 to 98.5 % of the truth."""
    inside = []
    for seed in range(150):
        bias = tuple(np.random.default_rng(1000 + seed).normal(0.0, 0.4, 3).tolist())
        truth, value = world(seed, n=200, bias=bias)
        got, u, *_ = column(THREE.stage(SCHEMA)(readings_of(value, u=np.sqrt(0.17))), "t1.calibrated")
        inside.append(abs(got[-1] - truth[-1]) < 1.96 * u[-1])
    assert 0.91 <= np.mean(inside) <= 0.985
