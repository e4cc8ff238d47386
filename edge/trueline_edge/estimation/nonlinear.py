"""Filters for models that a person writes as functions: extended, unscented, and several models that interact.

Promises: the filters are filterpy's (extra `nonlinear`), imported when the first one is made and not before; `track` is
pure, and cutting its rows elsewhere changes nothing; a surprising value moves little, an impossible one nothing, and
yet the filter does not stay lost: contradicted for long enough, or diverged, it starts anew.
Refuses to know what the state and the values mean.

Sources: the iterated extended filter, Gelb, "Applied Optimal Estimation", 1974, sec. 6.1; the unscented one, Julier
and Uhlmann, Proc. IEEE 92, 2004, with van der Merwe's points; interacting models, Blom and Bar-Shalom, IEEE Trans. AC
33, 1988.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import numpy as np

from trueline_edge.estimation.outcomes import Robust

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Transition = Callable[[Array, float], ArrayLike]
    Measurement = Callable[[Array], ArrayLike]

__all__ = ["ROBUST", "Kind", "Mode", "Model", "NonlinearOut", "NonlinearState", "begin", "gradient", "track"]

Kind = Literal["ekf", "ukf", "imm"]
"""Extended; unscented; interacting: one extended filter for each mode of the model."""

ITERATIONS: Final = 10
CURVATURE: Final = 0.1
"""What a linearisation may miss, as a share of an input's standard deviation, before it is done anew."""
SPREAD: Final = (1.0, 2.0, 0.0)
"""alpha, beta, kappa of van der Merwe's points: as far out as the covariance says, so that curvature shows in S."""


ROBUST: Final = Robust(step_samples=10)
"""After ten refused rows the filter doubts itself, not its inputs."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One of several ways the state may move; what it leaves out is the model's.

    Attributes:
        lasts_s: how long it lasts, on average.
        probability: that it holds at the start.
        transition, transition_jacobian, process_noise: see `Model`.
    """

    lasts_s: float
    probability: float = 1.0
    transition: Transition | None = None
    transition_jacobian: Transition | None = None
    process_noise: Transition | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """How p states move and how m inputs see them.

    Attributes:
        state: (p,) names of the states.
        inputs: m.
        mean: (p,) the state at the start.
        covariance: (p, p) how well it is known then.
        transition: f(state (p,), dt_s) -> (p,) the state so much later.
        process_noise: Q(state (p,), dt_s) -> (p, p) what the model does not know about this step.
        measurement: h(state (p,)) -> (m,) what the inputs would show without noise.
        noise: (m,) standard deviation of each input, for a value that brings no `u` of its own; NaN: without `u` a
            value is not used.
        transition_jacobian: (state, dt_s) -> (p, p) df/dstate; by differences where left out.
        measurement_jacobian: (state) -> (m, p) dh/dstate; by differences where left out.
        modes: for interacting models; at least two.
        derived: further outputs by name: a number made of the state, such as a speed.

    Raises:
        ValueError: names, shapes or numbers do not fit together.
    """

    state: Sequence[str]
    inputs: int
    mean: ArrayLike
    covariance: ArrayLike
    transition: Transition
    process_noise: Transition
    measurement: Measurement
    noise: ArrayLike = np.nan
    transition_jacobian: Transition | None = None
    measurement_jacobian: Measurement | None = None
    modes: Sequence[Mode] = ()
    derived: Mapping[str, Callable[[Array], float]] | None = None

    def __post_init__(self) -> None:
        p, m = len(self.state), self.inputs
        if not p or len({*self.state, *(self.derived or ())}) != p + len(self.derived or ()):
            raise ValueError(f"state {tuple(self.state)} and derived outputs want names, each its own")
        mean = _shaped("mean", self.mean, (p,))
        covariance = _shaped("covariance", self.covariance, (p, p))
        if not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance)[0] <= 0.0:
            raise ValueError("covariance must be symmetric and positive definite")
        noise = np.broadcast_to(np.asarray(self.noise, np.float64), (m,))
        if (noise <= 0.0).any():
            raise ValueError("noise must be above zero, or NaN")
        for mode in (Mode(lasts_s=1.0), *self.modes):
            if not (mode.lasts_s > 0.0 and mode.probability > 0.0):
                raise ValueError("a mode wants lasts_s and probability above zero")
            _shaped("transition", (mode.transition or self.transition)(mean, 1.0), (p,))
            _shaped("process_noise", (mode.process_noise or self.process_noise)(mean, 1.0), (p, p))
            if jacobian := mode.transition_jacobian or (None if mode.transition else self.transition_jacobian):
                _shaped("transition_jacobian", jacobian(mean, 1.0), (p, p))
        _shaped("measurement", self.measurement(mean), (m,))
        if self.measurement_jacobian:
            _shaped("measurement_jacobian", self.measurement_jacobian(mean), (m, p))
        for name, function in (self.derived or {}).items():
            _shaped(f"derived {name!r}", function(mean), ())


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = np.asarray(value, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} of the start is {array.tolist()!r:.80}: finite numbers of shape {shape} are wanted")
    return array


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
    filters = _filters(model, kind)
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


def gradient(function: Callable[[Array], ArrayLike], at: Array) -> Array:
    """(..., p) d function / d state by central differences, where no Jacobian is given."""
    step = np.cbrt(np.finfo(np.float64).eps) * np.maximum(np.abs(at), 1.0)
    columns = [
        (np.asarray(function(at + nudge)) - np.asarray(function(at - nudge))) / (2.0 * size)
        for nudge, size in zip(np.diag(step), step, strict=True)
    ]
    return np.stack(columns, axis=-1)


class _Filter(Protocol):
    """A filterpy filter of one mode, as `IMMEstimator` wants it, with what is needed to gate before an update."""

    x: Array
    P: Array
    dt_s: float
    which: NDArray[np.intp]
    variance: Array

    def predict(self, u: None = None) -> None: ...
    def forecast(self) -> tuple[Array, Array]: ...
    def update(self, z: Array) -> None: ...


class _Shared:
    """State and covariance live in the filterpy filter; what a step needs is set before it."""

    _filter: Any
    dt_s = 0.0
    which: NDArray[np.intp]
    variance: Array

    def __init__(self, model: Model, mode: Mode) -> None:
        self._model = model
        self._transition = mode.transition or model.transition
        self._noise = mode.process_noise or model.process_noise
        self._jacobian = mode.transition_jacobian or (None if mode.transition else model.transition_jacobian)

    @property
    def x(self) -> Array:
        return np.asarray(self._filter.x)

    @x.setter
    def x(self, mean: Array) -> None:
        self._filter.x = mean.copy()

    @property
    def P(self) -> Array:  # noqa: N802 - filterpy's name
        return np.asarray(self._filter.P)

    @P.setter
    def P(self, covariance: Array) -> None:  # noqa: N802 - filterpy's name
        self._filter.P = 0.5 * (covariance + covariance.T)

    @property
    def likelihood(self) -> float:
        return float(self._filter.likelihood)


class _Extended(_Shared):
    def __init__(self, model: Model, mode: Mode) -> None:
        from filterpy.kalman import ExtendedKalmanFilter  # noqa: PLC0415 - only where configured: it brings SciPy

        super().__init__(model, mode)
        self._filter = ExtendedKalmanFilter(len(model.state), model.inputs)

    def predict(self, u: None = None) -> None:
        del u
        x, dt_s = self.x, self.dt_s
        f = self._transition
        self._filter.F = np.asarray(self._jacobian(x, dt_s) if self._jacobian else gradient(lambda s: f(s, dt_s), x))
        self._filter.Q = np.asarray(self._noise(x, dt_s))
        moved = np.asarray(f(x, dt_s), np.float64)
        self._filter.predict()
        self.x = moved  # filterpy has moved it by F alone

    def _seen(self, x: Array) -> Array:
        return np.asarray(self._model.measurement(x), np.float64)

    def _slope(self, x: Array) -> Array:
        given = self._model.measurement_jacobian
        return np.asarray(given(x) if given else gradient(self._seen, x), np.float64)

    def forecast(self) -> tuple[Array, Array]:
        slope = self._slope(self.x)
        return self._seen(self.x), slope @ self.P @ slope.T

    def update(self, z: Array) -> None:
        """Iterated: linearised anew where it leads to, until the curvature between is small beside the noise.

        Once is enough on a track. From a wide start it is not: what one step leaves would be taken for a slow error.
        """
        which, noise, before, spread = self.which, np.diag(self.variance), self.x, self.P
        at, seen = before, self._seen(before)
        for _ in range(ITERATIONS):
            slope = self._slope(at)
            self.x, self.P = before, spread
            shown = (seen + slope @ (before - at))[which]
            self._filter.update(z, lambda _, h=slope: h[which], lambda _, z=shown: z, R=noise)
            after = self.x
            seen, straight = self._seen(after), seen + slope @ (after - at)
            at = after
            if not ((seen - straight)[which] ** 2 > CURVATURE**2 * self.variance).any():
                break
        self.P = self.P


class _Unscented(_Shared):
    def __init__(self, model: Model, mode: Mode) -> None:
        from filterpy.kalman import (  # noqa: PLC0415 - only where configured: it brings SciPy
            MerweScaledSigmaPoints,
            UnscentedKalmanFilter,
            unscented_transform,
        )

        super().__init__(model, mode)
        self._transform = unscented_transform
        points = MerweScaledSigmaPoints(len(model.state), *SPREAD)
        self._filter = UnscentedKalmanFilter(
            len(model.state), model.inputs, 0.0, model.measurement, self._transition, points
        )

    def predict(self, u: None = None) -> None:
        del u
        self._filter.Q = np.asarray(self._noise(self.x, self.dt_s))
        self._filter.predict(self.dt_s)
        self.P = self.P

    def forecast(self) -> tuple[Array, Array]:
        points = self._filter.points_fn.sigma_points(self.x, self.P)
        self._filter.sigmas_f = points  # of this very state: filterpy keeps those of the last prediction
        seen = np.array([self._model.measurement(point) for point in points], np.float64)
        mean, covariance = self._transform(seen, self._filter.Wm, self._filter.Wc)
        return np.asarray(mean), np.asarray(covariance)

    def update(self, z: Array) -> None:
        which = self.which
        self._filter.update(
            z, R=np.diag(self.variance), hx=lambda x: np.asarray(self._model.measurement(x), np.float64)[which]
        )
        self.P = self.P


def _filters(model: Model, kind: Kind) -> list[_Filter]:
    if kind == "imm":
        return [_Extended(model, mode) for mode in model.modes]
    mode = Mode(lasts_s=1.0)
    return [_Extended(model, mode) if kind == "ekf" else _Unscented(model, mode)]


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
    model: Model, filters: list[_Filter], state: NonlinearState, dt_s: float, row: _Values, robust: Robust
) -> tuple[NonlinearState, _Seen]:
    """One row: predict, look at each value's innovation, take what may count."""
    for each, mean, covariance in zip(filters, state.mean, state.covariance, strict=True):
        each.x, each.P, each.dt_s = mean, covariance, dt_s
    joint, weight, doubt = _joint(model, filters, state.probability, dt_s), state.probability, state.doubt
    if dt_s > 0.0:
        joint.predict()
        weight = weight if joint is filters[0] else joint.cbar
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


def _look(filters: list[_Filter], weight: Array, row: _Values, robust: Robust) -> _Seen:
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


def _joint(model: Model, filters: list[_Filter], weight: Array, dt_s: float) -> Any:
    """The one filter, or filterpy's estimator over all: a mode stays for `dt_s` with probability exp(-dt_s/lasts_s)."""
    if len(filters) == 1:
        return filters[0]
    from filterpy.kalman import IMMEstimator  # noqa: PLC0415 - only where configured: it brings SciPy

    stay = np.exp(-dt_s / np.array([mode.lasts_s for mode in model.modes]))
    leave = (1.0 - stay)[:, None] / (len(filters) - 1)
    return IMMEstimator(filters, weight, np.where(np.eye(len(filters), dtype=bool), stay[:, None], leave))


def _mixture(weight: Array, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Mean and covariance of a mixture of Gaussians; the very arrays of one alone."""
    if len(weight) == 1:
        return mean[0], covariance[0]
    middle = weight @ mean
    away = mean - middle
    return middle, np.einsum("m,mij->ij", weight, covariance + away[:, :, None] * away[:, None, :])
