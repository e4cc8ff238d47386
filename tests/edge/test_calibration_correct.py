"""Corrected readings: the standard uncertainty is the GUM's, and says when it knows less."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.calibration.correct import Corrector
from trueline_edge.calibration.file import Calibration, Uncertainty
from trueline_edge.calibration.models import Affine, MultiInput, Offset, Polynomial, Table
from trueline_edge.calibration.task import Task, to_ns

if TYPE_CHECKING:
    from trueline_edge.calibration.correct import Corrected
    from trueline_edge.calibration.models import Model

DATE = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = 1_000_000_000
RANGES = {"x": (-100.0, 100.0), "t": (0.0, 40.0), "h": (10.0, 90.0)}
COVARIANCE = ((0.04, 0.003, -0.002), (0.003, 0.0025, 0.0004), (-0.002, 0.0004, 0.0009))


def calibration(model: Model, **more: Any) -> Calibration:
    made = Calibration(id="k", channel="x", date=DATE, model=model, **more)
    return Calibration(
        id="k", channel="x", date=DATE, model=model, **{"range": {n: RANGES[n] for n in ("x", *made.inputs)}, **more}
    )


def correct(
    how: Calibration, value: Any, u: Any = np.nan, *, days: float = 0.0, usable: Any = True, resolution: float = 0.0
) -> Corrected:
    """Correct rows of (x, t, h), all at one time."""
    values = np.array(value, np.float64, ndmin=2)
    n = len(values)
    task = Task(how, 0, {name: {"t": 1, "h": 2}[name] for name in how.inputs}, resolution)
    times = np.full(n, to_ns(DATE) + int(days * 86_400 * SECOND))
    spread = np.broadcast_to(np.float32(u), values.shape).astype(np.float32)
    return Corrector([task])(times, values, spread, np.broadcast_to(usable, values.shape))


def multi(*terms: str, **more: Any) -> MultiInput:
    factors = {"x": (5.0, 2.0), "t": (20.0, 5.0), "log(x)": (1.0, 0.5)}
    known = {f for term in terms for f in factors if f in term.replace("^2", "").split("*")}
    return MultiInput(
        terms=terms,
        coefficients=(1.0, 2.0, -0.7)[: len(terms)],
        factors={f: factors[f] for f in known},
        covariance=tuple(row[: len(terms)] for row in COVARIANCE[: len(terms)]),
        **more,
    )


MODELS: dict[str, Model] = {
    "offset": Offset(offset=0.5, u_offset=0.2),
    "affine": Affine(offset=1.0, gain=1.3, centre=4.0, covariance=tuple(row[:2] for row in COVARIANCE[:2])),
    "polynomial": Polynomial(coefficients=(1.0, 2.0, 0.3), centre=5.0, scale=3.0, covariance=COVARIANCE),
    "two inputs": multi("1", "x", "t"),
    "product": multi("1", "x*t", "x"),
    "logarithm and square": multi("1", "log(x)", "t^2"),
    "table": Table(raw=(0.0, 5.0, 9.0, 12.0), value=(1.0, 2.0, 6.0, 7.0), u=(0.2, 0.3, 0.1, 0.2)),
}


def truth(model: Model, parameters: np.ndarray, x: Any, t: Any) -> Any:
    """The models once more, written out (m, draws)."""
    p = parameters
    match model:
        case Offset():
            return x + p[0]
        case Affine():
            return p[0] + p[1] * (x - 4.0)
        case Polynomial():
            z = (x - 5.0) / 3.0
            return p[0] + p[1] * z + p[2] * z * z
        case MultiInput():
            xs, ts, logs = (x - 5.0) / 2.0, (t - 20.0) / 5.0, (np.log(x) - 1.0) / 0.5
            named = {"1": 1.0, "x": xs, "t": ts, "x*t": xs * ts, "log(x)": logs, "t^2": ts * ts}
            return sum(p[i] * named[term] for i, term in enumerate(model.terms))
        case _:
            inner = int(np.searchsorted(model.raw, np.mean(x))) - 1
            share = (x - model.raw[inner]) / (model.raw[inner + 1] - model.raw[inner])
            return (1 - share) * p[inner] + share * p[inner + 1]


def draws(model: Model, rng: np.random.Generator, count: int) -> np.ndarray:
    match model:
        case Offset():
            return model.offset + model.u_offset * rng.standard_normal((1, count))
        case Affine():
            mean = np.array([model.offset, model.gain])
        case Table():
            mean = np.array(model.value)
        case _:
            mean = np.array(model.coefficients)
    covariance = np.diag(np.square(model.u)) if isinstance(model, Table) else np.array(model.covariance)
    return rng.multivariate_normal(mean, covariance, count).T


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("x", "t"), [(6.5, 24.0), (8.0, 17.0)])
def test_the_law_of_propagation_agrees_with_monte_carlo(name: str, x: float, t: float) -> None:
    """Value and u are mean and spread of what drawn parameters, inputs, noise and resolution give (JCGM 101)."""
    model, rng, count = MODELS[name], np.random.default_rng(7), 200_000
    u_x, u_t, step = 0.05, 0.1, 0.2
    how = calibration(model, u=Uncertainty(model=0.06, model_relative=0.01, drift=0.02))
    got = correct(how, [x, t, 50.0], [u_x, u_t, np.nan], days=9.0, resolution=step)
    drawn_x = x + u_x * rng.standard_normal(count) + step * (rng.random(count) - 0.5)
    drawn = truth(model, draws(model, rng, count), drawn_x, t + u_t * rng.standard_normal(count))
    relative = 1 + 0.01 * rng.standard_normal(count)
    drawn = drawn * relative + np.hypot(0.06, 0.02 * 3.0) * rng.standard_normal(count)
    assert got.doubtful is None
    assert got.value[0, 0] == pytest.approx(drawn.mean(), abs=0.02)
    assert got.u[0, 0] == pytest.approx(drawn.std(), rel=0.03)


def test_negative_control_without_the_correlation_of_offset_and_gain_monte_carlo_disagrees() -> None:
    """Far from the centre, a covariance whose off-diagonal was dropped gives another u."""
    covariance = ((0.04, 0.009), (0.009, 0.0025))
    whole = correct(calibration(Affine(offset=1.0, gain=1.3, covariance=covariance)), [8.0, 0.0, 0.0])
    bare = Affine(offset=1.0, gain=1.3, covariance=((0.04, 0.0), (0.0, 0.0025)))
    assert whole.u[0, 0] == pytest.approx(np.sqrt(0.04 + 2 * 8 * 0.009 + 64 * 0.0025), rel=1e-5)
    assert correct(calibration(bare), [8.0, 0.0, 0.0]).u[0, 0] < 0.85 * whole.u[0, 0]


def test_noise_of_the_file_gives_way_to_a_larger_u_of_the_reading() -> None:
    """The larger of both counts, once; an unknown u leaves the file's noise."""
    how = calibration(Offset(offset=0.0), u=Uncertainty(noise=0.3))
    assert correct(how, [1.0, 0.0, 0.0]).u[0, 0] == pytest.approx(0.3)
    assert correct(how, [1.0, 0.0, 0.0], 0.1).u[0, 0] == pytest.approx(0.3)
    assert correct(how, [1.0, 0.0, 0.0], 0.5).u[0, 0] == pytest.approx(0.5)


def test_out_of_range_is_doubtful_and_wider_the_further() -> None:
    """The uncertainty grows by 1 + 2 d with the distance in half widths."""
    how = calibration(Offset(offset=0.0), range={"x": (0.0, 10.0)}, u=Uncertainty(model=1.0))
    got = correct(how, [[5.0, 0, 0], [10.0, 0, 0], [12.5, 0, 0], [-5.0, 0, 0]])
    assert got.doubtful is not None
    assert got.doubtful[:, 0].tolist() == [False, False, True, True]
    assert got.u[:, 0] == pytest.approx([1.0, 1.0, 2.0, 3.0])


def test_beyond_its_validity_a_calibration_is_doubtful_and_wider() -> None:
    """An expired calibration does not stop; it says less. One that is not valid yet says so too."""
    how = calibration(
        Offset(offset=0.0),
        u=Uncertainty(model=1.0),
        valid_from=DATE,
        valid_until=DATE + timedelta(days=100),
    )
    for days, doubtful, u in ((0.0, False, 1.0), (100.0, False, 1.0), (150.0, True, 2.0), (-1.0, True, 1.002)):
        got = correct(how, [5.0, 0, 0], days=days)
        assert (got.doubtful is not None and bool(got.doubtful[0, 0])) is doubtful
        assert got.u[0, 0] == pytest.approx(u, rel=1e-3)


def test_a_missing_input_is_guessed_from_its_range_and_said() -> None:
    """The middle of the range stands in, with the width of the range as uncertainty (GUM 4.3.7)."""
    how = calibration(multi("1", "x", "t"))
    whole = correct(how, [6.0, 20.0, 0.0])
    for cell, usable in ((np.nan, [True, False, True]), (9000.0, [True, False, True])):
        got = correct(how, [6.0, cell, 0.0], usable=usable)
        assert got.doubtful is not None
        assert got.doubtful[0, 0]
        assert got.value[0, 0] == whole.value[0, 0]
        assert got.u[0, 0] == pytest.approx(np.hypot(whole.u[0, 0], 0.7 / 5 * 20 / np.sqrt(3)), rel=0.01)


def test_what_was_not_measured_stays_so() -> None:
    """NaN in, NaN out, and no uncertainty of it."""
    got = correct(calibration(MODELS["polynomial"]), [np.nan, 20.0, 50.0])
    assert np.isnan(got.value[0, 0])
    assert np.isnan(got.u[0, 0])


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["offset", "affine", "affine", "polynomial", "two inputs"]), min_size=1, max_size=4))
def test_channels_evaluated_together_come_out_as_if_alone(names: list[str]) -> None:
    """Grouping channels by their terms changes no bit."""
    rng = np.random.default_rng(len(names))
    k = len(names)
    value = rng.normal(8.0, 4.0, (300, k + 1))
    u = rng.choice([np.nan, 0.1, 0.4], (300, k + 1)).astype(np.float32)
    usable = rng.random(value.shape) < 0.9
    times = to_ns(DATE) + np.arange(300) * 600 * SECOND
    hows = [calibration(MODELS[name], u=Uncertainty(noise=0.1 * i, drift=0.01 * i)) for i, name in enumerate(names)]
    tasks = [Task(how, i, dict.fromkeys(how.inputs, k), 0.1) for i, how in enumerate(hows)]
    together = Corrector(tasks)(times, value, u, usable)
    for i, task in enumerate(tasks):
        alone = Corrector([task])(times, value, u, usable)
        assert together.value[:, i].tobytes() == alone.value[:, i].tobytes()
        assert together.u[:, i].tobytes() == alone.u[:, i].tobytes()
        doubts = [np.zeros(300, np.bool_) if g.doubtful is None else g.doubtful[:, i] for g in (together, alone)]
        assert np.array_equal(*doubts)
    assert together.value[:, k].tobytes() == value[:, k].tobytes()


@given(st.lists(st.floats(0.1, 5.0), min_size=1, max_size=8), st.booleans(), st.floats(-5.0, 50.0))
def test_a_smooth_table_is_monotone_and_meets_its_knots(steps: list[float], falling: bool, x: float) -> None:  # noqa: FBT001
    """Fritsch-Carlson: no overshoot between the knots."""
    raw = np.concatenate([[0.0], np.cumsum(steps)])
    value = np.concatenate([[1.0], 1.0 + np.cumsum(steps[::-1])]) * (-1 if falling else 1)
    how = calibration(Table(raw=tuple(raw), value=tuple(value), smooth=True))
    assert correct(how, [[r, 0, 0] for r in raw]).value[:, 0] == pytest.approx(value)
    rise = np.diff(correct(how, [[x, 0, 0], [x + 0.01, 0, 0]]).value[:, 0])[0]
    assert (rise <= 1e-9) if falling else (rise >= -1e-9)
