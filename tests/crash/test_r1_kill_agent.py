"""R1: kill -9 of the agent at random moments."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from crash_kit import Proof, campaign
from crash_rows import stream, write_rows
from crash_site import ReadySocket, finish, ledger, patch, ready_socket, stored

from trueline_sim.processes import Site

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from trueline_sim.processes import Agent

_SPEED = 3000.0
_ROWS_PER_KILL = 1200
_FRAME = {"rows_max": 50, "interval_s": 0.05}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        yield site


def _kill_many(agent: Agent, notify: ReadySocket, rng: random.Random, kills: int) -> tuple[list[float], list[float]]:
    """Kill an agent at random moments, a third of them while it starts; seconds until it was ready otherwise.

    Beside them seconds of its own processor time: on a machine that is busy with others, they are the ones that count.
    """
    ready_s, busy_s = [notify.start(agent)], [_busy_s(agent)]
    agent.kill()
    for _ in range(kills - 1):
        if rng.random() < 1 / 3:
            notify.begin(agent)
            time.sleep(rng.uniform(0.0, ready_s[0]))
        else:
            ready_s.append(notify.start(agent))
            busy_s.append(_busy_s(agent))
            time.sleep(rng.uniform(0.0, 1.0))
        agent.kill()
    return ready_s, busy_s


def _busy_s(agent: Agent) -> float:
    used = psutil.Process(agent.pid).cpu_times()
    return float(used.user + used.system)


def test_a_killed_agent_loses_and_doubles_nothing(site: Site, proof: Proof) -> None:
    """Kill -9 at random moments: every row of the source is stored once, bit for bit, and the ledger is complete."""
    kills, rng = campaign(200), proof.rng()
    rows = write_rows(site.folder / "rows.csv", _ROWS_PER_KILL * kills, proof.seed)
    agent = site.add_agent("killed-1", [stream(rows, speed=_SPEED)], frame=_FRAME)
    with ready_socket() as notify:
        ready_s, busy_s = _kill_many(agent, notify, rng, kills)
    before = site.ledger(agent.device)
    counts = finish(agent, 900.0)
    found, lane = stored(site, agent, rows), ledger(site, agent.device)
    proof.says(n=kills, result=str(found), ready_s_median=round(statistics.median(ready_s), 2))
    proof.says(ready_cpu_s_median=round(statistics.median(busy_s), 2))
    proof.says(ready_s_max=round(max(ready_s), 2), epochs=lane["epochs"], stored_by_then=before[0]["rows_stored"])
    assert found.equal, found
    assert lane["verdict"] == "complete", lane
    assert lane["alarms"] == lane["lost_before_spool"] == {}, lane
    assert counts["rows_sampled"] == counts["rows_spooled"] == found.rows
    assert min(statistics.median(ready_s), statistics.median(busy_s)) < 2.0


def test_an_agent_that_syncs_its_place_before_its_rows_loses_some(site: Site, proof: Proof) -> None:
    """Negative control: with rows and place in two transactions, kills lose rows, and the comparison sees it."""
    kills, rng = max(3, campaign(20)), proof.rng()
    rows = write_rows(site.folder / "rows.csv", _ROWS_PER_KILL * kills, proof.seed)
    agent = site.add_agent("lazy-1", [stream(rows, speed=_SPEED)], frame=_FRAME)
    honest = list(agent.argv)
    patch(agent, "lazy-append")
    with ready_socket() as notify:
        for _ in range(kills):
            notify.start(agent)
            time.sleep(0.3 + rng.uniform(0.0, 0.2))
            agent.kill()
    agent.argv[:] = honest
    finish(agent, 900.0)
    found = stored(site, agent, rows)
    proof.says(control=f"rows and place in two transactions, {kills} kills: {found}")
    assert found.missing
