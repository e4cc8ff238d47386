"""The zoo's networks, each trained alike: what it finds, what int8 costs it, and what it costs the device.

    benchmarks/zoo.py --data ../shared/data [--set smd wsn] [--network autoencoder-conv ...] [--seeds 3] [--json]

Every network is fitted to the training part of each recording alone, with one configuration for all (`TRAINING`), and
scores the test part in float and in int8. Given are means over recordings and seeds, and the standard deviation over
seeds: average precision (AP), volume under the precision-recall surface (VUS-PR), what int8 loses of AP (below 0: it
gains), size of the file, time of a bare invoke, multiply-accumulates. Of SMD two machines are shown (1-6 and 2-1),
of WSN the two motes with events; PCA residual with 10-step mean stands beside.

Bounds: int8 loses at most 1 % of AP, 64 KB and 30 us a window, for the default network (the first).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from _common import machine, parser, say
from _detect_metrics import average_precision, vus_pr
from _detect_sets import SETS

from trueline_cloud.learning.dataset import Split
from trueline_cloud.learning.fit import fit_network
from trueline_cloud.learning.train import TrainSettings
from trueline_cloud.learning.zoo import ZOO
from trueline_model.detector import score_series
from trueline_model.detectors import Pca

if TYPE_CHECKING:
    from _detect_case import Case

TRAINING: Final = TrainSettings(epochs_max=30, windows_max=4096)
VALIDATED: Final = 0.2
SHOWN: Final = {"smd": ("machine-1-6", "machine-2-1"), "wsn": ("mote 1", "mote 4")}
PEER: Final = "PCA residual, mean of 10"
LOSS_MAX, SIZE_MAX_KB, LATENCY_MAX_US = 0.01, 64.0, 30.0
ROWS_A_BATCH: Final = 4096


def main() -> int:
    """Print the table; the exit code says whether the bounds hold."""
    options = _options()
    rows = []
    for name in options.set:
        labelled = SETS[name]
        for network in [PEER, *options.network]:
            found = [
                _measured(case, network, seed)
                for seed in (range(options.seeds) if network != PEER else (0,))
                for case in labelled.read(options.data / labelled.folder, seed)
                if case.name in SHOWN[name]
            ]
            rows.append({"set": name, "network": network, **_summary(found)})
            say(_line(rows[-1]))
    print(json.dumps({"machine": machine(), "rows": rows}, indent=1) if options.json else _table(rows))
    misses = _misses(rows)
    for miss in misses:
        say(f"MISSED: {miss}")
    return 1 if misses else 0


def _options() -> Any:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--set", nargs="+", choices=tuple(SHOWN), default=list(SHOWN))
    made.add_argument("--network", nargs="+", choices=tuple(ZOO), default=list(ZOO))
    made.add_argument("--seeds", type=int, default=3)
    return made.parse_args()


def _measured(case: Case, network: str, seed: int) -> dict[str, float]:
    if network == PEER:
        score = score_series(Pca(scaling="standard", mean_rows=10).fit([case.train]), case.test).score
        return {"seed": seed, "ap": average_precision(case.label, score), "vus_pr": vus_pr(case.label, score)}
    cut = round((1.0 - VALIDATED) * len(case.train))
    settings = TrainSettings(epochs_max=TRAINING.epochs_max, windows_max=TRAINING.windows_max, seed=seed)
    fitted = fit_network([], network, settings, parts=Split([case.train[:cut]], [case.train[cut:]], []))
    small = score_series(fitted.detector, case.test, batch=ROWS_A_BATCH).score
    whole = score_series(fitted.reference, case.test, batch=ROWS_A_BATCH).score
    return {
        "seed": seed,
        "ap": average_precision(case.label, small),
        "ap_float": average_precision(case.label, whole),
        "vus_pr": vus_pr(case.label, small),
        "size_kb": len(fitted.tflite) / 1024,
        "latency_us": fitted.latency_us,
        "operations": fitted.operations,
    }


def _summary(found: list[dict[str, float]]) -> dict[str, float]:
    seeds = sorted({each["seed"] for each in found})
    mean = {key: float(np.mean([each[key] for each in found])) for key in found[0] if key != "seed"}
    by_seed = [np.mean([each["ap"] for each in found if each["seed"] == seed]) for seed in seeds]
    loss = {"int8_loss": 1.0 - mean["ap"] / mean["ap_float"]} if "ap_float" in mean else {}
    return {**mean, "ap_spread": float(np.std(by_seed)), **loss}


def _line(row: dict[str, Any]) -> str:
    cost = (
        f"{row['int8_loss']:+.1%} | {row['size_kb']:.1f} | {row['latency_us']:.1f} | {row['operations'] / 1000:.0f}"
        if "int8_loss" in row
        else " | | |"
    )
    found = f"{row['ap']:.3f} ± {row['ap_spread']:.3f} | {row['vus_pr']:.3f}"
    return f"| {row['set']} | {row['network']} | {found} | {cost} |"


def _table(rows: list[dict[str, Any]]) -> str:
    head = "| set | network | AP int8 | VUS-PR | int8 loses | KB | us a window | kMAC |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *map(_line, rows)])


def _misses(rows: list[dict[str, Any]]) -> list[str]:
    default = next(iter(ZOO))
    misses = []
    for row in rows:
        if row["network"] != default:
            continue
        for key, most in (("int8_loss", LOSS_MAX), ("size_kb", SIZE_MAX_KB), ("latency_us", LATENCY_MAX_US)):
            if row[key] > most:
                misses.append(f"{key} of {default} on {row['set']} is {row[key]:.4g}: at most {most:g} asked")
    return misses


if __name__ == "__main__":
    sys.exit(main())
