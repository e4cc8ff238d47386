"""A vehicle in a hall, from whatever sees it: ranges to anchors, wheel speed, a gyroscope, a positioning system.

Made for the scenario `motion` of `trueline_sim`, whose channels it knows by name: `inputs` says which of them the stage
is given, in which order. State: position, velocity and rate of turn (a coordinated turn), and a slow error of each
input that has one. A wheel tells no direction and a gyroscope no place, but the ranges make both worth something:
between two fixes the vehicle goes on turning as it did.

Source: the coordinated turn, Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation", 2001,
sec. 11.7.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.estimation.nonlinear import Mode, Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MOVING = 5
"""States before the slow errors: x, y, vx, vy, turn rate."""
STANDING_M_S = 0.01
"""A wheel that stands shows no direction at all: below this its speed is rounded off, so that it has a slope."""
ALL = ("range_1", "range_2", "range_3", "range_4", "speed", "turn_rate")


def model(  # the scenario's own values where nothing better is known
    *,
    hall_x_m: float,
    hall_y_m: float,
    anchor_height_m: float,
    inputs: list[str] | tuple[str, ...] = ALL,
    noise: dict[str, float] | None = None,
    slow: dict[str, float] | None = None,
    slow_memory_s: float = 3600.0,
    acceleration: float = 0.3,
    turning: float = 0.5,
    turn_memory_s: float = 2.0,
    start_m_s: float = 0.1,
) -> Model:
    """The model of one hall.

    Args:
        hall_x_m: its length; anchors 1 to 4 stand in the corners, counter-clockwise, the origin in the middle.
        hall_y_m: its width.
        anchor_height_m: over the tag.
        inputs: channels, in the order the stage is given them: of "x", "y", "speed", "turn_rate", "range_1" to
            "range_4".
        noise: standard deviation of an input, in its unit, for readings without `u`; "range" and "position" for all.
        slow: standard deviation of the slow error of an input; the same names.
        slow_memory_s: how long a slow error lasts.
        acceleration: spectral density, m2/s3.
        turning: spectral density of the turn rate's change, rad2/s3.
        turn_memory_s: how long a turn lasts.
        start_m_s: how fast it may be at the start. With a wheel among the inputs it should stand: a wheel that turns
            before the direction is known is taken for a slow error of the wheel.
    """
    noises = {"range": 0.05, "position": 0.06, "speed": 0.015, "turn_rate": 0.005, **(noise or {})}
    slows = {"range": 0.1, "position": 0.1, "speed": 0.01, "turn_rate": 0.2, **(slow or {})}
    kinds = [_kind(name) for name in inputs]
    anchors = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * [hall_x_m, hall_y_m]
    m = len(inputs)
    errors = np.array([slows[kind] for kind in kinds])
    size = MOVING + m

    def transition(state: Array, dt_s: float) -> Array:
        x, y, vx, vy, turn = state[:MOVING]
        angle = turn * dt_s
        along, aside = dt_s * np.sinc(angle / math.pi), dt_s * math.sin(angle / 2) * np.sinc(angle / (2 * math.pi))
        cos, sin = math.cos(angle), math.sin(angle)
        moved = [x + along * vx - aside * vy, y + aside * vx + along * vy, cos * vx - sin * vy, sin * vx + cos * vy]
        slow_now = state[MOVING:] * math.exp(-dt_s / slow_memory_s)
        return np.array([*moved, turn * math.exp(-dt_s / turn_memory_s), *slow_now])

    def process_noise(_: Array, dt_s: float, strength: float = 1.0) -> Array:
        q = np.zeros((size, size))
        q[:4, :4] = strength * acceleration * np.kron([[dt_s**3 / 3, dt_s**2 / 2], [dt_s**2 / 2, dt_s]], np.eye(2))
        q[4, 4] = strength * turning * dt_s
        q[MOVING:, MOVING:] = np.diag(-math.expm1(-2 * dt_s / slow_memory_s) * errors**2)
        return q

    def shown(name: str, state: Array) -> float:
        if name.startswith("range_"):
            flat = state[:2] - anchors[int(name[-1]) - 1]
            return math.sqrt(flat @ flat + anchor_height_m**2)
        if name == "speed":
            return math.sqrt(state[2] ** 2 + state[3] ** 2 + STANDING_M_S**2)
        return float(state[{"x": 0, "y": 1, "turn_rate": 4}[name]])

    def measurement(state: Array) -> Array:
        return np.array([shown(name, state) for name in inputs]) + state[MOVING:]

    start = [0.09 * hall_x_m**2, 0.09 * hall_y_m**2, start_m_s**2, start_m_s**2, 0.1]
    return Model(
        state=("x", "y", "vx", "vy", "turn_rate", *[f"error_{name}" for name in inputs]),
        inputs=m,
        mean=np.zeros(size),
        covariance=np.diag([*start, *errors**2]),
        transition=transition,
        process_noise=process_noise,
        measurement=measurement,
        noise=np.array([noises[kind] for kind in kinds]),
        modes=(
            Mode(lasts_s=20.0, process_noise=partial(process_noise, strength=0.3)),
            Mode(lasts_s=5.0, process_noise=partial(process_noise, strength=2.0)),
        ),
        derived={"speed": lambda state: math.hypot(state[2], state[3])},
    )


def _kind(name: str) -> str:
    """Under which name an input's noise stands."""
    kind = {"x": "position", "y": "position"}.get(name, "range" if name.startswith("range_") else name)
    if kind not in {"range", "position", "speed", "turn_rate"}:
        raise ValueError(f"inputs has {name!r}: x, y, speed, turn_rate and range_1 to range_4 are known")
    return kind
