"""A bank of local-level filters over a grid of (R, Q): noise is learnt by weighing what each of them predicted.

Source: Magill 1965 (multiple models). Each model meets a value as what it predicted, N(0, S), or as a gross outlier,
Student-t with a hundred times the variance (Harrison and Stevens 1976); its update is the mixture of the two. The share
of gross outliers is learnt. A little of the weights is shared out anew with each value, so that a model may become
true again. The grid moves by a step where the learnt R or Q comes near its edge: nothing need be known in advance.
"""

from __future__ import annotations

from math import inf, isinf, isnan, nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.estimation.textbook.level import agreeing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FRESH", "HEAD", "MODELS", "Q_MODELS", "R_MODELS", "bank_level"]

R_MODELS, Q_MODELS = 6, 8
MODELS = R_MODELS * Q_MODELS
R_STEP, Q_STEP = 2.5, 4.0
_R = np.repeat(R_STEP ** np.arange(R_MODELS), Q_MODELS)
_Q = np.tile(Q_STEP ** np.arange(Q_MODELS), R_MODELS)

Q_LOWEST = 1e-3
"""What the walk gains in one interval, as a share of R, in the lowest row of the first grid."""
GROSS, GROSS_DOF = 100.0, 3.0
"""Variance of a gross outlier, in that of the innovation; degrees of freedom of its tail."""
FAR_SHARE = 1e-6
"""Of values so far out that they say nothing about any model."""
SURPRISE_MAX = 1e6
SHARE_FIRST, SHARE_MIN, SHARE_MAX, SHARE_RATE = 0.02, 0.003, 0.1, 0.01
"""Of gross outliers."""
LOST_RUNS = 4
"""So many times `step_samples` gated values in a row, whether they agree or not, and the bank starts anew."""
R_UP, R_DOWN = R_STEP ** (R_MODELS - 2.3), R_STEP**1.3
Q_UP, Q_DOWN = Q_STEP ** (Q_MODELS - 2.3), Q_STEP**1.3
R_SMALLEST, Q_SMALLEST = 1e-24, 1e-8
"""The grid goes no lower: R in the square of the value (it has 16 digits); Q in one interval, in R."""
SMALLEST = 1e-250
HEAD = 16
"""Lowest R and Q; mean and number of agreeing gated values; last value; gated values in a row; whether the grid has
been laid; mean and spread of the bank; learnt R and Q in lowest ones; share of gross outliers; four to spare."""


class _Head(NamedTuple):
    r0: float = 0.0
    q0: float = 0.0
    candidate: float = nan
    agreed: float = 0.0
    last: float = nan
    run: float = 0.0
    laid: float = 0.0
    now: float = nan
    spread: float = inf
    r: float = nan
    q: float = nan
    share: float = SHARE_FIRST


FRESH = np.array([*_Head(), *[0.0] * (HEAD - len(_Head._fields))])
"""Head before the first value."""


def bank_level(
    state: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    floor: Array,
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
        head = _Head(*state[k, :12].tolist())
        models = state[k, HEAD:].reshape(3, MODELS).copy()
        for i, (dt, z, scale) in enumerate(zip(dt_s.tolist(), value[:, k].tolist(), r[:, k].tolist(), strict=True)):
            e = x = nan
            if dt > 0.0 and head.laid:
                models[1] += _Q * (head.q0 * dt)
                head = head._replace(spread=head.spread + head.q * head.q0 * dt)
            if scale > 0.0 and not isinf(scale) and not isinf(z) and not isnan(z) and not dt <= 0.0:
                if not head.laid:
                    head, models = _lay(head, models, dt, z, scale, float(floor[k]))
                else:
                    e = z - head.now
                    x = e * e / (head.spread + head.r * head.r0 * scale)
                    head, models = _meet(head, models, z, scale, x, forgetting, gate, step_samples)
                    if head.laid:
                        head, models = _follow(head, models, dt, z, scale, float(floor[k]))
            mean[i, k], var[i, k], innovation[i, k], nis[i, k] = head.now, head.spread, e, x
            r_learnt[i, k], q_learnt[i, k] = head.r0 * head.r, head.q0 * head.q
        state[k, :12] = np.array(head)
        state[k, HEAD:] = models.ravel()


def _lay(head: _Head, models: Array, dt: float, z: float, scale: float, floor: float) -> tuple[_Head, Array]:
    """Lay the first grid about half the square of the first difference; without one, the value is all that is known."""
    first = max((z - head.last) ** 2 / (2.0 * scale), floor)  # NaN where there was no value before
    if not (first > 0.0 and dt > 0.0):
        return head._replace(last=z, now=z), models
    r0 = max(first / R_STEP ** (R_MODELS // 2), floor)
    models = np.stack([np.full(MODELS, z), _R * (r0 * scale), np.full(MODELS, 1.0 / MODELS)])
    head = _Head(r0=r0, q0=first * scale / dt * Q_LOWEST, last=z, laid=1.0, share=head.share)
    return _tally(head, models), models


def _tally(head: _Head, models: Array) -> _Head:
    models[2] /= models[2].sum()
    m, p, w = models
    now = float(w @ m)
    return head._replace(now=now, spread=float(w @ (p + (m - now) ** 2)), r=float(w @ _R), q=float(w @ _Q))


def _meet(
    head: _Head, models: Array, z: float, scale: float, x: float, forgetting: float, gate: float, step_samples: int
) -> tuple[_Head, Array]:
    """Weigh the models by a value, and move them if the bank as a whole takes it."""
    m, p, w = models
    far = FAR_SHARE / sqrt(head.spread + head.r * head.r0 * scale)
    noise = _R * (head.r0 * scale)
    own = z - m
    total = p + noise
    surprise = np.minimum(own * own / total, SURPRISE_MAX)
    bell = (1.0 - head.share) * np.exp(-surprise / 2.0) / np.sqrt(total)
    tail = head.share / sqrt(GROSS) / (1.0 + surprise / (GROSS * GROSS_DOF)) ** 2 / np.sqrt(total)
    inlier = bell / (bell + tail + far)
    w = ((1.0 - forgetting) * w + forgetting / MODELS) * (bell + tail + far)
    w = w / w.sum()
    share = (1.0 - SHARE_RATE) * head.share + SHARE_RATE * float(w @ (1.0 - inlier))
    head = head._replace(last=z, share=min(max(share, SHARE_MIN), SHARE_MAX))
    if x <= gate * gate:
        unmoved = (1.0 - inlier) * (1.0 - 1.0 / GROSS)
        gain = p / total
        m = m + gain * (1.0 - unmoved) * own
        p = gain * (noise + p * unmoved) + inlier * (1.0 - inlier) * (gain * own) ** 2  # all terms are positive
        head = head._replace(agreed=0.0, run=0.0)
    else:
        candidate, count = agreeing(z, head.spread + head.r * head.r0 * scale, gate, head.candidate, head.agreed)
        head = head._replace(candidate=candidate, agreed=count, run=head.run + 1.0)
        if count >= step_samples:
            m, p = np.full(MODELS, candidate), noise / count
            head = head._replace(agreed=0.0, run=0.0)
        elif head.run >= LOST_RUNS * step_samples:
            return _Head(last=z, now=z), models
    models = np.stack([m, p, w])
    return _tally(head, models), models


def _follow(head: _Head, models: Array, dt: float, z: float, scale: float, floor: float) -> tuple[_Head, Array]:
    """Move the grid a step where what was learnt comes near its edge: the near end is doubled, the far end given up."""
    grid = models.reshape(3, R_MODELS, Q_MODELS)
    smallest = max(floor, R_SMALLEST * z * z / scale, SMALLEST)
    r_up, r_down = head.r > R_UP, head.r < R_DOWN and head.r0 / R_STEP >= smallest
    q_up, q_down = head.q > Q_UP, head.q < Q_DOWN and head.q0 / Q_STEP * dt >= Q_SMALLEST * head.r0 * scale
    if r_up:
        head, grid = head._replace(r0=head.r0 * R_STEP), np.concatenate([grid[:, 1:], grid[:, -1:]], axis=1)
    elif r_down:
        head, grid = head._replace(r0=head.r0 / R_STEP), np.concatenate([grid[:, :1], grid[:, :-1]], axis=1)
    if q_up:
        head, grid = head._replace(q0=head.q0 * Q_STEP), np.concatenate([grid[:, :, 1:], grid[:, :, -1:]], axis=2)
    elif q_down:
        head, grid = head._replace(q0=head.q0 / Q_STEP), np.concatenate([grid[:, :, :1], grid[:, :, :-1]], axis=2)
    models = grid.reshape(3, MODELS)
    return (_tally(head, models), models) if r_up or r_down or q_up or q_down else (head, models)
