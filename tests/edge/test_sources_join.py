"""The join: several sources at different rates on one clock, with what interpolation costs in `u`."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_agent import DirectLink, config_of, device_key
from edge_sources import VirtualTime, drain, joined, lost, schema_of
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.agent import Agent
from trueline_edge.config import StreamConfig
from trueline_edge.sources import Batch, ChannelConfig, JoinConfig, JoinInput, ReplayConfig
from trueline_edge.sources.alignment import Series
from trueline_edge.sources.source import SYSTEM_CLOCK, Clock
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Channel, Flag, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from trueline_edge.sources.join import JoinSource

ONE = Schema(device="d", stream="s", channels=(Channel(name="x"),))
START_S = 1_600_000_000


def series(interpolation: Any, age_max_s: float = 10.0, wander: float | None = 0.0) -> Series:
    return Series(ONE, interpolation, age_max_s, {} if wander is None else {"x": wander})


def readings_at(time_s: Any, value: Any, u: float = 0.1) -> Readings:
    return Readings.raw(ONE, np.rint(np.asarray(time_s, float) * 1e9).astype(np.int64), np.reshape(value, (-1, 1)), u)


def grid(*time_s: float) -> Any:
    return np.array([round(time * 1e9) for time in time_s], np.int64)


# ---------------------------------------------------------------- interpolation


def test_each_interpolation_does_what_it_says() -> None:
    """Readings at 1, 2 and 4 s, asked for from 0.5 to 15 s."""
    at = grid(0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 15.0)
    nan = np.nan
    for interpolation, wanted in (
        ("none", [nan, 10, nan, 20, nan, 40, nan, nan]),
        ("previous", [nan, 10, 10, 20, 20, 40, 40, nan]),
        ("linear", [nan, 10, 15, 20, 30, 40, nan, nan]),
    ):
        one = series(interpolation)
        one.push(readings_at([1, 2, 4], [10.0, 20.0, 40.0]), None)
        assert np.array_equal(one.at(at).value[:, 0], np.array(wanted, float), equal_nan=True), interpolation


def test_u_grows_with_the_distance_from_readings() -> None:
    """Previous: u^2 + q t; linear: a Brownian bridge on top of u as if both errors were one; none at a reading."""
    one = series("previous", wander=0.5)
    one.push(readings_at([0.0], [1.0], 0.3), None)
    assert one.at(grid(0.0, 1.0, 4.0)).u[:, 0] == pytest.approx(np.sqrt([0.09, 0.09 + 0.25, 0.09 + 1.0]))
    two = series("linear", wander=0.5)
    two.push(readings_at([0.0, 4.0], [1.0, 2.0], 0.3), None)
    assert two.at(grid(0.0, 1.0, 2.0, 4.0)).u[:, 0] == pytest.approx(
        np.sqrt([0.09, 0.09 + 0.25 * 0.75, 0.09 + 0.25, 0.09])
    )


def test_a_line_is_not_drawn_over_a_long_gap_and_flags_are_told() -> None:
    """Over a gap longer than `age_max_s` there is nothing; the worse flag of two ends counts."""
    one = series("linear", age_max_s=5.0)
    readings = readings_at([0.0, 6.0, 8.0], [0.0, 6.0, 8.0]).passed(np.ones((3, 1), np.bool_))
    one.push(readings.flagged(np.array([[False], [False], [True]]), Flag.SUSPECT, 0), None)  # type: ignore[arg-type]
    out = one.at(grid(3.0, 6.0, 7.0))
    assert np.array_equal(out.value[:, 0], [np.nan, 6.0, 7.0], equal_nan=True)
    assert out.flag[:, 0].tolist() == [Flag.NOT_EVALUATED, Flag.PASS, Flag.SUSPECT]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 999),
    interpolation=st.sampled_from(["none", "previous", "linear"]),
    cuts=st.lists(st.integers(1, 80), max_size=5),
    asked=st.lists(st.integers(1, 160), max_size=5),
)
def test_values_do_not_depend_on_how_readings_came(
    seed: int, interpolation: Any, cuts: list[int], asked: list[int]
) -> None:
    """Any cut of readings and times, with a restart at each, gives the same values and the same learnt `u`."""
    rng = np.random.default_rng(seed)
    value = np.cumsum(rng.normal(size=80))
    value[rng.random(80) < 0.2] = np.nan
    readings = readings_at(np.cumsum(rng.integers(1, 5, 80) / 2), value)
    at = (np.arange(180) * 10**9).astype(np.int64)
    whole = series(interpolation, 8.0, None)
    whole.push(readings, None)
    wanted = whole.at(at)
    life = series(interpolation, 8.0, None)
    fed, out = 0, []
    edges = sorted({*[a for a in asked if a < 180], 180})
    for start, stop in zip([0, *edges], edges, strict=False):
        while fed < 80 and (life.complete_ns(10_000) or -1) < at[stop - 1]:
            step = cuts[fed % len(cuts)] if cuts else 7
            life.push(readings[fed : fed + step], None)
            fed = min(80, fed + step)
            life.settle(int(at[start]))
            reborn = series(interpolation, 8.0, None)
            reborn.restore(life.state())
            life = reborn
        out.append(life.at(at[start:stop]))
    got = Readings.concatenate(out)
    assert got.value.tobytes() == wanted.value.tobytes()
    assert np.array_equal(got.u, wanted.u, equal_nan=True)


@pytest.mark.parametrize("interpolation", ["previous", "linear"])
@pytest.mark.parametrize("wander", [0.4, None])
def test_stated_intervals_hold_for_what_wanders(interpolation: Any, wander: float | None) -> None:
    """Of a random walk read every 10 s with noise, 95 % intervals between readings hold 93 to 99 % of the truth."""
    rng = np.random.default_rng(42)
    truth = np.cumsum(rng.normal(size=40_000)) * 0.4
    read = np.arange(0, 40_000, 10)
    one = series(interpolation, 60.0, wander)
    one.push(readings_at(read, truth[read] + rng.normal(size=len(read)) * 0.3, 0.3), None)
    out = one.at(np.arange(1000, 39_990, dtype=np.int64) * 10**9)
    inside = np.abs(out.value[:, 0] - truth[1000:39_990]) <= 1.96 * out.u[:, 0]
    assert 0.93 <= inside.mean() <= 0.99
    control = np.abs(out.value[:, 0] - truth[1000:39_990]) <= 1.96 * 0.3
    assert control.mean() < 0.85  # negative control: without what interpolation adds they do not


def test_an_outlier_is_not_how_a_quantity_wanders() -> None:
    """One absurd reading among a hundred calm ones leaves the learnt `u` of later ones within a factor of two."""
    rng = np.random.default_rng(3)
    value = np.cumsum(rng.normal(size=400)) * 0.1
    calm, shaken = series("previous", wander=None), series("previous", wander=None)
    calm.push(readings_at(np.arange(400), value, 0.0), None)
    value[100] += 1e6
    shaken.push(readings_at(np.arange(400), value, 0.0), None)
    late = grid(399.5)
    assert shaken.at(late).u[0, 0] < 2.0 * calm.at(late).u[0, 0]


# ---------------------------------------------------------------- from sources


def write(path: Path, time_s: Sequence[float], *columns: Sequence[float]) -> ReplayConfig:
    lines = [",".join(["time", *(f"c{k}" for k in range(len(columns)))])]
    lines += [",".join(map(str, row)) for row in zip(time_s, *columns, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return ReplayConfig(path=path, time_format="s", speed="flat_out")


CHANNELS = [
    ChannelConfig(name="fast", column="c0", u=0.1),
    ChannelConfig(name="slow", column="c0"),
    ChannelConfig(name="other", column="c1"),
]
NAMES = schema_of(CHANNELS)


def two_files(folder: Path, **kwargs: Any) -> JoinConfig:
    """4 Hz with a hole of two minutes and a malformed row, and one every 7 s with a cell that is missing."""
    rng = np.random.default_rng(1)
    fast_s = START_S + np.r_[np.arange(400) / 4, 220 + np.arange(400) / 4]
    slow_s = START_S - 20 + np.arange(55) * 7.0
    fast = write(folder / "fast.csv", fast_s.tolist(), np.cumsum(rng.normal(size=800)).tolist())
    slow = write(folder / "slow.csv", slow_s.tolist(), rng.normal(size=55).tolist(), rng.normal(size=55).tolist())
    for name, line, text in (("fast.csv", 99, "yesterday,1"), ("slow.csv", 30, f"{START_S - 20 + 29 * 7},,5")):
        lines = (folder / name).read_text().splitlines()
        lines[line] = text
        (folder / name).write_text("\n".join(lines))
    inputs = (
        JoinInput(channels=("other", "slow"), source=slow, interpolation="linear", age_max_s=20),
        JoinInput(channels=("fast",), source=fast, interpolation="previous", age_max_s=2),
    )
    # "other" is the slow file's c1, "slow" its c0: channels come in the order of the input.
    return JoinConfig(period_s=1.0, inputs=inputs, **kwargs)


def opened(config: JoinConfig, rows_max: int = 50, clock: Clock | None = None) -> JoinSource:
    return config.open(NAMES, CHANNELS, rows_max=rows_max, clock=clock or VirtualTime().clock)


def described(batches: list[Batch]) -> tuple[object, ...]:
    readings = joined(batches, NAMES)
    columns = (readings.time_ns, readings.value, readings.u, readings.flag, readings.reason)
    return (*(column.tobytes() for column in columns), lost(batches))


async def test_rows_stand_on_the_clock_and_hold_what_was_measured(tmp_path: Path) -> None:
    """Whole seconds, in order, each channel as its own interpolation says; where nothing was measured no row stands."""
    batches = await drain(opened(two_files(tmp_path)))
    readings = joined(batches, NAMES)
    second = readings.time_ns / 1e9 - START_S
    assert (np.diff(readings.time_ns) > 0).all()
    assert (readings.time_ns % 10**9 == 0).all()
    assert not np.isnan(readings.value).all(axis=1).any()
    assert lost(batches) == {"malformed_row": 1}
    measured = ~np.isnan(readings.value[:, NAMES.channels.index(Channel(name="fast"))])
    assert second[measured].tolist() == [*range(102), *range(220, 322)]
    assert second[0] == -20
    assert second[-1] == 358
    slow = readings.value[:, 1]
    times, values = _read(tmp_path / "slow.csv", 1)
    assert np.allclose(slow, np.interp(second + START_S, times, values), atol=1e-9)


def _read(path: Path, column: int) -> tuple[Any, Any]:
    cells = [line.split(",") for line in path.read_text().splitlines()[1:]]
    good = [row for row in cells if row[column]]
    return np.array([float(row[0]) for row in good]), np.array([float(row[column]) for row in good])


async def test_a_kill_changes_nothing(tmp_path: Path) -> None:
    """Killed behind any batch and resumed from its offset, the rest is the same to the last bit of `u`."""
    config = two_files(tmp_path)
    whole = await drain(opened(config))
    assert len(whole) > 8
    for cut in range(len(whole) + 1):
        before = await drain(opened(config), cut)
        resumed = opened(config)
        if before:
            resumed.resume(before[-1].offset)
        assert described([*before, *await drain(resumed)]) == described(whole), cut
    taken: list[Batch] = []
    while True:
        source = opened(config)
        if taken:
            source.resume(taken[-1].offset)
        one = await drain(source, 1)
        taken += one
        if not one:
            break
    assert described(taken) == described(whole)


async def test_negative_control_without_what_waits_rows_differ(tmp_path: Path) -> None:
    """The law can fail: a join that remembers its inputs' offsets alone loses what was read of them."""
    config = two_files(tmp_path)
    whole = await drain(opened(config))
    before = await drain(opened(config), 3)
    resumed = opened(config)
    resumed.resume(before[-1].offset)
    for feed in resumed._feeds:
        feed.series.waiting = feed.series.waiting[:0]
    assert described([*before, *await drain(resumed)]) != described(whole)


async def test_how_many_rows_are_asked_for_changes_nothing(tmp_path: Path) -> None:
    """Batches of 1, 7 or 4,000 rows hold the same rows, and never more than asked for."""
    config = two_files(tmp_path)
    wanted = described(await drain(opened(config)))
    for rows_max in (1, 7, 4000):
        batches = await drain(opened(config, rows_max))
        assert max(len(batch.readings) for batch in batches) <= rows_max
        assert described(batches) == wanted


async def test_a_gap_of_decades_costs_nothing(tmp_path: Path) -> None:
    """A clock that jumps from 1970 to now makes no rows between, and takes no time."""
    fast = write(tmp_path / "a.csv", [3.0, 4.0, START_S, START_S + 1], [1.0, 2.0, 3.0, 4.0])
    one = JoinInput(channels=("fast",), source=fast, interpolation="previous", age_max_s=1.5)
    channels = CHANNELS[:1]
    source = JoinConfig(period_s=0.001, inputs=(one,)).open(schema_of(channels), channels, rows_max=600)
    times = joined(await drain(source), schema_of(channels)).time_ns
    assert len(times) == 2501 + 1001
    assert times[[0, -1]].tolist() == [3 * 10**9, (START_S + 1) * 10**9]


async def test_a_clock_that_steps_back_is_counted(tmp_path: Path) -> None:
    """Readings that are not later than the one before are dropped, and counted."""
    fast = write(tmp_path / "a.csv", [1, 2, 2, 1, 3], [1.0, 2.0, 9.0, 9.0, 3.0])
    one = JoinInput(channels=("fast",), source=fast, interpolation="none")
    source = JoinConfig(period_s=1.0, inputs=(one,)).open(schema_of(CHANNELS[:1]), CHANNELS[:1], rows_max=600)
    batches = await drain(source)
    assert joined(batches, schema_of(CHANNELS[:1])).value[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert lost(batches) == {"out_of_order": 2}


# ---------------------------------------------------------------- in real time


class _Fake:
    """A source that gives its rows when it is told to."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Batch | None] = asyncio.Queue()

    def resume(self, offset: bytes) -> None:
        """Nothing to go back to."""

    def give(self, time_s: Sequence[float], value: Sequence[float]) -> None:
        readings = readings_at(time_s, value)
        self.queue.put_nowait(Batch(readings, b"", {}))

    async def batches(self) -> AsyncGenerator[Batch, None]:
        while (batch := await self.queue.get()) is not None:
            yield batch


def live(
    monkeypatch: pytest.MonkeyPatch, lateness_s: float, rows_waiting_max: int = 1000, clock: Clock = SYSTEM_CLOCK
) -> tuple[JoinSource, _Fake, _Fake]:
    fakes = iter([one := _Fake(), other := _Fake()])
    monkeypatch.setattr(ReplayConfig, "open", lambda *_, **__: next(fakes))
    source = ReplayConfig(path="none", speed="realtime")  # type: ignore[arg-type]
    inputs = tuple(
        JoinInput(channels=(name,), source=source, interpolation="previous", age_max_s=100.0)
        for name in ("fast", "slow")
    )
    config = JoinConfig(period_s=1.0, lateness_s=lateness_s, inputs=inputs, rows_waiting_max=rows_waiting_max)
    channels = CHANNELS[:2]
    return config.open(schema_of(channels), channels, rows_max=100, clock=clock), one, other


async def test_a_silent_input_is_waited_for_and_then_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `lateness_s` a row goes without the input that is silent; what then comes too late is counted, and used."""
    source, fast, slow = live(monkeypatch, 0.2)
    batches = source.batches()
    fast.give([1, 2, 3], [1.0, 2.0, 3.0])
    slow.give([1], [10.0])
    first = await anext(batches)
    assert first.readings.value.tolist() == [[1.0, 10.0]]
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    second = await anext(batches)
    assert loop.time() - start_s > 0.1
    assert second.readings.value.tolist() == [[2.0, 10.0], [3.0, 10.0]]
    slow.give([2.5], [20.0])
    fast.give([4], [4.0])
    third = await anext(batches)
    assert third.lost == {"late": 1}
    rest = third if len(third.readings) else await anext(batches)
    assert rest.readings.value.tolist() == [[4.0, 20.0]]
    await batches.aclose()


@pytest.mark.parametrize("step_s", [0.03, 0.05, 0.07, 0.11])
async def test_a_row_that_became_ripe_between_two_looks_at_the_clock_is_given_out(
    monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """On a busy machine time passes between one line and the next: a row then waits for no further reading."""
    looks = itertools.count()
    slow_machine = Clock(monotonic_s=lambda: next(looks) * step_s, sleep=lambda _: asyncio.sleep(0))
    source, fast, slow = live(monkeypatch, 0.2, clock=slow_machine)
    batches = source.batches()
    fast.give([1, 2, 3], [1.0, 2.0, 3.0])
    slow.give([1], [10.0])
    assert (await anext(batches)).readings.value.tolist() == [[1.0, 10.0]]
    second = await asyncio.wait_for(anext(batches), 30.0)
    assert second.readings.value.tolist() == [[2.0, 10.0], [3.0, 10.0]]
    await batches.aclose()


async def test_a_replay_beside_a_silent_input_is_read_as_far_as_the_rows_that_stop_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two inputs in real time, one of them silent, and a replay: the rows of the other come out, with the replay's."""
    fakes = iter([prompt := _Fake(), fast := _Fake(), slow := _Fake()])
    monkeypatch.setattr(ReplayConfig, "open", lambda *_, **__: next(fakes))
    inputs = tuple(
        JoinInput(
            channels=(channel.name,),
            source=ReplayConfig(path="none", speed=speed),  # type: ignore[arg-type]
            interpolation="previous",
            age_max_s=100.0,
        )
        for channel, speed in zip(CHANNELS[:3], ("flat_out", "realtime", "realtime"), strict=True)
    )
    config = JoinConfig(period_s=1.0, lateness_s=0.05, inputs=inputs)
    source = config.open(schema_of(CHANNELS[:3]), CHANNELS[:3], rows_max=100)
    for batch in (range(1, 6), range(6, 13)):
        prompt.give(list(batch), [float(second) for second in batch])
    fast.give(range(1, 11), [0.0] * 10)
    slow.give([1], [7.0])
    rows: list[list[float]] = []
    batches = source.batches()
    while len(rows) < 10:
        rows += (await asyncio.wait_for(anext(batches), 30.0)).readings.value.tolist()
    # On a machine that stood still, the two behind them may have stopped waiting, too.
    assert rows == [[float(second), 0.0, 7.0] for second in range(1, len(rows) + 1)]
    await batches.aclose()


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that is far ahead is not read on while `rows_waiting_max` rows wait."""
    source, fast, _ = live(monkeypatch, 1000.0, rows_waiting_max=20)
    for second in range(100):
        fast.give([second], [1.0])
    following = asyncio.create_task(anext(source.batches()))  # type: ignore[arg-type]
    await asyncio.sleep(0.2)
    assert 75 <= fast.queue.qsize() <= 85
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


# ---------------------------------------------------------------- configured


def test_every_channel_comes_from_one_input(tmp_path: Path) -> None:
    """A channel of no input, of two, or of none of the stream's is named before a run; so is a changed one."""
    config = two_files(tmp_path)
    stream = StreamConfig(name="s", source=config, channels=tuple(CHANNELS))
    assert list(stream.objections()) == []
    wrong = StreamConfig(name="s", source=config, channels=(*CHANNELS[:2], ChannelConfig(name="new", signal=None)))
    assert sorted(objection.message for objection in wrong.objections()) == [
        "channel 'new' comes from no input",
        "this stream has no channel 'other'",
    ]
    with pytest.raises(ConfigError, match="inputs were changed"):
        opened(config).resume(b"\x92\xc0\x90")
    for build in (
        {"interpolation": "linear"},
        {"interpolation": "none", "age_max_s": 1.0},
        {"interpolation": "previous", "age_max_s": 0.0},
        {"interpolation": "previous", "age_max_s": 1.0, "wander": {"q": 1.0}},
        {"channels": (), "interpolation": "none"},
    ):
        with pytest.raises(ValueError, match=r"age_max_s|wander|channels"):
            JoinInput(**{"channels": ("x",), "source": ReplayConfig(path=tmp_path), **build})  # type: ignore[arg-type]


async def test_an_agent_joins_over_restarts(tmp_path: Path) -> None:
    """Stopped again and again on its way, an agent stores what one that is left alone stores."""
    config = config_of(tmp_path, ReplayConfig(path=tmp_path / "none"), rows_max=20)
    stream = StreamConfig(name="valve", source=two_files(tmp_path), channels=tuple(CHANNELS))
    config = type(config)(
        **{f: getattr(config, f) for f in config.__struct_fields__ if f != "streams"}, streams=(stream,)
    )
    wanted = joined(await drain(opened(stream.source)), NAMES)  # type: ignore[arg-type]
    link = DirectLink(tmp_path / "cloud", device_key(config))
    for delay_s in (0.02, 0.04, None):
        link = DirectLink(tmp_path / "cloud", device_key(config))
        agent = Agent(config, until_drained=True, link=link)
        if delay_s is not None:
            asyncio.get_running_loop().call_later(delay_s, agent.stop)
        await agent.run()
    assert agent.summary()["rows_sampled"] == len(wanted) + 1  # a malformed row, sampled and lost
    assert agent.summary()["rows_lost"] == {"malformed_row": 1}
    assert np.array_equal(link.values(), wanted.value[:, 0], equal_nan=True)
