"""What every source keeps, whatever it reads from."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from edge_sources import VirtualTime, drain, joined, lost, schema_of

from trueline_edge.sources import (
    Batch,
    ChannelConfig,
    JoinConfig,
    JoinInput,
    MqttSourceConfig,
    ReplayConfig,
    SimulatedConfig,
    Source,
    SourceConfig,
)
from trueline_edge.sources.signals import Noise, RandomWalk, Sine

if TYPE_CHECKING:
    from collections.abc import Callable

CHANNELS = [
    ChannelConfig(name="a", u=0.25, signal=Sine(noise=0.1)),
    ChannelConfig(name="b", signal=RandomWalk()),
    ChannelConfig(name="c", u=0.0, signal=Noise()),
]
SCHEMA = schema_of(CHANNELS)
ROWS_MAX = 7


class Case(NamedTuple):
    """A configuration, and the rows it has to give."""

    config: SourceConfig
    rows: int
    lost: dict[str, int]


def replay_csv(folder: Path) -> Case:
    """Two files with a malformed row, an empty one, a cell that is no number, and two cells too many."""
    lines = ["time,a,b,c"] + [f"2020-10-25 0{1 + n // 20}:{n % 20 * 3:02}:00,{n / 7},{n}e-3,{-n}" for n in range(60)]
    lines[20] = "yesterday,1,2,3"
    lines[30] = ",,,"
    lines[31] = "2020-10-25 02:30:30,x,,1"
    lines[40] += ",9,9"
    paths = (folder / "one.csv", folder / "two.csv")
    for path in paths:
        path.write_text("\n".join(lines))
    config = ReplayConfig(paths=paths, zone="Europe/Rome", speed="flat_out")
    return Case(config, 2 * 57, {"malformed_row": 4})


def paced_csv(folder: Path) -> Case:
    config, rows, malformed = replay_csv(folder)
    return Case(ReplayConfig(paths=config.paths, zone="Europe/Rome", speed=5.0), rows, malformed)  # type: ignore[union-attr]


def join_of_three(_: Path) -> Case:
    """A channel at two a second, and two that hold their values for as long as they come."""
    start_ns = 10**18

    def each(name: str, rate_hz: float, rows: int) -> JoinInput:
        source = SimulatedConfig(rows=rows, rate_hz=rate_hz, start_ns=start_ns, flat_out=True, seed=ord(name))
        if name == "a":
            return JoinInput(channels=("a",), source=source, interpolation="none")
        wander = {name: 0.0}
        return JoinInput(channels=(name,), source=source, interpolation="previous", age_max_s=10, wander=wander)

    inputs = (each("b", 1.0, 100), each("a", 2.0, 200), each("c", 0.3, 30))
    return Case(JoinConfig(period_s=0.5, inputs=inputs), 200, {})


CASES: dict[str, Callable[[Path], Case]] = {
    "replay": replay_csv,
    "replay, paced": paced_csv,
    "simulated": lambda _: Case(SimulatedConfig(rows=100, rate_hz=3.0, start_ns=10**18), 100, {}),
    "join": join_of_three,
    "simulated, flat out": lambda _: Case(SimulatedConfig(rows=4300, flat_out=True, start_ns=0), 4300, {}),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return CASES[request.param](tmp_path)


def opened(case: Case) -> Source:
    return case.config.open(SCHEMA, CHANNELS, rows_max=ROWS_MAX, clock=VirtualTime().clock)


def test_every_source_is_here() -> None:
    """A finite source that is not in this suite cannot be configured; mqtt has nothing to go back to."""
    configured = set(typing.get_args(SourceConfig)) - {MqttSourceConfig}
    assert {type(make(Path("none")).config) for name, make in CASES.items() if "replay" not in name} == (
        configured - {ReplayConfig}
    )


async def test_batches_are_bounded_and_of_the_schema(case: Case) -> None:
    """No batch has more rows than were asked for; all have the schema and the declared uncertainty; all rows come."""
    batches = await drain(opened(case))
    assert all(len(batch.readings) <= ROWS_MAX for batch in batches)
    assert all(batch.readings.schema == SCHEMA for batch in batches)
    readings = joined(batches, SCHEMA)
    assert len(readings) == case.rows
    assert lost(batches) == case.lost
    declared = np.array([0.25, np.nan, 0.0], np.float32)
    assert np.array_equal(readings.u, np.tile(declared, (case.rows, 1)), equal_nan=True)


async def test_the_same_twice(case: Case) -> None:
    """A source read twice gives the same readings."""
    assert described(await drain(opened(case))) == described(await drain(opened(case)))


async def test_a_restart_skips_and_repeats_nothing(case: Case) -> None:
    """Stopped behind any batch and resumed from its offset, a source gives the rest: readings and losses alike."""
    whole = await drain(opened(case))
    for cut in {*range(0, min(len(whole), 30), 3), len(whole) // 2, len(whole)}:
        before = await drain(opened(case), cut)
        resumed = opened(case)
        if before:
            resumed.resume(before[-1].offset)
        after = await drain(resumed)
        assert described([*before, *after]) == described(whole), cut


async def test_restarts_at_every_batch(case: Case) -> None:
    """A process that dies behind every single batch reads everything once."""
    taken: list[Batch] = []
    while True:
        source = opened(case)
        if taken:
            source.resume(taken[-1].offset)
        one = await drain(source, 1)
        taken += one
        if not one:
            break
        assert len(taken) < 10_000
    assert described(taken) == described(await drain(opened(case)))


async def test_negative_control_without_resume_rows_come_twice(case: Case) -> None:
    """The law can fail: a source that is not told where it stood repeats itself."""
    before = await drain(opened(case), 2)
    again = [*before, *await drain(opened(case))]
    assert described(again) != described(await drain(opened(case)))


def described(batches: list[Batch]) -> tuple[object, ...]:
    readings = joined(batches, SCHEMA)
    columns = (readings.time_ns, readings.value, readings.flag, readings.reason)
    return (*(column.tobytes() for column in columns), lost(batches))
