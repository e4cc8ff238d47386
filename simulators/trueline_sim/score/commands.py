"""`trueline-sim score`: arguments, a table, and where the rest goes.

Refuses to know how anything is scored: `scoring` does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_score", "as_table", "with_ledger"]

_LIVE_EVERY_S = 0.3


def add_score(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`."""
    parser.description = (
        "Scores what came out of a pipeline against what was true: RMSE and gain, coverage of the intervals the "
        "uncertainties promise, what was excluded wrongly, how soon faults were found, what was lost. For all "
        "readings, for those flagged good, and for those no label touches (clean). Exit code 0: scored."
    )
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="a recording, or its truth.parquet")
    parser.add_argument(
        "--readings",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="of `record`, `trueline-edge replay --out` or `trueline-cloud export`; Parquet or CSV, several are one",
    )
    parser.add_argument("--device", metavar="D", help="whose readings they are, where the files do not say")
    parser.add_argument(
        "--ledger", type=Path, metavar="FILE", help="of `trueline-cloud ledger --json`: bytes a reading"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--html", type=Path, metavar="OUT", help="a report in one file, with plots")
    parser.set_defaults(run=_score)


def _score(arguments: argparse.Namespace) -> int:
    from trueline_sim.score.join import Recording  # noqa: PLC0415 - after the extras were looked for
    from trueline_sim.score.readings import open_readings  # noqa: PLC0415 - as above
    from trueline_sim.score.scoring import score  # noqa: PLC0415 - as above

    began = time.monotonic()
    recording = Recording(arguments.truth)
    readings = open_readings(arguments.readings, recording.devices, arguments.device)
    progress = _Progress()
    scored = score(recording, readings, progress=progress)
    result = with_ledger(scored.result(), arguments.ledger)
    result["seconds"] = round(time.monotonic() - began, 3)
    if arguments.html:
        from trueline_sim.score.report import write_report  # noqa: PLC0415 - matplotlib is slow to import

        progress("report")
        write_report(scored, result, arguments.html)
    progress.end()
    sys.stdout.write(json.dumps(result) + "\n" if arguments.json else as_table(result) + "\n")
    return 0


def with_ledger(result: dict[str, Any], ledger: Path | None) -> dict[str, Any]:
    """The result, its bytes those of a ledger if there is one.

    Raises:
        ConfigError: it is no ledger.
    """
    if ledger is None:
        return result
    try:
        document = json.loads(ledger.read_text())
        size, values = int(document["bytes"]), int(document["values"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{ledger}: not the output of `trueline-cloud ledger --json`: {error}") from error
    each = size / values if values else None
    return result | {"bytes": {"of": "frames", "bytes": size, "values": values, "a_reading": each}}


class _Progress:
    """A line on stderr that is written over, where somebody looks."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._next_s = 0.0

    def __call__(self, text: str) -> None:
        if self._live and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _LIVE_EVERY_S
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()

    def end(self) -> None:
        """The line is done with."""
        if self._live:
            sys.stderr.write("\r\033[K")


def number(value: float | None, digits: int = 4) -> str:
    """A figure for people; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """A share for people."""
    return "-" if value is None else f"{100 * value:.2f}%" if value < 0.1 else f"{100 * value:.1f}%"  # noqa: PLR2004


HEADS = ("channel", "cells", "n", "RMSE raw", "out", "gain", "50%", "90%", "95%", "width 95%", "CRPS")
ALARM_HEADS = (
    *("channel", "wrongly excl.", "faulty passed", "false alarms/d"),
    *("faults: share", "AP", "VUS-PR", "process: share", "AP", "VUS-PR"),
)
FAULT_HEADS = ("fault", "labels", "detected", "alarmed before", "median delay s", "p90 s", "readings")


def as_table(result: dict[str, Any]) -> str:
    """For people: errors, then exclusions and alarms, then faults, then delivery."""
    rows: list[tuple[str, ...]] = [HEADS]
    rows += [line for name, channel in result["channels"].items() for line in errors(name, channel)]
    alarms: list[tuple[str, ...]] = [ALARM_HEADS]
    alarms += [alarm_line(name, channel) for name, channel in result["channels"].items()]
    kinds: list[tuple[str, ...]] = [FAULT_HEADS]
    kinds += [fault_line(kind, entry) for kind, entry in faults(result).items()]
    told = [f"{result['scenario']}, seed {result['seed']}, {result['devices']} devices, {result['steps']} steps"]
    told += [f"Note: {note}" for note in result["notes"]]
    return "\n".join([*told, "", *_lines(rows), "", *_lines(alarms), "", *_lines(kinds), "", *delivery(result)])


def errors(name: str, channel: dict[str, Any]) -> list[tuple[str, ...]]:
    """Three lines of a channel: all, good, clean."""
    lines = []
    for subset in ("all", "good", "clean"):
        entry = channel[subset]
        if not entry["cells"]:
            lines.append((name, subset, "0", *["-"] * 8))
            continue
        covered = [percent(entry.get("coverage", {}).get(level)) for level in ("50", "90", "95")]
        figures = [number(entry[key]) for key in ("rmse_raw", "rmse_out", "gain")]
        rest = [number(entry.get(key)) for key in ("interval_width_95", "crps")]
        lines.append((f"{name} [{channel['unit']}]", subset, f"{entry['cells']:,}", *figures, *covered, *rest))
    return lines


def alarm_line(name: str, channel: dict[str, Any]) -> tuple[str, ...]:
    """What a channel's alarms and scores are worth."""
    excluded, alarms, ranked = channel["excluded"], channel["alarms"], channel["ranked"]
    shares = (excluded["share_wrongly_excluded"], excluded["share_of_faulty_passed"])
    told = [name, *map(percent, shares), number(alarms["false_a_day"], 3)]
    for what in ("sensor_faults", "process_anomalies"):
        told += [percent(ranked[what]["share"]), *(number(ranked[what][key], 3) for key in ("ap", "vus_pr"))]
    return tuple(told)


def faults(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Kinds over all channels: of sensors, then of rows, then of the process."""
    lines = dict(result["sensor_faults"])
    lines |= {f"(rows) {kind}": entry for kind, entry in result["row_faults"].items()}
    return lines | {f"(process) {kind}": entry for kind, entry in result["process_anomalies"].items()}


def fault_line(kind: str, entry: dict[str, Any]) -> tuple[str, ...]:
    """One kind."""
    found = f"{entry['detected']} ({percent(entry['share_detected'])})"
    delays = [number(entry[key], 3) for key in ("delay_s_median", "delay_s_p90", "delay_readings_median")]
    return (kind, str(entry["labels"]), found, str(entry["already_alarmed"]), *delays)


def delivery(result: dict[str, Any]) -> list[str]:
    """What came, and what it took."""
    rows, size = result["rows"], result["bytes"]
    told = f"Rows: {rows['expected']:,} sampled, {rows['lost_before_report']:,} never reported (drop-outs), "
    lines = [told + f"{rows['repeated_by_recording']:,} reported again by the recording itself."]
    for name, channel in result["channels"].items():
        entry = channel["delivery"]
        lines.append(
            f"  {name}: {entry['came']:,} of {entry['rows_reported']:,} came, {entry['lost']:,} lost, "
            f"{entry['duplicates']:,} twice, {entry['strangers']:,} without a place, "
            f"{entry['missing_values']:,} without a value"
        )
    lines.append(f"Bytes a reading: {number(size['a_reading'])} (of the {size['of']}).")
    return lines


def _lines(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    told = ["  ".join(f"{cell:{'<' if at < 1 else '>'}{widths[at]}}" for at, cell in enumerate(row)) for row in rows]
    return [told[0], "-" * len(told[0]), *told[1:]]
