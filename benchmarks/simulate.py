"""What one core makes of a world: sensor readings in memory, and recorded.

A reading here is one value of one sensor. In memory: truth, sensors with every effect switched on (figures a part does
not have are filled in, so that nothing is skipped), and drawn faults. Recorded: the same with the usual sensors, as
Parquet: readings, truth and labels. CPU seconds of the process, all threads, best of the repetitions; wall seconds
beside them. Each seed is made twice in blocks of different sizes first, and has to be the same, bit for bit.

Bounds: 5 M readings/CPU s made in memory in every scenario, 2 M recorded in the named one.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from _common import finish, parser, say

from trueline_sim.record import write_world
from trueline_sim.sensors.defaults import default_sensor
from trueline_sim.truth import SCENARIOS
from trueline_sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_sim.sensors.model import SensorModel

MADE_BOUND = 5.0e6
RECORDED_BOUND = 2.0e6


class Took(NamedTuple):
    """What so many values took."""

    values: int
    cpu_s: float
    wall_s: float


def everything_on(model: SensorModel) -> SensorModel:
    """The same part, with something of each effect it does not have."""
    low, high = model.span
    some = 1e-4 * (high - low)
    fields = ("noise_density", "flicker", "bias_max", "nonlinearity", "temperature_coefficient", "humidity_coefficient")
    fields += ("hysteresis", "self_heating", "drift_walk", "ageing", "resolution", "gain_error_max", "response_s")
    return replace(model, **{field: getattr(model, field) or some for field in fields})


def world(name: str, *, devices: int, steps: int, everything: bool, block_steps: int | None = None) -> World:
    """A world of a scenario."""
    scenario = SCENARIOS[name]
    sensors = {
        measurand.name: [everything_on(default_sensor(name, measurand))]
        for measurand in scenario.measurands
        if everything
    }
    return World(scenario, devices=devices, seed=1, steps=steps, sensors=sensors, block_steps=block_steps)


def digest(made: World) -> str:
    """Of all arrays of a world, whatever its blocks."""
    hashes = {field: hashlib.sha256() for field in ("truth", "raw", "time_ns", "copies", "late")}
    for block in made:
        for field, sha in hashes.items():
            sha.update(getattr(block, field).tobytes())
    return " ".join(sha.hexdigest() for sha in hashes.values())


def timed(work: Callable[[], int]) -> Took:
    """CPU and wall of one go."""
    cpu, wall = time.process_time(), time.perf_counter()
    values = work()
    return Took(values, time.process_time() - cpu, time.perf_counter() - wall)


def best(work: Callable[[], int], repetitions: int) -> Took:
    """The go that took the least CPU."""
    return min((timed(work) for _ in range(repetitions)), key=lambda took: took.cpu_s)


def make(made: World) -> int:
    """All of a world, in memory, and let go."""
    return sum(block.raw.size for block in made)


def record(made: World, folder: Path) -> int:
    """All of a world, into a folder that is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    return write_world(made, folder).values


def main() -> int:
    """The command line. Returns the exit code."""
    arguments = parser(__doc__)
    arguments.add_argument("--scenario", choices=[*SCENARIOS], default="water_loop", help="the one recorded")
    arguments.add_argument("--devices", type=int, default=1000, metavar="N", help="(1000)")
    arguments.add_argument("--steps", type=int, default=1000, metavar="N", help="(1000)")
    arguments.add_argument("--repetitions", type=int, default=3, metavar="N", help="(3)")
    chosen = arguments.parse_args()
    size = {"devices": chosen.devices, "steps": chosen.steps}

    say("the same whatever the block size?")
    few = {"devices": min(chosen.devices, 50), "steps": min(chosen.steps, 400), "everything": True}
    digests = {digest(world(chosen.scenario, **few, block_steps=block_steps)) for block_steps in (2, 62, 400)}
    result: dict[str, Any] = {"scenario": chosen.scenario, **size, "block_sizes_agree": len(digests) == 1}
    misses = [] if len(digests) == 1 else ["readings depend on the block size"]

    for name in SCENARIOS:
        say(f"{name}, in memory")
        took = best(lambda name=name: make(world(name, **size, everything=True)), chosen.repetitions)
        result[f"{name}_made_per_cpu_s"] = round(took.values / took.cpu_s)
        result[f"{name}_made_per_s"] = round(took.values / took.wall_s)
    with tempfile.TemporaryDirectory() as folder:
        say(f"{chosen.scenario}, recorded")
        out = Path(folder) / "recording"
        took = best(lambda: record(world(chosen.scenario, **size, everything=False), out), chosen.repetitions)
        result["recorded_per_cpu_s"] = round(took.values / took.cpu_s)
        result["recorded_per_s"] = round(took.values / took.wall_s)
        result["recorded_bytes_per_value"] = round(sum(p.stat().st_size for p in out.iterdir()) / took.values, 2)
    bounds = {**{f"{name}_made_per_cpu_s": MADE_BOUND for name in SCENARIOS}, "recorded_per_cpu_s": RECORDED_BOUND}
    for key, bound in bounds.items():
        if result[key] < bound:
            misses.append(f"{key} {result[key]:,}: at least {bound:,.0f} were asked for")
    return finish(result, misses, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
