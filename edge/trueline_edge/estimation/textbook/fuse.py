"""Several sensors of one measurand: who counts is decided together, then one robust update of a local level.

Promises: no single sensor moves the level against the others, however small an error it declares; when most of those
that were heard agree on another place, the level follows at once; the order of the sensors does not matter.
"""

from __future__ import annotations

from math import isinf, isnan, nan
from typing import TYPE_CHECKING, NamedTuple

from trueline_edge.estimation.textbook.level import agreeing, softened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Heard", "fuse_level", "listen"]


class Heard(NamedTuple):
    """What the sensors say together.

    Attributes:
        z: the value; nan where nobody was heard.
        r: its variance.
        share: of each sensor in it.
        moved: most of them agree that the level is elsewhere.
        gated: nobody who was heard is inside the gate, and they do not speak for a move.
    """

    z: float
    r: float
    share: list[float]
    moved: bool
    gated: bool


def listen(m: float, p: float, values: list[float], variances: list[float], dof: float, gate: float) -> Heard:
    """Choose by the prediction (m, p); p = inf where there is none."""
    heard = [
        i
        for i, (z, r) in enumerate(zip(values, variances, strict=True))
        if not isnan(z) and not isinf(z) and r > 0.0 and not isinf(r)
    ]
    if not heard:
        return Heard(nan, nan, [0.0] * len(values), moved=False, gated=False)
    inside = [i for i in heard if not isinf(p) and (values[i] - m) ** 2 <= gate * gate * (p + variances[i])]
    counted, moved, gated = inside, False, False
    if 2 * len(inside) < len(heard) or not inside:
        ordered = sorted(heard, key=lambda i: (values[i], i))
        middle = ordered[(len(heard) - 1) // 2]
        together = [
            i for i in heard if (values[i] - values[middle]) ** 2 <= gate * gate * (variances[i] + variances[middle])
        ]
        if isinf(p) or (len(together) > 1 and 2 * len(together) > len(heard)):
            counted, moved = together, True
        elif not inside:
            counted, gated = [middle], True
    weights = [0.0] * len(values)
    for i in counted:
        x = 0.0 if moved or gated else (values[i] - m) ** 2 / (p + variances[i])
        weights[i] = 1.0 / (variances[i] * softened(x, dof))
    total = sum(weights)
    share = [weight / total for weight in weights]
    z = values[counted[0]] + sum(share[i] * (values[i] - values[counted[0]]) for i in counted)
    return Heard(z, 1.0 / total, share, moved, gated)


def fuse_level(
    state: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    q: Array,
    dof: float,
    gate: float,
    step_samples: int,
    mean: Array,
    var: Array,
    innovation: Array,
    nis: Array,
    weight: Array,
) -> None:
    """State (k, 4): as that of `kalman_level`."""
    for k in range(value.shape[1]):
        m, p, candidate, count = state[k].tolist()
        for i, dt in enumerate(dt_s.tolist()):
            e = x = nan
            p += q[k] * dt if dt > 0.0 else 0.0
            weight[i, k] = 0.0
            heard = listen(m, p, value[i, k].tolist(), r[i, k].tolist(), dof, gate)
            if not isnan(heard.z) and not dt <= 0.0:
                if not isinf(p):
                    e = heard.z - m
                    x = e * e / (p + heard.r)
                weight[i, k] = heard.share
                if heard.moved:
                    m, p, count = heard.z, heard.r, 0.0
                elif not heard.gated:
                    m += p / (p + heard.r) * e
                    p *= heard.r / (p + heard.r)
                    count = 0.0
                else:
                    candidate, count = agreeing(heard.z, heard.r, gate, candidate, count)
                    if count >= step_samples:
                        m, p, count = candidate, heard.r / count, 0.0
                    else:
                        weight[i, k] = 0.0
            mean[i, k], var[i, k], innovation[i, k], nis[i, k] = m, p, e, x
        state[k] = m, p, candidate, count
