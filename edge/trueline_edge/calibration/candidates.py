"""Which calibration functions are tried: few sets of terms, from the simplest upwards.

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
        terms: the one set of terms to fit, where somebody knows it; what is tried is chosen where left out.
    """

    time_s: F64
    raw: dict[str, F64]
    reference: F64
    channel: str
    responses: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    terms: tuple[Term, ...] = ()

    def rows(self, where: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Data:
        """Some of the pairs."""
        raw = {name: column[where] for name, column in self.raw.items()}
        return self._replace(time_s=self.time_s[where], raw=raw, reference=self.reference[where])


def candidate_terms(data: Data) -> list[tuple[Term, ...]]:
    """Sets of terms, each with the constant first: the constant and the own channel to compare with, then candidates.

    Every candidate has all inputs: whoever named them knows the physics, which a few weeks of weather neither prove nor
    refute. From a month on, logarithms (metal oxides and electrochemical cells follow power laws), products with the
    first condition (a gain that depends on temperature), and for a sensor alone its square are tried as well.
    """
    responses = [data.channel, *data.responses]
    plain: list[Term] = [(Factor("", name),) for name in responses]
    conditions: list[Term] = [(Factor("", name),) for name in data.conditions]
    logs: list[Term] = [(Factor("log", name),) for name in responses if _curved(data.raw[name])]
    products: list[Term] = [_sorted(a + b) for a, b in itertools.product(plain, conditions[:1])]
    sets = [[], plain[:1], plain + conditions]
    if float(np.ptp(data.time_s)) >= MONTH_D * 86_400.0:
        added = [logs, products, logs + products]
        added += [] if data.responses else [[plain[0] + plain[0]]]
        sets += [plain + conditions + terms for terms in added]
    if data.terms:
        sets = [[], plain[:1], list(data.terms)]
    unique = dict.fromkeys(tuple(dict.fromkeys([(), *terms])) for terms in sets)
    room = max(1 + len(data.raw), len(data.reference) // _PAIRS_PER_TERM)
    return [terms for terms in unique if len(terms) <= room or data.terms]


MONTH_D = 30.0
"""Curves and products are tried from so many days on: what a few days have not seen lies where curves explode."""
_SPREAD = 0.15
"""Spread (standard deviation over mean) below which a logarithm is a straight line."""
_FAR = 0.1
"""A smallest value above so much of the mean keeps a logarithm away from where it explodes."""
_PAIRS_PER_TERM = 20


def _curved(column: F64) -> bool:
    """Is a logarithm of it possible, and more than a straight line?"""
    mean = float(np.mean(column))
    return float(column.min()) > _FAR * mean > 0.0 and float(np.std(column)) > _SPREAD * mean


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
