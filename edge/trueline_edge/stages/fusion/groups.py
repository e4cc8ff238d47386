"""One quantity, several sensors: their offsets from one another learnt, the disagreeing outvoted, the rest filtered.

Row by row: each sensor's own filter tells its noise and whether it just jumped; offsets learnt so far are taken off;
who disagrees with the majority does not count; the rest become one value, weighted by their variances, which the
process filter takes. Window by window, of a fixed number of rows, the offsets and the disagreement to be expected are
learnt from the rows in which sensors were heard together.

Only differences of offsets are ever seen. Their covariance, which begins with the declared systematic variances, says
what is left: the part all have in common never goes away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.estimation.offsets import Offsets, common_variance, learn_offsets
from trueline_edge.estimation.voting import agreeing
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

__all__ = ["WINDOW", "Group", "GroupSettings"]

WINDOW = 32
"""Rows after which offsets are learnt anew."""
_OFFSETS_LAST_S = 30 * 86_400.0
"""An offset gains its prior variance once more in so long."""
_GAP_MAX_S = 86_400.0
"""A gap counts as a day at most: a clock that was set is not a year of drift."""
_UNSTEADY = 0.05
"""Of the systematic variance of a sensor, what may differ from day to day: offsets are not all there is."""
_SCATTER_COUNTS = 2.0
"""Scatter beyond so many noise variances is believed: below, it is the noise itself."""
_CALM = 4.0
"""Noise beyond so many times what is typical of a sensor does not widen the gate it is judged by."""
_SETTLING = 0.25
_PAIR = 2


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
    """Rows of the sensors: (n, m) value, variance of noise, own systematic variance, who just jumped; (n,) common one."""

    value: Array
    r: Array
    systematic: Array
    jumped: NDArray[np.bool_]
    common: Array


class _Voted(NamedTuple):
    """What came of them: (n,) each, but for shares and outvoted (n, m). Refused: a sensor alone, that jumped."""

    value: Array
    r: Array
    systematic: Array
    share: Array
    disputed: NDArray[np.bool_]
    outvoted: NDArray[np.bool_]
    refused: NDArray[np.bool_]


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
        self._offsets = Offsets.unknown(m)
        self._last = np.zeros(m)  # systematic variance of each sensor's last value
        self._last_fused = np.zeros(1)  # of the last fused value
        self._typical = np.full(m, np.inf)  # noise of each, as long as nothing happens to it
        self._window = np.full((WINDOW, 3, m), np.nan)  # what counted since the last window: value, r, systematic
        self._at = np.zeros(2)  # rows in this window, and the seconds they took

    def __call__(self, cells: Cells) -> Combined:
        """Fuse some rows."""
        heard = self._listen(cells)
        parts = []
        start = 0
        while True:
            stop = min(len(cells.dt_s), start + WINDOW - int(self._at[0]))
            rows = slice(start, stop)
            own = (heard.value[rows], heard.r[rows], heard.systematic[rows])
            part = _Heard(*own, heard.jumped[rows], heard.common[rows])
            parts.append(self._vote(part, cells.dt_s[rows]))
            start = stop
            if start >= len(cells.dt_s):
                break
        return self._filter(cells, _Voted(*map(np.concatenate, zip(*parts, strict=True))))

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

    def _vote(self, heard: _Heard, dt_s: Array) -> _Voted:
        """Who counts in rows of one window, and what they say."""
        offsets, there = self._offsets, np.isfinite(heard.value)
        r = np.where(offsets.scatter > _SCATTER_COUNTS * heard.r, offsets.scatter, heard.r)
        apart, cov = self._apart(heard.systematic)
        aligned = heard.value - offsets.mean
        total = r + apart
        # What they are found to share, they share nearly.
        apart_too = 0.0 if np.isnan(self._settings.own_u).all() else heard.common[:, None]
        tolerated = apart_too + np.minimum(r, _CALM * self._typical) + np.maximum(apart, _UNSTEADY * heard.systematic)
        agree = agreeing(aligned, tolerated, self._settings.gate)
        count = there.sum(axis=1)
        majority = 2 * agree.sum(axis=1) > count
        pair = (count == _PAIR) & ~majority
        calm = there & ~heard.jumped
        decided = pair & (calm.sum(axis=1) == 1)
        counted = np.where(majority[:, None], agree, np.where(decided[:, None], calm, there))
        disputed = (count > 1) & ~majority & ~decided
        share = np.where(counted, np.where(disputed[:, None], 1.0, 1.0 / np.where(there, total, 1.0)), 0.0)
        share /= np.where(counted.any(axis=1), share.sum(axis=1), 1.0)[:, None]
        clean = np.where(counted, aligned, 0.0)
        mean = (share * clean).sum(axis=1)
        between = np.where(disputed, (share * (clean - mean[:, None]) ** 2).sum(axis=1), 0.0)
        counted &= ~((count == 1)[:, None] & heard.jumped)  # nobody to ask: a spike, until the sensor stays there
        share = np.where(counted, share, 0.0)
        silent = ~counted.any(axis=1)
        voted = _Voted(
            np.where(silent, np.nan, mean),
            np.where(silent, np.nan, (share**2 * np.where(counted, r, 0.0)).sum(axis=1)),
            np.where(silent, np.nan, self._left(share, heard.systematic, cov) + heard.common + between),
            share,
            disputed,
            there & ~counted & (count > 1)[:, None],
            silent & (count > 0),
        )
        learnable = counted & ~disputed[:, None] & ~(dt_s <= 0.0)[:, None]
        self._keep(heard, learnable, dt_s)
        return voted

    def _apart(self, systematic: Array) -> tuple[Array, Array | None]:
        """Variance by which sensors may still differ from one another, (m,) or (n, m); the offsets' covariance."""
        if self._offsets.known:
            cov = self._offsets.cov
            return np.maximum(np.diag(cov) - common_variance(cov), 0.0), cov
        certain = (systematic <= 0.0).any(axis=1)
        common = 1.0 / (1.0 / np.where(systematic > 0.0, systematic, 1.0)).sum(axis=1)
        return np.maximum(systematic - np.where(certain, 0.0, common)[:, None], 0.0), None

    def _left(self, share: Array, systematic: Array, cov: Array | None) -> Array:
        """(n,) own systematic variance of the mean with these shares."""
        settings = self._settings
        if not settings.independent:
            result: Array = (share * np.sqrt(systematic)).sum(axis=1) ** 2
        elif cov is None:
            result = (share**2 * systematic).sum(axis=1)
        else:
            grown = np.maximum(systematic - self._offsets.prior, 0.0)  # it says it is less certain than it was
            result = (share[:, :, None] * cov * share[:, None, :]).sum(axis=(1, 2)) + (share**2 * grown).sum(axis=1)
        return result

    def _keep(self, heard: _Heard, learnable: NDArray[np.bool_], dt_s: Array) -> None:
        """Put the rows into the window; learn from it when it is full."""
        at, n = int(self._at[0]), len(dt_s)
        kept = (np.where(learnable, heard.value, np.nan), heard.r, heard.systematic)
        self._window[at : at + n] = np.stack(kept, axis=1)
        for dt in dt_s.tolist():  # one by one: a sum over a block depends on its cuts
            self._at[1] += min(max(0.0, dt), _GAP_MAX_S)
        self._at[0] += n
        if self._at[0] < WINDOW:
            return
        value, r, systematic = (self._window[:, part].copy() for part in range(3))
        self._settle(value, r)
        prior = np.median(systematic, axis=0)
        if self._offsets.known or (prior > 0.0).all():
            walk = (self._offsets.prior if self._offsets.known else prior) * (self._at[1] / _OFFSETS_LAST_S)
            self._offsets = learn_offsets(self._offsets, prior, value, r, walk)
        self._at[:] = 0.0

    def _settle(self, value: Array, r: Array) -> None:
        """What noise each sensor has when it counts; a sensor that jumps is not to widen its own gate."""
        for i in range(value.shape[1]):
            if len(noise := r[np.isfinite(value[:, i]), i]):
                now = float(np.median(noise))
                before = now if np.isinf(self._typical[i]) else self._typical[i]
                self._typical[i] = before + _SETTLING * (min(now, _CALM * before) - before)

    def _filter(self, cells: Cells, voted: _Voted) -> Combined:
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
        """The filters, the offsets, and the window begun."""
        arrays = pack_arrays(*self._offsets, self._last, self._last_fused, self._typical, self._window, self._at)
        return msgspec.msgpack.encode([self._watch.state(), self._process.state(), arrays])

    def restore(self, state: bytes) -> None:
        """Remember them."""
        watch, process, arrays = msgspec.msgpack.decode(state, type=tuple[bytes, bytes, bytes])
        like = (*self._offsets, self._last, self._last_fused, self._typical, self._window, self._at)
        unpacked = unpack_arrays(arrays, *like)
        if not 0 <= unpacked[-1][0] < WINDOW:
            raise ValueError("a state in the middle of no window")
        self._watch.restore(watch)
        self._process.restore(process)
        self._offsets = Offsets(*unpacked[:4])
        self._last, self._last_fused, self._typical, self._window, self._at = unpacked[4:]


_TINY = 1e-300
