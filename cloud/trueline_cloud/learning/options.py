"""What `trueline-cloud train` may be told. Imports nothing heavy: every other command passes through here."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse

__all__ = ["HELP", "add_options", "parse_duration_s", "parse_numbers", "parse_rate"]

_UNITS_S: Final = {"minute": 60.0, "hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_629_746.0}
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_RATE: Final = re.compile(rf"(\d+(?:\.\d+)?)/({'|'.join(_UNITS_S)})")

HELP: Final = """Rows flagged suspect, failed or missing do not train, nor do labelled ones. The first
70 % of the time train, 15 % say when to stop, 15 % give thresholds. With --model auto
statistical detectors, networks and ensembles within the budget are compared. With
--target or --life, one that predicts.

Writes NAME-VERSION.tlm, signed with the cloud's key, and NAME-VERSION.html, the report.

examples:
  trueline-cloud train --device pump-7 --stream valve --from 2026-03-01 --to 2026-04-01 --name valve
  trueline-cloud train --data recordings/ --labels anomaly --model autoencoder-conv --name pump --alarms 1/day
  trueline-cloud train --data recordings/ --model pca --name pump --alarms 1/day
  trueline-cloud train --data recordings/ --network pump.onnx --onnx2tf onnx/bin/onnx2tf --name pump
  trueline-cloud train --data engines/ --life rows --most 125 --rows 30 --unit 1 --name life
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
    made.add_argument(
        "--model", default="auto", metavar="NAME", help="auto, pca or another detector, or a network (auto)"
    )
    made.add_argument(
        "--network", type=Path, metavar="FILE", help="a .tflite or .onnx made elsewhere, instead of --model"
    )
    made.add_argument("--centre", metavar="A,B", help="what that network takes off each channel (means of the data)")
    made.add_argument("--scale", metavar="A,B", help="and divides it by then (standard deviations of the data)")
    made.add_argument("--onnx2tf", type=Path, metavar="PROGRAM", help="the converter of .onnx (found on PATH)")
    made.add_argument("--rows", type=int, metavar="N", help="of a window; what the network likes if not given")
    made.add_argument("--alarms", metavar="N/UNIT", help="false alarms that may come: 1/week (that), 2/day, 1/hour")
    made.add_argument(
        "--separation-s", type=float, default=60.0, metavar="S", help="alarms nearer than that are one (60)"
    )
    made.add_argument("--budget-us", type=float, default=30.0, metavar="U", help="of a row or a window, for auto (30)")
    made.add_argument("--budget-kb", type=float, default=64.0, metavar="K", help="of the model, for auto (64)")
    made.add_argument("--trials", type=int, default=12, metavar="N", help="networks auto tries; 0 for none (12)")
    made.add_argument("--epochs", type=int, default=60, metavar="N", help="rounds over the data, at most (60)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="same data, same seed, same model (0)")
    told = command.add_argument_group("to predict something, instead of what is strange (docs/prediction.md)")
    told.add_argument("--target", metavar="COLUMN", help="predict this channel: at each row, or with --ahead later")
    told.add_argument("--ahead", metavar="1d", help="its mean over so much time from the row on: 30m, 6h, 1d")
    told.add_argument("--life", choices=("rows", "h", "d"), help="predict what is left until each recording's end")
    told.add_argument("--most", type=float, metavar="X", help='more than this is "or more", for --life (125 flights)')
    told.add_argument("--unit", metavar="UCUM", help="of the target; of the stored channel if not given")
    told.add_argument("--step", metavar="1h", help="predict from means over so much time; row by row if not given")
    told.add_argument("--change", metavar="A,B", help="channels of which only the change within the window counts")
    told.add_argument("--ratio", metavar="A,B", help="likewise, in parts of the channel")
    told.add_argument("--share", metavar="A,B", help="in parts of the channel's mean over the window; it may be 0")
    told.add_argument("--per", metavar="CHANNEL", help="predict in parts of this channel's mean over the window")
    made.add_argument("--no-report", action="store_true", help="the package alone")
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


def parse_numbers(text: str | None, option: str) -> list[float]:
    """Numbers of a text as "1.5,20"; none where there is no text.

    Raises:
        ConfigError: one is no finite number.
    """
    try:
        numbers = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{option} {text!r}: numbers with commas between, one for each channel")
    return numbers


def parse_duration_s(text: str, option: str) -> float:
    """Seconds of a text as "1d".

    Raises:
        ConfigError: it is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or float(match[1]) <= 0.0:
        raise ConfigError(f"{option} {text!r} is no duration: 90s, 30m, 6h or 1d is")
    return float(match[1]) * _SECONDS[match[2]]
