from __future__ import annotations

import numpy as np
import pytest

from trueline_sim.fleet_values import WorldValues
from trueline_sim.latencies import Latencies
from trueline_sim.truth import SCENARIOS
from trueline_sim.world import World
from trueline_wire.columns import decode_columns
from trueline_wire.readings import Flag, Schema

_START_NS = 1_780_000_000_000_000_000
_DEVICES = 20


@pytest.mark.parametrize("rows", [10, 5, 1])
def test_a_fleet_reports_its_world(rows: int) -> None:
    """Frames hold the world's raw rows as reported: same values and stamps, absent ones absent; u declared; flag 2."""
    frames, step_ns = 60 // rows, 1_000_000_000
    scenario = SCENARIOS["greenhouse"]
    values = WorldValues(
        scenario, devices=_DEVICES, rows=rows, interval_s=1.0, frames=frames, seed=3, faults=300.0, anomalies=False
    )
    values.begin(_START_NS)
    schema = Schema(device="any", stream=values.stream, channels=values.channels)
    times: dict[int, list[int]] = {device: [] for device in range(_DEVICES)}
    heard: dict[int, list[bytes]] = {device: [] for device in range(_DEVICES)}
    for number in range(frames):
        for device in range(_DEVICES):
            frame = values.maybe_frame(device, _START_NS + number * rows * step_ns, step_ns)
            if frame is None:
                continue
            readings = decode_columns(frame.body, schema, frame.rows)
            times[device] += readings.time_ns.tolist()
            heard[device] += [row.tobytes() for row in readings.value]
            assert frame.first_ns == readings.time_ns.min()
            assert (readings.flag == Flag.NOT_EVALUATED).all()
            assert np.allclose(readings.u, [channel.u for channel in values.world.channels], rtol=0.01)
    world = World(
        scenario,
        devices=_DEVICES,
        seed=3,
        steps=60,
        start_ns=_START_NS,
        interval_s=1.0,
        faults=300.0,
        anomalies=False,
        block_steps=60,
    )
    block = next(iter(world))
    assert (block.copies != 1).any()
    for device in range(_DEVICES):
        rows_told = block.rows(device)
        if rows > 1 and rows % 2 == 0:
            assert times[device] == rows_told.time_ns.tolist()
        assert sorted(times[device]) == sorted(rows_told.time_ns.tolist())
        assert sorted(heard[device]) == sorted(row.tobytes() for row in rows_told.value)


def test_devices_beyond_the_distinct_ones_repeat_them() -> None:
    """Device n shows what device n modulo `devices` does, encoded once."""
    values = WorldValues(SCENARIOS["cold_chain"], devices=3, rows=4, interval_s=1.0, frames=2, seed=3)
    values.begin(_START_NS)
    one, same, other = (values.maybe_frame(device, _START_NS, 1_000_000_000) for device in (1, 4, 2))
    assert one is same
    assert one is not None
    assert other is not None
    assert one.body != other.body


def test_latencies_are_counted_in_little_memory() -> None:
    """Quantiles are right to 2 %, the longest exactly; none are NaN."""
    rng = np.random.default_rng(1)
    durations = rng.lognormal(-3.0, 1.0, 10_000)
    latencies = Latencies()
    assert np.isnan(latencies.quantile_s(0.5))
    latencies.add(durations.tolist())
    assert latencies.max_s == durations.max()
    for share in (0.5, 0.95):
        assert latencies.quantile_s(share) == pytest.approx(np.quantile(durations, share), rel=0.025)
