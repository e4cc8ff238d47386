"""Five faults, before and after: a spike, a step, a stuck sensor, a dead one, a drifting one.

    python examples/faults/run.py                 pictures in docs/images/faults
    python examples/faults/run.py --out DIR

Each fault is put into a recording of a tank's temperature, and the recording goes through `agent.toml` by
`trueline-edge replay`, the same stages as on a device. A picture shows what the sensor said, and what comes out with
its 95 % interval and the flags; the truth, which only a simulation knows, is the thin black line in both.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from trueline_edge.config import load_config
from trueline_edge.replay import choose_stream, replay_file
from trueline_wire.readings import Flag, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HERE = Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images" / "faults"
START_S = 1_750_000_000
PERIOD_S = 10
ROWS = 720
NOISE = 0.15
BIAS = 0.1
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Fault:
    """What happens to the first sensor, or to the tank.

    Attributes:
        name: of the picture.
        title: above it.
        stream: of the configuration.
        from_row: where it begins.
        until_row: where it ends.
        spoil: (truth, readings of the first sensor) -> readings of the first sensor.
        truth: the truth before anything is measured -> the truth.
    """

    name: str
    title: str
    stream: str
    from_row: int
    until_row: int
    spoil: Callable[[NDArray[np.float64], slice], NDArray[np.float64]] = lambda value, _: value
    truth: Callable[[NDArray[np.float64], slice], NDArray[np.float64]] = lambda value, _: value


def spikes(value: NDArray[np.float64], where: slice) -> NDArray[np.float64]:
    """Five single readings, and two in a row, of some absurd value."""
    rows = np.r_[np.linspace(where.start, where.stop - 20, 5).astype(int), where.stop - 1, where.stop]
    value[rows] += np.array([6.0, -9.0, 3.0, 14.0, -4.0, 8.0, 7.0])
    return value


def stuck(value: NDArray[np.float64], where: slice) -> NDArray[np.float64]:
    """The same value again and again."""
    value[where] = value[where.start]
    return value


def dead(value: NDArray[np.float64], where: slice) -> NDArray[np.float64]:
    """No value at all."""
    value[where] = np.nan
    return value


def drifting(value: NDArray[np.float64], where: slice) -> NDArray[np.float64]:
    """Away by 3 K in an hour, and no way back."""
    passed = np.clip(np.arange(len(value)) - where.start, 0, None)
    return value + 3.0 * passed * PERIOD_S / 3600.0


def stepping(value: NDArray[np.float64], where: slice) -> NDArray[np.float64]:
    """Hot water comes in: the tank itself is 4 K warmer from one reading to the next, and later cold again."""
    value[where] += 4.0
    return value


FAULTS = (
    Fault("spike", "Spikes: none of them moves the estimate", "single", 150, 600, spoil=spikes),
    Fault("step", "A step: it is real, and followed after five readings", "single", 250, 480, truth=stepping),
    Fault("stuck", "A stuck sensor: found out, and not believed", "single", 300, 450, spoil=stuck),
    Fault("dead", "A dead sensor: the band grows, then there is no value", "single", 300, 450, spoil=dead),
    Fault("drift", "A drifting sensor: its two neighbours speak against it", "three", 200, ROWS, spoil=drifting),
)


def record(fault: Fault, folder: Path, seed: int) -> tuple[Path, NDArray[np.float64]]:
    """Write a recording with the fault in it; the truth beside it."""
    rng = np.random.default_rng(seed)
    where = slice(fault.from_row, fault.until_row)
    hours = np.arange(ROWS) * PERIOD_S / 3600.0
    walk = np.cumsum(rng.normal(size=ROWS)) * 0.02
    truth = fault.truth(55.0 + 1.5 * np.sin(2 * np.pi * hours / 1.3) + walk, where)
    sensors = 3 if fault.stream == "three" else 1
    value = truth[:, None] + rng.normal(size=sensors) * BIAS + rng.normal(size=(ROWS, sensors)) * NOISE
    value[:, 0] = fault.spoil(value[:, 0], where)
    path = folder / f"{fault.name}.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time_s", *(f"t{k + 1}" for k in range(sensors))])
        for row in range(ROWS):
            cells = ["" if np.isnan(x) else f"{x:.2f}" for x in value[row]]
            rows.writerow([START_S + row * PERIOD_S, *cells])
    return path, truth


def through_the_stages(fault: Fault, path: Path, folder: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """What `trueline-edge replay` makes of a recording: by channel, the columns value, u, flag and reason."""
    config = load_config(HERE / "agent.toml")
    out = folder / f"{fault.name}.out.csv"
    replay_file(config, choose_stream(config, fault.stream), path, out)
    found: dict[str, list[list[float]]] = {}
    with out.open(newline="") as file:
        for row in csv.DictReader(file):
            cells = [float(row[key] or "nan") for key in ("value", "u", "flag", "reason")]
            found.setdefault(row["channel"], []).append(cells)
    columns = ("value", "u", "flag", "reason")
    return {name: dict(zip(columns, np.array(rows).T, strict=True)) for name, rows in found.items()}


def judge(fault: Fault, truth: NDArray[np.float64], out: dict[str, dict[str, NDArray[Any]]]) -> dict[str, Any]:
    """How good the estimate is, with the raw readings beside it."""
    estimate, raw = out["temperature"], out["t1"]
    given = ~np.isnan(estimate["value"])
    error = estimate["value"] - truth
    with np.errstate(invalid="ignore"):
        covered = np.abs(error) <= NORMAL_95 * estimate["u"]
    return {
        "fault": fault.name,
        "rmse_raw_K": round(float(np.sqrt(np.nanmean((raw["value"] - truth) ** 2))), 3),
        "rmse_out_K": round(float(np.sqrt(np.mean(error[given] ** 2))), 3),
        "worst_out_K": round(float(np.max(np.abs(error[given]))), 3),
        "rows_1_K_off": int(np.count_nonzero(np.abs(error[given]) > 1.0)),
        "coverage_95": round(float(covered[given].mean()), 3),
        "without_value": int(np.count_nonzero(~given)),
        "t1_flagged": int(np.count_nonzero(raw["flag"] >= Flag.SUSPECT)),
    }


MARKS = ((Flag.SUSPECT, "SUSPECT", "tab:orange"), (Flag.FAIL, "FAIL", "tab:red"), (Flag.MISSING, "MISSING", "0.35"))


def draw(fault: Fault, truth: NDArray[np.float64], out: dict[str, dict[str, NDArray[Any]]], path: Path) -> None:
    """Before above, after below, and between them what was said of the first sensor and of the estimate."""
    hours = np.arange(ROWS) * PERIOD_S / 3600.0
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    before, strip, after = figure.subplots(3, 1, sharex=True, height_ratios=[5, 1.1, 5])
    figure.suptitle(fault.title, fontsize=12)
    for name in [name for name in ("t2", "t3") if name in out]:
        before.plot(hours, out[name]["value"], color="0.75", lw=0.8, label="the other two" if name == "t2" else None)
    before.plot(hours, out["t1"]["value"], color="tab:blue", lw=0.8, label="sensor t1")
    before.plot(hours, truth, color="black", lw=0.9, label="truth")
    estimate = out["temperature"]
    half = NORMAL_95 * estimate["u"]
    low, high = estimate["value"] - half, estimate["value"] + half
    after.fill_between(hours, low, high, color="tab:green", alpha=0.3, lw=0, label="its 95 % interval")
    after.plot(hours, estimate["value"], color="tab:green", lw=1.1, label="what comes out")
    after.plot(hours, truth, color="black", lw=0.9, label="truth")
    missing = np.isnan(estimate["value"])
    if missing.any():
        edges = np.flatnonzero(np.diff(np.r_[False, missing, False]))
        for number, (start, stop) in enumerate(edges.reshape(-1, 2)):
            label = None if number else "no value"
            after.axvspan(hours[start], hours[stop - 1], color="0.85", lw=0, label=label)
    for level, channel in ((1, "t1"), (0, "temperature")):
        for flag, name, color in MARKS:
            rows = out[channel]["flag"] == flag
            strip.plot(hours[rows], np.full(rows.sum(), level), "|", color=color, ms=9, label=name if level else None)
        outvoted = (out[channel]["reason"].astype(int) & Reason.CONSISTENCY) > 0
        if outvoted.any():
            strip.plot(hours[outvoted], np.full(outvoted.sum(), level), "|", color="tab:purple", ms=5, label="outvoted")
    strip.set(yticks=[1, 0], yticklabels=["flags of t1", "flags of what comes out"], ylim=(-0.6, 1.6))
    strip.legend(loc="lower right", ncols=4, fontsize=7, frameon=False, bbox_to_anchor=(1.0, 0.95), borderaxespad=0.1)
    spread = np.ptp(truth)
    after.set(ylabel="after / °C", xlabel="hours", ylim=(truth.min() - 0.35 * spread, truth.max() + 0.35 * spread))
    before.set(ylabel="before / °C", xlim=(0, hours[-1]))
    for axes in (before, after):
        axes.legend(loc="lower left", fontsize=7, ncols=4, frameon=False, bbox_to_anchor=(0.0, 0.98), borderaxespad=0.1)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=84, metadata={"Software": None}, pil_kwargs={"optimize": True})


def main() -> None:
    """Record, replay, judge and draw each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("--seed", type=int, default=5, help="of the recordings")
    parser.add_argument("--json", action="store_true", help="print the figures as one object")
    options = parser.parse_args()
    mpl.use("agg")
    options.out.mkdir(parents=True, exist_ok=True)
    verdicts = []
    with tempfile.TemporaryDirectory() as name:
        for number, fault in enumerate(FAULTS):
            path, truth = record(fault, Path(name), 100 * options.seed + number)
            out = through_the_stages(fault, path, Path(name))
            draw(fault, truth, out, options.out / f"{fault.name}.png")
            verdicts.append(judge(fault, truth, out))
    if options.json:
        print(json.dumps({"faults": verdicts}))
        return
    print("fault   rmse raw  rmse out  worst out  rows 1 K off  in the 95 % band  without value  t1 flagged")
    for v in verdicts:
        print(
            f"{v['fault']:<7} {v['rmse_raw_K']:6.3f} K  {v['rmse_out_K']:6.3f} K  {v['worst_out_K']:7.3f} K  "
            f"{v['rows_1_K_off']:12}  {v['coverage_95']:15.1%}  {v['without_value']:13}  {v['t1_flagged']:10}"
        )
    print(f"pictures: {options.out}")


if __name__ == "__main__":
    main()
