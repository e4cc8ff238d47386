"""Faults and anomalies put into recordings of normal running, so that models can be judged where nothing is labelled.

Which detector finds what was injected agrees well with which finds the real thing (M. Goswami et al., "Unsupervised
model selection for time-series anomaly detection", 2023). Promises: seeded; the recording given is left untouched; a
tenth of the rows are marked, the rest is bit for bit what it was. Refuses to be a proof: what a user's anomalies look
like, only labels can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_model.series import Series

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from trueline_model.scale import Scale

__all__ = ["KINDS", "inject"]

KINDS: Final = ("spike", "step", "drift", "stuck", "noise", "displaced")
"""The first five go into one channel, as a sensor fails; the last into half of them, from another time, backwards."""

_SHARE: Final = 0.1
_ROWS_LONGEST: Final = 60
_ROWS_SHORTEST: Final = 5
_SCALES: Final = (1.0, 6.0)


def inject(series: Series, scale: Scale, seed: int) -> tuple[Series, NDArray[np.int8]]:
    """A copy with faults, and what each row holds, (n,): 0 nothing, else the place in `KINDS`, counted from 1.

    Args:
        series: normal running; one shorter than twice the longest fault comes back as it is.
        scale: sizes are 1 to 6 scales of a channel.
        seed: of where, what and how large.
    """
    random = np.random.default_rng(seed)
    value, marked = series.value.copy(), np.zeros(len(series), np.int8)
    while len(series) > 2 * _ROWS_LONGEST and np.mean(marked > 0) < _SHARE:
        length = int(random.integers(_ROWS_SHORTEST, _ROWS_LONGEST))
        start = int(random.integers(0, len(series) - length))
        rows = slice(start, start + length)
        if not marked[max(0, start - _ROWS_LONGEST) : start + length + _ROWS_LONGEST].any() or random.random() < _SHARE:
            kind = int(random.integers(len(KINDS)))
            value[rows] = _failed(KINDS[kind], value[rows], series.value, scale, random)
            marked[rows] = kind + 1
    return Series(series.time_ns, value, series.valid, series.channels), marked


def _failed(
    kind: str, rows: NDArray[np.float64], elsewhere: NDArray[np.float64], scale: Scale, random: Generator
) -> NDArray[np.float64]:
    """The rows, (n, k), with one failure in them."""
    failed, (length, width) = rows.copy(), rows.shape
    if kind == "displaced":
        start = int(random.integers(0, len(elsewhere) - length))
        some = random.permutation(width)[: max(1, width // 2)]
        failed[:, some] = elsewhere[start : start + length, some][::-1]
        return failed
    j = int(random.integers(width))
    size = float(random.uniform(*_SCALES) * random.choice((-1.0, 1.0)) * scale.scale[j])
    if kind == "spike":
        failed[random.random(length) < 1.0 / _ROWS_SHORTEST, j] += 2.0 * size
    elif kind == "step":
        failed[:, j] += size
    elif kind == "drift":
        failed[:, j] += size * np.linspace(0.0, 1.5, length)
    elif kind == "stuck":
        failed[:, j] = failed[0, j]
    else:
        failed[:, j] += random.normal(0.0, abs(size), length)
    return failed
