"""A rotating machine: a motor, its load, and bearings that wear, as vibration at kilohertz or as slow channels.

Shaft and defects turn at the frequencies kinematics gives them; every pass of a defect strikes the housing, which rings
down at its resonance; the strikes grow over the bearing's life. `acceleration` is the waveform itself, for intervals of
0.1 to 1 ms; `acceleration_rms` is what a slow channel shows of it, the root mean square over a second. Current follows
torque, windings follow the current's square, bearings follow friction and the heat of the windings.

Sources: Randall and Antoni, "Rolling element bearing diagnostics: a tutorial", Mech. Syst. Signal Process. 25, 2011
(frequencies, eq. 1 to 4; slip of 1 to 2 %); McFadden and Smith, "Model for the vibration produced by a single point
defect in a rolling element bearing", J. Sound Vib. 96, 1984 (impulses, load zone modulation); ISO 20816-1 (levels);
Mellor, Roberts and Turner, "Lumped parameter thermal model for electrical machines", IEE Proc. B 138, 1991.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_sim.truth.blocks import Blocks
from trueline_sim.truth.draws import relax
from trueline_sim.truth.place import Place
from trueline_sim.truth.scenario import Measurand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_sim.truth.blocks import Run
    from trueline_sim.truth.scenario import Scenario

    Array = NDArray[np.float64]

__all__ = ["SCENARIO", "BearingOrders", "bearing_orders"]

RANGES: Mapping[str, tuple[float, float]] = {
    "speed_hz": (12.0, 60.0),
    "slip_share": (0.01, 0.05),  # what full load takes off the speed
    "balls": (7.0, 14.0),
    "ball_to_pitch": (0.15, 0.28),  # SKF 6205: 0.203
    "contact_angle_deg": (0.0, 20.0),
    "resonance_hz": (900.0, 4500.0),
    "damping_per_s": (800.0, 3000.0),
    "imbalance_m_s2": (0.1, 1.5),
    "misalignment_m_s2": (0.05, 0.8),
    "background_m_s2": (0.2, 2.0),
    "strike_m_s2": (0.2, 2.0),  # of the smallest defect that is there
    "life_h": (500.0, 20_000.0),
    "age_share": (0.0, 0.8),
    "outer_share": (0.0, 1.0),
    "inner_share": (0.0, 1.0),
    "ball_share": (0.0, 1.0),
    "load_low": (0.2, 0.7),
    "load_high": (0.7, 1.1),
    "load_hold_s": (120.0, 7200.0),
    "current_a": (1.5, 60.0),
    "magnetising_share": (0.25, 0.5),
    "ambient_degc": (5.0, 35.0),
    "winding_rise_k": (40.0, 80.0),  # class F allows 105 K
    "winding_memory_s": (600.0, 3600.0),
    "bearing_rise_k": (8.0, 30.0),
    "bearing_memory_s": (300.0, 2400.0),
    "fast_flutter": (0.003, 0.015),  # of the RMS, from second to second
    "slow_flutter": (0.005, 0.03),
}
ANOMALY_RANGES = {
    "bearing_wear": (4.0, 40.0),  # times the first strike, at its end
    "imbalance": (2.0, 12.0),  # times the imbalance that was, from its start
}
GRAVITY = 9.80665
SLIP_OF_CAGE = 0.01
STEP_S = 1.0
STEP_MAX_S = 10.0


class BearingOrders(NamedTuple):
    """Passes of a defect for each turn of the shaft."""

    outer: Array
    inner: Array
    ball: Array
    cage: Array


def bearing_orders(balls: Array, ball_to_pitch: Array, contact_angle_rad: Array) -> BearingOrders:
    """BPFO, BPFI, BSF and FTF over shaft frequency (Randall and Antoni 2011, eq. 1 to 4)."""
    ratio = ball_to_pitch * np.cos(contact_angle_rad)
    return BearingOrders(
        outer=balls / 2 * (1 - ratio),
        inner=balls / 2 * (1 + ratio),
        ball=(1 - ratio**2) / (2 * ball_to_pitch),
        cage=(1 - ratio) / 2,
    )


class _Running(Blocks):
    """A machine at every device."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        p, draws = self.p, run.draws
        p["balls"] = np.round(p["balls"])
        self.orders = bearing_orders(p["balls"], p["ball_to_pitch"], np.radians(p["contact_angle_deg"]))
        shares = np.stack([p["outer_share"], p["inner_share"], p["ball_share"]]) ** 3  # mostly one kind of defect
        self._kinds = shares / shares.sum(axis=0)
        self._load = draws.levels("load", hold_s=p["load_hold_s"])
        self._slow = draws.wander("slow", memory_s=600.0)
        self._fast = draws.stream("fast")
        self._slips = draws.wander("slips", memory_s=3.0)
        self._hiss = draws.stream("hiss")
        self._turns = draws.stream("turns").random((2, self.devices)) * 10.0
        self._loaded = p["load_low"] + 0.5 * (p["load_high"] - p["load_low"])
        self._winding = p["winding_rise_k"] * self._current_share(self._loaded) ** 2
        self._bearing = p["bearing_rise_k"] * (0.6 + 0.4 * self._loaded) + 0.15 * self._winding
        self._weights = {
            "load": -np.expm1(-draws.step_s / 1.5),
            "winding": -np.expm1(-draws.step_s / p["winding_memory_s"]),
            "bearing": -np.expm1(-draws.step_s / p["bearing_memory_s"]),
        }

    def _current_share(self, load: Array) -> Array:
        """Current over rated current: what magnetises and what does work, at right angles."""
        idle = self.p["magnetising_share"]
        return np.asarray(np.sqrt(idle**2 + (1 - idle**2) * load**2))

    def nodes(self, seconds: Array, acting_ns: NDArray[np.int64]) -> Array:
        p, n = self.p, len(seconds)
        imbalance = 1.0 + self.episodes.level("imbalance", acting_ns, ANOMALY_RANGES["imbalance"])
        wear = self.episodes.growth("bearing_wear", acting_ns, ANOMALY_RANGES["bearing_wear"])
        step = p["load_low"] + (p["load_high"] - p["load_low"]) * self._load.advance(n)
        load = relax(step, self._loaded, self._weights["load"])
        speed = p["speed_hz"] * (1.0 - p["slip_share"] * load)
        life = np.minimum(p["age_share"] + seconds[:, np.newaxis] / (p["life_h"] * 3600.0), 1.5)
        strike = p["strike_m_s2"] * (np.expm1(4.0 * life**3) * (1.0 / 20.0) + wear)  # slow, then ever faster
        flutter = 1.0 + p["slow_flutter"] * self._slow.advance(n)
        slips = 1.0 + SLIP_OF_CAGE * self._slips.advance(n)
        turned = np.cumsum(np.stack((speed, speed * slips)) * self.grid.step_s, axis=1) + self._turns[:, np.newaxis]
        self._turns = turned[:, -1]
        shaft = p["imbalance_m_s2"] * imbalance * (speed / p["speed_hz"]) ** 2 * flutter
        power = 0.5 * shaft**2 + 0.5 * p["misalignment_m_s2"] ** 2 + (p["background_m_s2"] * flutter) ** 2
        power += strike**2 * speed * self._strike_power()
        seen = np.sqrt(power) * (1.0 + p["fast_flutter"] * self._fast.standard_normal((n, self.devices)))
        current = p["current_a"] * self._current_share(load)
        heat = p["winding_rise_k"] * self._current_share(load) ** 2
        winding = relax(heat, self._winding, self._weights["winding"])
        friction = p["bearing_rise_k"] * (0.6 + 0.4 * load + 0.01 * strike + 0.02 * (imbalance - 1.0)) + 0.15 * winding
        bearing = relax(friction, self._bearing, self._weights["bearing"])
        degrees = p["ambient_degc"] + winding, p["ambient_degc"] + bearing
        return np.stack((seen, current, *degrees, speed, load, shaft, strike, flutter * p["background_m_s2"], *turned))

    def _strike_power(self) -> Array:
        """Mean square of the ringing of unit strikes, over shaft frequency: about rate / (4 damping)."""
        rates = np.stack((self.orders.outer, self.orders.inner, 2 * self.orders.ball))
        swing = np.array([1.0, 1.5, 1.5])[:, np.newaxis]  # mean of (1 + cos)^2 where the load zone modulates
        omega, damping = 2 * np.pi * self.p["resonance_hz"], self.p["damping_per_s"]
        ringing = omega**2 / (4 * damping * (damping**2 + omega**2))  # integral of exp(-2 d t) sin(w t)^2
        return np.asarray((self._kinds**2 * rates * swing).sum(axis=0) * ringing)

    def samples(self, slow: Array, seconds: Array, time_ns: NDArray[np.int64]) -> Array:
        del seconds, time_ns
        seen, current, winding, bearing, speed, load, shaft, strike, background, turns, passed = slow
        angle = 2 * np.pi * turns
        wave = self._hiss.standard_normal(turns.shape) * background
        wave += shaft * np.sin(angle) + self.p["misalignment_m_s2"] * np.sin(2 * angle + 1.0)
        load_zone = 1.0 + np.cos(angle), 1.0 + np.cos(2 * np.pi * self.orders.cage * passed)
        rates = self.orders.outer, self.orders.inner, 2 * self.orders.ball
        for share, rate, swing in zip(self._kinds, rates, (1.0, *load_zone), strict=True):
            wave += share * strike * swing * self._ringing(rate * passed, rate * speed)
        return np.stack((wave / GRAVITY, seen / GRAVITY, current, winding, bearing, speed, load))

    def _ringing(self, passes: Array, rate_hz: Array) -> Array:
        """A unit strike at every whole pass, ringing down at the resonance until the next."""
        since_s = (passes - np.floor(passes)) / rate_hz
        ring = np.exp(-self.p["damping_per_s"] * since_s)
        ring *= np.sin(2 * np.pi * self.p["resonance_hz"] * since_s)
        return np.asarray(ring)


SCENARIO: Final[Scenario] = Place(
    name="machine",
    sentence=(
        "A rotating machine: vibration with wearing bearings and imbalance (to 10 kHz, or RMS at 1 Hz), current, heat."
    ),
    measurands=(
        Measurand("acceleration", "[g]"),
        Measurand("acceleration_rms", "[g]"),
        Measurand("current", "A"),
        Measurand("winding_temperature", "Cel"),
        Measurand("bearing_temperature", "Cel"),
        Measurand("speed", "Hz"),
        Measurand("load", "1"),
    ),
    interval_s=1.0,
    step_s=STEP_S,
    step_max_s=STEP_MAX_S,
    parameters=RANGES,
    anomaly_ranges=ANOMALY_RANGES,
    process=_Running,
)
