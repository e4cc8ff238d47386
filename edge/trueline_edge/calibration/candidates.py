"""Which calibration functions are tried: sets of terms, from the simplest upwards.

A *response* is what the sensor, or another one that is sensitive to the same thing, shows; a *condition* is what
disturbs it (temperature, humidity). All candidates are sums of terms, so their weighted mean is one too.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.calibration.terms import FUNCTIONS, Factor, Term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    F64 = NDArray[np.float64]

__all__ = ["MONTH_D", "Data", "candidate_terms", "features_of", "scaling_of"]


class Data(NamedTuple):
    """Pairs of raw readings and reference, in the order of time.

    Attributes:
        time_s: (n,) UTC seconds.
        raw: (n,) each, by channel: the sensor's own, then further responses, then conditions.
        reference: (n,)
        channel: the sensor's own.
        responses: further channels that respond to the measurand.
        conditions: channels that disturb it.
    """

    time_s: F64
    raw: dict[str, F64]
    reference: F64
    channel: str
    responses: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def rows(self, where: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Data:
        """Some of the pairs."""
        raw = {name: column[where] for name, column in self.raw.items()}
        return self._replace(time_s=self.time_s[where], raw=raw, reference=self.reference[where])


def candidate_terms(data: Data) -> list[tuple[Term, ...]]:
    """Sets of terms, each with the constant first."""
    own = data.channel
    responses = [own, *data.responses]
    positive = {name for name, column in data.raw.items() if _far_from_0(column) and _spread(column) > _CURVED}
    plain: list[Term] = [(Factor("", name),) for name in responses]
    log: list[Term] = [(Factor("log", name) if name in positive else Factor("", name),) for name in responses]
    inverse: list[Term] = [(Factor("inverse", name) if name in positive else Factor("", name),) for name in responses]
    root: list[Term] = [(Factor("sqrt", name) if name in positive else Factor("", name),) for name in responses]
    conditions: list[Term] = [(Factor("", name),) for name in data.conditions]
    dry: list[Term] = [(Factor("log" if name in positive else "", name),) for name in data.conditions]
    bases = [plain, log, plain + log, plain + _squares(plain), root, inverse, plain + inverse]
    first, last = conditions[:1], dry[-1:]
    pairs = [a + b for a, b in itertools.combinations(plain, 2)]
    with_first = _products(plain, first)
    curved = _squares(conditions) + [a + b for a, b in itertools.combinations(conditions, 2)]
    seconds: list[list[Term]] = [[], with_first, _products(log, first), _products(plain, last), curved]
    seconds += [with_first + curved, pairs, pairs + with_first, _products(log, last), _products(plain, conditions[1:2])]
    sets = [[], [plain[0]], [plain[0], *_squares(plain[:1])]]
    for base, added, second in itertools.product(bases, ([], conditions, conditions + last, last), seconds):
        sets.append(base + added + second)
    days = float(np.ptp(data.time_s)) / 86_400.0
    if days < MONTH_D:
        sets = [[], plain[:1], plain + conditions]
    unique = dict.fromkeys(tuple(dict.fromkeys([(), *(_sorted(term) for term in terms)])) for terms in sets)
    room = max(1 + len(data.raw), min(len(data.reference) // _PAIRS_PER_TERM, int(days / _DAYS_PER_TERM)))
    return [terms for terms in unique if len(terms) <= room]


MONTH_D = 30.0
"""Curves and products are tried from a month on. Before, all inputs count, in proportion: whoever named them knows the
physics, a few days of weather neither prove nor refute it, and what they have not seen lies where curves explode."""
_CURVED = 0.15
"""Spread (standard deviation over mean) below which a logarithm is a straight line."""
_FAR = 0.1
"""A smallest value above so much of the mean keeps logarithms and inverses away from where they explode."""
_PAIRS_PER_TERM = 20
_DAYS_PER_TERM = 2.5
"""Weather changes from day to day, not from reading to reading: so many days for each term, but one for each input."""


def _far_from_0(column: F64) -> bool:
    return float(column.min()) > _FAR * float(np.mean(column)) > 0.0


def _spread(column: F64) -> float:
    return float(np.std(column) / max(abs(float(np.mean(column))), 1e-300))


def _squares(terms: Sequence[Term]) -> list[Term]:
    return [term + term for term in terms]


def _products(left: Sequence[Term], right: Sequence[Term]) -> list[Term]:
    return [_sorted(a + b) for a, b in itertools.product(left, right)]


def _sorted(term: Term) -> Term:
    return tuple(sorted(term))


def scaling_of(data: Data, factors: Sequence[Factor]) -> dict[Factor, tuple[float, float]]:
    """Centre and scale of factors: mean and standard deviation over the pairs, in digits that a person can read."""
    found = {}
    for factor in factors:
        column = FUNCTIONS[factor.function].value(data.raw[factor.name])
        centre, scale = float(np.mean(column)), float(np.std(column))
        digits = 3 - int(np.floor(np.log10(scale))) if scale > 0 else 0
        found[factor] = (round(centre, digits), round(scale, digits) if scale > 0 else 1.0)
    return found


def features_of(data: Data, terms: Sequence[Term], scaling: dict[Factor, tuple[float, float]]) -> F64:
    """(n, m) the terms at each pair."""
    columns = {
        factor: (FUNCTIONS[factor.function].value(data.raw[factor.name]) - centre) / scale
        for factor, (centre, scale) in scaling.items()
    }
    one = np.ones(len(data.reference))
    return np.stack([np.prod([columns[factor] for factor in term], axis=0) if term else one for term in terms], axis=1)
