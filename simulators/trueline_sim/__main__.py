"""trueline-sim: a whole site on one machine, and fleets of virtual devices.

trueline-sim demo                                    look at it; Ctrl-C stops everything
trueline-sim demo --headless --seconds 20 --json     the same for a script: the last line is the verdict
trueline-sim fleet --devices 1000 --broker 127.0.0.1:1883 --cloud-state state/cloud
trueline-sim scenarios                               what can be simulated, a sentence each
trueline-sim record greenhouse --devices 100 --hours 24 --seed 1 --out recording
trueline-sim compare cold_chain --sensors DS18B20,SHT31 --measurand air_temperature --wanted-u 0.2
trueline-sim plot recording --out pictures
trueline-sim score --truth recording --readings recording/readings.parquet --html report.html
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from trueline_sim.compare_command import add_compare
from trueline_sim.plot import add_plot
from trueline_sim.record_command import add_record, add_scenarios
from trueline_sim.score.commands import add_score

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_NEEDED: Final = ("apsw", "paho", "aiocoap", "fastapi", "uvicorn", "pyarrow", "amqtt", "scipy")
_HEADLESS_S: Final = 20.0
_ENROLLED_AFTER_S: Final = 2.5
"""A running cloud notices new keys within two seconds."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trueline-sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="broker, cloud with its page, and a few real agents on this machine"))
    _add_fleet(commands.add_parser("fleet", help="thousands of virtual devices against a broker and a cloud"))
    add_scenarios(commands.add_parser("scenarios", help="what can be simulated, a sentence each"))
    add_record(
        commands.add_parser("record", help="raw readings, truth and fault labels of a simulated fleet, as Parquet")
    )
    add_compare(commands.add_parser("compare", help="which part, how many and how often, meet a wanted uncertainty"))
    add_plot(commands.add_parser("plot", help="pictures of a recording, a real channel beside it"))
    add_score(commands.add_parser("score", help="readings against the truth of a recording"))
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Starts a broker, the cloud with its page, and a few real agents whose sensors are simulated: with values out "
        "of range, cells left empty and a sensor that sticks. Every 40 s the broker is stopped for 8 s: pending "
        "climbs, and drains when it is back. At the end every row is exported and counted. "
        "Exit code 0: all that was spooled is stored or accounted for, nothing twice. 1: not so. 2: it did not run."
    )
    parser.add_argument("--devices", type=_count, default=3, metavar="N", help="agents (3)")
    parser.add_argument(
        "--seconds",
        type=_positive,
        metavar="S",
        help=f"how long sensors measure (headless: {_HEADLESS_S:g}; else: Ctrl-C)",
    )
    parser.add_argument("--headless", action="store_true", help="stop by itself, drain, and print the verdict")
    parser.add_argument("--json", action="store_true", help="the last line on stdout is the verdict as JSON")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep everything here (else: temporary)")
    parser.add_argument(
        "--broker",
        choices=["auto", "mosquitto", "amqtt"],
        default="auto",
        help="auto: mosquitto where installed, else amqtt (pure Python, for the demo only)",
    )
    parser.add_argument("--link", choices=["mqtt", "coap"], default="mqtt", help="what the agents speak (mqtt)")
    parser.add_argument("--no-outage", action="store_true", help="do not stop the broker now and then")
    parser.add_argument("--chaos", action="store_true", help="kill -9 an agent, the cloud and the broker on the way")
    parser.add_argument("--port", type=int, metavar="PORT", help="of the page (any free one)")
    parser.add_argument("--seed", type=int, default=1, help="of the sensors and of the moments of --chaos (1)")
    parser.set_defaults(run=_demo)


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Virtual devices, each with its own key, epochs and sender, but with spools in memory and a few shared MQTT "
        "connections. Their keys are enrolled in the cloud's state folder. Exit code 0: everything was acknowledged."
    )
    parser.add_argument("--devices", type=_count, default=100, metavar="N", help="how many (100)")
    parser.add_argument("--rate-hz", type=_positive, default=1.0, metavar="F", help="frames a second of each (1)")
    parser.add_argument("--rows", type=_count, default=10, metavar="R", help="rows in a frame (10)")
    parser.add_argument("--channels", type=_count, default=4, metavar="K", help="channels in a row (4)")
    parser.add_argument("--seconds", type=_positive, default=60.0, metavar="S", help="how long they measure (60)")
    parser.add_argument(
        "--drain-s", type=_positive, default=60.0, metavar="S", help="wait so long for the last of it (60)"
    )
    parser.add_argument("--connections", type=_count, default=4, metavar="C", help="MQTT connections they share (4)")
    parser.add_argument("--broker", type=_address, required=True, metavar="HOST:PORT", help="where they publish")
    parser.add_argument(
        "--cloud-state", type=Path, required=True, metavar="DIR", help="the cloud's state folder: keys are enrolled"
    )
    parser.add_argument("--cloud-key", metavar="KEY", help="the cloud's public key (else: asked of trueline-cloud)")
    parser.add_argument("--seed", type=int, default=1, help="of keys, epochs and values (1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_fleet)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: above 0")
    return number


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: HOST:PORT is wanted, such as 127.0.0.1:1883")
    return host or "127.0.0.1", int(port)


def _demo(arguments: argparse.Namespace) -> int:
    from trueline_sim.demo import Demo, DemoSettings  # noqa: PLC0415 - after the extras were looked for

    seconds = arguments.seconds or (_HEADLESS_S if arguments.headless else None)
    settings = DemoSettings(
        devices=arguments.devices,
        seconds=seconds,
        folder=arguments.folder,
        broker=arguments.broker,
        link=arguments.link,
        outages=not arguments.no_outage,
        chaos=arguments.chaos,
        seed=arguments.seed,
        http_port=arguments.port,
    )
    verdict = Demo(settings, sys.stderr if arguments.json else sys.stdout).run()
    print(json.dumps(verdict.as_dict()) if arguments.json else verdict.in_words())
    return 0 if verdict.ok else 1


def _fleet(arguments: argparse.Namespace) -> int:
    from trueline_sim.children import run_to_end  # noqa: PLC0415 - as above
    from trueline_sim.fleet import Fleet, FleetSettings, enroll  # noqa: PLC0415
    from trueline_wire.keys import KeyRing, parse_public_key  # noqa: PLC0415

    state: Path = arguments.cloud_state
    ask = [sys.executable, "-m", "trueline_cloud", "key", "--state", str(state.resolve())]
    text = arguments.cloud_key or run_to_end(ask, folder=Path.cwd()).strip().splitlines()[-1]
    ring = KeyRing()
    ring.trust("cloud", parse_public_key(text))
    settings = FleetSettings(
        devices=arguments.devices,
        rate_hz=arguments.rate_hz,
        rows=arguments.rows,
        channels=arguments.channels,
        seconds=arguments.seconds,
        connections=arguments.connections,
        drain_s=arguments.drain_s,
        seed=arguments.seed,
    )
    fleet = Fleet(settings, cloud=ring)
    enroll(fleet.devices, state)
    time.sleep(_ENROLLED_AFTER_S)
    print(f"{settings.devices} devices on {settings.connections} connections, {settings.seconds:g} s", file=sys.stderr)
    report = asyncio.run(fleet.run(*arguments.broker))
    if arguments.json:
        print(json.dumps(report.as_dict()))
    else:
        for name, value in report.as_dict().items():
            print(f"{name:22} {value}")
    return 0 if report.drained else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        print(f'trueline-sim: {", ".join(missing)} not installed: pip install "trueline[sim]"', file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    from trueline_sim.children import ChildError  # noqa: PLC0415 - after the extras were looked for
    from trueline_wire.errors import ConfigError  # noqa: PLC0415 - as above

    try:
        return int(arguments.run(arguments))
    except (ChildError, ConfigError, TimeoutError) as error:
        print(f"\ntrueline-sim: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ntrueline-sim: interrupted; everything it started is stopped", file=sys.stderr)
        return 130


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
