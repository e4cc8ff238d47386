"""What `trueline-cloud train` may be told. Imports nothing heavy: every other command passes through here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse

__all__ = ["HELP", "add_options", "parse_rate"]

_UNITS_S: Final = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_629_746.0}
_RATE: Final = re.compile(rf"(\d+(?:\.\d+)?)/({'|'.join(_UNITS_S)})")

HELP: Final = """Rows flagged suspect, failed or missing do not train, nor do labelled ones. The first
70 % of the time train, 15 % say when to stop, 15 % give thresholds. With --model auto a
search tries networks within the budget.

Writes NAME-VERSION.tlm, signed with the cloud's key, and NAME-VERSION.html, the report.

examples:
  trueline-cloud train --device pump-7 --stream valve --from 2026-03-01 --to 2026-04-01 --name valve
  trueline-cloud train --data recordings/ --labels anomaly --model autoencoder-conv --name pump --alarms 1/day
"""


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of `train`, but for --config and --state."""
    data = command.add_argument_group("what to learn from")
    data.add_argument("--device", metavar="D", help="a device of the store, with --stream")
    data.add_argument("--stream", metavar="S", help="its stream")
    data.add_argument("--from", dest="start", metavar="T", help="first time; the oldest if not given")
    data.add_argument("--to", dest="end", metavar="T", help="the first time left out; none if not given")
    data.add_argument("--data", type=Path, metavar="PATH", help="a CSV or Parquet file, or a folder of them, instead")
    data.add_argument("--channels", metavar="A,B", help="channels to learn from; all of them if not given")
    data.add_argument("--labels", metavar="COLUMN", help="column that is not 0 where a row is anomalous")
    data.add_argument("--interval-s", type=float, default=1.0, metavar="S", help="between rows of files without times")
    made = command.add_argument_group("what to make")
    made.add_argument("--name", required=True, metavar="NAME", help="of the model; versions are counted")
    made.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="where to put it (models)")
    made.add_argument("--model", default="auto", metavar="NAME", help="a network of the zoo, or auto (auto)")
    made.add_argument("--rows", type=int, metavar="N", help="of a window; what the network likes if not given")
    made.add_argument("--alarms", metavar="N/UNIT", help="false alarms that may come: 1/week (that), 2/day, 1/hour")
    made.add_argument("--budget-us", type=float, default=30.0, metavar="U", help="of a window, for auto (30)")
    made.add_argument("--budget-kb", type=float, default=64.0, metavar="K", help="of the network, for auto (64)")
    made.add_argument("--trials", type=int, default=12, metavar="N", help="networks auto tries (12)")
    made.add_argument("--epochs", type=int, default=60, metavar="N", help="rounds over the data, at most (60)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="same data, same seed, same model (0)")
    made.add_argument("--json", action="store_true", help="a summary as one JSON object on stdout")


def parse_rate(text: str) -> tuple[float, float]:
    """Events and seconds of a text as "2/day".

    Raises:
        ConfigError: it is no rate.
    """
    match = _RATE.fullmatch(text)
    if match is None or float(match[1]) <= 0.0:
        raise ConfigError(f"--alarms {text!r} is no rate: 1/week, 2/day or 0.5/hour is ({', '.join(_UNITS_S)})")
    return float(match[1]), _UNITS_S[match[2]]
