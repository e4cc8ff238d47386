"""What is asked of `auto` in `detect.py`, beside what came.

Of each set: see its file. False alarms between half and twice the configured rate. Sensor fault against process
anomaly: balanced accuracy 0.90.
"""

from __future__ import annotations

from typing import Any

from _detect_sets import SETS


def misses(result: dict[str, Any], rates: list[dict[str, Any]], verdicts: dict[str, dict[str, Any]]) -> list[str]:
    """What was asked and not reached."""
    out = [line for name in SETS if name in result for line in SETS[name].misses(result[name])]
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
