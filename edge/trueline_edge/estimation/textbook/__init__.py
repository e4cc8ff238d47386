"""The oracles: each hot loop as short, plain Python, written to be read against its source.

Each function has the name and arguments of its compiled twin, in `hot.pyx` or a file it includes: it goes on from
`state`, which it changes, and fills the arrays behind it. The two agree to 1e-9, and a state saved by one restores in
the other.
"""

from trueline_edge.estimation.textbook.bank import bank_level
from trueline_edge.estimation.textbook.credit import credit
from trueline_edge.estimation.textbook.fuse import fuse_level
from trueline_edge.estimation.textbook.level import kalman_level
from trueline_edge.estimation.textbook.linear import kalman_linear
from trueline_edge.estimation.textbook.panels import panel
from trueline_edge.estimation.textbook.sequences import (
    ages,
    beside,
    leaps,
    limits,
    look_up,
    paces,
    pick,
    repeats,
    there,
)
from trueline_edge.estimation.textbook.trend import kalman_trend
from trueline_edge.estimation.textbook.windows import hampel, hampel_centred

__all__ = [
    "ages",
    "bank_level",
    "beside",
    "credit",
    "fuse_level",
    "hampel",
    "hampel_centred",
    "kalman_level",
    "kalman_linear",
    "kalman_trend",
    "leaps",
    "limits",
    "look_up",
    "paces",
    "panel",
    "pick",
    "repeats",
    "there",
]
