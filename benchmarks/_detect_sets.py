"""The labelled sets of `detect.py`, each in a file of its own.

Promises of them all: what is normal is taken from the training part alone, as each set defines it; labels of the
training part are never read; positions of rows are never shown to a detector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _detect_nab import NAB
from _detect_skab import SKAB
from _detect_smd import SMD
from _detect_wsn import WSN

if TYPE_CHECKING:
    from _detect_case import LabelledSet

SETS: dict[str, LabelledSet] = {"smd": SMD, "skab": SKAB, "nab": NAB, "wsn": WSN}
"""By name."""
