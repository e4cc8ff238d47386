"""Known trouble put into normal running, to compare detectors where nobody has labels.

Promises: seeded; what is put in is written down as labels; nothing outside of the labelled rows changes; the kinds are
those sensors and processes really show (a spike, a step, a drift, more noise, a stuck value, another gain, the values
of another time), in one channel or several at once, of sizes from hardly there to gross. It is a stand-in for the
trouble to come, and says which detector is the better one for such trouble, not how good it will be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_model.scale import fit_scale
from trueline_model.series import Series

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KINDS", "inject"]

KINDS: Final = ("spike", "step", "drift", "noise", "stuck", "gain", "elsewhen")
"""What can be put in."""

_SHARE: Final = 0.2
_SIZE: Final = (0.5, 8.0)  # standard deviations of the channel
_ALONE: Final = 0.5  # probability that one channel has it alone


def inject(series: Series, seed: int, rows_max: int | None = None) -> tuple[Series, NDArray[np.bool_]]:
    """The recording with trouble in about a fifth of its rows, and which rows those are.

    Args:
        series: normal running, 50 rows at least.
        seed: of what, where, how long and how much.
        rows_max: of one trouble; a third of the recording where left out.
    """
    rng = np.random.default_rng(seed)
    rows, width = series.value.shape
    scale = fit_scale([series], method="standard").scale
    value, label = series.value.copy(), np.zeros(rows, bool)
    longest = max(rows // 3, 5) if rows_max is None else rows_max
    for _ in range(10 * rows):
        if label.mean() >= _SHARE:
            break
        kind = str(rng.choice(KINDS))
        length = (
            int(rng.integers(1, 4))
            if kind == "spike"
            else round(float(np.exp(rng.uniform(np.log(5), np.log(longest)))))
        )
        start = int(rng.integers(0, max(rows - length, 1)))
        stop = min(start + length, rows)
        if label[max(start - 5, 0) : stop + 5].any():
            continue
        count = 1 if rng.random() < _ALONE else int(rng.integers(1, max(width // 2, 1) + 1))
        for channel in rng.choice(width, count, replace=False):
            cells = value[start:stop, channel]
            value[start:stop, channel] = _trouble(kind, cells, series.value[:, channel], scale[channel], rng)
        label[start:stop] = True
    return Series(series.time_ns, np.where(series.valid, value, series.value), series.valid, series.channels), label


def _trouble(
    kind: str, cells: NDArray[np.float64], whole: NDArray[np.float64], scale: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The cells (m,) of one channel with the trouble in."""
    size = float(np.exp(rng.uniform(*np.log(_SIZE)))) * scale * rng.choice([-1.0, 1.0])
    match kind:
        case "spike" | "step":
            return np.asarray(cells + size)
        case "drift":
            return np.asarray(cells + size * np.linspace(0.0, 1.0, len(cells)))
        case "noise":
            return cells + rng.normal(0.0, abs(size), len(cells))
        case "stuck":
            return np.full(len(cells), cells[0])
        case "gain":
            return np.asarray(cells.mean() + (cells - cells.mean()) * rng.choice([0.0, 0.3, 2.0, 4.0]))
        case _:
            at = int(rng.integers(0, max(len(whole) - len(cells), 0) + 1))
            return whole[at : at + len(cells)].copy()
