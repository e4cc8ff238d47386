"""Fitting a calibration to a reference, by what it says out of time.

Every function is fitted to the first and to the last parts of the pairs, and scored on the rest, which lies after or
before, never in between. The mean of the sums of terms (`averaging.py`) stands first; with a datasheet, the fit that it
informs does; a function that is fitted whole (`challengers.py`) takes its place where its squared errors are smaller by
two standard errors, the simpler one being kept otherwise (after Breiman et al., "Classification and Regression Trees",
1984, sect. 3.4.3). What is left becomes noise, model uncertainty and drift (`remaining.py`). What the reference
does not explain is refused.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.calibration.averaging import average
from trueline_edge.calibration.challengers import KINDS, challengers
from trueline_edge.calibration.checking import apply_to
from trueline_edge.calibration.file import Calibration, Uncertainty
from trueline_edge.calibration.models import Model, Table, widened
from trueline_edge.calibration.remaining import OutOfTime, out_of_time, remaining
from trueline_edge.calibration.splits import splits_of, standard_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trueline_edge.calibration.candidates import Data
    from trueline_edge.calibration.datasheet import Known

    F64 = NDArray[np.float64]
    Rows = NDArray[np.intp]
    Splits = list[tuple[Rows, Rows]]

__all__ = ["MODELS", "Fit", "OutOfTime", "Refused", "fit", "splits_of"]

MODELS = ("auto", "offset", "affine", "polynomial", "table", "spline", "multi_input", "datasheet")
"""What may be asked for."""
_GROSS, _GROSS_SHARE = 20.0, 0.02
"""Medians of the residuals beyond which a pair is set aside, and of how many pairs at most."""
_PAIRS_MIN, _PAIRS_INFORMED_MIN = 48, 8
_SKILL_MIN = 0.1
_OWN_MIN = 0.1
_CORRELATION_MIN = 0.5
_BETTER = 2.0
"""Standard errors by which a function takes the place of a simpler one: of a dozen that are tried one is better by one
standard error by luck."""
_MATTERS = 0.98
"""And its error is smaller by two percent: many pairs prove what nobody needs."""
_WIDE = (-1e30, 1e30)
_AVERAGE, _INFORMED = "average of candidates", "informed by the datasheet"


class Refused(Exception):  # noqa: N818 - it is a finding, not a mistake
    """The channel cannot be calibrated with this reference.

    Attributes:
        reasons: each a sentence.
    """

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class Fit(NamedTuple):
    """A calibration that was found.

    Attributes:
        model: with the covariance of its parameters.
        u: noise of the pairs as they are, model uncertainty, drift.
        ranges: smallest and largest raw value of each input.
        out_of_time: of the inner splits; None where pairs were too few for any.
        rmse: out-of-time root mean square error of models that were compared, by name.
        taken: the name of the one that was taken.
        terms: weight and terms of the candidates that were averaged, in words.
    """

    model: Model
    u: Uncertainty
    ranges: dict[str, tuple[float, float]]
    out_of_time: OutOfTime | None
    rmse: dict[str, float]
    taken: str
    terms: tuple[str, ...]


class _Tried(NamedTuple):
    """A function, and what fits to parts of the pairs said of the rest, and its variance."""

    model: Model
    said: list[F64]
    early: list[F64]


def fit(data: Data, *, model: str = "auto", known: Known | None = None) -> Fit:
    """Find a calibration.

    Args:
        data: pairs, rising in time, without NaN.
        model: one of `MODELS`: a kind of function, where somebody knows it; "auto" compares them all.
        known: what a datasheet says.

    Raises:
        Refused: the pairs do not support one.
    """
    _refuse_poor(data, known)
    if known is not None and len(data.reference) < _PAIRS_MIN:
        return _by_datasheet(data, known)
    data = _without_gross(data)
    splits = splits_of(len(data.reference))
    alone = {"affine": True, "multi_input": False}.get(model)
    averaged = average(data, splits, alone=alone)
    tried = {_AVERAGE: _Tried(averaged.model, averaged.said, averaged.early)}
    if known is not None:
        tried = {_INFORMED: _try(data, splits, known.model), **tried}
    tried |= {name: _try(data, splits, solver) for name, solver in challengers(data, model).items()}
    rmse = {name: _rmse(data, splits, each.said) for name, each in tried.items()} | averaged.rmse
    steady = known is not None and known.steady(data) and model == "auto"
    taken = _INFORMED if steady else _choose(data, splits, tried, rmse, model)
    rmse = {taken: rmse.pop(taken), **rmse}
    if not steady:
        _refuse_useless(data, splits, rmse, taken)
    found = tried[taken]
    out = out_of_time(data, splits, found.said, found.early)
    value, parameters = _evaluate(found.model, data)
    u, factor = remaining(data, value, parameters, out)
    ranges = _ranges(data, found.model)
    if known is not None and taken == _INFORMED:
        factor = 1.0
        u = msgspec.structs.replace(u, model=max(u.model, known.sheet.slow))
        ranges |= known.ranges(data)
    words = averaged.words if taken == _AVERAGE else ()
    return Fit(widened(found.model, factor), u, ranges, out, rmse, taken, words)


def _by_datasheet(data: Data, known: Known) -> Fit:
    """Pairs that are too few to be split: what they say with the datasheet, and its noise."""
    found, model = known.fit(data), known.model(data)
    residual = _evaluate(model, data)[0] - data.reference
    u = Uncertainty(noise=float(f"{found.noise[0]:.9g}"), model=float(f"{found.slow[0]:.9g}"))
    rmse = {_INFORMED: float(np.sqrt(np.mean(residual**2)))}
    return Fit(model, u, _ranges(data, model) | known.ranges(data), None, rmse, _INFORMED, ())


def _try(data: Data, splits: Splits, solver: Callable[[Data], Model]) -> _Tried:
    each = [_evaluate(solver(data.rows(fitted)), data.rows(scored)) for fitted, scored in splits]
    return _Tried(solver(data), [value for value, _ in each], [variance for _, variance in each])


def _evaluate(model: Model, data: Data) -> tuple[F64, F64]:
    """(n,) what the stage would say, and its variance from the parameters alone."""
    wide = dict.fromkeys(_inputs(data, model), _WIDE)
    made = Calibration(id="-", channel=data.channel, date=datetime.fromtimestamp(0, UTC), model=model, range=wide)
    applied = apply_to(made, data)
    return applied.value, applied.u**2


def _rmse(data: Data, splits: Splits, said: list[F64]) -> float:
    squared = [np.mean((p - data.reference[s]) ** 2) for p, (_, s) in zip(said, splits, strict=True)]
    return float(np.sqrt(np.mean(squared)))


def _choose(data: Data, splits: Splits, tried: dict[str, _Tried], rmse: dict[str, float], model: str) -> str:
    """The name of the one that is taken."""
    order = list(tried)
    if model == "datasheet":
        return _INFORMED
    if model in KINDS:
        return min((name for name in order if name.startswith(model)), key=lambda name: rmse[name])
    if model in {"affine", "multi_input"} or data.terms:
        return _AVERAGE
    taken = order[0]
    ahead = partial(standard_errors, data, splits, shared=False)
    for name in order[1:]:
        if name == "offset" or rmse[name] > _MATTERS * rmse[taken]:
            continue
        if ahead(tried[name].said, tried[taken].said) > _BETTER:
            taken = name
    return taken


def _ranges(data: Data, model: Model) -> dict[str, tuple[float, float]]:
    """Outwards to six digits: a mean of equal readings must not be outside by its last bit."""
    found = {}
    for name in _inputs(data, model):
        low, high = float(data.raw[name].min()), float(data.raw[name].max())
        digits = 5 - math.floor(math.log10(max(abs(low), abs(high), 1e-300)))
        found[name] = (_outwards(low, digits, -1.0), _outwards(high, digits, 1.0))
    return found


def _outwards(limit: float, digits: int, way: float) -> float:
    near = round(limit, digits)
    return near if (near - limit) * way >= 0.0 else round(limit + way * 10.0**-digits, digits)


def _inputs(data: Data, model: Model) -> list[str]:
    inputs = () if isinstance(model, Table) else model.linear(data.channel).inputs
    return sorted({data.channel, *inputs})


def _refuse_poor(data: Data, known: Known | None) -> None:
    n = len(data.reference)
    wanted = _PAIRS_MIN if known is None else _PAIRS_INFORMED_MIN
    if n < wanted:
        raise Refused([f"{n} pairs of readings and reference: {wanted} are needed"])
    if known is not None:
        if reason := known.contradiction(data):
            raise Refused([reason])
        return
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


def _refuse_useless(data: Data, splits: Splits, rmse: dict[str, float], taken: str) -> None:
    reasons = []
    error, constant = rmse[taken], rmse["constant"]
    skill = 1.0 - (error / constant) ** 2
    if skill < _SKILL_MIN:
        reasons.append(
            f"out of time it explains {max(skill, 0.0):.0%} of the reference's variance ({_SKILL_MIN:.0%} are needed): "
            f"RMSE {error:.3g}, and {constant:.3g} for a constant"
        )
    responses = [data.channel, *data.responses]
    r = max(abs(float(np.corrcoef(data.raw[name], data.reference)[0, 1])) for name in responses)
    if r < _CORRELATION_MIN:
        reasons.append(f"the sensor does not follow the reference: correlation {r:.2f}, {_CORRELATION_MIN} is needed")
    without = _conditions_alone(data, splits)
    if without is not None and (gain := 1.0 - min(rmse["best candidate"], error) / without) < _OWN_MIN:
        reasons.append(
            f"{', '.join(data.conditions)} alone say nearly as much (RMSE {without:.3g}): "
            f"the sensor adds {max(gain, 0.0):.0%}, {_OWN_MIN:.0%} is needed"
        )
    if reasons:
        raise Refused(reasons)


def _conditions_alone(data: Data, splits: Splits) -> float | None:
    """Out-of-time error of least squares without any response."""
    if not data.conditions:
        return None
    x = np.stack([np.ones(len(data.reference)), *(data.raw[name] for name in data.conditions)], axis=1)
    x[:, 1:] = (x[:, 1:] - x[:, 1:].mean(axis=0)) / np.maximum(x[:, 1:].std(axis=0), 1e-300)
    said = [x[scored] @ np.linalg.lstsq(x[fitted], data.reference[fitted], rcond=None)[0] for fitted, scored in splits]
    return _rmse(data, splits, said)
