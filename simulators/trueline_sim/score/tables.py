"""A score as lines of text, for terminal and report alike.

Refuses to know how anything was scored, and where the lines go.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ALARM_HEADS",
    "FAULT_HEADS",
    "HEADS",
    "alarm_line",
    "as_table",
    "delivery",
    "errors",
    "fault_line",
    "faults",
    "number",
    "percent",
]


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
