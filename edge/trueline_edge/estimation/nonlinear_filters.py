"""filterpy's filters behind one face: predict, say what is to be seen, update with the inputs that may count.

Promises: filterpy (and with it SciPy) is imported when a filter is made, and not before; what is not finite is a
`LinAlgError`, whichever library meets it. Refuses to know gates, gaps and restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from trueline_edge.estimation.nonlinear_model import Mode, Model, gradient

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Filter", "Kind", "joint_of", "make_filters"]

Kind = Literal["ekf", "ukf", "imm"]
"""Extended; unscented; interacting: one extended filter for each mode of the model."""

ITERATIONS: Final = 10
CURVATURE: Final = 0.1
"""What a linearisation may miss, as a share of an input's standard deviation, before it is done anew."""
SPREAD: Final = (1.0, 2.0, 0.0)
"""alpha, beta, kappa of van der Merwe's points: as far out as the covariance says, so that curvature shows in S."""


class Filter(Protocol):
    """A filterpy filter of one mode, as `IMMEstimator` wants it, with what is needed to gate before an update."""

    x: Array
    P: Array
    dt_s: float
    which: NDArray[np.intp]
    variance: Array

    def predict(self, u: None = None) -> None:
        """Move the state by `dt_s`."""

    def forecast(self) -> tuple[Array, Array]:
        """(m,) what the inputs should show, and (m, m) its covariance without their noise."""
        raise NotImplementedError

    def update(self, z: Array) -> None:
        """Take the values of the inputs `which`, whose noise has `variance`."""


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
            if not np.isfinite(slope[which]).all():
                raise np.linalg.LinAlgError("a measurement without a slope here")
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
        points = MerweScaledSigmaPoints(len(model.state), *SPREAD, sqrt_method=_root)
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


def _root(covariance: Array) -> Array:
    """(p, p) upper triangular, its transpose times itself the covariance."""
    if not np.isfinite(covariance).all():
        raise np.linalg.LinAlgError("a covariance that is not finite")
    return np.asarray(np.linalg.cholesky(covariance).T, np.float64)


def make_filters(model: Model, kind: Kind) -> list[Filter]:
    """One for each mode, or the only one."""
    if kind == "imm":
        return [_Extended(model, mode) for mode in model.modes]
    mode = Mode(lasts_s=1.0)
    return [_Extended(model, mode) if kind == "ekf" else _Unscented(model, mode)]


def joint_of(model: Model, filters: list[Filter], weight: Array, dt_s: float) -> Any:
    """The one filter, or filterpy's estimator over all: a mode stays for `dt_s` with probability exp(-dt_s/lasts_s)."""
    if len(filters) == 1:
        return filters[0]
    from filterpy.kalman import IMMEstimator  # noqa: PLC0415 - only where configured: it brings SciPy

    stay = np.exp(-dt_s / np.array([mode.lasts_s for mode in model.modes]))
    leave = (1.0 - stay)[:, None] / (len(filters) - 1)
    return IMMEstimator(filters, weight, np.where(np.eye(len(filters), dtype=bool), stay[:, None], leave))
