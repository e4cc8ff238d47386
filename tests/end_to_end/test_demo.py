"""The command people see first: its verdict is right, and it can be wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import apsw
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trueline_sim.children import run_to_end, wait_until
from trueline_sim.demo_fleet import PUMP_HZ, ROOM_HZ, device_names
from trueline_sim.demo_models import stored_streams
from trueline_sim.processes import find_mosquitto
from trueline_sim.verdict import Exported, Verdict, count_export, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_DEVICES = 2
_SECONDS = 20
_ROWS = round(_DEVICES * _SECONDS * (PUMP_HZ + ROOM_HZ))


def _demo(folder: Path, *more: str, seconds: float = 4) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "trueline_sim", "demo", "--headless", "--json", "--seconds", str(seconds)]
    argv += ["--devices", str(_DEVICES), "--folder", str(folder), *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def _verdict_of(folder: Path, state: Path, count: Callable[[Path], Exported] = count_export) -> Verdict:
    """The verdict once more, from what the agents said and a cloud's state folder."""
    told = [
        json.loads((folder / "agents" / f"{name}.out").read_text().splitlines()[-1]) for name in device_names(_DEVICES)
    ]
    cloud = [sys.executable, "-m", "trueline_cloud"]
    lanes = json.loads(run_to_end([*cloud, "ledger", "--state", str(state), "--json"], folder=folder, codes=(0, 1)))
    exports = []
    for device, stream in stored_streams(lanes["lanes"]):
        out = folder / f"again.{device}.{stream}.parquet"
        where = ["--state", str(state), "--device", device, "--stream", stream, "--out", str(out)]
        run_to_end([*cloud, "export", *where], folder=folder)
        exports.append(count(out))
    return judge(told, lanes["lanes"], exports)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, *_demo(folder, seconds=_SECONDS)


def test_the_demo_proves_itself(finished: tuple[Path, int, dict[str, Any]]) -> None:
    """Headless, it stops by itself; everything spooled is stored once, and the last line says so."""
    _, code, verdict = finished
    assert code == 0, verdict
    assert verdict["ok"] is True
    assert verdict["devices"] == _DEVICES
    assert verdict["readings_sampled"] == verdict["readings_spooled"] == verdict["readings_stored"]
    assert verdict["readings_stored"] - verdict["event_rows"] == _ROWS
    assert verdict["missing"] == verdict["duplicates"] == 0
    assert verdict["dropped_by_reason"] == {}
    assert 0 < verdict["bytes_per_value"] < 100


def test_the_demo_finds_what_was_injected(finished: tuple[Path, int, dict[str, Any]]) -> None:
    """Each pump's sensor fault and process anomaly is found, told apart, and the sensor at fault is named."""
    _, _, verdict = finished
    found = verdict["findings"]
    assert found["injected"] == found["found"] == found["told"] == 2 * _DEVICES
    assert found["faults"] == found["named"] == _DEVICES
    assert verdict["event_rows"] >= 2 * _DEVICES * 60


def test_a_frame_cut_out_of_the_journal_is_noticed(finished: tuple[Path, int, dict[str, Any]], tmp_path: Path) -> None:
    """Negative control: the same accounts over a journal that lost one frame give the verdict false."""
    folder, _, verdict = finished
    state = tmp_path / "cloud"
    shutil.copytree(folder / "cloud" / "state" / "cloud", state)
    assert _verdict_of(folder, state).readings_stored == verdict["readings_stored"]
    journal = apsw.Connection(str(state / "journal.db"))
    journal.execute("DELETE FROM frames WHERE id = (SELECT max(id) FROM frames)")
    journal.close()
    tampered = _verdict_of(folder, state)
    assert not tampered.ok
    assert tampered.missing > 0


def test_a_row_exported_twice_is_noticed(finished: tuple[Path, int, dict[str, Any]]) -> None:
    """Negative control: an export with one row doubled gives the verdict false."""
    folder, _, _ = finished
    doubled = []

    def count(path: Path) -> Exported:
        if not doubled:
            table = pq.read_table(path)
            pq.write_table(pa.concat_tables([table, table.slice(3, 1)]), path)
            doubled.append(path)
        return count_export(path)

    verdict = _verdict_of(folder, folder / "cloud" / "state" / "cloud", count)
    assert not verdict.ok
    assert (verdict.duplicates, verdict.missing) == (1, 0)


@pytest.mark.parametrize("link", ["mqtt", "coap"])
def test_the_demo_survives_kills(link: str, tmp_path: Path) -> None:
    """An agent, the cloud and the broker killed with -9 on the way change nothing in the verdict."""
    code, verdict = _demo(tmp_path, "--chaos", "--link", link, seconds=6)
    assert code == 0, verdict
    assert verdict["readings_stored"] == _DEVICES * 150


def test_the_demo_runs_on_the_python_broker(tmp_path: Path) -> None:
    """Where mosquitto is not installed, amqtt will do."""
    code, verdict = _demo(tmp_path, "--broker", "amqtt", seconds=3)
    assert code == 0, verdict


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C stops agents, cloud and broker, and the verdict is told all the same."""
    argv = [sys.executable, "-m", "trueline_sim", "demo", "--devices", "1", "--json", "--folder", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        journal = tmp_path / "cloud" / "state" / "cloud" / "journal.db"
        wait_until(lambda: journal.exists() and _frames(journal) > 0, "the first frame", 60)
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= (3 if find_mosquitto() else 2)
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=60)
    assert demo.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["ok"] is True
    assert not [child for child in children if child.is_running()]


def _frames(journal: Path) -> int:
    connection = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(next(connection.execute("SELECT count(*) FROM frames"))[0])
    except (apsw.SQLError, apsw.BusyError):  # its tables are being made
        return 0
    finally:
        connection.close()
