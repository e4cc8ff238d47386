"""Where a tag is, from ranges to anchors: the model that `run.py` gives to the stage `estimate`.

State: position and velocity, which wander as a car without a plan does (white acceleration), and how much too long the
ranges are: a part common to all anchors (the tag's own, what its carrier shadows, its clock) and a part of each anchor
(antenna, reflections). These parts stay for seconds. Taken as noise that is new in every row they would be averaged
away, and the position would claim millimetres; as states they are what keeps its intervals honest.

Source: the wander, Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation", 2001, sec. 6.2.2;
the slow parts, first-order Gauss-Markov states, Gelb, "Applied Optimal Estimation", 1974, sec. 3.8.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.nonlinear import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def model(
    *,
    anchors_m: list[list[float]],
    offsets_m: list[float],
    gain: float,
    tag_height_m: float,
    noise_m: float,
    common: list[float],
    own: list[float],
    wander_m2_s3: float,
    start_m: list[float],
) -> Model:
    """The model of one installation.

    Args:
        anchors_m: x, y, z of each anchor.
        offsets_m: of each anchor: it shows gain * distance + offset.
        gain: of all anchors.
        tag_height_m: over the floor that z counts from; known, not estimated.
        noise_m: standard deviation of a single range, new in every row.
        common: standard deviation (m) and memory (s) of what all ranges have too much.
        own: the same for what each range has too much by itself.
        wander_m2_s3: spectral density of the acceleration.
        start_m: x, y to begin with, and how well they are known.
    """
    anchors, offsets = np.array(anchors_m), np.array(offsets_m)
    m = len(anchors)
    slow_m = np.array([common[0], *[own[0]] * m])
    memory_s = np.array([common[1], *[own[1]] * m])
    *start, spread = start_m

    def transition(state: Array, dt_s: float) -> Array:
        position, velocity, slow = state[:2], state[2:4], state[4:]
        return np.concatenate([position + dt_s * velocity, velocity, slow * np.exp(-dt_s / memory_s)])

    def transition_jacobian(_: Array, dt_s: float) -> Array:
        slope = np.diag(np.concatenate([np.ones(4), np.exp(-dt_s / memory_s)]))
        slope[[0, 1], [2, 3]] = dt_s
        return slope

    def process_noise(_: Array, dt_s: float) -> Array:
        q = np.zeros((4 + 1 + m, 4 + 1 + m))
        q[:4, :4] = wander_m2_s3 * np.kron([[dt_s**3 / 3, dt_s**2 / 2], [dt_s**2 / 2, dt_s]], np.eye(2))
        q[4:, 4:] = np.diag(-np.expm1(-2.0 * dt_s / memory_s) * slow_m**2)
        return q

    def distances(state: Array) -> Array:
        return np.sqrt(((state[:2] - anchors[:, :2]) ** 2).sum(axis=1) + (tag_height_m - anchors[:, 2]) ** 2)

    def measurement(state: Array) -> Array:
        return gain * distances(state) + offsets + state[4] + state[5:]

    def measurement_jacobian(state: Array) -> Array:
        towards = gain * (state[:2] - anchors[:, :2]) / distances(state)[:, None]
        return np.hstack([towards, np.zeros((m, 2)), np.ones((m, 1)), np.eye(m)])

    return Model(
        state=("x", "y", "vx", "vy", "common", *[f"own_{i + 1}" for i in range(m)]),
        inputs=m,
        mean=np.array([*start, 0.0, 0.0, *np.zeros(1 + m)]),
        covariance=np.diag([spread**2, spread**2, 1.0, 1.0, *slow_m**2]),
        transition=transition,
        process_noise=process_noise,
        measurement=measurement,
        noise=noise_m,
        transition_jacobian=transition_jacobian,
        measurement_jacobian=measurement_jacobian,
        derived={"speed": lambda state: math.hypot(state[2], state[3])},
    )
