"""Run the benchmarks of accuracy and write docs/accuracy.md from what they print.

    benchmarks/accuracy_page.py --data ../shared/data               all of them
    benchmarks/accuracy_page.py accuracy cleaning --data …          some; the others keep their part of the page
    benchmarks/accuracy_page.py --from accuracy=FILE [FILE …]       from saved JSON (several scenarios: several files)

Exit code 1 if a benchmark missed a bound or could not run; the page says which.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "accuracy.md"
IMAGES = ROOT / "docs" / "images" / "accuracy"
TITLES = {
    "accuracy": "Simulated fleets",
    "calibration": "Calibration on real sensors",
    "ranging": "Ranges and positions (UWB)",
    "cleaning": "Cleaning dirty files",
    "estimation": "Filters on four regimes",
    "chain": "Speed of the chain",
}
PLOTS = {"calibration": ("--plots", ""), "ranging": ("--plots", ""), "cleaning": ("--plot", "cleaning.png")}
PICTURES = {"calibration": "calibration.png", "ranging": "uwb-track.png", "cleaning": "cleaning.png"}
HEAD = """# Accuracy

Written by `make bench` (`benchmarks/accuracy_page.py`). Each script can be run alone; it runs its peers in the same
run and exits non-zero when a bound is missed. What was missed is said here, by how much.
"""
TOLD = """**What the pipeline was told.** Of each sensor its datasheet: range, noise, resolution, 1/f noise, offset,
gain, nonlinearity, effects of temperature and humidity, drift, play, lag. Of each device 1,000 pairs of raw reading and
reference from the first part of its record (faults are drawn in the later part: somebody stands there while it is
calibrated), with the reference's stated uncertainty: an offset of 0.2 of the sensor's repeatability, the same for all
pairs, and noise of 0.5. Calibrations are `trueline_edge.calibration.informed`: pairs and tolerances together; they pass
through the calibration model and the stage `calibrate`, as values instead of files. Of the process
nothing. Stages: timing, missing, gross range (the sensor's), calibrate, fuse (noise known from the calibration, motion
learnt). Nothing of truth, labels or true times. Intervals between readings: {intervals}.

**What was chosen.** On tuning seeds (below 1000), the same for all measurands: the filter's gate of {gate:g} standard
deviations; which lags are undone (those of which between {lag[0]:.0%} and {lag[1]:.0%} of a step is still missing one
reading later); which conditions are inputs of a calibration; in the filter itself, for all who use it, the grid of its
models and the tail of the density they are weighed by. By the benchmark, and told to the pipeline: the reference's
offset and noise. The scored seeds were run twice: the first time showed rare rows that were far off, which were found
again and mended on tuning seeds (predictions for rows whose clock went back, lags undone behind a fault, a sensor that
stood at its limit while it was calibrated).

**What the oracle knows.** An extended Kalman filter with the process fitted to the truth of each device, all the
sensor's error terms as states with the priors they are drawn from, the true surroundings and times, and the labels. It
does not invert play, and where gains of a fifth meet quantities that jump it can be off itself (its RMSE is then above
what its own uncertainty says: look at its coverage, which stands beside).

**What is scored.** Rows after the calibration and 200 more, that no label of rows touches and that the pipeline passed;
for one sensor, cells no label touches; for three, rows in which at most one is faulty. The same cells for oracle and
peers. "All" is every cell that came, faults and all. Peers other than raw get readings calibrated by least squares and
the best setting of a grid, chosen by the figure itself.
"""


BOUNDS = """Bounds: RMSE at most 1.15 of the oracle's, 95 % intervals hold 93 to 97 %, 50 % intervals 46 to 54 %, mean
width at most 1.2 of the oracle's, at most 0.5 % of good readings excluded; for every measurand."""


OUTSIDE = (
    """Ratios below 0.6 are not drawn: there the oracle itself was lost on a device, and the ratio says nothing."""
)


def run(name: str, data: Path | None) -> tuple[dict[str, Any] | None, str]:
    """The benchmark's JSON object, and the end of what it said on stderr."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--json"]
    command += ["--data", str(data)] if data else []
    if name in PLOTS:
        IMAGES.mkdir(parents=True, exist_ok=True)
        option, file = PLOTS[name]
        command += [option, str(IMAGES / file) if file else str(IMAGES)]
    print(f"{TITLES[name]}: {name}.py ...", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    try:
        return json.loads(done.stdout.strip().splitlines()[-1]), done.stderr[-400:]
    except (IndexError, json.JSONDecodeError):
        return None, done.stderr[-400:]


def merged(files: list[Path]) -> dict[str, Any]:
    """One result of several, run scenario by scenario."""
    result: dict[str, Any] = {"tables": {}, "misses": []}
    for file in files:
        one = json.loads(file.read_text().strip().splitlines()[-1])
        tables, misses = one.pop("tables", {}), one.pop("misses", [])
        result = {**result, **one, "tables": {**result["tables"], **tables}, "misses": [*result["misses"], *misses]}
    return result if result["tables"] else {key: value for key, value in result.items() if key != "tables"}


def accuracy(result: dict[str, Any]) -> str:
    """The section on fleets: a summary, a table a scenario, peers, all cells."""
    from _accuracy_fleet import PLANS  # noqa: PLC0415 - only this section needs the simulators
    from _accuracy_pipeline import GATE, LAG_MEMORY  # noqa: PLC0415 - as above

    tables = result["tables"]
    intervals = ", ".join(f"{scenario} {plan.interval_s:g} s" for scenario, plan in PLANS.items())
    devices = sum(table["fleet"]["devices"] for table in tables.values())
    cpu = sum(table["fleet"]["cpu_s"] for table in tables.values())
    seed = min(table["fleet"]["seed"] for table in tables.values())
    faults = sum(table["fleet"]["faults"] for table in tables.values())
    lines = [
        f"{devices} devices, seeds from {seed}, {faults:,} faults, {cpu:.0f} CPU seconds. {BOUNDS}",
        "",
        TOLD.format(intervals=intervals, gate=GATE, lag=LAG_MEMORY),
        "| scenario | | RMSE / oracle | measurands within 1.15 | 95 % | 50 % | width / oracle | excluded |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scenario in tables:
        for kind in ("single", "fused"):
            of = {key: result[f"{scenario}_{kind}_{key}"] for key in _SUMMARY}
            lines.append(
                f"| {scenario} | {kind} | **{of['ratio']:.3f}** | {of['within']:.0f} of {of['measurands']:.0f} | "
                f"{of['coverage_95']:.1%} | {of['coverage_50']:.1%} | {of['width']:.2f} | {of['excluded']:.2%} |"
            )
    lines += [
        "",
        "RMSE / oracle of a scenario is the root mean square over its measurands; shares are over its cells.",
        "",
    ]
    draw(tables)
    lines += ["![RMSE and coverage of every measurand](images/accuracy/fleets.png)", "", OUTSIDE, ""]
    for scenario, table in tables.items():
        lines += ["", f"<details><summary>{scenario}: every measurand</summary>", "", _table(table), "", "</details>"]
    return "\n".join(lines)


_SUMMARY = ("ratio", "within", "measurands", "coverage_95", "coverage_50", "width", "excluded")


def _table(table: dict[str, Any]) -> str:
    heads = ("measurand", "sensor", "", "RMSE", "/ oracle", "95 %", "50 %", "corrected alone 95 % / 50 %", "width")
    heads = (*heads, "excluded", "oracle 95 % / 50 %", "best peer / oracle", "all: RMSE, 95 %")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, kinds in table["measurands"].items():
        for kind, of in kinds.items():
            peer, best = min(of["peers"].items(), key=lambda item: item[1]["rmse"])
            alone = (
                f"{of['corrected_coverage_95']:.1%} / {of['corrected_coverage_50']:.1%}"
                if "corrected_rmse" in of
                else ""
            )
            lines.append(
                f"| {name} | {of['sensor']} | {kind} | {of['rmse']:.3g} {of['unit']} | {_bold(of['ratio'], 1.15)} | "
                f"{of['coverage_95']:.1%} | {of['coverage_50']:.1%} | {alone} | {_bold(of['width'], 1.2)} | "
                f"{of['excluded']:.2%} | {of['oracle_coverage_95']:.1%} / {of['oracle_coverage_50']:.1%} | "
                f"{best['rmse'] / of['oracle_rmse']:.2f} {peer} | {of['all_rmse']:.3g}, {of['all_coverage_95']:.1%} |"
            )
    return "\n".join(lines)


def _bold(value: float, limit: float) -> str:
    return f"**{value:.3f}**" if value > limit else f"{value:.3f}"


def draw(tables: dict[str, Any]) -> None:
    """Ratio and coverage of every measurand, a column a scenario."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5.6), sharex=True, layout="constrained")
    for number, table in enumerate(tables.values()):
        for kind, shift, colour in (("single", -0.15, "#3b6ea5"), ("fused", 0.15, "#c0504d")):
            ratios, shares = (
                [of[kind][key] for of in table["measurands"].values()] for key in ("ratio", "coverage_95")
            )
            label = kind if number == 0 else None
            above.scatter([number + shift] * len(ratios), ratios, s=26, color=colour, alpha=0.75, label=label)
            below.scatter([number + shift] * len(shares), shares, s=26, color=colour, alpha=0.75)
    above.axhline(1.15, color="grey", lw=0.8, ls="--")
    above.axhline(1.0, color="grey", lw=0.5)
    above.set(ylabel="RMSE / oracle's", yscale="log", yticks=[0.7, 1.0, 1.15, 1.5, 2.0, 3.0], ylim=(0.6, 4.0))
    above.get_yaxis().set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    above.get_yaxis().set_minor_formatter(mpl.ticker.NullFormatter())
    above.legend(frameon=False)
    below.axhspan(0.93, 0.97, color="grey", alpha=0.2)
    below.set(ylabel="held by 95 % intervals", xticks=range(len(tables)), xticklabels=list(tables), ylim=(None, 1.005))
    figure.savefig(IMAGES / "fleets.png", dpi=75)
    plt.close(figure)


def plain(result: dict[str, Any]) -> str:
    """A table of the figures, as they are named."""
    lines = ["| figure | value |", "|---|---|"]
    lines += [f"| `{key}` | {_shown(value)} |" for key, value in _flat(result) if key not in {"misses", "machine"}]
    return "\n".join(lines)


def _flat(result: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in result.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list) or len(value) <= _LIST_MAX:
            rows.append((prefix + key, value))
    return rows


_LIST_MAX = 12


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def section(name: str, result: dict[str, Any]) -> str:
    """A part of the page, between its markers."""
    misses = [str(miss) for miss in result.get("misses", [])]
    body = accuracy(result) if name == "accuracy" else plain(result)
    lines = [f"<!-- {name} -->", f"## {TITLES[name]}", "", f"`benchmarks/{name}.py`, {time.strftime('%Y-%m-%d')}", ""]
    if name in PICTURES and (IMAGES / PICTURES[name]).exists():
        lines += [f"![{TITLES[name]}](images/accuracy/{PICTURES[name]})", ""]
    if misses:
        lines += [f"<details><summary>Missed: {len(misses)}</summary>", ""]
        lines += [*(f"- {miss}" for miss in misses), "", "</details>", ""]
    else:
        lines += ["Nothing missed.", ""]
    return "\n".join([*lines, body, f"<!-- /{name} -->", ""])


def known_sections() -> dict[str, str]:
    """The parts of the page as it is, by name."""
    if not PAGE.exists():
        return {}
    text = PAGE.read_text(encoding="utf-8")
    return {
        name: found.group(0) + "\n"
        for name in TITLES
        if (found := re.search(rf"<!-- {name} -->.*?<!-- /{name} -->", text, flags=re.DOTALL))
    }


def main(argv: list[str] | None = None) -> int:
    """Run, write the page, say what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TITLES, []], help="which (all)")
    parser.add_argument("--data", type=Path, help="the folder of recorded data")
    parser.add_argument("--from", dest="saved", nargs="+", metavar="NAME=FILE", help="saved JSON instead of a run")
    arguments = parser.parse_args(argv)
    data = arguments.data.resolve() if arguments.data and arguments.data.exists() else None
    sections, failed = known_sections(), []
    saved: dict[str, list[Path]] = {}
    name = ""
    for word in arguments.saved or ():
        before, equals, file = word.partition("=")
        name = before if equals else name
        saved.setdefault(name, []).append(Path(file if equals else word))
    for name in TITLES:
        if name not in (arguments.names or saved or TITLES):
            continue
        result, said = (merged(saved[name]), "") if name in saved else run(name, data)
        if result is None:
            print(f"  could not run: {said}")
            failed.append(name)
            continue
        sections[name] = section(name, result)
        failed += [name] if result.get("misses") else []
    PAGE.write_text("\n".join([HEAD, *(sections[name] for name in TITLES if name in sections)]), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}" + (f"; missed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
