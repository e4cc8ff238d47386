"""Seeded mathematics in the place of a sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from edge_sources import START_NS, VirtualTime, drain, joined, schema_of

from trueline_edge.sources import ChannelConfig, SimulatedConfig
from trueline_edge.sources.signals import Noise, RandomWalk, Signal, Sine, Square

if TYPE_CHECKING:
    from trueline_wire.readings import Readings


async def simulated(config: SimulatedConfig, *signals: Signal | None, time: VirtualTime | None = None) -> Readings:
    channels = [ChannelConfig(name=str(k), signal=signal) for k, signal in enumerate(signals)]
    schema = schema_of(channels)
    clock = (time or VirtualTime()).clock
    return joined(await drain(config.open(schema, channels, rows_max=600, clock=clock)), schema)


async def test_signals_are_what_they_say() -> None:
    """A sine is a sine of its time, a square has two levels, noise has its spread, a walk comes back."""
    config = SimulatedConfig(rate_hz=10.0, rows=8192, start_ns=0, flat_out=True)
    readings = await simulated(
        config, Sine(mean=5, amplitude=2, period_s=10), Square(period_s=4), Noise(mean=1, noise=3), RandomWalk(step=0.1)
    )
    seconds = np.arange(8192) / 10
    sine, square, noise, walk = readings.value.T
    assert np.allclose(sine, 5 + 2 * np.sin(2 * np.pi * seconds / 10))
    assert square[:40].tolist() == [1.0] * 20 + [-1.0] * 20
    assert noise.mean() == pytest.approx(1, abs=0.1)
    assert noise.std() == pytest.approx(3, rel=0.05)
    assert np.diff(walk).std() == pytest.approx(0.1, rel=0.05)
    assert walk[4095] == pytest.approx(0, abs=1e-9)


async def test_the_seed_decides() -> None:
    """Equal seeds give equal values; another seed, another channel give others."""
    one = await simulated(SimulatedConfig(rows=50, seed=1, start_ns=0, flat_out=True), Noise(), Noise())
    same = await simulated(SimulatedConfig(rows=50, seed=1, start_ns=0, flat_out=True), Noise(), Noise())
    other = await simulated(SimulatedConfig(rows=50, seed=2, start_ns=0, flat_out=True), Noise(), Noise())
    assert one.value.tobytes() == same.value.tobytes()
    assert not np.isin(one.value, other.value).any()
    assert not np.isin(one.value[:, 0], one.value[:, 1]).any()


@pytest.mark.parametrize(("resolution", "decimals"), [(0.01, 2), (0.5, 1), (5.0, 0), (1e-7, 7)])
async def test_a_sensor_shows_multiples_of_its_resolution(resolution: float, decimals: int) -> None:
    """With a resolution, every value is the double nearest to a decimal multiple of it."""
    channels = [ChannelConfig(name="x", resolution=resolution, signal=Noise(mean=20, noise=30 * resolution))]
    schema = schema_of(channels)
    config = SimulatedConfig(rows=500, start_ns=0, flat_out=True)
    source = config.open(schema, channels, rows_max=600, clock=VirtualTime().clock)
    value = joined(await drain(source), schema).value[:, 0]
    assert [float(f"{x:.{decimals}f}") for x in value] == value.tolist()
    assert np.allclose(value / resolution, np.rint(value / resolution))
    assert len(np.unique(value)) > 20


@pytest.mark.parametrize("rate_hz", [0.001, 0.1, 1.0, 3.0, 33.333, 10_000.0])
async def test_times_do_not_drift(rate_hz: float) -> None:
    """Row n is due n periods after row 0, to the nanosecond, at any rate."""
    readings = await simulated(SimulatedConfig(rate_hz=rate_hz, rows=2000, start_ns=7, flat_out=True), Sine())
    period_ns = 10**12 / round(rate_hz * 1000)
    expected = 7 + np.arange(2000) * period_ns
    assert np.abs(readings.time_ns - expected).max() <= 1.0 + 2000 * period_ns * 1e-15


async def test_rows_come_when_they_are_due() -> None:
    """In real time the rate is kept, and a row is stamped when it is due."""
    time = VirtualTime()
    readings = await simulated(SimulatedConfig(rate_hz=4.0, rows=41), None, time=time)
    assert time.now_s == pytest.approx(10.0, abs=0.1)
    assert readings.time_ns.tolist() == [START_NS + n * 250_000_000 for n in range(41)]


async def test_what_was_not_sampled_does_not_exist() -> None:
    """After an hour without the agent the rows go on now, values by number, and never backwards in time."""
    channels = [ChannelConfig(name="a", signal=RandomWalk())]
    schema = schema_of(channels)
    config = SimulatedConfig(rate_hz=1.0, rows=10)
    time = VirtualTime()
    first = await drain(config.open(schema, channels, rows_max=1, clock=time.clock), 5)
    for gap_s in (3600.0, -7200.0):
        time.now_s += gap_s
        source = config.open(schema, channels, rows_max=1, clock=time.clock)
        source.resume(first[-1].offset)
        rest = joined(await drain(source), schema)
        assert len(rest) == 5
        wall_ns = START_NS + int(time.now_s * 1e9)
        assert rest.time_ns[0] > first[-1].readings.time_ns[0]
        if gap_s > 0:
            assert abs(int(rest.time_ns[-1]) - wall_ns) <= 10**9
        whole = joined(await drain(config.open(schema, channels, rows_max=1, clock=VirtualTime().clock)), schema)
        assert rest.value.tolist() == whole.value[5:].tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"rate_hz": 0.0}, "rate_hz"), ({"rate_hz": 10_001.0}, "rate_hz"), ({"seed": -1}, "seed"), ({"rows": -1}, "rows")],
)
def test_nonsense_is_refused(settings: dict[str, float], message: str) -> None:
    """A configuration that exists is valid."""
    with pytest.raises(ValueError, match=message):
        SimulatedConfig(**settings)  # type: ignore[arg-type]


def test_signals_refuse_nonsense() -> None:
    """A period is above nothing, a spread not below it."""
    for make in (lambda: Sine(period_s=0), lambda: Square(period_s=-1), lambda: Noise(noise=-1)):
        with pytest.raises(ValueError, match="must"):
            make()
