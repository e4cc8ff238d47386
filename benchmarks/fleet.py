"""A thousand devices at one frame a second each, through a real mosquitto into one cloud process.

    python benchmarks/fleet.py                                           random walks
    python benchmarks/fleet.py --group greenhouse:600 --group cold_chain:400 --rate-hz 0.1

The devices are virtual, in one process, on a few shared MQTT connections (`trueline-sim fleet`); each has its own key,
epochs and sender, and every frame is signed, verified, decoded, rolled up and synced. Nothing lost, nothing twice:
counted in the ledger and, beside it, frame by frame in the journal file.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
from _common import MemoryWatch, cpu_s, finish, parser, rss_mb, say, version_of

from trueline_sim.children import Child, wait_until
from trueline_sim.processes import Site, find_mosquitto

if TYPE_CHECKING:
    import argparse

# What is not mosquitto's default, and why: it queues 1,000 messages for a busy consumer and throws the rest away. They
# would come again, but a benchmark of resending is another one.
BROKER_SETTINGS = ("max_queued_messages 100000", "max_inflight_messages 1000")

RATE_SLACK = 1.05  # so much longer than asked a fleet may measure, and still have kept its beat


def count_frames(journal: Path) -> tuple[int, int, int]:
    """Frames, different (device, lane, epoch, number), and rows in a journal file, counted one by one."""
    connection = apsw.Connection(str(journal), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        query = "SELECT lane_id, epoch, number, rows FROM frames"
        seen: set[tuple[int, bytes, int]] = set()
        frames = rows = 0
        for lane, epoch, number, count in connection.execute(query):
            seen.add((lane, epoch, number))
            frames += 1
            rows += count
        return frames, len(seen), rows
    finally:
        connection.close()


def fleet_command(site: Site, arguments: Any) -> Child:
    """The fleet, as a process of its own."""
    argv = [
        sys.executable,
        "-m",
        "trueline_sim",
        "fleet",
        *arguments.scenario,
        "--json",
        "--broker",
        f"127.0.0.1:{site.broker.port}",
    ]
    argv += ["--cloud-state", str(site.cloud.state), "--cloud-key", site.cloud_key]
    argv += [text for group in arguments.group for text in ("--group", group)]
    for name in ("devices", "rate_hz", "rows", "channels", "seconds", "connections", "distinct", "drain_s"):
        argv += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return Child("fleet", argv, site.folder)


def measure(site: Site, arguments: Any) -> tuple[dict[str, Any], list[str]]:
    """Run it, count, and compare."""
    load = round(os.getloadavg()[0], 2)
    site.start()
    fleet = fleet_command(site, arguments)
    programs = {"cloud": site.cloud, "broker": site.broker}
    before = {name: cpu_s(child.pid) for name, child in programs.items()}
    fleet.start()
    say(f"{arguments.seconds:g} s ...")
    with MemoryWatch(site.cloud.pid, 0.5) as memory:
        wait_until(lambda: not fleet.alive, "the fleet's end", 3 * arguments.seconds + arguments.drain_s + 60)
    if fleet.exit_code not in {0, 1}:
        raise fleet.error(f"ended with exit code {fleet.exit_code}")
    report: dict[str, Any] = json.loads(fleet.last_line())
    used = {name: cpu_s(child.pid) - before[name] for name, child in programs.items()}
    lanes = site.ledger()
    frames, different, rows = count_frames(site.cloud.state / "journal.db")
    stored = sum(lane["rows_stored"] for lane in lanes)
    values = sum(lane["values"] for lane in lanes)
    spent_s = report["measuring_s"] + report["draining_s"]
    result = {
        "devices": report["devices"],
        "groups": ", ".join(f"{count:,} {name}" for name, count in report["groups"].items()),
        "carried": report["carried"],
        "devices_with_readings_of_their_own": report["distinct"],
        "frame": f"{arguments.rows} rows, {arguments.rate_hz:g} a second",
        "seconds": report["measuring_s"],
        "drain_s": report["draining_s"],
        "frames_sent": report["frames"],
        "frames_in_journal": frames,
        "rows_sent": report["rows"],
        "rows_in_ledger": stored,
        "rows_in_journal": rows,
        "missing": report["rows"] - rows,
        "duplicates": frames - different,
        "lanes_complete": sum(lane["verdict"] == "complete" for lane in lanes),
        "frames_resent": report["frames_resent"],
        "timeouts": report["timeouts"],
        "fleet_beat_late_max_s": report["late_max_s"],
        "ack_latency_p50_ms": round(report["ack_latency_p50_s"] * 1e3, 1),
        "ack_latency_p95_ms": round(report["ack_latency_p95_s"] * 1e3, 1),
        "ack_latency_max_ms": round(report["ack_latency_max_s"] * 1e3, 1),
        "cloud_cpu_cores": round(used["cloud"] / spent_s, 3),
        "broker_cpu_cores": round(used["broker"] / spent_s, 3),
        "fleet_cpu_cores": round(report["cpu_s"] / spent_s, 3),
        "cloud_values_per_cpu_second": round(values / used["cloud"]) if used["cloud"] else None,
        "cloud_frames_per_cpu_second": round(frames / used["cloud"]) if used["cloud"] else None,
        "fleet_ms_per_frame": round(1e3 * report["cpu_s"] / report["frames"], 3) if report["frames"] else None,
        "cloud_ms_per_frame": round(1e3 * used["cloud"] / frames, 3) if frames else None,
        "rows_absent": report["rows_absent"],
        "cloud_rss_max_mb": round(max((mb for _, mb in memory.samples), default=0.0), 1),
        "broker_rss_mb": round(rss_mb(site.broker.pid), 1),
        "bytes_per_value": round(sum(lane["bytes"] for lane in lanes) / values, 3) if values else None,
        "load_average_before": load,
        "broker": version_of(find_mosquitto() or "mosquitto", "-h"),
        "broker_settings": "; ".join(BROKER_SETTINGS),
    }
    return result, _misses(result, arguments.seconds)


def _misses(result: dict[str, Any], asked_s: float) -> list[str]:
    wanted = {
        "missing": 0,
        "duplicates": 0,
        "rows_in_ledger": result["rows_sent"],
        "frames_in_journal": result["frames_sent"],
        "lanes_complete": result["devices"],
    }
    misses = [f"{key} is {result[key]:,}, not {value:,}" for key, value in wanted.items() if result[key] != value]
    if result["seconds"] > RATE_SLACK * asked_s:
        misses.append(f"the fleet needed {result['seconds']:g} s for the frames of {asked_s:g} s: the machine was busy")
    return misses


def main() -> int:
    """The command line."""
    options = parser(__doc__)
    add_arguments(options)
    arguments = options.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="trueline-fleet-") as folder,
        Site(Path(folder), broker="mosquitto", broker_settings=BROKER_SETTINGS) as site,
    ):
        result, misses = measure(site, arguments)
    return finish(result, misses, as_json=arguments.json)


def add_arguments(options: argparse.ArgumentParser) -> None:
    """What a fleet is asked for; without a scenario it shows random walks."""
    options.add_argument("scenario", nargs="*", default=[], help="what the devices measure (random walks)")
    options.add_argument("--group", action="append", default=[], help="SCENARIO:N, instead of scenario and --devices")
    options.add_argument("--distinct", type=int, default=1000, help="devices with readings of their own (1000)")
    options.add_argument("--devices", type=int, default=1000)
    options.add_argument("--rate-hz", type=float, default=1.0, help="frames a second of each device (1)")
    options.add_argument("--rows", type=int, default=10, help="rows in a frame (10)")
    options.add_argument("--channels", type=int, default=4, help="channels in a row (4)")
    options.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    options.add_argument("--connections", type=int, default=4, help="MQTT connections they share (4)")
    options.add_argument("--drain-s", type=float, default=180.0, help="wait so long for the last of it (180)")


if __name__ == "__main__":
    sys.exit(main())
