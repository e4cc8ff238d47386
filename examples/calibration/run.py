"""Four ozone sensors beside a reference station, from raw readings to a verdict.

    python examples/calibration/run.py --folder here

Makes two weeks of minutes from four simulated sensors (one drifts away in the second week), calibrates one of them with
`trueline-edge calibrate`, looks at all four with `trueline-edge consistency`, and leaves tables, calibration file,
reports and a picture in the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from trueline_edge.__main__ import main as trueline_edge
from trueline_edge.calibration.candidates import Data
from trueline_edge.calibration.checking import apply_to
from trueline_edge.calibration.file import load_calibration

START_S = 1_750_000_000 // 3600 * 3600
SEED = 1


def make_tables(folder: Path, days: int) -> None:
    """Write raw.csv (minutes) and station.csv (hourly means)."""
    rng = np.random.default_rng(SEED)
    minute = np.arange(days * 1440)
    hour = minute / 60
    slow = np.convolve(rng.normal(size=len(minute) + 720), np.ones(721) / 721, "valid") * 150
    ozone = np.maximum(30 + slow + 18 * np.sin((hour - 9) * 2 * np.pi / 24), 1)
    warmth = np.repeat(rng.normal(0, 3, days), 1440)
    temperature = 18 + warmth + 6 * np.sin((hour - 9) * 2 * np.pi / 24)
    gains, offsets = [0.62, 0.7, 0.66, 0.65], [9.0, 12.0, 8.0, 10.0]
    units = [
        o + g * ozone + 0.45 * (temperature - 18) + rng.normal(0, 1, len(minute))
        for g, o in zip(gains, offsets, strict=True)
    ]
    late = np.clip(minute / 1440 - days / 2, 0, None)
    units[2] = units[2] + 1.5 * late
    rows = np.stack([START_S + minute * 60.0, *units, temperature], axis=1)
    head = "time,o3_a,o3_b,o3_c,o3_d,temperature"
    np.savetxt(folder / "raw.csv", rows, "%.10g", ",", header=head, comments="")
    hourly = ozone.reshape(-1, 60).mean(axis=1)
    station = np.stack([START_S + np.arange(len(hourly)) * 3600.0, hourly], axis=1)
    np.savetxt(folder / "station.csv", station, "%.10g", ",", header="time,ozone", comments="")


def draw(folder: Path) -> None:
    """Sensor and station, before and after the calibration."""
    raw = np.loadtxt(folder / "raw.csv", delimiter=",", skiprows=1)
    station = np.loadtxt(folder / "station.csv", delimiter=",", skiprows=1)
    hourly = raw[:, [1, 5]].reshape(-1, 60, 2).mean(axis=1)
    calibration = load_calibration(folder / "o3_a.toml")
    data = Data(station[:, 0], {"o3_a": hourly[:, 0], "temperature": hourly[:, 1]}, station[:, 1], "o3_a")
    applied = apply_to(calibration, data)
    days = (station[:, 0] - START_S) / 86_400
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(days, applied.value - 1.96 * applied.u, applied.value + 1.96 * applied.u, color="#cccccc", lw=0)
    axes.plot(days, hourly[:, 0], color="#cc6677", lw=1, label="raw")
    axes.plot(days, applied.value, color="#4477aa", lw=1, label="corrected, with its 95 % interval")
    axes.plot(days, station[:, 1], color="#222222", lw=0.8, label="station")
    axes.set(xlabel="days", ylabel="ozone [ppb]")
    axes.legend(frameon=False, ncols=3)
    figure.savefig(folder / "before-and-after.png", dpi=70)


def run(folder: Path, days: int = 14) -> tuple[int, int]:
    """Do all of it. Returns the exit codes of the two commands."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tables(folder, days)
    times = ["time_format=s"]
    files = ["--raw", str(folder / "raw.csv"), "--reference", str(folder / "station.csv")]
    out = ["--out", str(folder / "o3_a.toml"), "--report", str(folder / "o3_a.html"), "--unit", "[ppb]"]
    read = ["--raw-csv", *times, "--reference-csv", *times]
    calibrated = trueline_edge(["calibrate", *files, "--channel", "o3_a", "--with", "temperature", *read, *out])
    sensors = ["--sensors", "o3_a", "o3_b", "o3_c", "o3_d", "--drift-per-day", "0.5", "--show-charts"]
    report = ["--csv", *times, "--report", str(folder / "shelf.html")]
    judged = trueline_edge(["consistency", str(folder / "raw.csv"), *sensors, *report])
    draw(folder)
    return calibrated, judged


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--folder", type=Path, default=Path("calibration-example"), help="where everything goes")
    print("exit codes:", *run(arguments.parse_args().folder))
