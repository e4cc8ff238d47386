"""What `trueline-edge calibrate` finds beside a straight line: bent sensors, slow ones, and what a datasheet says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trueline_edge.__main__ import main
from trueline_edge.calibration.candidates import Data
from trueline_edge.calibration.file import load_calibration
from trueline_edge.calibration.fitting import fit
from trueline_edge.calibration.lag import LagState, undo_lag
from trueline_edge.calibration.models import MultiInput, Table
from trueline_edge.stages import Calibrate
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

START_S = 1_700_000_400 // 3600 * 3600
DAY = 1440


def write(path: Path, head: str, *columns: Array) -> None:
    np.savetxt(path, np.stack(columns, axis=1), "%.10g", ",", header=head, comments="")


def quantity(rng: np.random.Generator, minutes: int) -> Array:
    """Hours and days that differ, and a daily cycle."""
    slow = np.convolve(rng.normal(size=minutes + 300), np.ones(301) / 301, "valid") * 80
    return 40 + slow + 8 * np.sin(np.arange(minutes) * 2 * np.pi / DAY)


def campaign(folder: Path, raw: Array, truth: Array, *more: Array, every: int = 1) -> None:
    """Readings each so many minutes, beside hourly means."""
    minute = np.arange(len(truth))[::every]
    names = ",".join(["time", "x", *"tuv"[: len(more)]])
    write(folder / "raw.csv", names, minute * 60.0 + START_S, raw[::every], *(each[::every] for each in more))
    hours = np.arange(0, len(truth), 60)
    write(folder / "reference.csv", "time,value", hours * 60.0 + START_S, truth.reshape(-1, 60).mean(axis=1))


def run(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what it printed as JSON, and the errors."""
    files = ["--raw", str(folder / "raw.csv"), "--reference", str(folder / "reference.csv")]
    times = ["--raw-csv", "time_format=s", "--reference-csv", "time_format=s", "--channel", "x"]
    code = main(["calibrate", *files, *times, "--out", str(folder / "x.toml"), "--json", *more])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def by_the_stage(folder: Path, value: Array, names: tuple[str, ...] = ("x",), step_s: float = 60.0) -> Readings:
    """Raw readings (n, k), corrected on the device by the file that was written."""
    schema = Schema(device="d", stream="s", channels=tuple(Channel(name=name, unit="1") for name in names))
    stage = Calibrate(files=(folder / "x.toml",)).stage(schema)
    start_ns = int(load_calibration(folder / "x.toml").date.timestamp()) * 10**9
    return stage(Readings.raw(schema, start_ns + (np.arange(len(value)) * step_s * 1e9).astype(np.int64), value))


@pytest.mark.parametrize("bend", [lambda x: np.exp(x / 15), lambda x: 100 * np.exp(-x / 20)])
def test_a_bent_sensor_gets_a_table_that_the_stage_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bend: Callable[[Array], Array]
) -> None:
    """A rising or a falling curve is followed, out of time better than by any straight line, and corrected so."""
    rng = np.random.default_rng(31)
    truth = quantity(rng, 12 * DAY)
    campaign(tmp_path, bend(truth) + rng.normal(0, 0.05, len(truth)), truth, every=4)
    code, told, _ = run(tmp_path, capsys)
    assert code == 0
    assert told["taken"].startswith(("table", "spline", "polynomial"))
    errors = told["out_of_time_rmse"]
    assert errors[told["taken"]] < 0.5 * errors["affine"], "negative control: a straight line does not do"
    shown = np.array([30.0, 40.0, 50.0])
    out = by_the_stage(tmp_path, bend(shown)[:, None])
    assert np.abs(out.value[:, 0] - shown).max() < 4 * float(out.u.max())
    assert out.u.max() < 2.0


def test_a_table_is_monotone_and_a_line_stays_a_line() -> None:
    """Asked for, a table rises throughout, noise or none; unasked, a straight sensor keeps its straight line."""
    rng = np.random.default_rng(32)
    truth = quantity(rng, 12 * DAY).reshape(-1, 60).mean(axis=1)
    data = Data(np.arange(len(truth)) * 3600.0, {"x": 5 + 0.8 * truth + rng.normal(0, 2.0, len(truth))}, truth, "x")
    for kind in ("table", "spline"):
        model = fit(data, model=kind).model
        assert isinstance(model, Table)
        assert model.smooth is (kind == "spline")
        assert (np.diff(model.value) > 0).all()
    assert fit(data).taken == "average of candidates"
    assert fit(data, model="polynomial").taken.startswith("polynomial")
    assert fit(data, model="offset").model.u_offset > 0.0


@pytest.mark.parametrize("lag_s", [600.0, 2400.0])
def test_a_slow_sensor_gets_its_lag_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str], lag_s: float) -> None:
    """The time constant is found within a tenth, the file has it, and the stage undoes it."""
    rng = np.random.default_rng(33)
    truth = quantity(rng, 12 * DAY)
    a = np.exp(-120.0 / lag_s)
    slow = truth[::2].copy()
    for i in range(1, len(slow)):
        slow[i] = a * slow[i - 1] + (1.0 - a) * slow[i]
    raw = np.repeat(3.0 + 0.9 * slow, 2) + rng.normal(0, 0.2, len(truth))
    campaign(tmp_path, raw, truth, every=2)
    code, told, _ = run(tmp_path, capsys, "--offset-max-s", "0", "--lag-max-s", "7200")
    assert code == 0
    assert told["time_constant_s"] == pytest.approx(lag_s, rel=0.1)
    errors = told["out_of_time_rmse"]
    assert errors[told["taken"]] < 0.6 * errors["the lag left as it is"], "negative control"
    lag = load_calibration(tmp_path / "x.toml").lag
    assert lag is not None
    assert 0.0 < lag.u_s < 0.2 * lag_s
    assert np.abs(np.diff(raw)).max() / 60.0 < lag.rate_max < 20.0 * np.abs(np.diff(raw)).max() / 60.0
    settled, _ = undo_lag(LagState(), np.arange(400) * 120 * 10**9, slow[:400], np.full(400, fill_value=True), lag_s)
    assert settled.value[-1] == pytest.approx(truth[798], abs=0.5)
    steady = by_the_stage(tmp_path, np.full((20, 1), 3.0 + 0.9 * 42.0), step_s=120.0)
    assert steady.value[-1, 0] == pytest.approx(42.0, abs=0.5)


def test_no_lag_is_read_into_a_fast_sensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Negative control: where there is none, none is found."""
    rng = np.random.default_rng(34)
    truth = quantity(rng, 8 * DAY)
    campaign(tmp_path, truth + rng.normal(0, 0.5, len(truth)), truth, every=5)
    _, told, _ = run(tmp_path, capsys, "--lag-max-s", "7200")
    assert told["time_constant_s"] == 0.0
    assert not told["clock_certain"]
    assert load_calibration(tmp_path / "x.toml").lag is None


DATASHEET = """
offset = 1.0
gain = 0.08
noise = 0.5
range = [-20.0, 80.0]

[conditions.t]
effect = 0.1
nominal = 25.0
range = [0.0, 50.0]
"""


def test_a_datasheet_keeps_the_slope_where_nothing_moved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three days in one room: without a datasheet refused; with it, right within its `u` far from where it stood."""
    rng = np.random.default_rng(35)
    truth = 20.0 + 0.05 * np.sin(np.arange(72 * 60) / 300)
    warmth = 24.0 + rng.normal(0, 0.3, len(truth))
    raw = 1.03 * truth + 0.4 + 0.05 * (warmth - 25.0) + rng.normal(0, 0.5, len(truth))
    campaign(tmp_path, raw, truth, warmth)
    code, told, _ = run(tmp_path, capsys, "--with", "t")
    assert code == 1, "negative control"
    (tmp_path / "sensor.toml").write_text(DATASHEET, encoding="utf-8")
    code, told, _ = run(tmp_path, capsys, "--with", "t", "--datasheet", str(tmp_path / "sensor.toml"))
    assert code == 0
    assert told["taken"] == "informed by the datasheet"
    model = load_calibration(tmp_path / "x.toml").model
    assert isinstance(model, MultiInput)
    assert dict(zip(model.terms, model.coefficients, strict=True))["x"] == pytest.approx(1 / 1.03, abs=0.03)
    out = by_the_stage(tmp_path, np.array([[1.03 * 60.0 + 0.4, 25.0]]), ("x", "t"))
    assert abs(out.value[0, 0] - 60.0) < 2 * float(out.u[0, 0])
    assert 0.3 < out.u[0, 0] < 20.0


def test_pairs_that_say_more_than_the_datasheet_are_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gain of 1.25, three times what the datasheet allows, is found where the quantity moved far."""
    rng = np.random.default_rng(36)
    truth = quantity(rng, 10 * DAY) - 40.0
    campaign(tmp_path, 1.25 * truth + rng.normal(0, 0.2, len(truth)), truth, every=4)
    (tmp_path / "sensor.toml").write_text("offset = 2.0\ngain = 0.08\nnoise = 0.2\n", encoding="utf-8")
    code, told, _ = run(tmp_path, capsys, "--datasheet", str(tmp_path / "sensor.toml"))
    assert code == 0
    assert {"informed by the datasheet", "average of candidates"} <= told["out_of_time_rmse"].keys()
    out = by_the_stage(tmp_path, np.array([[1.25 * 12.0]]))
    assert out.value[0, 0] == pytest.approx(12.0, abs=0.3)


def test_a_few_pairs_do_with_a_datasheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve pairs are a calibration with a datasheet, and none without."""
    rng = np.random.default_rng(37)
    truth = 20.0 + rng.normal(0, 0.1, 18 * 60)
    campaign(tmp_path, truth + 0.6, truth)
    assert run(tmp_path, capsys)[1]["refused"]
    (tmp_path / "sensor.toml").write_text("offset = 1.0\ngain = 0.02\nnoise = 0.1\n", encoding="utf-8")
    code, told, _ = run(tmp_path, capsys, "--datasheet", str(tmp_path / "sensor.toml"), "--reference-u", "0.1")
    assert code == 0
    assert told["taken"] == "informed by the datasheet"
    out = by_the_stage(tmp_path, np.array([[20.6]]))
    assert out.value[0, 0] == pytest.approx(20.0, abs=0.1)
    assert out.u[0, 0] >= 0.1


def test_readings_that_no_tolerance_explains_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fahrenheit beside Celsius is no offset of half a degree."""
    rng = np.random.default_rng(38)
    truth = 20.0 + rng.normal(0, 0.1, 72 * 60)
    campaign(tmp_path, 32.0 + 1.8 * truth, truth)
    (tmp_path / "sensor.toml").write_text("offset = 0.5\ngain = 0.02\nnoise = 0.1\n", encoding="utf-8")
    code, told, _ = run(tmp_path, capsys, "--datasheet", str(tmp_path / "sensor.toml"))
    assert code == 1
    assert "another unit" in told["refused"][0]


@pytest.mark.parametrize(
    ("sheet", "more", "message"),
    [
        ("noise = 0.1\n", (), "state at least one of them"),
        ("gain = 3.0\n", (), "must be below 1"),
        ("gain = 0.1\nspan = 3\n", (), "span"),
        ("gain = 0.1\nrange = [3.0, 1.0]\n", (), "the first must be below the second"),
        (DATASHEET, (), "conditions.t: is no channel here"),
        ("gain = 0.1\n", ("--unit-raw", "mV"), "leave --unit-raw out"),
        ("gain = 0.1\n", ("--model", "cubic"), "is none of auto, offset"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sheet: str, more: tuple[str, ...], message: str
) -> None:
    """File, key and what may stand there."""
    (tmp_path / "sensor.toml").write_text(sheet, encoding="utf-8")
    code, _, error = run(tmp_path, capsys, "--datasheet", str(tmp_path / "sensor.toml"), *more)
    assert code == 2
    assert message in error


def test_clocks_are_aligned_unasked_in_spite_of_spikes_and_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half an hour is found and taken off with one reading in a hundred far off and days missing; `0` trusts them."""
    rng = np.random.default_rng(39)
    truth = quantity(rng, 14 * DAY)
    raw = 100.0 - 0.8 * truth + rng.normal(0, 0.5, len(truth))
    raw[rng.random(len(raw)) < 0.01] = 900.0
    raw[4 * DAY : 5 * DAY] = np.nan
    campaign(tmp_path, np.roll(raw, 30), truth, every=2)
    code, told, _ = run(tmp_path, capsys)
    assert told["clock_certain"]
    assert told["clock_offset_s"] == pytest.approx(1800, abs=400)
    assert run(tmp_path, capsys, "--offset-max-s", "0")[1]["clock_offset_s"] == 0.0
    assert code in (0, 1)
