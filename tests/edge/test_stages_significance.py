"""Significance: what is left out could have been said without it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from edge_agent import DirectLink, config_of, device_key, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.agent import Agent
from trueline_edge.config import StreamConfig
from trueline_edge.sources import ChannelConfig, ReplayConfig, SimulatedConfig
from trueline_edge.stages import GrossRange, Significance
from trueline_edge.stages import significance as module
from trueline_edge.stages.corridor import Corridor
from trueline_edge.stages.significance import Event
from trueline_edge.stages.stage import usable
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema, Thinning

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SCHEMA = Schema(device="d", stream="s", channels=(Channel(name="a"), Channel(name="b")))
BOUNDS = {"a": 0.5, "b": 2.0}
START_NS = 1_700_000_000_000_000_000


def signal(rows: int, seed: int, *, dirty: bool) -> Readings:
    """Two walks, with spikes, gaps, flags and clocks that step where `dirty`; no two rows have the same time."""
    rng = np.random.default_rng(seed)
    value = np.cumsum(rng.normal(size=(rows, 2)) * [0.1, 0.5], axis=0)
    step_ns = np.full(rows, 10**9) + rng.integers(0, 10**8, rows)
    u = np.full((rows, 2), 0.1)
    if dirty:
        value[rng.random((rows, 2)) < 0.03] += 50.0
        value[rng.random((rows, 2)) < 0.03] = np.nan
        value[rng.random((rows, 2)) < 0.02] = np.inf
        step_ns[rng.random(rows) < 0.03] = -7 * 10**9 + 11
        step_ns[rng.random(rows) < 0.02] = 3600 * 10**9
        u = np.exp(np.cumsum(rng.normal(size=(rows, 2)) * 0.02, axis=0)) * 0.1
    readings = Readings.raw(SCHEMA, START_NS + np.cumsum(step_ns), value, u)
    if dirty:
        for flag, reason in ((Flag.SUSPECT, Reason.SPIKE), (Flag.FAIL, Reason.GROSS_RANGE)):
            where = np.repeat(rng.random((-(-rows // 5), 2)) < 0.1, 5, axis=0)[:rows]
            readings = readings.flagged(where, flag, reason)
    return readings


def sent_rows(config: Significance, readings: Readings, cuts: list[int]) -> tuple[NDArray[np.int64], Readings]:
    """Which rows go out, of a stage that is saved and restored at each cut."""
    edges = sorted({0, len(readings), *[cut % (len(readings) + 1) for cut in cuts]})
    stage = config.stage(SCHEMA)
    out = [Readings.empty(stage.schema)]
    for start, stop in itertools.pairwise(edges):
        reborn = config.stage(SCHEMA)
        reborn.restore(stage.state())
        stage = reborn
        out.append(stage(readings[start:stop]))
    whole = Readings.concatenate([*out, stage.flush()])
    place = {time: row for row, time in enumerate(readings.time_ns.tolist())}
    assert len(place) == len(readings)
    return np.array([place[time] for time in whole.time_ns.tolist()], np.int64), whole


def worst_excess(readings: Readings, sent: NDArray[np.int64], thinning: Thinning) -> float:
    """How far, in bounds, the worst filled-in value is from what was measured. Checks flags and `u` on the way."""
    worst, live = 0.0, usable(readings)
    for p, q in itertools.pairwise(sent):
        for row in range(p + 1, q):
            assert readings.time_ns[p] < readings.time_ns[row] < readings.time_ns[q]
            assert np.array_equal(readings.flag[row], readings.flag[p])
            assert np.array_equal(readings.reason[row], readings.reason[p])
            assert np.array_equal(live[row], live[p])
            assert (readings.u[row] <= readings.u[p] * np.float32(1.25))[live[row]].all()
            filled = readings.value[p]
            if thinning.between == "linear":
                share = (readings.time_ns[row] - readings.time_ns[p]) / (readings.time_ns[q] - readings.time_ns[p])
                with np.errstate(invalid="ignore"):  # cells that are not finite, and are not looked at
                    filled = filled + share * (readings.value[q] - readings.value[p])
            good = live[row]
            error = np.abs(filled[good] - readings.value[row, good]) / np.array(thinning.bounds)[good]
            worst = max(worst, *error.tolist(), 0.0)
    return worst


CONFIGS = [
    Significance(method="send_on_delta", bounds=BOUNDS),
    Significance(method="swinging_door", bounds=BOUNDS),
    Significance(method="deadband", percent=5.0, spans={"a": 10.0, "b": 40.0}),
    Significance(method="swinging_door", bounds=BOUNDS, event=Event(above={"b": 3.0}, rows_before=4, rows_after=3)),
    Significance(method="send_on_delta", bounds=BOUNDS, event=Event(below={"a": -2.0}, rows_before=7, rows_after=0)),
]


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=40)
@given(
    rows=st.integers(1, 300),
    seed=st.integers(0, 999),
    dirty=st.booleans(),
    cuts=st.lists(st.integers(0, 300), max_size=5),
)
def test_what_is_filled_in_is_within_the_bound(
    config: Significance,
    rows: int,
    seed: int,
    dirty: bool,  # noqa: FBT001 - hypothesis draws it
    cuts: list[int],
) -> None:
    """Wherever batches are cut and restarts happen, a row left out is within the bound of what its neighbours say."""
    readings = signal(rows, seed, dirty=dirty)
    sent, out = sent_rows(config, readings, cuts)
    assert sent[0] == 0
    assert sent[-1] == rows - 1
    assert out.schema.thinning == Thinning(
        between="linear" if config.method == "swinging_door" else "previous", bounds=(0.5, 2.0)
    )
    assert worst_excess(readings, sent, out.schema.thinning) <= 1.0 + 1e-9


def test_negative_control_the_doors_of_the_patent_break_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law can fail: Bristol's doors, which look at no row's own slope, err by more than the bound."""

    def doors(rise: Any, elapsed_s: Any, bound: Any, before: Corridor) -> tuple[NDArray[np.bool_], Corridor]:
        elapsed = elapsed_s[:, None]
        highest = np.minimum.accumulate(np.vstack([before.highest, (rise + bound) / elapsed]))
        lowest = np.maximum.accumulate(np.vstack([before.lowest, (rise - bound) / elapsed]))
        return lowest[1:] <= highest[1:], Corridor(lowest[-1], highest[-1])

    monkeypatch.setattr(module, "linear_holds", doors)
    readings = signal(2000, 1, dirty=False)
    sent, out = sent_rows(CONFIGS[1], readings, [])
    assert out.schema.thinning is not None
    assert worst_excess(readings, sent, out.schema.thinning) > 1.2


def test_a_smooth_day_needs_few_rows() -> None:
    """A day's temperature at one a second, good to 0.1 K: the doors keep under 1 % of the rows, holding under 3 %."""
    seconds = np.arange(86_400)
    value = 20.0 + 5.0 * np.sin(2 * np.pi * seconds / 86_400)
    readings = Readings.raw(SCHEMA, START_NS + seconds * 10**9, np.column_stack([value, value]))
    for method, share in (("swinging_door", 0.01), ("send_on_delta", 0.03)):
        config = Significance(method=method, bounds={"a": 0.1, "b": 0.1}, interval_max_s=3600)  # type: ignore[arg-type]
        stage = config.stage(SCHEMA)
        kept = len(stage(readings)) + len(stage.flush())
        assert kept < share * len(readings)
        assert kept + stage.insignificant == len(readings)


def test_the_bound_is_added_to_u() -> None:
    """A row that goes out has u^2 + bound^2 / 3 (GUM 4.3.7); a channel that comes along keeps its own, bit for bit."""
    readings = Readings.raw(SCHEMA, [START_NS], [[1.0, 2.0]], [0.4, 0.3])
    stage = Significance(method="send_on_delta", bounds={"a": 0.5}, along=("b",)).stage(SCHEMA)
    out = Readings.concatenate([stage(readings), stage.flush()])
    assert out.u[0, 0] == pytest.approx(np.sqrt(0.4**2 + 0.5**2 / 3))
    assert out.u[0, 1] == np.float32(0.3)
    assert out.schema.thinning == Thinning(between="previous", bounds=(0.5, np.inf))


def test_an_event_keeps_full_rate_with_rows_before_it() -> None:
    """Around a value above its limit, and around a flag that grows worse, every row goes out."""
    value = np.zeros((200, 2))
    value[100:103, 0] = 9.0
    readings = Readings.raw(SCHEMA, START_NS + np.arange(200) * 10**9, value)
    late = np.zeros((200, 2), np.bool_)
    late[150, 1] = True
    readings = readings.flagged(late, Flag.SUSPECT, Reason.SPIKE)
    event = Event(above={"a": 5.0}, rows_before=20, rows_after=5)
    for method in ("send_on_delta", "swinging_door"):
        config = Significance(method=method, bounds=BOUNDS, event=event)  # type: ignore[arg-type]
        sent, _ = sent_rows(config, readings, [95, 101, 140])
        assert {*range(80, 108), *range(130, 156)} <= set(sent.tolist())
        assert len(sent) < 64


def test_silence_means_a_fault() -> None:
    """A constant value goes out every `interval_max_s`."""
    readings = Readings.raw(SCHEMA, START_NS + np.arange(1000) * 10**9, np.zeros((1000, 2)))
    sent, _ = sent_rows(Significance(method="swinging_door", bounds=BOUNDS, interval_max_s=100), readings, [])
    assert sent.tolist() == [*range(0, 1000, 100), 999]


def test_a_bad_cell_that_stays_bad_is_said_once() -> None:
    """A stuck FAIL sends no row for its values, and hides nothing of the channel beside it."""
    value = np.column_stack([np.random.default_rng(1).normal(size=500) * 100, np.r_[np.zeros(300), np.full(200, 5.0)]])
    readings = Readings.raw(SCHEMA, START_NS + np.arange(500) * 10**9, value)
    where = np.zeros((500, 2), np.bool_)
    where[:, 0] = True
    readings = readings.flagged(where, Flag.FAIL, Reason.GROSS_RANGE)
    sent, _ = sent_rows(Significance(method="send_on_delta", bounds=BOUNDS, interval_max_s=1000), readings, [])
    assert sent.tolist() == [0, 300, 499]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "swinging_door"}, "bounds alone"),
        ({"method": "send_on_delta", "bounds": {"a": -1.0}}, "not negative"),
        ({"method": "send_on_delta", "bounds": {"a": 1.0}, "percent": 1.0}, "bounds alone"),
        ({"method": "deadband", "bounds": {"a": 1.0}}, "percent and spans"),
        ({"method": "deadband", "percent": 0.0, "spans": {"a": 1.0}}, "percent"),
        ({"method": "send_on_delta", "bounds": {"a": 1.0}, "interval_max_s": 0.0}, "interval_max_s"),
    ],
)
def test_what_cannot_be_is_refused(kwargs: dict[str, Any], message: str) -> None:
    """A stage that exists is valid."""
    with pytest.raises(ValueError, match=message):
        Significance(**kwargs)


def test_every_channel_must_be_spoken_of() -> None:
    """A channel without a bound must be named as one that comes along; names that do not exist are objected to."""

    def complaints(config: Significance) -> list[str]:
        return [".".join(map(str, o.path)) + ": " + o.message for o in config.objections(SCHEMA)]

    assert complaints(Significance(method="send_on_delta", bounds=BOUNDS)) == []
    assert complaints(Significance(method="send_on_delta", bounds={"a": 1.0})) == [
        "bounds: nothing is said of channel 'b'"
    ]
    both = Significance(method="send_on_delta", bounds=BOUNDS, along=("b", "x"), event=Event(above={"y": 1.0}))
    assert complaints(both) == [
        "along: stream 's' has no channel 'x'",
        "event.above: stream 's' has no channel 'y'",
        "bounds: two things are said of channel 'b'",
    ]


async def test_an_agent_counts_what_it_leaves_out(tmp_path: Path) -> None:
    """Rows sampled are rows spooled and rows left out, over restarts, and the cloud's ledger hears of both."""
    source = ReplayConfig(path=write_csv(tmp_path / "in.csv", 2000), time_format="s", speed="flat_out")
    config = config_of(tmp_path, source)
    stage = Significance(method="swinging_door", bounds={"id": 0.5}, along=("x",), interval_max_s=10)
    config = msgspec.structs.replace(config, streams=(msgspec.structs.replace(config.streams[0], stages=(stage,)),))
    for stop_early in (True, False):
        link = DirectLink(tmp_path / "cloud", device_key(config))
        agent = Agent(config, until_drained=True, link=link)
        if stop_early:
            asyncio.get_running_loop().call_later(0.05, agent.stop)
        await agent.run()
        summary = agent.summary()
        assert summary["rows_sampled"] == summary["rows_spooled"] + summary["rows_insignificant"]
        assert summary["rows_lost"] == {}
    assert summary["rows_sampled"] == 2000
    assert 200 <= summary["rows_spooled"] <= 210
    assert link.lost() == {"insignificant": summary["rows_insignificant"]}
    values = link.values()
    assert values[0] == 0.0
    assert values[-1] == 1999.0
    assert np.diff(values).max() <= 10.0


def test_a_stage_behind_it_is_refused() -> None:
    """Nothing judges a stream that has been thinned."""
    config = config_of_two((Significance(method="send_on_delta", bounds=BOUNDS), GrossRange(minimum=0.0)))
    assert [o.message for o in config.objections()] == ["stands behind a stage that leaves rows out"]


def config_of_two(stages: tuple[Any, ...]) -> StreamConfig:
    channels = (ChannelConfig(name="a"), ChannelConfig(name="b"))
    return StreamConfig(name="s", source=SimulatedConfig(), channels=channels, stages=stages)


def test_a_thinned_schema_travels() -> None:
    """How to fill in between rows is part of the schema and its hash; a schema without it is as it was."""
    thinned = replace(SCHEMA, thinning=Thinning(between="linear", bounds=(0.5, np.inf)))
    assert Schema.decode(thinned.encoded) == thinned
    assert thinned.hash != SCHEMA.hash
    assert Schema.decode(SCHEMA.encoded).thinning is None
