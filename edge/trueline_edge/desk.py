"""The command lines of `calibrate` and `consistency`: words to requests, outcomes to words.

Exit codes: 0 all is well; 1 a channel was refused, or a sensor is not consistent; 2 nothing done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trueline_edge.csv_table import TableConfig, parse_columns, parse_options
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["add_desk_commands"]

_CSV = "as in a replay source: time_column, time_format, zone, separator, decimal, missing, skip_lines, encoding"


def add_desk_commands(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    """Add `calibrate` and `consistency` to the command line.

    Args:
        command: makes the parser of a command from its name, one line and an epilogue.
    """
    calibrate = command("calibrate", "fit a calibration to a reference, and say how good it is", _CALIBRATE)
    _add_calibrate(calibrate)
    calibrate.set_defaults(run=_run_calibrate)
    consistency = command("consistency", "judge sensors that stood side by side", _CONSISTENCY)
    _add_consistency(consistency)
    consistency.set_defaults(run=_run_consistency)


_CALIBRATE = """
The function is chosen by what it says out of time, fitted to the first part of the time and checked on the rest. A
channel that does not follow its reference is refused, with the reasons, and nothing is written. Readings are averaged
over the intervals of the reference (its time is where each begins).

example:
  $ trueline-edge calibrate --raw unit1.csv --reference station.csv --channel o3="O3 (ppb)" --unit "[ppb]" \\
      --with temperature humidity --raw-csv zone=Etc/GMT+5 skip_lines=6 --out o3.toml --report o3.html
Exit code 1: refused. Needs: pip install "trueline[edge,tune]"
"""


_CONSISTENCY = """
The first part of the time says what is normal; the rest is judged by the limits given, and by control charts
(Shewhart, EWMA, CUSUM). Without a reference each sensor is compared with the median of the others.

example:
  $ trueline-edge consistency shelf.csv --sensors t1 t2 t3 t4 --bias 0.5 --report shelf.html
Exit code 1: a sensor is not consistent. Needs: pip install "trueline[edge,tune]"
"""


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    """Say which arguments `calibrate` takes."""
    parser.add_argument("--raw", type=Path, required=True, metavar="R.csv", help="raw readings")
    parser.add_argument("--reference", type=Path, required=True, metavar="F.csv", help="what should have been measured")
    parser.add_argument("--channel", required=True, metavar="NAME[=COLUMN]", help="the raw channel to correct")
    parser.add_argument("--reference-column", default="#2", metavar="COLUMN", help="of the reference (default: #2)")
    parser.add_argument("--with", dest="conditions", nargs="+", default=[], metavar="NAME[=COLUMN]", help=_WITH)
    parser.add_argument("--also", dest="responses", nargs="+", default=[], metavar="NAME[=COLUMN]", help=_ALSO)
    parser.add_argument("--terms", nargs="+", default=[], metavar="TERM", help=_TERMS)
    parser.add_argument("--model", default="auto", help=_MODEL)
    parser.add_argument("--datasheet", type=Path, metavar="SENSOR.toml", help=_DATASHEET)
    parser.add_argument("--reference-u", type=float, default=0.0, help="its standard uncertainty that never averages")
    parser.add_argument("--reference-noise", type=float, default=0.0, help="its standard deviation, value to value")
    parser.add_argument("--raw-csv", nargs="+", default=[], metavar="KEY=VALUE", help=_CSV)
    parser.add_argument("--reference-csv", nargs="+", default=[], metavar="KEY=VALUE", help="as --raw-csv")
    parser.add_argument("--out", type=Path, required=True, metavar="CALIBRATION.toml", help="the file to write")
    parser.add_argument("--report", type=Path, metavar="REPORT.html", help="a report with pictures")
    parser.add_argument("--id", default="", help="of the calibration (default: channel and date)")
    parser.add_argument("--unit", default="1", help="UCUM code of the reference")
    parser.add_argument("--unit-raw", default="", help="UCUM code of the raw channel, where it is another")
    parser.add_argument("--sensor", default="", help="id of the sensor: the file then fits no other")
    parser.add_argument("--reference-name", default="", help="what the reference is, for the reader")
    parser.add_argument("--fit-share", type=float, default=0.7, help="part of the time to fit to; the rest checks")
    parser.add_argument("--offset-max-s", type=float, help=_OFFSET)
    parser.add_argument("--lag-max-s", type=float, default=0.0, help=_LAG)
    parser.add_argument("--valid-days", type=float, default=365.0, help="validity, in days (default: 365)")
    parser.add_argument("--json", action="store_true", help="print one object")


_WITH = "channels that disturb the reading, such as temperature and humidity"
_TERMS = "the function's terms, where you know them, such as x x^2 x*temperature (default: chosen out of time)"
_ALSO = "further channels that respond to the same thing"
_OFFSET = "look for an unknown offset between the clocks, so many seconds far (default: two intervals; 0: trust them)"
_LAG = "look for a first-order lag of the sensor, up to this time constant in seconds (default: 0, it has none)"
_MODEL = "offset, affine, polynomial, table, spline, multi_input or datasheet (default: auto, compared out of time)"
_DATASHEET = "the sensor's tolerances: what the pairs cannot tell, they do (docs/calibration.md)"


def _run_calibrate(options: argparse.Namespace) -> int:
    """`trueline-edge calibrate`."""
    from trueline_edge.calibrate import CalibrateRequest, calibrate  # noqa: PLC0415 - needs the extra

    own, conditions, responses = (
        parse_columns(texts) for texts in ([options.channel], options.conditions, options.responses)
    )
    columns = parse_columns([f"{n}={c}" for n, c in (*own.items(), *responses.items(), *conditions.items())])
    reference = {"reference": options.reference_column}
    request = CalibrateRequest(
        raw=TableConfig(path=options.raw, columns=columns, options=parse_options(options.raw_csv)),
        reference=TableConfig(path=options.reference, columns=reference, options=parse_options(options.reference_csv)),
        channel=next(iter(own)),
        conditions=tuple(conditions),
        responses=tuple(responses),
        terms=tuple(options.terms),
        model=options.model,
        datasheet=options.datasheet,
        reference_u=options.reference_u,
        reference_noise=options.reference_noise,
        out=options.out,
        report=options.report,
        id=options.id,
        unit=options.unit,
        unit_raw=options.unit_raw,
        sensor=options.sensor,
        reference_name=options.reference_name,
        fit_share=options.fit_share,
        offset_max_s=options.offset_max_s,
        lag_max_s=options.lag_max_s,
        valid_days=options.valid_days,
    )
    outcome = calibrate(request)
    if options.json:
        print(msgspec.json.encode(outcome).decode())
    else:
        _say(request.channel, msgspec.to_builtins(outcome))
    return 1 if outcome.refused else 0


def _say(channel: str, outcome: dict[str, Any]) -> None:
    print(f"{channel}: {outcome['pairs']:,} pairs, each of {outcome['readings_per_pair']:.3g} readings")
    if outcome["clock_certain"]:
        print(f"  the raw clock is {outcome['clock_offset_s']:.6g} s ahead of the reference's: taken off")
    if outcome["time_constant_s"]:
        print(f"  it lags by {outcome['time_constant_s']:.4g} s, u {outcome['u_time_constant_s']:.2g} s: undone first")
    if outcome["refused"]:
        print("  refused:")
        for reason in outcome["refused"]:
            print(f"    {reason}")
        return
    for name, rmse in outcome["out_of_time_rmse"].items():
        print(f"  out of time, {name}: RMSE {rmse:.4g}{', taken' if name == outcome['taken'] else ''}")
    for name in ("fitted", "checked"):
        if score := outcome[name]:
            inside = f"{score['coverage_95']:.1%} of the reference in the 95 % interval"
            print(f"  {name}: {score['pairs']:,} pairs, RMSE {score['rmse']:.4g}, bias {score['bias']:.3g}, {inside}")
    if outcome["raw_checked"] is not None:
        print(f"  raw, the same pairs as checked: RMSE {outcome['raw_checked']:.4g}")
    print(f"  written: {outcome['out']}")


def _add_consistency(parser: argparse.ArgumentParser) -> None:
    """Say which arguments `consistency` takes."""
    parser.add_argument("table", type=Path, metavar="SENSORS.csv", help="readings of all sensors, a column each")
    parser.add_argument("--sensors", nargs="+", required=True, metavar="NAME[=COLUMN]", help="columns to judge")
    parser.add_argument("--with", dest="conditions", nargs="+", default=[], metavar="NAME[=COLUMN]", help=_READS)
    parser.add_argument("--calibrations", type=Path, nargs="+", default=[], metavar="C.toml", help="of the sensors")
    parser.add_argument("--csv", nargs="+", default=[], metavar="KEY=VALUE", help=_CSV)
    parser.add_argument("--reference", type=Path, metavar="F.csv", help="default: the median of the other sensors")
    parser.add_argument("--reference-column", default="#2", metavar="COLUMN", help="of the reference (default: #2)")
    parser.add_argument("--reference-csv", nargs="+", default=[], metavar="KEY=VALUE", help="as --csv")
    parser.add_argument("--interval-s", type=float, default=3600.0, help="average over so long (default: 3600)")
    parser.add_argument("--baseline-share", type=float, default=0.3, help="of the time, to learn what is normal")
    for name, text in _LIMITS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, help=text)
    parser.add_argument("--show-charts", action="store_true", help="draw control charts, and do not judge by them")
    parser.add_argument("--report", type=Path, metavar="REPORT.html", help="a report with the control charts")
    parser.add_argument("--json", action="store_true", help="print one object")


_READS = "further columns that the calibrations read"
_LIMITS = {
    "bias": "largest mean difference that is asked",
    "spread": "largest standard deviation of the difference",
    "correlation": "smallest correlation",
    "slope_error": "largest deviation of the slope from 1",
    "drift_per_day": "largest drift of the difference in a day",
    "completeness": "smallest share of intervals with a reading (default: 0.9)",
}


def _run_consistency(options: argparse.Namespace) -> int:
    """`trueline-edge consistency`."""
    from trueline_edge.calibration.consistency import Limits  # noqa: PLC0415 - needs the extra
    from trueline_edge.consistency import ConsistencyRequest, check_consistency  # noqa: PLC0415 - as above

    sensors, further = parse_columns(options.sensors), parse_columns(options.conditions)
    if twice := sensors.keys() & further.keys():
        raise ConfigError(f"{min(twice)!r} names two columns")
    given = {name: getattr(options, name) for name in _LIMITS if getattr(options, name) is not None}
    reference = None
    if options.reference:
        columns = {"reference": options.reference_column}
        read = parse_options(options.reference_csv)
        reference = TableConfig(path=options.reference, columns=columns, options=read)
    found = check_consistency(
        ConsistencyRequest(
            table=TableConfig(path=options.table, columns=sensors | further, options=parse_options(options.csv)),
            sensors=tuple(sensors),
            limits=Limits(**given, charts="show" if options.show_charts else "judge"),
            calibrations=tuple(options.calibrations),
            reference=reference,
            interval_s=options.interval_s,
            baseline_share=options.baseline_share,
            report=options.report,
        )
    )
    good = all(metrics.verdict == "consistent" for metrics in found)
    if options.json:
        print(json.dumps({"ok": good, "sensors": msgspec.to_builtins(found)}))
        return 0 if good else 1
    for metrics in found:
        print(f"{metrics.sensor}: {metrics.verdict}")
        print(f"  bias {metrics.bias:.3g}, spread {metrics.spread:.3g}, correlation {metrics.correlation:.3f}")
        for reason in metrics.reasons:
            print(f"  {reason}")
    return 0 if good else 1
