from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from model_kit import KEY, network_package, prediction_package, ring, rows, text_of

from trueline_edge.__main__ import main
from trueline_edge.inference.store import ModelStore
from trueline_edge.inference.trial import try_package
from trueline_edge.stages import Detect, Predict
from trueline_model.package import Package, write_package
from trueline_wire.errors import NeverRetry
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="b"), Channel(name="x"), Channel(name="a")))
MEAN = prediction_package()
OURS: dict[str, Any] = {"public_key": KEY.public, "name": "p", "unit": "Cel"}


def file(folder: Path, what: Package) -> Path:
    path = folder / "model.tlm"
    path.write_bytes(write_package(what, KEY))
    return path


def readings(value: Any) -> Readings:
    """Inputs a and b of the model; x is something else, and stands between."""
    value = np.asarray(value, np.float64)
    columns = np.column_stack([value[:, 1], np.full(len(value), 7.0), value[:, 0]])
    return Readings.raw(SCHEMA, 10**18 + np.arange(len(value)) * 10**9, columns)


def test_a_prediction_comes_with_its_uncertainty_and_its_interval(tmp_path: Path) -> None:
    """Median, u and interval ends stand in new channels; u is half the interval for 68 %, more coverage wider."""
    value = rows(60, 3)[:40]
    stage = Predict(model=file(tmp_path, MEAN), **OURS)
    out = stage.stage(SCHEMA)(readings(value))
    added = [("p", "Cel"), ("p.low", "Cel"), ("p.high", "Cel"), ("p.model", "1")]
    assert [(channel.name, channel.unit) for channel in out.schema.channels[-4:]] == added
    assert (out.value[:, 6] == 1.0).all()
    mean = np.lib.stride_tricks.sliding_window_view(value[:, 0], 4).mean(axis=1)
    assert np.abs(out.value[3:, 3] - mean).max() < 0.5  # steps of int8
    assert np.isnan(out.value[:3, 3:6]).all()
    assert (out.flag[:3, 3:6] == Flag.MISSING).all()
    assert (out.flag[3:, 3:6] == Flag.PASS).all()
    # The package was calibrated with normal errors of 3.
    assert out.u[3:, 3] == pytest.approx(np.full(37, 3.0), rel=0.1)
    assert out.value[3:, 5] - out.value[3:, 4] == pytest.approx(np.full(37, 2 * 1.645 * 3.0), rel=0.1)
    wide = Predict(model=stage.model, coverage=0.95, **OURS).stage(SCHEMA)(readings(value))
    assert (wide.value[3:, 5] > out.value[3:, 5]).all()


def test_outside_of_what_it_was_trained_on_a_prediction_is_suspect(tmp_path: Path) -> None:
    """An input a tenth of its range beyond what was seen; inside, it is not."""
    value = np.full((8, 2), 20.0)
    value[5, 1], value[6, 1] = 43.0, 45.0
    out = Predict(model=file(tmp_path, MEAN), **OURS).stage(SCHEMA)(readings(value))
    assert out.flag[3:, 3].tolist() == [1, 1, 1, Flag.SUSPECT, 1]
    assert out.reason[6, 3] == Reason.CLIMATOLOGY


def test_what_cannot_exceed_an_end_does_not(tmp_path: Path) -> None:
    """Median and interval end where the target does."""
    out = Predict(model=file(tmp_path, prediction_package(most=21.0)), **OURS).stage(SCHEMA)(readings(rows(60, 3)))
    assert np.nanmax(out.value[:, 3:6]) == 21.0


def test_it_is_kept_tried_and_served_like_any_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of versions takes it after its trial; one whose golden predictions are others is refused."""
    served = ModelStore(tmp_path / "m", ring()).install(write_package(MEAN, KEY))
    assert served.cost.row_us > 0.0
    assert main(["model", "show", str(tmp_path / "m"), "--public-key", text_of(KEY.public)]) == 0
    assert "predicts mean of a [Cel], from 4 steps" in capsys.readouterr().out
    out = Predict(model=tmp_path / "m", **OURS).stage(SCHEMA)(readings(rows(30)))
    assert np.isfinite(out.value[5:, 3]).all()
    other = prediction_package(version=2)
    wrong = Package(
        manifest=other.manifest,
        arrays=other.arrays | {"centre": np.array([21.0, 0.0])},
        golden=other.golden,
        network=other.network,
        calibration=other.calibration,
    )
    with pytest.raises(NeverRetry, match="golden rows"):
        try_package(write_package(wrong, KEY), ring())


def test_check_says_what_does_not_fit(tmp_path: Path) -> None:
    """A detector's package, another unit, a coverage it cannot promise, channels it has not: each with its key."""
    mean, detector = file(tmp_path, MEAN), tmp_path / "detector.tlm"
    detector.write_bytes(write_package(network_package(), KEY))

    def keys(**changes: Any) -> list[tuple[str, str]]:
        stage = Predict(**{"model": mean, **OURS, **changes})
        return [(str(each.path[0]), each.message) for each in stage.objections(SCHEMA)]

    assert keys() == []
    assert [key for key, _ in keys(unit="K")] == ["unit"]
    assert [key for key, _ in keys(coverage=0.999)] == ["coverage"]
    assert [key for key, _ in keys(name="x")] == ["name"]
    assert [key for key, _ in keys(channels=("a",))] == ["channels"]
    assert keys(model=tmp_path / "nowhere.tlm")[0][0] == "model"
    [(key, message)] = keys(model=detector)
    assert (key, "predicts nothing" in message) == ("model", True)
    objections = list(Detect(model=mean, public_key=KEY.public, name="d").objections(SCHEMA))
    assert "no detector is called prediction" in objections[0].message


def test_rows_at_another_pace_than_it_was_trained_at_are_refused(tmp_path: Path) -> None:
    """Row by row, twice as fast or slow at most; in steps of time, one row a step at least."""

    def said(what: Package, interval_s: float) -> list[str]:
        stage = Predict(model=file(tmp_path, what), **OURS)
        return [each.message for each in stage.misfits_in_time(interval_s)]

    steps = prediction_package(step_s=60.0)
    assert said(MEAN, 1.5) == said(steps, 0.01) == said(steps, 60.0) == []
    assert said(MEAN, 3.0) == ["rows come each 3 s, and the model's 4 rows were 1 s apart"]
    assert said(MEAN, 0.4)
    assert said(steps, 61.0) == ["rows come each 61 s, and the model wants one in each 60 s"]


def test_where_no_model_serves_the_stream_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The channels are MISSING, what came in comes out, and the log says why."""
    with caplog.at_level(logging.ERROR):
        stage = Predict(model=tmp_path / "nowhere.tlm", **OURS).stage(SCHEMA)
    out = stage(readings(rows(30)))
    assert (out.flag[:, 3:] == Flag.MISSING).all()
    assert "nothing is predicted" in caplog.text


def test_a_state_goes_on_only_with_the_model_it_came_from(tmp_path: Path) -> None:
    """Of another version, the window begins anew."""
    value = readings(rows(30))
    first = Predict(model=file(tmp_path, MEAN), **OURS)
    stage = first.stage(SCHEMA)
    stage(value)
    again, other = first.stage(SCHEMA), None
    again.restore(stage.state())
    later = Readings.raw(SCHEMA, value.time_ns + 30 * 10**9, value.value)
    assert np.isfinite(again(later).value[0, 3])
    (tmp_path / "b").mkdir()
    other = Predict(model=file(tmp_path / "b", prediction_package(version=2)), **OURS).stage(SCHEMA)
    other.restore(stage.state())
    assert np.isnan(other(later).value[0, 3])


def test_a_running_stage_takes_another_model_between_two_batches(tmp_path: Path) -> None:
    """Installed meanwhile, it serves from the next batch on, with a state of its own; each row says which it was."""
    store = ModelStore(tmp_path / "m", ring())
    store.install(write_package(MEAN, KEY))
    stage = Predict(model=tmp_path / "m", **OURS).stage(SCHEMA)
    value = readings(rows(30))
    stage(value)
    assert stage.maybe_renewal() is None
    store.install(write_package(prediction_package(version=2), KEY))
    renewal = stage.maybe_renewal()
    assert renewal is not None
    renewal()()
    later = stage(Readings.raw(SCHEMA, value.time_ns + 30 * 10**9, value.value))
    assert (later.value[:, 6] == 2.0).all()
    assert np.isfinite(later.value[:, 3]).tolist() == [False] * 3 + [True] * 27
