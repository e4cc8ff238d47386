"""trueline-sim: a whole site on one machine, and fleets of virtual devices.

trueline-sim demo                                    look at it; Ctrl-C stops everything
trueline-sim demo --headless --seconds 20 --json     the same for a script: the last line is the verdict
trueline-sim fleet greenhouse --devices 1000 --broker 127.0.0.1:1883 --cloud-state state/cloud
trueline-sim scenarios                               what can be simulated, a sentence each
trueline-sim record greenhouse --devices 100 --hours 24 --seed 1 --out recording
trueline-sim compare cold_chain --sensors DS18B20,SHT31 --measurand air_temperature --wanted-u 0.2
trueline-sim plot recording --out pictures
trueline-sim score --truth recording --readings recording/readings.parquet --html report.html
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from trueline_sim.arguments import count
from trueline_sim.compare_command import add_compare
from trueline_sim.fleet_command import add_fleet
from trueline_sim.plot import add_plot
from trueline_sim.record_command import add_record, add_scenarios
from trueline_sim.score.commands import add_score

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_NEEDED: Final = ("apsw", "paho", "aiocoap", "fastapi", "uvicorn", "pyarrow", "amqtt", "scipy")
_HEADLESS_S: Final = 20.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trueline-sim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="broker, cloud with its page, and a few real agents on this machine"))
    add_fleet(commands.add_parser("fleet", help="thousands of virtual devices against a broker and a cloud"))
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
        "climbs, and drains when it is back. A model for each of the first three pumps is trained beforehand; faults "
        "of sensors and anomalies of the process are injected there, and the page marks which is which. "
        "At the end every row is exported and counted. "
        "Exit code 0: all that was spooled is stored or accounted for, nothing twice. 1: not so. 2: it did not run."
    )
    parser.add_argument("--devices", type=count, default=3, metavar="N", help="agents (3)")
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


def _positive(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: above 0")
    return number


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
