"""Detectors compared: which finds most, at what false alarms, for how many microseconds and kilobytes.

    python benchmarks/detect.py --data DIR [--set smd ...] [--seeds 3] [--networks NAME ...] [--page docs/detection.md]

DIR holds the sets of `_detect_sets.py`; with `--labels COLUMN` it is any folder of CSV or Parquet files that have such
a column, the first 30 % of each for training (`_detect_folder.py`). Every detector is fitted to the training part of
each series alone; one configuration serves all series of a set. `auto` is what `trueline-cloud train --model auto`
takes, from the training parts alone (`trueline_cloud.learning.choose`): no test label is seen before the figures are
printed. Of three seeds (fits, crops) mean and spread are given.

What is asked of each set, and what only it is judged by: `_detect_SET.py`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _common
import numpy as np
from _detect_asked import misses
from _detect_case import MEAN_Z, PCA1, PCA10, ScoredCase
from _detect_folder import folder_set
from _detect_metrics import at_false_alarms, average_precision, best_f1, filled, vus_pr
from _detect_networks import KEPT, there_are, trained
from _detect_page import table, write_page
from _detect_rate import quiet_recordings, rate_kept
from _detect_sets import SETS
from _detect_verdict import verdicts

from trueline_cloud.learning.choose import choose
from trueline_cloud.learning.made import Budget
from trueline_cloud.learning.settings import TrainSettings
from trueline_model.detectors import Deviation, Pca
from trueline_model.selection import candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _detect_case import Case, LabelledSet
    from numpy.typing import NDArray

    from trueline_model.detector import Detector, Recipe

VERDICT_SEED = 5000
LEARNT_AGAIN_ROWS = 100
"""Rows of the training part that go before the test part where a detector learns on: all would be learnt twice."""

PEERS: dict[str, Recipe] = {
    MEAN_Z: Deviation(scaling="standard"),
    PCA1: Pca(scaling="standard"),
    PCA10: Pca(scaling="standard", mean_rows=10),
}
"""What `auto` is measured by, as the issue names them."""


def recipes_for(width: int) -> dict[str, Recipe]:
    """All that is compared: with one channel there are no correlations, so no PCA."""
    peers = PEERS if width > 1 else {MEAN_Z: PEERS[MEAN_Z]}
    return {**peers, **candidates(width)}


def chosen(cases: Sequence[Case]) -> str:
    """What `trueline-cloud train --model auto` would take for all series of a set, from their training parts."""
    told = [case.train for case in cases]
    choices = choose([[each] for each in told], TrainSettings(), Budget(), trials=0, told=_common.say)
    return choices[0].name


def scored(detector: Detector, case: Case) -> ScoredCase:
    """The case as the detector sees it: the test part follows the training part."""
    learns = getattr(getattr(detector, "recipe", None), "learns", False)
    last = case.train[-LEARNT_AGAIN_ROWS if learns else 0 :]
    early = detector.score(last.value, last.valid)
    begun = time.process_time()  # what else runs on this machine is not the detector's
    late = detector.score(case.test.value, case.test.valid, early.state)
    return ScoredCase(case, detector, late.score, (time.process_time() - begun) / len(case.test) * 1e6)


def compare(name: str, data: Path, seeds: int, networks: Sequence[str] | None, kept_in: Path) -> dict[str, Any]:
    """All detectors on one set; where a seed changes neither a detector nor the cases, its figures are taken again."""
    labelled = SETS[name]
    result: dict[str, Any] = {}
    known: dict[str, tuple[str, dict[str, float]]] = {}
    first = labelled.read(data / labelled.folder, 0)
    recipes, auto = recipes_for(len(first[0].train.channels)), chosen(first)
    trainable, why = there_are(first)
    _common.say(f"    no network: {why}" if why else f"    networks: {', '.join(trainable)}")
    for seed in range(seeds):
        cases = labelled.read(data / labelled.folder, seed)
        for detector, recipe in recipes.items():
            fitted = [recipe.fit([case.train], seed) for case in cases]
            digest = _digest(fitted, cases)
            if known.get(detector, ("", {}))[0] != digest:
                found = figures(labelled, recipe, [scored(*each) for each in zip(fitted, cases, strict=True)], seed)
                known[detector] = digest, found
            _add(result, detector, known[detector][1])
        for rule, score in labelled.rules.items():
            _add(result, rule, means([(case, score(case, seed)) for case in cases], has_vus=labelled.has_vus))
        for network in trainable if networks is None else [each for each in networks if each in trainable]:
            _common.say(f"    {network}, seed {seed}")
            _add(result, network, network_figures(labelled, network, cases, seed, kept_in))
    result["auto"] = {**result[auto], "chosen": auto}
    return result


def _add(result: dict[str, Any], detector: str, found: dict[str, float]) -> None:
    for key, figure in found.items():
        result.setdefault(detector, {}).setdefault(key, []).append(figure)


def _digest(fitted: Sequence[Detector], cases: Sequence[Case]) -> str:
    seen = hashlib.sha256()
    for detector, case in zip(fitted, cases, strict=True):
        seen.update(case.test.value.tobytes())
        for array in detector.parts().arrays.values():
            seen.update(np.ascontiguousarray(array).tobytes())
    return seen.hexdigest()


def network_figures(
    labelled: LabelledSet, network: str, cases: Sequence[Case], seed: int, kept_in: Path
) -> dict[str, float]:
    """What a network reaches in int8, and its AP in float."""
    found = [(case, trained(network, case, seed, kept_in)) for case in cases if case.label.any()]
    out = means([(case, each.small) for case, each in found], has_vus=labelled.has_vus)
    out["ap_float"] = means([(case, each.whole) for case, each in found], has_vus=False)["ap"]
    held = [(case, each.small) for case, each in found if not labelled.development(case.name)]
    out |= {f"held_{key}": figure for key, figure in means(held, has_vus=labelled.has_vus).items()}
    costs = {"us": [each.us for _, each in found], "kb": [each.kb for _, each in found]}
    return out | {key: float(np.median(each)) for key, each in costs.items()}


def figures(labelled: LabelledSet, recipe: Recipe, found: Sequence[ScoredCase], seed: int) -> dict[str, float]:
    """What one detector reaches on all series of a set, and on those held back alone (`held_`)."""
    held = [each for each in found if not labelled.development(each.case.name)]
    out = means([(each.case, each.late) for each in found], has_vus=labelled.has_vus)
    out |= labelled.figures(recipe, found, seed)
    if held and len(held) < len(found):
        late = means([(each.case, each.late) for each in held], has_vus=labelled.has_vus)
        late |= labelled.figures(recipe, held, seed)
        out |= {f"held_{key}": figure for key, figure in late.items()}
    out["us"] = float(np.median([each.microseconds for each in found]))
    out["kb"] = float(np.mean([sum(a.nbytes for a in each.detector.parts().arrays.values()) for each in found])) / 1000
    return out


def means(scored_cases: Sequence[tuple[Case, NDArray[np.float64]]], *, has_vus: bool) -> dict[str, float]:
    """What scores are worth, the mean over the cases with an anomaly."""
    rows: list[dict[str, float]] = []
    for case, late in scored_cases:
        if not case.label.any():
            continue
        score = filled(late)
        days = float(case.test.time_ns[-1] - case.test.time_ns[0]) / 86.4e12
        event = at_false_alarms(case.label, score, days, separation=10)
        rows.append(
            {
                "ap": average_precision(case.label, score),
                **({"vus_pr": vus_pr(case.label, score)} if has_vus else {}),
                "f1": best_f1(case.label, score),
                "event_recall": event.found / event.events,
                "delay_rows": event.delay_rows,
            }
        )
    every = {key: np.array([row[key] for row in rows]) for key in (rows[0] if rows else ())}
    return {key: float(found[np.isfinite(found)].mean()) for key, found in every.items() if np.isfinite(found).any()}


def kept(data: Path) -> list[dict[str, Any]]:
    """The configured rate and what came, on recordings without an anomaly."""
    return [
        rate_kept(PEERS[PCA1], series, name)._asdict() | {"detector": PCA1} for name, series in quiet_recordings(data)
    ]


def main() -> int:
    """Compare, print, and fail where what was asked is missed."""
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the labelled sets")
    parser.add_argument(
        "--set", nargs="*", choices=[*SETS, "rate", "verdict"], default=[*SETS, "rate", "verdict"], help="which to run"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", nargs="*", metavar="NAME", help="of the zoo; all of them if not given")
    parser.add_argument("--kept", type=Path, default=KEPT, metavar="DIR", help=f"where trained networks are ({KEPT})")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the tables into this page")
    parser.add_argument("--labels", metavar="COLUMN", help="--data is any labelled folder, and this its column")
    arguments = parser.parse_args()
    if arguments.labels:
        SETS["folder"] = folder_set(arguments.labels)
        arguments.set = ["folder"]
    result = {}
    for name in SETS:
        if name in arguments.set:
            _common.say(f"{name}")
            result[name] = compare(name, arguments.data, arguments.seeds, arguments.networks, arguments.kept)
    rates = kept(arguments.data) if "rate" in arguments.set else []
    told = verdicts(range(VERDICT_SEED, VERDICT_SEED + arguments.seeds)) if "verdict" in arguments.set else {}
    missed = misses(result, rates, told)
    if arguments.page:
        write_page(arguments.page, {name: table(name, found) for name, found in result.items()})
    if arguments.json:
        print(
            json.dumps(
                {"sets": result, "rates": rates, "verdicts": told, "missed": missed, "machine": _common.machine()}
            )
        )
    else:
        for name, found in result.items():
            print(f"\n## {name}\n\n{table(name, found)}")
        for each in rates:
            came = f"{each['adaptive']} came, {each['fixed']} with a fixed threshold"
            print(f"{each['name']}: {each['expected']:g} configured, {came}")
        for name, found in told.items():
            print(f"{name}: {found}")
        print(*(f"MISSED {line}" for line in missed), sep="\n")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
