from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_sim.block import Grid, WorldChannel
from trueline_sim.faults.apply import Injector
from trueline_sim.faults.fault import ALL_CHANNELS, ROW_KINDS, VALUE_KINDS, Fault
from trueline_sim.faults.values import EFFECTS
from trueline_sim.randomness import stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_sim.faults.apply import Reported

STEPS, DEVICES, U = 40, 3, 0.5
GRID = Grid(1_700_000_000_000_000_000, 10.0, STEPS)
TIMES = GRID.times_ns(0, STEPS)
CHANNELS = (
    WorldChannel(name="t", measurand=0, unit="Cel", sensor="s", resolution=0.0, u=U),
    WorldChannel(name="p", measurand=1, unit="bar", sensor="s", resolution=0.0, u=2 * U),
)
MAGNITUDE = {
    "stuck": 0.0, "spike": -7.0, "burst": 6.0, "bias_step": 4.0, "drift": 8.0, "gain_change": 3.0,
    "noise_increase": 5.0, "saturation": 1.0, "nan_run": 0.0, "unit_flip": 1.8, "swapped_channels": 1.0,
    "drop_out": 0.0, "duplicate": 2.0, "reorder": 1.0, "clock_step": -3600.25, "clock_skew": 500.0, "jitter": 0.5,
    "boot_1970": 12.5,
}  # fmt: skip


def raw() -> NDArray[np.float64]:
    return 20.0 + np.cumsum(stream(4, "raw").standard_normal((STEPS, DEVICES, 2)), axis=0)


def fault(kind: str, first: int = 11, last: int = 31) -> Fault:
    channel = ALL_CHANNELS if kind in ROW_KINDS else 0
    return Fault(kind, 1, channel, GRID.time_ns(first), GRID.time_ns(last), MAGNITUDE[kind])


def broken(*faults: Fault, cuts: tuple[int, ...] = ()) -> tuple[NDArray[np.float64], Reported]:
    values, injector, pieces = raw(), Injector(faults, CHANNELS, seed=1), []
    for low, high in zip((0, *cuts), (*cuts, STEPS), strict=True):
        pieces.append(injector.apply(low, TIMES[low:high], values[low:high]))
    return values, type(pieces[0])(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))


@pytest.mark.parametrize("kind", sorted(VALUE_KINDS))
def test_only_labelled_cells_differ(kind: str) -> None:
    """Outside its channel, device and time a fault of values changes nothing, and rows come as they should."""
    values, reported = broken(fault(kind))
    differs = ~((values == raw()) | (np.isnan(values) & np.isnan(raw())))
    labelled = np.zeros_like(differs)
    labelled[11:31, 1, 0] = True
    assert not (differs & ~labelled).any()
    assert differs[11:31, 1, 0].any()
    np.testing.assert_array_equal(reported.time_ns, np.repeat(TIMES[:, None], DEVICES, axis=1))
    assert (reported.copies == 1).all()
    assert not reported.late.any()


@pytest.mark.parametrize("kind", sorted(ROW_KINDS))
def test_faults_of_rows_touch_no_value_and_no_other_row(kind: str) -> None:
    """Values stay as they are; time, copies and order change on the labelled rows only."""
    values, reported = broken(fault(kind))
    np.testing.assert_array_equal(values, raw())
    differs = (reported.time_ns != TIMES[:, None]) | (reported.copies != 1) | reported.late
    labelled = np.zeros_like(differs)
    labelled[11:31, 1] = True
    assert not (differs & ~labelled).any()
    assert differs[11:31, 1].any()


@settings(max_examples=25)
@given(st.lists(st.integers(0, STEPS // 2).map(lambda half: 2 * half), max_size=6).map(sorted))
def test_faults_do_not_depend_on_where_time_is_cut(cuts: list[int]) -> None:
    """All kinds, one after the other on the devices, cut anywhere even: the same values, stamps and rows."""
    kinds = sorted(EFFECTS) + sorted(ROW_KINDS)
    faults = [fault(kind, 2 + number % 7, 20 + number) for number, kind in enumerate(kinds)]
    whole, reported = broken(*faults)
    cut, again = broken(*faults, cuts=tuple(cuts))
    np.testing.assert_array_equal(whole, cut)
    for one, other in zip(reported, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_block_that_begins_at_an_odd_step_is_refused() -> None:
    """Neighbours that change places would be cut apart."""
    with pytest.raises(ValueError, match="step 3"):
        Injector([], CHANNELS, seed=1).apply(3, TIMES[3:5], raw()[3:5])


def cells(kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the touched cells were, and are."""
    values, _ = broken(fault(kind))
    return raw()[11:31, 1, 0], values[11:31, 1, 0]


def test_magnitudes_are_as_labelled() -> None:
    """Each kind does what its sentence says, in units of the channel's u."""
    was, now = cells("stuck")
    assert (now == was[0]).all()
    for kind, expected in {"spike": -7.0, "bias_step": 4.0}.items():
        was, now = cells(kind)
        np.testing.assert_allclose(now - was, expected * U)
    was, now = cells("drift")
    np.testing.assert_allclose(now - was, 8.0 * U * np.arange(20) / 20)
    was, now = cells("gain_change")
    np.testing.assert_allclose(now - was[0], 3.0 * (was - was[0]))
    was, now = cells("saturation")
    np.testing.assert_array_equal(now, np.minimum(was, was[0] - U))
    assert np.isnan(cells("nan_run")[1]).all()
    was, now = cells("unit_flip")
    np.testing.assert_allclose(now, 1.8 * was + 32.0)


def test_random_kinds_have_their_standard_deviation() -> None:
    """Added noise and bursts are magnitude u; about half of a burst's readings are left alone."""
    long = Grid(GRID.start_ns, 1.0, 4000)
    for kind, share in {"noise_increase": 1.0, "burst": 0.5}.items():
        values = np.zeros((4000, DEVICES, 2))
        fault = Fault(kind, 0, 1, long.time_ns(0), long.time_ns(4000), 5.0)
        Injector([fault], CHANNELS, seed=1).apply(0, long.times_ns(0, 4000), values)
        hit = values[:, 0, 1] != 0.0
        assert hit.mean() == pytest.approx(share, abs=0.03)
        assert values[hit, 0, 1].std() == pytest.approx(5.0 * 2 * U, rel=0.05)


def test_two_channels_swap_at_once() -> None:
    """Two labels, one swap: each channel has the other's readings."""
    start, end = GRID.time_ns(11), GRID.time_ns(31)
    faults = [Fault("swapped_channels", 1, a, start, end, float(b)) for a, b in ((0, 1), (1, 0))]
    values, _ = broken(*faults)
    np.testing.assert_array_equal(values[11:31, 1], raw()[11:31, 1, ::-1])


def test_what_comes_out_is_rounded_as_the_sensor_rounds() -> None:
    """A broken sensor shows no digits that a good one does not show."""
    coarse = (WorldChannel(name="t", measurand=0, unit="Cel", sensor="s", resolution=0.1, u=0.123),)
    values = np.round(raw()[:, :, :1], 1)
    Injector([fault("bias_step"), fault("noise_increase", 31, 35)], coarse, seed=1).apply(0, TIMES, values)
    np.testing.assert_array_equal(values, np.round(values, 1))


def test_rows_and_stamps_are_as_labelled() -> None:
    """Rows are lost, doubled, and swapped; clocks step, skew, tremble, and boot in 1970."""
    during = slice(11, 31)
    assert (broken(fault("drop_out"))[1].copies[during, 1] == 0).all()
    assert (broken(fault("duplicate"))[1].copies[during, 1] == 3).all()
    assert np.flatnonzero(broken(fault("reorder"))[1].late[:, 1]).tolist() == list(range(12, 30, 2))
    true = TIMES[during]
    np.testing.assert_array_equal(broken(fault("clock_step"))[1].time_ns[during, 1] - true, -3_600_250_000_000)
    skewed = broken(fault("clock_skew"))[1].time_ns[during, 1] - true
    np.testing.assert_allclose(skewed, 500e-6 * 10e9 * np.arange(20), atol=1)
    trembling = broken(fault("jitter"))[1].time_ns[during, 1] - true
    assert trembling.std() == pytest.approx(0.5e9, rel=0.5)
    booted = broken(fault("boot_1970"))[1].time_ns[during, 1]
    np.testing.assert_array_equal(booted, 12_500_000_000 + 10_000_000_000 * np.arange(20))
