"""Ridge regression of many candidate functions at once, robust, with a slow drift of its own.

A drift during the calibration must not be mistaken for a dependence on temperature, which changes as slowly. So a
random walk (straight lines between knots, penalised steps) is fitted beside the terms, and only its mean is kept; in
less than a month nobody could tell it from weather, and it is left out.
Pairs far off are given less weight (Huber, Ann. Math. Stat. 35, 1964), with a limit that ordinary noise never meets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.calibration.candidates import MONTH_D, Data, candidate_terms, features_of, scaling_of
from trueline_edge.calibration.terms import Factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.terms import Term

    F64 = NDArray[np.float64]
    Rows = NDArray[np.intp]

__all__ = ["Design", "Solved"]

_RIDGE = 1e-4
"""Penalty in units of the pairs: hardly more than is needed to keep products and logarithms apart."""
_KNOT_S = 5 * 86_400.0
"""A knot each five days: the weather's own days are no drift."""
_KNOTS_MAX = 30
_WALK = 0.25
"""Variance the random walk may gather over the calibration, in units of the noise's."""
_HUBER = 4.0
"""Robust standard deviations beyond which a residual loses weight."""
_TINY = 1e-9


class Solved(NamedTuple):
    """All candidates fitted to some of the pairs."""

    coefficients: list[F64]
    """One for each candidate: of its terms, in their order."""
    influence: list[F64]
    """(g, m) each: by how much each block of pairs (a day, say) moved them; empty unless asked for."""


class Design:
    """Candidates and their features, made once and fitted to many parts of the pairs.

    Args:
        data: all pairs the calibration is made from.
    """

    def __init__(self, data: Data) -> None:
        sets = candidate_terms(data)
        self.data = data
        self.terms: list[Term] = list(dict.fromkeys(term for terms in sets for term in terms))
        place = {term: position for position, term in enumerate(self.terms)}
        self.scaling = scaling_of(data, sorted({factor for term in self.terms for factor in term}))
        self.features = features_of(data, self.terms, self.scaling)
        self._long = float(np.ptp(data.time_s)) >= MONTH_D * 86_400.0
        self.columns: list[Rows] = [np.array([place[term] for term in terms]) for terms in sets]
        linear = [(), *((Factor("", name),) for name in data.raw)]
        self._plain = np.array([place[term] for term in linear if term in place])

    def solve(self, rows: Rows, only: Rows | None = None, starts: Rows | None = None) -> Solved:
        """Fit candidates to some pairs.

        Args:
            rows: of the pairs, rising in time.
            only: which candidates; all where left out.
            starts: where each block of pairs begins, in `rows`; asks for the influence.
        """
        x, y, time_s = self.features[rows], self.data.reference[rows], self.data.time_s[rows]
        n, terms = x.shape
        walk = _hats(time_s) if self._long else np.zeros((n, 0))
        z = np.concatenate([x, walk], axis=1)
        penalty = _walk_penalty(n, walk.shape[1])
        plain = np.concatenate([self._plain, np.arange(terms, z.shape[1])])
        first = _solve(z.T @ z, z.T @ y, self._plain, 1e-2 * n, penalty, terms)[0]
        weight = _huber(y - z[:, plain] @ first)
        gram, moment = (z * weight[:, None]).T @ z, z.T @ (weight * y)
        mean = walk.mean(axis=0)
        coefficients, influence = [], []
        for i in range(len(self.columns)) if only is None else only:
            columns = self.columns[i]
            solution, inverse = _solve(gram, moment, columns, _RIDGE * n, penalty, terms)
            m = len(columns)
            found = solution[:m].copy()
            found[0] += mean @ solution[m:]
            coefficients.append(found)
            if starts is not None:
                both = np.concatenate([columns, np.arange(terms, z.shape[1])])
                residual = weight * (y - z[:, both] @ solution)
                moved = np.add.reduceat(z[:, both] * residual[:, None], starts, axis=0) @ inverse
                moved[:, 0] += moved[:, m:] @ mean
                influence.append(moved[:, :m])
        return Solved(coefficients, influence)

    def predict(self, solved: Solved, rows: Rows) -> F64:
        """(candidates, len(rows)) what each candidate says."""
        x = self.features[rows]
        return np.array([x[:, c] @ b for c, b in zip(self.columns, solved.coefficients, strict=True)])


_SIMPLE = 2
"""Terms up to which nothing has to be held back."""


def _solve(gram: F64, moment: F64, columns: Rows, ridge: float, penalty: F64, terms: int) -> tuple[F64, F64]:
    both = np.concatenate([columns, np.arange(terms, len(gram))])
    m = len(columns)
    matrix = gram[np.ix_(both, both)]
    matrix[m:, m:] += penalty
    diagonal = np.arange(len(both))
    matrix[diagonal, diagonal] += _TINY * (1.0 + matrix[diagonal, diagonal])
    if m > _SIMPLE:
        matrix[diagonal[1:m], diagonal[1:m]] += ridge
    inverse = np.linalg.inv(matrix)
    return inverse @ moment[both], inverse


def _hats(time_s: F64) -> F64:
    """(n, knots) straight lines between knots."""
    span_s = max(time_s[-1] - time_s[0], 1.0)
    knots = min(max(int(span_s / _KNOT_S) + 1, 2), _KNOTS_MAX)
    position = (time_s - time_s[0]) / span_s * (knots - 1)
    left = np.clip(position.astype(np.intp), 0, knots - 2)
    share = np.clip(position - left, 0.0, 1.0)
    hats = np.zeros((len(time_s), knots))
    rows = np.arange(len(time_s))
    hats[rows, left], hats[rows, left + 1] = 1.0 - share, share
    return hats


def _walk_penalty(n: int, knots: int) -> F64:
    steps = np.diff(np.eye(knots), axis=0)
    penalty: F64 = steps.T @ steps * (knots / _WALK) + np.full((knots, knots), 1e-3 * n) + 1e-6 * np.eye(knots)
    return penalty


def _huber(residual: F64) -> F64:
    scale = 1.4826 * np.median(np.abs(residual - np.median(residual)))
    weight: F64 = np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(residual), 1e-300))
    return weight
