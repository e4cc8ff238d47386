"""A bank of local-level filters over a grid of (R, Q): noise is learnt by weighing what each of them predicted.

Source: Magill 1965 (multiple models); Student-t update after Lange, Little and Taylor 1989; weights are shared out anew
a little with each value (a Markov chain over the models), so that a model may become true again.
"""

from __future__ import annotations

from math import inf, isinf, isnan, nan
from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.textbook.level import agreeing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["HEAD", "MODELS", "Q_MODELS", "R_MODELS", "bank_level"]

R_MODELS, Q_MODELS = 8, 8
MODELS = R_MODELS * Q_MODELS
R_STEP, Q_STEP = 3.0, 6.0
Q_LOWEST = 1e-4
"""Of the walk's variance in one interval, as a share of R, in the lowest row of the first grid."""
HEAD = 8
"""Scale of R, scale of Q, gated values' mean and number, last value, its variance, values seen, spare."""

_R = np.repeat(R_STEP ** np.arange(R_MODELS), Q_MODELS)
_Q = np.tile(Q_STEP ** np.arange(Q_MODELS), R_MODELS)


def bank_level(
    state: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    floor: Array,
    dof: float,
    forgetting: float,
    gate: float,
    step_samples: int,
    mean: Array,
    var: Array,
    innovation: Array,
    nis: Array,
    r_learnt: Array,
    q_learnt: Array,
) -> None:
    """State (k, HEAD + 3 MODELS): head; mean, variance and weight of each model, R by R and in it Q by Q."""
    for k in range(value.shape[1]):
        r0, q0, candidate, count, last, _, seen, _ = state[k, :HEAD].tolist()
        m, p, w = state[k, HEAD:].reshape(3, MODELS).copy()
        now, spread = (float(w @ m), 0.0) if seen > 1.0 else (last, inf)
        if seen > 1.0:
            spread = float(w @ (p + (m - now) ** 2))
        for i, (dt, z, scale) in enumerate(zip(dt_s.tolist(), value[:, k].tolist(), r[:, k].tolist(), strict=True)):
            e = x = nan
            if seen > 1.0 and dt > 0.0:
                p = p + _Q * (q0 * dt)
                spread = float(w @ (p + (m - now) ** 2))
            learn = scale > 0.0 and not isinf(scale) and not isinf(z) and not isnan(z) and not dt <= 0.0
            if learn and seen <= 1.0:
                first = max((z - last) ** 2 / (2.0 * scale), float(floor[k])) if seen else float(floor[k])
                last, now, seen = z, z, 1.0
                if first > 0.0 and dt > 0.0:
                    r0 = max(first / R_STEP ** (R_MODELS // 2), float(floor[k]))
                    q0 = first * scale / dt * Q_LOWEST
                    m, p, w = np.full(MODELS, z), _R * (r0 * scale), np.full(MODELS, 1.0 / MODELS)
                    seen = 2.0
                    spread = float(w @ p)
            elif learn:
                noise = _R * (r0 * scale)
                e = z - now
                x = e * e / (spread + float(w @ noise))
                own = z - m
                total = p + noise
                surprise = own * own / total / dof
                w = (1.0 - forgetting) * w + forgetting / MODELS
                w = w * (1.0 + surprise) ** (-(dof + 1.0) / 2.0) / np.sqrt(total)
                w = w / w.sum()
                if x <= gate * gate:
                    softer = noise * np.maximum(1.0, (1.0 + surprise) / (1.0 + 1.0 / dof))
                    m = m + p / (p + softer) * own
                    p = p * (softer / (p + softer))
                    count = 0.0
                else:
                    candidate, count = agreeing(z, spread + float(w @ noise), gate, candidate, count)
                    if count >= step_samples:
                        m, p, count = np.full(MODELS, candidate), noise / count, 0.0
                now = float(w @ m)
                spread = float(w @ (p + (m - now) ** 2))
                last = z
            mean[i, k], var[i, k], innovation[i, k], nis[i, k] = now, spread, e, x
            r_learnt[i, k] = r0 * float(w @ _R) if seen > 1.0 else nan
            q_learnt[i, k] = q0 * float(w @ _Q) if seen > 1.0 else nan
        state[k, :HEAD] = r0, q0, candidate, count, last, 0.0, seen, 0.0
        state[k, HEAD:] = np.concatenate([m, p, w])
