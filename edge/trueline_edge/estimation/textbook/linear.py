"""Several states, several sensors: a Kalman filter whose covariance is kept as U D U', one sensor after the other.

Source: Bierman 1977, "Factorization Methods for Discrete Sequential Estimation": section V.3 (update), VI.4 (Thornton's
modified weighted Gram-Schmidt over time). U is unit upper triangular, D diagonal: D stays positive because nothing is
subtracted from it. Sensors in turn: Bar-Shalom, Li and Kirubarajan 2001, section 5.2.
"""

from __future__ import annotations

from math import isinf, isnan, nan
from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.textbook.level import softened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["factors", "kalman_linear"]


def factors(cov: Array) -> tuple[Array, Array]:
    """U (s, s) and D (s,) of a covariance, which may be of less than full rank (Bierman 1977, section III.4)."""
    s = len(cov)
    u, d = np.eye(s), np.zeros(s)
    for j in range(s - 1, -1, -1):
        for i in range(j, -1, -1):
            left = cov[i, j] - sum(u[i, k] * d[k] * u[j, k] for k in range(j + 1, s))
            if i == j:
                d[j] = max(float(left), 0.0)
            else:
                u[i, j] = left / d[j] if d[j] > 0.0 else 0.0
    return u, d


def _predict(u: Array, d: Array, f: Array, noise: tuple[Array, Array]) -> tuple[Array, Array]:
    """Factors of F U D U' F' plus those of the noise (Thornton)."""
    s = len(d)
    w, weight = np.hstack([f @ u, noise[0]]), np.concatenate([d, noise[1]])
    u, d = np.eye(s), np.zeros(s)
    for i in range(s - 1, -1, -1):
        d[i] = float((w[i] * w[i] * weight).sum())
        for j in range(i):
            u[j, i] = float((w[i] * w[j] * weight).sum()) / d[i] if d[i] > 0.0 else 0.0
            w[j] -= u[j, i] * w[i]
    return u, d


def _update(u: Array, d: Array, a: Array, r: float) -> Array:
    """Change the factors by a value of variance r that sees a = U' h; the gain (Bierman)."""
    b = d * a
    alpha = r
    for j in range(len(d)):
        before, alpha = alpha, alpha + a[j] * b[j]
        d[j] *= before / alpha
        old = u[:j, j].copy()
        u[:j, j] -= b[:j] * (a[j] / before)
        b[:j] += b[j] * old
    return b / alpha


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
    """State (s + 2, s): mean; U with D in its diagonal; last row: how many rows in a row were gated as a whole."""
    s = observation.shape[1]
    m, packed, gated_rows = state[0].copy(), state[1 : s + 1], float(state[s + 1, 0])
    u, d = np.triu(packed, 1) + np.eye(s), np.diag(packed).copy()
    for i in range(len(value)):
        f = transition[i if len(transition) > 1 else 0]
        m = f @ m
        u, d = _predict(u, d, f, factors(noise[i if len(noise) > 1 else 0]))
        innovation[i], nis[i] = nan, nan
        taken = gated = 0
        for j in range(value.shape[1]):
            z, variance = float(value[i, j]), float(r[i, j])
            if learn[i] == 0.0 or isnan(z) or isinf(z) or isinf(variance) or not variance > 0.0:
                continue
            a = u.T @ observation[j]
            e, spread = z - float(observation[j] @ m), float((a * a * d).sum())
            x = e * e / (spread + variance)
            innovation[i, j], nis[i, j] = e, x
            if x > gate * gate:
                if gated_rows + 1.0 < step_samples:
                    gated += 1
                    continue
                d = d * ((e * e - variance) / spread)  # it moved after all: wide enough for what was seen
                x = 1.0
            taken += 1
            m = m + _update(u, d, a, variance * softened(x, dof)) * e
        gated_rows = 0.0 if taken else gated_rows + (1.0 if gated else 0.0)
        mean[i], cov[i] = m, (u * d) @ u.T
    state[0], state[1 : s + 1] = m, np.triu(u, 1) + np.diag(d)
    state[s + 1, 0] = gated_rows
