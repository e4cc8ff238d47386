"""The compiled loop corrects as NumPy does, which is the textbook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.calibration import correct
from trueline_edge.calibration.correct import Corrected, Corrector, Unlagged
from trueline_edge.calibration.file import Calibration, Uncertainty
from trueline_edge.calibration.models import Affine, Model, MultiInput, Offset, Polynomial
from trueline_edge.calibration.task import Task
from trueline_edge.estimation.kernels import IMPLEMENTATION

if TYPE_CHECKING:
    from collections.abc import Iterator

DATE = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("x", "y", "t", "h")
TERMS = [
    ("1", "x", "t"),
    ("1", "x", "t", "h", "x*t", "log(x)"),
    ("1", "x^2", "sqrt(x)*t", "inverse(h)"),
    ("x*t*h", "t^3"),
]

pytestmark = pytest.mark.skipif(IMPLEMENTATION != "cython", reason="nothing is compiled here")


def models(rng: np.random.Generator) -> Iterator[Model]:
    """One of each kind, with a covariance of full rank."""
    spread = rng.normal(size=(6, 6)) * 0.1
    whole = spread @ spread.T

    def covariance(size: int) -> tuple[tuple[float, ...], ...]:
        return tuple(map(tuple, whole[:size, :size].tolist()))

    yield Offset(offset=1.5, u_offset=0.2)
    yield Affine(offset=1.0, gain=-2.0, centre=3.0, covariance=covariance(2))
    yield Polynomial(coefficients=(1.0, 2.0, -0.3), centre=2.0, scale=4.0, covariance=covariance(3))
    for terms in TERMS:
        factors = {"t": (15.0, 3.0)} if "t" in terms else {}
        numbers = tuple(rng.normal(size=len(terms)).tolist())
        yield MultiInput(terms=terms, coefficients=numbers, factors=factors, covariance=covariance(len(terms)))


def task(model: Model, rng: np.random.Generator, channel: str = "x") -> Task:
    """Of a channel, with every part of an uncertainty."""
    parts = rng.uniform(0.0, 0.5, 5)
    u = Uncertainty(noise=parts[0], model=parts[1], model_relative=parts[2], drift=parts[3])
    inputs = [name for name in model.linear(channel).inputs if name != channel]
    calibration = Calibration(
        id="c",
        channel=channel,
        date=DATE,
        model=model,
        range=dict.fromkeys((channel, *inputs), (2.0, 20.0)),
        u=u,
        valid_from=DATE - timedelta(days=1),
        valid_until=DATE + timedelta(days=3),
    )
    return Task(calibration, NAMES.index(channel), {n: NAMES.index(n) for n in inputs}, resolution=parts[4])


def batch(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Unlagged]:
    """Four days of readings, some out of range, missing, unusable or without `u`, around the whole validity."""
    time_ns = np.sort(rng.integers(-2 * 86_400, 5 * 86_400, rows)) * 10**9 + int(DATE.timestamp()) * 10**9
    value = rng.uniform(1.0, 22.0, (rows, 4))
    value[rng.random(value.shape) < 0.1] = rng.choice([np.nan, np.inf, 1e4, -5.0])
    u = rng.uniform(0.0, 1.0, value.shape).astype(np.float32)
    u[rng.random(u.shape) < 0.3] = np.nan
    usable = np.isfinite(value) & (rng.random(value.shape) < 0.9)
    lag = np.where(rng.random(u.shape) < 0.5, u, np.float32(0)).astype(np.float32)
    return time_ns, value, u, usable, Unlagged(value + 0.1, u, np.nan_to_num(lag))


def by_numpy(tasks: list[Task]) -> Corrector:
    """The textbook."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correct, "compiled", lambda _: None)
        return Corrector(tasks)


def same(one: Corrected, other: Corrected) -> None:
    """But for the digits of single precision."""
    np.testing.assert_allclose(one.value, other.value, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(one.u, other.u, rtol=3e-5, atol=1e-6)
    shape = one.value.shape
    doubts = [np.zeros(shape, bool) if each.doubtful is None else each.doubtful for each in (one, other)]
    np.testing.assert_array_equal(*doubts)


@pytest.mark.parametrize("kind", range(7))
@pytest.mark.parametrize("lagging", [False, True])
def test_every_model_alike(kind: int, lagging: bool) -> None:  # noqa: FBT001 - a case
    """Value, `u` and doubt of every kind of model, on readings good and bad, are what NumPy says."""
    rng = np.random.default_rng(kind)
    model = list(models(rng))[kind]
    tasks = [task(model, rng), task(Affine(offset=0.0, gain=3.0), rng, "y")]
    time_ns, value, u, usable, unlagged = batch(rng, 400)
    arguments = time_ns, value, u, usable, unlagged if lagging else None
    same(Corrector(tasks)(*arguments), by_numpy(tasks)(*arguments))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 60), max_size=4))
def test_where_a_batch_is_cut_changes_no_bit(seed: int, cuts: list[int]) -> None:
    """A row comes out the same, whatever rows stand beside it."""
    rng = np.random.default_rng(seed)
    tasks = [task(list(models(rng))[seed % 7], rng), task(Offset(offset=1.0), rng, "y")]
    time_ns, value, u, usable, _ = batch(rng, 60)
    corrector = Corrector(tasks)
    whole = corrector(time_ns, value, u, usable)
    edges = [0, *sorted(cuts), 60]
    for start, stop in pairwise(edges):
        rows = slice(start, stop)
        part = corrector(time_ns[rows], value[rows], u[rows], usable[rows])
        assert part.value.tobytes() == whole.value[rows].tobytes()
        assert part.u.tobytes() == whole.u[rows].tobytes()


def test_what_there_is_no_room_for_is_left_to_numpy() -> None:
    """A sum of a hundred terms is corrected all the same."""
    rng = np.random.default_rng(3)
    terms = ("1", *(f"x^{a}*t^{b}" for a in range(2, 10) for b in range(2, 10)))
    tasks = [task(MultiInput(terms=terms, coefficients=(0.001,) * len(terms)), rng)]
    time_ns, value, u, usable, _ = batch(rng, 5)
    same(Corrector(tasks)(time_ns, value, u, usable), by_numpy(tasks)(time_ns, value, u, usable))
