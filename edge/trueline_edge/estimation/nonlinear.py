"""Filters for models that a person writes as functions: extended, unscented, and several models that interact.

Promises: `track` is pure, and cutting its rows elsewhere changes nothing; a surprising value moves little, an
impossible one nothing, and yet the filter does not stay lost: contradicted for long enough, or diverged, it starts
anew. Refuses to know what the state and the values mean. The models are in `nonlinear_model`, filterpy's filters
(extra `nonlinear`) behind `nonlinear_filters`.

Sources: the iterated extended filter, Gelb, "Applied Optimal Estimation", 1974, sec. 6.1; the unscented one, Julier
and Uhlmann, Proc. IEEE 92, 2004, with van der Merwe's points; interacting models, Blom and Bar-Shalom, IEEE Trans. AC
33, 1988.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_edge.estimation.nonlinear_filters import Filter, Kind, joint_of, make_filters
from trueline_edge.estimation.nonlinear_model import Mode, Model, gradient
from trueline_edge.estimation.outcomes import Robust

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["ROBUST", "Kind", "Mode", "Model", "NonlinearOut", "NonlinearState", "begin", "gradient", "track"]

ROBUST: Final = Robust(step_samples=10)
"""After ten refused rows the filter doubts itself, not its inputs."""


class NonlinearState(NamedTuple):
    """All a filter remembers.

    Attributes:
        mean: (modes, p).
        covariance: (modes, p, p).
        probability: (modes,) of each mode; one mode where the models do not interact.
        doubt: (2,) rows in a row that contradicted the state, and rows that bore it out, up to `step_samples`.
    """

    mean: Array
    covariance: Array
    probability: Array
    doubt: Array


class NonlinearOut(NamedTuple):
    """What a filter says row by row.

    Attributes:
        mean: (n, p) the state, given all rows up to this one.
        covariance: (n, p, p).
        innovation: (n, m) value minus predicted value; NaN where there was no value.
        innovation_var: (n, m) variance the innovation should have.
        nis: (n,) normalised innovation squared, divided by the number of values: about 1 where the model holds; NaN
            where there was no value.
        accepted: (n, m) bool: the value moved the state.
        restarted: (n,) bool: the filter had diverged, or the gap was too long: it stands at the model's start again.
        state: to go on from.
    """

    mean: Array
    covariance: Array
    innovation: Array
    innovation_var: Array
    nis: Array
    accepted: NDArray[np.bool_]
    restarted: NDArray[np.bool_]
    state: NonlinearState


def begin(model: Model, kind: Kind) -> NonlinearState:
    """A filter that knows what the model says of the start."""
    modes = model.modes if kind == "imm" else (Mode(lasts_s=1.0),)
    weight = np.array([mode.probability for mode in modes])
    mean, covariance = np.asarray(model.mean, np.float64), np.asarray(model.covariance, np.float64)
    return NonlinearState(
        np.tile(mean, (len(modes), 1)),
        np.tile(covariance, (len(modes), 1, 1)),
        weight / weight.sum(),
        np.array([0.0, 1.0]),
    )


def track(
    model: Model,
    kind: Kind,
    state: NonlinearState,
    dt_s: Array,
    value: Array,
    variance: Array,
    robust: Robust = ROBUST,
    gap_max_s: float = np.inf,
) -> NonlinearOut:
    """Filter n rows.

    Args:
        model: how the state moves and is seen.
        kind: of filter; "imm" wants a model with modes.
        state: from `begin`, or of the rows before.
        dt_s: (n,) seconds since the row before; not negative.
        value: (n, m) of the inputs, NaN where there is none.
        variance: (n, m) of each value's noise.
        robust: a value beyond `gate` moves nothing, one in the tail little; after more than `step_samples` rows that
            contradict the state (most inputs refused) it starts anew with them.
        gap_max_s: after a longer gap the filter starts anew.

    Raises:
        ImportError: filterpy is not installed.
    """
    n, m, p = len(dt_s), model.inputs, len(model.state)
    out = NonlinearOut(
        np.empty((n, p)),
        np.empty((n, p, p)),
        np.empty((n, m)),
        np.empty((n, m)),
        np.empty(n),
        np.empty((n, m), np.bool_),
        np.empty(n, np.bool_),
        state,
    )
    filters = make_filters(model, kind)
    with np.errstate(all="ignore"):  # a state that is not finite starts anew below
        for row in range(n):
            fresh = dt_s[row] > gap_max_s
            before = begin(model, kind) if fresh else state
            elapsed_s = 0.0 if fresh else float(dt_s[row])
            try:
                state, seen = _step(model, filters, before, elapsed_s, _Values(value[row], variance[row]), robust)
            except np.linalg.LinAlgError:
                state, seen = before._replace(covariance=-before.covariance), _nothing(m)
            diverged = not _sound(state)
            if diverged:
                state, seen = begin(model, kind), seen._replace(accepted=np.zeros(m, np.bool_))
            out.innovation[row], out.innovation_var[row], out.nis[row], out.accepted[row] = seen
            out.restarted[row] = fresh or diverged
            out.mean[row], out.covariance[row] = _mixture(state.probability, state.mean, state.covariance)
    return out._replace(state=state)


def _sound(state: NonlinearState) -> bool:
    finite = all(np.isfinite(part).all() for part in state)
    return finite and bool((np.diagonal(state.covariance, axis1=1, axis2=2) > 0.0).all())


class _Values(NamedTuple):
    """One row of inputs and the variances of their noise, (m,) each."""

    value: Array
    variance: Array


class _Seen(NamedTuple):
    """One row of what `NonlinearOut` says of the inputs."""

    innovation: Array
    innovation_var: Array
    nis: float
    accepted: NDArray[np.bool_]


def _nothing(inputs: int) -> _Seen:
    return _Seen(np.full(inputs, np.nan), np.full(inputs, np.nan), np.nan, np.zeros(inputs, np.bool_))


def _step(
    model: Model, filters: list[Filter], state: NonlinearState, dt_s: float, row: _Values, robust: Robust
) -> tuple[NonlinearState, _Seen]:
    """One row: predict, look at each value's innovation, take what may count."""
    for each, mean, covariance in zip(filters, state.mean, state.covariance, strict=True):
        each.x, each.P, each.dt_s = mean, covariance, dt_s
    joint, weight, doubt = joint_of(model, filters, state.probability, dt_s), state.probability, state.doubt
    if dt_s > 0.0:
        joint.predict()
        weight = weight if joint is filters[0] else joint.cbar
        if not all(np.isfinite(each.P).all() for each in filters):
            raise np.linalg.LinAlgError("a prediction without a covariance")
    seen = _look(filters, weight, row, robust)
    if np.isfinite(seen.nis):
        doubt = _doubt(state.doubt, seen, robust)
        if doubt[0] > robust.step_samples:  # the state is wrong, not all these values
            for each in filters:
                each.x, each.P = np.asarray(model.mean, np.float64), np.asarray(model.covariance, np.float64)
            seen = _look(filters, weight, row, robust._replace(gate=np.inf))
            doubt = np.zeros(2)
    if which := np.flatnonzero(seen.accepted).tolist():
        tail = (robust.dof + seen.innovation**2 / seen.innovation_var) / (robust.dof + 1.0)
        scale = np.maximum(tail, 1.0) if np.isfinite(robust.dof) else np.ones_like(tail)
        for each in filters:
            each.which, each.variance = np.array(which), (row.variance * scale)[which]
        joint.update(row.value[which])
        weight = weight if joint is filters[0] else joint.mu
    means, covariances = np.array([each.x for each in filters]), np.array([each.P for each in filters])
    return NonlinearState(means, covariances, np.array(weight), doubt), seen


def _doubt(doubt: Array, seen: _Seen, robust: Robust) -> Array:
    """`NonlinearState.doubt` after a row. A row contradicts where most inputs are refused.

    A state that has not been borne out yet may have started in the wrong place: it is contradicted by several refused
    inputs already, where they are far off. Later these are taken for what they are: inputs that went wrong together.
    """
    measured, accepted = np.isfinite(seen.innovation).sum(), seen.accepted.sum()
    young = doubt[1] < robust.step_samples
    if 2 * accepted < measured or (young and accepted + 1 < measured and seen.nis > robust.gate**2):
        return np.array([doubt[0] + 1.0, doubt[1]])
    return np.array([0.0, min(doubt[1] + 1.0, float(robust.step_samples))])


def _look(filters: list[Filter], weight: Array, row: _Values, robust: Robust) -> _Seen:
    """How far each value is from what all filters together predict, and whether it may count."""
    measured = np.isfinite(row.value) & np.isfinite(row.variance)
    if not measured.any():
        return _nothing(len(measured))
    predicted, spread = _mixture(weight, *map(np.array, zip(*[each.forecast() for each in filters], strict=True)))
    measured &= np.isfinite(predicted) & np.isfinite(np.diagonal(spread))
    if not measured.any():
        return _nothing(len(measured))
    innovation = np.where(measured, row.value - predicted, np.nan)
    innovation_var = np.where(measured, np.diagonal(spread) + row.variance, np.nan)
    y, s = innovation[measured], spread[np.ix_(measured, measured)] + np.diag(row.variance[measured])
    nis = float(y @ np.linalg.solve(s, y)) / len(y)
    return _Seen(innovation, innovation_var, nis, innovation**2 <= robust.gate**2 * innovation_var)


def _mixture(weight: Array, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Mean and covariance of a mixture of Gaussians; the very arrays of one alone."""
    if len(weight) == 1:
        return mean[0], covariance[0]
    middle = weight @ mean
    away = mean - middle
    return middle, np.einsum("m,mij->ij", weight, covariance + away[:, :, None] * away[:, None, :])
