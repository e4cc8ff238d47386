"""The agent at work: memory and CPU while replaying 1 kHz x 8 channels through mosquitto, and how soon it is heard.

Without `--data` it replays a generated file; with it, the SKAB runs (recorded at 1 Hz, replayed 1000 times faster).
A subscriber beside the cloud tells when the first DATA frame is at the broker, counted from the start of the process.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import MemoryWatch, cpu_s, finish, parser, say, version_of
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from trueline_sim.children import wait_until
from trueline_sim.processes import Site, find_mosquitto
from trueline_wire.envelope import Kind, peek_kind

RATE_HZ = 1000
CHANNELS = 8
RSS_MAX_MB = 64.0
FIRST_FRAME_MAX_S = 1.5
FRAME = {"rows_max": 600, "interval_s": 0.5}
SETTLED_S = 3.0
SKAB_NAMES = (
    "Accelerometer1RMS",
    "Accelerometer2RMS",
    "Current",
    "Pressure",
    "Temperature",
    "Thermocouple",
    "Voltage",
    "Volume Flow RateRMS",
)


class Ear:
    """A subscriber that notes when the first DATA frame of a device is at the broker."""

    def __init__(self, port: int, device: str) -> None:
        self.first_s: float | None = None
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(f"tl/1/+/{device}/data", qos=0)
        self._ready = False
        self._client.on_subscribe = lambda *_: self._set_ready()
        self._client.on_message = lambda _client, _data, message: self._hear(message.payload)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        wait_until(lambda: self._ready, "the subscriber is ready", 10.0)

    def _set_ready(self) -> None:
        self._ready = True

    def _hear(self, payload: bytes) -> None:
        if self.first_s is None and peek_kind(payload) is Kind.DATA:
            self.first_s = time.monotonic()

    def close(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


def write_csv(path: Path, rows: int) -> Path:
    """Eight channels of slow signals on a decimal grid with a little noise, one row a millisecond."""
    rng = np.random.default_rng(1)
    t = np.arange(rows) / RATE_HZ
    columns = [np.round(20 + k + np.sin(t / (k + 1)) + rng.normal(0, 0.05, rows), 3) for k in range(CHANNELS)]
    with path.open("w") as out:
        out.write("time," + ",".join(f"c{k}" for k in range(CHANNELS)) + "\n")
        for n, values in enumerate(zip(*columns, strict=True)):
            out.write(f"{1_767_225_600_000 + n}," + ",".join(map(str, values)) + "\n")
    return path


def stream(folder: Path, data: Path | None, rows: int) -> dict[str, Any]:
    """The stream that is replayed."""
    if data is None:
        path = write_csv(folder / "kilohertz.csv", rows)
        source: dict[str, Any] = {"path": str(path), "time_column": "time", "time_format": "ms", "speed": "realtime"}
        names: tuple[str, ...] = tuple(f"c{k}" for k in range(CHANNELS))
    else:
        paths = [str(path) for path in sorted((data / "skab").glob("**/*.csv"))]
        source = {"paths": paths, "time_column": "datetime", "time_format": "%Y-%m-%d %H:%M:%S", "separator": ";"}
        source["speed"] = float(RATE_HZ)
        names = SKAB_NAMES
    stages = [{"type": "missing"}, {"type": "gross_range", "minimum": -1000.0, "maximum": 1000.0}]
    return {
        "name": "fast",
        "source": {"type": "replay", **source},
        "channel": [{"name": name, "u": 0.05} for name in names],
        "stage": [*stages, {"type": "flat_line", "suspect_repeats": 50, "fail_repeats": 500}],
    }


def measure(site: Site, what: dict[str, Any], *, seconds: float, starts: int) -> dict[str, Any]:
    """Some short runs for the first frame, one long run for memory and CPU."""
    firsts, firsts_cpu = [], []
    for number in range(starts):
        agent = site.add_agent(f"start-{number}", [what], frame=FRAME)
        ear = Ear(site.broker.port, f"start-{number}")
        begun_s = time.monotonic()
        agent.start()
        wait_until(lambda ear=ear: ear.first_s is not None, "the first frame", 30.0)
        firsts.append((ear.first_s or 0.0) - begun_s)
        firsts_cpu.append(cpu_s(agent.pid))
        ear.close()
        agent.stop()
        say(f"first frame after {firsts[-1]:.2f} s")
    agent = site.add_agent("steady", [what], frame=FRAME)
    agent.start()
    with MemoryWatch(agent.pid) as memory:
        time.sleep(SETTLED_S)
        begun_s, begun_cpu_s = time.monotonic(), cpu_s(agent.pid)
        time.sleep(seconds)
        cpu_share = (cpu_s(agent.pid) - begun_cpu_s) / (time.monotonic() - begun_s)
    told = agent.stop_and_tell()
    settled = [mb for at_s, mb in memory.samples if at_s >= memory.samples[0][0] + SETTLED_S]
    return {
        "rss_max_mb": round(max(mb for _, mb in memory.samples), 1),
        "rss_growth_mb": round(max(settled) - settled[0], 1),
        "cpu_share": round(cpu_share, 4),
        "first_frame_s": round(statistics.median(firsts), 2),
        "first_frame_max_s": round(max(firsts), 2),
        "first_frame_cpu_s": round(statistics.median(firsts_cpu), 2),
        "rows_sampled": told["rows_sampled"],
        "rows_spooled": told["rows_spooled"],
        "rows_lost": sum(told["rows_lost"].values()),
        "bytes_per_value": round(told["bytes_appended"] / told["values_appended"], 3),
    }


def main() -> int:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="folder of recorded data; SKAB is replayed from it")
    options.add_argument("--seconds", type=float, default=20.0, help="of steady replay (20)")
    options.add_argument("--starts", type=int, default=5, help="of a fresh agent, for the first frame (5)")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueline-bench-") as name:
        folder = Path(name)
        what = stream(folder, arguments.data, int((arguments.seconds + SETTLED_S + 5) * RATE_HZ))
        with Site(folder / "site", broker="mosquitto") as site:
            site.start()
            result = measure(site, what, seconds=arguments.seconds, starts=arguments.starts)
    result |= {
        "input": "generated" if arguments.data is None else "SKAB, all runs",
        "rate_hz": RATE_HZ,
        "channels": CHANNELS,
        "frame": f"{FRAME['rows_max']} rows or {FRAME['interval_s']} s",
        "broker": version_of(find_mosquitto() or "mosquitto", "-h"),
    }
    misses = []
    if result["rss_max_mb"] >= RSS_MAX_MB:
        misses.append(f"resident memory reached {result['rss_max_mb']} MB: below {RSS_MAX_MB:.0f} asked")
    if result["first_frame_s"] > FIRST_FRAME_MAX_S:
        misses.append(f"the first frame took {result['first_frame_s']} s: at most {FIRST_FRAME_MAX_S} asked")
    if result["rows_lost"]:
        misses.append(f"{result['rows_lost']} rows were lost")
    return finish(result, misses, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
