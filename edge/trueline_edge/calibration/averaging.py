"""The mean of the candidates that are sums of terms, weighted by what they say out of time: one function again.

Candidates with all inputs that were named count by their errors; a straight line of the own channel alone counts by its
error and its chance of being better than those, who are given credit for a person's having named the conditions: so
conditions that prove nothing count less, and those that do harm not at all. The covariance is that of the fit (by
blocks of a day: residuals of one day are alike) and of the disagreement of the candidates (Hoeting et al., Bayesian
model averaging, Stat. Sci. 14, 1999), which grows where they extrapolate.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.calibration.models import Affine, Model, MultiInput, rounded, rounded_covariance
from trueline_edge.calibration.regression import Design
from trueline_edge.calibration.splits import blocks_of, standard_errors
from trueline_edge.calibration.terms import Factor, Term, spell_term

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from trueline_edge.calibration.candidates import Data

    F64 = NDArray[np.float64]
    Rows = NDArray[np.intp]
    Splits = list[tuple[Rows, Rows]]

__all__ = ["Average", "average"]

_POWER = 8
"""Weight of a candidate: its out-of-time error to the minus eighth; twice the error counts 1/256."""
_WEIGHT_MIN = 1e-2
_CREDIT = 1.0
"""Standard errors: where nothing is seen of a condition, it is taken for what it was named for with 84 %."""
_ALONE = 1
"""The candidate that is a straight line of the own channel."""


class Average(NamedTuple):
    """What became of the candidates.

    Attributes:
        model: fitted to all pairs.
        said: out of time, for each split.
        early: variance of what was said, from the parameters of that split's own fit: few pairs know them badly.
        rmse: out of time, of candidates that a reader knows, by name.
        words: weight and terms of each.
    """

    model: Model
    said: list[F64]
    early: list[F64]
    rmse: dict[str, float]
    words: tuple[str, ...]


def average(data: Data, splits: Splits, *, alone: bool | None = None) -> Average:
    """Fit all candidates, and average them.

    Args:
        data: pairs, rising in time.
        splits: inner ones.
        alone: true for a straight line of the own channel, false for candidates with all inputs; weighed where None.
    """
    design = Design(data)
    each = [design.predict(design.solve(fitted), scored) for fitted, scored in splits]
    squared = [np.mean((p - data.reference[s]) ** 2, axis=1) for p, (_, s) in zip(each, splits, strict=True)]
    error = np.sqrt(np.mean(squared, axis=0))
    weight = _weights(design, error, splits, each, alone=alone)
    model = _model(data, design, *_spread(design, weight, np.arange(len(data.reference))))
    early = []
    for fitted, scored in splits:
        _, root = _spread(design, weight, fitted)
        early.append(np.square(design.features[scored] @ root.T).sum(axis=1))
    return Average(model, [weight @ p for p in each], early, _named_errors(design, error), _words(design, weight))


def _weights(design: Design, error: F64, splits: Splits, each: list[F64], *, alone: bool | None) -> F64:
    """Of the candidates."""
    count = len(error)
    if design.data.terms:
        known: F64 = np.eye(count)[-1]
        return known
    line: F64 = np.eye(count)[_ALONE]
    inputs = set(design.data.raw)
    most = np.array([_names(design.terms[c] for c in columns) == inputs for columns in design.columns])
    weight: F64 = np.where(most, (error / error[most].min()) ** -_POWER, 0.0)
    weight[weight < _WEIGHT_MIN] = 0.0
    weight /= weight.sum()
    if alone is not None or weight[_ALONE]:
        return line if alone else weight
    both = [weight @ p for p in each], [line @ p for p in each]
    worse = NormalDist().cdf(-standard_errors(design.data, splits, *both, shared=True) - _CREDIT)
    share = worse * min(1.0, (error[_ALONE] / error[most].min()) ** -_POWER)
    return weight if share < _WEIGHT_MIN else (1.0 - share) * weight + share * line


def _spread(design: Design, weight: F64, rows: Rows) -> tuple[F64, F64]:
    """(m,) coefficients of the weighted mean, fitted to some pairs, and A (g, m) with A'A their covariance."""
    starts, kept = blocks_of(design.data.time_s[rows]), np.flatnonzero(weight)
    solved = design.solve(rows, kept, starts)
    beta = np.zeros((len(kept), len(design.terms)))
    moved = np.zeros((len(starts), len(design.terms)))
    for row, i in enumerate(kept):
        beta[row, design.columns[i]] = solved.coefficients[row]
        moved[:, design.columns[i]] += weight[i] * solved.influence[row]
    mean = weight[kept] @ beta
    apart = (beta - mean) * np.sqrt(weight[kept])[:, None]
    blocks = len(moved)
    return mean, np.concatenate([moved * np.sqrt(blocks / max(blocks - 1, 1)), apart])


def _model(data: Data, design: Design, mean: F64, root: F64) -> Model:
    used = np.flatnonzero(mean)
    used = used if 0 in used else np.concatenate([[0], used])
    terms, coefficients = [design.terms[c] for c in used], mean[used]
    covariance = root[:, used].T @ root[:, used]
    own = Factor("", data.channel)
    if terms == [(), (own,)]:
        centre, scale = design.scaling[own]
        step = np.array([1.0, 1.0 / scale])
        line = rounded(coefficients * step)
        return Affine(
            offset=line[0],
            gain=line[1],
            centre=centre,
            covariance=rounded_covariance(covariance * np.outer(step, step)),
        )
    factors = {factor.text: design.scaling[factor] for term in terms for factor in term}
    words = tuple(map(spell_term, terms))
    return MultiInput(
        terms=words, coefficients=rounded(coefficients), factors=factors, covariance=rounded_covariance(covariance)
    )


def _named_errors(design: Design, error: F64) -> dict[str, float]:
    """Out-of-time errors of simple models that a reader knows, and of the best candidate."""
    data = design.data
    own = Factor("", data.channel)
    named: dict[str, tuple[Term, ...]] = {
        "constant": ((),),
        "affine": ((), (own,)),
        "quadratic": ((), (own,), (own, own)),
        "linear in all inputs": ((), *((Factor("", name),) for name in data.raw)),
    }
    sets = [frozenset(design.terms[c] for c in columns) for columns in design.columns]
    found = {"best candidate": float(error.min())}
    for name, terms in named.items():
        errors = [error[i] for i, candidate in enumerate(sets) if candidate == frozenset(terms)]
        if errors:
            found[name] = float(min(errors))
    return found


def _names(terms: Iterable[Term]) -> set[str]:
    return {factor.name for term in terms for factor in term}


def _words(design: Design, weight: F64) -> tuple[str, ...]:
    best = sorted(np.flatnonzero(weight), key=lambda i: -weight[i])
    return tuple(f"{weight[i]:.0%}: {' + '.join(spell_term(design.terms[c]) for c in design.columns[i])}" for i in best)
