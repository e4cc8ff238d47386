"""Real readings all the way: every SKAB run through agent, broker and cloud into the store, and out again bit for bit.

    python examples/skab/run.py --data DIR           DIR holds skab/ (see README.md)
    python examples/skab/run.py --data DIR --link coap

Every row of every file is compared with what `trueline-cloud export` gives back: time, order, and the eight values as
bits. Exit code 1 on any difference.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from trueline_sim.processes import Site

CHANNELS = {
    "Accelerometer1RMS": "[g]",
    "Accelerometer2RMS": "[g]",
    "Current": "A",
    "Pressure": "bar",
    "Temperature": "Cel",
    "Thermocouple": "Cel",
    "Voltage": "V",
    "Volume Flow RateRMS": "L/min",
}
FOLDERS = ("anomaly-free", "valve1", "valve2", "other")
Columns = tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.float64]]]


@dataclass(frozen=True)
class Compared:
    """One file against its export."""

    device: str
    stream: str
    rows: int
    lost: int
    doubled: int
    different: int
    """Rows at the right time whose values are not the same bits, or that stand in another order."""


def read_csv(path: Path) -> Columns:
    """Times (n,) ns since 1970 and values (n, 8) of a SKAB file, read with nothing of ours."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    times = [round(datetime.fromisoformat(row["datetime"]).replace(tzinfo=UTC).timestamp()) * 10**9 for row in rows]
    values = [[float(row[name]) for name in CHANNELS] for row in rows]
    return np.array(times, np.int64), np.array(values, np.float64)


def read_export(path: Path) -> Columns:
    """The same of an export."""
    table = pq.read_table(path)
    return np.asarray(table["time_ns"].cast("int64")), np.column_stack([np.asarray(table[name]) for name in CHANNELS])


def compare(device: str, stream: str, recorded: Columns, exported: Columns) -> Compared:
    """Row by row, bit by bit."""
    (times, values), (out_times, out_values) = recorded, exported
    lost = int((~np.isin(times, out_times)).sum())
    doubled = len(out_times) - len(np.unique(out_times))
    different = 0
    if len(times) == len(out_times):
        same = (times == out_times) & (values.view(np.int64) == out_values.view(np.int64)).all(axis=1)
        different = int((~same).sum())
    elif not lost and not doubled:
        different = abs(len(times) - len(out_times))
    return Compared(device, stream, len(times), lost, doubled, different)


def stream_table(path: Path) -> dict[str, Any]:
    """The `[[stream]]` table that replays a file."""
    source = {
        "type": "replay",
        "path": str(path.resolve()),
        "time_column": "datetime",
        "time_format": "iso",
        "separator": ";",
        "speed": "flat_out",
    }
    return {
        "name": path.stem,
        "source": source,
        "channel": [{"name": name, "unit": unit} for name, unit in CHANNELS.items()],
        "stage": [
            {"type": "missing"},
            {"type": "gross_range", "channels": ["Voltage"], "minimum": 0.0, "maximum": 300.0},
            {"type": "flat_line", "channels": ["Thermocouple"], "suspect_repeats": 20, "fail_repeats": 60},
        ],
    }


def carry(site: Site, files: dict[str, list[Path]]) -> list[dict[str, Any]]:
    """Replay all files, one agent for each folder and one stream for each file, until everything is acknowledged."""
    site.start()
    agents = [site.add_agent(device, [stream_table(path) for path in paths]) for device, paths in files.items()]
    for agent in agents:
        agent.start("--until-drained")
    return [agent.result(timeout_s=600) for agent in agents]


def check(site: Site, files: dict[str, list[Path]]) -> list[Compared]:
    """Export every stream and compare it with its file."""

    def one(device: str, path: Path) -> Compared:
        out = site.export(device, path.stem, site.folder / f"{device}.{path.stem}.parquet")
        return compare(device, path.stem, read_csv(path), read_export(out))

    pairs = [(device, path) for device, paths in files.items() for path in paths]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda pair: one(*pair), pairs))


def find_files(data: Path, at_most: int | None) -> dict[str, list[Path]]:
    """The runs by folder, at most so many of each."""
    root = data / "skab"
    runs = {
        name: sorted((root / name).glob("*.csv"), key=lambda p: (len(p.stem), p.stem))[:at_most] for name in FOLDERS
    }
    return {name: paths for name, paths in runs.items() if paths}


def report(compared: list[Compared], told: list[dict[str, Any]], lanes: list[dict[str, Any]]) -> dict[str, Any]:
    """All figures; `ok` is 0 lost, 0 doubled, 0 different, and a ledger that is complete."""
    values = sum(lane["values"] for lane in lanes)
    totals = {key: sum(getattr(one, key) for one in compared) for key in ("rows", "lost", "doubled", "different")}
    spooled = sum(agent["rows_spooled"] for agent in told)
    complete = all(lane["verdict"] == "complete" for lane in lanes)
    bad = totals["lost"] + totals["doubled"] + totals["different"]
    return {
        "files": len(compared),
        "rows": totals["rows"],
        "values": values,
        "rows_spooled": spooled,
        "rows_lost": totals["lost"],
        "rows_doubled": totals["doubled"],
        "rows_different": totals["different"],
        "ledger_complete": complete,
        "bytes_per_value": round(sum(lane["bytes"] for lane in lanes) / values, 3) if values else None,
        "ok": bad == 0 and complete and spooled == totals["rows"] and totals["rows"] > 0,
    }


def print_table(compared: list[Compared], lanes: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """A line for each folder, and the sum."""
    print(
        f"{'device':14} {'files':>5} {'rows':>7} {'values':>8} {'lost':>5} {'doubled':>7} {'differ':>6} {'B/value':>8}"
    )
    for device in dict.fromkeys(one.device for one in compared):
        mine = [one for one in compared if one.device == device]
        size = sum(lane["bytes"] for lane in lanes if lane["device"] == device)
        values = sum(lane["values"] for lane in lanes if lane["device"] == device)
        sums = [sum(getattr(one, key) for one in mine) for key in ("rows", "lost", "doubled", "different")]
        print(
            f"{device:14} {len(mine):5} {sums[0]:7,} {values:8,} {sums[1]:5} {sums[2]:7} {sums[3]:6}"
            f" {size / max(values, 1):8.3f}"
        )
    print(
        f"{'all':14} {result['files']:5} {result['rows']:7,} {result['values']:8,} {result['rows_lost']:5}"
        f" {result['rows_doubled']:7} {result['rows_different']:6} {result['bytes_per_value'] or 0.0:8.3f}"
    )
    for one in compared:
        if one.lost or one.doubled or one.different:
            print(f"  {one.device}/{one.stream}: {asdict(one)}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("TRUELINE_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default), help=f"folder that holds skab/ ({default})")
    parser.add_argument("--link", choices=["mqtt", "coap"], default="mqtt", help="what the agents speak (mqtt)")
    parser.add_argument("--files", type=int, metavar="N", help="at most N files of each folder (all)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep everything here (else: temporary)")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    files = find_files(arguments.data, arguments.files)
    if not files:
        print(f"no SKAB files below {arguments.data / 'skab'}: see examples/skab/README.md", file=sys.stderr)
        return 2
    started_s = time.monotonic()
    folder = nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory(prefix="trueline-skab-")
    broker = "mosquitto" if arguments.link == "mqtt" else None
    with folder as path, Site(Path(path), broker=broker, link=arguments.link) as site:
        print(f"replaying {sum(map(len, files.values()))} files over {arguments.link} ...", file=sys.stderr)
        told = carry(site, files)
        carried_s = time.monotonic() - started_s
        print("all acknowledged; exporting and comparing ...", file=sys.stderr)
        compared, lanes = check(site, files), site.ledger()
    result = report(compared, told, lanes) | {"link": arguments.link, "carried_s": round(carried_s, 1)}
    print_table(compared, lanes, result)
    print("every row came back, bit for bit" if result["ok"] else "NOT EQUAL")
    if arguments.json:
        print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
