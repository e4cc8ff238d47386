"""The zoo's networks, each trained alike: what it finds, what int8 costs it, and what it costs the device.

    benchmarks/zoo.py --data ../shared/data [--set smd wsn] [--network autoencoder-conv ...] [--seeds 3] [--json]

Every network is fitted to the training part of each recording alone, with one configuration for all (as `detect.py`
does, which shares what was trained: `--kept`), and scores the test part in float and in int8. Given are means over
seeds for each recording, and the standard deviation over seeds: average precision (AP), volume under the
precision-recall surface (VUS-PR), what int8 loses of AP (below 0: it gains), size of the file, time of a bare invoke,
multiply-accumulates. Of SMD two machines are shown (1-6 and 2-1), of WSN the two motes with events, of which mote 4 was
held back while networks were made; PCA residual with 10-step mean stands beside, and where asked for (`--network
"matrix profile"`, extra `discord`) the matrix profile.

Bounds: int8 loses at most 1 % of AP, 64 KB and 30 us a window, for the default network (the first).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from _common import machine, parser, say
from _detect_metrics import average_precision, filled, vus_pr
from _detect_networks import KEPT, trained
from _detect_sets import SETS

from trueline_cloud.learning.discord import discord
from trueline_cloud.learning.quantise import operations
from trueline_cloud.learning.zoo import ZOO
from trueline_model.detector import score_series
from trueline_model.detectors import Pca

if TYPE_CHECKING:
    from _detect_case import Case

SHOWN: Final = {"smd": ("machine-1-6", "machine-2-1"), "wsn": ("mote 1", "mote 4")}
PEER, DISCORD = "PCA residual, mean of 10", "matrix profile"
DISCORD_ROWS: Final = 32
LOSS_MAX, SIZE_MAX_KB, LATENCY_MAX_US = 0.01, 64.0, 30.0


def main() -> int:
    """Print the table; the exit code says whether the bounds hold."""
    options = _options()
    rows = []
    for name in options.set:
        labelled = SETS[name]
        for network in [PEER, *options.network]:
            found = [
                _measured(case, network, seed, options.kept)
                for seed in (range(options.seeds) if network not in UNSEEDED else (0,))
                for case in labelled.read(options.data / labelled.folder, seed)
                if case.name in SHOWN[name]
            ]
            for each in SHOWN[name]:
                rows.append({"set": name, "case": each, "network": network, **_summary(found, each)})
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
    made.add_argument("--network", nargs="+", choices=(*ZOO, DISCORD), default=list(ZOO))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--kept", type=Path, default=KEPT, metavar="DIR", help=f"where trained networks are ({KEPT})")
    return made.parse_args()


def _pca(case: Case) -> Any:
    return score_series(Pca(scaling="standard", mean_rows=10).fit([case.train]), case.test).score


def _discord(case: Case) -> Any:
    return discord(case.train, case.test, DISCORD_ROWS)


UNSEEDED: Final = {PEER: _pca, DISCORD: _discord}
"""Rows that are no networks and draw nothing."""


def _measured(case: Case, network: str, seed: int, kept: Path) -> dict[str, Any]:
    if network in UNSEEDED:
        score = filled(UNSEEDED[network](case))
        found = {"ap": average_precision(case.label, score), "vus_pr": vus_pr(case.label, score)}
    else:
        one = trained(network, case, seed, kept)
        small, whole = filled(one.small), filled(one.whole)
        build, _, rows = ZOO[network]
        found = {
            "ap": average_precision(case.label, small),
            "ap_float": average_precision(case.label, whole),
            "vus_pr": vus_pr(case.label, small),
            "size_kb": one.kb,
            "latency_us": one.us,
            "operations": operations(build(rows, len(case.train.channels))),
        }
    return {"case": case.name, "seed": seed, **found}


def _summary(found: list[dict[str, Any]], case: str) -> dict[str, float]:
    """Means over the seeds of one recording, and the spread of its average precision."""
    own = [each for each in found if each["case"] == case]
    mean = {key: float(np.mean([each[key] for each in own])) for key in own[0] if key not in ("seed", "case")}
    loss = {"int8_loss": 1.0 - mean["ap"] / mean["ap_float"]} if "ap_float" in mean else {}
    return {**mean, "ap_spread": float(np.std([each["ap"] for each in own])), **loss}


def _line(row: dict[str, Any]) -> str:
    cost = (
        f"{row['int8_loss']:+.1%} | {row['size_kb']:.1f} | {row['latency_us']:.1f} | {row['operations'] / 1000:.0f}"
        if "int8_loss" in row
        else " | | |"
    )
    found = f"{row['ap']:.3f} ± {row['ap_spread']:.3f} | {row['vus_pr']:.3f}"
    return f"| {row['case']} | {row['network']} | {found} | {cost} |"


def _table(rows: list[dict[str, Any]]) -> str:
    head = "| recording | network | AP int8 | VUS-PR | int8 loses | KB | us a window | kMAC |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *map(_line, rows)])


def _misses(rows: list[dict[str, Any]]) -> list[str]:
    default = next(iter(ZOO))
    misses = []
    for row in rows:
        if row["network"] != default:
            continue
        for key, most in (("int8_loss", LOSS_MAX), ("size_kb", SIZE_MAX_KB), ("latency_us", LATENCY_MAX_US)):
            if row[key] > most:
                misses.append(f"{key} of {default} on {row['case']} is {row[key]:.4g}: at most {most:g} asked")
    return misses


if __name__ == "__main__":
    sys.exit(main())
