"""One quantity, several sensors: each heard by itself, those believed that agree, and their mean filtered.

Each sensor's own filter tells its noise and whether it just jumped. The panel (`estimation/panel.py`) learns what they
differ by all the time, outvotes who disagrees with the majority in a row, or in the mean of many, and weighs the rest
into one value, which the process filter takes.

Only differences are ever seen. Their covariance, which begins with the declared systematic variances, says what is
left: the part all have in common never goes away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.estimation.panel import PanelOut, panel, panel_fresh
from trueline_edge.stages.fusion.cells import (
    Cells,
    Combined,
    carried,
    moved_nothing,
    shared_variance,
    systematic_variance,
)
from trueline_edge.stages.stage import pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.stages.fusion.process import Filter

    Array = NDArray[np.float64]

__all__ = ["Group", "GroupSettings"]


class GroupSettings(NamedTuple):
    """What is known of m sensors.

    Attributes:
        systematic_u: (m,) as configured; NaN: what the noise leaves unexplained of the `u` of the readings.
        common_u: standard uncertainty all of them share.
        own_u: (m,) systematic standard uncertainty that is their own, all beyond it being shared; NaN: `common_u` is
            all they share.
        independent: their systematic errors are; else they may all be wrong alike.
        r: (m,) variance of the noise, NaN: from `u` without the systematic part; None: learnt.
        gate: in standard deviations: further from the majority does not count.
    """

    systematic_u: Array
    common_u: float
    own_u: Array
    independent: bool
    r: Array | None
    gate: float


class _Heard(NamedTuple):
    """Rows of the sensors: (n, m) value, variance of noise, systematic variance, who just jumped; (n,) common."""

    value: Array
    r: Array
    systematic: Array
    jumped: NDArray[np.bool_]
    common: Array


class Group:
    """Fuses the m inputs of one output.

    Args:
        settings: see there.
        watch: a filter of m quantities: each sensor by itself.
        process: the filter of the one quantity.
    """

    def __init__(self, settings: GroupSettings, watch: Filter, process: Filter) -> None:
        m = len(settings.systematic_u)
        self._settings, self._watch, self._process = settings, watch, process
        self._panel = panel_fresh(m)
        self._last = np.zeros(m)  # systematic variance of each sensor's last value
        self._last_fused = np.zeros(1)  # of the last fused value

    def __call__(self, cells: Cells) -> Combined:
        """Fuse some rows."""
        heard = self._listen(cells)
        settings = self._settings
        # What they are found to share, they share nearly.
        nearly = np.zeros(len(cells.dt_s)) if np.isnan(settings.own_u).all() else heard.common
        of_rows = (heard.value, heard.r, heard.systematic, nearly, heard.jumped)
        said = panel(self._panel, cells.dt_s, *of_rows, settings.gate, independent=settings.independent)
        self._panel = said.state
        return self._filter(cells, said._replace(systematic=said.systematic + heard.common))

    def _listen(self, cells: Cells) -> _Heard:
        """Each sensor by itself."""
        settings, value, var = self._settings, cells.value[:, 0], cells.var[:, 0]
        widening = 1.0 if cells.widening is None else cells.widening[:, 0]
        if settings.r is None:
            own = self._watch(cells.dt_s, value, np.broadcast_to(widening, value.shape))
            r = np.where(own.r > 0.0, own.r, np.where(var > 0.0, var, 1.0))
        else:
            rest = np.maximum(var - np.nan_to_num(settings.systematic_u) ** 2, _TINY)
            r = np.where(np.isnan(settings.r), rest, settings.r)
            own = self._watch(cells.dt_s, value, r * widening)
        there = np.isfinite(value) & (r > 0.0)
        systematic = np.where(there, systematic_variance(settings.systematic_u, var, r), np.nan)
        # What is derived from `u` holds the common part too; what is declared does not.
        common = shared_variance(systematic, settings.own_u, settings.common_u)
        rest = np.maximum(systematic - common[:, None], 0.0)
        systematic = np.where(np.isnan(settings.systematic_u), rest, systematic)
        systematic, self._last = carried(systematic, self._last)
        jumped = own.nis > self._watch.gate**2
        return _Heard(np.where(there, value, np.nan), r * widening, systematic, jumped, common)

    def _filter(self, cells: Cells, voted: PanelOut) -> Combined:
        """The fused values through the process filter."""
        value, r = voted.value[:, None], voted.r[:, None]
        out = self._process(cells.dt_s, value, r)
        systematic, self._last_fused = carried(voted.systematic[:, None], self._last_fused)
        total = out.var + systematic
        first = np.isinf(out.var)
        total[first] = (r + systematic)[first]
        refused = voted.refused[:, None]
        if (beyond := moved_nothing(value, out.mean, out.innovation, out.nis, self._process.gate)) is not None:
            refused = refused | beyond
        idle = refused | (cells.dt_s <= 0.0)[:, None]
        return Combined(
            out.mean,
            total,
            out.innovation,
            out.nis,
            np.where(idle, 0.0, voted.share)[:, None],
            voted.disputed[:, None],
            refused,
            voted.outvoted[:, None],
            (out.var, out.q),
        )

    def state(self) -> bytes:
        """The filters, and what the sensors know of each other."""
        arrays = pack_arrays(self._panel, self._last, self._last_fused)
        return msgspec.msgpack.encode([self._watch.state(), self._process.state(), arrays])

    def restore(self, state: bytes) -> None:
        """Remember them."""
        watch, process, arrays = msgspec.msgpack.decode(state, type=tuple[bytes, bytes, bytes])
        unpacked = unpack_arrays(arrays, self._panel, self._last, self._last_fused)
        self._watch.restore(watch)
        self._process.restore(process)
        self._panel, self._last, self._last_fused = unpacked


_TINY = 1e-300
