"""What a person writes of a nonlinear system: how its state moves, and how inputs see it.

Promises: a model that exists has been asked once, at its start, and gave finite numbers of the right shapes. Refuses to
know how it is filtered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Transition = Callable[[Array, float], ArrayLike]
    Measurement = Callable[[Array], ArrayLike]

__all__ = ["Mode", "Model", "gradient"]


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


def gradient(function: Callable[[Array], ArrayLike], at: Array) -> Array:
    """(..., p) d function / d state by central differences, where no Jacobian is given."""
    step = np.cbrt(np.finfo(np.float64).eps) * np.maximum(np.abs(at), 1.0)
    columns = [
        (np.asarray(function(at + nudge)) - np.asarray(function(at - nudge))) / (2.0 * size)
        for nudge, size in zip(np.diag(step), step, strict=True)
    ]
    return np.stack(columns, axis=-1)
