"""A small nonlinear model for tests: a level that drifts, seen straight, scaled and squared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.nonlinear import Mode, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def model(*, inputs: int = 3, noise: float = 0.5) -> Model:
    """Two states, and up to three inputs."""

    def transition(state: Array, dt_s: float) -> Array:
        return np.array([state[0] + dt_s * state[1], state[1] * np.exp(-dt_s / 100.0)])

    def process_noise(_: Array, dt_s: float) -> Array:
        return np.diag([0.1 * dt_s, 0.01 * dt_s])

    def measurement(state: Array) -> Array:
        return np.array([state[0], 2.0 * state[0] + state[1], 0.25 * state[0] ** 2])[:inputs]

    return Model(
        state=("level", "slope"),
        inputs=inputs,
        mean=[0.5, 0.0],
        covariance=np.diag([4.0, 1.0]),
        transition=transition,
        process_noise=process_noise,
        measurement=measurement,
        noise=noise,
        modes=(Mode(lasts_s=100.0), Mode(lasts_s=10.0, process_noise=lambda _, dt_s: np.diag([dt_s, dt_s]))),
        derived={"energy": lambda state: float(state[0] ** 2)},
    )
