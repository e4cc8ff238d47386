"""What a model costs on the device: the bare network, the stage around it, many rows at once, the agent's memory.

The network is a linear autoencoder of windows of 32 rows by 8 channels, int8, written by hand (no TensorFlow); with
`--package` and `--public-key`, a package of your own. Times are CPU time of the one thread, the best of several passes:
the machine may have other things to do. *Score* is window, scaling, masks, quantising, network and score; *stage* is
all that the stage `detect` does: that, p-value, alarm, flags and the batch with the new columns.

    benchmarks/inference.py
    benchmarks/inference.py --package models/tank-1.tlm --public-key KEY
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import MemoryWatch, finish, parser, say

from trueline_edge.inference.litert import LiteRt
from trueline_edge.inference.serving import open_model, serve
from trueline_edge.stages.detect import AlarmRate, Detect
from trueline_model.package import write_package
from trueline_sim.processes import Site
from trueline_wire.keys import parse_public_key
from trueline_wire.readings import Channel, Readings, Schema

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

import model_kit  # noqa: E402 - the hand-written network lives with the tests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trueline_model.package import Package

PASSES = 15
ROWS = 6000
WRITTEN = "a test"
INVOKE_MAX_US = 30.0
SIZE_MAX_KB = 64.0
TIMES_INVOKE_MAX = 2.0
BATCHED_MIN = 5.0
RSS_MAX_MB = 90.0
RATE_HZ = 100.0
SECONDS = 8.0


def best_us(work: Callable[[], object], count: int) -> float:
    """CPU microseconds of one of the `count` things that `work` does."""
    return best_of_parts_us([work], count)


def best_of_parts_us(parts: Sequence[Callable[[], object]], count: int) -> float:
    """CPU microseconds of one of the `count` things that the parts do together; each part at its best."""
    best = [float("inf")] * len(parts)
    for _ in range(PASSES):
        for number, part in enumerate(parts):
            begun = time.thread_time()
            part()
            best[number] = min(best[number], time.thread_time() - begun)
    return 1e6 * sum(best) / count


def network_figures(package: Package) -> dict[str, float]:
    """The network alone: invoked with its input in place, called one by one, and called with many windows."""
    k, rows = len(package.manifest.inputs), package.manifest.settings["rows"]
    answer = {"reconstruction": (rows, k), "forecast": (k,), "score": ()}[package.manifest.settings["output"]]
    network = LiteRt(package.network, (rows, k), answer)
    windows = np.random.default_rng(1).normal(size=(1024, rows, k)).astype(np.float32)
    bare = network._one  # noqa: SLF001 - the figure is LiteRT's own, without us
    invoke = best_us(lambda: [bare.invoke() for _ in range(1000)], 1000)
    single = best_us(lambda: [network(windows[row : row + 1]) for row in range(300)], 300)
    many = best_us(lambda: network(windows), 1024)
    return {
        "invoke_us": round(invoke, 2),
        "window_alone_us": round(single, 2),
        "window_among_1024_us": round(many, 2),
        "batched_times_single": round(single / many, 1),
    }


def stage_figures(model: Path, public_key: bytes, package: Package) -> dict[str, float]:
    """The stage, a row, by how many come at once."""
    inputs = package.manifest.inputs
    schema = Schema(device="d", stream="s", channels=tuple(Channel(name=i.name, unit=i.unit) for i in inputs))
    value = normal_rows(package)
    step_ns = round(package.manifest.interval_s * 1e9)
    readings = Readings.raw(schema, 10**18 + np.arange(ROWS) * step_ns, value)
    # As rarely as its calibration supports: events cost more than rows, and in the field come once a week.
    rate = AlarmRate(events=2.0, per_s=package.manifest.calibrated_s) if package.alarm else None
    config = Detect(name="m", model=model, public_key=public_key, alarm=rate)
    found: dict[str, float] = {}
    for batch in (1, 10, 60, 600):
        rows = 600 if batch == 1 else ROWS
        parts = [readings[start : start + batch] for start in range(0, rows, batch)]
        found[f"stage_row_of_{batch}_us"] = round(stage_us(config, schema, parts, rows), 2)
    detector = serve(package).detector
    valid = np.ones(value.shape, np.bool_)
    scored = [partial(detector.score, value[at : at + 600], valid[at : at + 600]) for at in range(0, ROWS, 600)]
    found["score_row_of_600_us"] = round(best_of_parts_us(scored, ROWS), 2)
    return found


def stage_us(config: Detect, schema: Schema, parts: Sequence[Readings], rows: int) -> float:
    """CPU microseconds a row: each part at its best, over stages that go through all of them once, as time does."""
    best = [float("inf")] * len(parts)
    for _ in range(PASSES):
        stage = config.stage(schema)
        for number, part in enumerate(parts):
            begun = time.thread_time()
            stage(part)
            best[number] = min(best[number], time.thread_time() - begun)
    return 1e6 * sum(best) / rows


def normal_rows(package: Package) -> NDArray[np.float64]:
    """Normal running, (ROWS, k): of the written package as it was fitted to; of another one's golden rows.

    The latter without the faulty ones at their end, there and back again. An alarm costs more than a row without one,
    and comes once a week.
    """
    if package.manifest.trained.source == WRITTEN:
        return model_kit.rows(ROWS + 10, 99, len(package.manifest.inputs))[:-10]
    golden = np.nan_to_num(package.golden.value)[: len(package.golden.value) * 2 // 3]
    return np.resize(np.concatenate([golden, golden[-2:0:-1]]), (ROWS, golden.shape[1]))


def _spread(one: Any) -> float:
    return float((one.maximum - one.minimum) / 6.0) or 1.0


def memory_figures(model: Path, public_key: bytes, package: Package, folder: Path) -> dict[str, float]:
    """Resident memory of a real agent that sends over MQTT, without and with the model."""
    inputs, found = package.manifest.inputs, {}
    rng = np.random.default_rng(3)
    table = folder / "rows.csv"
    with table.open("w") as file:
        file.write("time," + ",".join(one.name for one in inputs) + "\n")
        for n in range(round(SECONDS * RATE_HZ * 2)):
            values = [(one.minimum + one.maximum) / 2 + _spread(one) * rng.normal() for one in inputs]
            file.write(f"{1_767_225_600_000 + 10 * n}," + ",".join(f"{value:.4f}" for value in values) + "\n")
    detect = {"type": "detect", "name": "m", "model": str(model), "public_key": model_kit.text_of(public_key)}
    with Site(folder / "site", broker="mosquitto") as site:
        site.start()
        for name, stages in (("agent_without_mb", []), ("agent_with_model_mb", [detect])):
            stream = {
                "name": "s",
                "source": {"type": "replay", "path": str(table), "time_format": "ms", "speed": "realtime"},
                "channel": [{"name": one.name, "unit": one.unit} for one in inputs],
                "stage": stages,
            }
            agent = site.add_agent(name.replace("_", "-"), [stream])
            agent.start()
            with MemoryWatch(agent.pid) as memory:
                time.sleep(SECONDS)
            agent.stop()
            found[name] = round(max(mb for _, mb in memory.samples), 1)
            say(f"{name}: {found[name]}")
    return found


def main() -> int:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--package", type=Path, help="a package with a network; the hand-written one where left out")
    options.add_argument("--public-key", help="who must have signed it")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueline-bench-") as name:
        folder = Path(name)
        model, key = folder / "written.tlm", model_kit.KEY.public
        if arguments.package is None:
            made = model_kit.calibrated(model_kit.network_package(window=32, k=8))
            model.write_bytes(write_package(made, model_kit.KEY))
        else:
            model, key = arguments.package.resolve(), parse_public_key(arguments.public_key or "")
        package = open_model(model, key).package
        result: dict[str, Any] = {
            "package_kb": round(model.stat().st_size / 1e3, 1),
            "network_kb": round(len(package.network) / 1e3, 1),
            **network_figures(package),
            **stage_figures(model, key, package),
        }
        result["score_times_invoke"] = round(result["score_row_of_600_us"] / result["invoke_us"], 2)
        result["stage_times_invoke"] = round(result["stage_row_of_600_us"] / result["invoke_us"], 2)
        result |= memory_figures(model, key, package, folder)
    return finish(result, _misses(result), as_json=arguments.json)


def _misses(result: dict[str, Any]) -> list[str]:
    asked = [
        ("package_kb", result["package_kb"] < SIZE_MAX_KB, f"below {SIZE_MAX_KB:.0f}"),
        ("invoke_us", result["invoke_us"] <= INVOKE_MAX_US, f"at most {INVOKE_MAX_US:.0f}"),
        ("score_times_invoke", result["score_times_invoke"] <= TIMES_INVOKE_MAX, f"at most {TIMES_INVOKE_MAX:.0f}"),
        ("stage_times_invoke", result["stage_times_invoke"] <= TIMES_INVOKE_MAX, f"at most {TIMES_INVOKE_MAX:.0f}"),
        ("batched_times_single", result["batched_times_single"] >= BATCHED_MIN, f"at least {BATCHED_MIN:.0f}"),
        ("agent_with_model_mb", result["agent_with_model_mb"] < RSS_MAX_MB, f"below {RSS_MAX_MB:.0f}"),
    ]
    return [f"{key} is {result[key]}: {bound} asked" for key, met, bound in asked if not met]


if __name__ == "__main__":
    sys.exit(main())
