"""The models of examples/uwb: on made ranges whose truth is known, and the whole example on the real ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from trueline_edge.estimation.nonlinear import Model, begin, track
from trueline_edge.stages.model_file import load_model
from trueline_sim.truth import SCENARIOS
from trueline_sim.truth.draws import draw_parameters
from trueline_sim.truth.motion import RANGES
from trueline_sim.world import World

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

pytest.importorskip("filterpy")

_FOLDER = Path(__file__).parents[2] / "examples" / "uwb"
_INSTALLATION: dict[str, Any] = {
    "anchors_m": [[0.0, 0.0, 2.0], [8.0, 0.0, 2.5], [8.0, 8.0, 2.0], [0.0, 8.0, 2.5]],
    "offsets_m": [0.05, -0.02, 0.1, 0.0],
    "gain": 1.004,
    "tag_height_m": 1.0,
    "noise_m": 0.02,
    "common": [0.08, 6.0],
    "own": [0.04, 1.0],
    "wander_m2_s3": 0.1,
    "start_m": [4.0, 4.0, 3.0],
}
_RANGES = ("range_1", "range_2", "range_3", "range_4")
_HALL = {"hall_x_m": 20.0, "hall_y_m": 15.0, "anchor_height_m": 3.0}


def drawn(model: Model, seed: int, n: int = 300) -> tuple[Array, Array]:
    """A path of the model's own making, (n, states), and what its inputs show, (n, inputs), ten a second."""
    rng = np.random.default_rng(seed)
    state = rng.multivariate_normal(np.asarray(model.mean), np.asarray(model.covariance))
    noise = np.broadcast_to(np.asarray(model.noise), (model.inputs,))
    path, value = [], []
    for _ in range(n):
        step = np.asarray(model.process_noise(state, 0.1))
        state = np.asarray(model.transition(state, 0.1)) + rng.multivariate_normal(np.zeros(len(step)), step)
        path.append(state)
        value.append(np.asarray(model.measurement(state)) + noise * rng.normal(size=model.inputs))
    return np.array(path), np.array(value)


@pytest.mark.parametrize(
    ("file", "parameters"),
    [("model.py", _INSTALLATION), ("motion_model.py", {**_HALL, "inputs": [*_RANGES, "turn_rate"]})],
    ids=["uwb", "motion"],
)
def test_a_model_finds_what_it_describes(file: str, parameters: dict[str, Any]) -> None:
    """On paths drawn from the model itself, the 95 % intervals of every state hold about 95 % of the truth."""
    model = load_model(_FOLDER / file, parameters).model
    inside = []
    for seed in range(8):
        path, value = drawn(model, seed)
        variance = np.broadcast_to(np.asarray(model.noise) ** 2, value.shape)
        out = track(model, "ekf", begin(model, "ekf"), np.full(len(value), 0.1), value, variance)
        sd = np.sqrt(np.diagonal(out.covariance, axis1=1, axis2=2))
        inside.append((np.abs(out.mean - path) < 1.96 * sd)[20:])
    assert 0.91 < np.mean(inside) < 0.985
    assert 0.88 < np.mean(np.array(inside)[:, :, :2]) < 0.99


def test_the_hall_model_follows_simulated_vehicles() -> None:
    """Ranges, wheel and gyroscope of the scenario `motion` tell the place and the turn, with intervals that hold them.

    The gyroscopes are off by up to 20 degrees a second, the ranges by up to 0.2 m, and nothing has been calibrated.
    """
    world = World(SCENARIOS["motion"], devices=3, seed=5, steps=300, interval_s=0.1, faults=())
    truth, raw = (np.concatenate([getattr(block, name) for block in world]) for name in ("truth", "raw"))
    names = [measurand.name for measurand in SCENARIOS["motion"].measurands]
    halls = draw_parameters(RANGES, devices=3, seed=5, scenario="motion")
    inputs = [names.index(name) for name in (*_RANGES, "speed", "turn_rate")]
    place, turn, gyroscope, inside = [], [], [], []
    for device in range(3):
        hall = {key: float(halls[key][device]) for key in _HALL}
        model = load_model(_FOLDER / "motion_model.py", hall).model
        value = raw[:, device, inputs]
        variance = np.broadcast_to(np.asarray(model.noise) ** 2, value.shape)
        out = track(model, "ekf", begin(model, "ekf"), np.full(300, 0.1), value, variance)
        error = (out.mean[:, [0, 1, 4]] - truth[:, device][:, [0, 1, 3]])[100:]
        sd = np.sqrt(np.diagonal(out.covariance, axis1=1, axis2=2))[100:, [0, 1, 4]]
        place.append(error[:, :2])
        turn.append(error[:, 2])
        gyroscope.append((raw - truth)[100:, device, 3])
        inside.append(np.abs(error) < 1.96 * sd)
    assert np.sqrt(np.mean(np.square(place))) < 0.12
    assert np.sqrt(np.mean(np.square(turn))) < 0.8 * np.sqrt(np.mean(np.square(gyroscope)))
    assert np.mean(inside) > 0.93


def test_an_input_nobody_knows_is_refused() -> None:
    """The hall's model says which channels it understands."""
    with pytest.raises(Exception, match="inputs has 'smell'"):
        load_model(_FOLDER / "motion_model.py", {**_HALL, "inputs": ["smell"]})


def test_jacobians_of_the_uwb_model_are_those_of_its_functions() -> None:
    """What was derived on paper agrees with differences."""
    from trueline_edge.estimation.nonlinear import gradient  # noqa: PLC0415 - only this test needs it

    model = load_model(_FOLDER / "model.py", _INSTALLATION).model
    at = np.array([3.0, 5.0, 0.4, -0.2, 0.1, 0.0, 0.01, -0.02, 0.03])
    assert model.measurement_jacobian is not None
    assert model.transition_jacobian is not None
    np.testing.assert_allclose(model.measurement_jacobian(at), gradient(model.measurement, at), atol=1e-7)
    np.testing.assert_allclose(
        model.transition_jacobian(at, 0.3), gradient(lambda state: model.transition(state, 0.3), at), atol=1e-7
    )


def test_the_example_beats_the_authors_tracks(data_folder: Path, tmp_path: Path) -> None:
    """The whole example on real ranges: below both published tracks, with honest intervals, and a picture."""
    if not (data_folder / "uwb_hanyang").is_dir():
        pytest.skip("no uwb_hanyang there")
    argv = [sys.executable, str(_FOLDER / "run.py"), "--data", str(data_folder), "--plot", str(tmp_path / "track.png")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    ours, ls, eskf = (float(number) for number in re.findall(r"RMSE ([\d.]+) m", done.stdout))
    assert ours < min(ls, eskf)
    assert 90.0 <= float(re.findall(r"hold ([\d.]+)%", done.stdout)[0]) <= 98.0
    assert (tmp_path / "track.png").stat().st_size > 10_000
