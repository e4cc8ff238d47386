"""A day without a link, then the link: what piled up on disk drains completely, in order, in flat memory.

One agent samples 10 Hz x 8 channels for 24 hours of its own time, as fast as the machine gives it, with no broker to
be reached. Then mosquitto is started. Everything must come out of the export once, in order.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pyarrow.parquet as pq
from _common import MemoryWatch, cpu_s, finish, parser, say, version_of

from trueline_sim.children import free_port, wait_until
from trueline_sim.processes import Site, find_mosquitto
from trueline_sim.watch import Watch

RATE_HZ = 10
CHANNELS = 8
MEMORY_GROWTH_MAX_MB = 10.0
START_NS = 1_767_225_600_000_000_000  # 2026-01-01


def stream(rows: int) -> dict[str, Any]:
    """Eight channels on a decimal grid, as sensors give them."""
    kinds: list[dict[str, Any]] = [
        {"kind": "sine", "amplitude": 2.0, "period_s": 600.0, "noise": 0.05},
        {"kind": "random_walk", "step": 0.02, "noise": 0.02},
        {"kind": "square", "amplitude": 1.0, "period_s": 120.0, "noise": 0.05},
        {"kind": "noise", "noise": 0.1},
    ]
    source = {"type": "simulated", "rate_hz": RATE_HZ, "rows": rows, "start_ns": START_NS, "flat_out": True, "seed": 7}
    return {
        "name": "day",
        "source": source,
        "channel": [
            {"name": f"c{k}", "unit": "Cel", "resolution": 0.01, "u": 0.05, "signal": {"mean": 20.0, **kinds[k % 4]}}
            for k in range(CHANNELS)
        ],
        "stage": [{"type": "missing"}, {"type": "gross_range", "minimum": -50.0, "maximum": 100.0}],
    }


def measure(site: Site, rows: int) -> tuple[dict[str, Any], list[str]]:
    """Outage, link, drain, export, comparison."""
    port = free_port()
    metrics = {"host": "127.0.0.1", "port": port}
    site.cloud.start()  # it has no broker either, and waits for one
    agent = site.add_agent(
        "away", [stream(rows)], frame={"rows_max": 600, "interval_s": 60.0}, extra={"metrics": metrics}
    )
    watch = Watch(site.cloud.http_port, {"away": port})
    agent.start("--until-drained")
    begun_s = time.monotonic()
    say(f"no link: {rows:,} rows x {CHANNELS} channels go to disk ...")
    with MemoryWatch(agent.pid) as memory:
        wait_until(lambda: not agent.alive or watch.snapshot().spooled >= rows // 100, "the first rows", 60)
        settled_s = time.monotonic()
        wait_until(lambda: not agent.alive or watch.snapshot().spooled >= rows, "the day to be spooled", 900)
        if not agent.alive:
            raise agent.error("ended during the outage")
        spooled_s = time.monotonic()
        outage_cpu_s = cpu_s(agent.pid)
        spool_mb = sum(path.stat().st_size for path in agent.state.iterdir()) / 1e6
        time.sleep(3.0)
        say("the link is there: it drains ...")
        drain_start_s = time.monotonic()
        site.broker.start()
        told = agent.result(timeout_s=900)
        drained_s = time.monotonic()
    # The start is over when all libraries are loaded and a hundredth of the day is on disk.
    start_mb = next(mb for at_s, mb in memory.samples if at_s >= settled_s)
    max_mb = max(mb for _, mb in memory.samples)
    times = np.asarray(pq.read_table(site.export("away", "day", site.folder / "day.parquet"))["time_ns"])
    result = _result(rows, told, site, times) | {
        "agent_rss_start_mb": round(start_mb, 1),
        "agent_rss_max_mb": round(max_mb, 1),
        "agent_rss_growth_mb": round(max_mb - start_mb, 1),
        "spooling_s": round(spooled_s - begun_s, 2),
        "spooling_rows_per_s": round(rows / (spooled_s - begun_s)),
        "spooling_cpu_s": round(outage_cpu_s, 2),
        "spool_on_disk_mb": round(spool_mb, 2),
        "drain_s": round(drained_s - drain_start_s, 2),
        "drain_rows_per_s": round(rows / (drained_s - drain_start_s)),
        "broker": version_of(find_mosquitto() or "mosquitto", "-h") + ", its defaults",
    }
    return result, _misses(result)


def frames_out_of_order(journal: Path) -> int:
    """How often a stored frame begins before the one stored before it."""
    connection = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        first = [row[0] for row in connection.execute("SELECT time_first FROM frames ORDER BY id")]
    finally:
        connection.close()
    return int((np.diff(first) <= 0).sum())


def _result(
    rows: int,
    told: dict[str, Any],
    site: Site,
    times: np.ndarray[Any, np.dtype[np.int64]],
) -> dict[str, Any]:
    expected = START_NS + np.arange(rows, dtype=np.int64) * (1_000_000_000 // RATE_HZ)
    lanes = site.ledger("away")
    different = np.unique(times)
    return {
        "rows_sampled": told["rows_sampled"],
        "rows_spooled": told["rows_spooled"],
        "rows_exported": len(times),
        "missing": int((~np.isin(expected, different)).sum()),
        "duplicates": len(times) - len(different),
        "frames_stored_out_of_order": frames_out_of_order(site.cloud.state / "journal.db"),
        "ledger_verdict": ", ".join(sorted({lane["verdict"] for lane in lanes})),
        "agent_drained": told["drained"],
        "bytes_per_value": round(sum(lane["bytes"] for lane in lanes) / sum(lane["values"] for lane in lanes), 3),
    }


def _misses(result: dict[str, Any]) -> list[str]:
    wanted: dict[str, Any] = {"missing": 0, "duplicates": 0, "frames_stored_out_of_order": 0}
    wanted |= {"agent_drained": True, "ledger_verdict": "complete"}
    misses = [f"{key} is {result[key]}, not {value}" for key, value in wanted.items() if result[key] != value]
    if result["agent_rss_growth_mb"] > MEMORY_GROWTH_MAX_MB:
        misses.append(f"agent memory grew by {result['agent_rss_growth_mb']} MB: at most {MEMORY_GROWTH_MAX_MB} asked")
    return misses


def main() -> int:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--hours", type=float, default=24.0, help="of the device's own time without a link (24)")
    arguments = options.parse_args()
    rows = round(arguments.hours * 3600 * RATE_HZ)
    with (
        tempfile.TemporaryDirectory(prefix="trueline-outage-") as folder,
        Site(Path(folder), broker="mosquitto") as site,
    ):
        result, misses = measure(site, rows)
    return finish(result, misses, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
