"""Fitting: out of time, honest about what is left, and refusing what does not follow."""

from __future__ import annotations

import numpy as np
import pytest

from trueline_edge.calibration.candidates import Data
from trueline_edge.calibration.charts import cusum, ewma, shewhart
from trueline_edge.calibration.consistency import Limits, examine
from trueline_edge.calibration.fitting import Refused, fit, splits_of
from trueline_edge.calibration.models import Affine
from trueline_edge.calibration.pairing import average_onto, estimate_offset, interval_of
from trueline_edge.calibration.splits import standard_errors
from trueline_edge.calibration.terms import Factor

HOUR = 3600.0
NS = 1_000_000_000


def weather(rng: np.random.Generator, n: int) -> np.ndarray:
    """A daily cycle on top of days that differ."""
    days = np.repeat(np.cumsum(rng.normal(0, 2.0, n // 24 + 1)), 24)[:n]
    return 20.0 + days + 6.0 * np.sin(np.arange(n) * 2 * np.pi / 24)


def made(seed: int, n: int = 480, noise: float = 1.0, *, drift: float = 0.0) -> Data:
    """A sensor with gain 0.5, offset 10, and a dependence on temperature."""
    rng = np.random.default_rng(seed)
    temperature = weather(rng, n)
    truth = 40.0 + 10.0 * rng.standard_normal(n).cumsum() / np.sqrt(np.arange(1, n + 1)) + rng.normal(0, 5.0, n)
    wander = np.cumsum(rng.normal(0, drift, n))
    raw = 10.0 + 0.5 * truth + 0.3 * (temperature - 20.0) + wander + rng.normal(0, 0.5 * noise, n)
    return Data(np.arange(n) * HOUR, {"x": raw, "t": temperature}, truth, "x", (), ("t",))


def test_inner_splits_never_mix_before_and_after() -> None:
    """What is scored lies wholly after, or wholly before, what was fitted."""
    for fitted, scored in splits_of(100):
        assert set(fitted) | set(scored) == set(range(100))
        assert fitted.max() < scored.min() or scored.max() < fitted.min()


def test_a_known_sensor_is_found() -> None:
    """Gain, temperature dependence and noise come out as they went in."""
    found = fit(made(1))
    factors = found.model.factors
    slope = dict(zip(found.model.terms, found.model.coefficients, strict=True))
    assert slope["x"] / factors["x"][1] == pytest.approx(2.0, rel=0.05)
    assert slope["t"] / factors["t"][1] == pytest.approx(-0.6, rel=0.15)
    assert np.hypot(found.u.noise, found.u.model) == pytest.approx(1.0, rel=0.4)
    assert found.rmse["average of candidates"] < 0.8 * found.rmse["affine"]


def test_without_conditions_the_calibration_is_a_straight_line() -> None:
    """What one line says is written as offset and gain."""
    data = made(2)
    bare = data._replace(raw={"x": data.raw["x"] - 0.3 * (data.raw["t"] - 20.0)}, conditions=())
    model = fit(bare).model
    assert isinstance(model, Affine)
    assert model.gain == pytest.approx(2.0, rel=0.05)


def test_a_function_that_is_known_is_fitted_as_it_is() -> None:
    """Terms given by a person are the ones in the file, a square too, and after a few days."""
    data = made(2)
    own = Factor("", "x")
    squared = data._replace(reference=data.reference + 0.02 * (data.raw["x"] - 30) ** 2, terms=((own,), (own, own)))
    model = fit(squared).model
    assert model.terms == ("1", "x", "x^2")
    assert model.coefficients[2] / model.factors["x"][1] ** 2 == pytest.approx(0.02, rel=0.25)


def test_a_range_holds_what_it_was_made_from() -> None:
    """Limits are rounded outwards: a humidity that stands at 99.9 is not outside by the last bit of a mean."""
    data = made(1)
    stuck = np.minimum(data.raw["t"], 24.9)
    stuck[stuck == 24.9] += np.random.default_rng(1).choice([0.0, 3e-12, -3e-12], int((stuck == 24.9).sum()))
    found = fit(data._replace(raw=data.raw | {"t": stuck})).ranges["t"]
    assert found[0] <= stuck.min()
    assert 24.9 + 3e-12 <= found[1] <= 24.901


def test_a_gross_outlier_moves_nothing() -> None:
    """Robust: three readings far off change the line by less than its own uncertainty."""
    data = made(3)
    spoilt = data._replace(reference=data.reference.copy())
    spoilt.reference[[50, 200, 300]] = 5000.0
    clean, dirty = fit(data).model, fit(spoilt).model
    sigma = np.sqrt(np.diag(clean.covariance))
    assert np.abs(np.array(clean.coefficients) - np.array(dirty.coefficients))[1] < 4 * sigma[1] + 0.5


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_negative_control_a_shuffled_reference_is_refused(seed: int) -> None:
    """Where nothing follows anything, there is no calibration, and the reasons say so."""
    data = made(seed)
    shuffled = np.random.default_rng(seed).permutation(data.reference)
    with pytest.raises(Refused, match="does not follow the reference"):
        fit(data._replace(reference=shuffled))


def test_conditions_alone_are_no_sensor() -> None:
    """A channel that adds nothing to temperature is refused, however well temperature predicts."""
    data = made(7)
    rng = np.random.default_rng(7)
    reference = 3.0 * data.raw["t"] + rng.normal(0, 1.0, len(data.reference))
    dead = data.raw | {"x": data.raw["t"] + rng.normal(0, 3.0, len(data.reference))}
    with pytest.raises(Refused, match="t alone say nearly as much"):
        fit(data._replace(raw=dead, reference=reference))


@pytest.mark.parametrize(("change", "message"), [(slice(0, 20), "48 are needed"), (None, "does not change")])
def test_too_little_is_refused(change: slice | None, message: str) -> None:
    """Few pairs, or a reference that stands still."""
    data = made(8)
    poor = data.rows(change) if change else data._replace(reference=np.full(len(data.reference), 3.0))
    with pytest.raises(Refused, match=message):
        fit(poor)


def test_conditions_that_do_harm_are_left_out_and_others_are_not() -> None:
    """A condition that only wandered along hardly counts; one that disturbs the sensor counts in full."""
    told = made(15, n=480)
    rng = np.random.default_rng(15)
    bare = told.raw["x"] - 0.3 * (told.raw["t"] - 20.0) + 0.8 * rng.normal(size=480).cumsum() / 5.0
    wandering = told._replace(raw={"x": bare, "t": bare * 0.2 + rng.normal(size=480).cumsum()})
    alone = fit(wandering, model="affine")
    weighed, forced = fit(wandering), fit(wandering, model="multi_input")
    errors = [found.rmse["average of candidates"] for found in (alone, weighed, forced)]
    assert errors[0] < errors[2], "negative control: all inputs err more"
    assert errors[1] < errors[2]
    full = fit(told).rmse["average of candidates"]
    assert full == pytest.approx(fit(told, model="multi_input").rmse["average of candidates"], rel=0.03)


def test_days_that_share_a_fit_are_no_independent_days() -> None:
    """Equal errors are no standard error ahead; what is ahead is less so where days share their fits."""
    data = made(16)
    splits = splits_of(len(data.reference))
    rng = np.random.default_rng(16)
    good = [data.reference[scored] + rng.normal(0, 1.0, len(scored)) for _, scored in splits]
    poor = [data.reference[scored] + rng.normal(0, 2.0, len(scored)) for _, scored in splits]
    assert standard_errors(data, splits, good, good, shared=False) == 0.0
    independent = standard_errors(data, splits, good, poor, shared=False)
    assert independent > 2 * standard_errors(data, splits, good, poor, shared=True) > 0.0
    assert standard_errors(data, splits, poor, good, shared=False) == pytest.approx(-independent)


def test_random_splits_are_optimistic_and_are_not_used() -> None:
    """With a sensor that drifts, neighbours in time give the answer away: random splits promise what time denies."""
    data = made(9, n=1200, noise=0.2, drift=0.15)
    rng = np.random.default_rng(9)
    x = np.stack([np.ones(1200), data.raw["x"], data.raw["t"], data.time_s], axis=1)
    half = rng.random(1200) < 0.5

    def nearest(fitted: np.ndarray, scored: np.ndarray) -> float:
        """A flexible model: a line and the residual of the nearest neighbour in time."""
        beta = np.linalg.lstsq(x[fitted][:, :3], data.reference[fitted], rcond=None)[0]
        residual = data.reference - x[:, :3] @ beta
        near = fitted[np.abs(data.time_s[scored][:, None] - data.time_s[fitted]).argmin(axis=1)]
        return float(np.sqrt(np.mean((residual[scored] - residual[near]) ** 2)))

    by_chance = nearest(np.flatnonzero(half), np.flatnonzero(~half))
    by_time = nearest(np.arange(600), np.arange(600, 1200))
    assert by_chance < 0.75 * by_time


def test_readings_are_averaged_over_the_intervals_of_the_reference() -> None:
    """Means over [start, start + width), against a textbook loop; too little measured is nothing."""
    rng = np.random.default_rng(10)
    times = np.sort(rng.integers(0, 1000, 500)) * NS
    value = rng.normal(size=(500, 2))
    value[rng.random((500, 2)) < 0.2] = np.nan
    starts = np.arange(0, 1000, 50) * NS
    mean, count = average_onto(starts, 50 * NS, times, value, share_min=0.0)
    for i, start in enumerate(starts):
        inside = value[(times >= start) & (times < start + 50 * NS)]
        assert count[i].tolist() == np.isfinite(inside).sum(axis=0).tolist()
        assert mean[i] == pytest.approx(np.nanmean(inside, axis=0))
    few, _ = average_onto(starts, 50 * NS, times[:25], value[:25], share_min=0.9)
    assert np.isnan(few[10:]).all()
    assert interval_of(starts) == 50 * NS


@pytest.mark.parametrize("offset_min", [-90, -17, 0, 25, 120])
def test_an_unknown_clock_offset_is_found(offset_min: int) -> None:
    """Minutes of a raw clock against an hourly reference; where they agree, nothing is taken off."""
    rng = np.random.default_rng(11)
    minutes = np.arange(20 * 1440)
    truth = np.convolve(rng.normal(size=len(minutes) + 200), np.ones(201) / 201, "valid") * 20
    starts = np.arange(0, len(minutes) - 59, 60)
    reference = np.array([truth[s : s + 60].mean() for s in starts])
    raw = 0.7 * truth + 3 + rng.normal(0, 0.3, len(truth))
    found = estimate_offset(starts * 60 * NS, 3600 * NS, reference, (minutes + offset_min) * 60 * NS, raw, 3 * 3600.0)
    assert found.offset_s / 60 == pytest.approx(offset_min, abs=4 if offset_min else 0)
    assert found.certain is bool(offset_min)


def test_an_offset_is_not_read_out_of_noise() -> None:
    """A sensor that does not follow says nothing of clocks."""
    rng = np.random.default_rng(12)
    starts = np.arange(500) * 3600 * NS
    found = estimate_offset(starts, 3600 * NS, rng.normal(size=500), starts, rng.normal(size=500), 48 * 3600.0)
    assert not found.certain
    assert found.offset_s == 0.0


def shifted(size: float, seed: int = 13) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(300) + size * (np.arange(300) >= 100)


def test_charts_see_what_they_are_made_for() -> None:
    """In control hardly a point is out; EWMA and CUSUM see a shift of one, Shewhart one of five at once."""
    for chart in (shewhart, ewma, cusum):
        assert chart(shifted(0.0)).out.mean() < 0.05
        assert chart(shifted(5.0)).out[100:].mean() > 0.9
        assert 100 <= chart(np.where(np.arange(300) < 100, 0.0, shifted(5.0))).first <= 103
    assert 100 < ewma(shifted(1.0)).first < 125
    assert cusum(shifted(1.0)).out[120:].mean() > 0.9
    assert shewhart(shifted(1.0)).out.mean() < 0.1
    assert not cusum(np.full(5, np.nan)).out.any()


def shelf(seed: int = 14, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = 20 + np.sin(np.arange(n) / 10)
    return np.arange(n) * HOUR, truth[:, None] + rng.normal(0, 0.1, (n, 5))


def test_good_sensors_are_consistent_and_each_fault_is_named() -> None:
    """Biased, drifting, noisy, stuck and silent sensors are told from the good ones, by their reasons."""
    time_s, value = shelf()
    names = ("a", "b", "c", "d", "e")
    limits = Limits(bias=0.2, spread=0.3, drift_per_day=0.02, slope_error=0.3)
    good = [each.metrics for each in examine(time_s, value, names, limits=limits)]
    assert [m.verdict for m in good] == ["consistent"] * 5
    faults = {
        "bias": lambda v: v + 0.5,
        "drift": lambda v: v + 0.06 * np.arange(len(v)) / 24,
        "spread": lambda v: v + np.random.default_rng(1).normal(0, 0.5, len(v)),
        "slope": lambda v: np.full_like(v, 20.0),
        "readings in": lambda v: np.where(np.arange(len(v)) % 2, np.nan, v),
        "control": lambda v: v + 0.1 * (np.arange(len(v)) > 400),
    }
    for word, spoil in faults.items():
        spoilt = value.copy()
        spoilt[:, 2] = spoil(value[:, 2])
        found = [each.metrics for each in examine(time_s, spoilt, names, limits=limits)]
        assert [m.verdict for m in found] == ["consistent"] * 2 + ["inconsistent"] + ["consistent"] * 2, word
        assert word in "; ".join(found[2].reasons)


def test_two_sensors_without_a_reference_are_not_judged() -> None:
    """Nobody can say which of two is wrong; with a reference one can."""
    time_s, value = shelf()
    with pytest.raises(ValueError, match="which of two is wrong"):
        examine(time_s, value[:, :2], ("a", "b"), limits=Limits())
    found = examine(time_s, value[:, :2], ("a", "b"), limits=Limits(bias=0.1), reference=value[:, 2])
    assert [each.metrics.verdict for each in found] == ["consistent"] * 2
