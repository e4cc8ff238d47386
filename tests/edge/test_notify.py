"""What systemd is told."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest
from edge_agent import DirectLink, config_of, device_key, write_csv
from edge_links import until

from trueline_edge.agent import Agent
from trueline_edge.notify import Notifier
from trueline_edge.sources import ReplayConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0.0)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        while True:
            try:
                self.heard.append(self.socket.recv(1000).decode())
            except BlockingIOError:
                return self.heard


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def test_tells_in_the_words_of_sd_notify(manager: Manager) -> None:
    """READY=1, WATCHDOG=1 and STOPPING=1 arrive as single datagrams."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.socket.getsockname()})
    notifier.ready()
    notifier.alive()
    notifier.stopping()
    assert manager.listen() == ["READY=1", "WATCHDOG=1", "STOPPING=1"]
    assert notifier.watchdog_s is None


def test_abstract_sockets_are_spoken_to() -> None:
    """An address that begins with @ is in the abstract namespace."""
    name = f"trueline-test-{os.getpid()}"
    manager = Manager("\0" + name)
    Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
    assert manager.listen() == ["READY=1"]
    manager.socket.close()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "1000000"}, None),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000"}, 30.0),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "many"}, None),
    ],
)
def test_is_silent_where_nobody_listens(environment: dict[str, str], watchdog_s: float | None) -> None:
    """Without a manager, or with one that is gone, nothing happens; the watchdog's interval is read."""
    notifier = Notifier(environment)
    notifier.ready()
    assert notifier.watchdog_s == watchdog_s


async def test_the_agent_feeds_the_watchdog_only_while_the_spool_answers(tmp_path: Path, manager: Manager) -> None:
    """READY comes once at the start, WATCHDOG goes on but while the spool is stuck, STOPPING ends it."""
    config = config_of(tmp_path, ReplayConfig(path=write_csv(tmp_path / "in.csv", 10), time_format="s"))
    notifier = Notifier({"NOTIFY_SOCKET": manager.socket.getsockname(), "WATCHDOG_USEC": "40000"})
    agent = Agent(config, notifier=notifier, link=DirectLink(tmp_path / "cloud", device_key(config)))
    task = asyncio.create_task(agent.run())
    await until(lambda: manager.listen().count("WATCHDOG=1") >= 5, "fed")
    assert manager.heard.count("READY=1") == 1
    stuck = asyncio.Event()
    loop = asyncio.get_running_loop()
    blocked = asyncio.create_task(
        agent._courier.do(lambda: asyncio.run_coroutine_threadsafe(stuck.wait(), loop).result())
    )
    await asyncio.sleep(0.1)
    manager.listen()
    manager.heard.clear()
    await asyncio.sleep(0.3)
    assert manager.listen() == []
    stuck.set()
    await blocked
    await until(lambda: "WATCHDOG=1" in manager.listen(), "fed again")
    agent.stop()
    async with asyncio.timeout(20):
        await task
    assert manager.listen()[-1] == "STOPPING=1" or "STOPPING=1" in manager.heard
