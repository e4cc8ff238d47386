"""`trueline-cloud train --life | --target`: from recordings to a package that predicts on a device."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from trueline_cloud.__main__ import main
from trueline_cloud.learning.prediction.history import History, mean_ahead, questions, remaining, stretches
from trueline_edge.inference.store import ModelStore
from trueline_edge.stages import Predict
from trueline_model.prediction import Feature, Prediction
from trueline_model.series import make_series
from trueline_wire.keys import KeyRing, SigningKey
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from pathlib import Path

heavy = pytest.mark.xdist_group("tensorflow")
HOUR = 3_600_000_000_000


def wearing(seed: int, rows: int) -> np.ndarray:
    """A channel that rises towards the end, and one that says nothing."""
    rng = np.random.default_rng(seed)
    left = np.arange(rows - 1, -1, -1)
    return np.column_stack([20.0 - np.minimum(left, 40) / 4.0, np.zeros(rows)]) + rng.normal(0.0, 0.3, (rows, 2))


@heavy
def test_engines_run_to_failure_become_a_package_that_says_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained by one command, signed, tried, served: a new engine's life is foretold within its interval."""
    pytest.importorskip("tensorflow")
    folder, state = tmp_path / "engines", tmp_path / "state"
    folder.mkdir()
    for number in range(20):
        table = wearing(number, 60 + number)
        lines = [f"{a!r},{b!r}" for a, b in table.tolist()]
        (folder / f"engine-{number:02}.csv").write_text("\n".join(["heat,noise", *lines]) + "\n")
    asked = ["train", "--data", str(folder), "--life", "rows", "--most", "40", "--rows", "12", "--name", "life"]
    where = ["--state", str(state), "--out", str(tmp_path / "models"), "--epochs", "15", "--json"]
    assert main([*asked, *where]) == 0
    metrics = msgspec.json.decode(capsys.readouterr().out)["metrics"]
    assert metrics["rmse"] < 0.5 * metrics["always_the_mean_rmse"]
    assert 0.8 < metrics["coverage_90"] <= 1.0
    assert metrics["size_bytes"] < 64 * 1024
    assert "Units not learnt from" in (tmp_path / "models" / "life-1.html").read_text()

    key, ring = SigningKey.load_or_create(state / "cloud.key"), KeyRing()
    ring.trust("cloud", key.public)
    ModelStore(tmp_path / "device", ring).install((tmp_path / "models" / "life-1.tlm").read_bytes())
    schema = Schema(device="d", stream="s", channels=(Channel(name="heat"), Channel(name="noise")))
    stage = Predict(name="life", unit="1", model=tmp_path / "device", public_key=key.public)
    assert list(stage.objections(schema)) == []
    held = []
    for seed in range(100, 110):
        said = stage.stage(schema)(Readings.raw(schema, np.arange(70) * 10**9, wearing(seed, 70))).value[11:, 2:]
        truth = np.minimum(np.arange(69, -1, -1)[11:], 40)
        held.append(np.mean((said[:, 1] <= truth) & (truth <= said[:, 2])))
        assert abs(said[-1, 0]) < 12.0
    assert np.mean(held) > 0.8


def test_windows_are_asked_where_the_device_will_answer() -> None:
    """The answer to a window is the target at the row at which the device would say it."""
    series = make_series(np.arange(50.0), interval_s=60.0)
    recipe = Prediction(
        target="t", unit="1", rows=3, step_s=600.0, features=(Feature(0),), origin=0.0, span=1.0, most=35.0
    )
    asked = questions([History("a", series, np.arange(50.0)), History("b", series[:35], np.full(35, np.nan))], recipe)
    assert asked.target.tolist() == [30.0, 35.0]
    assert asked.value[0, :, 0].tolist() == [4.5, 14.5, 24.5]
    assert asked.unit.tolist() == [0, 0]


def test_what_lies_ahead_is_a_mean_of_what_was_measured_or_not_known() -> None:
    """Where more than a tenth of the time ahead was not measured, nothing is learnt from it."""
    time_ns = np.arange(40) * HOUR
    valid = np.ones(40, bool)
    valid[20:24] = False
    mean = mean_ahead(time_ns, np.arange(40.0), valid, 10 * 3600.0)
    assert mean[0] == 4.5
    assert np.isfinite(mean).tolist() == [i <= 11 or 23 <= i <= 31 for i in range(40)]


def test_life_left_counts_from_the_last_row_back() -> None:
    """In rows, hours or days."""
    time_ns = np.arange(5) * 12 * HOUR
    assert remaining(time_ns, "rows").tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]
    assert remaining(time_ns, "h")[0] == 48.0
    assert remaining(time_ns, "d")[1] == 1.5


def test_a_long_recording_is_cut_into_units_that_share_nothing() -> None:
    """Between two stretches lies at least the gap asked for."""
    series = make_series(np.arange(100.0), interval_s=3600.0)
    parts = stretches(History("a", series, np.zeros(100)), 4, 5 * 3600.0)
    assert [each.name for each in parts] == ["a@1", "a@2", "a@3", "a@4"]
    for one, two in pairwise(parts):
        assert two.series.time_ns[0] - one.series.time_ns[-1] > 5 * HOUR


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--life", "rows", "--target", "a"], "say what to predict"),
        (["--life", "rows", "--alarms", "1/day"], "no alarm"),
        (["--target", "a", "--per", "z"], "--per z"),
        (["--target", "z"], "there are the channels a, b"),
        (["--target", "a", "--ahead", "soon"], "no duration"),
        (["--target", "a", "--channels", "a,b"], "it is known then"),
        (["--life", "rows"], "1 units to learn from"),
        (["--life", "rows", "--change", "c"], "--change c"),
    ],
)
def test_a_command_that_cannot_be_meant_says_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    """Exit code 2, nothing written, and a sentence that names the option."""
    pytest.importorskip("tensorflow")
    (tmp_path / "a.csv").write_text("a,b\n" + "1,2\n2,3\n" * 40)
    where = ["--state", str(tmp_path / "state"), "--out", str(tmp_path / "models"), "--rows", "4"]
    assert main(["train", "--data", str(tmp_path / "a.csv"), "--name", "n", *where, *options]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
