"""Spike test (QARTOD test 6), by Hampel's identifier: is the value far from the median of the values around it?

Source: Hampel 1974; Pearson et al. 2016, "Generalized Hampel Filters". Robust, so that it needs no threshold in the
unit; a value that is judged, and one that was found to be a spike, is never in the window a value is judged by.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from trueline_edge.estimation.kernels import hampel, hampel_fresh
from trueline_edge.stages.stage import (
    StageSettings,
    apply_verdict,
    channel_mask,
    measured,
    pack_arrays,
    pack_readings,
    unpack_arrays,
    unpack_readings,
)
from trueline_wire.readings import Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Spike"]

_JUDGES = 7  # a window of fewer values (or of fewer than `width`, if that is less) knows its spread too badly
_WIDTH_MIN, _WIDTH_MAX = 4, 99  # the kernel judges by no fewer than three values
_STEP_MIN, _STEP_MAX = 2, 100


class Spike(StageSettings, frozen=True, kw_only=True, tag="spike"):
    """Limits in standard deviations as the window shows them: 1.4826 times the median absolute deviation (MAD).

    Attributes:
        mode: "causal" judges at once, by the values before; "centred" holds each row back for width // 2 rows, and
            judges by as many before as behind it: it sees more, and no slope misleads it.
        width: values in the window (centred: without the one judged, which makes an odd width one less).
        suspect_deviations: further from the median a value is SUSPECT, and is left out of the windows that follow.
        fail_deviations: further it FAILs.
            Of white noise, 8 deviations of 11 values flag two values in a thousand, of 7 values fourteen.
        floor: in the channel's unit: no value is a spike that is as near as that to the median. Where left out, twice
            the channel's resolution. A quiet signal on a coarse grid has a MAD of 0.
        step_samples: causal: after so many spikes in a row the window is made of them: a genuine step is flagged for
            so many values, then passes. (Centred, a step is no spike: half the window has taken it.)
        channels: the channels judged; all where left out.
    """

    mode: Literal["causal", "centred"] = "causal"
    width: int = 11
    suspect_deviations: float = 8.0
    fail_deviations: float = 16.0
    floor: float | None = None
    step_samples: int = 3

    def __post_init__(self) -> None:
        if not _WIDTH_MIN <= self.width <= _WIDTH_MAX:
            raise ValueError(f"width {self.width} must be between {_WIDTH_MIN} and {_WIDTH_MAX}")
        if not 0.0 < self.suspect_deviations < inf:
            raise ValueError(f"suspect_deviations {self.suspect_deviations} must be above 0")
        if not self.suspect_deviations <= self.fail_deviations:
            raise ValueError(f"fail_deviations {self.fail_deviations} must be at least suspect_deviations")
        if self.floor is not None and not 0.0 <= self.floor < inf:
            raise ValueError(f"floor {self.floor} must be a number that is not negative")
        if not _STEP_MIN <= self.step_samples <= _STEP_MAX:
            raise ValueError(f"step_samples {self.step_samples} must be between {_STEP_MIN} and {_STEP_MAX}")

    @property
    def has_unit(self) -> bool:
        """`floor` is in it; 0 is 0 in all."""
        return bool(self.floor)

    def stage(self, schema: Schema) -> FlagSpike:
        """The stage for readings of this schema."""
        return FlagSpike(self, schema)


class _Past(NamedTuple):
    """The kernel's windows, and the rows held back (none in causal mode)."""

    windows: NDArray[np.float64]
    held: Readings


class FlagSpike:
    """Judges each value by the median of its window.

    Causal, fewer than seven values in it (or `width`) judge nobody; centred, more than half of the rows must be usable.
    """

    def __init__(self, config: Spike, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        self._centred = config.mode == "centred"
        self.delay = config.width // 2 if self._centred else 0
        self._judged = channel_mask(schema, config.channels)
        resolution = np.array([channel.resolution for channel in schema.channels])
        self._floor = resolution * (2.0 + 1e-9) if config.floor is None else np.full(len(resolution), config.floor)
        windows = hampel_fresh(len(resolution), config.width, config.step_samples, centred=self._centred)
        self._past = _Past(windows, Readings.empty(schema))

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return readings
        value = measured(readings, self._judged)
        held = Readings.concatenate([self._past.held, readings]) if self.delay else readings
        phantoms = self.delay - len(self._past.held)
        return self._judge(value, held, min(phantoms, len(readings)))

    def flush(self) -> Readings:
        """The rows held back, judged by the rows before them and what came behind them so far."""
        held = self._past.held
        if not len(held):
            return held
        nothing = np.full((self.delay, len(self.schema.channels)), np.nan)
        return self._judge(nothing, held, self.delay - len(held))

    def state(self) -> bytes:
        """Windows, and the rows held back."""
        return msgspec.msgpack.encode([pack_arrays(self._past.windows), pack_readings(self._past.held)])

    def restore(self, state: bytes) -> None:
        """Go on with the windows and rows of another life."""
        windows, held = msgspec.msgpack.decode(state, type=tuple[bytes, bytes])
        (array,) = unpack_arrays(windows, self._past.windows)
        sizes = (self._config.width, self._config.step_samples)
        if not self._centred and not ((array[:, :2] >= 0) & (array[:, :2] <= sizes)).all():
            raise ValueError("a state of windows larger than this stage has")
        self._past = _Past(array, unpack_readings(held, self.schema, self.delay))

    def _judge(self, value: NDArray[np.float64], rows: Readings, phantoms: int) -> Readings:
        """Give out the rows the kernel speaks of when it is given (m, k) `value`, less those there never were."""
        config = self._config
        out = hampel(
            self._past.windows,
            value,
            config.width,
            config.suspect_deviations,
            self._floor,
            config.step_samples,
            far=config.fail_deviations,
            judges=self.delay + 1 if self._centred else min(config.width, _JUDGES),
            centred=self._centred,
        )
        if self.delay:
            judged, later = rows[: len(value) - phantoms], rows[len(value) - phantoms :]
        else:
            judged, later = rows, self._past.held
        self._past = _Past(out.state, later)
        return apply_verdict(judged, out.verdict[phantoms:], Reason.SPIKE)
