"""Known trouble put into normal running, to compare detectors where nobody has labels.

Promises: seeded; what is put in is written down; nothing outside of the marked rows changes; about a fifth of the rows
are marked, in many incidents rather than few long ones. Half of them are a sensor's: one channel spikes, steps, drifts,
gets noisy, sticks, or has another gain. The others are the process's: channels move together, as far as they go
together in the recording, in a step, a drift, or more noise; or half of the channels show another time.

What finds these agrees with what finds the real thing better than chance does (M. Goswami et al., "Unsupervised model
selection for time-series anomaly detection", ICLR 2023), and no better than that. Refuses to be a proof: what anomalies
of yours look like, only labels can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_model.scale import fit_scale
from trueline_model.series import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KINDS", "inject"]

_SENSOR: Final = ("spike", "step", "drift", "noise", "stuck", "gain")
_PROCESS: Final = ("step together", "drift together", "noise together", "elsewhen")
KINDS: Final = (*_SENSOR, *_PROCESS)
"""What can be put in: of one sensor, then of the process."""

_SHARE: Final = 0.2
_SIZE: Final = (1.0, 10.0)  # standard deviations of the channel
_SHORTEST: Final = 3
_LONGEST: Final = 0.1  # of the recording
_SPIKE: Final = 3
_BETWEEN: Final = 5
_TOGETHER: Final = 0.3
"""Channels correlated less than this do not go together."""


def inject(series: Series, seed: int) -> tuple[Series, NDArray[np.int8]]:
    """The recording with trouble in about a fifth of its rows, and what each row holds.

    Args:
        series: normal running; of fewer than 10 rows nothing is made.
        seed: of what, where, how long and how much.

    Returns:
        The recording, and (n,) 0 for nothing, else the place in `KINDS` counted from 1.
    """
    rng = np.random.default_rng(seed)
    rows, width = series.value.shape
    value, held = series.value.copy(), np.zeros(rows, np.int8)
    together = _together(series)
    longest = max(round(rows * _LONGEST), _SHORTEST + 1)
    for _ in range(10 * rows if rows >= 2 * _BETWEEN else 0):
        if np.mean(held > 0) >= _SHARE:
            break
        process = width > 1 and rng.random() < 0.5  # noqa: PLR2004 - half of them
        kind = str(rng.choice(_PROCESS if process else _SENSOR))
        length = round(float(np.exp(rng.uniform(np.log(_SHORTEST), np.log(longest)))))
        length = min(length, _SPIKE) if kind == "spike" else length
        start = int(rng.integers(0, rows - length))
        part = slice(start, start + length)
        if held[max(start - _BETWEEN, 0) : part.stop + _BETWEEN].any():
            continue
        size = float(np.exp(rng.uniform(*np.log(_SIZE)))) * float(rng.choice([-1.0, 1.0]))
        j = int(rng.integers(width))
        if kind in _SENSOR:
            value[part, j] = _failed(kind, value[part, j], size * float(together[j, j]), rng)
        elif kind == "elsewhen":
            at = int(rng.integers(0, rows - length + 1))
            some = rng.choice(width, max(width // 2, 1), replace=False)
            value[part, some] = series.value[at : at + length, some]
        else:
            value[part] += size * _shape(kind.split(maxsplit=1)[0], length, rng)[:, None] * together[j]
        held[part] = KINDS.index(kind) + 1
    return Series(series.time_ns, np.where(series.valid, value, series.value), series.valid, series.channels), held


def _together(series: Series) -> NDArray[np.float64]:
    """(k, k): how far all channels move, in their units, where one moves by a standard deviation of its own."""
    scale = fit_scale([series], method="standard")
    z = scale(series.value, series.valid)
    deviation = np.maximum(np.sqrt(np.mean(z**2, axis=0)), 1e-12)
    correlation = z.T @ z / len(z) / np.outer(deviation, deviation)
    correlation[np.abs(correlation) < _TOGETHER] = 0.0
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation * scale.scale)


def _shape(kind: str, length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n,) of size 1."""
    if kind == "drift":
        return np.linspace(0.0, 1.0, length)
    return rng.normal(size=length) if kind == "noise" else np.ones(length)


def _failed(kind: str, cells: NDArray[np.float64], size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The cells (n,) of one channel with a failure in them, `size` in the channel's units."""
    match kind:
        case "stuck":
            return np.full(len(cells), cells[0])
        case "gain":
            return np.asarray(cells.mean() + (cells - cells.mean()) * rng.choice([0.0, 0.3, 2.0, 4.0]))
        case _:
            return np.asarray(cells + size * _shape(kind, len(cells), rng))
