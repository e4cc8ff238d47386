"""A vehicle that drives about a hall, seen by four anchors: position, speed, turning, acceleration and ranges.

It steers towards one goal after another, slows for turns, stops now and then, and cannot turn faster than its grip or
leave its hall for long. Speed and turning rate are lagged answers to what is wanted, so acceleration is bounded and the
path is smooth. Ranges are geometry: what a sensor adds to them is not told here.

Sources: the unicycle and its kinematics, Siciliano et al., "Robotics", 2009, eq. 11.13;
ranges to known anchors, Sahinoglu et al., "Ultra-wideband Positioning Systems", 2008, ch. 4; the lag of speed as in
Singer, "Estimating optimal tracking filter performance for manned maneuvering targets", IEEE Trans. AES 6, 1970.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_sim.truth.blocks import Blocks
from trueline_sim.truth.place import Place
from trueline_sim.truth.scenario import Measurand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_sim.truth.blocks import Run
    from trueline_sim.truth.scenario import Scenario

    Array = NDArray[np.float64]

__all__ = ["SCENARIO"]

RANGES: Mapping[str, tuple[float, float]] = {
    "hall_x_m": (5.0, 60.0),
    "hall_y_m": (5.0, 40.0),
    "anchor_height_m": (0.5, 5.0),  # over the tag
    "cruise_m_s": (0.3, 2.5),
    "speed_memory_s": (0.3, 1.5),
    "turn_memory_s": (0.1, 0.6),
    "turn_max_rad_s": (0.4, 1.8),
    "goal_hold_s": (4.0, 40.0),
    "stop_share": (0.0, 0.35),
    "stop_hold_s": (2.0, 30.0),
    "steering_wander_rad_s": (0.01, 0.15),
    "floor_m_s2": (0.01, 0.3),  # what the floor's unevenness shakes, for each m/s
}
ANOMALY_RANGES = {
    "stuck": (0.8, 1.0),  # of its speed
    "loose_mount": (3.0, 20.0),  # times the shaking
}
STEP_S = 0.1
STEERING_GAIN_HZ = 1.2
ANCHORS = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
"""In the corners, as shares of the hall."""


class Wish(NamedTuple):
    """What the driver wants at n nodes, (n, devices) each."""

    goal_x_m: Array
    goal_y_m: Array
    speed_m_s: Array
    wander_rad_s: Array


class Pose(NamedTuple):
    """Where a vehicle is and how it moves, (devices,) each."""

    x_m: Array
    y_m: Array
    heading_rad: Array
    speed_m_s: Array
    turn_rad_s: Array


def step(pose: Pose, wish: Wish, p: Mapping[str, Array], step_s: float) -> Pose:
    """One step of the unicycle: x' = v cos h, y' = v sin h, h' = w; v and w follow what is wanted."""
    away = np.arctan2(wish.goal_y_m - pose.y_m, wish.goal_x_m - pose.x_m) - pose.heading_rad
    away -= 2 * np.pi * np.round(away / (2 * np.pi))
    wanted = np.clip(STEERING_GAIN_HZ * away, -p["turn_max_rad_s"], p["turn_max_rad_s"]) + wish.wander_rad_s
    turn = pose.turn_rad_s + (wanted - pose.turn_rad_s) * p["turn_weight"]
    slow = 0.25 + 0.75 * np.maximum(np.cos(away), 0.0)
    speed = pose.speed_m_s + (wish.speed_m_s * slow - pose.speed_m_s) * p["speed_weight"]
    middle = pose.heading_rad + 0.5 * step_s * turn  # second order in the step: the heading half way
    ahead = 0.5 * step_s * (pose.speed_m_s + speed)
    return Pose(
        pose.x_m + ahead * np.cos(middle),
        pose.y_m + ahead * np.sin(middle),
        pose.heading_rad + step_s * turn,
        speed,
        turn,
    )


class _Running(Blocks):
    """A vehicle at every device."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        p, draws = self.p, run.draws
        p["speed_weight"] = -np.expm1(-draws.step_s / p["speed_memory_s"])
        p["turn_weight"] = -np.expm1(-draws.step_s / p["turn_memory_s"])
        self._goals = draws.levels("goal x", hold_s=p["goal_hold_s"]), draws.levels("goal y", hold_s=p["goal_hold_s"])
        self._going = draws.levels("going", hold_s=p["stop_hold_s"])
        self._pace = draws.levels("pace", hold_s=p["goal_hold_s"])
        self._wander = draws.wander("wander", memory_s=1.5)
        self._floor = draws.stream("floor")
        first = draws.stream("first").random((3, self.devices))
        still = np.zeros(self.devices)
        x, y = (first[0] - 0.5) * 0.8 * p["hall_x_m"], (first[1] - 0.5) * 0.8 * p["hall_y_m"]
        self._pose = Pose(x, y, 2 * np.pi * first[2], still, still)

    def nodes(self, seconds: Array, acting_ns: NDArray[np.int64]) -> Array:
        p, n = self.p, len(seconds)
        stuck = self.episodes.level("stuck", acting_ns, ANOMALY_RANGES["stuck"])
        loose = self.episodes.level("loose_mount", acting_ns, ANOMALY_RANGES["loose_mount"])
        going = (self._going.advance(n) > p["stop_share"]) * (0.5 + 0.5 * self._pace.advance(n))
        goal_x = (self._goals[0].advance(n) - 0.5) * 0.8 * p["hall_x_m"]
        goal_y = (self._goals[1].advance(n) - 0.5) * 0.8 * p["hall_y_m"]
        speed = p["cruise_m_s"] * going * (1.0 - stuck)
        wish = Wish(goal_x, goal_y, speed, self._wander.advance(n) * p["steering_wander_rad_s"] * (going > 0))
        out = np.empty((6, n, self.devices))
        for k, row in enumerate(zip(*wish, strict=True)):
            before = self._pose.speed_m_s
            self._pose = step(self._pose, Wish(*row), p, self.grid.step_s)
            out[0, k], out[1, k], _, out[2, k], out[3, k] = self._pose
            out[4, k] = (self._pose.speed_m_s - before) / self.grid.step_s
        out[5] = 1.0 + loose
        return out

    def samples(self, slow: Array, seconds: Array, time_ns: NDArray[np.int64]) -> Array:
        del seconds, time_ns
        p = self.p
        x, y, speed, turn, pull, loose = slow
        shaking = self._floor.standard_normal(x.shape) * p["floor_m_s2"] * np.abs(speed) * loose
        ranges = [
            np.sqrt((x - a * p["hall_x_m"]) ** 2 + (y - b * p["hall_y_m"]) ** 2 + p["anchor_height_m"] ** 2)
            for a, b in ANCHORS
        ]
        return np.stack((x, y, speed, turn, pull + shaking, *ranges))


SCENARIO: Final[Scenario] = Place(
    name="motion",
    sentence=("A vehicle driving about a hall: position, speed, turning and acceleration, and ranges to four anchors."),
    measurands=(
        Measurand("x", "m"),
        Measurand("y", "m"),
        Measurand("speed", "m/s"),
        Measurand("turn_rate", "rad/s"),
        Measurand("acceleration", "m/s2"),
        Measurand("range_1", "m"),
        Measurand("range_2", "m"),
        Measurand("range_3", "m"),
        Measurand("range_4", "m"),
    ),
    interval_s=0.1,
    step_s=STEP_S,
    parameters=RANGES,
    anomaly_ranges=ANOMALY_RANGES,
    process=_Running,
)
