"""Play: what a sensor that hangs behind shows is turned round, and the uncertainty says where that cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from trueline_edge.calibration.file import Calibration, Limits, Play, Uncertainty, dump_calibration, load_calibration
from trueline_edge.calibration.informed import Tolerance, fit_informed
from trueline_edge.calibration.models import Affine, Offset
from trueline_edge.estimation.play import play_between, play_fresh, undo_play
from trueline_edge.estimation.textbook import play as textbook
from trueline_edge.stages.calibrate import CorrectReadings
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

try:
    from trueline_edge.estimation import hot
except ImportError:  # no compiler was at hand
    hot = None  # type: ignore[assignment]

HALF, NOISE = 0.8, 0.03


def shown(quantity: Array, half: float = HALF) -> Array:
    """By the definition: moves only when it is pushed; it lay in the middle at first."""
    out, last = np.empty_like(quantity), quantity[0].copy()
    for i, row in enumerate(quantity):
        last = np.minimum(np.maximum(last, row - half), row + half)
        out[i] = last
    return out


def undone(readings: Array, noise: float = NOISE, half: float = HALF, dt_s: Array | None = None) -> tuple[Array, Array]:
    """Value and its standard uncertainty, noise and all."""
    dt_s = np.full(len(readings), 60.0) if dt_s is None else dt_s
    out, _ = undo_play(play_fresh(readings.shape[1]), dt_s, readings, half, noise**2)
    return readings + out.offset, np.sqrt(out.var + noise**2)


def within(error: Array, u: Array, k: float) -> float:
    return float(np.mean(np.abs(error) <= k * u))


def test_while_it_moves_one_way_it_is_inverted_exactly() -> None:
    """Up by the half-width while the reading rises, down by it while it falls, with hardly more than the noise."""
    rise = np.concatenate([np.linspace(0.0, 30.0, 150), np.linspace(30.0, 0.0, 150)])[:, None]
    value, u = undone(shown(rise) + np.random.default_rng(1).normal(0.0, NOISE, rise.shape))
    for steady in (slice(20, 150), slice(170, 300)):
        error = np.abs(value - rise)[steady]
        assert np.sqrt(np.mean(error**2)) < 2.0 * NOISE
        assert (error < 4.5 * u[steady]).all()
        assert np.median(u[steady]) < 1.1 * NOISE


def test_before_anything_moves_it_lies_anywhere_within() -> None:
    """A first reading is left as it is, with the rectangle's standard deviation (JCGM 100:2008, 4.3.7)."""
    value, u = undone(np.array([[20.0], [20.0]]))
    assert value[0, 0] == pytest.approx(20.0)
    assert u[0, 0] == pytest.approx(np.hypot(HALF / np.sqrt(3.0), NOISE), rel=0.01)


def test_where_the_reading_rests_what_is_known_fades() -> None:
    """After a turn the quantity crosses the play unseen: u grows from noise to about a rectangle's."""
    rng = np.random.default_rng(2)
    quantity = np.cumsum(rng.normal(0.0, 0.2 * HALF, (600, 1)), axis=0)
    quantity[300:] = quantity[299] + 0.0 * quantity[300:]
    _, u = undone(shown(quantity) + rng.normal(0.0, NOISE, quantity.shape))
    assert u[301:306].max() > 2.0 * u[:300].min()


MOTIONS: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    "a slow walk": lambda rng, n, k: np.cumsum(rng.normal(0.0, 0.15 * HALF, (n, k)), axis=0),
    "a walk": lambda rng, n, k: np.cumsum(rng.normal(0.0, 0.6 * HALF, (n, k)), axis=0),
    "a lively walk": lambda rng, n, k: np.cumsum(rng.normal(0.0, 3.0 * HALF, (n, k)), axis=0),
    "calm and lively by turns": lambda rng, n, k: np.cumsum(
        rng.normal(0.0, HALF, (n, k)) * np.where(np.arange(n) // 60 % 2, 1.0, 0.05)[:, None], axis=0
    ),
    "days, with clouds": lambda rng, n, k: (
        8.0 * HALF * np.sin(np.arange(n) / 40.0 + rng.uniform(0, 6, k)[None].T).T
        + np.cumsum(rng.normal(0.0, 0.1 * HALF, (n, k)), axis=0)
    ),
    "turbulence": lambda rng, n, k: (
        np.cumsum(rng.normal(0.0, 0.05 * HALF, (n, k)), axis=0) + rng.normal(0.0, 0.6 * HALF, (n, k))
    ),
}


@pytest.mark.parametrize("noise", [0.01 * HALF, 0.25 * HALF], ids=["quiet", "noisy"])
@pytest.mark.parametrize("motion", MOTIONS)
def test_the_uncertainty_is_honest(motion: str, noise: float) -> None:
    """However the quantity moves and however noisy the sensor: errors are as large as said, at worst as uncorrected.

    The intervals are symmetric where the quantity may lie at one end or anywhere: so 50 % ones hold 40 to 75 %.
    """
    rng = np.random.default_rng(7)
    quantity = MOTIONS[motion](rng, 500, 40)
    readings = shown(quantity) + rng.normal(0.0, noise, quantity.shape)
    value, u = undone(readings, noise)
    error, u = (value - quantity)[100:], u[100:]
    rmse, raw = np.sqrt(np.mean(error**2)), np.sqrt(np.mean((readings - quantity)[100:] ** 2))
    assert rmse < 1.08 * raw
    assert 0.8 < rmse / np.sqrt(np.mean(u**2)) < 1.25
    assert within(error, u, 1.96) > 0.90
    assert 0.36 < within(error, u, 0.6745) < 0.85


def test_negative_control_the_rectangle_alone_is_dishonest() -> None:
    """Left uncorrected with the rectangle's u, play makes 50 % intervals hold a fifth, and errors are far larger."""
    rng = np.random.default_rng(7)
    quantity = MOTIONS["days, with clouds"](rng, 500, 40)
    readings = shown(quantity) + rng.normal(0.0, NOISE, quantity.shape)
    value, u = undone(readings)
    raw = (readings - quantity)[100:]
    plain_u = np.full(raw.shape, np.hypot(HALF / np.sqrt(3.0), NOISE))
    assert within(raw, plain_u, 0.6745) < 0.25
    assert 0.40 < within((value - quantity)[100:], u[100:], 0.6745) < 0.70
    assert np.sqrt(np.mean((value - quantity)[100:] ** 2)) < 0.6 * np.sqrt(np.mean(raw**2))


def test_a_spike_of_the_electronics_pushes_no_play() -> None:
    """A single reading far off is not believed; one that stays is, with the second reading."""
    rise = np.linspace(0.0, 20.0, 100)[:, None]
    readings = shown(rise) + np.random.default_rng(3).normal(0.0, NOISE, rise.shape)
    spiked = readings.copy()
    spiked[60] += 60.0
    clean, _ = undone(readings)
    value, _ = undone(spiked)
    assert np.abs(value - clean)[61:].max() < 2.0 * NOISE
    stepped = readings.copy()
    stepped[60:] -= 60.0  # and goes on upwards from there
    value, _ = undone(stepped)
    assert np.abs(value - (rise - 60.0))[80:].max() < 5.0 * NOISE


def test_a_gap_lets_it_go_further() -> None:
    """After a gap less is known than after one interval of a quantity that moves slowly."""
    rng = np.random.default_rng(5)
    quantity = np.cumsum(np.abs(rng.normal(0.0, 0.1, (200, 20))), axis=0)
    quantity[150] = quantity[149]
    readings = shown(quantity) + rng.normal(0.0, NOISE, quantity.shape)
    dt_s = np.full(200, 60.0)
    _, soon = undone(readings, dt_s=dt_s)
    dt_s[150] = 3600.0
    _, late = undone(readings, dt_s=dt_s)
    assert late[150].mean() > 1.5 * soon[150].mean()


def rows(seed: int, n: int = 120) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    quantity = np.cumsum(rng.normal(0.0, [0.02, 0.5, 4.0], (n, 3)), axis=0)
    readings = shown(quantity) + rng.normal(0.0, NOISE, quantity.shape)
    readings[rng.random(readings.shape) < 0.05] = np.nan
    readings[rng.random(readings.shape) < 0.01] += 100.0
    dt_s = rng.choice([60.0, 60.0, 60.0, 0.0, 600.0], n)
    dt_s[0] = np.nan
    return dt_s, readings


@pytest.mark.skipif(hot is None, reason="the extension was not built")
def test_the_compiled_one_is_the_textbook() -> None:
    """Same numbers, same state, whatever comes."""
    for seed in range(3):
        dt_s, readings = rows(seed)
        given = (
            textbook.transitions(),
            dt_s,
            readings,
            np.full(3, HALF),
            np.full(readings.shape, NOISE**2),
            np.full(3, 1e-5),
        )
        found = []
        for kernel in (hot.undo_play, textbook.undo_play):
            state, offset, var = textbook.fresh(3), np.empty(readings.shape), np.empty(readings.shape)
            kernel(state, *given, offset, var)
            found.append((state, offset, var))
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=20, deadline=None)
def test_where_rows_are_cut_changes_no_bit(seed: int, cuts: list[int]) -> None:
    """One call, or many: the same; channels do not hear of one another."""
    dt_s, readings = rows(seed, 60)
    whole, end = undo_play(play_fresh(3), dt_s, readings, HALF, NOISE**2, 1e-5)
    state, at = play_fresh(3), 0
    offsets, spreads = [], []
    for stop in [*sorted(cuts), 60]:
        part, state = undo_play(state, dt_s[at:stop], readings[at:stop], HALF, NOISE**2, 1e-5)
        offsets.append(part.offset)
        spreads.append(part.var)
        at = stop
    assert np.array_equal(np.concatenate(offsets), whole.offset)
    assert np.array_equal(np.concatenate(spreads), whole.var)
    assert np.array_equal(state, end)
    alone, _ = undo_play(play_fresh(1), dt_s, readings[:, 1:2], HALF, NOISE**2, 1e-5)
    assert np.array_equal(alone.offset[:, 0], whole.offset[:, 1])


@given(seed=st.integers(0, 1000), half=st.floats(0.01, 50.0), start=st.floats(-1.0, 1.0))
@settings(max_examples=50, deadline=None)
def test_what_is_shown_lies_between(seed: int, half: float, start: float) -> None:
    """Wherever it lay at first, what the sensor shows is between the two; once they meet, both are it, for ever."""
    rng = np.random.default_rng(seed)
    quantity = np.cumsum(rng.normal(size=(80, 1)), axis=0)
    low, high = play_between(quantity, half)
    last = quantity[0] + start * half
    for i, row in enumerate(quantity):
        last = np.clip(last, row - half, row + half)
        assert low[i] - 1e-9 <= last <= high[i] + 1e-9
    width = high - low
    assert (np.diff(width, axis=0) <= 1e-9).all()
    assert width[0] == pytest.approx(2.0 * half)


def fitted(play: float, *, moved: float = 6.0) -> Any:
    rng = np.random.default_rng(11)
    truth = moved * np.sin(np.arange(500) / 60.0)[:, None] + np.zeros(50)
    truth[400:] = truth[400]  # and hangs at the lower end
    raw = shown(truth) + rng.uniform(-2.0, 2.0, 50) + rng.normal(0.0, NOISE, truth.shape)
    beside = truth + rng.normal(0.0, 0.01, truth.shape)
    none = np.zeros((*raw.shape, 0))
    error = raw.mean(axis=0) - shown(truth).mean(axis=0)
    found = fit_informed(raw, beside, none, Tolerance(offset=2.0, noise=NOISE, play=play), reference_noise=0.01)
    return found, found.offset - found.centre + error


def test_a_calibration_knows_what_play_did_to_its_pairs() -> None:
    """Offsets beside a reference are those of the sensor, not of the end where it hung; and say how good they are."""
    found, error = fitted(HALF)
    assert np.abs(error).max() < 0.02
    assert found.slow.max() < 0.03
    ignorant, lost = fitted(0.0)
    assert np.sqrt(np.mean(lost**2)) > 5.0 * np.sqrt(np.mean(error**2)), "negative control: play goes into the offset"
    assert ignorant.slow.min() > 10.0 * found.slow.max()


def test_where_nothing_moved_far_the_offset_says_so() -> None:
    """A quantity that never crossed its play leaves the offset uncertain by as much as the play can hide."""
    found, error = fitted(HALF, moved=0.2)
    u = np.sqrt(found.covariance[:, 0, 0])
    assert u.min() > 0.25 * HALF
    assert np.abs(error).max() < 2.0 * u.min()


def test_readings_at_the_end_of_the_range_teach_nothing() -> None:
    """What is cut off is no error of the sensor."""
    rng = np.random.default_rng(4)
    truth = np.linspace(80.0, 100.0, 400)[:, None] + np.zeros(20)
    raw = np.minimum(truth + 2.0 + rng.normal(0.0, NOISE, truth.shape), 100.0)
    none = np.zeros((*raw.shape, 0))
    found = fit_informed(raw, truth, none, Tolerance(offset=3.0, noise=NOISE, highest=100.0))
    assert np.abs(found.centre - found.offset - 2.0).max() < 0.02
    blind = fit_informed(raw, truth, none, Tolerance(offset=3.0, noise=NOISE))
    assert np.abs(blind.centre - blind.offset - 2.0).min() > 0.05  # negative control


CALIBRATION = Calibration(
    id="rh-1",
    channel="rh",
    date=datetime(2026, 3, 1, tzinfo=UTC),
    model=Offset(offset=1.0),
    unit="%",
    u=Uncertainty(noise=NOISE, model=0.02),
    play=Play(half_width=HALF),
)


def readings_of(values: Array, flag: Flag = Flag.NOT_EVALUATED) -> Readings:
    schema = Schema(device="d", stream="s", channels=(Channel(name="rh", unit="%", resolution=0.01),))
    time_ns = 1_780_000_000_000_000_000 + 60_000_000_000 * np.arange(len(values))
    made = Readings.raw(schema, time_ns, values[:, None], [0.0])
    return made if flag == Flag.NOT_EVALUATED else made.flagged(np.ones((len(values), 1), np.bool_), flag, 0)


def test_the_stage_undoes_play_behind_the_model() -> None:
    """Values of the quantity, with a `u` from noise while it moves to the rectangle's while nothing is known."""
    rise = np.linspace(0.0, 30.0, 200)
    out = CorrectReadings([CALIBRATION], readings_of(rise).schema)(readings_of(shown(rise[:, None])[:, 0] - 1.0))
    assert np.abs(out.value[50:, 0] - rise[50:]).max() < 0.1
    assert out.u[0, 0] == pytest.approx(np.hypot(HALF / np.sqrt(3.0), NOISE), rel=0.05)
    assert out.u[50:].max() < 3.0 * NOISE


def test_a_failed_reading_teaches_the_stage_nothing() -> None:
    """What a judge called FAIL pushes no play."""
    rise = shown(np.linspace(0.0, 30.0, 200)[:, None])[:, 0]
    stage = CorrectReadings([CALIBRATION], readings_of(rise).schema)
    other = CorrectReadings([CALIBRATION], readings_of(rise).schema)
    stage(readings_of(rise[:100]))
    other(readings_of(rise[:100]))
    late = readings_of(rise)
    bad = readings_of(np.concatenate([rise[:100], rise[100:110] - 5.0, rise[110:]]))
    judged = bad.flagged((np.arange(200) // 10 == 10)[:, None], Flag.FAIL, 0)
    expected, found = other(late[110:]), stage(judged[100:])
    np.testing.assert_array_equal(found.value[10:], expected.value)


def test_a_file_says_it_and_the_stage_remembers(tmp_path: Path) -> None:
    """`[play]` is written and read; a state goes on where it was; play without noise is refused by name."""
    path = tmp_path / "rh.toml"
    path.write_text(dump_calibration(CALIBRATION), "utf-8")
    assert "[play]\nhalf_width = 0.8\n" in path.read_text("utf-8")
    assert load_calibration(path) == CALIBRATION
    rise = shown(np.linspace(0.0, 30.0, 100)[:, None])[:, 0]
    first, second = (CorrectReadings([load_calibration(path)], readings_of(rise).schema) for _ in range(2))
    first(readings_of(rise)[:60])
    second.restore(first.state())
    np.testing.assert_array_equal(first(readings_of(rise)[60:]).value, second(readings_of(rise)[60:]).value)
    path.write_text(path.read_text("utf-8").replace("noise = 0.03\n", ""), "utf-8")
    with pytest.raises(ConfigError, match=r"(?s)rh.toml.*line 15: play.*noise"):
        load_calibration(path)
    path.write_text(path.read_text("utf-8").replace("half_width = 0.8", "half_width = 0"), "utf-8")
    with pytest.raises(ConfigError, match=r"half_width 0.* must be above 0"):
        load_calibration(path)


LIMITED = structs.replace(CALIBRATION, limits=Limits(raw=(0.0, 100.0), value=(0.0, 100.0)), play=None)


def test_what_is_cut_off_lies_between_the_end_and_the_limit() -> None:
    """A sensor that shows 2 % too much says nothing above 98 %: the value is the middle, `u` that of the rectangle."""
    low = structs.replace(LIMITED, model=Offset(offset=-2.0))
    values = np.array([50.0, 100.0, 100.0, 0.0])
    out = CorrectReadings([low], readings_of(values).schema)(readings_of(values))
    assert out.value[:, 0] == pytest.approx([48.0, 99.0, 99.0, -2.0])
    assert out.u[1, 0] == pytest.approx(np.hypot(2.0 / np.sqrt(12.0), out.u[0, 0]), rel=0.01)
    assert out.u[3, 0] == pytest.approx(out.u[0, 0])
    without = structs.replace(low, limits=None)
    plain = CorrectReadings([without], readings_of(values).schema)(readings_of(values))
    assert plain.value[1, 0] == pytest.approx(98.0)  # negative control


def test_a_reading_that_falls_as_the_quantity_rises_is_cut_off_at_the_other_limit() -> None:
    """`value` belongs to the ends of `raw` in their order."""
    turned = structs.replace(
        LIMITED, model=Affine(offset=99.0, gain=-1.0), limits=Limits(raw=(0.0, 100.0), value=(100.0, 0.0))
    )
    values = np.array([50.0, 0.0, 100.0])
    out = CorrectReadings([turned], readings_of(values).schema)(readings_of(values))
    assert out.value[:, 0] == pytest.approx([49.0, 99.5, -1.0])


def test_cut_off_and_play_together_are_honest() -> None:
    """Humidity that saturates, seen by sensors with play that show too much: 95 % intervals hold."""
    rng = np.random.default_rng(9)
    n, k = 700, 12
    truth = np.minimum(92.0 + 14.0 * np.sin(np.arange(n) / 45.0)[:, None] + rng.normal(0.0, 2.0, k), 100.0)
    raw = np.minimum(shown(truth) + 2.5 + rng.normal(0.0, NOISE, truth.shape), 100.0)
    how = structs.replace(CALIBRATION, model=Offset(offset=-2.5))
    limited = structs.replace(how, limits=LIMITED.limits)
    held = {}
    for name, calibration in (("limits", limited), ("none", how)):
        out = [CorrectReadings([calibration], readings_of(raw[:, i]).schema)(readings_of(raw[:, i])) for i in range(k)]
        error = np.stack([o.value[100:, 0] for o in out], axis=1) - truth[100:]
        held[name] = within(error, np.stack([o.u[100:, 0] for o in out], axis=1), 1.96)
    assert held["limits"] > 0.92
    assert held["none"] < 0.85


@pytest.mark.parametrize(
    ("limits", "said"),
    [({"raw": (1.0, 1.0), "value": (0.0, 1.0)}, "raw"), ({"raw": (0.0, 1.0), "value": (2.0, 2.0)}, "value")],
)
def test_limits_that_are_none_are_refused(limits: dict[str, tuple[float, float]], said: str) -> None:
    """By the key."""
    with pytest.raises(ValueError, match=said):
        Limits(**limits)
