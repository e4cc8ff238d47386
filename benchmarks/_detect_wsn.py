"""WSN: 4 motes with humidity and temperature; two of them get steam. Training: the first 30 % of the rows.

Asked: AP above 0.90. Labels of mote 1 were looked at while detectors were made; mote 4 is held back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from _detect_case import Case, LabelledSet, mean_of

from trueline_model.series import make_series

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRAIN = 0.3


def read(folder: Path, seed: int) -> list[Case]:  # noqa: ARG001 - nothing is drawn
    """The motes."""
    table = np.genfromtxt(folder / "data.csv", delimiter=",", skip_header=1)
    cases = []
    for mote in np.unique(table[:, 1]):
        own = table[table[:, 1] == mote]
        series = make_series(own[:, 3:5], interval_s=5.0, channels=("humidity", "temperature"))
        cut = round(len(own) * TRAIN)
        cases.append(Case(f"mote {mote:.0f}", series[:cut], series[cut:], own[cut:, 5] > 0))
    return cases


def misses(found: dict[str, Any]) -> Iterator[str]:
    """What was asked and not reached."""
    if mean_of(found, "auto", "ap") <= 0.9:
        yield f"wsn ap: auto {mean_of(found, 'auto', 'ap'):.3f}, asked above 0.90"


WSN = LabelledSet("wsn_single-hop", read, lambda name: name != "mote 4", misses)
