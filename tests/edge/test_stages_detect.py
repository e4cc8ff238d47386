from __future__ import annotations

import base64
import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from model_kit import KEY, STRANGER, calibrated, network_package, package, pca_package, ring, rows, text_of

from trueline_edge.config import load_config
from trueline_edge.inference.store import ModelStore
from trueline_edge.stages import Detect, Fuse
from trueline_edge.stages.detect import AlarmRate
from trueline_model.event import event_of
from trueline_model.package import Package, write_package
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_edge.stages.detecting import Detecting
    from trueline_wire.settings import Objection

SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="b"), Channel(name="x"), Channel(name="a")))
PCA = calibrated(pca_package())
NETWORK = calibrated(network_package())
OURS = {"public_key": KEY.public, "name": "d"}


def file(folder: Path, what: Package, name: str = "model.tlm") -> Path:
    path = folder / name
    path.write_bytes(write_package(what, KEY))
    return path


def readings(value: Any) -> Readings:
    """Inputs a and b of the model; x is something else, and stands between."""
    value = np.asarray(value, np.float64)
    columns = np.column_stack([value[:, 1], np.full(len(value), 7.0), value[:, 0]])
    return Readings.raw(SCHEMA, 10**18 + np.arange(len(value)) * 10**9, columns)


def column(out: Readings, name: str) -> Any:
    return out.value[:, [channel.name for channel in out.schema.channels].index(name)]


def flags(out: Readings, name: str) -> Any:
    return out.flag[:, [channel.name for channel in out.schema.channels].index(name)]


@pytest.mark.parametrize("what", [PCA, NETWORK], ids=["pca", "network"])
def test_a_row_that_breaks_the_correlation_scores_high_and_raises_the_alarm(what: Package, tmp_path: Path) -> None:
    """Inputs are found by name; normal rows score low, the last ten high, with a small p, and the alarm goes on."""
    out = Detect(model=file(tmp_path, what), **OURS).stage(SCHEMA)(readings(rows(300, 99)))
    score, p, alarm = (column(out, f"d.{what}") for what in ("score", "p", "alarm"))
    assert np.nanmin(score[-10:]) > 3 * np.nanmedian(score[:-10])
    assert np.nanmax(p[-5:]) < 0.01
    assert 0.2 < np.nanmean(p[:-10]) < 0.8
    assert np.nanmax(alarm[:200]) == 0.0
    assert alarm[-1] == 1.0
    assert flags(out, "d.alarm")[-1] == Flag.SUSPECT
    assert out.reason[-1, -1] == Reason.MULTI_VARIATE
    assert (flags(out, "d.score")[20:200] == Flag.PASS).all()


def test_the_same_scores_as_the_detector_gives_its_maker(tmp_path: Path) -> None:
    """No skew: what the stage says of the golden rows is what was written down where the model was made."""
    golden = NETWORK.golden
    value = np.where(golden.valid, golden.value, np.nan)
    out = Detect(model=file(tmp_path, NETWORK), **OURS).stage(SCHEMA)(readings(value))
    np.testing.assert_array_equal(column(out, "d.score"), golden.score)


def test_what_is_missing_or_failed_is_masked_not_invented(tmp_path: Path) -> None:
    """A failed cell changes nothing, whatever it holds; where nothing is there, nothing is said."""
    stage = Detect(model=file(tmp_path, PCA), **OURS)
    value = rows(60, 5)
    value[:, 0][20:30] = np.nan
    spoilt = readings(np.where(np.isnan(value), 1e9, value))
    failed = np.zeros((60, 3), np.bool_)
    failed[20:30, 2] = True
    one = stage.stage(SCHEMA)(spoilt.flagged(failed, Flag.FAIL, Reason.SPIKE))
    other = stage.stage(SCHEMA)(readings(value))
    np.testing.assert_array_equal(column(one, "d.score"), column(other, "d.score"))
    trusted = stage.stage(SCHEMA)(spoilt)  # the control: where nobody flagged it, it counts
    assert column(trusted, "d.score")[20] > 100 * column(one, "d.score")[20]
    nothing = stage.stage(SCHEMA)(readings(np.full((3, 2), np.nan)))
    assert (flags(nothing, "d.score") == Flag.MISSING).all()
    assert np.isnan(column(nothing, "d.score")).all()


def test_shares_say_which_channel(tmp_path: Path) -> None:
    """They sum to one, and of three the one that went off has the largest part."""
    three = Schema(device="d", stream="s", channels=tuple(Channel(name=name) for name in "abc"))
    path = file(tmp_path, network_package(k=3))
    stage = Detect(model=path, channels=("a", "b", "c"), details=True, **OURS).stage(three)
    out = stage(Readings.raw(three, np.arange(100) * 10**9, rows(100, 5, 3)))
    assert [channel.name for channel in out.schema.channels[-3:]] == ["d.share.a", "d.share.b", "d.share.c"]
    shares = out.value[20:, -3:]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares[-3:].argmax(axis=1) == 0).all()
    assert np.isnan(out.value[:7, -3:]).all()


def test_after_a_gap_the_model_starts_anew_and_time_that_stands_is_not_looked_at(tmp_path: Path) -> None:
    """A window never spans a gap, and a row without time of its own is in none."""
    stage = Detect(model=file(tmp_path, NETWORK), gap_max_s=5.0, **OURS).stage(SCHEMA)
    all_rows = readings(rows(40, 5))
    times = all_rows.time_ns.copy()
    times[20:] += 60 * 10**9
    times[30] = times[29]
    out = stage(Readings(SCHEMA, times, all_rows.value, all_rows.u, all_rows.flag, all_rows.reason))
    missing = np.flatnonzero(flags(out, "d.score") == Flag.MISSING)
    assert missing.tolist() == [*range(7), *range(20, 27), 30]


def test_the_rate_that_is_configured_sets_the_threshold(tmp_path: Path) -> None:
    """Ten times fewer false alarms want a decade more; and are refused where the calibration is too short for it."""
    path = file(tmp_path, PCA)
    rare = Detect(model=path, alarm=AlarmRate(events=1.0, per_s=2000.0), **OURS)
    often = Detect(model=path, alarm=AlarmRate(events=1.0, per_s=50.0), **OURS)
    value = np.concatenate([rows(500, seed)[:-10] for seed in range(30, 40)])
    count = {
        name: int((np.diff(column(config.stage(SCHEMA)(readings(value)), "d.alarm")) == 1.0).sum())
        for name, config in (("rare", rare), ("often", often))
    }
    assert count["rare"] < 10 < count["often"]
    never = Detect(model=path, alarm=AlarmRate(), **OURS)
    (objection,) = never.objections(SCHEMA)
    assert objection.path == ("alarm",)
    assert "cannot be promised" in objection.message


def test_without_calibration_there_is_a_score_alone(tmp_path: Path) -> None:
    """P and alarm are MISSING, and not guessed."""
    out = Detect(model=file(tmp_path, pca_package()), **OURS).stage(SCHEMA)(readings(rows(30, 1)))
    assert (flags(out, "d.score") == Flag.PASS).all()
    assert (flags(out, "d.p") == Flag.MISSING).all()
    assert (flags(out, "d.alarm") == Flag.MISSING).all()


def objections(config: Detect, schema: Schema = SCHEMA) -> list[Objection]:
    return list(config.objections(schema))


def test_what_does_not_fit_is_said_before_anything_runs(tmp_path: Path) -> None:
    """No file, a stranger's, one that fails its trial, other channels, other units, names taken."""
    path = file(tmp_path, PCA)
    assert not objections(Detect(model=path, **OURS))
    assert "cannot be read" in objections(Detect(model=tmp_path / "none.tlm", **OURS))[0].message
    assert "no model serves" in objections(Detect(model=tmp_path / "..", **OURS))[0].message
    assert "no key" in objections(Detect(model=path, name="d", public_key=STRANGER.public))[0].message
    bad = file(tmp_path, package(), "bad.tlm")
    assert "refused" in objections(Detect(model=bad, **OURS))[0].message
    (objection,) = objections(Detect(model=path, channels=("a",), **OURS))
    assert "1 channels, and the model reads 2: a, b" in objection.message
    assert "no channel 'z'" in objections(Detect(model=path, channels=("a", "z"), **OURS))[0].message
    kelvin = Schema(device="d", stream="s", channels=(Channel(name="a", unit="K"), Channel(name="b")))
    assert "'a' is in K" in objections(Detect(model=path, **OURS), kelvin)[0].message
    without = Schema(device="d", stream="s", channels=(Channel(name="b"),))
    assert "no channel 'a'" in objections(Detect(model=path, **OURS), without)[0].message
    twice = Detect(model=path, **OURS).stage(SCHEMA).schema
    assert "already" in objections(Detect(model=path, **OURS), twice)[0].message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name"),
        ({"public_key": b"short"}, "public_key"),
        ({"gap_max_s": 0.0}, "gap_max_s"),
        ({"details": True}, "channels"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Each names its key."""
    with pytest.raises(ValueError, match=said):
        Detect(**({"model": tmp_path, **OURS} | changes))


def test_p_values_follow_drift_where_that_was_asked_for(tmp_path: Path) -> None:
    """Twice the noise for good: strange while it is new, and normal again, also over a restart; without, for ever."""
    rng = np.random.default_rng(3)
    value = np.concatenate([rows(500, seed)[:-10] for seed in range(50, 56)])
    value[1000:] += 0.2 * rng.normal(size=value[1000:].shape)
    path = file(tmp_path, PCA)
    late = {}
    for memory_rows in (None, 500):
        config = Detect(model=path, memory_rows=memory_rows, **OURS)
        first, stage = config.stage(SCHEMA), config.stage(SCHEMA)
        first(readings(value)[:1500])
        stage.restore(first.state())
        late[memory_rows] = column(stage(readings(value)[1500:]), "d.p")[500:]
    assert np.mean(late[None] < 0.05) > 0.2
    assert np.mean(late[500] < 0.05) < 0.1
    with pytest.raises(ValueError, match="memory_rows"):
        Detect(model=path, memory_rows=10, **OURS)


def test_an_alarm_rate_is_above_zero() -> None:
    """No alarm ever is not a rate."""
    with pytest.raises(ValueError, match="events"):
        AlarmRate(events=0.0)


def test_a_model_that_rotted_does_not_keep_the_agent_from_running(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The stage says so and goes on with its channels MISSING; `check` does not stand in the way of a start."""
    store = ModelStore(tmp_path / "pump", ring())
    store.install(write_package(PCA, KEY))
    (version,) = (tmp_path / "pump").glob("*.tlm")
    version.write_bytes(version.read_bytes()[:-5])
    config = Detect(model=tmp_path / "pump", **OURS)
    assert not objections(config)
    caplog.set_level(logging.ERROR)
    out = config.stage(SCHEMA)(readings(rows(5)))
    assert (out.flag[:, 3:] == Flag.MISSING).all()
    assert "no model serves" in caplog.text


def test_a_new_version_starts_anew_and_other_stages_keep_what_they_know(tmp_path: Path) -> None:
    """Between two runs the model was replaced: its state is not the old one's, and that is no error."""
    store = ModelStore(tmp_path / "pump", ring())
    store.install(write_package(NETWORK, KEY))
    config = Detect(model=tmp_path / "pump", **OURS)
    old = config.stage(SCHEMA)
    old(readings(rows(20)))
    same = config.stage(SCHEMA)
    same.restore(old.state())
    assert not np.isnan(same(readings(rows(21))[20:]).value[0, 3])
    store.install(write_package(calibrated(network_package(2)), KEY))
    new = config.stage(SCHEMA)
    new.restore(old.state())
    assert np.isnan(new(readings(rows(21))[20:]).value[0, 3])


def renew(stage: Detecting) -> None:
    """What the agent does each few seconds."""
    if (prepare := stage.maybe_renewal()) is not None:
        prepare()()


def test_a_model_that_comes_while_it_runs_takes_over_between_two_batches(tmp_path: Path) -> None:
    """Rows say which version looked at them; the new one warms up as from a start, and an old state is not its own."""
    store = ModelStore(tmp_path / "pump", ring())
    store.install(write_package(NETWORK, KEY))
    stage = Detect(model=tmp_path / "pump", **OURS).stage(SCHEMA)
    renew(stage)
    first = stage(readings(rows(20)))
    assert stage.maybe_renewal() is None
    old = stage.state()
    store.install(write_package(calibrated(network_package(2)), KEY))
    renew(stage)
    second = stage(readings(rows(40))[20:])
    assert set(column(first, "d.model")) == {1.0}
    assert set(column(second, "d.model")) == {2.0}
    assert np.isnan(column(second, "d.score")[:7]).all()
    stage.restore(old)
    assert not np.isnan(stage(readings(rows(60))[40:]).value[0, 3])
    store.rollback()
    renew(stage)
    assert set(column(stage(readings(rows(80))[60:]), "d.model")) == {1.0}


def test_an_event_that_goes_on_ends_with_its_model(tmp_path: Path) -> None:
    """The cloud does not wait for an end nobody will tell."""
    path = file(tmp_path, PCA)
    stage = Detect(model=path, **OURS).stage(SCHEMA)
    stage(readings(rows(300, 99)))
    before = [event_of(told).phase for told in stage.take_told()]
    assert before[-1] == "begun"
    file(tmp_path, calibrated(pca_package(2)))
    renew(stage)
    (told,) = stage.take_told()
    assert (event_of(told).phase, event_of(told).model) == ("ended", 1)


def test_a_new_model_that_does_not_serve_leaves_the_old_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Poison, or for other channels: the log says so once, and what served serves on, its state kept."""
    path = file(tmp_path, NETWORK)
    stage = Detect(model=path, **OURS).stage(SCHEMA)
    stage(readings(rows(20)))
    for bad in (b"TLMODEL1 and no more", write_package(package(), KEY), write_package(network_package(2, k=3), KEY)):
        path.write_bytes(bad)
        caplog.clear()
        renew(stage)
        assert "a new model does not serve" in caplog.text
        assert stage.maybe_renewal() is None
    path.unlink()
    renew(stage)
    out = stage(readings(rows(40))[20:])
    assert set(column(out, "d.model")) == {1.0}
    assert not np.isnan(column(out, "d.score")).any()


def test_the_configuration_a_person_writes(tmp_path: Path) -> None:
    """Behind a fused channel, with the alarm's rate as a table of its own."""
    from trueline_wire.settings import parse_toml  # noqa: PLC0415 - this test alone

    file(tmp_path, PCA)
    text = f"""
    type = "detect"
    name = "pump"
    model = "model.tlm"
    public_key = "{base64.b64encode(KEY.public).decode()}"
    channels = ["f", "b"]
    alarm = {{ events = 1, per_s = 1000 }}
    """
    config = parse_toml(text, tmp_path / "stage.toml", Detect)
    fused = Fuse(name="f", inputs=("a",)).stage(SCHEMA).schema
    assert not objections(config, fused)
    assert config.rate_hz == 0.001


@pytest.mark.parametrize(
    ("rows_come", "said"),
    [
        ("rate_hz = 1.0", None),
        ("rate_hz = 1.5", None),
        ("rate_hz = 0.2", "5 s, and the model's 8 rows were 1 s apart"),
        ("rate_hz = 10.0", "0.1 s, and the model's 8 rows were 1 s apart"),
        ("rate_hz = 0.05", "would never say anything"),
    ],
)
def test_a_model_is_for_rows_that_come_as_they_did_where_it_was_trained(
    tmp_path: Path, rows_come: str, said: str | None
) -> None:
    """Trained on a row a second with windows of 8: `check` refuses rows so rare that it starts anew with each."""
    file(tmp_path, NETWORK)
    text = f"""
    device = "d"
    state = "state"
    cloud = {{ public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" }}
    link = [{{ protocol = "coap", host = "127.0.0.1" }}]
    [[stream]]
    name = "s"
    source = {{ type = "simulated", {rows_come} }}
    channel = [{{ name = "a", signal = {{ kind = "noise" }} }}, {{ name = "b", signal = {{ kind = "noise" }} }}]
    stage = [{{ type = "detect", name = "d", model = "model.tlm", public_key = "{text_of(KEY.public)}" }}]
    """
    (tmp_path / "agent.toml").write_text(text)
    if said is None:
        load_config(tmp_path / "agent.toml")
        return
    with pytest.raises(ConfigError, match=said):
        load_config(tmp_path / "agent.toml")


def test_an_agent_without_a_model_does_not_pay_for_one() -> None:
    """Neither LiteRT nor the models' own code is imported where no stage asks for it."""
    code = (
        "import sys, trueline_edge.agent, trueline_edge.config\n"
        "sys.exit(any(name.split('.')[0] in {'trueline_model', 'ai_edge_litert'} for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_litert_greets_with_is_not_in_the_log(tmp_path: Path) -> None:
    """The agent's standard error is JSON lines; a library's own line would break them."""
    path = file(tmp_path, network_package())
    code = (
        "import sys\nfrom pathlib import Path\nfrom trueline_edge.inference.serving import open_model, serve\n"
        "serve(open_model(Path(sys.argv[1]), bytes.fromhex(sys.argv[2])).package)"
    )
    command = [sys.executable, "-c", code, str(path), KEY.public.hex()]
    assert not subprocess.run(command, check=True, capture_output=True).stderr
