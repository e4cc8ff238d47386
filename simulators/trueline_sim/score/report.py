"""The report of a score: one HTML file that needs nothing else, with tables and drawings.

Promises: every figure in it is one of `Score.result`. Refuses to judge: it shows asked beside measured.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_sim.score import charts
from trueline_sim.score.metrics import LEVELS, NOMINAL
from trueline_sim.score.tables import (
    ALARM_HEADS,
    FAULT_HEADS,
    HEADS,
    alarm_line,
    delivery,
    errors,
    fault_line,
    faults,
    number,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_sim.score.scoring import ChannelScore, Score

__all__ = ["write_report"]

_COLOURS: Final = {"all": charts.GREY, "good": charts.BLUE, "clean": charts.ORANGE}

_CSS: Final = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 1080px; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
h3 { font-size: 1rem; margin: 1.6rem 0 .2rem }
p { max-width: 46rem } .quiet { color: #595959 } .note { border-left: 4px solid #c8641e; padding: .1rem .8rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .55rem; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
thead th { border-bottom: 2px solid #1b1b1b } tbody tr.first td { border-top: 1px solid #d5d5d5 }
svg { max-width: 100%; height: auto } summary { cursor: pointer }
"""

_DELIVERY: Final = ("channel", "reported", "came", "lost", "duplicates", "without a place", "without a value")

_WORDS: Final = {
    "errors": "<p>Three sets of readings: <b>all</b>; <b>good</b>, which the pipeline let pass; <b>clean</b>, which "
    "no label of a fault or an anomaly touches. Gain is RMSE raw over RMSE out on the same readings. Coverage is the "
    "share of readings whose interval of nominally 50, 90, 95 % holds the truth.</p>",
    "alarms": "<p>Wrongly excluded: clean readings flagged suspect, fail or missing. Faulty passed: readings of a "
    "faulty sensor that were not. Average precision (AP) and volume under the precision-recall surface (VUS-PR) are "
    "never point-adjusted; a random score is worth the share of anomalies.</p>",
    "faults": "<p>From a label's start to the first alarm inside it. Faults of sensors, then of rows (clock, "
    "delivery), then anomalies of the process, where any channel's alarm counts. "
    "A long span is met by chance where false alarms are many; what was "
    "alarmed before it began was not found by its own merit.</p>",
}


def write_report(scored: Score, result: dict[str, Any], out: Path) -> None:
    """Write the report.

    Args:
        scored: the score.
        result: its figures.
        out: the file.
    """
    out.write_text(_page(scored, result), encoding="utf-8")


def _page(scored: Score, result: dict[str, Any]) -> str:
    title = f"Score: {result['scenario']}, seed {result['seed']}"
    start = datetime.fromtimestamp(scored.recording.manifest["start_ns"] / 1e9, UTC)
    hours = result["steps"] * result["interval_s"] / 3600.0
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    run = f"{result['devices']} devices, {result['steps']:,} steps of {result['interval_s']:g} s"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=quiet>{run} ({hours:,.1f} h from {start:%Y-%m-%d %H:%M} UTC). {escape(versions)}.</p>",
        *(f"<p class=note>{escape(note)}</p>" for note in result["notes"]),
        "<h2>Errors and coverage</h2>",
        _WORDS["errors"],
        _table(HEADS, [line for name, entry in result["channels"].items() for line in errors(name, entry)], every=3),
        "<h2>Exclusions, alarms and scores</h2>",
        _WORDS["alarms"],
        _table(ALARM_HEADS, [alarm_line(name, entry) for name, entry in result["channels"].items()]),
        "<h2>Faults and delays</h2>",
        _WORDS["faults"],
        _fault_chart(result),
        _table(FAULT_HEADS, [fault_line(kind, entry) for kind, entry in faults(result).items()]),
        "<h2>Delivery</h2>",
        f"<p>{escape(delivery(result)[0])} {escape(delivery(result)[-1])}</p>",
        _table(_DELIVERY, [_delivered(name, entry) for name, entry in result["channels"].items()]),
        "<h2>Channels</h2>",
        *(_channel(name, scored.channels[name], entry) for name, entry in result["channels"].items()),
        "<details><summary>All figures as JSON</summary>",
        f"<pre class=scroll>{escape(json.dumps(result, indent=1))}</pre></details>",
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    head += f'<meta name="viewport" content="width=device-width"><style>{_CSS}</style>'
    return head + "\n".join(body) + "</html>\n"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]], every: int = 1) -> str:
    if not rows:
        return "<p class=quiet>None.</p>"
    told = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    lines = []
    for at, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f"<tr{' class=first' if at % every == 0 else ''}>{cells}</tr>")
    return f"<div class=scroll><table><thead><tr>{told[0]}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _delivered(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    keys = ("rows_reported", "came", "lost", "duplicates", "strangers", "missing_values")
    return (name, *(f"{entry['delivery'][key]:,}" for key in keys))


def _channel(name: str, channel: ChannelScore, entry: dict[str, Any]) -> str:
    unit = entry["unit"]
    heads = ("device", "time (UTC)", "value", "truth", "u", "errors in u", "label")
    worst = [
        (
            case["device"],
            f"{datetime.fromtimestamp(case['time_true_ns'] / 1e9, UTC):%Y-%m-%d %H:%M:%S}",
            *(number(case[key], 6) for key in ("value", "truth")),
            number(case["u"], 3),
            number(case["errors_in_u"], 3),
            case["label"] or "-",
        )
        for case in channel.worst
    ]
    declared, resolution = (f"{number(entry[key])} {escape(unit)}" for key in ("u_declared", "resolution"))
    told = [
        f"<h3>{escape(name)} [{escape(unit)}], {escape(entry['sensor'])}</h3>",
        f"<p class=quiet>Standard uncertainty declared {declared}, resolution {resolution}.</p>",
    ]
    if channel.tallies["all"].cells:
        told += [_channel_chart(channel, unit), "<p>Worst among the good, one a device:</p>", _table(heads, worst)]
    return "\n".join(told)


def _channel_chart(channel: ChannelScore, unit: str) -> str:
    """Calibration, coverage by device, residual over time."""
    drawn, axes = charts.figure(1, 3, width=10.4, height=2.9, width_ratios=[1.0, 0.9, 2.0])
    _calibration(axes[0, 0], channel)
    _devices(axes[0, 1], channel)
    _residual(axes[0, 2], channel, unit)
    return charts.as_svg(drawn)


def _calibration(axis: Any, channel: ChannelScore) -> None:
    axis.plot([0, 1], [0, 1], color="#222222", linewidth=0.8, linestyle=(0, (4, 3)))
    for subset, tally in channel.tallies.items():
        if observed := tally.reliability():
            axis.plot(NOMINAL, observed, marker="o", markersize=3, color=_COLOURS[subset], label=subset, linewidth=1.2)
    axis.set(title="Coverage (above: u too wide)", xlabel="nominal", ylabel="observed")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axis.legend(loc="best", fontsize=7.5)


def _devices(axis: Any, channel: ChannelScore) -> None:
    table = channel.tallies["clean"].devices()
    table = table[table[:, 1] > 0]
    if len(table):
        share = table[:, 2 + LEVELS.index(0.95)] / table[:, 1]
        weights = np.full(len(share), 1.0 / len(share))
        axis.hist(share, bins=np.linspace(0, 1, 21), weights=weights, color=charts.ORANGE)
        axis.axvline(0.95, color="#222222", linewidth=0.8, linestyle=(0, (4, 3)))
    axis.set(title="Clean, by device", xlabel="coverage of 95 % intervals", ylabel="share of devices", xlim=(0, 1))


def _residual(axis: Any, channel: ChannelScore, unit: str) -> None:
    middle = (channel.bins[:-1] + channel.bins[1:]) // 2
    for subset, (count, squares, spread) in ((name, sums.T) for name, sums in channel.over_time.items()):
        some = count > 0
        when = charts.dates(middle[some])
        if subset == "good":
            promised = np.sqrt(spread[some] / count[some])
            axis.plot(when, promised, color="#222222", linewidth=0.9, linestyle=(0, (4, 3)), label="u of the good")
        rms = np.sqrt(squares[some] / count[some])
        axis.plot(when, rms, color=_COLOURS[subset], linewidth=1.2, label=f"RMS error, {subset}")
    axis.set(title="Error", ylabel=unit, yscale="log")
    axis.legend(loc="lower right", ncols=3, bbox_to_anchor=(1.0, 0.98), fontsize=7.5)
    axis.xaxis.set_major_formatter(charts.date_format(axis))


def _fault_chart(result: dict[str, Any]) -> str:
    """Share detected, by kind."""
    entries = {kind: entry for kind, entry in faults(result).items() if entry["with_rows"]}
    if not any(entry["detected"] for entry in entries.values()):
        return "<p class=quiet>No alarm was raised inside any label.</p>"
    drawn, axes = charts.figure(1, 2, width=10.4, height=0.5 + 0.2 * len(entries), sharey=True)
    kinds = list(entries)[::-1]
    places = np.arange(len(kinds))
    axes[0, 0].barh(places, [entries[kind]["share_detected"] for kind in kinds], color=charts.BLUE, height=0.7)
    axes[0, 0].set(title="Share detected", xlim=(0, 1), yticks=places, yticklabels=kinds)
    for key, colour, label in (("delay_s_median", charts.BLUE, "median"), ("delay_s_p90", charts.ORANGE, "90 %")):
        points = [(entries[kind][key], at) for at, kind in enumerate(kinds) if entries[kind][key] is not None]
        x, y = zip(*points, strict=True)
        axes[0, 1].scatter(x, y, color=colour, label=label, s=16, zorder=3)
    axes[0, 1].set_xscale("symlog", linthresh=result["interval_s"])
    axes[0, 1].set(title="Delay of those detected [s]", xlim=(-0.2 * result["interval_s"], None))
    axes[0, 1].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return charts.as_svg(drawn)
