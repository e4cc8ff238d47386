"""What is asked of `auto` in `detect.py`, beside what came.

smd: AP and VUS-PR at least 10 % above the PCA residual with 10-step mean of the same run. skab: AP at least 5 % above
mean |z| and PCA residual of the same run, 33 of 34 events with at most 4 % of the rows before the event in alarm. wsn:
AP above 0.90. nab: above 60 by NAB's rules. False alarms between half and twice the configured rate.
Sensor fault against process anomaly: balanced accuracy 0.90.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

PCA10 = "PCA residual, mean of 10"
MEAN_Z = "mean |z|"
PCA1 = "PCA residual"


def misses(result: dict[str, Any], rates: list[dict[str, Any]], verdicts: dict[str, dict[str, Any]]) -> list[str]:
    """What was asked and not reached."""
    judges = {"smd": _smd, "skab": _skab, "wsn": _wsn, "nab": _nab}
    out = [line for name, judge in judges.items() if name in result for line in judge(result[name])]
    out += [
        f"sensor or process, {name}: balanced accuracy {found['balanced_accuracy']:.3f}, asked 0.90"
        for name, found in verdicts.items()
        if found["balanced_accuracy"] < 0.9
    ]
    return out + [
        f"false alarms, {each['name']}: {each['adaptive']}, {each['expected']:g} configured"
        for each in rates
        if not 0.5 * each["expected"] <= each["adaptive"] <= 2.0 * each["expected"]
    ]


def _mean(found: dict[str, Any], detector: str, key: str) -> float:
    return float(np.mean(found[detector][key]))


def _smd(found: dict[str, Any]) -> Iterator[str]:
    for key in ("ap", "vus_pr"):
        ours, theirs = _mean(found, "auto", key), _mean(found, PCA10, key)
        if ours < 1.1 * theirs:
            yield f"smd {key}: auto {ours:.3f}, PCA with 10-step mean {theirs:.3f}, asked 10 % above"


def _skab(found: dict[str, Any]) -> Iterator[str]:
    ours, theirs = _mean(found, "auto", "ap"), max(_mean(found, each, "ap") for each in (MEAN_Z, PCA1))
    if ours < 1.05 * theirs:
        yield f"skab ap: auto {ours:.3f}, best of mean |z| and PCA {theirs:.3f}, asked 5 % above"
    events, share = _mean(found, "auto", "events_found"), _mean(found, "auto", "before_share")
    if events < 33 or share > 0.04:
        yield f"skab events: {events:.1f} of 34 with {share:.1%} of rows before in alarm, asked 33 with 4 %"


def _wsn(found: dict[str, Any]) -> Iterator[str]:
    if _mean(found, "auto", "ap") <= 0.9:
        yield f"wsn ap: auto {_mean(found, 'auto', 'ap'):.3f}, asked above 0.90"


def _nab(found: dict[str, Any]) -> Iterator[str]:
    if _mean(found, "auto", "nab") <= 60.0:
        yield f"nab: auto {_mean(found, 'auto', 'nab'):.1f}, asked above 60"
