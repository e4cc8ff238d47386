"""The Hanyang University outdoor UWB data set, read as it is: ranges at known distances, and a drive with its truth.

<https://github.com/cucudasluv/UWB-dataset> (doi:10.5281/zenodo.15226105, Apache-2.0). `README.md` says where to put it.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["ANCHORS", "CASE", "Drive", "Standing", "Track", "read_drive", "read_standing"]

CASE = Path("uwb_hanyang", "Dynamic_measurements", "LOS", "Trajectory_A", "Case_1")
ANCHORS = (3, 5, 9, 12)
ROUND_S = 0.05
"""Ranges so close together belong to one round of the anchors, which is 0.1 s."""


class Standing(NamedTuple):
    """One file with a number in it: a tag that stands still.

    Attributes:
        height_m: of the tag.
        distance_m: along the floor, from the file's name.
        range_m: median of the ranges.
        rssi_dbm: median of the received power.
    """

    height_m: float
    distance_m: float
    range_m: float
    rssi_dbm: float


class Track(NamedTuple):
    """Where something was, or was thought to be: seconds (n,) and x, y (n, 2) in metres."""

    time_s: Array
    xy_m: Array

    def at(self, time_s: Array) -> Array:
        """(n, 2) by straight lines between the points."""
        return np.stack([np.interp(time_s, self.time_s, self.xy_m[:, k]) for k in (0, 1)], axis=1)

    def part(self, start_s: float, stop_s: float) -> Track:
        """From `start_s` up to, not with, `stop_s`."""
        inside = (self.time_s >= start_s) & (self.time_s < stop_s)
        return Track(self.time_s[inside], self.xy_m[inside])


class Drive(NamedTuple):
    """A drive; times are seconds since `start_ns`.

    Attributes:
        start_ns: UTC of the first range.
        time_s: (n,) one a round of the anchors.
        range_m: (n, 4), NaN where an anchor did not answer.
        anchors_m: (4, 3) x, y, z.
        truth: RTK satellite positions.
        authors: the tracks published with the data, by name.
    """

    start_ns: int
    time_s: Array
    range_m: Array
    anchors_m: Array
    truth: Track
    authors: dict[str, Track]


def read_standing(folder: Path) -> tuple[list[Standing], int]:
    """The line-of-sight files of `Static_measurements`, and how many of them hold no number."""
    found, empty = [], 0
    for path in sorted((folder / "LOS").glob("height_*cm/*m.csv")):
        with path.open(newline="") as file:
            rows = [(_number(row["Distance"]), _number(row["RSSI(dBm)"])) for row in csv.DictReader(file)]
        table = np.array([row for row in rows if np.isfinite(row).all()]).reshape(-1, 2)
        if not len(table):  # a tail of means and deviations follows the readings: no numbers in these columns
            empty += 1
            continue
        height = re.search(r"height_([\d.]+)cm", str(path))
        range_m, rssi = np.median(table, axis=0)
        found.append(Standing(float(height[1]) / 100 if height else np.nan, float(path.stem[:-1]), range_m, rssi))
    return found, empty


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return np.nan


def read_drive(folder: Path) -> Drive:
    """A case of `Dynamic_measurements`."""
    seen: list[tuple[int, int, float]] = []
    places = []
    for column, anchor in enumerate(ANCHORS):
        with (folder / f"A{anchor}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        seen += [(int(row["field.stamp"]), column, float(row["field.distanceFromTag"])) for row in rows]
        places.append([float(rows[0][f"field.{axis}"]) for axis in "xyz"])
    start_ns = min(seen)[0]
    times, ranges = _rounds([((stamp - start_ns) / 1e9, column, range_m) for stamp, column, range_m in sorted(seen)])
    tracks = {name: _track(folder / f"{name}.csv", start_ns) for name in ("trajectory", "LS", "ESKF")}
    truth = tracks.pop("trajectory")
    return Drive(start_ns, times, ranges, np.array(places), truth, tracks)


def _rounds(seen: list[tuple[float, int, float]]) -> tuple[Array, Array]:
    """Ranges, in order of time, as rounds: times (n,) of the first range of each, and ranges (n, 4)."""
    times: list[float] = []
    ranges: list[list[float]] = []
    for time_s, column, range_m in seen:
        if not times or time_s - times[-1] > ROUND_S or not np.isnan(ranges[-1][column]):
            times.append(time_s)
            ranges.append([np.nan] * len(ANCHORS))
        ranges[-1][column] = range_m
    return np.array(times), np.array(ranges)


def _track(path: Path, start_ns: int) -> Track:
    with path.open(newline="") as file:
        rows = [(int(float(row["timestamp"])) - start_ns, row["x"], row["y"]) for row in csv.DictReader(file)]
    table = np.array(rows, np.float64)
    return Track(table[:, 0] / 1e9, table[:, 1:])
