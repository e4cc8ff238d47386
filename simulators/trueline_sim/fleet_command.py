"""`trueline-sim fleet`: arguments and words.

Refuses to know how a fleet works: `fleet`, `outages` and `energy` do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trueline_sim.arguments import above_zero, count
from trueline_sim.energy import RADIOS, Policy
from trueline_sim.outages import BadWeather, Outage, parse_outage, parse_range
from trueline_sim.proxy import Weather
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_sim.fleet import FleetSettings, Group

__all__ = ["add_fleet"]

_ENROLLED_AFTER_S: Final = 2.5
"""A running cloud notices new keys within two seconds."""
_GARBAGE: Final = (20_000, 20, 20)


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Arguments of `fleet`."""
    parser.description = (
        "Virtual devices, each with its own key, epochs and sender, but with spools in memory and, unless asked "
        "otherwise, a few shared MQTT connections. They measure a SCENARIO in real time: raw readings, faults and all; "
        "without one, random walks. Their keys are enrolled in the cloud's state folder. "
        "Exit code 0: everything was acknowledged. 1: not so. 2: it did not run."
    )
    parser.add_argument("scenario", nargs="?", default="", metavar="SCENARIO", help="as `scenarios` lists them")
    parser.add_argument("--devices", type=count, default=100, metavar="N", help="how many (100)")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="SCENARIO:N",
        help="so many of this kind, instead of SCENARIO and --devices; several groups make the fleet",
    )
    parser.add_argument("--rate-hz", type=above_zero, default=1.0, metavar="F", help="frames a second of each (1)")
    parser.add_argument("--rows", type=count, default=10, metavar="R", help="rows in a frame (10)")
    parser.add_argument("--channels", type=count, default=4, metavar="K", help="channels of a random walk (4)")
    parser.add_argument("--seconds", type=above_zero, default=60.0, metavar="S", help="how long they measure (60)")
    parser.add_argument("--ramp-s", type=_zero_or_more, default=0.0, metavar="S", help="switched on within this (0)")
    parser.add_argument(
        "--drain-s", type=above_zero, default=60.0, metavar="S", help="wait so long for the last of it (60)"
    )
    parser.add_argument(
        "--distinct",
        type=count,
        default=1000,
        metavar="N",
        help="devices of a group with readings of their own; the others repeat these (1000)",
    )
    parser.add_argument("--faults", type=_zero_or_more, default=10.0, metavar="F", help="in 10,000 rows (10; 0: none)")
    parser.add_argument("--no-anomalies", action="store_true", help="nothing goes wrong with the process itself")
    parser.add_argument("--broker", type=_address, metavar="HOST:PORT", help="where they publish")
    parser.add_argument("--cloud-state", type=Path, metavar="DIR", help="the cloud's state folder: keys are enrolled")
    parser.add_argument("--cloud-key", metavar="KEY", help="the cloud's public key (else: asked of trueline-cloud)")
    parser.add_argument("--seed", type=int, default=1, help="of keys, epochs, values and outages (1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    _add_links(parser)
    battery = parser.add_argument_group("battery and radio budget, without --broker nothing but that")
    battery.add_argument("--radio", choices=list(RADIOS), help="print days of battery for policies of sampling")
    battery.add_argument("--battery-mah", type=above_zero, default=2600.0, metavar="MAH", help="capacity (2600)")
    parser.set_defaults(run=_fleet)


def _add_links(parser: argparse.ArgumentParser) -> None:
    links = parser.add_argument_group("links, and what is wrong with them")
    links.add_argument("--connections", type=count, default=4, metavar="C", help="MQTT connections they share (4)")
    links.add_argument("--own-connections", action="store_true", help="one each, up to a few hundred devices")
    links.add_argument(
        "--outage",
        type=_parsed(parse_outage),
        action="append",
        default=[],
        metavar="START:SECONDS",
        help="all connections are reset, and nobody answers so long",
    )
    links.add_argument(
        "--half-open",
        type=_parsed(parse_outage),
        action="append",
        default=[],
        metavar="START:SECONDS",
        help="connections stay, and nothing goes through so long",
    )
    links.add_argument(
        "--outages-per-hour", type=_zero_or_more, default=0.0, metavar="R", help="of each device alone, at random (0)"
    )
    links.add_argument(
        "--outage-seconds",
        type=_parsed(parse_range),
        default=(5.0, 60.0),
        metavar="LOW:HIGH",
        help="how long these last (5:60)",
    )
    links.add_argument("--latency-ms", type=_zero_or_more, default=0.0, metavar="MS", help="each way (0)")
    links.add_argument("--jitter-ms", type=_zero_or_more, default=0.0, metavar="MS", help="on top, at most (0)")
    links.add_argument(
        "--loss", type=_zero_or_more, default=0.0, metavar="P", help="probability that a chunk cuts its connection (0)"
    )


def _parsed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _zero_or_more(text: str) -> float:
    number = float(text)
    if not 0.0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: 0 or more")
    return number


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: HOST:PORT is wanted, such as 127.0.0.1:1883")
    return host or "127.0.0.1", int(port)


def _groups(arguments: argparse.Namespace) -> tuple[Group, ...]:
    from trueline_sim.fleet import Group  # noqa: PLC0415 - after the extras were looked for

    wanted = list(arguments.group)
    if arguments.scenario:
        if wanted:
            _refuse("either SCENARIO and --devices, or --group: not both")
        wanted = [f"{arguments.scenario}:{arguments.devices}"]
    if not wanted:
        return ()
    from trueline_sim.truth import SCENARIOS  # noqa: PLC0415 - scipy takes a second, and random walks do without

    groups: dict[str, int] = {}
    for text in wanted:
        name, colon, count = text.partition(":")
        if not colon or not count.isdecimal() or not int(count):
            _refuse(f"--group {text}: SCENARIO:N is wanted, such as greenhouse:600")
        if name not in SCENARIOS:
            _refuse(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}")
        groups[name] = groups.get(name, 0) + int(count)
    return tuple(Group(name=name, devices=count) for name, count in groups.items())


def _refuse(what: str) -> NoReturn:
    raise ConfigError(what)


def _settings(arguments: argparse.Namespace) -> FleetSettings:
    from trueline_sim.fleet import FleetSettings  # noqa: PLC0415 - after the extras were looked for

    groups = _groups(arguments)
    try:
        return FleetSettings(
            devices=arguments.devices,
            groups=groups,
            rate_hz=arguments.rate_hz,
            rows=arguments.rows,
            channels=arguments.channels,
            seconds=arguments.seconds,
            connections=0 if arguments.own_connections else arguments.connections,
            drain_s=arguments.drain_s,
            ramp_s=arguments.ramp_s,
            distinct=arguments.distinct,
            faults=arguments.faults,
            anomalies=not arguments.no_anomalies,
            outages_per_hour=arguments.outages_per_hour,
            outage_s=arguments.outage_seconds,
            seed=arguments.seed,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _weather(arguments: argparse.Namespace) -> BadWeather | None:
    outages: list[Outage] = arguments.outage
    weather = Weather(
        latency_s=arguments.latency_ms / 1e3, jitter_s=arguments.jitter_ms / 1e3, loss=min(arguments.loss, 1.0)
    )
    bad = BadWeather(weather, outages=outages, silences=arguments.half_open, seed=arguments.seed)
    return bad if bad.matters else None


def _print_budget(arguments: argparse.Namespace) -> None:
    from trueline_sim.energy_table import table  # noqa: PLC0415 - after the extras were looked for
    from trueline_sim.truth import SCENARIOS  # noqa: PLC0415 - as above

    groups = _groups(arguments)
    if not groups:
        _refuse("--radio: name a SCENARIO, whose sensors and frames are costed")
    asked = Policy(interval_s=1.0 / (arguments.rate_hz * arguments.rows), rows=arguments.rows)
    for group in groups:
        for line in table(
            SCENARIOS[group.name],
            RADIOS[arguments.radio],
            asked,
            battery_mah=arguments.battery_mah,
            seed=arguments.seed,
        ):
            sys.stdout.write(line + "\n")


def _fleet(arguments: argparse.Namespace) -> int:
    if arguments.radio:
        _print_budget(arguments)
        if arguments.broker is None:
            return 0
    if arguments.broker is None or arguments.cloud_state is None:
        _refuse("--broker and --cloud-state are wanted: where devices publish, and where their keys are enrolled")
    return _live(arguments)


def _live(arguments: argparse.Namespace) -> int:
    from trueline_sim.children import run_to_end  # noqa: PLC0415 - after the extras were looked for
    from trueline_sim.fleet import Fleet, enroll  # noqa: PLC0415 - as above
    from trueline_wire.keys import KeyRing, parse_public_key  # noqa: PLC0415 - as above

    settings, weather = _settings(arguments), _weather(arguments)
    state: Path = arguments.cloud_state
    ask = [sys.executable, "-m", "trueline_cloud", "key", "--state", str(state.resolve())]
    text = arguments.cloud_key or run_to_end(ask, folder=Path.cwd()).strip().splitlines()[-1]
    ring = KeyRing()
    ring.trust("cloud", parse_public_key(text))
    fleet = Fleet(settings, cloud=ring, weather=weather)
    enroll(fleet.devices, state)
    time.sleep(_ENROLLED_AFTER_S)
    what = ", ".join(f"{group.devices} {group.name or 'random walks'}" for group in settings.kinds)
    shared = f"multiplexed over {settings.connections} connections" if settings.connections else "a connection each"
    sys.stderr.write(f"{settings.count} devices ({what}), {shared}, {settings.seconds:g} s\n")
    gc.collect()
    gc.freeze()  # thousands of devices stay, and need not be looked at again and again
    gc.set_threshold(*_GARBAGE)
    report = asyncio.run(fleet.run(*arguments.broker))
    if arguments.json:
        sys.stdout.write(json.dumps(report.as_dict()) + "\n")
    else:
        for name, value in report.as_dict().items():
            sys.stdout.write(f"{name:22} {value}\n")
    return 0 if report.drained else 1
