"""The calibration file, and the stage that reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_edge.__main__ import main
from trueline_edge.calibration.file import Calibration, Lag, Uncertainty, dump_calibration, load_calibration
from trueline_edge.calibration.lag import LagState, undo_lag
from trueline_edge.calibration.models import Affine, MultiInput, Offset, Polynomial, Table
from trueline_edge.calibration.terms import parse_term, spell_term
from trueline_edge.stages import Calibrate
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

DATE = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = Schema(
    device="d",
    stream="s",
    channels=(Channel(name="o3", unit="[ppb]", sensor="RT01", resolution=0.5), Channel(name="t")),
)
AFFINE = Affine(offset=1.0, gain=2.0, covariance=((0.04, 0.0), (0.0, 0.01)))
MODELS = [
    Offset(offset=-0.1, u_offset=0.02),
    AFFINE,
    Polynomial(coefficients=(1.0, 2.0, 1e-9), centre=3.0, scale=2.0),
    Table(raw=(0.0, 1.0, 2.5), value=(3.0, 2.0, -1.0), u=(0.1, 0.1, 0.2), smooth=True),
    MultiInput(
        terms=("1", "o3", "log(t)*o3", "t^2"), coefficients=(1.0, 2.0, 0.1, 0.0), factors={"log(t)": (3.0, 0.4)}
    ),
]


def made(tmp_path: Path, **more: Any) -> Path:
    path = tmp_path / "o3.toml"
    fields: dict[str, Any] = {"id": "k-1", "channel": "o3", "date": DATE, "model": AFFINE, "unit": "[ppb]"} | more
    path.write_text(dump_calibration(Calibration(**fields)), encoding="utf-8")
    return path


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_what_is_written_is_read_back(tmp_path: Path, model: Any) -> None:
    """A calibration survives its file, bit for bit."""
    calibration = Calibration(
        id="ozone é",
        channel="o3",
        date=DATE,
        model=model,
        range={"o3": (0.1, 60.0)} | ({"t": (5.0, 30.0)} if isinstance(model, MultiInput) else {}),
        unit="[ppb]",
        sensor="RT01",
        reference='T400, "AirNow"',
        valid_until=DATE + timedelta(days=365),
        u=Uncertainty(noise=0.1 + 0.2, noise_interval_s=3600.0, drift=1e-5),
        lag=Lag(time_constant_s=12.5, u_s=0.5),
        note="two\nlines",
    )
    path = tmp_path / "k.toml"
    path.write_text(dump_calibration(calibration), encoding="utf-8")
    assert load_calibration(path) == calibration


def test_the_example_in_the_documentation_can_be_read() -> None:
    """A sample cannot rot."""
    for path in (Path(__file__).parents[1] / "contracts" / "calibrations").glob("*.toml"):
        assert load_calibration(path).id


@pytest.mark.parametrize(
    ("wrong", "line", "message"),
    [
        ("gain = 0.0", 8, "model.gain"),
        ("gainn = 2.0", 8, "model.gainn: unknown key"),
        ("gain = 2.0\ncovariance = [[1.0, 2.0], [2.0, 1.0]]", 9, "negative eigenvalue"),
        ("gain = 2.0\ncovariance = [[1.0]]", 9, "2 rows of 2"),
        ("gain = 2.0\n[range]\no3 = [5.0, 1.0]", 10, "range.o3"),
        ("gain = 2.0\n[range]\nt = [1.0, 5.0]", 10, "does not read this channel"),
        ("gain = 2.0\n[u]\nnoise = -1.0", 10, "u.noise"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_line_and_key(tmp_path: Path, wrong: str, line: int, message: str) -> None:
    """`trueline-edge check` says where in the calibration file, seen from the stage that names it."""
    path = tmp_path / "o3.toml"
    head = 'id = "k"\nchannel = "o3"\ndate = 2026-03-01T00:00:00Z\nunit = "[ppb]"\n[model]\n'
    head += 'type = "affine"\noffset = 1.0\n'
    path.write_text(head + wrong + "\n", encoding="utf-8")
    text = "\n".join(objection.message for objection in Calibrate(files=(path,)).objections(SCHEMA))
    assert f"line {line}: " in text
    assert message in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel": "no2"}, "no channel 'no2'"),
        ({"unit_raw": "mV"}, "in 'mV', and it comes in '[ppb]'"),
        ({"sensor": "RT02"}, "of sensor 'RT02'"),
        (
            {
                "model": MultiInput(terms=("o3", "humidity"), coefficients=(1.0, 1.0)),
                "range": {"humidity": (0.0, 100.0)},
            },
            "no channel 'humidity'",
        ),
    ],
)
def test_a_calibration_of_something_else_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Channel, unit, sensor and inputs must be the ones it was made for."""
    stage = Calibrate(files=(made(tmp_path, **change),))
    assert message in "\n".join(objection.message for objection in stage.objections(SCHEMA))
    with pytest.raises(ConfigError, match=r"."):
        stage.stage(SCHEMA)


def test_recalibration_starts_from_raw(tmp_path: Path) -> None:
    """A channel that is calibrated already is refused: no correction goes on top of another."""
    stage = Calibrate(files=(made(tmp_path),))
    calibrated = stage.stage(SCHEMA).schema
    assert calibrated.channels[0].calibration == "k-1"
    assert "calibrated by 'k-1'" in next(stage.objections(calibrated)).message
    twice = Calibrate(files=(made(tmp_path), made(tmp_path)))
    assert "second calibration" in next(twice.objections(SCHEMA)).message


def test_check_names_the_calibration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line says file, line and key of the mistake in the calibration, and key and line of the stage."""
    made(tmp_path)
    agent = tmp_path / "agent.toml"
    agent.write_text(
        'device = "d"\nstate = "s"\n[cloud]\npublic_key = "' + "A" * 43 + '="\n'
        '[[link]]\ntype = "mqtt"\nhost = "127.0.0.1"\n'
        '[[stream]]\nname = "s"\nsource = { type = "simulated", interval_s = 1.0 }\n'
        '[[stream.channel]]\nname = "o3"\nunit = "[ppb]"\nsignal = { type = "constant", value = 1.0 }\n'
        '[[stream.stage]]\ntype = "calibrate"\nfiles = ["o3.toml"]\n',
        encoding="utf-8",
    )
    main(["check", str(agent)])
    before = capsys.readouterr().err
    assert "stage" not in before
    (tmp_path / "o3.toml").write_text((tmp_path / "o3.toml").read_text().replace("gain", "gian"), encoding="utf-8")
    assert main(["check", str(agent)]) == 2
    told = capsys.readouterr().err
    assert "stream[0].stage[0].files[0]" in told
    assert "model.gian: unknown key" in told


def test_the_stage_corrects_and_says_so(tmp_path: Path) -> None:
    """Value, u, unit and calibration id change; a reading out of range is SUSPECT by CALIBRATION; others stay."""
    stage = Calibrate(files=(made(tmp_path, range={"o3": (0.0, 10.0)}),)).stage(SCHEMA)
    ns = int(DATE.timestamp()) * 10**9
    out = stage(Readings.raw(SCHEMA, [ns, ns], [[5.0, 7.0], [11.0, 8.0]], [0.1, 0.2]))
    assert out.value.tolist() == [[11.0, 7.0], [23.0, 8.0]]
    assert out.u[0] == pytest.approx([np.sqrt(0.2**2 + 1.0 / 12 + 0.04 + 25 * 0.01), 0.2])
    assert out.flag.tolist() == [[Flag.NOT_EVALUATED] * 2, [Flag.SUSPECT, Flag.NOT_EVALUATED]]
    assert out.reason[1, 0] == Reason.CALIBRATION
    assert out.schema.channels[0] == Channel(name="o3", unit="[ppb]", sensor="RT01", resolution=1.0, calibration="k-1")


def test_a_first_order_lag_is_undone_exactly() -> None:
    """A measurand that is steady between readings comes back from what the lagging sensor showed."""
    rng = np.random.default_rng(3)
    true = np.cumsum(rng.normal(size=200))
    elapsed = rng.uniform(1.0, 20.0, 200)
    shown = np.empty(200)
    shown[0] = true[0]
    for i in range(1, 200):
        a = np.exp(-elapsed[i] / 8.0)
        shown[i] = a * shown[i - 1] + (1 - a) * true[i]
    times = (np.cumsum(elapsed) * 1e9).astype(np.int64)
    found, _ = undo_lag(LagState(), times, shown, np.ones(200, np.bool_), 8.0)
    assert found.value == pytest.approx(true, abs=1e-6)
    a = np.exp(-elapsed[7] / 8.0)
    assert found.gain[7] == pytest.approx(np.sqrt(1 + a * a) / (1 - a), rel=1e-6)
    other, _ = undo_lag(LagState(), times, shown, np.ones(200, np.bool_), 8.001)
    assert (other.value - found.value) / 0.001 == pytest.approx(found.slope, abs=2e-3)
    wrong, _ = undo_lag(LagState(), times, shown, np.ones(200, np.bool_), 1e-6)
    assert np.abs(wrong.value - true).max() > 0.5  # negative control: without the lag it is far off


@pytest.mark.parametrize("rate_max", [1.0, float("inf")])
def test_a_sensor_that_comes_back_from_a_fault_did_not_lag_behind_it(tmp_path: Path, rate_max: float) -> None:
    """The first good reading is itself, SUSPECT, and its u holds the rest; without a limit it overshoots (control)."""
    shown = np.array([20.0, 20.0, 80.0, 80.0, 20.0, 20.0])  # stuck at 80 in the middle
    lag = Lag(time_constant_s=0.7, rate_max=rate_max)
    stage = Calibrate(files=(made(tmp_path, channel="t", unit="1", model=Offset(offset=0.0), lag=lag),)).stage(
        Schema(device="d", stream="s", channels=(Channel(name="t"),))
    )
    readings = Readings.raw(
        Schema(device="d", stream="s", channels=(Channel(name="t"),)), np.arange(6) * 10**9, shown[:, None], 0.1
    )
    out = stage(readings)
    if rate_max == 1.0:
        assert out.value[:, 0].tolist() == shown.tolist()
        assert (
            out.flag[:, 0].tolist()
            == [Flag.NOT_EVALUATED, Flag.NOT_EVALUATED]
            + [
                Flag.SUSPECT,
                Flag.NOT_EVALUATED,
            ]
            * 2
        )
        a = np.exp(-1.0 / 0.7)
        assert out.u[4, 0] == pytest.approx(60.0 * a / (1 - a), rel=0.01)
    else:
        assert out.value[4, 0] < 5.0


@pytest.mark.parametrize("resolution", [0.0, 0.2])
def test_undoing_a_lag_makes_noise_and_rounding_grow_alike(tmp_path: Path, resolution: float) -> None:
    """`u` of a slow and coarse sensor, its lag undone, is the standard deviation it has."""
    rng = np.random.default_rng(3)
    n, noise, kept = 20_000, 0.1, np.exp(-1.0 / 2.0)
    shown = np.empty(n)
    y = 0.0
    truth = 5.0 * np.sin(np.arange(n) / 50.0)
    for i, x in enumerate(truth):
        y = kept * y + (1.0 - kept) * x
        shown[i] = y
    raw = shown + rng.normal(0.0, noise, n)
    raw = np.round(raw / resolution) * resolution if resolution else raw
    file = made(tmp_path, channel="t", unit="1", model=Offset(offset=0.0), lag=Lag(time_constant_s=2.0))
    schema = Schema(device="d", stream="s", channels=(Channel(name="t", resolution=resolution),))
    times = 1_800_000_000 * 10**9 + np.arange(n) * 10**9
    out = Calibrate(files=(file,)).stage(schema)(Readings.raw(schema, times, raw[:, None], [noise]))
    error = (out.value[:, 0] - truth)[100:]
    assert np.std(error) == pytest.approx(float(out.u[100:, 0].mean()), rel=0.03)


FACTORS = st.sampled_from(["o3", "log(o3)", "sqrt(s 1)", "inverse(t)", "t^2", "s1^3"])


@given(st.lists(FACTORS, max_size=3))
def test_terms_are_read_as_they_are_written(factors: list[str]) -> None:
    """Spelling a term and reading it gives the same term; the order of factors does not matter."""
    term = parse_term("*".join(factors) or "1")
    assert parse_term(spell_term(term)) == term
    assert parse_term("*".join(reversed(factors)) or "1") == term


@pytest.mark.parametrize("text", ["", "o3*", "exp(o3)", "log()", "o3^1", "o3^10", "log(log(o3))"])
def test_what_is_no_term_is_refused(text: str) -> None:
    """The message says what may stand there."""
    with pytest.raises(ValueError, match="terms has"):
        parse_term(text)
