"""A recording: readings, truth and labels of a world, in a folder of Parquet files.

    manifest.json      scenario, seed, versions, channels, the ranges it was drawn from
    readings.parquet   device, row, time_ns (as stamped), value:NAME for each channel; what came out, duplicates and all
    truth.parquet      the same rows in the same order: device, row, time_ns, time_true_ns, truth:NAME
    labels.parquet     device, channel ("" for all), kind, is_process, start_ns, end_ns, magnitude

`row` is the number of the step the row was sampled at: a number that is missing is a row that was lost, a number that
comes twice is a duplicate. Rows of one device are in the order the device reported them.

Promises: memory stays bounded, and the same world gives the same files. Refuses to know who reads them.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trueline_sim.block import device_name
from trueline_sim.faults.draw import ANOMALIES_PER_DEVICE, ANOMALY_SHARE, RANGES
from trueline_sim.faults.fault import ALL_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trueline_sim.block import Block
    from trueline_sim.world import World

__all__ = ["LABELS", "MANIFEST", "READINGS", "TRUTH", "TRUTH_PREFIX", "VALUE_PREFIX", "Recorded", "write_world"]

MANIFEST: Final = "manifest.json"
READINGS: Final = "readings.parquet"
TRUTH: Final = "truth.parquet"
LABELS: Final = "labels.parquet"

VALUE_PREFIX: Final = "value:"
TRUTH_PREFIX: Final = "truth:"


@dataclass(slots=True)
class Recorded:
    """What has been written.

    Attributes:
        rows: as reported: duplicates count, lost ones do not.
        values: rows times channels.
        steps: of the world.
        faults: labels of sensors, clocks and reporting.
        anomalies: labels of the process.
        bytes: of all files, when it is finished.
    """

    rows: int = 0
    values: int = 0
    steps: int = 0
    faults: int = 0
    anomalies: int = 0
    bytes: int = 0


def write_world(world: World, folder: Path, *, progress: Callable[[Recorded], None] = lambda _: None) -> Recorded:
    """Write a world to its end.

    Args:
        world: what happens.
        folder: made if need be; must not hold a recording.
        progress: called after each piece.

    Raises:
        FileExistsError: the folder holds a recording.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        raise FileExistsError(f"{folder} holds a recording already: name another folder, or remove it")
    names = [channel.name for channel in world.channels]
    labels = _labels(world)
    pq.write_table(labels, folder / LABELS)
    done = Recorded(faults=len(world.faults), anomalies=len(world.anomalies))
    with (
        _writer(folder / READINGS, _schema(VALUE_PREFIX, names)) as readings,
        _writer(folder / TRUTH, _schema(TRUTH_PREFIX, names, "time_true_ns")) as truth,
    ):
        for block in world:
            rows = _Reported(block, _dictionary(world.devices))
            readings.write_table(rows.table(readings.schema, block.raw))
            truth.write_table(rows.table(truth.schema, block.truth))
            done.rows += len(rows.device)
            done.values += len(rows.device) * len(names)
            done.steps += len(block)
            progress(done)
    # Last, so that a folder with a manifest is a recording that is whole.
    (folder / MANIFEST).write_text(json.dumps(_manifest(world, done), indent=1) + "\n")
    done.bytes = sum((folder / name).stat().st_size for name in (MANIFEST, READINGS, TRUTH, LABELS))
    return done


class _Reported:
    """The rows of a block as they are reported, device after device."""

    def __init__(self, block: Block, names: pa.Array) -> None:
        steps, devices = block.copies.shape
        self._names = names
        self._block = block
        # Position of each row in the report of its device, devices end to end; (devices, steps).
        cells = np.arange(steps * devices).reshape(devices, steps)
        swapped = np.flatnonzero(block.late.any(axis=0))
        for device in swapped:
            cells[device] = device * steps + np.argsort(2 * np.arange(steps) + 3 * block.late[:, device], kind="stable")
        order = cells.ravel()
        copies = block.copies.T.ravel()
        self._order = None
        if len(swapped) or (copies != 1).any():
            self._order = np.repeat(order, copies[order])
        self.device = self._taken(np.repeat(np.arange(devices, dtype=np.int32), steps))

    def _taken(self, cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return cells if self._order is None else cells[self._order]

    def table(self, schema: pa.Schema, cells: np.ndarray[Any, Any]) -> pa.Table:
        """Columns in the order of the schema; cells (steps, devices, channels)."""
        block = self._block
        steps, devices = block.copies.shape
        columns: list[pa.Array] = [
            pa.DictionaryArray.from_arrays(pa.array(self.device), self._names),
            pa.array(self._taken(np.tile(np.arange(block.first_step, block.first_step + steps), devices))),
            pa.array(self._taken(block.time_ns.T.ravel())),
        ]
        if "time_true_ns" in schema.names:
            columns.append(pa.array(self._taken(np.tile(block.time_true_ns, devices))))
        columns += [pa.array(self._taken(cells[:, :, channel].T.ravel())) for channel in range(cells.shape[2])]
        return pa.Table.from_arrays(columns, schema=schema)


def _dictionary(devices: int) -> pa.Array:
    return pa.array([device_name(number) for number in range(devices)])


def _schema(prefix: str, names: list[str], *times: str) -> pa.Schema:
    fields = [("device", pa.dictionary(pa.int32(), pa.string())), ("row", pa.int64()), ("time_ns", pa.int64())]
    fields += [(name, pa.int64()) for name in times]
    return pa.schema([*fields, *((prefix + name, pa.float64()) for name in names)])


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)


def _labels(world: World) -> pa.Table:
    names = {ALL_CHANNELS: ""} | {number: channel.name for number, channel in enumerate(world.channels)}
    rows = [(f.device, names[f.channel], f.kind, False, f.start_ns, f.end_ns, f.magnitude) for f in world.faults]
    rows += [(a.device, "", a.kind, True, a.start_ns, a.end_ns, a.magnitude) for a in world.anomalies]
    types = [pa.string(), pa.string(), pa.string(), pa.bool_(), pa.int64(), pa.int64(), pa.float64()]
    titles = ["device", "channel", "kind", "is_process", "start_ns", "end_ns", "magnitude"]
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in titles]
    columns[0] = [device_name(number) for number in columns[0]]
    return pa.table(columns, schema=pa.schema(list(zip(titles, types, strict=True))))


def _manifest(world: World, done: Recorded) -> dict[str, Any]:
    return {
        "format": 1,
        "scenario": world.scenario.name,
        "sentence": world.scenario.sentence,
        "seed": world.seed,
        "devices": world.devices,
        "steps": world.grid.steps,
        "interval_s": world.grid.interval_s,
        "start_ns": world.grid.start_ns,
        "rows": done.rows,
        "channels": [
            {
                "name": channel.name,
                "measurand": world.scenario.measurands[channel.measurand].name,
                "unit": channel.unit,
                "resolution": channel.resolution,
                "sensor": channel.sensor,
                "u_declared": channel.u,
            }
            for channel in world.channels
        ],
        "ranges": {name: list(limits) for name, limits in world.scenario.ranges.items()},
        "faults": {
            "per_10000_rows": world.faults_per_10000_rows,
            "ranges": {kind: asdict(limits) for kind, limits in RANGES.items()},
        },
        "anomalies": {
            "kinds": list(world.scenario.anomalies),
            "per_device": ANOMALIES_PER_DEVICE,
            "share_of_run": list(ANOMALY_SHARE),
        },
        "versions": {
            "trueline": version("trueline"),
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in ("numpy", "scipy", "pyarrow")},
        },
    }
