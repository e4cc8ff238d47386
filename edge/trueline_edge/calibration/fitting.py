"""Fitting a calibration to a reference, by what it says out of time.

Every candidate is fitted to the first and to the last parts of the pairs, and scored on the rest, which lies after or
before, never in between: pairs drawn at random have neighbours on both sides and flatter every model. The result is
the mean of the best candidates, weighted by their out-of-time errors, which is one function again. Its parameters carry
the covariance of the fit (by blocks of a day: residuals of one day are alike) and the disagreement of the candidates
(Hoeting et al., Bayesian model averaging, Stat. Sci. 14, 1999), which grows where they extrapolate. What is left of
the out-of-time residuals becomes noise, model uncertainty and drift. What the reference does not explain is refused.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.stats import t as student

from trueline_edge.calibration.candidates import MONTH_D, Data
from trueline_edge.calibration.file import Uncertainty
from trueline_edge.calibration.models import Affine, Model, MultiInput
from trueline_edge.calibration.regression import Design
from trueline_edge.calibration.terms import Factor, spell_term

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.terms import Term

    F64 = NDArray[np.float64]
    Rows = NDArray[np.intp]

__all__ = ["Fit", "OutOfTime", "Refused", "fit", "splits_of"]

_SHARES = (0.3, 0.5, 0.7)
_POWER = 8
"""Weight of a candidate: its out-of-time error to the minus eighth; twice the error counts 1/256."""
_WEIGHT_MIN = 1e-2
_GROSS, _GROSS_SHARE = 20.0, 0.02
"""Medians of the residuals beyond which a pair is set aside, and of how many pairs at most."""
_PAIRS_MIN = 48
_DAY_S = 86_400.0
_SKILL_MIN = 0.1
_OWN_MIN = 0.1
_CORRELATION_MIN = 0.5
_QUANTILE_95 = 1.959964
_CLIP = 16.0
_DAYS_MIN = 6
_RELATIVE_MIN = 0.3
"""Spread of the reference (over its mean) from which errors in proportion can be told from constant ones."""


class Refused(Exception):  # noqa: N818 - it is a finding, not a mistake
    """The channel cannot be calibrated with this reference.

    Attributes:
        reasons: each a sentence.
    """

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class OutOfTime(NamedTuple):
    """What the calibration says of pairs it was not fitted to, one after the other for each inner split."""

    row: Rows
    """Of the pair."""
    value: F64
    residual: F64
    """Value minus reference."""
    age_d: F64
    """Days from the nearest pair it was fitted to."""


class Fit(NamedTuple):
    """A calibration that was found.

    Attributes:
        model: with the covariance of its parameters.
        u: noise of the pairs as they are, model uncertainty, drift.
        ranges: smallest and largest raw value of each input.
        out_of_time: of the inner splits.
        rmse: out-of-time root mean square error of models that were compared, by name; the one taken comes first.
        terms: how many terms the candidates had that were averaged, and their weights, in words.
    """

    model: Model
    u: Uncertainty
    ranges: dict[str, tuple[float, float]]
    out_of_time: OutOfTime
    rmse: dict[str, float]
    terms: tuple[str, ...]


def splits_of(n: int) -> list[tuple[Rows, Rows]]:
    """Inner splits in time: (fitted, scored) rows, forwards and backwards."""
    rows = np.arange(n)
    cuts = [int(share * n) for share in _SHARES]
    return [(rows[:cut], rows[cut:]) for cut in cuts] + [(rows[n - cut :], rows[: n - cut]) for cut in reversed(cuts)]


def fit(data: Data) -> Fit:
    """Find a calibration.

    Args:
        data: pairs, rising in time, without NaN.

    Raises:
        Refused: they do not support one.
    """
    _refuse_poor(data)
    data = _without_gross(data)
    design, splits = Design(data), splits_of(len(data.reference))
    said = [design.predict(design.solve(fitted), scored) for fitted, scored in splits]
    truth = [data.reference[scored] for _, scored in splits]
    squared = np.array([np.mean((p - y) ** 2, axis=1) for p, y in zip(said, truth, strict=True)])
    error = np.sqrt(squared.mean(axis=0))
    weight = _weights(design, error, splits, said)
    means = [weight @ p for p in said]
    out = _out_of_time(data, splits, means)
    rmse = _compared(data, design, error, means, truth)
    _refuse_useless(data, design, rmse)
    terms, coefficients, covariance, spoken = _averaged(design, weight, data)
    model = _model(data, design, terms, coefficients, covariance)
    early = np.concatenate([_early_variance(design, weight, *split) for split in splits])
    u, factor = _uncertainty(data, design, terms, coefficients, covariance, out, early)
    model = _model(data, design, terms, coefficients, covariance * factor**2)
    ranges = {n: (float(data.raw[n].min()), float(data.raw[n].max())) for n in _named(terms) | {data.channel}}
    return Fit(model, u, ranges, out, rmse, spoken)


def _refuse_poor(data: Data) -> None:
    n = len(data.reference)
    if n < _PAIRS_MIN:
        raise Refused([f"{n} pairs of readings and reference: {_PAIRS_MIN} are needed"])
    for name, column in (("the reference", data.reference), (f"channel {data.channel!r}", data.raw[data.channel])):
        if np.ptp(column) <= 0.0:
            raise Refused([f"{name} does not change"])


def _without_gross(data: Data) -> Data:
    """Without pairs so far off a plane through all that they are no measurement: few, or they are not that."""
    x = np.stack([np.ones(len(data.reference)), *data.raw.values()], axis=1)
    x[:, 1:] -= x[:, 1:].mean(axis=0)
    weight = np.ones(len(x))
    residual = data.reference
    for _ in range(20):
        beta = np.linalg.lstsq(x * weight[:, None], data.reference * weight, rcond=None)[0]
        residual = np.abs(data.reference - x @ beta)
        weight = 1.0 / np.sqrt(np.maximum(residual, 1e-9 + np.median(residual)))
    gross = residual > _GROSS * np.median(residual)
    return data.rows(~gross) if 0 < gross.mean() < _GROSS_SHARE else data


def _weights(design: Design, error: F64, splits: list[tuple[Rows, Rows]], said: list[F64]) -> F64:
    """Of the candidates: those with all inputs by their errors, the own channel alone by how likely it is better."""
    if design.data.terms:
        known: F64 = np.eye(len(error))[-1]
        return known
    inputs = set(design.data.raw)
    most = np.array([_named([design.terms[c] for c in columns]) == inputs for columns in design.columns])
    weight: F64 = np.where(most, (error / error[most].min()) ** -_POWER, 0.0)
    weight[weight < _WEIGHT_MIN] = 0.0
    weight /= weight.sum()
    alone = np.eye(len(error))[_ALONE]
    if not weight[_ALONE]:
        better = _chance_of_better(design.data, splits, [weight @ p for p in said], [alone @ p for p in said])
        better = 1.0 if better > 1.0 - _WEIGHT_MIN else better
        weight = better * weight + (1.0 - better) * alone
    return weight


_ALONE = 1
"""The candidate that is a straight line of the own channel."""


def _chance_of_better(data: Data, splits: list[tuple[Rows, Rows]], one: list[F64], other: list[F64]) -> float:
    """That `one` errs less than `other` out of time: the normal probability of the mean difference of their squares.

    Days, not pairs, are what is drawn: the errors of one day are alike.
    """
    gain = np.concatenate(
        [
            (b - data.reference[s]) ** 2 - (a - data.reference[s]) ** 2
            for (_, s), a, b in zip(splits, one, other, strict=True)
        ]
    )
    starts = _blocks(data)
    block = np.searchsorted(starts, np.concatenate([scored for _, scored in splits]), side="right") - 1
    each = np.bincount(block, gain, len(starts))
    spread = float(np.sqrt(len(each)) * each.std(ddof=1))
    return NormalDist().cdf(float(each.sum()) / spread) if spread > 0.0 else 0.5


def _out_of_time(data: Data, splits: list[tuple[Rows, Rows]], means: list[F64]) -> OutOfTime:
    rows = np.concatenate([scored for _, scored in splits])
    value = np.concatenate(means)
    ages = []
    for fitted, scored in splits:
        first, last = data.time_s[fitted[0]], data.time_s[fitted[-1]]
        ages.append(np.maximum(first - data.time_s[scored], data.time_s[scored] - last) / _DAY_S)
    return OutOfTime(rows, value, value - data.reference[rows], np.concatenate(ages))


def _compared(data: Data, design: Design, error: F64, means: list[F64], truth: list[F64]) -> dict[str, float]:
    """Out-of-time errors by name: the average, and simple models a reader knows."""
    own = Factor("", data.channel)
    named: dict[str, tuple[Term, ...]] = {
        "constant": ((),),
        "affine": ((), (own,)),
        "quadratic": ((), (own,), (own, own)),
        "linear in all inputs": ((), *((Factor("", name),) for name in data.raw)),
    }
    average = float(np.sqrt(np.mean([np.mean((p - y) ** 2) for p, y in zip(means, truth, strict=True)])))
    found = {"average of candidates": average, "best candidate": float(error.min())}
    sets = [frozenset(design.terms[c] for c in columns) for columns in design.columns]
    for name, terms in named.items():
        errors = [error[i] for i, candidate in enumerate(sets) if candidate == frozenset(terms)]
        if errors:
            found[name] = float(min(errors))
    return found


def _refuse_useless(data: Data, design: Design, rmse: dict[str, float]) -> None:
    reasons = []
    average, constant = rmse["average of candidates"], rmse["constant"]
    skill = 1.0 - (average / constant) ** 2
    if skill < _SKILL_MIN:
        reasons.append(
            f"out of time it explains {max(skill, 0.0):.0%} of the reference's variance ({_SKILL_MIN:.0%} are needed): "
            f"RMSE {average:.3g}, and {constant:.3g} for a constant"
        )
    responses = [data.channel, *data.responses]
    r = max(abs(float(np.corrcoef(data.raw[name], data.reference)[0, 1])) for name in responses)
    if r < _CORRELATION_MIN:
        reasons.append(f"the sensor does not follow the reference: correlation {r:.2f}, {_CORRELATION_MIN} is needed")
    without = _without_responses(data, design)
    if without is not None and (gain := 1.0 - rmse["best candidate"] / without) < _OWN_MIN:
        reasons.append(
            f"{', '.join(data.conditions)} alone say nearly as much (RMSE {without:.3g}): "
            f"the sensor adds {max(gain, 0.0):.0%}, {_OWN_MIN:.0%} is needed"
        )
    if reasons:
        raise Refused(reasons)


def _without_responses(data: Data, design: Design) -> float | None:
    """Out-of-time error of the conditions alone."""
    if not data.conditions:
        return None
    wanted = [(), *((Factor("", name),) for name in data.conditions)]
    columns = [design.terms.index(term) for term in wanted if term in design.terms]
    x, y = design.features[:, columns], data.reference
    squared = []
    for fitted, scored in splits_of(len(y)):
        beta = np.linalg.lstsq(x[fitted], y[fitted], rcond=None)[0]
        squared.append(np.mean((x[scored] @ beta - y[scored]) ** 2))
    return float(np.sqrt(np.mean(squared)))


def _averaged(design: Design, weight: F64, data: Data) -> tuple[list[Term], F64, F64, tuple[str, ...]]:
    """The weighted mean of the candidates as one function: terms, coefficients, covariance, and in words."""
    mean, root = _spread(design, weight, np.arange(len(data.reference)))
    covariance = root.T @ root
    used = np.flatnonzero(mean)
    used = used if 0 in used else np.concatenate([[0], used])
    best = sorted(np.flatnonzero(weight), key=lambda i: -weight[i])
    words = tuple(
        f"{weight[i]:.0%}: {' + '.join(spell_term(design.terms[c]) for c in design.columns[i])}" for i in best
    )
    return [design.terms[c] for c in used], mean[used], covariance[np.ix_(used, used)], words


def _spread(design: Design, weight: F64, rows: Rows) -> tuple[F64, F64]:
    """Coefficients of the weighted mean, fitted to some pairs, and A (g, m) with A'A their covariance.

    By blocks of a day (residuals of one day are alike), and by the disagreement of the candidates.
    """
    starts, kept = _blocks(design.data.rows(rows)), np.flatnonzero(weight)
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


def _early_variance(design: Design, weight: F64, fitted: Rows, scored: Rows) -> F64:
    """(len(scored),) variance of what an inner fit says, from its own parameters: few pairs know them badly."""
    _, root = _spread(design, weight, fitted)
    variance: F64 = np.square(design.features[scored] @ root.T).sum(axis=1)
    return variance


def _blocks(data: Data) -> Rows:
    """Where each day begins; eighths of the pairs where there are few days."""
    days = np.flatnonzero(np.diff(np.floor(data.time_s / _DAY_S), prepend=-1.0))
    n = len(data.time_s)
    return days if len(days) >= _DAYS_MIN else np.arange(8) * n // 8


def _model(data: Data, design: Design, terms: list[Term], coefficients: F64, covariance: F64) -> Model:
    rows = tuple(tuple(_short(x) for x in row) for row in (covariance + covariance.T) / 2)
    numbers = tuple(_short(x) for x in coefficients)
    own = Factor("", data.channel)
    if terms == [(), (own,)]:
        centre, scale = design.scaling[own]
        step = np.array([1.0, 1.0 / scale])
        scaled = tuple(tuple(_short(x) for x in row) for row in covariance * np.outer(step, step))
        return Affine(offset=numbers[0], gain=_short(coefficients[1] / scale), centre=centre, covariance=scaled)
    factors = {factor.text: design.scaling[factor] for term in terms for factor in term}
    return MultiInput(terms=tuple(map(spell_term, terms)), coefficients=numbers, factors=factors, covariance=rows)


def _short(number: float) -> float:
    return float(f"{number:.9g}")


def _named(terms: list[Term]) -> set[str]:
    return {factor.name for term in terms for factor in term}


def _uncertainty(
    data: Data, design: Design, terms: list[Term], coefficients: F64, covariance: F64, out: OutOfTime, early: F64
) -> tuple[Uncertainty, float]:
    """Parts of the out-of-time residuals, and the factor by which all were wrong at the 95th percentile.

    An inner fit has fewer pairs than the last one, and its age grows as they get fewer: so the variance of its own
    parameters, `early`, is taken off first. In less than a month a drift cannot be told from weather: it is assumed.
    """
    columns = [design.terms.index(term) for term in terms]
    features = design.features[:, columns]
    span_d = float(np.ptp(data.time_s)) / _DAY_S
    spread = float(np.std(data.reference)) / max(abs(float(np.mean(data.reference))), 1e-300)
    parameters = np.einsum("ij,jk,ik->i", features, covariance, features)
    squared = out.residual**2
    ages = out.age_d * (span_d >= MONTH_D)
    parts = np.stack([np.ones(len(squared)), out.value**2 * (spread > _RELATIVE_MIN), ages], axis=1)
    variance = np.full(len(squared), squared.mean())
    found = np.zeros(3)
    for _ in range(8):
        clipped = np.minimum(squared, _CLIP * variance) - early
        found = nnls(parts / variance[:, None], np.maximum(clipped, 0.0) / variance)[0]
        variance = np.maximum(parts @ found + early, 1e-6 * squared.mean())
    factor = float(np.quantile(np.sqrt(squared / variance), 0.95) / _QUANTILE_95)
    factor = min(max(factor, 0.7), 2.0) * float(student.ppf(0.975, max(len(_blocks(data)) - 1, 2))) / _QUANTILE_95
    constant, relative, drift = (float(np.sqrt(part)) * factor for part in found)
    residual = data.reference - features @ coefficients
    step = np.diff(residual)[np.diff(data.time_s) <= 1.5 * np.median(np.diff(data.time_s))]
    noise = min(float(np.sqrt(np.mean(step**2) / 2)) if len(step) else constant, constant)
    model = float(np.sqrt(max(constant**2 - noise**2, 0.0)))
    lasting = np.mean(model**2 + (relative * data.reference) ** 2) + np.median(parameters) * factor**2
    drift = max(drift, float(np.sqrt(lasting / max(span_d, MONTH_D))))
    u = Uncertainty(noise=_short(noise), model=_short(model), model_relative=_short(relative), drift=_short(drift))
    return u, factor
