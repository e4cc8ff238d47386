"""The stage that runs a person's own model: its files, its flags, its numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trueline_edge.config import load_config
from trueline_edge.estimation.nonlinear import begin, track
from trueline_edge.stages.estimate import Estimate, Output
from trueline_edge.stages.model_file import load_model
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytest.importorskip("filterpy")

WANDER = Path(__file__).parents[1] / "support" / "wander_model.py"
SCHEMA = Schema(device="d", stream="s", channels=tuple(Channel(name=name, unit="m") for name in "abc"))
LEVEL = (Output(name="level", unit="m"),)


def config(**keys: Any) -> Estimate:
    return Estimate(**{"model": WANDER, "outputs": LEVEL, "channels": ("a", "b"), "parameters": {"inputs": 2}, **keys})


def rows(value: NDArray[np.float64], u: float = 0.1, step_s: float = 1.0) -> Readings:
    times = 10**18 + (np.arange(len(value)) * step_s * 1e9).astype(np.int64)
    return Readings.raw(SCHEMA, times, value, u)


def wander(n: int, seed: int = 1) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    level = 1.0 + np.cumsum(rng.normal(0.0, 0.05, n))
    value = np.stack([level, 2.0 * level, 0.25 * level**2], axis=1)
    return value + rng.normal(0.0, 0.1, value.shape)


def column(readings: Readings, name: str, part: str = "value") -> NDArray[Any]:
    names = [channel.name for channel in readings.schema.channels]
    return np.asarray(getattr(readings, part)[:, names.index(name)])


def test_outputs_are_the_filters_states_with_their_uncertainty() -> None:
    """A channel shows the filter's mean, its `u` the root of the variance and of what no filter averages away."""
    value = wander(30)
    outputs = (
        Output(name="height", of="level", unit="m", systematic_u=0.5),
        Output(name="energy"),
        Output(name="slope"),
    )
    out = config(outputs=outputs, innovations=True).stage(SCHEMA)(rows(value))
    model = load_model(WANDER, {"inputs": 2}).model
    dt_s = np.r_[0.0, np.ones(29)]
    variance = np.full((30, 2), np.float64(np.float32(0.1)) ** 2)
    alone = track(model, "ekf", begin(model, "ekf"), dt_s, value[:, :2], variance)
    np.testing.assert_array_equal(column(out, "height"), alone.mean[:, 0])
    np.testing.assert_allclose(column(out, "height", "u") ** 2, alone.covariance[:, 0, 0] + 0.25, rtol=1e-5)
    np.testing.assert_array_equal(column(out, "energy"), alone.mean[:, 0] ** 2)
    np.testing.assert_allclose(
        column(out, "energy", "u"), 2 * np.abs(alone.mean[:, 0]) * np.sqrt(alone.covariance[:, 0, 0]), rtol=1e-5
    )
    np.testing.assert_array_equal(column(out, "innovation_b"), alone.innovation[:, 1])
    np.testing.assert_array_equal(column(out, "nis"), alone.nis)
    assert out.schema.channels[3].unit == "m"
    assert out.schema.channels[3].calibration.startswith("wander_model@")


def test_inputs_are_taken_in_the_order_they_are_named() -> None:
    """`channels` says which column is the first input, whatever the order of the stream."""
    value = wander(30)
    straight = config().stage(SCHEMA)(rows(value))
    swapped = config(channels=("b", "a")).stage(SCHEMA)(rows(value[:, [1, 0, 2]]))
    np.testing.assert_array_equal(column(straight, "level"), column(swapped, "level"))


def test_a_dead_sensor_is_never_published_as_live() -> None:
    """Without input the level is predicted, wider every row, and FAILs as STALE after the timeout."""
    value = wander(200)
    value[20:] = np.nan
    out = config(timeout_s=10.0, gap_max_s=1000.0).stage(SCHEMA)(rows(value))
    flag, u = column(out, "level", "flag"), column(out, "level", "u")
    assert (flag[:30] == Flag.PASS).all()
    assert (flag[30:] == Flag.FAIL).all()
    assert (column(out, "level", "reason")[30:] & Reason.STALE).all()
    assert (np.diff(u[20:]) > 0.0).all()
    assert (column(out, "nis", "flag")[20:] == Flag.MISSING).all()


def test_before_the_first_input_nothing_is_known() -> None:
    """Until something was measured the output is MISSING: the model's start is no reading."""
    value = wander(6)
    value[:3] = np.nan
    out = config().stage(SCHEMA)(rows(value))
    assert np.isnan(column(out, "level")[:3]).all()
    assert column(out, "level", "flag").tolist() == [Flag.MISSING] * 3 + [Flag.PASS] * 3


def test_a_gap_starts_anew_and_says_so_until_something_is_measured() -> None:
    """A row after a gap longer than `gap_max_s` with nothing in it is MISSING, not an old level."""
    readings = rows(np.concatenate([wander(5), np.full((1, 3), np.nan)]), step_s=1.0)
    times = readings.time_ns.copy()
    times[5] += 3600 * 10**9
    out = config().stage(SCHEMA)(Readings.raw(SCHEMA, times, readings.value, 0.1))
    assert column(out, "level", "flag")[5] == Flag.MISSING


def test_rows_out_of_time_are_passed_through_and_not_learnt_from() -> None:
    """A duplicate or backward row changes no row after it but by the clock; the level it shows is the one before."""
    value = wander(10)
    times = 10**18 + np.array([0, 1, 2, 3, 3, 4, 5, 6, 7, 8]) * 10**9
    value[4] = 100.0
    out = config().stage(SCHEMA)(Readings.raw(SCHEMA, times, value, 0.1))
    kept = np.delete(np.arange(10), 4)
    clean = config().stage(SCHEMA)(Readings.raw(SCHEMA, times[kept], value[kept], 0.1))
    np.testing.assert_array_equal(column(out, "level")[kept], column(clean, "level"))
    assert column(out, "level")[4] == column(out, "level")[3]


def test_a_suspect_reading_counts_less() -> None:
    """The `u` of a SUSPECT input counts three times, that of a FAILed one not at all."""
    value = wander(20)
    value[10, :2] += 0.4
    marked = np.zeros(value.shape, np.bool_)
    marked[10] = True
    judged = [rows(value).flagged(marked, flag, Reason.SPIKE) for flag in (Flag.PASS, Flag.SUSPECT, Flag.FAIL)]
    levels = [column(config().stage(SCHEMA)(each), "level")[10] for each in judged]
    assert levels[0] > levels[1] > levels[2]


def test_inputs_that_contradict_the_model_make_the_output_suspect() -> None:
    """Where most inputs are refused the output is SUSPECT for INNOVATION, until the filter follows."""
    value = wander(60)
    value[30:] += [50.0, 100.0, 0.0]
    out = config(patience=5, gate=4.0).stage(SCHEMA)(rows(value))
    reason = column(out, "level", "reason")
    assert (reason[30:34] & Reason.INNOVATION).all()
    assert not reason[40:].any()
    assert np.abs(column(out, "level")[40:] - value[40:, 0]).max() < 1.0


def test_without_u_the_models_noise_counts() -> None:
    """A reading that brings no `u` has the noise the model states."""
    value = wander(20)
    bare = Readings.raw(SCHEMA, rows(value).time_ns, value)
    with_u = config().stage(SCHEMA)(rows(value, u=0.5))
    without = config(parameters={"inputs": 2, "noise": 0.5}).stage(SCHEMA)(bare)
    np.testing.assert_array_equal(column(with_u, "level"), column(without, "level"))


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"channels": ("a", "z")}, "no channel 'z'"),
        ({"channels": ("a", "b", "c")}, "3 inputs, and the model's measurement gives 2"),
        ({"outputs": (Output(name="a", of="level"),)}, "'a' is a name already taken"),
        ({"outputs": (Output(name="height"),)}, "'height' is not of the model"),
        ({"parameters": {"inputs": 2, "colour": 1}}, "unexpected keyword argument 'colour'"),
        ({"parameters": {"inputs": 2, "noise": -1.0}}, "noise must be above zero"),
        ({"model": WANDER.with_name("none.py")}, "cannot be read"),
    ],
)
def test_what_does_not_fit_is_said_before_a_run(keys: dict[str, Any], complaint: str) -> None:
    """`trueline-edge check` names what to mend."""
    objections = [objection.message for objection in config(**keys).objections(SCHEMA)]
    assert any(complaint in message for message in objections), objections


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def model(:\n", r"own\.py:1: SyntaxError"),
        ("x = 1\n\nraise OSError('no')\n", r"own\.py:3: OSError: no"),
        ("x = 1\n", "has no function `model`"),
        ("def model():\n    return 3\n", "returned int"),
        ("def model():\n    return 1 / 0\n", r"own\.py:2: ZeroDivisionError"),
    ],
)
def test_a_model_file_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """The refusal names file and line."""
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load_model(path, {})


def test_a_changed_model_has_another_id(tmp_path: Path) -> None:
    """A model that was changed is another one, in the schema and so in what a pipeline takes up again."""
    path = tmp_path / "own.py"
    path.write_text(WANDER.read_text())
    before = Estimate(model=path, outputs=LEVEL).stage(SCHEMA).schema
    path.write_text(WANDER.read_text().replace("0.01 * dt_s", "0.02 * dt_s"))
    assert Estimate(model=path, outputs=LEVEL).stage(SCHEMA).schema != before


@pytest.mark.parametrize(
    "keys", [{"gate": 0.0}, {"timeout_s": -1.0}, {"patience": 0}, {"outputs": ()}, {"tail": float("nan")}], ids=str
)
def test_numbers_that_cannot_be_are_refused(keys: dict[str, Any]) -> None:
    """The message names the key."""
    with pytest.raises(ValueError, match=next(iter(keys))):
        config(**keys)


def test_a_systematic_part_below_zero_is_refused() -> None:
    """An uncertainty is not negative."""
    with pytest.raises(ValueError, match="systematic_u"):
        Output(name="x", systematic_u=-1.0)


def test_a_configuration_reads_it(tmp_path: Path) -> None:
    """TOML to stage: the model's path is relative to the file, its parameters are a table."""
    (tmp_path / "own.py").write_text(WANDER.read_text())
    (tmp_path / "agent.toml").write_text(
        """
        device = "d"
        state = "state"
        [cloud]
        public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        [[link]]
        protocol = "coap"
        host = "127.0.0.1"
        [[stream]]
        name = "s"
        [stream.source]
        type = "simulated"
        rate_hz = 1.0
        [[stream.channel]]
        name = "a"
        [[stream.stage]]
        type = "estimate"
        model = "own.py"
        parameters = { inputs = 1 }
        filter = "imm"
        [[stream.stage.output]]
        name = "level"
        unit = "m"
        """
    )
    stage = load_config(tmp_path / "agent.toml").streams[0].stages[0]
    assert isinstance(stage, Estimate)
    assert stage.model == tmp_path / "own.py"
    assert not list(stage.objections(Schema(device="d", stream="s", channels=(Channel(name="a"),))))


def test_filterpy_is_loaded_where_it_is_configured_and_nowhere_else() -> None:
    """An agent without such a stage does not pay for its library."""
    code = "import sys, trueline_edge.__main__, trueline_edge.config; sys.exit('filterpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
