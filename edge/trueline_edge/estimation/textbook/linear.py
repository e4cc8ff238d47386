"""Several states, several sensors: the Kalman filter in Joseph's form, one sensor after the other.

Source: Bar-Shalom, Li and Kirubarajan 2001, section 5.2 (sequential update) and eq. 5.2.3-18 (Joseph).
"""

from __future__ import annotations

from math import isinf, isnan, nan
from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.textbook.level import softened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["kalman_linear"]


def kalman_linear(
    state: Array,
    transition: Array,
    noise: Array,
    observation: Array,
    learn: Array,
    value: Array,
    r: Array,
    dof: float,
    gate: float,
    step_samples: int,
    mean: Array,
    cov: Array,
    innovation: Array,
    nis: Array,
) -> None:
    """State (s + 2, s): mean; covariance; in its last row, first place, rows in a row that were gated as a whole."""
    s = observation.shape[1]
    m, p, gated_rows = state[0].copy(), state[1 : s + 1].copy(), float(state[s + 1, 0])
    for i in range(len(value)):
        f = transition[i if len(transition) > 1 else 0]
        m = f @ m
        p = f @ p @ f.T + noise[i if len(noise) > 1 else 0]
        innovation[i], nis[i] = nan, nan
        taken = gated = 0
        for j in range(value.shape[1]):
            z, variance = float(value[i, j]), float(r[i, j])
            if learn[i] == 0.0 or isnan(z) or isinf(z) or isinf(variance) or not variance > 0.0:
                continue
            h = observation[j]
            e, spread = float(z - h @ m), float(h @ p @ h)
            x = e * e / (spread + variance)
            innovation[i, j], nis[i, j] = e, x
            if x > gate * gate:
                if gated_rows + 1.0 < step_samples:
                    gated += 1
                    continue
                p = p * ((e * e - variance) / spread)  # it moved after all: wide enough for what was seen
                x = 1.0
            taken += 1
            softer = variance * softened(x, dof)
            gain = p @ h / (float(h @ p @ h) + softer)
            left = np.eye(s) - np.outer(gain, h)
            m = m + gain * e
            p = left @ p @ left.T + softer * np.outer(gain, gain)
            p = (p + p.T) / 2.0
        gated_rows = 0.0 if taken else gated_rows + (1.0 if gated else 0.0)
        mean[i], cov[i] = m, p
    state[0], state[1 : s + 1] = m, p
    state[s + 1, 0] = gated_rows
