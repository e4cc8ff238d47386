"""`trueline-sim compare`: arguments, a table, a verdict.

Refuses to know how parts are compared: `compare` does.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from trueline_sim.compare import Choice, Wish
    from trueline_sim.sensors.model import SensorModel
    from trueline_sim.truth.scenario import Scenario

__all__ = ["add_compare"]


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`."""
    parser.description = (
        "Tells which part, how many beside each other, and how often read, meet a wanted standard uncertainty of a "
        "window's mean. Exit code 0: something meets it, or nothing was wanted. 1: nothing does. 2: it cannot be told."
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="as `trueline-sim scenarios` lists them")
    parser.add_argument("--sensors", required=True, metavar="A,B,C", help="parts of the catalogue; `all`: all that fit")
    parser.add_argument("--measurand", metavar="M", help="which (the first that all of them measure)")
    parser.add_argument("--wanted-u", type=float, metavar="U", help="standard uncertainty, in the measurand's unit")
    parser.add_argument("--window-s", type=float, metavar="S", help="a value is wanted every S s (four intervals)")
    parser.add_argument("--hours", type=float, default=6.0, metavar="H", help="how long is simulated (6)")
    parser.add_argument("--devices", type=int, default=200, metavar="N", help="places, each with its own sensors (200)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of everything (1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from trueline_sim.compare import Wish, compare, verdict  # noqa: PLC0415 - after the extras were looked for
    from trueline_sim.truth import SCENARIOS  # noqa: PLC0415 - as above

    scenario = SCENARIOS.get(arguments.scenario)
    if scenario is None:
        raise ConfigError(f"no scenario {arguments.scenario!r}; there are {', '.join(SCENARIOS)}")
    measurand, models = _asked(scenario, arguments.sensors.split(","), arguments.measurand)
    unit = models[0].unit
    wish = Wish(
        measurand=measurand,
        u=arguments.wanted_u,
        window_s=arguments.window_s or 4 * scenario.interval_s,
        hours=arguments.hours,
        devices=arguments.devices,
        seed=arguments.seed,
    )
    if min(wish.hours, wish.window_s, wish.devices) <= 0:
        raise ConfigError("--hours, --window-s and --devices have to be above zero")
    choices = compare(scenario, models, wish)
    best, told = verdict(choices, wish, unit)
    if arguments.json:
        document: dict[str, Any] = {"scenario": scenario.name, "unit": unit, "wish": asdict(wish), "verdict": told}
        document |= {"best": asdict(best) if best else None, "choices": [asdict(choice) for choice in choices]}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        sys.stdout.write(f"{scenario.name}, {measurand} [{unit}], mean over {wish.window_s:g} s, {wish.hours:g} h, ")
        sys.stdout.write(f"{wish.devices} places, seed {wish.seed}\n\n{_table(choices, wish)}\n\n{told}\n")
    return 1 if best is None else 0


def _asked(scenario: Scenario, parts: list[str], measurand: str | None) -> tuple[str, list[SensorModel]]:
    """The measurand and the models that measure it.

    Raises:
        ConfigError: no measurand fits all of them.
    """
    from trueline_sim.sensors.catalogue import find  # noqa: PLC0415 - after the extras were looked for

    complaint = f"{scenario.name} has no {measurand!r}"
    for candidate in scenario.measurands:
        if measurand not in {None, candidate.name}:
            continue
        try:
            if parts == ["all"]:
                return candidate.name, _all_in(candidate.unit)
            return candidate.name, [find(part.strip(), candidate.unit) for part in parts]
        except ValueError as error:
            complaint = str(error)
    raise ConfigError(complaint)


def _all_in(unit: str) -> list[SensorModel]:
    from trueline_sim.sensors.catalogue import PARTS, find  # noqa: PLC0415 - after the extras were looked for

    found = []
    for part in PARTS:
        try:
            found.append(find(part.name, unit))
        except ValueError:
            continue
    if not found:
        raise ValueError(f"the catalogue has nothing that measures {unit}")
    return found


def _table(choices: Sequence[Choice], wish: Wish) -> str:
    heads = ("sensor", "n", "every s", "RMSE", "at most", "95 % of places", "datasheet u", "EUR", "J/day", "")
    rows: list[tuple[str, ...]] = [heads]
    for choice in choices:
        meets = "" if wish.u is None else "meets" if choice.rmse_upper <= wish.u else "-"
        errors = [f"{figure:.3g}" for figure in (choice.rmse, choice.rmse_upper, choice.worst_place, choice.stated_u)]
        costs = [f"{choice.price_eur:g}", f"{choice.energy_J_day:.3g}", meets]
        rows.append((choice.sensor, str(choice.parallel), f"{choice.interval_s:g}", *errors, *costs))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(f"{cell:{'<' if at == 0 else '>'}{widths[at]}}" for at, cell in enumerate(row)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
