"""Simulated fleets, faults on: how near the pipeline is to an oracle, and how honest its uncertainty.

    .venv/bin/python benchmarks/accuracy.py            100 devices of each of the six scenarios: 600 in all
    .venv/bin/python benchmarks/accuracy.py --quick    8 devices for a short while; bounds are not held

Each device has three sensors of one kind on each measurand. For the first part of its record they stand beside a
reference of stated uncertainty, and are calibrated; the later part, in which faults are drawn, is scored, once with one
sensor ("single": corrected, then filtered), once with all three ("fused"). What the pipeline is told stands in
`_accuracy_pipeline.py`, what the oracle knows in `_accuracy_reference.py`. Tuned on seeds below 1000, scored from 5000.

Scored cells: rows no label of rows touches, that the pipeline passed (flag 1 or 2), of which, for one sensor, no label
touches the cell, for three, at most one; the same for all. Beside them: all cells. Excluded: of cells without any
label, those that were not passed. Bounds, for each measurand, single and fused: RMSE at most 1.15 of the oracle's;
95 % intervals hold 93 to 97 %, 50 % intervals 46 to 54 %; mean width at most 1.2 of the oracle's; at most 0.5 %
excluded; RMSE below each peer's. Exit code 1: a miss.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from _accuracy_fleet import PLANS, REDUNDANCY, make_fleet
from _accuracy_peers import peers
from _accuracy_pipeline import BURN_IN, calibrate_fleet, run_fleet
from _accuracy_reference import reference_filter
from _common import finish, parser, say

from trueline_sim.score.metrics import Tally

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from _accuracy_fleet import Fleet, Measured
    from _accuracy_pipeline import Outcome
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

SEED: Final = 5000
DEVICES: Final = 100
RATIO_MAX, WIDTH_MAX, EXCLUDED_MAX = 1.15, 1.2, 0.005
COVERAGE: Final = {"95": (0.93, 0.97), "50": (0.46, 0.54)}


class Cells:
    """The cells of one measurand that are scored: where, what was true, and what the sensor said there.

    Args:
        fleet: the devices.
        measured: the measurand.
        sensors: how many are used.
        outcome: what came out.
    """

    def __init__(self, fleet: Fleet, measured: Measured, sensors: int, outcome: Outcome) -> None:
        self.rows = slice(fleet.plan.calibration_steps + BURN_IN, None)
        came = fleet.copies[self.rows] > 0
        labels = measured.faulty[self.rows, :, :sensors].sum(axis=2)
        rows_good = came & ~fleet.row_faulty[self.rows]
        flag, value = outcome.flag[BURN_IN:], outcome.value[BURN_IN:]
        passed = ((flag == 1) | (flag == 2)) & np.isfinite(value)
        self.good = rows_good & (labels == 0)
        self.scored = rows_good & (labels <= (0 if sensors == 1 else 1)) & passed
        self.every = came & np.isfinite(value)
        self.excluded = 1.0 - (self.good & passed).sum() / self.good.sum()
        self.truth, self.raw = measured.truth[self.rows], np.nan_to_num(measured.raw[self.rows, :, 0])
        self._device = np.broadcast_to(np.arange(fleet.devices, dtype=np.int32), came.shape)

    def tally(self, value: Array, u: Array, where: Mask) -> dict[str, Any]:
        """The figures of `trueline-sim score`."""
        tally = Tally()
        # Device by device, as a recording would be read.
        at = where.T
        tally.add(self.truth.T[at], self.raw.T[at], value.T[at], u.T[at], self._device.T[at])
        return tally.result()

    def rmse(self, value: Array, where: Mask) -> float:
        """Of estimates of all rows of the fleet."""
        return float(np.sqrt(np.mean((value[self.rows] - self.truth)[where] ** 2)))


def score(fleet: Fleet, measured: Measured, sensors: int, out: dict[str, Outcome]) -> dict[str, Any]:
    """All figures of one measurand, with one sensor or with all."""
    outcome = out[measured.name + ".fused"]
    cells = Cells(fleet, measured, sensors, outcome)
    value, u = outcome.value[BURN_IN:], outcome.u[BURN_IN:]
    oracle = reference_filter(fleet, measured, tuple(range(sensors)))
    ours = cells.tally(value, u, cells.scored)
    known = cells.tally(oracle.value[cells.rows], oracle.u[cells.rows], cells.scored)
    every = cells.tally(value, u, cells.every)
    result = {
        "unit": measured.unit,
        "sensor": measured.model.name,
        "rmse": ours["rmse_out"],
        "oracle_rmse": known["rmse_out"],
        "ratio": ours["rmse_out"] / known["rmse_out"],
        "coverage_95": ours["coverage"]["95"],
        "coverage_50": ours["coverage"]["50"],
        "coverage_95_standard_error": ours["devices"]["coverage"]["95"]["standard_error"],
        "oracle_coverage_95": known["coverage"]["95"],
        "oracle_coverage_50": known["coverage"]["50"],
        "width": ours["interval_width_95"] / known["interval_width_95"],
        "excluded": float(cells.excluded),
        "cells": ours["cells"],
        "all_rmse": every["rmse_out"],
        "all_oracle_rmse": cells.rmse(oracle.value, cells.every),
        "all_coverage_95": every["coverage"]["95"],
        "all_coverage_50": every["coverage"]["50"],
    }
    if sensors == 1:
        plain = out[measured.name]
        passed = (plain.flag[BURN_IN:] == 1) | (plain.flag[BURN_IN:] == 2)
        there = cells.scored & passed & np.isfinite(plain.value[BURN_IN:])
        corrected = cells.tally(plain.value[BURN_IN:], plain.u[BURN_IN:], there)
        result["corrected_rmse"] = corrected["rmse_out"]
        result["corrected_coverage_95"] = corrected["coverage"]["95"]
        result["corrected_coverage_50"] = corrected["coverage"]["50"]
    best: dict[str, tuple[float, str]] = {}
    for name, setting, estimate in peers(fleet, measured, tuple(range(sensors))):
        found = cells.rmse(estimate, cells.scored)
        if name not in best or found < best[name][0]:
            best[name] = (found, setting)
    result["peers"] = {name: {"rmse": rmse, "setting": setting} for name, (rmse, setting) in best.items()}
    return result


def missed(where: str, figures: dict[str, Any]) -> Iterator[str]:
    """What is out of bounds."""
    if figures["ratio"] > RATIO_MAX:
        yield f"{where}: RMSE {figures['ratio']:.3f} of the oracle's, at most {RATIO_MAX} asked"
    kinds = ["coverage"] + (["corrected_coverage"] if "corrected_rmse" in figures else [])
    for kind in kinds:
        for level, (low, high) in COVERAGE.items():
            if not low <= figures[f"{kind}_{level}"] <= high:
                words = "" if kind == "coverage" else "corrected, "
                share = figures[f"{kind}_{level}"]
                yield f"{where}: {words}{level} % intervals hold {share:.1%}, {low:.0%} to {high:.0%} asked"
    if figures["width"] > WIDTH_MAX:
        yield f"{where}: intervals {figures['width']:.3f} times as wide as the oracle's, at most {WIDTH_MAX} asked"
    if figures["excluded"] > EXCLUDED_MAX:
        yield f"{where}: {figures['excluded']:.2%} of good readings excluded, at most {EXCLUDED_MAX:.1%} asked"
    for name, peer in figures["peers"].items():
        if not figures["rmse"] < peer["rmse"]:
            setting = f" ({peer['setting']})" if peer["setting"] else ""
            yield f"{where}: RMSE {figures['rmse']:.4g}, {name}{setting} {peer['rmse']:.4g}"


def run_scenario(scenario: str, devices: int, seed: int, *, quick: bool = False) -> tuple[dict[str, Any], list[str]]:
    """One fleet, all its measurands."""
    began = time.process_time()
    plan = replace(PLANS[scenario], calibration_steps=400, steps=900) if quick else None
    fleet = make_fleet(scenario, devices=devices, seed=seed, plan=plan)
    calibrations = {(m.name, s): calibrate_fleet(fleet, m, s) for m in fleet.measured for s in range(REDUNDANCY)}
    prepared = time.process_time()
    table: dict[str, Any] = {}
    misses: list[str] = []
    edge_s = 0.0
    for kind, sensors in (("single", 1), ("fused", REDUNDANCY)):
        start = time.process_time()
        out = run_fleet(fleet, calibrations, sensors)
        edge_s += time.process_time() - start
        for measured in fleet.measured:
            figures = score(fleet, measured, sensors, out)
            table.setdefault(measured.name, {})[kind] = figures
            misses += missed(f"{scenario} {measured.name}, {kind}", figures)
            best = min(figures["peers"].items(), key=lambda item: item[1]["rmse"])
            say(
                f"  {measured.name:20} {kind:7} ratio {figures['ratio']:6.3f}  95 % {figures['coverage_95']:.3f}  "
                f"50 % {figures['coverage_50']:.3f}  width {figures['width']:6.3f}  out {figures['excluded']:.4f}  "
                f"best peer {best[1]['rmse'] / figures['oracle_rmse']:.3f} {best[0]}  "
                f"oracle 95 % {figures['oracle_coverage_95']:.3f}"
            )
    info = {
        "devices": devices,
        "seed": seed,
        "interval_s": fleet.plan.interval_s,
        "calibration_steps": fleet.plan.calibration_steps,
        "steps": fleet.plan.steps,
        "faults": fleet.faults,
        "made_and_calibrated_cpu_s": round(prepared - began, 1),
        "edge_cpu_s": round(edge_s, 1),
        "cpu_s": round(time.process_time() - began, 1),
    }
    return {"fleet": info, "measurands": table}, misses


def summary(table: dict[str, Any], kind: str) -> dict[str, float]:
    """Over the measurands of a scenario: root mean square of the ratios, coverage of all cells, mean width."""
    figures = [one[kind] for one in table["measurands"].values()]
    cells = np.array([one["cells"] for one in figures], np.float64)

    def mean(key: str) -> float:
        return float((np.array([one[key] for one in figures]) * cells).sum() / cells.sum())

    ratios = np.array([one["ratio"] for one in figures])
    return {
        "ratio": float(np.sqrt(np.mean(ratios**2))),
        "ratio_median": float(np.median(ratios)),
        "within": int((ratios <= RATIO_MAX).sum()),
        "measurands": len(ratios),
        "coverage_95": mean("coverage_95"),
        "coverage_50": mean("coverage_50"),
        "width": mean("width"),
        "excluded": mean("excluded"),
    }


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    arguments = _arguments(argv)
    devices = arguments.devices or (8 if arguments.quick else DEVICES)
    result: dict[str, Any] = {}
    misses: list[str] = []
    tables: dict[str, Any] = {}
    for number, scenario in enumerate(PLANS):
        if arguments.scenario and scenario not in arguments.scenario:
            continue
        say(f"{scenario}: {devices} devices …")
        tables[scenario], missing = run_scenario(scenario, devices, arguments.seed + number, quick=arguments.quick)
        misses += missing
        for kind in ("single", "fused"):
            found = summary(tables[scenario], kind)
            say(f"  {kind}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()))
            result |= {f"{scenario}_{kind}_{key}": round(value, 4) for key, value in found.items()}
    result["tables"] = tables if arguments.json else f"{len(tables)} scenarios (with --json)"
    return finish(result, [] if arguments.quick else misses, as_json=arguments.json)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--data", help="taken as by the other benchmarks; nothing recorded is used")
    made.add_argument("--quick", action="store_true", help="8 devices, few rows; bounds are not held")
    made.add_argument("--devices", type=int, help=f"of each scenario ({DEVICES})")
    made.add_argument("--scenario", action="append", choices=sorted(PLANS), help="this one only; may be repeated")
    made.add_argument("--seed", type=int, default=SEED, help=f"of the first scenario; the next has the next ({SEED})")
    return made.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
