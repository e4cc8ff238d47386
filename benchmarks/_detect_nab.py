"""NAB: 39 series of one channel, scored by NAB's own rules. Training: the probationary part (15 %, at most 750 rows).

Asked: above 60. Labels of realAWSCloudwatch and artificial* were looked at while detectors were made; the rest is held
back.

Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", ICMLA 2015, and the scorer published with
the data (standard profile): in each labelled window the earliest detection counts, by a sigmoid of its place; each
detection outside costs 0.11 times a sigmoid of its distance behind the last window; a window without detection costs 1.
The score of all series together is put between doing nothing (0) and perfect (100). NAB searches the one threshold for
all series with the labels: that score is a bound on what could have been chosen, so the untuned one stands beside it.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from _detect_case import Case, LabelledSet, ScoredCase, mean_of

from trueline_model.alarm import Alarm, Alarming, fit_alarm
from trueline_model.conformal import calibrate
from trueline_model.detector import out_of_fold
from trueline_model.detectors import Ensemble
from trueline_model.recalibration import Recalibration
from trueline_model.series import make_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_model.detector import Recipe

    Windows = Sequence[tuple[int, int]]

FALSE_POSITIVE = 0.11
FAR = 3.0
PROBATION = 0.15
TRAINING_EVENTS = 2.0
"""Of false alarms, in the training part: the fewest it supports."""

SEPARATION_ROWS = 50
RESTS = 5
"""Of the training part, how long a detector is silent after it spoke."""

CLEARLY = float(np.log10(2.0))
"""Decades rarer that a row must be to speak again sooner: half as probable."""

MEMORY_ROWS = 4000
"""Scores p-values are counted among: two weeks of rows of five minutes."""

UNTUNED_ROWS = 4000.0
"""Rows in which one false alarm may come where nothing is tuned: about one a series."""


def read(folder: Path, seed: int) -> list[Case]:  # noqa: ARG001 - nothing is drawn
    """The series; label and windows are NAB's windows."""
    limits = json.loads((folder / "labels" / "combined_windows.json").read_text())
    cases = []
    for path in sorted((folder / "data").glob("*/*.csv")):
        name = f"{path.parent.name}/{path.name}"
        with path.open() as text:
            rows = list(csv.reader(text))[1:]
        value = np.array([[float(row[1])] for row in rows])
        stamps = [row[0] for row in rows]
        train = int(min(np.floor(PROBATION * len(rows)), PROBATION * 5000))
        windows = []
        for low, high in limits[name]:
            windows.append((stamps.index(low.split(".")[0]) - train, stamps.index(high.split(".")[0]) + 1 - train))
        label = np.zeros(len(rows) - train, bool)
        for low, high in windows:
            label[max(low, 0) : max(high, 0)] = True
        series = make_series(value, interval_s=300.0)  # two files have duplicate or backward stamps: rows count here
        cases.append(Case(name, series[:train], series[train:], label, tuple(windows)))
    return cases


def figures(recipe: Recipe, scored: Sequence[ScoredCase], seed: int) -> dict[str, float]:
    """By NAB's rules: at the threshold its search finds with the labels, and the alarms of a rate nobody tuned.

    Where both parts are there, `nab_at_development` is what is held back, at the threshold found without it.
    """
    said = {each.case.name: (spoken(surprises(recipe, each, seed), each.case), each.case.windows) for each in scored}
    out = {"nab": best_nab_score(list(said.values()))[0]}
    known = [each for name, each in said.items() if _development(name)]
    held = [each for name, each in said.items() if not _development(name)]
    if known and held:
        out["nab_at_development"] = nab_score(held, best_nab_score(known)[1])
    alarms = [(begun(recipe, each, seed), each.case.windows) for each in scored]
    return {**out, "nab_untuned": nab_score(alarms, 1.0)}


def surprises(recipe: Recipe, scored: ScoredCase, seed: int) -> NDArray[np.float64]:
    """How rare the score of each test row is among the last `MEMORY_ROWS`, in decades."""
    if isinstance(recipe, Ensemble) and recipe.memory_rows:
        return np.asarray(scored.late)  # it has counted them so already
    made = calibrate(out_of_fold(recipe, [scored.case.train], seed=seed))
    return Recalibration(made, MEMORY_ROWS)(scored.late).surprise


def begun(recipe: Recipe, scored: ScoredCase, seed: int) -> NDArray[np.float64]:
    """1 at rows where an alarm for one event in `UNTUNED_ROWS` begins, else 0; no label has a say in it."""
    case = scored.case
    early = out_of_fold(recipe, [case.train], seed=seed)
    made = calibrate(early)
    row_s = float(np.median(np.diff(case.train.time_ns))) / 1e9
    supported = Alarm(events=TRAINING_EVENTS, per_s=(len(case.train) - 1) * row_s, separation_s=SEPARATION_ROWS * row_s)
    alarming = fit_alarm(supported, [(case.train.time_ns, made.surprise(early))])
    # So short a training part supports no rarer alarm: it goes on as surprise does, a decade for a tenth of the rows.
    rare = msgspec.structs.replace(supported, events=1.0, per_s=UNTUNED_ROWS * row_s)
    threshold = alarming.threshold + float(np.log10(supported.rate_hz / rare.rate_hz))
    alarmed = Alarming(rare, threshold, alarming.step_s)(case.test.time_ns, made.surprise(scored.late))
    return alarmed.begins.astype(np.float64)


def spoken(surprise: NDArray[np.float64], case: Case) -> NDArray[np.float64]:
    """What is said once: a row that is clearly rarer than all in the rest before it, a fifth of the training part.

    NAB counts each row at or above the threshold, and the detectors of its list rest so long after each detection
    (KNN-CAD, CAD OSE). All other rows are at minus infinity.
    """
    rest = max(len(case.train) // RESTS, 1)
    filled = np.where(np.isfinite(surprise), surprise, -np.inf)
    before = np.concatenate([np.full(rest, -np.inf), filled[:-1]])
    highest = np.lib.stride_tricks.sliding_window_view(before, rest).max(axis=1)
    return np.where(filled >= highest + CLEARLY, filled, -np.inf)


def misses(found: dict[str, Any]) -> Iterator[str]:
    """What was asked and not reached."""
    if mean_of(found, "auto", "nab") <= 60.0:
        yield f"nab: auto {mean_of(found, 'auto', 'nab'):.1f}, asked above 60"


def _development(name: str) -> bool:
    return name.startswith(("realAWSCloudwatch", "artificial"))


NAB = LabelledSet("nab", read, _development, misses, figures, has_vus=False)


def _sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(position > FAR, -1.0, 2.0 / (1.0 + np.exp(np.minimum(5.0 * position, 700.0))) - 1.0)


def row_values(rows: int, windows: Windows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What a detection at each row is worth, (rows,), and the window it is in, (rows,), -1 for none.

    Args:
        rows: of the part judged.
        windows: first row, and the row after the last; rows below 0 lie in the probationary part.
    """
    index = np.arange(rows)
    window = np.full(rows, -1)
    worth = np.full(rows, -FALSE_POSITIVE)
    for number, (start, stop) in enumerate(windows):
        inside = (index >= start) & (index < stop)
        window[inside] = number
        width = float(stop - start)
        worth[inside] = _sigmoid(-(stop - index[inside]) / width) / _sigmoid(np.array(-1.0))
        behind = index >= stop
        worth[behind] = FALSE_POSITIVE * _sigmoid((index[behind] - (stop - 1)) / max(width - 1.0, 1.0))
    return worth, window


def nab_score(series: Sequence[tuple[NDArray[np.float64], Windows]], threshold: float) -> float:
    """The score of all series at one threshold.

    Args:
        series: score of each row behind the probationary part, and NAB's windows.
        threshold: a row detects where its score is at or above it.
    """
    return float(_scores(series, np.array([threshold]))[0])


def best_nab_score(series: Sequence[tuple[NDArray[np.float64], Windows]]) -> tuple[float, float]:
    """The best score over all thresholds, searched with the labels, and its threshold; 0 at infinity for silence."""
    every = np.unique(np.concatenate([score[np.isfinite(score)] for score, _ in series]))
    levels = np.append(every, np.inf)
    scores = _scores(series, levels)
    return float(scores.max()), float(levels[scores.argmax()])


def _scores(
    series: Sequence[tuple[NDArray[np.float64], Windows]], thresholds: NDArray[np.float64]
) -> NDArray[np.float64]:
    total, count = np.zeros(len(thresholds)), 0
    for score, windows in series:
        worth, window = row_values(len(score), windows)
        said = np.where(np.isfinite(score), score, -np.inf)
        outside = window < 0
        order = np.argsort(-said[outside], kind="stable")
        cost = np.concatenate([[0.0], np.cumsum(worth[outside][order])])
        total += cost[np.searchsorted(-said[outside][order], -thresholds, side="right")]
        for number in range(len(windows)):
            inside = np.flatnonzero(window == number)
            if not len(inside):  # wholly in the probationary part: NAB does not judge it
                continue
            count += 1
            first = np.maximum.accumulate(said[inside])  # rises: the first row at or above each threshold
            place = np.searchsorted(first, thresholds, side="left")
            total += np.where(place < len(inside), worth[inside][np.minimum(place, len(inside) - 1)], -1.0)
    return 100.0 * (total + count) / (2.0 * max(count, 1))
