from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from score_kit import as_export, as_replay, changed, record, scored

from trueline_sim.__main__ import main
from trueline_sim.faults.fault import Fault
from trueline_sim.truth.scenario import ProcessAnomaly
from trueline_sim.world import START_NS
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

STEP_NS = 10_000_000_000
TEMPERATURE, HUMIDITY = 0, 1


def _fault(kind: str, first: int, last: int, magnitude: float = 0.0, *, device: int = 0, channel: int = 0) -> Fault:
    return Fault(kind, device, channel, START_NS + first * STEP_NS, START_NS + last * STEP_NS, magnitude)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rooms with faults at known places, one window left open."""
    faults = [
        _fault("spike", 50, 51, 40.0),
        _fault("bias_step", 100, 140, 30.0),
        _fault("nan_run", 200, 210, device=1),
        _fault("drop_out", 300, 320, device=2, channel=-1),
        _fault("duplicate", 400, 405, 1.0, device=3, channel=-1),
        _fault("clock_step", 500, 520, 3.3, device=4, channel=-1),
    ]
    window = ProcessAnomaly("window", 5, START_NS + 100 * STEP_NS, START_NS + 200 * STEP_NS, 1.0)
    return record(tmp_path_factory.mktemp("broken") / "recording", faults=faults, anomalies=[window])


def _alarms(recording: Path, *cells: tuple[str, int], flag: int = 4) -> np.ndarray:
    """Flags of one channel: pass, but for (device, step) cells."""
    table = pq.read_table(recording / "readings.parquet")
    device, row = table.column("device").to_pylist(), table.column("row").to_pylist()
    return np.array([flag if cell in cells else 1 for cell in zip(device, row, strict=True)], np.uint8)


def test_passed_through_unchanged_gains_nothing(broken: Path) -> None:
    """Gain is exactly 1.0, nothing lost by the pipeline, nothing excluded; it is told that nobody evaluated."""
    result = scored(broken, broken / "readings.parquet")
    for channel in result["channels"].values():
        for subset in ("all", "good", "clean"):
            assert channel[subset]["gain"] == 1.0
        assert channel["delivery"]["lost"] == 0
        assert channel["excluded"]["share_wrongly_excluded"] == 0.0
        assert channel["all"] == channel["good"]
    assert any("flag 2" in note for note in result["notes"])
    assert result["rows"] == {
        "expected": 3600,
        "reported": 3580,
        "lost_before_report": 20,
        "repeated_by_recording": 5,
    }
    assert result["channels"]["humidity"]["delivery"]["duplicates"] == 5
    assert result["channels"]["air_temperature"]["delivery"]["missing_values"] == 10


def test_errors_of_faults_are_counted_where_they_are(broken: Path) -> None:
    """Clean readings of the temperature have no fault in them; all readings have."""
    channel = scored(broken, broken / "readings.parquet")["channels"]["air_temperature"]
    assert channel["clean"]["rmse_out"] < 0.5 * channel["all"]["rmse_out"]
    assert channel["clean"]["cells"] == 3580 - 1 - 40 - 10 - 5 - 20 - 100


def test_confident_and_wide_uncertainties_are_exposed(broken: Path, tmp_path: Path) -> None:
    """Negative controls: a tenth of u covers too little, ten times too much, and both cost CRPS."""
    declared = json.loads((broken / "manifest.json").read_text())["channels"][TEMPERATURE]["u_declared"]
    rows = pq.read_metadata(broken / "readings.parquet").num_rows
    covered, paid = [], []
    for factor in (0.1, 1.0, 10.0):
        out = changed(broken, tmp_path / "r.parquet", u__air_temperature=np.full(rows, factor * declared))
        clean = scored(broken, out)["channels"]["air_temperature"]["clean"]
        covered.append(clean["coverage"]["50"])
        paid.append(clean["crps"])
    assert covered[0] < 0.3
    assert covered[2] > 0.99  # but for the lag after a window is shut
    assert paid[1] < min(paid[0], paid[2])


def test_a_mended_reading_is_a_gain(broken: Path, tmp_path: Path) -> None:
    """Errors halved everywhere: gain 2, by definition."""
    table, truth = pq.read_table(broken / "readings.parquet"), pq.read_table(broken / "truth.parquet")
    raw = table.column("value:humidity").to_numpy()
    half = (raw + truth.column("truth:humidity").to_numpy()) / 2
    out = changed(broken, tmp_path / "r.parquet", value__humidity=half)
    assert scored(broken, out)["channels"]["humidity"]["all"]["gain"] == pytest.approx(2.0)


def test_delays_and_false_alarms(broken: Path, tmp_path: Path) -> None:
    """A step found after 7 readings has a delay of 70 s; alarms side by side on a good sensor are one false alarm."""
    cells = [("d0000", 107), ("d0000", 108), *[("d0003", step) for step in (20, 22, 25, 60)]]
    out = changed(broken, tmp_path / "r.parquet", flag__air_temperature=_alarms(broken, *cells))
    result = scored(broken, out)
    channel = result["channels"]["air_temperature"]
    step = channel["faults"]["bias_step"]
    assert (step["labels"], step["detected"], step["delay_s_median"], step["delay_readings_median"]) == (1, 1, 70.0, 7)
    assert channel["faults"]["spike"]["detected"] == 0
    assert channel["alarms"]["events"] == 3
    assert channel["alarms"]["false"] == 2
    assert channel["alarms"]["false_a_day"] == pytest.approx(2 / (channel["clean_cells"] * 10 / 86_400))
    assert channel["excluded"]["share_wrongly_excluded"] == pytest.approx(4 / channel["clean_cells"])
    assert channel["good"]["cells"] == channel["all"]["cells"] - 6
    assert not result["channels"]["humidity"]["evaluated"]


def test_an_alarm_that_was_on_before_is_told(broken: Path, tmp_path: Path) -> None:
    """A detector that always shouts finds everything at once, but had shouted before (negative control)."""
    rows = pq.read_metadata(broken / "readings.parquet").num_rows
    out = changed(broken, tmp_path / "r.parquet", flag__air_temperature=np.full(rows, 4, np.uint8))
    channel = scored(broken, out)["channels"]["air_temperature"]
    step = channel["faults"]["bias_step"]
    assert (step["detected"], step["delay_s_median"], step["already_alarmed"]) == (1, 0.0, 1)
    assert channel["excluded"]["share_wrongly_excluded"] == 1.0
    assert channel["good"] == {"cells": 0}


def test_alarms_about_the_process_are_told_apart(broken: Path, tmp_path: Path) -> None:
    """An alarm while a window stands open is no false alarm of the sensor, and is counted by itself."""
    out = changed(broken, tmp_path / "r.parquet", flag__air_temperature=_alarms(broken, ("d0005", 150)))
    result = scored(broken, out)
    channel = result["channels"]["air_temperature"]
    assert (channel["alarms"]["false"], channel["alarms"]["on_process"]) == (0, 1)
    assert channel["excluded"]["share_wrongly_excluded"] == 0.0
    assert channel["excluded"]["share_of_process_excluded"] == pytest.approx(1 / 100)
    assert result["process_anomalies"]["window"]["detected"] == 1
    assert result["process_anomalies"]["window"]["delay_s_median"] == 500.0


def test_scores_are_ranked_apart(broken: Path, tmp_path: Path) -> None:
    """A score that is the label of one kind is perfect for it and chance for the other; a random one is chance."""
    table = pq.read_table(broken / "readings.parquet")
    row, device = np.array(table.column("row")), np.array(table.column("device").to_pylist())
    sensor = (device == "d0000") & ((row == 50) | ((row >= 100) & (row < 140)))
    sensor |= (device == "d0001") & (row >= 200) & (row < 210)
    out = changed(broken, tmp_path / "r.parquet", score__air_temperature=sensor.astype(float))
    ranked = scored(broken, out)["channels"]["air_temperature"]["ranked"]
    assert ranked["by"] == "score"
    assert ranked["sensor_faults"]["ap"] == 1.0
    assert ranked["process_anomalies"]["ap"] == pytest.approx(ranked["process_anomalies"]["share"])
    random = np.random.default_rng(4).random(len(row))
    out = changed(broken, tmp_path / "r.parquet", score__air_temperature=random)
    ranked = scored(broken, out)["channels"]["air_temperature"]["ranked"]["process_anomalies"]
    assert ranked["ap"] == pytest.approx(ranked["share"], rel=0.5)


def test_lost_and_repeated_readings_are_counted(broken: Path, tmp_path: Path) -> None:
    """A row left out is lost, a row twice is a duplicate and is scored once, another's row is a stranger."""
    table = pq.read_table(broken / "readings.parquet")
    plain = scored(broken, broken / "readings.parquet")["channels"]["humidity"]
    kept = np.r_[0:90, 91:200, 150:160, 200 : len(table)]
    late = table.take(kept)
    stamps = late.column("time_ns").to_numpy().copy()
    stamps[5] += 1
    late = late.set_column(2, "time_ns", [stamps])
    pq.write_table(late, tmp_path / "r.parquet")
    channel = scored(broken, tmp_path / "r.parquet")["channels"]["humidity"]
    delivery = channel["delivery"]
    assert delivery["lost"] == 2
    assert delivery["duplicates"] == plain["delivery"]["duplicates"] + 10
    assert delivery["strangers"] == 1
    assert channel["all"]["cells"] == plain["all"]["cells"] - 2


@pytest.mark.parametrize("name", ["replay.csv", "replay.parquet", "export.parquet"])
def test_every_shape_of_readings_is_understood(broken: Path, tmp_path: Path, name: str) -> None:
    """The same readings of a device score the same in each program's shape."""
    make = as_replay if name.startswith("replay") else as_export
    result = scored(broken, make(broken, tmp_path / name, "d0001"), device="d0001")
    plain = scored(broken, broken / "readings.parquet")
    for entry in result["channels"].values():
        assert entry["all"]["gain"] == 1.0
        assert entry["delivery"]["came"] == 600
        assert entry["delivery"]["lost"] == plain["rows"]["reported"] - 600
        assert entry["evaluated"]
    assert result["channels"]["air_temperature"]["delivery"]["missing_values"] == 10
    assert result["channels"]["humidity"]["all"]["u_rms"] == pytest.approx(0.2)


def test_several_files_are_one(broken: Path, tmp_path: Path) -> None:
    """Exports of all devices together score like the recording itself."""
    files = [as_export(broken, tmp_path / f"{number}.parquet", f"d000{number}") for number in range(6)]
    whole, plain = scored(broken, *files), scored(broken, broken / "readings.parquet")
    for name in ("air_temperature", "humidity"):
        for figure in ("cells", "rmse_out", "gain"):
            assert whole["channels"][name]["all"][figure] == pytest.approx(plain["channels"][name]["all"][figure])


def test_it_does_not_matter_how_devices_are_taken(broken: Path, tmp_path: Path) -> None:
    """One device at a time gives the figures of all at once, ranked scores among them."""
    flags = _alarms(broken, ("d0000", 50), ("d0000", 110), ("d0002", 7))
    out = changed(broken, tmp_path / "r.parquet", flag__air_temperature=flags)
    whole, cut = scored(broken, out), scored(broken, out, cells_at_once=1)
    for name, channel in whole["channels"].items():
        other = cut["channels"][name]
        assert other["ranked"] == channel["ranked"]
        assert other["faults"] == channel["faults"]
        assert other["alarms"] == channel["alarms"]
        assert other["worst"] == channel["worst"]
        assert other["all"]["rmse_out"] == pytest.approx(channel["all"]["rmse_out"], rel=1e-12)
        assert other["clean"]["coverage"] == channel["clean"]["coverage"]


def test_worst_cases_name_their_label(broken: Path) -> None:
    """The worst reading of the worst room is the spike, and it says so."""
    worst = scored(broken, broken / "readings.parquet")["channels"]["air_temperature"]["worst"]
    assert (worst[0]["device"], worst[0]["label"]) == ("d0000", "spike")
    assert len({case["device"] for case in worst}) == len(worst)


def test_command_prints_and_writes_a_report(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`score --json` is one object; the report is one file that asks nobody for anything."""
    page = tmp_path / "report.html"
    ledger = tmp_path / "ledger.json"
    ledger.write_text('{"bytes": 600, "values": 200}')
    command = ["score", "--truth", str(broken), "--readings", str(broken / "readings.parquet"), "--ledger", str(ledger)]
    assert main([*command, "--json", "--html", str(page)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"] == {"of": "frames", "bytes": 600, "values": 200, "a_reading": 3.0}
    text = page.read_text()
    assert "<svg" in text
    assert "src=" not in text
    assert "<link" not in text
    assert main(command) == 0
    assert "RMSE raw" in capsys.readouterr().out


def test_mistakes_are_told_in_words(broken: Path, tmp_path: Path) -> None:
    """No recording, no readings, nobody's readings: a ConfigError that says which."""
    with pytest.raises(ConfigError, match="not a recording"):
        scored(tmp_path, broken / "readings.parquet")
    with pytest.raises(ConfigError, match="not a table"):
        scored(broken, tmp_path / "none.parquet")
    with pytest.raises(ConfigError, match="--device"):
        scored(broken, as_replay(broken, tmp_path / "r.csv", "d0001"))
