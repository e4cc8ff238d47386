from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_world import Room

from trueline_sim.block import Block, Grid
from trueline_sim.faults.fault import ALL_CHANNELS, ROW_KINDS, Fault
from trueline_sim.sensors.bank import SensorBank
from trueline_sim.sensors.catalogue import CATALOGUE
from trueline_sim.sensors.coverage import expected_coverage
from trueline_sim.truth import SCENARIOS
from trueline_sim.truth.scenario import ProcessAnomaly
from trueline_sim.world import START_NS, World

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIELDS = ("time_true_ns", "time_ns", "truth", "raw", "copies", "late")
SHT31 = CATALOGUE["SHT31/temperature"]


def joined(world: World) -> dict[str, NDArray[Any]]:
    blocks = list(world)
    return {field: np.concatenate([getattr(block, field) for block in blocks]) for field in FIELDS}


def room(**changes: Any) -> World:
    return World(Room(), **{"devices": 4, "seed": 1, "steps": 120, "faults": 300.0} | changes)


@settings(max_examples=25)
@given(block_steps=st.integers(1, 70).map(lambda half: 2 * half), seed=st.integers(0, 2**32))
def test_a_world_does_not_depend_on_the_size_of_its_blocks(block_steps: int, seed: int) -> None:
    """Truth, readings, stamps and rows are the same, bit for bit, with sensors, faults and anomalies on."""
    whole, cut = joined(room(seed=seed, block_steps=120)), joined(room(seed=seed, block_steps=block_steps))
    for field in FIELDS:
        np.testing.assert_array_equal(whole[field], cut[field])


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_scenario_is_the_same_whatever_the_size_of_its_blocks(name: str) -> None:
    """The scenarios themselves, each with its usual sensors, in blocks of 2, of 26 and all at once."""
    worlds = [
        joined(World(SCENARIOS[name], devices=3, seed=5, steps=60, faults=300.0, block_steps=size))
        for size in (60, 26, 2)
    ]
    for other in worlds[1:]:
        for field in FIELDS:
            np.testing.assert_array_equal(worlds[0][field], other[field])
    assert np.isfinite(worlds[0]["truth"]).all()


def test_a_world_repeats_and_seeds_differ() -> None:
    """The same world, walked twice, is the same; another seed is another one in every array that is drawn."""
    one = room()
    first, again, other = joined(one), joined(one), joined(room(seed=2))
    np.testing.assert_array_equal(first["raw"], again["raw"])
    for field in ("truth", "raw", "copies"):
        assert not np.array_equal(first[field], other[field])


def test_sensors_keep_their_individuality_beside_more_devices() -> None:
    """Readings without faults are what each channel's bank makes of the truth, and nothing else."""
    world = room(faults=0.0, anomalies=False)
    got = joined(world)
    bank = SensorBank(CATALOGUE["DS18B20/temperature"], devices=4, seed=1, name="air_temperature", interval_s=10.0)
    expected = bank.observe(got["truth"][:, :, 0], got["truth"][:, :, 0], got["truth"][:, :, 1])
    assert world.channels[0].sensor == "DS18B20/temperature"
    np.testing.assert_array_equal(got["raw"][:, :, 0], expected)


def test_faults_change_labelled_cells_only() -> None:
    """With and without faults, readings differ nowhere but where a label says so."""
    world = room(faults=300.0, steps=400)
    broken, sound = joined(world), joined(room(faults=0.0, steps=400))
    labelled = np.zeros(broken["raw"].shape, bool)
    for fault in world.faults:
        if fault.channel != ALL_CHANNELS:
            during = (broken["time_true_ns"] >= fault.start_ns) & (broken["time_true_ns"] < fault.end_ns)
            labelled[during, fault.device, fault.channel] = True
    differs = (broken["raw"] != sound["raw"]) & ~(np.isnan(broken["raw"]) & np.isnan(sound["raw"]))
    assert differs.any()
    assert not (differs & ~labelled).any()
    np.testing.assert_array_equal(broken["truth"], sound["truth"])


def test_an_anomaly_is_true_and_no_fault() -> None:
    """A window that opens changes the truth, and the sensor tells of it."""
    start, end = START_NS + 40 * 10_000_000_000, START_NS + 80 * 10_000_000_000
    window = ProcessAnomaly("window", 2, start, end, 1.0)
    with_it, without = (joined(room(faults=0.0, anomalies=anomalies)) for anomalies in ([window], []))
    change = with_it["truth"] - without["truth"]
    np.testing.assert_allclose(change[40:80, 2, 0], 5.0)
    assert np.count_nonzero(change) == 40
    np.testing.assert_allclose(np.mean(with_it["raw"] - without["raw"], axis=0)[2, 0], 5.0 / 3, atol=0.2)


def test_redundant_sensors_look_at_one_measurand() -> None:
    """Each with errors of its own, of the models asked for, in turn."""
    models = [SHT31, CATALOGUE["DHT22/temperature"]]
    world = room(sensors={"air_temperature": models}, redundancy=3, faults=0.0)
    names = ["air_temperature", "air_temperature_2", "air_temperature_3", "humidity", "humidity_2", "humidity_3"]
    assert [channel.name for channel in world.channels] == names
    sensors = [channel.sensor for channel in world.channels[:3]]
    assert sensors == ["SHT31/temperature", "DHT22/temperature", "SHT31/temperature"]
    got = joined(world)
    np.testing.assert_array_equal(got["truth"][:, :, 0], got["truth"][:, :, 2])
    error = got["raw"][:, :, :3].mean(axis=0) - got["truth"][:, :, :3].mean(axis=0)
    assert np.abs(np.diff(error, axis=1)).min() > 0.0


def test_what_cannot_be_is_refused() -> None:
    """Impossible numbers, unknown measurands and sensors of another unit are errors that name the mistake."""
    for changes, words in [
        ({"devices": 0}, "at least one"),
        ({"block_steps": 3}, "even"),
        ({"sensors": {"smell": [SHT31]}}, "room has no smell; it has air_temperature, humidity"),
        ({"sensors": {"humidity": [SHT31]}}, "SHT31/temperature measures Cel, and humidity is in %"),
    ]:
        with pytest.raises(ValueError, match=words):
            room(**changes)


def test_intervals_of_a_world_cover_what_its_sensors_deserve() -> None:
    """Over 1000 devices in a room that stands still, 95 % intervals hold as many as the datasheet makes them deserve.

    Negative control: with u halved they hold fewer, by far more than chance.
    """
    world = World(Room(step_K=0.0), devices=1000, seed=3, steps=2, faults=0.0, anomalies=False,
                  sensors={"air_temperature": [replace(SHT31, self_heating=0.0)]})  # fmt: skip
    got = joined(world)
    error = np.abs(got["raw"] - got["truth"])[-1, :, 0]
    truth = got["truth"][-1, :, 0]
    for share_of_u in (1.0, 0.5):
        half_width = 1.959964 * world.channels[0].u * share_of_u
        expected = np.mean(
            [
                expected_coverage(
                    replace(SHT31, self_heating=0.0), half_width, truth=x, interval_s=10.0, ambient_degC=x
                )
                for x in np.linspace(truth.min(), truth.max(), 20)
            ]
        )
        assert np.mean(error <= half_width) == pytest.approx(expected, abs=0.05 if share_of_u < 1.0 else 0.01)
    assert np.mean(error <= 1.959964 * world.channels[0].u) > 0.99
    assert np.mean(error <= 1.959964 * world.channels[0].u / 2) < 0.7


def test_rows_come_in_the_order_the_device_reports_them() -> None:
    """Lost rows are not there, doubled ones come twice, and neighbours change places."""
    grid = Grid(START_NS, 10.0, 10)

    def fault(kind: str, first: int, last: int, magnitude: float) -> Fault:
        return Fault(kind, 1, ALL_CHANNELS, grid.time_ns(first), grid.time_ns(last), magnitude)

    faults = [fault("drop_out", 0, 2, 0.0), fault("reorder", 3, 8, 1.0), fault("duplicate", 8, 9, 1.0)]
    (block,) = room(steps=10, faults=faults)
    assert block.rows(1).step.tolist() == [2, 3, 5, 4, 7, 6, 8, 8, 9]
    assert block.rows(0).step.tolist() == list(range(10))
    np.testing.assert_array_equal(block.rows(1).value[2], block.raw[5, 1])
    np.testing.assert_array_equal(block.rows(1).time_ns, START_NS + block.rows(1).step * 10_000_000_000)
    assert block.present[:, 1].tolist() == [False] * 2 + [True] * 8


def test_a_pair_is_never_cut_from_its_neighbour() -> None:
    """Whatever the even block size, the rows of all blocks end to end are in one and the same order."""
    grid = Grid(START_NS, 10.0, 21)
    faults = [Fault("reorder", 0, ALL_CHANNELS, grid.time_ns(1), grid.time_ns(21), 1.0)]
    orders = [
        [step for block in room(steps=21, faults=faults, block_steps=size) for step in block.rows(0).step.tolist()]
        for size in (2, 4, 22)
    ]
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][:6] == [0, 1, 3, 2, 5, 4]
    assert orders[0][-1] == 20


def test_fast_worlds_have_exact_times() -> None:
    """At 3.2 kHz and at an interval that is no whole number of nanoseconds, stamps do not wander."""
    assert Grid(0, 1 / 3200, 10).times_ns(3200 * 3600, 1).tolist() == [3600 * 10**9]
    assert Grid(0, 1 / 3000, 10).times_ns(3000 * 3600, 2).tolist() == [3600 * 10**9, 3600 * 10**9 + 333_333]


def test_every_kind_of_row_fault_reaches_the_block() -> None:
    """Nothing that is drawn is forgotten on the way."""
    grid = Grid(START_NS, 10.0, 120)
    for kind in ROW_KINDS:
        (block,) = room(faults=[Fault(kind, 0, ALL_CHANNELS, grid.time_ns(10), grid.time_ns(50), 2.5)])
        assert isinstance(block, Block)
        changed = (block.copies[:, 0] != 1) | block.late[:, 0] | (block.time_ns[:, 0] != block.time_true_ns)
        assert changed[10:50].any(), kind
        assert not changed[50:].any(), kind
