"""`trueline-sim scenarios` and `trueline-sim record`: arguments, progress, words.

Refuses to know how a world is made and written: `world` and `record` do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trueline_sim.arguments import above_zero, count
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from trueline_sim.record import Recorded
    from trueline_sim.sensors.model import SensorModel
    from trueline_sim.truth.scenario import Scenario
    from trueline_sim.world import World

__all__ = ["add_record", "add_scenarios"]

_NS: Final = 1_000_000_000
_HOUR_S: Final = 3600.0
_SHOWN_EVERY_S: Final = 0.5
_FAULTS: Final = 10.0


def add_scenarios(parser: argparse.ArgumentParser) -> None:
    """Arguments of `scenarios`."""
    parser.description = "What can be simulated, a sentence each, with its measurands and the anomalies it knows."
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, with every drawn range")
    parser.set_defaults(run=_scenarios)


def add_record(parser: argparse.ArgumentParser) -> None:
    """Arguments of `record`."""
    parser.description = (
        "Writes raw readings, the truth beside them, and labels of all faults and anomalies (Parquet). "
        "Exit code 0: written. 2: it cannot be."
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="as `trueline-sim scenarios` lists them")
    parser.add_argument("--devices", type=count, required=True, metavar="N", help="how many")
    parser.add_argument("--hours", type=above_zero, required=True, metavar="H", help="how long; 0.001 is 3.6 s")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of everything (1)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder without a recording")
    parser.add_argument("--interval", type=above_zero, metavar="S", help="seconds between readings (the scenario's)")
    parser.add_argument("--start", type=_moment, metavar="TIME", help="ISO 8601, UTC (2026-01-01)")
    parser.add_argument(
        "--sensors",
        metavar="[MEASURAND=]PART,…",
        action="append",
        default=[],
        help="which parts look at a measurand, several for redundancy; without a measurand: at all they can measure",
    )
    parser.add_argument("--redundancy", type=count, default=1, metavar="N", help="sensors on each measurand (1)")
    parser.add_argument(
        "--faults",
        type=_rate,
        default=_FAULTS,
        metavar="F",
        help=f"for each 10,000 rows of a device ({_FAULTS:g}; 0: none)",
    )
    parser.add_argument("--no-anomalies", action="store_true", help="nothing goes wrong with the process itself")
    parser.add_argument("--json", action="store_true", help="the last line on stdout is what was written, as JSON")
    parser.set_defaults(run=_record)


def _rate(text: str) -> float:
    number = float(text)
    if not 0.0 <= number <= 10_000.0:  # noqa: PLR2004 - a fault a row
        raise argparse.ArgumentTypeError(f"{text}: 0 to 10000")
    return number


def _moment(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * _NS


def _scenarios(arguments: argparse.Namespace) -> int:
    from trueline_sim.truth import SCENARIOS  # noqa: PLC0415 - after the extras were looked for

    if arguments.json:
        sys.stdout.write(json.dumps({name: _as_dict(scenario) for name, scenario in SCENARIOS.items()}) + "\n")
        return 0
    for name, scenario in SCENARIOS.items():
        measurands = ", ".join(f"{measurand.name} [{measurand.unit}]" for measurand in scenario.measurands)
        print(f"{name:14} {scenario.sentence}")  # noqa: T201 - a command prints
        print(f"{'':14} every {scenario.interval_s:g} s: {measurands}")  # noqa: T201 - as above
        print(f"{'':14} anomalies: {', '.join(scenario.anomalies) or 'none'}\n")  # noqa: T201 - as above
    return 0


def _as_dict(scenario: Scenario) -> dict[str, Any]:
    return {
        "sentence": scenario.sentence,
        "interval_s": scenario.interval_s,
        "measurands": {measurand.name: measurand.unit for measurand in scenario.measurands},
        "anomalies": list(scenario.anomalies),
        "ranges": {name: list(limits) for name, limits in scenario.ranges.items()},
    }


def _record(arguments: argparse.Namespace) -> int:
    from trueline_sim.record import write_world  # noqa: PLC0415 - after the extras were looked for
    from trueline_sim.truth import SCENARIOS  # noqa: PLC0415 - as above

    scenario = SCENARIOS.get(arguments.scenario)
    if scenario is None:
        raise ConfigError(f"no scenario {arguments.scenario!r}; there are {', '.join(SCENARIOS)}")
    began = time.monotonic()
    try:
        world = _world(arguments, scenario)
        progress = _Progress(world.grid.steps)
        done = write_world(world, arguments.out, progress=progress)
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    progress.end()
    took_s = time.monotonic() - began
    if arguments.json:
        summary = _summary(world, done) | {"seconds": round(took_s, 3), "out": str(arguments.out)}
        sys.stdout.write(json.dumps(summary) + "\n")
    else:
        print(_in_words(world, done, arguments.out, took_s))  # noqa: T201 - a command prints
    return 0


def _world(arguments: argparse.Namespace, scenario: Scenario) -> World:
    from trueline_sim.world import START_NS, World  # noqa: PLC0415 - after the extras were looked for

    interval_s = arguments.interval or scenario.interval_s
    return World(
        scenario,
        devices=arguments.devices,
        seed=arguments.seed,
        steps=max(round(arguments.hours * _HOUR_S / interval_s), 1),
        start_ns=START_NS if arguments.start is None else arguments.start,
        interval_s=interval_s,
        sensors=_sensors(arguments.sensors, scenario),
        redundancy=arguments.redundancy,
        faults=arguments.faults,
        anomalies=not arguments.no_anomalies,
    )


def _sensors(choices: list[str], scenario: Scenario) -> dict[str, list[SensorModel]]:
    """What was asked for, by measurand: `air_temperature=SHT31,DHT22`, or `BME280` for all it can measure."""
    from trueline_sim.sensors.catalogue import find  # noqa: PLC0415 - after the extras were looked for

    units = {measurand.name: measurand.unit for measurand in scenario.measurands}
    chosen: dict[str, list[SensorModel]] = {}
    for choice in choices:
        name, equals, parts = choice.rpartition("=")
        if equals and name not in units:
            raise ConfigError(f"--sensors {choice}: {scenario.name} has no {name!r}; it has {', '.join(units)}")
        for part in parts.split(","):
            fits: dict[str, SensorModel] = {}
            complaint = ""
            for measurand in [name] if equals else units:
                try:
                    fits[measurand] = find(part.strip(), units[measurand], measurand)
                except ValueError as error:
                    complaint = str(error)
            if not fits:
                raise ConfigError(f"--sensors {choice}: {complaint}")
            for measurand, model in fits.items():
                chosen.setdefault(measurand, []).append(model)
    return chosen


class _Progress:
    """A line on stderr that is written over, where somebody looks; now and then a line where nobody does."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._began = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, done: Recorded) -> None:
        now = time.monotonic()
        if now - self._shown < (_SHOWN_EVERY_S if self._live else 10 * _SHOWN_EVERY_S):
            return
        self._shown = now
        rate = done.values / (now - self._began)
        text = f"{done.steps / self._steps:4.0%}  {done.values:,} values  {rate / 1e6:.1f} M/s"
        sys.stderr.write(f"\r{text}   " if self._live else f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """The line is done with."""
        if self._live:
            sys.stderr.write("\r\033[K")


def _summary(world: World, done: Recorded) -> dict[str, Any]:
    return {
        "scenario": world.scenario.name,
        "devices": world.devices,
        "steps": done.steps,
        "rows": done.rows,
        "values": done.values,
        "channels": [channel.name for channel in world.channels],
        "faults": done.faults,
        "anomalies": done.anomalies,
        "bytes": done.bytes,
    }


def _in_words(world: World, done: Recorded, folder: Path, took_s: float) -> str:
    rate, interval_s = done.values / took_s / 1e6, world.grid.interval_s
    lines = [
        f"{folder}: {world.scenario.name}, {world.devices} devices, {done.steps:,} steps of {interval_s:g} s",
        f"  {done.rows:,} rows, {done.values:,} values in {took_s:.1f} s ({rate:.1f} M/s), {done.bytes / 1e6:.1f} MB",
        f"  {done.faults:,} faults of sensors and devices, {done.anomalies:,} anomalies of the process",
    ]
    return "\n".join(lines)
