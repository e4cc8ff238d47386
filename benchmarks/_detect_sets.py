"""Labelled recordings for `detect.py`, each cut into a training part and a part to be judged.

Promises: what is normal is taken from the training part alone, as each set defines it; labels of the training part are
never read, except to say aloud where it holds an anomaly. Positions of rows are never shown to a detector.

* smd: 4 server machines, the set's own training and test recordings.
* skab: 34 runs of a water loop. In nearly all of them the anomaly is rows 570 to 975, so a rule that reads no sensor
  scores F1 0.93. Here the start of each run is cropped at random (seeded), in training and in test; a row-number rule
  is printed beside the detectors. Training: what is left of rows 0 to 399, as the set's own protocol has it.
* nab: 39 series. Training: the probationary part (15 %, at most 750 rows), as NAB has it.
* wsn: 4 motes, humidity and temperature. Training: the first 30 % of the rows.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trueline_model.series import Series, make_series

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SKAB_TRAIN = 400
WSN_TRAIN = 0.3
NAB_PROBATION = 0.15


@dataclass(frozen=True)
class Case:
    """One thing watched.

    Attributes:
        name: of the recording.
        train: normal running.
        test: what follows.
        label: (n,) of the test rows.
        windows: of NAB, as rows of the test part.
    """

    name: str
    train: Series
    test: Series
    label: NDArray[np.bool_]
    windows: tuple[tuple[int, int], ...] = ()


def smd(folder: Path, seed: int) -> list[Case]:  # noqa: ARG001 - nothing is drawn
    """The machines there are."""
    cases = []
    for path in sorted(folder.glob("machine-*_train.npy")):
        name = path.name.removesuffix("_train.npy")
        test = np.load(folder / f"{name}_test.npy").astype(np.float64)
        label = np.load(folder / f"{name}_test_label.npy") > 0
        train = make_series(np.load(path).astype(np.float64), interval_s=60.0)
        cases.append(Case(name, train, make_series(test, interval_s=60.0), label))
    return cases


def skab(folder: Path, seed: int) -> list[Case]:
    """The runs, their starts cropped."""
    rng = np.random.default_rng(seed)
    cases = []
    for path in sorted(folder.glob("*/*.csv")):
        if path.parent.name == "anomaly-free":
            continue
        with path.open() as text:
            rows = list(csv.reader(text, delimiter=";"))
        table = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
        time_ns = np.array([row[0] for row in rows[1:]], "datetime64[ns]").astype(np.int64)
        series = make_series(table[:, :8], time_ns=time_ns, channels=rows[0][1:9])
        first, start = int(rng.integers(0, 200)), SKAB_TRAIN + int(rng.integers(0, 100))
        name = f"{path.parent.name}/{path.stem}"
        cases.append(Case(name, series[first:SKAB_TRAIN], series[start:], table[start:, 8] > 0))
    return cases


def nab(folder: Path, seed: int) -> list[Case]:  # noqa: ARG001 - nothing is drawn
    """The series; label and windows are NAB's windows."""
    limits = json.loads((folder / "labels" / "combined_windows.json").read_text())
    cases = []
    for path in sorted((folder / "data").glob("*/*.csv")):
        name = f"{path.parent.name}/{path.name}"
        with path.open() as text:
            rows = list(csv.reader(text))[1:]
        value = np.array([[float(row[1])] for row in rows])
        stamps = [row[0] for row in rows]
        train = int(min(np.floor(NAB_PROBATION * len(rows)), NAB_PROBATION * 5000))
        windows = []
        for low, high in limits[name]:
            windows.append((stamps.index(low.split(".")[0]) - train, stamps.index(high.split(".")[0]) + 1 - train))
        label = np.zeros(len(rows) - train, bool)
        for low, high in windows:
            label[max(low, 0) : max(high, 0)] = True
        series = make_series(value, interval_s=300.0)  # two files have duplicate or backward stamps: rows count here
        cases.append(Case(name, series[:train], series[train:], label, tuple(windows)))
    return cases


def wsn(folder: Path, seed: int) -> list[Case]:  # noqa: ARG001 - nothing is drawn
    """The motes."""
    table = np.genfromtxt(folder / "data.csv", delimiter=",", skip_header=1)
    cases = []
    for mote in np.unique(table[:, 1]):
        own = table[table[:, 1] == mote]
        series = make_series(own[:, 3:5], interval_s=5.0, channels=("humidity", "temperature"))
        cut = round(len(own) * WSN_TRAIN)
        cases.append(Case(f"mote {mote:.0f}", series[:cut], series[cut:], own[cut:, 5] > 0))
    return cases


SETS: dict[str, tuple[str, Callable[[Path, int], list[Case]]]] = {
    "smd": ("smd", smd),
    "skab": ("skab", skab),
    "nab": ("nab", nab),
    "wsn": ("wsn_single-hop", wsn),
}
"""Folder under `--data`, and how it is read."""
