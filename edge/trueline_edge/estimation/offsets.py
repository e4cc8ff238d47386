"""Offsets of several sensors of one quantity, from their differences alone.

    value_i = quantity + offset_i + noise_i

The quantity may do what it likes: it is taken as unknown in each row, so that only differences speak (the information
that a row holds about the offsets is what is left when the quantity is projected out). A shift all sensors share is
therefore never seen: in its direction the covariance keeps what it began with. The offsets walk slowly.

Source: linear Gaussian regression with a nuisance parameter (Seber and Lee 2003, section 3.3); information filter
(Bar-Shalom, Li and Kirubarajan 2001, section 7.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.estimation.voting import present_median

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Offsets", "common_variance", "informed", "learn_offsets", "project_out"]

_ROWS_WORTH = 4.0
"""A window of rows counts as so many at most: what lasts a window, such as 1/f noise, is not averaged within it."""
_ADAPT = 0.2
"""Share of a window in the scatter learnt."""


class Offsets(NamedTuple):
    """What is known.

    Attributes:
        mean: (m,) offsets.
        cov: (m, m) their covariance; NaN before the first window.
        scatter: (m,) variance with which each sensor, its offset taken off, strays from the mean of all; zero at first.
        prior: (m,) variance each began with.
    """

    mean: Array
    cov: Array
    scatter: Array
    prior: Array

    @classmethod
    def unknown(cls, sensors: int) -> Offsets:
        """Before anything was heard."""
        return cls(np.zeros(sensors), np.full((sensors, sensors), np.nan), np.zeros(sensors), np.zeros(sensors))

    @property
    def known(self) -> bool:
        """Has there been a window?"""
        return not np.isnan(self.cov[0, 0])


def project_out(value: Array, var: Array) -> tuple[Array, Array]:
    """What rows say of the offsets when the quantity is unknown in each.

    Args:
        value: (n, m) values; NaN where a sensor was not heard.
        var: (n, m) variance of the noise.

    Returns:
        (m, m) information matrix and (m,) information vector, summed over the rows.
    """
    there = np.isfinite(value)
    weight = np.where(there, 1.0 / np.where(there, var, 1.0), 0.0)
    total = weight.sum(axis=1)
    some = total > 0.0
    weight, total, clean = weight[some], total[some], np.where(there, value, 0.0)[some]
    matrix = np.diag(weight.sum(axis=0)) - np.einsum("ni,nj,n->ij", weight, weight, 1.0 / total)
    mean = (weight * clean).sum(axis=1) / total
    vector: Array = (weight * (clean - mean[:, None])).sum(axis=0)
    return matrix, vector


def learn_offsets(offsets: Offsets, prior: Array, value: Array, var: Array, walk_var: Array) -> Offsets:
    """Take in a window of rows.

    Args:
        offsets: so far.
        prior: (m,) variance of each offset before anything is known; positive.
        value: (n, m) values, raw; NaN where a sensor was not heard, or did not count.
        var: (n, m) variance of the noise of each.
        walk_var: (m,) variance each offset has gained since the last window.
    """
    together = np.isfinite(value).sum(axis=1) > 1
    cov = offsets.cov + np.diag(walk_var) if offsets.known else np.diag(prior)
    prior = offsets.prior if offsets.known else prior
    if not together.any():
        return offsets._replace(cov=cov, prior=prior) if offsets.known else offsets
    matrix, vector = project_out(value[together] - offsets.mean, var[together])
    share = min(1.0, _ROWS_WORTH / together.sum())
    cov = informed(cov, matrix * share)
    mean = offsets.mean + cov @ vector * share
    return Offsets(mean, cov, _scatter(offsets, value[together] - mean, var[together]), prior)


def informed(cov: Array, information: Array) -> Array:
    """(s, s) the covariance after information about it has come in: (C^-1 + I)^-1, positive whatever the rounding.

    Args:
        cov: (s, s), of any rank.
        information: (s, s), of any rank.
    """
    size, axes = np.linalg.eigh(cov)
    root = axes * np.sqrt(np.maximum(size, 0.0))
    half = np.linalg.solve(np.linalg.cholesky(np.eye(len(cov)) + root.T @ information @ root), root.T)
    result: Array = half.T @ half
    return result


def _scatter(offsets: Offsets, aligned: Array, var: Array) -> Array:
    """(m,) what each sensor strays by, robustly: a scatter that no noise from row to row explains adds to it."""
    there = np.isfinite(aligned)
    weight = np.where(there, 1.0 / np.where(there, var, 1.0), 0.0)
    weight /= weight.sum(axis=1, keepdims=True)
    mean = (weight * np.where(there, aligned, 0.0)).sum(axis=1)
    apart = np.where(there, np.abs(aligned - mean[:, None]), np.nan)
    now = (1.4826 * present_median(apart.T)) ** 2
    left = 1.0 - np.where(there.any(axis=0), np.where(there, weight, 0.0).sum(axis=0), 0.0) / np.maximum(
        there.sum(axis=0), 1
    )
    now = now / np.maximum(left, 0.1)
    blended = np.where(offsets.scatter > 0.0, (1.0 - _ADAPT) * offsets.scatter + _ADAPT * now, now)
    return np.where(np.isnan(now), offsets.scatter, blended)


def common_variance(cov: Array) -> float:
    """Variance of the best mean of the offsets: what all have in common, and no comparison takes away."""
    return 1.0 / float(np.linalg.inv(cov).sum())
