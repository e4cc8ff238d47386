"""A recording to score, and pipelines that do to its readings what their names say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from small_world import Room

from trueline_sim.record import write_world
from trueline_sim.score.join import Recording
from trueline_sim.score.readings import open_readings
from trueline_sim.score.scoring import score
from trueline_sim.world import World

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["as_export", "as_replay", "changed", "record", "scored"]


def record(folder: Path, *, devices: int = 6, steps: int = 600, **options: Any) -> Path:
    """A recording of a small room."""
    write_world(World(Room(), devices=devices, seed=3, steps=steps, **options), folder)
    return folder


def scored(recording: Path, *readings: Path, **options: Any) -> dict[str, Any]:
    """The figures of some readings."""
    truth = Recording(recording)
    device = options.pop("device", None)
    return score(truth, open_readings(readings, truth.devices, device), **options).result()


def changed(recording: Path, out: Path, **columns: np.ndarray) -> Path:
    """The recording's readings with columns put in; `u__humidity` stands for "u:humidity"."""
    table = pq.read_table(recording / "readings.parquet")
    for name, column in columns.items():
        title = name.replace("__", ":")
        if title in table.column_names:
            table = table.set_column(table.column_names.index(title), title, pa.array(column))
        else:
            table = table.append_column(title, pa.array(column))
    pq.write_table(table, out)
    return out


def as_replay(recording: Path, out: Path, device: str) -> Path:
    """One device's readings in the shape of `trueline-edge replay`, judged as good."""
    from pyarrow import csv  # noqa: PLC0415 - here only

    table = pq.read_table(recording / "readings.parquet").to_pylist()
    rows = [
        {"time_ns": row["time_ns"], "stream": "room", "channel": name, "value": row[f"value:{name}"]}
        | {"u": 0.2, "flag": 1, "reason": 0}
        for row in table
        if row["device"] == device
        for name in ("air_temperature", "humidity")
    ]
    made = pa.Table.from_pylist(rows)
    if out.suffix == ".csv":
        csv.write_csv(made, out)
    else:
        pq.write_table(made, out)
    return out


def as_export(recording: Path, out: Path, device: str) -> Path:
    """One device's readings in the shape of `trueline-cloud export`, judged as good."""
    table = pq.read_table(recording / "readings.parquet", filters=[("device", "==", device)])
    columns: dict[str, Any] = {"time_ns": table.column("time_ns")}
    for name in ("air_temperature", "humidity"):
        columns[name] = table.column(f"value:{name}")
        columns[name + ".u"] = pa.array(np.full(len(table), 0.2, np.float32))
        columns[name + ".flag"] = pa.array(np.ones(len(table), np.uint8))
        columns[name + ".reason"] = pa.array(np.zeros(len(table), np.uint32))
    pq.write_table(pa.table(columns).replace_schema_metadata({"device": device, "stream": "room"}), out)
    return out
