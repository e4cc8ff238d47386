"""Several filters of one quantity, weighed by how well each foretold what came: for models the bank does not have.

Each filter runs by itself from the first row; only its say changes (static multiple models, Magill 1965), with its
past likelihood fading, so that another may take over when the process changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["MixtureOut", "log_density", "mix"]

_DOF = 4.0
_FADING = 0.99
"""Of each row's log likelihood so much is left a row later: models are weighed by their last hundred rows or so."""


class MixtureOut(NamedTuple):
    """What the filters say together, (n, k) each: mean and variance, and the log likelihoods to go on from (k, g)."""

    mean: Array
    var: Array
    state: Array


def log_density(innovation: Array, nis: Array) -> Array:
    """Student-t log likelihood of each innovation, up to a constant; zero where there was none.

    Args:
        innovation: any shape; NaN where nothing was learnt.
        nis: as many: innovation squared over its variance.
    """
    known = np.isfinite(innovation) & (nis > 0.0)
    x = np.where(known, nis, 1.0)
    scale = np.where(known, innovation, 1.0) ** 2 / x
    density = -0.5 * np.log(scale) - (_DOF + 1.0) / 2.0 * np.log1p(x / _DOF)
    return np.where(known, density, 0.0)


def mix(state: Array, log_likelihood: Array, mean: Array, var: Array) -> MixtureOut:
    """Weigh g filters of k quantities row by row.

    Args:
        state: (k, g) zeros at first, or of the rows before.
        log_likelihood: (n, k, g) of what each filter foretold; a row in which one has nothing to say should be zero.
        mean: (n, k, g).
        var: (n, k, g).
    """
    total = np.empty_like(log_likelihood)
    now = state
    for row, gained in enumerate(log_likelihood):
        now = _FADING * now + gained
        total[row] = now
    weight = np.exp(total - total.max(axis=2, keepdims=True))
    weight /= weight.sum(axis=2, keepdims=True)
    middle = (weight * mean).sum(axis=2)
    spread = (weight * (var + (mean - middle[:, :, None]) ** 2)).sum(axis=2)
    return MixtureOut(middle, spread, now)
