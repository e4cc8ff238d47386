"""The whole chain of stages on one core: readings a second, and the memory of an agent that runs it.

Eight channels, each with its own filter: timing and gap, gross range, rate of change, spike (Hampel, 7 values), flat
line, calibration (affine, with its uncertainty), fusion (each channel by itself; noise given, and learnt by the bank).
The input is a walk with noise on a grid and one gross outlier in a thousand; a reading is one value of one channel.
Times are CPU times of this process. filterpy does the given filter (level, Gaussian) in a Python loop, in the same run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from _common import MemoryWatch, finish, parser, say, version_of
from agent import FRAME, SETTLED_S, write_csv
from filterpy.kalman import KalmanFilter

from trueline_edge.calibration.file import Calibration, Uncertainty, dump_calibration
from trueline_edge.calibration.models import Affine
from trueline_edge.estimation.kernels import GAUSSIAN, IMPLEMENTATION, kalman_level, level_fresh
from trueline_edge.pipeline import Pipeline
from trueline_edge.stages import StageChoice
from trueline_sim.processes import Site, find_mosquitto
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CHANNELS = 8
BLOCK = 1000
BLOCKS = 40
GIVEN_MIN_PER_S, LEARNT_MIN_PER_S, ROWS_MIN_PER_S = 10e6, 3e6, 5_000.0
FILTERPY_MIN = 100.0
RSS_MAX_MB = 72.0
NAMES = tuple(f"c{k}" for k in range(CHANNELS))
SCHEMA = Schema(device="d", stream="fast", channels=tuple(Channel(name=name, resolution=0.001) for name in NAMES))
R, Q = 0.05**2, 1e-4


def calibrations(folder: Path) -> list[str]:
    """A calibration file for each channel; their paths."""
    model = Affine(gain=1.02, offset=-0.3, covariance=((1e-6, -1e-5), (-1e-5, 4e-4)))
    paths = []
    for name in NAMES:
        calibration = Calibration(
            id=f"cal-{name}",
            channel=name,
            date=datetime(2026, 1, 1, tzinfo=UTC),
            model=model,
            range={name: (-100.0, 200.0)},
            u=Uncertainty(noise=0.05, model=0.01, drift=0.001),
        )
        path = folder / f"{name}.toml"
        path.write_text(dump_calibration(calibration))
        paths.append(str(path))
    return paths


def stages(folder: Path, noise: str) -> list[dict[str, Any]]:
    """The chain, as a person writes it."""
    fuse: dict[str, Any] = {"type": "fuse", "inputs": list(NAMES), "each": True, "noise": noise, "details": False}
    if noise == "given":
        fuse |= {"r": R, "q": Q}
    return [
        {"type": "timing", "interval_s": 1.0},
        {
            "type": "gross_range",
            "minimum": -500.0,
            "maximum": 500.0,
            "suspect_minimum": -90.0,
            "suspect_maximum": 190.0,
        },
        {"type": "rate_of_change", "suspect_per_s": 5.0, "fail_per_s": 50.0},
        {"type": "spike", "width": 7},
        {"type": "flat_line", "suspect_repeats": 50, "fail_repeats": 500},
        {"type": "calibrate", "files": calibrations(folder)},
        fuse,
    ]


def pipeline(folder: Path, noise: str) -> Pipeline:
    """The chain, as the agent makes it."""
    configs = [
        msgspec.convert(stage, StageChoice, dec_hook=lambda kind, text: kind(text)) for stage in stages(folder, noise)
    ]
    return Pipeline(configs, SCHEMA)


def make_values(rows: int) -> NDArray[np.float64]:
    """Draw (rows, channels) of them."""
    rng = np.random.default_rng(1)
    z = 20.0 + np.cumsum(rng.normal(0, 0.01, (rows, CHANNELS)), axis=0) + rng.normal(0, 0.05, (rows, CHANNELS))
    z[rng.random(z.shape) < 1e-3] += 10.0
    return np.round(z, 3)


def per_s(chain: Pipeline, values: NDArray[np.float64], rows: int, seconds: float) -> float:
    """Rows a second through a chain, in blocks of so many rows."""
    u, later = np.full((rows, CHANNELS), 0.05, np.float32), len(values) * 10**9
    times = 1_767_225_600_000_000_000 + np.arange(len(values)) * 10**9
    blocks = [Readings.raw(SCHEMA, times[i : i + rows], values[i : i + rows], u) for i in range(0, len(values), rows)]
    for block in blocks[: len(blocks) // 4]:
        chain(block)
    done, begun_s, at = 0, time.process_time(), len(blocks) // 4
    while (spent_s := time.process_time() - begun_s) < seconds:
        if at == len(blocks):  # the same again, later
            blocks = [Readings(SCHEMA, b.time_ns + later, b.value, b.u, b.flag, b.reason) for b in blocks]
            begun_s += time.process_time() - begun_s - spent_s
            at = 0
        chain(blocks[at])
        at += 1
        done += rows
    return done / spent_s


def filterpy_per_s(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Values of one channel a second, and the level it finds."""
    peer = KalmanFilter(dim_x=1, dim_z=1)
    peer.x, peer.P = np.array([[values[0]]]), np.array([[R]])
    peer.F = peer.H = np.eye(1)
    peer.Q, peer.R = np.array([[Q]]), np.array([[R]])
    found = [values[0]]
    begun_s = time.process_time()
    for z in values[1:]:
        peer.predict()
        peer.update(z)
        found.append(peer.x[0, 0])
    return (len(values) - 1) / (time.process_time() - begun_s), np.array(found)


def level_per_s(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Values of one channel a second through the same filter of ours, and the level it finds."""
    dt, state, z = np.ones(len(values)), level_fresh(1), values[:, None]
    found = kalman_level(state, dt, z, R, Q, GAUSSIAN).mean[:, 0]
    begun_s, rounds = time.process_time(), 20
    for _ in range(rounds):
        state = kalman_level(state, dt, z, R, Q, GAUSSIAN).state
    return rounds * len(values) / (time.process_time() - begun_s), found


def agent_memory_mb(folder: Path, noise: str, seconds: float) -> float:
    """Largest resident memory of an agent that replays a recording at 1 kHz through the chain."""
    rows = int((seconds + SETTLED_S + 5) * 1000)
    source = {"type": "replay", "path": str(write_csv(folder / f"{noise}.csv", rows)), "time_column": "time"}
    what = {
        "name": "fast",
        "source": {**source, "time_format": "ms", "speed": "realtime"},
        "channel": [{"name": name, "u": 0.05, "resolution": 0.001} for name in NAMES],
        "stage": stages(folder, noise),
    }
    with Site(folder / f"site-{noise}", broker="mosquitto") as site:
        site.start()
        agent = site.add_agent("chain", [what], frame=FRAME)
        agent.start()
        with MemoryWatch(agent.pid) as memory:
            time.sleep(SETTLED_S + seconds)
        agent.stop()
    return round(max(mb for _, mb in memory.samples), 1)


def main() -> int:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--data", help="taken as by the other benchmarks; nothing recorded is used")
    options.add_argument("--quick", action="store_true", help="short measurements, no agent; bounds are not held")
    options.add_argument("--seconds", type=float, default=3.0, help="of CPU, of each measurement (3)")
    options.add_argument("--profile", choices=("given", "learn"), help="say where the time goes, and nothing else")
    arguments = options.parse_args()
    seconds = 0.5 if arguments.quick else arguments.seconds
    values = make_values(BLOCK * BLOCKS)
    with tempfile.TemporaryDirectory(prefix="trueline-bench-") as name:
        folder = Path(name)
        if arguments.profile:
            return profile(pipeline(folder, arguments.profile), values)
        result: dict[str, Any] = {"kernels": IMPLEMENTATION, "filterpy": version_of(sys.executable, "-c", _VERSION)}
        for noise, word in (("given", "given_noise"), ("learn", "learning_bank")):
            rate = per_s(pipeline(folder, noise), values, BLOCK, seconds) * CHANNELS
            result[f"{word}_m_readings_per_s"] = round(rate / 1e6, 2)
            result[f"{word}_single_rows_per_s"] = round(per_s(pipeline(folder, noise), values[:2000], 1, seconds))
            say(f"{noise}: {rate / 1e6:.1f} M readings/s")
        slow, theirs = filterpy_per_s(values[:20_000, 0])
        fast, ours = level_per_s(values[:20_000, 0])
        if not np.allclose(theirs, ours, rtol=1e-9):
            raise RuntimeError("not the same filter")
        result |= {"filterpy_values_per_s": round(slow), "level_values_per_s": round(fast)}
        result["times_filterpy"] = round(fast / slow)
        if not arguments.quick and find_mosquitto():
            for noise in ("given", "learn"):
                result[f"agent_{noise}_rss_max_mb"] = agent_memory_mb(folder, noise, 15.0)
    return finish(result, [] if arguments.quick else misses(result), as_json=arguments.json)


_VERSION = "import importlib.metadata as m; print(m.version('filterpy'))"


def misses(result: dict[str, Any]) -> list[str]:
    """What was asked and not reached."""
    least: dict[str, float] = {
        "given_noise_m_readings_per_s": GIVEN_MIN_PER_S / 1e6,
        "learning_bank_m_readings_per_s": LEARNT_MIN_PER_S / 1e6,
        "given_noise_single_rows_per_s": ROWS_MIN_PER_S,
        "learning_bank_single_rows_per_s": ROWS_MIN_PER_S,
        "times_filterpy": FILTERPY_MIN,
    }
    found = [f"{key} is {result[key]:,}: at least {low:,.0f} asked" for key, low in least.items() if result[key] < low]
    for noise in ("given", "learn"):
        key = f"agent_{noise}_rss_max_mb"
        if result.get(key, 0.0) >= RSS_MAX_MB:
            found.append(f"{key} is {result[key]}: below {RSS_MAX_MB:.0f} asked")
    return found


def profile(chain: Pipeline, values: NDArray[np.float64]) -> int:
    """Nanoseconds a reading, stage by stage, each timed by itself in the chain."""
    spent: dict[str, float] = {}
    stages_: list[Any] = chain._stages  # noqa: SLF001 - to look into it is the point
    named = [(type(stage).__name__, stage) for stage in stages_]

    def timed(name: str, stage: Callable[[Readings], Readings]) -> Callable[[Readings], Readings]:
        def run(readings: Readings) -> Readings:
            begun_s = time.perf_counter()
            out = stage(readings)
            spent[name] = min(spent.get(name, 1.0), time.perf_counter() - begun_s)
            return out

        return run

    runs = [timed(name, stage) for name, stage in named]
    start_ns, u = 1_767_225_600_000_000_000, np.full((BLOCK, CHANNELS), 0.05, np.float32)
    for i in range(BLOCKS):
        rows = slice(i * BLOCK, (i + 1) * BLOCK)
        readings = Readings.raw(SCHEMA, start_ns + np.arange(rows.start, rows.stop) * 10**9, values[rows], u)
        for run in runs:
            readings = run(readings)
    for name, seconds in spent.items():
        print(f"{name:20} {seconds / BLOCK / CHANNELS * 1e9:8.1f} ns a reading, at best")
    print(f"{'sum':20} {sum(spent.values()) / BLOCK / CHANNELS * 1e9:8.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
