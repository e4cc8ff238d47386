"""What an export promises: every row, once, in order, bit for bit."""

from __future__ import annotations

import csv
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cloud_kit import START_NS, Machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from trueline_cloud import export as room
from trueline_cloud.export import export
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_wire.readings import Readings

ODD = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, float("inf"), float("nan"), 123456789.123456789]


def read(path: Path) -> dict[str, list[Any]]:
    if path.suffix == ".parquet":
        columns: dict[str, list[Any]] = parquet.read_table(path).to_pydict()
        return columns
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    return {name: list(column) for name, column in zip(lines[0], zip(*lines[1:], strict=True), strict=True)}


def bits(values: Any) -> list[int]:
    found = np.array([np.nan if item in {"", None} else float(item) for item in values])
    found[np.isnan(found)] = np.nan
    return found.view(np.uint64).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    """Values, u, flags and reasons come out of the file as they went into the store."""
    machine = Machine()
    value = np.array([ODD, ODD[::-1]]).T.copy()
    flags = np.array([[1, 2, 3, 4, 9, 1, 9, 1]] * 2, np.uint8).T.copy()
    reason = np.arange(16, dtype=np.uint32).reshape(8, 2)
    batch = machine.readings(8, value=value, flag=flags, reason=reason)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        journal.commit(machine.group(batch))
    out = tmp_path / f"out{suffix}"
    with closing(JournalReader(tmp_path)) as reader:
        summary = export(reader.readings("pump-7", "valve", 0, 1 << 62), machine.schema, out)
        (stored,) = reader.readings("pump-7", "valve", 0, 1 << 62)
    found = read(out)
    assert list(found)[:5] == ["time_ns", "c0", "c0.u", "c0.flag", "c0.reason"]
    assert [int(item) for item in found["time_ns"]] == batch.time_ns.tolist()
    for channel, name in enumerate(("c0", "c1")):
        assert bits(found[name]) == bits(value[:, channel])
        assert np.array_equal(np.array(found[name + ".u"], np.float32), stored.u[:, channel])
        assert [int(item) for item in found[name + ".flag"]] == flags[:, channel].tolist()
        assert [int(item) for item in found[name + ".reason"]] == reason[:, channel].tolist()
    assert (summary.rows, summary.values, summary.duplicates, summary.frames) == (8, 16, 0, 1)
    assert not out.with_name(out.name + ".part").exists()


def _times(columns: list[Readings]) -> list[int]:
    return sorted(int(item) for batch in columns for item in batch.time_ns)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_rows_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    """However frames overlap and rows repeat, rows come in order of time, each as often as it was stored."""
    monkeypatch.setattr(room, "_ROWS_AT_ONCE", 20)
    machine, rng = Machine(channels=1), np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    batches = [
        machine.readings(n, time_ns=START_NS + rng.integers(0, 50, n), value=rng.integers(0, 3, (n, 1)).astype(float))
        for n in data.draw(st.lists(st.integers(1, 15), min_size=1, max_size=12))
    ]
    batches.sort(key=lambda batch: int(batch.time_ns.min()))
    out = tmp_path / "out.csv"
    summary = export(batches, machine.schema, out)
    found = read(out)
    assert [int(item) for item in found["time_ns"]] == _times(batches)
    rows = list(zip(found["time_ns"], found["c0"], strict=True))
    assert summary.duplicates == len(rows) - len(set(rows))
    whole = [(str(t), str(v)) for b in batches for t, v in zip(b.time_ns.tolist(), b.value[:, 0].tolist(), strict=True)]
    assert sorted(rows) == sorted(whole)


def test_stored_twice(tmp_path: Path) -> None:
    """A batch that is there twice is written twice, and counted: also where times repeat within it."""
    machine = Machine()
    batch = machine.readings(6, time_ns=START_NS + np.array([0, 0, 1, 1, 2, 3]))
    summary = export([batch, batch], machine.schema, tmp_path / "out.csv")
    assert (summary.rows, summary.duplicates) == (12, 6)
    assert export([batch], machine.schema, tmp_path / "out.csv").duplicates == 0


def test_nothing_to_write(tmp_path: Path) -> None:
    """An export of no rows is a file with its header, and says so."""
    for name in ("out.csv", "out.parquet"):
        summary = export([], Machine().schema, tmp_path / name)
        assert (summary.rows, summary.time_first_ns) == (0, None)
        assert (tmp_path / name).exists()


def test_cannot_be_written(tmp_path: Path) -> None:
    """An ending we do not know, and a folder that is not there, are refused with a word; nothing is left behind."""
    for out in (tmp_path / "out.xlsx", tmp_path / "nowhere" / "out.csv"):
        with pytest.raises(ConfigError):
            export([Machine().readings()], Machine().schema, out)
    assert list(tmp_path.iterdir()) == []
