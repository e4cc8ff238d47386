"""Channels that are each filtered by themselves, all in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from trueline_edge.estimation.credit import credit
from trueline_edge.estimation.kernels import ones, spread
from trueline_edge.stages.fusion.cells import Cells, Combined
from trueline_edge.stages.stage import pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.stages.fusion.process import Filter

    Array = NDArray[np.float64]

__all__ = ["Singles"]


class Singles:
    """k outputs of one input each: u^2 = variance of the filter + systematic variance of the input.

    Args:
        filter_: of k quantities.
        systematic_u: (k,) as configured; NaN: what the noise leaves unexplained of the `u` of the readings.
        common_u: (k,) added to that.
        r: (k,) variance of a value's noise, NaN: from the `u` of the readings without the systematic part; None: the
            filter learns it.
    """

    def __init__(self, filter_: Filter, systematic_u: Array, common_u: Array, r: Array | None) -> None:
        self._filter = filter_
        self._systematic_u, self._common_var, self._r = systematic_u, np.array(common_u, np.float64) ** 2, r
        self._r_from_u = r is not None and bool(np.isnan(r).any())
        self._declared = not np.isnan(systematic_u).any()
        self._given = np.array(systematic_u, np.float64) ** 2
        self._last = np.zeros(len(systematic_u))  # systematic variance of the last value

    def __call__(self, cells: Cells) -> Combined:
        """Filter some rows."""
        value, var = cells.value[:, :, 0], cells.var[:, :, 0]
        widening = ones(*value.shape) if cells.widening is None else cells.widening[:, :, 0]
        if self._r is None:
            r = widening
        else:
            r = self._r
            if self._r_from_u:
                own = 0.0 if not self._declared else self._systematic_u**2
                r = np.where(np.isnan(r), np.maximum(var - own, _TINY), r)
            r = r if cells.widening is None else r * widening
        out = self._filter(cells.dt_s, value, spread(r, *value.shape))
        noise = r if self._r is not None else out.r
        filtered = (out.mean, out.var, out.innovation, out.nis)
        said = credit(
            value,
            var,
            noise,
            widening,
            cells.dt_s,
            filtered,
            self._filter.gate,
            self._given,
            self._common_var,
            self._last,
        )
        self._last = said.last
        shares, walk = said.weight[:, :, None], (out.var, out.q)
        return Combined(out.mean, said.total, out.innovation, out.nis, shares, None, said.refused, None, walk)

    def state(self) -> bytes:
        """The filter and the last systematic variances."""
        return msgspec.msgpack.encode([self._filter.state(), pack_arrays(self._last)])

    def restore(self, state: bytes) -> None:
        """Remember them."""
        filter_, last = msgspec.msgpack.decode(state, type=tuple[bytes, bytes])
        self._filter.restore(filter_)
        (self._last,) = unpack_arrays(last, self._last)


_TINY = 1e-300
"""Variance of a value that says it has no noise: above zero, as filters want it."""
