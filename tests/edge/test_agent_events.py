"""Events on their way: at once, before any backlog, exactly once, and counted like all rows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from edge_agent import DEVICE, DirectLink, DyingSpool, KilledError, config_of, device_key
from edge_links import until
from model_kit import KEY, calibrated, pca_package, rows, text_of

from trueline_cloud.storage.reader import JournalReader
from trueline_cloud.storage.store import NeverHeardOfError
from trueline_edge import stream as stream_module
from trueline_edge.agent import Agent
from trueline_edge.config import AgentConfig, load_config
from trueline_edge.inference.store import ModelStore
from trueline_edge.pipeline import Pipeline
from trueline_edge.sources import ChannelConfig, ReplayConfig
from trueline_edge.stages import Detect
from trueline_model.event import latest_events
from trueline_model.package import write_package
from trueline_wire.envelope import Lane
from trueline_wire.errors import ConfigError
from trueline_wire.keys import KeyRing
from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_model.event import Event
    from trueline_wire.delivery import Transmit

ROWS, FAULT = 400, 300
START_S = 1_600_000_000


def package_of(version: int = 1) -> bytes:
    """Reads a and b; its alarm may come often enough for a short recording."""
    return write_package(calibrated(pca_package(version)), KEY)


def store_of(folder: Path) -> ModelStore:
    ring = KeyRing()
    ring.trust("cloud", KEY.public)
    return ModelStore(folder / "models", ring)


def recording() -> NDArray[np.float64]:
    """(ROWS, 2) of which the first column goes wrong near the end, for forty rows."""
    value = rows(ROWS + 10, 99)[:-10]
    value[FAULT : FAULT + 40, 0] += 5.0
    return value


def agent_config(folder: Path, *, speed: float | None = None, **changes: Any) -> AgentConfig:
    """Stream `valve` of a file in which `a` goes wrong near the end; the detector is called `odd`."""
    lines = [f"{START_S + n},{a!r},{b!r}" for n, (a, b) in enumerate(recording().tolist())]
    (folder / "in.csv").write_text("time,a,b\n" + "\n".join(lines) + "\n")
    if not (folder / "models").is_dir():
        store_of(folder).install(package_of())
    source = ReplayConfig(path=folder / "in.csv", time_format="s", speed="flat_out" if speed is None else speed)
    config = config_of(folder, source, **changes)
    stage = Detect(name="odd", model=folder / "models", public_key=KEY.public, event_rows=20)
    (stream,) = config.streams
    channels = (ChannelConfig(name="a"), ChannelConfig(name="b"))
    valve = msgspec.structs.replace(stream, channels=channels, stages=(stage,))
    return msgspec.structs.replace(config, streams=(valve,))


def events_in(cloud: Path) -> list[Event]:
    reader = JournalReader(cloud)
    try:
        return latest_events(_batches(reader, "valve.odd"))
    finally:
        reader.close()


def _batches(reader: JournalReader, stream: str) -> list[Readings]:
    """All of a stream; nothing where the store has not heard of it yet."""
    try:
        return list(reader.readings(DEVICE, stream, 0, 1 << 62))
    except NeverHeardOfError:
        return []


def versions_in(cloud: Path) -> list[float]:
    """Of each stored row, which version of the model looked at it."""
    reader = JournalReader(cloud)
    try:
        return [float(version) for batch in _batches(reader, "valve") for version in batch.value[:, 5]]
    finally:
        reader.close()


def rows_in(cloud: Path) -> dict[str, int]:
    """Rows stored, by lane."""
    reader = JournalReader(cloud)
    try:
        return {lane.lane: lane.rows_stored for lane in reader.ledger()}
    finally:
        reader.close()


async def ended(agent: Agent, when: Callable[[], bool]) -> None:
    task = asyncio.create_task(agent.run())
    await until(lambda: task.done() or when(), "time to stop")
    agent.stop()
    async with asyncio.timeout(20):
        await task


async def test_every_row_of_an_event_is_counted_and_stored_once(tmp_path: Path) -> None:
    """Sampled = spooled = stored, rows of events included, and the store's events are those the stage told."""
    config = agent_config(tmp_path)
    link = DirectLink(tmp_path / "cloud", device_key(config))
    agent = Agent(config, until_drained=True, link=link)
    await agent.run()
    summary, stored = agent.summary(), rows_in(tmp_path / "cloud")
    assert summary["rows_sampled"] == summary["rows_spooled"] == sum(stored.values())
    assert stored["data"] == ROWS
    assert stored["event"] > 40
    (event,) = [e for e in events_in(tmp_path / "cloud") if e.begun_us >= (START_S + FAULT) * 10**6]
    assert event.phase == "ended"
    assert event.begun_us < (START_S + FAULT + 3) * 10**6
    assert len(event.window) >= 40


async def test_an_event_does_not_wait_for_its_frame(tmp_path: Path) -> None:
    """Where a frame takes an hour to fill, the event is at the cloud seconds after its row."""
    config = agent_config(tmp_path, speed=400.0, rows_max=5000, interval_s=3600.0)
    agent = Agent(config, link=DirectLink(tmp_path / "cloud", device_key(config)))
    await ended(agent, lambda: bool(events_in(tmp_path / "cloud")))
    assert events_in(tmp_path / "cloud")
    assert agent.summary()["rows_sampled"] == agent.summary()["rows_spooled"]


class WatchedLink(DirectLink):
    """Remembers how many rows of data were stored when the first event was."""

    before_event: int | None = None

    def send(self, transmit: Transmit) -> None:
        super().send(transmit)
        if self.before_event is None and events_in(self._folder):
            self.before_event = rows_in(self._folder).get("data", 0)


@pytest.mark.parametrize("lane", [Lane.EVENT, Lane.DATA])
async def test_an_event_overtakes_the_backlog_of_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: Lane
) -> None:
    """A backlog waits in the spool; when the link is back, the event goes first. On the data lane it would wait."""
    monkeypatch.setattr("trueline_edge.agent.Lane", SimpleNamespace(EVENT=lane))
    config = agent_config(tmp_path, rows_max=4)
    link = WatchedLink(tmp_path / "cloud", device_key(config))
    link.works = False
    agent = Agent(config, link=link)
    await ended(agent, lambda: agent.figures().rows_sampled >= ROWS)
    assert link.before_event is None
    link.works = True
    await Agent(config, until_drained=True, link=link).run()
    stored = rows_in(tmp_path / "cloud")
    assert link.before_event is not None
    if lane is Lane.EVENT:
        assert link.before_event <= 32 * 4  # one window of data may be on its way
        assert stored["data"] == ROWS
    else:
        assert link.before_event >= FAULT


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after it"])
@pytest.mark.parametrize("dies_at", [7, 8])
async def test_a_kill_at_the_event_neither_loses_nor_doubles_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int, *, after: bool
) -> None:
    """The rows, the event and the place they came from are one commit: killed around it, all come once."""
    config = agent_config(tmp_path)
    link = DirectLink(tmp_path / "cloud", device_key(config))
    monkeypatch.setattr("trueline_edge.agent.SqliteSpool", DyingSpool)
    DyingSpool.dies_at, DyingSpool.after = dies_at, after
    with pytest.raises(KilledError):
        await Agent(config, until_drained=True, link=link).run()
    DyingSpool.dies_at = 0
    agent = Agent(config, until_drained=True, link=link)
    await agent.run()
    (stream,) = config.streams
    stage = Pipeline(stream.stages, stream.schema(DEVICE))
    stage(Readings.raw(stream.schema(DEVICE), (START_S + np.arange(ROWS)) * 10**9, recording()))
    wanted, got = stage.take_told(), events_in(tmp_path / "cloud")
    assert [event.begun_us for event in got] == [event.begun_us for event in latest_events(wanted)]
    for one, other in zip(got, latest_events(wanted), strict=True):
        np.testing.assert_array_equal(one.window.value, other.window.value)
    stored = {"data": ROWS, "event": sum(map(len, wanted))}
    assert rows_in(tmp_path / "cloud") == stored
    assert agent.summary()["rows_sampled"] == agent.summary()["rows_spooled"] == sum(stored.values())


async def test_a_model_that_is_installed_takes_over_while_the_agent_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No restart: rows say which version looked at them, from one on the new one, and back after a rollback."""
    monkeypatch.setattr(stream_module, "_RENEWAL_S", 0.02)
    config = agent_config(tmp_path, speed=100.0, rows_max=10, interval_s=0.1)
    link = DirectLink(tmp_path / "cloud", device_key(config))
    agent = Agent(config, link=link)
    store = store_of(tmp_path)

    def versions() -> list[float]:
        return versions_in(tmp_path / "cloud")

    task = asyncio.create_task(agent.run())
    await until(lambda: 1.0 in versions(), "rows of the first model")
    await asyncio.to_thread(store.install, package_of(2))
    await until(lambda: 2.0 in versions(), "rows of the second model")
    await asyncio.to_thread(store.rollback)
    await until(lambda: versions()[-1] == 1.0, "rows of the first model again")
    agent.stop()
    async with asyncio.timeout(20):
        await task
    changes = np.flatnonzero(np.diff(versions()))
    assert len(changes) == 2
    summary = agent.summary()
    assert summary["rows_sampled"] == summary["rows_spooled"]


def test_two_streams_that_would_tell_under_one_name_are_refused(tmp_path: Path) -> None:
    """A stream that is called like the events of another, before anything runs."""
    store_of(tmp_path).install(package_of())
    text = f"""
    device = "d"
    state = "state"
    cloud = {{ public_key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=" }}
    link = [{{ protocol = "coap", host = "127.0.0.1" }}]
    [[stream]]
    name = "valve.odd"
    source = {{ type = "simulated" }}
    channel = [{{ name = "a", signal = {{ kind = "noise" }} }}]
    [[stream]]
    name = "valve"
    source = {{ type = "simulated" }}
    channel = [{{ name = "a", signal = {{ kind = "noise" }} }}, {{ name = "b", signal = {{ kind = "noise" }} }}]
    [[stream.stage]]
    type = "detect"
    name = "odd"
    model = "models"
    public_key = "{text_of(KEY.public)}"
    """
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"its events are a stream 'valve\.odd'"):
        load_config(tmp_path / "agent.toml")
