"""What goes wrong in the demo, when, and how what was found of it is counted."""

from __future__ import annotations

import csv
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim import demo_fleet
from trueline_sim.demo_findings import Findings, count_findings, in_words
from trueline_sim.demo_fleet import PUMP_HZ, device_names, device_streams
from trueline_sim.demo_injections import FIRST_S, LASTS_S, injections
from trueline_sim.demo_models import CHANNELS, stored_streams, watched
from trueline_sim.verdict import Exported, count_export

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000
SECONDS = 20.0


@given(devices=st.integers(1, 3), seconds=st.floats(0.5, 5000.0))
def test_a_pump_has_one_trouble_at_a_time(devices: int, seconds: float) -> None:
    """Fault and anomaly by turns, each over before the next begins and before the run ends, with quiet between."""
    found = injections(devices, seconds)
    for device in range(devices):
        mine = [one for one in found if one.device == device]
        assert all(FIRST_S <= one.start_s < one.end_s < seconds for one in mine)
        for one, next_one in pairwise(mine):
            assert next_one.start_s - one.end_s > LASTS_S / 4
            assert bool(one.channel) != bool(next_one.channel)
    assert found == injections(devices, seconds)


@pytest.mark.parametrize(("seconds", "each"), [(6.0, 0), (12.0, 1), (SECONDS, 2), (600.0, 14)])
def test_a_run_of_twenty_seconds_shows_one_of_each(seconds: float, each: int) -> None:
    """Headless runs have a fault and an anomaly at every pump; one too short to tell of any has none."""
    found = injections(1, seconds)
    assert len(found) == each
    assert {bool(one.channel) for one in found} == ({True, False} if each > 1 else {True} if each else set())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, demo_fleet.Devices]:
    """Two devices, with ten minutes before in which all is well."""
    folder = tmp_path_factory.mktemp("recordings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_fleet, "NORMAL_S", 600.0)
        return folder, device_streams(device_names(2), folder, seed=3, seconds=SECONDS)


def test_what_a_model_learns_from_comes_before_and_is_well(recorded: tuple[Path, demo_fleet.Devices]) -> None:
    """Normal running ends where the demo begins, has the channels' units, and nothing wrong by its labels."""
    folder, devices = recorded
    assert list(devices.normal) == ["pump-1", "pump-2"]
    table = pq.read_table(devices.normal["pump-1"])
    times = np.asarray(table["time"])
    assert len(times) == round(600.0 * PUMP_HZ)
    assert times[-1] == devices.start_ns - round(S / PUMP_HZ)
    assert [table.schema.field(name).metadata[b"unit"] for name in CHANNELS] == [b"bar", b"L/min", b"A"]
    with (folder / "labels.csv").open() as file:
        labels = [row for row in csv.DictReader(file) if row["stream"] == "pump"]
    assert min(int(row["start_ns"]) for row in labels) > devices.start_ns
    scheduled = {(device_names(2)[one.device], one.kind, one.channel) for one in devices.injected}
    assert {(row["device"], row["kind"], row["channel"]) for row in labels} == scheduled


def test_a_fault_moves_its_sensor_alone_and_an_anomaly_does_not(recorded: tuple[Path, demo_fleet.Devices]) -> None:
    """What is injected is there, at its time, in the recording the agent reads."""
    folder, devices = recorded
    for one in (one for one in devices.injected if one.device == 0):
        rows = np.genfromtxt(folder / "pump-1.pump.csv", delimiter=",", names=True)
        since_s = (rows["time"] - devices.start_ns) / S
        before = (since_s > one.start_s - 3.0) & (since_s < one.start_s)
        during = (since_s > one.start_s + 1.5) & (since_s < one.end_s)
        moved = {
            name: abs(rows[name][during].mean() - rows[name][before].mean()) / rows[name][before].std()
            for name in ("pressure", "flow")
        }
        assert moved["flow"] > 3.0, one
        assert (moved["pressure"] > 3.0) == (not one.channel), one


def test_a_model_looks_behind_all_other_stages(recorded: tuple[Path, demo_fleet.Devices], tmp_path: Path) -> None:
    """The stage stands last, so that what failed is not looked at."""
    stream = watched(recorded[1].streams["pump-1"][0], tmp_path, "KEY")
    assert [stage["type"] for stage in stream["stage"]][-2:] == ["flat_line", "detect"]
    assert stream["stage"][-1] | {"public_key": "KEY", "model": str(tmp_path)} == stream["stage"][-1]


def event(device: str, at_s: float, what: str, channel: str = "flow") -> dict[str, Any]:
    return {
        "device": device,
        "begun_us": round(at_s * 1e6),
        "what": what,
        "channel": channel,
        "kind": "bias_step" if what == "sensor fault" else "",
        "confidence": 0.97,
    }


def test_findings_are_counted() -> None:
    """An event belongs to what was injected at its device and time, and is right or wrong; any other is false."""
    schedule = injections(2, SECONDS)  # pump-1: fault of the flow sensor, anomaly; pump-2 the other way about
    first, second = sorted({one.start_s for one in schedule})
    fault = next(one for one in schedule if one.device == 1 and one.channel)
    all_seen = {"a": 100 * S, "b": 100 * S}

    def count(events: list[dict[str, Any]], seen_ns: dict[str, int] = all_seen) -> Findings:
        return count_findings(schedule, events, devices=["a", "b"], start_ns=0, seen_ns=seen_ns)

    right = [
        event("a", first + 0.3, "sensor fault"),
        event("a", second + 1.0, "process anomaly"),
        event("b", first + 0.5, "process anomaly", "pressure"),
        event("b", second + 0.1, "sensor fault", fault.channel),
    ]
    assert count(right) == Findings(injected=4, found=4, told=4, faults=2, named=2)
    again = [*right, event("a", first + LASTS_S + 1.0, "process anomaly")]  # recovery is as sudden as the fault was
    assert count(again) == count(right)
    wrong = [event("a", first + 0.3, "process anomaly"), event("b", second, "sensor fault", "current"), *right[1:3]]
    assert count(wrong) == Findings(injected=4, found=4, told=3, faults=2, named=0)
    assert count([]) == Findings(injected=4)
    assert count([event("a", 1.0, "sensor fault")]) == Findings(injected=4, others=1)
    assert count(right, {"a": 100 * S}) == Findings(injected=2, found=2, told=2, faults=1, named=1, others=2)


def test_an_event_is_a_line() -> None:
    """Where, whose trouble, which channel, what kind, how sure."""
    assert in_words(event("pump-1", 1.0, "sensor fault")) == "pump-1: sensor fault, flow (bias step), confidence 0.97"
    assert in_words(event("pump-1", 1.0, "") | {"confidence": None, "kind": ""}) == "pump-1: something strange, flow"


def test_rows_that_tell_of_events_are_counted_by_what_they_tell(tmp_path: Path) -> None:
    """A row told again with another phase is no duplicate; one told twice with the same is."""
    phase = [0, 0, 0, 1, 1, 1, 1]
    table = {"time_ns": [1, 2, 3, 1, 2, 3, 3], "w.event.begun": [7] * 7, "w.event.phase": phase}
    pq.write_table(pa.table(table), tmp_path / "events.parquet")
    assert count_export(tmp_path / "events.parquet") == Exported(6, 1, events=True, last_ns=3)


def test_the_ledger_says_what_is_to_be_counted() -> None:
    """Both streams of each device, and its stream of events where it told of one."""
    lanes = [
        {"device": "pump-1", "lane": "data", "rows_stored": 9},
        {"device": "pump-1", "lane": "event", "rows_stored": 2},
        {"device": "pump-2", "lane": "data", "rows_stored": 9},
        {"device": "pump-2", "lane": "event", "rows_stored": 0},
    ]
    streams = [("pump-1", "pump"), ("pump-1", "room"), ("pump-1", "pump.watch"), ("pump-2", "pump"), ("pump-2", "room")]
    assert stored_streams(lanes) == streams
