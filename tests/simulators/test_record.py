from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_world import Room

import trueline_sim.truth
from trueline_sim.__main__ import main
from trueline_sim.block import Grid
from trueline_sim.faults.fault import ALL_CHANNELS, Fault
from trueline_sim.record import LABELS, MANIFEST, READINGS, TRUTH, Recorded, write_world
from trueline_sim.world import START_NS, World

if TYPE_CHECKING:
    from pathlib import Path


def room(**changes: Any) -> World:
    return World(Room(), **{"devices": 3, "seed": 1, "steps": 100, "faults": 300.0} | changes)


def test_a_recording_holds_what_the_devices_reported_and_what_was_true(tmp_path: Path) -> None:
    """Row by row as `Block.rows` says, in the same order in both files, for each device."""
    world = room(block_steps=30)
    done = write_world(world, tmp_path)
    readings, truth = (pq.read_table(tmp_path / name) for name in (READINGS, TRUTH))
    assert readings.num_rows == truth.num_rows == done.rows
    assert readings["row"].equals(truth["row"])
    assert readings["time_ns"].equals(truth["time_ns"])
    names = np.array(readings["device"].to_pylist())
    for device in range(3):
        mine = names == f"d{device:04d}"
        blocks = list(world)
        rows = [block.rows(device) for block in blocks]
        np.testing.assert_array_equal(readings["row"].to_numpy()[mine], np.concatenate([r.step for r in rows]))
        np.testing.assert_array_equal(readings["time_ns"].to_numpy()[mine], np.concatenate([r.time_ns for r in rows]))
        for number, name in enumerate(["air_temperature", "humidity"]):
            value = np.concatenate([r.value[:, number] for r in rows])
            np.testing.assert_array_equal(readings[f"value:{name}"].to_numpy()[mine], value)
        step = truth["row"].to_numpy()[mine]
        true = np.concatenate([block.truth[:, device, 0] for block in blocks])
        np.testing.assert_array_equal(truth["truth:air_temperature"].to_numpy()[mine], true[step])
        np.testing.assert_array_equal(truth["time_true_ns"].to_numpy()[mine], START_NS + step * 10_000_000_000)


def test_labels_say_all_that_was_done(tmp_path: Path) -> None:
    """Every fault and every anomaly has its label; anomalies of the process are told apart."""
    world = room(steps=400)
    write_world(world, tmp_path)
    labels = pq.read_table(tmp_path / LABELS).to_pylist()
    assert len(labels) == len(world.faults) + len(world.anomalies)
    assert sum(label["is_process"] for label in labels) == len(world.anomalies) > 0
    assert {label["kind"] for label in labels if label["is_process"]} == {"window"}
    for fault, label in zip(world.faults, labels, strict=False):
        assert label["channel"] == ("" if fault.channel == ALL_CHANNELS else world.channels[fault.channel].name)
        assert (label["device"], label["kind"]) == (f"d{fault.device:04d}", fault.kind)
        assert (label["start_ns"], label["end_ns"]) == (fault.start_ns, fault.end_ns)
        assert label["magnitude"] == fault.magnitude


def test_faults_of_rows_are_rows(tmp_path: Path) -> None:
    """Drop-outs remove rows, duplicates add them, neighbours change places, and stamps are as stamped."""
    grid = Grid(START_NS, 10.0, 100)

    def fault(kind: str, device: int, first: int, last: int, magnitude: float) -> Fault:
        return Fault(kind, device, ALL_CHANNELS, grid.time_ns(first), grid.time_ns(last), magnitude)

    faults = [fault("drop_out", 0, 10, 20, 0.0), fault("duplicate", 1, 5, 7, 2.0), fault("reorder", 2, 0, 4, 1.0)]
    done = write_world(room(faults=faults), tmp_path)
    assert done.rows == 300 - 10 + 4
    table = pq.read_table(tmp_path / READINGS)
    names, row = np.array(table["device"].to_pylist()), table["row"].to_numpy()
    assert row[names == "d0000"].tolist() == [*range(10), *range(20, 100)]
    assert row[names == "d0001"].tolist()[4:13] == [4, 5, 5, 5, 6, 6, 6, 7, 8]
    assert row[names == "d0002"].tolist()[:6] == [1, 0, 3, 2, 4, 5]


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    """Byte for byte; another seed writes others."""
    for folder, seed in [("a", 1), ("b", 1), ("c", 2)]:
        write_world(room(seed=seed), tmp_path / folder)
    for name in (READINGS, TRUTH, LABELS, MANIFEST):
        one, same, other = ((tmp_path / folder / name).read_bytes() for folder in "abc")
        assert one == same != other


def test_the_manifest_says_what_it_was_drawn_from(tmp_path: Path) -> None:
    """Scenario, seed, versions, channels with their declared uncertainty, and the ranges of everything drawn."""
    world = room()
    write_world(world, tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert (manifest["scenario"], manifest["seed"], manifest["devices"], manifest["steps"]) == ("room", 1, 3, 100)
    first = manifest["channels"][0]
    assert (first["name"], first["unit"], first["sensor"]) == ("air_temperature", "Cel", "DS18B20/temperature")
    assert first["u_declared"] == world.channels[0].u > 0.0
    assert manifest["ranges"] == {"start_Cel": [15.0, 30.0]}
    assert manifest["faults"]["ranges"]["spike"]["magnitude"] == [5, 100]
    assert {"numpy", "scipy", "pyarrow", "python"} <= set(manifest["versions"])


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    """A folder with a manifest is a whole recording, and stays as it is."""
    write_world(room(), tmp_path)
    with pytest.raises(FileExistsError, match="another folder"):
        write_world(room(), tmp_path)


def test_progress_is_told_block_by_block(tmp_path: Path) -> None:
    """The caller hears how far it is."""
    heard: list[int] = []

    def hear(done: Recorded) -> None:
        heard.append(done.steps)

    write_world(room(block_steps=40), tmp_path, progress=hear)
    assert heard == [40, 80, 100]


@pytest.fixture
def with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small scenario among the real ones."""
    monkeypatch.setitem(trueline_sim.truth.SCENARIOS, "room", Room())


def test_record_writes_and_tells(tmp_path: Path, with_room: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line with --json is what was written; sensors, redundancy, interval and start are as asked for."""
    asked = ["--devices", "2", "--hours", "0.1", "--interval", "5", "--start", "2025-06-01", "--redundancy", "2"]
    asked += ["--sensors", "air_temperature=SHT31,DHT22", "--faults", "0", "--no-anomalies", "--json"]
    assert main(["record", "room", *asked, "--out", str(tmp_path / "r")]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["rows"], said["values"], said["faults"], said["anomalies"]) == (144, 576, 0, 0)
    manifest = json.loads((tmp_path / "r" / MANIFEST).read_text())
    sensors = [channel["sensor"] for channel in manifest["channels"]]
    assert sensors == ["SHT31/temperature", "DHT22/temperature", "SHT31/humidity", "SHT31/humidity"]
    assert manifest["start_ns"] == 1_748_736_000_000_000_000
    assert main(["record", "room", "--devices", "1", "--hours", "0.1", "--out", str(tmp_path / "s")]) == 0
    assert "room, 1 devices, 36 steps of 10 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["atlantis"], "no scenario 'atlantis'; there are greenhouse"),
        (["room", "--sensors", "SHT99"], "no sensor 'SHT99'"),
        (["room", "--sensors", "smell=SHT31"], "room has no 'smell'; it has air_temperature, humidity"),
        (["room", "--sensors", "humidity=DS18B20"], "no sensor 'DS18B20' measures in %"),
    ],
)
def test_record_says_what_to_mend(
    asked: list[str], words: str, tmp_path: Path, with_room: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, the mistake, and what there is instead; nothing is written."""
    assert main(["record", *asked, "--devices", "1", "--hours", "1", "--out", str(tmp_path / "r")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_record_refuses_a_folder_that_is_taken(
    tmp_path: Path, with_room: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the recording that is there stays."""
    asked = ["record", "room", "--devices", "1", "--hours", "0.05", "--out", str(tmp_path)]
    assert main(asked) == 0
    assert main(asked) == 2
    assert "holds a recording already" in capsys.readouterr().err


def test_scenarios_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence each; with --json all ranges."""
    assert main(["scenarios"]) == 0
    text = capsys.readouterr().out
    assert all(scenario.sentence in text for scenario in trueline_sim.truth.SCENARIOS.values())
    assert main(["scenarios", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == set(trueline_sim.truth.SCENARIOS)
    assert all(len(scenario["ranges"]) > 3 for scenario in listed.values())
