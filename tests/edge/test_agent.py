"""The agent as a whole: what is sampled is spooled, what is spooled is stored once, whatever stops it in between."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from edge_agent import DEVICE, DirectLink, DyingSpool, KilledError, config_of, device_key, write_csv
from edge_links import until

from trueline_edge.agent import EXIT_UNSAFE, Agent, run_agent
from trueline_edge.logs import JsonFormatter
from trueline_edge.sources import ReplayConfig
from trueline_edge.spool.sqlite import SqliteSpool
from trueline_wire.errors import ConfigError, SpoolUnsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trueline_wire.delivery import SpoolRow


def replay(path: Path, speed: float | None = None) -> ReplayConfig:
    return ReplayConfig(path=path, time_format="s", speed="flat_out" if speed is None else speed)


async def run_for(agent: Agent, stop_when: Callable[[], bool]) -> None:
    task = asyncio.create_task(agent.run())
    await until(lambda: task.done() or stop_when(), "time to stop")
    agent.stop()
    async with asyncio.timeout(20):
        await task


async def test_every_row_is_stored_once_and_in_order(tmp_path: Path) -> None:
    """A finite source run until drained: all rows are in the store, and the counts say so."""
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 1234)))
    link = DirectLink(tmp_path / "cloud", device_key(config))
    agent = Agent(config, until_drained=True, link=link)
    await agent.run()
    assert link.values() == list(map(float, range(1234)))
    summary = agent.summary()
    assert summary["rows_sampled"] == summary["rows_spooled"] == 1234
    assert summary["values_appended"] == 2468
    assert summary["frames_appended"] == 25
    assert summary["drained"]
    assert summary["rows_lost"] == {}


async def test_a_stop_in_order_leaves_everything_in_the_spool(tmp_path: Path) -> None:
    """Stopped while the link is down, the agent spools all it has sampled, and goes on behind it at the next start."""
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 2000), speed=500.0))
    link = DirectLink(tmp_path / "cloud", device_key(config))
    link.works = False
    agent = Agent(config, link=link)
    await run_for(agent, lambda: agent.figures().rows_spooled > 120)
    first = agent.summary()
    assert first["rows_sampled"] == first["rows_spooled"] < 2000
    assert not first["drained"]
    assert link.values() == []
    link.works = True
    agent = Agent(config, until_drained=True, link=link)
    await agent.run()
    assert link.values() == list(map(float, range(2000)))
    assert agent.summary()["rows_sampled"] == 2000


async def test_rows_do_not_wait_longer_than_the_interval(tmp_path: Path) -> None:
    """A slow source's rows are spooled after `interval_s`, long before there are `rows_max` of them."""
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 500), 20.0), rows_max=5000, interval_s=0.2)
    agent = Agent(config, link=DirectLink(tmp_path / "cloud", device_key(config)))
    await run_for(agent, lambda: agent.figures().frames_appended >= 3)
    assert agent.figures().rows_spooled < 500


@pytest.mark.parametrize("seed", range(3))
async def test_a_kill_neither_skips_nor_repeats_a_row(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at random appends, before or after their commit, and started again: each row is stored exactly once."""
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 1500)), rows_max=30)
    link = DirectLink(tmp_path / "cloud", device_key(config))
    rng = random.Random(seed)
    monkeypatch.setattr("trueline_edge.agent.SqliteSpool", DyingSpool)
    for _ in range(6):
        DyingSpool.dies_at, DyingSpool.after = rng.randrange(1, 9), rng.random() < 0.5
        with pytest.raises(KilledError):
            await Agent(config, until_drained=True, link=link).run()
    DyingSpool.dies_at = -1
    agent = Agent(config, until_drained=True, link=link)
    await agent.run()
    assert link.values() == list(map(float, range(1500)))
    summary = agent.summary()
    assert summary["rows_sampled"] == summary["rows_spooled"] == 1500


async def test_without_the_checkpoint_a_kill_would_repeat_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: with the checkpoint left out of the append, the same kill stores rows twice."""

    class Forgetful(DyingSpool):
        def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
            super().append(rows, schemas, None if DyingSpool.dies_at > -(10**6) else checkpoint)

    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 500)), rows_max=30)
    link = DirectLink(tmp_path / "cloud", device_key(config))
    monkeypatch.setattr("trueline_edge.agent.SqliteSpool", Forgetful)
    Forgetful.dies_at, Forgetful.after = 5, True
    with pytest.raises(KilledError):
        await Agent(config, until_drained=True, link=link).run()
    Forgetful.dies_at = -1
    await Agent(config, until_drained=True, link=link).run()
    assert len(link.values()) > 500


async def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the link down and the spool full, sampling goes on; what was dropped is counted to the row."""

    class Small(SqliteSpool):
        def __init__(self, folder: Path, **_: int) -> None:
            super().__init__(folder, size_max_bytes=128 << 10)

    monkeypatch.setattr("trueline_edge.agent.SqliteSpool", Small)
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 30_000)), rows_max=300)
    link = DirectLink(tmp_path / "cloud", device_key(config))
    link.works = False
    agent = Agent(config, link=link)
    await run_for(agent, lambda: agent.figures().rows_spooled == 30_000)
    assert agent.figures().spool_bytes <= 128 << 10
    dropped = agent.figures().rows_dropped
    assert 5_000 < dropped < 29_000
    link.works = True
    agent = Agent(config, until_drained=True, link=link)
    await agent.run()
    assert link.values() == list(map(float, range(dropped, 30_000)))
    assert agent.summary()["rows_dropped"] == dropped


def test_an_unsafe_spool_ends_the_process_with_its_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failed sync the agent accepts no more, says so, and ends with exit code 70."""

    class Unsafe(SqliteSpool):
        def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
            raise SpoolUnsafe("a sync failed")

    monkeypatch.setattr("trueline_edge.agent.SqliteSpool", Unsafe)
    monkeypatch.setattr("trueline_edge.agent.log_as_json", lambda: None)
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 100)))
    assert run_agent(config) == EXIT_UNSAFE == 70
    assert "durable storage broke its word" in caplog.text


async def test_two_agents_on_one_state_folder_are_refused(tmp_path: Path) -> None:
    """The second agent is told what is wrong, and the first is not disturbed."""
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 5000), speed=100.0))
    agent = Agent(config, link=DirectLink(tmp_path / "cloud", device_key(config)))
    with pytest.raises(ConfigError, match="in use by another agent"):
        Agent(config)
    await run_for(agent, lambda: agent.figures().rows_spooled > 0)


async def test_memory_holds_no_backlog(tmp_path: Path) -> None:
    """With the link down for good, nothing is waiting in memory: no queue, no inbox, no frame but the open one."""
    config = config_of(tmp_path, replay(write_csv(tmp_path / "in.csv", 4_000)))
    link = DirectLink(tmp_path / "cloud", device_key(config))
    link.works = False
    agent = Agent(config, link=link)
    await run_for(agent, lambda: agent.figures().rows_spooled == 4_000)
    assert agent._courier.sender.poll(0.0) == []
    assert agent._inbox.take().received == []


def test_sigterm_ends_the_process_in_order(tmp_path: Path) -> None:
    """The real process, told to stop, exits with 0 and one object on its last line; everything sampled is spooled."""
    write_csv(tmp_path / "in.csv", 100_000)
    (tmp_path / "agent.toml").write_text(
        f"""device = "{DEVICE}"
state = "state"
[cloud]
public_key = "{"A" * 43}="
[[link]]
protocol = "mqtt"
host = "127.0.0.1"
port = 1
[frame]
rows_max = 50
interval_s = 0.2
[[stream]]
name = "valve"
[stream.source]
type = "replay"
path = "in.csv"
time_format = "s"
speed = 200.0
[[stream.channel]]
name = "id"
"""
    )
    command = [sys.executable, "-m", "trueline_edge", "run", str(tmp_path / "agent.toml"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert json.loads(line)["message"] == "running"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    summary = json.loads(out.splitlines()[-1])
    assert summary["device"] == DEVICE
    assert summary["rows_sampled"] == summary["rows_spooled"]
    spool = SqliteSpool(tmp_path / "state")
    assert spool.was_clean
    spool.close(clean=True)


def test_logs_are_one_object_a_line() -> None:
    """A record becomes one line of JSON with its fields and its error."""
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "a\n%s", "args": ("b",), "link": "mqtt"})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line) | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "x",
        "message": "a\nb",
        "link": "mqtt",
    }
